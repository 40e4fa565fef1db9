//! What a store must promise (DESIGN 3): one suite over the store in memory and the runtime's store on a disk, and what
//! the latter makes of damage.
#![allow(clippy::unwrap_used, clippy::expect_used)]

#[path = "../runtime/etcd/tests/common/mod.rs"]
mod etcd;

use std::{
    collections::{BTreeMap, BTreeSet},
    convert::Infallible,
    env,
    fmt::Debug,
    fs,
    mem::MaybeUninit,
    num::NonZeroU64,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError, Weak},
    thread,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use bazaar_protocol::{
    account::QueueKey,
    books::{Books, BooksFault},
    clock::Time,
    config::{Limits, Ordering},
    effect::Durable,
    id::{Epoch, Incarnation, PeerId, Position},
    ledger::{
        HighWaterMark, LedgerAnswer, LedgerConfig, Secret, Tail,
        replica::{Found, Outcome},
    },
    record::Batch,
    snapshot::ChunkId,
    store::{
        MemoryStore, Store,
        conformance::{self, Author, Crashing, all_batches, read_all},
    },
};
use bazaar_runtime::{
    config::ledger::LedgerId,
    config::run_dir::address_file,
    network::{
        hello::{Credentials, RunId, RunKey},
        service,
        settings::Settings,
    },
    processes::{
        ledger_driver::{LedgerDriverConfig, run_ledger},
        report::Form,
    },
    store::{
        Backup, BackupHeader, KeptLog, LedgerOptions, PeerStore, Place, SledLedger, StoreError,
        etcd::{EtcdStore, Pauses, ReadError},
        examine, install_panic_filter, read_acknowledged,
    },
    tools,
};
use proptest::prelude::*;
use rustix::fs::inotify;
use tempfile::TempDir;
use tokio::sync::watch;

// ---------------------------------------------------------------------------------------------- what is written

/// Default limits, and a snapshot every so many records; 0 for never. All records are in sled only.
const fn snapshots(every: u64) -> LedgerOptions {
    LedgerOptions { snapshot_every: NonZeroU64::new(every), limits: Limits::DEFAULT, latest: 0 }
}

/// So few bytes for the latest batches that most tests fill them.
const FEW: usize = 64 * 1024;

/// A SplitMix64 generator.
#[derive(Clone, Default)]
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, n: usize) -> usize {
        (self.next() % n as u64) as usize
    }

    /// A new seed for each run, or the one given to repeat a run.
    fn seeded() -> Random {
        let given = env::var("BAZAAR_SEED").ok().map(|seed| seed.parse().expect("BAZAAR_SEED is a number"));
        let seed = given.unwrap_or_else(|| SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_nanos() as u64);
        println!("BAZAAR_SEED={seed} cargo test -p bazaar-runtime --test store_conformance  # repeats this run");
        Random(seed)
    }
}

// ------------------------------------------------------------------------------------------- the stores under test

/// The store on a disk, with an image of the directory as it was after the last sync.
struct Disk<const LATEST: usize> {
    ledger: SledLedger,
    options: LedgerOptions,
    synced: Image,
    dir: TempDir,
}

impl<const LATEST: usize> Store for Disk<LATEST> {
    type Error = StoreError;

    fn tail(&self) -> Tail {
        self.ledger.tail()
    }

    fn append(&mut self, batch: &Batch) -> Result<(), StoreError> {
        self.ledger.append(batch)
    }

    fn sync(&mut self) -> Result<(), StoreError> {
        self.ledger.sync()?;
        self.synced = Image::of(self.dir.path());
        Ok(())
    }

    fn read(&self, from: Position, chunk: Option<ChunkId>, upto: Position) -> Result<LedgerAnswer, StoreError> {
        self.ledger.read(from, chunk, upto)
    }

    fn batches(&self, from: Position, upto: Position) -> Result<Vec<Batch>, StoreError> {
        self.ledger.batches(from, upto)
    }
}

impl<const LATEST: usize> Crashing for Disk<LATEST> {
    fn fresh(limits: Limits, snapshot_every: Option<NonZeroU64>) -> Disk<LATEST> {
        let options = LedgerOptions { snapshot_every, limits, latest: LATEST };
        let dir = temporary();
        let ledger = SledLedger::open(dir.path(), options).expect("created");
        Disk { ledger, options, synced: Image::of(dir.path()), dir }
    }

    fn reopen(self, keep_unsynced: bool) -> Disk<LATEST> {
        let Disk { ledger, options, synced, dir } = self;
        drop(ledger);
        if !keep_unsynced {
            synced.put_back(dir.path());
        }
        let ledger = SledLedger::open(dir.path(), options).expect("opens after a crash");
        assert_eq!(ledger.cut(), None, "nothing is torn");
        Disk { ledger, options, synced: Image::of(dir.path()), dir }
    }
}

/// The store in etcd, as a ledger uses it that has it to itself. What is not synced has not been sent.
struct InEtcd {
    store: EtcdStore,
    options: (Limits, Option<NonZeroU64>),
    unsynced: Vec<Batch>,
    /// The end of what etcd holds.
    synced: Tail,
    node: Arc<EtcdNode>,
}

/// A node of etcd for all tests that run at the same time, and what waits for its answers.
struct EtcdNode {
    runtime: tokio::runtime::Runtime,
    etcd: etcd::Etcd,
}

impl EtcdNode {
    fn shared() -> Arc<EtcdNode> {
        static NODE: Mutex<Weak<EtcdNode>> = Mutex::new(Weak::new());
        let mut node = NODE.lock().unwrap_or_else(PoisonError::into_inner);
        node.upgrade().unwrap_or_else(|| {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            let etcd = runtime.block_on(etcd::Etcd::start("conformance", 1)).expect("there is an etcd");
            let new = Arc::new(EtcdNode { runtime, etcd });
            *node = Arc::downgrade(&new);
            new
        })
    }

    fn wait<F: Future>(&self, what: F) -> F::Output {
        self.runtime.block_on(what)
    }

    fn store(&self, prefix: &str, limits: Limits) -> EtcdStore {
        EtcdStore::new(self.etcd.client(), prefix, RunId(1), limits)
    }
}

impl InEtcd {
    fn opened(store: EtcdStore, options: (Limits, Option<NonZeroU64>), node: Arc<EtcdNode>) -> InEtcd {
        let Found::Tail(synced) = node.wait(store.look()).expect("an answer").found else { panic!("it is this run's") };
        InEtcd { store, options, unsynced: Vec::new(), synced, node }
    }

    async fn compact(&self) {
        let base = self.store.look().await.unwrap().base.expect("a base");
        let head = self.synced.status.head;
        if self.options.1.is_some_and(|every| head.0 >= base.position().0 + every.get()) {
            let next = self.store.write_snapshot(head).await.unwrap().expect("there is more in the log");
            self.store.move_base(&base, &next).await.unwrap();
            // Not what these tests read below a snapshot.
            self.store.clear_below(&next, u64::MAX).await.unwrap();
        }
    }
}

impl Store for InEtcd {
    type Error = ReadError;

    fn tail(&self) -> Tail {
        self.unsynced.iter().fold(self.synced, |tail, batch| tail.after(batch))
    }

    fn append(&mut self, batch: &Batch) -> Result<(), ReadError> {
        self.unsynced.push(batch.clone());
        Ok(())
    }

    fn sync(&mut self) -> Result<(), ReadError> {
        let node = Arc::clone(&self.node);
        let is_new = !self.unsynced.is_empty();
        for batch in std::mem::take(&mut self.unsynced) {
            let outcome = node.wait(self.store.append_until_settled(&self.synced, &batch, Pauses::default()));
            assert_eq!(outcome, Outcome::Written);
            self.synced = self.synced.after(&batch);
        }
        if is_new {
            node.wait(self.compact());
        }
        Ok(())
    }

    fn read(&self, from: Position, chunk: Option<ChunkId>, upto: Position) -> Result<LedgerAnswer, ReadError> {
        let upto = upto.min(self.synced.status.head);
        Ok(self.node.wait(self.store.read(from, chunk, upto))?.expect("nothing was cleared"))
    }

    fn batches(&self, from: Position, upto: Position) -> Result<Vec<Batch>, ReadError> {
        let upto = upto.min(self.synced.status.head);
        Ok(self.node.wait(self.store.batches(from, upto))?.expect("nothing was cleared"))
    }
}

impl Crashing for InEtcd {
    fn fresh(limits: Limits, snapshot_every: Option<NonZeroU64>) -> InEtcd {
        let node = EtcdNode::shared();
        let store = node.store(&format!("/bazaar/{}", RunId::random()), limits);
        node.wait(store.init()).expect("nothing is there");
        InEtcd::opened(store, (limits, snapshot_every), node)
    }

    fn reopen(mut self, keep_unsynced: bool) -> InEtcd {
        // A transaction that has reached etcd is carried out, whoever waits for its answer.
        if keep_unsynced {
            self.options.1 = None;
            self.sync().unwrap();
        }
        let InEtcd { store, options, node, .. } = self;
        let again = node.store(&store.prefix(), options.0);
        InEtcd::opened(again, options, node)
    }
}

/// A directory whose syncs cost nothing, where the system has one.
fn temporary() -> TempDir {
    let fast = Path::new("/dev/shm");
    if fast.is_dir() { tempfile::tempdir_in(fast) } else { tempfile::tempdir() }.expect("a directory")
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    Image::of(from).put_back(to);
}

/// All files of a directory.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Image(BTreeMap<PathBuf, Vec<u8>>);

impl Image {
    fn of(dir: &Path) -> Image {
        let mut files = BTreeMap::new();
        let mut dirs = vec![dir.to_owned()];
        while let Some(next) = dirs.pop() {
            for entry in fs::read_dir(&next).expect("a directory") {
                let path = entry.unwrap().path();
                if path.is_dir() {
                    dirs.push(path);
                } else {
                    files.insert(path.strip_prefix(dir).unwrap().to_owned(), fs::read(&path).unwrap());
                }
            }
        }
        Image(files)
    }

    fn put_back(&self, dir: &Path) {
        for entry in fs::read_dir(dir).expect("a directory") {
            let path = entry.unwrap().path();
            if path.is_dir() { fs::remove_dir_all(path) } else { fs::remove_file(path) }.unwrap();
        }
        for (name, bytes) in &self.0 {
            fs::create_dir_all(dir.join(name).parent().unwrap()).unwrap();
            fs::write(dir.join(name), bytes).unwrap();
        }
    }
}

// ----------------------------------------------------------------------------------------------------- the suite

macro_rules! conformance {
    ($($name:ident),* $(,)?) => {
        mod the_store_in_memory {
            $(#[test] fn $name() { super::conformance::$name::<super::MemoryStore>(); })*
        }
        mod the_store_on_a_disk {
            $(#[test] fn $name() { super::conformance::$name::<super::Disk<{ super::FEW }>>(); })*
        }
        mod the_store_on_a_disk_with_all_in_sled {
            $(#[test] fn $name() { super::conformance::$name::<super::Disk<0>>(); })*
        }
        mod the_store_in_etcd {
            $(#[test] fn $name() {
                if super::etcd::is_here(stringify!($name)) {
                    super::conformance::$name::<super::InEtcd>();
                }
            })*
        }
    };
}

conformance! {
    an_empty_store_has_an_empty_tail_and_nothing_to_read,
    what_was_synced_survives_a_crash_and_what_was_not_may_be_gone_whole,
    the_tail_after_a_crash_still_names_the_last_batch,
    the_tail_knows_the_term_and_whether_it_was_resigned,
    a_read_never_shows_what_stands_at_or_above_upto,
    a_long_log_is_read_in_pieces_from_any_place,
    a_reader_behind_a_snapshot_gets_its_chunks_and_then_the_records,
    a_snapshot_above_upto_is_not_shown,
    a_chunk_of_another_snapshot_is_answered_with_the_first_chunk,
    answers_are_no_larger_than_the_limits_say,
    a_sync_with_nothing_new_changes_nothing,
}

#[derive(Clone, Debug)]
enum Step {
    Trade(usize),
    Resign,
    Sync,
    Crash { keep_unsynced: bool },
    Read { from: u64, upto: u64, chunk: Option<(u64, u32)> },
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => (1_usize..40).prop_map(Step::Trade),
        1 => Just(Step::Resign),
        4 => Just(Step::Sync),
        1 => any::<bool>().prop_map(|keep_unsynced| Step::Crash { keep_unsynced }),
        6 => (0_u64..600, 0_u64..600, proptest::option::of((0_u64..200, 0_u32..3)))
            .prop_map(|(from, upto, chunk)| Step::Read { from, upto, chunk }),
    ]
}

fn limits() -> impl Strategy<Value = Limits> {
    let small = (1_u32..40, 1_u32..40, 1_u32..4);
    let small = small.prop_map(|(chunk_weight, read_records, sales_kept)| Limits {
        chunk_weight,
        read_records,
        sales_kept,
        ..Limits::DEFAULT
    });
    prop_oneof![Just(Limits::DEFAULT), small]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_disk_answers_as_memory_does_through_any_steps(
        steps in proptest::collection::vec(step(), 1..60),
        snapshot_every in prop_oneof![Just(0_u64), 5_u64..80].prop_map(NonZeroU64::new),
        limits in limits(),
    ) {
        let mut memory = MemoryStore::fresh(limits, snapshot_every);
        let mut disk = Disk::<FEW>::fresh(limits, snapshot_every);
        let mut author = Author::new(limits.sales_kept, 0);
        let mut durable = author.clone();
        for step in steps {
            match step {
                Step::Trade(records) => {
                    let batch = author.trade(records);
                    memory.append(&batch).unwrap();
                    disk.append(&batch).unwrap();
                }
                Step::Resign if author.books().term().is_some_and(|term| !term.ended) => {
                    let batch = author.resign();
                    memory.append(&batch).unwrap();
                    disk.append(&batch).unwrap();
                }
                Step::Resign => {}
                Step::Sync => {
                    memory.sync().unwrap();
                    disk.sync().unwrap();
                    durable = author.clone();
                }
                Step::Crash { keep_unsynced } => {
                    memory = memory.reopen(keep_unsynced);
                    disk = disk.reopen(keep_unsynced);
                    if keep_unsynced { durable = author.clone() } else { author = durable.clone() }
                }
                Step::Read { from, upto, chunk } => {
                    let chunk = chunk.map(|(position, index)| ChunkId { position: Position(position), index });
                    let (from, upto) = (Position(from), Position(upto));
                    prop_assert_eq!(memory.read(from, chunk, upto).unwrap(), disk.read(from, chunk, upto).unwrap());
                }
            }
            prop_assert_eq!(memory.tail(), disk.tail());
            prop_assert_eq!(disk.ledger.books(), author.books());
        }
        prop_assert_eq!(all_batches(&memory), all_batches(&disk));
        disk.sync().unwrap();
        // Whatever sled has made of its file meanwhile.
        prop_assert_eq!(read_acknowledged(disk.dir.path()).unwrap(), all_batches(&memory));
        let head = disk.tail().status.head;
        prop_assert_eq!(read_all(&disk, Books::keeping(limits.sales_kept), head).0, author.books().clone());
    }
}

// --------------------------------------------------------------------------------- what only the one on a disk does

const NO_SNAPSHOTS: LedgerOptions = snapshots(0);

/// A ledger's directory after batches of these sizes, each synced, and what is in it. It was closed and opened
/// half-way, so that sled has an index of the first half.
fn ledger_dir(options: LedgerOptions, sizes: &[usize]) -> (TempDir, Vec<Batch>, Author) {
    let (dir, mut author) = (temporary(), Author::new(options.limits.sales_kept, 0));
    let mut ledger = SledLedger::open(dir.path(), options).expect("created");
    let mut batches = Vec::new();
    for (nth, size) in sizes.iter().enumerate() {
        if nth > 0 && nth == sizes.len() / 2 {
            drop(ledger);
            ledger = SledLedger::open(dir.path(), options).expect("opens");
        }
        batches.push(author.trade(*size));
        ledger.append(&batches[batches.len() - 1]).expect("appended");
        ledger.sync().expect("synced");
    }
    (dir, batches, author)
}

/// Changes sled's entries behind the ledger's back.
fn tamper(dir: &Path, change: impl FnOnce(&sled::Db)) {
    let config = sled::Config::new().path(dir.join("log")).segment_size(256 * 1024).flush_every_ms(None);
    let db = config.open().expect("sled opens");
    change(&db);
    db.flush().expect("flushed");
    drop(db);
    // sled's threads hold on to its lock a little longer, but nobody has locked a new file.
    Image::of(dir).put_back(dir);
}

/// What is wrong with a ledger that cannot be opened, apart from what of it is intact.
#[track_caller]
fn damage_of(opened: Result<SledLedger, StoreError>) -> (Position, PathBuf) {
    let Err(StoreError::DamagedLedger { why, .. }) = opened else { panic!("{opened:?}") };
    let StoreError::DamagedLog { record, file, .. } = *why else { panic!("{why:?}") };
    (record, file)
}

#[test]
fn a_second_process_is_told_that_the_store_is_in_use() {
    let (dir, ..) = ledger_dir(NO_SNAPSHOTS, &[1]);
    let ledger = SledLedger::open(dir.path(), NO_SNAPSHOTS).expect("opens");
    assert!(matches!(SledLedger::open(dir.path(), NO_SNAPSHOTS), Err(StoreError::InUse { .. })));
    drop(ledger);
    SledLedger::open(dir.path(), NO_SNAPSHOTS).expect("it is free again");
}

#[test]
fn a_log_shorter_than_the_second_head_is_damage_that_names_the_record() {
    let (dir, batches, _) = ledger_dir(NO_SNAPSHOTS, &[1, 4, 6, 2]);
    tamper(dir.path(), |db| drop(db.remove(batches[3].position.0.to_be_bytes()).unwrap()));
    let damage = damage_of(SledLedger::open(dir.path(), NO_SNAPSHOTS));
    assert_eq!(damage, (Position(11), dir.path().join("log")));
}

#[test]
fn a_missing_or_changed_batch_below_the_second_head_is_damage_that_names_the_record() {
    let change: [fn(&sled::Db, [u8; 8]); 3] = [
        |db, key| drop(db.remove(key).unwrap()),
        |db, key| {
            let mut value = db.get(key).unwrap().unwrap().to_vec();
            value[3] ^= 1;
            db.insert(key, value).unwrap();
        },
        |db, key| drop(db.insert(key, &[7_u8; 9]).unwrap()),
    ];
    for change in change {
        let (dir, batches, _) = ledger_dir(NO_SNAPSHOTS, &[1, 4, 6, 2]);
        tamper(dir.path(), |db| change(db, batches[1].position.0.to_be_bytes()));
        assert_eq!(damage_of(SledLedger::open(dir.path(), NO_SNAPSHOTS)).0, Position(1));
    }
}

#[test]
fn another_log_of_the_same_length_is_not_taken_for_the_acknowledged_one() {
    let (dir, ..) = ledger_dir(NO_SNAPSHOTS, &[1, 4, 6]);
    let (other, ..) = ledger_dir(NO_SNAPSHOTS, &[1, 6, 4]);
    fs::copy(other.path().join("head"), dir.path().join("head")).unwrap();
    assert_eq!(damage_of(SledLedger::open(dir.path(), NO_SNAPSHOTS)).0, Position(11));
}

#[test]
fn a_chained_suffix_above_the_second_head_is_kept_and_acknowledged_from_then_on() {
    let (dir, mut batches, mut author) = ledger_dir(NO_SNAPSHOTS, &[1, 4]);
    let mut ledger = SledLedger::open(dir.path(), NO_SNAPSHOTS).unwrap();
    batches.push(author.trade(3));
    ledger.append(&batches[2]).unwrap();
    drop(ledger);
    let before = fs::read(dir.path().join("head")).unwrap();
    let ledger = SledLedger::open(dir.path(), NO_SNAPSHOTS).unwrap();
    assert_eq!((all_batches(&ledger), ledger.cut()), (batches.clone(), None));
    assert_ne!(fs::read(dir.path().join("head")).unwrap(), before, "the second head has caught up");
    drop(ledger);
    // A reader may rely on it by now, so its loss is damage.
    tamper(dir.path(), |db| drop(db.remove(batches[2].position.0.to_be_bytes()).unwrap()));
    assert_eq!(damage_of(SledLedger::open(dir.path(), NO_SNAPSHOTS)).0, batches[2].position);
}

#[test]
fn a_torn_suffix_above_the_second_head_is_cut_at_a_batch_boundary_and_reported() {
    let (dir, batches, mut author) = ledger_dir(NO_SNAPSHOTS, &[1, 4]);
    let acknowledged = author.clone();
    let (kept, torn, after) = (author.trade(3), author.trade(5), author.trade(2));
    let mut ledger = SledLedger::open(dir.path(), NO_SNAPSHOTS).unwrap();
    [&kept, &torn, &after].into_iter().for_each(|batch| ledger.append(batch).unwrap());
    drop(ledger);
    tamper(dir.path(), |db| {
        let key = torn.position.0.to_be_bytes();
        let value = db.get(key).unwrap().unwrap();
        db.insert(key, &value[..value.len() / 2]).unwrap();
    });
    let mut ledger = SledLedger::open(dir.path(), NO_SNAPSHOTS).expect("opens");
    let cut = ledger.cut().expect("reported").clone();
    assert_eq!((cut.from, cut.entries), (Position(8), 2));
    let mut due = batches;
    due.push(kept.clone());
    assert_eq!(all_batches(&ledger), due);
    // The place is free for what comes next.
    let mut author = acknowledged;
    author.trade(3);
    author = author.seeded(99);
    let next = author.trade(6);
    assert_ne!(next.records.first(), torn.records.first());
    ledger.append(&next).unwrap();
    ledger.sync().unwrap();
    drop(ledger);
    let ledger = SledLedger::open(dir.path(), NO_SNAPSHOTS).expect("opens");
    due.push(next);
    assert_eq!((all_batches(&ledger), ledger.cut()), (due, None));
}

#[test]
fn a_log_larger_than_what_is_read_at_once_opens_whole_and_reads_from_any_place() {
    // On opening, sled's cache is released every so often, and the walk continues where it was.
    let sizes = [1].into_iter().chain([512; 200]).collect::<Vec<_>>();
    let (dir, batches, author) = ledger_dir(NO_SNAPSHOTS, &sizes);
    let bytes = batches.iter().map(|batch| postcard::to_allocvec(batch).unwrap().len()).sum::<usize>();
    assert!(bytes > 2 * 1024 * 1024, "long enough: {bytes} bytes");
    let ledger = SledLedger::open(dir.path(), NO_SNAPSHOTS).expect("opens");
    assert_eq!((all_batches(&ledger), ledger.books()), (batches, author.books()));
    let head = author.books().position();
    assert_eq!(
        read_all(&ledger, Books::default(), head),
        (author.books().clone(), (head.0 as usize).div_ceil(Limits::DEFAULT.read_records as usize))
    );
}

#[test]
fn a_damaged_snapshot_costs_time_and_nothing_else() {
    let options = snapshots(10);
    let (dir, batches, author) = ledger_dir(options, &[1, 9, 6, 2]);
    let path = dir.path().join("snapshot");
    let whole = fs::read(&path).expect("a snapshot");
    for at in 0..whole.len() {
        let mut damaged = whole.clone();
        damaged[at] ^= 1 << (at % 8);
        fs::write(&path, damaged).unwrap();
        let ledger = SledLedger::open(dir.path(), options).expect("opens");
        assert_eq!(ledger.books(), author.books());
        assert_eq!(read_all(&ledger, Books::default(), author.books().position()).0, author.books().clone());
    }
    fs::remove_file(&path).unwrap();
    let ledger = SledLedger::open(dir.path(), options).expect("opens");
    assert_eq!((ledger.books(), all_batches(&ledger)), (&author.books().clone(), batches));
}

#[test]
fn a_snapshot_of_another_log_is_not_used() {
    let options = snapshots(10);
    let (dir, _, author) = ledger_dir(options, &[1, 9, 6]);
    let (other, ..) = ledger_dir(options, &[1, 3, 6]);
    fs::copy(other.path().join("snapshot"), dir.path().join("snapshot")).unwrap();
    let ledger = SledLedger::open(dir.path(), options).expect("opens");
    assert_eq!(ledger.books(), author.books());
    assert!(matches!(ledger.read(Position(0), None, Position(16)).unwrap(), LedgerAnswer::Records { .. }));
}

#[test]
fn a_store_that_was_written_under_other_limits_opens_with_the_books_as_they_are_under_these() {
    let keeping = |sales_kept| LedgerOptions {
        snapshot_every: NonZeroU64::new(10),
        limits: Limits { sales_kept, chunk_weight: sales_kept, read_records: sales_kept, ..Limits::DEFAULT },
        latest: 0,
    };
    let due = |batches: &[Batch], sales_kept| {
        let mut books = Books::keeping(sales_kept);
        batches.iter().flat_map(|batch| &batch.records).for_each(|record| books.apply(record).unwrap());
        books
    };
    // More sales than before, which the snapshot lacks, and fewer.
    for (before, after) in [(1, 32), (32, 1)] {
        let (dir, mut batches, mut author) = ledger_dir(keeping(before), &[1, 400, 400]);
        let mut ledger = SledLedger::open(dir.path(), keeping(after)).expect("opens");
        assert_eq!(all_batches(&ledger), batches);
        assert_eq!(ledger.books(), &due(&batches, after));
        assert_ne!(ledger.books().sellers(), due(&batches, before).sellers(), "it makes a difference");
        // The next snapshot is written under these limits, and is used.
        batches.push(author.trade(10));
        ledger.append(&batches[batches.len() - 1]).unwrap();
        ledger.sync().unwrap();
        drop(ledger);
        let ledger = SledLedger::open(dir.path(), keeping(after)).expect("opens");
        let head = author.books().position();
        assert!(matches!(ledger.read(Position(0), None, head).unwrap(), LedgerAnswer::Chunk { .. }));
        assert_eq!(read_all(&ledger, Books::keeping(after), head).0, due(&batches, after));
    }
}

#[test]
fn a_snapshot_from_before_there_were_limits_costs_time_and_nothing_else() {
    let options = snapshots(10);
    let (dir, batches, author) = ledger_dir(options, &[1, 9, 6]);
    let path = dir.path().join("snapshot");
    let mut bytes = fs::read(&path).expect("a snapshot");
    // How many sales the books keep came last, before the checksum.
    bytes.truncate(bytes.len() - 32);
    assert_eq!(bytes.pop(), Some(32));
    let checksum = *blake3::hash(&bytes).as_bytes();
    bytes.extend_from_slice(&checksum);
    fs::write(&path, bytes).unwrap();
    let ledger = SledLedger::open(dir.path(), options).expect("opens");
    assert_eq!((ledger.books(), all_batches(&ledger)), (&author.books().clone(), batches));
    assert!(matches!(ledger.read(Position(0), None, Position(16)).unwrap(), LedgerAnswer::Records { .. }));
}

#[test]
fn opening_folds_only_what_came_after_the_snapshot() {
    // A snapshot with a right checksum is believed, even this one, which does not say what the records below it say.
    let options = snapshots(10);
    let (dir, _, author) = ledger_dir(options, &[1, 9, 6]);
    let path = dir.path().join("snapshot");
    let bytes = fs::read(&path).unwrap();
    let (header, rest) = bytes.split_at(42);
    let books: Books = postcard::from_bytes(&rest[..rest.len() - 32]).unwrap();
    assert_eq!(books.position(), Position(10));
    let mut chunks = books.chunks(Limits::DEFAULT.chunk_weight);
    chunks.retain(|chunk| chunk.weight() > 0);
    let poorer = Books::from_chunks(
        books.sales_kept(),
        chunks.into_iter().map(|chunk| {
            let text = serde_json::to_string(&chunk).unwrap();
            serde_json::from_str(&text.replace(&format!("\"refusals\":{}", books.refusals()), "\"refusals\":77"))
                .unwrap()
        }),
    );
    assert_ne!(poorer, books);
    let mut forged = postcard::to_extend(&poorer, header.to_vec()).unwrap();
    let checksum = *blake3::hash(&forged).as_bytes();
    forged.extend_from_slice(&checksum);
    fs::write(&path, forged).unwrap();
    let ledger = SledLedger::open(dir.path(), options).expect("opens");
    assert_eq!(ledger.books().refusals(), author.books().refusals() + 77 - books.refusals());
}

#[test]
fn a_record_that_cannot_be_folded_stops_the_store_before_it_is_written() {
    let (dir, batches, mut author) = ledger_dir(NO_SNAPSHOTS, &[1, 4]);
    let mut ledger = SledLedger::open(dir.path(), NO_SNAPSHOTS).unwrap();
    let mut batch = author.trade(1);
    batch.records[0].stamp.peer = PeerId(77);
    match ledger.append(&batch) {
        Err(StoreError::Unfoldable { source, .. }) => assert_eq!(source.reason, BooksFault::NotInOffice),
        other => panic!("{other:?}"),
    }
    assert!(matches!(ledger.append(&batch), Err(StoreError::Stopped { .. })));
    assert!(matches!(ledger.sync(), Err(StoreError::Stopped { .. })));
    assert!(matches!(ledger.read(Position(0), None, Position(5)), Err(StoreError::Stopped { .. })));
    drop(ledger);
    assert_eq!(read_acknowledged(dir.path()).expect("intact"), batches);
}

#[test]
fn a_batch_that_does_not_start_at_the_head_or_holds_nothing_is_refused() {
    let (dir, _, mut author) = ledger_dir(NO_SNAPSHOTS, &[1, 4]);
    author.trade(1);
    let later = author.trade(1);
    let nothing = Batch { epoch: Epoch(1), position: Position(5), records: Vec::new() };
    for batch in [later, nothing] {
        let mut ledger = SledLedger::open(dir.path(), NO_SNAPSHOTS).unwrap();
        assert!(matches!(ledger.append(&batch), Err(StoreError::Misplaced { head: Position(5), .. })));
        // It is stopped, and a stopped store keeps sled's lock until its process ends.
        let image = Image::of(dir.path());
        drop(ledger);
        image.put_back(dir.path());
    }
}

#[test]
fn an_index_that_a_crash_left_half_written_does_not_keep_the_store_shut() {
    let (dir, batches, _) = ledger_dir(NO_SNAPSHOTS, &[1, 4, 6]);
    fs::write(dir.path().join("log/snap.00000000FFFFFFFF.generating"), b"").unwrap();
    let ledger = SledLedger::open(dir.path(), NO_SNAPSHOTS).expect("opens");
    assert_eq!(all_batches(&ledger), batches);
}

/// What a healthy ledger's start leaves alone, and what it does not need.
#[test]
fn opening_a_healthy_log_copies_nothing_onto_the_disk() {
    let (dir, batches, _) = ledger_dir(NO_SNAPSHOTS, &[1].into_iter().chain([500; 12]).collect::<Vec<_>>());
    let log = dir.path().join("log");
    let size = fs::metadata(log.join("db")).unwrap().len();
    let watch = inotify::init(inotify::CreateFlags::NONBLOCK).unwrap();
    let made = inotify::WatchFlags::CREATE | inotify::WatchFlags::MOVED_TO;
    inotify::add_watch(&watch, dir.path(), made).unwrap();
    let ledger = SledLedger::open(dir.path(), NO_SNAPSHOTS).expect("opens");
    assert_eq!(all_batches(&ledger), batches);
    let (mut buffer, mut names) = ([MaybeUninit::uninit(); 4_096], BTreeSet::new());
    let mut events = inotify::Reader::new(&watch, &mut buffer);
    while let Ok(event) = events.next() {
        names.insert(event.file_name().unwrap().to_str().unwrap().to_owned());
    }
    assert_eq!(names, BTreeSet::from(["log.trial".to_owned()]), "links only");
    assert!(!dir.path().join("log.trial").exists());
    assert!(fs::metadata(log.join("db")).unwrap().len() <= size + 2 * 256 * 1024, "{size}");
}

/// DESIGN 3: with the ledger down, tools read its files, and change nothing (SPEC I9).
#[test]
fn reading_without_sled_shows_all_that_was_acknowledged_and_changes_nothing() {
    let many = [1, 7, 3, 12, 1, 1, 90, 2, 9, 4].repeat(30);
    let large = [1].into_iter().chain([500; 12]).collect::<Vec<_>>();
    // sled writes a leaf anew and anew while it fills, so this file has most batches several times, out of order.
    let mixed = (0..900).map(|n| 1 + n * 7 % 23).collect::<Vec<_>>();
    for sizes in [&[1, 9, 6][..], &[], &many, &large, &mixed] {
        let (dir, batches, _) = ledger_dir(snapshots(2_000), sizes);
        let before = Image::of(dir.path());
        assert_eq!(read_acknowledged(dir.path()).expect("intact"), batches);
        assert_eq!(Image::of(dir.path()), before);
    }
}

#[test]
fn reading_without_sled_stops_at_the_acknowledged_end() {
    let (dir, batches, mut author) = ledger_dir(NO_SNAPSHOTS, &[1, 4]);
    let head = fs::read(dir.path().join("head")).unwrap();
    let mut ledger = SledLedger::open(dir.path(), NO_SNAPSHOTS).expect("opens");
    ledger.append(&author.trade(3)).unwrap();
    ledger.sync().unwrap();
    drop(ledger);
    // As if it had crashed before it wrote the second head, and so before anybody was told.
    fs::write(dir.path().join("head"), head).unwrap();
    assert_eq!(read_acknowledged(dir.path()).expect("intact"), batches);
}

#[test]
fn reading_without_sled_works_beside_a_running_ledger() {
    let (dir, mut batches, mut author) = ledger_dir(NO_SNAPSHOTS, &[1, 9, 6]);
    let mut ledger = SledLedger::open(dir.path(), NO_SNAPSHOTS).expect("opens");
    for _ in 0..50 {
        batches.push(author.trade(5));
        ledger.append(batches.last().unwrap()).unwrap();
        ledger.sync().unwrap();
        assert_eq!(read_acknowledged(dir.path()).expect("intact"), batches);
    }
}

/// Where in a file these bytes are.
fn places(bytes: &[u8], of: &[u8]) -> Vec<usize> {
    (0..=bytes.len() - of.len()).filter(|at| bytes[*at..].starts_with(of)).collect()
}

#[test]
fn reading_nothing_or_what_is_damaged_names_the_directory_and_the_last_intact_record() {
    let dir = temporary();
    let missing = dir.path().join("nowhere");
    assert!(matches!(examine(&missing), Err(StoreError::NotFound { .. })));
    assert!(!missing.exists());

    let (dir, batches, _) = ledger_dir(NO_SNAPSHOTS, &[1, 4, 6]);
    let db = dir.path().join("log/db");
    let mut bytes = fs::read(&db).unwrap();
    let batch = postcard::to_allocvec(&batches[2]).unwrap();
    let copies = places(&bytes, &batch);
    assert!(!copies.is_empty());
    // Every version of it that sled has left in the file.
    copies.iter().for_each(|at| bytes[at + batch.len() - 1] ^= 1);
    fs::write(&db, &bytes).unwrap();
    let error = read_acknowledged(dir.path()).expect_err("damaged").to_string();
    let log = dir.path().join("log");
    assert!(error.starts_with(&format!("the log in {} is damaged at record 5: ", log.display())), "{error}");
    assert!(error.contains("the last intact record is 4, and 11 records were acknowledged"), "{error}");
    assert!(error.contains("`bazaar backup") && error.contains("`bazaar restore"), "{error}");
    assert_eq!(examine(dir.path()).unwrap().into_batches(), batches[..2]);

    fs::write(dir.path().join("head"), b"").unwrap();
    let error = read_acknowledged(dir.path()).expect_err("damaged").to_string();
    assert!(error.contains("the last intact record is 4, and how many were acknowledged is not known"), "{error}");
}

// -------------------------------------------------------------------------------------------------------- damage

/// What became of the damage done.
#[derive(Debug, Default)]
struct Outcomes {
    intact: usize,
    refused: usize,
}

/// Something to do to a file.
#[derive(Clone, Copy, Debug)]
enum Damage {
    Flip { at: usize, bit: u8 },
    Truncate { to: usize },
    Remove,
}

impl Damage {
    fn apply(self, bytes: &mut Vec<u8>) {
        match self {
            Damage::Flip { at, bit } => bytes[at] ^= 1 << bit,
            Damage::Truncate { to } => bytes.truncate(to),
            Damage::Remove => {}
        }
    }
}

/// Damage for a file: flips at every byte of a small one and at `sample` bytes of a large one, most of them where
/// something is written; and truncations.
fn damage_for(bytes: &[u8], sample: usize, random: &mut Random) -> Vec<Damage> {
    let written = (0..bytes.len()).filter(|at| bytes[*at] != 0).collect::<Vec<_>>();
    let flips = if written.len() <= sample {
        written.iter().copied().chain((0..8).map(|_| random.below(bytes.len().max(1)))).collect::<Vec<_>>()
    } else {
        (0..sample)
            .map(|nth| if nth % 8 == 0 { random.below(bytes.len()) } else { written[random.below(written.len())] })
            .collect()
    };
    let flips = flips.into_iter().filter(|at| *at < bytes.len());
    let mut damage = flips.map(|at| Damage::Flip { at, bit: random.below(8) as u8 }).collect::<Vec<_>>();
    let lengths = [0, 1, 8, bytes.len() / 4, bytes.len() / 2, bytes.len().saturating_sub(4096)];
    let lengths = lengths.into_iter().chain([bytes.len().saturating_sub(1), random.below(bytes.len().max(1))]);
    damage.extend(lengths.filter(|to| *to < bytes.len()).map(|to| Damage::Truncate { to }));
    damage.push(Damage::Remove);
    damage
}

/// Damages every file in turn and tries to open the result: twice, since sled repairs what it finds in its own way, and
/// that must not make the loss look right the second time.
fn damage_everything(
    dir: &Path,
    sample: usize,
    mut open: impl FnMut(&Path, &str) -> Result<(), StoreError>,
) -> BTreeMap<PathBuf, Outcomes> {
    install_panic_filter();
    let mut random = Random::seeded();
    let (image, work) = (Image::of(dir), temporary());
    image.put_back(work.path());
    open(work.path(), "no damage").expect("an undamaged directory opens");
    let mut outcomes = BTreeMap::<PathBuf, Outcomes>::new();
    for (name, bytes) in &image.0 {
        for damage in damage_for(bytes, sample, &mut random) {
            let mut damaged = image.clone();
            if let Damage::Remove = damage {
                damaged.0.remove(name);
            } else {
                damage.apply(damaged.0.get_mut(name).unwrap());
            }
            damaged.put_back(work.path());
            let context = format!("{} {damage:?}", name.display());
            let entry = outcomes.entry(name.clone()).or_default();
            for attempt in ["first", "second"] {
                match open(work.path(), &format!("{context}, {attempt} opening")) {
                    Ok(()) => entry.intact += 1,
                    Err(error) => {
                        let said = error.to_string();
                        let names = said.contains(work.path().to_str().unwrap());
                        assert!(names, "{context}: the error names no file: {said}");
                        assert!(
                            error.is_damage() || matches!(error, StoreError::Io { .. }),
                            "{context}: not called damage: {said}"
                        );
                        entry.refused += 1;
                    }
                }
            }
        }
    }
    println!("{outcomes:#?}");
    outcomes
}

fn sum(outcomes: &BTreeMap<PathBuf, Outcomes>, of: impl Fn(&Path) -> bool) -> Outcomes {
    let mut sum = Outcomes::default();
    for (_, outcome) in outcomes.iter().filter(|(name, _)| of(name)) {
        sum.intact += outcome.intact;
        sum.refused += outcome.refused;
    }
    sum
}

#[test]
fn damage_to_any_byte_of_a_ledger_loses_no_acknowledged_record_unnoticed() {
    // With sled alone, one flipped bit in its `db` loses a median of 175 of 300 acknowledged records without an error.
    let sizes = [1, 7, 3, 12, 1, 1, 90, 2, 9, 4].repeat(30);
    damage_a_ledger(snapshots(1_000), ledger_dir(snapshots(1_000), &sizes));
}

/// As above, of a ledger that was killed when sled did not yet have the latest records.
#[test]
fn damage_to_any_byte_of_a_killed_ledger_loses_no_acknowledged_record_unnoticed() {
    let options = LedgerOptions { latest: FEW, ..snapshots(1_000) };
    let (dir, mut batches, mut author) = ledger_dir(options, &[1, 7, 3, 12, 1, 1, 90, 2, 9, 4].repeat(30));
    let mut ledger = SledLedger::open(dir.path(), options).expect("opens");
    while in_sled(&Image::of(dir.path())) == batches.len() {
        batches.push(author.trade(3));
        ledger.append(batches.last().unwrap()).unwrap();
        ledger.sync().unwrap();
    }
    let killed = Image::of(dir.path());
    drop(ledger);
    killed.put_back(dir.path());
    damage_a_ledger(options, (dir, batches, author));
}

/// A power failure leaves sled as it was when it was last synced, at the least, and the second head as it is.
#[test]
fn what_sled_lacks_is_beside_the_second_head() {
    let options = LedgerOptions { latest: FEW, ..NO_SNAPSHOTS };
    let (dir, mut batches, mut author) = ledger_dir(options, &[1, 4, 9]);
    // Opening it syncs all.
    let mut ledger = SledLedger::open(dir.path(), options).expect("opens");
    let durable = Image::of(&dir.path().join("log"));
    for _ in 0..5 {
        batches.push(author.trade(6));
        ledger.append(batches.last().unwrap()).unwrap();
        ledger.sync().unwrap();
    }
    let head = fs::read(dir.path().join("head")).unwrap();
    drop(ledger);
    durable.put_back(&dir.path().join("log"));
    fs::write(dir.path().join("head"), head).unwrap();
    assert_eq!(read_acknowledged(dir.path()).expect("intact"), batches, "a tool");
    // What is put into the log is durable there before it may be overwritten beside it.
    let ledger = SledLedger::open(dir.path(), options).expect("opens");
    assert_eq!((all_batches(&ledger), ledger.cut()), (batches.clone(), None));
    assert_eq!(in_sled(&Image::of(dir.path())), batches.len());
    drop(ledger);
    assert_eq!(all_batches(&SledLedger::open(dir.path(), options).expect("opens")), batches);
}

/// Of sled's own writes, a power failure may leave some and not others, so there must not be many.
#[test]
fn sled_is_synced_before_it_has_taken_much() {
    for size in [30, 400] {
        let options = LedgerOptions { latest: 16 * 1024 * 1024, ..NO_SNAPSHOTS };
        let (dir, mut author) = (temporary(), Author::new(options.limits.sales_kept, 0));
        let mut ledger = SledLedger::open(dir.path(), options).expect("created");
        let (mut taken, mut synced, mut syncs) = (0, 0, 0);
        for nth in 1..=200 {
            let batch = author.trade(size);
            let length = postcard::to_allocvec(&batch).unwrap().len();
            taken += length;
            ledger.append(&batch).unwrap();
            ledger.sync().unwrap();
            let has = in_sled(&Image::of(dir.path()));
            if has == nth {
                (taken, synced, syncs) = (0, nth, syncs + 1);
            }
            assert!(taken <= 33 * 1024 + length, "{size} records a batch: {taken} bytes since batch {synced}");
            if syncs == 3 {
                break;
            }
        }
        assert_eq!(syncs, 3, "{size} records a batch");
    }
}

/// How many batches sled has.
fn in_sled(image: &Image) -> usize {
    let dir = temporary();
    image.put_back(dir.path());
    let mut batches = 0;
    tamper(dir.path(), |db| batches = db.len());
    batches
}

fn damage_a_ledger(options: LedgerOptions, (dir, batches, author): (TempDir, Vec<Batch>, Author)) {
    let outcomes = damage_everything(dir.path(), 300, |dir, context| {
        if let Ok(remains) = examine(dir)
            && remains.intact().is_everything()
        {
            assert_eq!(remains.into_batches(), batches, "a tool, {context}");
        }
        let ledger = SledLedger::open(dir, options)?;
        assert_eq!(all_batches(&ledger), batches, "{context}");
        assert_eq!(ledger.books(), &author.books().clone(), "{context}");
        Ok(())
    });
    let db = sum(&outcomes, |name| name.ends_with("db"));
    assert!(db.refused > 200, "the damage reached the records: {db:?}");
    let others = sum(&outcomes, |name| !name.ends_with("db"));
    assert!(others.intact > 200 && others.refused > 0, "{others:?}");
}

/// With one bit wrong, sled drops what came after it, and soon overwrites that.
#[test]
fn a_ledger_that_cannot_be_opened_stays_as_it_was_found_and_its_last_intact_record_is_named() {
    install_panic_filter();
    let mut random = Random::seeded();
    let (dir, batches, _) = ledger_dir(snapshots(1_000), &[1, 7, 3, 12, 1, 1, 90, 2, 9, 4].repeat(10));
    let (image, work, name) = (Image::of(dir.path()), temporary(), Path::new("log/db"));
    let of_log = |image: &Image| {
        image.0.iter().filter(|(name, _)| name.starts_with("log")).map(|(name, _)| name.clone()).collect::<Vec<_>>()
    };
    let (mut refused, mut whole) = (0, 0);
    for damage in damage_for(&image.0[name], 60, &mut random) {
        let Damage::Flip { .. } = damage else { continue };
        let mut damaged = image.clone();
        damage.apply(damaged.0.get_mut(name).unwrap());
        damaged.put_back(work.path());
        let Err(error) = SledLedger::open(work.path(), snapshots(1_000)) else { continue };
        refused += 1;
        let after = Image::of(work.path());
        assert_eq!(of_log(&after), of_log(&damaged), "{damage:?}");
        assert!(of_log(&damaged).iter().all(|name| after.0[name] == damaged.0[name]), "{damage:?}");
        let said = error.to_string();
        let remains = examine(work.path()).unwrap();
        let intact = remains.intact();
        if intact.is_everything() {
            whole += 1;
            assert_eq!(remains.into_batches(), batches, "{damage:?}");
            assert!(said.contains(&format!("all {} acknowledged records can be read", intact.records)), "{said}");
        } else {
            assert!(batches.starts_with(&remains.into_batches()), "{damage:?}");
            assert!(said.contains(&format!("the last intact record is {}", intact.records.0 - 1)), "{said}");
        }
        assert!(said.contains("`bazaar backup FILE`") && said.contains("`bazaar restore FILE --replace`"), "{said}");
    }
    println!("{refused} refused, in {whole} of them everything is intact");
    assert!(refused > 20 && whole > 10, "{refused} refused, {whole} whole");
}

/// SPEC I9: neither what an opening that was killed leaves behind, nor what is in the way, changes what is there.
#[test]
fn an_opening_that_was_killed_at_any_moment_has_changed_nothing_that_counts() {
    let (dir, batches, _) = ledger_dir(snapshots(20), &[1, 4, 6, 90, 3]);
    let whole = Image::of(dir.path());
    // Killed while it was being tried out: some links are there, to all sorts of things; then the log is opened anew, and
    // read by tools.
    let log: Vec<_> = whole.0.keys().filter_map(|name| name.strip_prefix("log").ok()).collect();
    for made in 0..=log.len() {
        whole.put_back(dir.path());
        let trial = dir.path().join("log.trial");
        for name in &log[..made] {
            let link = trial.join(name);
            fs::create_dir_all(link.parent().unwrap()).unwrap();
            if name.ends_with("db") {
                std::os::unix::fs::symlink("/proc/self/fd/9999", link).unwrap();
            } else {
                fs::hard_link(dir.path().join("log").join(name), link).unwrap();
            }
        }
        assert_eq!(read_acknowledged(dir.path()).expect("intact"), batches);
        let ledger = SledLedger::open(dir.path(), snapshots(20)).expect("opens");
        assert_eq!(all_batches(&ledger), batches);
        drop(ledger);
        assert_eq!(read_acknowledged(dir.path()).expect("intact"), batches);
        let left = fs::read_dir(dir.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect::<BTreeSet<_>>();
        assert_eq!(left, BTreeSet::from(["head", "lock", "log", "snapshot"].map(Into::into)));
    }
}

/// The opening itself never touches a log that it would refuse: what a tool reads at any moment of it is all there.
#[test]
fn a_damaged_log_is_tried_out_on_a_copy_and_not_on_the_disk() {
    install_panic_filter();
    let mut random = Random::seeded();
    let (dir, ..) = ledger_dir(NO_SNAPSHOTS, &[1, 7, 3, 12, 1, 1, 90, 2, 9, 4].repeat(10));
    let (image, work, name) = (Image::of(dir.path()), temporary(), Path::new("log/db"));
    let watch = inotify::init(inotify::CreateFlags::NONBLOCK).unwrap();
    let mut refused = 0;
    for damage in damage_for(&image.0[name], 20, &mut random) {
        let mut damaged = image.clone();
        damage.apply(damaged.0.get_mut(name).unwrap());
        damaged.put_back(work.path());
        let changed = inotify::WatchFlags::MODIFY | inotify::WatchFlags::DELETE | inotify::WatchFlags::MOVED_FROM;
        let log = inotify::add_watch(&watch, work.path().join("log"), changed).unwrap();
        if SledLedger::open(work.path(), NO_SNAPSHOTS).is_err() {
            refused += 1;
            let mut buffer = [MaybeUninit::uninit(); 4_096];
            let event = inotify::Reader::new(&watch, &mut buffer).next().map(|event| format!("{event:?}"));
            assert!(event.is_err(), "{damage:?}: {event:?}");
        }
        // Forget the rest.
        inotify::remove_watch(&watch, log).unwrap();
        let mut buffer = [MaybeUninit::uninit(); 4_096];
        let mut events = inotify::Reader::new(&watch, &mut buffer);
        while events.next().is_ok() {}
    }
    assert!(refused > 5, "{refused}");
}

/// A tool that reads holds the store's lock for a moment, and not sled's.
#[test]
fn a_tool_that_reads_keeps_no_ledger_from_starting() {
    let (dir, batches, _) = ledger_dir(NO_SNAPSHOTS, &[1, 4, 6]);
    let reading = fs::File::open(dir.path().join("lock")).unwrap();
    reading.try_lock_shared().unwrap();
    let opening = held_up({
        let dir = dir.path().to_owned();
        move || SledLedger::open(dir, NO_SNAPSHOTS)
    });
    drop(reading);
    assert_eq!(all_batches(&opening.join().unwrap().expect("opens")), batches);
    // Of a damaged log it can say so at once, whoever has sled's lock.
    let db = dir.path().join("log/db");
    fs::write(&db, b"").unwrap();
    let file = fs::File::open(&db).unwrap();
    file.try_lock().unwrap();
    assert_eq!(examine(dir.path()).expect("not in use").intact().records, Position(0));
}

/// One bit of the second head is wrong, in either copy of what was written last, or before it.
#[test]
fn damage_to_any_byte_of_the_second_head_hides_no_acknowledged_record_from_tools() {
    for sizes in [&[1][..], &[1, 4], &[1, 4, 6], &[1, 4, 6, 2]] {
        let (dir, batches, _) = ledger_dir(NO_SNAPSHOTS, sizes);
        let head = dir.path().join("head");
        let whole = fs::read(&head).unwrap();
        let all = batches.last().unwrap().end();
        for at in (0..whole.len()).filter(|at| whole[*at] != 0 || at % 512 == 0) {
            let mut damaged = whole.clone();
            damaged[at] ^= 1 << (at % 8);
            fs::write(&head, damaged).unwrap();
            let remains = examine(dir.path()).unwrap();
            assert_eq!(remains.intact().acknowledged, Some(all), "{sizes:?}, byte {at}");
            assert_eq!(remains.into_batches(), batches, "{sizes:?}, byte {at}");
        }
        fs::write(&head, b"").unwrap();
        assert_eq!(examine(dir.path()).unwrap().intact().acknowledged, None);
    }
}

/// SPEC I6.
#[test]
fn a_backup_survives_its_file_and_a_restore_puts_exactly_that_in_place() {
    let (dir, batches, mut author) = ledger_dir(NO_SNAPSHOTS, &[1, 4, 60]);
    let file = dir.path().join("books.backup");
    let header = BackupHeader {
        taken: "2026-11-28T20:51:26Z".parse().unwrap(),
        run: [7; 32],
        config: "peers = 4".into(),
        acknowledged: Some(Position(65)),
    };
    // Of a log on a disk, and of one in etcd whose first records are not kept.
    let mut books = Books::default();
    batches[..2].iter().flat_map(|batch| &batch.records).for_each(|record| books.apply(record).unwrap());
    let start = batches[..2].iter().fold(Tail::default(), |tail, batch| tail.after(batch));
    let mut random = Random::seeded();
    for log in [KeptLog::from(start, books, batches[2..].to_vec()), KeptLog::whole(batches.clone())] {
        let _ = fs::remove_file(&file);
        let backup = Backup { header: header.clone(), log };
        backup.write(&file).expect("written");
        assert_eq!(Backup::read(&file).expect("read"), backup);
        assert!(matches!(backup.write(&file), Err(StoreError::Io { .. })), "it is not overwritten");
        let bytes = fs::read(&file).unwrap();
        for damage in damage_for(&bytes, 200, &mut random) {
            let mut damaged = bytes.clone();
            damage.apply(&mut damaged);
            if damaged == bytes {
                continue;
            }
            fs::write(&file, damaged).unwrap();
            let error = Backup::read(&file).expect_err("damaged");
            assert!(error.to_string().contains(file.to_str().unwrap()), "{damage:?}: {error}");
        }
    }

    let store = dir.path().join("ledger/store");
    let restore = |batches: &[Batch]| Place::hold(&store).expect("free").restore(batches, snapshots(3));
    assert_eq!(restore(&batches[..2]).expect("restored"), None);
    assert_eq!(read_acknowledged(&store).unwrap(), batches[..2]);
    let aside = restore(&batches).expect("restored").expect("set aside");
    assert_eq!(
        (read_acknowledged(&store).unwrap(), read_acknowledged(&aside).unwrap()),
        (batches.clone(), batches[..2].to_vec())
    );
    let mut ledger = SledLedger::open(&store, snapshots(3)).expect("opens");
    ledger.append(&author.trade(2)).expect("goes on");
    ledger.sync().unwrap();
}

/// Runs something on a thread of its own, and makes sure that it is still not done after a while.
#[track_caller]
fn held_up<T: Send + 'static>(what: impl FnOnce() -> T + Send + 'static) -> thread::JoinHandle<T> {
    let running = thread::spawn(what);
    let begun = Instant::now();
    while begun.elapsed() < Duration::from_millis(100) {
        assert!(!running.is_finished(), "it does not wait");
        thread::yield_now();
    }
    running
}

#[test]
fn a_store_is_not_restored_under_a_ledger_and_no_ledger_is_opened_during_it() {
    let dir = temporary();
    let store = dir.path().join("store");
    let (source, batches, _) = ledger_dir(NO_SNAPSHOTS, &[1, 4, 60]);
    copy(source.path(), &store);
    let ledger = SledLedger::open(&store, NO_SNAPSHOTS).expect("opens");
    assert!(matches!(Place::hold(&store), Err(StoreError::InUse { .. })));
    drop(ledger);

    let place = Place::hold(&store).expect("free");
    assert_eq!(place.examine().unwrap().into_batches(), batches, "whoever holds it may look");
    assert!(matches!(SledLedger::open(&store, NO_SNAPSHOTS), Err(StoreError::InUse { .. })));
    // One that waits for the old store gets the new one, and that to itself.
    let waiting = held_up({
        let store = store.clone();
        move || loop {
            match SledLedger::open(&store, NO_SNAPSHOTS) {
                Err(StoreError::InUse { .. }) => {}
                opened => break opened,
            }
        }
    });
    place.restore(&batches[..2], NO_SNAPSHOTS).expect("restored").expect("set aside");
    let ledger = waiting.join().unwrap().expect("opens");
    assert_eq!(all_batches(&ledger), batches[..2]);
    assert!(matches!(SledLedger::open(&store, NO_SNAPSHOTS), Err(StoreError::InUse { .. })));
}

/// Wherever a restore is killed, each store that was in place is still there, whatever is restored after it.
#[test]
fn an_interrupted_restore_and_another_lose_no_store() {
    let (source, batches, _) = ledger_dir(NO_SNAPSHOTS, &[1, 4, 60]);
    let (newer, ..) = ledger_dir(NO_SNAPSHOTS, &[1, 4]);
    let restored = |dir: &Path, batches: &[Batch]| {
        let store = dir.join("store");
        Place::hold(&store).expect("free").restore(batches, NO_SNAPSHOTS).expect("restored");
        assert_eq!(read_acknowledged(&store).unwrap(), batches);
        let stores = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path());
        stores.map(|store| read_acknowledged(&store).unwrap()).collect::<Vec<_>>()
    };
    // What is in place and what is beside it: while it is written, before the exchange, and after it.
    for (in_place, beside, name) in [
        (source.path(), newer.path(), "store.restoring"),
        (source.path(), newer.path(), "store.replaced-20261128-205126.123"),
        (newer.path(), source.path(), "store.replaced-20261128-205126.123"),
    ] {
        let dir = temporary();
        copy(in_place, &dir.path().join("store"));
        copy(beside, &dir.path().join(name));
        assert!(restored(dir.path(), &batches[..1]).contains(&batches), "{name}");
    }
    // Nothing that was in place ever has the name of what the next one removes.
    let dir = temporary();
    copy(source.path(), &dir.path().join("store"));
    let watch = inotify::init(inotify::CreateFlags::NONBLOCK).unwrap();
    inotify::add_watch(&watch, dir.path(), inotify::WatchFlags::MOVED_TO).unwrap();
    restored(dir.path(), &batches[..1]);
    let (mut buffer, mut moved_to) = ([MaybeUninit::uninit(); 4_096], Vec::new());
    let mut events = inotify::Reader::new(&watch, &mut buffer);
    while let Ok(event) = events.next() {
        moved_to.push(event.file_name().unwrap().to_str().unwrap().to_owned());
    }
    let replaced = |name: &str| name.starts_with("store.replaced-");
    assert!(moved_to.iter().all(|name| name == "store" || replaced(name)), "{moved_to:?}");
    assert_eq!(moved_to.len(), 3, "named, and exchanged: {moved_to:?}");
}

#[test]
fn damage_to_a_ledger_of_large_batches_is_noticed_too() {
    // Leaves too large for a segment are in files of their own, which sled checks and syncs differently.
    let sizes = [1].into_iter().chain([500; 12]).collect::<Vec<_>>();
    let (dir, batches, author) = ledger_dir(NO_SNAPSHOTS, &sizes);
    let outcomes = damage_everything(dir.path(), 40, |dir, context| {
        let ledger = SledLedger::open(dir, NO_SNAPSHOTS)?;
        assert_eq!(all_batches(&ledger), batches, "{context}");
        assert_eq!(ledger.books(), &author.books().clone(), "{context}");
        Ok(())
    });
    let blobs = sum(&outcomes, |name| name.starts_with("log/blobs"));
    assert!(blobs.refused > 20, "there were such files: {blobs:?}");
}

// ---------------------------------------------------------------------------------------------------------- peers

fn durable(n: u32) -> Durable {
    Durable {
        incarnation: Incarnation(n),
        clock_bound: Time(u64::from(n) * 1_000),
        seen: HighWaterMark::sealed(Epoch(u64::from(n / 3)), Position(u64::from(n) * 17), Secret(5)),
    }
}

#[test]
fn a_peer_that_never_lived_starts_from_nothing_and_remembers_from_then_on() {
    let dir = temporary();
    let mut store = PeerStore::open(dir.path().join("peer-3")).expect("created");
    assert_eq!(store.load(), Durable::default());
    for n in 1..20 {
        store.save(&durable(n)).expect("saved");
        assert_eq!(store.load(), durable(n));
        if n % 4 == 0 {
            drop(store);
            store = PeerStore::open(dir.path().join("peer-3")).expect("opens");
            assert_eq!(store.load(), durable(n));
        }
    }
}

#[test]
fn a_second_process_of_a_peer_is_told_that_its_store_is_in_use() {
    let dir = temporary();
    let _store = PeerStore::open(dir.path()).expect("created");
    assert!(matches!(PeerStore::open(dir.path()), Err(StoreError::InUse { .. })));
}

#[test]
fn a_crash_between_the_two_copies_keeps_the_newer_value() {
    let dir = temporary();
    let mut store = PeerStore::open(dir.path()).expect("created");
    store.save(&durable(1)).expect("saved");
    let former = fs::read(dir.path().join("copy")).unwrap();
    store.save(&durable(2)).expect("saved");
    drop(store);
    fs::write(dir.path().join("copy"), former).unwrap();
    let mut store = PeerStore::open(dir.path()).expect("opens");
    assert_eq!(store.load(), durable(2));
    // And again right afterwards, since the copy was brought up to date.
    let former = fs::read(dir.path().join("copy")).unwrap();
    store.save(&durable(3)).expect("saved");
    drop(store);
    fs::write(dir.path().join("copy"), former).unwrap();
    assert_eq!(PeerStore::open(dir.path()).expect("opens").load(), durable(3));
}

#[test]
fn a_peer_whose_copies_differ_as_no_crash_can_explain_does_not_start() {
    // DESIGN R7: an incarnation that goes back unnoticed would make two lives one.
    let dir = temporary();
    let mut store = PeerStore::open(dir.path()).expect("created");
    let mut images = vec![Image::of(dir.path())];
    for n in 1..6 {
        store.save(&durable(n)).expect("saved");
        images.push(Image::of(dir.path()));
    }
    drop(store);
    let files = |image: &Image, is_copy: bool| {
        image.0.clone().into_iter().filter(move |(name, _)| name.ends_with("copy") == is_copy)
    };
    for in_sled in 0..6 {
        for in_copy in 0..6 {
            let image = Image(files(&images[in_sled], false).chain(files(&images[in_copy], true)).collect());
            image.put_back(dir.path());
            let opened = PeerStore::open(dir.path());
            if in_copy == in_sled || in_copy + 1 == in_sled {
                assert_eq!(opened.expect("as after a crash").load(), images_value(in_sled));
            } else {
                assert!(matches!(opened, Err(StoreError::DamagedFile { .. })), "sled {in_sled}, copy {in_copy}");
            }
        }
    }
}

fn images_value(n: usize) -> Durable {
    if n == 0 { Durable::default() } else { durable(n as u32) }
}

#[test]
fn damage_to_any_byte_of_a_peers_store_sets_no_incarnation_back_unnoticed() {
    let dir = temporary();
    let mut store = PeerStore::open(dir.path()).expect("created");
    for n in 1..40 {
        if n == 20 {
            drop(store);
            store = PeerStore::open(dir.path()).expect("opens");
        }
        store.save(&durable(n)).expect("saved");
    }
    drop(store);
    let outcomes = damage_everything(dir.path(), 250, |dir, context| {
        let store = PeerStore::open(dir)?;
        assert_eq!(store.load(), durable(39), "{context}");
        Ok(())
    });
    let all = sum(&outcomes, |_| true);
    assert!(all.refused > 20 && all.intact > 200, "{all:?}");
}

#[test]
fn the_queue_key_of_a_request_survives_the_disk() {
    // The books on a disk are the books in memory, including the order of the queue (SPEC C4).
    let (dir, _, author) = ledger_dir(snapshots(20), &[1, 60]);
    let ledger = SledLedger::open(dir.path(), NO_SNAPSHOTS).expect("opens");
    let keys = |books: &Books| books.queue().map(QueueKey::of).collect::<Vec<_>>();
    assert_eq!(keys(ledger.books()), keys(author.books()));
    assert!(keys(ledger.books()).len() > 1);
}

// --------------------------------------------------------------------------------------- the process over any store

#[tokio::test]
async fn a_ledger_process_keeps_its_books_in_any_store() {
    let dir = temporary();
    let (mut store, mut author) = (MemoryStore::new(Limits::DEFAULT), Author::new(Limits::DEFAULT.sales_kept, 0));
    let batches = [author.claim(PeerId(1)), author.trade(3)];
    for batch in &batches {
        store.append(batch).unwrap();
        store.sync().unwrap();
    }
    let credentials = Credentials { run: RunId(1), key: RunKey::from_bytes([1; 32]), tls: None };
    let config = LedgerDriverConfig {
        id: LedgerId::ONLY,
        dir: dir.path().to_owned(),
        listen: "127.0.0.1:0".to_owned(),
        address: None,
        ledger: LedgerConfig { lease: Duration::from_secs(1), limits: Limits::DEFAULT, secret: Secret::default() },
        ordering: Ordering::SmallestOpen,
        peers: 1,
        credentials: credentials.clone(),
        settings: Settings::default(),
        form: Form::Quiet,
    };
    let (stop, stopping) = watch::channel(false);
    let running = tokio::spawn(run_ledger(config, move |_| Ok::<_, Infallible>(store), stopping));
    let served = async {
        loop {
            if let Ok(address) = fs::read_to_string(address_file(dir.path())) {
                break address;
            }
            tokio::task::yield_now().await;
        }
    };
    let address = tokio::time::timeout(Duration::from_secs(30), served).await.expect("it listens");
    let ledger = tools::ledger(&*address, &credentials, &Settings::default()).await.unwrap();
    let within = || service::within(Duration::from_secs(30));
    assert_eq!(ledger.status(within(), None).await.unwrap().unwrap().status.head, author.books().position());
    assert_eq!(ledger.log(within(), Position(0)).await.unwrap().unwrap(), batches);
    stop.send(true).unwrap();
    running.await.unwrap().unwrap();
}
