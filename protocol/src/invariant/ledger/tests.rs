use crate::config::Ordering;
use alloc::{collections::BTreeSet, vec};
use core::time::Duration;

use super::*;
use crate::{
    clock::Time,
    config::Limits,
    digest::Digest,
    ledger::{
        CallId, Echo, HighWaterMark, Ledger, LedgerCall, LedgerConfig, LedgerEffect, LedgerInput, LedgerRequest, Secret,
    },
    snapshot::ChunkId,
    snapshot::SnapshotChunk,
    store::MemoryStore,
    store::Store,
    testing::{batch, claim, life, record, request},
};

const LIVE: Lease = Lease { is_live: true, is_contested: false };
const OVER: Lease = Lease { is_live: false, is_contested: false };

/// A record that means nothing to a ledger.
fn word(time: u64, writer: u32) -> Record {
    record(time, writer, Entry::Refused { request: request(1, 3, time).id, leftover: None })
}

fn resigned(time: u64, writer: u32) -> Record {
    record(time, writer, Entry::Resigned)
}

/// Peer 4 holds epoch 1; three records are durable.
fn held_by_4() -> Vec<Batch> {
    vec![batch(1, 0, [claim(1, 4, 1)]), batch(1, 1, [word(2, 4), word(3, 4)])]
}

fn appended(head: u64) -> Option<Verdict> {
    Some(Verdict::Appended { head: Position(head), contested: false })
}

const FENCED: Option<Verdict> = Some(Verdict::Fenced);
const CONFLICT: Option<Verdict> = Some(Verdict::Conflict);
const HELD: Option<Verdict> = Some(Verdict::LeaseActive);

/// Checks that this answer is right and that no other is.
#[track_caller]
fn only(log: &[Batch], lease: Lease, caller: Life, batch: &Batch, right: Option<Verdict>) {
    the_ledger_answers_in_order(log, lease, caller, batch, right.as_ref()).unwrap();
    let contested = |head| Some(Verdict::Appended { head: Position(head), contested: true });
    for wrong in [None, FENCED, CONFLICT, HELD, appended(1), appended(3), appended(4), contested(3)] {
        if wrong != right {
            let verdict = the_ledger_answers_in_order(log, lease, caller, batch, wrong.as_ref());
            assert_eq!(verdict.map_err(|violation| violation.property), Err(Property::R2), "{wrong:?}");
        }
    }
}

#[test]
fn each_check_goes_before_the_later_ones() {
    let log = held_by_4();
    // Each batch breaks all the later rules as well.
    only(&log, LIVE, life(4, 1), &log[1], appended(3));
    only(&log, LIVE, life(3, 1), &batch(3, 1, [claim(9, 3, 3)]), FENCED);
    only(&log, LIVE, life(3, 1), &batch(2, 1, [claim(9, 3, 2)]), CONFLICT);
    only(&log, LIVE, life(3, 1), &batch(2, 3, [claim(9, 3, 2)]), HELD);
    only(&log, OVER, life(3, 1), &batch(2, 3, [claim(9, 3, 2)]), None);
    only(&log, LIVE, life(4, 1), &batch(1, 3, []), appended(3));
    only(&log, LIVE, life(4, 1), &batch(1, 3, [word(4, 4)]), None);
}

#[test]
fn a_position_looked_at_before_the_epoch_is_found() {
    let late = batch(1, 1, [word(4, 4)]);
    let log: Vec<Batch> = held_by_4().into_iter().chain([batch(2, 3, [claim(9, 3, 2)])]).collect();
    only(&log, LIVE, life(4, 1), &late, FENCED);
}

#[test]
fn a_claim_at_the_wrong_position_that_meets_the_lease_is_found() {
    only(&held_by_4(), LIVE, life(3, 1), &batch(2, 2, [claim(9, 3, 2)]), CONFLICT);
}

#[test]
fn only_the_very_batch_that_was_appended_last_is_appended_again() {
    let log = held_by_4();
    only(&log, LIVE, life(4, 1), &batch(1, 1, [word(2, 4), word(4, 4)]), CONFLICT);
    only(&log, LIVE, life(4, 1), &batch(1, 1, [word(2, 4)]), CONFLICT);
    only(&log, LIVE, life(4, 1), &log[0], FENCED);
    // Even when its term is over.
    let ended: Vec<Batch> = log.into_iter().chain([batch(1, 3, [resigned(4, 4)])]).collect();
    only(&ended, OVER, life(4, 1), &ended[2], appended(4));
}

#[test]
fn an_epoch_is_open_to_its_holder_alone_and_until_it_resigns() {
    let log = held_by_4();
    let next = |epoch| batch(epoch, 3, [word(4, 4)]);
    only(&[], OVER, life(4, 1), &batch(0, 0, []), FENCED);
    only(&log, LIVE, life(4, 2), &next(1), FENCED);
    only(&log, LIVE, life(3, 1), &next(1), FENCED);
    only(&log, LIVE, life(4, 1), &next(0), FENCED);
    only(&log, LIVE, life(4, 1), &next(2), FENCED);
    let ended: Vec<Batch> = log.into_iter().chain([batch(1, 3, [resigned(4, 4)])]).collect();
    only(&ended, OVER, life(4, 1), &batch(1, 4, []), FENCED);
}

#[test]
fn a_claim_is_for_the_next_epoch_and_for_oneself() {
    let log = held_by_4();
    only(&log, OVER, life(3, 1), &batch(1, 3, [claim(9, 3, 1)]), FENCED);
    only(&log, OVER, life(3, 2), &batch(2, 3, [claim(9, 3, 2)]), FENCED);
    only(&log, OVER, life(4, 1), &batch(2, 3, [claim(9, 3, 2)]), FENCED);
    // A peer's own term does not keep it out.
    only(&log, LIVE, life(4, 1), &batch(2, 3, [claim(9, 4, 2)]), None);
    only(&[], OVER, life(3, 1), &batch(1, 0, [claim(9, 3, 1)]), None);
}

#[test]
fn a_contested_term_is_told_so_once() {
    let (log, me, renewal) = (held_by_4(), life(4, 1), batch(1, 3, []));
    let contested = Verdict::Appended { head: Position(3), contested: true };
    let lease = LIVE.answered(&log, &Verdict::LeaseActive);
    for batch in [&renewal, &log[1]] {
        the_ledger_answers_in_order(&log, lease, me, batch, Some(&contested)).unwrap();
        assert!(the_ledger_answers_in_order(&log, lease, me, batch, appended(3).as_ref()).is_err());
    }
    assert_eq!(lease.answered(&log, &Verdict::Fenced).answered(&log, &Verdict::Conflict), lease);
    let lease = lease.answered(&log, &contested);
    only(&log, lease, me, &renewal, appended(3));
}

#[test]
fn a_lease_is_active_from_an_append_until_it_runs_out_or_the_term_ends() {
    let log = held_by_4();
    assert_eq!(Lease::afresh(&[]), OVER);
    assert_eq!(Lease::afresh(&log), LIVE);
    let contested = Lease { is_contested: true, ..LIVE };
    assert_eq!(contested.run_out(), Lease { is_contested: true, ..OVER });
    assert_eq!(OVER.answered(&log, &Verdict::Appended { head: Position(3), contested: false }), LIVE);
    assert_eq!(contested.written(&log[1]), contested, "its holder is still to be told");
    assert_eq!(contested.written(&log[0]), LIVE, "that was another term");
    let ended: Vec<Batch> = log.into_iter().chain([batch(1, 3, [resigned(4, 4)])]).collect();
    assert_eq!(LIVE.answered(&ended, &Verdict::Appended { head: Position(4), contested: false }), OVER);
}

// R3.

fn status(head: u64, term: Option<(u64, Life, bool)>) -> LedgerStatus {
    let term = term.map(|(epoch, holder, ended)| Term { epoch: Epoch(epoch), holder, ended });
    LedgerStatus { head: Position(head), term, latest: Time(0) }
}

#[track_caller]
fn violates_r3(verdict: Result<(), Violation>, position: u64) {
    let violation = verdict.expect_err("a violation");
    assert_eq!((violation.property, violation.position), (Property::R3, Some(Position(position))), "{violation}");
}

#[test]
fn a_status_that_never_was_is_found() {
    let log: Vec<Batch> = held_by_4().into_iter().chain([batch(1, 3, [resigned(4, 4)])]).collect();
    let me = life(4, 1);
    for right in [
        status(0, None),
        status(1, Some((1, me, false))),
        status(3, Some((1, me, false))),
        status(4, Some((1, me, true))),
    ] {
        a_status_shown_is_the_fence_at_a_durable_head(&log, &right).unwrap();
    }
    for (wrong, position) in [
        (status(0, Some((1, me, false))), 0),
        (status(1, None), 1),
        (status(2, Some((1, me, false))), 2),
        (status(3, Some((2, me, false))), 3),
        (status(3, Some((1, life(4, 2), false))), 3),
        (status(3, Some((1, me, true))), 3),
        (status(4, Some((1, me, false))), 4),
        (status(5, Some((1, me, true))), 4),
        (LedgerStatus { latest: Time(3), ..status(3, Some((1, me, false))) }, 3),
    ] {
        violates_r3(a_status_shown_is_the_fence_at_a_durable_head(&log, &wrong), position);
    }
}

// SPEC C5.
#[test]
fn in_the_stable_order_the_largest_stamp_is_shown() {
    let mut claim = claim(7, 4, 1);
    if let Entry::Claimed { ordering, .. } = &mut claim.entry {
        *ordering = Ordering::Stable;
    }
    let log = vec![batch(1, 0, [claim]), batch(1, 1, [word(8, 4), word(9, 4)])];
    let shown = |latest| LedgerStatus { latest: Time(latest), ..status(3, Some((1, life(4, 1), false))) };
    assert_eq!(log.iter().fold(LedgerStatus::default(), LedgerStatus::after), shown(9));
    a_status_shown_is_the_fence_at_a_durable_head(&log, &shown(9)).unwrap();
    for wrong in [0, 8, 10] {
        violates_r3(a_status_shown_is_the_fence_at_a_durable_head(&log, &shown(wrong)), 3);
    }
}

#[test]
fn an_answer_that_is_not_durable_is_found() {
    let log: Vec<Batch> = held_by_4().into_iter().chain([batch(1, 3, [word(4, 4)])]).collect();
    let me = life(4, 1);
    let says = |head| Word::of(me, Epoch(1), status(head, Some((1, me, false))), Secret::default());
    let reply = |answer| LedgerReply { word: says(3), answer };
    let read =
        |from, records: &[Record]| reply(LedgerAnswer::Records { from: Position(from), records: records.to_vec() });
    let chunk = |position| {
        let id = ChunkId { position: Position(position), index: 0 };
        reply(LedgerAnswer::Chunk { id, of: 1, chunk: SnapshotChunk::default() })
    };
    let append = |nth: usize, verdict| {
        let echo = Echo::of(me, &log[nth]);
        reply(LedgerAnswer::Append { echo, verdict })
    };
    let all: Vec<Record> = log.iter().flat_map(|batch| batch.records.clone()).collect();
    for right in [
        reply(LedgerAnswer::Status),
        read(0, &all[..3]),
        read(1, &all[1..2]),
        read(3, &[]),
        chunk(3),
        append(1, appended(3).unwrap()),
        append(2, Verdict::Conflict),
    ] {
        whatever_the_ledger_shows_is_durable(&log, &right).unwrap();
    }
    let mut other = all.clone();
    other[1] = word(7, 4);
    for (wrong, position) in [
        (read(0, &all), 3),
        (read(3, &all[3..]), 3),
        (read(0, &all[1..3]), 0),
        (read(0, &other[..3]), 1),
        (chunk(4), 4),
        (append(2, appended(4).unwrap()), 4),
    ] {
        violates_r3(whatever_the_ledger_shows_is_durable(&log, &wrong), position);
    }
    let ahead = LedgerReply { word: says(5), ..reply(LedgerAnswer::Status) };
    violates_r3(whatever_the_ledger_shows_is_durable(&log, &ahead), 4);
    let marked = LedgerReply { word: Word { seen: says(2).seen, ..says(3) }, ..reply(LedgerAnswer::Status) };
    violates_r3(whatever_the_ledger_shows_is_durable(&log, &marked), 3);
}

// The ledger itself.

/// A ledger with its store, and what an observer knows about its lease.
#[derive(Clone, Hash)]
struct Watched {
    ledger: Ledger,
    store: MemoryStore,
    lease: Lease,
}

const CONFIG: LedgerConfig = LedgerConfig {
    lease: Duration::from_secs(1),
    limits: Limits { waiting_calls: 0, ..Limits::DEFAULT },
    secret: Secret(0),
};

impl Watched {
    fn start(store: MemoryStore) -> Watched {
        let (ledger, _) = Ledger::recover(CONFIG, store.tail());
        Watched { ledger, lease: Lease::afresh(store.durable()), store }
    }

    fn check(&mut self, caller: Life, batch: &Batch, effects: &[LedgerEffect]) -> Option<Verdict> {
        let mut verdict = None;
        for effect in effects {
            if let LedgerEffect::Reply { reply, .. } = effect {
                whatever_the_ledger_shows_is_durable(self.store.durable(), reply).unwrap();
                if let LedgerAnswer::Append { verdict: answered, .. } = &reply.answer {
                    verdict = Some(*answered);
                }
            }
        }
        the_ledger_answers_in_order(self.store.durable(), self.lease, caller, batch, verdict.as_ref()).unwrap();
        if let Some(verdict) = &verdict {
            self.lease = self.lease.answered(self.store.durable(), verdict);
        }
        verdict
    }

    /// The verdict on an append, which is made durable if necessary.
    fn append(&mut self, caller: Life, batch: &Batch) -> Verdict {
        let request = LedgerRequest::Append(batch.clone());
        let call = LedgerCall { caller, seen: HighWaterMark::default(), heard: Epoch(0), request };
        let effects = self.ledger.step(LedgerInput::Call { id: CallId(0), call });
        if let Some(verdict) = self.check(caller, batch, &effects) {
            return verdict;
        }
        let Ok(()) = self.store.append(batch);
        let Ok(()) = self.store.sync();
        self.lease = self.lease.written(batch);
        let effects = self.ledger.step(LedgerInput::Persisted);
        self.check(caller, batch, &effects).expect("a verdict on what is durable")
    }

    fn run_out(mut self) -> Watched {
        self.ledger.step(LedgerInput::LeaseFired);
        self.lease = self.lease.run_out();
        self
    }
}

/// Everything that three lives of two peers can send, in their own epochs and in others', at the right position and
/// elsewhere, over all logs of at most three records that result.
#[test]
fn every_answer_of_the_ledger_is_the_one_that_is_due() {
    let lives = [life(4, 1), life(4, 2), life(3, 1)];
    let mut calls = Vec::new();
    for caller in lives {
        for (epoch, position) in (0..=3).flat_map(|epoch| (0..=3).map(move |position| (epoch, position))) {
            let writer = caller.peer.0;
            let claims = lives.map(|holder| {
                let entry = Entry::Claimed { epoch: Epoch(epoch), holder, ordering: Ordering::SmallestOpen };
                vec![record(1, writer, entry)]
            });
            let others = [vec![], vec![word(1, writer)], vec![word(1, writer), resigned(2, writer)]];
            for records in claims.into_iter().chain(others) {
                calls.push((caller, batch(epoch, position, records)));
            }
        }
    }
    let (mut seen, mut given) = (BTreeSet::new(), Vec::new());
    let mut next = vec![Watched::start(MemoryStore::default())];
    while let Some(watched) = next.pop() {
        assert_eq!(watched.lease.is_live, watched.ledger.is_lease_active());
        if !seen.insert(Digest::of(&watched)) || watched.store.records().count() > 3 {
            continue;
        }
        next.push(watched.clone().run_out());
        next.push(Watched::start(watched.store.clone()));
        for (caller, batch) in &calls {
            let mut after = watched.clone();
            let verdict = after.append(*caller, batch);
            if !given.contains(&verdict) {
                given.push(verdict);
            }
            next.push(after);
        }
    }
    let contested = Verdict::Appended { head: Position(3), contested: true };
    let all = [appended(3).unwrap(), contested, Verdict::Fenced, Verdict::Conflict, Verdict::LeaseActive];
    assert!(all.iter().all(|verdict| given.contains(verdict)), "{given:?}");
    assert!(seen.len() > 100, "{} states", seen.len());
}
