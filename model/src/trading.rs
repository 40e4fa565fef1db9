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
    let b1 = || Role::buyer(&[Item::FISH], 1);
    let b2 = || Role::buyer(&[Item::FISH], 2);
    let s1 = || Role::seller(&[Item::FISH], 1, 0);
    let t = Role::trader;
    let one = vec![t(), t(), b1(), s1()];
    let two = vec![t(), t(), b1(), b1(), s1()];
    let z = Budget::default();
    vec![
        Scenario { name: "t-one-2", cast: one.clone(), budget: Budget { stands: 2, ..z }, ..base.clone() },
        Scenario { name: "lcrash1", cast: one.clone(), budget: Budget { stands: 1, ledger_crashes: 2, ..z }, ..base.clone() },
        Scenario { name: "lcrash", cast: one.clone(), budget: Budget { stands: 2, ledger_crashes: 1, ..z }, ..base.clone() },
        Scenario { name: "tcrash", cast: one.clone(), budget: Budget { stands: 2, crashes: 1, restarts: 1, ..z }, ..base.clone() },
        Scenario { name: "yield", cast: one.clone(), budget: Budget { stands: 2, yields: 1, ..z }, ..base.clone() },
        Scenario { name: "renew", cast: vec![t(), t(), b1()], budget: Budget { stands: 2, renewals: 1, ..z }, ..base.clone() },
        Scenario { name: "renew2", cast: one.clone(), budget: Budget { stands: 1, renewals: 2, ledger_crashes: 1, ..z }, ..base.clone() },
        Scenario { name: "client", cast: vec![Role{crashes:false, ..t()}, b2().mortal(), s1().mortal()], budget: Budget { stands: 1, crashes: 2, restarts: 2, asks: 1, ..z }, ..base.clone() },
        Scenario { name: "resign", cast: vec![t(), t(), b1(), b1(), s1()], terms: protocol::config::Terms { resign_after: 1, ..terms(8) }, budget: Budget { stands: 1, ..z }, ..base.clone() },
        Scenario { name: "resign2", cast: vec![t(), t(), b2(), Role::seller(&[Item::FISH], 2, 0)], terms: protocol::config::Terms { resign_after: 1, ..terms(8) }, budget: Budget { stands: 2, ..z }, ..base.clone() },
        Scenario { name: "restock", cast: vec![t(), b1(), b2(), Role::seller(&[Item::FISH, Item::SALT], 1, 1)], budget: Budget { stands: 1, asks: 1, ..z }, ..base.clone() },
        Scenario { name: "split", cast: vec![t(), t(), b1(), b1(), s1()], terms: terms(2), budget: Budget { stands: 1, ticks: 1, ..z }, ..base.clone() },
        Scenario { name: "two", cast: two.clone(), budget: Budget { stands: 2, ..z }, ..base.clone() },
    ]
}
