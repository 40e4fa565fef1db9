//! The second head: where the acknowledged log ends, in a file that sled does not know of, together with the latest
//! batches, which lead there. One sync of this file makes a batch durable. sled, which takes several times as long, is
//! synced once the file is full, and the batches in it are durable there before they are overwritten.
//!
//! ```text
//! items, one behind the other, each twice in a row and from the start of a page on:
//!   magic (8 bytes), format (2), generation (8), size of the file (4), length of the batches (4)
//!   the head: its position (8), its chain (32)
//!   the batches synced with it, as sled has them; none if all that the head says is in sled
//!   hash of everything before it in this item (32)
//! ```
//!
//! Numbers are little-endian. The file has its full size from the start, so that a sync need not wait for its length.
//! When no more fit, writing starts over at its beginning; the newest item is the one with the highest generation. An
//! item counts if one of its two copies is whole. A crash leaves the item that was being written whole or not, and
//! nobody has been told of that one; a page that the medium has lost or changed hides none.

use std::{
    collections::BTreeMap,
    fs::{File, OpenOptions},
    io::{self, ErrorKind},
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
};

use bazaar_protocol::id::Position;

use super::{
    StoreError,
    chain::{Chain, Entry, Head},
    create_unless_there,
    slots::FORMAT,
};

const MAGIC: [u8; 8] = *b"bzr-head";
const PAGE: usize = 4_096;
const HASH: usize = blake3::OUT_LEN;
/// The bytes of magic, format, generation, size, length, position and chain.
const HEADER: usize = 8 + 2 + 8 + 4 + 4 + 8 + blake3::OUT_LEN;

const ZEROS: [u8; PAGE] = [0; PAGE];

/// The smallest size of the file: two items without a batch, so that the newest is never overwritten.
const SMALLEST: usize = 4 * PAGE;

/// The largest size of the file.
const LARGEST: usize = 64 * 1024 * 1024;

/// How many bytes an item with so many bytes of batches takes in the file.
fn room_for(batches: usize) -> usize {
    2 * (HEADER + batches + HASH).next_multiple_of(PAGE)
}

fn encode(generation: u64, size: usize, head: Head, batches: &[u8]) -> Vec<u8> {
    let room = room_for(batches.len());
    let mut bytes = Vec::with_capacity(room);
    bytes.extend_from_slice(&MAGIC);
    bytes.extend_from_slice(&FORMAT.to_le_bytes());
    bytes.extend_from_slice(&generation.to_le_bytes());
    // `SecondHead::create` lets no file become larger, and the batches take at most a third of it.
    bytes.extend_from_slice(&(size as u32).to_le_bytes());
    bytes.extend_from_slice(&(batches.len() as u32).to_le_bytes());
    bytes.extend_from_slice(&head.position.0.to_le_bytes());
    bytes.extend_from_slice(&head.chain);
    bytes.extend_from_slice(batches);
    let hash = blake3::hash(&bytes);
    bytes.extend_from_slice(hash.as_bytes());
    bytes.resize(room / 2, 0);
    bytes.extend_from_within(..);
    bytes
}

/// A copy of an item.
struct Copied {
    generation: u64,
    size: u32,
    head: Head,
    batches: Vec<u8>,
}

impl Copied {
    /// The copy that starts at a page of a file, if there is a whole one.
    ///
    /// # Errors
    /// When the file cannot be read.
    fn read(file: &File, at: u64) -> io::Result<Option<Copied>> {
        let mut header = [0; HEADER];
        if !read_whole(file, &mut header, at)? || !header.starts_with(&MAGIC) {
            return Ok(None);
        }
        let Some(length) = Copied::length(&header).filter(|length| *length <= LARGEST) else { return Ok(None) };
        let mut bytes = vec![0; HEADER + length + HASH];
        let is_there = read_whole(file, &mut bytes, at)?;
        Ok(Copied::decode(&bytes).filter(|_| is_there))
    }

    /// How many bytes of batches a header announces.
    fn length(header: &[u8]) -> Option<usize> {
        let length = header.get(8 + 2 + 8 + 4..)?.first_chunk::<4>()?;
        usize::try_from(u32::from_le_bytes(*length)).ok()
    }

    fn decode(bytes: &[u8]) -> Option<Copied> {
        let (body, hash) = bytes.split_last_chunk::<HASH>()?;
        let (magic, rest) = body.split_first_chunk::<8>()?;
        let (format, rest) = rest.split_first_chunk::<2>()?;
        let (generation, rest) = rest.split_first_chunk::<8>()?;
        let (size, rest) = rest.split_first_chunk::<4>()?;
        let (_length, rest) = rest.split_first_chunk::<4>()?;
        let (position, rest) = rest.split_first_chunk::<8>()?;
        let (chain, batches) = rest.split_first_chunk::<{ size_of::<Chain>() }>()?;
        let is_whole =
            *magic == MAGIC && u16::from_le_bytes(*format) == FORMAT && blake3::hash(body).as_bytes() == hash;
        let head = Head { position: Position(u64::from_le_bytes(*position)), chain: *chain };
        let (generation, size) = (u64::from_le_bytes(*generation), u32::from_le_bytes(*size));
        is_whole.then(|| Copied { generation, size, head, batches: batches.to_vec() })
    }
}

/// Reads these bytes of a file; says whether it has so many.
fn read_whole(file: &File, bytes: &mut [u8], at: u64) -> io::Result<bool> {
    match file.read_exact_at(bytes, at) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == ErrorKind::UnexpectedEof => Ok(false),
        Err(error) => Err(error),
    }
}

/// What a file holds.
#[derive(Debug)]
pub(super) struct Found {
    /// Where the acknowledged log ends.
    pub(super) head: Head,
    /// The latest batches as sled has them, by the position where each starts.
    batches: BTreeMap<Position, Vec<u8>>,
    generation: u64,
    /// Where the next item goes.
    next: usize,
    size: usize,
}

impl Found {
    /// What the file at `path` holds; `None` if there is none.
    ///
    /// # Errors
    /// When nothing in it can be read, or another version wrote it.
    pub(super) fn read(path: &Path) -> Result<Option<Found>, StoreError> {
        let file = match File::open(path) {
            Ok(file) => file,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(StoreError::io("open", path)(error)),
        };
        Found::read_from(&file, path).map(Some)
    }

    fn read_from(file: &File, path: &Path) -> Result<Found, StoreError> {
        let size = file.metadata().map_err(StoreError::io("read", path))?.len();
        // What is kept of each item: not the file, which may be large for a ledger that has to be small.
        let (mut newest, mut batches) = (None::<(u64, usize, Copied)>, BTreeMap::new());
        for at in (0..size).step_by(PAGE) {
            let Some(mut copy) = Copied::read(file, at).map_err(StoreError::io("read", path))? else { continue };
            let of_item = std::mem::take(&mut copy.batches);
            let mut rest = &*of_item;
            while let Some((entry, length)) = Entry::first_in(rest) {
                let (batch, others) = rest.split_at(length);
                let latest = batches.entry(entry.batch.position).or_insert((copy.generation, Vec::new()));
                if latest.0 <= copy.generation {
                    *latest = (copy.generation, batch.to_vec());
                }
                rest = others;
            }
            if newest.as_ref().is_none_or(|(_, _, newest)| newest.generation < copy.generation) {
                newest = Some((at, of_item.len(), copy));
            }
        }
        let Some((at, length, newest)) = newest else { return Err(unreadable(file, size, path)) };
        if u64::from(newest.size) != size {
            // What is not there may have been the newest.
            return Err(StoreError::damaged(path, format!("it has {size} bytes instead of {}", newest.size)));
        }
        // If this is its second copy, a little room is left unused.
        let next = at as usize + room_for(length);
        let batches = batches.into_iter().map(|(position, (_, batch))| (position, batch)).collect();
        Ok(Found { head: newest.head, batches, generation: newest.generation, next, size: size as usize })
    }

    /// The batches in it as sled has them, in order.
    pub(super) fn batches(&self) -> impl Iterator<Item = &[u8]> {
        self.batches.values().map(Vec::as_slice)
    }

    /// The batch in it that starts here.
    pub(super) fn batch_at(&self, position: Position) -> Option<&[u8]> {
        self.batches.get(&position).map(Vec::as_slice)
    }
}

/// Why there is no item in a file.
fn unreadable(file: &File, size: u64, path: &Path) -> StoreError {
    let format = |at: u64| {
        let mut begin = [0; 10];
        let is_there = read_whole(file, &mut begin, at).is_ok_and(|is_there| is_there);
        let format = begin.strip_prefix(&MAGIC).and_then(|rest| rest.first_chunk::<2>().copied());
        format.filter(|_| is_there).map(u16::from_le_bytes)
    };
    match (0..size).step_by(PAGE).filter_map(format).find(|found| *found != FORMAT) {
        Some(found) => StoreError::Version { file: path.to_owned(), found, known: FORMAT },
        None => StoreError::damaged(path, "nothing in it can be read"),
    }
}

/// The file of an open store.
#[derive(Debug)]
pub(super) struct SecondHead {
    path: PathBuf,
    file: File,
    generation: u64,
    /// Where the next item goes.
    next: usize,
    size: usize,
}

impl SecondHead {
    /// Creates the file, whole or not at all, unless it exists. It says that the log is empty.
    pub(super) fn create(path: &Path, size: usize) -> Result<(), StoreError> {
        let size = size.clamp(SMALLEST, LARGEST).next_multiple_of(PAGE);
        let first = encode(0, size, Head::start(), &[]);
        let mut parts = vec![&*first];
        // The first item has two pages.
        parts.extend(std::iter::repeat_n(ZEROS.as_slice(), size / PAGE - 2));
        create_unless_there(path, &parts)
    }

    /// Opens the file in which this was found.
    pub(super) fn open(path: &Path, found: &Found) -> Result<SecondHead, StoreError> {
        let file = OpenOptions::new().write(true).open(path).map_err(StoreError::io("open", path))?;
        // A process that was killed may not have got to that.
        file.sync_data().map_err(StoreError::io("sync", path))?;
        let Found { generation, next, size, .. } = *found;
        Ok(SecondHead { path: path.to_owned(), file, generation, next, size })
    }

    /// Whether so many bytes of batches may stand here. They get no more than a third, so that the newest item is not
    /// where the next one is written.
    pub(super) fn takes(&self, batches: usize) -> bool {
        room_for(batches) <= self.size.saturating_sub(SMALLEST) / 3
    }

    /// Writes where the log ends now and makes it durable, with the batches that it has taken since the last time. Calls
    /// `sync_log` before, if that has to make durable what is to be overwritten here, or batches that do not stand here.
    pub(super) fn write(
        &mut self,
        head: Head,
        batches: Option<&[u8]>,
        sync_log: impl FnOnce() -> Result<(), StoreError>,
    ) -> Result<(), StoreError> {
        let batches = batches.filter(|batches| self.takes(batches.len()));
        let room = self.size.saturating_sub(self.next);
        if batches.is_none_or(|batches| room_for(batches.len()) > room) {
            sync_log()?;
        }
        let bytes = encode(self.generation + 1, self.size, head, batches.unwrap_or_default());
        if bytes.len() > room {
            self.next = 0;
        }
        let written = self.file.write_all_at(&bytes, self.next as u64).and_then(|()| self.file.sync_data());
        written.map_err(StoreError::io("write and sync", &self.path))?;
        self.generation += 1;
        self.next += bytes.len();
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use std::fs;

    use bazaar_protocol::store::conformance::Author;
    use tempfile::TempDir;

    use super::*;

    const SIZE: usize = 12 * PAGE;

    /// A file after batches of these sizes, each written with its head, and starting over when it is full; with what
    /// each write made of it.
    fn written(sizes: &[usize]) -> (TempDir, PathBuf, Vec<(Head, Vec<u8>)>) {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("head");
        SecondHead::create(&path, SIZE).expect("created");
        let (mut author, mut head) = (Author::new(4, 0), Head::start());
        let mut states = vec![(head, fs::read(&path).unwrap())];
        for size in sizes {
            let (entry, after) = Entry::encode(&head, &author.trade(*size)).unwrap();
            let mut second = SecondHead::open(&path, &found(&path)).unwrap();
            second.write(after, Some(&entry), || Ok(())).expect("written");
            head = after;
            states.push((head, fs::read(&path).unwrap()));
        }
        (dir, path, states)
    }

    fn found(path: &Path) -> Found {
        Found::read(path).expect("readable").expect("there")
    }

    #[test]
    fn a_write_torn_at_any_byte_leaves_the_head_before_it_or_is_whole() {
        let (_dir, path, states) = written(&[1, 9, 2, 1, 4, 3, 2]);
        let (mut before_it, mut whole) = (0, 0);
        for (nth, pair) in states.windows(2).enumerate() {
            let [(head, before), (next, after)] = pair else { unreachable!("pairs") };
            let changed = (0..after.len()).filter(|at| before[*at] != after[*at]).collect::<Vec<_>>();
            for torn_at in changed.iter().step_by(7) {
                let mut torn = before.clone();
                changed.iter().filter(|at| *at < torn_at).for_each(|at| torn[*at] = after[*at]);
                fs::write(&path, &torn).unwrap();
                let found = found(&path);
                assert!([*head, *next].contains(&found.head), "write {nth}, torn at {torn_at}");
                if found.head == *head { before_it += 1 } else { whole += 1 }
            }
        }
        assert!(before_it > 100 && whole > 100, "{before_it} torn, {whole} whole");
    }

    #[test]
    fn damage_to_any_byte_changes_neither_the_head_nor_its_batches() {
        for length in 0..8 {
            let (_dir, path, states) = written(&[1, 9, 2, 1, 4, 3, 2][..length]);
            let (head, whole) = states.last().unwrap();
            let undamaged = found(&path);
            assert_eq!(undamaged.head, *head);
            for at in (0..whole.len()).filter(|at| whole[*at] != 0 || at % 512 == 0) {
                let mut damaged = whole.clone();
                damaged[at] ^= 1 << (at % 8);
                fs::write(&path, &damaged).unwrap();
                let found = found(&path);
                assert_eq!((found.head, &found.batches), (*head, &undamaged.batches), "{length} batches, byte {at}");
                assert!(found.next >= undamaged.next, "{length} batches, byte {at}: nothing is overwritten too early");
            }
            for to in (0..whole.len()).step_by(PAGE / 2) {
                fs::write(&path, &whole[..to]).unwrap();
                let cut = Found::read(&path);
                assert!(matches!(cut, Err(StoreError::DamagedFile { .. })), "{length} batches, cut to {to}");
            }
        }
    }

    #[test]
    fn what_is_written_over_is_never_the_newest() {
        // Some are too long to stand there.
        let sizes = (0..60).map(|nth| if nth % 7 > 3 { 200 } else { 1 + nth % 5 }).collect::<Vec<_>>();
        let (_dir, path, states) = written(&sizes);
        for pair in states.windows(2) {
            let [(head, before), (_, after)] = pair else { unreachable!("pairs") };
            let mut wiped = before.clone();
            (0..after.len())
                .filter(|at| before[*at] != after[*at])
                .for_each(|at| wiped[at / PAGE * PAGE..][..PAGE].fill(0));
            fs::write(&path, &wiped).unwrap();
            assert_eq!(found(&path).head, *head);
        }
    }

    #[test]
    fn another_format_is_refused_by_name_not_called_damage() {
        let (_dir, path, _) = written(&[]);
        let mut image = fs::read(&path).unwrap();
        for at in [0, PAGE] {
            image[at + 8..at + 10].copy_from_slice(&(FORMAT - 1).to_le_bytes());
        }
        fs::write(&path, &image).unwrap();
        let read = Found::read(&path);
        assert!(matches!(read, Err(StoreError::Version { found, known: FORMAT, .. }) if found < FORMAT), "{read:?}");
    }

    #[test]
    fn creating_leaves_an_existing_file_as_it_is() {
        let (dir, path, states) = written(&[3]);
        SecondHead::create(&path, SIZE).expect("left");
        assert_eq!(fs::read(&path).unwrap(), states[1].1);
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1, "nothing is left over");
    }
}
