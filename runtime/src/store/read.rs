//! Reading a ledger's store without sled, without writing anything: sled has no read-only mode, and opening may repair.
//!
//! sled keeps each value in one piece, as it was given, in its `db` or in a file of its own. So the entries are looked
//! for in those bytes, wherever they are, and only those count that are chained to the empty log. If the second head is
//! reached, what leads to it *is* the acknowledged log; what else lies there (former versions, what a crash left above
//! the second head) leads elsewhere. If it is not reached, what is reached is the intact beginning of the log, whatever
//! has become of sled's own pages. The latest batches stand beside the second head, and sled may not have them yet.

use std::{collections::BTreeMap, fmt, fs, io::ErrorKind, path::Path, thread, time::Duration};

use bazaar_protocol::{id::Position, record::Batch};

use super::{
    StoreError,
    chain::{Chain, Entry, Head},
    guard::DB,
    ledger::{HEAD, LOG, is_locked},
    second_head,
};

/// What is there of a ledger's log.
#[derive(Debug)]
pub struct Remains {
    batches: Vec<Batch>,
    intact: Intact,
}

/// How much of a damaged log is intact.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Intact {
    /// How many records, from the first one on.
    pub records: Position,
    /// How many were acknowledged; `None` if the second head is damaged as well, and does not say.
    pub acknowledged: Option<Position>,
}

impl Intact {
    /// Whether everything that was acknowledged is.
    #[must_use]
    pub fn is_everything(&self) -> bool {
        self.acknowledged == Some(self.records)
    }
}

impl fmt::Display for Intact {
    /// What can still be done, as the second half of a sentence about the damage.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Intact { records, acknowledged } = self;
        const PUT_BACK: &str = "`bazaar restore FILE --replace` puts";
        match (records.0.checked_sub(1), acknowledged) {
            (_, Some(all)) if all == records => write!(
                f,
                "but all {all} acknowledged records can be read from its files: `bazaar backup FILE` saves them, and \
                 {PUT_BACK} them in place"
            ),
            (None, _) => write!(f, "no record of it is intact; {PUT_BACK} a backup in place"),
            (Some(last), all) => {
                write!(f, "the last intact record is {last}")?;
                match all {
                    Some(all) => write!(f, ", and {all} records were acknowledged")?,
                    None => write!(f, ", and how many were acknowledged is not known")?,
                }
                write!(f, ": `bazaar backup FILE` saves what is intact, and {PUT_BACK} a backup in place")
            }
        }
    }
}

impl Remains {
    /// The intact batches, from the first one on; nothing that stands above the acknowledged end.
    #[must_use]
    pub fn into_batches(self) -> Vec<Batch> {
        self.batches
    }

    /// How much that is.
    #[must_use]
    pub fn intact(&self) -> Intact {
        self.intact
    }
}

/// All acknowledged batches of the store in `dir`; nothing in it is changed.
///
/// # Errors
/// As for [`examine`], and [`StoreError::DamagedLedger`] when any of them is not intact.
pub fn read_acknowledged(dir: &Path) -> Result<Vec<Batch>, StoreError> {
    let remains = examine(dir)?;
    let intact = remains.intact;
    if intact.is_everything() {
        return Ok(remains.batches);
    }
    let why = match intact.acknowledged {
        Some(_) => {
            let what = "no intact batch follows the ones before it".to_owned();
            StoreError::DamagedLog { file: dir.join(LOG), record: intact.records, what }
        }
        None => StoreError::damaged(dir.join(HEAD), "it does not say where the log ends"),
    };
    Err(StoreError::DamagedLedger { why: Box::new(why), intact })
}

/// What is there of the log in `dir`, intact or not; nothing in `dir` is changed. This also works beside a running
/// ledger, but it is better to ask that one.
///
/// # Errors
/// [`StoreError::NotFound`] when there is no store in `dir`, [`StoreError::Version`] when another version wrote it,
/// [`StoreError::InUse`] when a running ledger writes too fast for its files to be read as they are at one moment, and
/// any error of the operating system.
pub fn examine(dir: &Path) -> Result<Remains, StoreError> {
    const TRIES: usize = 5;
    const PAUSE: Duration = Duration::from_millis(20);
    for _ in 0..TRIES {
        // While a ledger writes, what is read may not be of one moment, and then it looks damaged.
        let in_use_before = is_locked(dir)?;
        let remains = try_examine(dir)?;
        if remains.intact.is_everything() || !(in_use_before || is_locked(dir)?) {
            return Ok(remains);
        }
        thread::sleep(PAUSE);
    }
    Err(StoreError::InUse { dir: dir.to_owned() })
}

/// Adds to an error about a damaged ledger what of it is intact.
pub(super) fn with_what_is_intact(dir: &Path, error: StoreError) -> StoreError {
    match error {
        StoreError::DamagedLog { .. } | StoreError::DamagedFile { .. } => match try_examine(dir) {
            Ok(Remains { intact, .. }) => StoreError::DamagedLedger { why: Box::new(error), intact },
            // Then that is not known.
            Err(_) => error,
        },
        other @ (StoreError::DamagedLedger { .. }
        | StoreError::NotFound { .. }
        | StoreError::InUse { .. }
        | StoreError::Io { .. }
        | StoreError::NotABackup { .. }
        | StoreError::Version { .. }
        | StoreError::Unfoldable { .. }
        | StoreError::Misplaced { .. }
        | StoreError::Clock
        | StoreError::Stopped { .. }) => other,
    }
}

/// [`examine`] for those who hold the store's lock.
pub(super) fn try_examine(dir: &Path) -> Result<Remains, StoreError> {
    let log = dir.join(LOG);
    if !dir.join(HEAD).exists() && !log.exists() {
        return Err(StoreError::NotFound { dir: dir.to_owned() });
    }
    // First, so that it is not ahead of the log if a ledger is writing that.
    let second = match second_head::Found::read(&dir.join(HEAD)) {
        Ok(second) => second,
        Err(StoreError::DamagedFile { .. }) => None,
        Err(error) => return Err(error),
    };
    let mut search = Search::new();
    second.iter().flat_map(second_head::Found::batches).for_each(|batch| search.look_through(batch));
    if let Some(bytes) = read(&log.join(DB))? {
        search.look_through(&bytes);
    }
    let blobs = log.join("blobs");
    let entries = match fs::read_dir(&blobs) {
        Ok(entries) => entries.collect::<Result<Vec<_>, _>>().map_err(StoreError::io("list", &blobs))?,
        Err(error) if error.kind() == ErrorKind::NotFound => Vec::new(),
        Err(error) => return Err(StoreError::io("list", blobs)(error)),
    };
    for entry in entries {
        if let Some(bytes) = read(&entry.path())? {
            search.look_through(&bytes);
        }
    }
    let Found { end, batches, acknowledged } = search.log_to(second.map(|second| second.head));
    Ok(Remains { batches, intact: Intact { records: end.position, acknowledged } })
}

fn read(file: &Path) -> Result<Option<Vec<u8>>, StoreError> {
    match fs::read(file) {
        Ok(bytes) => Ok(Some(bytes)),
        // It never existed, or a running ledger has just removed it.
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(StoreError::io("read", file)(error)),
    }
}

/// The entries that were found so far.
struct Search {
    /// Every head that the empty log leads to, with the last batch on the way and the head before that.
    reached: BTreeMap<Head, Option<(Head, Batch)>>,
    /// Entries of which the one before has not been found yet, by the place where they start, their batch's encoding and
    /// their chain. sled's length in front of an entry may look like the epoch of one that has everything else in common
    /// with it, and of two versions of an entry one may be damaged.
    loose: BTreeMap<(Position, Vec<u8>, Chain), Batch>,
}

impl Search {
    fn new() -> Search {
        Search { reached: BTreeMap::from([(Head::start(), None)]), loose: BTreeMap::new() }
    }

    /// Looks for entries that start at any of these bytes.
    fn look_through(&mut self, bytes: &[u8]) {
        let mut at = 0;
        while let Some(rest) = bytes.get(at..).filter(|rest| !rest.is_empty()) {
            at += 1;
            if !may_begin_entry(rest) {
                continue;
            }
            let Some((entry, length)) = Entry::first_in(rest) else { continue };
            let Some(encoded) = Entry::batch_in(&rest[..length]) else { continue };
            let Entry { batch, chain } = entry;
            match self.link(batch, chain, encoded) {
                // Nothing else begins within it.
                None => at += length - 1,
                Some(batch) => {
                    self.loose.insert((batch.position, encoded.to_vec(), chain), batch);
                }
            }
        }
    }

    /// Puts a batch behind the head that it is chained to; gives it back if that has not been reached.
    fn link(&mut self, batch: Batch, chain: Chain, encoded: &[u8]) -> Option<Batch> {
        let from = Head { position: batch.position, chain: Chain::default() };
        let to = Head { position: batch.position, chain: [u8::MAX; blake3::OUT_LEN] };
        let heads = self.reached.range(from..=to).map(|(head, _)| *head);
        let linked = heads.map(|head| (head, head.after(&batch, encoded))).find(|(_, after)| after.chain == chain);
        match linked {
            Some((before, after)) => {
                self.reached.entry(after).or_insert(Some((before, batch)));
                None
            }
            None => Some(batch),
        }
    }

    /// The log up to the acknowledged head, or, where that is not reached, the longest one.
    fn log_to(mut self, acknowledged: Option<Head>) -> Found {
        // In the order of their places: each can only follow one that starts before it.
        while let Some(((_, encoded, chain), batch)) = self.loose.pop_first() {
            // What does not follow anything was something else, or what it followed is lost.
            self.link(batch, chain, &encoded);
        }
        let end = match acknowledged {
            Some(head) if self.reached.contains_key(&head) => Some(head),
            Some(head) => self.reached.keys().rev().find(|reached| reached.position < head.position).copied(),
            None => self.reached.keys().next_back().copied(),
        };
        let end = end.unwrap_or_else(Head::start);
        let (mut at, mut batches) = (end, Vec::new());
        while let Some((before, batch)) = self.reached.remove(&at).flatten() {
            batches.push(batch);
            at = before;
        }
        batches.reverse();
        Found { end, batches, acknowledged: acknowledged.map(|head| head.position) }
    }
}

/// A log that was found.
#[derive(Debug, PartialEq, Eq)]
struct Found {
    end: Head,
    batches: Vec<Batch>,
    /// How much of it was acknowledged, if that is known.
    acknowledged: Option<Position>,
}

/// Whether an entry may begin here, before the effort of decoding it: an epoch that is not 0, a position, and no more
/// records than there are bytes.
fn may_begin_entry(bytes: &[u8]) -> bool {
    let number = |bytes| postcard::take_from_bytes::<u64>(bytes).ok();
    let Some((1.., rest)) = number(bytes) else { return false };
    let Some((_position, rest)) = number(rest) else { return false };
    let Some((records @ 1.., rest)) = number(rest) else { return false };
    records <= rest.len() as u64
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use bazaar_protocol::store::conformance::Author;

    use super::*;

    #[test]
    fn entries_are_found_in_any_order_behind_any_length() {
        let mut author = Author::new(4, 0);
        let (mut head, mut batches, mut entries) = (Head::start(), Vec::new(), Vec::new());
        for size in [1].into_iter().chain((0..40).map(|n| 1 + n % 7)) {
            let batch = author.trade(size);
            let (entry, after) = Entry::encode(&head, &batch).unwrap();
            // As sled does: the length first, in one byte if that will do.
            let length = if entry.len() > 240 { vec![241, entry.len() as u8] } else { vec![entry.len() as u8] };
            entries.push([length, entry].concat());
            batches.push(batch);
            head = after;
        }
        let is_ambiguous = |entry: &&Vec<u8>| (0..2).all(|from| Entry::first_in(&entry[from..]).is_some());
        assert!(entries.iter().filter(is_ambiguous).count() > 5);
        for _ in ["in order", "from the end"] {
            let mut search = Search::new();
            search.look_through(&entries.concat());
            let found = Found { end: head, batches: batches.clone(), acknowledged: Some(head.position) };
            assert_eq!(search.log_to(Some(head)), found);
            entries.reverse();
        }
    }
}
