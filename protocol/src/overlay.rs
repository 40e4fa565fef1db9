//! Messages between peers that are not neighbours (SPEC A2): floods, and the reverse paths that messages leave behind.
//!
//! A flood goes to every neighbour except the one it came from, and is taken once. The neighbour that delivered a
//! peer's newest message is the next hop back to that peer. Nothing else is known of the network: there is no routing
//! protocol, nothing that has to converge. Where the path is unknown or down, a unicast is flooded from there.
//!
//! # Why floods end (SPEC A9)
//!
//! A path carries the clock of the message that showed it, and only a newer message of the same peer replaces it. A
//! peer's clock ticks with each message and survives restarts, so it numbers them (as the destination sequence numbers
//! of DSDV do, Perkins and Bhagwat 1994). Whoever forwards a message has taken it first. So from hop to hop along the
//! paths to a peer the clocks never fall, and where two are equal, both hops show the same message, which the next hop
//! took earlier. Hence paths form no circle, whatever messages are under way and in whatever order they arrive; copies
//! of a message that come back by another way carry the same clock and change nothing. After the last fault one message
//! from a peer is enough: whoever has heard it reaches that peer without a flood. A relay may even send a message back
//! to where it came from: since it was sent there, a newer message has shown a better way.
//!
//! A relay that restarts has forgotten its paths and may learn one that is older than its neighbours'. Only then can
//! paths form a circle, until a newer message comes. A unicast leaves it by flooding after several times as many hops
//! as any path has; paths that change under way may cost it some.
//!
//! A unicast for a neighbour whose link has gone down is not flooded: that neighbour has probably crashed, and each
//! resend of each of its clients would be a flood. If it lives, its next message comes by another way and shows a path;
//! or it still comes by its own half of the link, and then it is not gone.
//!
//! # Late floods
//!
//! Floods may overtake one another, and some never arrive. One that arrives late still counts as new, whatever is
//! missing before it, until more than [`Limits::flood_window`] later ones of its origin have been taken. Then it counts
//! as taken: memory is bounded, and dropping a flood loses a message, which everybody must cope with anyway; nobody
//! copes with one taken twice.

use alloc::{
    collections::{BTreeMap, BTreeSet},
    vec::Vec,
};

use serde::{Deserialize, Serialize};

use crate::{
    clock::Time,
    config::Limits,
    gather::Gather,
    id::{Incarnation, Life, PeerId},
    message::{Body, Envelope, FloodId, Promise, Route},
};

/// One peer's part of the overlay.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Overlay {
    me: Life,
    /// The neighbours whose links are up.
    links: BTreeSet<PeerId>,
    /// The neighbours whose links have gone down and from which nothing has come since.
    gone: BTreeSet<PeerId>,
    floods: u64,
    origins: BTreeMap<PeerId, Origin>,
    /// The path to each peer from which a message has come.
    paths: BTreeMap<PeerId, Path>,
    gather: Gather,
    /// How many floods of one origin can be told apart out of order ([`Limits::flood_window`]).
    window: u32,
    /// The number of hops after which a unicast is flooded instead.
    hops: u32,
}

/// After how many hops a unicast is flooded among so many peers: the longest path has one fewer than there are peers.
#[must_use]
pub fn most_hops(peers: u32) -> u32 {
    peers.saturating_mul(4)
}

/// The path to a peer, as its newest message shows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
struct Path {
    /// The neighbour that delivered the message.
    next: PeerId,
    /// The clock that the message carried.
    clock: Time,
}

/// What it remembers of the floods of one origin.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
struct Origin {
    incarnation: Incarnation,
    /// Every number up to and including this one counts as taken.
    floor: u64,
    /// The numbers above that which were taken.
    taken: BTreeSet<u64>,
}

/// What to do with an envelope that was received.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Arrival {
    /// The envelope, if it is for this peer.
    pub delivered: Option<Envelope>,
    /// The neighbours to forward it to, and what to send them.
    pub forwarded: Vec<(PeerId, Envelope)>,
}

impl Overlay {
    /// The overlay of one of `peers` peers. Its links are all down.
    #[must_use]
    pub fn new(me: Life, peers: u32, limits: &Limits) -> Overlay {
        Overlay {
            me,
            links: BTreeSet::new(),
            gone: BTreeSet::new(),
            floods: 0,
            origins: BTreeMap::new(),
            paths: BTreeMap::new(),
            gather: Gather::default(),
            window: limits.flood_window,
            hops: most_hops(peers),
        }
    }

    /// Whether this and another overlay remember the same floods and paths, whatever links they have.
    #[must_use]
    pub fn remembers_the_same(&self, other: &Overlay) -> bool {
        (self.floods, &self.origins, &self.paths) == (other.floods, &other.origins, &other.paths)
    }

    /// The neighbours whose links are up.
    #[must_use]
    pub fn links(&self) -> &BTreeSet<PeerId> {
        &self.links
    }

    /// A link has come up.
    pub fn link_up(&mut self, neighbour: PeerId) {
        self.links.insert(neighbour);
        self.gone.remove(&neighbour);
    }

    /// A link has gone down.
    pub fn link_down(&mut self, neighbour: PeerId) {
        if self.links.remove(&neighbour) {
            self.gone.insert(neighbour);
        }
        self.gather.link_down(neighbour);
    }

    /// Sends a message to everybody else. `clock` is the sender's, later than in any message that it sent before. If the
    /// message is a wave, this peer gathers the answers.
    pub fn broadcast(&mut self, clock: Time, body: Body) -> Vec<(PeerId, Envelope)> {
        let route = self.next_flood(None);
        let envelope = self.envelope(clock, route, body);
        if let Some(wave) = envelope.wave() {
            self.gather.start(wave, &self.links);
        }
        self.flood(None, envelope)
    }

    /// A buyer's promise, that of this peer, for the answer to the wave that it has heard last.
    pub fn promise(&mut self, buyer: PeerId, promise: Promise) {
        self.gather.promise(buyer, promise);
    }

    /// Whether answers to the last wave are still to come.
    #[must_use]
    pub fn gathers(&self) -> bool {
        self.gather.is_open()
    }

    /// Whether the timer of waves must be started afresh now that a step is over.
    pub fn starts_waiting(&mut self) -> bool {
        self.gather.starts()
    }

    /// The timer of waves has fired: who has been silent for so long is not waited for.
    pub fn stop_waiting(&mut self) {
        self.gather.on_timer();
    }

    /// This peer's answer to the last wave, if it is due now that a step is over. Each of its envelopes carries the clock
    /// that this peer has promised, or 0.
    pub fn answers(&mut self) -> Vec<(PeerId, Envelope)> {
        let Some((to, promises)) = self.gather.due(&self.links) else { return Vec::new() };
        let clock = promises.get(&self.me.peer).map_or(Time(0), |promise| promise.above);
        let promises: Vec<_> = promises.into_iter().collect();
        let mut parts: Vec<&[_]> = promises.chunks(Limits::FRAME as usize).collect();
        // A peer that has nothing to promise answers as well.
        if parts.is_empty() {
            parts.push(&[]);
        }
        let last = parts.len().saturating_sub(1);
        let answer = |(nth, part): (usize, &[(PeerId, Promise)])| {
            let body = Body::Promises { promises: part.to_vec(), more: nth < last };
            (to, self.envelope(clock, Route::Direct { to, hops: 0 }, body))
        };
        parts.into_iter().enumerate().map(answer).collect()
    }

    /// Sends a message to one other peer. `clock` is the sender's, later than in any message that it sent before.
    pub fn unicast(&mut self, to: PeerId, clock: Time, body: Body) -> Vec<(PeerId, Envelope)> {
        self.route(self.envelope(clock, Route::Direct { to, hops: self.hops }, body))
    }

    fn envelope(&self, clock: Time, route: Route, body: Body) -> Envelope {
        Envelope { source: self.me.peer, clock, route, body, multicast: Time(0) }
    }

    /// Something that is not given to [`receive`](Overlay::receive), such as a clock and nothing else, has come from a
    /// neighbour: it is not gone.
    pub fn heard(&mut self, from: PeerId) {
        mutant!(self.gone.remove(&from); GoneForGood => false);
    }

    /// Takes an envelope from a neighbour: delivers it, forwards it, or both.
    pub fn receive(&mut self, from: PeerId, envelope: Envelope) -> Arrival {
        self.heard(from);
        if let Body::Promises { promises, more } = envelope.body {
            let promises: Vec<_> = self.gather.on_answer(from, promises, more).into_iter().collect();
            let is_news = !promises.is_empty();
            let (clock, body) = (Promise::furthest(&promises), Body::Promises { promises, more: false });
            let delivered = is_news.then_some(Envelope { clock, body, ..envelope });
            return Arrival { delivered, ..Arrival::default() };
        }
        let wave = envelope.wave();
        match envelope.route {
            Route::Flood { id, to } => {
                if !self.take(id) {
                    self.gather.on_copy(id, from);
                    mutant!(FloodDeliveredAgain => return self.again(id, to, envelope));
                    return Arrival::default();
                }
                self.learn(&envelope, from);
                match to {
                    Some(to) if to == self.me.peer => Arrival { delivered: Some(envelope), forwarded: Vec::new() },
                    Some(_) => Arrival {
                        delivered: mutant!(None; RelayHears => Some(envelope.clone())),
                        forwarded: self.flood(Some(from), envelope),
                    },
                    None => {
                        if let Some(wave) = wave {
                            self.gather.on_wave(wave, from, &self.links);
                        }
                        Arrival { forwarded: self.flood(Some(from), envelope.clone()), delivered: Some(envelope) }
                    }
                }
            }
            Route::Direct { to, .. } => {
                self.learn(&envelope, from);
                if to == self.me.peer {
                    Arrival { delivered: Some(envelope), forwarded: Vec::new() }
                } else {
                    Arrival { delivered: None, forwarded: self.route(envelope) }
                }
            }
        }
    }

    /// The message shows a path to its source, unless a newer one has shown one.
    fn learn(&mut self, message: &Envelope, from: PeerId) {
        let Envelope { source, clock, .. } = *message;
        let known = self.paths.get(&source).map(|path| path.clock);
        let is_newer = mutant!(
            Some(clock) > known;
            PathOverwritten => true,
            PathKept => known.is_none()
        );
        if source != self.me.peer && is_newer {
            self.paths.insert(source, Path { next: from, clock });
        }
    }

    /// Whether this flood is new here. Remembers it.
    fn take(&mut self, id: FloodId) -> bool {
        if id.origin == self.me.peer {
            return false;
        }
        let origin = self.origins.entry(id.origin).or_default();
        if origin.incarnation > id.incarnation {
            return false;
        }
        if origin.incarnation < id.incarnation {
            *origin = Origin { incarnation: id.incarnation, ..Origin::default() };
        }
        let was_taken = mutant!(
            origin.taken.contains(&id.number);
            GapCountsAsTaken => origin.taken.last().is_some_and(|newest| id.number <= *newest)
        );
        if id.number <= origin.floor || was_taken {
            return false;
        }
        origin.taken.insert(id.number);
        if origin.taken.len() > self.window as usize {
            // Give up the oldest gap: whatever is missing below counts as taken.
            let oldest = mutant!(origin.taken.pop_first(); WindowDropsNewest => origin.taken.pop_last().and(None));
            origin.floor = oldest.unwrap_or(origin.floor);
        }
        while origin.taken.first() == Some(&origin.floor.saturating_add(1)) {
            origin.taken.pop_first();
            origin.floor = origin.floor.saturating_add(1);
        }
        true
    }

    fn next_flood(&mut self, to: Option<PeerId>) -> Route {
        self.floods = self.floods.saturating_add(1);
        let incarnation = mutant!(self.me.incarnation; FloodNumbersRestart => Incarnation(1));
        let id = FloodId { origin: self.me.peer, incarnation, number: self.floods };
        Route::Flood { id, to }
    }

    fn flood(&self, except: Option<PeerId>, envelope: Envelope) -> Vec<(PeerId, Envelope)> {
        let others = self.links.iter().filter(|link| Some(**link) != except);
        others.map(|link| (*link, envelope.clone())).collect()
    }

    fn route(&mut self, envelope: Envelope) -> Vec<(PeerId, Envelope)> {
        let Route::Direct { to, hops } = envelope.route else { return Vec::new() };
        match self.next_hop(to).filter(|_| hops > 0) {
            Some(hop) => {
                let hops = mutant!(
                    hops.saturating_sub(1);
                    HopsNotCounted => hops.saturating_sub(u32::from(envelope.source == self.me.peer))
                );
                alloc::vec![(hop, Envelope { route: Route::Direct { to, hops }, ..envelope })]
            }
            // SPEC A9: what is meant for a neighbour that is gone is not flooded.
            None if mutant!(self.gone.contains(&to); FloodsForTheGone => false) => Vec::new(),
            None => {
                mutant!(RelayNotAround => return Vec::new());
                let route = self.next_flood(Some(to));
                self.flood(None, Envelope { route, ..envelope })
            }
        }
    }

    fn next_hop(&self, to: PeerId) -> Option<PeerId> {
        let learned = self.paths.get(&to).map(|path| path.next);
        let is_link = |hop: &PeerId| mutant!(self.links.contains(hop); SendsPastItsNeighbours => true);
        [Some(to), learned].into_iter().flatten().find(is_link)
    }
}

#[cfg(feature = "mutants")]
mod mutants;

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec;

    const PEERS: u32 = 6;

    fn overlay(id: u32, links: &[u32]) -> Overlay {
        limited(id, links, &Limits::DEFAULT)
    }

    fn limited(id: u32, links: &[u32], limits: &Limits) -> Overlay {
        let me = Life { peer: PeerId(id), incarnation: Incarnation(1) };
        let mut overlay = Overlay::new(me, PEERS, limits);
        links.iter().for_each(|link| overlay.link_up(PeerId(*link)));
        overlay
    }

    fn targets(sent: &[(PeerId, Envelope)]) -> Vec<u32> {
        sent.iter().map(|(to, _)| to.0).collect()
    }

    #[test]
    fn a_flood_is_delivered_once_and_goes_on_to_all_the_others() {
        let (mut a, mut b) = (overlay(0, &[1]), overlay(1, &[0, 2, 3]));
        let [(_, envelope)] = <[_; 1]>::try_from(a.broadcast(Time(1), Body::Clock)).expect("one link");
        let arrival = b.receive(PeerId(0), envelope.clone());
        assert_eq!((arrival.delivered.is_some(), targets(&arrival.forwarded)), (true, vec![2, 3]));
        assert_eq!(b.receive(PeerId(2), envelope), Arrival::default(), "the same flood by another path");
    }

    #[test]
    fn a_unicast_follows_the_path_its_destination_s_flood_left() {
        let (mut a, mut b) = (overlay(0, &[1]), overlay(1, &[0, 2, 3]));
        b.receive(PeerId(0), a.broadcast(Time(1), Body::Clock).remove(0).1);
        let mut c = overlay(2, &[1]);
        let flood = b.receive(PeerId(0), a.broadcast(Time(2), Body::Clock).remove(0).1).forwarded.remove(0).1;
        c.receive(PeerId(1), flood);
        let sent = c.unicast(PeerId(0), Time(1), Body::Clock);
        assert_eq!(targets(&sent), [1]);
        let arrival = b.receive(PeerId(2), sent[0].1.clone());
        assert_eq!(targets(&arrival.forwarded), [0]);
        assert!(a.receive(PeerId(1), arrival.forwarded[0].1.clone()).delivered.is_some());
    }

    #[test]
    fn a_unicast_is_flooded_where_the_next_hop_is_down() {
        let mut b = overlay(1, &[0, 2, 3]);
        b.receive(PeerId(2), overlay(5, &[2]).broadcast(Time(1), Body::Clock).remove(0).1);
        assert_eq!(targets(&b.unicast(PeerId(5), Time(1), Body::Clock)), [2]);
        b.link_down(PeerId(2));
        let sent = b.unicast(PeerId(5), Time(1), Body::Clock);
        assert_eq!(targets(&sent), [0, 3]);
        assert!(matches!(sent[0].1.route, Route::Flood { to: Some(PeerId(5)), .. }));
    }

    #[test]
    fn a_flood_for_one_is_delivered_to_nobody_else() {
        let sent = overlay(1, &[0]).unicast(PeerId(5), Time(1), Body::Clock);
        let arrival = overlay(0, &[1, 2]).receive(PeerId(1), sent[0].1.clone());
        assert_eq!((arrival.delivered, targets(&arrival.forwarded)), (None, vec![2]));
    }

    #[test]
    fn floods_of_a_former_life_are_not_taken_again() {
        let mut b = overlay(1, &[0]);
        let mut former = overlay(0, &[1]);
        let old = former.broadcast(Time(1), Body::Clock).remove(0).1;
        let me = Life { peer: PeerId(0), incarnation: Incarnation(2) };
        let mut next = Overlay::new(me, PEERS, &Limits::DEFAULT);
        next.link_up(PeerId(1));
        assert!(b.receive(PeerId(0), next.broadcast(Time(9), Body::Clock).remove(0).1).delivered.is_some());
        assert!(b.receive(PeerId(0), old).delivered.is_none());
    }

    #[test]
    fn the_memory_of_an_origin_is_bounded() {
        for flood_window in [2, Limits::DEFAULT.flood_window] {
            let mut b = limited(1, &[0], &Limits { flood_window, ..Limits::DEFAULT });
            let mut a = overlay(0, &[1]);
            let floods: Vec<_> = (0..3 * flood_window).map(|_| a.broadcast(Time(1), Body::Clock).remove(0).1).collect();
            for envelope in floods.iter().skip(1).step_by(2) {
                assert!(b.receive(PeerId(0), envelope.clone()).delivered.is_some());
            }
            assert!(b.origins[&PeerId(0)].taken.len() <= flood_window as usize);
            assert!(b.receive(PeerId(0), floods[0].clone()).delivered.is_none(), "too old to tell: taken");
        }
    }

    #[test]
    fn as_many_floods_as_the_window_holds_are_told_apart_out_of_order() {
        for flood_window in [1, 2] {
            let mut b = limited(1, &[0], &Limits { flood_window, ..Limits::DEFAULT });
            let mut a = overlay(0, &[1]);
            let floods: Vec<_> = (0..4).map(|_| a.broadcast(Time(1), Body::Clock).remove(0).1).collect();
            let mut takes = |nth: usize| b.receive(PeerId(0), floods[nth].clone()).delivered.is_some();
            assert!(takes(1) && takes(0), "two that arrive in reverse order are both taken");
            assert!(!takes(0) && !takes(1), "and each once");
            assert!(takes(3) && takes(2), "and a closed gap takes no room");
        }
        // Numbers 2, 4 and then 1: a window of one has given up what is missing below 4.
        for (flood_window, is_taken) in [(1, false), (2, true)] {
            let mut b = limited(1, &[0], &Limits { flood_window, ..Limits::DEFAULT });
            let mut a = overlay(0, &[1]);
            let floods: Vec<_> = (0..4).map(|_| a.broadcast(Time(1), Body::Clock).remove(0).1).collect();
            let mut takes = |nth: usize| b.receive(PeerId(0), floods[nth].clone()).delivered.is_some();
            assert!(takes(1) && takes(3));
            assert_eq!(takes(0), is_taken, "a window of {flood_window}");
        }
    }

    #[test]
    fn a_unicast_that_has_used_up_its_hops_is_flooded() {
        let [mut a, mut b] = [(1, [0, 2, 4]), (2, [1, 3, 4])].map(|(id, links)| overlay(id, &links));
        // Both know a path to peer 5.
        for (relay, way) in [(&mut a, 2), (&mut b, 3)] {
            relay.receive(PeerId(way), overlay(5, &[way]).broadcast(Time(1), Body::Clock).remove(0).1);
        }
        let sent = a.unicast(PeerId(5), Time(1), Body::Clock);
        let [(PeerId(2), first)] = &sent[..] else { panic!("{sent:?}") };
        assert_eq!(first.route, Route::Direct { to: PeerId(5), hops: most_hops(PEERS) - 1 });
        let last = Envelope { route: Route::Direct { to: PeerId(5), hops: 0 }, ..first.clone() };
        let on = b.receive(PeerId(1), last).forwarded;
        assert_eq!(targets(&on), [1, 3, 4], "back as well, in case that is the way around");
        assert!(matches!(on[0].1.route, Route::Flood { to: Some(PeerId(5)), .. }));
    }

    /// Peer 5's message with this clock, on its way to peer 9 by way of the overlay under test.
    fn seen(clock: u64) -> Envelope {
        let route = Route::Direct { to: PeerId(9), hops: 3 };
        Envelope { source: PeerId(5), clock: Time(clock), route, body: Body::Clock, multicast: Time(0) }
    }

    // SPEC A9.
    #[test]
    fn only_a_newer_message_shows_another_path() {
        let mut b = overlay(1, &[0, 2, 3]);
        for (from, clock, next) in [(0, 7, 0), (2, 7, 0), (2, 6, 0), (2, 8, 2), (3, 7, 2), (3, 9, 3)] {
            b.receive(PeerId(from), seen(clock));
            assert_eq!(targets(&b.unicast(PeerId(5), Time(1), Body::Clock)), [next], "{clock} from {from}");
        }
    }

    // SPEC A9.
    #[test]
    fn a_message_for_a_neighbour_that_is_gone_is_not_flooded() {
        let mut b = overlay(1, &[0, 2, 5]);
        b.receive(PeerId(5), seen(1));
        b.link_down(PeerId(5));
        assert_eq!(targets(&b.unicast(PeerId(5), Time(1), Body::Clock)), Vec::<u32>::new());
        b.receive(PeerId(2), seen(2));
        assert_eq!(targets(&b.unicast(PeerId(5), Time(2), Body::Clock)), [2], "it lives, and there is another way");
    }

    #[test]
    fn a_neighbour_that_is_heard_over_its_own_half_of_a_link_is_not_gone() {
        let mut b = overlay(1, &[0, 2, 5]);
        b.link_down(PeerId(5));
        b.receive(PeerId(5), seen(1));
        assert_eq!(targets(&b.unicast(PeerId(5), Time(1), Body::Clock)), [0, 2], "there may be another way to it");
    }

    // SPEC A9. One link of a line is down for one message; formerly, all later ones were floods.
    #[test]
    fn after_a_fault_on_a_line_unicasts_both_ways_are_floods_no_longer() {
        let mut line: Vec<Overlay> = (0..PEERS).map(|id| overlay(id, &[])).collect();
        for id in 1..PEERS {
            let (one, other) = (id as usize - 1, id as usize);
            line[one] = overlay(id - 1, &[line[one].links.iter().map(|link| link.0).collect(), vec![id]].concat());
            line[other] = overlay(id, &[id - 1]);
        }
        let mut clocks = [0; 2];
        // Returns how many envelopes of floods it took.
        let mut tell = |line: &mut Vec<Overlay>, from: usize, to: usize| {
            let clock = &mut clocks[usize::from(from > 0)];
            *clock += 1;
            let sent = line[from].unicast(PeerId(to as u32), Time(*clock), Body::Clock);
            let mut under_way: Vec<_> = sent.into_iter().map(|(next, envelope)| (from, next, envelope)).collect();
            let mut floods = 0;
            while let Some((from, at, envelope)) = under_way.pop() {
                floods += u32::from(matches!(envelope.route, Route::Flood { .. }));
                let arrival = line[at.0 as usize].receive(PeerId(from as u32), envelope);
                let on = arrival.forwarded.into_iter().map(|(next, envelope)| (at.0 as usize, next, envelope));
                under_way.extend(on);
            }
            floods
        };
        let last = PEERS as usize - 1;
        assert!(tell(&mut line, 0, last) > 0, "no path is known");
        assert_eq!(tell(&mut line, last, 0) + tell(&mut line, 0, last), 0);
        // Beyond the third, so that the relay beside it floods back to peers that are not its neighbours.
        line[3].link_down(PeerId(4));
        line[4].link_down(PeerId(3));
        assert!(tell(&mut line, 0, last) > 0);
        line[3].link_up(PeerId(4));
        line[4].link_up(PeerId(3));
        let floods: u32 = (0..10).map(|_| tell(&mut line, last, 0) + tell(&mut line, 0, last)).sum();
        assert_eq!(floods, 0);
    }
}
