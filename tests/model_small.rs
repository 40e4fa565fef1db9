//! The models of clocks and of overlays: they hold, and states taken for one behave as one.

use bazaar_model::{
    machines::clock::{Budget, Clocks, Exchange},
    search::{
        canonical::{merged_pairs_step_alike, step_in_lock_step},
        check::{self, Outcome},
    },
    subject::scenario::{Extent, Family},
};
use bazaar_protocol::clock::Time;

fn hold(family: Family) {
    let scenarios = bazaar_model::catalogue::all().into_iter().filter(|scenario| scenario.family == family);
    for scenario in scenarios {
        let report = check::check(&scenario, Extent::Default, 2, &mut |_| {});
        let summary =
            (report.states, report.recorded, &report.missing, report.counterexample.as_ref().map(|it| &it.words));
        assert_eq!(
            report.verdict,
            Outcome::Holds,
            "{}: states, recorded, missing, history: {summary:#?}",
            scenario.name
        );
    }
}

#[test]
fn clocks_keep_the_order_of_what_happened() {
    hold(Family::Clock);
}

#[test]
fn messages_get_through_on_every_small_network() {
    hold(Family::Overlay);
}

fn counted(start: u64) -> Clocks {
    let budget = Budget { events: 2, sends: 2, reads: 1, crashes: 1 };
    Clocks { clocks: 2, start: Time(start), range: 1, exchange: Exchange::Counted(budget) }
}

fn endless(start: u64) -> Clocks {
    Clocks { clocks: 2, start: Time(start), range: 1, exchange: Exchange::Endless { apart: 3, under_way: 1 } }
}

#[test]
fn states_that_differ_only_by_a_shift_of_all_clocks_step_alike() {
    for (clocks, least) in [(counted(1), 20_000), (endless(1), 9_000)] {
        let pairs = merged_pairs_step_alike(&clocks, 1_000_000).expect("states taken for one behave as one");
        assert!(pairs >= least, "only {pairs} pairs were met");
    }
}

#[test]
fn clocks_that_start_higher_go_through_the_same_states() {
    for further in [1, 7, 1 << 19] {
        let pairs = [(counted(1), counted(1 + further)), (endless(1), endless(1 + further))];
        for (clocks, shifted) in pairs {
            let states = step_in_lock_step(&clocks, &shifted, 1_000_000).expect("they stay together");
            assert!(states >= 1_000, "only {states} states were met");
        }
    }
}
