//! The scenarios of whole peers.

use std::time::Duration;

use bazaar_protocol::{
    config::{Limits, Ordering, Terms},
    id::{Item, PeerId},
};

use super::{Budget, Convergence, Disk, Member, Opening, System, TIMEOUTS, Way};
use crate::subject::{
    landmark::Landmark,
    scenario::{Family, Scenario},
};

const FISH: &[Item] = &[Item::FISH];

/// A seller of fish, a buyer of fish, and a peer that wins elections, in a line; nobody crashes.
fn three() -> System {
    let cast = vec![Member::seller(Item::FISH, 2), Member::buyer(FISH, 1), Member::seller(Item::SALT, 1)];
    System { opening: Opening::Deposited, ..System::line(cast.into_iter().map(Member::immortal).collect()) }
}

/// The same, but with only one fish.
fn one_fish(mut setup: System) -> System {
    setup.cast[0].role = Member::seller(Item::FISH, 1).role;
    setup
}

/// The same, but each peer is a neighbour of both others.
fn triangle() -> System {
    System { links: vec![(0, 1), (1, 2), (0, 2)], ..three() }
}

/// Two buyers and a trader in a line, in the stable order (SPEC C5).
fn in_order() -> System {
    let cast = vec![Member::buyer(FISH, 2), Member::buyer(FISH, 2), Member::buyer(FISH, 0)];
    let setup = System::line(cast.into_iter().map(Member::immortal).collect());
    System { terms: Terms { ordering: Ordering::Stable, ..setup.terms }, ..setup }
}

/// The same, but these may crash.
fn mortal(mut setup: System, who: &[usize]) -> System {
    for nth in who {
        setup.cast[*nth].crashes = true;
    }
    setup
}

/// The same, but nobody makes a request.
fn content(mut setup: System) -> System {
    setup.cast.iter_mut().for_each(|member| member.plans.wishes = 0);
    setup
}

/// The same, but every buyer makes `wishes` times as many requests.
fn wanting(mut setup: System, wishes: u8) -> System {
    setup.cast.iter_mut().for_each(|member| member.plans.wishes *= wishes);
    setup
}

fn link(one: u32, other: u32) -> Way {
    Way::between(PeerId(one), PeerId(other))
}

fn ledger(peer: u32) -> Way {
    Way::to_ledger(PeerId(peer))
}

fn both(setup: System, budget: Budget, further: Budget) -> (System, Option<System>) {
    (setup.with(budget), Some(setup.with(further)))
}

fn converging(setup: System, cut: Option<Way>, restarts: bool) -> System {
    System { convergence: Some(Convergence { within: WITHIN, lasting: LASTING, cut, restarts }), ..setup }
}

fn scenario((case, further): (System, Option<System>), scenario: Scenario<System>) -> Scenario<System> {
    Scenario { case, further, ..scenario }
}

/// Long enough for a peer that does not hear a leader to run for office once more.
const LASTING: Duration = TIMEOUTS.suspicion.saturating_mul(2);

/// The most steps of the fair schedule within which everything must converge and last. It takes up to 208 with
/// `--thorough` (`whole-isolated`, whose isolated peer asks the ledger all the while; 195 by default).
const WITHIN: usize = 220;

/// The scenarios of the model, in the order in which they are checked.
#[must_use]
pub fn scenarios() -> Vec<Scenario<System>> {
    let none = Budget::default();
    let base = || Scenario {
        name: "",
        family: Family::Whole,
        about: "",
        bounds: "",
        landmarks: Vec::new(),
        case: three(),
        further: None,
    };
    let electors = System::line((0..3).map(|_| Member::buyer(FISH, 0).immortal()).collect());
    let two = System::line((0..2).map(|_| Member::both(FISH, 1, Item::FISH, 1)).collect());
    let pairs =
        vec![Member::both(&[Item::SALT], 1, Item::FISH, 1), Member::buyer(FISH, 1), Member::buyer(FISH, 0).immortal()];
    let readers = vec![Member::seller(Item::FISH, 1).immortal(), Member::seller(Item::SALT, 1).immortal()];
    let short = |setup: System| System { terms: Terms { resign_after: 1, ..setup.terms }, ..setup };
    vec![
        scenario(
            both(
                System { opening: Opening::AtTheStart, ..electors },
                Budget { alarms: 3, ..none },
                Budget { alarms: 3, losses: 1, ..none },
            ),
            Scenario {
                name: "whole-election",
                about: "three peers in a line start, find their neighbours and elect",
                bounds: "3 election timers: all three may run for office at once, or one runs twice; a message between \
                         the ends goes through the middle, or is sent before a link is up. Three in a line are the \
                         fewest with two that are not neighbours. Loss comes with the thorough extent: a link that is \
                         not up yet loses as much.",
                landmarks: vec![Landmark::TookOffice, Landmark::Answered, Landmark::Relayed],
                ..base()
            },
        ),
        scenario(
            both(
                mortal(System { terms: Terms { batch_limit: 2, ..three().terms }, ..three() }, &[2]),
                Budget { alarms: 3, crashes: 1, ..none },
                Budget { alarms: 3, crashes: 1, restarts: 1, ..none },
            ),
            Scenario {
                name: "whole-crash",
                about: "the trader crashes at any moment of a sale, and another peer takes over",
                bounds: "1 crash, 3 election timers, batches of 2 records: when the trader dies, the request is under \
                         way or being written, or its sale is decided or being announced; another peer needs three \
                         timers to suspect, call and stand. It begins when the goods are deposited, since the first \
                         election is the subject of another scenario.",
                landmarks: vec![
                    Landmark::TraderCrashed,
                    Landmark::SecondEpoch,
                    Landmark::LateAppend,
                    Landmark::ClaimMetLease,
                    Landmark::Sold,
                    Landmark::NoticedCut,
                ],
                ..base()
            },
        ),
        scenario(
            both(
                System { weak: vec![link(1, 2)], ..three() },
                Budget { cuts: 2, resends: 1, renewals: 1, ..none },
                Budget { cuts: 2, resends: 1, renewals: 1, alarms: 1, ..none },
            ),
            Scenario {
                name: "whole-cut",
                about: "the trader's only link is cut, one way or both, and healed, while a request is under way",
                bounds: "2 cuts of the one link that matters, 1 repeated message, 1 renewal: the request, its answer \
                         or a heartbeat is dropped, either end learns of it early, late or never, and the link may be \
                         cut again while the other end still believes that it works. The third peer is reached only \
                         through the second.",
                landmarks: vec![
                    Landmark::DroppedByCut,
                    Landmark::NoticedCut,
                    Landmark::Healed,
                    Landmark::Sold,
                    Landmark::Relayed,
                ],
                ..base()
            },
        ),
        scenario(
            both(
                System { asks_at_once: false, weak: vec![ledger(2)], ..three() },
                Budget { retries: 2, cuts: 1, ledger_crashes: 1, give_ups: 1, renewals: 1, ..none },
                Budget { retries: 2, cuts: 1, ledger_crashes: 1, give_ups: 1, alarms: 1, renewals: 1, ..none },
            ),
            Scenario {
                name: "whole-ledger",
                about: "the ledger crashes, and the trader is cut off from it, one way or both",
                bounds: "1 crash of the ledger, 1 cut, 2 repeated questions, 1 abandoned wait, 1 renewal: an append is \
                         lost, or lands and its answer is lost, and it is sent again and settled, or abandoned. \
                         Questions and answers take time. The other peers are followers here; what they do then is the \
                         subject of `whole-crash`.",
                landmarks: vec![
                    Landmark::LostUnsynced,
                    Landmark::KeptUnanswered,
                    Landmark::DroppedByCut,
                    Landmark::LedgerSilent,
                    Landmark::Resent,
                    Landmark::Sold,
                ],
                ..base()
            },
        ),
        scenario(
            both(
                System {
                    opening: Opening::AtTheStart,
                    weak: vec![ledger(0), ledger(1)],
                    ..content(System::line((0..2).map(|_| Member::both(FISH, 0, Item::FISH, 1).immortal()).collect()))
                },
                Budget { alarms: 2, cuts: 1, retries: 1, give_ups: 1, ..none },
                Budget { alarms: 3, cuts: 1, retries: 1, give_ups: 1, ..none },
            ),
            Scenario {
                name: "whole-candidate",
                about: "two peers start and elect, and one of them is cut off from the ledger, one way or both",
                bounds: "2 election timers, 1 cut, 1 repeated question, 1 abandoned wait: the cut comes while the peer \
                         is calling an election, reads, claims or holds the office, and the peer learns of it early, \
                         late or never.",
                landmarks: vec![
                    Landmark::TookOffice,
                    Landmark::DroppedByCut,
                    Landmark::NoticedCut,
                    Landmark::LedgerSilent,
                    Landmark::LedgerLostInElection,
                    Landmark::Healed,
                ],
                ..base()
            },
        ),
        scenario(
            both(in_order(), Budget { renewals: 1, resends: 1, ..none }, Budget { renewals: 2, resends: 1, ..none }),
            Scenario {
                name: "whole-in-order",
                about: "two buyers in a line with the trader ask at any time, and are served in the stable order",
                bounds: "Two requests each, 1 heartbeat that asks for promises, 1 repeated message: what the farther buyer says goes \
                         through the nearer one, and their clocks go with everything.",
                landmarks: vec![
                    Landmark::Seated,
                    Landmark::Held,
                    Landmark::Promised,
                    Landmark::Refused,
                    Landmark::Relayed,
                ],
                ..base()
            },
        ),
        scenario(
            both(wanting(three(), 2), Budget { ticks: 3, ..none }, Budget { ticks: 4, resends: 1, ..none }),
            Scenario {
                name: "whole-interval",
                about: "a link that carries nothing else gets an envelope of its own for a buyer's clock",
                bounds: "2 requests, 3 clock intervals that end at any moment: the second finds a link quiet that has \
                         something to tell, the third the other end.",
                landmarks: vec![Landmark::Sold, Landmark::Relayed, Landmark::ToldOfClock],
                ..base()
            },
        ),
        scenario(
            both(
                mortal(
                    System { opening: Opening::AtTheStart, clock_range: 2, disk: Disk::InSteps, ..content(two) },
                    &[0, 1],
                ),
                Budget { alarms: 1, crashes: 1, restarts: 1, ..none },
                Budget { alarms: 2, crashes: 1, restarts: 1, ..none },
            ),
            Scenario {
                name: "whole-clock",
                about: "two peers, one of which crashes, whose clocks are written 2 ahead, on slow disks",
                bounds: "Clocks written 2 ahead: nearly every message needs a write of its own. 1 crash before or \
                         after the write is durable and before it is confirmed, 1 restart, 1 election timer. Two peers \
                         suffice: a bound concerns one peer, and the other is there to raise its clock.",
                landmarks: vec![Landmark::LostWrite, Landmark::HeldBack, Landmark::Restarted, Landmark::TookOffice],
                ..base()
            },
        ),
        scenario(
            both(
                converging(short(System { opening: Opening::Deposited, ..System::line(pairs) }), None, false),
                Budget { crashes: 2, renewals: 1, ..none },
                Budget { crashes: 2, renewals: 1, alarms: 1, ..none },
            ),
            Scenario {
                name: "whole-survivor",
                about: "the trader resigns, all other peers die, and a request is left",
                bounds: "A term of one sale, 2 crashes, 1 renewal (behind which both requests wait, so that they enter \
                         one batch). Three peers: a sale takes a seller, a buyer and a trader, so with two nobody ever \
                         resigns. Both others may die before, during or after the sale, and stay away.",
                landmarks: vec![Landmark::Resigned, Landmark::Sold, Landmark::Split],
                ..base()
            },
        ),
        scenario(
            both(
                converging(System { broken: Some(link(1, 2)), ..content(three()) }, Some(link(1, 2)), true),
                Budget { alarms: 3, renewals: 2, ..none },
                Budget { alarms: 4, renewals: 2, ..none },
            ),
            Scenario {
                name: "whole-isolated",
                about: "the trader hears the ledger but no peer any more, and the others claim its office",
                bounds: "3 election timers, 2 renewals, a cut from the beginning that stays: enough for the others to \
                         claim, and for the trader to learn that its term is contested and to leave it. Nobody trades: \
                         trade does not decide who leads.",
                landmarks: vec![
                    Landmark::NoticedCut,
                    Landmark::Heartbeat,
                    Landmark::ClaimMetLease,
                    Landmark::Contested,
                    Landmark::Isolated,
                ],
                ..base()
            },
        ),
        scenario(
            both(
                converging(
                    System {
                        broken: Some(link(0, 1)),
                        ..mortal(
                            content(System::line(
                                (0..2).map(|_| Member::both(FISH, 0, Item::FISH, 1).immortal()).collect(),
                            )),
                            &[0],
                        )
                    },
                    Some(link(0, 1)),
                    false,
                ),
                Budget { alarms: 3, renewals: 2, crashes: 1, ..none },
                Budget { alarms: 4, renewals: 3, crashes: 1, ..none },
            ),
            Scenario {
                name: "whole-abandoned",
                about: "the trader leaves because it hears nobody, and the other peer dies before it has claimed the \
                        office",
                bounds: "3 election timers, 2 renewals, a cut from the beginning that stays, 1 crash for good: a claim that finds the lease active, \
                         the trader that learns of it and leaves, and nobody left who could claim again.",
                landmarks: vec![Landmark::NoticedCut, Landmark::ClaimMetLease, Landmark::Contested, Landmark::Isolated],
                ..base()
            },
        ),
        scenario(
            both(
                converging(mortal(one_fish(triangle()), &[0, 1, 2]), Some(link(0, 2)), true),
                Budget { crashes: 1, alarms: 1, renewals: 1, ..none },
                Budget { crashes: 2, alarms: 1, renewals: 1, ..none },
            ),
            Scenario {
                name: "whole-convergence",
                about: "three peers, each a neighbour of both others, one of which crashes; then faults stop, and one \
                        link stays cut",
                bounds: "1 crash of any peer at any moment of a sale, 1 election timer, 1 renewal. A triangle is the \
                         smallest overlay that a cut leaves connected, and in which a flood arrives by two routes. One \
                         fish: the seller deposits another once it is sold.",
                landmarks: vec![Landmark::RepeatedFlood, Landmark::TraderCrashed, Landmark::Sold, Landmark::SoldOut],
                ..base()
            },
        ),
        scenario(
            both(
                triangle(),
                Budget { losses: 1, doubles: 1, swaps: 1, renewals: 1, ..none },
                Budget { losses: 1, doubles: 1, swaps: 1, resends: 1, renewals: 1, ..none },
            ),
            Scenario {
                name: "whole-disorder",
                about: "three peers, each a neighbour of both others; messages are lost, duplicated and out of order",
                bounds: "1 loss, 1 duplicated message, 1 pair out of order, 1 heartbeat, in any \
                         direction at any moment of a sale: floods overtake each other, requests and appends come twice. One of each: \
                         the models without an overlay cover several of a kind, since there every message may come \
                         often, late and in any order.",
                landmarks: vec![Landmark::RepeatedFlood, Landmark::Sold],
                ..base()
            },
        ),
        scenario(
            both(
                mortal(System { clock_range: 3, disk: Disk::InSteps, ..wanting(three(), 2) }, &[1, 2]),
                Budget { crashes: 1, restarts: 1, ..none },
                Budget { crashes: 1, restarts: 1, ledger_crashes: 1, ..none },
            ),
            Scenario {
                name: "whole-slow-disks",
                about: "a seller, a buyer and a trader trade on slow disks; one crashes and comes back",
                bounds: "Clocks written 3 ahead: each of the three waits for its disk several times between a request \
                         and its outcome, and what was decided leaves when it may, perhaps long afterwards. 2 \
                         requests; 1 crash of the buyer or the trader, with or without a write under way, and 1 \
                         restart.",
                landmarks: vec![
                    Landmark::HeldBack,
                    Landmark::LostWrite,
                    Landmark::BoundCrossed,
                    Landmark::Sold,
                    Landmark::SoldOut,
                    Landmark::Resumed,
                    Landmark::Relayed,
                ],
                ..base()
            },
        ),
        scenario(
            both(
                System { clock_range: 2, disk: Disk::InSteps, ..wanting(three(), 2) },
                Budget { renewals: 1, ..none },
                Budget { renewals: 1, ledger_crashes: 1, ..none },
            ),
            Scenario {
                name: "whole-bound",
                about: "a trader's batch of several records begins below the written bound of its clock and ends above \
                        it",
                bounds: "Clocks written 2 ahead, 2 requests, 1 renewal. An admission and its outcome are one batch \
                         with two stamps.",
                landmarks: vec![Landmark::BoundCrossed, Landmark::HeldBack, Landmark::Sold],
                ..base()
            },
        ),
        scenario(
            both(
                mortal(System { weak: vec![link(1, 2)], ..three() }, &[2]),
                Budget { alarms: 1, retries: 1, crashes: 1, restarts: 1, ledger_crashes: 1, cuts: 1, ..none },
                Budget { alarms: 2, retries: 1, crashes: 1, restarts: 1, ledger_crashes: 1, cuts: 1, ..none },
            ),
            Scenario {
                name: "whole-everything",
                about: "the trader crashes, the ledger crashes, the trader's link is cut and a peer runs for office, \
                        all during a sale",
                bounds: "1 of each, 1 restart and 1 repeated question, in any order, at any moment of a sale: what two \
                         faults do together and neither does alone.",
                landmarks: vec![
                    Landmark::TraderCrashed,
                    Landmark::Restarted,
                    Landmark::SecondEpoch,
                    Landmark::Resent,
                    Landmark::LostUnsynced,
                    Landmark::KeptUnanswered,
                    Landmark::DroppedByCut,
                    Landmark::Sold,
                ],
                ..base()
            },
        ),
        scenario(
            both(
                mortal(three(), &[0, 1, 2]),
                Budget { put_backs: 1, crashes: 1, restarts: 1, alarms: 1, reports: 1, ..none },
                Budget { put_backs: 1, crashes: 1, restarts: 1, alarms: 2, reports: 1, ..none },
            ),
            Scenario {
                name: "whole-old-image",
                about: "an old image of the ledger is put back during a sale; a peer crashes and comes back",
                bounds: "1 old image, of any length; 1 crash and 1 restart of any peer, before or after, so that what \
                         peers remember durably counts; 1 election timer; the ledger tells one peer \
                         unasked how far the books reach. A caller that has seen \
                         more stops the ledger; one that has not may be granted an append, and there the history ends.",
                landmarks: vec![Landmark::OldImage, Landmark::OldImageNoticed, Landmark::Restarted],
                ..base()
            },
        ),
        scenario(
            both(
                System { asks_at_once: false, opening: Opening::InOffice, ..System::line(readers) },
                Budget { alarms: 3, reports: 1, snapshots: 1, ..none },
                Budget { alarms: 3, reports: 1, snapshots: 1, ledger_crashes: 1, ..none },
            ),
            Scenario {
                name: "whole-reads",
                about: "a peer that stands for office reads the books, which takes time, while the trader keeps \
                        writing",
                bounds: "Two peers, the lower of which has something to deposit. 3 election timers: it suspects, calls \
                         and stands. The ledger tells it once unasked how far the books reach: more than has been read, \
                         before the answer to the read. 1 snapshot, at any moment.",
                landmarks: vec![
                    Landmark::HeadOvertook,
                    Landmark::ReadSnapshot,
                    Landmark::ClaimConflict,
                    Landmark::ClaimMetLease,
                    Landmark::SecondEpoch,
                ],
                ..base()
            },
        ),
        scenario(
            both(
                System {
                    clock_range: 2,
                    disk: Disk::InSteps,
                    limits: Limits { held_back: 2, ..three().limits },
                    ..wanting(three(), 2)
                },
                Budget { resends: 1, ..none },
                Budget { resends: 1, retries: 1, ..none },
            ),
            Scenario {
                name: "whole-full-journal",
                about: "disks are slow, and a journal holds back at most two effects",
                bounds: "Clocks written 2 ahead, 2 requests: an effect that finds the journal full is lost, as a \
                         message could be on the way. 1 repeated message brings some of them about again.",
                landmarks: vec![Landmark::JournalFull, Landmark::HeldBack, Landmark::Sold],
                ..base()
            },
        ),
        scenario(
            both(
                System { limits: Limits { waiting_calls: 1, ..three().limits }, ..three() },
                Budget { retries: 3, ledger_crashes: 1, renewals: 1, alarms: 1, ..none },
                Budget { retries: 3, ledger_crashes: 1, renewals: 1, alarms: 2, ..none },
            ),
            Scenario {
                name: "whole-waiting",
                about: "calls come while the ledger writes and wait inside it; there is room for one",
                bounds: "3 repeated questions: one waits, one finds no room, and one is asked again. 1 crash of the \
                         ledger, which forgets the calls that wait. 1 renewal, 1 election timer.",
                landmarks: vec![
                    Landmark::CallWaited,
                    Landmark::CallDropped,
                    Landmark::Resent,
                    Landmark::LostUnsynced,
                    Landmark::KeptUnanswered,
                    Landmark::Sold,
                ],
                ..base()
            },
        ),
    ]
}
