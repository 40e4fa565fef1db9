//! The mutants as a test: each is in the catalogue and violates the expected property after exactly the recorded number
//! of steps.

use std::collections::BTreeSet;

use bazaar_model_mutants::{
    protocol::mutant::{Mutant, active},
    search::mutants::{CATALOGUE, caught_by, find},
    subject::scenario::Family,
};

#[test]
fn every_mutant_is_in_the_catalogue_once() {
    let listed: BTreeSet<Mutant> = CATALOGUE.iter().map(|line| line.mutant).collect();
    assert_eq!(listed.len(), CATALOGUE.len(), "one is listed twice");
    assert!(Mutant::ALL.iter().all(|mutant| listed.contains(mutant)));
    assert!(CATALOGUE.len() >= 40);
}

/// What the model of whole peers is known to catch on its own, in its two smallest scenarios.
const CAUGHT_BY_WHOLE: &[&str] = &[
    "commission-rounded-twice",
    "commission-rounded-up",
    "receive-without-plus-one",
    "receive-ignores-sender",
    "clock-resumes-at-zero",
    "clock-reset-on-step-down",
    "no-catch-up",
    "sale-leaves-stock",
    "seller-clock-stays",
    "told-on-arrival",
    "told-when-planned",
    "conflict-before-fenced",
    "no-fence",
    "claim-not-durable",
    "acknowledged-before-durable",
    "answered-as-another",
    "lease-ignored",
    "lease-never-ends",
    "contested-never-told",
    "batch-moved-to-head",
    "fenced-trader-stays",
    "serves-while-claiming",
    "heartbeat-without-renewal",
    "contested-and-isolated-stays",
    "hearsay-passed-on",
    "announces-on-winning",
    "joins-every-election",
    "sends-past-its-neighbours",
    "seen-not-written",
    "seen-not-shown",
];

// One test, since a mutant is on for the whole process.
#[test]
fn every_mutant_violates_the_expected_property() {
    let wrong: Vec<String> = CATALOGUE
        .iter()
        .map(|line| find(*line))
        .filter(|finding| !finding.is_as_recorded())
        .map(|finding| {
            let steps = finding.trace.map(|trace| trace.steps.len());
            format!("{}: {} after {steps:?} steps, not {}", finding.mutant, finding.property, finding.recorded)
        })
        .collect();
    assert!(wrong.is_empty(), "{wrong:#?}");

    let is_missed = |mutant: &&Mutant| caught_by(Family::Whole, **mutant, 20_000).is_none();
    let named: Vec<Mutant> = CAUGHT_BY_WHOLE.iter().filter_map(|name| Mutant::named(name)).collect();
    assert!(named.len() == CAUGHT_BY_WHOLE.len() && named.len() >= 20);
    let missed: Vec<&Mutant> = named.iter().filter(is_missed).collect();
    assert!(missed.is_empty(), "whole peers alone miss {missed:?}");
    assert_eq!(active(), None);
}
