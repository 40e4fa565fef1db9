//! Checks a scenario with stateright and says what came of it.

use std::{
    fs,
    sync::atomic::Ordering,
    thread,
    time::{Duration, Instant},
};

use protocol::invariant::Violation;
use serde::Serialize;
use stateright::{Checker, HasDiscoveries, Model};

use crate::{
    bazaar::{Bazaar, Words},
    scenario::Scenario,
    sighting::Sighting,
    trace,
    world::{Action, World},
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
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// Which scenario.
    pub scenario: &'static str,
    /// How it ended.
    pub verdict: Outcome,
    /// Unique states found.
    pub states: usize,
    /// Unique states recorded.
    pub expected: usize,
    /// Steps tried.
    pub steps: usize,
    /// The longest path.
    pub depth: usize,
    /// How long it took.
    pub seconds: f64,
    /// How much memory the process took on at most while it ran, by state; nothing where the system does not tell. Too little
    /// where it had taken it before.
    pub bytes_per_state: Option<u64>,
    /// What was to be met and was not.
    pub missing: Vec<Sighting>,
    /// What was met.
    pub met: Vec<Sighting>,
    /// What is wrong, and the shortest way there.
    pub counterexample: Option<Counterexample>,
}

/// How a check of a scenario ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// All properties hold in all states, all states were tried, all that was to be met was, and the number of states is
    /// the recorded one.
    Holds,
    /// A property does not hold.
    Violated,
    /// A machine panicked, states were left, something was not met, or the number of states is another.
    Incomplete,
}

/// A violation and the shortest way there.
#[derive(Clone, Debug, Serialize)]
pub struct Counterexample {
    /// What is wrong.
    pub violation: Violation,
    /// The steps.
    pub steps: Vec<Action>,
    /// The same in words.
    pub words: Vec<String>,
}

impl Report {
    /// Unique states a second.
    #[must_use]
    pub fn rate(&self) -> f64 {
        self.states as f64 / self.seconds.max(1e-9)
    }
}

/// Checks a scenario: depth first, with so many threads, all of it.
pub fn check(scenario: Scenario, threads: usize, mut progress: impl FnMut(Progress)) -> Report {
    let model = Bazaar::new(scenario);
    let scenario = std::sync::Arc::clone(&model.scenario);
    let before = resident();
    let mut most = before;
    let begun = Instant::now();
    // No target and no timeout: either would let an unfinished search pass for a finished one.
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
    let expanded = checker.model().expanded.load(Ordering::Relaxed);

    let met = checker.model().logbook.all();
    let missing: Vec<_> = scenario.sightings.iter().copied().filter(|sighting| !met.has(*sighting)).collect();
    let is_complete = sound && checker.is_done() && expanded == states as u64;
    let is_violated = sound && !checker.discoveries().is_empty();
    let counterexample = is_violated.then(|| shortest_violation(&scenario)).flatten();
    let verdict = if is_violated {
        Outcome::Violated
    } else if is_complete && missing.is_empty() && states == scenario.states {
        Outcome::Holds
    } else {
        Outcome::Incomplete
    };
    let grown = most.zip(before).map(|(most, before)| most.saturating_sub(before));
    Report {
        scenario: scenario.name,
        verdict,
        states,
        expected: scenario.states,
        steps: checker.state_count(),
        depth: checker.max_depth(),
        seconds,
        bytes_per_state: grown.map(|bytes| bytes / states.max(1) as u64),
        missing,
        met: Sighting::ALL.iter().copied().filter(|sighting| met.has(*sighting)).collect(),
        counterexample,
    }
}

fn shortest_violation(scenario: &Scenario) -> Option<Counterexample> {
    let steps = trace::shortest(scenario, |world, _| world.violation.is_some())?;
    let world = steps.iter().fold(World::first(scenario), |world, step| world.after(scenario, step.clone()).0);
    let violation = Violation::clone(world.violation.as_deref()?);
    let words = steps.iter().map(|step| Words(scenario).action(step)).collect();
    Some(Counterexample { violation, steps, words })
}

/// The memory this process holds, where the system tells.
fn resident() -> Option<u64> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok().map(|kib| kib * 1024)
}
