//! The model of whole peers as tests: the scenarios that take about a second hold and are complete.

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
    subject::known::Known,
    subject::scenario::{Extent, Family},
    system::{System, Way},
};
use bazaar_protocol::{clock::Time, id::PeerId};

const THREADS: usize = 2;

fn all() -> impl Iterator<Item = (Entry, System)> {
    catalogue::all().into_iter().filter_map(|scenario| match scenario.case.clone() {
        Case::System(whole) => Some((scenario, whole)),
        Case::Participants(_) | Case::Clock(_) | Case::Gossip(_) | Case::Gather(_) | Case::Overlay(_) => None,
    })
}

fn named(name: &str) -> (Entry, System) {
    all().find(|(scenario, _)| scenario.name == name).expect("a scenario of the catalogue")
}

/// All properties hold in all states, every step was tried, every landmark was met, and the number of states is the
/// recorded one.
fn holds(name: &str) {
    let report = check(&named(name).0, Extent::Default, THREADS, &mut |_| {});
    assert_eq!(report.verdict, Outcome::Holds, "{report:#?}");
}

#[test]
fn nothing_is_sent_above_the_written_bound_whatever_a_crash_loses() {
    holds("whole-clock");
}

#[test]
fn a_lone_survivor_settles_pending_requests() {
    holds("whole-survivor");
}

#[test]
fn a_trader_that_hears_the_ledger_but_no_peer_leaves_its_contested_office() {
    holds("whole-isolated");
}

#[test]
fn another_peer_takes_over_when_the_trader_crashes() {
    holds("whole-crash");
}

#[test]
fn an_effect_held_back_until_written_is_checked_against_the_state_in_which_it_was_decided() {
    holds("whole-bound");
}

#[test]
fn a_heartbeat_that_overtakes_a_read_lets_no_peer_claim_at_a_head_it_has_not_read() {
    holds("whole-reads");
}

#[test]
fn a_call_that_waits_inside_the_ledger_is_answered_or_repeated() {
    holds("whole-waiting");
}

#[test]
fn a_full_journal_loses_only_what_the_network_could_lose() {
    holds("whole-full-journal");
}

#[test]
fn an_old_image_of_the_ledger_is_noticed_by_any_peer_that_has_seen_more() {
    holds("whole-old-image");
}

#[test]
fn every_way_is_found_at_its_index() {
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

/// Once an old image of the ledger has granted an append, nobody could know better, and no step follows.
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

// States rarely differ only by a shift of all clocks where messages on every connection carry stamps: among the first
// 40,000 states of `whole-clock` and of `whole-ledger`, no two unequal states are taken for one.
#[test]
fn states_taken_for_one_step_alike() {
    let pairs = merged_pairs_step_alike(&named("whole-election").1, 40_000).expect("taken for one state");
    println!("whole-election: {pairs} pairs");
    assert!(pairs >= 50, "{pairs}");
}

#[test]
fn clocks_that_start_higher_make_no_difference() {
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
fn every_scenario_begins_where_it_says_and_states_its_purpose() {
    for (scenario, whole) in all() {
        let Entry { name, family, about, bounds, landmarks, .. } = &scenario;
        assert_eq!(*family, Family::Whole);
        assert!(
            name.starts_with("whole-") && !about.is_empty() && !bounds.is_empty() && !landmarks.is_empty(),
            "{name}"
        );
        let first = whole.first();
        assert_eq!((whole.violation(&first), whole.stuck(&first, &Known::nothing())), (None, None), "{name}");
        let is_held = first.traders().count() == 1;
        assert_eq!(
            is_held,
            whole.opening != bazaar_model::system::Opening::AtTheStart,
            "{name}: {}",
            whole.portrait(&first)
        );
    }
}

/// A history of up to this many steps, each picked by its place in the history and the number of steps to choose from.
fn walk(whole: &System, steps: usize, pick: impl Fn(usize, usize) -> usize) -> History<'_, System> {
    let mut history = History::empty(whole);
    for nth in 0..steps {
        let mut actions = Vec::new();
        whole.actions(history.last(), &mut actions);
        if actions.is_empty() {
            break;
        }
        history.extend([&actions[pick(nth, actions.len())]]).expect("it is among those that can be taken");
    }
    history
}

#[test]
fn what_happens_once_faults_stop_can_be_told_and_drawn() {
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
fn every_step_can_be_told_drawn_written_and_replayed() {
    for (scenario, whole) in all() {
        for seed in 0..20 {
            let history = walk(&whole, 40, |nth, among| (nth * 7 + seed * 13 + nth * seed) % among);
            for (before, action, after) in history.steps() {
                assert!(!whole.sentence(before, action, after).is_empty());
                let lanes = whole.lanes(before).len();
                for mark in whole.marks(before, action, after) {
                    if let bazaar_model::subject::picture::Mark::Sent { from, to, .. } = mark {
                        assert!(from < lanes && to.is_some_and(|to| to < lanes));
                    }
                }
                assert!(whole.portrait(before).contains("ledger: "));
            }
            let trace = Trace::of(scenario.name, Extent::Default, None, &history);
            let read = trace.actions(&whole).expect("its own steps");
            assert_eq!(History::replay(&whole, &read).expect("it can be replayed").last(), history.last());
        }
    }
}
