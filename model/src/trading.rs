//! Trading: `Office` with its `Trader`, `Buyer`, `Seller` and `Ledger`, under adversarial leadership.
//!
//! Nobody elects. The adversary makes any peer that can hold the office stand or yield at any moment, and a client's
//! message reaches whoever holds it, thinks it does, or held it. So trading is safe whoever thinks it leads: S1-S8 and
//! S11-S13 in every state, and B6 and B7 with them; and L2 from every state of the small scenarios.

use std::time::Duration;

use protocol::{
    clock::{Stamp, Time},
    config::Terms,
    id::{Epoch, Incarnation, Item, Life, PeerId, Position, RequestId, Sequence, Units},
    record::{Batch, Entry, Record, Request},
};

use crate::{
    bazaar::{Bazaar, Budget, Convergence, Cut, Role},
    scenario::{Case, Family, Scenario},
    sighting::Sighting,
};

const FISH: &[Item] = &[Item::FISH];
const FISH_THEN_SALT: &[Item] = &[Item::FISH, Item::SALT];

/// Traders that resign after their first sale.
fn resigning(cast: Vec<Role>) -> Bazaar {
    let bazaar = Bazaar::new(cast, 8);
    let terms = Terms { resign_after: 1, ..bazaar.terms };
    Bazaar { terms, ..bazaar }
}

/// A former trader has left so many requests of people who are not there any more.
fn inheritance(requests: u64) -> Vec<Batch> {
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
    let claim = record(2, Entry::Claimed { epoch, holder: former });
    let resigned = record(3 + requests, Entry::Resigned);
    let records = [claim].into_iter().chain((1..=requests).map(admitted)).chain([resigned]);
    // One a batch: that is within any limit.
    let batch = |(position, record)| Batch { epoch, position: Position(position), records: vec![record] };
    (0..).zip(records).map(batch).collect()
}

/// Once faults stop, everybody is told.
fn converging(bazaar: Bazaar) -> Bazaar {
    Bazaar { convergence: Some(Convergence { within: 60, lasting: Duration::ZERO, cut: Cut::Nothing }), ..bazaar }
}

/// The scenarios.
#[must_use]
pub fn scenarios() -> Vec<Scenario> {
    let usual = || Bazaar::new(vec![Role::trader(), Role::trader(), Role::buyer(FISH, 1), Role::seller(FISH, 1, 0)], 8);
    let contending = |count| {
        let buyer = || Role::buyer(FISH, 1).eager().deaf();
        vec![Role::trader(), Role::trader(), buyer(), buyer(), Role::seller(FISH, count, 0).deaf()]
    };
    let base = || Scenario {
        name: "",
        family: Family::Trading,
        about: "",
        bounds: "",
        sightings: Vec::new(),
        case: Case::Bazaar(usual()),
        further: None,
    };
    let none = Budget::default();
    let case = |bazaar: Bazaar, budget| Case::Bazaar(bazaar.with(budget));
    let both = |bazaar: Bazaar, budget, further| {
        // More may be under way there, and takes longer to settle.
        let slower = bazaar.convergence.map(|asked| Convergence { within: 2 * asked.within, ..asked });
        let further = Some(case(Bazaar { convergence: slower, ..bazaar.clone() }, further));
        (case(bazaar, budget), further)
    };
    let scenario = |(case, further), scenario: Scenario| Scenario { case, further, ..scenario };
    vec![
        scenario(
            both(Bazaar::new(contending(1), 8), Budget { stands: 2, ..none }, Budget { stands: 3, ..none }),
            Scenario {
                name: "last-unit",
                about: "two traders, two buyers, one unit of fish",
                bounds: "2 claims, so that each trader may hold the office while the other still thinks it does. Two \
                         buyers are the fewest that contend; both ask at the start, and who is heard when, if at all, is \
                         free. What they are told is checked and then lost.",
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
                ..base()
            },
        ),
        scenario(
            both(Bazaar::new(contending(1), 2), Budget { stands: 2, ..none }, Budget { stands: 3, ..none }),
            Scenario {
                name: "batches-of-two",
                about: "the same with a queue that does not fit a batch, and a new trader that inherits it",
                bounds: "Batches of 2 records: a deposit and a request, or two requests, or an outcome or two, so the \
                         queue is left over between batches in all ways there are.",
                sightings: vec![
                    Sighting::SecondEpoch,
                    Sighting::TraderFenced,
                    Sighting::Inherited,
                    Sighting::Split,
                    Sighting::Sold,
                    Sighting::Refused,
                    Sighting::FromTheBooks,
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
                about: "the ledger crashes at any moment; what was not durable is lost, or stays and was never answered",
                bounds: "1 crash, 2 claims: between write and sync, between sync and answer, and when idle (the lease \
                         starts afresh). One buyer: what is lost is a batch, whoever is in it.",
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
                bounds: "1 crash, 1 restart, 2 claims: its appends and its replies are still under way in its next life.",
                sightings: vec![
                    Sighting::TraderCrashed,
                    Sighting::Restarted,
                    Sighting::LateAppend,
                    Sighting::SecondEpoch,
                    Sighting::TraderFenced,
                    Sighting::ClaimConflict,
                    Sighting::Sold,
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
                sightings: vec![
                    Sighting::LateAppend,
                    Sighting::SecondEpoch,
                    Sighting::TraderFenced,
                    Sighting::ClaimConflict,
                    Sighting::Sold,
                ],
                ..base()
            },
        ),
        scenario(
            both(
                Bazaar::new(vec![Role::trader(), Role::trader(), Role::buyer(FISH, 1)], 8),
                Budget { stands: 2, renewals: 1, ..none },
                Budget { stands: 3, renewals: 2, ..none },
            ),
            Scenario {
                name: "renewals",
                about: "a trader renews its term while another claims",
                bounds: "1 renewal, 2 claims, nothing for sale: a renewal's late reply is under way at the position of the \
                         next batch.",
                sightings: vec![
                    Sighting::Heartbeat,
                    Sighting::Contested,
                    Sighting::SecondEpoch,
                    Sighting::TraderFenced,
                    Sighting::Refused,
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
                sightings: vec![
                    Sighting::Heartbeat,
                    Sighting::LostUnsynced,
                    Sighting::KeptUnanswered,
                    Sighting::Resent,
                    Sighting::Sold,
                ],
                ..base()
            },
        ),
        scenario(
            both(
                Bazaar::new(
                    vec![Role::trader().immortal(), Role::buyer(FISH, 2).mortal(), Role::seller(FISH, 1, 0).mortal()],
                    8,
                ),
                Budget { stands: 1, crashes: 2, restarts: 2, asks: 1, ..none },
                Budget { stands: 1, crashes: 3, restarts: 3, asks: 1, ..none },
            ),
            Scenario {
                name: "client-restarts",
                about: "a buyer and a seller crash at any moment and come back knowing nothing",
                bounds: "2 crashes, 2 restarts, 2 requests: what both former lives have sent is under way for ever. One \
                         trader: the predecessor that a request names does not depend on who reads it.",
                sightings: vec![
                    Sighting::Restarted,
                    Sighting::Resumed,
                    Sighting::FromTheBooks,
                    Sighting::Sold,
                    Sighting::Refused,
                    Sighting::SoldOut,
                ],
                ..base()
            },
        ),
        scenario(
            both(
                Bazaar::new(
                    vec![Role::trader().immortal(), Role::trader().immortal(), Role::buyer(FISH, 2).mortal()],
                    2,
                ),
                Budget { stands: 2, crashes: 1, restarts: 1, ..none },
                Budget { stands: 2, crashes: 2, restarts: 2, ..none },
            ),
            Scenario {
                name: "buyer-restarts",
                about: "a buyer crashes and comes back between two traders",
                bounds: "1 crash, 1 restart, 2 requests, 2 claims: its former life's request is with one trader, \
                         with the other, in the books, or nowhere but on its way. Nothing is for sale: what counts is which \
                         request was admitted after which.",
                sightings: vec![
                    Sighting::Restarted,
                    Sighting::Resumed,
                    Sighting::SecondEpoch,
                    Sighting::TraderFenced,
                    Sighting::Refused,
                ],
                ..base()
            },
        ),
        scenario(
            both(resigning(contending(2)), Budget { stands: 2, ..none }, Budget { stands: 3, ..none }),
            Scenario {
                name: "resignation",
                about: "each trader resigns at its first sale",
                bounds: "A term of one sale, 2 claims, two buyers with a request each, a deposit of two: both are served, in \
                         two terms, and the first that is over may still be thought to last.",
                sightings: vec![
                    Sighting::Resigned,
                    Sighting::Inherited,
                    Sighting::SecondEpoch,
                    Sighting::Sold,
                    Sighting::FromTheBooks,
                ],
                ..base()
            },
        ),
        scenario(
            both(
                Bazaar::new(
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
                bounds: "One trader, three requests of two buyers, one unit of fish, then one of salt: a buyer meets stock, \
                         no stock, and other stock.",
                sightings: vec![Sighting::SoldOut, Sighting::DepositedAgain, Sighting::Sold, Sighting::Refused],
                ..base()
            },
        ),
        scenario(
            both(
                Bazaar::new(
                    vec![Role::trader(), Role::buyer(FISH, 1), Role::buyer(FISH, 1), Role::seller(FISH, 1, 0)],
                    2,
                ),
                Budget { stands: 1, ticks: 1, ..none },
                Budget { stands: 1, ticks: 3, ..none },
            ),
            Scenario {
                name: "stamps",
                about: "two buyers whose clocks run apart; the trader serves by stamp, not by arrival",
                bounds: "Batches of 2 records, 1 claim, and a clock that rises by itself once: either buyer's request may \
                         have the smaller stamp, or both the same.",
                sightings: vec![Sighting::Split, Sighting::Sold, Sighting::Refused, Sighting::SoldOut],
                ..base()
            },
        ),
        scenario(
            both(
                Bazaar::new(
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
                about: "a buyer of two at a time and three sellers: the smallest clock that can sells, whole or not at all",
                bounds: "Two requests, deposits of 1, 4 and 3: the first seller never has enough, the first sale raises the \
                         second's clock, so the next is the third's; any deposit may come late.",
                sightings: vec![Sighting::Sold, Sighting::Refused, Sighting::FromTheBooks],
                ..base()
            },
        ),
        scenario(
            both(
                Bazaar::new(vec![Role::trader(), Role::both(FISH, 1, 1), Role::buyer(FISH, 1).eager().deaf()], 8),
                Budget { stands: 1, ..none },
                Budget { stands: 1, ticks: 2, ..none },
            ),
            Scenario {
                name: "own-stock",
                about: "the only one who sells fish wants one as well",
                bounds: "Its request is refused, the other buyer's is not: nobody buys from itself.",
                sightings: vec![Sighting::Sold, Sighting::Refused],
                ..base()
            },
        ),
        scenario(
            both(
                Bazaar::new([vec![Role::trader()], vec![Role::buyer(FISH, 1).eager().deaf(); 3]].concat(), 3),
                Budget { stands: 1, renewals: 1, ..none },
                Budget { stands: 2, renewals: 1, ..none },
            ),
            Scenario {
                name: "three-buyers",
                about: "three buyers and batches of three: one waits while another is admitted",
                bounds: "1 claim, 1 renewal, nothing for sale: what counts is who is admitted when, beside a queue that is \
                         left over.",
                sightings: vec![Sighting::Split, Sighting::Refused],
                ..base()
            },
        ),
        scenario(
            both(
                Bazaar {
                    prologue: inheritance(3),
                    ..Bazaar::new(vec![Role::trader(), Role::trader(), Role::buyer(FISH, 1).eager()], 2)
                },
                Budget { stands: 2, ..none },
                Budget { stands: 3, renewals: 1, ..none },
            ),
            Scenario {
                name: "inheritance",
                about: "a new trader finds more waiting than a batch holds, and somebody asks for more",
                bounds: "3 requests of a former term, batches of 2, 2 claims: nothing may be admitted before all 3 have their \
                         outcomes, whoever gives them.",
                sightings: vec![Sighting::Inherited, Sighting::Split, Sighting::SecondEpoch, Sighting::Refused],
                ..base()
            },
        ),
        scenario(
            both(
                Bazaar::new(vec![Role::trader(), Role::buyer(FISH, 2), Role::seller(FISH, 2, 0)], 8),
                Budget { stands: 1, asks: 1, ..none },
                Budget { stands: 2, asks: 1, ..none },
            ),
            Scenario {
                name: "out-of-order",
                about: "a buyer and a seller are told of two sales, the later one first, or the earlier one again",
                bounds: "2 requests, a deposit of two, 1 question: all that was ever told is under way for ever.",
                sightings: vec![Sighting::Sold, Sighting::SoldOut, Sighting::FromTheBooks],
                ..base()
            },
        ),
        scenario(
            both(
                Bazaar {
                    keeps_all: true,
                    ..Bazaar::new(vec![Role::trader(), Role::trader(), Role::buyer(FISH, 1).eager().deaf()], 8)
                },
                Budget { stands: 2, yields: 1, ..none },
                Budget { stands: 2, yields: 2, ..none },
            ),
            Scenario {
                name: "old-calls",
                about: "what two traders have ever sent to the ledger, and it to them, comes again at any time",
                bounds: "2 claims, 1 departure, nothing for sale: a batch of the first term comes when the second is claimed, over, \
                         or taken up by the same peer.",
                sightings: vec![Sighting::SecondEpoch, Sighting::TraderFenced, Sighting::LateAppend, Sighting::Refused],
                ..base()
            },
        ),
        scenario(
            both(
                Bazaar {
                    keeps_all: true,
                    ..Bazaar::new(vec![Role::trader(), Role::buyer(FISH, 1), Role::seller(FISH, 1, 0)], 8)
                },
                Budget { stands: 1, renewals: 1, ..none },
                Budget { stands: 1, renewals: 1, ledger_crashes: 1, ..none },
            ),
            Scenario {
                name: "late-copies",
                about: "a trader's batches come to the ledger again, long after they were appended",
                bounds: "1 claim, 1 renewal: every batch of the term stays under way for ever.",
                sightings: vec![Sighting::Resent, Sighting::Sold, Sighting::Refused],
                ..base()
            },
        ),
        scenario(
            both(
                Bazaar::new(
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
                bounds: "2 claims, 1 renewal, batches of 2 records: a seller takes office with its own stock in the books, a \
                         buyer with its own request in the queue.",
                sightings: vec![Sighting::ServedItself, Sighting::Inherited, Sighting::SecondEpoch, Sighting::Refused],
                ..base()
            },
        ),
        scenario(
            both(
                Bazaar::new(vec![Role::trader(), Role::buyer(FISH_THEN_SALT, 2).and_trader()], 8),
                Budget { stands: 2, ..none },
                Budget { stands: 3, yields: 1, ..none },
            ),
            Scenario {
                name: "buyer-in-office",
                about: "a buyer takes office while it chooses what it wants, or asks for it",
                bounds: "2 claims, 2 requests, nothing for sale: it is in office when it should choose or is told something.",
                sightings: vec![Sighting::SecondEpoch, Sighting::Refused, Sighting::TraderFenced],
                ..base()
            },
        ),
        scenario(
            both(
                Bazaar::new(
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
                bounds: "2 claims, 1 request, 2 deposits, 1 question: it is in office when it should choose, is told something or \
                         has its timer fire.",
                sightings: vec![Sighting::SecondEpoch, Sighting::Sold, Sighting::Refused, Sighting::SoldOut],
                ..base()
            },
        ),
        scenario(
            both(usual(), Budget { stands: 2, snapshots: 1, ..none }, Budget { stands: 3, snapshots: 2, ..none }),
            Scenario {
                name: "snapshot",
                about: "the second trader reads the books from a snapshot and the records after it",
                bounds: "1 snapshot at any moment, 2 claims: the snapshot stands before, at or behind what has been read.",
                sightings: vec![Sighting::ReadSnapshot, Sighting::SecondEpoch, Sighting::Sold, Sighting::TraderFenced],
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
                bounds: "2 claims: in mid-batch, between the sale and the message, with either trader behind the other.",
                sightings: vec![Sighting::SecondEpoch, Sighting::TraderFenced, Sighting::Sold, Sighting::Refused],
                ..base()
            },
        ),
        scenario(
            both(
                converging(Bazaar::new(
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
                bounds: "2 requests beside another buyer's, batches of 2: it is told that its request waits, and how it ended, \
                         in any order and again.",
                sightings: vec![Sighting::Split, Sighting::Sold, Sighting::Refused],
                ..base()
            },
        ),
        scenario(
            both(
                converging(Bazaar::new(
                    vec![Role::trader().immortal(), Role::buyer(FISH, 1).mortal(), Role::seller(FISH, 1, 0).mortal()],
                    8,
                )),
                Budget { stands: 1, crashes: 1, restarts: 1, ledger_crashes: 1, ..none },
                Budget { stands: 1, crashes: 2, restarts: 2, ledger_crashes: 1, ..none },
            ),
            Scenario {
                name: "told-after-crashes",
                about: "the same when a client or the ledger has crashed: who is back is told",
                bounds: "1 crash of a client, 1 of the ledger: the outcome may be of a request that the present life never \
                         made.",
                sightings: vec![Sighting::Restarted, Sighting::LostUnsynced, Sighting::KeptUnanswered, Sighting::Sold],
                ..base()
            },
        ),
    ]
}
