//! A participant: clock, election, office, buyer and seller, and all the wiring between them (DESIGN 2).
//!
//! This module alone decides which machine hears what. Nothing else in this crate hands one machine's words to another,
//! and nobody outside does: the models of elections and trading run this very participant, and a
//! [`Peer`](crate::peer::Peer) is one with an overlay and a journal around it. Its effects are words, not envelopes:
//! the recipient, the message, and the clock reading it leaves with.
//!
//! # A work list, not recursion
//!
//! Each input goes to one machine. Whatever that machine wants from another is an effect of its own, appended to a list
//! that is worked off before the step ends. So a machine is never entered while it is running, each machine's effects
//! keep their order, and there is no order of calls that a composer could get wrong.
//!
//! ```text
//!              Call, Answer, …             Heartbeat, ledger, clients            statuses
//!                    ▼                               ▼                               ▼
//!                Election ── Stand, Yield ──────▶ Office ── Tell (to itself) ──▶ Buyer, Seller
//!                    ◀── Granted, Vacated, ──────    │                               ▲
//!                        Eligibility, LeaderLives    ▼                               │
//!                    └──────────── the leader has changed (SPEC B7, B8) ─────────────┘
//! ```
//!
//! # What can be left out
//!
//! [`Parts`] says which machines a participant has and what decides who leads. A whole peer has them all. A model of
//! trading under any leadership whatever leaves the election out and gives [`ParticipantInput::Stand`] and
//! [`ParticipantInput::Yield`] itself; the rules stay the same.

use alloc::{collections::VecDeque, vec::Vec};
use core::time::Duration;

use serde::{Deserialize, Serialize};

use crate::{
    account::{BuyerStatus, SellerStatus},
    buyer::{Buyer, BuyerContext, BuyerTimer},
    client::{ClientEffect, ClientInput},
    clock::{Clock, Time},
    config::Config,
    effect::{Durable, Note},
    election::{Election, ElectionEffect, ElectionEvent, ElectionInput, Eligibility, Waits},
    forgotten::{self, Forgotten},
    id::{Epoch, Incarnation, Life, PeerId},
    input::{Choice, Timer},
    ledger::{HighWaterMark, LedgerCall, LedgerReply, LedgerRequest, Word},
    message::{Body, ClientMessage, Promise, TermSaid, TraderMessage},
    office::{Office, OfficeContext, OfficeEffect, OfficeInput, OfficeTimer},
    plausible::Implausible,
    seller::{Seller, SellerContext, SellerTimer},
};

/// Which machines a participant has, and how its messages carry its clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Parts {
    /// What decides who leads.
    pub leadership: Leadership,
    /// Whether it can hold the office.
    pub office: bool,
    /// Whether it buys and sells, as its role says.
    pub clients: bool,
    /// Which reading of its clock a message carries.
    pub readings: Readings,
}

impl Parts {
    /// Every machine: what a peer is made of.
    pub const ALL: Parts =
        Parts { leadership: Leadership::Elected, office: true, clients: true, readings: Readings::OfEachWord };
}

/// What decides who leads.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Leadership {
    /// The participants elect.
    Elected,
    /// The driver says who stands and who yields, and whoever leads is reached at this address.
    Outside(PeerId),
}

/// Which reading of a participant's clock its messages carry, and what a receiver makes of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Readings {
    /// Sending is an event: each message carries a reading of its own, and receiving it is another event (SPEC C1).
    OfEachWord,
    /// A message carries the reading of what it speaks of: the stamp of a request or deposit, the latest of the books a
    /// trader speaks from, or none at all if nothing stamped follows from it. A receiver that is behind merges it.
    /// These are the fewest events that Lamport's condition allows; a model in which every copy of every message raised
    /// the clocks would never terminate.
    OfWhatIsStamped,
}

/// What can happen to a participant.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum ParticipantInput {
    /// A message from another participant has arrived.
    Heard {
        /// Who sent it.
        from: PeerId,
        /// The clock reading it carries.
        clock: Time,
        /// The message.
        body: Body,
    },
    /// An armed timer has fired. It is no longer armed.
    Fired(Timer),
    /// The ledger has become reachable.
    LedgerUp,
    /// The ledger has become unreachable.
    LedgerDown,
    /// A reply from the ledger.
    Ledger(LedgerReply),
    /// The answer to [`ParticipantEffect::Choose`]. An answer out of range is ignored.
    Chose {
        /// The choice that was asked for.
        choice: Choice,
        /// The index that was picked, from 0.
        pick: u32,
    },
    /// Give the office back, says somebody. Ignored out of office.
    Resign,
    /// Take office, says the driver. Ignored where the participants elect.
    Stand,
    /// Leave the office or give up trying, says the driver. Ignored where the participants elect.
    Yield,
}

/// What a participant wants done.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum ParticipantEffect {
    /// Send this to another participant.
    Tell {
        /// The recipient; never the sender itself.
        to: PeerId,
        /// The clock reading it carries.
        clock: Time,
        /// The message.
        body: Body,
    },
    /// Send this to everybody else.
    TellAll {
        /// The clock reading it carries.
        clock: Time,
        /// The message.
        body: Body,
    },
    /// Call the ledger.
    Ledger(LedgerCall),
    /// Fire this timer once, `after` from now.
    Arm {
        /// The timer to arm; if it is already armed, this replaces it.
        timer: Timer,
        /// The delay from now.
        after: Duration,
    },
    /// Disarm this timer.
    Disarm(Timer),
    /// This life must not go on: others know more of it than it does (SPEC I5).
    Stop(Forgotten),
    /// Pick a number below `among` (at least 1).
    Choose {
        /// The choice to make.
        choice: Choice,
        /// How many options there are.
        among: u32,
    },
    /// An event that people may want to read about (SPEC H1).
    Note {
        /// The participant's clock (SPEC C6).
        clock: Time,
        /// The epoch of the trader it knows; `None` when it knows none.
        epoch: Option<Epoch>,
        /// What happened.
        note: Note,
    },
}

impl ParticipantEffect {
    /// The highest clock reading that this reveals, which must be durable before it leaves (DESIGN R10); `None` where
    /// it reveals none.
    #[must_use]
    pub fn reading(&self) -> Option<Time> {
        match self {
            ParticipantEffect::Tell { clock, .. }
            | ParticipantEffect::TellAll { clock, .. }
            | ParticipantEffect::Note { clock, .. } => Some(*clock),
            ParticipantEffect::Ledger(call) => match &call.request {
                LedgerRequest::Append(batch) => {
                    let latest = mutant!(batch.records.last(); StampedByFirstRecord => batch.records.first());
                    latest.map(|record| record.stamp.time)
                }
                LedgerRequest::Status | LedgerRequest::Read { .. } => None,
            },
            ParticipantEffect::Arm { .. }
            | ParticipantEffect::Disarm(_)
            | ParticipantEffect::Choose { .. }
            | ParticipantEffect::Stop(_) => None,
        }
    }
}

/// What a participant is given to look at in a step.
#[derive(Clone, Copy, Debug)]
pub struct Context<'a> {
    /// Its configuration; the same in every step.
    pub config: &'a Config,
    /// Whether it has neighbours but none that it can hear.
    pub is_isolated: bool,
}

/// One participant of the bazaar.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Participant {
    me: Life,
    readings: Readings,
    clock: Clock,
    leading: Leading,
    office: Option<Office>,
    buyer: Option<Buyer>,
    seller: Option<Seller>,
    /// The leader that the clients were last told of.
    leader: Option<(Epoch, PeerId)>,
}

/// How a participant knows the leader.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
enum Leading {
    Elected(Election),
    Outside(PeerId),
}

impl Participant {
    /// A participant's next life, and its first effects. `durable` is what its former life left.
    #[must_use]
    pub fn recover(context: Context<'_>, parts: Parts, durable: Durable) -> (Participant, Vec<ParticipantEffect>) {
        let config = context.config;
        let me = Life { peer: config.me, incarnation: durable.incarnation.next() };
        let wishes = config.role.wishes().filter(|_| parts.clients);
        let first = config.role.offers().filter(|_| parts.clients).and_then(|offers| offers.0.first());
        let mut participant = Participant {
            me,
            readings: parts.readings,
            clock: Clock::resume(me.peer, durable.clock_bound),
            leading: match parts.leadership {
                Leadership::Elected => Leading::Elected(Election::new(me.peer, config.peers)),
                Leadership::Outside(address) => Leading::Outside(address),
            },
            office: parts
                .office
                .then(|| Office::new(me, mutant!(durable.seen; SeenForgotten => HighWaterMark::default()))),
            buyer: wishes.map(|_| Buyer::new(me)),
            seller: first.map(|first| Seller::new(me, *first)),
            leader: None,
        };
        let calls_first = me.incarnation == Incarnation(1) && config.first_caller == me.peer;
        let mut step = Step::of(&mut participant, context);
        if parts.leadership == Leadership::Elected {
            step.work.push_back(Work::Election(ElectionInput::Started { calls_first }));
            step.work.push_back(Work::Office(OfficeInput::Started));
        }
        let effects = step.finish();
        (participant, effects)
    }

    /// Takes one input. Cannot fail and cannot block.
    pub fn step(&mut self, context: Context<'_>, input: ParticipantInput) -> Vec<ParticipantEffect> {
        let mut step = Step::of(self, context);
        step.dispatch(input);
        step.finish()
    }

    /// A clock bound has become durable: nothing above it leaves.
    pub fn extend(&mut self, bound: Time) {
        self.clock.extend(bound);
    }

    /// This life: the participant's peer and its incarnation.
    #[must_use]
    pub fn me(&self) -> Life {
        self.me
    }

    /// The participant's Lamport clock.
    #[must_use]
    pub fn clock(&self) -> &Clock {
        &self.clock
    }

    /// Its election, if it has one.
    #[must_use]
    pub fn election(&self) -> Option<&Election> {
        match &self.leading {
            Leading::Elected(election) => Some(election),
            Leading::Outside(_) => None,
        }
    }

    /// Its office, if it has one.
    #[must_use]
    pub fn office(&self) -> Option<&Office> {
        self.office.as_ref()
    }

    /// Its buyer, if it buys.
    #[must_use]
    pub fn buyer(&self) -> Option<&Buyer> {
        self.buyer.as_ref()
    }

    /// Its seller, if it sells.
    #[must_use]
    pub fn seller(&self) -> Option<&Seller> {
        self.seller.as_ref()
    }

    /// The epoch it holds, if it is in office.
    #[must_use]
    pub fn epoch(&self) -> Option<Epoch> {
        self.office.as_ref()?.epoch()
    }

    /// The leader it follows, or itself in office. Where the driver decides who leads, the fixed address.
    #[must_use]
    pub fn leader(&self) -> Option<(Epoch, PeerId)> {
        match &self.leading {
            Leading::Elected(election) => election.leader(),
            Leading::Outside(address) => Some(self.epoch().map_or((Epoch(0), *address), |epoch| (epoch, self.me.peer))),
        }
    }

    /// Whether it may stand, according to its election; unreachable if it has none.
    #[must_use]
    pub fn eligibility(&self) -> Eligibility {
        self.election().map_or(Eligibility::Unreachable, Election::eligibility)
    }

    /// The furthest durable books that the ledger has told it of.
    #[must_use]
    pub fn seen(&self) -> HighWaterMark {
        self.office.as_ref().map(Office::seen).unwrap_or_default()
    }

    /// The latest epoch that anybody has named to it.
    #[must_use]
    pub fn latest_epoch(&self) -> Epoch {
        self.office.as_ref().map(Office::latest).unwrap_or_default()
    }

    /// Whether this is not the ledger's word, nor that of the peer which by the ledger's word holds the office.
    fn is_hearsay(&self, input: &ParticipantInput) -> bool {
        let holder = self.office.as_ref().and_then(Office::holder);
        matches!(input, ParticipantInput::Heard { from, .. } if holder != Some(*from))
    }

    /// What this message says of a term, if the ledger's word is against it.
    fn disbelieved(&self, from: PeerId, body: &Body) -> Option<TermSaid> {
        let said = body.says_of_term(from)?;
        self.office.as_ref().is_some_and(|office| office.disbelieves(&said)).then_some(said)
    }

    /// A note with the current clock and epoch.
    #[must_use]
    pub fn note(&self, note: Note) -> ParticipantEffect {
        let epoch = self.epoch().or_else(|| self.leader().map(|(epoch, _)| epoch));
        ParticipantEffect::Note { clock: self.clock.now(), epoch, note }
    }

    /// SPEC C1: the recipient of a message merges its clock.
    fn receive(&mut self, clock: Time) {
        let is_news = match self.readings {
            Readings::OfEachWord => true,
            Readings::OfWhatIsStamped => clock >= self.clock.now(),
        };
        if is_news {
            self.clock.receive(clock);
        }
    }

    /// SPEC C5: what the ledger shows is read, so that what follows is stamped later, unless it is nothing that a clock can
    /// show. A life that begins long after the others has far to go at once.
    fn read(&mut self, word: &Word) {
        let latest = word.status.latest;
        if word.to == self.me && latest <= Clock::MOST {
            mutant!(self.clock.catch_up(latest); ReplyWithoutStamp | NoCatchUp => {});
        }
    }

    /// The clock reading with which a message leaves.
    fn reading_for(&mut self, body: &Body) -> Time {
        match self.readings {
            // Promises name their readings themselves.
            Readings::OfEachWord if matches!(body, Body::Promises { .. }) => Promise::furthest(body.promises()),
            Readings::OfEachWord => self.clock.tick().time,
            Readings::OfWhatIsStamped => match body {
                Body::Election(_) | Body::Client(ClientMessage::AskSales { .. } | ClientMessage::Join { .. }) => {
                    Time(0)
                }
                // A buyer that is asked to promise something past that place is behind it no longer.
                Body::Heartbeat { waits, .. } => waits.unwrap_or_default(),
                Body::Wave => {
                    let trader = self.office.as_ref().and_then(Office::trader);
                    trader.and_then(|trader| trader.waits()).unwrap_or_default()
                }
                Body::Clock => self.clock.now(),
                Body::Client(ClientMessage::Request(request)) => request.stamp.time,
                Body::Client(ClientMessage::Deposit(deposit)) => deposit.stamp.time,
                Body::Promises { promises, .. } => Promise::furthest(promises),
                // Once it resigns, its books are closed.
                Body::Trader(_) => {
                    let trader = self.office.as_ref().and_then(Office::trader);
                    trader.map_or(self.clock.now(), |trader| trader.books().latest())
                }
            },
        }
    }
}

/// One machine's work, caused by another machine or by the input.
enum Work {
    Election(ElectionInput),
    Office(OfficeInput),
    Buyer(ClientInput<BuyerStatus, BuyerTimer>),
    Seller(ClientInput<SellerStatus, SellerTimer>),
}

/// One step in progress.
struct Step<'a> {
    participant: &'a mut Participant,
    context: Context<'a>,
    work: VecDeque<Work>,
    /// The trader whose wave asks for a promise.
    asked: Option<PeerId>,
    effects: Vec<ParticipantEffect>,
}

impl<'a> Step<'a> {
    fn of(participant: &'a mut Participant, context: Context<'a>) -> Step<'a> {
        Step { participant, context, work: VecDeque::new(), asked: None, effects: Vec::new() }
    }

    fn dispatch(&mut self, input: ParticipantInput) {
        let forgotten = forgotten::told_by(&input, self.participant);
        let is_hearsay = self.participant.is_hearsay(&input);
        self.effects.extend(forgotten.filter(|_| !is_hearsay).map(ParticipantEffect::Stop));
        let is_outside = matches!(self.participant.leading, Leading::Outside(_));
        self.work.extend(match input {
            ParticipantInput::Heard { from, clock, body } => {
                self.asked = body.asks().then_some(from);
                mutant!(
                    self.participant.receive(clock);
                    MulticastNotMerged => if body != Body::Clock { self.participant.receive(clock) }
                );
                if let Some(said) = self.participant.disbelieved(from, &body) {
                    if !self.participant.office.as_ref().is_some_and(|office| office.finds_late(&said)) {
                        let TermSaid { epoch, holder: leader, .. } = said;
                        self.note(Note::TermRefused { source: from, epoch, leader });
                    }
                    return;
                }
                if let Some(forgotten) = forgotten.filter(|_| is_hearsay) {
                    let implausible = Implausible::Life(forgotten.life());
                    self.note(Note::EnvelopeRefused { from, source: from, implausible });
                    return;
                }
                work_of(from, body)
            }
            ParticipantInput::Fired(timer) => Some(match timer {
                Timer::Election => Work::Election(ElectionInput::Fired),
                Timer::LedgerRetry => Work::Office(OfficeInput::Fired(OfficeTimer::Retry)),
                Timer::LedgerGiveUp => Work::Office(OfficeInput::Fired(OfficeTimer::GiveUp)),
                Timer::Renewal => Work::Office(OfficeInput::Fired(OfficeTimer::Renewal)),
                Timer::Wave => Work::Office(OfficeInput::Fired(OfficeTimer::Wave)),
                Timer::Buyer => Work::Buyer(ClientInput::Fired(BuyerTimer)),
                Timer::Seller => Work::Seller(ClientInput::Fired(SellerTimer)),
                // A peer's gossip and its gathering have these; a participant says only that a clock is multicast, and what
                // it promises.
                Timer::ClockInterval | Timer::Gather => return,
            }),
            ParticipantInput::LedgerUp => Some(Work::Office(OfficeInput::LedgerUp)),
            ParticipantInput::LedgerDown => Some(Work::Office(OfficeInput::LedgerDown)),
            ParticipantInput::Ledger(reply) => {
                self.participant.read(&reply.word);
                Some(Work::Office(OfficeInput::Reply(reply)))
            }
            ParticipantInput::Chose { choice: Choice::Wish, pick } => Some(Work::Buyer(ClientInput::Chose(pick))),
            ParticipantInput::Chose { choice: Choice::Offer, pick } => Some(Work::Seller(ClientInput::Chose(pick))),
            ParticipantInput::Resign => Some(Work::Office(OfficeInput::Resign)),
            ParticipantInput::Stand => is_outside.then_some(Work::Office(OfficeInput::Stand)),
            ParticipantInput::Yield => is_outside.then_some(Work::Office(OfficeInput::Yield)),
        });
    }

    /// Works off the list, then tells the clients if the leader has changed, and repeats until nothing is left.
    fn finish(mut self) -> Vec<ParticipantEffect> {
        loop {
            while let Some(work) = self.work.pop_front() {
                match work {
                    Work::Election(input) => self.election(input),
                    Work::Office(input) => self.office(input),
                    Work::Buyer(input) => self.buyer(input),
                    Work::Seller(input) => self.seller(input),
                }
            }
            let leader = self.participant.leader();
            if leader == self.participant.leader {
                // The buyer is told of the trader first.
                if let Some(trader) = self.asked.take() {
                    self.work.push_back(Work::Buyer(ClientInput::Asked(trader)));
                    continue;
                }
                return self.effects;
            }
            self.participant.leader = leader;
            // SPEC B7: it does not trade while in office.
            let has_trader = leader.is_some_and(|(_, trader)| trader != self.participant.me.peer);
            self.work.push_back(Work::Buyer(leader_news(has_trader)));
            self.work.push_back(Work::Seller(leader_news(has_trader)));
        }
    }

    fn election(&mut self, input: ElectionInput) {
        let Leading::Elected(election) = &mut self.participant.leading else { return };
        let timeouts = &self.context.config.timeouts;
        let waits = Waits {
            turn: timeouts.first_call,
            stagger: timeouts.stagger,
            answer: timeouts.answer,
            victory: timeouts.victory,
            suspicion: timeouts.suspicion,
        };
        for effect in election.step(&waits, input) {
            match effect {
                ElectionEffect::Tell(to, message) => self.tell(to, Body::Election(message)),
                ElectionEffect::TellAll(message) => self.tell_all(Body::Election(message)),
                ElectionEffect::Arm(after) => {
                    self.effects.push(ParticipantEffect::Arm { timer: Timer::Election, after })
                }
                ElectionEffect::Heard(epoch) => self.work.push_back(Work::Office(OfficeInput::Heard(epoch))),
                ElectionEffect::Stand => self.work.push_back(Work::Office(OfficeInput::Stand)),
                ElectionEffect::Yield => self.work.push_back(Work::Office(OfficeInput::Yield)),
                ElectionEffect::Event(event) => self.note(match event {
                    ElectionEvent::Called => Note::ElectionCalled,
                    ElectionEvent::AskedForAnyone => Note::AskedForAnyone,
                    ElectionEvent::Suspected(trader) => Note::TraderSuspected { trader },
                    ElectionEvent::Recognised(trader) => Note::Recognised { trader },
                }),
            }
        }
    }

    fn office(&mut self, input: OfficeInput) {
        let Participant { clock, office: Some(office), buyer, .. } = &mut *self.participant else { return };
        let Context { config, is_isolated: isolated } = self.context;
        let asking = buyer.as_ref().and_then(Buyer::asking);
        let mut ctx = OfficeContext {
            timeouts: &config.timeouts,
            terms: &config.terms,
            limits: &config.limits,
            clock,
            asking,
            isolated,
        };
        for effect in office.step(&mut ctx, input) {
            match effect {
                OfficeEffect::Ask(request) => {
                    let seen = mutant!(self.participant.seen(); SeenNotShown => HighWaterMark::default());
                    let heard = self.participant.latest_epoch();
                    let call = LedgerCall { caller: self.participant.me, seen, heard, request };
                    self.effects.push(ParticipantEffect::Ledger(call));
                }
                OfficeEffect::Tell(to, message) => self.tell(to, Body::Trader(message)),
                OfficeEffect::Heartbeat { epoch, waits } => self.tell_all(Body::Heartbeat { epoch, waits }),
                OfficeEffect::Wave => self.tell_all(Body::Wave),
                OfficeEffect::Granted(epoch) => self.work.push_back(Work::Election(ElectionInput::Granted(epoch))),
                OfficeEffect::Vacated { resigned } => {
                    self.work.push_back(Work::Election(ElectionInput::Vacated { resigned }));
                }
                OfficeEffect::Refuted { latest, ended } => {
                    self.work.push_back(Work::Election(ElectionInput::Refuted { latest, ended }));
                }
                OfficeEffect::Eligibility(eligibility) => {
                    self.work.push_back(Work::Election(ElectionInput::Eligibility(eligibility)));
                }
                OfficeEffect::LeaderLives { epoch, leader } => {
                    self.work.push_back(Work::Election(ElectionInput::Heard { epoch, leader }));
                }
                OfficeEffect::Arm(timer, after) => {
                    self.effects.push(ParticipantEffect::Arm { timer: timer.into(), after });
                }
                OfficeEffect::Disarm(timer) => self.effects.push(ParticipantEffect::Disarm(timer.into())),
                OfficeEffect::Note(note) => self.note(note),
            }
        }
    }

    fn buyer(&mut self, input: ClientInput<BuyerStatus, BuyerTimer>) {
        let Context { config, .. } = self.context;
        let Participant { clock, buyer: Some(buyer), .. } = &mut *self.participant else { return };
        let Some(wishes) = config.role.wishes() else { return };
        let mut ctx = BuyerContext { wishes, pace: &config.pace, timeouts: &config.timeouts, clock };
        for effect in buyer.step(&mut ctx, input) {
            self.on_client(effect);
        }
    }

    fn seller(&mut self, input: ClientInput<SellerStatus, SellerTimer>) {
        let Context { config, .. } = self.context;
        let Participant { clock, seller: Some(seller), .. } = &mut *self.participant else { return };
        let Some(offers) = config.role.offers() else { return };
        let mut ctx =
            SellerContext { offers, pace: &config.pace, timeouts: &config.timeouts, limits: &config.limits, clock };
        for effect in seller.step(&mut ctx, input) {
            self.on_client(effect);
        }
    }

    fn on_client<T: Into<Timer>>(&mut self, effect: ClientEffect<T>) {
        match effect {
            ClientEffect::Tell(message) => {
                if let Some((_, trader)) = self.participant.leader() {
                    self.tell(trader, Body::Client(message));
                }
            }
            ClientEffect::Promise(trader, promise) => {
                let promises = alloc::vec![(self.participant.me.peer, promise)];
                self.tell(trader, Body::Promises { promises, more: false });
            }
            ClientEffect::MulticastClock => self.tell_all(Body::Clock),
            ClientEffect::Arm(timer, after) => {
                self.effects.push(ParticipantEffect::Arm { timer: timer.into(), after });
            }
            ClientEffect::Choose(choice, among) => self.effects.push(ParticipantEffect::Choose { choice, among }),
            ClientEffect::Note(note) => self.note(note),
        }
    }

    /// Sends a message to one participant; to itself without going through the network.
    fn tell(&mut self, to: PeerId, body: Body) {
        if to == self.participant.me.peer {
            self.work.extend(work_of(to, body));
        } else {
            let clock = self.participant.reading_for(&body);
            self.effects.push(ParticipantEffect::Tell { to, clock, body });
        }
    }

    fn tell_all(&mut self, body: Body) {
        let clock = self.participant.reading_for(&body);
        self.effects.push(ParticipantEffect::TellAll { clock, body });
    }

    fn note(&mut self, note: Note) {
        let note = self.participant.note(note);
        self.effects.push(note);
    }
}

/// The work a message causes. A bare clock causes none beyond merging it.
fn work_of(from: PeerId, body: Body) -> Option<Work> {
    match body {
        Body::Election(message) => Some(Work::Election(ElectionInput::Received(from, message))),
        Body::Heartbeat { epoch, .. } => Some(Work::Office(OfficeInput::Heartbeat { from, epoch })),
        Body::Promises { promises, .. } => Some(Work::Office(OfficeInput::Promises(promises))),
        // What a wave asks for comes once the buyer knows who leads.
        Body::Clock | Body::Wave => None,
        Body::Client(message) => Some(Work::Office(OfficeInput::Client(from, message))),
        Body::Trader(TraderMessage::Buyer(status)) => Some(Work::Buyer(ClientInput::Told(status))),
        Body::Trader(TraderMessage::Seller(status)) => Some(Work::Seller(ClientInput::Told(status))),
    }
}

fn leader_news<S, T>(has_trader: bool) -> ClientInput<S, T> {
    if has_trader { ClientInput::TraderKnown } else { ClientInput::TraderGone }
}
