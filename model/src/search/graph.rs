//! A subject as stateright sees it.

use std::sync::atomic::{AtomicU64, Ordering};

use stateright::{Model, Property};

use crate::{
    search::matrix::Matrix,
    subject::landmark::Coverage,
    subject::{Met, Subject},
};

/// The graph of a subject.
#[derive(Debug)]
pub struct Graph<S> {
    /// The subject.
    pub subject: S,
    /// What the search has met so far.
    pub tally: Tally,
}

/// What a search has met so far, from all of its threads.
#[derive(Debug, Default)]
pub struct Tally {
    /// What makes the scenario worth running.
    pub coverage: Coverage,
    /// Which inputs were tried in which roles.
    pub matrix: Matrix,
    /// How many states have had all their steps tried. A search that has ended with fewer than it found is not
    /// complete.
    pub expanded: AtomicU64,
}

impl<S: Subject> Graph<S> {
    /// The graph of this subject, unexplored.
    #[must_use]
    pub fn new(subject: S) -> Graph<S> {
        Graph { subject, tally: Tally::default() }
    }
}

impl<S: Subject> Model for Graph<S> {
    type State = S::State;
    type Action = S::Action;

    fn init_states(&self) -> Vec<S::State> {
        vec![self.subject.first()]
    }

    fn actions(&self, state: &S::State, actions: &mut Vec<S::Action>) {
        self.tally.expanded.fetch_add(1, Ordering::Relaxed);
        self.subject.actions(state, actions);
    }

    fn next_state(&self, state: &S::State, action: S::Action) -> Option<S::State> {
        let (next, Met { landmarks, stepped }) = self.subject.after(state, &action);
        self.tally.coverage.add(landmarks);
        if let Some(stepped) = stepped {
            self.tally.matrix.count(stepped);
        }
        (next != *state).then_some(next)
    }

    /// Two: whatever a state says of itself, and what comes of it once faults stop. Which property it is, the violation
    /// names.
    fn properties(&self) -> Vec<Property<Graph<S>>> {
        vec![
            Property::always("safety", |graph: &Graph<S>, state| graph.subject.violation(state).is_none()),
            Property::always("convergence", |graph: &Graph<S>, state| graph.subject.stuck(state).is_none()),
        ]
    }
}
