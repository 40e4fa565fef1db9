//! The machines together, and everything that can happen to them.
//!
//! One [`World`] is one state of the graph. An [`Action`] is one step of one machine, or one stroke of the adversary. What the
//! machines decide is theirs; here is only who is asked, and what is still under way.
//!
//! # What is under way
//!
//! Messages, calls and replies are kept in bags that only grow ([`Bag`]): each may arrive once, often or never, in any order.
//! So a lost or doubled message, and anything sent again, is in every graph without a step of its own. What can no longer
//! matter to anybody is dropped; the rules (`Step::prune`) are such that not only the machines as they are, but also
//! ones that mistake an old reply or an old request for a new one, would still meet it.
//!
//! # What is one step here and more in life
//!
//! - A read of the ledger and a question for its status change nothing there; asking and hearing is one step. That the answer
//!   may be old when it is acted upon is kept: the claim that follows may be taken any time later.
//! - A call that comes while the ledger writes waits on its way, not in the ledger.
//! - A choice among one is made at once.
//! - The lease runs out only when a claim is under way that it would keep out. Before that nobody could tell.
//! - A message moves its receiver's clock only when it is ahead of it: a clock that rose by one at each copy of each message would
//!   never stop. That clocks may be further ahead than needed is what [`Budget::ticks`] is for.

use std::time::Duration;

use protocol::{
    books::Books,
    buyer::{Buyer, BuyerSurroundings},
    client::{ClientEffect, ClientInput},
    clock::{Clock, Time},
    config::{Offers, Pace, Terms, Timeouts},
    effect::{Departure, Durable, Note},
    election::{Election, ElectionEffect, ElectionInput, ElectionMessage, Waits},
    id::{Epoch, Life, PeerId, RequestId},
    input::{Choice, Timer},
    invariant::{self, AuditTerms, Property, Violation},
    ledger::{
        CallId, Echo, Ledger, LedgerAnswer, LedgerCall, LedgerConfig, LedgerEffect, LedgerInput, LedgerReply,
        LedgerRequest, Seen, Store, Verdict,
    },
    message::{Body, BuyerStanding, ClientMessage, SellerStanding, TraderMessage},
    office::{Office, OfficeEffect, OfficeInput, Surroundings},
    record::{Batch, Deposit, Entry, Record},
    seller::{Seller, SellerSurroundings},
    store::MemoryStore,
};
use serde::Serialize;

use crate::{
    part::{Bag, Part},
    scenario::Scenario,
    sighting::{Sighting, Sightings},
};

/// One state.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize)]
pub struct World {
    /// The peers, by id.
    pub peers: Vec<Part<Peer>>,
    /// The ledger and its store.
    pub ledger: Part<Archive>,
    /// Appends on their way to the ledger.
    pub calls: Part<Bag<Call>>,
    /// The ledger's verdicts on their way back.
    pub replies: Part<Bag<LedgerReply>>,
    /// Messages between peers on their way.
    pub mail: Part<Bag<Mail>>,
    /// What sellers have ever decided to deposit.
    pub decided: Part<Vec<Deposit>>,
    /// What the adversary may still do.
    pub budget: Budget,
    /// What was found to be wrong in the step that led here. Nothing follows.
    pub violation: Option<Part<Violation>>,
}

/// A peer, or what is left of it.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize)]
pub enum Peer {
    /// It lives.
    Up(Box<Live>),
    /// It has crashed. Nothing of it counts but what is durable.
    Down {
        /// What is durable.
        durable: Durable,
        /// What it may still think of when it is back.
        plans: Plans,
    },
}

/// A living peer: its machines.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize)]
pub struct Live {
    /// Its life.
    pub me: Life,
    /// Its clock.
    pub clock: Clock,
    /// Its part in elections, where the scenario has any.
    pub election: Option<Election>,
    /// Its way into the office, if it may have one.
    pub office: Option<Office>,
    /// Its part as a buyer.
    pub buyer: Option<Buyer>,
    /// Its part as a seller.
    pub seller: Option<Seller>,
    /// What it wants to know of the ledger: a read or the status.
    pub question: Option<LedgerRequest>,
    /// The choice it waits for, among so many.
    pub choice: Option<(Choice, u32)>,
    /// What it may still think of.
    pub plans: Plans,
}

/// How much a client may still think of.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize)]
pub struct Plans {
    /// New requests.
    pub wishes: u8,
    /// New deposits after the first.
    pub deposits: u8,
}

/// The ledger machine over its store.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize)]
pub struct Archive {
    /// The machine.
    pub machine: Ledger,
    /// The store, with what is written and what is durable.
    pub store: MemoryStore,
}

impl Archive {
    /// Whether a batch is written and not durable.
    #[must_use]
    pub fn is_writing(&self) -> bool {
        self.store.batches().len() > self.store.durable().len()
    }
}

/// An append on its way.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize)]
pub struct Call {
    /// Who asks.
    pub caller: Life,
    /// For what.
    pub batch: Batch,
}

/// A message on its way.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize)]
pub struct Mail {
    /// Who wrote it.
    pub from: PeerId,
    /// Whom it is for. Nobody: the trader, whoever that is thought to be.
    pub to: Option<PeerId>,
    /// The writer's clock.
    pub clock: Time,
    /// What it says.
    pub body: Body,
}

/// What the adversary may still do. A step that takes from a budget cannot be repeated for ever, which keeps the graph
/// finite and shallow.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize)]
pub struct Budget {
    /// Tell any peer with an office to take it, at any moment (where there is no election).
    pub stands: u8,
    /// Tell any peer with an office to leave it, at any moment (where there is no election).
    pub yields: u8,
    /// Let an election timer fire, however early.
    pub alarms: u8,
    /// Let a peer lose its patience with the ledger, however early.
    pub impatience: u8,
    /// Let a trader's renewal timer fire.
    pub renewals: u8,
    /// Crash a peer.
    pub crashes: u8,
    /// Bring a crashed peer back.
    pub restarts: u8,
    /// Crash the ledger and bring it back.
    pub ledger_crashes: u8,
    /// Let a client's clock rise by itself.
    pub ticks: u8,
    /// Let a seller ask what was sold before it is told.
    pub asks: u8,
}

/// One step.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Action {
    /// The adversary makes this peer stand.
    Stand(PeerId),
    /// The adversary makes this peer yield.
    Yield(PeerId),
    /// A timer fires.
    Fire(PeerId, Timer),
    /// A choice is made.
    Pick(PeerId, u32),
    /// A client's clock rises by itself.
    Tick(PeerId),
    /// A peer asks the ledger what it wants to know and hears the answer.
    Consult(PeerId),
    /// A message arrives.
    Arrive(PeerId, Part<Mail>),
    /// The ledger takes a call.
    Take(Part<Call>),
    /// What the ledger has written becomes durable, and it answers.
    Sync,
    /// A verdict arrives.
    Answer(PeerId, Part<LedgerReply>),
    /// The lease runs out.
    LeaseRunsOut,
    /// A peer crashes.
    Crash(PeerId),
    /// A crashed peer comes back.
    Restart(PeerId),
    /// The ledger crashes and comes back; a batch that was not durable is kept or lost.
    CrashLedger {
        /// Whether it is kept.
        kept: bool,
    },
}

/// Waits. No schedule here depends on them: a timer may fire whenever the adversary likes.
const TIMEOUTS: Timeouts = {
    const SECOND: Duration = Duration::from_secs(1);
    Timeouts {
        first_call: SECOND,
        stagger: SECOND,
        answer: SECOND,
        victory: SECOND,
        suspicion: SECOND,
        renewal: SECOND,
        lease: SECOND,
        retry: SECOND,
        patience: SECOND,
        resend: SECOND,
    }
};
const WAITS: Waits = Waits {
    turn: TIMEOUTS.first_call,
    stagger: TIMEOUTS.stagger,
    answer: TIMEOUTS.answer,
    victory: TIMEOUTS.victory,
    suspicion: TIMEOUTS.suspicion,
};
const PACE: Pace = Pace {
    deposit_after: Duration::ZERO,
    trade_after: Duration::ZERO,
    think: Some(Duration::ZERO),
    clock_interval: Duration::ZERO,
};
/// Calls wait on their way here, so the ledger needs no room for them.
const LEDGER: LedgerConfig = LedgerConfig { lease: TIMEOUTS.lease, waiting: 0 };

/// On what occasion an office does something.
#[derive(Clone, Copy, Debug)]
struct Occasion {
    /// The term it holds, or has just left.
    epoch: Option<Epoch>,
    /// The request it is asked.
    asked: Option<RequestId>,
}

/// A step under way.
#[derive(Debug)]
pub struct Step<'a> {
    scenario: &'a Scenario,
    world: World,
    sightings: Sightings,
}

impl World {
    /// The first state of a scenario: everybody has started, has heard that there is a ledger, and knows no trader;
    /// buyers and sellers turn to whoever claims to be one.
    #[must_use]
    pub fn first(scenario: &Scenario) -> World {
        let (machine, _) = Ledger::recover(LEDGER, MemoryStore::default().tail());
        let peers = scenario.cast.iter().map(|role| {
            let plans = Plans { wishes: role.wishes, deposits: role.deposits };
            Part::new(Peer::Down { durable: Durable::default(), plans })
        });
        let world = World {
            peers: peers.collect(),
            ledger: Part::new(Archive { machine, store: MemoryStore::default() }),
            calls: Part::new(Bag::default()),
            replies: Part::new(Bag::default()),
            mail: Part::new(Bag::default()),
            decided: Part::new(Vec::new()),
            budget: scenario.budget,
            violation: None,
        };
        let mut step = Step { scenario, world, sightings: Sightings::default() };
        for peer in scenario.ids() {
            step.start(peer);
            if scenario.is_elected() {
                step.consult(peer);
            }
            if scenario.role(peer).eager {
                step.fire(peer, Timer::Buyer);
            }
        }
        step.finish().0
    }

    /// The peer, if it lives.
    #[must_use]
    pub fn live(&self, peer: PeerId) -> Option<&Live> {
        match &**self.peers.get(peer.0 as usize)? {
            Peer::Up(live) => Some(live),
            Peer::Down { .. } => None,
        }
    }

    /// The durable records.
    pub fn log(&self) -> impl Iterator<Item = &Record> {
        self.ledger.store.records()
    }

    /// What can happen next.
    pub fn actions(&self, scenario: &Scenario, actions: &mut Vec<Action>) {
        if self.violation.is_some() {
            return;
        }
        for peer in scenario.ids() {
            match self.live(peer) {
                Some(live) => self.actions_of(peer, live, scenario, actions),
                None if self.budget.restarts > 0 => actions.push(Action::Restart(peer)),
                None => {}
            }
        }
        for mail in self.mail.iter() {
            for peer in scenario.ids().filter(|peer| mail.to.is_none_or(|to| to == *peer)) {
                // A message for the trader means something to whoever is, and nothing to others.
                let is_for = |live: &Live| {
                    mail.to.is_some() || live.office.as_ref().is_some_and(|office| office.epoch().is_some())
                };
                if peer != mail.from && self.live(peer).is_some_and(is_for) {
                    actions.push(Action::Arrive(peer, mail.clone()));
                }
            }
        }
        if self.ledger.is_writing() {
            actions.push(Action::Sync);
        } else {
            actions.extend(self.calls.iter().cloned().map(Action::Take));
        }
        actions.extend(self.replies.iter().map(|reply| Action::Answer(reply.to.peer, reply.clone())));
        if self.budget.ledger_crashes > 0 {
            actions.push(Action::CrashLedger { kept: false });
            if self.ledger.is_writing() {
                actions.push(Action::CrashLedger { kept: true });
            }
        }
        let status = self.ledger.machine.status();
        let is_kept_out = |call: &Part<Call>| {
            call.batch.claimant().is_some()
                && call.batch.epoch == status.epoch().next()
                && call.batch.position == status.head
        };
        if self.ledger.machine.is_held() && self.calls.iter().any(is_kept_out) {
            actions.push(Action::LeaseRunsOut);
        }
    }

    fn actions_of(&self, peer: PeerId, live: &Live, scenario: &Scenario, actions: &mut Vec<Action>) {
        let Budget {
            stands,
            yields,
            alarms,
            impatience,
            renewals,
            crashes,
            restarts: _,
            ledger_crashes: _,
            ticks,
            asks,
        } = self.budget;
        let may_crash = scenario.role(peer).crashes;
        if let Some(office) = &live.office {
            let is_out = office.epoch().is_none() && !office.is_standing();
            if live.election.is_none() {
                if stands > 0 && is_out {
                    actions.push(Action::Stand(peer));
                }
                if yields > 0 && !is_out {
                    actions.push(Action::Yield(peer));
                }
            }
            if impatience > 0 && !is_out {
                actions.push(Action::Fire(peer, Timer::LedgerPatience));
            }
            if renewals > 0 && office.epoch().is_some() {
                actions.push(Action::Fire(peer, Timer::Renewal));
            }
        }
        if live.election.is_some() && alarms > 0 {
            actions.push(Action::Fire(peer, Timer::Election));
        }
        let rests = |buyer: &Buyer| live.choice.is_none() && buyer.asking().is_none();
        if live.plans.wishes > 0 && live.buyer.as_ref().is_some_and(rests) {
            actions.push(Action::Fire(peer, Timer::Buyer));
        }
        if asks > 0 && live.seller.is_some() {
            actions.push(Action::Fire(peer, Timer::Seller));
        }
        if ticks > 0 && live.buyer.is_some() {
            actions.push(Action::Tick(peer));
        }
        let may_choose = |(choice, _): &(Choice, u32)| *choice == Choice::Wish || live.plans.deposits > 0;
        if let Some((_, among)) = live.choice.filter(may_choose) {
            actions.extend((0..among).map(|pick| Action::Pick(peer, pick)));
        }
        // While the ledger writes it answers reads, and nothing else.
        let is_answered = |request: &LedgerRequest| match request {
            LedgerRequest::Read { .. } => true,
            LedgerRequest::Status | LedgerRequest::Append(_) => !self.ledger.is_writing(),
        };
        if live.question.as_ref().is_some_and(is_answered) {
            actions.push(Action::Consult(peer));
        }
        if crashes > 0 && may_crash {
            actions.push(Action::Crash(peer));
        }
    }

    /// The state after a step, and what was seen in it. Nothing when nothing has changed.
    #[must_use]
    pub fn after(&self, scenario: &Scenario, action: Action) -> (World, Sightings) {
        let mut step = Step { scenario, world: self.clone(), sightings: Sightings::default() };
        step.act(action);
        step.finish()
    }
}

impl Step<'_> {
    fn act(&mut self, action: Action) {
        let budget = &mut self.world.budget;
        match action {
            Action::Stand(peer) => {
                budget.stands -= 1;
                self.office(peer, OfficeInput::Stand);
            }
            Action::Yield(peer) => {
                budget.yields -= 1;
                self.office(peer, OfficeInput::Yield);
            }
            Action::Fire(peer, timer) => self.fire(peer, timer),
            Action::Pick(peer, pick) => self.pick(peer, pick),
            Action::Tick(peer) => {
                budget.ticks -= 1;
                self.live(peer, |live| {
                    live.clock.tick();
                });
            }
            Action::Consult(peer) => self.consult(peer),
            Action::Arrive(peer, mail) => self.arrive(peer, &mail),
            Action::Take(call) => self.take(&call),
            Action::Sync => self.sync(),
            Action::Answer(peer, reply) => self.answer(peer, &reply),
            Action::LeaseRunsOut => {
                self.ledger(|archive| archive.machine.step(LedgerInput::LeaseFired));
            }
            Action::Crash(peer) => {
                budget.crashes -= 1;
                self.crash(peer);
            }
            Action::Restart(peer) => {
                budget.restarts -= 1;
                self.sightings.note(Sighting::Restarted);
                self.start(peer);
            }
            Action::CrashLedger { kept } => {
                budget.ledger_crashes -= 1;
                self.crash_ledger(kept);
            }
        }
    }

    // Peers.

    fn start(&mut self, peer: PeerId) {
        let Peer::Down { durable, plans } = *self.world.peers[peer.0 as usize] else { return };
        let role = self.scenario.role(peer);
        let me = Life { peer, incarnation: durable.incarnation.next() };
        let clock = Clock::resume(peer, durable.clock_bound);
        self.check(invariant::a_clock_never_goes_back(durable.clock_bound, clock.now()));
        let first = role.sells.as_ref().and_then(|Offers(offers)| offers.first());
        let live = Live {
            me,
            clock,
            election: role.elects.then(|| Election::new(peer, self.scenario.cast.len() as u32)),
            office: role.trades.then(|| Office::new(me, durable.seen)),
            buyer: role.buys.as_ref().map(|_| Buyer::new(me)),
            seller: first.map(|first| Seller::new(me, *first)),
            question: None,
            choice: None,
            plans,
        };
        self.world.peers[peer.0 as usize] = Part::new(Peer::Up(Box::new(live)));
        if role.elects {
            self.election(peer, ElectionInput::Started { calls_first: false });
            self.office(peer, OfficeInput::Started);
        }
        self.buyer(peer, ClientInput::TraderKnown);
        self.seller(peer, ClientInput::TraderKnown);
        self.seller(peer, ClientInput::Fired(Timer::Seller));
    }

    fn crash(&mut self, peer: PeerId) {
        let Some(live) = self.world.live(peer) else { return };
        if live.office.as_ref().is_some_and(|office| office.epoch().is_some()) {
            self.sightings.note(Sighting::TraderCrashed);
        }
        // The furthest books seen may lag arbitrarily: nothing is kept of them.
        let durable =
            Durable { incarnation: live.me.incarnation, clock_bound: live.clock.bound(), seen: Seen::default() };
        let plans = live.plans;
        self.world.peers[peer.0 as usize] = Part::new(Peer::Down { durable, plans });
    }

    /// Changes a living peer.
    fn live<R: Default>(&mut self, peer: PeerId, how: impl FnOnce(&mut Live) -> R) -> R {
        let (result, before, after) = self.world.peers[peer.0 as usize].change(|peer| match peer {
            Peer::Up(live) => {
                let before = live.clock.now();
                let result = how(live);
                // Each step's clock is durable before what it says leaves: the tightest that writing ahead allows.
                live.clock.extend(live.clock.now());
                (result, before, live.clock.now())
            }
            Peer::Down { .. } => (R::default(), Time(0), Time(0)),
        });
        self.check(invariant::a_clock_never_goes_back(before, after));
        result
    }

    fn fire(&mut self, peer: PeerId, timer: Timer) {
        let budget = &mut self.world.budget;
        match timer {
            Timer::Election => {
                budget.alarms -= 1;
                self.election(peer, ElectionInput::Fired);
            }
            Timer::LedgerPatience => {
                budget.impatience -= 1;
                self.office(peer, OfficeInput::Fired(timer));
            }
            Timer::Renewal => {
                budget.renewals -= 1;
                self.office(peer, OfficeInput::Fired(timer));
            }
            Timer::Buyer => {
                self.live(peer, |live| live.plans.wishes -= 1);
                self.buyer(peer, ClientInput::Fired(timer));
            }
            Timer::Seller => {
                budget.asks -= 1;
                self.seller(peer, ClientInput::Fired(timer));
            }
            // Asking again adds nothing to the bag, and a multicast is not modelled.
            Timer::LedgerRetry | Timer::ClockInterval => {}
        }
    }

    fn pick(&mut self, peer: PeerId, pick: u32) {
        let choice = self.live(peer, |live| {
            let choice = live.choice.take().map(|(choice, _)| choice);
            if choice == Some(Choice::Offer) {
                live.plans.deposits -= 1;
            }
            choice
        });
        match choice {
            Some(Choice::Wish) => self.buyer(peer, ClientInput::Chose(pick)),
            Some(Choice::Offer) => self.seller(peer, ClientInput::Chose(pick)),
            None => {}
        }
    }

    fn arrive(&mut self, peer: PeerId, mail: &Mail) {
        let received = self.live(peer, |live| {
            if live.clock.now() <= mail.clock {
                live.clock.receive(mail.clock);
            }
            live.clock.now()
        });
        match &mail.body {
            Body::Election(message) => {
                if let ElectionMessage::Leader { epoch, .. }
                | ElectionMessage::Coordinator { epoch }
                | ElectionMessage::Resigned { epoch } = message
                {
                    self.office(peer, OfficeInput::Heard(Seen { epoch: *epoch, head: protocol::id::Position(0) }));
                }
                self.election(peer, ElectionInput::Received(mail.from, *message));
            }
            Body::Heartbeat { epoch, head } => {
                self.office(peer, OfficeInput::Heartbeat(Seen { epoch: *epoch, head: *head }));
                self.election(peer, ElectionInput::Heard { epoch: *epoch, leader: mail.from });
            }
            Body::Clock => {}
            Body::Client(message) => {
                self.check(invariant::a_receive_is_later_than_its_send(mail.clock, received));
                self.office(peer, OfficeInput::Client(mail.from, message.clone()));
            }
            Body::Trader(message) => {
                self.check(invariant::a_receive_is_later_than_its_send(mail.clock, received));
                match message.clone() {
                    TraderMessage::Buyer(standing) => self.buyer(peer, ClientInput::Told(standing)),
                    TraderMessage::Seller(standing) => self.seller(peer, ClientInput::Told(standing)),
                }
            }
        }
    }

    fn send(&mut self, from: PeerId, to: Option<PeerId>, clock: Time, body: Body) {
        if to.is_some_and(|to| self.scenario.role(to).deaf) {
            return;
        }
        self.world.mail.change(|mail| mail.add(Part::new(Mail { from, to, clock, body })));
    }

    // Machines.

    fn election(&mut self, peer: PeerId, input: ElectionInput) {
        let was_leading =
            self.world.live(peer).and_then(|live| live.election.as_ref()).is_some_and(Election::is_leading);
        let effects = self
            .live(peer, |live| live.election.as_mut().map(|election| election.step(&WAITS, input)).unwrap_or_default());
        for effect in effects {
            match effect {
                ElectionEffect::Tell(to, message) => self.tell(peer, to, message),
                ElectionEffect::TellAll(message) => {
                    for to in self.scenario.ids().filter(|to| *to != peer) {
                        self.tell(peer, to, message);
                    }
                }
                ElectionEffect::Stand => self.office(peer, OfficeInput::Stand),
                ElectionEffect::Yield => {
                    if was_leading {
                        self.sightings.note(Sighting::Deposed);
                    }
                    self.office(peer, OfficeInput::Yield);
                }
                ElectionEffect::Arm(_) | ElectionEffect::Event(_) => {}
            }
        }
    }

    fn tell(&mut self, from: PeerId, to: PeerId, message: ElectionMessage) {
        if let ElectionMessage::Coordinator { epoch } = message {
            self.check_speaker(from, epoch);
        }
        self.send(from, Some(to), Time(0), Body::Election(message));
    }

    fn office(&mut self, peer: PeerId, input: OfficeInput) {
        let terms = &self.scenario.terms;
        let asked = match &input {
            OfficeInput::Client(_, ClientMessage::Request(request)) => Some(request.id),
            OfficeInput::Client(_, ClientMessage::Deposit(_) | ClientMessage::AskSales { .. })
            | OfficeInput::Started
            | OfficeInput::Stand
            | OfficeInput::Yield
            | OfficeInput::LedgerUp
            | OfficeInput::LedgerDown
            | OfficeInput::Reply(_)
            | OfficeInput::Heard(_)
            | OfficeInput::Heartbeat(_)
            | OfficeInput::Fired(_) => None,
        };
        let books = |office: &Office| office.trader().map(|trader| trader.books().clone());
        let before = self.world.live(peer).and_then(|live| live.office.as_ref()?.epoch());
        let (effects, is_changed) = self.live(peer, |live| {
            let Live { office: Some(office), clock, .. } = live else { return (Vec::new(), false) };
            let before = books(office);
            let effects = office.step(&mut Surroundings { timeouts: &TIMEOUTS, terms, clock, isolated: false }, input);
            (effects, before.as_ref() != office.trader().map(protocol::trader::Trader::books))
        });
        // What a trader says as it resigns it still says for the term it resigns.
        let after = self.world.live(peer).and_then(|live| live.office.as_ref()?.epoch());
        let occasion = Occasion { epoch: after.or(before), asked };
        for effect in effects {
            self.on_office(peer, effect, occasion);
        }
        if is_changed {
            self.check_books(peer);
        }
    }

    fn on_office(&mut self, peer: PeerId, effect: OfficeEffect, occasion: Occasion) {
        match effect {
            OfficeEffect::Ask(LedgerRequest::Append(batch)) => {
                if let Some(caller) = self.world.live(peer).map(|live| live.me) {
                    self.world.calls.change(|calls| calls.add(Part::new(Call { caller, batch })));
                }
            }
            OfficeEffect::Ask(question @ (LedgerRequest::Read { .. } | LedgerRequest::Status)) => {
                self.live(peer, |live| live.question = Some(question));
            }
            OfficeEffect::Tell(to, message) => self.tell_client(peer, to, message, occasion),
            OfficeEffect::Heartbeat { epoch, head } => {
                self.sightings.note(Sighting::Heartbeat);
                self.check_speaker(peer, epoch);
                for to in self.scenario.ids().filter(|to| *to != peer) {
                    if self.scenario.role(to).elects {
                        self.send(peer, Some(to), Time(0), Body::Heartbeat { epoch, head });
                    }
                }
            }
            OfficeEffect::Granted(epoch) => {
                self.sightings.note(match epoch {
                    Epoch(0 | 1) => Sighting::TookOffice,
                    Epoch(2) => Sighting::SecondEpoch,
                    Epoch(3..) => Sighting::ThirdEpoch,
                });
                self.election(peer, ElectionInput::Granted(epoch));
            }
            OfficeEffect::Vacated { resigned } => {
                self.live(peer, |live| live.question = None);
                self.election(peer, ElectionInput::Vacated { resigned });
            }
            OfficeEffect::Eligibility(eligibility) => self.election(peer, ElectionInput::Eligibility(eligibility)),
            OfficeEffect::Arm(..) | OfficeEffect::Disarm(_) => {}
            OfficeEffect::Note(note) => self.see(&note),
        }
    }

    fn tell_client(&mut self, peer: PeerId, to: PeerId, message: TraderMessage, occasion: Occasion) {
        if let Some(epoch) = occasion.epoch {
            self.check_speaker(peer, epoch);
        }
        self.check(invariant::whatever_a_client_was_told_is_in_the_log(&message, to, self.world.log()));
        if let TraderMessage::Buyer(standing) = &message {
            let open = standing.open.iter().map(|request| request.id);
            let last = standing.last.iter().map(|(sequence, _)| RequestId { buyer: to, sequence: *sequence });
            let acknowledged: Vec<_> = open.chain(last).collect();
            if occasion.asked.is_some_and(|asked| acknowledged.contains(&asked)) {
                self.sightings.note(Sighting::FromTheBooks);
            }
            self.check(invariant::an_acknowledged_request_is_in_the_log(self.world.log(), acknowledged));
        }
        // The least that the trader's clock can be: what it says comes from its books. As it resigns they are closed.
        let clock = self.world.live(peer).map_or(Time(0), |live| {
            let trader = live.office.as_ref().and_then(Office::trader);
            trader.map_or(live.clock.now(), |trader| trader.books().latest())
        });
        self.send(peer, Some(to), clock, Body::Trader(message));
    }

    fn buyer(&mut self, peer: PeerId, input: ClientInput<BuyerStanding>) {
        let Some(wishes) = &self.scenario.role(peer).buys else { return };
        let effects = self.live(peer, |live| {
            let Live { buyer: Some(buyer), clock, .. } = live else { return Vec::new() };
            buyer.step(&mut BuyerSurroundings { wishes, pace: &PACE, timeouts: &TIMEOUTS, clock }, input)
        });
        for effect in effects {
            self.on_client(peer, effect);
        }
    }

    fn seller(&mut self, peer: PeerId, input: ClientInput<SellerStanding>) {
        let Some(offers) = &self.scenario.role(peer).sells else { return };
        let effects = self.live(peer, |live| {
            let Live { seller: Some(seller), clock, .. } = live else { return Vec::new() };
            seller.step(&mut SellerSurroundings { offers, pace: &PACE, timeouts: &TIMEOUTS, clock }, input)
        });
        for effect in effects {
            self.on_client(peer, effect);
        }
    }

    fn on_client(&mut self, peer: PeerId, effect: ClientEffect) {
        match effect {
            ClientEffect::Tell(message) => {
                let clock = match &message {
                    // Sent again it is the same message, with the same clock.
                    ClientMessage::Request(request) => request.stamp.time,
                    ClientMessage::Deposit(deposit) => deposit.stamp.time,
                    // Nothing that is stamped follows from a question.
                    ClientMessage::AskSales { .. } => Time(0),
                };
                if let ClientMessage::Deposit(deposit) = &message
                    && !self.world.decided.contains(deposit)
                {
                    self.world.decided.change(|decided| decided.push(deposit.clone()));
                }
                self.send(peer, None, clock, Body::Client(message));
            }
            ClientEffect::Choose(choice, among) => {
                self.live(peer, |live| live.choice = Some((choice, among)));
                if among == 1 && choice == Choice::Wish {
                    self.pick(peer, 0);
                }
            }
            ClientEffect::MulticastClock | ClientEffect::Arm(..) => {}
            ClientEffect::Note(note) => self.see(&note),
        }
    }

    // The ledger.

    fn ledger<R>(&mut self, how: impl FnOnce(&mut Archive) -> R) -> R {
        self.world.ledger.change(how)
    }

    fn consult(&mut self, peer: PeerId) {
        let asked = self.live(peer, |live| {
            let seen = live.office.as_ref().map(Office::seen).unwrap_or_default();
            live.question.take().map(|request| LedgerCall { caller: live.me, seen, request })
        });
        let Some(call) = asked else { return };
        let effects = self.ledger(|archive| archive.machine.step(LedgerInput::Call { id: CallId(0), call }));
        for effect in effects {
            let reply = match effect {
                LedgerEffect::Read { to, status, from, part, .. } => {
                    let Ok(answer) = self.world.ledger.store.read(from, part, status.head);
                    LedgerReply { to, status, answer }
                }
                LedgerEffect::Reply { reply, .. } => reply,
                LedgerEffect::Fail(fault) => {
                    self.fail(&format!("{fault:?}"));
                    continue;
                }
                LedgerEffect::Persist(_) | LedgerEffect::ArmLease(_) | LedgerEffect::Drop(_) => continue,
            };
            self.office(peer, OfficeInput::Reply(reply));
        }
    }

    fn take(&mut self, call: &Call) {
        let seen = self.world.live(call.caller.peer).and_then(|live| live.office.as_ref()).map(Office::seen);
        let call = LedgerCall {
            caller: call.caller,
            seen: seen.unwrap_or_default(),
            request: LedgerRequest::Append(call.batch.clone()),
        };
        let effects =
            self.ledger(|archive| archive.machine.step(LedgerInput::Call { id: CallId(0), call: call.clone() }));
        for effect in effects {
            match effect {
                LedgerEffect::Persist(batch) => {
                    let Ok(()) = self.ledger(|archive| archive.store.append(&batch));
                    if self.scenario.tampering.answers_before_sync {
                        let effects = self.ledger(|archive| archive.machine.step(LedgerInput::Persisted));
                        self.on_ledger(effects, Some(&call));
                    }
                }
                other @ (LedgerEffect::Reply { .. }
                | LedgerEffect::Read { .. }
                | LedgerEffect::ArmLease(_)
                | LedgerEffect::Drop(_)
                | LedgerEffect::Fail(_)) => {
                    self.see_resent(&call, &other);
                    self.on_ledger(vec![other], Some(&call));
                }
            }
        }
    }

    fn sync(&mut self) {
        let Ok(()) = self.ledger(|archive| archive.store.sync());
        self.on_durable();
        let effects = self.ledger(|archive| archive.machine.step(LedgerInput::Persisted));
        self.on_ledger(effects, None);
    }

    fn on_ledger(&mut self, effects: Vec<LedgerEffect>, call: Option<&LedgerCall>) {
        for effect in effects {
            match effect {
                LedgerEffect::Reply { reply, .. } => {
                    let reply = match (self.scenario.tampering.reply, call) {
                        (Some(tamper), Some(call)) => tamper(call, reply),
                        (Some(_) | None, _) => reply,
                    };
                    self.world.replies.change(|replies| replies.add(Part::new(reply)));
                }
                LedgerEffect::Fail(fault) => self.fail(&format!("{fault:?}")),
                LedgerEffect::Persist(_)
                | LedgerEffect::Read { .. }
                | LedgerEffect::ArmLease(_)
                | LedgerEffect::Drop(_) => {}
            }
        }
    }

    fn crash_ledger(&mut self, kept: bool) {
        let was_writing = self.world.ledger.is_writing();
        self.ledger(|archive| {
            archive.store.crash(usize::from(kept));
            (archive.machine, _) = Ledger::recover(LEDGER, archive.store.tail());
        });
        if was_writing {
            self.sightings.note(if kept { Sighting::KeptUnanswered } else { Sighting::LostUnsynced });
        }
        if kept {
            self.on_durable();
        }
    }

    fn answer(&mut self, peer: PeerId, reply: &LedgerReply) {
        if let LedgerAnswer::Append { echo, verdict } = &reply.answer {
            self.see_verdict(peer, *echo, *verdict);
        }
        self.office(peer, OfficeInput::Reply(reply.clone()));
    }

    // What is checked.

    fn check(&mut self, found: Result<(), Violation>) {
        if let Err(violation) = found {
            self.world.violation.get_or_insert_with(|| Part::new(violation));
        }
    }

    fn fail(&mut self, fault: &str) {
        let what = format!("the ledger finds that what it has shown is gone: {fault}");
        self.check(Err(Violation { property: Property::S3, position: None, what }));
    }

    /// The log has grown. It never shrinks and no record changes, so what holds here holds until it grows again.
    fn on_durable(&mut self) {
        let Terms { commission, resign_after, .. } = self.scenario.terms;
        let terms = AuditTerms { commission: Some(commission), resign_after: Some(resign_after) };
        let report = invariant::audit_batches(self.world.ledger.store.durable(), terms);
        let first = report.violations().next().cloned();
        self.check(first.map_or(Ok(()), Err));
        self.check(invariant::every_deposit_is_one_its_seller_decided(self.world.log(), &self.world.decided));
        let mut fold = Books::default();
        let folds = self.world.log().all(|record| fold.apply(record).is_ok());
        if folds {
            self.check(invariant::the_books_say_what_the_records_say(&fold, self.world.log()));
            self.check(invariant::the_accounts_add_up(&fold));
        }
        if fold.queue().len() > 0 {
            self.sightings.note(Sighting::Split);
        }
        self.see_durable();
    }

    /// What a trader serves from is checked whenever it changes.
    fn check_books(&mut self, peer: PeerId) {
        let office = self.world.live(peer).and_then(|live| live.office.as_ref());
        if let Some(trader) = office.and_then(Office::trader) {
            let found = invariant::the_books_equal_the_fold_of_the_log(trader.books(), self.world.log());
            self.check(found);
        }
    }

    fn check_speaker(&mut self, peer: PeerId, epoch: Epoch) {
        if let Some(me) = self.world.live(peer).map(|live| live.me) {
            self.check(invariant::an_epoch_is_spoken_for_by_its_holder(epoch, me, self.world.log()));
        }
    }

    // What is seen.

    fn see(&mut self, note: &Note) {
        let sighting = match note {
            Note::TookOffice { inherited } if *inherited > 0 => Sighting::Inherited,
            Note::SteppedDown { reason: Departure::Resigned } => Sighting::Resigned,
            Note::SteppedDown { reason: Departure::LedgerSilent } => Sighting::LedgerSilent,
            Note::Sold { .. } => Sighting::Sold,
            Note::Refused { .. } => Sighting::Refused,
            Note::SoldOut { .. } => Sighting::SoldOut,
            Note::ResumedRequest { .. } | Note::ResumedAccount { .. } | Note::Recalled { .. } => Sighting::Resumed,
            Note::Joined { .. }
            | Note::ElectionCalled
            | Note::AskedForAnyone
            | Note::TraderSuspected { .. }
            | Note::ElectionWon
            | Note::TookOffice { .. }
            | Note::Recognised { .. }
            | Note::SteppedDown { .. }
            | Note::Deposited { .. }
            | Note::Admitted { .. }
            | Note::Wanted { .. }
            | Note::Bought { .. }
            | Note::Unavailable { .. }
            | Note::Registered { .. }
            | Note::Earned { .. }
            | Note::LedgerHeard
            | Note::LedgerSilent
            | Note::ClockRefused { .. }
            | Note::BooksRefused { .. } => return,
        };
        self.sightings.note(sighting);
    }

    fn see_resent(&mut self, call: &LedgerCall, effect: &LedgerEffect) {
        let LedgerRequest::Append(batch) = &call.request else { return };
        let LedgerEffect::Reply { reply, .. } = effect else { return };
        let is_appended = matches!(reply.answer, LedgerAnswer::Append { verdict: Verdict::Appended { .. }, .. });
        if is_appended && !batch.records.is_empty() {
            self.sightings.note(Sighting::Resent);
        }
    }

    fn see_verdict(&mut self, peer: PeerId, echo: Echo, verdict: Verdict) {
        let Some(live) = self.world.live(peer) else { return };
        let Some(office) = &live.office else { return };
        if office.in_flight().is_none_or(|batch| echo != Echo::of(live.me, batch)) {
            return;
        }
        let is_claim = office.epoch().is_none();
        let sighting = match verdict {
            Verdict::Fenced if is_claim => Sighting::ClaimFenced,
            Verdict::Fenced => Sighting::TraderFenced,
            Verdict::Conflict if is_claim => Sighting::ClaimConflict,
            Verdict::Held => Sighting::ClaimHeld,
            Verdict::Appended { contested: true, .. } => Sighting::Contested,
            Verdict::Conflict | Verdict::Appended { .. } => return,
        };
        self.sightings.note(sighting);
    }

    fn see_durable(&mut self) {
        let Some(batch) = self.world.ledger.store.durable().last() else { return };
        let deposits_again = batch.records.iter().any(|record| match &record.entry {
            Entry::Deposited(deposit) => deposit.previous.is_some(),
            Entry::Claimed { .. } | Entry::Admitted(_) | Entry::Sold(_) | Entry::Refused { .. } | Entry::Resigned => {
                false
            }
        });
        let writer = batch.writer().and_then(|writer| self.world.live(writer)?.office.as_ref()?.in_flight().cloned());
        let is_late = batch.claimant().is_none() && writer.as_ref() != Some(batch);
        if deposits_again {
            self.sightings.note(Sighting::DepositedAgain);
        }
        if is_late {
            self.sightings.note(Sighting::LateAppend);
        }
    }

    // What is dropped.

    fn finish(mut self) -> (World, Sightings) {
        self.prune();
        (self.world, self.sightings)
    }

    /// Drops what nobody can take for anything any more.
    fn prune(&mut self) {
        let World { peers, ledger, calls, replies, .. } = &mut self.world;
        let office_of = |life: Life| match &**peers.get(life.peer.0 as usize)? {
            Peer::Up(live) if live.me == life => live.office.as_ref(),
            Peer::Up(_) | Peer::Down { .. } => None,
        };
        let status = ledger.machine.status();
        let fence = status.epoch();
        let is_ended = status.term.is_none_or(|term| term.ended);

        // An append stays while the ledger could still take it, whoever else has gone, and while its caller waits.
        // (A late copy of the last batch of all, for which nobody waits, could renew a lease and nothing more.)
        let may_be_taken = |call: &Call| {
            let in_turn = match call.batch.claimant() {
                Some(_) => call.batch.epoch > fence,
                None => call.batch.epoch == fence && !is_ended,
            };
            let is_waited_for = || office_of(call.caller).and_then(Office::in_flight) == Some(&call.batch);
            (in_turn && call.batch.position >= status.head) || is_waited_for()
        };
        if !calls.iter().all(|call| may_be_taken(call)) {
            calls.change(|calls| calls.retain(may_be_taken));
        }

        // A verdict stays while its caller lives and waits, or may yet wait, for one on the same place in the same epoch.
        let may_be_mistaken = |reply: &LedgerReply| {
            let LedgerAnswer::Append { echo, .. } = &reply.answer else { return false };
            let Some(office) = office_of(reply.to) else { return false };
            let of_now = match (office.trader(), office.in_flight()) {
                (Some(trader), _) => Some(echo.epoch) == office.epoch() && echo.position >= trader.books().position(),
                (None, Some(claim)) => echo.epoch == claim.epoch && echo.position == claim.position,
                (None, None) => false,
            };
            of_now || (echo.epoch > fence && echo.position >= status.head)
        };
        if !replies.iter().all(|reply| may_be_mistaken(reply)) {
            replies.change(|replies| replies.retain(may_be_mistaken));
        }
    }
}
