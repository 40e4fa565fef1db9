//! Trading.
use protocol::id::Item;
use crate::{scenario::{Role, Scenario, Tampering, terms}, world::Budget};

/// The scenarios.
#[must_use]
pub fn scenarios() -> Vec<Scenario> {
    let base = Scenario {
        name: "trading",
        about: "",
        bounds: "",
        cast: vec![Role::trader(), Role::trader(), Role::buyer(&[Item::FISH], 1), Role::buyer(&[Item::FISH], 1), Role::seller(&[Item::FISH], 1, 0)],
        terms: terms(8),
        budget: Budget::default(),
        sightings: vec![],
        states: 0,
        tampering: Tampering::default(),
    };
    let one = vec![Role::trader(), Role::trader(), Role::buyer(&[Item::FISH], 1), Role::seller(&[Item::FISH], 1, 0)];
    vec![
        Scenario { name: "t-one-1", cast: one.clone(), budget: Budget { stands: 1, ..Budget::default() }, ..base.clone() },
        Scenario { name: "t-one-2", cast: one.clone(), budget: Budget { stands: 2, ..Budget::default() }, ..base.clone() },
        Scenario { name: "t-one-2c", cast: one.clone(), budget: Budget { stands: 2, ledger_crashes: 1, ..Budget::default() }, ..base.clone() },
        Scenario { name: "t-two-1", budget: Budget { stands: 1, ..Budget::default() }, ..base.clone() },
        Scenario { name: "t-two-2", budget: Budget { stands: 2, ..Budget::default() }, ..base.clone() },
        Scenario { name: "t-two-2c", budget: Budget { stands: 2, ledger_crashes: 1, ..Budget::default() }, ..base.clone() },
        Scenario { name: "t-two-2y", budget: Budget { stands: 2, yields: 1, ..Budget::default() }, ..base.clone() },
    ]
}
