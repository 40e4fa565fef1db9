//! The models as tests: the small scenarios hold and are complete, and a ledger that is broken from outside is found out.

#![allow(clippy::expect_used)]

use model::{
    check::{Outcome, Report, check},
    scenario::{self, Scenario, Tampering},
};
use protocol::{
    invariant::Property,
    ledger::{LedgerAnswer, LedgerCall, LedgerReply, LedgerRequest, Verdict},
};

const THREADS: usize = 2;

fn named(name: &str) -> Scenario {
    scenario::named(name).expect("a scenario of the catalogue")
}

fn run(scenario: Scenario) -> Report {
    check(scenario, THREADS, |_| {})
}

/// All properties hold in all states, every state was tried, everything that makes the scenario worth running was met, and
/// the number of states is the recorded one.
fn holds(name: &str) {
    let report = run(named(name));
    assert_eq!(report.verdict, Outcome::Holds, "{report:#?}");
    assert_eq!((report.states, report.missing.len()), (report.expected, 0));
}

#[test]
fn an_election_holds_when_a_peer_gives_up_on_the_ledger() {
    holds("election-silence");
}

#[test]
fn trading_holds_when_renewals_are_late() {
    holds("renewals");
    holds("renewals-crash");
}

#[test]
fn trading_holds_when_buyer_and_seller_come_back_knowing_nothing() {
    holds("client-restarts");
}

#[test]
fn trading_holds_when_the_ledger_loses_what_it_has_not_synced() {
    holds("ledger-crash");
}

#[test]
fn trading_holds_when_clocks_run_apart() {
    holds("stamps");
}

#[test]
fn names_and_bounds_of_scenarios_are_told_apart() {
    let scenarios = scenario::all();
    for (nth, scenario) in scenarios.iter().enumerate() {
        assert!(scenario.states > 0 && !scenario.sightings.is_empty() && !scenario.bounds.is_empty(), "{scenario:?}");
        assert!(scenarios[..nth].iter().all(|other| other.name != scenario.name));
    }
}

// This can fail. The protocol is as it is; what the ledger says is changed on its way.

/// The verdict as the caller hears it: whatever the ledger says of an append, it was appended.
fn always_appended(call: &LedgerCall, mut reply: LedgerReply) -> LedgerReply {
    if let (LedgerRequest::Append(batch), LedgerAnswer::Append { verdict, .. }) = (&call.request, &mut reply.answer) {
        *verdict = Verdict::Appended { head: batch.end(), contested: false };
    }
    reply
}

fn violated(scenario: Scenario, among: &[Property]) {
    let report = run(scenario);
    assert_eq!(report.verdict, Outcome::Violated, "{report:#?}");
    let found = report.counterexample.expect("a violation comes with the way there");
    assert!(among.contains(&found.violation.property), "{}: {:#?}", found.violation, found.words);
    assert_eq!(found.words.len(), found.steps.len());
    // The shortest there is, as long as it takes to get there and no more.
    assert!((1..=12).contains(&found.steps.len()), "{:#?}", found.words);
    println!("{}\n{}", found.violation, found.words.join("\n"));
}

#[test]
fn a_fence_that_nobody_hears_lets_two_peers_speak_for_one_epoch() {
    let tampering = Tampering { reply: Some(always_appended), ..Tampering::default() };
    violated(Scenario { tampering, ..named("election") }, &[Property::S1]);
}

#[test]
fn a_fence_that_nobody_hears_lets_a_trader_serve_from_books_that_never_were() {
    let tampering = Tampering { reply: Some(always_appended), ..Tampering::default() };
    violated(Scenario { tampering, ..named("last-unit") }, &[Property::S1, Property::S11, Property::S12]);
}

#[test]
fn a_ledger_that_answers_before_it_syncs_lets_what_was_told_be_lost() {
    let tampering = Tampering { answers_before_sync: true, ..Tampering::default() };
    let told_too_early = &[Property::S1, Property::S3, Property::S11, Property::S12];
    violated(Scenario { tampering, ..named("ledger-crash") }, told_too_early);
}
