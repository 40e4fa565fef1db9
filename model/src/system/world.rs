//! One state, and the steps that can be taken from it.
//!
//! # What is under way
//!
//! Between neighbours, and between each peer and the ledger, there is a connection with a queue in either direction
//! ([`Channel`]): what is sent arrives once and in order, as over TCP. Faults are steps of their own, each with a
//! budget: the head of a queue is lost, is duplicated, or falls behind the next message; a connection is cut in one
//! direction or both, which drops what is under way there and everything sent into it until it is healed. A peer learns
//! of a cut by a notice, which may come at any later moment or never ([`Action::Notice`]). What is sent to a dead peer
//! is lost; what a peer has sent arrives even if the peer has died.
//!
//! # Disks
//!
//! A peer's write is asked for, becomes durable, and is confirmed: three steps
//! ([`Disk::InSteps`](super::Disk::InSteps)), or one where a scenario is not about disks. A crash loses what is not
//! durable. The ledger writes when it takes an append, since a crash before the write is the same as one that loses
//! what is written. Its becoming durable, and the ledger's learning so and answering, are separate steps.
//!
//! While the ledger is down, an old image of it with fewer batches may be put back. The ledger must stop as soon as a
//! peer calls that has seen more. If no caller has seen more, it may grant an append, and nobody could know better: the
//! history ends there.
//!
//! # Time
//!
//! An armed timer may fire at any moment, as often as its budget allows; one that is armed for no time at all needs no
//! budget, and [`Plans`] bounds what it brings about. The lease runs out only when a claim is under way that it would
//! keep out: before that, no machine could tell the difference.

use std::{
    collections::{BTreeMap, VecDeque},
    hash::{Hash, Hasher},
    time::Duration,
};

use bazaar_protocol::{
    archive::Archive,
    effect::Durable,
    id::{Epoch, PeerId},
    input::{Choice, Timer, WriteId},
    invariant::{Observer, Rules, Violation},
    ledger::{Ledger, LedgerCall, LedgerRequest},
    message::{Envelope, Route},
    participant::Participant,
    peer::Peer,
    record::Record,
    store::MemoryStore,
};
use serde::{Deserialize, Serialize};

use super::{Opening, System, step::Step};
use crate::{
    participants::world::Plans,
    subject::Met,
    subject::{
        ledger::{LedgerNode, Reply},
        shared::{Shared, digest},
    },
};

/// One state of the peers, the ledger and everything under way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct World {
    /// The peers, by id.
    pub nodes: Vec<Shared<Node>>,
    /// The ledger and its store.
    pub ledger: Shared<LedgerNode>,
    /// What is under way, in the order of [`System::ways`].
    pub channels: Vec<Shared<Channel>>,
    /// How much longer the lease runs, where that matters.
    pub lease: Option<Duration>,
    /// What the adversary may still do.
    pub budget: Budget,
    /// The observer, which checks the properties.
    pub observer: Observer,
    /// What was found wrong in the step that led here. No step follows.
    pub violation: Option<Shared<Violation>>,
}

impl Hash for World {
    fn hash<H: Hasher>(&self, state: &mut H) {
        let World { nodes, ledger, channels, lease, budget, observer, violation } = self;
        // Where an old image may be put back, an old batch may become the last one again.
        let old = (budget.put_backs > 0).then(|| ledger.store().written());
        state.write_u64(digest(&(nodes, ledger, channels, lease, budget, observer, violation, old)));
    }
}

/// A peer with its driver, or what is left of them.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Node {
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

/// A peer that is alive, and its driver.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Live {
    /// The peer's machine.
    pub peer: Peer,
    /// What is durable on its disk.
    pub durable: Durable,
    /// The writes that are not durable yet.
    pub writes: VecDeque<(WriteId, Durable)>,
    /// The last write that is durable and not confirmed.
    pub synced: Option<WriteId>,
    /// The timers that are armed, and how much longer they run, where that matters. A timer with no time left is due.
    pub timers: BTreeMap<Timer, Duration>,
    /// The choices it waits for, each with the number of alternatives.
    pub choices: BTreeMap<Choice, u32>,
    /// Whether its last notice said that the ledger can be reached.
    pub hears_ledger: bool,
    /// What it may still ask for and deposit.
    pub plans: Plans,
}

/// One end of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Place {
    /// A peer.
    Peer(PeerId),
    /// The ledger.
    Ledger,
}

/// One direction of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Way {
    /// The sending end.
    pub from: Place,
    /// The receiving end.
    pub to: Place,
}

impl Way {
    /// The other direction.
    #[must_use]
    pub fn back(self) -> Way {
        Way { from: self.to, to: self.from }
    }

    /// From a peer to a neighbour.
    #[must_use]
    pub fn between(from: PeerId, to: PeerId) -> Way {
        Way { from: Place::Peer(from), to: Place::Peer(to) }
    }

    /// From a peer to the ledger.
    #[must_use]
    pub fn to_ledger(from: PeerId) -> Way {
        Way { from: Place::Peer(from), to: Place::Ledger }
    }
}

/// What is under way in one direction.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Channel {
    /// Whether nothing gets through.
    pub is_cut: bool,
    /// What was sent and has not arrived yet, oldest first.
    pub queue: VecDeque<Shared<Parcel>>,
}

/// One thing that is under way.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Parcel {
    /// From neighbour to neighbour.
    Envelope(Envelope),
    /// To the ledger.
    Call(LedgerCall),
    /// From the ledger.
    Reply(Reply),
}

/// How often the adversary may do what.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Budget {
    /// Let an election timer fire, however early.
    pub alarms: u8,
    /// Let a peer ask the ledger again.
    pub retries: u8,
    /// Let a peer give up waiting for the ledger, however early.
    pub give_ups: u8,
    /// Let a trader's renewal timer fire.
    pub renewals: u8,
    /// Let a buyer or seller ask again.
    pub resends: u8,
    /// Let a clock interval end.
    pub ticks: u8,
    /// Crash a peer.
    pub crashes: u8,
    /// Bring a crashed peer back.
    pub restarts: u8,
    /// Crash the ledger and bring it back.
    pub ledger_crashes: u8,
    /// Put an old image of the ledger back.
    pub put_backs: u8,
    /// Let the ledger's store take a snapshot of the books.
    pub snapshots: u8,
    /// Cut a connection, in one direction or both. Healing it is free.
    pub cuts: u8,
    /// Lose the next message of a queue.
    pub losses: u8,
    /// Double the next message of a queue.
    pub doubles: u8,
    /// Let the next message of a queue fall behind the one after it.
    pub swaps: u8,
    /// Let the ledger tell a peer its state unasked.
    pub reports: u8,
}

/// One step of a machine or of the adversary.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Action {
    /// The next message on this way arrives.
    Arrive(Way),
    /// The next message on this way is lost.
    Lose(Way),
    /// The next message on this way is duplicated.
    Double(Way),
    /// The next message on this way falls behind the one after it.
    Swap(Way),
    /// A connection is cut.
    Cut {
        /// The direction in which nothing gets through.
        way: Way,
        /// Whether nothing gets through in the other direction either.
        both: bool,
    },
    /// The connection of this way works again.
    Heal(Way),
    /// A peer learns that its connection to a neighbour or to the ledger works, or no longer works.
    Notice(PeerId, Place),
    /// The ledger answers a peer's next question (a read or the status), and the peer hears the answer.
    Consult(PeerId),
    /// The ledger tells a peer its state, as with every sign of life on their connection.
    Report(PeerId),
    /// What the ledger has written becomes durable.
    Sync,
    /// The ledger learns that its write is durable, and answers.
    Answer,
    /// The ledger's store answers the waiting read with this index.
    Read(usize),
    /// The ledger's store takes a snapshot of the books.
    Snapshot,
    /// The lease runs out.
    LeaseRunsOut,
    /// The ledger crashes and comes back; a batch that was not durable is lost. That a batch survives unanswered is the
    /// crash after [`Action::Sync`].
    CrashLedger,
    /// The ledger crashes and comes back with an old image of itself.
    PutBack {
        /// How many of the durable batches the image holds.
        batches: usize,
    },
    /// A peer's oldest write becomes durable.
    Persist(PeerId),
    /// A peer learns that its writes are durable.
    Confirm(PeerId),
    /// An armed timer of this peer fires.
    Fire(PeerId, Timer),
    /// This peer's choice is made: the number of the alternative.
    Pick(PeerId, Choice, u32),
    /// A peer crashes.
    Crash(PeerId),
    /// A crashed peer comes back.
    Restart(PeerId),
}

impl World {
    /// The state in which a scenario begins.
    #[must_use]
    pub fn first(setup: &System) -> World {
        let mut archive = Archive::new(setup.ledger(), MemoryStore::default());
        // It has no lease to arm yet.
        archive.start();
        let durable = Durable { clock_bound: setup.start, ..Durable::default() };
        let down = |plans| Shared::new(Node::Down { durable, plans });
        let world = World {
            nodes: setup.cast.iter().map(|member| down(member.plans)).collect(),
            ledger: Shared::new(LedgerNode(archive)),
            channels: setup.ways().map(|_| Shared::new(Channel::default())).collect(),
            lease: None,
            budget: Budget::default(),
            observer: Observer::new(Rules {
                terms: setup.terms,
                limits: setup.limits,
                is_synchronous: false,
                follows_causes: true,
                only: setup.only,
            }),
            violation: None,
        };
        let mut step = Step::on(setup, world);
        for peer in setup.ids() {
            step.start(peer);
        }
        if setup.opening != Opening::AtTheStart {
            step.open();
        }
        if let Some(way) = setup.broken {
            step.cut(way);
            step.cut(way.back());
        }
        let mut world = step.finish().0;
        world.budget = setup.budget;
        world
    }

    /// A peer, alive or crashed.
    fn node(&self, peer: PeerId) -> Option<&Node> {
        self.nodes.get(usize::try_from(peer.0).ok()?).map(|node| &**node)
    }

    /// The peer, if it is alive.
    #[must_use]
    pub fn live(&self, peer: PeerId) -> Option<&Live> {
        match self.node(peer)? {
            Node::Up(live) => Some(live),
            Node::Down { .. } => None,
        }
    }

    /// The peers that are alive, by id.
    pub fn lives(&self) -> impl Iterator<Item = &Live> {
        self.nodes.iter().filter_map(|node| match &**node {
            Node::Up(live) => Some(&**live),
            Node::Down { .. } => None,
        })
    }

    /// The peers that are alive and believe they are trader, each with its epoch.
    pub fn traders(&self) -> impl Iterator<Item = (PeerId, Epoch)> {
        self.lives().filter_map(|live| Some((live.id(), live.epoch()?)))
    }

    /// The durable records, in order.
    pub fn log(&self) -> impl Iterator<Item = &Record> {
        self.ledger.store().records()
    }

    /// The ledger's machine. It is never down for longer than a step.
    #[must_use]
    pub fn machine(&self) -> Option<&Ledger> {
        self.ledger.machine()
    }

    /// Whether an old image of the ledger has been put back and has granted an append. Nobody could know better, so the
    /// history ends here.
    #[must_use]
    pub fn is_over(&self) -> bool {
        self.observer.is_put_back() && self.ledger.is_writing()
    }

    /// What is under way in one direction of a connection.
    #[must_use]
    pub fn channel(&self, setup: &System, way: Way) -> Option<&Channel> {
        self.channels.get(setup.nth(way)?).map(|channel| &**channel)
    }

    /// Whether a connection works in both directions and both its ends are up.
    #[must_use]
    pub fn is_connected(&self, setup: &System, way: Way) -> bool {
        let gets_through = |way| self.channel(setup, way).is_some_and(|channel| !channel.is_cut);
        gets_through(way) && gets_through(way.back()) && self.is_there(way.from) && self.is_there(way.to)
    }

    pub(super) fn is_there(&self, place: Place) -> bool {
        match place {
            Place::Peer(peer) => self.live(peer).is_some(),
            Place::Ledger => true,
        }
    }

    /// Whether a peer's last notice about a connection is no longer true.
    #[must_use]
    pub fn is_news(&self, setup: &System, live: &Live, to: Place) -> bool {
        let told = match to {
            Place::Peer(neighbour) => live.peer.view().links.contains(&neighbour),
            Place::Ledger => live.hears_ledger,
        };
        told != self.is_connected(setup, Way { from: Place::Peer(live.id()), to })
    }

    /// The state after a step, and what was met in it.
    #[must_use]
    pub fn after(&self, setup: &System, action: &Action) -> (World, Met) {
        let stepped = self.stepped(setup, action);
        let mut step = Step::on(setup, self.clone());
        step.act(action);
        let (world, landmarks) = step.finish();
        (world, Met { landmarks, stepped })
    }

    /// Adds the steps that can be taken next.
    pub fn actions(&self, setup: &System, actions: &mut Vec<Action>) {
        if self.violation.is_some() || self.is_over() {
            return;
        }
        for peer in setup.ids() {
            match self.live(peer) {
                Some(live) => self.actions_of(live, setup, actions),
                None if self.budget.restarts > 0 => actions.push(Action::Restart(peer)),
                None => {}
            }
        }
        for (way, channel) in setup.ways().zip(&self.channels) {
            self.actions_on(way, channel, setup, actions);
        }
        self.actions_of_ledger(actions);
    }

    fn actions_of_ledger(&self, actions: &mut Vec<Action>) {
        let Budget { ledger_crashes, put_backs, snapshots, .. } = self.budget;
        // A ledger that has stopped waits for its operator.
        if self.machine().is_none_or(Ledger::has_failed) {
            return;
        }
        if self.ledger.is_unsynced() {
            actions.push(Action::Sync);
        }
        if self.ledger.is_unanswered() {
            actions.push(Action::Answer);
        }
        actions.extend((0..self.ledger.reads().len()).map(Action::Read));
        if snapshots > 0 {
            actions.push(Action::Snapshot);
        }
        if ledger_crashes > 0 {
            actions.push(Action::CrashLedger);
        }
        if put_backs > 0 {
            let durable = self.ledger.store().durable().len();
            actions.extend((0..durable).map(|batches| Action::PutBack { batches }));
        }
        let is_kept_out = |parcel: &Shared<Parcel>| match &**parcel {
            Parcel::Call(LedgerCall { request: LedgerRequest::Append(batch), .. }) => self.ledger.keeps_out(batch),
            Parcel::Call(_) | Parcel::Reply(_) | Parcel::Envelope(_) => false,
        };
        if self.channels.iter().any(|channel| channel.queue.iter().any(is_kept_out)) {
            actions.push(Action::LeaseRunsOut);
        }
    }

    fn actions_of(&self, live: &Live, setup: &System, actions: &mut Vec<Action>) {
        let peer = live.id();
        let may_fire = live.timers.iter().filter(|(timer, wait)| self.may_fire(live, **timer, **wait));
        actions.extend(may_fire.map(|(timer, _)| Action::Fire(peer, *timer)));
        for (choice, among) in &live.choices {
            if live.may_choose(*choice) {
                actions.extend((0..*among).map(|pick| Action::Pick(peer, *choice, pick)));
            }
        }
        let news = live.places().filter(|place| self.is_news(setup, live, *place));
        actions.extend(news.map(|place| Action::Notice(peer, place)));
        if !live.writes.is_empty() {
            actions.push(Action::Persist(peer));
        }
        if live.synced.is_some() {
            actions.push(Action::Confirm(peer));
        }
        if self.budget.crashes > 0 && setup.cast.get(peer.0 as usize).is_some_and(|member| member.crashes) {
            actions.push(Action::Crash(peer));
        }
        if self.is_asking(setup, peer) {
            actions.push(Action::Consult(peer));
        }
        let is_there = self.machine().is_some_and(|ledger| !ledger.has_failed());
        if self.budget.reports > 0 && is_there && self.is_connected(setup, Way::to_ledger(peer).back()) {
            actions.push(Action::Report(peer));
        }
    }

    /// Whether a peer's next call is a question that is asked and answered in one step.
    pub(super) fn is_asking(&self, setup: &System, peer: PeerId) -> bool {
        let way = Way::to_ledger(peer);
        self.channel(setup, way.back()).is_some_and(|answers| answers.queue.is_empty())
            && self.next_on(setup, way).is_some_and(|parcel| self.is_answered_at_once(setup, way, parcel))
    }

    /// Whether this is a question that changes nothing at the ledger and that the ledger can answer now, where asking
    /// and hearing the answer are one step.
    fn is_answered_at_once(&self, setup: &System, way: Way, parcel: &Parcel) -> bool {
        let Parcel::Call(call) = parcel else { return false };
        let is_question = match call.request {
            LedgerRequest::Read { .. } => true,
            LedgerRequest::Status => !self.ledger.is_writing(),
            LedgerRequest::Append(_) => false,
        };
        setup.asks_at_once && is_question && self.channel(setup, way.back()).is_some_and(|answers| !answers.is_cut)
    }

    /// The next message on a way.
    pub(super) fn next_on(&self, setup: &System, way: Way) -> Option<&Parcel> {
        self.channel(setup, way)?.queue.front().map(|parcel| &**parcel)
    }

    /// Whether the receiving end accepts a parcel now. While the ledger writes, it answers reads and accepts other
    /// calls only where calls may wait inside it.
    pub(super) fn is_taken(&self, setup: &System, parcel: &Parcel) -> bool {
        match parcel {
            Parcel::Envelope(_) | Parcel::Reply(_) => true,
            Parcel::Call(call) => {
                matches!(call.request, LedgerRequest::Read { .. })
                    || setup.limits.waiting_calls > 0
                    || !self.ledger.is_writing()
            }
        }
    }

    fn actions_on(&self, way: Way, channel: &Channel, setup: &System, actions: &mut Vec<Action>) {
        let Budget { cuts, losses, doubles, swaps, .. } = self.budget;
        if let Some(next) = channel.queue.front() {
            if self.is_taken(setup, next) && !self.is_answered_at_once(setup, way, next) {
                actions.push(Action::Arrive(way));
            }
            if losses > 0 {
                actions.push(Action::Lose(way));
            }
            if doubles > 0 {
                actions.push(Action::Double(way));
            }
            if swaps > 0 && channel.queue.get(1).is_some_and(|second| second != next) {
                actions.push(Action::Swap(way));
            }
        }
        // Of a connection that is cut in both directions, one direction suffices to heal it.
        let is_first = self.channel(setup, way.back()).is_some_and(|back| !back.is_cut) || way < way.back();
        let is_for_good = setup.broken.is_some_and(|broken| broken == way || broken == way.back());
        if channel.is_cut && is_first && !is_for_good {
            actions.push(Action::Heal(way));
        }
        if cuts > 0 && setup.may_be_cut(way) && !channel.is_cut {
            actions.push(Action::Cut { way, both: false });
            if way < way.back() {
                actions.push(Action::Cut { way, both: true });
            }
        }
    }

    /// Whether an armed timer may fire: as often as its budget allows.
    fn may_fire(&self, live: &Live, timer: Timer, wait: Duration) -> bool {
        let Budget { alarms, retries, give_ups, renewals, resends, ticks, .. } = self.budget;
        match timer {
            Timer::Election => alarms > 0,
            Timer::LedgerRetry => retries > 0,
            Timer::LedgerGiveUp => give_ups > 0,
            Timer::Renewal | Timer::Wave => renewals > 0,
            Timer::Buyer if wait.is_zero() => live.plans.wishes > 0,
            Timer::Seller if wait.is_zero() => true,
            Timer::Buyer | Timer::Seller => resends > 0,
            Timer::Gather | Timer::ClockInterval => ticks > 0,
        }
    }
}

impl Live {
    /// Its id.
    #[must_use]
    pub fn id(&self) -> PeerId {
        self.participant().me().peer
    }

    /// Its participant.
    #[must_use]
    pub fn participant(&self) -> &Participant {
        self.peer.participant()
    }

    /// The other ends of its connections.
    pub fn places(&self) -> impl Iterator<Item = Place> {
        self.peer.config().neighbours.iter().copied().map(Place::Peer).chain([Place::Ledger])
    }

    /// Whether it stands for office.
    #[must_use]
    pub fn is_standing(&self) -> bool {
        self.participant().office().is_some_and(|office| office.is_standing())
    }

    /// The epoch for which it believes it is trader.
    #[must_use]
    pub fn epoch(&self) -> Option<Epoch> {
        self.participant().epoch()
    }

    /// Whether it has a request or a deposit left to make with this choice.
    #[must_use]
    pub fn may_choose(&self, choice: Choice) -> bool {
        match choice {
            Choice::Wish => self.plans.wishes > 0,
            Choice::Offer => self.plans.deposits > 0,
        }
    }
}

/// Whether an envelope is addressed to this peer; otherwise the peer only forwards it.
#[must_use]
pub(super) fn is_for(envelope: &Envelope, peer: PeerId) -> bool {
    match envelope.route {
        Route::Flood { to, .. } => to.is_none_or(|to| to == peer),
        Route::Direct { to, .. } => to == peer,
    }
}
