//! What is already known of where the fair schedule leads.
//!
//! The fair schedule is deterministic: from two states that are taken for the same it takes the same steps. The
//! schedules of most states soon lead into one that was followed before. What follows from there need not be followed
//! again: that it leads to where it must, and in how many more steps, is a property of the state alone. That states
//! which are taken for the same converge alike is checked with their steps ([`canonical`](crate::search::canonical)),
//! by schedules that are followed to their ends.

use std::sync::{
    OnceLock,
    atomic::{AtomicU64, Ordering},
};

/// The number of low bits of a digest that say where its entry is. An entry has the others.
const PLACE: u32 = 20;

/// The bits of an entry that hold a number of steps.
const STEPS: u64 = (1 << PLACE) - 1;

/// The states from which the fair schedules of one subject are known to lead to where they must, each with the number
/// of steps that this takes. States are told apart by their digests, as in the search. Only so many are kept, each in
/// one place, until another one needs that place: what has been forgotten is followed again. A state from which a
/// schedule leads elsewhere is never among them, so each is judged, and reported, by following its own schedule.
#[derive(Debug, Default)]
pub struct Known(OnceLock<Vec<AtomicU64>>);

impl Known {
    /// Knows of no state and keeps none: every schedule is followed to its end.
    #[must_use]
    pub fn nothing() -> Known {
        Known(OnceLock::from(Vec::new()))
    }

    /// In how many steps the schedule leads from the state with this digest to where it must, if that is known.
    #[must_use]
    pub fn steps_from(&self, digest: u64) -> Option<usize> {
        let entry = self.0.get()?.get((digest & STEPS) as usize)?.load(Ordering::Relaxed);
        // No steps are kept as one more, so that an empty place is no entry.
        let steps = (entry & STEPS).checked_sub(1)?;
        (entry >> PLACE == digest >> PLACE).then_some(steps as usize)
    }

    /// Keeps that a schedule has led through the states with these digests, one after each step, and from the last of
    /// them, in so many more steps, to where it must.
    pub fn keep(&self, passed: &[u64], more: usize) {
        let places = self.0.get_or_init(|| (0..1 << PLACE).map(|_| AtomicU64::new(0)).collect());
        for (digest, steps) in passed.iter().rev().zip(more as u64 + 1..STEPS) {
            if let Some(place) = places.get((digest & STEPS) as usize) {
                place.store(digest & !STEPS | steps, Ordering::Relaxed);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_passed_is_known_with_the_steps_that_are_left() {
        let known = Known::default();
        known.keep(&[7, 1 << 40, u64::MAX], 2);
        assert_eq!([7, 1 << 40, u64::MAX].map(|digest| known.steps_from(digest)), [Some(4), Some(3), Some(2)]);
        assert_eq!([0, 8, 7 | 1 << 40].map(|digest| known.steps_from(digest)), [None; 3]);
    }

    #[test]
    fn a_digest_that_needs_the_place_of_another_makes_it_forgotten() {
        let known = Known::default();
        known.keep(&[7], 0);
        known.keep(&[7 | 1 << 40], 5);
        assert_eq!((known.steps_from(7), known.steps_from(7 | 1 << 40)), (None, Some(5)));
    }

    #[test]
    fn nothing_is_known_where_nothing_is_kept() {
        let known = Known::nothing();
        known.keep(&[7], 0);
        assert_eq!(known.steps_from(7), None);
    }
}
