//! The ledger's log in etcd (SPEC J3), against real nodes: what several ledgers make of it, what is known after a
//! failure, and what stays readable.
#![allow(clippy::unwrap_used, clippy::expect_used)]

#[path = "../runtime/etcd/tests/common/mod.rs"]
mod etcd;

use std::{process::Command, time::Duration};

use bazaar_etcd::{Client, Keys, Range, Refusal, Settings, WriteError};
use bazaar_protocol::{
    books::Books,
    config::{Limits, Ordering},
    id::{Epoch, Incarnation, Life, PeerId, Position},
    ledger::{
        LedgerAnswer, Tail,
        replica::{Found, Outcome, Sign},
    },
    record::Batch,
    snapshot::ChunkId,
    store::{MemoryStore, Store as _, conformance::Author},
};
use bazaar_runtime::{
    network::{directory::Registration, hello::RunId},
    store::{
        KeptLog,
        etcd::{
            Appended, Base, Cleared, CompactionError, EtcdStore, InitError, Looked, Lost, Pauses, ReadError,
            Registered, Seen, Watch, WriteError as StoreWriteError,
        },
    },
    tools::access::log_in_etcd,
};
use etcd::{BOUND, Etcd, eventually, revision, value};
use tokio::time::timeout;

const RUN: RunId = RunId(0x5eed);
const PREFIX: &str = "/bazaar/market";

/// Small enough that a handful of batches takes several answers.
const SMALL: Limits = Limits { read_records: 7, chunk_weight: 5, ..Limits::DEFAULT };

fn ledger_of(client: &Client) -> EtcdStore {
    EtcdStore::new(client.clone(), PREFIX, RUN, SMALL)
}

async fn made(client: &Client) -> EtcdStore {
    let store = ledger_of(client);
    store.init().await.unwrap();
    store
}

async fn look(store: &EtcdStore) -> Looked {
    store.look().await.unwrap()
}

async fn tail(store: &EtcdStore) -> Tail {
    match look(store).await.found {
        Found::Tail(tail) => tail,
        other @ (Found::Foreign | Found::Unreadable) => panic!("{other:?}"),
    }
}

async fn base(store: &EtcdStore) -> Base {
    look(store).await.base.expect("a base")
}

/// Appends where the log ends.
async fn append(store: &EtcdStore, batch: &Batch) -> Tail {
    let onto = tail(store).await;
    assert_eq!(store.append_until_settled(&onto, batch, Pauses::default()).await, Outcome::Written);
    onto.after(batch)
}

/// Appends batches of these sizes.
async fn trade(store: &EtcdStore, author: &mut Author, sizes: &[usize]) -> Vec<Batch> {
    let batches: Vec<Batch> = sizes.iter().map(|size| author.trade(*size)).collect();
    let mut onto = tail(store).await;
    for batch in &batches {
        assert_eq!(store.append_until_settled(&onto, batch, Pauses::default()).await, Outcome::Written);
        onto = onto.after(batch);
    }
    batches
}

fn author() -> Author {
    Author::new(SMALL.sales_kept, 0)
}

/// Reads as a peer does that has folded `books`, up to where the log ends; `None` if an answer is not given any more.
async fn read_on(store: &EtcdStore, mut books: Books, upto: Position) -> Option<Books> {
    let mut chunks: Vec<(ChunkId, _)> = Vec::new();
    while books.position() < upto {
        let next = chunks.last().map(|(id, _)| ChunkId { position: id.position, index: id.index + 1 });
        match store.read(books.position(), next, upto).await.unwrap()? {
            LedgerAnswer::Chunk { id, of, chunk } => {
                assert!(books.position() < id.position && id.position <= upto);
                chunks.retain(|(of, _)| of.position == id.position);
                assert_eq!(chunks.len(), id.index as usize, "one after the other, or from the first");
                chunks.push((id, chunk));
                if id.index + 1 == of {
                    books = Books::from_chunks(SMALL.sales_kept, chunks.drain(..).map(|(_, chunk)| chunk));
                }
            }
            LedgerAnswer::Records { from, records } => {
                assert!(from == books.position() && !records.is_empty() && records.len() <= 7);
                records.iter().for_each(|record| books.apply(record).unwrap());
            }
            LedgerAnswer::Status | LedgerAnswer::Append { .. } => panic!("no answer to a read"),
        }
    }
    Some(books)
}

/// Whatever state the store is in, it gives the books of this author, to whoever has nothing.
async fn assert_gives(store: &EtcdStore, author: &Author) {
    let head = tail(store).await.status.head;
    assert_eq!(read_on(store, Books::keeping(SMALL.sales_kept), head).await.as_ref(), Some(author.books()));
    // And to whoever reads all that is kept.
    assert_eq!(store.kept().await.unwrap().fold().as_ref(), Ok(author.books()));
}

/// From which record on everything is kept.
async fn first_kept(store: &EtcdStore) -> u64 {
    store.kept().await.unwrap().first().0
}

async fn keys(client: &Client, below: &str) -> Vec<String> {
    let range = Range { keys_only: true, ..Range::now(Keys::prefix(format!("{PREFIX}/{below}"))) };
    let read = client.range(range).await.unwrap();
    read.items.into_iter().map(|kv| String::from_utf8(kv.key).unwrap()).collect()
}

async fn compacted(store: &EtcdStore) -> Base {
    let (from, head) = (base(store).await, tail(store).await.status.head);
    let to = store.write_snapshot(head).await.unwrap().expect("something to replace");
    store.move_base(&from, &to).await.unwrap();
    to
}

// --------------------------------------------------------------------------------------------------------- the run

#[tokio::test]
async fn a_store_is_made_only_where_nothing_is() {
    let Some(etcd) = Etcd::start("a_store_is_made_only_where_nothing_is", 1).await else { return };
    let client = etcd.client();
    let store = ledger_of(&client);
    assert_eq!(look(&store).await.found, Found::Foreign, "nothing is there, which is no empty log");
    assert_eq!(store.read(Position(0), None, Position(0)).await, Ok(None));
    // Beside it, not below it.
    client.put("/bazaar/marketplace", "another's").await.unwrap();
    store.init().await.unwrap();
    assert_eq!(tail(&store).await, Tail::default());

    let again = store.init().await.unwrap_err();
    assert!(matches!(again, InitError::Exists { found: Found::Tail(_), .. }), "{again:?}");
    let mut author = author();
    trade(&store, &mut author, &[1, 3]).await;
    let again = store.init().await.unwrap_err();
    assert_eq!(again.to_string(), "/bazaar/market/ in etcd is in use: it holds this run, with 4 records");
    assert_eq!(tail(&store).await.status.head, Position(4));

    let other = EtcdStore::new(client.clone(), PREFIX, RunId(1), SMALL);
    let refused = other.init().await.unwrap_err();
    assert!(matches!(refused, InitError::Exists { found: Found::Foreign, .. }), "{refused:?}");

    // A log that has lost what says whose it is, and anything else that may be of value.
    client.delete_range(Keys::prefix("/bazaar/market/state/")).await.unwrap();
    let refused = store.init().await.unwrap_err();
    assert!(matches!(refused, InitError::Exists { found: Found::Foreign, .. }), "{refused:?}");
    assert_eq!(keys(&client, "log/").await.len(), 2);
}

#[tokio::test]
async fn a_store_whose_making_was_not_waited_for_is_made_once() {
    let Some(etcd) = Etcd::start("a_store_whose_making_was_not_waited_for", 1).await else { return };
    let client = etcd.client();
    let rounds = (0..40_u64).map(|round| {
        let client = client.clone();
        tokio::spawn(async move {
            let store = EtcdStore::new(client.clone(), &format!("/{round}"), RUN, SMALL);
            let hasty = store.with_client(client.with_deadline(Duration::from_micros(200 + round * 200)));
            let made = hasty.init().await;
            let is_vague = |error: &InitError| {
                matches!(error, InitError::Unknown { .. } | InitError::NotSent { .. } | InitError::Read(_))
            };
            assert!(made.as_ref().err().is_none_or(is_vague), "{made:?}");
            if made.is_ok() {
                assert_eq!(tail(&store).await, Tail::default());
            }
        })
    });
    for round in rounds.collect::<Vec<_>>() {
        round.await.unwrap();
    }

    // One that has no connection yet.
    let client = etcd.client();
    drop(etcd);
    let late = EtcdStore::new(client, "/late", RUN, SMALL).init().await.unwrap_err();
    assert!(matches!(late, InitError::NotSent { .. }) && late.to_string().contains("was not made"), "{late}");
}

#[tokio::test]
async fn a_store_of_another_run_or_of_none_takes_and_tells_nothing() {
    let Some(etcd) = Etcd::start("a_store_of_another_run", 1).await else { return };
    let client = etcd.client();
    let (store, mut author) = (made(&client).await, author());
    let batches = trade(&store, &mut author, &[1, 3]).await;
    let (onto, next) = (tail(&store).await, author.trade(2));
    let from = base(&store).await;
    let to = store.write_snapshot(Position(4)).await.unwrap().unwrap();
    let before = client.range(Range::now(Keys::prefix(PREFIX))).await.unwrap().items;

    let check = async |store: &EtcdStore, found: Found| {
        assert_eq!(look(store).await.found, found);
        assert_eq!(store.append(&onto, &next).await, Appended::Refused(found));
        assert_eq!(store.read(Position(0), None, Position(1)).await, Ok(None));
        assert_eq!(store.batches(Position(0), Position(1)).await, Ok(None));
        assert_eq!(store.ordering().await, Ok(None));
        let not_held = |error: StoreWriteError| assert!(matches!(error, StoreWriteError::NotHeld { .. }), "{error:?}");
        not_held(store.give(Sign::Renewed(Epoch(1))).await.unwrap_err());
        not_held(store.register(&registration(1, 1), None).await.unwrap_err());
        let moved = store.move_base(&from, &to).await;
        assert!(matches!(moved, Err(CompactionError::Write(StoreWriteError::NotHeld { .. }))), "{moved:?}");
        let snapshot = store.write_snapshot(Position(4)).await.map(drop);
        for step in [snapshot, store.clear_below(&from, 0).await.map(drop)] {
            assert!(matches!(step, Err(CompactionError::Read(ReadError::NotHeld { .. }))), "{step:?}");
        }
        let kept = store.kept().await;
        assert!(matches!(kept, Err(ReadError::NotHeld { .. })), "{kept:?}");
    };
    check(&EtcdStore::new(client.clone(), PREFIX, RunId(1), SMALL), Found::Foreign).await;
    check(&EtcdStore::new(client.clone(), "/bazaar", RUN, SMALL), Found::Foreign).await;
    assert_eq!(client.range(Range::now(Keys::prefix(PREFIX))).await.unwrap().items, before, "nothing has changed");

    client.delete_range(Keys::one("/bazaar/market/state/run")).await.unwrap();
    check(&store, Found::Foreign).await;
    client.delete_range(Keys::prefix("")).await.unwrap();
    check(&store, Found::Foreign).await;
    assert_eq!(batches.len(), 2);
}

#[tokio::test]
async fn an_end_of_the_log_that_cannot_be_read_is_said_to_be_that() {
    let Some(etcd) = Etcd::start("an_end_of_the_log_that_cannot_be_read", 1).await else { return };
    let client = etcd.client();
    let (store, mut author) = (made(&client).await, author());
    trade(&store, &mut author, &[1, 3]).await;
    let (onto, next) = (tail(&store).await, author.trade(2));
    let head = client.range(Range::now(Keys::one("/bazaar/market/state/head"))).await.unwrap().items.remove(0).value;
    let (mut longer, mut later) = (head.clone(), head.clone());
    longer.push(0);
    later[1] += 1;
    for garbage in [longer, later, b"garbage".to_vec(), Vec::new()] {
        client.put("/bazaar/market/state/head", garbage).await.unwrap();
        assert_eq!(look(&store).await.found, Found::Unreadable);
        assert_eq!(store.append(&onto, &next).await, Appended::Refused(Found::Unreadable));
        assert_eq!(store.read(Position(0), None, Position(1)).await, Ok(None));
    }
    client.put("/bazaar/market/state/head", head).await.unwrap();
    assert_eq!(store.append(&onto, &next).await, Appended::Written);
}

// -------------------------------------------------------------------------------------------------------- appends

#[tokio::test]
async fn of_two_ledgers_that_append_at_one_end_one_is_refused_with_the_other_s() {
    let Some(etcd) = Etcd::start("of_two_ledgers_that_append_at_one_end", 1).await else { return };
    let client = etcd.client();
    let (one, mut first) = (made(&client).await, author());
    let other = ledger_of(&client);
    trade(&one, &mut first, &[1]).await;
    let mut second = first.clone().seeded(1);
    for size in 1..30 {
        let onto = tail(&one).await;
        let (a, b) = (first.trade(size), second.trade(size + 1));
        let settled = tokio::join!(one.append(&onto, &a), other.append(&onto, &b));
        let (won, lost) = match &settled {
            (Appended::Written, lost) => (&a, lost),
            (lost, Appended::Written) => (&b, lost),
            both => panic!("{both:?}"),
        };
        assert_eq!(*lost, Appended::Refused(Found::Tail(onto.after(won))));
        assert_eq!(one.batches(won.position, won.end()).await, Ok(Some(vec![won.clone()])));
        if won == &a { second = first.clone().seeded(size as u64) } else { first = second.clone() }
    }
    assert_gives(&other, &first).await;
}

#[tokio::test]
async fn an_append_whose_outcome_is_unknown_is_settled_by_the_same_again() {
    let Some(etcd) = Etcd::start("an_append_whose_outcome_is_unknown", 1).await else { return };
    let client = etcd.client();
    let (store, mut author) = (made(&client).await, author());
    let (mut unknown, mut landed) = (0, 0);
    let mut onto = Tail::default();
    for round in 0..150_u64 {
        let hasty = store.with_client(client.with_deadline(Duration::from_micros((round % 30) * 50)));
        let batch = author.trade(1 + round as usize % 5);
        let first = hasty.append(&onto, &batch).await;
        let own = onto.after(&batch);
        let again = store.append_until_settled(&onto, &batch, Pauses::default()).await;
        match (first, again) {
            (Appended::Written, Outcome::Refused(Found::Tail(tail))) => assert_eq!(tail, own),
            (Appended::Unknown(_), Outcome::Refused(Found::Tail(tail))) => {
                assert_eq!(tail, own);
                (unknown, landed) = (unknown + 1, landed + 1);
            }
            (Appended::Unknown(_), Outcome::Written) => unknown += 1,
            (Appended::NotSent(_), Outcome::Written) => {}
            other => panic!("{other:?}"),
        }
        onto = own;
    }
    println!("{unknown} unknown, {landed} of them carried out");
    assert!(unknown > 0, "a short deadline leaves some unknown");
    assert_eq!(tail(&store).await, onto);
    assert_gives(&store, &author).await;
}

#[tokio::test]
async fn an_append_waits_for_a_member_to_be_there_and_a_dropped_one_does_no_harm() {
    let Some(mut etcd) = Etcd::start("an_append_waits_for_a_member", 1).await else { return };
    let client = etcd.client();
    let (store, mut author) = (made(&client).await, author());
    let batch = author.claim(PeerId(1));
    etcd.cluster.kill(0);
    let attempts = store.with_client(client.with_deadline(Duration::from_millis(200)));
    let pauses = Pauses { first: Duration::from_millis(1), longest: Duration::from_millis(20) };
    let onto = Tail::default();
    let waits = timeout(Duration::from_secs(1), async {
        // The connection that just broke leaves the first attempt unknown.
        while attempts.append_until_settled(&onto, &batch, pauses).await == Outcome::Unknown {}
    });
    assert!(waits.await.is_err(), "it tries on");
    assert!(store.trouble().is_some_and(|why| why.contains("127.0.0.1")), "{:?}", store.trouble());
    assert!(timeout(Duration::from_millis(100), attempts.look_until_answered(pauses)).await.is_err());
    etcd.cluster.restart(0).unwrap();
    let settled = timeout(BOUND, async {
        loop {
            match attempts.append_until_settled(&onto, &batch, pauses).await {
                Outcome::Unknown => {}
                settled @ (Outcome::Written | Outcome::Refused(_) | Outcome::Declined(_)) => return settled,
            }
        }
    });
    let own = Found::Tail(onto.after(&batch));
    let settled = settled.await.unwrap();
    assert!([Outcome::Written, Outcome::Refused(own)].contains(&settled), "{settled:?}");
    assert_eq!(attempts.look_until_answered(pauses).await.found, own);
    assert_eq!(store.trouble(), None);
}

#[tokio::test]
async fn a_batch_that_is_too_large_is_declined() {
    let Some(etcd) = Etcd::start("a_batch_that_is_too_large", 1).await else { return };
    let client = etcd.client();
    let (store, mut author) = (made(&client).await, author());
    trade(&store, &mut author, &[1]).await;
    let onto = tail(&store).await;
    let mut batch = author.trade(300);
    let records = batch.records.clone();
    while postcard::to_allocvec(&batch).unwrap().len() < bazaar_etcd::MAX_REQUEST {
        batch.records.extend(records.clone());
    }
    let attempt = store.append(&onto, &batch).await;
    assert!(matches!(attempt, Appended::Denied(Refusal::TooLarge(_))), "{attempt:?}");
    let declined = store.append_until_settled(&onto, &batch, Pauses::default()).await;
    assert_eq!(declined, Outcome::Declined(Found::Tail(onto)));
    assert!(store.trouble().unwrap().contains("too large"));
}

// ----------------------------------------------------------------------------------------------------------- reads

#[tokio::test]
async fn a_read_from_any_place_answers_as_the_store_in_memory_does() {
    let Some(etcd) = Etcd::start("a_read_from_any_place", 1).await else { return };
    let client = etcd.client();
    let (store, mut author, mut memory) = (made(&client).await, author(), MemoryStore::new(SMALL));
    let sizes = [1, 4, 1, 1, 1, 20, 2, 512, 1, 9, 3, 1, 1, 1, 1, 1, 1, 1, 1, 5];
    let batches = trade(&store, &mut author, &sizes).await;
    for batch in &batches {
        memory.append(batch).unwrap();
    }
    memory.sync().unwrap();
    let head = memory.tail().status.head.0;
    assert_eq!(tail(&store).await, memory.tail());
    let places = (0..60).chain((60..head).step_by(13)).chain(head - 40..=head);
    for from in places.clone().chain([head + 1]) {
        for upto in [from.saturating_sub(1), from, from + 1, from + 6, from + 8, head] {
            let (from, upto) = (Position(from), Position(upto.min(head)));
            let due = memory.read(from, None, upto).unwrap();
            assert_eq!(store.read(from, None, upto).await.unwrap(), Some(due), "{from}..{upto}");
        }
        let due = memory.batches(Position(from), Position(head)).unwrap();
        assert_eq!(store.batches(Position(from), Position(head)).await.unwrap(), Some(due), "{from}");
    }
    assert_eq!(store.read(Position(0), None, Position(head + 1)).await, Ok(None), "the log does not reach so far");
    assert_eq!(store.ordering().await, Ok(Some(Ordering::SmallestOpen)));

    // Below a snapshot, its chunks; and the history from before it once the reader may see no more than that.
    let base = compacted(&store).await;
    memory.take_snapshot();
    for chunk in [None, Some((head, 0)), Some((head, 3)), Some((head, 10_000)), Some((7, 1))] {
        let chunk = chunk.map(|(position, index)| ChunkId { position: Position(position), index });
        let due = memory.read(Position(3), chunk, Position(head)).unwrap();
        assert_eq!(store.read(Position(3), chunk, Position(head)).await.unwrap(), Some(due));
    }
    let below = memory.read(Position(3), None, Position(head - 1)).unwrap();
    assert_eq!(store.read(Position(3), None, Position(head - 1)).await.unwrap(), Some(below));
    store.clear_below(&base, 0).await.unwrap();
    assert_eq!(store.read(Position(3), None, Position(head - 1)).await, Ok(None), "gone");
    assert_eq!(store.batches(Position(0), Position(head)).await, Ok(None));
    assert_eq!(store.ordering().await, Ok(Some(Ordering::SmallestOpen)), "the books know it, too");
    assert_gives(&store, &author).await;
}

#[tokio::test]
async fn reads_are_right_while_the_base_moves_and_revisions_are_compacted() {
    let Some(etcd) = Etcd::start("reads_are_right_while_the_base_moves", 1).await else { return };
    let client = etcd.client();
    // A third process, that knows nothing of either.
    let reader = ledger_of(&etcd.client());
    let store = made(&client).await;
    let writing = tokio::spawn({
        let (store, client) = (store.clone(), client.clone());
        async move {
            let mut author = author();
            for round in 0..60 {
                trade(&store, &mut author, &[1 + round % 5, 3, 8]).await;
                let base = compacted(&store).await;
                store.clear_below(&base, round as u64 % 20).await.unwrap();
                client.compact(look(&store).await.revision).await.unwrap();
            }
            author
        }
    });
    let (mut whole, mut given_up) = (0, 0);
    while !writing.is_finished() {
        let head = tail(&reader).await;
        match read_on(&reader, Books::keeping(SMALL.sales_kept), head.status.head).await {
            Some(books) => {
                assert_eq!(books.position(), head.status.head);
                assert_eq!(books.epoch(), head.status.epoch());
                whole += 1;
            }
            None => given_up += 1,
        }
    }
    println!("{whole} reads, {given_up} overtaken");
    assert!(whole > 0);
    assert_gives(&reader, &writing.await.unwrap()).await;
}

#[tokio::test]
async fn what_is_missing_or_changed_above_the_base_is_damage() {
    let Some(etcd) = Etcd::start("what_is_missing_or_changed", 1).await else { return };
    let client = etcd.client();
    let (store, mut author) = (made(&client).await, author());
    let batches = trade(&store, &mut author, &[1, 4, 2, 6]).await;
    let key = |nth: usize| format!("{PREFIX}/log/{:016x}", batches[nth].position.0);
    let all = async || store.read(Position(0), None, Position(13)).await;
    let is_damage_at = |read: &Result<Option<LedgerAnswer>, ReadError>, nth: usize| match read {
        Err(ReadError::Damaged { key: named, .. }) => *named == key(nth),
        Err(ReadError::Unanswered { .. } | ReadError::NotHeld { .. } | ReadError::Unfoldable { .. }) | Ok(_) => false,
    };
    for (nth, batch) in batches.iter().enumerate().take(3) {
        client.delete_range(Keys::one(key(nth))).await.unwrap();
        let read = all().await;
        assert!(is_damage_at(&read, nth), "{nth}: {read:?}");
        client.put(key(nth), postcard::to_allocvec(batch).unwrap()).await.unwrap();
    }
    assert!(all().await.is_ok());
    for wrong in [b"garbage".to_vec(), postcard::to_allocvec(&batches[2]).unwrap(), Vec::new()] {
        client.put(key(1), wrong).await.unwrap();
        let read = all().await;
        assert!(is_damage_at(&read, 1), "{read:?}");
    }
    // Another batch that fits the place is noticed before it gets into a snapshot.
    let mut forged = batches[3].clone();
    forged.records.last_mut().unwrap().stamp.time.0 += 1;
    client.put(key(1), postcard::to_allocvec(&batches[1]).unwrap()).await.unwrap();
    client.put(key(3), postcard::to_allocvec(&forged).unwrap()).await.unwrap();
    let snapshot = store.write_snapshot(Position(13)).await;
    assert!(matches!(snapshot, Err(CompactionError::Read(ReadError::Damaged { .. }))), "{snapshot:?}");
    client.put(key(3), postcard::to_allocvec(&batches[3]).unwrap()).await.unwrap();

    compacted(&store).await;
    let part = keys(&client, "books/").await.remove(0);
    let held = client.range(Range::now(Keys::one(part.as_str()))).await.unwrap().items.remove(0).value;
    let mut changed = held.clone();
    changed[100] ^= 1;
    let again = ledger_of(&client);
    for wrong in [changed, held[..50].to_vec()] {
        client.put(part.as_str(), wrong).await.unwrap();
        let read = again.read(Position(0), None, Position(13)).await;
        assert!(matches!(&read, Err(ReadError::Damaged { key, .. }) if *key == part), "{read:?}");
    }
    // One that is whole, of the same log, and not what the base names.
    let keeps_less = EtcdStore::new(client.clone(), "/other", RUN, Limits { sales_kept: 1, ..SMALL });
    keeps_less.init().await.unwrap();
    let mut onto = Tail::default();
    for batch in &batches {
        onto = append(&keeps_less, batch).await;
    }
    keeps_less.write_snapshot(onto.status.head).await.unwrap().unwrap();
    let other = client.range(Range::now(Keys::prefix("/other/books/"))).await.unwrap().items.remove(0).value;
    client.put(part.as_str(), other).await.unwrap();
    let read = again.read(Position(0), None, Position(13)).await;
    assert!(matches!(&read, Err(ReadError::Damaged { key, .. }) if *key == part), "{read:?}");
    client.delete_range(Keys::one("/bazaar/market/state/base")).await.unwrap();
    assert_eq!(look(&store).await.base, None);
    assert!(matches!(all().await, Err(ReadError::Damaged { .. })));
}

// ----------------------------------------------------------------------------------------------------- compaction

#[tokio::test]
async fn a_compaction_that_stops_after_any_step_leaves_everything_readable() {
    let Some(etcd) = Etcd::start("a_compaction_that_stops_after_any_step", 1).await else { return };
    let client = etcd.client();
    let (one, mut author) = (made(&client).await, author());
    let other = ledger_of(&client);
    trade(&one, &mut author, &[1, 4, 30]).await;
    assert_eq!(one.write_snapshot(Position(0)).await, Ok(None), "no batch ends there");

    let start = base(&one).await;
    assert_eq!(start, Base::default());
    // In the middle of a batch: the snapshot is of the ones before.
    let first = one.write_snapshot(Position(34)).await.unwrap().unwrap();
    assert_eq!(first.position(), Position(5));
    assert_gives(&other, &author).await;
    trade(&other, &mut author, &[7]).await;
    let second = other.write_snapshot(Position(1_000)).await.unwrap().unwrap();
    assert_eq!(second.position(), Position(42));
    assert_eq!(one.write_snapshot(Position(1_000)).await, Ok(Some(second)), "the same, whoever makes it");
    assert_gives(&one, &author).await;

    // Not before it is in force.
    assert_eq!(keys(&client, "books/").await.len(), 2);
    other.move_base(&start, &second).await.unwrap();
    assert_gives(&one, &author).await;
    other.move_base(&start, &second).await.unwrap();
    for (from, to) in [(&start, &first), (&first, &second), (&second, &first), (&second, &second), (&second, &start)] {
        let moved = one.move_base(from, to).await;
        let is_done = to == &second && from == &first;
        assert!(is_done == moved.is_ok(), "{from:?} {to:?}: {moved:?}");
    }
    assert_eq!(base(&one).await, second);
    assert_eq!(one.write_snapshot(Position(1_000)).await, Ok(None));

    let other_base = |cleared: Result<Cleared, CompactionError>| {
        assert!(matches!(cleared, Err(CompactionError::OtherBase { .. })), "{cleared:?}");
    };
    other_base(one.clear_below(&first, 0).await);
    other_base(one.clear_below(&start, 0).await);
    assert_eq!(keys(&client, "log/").await.len(), 4);
    // No snapshot was in force below it, so all of the history is kept; what was written in vain goes.
    let nothing = Cleared { batches: 0, parts: 0, has_more: false };
    assert_eq!(one.clear_below(&second, 37).await.unwrap(), Cleared { parts: 1, ..nothing });
    assert_eq!(one.read(Position(5), None, Position(20)).await.unwrap().map(records), Some(7), "history");
    assert_eq!(first_kept(&one).await, 0);
    assert_gives(&one, &author).await;
    assert_eq!(one.clear_below(&second, 0).await.unwrap(), Cleared { batches: 4, ..nothing });
    assert_eq!(one.clear_below(&second, 0).await.unwrap(), nothing);
    assert_eq!(one.read(Position(5), None, Position(20)).await.unwrap(), None);
    assert_eq!((first_kept(&one).await, keys(&client, "books/").await.len()), (42, 1));
    assert_gives(&other, &author).await;

    // And on: what is folded into the next one begins at this one.
    trade(&one, &mut author, &[3, 3]).await;
    let third = compacted(&other).await;
    assert_eq!(third.position(), Position(48));
    assert_eq!(other.clear_below(&third, 6).await.unwrap(), nothing, "so many are kept");
    assert_eq!((first_kept(&one).await, keys(&client, "books/").await.len()), (42, 2));
    assert_gives(&one, &author).await;
    trade(&one, &mut author, &[2, 1]).await;
    let fourth = compacted(&one).await;
    other_base(one.clear_below(&third, 0).await);
    assert_eq!(one.clear_below(&fourth, 9).await.unwrap(), Cleared { parts: 1, ..nothing });
    // The one before, which was not kept, is made again.
    assert_eq!(other.clear_below(&fourth, 2).await.unwrap(), Cleared { batches: 2, parts: 1, has_more: false });
    assert_eq!(other.clear_below(&fourth, 9).await.unwrap(), nothing, "what is gone does not come back");
    assert_eq!((first_kept(&one).await, keys(&client, "books/").await.len()), (48, 2));
    assert_eq!(keys(&client, "end/").await.len(), 2);
    assert_gives(&one, &author).await;
}

/// What only an audit needs, and a ledger deletes at last.
#[tokio::test]
async fn damage_below_the_base_is_said_and_deleted_by_nobody_but_the_cluster_s_owner() {
    let Some(etcd) = Etcd::start("damage_below_the_base", 1).await else { return };
    let client = etcd.client();
    let (store, mut author) = (made(&client).await, author());
    let batches = trade(&store, &mut author, &[1, 4, 30]).await;
    let below = compacted(&store).await;
    trade(&store, &mut author, &[5]).await;
    let base = compacted(&store).await;
    assert_eq!((below.position(), base.position()), (Position(35), Position(40)));
    let key = |nth: usize| format!("{PREFIX}/log/{:016x}", batches[nth].position.0);
    let mut forged = batches[1].clone();
    forged.records[0].stamp.time.0 += 1;
    let whole = postcard::to_allocvec(&batches[1]).unwrap();
    let mut other = batches[1].clone();
    other.records.clear();
    let oldest = format!("{PREFIX}/state/oldest");
    let encoded = |batch: &Batch| Some(postcard::to_allocvec(batch).unwrap());
    for (key, wrong) in [
        (key(1), encoded(&forged)),
        (key(1), encoded(&other)),
        (key(1), None),
        (key(0), None),
        (oldest.clone(), Some(b"garbage".to_vec())),
    ] {
        match wrong {
            None => drop(client.delete_range(Keys::one(key)).await.unwrap()),
            Some(wrong) => drop(client.put(key, wrong).await.unwrap()),
        }
        let there = keys(&client, "log/").await;
        for _ in 0..2 {
            let cleared = store.clear_below(&base, 5).await;
            assert!(matches!(&cleared, Err(CompactionError::Read(error)) if error.is_damage()), "{cleared:?}");
        }
        let kept = store.kept().await;
        assert!(matches!(&kept, Err(error) if error.is_damage()), "{kept:?}");
        assert_eq!(
            read_on(&store, Books::keeping(SMALL.sales_kept), Position(40)).await.as_ref(),
            Some(author.books())
        );
        assert_eq!(keys(&client, "log/").await, there);
    }
    // What is to be run is what deletes it.
    let cut = store.cut(&base);
    assert!(cut.ends_with("del '/bazaar/market/log/0000000000000000' '/bazaar/market/log/0000000000000028'"), "{cut}");
    client.delete_range(Keys::between(key(0), format!("{PREFIX}/log/{:016x}", 40))).await.unwrap();
    assert_eq!(first_kept(&store).await, 40);
    assert_gives(&store, &author).await;
    let nothing = Cleared { batches: 0, parts: 0, has_more: false };
    assert_eq!(store.clear_below(&base, 5).await.unwrap(), Cleared { parts: 1, ..nothing });
    // Something that comes back, as from a backup.
    client.put(key(1), whole).await.unwrap();
    assert_eq!(first_kept(&store).await, 40);
    assert_eq!(store.clear_below(&base, 5).await.unwrap(), Cleared { batches: 1, ..nothing });
    assert_gives(&store, &author).await;
}

fn records(answer: LedgerAnswer) -> usize {
    match answer {
        LedgerAnswer::Records { records, .. } => records.len(),
        other @ (LedgerAnswer::Status | LedgerAnswer::Chunk { .. } | LedgerAnswer::Append { .. }) => {
            panic!("{other:?}")
        }
    }
}

/// Two ledgers that take snapshots and clear at the same time, with different histories.
#[tokio::test]
async fn ledgers_that_clear_at_the_same_time_leave_everything_readable() {
    let Some(etcd) = Etcd::start("ledgers_that_clear_at_the_same_time", 1).await else { return };
    let client = etcd.client();
    let (one, other, mut author) = (made(&client).await, ledger_of(&client), author());
    let (mut done, mut first_before) = (0, 0);
    for round in 0..30 {
        trade(&one, &mut author, &[3, 1, 2]).await;
        let compact = async |store: &EtcdStore, history: u64| {
            let from = base(store).await;
            let Some(to) = store.write_snapshot(tail(store).await.status.head).await? else { return Ok(()) };
            store.move_base(&from, &to).await?;
            store.clear_below(&to, history).await.map(drop)
        };
        let (a, b) = tokio::join!(compact(&one, 5), compact(&other, round % 9));
        for result in [a, b] {
            let is_late = |error: &CompactionError| {
                matches!(error, CompactionError::OtherBase { .. } | CompactionError::Incomplete { .. })
            };
            assert!(result.as_ref().err().is_none_or(is_late), "{result:?}");
            done += usize::from(result.is_ok());
        }
        assert_gives(&one, &author).await;
        let first = first_kept(&other).await;
        assert!(first >= first_before);
        first_before = first;
    }
    assert!(done >= 10 && first_before > 100, "{done} of 60, kept from {first_before} on");
}

#[tokio::test]
async fn a_snapshot_that_is_not_there_is_not_put_in_force() {
    let Some(etcd) = Etcd::start("a_snapshot_that_is_not_there", 1).await else { return };
    let client = etcd.client();
    let (store, mut author) = (made(&client).await, author());
    trade(&store, &mut author, &[1, 4, 30]).await;
    let (from, to) = (base(&store).await, store.write_snapshot(Position(35)).await.unwrap().unwrap());
    client.delete_range(Keys::prefix("/bazaar/market/books/")).await.unwrap();
    let moved = store.move_base(&from, &to).await;
    assert!(matches!(moved, Err(CompactionError::Incomplete { .. })), "{moved:?}");
    assert_gives(&store, &author).await;
    assert_eq!(store.write_snapshot(Position(35)).await, Ok(Some(to)));
    store.move_base(&from, &to).await.unwrap();
    assert_gives(&store, &author).await;
}

#[tokio::test]
async fn a_log_of_many_batches_is_cleared_in_pieces() {
    let Some(etcd) = Etcd::start("a_log_of_many_batches", 1).await else { return };
    let client = etcd.client();
    let limits = Limits { sales_kept: 400, ..Limits::DEFAULT };
    let store = EtcdStore::new(client.clone(), PREFIX, RUN, limits);
    store.init().await.unwrap();
    let mut author = Author::new(limits.sales_kept, 0);
    let mut sizes = vec![1; 600];
    sizes.extend([512; 100]);
    let mut onto = Tail::default();
    for size in sizes {
        let batch = author.trade(size);
        assert_eq!(store.append(&onto, &batch).await, Appended::Written);
        onto = onto.after(&batch);
    }
    let head = onto.status.head;
    let (from, to) = (base(&store).await, store.write_snapshot(head).await.unwrap().unwrap());
    store.move_base(&from, &to).await.unwrap();
    let mut cleared = 0;
    loop {
        let step = store.clear_below(&to, 0).await.unwrap();
        assert!(step.batches <= 256);
        cleared += step.batches;
        if !step.has_more {
            break;
        }
    }
    assert_eq!((cleared, keys(&client, "log/").await.len()), (700, 0));
    let books = timeout(BOUND, async {
        let mut chunks = Vec::new();
        loop {
            let next = Some(ChunkId { position: head, index: chunks.len() as u32 });
            match store.read(Position(0), next, head).await.unwrap().unwrap() {
                LedgerAnswer::Chunk { of, chunk, .. } => {
                    chunks.push(chunk);
                    if chunks.len() == of as usize {
                        return Books::from_chunks(limits.sales_kept, chunks);
                    }
                }
                other @ (LedgerAnswer::Status | LedgerAnswer::Records { .. } | LedgerAnswer::Append { .. }) => {
                    panic!("{other:?}")
                }
            }
        }
    });
    assert_eq!(books.await.unwrap(), *author.books());
}

// --------------------------------------------------------------------------------------------------------- no room

#[tokio::test]
async fn a_full_store_declines_and_reads_and_works_again_after_what_it_says() {
    let start = Etcd::start_with("a_full_store_declines", 1, |plan| plan.quota = Some(16 << 20));
    let Some(etcd) = start.await else { return };
    let client = etcd.client();
    let (store, mut author) = (made(&client).await, author());
    trade(&store, &mut author, &[1, 4, 30]).await;
    let base = compacted(&store).await;
    let mut watch = ledger_of(&client).watch(look(&store).await.revision).await.unwrap();
    trade(&store, &mut author, &[7]).await;
    assert!(!store.space().await.unwrap().is_full());

    // To the last page, since etcd counts what a request takes before it carries it out.
    let mut written = 0_u32;
    for size in [1_000_000, 100_000, 4_000, 100, 0] {
        loop {
            written += 1;
            match client.put(format!("/{written}"), vec![0; size]).await {
                Ok(_) => assert!(written < 20_000, "the quota does not count"),
                Err(WriteError::Full(_)) => break,
                Err(error) => panic!("{error}"),
            }
        }
        for alarm in client.alarms().await.unwrap() {
            client.disarm(alarm).await.unwrap();
        }
    }
    let _ = client.put("/last", "").await;

    let (onto, batch) = (tail(&store).await, author.trade(5));
    assert!(matches!(store.append(&onto, &batch).await, Appended::Full(_)));
    let declined = store.append_until_settled(&onto, &batch, Pauses::default()).await;
    assert_eq!(declined, Outcome::Declined(Found::Tail(onto)));
    // Also where another head would only be read.
    let late = store.append_until_settled(&Tail::default(), &author_of_nothing(), Pauses::default()).await;
    assert_eq!(late, Outcome::Declined(Found::Tail(onto)));
    assert!(store.trouble().unwrap().contains("out of space"));
    let answer = store.read(Position(35), None, Position(42)).await.unwrap();
    assert_eq!(answer.map(records), Some(7), "reads go on");
    assert!(matches!(
        ledger_of(&client).read(Position(0), None, Position(42)).await.unwrap(),
        Some(LedgerAnswer::Chunk { .. })
    ));
    assert!(matches!(next(&mut watch).await, Seen::Appended(tail) if tail == onto), "and so do watches");
    println!("clear_below in a full store: {:?}", store.clear_below(&base, 0).await);

    let space = store.space().await.unwrap();
    assert!(space.is_full() && space.base == Some(Position(35)), "{space:?}");
    println!("{space}");
    client.delete_range(Keys::between("/0", "/:")).await.unwrap();
    if Command::new("etcdctl").arg("version").output().is_ok() {
        for line in space.remedy().lines() {
            let run = Command::new("/bin/sh").args(["-c", line]).env("ETCDCTL_API", "3").output().unwrap();
            assert!(run.status.success(), "{line}: {run:?}");
        }
    } else {
        client.delete_range(Keys::between("/bazaar/market/log/", "/bazaar/market/log/0000000000000023")).await.unwrap();
        client.compact(revision(&client).await).await.unwrap();
        client.defragment(0).await.unwrap();
        for alarm in client.alarms().await.unwrap() {
            client.disarm(alarm).await.unwrap();
        }
    }
    assert!(!store.space().await.unwrap().is_full());
    assert_eq!(keys(&client, "log/").await, ["/bazaar/market/log/0000000000000023"]);
    assert_eq!(store.append_until_settled(&onto, &batch, Pauses::default()).await, Outcome::Written);
    assert_eq!(store.trouble(), None);
    assert_gives(&store, &author).await;
}

fn author_of_nothing() -> Batch {
    author().claim(PeerId(9))
}

// --------------------------------------------------------------------------------------------------------- watches

fn registration(peer: u32, incarnation: u32) -> Registration {
    let life = Life { peer: PeerId(peer), incarnation: Incarnation(incarnation) };
    Registration { life, instance: 1, address: "10.0.0.1:7000".into(), pid: 1, host: "here".into() }
}

async fn next(watch: &mut Watch) -> Seen {
    timeout(BOUND, watch.next()).await.expect("something is seen").expect("it goes on")
}

#[tokio::test]
async fn a_watch_tells_what_others_do_in_order() {
    let Some(etcd) = Etcd::start("a_watch_tells_what_others_do", 1).await else { return };
    let client = etcd.client();
    let (one, mut author) = (made(&client).await, author());
    let other = ledger_of(&client);
    one.give(Sign::Renewed(Epoch(1))).await.unwrap();
    let after = look(&one).await.revision;
    let (mut at_one, mut at_other) = (one.watch(after).await.unwrap(), other.watch(after).await.unwrap());
    one.give(Sign::Renewed(Epoch(2))).await.unwrap();
    one.clone().give(Sign::Renewed(Epoch(2))).await.unwrap();
    other.give(Sign::Contested(Epoch(2))).await.unwrap();
    let appended = append(&one, &author.claim(PeerId(1))).await;
    assert_eq!(other.register(&registration(7, 1), None).await, Ok(Registered::Entered));
    client.put("/bazaar/market/peer/notes", "of somebody else").await.unwrap();
    compacted(&other).await;
    let appended_again = append(&one, &author.claim(PeerId(2))).await;

    // That another snapshot is in force is nothing to tell.
    let registered = Seen::Registered(registration(7, 1));
    let common = [Seen::Appended(appended), registered, Seen::Appended(appended_again)];
    let renewed = || Seen::Sign(Sign::Renewed(Epoch(2)));
    for due in [renewed(), renewed()].iter().chain(&common) {
        assert_eq!(next(&mut at_other).await, *due, "what the other gave itself is not told it");
    }
    for due in [Seen::Sign(Sign::Contested(Epoch(2)))].iter().chain(&common) {
        assert_eq!(next(&mut at_one).await, *due);
    }

    // What is no ledger's of this run ends it.
    client.put("/bazaar/market/state/head", "garbage").await.unwrap();
    let lost = timeout(BOUND, at_one.next()).await.unwrap();
    assert_eq!(lost, Err(Lost::Changed { key: "/bazaar/market/state/head".to_owned() }));
    assert_eq!(at_one.next().await, lost);
    let mut again = one.watch(look(&one).await.revision).await.unwrap();
    client.delete_range(Keys::prefix("/bazaar")).await.unwrap();
    assert!(matches!(timeout(BOUND, again.next()).await.unwrap(), Err(Lost::Changed { .. })));
}

/// Each batch is whole, and together they are not what was acknowledged.
#[tokio::test]
async fn a_batch_that_was_exchanged_for_another_is_noticed_by_whoever_reads_the_whole_log() {
    let Some(etcd) = Etcd::start("a_batch_that_was_exchanged", 1).await else { return };
    let client = etcd.client();
    let (store, mut author) = (made(&client).await, author());
    let batches = [author.claim(PeerId(1)), author.claim(PeerId(2))];
    for batch in &batches {
        append(&store, batch).await;
    }
    assert_eq!(log_in_etcd(&store).await.unwrap(), KeptLog::whole(batches.to_vec()));
    let mut another = batches[0].clone();
    another.records[0].stamp.time.0 += 1;
    client.put("/bazaar/market/log/0000000000000000", postcard::to_allocvec(&another).unwrap()).await.unwrap();
    let error = log_in_etcd(&store).await.unwrap_err();
    assert!(error.is_damage() && error.to_string().contains("state/head"), "{error}");
}

#[tokio::test]
async fn a_watch_at_a_node_that_is_killed_is_lost_and_begins_again_where_it_ended() {
    let Some(mut etcd) = Etcd::start("a_watch_at_a_node_that_is_killed", 3).await else { return };
    let mut settings: Settings = etcd.settings();
    settings.watch_silence = Duration::from_secs(1);
    let client = Client::new(&settings).unwrap();
    let store = ledger_of(&client);
    eventually("a store", async || match store.init().await {
        Ok(()) | Err(InitError::Exists { found: Found::Tail(_), .. }) => Some(()),
        Err(_) => None,
    })
    .await;
    let looked = store.look_until_answered(Pauses::default()).await;
    let mut watch = eventually("a watch", async || store.watch(looked.revision).await.ok()).await;
    etcd.cluster.kill(client.current());
    let lost = timeout(BOUND, async {
        loop {
            if let Err(lost) = watch.next().await {
                return lost;
            }
        }
    });
    assert!(matches!(lost.await.unwrap(), Lost::Broken { .. }));
    // The two that are left go on; nothing that happens meanwhile is missed.
    let batch = author().claim(PeerId(1));
    timeout(BOUND, async {
        while store.append_until_settled(&Tail::default(), &batch, Pauses::default()).await == Outcome::Unknown {}
    })
    .await
    .unwrap();
    let seen = eventually("the append", async || store.watch(looked.revision).await.ok()?.next().await.ok()).await;
    assert_eq!(seen, Seen::Appended(Tail::default().after(&batch)));
}

#[tokio::test]
async fn of_two_registrations_in_place_of_one_the_second_is_told() {
    let Some(etcd) = Etcd::start("of_two_registrations", 1).await else { return };
    let client = etcd.client();
    let (one, other) = (made(&client).await, ledger_of(&client));
    assert_eq!(one.registrations().await, Ok(Vec::new()));
    let first = registration(300, 1);
    assert_eq!(one.register(&first, None).await, Ok(Registered::Entered));
    assert_eq!(other.register(&registration(300, 2), None).await, Ok(Registered::Overtaken));
    assert_eq!(other.register(&registration(300, 2), Some(&first)).await, Ok(Registered::Entered));
    assert_eq!(one.register(&registration(300, 3), Some(&first)).await, Ok(Registered::Overtaken));
    for peer in [2, 1_000, 16] {
        assert_eq!(one.register(&registration(peer, 1), None).await, Ok(Registered::Entered));
    }
    let all = [registration(2, 1), registration(16, 1), registration(300, 2), registration(1_000, 1)];
    assert_eq!(one.registrations().await, Ok(all.to_vec()));
    assert_eq!(value(&client, "/bazaar/market/nothing").await, None);
}
