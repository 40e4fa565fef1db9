//! What has happened in schedules, added up: a suite that did nothing must not pass.

use std::collections::BTreeMap;

/// Counts, by the name of what was counted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    counts: BTreeMap<&'static str, u64>,
    /// The most firings that a recovery has taken.
    pub most_firings: u64,
}

impl Stats {
    pub fn count(&mut self, what: &'static str) {
        self.add(what, 1);
    }

    pub fn add(&mut self, what: &'static str, n: usize) {
        if n > 0 {
            *self.counts.entry(what).or_default() += n as u64;
        }
    }

    pub fn merge(&mut self, more: &Stats) {
        for (what, n) in &more.counts {
            *self.counts.entry(what).or_default() += n;
        }
        self.most_firings = self.most_firings.max(more.most_firings);
    }

    /// Panics unless everything happened at least as often as expected.
    pub fn at_least(&self, floors: &[(&str, u64)]) {
        for (what, floor) in floors {
            at_least(what, self.counts.get(what).copied().unwrap_or_default(), *floor);
        }
    }
}

pub fn at_least(what: &str, count: u64, floor: u64) {
    assert!(count >= floor, "only {count} {what}, at least {floor} are expected: the schedules have lost their bite");
}
