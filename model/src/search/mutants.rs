//! The catalogue of mutants: what each breaks, which property must fail, in which scenario, after how many steps
//! (DESIGN 6).
//!
//! A model is worth what it can catch. Each mutant removes or weakens one safety line of the protocol
//! ([`bazaar_protocol::mutant`]). It is caught if the scenario has a state that violates the *named* property; the
//! finding is the shortest history there, found breadth first. This build also checks that the unmutated machine passes
//! the same scenario with the recorded number of states ([`control`]), so the seam itself changes nothing.

use std::{
    collections::BTreeSet,
    panic::resume_unwind,
    thread,
    time::{Duration, Instant},
};

use bazaar_protocol::{
    invariant::{Property, Violation},
    mutant::{self, Mutant},
};
use serde::Serialize;

use crate::{
    catalogue::{self, Entry, Visitor},
    search::{
        check::{self, Report},
        trace::{self, Trace},
    },
    simulator::{
        history::simulate,
        plan::{Network, Plan, Schedule, Think},
    },
    subject::Subject,
    subject::scenario::{Extent, Family},
};

/// One line of the catalogue.
#[derive(Clone, Copy, Debug)]
pub struct Line {
    /// The mutant.
    pub mutant: Mutant,
    /// The property that must fail.
    pub property: Property,
    /// The scenario in which it fails.
    pub scenario: &'static str,
    /// The steps of the shortest history that shows it.
    pub steps: usize,
}

/// The result of looking for a mutant's violation.
#[derive(Clone, Debug, Serialize)]
pub struct Finding {
    /// The mutant's name.
    pub mutant: &'static str,
    /// What it breaks, in one sentence.
    pub sentence: &'static str,
    /// The property that must fail.
    pub property: Property,
    /// The scenario in which it fails.
    pub scenario: &'static str,
    /// The steps of the shortest history, as recorded.
    #[serde(rename = "steps_recorded")]
    pub recorded: usize,
    /// The shortest history that was found; `None` if the mutant survived.
    pub trace: Option<Trace>,
    /// How long the search took.
    pub seconds: f64,
}

impl Finding {
    /// Whether the property failed after exactly as many steps as recorded.
    #[must_use]
    pub fn is_as_recorded(&self) -> bool {
        self.trace.as_ref().is_some_and(|trace| trace.steps.len() == self.recorded)
    }
}

/// The number of states searched before a mutant counts as a survivor.
const LIMIT: usize = 3_000_000;

/// The catalogue's line for a mutant, if there is one.
#[must_use]
pub fn line(mutant: Mutant) -> Option<Line> {
    CATALOGUE.iter().copied().find(|line| line.mutant == mutant)
}

/// The scenarios that the catalogue of mutants names, in the order in which they are checked.
#[must_use]
pub fn scenarios() -> Vec<Entry> {
    let is_named = |scenario: &Entry| CATALOGUE.iter().any(|line| line.scenario == scenario.name);
    catalogue::all().into_iter().filter(is_named).collect()
}

/// Checks a scenario with no mutant on, in this build.
#[must_use]
pub fn control(scenario: &Entry, threads: usize) -> Report {
    mutant::switch(None);
    check::check(scenario, Extent::Default, threads, &mut |_| {})
}

/// Looks for the violation that a mutant must lead to. No other search may run in this process meanwhile, because the
/// mutant is on for the whole process.
#[must_use]
pub fn find(line: Line) -> Finding {
    let Line { mutant, property, scenario, steps } = line;
    let begun = Instant::now();
    mutant::switch(Some(mutant));
    let case = catalogue::named(scenario);
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

/// How one model alone catches a mutant: the first of its scenarios with at most `up_to` recorded states that has a
/// state in which any property is violated, smaller scenarios first. `None` if the model does not catch it.
#[must_use]
pub fn caught_by(family: Family, mutant: Mutant, up_to: usize) -> Option<(&'static str, Property)> {
    let scenarios = smaller_first(family, up_to);
    mutant::switch(Some(mutant));
    let caught = scenarios.iter().find_map(|scenario| Some((scenario.name, scenario.case.with(Catch { up_to })?)));
    mutant::switch(None);
    caught
}

/// The scenarios of a model that have at most so many recorded states, smaller ones first.
#[must_use]
pub fn smaller_first(family: Family, up_to: usize) -> Vec<Entry> {
    let states = |scenario: &Entry| scenario.recorded(Extent::Default).unwrap_or(usize::MAX);
    let mut scenarios = catalogue::all();
    scenarios.retain(|scenario| scenario.family == family && states(scenario) <= up_to);
    scenarios.sort_by_key(states);
    scenarios
}

/// The first seed, below `seeds`, in whose history the simulator finds that a mutant violates something, and what.
/// `None` if it does not find it. No other search may run in this process meanwhile.
#[must_use]
pub fn simulated(mutant: Mutant, seeds: u64, threads: usize) -> Option<(u64, Violation)> {
    mutant::switch(Some(mutant));
    let threads = threads.max(1) as u64;
    let mut found = None;
    let mut first = 0;
    while found.is_none() && first < seeds {
        let upto = seeds.min(first + threads);
        let outcomes: Vec<Option<(u64, Violation)>> = thread::scope(|scope| {
            let run = |seed| scope.spawn(move || Some((seed, simulate(Schedule::draw(plan(seed))).violation?)));
            let running: Vec<_> = (first..upto).map(run).collect();
            // A mutant that makes a machine panic is found as well, but must not: it would hide what it was made for.
            running.into_iter().map(|run| run.join().unwrap_or_else(|panic| resume_unwind(panic))).collect()
        });
        found = outcomes.into_iter().flatten().next();
        first = upto;
        if let Some((seed, violation)) = &found {
            mutant::switch(None);
            let right = simulate(Schedule::draw(plan(*seed))).violation;
            mutant::switch(Some(mutant));
            if right.is_some_and(|right| right.property == violation.property) {
                // That is nothing that the mutant has done.
                first = seed + 1;
                found = None;
            }
        }
    }
    mutant::switch(None);
    found
}

/// Within so many seeds the simulator finds every mutant but those that [`missed`] names.
pub const WITHIN: u64 = 500;

/// The mutants that the simulator does not find within [`WITHIN`] seeds, and why.
const MISSED: &[(&[Mutant], &str)] = {
    use Mutant as M;
    &[
        (
            &[
                M::ResignedStaysEligible,
                M::IdsComparedAsText,
                M::IdsComparedByLastDigit,
                M::AnswerIgnored,
                M::ResignedCompetes,
            ],
            "Y1 and Y2 need a network without delays, and are not asked",
        ),
        (&[M::OldImageServed], "nobody puts an old image back"),
        (
            &[
                M::AnswersFromMemory,
                M::FenceFromMemory,
                M::LateCallJoinsLook,
                M::LateCallJoinsAppend,
                M::UnknownIsRefused,
                M::UnknownForgotten,
                M::RenewalNotTold,
                M::ContestedNotTold,
                M::BlindLeaseRunsOut,
                M::RunNotCompared,
                M::EndNotCompared,
                M::ShrunkLogServed,
                M::QueueWithoutBound,
                M::ContestedKeptElsewhere,
                M::DeclinedIsRefused,
                M::BaseBeforeSnapshot,
                M::ClearedBeforeBase,
                M::BaseNotCompared,
                M::GapInRead,
            ],
            "there is one ledger, which has its store to itself",
        ),
        (
            &[M::HeldWithoutBound],
            "the limit of what is held back is not drawn small: near it messages are lost where nothing goes wrong",
        ),
        (&[M::HopsNotCounted], "only a relay that has restarted can close a circle, and heartbeats open it again"),
        (
            &[M::GoneForGood, M::FloodsForTheGone, M::RelayNotAround],
            "A9 is asked only once everybody is there again, and what is dropped until then is sent again",
        ),
        (
            &[M::LostClockNotToldAgain, M::QuestionUnanswered, M::RestartedNotTold],
            "heartbeats and answers carry the clocks as well, on every link",
        ),
        (&[M::LoneSurvivorWaits], "the one that is left must be the one that resigned the last term"),
        (&[M::ChunksMixed], "a snapshot must be taken between two chunks of one reading"),
        (
            &[M::AdmitsBeforeInherited],
            "a batch limit that leaves the queue full is rare where few buyers ask one thing at a time",
        ),
        (
            &[
                M::GivesUpWhileAnswered,
                M::AppendNotRepeated,
                M::FencedTraderStays,
                M::NeverGivesUp,
                M::ContestedAndIsolatedStays,
            ],
            "it takes a fault that stays; here all of them end but cuts of links and crashes of all peers but one",
        ),
        (&[M::OpenRequestIgnored], "a former life's request must arrive after the next one"),
        (
            &[M::OverGrantTaken, M::ResignationUnheard, M::HearsayPassedOn],
            "the next heartbeat mends it; only what is done before that one shows it",
        ),
        (
            &[M::SeatBelowFloor],
            "a promise must come after something later was served, and its buyer must ask for something earlier then",
        ),
        (&[M::OldPromiseSeats], "who is seated so loses its seat again, or is heard, before the history ends"),
        (
            &[M::OldJoinSeats],
            "a copy must come after its sender has had its seat, asked for something, and lost it again",
        ),
        (&[M::ReplyWithoutStamp], "multicasts and heartbeats tell of what the ledger shows as well, and sooner"),
        (&[M::CopyNotCounted, M::AnswersAtOnce], "they cost time only, and F12 is not asked of histories"),
        (&[M::BelievesInNoSuchEpoch, M::BelievesLiars, M::BelievesAnyMark, M::BatchUnread], "no member has a bug"),
        (&[M::OldCoordinatorAccepted], "the word of a winner or of one that resigns must be late by a whole term"),
        (&[M::ClaimsAtHeardHead], "a head must be heard between the last answer to a reading and the claim"),
    ]
};

/// Why the simulator does not find a mutant within [`WITHIN`] seeds; `None` if it must.
#[must_use]
pub fn missed(mutant: Mutant) -> Option<&'static str> {
    MISSED.iter().find(|(mutants, _)| mutants.contains(&mutant)).map(|(_, why)| *why)
}

/// The history of a seed in which mutants are looked for.
fn plan(seed: u64) -> Plan {
    let (think, span) = (Think::evenly(300), Duration::from_secs(90));
    // Three to eight; of eight networks one is a line or a ring of 20 to 35, in which ways are long.
    let (peers, network) = match seed % 16 {
        7 => (20 + (seed / 16 % 16) as u32, Network::Line),
        15 => (20 + (seed / 16 % 16) as u32, Network::Ring),
        _ => (3 + (seed % 6) as u32, Network::Random),
    };
    Plan { seed, peers, network, think, span, quiet: false, without: BTreeSet::new() }
}

struct Catch {
    up_to: usize,
}

impl Visitor for Catch {
    type Output = Option<Property>;

    fn visit<S: Subject>(self, subject: &S) -> Option<Property> {
        // A mutant may have more states than the unmutated machine; the search stops at twice the number.
        let wrong = trace::shortest(subject, 2 * self.up_to, |state, _| trace::wrong(subject, state).is_some())?;
        wrong.wrong().map(|violation| violation.property)
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
        let subject = &subject.only(property);
        let history = trace::shortest(subject, LIMIT, |state, _| {
            trace::wrong(subject, state).is_some_and(|found| found.property == property)
        })?;
        Some(Trace::of(scenario, Extent::Default, Some(mutant.name().to_owned()), &history))
    }
}

const fn on(mutant: Mutant, property: Property, scenario: &'static str, steps: usize) -> Line {
    Line { mutant, property, scenario, steps }
}

/// Every mutant, once.
pub const CATALOGUE: &[Line] = {
    use Mutant as M;
    use Property as P;
    &[
        // Ids, money and clock.
        on(M::IncarnationNotRaised, P::S4, "client-restarts", 2),
        on(M::CommissionRoundedTwice, P::S6, "last-unit", 14),
        on(M::CommissionRoundedUp, P::S6, "last-unit", 14),
        on(M::ReceiveWithoutPlusOne, P::S7, "clock-two", 4),
        on(M::ReceiveIgnoresSender, P::S7, "clock-two", 4),
        on(M::ClockResumesAtZero, P::S7, "clock-two", 3),
        on(M::ClockResetOnStepDown, P::S7, "last-unit", 9),
        on(M::NoCatchUp, P::S7, "last-unit", 10),
        // Books and trader.
        on(M::RequestCountedTwice, P::S4, "client-restarts", 15),
        on(M::RequestPredecessorUnchecked, P::S13, "client-restarts", 18),
        on(M::DepositCountedTwice, P::S4, "client-restarts", 14),
        on(M::DepositPredecessorUnchecked, P::S4, "client-restarts", 22),
        on(M::QueueForgotten, P::S12, "inheritance", 4),
        on(M::StockUnchecked, P::S5, "last-unit", 15),
        on(M::SaleLeavesStock, P::S12, "last-unit", 14),
        on(M::SellerClockStays, P::S12, "sellers", 15),
        on(M::LargestStampFirst, P::S8, "three-buyers", 13),
        on(M::TiesByHighestPeer, P::S8, "three-buyers", 13),
        on(M::SellerById, P::S8, "sellers", 23),
        on(M::AsksOneSellerOnly, P::S8, "sellers", 16),
        on(M::LeftoverNotNamed, P::D8, "leftovers", 20),
        on(M::LeftoverSoldTwice, P::S12, "leftovers", 20),
        on(M::SellsToItself, P::S8, "own-stock", 15),
        on(M::TraderTrades, P::S8, "trader-trades", 20),
        on(M::OutcomesBeforeAdmissions, P::S8, "three-buyers", 18),
        on(M::AdmitsBeforeInherited, P::S8, "inheritance", 13),
        on(M::BatchLimitIgnored, P::R5, "batches-of-two", 15),
        on(M::ResignationForgotten, P::B6, "resignation", 14),
        on(M::ResignsInOwnAppend, P::B6, "resignation", 14),
        on(M::ServesAfterResigning, P::S2, "resignation", 19),
        on(M::ToldOnArrival, P::S11, "last-unit", 7),
        on(M::ToldWhatIsKept, P::D7, "sales-together", 7),
        on(M::ToldWhenPlanned, P::S11, "last-unit", 7),
        // The stable order.
        on(M::PromiseWithoutRequest, P::S14, "in-order", 22),
        on(M::SeatsForgotten, P::S14, "in-order-takeover", 15),
        on(M::UnseatingNotWritten, P::S14, "in-order-unseated", 16),
        on(M::ServedAtThePromise, P::S14, "in-order", 22),
        on(M::SeatBelowFloor, P::S14, "in-order-unseated", 18),
        on(M::OldPromiseSeats, P::L2, "in-order-cut-off", 20),
        on(M::OldJoinSeats, P::S14, "in-order-rejoin", 22),
        on(M::FirstIsLate, P::S14, "in-order-three", 14),
        on(M::JoinUnanswered, P::L2, "in-order-rejoin", 1),
        on(M::NewLifeOnOldSeat, P::S14, "in-order-lives", 23),
        on(M::OwnRequestKept, P::L2, "in-order-own-request", 10),
        on(M::LateWithItsOwnStamp, P::S9, "in-order-unseated", 16),
        on(M::PlaceRecedes, P::S9, "in-order-unseated", 16),
        on(M::WaitsForTheDead, P::L2, "in-order-cut-off", 1),
        on(M::WaitsForItself, P::L2, "in-order-own-seat", 1),
        on(M::InheritedBarrierKept, P::L2, "in-order-inherited", 1),
        on(M::MulticastNotMerged, P::C5, "in-order-multicast", 3),
        on(M::ReplyWithoutStamp, P::C5, "in-order-shown", 21),
        on(M::RecordsOutOfPlace, P::S12, "snapshot-chunks", 16),
        on(M::FirstChunkOnly, P::S12, "snapshot-chunks", 8),
        on(M::ChunksMixed, P::S12, "snapshot-chunks", 27),
        // Ledger.
        on(M::AppendsDoNotWait, P::S2, "waiting-calls", 6),
        on(M::WaitsWithoutBound, P::R2, "waiting-calls", 5),
        on(M::LeaseBeforeConflict, P::R2, "last-unit", 13),
        on(M::ConflictBeforeFenced, P::R2, "last-unit", 8),
        on(M::NoFence, P::S2, "last-unit", 15),
        on(M::PositionUnchecked, P::S4, "late-copies", 18),
        on(M::ResentBatchUnknown, P::L1, "lost-answers", 0),
        on(M::ClaimNotDurable, P::S1, "election-ledger-crash", 4),
        on(M::AcknowledgedBeforeDurable, P::S11, "ledger-crash", 8),
        on(M::UnsyncedReads, P::S3, "ledger-crash", 7),
        on(M::AnsweredAsAnother, P::R2, "last-unit", 5),
        on(M::LeaseIgnored, P::L1, "wedge", 0),
        on(M::LeaseNeverEnds, P::L1, "convergence", 3),
        on(M::ContestedNeverTold, P::L1, "wedge", 1),
        // Office.
        on(M::GivesUpWhileAnswered, P::L1, "long-reads", 0),
        on(M::AppendNotRepeated, P::L1, "lost-answers", 0),
        on(M::ReadsOnFromHead, P::L1, "long-reads", 0),
        on(M::ConflictIsSuccess, P::S12, "last-unit", 14),
        on(M::ClaimsUnread, P::S12, "last-unit", 19),
        on(M::BatchMovedToHead, P::S2, "last-unit", 17),
        on(M::SettledByPosition, P::S11, "renewals", 12),
        on(M::SettledByAnything, P::S11, "renewals-crash", 11),
        on(M::FencedTraderStays, P::L1, "convergence", 10),
        on(M::ServesWhileClaiming, P::S1, "election", 2),
        on(M::TermResumedAfterRestart, P::S1, "trader-crash", 9),
        on(M::HeartbeatWithoutRenewal, P::B5, "renewals-crash", 8),
        on(M::ContestedAndIsolatedStays, P::L1, "wedge", 1),
        on(M::AsksNoMore, P::L1, "lost-answers", 2),
        on(M::IsolatedForGood, P::L3, "whole-abandoned", 5),
        on(M::NeverGivesUp, P::B9, "silent-ledger", 0),
        on(M::SilenceForgotten, P::L1, "duel", 0),
        on(M::ResignedStaysEligible, P::Y2, "synchronous", 35),
        on(M::ResignedForGood, P::Y1, "synchronous", 51),
        // Buyer and seller.
        on(M::FirstAccountAdopted, P::S4, "out-of-order", 18),
        on(M::OpenRequestIgnored, P::S13, "former-request", 9),
        on(M::SoldOutForGood, P::L2, "told", 7),
        on(M::LeftoverForGood, P::L2, "leftovers", 20),
        on(M::GapAskedForEver, P::L2, "sales-missed", 31),
        on(M::SequenceReused, P::S4, "client-restarts", 4),
        on(M::DepositNumberReused, P::S4, "client-restarts", 2),
        on(M::NamesNoPredecessor, P::L2, "told-twice", 14),
        on(M::OutcomeCountedTwice, P::S4, "out-of-order", 14),
        on(M::OldStatusBelieved, P::L2, "told-twice", 23),
        on(M::SaleCountedTwice, P::S4, "out-of-order", 19),
        on(M::OldAccountBelieved, P::S4, "out-of-order", 20),
        on(M::MissedSaleNotAsked, P::S4, "out-of-order", 25),
        // Election.
        on(M::OverGrantTaken, P::B4, "election-two", 29),
        on(M::BelievesInNoSuchEpoch, P::L1, "lied-to", 0),
        on(M::BelievesLiars, P::L1, "lied-to", 0),
        on(M::BelievesAnyMark, P::S3, "lied-to", 0),
        on(M::BatchUnread, P::S3, "lied-to", 0),
        on(M::StaleHearsayBelieved, P::B5, "election", 12),
        on(M::ResignationUnheard, P::B6, "election-resigned-twice", 36),
        on(M::IdsComparedAsText, P::Y1, "synchronous-ten", 7),
        on(M::IdsComparedByLastDigit, P::Y1, "synchronous-ten", 7),
        on(M::AnswerIgnored, P::Y1, "synchronous", 11),
        on(M::ResignedCompetes, P::Y2, "synchronous", 35),
        on(M::UnreachableCompetes, P::L1, "duel", 0),
        on(M::OldCoordinatorAccepted, P::B4, "election", 16),
        on(M::OldHeartbeatAccepted, P::B4, "election-heartbeat", 17),
        on(M::HigherEpochIgnored, P::B4, "election", 15),
        on(M::HearsayPassedOn, P::L1, "wedge", 8),
        on(M::AnnouncesOnWinning, P::S1, "election", 1),
        on(M::JoinsEveryElection, P::B5, "election", 9),
        on(M::LoneSurvivorWaits, P::L3, "survivor", 8),
        // Overlay and peer.
        on(M::FloodDeliveredAgain, P::S10, "overlay-twice", 4),
        on(M::RelayHears, P::S10, "overlay-ask", 3),
        on(M::FloodNumbersRestart, P::A2, "overlay-back", 9),
        on(M::SendsPastItsNeighbours, P::S10, "overlay-answer", 5),
        on(M::RelayNotAround, P::A2, "overlay-around", 9),
        on(M::GapCountsAsTaken, P::A2, "overlay-window", 4),
        on(M::WindowDropsNewest, P::S10, "overlay-window", 9),
        on(M::PathOverwritten, P::A9, "overlay-line", 80),
        on(M::PathKept, P::A9, "overlay-flap", 13),
        on(M::GoneForGood, P::A2, "overlay-break", 6),
        on(M::FloodsForTheGone, P::A9, "overlay-break", 4),
        on(M::MulticastUnheard, P::C2, "whole-interval", 11),
        on(M::MulticastAboveBound, P::S7, "whole-slow-disks", 11),
        on(M::LostClockNotToldAgain, P::C2, "gossip-lost", 4),
        on(M::QuestionUnanswered, P::C2, "gossip-lost", 7),
        on(M::RestartedNotTold, P::C2, "gossip-lives", 4),
        on(M::CopyNotCounted, P::F12, "gather", 3),
        on(M::AnswersAtOnce, P::F12, "gather", 1),
        on(M::HopsNotCounted, P::A2, "overlay-circle", 30),
        on(M::SentAboveBound, P::S7, "whole-clock", 10),
        on(M::SpeaksBeforeWritten, P::S7, "whole-clock", 0),
        on(M::StampedByFirstRecord, P::S7, "whole-bound", 7),
        on(M::HeldWithoutBound, P::R10, "whole-full-journal", 10),
        on(M::SeenNotWritten, P::S3, "whole-election", 7),
        on(M::SeenForgotten, P::S3, "whole-old-image", 2),
        on(M::SeenNotShown, P::S3, "whole-election", 9),
        on(M::OldImageServed, P::S3, "whole-old-image", 4),
        on(M::UnreachableRunsOn, P::B9, "whole-candidate", 5),
        on(M::ClaimsAtHeardHead, P::R1, "whole-reads", 12),
        // Several ledgers.
        on(M::AnswersFromMemory, P::S15, "replicated-claims", 7),
        on(M::FenceFromMemory, P::S15, "replicated-claims", 12),
        on(M::LateCallJoinsLook, P::S15, "replicated-waiting", 15),
        on(M::LateCallJoinsAppend, P::S15, "replicated-waiting", 12),
        on(M::UnknownIsRefused, P::R2, "replicated-unknown", 4),
        on(M::UnknownForgotten, P::R2, "replicated-unknown", 4),
        on(M::DeclinedIsRefused, P::R2, "replicated-full", 5),
        on(M::QueueWithoutBound, P::R2, "replicated-waiting", 6),
        on(M::RenewalNotTold, P::R2, "replicated-looks", 7),
        on(M::ContestedNotTold, P::R2, "replicated-claims", 8),
        on(M::ContestedKeptElsewhere, P::R2, "replicated-blind", 14),
        on(M::BlindLeaseRunsOut, P::R2, "replicated-blind", 9),
        on(M::RunNotCompared, P::S3, "replicated-wiped", 5),
        on(M::EndNotCompared, P::S2, "replicated-sale", 6),
        on(M::ShrunkLogServed, P::S3, "replicated-old-image", 8),
        on(M::BaseBeforeSnapshot, P::S3, "replicated-snapshot", 9),
        on(M::ClearedBeforeBase, P::S3, "replicated-snapshot", 10),
        on(M::BaseNotCompared, P::S3, "replicated-snapshot", 22),
        on(M::GapInRead, P::R2, "replicated-snapshot", 14),
    ]
};
