//! One state, and the steps that can be taken from it.
//!
//! # What is under way
//!
//! Where timing is free, messages, calls and replies are kept in bags that are only added to ([`Bag`]): each may arrive
//! once, often or never, in any order. So a lost or doubled message, a link that is cut and healed, one-way too, a
//! machine that pauses and comes back, and anything sent again, are in every graph without a step of their own. What
//! can no longer matter to anybody is dropped ([`canon`](super::canon)). Where timing is synchronous, what arrives is
//! taken out.
//!
//! # What is one step here and more in life
//!
//! - A read of the ledger and a question for its status change nothing there; asking and hearing is one step, but where
//!   [`Participants::slow_reads`] makes questions and answers take their time like everything else.
//! - A batch that the ledger is to write is written at once: a crash before that is the same as one that loses it.
//! - A call that comes while the ledger writes waits on its way, but where the ledger has room for it.
//! - A choice among one is made at once.
//! - Where timing is free, the lease runs out only when a claim is under way that it would keep out. Before that nobody
//!   could tell.
//! - Words carry readings of what is stamped, and no others
//!   ([`Readings::OfWhatIsStamped`](bazaar_protocol::participant::Readings)): a clock that rose by one at each copy of
//!   each message would never stop. That clocks may be further ahead than needed is what [`Budget::ticks`] is for.
//! - A clock multicast, which says nothing but a reading, is lost.

use std::{
    collections::BTreeMap,
    hash::{Hash, Hasher},
    sync::Arc,
    time::Duration,
};

use bazaar_protocol::{
    archive::Archive,
    clock::Time,
    config::Config,
    effect::Durable,
    election::Eligibility,
    id::{Epoch, Life, PeerId},
    input::{Choice, Timer},
    invariant::{Observer, Rules, Violation},
    ledger::{LedgerConfig, LedgerRequest},
    message::Body,
    office::Office,
    participant::Participant,
    record::Record,
    store::MemoryStore,
    store::Store,
};
use serde::{Deserialize, Serialize};

use super::{Participants, TIMEOUTS, step::Step};
use crate::{
    subject::Met,
    subject::{
        ledger::{LedgerNode, Reply},
        shared::{Bag, Shared},
    },
};

/// One state.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct World {
    /// The peers, in the order of their ids.
    pub peers: Vec<Shared<Peer>>,
    /// The ledger and its store.
    pub ledger: Shared<LedgerNode>,
    /// Who watches them.
    pub observer: Shared<Observer>,
    /// Calls on their way to the ledger.
    pub calls: Shared<Bag<Call>>,
    /// The ledger's answers on their way back.
    pub replies: Shared<Bag<Reply>>,
    /// Messages between peers on their way.
    pub mail: Shared<Bag<Mail>>,
    /// When the lease runs out, where that is known.
    pub lease: Option<Duration>,
    /// What the adversary may still do.
    pub budget: Budget,
    /// What was found to be wrong in the step that led here. Nothing follows.
    pub violation: Option<Shared<Violation>>,
}

/// A peer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Peer {
    /// How it is set up; the same in all states.
    pub config: Arc<Config>,
    /// Whether it lives.
    pub state: State,
}

impl Hash for Peer {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.state.hash(state);
    }
}

/// Whether a peer lives.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum State {
    /// It does.
    Up(Box<Live>),
    /// It has crashed. Nothing of it counts but what is durable.
    Down {
        /// What is durable.
        durable: Durable,
        /// What it may still think of when it is back.
        plans: Plans,
    },
}

/// A living peer: its participant, and what a driver keeps for it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Live {
    /// What decides.
    pub participant: Participant,
    /// What it wants to know of the ledger, a read or the status, where asking and hearing is one step.
    pub question: Option<LedgerRequest>,
    /// The choice it waits for, among so many.
    pub choice: Option<(Choice, u32)>,
    /// The timers that are armed, and for how much longer, where that matters.
    pub timers: BTreeMap<Timer, Duration>,
    /// What it may still think of.
    pub plans: Plans,
}

/// How much a client may still think of.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Plans {
    /// New requests.
    pub wishes: u8,
    /// New deposits after the first.
    pub deposits: u8,
}

/// A call on its way. It shows the ledger what its caller has seen by then.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Call {
    /// Who asks.
    pub caller: Life,
    /// For what.
    pub request: LedgerRequest,
}

/// A message on its way.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Mail {
    /// Who wrote it.
    pub from: PeerId,
    /// Whom it is for. Nobody: the trader, whoever that is thought to be.
    pub to: Option<PeerId>,
    /// The writer's clock; 0 where nothing that is stamped follows from it.
    pub clock: Time,
    /// What it says.
    pub body: Body,
}

/// What the adversary may do, and how often. A step that takes from a budget cannot be repeated for ever, which keeps
/// the graph finite and shallow.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Budget {
    /// Tell any peer with an office to take it, at any moment (where there is no election).
    pub stands: u8,
    /// Tell any peer with an office to leave it, at any moment (where there is no election).
    pub yields: u8,
    /// Let an election timer fire, however early.
    pub alarms: u8,
    /// Let a peer give up waiting for the ledger, however early.
    pub give_ups: u8,
    /// Let a trader's renewal timer fire.
    pub renewals: u8,
    /// Crash a peer.
    pub crashes: u8,
    /// Bring a crashed peer back.
    pub restarts: u8,
    /// Crash the ledger and bring it back.
    pub ledger_crashes: u8,
    /// Let the ledger's store take a snapshot of the books.
    pub snapshots: u8,
    /// Let a client's clock rise by itself.
    pub ticks: u8,
    /// Let a seller ask what was sold before it is told.
    pub asks: u8,
    /// Let a passing customer buy from a passing seller (where there are no other clients).
    pub sales: u8,
}

/// One step.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
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
    /// A passing customer buys something from a passing seller.
    Serve(PeerId),
    /// A peer asks the ledger what it wants to know and hears the answer.
    Consult(PeerId),
    /// A message arrives.
    Arrive(PeerId, Shared<Mail>),
    /// The ledger takes a call.
    Take(Shared<Call>),
    /// What the ledger has written becomes durable.
    Sync,
    /// The ledger learns that it has, and answers.
    Confirm,
    /// An answer of the ledger arrives.
    Answer(PeerId, Shared<Reply>),
    /// The lease runs out.
    LeaseRunsOut,
    /// The store takes a snapshot.
    Snapshot,
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

impl World {
    /// The first state of a scenario: everybody has started, has heard that there is a ledger, and knows no trader;
    /// buyers and sellers turn to whoever claims to be one.
    #[must_use]
    pub fn first(setup: &Participants) -> World {
        let mut store = MemoryStore::new(setup.limits);
        for batch in &setup.prologue {
            let Ok(()) = store.append(batch);
            let Ok(()) = store.sync();
        }
        let rules = Rules {
            terms: setup.terms,
            limits: setup.limits,
            is_synchronous: setup.is_synchronous(),
            only: setup.only,
        };
        let observed = Observer::over(rules, &setup.prologue);
        let violation = observed.as_ref().err().cloned().map(Shared::new);
        let mut archive = Archive::new(LedgerConfig { lease: TIMEOUTS.lease, limits: setup.limits }, store);
        archive.start();
        let durable = Durable { clock_bound: setup.start, ..Durable::default() };
        let peers = setup.ids().zip(&setup.cast).map(|(peer, role)| {
            let plans = Plans { wishes: role.wishes, deposits: role.deposits };
            Shared::new(Peer { config: Arc::new(setup.config(peer, role)), state: State::Down { durable, plans } })
        });
        let world = World {
            peers: peers.collect(),
            ledger: Shared::new(LedgerNode(archive)),
            observer: Shared::new(observed.unwrap_or_else(|_| Observer::new(rules))),
            calls: Shared::new(Bag::default()),
            replies: Shared::new(Bag::default()),
            mail: Shared::new(Bag::default()),
            lease: None,
            budget: setup.budget,
            violation,
        };
        let mut step = Step::on(setup, world);
        for peer in setup.ids() {
            step.start(peer);
            if setup.is_elected() {
                step.consult(peer);
            }
            if setup.role(peer).is_some_and(|role| role.eager) {
                step.fire(peer, Timer::Buyer);
            }
        }
        step.finish().0
    }

    /// The peer, if it lives.
    #[must_use]
    pub fn live(&self, setup: &Participants, peer: PeerId) -> Option<&Live> {
        setup.role(peer)?;
        self.peers[setup.place(peer)].live()
    }

    /// The peers that live, by id.
    pub fn lives(&self) -> impl Iterator<Item = &Live> + Clone {
        self.peers.iter().filter_map(|peer| peer.live())
    }

    /// The peers that live and think they are trader, and for which epoch.
    pub fn traders(&self) -> impl Iterator<Item = (PeerId, Epoch)> {
        self.lives().filter_map(|live| Some((live.id(), live.epoch()?)))
    }

    /// The durable records.
    pub fn log(&self) -> impl Iterator<Item = &Record> {
        self.ledger.store().records()
    }

    /// The state after a step, and what was met in it.
    #[must_use]
    pub fn after(&self, setup: &Participants, action: &Action) -> (World, Met) {
        let stepped = self.stepped(setup, action);
        let mut step = Step::on(setup, self.clone());
        step.act(action);
        let (world, landmarks) = step.finish();
        (world, Met { landmarks, stepped })
    }

    /// Whether everything that was said has arrived, and everybody waits for a timer.
    #[must_use]
    pub fn is_quiet(&self) -> bool {
        let is_done = |live: &Live| live.question.is_none() && live.choice.is_none();
        self.mail.is_empty()
            && self.calls.is_empty()
            && self.replies.is_empty()
            && !self.ledger.is_writing()
            && self.lives().all(is_done)
    }

    /// When the timer that is due first fires, if any is armed.
    #[must_use]
    pub fn next_instant(&self) -> Option<Duration> {
        self.lives().flat_map(|live| live.timers.values()).chain(&self.lease).min().copied()
    }

    /// What can happen next.
    pub fn actions(&self, setup: &Participants, actions: &mut Vec<Action>) {
        if self.violation.is_some() {
            return;
        }
        for peer in setup.ids() {
            match self.live(setup, peer) {
                Some(live) => self.actions_of(peer, live, setup, actions),
                None if self.budget.restarts > 0 => actions.push(Action::Restart(peer)),
                None => {}
            }
        }
        for mail in self.mail.iter() {
            let listeners = setup.ids().filter(|peer| self.is_heard_by(setup, mail, *peer));
            actions.extend(listeners.map(|peer| Action::Arrive(peer, mail.clone())));
        }
        if self.ledger.is_unsynced() {
            actions.push(Action::Sync);
        }
        if self.ledger.is_unanswered() {
            actions.push(Action::Confirm);
        }
        let taken = self.calls.iter().filter(|call| self.is_taken(setup, &call.request));
        actions.extend(taken.cloned().map(Action::Take));
        actions.extend(self.replies.iter().map(|reply| Action::Answer(reply.reply.to.peer, reply.clone())));
        if self.budget.ledger_crashes > 0 {
            actions.push(Action::CrashLedger { kept: false });
            if self.ledger.is_unsynced() {
                actions.push(Action::CrashLedger { kept: true });
            }
        }
        if self.budget.snapshots > 0 && !self.ledger.is_writing() {
            actions.push(Action::Snapshot);
        }
        self.lapses(setup, actions);
    }

    /// Whether a message means something to a peer: one for the trader does to whoever is, and nothing to others.
    pub(super) fn is_heard_by(&self, setup: &Participants, mail: &Mail, peer: PeerId) -> bool {
        peer != mail.from
            && mail.to.is_none_or(|to| to == peer)
            && self.live(setup, peer).is_some_and(|live| mail.to.is_some() || live.epoch().is_some())
    }

    /// Whether the ledger takes a call: while it writes it answers reads, and keeps for later what it has room for.
    pub(super) fn is_taken(&self, setup: &Participants, request: &LedgerRequest) -> bool {
        match request {
            LedgerRequest::Read { .. } => true,
            LedgerRequest::Status | LedgerRequest::Append(_) => {
                !self.ledger.is_writing() || setup.limits.waiting_calls > 0
            }
        }
    }

    /// Time passes.
    fn lapses(&self, setup: &Participants, actions: &mut Vec<Action>) {
        if setup.is_synchronous() {
            if self.is_quiet() {
                let next = self.next_instant();
                for live in self.lives() {
                    let due = live.timers.iter().filter(|(_, wait)| Some(**wait) == next);
                    actions.extend(due.map(|(timer, _)| Action::Fire(live.id(), *timer)));
                }
                if self.lease.is_some() && self.lease == next {
                    actions.push(Action::LeaseRunsOut);
                }
            }
            return;
        }
        let is_kept_out = |call: &Shared<Call>| match &call.request {
            LedgerRequest::Append(batch) => self.ledger.keeps_out(batch),
            LedgerRequest::Status | LedgerRequest::Read { .. } => false,
        };
        if self.calls.iter().any(is_kept_out) {
            actions.push(Action::LeaseRunsOut);
        }
    }

    fn actions_of(&self, peer: PeerId, live: &Live, setup: &Participants, actions: &mut Vec<Action>) {
        let Budget { stands, yields, crashes, ticks, sales, .. } = self.budget;
        if let Some(office) = live.participant.office() {
            let is_out = office.epoch().is_none() && !office.is_standing();
            if live.participant.election().is_none() {
                if stands > 0 && is_out {
                    actions.push(Action::Stand(peer));
                }
                if yields > 0 && !is_out {
                    actions.push(Action::Yield(peer));
                }
            }
            // Who passes by knows how it stands: nothing of it is under way.
            let is_idle = office.in_flight().is_none_or(|batch| batch.records.is_empty());
            if sales > 0 && is_idle && office.trader().is_some_and(|trader| trader.waiting() == 0) {
                actions.push(Action::Serve(peer));
            }
        }
        if !setup.is_synchronous() {
            let may_fire = live.timers.keys().filter(|timer| self.may_fire(live, **timer));
            actions.extend(may_fire.map(|timer| Action::Fire(peer, *timer)));
        }
        if ticks > 0 && live.participant.buyer().is_some() {
            actions.push(Action::Tick(peer));
        }
        let may_choose = |(choice, _): &(Choice, u32)| *choice == Choice::Wish || live.plans.deposits > 0;
        if let Some((_, among)) = live.choice.filter(may_choose) {
            actions.extend((0..among).map(|pick| Action::Pick(peer, pick)));
        }
        if live.question.as_ref().is_some_and(|request| self.is_taken(setup, request) && !self.is_put_off(request)) {
            actions.push(Action::Consult(peer));
        }
        if crashes > 0 && setup.role(peer).is_some_and(|role| role.crashes) {
            actions.push(Action::Crash(peer));
        }
    }

    /// Whether a question would wait in the ledger: then it is asked when it would be answered.
    fn is_put_off(&self, request: &LedgerRequest) -> bool {
        self.ledger.is_writing() && !matches!(request, LedgerRequest::Read { .. })
    }

    /// Whether a timer that is armed may fire, where any may at any moment: as often as its budget allows.
    fn may_fire(&self, live: &Live, timer: Timer) -> bool {
        let Budget { alarms, give_ups, renewals, asks, .. } = self.budget;
        match timer {
            Timer::Election => alarms > 0,
            Timer::LedgerGiveUp => give_ups > 0,
            Timer::Renewal => renewals > 0,
            Timer::Buyer => live.plans.wishes > 0 && live.may_want(),
            Timer::Seller => asks > 0,
            // Asking again adds nothing to the bags. It matters to a claim that was answered `LeaseActive`, which then
            // counts as not answered.
            Timer::LedgerRetry => live.participant.office().is_some_and(Office::met_lease),
            // A multicast is not modelled here.
            Timer::ClockInterval => false,
        }
    }
}

impl Peer {
    /// The peer, if it lives.
    #[must_use]
    pub fn live(&self) -> Option<&Live> {
        match &self.state {
            State::Up(live) => Some(live),
            State::Down { .. } => None,
        }
    }
}

impl Live {
    /// Who it is.
    #[must_use]
    pub fn id(&self) -> PeerId {
        self.participant.me().peer
    }

    /// The epoch for which it thinks it is trader.
    #[must_use]
    pub fn epoch(&self) -> Option<Epoch> {
        self.participant.epoch()
    }

    /// Whether it is eligible, as far as its election knows.
    #[must_use]
    pub fn is_eligible(&self) -> bool {
        self.participant.eligibility() == Eligibility::Eligible
    }

    /// Whether its buyer could think of something.
    #[must_use]
    pub fn may_want(&self) -> bool {
        self.choice.is_none() && self.participant.buyer().is_some_and(|buyer| buyer.asking().is_none())
    }
}
