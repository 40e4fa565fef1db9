//! The mutants as a test: each is in the catalogue and violates the expected property after exactly the recorded number
//! of steps.

use std::collections::BTreeSet;

use bazaar_model_mutants::{
    protocol::mutant::{Mutant, active},
    search::mutants::{CATALOGUE, find},
};

#[test]
fn every_mutant_is_in_the_catalogue_once() {
    let listed: BTreeSet<Mutant> = CATALOGUE.iter().map(|line| line.mutant).collect();
    assert_eq!(listed.len(), CATALOGUE.len(), "one is listed twice");
    assert!(Mutant::ALL.iter().all(|mutant| listed.contains(mutant)));
    assert!(CATALOGUE.len() >= 40);
}

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
    assert_eq!(active(), None);
}
