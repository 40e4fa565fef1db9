//! The networks on which overlays are checked: all connected graphs of 2 to 7 peers in which each peer has at most 3
//! neighbours, one of every shape. There are 1, 2, 6, 10, 29 and 64 of them, 112 in all.

use std::{
    collections::BTreeSet,
    fmt,
    hash::{Hash, Hasher},
    iter,
    ops::RangeInclusive,
    sync::OnceLock,
};

use bazaar_protocol::{id::PeerId, invariant::Violation};

use crate::subject::shared::digest;

/// The most neighbours a peer may have (SPEC A1).
pub const DEGREE: usize = 3;

/// A connected network of peers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Network {
    /// The number of peers; their ids count from 0.
    pub peers: u32,
    /// Its links, each with the smaller id first.
    pub links: Vec<(PeerId, PeerId)>,
    /// One peer of each sort. Two peers are of the same sort if some renaming that leaves the network unchanged turns
    /// one into the other.
    pub sorts: Vec<PeerId>,
}

impl Network {
    /// The neighbours of a peer.
    pub fn neighbours(&self, peer: PeerId) -> impl Iterator<Item = PeerId> {
        self.links.iter().filter_map(move |(one, other)| match (*one == peer, *other == peer) {
            (true, _) => Some(*other),
            (_, true) => Some(*one),
            (false, false) => None,
        })
    }

    /// The index of a link in `links`.
    #[must_use]
    pub fn link(&self, one: PeerId, other: PeerId) -> Option<usize> {
        let link = (one.min(other), one.max(other));
        self.links.iter().position(|known| *known == link)
    }

    /// The number of hops from a peer to each peer.
    #[must_use]
    pub fn distances(&self, from: PeerId) -> Vec<usize> {
        let mut distances = vec![usize::MAX; self.peers as usize];
        let mut rim = vec![from];
        for distance in 0..self.peers as usize {
            let mut next = Vec::new();
            for peer in rim {
                if distances[peer.0 as usize] == usize::MAX {
                    distances[peer.0 as usize] = distance;
                    next.extend(self.neighbours(peer));
                }
            }
            rim = next;
        }
        distances
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let links: Vec<String> = self.links.iter().map(|(one, other)| format!("{one}-{other}")).collect();
        f.write_str(&links.join(" "))
    }
}

/// All networks, smaller ones first.
#[must_use]
pub fn all() -> &'static [Network] {
    static ALL: OnceLock<Vec<Network>> = OnceLock::new();
    ALL.get_or_init(|| {
        let shapes = iter::successors(Some((2, vec![Shape(1)])), |(peers, smaller)| {
            (*peers < 7).then(|| (peers + 1, one_larger(*peers, smaller)))
        });
        shapes.flat_map(|(peers, shapes)| networks(peers, &shapes)).collect()
    })
}

/// Those that have as many peers, each with its index among all.
pub fn of(sizes: &RangeInclusive<u32>) -> impl Iterator<Item = (usize, &'static Network)> {
    all().iter().enumerate().filter(|(_, network)| sizes.contains(&network.peers))
}

/// The indices of the same, each with one of its peers, of every sort.
pub fn with_a_peer_of_each_sort(sizes: &RangeInclusive<u32>) -> impl Iterator<Item = (usize, PeerId)> {
    of(sizes).flat_map(|(nth, network)| network.sorts.iter().map(move |peer| (nth, *peer)))
}

/// A state of what is tried on every network: none is chosen yet, or everything on the chosen one.
#[derive(Clone, Debug, PartialEq)]
pub struct OnNetwork<S> {
    /// Everything on the chosen network.
    pub(super) scene: Option<S>,
    /// What the last step has violated.
    pub(super) violation: Option<Violation>,
}

impl<S> OnNetwork<S> {
    /// No network is chosen.
    pub(super) const FIRST: OnNetwork<S> = OnNetwork { scene: None, violation: None };
}

impl<S: Hash> Hash for OnNetwork<S> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        let OnNetwork { scene, violation } = self;
        state.write_u64(digest(&(scene, violation.as_ref().map(|violation| violation.property))));
    }
}

/// A graph: a bit for each pair of peers, (0, 1), (0, 2), (1, 2), (0, 3) and so on.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Shape(u32);

impl Shape {
    fn bit(one: usize, other: usize) -> u32 {
        let (one, other) = (one.min(other), one.max(other));
        1 << (other * (other - 1) / 2 + one)
    }

    fn links(self, peers: usize) -> impl Iterator<Item = (usize, usize)> {
        let pairs = (0..peers).flat_map(|other| (0..other).map(move |one| (one, other)));
        pairs.filter(move |(one, other)| self.0 & Shape::bit(*one, *other) != 0)
    }

    fn renamed(self, peers: usize, names: &[usize]) -> Shape {
        Shape(self.links(peers).fold(0, |links, (one, other)| links | Shape::bit(names[one], names[other])))
    }
}

/// Every graph with one more peer. A connected graph has a peer without which it is still connected (a leaf of any
/// spanning tree), so each consists of one of the smaller graphs and a peer linked to some of those with fewer than
/// three neighbours.
fn one_larger(peers: usize, smaller: &[Shape]) -> Vec<Shape> {
    let renamings = renamings(peers + 1);
    let mut found = BTreeSet::new();
    for shape in smaller {
        let degree = |peer| shape.links(peers).filter(|(one, other)| *one == peer || *other == peer).count();
        let open: Vec<usize> = (0..peers).filter(|peer| degree(*peer) < DEGREE).collect();
        for chosen in 1_u32..1 << open.len() {
            if chosen.count_ones() as usize > DEGREE {
                continue;
            }
            let neighbours = open.iter().enumerate().filter(|(nth, _)| chosen & 1 << nth != 0);
            let links = neighbours.fold(shape.0, |links, (_, peer)| links | Shape::bit(*peer, peers));
            let same = renamings.iter().map(|names| Shape(links).renamed(peers + 1, names));
            found.extend(same.min());
        }
    }
    found.into_iter().collect()
}

fn networks(peers: usize, shapes: &[Shape]) -> Vec<Network> {
    let renamings = renamings(peers);
    let network = |shape: &Shape| {
        let same: Vec<_> = renamings.iter().filter(|names| shape.renamed(peers, names) == *shape).collect();
        let is_first = |peer: &usize| same.iter().all(|names| names[*peer] >= *peer);
        let peer = |peer: usize| PeerId(peer as u32);
        Network {
            peers: peers as u32,
            links: shape.links(peers).map(|(one, other)| (peer(one), peer(other))).collect(),
            sorts: (0..peers).filter(is_first).map(peer).collect(),
        }
    };
    shapes.iter().map(network).collect()
}

/// All permutations of this many peers.
fn renamings(peers: usize) -> Vec<Vec<usize>> {
    let mut all = vec![Vec::new()];
    for next in 0..peers {
        let longer = |shorter: &Vec<usize>| -> Vec<Vec<usize>> {
            let insert = |place: usize| [&shorter[..place], &[next], &shorter[place..]].concat();
            (0..=shorter.len()).map(insert).collect()
        };
        all = all.iter().flat_map(longer).collect();
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_are_112_networks_and_each_is_connected_and_of_degree_3_at_most() {
        let sizes: Vec<usize> =
            (2..=7).map(|peers| all().iter().filter(|network| network.peers == peers).count()).collect();
        assert_eq!(sizes, [1, 2, 6, 10, 29, 64]);
        for network in all() {
            assert!(network.distances(PeerId(0)).iter().all(|distance| *distance < 7), "{network:?} is connected");
            assert!((0..network.peers).all(|peer| network.neighbours(PeerId(peer)).count() <= DEGREE), "{network:?}");
        }
    }

    #[test]
    fn the_sorts_of_a_star_are_two_and_of_a_ring_one() {
        let named = |links: &[(u32, u32)]| {
            let degrees = |links: &[(u32, u32)]| {
                let degree = |peer| links.iter().filter(|(one, other)| *one == peer || *other == peer).count();
                let mut degrees: Vec<_> = (0..4).map(degree).collect();
                degrees.sort_unstable();
                degrees
            };
            let plain =
                |network: &Network| network.links.iter().map(|(one, other)| (one.0, other.0)).collect::<Vec<_>>();
            all()
                .iter()
                .find(|network| network.peers == 4 && degrees(&plain(network)) == degrees(links))
                .map(|network| network.sorts.len())
        };
        assert_eq!(named(&[(0, 1), (0, 2), (0, 3)]), Some(2));
        assert_eq!(named(&[(0, 1), (1, 2), (2, 3), (0, 3)]), Some(1));
    }
}
