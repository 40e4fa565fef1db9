//! What a model is: a subject with its states, its steps, and a readable form of both.

pub mod known;
pub mod landmark;
pub mod ledger;
pub mod matrix;
pub mod passed;
pub mod picture;
pub mod scenario;
pub mod shared;
pub(crate) mod words;

#[cfg(test)]
pub(crate) mod fixture;

use std::{fmt::Debug, hash::Hash};

use bazaar_protocol::invariant::{Property, Violation};
use serde::{Serialize, de::DeserializeOwned};

use crate::{
    subject::known::Known,
    subject::landmark::Landmarks,
    subject::matrix::Stepped,
    subject::picture::{Lane, Mark},
};

/// Something to check: machines of the protocol, set up in one way, with an adversary of a stated strength.
///
/// It takes none of the machines' decisions. Everything that looks at it ([`check`](crate::search::check),
/// [`trace`](crate::search::trace), [`explore`](crate::pictures::explore)) knows only this trait.
pub trait Subject: Clone + Debug + Send + Sync + 'static {
    /// One state of everything. Its hash, and nothing else, tells states apart: two states that nothing that follows
    /// could ever distinguish should have the same hash.
    type State: Clone + Debug + PartialEq + Hash + Send + Sync + 'static;
    /// One step of one machine, or one move of the adversary.
    type Action: Clone + Debug + PartialEq + Serialize + DeserializeOwned + Send + Sync + 'static;

    /// The state from which everything starts.
    fn first(&self) -> Self::State;

    /// Adds to `actions` the steps that can be taken from a state; none from a state with a violation.
    fn actions(&self, state: &Self::State, actions: &mut Vec<Self::Action>);

    /// The state that a step leads to, and what was met in the step. A step that changes nothing leads back to the same
    /// state.
    fn after(&self, state: &Self::State, action: &Self::Action) -> (Self::State, Met);

    /// The same subject, but only violations of this property count, so that one that shows earlier cannot keep it from
    /// being found. The default returns the subject unchanged, which will do where few properties are asked.
    #[must_use]
    fn only(&self, property: Property) -> Self {
        let _ = property;
        self.clone()
    }

    /// What was found wrong in the step that led here.
    fn violation<'a>(&self, state: &'a Self::State) -> Option<&'a Violation>;

    /// What is missing once faults stop, if this state does not converge (L1-L3). Asked once for every state. `known`
    /// has what earlier answers of this subject have shown; the answer is the same without it.
    fn stuck(&self, state: &Self::State, known: &Known) -> Option<Violation> {
        let _ = (state, known);
        None
    }

    /// What becomes of a state once faults stop: the first `steps` steps of the schedule by which
    /// [`stuck`](Subject::stuck) judges, each in words and as a picture shows it. Empty where there is no such
    /// schedule.
    fn afterwards(&self, state: &Self::State, steps: usize) -> Vec<(String, Vec<Mark>)> {
        let _ = (state, steps);
        Vec::new()
    }

    /// The properties that are checked: those a violation, or a state that is [`stuck`](Subject::stuck), can name.
    fn properties(&self) -> Vec<Property>;

    /// What the adversary may do, and how often: its budgets, in words.
    fn adversary(&self) -> String;

    /// A step as a sentence with its result: "peer 2's answer timer fires: nobody higher has answered, it claims the
    /// office".
    fn sentence(&self, before: &Self::State, action: &Self::Action, after: &Self::State) -> String;

    /// A state in several lines for people to read: what each peer is, what is under way, what is in the books, which
    /// properties hold.
    fn portrait(&self, state: &Self::State) -> String;

    /// The lanes of a picture of a history that ends here, from left to right.
    fn lanes(&self, state: &Self::State) -> Vec<Lane>;

    /// What a picture shows of the first state: what is under way, who is in office, what is cut.
    fn opening(&self) -> Vec<Mark> {
        Vec::new()
    }

    /// What a picture shows of a step.
    fn marks(&self, before: &Self::State, action: &Self::Action, after: &Self::State) -> Vec<Mark>;
}

/// What a search notes about a step.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Met {
    /// The landmarks that the step passed.
    pub landmarks: Landmarks,
    /// The machine input that was tried, and the machine's role; `None` where no machine was stepped.
    pub stepped: Option<Stepped>,
}

impl Met {
    /// A machine was stepped and no landmark was met.
    #[must_use]
    pub fn stepped(stepped: Stepped) -> Met {
        Met { landmarks: Landmarks::default(), stepped: Some(stepped) }
    }
}
