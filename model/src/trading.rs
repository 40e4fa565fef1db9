//! Trading: `Office` with its `Trader`, `Buyer`, `Seller` and `Ledger`, under adversarial leadership.
//!
//! Nobody elects. The adversary makes any peer that can hold the office stand or yield at any moment, and a client's
//! message reaches whoever holds it, thinks it does, or held it. So trading is safe whoever thinks it leads: S1-S8 and
//! S11-S13 in every state, and B6 with them.

use protocol::{config::Terms, id::Item};

use crate::{
    scenario::{Role, Scenario, Tampering, terms},
    sighting::Sighting,
    world::Budget,
};

const FISH: &[Item] = &[Item::FISH];
const FISH_THEN_SALT: &[Item] = &[Item::FISH, Item::SALT];

/// The scenarios.
#[must_use]
pub fn scenarios() -> Vec<Scenario> {
    let base = Scenario {
        name: "",
        about: "",
        bounds: "",
        cast: vec![Role::trader(), Role::trader(), Role::buyer(FISH, 1), Role::seller(FISH, 1, 0)],
        terms: terms(8),
        budget: Budget::default(),
        sightings: Vec::new(),
        states: 0,
        tampering: Tampering::default(),
    };
    let two_buyers = vec![
        Role::trader(),
        Role::trader(),
        Role::buyer(FISH, 1).eager().deaf(),
        Role::buyer(FISH, 1).eager().deaf(),
        Role::seller(FISH, 1, 0).deaf(),
    ];
    vec![
        Scenario {
            name: "last-unit",
            about: "two traders, two buyers, one unit of fish",
            bounds: "2 claims, so that each trader may hold the office while the other still thinks it does. Two buyers are \
                     the fewest that contend; both ask at the start, and who is heard when, \
                     if at all, is free. What they are told is checked and then lost.",
            cast: two_buyers.clone(),
            budget: Budget { stands: 2, ..Budget::default() },
            sightings: vec![
                Sighting::SecondEpoch,
                Sighting::TraderFenced,
                Sighting::ClaimConflict,
                Sighting::ClaimHeld,
                Sighting::ClaimFenced,
                Sighting::Contested,
                Sighting::Resent,
                Sighting::FromTheBooks,
                Sighting::Sold,
                Sighting::Refused,
            ],
            states: 166_471,
            ..base.clone()
        },
        Scenario {
            name: "batches-of-two",
            about: "the same with a queue that does not fit a batch, and a new trader that inherits it",
            bounds: "Batches of 2 records: a deposit and a request, or two requests, or an outcome or two, so the queue is \
                     left over between batches in all ways there are.",
            cast: two_buyers.clone(),
            terms: terms(2),
            budget: Budget { stands: 2, ..Budget::default() },
            sightings: vec![
                Sighting::SecondEpoch,
                Sighting::TraderFenced,
                Sighting::Inherited,
                Sighting::Split,
                Sighting::Sold,
                Sighting::Refused,
                Sighting::FromTheBooks,
            ],
            states: 185_485,
            ..base.clone()
        },
        Scenario {
            name: "ledger-crash",
            about: "the ledger crashes at any moment; what was not durable is lost, or stays and was never answered",
            bounds: "1 crash, 2 claims: between write and sync, between sync and answer, and when idle (the lease starts \
                     afresh). One buyer: what is lost is a batch, whoever is in it.",
            budget: Budget { stands: 2, ledger_crashes: 1, ..Budget::default() },
            sightings: vec![
                Sighting::LostUnsynced,
                Sighting::KeptUnanswered,
                Sighting::Resent,
                Sighting::SecondEpoch,
                Sighting::TraderFenced,
                Sighting::ClaimConflict,
                Sighting::Sold,
                Sighting::Refused,
            ],
            states: 70_976,
            ..base.clone()
        },
        Scenario {
            name: "trader-crash",
            about: "a trader crashes at any moment, may come back and stand again",
            bounds: "1 crash, 1 restart, 2 claims: its appends and its replies are still under way in its next life.",
            budget: Budget { stands: 2, crashes: 1, restarts: 1, ..Budget::default() },
            sightings: vec![
                Sighting::TraderCrashed,
                Sighting::Restarted,
                Sighting::LateAppend,
                Sighting::SecondEpoch,
                Sighting::TraderFenced,
                Sighting::ClaimConflict,
                Sighting::Sold,
            ],
            states: 134_756,
            ..base.clone()
        },
        Scenario {
            name: "yield",
            about: "a trader leaves at any moment, in mid-batch too, and may stand again",
            bounds: "1 departure, 2 claims: by the same peer, or by the other one.",
            budget: Budget { stands: 2, yields: 1, ..Budget::default() },
            sightings: vec![
                Sighting::LateAppend,
                Sighting::SecondEpoch,
                Sighting::TraderFenced,
                Sighting::ClaimConflict,
                Sighting::Sold,
            ],
            states: 55_732,
            ..base.clone()
        },
        Scenario {
            name: "renewals",
            about: "a trader renews its term while another claims",
            bounds: "1 renewal, 2 claims, nothing for sale: a renewal's late reply is under way at the position of the \
                     next batch.",
            cast: vec![Role::trader(), Role::trader(), Role::buyer(FISH, 1)],
            budget: Budget { stands: 2, renewals: 1, ..Budget::default() },
            sightings: vec![
                Sighting::Heartbeat,
                Sighting::Contested,
                Sighting::SecondEpoch,
                Sighting::TraderFenced,
                Sighting::Refused,
            ],
            states: 10_584,
            ..base.clone()
        },
        Scenario {
            name: "renewals-crash",
            about: "a trader renews twice while the ledger crashes",
            bounds: "2 renewals, 1 crash of the ledger, 1 claim: the reply of the first may settle nothing but the first.",
            budget: Budget { stands: 1, renewals: 2, ledger_crashes: 1, ..Budget::default() },
            sightings: vec![
                Sighting::Heartbeat,
                Sighting::LostUnsynced,
                Sighting::KeptUnanswered,
                Sighting::Resent,
                Sighting::Sold,
            ],
            states: 3_000,
            ..base.clone()
        },
        Scenario {
            name: "client-restarts",
            about: "a buyer and a seller crash at any moment and come back knowing nothing",
            bounds: "2 crashes, 2 restarts, 2 requests: what both former lives have sent is under way for ever. One trader: \
                     the predecessor that a request names does not depend on who reads it.",
            cast: vec![Role::trader().immortal(), Role::buyer(FISH, 2).mortal(), Role::seller(FISH, 1, 0).mortal()],
            budget: Budget { stands: 1, crashes: 2, restarts: 2, asks: 1, ..Budget::default() },
            sightings: vec![
                Sighting::Restarted,
                Sighting::Resumed,
                Sighting::FromTheBooks,
                Sighting::Sold,
                Sighting::Refused,
                Sighting::SoldOut,
            ],
            states: 60_997,
            ..base.clone()
        },
        Scenario {
            name: "resignation",
            about: "each trader resigns at its first sale",
            bounds: "A term of one sale, 2 claims, two buyers with a request each, a deposit of two: both are served, in two \
                     terms, and the first that is over may still be thought to last.",
            cast: vec![
                Role::trader(),
                Role::trader(),
                Role::buyer(FISH, 1).eager().deaf(),
                Role::buyer(FISH, 1).eager().deaf(),
                Role::seller(FISH, 2, 0).deaf(),
            ],
            terms: Terms { resign_after: 1, ..terms(8) },
            budget: Budget { stands: 2, ..Budget::default() },
            sightings: vec![
                Sighting::Resigned,
                Sighting::Inherited,
                Sighting::SecondEpoch,
                Sighting::Sold,
                Sighting::FromTheBooks,
            ],
            states: 141_713,
            ..base.clone()
        },
        Scenario {
            name: "restocking",
            about: "a seller whose fish is sold out deposits salt",
            bounds: "One trader, three requests of two buyers, one unit of fish, then one of salt: a buyer meets stock, no \
                     stock, and other stock.",
            cast: vec![
                Role::trader(),
                Role::buyer(FISH, 1).eager().deaf(),
                Role::buyer(FISH_THEN_SALT, 2),
                Role::seller(FISH_THEN_SALT, 1, 1),
            ],
            budget: Budget { stands: 1, ..Budget::default() },
            sightings: vec![Sighting::SoldOut, Sighting::DepositedAgain, Sighting::Sold, Sighting::Refused],
            states: 64_251,
            ..base.clone()
        },
        Scenario {
            name: "stamps",
            about: "two buyers whose clocks run apart; the trader serves by stamp, not by arrival",
            bounds: "Batches of 2 records, 1 claim, and a clock that rises by itself once: either buyer's request may have \
                     the smaller stamp, or both the same.",
            cast: vec![Role::trader(), Role::buyer(FISH, 1), Role::buyer(FISH, 1), Role::seller(FISH, 1, 0)],
            terms: terms(2),
            budget: Budget { stands: 1, ticks: 1, ..Budget::default() },
            sightings: vec![Sighting::Split, Sighting::Sold, Sighting::Refused, Sighting::SoldOut],
            states: 11_074,
            ..base
        },
    ]
}
