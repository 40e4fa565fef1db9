//! Running histories: once, twice to compare, shorter and shorter, and from a file.

use std::{
    collections::BTreeSet,
    io::{self, Write},
};

use bazaar_protocol::invariant::{Property, Violation};
use serde::{Deserialize, Serialize};

use super::{
    meter::Tally,
    plan::{Fault, FaultKind, Millis, Noise, Schedule},
    story::Story,
    world::World,
};

/// What came of a history.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// What was violated, if anything was.
    pub violation: Option<Violation>,
    /// What happened, in numbers.
    pub tally: Tally,
    /// The digest of every input and effect with its time.
    pub digest: u64,
    /// How much virtual time passed, in nanoseconds.
    pub nanos: u64,
}

/// Simulates a history.
#[must_use]
pub fn simulate(schedule: Schedule) -> Outcome {
    let mut world = World::new(schedule);
    world.run();
    outcome(&world)
}

/// Simulates a history, and tells it in words.
#[must_use]
pub fn tell(schedule: Schedule) -> (Outcome, Story) {
    let mut world = World::new(schedule);
    let story = world.tell();
    (outcome(&world), story)
}

fn outcome(world: &World) -> Outcome {
    Outcome {
        violation: world.violation().cloned(),
        tally: world.tally().clone(),
        digest: world.digest(),
        nanos: world.now(),
    }
}

/// How many histories are tried to shrink one.
const TRIES: usize = 200;

/// A schedule with fewer faults that violates the same property.
#[must_use]
pub fn shrink(schedule: Schedule, property: Property) -> Schedule {
    let violates =
        |schedule: &Schedule| simulate(schedule.clone()).violation.is_some_and(|found| found.property == property);
    shrink_while(schedule, violates)
}

/// A schedule with fewer faults that still fails: kinds of faults are switched off, the tail is cut off, faults are left
/// out one by one.
fn shrink_while(schedule: Schedule, mut still_fails: impl FnMut(&Schedule) -> bool) -> Schedule {
    let mut tries = TRIES;
    let mut fails = |schedule: &Schedule| {
        if tries == 0 {
            return false;
        }
        tries -= 1;
        still_fails(schedule)
    };
    let mut best = schedule;
    let mut attempt = |best: &mut Schedule, change: &dyn Fn(&mut Schedule)| {
        let mut next = best.clone();
        change(&mut next);
        if next != *best && fails(&next) {
            *best = next;
            return true;
        }
        false
    };
    attempt(&mut best, &|schedule| {
        schedule.noise = Noise::default();
        schedule.faults.clear();
    });
    let kinds: BTreeSet<FaultKind> = best.kinds().collect();
    for kind in kinds {
        attempt(&mut best, &|schedule| match kind {
            FaultKind::Loss => schedule.noise.loss = 0,
            FaultKind::Duplication => schedule.noise.duplication = 0,
            FaultKind::Reordering => schedule.noise.reordering = 0,
            FaultKind::Stall => schedule.noise.stalls = 0,
            FaultKind::Congestion => schedule.noise.congestion = 0,
            FaultKind::Cut
            | FaultKind::OneWayCut
            | FaultKind::PermanentCut
            | FaultKind::Isolation
            | FaultKind::LedgerCut
            | FaultKind::Pause
            | FaultKind::Slow
            | FaultKind::Crash
            | FaultKind::TraderCrash
            | FaultKind::PermanentCrash
            | FaultKind::LedgerCrash => schedule.faults.retain(|fault| fault.what.kind() != kind),
        });
    }
    // The faults stop earlier, by halves.
    while best.faults_stop > Millis(0)
        && attempt(&mut best, &|schedule| {
            let half = Millis(schedule.faults_stop.0 / 2);
            schedule.faults_stop = half;
            schedule.faults.retain(|fault| fault.at < half);
        })
    {}
    let mut chunk = best.faults.len();
    while chunk > 0 {
        let mut at = 0;
        while at < best.faults.len() {
            let without = |schedule: &mut Schedule| {
                let end = (at + chunk).min(schedule.faults.len());
                schedule.faults.drain(at..end);
            };
            if !attempt(&mut best, &without) {
                at += chunk;
            }
        }
        chunk = if chunk == 1 { 0 } else { chunk.div_ceil(2) };
    }
    best
}

/// A history as it is written to a file.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Record {
    /// What was simulated.
    pub simulation: Schedule,
    /// The mutant that was on, if any; see `bazaar-model mutants`.
    pub mutant: Option<String>,
    /// What it violates, if anything.
    pub violation: Option<Violation>,
    /// The digest of the history, in hexadecimal.
    pub digest: String,
    /// The faults in words; for people, not read back.
    pub faults: Vec<String>,
}

/// Why a simulated history cannot be shown.
#[derive(Debug, thiserror::Error)]
pub enum RecordError {
    /// The schedule is not one.
    #[error("it cannot be simulated: {0}")]
    Schedule(String),
    /// The file does not say what really happens: the protocol, the simulator, or the file has changed.
    #[error("it does not end as the file says: the file says: {said}; here: {found}")]
    EndsOtherwise {
        /// What the file says.
        said: String,
        /// What happens.
        found: String,
    },
    /// The output cannot be written.
    #[error(transparent)]
    Output(#[from] io::Error),
}

impl Record {
    /// A history with its outcome.
    #[must_use]
    pub fn of(schedule: Schedule, mutant: Option<String>, outcome: &Outcome) -> Record {
        Record {
            faults: schedule.faults.iter().map(Fault::to_string).collect(),
            simulation: schedule,
            mutant,
            violation: outcome.violation.clone(),
            digest: format!("{:016x}", outcome.digest),
        }
    }

    /// Simulates it again and shows it: what goes wrong in it, who was trader when, and the last steps. The caller has
    /// switched on the mutant that it names, if it names one.
    ///
    /// # Errors
    /// It is no history, or does not end as the file says; see [`RecordError`].
    pub fn replay(&self, out: &mut dyn Write) -> Result<(), RecordError> {
        self.simulation.check().map_err(RecordError::Schedule)?;
        let plan = &self.simulation.plan;
        writeln!(out, "seed {}, {} peers, {} network", plan.seed, plan.peers, plan.network)?;
        if let Some(mutant) = &self.mutant {
            writeln!(out, "mutant {mutant}")?;
        }
        let Noise { loss, duplication, reordering, stalls, congestion } = self.simulation.noise;
        if self.simulation.noise != Noise::default() {
            writeln!(
                out,
                "in a million messages {loss} are lost, {duplication} doubled and {reordering} overtaken; of a million \
                 writes {stalls} stall; an envelope keeps its link busy for {congestion} µs longer"
            )?;
        }
        let (outcome, story) = tell(self.simulation.clone());
        for chapter in story.chapters() {
            writeln!(out, "{chapter}")?;
        }
        writeln!(out, "\nthe last {} steps:", story.steps().len())?;
        for step in story.steps() {
            writeln!(out, "{step}")?;
        }
        let says =
            |violation: Option<&Violation>| violation.map_or("nothing is violated".to_owned(), ToString::to_string);
        let found = says(outcome.violation.as_ref());
        writeln!(out, "\n{found}")?;
        let digest = format!("{:016x}", outcome.digest);
        if self.violation.as_ref().map(|said| said.property) != outcome.violation.as_ref().map(|found| found.property) {
            return Err(RecordError::EndsOtherwise { said: says(self.violation.as_ref()), found });
        }
        if self.digest != digest {
            return Err(RecordError::EndsOtherwise {
                said: format!("the digest is {}", self.digest),
                found: format!("it is {digest}; the protocol or the simulator has changed"),
            });
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeSet, time::Duration};

    use bazaar_protocol::id::PeerId;

    use super::*;
    use crate::simulator::plan::{Network, Plan, Think, What};

    fn plan(seed: u64) -> Plan {
        Plan {
            seed,
            peers: 5,
            network: Network::Random,
            think: Think::evenly(300),
            span: Duration::from_secs(120),
            quiet: false,
            without: BTreeSet::new(),
        }
    }

    #[test]
    fn a_schedule_is_shrunk_to_what_it_needs_to_fail() {
        let needs = |schedule: &Schedule| {
            schedule.faults.iter().any(|fault| matches!(fault.what, What::Pause { peer: PeerId(2), .. }))
        };
        let wild = (0..).map(|seed| Schedule::draw(plan(seed))).find(|drawn| needs(drawn) && drawn.faults.len() > 20);
        let wild = wild.expect("some seed is wild");
        let shrunk = shrink_while(wild.clone(), needs);
        assert_eq!((shrunk.faults.len(), shrunk.noise), (1, Noise::default()));
        assert!(shrunk.faults_stop <= wild.faults_stop && needs(&shrunk));
    }

    #[test]
    fn a_schedule_that_fails_whatever_is_left_out_is_shrunk_to_nothing() {
        let shrunk = shrink_while(Schedule::draw(plan(3)), |_| true);
        assert!(shrunk.is_quiet() && shrunk.faults_stop == Millis(0), "{shrunk:?}");
    }
}
