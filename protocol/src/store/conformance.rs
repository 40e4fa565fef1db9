//! The suite that any store must pass, for anything that can crash on request. It panics where a store breaks a
//! promise.
//!
//! ```
//! use bazaar_protocol::store::{MemoryStore, conformance};
//!
//! conformance::conforms::<MemoryStore>();
//! conformance::conforms_with_snapshots::<MemoryStore>();
//! ```
//!
//! It crashes stores; it cannot damage their medium, so what a store promises about damage (see [`Store`]) needs tests
//! of its own. Each of its functions is one promise and can be a test of its own.
#![allow(clippy::expect_used, clippy::unwrap_used, clippy::missing_panics_doc)]

use alloc::vec::Vec;
use core::{fmt::Debug, num::NonZeroU64};

use super::{MemoryStore, Store};
use crate::{
    books::Books,
    clock::{Stamp, Time},
    config::{Limits, Ordering},
    id::{
        DepositId, DepositNumber, Epoch, Incarnation, Item, Life, PeerId, Position, RequestId, SaleNumber, Sequence,
        Units,
    },
    ledger::{LedgerAnswer, Tail, Term},
    money::{Commission, Price},
    record::{Batch, Deposit, Entry, Record, Request, Sale},
    snapshot::ChunkId,
};

/// A store that can crash, for the suite.
pub trait Crashing: Store<Error: Debug> + Sized {
    /// An empty store with these limits. It takes a snapshot in the first sync after so many records, or never.
    fn fresh(limits: Limits, snapshot_every: Option<NonZeroU64>) -> Self;

    /// Crashes, and opens again: with or without what was written but not synced.
    #[must_use]
    fn reopen(self, keep_unsynced: bool) -> Self;
}

impl Crashing for MemoryStore {
    fn fresh(limits: Limits, snapshot_every: Option<NonZeroU64>) -> MemoryStore {
        MemoryStore::snapshotting(limits, snapshot_every)
    }

    fn reopen(mut self, keep_unsynced: bool) -> MemoryStore {
        self.crash(if keep_unsynced { self.written().len() } else { 0 });
        self
    }
}

/// Everything that a store without snapshots must do.
pub fn conforms<S: Crashing>() {
    an_empty_store_has_an_empty_tail_and_nothing_to_read::<S>();
    what_was_synced_survives_a_crash_and_what_was_not_may_be_gone_whole::<S>();
    the_tail_after_a_crash_still_names_the_last_batch::<S>();
    the_tail_knows_the_term_and_whether_it_was_resigned::<S>();
    a_read_never_shows_what_stands_at_or_above_upto::<S>();
    a_long_log_is_read_in_pieces_from_any_place::<S>();
    a_sync_with_nothing_new_changes_nothing::<S>();
}

/// What a store with snapshots must do in addition.
pub fn conforms_with_snapshots<S: Crashing>() {
    a_reader_behind_a_snapshot_gets_its_chunks_and_then_the_records::<S>();
    a_snapshot_above_upto_is_not_shown::<S>();
    a_chunk_of_another_snapshot_is_answered_with_the_first_chunk::<S>();
    answers_are_no_larger_than_the_limits_say::<S>();
}

/// All batches of a store, in order.
pub fn all_batches<S: Store<Error: Debug>>(store: &S) -> Vec<Batch> {
    let head = store.tail().status.head;
    let mut batches: Vec<Batch> = Vec::new();
    loop {
        let from = batches.last().map_or(Position(0), Batch::end);
        let more = store.batches(from, head).expect("batches");
        if more.is_empty() {
            return batches;
        }
        batches.extend(more);
    }
}

/// How many records one answer to a read holds by default.
const MOST: usize = Limits::DEFAULT.read_records as usize;

/// Writes batches as honest traders do, so that every record can be folded.
#[derive(Clone, Debug, Default)]
pub struct Author {
    books: Books,
    time: u64,
    random: Random,
}

impl Author {
    /// An author that has written nothing. Its books keep `sales_kept` sales of each seller; what it writes depends on
    /// `seed` alone.
    #[must_use]
    pub fn new(sales_kept: u32, seed: u64) -> Author {
        Author { books: Books::keeping(sales_kept), time: 0, random: Random(seed) }
    }

    /// Draws what it writes from another seed from now on.
    #[must_use]
    pub fn seeded(self, seed: u64) -> Author {
        Author { random: Random(seed), ..self }
    }

    /// The books that everything written so far adds up to.
    #[must_use]
    pub fn books(&self) -> &Books {
        &self.books
    }

    fn stamp(&mut self, peer: PeerId) -> Stamp {
        self.time += 1;
        Stamp { time: Time(self.time), peer }
    }

    fn holder(&self) -> Life {
        self.books.term().expect("a term").holder
    }

    fn write(&mut self, epoch: Epoch, entries: Vec<(PeerId, Entry)>) -> Batch {
        let position = self.books.position();
        let mut records = Vec::new();
        for (peer, entry) in entries {
            let record = Record { stamp: self.stamp(peer), entry };
            self.books.apply(&record).expect("an honest record");
            records.push(record);
        }
        Batch { epoch, position, records }
    }

    /// `peer` takes office for the next epoch.
    pub fn claim(&mut self, peer: PeerId) -> Batch {
        let (epoch, holder) = (self.books.epoch().next(), Life { peer, incarnation: Incarnation(1) });
        self.write(epoch, alloc::vec![(peer, Entry::Claimed { epoch, holder, ordering: Ordering::SmallestOpen })])
    }

    /// A batch of exactly `records` records, or a claim if nobody is in office.
    pub fn trade(&mut self, records: usize) -> Batch {
        if self.books.term().is_none_or(|term| term.ended) {
            let peer = PeerId(self.random.below(4) as u32);
            return self.claim(peer);
        }
        let (epoch, position, holder) = (self.books.epoch(), self.books.position(), self.holder().peer);
        let mut batch = Batch { epoch, position, records: Vec::new() };
        while batch.records.len() < records {
            let entry = self.entry();
            batch.records.extend(self.write(epoch, alloc::vec![(holder, entry)]).records);
        }
        batch
    }

    /// The holder resigns the term.
    pub fn resign(&mut self) -> Batch {
        let (epoch, holder) = (self.books.epoch(), self.holder().peer);
        self.write(epoch, alloc::vec![(holder, Entry::Resigned)])
    }

    fn entry(&mut self) -> Entry {
        let (seller, buyer) = (PeerId(10 + self.random.below(20) as u32), PeerId(100 + self.random.below(200) as u32));
        let item = Item(self.random.below(3) as u16);
        let (of_seller, of_buyer) = (self.books.seller_status(seller, None), self.books.buyer_status(buyer));
        match self.random.below(4) {
            0 if of_seller.deposit.as_ref().is_none_or(|deposit| deposit.left.0 == 0) => {
                let previous = of_seller.deposit.as_ref().map(|deposit| deposit.number);
                let number = DepositNumber(previous.map_or(1 << 32, |number| number.0 + 1));
                let (count, price) = (Units(1 + self.random.below(9) as u32), Price(self.random.below(5_000) as u32));
                let stamp = self.stamp(seller);
                Entry::Deposited(Deposit { id: DepositId { seller, number }, previous, item, count, price, stamp })
            }
            1 if self.books.queue().len() > 0 => self.outcome(),
            _ if of_buyer.open.is_none() => {
                let previous = of_buyer.last.map(|(sequence, _)| sequence);
                let sequence = Sequence(previous.map_or(1 << 32, |sequence| sequence.0 + 1));
                let stamp = self.stamp(buyer);
                let id = RequestId { buyer, sequence };
                Entry::admitted(Request { id, previous, item, quantity: Units(1), stamp })
            }
            _ => self.outcome(),
        }
    }

    fn outcome(&self) -> Entry {
        let request = self.books.queue().next().expect("a request waits").clone();
        let stock = self.books.sellers().iter().find_map(|(seller, account)| {
            let deposit =
                account.deposit.as_ref().filter(|deposit| deposit.item == request.item && deposit.left.0 > 0)?;
            Some((*seller, account.sales, deposit))
        });
        let Some((seller, sales, deposit)) = stock else {
            return Entry::Refused { request: request.id, leftover: None };
        };
        let split = Commission::TWENTY_PERCENT.split(deposit.price.times(request.quantity));
        Entry::Sold(Sale {
            request: request.id,
            deposit: DepositId { seller, number: deposit.number },
            number: SaleNumber(sales.0 + 1),
            item: request.item,
            quantity: request.quantity,
            price: deposit.price,
            commission: split.commission,
            earned: split.earned,
        })
    }
}

/// The splitmix64 generator.
#[derive(Clone, Debug, Default)]
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
}

/// Reads as a peer does until it has everything below `upto`; returns the books and the number of answers it took.
pub fn read_all<S: Store<Error: Debug>>(store: &S, mut books: Books, upto: Position) -> (Books, usize) {
    let (mut chunks, mut answers) = (Vec::new(), 0);
    while books.position() < upto {
        answers += 1;
        let next = chunks.last().map(|(id, _): &(ChunkId, _)| ChunkId { position: id.position, index: id.index + 1 });
        match store.read(books.position(), next, upto).expect("a read") {
            LedgerAnswer::Chunk { id, of, chunk } => {
                assert!(books.position() < id.position && id.position <= upto, "a snapshot taken between the two");
                chunks.push((id, chunk));
                if id.index + 1 == of {
                    books = Books::from_chunks(books.sales_kept(), chunks.drain(..).map(|(_, chunk)| chunk));
                    assert_eq!(books.position(), id.position);
                }
            }
            LedgerAnswer::Records { from, records } => {
                assert_eq!(from, books.position());
                assert!(!records.is_empty() && records.len() <= MOST, "progress within the limit");
                records.iter().for_each(|record| books.apply(record).expect("in order"));
                assert!(books.position() <= upto, "nothing above upto");
            }
            LedgerAnswer::Status | LedgerAnswer::Append { .. } => panic!("no answer to a read"),
        }
    }
    (books, answers)
}

fn append_synced<S: Crashing>(store: &mut S, batch: &Batch) {
    store.append(batch).expect("appended");
    store.sync().expect("synced");
}

/// A store that contains batches of these sizes, each synced.
fn written<S: Crashing>(every: u64, sizes: &[usize]) -> (S, Author) {
    written_within(Limits::DEFAULT, every, sizes)
}

fn written_within<S: Crashing>(limits: Limits, every: u64, sizes: &[usize]) -> (S, Author) {
    let (mut store, mut author) = (S::fresh(limits, NonZeroU64::new(every)), Author::new(limits.sales_kept, 0));
    for size in sizes {
        append_synced(&mut store, &author.trade(*size));
    }
    (store, author)
}

fn records<S: Crashing>(store: &S, from: u64, upto: u64) -> Vec<Record> {
    match store.read(Position(from), None, Position(upto)).expect("a read") {
        LedgerAnswer::Records { from: echoed, records } => {
            assert_eq!(echoed, Position(from));
            records
        }
        other @ (LedgerAnswer::Status | LedgerAnswer::Chunk { .. } | LedgerAnswer::Append { .. }) => {
            panic!("expected records, not {other:?}")
        }
    }
}

/// Before anything is written, epoch and head are 0.
pub fn an_empty_store_has_an_empty_tail_and_nothing_to_read<S: Crashing>() {
    let store = S::fresh(Limits::DEFAULT, None).reopen(true);
    assert_eq!(store.tail(), Tail::default());
    assert_eq!(records(&store, 0, 0), []);
    assert_eq!(all_batches(&store), []);
}

/// Synced batches are durable, and batches are atomic.
pub fn what_was_synced_survives_a_crash_and_what_was_not_may_be_gone_whole<S: Crashing>() {
    for keep_unsynced in [false, true] {
        let (mut store, mut author) = written::<S>(0, &[1, 5, 3]);
        let (synced, durable) = (store.tail(), all_batches(&store));
        assert_eq!(synced.status.head, Position(9));
        let unsynced = [author.trade(4), author.trade(2)];
        unsynced.iter().for_each(|batch| store.append(batch).expect("appended"));
        let written = store.tail();
        assert_eq!(written.status.head, Position(15), "the tail describes what is written");

        let store = store.reopen(keep_unsynced);
        if keep_unsynced {
            assert_eq!(store.tail(), written);
            assert_eq!(all_batches(&store), [durable, unsynced.to_vec()].concat());
        } else {
            assert_eq!(store.tail(), synced);
            assert_eq!(all_batches(&store), durable);
        }
    }
}

/// DESIGN R2: the last batch is recognised after a crash.
pub fn the_tail_after_a_crash_still_names_the_last_batch<S: Crashing>() {
    // DESIGN R2: the writer of the last batch sends it again and must be answered `Appended` again.
    let (mut store, mut author) = written::<S>(0, &[1, 5]);
    let batch = author.trade(7);
    append_synced(&mut store, &batch);
    let last = store.reopen(false).tail().last.expect("a last batch");
    assert_eq!((last.epoch, last.position, last.digest), (batch.epoch, batch.position, batch.digest()));
}

/// The fence is read back from the log.
pub fn the_tail_knows_the_term_and_whether_it_was_resigned<S: Crashing>() {
    let (mut store, mut author) = (S::fresh(Limits::DEFAULT, None), Author::new(Limits::DEFAULT.sales_kept, 0));
    append_synced(&mut store, &author.claim(PeerId(3)));
    let term = Term { epoch: Epoch(1), holder: Life { peer: PeerId(3), incarnation: Incarnation(1) }, ended: false };
    let mut store = store.reopen(false);
    assert_eq!(store.tail().status.term, Some(term));
    append_synced(&mut store, &author.trade(3));
    append_synced(&mut store, &author.resign());
    let mut store = store.reopen(false);
    assert_eq!(store.tail().status.term, Some(Term { ended: true, ..term }));
    append_synced(&mut store, &author.claim(PeerId(2)));
    let next = store.reopen(false).tail().status.term.expect("a term");
    assert_eq!((next.epoch, next.holder.peer, next.ended), (Epoch(2), PeerId(2), false));
}

/// DESIGN R3: a read ends where it was told to.
pub fn a_read_never_shows_what_stands_at_or_above_upto<S: Crashing>() {
    // DESIGN R3: what is written but not durable is shown to nobody.
    let (store, _) = written::<S>(0, &[1, 4, 6, 1, 8]);
    let all = all_batches(&store).into_iter().flat_map(|batch| batch.records).collect::<Vec<_>>();
    for upto in 0..=20 {
        for from in 0..=21 {
            let due = all.get(from..upto).unwrap_or_default();
            assert_eq!(records(&store, from as u64, upto as u64), due, "{from}..{upto}");
        }
    }
    assert_eq!(records(&store, 3, 99), all[3..], "no more than there is");
}

/// An answer holds at least one record and no more than its limit.
pub fn a_long_log_is_read_in_pieces_from_any_place<S: Crashing>() {
    let (store, author) = written::<S>(0, &[1, 300, 1, 400, 512, 2, 90]);
    let head = author.books.position();
    let all = all_batches(&store).into_iter().flat_map(|batch| batch.records).collect::<Vec<_>>();
    for from in [0, 1, 2, 300, 301, 302, 511, 512, 700, 701, 702, 703, 1213, 1214, 1215, 1305] {
        let due = &all[from..all.len().min(from + MOST)];
        assert_eq!(records(&store, from as u64, head.0), due, "from {from}");
    }
    assert_eq!(read_all(&store, Books::default(), head), (author.books, 3));
}

/// A takeover costs as much as the books are large, not the history.
pub fn a_reader_behind_a_snapshot_gets_its_chunks_and_then_the_records<S: Crashing>() {
    let (store, author) = written::<S>(1_000, &[1, 400, 400, 400, 50]);
    let head = author.books.position();
    {
        let store = store.reopen(false);
        let (books, answers) = read_all(&store, Books::default(), head);
        assert_eq!(books, author.books);
        assert!(answers > 2, "the snapshot has several chunks; {answers} answers");
        // Above the snapshot there are only records.
        assert_eq!(records(&store, 1_201, head.0).len(), 50);
        // One record below it, the reader gets the whole snapshot again: how far behind it is does not matter.
        assert!(matches!(store.read(Position(1_200), None, head).unwrap(), LedgerAnswer::Chunk { .. }));
    }
}

/// DESIGN R3, for snapshots.
pub fn a_snapshot_above_upto_is_not_shown<S: Crashing>() {
    let (store, _) = written::<S>(10, &[1, 4, 6]);
    assert!(matches!(store.read(Position(0), None, Position(11)).unwrap(), LedgerAnswer::Chunk { .. }));
    assert_eq!(records(&store, 0, 10).len(), 10);
}

/// A reader starts over when the snapshot has been replaced.
pub fn a_chunk_of_another_snapshot_is_answered_with_the_first_chunk<S: Crashing>() {
    let (store, author) = written::<S>(1_000, &[1, 500, 500]);
    let head = author.books.position();
    let read = |position, index| match store.read(Position(0), Some(ChunkId { position, index }), head).unwrap() {
        LedgerAnswer::Chunk { id, of, chunk } => {
            assert_eq!(
                (id.position, &chunk),
                (head, &author.books.chunks(Limits::DEFAULT.chunk_weight)[id.index as usize])
            );
            (id.index, of)
        }
        other @ (LedgerAnswer::Status | LedgerAnswer::Records { .. } | LedgerAnswer::Append { .. }) => {
            panic!("expected a chunk, not {other:?}")
        }
    };
    let (_, of) = read(head, 0);
    assert!(of > 1, "the snapshot has several chunks");
    assert_eq!(read(head, of - 1), (of - 1, of));
    assert_eq!(read(head, of), (0, of), "past the end");
    assert_eq!(read(Position(7), 1), (0, of), "of another snapshot");
}

/// `read_records` and `chunk_weight` limit the size of an answer.
pub fn answers_are_no_larger_than_the_limits_say<S: Crashing>() {
    let limits = Limits { read_records: 3, chunk_weight: 4, sales_kept: 1, ..Limits::DEFAULT };
    let (store, author) = written_within::<S>(limits, 1_000, &[1, 500, 500, 5]);
    let (head, snapshot) = (author.books.position(), Position(1_001));
    assert_eq!(records(&store, 1_001, head.0).len(), 3);
    assert!(author.books.sellers().values().any(|account| account.sales.0 > 1 && account.recent.len() == 1));
    let chunk = |index| match store.read(Position(0), Some(ChunkId { position: snapshot, index }), head).unwrap() {
        LedgerAnswer::Chunk { of, chunk, .. } => (of, chunk),
        other @ (LedgerAnswer::Status | LedgerAnswer::Records { .. } | LedgerAnswer::Append { .. }) => {
            panic!("expected a chunk, not {other:?}")
        }
    };
    let (of, _) = chunk(0);
    assert!(of > 1 && (0..of).all(|index| (1..=4).contains(&chunk(index).1.weight())));
    let (books, answers) = read_all(&store, Books::keeping(1), head);
    assert_eq!((books, answers), (author.books, of as usize + 2));
}

/// Syncing is idempotent.
pub fn a_sync_with_nothing_new_changes_nothing<S: Crashing>() {
    let (mut store, author) = written::<S>(3, &[1, 4]);
    let tail = store.tail();
    store.sync().expect("synced");
    store.sync().expect("synced");
    assert_eq!(store.tail(), tail);
    assert_eq!(read_all(&store.reopen(false), Books::default(), tail.status.head).0, author.books);
}
