//! What an election costs: its messages and its time, by the number of peers and by who calls (SPEC F4).

use std::{collections::BTreeSet, fmt, time::Duration};

use bazaar_protocol::{
    id::PeerId,
    invariant::{Property, Violation},
    peer::Peer,
};
use serde::Serialize;

use super::{
    meter::Operation,
    plan::{AFTER_FAULTS, Conditions, Fault, Millis, Network, Noise, Plan, Schedule, Think, What, diameter},
    table::{WARM_UP, millis},
    world::World,
};

/// How long it may take until all know the trader. Much longer than it does: where all call at once, links and peers
/// are busy with answers.
const BOUND: Duration = Duration::from_secs(60);

/// How long messages are still counted once everybody knows the new trader.
const AFTERMATH: Duration = Duration::from_secs(1);

/// How exact the time is at which everybody knows it.
const LOOK: Duration = Duration::from_millis(1);

/// Which election, and who calls it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Case {
    /// The first, called by the highest: Bully's best case.
    Best,
    /// The first, called by peer 2 (SPEC B2).
    First,
    /// The trader was killed, and whoever notices calls when its turn comes, if nobody has by then.
    Killed,
    /// The trader was killed, and all call at once, without turns: Bully's worst case.
    Worst,
}

impl Case {
    /// All of them, the cheapest first.
    pub const ALL: [Case; 4] = [Case::Best, Case::First, Case::Killed, Case::Worst];

    fn is_first(self) -> bool {
        matches!(self, Case::Best | Case::First)
    }
}

impl fmt::Display for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Case::Best => "first, called by the highest",
            Case::First => "first",
            Case::Killed => "trader killed",
            Case::Worst => "trader killed, all call at once",
        })
    }
}

/// What an election cost.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Election {
    /// How many peers there were, with the trader that was killed.
    pub peers: u32,
    /// Who is whose neighbour.
    pub network: String,
    /// The hops between the two peers furthest apart.
    pub diameter: u32,
    /// Which election it was.
    pub case: Case,
    /// How often somebody called.
    pub calls: u64,
    /// The messages that Bully counts, as in a mesh of all peers ([`Survey::election_messages`](super::survey::Survey::election_messages)).
    pub messages: u64,
    /// The envelopes on links that carry them here: relays, and floods with all their copies.
    pub envelopes: u64,
    /// Envelopes for which a link or an inbox had no room.
    pub overflowed: u64,
    /// From the kill until a peer suspected the trader, in milliseconds; `None` for the first election.
    #[serde(rename = "detection_ms")]
    pub detection: Option<f64>,
    /// From then, or from the first call of the first election, until somebody had won, in milliseconds.
    #[serde(rename = "election_ms")]
    pub election: f64,
    /// From then until it was in office, in milliseconds.
    #[serde(rename = "claim_and_books_ms")]
    pub claim_and_books: f64,
    /// From then until everybody knew it, in milliseconds.
    #[serde(rename = "known_to_all_ms")]
    pub known_to_all: f64,
}

impl Election {
    /// Bully's best case. The first election: the highest tells all others. Once the highest was killed, the next calls
    /// it in vain, and tells those that are left.
    #[must_use]
    pub fn best(&self) -> u64 {
        u64::from(self.peers) - 1
    }

    /// Bully's worst case (Garcia-Molina 1982): each calls all that are higher, each of these answers that can, and the
    /// winner tells all others that are left.
    #[must_use]
    pub fn worst(&self) -> u64 {
        let peers = u64::from(self.peers);
        let live = if self.case.is_first() { peers } else { peers - 1 };
        let (calls, answers) = (live * (2 * peers - live - 1) / 2, live * (live - 1) / 2);
        calls + answers + live - 1
    }
}

/// Has a trader elected in a bazaar in which nobody wants anything, and counts.
///
/// # Errors
/// The violation that stopped it; L1 if there was no trader in the end whom all know.
pub fn elect(peers: u32, network: &Network, case: Case, seed: u64) -> Result<Election, Violation> {
    let whole = |duration: Duration| Millis(u64::try_from(duration.as_millis()).unwrap_or(u64::MAX));
    let nanos = |duration: Duration| u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX);
    let begin = if case.is_first() { Duration::ZERO } else { WARM_UP };
    let stop = begin + BOUND + AFTERMATH;
    let never = whole(Duration::from_secs(3_600));
    let plan = Plan {
        seed,
        peers,
        network: network.clone(),
        think: Think { least: never, most: never },
        span: stop + AFTER_FAULTS,
        quiet: case.is_first(),
        without: BTreeSet::new(),
    };
    let mut faults = Vec::new();
    if !case.is_first() {
        faults.push(Fault { at: whole(begin), what: What::CrashTrader { lasts: whole(BOUND) } });
    }
    let schedule = Schedule { plan, noise: Noise::default(), faults, faults_stop: whole(stop) };
    let graph = schedule.graph();
    let mut conditions = Conditions::fixed(&graph);
    conditions.terms.resign_after = u32::MAX;
    let mut world = World::under(schedule, &graph, conditions);
    world.arrange(case);
    let begin = nanos(begin);
    if let Some(moment_before) = begin.checked_sub(1) {
        world.run_up_to(moment_before);
    }
    world.begin_survey();
    let mut now = begin;
    world.run_up_to(now);
    while world.violation().is_none() && !world.all_know_a_trader() && now < begin + nanos(BOUND) {
        now += nanos(LOOK);
        world.run_up_to(now);
    }
    let (known, is_known, (_, took_office)) = (now, world.all_know_a_trader(), world.took_office);
    // Answers to the calls may still be on their way.
    world.run_up_to(known + nanos(AFTERMATH));
    if let Some(violation) = world.violation() {
        return Err(violation.clone());
    }
    let survey = world.end_survey();
    let onset = if case.is_first() { survey.first_call() } else { survey.first_suspicion() };
    let (Some(onset), Some(won), true) = (onset, survey.last_win(), is_known) else {
        let what = format!("after {BOUND:?} there is no trader whom all know");
        return Err(Violation::off_the_log(Property::L1, what));
    };
    Ok(Election {
        peers,
        network: network.to_string(),
        diameter: diameter(&graph),
        case,
        calls: world.tally().operations(Operation::Call),
        messages: survey.election_messages(),
        envelopes: survey.election_envelopes(),
        overflowed: world.tally().overflowed,
        detection: (!case.is_first()).then(|| millis(onset - begin)),
        election: millis(won.saturating_sub(onset)),
        claim_and_books: millis(took_office.saturating_sub(won)),
        known_to_all: millis(known.saturating_sub(took_office)),
    })
}

impl World {
    /// Before it begins: sets who calls.
    fn arrange(&mut self, case: Case) {
        let highest = self.nodes.len().saturating_sub(1) as u32;
        for node in &mut self.nodes {
            match case {
                Case::Best => node.config.first_caller = PeerId(highest),
                Case::First | Case::Killed => {}
                Case::Worst => node.config.timeouts.stagger = Duration::ZERO,
            }
        }
    }

    /// Whether all that are alive know a trader, and the same, that is alive.
    fn all_know_a_trader(&self) -> bool {
        let live = || self.nodes.iter().filter_map(|node| node.peer.as_ref());
        let leader = |peer: &Peer| peer.participant().leader().map(|(_, leader)| leader);
        let is_live = |leader: PeerId| self.nodes.get(leader.0 as usize).is_some_and(|node| node.peer.is_some());
        let first = live().next().and_then(leader);
        first.is_some_and(is_live) && live().all(|peer| leader(peer) == first)
    }
}
