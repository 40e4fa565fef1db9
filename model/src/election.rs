//! Elections: `Election`, `Office` and `Ledger` of three peers that hear each other directly, without an overlay.
//!
//! S1, S2 and what of S7 shows without messages' clocks (claims are stamped above all that they follow; a clock does not
//! go back over a crash). What peers tell each other may be lost, doubled, late and out of order; every timer fires at any
//! moment, as often as its budget allows.

use crate::{
    scenario::{Role, Scenario, Tampering, terms},
    sighting::Sighting,
    world::Budget,
};

/// The scenarios.
#[must_use]
pub fn scenarios() -> Vec<Scenario> {
    let base = Scenario {
        name: "",
        about: "",
        bounds: "",
        cast: vec![Role::elector(), Role::elector(), Role::elector()],
        terms: terms(2),
        budget: Budget::default(),
        sightings: Vec::new(),
        states: 0,
        tampering: Tampering::default(),
    };
    vec![
        Scenario {
            name: "election",
            about: "three peers elect while their messages are late, doubled or lost",
            bounds: "4 alarms: all three may run for office at once, and one more may depose the winner twice over. Three \
                     peers are the fewest of which one is neither the highest nor the lowest.",
            budget: Budget { alarms: 4, ..Budget::default() },
            sightings: vec![
                Sighting::TookOffice,
                Sighting::SecondEpoch,
                Sighting::ThirdEpoch,
                Sighting::ClaimHeld,
                Sighting::ClaimFenced,
                Sighting::Contested,
                Sighting::Deposed,
                Sighting::Resent,
            ],
            states: 165_088,
            ..base.clone()
        },
        Scenario {
            name: "election-crash",
            about: "the same; a peer crashes at any moment and may come back",
            bounds: "1 crash, 1 restart, 3 alarms: enough for the trader to die and for its next life or another peer to \
                     follow, with everything its former life sent still under way.",
            budget: Budget { alarms: 3, crashes: 1, restarts: 1, ..Budget::default() },
            sightings: vec![
                Sighting::TookOffice,
                Sighting::SecondEpoch,
                Sighting::TraderCrashed,
                Sighting::Restarted,
                Sighting::ClaimHeld,
                Sighting::ClaimFenced,
                Sighting::Deposed,
            ],
            states: 158_468,
            ..base.clone()
        },
        Scenario {
            name: "election-silence",
            about: "the same; a peer gives up on the ledger at any moment",
            bounds: "1 loss of patience, 3 alarms: while it reads, claims, or holds the office with an append under way; \
                     its claim may land all the same.",
            budget: Budget { alarms: 3, impatience: 1, ..Budget::default() },
            sightings: vec![Sighting::SecondEpoch, Sighting::LedgerSilent, Sighting::ClaimHeld, Sighting::Deposed],
            states: 34_085,
            ..base.clone()
        },
        Scenario {
            name: "election-heartbeat",
            about: "the same; the trader renews its term and sends a heartbeat",
            bounds: "1 renewal, 3 alarms: the renewal or the heartbeat may come after the term has gone to another.",
            budget: Budget { alarms: 3, renewals: 1, ..Budget::default() },
            sightings: vec![
                Sighting::SecondEpoch,
                Sighting::TraderFenced,
                Sighting::Contested,
                Sighting::Heartbeat,
                Sighting::Deposed,
            ],
            states: 104_996,
            ..base
        },
    ]
}
