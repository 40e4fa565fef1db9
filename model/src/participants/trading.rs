//! Trading: `Office` with its `Trader`, `Buyer`, `Seller` and `Ledger`, under adversarial leadership.
//!
//! There are no elections. The adversary makes any peer that can hold the office stand for it or yield it at any
//! moment, and a client's message reaches any peer that holds the office, thinks it does, or once did. So trading is
//! safe no matter who believes it leads: S1-S8 and S11-S13 hold in every state, and so do B6 and B7; and L2 holds from
//! every state of the small scenarios.

use std::time::Duration;

use bazaar_protocol::{
    clock::{Stamp, Time},
    config::{Limits, Ordering, Terms},
    id::{Epoch, Incarnation, Item, Life, PeerId, Position, RequestId, Sequence, Units},
    record::{Batch, Entry, Record, Request},
};

use crate::{
    participants::{Budget, Convergence, Cut, Participants, Role},
    subject::{
        landmark::Landmark,
        scenario::{Family, Scenario},
    },
};

pub(super) const FISH: &[Item] = &[Item::FISH];
pub(super) const SALT: &[Item] = &[Item::SALT];
pub(super) const FISH_THEN_SALT: &[Item] = &[Item::FISH, Item::SALT];

/// No call waits in the ledger.
const SMALL: Limits = Limits { waiting_calls: 0, ..Limits::DEFAULT };

/// Traders that resign after their first sale.
pub(super) fn resigning(cast: Vec<Role>) -> Participants {
    let bazaar = Participants::new(cast, 8);
    let terms = Terms { resign_after: 1, ..bazaar.terms };
    Participants { terms, ..bazaar }
}

/// The log of a former trader that left this many requests unanswered; their buyers no longer exist.
pub(crate) fn inheritance(requests: u64) -> Vec<Batch> {
    left_by_a_former_trader(Ordering::SmallestOpen, (1..=requests).map(unanswered))
}

pub(super) fn first_life(peer: PeerId) -> Life {
    Life { peer, incarnation: Incarnation(1) }
}

pub(super) fn unanswered(nth: u64) -> Entry {
    let buyer = PeerId(1_000 + nth as u32);
    let id = RequestId { buyer, sequence: Sequence(1) };
    let stamp = Stamp { time: Time(2), peer: buyer };
    Entry::admitted(Request { id, previous: None, item: Item::FISH, quantity: Units(1), stamp })
}

pub(super) fn left_by_a_former_trader(ordering: Ordering, entries: impl Iterator<Item = Entry>) -> Vec<Batch> {
    let former = first_life(PeerId(1_000));
    let epoch = Epoch(1);
    let record = |time, entry| Record { stamp: Stamp { time: Time(time), peer: former.peer }, entry };
    let claim = Batch {
        epoch,
        position: Position(0),
        records: vec![record(2, Entry::Claimed { epoch, holder: former, ordering })],
    };
    let rest = (3..).zip(entries.chain([Entry::Resigned]));
    let rest: Vec<Record> = rest.map(|(time, entry)| record(time, entry)).collect();
    // In batches small enough for any limit.
    let batch = |(nth, records): (usize, &[Record])| Batch {
        epoch,
        position: Position(1).plus(2 * nth),
        records: records.to_vec(),
    };
    [claim].into_iter().chain(rest.chunks(2).enumerate().map(batch)).collect()
}

/// The same, but from every state, once faults stop, everybody must be told.
fn converging(bazaar: Participants) -> Participants {
    Participants { convergence: Some(Convergence { within: 60, lasting: Duration::ZERO, cut: Cut::Nothing }), ..bazaar }
}

fn usual() -> Participants {
    Participants::new(vec![Role::trader(), Role::trader(), Role::buyer(FISH, 1), Role::seller(FISH, 1, 0)], 8)
}

/// What all scenarios have in common.
pub(super) fn base() -> Scenario<Participants> {
    Scenario {
        name: "",
        family: Family::Trading,
        about: "",
        bounds: "",
        landmarks: Vec::new(),
        case: usual(),
        further: None,
    }
}

/// By default, and a step further.
pub(super) fn both(bazaar: Participants, budget: Budget, further: Budget) -> (Participants, Option<Participants>) {
    // More may be under way there, and it takes longer to settle.
    let slower = bazaar.convergence.map(|asked| Convergence { within: 2 * asked.within, ..asked });
    let further = Participants { convergence: slower, ..bazaar.clone() }.with(further);
    (bazaar.with(budget), Some(further))
}

pub(super) fn scenario(
    (case, further): (Participants, Option<Participants>),
    scenario: Scenario<Participants>,
) -> Scenario<Participants> {
    Scenario { case, further, ..scenario }
}

/// The scenarios of the model, in the order in which they are checked.
#[must_use]
pub fn scenarios() -> Vec<Scenario<Participants>> {
    let contending = |count| {
        let buyer = || Role::buyer(FISH, 1).eager().deaf();
        vec![Role::trader(), Role::trader(), buyer(), buyer(), Role::seller(FISH, count, 0).deaf()]
    };
    let none = Budget::default();
    // Raising any budget by one gives millions of states; such a search was stopped before it had reached its end.
    let alone = |bazaar: Participants, budget| (bazaar.with(budget), None);
    vec![
        scenario(
            both(Participants::new(contending(1), 8), Budget { stands: 2, ..none }, Budget { stands: 3, ..none }),
            Scenario {
                name: "last-unit",
                about: "two traders, two buyers, one unit of fish",
                bounds: "2 claims, so that each trader may hold the office while the other still thinks it does. Two \
                         buyers are the fewest that compete; both ask at the start, and either may be heard at any \
                         time or never. What they are told is checked and then lost.",
                landmarks: vec![
                    Landmark::SecondEpoch,
                    Landmark::TraderFenced,
                    Landmark::ClaimConflict,
                    Landmark::ClaimMetLease,
                    Landmark::ClaimFenced,
                    Landmark::Contested,
                    Landmark::Resent,
                    Landmark::FromTheBooks,
                    Landmark::Sold,
                    Landmark::Refused,
                ],
                ..base()
            },
        ),
        scenario(
            both(Participants::new(contending(1), 2), Budget { stands: 2, ..none }, Budget { stands: 3, ..none }),
            Scenario {
                name: "batches-of-two",
                about: "the same with a queue that does not fit into one batch, and a new trader that inherits it",
                bounds: "Batches of 2 records: a deposit and a request, or two requests, or one or two outcomes, so \
                         the queue is left over between batches in every possible way.",
                landmarks: vec![
                    Landmark::SecondEpoch,
                    Landmark::TraderFenced,
                    Landmark::Inherited,
                    Landmark::Split,
                    Landmark::Sold,
                    Landmark::Refused,
                    Landmark::FromTheBooks,
                ],
                ..base()
            },
        ),
        scenario(
            both(
                usual(),
                Budget { stands: 2, ledger_crashes: 1, ..none },
                Budget { stands: 3, ledger_crashes: 2, ..none },
            ),
            Scenario {
                name: "ledger-crash",
                about: "the ledger crashes at any moment; what was not durable is lost, or survives and was never \
                        answered",
                bounds: "1 crash, 2 claims: it crashes between write and sync, between sync and answer, or when idle \
                         (the lease starts afresh). One buyer suffices: a whole batch is lost, no matter whose \
                         requests are in it.",
                landmarks: vec![
                    Landmark::LostUnsynced,
                    Landmark::KeptUnanswered,
                    Landmark::Resent,
                    Landmark::SecondEpoch,
                    Landmark::TraderFenced,
                    Landmark::ClaimConflict,
                    Landmark::Sold,
                    Landmark::Refused,
                ],
                ..base()
            },
        ),
        scenario(
            both(
                usual(),
                Budget { stands: 2, crashes: 1, restarts: 1, ..none },
                Budget { stands: 3, crashes: 1, restarts: 1, ..none },
            ),
            Scenario {
                name: "trader-crash",
                about: "a trader crashes at any moment and may come back and stand for office again",
                bounds: "1 crash, 1 restart, 2 claims: its appends and its replies are still under way in its next \
                    life.",
                landmarks: vec![
                    Landmark::TraderCrashed,
                    Landmark::Restarted,
                    Landmark::LateAppend,
                    Landmark::SecondEpoch,
                    Landmark::TraderFenced,
                    Landmark::ClaimConflict,
                    Landmark::Sold,
                ],
                ..base()
            },
        ),
        scenario(
            both(usual(), Budget { stands: 2, yields: 1, ..none }, Budget { stands: 3, yields: 2, ..none }),
            Scenario {
                name: "yield",
                about: "a trader leaves at any moment, even in mid-batch, and may stand for office again",
                bounds: "1 departure, 2 claims: the second is made by the same peer or by the other one.",
                landmarks: vec![
                    Landmark::LateAppend,
                    Landmark::SecondEpoch,
                    Landmark::TraderFenced,
                    Landmark::ClaimConflict,
                    Landmark::Sold,
                ],
                ..base()
            },
        ),
        scenario(
            both(
                Participants::new(vec![Role::trader(), Role::trader(), Role::buyer(FISH, 1)], 8),
                Budget { stands: 2, renewals: 1, ..none },
                Budget { stands: 3, renewals: 2, ..none },
            ),
            Scenario {
                name: "renewals",
                about: "a trader renews its term while another claims",
                bounds: "1 renewal, 2 claims, nothing for sale: the late reply to a renewal is under way for the \
                         position of the next batch.",
                landmarks: vec![
                    Landmark::Heartbeat,
                    Landmark::Contested,
                    Landmark::SecondEpoch,
                    Landmark::TraderFenced,
                    Landmark::Refused,
                ],
                ..base()
            },
        ),
        scenario(
            both(
                usual(),
                Budget { stands: 1, renewals: 2, ledger_crashes: 1, ..none },
                Budget { stands: 2, renewals: 2, ledger_crashes: 1, ..none },
            ),
            Scenario {
                name: "renewals-crash",
                about: "a trader renews twice while the ledger crashes",
                bounds: "2 renewals, 1 crash of the ledger, 1 claim: the reply to the first renewal must settle only \
                         the first.",
                landmarks: vec![
                    Landmark::Heartbeat,
                    Landmark::LostUnsynced,
                    Landmark::KeptUnanswered,
                    Landmark::Resent,
                    Landmark::Sold,
                ],
                ..base()
            },
        ),
        scenario(
            both(
                Participants::new(
                    vec![Role::trader().immortal(), Role::buyer(FISH, 2).mortal(), Role::seller(FISH, 1, 0).mortal()],
                    8,
                ),
                Budget { stands: 1, crashes: 2, restarts: 2, asks: 1, ..none },
                Budget { stands: 1, crashes: 3, restarts: 3, asks: 1, ..none },
            ),
            Scenario {
                name: "client-restarts",
                about: "a buyer and a seller crash at any moment and come back knowing nothing",
                bounds: "2 crashes, 2 restarts, 2 requests: everything both former lives sent is under way for ever. \
                         One trader suffices: the predecessor that a request names does not depend on which trader \
                         reads it.",
                landmarks: vec![
                    Landmark::Restarted,
                    Landmark::Resumed,
                    Landmark::FromTheBooks,
                    Landmark::Sold,
                    Landmark::Refused,
                    Landmark::SoldOut,
                ],
                ..base()
            },
        ),
        scenario(
            both(
                Participants::new(
                    vec![Role::trader().immortal(), Role::trader().immortal(), Role::buyer(FISH, 2).mortal()],
                    2,
                ),
                Budget { stands: 2, crashes: 1, restarts: 1, ..none },
                Budget { stands: 2, crashes: 2, restarts: 2, ..none },
            ),
            Scenario {
                name: "buyer-restarts",
                about: "a buyer crashes and comes back between two traders",
                bounds: "1 crash, 1 restart, 2 requests, 2 claims: its former life's request is with one trader, with \
                         the other, in the books, or still under way. Nothing is for sale: what matters is the order \
                         in which requests are admitted.",
                landmarks: vec![
                    Landmark::Restarted,
                    Landmark::Resumed,
                    Landmark::SecondEpoch,
                    Landmark::TraderFenced,
                    Landmark::Refused,
                ],
                ..base()
            },
        ),
        scenario(
            both(resigning(contending(2)), Budget { stands: 2, ..none }, Budget { stands: 3, ..none }),
            Scenario {
                name: "resignation",
                about: "each trader resigns at its first sale",
                bounds: "A term of one sale, 2 claims, two buyers with one request each, a deposit of two: both are \
                         served, in two terms, and the first trader may believe that its term lasts when it is over.",
                landmarks: vec![
                    Landmark::Resigned,
                    Landmark::Inherited,
                    Landmark::SecondEpoch,
                    Landmark::Sold,
                    Landmark::FromTheBooks,
                ],
                ..base()
            },
        ),
        scenario(
            both(
                Participants::new(
                    vec![
                        Role::trader(),
                        Role::buyer(FISH, 1).eager().deaf(),
                        Role::buyer(FISH_THEN_SALT, 2),
                        Role::seller(FISH_THEN_SALT, 1, 1),
                    ],
                    8,
                ),
                Budget { stands: 1, ..none },
                Budget { stands: 1, asks: 1, ..none },
            ),
            Scenario {
                name: "restocking",
                about: "a seller whose fish is sold out deposits salt",
                bounds: "One trader, three requests from two buyers, one unit of fish, then one of salt: a buyer finds \
                         stock, no stock, and other stock.",
                landmarks: vec![Landmark::SoldOut, Landmark::DepositedAgain, Landmark::Sold, Landmark::Refused],
                ..base()
            },
        ),
        scenario(
            both(
                Participants::new(
                    vec![Role::trader(), Role::buyer(FISH, 1), Role::buyer(FISH, 1), Role::seller(FISH, 1, 0)],
                    2,
                ),
                Budget { stands: 1, ticks: 1, ..none },
                Budget { stands: 1, ticks: 3, ..none },
            ),
            Scenario {
                name: "stamps",
                about: "two buyers whose clocks drift apart; the trader serves by stamp, not by arrival",
                bounds: "Batches of 2 records, 1 claim, and one clock that rises spontaneously: either buyer's request \
                         may have the smaller stamp, or both have the same reading.",
                landmarks: vec![Landmark::Split, Landmark::Sold, Landmark::Refused, Landmark::SoldOut],
                ..base()
            },
        ),
        scenario(
            both(
                Participants::new(
                    vec![
                        Role::trader(),
                        Role::buyer(FISH, 2).by(2),
                        Role::seller(FISH, 1, 0).deaf(),
                        Role::seller(FISH, 4, 0).deaf(),
                        Role::seller(FISH, 3, 0).deaf(),
                    ],
                    8,
                ),
                Budget { stands: 1, ticks: 1, ..none },
                Budget { stands: 2, ticks: 1, ..none },
            ),
            Scenario {
                name: "sellers",
                about: "a buyer of two units at a time and three sellers: of the sellers with enough stock, the one \
                        with the smallest clock sells, the whole quantity or nothing",
                bounds: "Two requests, deposits of 1, 4 and 3: the first seller never has enough; the first sale \
                         raises the second seller's clock, so the next sale is the third's; any deposit may come late.",
                landmarks: vec![Landmark::Sold, Landmark::Refused, Landmark::FromTheBooks],
                ..base()
            },
        ),
        scenario(
            both(
                Participants::new(vec![Role::trader(), Role::both(FISH, 1, 1), Role::buyer(FISH, 1).eager().deaf()], 8),
                Budget { stands: 1, ..none },
                Budget { stands: 1, ticks: 2, ..none },
            ),
            Scenario {
                name: "own-stock",
                about: "the only seller of fish also wants one",
                bounds: "Its request is refused and the other buyer's is not: no peer buys from itself.",
                landmarks: vec![Landmark::Sold, Landmark::Refused],
                ..base()
            },
        ),
        scenario(
            both(
                Participants::new([vec![Role::trader()], vec![Role::buyer(FISH, 1).eager().deaf(); 3]].concat(), 3),
                Budget { stands: 1, renewals: 1, ..none },
                Budget { stands: 2, renewals: 1, ..none },
            ),
            Scenario {
                name: "three-buyers",
                about: "three buyers and batches of three: one request waits while another is admitted",
                bounds: "1 claim, 1 renewal, nothing for sale: what matters is which requests are admitted when part \
                         of the queue is left over.",
                landmarks: vec![Landmark::Split, Landmark::Refused],
                ..base()
            },
        ),
        scenario(
            both(
                Participants {
                    prologue: inheritance(3),
                    ..Participants::new(vec![Role::trader(), Role::trader(), Role::buyer(FISH, 1).eager()], 2)
                },
                Budget { stands: 2, ..none },
                Budget { stands: 3, renewals: 1, ..none },
            ),
            Scenario {
                name: "inheritance",
                about: "a new trader finds more requests waiting than a batch holds, and a buyer adds another",
                bounds: "3 requests of a former term, batches of 2, 2 claims: nothing may be admitted before all 3 \
                         have their outcomes, whichever trader decides them.",
                landmarks: vec![Landmark::Inherited, Landmark::Split, Landmark::SecondEpoch, Landmark::Refused],
                ..base()
            },
        ),
        scenario(
            both(
                Participants::new(vec![Role::trader(), Role::buyer(FISH, 2), Role::seller(FISH, 2, 0)], 8),
                Budget { stands: 1, asks: 1, ..none },
                Budget { stands: 2, asks: 1, ..none },
            ),
            Scenario {
                name: "out-of-order",
                about: "a buyer and a seller are told of two sales, the later one first, or the earlier one again",
                bounds: "2 requests, a deposit of two, 1 question: everything a client was ever told is under way for \
                         ever.",
                landmarks: vec![Landmark::Sold, Landmark::SoldOut, Landmark::FromTheBooks],
                ..base()
            },
        ),
        scenario(
            both(
                Participants {
                    keeps_all: true,
                    ..Participants::new(vec![Role::trader(), Role::trader(), Role::buyer(FISH, 1).eager().deaf()], 8)
                },
                Budget { stands: 2, yields: 1, ..none },
                Budget { stands: 2, yields: 2, ..none },
            ),
            Scenario {
                name: "old-calls",
                about: "everything that two traders and the ledger ever sent each other may arrive again at any time",
                bounds: "2 claims, 1 departure, nothing for sale: a batch of the first term arrives when the second is \
                         claimed, is over, or is held by the same peer.",
                landmarks: vec![Landmark::SecondEpoch, Landmark::TraderFenced, Landmark::LateAppend, Landmark::Refused],
                ..base()
            },
        ),
        scenario(
            both(
                Participants {
                    keeps_all: true,
                    ..Participants::new(vec![Role::trader(), Role::buyer(FISH, 1), Role::seller(FISH, 1, 0)], 8)
                },
                Budget { stands: 1, renewals: 1, ..none },
                Budget { stands: 1, renewals: 1, ledger_crashes: 1, ..none },
            ),
            Scenario {
                name: "late-copies",
                about: "a trader's batches reach the ledger again, long after they were appended",
                bounds: "1 claim, 1 renewal: every batch of the term stays under way for ever.",
                landmarks: vec![Landmark::Resent, Landmark::Sold, Landmark::Refused],
                ..base()
            },
        ),
        scenario(
            both(
                Participants::new(
                    vec![
                        Role::seller(FISH, 2, 0).and_trader().deaf(),
                        Role::buyer(FISH, 1).and_trader().eager().deaf(),
                        Role::buyer(FISH, 1).eager().deaf(),
                    ],
                    2,
                ),
                Budget { stands: 2, renewals: 1, ..none },
                Budget { stands: 2, renewals: 1, yields: 1, ..none },
            ),
            Scenario {
                name: "trader-trades",
                about: "peers that can hold the office also buy and sell while out of office",
                bounds: "2 claims, 1 renewal, batches of 2 records: a seller takes office with its own stock in the \
                         books, a buyer with its own request in the queue.",
                landmarks: vec![Landmark::ServedItself, Landmark::Inherited, Landmark::SecondEpoch, Landmark::Refused],
                ..base()
            },
        ),
        scenario(
            both(
                Participants::new(vec![Role::trader(), Role::buyer(FISH_THEN_SALT, 2).and_trader()], 8),
                Budget { stands: 2, ..none },
                Budget { stands: 3, yields: 1, ..none },
            ),
            Scenario {
                name: "buyer-in-office",
                about: "a buyer takes office while it chooses what it wants, or asks for it",
                bounds: "2 claims, 2 requests, nothing for sale: it is in office when it is due to choose or is told \
                         something.",
                landmarks: vec![Landmark::SecondEpoch, Landmark::Refused, Landmark::TraderFenced],
                ..base()
            },
        ),
        scenario(
            both(
                Participants::new(
                    vec![
                        Role::trader(),
                        Role::seller(FISH_THEN_SALT, 1, 1).and_trader(),
                        Role::buyer(FISH, 1).eager().deaf(),
                    ],
                    8,
                ),
                Budget { stands: 2, asks: 1, ..none },
                Budget { stands: 2, asks: 1, yields: 1, ..none },
            ),
            Scenario {
                name: "seller-in-office",
                about: "a seller takes office while it deposits, sells or chooses what to deposit next",
                bounds: "2 claims, 1 request, 2 deposits, 1 question: it is in office when it is due to choose, when \
                         it is told something or when its timer fires.",
                landmarks: vec![Landmark::SecondEpoch, Landmark::Sold, Landmark::Refused, Landmark::SoldOut],
                ..base()
            },
        ),
        scenario(
            both(usual(), Budget { stands: 2, snapshots: 1, ..none }, Budget { stands: 3, snapshots: 2, ..none }),
            Scenario {
                name: "snapshot",
                about: "the second trader reads the books from a snapshot and from the records after it",
                bounds: "1 snapshot at any moment, 2 claims: the snapshot ends before, at or after what has been read.",
                landmarks: vec![Landmark::ReadSnapshot, Landmark::SecondEpoch, Landmark::Sold, Landmark::TraderFenced],
                ..base()
            },
        ),
        scenario(
            alone(usual(), Budget { stands: 2, crashes: 1, restarts: 1, ledger_crashes: 1, ..none }),
            Scenario {
                name: "comeback",
                about: "a trader crashes and comes back while another takes over and the ledger crashes",
                bounds: "2 claims, 1 crash of a trader, 1 restart, 1 crash of the ledger: the former term's batch is \
                         lost, kept or late, whichever peer claims next, including the next life of its writer.",
                landmarks: vec![
                    Landmark::TraderCrashed,
                    Landmark::Restarted,
                    Landmark::LostUnsynced,
                    Landmark::KeptUnanswered,
                    Landmark::LateAppend,
                    Landmark::SecondEpoch,
                    Landmark::TraderFenced,
                ],
                ..base()
            },
        ),
        scenario(
            alone(resigning(contending(2)), Budget { stands: 2, ledger_crashes: 1, ..none }),
            Scenario {
                name: "resignation-crash",
                about: "traders resign with a queue left, and the ledger crashes",
                bounds: "A term of one sale, two requests, 2 claims, 1 crash of the ledger: the last sale and the \
                         resignation are lost together, or kept together and never answered.",
                landmarks: vec![
                    Landmark::Resigned,
                    Landmark::Inherited,
                    Landmark::LostUnsynced,
                    Landmark::KeptUnanswered,
                    Landmark::Resent,
                    Landmark::SecondEpoch,
                ],
                ..base()
            },
        ),
        scenario(
            alone(usual(), Budget { stands: 2, snapshots: 1, ledger_crashes: 1, ..none }),
            Scenario {
                name: "snapshot-crash",
                about: "the second trader reads a snapshot of a ledger that crashes",
                bounds: "1 snapshot, 2 claims, 1 crash of the ledger: a snapshot must hold nothing that a crash can \
                         lose.",
                landmarks: vec![
                    Landmark::ReadSnapshot,
                    Landmark::LostUnsynced,
                    Landmark::KeptUnanswered,
                    Landmark::SecondEpoch,
                ],
                ..base()
            },
        ),
        scenario(
            both(
                Participants {
                    limits: Limits { waiting_calls: 1, ..Limits::DEFAULT },
                    ..Participants::new(vec![Role::trader(), Role::trader(), Role::buyer(FISH, 1).eager().deaf()], 8)
                },
                Budget { stands: 2, renewals: 1, ledger_crashes: 1, ..none },
                Budget { stands: 3, renewals: 1, ledger_crashes: 1, ..none },
            ),
            Scenario {
                name: "waiting-calls",
                about: "appends reach the ledger while it writes: one waits there, another finds no room",
                bounds: "Room for 1 call, 2 claims, 1 renewal, 1 crash of the ledger, nothing for sale: a waiting call \
                         is answered together with the write, from what is durable then, or is lost with the crash.",
                landmarks: vec![
                    Landmark::CallWaited,
                    Landmark::CallDropped,
                    Landmark::ClaimConflict,
                    Landmark::TraderFenced,
                    Landmark::LostUnsynced,
                    Landmark::Refused,
                ],
                ..base()
            },
        ),
        scenario(
            both(
                converging(Participants::new(
                    vec![Role::trader().immortal(), Role::buyer(FISH, 2).mortal(), Role::buyer(FISH, 1).eager().deaf()],
                    2,
                )),
                Budget { stands: 1, renewals: 1, crashes: 1, restarts: 1, ..none },
                Budget { stands: 1, renewals: 1, crashes: 2, restarts: 2, ..none },
            ),
            Scenario {
                name: "former-request",
                about: "a buyer crashes while its request waits, and wants something else when it comes back",
                bounds: "2 requests and another buyer's, batches of 2, 1 renewal (behind which both requests enter one \
                         batch and wait for the next), 1 crash, 1 restart: the buyer is told which request waits, and \
                         asks for nothing else meanwhile.",
                landmarks: vec![Landmark::ResumedRequest, Landmark::Split, Landmark::Restarted, Landmark::Refused],
                ..base()
            },
        ),
        scenario(
            both(
                Participants {
                    slow_reads: true,
                    limits: Limits { chunk_weight: 1, ..SMALL },
                    prologue: inheritance(1),
                    ..Participants::new(vec![Role::trader(), Role::trader()], 8)
                },
                Budget { stands: 2, snapshots: 2, ..none },
                Budget { stands: 2, snapshots: 2, renewals: 1, ..none },
            ),
            Scenario {
                name: "snapshot-chunks",
                about: "a new trader reads a snapshot in several chunks while the log grows and another snapshot is \
                        taken",
                bounds: "Chunks of one entry each, 2 snapshots, 2 claims: chunks of both snapshots, and records that \
                         neither snapshot holds, are under way together, in any order.",
                landmarks: vec![
                    Landmark::SeveralChunks,
                    Landmark::OtherSnapshot,
                    Landmark::SecondEpoch,
                    Landmark::ClaimConflict,
                ],
                ..base()
            },
        ),
        scenario(
            both(
                Participants {
                    slow_reads: true,
                    limits: Limits { read_records: 1, ..SMALL },
                    ..Participants::new(vec![Role::trader(), Role::trader(), Role::buyer(FISH, 1).eager().deaf()], 8)
                },
                Budget { stands: 2, ..none },
                Budget { stands: 2, renewals: 1, ..none },
            ),
            Scenario {
                name: "reads-cut",
                about: "a new trader reads the log one record at a time while the log grows",
                bounds: "1 record per answer, 2 claims: it has read some of the log, most of it or all, and old \
                         answers come again.",
                landmarks: vec![
                    Landmark::CutRead,
                    Landmark::SecondEpoch,
                    Landmark::ClaimConflict,
                    Landmark::TraderFenced,
                ],
                ..base()
            },
        ),
        scenario(
            both(
                converging(Participants {
                    limits: Limits { sales_kept: 1, ..SMALL },
                    ..Participants::new(vec![Role::trader(), Role::buyer(FISH, 3), Role::seller(FISH, 3, 0)], 8)
                }),
                Budget { stands: 1, asks: 1, ..none },
                Budget { stands: 2, asks: 1, ..none },
            ),
            Scenario {
                name: "sales-missed",
                about: "a seller misses more sales than the trader keeps in order to repeat them",
                bounds: "1 sale kept, 3 sales, 1 question: it is first told of the second or the third sale, with or \
                         without the ones before.",
                landmarks: vec![Landmark::MissedTooMuch, Landmark::Sold, Landmark::SoldOut],
                ..base()
            },
        ),
        scenario(
            both(
                converging(Participants {
                    limits: Limits { sales_kept: 1, ..SMALL },
                    ..Participants::new(
                        vec![
                            Role::trader(),
                            Role::buyer(FISH, 1).eager().deaf(),
                            Role::buyer(FISH, 1).eager().deaf(),
                            Role::seller(FISH, 2, 0),
                        ],
                        8,
                    )
                }),
                Budget { stands: 1, ..none },
                Budget { stands: 1, asks: 1, ..none },
            ),
            Scenario {
                name: "sales-together",
                about: "a batch makes more sales of one seller than the trader keeps in order to repeat them",
                bounds: "1 sale kept, 2 sales, in one batch or in two, with the deposit or after it: the seller is \
                         told of both.",
                landmarks: vec![Landmark::ToldMoreThanKept, Landmark::Sold, Landmark::SoldOut],
                ..base()
            },
        ),
        scenario(
            both(
                converging(Participants::new(
                    vec![
                        Role::trader(),
                        Role::buyer(FISH, 2).by(2),
                        Role::buyer(FISH, 1).eager().deaf(),
                        Role::seller(FISH, 3, 0),
                    ],
                    8,
                )),
                Budget { stands: 1, ..none },
                Budget { stands: 1, asks: 1, ..none },
            ),
            Scenario {
                name: "leftovers",
                about: "a buyer of two units at a time finds one left of a deposit of three, and its seller brings \
                        more",
                bounds: "Two requests for two and one for one: the seller is told that too little is left, while the \
                         rest is or is not sold to the other buyer before its next deposit is booked.",
                landmarks: vec![
                    Landmark::LeftOver,
                    Landmark::DepositedAgain,
                    Landmark::Sold,
                    Landmark::Refused,
                    Landmark::SoldOut,
                ],
                ..base()
            },
        ),
        scenario(
            both(
                converging(Participants::new(
                    vec![Role::trader().immortal(), Role::buyer(FISH, 2).by(2), Role::seller(FISH, 3, 0).mortal()],
                    8,
                )),
                Budget { stands: 1, crashes: 1, restarts: 1, ..none },
                Budget { stands: 1, crashes: 2, restarts: 2, ..none },
            ),
            Scenario {
                name: "leftover-restart",
                about: "a seller crashes while it takes back what is left of a deposit",
                bounds: "1 crash, 1 restart: its next deposit is under way, booked, or decided a second time by a life \
                         that knows nothing; one of them counts.",
                landmarks: vec![Landmark::LeftOver, Landmark::Restarted, Landmark::Resumed, Landmark::Sold],
                ..base()
            },
        ),
        scenario(
            both(
                converging(usual()),
                Budget { stands: 2, ..none },
                Budget { stands: 2, yields: 1, crashes: 1, ..none },
            ),
            Scenario {
                name: "told",
                about: "from every state, once faults stop, every accepted request gets an outcome and everybody is \
                        told",
                bounds: "2 claims: faults stop in mid-batch, between the sale and the message, or when either trader \
                         lags behind the other.",
                landmarks: vec![Landmark::SecondEpoch, Landmark::TraderFenced, Landmark::Sold, Landmark::Refused],
                ..base()
            },
        ),
        scenario(
            both(
                converging(Participants::new(
                    vec![
                        Role::trader(),
                        Role::buyer(FISH, 2),
                        Role::buyer(FISH, 1).eager().deaf(),
                        Role::seller(FISH, 1, 0).deaf(),
                    ],
                    2,
                )),
                Budget { stands: 1, ..none },
                Budget { stands: 2, ..none },
            ),
            Scenario {
                name: "told-twice",
                about: "a buyer that makes two requests is told of both outcomes, though old messages about the first \
                        come late",
                bounds: "2 requests and another buyer's, batches of 2: it is told that its request waits and how it \
                         ended, in any order and repeatedly.",
                landmarks: vec![Landmark::Split, Landmark::Sold, Landmark::Refused],
                ..base()
            },
        ),
        scenario(
            both(
                converging(Participants::new(
                    vec![Role::trader().immortal(), Role::buyer(FISH, 1).mortal(), Role::seller(FISH, 1, 0).mortal()],
                    8,
                )),
                Budget { stands: 1, crashes: 1, restarts: 1, ledger_crashes: 1, ..none },
                Budget { stands: 1, crashes: 2, restarts: 2, ledger_crashes: 1, ..none },
            ),
            Scenario {
                name: "told-after-crashes",
                about: "the same when a client or the ledger has crashed: a client that is back is told",
                bounds: "1 crash of a client, 1 of the ledger: the outcome may belong to a request that the present \
                         life never made.",
                landmarks: vec![Landmark::Restarted, Landmark::LostUnsynced, Landmark::KeptUnanswered, Landmark::Sold],
                ..base()
            },
        ),
    ]
}
