//! The seam for mutants: its catalogue is sound, and switching a mutant on changes what the machines do (DESIGN 6).

#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::collections::BTreeSet;

use bazaar_protocol_mutants::{
    clock::{Clock, Time},
    id::PeerId,
    mutant::{Mutant, active, switch},
};

#[test]
fn every_mutant_has_its_own_name_and_a_sentence() {
    let names: BTreeSet<&str> = Mutant::ALL.iter().map(|mutant| mutant.name()).collect();
    assert_eq!(names.len(), Mutant::ALL.len());
    assert!(names.len() >= 40, "{} mutants", names.len());
    for mutant in Mutant::ALL.iter().copied() {
        let (name, sentence) = (mutant.name(), mutant.sentence());
        let words: Vec<&str> = name.split('-').collect();
        let is_word = |word: &&str| !word.is_empty() && word.bytes().all(|byte| byte.is_ascii_lowercase());
        assert!(words.iter().all(is_word), "{name} is not in kebab case");
        // The variant and its name consist of the same words.
        assert_eq!(format!("{mutant:?}").to_lowercase(), words.concat());
        assert!(sentence.len() > name.len() && !sentence.ends_with('.'), "{name}: {sentence}");
        assert_eq!(Mutant::named(name), Some(mutant));
        assert_eq!(mutant.to_string(), name);
    }
    assert_eq!(Mutant::named("no-such-mutant"), None);
}

// The switch affects the whole process, so one test does all the switching.
#[test]
fn a_mutant_changes_what_its_sentence_says_while_it_is_on() {
    let received = || {
        let mut clock = Clock::resume(PeerId(1), Time(3));
        clock.receive(Time(7));
        clock.now()
    };
    const { assert!(bazaar_protocol_mutants::MUTABLE) };
    assert_eq!(active(), None, "none is on at the start");
    assert_eq!(received(), Time(8));
    for mutant in Mutant::ALL.iter().copied() {
        switch(Some(mutant));
        assert_eq!(active(), Some(mutant));
    }
    switch(Some(Mutant::ReceiveWithoutPlusOne));
    assert_eq!(received(), Time(7));
    switch(Some(Mutant::ReceiveIgnoresSender));
    assert_eq!(received(), Time(4));
    switch(Some(Mutant::ClockResumesAtZero));
    assert_eq!(Clock::resume(PeerId(1), Time(3)).now(), Time(0));
    switch(None);
    assert_eq!(active(), None);
    assert_eq!(received(), Time(8));
}
