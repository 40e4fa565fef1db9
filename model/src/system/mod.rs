//! Whole peers, the overlay between them, and the ledger (DESIGN 6, `whole`).
//!
//! The machines are [`bazaar_protocol::peer::Peer`] and the ledger in memory, [`bazaar_protocol::archive::Archive`],
//! unchanged; everything a driver does is the model's, and so the adversary's: connections, calls, disks, timers,
//! choices. [`world`] says what there is and what can happen, [`step`] takes a step and tells the
//! [`Observer`](bazaar_protocol::invariant::Observer), which checks the properties, [`fair`] says what becomes of a
//! state once faults stop, [`words`] puts all of it in words and pictures, and [`scenarios`] lists what is checked.

use std::{collections::BTreeSet, time::Duration};

use bazaar_protocol::{
    clock::Time,
    config::{Config, Limits, Offer, Offers, Ordering, Pace, Role, Terms, Wishes},
    id::{Item, PeerId, Units},
    invariant::{Property, Violation},
    ledger::{LedgerConfig, Secret},
    money::{Commission, Price},
};

use crate::{
    participants::world::Plans,
    subject::known::Known,
    subject::picture::{Lane, LaneKind, Mark},
    subject::shared::AGE,
    subject::{Met, Subject},
};

pub mod fair;
mod passed;
mod scenarios;
pub mod step;
pub mod words;
pub mod world;

pub use crate::participants::TIMEOUTS;
pub use scenarios::scenarios;
pub use world::{Action, Budget, Place, Way, World};

/// Peers, their links, and a ledger, set up in one way, with what the adversary may do to them.
#[derive(Clone, Debug)]
pub struct System {
    /// The peers, by id.
    pub cast: Vec<Member>,
    /// The links between neighbours.
    pub links: Vec<(u32, u32)>,
    /// The terms of trade.
    pub terms: Terms,
    /// What all clocks show when everything starts; at least 1, since 0 means no reading.
    pub start: Time,
    /// How far above its reading a clock is written ahead.
    pub clock_range: u64,
    /// How the peers' disks write.
    pub disk: Disk,
    /// Whether questions that change nothing at the ledger (its status, its records) are asked and answered in one
    /// step. The answer may still be out of date when it is acted upon, since what follows from it may be taken any
    /// time later.
    pub asks_at_once: bool,
    /// The limits. Where no call may wait inside the ledger while it writes, calls wait on their way to it.
    pub limits: Limits,
    /// The state in which the scenario begins.
    pub opening: Opening,
    /// The connections that may be cut; if empty, all of them.
    pub weak: Vec<Way>,
    /// The connection that is cut from the beginning, in both directions and for good.
    pub broken: Option<Way>,
    /// What the adversary may do.
    pub budget: Budget,
    /// What every state must converge to once faults stop; `None` where convergence is not checked.
    pub convergence: Option<Convergence>,
    /// Only violations of this property count; with `None`, violations of any.
    pub only: Option<Property>,
}

/// A peer in a scenario.
#[derive(Clone, Debug)]
pub struct Member {
    /// What it does when it is not the trader.
    pub role: Role,
    /// How many requests and deposits it makes.
    pub plans: Plans,
    /// Whether it may crash.
    pub crashes: bool,
}

/// How a peer's disk writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Disk {
    /// A write is durable and confirmed at once.
    AtOnce,
    /// A write is asked for, becomes durable and is confirmed in separate steps.
    InSteps,
}

/// The state in which a scenario begins. What comes before follows the [fair schedule](fair).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Opening {
    /// Every peer has just started.
    AtTheStart,
    /// One peer is in office, and all know it.
    InOffice,
    /// The same, and every seller has made its deposit.
    Deposited,
}

/// What must hold once faults have stopped (L1-L3, C2), and what stays broken meanwhile.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Convergence {
    /// The most steps of the fair schedule that it may take.
    pub within: usize,
    /// How long, in virtual time, it must last in one epoch before it counts.
    pub lasting: Duration,
    /// The connection that stays cut for good, in both directions.
    pub cut: Option<Way>,
    /// Whether crashed peers come back.
    pub restarts: bool,
}

impl Member {
    /// A peer that buys one unit at a time, `wishes` times.
    #[must_use]
    pub fn buyer(items: &[Item], wishes: u8) -> Member {
        Member { role: Role::Buyer(wanted(items)), plans: Plans { wishes, deposits: 0 }, crashes: true }
    }

    /// A peer that sells `count` units of an item.
    #[must_use]
    pub fn seller(item: Item, count: u32) -> Member {
        Member { role: Role::Seller(offered(item, count)), plans: Plans::default(), crashes: true }
    }

    /// A peer that buys some items and sells another.
    #[must_use]
    pub fn both(items: &[Item], wishes: u8, item: Item, count: u32) -> Member {
        let role = Role::Both(wanted(items), offered(item, count));
        Member { role, plans: Plans { wishes, deposits: 0 }, crashes: true }
    }

    /// The same, but it does not crash.
    #[must_use]
    pub fn immortal(self) -> Member {
        Member { crashes: false, ..self }
    }
}

fn wanted(items: &[Item]) -> Wishes {
    Wishes { items: items.to_vec(), quantity: Units(1) }
}

fn offered(item: Item, count: u32) -> Offers {
    Offers(vec![Offer { item, count: Units(count), price: Price(99) }])
}

impl System {
    /// These peers in a line, one of them in office, under terms by which nobody resigns. Clocks are written so far
    /// ahead that no bound is ever reached step by step.
    #[must_use]
    pub fn line(cast: Vec<Member>) -> System {
        let links = (1..cast.len() as u32).map(|peer| (peer - 1, peer)).collect();
        System {
            cast,
            links,
            terms: Terms {
                commission: Commission::TWENTY_PERCENT,
                resign_after: 1_000,
                batch_limit: 8,
                ordering: Ordering::SmallestOpen,
            },
            start: Time(1),
            clock_range: AGE,
            disk: Disk::AtOnce,
            asks_at_once: true,
            limits: Limits { waiting_calls: 0, ..Limits::DEFAULT },
            opening: Opening::InOffice,
            weak: Vec::new(),
            broken: None,
            budget: Budget::default(),
            convergence: None,
            only: None,
        }
    }

    /// The same setup with this budget.
    #[must_use]
    pub fn with(&self, budget: Budget) -> System {
        System { budget, ..self.clone() }
    }

    /// The ids of the peers, in order.
    pub fn ids(&self) -> impl Iterator<Item = PeerId> + use<> {
        (0..self.cast.len() as u32).map(PeerId)
    }

    /// All ways, the two directions of each connection side by side: first the links, then the connections to the
    /// ledger.
    pub fn ways(&self) -> impl Iterator<Item = Way> + '_ {
        let links = self.links.iter().map(|(one, other)| Way::between(PeerId(*one), PeerId(*other)));
        links.chain(self.ids().map(Way::to_ledger)).flat_map(|way| [way, way.back()])
    }

    /// The index of a way among all [`ways`](System::ways); `None` if there is no such connection.
    #[must_use]
    pub fn nth(&self, way: Way) -> Option<usize> {
        let to_ledger = |peer: PeerId| {
            let peer = peer.0 as usize;
            (peer < self.cast.len()).then_some(2 * (self.links.len() + peer))
        };
        match (way.from, way.to) {
            (Place::Peer(from), Place::Peer(to)) => self.links.iter().enumerate().find_map(|(nth, link)| {
                if *link == (from.0, to.0) { Some(2 * nth) } else { (*link == (to.0, from.0)).then_some(2 * nth + 1) }
            }),
            (Place::Peer(peer), Place::Ledger) => to_ledger(peer),
            (Place::Ledger, Place::Peer(peer)) => to_ledger(peer).map(|nth| nth + 1),
            (Place::Ledger, Place::Ledger) => None,
        }
    }

    /// The neighbours of a peer.
    #[must_use]
    pub fn neighbours(&self, peer: PeerId) -> BTreeSet<PeerId> {
        let ends = self.links.iter().filter(|(one, other)| *one == peer.0 || *other == peer.0);
        ends.map(|(one, other)| PeerId(if *one == peer.0 { *other } else { *one })).collect()
    }

    fn may_be_cut(&self, way: Way) -> bool {
        self.weak.is_empty() || self.weak.contains(&way) || self.weak.contains(&way.back())
    }

    /// The configuration of the ledger.
    fn ledger(&self) -> LedgerConfig {
        LedgerConfig { lease: TIMEOUTS.lease, limits: self.limits, secret: Secret::default() }
    }

    /// The configuration of a peer.
    fn config(&self, peer: PeerId) -> Option<Config> {
        Some(Config {
            me: peer,
            peers: self.cast.len() as u32,
            neighbours: self.neighbours(peer),
            role: self.cast.get(peer.0 as usize)?.role.clone(),
            first_caller: PeerId(0),
            timeouts: TIMEOUTS,
            terms: self.terms,
            pace: Pace { deposit_after: Duration::ZERO, trade_after: Duration::ZERO, think: Some(Duration::ZERO) },
            clock_range: self.clock_range,
            limits: self.limits,
        })
    }

    /// The name of a peer in a history.
    #[must_use]
    pub fn name_of(&self, peer: PeerId) -> String {
        let title = match self.cast.get(peer.0 as usize).map(|member| &member.role) {
            Some(Role::Buyer(_)) => "buyer",
            Some(Role::Seller(_)) => "seller",
            Some(Role::Both(..)) | None => "peer",
        };
        format!("{title} {peer}")
    }

    /// Whether this violation counts.
    fn counts(&self, found: &Violation) -> bool {
        self.only.is_none_or(|property| property == found.property)
    }

    /// Whether it matters how long a timer runs. It does not where any timer may fire at any moment and convergence is
    /// not checked.
    fn waits_matter(&self) -> bool {
        self.convergence.is_some()
    }
}

impl Subject for System {
    type State = World;
    type Action = Action;

    fn first(&self) -> World {
        World::first(self)
    }

    fn actions(&self, world: &World, actions: &mut Vec<Action>) {
        world.actions(self, actions);
    }

    fn after(&self, world: &World, action: &Action) -> (World, Met) {
        world.after(self, action)
    }

    fn only(&self, property: Property) -> System {
        System { only: Some(property), ..self.clone() }
    }

    fn violation<'a>(&self, world: &'a World) -> Option<&'a Violation> {
        world.violation.as_deref()
    }

    fn stuck(&self, world: &World, _: &Known) -> Option<Violation> {
        let convergence = self.convergence?;
        if world.violation.is_some() {
            None
        } else {
            fair::converges(self, world, convergence).err().filter(|found| self.counts(found))
        }
    }

    fn afterwards(&self, world: &World, steps: usize) -> Vec<(String, Vec<Mark>)> {
        let Some(convergence) = self.convergence else { return Vec::new() };
        fair::follow(self, world, convergence, steps)
    }

    fn properties(&self) -> Vec<Property> {
        use Property::{
            A2, B4, B5, B6, B7, B9, C2, C5, D7, D8, L1, L2, L3, R1, R2, R3, R5, R10, S1, S2, S3, S4, S5, S6, S7, S8,
            S9, S10, S11, S12, S13, S14,
        };
        let safety = [
            S1, S2, S3, S4, S5, S6, S7, S8, S10, S11, S12, S13, R1, R2, R3, R5, R10, A2, B4, B5, B6, B7, B9, C2, D7, D8,
        ];
        let in_order: &[Property] = if self.terms.ordering == Ordering::Stable { &[S9, S14, C5] } else { &[] };
        let liveness: &[Property] = match self.convergence {
            Some(Convergence { restarts: false, .. }) => &[L1, L2, L3],
            Some(Convergence { restarts: true, .. }) => &[L1, L2],
            None => &[],
        };
        [&safety, in_order, liveness].concat()
    }

    fn adversary(&self) -> String {
        words::adversary(self)
    }

    fn sentence(&self, before: &World, action: &Action, after: &World) -> String {
        words::sentence(self, before, action, after)
    }

    fn portrait(&self, world: &World) -> String {
        words::portrait(self, world)
    }

    fn lanes(&self, _: &World) -> Vec<Lane> {
        let peers = self.ids().map(|peer| Lane { name: self.name_of(peer), kind: LaneKind::Peer });
        peers.chain([Lane { name: "ledger".to_owned(), kind: LaneKind::Ledger }]).collect()
    }

    fn opening(&self) -> Vec<Mark> {
        words::opening(self, &self.first())
    }

    fn marks(&self, before: &World, action: &Action, after: &World) -> Vec<Mark> {
        words::marks(self, before, action, after)
    }
}
