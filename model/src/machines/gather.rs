//! How promises are gathered: `Overlay` on every network, with waves that everybody answers (DESIGN F12).
//!
//! # What runs
//!
//! The first step chooses one of the [networks](crate::machines::network) and one of its peers as the trader, one of each
//! sort. The trader sends waves, and everybody else promises with each wave; the promise is the wave's number. What is
//! under way arrives in any order, or is lost, links break for good, and a timer that runs may fire at any moment, as
//! often as the budget allows: then its peer takes a neighbour to be silent that is only slow.
//!
//! # What is asked
//!
//! F12, in every state in which nothing is under way: as long as nothing was lost, no link broke and no timer fired, the
//! trader has heard everybody's promise to the last wave; unless it sent that before the one before was answered: then
//! some come with the next. In every state: there were no more answers than one of each other peer to each wave, copies
//! that are flooded counted. From every state, once nothing goes wrong any more, three waves are enough for the trader to
//! hear a newer promise from everybody whom working links connect with it.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write as _,
    ops::RangeInclusive,
};

use bazaar_protocol::{
    clock::Time,
    config::Limits,
    id::{Incarnation, Life, PeerId},
    invariant::{Property, Violation, a_wave_is_answered_in_few_envelopes, every_promise_has_been_heard},
    message::{Body, Envelope, Promise},
    overlay::Overlay,
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
        shared::{Shared, digest},
    },
};

/// The gathering of promises on all networks of the given sizes, and what may happen to them.
#[derive(Clone, Debug)]
pub struct Gatherings {
    /// The numbers of peers in a network.
    pub sizes: RangeInclusive<u32>,
    /// How often each kind of event may happen.
    pub budget: Budget,
}

/// How often each kind of event may still happen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Budget {
    /// Waves that the trader sends.
    pub waves: u8,
    /// Envelopes that are lost.
    pub losses: u8,
    /// Links that break for good.
    pub breaks: u8,
    /// Timers that fire.
    pub timers: u8,
}

/// A state of it.
pub type State = OnNetwork<Scene>;

/// Everything on a network.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Scene {
    /// The index of the network among all.
    network: usize,
    trader: PeerId,
    left: Budget,
    peers: Vec<Shared<Peer>>,
    under_way: BTreeSet<Shared<Handed>>,
    /// How many waves the trader has sent.
    waves: u64,
    /// How many envelopes have answered them.
    answers: usize,
    /// The last promise that the trader has heard of each.
    heard: BTreeMap<PeerId, Time>,
    /// Whether something was lost, a link has broken, a timer has fired, or a wave was sent before the last was answered.
    is_disturbed: bool,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Peer {
    overlay: Overlay,
    /// Whether its timer runs.
    is_armed: bool,
}

/// An envelope between two neighbours.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Handed {
    from: PeerId,
    to: PeerId,
    envelope: Envelope,
}

/// A step of one peer, or of what carries its envelopes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Step {
    /// The network is chosen, by its index among all, and the trader.
    Choose(usize, PeerId),
    /// The trader sends a wave.
    Wave,
    /// An envelope arrives.
    Arrive(Shared<Handed>),
    /// An envelope is lost.
    Lose(Shared<Handed>),
    /// A peer's timer fires.
    Fire(PeerId),
    /// The link between these two breaks, and both notice.
    Break(PeerId, PeerId),
}

impl Scene {
    fn new(nth: usize, trader: PeerId, left: Budget) -> Option<Scene> {
        let network = network::all().get(nth)?;
        let peer = |peer| {
            let me = Life { peer, incarnation: Incarnation(1) };
            let mut overlay = Overlay::new(me, network.peers, &Limits::DEFAULT);
            network.neighbours(peer).for_each(|neighbour| overlay.link_up(neighbour));
            Shared::new(Peer { overlay, is_armed: false })
        };
        Some(Scene {
            network: nth,
            trader,
            left,
            peers: (0..network.peers).map(PeerId).map(peer).collect(),
            under_way: BTreeSet::new(),
            waves: 0,
            answers: 0,
            heard: BTreeMap::new(),
            is_disturbed: false,
        })
    }

    fn others(&self) -> impl Iterator<Item = PeerId> + '_ {
        (0..self.peers.len() as u32).map(PeerId).filter(|peer| *peer != self.trader)
    }

    fn send(&mut self, from: PeerId, sent: Vec<(PeerId, Envelope)>) {
        let handed = sent.into_iter().map(|(to, envelope)| Shared::new(Handed { from, to, envelope }));
        self.under_way.extend(handed);
    }

    /// Every step of a peer ends with this.
    fn finish(&mut self, at: PeerId) {
        let answers = self.change(at, |peer| {
            let answers = peer.overlay.answers();
            peer.is_armed |= peer.overlay.starts_waiting();
            answers
        });
        self.answers += answers.len();
        self.send(at, answers);
    }

    fn change<R>(&mut self, peer: PeerId, how: impl FnOnce(&mut Peer) -> R) -> R {
        self.peers[peer.0 as usize].change(how)
    }

    fn wave(&mut self) {
        self.waves += 1;
        self.is_disturbed |= !self.under_way.is_empty();
        let clock = Time(self.waves);
        let sent = self.change(self.trader, |trader| trader.overlay.broadcast(clock, Body::Wave));
        self.send(self.trader, sent);
        self.finish(self.trader);
    }

    fn arrive(&mut self, handed: &Shared<Handed>) {
        self.under_way.remove(handed);
        let Handed { from, to, envelope } = &**handed;
        let clock = envelope.clock;
        let arrival = self.change(*to, |peer| peer.overlay.receive(*from, envelope.clone()));
        self.send(*to, arrival.forwarded);
        match arrival.delivered.map(|envelope| envelope.body) {
            Some(Body::Wave) => {
                let promise = Promise { incarnation: Incarnation(1), above: clock, open: None };
                self.change(*to, |peer| peer.overlay.promise(*to, promise));
            }
            Some(Body::Promises { promises, .. }) if *to == self.trader => {
                for (buyer, promise) in promises {
                    let heard = self.heard.entry(buyer).or_default();
                    *heard = promise.above.max(*heard);
                }
            }
            Some(_) | None => {}
        }
        self.finish(*to);
    }

    fn fire(&mut self, peer: PeerId) {
        self.change(peer, |peer| {
            peer.is_armed = false;
            peer.overlay.stop_waiting();
        });
        self.finish(peer);
    }

    fn part(&mut self, one: PeerId, other: PeerId) {
        let is_between = |handed: &Handed| [(one, other), (other, one)].contains(&(handed.from, handed.to));
        self.under_way.retain(|handed| !is_between(handed));
        for (at, neighbour) in [(one, other), (other, one)] {
            self.change(at, |peer| peer.overlay.link_down(neighbour));
            self.finish(at);
        }
    }

    fn heard_of(&self, buyer: PeerId) -> Time {
        self.heard.get(&buyer).copied().unwrap_or_default()
    }

    /// Those whose timers run and who wait for somebody.
    fn waiting(&self) -> impl Iterator<Item = PeerId> + '_ {
        let peers = (0..).map(PeerId).zip(&self.peers);
        peers.filter(|(_, peer)| peer.is_armed && peer.overlay.gathers()).map(|(peer, _)| peer)
    }

    /// The peers that working links connect with the trader.
    fn connected(&self) -> BTreeSet<PeerId> {
        let mut connected = BTreeSet::from([self.trader]);
        loop {
            let links = |peer: &PeerId| self.peers[peer.0 as usize].overlay.links().iter().copied();
            let more: BTreeSet<PeerId> =
                connected.iter().flat_map(links).filter(|peer| !connected.contains(peer)).collect();
            if more.is_empty() {
                return connected;
            }
            connected.extend(more);
        }
    }

    fn check(&self) -> Result<(), Violation> {
        let others = self.peers.len() - 1;
        a_wave_is_answered_in_few_envelopes(self.answers, others * self.waves as usize)?;
        if self.is_disturbed || !self.under_way.is_empty() {
            return Ok(());
        }
        self.others().try_for_each(|buyer| every_promise_has_been_heard(buyer, self.heard_of(buyer), Time(self.waves)))
    }

    /// One step of the schedule on which nothing goes wrong any more; `None` if nothing is left to happen.
    fn advance(&mut self) -> Option<()> {
        match self.under_way.first().cloned() {
            Some(handed) => self.arrive(&handed),
            None => {
                let peer = self.waiting().next()?;
                self.fire(peer);
            }
        }
        Some(())
    }

    /// Everything on which that schedule depends, when so many waves are still to be sent in it and it began after
    /// `known`. What was heard counts as it is, not only by its order.
    fn digest_after(&self, known: u64, left: u64) -> u64 {
        let Scene { network, trader, left: _, peers, under_way, waves, answers: _, heard, is_disturbed: _ } = self;
        let numbers: BTreeMap<PeerId, u64> = heard.iter().map(|(buyer, heard)| (*buyer, heard.0)).collect();
        digest(&(network, trader, peers, under_way, waves, (heard, numbers), known, left))
    }
}

/// After how many waves in which nothing goes wrong everybody is heard again: one in which a neighbour that was taken to
/// be silent is late, one with which its promise leaves, and one on which nobody waits in vain.
const WAVES: u64 = 3;

impl Gatherings {
    fn after_step(&self, state: &State, step: &Step) -> Option<(Scene, Landmarks)> {
        let mut landmarks = Landmarks::default();
        let mut scene = match (step, &state.scene) {
            (Step::Choose(network, trader), _) => {
                return Scene::new(*network, *trader, self.budget).map(|scene| (scene, landmarks));
            }
            (Step::Wave | Step::Arrive(_) | Step::Lose(_) | Step::Fire(_) | Step::Break(..), scene) => scene.clone()?,
        };
        match step {
            Step::Choose(..) => {}
            Step::Wave => {
                scene.left.waves -= 1;
                scene.wave();
            }
            Step::Arrive(handed) => {
                let before = scene.heard.clone();
                scene.arrive(handed);
                if scene.heard != before {
                    landmarks.note(Landmark::Promised);
                }
            }
            Step::Lose(handed) => {
                scene.left.losses -= 1;
                scene.is_disturbed = true;
                landmarks.note(Landmark::LostOnLink);
                scene.under_way.remove(handed);
            }
            Step::Fire(peer) => {
                scene.left.timers -= 1;
                scene.is_disturbed = true;
                landmarks.note(Landmark::AnsweredWithout);
                scene.fire(*peer);
            }
            Step::Break(one, other) => {
                scene.left.breaks -= 1;
                scene.is_disturbed = true;
                scene.part(*one, *other);
            }
        }
        Some((scene, landmarks))
    }
}

impl Subject for Gatherings {
    type State = State;
    type Action = Step;

    fn first(&self) -> State {
        State::FIRST
    }

    fn actions(&self, state: &State, actions: &mut Vec<Step>) {
        let Some(scene) = &state.scene else {
            let choices = network::with_a_peer_of_each_sort(&self.sizes);
            actions.extend(choices.map(|(nth, trader)| Step::Choose(nth, trader)));
            return;
        };
        let left = scene.left;
        if left.waves > 0 {
            actions.push(Step::Wave);
        }
        for handed in &scene.under_way {
            actions.push(Step::Arrive(handed.clone()));
            if left.losses > 0 {
                actions.push(Step::Lose(handed.clone()));
            }
        }
        if left.timers > 0 {
            actions.extend(scene.waiting().map(Step::Fire));
        }
        if left.breaks > 0 {
            for peer in (0..scene.peers.len() as u32).map(PeerId) {
                let links = scene.peers[peer.0 as usize].overlay.links();
                actions.extend(links.iter().filter(|other| **other > peer).map(|other| Step::Break(peer, *other)));
            }
        }
    }

    fn after(&self, state: &State, step: &Step) -> (State, Met) {
        let Some((scene, landmarks)) = self.after_step(state, step) else { return (state.clone(), Met::default()) };
        let kind = match step {
            Step::Choose(..) | Step::Lose(_) => None,
            Step::Wave => Some((Kind::WaveTimer, Role::Trader)),
            Step::Fire(_) => Some((Kind::GatherTimer, Role::Relay)),
            Step::Arrive(handed) => Some((Kind::of_body(&handed.envelope.body), Role::Relay)),
            Step::Break(..) => Some((Kind::LinkDown, Role::Relay)),
        };
        let stepped = kind.map(|(kind, role)| Stepped { kind, role });
        let violation = scene.check().err();
        (State { scene: Some(scene), violation }, Met { landmarks, stepped })
    }

    fn violation<'a>(&self, state: &'a State) -> Option<&'a Violation> {
        state.violation.as_ref()
    }

    fn stuck(&self, state: &State, known: &Known) -> Option<Violation> {
        let mut scene = state.scene.clone()?;
        let before = scene.waves;
        let mut passed = Vec::new();
        for left in (0..=WAVES).rev() {
            loop {
                let digest = scene.digest_after(before, left);
                passed.push(digest);
                if known.steps_from(digest).is_some() {
                    known.keep(&passed, 0);
                    return None;
                }
                if scene.advance().is_none() {
                    break;
                }
            }
            if left > 0 {
                scene.wave();
            }
        }
        let connected = scene.connected();
        let mut buyers = scene.others().filter(|buyer| connected.contains(buyer));
        let unheard =
            buyers.find_map(|buyer| every_promise_has_been_heard(buyer, scene.heard_of(buyer), Time(before + 1)).err());
        if unheard.is_none() {
            known.keep(&passed, 0);
        }
        unheard
    }

    fn properties(&self) -> Vec<Property> {
        vec![Property::F12]
    }

    fn adversary(&self) -> String {
        let Budget { waves, losses, breaks, timers } = self.budget;
        format!(
            "any network of {} to {} peers; waves: {waves}; envelopes lost: {losses}; links that break for good: \
             {breaks}; timers that fire while their peers wait: {timers}. Envelopes arrive in any order. Any peer may be \
             the trader",
            self.sizes.start(),
            self.sizes.end()
        )
    }

    fn sentence(&self, _: &State, step: &Step, _: &State) -> String {
        let what = |envelope: &Envelope| {
            if envelope.wave().is_some() {
                return format!("wave {}", envelope.clock);
            }
            let promises = envelope.body.promises().iter();
            let of: Vec<String> = promises.map(|(buyer, made)| format!("{buyer}: {}", made.above)).collect();
            format!("promises ({})", of.join(", "))
        };
        match step {
            Step::Choose(nth, trader) => {
                let links = network::all().get(*nth).map(Network::to_string).unwrap_or_default();
                format!("on the network {links}, peer {trader} is the trader")
            }
            Step::Wave => "the trader sends a wave".to_owned(),
            Step::Arrive(handed) => {
                format!("peer {} receives {} from peer {}", handed.to, what(&handed.envelope), handed.from)
            }
            Step::Lose(handed) => {
                format!("{} from peer {} to peer {}: lost", what(&handed.envelope), handed.from, handed.to)
            }
            Step::Fire(peer) => format!("peer {peer} waits no longer"),
            Step::Break(one, other) => format!("the link between peers {one} and {other} breaks"),
        }
    }

    fn portrait(&self, state: &State) -> String {
        let Some(scene) = &state.scene else { return "no network is chosen yet".to_owned() };
        let mut text = String::new();
        // Writing to a string does not fail.
        for (peer, up) in (0..).map(PeerId).zip(&scene.peers) {
            let waits = if up.overlay.gathers() { ", waits for answers" } else { "" };
            let heard = scene.heard.get(&peer).map_or(String::new(), |heard| format!(", has promised {heard}"));
            let trader = if peer == scene.trader { ", the trader" } else { "" };
            let _ = writeln!(text, "peer {peer}{trader}{heard}{waits}");
        }
        for handed in &scene.under_way {
            let Handed { from, to, envelope } = &**handed;
            let _ = writeln!(text, "under way from peer {from} to peer {to}: {:?}", envelope.body);
        }
        let Budget { waves, losses, breaks, timers } = scene.left;
        let _ = writeln!(text, "left: {waves} waves, {losses} losses, {breaks} breaks, {timers} timers");
        text
    }

    fn lanes(&self, state: &State) -> Vec<Lane> {
        let peers = state.scene.as_ref().map_or(*self.sizes.end(), |scene| scene.peers.len() as u32);
        (0..peers).map(|peer| Lane { name: format!("peer {peer}"), kind: LaneKind::Peer }).collect()
    }

    fn marks(&self, before: &State, step: &Step, after: &State) -> Vec<Mark> {
        let at = |peer: &PeerId| peer.0 as usize;
        let happened = |peer: &PeerId, label: &str| Mark::Happened { at: at(peer), label: label.to_owned() };
        let mut marks = match step {
            Step::Choose(..) => Vec::new(),
            Step::Wave => after.scene.iter().map(|scene| happened(&scene.trader, "asks")).collect(),
            Step::Arrive(handed) => vec![Mark::Arrived { at: at(&handed.to), message: handed.name() }],
            Step::Lose(handed) => vec![Mark::Lost { message: handed.name() }],
            Step::Fire(peer) => vec![happened(peer, "waits no longer")],
            Step::Break(one, other) => vec![happened(one, &format!("link to {other} breaks"))],
        };
        let under_way = |state: &State| state.scene.as_ref().map(|scene| scene.under_way.clone()).unwrap_or_default();
        for handed in under_way(after).difference(&under_way(before)) {
            let (from, to) = (at(&handed.from), Some(at(&handed.to)));
            let label = if handed.envelope.wave().is_some() { "wave" } else { "promises" }.to_owned();
            marks.push(Mark::Sent { from, to, message: handed.name(), label });
        }
        marks
    }
}

/// The scenarios of the model, in the order in which they are checked.
#[must_use]
pub fn scenarios() -> Vec<Scenario<Gatherings>> {
    let case = |sizes, budget| Gatherings { sizes, budget };
    let wave = Budget { waves: 1, ..Budget::default() };
    let faults = Budget { waves: 1, losses: 1, breaks: 1, timers: 1 };
    vec![
        Scenario {
            name: "gather",
            family: Family::Clock,
            about: "a wave on every network: everybody is heard in one envelope less than there are peers",
            bounds: "1 wave, all 112 networks of 2 to 7 peers, each kind of peer as the trader.",
            landmarks: vec![Landmark::Promised],
            case: case(2..=7, wave),
            further: None,
        },
        Scenario {
            name: "gather-waves",
            family: Family::Clock,
            about: "a wave overtakes another, and answers to both are under way",
            bounds: "2 waves, up to 3 peers: a third finds no more than two at any peer. Further: up to 4 peers.",
            landmarks: vec![Landmark::Promised],
            case: case(2..=3, Budget { waves: 2, ..wave }),
            further: Some(case(2..=4, Budget { waves: 2, ..wave })),
        },
        Scenario {
            name: "gather-lost",
            family: Family::Clock,
            about: "what is lost, late, or cut off makes promises older, and nothing more",
            bounds: "1 wave, 1 loss, 1 link that breaks, 1 timer, up to 4 peers; three further waves in which nothing \
                     goes wrong, from every state. Further: up to 5 peers.",
            landmarks: vec![Landmark::Promised, Landmark::LostOnLink, Landmark::AnsweredWithout],
            case: case(2..=4, faults),
            further: Some(case(2..=5, faults)),
        },
    ]
}
