//! Histories: the shortest way to somewhere, a long one made short, and one written to a file and taken again.
//!
//! stateright's own counterexamples are whatever its search came upon first.

use std::collections::{BTreeMap, HashMap, VecDeque, hash_map::Entry};

use protocol::invariant::{Property, Violation};
use serde::{Deserialize, Serialize};

use crate::{
    part::digest,
    picture::Mark,
    scenario::Extent,
    sighting::Sighting,
    subject::{Met, Subject},
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
    /// Where something does not come about: the first steps of what does instead, once faults have stopped. Not read back.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub afterwards: Vec<String>,
    /// The steps.
    pub steps: Vec<serde_json::Value>,
}

/// What is wrong in a state: something broken on the way to it, or something that does not come of it.
pub fn wrong<S: Subject>(subject: &S, state: &S::State) -> Option<Violation> {
    subject.violation(state).cloned().or_else(|| subject.stuck(state))
}

/// The shortest history whose last step meets the goal: breadth first, by one thread, giving up beyond `limit` states.
/// It keeps a few words for each state it comes by and the states at the rim.
pub fn shortest<S: Subject>(
    subject: &S,
    limit: usize,
    goal: impl Fn(&S::State, &Met) -> bool,
) -> Option<Vec<S::Action>> {
    let first = subject.first();
    if goal(&first, &Met::default()) {
        return Some(Vec::new());
    }
    // By digest: where it was come by, and by which of the steps from there.
    let mut known: HashMap<u64, Option<(u64, u32)>> = HashMap::from([(digest(&first), None)]);
    let mut rim = VecDeque::from([first]);
    let mut actions = Vec::new();
    while let Some(state) = rim.pop_front() {
        let from = digest(&state);
        subject.actions(&state, &mut actions);
        for (nth, action) in (0..).zip(actions.drain(..)) {
            let (next, met) = subject.after(&state, &action);
            let to = digest(&next);
            let is_new = match known.entry(to) {
                Entry::Vacant(place) => {
                    place.insert(Some((from, nth)));
                    true
                }
                Entry::Occupied(_) => false,
            };
            // A state is judged once, a step each time: what is met in it may be new.
            if (is_new || met != Met::default()) && goal(&next, &met) {
                return Some(by_number(subject, &way(&known, Some((from, nth)))));
            }
            if is_new {
                if known.len() >= limit {
                    return None;
                }
                rim.push_back(next);
            }
        }
    }
    None
}

/// What was come upon first, breadth first.
#[derive(Clone, Debug)]
pub struct Survey<A> {
    /// The shortest history that meets each sighting, of those that were looked for and found.
    pub sightings: BTreeMap<Sighting, Vec<A>>,
    /// The shortest history to something wrong, if any was found.
    pub violation: Option<(Violation, Vec<A>)>,
    /// How many states were looked at.
    pub states: usize,
}

/// The shortest history to each of these sightings, and to something wrong: in one pass, breadth first, by one thread. Ends
/// where all is found, or where `limit` states are known. Whether something wrong is found on the way is told in any case;
/// with `until_wrong` it is looked for, and what does not come of a state ([`Subject::stuck`]) is wrong too.
pub fn survey<S: Subject>(subject: &S, limit: usize, sightings: &[Sighting], until_wrong: bool) -> Survey<S::Action> {
    let judge = |state: &S::State| if until_wrong { wrong(subject, state) } else { subject.violation(state).cloned() };
    let first = subject.first();
    // By digest, as in `shortest`.
    let mut known: HashMap<u64, Option<(u64, u32)>> = HashMap::from([(digest(&first), None)]);
    let mut missing = sightings.to_vec();
    let mut found: BTreeMap<Sighting, (u64, u32)> = BTreeMap::new();
    let mut violation = judge(&first).map(|violation| (violation, None));
    let mut rim = VecDeque::from([first]);
    let mut actions = Vec::new();
    'search: while let Some(state) = rim.pop_front() {
        let from = digest(&state);
        subject.actions(&state, &mut actions);
        for (nth, action) in (0..).zip(actions.drain(..)) {
            if missing.is_empty() && (violation.is_some() || !until_wrong) {
                break 'search;
            }
            let (next, met) = subject.after(&state, &action);
            missing.retain(|sighting| {
                let is_met = met.sightings.has(*sighting);
                if is_met {
                    found.insert(*sighting, (from, nth));
                }
                !is_met
            });
            if let Entry::Vacant(place) = known.entry(digest(&next)) {
                place.insert(Some((from, nth)));
                if violation.is_none() {
                    violation = judge(&next).map(|violation| (violation, Some((from, nth))));
                }
                rim.push_back(next);
            }
        }
        if known.len() >= limit {
            break;
        }
    }
    let history = |last| by_number(subject, &way(&known, last));
    Survey {
        sightings: found.into_iter().map(|(sighting, last)| (sighting, history(Some(last)))).collect(),
        violation: violation.map(|(violation, last)| (violation, history(last))),
        states: known.len(),
    }
}

/// The numbers of the steps that lead to this one, and of this one.
fn way(known: &HashMap<u64, Option<(u64, u32)>>, last: Option<(u64, u32)>) -> Vec<u32> {
    let mut steps = Vec::new();
    let mut at = last;
    while let Some((before, nth)) = at {
        steps.push(nth);
        at = known.get(&before).copied().flatten();
    }
    steps.reverse();
    steps
}

/// For each step which it is, counted from 0, of those that can be taken where it stands; nothing if one cannot.
pub fn numbers<S: Subject>(subject: &S, steps: &[S::Action]) -> Option<Vec<usize>> {
    let mut state = subject.first();
    let mut numbers = Vec::new();
    let mut actions = Vec::new();
    for step in steps {
        actions.clear();
        subject.actions(&state, &mut actions);
        numbers.push(actions.iter().position(|action| action == step)?);
        (state, _) = subject.after(&state, step);
    }
    Some(numbers)
}

fn by_number<S: Subject>(subject: &S, steps: &[u32]) -> Vec<S::Action> {
    let mut state = subject.first();
    let mut taken = Vec::new();
    for nth in steps {
        let mut actions = Vec::new();
        subject.actions(&state, &mut actions);
        let action = actions.swap_remove(*nth as usize);
        (state, _) = subject.after(&state, &action);
        taken.push(action);
    }
    taken
}

/// The states a history goes through, the first included.
///
/// # Errors
/// The number of the first step, from 1, that cannot be taken where it stands.
pub fn replay<S: Subject>(subject: &S, steps: &[S::Action]) -> Result<Vec<S::State>, usize> {
    let mut states = vec![subject.first()];
    let mut actions = Vec::new();
    for (nth, step) in (1..).zip(steps) {
        let state = &states[nth - 1];
        subject.actions(state, &mut actions);
        if !actions.contains(step) {
            return Err(nth);
        }
        actions.clear();
        let (next, _) = subject.after(state, step);
        states.push(next);
    }
    Ok(states)
}

/// Takes the steps that can be taken, until one violates the property; those that were taken, if one does.
fn taken<S: Subject>(subject: &S, steps: &[S::Action], property: Property) -> Option<Vec<S::Action>> {
    let mut state = subject.first();
    let mut taken = Vec::new();
    let mut actions = Vec::new();
    for step in steps {
        subject.actions(&state, &mut actions);
        let can_be_taken = actions.contains(step);
        actions.clear();
        if can_be_taken {
            let (next, _) = subject.after(&state, step);
            if next != state {
                state = next;
                taken.push(step.clone());
            }
        }
        if subject.violation(&state).is_some_and(|found| found.property == property) {
            return Some(taken);
        }
    }
    subject.stuck(&state).filter(|found| found.property == property).map(|_| taken)
}

/// A history that violates the same property with fewer steps: none of those that are left can be left out by itself.
/// Every candidate is replayed, so what comes out is a history of the subject, whatever was left out.
pub fn shorten<S: Subject>(subject: &S, steps: Vec<S::Action>, property: Property) -> Vec<S::Action> {
    let Some(mut best) = taken(subject, &steps, property) else { return steps };
    let mut chunk = best.len() / 2;
    while chunk > 0 {
        let before = best.len();
        let mut at = 0;
        while at < best.len() {
            let end = (at + chunk).min(best.len());
            let fewer: Vec<_> = best[..at].iter().chain(&best[end..]).cloned().collect();
            match taken(subject, &fewer, property) {
                Some(shorter) if shorter.len() < best.len() => best = shorter,
                Some(_) | None => at = end,
            }
        }
        // Another round with single steps as long as it helps.
        chunk = match chunk {
            1 if best.len() < before => 1,
            1 => 0,
            _ => chunk.div_ceil(2),
        };
    }
    best
}

/// How much is shown of what comes about instead of what should.
const AFTERWARDS: usize = 24;

/// Where something does not come about from a state: the first steps of what does instead.
pub fn what_comes_instead<S: Subject>(subject: &S, state: &S::State) -> Vec<(String, Vec<Mark>)> {
    let is_stuck = subject.violation(state).is_none() && subject.stuck(state).is_some();
    if is_stuck { subject.afterwards(state, AFTERWARDS) } else { Vec::new() }
}

impl Trace {
    /// The history of these steps, as it stands in a file.
    pub fn of<S: Subject>(
        scenario: &str,
        extent: Extent,
        mutant: Option<String>,
        subject: &S,
        steps: &[S::Action],
    ) -> Trace {
        let mut words = Vec::new();
        let mut state = subject.first();
        for step in steps {
            words.push(subject.sentence(&state, step));
            (state, _) = subject.after(&state, step);
        }
        let violation = wrong(subject, &state);
        let afterwards = what_comes_instead(subject, &state).into_iter().map(|(words, _)| words).collect();
        // Steps are plain data: nothing in them refuses to be written.
        let steps = steps.iter().map(|step| serde_json::to_value(step).unwrap_or_default()).collect();
        Trace { scenario: scenario.to_owned(), extent, mutant, violation, words, afterwards, steps }
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
    use crate::toy::{SIGHTINGS, Toy};

    const ALL: usize = 1_000_000;

    #[test]
    fn a_survey_finds_what_a_search_for_each_finds() {
        let toy = Toy { is_broken: false };
        let survey = survey(&toy, ALL, &SIGHTINGS, false);
        assert_eq!(survey.sightings.len(), SIGHTINGS.len() - 1, "one is never met");
        for (sighting, steps) in &survey.sightings {
            assert_eq!(Some(steps), shortest(&toy, ALL, |_, met| met.sightings.has(*sighting)).as_ref());
        }
        assert!(survey.violation.is_none());
    }

    #[test]
    fn a_survey_finds_the_shortest_way_to_what_is_wrong() {
        let toy = Toy { is_broken: true };
        let (violation, steps) = survey(&toy, ALL, &[], true).violation.unwrap();
        let states = replay(&toy, &steps).unwrap();
        assert_eq!(toy.violation(states.last().unwrap()), Some(&violation));
        assert_eq!(steps.len(), 4, "two claims are sent, two arrive");
    }

    #[test]
    fn a_survey_ends_at_its_limit_and_where_all_is_found() {
        let toy = Toy { is_broken: false };
        let whole = survey(&toy, ALL, &[Sighting::Sold], false);
        let bounded = survey(&toy, 100, &[Sighting::Sold], false);
        let early = survey(&toy, ALL, &[Sighting::TookOffice], false);
        assert!(whole.states > 1000 && (100..200).contains(&bounded.states) && early.states < 100);
    }

    #[test]
    fn the_numbers_of_steps_lead_where_the_steps_lead() {
        let toy = Toy { is_broken: true };
        let (_, steps) = survey(&toy, ALL, &[], true).violation.unwrap();
        let numbers = numbers(&toy, &steps).unwrap();
        assert_eq!(by_number(&toy, &numbers.iter().map(|nth| *nth as u32).collect::<Vec<_>>()), steps);
        assert_eq!(super::numbers(&toy, &steps[2..]), None, "what was never sent does not arrive");
    }
}
