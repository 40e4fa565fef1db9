use super::*;
use crate::config::Ordering;
use crate::testing::{batch, claim, life, record};
use crate::{id::PeerId, record::Entry};
use alloc::vec;

const LEASE: Duration = Duration::from_millis(1_200);
const SECRET: Secret = Secret(5);

const CONFIG: LedgerConfig =
    LedgerConfig { lease: LEASE, limits: Limits { waiting_calls: 2, ..Limits::DEFAULT }, secret: SECRET };

/// A record that means nothing here: the ledger does not look at what it keeps.
fn word(time: u64, writer: u32) -> Record {
    record(time, writer, Entry::Refused { request: crate::testing::request(1, 3, time).id, leftover: None })
}

fn ask(ledger: &mut Ledger, caller: Life, seen: HighWaterMark, request: LedgerRequest) -> Vec<LedgerEffect> {
    ledger.step(LedgerInput::Call { id: CallId(7), call: LedgerCall { caller, seen, heard: Epoch(0), request } })
}

fn append(ledger: &mut Ledger, caller: Life, batch: &Batch) -> Vec<LedgerEffect> {
    ask(ledger, caller, HighWaterMark::default(), LedgerRequest::Append(batch.clone()))
}

fn status(ledger: &mut Ledger) -> Vec<LedgerEffect> {
    ask(ledger, life(1, 1), HighWaterMark::default(), LedgerRequest::Status)
}

/// The verdict among the effects; checks its echo.
fn verdict(effects: &[LedgerEffect], caller: Life, batch: &Batch) -> Option<Verdict> {
    effects.iter().find_map(|effect| match effect {
        LedgerEffect::Reply {
            reply: LedgerReply { word: Word { to, .. }, answer: LedgerAnswer::Append { echo, verdict } },
            ..
        } => {
            assert_eq!((*to, *echo), (caller, Echo::of(caller, batch)));
            Some(*verdict)
        }
        LedgerEffect::Reply { .. }
        | LedgerEffect::Persist(_)
        | LedgerEffect::Read { .. }
        | LedgerEffect::ArmLease(_)
        | LedgerEffect::Drop(_)
        | LedgerEffect::Refuse(_)
        | LedgerEffect::Fail(_) => None,
    })
}

/// The verdict on a batch, given at once or when it is durable.
fn commit(ledger: &mut Ledger, caller: Life, batch: &Batch) -> Verdict {
    let mut effects = append(ledger, caller, batch);
    if effects == [LedgerEffect::Persist(batch.clone())] {
        effects = ledger.step(LedgerInput::Persisted);
    }
    verdict(&effects, caller, batch).expect("a verdict")
}

fn appended(head: u64) -> Verdict {
    Verdict::Appended { head: Position(head), contested: false }
}

/// Peer 4 holds epoch 1; there are three records.
fn held_by_4() -> Ledger {
    let (mut ledger, effects) = Ledger::recover(CONFIG, Tail::default());
    assert_eq!(effects, [], "there is no lease");
    assert_eq!(commit(&mut ledger, life(4, 1), &batch(1, 0, [claim(1, 4, 1)])), appended(1));
    assert_eq!(commit(&mut ledger, life(4, 1), &batch(1, 1, [word(2, 4), word(3, 4)])), appended(3));
    ledger
}

fn head_told(effects: &[LedgerEffect]) -> Vec<u64> {
    let heads = effects.iter().filter_map(|effect| match effect {
        LedgerEffect::Reply { reply: LedgerReply { word, .. }, .. } | LedgerEffect::Read { word, .. } => {
            Some(word.status.head.0)
        }
        LedgerEffect::Persist(_)
        | LedgerEffect::ArmLease(_)
        | LedgerEffect::Drop(_)
        | LedgerEffect::Refuse(_)
        | LedgerEffect::Fail(_) => None,
    });
    heads.collect()
}

// DESIGN R3.
#[test]
fn what_is_not_durable_yet_is_not_shown() {
    let mut ledger = held_by_4();
    let more = batch(1, 3, [word(4, 4)]);
    assert_eq!(append(&mut ledger, life(4, 1), &more), [LedgerEffect::Persist(more.clone())]);
    let read = LedgerRequest::Read { from: Position(0), chunk: None };
    assert_eq!(
        head_told(&ask(&mut ledger, life(3, 1), HighWaterMark::default(), read)),
        [3],
        "a read is answered at once"
    );
    assert_eq!(status(&mut ledger), [], "a request for the status waits");
    let late = batch(1, 3, [word(5, 4)]);
    assert_eq!(append(&mut ledger, life(4, 1), &late), [], "so does an append");
    let effects = ledger.step(LedgerInput::Persisted);
    assert_eq!(head_told(&effects), [4, 4, 4], "and both are answered from what is durable then");
    assert_eq!(verdict(&effects, life(4, 1), &more), Some(appended(4)));
    assert_eq!(verdict(&effects[2..], life(4, 1), &late), Some(Verdict::Conflict));
}

#[test]
fn an_append_that_waited_is_persisted_next_and_the_rest_waits_on() {
    let mut ledger = held_by_4();
    let [first, second] = [batch(1, 3, [word(4, 4)]), batch(1, 4, [word(5, 4)])];
    append(&mut ledger, life(4, 1), &first);
    append(&mut ledger, life(4, 1), &second);
    status(&mut ledger);
    assert_eq!(status(&mut ledger), [LedgerEffect::Drop(CallId(7))], "two wait at most");
    let effects = ledger.step(LedgerInput::Persisted);
    assert_eq!((head_told(&effects), effects.last()), (vec![4], Some(&LedgerEffect::Persist(second))));
    assert_eq!(head_told(&ledger.step(LedgerInput::Persisted)), [5, 5]);
    assert_eq!(ledger.step(LedgerInput::Persisted), [], "nothing is being written");
}

#[test]
fn as_many_calls_wait_as_the_limits_say_and_the_others_are_dropped() {
    for waiting_calls in [0, 1, 3] {
        let (mut ledger, _) = Ledger::recover(
            LedgerConfig { limits: Limits { waiting_calls, ..Limits::DEFAULT }, ..CONFIG },
            Tail::default(),
        );
        append(&mut ledger, life(4, 1), &batch(1, 0, [claim(1, 4, 1)]));
        for _ in 0..waiting_calls {
            assert_eq!(status(&mut ledger), []);
        }
        assert_eq!(status(&mut ledger), [LedgerEffect::Drop(CallId(7))]);
        let heads = head_told(&ledger.step(LedgerInput::Persisted));
        assert_eq!(heads, vec![1; 1 + waiting_calls as usize], "the claimant, and those that waited");
    }
}

// DESIGN R2. Each batch breaks all the later rules as well.
#[test]
fn the_checks_come_in_their_order() {
    let mut ledger = held_by_4();
    let last = batch(1, 1, [word(2, 4), word(3, 4)]);
    assert_eq!(commit(&mut ledger, life(4, 1), &last), appended(3), "the very same batch, below the head");
    assert_eq!(commit(&mut ledger, life(3, 1), &batch(3, 1, [claim(9, 3, 3)])), Verdict::Fenced);
    assert_eq!(commit(&mut ledger, life(3, 1), &batch(2, 1, [claim(9, 3, 2)])), Verdict::Conflict);
    assert_eq!(commit(&mut ledger, life(3, 1), &batch(2, 3, [claim(9, 3, 2)])), Verdict::LeaseActive);
    ledger.step(LedgerInput::LeaseFired);
    assert_eq!(commit(&mut ledger, life(3, 1), &batch(2, 3, [claim(9, 3, 2)])), appended(4));
    assert_eq!(commit(&mut ledger, life(4, 1), &last), Verdict::Fenced, "no longer the last");
}

// DESIGN R2: epoch, position and content identify a batch.
#[test]
fn another_batch_in_the_last_one_s_place_is_not_taken_for_it() {
    let mut ledger = held_by_4();
    assert_eq!(commit(&mut ledger, life(4, 1), &batch(1, 1, [word(2, 4), word(4, 4)])), Verdict::Conflict);
}

// DESIGN R7, S1.
#[test]
fn nobody_but_the_very_life_that_claimed_writes_in_its_term() {
    let mut ledger = held_by_4();
    let more = batch(1, 3, [word(4, 4)]);
    assert_eq!(commit(&mut ledger, life(4, 2), &more), Verdict::Fenced);
    assert_eq!(commit(&mut ledger, life(3, 1), &batch(1, 3, [word(4, 3)])), Verdict::Fenced);
    let entry = Entry::Claimed { epoch: Epoch(2), holder: life(2, 1), ordering: Ordering::SmallestOpen };
    let in_anothers_name = batch(2, 3, [record(4, 3, entry)]);
    assert_eq!(commit(&mut ledger, life(3, 1), &in_anothers_name), Verdict::Fenced);
    assert_eq!(commit(&mut ledger, life(4, 1), &more), appended(4));
}

#[test]
fn before_the_first_claim_nobody_writes() {
    let (mut ledger, _) = Ledger::recover(CONFIG, Tail::default());
    assert_eq!(commit(&mut ledger, life(4, 1), &batch(0, 0, [])), Verdict::Fenced);
    assert_eq!(commit(&mut ledger, life(4, 1), &batch(2, 0, [claim(1, 4, 2)])), Verdict::Fenced);
}

// DESIGN R6.
#[test]
fn an_empty_append_renews_the_term_without_the_disk() {
    let mut ledger = held_by_4();
    ledger.step(LedgerInput::LeaseFired);
    assert!(!ledger.is_lease_active());
    let renewal = batch(1, 3, []);
    let effects = append(&mut ledger, life(4, 1), &renewal);
    assert_eq!(effects[0], LedgerEffect::ArmLease(LEASE));
    assert_eq!(verdict(&effects, life(4, 1), &renewal), Some(appended(3)));
    assert!(ledger.is_lease_active());
    ledger.step(LedgerInput::LeaseFired);
    commit(&mut ledger, life(4, 1), &batch(1, 1, [word(2, 4), word(3, 4)]));
    assert!(ledger.is_lease_active(), "so does the last batch, sent again");
}

// DESIGN R6.
#[test]
fn the_lease_of_a_peer_does_not_keep_out_its_own_next_life() {
    let mut ledger = held_by_4();
    let entry = Entry::Claimed { epoch: Epoch(2), holder: life(4, 2), ordering: Ordering::SmallestOpen };
    assert_eq!(commit(&mut ledger, life(4, 2), &batch(2, 3, [record(9, 4, entry)])), appended(4));
}

// DESIGN R6.
#[test]
fn a_holder_is_told_once_that_its_term_is_contested() {
    let mut ledger = held_by_4();
    let rival = batch(2, 3, [claim(9, 3, 2)]);
    let contested = Verdict::Appended { head: Position(3), contested: true };
    assert_eq!(commit(&mut ledger, life(3, 1), &rival), Verdict::LeaseActive);
    assert_eq!(commit(&mut ledger, life(4, 1), &batch(1, 3, [])), contested);
    assert_eq!(commit(&mut ledger, life(4, 1), &batch(1, 3, [])), appended(3));
    commit(&mut ledger, life(3, 1), &rival);
    ledger.step(LedgerInput::LeaseFired);
    assert_eq!(commit(&mut ledger, life(3, 1), &rival), appended(4), "the successor's term is not marked");
}

// SPEC B6, DESIGN R2.
#[test]
fn a_resigned_term_is_over_at_once_but_its_last_batch_is_confirmed_again() {
    let mut ledger = held_by_4();
    let farewell = batch(1, 3, [record(4, 4, Entry::Resigned)]);
    assert_eq!(commit(&mut ledger, life(4, 1), &farewell), appended(4));
    assert!(!ledger.is_lease_active());
    assert_eq!(commit(&mut ledger, life(4, 1), &farewell), appended(4), "its reply was lost");
    assert!(!ledger.is_lease_active(), "that renews nothing");
    assert_eq!(commit(&mut ledger, life(4, 1), &batch(1, 4, [])), Verdict::Fenced);
    assert_eq!(commit(&mut ledger, life(3, 1), &batch(2, 4, [claim(9, 3, 2)])), appended(5));
}

// DESIGN R6: the holder may be alive.
#[test]
fn a_restarted_ledger_gives_the_holder_a_lease_and_confirms_its_last_batch() {
    let tail = held_by_4().judge.durable;
    let (mut ledger, effects) = Ledger::recover(CONFIG, tail);
    assert_eq!(effects, [LedgerEffect::ArmLease(LEASE)]);
    assert_eq!(commit(&mut ledger, life(4, 1), &batch(1, 1, [word(2, 4), word(3, 4)])), appended(3));
    assert_eq!(commit(&mut ledger, life(3, 1), &batch(2, 3, [claim(9, 3, 2)])), Verdict::LeaseActive);

    let ended = tail.after(&batch(1, 3, [record(4, 4, Entry::Resigned)]));
    assert_eq!(Ledger::recover(CONFIG, ended).1, [], "a resigned term has none");
}

// DESIGN 3, "What a store must promise".
#[test]
fn a_ledger_that_holds_less_than_was_seen_of_it_no_longer_answers() {
    let sealed = |epoch, head| HighWaterMark::sealed(Epoch(epoch), Position(head), SECRET);
    for seen in [sealed(1, 4), sealed(2, 3)] {
        let mut ledger = held_by_4();
        let holds = sealed(1, 3);
        ask(&mut ledger, life(3, 1), holds, LedgerRequest::Status);
        let fault = LedgerFault { witness: life(3, 1), seen, holds };
        assert_eq!(ask(&mut ledger, life(3, 1), seen, LedgerRequest::Status), [LedgerEffect::Fail(fault)]);
        assert_eq!(status(&mut ledger), []);
        assert_eq!(append(&mut ledger, life(4, 1), &batch(1, 3, [])), []);
    }
}

// SPEC I8: any member could have stopped it for good, by naming a head that it does not have.
#[test]
fn a_mark_that_no_ledger_has_given_stops_nobody_but_its_caller() {
    let mut ledger = held_by_4();
    let given = HighWaterMark::sealed(Epoch(1), Position(3), SECRET);
    let made_up = [
        HighWaterMark { head: Position(u64::MAX), ..given },
        HighWaterMark { epoch: Epoch(2), ..given },
        HighWaterMark::sealed(Epoch(1), Position(4), Secret(SECRET.0 + 1)),
        HighWaterMark { head: Position(4), ..HighWaterMark::default() },
    ];
    for seen in made_up {
        assert_eq!(ask(&mut ledger, life(3, 1), seen, LedgerRequest::Status), [LedgerEffect::Refuse(CallId(7))]);
        assert_eq!(head_told(&status(&mut ledger)), [3]);
    }
    // What is not beyond the books needs no seal: it stops nobody.
    let short = HighWaterMark { head: Position(2), ..given };
    assert_eq!(head_told(&ask(&mut ledger, life(3, 1), short, LedgerRequest::Status)), [3]);
    // What is beyond them and was given, whoever gave it, does.
    let gone = HighWaterMark::sealed(Epoch(1), Position(4), SECRET);
    assert!(matches!(ask(&mut ledger, life(3, 1), gone, LedgerRequest::Status)[..], [LedgerEffect::Fail(_)]));
}

// SPEC I8: such a record would have been durable, and no reader of the books could have gone on from there.
#[test]
fn a_batch_that_says_one_thing_and_holds_another_is_refused() {
    let (mut ledger, _) = Ledger::recover(CONFIG, Tail::default());
    let refused = [LedgerEffect::Refuse(CallId(7))];
    assert_eq!(append(&mut ledger, life(4, 1), &batch(1, 0, [claim(1, 4, 1 << 60)])), refused, "another epoch");
    assert_eq!(append(&mut ledger, life(4, 1), &batch(1, 0, [claim(1, 3, 1)])), refused, "another's stamp");
    assert_eq!(append(&mut ledger, life(4, 1), &batch(1, 0, [claim(1, 4, 1), word(2, 4)])), refused, "and more");
    let mut ledger = held_by_4();
    assert_eq!(append(&mut ledger, life(4, 1), &batch(1, 3, [word(4, 4), claim(5, 4, 2)])), refused, "in the middle");
    assert_eq!(commit(&mut ledger, life(4, 1), &batch(1, 3, [word(4, 4)])), appended(4));
}

#[test]
fn the_fence_is_what_the_log_adds_up_to() {
    let ledger = held_by_4();
    let term = Term { epoch: Epoch(1), holder: life(4, 1), ended: false };
    assert_eq!(ledger.status(), LedgerStatus { head: Position(3), term: Some(term), latest: Time(0) });
    assert_eq!(term.holder.peer, PeerId(4));
}
