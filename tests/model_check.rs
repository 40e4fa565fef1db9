//! The models as tests: small scenarios hold and are complete, states taken for one behave as one, and the checks can
//! fail, with a ledger that is broken from outside.

#![allow(clippy::expect_used)]

use bazaar_model::{
    catalogue::{self, Case, Entry},
    participants::{Participants, Tampering},
    search::{
        canonical::{merged_pairs_step_alike, step_in_lock_step},
        check::{Outcome, Report, check},
        history::History,
        trace::Trace,
    },
    subject::{
        landmark::Landmark,
        scenario::{Extent, Family},
    },
};
use bazaar_protocol::{
    clock::Time,
    invariant::Property,
    ledger::{LedgerAnswer, LedgerCall, LedgerReply, LedgerRequest, Verdict},
};

const THREADS: usize = 2;

fn named(name: &str) -> Entry {
    catalogue::named(name).expect("a scenario of the catalogue")
}

fn bazaar(name: &str) -> Participants {
    let Case::Participants(bazaar) = named(name).case else { panic!("{name} is not a scenario of participants") };
    bazaar
}

fn run(scenario: &Entry) -> Report {
    check(scenario, Extent::Default, THREADS, &mut |_| {})
}

/// All properties hold in all states, every step was tried, every landmark was met, and the number of states is the
/// recorded one.
fn holds(name: &str) {
    let report = run(&named(name));
    let words = report.counterexample.as_ref().map(|trace| &trace.words);
    assert_eq!(report.verdict, Outcome::Holds, "{name}: {:?}, {words:#?}", report.missing);
    assert_eq!((Some(report.states), report.missing.len()), (report.recorded, 0));
}

#[test]
fn an_election_holds_when_a_peer_gives_up_on_the_ledger() {
    holds("election-silence");
}

#[test]
fn under_synchrony_the_highest_eligible_peer_leads_alone() {
    holds("synchronous-five");
    holds("synchronous-survivor");
    holds("synchronous-ten");
}

#[test]
fn once_faults_stop_there_is_one_leader_that_all_know() {
    holds("convergence");
    holds("lost-answers");
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
fn once_faults_stop_everybody_is_told() {
    holds("told-twice");
    holds("told-after-crashes");
}

#[test]
fn a_different_number_of_states_does_not_make_a_check_incomplete() {
    // Nothing is recorded for a scenario that is not in the catalogue.
    let report = run(&Entry { name: "own-stock once more", ..named("own-stock") });
    assert_eq!((report.verdict, report.complete), (Outcome::NotRecorded, true));
    let never_met = Entry { landmarks: vec![Landmark::CaughtUp], ..named("own-stock") };
    assert_eq!(run(&never_met).verdict, Outcome::Incomplete);
}

#[test]
fn every_scenario_has_its_own_name_and_states_its_bounds() {
    let scenarios = catalogue::all();
    for (nth, scenario) in scenarios.iter().enumerate() {
        assert!(!scenario.landmarks.is_empty() && !scenario.bounds.is_empty(), "{scenario:?}");
        assert!(scenario.recorded(Extent::Default).is_some_and(|states| states > 0), "{}", scenario.name);
        assert!(scenarios[..nth].iter().all(|other| other.name != scenario.name));
    }
}

#[test]
fn elections_and_trading_have_more_than_a_million_states_each() {
    for family in [Family::Election, Family::Trading] {
        let of_family = catalogue::all().into_iter().filter(|scenario| scenario.family == family);
        let states: usize = of_family.filter_map(|scenario| scenario.recorded(Extent::Default)).sum();
        assert!(states > 1_000_000, "{family}: {states}");
    }
}

// States taken for one behave as one.

#[test]
fn states_taken_for_the_same_step_alike() {
    // In most scenarios nothing is merged: old requests, and their stamps, are under way for ever.
    let floors = [("trader-crash", 10)];
    for (name, least) in floors {
        let pairs = merged_pairs_step_alike(&bazaar(name), 200_000).expect(name);
        println!("{name}: {pairs} pairs");
        assert!(pairs >= least, "{name}: only {pairs} pairs were met");
    }
}

#[test]
fn clocks_that_start_higher_make_no_difference() {
    let names =
        ["election-silence", "stamps", "ledger-crash", "client-restarts", "synchronous-survivor", "replicated-sale"];
    for name in names {
        for further in [1, 1 << 19] {
            let one = bazaar(name);
            let other = Participants { start: Time(1 + further), ..one.clone() };
            let states = step_in_lock_step(&one, &other, 10_000).expect(name);
            assert!(states >= 10_000, "{name}: only {states} states were met");
        }
    }
}

// The checks can fail. The protocol is unchanged; the ledger's answers are changed on their way.

/// Changes every verdict on an append to "appended", no matter what the ledger said.
fn always_appended(call: &LedgerCall, mut reply: LedgerReply) -> LedgerReply {
    if let (LedgerRequest::Append(batch), LedgerAnswer::Append { verdict, .. }) = (&call.request, &mut reply.answer) {
        *verdict = Verdict::Appended { head: batch.end(), contested: false };
    }
    reply
}

fn violated(name: &str, tampering: Tampering, among: &[Property]) {
    let bazaar = Participants { tampering, ..bazaar(name) };
    let scenario = Entry { case: Case::Participants(bazaar.clone()), ..named(name) };
    let report = run(&scenario);
    assert_eq!(report.verdict, Outcome::Violated);
    let found = report.counterexample.expect("a violation comes with its history");
    let property = found.violation.as_ref().map(|violation| violation.property).expect("it says what is violated");
    assert!(among.contains(&property), "{property}: {:#?}", found.words);
    // The history is short, is told in words, and can be replayed: the steps in the file lead to the violation in the
    // file.
    assert!((1..=18).contains(&found.steps.len()), "{:#?}", found.words);
    assert_eq!(found.words.len(), found.steps.len());
    let text = serde_json::to_string(&found).expect("plain data");
    let read: Trace = serde_json::from_str(&text).expect("what was written can be read");
    let steps = read.actions(&bazaar).expect("they are steps of the scenario");
    let again = History::replay(&bazaar, &steps).expect("they can be taken");
    assert_eq!(again.wrong().map(|violation| violation.property), Some(property));
}

#[test]
fn a_fence_that_nobody_hears_lets_two_peers_speak_for_one_epoch() {
    let tampering = Tampering { reply: Some(always_appended), ..Tampering::default() };
    violated("election", tampering, &[Property::S1]);
}

#[test]
fn a_fence_that_nobody_hears_lets_a_trader_serve_from_false_books() {
    let tampering = Tampering { reply: Some(always_appended), ..Tampering::default() };
    violated("last-unit", tampering, &[Property::S1, Property::S11, Property::S12]);
}

#[test]
fn a_ledger_that_answers_before_it_syncs_loses_what_it_confirmed() {
    let tampering = Tampering { answers_before_sync: true, ..Tampering::default() };
    let told_too_early = &[Property::S1, Property::S3, Property::S11, Property::S12];
    violated("ledger-crash", tampering, told_too_early);
}
