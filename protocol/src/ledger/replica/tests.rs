use super::*;
use crate::{
    archive::Deed,
    cluster::Cluster,
    config::Limits,
    id::Incarnation,
    ledger::{Echo, LedgerAnswer, Secret},
    record::{Entry, Record},
    store::{MemoryStore, Store},
    testing::{batch, claim, life, record},
};
use alloc::vec;

const SECRET: Secret = Secret(5);
const CONFIG: LedgerConfig = LedgerConfig {
    lease: Duration::from_millis(1_200),
    limits: Limits { waiting_calls: 3, ..Limits::DEFAULT },
    secret: SECRET,
};
const A: usize = 0;
const B: usize = 1;

/// A record that means nothing here: the ledger does not look at what it keeps.
fn word(time: u64, writer: u32) -> Record {
    record(time, writer, Entry::Refused { request: crate::testing::request(1, 3, time).id, leftover: None })
}

/// Two processes over one store, up and at rest. Peer 4 holds epoch 1, and there are two records.
fn cluster() -> Cluster {
    let mut store = MemoryStore::new(CONFIG.limits);
    for batch in [batch(1, 0, [claim(1, 4, 1)]), batch(1, 1, [word(2, 4)])] {
        let Ok(()) = store.append(&batch).and_then(|()| store.sync());
    }
    let mut cluster = Cluster::new(CONFIG, store, 2);
    for at in [A, B] {
        cluster.start(at);
        cluster.happen(at);
        assert!(!cluster.hear(at).is_empty(), "its lease starts");
    }
    cluster
}

fn call(caller: Life, request: LedgerRequest) -> LedgerCall {
    LedgerCall { caller, seen: HighWaterMark::default(), heard: Epoch(0), request }
}

fn append(caller: Life, batch: &Batch) -> LedgerCall {
    call(caller, LedgerRequest::Append(batch.clone()))
}

/// A process is asked, and all that follows happens at once.
fn ask(cluster: &mut Cluster, at: usize, call: LedgerCall) -> Vec<Deed> {
    let (_, mut deeds) = cluster.take(at, call);
    deeds.extend(settle(cluster, at));
    deeds
}

/// What a process asks of the store happens, and it hears of it, until it asks nothing more.
fn settle(cluster: &mut Cluster, at: usize) -> Vec<Deed> {
    let mut deeds = Vec::new();
    while cluster.processes()[at].is_asking() || cluster.processes()[at].is_to_hear() {
        cluster.happen(at);
        deeds.extend(cluster.hear(at));
    }
    deeds
}

/// The replies among the deeds, each with the batch that it answers.
fn replies(deeds: &[Deed]) -> impl Iterator<Item = (&LedgerReply, Option<&Batch>)> {
    deeds.iter().filter_map(|deed| {
        let Deed::Reply { reply, batch, .. } = deed else { return None };
        Some((reply, batch.as_ref()))
    })
}

/// The verdicts among the deeds; checks their echoes.
fn verdicts(deeds: &[Deed]) -> Vec<Verdict> {
    let verdict = |(reply, batch): (&LedgerReply, Option<&Batch>)| {
        let LedgerAnswer::Append { echo, verdict } = reply.answer else { return None };
        assert_eq!(echo, Echo::of(reply.word.to, batch.unwrap()));
        Some(verdict)
    };
    replies(deeds).filter_map(verdict).collect()
}

fn heads(deeds: &[Deed]) -> Vec<u64> {
    replies(deeds).map(|(reply, _)| reply.word.status.head.0).collect()
}

fn appended(head: u64) -> Verdict {
    Verdict::Appended { head: Position(head), contested: false }
}

fn status(peer: u32) -> LedgerCall {
    call(life(peer, 1), LedgerRequest::Status)
}

#[test]
fn whatever_another_process_has_written_is_shown() {
    let mut cluster = cluster();
    assert_eq!(verdicts(&ask(&mut cluster, B, append(life(4, 1), &batch(1, 2, [word(3, 4)])))), [appended(3)]);
    assert_eq!(heads(&ask(&mut cluster, A, status(1))), [3], "though it was not told");
    cluster.take(A, call(life(1, 1), LedgerRequest::Read { from: Position(2), chunk: None }));
    settle(&mut cluster, A);
    let (_, reply) = cluster.answer_read(A, 0).unwrap();
    assert_eq!(reply.answer, LedgerAnswer::Records { from: Position(2), records: vec![word(3, 4)] });
}

#[test]
fn an_append_needs_no_look_and_is_judged_by_what_refuses_it() {
    let mut cluster = cluster();
    ask(&mut cluster, B, append(life(4, 1), &batch(1, 2, [word(3, 4)])));
    // Process A does not know of it yet. The holder cannot have two appends under way; its former life can.
    let late = batch(1, 2, [word(4, 4)]);
    let (_, deeds) = cluster.take(A, append(life(4, 1), &late));
    assert_eq!((deeds, cluster.processes()[A].is_appending()), (vec![], true));
    assert_eq!(cluster.happen(A), None);
    let deeds = cluster.hear(A);
    assert_eq!((verdicts(&deeds), heads(&deeds)), (vec![Verdict::Conflict], vec![3]));
}

#[test]
fn an_append_of_unknown_outcome_is_tried_again_and_nobody_is_answered_meanwhile() {
    for lands in [true, false] {
        let mut cluster = cluster();
        let batch = batch(1, 2, [word(3, 4)]);
        cluster.take(A, append(life(4, 1), &batch));
        if lands {
            assert_eq!(cluster.happen(A).as_ref(), Some(&batch));
        }
        assert_eq!(cluster.lose(A), []);
        assert_eq!(cluster.take(A, status(1)).1, [], "it waits");
        assert_eq!(cluster.strays().len(), usize::from(!lands));
        assert!(cluster.processes()[A].is_appending());
        let deeds = settle(&mut cluster, A);
        assert_eq!((verdicts(&deeds), heads(&deeds)), (vec![appended(3)], vec![3, 3]), "lands: {lands}");
        // If the first try gets through at last, it finds another end.
        assert_eq!(cluster.stray(0), None);
        assert_eq!((cluster.store().durable().len(), cluster.strays().len()), (3, 0));
    }
}

#[test]
fn an_append_that_a_full_store_declines_is_answered_only_if_it_is_in_the_log() {
    let batch = batch(1, 2, [word(3, 4)]);
    for carried_out in [true, false] {
        let mut cluster = cluster();
        cluster.take(A, append(life(4, 1), &batch));
        cluster.take(A, status(1));
        assert_eq!(cluster.decline(A, carried_out).is_some(), carried_out);
        let mut deeds = cluster.hear(A);
        deeds.extend(settle(&mut cluster, A));
        let (due, head) = if carried_out { (vec![appended(3)], 3) } else { (vec![], 2) };
        assert_eq!(verdicts(&deeds), due);
        let dropped = deeds.contains(&Deed::Drop { id: CallId(0), call: append(life(4, 1), &batch) });
        assert_eq!(dropped, !carried_out, "{deeds:?}");
        // It goes on, and so does its caller once there is room.
        assert_eq!(heads(&deeds).last(), Some(&head));
        assert_eq!(verdicts(&ask(&mut cluster, A, append(life(4, 1), &batch))), [appended(3)]);
    }
}

#[test]
fn a_store_that_has_come_to_the_same_end_by_another_way_is_another_store() {
    let mut cluster = cluster();
    let last = append(life(4, 1), &batch(1, 3, [word(4, 4)]));
    ask(&mut cluster, A, append(life(4, 1), &batch(1, 2, [word(3, 4)])));
    assert_eq!(verdicts(&ask(&mut cluster, A, last.clone())), [appended(4)]);
    cluster.put_back(2);
    ask(&mut cluster, B, append(life(4, 1), &batch(1, 2, [word(2, 4)])));
    assert_eq!(verdicts(&ask(&mut cluster, B, last)), [appended(4)]);
    let mark = HighWaterMark::sealed(Epoch(1), Position(4), SECRET);
    assert_eq!(ask(&mut cluster, A, status(1)), [Deed::Stop(ReplicaFault::Shrunk { seen: mark, holds: mark })]);
}

#[test]
fn a_longer_log_that_has_come_about_another_way_is_another_store() {
    // The second record is another one, alone in its batch or in a batch that goes over where the log ended.
    let others = [vec![batch(1, 2, [word(2, 4)])], vec![batch(1, 1, [word(1, 4), word(2, 4), word(3, 4)])]];
    for (kept, others) in [(1, &others[1]), (2, &others[0])] {
        let mut cluster = cluster();
        ask(&mut cluster, A, append(life(4, 1), &batch(1, 2, [word(3, 4)])));
        cluster.put_back(kept);
        // Process B is started again, and knows what there is by then.
        cluster.crash(B);
        cluster.start(B);
        settle(&mut cluster, B);
        for other in others {
            assert_eq!(verdicts(&ask(&mut cluster, B, append(life(4, 1), other))).len(), 1);
        }
        if kept == 2 {
            ask(&mut cluster, B, append(life(4, 1), &batch(1, 3, [word(4, 4)])));
        }
        assert!(cluster.status().head.0 > 3);
        cluster.see_append(A);
        let deeds = ask(&mut cluster, A, status(1));
        assert!(matches!(deeds[..], [Deed::Stop(ReplicaFault::Shrunk { .. })]), "{deeds:?}");
    }
}

#[test]
fn a_batch_that_is_sent_again_renews_the_term_everywhere() {
    let mut cluster = cluster();
    let last = append(life(4, 1), &batch(1, 2, [word(3, 4)]));
    let deeds = ask(&mut cluster, A, last.clone());
    assert!(!deeds.contains(&Deed::Give(Sign::Renewed(Epoch(1)))), "the others see it: {deeds:?}");
    let deeds = ask(&mut cluster, A, last);
    assert!(deeds.contains(&Deed::Give(Sign::Renewed(Epoch(1)))), "{deeds:?}");
}

#[test]
fn a_holder_is_told_once_that_its_term_is_contested_wherever_it_appends() {
    let mut cluster = cluster();
    let claims = append(life(3, 1), &batch(2, 2, [claim(3, 3, 2)]));
    let renews = append(life(4, 1), &batch(1, 2, []));
    for at_once in [true, false] {
        assert_eq!(verdicts(&ask(&mut cluster, A, claims.clone())), [Verdict::LeaseActive]);
        cluster.see(B, Sign::Contested(Epoch(1)));
        let renewed = verdicts(&ask(&mut cluster, B, renews.clone()));
        assert_eq!(renewed, [Verdict::Appended { head: Position(2), contested: true }]);
        if at_once {
            cluster.see(A, Sign::Renewed(Epoch(1)));
            assert_eq!(verdicts(&ask(&mut cluster, A, renews.clone())), [appended(2)]);
        }
    }
    // So it is if it appends records, wherever the claim was kept out.
    assert_eq!(verdicts(&ask(&mut cluster, A, claims)), [Verdict::LeaseActive]);
    let deeds = ask(&mut cluster, A, append(life(4, 1), &batch(1, 2, [word(3, 4)])));
    assert_eq!(verdicts(&deeds), [Verdict::Appended { head: Position(3), contested: true }]);
    cluster.see_append(B);
    // An append that A sees does as well as a renewal.
    let claims = append(life(3, 1), &batch(2, 3, [claim(4, 3, 2)]));
    assert_eq!(verdicts(&ask(&mut cluster, A, claims)), [Verdict::LeaseActive]);
    ask(&mut cluster, B, append(life(4, 1), &batch(1, 3, [word(4, 4)])));
    cluster.see_append(A);
    assert_eq!(verdicts(&ask(&mut cluster, A, append(life(4, 1), &batch(1, 4, [])))), [appended(4)]);
}

#[test]
fn a_read_is_answered_only_while_the_store_holds_what_it_asks_for() {
    let read = |from| call(life(1, 1), LedgerRequest::Read { from: Position(from), chunk: None });
    let mut cluster = Cluster::new(CONFIG, MemoryStore::new(CONFIG.limits), 2);
    for at in [A, B] {
        cluster.start(at);
        settle(&mut cluster, at);
    }
    ask(&mut cluster, A, append(life(4, 1), &batch(1, 0, [claim(1, 4, 1)])));
    ask(&mut cluster, A, read(0));
    // Meanwhile a snapshot takes the place of the records.
    ask(&mut cluster, B, append(life(4, 1), &batch(2, 1, [claim(2, 4, 2)])));
    cluster.notice_growth(B);
    for _ in 0..4 {
        cluster.tidy(B);
    }
    assert_eq!((cluster.shelf().base, cluster.shelf().first), (Position(2), Position(2)));
    assert_eq!((cluster.answer_read(A, 0), cluster.processes()[A].reads().len()), (None, 0));
    ask(&mut cluster, A, read(0));
    let (_, reply) = cluster.answer_read(A, 0).unwrap();
    assert!(matches!(reply.answer, LedgerAnswer::Chunk { of: 1, .. }), "{reply:?}");
    ask(&mut cluster, A, read(2));
    cluster.wipe();
    assert_eq!(cluster.answer_read(A, 0), None);
}

#[test]
fn a_call_that_comes_during_a_look_waits_for_the_next() {
    let mut cluster = cluster();
    cluster.take(A, status(1));
    cluster.happen(A);
    // The look is over, and process A has not heard. Meanwhile somebody learns from B what the look has not found.
    ask(&mut cluster, B, append(life(4, 1), &batch(1, 2, [word(3, 4)])));
    let seen = HighWaterMark::sealed(Epoch(1), Position(3), SECRET);
    cluster.take(A, LedgerCall { seen, ..status(2) });
    assert_eq!(heads(&cluster.hear(A)), [2], "the first call came before");
    assert_eq!(heads(&settle(&mut cluster, A)), [3]);
}

// Found by the model: it took its store for one that had shrunk.
#[test]
fn a_look_that_finds_less_than_is_known_by_then_is_no_loss() {
    let mut cluster = cluster();
    cluster.take(A, status(1));
    cluster.happen(A);
    ask(&mut cluster, B, append(life(4, 1), &batch(1, 2, [word(3, 4)])));
    cluster.see_append(A);
    assert_eq!(heads(&cluster.hear(A)), [3], "whatever is known is durable");
}

#[test]
fn a_term_renewed_at_one_process_is_renewed_at_all_that_see_it() {
    let mut cluster = cluster();
    let claims = batch(2, 2, [claim(3, 3, 2)]);
    cluster.end_lease(A);
    let deeds = ask(&mut cluster, B, append(life(4, 1), &batch(1, 2, [])));
    assert!(deeds.contains(&Deed::Give(Sign::Renewed(Epoch(1)))), "{deeds:?}");
    assert_eq!(cluster.see(A, Sign::Renewed(Epoch(1))), [Deed::ArmLease(CONFIG.lease)]);
    let deeds = ask(&mut cluster, A, append(life(3, 1), &claims));
    assert_eq!(verdicts(&deeds), [Verdict::LeaseActive]);
    // And the holder learns at the other process that its term is contested, once.
    assert!(deeds.contains(&Deed::Give(Sign::Contested(Epoch(1)))), "{deeds:?}");
    cluster.see(B, Sign::Contested(Epoch(1)));
    for contested in [true, false] {
        let verdict = Verdict::Appended { head: Position(2), contested };
        assert_eq!(verdicts(&ask(&mut cluster, B, append(life(4, 1), &batch(1, 2, [])))), [verdict]);
    }
    // Without a renewal the claim is granted.
    cluster.see(A, Sign::Renewed(Epoch(1)));
    cluster.end_lease(A);
    assert_eq!(verdicts(&ask(&mut cluster, A, append(life(3, 1), &claims))), [appended(3)]);
    // A sign of the term that is over renews nothing.
    ask(&mut cluster, B, status(1));
    cluster.end_lease(B);
    assert_eq!(cluster.see(B, Sign::Renewed(Epoch(1))), []);
    assert_eq!(verdicts(&ask(&mut cluster, B, append(life(1, 1), &batch(3, 3, [claim(4, 1, 3)])))), [appended(4)]);
}

#[test]
fn an_append_renews_the_term_at_whoever_sees_it() {
    let mut cluster = cluster();
    cluster.end_lease(A);
    ask(&mut cluster, B, append(life(4, 1), &batch(1, 2, [word(3, 4)])));
    assert_eq!(cluster.see_append(A), [Deed::ArmLease(CONFIG.lease)]);
    let deeds = ask(&mut cluster, A, append(life(3, 1), &batch(2, 3, [claim(4, 3, 2)])));
    assert_eq!(verdicts(&deeds), [Verdict::LeaseActive]);
}

#[test]
fn a_process_that_does_not_see_the_others_keeps_claims_out_until_it_does_again() {
    let mut cluster = cluster();
    cluster.end_lease(A);
    cluster.watch(A, false);
    cluster.end_lease(A);
    let claims = append(life(3, 1), &batch(2, 2, [claim(3, 3, 2)]));
    assert_eq!(verdicts(&ask(&mut cluster, A, claims.clone())), [Verdict::LeaseActive]);
    assert_eq!(cluster.watch(A, true), [Deed::ArmLease(CONFIG.lease)]);
    assert_eq!(verdicts(&ask(&mut cluster, A, claims.clone())), [Verdict::LeaseActive]);
    cluster.end_lease(A);
    assert_eq!(verdicts(&ask(&mut cluster, A, claims)), [appended(3)]);
}

// SPEC J3: an absent or a different run is never a fresh start.
#[test]
fn a_store_that_was_wiped_stops_every_process_that_looks_or_writes() {
    for wiped in [status(1), append(life(4, 1), &batch(1, 2, [word(3, 4)]))] {
        let mut cluster = cluster();
        cluster.wipe();
        assert_eq!(ask(&mut cluster, A, wiped.clone()), [Deed::Stop(ReplicaFault::Foreign)]);
        assert_eq!(ask(&mut cluster, A, wiped), [], "it answers nothing");
        cluster.crash(A);
        cluster.start(A);
        assert_eq!(settle(&mut cluster, A), [Deed::Stop(ReplicaFault::Foreign)]);
    }
}

#[test]
fn an_old_image_of_the_store_is_noticed_by_a_process_and_by_a_peer() {
    let mark = |head| HighWaterMark::sealed(Epoch(1), Position(head), SECRET);
    let mut cluster = cluster();
    cluster.put_back(1);
    let shrunk = ReplicaFault::Shrunk { seen: mark(2), holds: mark(1) };
    assert_eq!(ask(&mut cluster, A, status(1)), [Deed::Stop(shrunk)]);
    cluster.crash(A);
    cluster.start(A);
    assert_eq!(settle(&mut cluster, A), [Deed::ArmLease(CONFIG.lease)]);
    let fault = LedgerFault { witness: life(1, 1), seen: mark(2), holds: mark(1) };
    assert_eq!(ask(&mut cluster, A, LedgerCall { seen: mark(2), ..status(1) }), [Deed::Fail(fault)]);
    assert_eq!(ask(&mut cluster, A, status(2)), [], "it answers nothing");
}

// Found by a review: more records of an earlier epoch were taken for progress.
#[test]
fn a_log_that_is_longer_and_lacks_a_known_epoch_is_an_old_image_that_was_continued() {
    let mut cluster = cluster();
    cluster.end_lease(A);
    let claims = append(life(3, 1), &batch(2, 2, [claim(3, 3, 2)]));
    assert_eq!(verdicts(&ask(&mut cluster, A, claims)), [appended(3)]);
    cluster.put_back(2);
    // The former holder has seen no more than there is, and process B knew no more.
    let goes_on = append(life(4, 1), &batch(1, 2, [word(3, 4), word(4, 4)]));
    assert_eq!(verdicts(&ask(&mut cluster, B, goes_on)), [appended(4)]);
    let mark = |epoch, head| HighWaterMark::sealed(Epoch(epoch), Position(head), SECRET);
    let shrunk = ReplicaFault::Shrunk { seen: mark(2, 3), holds: mark(1, 4) };
    cluster.see_append(A);
    assert_eq!(ask(&mut cluster, A, status(1)), [Deed::Stop(shrunk)]);
}

#[test]
fn a_caller_with_a_bug_is_refused_and_stops_nobody() {
    let mut cluster = cluster();
    let made_up = LedgerCall { seen: HighWaterMark { head: Position(9), ..HighWaterMark::default() }, ..status(1) };
    assert_eq!(ask(&mut cluster, A, made_up.clone()), [Deed::Refuse { id: CallId(0), call: made_up }]);
    let absurd = append(life(1, 1), &batch(2, 2, [claim(3, 1, 3)]));
    assert_eq!(ask(&mut cluster, A, absurd.clone()), [Deed::Refuse { id: CallId(0), call: absurd }]);
    assert_eq!(heads(&ask(&mut cluster, A, status(2))), [2]);
}

#[test]
fn as_many_calls_wait_as_the_limits_say() {
    let mut cluster = cluster();
    for peer in 1..=3 {
        assert_eq!(cluster.take(A, status(peer)).1, []);
    }
    assert_eq!(cluster.take(A, status(4)).1, [Deed::Drop { id: CallId(3), call: status(4) }]);
    assert_eq!(heads(&settle(&mut cluster, A)), [2, 2, 2]);
}

/// Process A is at an append, and another call came before or after that one, and before it was begun.
fn appending_beside(cluster: &mut Cluster, batch: &Batch, other: LedgerCall) {
    let is_first = matches!(other.request, LedgerRequest::Status);
    let mut calls = [append(life(4, 1), batch), other];
    if is_first {
        calls.reverse();
    }
    for call in [status(1)].into_iter().chain(calls) {
        assert_eq!(cluster.take(A, call).1, []);
    }
    cluster.happen(A);
    assert_eq!(heads(&cluster.hear(A)), [2], "the look was for the first call");
    assert!(cluster.processes()[A].is_appending(), "an append comes before whatever needs none");
}

#[test]
fn an_append_shows_those_who_called_before_it_where_the_log_ends() {
    let first = batch(1, 2, [word(3, 4)]);
    let sent_again = append(life(4, 1), &batch(1, 1, [word(2, 4)]));
    for (other, due) in [(status(2), vec![]), (sent_again, vec![Verdict::Conflict])] {
        for (lost, lands) in [(false, true), (true, true), (true, false)] {
            let mut cluster = cluster();
            appending_beside(&mut cluster, &first, other.clone());
            let mut shown = vec![3, 3];
            if lost {
                if lands {
                    cluster.happen(A);
                }
                // Whoever calls while no outcome comes has called before it is tried again.
                cluster.take(A, status(3));
                shown.push(3);
                assert_eq!(cluster.lose(A), []);
            }
            cluster.happen(A);
            let deeds = cluster.hear(A);
            let verdicts = verdicts(&deeds);
            assert_eq!((verdicts[0], &verdicts[1..], heads(&deeds)), (appended(3), &due[..], shown));
            assert!(!cluster.processes()[A].is_asking(), "no look was needed");
        }
    }
}

#[test]
fn an_append_that_is_declined_shows_them_what_there_is() {
    for (carried_out, due, shown) in [(true, vec![appended(3)], vec![3, 3]), (false, vec![], vec![2])] {
        let mut cluster = cluster();
        appending_beside(&mut cluster, &batch(1, 2, [word(3, 4)]), status(2));
        cluster.decline(A, carried_out);
        let deeds = cluster.hear(A);
        assert_eq!((verdicts(&deeds), heads(&deeds)), (due, shown));
        assert!(!cluster.processes()[A].is_asking());
    }
}

// Found by a review: it would have been granted, and the holder fenced, though it had called in time.
#[test]
fn a_claim_is_not_tried_before_a_renewal_that_came_first() {
    let mut cluster = cluster();
    cluster.end_lease(A);
    let calls = [status(1), append(life(4, 1), &batch(1, 2, [])), append(life(3, 1), &batch(2, 2, [claim(3, 3, 2)]))];
    for call in calls {
        assert_eq!(cluster.take(A, call).1, []);
    }
    let deeds = settle(&mut cluster, A);
    assert_eq!(verdicts(&deeds), [appended(2), Verdict::LeaseActive]);
}

#[test]
fn an_append_that_is_refused_shows_them_as_well_and_one_of_them_may_have_to_be_put_now() {
    let mut cluster = cluster();
    let more = append(life(4, 1), &batch(1, 3, [word(5, 4)]));
    appending_beside(&mut cluster, &batch(1, 2, [word(4, 4)]), more);
    ask(&mut cluster, B, append(life(4, 1), &batch(1, 2, [word(3, 4)])));
    cluster.happen(A);
    let deeds = cluster.hear(A);
    assert_eq!((verdicts(&deeds), heads(&deeds)), (vec![Verdict::Conflict], vec![3]));
    assert!(cluster.processes()[A].is_appending(), "it is in its place by what was found");
    let deeds = settle(&mut cluster, A);
    assert_eq!((verdicts(&deeds), heads(&deeds)), (vec![appended(4)], vec![4]));
}

#[test]
fn a_call_that_comes_during_an_append_waits_for_what_comes_next() {
    let mut cluster = cluster();
    cluster.take(A, append(life(4, 1), &batch(1, 2, [word(3, 4)])));
    cluster.happen(A);
    // It is written, and process A has not heard. Meanwhile somebody learns from B what has come after it.
    ask(&mut cluster, B, append(life(4, 1), &batch(1, 3, [word(4, 4)])));
    let seen = HighWaterMark::sealed(Epoch(1), Position(4), SECRET);
    cluster.take(A, LedgerCall { seen, ..status(2) });
    assert_eq!(heads(&cluster.hear(A)), [3], "it was told of what was so before the call");
    assert_eq!(heads(&settle(&mut cluster, A)), [4]);
}

#[test]
fn a_restarted_process_confirms_the_last_batch() {
    let mut cluster = cluster();
    let last = batch(1, 2, [word(3, 4)]);
    cluster.take(A, append(life(4, 1), &last));
    cluster.happen(A);
    cluster.crash(A);
    cluster.start(A);
    settle(&mut cluster, A);
    assert_eq!(verdicts(&ask(&mut cluster, A, append(life(4, 1), &last))), [appended(3)]);
    let another = Life { incarnation: Incarnation(2), ..life(4, 1) };
    assert_eq!(verdicts(&ask(&mut cluster, A, append(another, &batch(1, 3, [word(4, 4)])))), [Verdict::Fenced]);
}
