//! A peer: its machines, composed. It dispatches, stamps what is sent, and holds back what is not durable enough to be
//! sent yet; it decides nothing else.

use alloc::{
    collections::{BTreeSet, VecDeque},
    sync::Arc,
    vec::Vec,
};

use serde::{Deserialize, Serialize};

use crate::{
    books::Books,
    buyer::{Buyer, BuyerSurroundings},
    client::{ClientEffect, ClientInput},
    clock::{Clock, Time},
    config::{Config, ConfigError},
    digest::Digest,
    effect::{Durable, Effect, Effects, Note},
    election::{Election, ElectionEffect, ElectionEvent, ElectionInput, ElectionMessage, Eligibility, Waits},
    id::{Epoch, Incarnation, Life, PeerId, Position},
    input::{Choice, Input, Timer, WriteId},
    ledger::{LedgerCall, LedgerRequest, Seen},
    message::{Body, BuyerStanding, Envelope, SellerStanding, TraderMessage},
    office::{Office, OfficeEffect, OfficeInput, Surroundings},
    overlay::Overlay,
    seller::{Seller, SellerSurroundings},
};

/// One peer of the bazaar.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Peer {
    config: Arc<Config>,
    me: Life,
    clock: Clock,
    overlay: Overlay,
    election: Election,
    office: Office,
    buyer: Option<Buyer>,
    seller: Option<Seller>,
    /// The leader the clients were told of last.
    leader: Option<(Epoch, PeerId)>,
    journal: Journal,
}

/// What is being written, and what waits for it (DESIGN R7, R10).
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
struct Journal {
    /// What was asked to be written last.
    requested: Durable,
    last_id: WriteId,
    /// The writes that are not durable yet, with the clock bound each brings.
    pending: VecDeque<(WriteId, Time)>,
    /// What may be sent once the bound is at least this.
    held: VecDeque<(Time, Effect)>,
    /// This life is durable: the peer may speak (DESIGN R7).
    may_speak: bool,
}

/// How a peer sees things, for people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct View<'a> {
    /// Its life.
    pub me: Life,
    /// Its clock.
    pub clock: Time,
    /// The neighbours whose links work.
    pub links: &'a BTreeSet<PeerId>,
    /// The trader it knows, and for which epoch.
    pub leader: Option<(Epoch, PeerId)>,
    /// The epoch for which it holds the office itself.
    pub office: Option<Epoch>,
    /// The books it serves from, in office.
    pub books: Option<&'a Books>,
    /// How many client messages wait for its next batch, in office.
    pub waiting: usize,
    /// Whether it may stand.
    pub eligibility: Eligibility,
}

impl Peer {
    /// A peer's next life. The effects begin with the write that makes this life durable; until that is confirmed the
    /// peer sends nothing.
    ///
    /// # Errors
    /// When the configuration does not pass [`Config::check`].
    pub fn recover(config: Config, durable: Durable) -> Result<(Peer, Effects), ConfigError> {
        config.check()?;
        let me = Life { peer: config.me, incarnation: durable.incarnation.next() };
        let buyer = config.role.wishes().map(|_| Buyer::new(me));
        let seller = config.role.offers().and_then(|offers| offers.0.first()).map(|first| Seller::new(me, *first));
        let mut peer = Peer {
            me,
            clock: Clock::resume(me.peer, durable.clock_bound),
            overlay: Overlay::new(me, &config.limits),
            election: Election::new(me.peer, config.peers),
            office: Office::new(me, durable.seen),
            buyer,
            seller,
            leader: None,
            journal: Journal {
                requested: Durable { incarnation: me.incarnation, ..durable },
                last_id: WriteId(0),
                pending: VecDeque::new(),
                held: VecDeque::new(),
                may_speak: false,
            },
            config: Arc::new(config),
        };
        let mut step = Step { peer: &mut peer, effects: Vec::new() };
        step.write_ahead();
        let calls_first = me.incarnation == Incarnation(1) && step.peer.config.first_caller == me.peer;
        step.election(ElectionInput::Started { calls_first });
        step.office(OfficeInput::Started);
        let effects = step.finish();
        Ok((peer, effects))
    }

    /// Takes one input. Cannot fail and cannot block.
    pub fn step(&mut self, input: Input) -> Effects {
        let mut step = Step { peer: self, effects: Vec::new() };
        step.dispatch(input);
        step.finish()
    }

    /// What to make durable before it is stopped on purpose: the same as at its last write, with all that it has seen
    /// of the books. Nothing depends on it but how old a copy of the books it will notice (DESIGN 3).
    #[must_use]
    pub fn parting(&self) -> Durable {
        Durable { seen: self.office.seen(), ..self.journal.requested }
    }

    /// How it sees things.
    #[must_use]
    pub fn view(&self) -> View<'_> {
        let trader = self.office.trader();
        View {
            me: self.me,
            clock: self.clock.now(),
            links: self.overlay.links(),
            leader: self.election.leader(),
            office: self.office.epoch(),
            books: trader.map(|trader| trader.books()),
            waiting: trader.map_or(0, |trader| trader.waiting()),
            eligibility: self.election.eligibility(),
        }
    }

    /// Its clock.
    #[must_use]
    pub fn clock(&self) -> &Clock {
        &self.clock
    }

    /// Its part in elections.
    #[must_use]
    pub fn election(&self) -> &Election {
        &self.election
    }

    /// Its way into the office.
    #[must_use]
    pub fn office(&self) -> &Office {
        &self.office
    }

    /// Its part as a buyer, if it has one.
    #[must_use]
    pub fn buyer(&self) -> Option<&Buyer> {
        self.buyer.as_ref()
    }

    /// Its part as a seller, if it has one.
    #[must_use]
    pub fn seller(&self) -> Option<&Seller> {
        self.seller.as_ref()
    }

    /// How it was set up.
    #[must_use]
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// A digest of its whole state, the same in every process (DESIGN 4).
    #[must_use]
    pub fn digest(&self) -> Digest {
        Digest::of(self)
    }
}

/// One step under way.
struct Step<'a> {
    peer: &'a mut Peer,
    /// What comes out, with the clock that must be durable before it may.
    effects: Vec<(Time, Effect)>,
}

impl Step<'_> {
    fn dispatch(&mut self, input: Input) {
        match input {
            Input::Received { from, envelope } => self.on_received(from, envelope),
            Input::LinkUp(neighbour) => {
                if self.peer.config.neighbours.contains(&neighbour) {
                    self.peer.overlay.link_up(neighbour);
                }
            }
            Input::LinkDown(neighbour) => self.peer.overlay.link_down(neighbour),
            Input::Fired(timer) => self.on_fired(timer),
            Input::LedgerUp => self.office(OfficeInput::LedgerUp),
            Input::LedgerDown => self.office(OfficeInput::LedgerDown),
            Input::Ledger(reply) => self.office(OfficeInput::Reply(reply)),
            Input::Written(id) => self.on_written(id),
            Input::Chose { choice: Choice::Wish, pick } => self.buyer(ClientInput::Chose(pick)),
            Input::Chose { choice: Choice::Offer, pick } => self.seller(ClientInput::Chose(pick)),
        }
    }

    fn on_fired(&mut self, timer: Timer) {
        match timer {
            Timer::Election => self.election(ElectionInput::Fired),
            Timer::LedgerRetry | Timer::LedgerPatience | Timer::Renewal => self.office(OfficeInput::Fired(timer)),
            Timer::Buyer | Timer::ClockInterval => self.buyer(ClientInput::Fired(timer)),
            Timer::Seller => self.seller(ClientInput::Fired(timer)),
        }
    }

    fn on_received(&mut self, from: PeerId, envelope: Envelope) {
        if !self.peer.config.neighbours.contains(&from) {
            return;
        }
        if !self.peer.clock.is_plausible(envelope.clock) {
            let Envelope { source, clock, .. } = envelope;
            self.note(Note::ClockRefused { source, clock });
            return;
        }
        let arrival = self.peer.overlay.receive(from, envelope);
        // A relay neither merges nor ticks (SPEC C1), so its own bound does not hold the message back.
        self.send(Time(0), arrival.forwarded);
        if let Some(envelope) = arrival.delivered {
            // SPEC C2: the trader ignores the multicasts and merges on requests.
            if envelope.body != Body::Clock || self.peer.office.epoch().is_none() {
                self.peer.clock.receive(envelope.clock);
            }
            self.deliver(envelope.source, envelope.body);
        }
    }

    fn deliver(&mut self, source: PeerId, body: Body) {
        match body {
            Body::Election(message) => {
                // Whoever names an epoch has it from its durable claim. A short term may send nothing else.
                match message {
                    ElectionMessage::Leader { epoch, .. }
                    | ElectionMessage::Coordinator { epoch }
                    | ElectionMessage::Resigned { epoch } => {
                        self.office(OfficeInput::Heard(Seen { epoch, head: Position(0) }));
                    }
                    ElectionMessage::Call | ElectionMessage::Anyone | ElectionMessage::Answer => {}
                }
                self.election(ElectionInput::Received(source, message));
            }
            Body::Heartbeat { epoch, head } => {
                self.office(OfficeInput::Heartbeat(Seen { epoch, head }));
                self.election(ElectionInput::Heard { epoch, leader: source });
            }
            Body::Clock => {}
            Body::Client(message) => self.office(OfficeInput::Client(source, message)),
            Body::Trader(TraderMessage::Buyer(standing)) => self.buyer(ClientInput::Told(standing)),
            Body::Trader(TraderMessage::Seller(standing)) => self.seller(ClientInput::Told(standing)),
        }
    }

    fn election(&mut self, input: ElectionInput) {
        let timeouts = &self.peer.config.timeouts;
        let waits = Waits {
            turn: timeouts.first_call,
            stagger: timeouts.stagger,
            answer: timeouts.answer,
            victory: timeouts.victory,
            suspicion: timeouts.suspicion,
        };
        for effect in self.peer.election.step(&waits, input) {
            match effect {
                ElectionEffect::Tell(to, message) => self.tell(to, Body::Election(message)),
                ElectionEffect::TellAll(message) => self.tell_all(Body::Election(message)),
                ElectionEffect::Arm(after) => self.emit(Effect::Arm { timer: Timer::Election, after }),
                ElectionEffect::Stand => self.office(OfficeInput::Stand),
                ElectionEffect::Yield => self.office(OfficeInput::Yield),
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
        let Peer { config, clock, overlay, office, .. } = &mut *self.peer;
        let isolated = !config.neighbours.is_empty() && overlay.links().is_empty();
        let mut around =
            Surroundings { timeouts: &config.timeouts, terms: &config.terms, limits: &config.limits, clock, isolated };
        for effect in office.step(&mut around, input) {
            self.on_office(effect);
        }
    }

    fn on_office(&mut self, effect: OfficeEffect) {
        match effect {
            OfficeEffect::Ask(request) => {
                let stamped = match &request {
                    LedgerRequest::Append(batch) => batch.records.last().map_or(Time(0), |record| record.stamp.time),
                    LedgerRequest::Status | LedgerRequest::Read { .. } => Time(0),
                };
                let call = LedgerCall { caller: self.peer.me, seen: self.peer.office.seen(), request };
                self.effects.push((stamped, Effect::Ledger(call)));
            }
            OfficeEffect::Tell(to, message) => self.tell(to, Body::Trader(message)),
            OfficeEffect::Heartbeat { epoch, head } => self.tell_all(Body::Heartbeat { epoch, head }),
            OfficeEffect::Granted(epoch) => self.election(ElectionInput::Granted(epoch)),
            OfficeEffect::Vacated { resigned } => self.election(ElectionInput::Vacated { resigned }),
            OfficeEffect::Eligibility(eligibility) => self.election(ElectionInput::Eligibility(eligibility)),
            OfficeEffect::Arm(timer, after) => self.emit(Effect::Arm { timer, after }),
            OfficeEffect::Disarm(timer) => self.emit(Effect::Disarm(timer)),
            OfficeEffect::Note(note) => self.note(note),
        }
    }

    fn buyer(&mut self, input: ClientInput<BuyerStanding>) {
        let Peer { config, clock, buyer, .. } = &mut *self.peer;
        let (Some(buyer), Some(wishes)) = (buyer, config.role.wishes()) else { return };
        let mut around = BuyerSurroundings { wishes, pace: &config.pace, timeouts: &config.timeouts, clock };
        for effect in buyer.step(&mut around, input) {
            self.on_client(effect);
        }
    }

    fn seller(&mut self, input: ClientInput<SellerStanding>) {
        let Peer { config, clock, seller, .. } = &mut *self.peer;
        let (Some(seller), Some(offers)) = (seller, config.role.offers()) else { return };
        let mut around = SellerSurroundings {
            offers,
            pace: &config.pace,
            timeouts: &config.timeouts,
            limits: &config.limits,
            clock,
        };
        for effect in seller.step(&mut around, input) {
            self.on_client(effect);
        }
    }

    fn on_client(&mut self, effect: ClientEffect) {
        match effect {
            ClientEffect::Tell(message) => {
                if let Some((_, trader)) = self.peer.election.leader() {
                    self.tell(trader, Body::Client(message));
                }
            }
            ClientEffect::MulticastClock => self.tell_all(Body::Clock),
            ClientEffect::Arm(timer, after) => self.emit(Effect::Arm { timer, after }),
            ClientEffect::Choose(choice, among) => self.emit(Effect::Choose { choice, among }),
            ClientEffect::Note(note) => self.note(note),
        }
    }

    /// Says something to one peer; to itself without the detour over the network.
    fn tell(&mut self, to: PeerId, body: Body) {
        if to == self.peer.me.peer {
            self.deliver(to, body);
        } else {
            let time = self.peer.clock.tick().time;
            let sent = self.peer.overlay.unicast(to, time, body);
            self.send(time, sent);
        }
    }

    fn tell_all(&mut self, body: Body) {
        let time = self.peer.clock.tick().time;
        let sent = self.peer.overlay.broadcast(time, body);
        self.send(time, sent);
    }

    fn send(&mut self, stamped: Time, sent: Vec<(PeerId, Envelope)>) {
        let sends = sent.into_iter().map(|(to, envelope)| (stamped, Effect::Send { to, envelope }));
        self.effects.extend(sends);
    }

    fn note(&mut self, note: Note) {
        let epoch = self.peer.election.leader().map(|(epoch, _)| epoch);
        let clock = self.peer.clock.now();
        // Held back like a message: a reader of the log must not see the clock go back after a crash (SPEC C3).
        self.effects.push((clock, Effect::Note { clock, epoch, note }));
    }

    fn emit(&mut self, effect: Effect) {
        self.effects.push((Time(0), effect));
    }

    fn on_written(&mut self, id: WriteId) {
        let journal = &mut self.peer.journal;
        while let Some((_, bound)) = journal.pending.front().copied().filter(|(pending, _)| *pending <= id) {
            journal.pending.pop_front();
            self.peer.clock.extend(bound);
            if !journal.may_speak {
                journal.may_speak = true;
                let note = Note::Joined { incarnation: self.peer.me.incarnation };
                // What it heard meanwhile may have raised its clock above this first bound: then it waits for the next, like
                // any note (SPEC C3).
                let clock = self.peer.clock.now();
                self.effects.push((clock, Effect::Note { clock, epoch: None, note }));
            }
        }
    }

    /// Writes the clock ahead once half of what was written ahead is used up; and what it has seen of the books when that
    /// has come an epoch further, or as many records as a clock's range.
    fn write_ahead(&mut self) {
        let Peer { config, clock, office, journal, .. } = &mut *self.peer;
        let margin = config.clock_range / 2;
        let (seen, written) = (office.seen(), journal.requested.seen);
        let has_seen_more = seen.epoch > written.epoch || seen.head.0 >= written.head.0 + config.clock_range;
        let is_used_up = clock.now().0 + margin >= journal.requested.clock_bound.0;
        if journal.last_id == WriteId(0) || is_used_up || has_seen_more {
            journal.last_id = WriteId(journal.last_id.0 + 1);
            let clock_bound = match journal.requested.clock_bound {
                bound if is_used_up || journal.last_id == WriteId(1) => {
                    Time(clock.now().max(bound).0 + config.clock_range)
                }
                bound => bound,
            };
            journal.requested = Durable { clock_bound, seen, ..journal.requested };
            journal.pending.push_back((journal.last_id, clock_bound));
            self.effects.push((Time(0), Effect::Write { id: journal.last_id, durable: journal.requested }));
        }
    }

    /// Tells the clients when the trader has changed, writes ahead, and holds back what may not be sent yet.
    fn finish(mut self) -> Effects {
        self.tell_clients();
        self.write_ahead();
        let Peer { config, clock, journal, .. } = &mut *self.peer;
        let held_back = config.limits.held_back as usize;
        let (bound, may_speak) = (clock.bound(), journal.may_speak);
        let may_send = |stamped: Time| {
            mutant!(
                SpeaksBeforeWritten => !may_speak || stamped <= bound,
                SentAboveBound => may_speak,
                may_speak && stamped <= bound
            )
        };
        let mut out: Effects = Vec::new();
        let (released, held): (VecDeque<_>, VecDeque<_>) =
            core::mem::take(&mut journal.held).into_iter().partition(|(stamped, _)| may_send(*stamped));
        journal.held = held;
        out.extend(released.into_iter().map(|(_, effect)| effect));
        for (stamped, effect) in self.effects {
            match effect {
                Effect::Send { .. } | Effect::Ledger(_) | Effect::Note { .. } if !may_send(stamped) => {
                    // A message more that is lost: while a disk hangs, retries must not fill the memory.
                    if journal.held.len() < held_back {
                        journal.held.push_back((stamped, effect));
                    }
                }
                Effect::Send { .. }
                | Effect::Ledger(_)
                | Effect::Write { .. }
                | Effect::Arm { .. }
                | Effect::Disarm(_)
                | Effect::Choose { .. }
                | Effect::Note { .. } => out.push(effect),
            }
        }
        out
    }

    fn tell_clients(&mut self) {
        let leader = self.peer.election.leader();
        if leader == self.peer.leader {
            return;
        }
        self.peer.leader = leader;
        // SPEC B7: in office it does not trade.
        if leader.is_some_and(|(_, trader)| trader != self.peer.me.peer) {
            self.buyer(ClientInput::TraderKnown);
            self.seller(ClientInput::TraderKnown);
        } else {
            self.buyer(ClientInput::TraderGone);
            self.seller(ClientInput::TraderGone);
        }
    }
}

#[cfg(test)]
mod tests;
