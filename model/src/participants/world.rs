//! One state, and the steps that can be taken from it.
//!
//! # What is under way
//!
//! With free timing, messages, calls and replies are kept in bags that only grow ([`Bag`]): each may arrive once, often
//! or never, in any order. So a lost or duplicated message, a link that is cut (one way, too) and healed, a machine
//! that pauses and comes back, and anything sent again are part of every graph without a step of their own. What can no
//! longer matter to any machine is dropped ([`canon`](super::canon)). With synchronous timing, whatever arrives is
//! taken out of its bag.
//!
//! # What is one step here and several in a process
//!
//! - A read of the ledger and a question for its status change nothing there, so asking and hearing the answer is one
//!   step, except where [`Participants::slow_reads`] puts questions and answers under way like everything else.
//! - A batch that the ledger is to write is written at once: a crash before the write is the same as one that loses it.
//! - A call that comes while the ledger writes waits on its way, unless the ledger has room for it.
//! - A choice with only one alternative is made at once.
//! - With free timing, the lease runs out only when a claim is under way that it would keep out. Before that, no
//!   machine could tell the difference.
//! - Messages carry the clock readings of what is stamped, and no others
//!   ([`Readings::OfWhatIsStamped`](bazaar_protocol::participant::Readings)): a clock that rose by one at each copy of
//!   each message would never stop. [`Budget::ticks`] lets clocks be further ahead than needed.
//! - A clock multicast, which carries only a reading, is lost.

use std::{
    collections::BTreeMap,
    hash::{Hash, Hasher},
    sync::Arc,
    time::Duration,
};

use bazaar_protocol::{
    archive::Archive,
    clock::Time,
    cluster::Cluster,
    config::Config,
    effect::Durable,
    election::Eligibility,
    id::{Epoch, Life, PeerId},
    input::{Choice, Timer},
    invariant::{Observer, Rules, Violation},
    ledger::{LedgerConfig, LedgerRequest, Secret},
    message::Body,
    office::Office,
    participant::Participant,
    record::Record,
    store::MemoryStore,
    store::Store,
};
use serde::{Deserialize, Serialize};

use super::{Participants, TIMEOUTS, several::ProcessAction, step::Step};
use crate::{
    subject::Met,
    subject::{
        ledger::{LedgerNode, Ledgers, Reply},
        shared::{Bag, Shared},
    },
};

/// One state of the peers, the ledger and everything under way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct World {
    /// The peers, in the order of their ids.
    pub peers: Vec<Shared<Peer>>,
    /// The ledger and its store, or several ledgers and theirs.
    pub ledger: Ledgers,
    /// The observer, which checks the properties.
    pub observer: Shared<Observer>,
    /// Calls under way to the ledger.
    pub calls: Shared<Bag<Call>>,
    /// The ledger's answers under way to their callers.
    pub replies: Shared<Bag<Reply>>,
    /// Messages under way between peers.
    pub mail: Shared<Bag<Mail>>,
    /// How much longer the lease runs, where that matters: at each ledger.
    pub leases: Vec<Option<Duration>>,
    /// What the adversary may still do.
    pub budget: Budget,
    /// What was found wrong in the step that led here. No step follows.
    pub violation: Option<Shared<Violation>>,
}

/// A peer, alive or crashed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Peer {
    /// Its configuration; the same in all states.
    pub config: Arc<Config>,
    /// Its participant, or what is left of it.
    pub state: State,
}

impl Hash for Peer {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.state.hash(state);
    }
}

/// Whether a peer is alive, and what there is of it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum State {
    /// It is alive.
    Up(Box<Live>),
    /// It has crashed. Only what is durable is left of it.
    Down {
        /// What it will start from.
        durable: Durable,
        /// What it may still ask for and deposit when it is back.
        plans: Plans,
    },
}

/// A living peer: its participant, and what a driver keeps for it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Live {
    /// The machine that decides everything.
    pub participant: Participant,
    /// The read or the status that it asks the ledger for, where asking and hearing the answer is one step.
    pub question: Option<LedgerRequest>,
    /// The choice it waits for, and the number of alternatives.
    pub choice: Option<(Choice, u32)>,
    /// The timers that are armed, and how much longer they run, where that matters.
    pub timers: BTreeMap<Timer, Duration>,
    /// What it may still ask for and deposit.
    pub plans: Plans,
}

/// How many requests and deposits a client may still make.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Plans {
    /// The number of new requests.
    pub wishes: u8,
    /// The number of new deposits after the first.
    pub deposits: u8,
}

/// A call under way to the ledger. When it arrives, it shows the ledger what its caller has seen by then.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Call {
    /// The life that calls.
    pub caller: Life,
    /// What it asks for.
    pub request: LedgerRequest,
}

impl Call {
    /// Whether it asks for records.
    #[must_use]
    pub fn is_read(&self) -> bool {
        matches!(self.request, LedgerRequest::Read { .. })
    }
}

/// A message under way.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Mail {
    /// The peer that wrote it.
    pub from: PeerId,
    /// The addressee; `None` for any peer that believes it is trader.
    pub to: Option<PeerId>,
    /// The writer's clock; 0 where nothing that is stamped follows from it.
    pub clock: Time,
    /// The content of the message.
    pub body: Body,
}

/// How often the adversary may do what. A step that takes from a budget cannot be repeated for ever, which keeps the
/// graph finite and shallow.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Budget {
    /// Make any peer that can hold the office stand for it, at any moment (where there is no election).
    pub stands: u8,
    /// Make any peer in office, or standing for it, leave, at any moment (where there is no election).
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
    /// Let a client's clock rise spontaneously.
    pub ticks: u8,
    /// Let a seller ask what was sold before it is told.
    pub asks: u8,
    /// Let a passing customer buy from a passing seller (where there are no other clients).
    pub sales: u8,
    /// Let somebody want a trader to resign.
    pub dismissals: u8,
    /// Let a member with a bug name an epoch that nobody was granted.
    pub lies: u8,
    /// Of several ledgers, let one not hear what has become of its append.
    pub unknowns: u8,
    /// Of several ledgers, let the store decline an append of one because it is full.
    pub declines: u8,
    /// Of several ledgers, let one begin to put a snapshot in place of records.
    pub compactions: u8,
    /// Of several ledgers, let one no longer see what the others do, until it does again.
    pub blinds: u8,
    /// Of several ledgers, let any take a call; `None`: as often as they like.
    pub takes: Option<u8>,
    /// Let the store of several ledgers lose everything.
    pub wipes: u8,
    /// Put the store of several ledgers back to what it was before its last batch.
    pub old_images: u8,
}

/// One step of a machine or of the adversary.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Action {
    /// Somebody wants this trader to resign.
    Resign(PeerId),
    /// The adversary makes this peer stand for office.
    Stand(PeerId),
    /// The adversary makes this peer leave the office, or give up standing for it.
    Yield(PeerId),
    /// An armed timer of this peer fires.
    Fire(PeerId, Timer),
    /// This peer's choice is made: the number of the alternative.
    Pick(PeerId, u32),
    /// A client's clock rises spontaneously.
    Tick(PeerId),
    /// A passing customer buys something from a passing seller.
    Serve(PeerId),
    /// A member with a bug tells this peer that the first of the others leads, in an epoch far above every real one.
    Lie(PeerId),
    /// A peer asks the ledger its question and hears the answer.
    Consult(PeerId),
    /// A message arrives at this peer.
    Arrive(PeerId, Shared<Mail>),
    /// Something happens at one of several ledgers, counted from 0.
    At(usize, ProcessAction),
    /// An append of which nobody waits to hear is carried out, if it still can be.
    Stray(usize),
    /// The store of several ledgers loses everything.
    Wipe,
    /// The store of several ledgers is put back to an old image of itself, without its last batch.
    PutBack,
    /// A call arrives at the ledger.
    Take(Shared<Call>),
    /// What the ledger has written becomes durable.
    Sync,
    /// The ledger learns that its write is durable, and answers.
    Confirm,
    /// An answer of the ledger arrives at this peer.
    Answer(PeerId, Shared<Reply>),
    /// The lease runs out.
    LeaseRunsOut,
    /// The ledger's store takes a snapshot of the books.
    Snapshot,
    /// A peer crashes.
    Crash(PeerId),
    /// A crashed peer comes back.
    Restart(PeerId),
    /// The ledger crashes and comes back; a batch that was not durable survives or is lost.
    CrashLedger {
        /// Whether that batch survives.
        kept: bool,
    },
}

impl World {
    /// The first state of a scenario: every peer has started, has heard from the ledger, and knows no trader; buyers
    /// and sellers address any peer that claims to be the trader.
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
            follows_causes: true,
            only: setup.only,
        };
        let observed = Observer::over(rules, &setup.prologue);
        let violation = observed.as_ref().err().cloned().map(Shared::new);
        let config = LedgerConfig { lease: TIMEOUTS.lease, limits: setup.limits, secret: Secret::default() };
        let ledger = if setup.ledgers == 1 {
            let mut archive = Archive::new(config, store);
            archive.start();
            Ledgers::One(Shared::new(LedgerNode(archive)))
        } else {
            Ledgers::Several(Shared::new(Cluster::new(config, store, setup.ledgers)))
        };
        let peers = setup.ids().zip(&setup.cast).map(|(peer, role)| {
            let durable = Durable { clock_bound: Time(setup.start.0 + role.ahead), ..Durable::default() };
            let plans = Plans { wishes: role.wishes, deposits: role.deposits };
            Shared::new(Peer { config: Arc::new(setup.config(peer, role)), state: State::Down { durable, plans } })
        });
        let world = World {
            peers: peers.collect(),
            ledger,
            observer: Shared::new(observed.unwrap_or_else(|_| Observer::new(rules))),
            calls: Shared::new(Bag::default()),
            replies: Shared::new(Bag::default()),
            mail: Shared::new(Bag::default()),
            leases: vec![None; setup.ledgers],
            budget: setup.budget,
            violation,
        };
        let mut step = Step::on(setup, world);
        step.start_processes();
        for peer in setup.ids() {
            step.start(peer);
            if setup.is_elected() {
                step.consult(peer);
            }
            step.tell_of_seat(peer);
            if setup.role(peer).is_some_and(|role| role.eager) {
                step.fire(peer, Timer::Buyer);
            }
        }
        step.finish().0
    }

    /// The peer, if it is alive.
    #[must_use]
    pub fn live(&self, setup: &Participants, peer: PeerId) -> Option<&Live> {
        setup.role(peer)?;
        self.peers[setup.place(peer)].live()
    }

    /// The peers that are alive, by id.
    pub fn lives(&self) -> impl Iterator<Item = &Live> + Clone {
        self.peers.iter().filter_map(|peer| peer.live())
    }

    /// The peers that are alive and believe they are trader, each with its epoch.
    pub fn traders(&self) -> impl Iterator<Item = (PeerId, Epoch)> {
        self.lives().filter_map(|live| Some((live.id(), live.epoch()?)))
    }

    /// The durable records, in order.
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

    /// Whether nothing is under way and all machines wait for a timer.
    #[must_use]
    pub fn is_quiet(&self) -> bool {
        let is_done = |live: &Live| live.question.is_none() && live.choice.is_none();
        self.mail.is_empty()
            && self.calls.is_empty()
            && self.replies.is_empty()
            && !self.ledger.is_writing()
            && self.are_processes_quiet()
            && self.lives().all(is_done)
    }

    /// How long until the first timer is due, if one is armed.
    #[must_use]
    pub fn next_instant(&self) -> Option<Duration> {
        self.lives().flat_map(|live| live.timers.values()).chain(self.leases.iter().flatten()).min().copied()
    }

    /// Adds the steps that can be taken next.
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
        match &self.ledger {
            Ledgers::One(ledger) => self.actions_of_ledger(ledger, setup, actions),
            Ledgers::Several(cluster) => self.actions_of_processes(cluster, setup, actions),
        }
        actions.extend(self.replies.iter().map(|reply| Action::Answer(reply.reply.word.to.peer, reply.clone())));
        self.lapses(setup, actions);
    }

    fn actions_of_ledger(&self, ledger: &LedgerNode, setup: &Participants, actions: &mut Vec<Action>) {
        if ledger.is_unsynced() {
            actions.push(Action::Sync);
        }
        if ledger.is_unanswered() {
            actions.push(Action::Confirm);
        }
        let taken = self.calls.iter().filter(|call| self.is_taken(setup, &call.request));
        actions.extend(taken.cloned().map(Action::Take));
        if self.budget.ledger_crashes > 0 {
            actions.push(Action::CrashLedger { kept: false });
            if ledger.is_unsynced() {
                actions.push(Action::CrashLedger { kept: true });
            }
        }
        if self.budget.snapshots > 0 && !ledger.is_writing() {
            actions.push(Action::Snapshot);
        }
    }

    /// Whether some trader holds a request back until buyers were heard past it.
    fn is_held(&self) -> bool {
        self.lives().filter_map(|live| live.participant.office()?.trader()).any(|trader| trader.waits().is_some())
    }

    /// Whether a peer takes note of a message: one for the trader is for any peer that believes it is trader.
    pub(super) fn is_heard_by(&self, setup: &Participants, mail: &Mail, peer: PeerId) -> bool {
        peer != mail.from
            && mail.to.is_none_or(|to| to == peer)
            && self.live(setup, peer).is_some_and(|live| mail.to.is_some() || live.epoch().is_some())
    }

    /// Whether the ledger accepts a call now. While it writes, it answers reads, and keeps other calls if it has room.
    pub(super) fn is_taken(&self, setup: &Participants, request: &LedgerRequest) -> bool {
        match request {
            LedgerRequest::Read { .. } => true,
            LedgerRequest::Status | LedgerRequest::Append(_) => {
                !self.ledger.is_writing() || setup.limits.waiting_calls > 0
            }
        }
    }

    /// Adds the steps that come with the passing of time: timers that are due, and the end of the lease.
    fn lapses(&self, setup: &Participants, actions: &mut Vec<Action>) {
        if setup.is_synchronous() {
            if self.is_quiet() {
                let next = self.next_instant();
                for live in self.lives() {
                    let due = live.timers.iter().filter(|(_, wait)| Some(**wait) == next);
                    actions.extend(due.map(|(timer, _)| Action::Fire(live.id(), *timer)));
                }
                if self.ledger.one().is_some() && next.is_some() && self.leases.contains(&next) {
                    actions.push(Action::LeaseRunsOut);
                }
            }
            return;
        }
        let stands_in_vain = |caller: Life| setup.role(caller.peer).is_some_and(|role| role.stands_in_vain);
        let Some(ledger) = self.ledger.one() else { return };
        let is_kept_out = |call: &Shared<Call>| match &call.request {
            LedgerRequest::Append(batch) => ledger.keeps_out(batch) && !stands_in_vain(call.caller),
            LedgerRequest::Status | LedgerRequest::Read { .. } => false,
        };
        if self.calls.iter().any(is_kept_out) {
            actions.push(Action::LeaseRunsOut);
        }
    }

    /// Who has a bug and tells this peer that it leads, and in which epoch: far above every real one.
    pub(super) fn lie(&self, setup: &Participants, to: PeerId) -> (PeerId, Epoch) {
        let liar = setup.ids().find(|peer| *peer != to).unwrap_or(to);
        (liar, Epoch(self.ledger.status().epoch().0 + 5))
    }

    fn actions_of(&self, peer: PeerId, live: &Live, setup: &Participants, actions: &mut Vec<Action>) {
        let Budget { stands, yields, crashes, ticks, sales, dismissals, lies, .. } = self.budget;
        if lies > 0 && live.participant.election().is_some() {
            actions.push(Action::Lie(peer));
        }
        if let Some(office) = live.participant.office() {
            let is_out = office.epoch().is_none() && !office.is_standing();
            if dismissals > 0 && office.epoch().is_some() {
                actions.push(Action::Resign(peer));
            }
            if live.participant.election().is_none() {
                let in_vain = setup.role(peer).is_some_and(|role| role.stands_in_vain);
                if stands > 0 && is_out && (!in_vain || self.is_held()) {
                    actions.push(Action::Stand(peer));
                }
                if yields > 0 && !is_out {
                    actions.push(Action::Yield(peer));
                }
            }
            // A passing customer knows the state of the books: nothing is under way that could change them.
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
        let is_asked = |request| self.is_taken(setup, request) && !self.is_put_off(request);
        if self.ledger.one().is_some() && live.question.as_ref().is_some_and(is_asked) {
            actions.push(Action::Consult(peer));
        }
        if crashes > 0 && setup.role(peer).is_some_and(|role| role.crashes) {
            actions.push(Action::Crash(peer));
        }
    }

    /// Whether a question would have to wait in the ledger; then it is asked only when it would be answered.
    fn is_put_off(&self, request: &LedgerRequest) -> bool {
        self.ledger.is_writing() && !matches!(request, LedgerRequest::Read { .. })
    }

    /// Whether an armed timer may fire, with free timing: as often as its budget allows.
    fn may_fire(&self, live: &Live, timer: Timer) -> bool {
        let Budget { alarms, give_ups, renewals, asks, .. } = self.budget;
        match timer {
            Timer::Election => alarms > 0,
            Timer::LedgerGiveUp => give_ups > 0,
            Timer::Renewal | Timer::Wave => renewals > 0,
            Timer::Buyer => live.plans.wishes > 0 && live.may_want(),
            Timer::Seller => asks > 0,
            // Asking again adds nothing to the bags. It matters only to a claim that was answered `LeaseActive`, which
            // then counts as unanswered.
            Timer::LedgerRetry => live.participant.office().is_some_and(Office::met_lease),
            // How multicasts and promises travel is not modelled here.
            Timer::Gather | Timer::ClockInterval => false,
        }
    }
}

impl Peer {
    /// The peer, if it is alive.
    #[must_use]
    pub fn live(&self) -> Option<&Live> {
        match &self.state {
            State::Up(live) => Some(live),
            State::Down { .. } => None,
        }
    }
}

impl Live {
    /// Its id.
    #[must_use]
    pub fn id(&self) -> PeerId {
        self.participant.me().peer
    }

    /// The epoch for which it believes it is trader.
    #[must_use]
    pub fn epoch(&self) -> Option<Epoch> {
        self.participant.epoch()
    }

    /// Whether it is eligible, as far as its election knows.
    #[must_use]
    pub fn is_eligible(&self) -> bool {
        self.participant.eligibility() == Eligibility::Eligible
    }

    /// Whether its buyer could make a new request.
    #[must_use]
    pub fn may_want(&self) -> bool {
        let is_idle = |buyer: &bazaar_protocol::buyer::Buyer| buyer.asking().is_none() && !buyer.is_joining();
        self.choice.is_none() && self.participant.buyer().is_some_and(is_idle)
    }
}
