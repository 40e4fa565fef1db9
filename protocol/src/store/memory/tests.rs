use super::*;
use crate::id::{Epoch, PeerId};
use crate::testing::{batch, claim, deposit, life, record};
use crate::{
    ledger::Term,
    reading::Reading,
    record::{Entry, Record},
};
use alloc::vec;

/// Three batches; the last one is not synced.
fn store() -> MemoryStore {
    store_with(Limits::DEFAULT)
}

fn store_with(limits: Limits) -> MemoryStore {
    let mut store = MemoryStore::new(limits);
    store.append(&batch(1, 0, [claim(1, 9, 1)])).unwrap();
    store.append(&batch(1, 1, [deposited(1), deposited(2)])).unwrap();
    store.sync().unwrap();
    store.append(&batch(1, 3, [deposited(3)])).unwrap();
    store
}

/// A seller's deposit, booked by the trader.
fn deposited(seller: u32) -> Record {
    record(5, 9, Entry::Deposited(deposit(seller, 1, 2)))
}

fn read(store: &MemoryStore, from: u64, upto: u64) -> LedgerAnswer {
    store.read(Position(from), None, Position(upto)).unwrap()
}

fn records(from: u64, records: impl IntoIterator<Item = Record>) -> LedgerAnswer {
    LedgerAnswer::Records { from: Position(from), records: records.into_iter().collect() }
}

#[test]
fn a_crash_keeps_what_was_synced_and_a_prefix_of_the_rest() {
    for (kept, head) in [(0, 3), (1, 4), (2, 5), (9, 5)] {
        let mut store = store();
        store.append(&batch(1, 4, [deposited(4)])).unwrap();
        assert_eq!((store.tail().status.head, store.durable_status().head), (Position(5), Position(3)));
        store.crash(kept);
        assert_eq!((store.tail().status.head, store.durable_status().head), (Position(head), Position(head)));
        assert_eq!(store.tail().status.term, Some(Term { epoch: Epoch(1), holder: life(9, 1), ended: false }));
    }
}

// DESIGN R3.
#[test]
fn a_read_shows_nothing_above_the_head_it_is_given() {
    let store = store();
    assert_eq!(read(&store, 1, 3), records(1, [deposited(1), deposited(2)]));
    assert_eq!(read(&store, 2, 4), records(2, [deposited(2), deposited(3)]));
    assert_eq!(read(&store, 3, 3), records(3, []));
    assert_eq!(read(&store, 9, 3), records(9, []), "a reader that is ahead");
}

#[test]
fn a_read_returns_as_many_records_as_fit_in_an_answer() {
    let mut store = store();
    let most = Limits::DEFAULT.read_records;
    store.append(&batch(1, 4, vec![deposited(4); most as usize])).unwrap();
    let LedgerAnswer::Records { records, .. } = read(&store, 2, 4 + u64::from(most)) else { panic!("records") };
    assert_eq!((records.len(), &records[0]), (most as usize, &deposited(2)));
}

#[test]
fn a_store_answers_reads_within_its_limits() {
    let mut store = store_with(Limits { read_records: 1, chunk_weight: 1, sales_kept: 1, ..Limits::DEFAULT });
    assert_eq!(read(&store, 1, 4), records(1, [deposited(1)]), "one record");
    store.take_snapshot();
    assert_eq!(store.snapshot().map(Books::sales_kept), Some(1));
    let LedgerAnswer::Chunk { of, .. } = read(&store, 0, 4) else { panic!("expected a chunk") };
    assert_eq!(of, 3, "the totals, and two sellers");
}

#[test]
fn a_snapshot_is_of_durable_books_and_serves_readers_below_it() {
    let mut store = store();
    store.take_snapshot();
    let mut reading = Reading::default();
    assert_eq!(reading.take(read(&store, 0, 4)), Ok(true));
    assert_eq!(reading.books().position(), Position(3), "without the record that a crash could take");
    assert_eq!(reading.books().sellers().keys().copied().collect::<Vec<_>>(), [PeerId(1), PeerId(2)]);
    assert_eq!(reading.take(read(&store, 3, 4)), Ok(true), "from there on it is records");
    assert_eq!(reading.into_books().position(), Position(4));
    assert_eq!(read(&store, 0, 1), records(0, [claim(1, 9, 1)]), "a snapshot above the head is not shown");
}
