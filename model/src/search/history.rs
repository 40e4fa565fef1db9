//! A history: the steps that were taken, and the states between them.
//!
//! Histories are taken here and nowhere else. Whatever is said about a history, drawn, written to a file, linked to in
//! the Explorer or left out when it is shortened is read off the steps that were taken; no step is computed twice.

use std::mem;

use bazaar_protocol::invariant::{Property, Violation};

use crate::{search::trace::wrong, subject::Subject, subject::picture::Mark};

/// A history that was taken, from the first state of a subject.
#[derive(Clone, Debug)]
pub struct History<'a, S: Subject> {
    subject: &'a S,
    first: S::State,
    taken: Vec<Taken<S>>,
}

/// A step that was taken.
#[derive(Clone, Debug)]
struct Taken<S: Subject> {
    /// Its number, from 0, among the steps that can be taken there.
    number: usize,
    action: S::Action,
    after: S::State,
}

/// A step cannot be taken at its place in the history: the steps belong to another subject, or to another version of
/// it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("step {nth} cannot be taken at that point")]
pub struct CannotBeTaken {
    /// The number of the step, from 1.
    pub nth: usize,
}

/// How many steps are shown of what happens where a state does not converge.
const AFTERWARDS: usize = 24;

impl<'a, S: Subject> History<'a, S> {
    /// The history without any steps.
    #[must_use]
    pub fn empty(subject: &'a S) -> History<'a, S> {
        History { subject, first: subject.first(), taken: Vec::new() }
    }

    /// The history that takes these steps.
    ///
    /// # Errors
    /// A step cannot be taken at its place.
    pub fn replay<'b>(
        subject: &'a S,
        steps: impl IntoIterator<Item = &'b S::Action>,
    ) -> Result<History<'a, S>, CannotBeTaken> {
        let mut history = History::empty(subject);
        history.extend(steps)?;
        Ok(history)
    }

    /// The history that takes the steps with these numbers, each counted from 0 among the steps that can be taken at
    /// that point.
    ///
    /// # Errors
    /// There is no step of that number.
    pub fn by_numbers(
        subject: &'a S,
        numbers: impl IntoIterator<Item = usize>,
    ) -> Result<History<'a, S>, CannotBeTaken> {
        let mut history = History::empty(subject);
        for number in numbers {
            history.take(|nth, _| nth == number)?;
        }
        Ok(history)
    }

    /// Takes these steps from where the history ends.
    ///
    /// # Errors
    /// A step cannot be taken at its place. The steps before it have been taken.
    pub fn extend<'b>(&mut self, steps: impl IntoIterator<Item = &'b S::Action>) -> Result<(), CannotBeTaken> {
        steps.into_iter().try_for_each(|step| self.take(|_, action| action == step))
    }

    fn take(&mut self, is_it: impl Fn(usize, &S::Action) -> bool) -> Result<(), CannotBeTaken> {
        let taken = self.next(is_it).ok_or(CannotBeTaken { nth: self.taken.len() + 1 })?;
        self.taken.push(taken);
        Ok(())
    }

    /// The first step that can be taken at the end and satisfies `is_it`.
    fn next(&self, is_it: impl Fn(usize, &S::Action) -> bool) -> Option<Taken<S>> {
        let mut actions = Vec::new();
        self.subject.actions(self.last(), &mut actions);
        let (number, action) = actions.into_iter().enumerate().find(|(number, action)| is_it(*number, action))?;
        let (after, _) = self.subject.after(self.last(), &action);
        Some(Taken { number, action, after })
    }

    /// Its steps, each between the state in which it was taken and the state it led to.
    pub fn steps(&self) -> impl ExactSizeIterator<Item = (&S::State, &S::Action, &S::State)> {
        let mut before = &self.first;
        self.taken.iter().map(move |Taken { action, after, .. }| (mem::replace(&mut before, after), action, after))
    }

    /// The number of each step, from 0, among the steps that can be taken at that point.
    pub fn numbers(&self) -> impl ExactSizeIterator<Item = usize> {
        self.taken.iter().map(|taken| taken.number)
    }

    /// Each step as a sentence.
    pub fn sentences(&self) -> impl ExactSizeIterator<Item = String> {
        self.steps().map(|(before, action, after)| self.subject.sentence(before, action, after))
    }

    /// What a picture shows of each step.
    pub fn marks(&self) -> impl ExactSizeIterator<Item = Vec<Mark>> {
        self.steps().map(|(before, action, after)| self.subject.marks(before, action, after))
    }

    /// The subject whose history it is.
    #[must_use]
    pub fn subject(&self) -> &'a S {
        self.subject
    }

    /// The state it leads to.
    #[must_use]
    pub fn last(&self) -> &S::State {
        self.taken.last().map_or(&self.first, |taken| &taken.after)
    }

    /// What is wrong in the state it leads to.
    #[must_use]
    pub fn wrong(&self) -> Option<Violation> {
        wrong(self.subject, self.last())
    }

    /// If the history ends in a state that does not converge: the first steps of what happens
    /// instead, in words and as a picture shows them.
    #[must_use]
    pub fn afterwards(&self) -> Vec<(String, Vec<Mark>)> {
        let is_stuck = self.subject.violation(self.last()).is_none() && self.wrong().is_some();
        if is_stuck { self.subject.afterwards(self.last(), AFTERWARDS) } else { Vec::new() }
    }

    /// The history of its first steps; all of it if it has fewer.
    #[must_use]
    pub fn upto(&self, steps: usize) -> History<'a, S> {
        let taken = self.taken.iter().take(steps).cloned().collect();
        History { subject: self.subject, first: self.first.clone(), taken }
    }

    /// A history that violates the same property in fewer steps, of which no single one can be left out. Every
    /// candidate is taken from the point where it differs from the best one so far.
    #[must_use]
    pub fn shorten(self, property: Property) -> History<'a, S> {
        let Some(mut best) = History::empty(self.subject).until_violated(&self.taken, property) else { return self };
        let mut chunk = best.taken.len() / 2;
        while chunk > 0 {
            let before = best.taken.len();
            let mut at = 0;
            while at < best.taken.len() {
                let rest = best.taken.get(at + chunk..).unwrap_or_default();
                match best.upto(at).until_violated(rest, property) {
                    Some(shorter) if shorter.taken.len() < best.taken.len() => best = shorter,
                    Some(_) | None => at += chunk,
                }
            }
            // Another round with single steps, as long as that helps.
            chunk = match chunk {
                1 if best.taken.len() < before => 1,
                1 => 0,
                _ => chunk.div_ceil(2),
            };
        }
        best
    }

    /// Takes those of these steps that can be taken and change something, until one violates the property; `None` if
    /// none does.
    fn until_violated(mut self, steps: &[Taken<S>], property: Property) -> Option<History<'a, S>> {
        for step in steps {
            let taken = self.next(|_, action| *action == step.action);
            self.taken.extend(taken.filter(|taken| taken.after != *self.last()));
            if self.subject.violation(self.last()).is_some_and(|found| found.property == property) {
                return Some(self);
            }
        }
        self.wrong().is_some_and(|found| found.property == property).then_some(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{search::trace::survey, subject::fixture::Fixture};

    const BROKEN: Fixture = Fixture { is_broken: true };

    fn violated() -> History<'static, Fixture> {
        survey(&BROKEN, 1_000_000, &[], true).violation.unwrap().1
    }

    fn actions(history: &History<'_, Fixture>) -> Vec<crate::subject::fixture::Action> {
        history.steps().map(|(_, action, _)| action.clone()).collect()
    }

    #[test]
    fn step_numbers_lead_to_the_same_state_as_the_steps() {
        let history = violated();
        let again = History::by_numbers(&BROKEN, history.numbers()).unwrap();
        assert_eq!((actions(&again), again.last()), (actions(&history), history.last()));
        assert_eq!(History::by_numbers(&BROKEN, [0, 1, 99]).unwrap_err(), CannotBeTaken { nth: 3 });
    }

    #[test]
    fn a_message_that_was_never_sent_cannot_arrive() {
        let steps = actions(&violated());
        assert_eq!(History::replay(&BROKEN, &steps[2..]).unwrap_err(), CannotBeTaken { nth: 1 });
        let mut history = History::replay(&BROKEN, &steps).unwrap();
        assert_eq!(history.extend(&steps), Err(CannotBeTaken { nth: 5 }), "nothing follows a violation");
        assert_eq!(actions(&history), steps);
    }

    #[test]
    fn every_step_begins_where_the_one_before_it_led() {
        let history = violated();
        let mut at = BROKEN.first();
        for (before, action, after) in history.steps() {
            assert_eq!((before, after), (&at, &BROKEN.after(&at, action).0));
            at = after.clone();
        }
        assert_eq!(history.upto(2).last(), history.steps().nth(1).unwrap().2);
        assert_eq!(history.upto(99).steps().len(), history.steps().len());
    }

    #[test]
    fn steps_that_make_no_difference_are_left_out() {
        use crate::subject::fixture::Action::{Crash, Cut, Deliver, Fire, Heal, Restart};
        let long = [Cut, Fire(0), Crash(1), Restart(1), Heal, Fire(1), Deliver(0), Deliver(0), Deliver(1)];
        let long = History::replay(&BROKEN, &long).unwrap();
        let short = long.clone().shorten(Property::S1);
        assert_eq!(actions(&short), [Fire(0), Fire(1), Deliver(0), Deliver(1)]);
        assert_eq!(actions(&long.clone().shorten(Property::S2)), actions(&long), "it violates no such property");
    }
}
