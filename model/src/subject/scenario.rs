//! What a scenario is made of. The catalogue of those there are is [`catalogue`](crate::catalogue)'s.

use std::{collections::BTreeMap, fmt};

use serde::{Deserialize, Serialize};

use crate::subject::landmark::Landmark;

/// One scenario: what runs, what the adversary may do, and what it is to show.
#[derive(Clone, Debug)]
pub struct Scenario<S> {
    /// Its name on the command line.
    pub name: &'static str,
    /// Which of the models it belongs to.
    pub family: Family,
    /// What runs, in a line.
    pub about: &'static str,
    /// Its bounds, and why they suffice for what it is to show.
    pub bounds: &'static str,
    /// What must be met on the way, or the scenario shows nothing.
    pub landmarks: Vec<Landmark>,
    /// What is checked.
    pub case: S,
    /// The same a step further: larger budgets, or more peers; nothing where there is no further step to go.
    pub further: Option<S>,
}

/// The models (DESIGN 6).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Family {
    /// Who leads.
    Election,
    /// What is traded, whoever leads.
    Trading,
    /// Who stamps what.
    Clock,
    /// How messages find their way.
    Overlay,
    /// Whole peers over their overlay.
    Whole,
}

impl Family {
    /// All there are.
    pub const ALL: [Family; 5] = [Family::Election, Family::Trading, Family::Clock, Family::Overlay, Family::Whole];
}

impl fmt::Display for Family {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Family::Election => "election",
            Family::Trading => "trading",
            Family::Clock => "clock",
            Family::Overlay => "overlay",
            Family::Whole => "whole",
        })
    }
}

/// How far a check goes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Extent {
    /// Minutes.
    #[default]
    Default,
    /// A step further: larger budgets, or more peers. It takes long.
    Thorough,
}

/// Up to so many states a scenario is small enough to be explored: the Explorer runs to completion in seconds.
pub const SMALL: usize = 200_000;

impl<S> Scenario<S> {
    /// What is checked of it, to this extent.
    #[must_use]
    pub fn at(&self, extent: Extent) -> &S {
        match extent {
            Extent::Default => &self.case,
            Extent::Thorough => self.further.as_ref().unwrap_or(&self.case),
        }
    }

    /// The same scenario of another kind of subject.
    #[must_use]
    pub fn map<T>(self, how: impl Fn(S) -> T) -> Scenario<T> {
        let Scenario { name, family, about, bounds, landmarks, case, further } = self;
        Scenario { name, family, about, bounds, landmarks, case: how(case), further: further.map(how) }
    }

    /// How many unique states it was recorded to have. Another number means that the machines, or the model, do
    /// something else than when it was recorded: look at it, then record it anew (`bazaar-model check --record`).
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

/// The recorded numbers of unique states, as they stand in `model/recorded.json`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Recorded(BTreeMap<String, BTreeMap<Extent, usize>>);

impl Recorded {
    /// Those this program was built with.
    #[must_use]
    pub fn compiled_in() -> Recorded {
        // A damaged file fails every scenario, by having no number for it.
        serde_json::from_str(include_str!("../../recorded.json")).unwrap_or_default()
    }

    /// The number for a scenario.
    #[must_use]
    pub fn states(&self, scenario: &str, extent: Extent) -> Option<usize> {
        self.0.get(scenario)?.get(&extent).copied()
    }

    /// Records a number.
    pub fn record(&mut self, scenario: &str, extent: Extent, states: usize) {
        self.0.entry(scenario.to_owned()).or_default().insert(extent, states);
    }
}
