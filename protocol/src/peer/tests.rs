use super::*;
use crate::testing::{FISH, PACE, TERMS, TIMEOUTS, claim, life, record, request};
use crate::{
    account::{BuyerStatus, Outcome, Seat},
    clock::Stamp,
    config::{Limits, Offers, Ordering, Role, Terms, Wishes},
    election::ElectionMessage,
    forgotten::Forgotten,
    id::{Incarnation, Item, Position, RequestId, Sequence, Units},
    input::Timer,
    ledger::{Echo, HighWaterMark, LedgerAnswer, LedgerReply, LedgerStatus, Secret, Term, Verdict, Word},
    message::{Body, ClientMessage, FloodId, Promise, Route, TraderMessage},
    office::Office,
    plausible::Implausible,
    record::{Entry, Request},
};
use alloc::vec;

/// Peer 2, the highest of three, between the others; buyer and seller, with its clock written 4 ticks ahead.
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

/// Its first life, with both links up.
fn starting() -> (Peer, Effects) {
    starting_with(config())
}

fn starting_with(config: Config) -> (Peer, Effects) {
    let (mut peer, effects) = Peer::recover(config, Durable::default()).unwrap();
    for link in [0, 1] {
        assert_eq!(peer.step(Input::LinkUp(PeerId(link))), []);
    }
    (peer, effects)
}

/// The same, but durable and eligible.
fn peer() -> Peer {
    let (mut peer, _) = starting();
    peer.step(Input::Written(WriteId(1)));
    peer.step(answer(LedgerStatus::default(), LedgerAnswer::Status));
    assert_eq!(peer.view().eligibility, Eligibility::Eligible);
    peer
}

fn answer(status: LedgerStatus, answer: LedgerAnswer) -> Input {
    reply(1, status, answer)
}

/// The ledger's reply to a life of peer 2 that was named no later epoch than it knows.
fn reply(incarnation: u32, status: LedgerStatus, answer: LedgerAnswer) -> Input {
    let word = Word::of(life(2, incarnation), Epoch(0), status, Secret::default());
    Input::Ledger(LedgerReply { word, answer })
}

fn direct(from: u32, to: u32, clock: u64, body: Body) -> Input {
    let route = Route::Direct { to: PeerId(to), hops: 9 };
    let envelope = Envelope { source: PeerId(from), clock: Time(clock), route, body, multicast: Time(0) };
    Input::Received { from: PeerId(from), envelope }
}

/// A neighbour's message that carries a clock multicast.
fn with_multicast(multicast: u64, input: Input) -> Input {
    let Input::Received { from, envelope } = input else { panic!("{input:?}") };
    Input::Received { from, envelope: Envelope { multicast: Time(multicast), ..envelope } }
}

/// A question that an eligible peer answers.
fn question(clock: u64) -> Input {
    direct(0, 2, clock, Body::Election(ElectionMessage::Anyone))
}

fn sent(effects: &[Effect]) -> Vec<(PeerId, &Envelope)> {
    let sent =
        effects.iter().filter_map(|e| if let Effect::Send { to, envelope } = e { Some((*to, envelope)) } else { None });
    sent.collect()
}

fn notes(effects: &[Effect]) -> Vec<&Note> {
    effects.iter().filter_map(|e| if let Effect::Note { note, .. } = e { Some(note) } else { None }).collect()
}

fn writes(effects: &[Effect]) -> Vec<(WriteId, Durable)> {
    let writes =
        effects.iter().filter_map(|e| if let Effect::Write { id, durable } = e { Some((*id, *durable)) } else { None });
    writes.collect()
}

fn speaks(effects: &[Effect]) -> bool {
    let is_word = |effect: &Effect| matches!(effect, Effect::Send { .. } | Effect::Ledger(_) | Effect::Note { .. });
    effects.iter().any(is_word)
}

// DESIGN R7.
#[test]
fn nothing_is_said_before_the_first_write_is_confirmed() {
    let (mut peer, mut effects) = starting();
    let durable = Durable { incarnation: Incarnation(1), clock_bound: Time(4), seen: HighWaterMark::default() };
    assert_eq!(effects[0], Effect::Write { id: WriteId(1), durable });
    effects.extend(peer.step(answer(LedgerStatus::default(), LedgerAnswer::Status)));
    effects.extend(peer.step(question(0)));
    effects.extend(peer.step(Input::Fired(Timer::LedgerRetry)));
    assert!(!speaks(&effects), "{effects:?}");

    let effects = peer.step(Input::Written(WriteId(1)));
    let call = effects.iter().position(|effect| matches!(effect, Effect::Ledger(_)));
    let send = effects.iter().position(|effect| matches!(effect, Effect::Send { .. }));
    assert!(call.is_some() && call < send, "in the order in which they arose: {effects:?}");
    assert_eq!(notes(&effects), [&Note::LedgerHeard, &Note::Joined { incarnation: Incarnation(1) }]);
}

// DESIGN R7, R10, SPEC C3.
#[test]
fn every_life_has_a_higher_incarnation_and_a_clock_above_all_that_was_sent() {
    let (_, effects) = starting();
    let (_, durable) = writes(&effects)[0];
    let (next, effects) = Peer::recover(config(), durable).unwrap();
    let (_, after) = writes(&effects)[0];
    assert_eq!((durable.incarnation, after.incarnation), (Incarnation(1), Incarnation(2)));
    assert_eq!((next.view().clock, after.clock_bound), (Time(4), Time(8)));
    assert_eq!(next.view().me, life(2, 2));
}

// SPEC B2.
#[test]
fn only_the_first_life_of_the_first_caller_calls_at_once() {
    let wait = |durable| {
        let (_, effects) = Peer::recover(config(), durable).unwrap();
        effects
            .into_iter()
            .find_map(|e| if let Effect::Arm { timer: Timer::Election, after } = e { Some(after) } else { None })
    };
    assert_eq!(wait(Durable::default()), Some(TIMEOUTS.first_call));
    assert!(wait(Durable { incarnation: Incarnation(1), ..Durable::default() }) > Some(TIMEOUTS.suspicion));
}

// DESIGN R10.
#[test]
fn what_is_stamped_above_the_written_bound_waits_for_it_and_keeps_its_order() {
    let mut peer = peer();
    let mut due = Vec::new();
    let mut said = Vec::new();
    for clock in [0, 2, 4, 6] {
        let effects = peer.step(question(clock));
        due.extend(writes(&effects));
        said.extend(sent(&effects).iter().map(|(_, envelope)| envelope.clock.0));
        assert!(said.iter().all(|clock| *clock <= peer.clock().bound().0));
    }
    assert_eq!((said, peer.clock().bound()), (vec![2, 4], Time(4)));
    assert_eq!(peer.journal().held(), 2);
    let last = due.last().expect("written ahead").0;
    let effects = peer.step(Input::Written(last));
    assert_eq!(sent(&effects).iter().map(|(_, envelope)| envelope.clock.0).collect::<Vec<_>>(), [6, 8]);
    assert!(due.iter().all(|(_, durable)| durable.clock_bound <= peer.clock().bound()), "as is every write before it");
}

// SPEC C3: what people read must not go back after a crash either.
#[test]
fn a_note_is_held_back_like_a_message() {
    let mut peer = peer();
    // By then its clock is 9, above the bound of 4.
    peer.step(direct(0, 2, 8, Body::Election(ElectionMessage::Answer)));
    let effects = peer.step(Input::LedgerDown);
    assert_eq!(notes(&effects), [] as [&Note; 0]);
    assert_eq!(notes(&peer.step(Input::Written(WriteId(2)))), [&Note::LedgerSilent]);
}

// SPEC C3: found by the model `whole-clock`.
#[test]
fn a_peer_that_heard_a_high_clock_before_it_was_durable_joins_at_no_clock_above_the_bound() {
    let (mut peer, _) = starting();
    let ahead = peer.step(question(9));
    let effects = peer.step(Input::Written(WriteId(1)));
    assert_eq!(notes(&effects), [] as [&Note; 0], "its clock is 10, and 4 is written");
    let effects = peer.step(Input::Written(writes(&ahead)[0].0));
    assert_eq!(notes(&effects), [&Note::Joined { incarnation: Incarnation(1) }]);
}

#[test]
fn what_is_held_back_is_bounded() {
    for held_back in [1, Limits::DEFAULT.held_back] {
        let config = Config { limits: Limits { held_back, ..Limits::DEFAULT }, ..config() };
        let (mut peer, _) = Peer::recover(config, Durable::default()).unwrap();
        for _ in 0..2 * held_back {
            peer.step(Input::Fired(Timer::LedgerRetry));
        }
        assert_eq!(peer.journal().held(), held_back as usize);
        assert!(speaks(&peer.step(Input::Written(WriteId(1)))), "what was held back is said");
        assert!(speaks(&peer.step(Input::Fired(Timer::LedgerRetry))), "what was dropped is said again");
    }
}

/// What an envelope is refused for, if that is all that happens.
fn refused(effects: &[Effect]) -> Vec<Implausible> {
    let refused = |effect: &Effect| {
        let Effect::Note { note: Note::EnvelopeRefused { implausible, .. }, .. } = effect else {
            panic!("more happens: {effect:?}")
        };
        *implausible
    };
    effects.iter().map(refused).collect()
}

#[test]
fn an_absurd_clock_is_refused_and_goes_no_further() {
    let mut peer = peer();
    let before = peer.digest();
    let absurd = Clock::MOST.0 + 1;
    let call = |to, clock| direct(0, to, clock, Body::Election(ElectionMessage::Call));
    for input in [call(1, absurd), call(2, absurd), with_multicast(absurd, call(2, 1))] {
        let effects = peer.step(input);
        assert_eq!(refused(&effects), [Implausible::Clock(Time(absurd))]);
    }
    assert_eq!(peer.digest(), before);
}

#[test]
fn an_envelope_that_names_no_peer_of_this_bazaar_is_refused_by_name_and_goes_no_further() {
    let mut peer = peer();
    let before = peer.digest();
    let flood = |origin, to: Option<u32>| Route::Flood {
        id: FloodId { origin: PeerId(origin), incarnation: Incarnation(1), number: 1 },
        to: to.map(PeerId),
    };
    let call = Body::Election(ElectionMessage::Call);
    let good = Envelope { source: PeerId(0), clock: Time(5), route: flood(0, None), body: call, multicast: Time(0) };
    let bad = [
        Envelope { source: PeerId(3), ..good.clone() },
        Envelope { route: flood(3, None), ..good.clone() },
        Envelope { route: flood(0, Some(3)), ..good.clone() },
        Envelope { route: Route::Direct { to: PeerId(3), hops: 9 }, ..good.clone() },
    ];
    for envelope in bad {
        let effects = peer.step(Input::Received { from: PeerId(0), envelope });
        assert_eq!(refused(&effects), [Implausible::Peer(PeerId(3))]);
        assert_eq!(peer.digest(), before);
    }
    assert!(notes(&peer.step(Input::Received { from: PeerId(0), envelope: good })).is_empty());
    assert_ne!(peer.digest(), before);
}

// SPEC A2.
#[test]
fn input_that_does_not_come_from_a_neighbour_is_ignored() {
    let mut config = config();
    config.neighbours = [PeerId(0)].into();
    let (mut peer, _) = Peer::recover(config, Durable::default()).unwrap();
    let before = peer.digest();
    assert_eq!(peer.step(direct(1, 2, 5, Body::Election(ElectionMessage::Call))), []);
    assert_eq!(peer.step(Input::LinkUp(PeerId(1))), []);
    assert_eq!(peer.digest(), before);
}

// SPEC C1: even if its own clock is below the one it forwards, and its bound too.
#[test]
fn a_relay_neither_ticks_nor_merges() {
    let mut peer = peer();
    let before = peer.view().clock;
    let effects = peer.step(direct(0, 1, 900, Body::Election(ElectionMessage::Call)));
    let [(PeerId(1), passed)] = sent(&effects)[..] else { panic!("{effects:?}") };
    assert_eq!((passed.clock, passed.source), (Time(900), PeerId(0)));
    assert_eq!(peer.view().clock, before);
    peer.step(direct(0, 2, 900, Body::Election(ElectionMessage::Answer)));
    assert_eq!(peer.view().clock, Time(901), "SPEC C1: its destination merges it");
}

// SPEC B7: its own admitted request is served, and it is told so without going through the network.
#[test]
fn a_trader_tells_itself_without_the_network() {
    let mut peer = peer();
    let wish = request(3, 2, 1);
    let log = vec![claim(1, 1, 1), record(4, 1, Entry::admitted(wish.clone()))];
    let status = |head, epoch, holder| LedgerStatus {
        head: Position(head),
        term: Some(Term { epoch: Epoch(epoch), holder: life(holder, 1), ended: false }),
        latest: Time(0),
    };
    peer.step(Input::Fired(Timer::Election));
    peer.step(answer(status(2, 1, 1), LedgerAnswer::Records { from: Position(0), records: log }));
    let mut told = Vec::new();
    while let Some(batch) = peer.participant().office().and_then(Office::in_flight) {
        let (head, echo) = (batch.end(), Echo::of(life(2, 1), batch));
        let verdict = Verdict::Appended { head, contested: false };
        let effects = peer.step(answer(status(head.0, 2, 2), LedgerAnswer::Append { echo, verdict }));
        assert!(sent(&effects).iter().all(|(_, envelope)| !matches!(envelope.body, Body::Trader(_))));
        told.extend(effects);
        told.extend(peer.step(Input::Written(WriteId(u64::MAX))));
    }
    assert_eq!(peer.view().office, Some(Epoch(2)));
    assert_eq!(peer.buyer().and_then(Buyer::known), Some(wish.id.sequence));
    assert!(notes(&told).iter().any(|note| matches!(note, Note::Recalled { .. })), "{told:?}");
    assert_eq!(peer.step(Input::Fired(Timer::Buyer)), [], "and it wants nothing new");
}

// SPEC C2.
#[test]
fn a_clock_multicast_is_merged_once_whatever_it_comes_with() {
    let mut peer = peer();
    peer.step(with_multicast(500, direct(0, 2, 500, Body::Clock)));
    assert_eq!(peer.view().clock, Time(501));
    peer.step(with_multicast(500, direct(0, 2, 500, Body::Clock)));
    assert_eq!(peer.view().clock, Time(501), "it is no news");
    // A relay merges the multicast, but not the message.
    let effects = peer.step(with_multicast(600, direct(0, 1, 900, Body::Election(ElectionMessage::Call))));
    assert_eq!(peer.view().clock, Time(601));
    let [(PeerId(1), passed)] = sent(&effects)[..] else { panic!("{effects:?}") };
    assert_eq!((passed.clock, passed.multicast), (Time(900), Time(600)));
    // Its destination merges both, in one event.
    peer.step(with_multicast(700, direct(0, 2, 650, Body::Election(ElectionMessage::Answer))));
    assert_eq!(peer.view().clock, Time(701));
}

// SPEC C2.
#[test]
fn a_quiet_link_gets_an_envelope_of_its_own_for_a_clock() {
    let mut peer = peer();
    let interval = peer.config().timeouts.clock_interval;
    let arms = |effects: &[Effect]| effects.contains(&Effect::Arm { timer: Timer::ClockInterval, after: interval });
    assert!(arms(&peer.step(with_multicast(500, direct(0, 2, 500, Body::Clock)))));
    let effects = peer.step(Input::Fired(Timer::ClockInterval));
    assert!(arms(&effects) && sent(&effects).is_empty(), "links may carry something yet: {effects:?}");
    let effects = peer.step(Input::Fired(Timer::ClockInterval));
    let told: Vec<_> = sent(&effects).iter().map(|(to, envelope)| (to.0, &envelope.body, envelope.multicast)).collect();
    assert_eq!(told, [(0, &Body::Clock, Time(500)), (1, &Body::Clock, Time(500))]);
}

// SPEC A9: a neighbour from which anything comes, be it a clock and nothing else, is not gone.
#[test]
fn a_neighbour_whose_clock_comes_after_its_link_went_down_is_sought_by_a_flood() {
    for (multicast, is_sought) in [(None, false), (Some(500), true)] {
        let mut peer = peer();
        peer.step(Input::LinkDown(PeerId(0)));
        if let Some(multicast) = multicast {
            peer.step(with_multicast(multicast, direct(0, 2, multicast, Body::Clock)));
        }
        let effects = peer.step(direct(1, 0, 600, Body::Election(ElectionMessage::Call)));
        let is_flood = |envelope: &Envelope| matches!(envelope.route, Route::Flood { to: Some(PeerId(0)), .. });
        assert_eq!(sent(&effects).iter().any(|(_, envelope)| is_flood(envelope)), is_sought, "{effects:?}");
    }
}

/// In the stable order, and durable up to this clock.
fn in_order(clock_range: u64) -> Peer {
    let terms = Terms { ordering: Ordering::Stable, ..TERMS };
    let (mut peer, _) = starting_with(Config { terms, clock_range, ..config() });
    peer.step(Input::Written(WriteId(1)));
    peer
}

/// A wave of peer 0, the trader of epoch 1: the place that waits is its number.
fn wave(number: u64) -> Input {
    let route = Route::Flood { id: FloodId { origin: PeerId(0), incarnation: Incarnation(1), number }, to: None };
    let body = Body::Heartbeat { epoch: Epoch(1), waits: Some(Time(number)) };
    let envelope = Envelope { source: PeerId(0), clock: Time(10 * number), route, body, multicast: Time(0) };
    Input::Received { from: PeerId(0), envelope }
}

/// Peer 1 promises.
fn answers(above: u64) -> Input {
    let promise = Promise { incarnation: Incarnation(1), above: Time(above), open: None };
    direct(1, 2, above, Body::Promises { promises: vec![(PeerId(1), promise)], more: false })
}

/// To whom it hands which promises.
fn promised(effects: &[Effect]) -> Vec<(u32, Vec<(u32, u64)>)> {
    let of = |envelope: &Envelope| {
        envelope.body.promises().iter().map(|(buyer, promise)| (buyer.0, promise.above.0)).collect()
    };
    let answers = sent(effects).into_iter().filter(|(_, envelope)| matches!(envelope.body, Body::Promises { .. }));
    answers.map(|(to, envelope)| (to.0, of(envelope))).collect()
}

// DESIGN F12.
#[test]
fn a_wave_is_passed_on_and_answered_with_what_the_others_promise() {
    let mut peer = in_order(1_000);
    let gather = Effect::Arm { timer: Timer::Gather, after: TIMEOUTS.gather() };
    let effects = peer.step(wave(1));
    assert_eq!(sent(&effects).iter().map(|(to, _)| to.0).collect::<Vec<_>>(), [1], "the wave itself: {effects:?}");
    assert!(effects.contains(&gather));
    let effects = peer.step(answers(7));
    assert_eq!(promised(&effects), [(0, vec![(1, 7), (2, 11)])], "its own clock has merged the wave's");
    // The other neighbour is silent, and then it is not waited for.
    assert_eq!(promised(&peer.step(wave(2))), []);
    assert_eq!(promised(&peer.step(Input::Fired(Timer::Gather))), [(0, vec![(2, 21)])]);
    assert_eq!(promised(&peer.step(wave(3))), [(0, vec![(2, 31)])]);
}

// DESIGN R10: a promise is of no use if the next life may stamp below it.
#[test]
fn a_promise_waits_until_its_clock_is_durable() {
    let mut peer = in_order(4);
    let effects = [peer.step(wave(1)), peer.step(answers(3))].concat();
    assert_eq!(promised(&effects), []);
    let (id, durable) = writes(&effects)[0];
    assert!(durable.clock_bound >= Time(11));
    assert_eq!(promised(&peer.step(Input::Written(id))), [(0, vec![(1, 3), (2, 11)])]);
}

// SPEC I2: neither peers that there are not nor absurd clocks get through in an answer.
#[test]
fn an_answer_that_names_an_unknown_peer_or_an_absurd_clock_is_refused() {
    let mut peer = in_order(1_000);
    peer.step(wave(1));
    let promise = Promise { incarnation: Incarnation(1), above: Time(u64::MAX), open: None };
    for (buyer, above, is_fine) in [(7, 5, false), (1, u64::MAX, false), (1, 5, true)] {
        let promises = vec![(PeerId(buyer), Promise { above: Time(above), ..promise.clone() })];
        let effects = peer.step(direct(1, 2, 1, Body::Promises { promises, more: false }));
        let refuses = |note: &&Note| matches!(note, Note::EnvelopeRefused { .. });
        assert_eq!(notes(&effects).iter().any(refuses), !is_fine, "{effects:?}");
        assert_eq!(promised(&effects).is_empty(), !is_fine);
    }
}

// DESIGN 4.
#[test]
fn an_invalid_configuration_is_refused() {
    let own = Config { neighbours: [PeerId(2)].into(), ..config() };
    assert_eq!(Peer::recover(own, Durable::default()).err(), Some(ConfigError::OwnNeighbour));
    let limits = Limits { flood_window: 0, ..Limits::DEFAULT };
    let error = Peer::recover(Config { limits, ..config() }, Durable::default()).err();
    assert_eq!(error, limits.check().err().map(ConfigError::Limits));
}

// SPEC I8: whatever absurd number a member with a bug names, wherever it names it.
#[test]
fn an_envelope_that_names_a_number_that_cannot_be_true_is_refused_and_goes_no_further() {
    let mut peer = peer();
    let before = peer.digest();
    let life = Incarnation(Incarnation::MOST.0 + 1);
    let far = Epoch(Epoch::MAX_LEAD + 1);
    let time = Time(Clock::MOST.0 + 1);
    let sequence = |life: Incarnation| Sequence(crate::id::numbered(life, 1));
    let asks = |id, stamp| Request { id, previous: None, item: Item::FISH, quantity: Units(1), stamp };
    let stamp = Stamp { time: Time(1), peer: PeerId(0) };
    let of_life = RequestId { buyer: PeerId(0), sequence: sequence(life) };
    let of_nobody = RequestId { buyer: PeerId(9), sequence: sequence(Incarnation(1)) };
    let fine = RequestId { buyer: PeerId(0), sequence: sequence(Incarnation(1)) };
    let buyer = |status| Body::Trader(TraderMessage::Buyer(status));
    let seat = Seat { incarnation: life, is_taken: true, changes: 1 };
    let bodies = [
        (Body::Heartbeat { epoch: far, waits: None }, Implausible::Epoch(far)),
        (Body::Heartbeat { epoch: Epoch(1), waits: Some(time) }, Implausible::Clock(time)),
        (Body::Election(ElectionMessage::Coordinator { epoch: far }), Implausible::Epoch(far)),
        (Body::Election(ElectionMessage::Resigned { epoch: far }), Implausible::Epoch(far)),
        (Body::Election(ElectionMessage::Leader { epoch: far, leader: PeerId(0) }), Implausible::Epoch(far)),
        (Body::Election(ElectionMessage::Leader { epoch: Epoch(1), leader: PeerId(9) }), Implausible::Peer(PeerId(9))),
        (Body::Client(ClientMessage::Request(asks(of_life, stamp))), Implausible::Life(life)),
        (Body::Client(ClientMessage::Request(asks(of_nobody, stamp))), Implausible::Peer(PeerId(9))),
        (Body::Client(ClientMessage::Request(asks(fine, Stamp { time, ..stamp }))), Implausible::Clock(time)),
        (Body::Client(ClientMessage::Join { incarnation: life, changes: 1 }), Implausible::Life(life)),
        (buyer(BuyerStatus { bound: time, ..BuyerStatus::default() }), Implausible::Clock(time)),
        (buyer(BuyerStatus { seat: Some(seat), ..BuyerStatus::default() }), Implausible::Life(life)),
        (buyer(BuyerStatus { open: Some(asks(of_life, stamp)), ..BuyerStatus::default() }), Implausible::Life(life)),
    ];
    for (body, implausible) in bodies {
        assert_eq!(refused(&peer.step(direct(0, 2, 1, body.clone()))), [implausible], "{body:?}");
        assert_eq!(peer.digest(), before);
    }
}

// SPEC I5.
#[test]
fn a_peer_that_is_told_of_what_it_has_forgotten_is_to_stop() {
    let told = |body| direct(0, 2, 1, Body::Trader(body));
    let buyer = |status| told(TraderMessage::Buyer(status));
    let of = |life, n| Sequence(crate::id::numbered(Incarnation(life), n));
    let item = Item::FISH;
    let last = |life, n| BuyerStatus { last: Some((of(life, n), Outcome::Refused { item })), ..BuyerStatus::default() };
    let seat = |life| BuyerStatus {
        seat: Some(Seat { incarnation: Incarnation(life), is_taken: true, changes: 1 }),
        ..BuyerStatus::default()
    };
    let held = |peer, life| {
        let holder = crate::testing::life(peer, life);
        let term = Some(Term { epoch: Epoch(1), holder, ended: true });
        answer(LedgerStatus { term, head: Position(1), ..LedgerStatus::default() }, LedgerAnswer::Status)
    };
    let me = peer().view().me;
    let life = me.incarnation.0;
    let cases = [
        (buyer(last(life, 0)), None),
        (buyer(last(life - 1, 7)), None),
        (buyer(last(life, 1)), Some(Forgotten::Request(of(life, 1)))),
        (buyer(last(life + 1, 1)), Some(Forgotten::Life(Incarnation(life + 1)))),
        (buyer(seat(life)), None),
        (buyer(seat(life + 1)), Some(Forgotten::Life(Incarnation(life + 1)))),
        (held(me.peer.0, life), None),
        (held(0, life + 1), None),
        (held(me.peer.0, life + 1), Some(Forgotten::Life(Incarnation(life + 1)))),
    ];
    let stops = |effects: &[Effect]| {
        effects.iter().find_map(|effect| if let Effect::Stop(forgotten) = effect { Some(*forgotten) } else { None })
    };
    for (input, forgotten) in cases {
        // Only who holds the office by the ledger's word knows the books; anybody else stops nobody.
        let is_by_a_trader = matches!(input, Input::Received { .. });
        for trader in [None, Some(1), Some(0)] {
            let mut peer = peer();
            if let Some(trader) = trader {
                let term = Some(Term { epoch: Epoch(1), holder: crate::testing::life(trader, 1), ended: false });
                let status = LedgerStatus { term, head: Position(1), ..LedgerStatus::default() };
                peer.step(answer(status, LedgerAnswer::Status));
            }
            let (is_believed, before) = (!is_by_a_trader || trader == Some(0), peer.buyer().cloned());
            let effects = peer.step(input.clone());
            let who = alloc::format!("{input:?} where {trader:?} is the trader");
            assert_eq!(stops(&effects), forgotten.filter(|_| is_believed), "{who}");
            if !is_believed && let Some(forgotten) = forgotten {
                assert_eq!(peer.buyer(), before.as_ref(), "{who}");
                let implausible = Implausible::Life(forgotten.life());
                let refusal = Note::EnvelopeRefused { from: PeerId(0), source: PeerId(0), implausible };
                assert!(notes(&effects).contains(&&refusal), "{who}: {effects:?}");
            }
        }
    }
}

// SPEC C5: what is asked for afterwards is stamped later than anything that was read.
#[test]
fn the_largest_stamp_of_the_log_is_merged_unless_it_is_absurd_or_shown_to_a_former_life() {
    let mut peer = peer();
    let shown = |latest| LedgerStatus { latest: Time(latest), ..LedgerStatus::default() };
    let before = peer.clock().now();
    peer.step(reply(0, shown(500), LedgerAnswer::Status));
    peer.step(answer(shown(Clock::MOST.0 + 1), LedgerAnswer::Status));
    assert_eq!(peer.clock().now(), before);
    peer.step(answer(shown(500), LedgerAnswer::Status));
    assert_eq!(peer.clock().now(), Time(500));
    peer.step(answer(shown(400), LedgerAnswer::Status));
    assert_eq!(peer.clock().now(), Time(500));
}
