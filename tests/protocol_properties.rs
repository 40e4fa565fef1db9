//! Whole bazaars under random schedules, and the small machines under random inputs (DESIGN 5).
//!
//! `BAZAAR_CASES` multiplies the number of cases, `BAZAAR_SEED` picks other ones. A failure prints the seed, the shrunk
//! schedule and what it came down to, step by step.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod world;

use std::{cell::RefCell, env};

use proptest::{
    collection::vec,
    prelude::*,
    test_runner::{Config as RunnerConfig, RngAlgorithm, TestCaseError, TestError, TestRng, TestRunner},
};
use world::{Action, Roughness, Setup, Stats, World, actions, setups};

/// Runs so many cases, times `BAZAAR_CASES`; panics with the seed and the smallest failing case.
fn check<S: Strategy>(name: &str, cases: u32, strategy: S, test: impl Fn(S::Value) -> Result<(), TestCaseError>)
where
    S::Value: std::fmt::Debug,
{
    let number = |variable: &str| env::var(variable).ok().and_then(|value| value.parse::<u64>().ok());
    let times = number("BAZAAR_CASES").unwrap_or(1) as u32;
    let seed = number("BAZAAR_SEED").unwrap_or(0);
    let mut bytes = [7; 32];
    bytes[..8].copy_from_slice(&seed.to_le_bytes());
    let config = RunnerConfig {
        cases: cases * times,
        failure_persistence: None,
        max_shrink_iters: 20_000,
        max_shrink_time: 60_000,
        ..RunnerConfig::default()
    };
    let mut runner = TestRunner::new_with_rng(config, TestRng::from_seed(RngAlgorithm::ChaCha, &bytes));
    match runner.run(&strategy, test) {
        Ok(()) => {}
        Err(TestError::Fail(reason, case)) => panic!(
            "{reason}\nthe smallest case: {case:?}\nrepeat with: BAZAAR_SEED={seed} BAZAAR_CASES={times} \
             cargo test -p bazaar-protocol --test properties {name}"
        ),
        Err(TestError::Abort(reason)) => panic!("{name} gave up: {reason}"),
    }
}

/// Runs one schedule and then ends all faults. Of a failure, the steps that led there are told.
fn run(setup: &Setup, schedule: &[Action], stats: Option<&RefCell<Stats>>) -> Result<(), TestCaseError> {
    let attempt = |keep: bool| {
        let mut world = World::new(setup.clone(), keep).map_err(|why| (why, None))?;
        let ran = schedule.iter().try_for_each(|action| world.act(*action)).and_then(|()| world.converge());
        match ran {
            Ok(()) => Ok(world.stats),
            Err(why) => Err((why, world.history.take())),
        }
    };
    match attempt(false) {
        Ok(done) => {
            if let Some(stats) = stats {
                stats.borrow_mut().add(&done);
            }
            Ok(())
        }
        Err((why, _)) => {
            let steps = attempt(true).err().and_then(|(_, history)| history).unwrap_or_default();
            let from = steps.len().saturating_sub(400);
            Err(TestCaseError::fail(format!("{why}\n{}", steps[from..].join("\n"))))
        }
    }
}

fn whole(name: &str, cases: u32, rough: Roughness, length: std::ops::Range<usize>) -> Stats {
    let stats = RefCell::new(Stats::default());
    check(name, cases, (setups(), vec(actions(rough), length)), |(setup, schedule)| {
        run(&setup, &schedule, Some(&stats))
    });
    let stats = stats.into_inner();
    println!("{name}: {stats:#?}");
    stats
}

/// A suite that did nothing must not pass.
fn at_least(what: &str, count: u64, floor: u64) {
    assert!(count >= floor, "only {count} {what}, at least {floor} are expected: the schedules have lost their bite");
}

#[test]
fn whatever_goes_wrong_every_property_holds_and_the_bazaar_recovers() {
    let name = "whatever_goes_wrong_every_property_holds_and_the_bazaar_recovers";
    let stats = whole(name, 400, Roughness { network: 60, crashes: 20, order: 8 }, 50..300);
    at_least("sales", stats.sales, 100);
}

#[test]
fn on_a_calm_day_much_is_traded_and_every_property_holds() {
    let name = "on_a_calm_day_much_is_traded_and_every_property_holds";
    let stats = whole(name, 200, Roughness { network: 8, crashes: 3, order: 2 }, 100..400);
    at_least("sales", stats.sales, 100);
}
