//! Histories: the shortest way to somewhere, and one as it stands in a file.
//!
//! stateright's own counterexamples are whatever its search came upon first.

use std::{
    collections::{BTreeMap, HashMap, VecDeque, hash_map::Entry},
    iter,
    ops::ControlFlow,
};

use bazaar_protocol::invariant::Violation;
use serde::{Deserialize, Serialize};

use crate::{
    search::history::History,
    subject::{Met, Subject},
    subject::{landmark::Landmark, scenario::Extent, shared::digest},
};

/// A history as it stands in a file: which scenario it is of, and its steps.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Trace {
    /// The scenario's name.
    pub scenario: String,
    /// With which budgets.
    pub extent: Extent,
    /// What was broken in the protocol, if anything; see `bazaar-model mutants`.
    pub mutant: Option<String>,
    /// What the last step violates, if anything.
    pub violation: Option<Violation>,
    /// The same steps in words; for people, not read back.
    pub words: Vec<String>,
    /// Where something does not come about: the first steps of what does instead, once faults have stopped. Not read
    /// back.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub afterwards: Vec<String>,
    /// The steps.
    pub steps: Vec<serde_json::Value>,
}

/// What is wrong in a state: something broken on the way to it, or something that does not come of it.
pub fn wrong<S: Subject>(subject: &S, state: &S::State) -> Option<Violation> {
    subject.violation(state).cloned().or_else(|| subject.stuck(state))
}

/// How a state was come by first: from which other, by its digest, and by which of the steps from there. Nothing for
/// the first of all.
type Come = Option<(u64, u32)>;

/// Walks all states breadth first, by one thread, until so many are known that `limit` is reached, or `each` breaks
/// off. It is shown the first state, then every step: the state, what is met, whether the state is new, and how it was
/// come by. Kept are a few words for each state and the states at the rim; what is returned says of each how it was
/// come by.
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

/// The shortest history whose last step meets the goal, giving up where `limit` states are known.
pub fn shortest<S: Subject>(
    subject: &S,
    limit: usize,
    goal: impl Fn(&S::State, &Met) -> bool,
) -> Option<History<'_, S>> {
    let mut found = None;
    let known = search(subject, limit, |state, met, is_new, come| {
        // A state is judged once, a step each time: what is met in it may be new.
        if (is_new || *met != Met::default()) && goal(state, met) {
            found = Some(come);
            return ControlFlow::Break(());
        }
        ControlFlow::Continue(())
    });
    way(subject, &known, found?)
}

/// What was come upon first, breadth first.
#[derive(Clone, Debug)]
pub struct Survey<'a, S: Subject> {
    /// The shortest history that meets each landmark, of those that were looked for and found.
    pub landmarks: BTreeMap<Landmark, History<'a, S>>,
    /// The shortest history to something wrong, if any was found.
    pub violation: Option<(Violation, History<'a, S>)>,
    /// How many states were looked at.
    pub states: usize,
}

/// The shortest history to each of these landmarks, and to something wrong: in one pass, breadth first, by one thread.
/// Ends where all is found, or where `limit` states are known. Whether something wrong is found on the way is told in
/// any case; with `until_wrong` it is looked for, and what does not come of a state ([`Subject::stuck`]) is wrong too.
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

/// The history to a state that was come by so. Nothing where two states have the same digest, so that the way to the
/// one was taken for the way to the other.
fn way<'a, S: Subject>(subject: &'a S, known: &HashMap<u64, Come>, come: Come) -> Option<History<'a, S>> {
    let before = |(from, _): &(u64, u32)| known.get(from).copied().flatten();
    let mut numbers: Vec<_> = iter::successors(come, before).map(|(_, nth)| nth as usize).collect();
    numbers.reverse();
    History::by_numbers(subject, numbers).ok()
}

impl Trace {
    /// The history as it stands in a file.
    pub fn of<S: Subject>(scenario: &str, extent: Extent, mutant: Option<String>, history: &History<'_, S>) -> Trace {
        // Steps are plain data: nothing in them refuses to be written.
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

    /// Its steps as those of this subject.
    ///
    /// # Errors
    /// The number of the first step, from 1, that is none of this subject's, and why.
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
    fn a_survey_finds_what_a_search_for_each_finds() {
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
    fn a_survey_finds_the_shortest_way_to_what_is_wrong() {
        let fixture = Fixture { is_broken: true };
        let (violation, history) = survey(&fixture, ALL, &[], true).violation.unwrap();
        assert_eq!(history.wrong(), Some(violation));
        assert_eq!(history.steps().len(), 4, "two claims are sent, two arrive");
    }

    #[test]
    fn a_survey_ends_at_its_limit_and_where_all_is_found() {
        let fixture = Fixture { is_broken: false };
        let whole = survey(&fixture, ALL, &[Landmark::Sold], false);
        let bounded = survey(&fixture, 100, &[Landmark::Sold], false);
        let early = survey(&fixture, ALL, &[Landmark::TookOffice], false);
        assert!(whole.states > 1000 && (100..200).contains(&bounded.states) && early.states < 100);
    }
}
