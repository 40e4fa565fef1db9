//! Overlays alone: `Overlay` on every network of 2 to 7 peers, with late, lost and duplicated messages, and with relays
//! that crash and come back.
//!
//! # What runs
//!
//! The first step chooses one of the [networks](crate::machines::network) and one of its peers as the speaker: one peer
//! of each sort, since renaming the peers of a network changes nothing in what the overlay does (it only compares ids
//! for equality). Then the speaker may broadcast and send unicasts, and others may send unicasts to it, at any moment.
//! What is under way arrives in any order, even on a single link, although real links keep their order.
//!
//! A crash loses what the peer remembers and what is under way to it. What it has sent may still arrive. Its neighbours
//! notice one by one, at any later moment; what they send to it until then is lost. It comes back with its next
//! incarnation, and each end of a link brings the link up again separately, once both have dropped it. A link may also
//! break and come back while both of its ends live.
//!
//! # What is asked
//!
//! S10 is checked in every state. A2 is checked for every flood that reaches a peer for the first time: it is accepted,
//! however late it comes, unless it belongs to a former life of its origin or is *below the window*, that is, preceded
//! by more later floods of its origin than are told apart. The model remembers what has arrived; it does not ask the
//! overlay. A2 is also checked for every message, at the moment when nothing of it is under way any more. A link is
//! *sound* for a message if both ends believed it to be up when the message was sent and it has since neither broken
//! nor lost any copy of the message; a copy that arrives below the window counts as lost on its link. Then:
//!
//! - A broadcast has reached both ends of each sound link, or neither; so it has reached every peer that sound links
//!   connect with its source, no matter which peers have crashed and whether anybody has noticed. This is not checked
//!   once a later life of the source has begun: its floods make those of the former life stale.
//! - A unicast has reached its destination, unless it was lost while it followed a path (the adversary took it, or it
//!   was sent to a dead neighbour that nobody had noticed to be dead), or no sound links connect its destination with
//!   the peer that last had it on a path; that peer has flooded it. So where every break was noticed before the sending
//!   and no other follows, the unicast arrives as long as a path is left. It follows paths for no more hops than it is
//!   allowed. And it is not flooded where it is meant for a neighbour whose link is down: there it may end.
//!
//! A9 is checked for every unicast. Once no fault has occurred and no break was noticed any more since its sender heard
//! a message of its destination, from that message's beginning on, nobody floods it, whatever else is under way.
//!
//! # What is left out
//!
//! An envelope of a flood that would change nothing at its receiver and make it send nothing is removed as soon as that is
//! so. It would still be so whenever the envelope arrived, since what a life has accepted stays accepted, and what is under
//! way to a life ends with it. The machine itself is asked; nothing here decides it. One thing is lost: once the link it
//! came over has gone down at its receiver, it would show that the neighbour is still there, as any other does.

use std::{collections::BTreeSet, fmt::Write as _, ops::RangeInclusive};

use bazaar_protocol::{
    clock::Time,
    config::Limits,
    id::{Epoch, Incarnation, Life, PeerId, SaleNumber},
    invariant::{
        Property, Violation, a_broadcast_reaches_both_ends_of_a_link_or_neither, a_flood_is_delivered_at_most_once,
        a_new_flood_is_dropped_only_below_the_window, a_unicast_ends_only_where_no_path_is_left,
        a_unicast_goes_in_no_circle_for_ever, nothing_is_delivered_to_another,
        nothing_is_flooded_for_a_neighbour_that_is_gone, nothing_is_sent_to_a_non_neighbour,
        whoever_was_heard_since_is_reached_without_a_flood,
    },
    message::{Body, ClientMessage, Envelope, FloodId, Route},
    overlay::{Arrival, Overlay, most_hops},
};
use serde::{Deserialize, Serialize};

use crate::{
    machines::network::{self, Network, OnNetwork},
    subject::matrix::{Kind, Role, Stepped},
    subject::picture::{Lane, LaneKind, Mark},
    subject::{Met, Subject},
    subject::{
        landmark::{Landmark, Landmarks},
        shared::{Bag, Shared},
    },
};

mod scenarios;

pub use scenarios::scenarios;

/// The overlays of all networks of the given sizes, and what may happen to them.
#[derive(Clone, Debug)]
pub struct Overlays {
    /// The numbers of peers in a network.
    pub sizes: RangeInclusive<u32>,
    /// Only this network, by its index among all, with this speaker.
    pub only: Option<(usize, PeerId)>,
    /// Unicasts go between the speaker and this peer only.
    pub partner: Option<PeerId>,
    /// How many floods are told apart out of order, and how many hops a unicast may make.
    pub limits: Limits,
    /// How often each kind of event may happen.
    pub budget: Budget,
    /// Whether something new begins only when nothing is under way and every break has been noticed, and nobody answers
    /// before the speaker has sent everything.
    pub calm: bool,
}

/// How often each kind of event may still happen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Budget {
    /// Broadcasts of the speaker.
    pub broadcasts: u8,
    /// Unicasts of the speaker to any other peer.
    pub from_speaker: u8,
    /// Unicasts of any other peer to the speaker.
    pub to_speaker: u8,
    /// Crashes.
    pub crashes: u8,
    /// Restarts.
    pub restarts: u8,
    /// Messages that a link loses.
    pub losses: u8,
    /// Messages that a link delivers twice.
    pub duplicates: u8,
    /// Links that break between two live peers, and may come back.
    pub breaks: u8,
}

/// A state of it.
pub type State = OnNetwork<Scene>;

/// Everything on a network.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Scene {
    /// The index of the network among all.
    network: usize,
    speaker: PeerId,
    left: Budget,
    peers: Vec<Shared<Peer>>,
    /// The links that work.
    connected: Links,
    /// The links that broke between two live peers.
    broken: Links,
    /// The first message that began after the last fault: after it, no link has broken, lost anything or changed at
    /// either of its ends.
    since_fault: usize,
    under_way: Bag<Handed>,
    /// All messages that were sent, in order.
    said: Vec<Said>,
}

/// A peer; what is not durable exists only while it is up.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Peer {
    incarnation: Incarnation,
    up: Option<Up>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Up {
    overlay: Overlay,
    /// The floods that have arrived at it.
    handed: BTreeSet<FloodId>,
    /// The neighbours whose links it has noticed to be down and from which nothing has arrived since.
    silent: BTreeSet<PeerId>,
    /// The floods that were delivered to it, and the broadcasts it has started.
    delivered: BTreeSet<FloodId>,
    /// The messages that were delivered to it, by flood or by path, by index in `said`.
    heard: BTreeSet<u64>,
}

/// An envelope between two neighbours.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Handed {
    from: PeerId,
    to: PeerId,
    envelope: Envelope,
    /// The number of this hop on a unicast's path, counted from 1; 0 for a flood.
    hop: u32,
}

/// A message that was sent, and what must be known to check A2 of it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Said {
    UnderWay {
        by: Life,
        to: Option<PeerId>,
        /// The links that are sound for it.
        sound: Links,
        /// The peer that last had it with a path to follow.
        at: PeerId,
        /// Whether it was lost on its path.
        lost: bool,
        /// Whether its sender has heard its destination since the last fault, so that nobody floods it (A9).
        paved: bool,
    },
    /// Nothing of it is under way any more, and A2 has been checked.
    Over { by: Life },
}

impl Said {
    fn by(&self) -> Life {
        match self {
            Said::UnderWay { by, .. } | Said::Over { by } => *by,
        }
    }
}

/// A set of a network's links, by index.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Links(u16);

impl Links {
    fn has(self, link: usize) -> bool {
        self.0 & 1 << link != 0
    }

    fn put(&mut self, link: usize) {
        self.0 |= 1 << link;
    }

    fn remove(&mut self, link: usize) {
        self.0 &= !(1 << link);
    }

    fn of(self, network: &Network) -> impl Iterator<Item = (PeerId, PeerId)> {
        network.links.iter().enumerate().filter(move |(place, _)| self.has(*place)).map(|(_, link)| *link)
    }
}

/// A step of one overlay, or of what carries its messages.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Step {
    /// The network and the speaker are chosen.
    Choose {
        /// The index of the network among all.
        network: usize,
        /// The peer that may broadcast.
        speaker: PeerId,
    },
    /// The speaker broadcasts a message.
    Broadcast,
    /// The speaker sends a unicast to this peer.
    Tell(PeerId),
    /// This peer sends a unicast to the speaker.
    Answer(PeerId),
    /// An envelope arrives.
    Arrive {
        /// The envelope.
        handed: Shared<Handed>,
        /// Whether it will arrive again.
        stays: bool,
    },
    /// A link loses an envelope.
    Lose(Shared<Handed>),
    /// A peer crashes.
    Crash(PeerId),
    /// A crashed peer starts its next life.
    Restart(PeerId),
    /// A peer notices that a link is down.
    LinkDown {
        /// The peer that notices.
        at: PeerId,
        /// The other end.
        to: PeerId,
    },
    /// A link breaks between two live peers.
    Break {
        /// One end.
        one: PeerId,
        /// The other end.
        other: PeerId,
    },
    /// A peer brings a link up again.
    LinkUp {
        /// The peer that does.
        at: PeerId,
        /// The other end.
        to: PeerId,
    },
}

/// An event of a step, which the new state does not show.
enum Event {
    /// Sent to a neighbour, and under way.
    Handed(Shared<Handed>),
    /// Sent to a neighbour at which it can no longer have any effect.
    Needless(Shared<Handed>),
    /// Sent to a neighbour that is dead.
    Gone(Shared<Handed>),
    /// Delivered to this peer.
    Delivered(PeerId),
}

/// A step that is being taken.
struct Run<'a> {
    network: &'a Network,
    limits: Limits,
    scene: Scene,
    landmarks: Landmarks,
    wrong: Option<Violation>,
    events: Vec<Event>,
}

/// The index in `said` of the message that an envelope carries; bodies are made to contain it.
fn place_of(envelope: &Envelope) -> u64 {
    match &envelope.body {
        Body::Heartbeat { epoch, .. } => epoch.0,
        Body::Client(ClientMessage::AskSales { after: Some(place) }) => place.0,
        Body::Client(
            ClientMessage::AskSales { after: None }
            | ClientMessage::Request(_)
            | ClientMessage::Join { .. }
            | ClientMessage::Deposit(_),
        )
        | Body::Election(_)
        | Body::Wave
        | Body::Promises { .. }
        | Body::Clock
        | Body::Trader(_) => u64::MAX,
    }
}

impl Run<'_> {
    fn check(&mut self, checked: Result<(), Violation>) {
        if let Err(violation) = checked {
            self.wrong.get_or_insert(violation);
        }
    }

    fn up(&self, peer: PeerId) -> Option<&Up> {
        self.scene.peers.get(peer.0 as usize)?.up.as_ref()
    }

    fn change<R>(&mut self, peer: PeerId, how: impl FnOnce(&mut Up) -> R) -> Option<R> {
        self.scene.peers.get_mut(peer.0 as usize)?.change(|peer| peer.up.as_mut().map(how))
    }

    fn said(&mut self, place: u64) -> Option<&mut Said> {
        usize::try_from(place).ok().and_then(|place| self.scene.said.get_mut(place))
    }

    /// Takes a step on a network.
    fn step(&mut self, step: &Step) {
        match step {
            Step::Choose { .. } => {}
            Step::Broadcast => {
                self.scene.left.broadcasts -= 1;
                self.say(self.scene.speaker, None);
            }
            Step::Tell(to) => {
                self.scene.left.from_speaker -= 1;
                self.say(self.scene.speaker, Some(*to));
            }
            Step::Answer(by) => {
                self.scene.left.to_speaker -= 1;
                self.say(*by, Some(self.scene.speaker));
            }
            Step::Arrive { handed, stays } => {
                if *stays {
                    self.scene.left.duplicates -= 1;
                } else {
                    self.scene.under_way.take(handed);
                }
                self.arrive(handed);
            }
            Step::Lose(handed) => {
                // Losing what a crashed peer has sent costs no budget.
                if self.network.link(handed.from, handed.to).is_some_and(|link| self.scene.connected.has(link)) {
                    self.scene.left.losses -= 1;
                }
                self.landmarks.note(Landmark::LostOnLink);
                self.scene.under_way.take(handed);
                self.lose(handed);
            }
            Step::Crash(peer) => {
                self.scene.left.crashes -= 1;
                self.crash(*peer);
            }
            Step::Restart(peer) => {
                self.scene.left.restarts -= 1;
                self.landmarks.note(Landmark::Restarted);
                let (limits, network) = (self.limits, self.network);
                if let Some(part) = self.scene.peers.get_mut(peer.0 as usize) {
                    part.change(|part| {
                        part.incarnation.0 += 1;
                        part.up = Some(Up::new(Life { peer: *peer, incarnation: part.incarnation }, network, &limits));
                    });
                }
            }
            Step::LinkDown { at, to } => {
                self.change(*at, |up| {
                    up.overlay.link_down(*to);
                    up.silent.insert(*to);
                });
            }
            Step::LinkUp { at, to } => {
                self.change(*at, |up| {
                    up.overlay.link_up(*to);
                    up.silent.remove(to);
                });
                if let Some(link) = self.network.link(*at, *to) {
                    self.scene.connected.put(link);
                    self.scene.broken.remove(link);
                }
            }
            Step::Break { one, other } => {
                self.scene.left.breaks -= 1;
                self.disconnect(*one, *other);
                if let Some(link) = self.network.link(*one, *other) {
                    self.scene.broken.put(link);
                }
            }
        }
        match step {
            Step::Crash(_)
            | Step::Restart(_)
            | Step::Break { .. }
            | Step::LinkDown { .. }
            | Step::LinkUp { .. }
            | Step::Lose(_) => self.note_fault(),
            Step::Choose { .. } | Step::Broadcast | Step::Tell(_) | Step::Answer(_) | Step::Arrive { .. } => {}
        }
        self.judge();
    }

    fn say(&mut self, by: PeerId, to: Option<PeerId>) {
        let place = self.scene.said.len() as u64;
        let mut sound = Links(0);
        for (link, (one, other)) in self.network.links.iter().enumerate() {
            let is_up = |at, to| self.up(at).is_some_and(|up| up.overlay.links().contains(&to));
            if self.scene.connected.has(link) && is_up(*one, *other) && is_up(*other, *one) {
                sound.put(link);
            }
        }
        let Some(incarnation) = self.scene.peers.get(by.0 as usize).map(|peer| peer.incarnation) else { return };
        let paved = to.is_some_and(|to| self.has_heard(by, to));
        let said = Said::UnderWay { by: Life { peer: by, incarnation }, to, sound, at: by, lost: false, paved };
        self.scene.said.push(said);
        let sent = self.change(by, |up| match to {
            None => {
                let body = Body::Heartbeat { epoch: Epoch(place), waits: None };
                up.overlay.broadcast(Time(place + 1), body)
            }
            Some(to) => {
                let body = Body::Client(ClientMessage::AskSales { after: Some(SaleNumber(place)) });
                up.overlay.unicast(to, Time(place + 1), body)
            }
        });
        let sent = sent.unwrap_or_default();
        if let (Some(to), true) = (to, sent.is_empty()) {
            self.end_beside(by, to, place);
        }
        let flood = sent.iter().find_map(|(_, envelope)| match envelope.route {
            Route::Flood { id, .. } => Some(id),
            Route::Direct { .. } => None,
        });
        if let Some(id) = flood {
            if to.is_some() {
                self.landmarks.note(Landmark::PathUnknown);
            } else {
                self.change(by, |up| up.delivered.insert(id));
            }
        }
        self.hand(by, sent, 1);
    }

    fn arrive(&mut self, handed: &Handed) {
        let Handed { from, to: at, envelope, hop } = handed;
        let place = place_of(envelope);
        let arrival = self.change(*at, |up| {
            up.silent.remove(from);
            up.overlay.receive(*from, envelope.clone())
        });
        let Arrival { delivered, forwarded } = arrival.unwrap_or_default();
        match envelope.route {
            Route::Flood { id, to } => {
                let distances = self.network.distances(id.origin);
                if delivered.is_some() && distances[from.0 as usize] >= distances[at.0 as usize] {
                    self.landmarks.note(Landmark::LongWay);
                }
                if delivered.is_some() && self.is_after_gap(*at, id) {
                    self.landmarks.note(Landmark::AfterGap);
                }
                if delivered.is_none() && to.is_none_or(|to| to == *at) {
                    self.check_dropped(*at, id);
                }
                self.change(*at, |up| up.handed.insert(id));
            }
            Route::Direct { to, hops } if to != *at => {
                if hops == 0 {
                    self.landmarks.note(Landmark::LeftCircle);
                }
                let path = forwarded.iter().any(|(_, envelope)| matches!(envelope.route, Route::Direct { .. }));
                if let Some(Said::UnderWay { at: last, .. }) = self.said(place) {
                    *last = *at;
                }
                if path {
                    self.landmarks.note(Landmark::PathFollowed);
                } else if forwarded.is_empty() {
                    self.end_beside(*at, to, place);
                } else {
                    self.landmarks.note(Landmark::WentAround);
                }
            }
            Route::Direct { .. } => {}
        }
        if let Some(envelope) = delivered {
            self.deliver(*at, &envelope);
        }
        self.hand(*at, forwarded, hop + 1);
    }

    /// A fault has occurred, or an end of a link has noticed one: what was heard before no longer counts.
    fn note_fault(&mut self) {
        self.scene.since_fault = self.scene.said.len();
        for said in &mut self.scene.said {
            if let Said::UnderWay { paved, .. } = said {
                *paved = false;
            }
        }
    }

    /// Whether a peer has heard another since the last fault, which both ends of every link have noticed.
    fn has_heard(&self, peer: PeerId, other: PeerId) -> bool {
        let mut pending = Vec::new();
        self.scene.notices(self.network, &mut pending);
        if pending.iter().any(|notice| !self.scene.may_wait(self.network, notice)) {
            return false;
        }
        let Some(up) = self.up(peer) else { return false };
        let mut later = self.scene.said.iter().enumerate().skip(self.scene.since_fault);
        later.any(|(place, said)| said.by().peer == other && up.heard.contains(&(place as u64)))
    }

    /// A peer has neither forwarded nor flooded a unicast: that is right beside its destination if the link there has
    /// gone down and nothing has come from it since, and where no link is up at all.
    fn end_beside(&mut self, at: PeerId, to: PeerId, place: u64) {
        let Some(up) = self.up(at) else { return };
        if !up.silent.contains(&to) {
            return;
        }
        self.landmarks.note(Landmark::EndedBeside);
        if let Some(Said::UnderWay { lost, .. }) = self.said(place) {
            *lost = true;
        }
    }

    /// Checks a flood that was not accepted.
    fn check_dropped(&mut self, at: PeerId, id: FloodId) {
        let Some(up) = self.up(at) else { return };
        self.check(a_new_flood_is_dropped_only_below_the_window(at, id, &up.handed, self.limits.flood_window));
    }

    /// Whether a later flood of the same life reached a peer before this one, and an earlier one neither reached it nor
    /// can.
    fn is_after_gap(&self, at: PeerId, id: FloodId) -> bool {
        let Some(up) = self.up(at) else { return false };
        let has_come = |number| up.handed.contains(&FloodId { number, ..id });
        let may_come = |number| {
            let flood = FloodId { number, ..id };
            let is_it =
                |handed: &Shared<Handed>| matches!(handed.envelope.route, Route::Flood { id, .. } if id == flood);
            self.scene.under_way.iter().any(is_it)
        };
        let last = FloodId { number: u64::MAX, ..id };
        up.handed.range(id..=last).any(|later| *later != id)
            && (1..id.number).any(|earlier| !has_come(earlier) && !may_come(earlier))
    }

    fn deliver(&mut self, at: PeerId, envelope: &Envelope) {
        self.events.push(Event::Delivered(at));
        self.check(nothing_is_delivered_to_another(at, envelope.destination()));
        let Some(peer) = self.scene.peers.get(at.0 as usize) else { return };
        let life = Life { peer: at, incarnation: peer.incarnation };
        if let (Route::Flood { id, .. }, Some(up)) = (&envelope.route, &peer.up) {
            let delivered = up.delivered.iter().chain([id]).map(|id| (life, *id));
            self.check(a_flood_is_delivered_at_most_once(delivered));
        }
        self.change(at, |up| {
            up.heard.insert(place_of(envelope));
            if let Route::Flood { id, .. } = envelope.route {
                up.delivered.insert(id);
            }
        });
    }

    /// Sends envelopes to neighbours, and removes those that have become needless with what the peer now knows.
    fn hand(&mut self, from: PeerId, sent: Vec<(PeerId, Envelope)>, hop: u32) {
        let neighbours: BTreeSet<PeerId> = self.network.neighbours(from).collect();
        for (to, envelope) in sent {
            self.check(nothing_is_sent_to_a_non_neighbour(from, to, &neighbours));
            let hop = match envelope.route {
                Route::Flood { .. } => 0,
                Route::Direct { .. } => hop,
            };
            self.check(a_unicast_goes_in_no_circle_for_ever(hop, most_hops(self.network.peers)));
            if let (Route::Flood { to: Some(to), .. }, Some(Said::UnderWay { paved, .. })) =
                (&envelope.route, self.said(place_of(&envelope)))
            {
                let was_heard = *paved;
                self.check(whoever_was_heard_since_is_reached_without_a_flood(from, *to, was_heard));
            }
            if let Route::Flood { id, to: Some(whom) } = envelope.route
                && id.origin == from
            {
                let is_gone = self.up(from).is_some_and(|up| up.silent.contains(&whom));
                self.check(nothing_is_flooded_for_a_neighbour_that_is_gone(from, whom, is_gone));
            }
            let handed = Shared::new(Handed { from, to, envelope, hop });
            if !self.network.link(from, to).is_some_and(|link| self.scene.connected.has(link)) {
                self.landmarks.note(Landmark::HandedToDead);
                self.lose(&handed);
                self.events.push(Event::Gone(handed));
            } else if self.is_needless(&handed) {
                self.events.push(Event::Needless(handed));
            } else {
                self.scene.under_way.put(handed.clone());
                self.events.push(Event::Handed(handed));
            }
        }
        let needless: Vec<_> = self.scene.under_way.iter().filter(|handed| handed.to == from).cloned().collect();
        for handed in needless {
            if self.is_needless(&handed) {
                self.scene.under_way.take(&handed);
            }
        }
    }

    /// Whether an envelope of a flood changes nothing at its receiver and makes it send nothing. A unicast that would end
    /// beside a neighbour that is gone stays under way: it is passed on if it arrives once that neighbour is back.
    fn is_needless(&mut self, handed: &Handed) -> bool {
        if matches!(handed.envelope.route, Route::Direct { .. }) {
            return false;
        }
        let Some(up) = self.up(handed.to) else { return false };
        let mut overlay = up.overlay.clone();
        if overlay.receive(handed.from, handed.envelope.clone()) != Arrival::default() || overlay != up.overlay {
            return false;
        }
        if let Route::Flood { id, .. } = handed.envelope.route
            && id.origin != handed.to
            && !up.handed.contains(&id)
        {
            let is_later = |other: &FloodId| other.origin == id.origin && other.incarnation > id.incarnation;
            let is_former = up.handed.iter().any(is_later);
            self.check_dropped(handed.to, id);
            if is_former {
                self.landmarks.note(Landmark::FormerLife);
            } else {
                self.landmarks.note(Landmark::BelowWindow);
                self.lose(handed);
            }
        } else {
            self.landmarks.note(Landmark::FloodDropped);
        }
        true
    }

    /// Notes that an envelope was lost.
    fn lose(&mut self, handed: &Handed) {
        let Handed { from, to, envelope, .. } = handed;
        let link = self.network.link(*from, *to);
        let is_on_a_path = matches!(envelope.route, Route::Direct { .. });
        if let Some(Said::UnderWay { sound, lost, .. }) = self.said(place_of(envelope)) {
            link.into_iter().for_each(|link| sound.remove(link));
            *lost |= is_on_a_path;
        }
    }

    fn crash(&mut self, peer: PeerId) {
        if let Some(part) = self.scene.peers.get_mut(peer.0 as usize) {
            part.change(|part| part.up = None);
        }
        for neighbour in self.network.neighbours(peer) {
            self.disconnect(peer, neighbour);
        }
        let gone: Vec<_> = self.scene.under_way.iter().filter(|handed| handed.to == peer).cloned().collect();
        for handed in gone {
            self.scene.under_way.take(&handed);
            self.lose(&handed);
            self.events.push(Event::Gone(handed));
        }
    }

    fn disconnect(&mut self, one: PeerId, other: PeerId) {
        let Some(link) = self.network.link(one, other) else { return };
        self.scene.connected.remove(link);
        for said in &mut self.scene.said {
            if let Said::UnderWay { sound, .. } = said {
                sound.remove(link);
            }
        }
    }

    /// Checks, for every message of which nothing is under way any more, whether it got through.
    fn judge(&mut self) {
        for place in 0..self.scene.said.len() {
            let Said::UnderWay { by, to, sound, at, lost, .. } = self.scene.said[place] else { continue };
            let carries = |handed: &Shared<Handed>| place_of(&handed.envelope) == place as u64;
            if self.scene.under_way.iter().any(carries) {
                continue;
            }
            let heard = |peer| self.up(peer).is_some_and(|up| up.heard.contains(&(place as u64)));
            let peers = (0..self.network.peers).map(PeerId);
            let mut reached: BTreeSet<PeerId> = peers.clone().filter(|peer| heard(*peer)).collect();
            reached.insert(by.peer);
            match to {
                None => {
                    let is_last_life =
                        self.scene.peers.get(by.peer.0 as usize).is_some_and(|peer| peer.incarnation == by.incarnation);
                    if is_last_life {
                        self.check(a_broadcast_reaches_both_ends_of_a_link_or_neither(
                            &reached,
                            sound.of(self.network),
                        ));
                    }
                    if peers.clone().any(|peer| self.up(peer).is_some() && !reached.contains(&peer)) {
                        self.landmarks.note(Landmark::CutOff);
                    }
                }
                Some(to) if !reached.contains(&to) => {
                    if !lost {
                        self.check(a_unicast_ends_only_where_no_path_is_left(at, to, sound.of(self.network)));
                    }
                    if self.up(to).is_some() && !lost {
                        self.landmarks.note(Landmark::CutOff);
                    }
                }
                Some(_) => {}
            }
            self.scene.said[place] = Said::Over { by };
        }
    }
}

impl Up {
    fn new(life: Life, network: &Network, limits: &Limits) -> Up {
        Up {
            overlay: Overlay::new(life, network.peers, limits),
            handed: BTreeSet::new(),
            silent: BTreeSet::new(),
            delivered: BTreeSet::new(),
            heard: BTreeSet::new(),
        }
    }
}

impl Scene {
    fn new(network: usize, speaker: PeerId, left: Budget, limits: &Limits) -> Option<Scene> {
        let shape = network::all().get(network)?;
        let peer = |peer| {
            let incarnation = Incarnation(1);
            let mut up = Up::new(Life { peer, incarnation }, shape, limits);
            shape.neighbours(peer).for_each(|neighbour| up.overlay.link_up(neighbour));
            Shared::new(Peer { incarnation, up: Some(up) })
        };
        Some(Scene {
            network,
            speaker,
            left,
            peers: (0..shape.peers).map(PeerId).map(peer).collect(),
            connected: Links((1 << shape.links.len()) - 1),
            broken: Links(0),
            since_fault: 0,
            under_way: Bag::default(),
            said: Vec::new(),
        })
    }

    fn up(&self, peer: PeerId) -> Option<&Up> {
        self.peers.get(peer.0 as usize)?.up.as_ref()
    }

    fn steps(&self, network: &Network, steps: &mut Vec<Step>) {
        let Scene { speaker, left, .. } = self;
        let others = || (0..network.peers).map(PeerId).filter(|peer| peer != speaker);
        if self.up(*speaker).is_some() {
            if left.broadcasts > 0 {
                steps.push(Step::Broadcast);
            }
            if left.from_speaker > 0 {
                steps.extend(others().map(Step::Tell));
            }
        }
        if left.to_speaker > 0 {
            steps.extend(others().filter(|peer| self.up(*peer).is_some()).map(Step::Answer));
        }
        let mut last = None;
        for handed in self.under_way.iter() {
            if last.replace(handed) == Some(handed) {
                continue;
            }
            steps.push(Step::Arrive { handed: handed.clone(), stays: false });
            if left.duplicates > 0 {
                steps.push(Step::Arrive { handed: handed.clone(), stays: true });
            }
            let connected = network.link(handed.from, handed.to).is_some_and(|link| self.connected.has(link));
            if left.losses > 0 || !connected {
                steps.push(Step::Lose(handed.clone()));
            }
        }
        if left.breaks > 0 {
            let works = |link: usize, end: PeerId| self.connected.has(link) && self.up(end).is_some();
            let links = network.links.iter().enumerate();
            let whole = links.filter(|(link, (one, other))| works(*link, *one) && works(*link, *other));
            steps.extend(whole.map(|(_, (one, other))| Step::Break { one: *one, other: *other }));
        }
        for (peer, part) in (0..).map(PeerId).zip(&self.peers) {
            match &part.up {
                None if left.restarts > 0 => steps.push(Step::Restart(peer)),
                Some(_) if left.crashes > 0 => steps.push(Step::Crash(peer)),
                None | Some(_) => {}
            }
        }
        self.notices(network, steps);
    }

    /// A link that broke between two live peers may stay down.
    fn may_wait(&self, network: &Network, step: &Step) -> bool {
        match step {
            Step::LinkUp { at, to } => network.link(*at, *to).is_some_and(|link| self.broken.has(link)),
            Step::Choose { .. }
            | Step::Broadcast
            | Step::Tell(_)
            | Step::Answer(_)
            | Step::Arrive { .. }
            | Step::Lose(_)
            | Step::Crash(_)
            | Step::Restart(_)
            | Step::LinkDown { .. }
            | Step::Break { .. } => false,
        }
    }

    /// The changes of links that their ends have not noticed.
    fn notices(&self, network: &Network, steps: &mut Vec<Step>) {
        for (peer, part) in (0..).map(PeerId).zip(&self.peers) {
            let Some(up) = &part.up else { continue };
            for neighbour in network.neighbours(peer) {
                let Some(link) = network.link(peer, neighbour) else { continue };
                let is_up = up.overlay.links().contains(&neighbour);
                let connected = self.connected.has(link);
                let other = self.up(neighbour).map(|up| up.overlay.links().contains(&peer));
                if is_up && !connected {
                    steps.push(Step::LinkDown { at: peer, to: neighbour });
                }
                // The other end is up, and has dropped the broken link or already brought the new one up.
                if !is_up && other.is_some_and(|thinks_up| thinks_up == connected) {
                    steps.push(Step::LinkUp { at: peer, to: neighbour });
                }
            }
        }
    }

    /// Keeps only the steps of what has begun: the arrivals, or if there are none, the next break to be noticed. A link
    /// that broke between two live peers may stay down for as long as the adversary likes.
    fn calm(&self, network: &Network, alternates: bool, steps: &mut Vec<Step>) {
        if !alternates && self.left.broadcasts + self.left.from_speaker > 0 {
            steps.retain(|step| !matches!(step, Step::Answer(_)));
        }
        if steps.iter().any(|step| matches!(step, Step::Arrive { .. })) {
            steps.retain(|step| matches!(step, Step::Arrive { .. } | Step::Lose(_)));
        } else if let Some(noticed) = steps.iter().position(|step| {
            matches!(step, Step::LinkDown { .. } | Step::LinkUp { .. }) && !self.may_wait(network, step)
        }) {
            steps.swap(0, noticed);
            steps.truncate(1);
        }
    }

    /// Whether nothing can make a difference any more: nothing is under way and nothing can be sent.
    fn is_over(&self) -> bool {
        let Budget { broadcasts, from_speaker, to_speaker, .. } = self.left;
        self.under_way.is_empty() && broadcasts == 0 && from_speaker == 0 && to_speaker == 0
    }
}

impl Overlays {
    fn run<'a>(&self, state: &State, step: &Step) -> Option<Run<'a>> {
        let scene = match (step, &state.scene) {
            (Step::Choose { network, speaker }, _) => Scene::new(*network, *speaker, self.budget, &self.limits)?,
            (
                Step::Broadcast
                | Step::Tell(_)
                | Step::Answer(_)
                | Step::Arrive { .. }
                | Step::Lose(_)
                | Step::Crash(_)
                | Step::Restart(_)
                | Step::LinkDown { .. }
                | Step::Break { .. }
                | Step::LinkUp { .. },
                scene,
            ) => scene.clone()?,
        };
        let network = network::all().get(scene.network)?;
        let (limits, landmarks) = (self.limits, Landmarks::default());
        let mut run = Run { network, limits, scene, landmarks, wrong: None, events: Vec::new() };
        run.step(step);
        Some(run)
    }

    /// The networks, each with the peers that may be its speaker.
    fn choices(&self) -> Vec<(usize, PeerId)> {
        if let Some(only) = self.only {
            return vec![only];
        }
        network::with_a_peer_of_each_sort(&self.sizes).collect()
    }
}

impl Subject for Overlays {
    type State = State;
    type Action = Step;

    fn first(&self) -> State {
        State::FIRST
    }

    fn actions(&self, state: &State, actions: &mut Vec<Step>) {
        if state.violation.is_some() {
            return;
        }
        match &state.scene {
            None => {
                let choices = self.choices().into_iter();
                actions.extend(choices.map(|(network, speaker)| Step::Choose { network, speaker }));
            }
            Some(scene) if scene.is_over() => {}
            Some(scene) => {
                if let Some(network) = network::all().get(scene.network) {
                    scene.steps(network, actions);
                    let is_meant = |peer: &PeerId| self.partner.is_none_or(|partner| partner == *peer);
                    actions.retain(|step| match step {
                        Step::Tell(peer) | Step::Answer(peer) => is_meant(peer),
                        Step::Choose { .. }
                        | Step::Broadcast
                        | Step::Arrive { .. }
                        | Step::Lose(_)
                        | Step::Crash(_)
                        | Step::Restart(_)
                        | Step::LinkDown { .. }
                        | Step::LinkUp { .. }
                        | Step::Break { .. } => true,
                    });
                    if self.calm {
                        scene.calm(network, self.budget.breaks > 0, actions);
                    }
                }
            }
        }
    }

    fn after(&self, state: &State, step: &Step) -> (State, Met) {
        let Some(run) = self.run(state, step) else { return (state.clone(), Met::default()) };
        let kind = match step {
            Step::Choose { .. } | Step::Lose(_) | Step::Crash(_) | Step::Break { .. } => None,
            Step::Broadcast => Some(Kind::Heartbeat),
            Step::Tell(_) | Step::Answer(_) => Some(Kind::AskSales),
            Step::Arrive { .. } => Some(Kind::Relayed),
            Step::Restart(_) => Some(Kind::Start),
            Step::LinkDown { .. } => Some(Kind::LinkDown),
            Step::LinkUp { .. } => Some(Kind::LinkUp),
        };
        let stepped = kind.map(|kind| Stepped { kind, role: Role::Relay });
        (State { scene: Some(run.scene), violation: run.wrong }, Met { landmarks: run.landmarks, stepped })
    }

    fn violation<'a>(&self, state: &'a State) -> Option<&'a Violation> {
        state.violation.as_ref()
    }

    fn properties(&self) -> Vec<Property> {
        vec![Property::S10, Property::A2, Property::A9]
    }

    fn adversary(&self) -> String {
        let Budget { broadcasts, from_speaker, to_speaker, crashes, restarts, losses, duplicates, breaks } =
            self.budget;
        let place = match self.only {
            Some((network, speaker)) => {
                let links = network::all().get(network).map(Network::to_string).unwrap_or_default();
                let partner = self.partner.map(|partner| format!(", unicasts between it and peer {partner} only"));
                format!("the network {links}, speaker {speaker}{}", partner.unwrap_or_default())
            }
            None => format!("any network of {} to {} peers, any speaker", self.sizes.start(), self.sizes.end()),
        };
        let Limits { flood_window, .. } = self.limits;
        let pace = if self.calm {
            "Nothing new begins while anything is under way or a break is unnoticed."
        } else {
            "Each end notices a break at any later moment."
        };
        format!(
            "{place}; broadcasts: {broadcasts}; unicasts from the speaker: {from_speaker}, to the speaker: \
             {to_speaker}; crashes: {crashes}; restarts: {restarts}; messages lost: {losses}, duplicated: \
             {duplicates}; links broken between live peers: {breaks}. Messages arrive in any order. {pace} Floods told \
             apart out of order: {flood_window}; hops of a unicast: 4 times as many as there are peers"
        )
    }

    fn sentence(&self, before: &State, step: &Step, after: &State) -> String {
        // What becomes of a message is not part of a state, so the step is taken again.
        let Some(run) = self.run(before, step) else { return "nothing: no network is chosen yet".to_owned() };
        let speaker = run.scene.speaker;
        let place = run.scene.said.len().saturating_sub(1);
        let mut told = match step {
            Step::Choose { network, speaker } => {
                let peers = run.network.peers;
                let mut alike = network::all().iter().enumerate().filter(|(_, network)| network.peers == peers);
                let first = alike.next().map_or(0, |(place, _)| place);
                let (nth, all) = (network - first + 1, alike.count() + 1);
                format!("on network {nth} of {all} with {peers} peers ({}), peer {speaker} is the speaker", run.network)
            }
            Step::Broadcast => format!("peer {speaker} broadcasts message {place}"),
            Step::Tell(to) => format!("peer {speaker} sends message {place} to peer {to}"),
            Step::Answer(by) => format!("peer {by} sends message {place} to peer {speaker}"),
            Step::Arrive { handed, stays } => {
                let again = if *stays { ", and it will arrive again" } else { "" };
                format!("peer {} receives {} from peer {}{again}", handed.to, what(&handed.envelope), handed.from)
            }
            Step::Lose(handed) => {
                format!("{} is lost between peer {} and peer {}", what(&handed.envelope), handed.from, handed.to)
            }
            Step::Crash(peer) => format!("peer {peer} crashes"),
            Step::Restart(peer) => {
                let incarnation = run.scene.peers.get(peer.0 as usize).map(|peer| peer.incarnation).unwrap_or_default();
                format!("peer {peer} restarts, in life {incarnation}")
            }
            Step::LinkDown { at, to } => format!("peer {at} notices that its link to peer {to} is down"),
            Step::LinkUp { at, to } => format!("peer {at} brings its link to peer {to} up again"),
            Step::Break { one, other } => format!("the link between peer {one} and peer {other} breaks"),
        };
        let mut clause = |what: &str, peers: Vec<PeerId>| {
            if !peers.is_empty() {
                let peers: Vec<_> = peers.iter().map(|peer| format!("peer {peer}")).collect();
                let _ = write!(told, "{what}{}", peers.join(", "));
            }
        };
        let pick = |which: fn(&Event) -> Option<PeerId>| run.events.iter().filter_map(which).collect::<Vec<_>>();
        if run.events.iter().any(|event| matches!(event, Event::Delivered(_))) {
            clause(
                "; it is delivered to ",
                pick(|event| if let Event::Delivered(at) = event { Some(*at) } else { None }),
            );
        }
        clause("; it goes to ", pick(|event| if let Event::Handed(handed) = event { Some(handed.to) } else { None }));
        clause(
            "; it has no effect any more at ",
            pick(|event| if let Event::Needless(handed) = event { Some(handed.to) } else { None }),
        );
        clause(
            "; it is lost on the way to ",
            pick(|event| if let Event::Gone(handed) = event { Some(handed.to) } else { None }),
        );
        if let Some(violation) = &after.violation {
            let Violation { property, what, .. } = violation;
            let _ = write!(told, " — {property} IS VIOLATED: {what}");
        }
        told
    }

    fn portrait(&self, state: &State) -> String {
        let Some(scene) = &state.scene else { return format!("no network is chosen yet\n{}", holds(state)) };
        let mut text = String::new();
        let Some(network) = network::all().get(scene.network) else { return text };
        let _ = writeln!(text, "{} peers, links {}; peer {} speaks", network.peers, network, scene.speaker);
        for (peer, part) in (0..).map(PeerId).zip(&scene.peers) {
            let Some(up) = &part.up else {
                let _ = writeln!(text, "peer {peer}: down, life {}", part.incarnation);
                continue;
            };
            let links: Vec<_> = up.overlay.links().iter().map(PeerId::to_string).collect();
            let life = if part.incarnation.0 > 1 { format!("life {}, ", part.incarnation) } else { String::new() };
            let _ = write!(text, "peer {peer}: {life}links to {}", listed(&links));
            let heard: Vec<_> = up.heard.iter().map(u64::to_string).collect();
            let _ = writeln!(text, "; has heard {}", listed(&heard));
        }
        for handed in scene.under_way.iter() {
            let _ =
                writeln!(text, "under way from peer {} to peer {}: {}", handed.from, handed.to, what(&handed.envelope));
        }
        for (place, said) in scene.said.iter().enumerate() {
            match said {
                Said::UnderWay { by, to, sound, at, lost, .. } => {
                    let whom = to.map_or("everybody".to_owned(), |to| format!("peer {to}"));
                    let sound: Vec<_> = sound.of(network).map(|(one, other)| format!("{one}-{other}")).collect();
                    let _ =
                        write!(text, "message {place} of peer {} for {whom}: sound links {}", by.peer, listed(&sound));
                    if to.is_some() {
                        let _ = write!(text, "; last on a path at {at}{}", if *lost { ", lost there" } else { "" });
                    }
                    text.push('\n');
                }
                Said::Over { .. } => {
                    let _ = writeln!(text, "message {place}: over");
                }
            }
        }
        let Budget { broadcasts, from_speaker, to_speaker, crashes, restarts, losses, duplicates, breaks } = scene.left;
        let all = [
            (broadcasts, "broadcasts"),
            (from_speaker + to_speaker, "unicasts"),
            (crashes, "crashes"),
            (restarts, "restarts"),
            (losses, "losses"),
            (duplicates, "duplicates"),
            (breaks, "breaks"),
        ];
        let all: Vec<_> = all.iter().filter(|(count, _)| *count > 0).map(|(n, what)| format!("{n} {what}")).collect();
        let _ = writeln!(
            text,
            "the adversary has left: {}",
            if all.is_empty() { "nothing".into() } else { all.join(", ") }
        );
        text.push_str(&holds(state));
        text
    }

    fn lanes(&self, state: &State) -> Vec<Lane> {
        // Before a network is chosen there may be as many peers as in the largest.
        let chosen = state.scene.as_ref().and_then(|scene| network::all().get(scene.network));
        let peers = chosen.map_or(*self.sizes.end(), |network| network.peers);
        (0..peers).map(|peer| Lane { name: format!("peer {peer}"), kind: LaneKind::Peer }).collect()
    }

    fn marks(&self, before: &State, step: &Step, after: &State) -> Vec<Mark> {
        let Some(run) = self.run(before, step) else { return Vec::new() };
        let lane = |peer: PeerId| peer.0 as usize;
        let happened = |at: PeerId, label: String| Mark::Happened { at: lane(at), label };
        let mut marks = Vec::new();
        match step {
            Step::Choose { speaker, .. } => marks.push(happened(*speaker, "speaks".to_owned())),
            Step::Broadcast => marks.push(happened(run.scene.speaker, "broadcasts".to_owned())),
            Step::Tell(to) => marks.push(happened(run.scene.speaker, format!("tells {to}"))),
            Step::Answer(by) => marks.push(happened(*by, format!("tells {}", run.scene.speaker))),
            Step::Arrive { handed, .. } => marks.push(Mark::Arrived { at: lane(handed.to), message: handed.name() }),
            Step::Lose(handed) => marks.push(Mark::Lost { message: handed.name() }),
            Step::Crash(peer) => marks.push(Mark::Crashed { at: lane(*peer) }),
            Step::Restart(peer) => marks.push(Mark::Restarted { at: lane(*peer) }),
            Step::LinkDown { at, to } => marks.push(happened(*at, format!("link to {to} down"))),
            Step::LinkUp { at, to } => marks.push(happened(*at, format!("link to {to} up"))),
            Step::Break { one, other } => {
                marks
                    .extend([(one, other), (other, one)].map(|(at, to)| happened(*at, format!("link to {to} breaks"))));
            }
        }
        for event in &run.events {
            match event {
                Event::Delivered(at) => marks.push(happened(*at, "delivered".to_owned())),
                Event::Handed(handed) => marks.push(sent(handed)),
                Event::Needless(handed) => {
                    marks.push(sent(handed));
                    marks.push(Mark::Arrived { at: lane(handed.to), message: handed.name() });
                }
                Event::Gone(handed) => {
                    // A crash loses what was sent earlier.
                    if !matches!(step, Step::Crash(_)) {
                        marks.push(sent(handed));
                    }
                    marks.push(Mark::Lost { message: handed.name() });
                }
            }
        }
        if let Some(violation) = &after.violation {
            marks.push(Mark::Violated { at: None, label: violation.to_string() });
        }
        marks
    }
}

fn sent(handed: &Shared<Handed>) -> Mark {
    let (from, to) = (handed.from.0 as usize, Some(handed.to.0 as usize));
    Mark::Sent { from, to, message: handed.name(), label: what(&handed.envelope) }
}

/// An envelope in a few words.
fn what(envelope: &Envelope) -> String {
    let place = place_of(envelope);
    match &envelope.route {
        Route::Flood { id, to: None } => format!("message {place} (flood {} of {})", id.number, id.origin),
        Route::Flood { id, to: Some(to) } => format!("message {place} for {to} (flood {} of {})", id.number, id.origin),
        Route::Direct { to, .. } => format!("message {place} for {to}"),
    }
}

fn listed(words: &[String]) -> String {
    if words.is_empty() { "none".to_owned() } else { words.join(" ") }
}

fn holds(state: &State) -> String {
    let violated = |violation: &Violation| format!("VIOLATED HERE: {violation}");
    state.violation.as_ref().map_or_else(|| "holds here: S10 A2 A9".to_owned(), violated)
}

#[cfg(test)]
mod tests;
