//! Whole peers over their overlay, as tests: the scenarios that take a second hold and are complete.

#![allow(clippy::expect_used)]

use std::iter;

use bazaar_model::{
    catalogue::{self, Case, Entry},
    search::{
        canonical::{merged_pairs_step_alike, step_in_lock_step},
        check::{Outcome, check},
        history::History,
        trace::Trace,
    },
    subject::Subject,
    subject::scenario::{Extent, Family},
    system::{System, Way},
};
use bazaar_protocol::{clock::Time, id::PeerId};

const THREADS: usize = 2;

fn all() -> impl Iterator<Item = (Entry, System)> {
    catalogue::all().into_iter().filter_map(|scenario| match scenario.case.clone() {
        Case::System(whole) => Some((scenario, whole)),
        Case::Participants(_) | Case::Clock(_) | Case::Overlay(_) => None,
    })
}

fn named(name: &str) -> (Entry, System) {
    all().find(|(scenario, _)| scenario.name == name).expect("a scenario of the catalogue")
}

/// All properties hold in all states, every state was tried, everything that makes the scenario worth running was met,
/// and the number of states is the recorded one.
fn holds(name: &str) {
    let report = check(&named(name).0, Extent::Default, THREADS, |_| {});
    assert_eq!(report.verdict, Outcome::Holds, "{report:#?}");
}

#[test]
fn nothing_is_sent_above_the_written_bound_whatever_a_crash_loses() {
    holds("whole-clock");
}

#[test]
fn a_lone_survivor_deals_with_what_is_pending() {
    holds("whole-survivor");
}

#[test]
fn who_hears_the_ledger_and_no_peer_leaves_its_contested_office() {
    holds("whole-isolated");
}

#[test]
fn another_takes_over_when_the_trader_crashes() {
    holds("whole-crash");
}

#[test]
fn what_is_held_back_until_it_is_written_is_held_against_what_was_true_when_it_was_decided() {
    holds("whole-bound");
}

#[test]
fn a_heartbeat_that_overtakes_a_read_lets_nobody_claim_what_it_has_not_read() {
    holds("whole-reads");
}

#[test]
fn what_waits_inside_the_ledger_is_answered_or_asked_again() {
    holds("whole-waiting");
}

#[test]
fn a_full_journal_loses_what_could_be_lost_on_the_way() {
    holds("whole-full-journal");
}

#[test]
fn an_old_image_of_the_ledger_is_noticed_by_whoever_has_seen_more() {
    holds("whole-old-image");
}

#[test]
fn every_way_is_found_where_it_stands() {
    for (_, whole) in all() {
        for (nth, way) in whole.ways().enumerate() {
            assert_eq!(whole.nth(way), Some(nth), "{way:?}");
        }
        let stranger = PeerId(whole.cast.len() as u32);
        for way in [Way::to_ledger(stranger), Way::to_ledger(stranger).back(), Way::between(PeerId(0), stranger)] {
            assert_eq!(whole.nth(way), None, "{way:?}");
        }
    }
}

/// Where an old image of the ledger has granted something, nobody could know, and nothing follows.
#[test]
fn a_history_ends_where_nobody_could_know_that_an_old_image_was_put_back() {
    let (_, whole) = named("whole-old-image");
    let mut ends = 0;
    for seed in 0..200 {
        let history = walk(&whole, 60, |nth, among| (nth * 5 + seed * 17 + nth * seed * seed) % among);
        let mut actions = Vec::new();
        whole.actions(history.last(), &mut actions);
        if history.last().is_over() {
            ends += 1;
            assert!(history.last().observer.is_put_back() && actions.is_empty());
        }
    }
    assert!(ends > 0);
}

// Clocks hardly ever differ in nothing but how far on they are where the peers' ways are stamped one by one: of the
// first 40,000 states of `whole-clock` and `whole-ledger` no two that are unequal are taken for one.
#[test]
fn what_is_taken_for_one_state_is_one() {
    let pairs = merged_pairs_step_alike(&named("whole-election").1, 40_000).expect("taken for one state");
    println!("whole-election: {pairs} pairs");
    assert!(pairs >= 50, "{pairs}");
}

#[test]
fn clocks_that_start_further_up_make_no_difference() {
    for name in ["whole-clock", "whole-ledger", "whole-election"] {
        for further in [1, 1 << 10] {
            let one = named(name).1;
            let other = System { start: Time(1 + further), ..one.clone() };
            let states = step_in_lock_step(&one, &other, 10_000).expect(name);
            assert_eq!(states, 10_000, "{name}");
        }
    }
}

#[test]
fn every_scenario_begins_where_it_says_and_says_what_it_is_good_for() {
    for (scenario, whole) in all() {
        let Entry { name, family, about, bounds, landmarks, .. } = &scenario;
        assert_eq!(*family, Family::Whole);
        assert!(
            name.starts_with("whole-") && !about.is_empty() && !bounds.is_empty() && !landmarks.is_empty(),
            "{name}"
        );
        let first = whole.first();
        assert_eq!((whole.violation(&first), whole.stuck(&first)), (None, None), "{name}");
        let is_held = first.traders().count() == 1;
        assert_eq!(
            is_held,
            whole.opening != bazaar_model::system::Opening::AtTheStart,
            "{name}: {}",
            whole.portrait(&first)
        );
    }
}

/// A history of so many steps, each picked by its own number and how many there are.
fn walk(whole: &System, steps: usize, pick: impl Fn(usize, usize) -> usize) -> History<'_, System> {
    let mut history = History::empty(whole);
    for nth in 0..steps {
        let mut actions = Vec::new();
        whole.actions(history.last(), &mut actions);
        if actions.is_empty() {
            break;
        }
        history.go_on([&actions[pick(nth, actions.len())]]).expect("it is among those that can be taken");
    }
    history
}

#[test]
fn what_comes_once_faults_stop_can_be_told_and_drawn() {
    for (scenario, whole) in all() {
        let history = walk(&whole, 12, |nth, among| (nth * 7 + 3) % among);
        for state in iter::once(&whole.first()).chain(history.steps().map(|(_, _, after)| after)) {
            let told = whole.afterwards(state, 30);
            assert_eq!(told.len(), if whole.convergence.is_some() { 30 } else { 0 }, "{}", scenario.name);
            assert!(told.iter().all(|(words, _)| !words.is_empty()), "{told:?}");
            assert!(told.is_empty() || told.iter().any(|(_, marks)| !marks.is_empty()), "{told:?}");
        }
    }
}

#[test]
fn every_step_can_be_told_drawn_written_down_and_taken_again() {
    for (scenario, whole) in all() {
        for seed in 0..20 {
            let history = walk(&whole, 40, |nth, among| (nth * 7 + seed * 13 + nth * seed) % among);
            for (before, action, after) in history.steps() {
                assert!(!whole.sentence(before, action, after).is_empty());
                let lanes = whole.lanes(before).len();
                for mark in whole.marks(before, action, after) {
                    if let bazaar_model::pictures::picture::Mark::Sent { from, to, .. } = mark {
                        assert!(from < lanes && to.is_some_and(|to| to < lanes));
                    }
                }
                assert!(whole.portrait(before).contains("ledger: "));
            }
            let trace = Trace::of(scenario.name, Extent::Default, None, &history);
            let read = trace.actions(&whole).expect("its own steps");
            assert_eq!(History::replay(&whole, &read).expect("it can be taken again").last(), history.last());
        }
    }
}
