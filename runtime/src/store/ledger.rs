//! The ledger's store.
//!
//! ```text
//! DIR/lock       held by the ledger that has it open
//! DIR/head       the second head: where the acknowledged log ends, its chain there, and the latest batches
//! DIR/snapshot   the books at some head, once there are enough records
//! DIR/log/       sled: start of a batch (8 bytes, big-endian) -> the batch, the chain up to its end
//! DIR/log.trial  links to it for as long as it is being tried out (`trial`); nothing in it counts
//! ```

use std::{
    fmt,
    fs::{self, File, TryLockError},
    io::ErrorKind,
    mem,
    num::NonZeroU64,
    path::{Path, PathBuf},
    thread,
    time::{Duration, Instant},
};

use bazaar_protocol::{
    books::{Books, BooksError},
    config::Limits,
    id::Position,
    ledger::{LedgerAnswer, Tail},
    record::Batch,
    snapshot::ChunkId,
    store::Store,
    text::counted,
};

use crate::system::files;

use super::{
    StoreError,
    chain::{Chain, Entry, Head},
    guard::{Guarded, Sizes},
    read,
    second_head::{Found, SecondHead},
    snapshot::{self, Loaded, Snapshot},
    trial::Trial,
};

/// The names of the files in a store's directory.
const LOCK: &str = "lock";
pub(super) const HEAD: &str = "head";
pub(super) const SNAPSHOT: &str = "snapshot";
pub(super) const LOG: &str = "log";

/// With these an idle ledger stays below 15 MB, and a leaf of sixteen batches of ordinary size fits a segment.
const SIZES: Sizes = Sizes { segment: 256 * 1024, cache: 1024 * 1024 };

/// How many bytes of batches sled takes at most before it is synced: a power failure must find what sled holds as it was at
/// one moment, or nearly so. sled writes some four times as much, and it may use a segment again once what it held stands
/// in others, synced or not; so it must not get through three segments without a sync.
const UNSYNCED_IN_SLED: usize = SIZES.segment / 8;

/// How many bytes of the log are read on opening before sled's cache is released.
const WALKED_AT_ONCE: usize = 2 * 1024 * 1024;

/// How a ledger's store is set up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LedgerOptions {
    /// After how many records, if ever, a snapshot of the books is written, within the sync that makes them durable.
    pub snapshot_every: Option<NonZeroU64>,
    /// What bounds its answers to reads. A snapshot that was written under another `sales_kept` is not used; the whole
    /// log is folded instead.
    pub limits: Limits,
    /// How many bytes of the latest batches stand beside the log, each twice, so that one sync of one file makes a batch
    /// durable. The log is synced once these are full; with 0, it is each time. A store keeps what it was created with.
    pub latest: usize,
}

impl Default for LedgerOptions {
    fn default() -> LedgerOptions {
        LedgerOptions { snapshot_every: NonZeroU64::new(4096), limits: Limits::DEFAULT, latest: 1024 * 1024 }
    }
}

/// What was removed from the end of the log on opening: batches that a crash had left torn or out of order above the
/// second head. None of it was ever acknowledged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cut {
    /// The first record of the first batch that was removed; it is the head now.
    pub from: Position,
    /// How many entries were removed.
    pub entries: usize,
    /// What was wrong with the first of them.
    pub what: String,
}

impl fmt::Display for Cut {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} unacknowledged entries from record {} on were cut off: {}", self.entries, self.from, self.what)
    }
}

/// The ledger's log on a disk, with the books it adds up to.
///
/// It keeps the promise of [`Store`]: what was appended before a [`sync`](Store::sync) returned survives a crash of the
/// process and a power failure, whole. If a damaged medium has changed or dropped any of it, opening fails and names
/// the record or the file. Only one process at a time may open a directory.
///
/// All of its calls block, so it belongs on a thread of its own.
#[derive(Debug)]
pub struct SledLedger {
    dir: PathBuf,
    options: LedgerOptions,
    log: Guarded,
    second: SecondHead,
    tail: Tail,
    written: Head,
    synced: Position,
    /// The batches that were written and not synced, as sled has them; `None` once they are too long to stand beside the
    /// second head.
    unsynced: Option<Vec<u8>>,
    /// How many bytes of batches sled has taken since it was synced.
    unsynced_in_sled: usize,
    books: Books,
    snapshot: Option<Snapshot>,
    cut: Option<Cut>,
    is_stopped: bool,
    // Released last.
    _lock: File,
}

impl SledLedger {
    /// Opens the store in `dir`, or creates it. Everything in the log is verified, which takes time in proportion to
    /// the whole log. Whatever the log holds afterwards is durable.
    ///
    /// # Errors
    /// When another process has it open; when anything that was acknowledged is missing or changed; when the log is
    /// intact but cannot be folded; when the operating system reports an error. See [`StoreError`].
    pub fn open(dir: impl AsRef<Path>, options: LedgerOptions) -> Result<SledLedger, StoreError> {
        let dir = dir.as_ref();
        SledLedger::try_open(dir, options).map_err(|error| read::with_what_is_intact(dir, error))
    }

    fn try_open(dir: &Path, options: LedgerOptions) -> Result<SledLedger, StoreError> {
        fs::create_dir_all(dir).map_err(StoreError::io("create", dir))?;
        let lock = lock(dir)?;
        let path = dir.join(LOG);
        let found = read_or_create(&dir.join(HEAD), &path, options.latest)?;
        let tried = match Trial::of(&path)? {
            Some(trial) => {
                let mut copy = Guarded::open_as(&path, trial.dir(), SIZES)?;
                Some(Checked::of(&mut copy, dir, &found, &options)?)
            }
            None => None,
        };
        let mut log = Guarded::open(&path, SIZES)?;
        let checked = match tried {
            Some(checked) => checked,
            None => Checked::of(&mut log, dir, &found, &options)?,
        };
        if head_at(&log, checked.in_log.position)? != Some(checked.in_log) {
            let what = "the log does not end as it did when it was tried out".to_owned();
            return Err(StoreError::DamagedLog { file: path, record: checked.end.position, what });
        }
        let mut ledger = SledLedger {
            dir: dir.to_owned(),
            options,
            log,
            second: SecondHead::open(&dir.join(HEAD), &found)?,
            tail: checked.tail,
            written: checked.end,
            synced: checked.end.position,
            unsynced: Some(Vec::new()),
            unsynced_in_sled: 0,
            books: checked.books,
            snapshot: checked.snapshot,
            cut: None,
            is_stopped: false,
            _lock: lock,
        };
        if let Some(what) = checked.torn {
            ledger.cut_from_here(what)?;
        }
        if checked.in_log != checked.end {
            ledger.complete_log(checked.in_log, &found)?;
        }
        if ledger.written != found.head {
            // What a crash left above the second head became durable when the log was opened, and from here on it
            // counts.
            ledger.second.write(ledger.written, Some(&[]), || Ok(()))?;
        }
        Ok(ledger)
    }

    /// Puts what the second head's file has beyond `from` into the log, in the place of what follows there.
    fn complete_log(&mut self, from: Head, found: &Found) -> Result<(), StoreError> {
        self.log.call(|db| db.range(key(from.position)..).keys().try_for_each(|key| db.remove(key?).map(drop)))?;
        let mut at = from.position;
        while let Some(value) = found.batch_at(at).filter(|_| at < self.written.position) {
            self.log.call(|db| db.insert(key(at), value))?;
            at = Entry::first_in(value).map_or(self.written.position, |(entry, _)| entry.batch.end());
        }
        self.log.sync()
    }

    /// The store's directory.
    #[must_use]
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// What was cut off on opening, if anything.
    #[must_use]
    pub fn cut(&self) -> Option<&Cut> {
        self.cut.as_ref()
    }

    /// The books that all written records add up to, synced or not.
    #[must_use]
    pub fn books(&self) -> &Books {
        &self.books
    }

    /// All batches as written, from the first on, each verified against the chain. The iterator ends after the first
    /// error.
    ///
    /// # Errors
    /// When the store has stopped. Each item is an error when the medium cannot be read or is damaged there.
    pub fn verified_batches(&self) -> Result<Batches<'_>, StoreError> {
        self.refuse_when_stopped()?;
        Ok(Batches(Walk::from_start(&self.log)))
    }

    /// Removes everything after the end of the verified log.
    fn cut_from_here(&mut self, what: String) -> Result<(), StoreError> {
        let from = self.written.position;
        let keys = self.log.call(|db| db.range(key(from)..).keys().collect::<sled::Result<Vec<_>>>())?;
        for key in &keys {
            self.log.call(|db| db.remove(key))?;
        }
        self.log.sync()?;
        let cut = Cut { from, entries: keys.len(), what };
        tracing::warn!(file = %self.log.dir().display(), "{cut}");
        self.cut = Some(cut);
        Ok(())
    }

    fn try_append(&mut self, batch: &Batch) -> Result<(), StoreError> {
        if batch.position != self.written.position || batch.records.is_empty() {
            return Err(StoreError::Misplaced {
                position: batch.position,
                records: batch.records.len(),
                head: self.written.position,
            });
        }
        // Before it is written: a record that cannot be folded must stop the ledger and not get into its log.
        for record in &batch.records {
            self.books.apply(record).map_err(|source| self.unfoldable(source))?;
        }
        let unencodable = |error| StoreError::damaged(self.log.dir(), format!("a batch cannot be encoded ({error})"));
        let (value, after) = Entry::encode(&self.written, batch).map_err(unencodable)?;
        self.log.call(|db| db.insert(key(batch.position), &*value))?;
        self.tail = self.tail.after(batch);
        self.written = after;
        self.unsynced_in_sled += value.len();
        let mut unsynced = self.unsynced.take();
        if let Some(bytes) = &mut unsynced {
            bytes.extend_from_slice(&value);
        }
        self.unsynced = unsynced.filter(|bytes| self.second.takes(bytes.len()));
        Ok(())
    }

    fn try_sync(&mut self) -> Result<(), StoreError> {
        if self.synced == self.written.position {
            return Ok(());
        }
        let batches = self.unsynced.replace(Vec::new());
        if self.unsynced_in_sled > UNSYNCED_IN_SLED {
            self.log.sync()?;
            self.unsynced_in_sled = 0;
        }
        let SledLedger { second, log, unsynced_in_sled, .. } = self;
        second.write(self.written, batches.as_deref(), || {
            *unsynced_in_sled = 0;
            log.sync()
        })?;
        self.synced = self.written.position;
        let last = self.snapshot.as_ref().map_or(Position(0), Snapshot::position);
        if self.options.snapshot_every.is_some_and(|every| self.synced.0 - last.0 >= every.get()) {
            snapshot::write(&self.dir.join(SNAPSHOT), &self.books, self.written.chain)?;
            self.snapshot = Some(Snapshot::of(&self.books, &self.options.limits));
        }
        Ok(())
    }

    fn stop_on_error<T>(&mut self, result: Result<T, StoreError>) -> Result<T, StoreError> {
        if result.is_err() {
            self.is_stopped = true;
            self.log.stop();
        }
        result
    }

    fn refuse_when_stopped(&self) -> Result<(), StoreError> {
        if self.is_stopped { Err(StoreError::Stopped { dir: self.dir.clone() }) } else { Ok(()) }
    }

    fn damaged(&self, record: Position, what: String) -> StoreError {
        StoreError::DamagedLog { file: self.log.dir().to_owned(), record, what }
    }

    fn unfoldable(&self, source: BooksError) -> StoreError {
        StoreError::Unfoldable { file: self.log.dir().to_owned(), source }
    }
}

impl Store for SledLedger {
    type Error = StoreError;

    fn tail(&self) -> Tail {
        self.tail
    }

    fn append(&mut self, batch: &Batch) -> Result<(), StoreError> {
        self.refuse_when_stopped()?;
        let appended = self.try_append(batch);
        self.stop_on_error(appended)
    }

    fn sync(&mut self) -> Result<(), StoreError> {
        self.refuse_when_stopped()?;
        let synced = self.try_sync();
        self.stop_on_error(synced)
    }

    fn read(&self, from: Position, chunk: Option<ChunkId>, upto: Position) -> Result<LedgerAnswer, StoreError> {
        self.refuse_when_stopped()?;
        if let Some(snapshot) = self.snapshot.as_ref().filter(|s| from < s.position() && s.position() <= upto) {
            return Ok(snapshot.chunk_for(chunk));
        }
        let upto = upto.min(self.written.position);
        let mut records = Vec::new();
        if from < upto {
            let most = self.options.limits.read_records as usize;
            let wanted = usize::try_from(upto.0 - from.0).map_or(most, |n| n.min(most));
            let mut walk = Walk::reaching(&self.log, from)?;
            while records.len() < wanted {
                let Some((batch, _)) = walk.step()? else {
                    return Err(self.damaged(walk.at.position, "the log ends here, but it had more records".into()));
                };
                let skipped = from.0.saturating_sub(batch.position.0) as usize;
                records.extend(batch.records.into_iter().skip(skipped).take(wanted - records.len()));
            }
        }
        Ok(LedgerAnswer::Records { from, records })
    }

    fn batches(&self, from: Position, upto: Position) -> Result<Vec<Batch>, StoreError> {
        self.refuse_when_stopped()?;
        let (mut batches, mut records) = (Vec::new(), 0);
        if from < upto {
            let mut walk = Walk::reaching(&self.log, from)?;
            while let Some((batch, _)) = walk.step()? {
                records += batch.records.len();
                if batch.end() > upto || (records > self.options.limits.read_records as usize && !batches.is_empty()) {
                    break;
                }
                batches.push(batch);
            }
        }
        Ok(batches)
    }

    fn cut_off(&self) -> Option<String> {
        self.cut.as_ref().map(Cut::to_string)
    }
}

/// All batches of a log in order, each verified against the chain ([`SledLedger::verified_batches`]).
#[derive(Debug)]
pub struct Batches<'a>(Walk<'a>);

impl Iterator for Batches<'_> {
    type Item = Result<Batch, StoreError>;

    fn next(&mut self) -> Option<Result<Batch, StoreError>> {
        self.0.step().map(|step| step.map(|(batch, _)| batch)).transpose()
    }
}

fn key(position: Position) -> [u8; 8] {
    position.0.to_be_bytes()
}

/// The head at the end of the last batch that starts before this place, if that can be decoded.
fn head_at(log: &Guarded, position: Position) -> Result<Option<Head>, StoreError> {
    let Some((_, value)) = log.call(|db| db.get_lt(key(position)))? else { return Ok(Some(Head::start())) };
    let entry = Entry::first_in(&value).map(|(entry, _)| entry);
    Ok(entry.map(|entry| Head { position: entry.batch.end(), chain: entry.chain }))
}

/// Keeps others from opening the store in a directory for as long as the file is open. sled has a lock of its own, but
/// not before sled is opened.
pub(super) fn lock(dir: &Path) -> Result<File, StoreError> {
    const RELEASE: Duration = Duration::from_secs(1);
    let path = dir.join(LOCK);
    let deadline = Instant::now() + RELEASE;
    loop {
        let file = File::create(&path).map_err(StoreError::io("create", &path))?;
        match file.try_lock() {
            Ok(()) if files::is_named(&file, &path).map_err(StoreError::io("find", &path))? => return Ok(file),
            // Meanwhile, another store has been put in the place of this one.
            Ok(()) => {}
            // A process that was killed holds its locks for some milliseconds more, and a tool that reads holds this one
            // for a moment.
            Err(TryLockError::WouldBlock) if Instant::now() < deadline => thread::sleep(Duration::from_millis(5)),
            Err(TryLockError::WouldBlock) => return Err(StoreError::InUse { dir: dir.to_owned() }),
            Err(TryLockError::Error(error)) => return Err(StoreError::io("lock", path)(error)),
        }
    }
}

/// Whether somebody has locked the store in a directory.
pub(super) fn is_locked(dir: &Path) -> Result<bool, StoreError> {
    let path = dir.join(LOCK);
    let file = match File::open(&path) {
        Ok(file) => file,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(false),
        Err(error) => return Err(StoreError::io("open", path)(error)),
    };
    // Shared, so that two readers do not take each other for a ledger.
    match file.try_lock_shared() {
        Ok(()) => Ok(false),
        Err(TryLockError::WouldBlock) => Ok(true),
        Err(TryLockError::Error(error)) => Err(StoreError::io("lock", path)(error)),
    }
}

/// What the file of the second head holds. It is created before there is a log, so a log without it has lost it.
fn read_or_create(second: &Path, log: &Path, size: usize) -> Result<Found, StoreError> {
    if let Some(found) = Found::read(second)? {
        return Ok(found);
    }
    if log.exists() {
        return Err(StoreError::damaged(second, "it is missing, but there is a log beside it"));
    }
    SecondHead::create(second, size)?;
    Found::read(second)?.ok_or_else(|| StoreError::damaged(second, "it is missing, and has just been created"))
}

/// What is known of a log that may be used: everything in it has been verified and folded.
struct Checked {
    /// Where it ends.
    end: Head,
    /// Up to where sled has it. The rest is with the second head.
    in_log: Head,
    tail: Tail,
    books: Books,
    snapshot: Option<Snapshot>,
    torn: Option<String>,
}

impl Checked {
    /// Checks a log of the store in `dir`, or a copy of it, against the second head and the snapshot.
    fn of(log: &mut Guarded, dir: &Path, found: &Found, options: &LedgerOptions) -> Result<Checked, StoreError> {
        let file = dir.join(SNAPSHOT);
        let from_snapshot = match snapshot::load(&file)? {
            Loaded::Whole(books, chain) => Some((*books, chain)),
            Loaded::Missing => None,
            Loaded::Damaged(what) => {
                tracing::warn!(file = %file.display(), what, "damaged snapshot; folding the whole log");
                None
            }
        };
        let mut verified = verify(log, found, from_snapshot.as_ref(), options.limits)?;
        let snapshot = match from_snapshot {
            Some((books, _)) if verified.snapshot_fits && books.sales_kept() == options.limits.sales_kept => {
                Some(Snapshot::of(&books, &options.limits))
            }
            Some((books, _)) if books.position() > verified.end.position => {
                let snapshot = counted(books.position().0, "record");
                let what = format!("the log ends here, but a snapshot of {snapshot} was taken of it");
                return Err(StoreError::DamagedLog { file: dir.join(LOG), record: verified.end.position, what });
            }
            Some(_) => {
                if verified.snapshot_fits {
                    // It may lack sales that are kept now, or have some that are not.
                    tracing::info!(file = %file.display(), "snapshot under other limits; folding the whole log");
                } else {
                    tracing::warn!(file = %file.display(), "snapshot of another log; folding the whole log");
                }
                verified = verify(log, found, None, options.limits)?;
                None
            }
            None => None,
        };
        let Verified { end, in_log, tail, books, fold, torn, .. } = verified;
        fold.map_err(|source| StoreError::Unfoldable { file: dir.join(LOG), source })?;
        Ok(Checked { end, in_log, tail, books, snapshot, torn })
    }
}

/// What a walk over the whole log found.
struct Verified {
    end: Head,
    in_log: Head,
    tail: Tail,
    books: Books,
    fold: Result<(), BooksError>,
    /// Whether the snapshot's head is one of this log.
    snapshot_fits: bool,
    /// What is wrong with what follows the end, above the second head, where something does that is not chained to it.
    torn: Option<String>,
}

/// Walks the log from its start. Below the second head every batch must be there, and the chain at the second head must
/// be the acknowledged one; above it, batches count for as long as they are chained.
fn verify(
    log: &mut Guarded,
    found: &Found,
    from: Option<&(Books, Chain)>,
    limits: Limits,
) -> Result<Verified, StoreError> {
    let acknowledged = found.head;
    let file = log.dir().to_owned();
    let damaged = |record, what: &str| StoreError::DamagedLog { file: file.clone(), record, what: what.into() };
    let (mut tail, mut torn) = (Tail::default(), None);
    let mut folding = Folding::from(from, limits);
    let mut walk = Walk { found: Some(found), ..Walk::from_start(log) };
    loop {
        if walk.bytes > WALKED_AT_ONCE && walk.left_log.is_none() {
            let at = walk.at;
            // The walk holds on to sled.
            drop(walk);
            log.renew()?;
            walk = Walk { at, found: Some(found), ..Walk::from_start(log) };
        }
        let at = walk.at;
        folding.reached(at);
        if at.position == acknowledged.position && at.chain != acknowledged.chain {
            return Err(damaged(at.position, "the log up to here is not the one that was acknowledged"));
        }
        match walk.step() {
            Ok(Some((batch, end))) => {
                if at.position < acknowledged.position && acknowledged.position < end.position {
                    return Err(damaged(at.position, "a batch runs past the acknowledged end of the log"));
                }
                tail = tail.after(&batch);
                folding.fold(&batch);
            }
            Ok(None) if at.position < acknowledged.position => {
                let what = format!(
                    "the log ends here, but more was acknowledged: {}",
                    counted(acknowledged.position.0, "record")
                );
                return Err(damaged(at.position, &what));
            }
            Ok(None) => break,
            // A batch that was never acknowledged, torn by a crash.
            Err(StoreError::DamagedLog { what, .. }) if at.position >= acknowledged.position => {
                torn = Some(what);
                break;
            }
            Err(error) => return Err(error),
        }
    }
    let (end, is_long) = (walk.at, walk.bytes > WALKED_AT_ONCE / 8);
    let in_log = walk.left_log.unwrap_or(end);
    drop(walk);
    if is_long {
        log.renew()?;
    }
    let Folding { books, fold, snapshot_fits, .. } = folding;
    Ok(Verified { end, in_log, tail, books, fold, snapshot_fits, torn })
}

/// The fold of a log from a snapshot on, or from its start.
struct Folding {
    books: Books,
    fold: Result<(), BooksError>,
    snapshot: Option<Chain>,
    snapshot_fits: bool,
}

impl Folding {
    fn from(snapshot: Option<&(Books, Chain)>, limits: Limits) -> Folding {
        let (books, snapshot) = match snapshot {
            Some((books, chain)) => (books.clone(), Some(*chain)),
            None => (Books::keeping(limits.sales_kept), None),
        };
        Folding { books, fold: Ok(()), snapshot, snapshot_fits: false }
    }

    fn reached(&mut self, at: Head) {
        if self.snapshot == Some(at.chain) && self.books.position() == at.position {
            self.snapshot_fits = true;
        }
    }

    fn fold(&mut self, batch: &Batch) {
        // What is below the snapshot's head is already in it.
        if batch.position >= self.books.position() && self.fold.is_ok() {
            self.fold = batch.records.iter().try_for_each(|record| self.books.apply(record));
        }
    }
}

/// A walk over the batches, each of which must follow the one before it.
struct Walk<'a> {
    log: &'a Guarded,
    /// Where batches are found that sled does not have.
    found: Option<&'a Found>,
    steps: Steps,
    /// The head at which sled had no batch that followed, and the second head's file had one.
    left_log: Option<Head>,
    /// The head after the batches given so far.
    at: Head,
    /// How many bytes were read for them.
    bytes: usize,
}

enum Steps {
    /// sled is asked for its entries at the first step.
    Unasked,
    Under(Box<sled::Iter>),
    Over,
}

impl<'a> Walk<'a> {
    fn from_start(log: &'a Guarded) -> Walk<'a> {
        Walk { log, found: None, steps: Steps::Unasked, left_log: None, at: Head::start(), bytes: 0 }
    }

    /// A walk whose first step gives the batch that holds the record at `position`.
    fn reaching(log: &'a Guarded, position: Position) -> Result<Walk<'a>, StoreError> {
        let mut walk = Walk::from_start(log);
        let holding = log.call(|db| db.range(..=key(position)).next_back().transpose())?;
        if let Some((holding, _)) = holding
            && let Some((_, before)) = log.call(|db| db.get_lt(&holding))?
        {
            let entry = walk.decode(&before)?;
            walk.at = Head { position: entry.batch.end(), chain: entry.chain };
        }
        Ok(walk)
    }

    /// The next batch, and the head after it; `None` at the end of the log and after an error.
    ///
    /// # Errors
    /// [`StoreError::DamagedLog`] when what is found there does not follow; any other when sled cannot read it.
    fn step(&mut self) -> Result<Option<(Batch, Head)>, StoreError> {
        if self.left_log.is_none() {
            let step = self.step_in_log();
            if !matches!(step, Ok(None) | Err(StoreError::DamagedLog { .. })) {
                return step;
            }
            let Some(next) = self.step_beside_log() else { return step };
            return Ok(Some(next));
        }
        Ok(self.step_beside_log())
    }

    /// The next batch, from the second head's file. Once one is from there, so are all that follow.
    fn step_beside_log(&mut self) -> Option<(Batch, Head)> {
        let value = self.found?.batch_at(self.at.position)?;
        let (entry, _) = Entry::first_in(value)?;
        let after = self.at.after(&entry.batch, Entry::batch_in(value)?);
        if after.chain != entry.chain || entry.batch.position != self.at.position {
            return None;
        }
        self.left_log.get_or_insert(self.at);
        self.at = after;
        Some((entry.batch, after))
    }

    fn step_in_log(&mut self) -> Result<Option<(Batch, Head)>, StoreError> {
        let mut entries = match mem::replace(&mut self.steps, Steps::Over) {
            Steps::Unasked => self.log.call(|db| Ok(Box::new(db.range(key(self.at.position)..))))?,
            Steps::Under(entries) => entries,
            Steps::Over => return Ok(None),
        };
        let Some((found, value)) = self.log.call(|_| entries.next().transpose())? else { return Ok(None) };
        if found != key(self.at.position) {
            return Err(self.damaged(format!("the next batch is stored under {found:?} instead")));
        }
        let entry = self.decode(&value)?;
        let after = Entry::batch_in(&value).map(|encoded| self.at.after(&entry.batch, encoded));
        let after = after.filter(|after| after.chain == entry.chain && entry.batch.position == self.at.position);
        let Some(after) = after else {
            return Err(self.damaged("the batch is not chained to the ones before it".into()));
        };
        self.at = after;
        self.bytes += value.len();
        self.steps = Steps::Under(entries);
        Ok(Some((entry.batch, after)))
    }

    fn decode(&self, value: &[u8]) -> Result<Entry, StoreError> {
        let whole = Entry::first_in(value).filter(|(_, length)| *length == value.len());
        whole.map(|(entry, _)| entry).ok_or_else(|| self.damaged("the batch cannot be decoded".into()))
    }

    fn damaged(&self, what: String) -> StoreError {
        StoreError::DamagedLog { file: self.log.dir().to_owned(), record: self.at.position, what }
    }
}

impl fmt::Debug for Walk<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Walk").field("at", &self.at).finish_non_exhaustive()
    }
}
