//! What a seed fixes: the network, the cast, the conditions, and every fault.

use std::{collections::BTreeSet, fmt, num::NonZeroU64, time::Duration};

use bazaar_protocol::{
    cast::{self, Assortment},
    config::{Config, Limits, Ordering, Pace, Terms, Timeouts},
    graph::Graph,
    id::{PeerId, Units},
    invariant::Property,
    random::SplitMix64,
};
use serde::{Deserialize, Serialize};

/// How long the network is left to itself at the end of a history: [`SETTLE`], a quiet phase, and [`DRAIN`].
pub const AFTER_FAULTS: Duration = Duration::from_secs(60);

/// How long after the last fault there must be one trader that all live peers know (L1), and from when on nothing but
/// broadcasts is flooded (A9; see [`ACQUAINTED`]) and nobody calls an election without a resignation (L4).
pub const SETTLE: Duration = Duration::from_secs(20);

/// How long the buyers want nothing more, at the end, until everybody must have been told of everything (L2).
pub const DRAIN: Duration = Duration::from_secs(10);

/// How long a request may wait for its outcome in a quiet network, at any number of peers (L4). It covers a change of
/// trader.
pub const REQUEST_BOUND: Duration = Duration::from_secs(10);

/// How long after a resignation an election may be called (L4).
pub const ELECTION_BOUND: Duration = Duration::from_secs(4);

/// The shortest history: it ends with [`AFTER_FAULTS`].
pub const SHORTEST: Duration = Duration::from_secs(70);

/// For how long after taking office a trader may flood an answer to a client that it has not heard since it restarted.
pub const ACQUAINTED: Duration = Duration::from_secs(1);

/// The longest history.
pub const LONGEST: Duration = Duration::from_secs(24 * 60 * 60);

/// A history to simulate. Equal plans give equal histories.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Plan {
    /// Fixes everything that the rest leaves open.
    pub seed: u64,
    /// How many peers there are; 1 to 10,000.
    pub peers: u32,
    /// Who is whose neighbour.
    pub network: Network,
    /// How long a buyer thinks between an outcome and its next request.
    pub think: Think,
    /// How long it is in virtual time; at least [`SHORTEST`].
    pub span: Duration,
    /// Whether nothing goes wrong.
    pub quiet: bool,
    /// Properties whose violations are passed over, since they are known.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub without: BTreeSet<Property>,
}

/// How long buyers think: each as long as it always does, drawn from these two and what is between them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Think {
    /// The shortest.
    #[serde(rename = "least_ms")]
    pub least: Millis,
    /// The longest.
    #[serde(rename = "most_ms")]
    pub most: Millis,
}

impl Think {
    /// All think equally long.
    #[must_use]
    pub fn evenly(millis: u64) -> Think {
        Think { least: Millis(millis), most: Millis(millis) }
    }

    /// How long this buyer thinks.
    #[must_use]
    pub fn of(self, seed: u64, buyer: PeerId) -> Duration {
        let Think { least: Millis(least), most: Millis(most) } = self;
        let [least, most] = [least, most].map(Duration::from_millis);
        cast::think_time(buyer, seed, least..=most)
    }
}

impl fmt::Display for Think {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Think { least: Millis(least), most: Millis(most) } = self;
        write!(f, "{least}ms")?;
        if most > least { write!(f, "..{most}ms") } else { Ok(()) }
    }
}

/// Who is whose neighbour.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Network {
    /// The random graph of the seed.
    Random,
    /// Each peer is a neighbour of the next.
    Line,
    /// A line whose ends are neighbours.
    Ring,
    /// This one.
    Given(Graph),
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Network::Random => "random",
            Network::Line => "line",
            Network::Ring => "ring",
            Network::Given(_) => "given",
        })
    }
}

/// A time or a wait in whole milliseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Millis(pub u64);

impl Millis {
    /// The same in nanoseconds.
    #[must_use]
    pub fn nanos(self) -> u64 {
        self.0.saturating_mul(1_000_000)
    }
}

impl fmt::Display for Millis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{:03} s", self.0 / 1_000, self.0 % 1_000)
    }
}

/// What happens at random to messages and writes, as chances in a million, and how congested links are, until the
/// faults stop.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Noise {
    /// A message is lost.
    pub loss: u32,
    /// A message arrives twice.
    pub duplication: u32,
    /// A message is late, and others overtake it.
    pub reordering: u32,
    /// A write to a disk takes up to 400 ms.
    pub stalls: u32,
    /// By how many microseconds longer each envelope keeps its link busy; above 0, links and inboxes also have little
    /// room for those that wait. Not a chance; at most a million.
    #[serde(default)]
    pub congestion: u32,
}

/// Something that goes wrong at a certain time. Those that last are over at the latest when the faults stop, except
/// those that are for good.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fault {
    /// When it begins.
    pub at: Millis,
    /// What goes wrong.
    pub what: What,
}

/// What goes wrong.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum What {
    /// Nothing gets through from one neighbour to another.
    Cut {
        /// One end, whose messages are lost.
        from: PeerId,
        /// The other end.
        to: PeerId,
        /// Whether the other end's messages are lost too.
        both: bool,
        /// How long; `None`: for good.
        lasts: Option<Millis>,
    },
    /// Nothing gets through between a peer and the ledger.
    CutLedger {
        /// The peer.
        peer: PeerId,
        /// Whether its calls are lost.
        calls: bool,
        /// Whether the replies to it are lost.
        replies: bool,
        /// How long.
        lasts: Millis,
    },
    /// All links of a peer are cut both ways; the ledger still hears it.
    Isolate {
        /// The peer.
        peer: PeerId,
        /// How long.
        lasts: Millis,
    },
    /// A peer stands still, as after SIGSTOP: inputs queue up, and timers are late.
    Pause {
        /// The peer.
        peer: PeerId,
        /// How long.
        lasts: Millis,
    },
    /// A peer takes many times as long for everything (SPEC E7).
    Slow {
        /// The peer.
        peer: PeerId,
        /// How many times as long.
        times: u32,
        /// How long that lasts.
        lasts: Millis,
    },
    /// A peer crashes and loses what it has not written.
    Crash {
        /// The peer.
        peer: PeerId,
        /// When it comes back; `None`: never.
        lasts: Option<Millis>,
    },
    /// Whoever is trader according to the ledger crashes.
    CrashTrader {
        /// When it comes back.
        lasts: Millis,
    },
    /// The ledger crashes.
    CrashLedger {
        /// Whether a batch that was written and not synced survives.
        keeps: bool,
        /// When it comes back.
        lasts: Millis,
    },
}

/// The kinds of faults, for counting and for switching off.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum FaultKind {
    /// A message is lost.
    Loss,
    /// A message arrives twice.
    Duplication,
    /// A message is overtaken.
    Reordering,
    /// A write takes long.
    Stall,
    /// A link or an inbox has no room for a message.
    Congestion,
    /// A link is cut both ways.
    Cut,
    /// A link is cut one way.
    OneWayCut,
    /// A link is cut for good.
    PermanentCut,
    /// A peer hears the ledger and nobody else.
    Isolation,
    /// A peer is cut off from the ledger.
    LedgerCut,
    /// A peer pauses.
    Pause,
    /// A peer is slow.
    Slow,
    /// A peer crashes.
    Crash,
    /// The trader crashes.
    TraderCrash,
    /// A peer crashes for good.
    PermanentCrash,
    /// The ledger crashes.
    LedgerCrash,
}

impl FaultKind {
    /// All kinds.
    pub const ALL: [FaultKind; 16] = [
        FaultKind::Loss,
        FaultKind::Duplication,
        FaultKind::Reordering,
        FaultKind::Stall,
        FaultKind::Congestion,
        FaultKind::Cut,
        FaultKind::OneWayCut,
        FaultKind::PermanentCut,
        FaultKind::Isolation,
        FaultKind::LedgerCut,
        FaultKind::Pause,
        FaultKind::Slow,
        FaultKind::Crash,
        FaultKind::TraderCrash,
        FaultKind::PermanentCrash,
        FaultKind::LedgerCrash,
    ];

    /// Its name in tables.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            FaultKind::Loss => "messages lost",
            FaultKind::Duplication => "messages doubled",
            FaultKind::Reordering => "messages overtaken",
            FaultKind::Stall => "writes stalled",
            FaultKind::Congestion => "messages without room",
            FaultKind::Cut => "links cut",
            FaultKind::OneWayCut => "links cut one way",
            FaultKind::PermanentCut => "links cut for good",
            FaultKind::Isolation => "peers isolated",
            FaultKind::LedgerCut => "cut off from ledger",
            FaultKind::Pause => "peers paused",
            FaultKind::Slow => "peers slow",
            FaultKind::Crash => "peers crashed",
            FaultKind::TraderCrash => "traders crashed",
            FaultKind::PermanentCrash => "peers gone for good",
            FaultKind::LedgerCrash => "ledger crashed",
        }
    }
}

impl What {
    /// Its kind.
    #[must_use]
    pub fn kind(&self) -> FaultKind {
        match self {
            What::Cut { lasts: None, .. } => FaultKind::PermanentCut,
            What::Cut { both: true, .. } => FaultKind::Cut,
            What::Cut { both: false, .. } => FaultKind::OneWayCut,
            What::Isolate { .. } => FaultKind::Isolation,
            What::CutLedger { .. } => FaultKind::LedgerCut,
            What::Pause { .. } => FaultKind::Pause,
            What::Slow { .. } => FaultKind::Slow,
            What::Crash { lasts: None, .. } => FaultKind::PermanentCrash,
            What::Crash { .. } => FaultKind::Crash,
            What::CrashTrader { .. } => FaultKind::TraderCrash,
            What::CrashLedger { .. } => FaultKind::LedgerCrash,
        }
    }

    /// How long it lasts; `None`: for good.
    pub(super) fn lasts(&self) -> Option<Millis> {
        match self {
            What::Cut { lasts, .. } | What::Crash { lasts, .. } => *lasts,
            What::Isolate { lasts, .. }
            | What::CutLedger { lasts, .. }
            | What::Pause { lasts, .. }
            | What::Slow { lasts, .. }
            | What::CrashTrader { lasts }
            | What::CrashLedger { lasts, .. } => Some(*lasts),
        }
    }

    /// The largest id of a peer that it names.
    fn largest_peer(&self) -> Option<PeerId> {
        match self {
            What::Cut { from, to, .. } => Some(*from.max(to)),
            What::Isolate { peer, .. }
            | What::CutLedger { peer, .. }
            | What::Pause { peer, .. }
            | What::Slow { peer, .. }
            | What::Crash { peer, .. } => Some(*peer),
            What::CrashTrader { .. } | What::CrashLedger { .. } => None,
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "at {} ", self.at)?;
        match &self.what {
            What::Cut { from, to, both, lasts } => {
                let way = if *both { "between" } else { "one way from" };
                let and = if *both { "and" } else { "to" };
                write!(f, "the link {way} peer {from} {and} peer {to} is cut ")?;
                match lasts {
                    Some(lasts) => write!(f, "for {lasts}"),
                    None => f.write_str("for good"),
                }
            }
            What::Isolate { peer, lasts } => write!(f, "all links of peer {peer} are cut for {lasts}"),
            What::CutLedger { peer, calls, replies, lasts } => {
                let what = match (calls, replies) {
                    (true, false) => "calls do not reach the ledger",
                    (false, true) => "replies from the ledger are lost",
                    (true, true) | (false, false) => "connection to the ledger is cut",
                };
                write!(f, "peer {peer}'s {what} for {lasts}")
            }
            What::Pause { peer, lasts } => write!(f, "peer {peer} stands still for {lasts}"),
            What::Slow { peer, times, lasts } => write!(f, "peer {peer} is {times} times as slow for {lasts}"),
            What::Crash { peer, lasts: Some(lasts) } => write!(f, "peer {peer} crashes and is away for {lasts}"),
            What::Crash { peer, lasts: None } => write!(f, "peer {peer} crashes for good"),
            What::CrashTrader { lasts } => write!(f, "the trader crashes and is away for {lasts}"),
            What::CrashLedger { keeps, lasts } => {
                let what = if *keeps { "an unsynced batch survives" } else { "what is not synced is lost" };
                write!(f, "the ledger crashes for {lasts}; {what}")
            }
        }
    }
}

/// A history in full: what is to be simulated, and what goes wrong in it. A shrunk history has fewer faults than its
/// seed draws.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Schedule {
    /// What is to be simulated.
    pub plan: Plan,
    /// What happens to messages and writes at random.
    pub noise: Noise,
    /// What goes wrong at certain times, in order.
    pub faults: Vec<Fault>,
    /// When the faults stop.
    pub faults_stop: Millis,
}

impl Schedule {
    /// What the seed draws.
    #[must_use]
    pub fn draw(plan: Plan) -> Schedule {
        let whole = Millis(u64::try_from(plan.span.saturating_sub(AFTER_FAULTS).as_millis()).unwrap_or(u64::MAX));
        let mut schedule = Schedule { plan, noise: Noise::default(), faults: Vec::new(), faults_stop: whole };
        if schedule.plan.quiet {
            schedule.faults_stop = Millis(0);
            return schedule;
        }
        let graph = schedule.graph();
        let mut random = SplitMix64::new(schedule.plan.seed, "faults");
        // Of eight seeds one is quiet, one has noise only, two have no noise, and four have everything.
        let temper = random.below(8);
        if matches!(temper, 1 | 4..=7) {
            schedule.noise = Noise {
                loss: rate(&mut random, 50_000),
                duplication: rate(&mut random, 50_000),
                reordering: rate(&mut random, 100_000),
                stalls: rate(&mut random, 20_000),
                congestion: if graph.links().next().is_some() { congestion(schedule.plan.seed) } else { 0 },
            };
        }
        if temper >= 2 {
            schedule.draw_faults(&graph, &mut random);
        }
        schedule
    }

    fn draw_faults(&mut self, graph: &Graph, random: &mut SplitMix64) {
        let peers = self.plan.peers;
        let crowd = u64::from(peers / 50).max(1);
        let gap = ((1_500 << random.below(5)) / crowd).max(20);
        let mut kinds = random.below(1 << 8);
        if kinds == 0 {
            kinds = 0xff;
        }
        let links: Vec<(PeerId, PeerId)> = graph.links().collect();
        let mut gone: Vec<(PeerId, PeerId)> = Vec::new();
        let mut at = 500 + random.below(2 * gap);
        while at < self.faults_stop.0 {
            let kind = random.below(8);
            let peer = PeerId(random.below(u64::from(peers)) as u32);
            let long = random.below(2) == 0;
            let lasts = Millis(if long { 1_600 + random.below(6_000) } else { 50 + random.below(1_400) });
            let what = match kind {
                // A crash of the trader hits more than one of anybody.
                _ if kinds & (1 << kind) == 0 => None,
                0 | 1 if links.is_empty() => None,
                0 => {
                    let (one, other) = links[random.index(links.len())];
                    Some(What::Cut { from: one, to: other, both: true, lasts: Some(lasts) })
                }
                1 => {
                    let (one, other) = links[random.index(links.len())];
                    let (from, to) = if random.below(2) == 0 { (one, other) } else { (other, one) };
                    Some(What::Cut { from, to, both: false, lasts: Some(lasts) })
                }
                2 => {
                    let way = random.below(3);
                    Some(What::CutLedger { peer, calls: way != 1, replies: way != 0, lasts })
                }
                3 => Some(What::Pause { peer, lasts: Millis(lasts.0.min(5_000)) }),
                4 => Some(What::Slow { peer, times: 10 << random.below(8), lasts }),
                5 => Some(What::Crash { peer, lasts: Some(lasts) }),
                6 => Some(What::CrashTrader { lasts }),
                _ => Some(What::CrashLedger { keeps: random.below(2) == 0, lasts: Millis(lasts.0.min(4_000)) }),
            };
            self.faults.extend(what.map(|what| Fault { at: Millis(at), what }));
            if random.below(16) == 0 && !links.is_empty() {
                let link = links[random.index(links.len())];
                gone.push(link);
                if is_connected(graph, &gone) {
                    let what = What::Cut { from: link.0, to: link.1, both: true, lasts: None };
                    self.faults.push(Fault { at: Millis(at), what });
                } else {
                    gone.pop();
                }
            }
            at += random.below(2 * gap) + 1;
        }
        if !links.is_empty() {
            self.draw_isolations();
        }
        if (2..=4).contains(&peers) && random.below(8) == 0 {
            // One is left alone (L3).
            let last = random.below(u64::from(peers)) as u32;
            let at = Millis(self.faults_stop.0.saturating_sub(1 + random.below(3_000)));
            for peer in (0..peers).filter(|peer| *peer != last).map(PeerId) {
                self.faults.push(Fault { at, what: What::Crash { peer, lasts: None } });
            }
            self.faults.sort_by_key(|fault| fault.at);
        }
    }

    /// In one of four seeds, peers hear the ledger and nobody else, for long enough that others resign meanwhile.
    fn draw_isolations(&mut self) {
        let mut random = SplitMix64::new(self.plan.seed, "isolations");
        if random.below(4) > 0 {
            return;
        }
        let mut at = random.below(20_000);
        while at < self.faults_stop.0 {
            let peer = PeerId(random.below(u64::from(self.plan.peers)) as u32);
            let lasts = Millis(500 + random.below(20_000));
            self.faults.push(Fault { at: Millis(at), what: What::Isolate { peer, lasts } });
            at += 1 + random.below(40_000);
        }
        self.faults.sort_by_key(|fault| fault.at);
    }

    /// The network.
    #[must_use]
    pub fn graph(&self) -> Graph {
        let Plan { seed, peers, network, .. } = &self.plan;
        match network {
            Network::Random => Graph::random(*peers, *seed),
            Network::Line => Graph::line(*peers),
            Network::Ring => Graph::ring(*peers),
            Network::Given(graph) => graph.clone(),
        }
    }

    /// Whether nothing goes wrong.
    #[must_use]
    pub fn is_quiet(&self) -> bool {
        self.noise == Noise::default() && self.faults.is_empty()
    }

    /// The kinds of faults that can happen in it.
    pub fn kinds(&self) -> impl Iterator<Item = FaultKind> + '_ {
        let Noise { loss, duplication, reordering, stalls, congestion } = self.noise;
        let noise = [
            (loss, FaultKind::Loss),
            (duplication, FaultKind::Duplication),
            (reordering, FaultKind::Reordering),
            (stalls, FaultKind::Stall),
            (congestion, FaultKind::Congestion),
        ];
        let noise = noise.into_iter().filter(|(chance, _)| *chance > 0).map(|(_, kind)| kind);
        noise.chain(self.faults.iter().map(|fault| fault.what.kind()))
    }

    /// Checks what a file may have got wrong.
    ///
    /// # Errors
    /// Says what is wrong and what would be right.
    pub fn check(&self) -> Result<(), String> {
        let Plan { peers, network, span, .. } = &self.plan;
        if !(1..=bazaar_protocol::graph::MOST_PEERS).contains(peers) {
            return Err(format!("there are 1 to {} peers, not {peers}", bazaar_protocol::graph::MOST_PEERS));
        }
        if let Network::Given(graph) = network
            && graph.len() != *peers
        {
            return Err(format!("the network has {} peers, the plan {peers}; they must agree", graph.len()));
        }
        let end = Duration::from_nanos(self.faults_stop.nanos()) + AFTER_FAULTS;
        if *span < SHORTEST || *span < end {
            return Err(format!("a history of {span:?} is too short: faults stop at {}", self.faults_stop));
        }
        if *span > LONGEST {
            return Err(format!("a history of {span:?} is too long; at most {} h", LONGEST.as_secs() / 3_600));
        }
        if let Some(fault) = self.faults.iter().find(|fault| fault.at.0 > self.faults_stop.0) {
            return Err(format!("\"{fault}\": it comes after the faults stop, at {}", self.faults_stop));
        }
        let most = LONGEST.as_millis();
        if let Some(fault) =
            self.faults.iter().find(|fault| fault.what.lasts().is_some_and(|lasts| lasts.0 as u128 > most))
        {
            return Err(format!("\"{fault}\": it lasts longer than any history"));
        }
        let Noise { loss, duplication, reordering, stalls, congestion } = self.noise;
        let all = [("loss", loss), ("duplication", duplication), ("reordering", reordering), ("stalls", stalls)];
        let noise = all.into_iter().chain([("congestion", congestion)]);
        if let Some((name, value)) = noise.into_iter().find(|(_, value)| *value > 1_000_000) {
            return Err(format!("{name} is {value}; it is at most 1000000"));
        }
        let graph = self.graph();
        for fault in &self.faults {
            if let Some(peer) = fault.what.largest_peer().filter(|peer| peer.0 >= *peers) {
                return Err(format!("\"{fault}\": there is no peer {peer}; ids run from 0 to {}", peers - 1));
            }
            if let What::Cut { from, to, .. } = fault.what
                && !graph.are_neighbours(from, to)
            {
                return Err(format!("\"{fault}\": they are not neighbours"));
            }
        }
        Ok(())
    }

    /// The configuration of each peer.
    #[must_use]
    pub fn configs(&self, graph: &Graph, conditions: &Conditions) -> Vec<Config> {
        let Plan { seed, peers, think, .. } = self.plan;
        let roles = cast::roles(peers, seed, &Assortment { quantity: conditions.quantity, ..Assortment::DEFAULT });
        let config = |(me, role): (PeerId, _)| Config {
            // SPEC B2.
            first_caller: PeerId(if peers < 3 { 0 } else { 2 }),
            timeouts: Timeouts { wave: conditions.wave, ..Timeouts::DEFAULT },
            terms: conditions.terms,
            limits: conditions.limits,
            clock_range: conditions.clock_range,
            pace: Pace { think: Some(think.of(seed, me)), ..Pace::DEFAULT },
            ..Config::new(me, peers, graph.neighbours(me).iter().copied(), role)
        };
        (0..peers).map(PeerId).zip(roles).map(config).collect()
    }
}

/// Half of the time 0, else up to `most`, small values as likely as large ones.
fn rate(random: &mut SplitMix64, most: u64) -> u32 {
    let shift = random.below(8);
    let drawn = random.below((most >> shift).max(1)) + 1;
    // At most a million.
    if random.below(2) == 0 { 0 } else { drawn as u32 }
}

/// Of two seeds with noise, one has none.
fn congestion(seed: u64) -> u32 {
    let mut random = SplitMix64::new(seed, "congestion");
    // Up to 128 ms: a link that carries tens of envelopes a second has no room for all of them.
    if random.below(2) > 0 { 0 } else { 16_000 << random.below(4) }
}

/// Whether the graph without some links is still connected.
fn is_connected(graph: &Graph, without: &[(PeerId, PeerId)]) -> bool {
    let mut reached = vec![false; graph.len() as usize];
    let mut next = vec![PeerId(0)];
    let mut count = 0;
    while let Some(peer) = next.pop() {
        if std::mem::replace(&mut reached[peer.0 as usize], true) {
            continue;
        }
        count += 1;
        let is_left = |other: &&PeerId| !without.contains(&(peer, **other)) && !without.contains(&(**other, peer));
        next.extend(graph.neighbours(peer).iter().filter(is_left));
    }
    count == graph.len()
}

/// How fast everything is. All times are in nanoseconds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Conditions {
    /// From neighbour to neighbour: the least and the most by which links differ.
    pub hop: (u64, u64),
    /// From a peer to the ledger or back.
    pub to_ledger: u64,
    /// The most by which a message takes longer than the one before on the same link.
    pub jitter: u64,
    /// What an envelope keeps a link busy.
    pub per_envelope: u64,
    /// What an input keeps a peer busy.
    pub per_input: u64,
    /// What a call keeps the ledger busy.
    pub per_call: u64,
    /// The least and the most that a peer's disk takes for a write.
    pub disk: (u64, u64),
    /// What the ledger takes to write a batch, not yet durable.
    pub write: u64,
    /// The least and the most that it takes to make it durable.
    pub sync: (u64, u64),
    /// The terms of trade.
    pub terms: Terms,
    /// How long after the last one a trader may ask buyers again for their promises; zero: only with its heartbeats.
    pub wave: Duration,
    /// The limits of the run.
    pub limits: Limits,
    /// How many ticks ahead clocks are written.
    pub clock_range: u64,
    /// After how many records the ledger takes a snapshot.
    pub snapshot_every: Option<NonZeroU64>,
    /// How many units an order is of.
    pub quantity: Units,
}

const MICRO: u64 = 1_000;
const MILLI: u64 = 1_000_000;

/// The most that a message may take from one end of the network to the other where nothing is in its way; the default
/// timeouts suit that.
const ACROSS: u64 = 100 * MILLI;

impl Conditions {
    /// Those of a seed. The further apart the peers, the faster the links.
    #[must_use]
    pub fn draw(plan: &Plan, graph: &Graph) -> Conditions {
        let mut random = SplitMix64::new(plan.seed, "conditions");
        let most = (ACROSS / u64::from(diameter(graph).max(1))).min((100 * MICRO) << random.below(6));
        let least = most / (1 + random.below(8));
        let sync = (100 * MICRO) << random.below(6);
        Conditions {
            hop: (least.max(1), most.max(1)),
            to_ledger: (50 * MICRO) << random.below(6),
            jitter: most / 4 + 1,
            per_envelope: 1 + random.below(10 * MICRO),
            per_input: 1 + random.below(20 * MICRO),
            per_call: 1 + random.below(10 * MICRO),
            disk: (sync / 2, sync * 2),
            write: 1 + random.below(50 * MICRO),
            sync: (sync / 2, sync * 2),
            terms: terms(plan.seed),
            wave: wave(plan.seed),
            limits: limits(plan.seed),
            clock_range: Config::CLOCK_RANGE >> (2 * SplitMix64::new(plan.seed, "clocks").below(4)),
            // Often enough that most claimants read one.
            snapshot_every: NonZeroU64::new(50 << SplitMix64::new(plan.seed, "snapshots").below(5)),
            quantity: quantity(plan.seed),
        }
    }

    /// The same for all sizes, for comparing them: a hop takes a millisecond, or as much less as a message may take
    /// through the whole network.
    #[must_use]
    pub fn fixed(graph: &Graph) -> Conditions {
        let hop = MILLI.min(ACROSS / u64::from(diameter(graph).max(1)));
        Conditions {
            hop: (hop, hop),
            to_ledger: MILLI,
            jitter: hop / 10 + 1,
            per_envelope: 5 * MICRO,
            per_input: 10 * MICRO,
            per_call: 5 * MICRO,
            disk: (200 * MICRO, 300 * MICRO),
            write: 20 * MICRO,
            sync: (200 * MICRO, 300 * MICRO),
            terms: Terms::DEFAULT,
            wave: Duration::ZERO,
            limits: Limits::DEFAULT,
            clock_range: Config::CLOCK_RANGE,
            snapshot_every: NonZeroU64::new(10_000),
            quantity: Assortment::DEFAULT.quantity,
        }
    }
}

/// In half of the seeds only heartbeats ask for promises.
fn wave(seed: u64) -> Duration {
    let mut random = SplitMix64::new(seed, "wave");
    Duration::from_millis(if random.below(2) > 0 { 0 } else { 10 << random.below(5) })
}

/// Of four seeds, three have the default terms, but that in one of three nobody resigns, so that A9 and L4 are asked at
/// any pace. Half of them serve in the stable order.
fn terms(seed: u64) -> Terms {
    let mut random = SplitMix64::new(seed, "terms");
    let terms = if random.below(4) > 0 {
        Terms::DEFAULT
    } else {
        // Below a thousand.
        let (sales, records) = (5 + random.below(200) as u32, 2 + random.below(12) as u32);
        Terms { resign_after: sales, batch_limit: records, ..Terms::DEFAULT }
    };
    let ordering = if SplitMix64::new(seed, "ordering").below(2) == 0 { Ordering::Stable } else { terms.ordering };
    let terms = Terms { ordering, ..terms };
    if SplitMix64::new(seed, "resignations").below(3) > 0 { terms } else { Terms { resign_after: u32::MAX, ..terms } }
}

/// Of four seeds, one has orders of several units, which leave something over (SPEC D8).
fn quantity(seed: u64) -> Units {
    let mut random = SplitMix64::new(seed, "quantity");
    // At most four.
    if random.below(4) > 0 { Assortment::DEFAULT.quantity } else { Units(2 + random.below(3) as u32) }
}

/// Of two seeds, one has the default limits. The others come close to them; not to those of the overlay and of what is
/// held back, which lose messages where nothing else goes wrong.
fn limits(seed: u64) -> Limits {
    let mut random = SplitMix64::new(seed, "limits");
    if random.below(2) == 0 {
        return Limits::DEFAULT;
    }
    // Below a hundred.
    let mut few = |least: u64, spread: u64| (least + random.below(spread)) as u32;
    Limits {
        chunk_weight: few(1, 16),
        read_records: few(2, 30),
        sales_kept: few(1, 6),
        waiting_calls: few(0, 8),
        ..Limits::DEFAULT
    }
}

/// The number of hops between the two peers furthest apart; of large networks a lower bound that is rarely below it.
#[must_use]
pub fn diameter(graph: &Graph) -> u32 {
    let furthest = |from| {
        let hops = graph.hops_from(from);
        let reached = hops.into_iter().zip(graph.peers()).filter_map(|(hops, peer)| Some((hops?, peer)));
        reached.max().unwrap_or((0, from))
    };
    // From anywhere to the furthest, and from there to its furthest: exact in lines and trees.
    let (_, end) = furthest(PeerId(0));
    furthest(end).0
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan(seed: u64, peers: u32) -> Plan {
        Plan {
            seed,
            peers,
            network: Network::Random,
            think: Think::evenly(300),
            span: Duration::from_secs(120),
            quiet: false,
            without: BTreeSet::new(),
        }
    }

    #[test]
    fn quiet_and_wild_histories_are_drawn_and_every_kind_of_fault() {
        let drawn: Vec<Schedule> = (0..400).map(|seed| Schedule::draw(plan(seed, 3 + seed as u32 % 10))).collect();
        let kinds: BTreeSet<FaultKind> = drawn.iter().flat_map(Schedule::kinds).collect();
        assert_eq!(kinds.len(), FaultKind::ALL.len(), "{kinds:?}");
        assert!(drawn.iter().filter(|schedule| schedule.is_quiet()).count() > 20);
        assert!(drawn.iter().filter(|schedule| schedule.faults.len() > 20).count() > 20);
        assert!(drawn.iter().all(|schedule| schedule.check().is_ok()));
    }

    #[test]
    fn what_is_cut_for_good_leaves_the_network_connected() {
        let is_cut = |fault: &Fault| match fault.what {
            What::Cut { from, to, lasts: None, .. } => Some((from, to)),
            What::Cut { .. }
            | What::Isolate { .. }
            | What::CutLedger { .. }
            | What::Pause { .. }
            | What::Slow { .. }
            | What::Crash { .. }
            | What::CrashTrader { .. }
            | What::CrashLedger { .. } => None,
        };
        let mut seen = 0;
        for seed in 0..400 {
            let schedule = Schedule::draw(plan(seed, 10));
            let gone: Vec<_> = schedule.faults.iter().filter_map(is_cut).collect();
            assert!(is_connected(&schedule.graph(), &gone), "seed {seed}");
            seen += gone.len();
        }
        assert!(seen > 50);
    }

    #[test]
    fn a_seed_draws_the_same_for_ever() {
        let schedule = Schedule::draw(plan(4, 7));
        assert_eq!(schedule, Schedule::draw(plan(4, 7)));
        assert_ne!(schedule.faults, Schedule::draw(plan(5, 7)).faults);
        let written = serde_json::to_string(&schedule).unwrap();
        assert_eq!(serde_json::from_str::<Schedule>(&written).unwrap(), schedule);
    }

    #[test]
    fn a_schedule_that_cannot_be_is_refused_with_the_reason() {
        let with = |what| Schedule { faults: vec![Fault { at: Millis(5), what }], ..Schedule::draw(plan(4, 7)) };
        let nobody = with(What::Crash { peer: PeerId(7), lasts: None }).check().unwrap_err();
        assert_eq!(nobody, "\"at 0.005 s peer 7 crashes for good\": there is no peer 7; ids run from 0 to 6");
        let graph = Schedule::draw(plan(4, 7)).graph();
        let stranger = graph.peers().find(|peer| peer.0 > 0 && !graph.are_neighbours(PeerId(0), *peer)).unwrap();
        let apart = with(What::Cut { from: PeerId(0), to: stranger, both: true, lasts: None }).check().unwrap_err();
        assert!(apart.ends_with("they are not neighbours"), "{apart}");
        let short = Schedule { faults_stop: Millis(110_000), ..Schedule::draw(plan(4, 7)) }.check().unwrap_err();
        assert!(short.contains("too short"), "{short}");
        let noise = Noise { congestion: 1_000_001, ..Noise::default() };
        let loud = Schedule { noise, ..Schedule::draw(plan(4, 7)) }.check().unwrap_err();
        assert_eq!(loud, "congestion is 1000001; it is at most 1000000");
    }

    #[test]
    fn the_further_apart_the_peers_the_faster_the_links() {
        for (graph, hops) in [(Graph::line(1_000), 999), (Graph::ring(100), 50), (Graph::random(10, 1), 3)] {
            assert_eq!(diameter(&graph), hops);
            for seed in 0..20 {
                let conditions = Conditions::draw(&plan(seed, graph.len()), &graph);
                assert!(conditions.hop.1 * u64::from(hops) <= ACROSS, "{conditions:?}");
            }
        }
    }
}
