//! Trading: `Office` with its `Trader`, `Buyer`, `Seller` and `Ledger`, under adversarial leadership.
//!
//! Nobody elects. The adversary makes any peer that can hold the office stand or yield at any moment, and a client's
//! message reaches whoever holds it, thinks it does, or held it. So trading is safe whoever thinks it leads: S1-S8 and
//! S11-S13 in every state, and B6 and B7 with them; and L2 from every state of the small scenarios.

use std::time::Duration;

use bazaar_protocol::{
    clock::{Stamp, Time},
    config::{Limits, Terms},
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

const FISH: &[Item] = &[Item::FISH];
const FISH_THEN_SALT: &[Item] = &[Item::FISH, Item::SALT];

/// No call waits in the ledger.
const SMALL: Limits = Limits { waiting_calls: 0, ..Limits::DEFAULT };

/// Traders that resign after their first sale.
fn resigning(cast: Vec<Role>) -> Participants {
    let bazaar = Participants::new(cast, 8);
    let terms = Terms { resign_after: 1, ..bazaar.terms };
    Participants { terms, ..bazaar }
}

/// A former trader has left so many requests of people who are not there any more.
pub(crate) fn inheritance(requests: u64) -> Vec<Batch> {
    let former = Life { peer: PeerId(1_000), incarnation: Incarnation(1) };
    let epoch = Epoch(1);
    let record = |time, entry| Record { stamp: Stamp { time: Time(time), peer: former.peer }, entry };
    let admitted = |nth: u64| {
        let buyer = PeerId(1_000 + nth as u32);
        let id = RequestId { buyer, sequence: Sequence(1) };
        let stamp = Stamp { time: Time(2), peer: buyer };
        let request = Request { id, previous: None, item: Item::FISH, quantity: Units(1), stamp };
        record(2 + nth, Entry::Admitted(request))
    };
    let claim =
        Batch { epoch, position: Position(0), records: vec![record(2, Entry::Claimed { epoch, holder: former })] };
    let mut rest: Vec<Record> = (1..=requests).map(admitted).collect();
    rest.push(record(3 + requests, Entry::Resigned));
    // In batches that any limit allows.
    let batch = |(nth, records): (usize, &[Record])| Batch {
        epoch,
        position: Position(1).plus(2 * nth),
        records: records.to_vec(),
    };
    [claim].into_iter().chain(rest.chunks(2).enumerate().map(batch)).collect()
}

/// Once faults stop, everybody is told.
fn converging(bazaar: Participants) -> Participants {
    Participants { convergence: Some(Convergence { within: 60, lasting: Duration::ZERO, cut: Cut::Nothing }), ..bazaar }
}

/// The scenarios.
#[must_use]
pub fn scenarios() -> Vec<Scenario<Participants>> {
    let usual =
        || Participants::new(vec![Role::trader(), Role::trader(), Role::buyer(FISH, 1), Role::seller(FISH, 1, 0)], 8);
    let contending = |count| {
        let buyer = || Role::buyer(FISH, 1).eager().deaf();
        vec![Role::trader(), Role::trader(), buyer(), buyer(), Role::seller(FISH, count, 0).deaf()]
    };
    let base = || Scenario {
        name: "",
        family: Family::Trading,
        about: "",
        bounds: "",
        landmarks: Vec::new(),
        case: usual(),
        further: None,
    };
    let none = Budget::default();
    let case = |bazaar: Participants, budget| bazaar.with(budget);
    let both = |bazaar: Participants, budget, further| {
        // More may be under way there, and takes longer to settle.
        let slower = bazaar.convergence.map(|asked| Convergence { within: 2 * asked.within, ..asked });
        let further = Some(case(Participants { convergence: slower, ..bazaar.clone() }, further));
        (case(bazaar, budget), further)
    };
    // What one more of anything makes of it is millions of states, and was not the end.
    let alone = |bazaar: Participants, budget| (case(bazaar, budget), None);
    let scenario = |(case, further), scenario: Scenario<Participants>| Scenario { case, further, ..scenario };
    vec![
        scenario(
            both(Participants::new(contending(1), 8), Budget { stands: 2, ..none }, Budget { stands: 3, ..none }),
            Scenario {
                name: "last-unit",
                about: "two traders, two buyers, one unit of fish",
                bounds: "2 claims, so that each trader may hold the office while the other still thinks it does. Two \
                         buyers are the fewest that contend; both ask at the start, and who is heard when, if at all, \
                         is free. What they are told is checked and then lost.",
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
                about: "the same with a queue that does not fit a batch, and a new trader that inherits it",
                bounds: "Batches of 2 records: a deposit and a request, or two requests, or an outcome or two, so the \
                         queue is left over between batches in all ways there are.",
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
                about: "the ledger crashes at any moment; what was not durable is lost, or stays and was never \
                    answered",
                bounds: "1 crash, 2 claims: between write and sync, between sync and answer, and when idle (the lease \
                         starts afresh). One buyer: what is lost is a batch, whoever is in it.",
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
                about: "a trader crashes at any moment, may come back and stand again",
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
                about: "a trader leaves at any moment, in mid-batch too, and may stand again",
                bounds: "1 departure, 2 claims: by the same peer, or by the other one.",
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
                bounds: "1 renewal, 2 claims, nothing for sale: a renewal's late reply is under way at the position of \
                         the next batch.",
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
                bounds: "2 renewals, 1 crash of the ledger, 1 claim: the reply of the first may settle nothing but the \
                         first.",
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
                bounds: "2 crashes, 2 restarts, 2 requests: what both former lives have sent is under way for ever. \
                         One trader: the predecessor that a request names does not depend on who reads it.",
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
                         the other, in the books, or nowhere but on its way. Nothing is for sale: what counts is which \
                         request was admitted after which.",
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
                bounds: "A term of one sale, 2 claims, two buyers with a request each, a deposit of two: both are \
                         served, in two terms, and the first that is over may still be thought to last.",
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
                bounds: "One trader, three requests of two buyers, one unit of fish, then one of salt: a buyer meets \
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
                about: "two buyers whose clocks run apart; the trader serves by stamp, not by arrival",
                bounds: "Batches of 2 records, 1 claim, and a clock that rises by itself once: either buyer's request \
                         may have the smaller stamp, or both the same.",
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
                about: "a buyer of two at a time and three sellers: the smallest clock that can sells, whole or not at \
                    all",
                bounds: "Two requests, deposits of 1, 4 and 3: the first seller never has enough, the first sale \
                         raises the second's clock, so the next is the third's; any deposit may come late.",
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
                about: "the only one who sells fish wants one as well",
                bounds: "Its request is refused, the other buyer's is not: nobody buys from itself.",
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
                about: "three buyers and batches of three: one waits while another is admitted",
                bounds: "1 claim, 1 renewal, nothing for sale: what counts is who is admitted when, beside a queue \
                         that is left over.",
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
                about: "a new trader finds more waiting than a batch holds, and somebody asks for more",
                bounds: "3 requests of a former term, batches of 2, 2 claims: nothing may be admitted before all 3 \
                         have their outcomes, whoever gives them.",
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
                bounds: "2 requests, a deposit of two, 1 question: all that was ever told is under way for ever.",
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
                about: "what two traders have ever sent to the ledger, and it to them, comes again at any time",
                bounds: "2 claims, 1 departure, nothing for sale: a batch of the first term comes when the second is \
                         claimed, over, or taken up by the same peer.",
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
                about: "a trader's batches come to the ledger again, long after they were appended",
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
                about: "those that can hold the office buy and sell as well, out of office",
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
                bounds: "2 claims, 2 requests, nothing for sale: it is in office when it should choose or is told \
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
                bounds: "2 claims, 1 request, 2 deposits, 1 question: it is in office when it should choose, is told \
                         something or has its timer fire.",
                landmarks: vec![Landmark::SecondEpoch, Landmark::Sold, Landmark::Refused, Landmark::SoldOut],
                ..base()
            },
        ),
        scenario(
            both(usual(), Budget { stands: 2, snapshots: 1, ..none }, Budget { stands: 3, snapshots: 2, ..none }),
            Scenario {
                name: "snapshot",
                about: "the second trader reads the books from a snapshot and the records after it",
                bounds: "1 snapshot at any moment, 2 claims: the snapshot stands before, at or behind what has been \
                    read.",
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
                         lost, kept or late, whoever claims next, the next life of its writer among them.",
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
                bounds: "1 snapshot, 2 claims, 1 crash of the ledger: a snapshot holds nothing that a crash takes.",
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
                about: "appends come to the ledger while it writes: one waits there, another finds no room",
                bounds: "Room for 1 call, 2 claims, 1 renewal, 1 crash of the ledger, nothing for sale: what waits is \
                         answered when the write is, from what is durable then, or goes with the crash.",
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
                about: "a buyer crashes while its request waits, and wants something else when it is back",
                bounds: "2 requests beside another buyer's, batches of 2, 1 renewal (behind which both come into one \
                         batch, so that they wait for the next), 1 crash, 1 restart: it is told of what waits, and \
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
                about: "a new trader reads a snapshot in several chunks while the log goes on and another snapshot is \
                    taken",
                bounds: "Parts of one entry each, 2 snapshots, 2 claims: parts of both snapshots are under way \
                         together, in any order, and records that neither holds.",
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
                about: "a new trader reads the log one record at a time while that goes on",
                bounds: "1 record an answer, 2 claims: it has read some of the log, most of it or all, and old answers \
                    come again.",
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
                about: "a seller misses more sales than are kept to be told again",
                bounds: "1 sale kept, 3 sales, 1 question: it is told of the second or the third first, with or \
                    without what came before.",
                landmarks: vec![Landmark::MissedTooMuch, Landmark::Sold, Landmark::SoldOut],
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
                about: "from every state, once faults stop, what was accepted has an outcome and everybody is told",
                bounds: "2 claims: in mid-batch, between the sale and the message, with either trader behind the \
                    other.",
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
                about: "a buyer that wants something twice is told of both, though old words about the first come late",
                bounds: "2 requests beside another buyer's, batches of 2: it is told that its request waits, and how \
                         it ended, in any order and again.",
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
                about: "the same when a client or the ledger has crashed: who is back is told",
                bounds: "1 crash of a client, 1 of the ledger: the outcome may be of a request that the present life \
                         never made.",
                landmarks: vec![Landmark::Restarted, Landmark::LostUnsynced, Landmark::KeptUnanswered, Landmark::Sold],
                ..base()
            },
        ),
    ]
}
