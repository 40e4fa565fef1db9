//! The gossip of clock multicasts alone: `Gossip` on small networks, with envelopes that are late or lost and peers that
//! crash and come back.
//!
//! # What runs
//!
//! The first step chooses one of the [networks](crate::machines::network). Then any peer may multicast its clock, any
//! peer may send its neighbour an envelope for some other reason, and timers fire at any moment while they run. An
//! envelope is here the one number of the gossip; what is under way arrives in any order, or is lost. Of two equal
//! envelopes on a way one says all, so only one is kept. A crash loses all that the peer knows and what is under way to
//! it. Each neighbour notices the crash, and later the restart, at any moment. What came from the former life arrives
//! before that or not at all: if it came later, the neighbour would take the new life to know what it does not, until the
//! next envelope of any kind tells it.
//!
//! # What is asked
//!
//! C2: from every state, once nothing is lost any more, nobody crashes or comes back, everybody has noticed who is there
//! and nothing but the gossip itself is sent, within a few rounds in which every timer fires all peers that are connected
//! have heard of the highest multicast that any of them knew of, no timer runs any more, and no more than one envelope
//! was under way on each way at a time.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write as _,
    ops::RangeInclusive,
};

use bazaar_protocol::{
    clock::Time,
    gossip::Gossip,
    id::PeerId,
    invariant::{Property, Violation, every_multicast_has_been_heard},
};
use serde::{Deserialize, Serialize};

use crate::{
    machines::network::{self, Network, OnNetwork},
    subject::known::Known,
    subject::matrix::{Kind, Role, Stepped},
    subject::picture::{Lane, LaneKind, Mark},
    subject::{Met, Subject},
    subject::{
        landmark::{Landmark, Landmarks},
        scenario::{Family, Scenario},
        shared::digest,
    },
};

/// The gossip on all networks of the given sizes, and what may happen to it.
#[derive(Clone, Debug)]
pub struct Gossips {
    /// The numbers of peers in a network.
    pub sizes: RangeInclusive<u32>,
    /// How often each kind of event may happen.
    pub budget: Budget,
}

/// How often each kind of event may still happen. Timers fire as often as they run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Budget {
    /// Clocks that are multicast.
    pub multicasts: u8,
    /// Envelopes that are sent for another reason.
    pub others: u8,
    /// Envelopes that are lost.
    pub losses: u8,
    /// Crashes.
    pub crashes: u8,
    /// Restarts.
    pub restarts: u8,
}

/// A state of it.
pub type State = OnNetwork<Scene>;

/// Everything on a network.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Scene {
    /// The index of the network among all.
    network: usize,
    left: Budget,
    /// The peers; `None` for one that is down.
    peers: Vec<Option<Peer>>,
    /// How many times each has started.
    lives: Vec<u8>,
    under_way: BTreeSet<Handed>,
    /// The last clock that was multicast.
    last: Time,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Peer {
    gossip: Gossip,
    /// The neighbours whose links are up, as far as it has noticed, each with the life that the link leads to.
    links: BTreeMap<PeerId, u8>,
    /// Whether its timer runs.
    is_armed: bool,
}

/// The words of an envelope between two neighbours.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Handed {
    from: PeerId,
    to: PeerId,
    multicast: Time,
    /// Whether it asks for an answer.
    asks: bool,
}

/// A step of one peer, or of what carries its envelopes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Step {
    /// The network is chosen, by its index among all.
    Choose(usize),
    /// A peer multicasts its clock.
    Multicast(PeerId),
    /// A peer sends a neighbour an envelope for another reason.
    Other {
        /// The peer.
        from: PeerId,
        /// The neighbour.
        to: PeerId,
    },
    /// A peer's timer fires.
    Fire(PeerId),
    /// An envelope arrives.
    Arrive(Handed),
    /// An envelope is lost.
    Lose(Handed),
    /// A peer crashes.
    Crash(PeerId),
    /// A crashed peer comes back.
    Restart(PeerId),
    /// A peer notices that a neighbour is gone, or there.
    Notice {
        /// The peer.
        at: PeerId,
        /// The neighbour.
        neighbour: PeerId,
    },
}

impl Peer {
    fn new() -> Peer {
        Peer { gossip: Gossip::default(), links: BTreeMap::new(), is_armed: false }
    }

    /// Every step of a peer ends with this.
    fn finish(&mut self) {
        self.is_armed |= self.gossip.starts();
    }
}

impl Scene {
    fn new(nth: usize, left: Budget) -> Option<Scene> {
        let network = network::all().get(nth)?;
        let peer = |peer| {
            let mut new = Peer::new();
            for neighbour in network.neighbours(peer) {
                new.gossip.link_up(neighbour);
                new.links.insert(neighbour, 1);
            }
            Some(new)
        };
        let peers = (0..network.peers).map(PeerId).map(peer).collect();
        let lives = vec![1; network.peers as usize];
        Some(Scene { network: nth, left, peers, lives, under_way: BTreeSet::new(), last: Time(0) })
    }

    fn network(&self) -> Option<&'static Network> {
        network::all().get(self.network)
    }

    fn up(&self, peer: PeerId) -> Option<&Peer> {
        self.peers.get(peer.0 as usize)?.as_ref()
    }

    fn change<R: Default>(&mut self, peer: PeerId, how: impl FnOnce(&mut Peer) -> R) -> R {
        let Some(Some(up)) = self.peers.get_mut(peer.0 as usize) else { return R::default() };
        let done = how(up);
        up.finish();
        done
    }

    fn send(&mut self, from: PeerId, to: PeerId, asks: bool) {
        let multicast = self.change(from, |peer| peer.gossip.say(to));
        if self.up(to).is_some() {
            self.under_way.insert(Handed { from, to, multicast, asks });
        }
    }

    /// Fires a peer's timer; returns whether a neighbour is told.
    fn fire(&mut self, peer: PeerId) -> bool {
        let due = self.change(peer, |peer| {
            peer.is_armed = false;
            peer.gossip.tick()
        });
        for (neighbour, is_known) in &due {
            self.send(peer, *neighbour, !is_known);
        }
        !due.is_empty()
    }

    fn arrive(&mut self, handed: &Handed) {
        self.under_way.remove(handed);
        self.change(handed.to, |peer| {
            peer.gossip.hear(handed.from, handed.multicast);
            if handed.asks {
                peer.gossip.asked(handed.from);
            }
        });
    }

    fn notice(&mut self, at: PeerId, neighbour: PeerId) {
        let life = self.life(neighbour);
        if life.is_some() {
            self.under_way.retain(|handed| (handed.from, handed.to) != (neighbour, at));
        }
        self.change(at, |peer| match (peer.links.remove(&neighbour), life) {
            // A link to a former life goes down before it comes up again.
            (Some(_), _) => peer.gossip.link_down(neighbour),
            (None, Some(life)) => {
                peer.links.insert(neighbour, life);
                peer.gossip.link_up(neighbour);
            }
            (None, None) => {}
        });
    }

    /// The life of a peer that is up.
    fn life(&self, peer: PeerId) -> Option<u8> {
        self.up(peer).and_then(|_| self.lives.get(peer.0 as usize).copied())
    }

    /// The peers that have yet to notice a neighbour, each with that neighbour.
    fn notices(&self) -> Vec<(PeerId, PeerId)> {
        let Some(network) = self.network() else { return Vec::new() };
        let ends = network.links.iter().flat_map(|(one, other)| [(*one, *other), (*other, *one)]);
        ends.filter(|(at, neighbour)| {
            self.up(*at).is_some_and(|peer| peer.links.get(neighbour).copied() != self.life(*neighbour))
        })
        .collect()
    }

    fn live(&self) -> impl Iterator<Item = (PeerId, &Peer)> {
        (0..).map(PeerId).zip(&self.peers).filter_map(|(peer, up)| Some((peer, up.as_ref()?)))
    }

    /// The live peers that are connected with this one.
    fn connected(&self, peer: PeerId) -> BTreeSet<PeerId> {
        let mut connected = BTreeSet::from([peer]);
        loop {
            let near = connected.iter().filter_map(|peer| self.up(*peer)).flat_map(|peer| peer.links.keys()).copied();
            let more: BTreeSet<PeerId> = near.filter(|peer| !connected.contains(peer)).collect();
            if more.is_empty() {
                return connected;
            }
            connected.extend(more);
        }
    }
}

/// Within how many rounds, in each of which every timer that runs fires once and everything arrives, all is told and
/// quiet: a neighbour that was told in vain is told again after five rounds, and answers two rounds later; and all that on
/// the next link.
const ROUNDS: usize = 20;

impl Gossips {
    fn after_step(&self, state: &State, step: &Step) -> Option<(Scene, Landmarks)> {
        let mut scene = match (step, &state.scene) {
            (Step::Choose(network), _) => Scene::new(*network, self.budget)?,
            (
                Step::Multicast(_)
                | Step::Other { .. }
                | Step::Fire(_)
                | Step::Arrive(_)
                | Step::Lose(_)
                | Step::Crash(_)
                | Step::Restart(_)
                | Step::Notice { .. },
                scene,
            ) => scene.clone()?,
        };
        let mut landmarks = Landmarks::default();
        match *step {
            Step::Choose(_) => {}
            Step::Multicast(peer) => {
                scene.left.multicasts -= 1;
                scene.last = Time(scene.last.0 + 1);
                let clock = scene.last;
                scene.change(peer, |peer| peer.gossip.multicast(clock));
            }
            Step::Other { from, to } => {
                scene.left.others -= 1;
                scene.send(from, to, false);
            }
            Step::Fire(peer) => {
                if scene.fire(peer) {
                    landmarks.note(Landmark::ToldOfClock);
                }
            }
            Step::Arrive(handed) => {
                if scene.up(handed.to).is_some_and(|peer| handed.multicast < peer.gossip.highest()) {
                    landmarks.note(Landmark::Overtaken);
                }
                scene.arrive(&handed);
            }
            Step::Lose(handed) => {
                scene.left.losses -= 1;
                landmarks.note(Landmark::LostOnLink);
                scene.under_way.remove(&handed);
            }
            Step::Crash(peer) => {
                scene.left.crashes -= 1;
                scene.peers[peer.0 as usize] = None;
                scene.under_way.retain(|handed| handed.to != peer);
            }
            Step::Restart(peer) => {
                scene.left.restarts -= 1;
                landmarks.note(Landmark::Restarted);
                scene.lives[peer.0 as usize] += 1;
                scene.peers[peer.0 as usize] = Some(Peer::new());
            }
            Step::Notice { at, neighbour } => scene.notice(at, neighbour),
        }
        Some((scene, landmarks))
    }
}

impl Subject for Gossips {
    type State = State;
    type Action = Step;

    fn first(&self) -> State {
        State::FIRST
    }

    fn actions(&self, state: &State, actions: &mut Vec<Step>) {
        let Some(scene) = &state.scene else {
            actions.extend(network::of(&self.sizes).map(|(nth, _)| Step::Choose(nth)));
            return;
        };
        let left = scene.left;
        for (peer, up) in scene.live() {
            if left.multicasts > 0 {
                actions.push(Step::Multicast(peer));
            }
            if left.others > 0 {
                actions.extend(up.links.keys().map(|to| Step::Other { from: peer, to: *to }));
            }
            if up.is_armed {
                actions.push(Step::Fire(peer));
            }
            if left.crashes > 0 {
                actions.push(Step::Crash(peer));
            }
        }
        if left.restarts > 0 {
            let down = (0..).map(PeerId).zip(&scene.peers).filter(|(_, up)| up.is_none());
            actions.extend(down.map(|(peer, _)| Step::Restart(peer)));
        }
        for handed in &scene.under_way {
            actions.push(Step::Arrive(*handed));
            if left.losses > 0 {
                actions.push(Step::Lose(*handed));
            }
        }
        actions.extend(scene.notices().into_iter().map(|(at, neighbour)| Step::Notice { at, neighbour }));
    }

    fn after(&self, state: &State, step: &Step) -> (State, Met) {
        let Some((scene, landmarks)) = self.after_step(state, step) else { return (state.clone(), Met::default()) };
        let kind = match step {
            Step::Choose(_) | Step::Lose(_) | Step::Crash(_) | Step::Other { .. } => None,
            Step::Multicast(_) => Some(Kind::Tick),
            Step::Fire(_) => Some(Kind::ClockTimer),
            Step::Arrive(_) => Some(Kind::ClockMulticast),
            Step::Restart(_) => Some(Kind::Start),
            Step::Notice { at, neighbour } => {
                let is_there = scene.up(*at).is_some_and(|peer| peer.links.contains_key(neighbour));
                Some(if is_there { Kind::LinkUp } else { Kind::LinkDown })
            }
        };
        let stepped = kind.map(|kind| Stepped { kind, role: Role::Relay });
        (State { scene: Some(scene), violation: None }, Met { landmarks, stepped })
    }

    fn violation<'a>(&self, state: &'a State) -> Option<&'a Violation> {
        state.violation.as_ref()
    }

    fn stuck(&self, state: &State, _: &Known) -> Option<Violation> {
        let mut scene = state.scene.clone()?;
        let known = scene.clone();
        while let Some((at, neighbour)) = scene.notices().first().copied() {
            scene.notice(at, neighbour);
        }
        for _ in 0..ROUNDS {
            while let Some(handed) = scene.under_way.first().copied() {
                scene.arrive(&handed);
            }
            let armed: Vec<PeerId> = scene.live().filter(|(_, up)| up.is_armed).map(|(peer, _)| peer).collect();
            for peer in armed {
                scene.fire(peer);
            }
        }
        if let Some((peer, _)) = scene.live().find(|(_, up)| up.gossip.is_unsettled()) {
            let what = format!("peer {peer} still has something to tell after {ROUNDS} rounds");
            return Some(Violation { property: Property::C2, position: None, what });
        }
        scene.live().find_map(|(peer, up)| {
            let near = scene.connected(peer);
            let highest = near.iter().filter_map(|peer| known.up(*peer)).map(|up| up.gossip.highest()).max();
            every_multicast_has_been_heard(peer, up.gossip.highest(), highest.unwrap_or_default()).err()
        })
    }

    fn properties(&self) -> Vec<Property> {
        vec![Property::C2]
    }

    fn adversary(&self) -> String {
        let Budget { multicasts, others, losses, crashes, restarts } = self.budget;
        format!(
            "any network of {} to {} peers; clocks multicast: {multicasts}; envelopes sent for another reason: {others}; \
             envelopes lost: {losses}; crashes: {crashes}; restarts: {restarts}. Envelopes arrive in any order. Timers \
             fire at any moment while they run. Each end notices a crash or a restart at any later moment",
            self.sizes.start(),
            self.sizes.end()
        )
    }

    fn sentence(&self, _: &State, step: &Step, after: &State) -> String {
        let told = |at: &PeerId| {
            let mine = after.scene.iter().flat_map(|scene| &scene.under_way).filter(|handed| handed.from == *at);
            let mine: Vec<String> = mine.map(|handed| format!("peer {}", handed.to)).collect();
            if mine.is_empty() { "nobody".to_owned() } else { mine.join(", ") }
        };
        match step {
            Step::Choose(nth) => {
                let links = network::all().get(*nth).map(Network::to_string).unwrap_or_default();
                format!("on the network {links}")
            }
            Step::Multicast(peer) => {
                let clock = after.scene.as_ref().map_or(Time(0), |scene| scene.last);
                format!("peer {peer} multicasts its clock, {clock}")
            }
            Step::Other { from, to } => format!("peer {from} sends peer {to} something else"),
            Step::Fire(peer) => format!("peer {peer}'s timer fires; under way from it: to {}", told(peer)),
            Step::Arrive(Handed { from, to, multicast, .. }) => {
                format!("peer {to} hears of {multicast} from peer {from}")
            }
            Step::Lose(Handed { from, to, multicast, .. }) => {
                format!("an envelope with {multicast} from peer {from} to peer {to} is lost")
            }
            Step::Crash(peer) => format!("peer {peer} crashes"),
            Step::Restart(peer) => format!("peer {peer} restarts"),
            Step::Notice { at, neighbour } => format!("peer {at} notices whether peer {neighbour} is there"),
        }
    }

    fn portrait(&self, state: &State) -> String {
        let Some(scene) = &state.scene else { return "no network is chosen yet".to_owned() };
        let mut text = String::new();
        // Writing to a string does not fail.
        for (peer, up) in (0..).map(PeerId).zip(&scene.peers) {
            let _ = match up {
                None => writeln!(text, "peer {peer}: down"),
                Some(Peer { gossip, is_armed, .. }) => {
                    let timer = if *is_armed { ", timer runs" } else { "" };
                    writeln!(text, "peer {peer}: has heard of {}{timer}", gossip.highest())
                }
            };
        }
        for Handed { from, to, multicast, .. } in &scene.under_way {
            let _ = writeln!(text, "under way from peer {from} to peer {to}: {multicast}");
        }
        let Budget { multicasts, others, losses, crashes, restarts } = scene.left;
        let _ = writeln!(
            text,
            "left: {multicasts} multicasts, {others} other envelopes, {losses} losses, {crashes} crashes, {restarts} \
             restarts"
        );
        text
    }

    fn lanes(&self, state: &State) -> Vec<Lane> {
        let chosen = state.scene.as_ref().and_then(Scene::network);
        let peers = chosen.map_or(*self.sizes.end(), |network| network.peers);
        (0..peers).map(|peer| Lane { name: format!("peer {peer}"), kind: LaneKind::Peer }).collect()
    }

    fn marks(&self, before: &State, step: &Step, after: &State) -> Vec<Mark> {
        let at = |peer: &PeerId| peer.0 as usize;
        let happened = |peer: &PeerId, label: String| Mark::Happened { at: at(peer), label };
        let mut marks = match step {
            Step::Choose(_) => Vec::new(),
            Step::Multicast(peer) => vec![happened(peer, "multicasts".to_owned())],
            Step::Other { from, to } => vec![happened(from, format!("sends {to} something"))],
            Step::Fire(peer) => vec![happened(peer, "timer".to_owned())],
            Step::Arrive(handed) => vec![Mark::Arrived { at: at(&handed.to), message: digest(handed) }],
            Step::Lose(handed) => vec![Mark::Lost { message: digest(handed) }],
            Step::Crash(peer) => vec![Mark::Crashed { at: at(peer) }],
            Step::Restart(peer) => vec![Mark::Restarted { at: at(peer) }],
            Step::Notice { at, neighbour } => vec![happened(at, format!("notices {neighbour}"))],
        };
        let under_way = |state: &State| state.scene.as_ref().map(|scene| scene.under_way.clone()).unwrap_or_default();
        for handed in under_way(after).difference(&under_way(before)) {
            let (from, to) = (at(&handed.from), Some(at(&handed.to)));
            let label = handed.multicast.to_string();
            marks.push(Mark::Sent { from, to, message: digest(handed), label });
        }
        marks
    }
}

/// The scenarios of the model, in the order in which they are checked.
#[must_use]
pub fn scenarios() -> Vec<Scenario<Gossips>> {
    let case = |sizes, budget| Gossips { sizes, budget };
    let lost = Budget { multicasts: 1, others: 1, losses: 1, ..Budget::default() };
    let lives = Budget { multicasts: 1, others: 1, losses: 1, crashes: 1, restarts: 1 };
    vec![
        Scenario {
            name: "gossip-lost",
            family: Family::Clock,
            about: "clocks that are multicast reach everybody although an envelope is lost, and then all are silent",
            bounds: "1 multicast, 1 other envelope, 1 loss, 2 peers: a longer way consists of such hops. Further: up \
                     to 3 peers in a line or a ring.",
            landmarks: vec![Landmark::ToldOfClock, Landmark::LostOnLink],
            case: case(2..=2, lost),
            further: Some(case(2..=3, lost)),
        },
        Scenario {
            name: "gossip-overtaken",
            family: Family::Clock,
            about: "a clock that is multicast overtakes another, of the same peer or of its neighbour",
            bounds: "2 multicasts, 1 other envelope, 1 loss, 2 peers: of more than two, only the highest matters.",
            landmarks: vec![Landmark::ToldOfClock, Landmark::LostOnLink, Landmark::Overtaken],
            case: case(2..=2, Budget { multicasts: 2, ..lost }),
            further: Some(case(2..=2, Budget { multicasts: 3, others: 2, losses: 2, ..lost })),
        },
        Scenario {
            name: "gossip-lives",
            family: Family::Clock,
            about: "a peer that has forgotten the clocks in a restart hears of them again",
            bounds: "1 multicast, 1 other envelope, 1 loss, 1 crash, 1 restart, 2 peers: what only the crashed peer \
                     knew is lost with it, and what its neighbour knows comes back to it. Further: up to 3 peers.",
            landmarks: vec![Landmark::ToldOfClock, Landmark::LostOnLink, Landmark::Restarted],
            case: case(2..=2, lives),
            further: Some(case(2..=3, Budget { losses: 0, ..lives })),
        },
    ]
}
