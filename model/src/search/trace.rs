//! The shortest histories to landmarks and violations, and a history as written to a file.
//!
//! stateright's own counterexamples are whatever its search happened to find first.

use std::{
    collections::{BTreeMap, HashMap, VecDeque, hash_map::Entry},
    iter,
    ops::ControlFlow,
};

use bazaar_protocol::invariant::Violation;
use serde::{Deserialize, Serialize};

use crate::{
    search::history::History,
    subject::known::Known,
    subject::{Met, Subject},
    subject::{landmark::Landmark, scenario::Extent, shared::digest},
};

/// A history as written to a file: its scenario and its steps.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Trace {
    /// The name of the scenario.
    pub scenario: String,
    /// The extent, which decides the budgets.
    pub extent: Extent,
    /// The mutant that was on, if any; see `bazaar-model mutants`.
    pub mutant: Option<String>,
    /// What the last step violates, if anything.
    pub violation: Option<Violation>,
    /// The same steps in words; for people, not read back.
    pub words: Vec<String>,
    /// Where a state does not converge once faults have stopped: the first steps of what happens instead. Not read
    /// back.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub afterwards: Vec<String>,
    /// The steps, as plain data.
    pub steps: Vec<serde_json::Value>,
}

/// What is wrong in a state: a property violated on the way to it, or a state that does not converge.
pub fn wrong<S: Subject>(subject: &S, state: &S::State) -> Option<Violation> {
    subject.violation(state).cloned().or_else(|| subject.stuck(state, &Known::nothing()))
}

/// How a state was first reached: the digest of the state before it and the number of the step from there. `None` for
/// the first state.
type Come = Option<(u64, u32)>;

/// Walks all states breadth first, in one thread, until `limit` states are known or `each` breaks off. `each` is shown
/// the first state, then every step: the state it leads to, what is met, whether the state is new, and how it was
/// reached. The walk keeps a few machine words for each state and the states at the rim; it returns how each state was
/// first reached.
fn search<S: Subject>(
    subject: &S,
    limit: usize,
    mut each: impl FnMut(&S::State, &Met, bool, Come) -> ControlFlow<()>,
) -> HashMap<u64, Come> {
    let first = subject.first();
    let mut known = HashMap::from([(digest(&first), None)]);
    if each(&first, &Met::default(), true, None).is_break() {
        return known;
    }
    let mut rim = VecDeque::from([first]);
    let mut actions = Vec::new();
    while let Some(state) = rim.pop_front().filter(|_| known.len() < limit) {
        let from = digest(&state);
        subject.actions(&state, &mut actions);
        for (nth, action) in (0..).zip(actions.drain(..)) {
            let (next, met) = subject.after(&state, &action);
            let come = Some((from, nth));
            let place = known.entry(digest(&next));
            let is_new = matches!(place, Entry::Vacant(_));
            place.or_insert(come);
            if each(&next, &met, is_new, come).is_break() {
                return known;
            }
            if is_new {
                rim.push_back(next);
            }
        }
    }
    known
}

/// The shortest history whose last step meets the goal; gives up once `limit` states are known.
pub fn shortest<S: Subject>(
    subject: &S,
    limit: usize,
    goal: impl Fn(&S::State, &Met) -> bool,
) -> Option<History<'_, S>> {
    let mut found = None;
    let known = search(subject, limit, |state, met, is_new, come| {
        // A state is judged once, a step every time, since what is met in the step may be new.
        if (is_new || *met != Met::default()) && goal(state, met) {
            found = Some(come);
            return ControlFlow::Break(());
        }
        ControlFlow::Continue(())
    });
    way(subject, &known, found?)
}

/// The shortest histories to whatever was looked for.
#[derive(Clone, Debug)]
pub struct Survey<'a, S: Subject> {
    /// The shortest history to each landmark that was looked for and found.
    pub landmarks: BTreeMap<Landmark, History<'a, S>>,
    /// The shortest history to a violation, if one was found.
    pub violation: Option<(Violation, History<'a, S>)>,
    /// The number of states searched.
    pub states: usize,
}

/// The shortest history to each of these landmarks and to a violation, in one pass, breadth first, in one thread. Ends
/// once everything is found or `limit` states are known. A violation met on the way is reported in any case; with
/// `until_wrong` the search continues until it finds one, and a state that is [stuck](Subject::stuck) counts as one.
pub fn survey<'a, S: Subject>(
    subject: &'a S,
    limit: usize,
    landmarks: &[Landmark],
    until_wrong: bool,
) -> Survey<'a, S> {
    let judge = |state: &S::State| if until_wrong { wrong(subject, state) } else { subject.violation(state).cloned() };
    let mut missing = landmarks.to_vec();
    let mut found = BTreeMap::new();
    let mut violation = None;
    let known = search(subject, limit, |state, met, is_new, come| {
        for landmark in missing.extract_if(.., |landmark| met.landmarks.has(*landmark)) {
            found.insert(landmark, come);
        }
        if is_new && violation.is_none() {
            violation = judge(state).map(|violation| (violation, come));
        }
        let is_done = missing.is_empty() && (violation.is_some() || !until_wrong);
        if is_done { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    });
    let history = |come| way(subject, &known, come);
    Survey {
        landmarks: found.into_iter().filter_map(|(landmark, come)| Some((landmark, history(come)?))).collect(),
        violation: violation.and_then(|(violation, come)| Some((violation, history(come)?))),
        states: known.len(),
    }
}

/// The history to a state that was reached in this way. `None` if two states have the same digest, so that the way to
/// one was taken for the way to the other.
fn way<'a, S: Subject>(subject: &'a S, known: &HashMap<u64, Come>, come: Come) -> Option<History<'a, S>> {
    let before = |(from, _): &(u64, u32)| known.get(from).copied().flatten();
    let mut numbers: Vec<_> = iter::successors(come, before).map(|(_, nth)| nth as usize).collect();
    numbers.reverse();
    History::by_numbers(subject, numbers).ok()
}

impl Trace {
    /// The history in the form in which it is written to a file.
    pub fn of<S: Subject>(scenario: &str, extent: Extent, mutant: Option<String>, history: &History<'_, S>) -> Trace {
        // Steps are plain data, which can always be serialised.
        let written = |action| serde_json::to_value(action).unwrap_or_default();
        Trace {
            scenario: scenario.to_owned(),
            extent,
            mutant,
            violation: history.wrong(),
            words: history.sentences().collect(),
            afterwards: history.afterwards().into_iter().map(|(words, _)| words).collect(),
            steps: history.steps().map(|(_, action, _)| written(action)).collect(),
        }
    }

    /// Its steps as steps of this subject.
    ///
    /// # Errors
    /// The number of the first step, from 1, that is not a step of this subject, and why.
    pub fn actions<S: Subject>(&self, _subject: &S) -> Result<Vec<S::Action>, (usize, serde_json::Error)> {
        let step =
            |(nth, step): (usize, &serde_json::Value)| S::Action::deserialize(step).map_err(|error| (nth, error));
        (1..).zip(&self.steps).map(step).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::subject::fixture::{Fixture, LANDMARKS};

    const ALL: usize = 1_000_000;

    #[test]
    fn a_survey_finds_the_same_histories_as_single_searches() {
        let fixture = Fixture { is_broken: false };
        let survey = survey(&fixture, ALL, &LANDMARKS, false);
        assert_eq!(survey.landmarks.len(), LANDMARKS.len() - 1, "one is never met");
        for (landmark, history) in &survey.landmarks {
            let shortest = shortest(&fixture, ALL, |_, met| met.landmarks.has(*landmark)).unwrap();
            assert!(history.numbers().eq(shortest.numbers()), "{landmark}");
        }
        assert!(survey.violation.is_none());
    }

    #[test]
    fn a_survey_finds_the_shortest_history_to_a_violation() {
        let fixture = Fixture { is_broken: true };
        let (violation, history) = survey(&fixture, ALL, &[], true).violation.unwrap();
        assert_eq!(history.wrong(), Some(violation));
        assert_eq!(history.steps().len(), 4, "two claims are sent, two arrive");
    }

    #[test]
    fn a_survey_ends_at_its_limit_or_once_everything_is_found() {
        let fixture = Fixture { is_broken: false };
        let whole = survey(&fixture, ALL, &[Landmark::Sold], false);
        let bounded = survey(&fixture, 100, &[Landmark::Sold], false);
        let early = survey(&fixture, ALL, &[Landmark::TookOffice], false);
        assert!(whole.states > 1000 && (100..200).contains(&bounded.states) && early.states < 100);
    }
}
