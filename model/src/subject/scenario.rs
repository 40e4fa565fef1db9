//! What a scenario consists of. [`catalogue`](crate::catalogue) gathers all of them.

use std::{collections::BTreeMap, fmt};

use serde::{Deserialize, Serialize};

use crate::subject::landmark::Landmark;

/// One scenario: what runs, what the adversary may do, and what the scenario is meant to show.
#[derive(Clone, Debug)]
pub struct Scenario<S> {
    /// Its name on the command line.
    pub name: &'static str,
    /// Which of the models it belongs to.
    pub family: Family,
    /// What runs, in one line.
    pub about: &'static str,
    /// Its bounds, and why they suffice for what it is meant to show.
    pub bounds: &'static str,
    /// The landmarks that must be met; otherwise the scenario shows nothing.
    pub landmarks: Vec<Landmark>,
    /// The subject that `check` runs.
    pub case: S,
    /// The subject that `check --thorough` runs, with larger budgets or more peers; `None` where there is no further
    /// step.
    pub further: Option<S>,
}

/// The models (DESIGN 6).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Family {
    /// Which peer leads.
    Election,
    /// Trading, no matter which peer leads.
    Trading,
    /// Clock readings and stamps.
    Clock,
    /// How messages are routed.
    Overlay,
    /// Whole peers connected by their overlay.
    Whole,
    /// Several ledgers over one store.
    Replicated,
}

impl Family {
    /// Every model, in the order of the catalogue.
    pub const ALL: [Family; 6] =
        [Family::Election, Family::Trading, Family::Replicated, Family::Clock, Family::Overlay, Family::Whole];
}

impl fmt::Display for Family {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Family::Election => "election",
            Family::Trading => "trading",
            Family::Clock => "clock",
            Family::Overlay => "overlay",
            Family::Whole => "whole",
            Family::Replicated => "replicated",
        })
    }
}

/// How far a check goes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Extent {
    /// The scenario as it is, checked within minutes.
    #[default]
    Default,
    /// A step further: larger budgets, or more peers. It takes long.
    Thorough,
}

/// The most states a scenario may have to be explored: up to here the Explorer's search completes in seconds.
pub const SMALL: usize = 200_000;

impl<S> Scenario<S> {
    /// The subject that a check to this extent runs.
    #[must_use]
    pub fn at(&self, extent: Extent) -> &S {
        match extent {
            Extent::Default => &self.case,
            Extent::Thorough => self.further.as_ref().unwrap_or(&self.case),
        }
    }

    /// The same scenario with its subjects turned into another kind.
    #[must_use]
    pub fn map<T>(self, how: impl Fn(S) -> T) -> Scenario<T> {
        let Scenario { name, family, about, bounds, landmarks, case, further } = self;
        Scenario { name, family, about, bounds, landmarks, case: how(case), further: further.map(how) }
    }

    /// The recorded number of unique states. A different number means that the machines or the model behave differently
    /// from when it was recorded: find out why, then record the new one (`bazaar-model check --record`).
    #[must_use]
    pub fn recorded(&self, extent: Extent) -> Option<usize> {
        let extent = if self.further.is_none() { Extent::Default } else { extent };
        Recorded::compiled_in().states(self.name, extent)
    }

    /// Whether it is small enough to be explored.
    #[must_use]
    pub fn is_small(&self) -> bool {
        self.recorded(Extent::Default).is_some_and(|states| states <= SMALL)
    }
}

/// The numbers of unique states recorded in `model/recorded.json`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Recorded(BTreeMap<String, BTreeMap<Extent, usize>>);

impl Recorded {
    /// The numbers this program was built with.
    #[must_use]
    pub fn compiled_in() -> Recorded {
        // A damaged file fails every scenario because it has no number for any.
        serde_json::from_str(include_str!("../../recorded.json")).unwrap_or_default()
    }

    /// The number recorded for this scenario to this extent.
    #[must_use]
    pub fn states(&self, scenario: &str, extent: Extent) -> Option<usize> {
        self.0.get(scenario)?.get(&extent).copied()
    }

    /// Sets the number for this scenario and extent.
    pub fn record(&mut self, scenario: &str, extent: Extent, states: usize) {
        self.0.entry(scenario.to_owned()).or_default().insert(extent, states);
    }
}
