//! Checks a scenario with stateright and reports the result.

use std::{
    fs,
    sync::atomic::Ordering,
    thread,
    time::{Duration, Instant},
};

use bazaar_protocol::invariant::Violation;
use serde::{Deserialize, Serialize};
use stateright::{Checker, HasDiscoveries, Model};

use crate::{
    catalogue::{Entry, Visitor},
    search::{
        graph::Graph,
        history::History,
        trace::{self, Trace, wrong},
    },
    subject::Subject,
    subject::matrix::{Kind, Role},
    subject::{
        landmark::Landmark,
        scenario::{Extent, Family},
    },
};

/// How far a search has come.
#[derive(Clone, Copy, Debug)]
pub struct Progress {
    /// Unique states so far.
    pub states: usize,
    /// The longest path so far.
    pub depth: usize,
    /// The time since it began.
    pub elapsed: Duration,
}

/// The result of checking a scenario.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Report {
    /// The name of the scenario.
    pub scenario: String,
    /// The model it belongs to.
    #[serde(rename = "model")]
    pub family: Family,
    /// The extent to which it was checked.
    pub extent: Extent,
    /// How it ended.
    pub verdict: Outcome,
    /// The number of unique states found.
    pub states: usize,
    /// The recorded number of unique states, if there is one.
    #[serde(rename = "states_recorded")]
    pub recorded: Option<usize>,
    /// Whether every step of every state was tried.
    pub complete: bool,
    /// The number of steps tried.
    pub steps: usize,
    /// The length of the longest path.
    pub depth: usize,
    /// How long the check took.
    pub seconds: f64,
    /// The most memory by which the process grew during the check, per state; `None` where the system does not tell.
    /// Too low where the process already had the memory.
    pub bytes_per_state: Option<u64>,
    /// The landmarks that should have been met and were not.
    pub missing: Vec<Landmark>,
    /// The landmarks that were met.
    pub met: Vec<Landmark>,
    /// How often each input was tried in each role.
    pub stepped: Vec<Cell>,
    /// A short history that leads to a violation, if one was found.
    pub counterexample: Option<Trace>,
}

/// How often an input was tried in a role.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct Cell {
    /// The input.
    pub kind: Kind,
    /// The role.
    pub role: Role,
    /// The number of times.
    pub count: u64,
}

/// How a check of a scenario ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// All properties hold in all states, every step was tried, every landmark was met, and the number of states is the
    /// recorded one.
    Holds,
    /// A property does not hold.
    Violated,
    /// No property fails, every step was tried and every landmark was met, but the number of states is not the recorded
    /// one: the machines or the model behave differently from when it was recorded.
    CountedDifferently,
    /// No property fails, every step was tried and every landmark was met, but no number of states is recorded yet.
    NotRecorded,
    /// A machine panicked, states were left, or a landmark was not met.
    Incomplete,
}

impl Report {
    /// Unique states per second.
    #[must_use]
    pub fn rate(&self) -> f64 {
        self.states as f64 / self.seconds.max(1e-9)
    }

    /// The violation that was found, if there is one.
    #[must_use]
    pub fn violation(&self) -> Option<&Violation> {
        self.counterexample.as_ref()?.violation.as_ref()
    }
}

/// Checks a whole scenario, depth first, with this many threads. Nothing here is generic for a caller: the searches of all
/// models are compiled once, with this crate, and not again with each of its users.
pub fn check(scenario: &Entry, extent: Extent, threads: usize, progress: &mut dyn FnMut(Progress)) -> Report {
    scenario.at(extent).with(Check { scenario, extent, threads, progress })
}

struct Check<'a> {
    scenario: &'a Entry,
    extent: Extent,
    threads: usize,
    progress: &'a mut dyn FnMut(Progress),
}

impl Visitor for Check<'_> {
    type Output = Report;

    fn visit<S: Subject>(self, subject: &S) -> Report {
        let Check { scenario, extent, threads, progress } = self;
        let before = resident();
        let mut most = before;
        let begun = Instant::now();
        // No target and no timeout: either would let an unfinished search pass for a finished one.
        let model = Graph::new(subject.clone());
        let mut checker = model.checker().threads(threads.max(1)).finish_when(HasDiscoveries::AnyFailures).spawn_dfs();
        let workers = checker.handles();
        while !workers.iter().all(thread::JoinHandle::is_finished) {
            thread::sleep(Duration::from_millis(20));
            most = most.max(resident());
            let (states, depth) = (checker.unique_state_count(), checker.max_depth());
            progress(Progress { states, depth, elapsed: begun.elapsed() });
        }
        let seconds = begun.elapsed().as_secs_f64();
        let sound = workers.into_iter().map(thread::JoinHandle::join).all(|worker| worker.is_ok());
        let states = checker.unique_state_count();
        let tally = &checker.model().tally;
        let expanded = tally.expanded.load(Ordering::Relaxed);

        let met = tally.coverage.all();
        let missing: Vec<_> = scenario.landmarks.iter().copied().filter(|landmark| !met.has(*landmark)).collect();
        let is_complete = sound && checker.is_done() && expanded == states as u64;
        let discoveries = if sound { checker.discoveries() } else { Default::default() };
        let found = discoveries.into_values().next().map(|path| path.into_actions());
        let recorded = scenario.recorded(extent);
        let verdict = if found.is_some() {
            Outcome::Violated
        } else if !is_complete || !missing.is_empty() {
            Outcome::Incomplete
        } else {
            match recorded {
                None => Outcome::NotRecorded,
                Some(recorded) if recorded == states => Outcome::Holds,
                Some(_) => Outcome::CountedDifferently,
            }
        };
        let cells = Role::ALL.iter().flat_map(|role| Kind::ALL.iter().map(move |kind| (*kind, *role)));
        let cells = cells.map(|(kind, role)| Cell { kind, role, count: tally.matrix.of(kind, role) });
        let grown = most.zip(before).map(|(most, before)| most.saturating_sub(before));
        Report {
            scenario: scenario.name.to_owned(),
            family: scenario.family,
            extent,
            verdict,
            states,
            recorded,
            complete: is_complete,
            steps: checker.state_count(),
            depth: checker.max_depth(),
            seconds,
            bytes_per_state: grown.map(|bytes| bytes / states.max(1) as u64),
            missing,
            met: Landmark::ALL.iter().copied().filter(|landmark| met.has(*landmark)).collect(),
            stepped: cells.filter(|cell| cell.count > 0).collect(),
            counterexample: found.map(|steps| short(scenario.name, extent, subject, &steps)),
        }
    }
}

/// The number of states searched for a history shorter than the shortened one.
const LOOK_THROUGH: usize = 300_000;

/// The history in as few steps as can be found without an exhaustive search.
fn short<S: Subject>(scenario: &str, extent: Extent, subject: &S, steps: &[S::Action]) -> Trace {
    let mut history = History::empty(subject);
    // The steps that the search has taken can be taken again. If they cannot, the history ends early and shows no
    // violation.
    let _ = history.extend(steps);
    if let Some(Violation { property, .. }) = history.wrong() {
        let is_it = |state: &S::State| wrong(subject, state).is_some_and(|found| found.property == property);
        let shortest = trace::shortest(subject, LOOK_THROUGH, |state, _| is_it(state));
        history = shortest.unwrap_or_else(|| history.shorten(property));
    }
    Trace::of(scenario, extent, None, &history)
}

/// The memory this process holds, in bytes, where the system tells.
#[must_use]
pub fn resident() -> Option<u64> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok().map(|kib| kib * 1024)
}
