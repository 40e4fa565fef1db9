//! The catalogue of mutants: what each breaks, which property must fail, in which scenario, after how many steps (DESIGN 6).
//!
//! A model is worth what it can catch. Each mutant is one safety line of the protocol taken out or weakened
//! ([`protocol::mutant`]). It is caught when the scenario has a state that violates the *named* property; what is shown is
//! the shortest history there, breadth first. That the unmutated machine passes the same scenario, with the recorded number of
//! states, is checked in this build too ([`control`]), so the seam itself changes nothing.

use std::time::Instant;

use protocol::{
    invariant::Property,
    mutant::{self, Mutant},
};
use serde::Serialize;

use crate::{
    check::{self, Report},
    scenario::{self, Extent, Scenario, Visitor},
    subject::Subject,
    trace::{self, Trace},
};

/// One line of the catalogue.
#[derive(Clone, Copy, Debug)]
pub struct Line {
    /// What is broken.
    pub mutant: Mutant,
    /// The property that must fail.
    pub property: Property,
    /// The scenario in which it does.
    pub scenario: &'static str,
    /// The steps of the shortest history that shows it.
    pub steps: usize,
}

/// What came of a mutant.
#[derive(Clone, Debug, Serialize)]
pub struct Finding {
    /// Its name.
    pub mutant: &'static str,
    /// What it breaks, in one sentence.
    pub sentence: &'static str,
    /// The property that must fail.
    pub property: Property,
    /// The scenario in which it does.
    pub scenario: &'static str,
    /// The steps of the shortest history, as recorded.
    pub recorded: usize,
    /// The shortest history that was found; nothing if the mutant survived.
    pub trace: Option<Trace>,
    /// How long it took.
    pub seconds: f64,
}

impl Finding {
    /// Whether the property failed, after as many steps as recorded.
    #[must_use]
    pub fn is_as_recorded(&self) -> bool {
        self.trace.as_ref().is_some_and(|trace| trace.steps.len() == self.recorded)
    }
}

/// How many states are looked through before a mutant counts as a survivor.
const LIMIT: usize = 3_000_000;

/// The line of a mutant.
#[must_use]
pub fn line(mutant: Mutant) -> Option<Line> {
    CATALOGUE.iter().copied().find(|line| line.mutant == mutant)
}

/// The scenarios that the catalogue names, in their order.
#[must_use]
pub fn scenarios() -> Vec<Scenario> {
    let is_named = |scenario: &Scenario| CATALOGUE.iter().any(|line| line.scenario == scenario.name);
    scenario::all().into_iter().filter(is_named).collect()
}

/// Checks a scenario with no mutant on, in this build.
#[must_use]
pub fn control(scenario: &Scenario, threads: usize) -> Report {
    mutant::switch(None);
    check::check(scenario, Extent::Default, threads, |_| {})
}

/// Looks for the violation that a mutant must lead to. No other may be looked for in this process meanwhile.
#[must_use]
pub fn find(line: Line) -> Finding {
    let Line { mutant, property, scenario, steps } = line;
    let begun = Instant::now();
    mutant::switch(Some(mutant));
    let case = scenario::named(scenario);
    let trace = case.and_then(|found| found.case.with(Find { mutant, property, scenario }));
    mutant::switch(None);
    Finding {
        mutant: mutant.name(),
        sentence: mutant.sentence(),
        property,
        scenario,
        recorded: steps,
        trace,
        seconds: begun.elapsed().as_secs_f64(),
    }
}

struct Find {
    mutant: Mutant,
    property: Property,
    scenario: &'static str,
}

impl Visitor for Find {
    type Output = Option<Trace>;

    fn visit<S: Subject>(self, subject: &S) -> Option<Trace> {
        let Find { mutant, property, scenario } = self;
        let history = trace::shortest(subject, LIMIT, |state, _| {
            trace::wrong(subject, state).is_some_and(|found| found.property == property)
        })?;
        Some(Trace::of(scenario, Extent::Default, Some(mutant.name().to_owned()), &history))
    }
}

const fn on(mutant: Mutant, property: Property, scenario: &'static str, steps: usize) -> Line {
    Line { mutant, property, scenario, steps }
}

/// Every mutant there is, once.
pub const CATALOGUE: &[Line] = {
    use Mutant as M;
    use Property as P;
    &[
        // Ids, money and clock.
        on(M::IncarnationNotRaised, P::S4, "client-restarts", 2),
        on(M::CommissionRoundedTwice, P::S6, "last-unit", 12),
        on(M::CommissionRoundedUp, P::S6, "last-unit", 12),
        on(M::ReceiveWithoutPlusOne, P::S7, "clock-two", 4),
        on(M::ReceiveIgnoresSender, P::S7, "clock-two", 4),
        on(M::ClockResumesAtZero, P::S7, "clock-two", 3),
        on(M::ClockResetOnStepDown, P::S7, "last-unit", 8),
        on(M::NoCatchUp, P::S7, "last-unit", 9),
        // Books and trader.
        on(M::RequestCountedTwice, P::S4, "client-restarts", 13),
        on(M::RequestPredecessorUnchecked, P::S13, "client-restarts", 16),
        on(M::DepositCountedTwice, P::S4, "client-restarts", 12),
        on(M::DepositPredecessorUnchecked, P::S4, "client-restarts", 19),
        on(M::QueueForgotten, P::S12, "inheritance", 4),
        on(M::StockUnchecked, P::S5, "last-unit", 13),
        on(M::SaleLeavesStock, P::S12, "last-unit", 12),
        on(M::SellerClockStays, P::S12, "sellers", 13),
        on(M::LargestStampFirst, P::S8, "three-buyers", 12),
        on(M::TiesByHighestPeer, P::S8, "three-buyers", 12),
        on(M::SellerById, P::S8, "sellers", 20),
        on(M::AsksOneSellerOnly, P::S8, "sellers", 14),
        on(M::SellsToItself, P::S8, "own-stock", 13),
        on(M::TraderTrades, P::S8, "trader-trades", 17),
        on(M::OutcomesBeforeAdmissions, P::S8, "three-buyers", 16),
        on(M::AdmitsBeforeInherited, P::S8, "inheritance", 11),
        on(M::BatchLimitIgnored, P::R5, "batches-of-two", 13),
        on(M::ResignationForgotten, P::B6, "resignation", 12),
        on(M::ResignsInOwnAppend, P::B6, "resignation", 12),
        on(M::ServesAfterResigning, P::S2, "resignation", 16),
        on(M::ToldOnArrival, P::S11, "last-unit", 6),
        on(M::ToldWhenPlanned, P::S11, "last-unit", 6),
        // Ledger.
        on(M::NoFence, P::S2, "last-unit", 13),
        on(M::PositionUnchecked, P::S4, "late-copies", 15),
        on(M::ResentBatchUnknown, P::L1, "lost-answers", 0),
        on(M::ClaimNotDurable, P::S1, "election-ledger-crash", 4),
        on(M::AcknowledgedBeforeDurable, P::S11, "ledger-crash", 8),
        on(M::UnsyncedReads, P::S3, "ledger-crash", 7),
        on(M::HeldIgnored, P::L1, "wedge", 0),
        on(M::LeaseNeverEnds, P::L1, "convergence", 3),
        on(M::ContestedNeverTold, P::L1, "wedge", 1),
        // Office.
        on(M::ConflictIsSuccess, P::S12, "last-unit", 12),
        on(M::ClaimsUnread, P::S12, "last-unit", 16),
        on(M::BatchMovedToHead, P::S2, "last-unit", 15),
        on(M::SettledByPosition, P::S11, "renewals", 11),
        on(M::SettledByAnything, P::S11, "renewals-crash", 10),
        on(M::FencedTraderStays, P::L1, "convergence", 8),
        on(M::ServesWhileClaiming, P::S1, "election", 2),
        on(M::TermResumedAfterRestart, P::S1, "trader-crash", 12),
        on(M::HeartbeatWithoutRenewal, P::B5, "renewals-crash", 7),
        on(M::ContestedAndIsolatedStays, P::L1, "wedge", 1),
        on(M::IsolatedReturns, P::L1, "wedge", 1),
        on(M::PatienceNeverEnds, P::B9, "silent-ledger", 0),
        on(M::SilenceForgotten, P::L1, "duel", 0),
        on(M::ResignedStaysEligible, P::Y2, "synchronous", 30),
        on(M::ResignedForGood, P::Y1, "synchronous", 48),
        // Buyer and seller.
        on(M::SequenceReused, P::S4, "client-restarts", 4),
        on(M::DepositNumberReused, P::S4, "client-restarts", 2),
        on(M::NamesNoPredecessor, P::L2, "told-twice", 12),
        on(M::OutcomeCountedTwice, P::S4, "out-of-order", 12),
        on(M::OldStandingBelieved, P::L2, "told-twice", 18),
        on(M::SaleCountedTwice, P::S4, "out-of-order", 16),
        on(M::OldAccountBelieved, P::L2, "told", 14),
        on(M::MissedSaleNotAsked, P::S4, "out-of-order", 22),
        // Election.
        on(M::IdsComparedAsText, P::Y1, "synchronous-ten", 6),
        on(M::IdsComparedByLastDigit, P::Y1, "synchronous-ten", 6),
        on(M::AnswerIgnored, P::Y1, "synchronous", 20),
        on(M::ResignedCompetes, P::Y2, "synchronous", 30),
        on(M::UnableCompetes, P::L1, "duel", 0),
        on(M::OldCoordinatorAccepted, P::B4, "election", 14),
        on(M::OldHeartbeatAccepted, P::B4, "election-heartbeat", 15),
        on(M::HigherEpochIgnored, P::B4, "election", 13),
        on(M::HearsayPassedOn, P::L1, "convergence", 6),
        on(M::AnnouncesOnWinning, P::S1, "election", 1),
        on(M::JoinsEveryElection, P::B5, "election", 8),
        on(M::LoneSurvivorWaits, P::L3, "survivor", 7),
        // Overlay and peer.
        on(M::FloodDeliveredAgain, P::S10, "overlay-twice", 4),
        on(M::FloodNumbersRestart, P::A2, "overlay-back", 9),
        on(M::SendsPastItsNeighbours, P::S10, "overlay-answer", 5),
        on(M::RelayNotAround, P::A2, "overlay-around", 9),
        on(M::SentAboveBound, P::S7, "whole-clock", 10),
        on(M::SpeaksBeforeWritten, P::S7, "whole-clock", 0),
    ]
};
