//! The buyer: wants something, asks for it until it knows the outcome, then wants something else.
//!
//! It writes nothing to disk. What it knows of the books after a crash it learns from the trader's answers, and the
//! predecessor that it names in every request keeps two of its lives from overwriting each other (DESIGN R8, S13).

use alloc::vec::Vec;

use serde::{Deserialize, Serialize};

use crate::{
    account::{BuyerStatus, Outcome, Seat},
    client::{ClientEffect, ClientInput},
    clock::{Clock, Time},
    config::{Pace, Timeouts, Wishes},
    effect::Note,
    id::{Item, Life, PeerId, RequestId, Sequence, numbered},
    input::{Choice, Timer},
    message::{ClientMessage, Promise},
    record::Request,
};

/// A peer's part as a buyer.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Buyer {
    me: Life,
    /// How many requests this life has numbered.
    numbered: u32,
    /// The last request whose outcome it knows.
    known: Option<Sequence>,
    /// The item refused last; it picks something else if it can.
    refused: Option<Item>,
    has_trader: bool,
    /// Its seat, and the bound of its account, by the latest status that it was told.
    seat: Option<Seat>,
    bound: Time,
    state: State,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
enum State {
    /// Resting: when the timer fires it wants something.
    Resting,
    /// It wants something, but has no trader to ask.
    Ready,
    /// It has lost its seat, and asks for it so that its next request is not late (SPEC C5).
    Joining,
    /// It waits for its choice of an item.
    Choosing,
    /// It asks until it knows the outcome.
    Asking(Request),
}

/// A buyer's only timer: it is time to want something, or to ask again for what it wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct BuyerTimer;

impl From<BuyerTimer> for Timer {
    fn from(BuyerTimer: BuyerTimer) -> Timer {
        Timer::Buyer
    }
}

/// What a buyer is given in a step.
#[derive(Debug)]
pub struct BuyerContext<'a> {
    /// The items and the quantity it wants.
    pub wishes: &'a Wishes,
    /// How busy it is.
    pub pace: &'a Pace,
    /// All waits.
    pub timeouts: &'a Timeouts,
    /// The peer's clock.
    pub clock: &'a mut Clock,
}

impl Buyer {
    /// A new life of a buyer. It knows nothing about its former lives.
    #[must_use]
    pub fn new(me: Life) -> Buyer {
        Buyer {
            me,
            numbered: 0,
            known: None,
            refused: None,
            has_trader: false,
            seat: None,
            bound: Time(0),
            state: State::Ready,
        }
    }

    /// The request it is making, if there is one.
    #[must_use]
    pub fn asking(&self) -> Option<&Request> {
        match &self.state {
            State::Asking(request) => Some(request),
            State::Resting | State::Ready | State::Joining | State::Choosing => None,
        }
    }

    /// Whether it asks for its seat, and wants something once it has it.
    #[must_use]
    pub fn is_joining(&self) -> bool {
        self.state == State::Joining
    }

    /// How many requests this life has made.
    #[must_use]
    pub fn numbered(&self) -> u32 {
        self.numbered
    }

    /// The last request whose outcome it knows.
    #[must_use]
    pub fn known(&self) -> Option<Sequence> {
        self.known
    }

    /// Takes one input. Cannot fail.
    pub fn step(
        &mut self,
        ctx: &mut BuyerContext<'_>,
        input: ClientInput<BuyerStatus, BuyerTimer>,
    ) -> Vec<ClientEffect<BuyerTimer>> {
        let mut step = Step { buyer: self, ctx, effects: Vec::new() };
        match input {
            ClientInput::TraderKnown => step.on_trader_known(),
            ClientInput::TraderGone => step.buyer.has_trader = false,
            ClientInput::Asked(trader) => step.answer_wave(trader),
            ClientInput::Fired(BuyerTimer) => step.on_fired(),
            ClientInput::Chose(pick) => step.on_chose(pick),
            ClientInput::Told(status) => step.on_status(status),
        }
        step.effects
    }

    fn choices<'a>(&'a self, wishes: &'a Wishes) -> impl Iterator<Item = Item> + 'a {
        let others = wishes.items.iter().any(|item| Some(*item) != self.refused);
        wishes.items.iter().copied().filter(move |item| !others || Some(*item) != self.refused)
    }
}

/// One step in progress.
struct Step<'a, 'b> {
    buyer: &'a mut Buyer,
    ctx: &'a mut BuyerContext<'b>,
    effects: Vec<ClientEffect<BuyerTimer>>,
}

impl Step<'_, '_> {
    fn on_trader_known(&mut self) {
        self.buyer.has_trader = true;
        match &self.buyer.state {
            // SPEC E2: sellers deposit first.
            State::Resting | State::Ready | State::Joining if self.ctx.pace.think.is_some() => {
                self.rest(self.ctx.pace.trade_after);
            }
            State::Resting | State::Ready | State::Joining | State::Choosing => {}
            State::Asking(_) => self.ask(),
        }
    }

    /// Whether this life has lost its seat, so that what it asks for now could be late.
    fn needs_seat(&self) -> bool {
        let is_mine = |seat: Seat| seat.incarnation == self.buyer.me.incarnation;
        self.buyer.seat.is_some_and(|seat| is_mine(seat) && !seat.is_taken)
    }

    fn join(&mut self) {
        self.buyer.state = State::Joining;
        let (incarnation, changes) = (self.buyer.me.incarnation, self.buyer.seat.map_or(0, |seat| seat.changes));
        self.effects.push(ClientEffect::Tell(ClientMessage::Join { incarnation, changes }));
        self.effects.push(ClientEffect::Arm(BuyerTimer, self.ctx.timeouts.resend));
    }

    fn answer_wave(&mut self, trader: PeerId) {
        // Whoever asks serves in the stable order, whatever this peer is set up for.
        if self.buyer.has_trader && self.ctx.pace.think.is_some() {
            self.effects.push(ClientEffect::Promise(trader, self.promise()));
        }
    }

    fn promise(&self) -> Promise {
        Promise {
            incarnation: self.buyer.me.incarnation,
            above: self.ctx.clock.now(),
            open: mutant!(self.buyer.asking().cloned(); PromiseWithoutRequest => None),
        }
    }

    fn choose(&mut self) {
        self.buyer.state = State::Choosing;
        let among = self.buyer.choices(self.ctx.wishes).count() as u32;
        self.effects.push(ClientEffect::Choose(Choice::Wish, among));
    }

    fn on_fired(&mut self) {
        match &self.buyer.state {
            State::Resting if self.buyer.has_trader => {
                if self.needs_seat() {
                    self.join()
                } else {
                    self.choose()
                }
            }
            // SPEC B8: no new request while there is no trader.
            State::Resting => self.buyer.state = State::Ready,
            State::Joining if self.buyer.has_trader => self.join(),
            State::Ready | State::Joining | State::Choosing => {}
            State::Asking(_) => self.ask(),
        }
    }

    fn on_chose(&mut self, pick: u32) {
        if self.buyer.state != State::Choosing {
            return;
        }
        if !self.buyer.has_trader {
            // SPEC B8: it chooses again when there is a trader.
            self.buyer.state = State::Ready;
            return;
        }
        if self.needs_seat() {
            // It has been told so meanwhile.
            self.join();
            return;
        }
        let item = self.buyer.choices(self.ctx.wishes).nth(pick as usize);
        if let Some(item) = item {
            self.want(item);
        }
    }

    /// Asks for the same item in another request, or, where it has to have a seat first, for that.
    fn want_anew(&mut self, item: Item) {
        if self.needs_seat() { self.join() } else { self.want(item) }
    }

    fn want(&mut self, item: Item) {
        self.buyer.numbered = self.buyer.numbered.saturating_add(1);
        let number = numbered(self.buyer.me.incarnation, self.buyer.numbered);
        let sequence = Sequence(mutant!(number; SequenceReused => self.buyer.numbered.into()));
        let request = Request {
            id: RequestId { buyer: self.buyer.me.peer, sequence },
            previous: mutant!(self.buyer.known; NamesNoPredecessor => None),
            item,
            quantity: self.ctx.wishes.quantity,
            stamp: self.ctx.clock.tick(),
        };
        let Request { id, item, quantity, .. } = request;
        self.effects.push(ClientEffect::Note(Note::Wanted { request: id, item, quantity }));
        self.buyer.state = State::Asking(request);
        // SPEC C2: the clock is multicast before the request leaves, and therefore with it at the latest.
        self.effects.push(ClientEffect::MulticastClock);
        self.ask();
    }

    fn ask(&mut self) {
        if let (State::Asking(request), true) = (&self.buyer.state, self.buyer.has_trader) {
            self.effects.push(ClientEffect::Tell(ClientMessage::Request(request.clone())));
            self.effects.push(ClientEffect::Arm(BuyerTimer, self.ctx.timeouts.resend));
        }
    }

    // DESIGN R8. A buyer's last and open request in the books only ever rise, as do its bound and the changes of its seat;
    // that is how an older status is recognised.
    fn on_status(&mut self, status: BuyerStatus) {
        let last = status.last.as_ref().map(|(sequence, _)| *sequence);
        let changes = self.buyer.seat.map_or(0, |seat| seat.changes);
        let is_older = last < self.buyer.known || status.bound < self.buyer.bound || status.changes() < changes;
        if mutant!(is_older; OldStatusBelieved => false) {
            return;
        }
        let has_moved = status.changes() > changes;
        (self.buyer.seat, self.buyer.bound) = (status.seat, status.bound);
        if self.buyer.state == State::Joining && self.buyer.has_trader {
            if !self.needs_seat() {
                self.choose();
            } else if has_moved {
                self.join();
            }
        }
        let mine = self.buyer.asking().map(|request| request.id.sequence);
        let is_news = last > self.buyer.known;
        let is_bound = |request: &Request| request.stamp.time <= status.bound;
        let is_stale = mutant!(self.buyer.asking().is_some_and(is_bound); OwnRequestKept => false);
        if let Some((sequence, outcome)) = status.last.filter(|_| mutant!(is_news; OutcomeCountedTwice => true)) {
            self.learn(sequence, outcome, mine);
        }
        if let Some(open) = status.open {
            self.adopt(open);
        } else if let (true, State::Asking(request)) = (is_stale && mine != last, &self.buyer.state) {
            // It has been in office since, or its claim was granted and it never knew; or the place of its first request
            // had been passed before that came. It asks anew.
            let item = request.item;
            if self.buyer.has_trader {
                self.want_anew(item);
            }
        } else if is_news && mine == last {
            match self.ctx.pace.think {
                Some(think) => self.rest(think),
                None => self.buyer.state = State::Ready,
            }
        } else if let (true, State::Asking(request)) = (is_news, &self.buyer.state) {
            // This request was made without knowing that outcome and can never be admitted: choose again, once there is
            // a trader (SPEC B8).
            let item = request.item;
            if self.buyer.has_trader {
                self.want_anew(item);
            } else {
                self.buyer.state = State::Ready;
            }
        }
    }

    fn learn(&mut self, sequence: Sequence, outcome: Outcome, mine: Option<Sequence>) {
        self.buyer.known = Some(sequence);
        // SPEC C2: a completed purchase is an event.
        self.ctx.clock.tick();
        let request = RequestId { buyer: self.buyer.me.peer, sequence };
        let note = if mine == Some(sequence) {
            match outcome {
                Outcome::Sold(sale) => {
                    self.buyer.refused = None;
                    Note::Bought { sale }
                }
                Outcome::Refused { item } => {
                    self.buyer.refused = Some(item);
                    Note::Unavailable { request, item }
                }
            }
        } else {
            Note::Recalled { request, outcome }
        };
        self.effects.push(ClientEffect::Note(note));
    }

    /// A request is in the queue. If it belongs to a former life, the buyer waits for that one and drops its own, which
    /// names the same predecessor and can no longer be admitted.
    fn adopt(&mut self, open: Request) {
        mutant!(OpenRequestIgnored => return);
        let is_known = mutant!(Some(open.id.sequence) <= self.buyer.known; OldStatusBelieved => false);
        if !is_known && self.buyer.asking().is_none_or(|request| request.id != open.id) {
            self.effects.push(ClientEffect::Note(Note::ResumedRequest { request: open.id }));
            self.buyer.state = State::Asking(open);
            self.effects.push(ClientEffect::Arm(BuyerTimer, self.ctx.timeouts.resend));
        }
    }

    fn rest(&mut self, wait: core::time::Duration) {
        self.buyer.state = State::Resting;
        self.effects.push(ClientEffect::Arm(BuyerTimer, wait));
    }
}

#[cfg(test)]
mod tests;
