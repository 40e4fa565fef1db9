//! Messages between peers that are not neighbours (SPEC A2): floods, and the reverse paths that floods leave behind.
//!
//! A flood goes to every neighbour except the one it came from, and is taken once. The neighbour that delivered a
//! peer's message is the next hop back to that peer, until a newer message shows another. Nothing else is known of the
//! network: there is no routing protocol, nothing that has to converge. Where the path is unknown or down, a unicast is
//! flooded from there. Such paths form no loop as long as messages keep their order; if they do not, or a relay has
//! forgotten its paths in a restart, a message leaves the loop after [`Limits::hops`] hops, again by flooding.
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
    id::{Incarnation, Life, PeerId},
    message::{Body, Envelope, FloodId, Route},
};

/// One peer's part of the overlay.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Overlay {
    me: Life,
    links: BTreeSet<PeerId>,
    floods: u64,
    origins: BTreeMap<PeerId, Origin>,
    /// The path to each peer: the neighbour that delivered its newest message.
    paths: BTreeMap<PeerId, PeerId>,
    /// How many floods of one origin can be told apart out of order ([`Limits::flood_window`]).
    window: u32,
    /// The number of hops after which a unicast is flooded instead ([`Limits::hops`]).
    hops: u16,
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
    /// The overlay of a peer whose links are all down.
    #[must_use]
    pub fn new(me: Life, limits: &Limits) -> Overlay {
        Overlay {
            me,
            links: BTreeSet::new(),
            floods: 0,
            origins: BTreeMap::new(),
            paths: BTreeMap::new(),
            window: limits.flood_window,
            hops: limits.hops,
        }
    }

    /// The neighbours whose links are up.
    #[must_use]
    pub fn links(&self) -> &BTreeSet<PeerId> {
        &self.links
    }

    /// A link has come up.
    pub fn link_up(&mut self, neighbour: PeerId) {
        self.links.insert(neighbour);
    }

    /// A link has gone down.
    pub fn link_down(&mut self, neighbour: PeerId) {
        self.links.remove(&neighbour);
    }

    /// Sends a message to everybody else.
    pub fn broadcast(&mut self, clock: Time, body: Body) -> Vec<(PeerId, Envelope)> {
        let route = self.next_flood(None);
        self.flood(None, Envelope { source: self.me.peer, clock, route, body })
    }

    /// Sends a message to one other peer.
    pub fn unicast(&mut self, to: PeerId, clock: Time, body: Body) -> Vec<(PeerId, Envelope)> {
        self.route(None, Envelope { source: self.me.peer, clock, route: Route::Direct { to, hops: self.hops }, body })
    }

    /// Takes an envelope from a neighbour: delivers it, forwards it, or both.
    pub fn receive(&mut self, from: PeerId, envelope: Envelope) -> Arrival {
        match envelope.route {
            Route::Flood { id, to } => {
                if !self.take(from, id) {
                    mutant!(FloodDeliveredAgain => return self.again(id, to, envelope));
                    return Arrival::default();
                }
                // A broadcast's own path follows its newest flood (above); a unicast that a relay has flooded also
                // shows the path to its source.
                if envelope.source != id.origin {
                    self.learn(envelope.source, from);
                }
                match to {
                    Some(to) if to == self.me.peer => Arrival { delivered: Some(envelope), forwarded: Vec::new() },
                    Some(_) => Arrival {
                        delivered: mutant!(None; RelayHears => Some(envelope.clone())),
                        forwarded: self.flood(Some(from), envelope),
                    },
                    None => Arrival { forwarded: self.flood(Some(from), envelope.clone()), delivered: Some(envelope) },
                }
            }
            Route::Direct { to, .. } => {
                self.learn(envelope.source, from);
                if to == self.me.peer {
                    Arrival { delivered: Some(envelope), forwarded: Vec::new() }
                } else {
                    Arrival { delivered: None, forwarded: self.route(Some(from), envelope) }
                }
            }
        }
    }

    fn learn(&mut self, source: PeerId, from: PeerId) {
        if source != self.me.peer {
            self.paths.insert(source, from);
        }
    }

    /// Whether this flood is new here. Remembers it, and the path back to the peer that started it.
    fn take(&mut self, from: PeerId, id: FloodId) -> bool {
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
        if origin.taken.last().is_none_or(|newest| *newest < id.number) {
            self.paths.insert(id.origin, from);
        }
        origin.taken.insert(id.number);
        if origin.taken.len() > self.window as usize {
            // Give up the oldest gap: whatever is missing below counts as taken.
            let oldest = mutant!(origin.taken.pop_first(); WindowDropsNewest => origin.taken.pop_last().and(None));
            origin.floor = oldest.unwrap_or(origin.floor);
        }
        while origin.taken.first() == Some(&(origin.floor + 1)) {
            origin.taken.pop_first();
            origin.floor += 1;
        }
        true
    }

    fn next_flood(&mut self, to: Option<PeerId>) -> Route {
        self.floods += 1;
        let incarnation = mutant!(self.me.incarnation; FloodNumbersRestart => Incarnation(1));
        let id = FloodId { origin: self.me.peer, incarnation, number: self.floods };
        Route::Flood { id, to }
    }

    fn flood(&self, except: Option<PeerId>, envelope: Envelope) -> Vec<(PeerId, Envelope)> {
        let others = self.links.iter().filter(|link| Some(**link) != except);
        others.map(|link| (*link, envelope.clone())).collect()
    }

    fn route(&mut self, from: Option<PeerId>, envelope: Envelope) -> Vec<(PeerId, Envelope)> {
        let Route::Direct { to, hops } = envelope.route else { return Vec::new() };
        match self.next_hop(to).filter(|hop| Some(*hop) != from && hops > 0) {
            Some(hop) => {
                let hops = mutant!(hops - 1; HopsNotCounted => hops - u16::from(from.is_none()));
                alloc::vec![(hop, Envelope { route: Route::Direct { to, hops }, ..envelope })]
            }
            None => {
                mutant!(RelayNotAround => return Vec::new());
                let route = self.next_flood(Some(to));
                self.flood(None, Envelope { route, ..envelope })
            }
        }
    }

    fn next_hop(&self, to: PeerId) -> Option<PeerId> {
        let learned = self.paths.get(&to).copied();
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

    fn overlay(id: u32, links: &[u32]) -> Overlay {
        limited(id, links, &Limits::DEFAULT)
    }

    fn limited(id: u32, links: &[u32], limits: &Limits) -> Overlay {
        let mut overlay = Overlay::new(Life { peer: PeerId(id), incarnation: Incarnation(1) }, limits);
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
        let mut next = Overlay::new(Life { peer: PeerId(0), incarnation: Incarnation(2) }, &Limits::DEFAULT);
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
        let limits = Limits { hops: 1, ..Limits::DEFAULT };
        // Both know a path to peer 5.
        let [mut a, mut b] = [(1, [0, 2, 4]), (2, [1, 3, 4])].map(|(id, links)| limited(id, &links, &limits));
        for (overlay, way) in [(&mut a, 2), (&mut b, 3)] {
            overlay.receive(PeerId(way), self::overlay(5, &[way]).broadcast(Time(1), Body::Clock).remove(0).1);
        }
        let sent = a.unicast(PeerId(5), Time(1), Body::Clock);
        assert!(matches!(sent[..], [(PeerId(2), Envelope { route: Route::Direct { hops: 0, .. }, .. })]), "{sent:?}");
        let on = b.receive(PeerId(1), sent[0].1.clone()).forwarded;
        assert_eq!(targets(&on), [1, 3, 4], "back as well, in case that is the way around");
        assert!(matches!(on[0].1.route, Route::Flood { to: Some(PeerId(5)), .. }));
    }
}
