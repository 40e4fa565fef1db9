//! What is run.

use std::time::Duration;

use bazaar_protocol::{
    config::{Limits, Terms},
    id::{Item, PeerId},
};

use super::{Budget, Convergence, Disk, Member, Opening, System, TIMEOUTS, Way};
use crate::subject::{
    landmark::Landmark,
    scenario::{Family, Scenario},
};

const FISH: &[Item] = &[Item::FISH];

/// A seller of fish, a buyer of fish, and one that wins elections, in a line; nobody crashes.
fn three() -> System {
    let cast = vec![Member::seller(Item::FISH, 2), Member::buyer(FISH, 1), Member::seller(Item::SALT, 1)];
    System { opening: Opening::Deposited, ..System::line(cast.into_iter().map(Member::immortal).collect()) }
}

/// The same, but there is one fish.
fn one_fish(mut setup: System) -> System {
    setup.cast[0].role = Member::seller(Item::FISH, 1).role;
    setup
}

/// The same, each the neighbour of both others.
fn triangle() -> System {
    System { links: vec![(0, 1), (1, 2), (0, 2)], ..three() }
}

/// The same, but these may crash.
fn mortal(mut setup: System, who: &[usize]) -> System {
    for nth in who {
        setup.cast[*nth].crashes = true;
    }
    setup
}

/// The same, but nobody wants anything.
fn content(mut setup: System) -> System {
    setup.cast.iter_mut().for_each(|member| member.plans.wishes = 0);
    setup
}

/// The same, but who wants something wants it so many times.
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

/// Long enough for whoever does not hear a leader to run for office once more.
const LASTING: Duration = TIMEOUTS.suspicion.saturating_mul(2);

/// In how many steps of the fair schedule everything is to come about, and to last. It takes 183 at most, to the
/// thorough extent (`whole-isolated`; 171 by default).
const WITHIN: usize = 190;

/// The scenarios.
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
                bounds: "3 election timers: all three may run for office at once, or one runs twice; what one of the \
                         ends says goes through the middle, or is said before a link is up. Three in a line are the \
                         fewest of which two are no neighbours. Loss is further on: a link that is not up yet loses as \
                         much.",
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
                about: "the trader crashes at any moment of a sale, and another takes over",
                bounds: "1 crash, 3 election timers, batches of 2 records: the request is on its way, being written, \
                         sold or told when the trader dies; three timers are what it takes another to suspect, call \
                         and stand. It begins where the goods are deposited, the first election being the subject of \
                         another scenario.",
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
                         or a heartbeat is dropped, either end learns of it early, late or never, and it may be cut \
                         again while the other end still thinks that it works. The third peer is only spoken to \
                         through the second.",
                landmarks: vec![
                    Landmark::DroppedByCut,
                    Landmark::NoticedCut,
                    Landmark::Healed,
                    Landmark::Sold,
                    Landmark::Relayed,
                    Landmark::Detour,
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
                bounds: "1 crash of the ledger, 1 cut, 2 repeated questions, 1 peer that gives up, 1 renewal: an \
                         append is lost, or lands and its answer is lost, is sent again and settled, or is given up. \
                         Questions and answers take their time. The others are followers here; what they do then is \
                         `whole-crash`'s subject.",
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
                bounds: "2 election timers, 1 cut, 1 repeated question, 1 peer that gives up: the cut comes while it \
                         has called, reads, claims or holds the office, and it learns of it early, late or never.",
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
            both(
                System { clock_interval: Duration::from_millis(100), ..wanting(three(), 2) },
                none,
                Budget { resends: 1, ..none },
            ),
            Scenario {
                name: "whole-interval",
                about: "a buyer multicasts its clock before a request, but not again within an interval",
                bounds: "2 requests: the interval ends before the second or not.",
                landmarks: vec![Landmark::Sold, Landmark::Relayed],
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
                about: "two peers whose clocks are written 2 ahead, on disks that take their time, one of which \
                    crashes",
                bounds: "Clocks written 2 ahead: nearly every message needs a write of its own. 1 crash between \
                         asking, durable and confirmed, 1 restart, 1 election timer. Two peers: a bound is one peer's \
                         matter, and the other is there to raise its clock.",
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
                about: "the trader resigns, everybody else dies, and a request is left",
                bounds: "A term of one sale, 2 crashes, 1 renewal (behind which both requests wait, to come into one \
                         batch). Three peers: a sale takes a seller, a buyer and a trader, so with two nobody ever \
                         resigns. Both others may die before, in or after the sale, and stay away.",
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
                about: "the trader hears the ledger and no peer any more, and the others claim its office",
                bounds: "3 election timers, 2 renewals, a cut from the beginning that stays: what it takes the others \
                         to claim, the trader to learn that its term is contested, and to leave it. Nobody trades: \
                         what is traded does not decide who leads.",
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
                converging(mortal(one_fish(triangle()), &[0, 1, 2]), Some(link(0, 2)), true),
                Budget { crashes: 1, alarms: 1, renewals: 1, ..none },
                Budget { crashes: 2, alarms: 1, renewals: 1, ..none },
            ),
            Scenario {
                name: "whole-convergence",
                about: "three peers, each the neighbour of both others, one of which crashes; then faults stop, and a \
                    link stays cut",
                bounds: "1 crash of any peer at any moment of a sale, 1 election timer, 1 renewal. A triangle is the \
                         smallest overlay that a cut leaves connected, and in which a flood comes by two ways. One \
                         fish: who has sold it brings another.",
                landmarks: vec![Landmark::RepeatedFlood, Landmark::TraderCrashed, Landmark::Sold, Landmark::SoldOut],
                ..base()
            },
        ),
        scenario(
            both(
                triangle(),
                Budget { losses: 1, doubles: 1, swaps: 1, resends: 1, ..none },
                Budget { losses: 1, doubles: 1, swaps: 1, alarms: 1, resends: 1, ..none },
            ),
            Scenario {
                name: "whole-disorder",
                about: "three peers, each the neighbour of both others; messages are lost, doubled and out of order",
                bounds: "1 loss, 1 doubled message, 1 pair out of order, 1 repeated message, on any way at any moment \
                         of a sale: floods overtake each other, requests and appends come twice. One of each: what two \
                         of a kind do is in the models without an overlay, where every message may come often, late \
                         and in any order.",
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
                about: "a seller, a buyer and a trader trade on disks that take their time; one crashes and comes back",
                bounds: "Clocks written 3 ahead: each of the three waits for its disk several times between a request \
                         and its outcome, and what was decided leaves when it may, which may be long after. 2 \
                         requests; 1 crash of the buyer or the trader, with a write under way or not, and 1 restart.",
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
                about: "a trader's batch of several records begins below what is written of its clock, and ends above",
                bounds: "Clocks written 2 ahead, 2 requests, 1 renewal. An admission and its outcome are one batch, \
                    and two stamps.",
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
                about: "the trader crashes, the ledger crashes, the trader's link is cut and somebody runs for office, \
                    during a sale",
                bounds: "1 of each, 1 restart and 1 repeated question, in any order, at any moment of a sale: what two \
                         faults do to each other that neither does alone.",
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
                Budget { put_backs: 1, crashes: 1, restarts: 1, alarms: 1, retries: 1, ..none },
                Budget { put_backs: 1, crashes: 1, restarts: 1, alarms: 2, ..none },
            ),
            Scenario {
                name: "whole-old-image",
                about: "an old image of the ledger is put back during a sale; a peer crashes and comes back",
                bounds: "1 old image, of any length; 1 crash and 1 restart of any peer, before or after, so that what \
                         is remembered durably counts; 1 election timer, 1 repeated question. Who calls and has seen \
                         more stops it; who calls and has not may be granted an append, and there the history ends.",
                landmarks: vec![Landmark::OldImage, Landmark::OldImageNoticed, Landmark::Restarted],
                ..base()
            },
        ),
        scenario(
            both(
                System { asks_at_once: false, opening: Opening::InOffice, ..System::line(readers) },
                Budget { alarms: 3, renewals: 1, snapshots: 1, ..none },
                Budget { alarms: 3, renewals: 1, snapshots: 1, ledger_crashes: 1, ..none },
            ),
            Scenario {
                name: "whole-reads",
                about: "a peer that stands reads the books, which takes its time, while the trader goes on writing",
                bounds: "Two peers, the lower of which has something to deposit. 3 election timers: it suspects, calls \
                         and stands. 1 renewal: a heartbeat that tells of more than is read comes before what is read. \
                         1 snapshot, at any moment.",
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
                about: "disks take their time, and a journal holds back two effects at most",
                bounds: "Clocks written 2 ahead, 2 requests: what is held back when the journal is full is lost, as it \
                         could be on the way. 1 repeated message brings some of it about again.",
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
                about: "calls come while the ledger writes, and wait inside it; there is room for one",
                bounds: "3 repeated questions: one waits, one finds no room, and one is asked again. 1 crash of the \
                         ledger, which forgets what waits. 1 renewal, 1 election timer.",
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
