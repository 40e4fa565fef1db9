//! Elections: `Election`, `Office` and `Ledger` of three peers.
use crate::{scenario::{Role, Scenario, Tampering, terms}, sighting::Sighting, world::Budget};

/// The scenarios.
#[must_use]
pub fn scenarios() -> Vec<Scenario> {
    let base = Scenario {
        name: "election",
        about: "",
        bounds: "",
        cast: vec![Role::elector(), Role::elector(), Role::elector()],
        terms: terms(2),
        budget: Budget::default(),
        sightings: vec![],
        states: 0,
        tampering: Tampering::default(),
    };
    vec![
        Scenario { name: "election-a", budget: Budget { alarms: 3, ..Budget::default() }, ..base.clone() },
        Scenario { name: "election-b", budget: Budget { alarms: 4, ..Budget::default() }, ..base.clone() },
        Scenario { name: "e-crash", budget: Budget { alarms: 3, crashes: 1, restarts: 1, ..Budget::default() }, ..base.clone() },
        Scenario { name: "e-silent", budget: Budget { alarms: 3, impatience: 1, ..Budget::default() }, ..base.clone() },
        Scenario { name: "e-beat", budget: Budget { alarms: 3, renewals: 1, ..Budget::default() }, ..base.clone() },
        Scenario { name: "e-beatl", budget: Budget { alarms: 3, renewals: 1, ledger_crashes: 1, ..Budget::default() }, ..base.clone() },
    ]
}
