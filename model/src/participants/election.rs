//! Elections: `Election`, `Office` and `Ledger`, with two to five peers that hear each other directly, without an
//! overlay.
//!
//! With free timing: S1, S2, B4, and the part of S7 that shows without clocks on messages (a claim is stamped above
//! everything it follows; a clock does not go back across a crash). With synchronous timing: Y1 and Y2. And L1 from
//! every state of the small scenarios, with and without a cut that stays.

use std::time::Duration;

use bazaar_protocol::{
    config::{Limits, Terms},
    id::PeerId,
};

use crate::{
    participants::trading::inheritance,
    participants::{Budget, Convergence, Cut, Participants, Role, TIMEOUTS, Timing},
    subject::{
        landmark::Landmark,
        scenario::{Family, Scenario},
    },
};

/// Long enough for a peer that does not hear a leader to run for office once more.
const LASTING: Duration = TIMEOUTS.suspicion.saturating_mul(2);

/// Peers that elect, and that resign after their first sale.
fn electors(peers: usize) -> Participants {
    let bazaar = Participants::new(vec![Role::elector(); peers], 2);
    let terms = Terms { resign_after: 1, ..bazaar.terms };
    Participants { terms, ..bazaar }
}

fn synchronous(peers: usize, budget: Budget) -> Participants {
    Participants { timing: Timing::Synchronous, ..electors(peers).with(budget) }
}

/// Converges within this many steps: a few more than the slowest state takes.
pub(super) fn converging(within: usize, cut: Cut, budget: Budget) -> Participants {
    let convergence = Some(Convergence { within, lasting: LASTING, cut });
    Participants { convergence, ..electors(3).with(budget) }
}

fn surviving(budget: Budget) -> Participants {
    let convergence = Some(Convergence { within: 180, lasting: LASTING, cut: Cut::Nothing });
    Participants { convergence, ..electors(2).with(budget) }
}

/// Two peers with a former trader's books to read, piece by piece.
fn long(budget: Budget) -> Participants {
    let limits = Limits { chunk_weight: 1, read_records: 1, waiting_calls: 0, ..Limits::DEFAULT };
    Participants { limits, prologue: inheritance(3), ..electors(2).with(budget) }
}

/// The scenarios of the model, in the order in which they are checked.
#[must_use]
pub fn scenarios() -> Vec<Scenario<Participants>> {
    let base = || Scenario {
        name: "",
        family: Family::Election,
        about: "",
        bounds: "",
        landmarks: Vec::new(),
        case: electors(3),
        further: None,
    };
    let three = |budget| electors(3).with(budget);
    let none = Budget::default();
    vec![
        Scenario {
            name: "election",
            about: "three peers elect while their messages are late, duplicated or lost",
            bounds: "4 alarms: all three may run for office at once, and another run may depose the winner, twice in a \
                     row. Three peers are the fewest with one that is neither the highest nor the lowest.",
            landmarks: vec![
                Landmark::TookOffice,
                Landmark::SecondEpoch,
                Landmark::ThirdEpoch,
                Landmark::ClaimMetLease,
                Landmark::ClaimFenced,
                Landmark::Contested,
                Landmark::Deposed,
                Landmark::Resent,
                Landmark::Answered,
                Landmark::ReferredToLeader,
            ],
            case: three(Budget { alarms: 4, ..none }),
            further: Some(three(Budget { alarms: 5, ..none })),
            ..base()
        },
        Scenario {
            name: "election-four",
            about: "four peers elect",
            bounds: "3 alarms: three peers run for office at once, with a fourth above, below or between them that \
                     only answers and follows.",
            landmarks: vec![
                Landmark::SecondEpoch,
                Landmark::Answered,
                Landmark::ClaimMetLease,
                Landmark::ReferredToLeader,
            ],
            case: electors(4).with(Budget { alarms: 3, ..none }),
            further: Some(electors(4).with(Budget { alarms: 4, ..none })),
            ..base()
        },
        Scenario {
            name: "election-crash",
            about: "three peers; one crashes at any moment and may come back",
            bounds: "1 crash, 1 restart, 3 alarms: enough for the trader to die and for its next life or another peer \
                     to succeed it, with everything its former life sent still under way.",
            landmarks: vec![
                Landmark::TookOffice,
                Landmark::SecondEpoch,
                Landmark::TraderCrashed,
                Landmark::Restarted,
                Landmark::ClaimMetLease,
                Landmark::ClaimFenced,
                Landmark::Deposed,
            ],
            case: three(Budget { alarms: 3, crashes: 1, restarts: 1, ..none }),
            further: Some(three(Budget { alarms: 4, crashes: 2, restarts: 2, ..none })),
            ..base()
        },
        Scenario {
            name: "election-silence",
            about: "three peers; one gives up on the ledger at any moment",
            bounds: "A peer gives up once, 3 alarms: it gives up while it reads, claims, or holds the office with an \
                     append under way; its claim may still land.",
            landmarks: vec![Landmark::SecondEpoch, Landmark::LedgerSilent, Landmark::ClaimMetLease, Landmark::Deposed],
            case: three(Budget { alarms: 3, give_ups: 1, ..none }),
            further: Some(three(Budget { alarms: 4, give_ups: 2, ..none })),
            ..base()
        },
        Scenario {
            name: "election-heartbeat",
            about: "three peers; the trader renews its term and sends a heartbeat",
            bounds: "1 renewal, 3 alarms: the renewal or the heartbeat may arrive after the office has gone to another \
                     peer.",
            landmarks: vec![
                Landmark::SecondEpoch,
                Landmark::TraderFenced,
                Landmark::Contested,
                Landmark::Heartbeat,
                Landmark::Deposed,
            ],
            case: three(Budget { alarms: 3, renewals: 1, ..none }),
            further: Some(three(Budget { alarms: 4, renewals: 2, ..none })),
            ..base()
        },
        Scenario {
            name: "election-resignation",
            about: "three peers; a trader resigns at its first sale and sits out the next term",
            bounds: "1 sale, 3 alarms: a peer that resigned may ask whether anyone else is eligible while the others \
                     run, have run, or stay silent.",
            landmarks: vec![
                Landmark::Resigned,
                Landmark::SecondEpoch,
                Landmark::LoneSurvivor,
                Landmark::ClaimFenced,
                Landmark::Deposed,
            ],
            case: three(Budget { alarms: 3, sales: 1, ..none }),
            further: Some(three(Budget { alarms: 4, sales: 1, ..none })),
            ..base()
        },
        Scenario {
            name: "election-two",
            about: "two peers; the one that resigned asks whether anybody is eligible while the other runs, leads or \
                    is gone",
            bounds: "4 alarms, 1 sale, 1 crash: one alarm to win and resign, two for the other to win, and one to ask.",
            landmarks: vec![
                Landmark::Resigned,
                Landmark::SecondEpoch,
                Landmark::LoneSurvivor,
                Landmark::ReferredToLeader,
                Landmark::TraderCrashed,
            ],
            case: electors(2).with(Budget { alarms: 4, sales: 1, crashes: 1, ..none }),
            further: Some(electors(2).with(Budget { alarms: 4, sales: 2, crashes: 1, ..none })),
            ..base()
        },
        Scenario {
            name: "election-ledger-crash",
            about: "three peers; the ledger crashes at any moment, with or without the claim it was writing",
            bounds: "1 crash, 3 alarms: a claim is lost before it is durable, or is granted and never answered; the \
                     lease starts afresh.",
            landmarks: vec![
                Landmark::LostUnsynced,
                Landmark::KeptUnanswered,
                Landmark::Resent,
                Landmark::SecondEpoch,
                Landmark::ClaimMetLease,
            ],
            case: three(Budget { alarms: 3, ledger_crashes: 1, ..none }),
            further: Some(three(Budget { alarms: 4, ledger_crashes: 2, ..none })),
            ..base()
        },
        Scenario {
            name: "election-resigned-twice",
            about: "two peers resign one after the other; all that the first hears of the second's term may be that it \
                    ended in a resignation",
            bounds: "3 alarms, 2 sales: one alarm for the first to win, two for the other, and a term of one sale \
                     each. A short term may send nothing else, or everything else comes late.",
            landmarks: vec![Landmark::Resigned, Landmark::SecondEpoch, Landmark::Answered],
            case: electors(2).with(Budget { alarms: 3, sales: 2, ..none }),
            further: Some(electors(2).with(Budget { alarms: 4, sales: 2, ..none })),
            ..base()
        },
        Scenario {
            name: "election-reads",
            about: "two peers whose reads of the ledger, and the answers, take time; meanwhile a trader writes",
            bounds: "3 alarms, 1 renewal, 1 sale: an answer is out of date when it arrives.",
            landmarks: vec![Landmark::SecondEpoch, Landmark::ClaimConflict, Landmark::Heartbeat, Landmark::Resigned],
            case: Participants {
                slow_reads: true,
                ..electors(2).with(Budget { alarms: 3, renewals: 1, sales: 1, ..none })
            },
            further: Some(Participants {
                slow_reads: true,
                ..electors(2).with(Budget { alarms: 4, renewals: 1, sales: 1, ..none })
            }),
            ..base()
        },
        Scenario {
            name: "election-comeback",
            about: "two elections in a row, with a crash of the ledger and a former trader that comes back",
            bounds: "Two peers, 3 alarms, 1 crash, 1 restart, 1 crash of the ledger: the trader dies, the other peer \
                     is elected, and the first comes back, with claims of either lost, kept or late.",
            landmarks: vec![
                Landmark::SecondEpoch,
                Landmark::TraderCrashed,
                Landmark::Restarted,
                Landmark::LostUnsynced,
                Landmark::KeptUnanswered,
                Landmark::ClaimFenced,
            ],
            case: electors(2).with(Budget { alarms: 3, crashes: 1, restarts: 1, ledger_crashes: 1, ..none }),
            further: Some(electors(2).with(Budget { alarms: 4, crashes: 1, restarts: 1, ledger_crashes: 1, ..none })),
            ..base()
        },
        Scenario {
            name: "synchronous",
            about: "four peers whose messages arrive and whose timers run for exactly as long as they say",
            bounds: "2 crashes, 1 restart, 1 sale: two traders die in turn, or one resigns and its successor dies; a \
                     peer comes back in the middle of an election, higher than all others or not. Time has no end; the \
                     graph is finite because a trader that renews returns to the same state.",
            landmarks: vec![
                Landmark::Answered,
                Landmark::TraderCrashed,
                Landmark::Restarted,
                Landmark::Resigned,
                Landmark::ReferredToLeader,
                Landmark::Heartbeat,
                Landmark::ThirdEpoch,
            ],
            case: synchronous(4, Budget { crashes: 2, restarts: 1, sales: 1, ..none }),
            further: Some(synchronous(4, Budget { crashes: 2, restarts: 1, sales: 2, ..none })),
            ..base()
        },
        Scenario {
            name: "synchronous-five",
            about: "five peers under synchrony",
            bounds: "1 crash: every election that one death can lead to.",
            landmarks: vec![Landmark::Answered, Landmark::TraderCrashed, Landmark::SecondEpoch],
            case: synchronous(5, Budget { crashes: 1, ..none }),
            further: Some(synchronous(5, Budget { crashes: 2, ..none })),
            ..base()
        },
        Scenario {
            name: "synchronous-survivor",
            about: "two peers under synchrony, down to a last one that has resigned",
            bounds: "2 sales, 1 crash, 1 restart: the peer that is left has resigned and has to trade again.",
            landmarks: vec![Landmark::LoneSurvivor, Landmark::Resigned, Landmark::TraderCrashed, Landmark::ThirdEpoch],
            case: synchronous(2, Budget { crashes: 1, restarts: 1, sales: 2, ..none }),
            further: Some(synchronous(2, Budget { crashes: 2, restarts: 2, sales: 3, ..none })),
            ..base()
        },
        Scenario {
            name: "synchronous-ten",
            about: "peers 8, 9 and 10 under synchrony: the highest id has one more digit",
            bounds: "1 crash. Ids must be compared as numbers; as text, 9 would be the highest.",
            landmarks: vec![Landmark::Answered, Landmark::TraderCrashed, Landmark::SecondEpoch],
            case: Participants { first_id: 8, ..synchronous(3, Budget { crashes: 1, ..none }) },
            further: Some(Participants { first_id: 8, ..synchronous(3, Budget { crashes: 2, restarts: 1, ..none }) }),
            ..base()
        },
        Scenario {
            name: "convergence",
            about: "three peers; from every state, once faults stop, there comes to be one trader that all know",
            bounds: "3 alarms, 1 crash: two peers run for office at once, or one runs after the other has died.",
            landmarks: vec![Landmark::SecondEpoch, Landmark::TraderCrashed, Landmark::ClaimMetLease],
            case: converging(100, Cut::Nothing, Budget { alarms: 3, crashes: 1, ..none }),
            further: Some(converging(
                160,
                Cut::Nothing,
                Budget { alarms: 3, crashes: 1, restarts: 1, renewals: 1, ..none },
            )),
            ..base()
        },
        Scenario {
            name: "dismissed",
            about: "three peers; somebody wants the trader to resign, before its first sale or with one under way: there \
                    comes to be another that all know",
            bounds: "2 alarms, 1 sale, 1 resignation by hand. It is written like any other, and its peer sits out a term.",
            landmarks: vec![Landmark::TookOffice, Landmark::DismissedInFlight],
            case: converging(160, Cut::Nothing, Budget { alarms: 2, sales: 1, dismissals: 1, ..none }),
            further: Some(converging(200, Cut::Nothing, Budget { alarms: 3, sales: 1, dismissals: 1, ..none })),
            ..base()
        },
        Scenario {
            name: "lied-to",
            about: "three peers; a member tells one that it leads, in an epoch that nobody was granted, and goes on to tell \
                    everybody for ever: there comes to be one trader that all know, of a real epoch",
            bounds: "3 alarms, 1 heartbeat of an epoch that is five too high, to any peer at any moment, whoever else it \
                     tells: the trader, a peer that stands, calls or follows. The ledger is shown that epoch as well, and \
                     must not stop.",
            landmarks: vec![Landmark::TookOffice, Landmark::SecondEpoch, Landmark::NoSuchEpoch, Landmark::MarkRefused],
            case: converging(700, Cut::Liar, Budget { alarms: 3, lies: 1, ..none }),
            further: Some(converging(1_000, Cut::Liar, Budget { alarms: 4, lies: 1, ..none })),
            ..base()
        },
        Scenario {
            name: "duel",
            about: "three peers; the highest is cut off from the ledger for good, in office or before it: another \
                    comes to lead",
            bounds: "3 alarms, 1 renewal: when it is cut off, it may hold the office, claim it, or be calling an \
                     election. A winner that can never claim must not win again and again.",
            landmarks: vec![Landmark::TookOffice, Landmark::Heartbeat],
            case: converging(140, Cut::FromLedger(PeerId(2)), Budget { alarms: 3, renewals: 1, ..none }),
            further: Some(converging(224, Cut::FromLedger(PeerId(2)), Budget { alarms: 4, renewals: 1, ..none })),
            ..base()
        },
        Scenario {
            name: "duel-one-way",
            about: "three peers; the ledger hears the highest and cannot answer it: another comes to lead",
            bounds: "3 alarms, 1 renewal: its claims are granted and it never learns of it.",
            landmarks: vec![Landmark::TookOffice, Landmark::Heartbeat],
            case: converging(140, Cut::AnswersOfLedger(PeerId(2)), Budget { alarms: 3, renewals: 1, ..none }),
            further: Some(converging(224, Cut::AnswersOfLedger(PeerId(2)), Budget { alarms: 4, renewals: 1, ..none })),
            ..base()
        },
        Scenario {
            name: "wedge",
            about: "three peers; the highest hears the ledger and no other peer: it leaves the office to the others",
            bounds: "3 alarms, 1 renewal: when it is cut off, it may hold the office, claim it, or be calling an \
                     election.",
            landmarks: vec![Landmark::TookOffice, Landmark::Heartbeat],
            case: converging(190, Cut::FromOverlay(PeerId(2)), Budget { alarms: 3, renewals: 1, ..none }),
            further: Some(converging(304, Cut::FromOverlay(PeerId(2)), Budget { alarms: 4, renewals: 1, ..none })),
            ..base()
        },
        Scenario {
            name: "lost-answers",
            about: "three peers; the ledger's first answer to every append is lost: sending the append again settles \
                    it",
            bounds: "2 alarms, 1 sale: a claim, a renewal and a sale each lose their first answer.",
            landmarks: vec![Landmark::TookOffice, Landmark::Resigned],
            case: converging(260, Cut::FirstAnswers, Budget { alarms: 2, sales: 1, ..none }),
            further: Some(converging(416, Cut::FirstAnswers, Budget { alarms: 3, sales: 1, ..none })),
            ..base()
        },
        Scenario {
            name: "long-reads",
            about: "two peers; reading what was written before takes longer than a peer waits for one answer, and \
                    still makes progress",
            bounds: "2 alarms, 1 snapshot: 5 records of a former term, one per answer, or a snapshot in as many \
                     chunks; each answer takes longer than half the time a peer waits.",
            landmarks: vec![Landmark::SeveralChunks, Landmark::CutRead, Landmark::Inherited],
            case: Participants {
                convergence: Some(Convergence { within: 300, lasting: LASTING, cut: Cut::SlowReads }),
                ..long(Budget { alarms: 2, snapshots: 1, ..none })
            },
            further: Some(Participants {
                convergence: Some(Convergence { within: 400, lasting: LASTING, cut: Cut::SlowReads }),
                ..long(Budget { alarms: 3, snapshots: 1, ..none })
            }),
            ..base()
        },
        Scenario {
            name: "survivor",
            about: "two peers; one dies, and the other, which may have resigned, comes to lead",
            bounds: "3 alarms, 1 sale, 1 crash: the survivor resigned in the last term, in an earlier one, or never.",
            landmarks: vec![Landmark::Resigned, Landmark::TraderCrashed, Landmark::LoneSurvivor],
            case: surviving(Budget { alarms: 3, sales: 1, crashes: 1, ..none }),
            further: Some(surviving(Budget { alarms: 4, sales: 2, crashes: 1, ..none })),
            ..base()
        },
        Scenario {
            name: "silent-ledger",
            about: "three peers; nobody hears the ledger any more: in the end no peer thinks it leads or keeps \
                    claiming",
            bounds: "3 alarms, 1 renewal: when the ledger falls silent, a peer may hold the office, claim it, or be \
                     calling an election.",
            landmarks: vec![Landmark::TookOffice, Landmark::Heartbeat],
            case: converging(180, Cut::Ledger, Budget { alarms: 3, renewals: 1, ..none }),
            further: Some(converging(288, Cut::Ledger, Budget { alarms: 4, renewals: 1, ..none })),
            ..base()
        },
    ]
}
