use super::*;
use crate::{
    archive::Archive,
    clock::Time,
    config::{Config, Limits, Offers, Role, Wishes},
    id::{Incarnation, Item, Units},
    ledger::{CallId, LedgerConfig, Secret},
    participant::{Context, Parts},
    store::MemoryStore,
    testing::{FISH, PACE, TERMS, TIMEOUTS, batch, claim, deposit, life, record, request},
};
use alloc::vec;

fn config() -> Config {
    Config {
        me: PeerId(2),
        peers: 3,
        neighbours: [PeerId(0), PeerId(1)].into(),
        role: Role::Both(Wishes { items: vec![Item::FISH], quantity: Units(1) }, Offers(vec![FISH])),
        first_caller: PeerId(2),
        timeouts: TIMEOUTS,
        terms: TERMS,
        pace: PACE,
        clock_range: 4,
        limits: Limits::DEFAULT,
    }
}

fn observer() -> Observer {
    Observer::new(Rules {
        terms: TERMS,
        limits: Limits::DEFAULT,
        is_synchronous: false,
        follows_causes: true,
        only: None,
    })
}

/// Peer 2 starts from what is durable.
fn start(observer: &mut Observer, durable: Durable) -> Participant {
    let config = config();
    let (started, said) = Participant::recover(Context { config: &config, is_isolated: false }, Parts::ALL, durable);
    assert_eq!(observer.on_start(durable, &started, &said), Ok(()));
    started
}

/// It decides to make this request.
fn asks(observer: &mut Observer, peer: &Participant, request: &Request) -> Checked {
    let body = Body::Client(ClientMessage::Request(request.clone()));
    let effects = [ParticipantEffect::Tell { to: PeerId(0), clock: Time(1), body }];
    observer.on_step(Stepped { before: peer, input: &ParticipantInput::LedgerUp, effects: &effects, after: peer })
}

#[test]
fn a_life_that_was_never_written_may_decide_anew() {
    let (first, mut other) = (request(1, 2, 1 << 32 | 1), request(1, 2, 1 << 32 | 1));
    other.quantity = Units(2);
    let mut observer = observer();
    let peer = start(&mut observer, Durable::default());
    assert_eq!(asks(&mut observer, &peer, &first), Ok(()));
    let again = start(&mut observer, Durable::default());
    assert_eq!(asks(&mut observer, &again, &other), Ok(()), "nobody has heard of the first one");
    let written = Durable { incarnation: Incarnation(1), clock_bound: Time(4), seen: HighWaterMark::default() };
    let next = start(&mut observer, written);
    let found = asks(&mut observer, &next, &first).unwrap_err();
    assert_eq!(found.property, Property::S4, "{found}");
}

/// A ledger that peer 1 has claimed and that is then gone; an old, empty image of it in its place; and the observer of
/// both.
fn put_back(observer: &mut Observer) -> Archive {
    let config = LedgerConfig { lease: TIMEOUTS.lease, limits: Limits::DEFAULT, secret: Secret::default() };
    let mut archive = Archive::new(config, MemoryStore::default());
    archive.start();
    let claims = call(1, HighWaterMark::default(), LedgerRequest::Append(batch(1, 0, [claim(1, 1, 1)])));
    assert_eq!(take(observer, &mut archive, &claims), Ok(()));
    archive.write();
    assert_eq!(archive.sync().cloned().map(|batch| observer.on_durable(&batch)), Some(Ok(())));
    assert_eq!(observer.on_answered(&archive.answer()), Ok(()));
    archive.crash(0);
    archive.put_back(0);
    archive.start();
    observer.on_put_back();
    observer.on_ledger_start();
    archive
}

fn call(peer: u32, seen: HighWaterMark, request: LedgerRequest) -> LedgerCall {
    LedgerCall { caller: life(peer, 1), seen, heard: Epoch(0), request }
}

fn take(observer: &mut Observer, archive: &mut Archive, call: &LedgerCall) -> Checked {
    let was_writing = archive.is_writing();
    let deeds = archive.take(call.clone());
    observer.on_call(call, was_writing, archive.machine().unwrap(), &deeds)
}

fn mark_of_claim() -> HighWaterMark {
    HighWaterMark::sealed(Epoch(1), Position(1), Secret::default())
}

// SPEC I8: whoever is told of another's epoch would refute what was granted.
#[test]
fn a_ledger_that_repeats_another_epoch_than_its_caller_had_heard_of_is_found() {
    let mut observer = observer();
    let mut archive = put_back(&mut observer);
    let asks = call(0, HighWaterMark::default(), LedgerRequest::Status);
    let mut deeds = archive.take(asks.clone());
    assert_eq!(observer.on_call(&asks, false, archive.machine().unwrap(), &deeds), Ok(()));
    let [Deed::Reply { reply, .. }] = &mut deeds[..] else { panic!("{deeds:?}") };
    reply.word.heard = Epoch(9);
    let found = observer.on_call(&asks, false, archive.machine().unwrap(), &deeds).unwrap_err();
    assert_eq!(found.property, Property::S3, "{found}");
}

#[test]
fn an_old_image_stops_when_a_caller_has_seen_more_and_never_continues() {
    let mut observer = observer();
    let mut archive = put_back(&mut observer);
    let (knows, does_not) =
        (call(2, mark_of_claim(), LedgerRequest::Status), call(0, HighWaterMark::default(), LedgerRequest::Status));
    assert_eq!(take(&mut observer, &mut archive, &does_not), Ok(()), "nobody could know");
    assert_eq!(take(&mut observer, &mut archive, &knows), Ok(()));
    assert!(archive.machine().is_some_and(Ledger::has_failed));
    assert_eq!(take(&mut observer, &mut archive, &does_not), Ok(()), "it does nothing");
    let word = Word::of(does_not.caller, Epoch(0), archive.status(), Secret::default());
    let reply = LedgerReply { word, answer: LedgerAnswer::Status };
    let deeds = [Deed::Reply { id: CallId(0), reply, batch: None }];
    let found = observer.on_call(&does_not, false, archive.machine().unwrap(), &deeds).unwrap_err();
    assert_eq!(found.property, Property::S3, "{found}");
}

#[test]
fn an_old_image_that_serves_a_caller_that_has_seen_more_is_found() {
    let mut observer = observer();
    let archive = put_back(&mut observer);
    let knows = call(2, mark_of_claim(), LedgerRequest::Status);
    for deeds in [vec![], vec![Deed::ArmLease(TIMEOUTS.lease)]] {
        let found = observer.on_call(&knows, false, archive.machine().unwrap(), &deeds).unwrap_err();
        assert_eq!(found.property, Property::S3, "{found}");
    }
}

#[test]
fn what_an_old_image_grants_is_added_to_no_log() {
    let mut observer = observer();
    let mut archive = put_back(&mut observer);
    let claims = call(0, HighWaterMark::default(), LedgerRequest::Append(batch(1, 0, [claim(5, 0, 1)])));
    assert_eq!(take(&mut observer, &mut archive, &claims), Ok(()), "nobody could know");
    archive.write();
    let granted = archive.sync().cloned().unwrap();
    assert_eq!(observer.on_durable(&granted).unwrap_err().property, Property::S3);
    assert_eq!(observer.log().holder(Epoch(1)), Some(life(1, 1)));
}

#[test]
fn a_ledger_that_stops_with_all_it_ever_held_has_shown_more_than_was_durable() {
    let mut observer = observer();
    let mut archive = Archive::new(
        LedgerConfig { lease: TIMEOUTS.lease, limits: Limits::DEFAULT, secret: Secret::default() },
        MemoryStore::default(),
    );
    archive.start();
    let found = take(&mut observer, &mut archive, &call(2, mark_of_claim(), LedgerRequest::Status)).unwrap_err();
    assert_eq!(found.property, Property::S3, "{found}");
}

#[test]
fn observers_of_old_images_differ_by_the_log_that_is_gone() {
    let (mut one, mut other) = (observer(), observer());
    put_back(&mut one);
    put_back(&mut other);
    assert_eq!(one, other);
    let mut gone = observer();
    gone.on_put_back();
    assert_ne!(one, gone);
}

/// An observer of a log in which peer 1 has claimed epoch 1.
fn claimed() -> Observer {
    let mut observer = observer();
    assert_eq!(observer.on_durable(&batch(1, 0, [claim(1, 1, 1)])), Ok(()));
    observer
}

#[test]
fn a_peer_that_speaks_for_anothers_epoch_is_found() {
    let observer = claimed();
    assert_eq!(observer.speaks_for(life(1, 1), Epoch(1)), Ok(()));
    for (speaker, epoch) in [(life(2, 1), 1), (life(1, 2), 1), (life(1, 1), 2)] {
        let found = observer.speaks_for(speaker, Epoch(epoch)).unwrap_err();
        assert_eq!(found.property, Property::S1, "{found}");
    }
}

#[test]
fn a_peer_taken_for_the_leader_of_anothers_epoch_is_found() {
    for (leader, epoch, is_right) in [(1, 1, true), (0, 1, false), (1, 2, false)] {
        let mut observer = claimed();
        let before = start(&mut observer, Durable::default());
        let body = Body::Heartbeat { epoch: Epoch(epoch), waits: None };
        let input = ParticipantInput::Heard { from: PeerId(leader), clock: Time(1), body };
        let (mut after, config) = (before.clone(), config());
        let effects = after.step(Context { config: &config, is_isolated: false }, input.clone());
        let found = observer.on_step(Stepped { before: &before, input: &input, effects: &effects, after: &after });
        assert_eq!(found.as_ref().err().map(|found| found.property), (!is_right).then_some(Property::S1), "{found:?}");
    }
}

#[test]
fn a_deposit_that_nobody_decided_is_found() {
    let decided = deposit(2, 1, 2);
    for (booked, is_right) in [(decided.clone(), true), (Deposit { count: Units(3), ..decided.clone() }, false)] {
        let mut observer = claimed();
        let peer = start(&mut observer, Durable::default());
        let body = Body::Client(ClientMessage::Deposit(decided.clone()));
        let effects = [ParticipantEffect::Tell { to: PeerId(1), clock: Time(1), body }];
        let input = ParticipantInput::LedgerUp;
        let step = Stepped { before: &peer, input: &input, effects: &effects, after: &peer };
        assert_eq!(observer.on_step(step), Ok(()));
        let found = observer.on_durable(&batch(1, 1, [record(9, 1, Entry::Deposited(booked))]));
        assert_eq!(found.as_ref().err().map(|found| found.property), (!is_right).then_some(Property::S5), "{found:?}");
    }
}

// S11.
#[test]
fn a_bound_that_the_log_does_not_show_is_found() {
    let claimed = Entry::Claimed { epoch: Epoch(1), holder: life(9, 1), ordering: Ordering::Stable };
    let seat = Entry::Seated { buyer: life(3, 1), above: Time(7) };
    let log = [batch(1, 0, vec![record(8, 9, claimed)]), batch(1, 1, vec![record(9, 9, seat)])];
    let observer = Observer::over(observer().rules, &log).expect("a sound log");
    let told = observer.log.books.buyer_status(PeerId(3));
    let check = |bound| {
        let status = BuyerStatus { bound: Time(bound), ..told.clone() };
        observer.check_told(PeerId(3), &TraderMessage::Buyer(status)).map_err(|violation| violation.property)
    };
    assert_eq!((check(7), check(8)), (Ok(()), Err(Property::S11)));
}
