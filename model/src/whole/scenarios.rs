//! What is run.

use protocol::{
    config::Terms,
    id::{Item, PeerId},
};

use super::{Budget, Convergence, Disk, Member, Opening, Way, Whole};
use crate::{
    scenario::{Case, Family, Scenario},
    sighting::Sighting,
};

const FISH: &[Item] = &[Item::FISH];

/// A seller, a buyer, and one that wins elections, in a line.
fn three() -> Whole {
    Whole::line(vec![Member::seller(Item::FISH, 2), Member::buyer(FISH, 1), Member::seller(Item::SALT, 1).immortal()])
}

/// Two that do both; with two there is nobody to buy from but the one that is in office.
fn two() -> Whole {
    Whole::line(vec![Member::both(FISH, 1, Item::FISH, 1), Member::both(FISH, 1, Item::FISH, 1)])
}

fn link(one: u32, other: u32) -> Way {
    Way::between(PeerId(one), PeerId(other))
}

fn both(setup: Whole, budget: Budget, further: Budget) -> (Case, Option<Case>) {
    (Case::Whole(setup.with(budget)), Some(Case::Whole(setup.with(further))))
}

fn converging(setup: Whole, cut: Option<Way>, restarts: bool) -> Whole {
    Whole { convergence: Some(Convergence { within: 2_000, cut, restarts }), ..setup }
}

fn scenario((case, further): (Case, Option<Case>), scenario: Scenario) -> Scenario {
    Scenario { case, further, ..scenario }
}

/// The scenarios.
#[must_use]
pub fn scenarios() -> Vec<Scenario> {
    let none = Budget::default();
    let base = || Scenario {
        name: "",
        family: Family::Whole,
        about: "",
        bounds: "",
        sightings: Vec::new(),
        case: Case::Whole(three()),
        further: None,
    };
    let deposited = || Whole { opening: Opening::Deposited, ..three() };
    vec![
        scenario(
            both(
                Whole { opening: Opening::AtTheStart, ..three() },
                Budget { alarms: 2, losses: 1, ..none },
                Budget { alarms: 3, losses: 1, ..none },
            ),
            Scenario { name: "whole-election", ..base() },
        ),
        scenario(
            both(
                Whole { terms: Terms { batch_limit: 2, ..three().terms }, ..deposited() },
                Budget { alarms: 2, crashes: 1, ..none },
                Budget { alarms: 3, crashes: 1, restarts: 1, ..none },
            ),
            Scenario { name: "whole-crash", ..base() },
        ),
        scenario(
            both(
                Whole { weak: vec![link(1, 2)], ..deposited() },
                Budget { alarms: 1, cuts: 1, resends: 1, ..none },
                Budget { alarms: 2, cuts: 2, resends: 1, ..none },
            ),
            Scenario { name: "whole-cut", ..base() },
        ),
        scenario(
            both(
                Whole { weak: vec![Way::to_ledger(PeerId(2))], ..deposited() },
                Budget { retries: 1, cuts: 1, ledger_crashes: 1, impatience: 1, ..none },
                Budget { retries: 2, cuts: 1, ledger_crashes: 1, impatience: 1, ..none },
            ),
            Scenario { name: "whole-ledger", ..base() },
        ),
        scenario(
            both(
                Whole { opening: Opening::AtTheStart, clock_range: 2, disk: Disk::InSteps, ..two() },
                Budget { alarms: 1, crashes: 1, restarts: 1, ..none },
                Budget { alarms: 2, crashes: 1, restarts: 1, ..none },
            ),
            Scenario { name: "whole-clock", ..base() },
        ),
        scenario(
            both(
                converging(
                    Whole { terms: Terms { resign_after: 1, ..three().terms }, ..deposited() },
                    None,
                    false,
                ),
                Budget { crashes: 2, ..none },
                Budget { crashes: 2, alarms: 1, ..none },
            ),
            Scenario { name: "whole-survivor", ..base() },
        ),
        scenario(
            both(
                converging(Whole { weak: vec![link(1, 2)], ..deposited() }, Some(link(1, 2)), true),
                Budget { alarms: 1, cuts: 1, renewals: 1, ..none },
                Budget { alarms: 2, cuts: 1, renewals: 1, ..none },
            ),
            Scenario { name: "whole-isolated", ..base() },
        ),
        scenario(
            both(
                converging(Whole { links: vec![(0, 1), (1, 2), (0, 2)], ..deposited() }, Some(link(0, 2)), true),
                Budget { crashes: 1, ..none },
                Budget { alarms: 1, crashes: 1, ..none },
            ),
            Scenario { name: "whole-convergence", ..base() },
        ),
    ]
}
