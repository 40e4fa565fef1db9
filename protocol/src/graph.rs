//! Who is whose neighbour: a connected graph of peers, each with at most three neighbours (SPEC A1, A3).

use alloc::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    string::{String, ToString},
    vec,
    vec::Vec,
};
use core::fmt::{self, Write as _};

use serde::{
    Deserialize, Deserializer, Serialize, Serializer,
    de::{Error as _, MapAccess, Visitor},
};

use crate::{id::PeerId, random::SplitMix64};

/// The most peers a graph has.
pub const MOST_PEERS: u32 = 10_000;
/// The most neighbours a peer has (SPEC A1).
pub const MOST_NEIGHBOURS: usize = 3;

/// A connected undirected graph of peers with ids from 0 up, none of which has more than three neighbours.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Graph {
    /// By peer, in ascending order.
    neighbours: Vec<Vec<PeerId>>,
}

/// Why an adjacency list is not such a graph. Correct the list as the message says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum GraphError {
    /// The text is not a JSON object of lists of numbers.
    Json(String),
    /// The graph has no peers.
    Empty,
    /// The graph has more than [`MOST_PEERS`] peers.
    TooLarge(u64),
    /// A key that is not a peer id.
    NoId(String),
    /// The ids have a gap.
    Missing {
        /// The first id that is not listed.
        missing: u32,
        /// How many peers are listed.
        peers: u32,
    },
    /// One peer is listed twice.
    ListedTwice(u32),
    /// A listed neighbour is not in the graph.
    NoSuchPeer {
        /// The peer that lists it.
        of: u32,
        /// The neighbour as written.
        neighbour: i64,
        /// The largest id.
        last: u32,
    },
    /// A peer lists itself.
    OwnNeighbour(u32),
    /// A peer lists a neighbour twice.
    NeighbourTwice {
        /// The peer that lists it.
        of: u32,
        /// The neighbour that is listed twice.
        neighbour: u32,
    },
    /// A peer has more than three neighbours.
    TooManyNeighbours {
        /// The peer with too many.
        of: u32,
        /// How many neighbours it lists.
        count: usize,
    },
    /// A link is listed at one end only.
    OneWay {
        /// The peer that lists it.
        of: u32,
        /// The peer that does not.
        neighbour: u32,
    },
    /// Not every peer can reach every other.
    Disconnected {
        /// The first peer that peer 0 does not reach.
        unreachable: u32,
    },
}

impl fmt::Display for GraphError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            GraphError::Json(error) => write!(
                f,
                "{error}; a graph is a JSON object that lists each peer's neighbours, such as {{\"0\": [1, 2], \"1\": \
                 [0, 2], \"2\": [0, 1]}}"
            ),
            GraphError::Empty => write!(f, "the graph has no peers; give 1 to {MOST_PEERS}"),
            GraphError::TooLarge(peers) => write!(f, "the graph has {peers} peers; give at most {MOST_PEERS}"),
            GraphError::NoId(key) => {
                write!(f, "\"{key}\" is not a peer id; the ids are whole numbers from 0 up")
            }
            GraphError::Missing { missing, peers } => write!(
                f,
                "peer {missing} is not listed; a graph of {peers} peers lists each id from 0 to {}",
                peers - 1
            ),
            GraphError::ListedTwice(peer) => {
                write!(f, "peer {peer} is listed twice; list each peer once with all its neighbours")
            }
            GraphError::NoSuchPeer { of, neighbour, last } => write!(
                f,
                "peer {of} lists neighbour {neighbour}, which is not in the graph; the ids run from 0 to {last}"
            ),
            GraphError::OwnNeighbour(peer) => {
                write!(f, "peer {peer} lists itself; no peer is its own neighbour")
            }
            GraphError::NeighbourTwice { of, neighbour } => {
                write!(f, "peer {of} lists neighbour {neighbour} twice; list each neighbour once")
            }
            GraphError::TooManyNeighbours { of, count } => {
                write!(f, "peer {of} has {count} neighbours; no peer has more than {MOST_NEIGHBOURS}")
            }
            GraphError::OneWay { of, neighbour } => write!(
                f,
                "peer {of} lists neighbour {neighbour}, but {neighbour} does not list {of}; list both or neither"
            ),
            GraphError::Disconnected { unreachable } => write!(
                f,
                "peer {unreachable} cannot be reached from peer 0; a graph must be connected, so add a link between \
                 them"
            ),
        }
    }
}

impl core::error::Error for GraphError {}

impl GraphError {
    /// The peer whose list is wrong, where it is that of one peer.
    #[must_use]
    pub fn peer(&self) -> Option<u32> {
        match *self {
            GraphError::ListedTwice(of)
            | GraphError::OwnNeighbour(of)
            | GraphError::NoSuchPeer { of, .. }
            | GraphError::NeighbourTwice { of, .. }
            | GraphError::TooManyNeighbours { of, .. }
            | GraphError::OneWay { of, .. }
            | GraphError::Disconnected { unreachable: of } => Some(of),
            GraphError::Json(_)
            | GraphError::Empty
            | GraphError::TooLarge(_)
            | GraphError::NoId(_)
            | GraphError::Missing { .. } => None,
        }
    }
}

impl Graph {
    /// The random graph of a seed. Every peer has three neighbours, except that one has two if the number of peers is
    /// odd. (One peer has none, two have each other, three are a triangle.) The same arguments give the same graph in
    /// every release. `peers` is clamped to 1..=[`MOST_PEERS`].
    #[must_use]
    pub fn random(peers: u32, seed: u64) -> Graph {
        let peers = peers.clamp(1, MOST_PEERS);
        match peers {
            1 => return Graph { neighbours: vec![Vec::new()] },
            2 => return Graph { neighbours: vec![vec![PeerId(1)], vec![PeerId(0)]] },
            3.. => {}
            0 => {} // Clamped to 1 above.
        }
        let mut random = SplitMix64::new(seed, "graph");
        // The configuration model: every peer holds out three hands, hands are joined at random, and whatever is not a
        // simple connected graph is thrown away. All graphs that remain are equally likely. A try succeeds with a
        // chance of about e^-2, whatever the number of peers, so eight tries are usual and a hundred are rare.
        loop {
            if let Some(graph) = Graph::pair_hands(peers, &mut random).filter(|graph| graph.unreachable().is_none()) {
                return graph;
            }
        }
    }

    /// A line: each peer is a neighbour of the next. `peers` is clamped to 1..=[`MOST_PEERS`].
    #[must_use]
    pub fn line(peers: u32) -> Graph {
        Graph::of_links(peers, |peers| peers - 1)
    }

    /// A ring: a line whose ends are neighbours too; from 3 peers on, a line below. `peers` is clamped to
    /// 1..=[`MOST_PEERS`].
    #[must_use]
    pub fn ring(peers: u32) -> Graph {
        Graph::of_links(peers, |peers| if peers < 3 { peers - 1 } else { peers })
    }

    /// The graph in which each of the first `links` peers has a link to the next.
    fn of_links(peers: u32, links: impl Fn(u32) -> u32) -> Graph {
        let peers = peers.clamp(1, MOST_PEERS);
        let mut neighbours = vec![Vec::new(); peers as usize];
        for one in 0..links(peers) {
            let other = (one + 1) % peers;
            neighbours[one as usize].push(PeerId(other));
            neighbours[other as usize].push(PeerId(one));
        }
        neighbours.iter_mut().for_each(|list| list.sort_unstable());
        Graph { neighbours }
    }

    fn pair_hands(peers: u32, random: &mut SplitMix64) -> Option<Graph> {
        let mut hands: Vec<u32> = match peers {
            3 => vec![0, 0, 1, 1, 2, 2],
            _ => (0..peers).flat_map(|peer| [peer; MOST_NEIGHBOURS]).collect(),
        };
        if !hands.len().is_multiple_of(2) {
            hands.remove(random.index(hands.len()));
        }
        random.shuffle(&mut hands);
        let mut neighbours = vec![Vec::with_capacity(MOST_NEIGHBOURS); peers as usize];
        for pair in hands.chunks_exact(2) {
            let (a, b) = (PeerId(pair[0]), PeerId(pair[1]));
            if a == b || neighbours[a.0 as usize].contains(&b) {
                return None;
            }
            neighbours[a.0 as usize].push(b);
            neighbours[b.0 as usize].push(a);
        }
        neighbours.iter_mut().for_each(|list| list.sort_unstable());
        Some(Graph { neighbours })
    }

    /// Checks a list of peers with their neighbours, in any order.
    ///
    /// # Errors
    /// Names the first thing that is wrong with it.
    pub fn from_adjacency(lists: impl IntoIterator<Item = (u32, Vec<i64>)>) -> Result<Graph, GraphError> {
        let mut by_peer: BTreeMap<u32, Vec<i64>> = BTreeMap::new();
        for (peer, list) in lists {
            if by_peer.insert(peer, list).is_some() {
                return Err(GraphError::ListedTwice(peer));
            }
        }
        let peers = match u32::try_from(by_peer.len()) {
            Ok(0) => return Err(GraphError::Empty),
            Ok(peers) if peers <= MOST_PEERS => peers,
            Ok(_) | Err(_) => return Err(GraphError::TooLarge(by_peer.len() as u64)),
        };
        let mut neighbours = Vec::with_capacity(by_peer.len());
        for (expected, (&of, list)) in (0..).zip(&by_peer) {
            if of != expected {
                return Err(GraphError::Missing { missing: expected, peers });
            }
            neighbours.push(checked_neighbours(of, list, peers)?);
        }
        let graph = Graph { neighbours };
        for (of, neighbour) in graph.directed() {
            if !graph.are_neighbours(neighbour, of) {
                return Err(GraphError::OneWay { of: of.0, neighbour: neighbour.0 });
            }
        }
        match graph.unreachable() {
            Some(PeerId(unreachable)) => Err(GraphError::Disconnected { unreachable }),
            None => Ok(graph),
        }
    }

    /// The graph of an adjacency list that a deserializer has read, or has failed to:
    /// `Graph::parsed(serde_json::from_str(text))`.
    ///
    /// # Errors
    /// Names the first thing that is wrong with it.
    pub fn parsed(read: Result<Adjacency, impl fmt::Display>) -> Result<Graph, GraphError> {
        let Adjacency(lists) = read.map_err(|error| GraphError::Json(error.to_string()))?;
        let lists: Result<Vec<(u32, Vec<i64>)>, GraphError> = lists
            .into_iter()
            .map(|(key, list)| key.parse().map(|peer| (peer, list)).map_err(|_| GraphError::NoId(key)))
            .collect();
        Graph::from_adjacency(lists?)
    }

    /// The adjacency list as JSON, a line per peer. [`Graph::parsed`] reads it back.
    #[must_use]
    pub fn to_json(&self) -> String {
        let mut text = String::from("{\n");
        for peer in self.peers() {
            let separator = if peer.0 == 0 { "" } else { ",\n" };
            let list: Vec<String> = self.neighbours(peer).iter().map(PeerId::to_string).collect();
            // Writing to a string cannot fail.
            let _ = write!(text, "{separator}  \"{peer}\": [{}]", list.join(", "));
        }
        text.push_str("\n}\n");
        text
    }

    /// How many peers there are; at least one.
    #[must_use]
    pub fn len(&self) -> u32 {
        // At most MOST_PEERS.
        self.neighbours.len() as u32
    }

    /// Always false: a graph has at least one peer.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.neighbours.is_empty()
    }

    /// All peers, in ascending order.
    pub fn peers(&self) -> impl Iterator<Item = PeerId> + use<> {
        (0..self.len()).map(PeerId)
    }

    /// The neighbours of a peer, in ascending order; none for a peer that is not in the graph.
    #[must_use]
    pub fn neighbours(&self, peer: PeerId) -> &[PeerId] {
        self.neighbours.get(peer.0 as usize).map_or(&[], Vec::as_slice)
    }

    /// Whether two peers have a link.
    #[must_use]
    pub fn are_neighbours(&self, a: PeerId, b: PeerId) -> bool {
        self.neighbours(a).contains(&b)
    }

    /// All links, each once, the smaller id first.
    pub fn links(&self) -> impl Iterator<Item = (PeerId, PeerId)> + '_ {
        self.directed().filter(|(a, b)| a < b)
    }

    fn directed(&self) -> impl Iterator<Item = (PeerId, PeerId)> + '_ {
        self.peers().flat_map(|peer| self.neighbours(peer).iter().map(move |neighbour| (peer, *neighbour)))
    }

    /// The smallest number of hops from one peer to each; `None` for those it cannot reach.
    #[must_use]
    pub fn hops_from(&self, from: PeerId) -> Vec<Option<u32>> {
        let mut hops = vec![None; self.neighbours.len()];
        let mut queue = VecDeque::from([(from, 0)]);
        while let Some((peer, distance)) = queue.pop_front() {
            if hops[peer.0 as usize].is_none() {
                hops[peer.0 as usize] = Some(distance);
                queue.extend(self.neighbours(peer).iter().map(|neighbour| (*neighbour, distance + 1)));
            }
        }
        hops
    }

    fn unreachable(&self) -> Option<PeerId> {
        self.hops_from(PeerId(0)).iter().zip(self.peers()).find(|(hops, _)| hops.is_none()).map(|(_, peer)| peer)
    }
}

fn checked_neighbours(of: u32, list: &[i64], peers: u32) -> Result<Vec<PeerId>, GraphError> {
    let mut set = BTreeSet::new();
    for &neighbour in list {
        let id = u32::try_from(neighbour).ok().filter(|id| *id < peers).ok_or(GraphError::NoSuchPeer {
            of,
            neighbour,
            last: peers - 1,
        })?;
        if id == of {
            return Err(GraphError::OwnNeighbour(of));
        }
        if !set.insert(PeerId(id)) {
            return Err(GraphError::NeighbourTwice { of, neighbour: id });
        }
    }
    if set.len() > MOST_NEIGHBOURS {
        return Err(GraphError::TooManyNeighbours { of, count: set.len() });
    }
    Ok(set.into_iter().collect())
}

/// An adjacency list as it is written, not yet checked: `{"0": [1, 2], "1": [0, 2], "2": [0, 1]}`. It keeps all keys,
/// including duplicates, which a map would silently drop.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Adjacency(pub Vec<(String, Vec<i64>)>);

impl Serialize for Graph {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let lists = self.peers().map(|peer| (peer.to_string(), self.neighbours(peer)));
        serializer.collect_map(lists)
    }
}

impl<'de> Deserialize<'de> for Graph {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Graph, D::Error> {
        Graph::parsed(Adjacency::deserialize(deserializer)).map_err(D::Error::custom)
    }
}

impl<'de> Deserialize<'de> for Adjacency {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Adjacency, D::Error> {
        deserializer.deserialize_map(Lists).map(Adjacency)
    }
}

struct Lists;

impl<'de> Visitor<'de> for Lists {
    type Value = Vec<(String, Vec<i64>)>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object of lists")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut lists = Vec::new();
        while let Some(entry) = map.next_entry()? {
            lists.push(entry);
        }
        Ok(lists)
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use proptest::prelude::*;

    use super::*;

    fn degrees(graph: &Graph) -> Vec<usize> {
        let mut degrees: Vec<usize> = graph.peers().map(|peer| graph.neighbours(peer).len()).collect();
        degrees.sort_unstable();
        degrees
    }

    fn from_json(json: &str) -> Result<Graph, GraphError> {
        Graph::parsed(serde_json::from_str(json))
    }

    fn refusal(json: &str) -> String {
        from_json(json).unwrap_err().to_string()
    }

    #[test]
    fn lines_and_rings_are_connected_and_have_as_many_links_as_their_shape() {
        for (peers, line, ring) in [(1, 0, 0), (2, 1, 1), (3, 2, 3), (10, 9, 10)] {
            let (line_of, ring_of) = (Graph::line(peers), Graph::ring(peers));
            assert_eq!((line_of.links().count(), ring_of.links().count()), (line, ring), "{peers} peers");
            assert_eq!(from_json(&line_of.to_json()), Ok(line_of));
            assert_eq!(from_json(&ring_of.to_json()), Ok(ring_of));
        }
    }

    #[test]
    fn one_peer_is_alone_two_have_each_other_and_three_are_a_triangle() {
        assert_eq!(degrees(&Graph::random(1, 7)), [0]);
        assert_eq!(degrees(&Graph::random(2, 7)), [1, 1]);
        assert_eq!(degrees(&Graph::random(3, 7)), [2, 2, 2]);
        assert_eq!(Graph::random(0, 7).len(), 1);
    }

    #[test]
    fn every_small_graph_is_as_regular_as_its_size_allows() {
        for peers in 4..=200 {
            for seed in 0..5 {
                let degrees = degrees(&Graph::random(peers, seed));
                let odd = usize::from(peers % 2 == 1);
                assert!(degrees[..odd].iter().all(|degree| *degree == 2), "peers {peers}, seed {seed}");
                assert!(degrees[odd..].iter().all(|degree| *degree == 3), "peers {peers}, seed {seed}");
            }
        }
    }

    #[test]
    fn a_seed_names_the_same_graph_for_ever() {
        assert_eq!(Graph::random(6, 1).to_json(), GOLDEN);
        assert_ne!(Graph::random(10, 1), Graph::random(10, 2));
    }

    const GOLDEN: &str = r#"{
  "0": [1, 2, 4],
  "1": [0, 3, 5],
  "2": [0, 3, 4],
  "3": [1, 2, 5],
  "4": [0, 2, 5],
  "5": [1, 3, 4]
}
"#;

    #[test]
    fn ten_thousand_peers_take_well_under_a_second() {
        let start = Instant::now();
        assert_eq!(Graph::random(10_000, 3).len(), 10_000);
        assert!(start.elapsed() < Duration::from_secs(1), "{:?}", start.elapsed());
    }

    #[test]
    fn most_graphs_survive_any_two_crashed_relays() {
        // SPEC A1 says "with high probability": count over seeds at the default size.
        let survives = |graph: &Graph| {
            graph.peers().all(|a| {
                graph.peers().all(|b| {
                    let gone = [a, b];
                    let Some(start) = graph.peers().find(|peer| !gone.contains(peer)) else { return true };
                    let mut seen = BTreeSet::from([start]);
                    let mut queue = vec![start];
                    while let Some(peer) = queue.pop() {
                        queue.extend(graph.neighbours(peer).iter().filter(|n| !gone.contains(n) && seen.insert(**n)));
                    }
                    seen.len() + BTreeSet::from(gone).len() == graph.len() as usize
                })
            })
        };
        let surviving = (0..200).filter(|seed| survives(&Graph::random(10, *seed))).count();
        assert!(surviving > 100, "{surviving} of 200");
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn a_random_graph_is_valid_and_reads_back_from_its_json(peers in 1..=10_000_u32, seed: u64) {
            let graph = Graph::random(peers, seed);
            prop_assert_eq!(graph.len(), peers);
            prop_assert_eq!(from_json(&graph.to_json()), Ok(graph.clone()));
            let written = serde_json::to_string(&graph).unwrap();
            prop_assert_eq!(serde_json::from_str::<Graph>(&written).unwrap(), graph.clone());
            prop_assert_eq!(Graph::random(peers, seed), graph);
        }

        #[test]
        fn no_adjacency_list_makes_the_reader_panic(
            lists in prop::collection::vec((0..6_u32, prop::collection::vec(-1..6_i64, 0..4)), 0..6)
        ) {
            if let Ok(graph) = Graph::from_adjacency(lists) {
                prop_assert!(graph.unreachable().is_none());
                prop_assert!(graph.directed().all(|(a, b)| a != b && graph.are_neighbours(b, a)));
            }
        }
    }

    #[test]
    fn a_list_that_is_not_such_a_graph_is_refused_with_what_would_be_right() {
        assert_eq!(refusal("{}"), "the graph has no peers; give 1 to 10000");
        assert_eq!(
            refusal(r#"{"0": [1], "2": [0]}"#),
            "peer 1 is not listed; a graph of 2 peers lists each id from 0 to 1"
        );
        assert_eq!(refusal(r#"{"zero": []}"#), "\"zero\" is not a peer id; the ids are whole numbers from 0 up");
        assert_eq!(
            refusal(r#"{"0": [1], "1": [0], "0": [1]}"#),
            "peer 0 is listed twice; list each peer once with all its neighbours"
        );
        assert_eq!(
            refusal(r#"{"0": [-1]}"#),
            "peer 0 lists neighbour -1, which is not in the graph; the ids run from 0 to 0"
        );
        assert_eq!(
            refusal(r#"{"0": [1], "1": [0, 2]}"#),
            "peer 1 lists neighbour 2, which is not in the graph; the ids run from 0 to 1"
        );
        assert_eq!(refusal(r#"{"0": [0]}"#), "peer 0 lists itself; no peer is its own neighbour");
        assert_eq!(refusal(r#"{"0": [1, 1], "1": [0]}"#), "peer 0 lists neighbour 1 twice; list each neighbour once");
        assert_eq!(
            refusal(r#"{"0": [1, 2, 3, 4], "1": [0], "2": [0], "3": [0], "4": [0]}"#),
            "peer 0 has 4 neighbours; no peer has more than 3"
        );
        assert_eq!(
            refusal(r#"{"0": [1], "1": []}"#),
            "peer 0 lists neighbour 1, but 1 does not list 0; list both or neither"
        );
        assert_eq!(
            refusal(r#"{"0": [1], "1": [0], "2": [3], "3": [2]}"#),
            "peer 2 cannot be reached from peer 0; a graph must be connected, so add a link between them"
        );
        let json = refusal("{\"0\": [1],\n \"1\": 0}");
        assert!(json.starts_with("invalid type: integer `0`, expected a sequence at line 2 column 7;"), "{json}");
        assert!(refusal("{} {}").starts_with("trailing characters at line 1 column 4;"));
        let large: BTreeMap<String, [u32; 0]> = (0..10_001).map(|peer: u32| (peer.to_string(), [])).collect();
        let large = serde_json::to_string(&large).unwrap();
        assert_eq!(refusal(&large), "the graph has 10001 peers; give at most 10000");
    }
}
