//! A subject as a stateright model.

use std::sync::atomic::{AtomicU64, Ordering};

use stateright::{Model, Property};

use crate::{
    subject::known::Known,
    subject::landmark::Coverage,
    subject::matrix::Matrix,
    subject::{Met, Subject},
};

/// The graph of a subject's states and steps.
#[derive(Debug)]
pub struct Graph<S> {
    /// The subject whose states are searched.
    pub subject: S,
    /// What the search has met so far.
    pub tally: Tally,
    /// What it has found out so far of where fair schedules lead.
    pub known: Known,
}

/// What a search has met so far, from all of its threads.
#[derive(Debug, Default)]
pub struct Tally {
    /// The landmarks that were met.
    pub coverage: Coverage,
    /// How often each input was tried in each role.
    pub matrix: Matrix,
    /// The number of states whose steps have all been tried. A search that ends with fewer than it found is not
    /// complete.
    pub expanded: AtomicU64,
}

impl<S: Subject> Graph<S> {
    /// The graph of this subject, unexplored.
    #[must_use]
    pub fn new(subject: S) -> Graph<S> {
        Graph { subject, tally: Tally::default(), known: Known::default() }
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

    /// There are two: safety, which a state carries, and convergence, which is asked of a state. The violation names
    /// the property that fails.
    fn properties(&self) -> Vec<Property<Graph<S>>> {
        vec![
            Property::always("safety", |graph: &Graph<S>, state| graph.subject.violation(state).is_none()),
            Property::always("convergence", |graph: &Graph<S>, state| {
                graph.subject.stuck(state, &graph.known).is_none()
            }),
        ]
    }
}
