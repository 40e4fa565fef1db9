//! Trading in the stable order (SPEC C5): the same subject as [`trading`](super::trading), with a [`trader`] that holds
//! requests back until buyers were heard past them. Here S9, S14 and C5 are asked as well.
//!
//! [`trader`]: bazaar_protocol::trader

use std::time::Duration;

use bazaar_protocol::{
    clock::Time,
    config::{Ordering, Terms},
    id::PeerId,
    record::Entry,
};

use crate::{
    participants::{
        Budget, Convergence, Cut, Participants, Role,
        trading::{
            FISH, FISH_THEN_SALT, SALT, base, both, first_life, left_by_a_former_trader, resigning, scenario,
            unanswered,
        },
    },
    subject::{landmark::Landmark, scenario::Scenario},
};

fn in_order(bazaar: Participants) -> Participants {
    let terms = Terms { ordering: Ordering::Stable, ..bazaar.terms };
    Participants { terms, ..bazaar }
}

/// The same, but from every state, once faults stop, everybody must be told. Where buyers may have to be unseated first,
/// that takes longer than in the other order.
fn converging(bazaar: Participants, cut: Cut) -> Participants {
    Participants { convergence: Some(Convergence { within: 150, lasting: Duration::ZERO, cut }), ..in_order(bazaar) }
}

/// Peers over the books of a former trader that gave seats to the first lives of these buyers.
fn with_seats(buyers: &[u32], cast: Vec<Role>) -> Participants {
    over_seats(buyers, Participants::new(cast, 8))
}

fn over_seats(buyers: &[u32], bazaar: Participants) -> Participants {
    let prologue = left_by_a_former_trader(Ordering::Stable, buyers.iter().map(seat));
    Participants { prologue, start: Time(6), ..bazaar }
}

fn seat(buyer: &u32) -> Entry {
    Entry::Seated { buyer: first_life(PeerId(*buyer)), above: Time(2) }
}

/// The scenarios, in the order in which they are checked.
#[must_use]
pub fn scenarios() -> Vec<Scenario<Participants>> {
    let none = Budget::default();
    vec![
        scenario(
            both(
                in_order(Participants {
                    asking_raises_clocks: false,
                    ..with_seats(&[1, 2], vec![Role::trader(), Role::buyer(FISH_THEN_SALT, 1), Role::buyer(FISH, 1)])
                }),
                Budget { stands: 1, renewals: 2, ..none },
                Budget { stands: 1, renewals: 3, ..none },
            ),
            Scenario {
                name: "in-order",
                about: "two buyers whose requests are served in the stable order",
                bounds: "One trader, one request each, two heartbeats: what a buyer promises is under way for ever, and \
                         arrives before, between and after the requests. One buyer takes its time to choose.",
                landmarks: vec![Landmark::Promised, Landmark::Held, Landmark::Refused],
                ..base()
            },
        ),
        scenario(
            both(
                in_order(with_seats(
                    &[2, 3],
                    vec![Role::trader(), Role::trader(), Role::buyer(FISH, 1), Role::buyer(FISH, 1).eager()],
                )),
                Budget { stands: 2, ..none },
                Budget { stands: 2, renewals: 1, ..none },
            ),
            Scenario {
                name: "in-order-takeover",
                about: "the same with a second trader, which takes over while a request is held",
                bounds: "2 claims, and seats from the books of a former trader: each trader knows from the books alone \
                         who has one.",
                landmarks: vec![Landmark::SecondEpoch, Landmark::TraderFenced, Landmark::Refused],
                ..base()
            },
        ),
        scenario(
            both(
                converging(
                    Participants::new(
                        vec![Role::trader().immortal(), Role::buyer(FISH, 1).mortal(), Role::buyer(FISH, 1)],
                        8,
                    ),
                    Cut::Nothing,
                ),
                Budget { stands: 1, crashes: 1, restarts: 1, renewals: 1, ..none },
                Budget { stands: 1, crashes: 1, restarts: 1, renewals: 2, ..none },
            ),
            Scenario {
                name: "in-order-restart",
                about: "a buyer crashes with or without a seat and a request, and comes back as another life",
                bounds: "1 crash, 1 restart: what its former life asked for is under way for ever. From every state \
                         everybody is told.",
                landmarks: vec![Landmark::Seated, Landmark::Restarted, Landmark::Refused],
                ..base()
            },
        ),
        scenario(
            both(
                in_order(Participants {
                    asking_raises_clocks: false,
                    ..with_seats(
                        &[1, 2],
                        vec![Role::trader().immortal(), Role::buyer(FISH, 1).mortal(), Role::buyer(FISH, 1)],
                    )
                }),
                Budget { stands: 1, crashes: 1, restarts: 1, renewals: 1, ..none },
                Budget { stands: 1, crashes: 1, restarts: 1, renewals: 2, ..none },
            ),
            Scenario {
                name: "in-order-lives",
                about: "a buyer crashes with a promise outstanding and comes back as another life",
                bounds: "1 crash, 1 restart, 1 heartbeat, and seats from the books of a former trader: what its former life \
                         promised and asked for is under way for ever.",
                landmarks: vec![Landmark::Promised, Landmark::Seated, Landmark::Restarted, Landmark::Refused],
                ..base()
            },
        ),
        scenario(
            both(
                in_order(Participants {
                    heartbeats: 1,
                    asking_raises_clocks: false,
                    ..with_seats(
                        &[1, 2],
                        vec![Role::trader(), Role::buyer(FISH, 1), Role::buyer(FISH, 1).eager().deaf()],
                    )
                }),
                Budget { stands: 1, renewals: 2, ..none },
                Budget { stands: 1, renewals: 3, ..none },
            ),
            Scenario {
                name: "in-order-unseated",
                about: "a buyer that is not heard loses its seat, and comes back",
                bounds: "A heartbeat that is not answered costs the seat; old requests and promises are under way for \
                         ever. The other buyer asks at the start, and is not told anything.",
                landmarks: vec![
                    Landmark::Promised,
                    Landmark::Seated,
                    Landmark::Held,
                    Landmark::Unseated,
                    Landmark::Late,
                    Landmark::Refused,
                ],
                ..base()
            },
        ),
        scenario(
            both(
                converging(
                    Participants {
                        heartbeats: 1,
                        multicasts: true,
                        prologue: left_by_a_former_trader(
                            Ordering::Stable,
                            [seat(&1), seat(&2), Entry::Unseated { buyer: PeerId(1) }].into_iter(),
                        ),
                        start: Time(7),
                        ..Participants::new(vec![Role::trader(), Role::buyer(FISH, 1), Role::buyer(FISH, 1)], 8)
                    },
                    Cut::Nothing,
                ),
                Budget { stands: 1, renewals: 1, ..none },
                Budget { stands: 1, renewals: 2, ..none },
            ),
            Scenario {
                name: "in-order-rejoin",
                about: "a buyer that has lost its seat asks for it, has it, asks for something, and loses it again",
                bounds: "1 heartbeat, and the books of a former trader that unseated the buyer. What it said to get its seat \
                         back is under way for ever, and arrives while its request is. From every state everybody is \
                         told.",
                landmarks: vec![Landmark::Seated, Landmark::Unseated, Landmark::Held, Landmark::Refused],
                ..base()
            },
        ),
        scenario(
            both(
                in_order(Participants {
                    asking_raises_clocks: false,
                    ..Participants::new(
                        vec![
                            Role::trader(),
                            Role::buyer(FISH, 1),
                            Role::buyer(FISH, 1).eager().deaf(),
                            Role::buyer(FISH, 1).eager().deaf(),
                        ],
                        8,
                    )
                }),
                Budget { stands: 1, renewals: 1, ..none },
                Budget { stands: 1, renewals: 2, ..none },
            ),
            Scenario {
                name: "in-order-three",
                about: "three buyers whose requests are served in the stable order",
                bounds: "One trader, one request each, one heartbeat. Two of them ask at the start, and are not told anything.",
                landmarks: vec![Landmark::Promised, Landmark::Seated, Landmark::Held, Landmark::Refused],
                ..base()
            },
        ),
        scenario(
            both(
                in_order(with_seats(&[1, 2], vec![Role::trader(), Role::buyer(FISH, 2).eager(), Role::buyer(FISH, 1)])),
                Budget { stands: 1, renewals: 1, ..none },
                Budget { stands: 1, renewals: 2, ..none },
            ),
            Scenario {
                name: "in-order-again",
                about: "a buyer asks for something else after an outcome, while copies of its first request are under way",
                bounds: "Two requests of one buyer, which asks at the start, and one of another. Their seats are in the books of \
                         a former trader.",
                landmarks: vec![Landmark::Held, Landmark::Resent, Landmark::Refused],
                ..base()
            },
        ),
        scenario(
            both(
                in_order(over_seats(
                    &[2, 3],
                    resigning(vec![
                        Role::trader(),
                        Role::trader(),
                        Role::buyer(FISH, 1).eager().deaf(),
                        Role::buyer(FISH, 1).eager().deaf(),
                        Role::seller(FISH, 1, 0).deaf(),
                    ])
                    .in_batches_of(2),
                )),
                Budget { stands: 2, ..none },
                Budget { stands: 3, ..none },
            ),
            Scenario {
                name: "in-order-batches",
                about: "batches of two records, and a trader that resigns while it holds a request back",
                bounds: "2 claims. Two buyers that ask at the start, one unit of fish, and a trader that resigns after the \
                         first sale: an admission and its outcome do not always fit one batch.",
                landmarks: vec![Landmark::SecondEpoch, Landmark::Split, Landmark::Sold, Landmark::Refused],
                ..base()
            },
        ),
        scenario(
            both(
                in_order(Participants::new(
                    vec![Role::trader(), Role::buyer(FISH, 1).eager(), Role::buyer(FISH, 1).eager()],
                    8,
                )),
                Budget { stands: 2, renewals: 1, ledger_crashes: 1, ..none },
                Budget { stands: 2, renewals: 2, ledger_crashes: 1, ..none },
            ),
            Scenario {
                name: "in-order-ledger-crash",
                about: "the ledger crashes at any moment: before a seat is durable, and between it and an outcome",
                bounds: "1 crash, 2 claims, 1 heartbeat, two buyers that ask at the start. A seat that is lost was never told.",
                landmarks: vec![Landmark::Seated, Landmark::LostUnsynced, Landmark::KeptUnanswered, Landmark::Refused],
                ..base()
            },
        ),
        scenario(
            both(
                in_order(Participants::new(
                    vec![Role::trader(), Role::buyer(FISH, 1).and_trader(), Role::buyer(FISH, 1)],
                    8,
                )),
                Budget { stands: 2, ..none },
                Budget { stands: 2, renewals: 1, ..none },
            ),
            Scenario {
                name: "in-order-buyer-in-office",
                about: "a buyer takes office while its own request is open",
                bounds: "2 claims: its request is with the first trader, in the books, or under way.",
                landmarks: vec![Landmark::Seated, Landmark::SecondEpoch],
                ..base()
            },
        ),
        scenario(
            both(
                converging(
                    Participants {
                        multicasts: true,
                        ..Participants::new(vec![Role::trader(), Role::buyer(FISH, 1), Role::buyer(FISH, 1)], 8)
                    },
                    Cut::FirstAnswers,
                ),
                Budget { stands: 1, renewals: 1, ..none },
                Budget { stands: 1, renewals: 2, ..none },
            ),
            Scenario {
                name: "in-order-multicast",
                about: "two buyers that hear each other's clock multicasts",
                bounds: "One request each, and from every state everybody is told, even if the ledger's first answer \
                         to every append is lost: what a multicast makes known happened before whatever its hearer asks for \
                         from then on.",
                landmarks: vec![Landmark::Seated, Landmark::Refused],
                ..base()
            },
        ),
        scenario(
            both(
                in_order(with_seats(
                    &[1, 2],
                    vec![
                        Role::trader(),
                        Role::buyer(FISH, 1).and_candidate(),
                        Role::buyer(FISH, 1).ahead_by(9),
                        Role::seller(SALT, 1, 0).deaf(),
                    ],
                )),
                Budget { stands: 2, ..none },
                Budget { stands: 2, renewals: 1, ..none },
            ),
            Scenario {
                name: "in-order-shown",
                about: "a buyer stands for office in vain, and asks for something after what the ledger has shown it",
                bounds: "2 claims, one deposit: a record is written after a request was heard that still waits.",
                landmarks: vec![Landmark::ClaimConflict, Landmark::Refused],
                ..base()
            },
        ),
        scenario(
            both(
                converging(
                    Participants {
                        heartbeats: 2,
                        ..with_seats(&[1, 2], vec![Role::trader(), Role::buyer(FISH, 1), Role::buyer(FISH, 1)])
                    },
                    Cut::FromOverlay(PeerId(1)),
                ),
                Budget { stands: 1, renewals: 2, ..none },
                Budget { stands: 1, renewals: 3, ..none },
            ),
            Scenario {
                name: "in-order-cut-off",
                about: "a buyer is cut off for good at any moment, with or without a seat and a request",
                bounds: "From every state nothing of the other buyer's is held for ever: two heartbeats without an \
                         answer cost the seat.",
                landmarks: vec![Landmark::Refused],
                ..base()
            },
        ),
        scenario(
            both(
                converging(
                    Participants {
                        start: Time(5),
                        ..with_seats(&[1], vec![Role::trader(), Role::buyer(FISH, 1).and_trader()])
                    },
                    Cut::Nothing,
                ),
                Budget { stands: 3, ..none },
                Budget { stands: 3, renewals: 1, ..none },
            ),
            Scenario {
                name: "in-order-own-request",
                about: "a buyer takes office while its own request is open, leaves it, and is told in the end",
                bounds: "3 claims, the third by the first trader again: the request is with it, in the books, or under \
                         way.",
                landmarks: vec![Landmark::SecondEpoch, Landmark::Refused],
                ..base()
            },
        ),
        scenario(
            both(
                converging(
                    Participants {
                        start: Time(5),
                        ..with_seats(&[0], vec![Role::buyer(FISH, 0).and_trader(), Role::buyer(FISH, 1)])
                    },
                    Cut::Nothing,
                ),
                Budget { stands: 1, renewals: 1, ..none },
                Budget { stands: 2, renewals: 1, ..none },
            ),
            Scenario {
                name: "in-order-own-seat",
                about: "a buyer that has a seat takes office, and the other one's request does not wait for it",
                bounds: "1 claim, over the books of a former trader that seated the one that takes office; that one asks for \
                         nothing, so that nobody hears it.",
                landmarks: vec![Landmark::Refused],
                ..base()
            },
        ),
        scenario(
            both(
                converging(
                    Participants {
                        prologue: left_by_a_former_trader(Ordering::Stable, [seat(&2), unanswered(1)].into_iter()),
                        start: Time(6),
                        ..Participants::new(vec![Role::trader(), Role::trader(), Role::buyer(FISH, 1)], 8)
                    },
                    Cut::Nothing,
                ),
                Budget { stands: 1, renewals: 1, ..none },
                Budget { stands: 2, renewals: 1, ..none },
            ),
            Scenario {
                name: "in-order-inherited",
                about: "a trader inherits a request in the stable order, and serves others in the same term",
                bounds: "1 claim: what it inherits is of a buyer that no longer exists.",
                landmarks: vec![Landmark::Refused],
                ..base()
            },
        ),
    ]
}
