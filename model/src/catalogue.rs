//! The catalogue: the scenarios of all models.

use crate::{
    machines::{
        clock::{self, Clocks},
        gather::{self, Gatherings},
        gossip::{self, Gossips},
        overlay::{self, Overlays},
    },
    participants::{Participants, election, order, replicated, trading},
    subject::{
        Subject,
        scenario::{Family, Scenario},
    },
    system::{self, System},
};

/// A scenario of the catalogue.
pub type Entry = Scenario<Case>;

/// The subject of a scenario, of whichever model.
#[derive(Clone, Debug)]
pub enum Case {
    /// Participants and the ledger, without an overlay.
    Participants(Participants),
    /// Clocks alone.
    Clock(Clocks),
    /// The gossip of clock multicasts alone.
    Gossip(Gossips),
    /// The gathering of promises alone.
    Gather(Gatherings),
    /// Overlays alone.
    Overlay(Overlays),
    /// Whole peers, their overlay, and the ledger.
    System(System),
}

/// An operation that works on any subject.
pub trait Visitor {
    /// The result of a visit.
    type Output;

    /// Visits a subject.
    fn visit<S: Subject>(self, subject: &S) -> Self::Output;
}

impl Case {
    /// Lets the visitor visit the subject.
    pub fn with<V: Visitor>(&self, visitor: V) -> V::Output {
        match self {
            Case::Participants(subject) => visitor.visit(subject),
            Case::Clock(clocks) => visitor.visit(clocks),
            Case::Gossip(gossips) => visitor.visit(gossips),
            Case::Gather(gatherings) => visitor.visit(gatherings),
            Case::Overlay(overlays) => visitor.visit(overlays),
            Case::System(subject) => visitor.visit(subject),
        }
    }
}

/// The names of this model's scenarios that are small enough to be explored.
#[must_use]
pub fn small(family: Family) -> Vec<&'static str> {
    let is_small = |scenario: &Entry| scenario.is_small() && scenario.family == family;
    all().into_iter().filter(is_small).map(|scenario| scenario.name).collect()
}

/// All scenarios, in the order in which they are checked.
#[must_use]
pub fn all() -> Vec<Entry> {
    let participants = election::scenarios().into_iter().chain(trading::scenarios()).chain(order::scenarios());
    let participants = participants.chain(replicated::scenarios());
    let participants = participants.map(|scenario| scenario.map(Case::Participants));
    let system = system::scenarios().into_iter().map(|scenario| scenario.map(Case::System));
    let clock = clock::scenarios().into_iter().map(|scenario| scenario.map(Case::Clock));
    let overlay = overlay::scenarios().into_iter().map(|scenario| scenario.map(Case::Overlay));
    let gossip = gossip::scenarios().into_iter().map(|scenario| scenario.map(Case::Gossip));
    let gather = gather::scenarios().into_iter().map(|scenario| scenario.map(Case::Gather));
    participants.chain(system).chain(clock).chain(gossip).chain(gather).chain(overlay).collect()
}

/// The scenario of this name, if there is one.
#[must_use]
pub fn named(name: &str) -> Option<Entry> {
    all().into_iter().find(|scenario| scenario.name == name)
}
