use super::*;
use crate::testing::{PACE, TIMEOUTS, deposit, life, request, sale};
use crate::{
    clock::Time,
    id::{Incarnation, PeerId, Units},
};
use alloc::vec;
use core::time::Duration;

type Input = ClientInput<BuyerStatus, BuyerTimer>;

/// The second life of buyer 3, which wants one fish or one salt at a time, with its context.
struct Stall {
    buyer: Buyer,
    wishes: Wishes,
    pace: Pace,
    clock: Clock,
}

impl Stall {
    fn take(&mut self, input: Input) -> Vec<ClientEffect<BuyerTimer>> {
        let Stall { buyer, wishes, pace, clock } = self;
        buyer.step(&mut BuyerContext { wishes, pace, timeouts: &TIMEOUTS, clock }, input)
    }

    fn fire(&mut self) -> Vec<ClientEffect<BuyerTimer>> {
        self.take(ClientInput::Fired(BuyerTimer))
    }

    fn told(&mut self, open: Option<Request>, last: Option<(u64, Outcome)>) -> Vec<ClientEffect<BuyerTimer>> {
        let last = last.map(|(sequence, outcome)| (Sequence(sequence), outcome));
        self.take(ClientInput::Told(BuyerStatus { open, last, ..BuyerStatus::default() }))
    }

    fn asks(&self) -> Request {
        self.buyer.asking().expect("a request").clone()
    }
}

/// The first number assigned in the second life.
const FIRST: u64 = (2 << 32) | 1;

fn stall() -> Stall {
    let wishes = Wishes { items: vec![Item::FISH, Item::SALT], quantity: Units(1) };
    Stall { buyer: Buyer::new(life(3, 2)), wishes, pace: PACE, clock: Clock::resume(PeerId(3), Time(0)) }
}

/// With a trader, and asking for fish.
fn asking() -> Stall {
    let mut stall = stall();
    assert_eq!(stall.take(ClientInput::TraderKnown), [ClientEffect::Arm(BuyerTimer, PACE.trade_after)]);
    assert_eq!(stall.fire(), [ClientEffect::Choose(Choice::Wish, 2)]);
    stall.take(ClientInput::Chose(0));
    stall
}

fn said(effects: &[ClientEffect<BuyerTimer>]) -> Vec<&Request> {
    let said = effects.iter().filter_map(|effect| match effect {
        ClientEffect::Tell(ClientMessage::Request(request)) => Some(request),
        ClientEffect::Tell(ClientMessage::Deposit(_) | ClientMessage::Join { .. } | ClientMessage::AskSales { .. })
        | ClientEffect::MulticastClock
        | ClientEffect::Arm(..)
        | ClientEffect::Promise(..)
        | ClientEffect::Choose(..)
        | ClientEffect::Note(_) => None,
    });
    said.collect()
}

fn refused(sequence: u64, item: Item) -> Option<(u64, Outcome)> {
    Some((sequence, Outcome::Refused { item }))
}

// SPEC D2, C2: the clock goes out before it.
#[test]
fn a_request_is_named_after_the_life_that_makes_it_and_repeated_as_it_is() {
    let mut stall = stall();
    stall.take(ClientInput::TraderKnown);
    stall.fire();
    let effects = stall.take(ClientInput::Chose(0));
    let request = Request { id: RequestId { buyer: PeerId(3), sequence: Sequence(FIRST) }, ..request(1, 3, 1) };
    assert_eq!(stall.asks(), request);
    let multicast = effects.iter().position(|effect| *effect == ClientEffect::MulticastClock);
    let ask = effects.iter().position(|effect| matches!(effect, ClientEffect::Tell(_)));
    assert!(multicast.is_some() && multicast < ask);
    let again =
        [ClientEffect::Tell(ClientMessage::Request(request.clone())), ClientEffect::Arm(BuyerTimer, TIMEOUTS.resend)];
    assert_eq!(stall.fire(), again);
    assert_eq!(stall.take(ClientInput::TraderKnown), again, "SPEC B8: and to the next trader");
    assert_eq!(stall.told(Some(request), None), [], "it is in the queue");
}

// SPEC D7, C2: a completed purchase is an event.
#[test]
fn an_outcome_is_learned_once() {
    let mut stall = asking();
    let sold = sale(&stall.asks(), &deposit(1, 1, 2), 1);
    let last = Some((FIRST, Outcome::Sold(sold.clone())));
    let before = stall.clock.now();
    let rest = ClientEffect::Arm(BuyerTimer, Duration::from_millis(30));
    assert_eq!(stall.told(None, last.clone()), [ClientEffect::Note(Note::Bought { sale: sold }), rest]);
    assert!(stall.clock.now() > before);
    assert_eq!((stall.told(None, last), stall.buyer.known()), (vec![], Some(Sequence(FIRST))));
    stall.fire();
    stall.take(ClientInput::Chose(0));
    assert_eq!(stall.asks().previous, Some(Sequence(FIRST)), "DESIGN R8");
}

// SPEC D8.
#[test]
fn what_was_refused_is_avoided_while_there_is_anything_else() {
    let mut stall = asking();
    stall.told(None, refused(FIRST, Item::FISH));
    assert_eq!(stall.fire(), [ClientEffect::Choose(Choice::Wish, 1)]);
    stall.take(ClientInput::Chose(0));
    assert_eq!(stall.asks().item, Item::SALT);
    stall.wishes.items = vec![Item::SALT];
    stall.told(None, refused(FIRST + 1, Item::SALT));
    stall.fire();
    stall.take(ClientInput::Chose(1));
    assert_eq!(stall.buyer.asking(), None, "it has no second request");
    stall.take(ClientInput::Chose(0));
    assert_eq!(stall.asks().item, Item::SALT, "it wants nothing else");
}

// DESIGN R8.
#[test]
fn a_buyer_waits_for_a_request_of_its_former_life_that_is_in_the_queue() {
    let mut stall = asking();
    let former = request(9, 3, 7);
    let effects = stall.told(Some(former.clone()), None);
    assert_eq!(effects[0], ClientEffect::Note(Note::ResumedRequest { request: former.id }));
    assert_eq!(said(&stall.fire()), [&former], "its own is dropped");
    let effects = stall.told(None, refused(7, Item::FISH));
    assert_eq!(effects[0], ClientEffect::Note(Note::Unavailable { request: former.id, item: Item::FISH }));
}

// DESIGN R8: made in ignorance of that outcome, its own request can never be admitted.
#[test]
fn a_buyer_that_learns_of_a_former_life_s_outcome_asks_anew() {
    let mut stall = asking();
    let effects = stall.told(None, refused(7, Item::FISH));
    let recalled = Note::Recalled { request: request(1, 3, 7).id, outcome: Outcome::Refused { item: Item::FISH } };
    assert_eq!(effects[0], ClientEffect::Note(recalled));
    assert_eq!(said(&effects), [&stall.asks()]);
    assert_eq!((stall.asks().id.sequence, stall.asks().previous), (Sequence(FIRST + 1), Some(Sequence(7))));
}

// DESIGN R8.
#[test]
fn an_older_status_is_ignored() {
    let mut stall = asking();
    let mine = stall.asks();
    stall.told(None, refused(FIRST, Item::FISH));
    let before = stall.buyer.clone();
    assert_eq!(stall.told(None, None), []);
    assert_eq!(stall.told(None, refused(7, Item::FISH)), []);
    assert_eq!(stall.told(Some(mine), None), [], "it is no longer in the queue");
    assert_eq!(stall.buyer, before);
}

// SPEC B8.
#[test]
fn without_a_trader_nothing_new_is_wanted_and_nothing_is_sent() {
    let mut resting = stall();
    resting.take(ClientInput::TraderKnown);
    resting.take(ClientInput::TraderGone);
    assert_eq!((resting.fire(), &resting.buyer.state), (vec![], &State::Ready));
    resting.take(ClientInput::TraderKnown);
    resting.fire();
    resting.take(ClientInput::TraderGone);
    assert_eq!((resting.take(ClientInput::Chose(0)), &resting.buyer.state), (vec![], &State::Ready));
    let mut asking = asking();
    asking.take(ClientInput::TraderGone);
    assert_eq!((asking.fire(), asking.buyer.asking().is_some()), (vec![], true), "its request waits");
}

// SPEC B7, B8: as when it serves, while in office, what a former life of it had requested.
#[test]
fn a_buyer_that_learns_of_a_former_life_s_outcome_without_a_trader_asks_the_next_one_anew() {
    let mut stall = asking();
    stall.take(ClientInput::TraderGone);
    let effects = stall.told(None, refused(7, Item::FISH));
    assert!(matches!(effects[..], [ClientEffect::Note(Note::Recalled { .. })]), "{effects:?}");
    stall.take(ClientInput::TraderKnown);
    stall.fire();
    stall.take(ClientInput::Chose(0));
    assert_eq!(stall.asks().previous, Some(Sequence(7)));
}

// SPEC C2.
#[test]
fn the_clock_is_multicast_before_every_request() {
    let mut stall = asking();
    for sequence in FIRST..FIRST + 3 {
        stall.told(None, refused(sequence, Item::BOAR));
        stall.fire();
        let effects = stall.take(ClientInput::Chose(0));
        let multicasts = effects.iter().filter(|effect| **effect == ClientEffect::MulticastClock).count();
        assert_eq!((multicasts, said(&effects).len()), (1, 1));
    }
}

#[test]
fn a_buyer_that_never_thinks_of_anything_asks_for_nothing() {
    let mut stall = stall();
    stall.pace.think = None;
    assert_eq!(stall.take(ClientInput::TraderKnown), []);
    assert_eq!((stall.fire(), stall.buyer.asking()), (vec![], None));
}

/// Whether it asks for a seat, and for nothing else.
fn joins(effects: &[ClientEffect<BuyerTimer>]) -> bool {
    matches!(effects, [.., ClientEffect::Tell(ClientMessage::Join { .. }), ClientEffect::Arm(..)])
}

/// The status of a buyer whose seat has changed so often; `taken` by this life, if it has it.
fn seated(incarnation: u32, changes: u32, last: Option<u64>) -> Input {
    let last = last.map(|sequence| (Sequence(sequence), Outcome::Refused { item: Item::BOAR }));
    let seat = Some(Seat { incarnation: Incarnation(incarnation), is_taken: changes % 2 == 1, changes });
    ClientInput::Told(BuyerStatus { last, seat, ..BuyerStatus::default() })
}

// SPEC C5: nobody waits for it any more, so that without a seat all that it asks for could be late.
#[test]
fn a_buyer_that_lost_its_seat_asks_for_it_before_it_asks_for_anything_else() {
    let mut stall = asking();
    stall.take(seated(2, 2, Some(FIRST)));
    assert!(joins(&stall.fire()), "with the outcome it was told that it has no seat");
    assert!(joins(&stall.fire()), "it asks again");
    assert_eq!(stall.take(seated(2, 1, Some(FIRST))), [], "that is older");
    assert_eq!(stall.take(seated(2, 3, Some(FIRST))), [ClientEffect::Choose(Choice::Wish, 2)]);
}

// SPEC C5: its first request seats it.
#[test]
fn a_buyer_that_never_had_a_seat_asks_for_what_it_wants() {
    for changes in [1, 2] {
        let mut stall = stall();
        stall.take(ClientInput::TraderKnown);
        stall.take(seated(1, changes, None));
        assert_eq!(stall.fire(), [ClientEffect::Choose(Choice::Wish, 2)], "its former life had it");
    }
}

// SPEC C5: so that an old copy gives nobody a seat.
#[test]
fn a_buyer_that_asks_for_its_seat_says_how_often_that_has_changed() {
    let joins = |effects: Vec<ClientEffect<BuyerTimer>>| match effects[..] {
        [ClientEffect::Tell(ClientMessage::Join { incarnation: Incarnation(2), changes }), ..] => Some(changes),
        _ => None,
    };
    let mut stall = asking();
    stall.take(seated(2, 2, Some(FIRST)));
    assert_eq!(joins(stall.fire()), Some(2));
    assert_eq!(joins(stall.take(seated(2, 4, Some(FIRST)))), Some(4), "it was given it and lost it meanwhile");
    assert_eq!(joins(stall.take(seated(2, 4, Some(FIRST)))), None, "it has asked with that already");
}

// SPEC C5: whoever has written records since, in office, or was granted a claim without knowing, cannot be served any
// more at the stamp of before.
#[test]
fn a_request_that_is_stale_is_made_anew() {
    let mut stall = asking();
    let first = stall.asks();
    let told = |bound| ClientInput::Told(BuyerStatus { bound: Time(bound), ..BuyerStatus::default() });
    let bound = first.stamp.time.0;
    assert_eq!(stall.take(told(bound - 1)), [], "it may still be admitted");
    let effects = stall.take(told(bound));
    let second = stall.asks();
    assert_eq!(said(&effects), [&second]);
    assert_eq!((second.item, second.previous), (first.item, first.previous));
    assert!(second.stamp > first.stamp && second.id.sequence > first.id.sequence);
}

// SPEC C5: without its seat what it asks for anew could be late.
#[test]
fn a_request_that_is_stale_is_made_anew_once_its_buyer_has_its_seat_again() {
    let mut stall = asking();
    let bound = stall.asks().stamp.time;
    let seat = Some(Seat { incarnation: Incarnation(2), is_taken: false, changes: 2 });
    let told = stall.take(ClientInput::Told(BuyerStatus { bound, seat, ..BuyerStatus::default() }));
    assert!(joins(&told), "{told:?}");
}
