//! What a model is: a subject, with its states, its steps, and what people read of both.

pub mod landmark;
pub mod ledger;
pub mod scenario;
pub mod seen;
pub mod shared;

#[cfg(test)]
pub(crate) mod fixture;

use std::{fmt::Debug, hash::Hash};

use bazaar_protocol::invariant::{Property, Violation};
use serde::{Serialize, de::DeserializeOwned};

use crate::{
    pictures::picture::{Lane, Mark},
    search::matrix::Stepped,
    subject::landmark::Landmarks,
};

/// Something that is checked: the machines of the protocol, set up in one way, with an adversary of a stated strength.
///
/// It decides nothing that the machines decide. Everything that looks at it ([`check`](crate::search::check),
/// [`trace`](crate::search::trace), [`explore`](crate::pictures::explore)) knows no more of it than this.
pub trait Subject: Clone + Debug + Send + Sync + 'static {
    /// One state of everything. Its hash tells states apart, and only its hash: two states that can never be told apart
    /// by what follows from them should have the same.
    type State: Clone + Debug + PartialEq + Hash + Send + Sync + 'static;
    /// One step of one machine, or one stroke of the adversary.
    type Action: Clone + Debug + PartialEq + Serialize + DeserializeOwned + Send + Sync + 'static;

    /// The state from which everything starts.
    fn first(&self) -> Self::State;

    /// The steps that can be taken from a state, added to `actions`; none from a state with a violation.
    fn actions(&self, state: &Self::State, actions: &mut Vec<Self::Action>);

    /// The state that a step leads to, and what was met in it. A step that changes nothing leads back.
    fn after(&self, state: &Self::State, action: &Self::Action) -> (Self::State, Met);

    /// The same, but nothing counts as wrong that is not a violation of this property, so that no other one that shows
    /// earlier keeps it from being found. By itself a subject is as good as that: nothing hides anything where little
    /// is asked.
    #[must_use]
    fn only(&self, property: Property) -> Self {
        let _ = property;
        self.clone()
    }

    /// What was found to be wrong in the step that led here.
    fn violation<'a>(&self, state: &'a Self::State) -> Option<&'a Violation>;

    /// What should come about from here once faults stop, and does not (L1-L3). Asked once of every state.
    fn stuck(&self, state: &Self::State) -> Option<Violation> {
        let _ = state;
        None
    }

    /// What comes of a state once faults stop: the first `steps` steps of the schedule by which
    /// [`stuck`](Subject::stuck) judges, in words and as a picture shows them. Nothing where there is no such schedule.
    fn afterwards(&self, state: &Self::State, steps: usize) -> Vec<(String, Vec<Mark>)> {
        let _ = (state, steps);
        Vec::new()
    }

    /// The properties that are checked: those a violation, or a state that is [`stuck`](Subject::stuck), can name.
    fn properties(&self) -> Vec<Property>;

    /// What the adversary may do, and how often: its budgets, in words.
    fn adversary(&self) -> String;

    /// A step as a sentence, with what comes of it: "peer 2's answer timer fires: nobody higher has answered, it claims
    /// the office".
    fn sentence(&self, before: &Self::State, action: &Self::Action, after: &Self::State) -> String;

    /// A state as people want to read it: who is what, what is under way, what is in the books, which properties hold
    /// in it. Several lines.
    fn portrait(&self, state: &Self::State) -> String;

    /// Who has a lane of its own in a picture of a history that ends here, from left to right.
    fn lanes(&self, state: &Self::State) -> Vec<Lane>;

    /// What a picture shows of the state from which everything starts: what is under way, who is in office, what is
    /// cut.
    fn opening(&self) -> Vec<Mark> {
        Vec::new()
    }

    /// What a picture shows of a step.
    fn marks(&self, before: &Self::State, action: &Self::Action, after: &Self::State) -> Vec<Mark>;
}

/// What was met in a step.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Met {
    /// What makes a scenario worth running.
    pub landmarks: Landmarks,
    /// Which input of a machine was tried, and in which role; nothing where no machine was stepped.
    pub stepped: Option<Stepped>,
}

impl Met {
    /// Nothing but a machine stepped.
    #[must_use]
    pub fn stepped(stepped: Stepped) -> Met {
        Met { landmarks: Landmarks::default(), stepped: Some(stepped) }
    }
}
