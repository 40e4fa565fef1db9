//! Several ledgers over one replicated store (SPEC J3): the subject of [`trading`](super::trading) and
//! [`election`](super::election), with two ledger processes in place of one, each of which knows of the other's appends
//! only what the store tells it. S15 is asked as well: nobody is told what is no longer so.

use bazaar_protocol::{
    config::{Limits, Ordering, Terms},
    invariant::Property,
};

use crate::{
    participants::Cut,
    participants::{
        Budget, Participants, Role,
        election::converging,
        trading::{FISH, base, both, scenario},
    },
    subject::{
        landmark::Landmark,
        scenario::{Family, Scenario},
    },
};

/// Two ledgers. A call that comes while one of them waits for the store waits on its way.
fn two(bazaar: Participants) -> Participants {
    Participants { ledgers: 2, ..bazaar }
}

/// The same, but a call may wait in a ledger behind the one that it is at work on.
fn with_room(bazaar: Participants) -> Participants {
    let limits = Limits { waiting_calls: 2, ..bazaar.limits };
    Participants { limits, ..bazaar }
}

/// The same, where records are read some time after the look at the store that a read begins with.
fn reading_slowly(bazaar: Participants) -> Participants {
    Participants { reads_apart: true, ..bazaar }
}

/// Two peers that may lead, and passing customers.
fn traders() -> Participants {
    two(Participants::new(vec![Role::trader(), Role::trader()], 8))
}

/// A trader, a buyer and a seller.
fn market() -> Vec<Role> {
    vec![Role::trader().immortal(), Role::trader().immortal(), Role::buyer(FISH, 1).eager(), Role::seller(FISH, 1, 0)]
}

fn traders_with(budget: Budget) -> Participants {
    Participants { budget, ..traders() }
}

fn in_order(bazaar: Participants) -> Participants {
    let terms = Terms { ordering: Ordering::Stable, ..bazaar.terms };
    Participants { terms, ..bazaar }
}

/// The scenarios of the model, in the order in which they are checked.
#[must_use]
pub fn scenarios() -> Vec<Scenario<Participants>> {
    let none = Budget::default();
    let of = |case: (Participants, Option<Participants>), about: Scenario<Participants>| {
        scenario(case, Scenario { family: Family::Replicated, ..about })
    };
    let seeing = |bazaar: Participants| Participants { signs: true, ..bazaar };
    let slow = |bazaar: Participants| Participants { slow_looks: true, ..bazaar };
    vec![
        of(
            both(traders(), Budget { stands: 2, renewals: 1, ..none }, Budget { stands: 2, renewals: 2, ..none }),
            Scenario {
                name: "replicated-claims",
                about: "two peers claim the office, each at either of two ledgers or at both, which never see what the other \
                        appends and renews",
                bounds: "2 claims, 1 renewal: a claim meets another's at the store, and a term that its ledger does not \
                         know.",
                landmarks: vec![
                    Landmark::SecondEpoch,
                    Landmark::OtherGotInFirst,
                    Landmark::OutcomeFound,
                    Landmark::ClaimMetLease,
                    Landmark::ClaimFenced,
                    Landmark::TraderFenced,
                    Landmark::Contested,
                ],
                ..base()
            },
        ),
        of(
            both(
                slow(with_room(traders())),
                Budget { stands: 2, takes: Some(4), ..none },
                Budget { stands: 2, takes: Some(5), renewals: 1, ..none },
            ),
            Scenario {
                name: "replicated-waiting",
                about: "calls come while a ledger looks at the store, and while it waits for an append",
                bounds: "2 claims, 4 calls at either ledger, room for two in each: one is answered from what the look \
                         or the append before it found, and the other from the next.",
                landmarks: vec![Landmark::TookOffice, Landmark::CallDropped, Landmark::AppendToldOthers],
                ..base()
            },
        ),
        of(
            both(
                with_room(traders()),
                Budget { stands: 2, unknowns: 1, takes: Some(4), ..none },
                Budget { stands: 2, unknowns: 1, takes: Some(5), ..none },
            ),
            Scenario {
                name: "replicated-behind",
                about: "calls wait in a ledger behind an append of unknown outcome, or are answered by it",
                bounds: "2 claims, 1 unknown outcome, 4 calls at either ledger, room for two in each.",
                landmarks: vec![Landmark::OutcomeUnknown, Landmark::OutcomeFound, Landmark::AppendToldOthers],
                ..base()
            },
        ),
        of(
            both(slow(seeing(traders())), Budget { stands: 1, renewals: 1, ..none }, Budget { stands: 2, ..none }),
            Scenario {
                name: "replicated-looks",
                about: "a ledger looks at the store, and before it hears what that found, the other appends",
                bounds: "1 claim, 1 renewal, in the course of which the same claim is at both ledgers.",
                landmarks: vec![Landmark::TookOffice, Landmark::OutcomeFound, Landmark::RenewedElsewhere],
                ..base()
            },
        ),
        of(
            both(traders(), Budget { stands: 2, unknowns: 1, ..none }, Budget { stands: 2, unknowns: 2, ..none }),
            Scenario {
                name: "replicated-unknown",
                about: "a ledger does not learn what became of an append, which is carried out before or after that, or \
                        never",
                bounds: "2 claims, 1 unknown outcome: the other ledger may be at work meanwhile.",
                landmarks: vec![Landmark::OutcomeUnknown, Landmark::OutcomeFound, Landmark::OtherGotInFirst],
                ..base()
            },
        ),
        of(
            both(
                traders(),
                Budget { stands: 2, ledger_crashes: 1, ..none },
                Budget { stands: 2, ledger_crashes: 2, ..none },
            ),
            Scenario {
                name: "replicated-crash",
                about: "a ledger crashes at any moment, with an append under way or not, and comes back",
                bounds: "2 claims, 1 crash of a ledger: its append may be carried out long afterwards.",
                landmarks: vec![Landmark::KeptUnanswered, Landmark::StrayWritten, Landmark::OutcomeFound],
                ..base()
            },
        ),
        of(
            both(
                seeing(traders()),
                Budget { stands: 2, blinds: 1, ..none },
                Budget { stands: 2, blinds: 1, renewals: 1, ..none },
            ),
            Scenario {
                name: "replicated-blind",
                about: "ledgers see late what the other does, and one of them sees nothing of it for a time",
                bounds: "2 claims, 1 time without a watch, before or while a term is held.",
                landmarks: vec![Landmark::ClaimMetLease, Landmark::SecondEpoch],
                ..base()
            },
        ),
        of(
            both(
                traders(),
                Budget { stands: 2, declines: 1, unknowns: 1, ..none },
                Budget { stands: 2, declines: 2, unknowns: 1, renewals: 1, ..none },
            ),
            Scenario {
                name: "replicated-full",
                about: "the store says that it is full, and may have carried out what it says that of",
                bounds: "2 claims, of which 1 is declined, perhaps after its outcome was unknown.",
                landmarks: vec![Landmark::StoreFull, Landmark::AppendDeclined, Landmark::OutcomeFound],
                ..base()
            },
        ),
        of(
            both(
                reading_slowly(traders()),
                Budget { stands: 2, takes: Some(3), compactions: 2, ..none },
                Budget { stands: 2, takes: Some(4), compactions: 2, ledger_crashes: 1, ..none },
            ),
            Scenario {
                name: "replicated-snapshot",
                about: "both ledgers put a snapshot in place of the records below it, step by step, while the books are read",
                bounds: "2 claims, 2 snapshots, by one ledger or by both.",
                landmarks: vec![
                    Landmark::BaseMoved,
                    Landmark::BaseMovedByAnother,
                    Landmark::ReadSnapshot,
                    Landmark::ReadTooLate,
                ],
                ..base()
            },
        ),
        of(
            both(
                reading_slowly(traders()),
                Budget { stands: 2, wipes: 1, ..none },
                Budget { stands: 2, wipes: 1, ledger_crashes: 1, ..none },
            ),
            Scenario {
                name: "replicated-reads",
                about: "a ledger looks at the store, and what it then reads there is read later",
                bounds: "2 claims, 1 wiped store.",
                landmarks: vec![Landmark::TookOffice, Landmark::ReadTooLate, Landmark::StoreLost],
                ..base()
            },
        ),
        of(
            both(
                traders(),
                Budget { stands: 1, ledger_crashes: 1, wipes: 1, ..none },
                Budget { stands: 2, wipes: 1, ..none },
            ),
            Scenario {
                name: "replicated-wiped",
                about: "the store is wiped",
                bounds: "1 claim, 1 wiped store, 1 crash of a ledger, which then knows nothing of what was there.",
                landmarks: vec![Landmark::StoreLost],
                ..base()
            },
        ),
        of(
            both(
                Participants { only: Some(Property::S3), ..traders() },
                Budget { stands: 1, old_images: 1, ..none },
                Budget { stands: 2, old_images: 1, ..none },
            ),
            Scenario {
                name: "replicated-old-image",
                about: "an old image of the store is put back",
                bounds: "1 claim, 1 old image. What is appended to it is another history, so S3 alone is asked: whoever \
                         knows that something is missing stops.",
                landmarks: vec![Landmark::StoreLost, Landmark::OldImageNoticed],
                ..base()
            },
        ),
        of(
            both(
                two(Participants::new(market(), 8)),
                Budget { stands: 1, unknowns: 1, ..none },
                Budget { stands: 2, unknowns: 1, ..none },
            ),
            Scenario {
                name: "replicated-sale",
                about: "a buyer and a seller trade over two ledgers",
                bounds: "1 claim, 1 request, 1 deposit, 1 unknown outcome: of the claim, or of a batch.",
                landmarks: vec![Landmark::Sold, Landmark::SoldOut, Landmark::Refused, Landmark::OutcomeUnknown],
                ..base()
            },
        ),
        of(
            (traders_with(Budget { stands: 2, sales: 1, unknowns: 1, takes: Some(6), ..none }), None),
            Scenario {
                name: "replicated-rivals",
                about: "a trader sells something over either ledger, and another takes the office from it",
                bounds: "2 claims, 1 sale, 1 unknown outcome, 6 calls.",
                landmarks: vec![
                    Landmark::SecondEpoch,
                    Landmark::TraderFenced,
                    Landmark::OutcomeUnknown,
                    Landmark::OutcomeFound,
                ],
                ..base()
            },
        ),
        of(
            both(
                in_order(two(Participants::new(vec![Role::trader().immortal(), Role::buyer(FISH, 1)], 8))),
                Budget { stands: 2, unknowns: 1, ..none },
                Budget { stands: 2, unknowns: 1, renewals: 1, ..none },
            ),
            Scenario {
                name: "replicated-in-order",
                about: "a buyer is seated and served in the stable order over two ledgers",
                bounds: "2 claims of the one trader, 1 request, 1 unknown outcome.",
                landmarks: vec![Landmark::Seated, Landmark::Refused, Landmark::OutcomeUnknown, Landmark::OutcomeFound],
                ..base()
            },
        ),
        of(
            (seeing(two(converging(220, Cut::Nothing, Budget { alarms: 2, crashes: 1, blinds: 1, ..none }))), None),
            Scenario {
                name: "replicated-blind-convergence",
                about: "three peers and two ledgers, which see late what the other does; from every state, once faults stop, \
                        there comes to be one trader that all know",
                bounds: "2 alarms, 1 crash, 1 time in which a ledger sees nothing of the other.",
                landmarks: vec![Landmark::TookOffice, Landmark::TraderCrashed],
                ..base()
            },
        ),
        of(
            (two(converging(220, Cut::Nothing, Budget { alarms: 2, crashes: 1, unknowns: 1, ..none })), None),
            Scenario {
                name: "replicated-convergence",
                about: "three peers and two ledgers; from every state, once faults stop, there comes to be one trader \
                        that all know",
                bounds: "2 alarms, 1 crash, 1 unknown outcome. Each peer turns to one of the ledgers, and not all to the \
                         same.",
                landmarks: vec![Landmark::TookOffice, Landmark::TraderCrashed, Landmark::OutcomeFound],
                ..base()
            },
        ),
    ]
}
