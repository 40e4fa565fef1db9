//! Checks a scenario with stateright and says what came of it.

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
        matrix::{Kind, Role},
        trace::{self, Trace, wrong},
    },
    subject::Subject,
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
    /// Since it began.
    pub elapsed: Duration,
}

/// What came of a scenario.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Report {
    /// Which scenario.
    pub scenario: String,
    /// Of which model.
    pub family: Family,
    /// With which budgets.
    pub extent: Extent,
    /// How it ended.
    pub verdict: Outcome,
    /// Unique states found.
    pub states: usize,
    /// Unique states recorded.
    pub recorded: Option<usize>,
    /// Every state had all its steps tried.
    pub complete: bool,
    /// Steps tried.
    pub steps: usize,
    /// The longest path.
    pub depth: usize,
    /// How long it took.
    pub seconds: f64,
    /// How much memory the process took on at most while it ran, by state; nothing where the system does not tell. Too
    /// little where it had taken it before.
    pub bytes_per_state: Option<u64>,
    /// What was to be met and was not.
    pub missing: Vec<Landmark>,
    /// What was met.
    pub met: Vec<Landmark>,
    /// Which inputs were tried in which roles, and how often.
    pub stepped: Vec<Cell>,
    /// What is wrong, and a short way there.
    pub counterexample: Option<Trace>,
}

/// How often an input was tried in a role.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct Cell {
    /// The input.
    pub kind: Kind,
    /// The role.
    pub role: Role,
    /// How often.
    pub count: u64,
}

/// How a check of a scenario ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// All properties hold in all states, all states were tried, all that was to be met was, and the number of states
    /// is the recorded one.
    Holds,
    /// A property does not hold.
    Violated,
    /// No property fails, all states were tried and all that was to be met was, but the number of states is another
    /// than the recorded one, or none is recorded: the machines, or the model, do something else than when it was.
    CountedDifferently,
    /// A machine panicked, states were left, or something was not met.
    Incomplete,
}

impl Report {
    /// Unique states a second.
    #[must_use]
    pub fn rate(&self) -> f64 {
        self.states as f64 / self.seconds.max(1e-9)
    }

    /// What was found to be wrong.
    #[must_use]
    pub fn violation(&self) -> Option<&Violation> {
        self.counterexample.as_ref()?.violation.as_ref()
    }
}

/// Checks a scenario: depth first, with so many threads, all of it.
pub fn check(scenario: &Entry, extent: Extent, threads: usize, progress: impl FnMut(Progress)) -> Report {
    scenario.at(extent).with(Check { scenario, extent, threads, progress })
}

struct Check<'a, F> {
    scenario: &'a Entry,
    extent: Extent,
    threads: usize,
    progress: F,
}

impl<F: FnMut(Progress)> Visitor for Check<'_, F> {
    type Output = Report;

    fn visit<S: Subject>(self, subject: &S) -> Report {
        let Check { scenario, extent, threads, mut progress } = self;
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
        } else if Some(states) == recorded {
            Outcome::Holds
        } else {
            Outcome::CountedDifferently
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

/// How many states are looked through for a shorter way than the shortened one.
const LOOK_THROUGH: usize = 300_000;

/// The history in as few steps as can be found without trying everything.
fn short<S: Subject>(scenario: &str, extent: Extent, subject: &S, steps: &[S::Action]) -> Trace {
    let mut history = History::empty(subject);
    // What the search has taken can be taken again. Were it otherwise, this is where to look.
    let _ = history.go_on(steps);
    if let Some(Violation { property, .. }) = history.wrong() {
        let is_it = |state: &S::State| wrong(subject, state).is_some_and(|found| found.property == property);
        let shortest = trace::shortest(subject, LOOK_THROUGH, |state, _| is_it(state));
        history = shortest.unwrap_or_else(|| history.shorten(property));
    }
    Trace::of(scenario, extent, None, &history)
}

/// The memory this process holds, where the system tells.
fn resident() -> Option<u64> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok().map(|kib| kib * 1024)
}
