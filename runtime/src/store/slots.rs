//! A peer's second copy: a small file of two slots that are written in turn, so that a write torn in one leaves the other
//! intact. Each slot is on a page of its own and carries a generation and a checksum.

use std::{
    fs::{self, OpenOptions},
    io::{self, ErrorKind},
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
};

use super::{StoreError, create_unless_there};

const MAGIC: [u8; 8] = *b"bzr-peer";

/// The format of everything a store writes. Any change to it takes a new number.
pub(super) const FORMAT: u16 = 4;

const SLOT: usize = 4096;
const CHECKSUM: usize = blake3::OUT_LEN;
/// The bytes of magic, format, generation and length of the payload.
const HEADER: usize = 8 + 2 + 8 + 2;

/// The two-slot file at a path. It is opened for each use, so that five hundred hosted peers do not keep five hundred
/// files open for it.
#[derive(Debug)]
pub(super) struct Slots {
    path: PathBuf,
}

/// The newest readable slot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Slot {
    /// How many times the file had been written before; it rises by one with each write.
    pub(super) generation: u64,
    /// What was written: at most 4,044 bytes.
    pub(super) payload: Vec<u8>,
}

impl Slots {
    pub(super) fn at(path: PathBuf) -> Slots {
        Slots { path }
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Creates the file, whole or not at all, unless it exists.
    pub(super) fn create(&self, slot: &Slot) -> Result<(), StoreError> {
        let mut image = vec![0; 2 * SLOT];
        let encoded = self.encode(slot);
        let start = offset(slot.generation);
        image[start..start + encoded.len()].copy_from_slice(&encoded);
        create_unless_there(&self.path, &[&image])
    }

    /// The newest slot that can be read; `None` if there is no file. If the other one cannot be read, that may have been
    /// newer.
    ///
    /// # Errors
    /// When neither slot can be read, or the format is not ours.
    pub(super) fn load(&self) -> Result<Option<Slot>, StoreError> {
        let image = match fs::read(&self.path) {
            Ok(image) => image,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(StoreError::io("read", &self.path)(error)),
        };
        match (self.decode(&image, 0)?, self.decode(&image, 1)?) {
            (Some(a), Some(b)) => Ok(Some(if a.generation < b.generation { b } else { a })),
            (Some(slot), None) | (None, Some(slot)) => Ok(Some(slot)),
            (None, None) => Err(StoreError::damaged(&self.path, "neither of its two slots can be read")),
        }
    }

    /// Overwrites the slot before last, and makes the write durable.
    pub(super) fn write(&self, slot: &Slot) -> Result<(), StoreError> {
        let write = || -> io::Result<()> {
            let file = OpenOptions::new().write(true).open(&self.path)?;
            file.write_all_at(&self.encode(slot), offset(slot.generation) as u64)?;
            file.sync_data()
        };
        write().map_err(StoreError::io("write and sync", &self.path))
    }

    fn encode(&self, slot: &Slot) -> Vec<u8> {
        debug_assert!(HEADER + slot.payload.len() + CHECKSUM <= SLOT, "a payload fits its slot");
        let mut bytes = Vec::with_capacity(HEADER + slot.payload.len() + CHECKSUM);
        bytes.extend_from_slice(&MAGIC);
        bytes.extend_from_slice(&FORMAT.to_le_bytes());
        bytes.extend_from_slice(&slot.generation.to_le_bytes());
        bytes.extend_from_slice(&(slot.payload.len() as u16).to_le_bytes());
        bytes.extend_from_slice(&slot.payload);
        let checksum = blake3::hash(&bytes);
        bytes.extend_from_slice(checksum.as_bytes());
        bytes
    }

    /// The slot at `index`, if it is intact.
    fn decode(&self, image: &[u8], index: usize) -> Result<Option<Slot>, StoreError> {
        let Some(bytes) = image.get(index * SLOT..) else { return Ok(None) };
        let Some((header, rest)) = bytes.split_at_checked(HEADER) else { return Ok(None) };
        let (magic, header) = header.split_at(8);
        let (format, header) = header.split_at(2);
        let (generation, length) = header.split_at(8);
        let length = usize::from(u16::from_le_bytes([length[0], length[1]]));
        let Some((payload, rest)) = rest.split_at_checked(length) else { return Ok(None) };
        let Some(checksum) = rest.get(..CHECKSUM) else { return Ok(None) };
        let is_whole = blake3::hash(&bytes[..HEADER + length]).as_bytes().as_slice() == checksum;
        let Some(generation) = generation.try_into().ok().map(u64::from_le_bytes) else { return Ok(None) };
        if !is_whole || magic != MAGIC || offset(generation) != index * SLOT {
            return Ok(None);
        }
        match u16::from_le_bytes([format[0], format[1]]) {
            FORMAT => Ok(Some(Slot { generation, payload: payload.to_vec() })),
            found => Err(StoreError::Version { file: self.path.clone(), found, known: FORMAT }),
        }
    }
}

fn offset(generation: u64) -> usize {
    if generation.is_multiple_of(2) { 0 } else { SLOT }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;

    fn slot(generation: u64) -> Slot {
        Slot { generation, payload: generation.to_le_bytes().to_vec() }
    }

    #[test]
    fn a_write_torn_at_any_byte_leaves_the_slot_before_it() {
        let dir = tempfile::tempdir().expect("a directory");
        let slots = Slots::at(dir.path().join("copy"));
        slots.create(&slot(0)).expect("created");
        for generation in 1..4 {
            let before = fs::read(slots.path()).unwrap();
            slots.write(&slot(generation)).expect("written");
            let after = fs::read(slots.path()).unwrap();
            assert_eq!(slots.load().unwrap(), Some(slot(generation)));
            let changed = (0..after.len()).filter(|at| before[*at] != after[*at]).collect::<Vec<_>>();
            for &torn_at in &changed {
                let mut torn = before.clone();
                for &at in changed.iter().filter(|at| **at < torn_at) {
                    torn[at] = after[at];
                }
                fs::write(slots.path(), &torn).unwrap();
                assert_eq!(slots.load().unwrap(), Some(slot(generation - 1)), "torn at {torn_at}");
            }
            fs::write(slots.path(), &after).unwrap();
        }
    }

    #[test]
    fn a_file_of_another_kind_is_not_taken_for_ours() {
        let dir = tempfile::tempdir().expect("a directory");
        let slots = Slots::at(dir.path().join("copy"));
        fs::write(slots.path(), [b"bzr-head".as_slice(), &[0; 2 * SLOT]].concat()).unwrap();
        assert!(matches!(slots.load(), Err(StoreError::DamagedFile { .. })));
    }

    #[test]
    fn a_newer_format_is_refused_by_name_not_called_damage() {
        let dir = tempfile::tempdir().expect("a directory");
        let slots = Slots::at(dir.path().join("copy"));
        slots.create(&slot(0)).expect("created");
        let mut image = fs::read(slots.path()).unwrap();
        image[8..10].copy_from_slice(&(FORMAT + 1).to_le_bytes());
        let body = HEADER + 8;
        let checksum = blake3::hash(&image[..body]);
        image[body..body + CHECKSUM].copy_from_slice(checksum.as_bytes());
        fs::write(slots.path(), &image).unwrap();
        assert!(matches!(slots.load(), Err(StoreError::Version { found, known: FORMAT, .. }) if found > FORMAT));
    }

    #[test]
    fn creating_leaves_an_existing_file_as_it_is() {
        let dir = tempfile::tempdir().expect("a directory");
        let slots = Slots::at(dir.path().join("copy"));
        slots.create(&slot(6)).expect("created");
        slots.create(&slot(0)).expect("left");
        assert_eq!(slots.load().unwrap(), Some(slot(6)));
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1, "nothing is left over");
    }
}
