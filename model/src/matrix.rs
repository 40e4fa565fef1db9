//! Which inputs the machines were given, in which roles: an input that no scenario ever tries in some role is a gap.

use std::{
    fmt,
    sync::atomic::{AtomicU64, Ordering},
};

use serde::Serialize;

macro_rules! names {
    ($(#[$doc:meta])* $name:ident { $($(#[$variant_doc:meta])* $variant:ident = $text:literal,)* }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
        #[serde(rename_all = "snake_case")]
        pub enum $name {
            $($(#[$variant_doc])* $variant,)*
        }

        impl $name {
            /// All there are.
            pub const ALL: &'static [$name] = &[$($name::$variant,)*];
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(match self { $($name::$variant => $text,)* })
            }
        }
    };
}

names! {
    /// What a machine can be given.
    Kind {
        /// "Is anybody higher than me?"
        Call = "election: call",
        /// "Is anybody eligible?"
        Anyone = "election: anyone?",
        /// "I am; leave it to me."
        AnswerOk = "election: answer",
        /// "I hear this leader."
        Leader = "election: leader",
        /// "I hold this epoch."
        Coordinator = "election: coordinator",
        /// "I have given it back."
        Resigned = "election: resigned",
        /// The trader lives.
        Heartbeat = "heartbeat",
        /// A buyer's clock.
        ClockMulticast = "clock multicast",
        /// A request.
        Request = "request",
        /// A deposit.
        Deposit = "deposit",
        /// "What was sold?"
        AskSales = "question after sales",
        /// A buyer's standing.
        BuyerStanding = "buyer's standing",
        /// A seller's standing.
        SellerStanding = "seller's standing",
        /// Something on its way to somebody else.
        Relayed = "something to relay",
        /// The election's timer.
        ElectionTimer = "election timer",
        /// Ask the ledger again.
        RetryTimer = "ledger retry timer",
        /// Nothing came of the ledger.
        PatienceTimer = "ledger patience timer",
        /// Renew the term.
        RenewalTimer = "renewal timer",
        /// The buyer's timer.
        BuyerTimer = "buyer's timer",
        /// The seller's timer.
        SellerTimer = "seller's timer",
        /// The clock may be multicast again.
        ClockTimer = "clock interval timer",
        /// A choice of what to want.
        WishChosen = "wish chosen",
        /// A choice of what to deposit.
        OfferChosen = "offer chosen",
        /// A status of the ledger.
        Status = "ledger: status",
        /// A part of a snapshot.
        Part = "ledger: snapshot part",
        /// Records.
        Records = "ledger: records",
        /// An append is durable.
        Appended = "ledger: appended",
        /// An append of an epoch that is over.
        Fenced = "ledger: fenced",
        /// An append at another place than the head.
        Conflict = "ledger: conflict",
        /// A claim of an office that is held.
        Held = "ledger: held",
        /// The ledger can be reached.
        LedgerUp = "ledger up",
        /// The ledger cannot be reached.
        LedgerDown = "ledger down",
        /// A link works.
        LinkUp = "link up",
        /// A link works no longer.
        LinkDown = "link down",
        /// A write is durable.
        Written = "written",
        /// The adversary says: take office.
        Stand = "stand (by the adversary)",
        /// The adversary says: leave it.
        Yield = "yield (by the adversary)",
        /// A crash and, later, a start from what was durable.
        Start = "start",
        /// Asked for the status.
        StatusCall = "call: status",
        /// Asked for records.
        ReadCall = "call: read",
        /// A claim.
        ClaimCall = "call: claim",
        /// A batch of the holder.
        BatchCall = "call: batch",
        /// A renewal.
        RenewalCall = "call: renewal",
        /// A batch is durable.
        Persisted = "persisted",
        /// The lease runs out.
        Lease = "lease timer",
        /// A tick of a clock by itself.
        Tick = "clock: local event",
        /// A clock reading arrives.
        Receive = "clock: receive",
        /// A clock takes over what it read.
        CatchUp = "clock: catch up",
    }
}

names! {
    /// Who was given it.
    Role {
        /// A peer that holds the office, or thinks so.
        Trader = "trader",
        /// A peer that tries to take it.
        Candidate = "candidate",
        /// A peer out of office that buys.
        Buyer = "buyer",
        /// A peer out of office that sells.
        Seller = "seller",
        /// A peer out of office that does both, or neither.
        Peer = "peer",
        /// The ledger.
        Ledger = "ledger",
        /// A clock by itself.
        Clock = "clock",
        /// An overlay by itself.
        Relay = "relay",
    }
}

/// One input of one machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stepped {
    /// What it was given.
    pub kind: Kind,
    /// What it was at that moment.
    pub role: Role,
}

/// How often each input was tried in each role, from all threads of a search. Every step of every unique state is tried
/// once, so after a complete search the counts are the same in every run.
#[derive(Debug)]
pub struct Matrix(Vec<AtomicU64>);

impl Default for Matrix {
    fn default() -> Matrix {
        Matrix((0..Kind::ALL.len() * Role::ALL.len()).map(|_| AtomicU64::new(0)).collect())
    }
}

impl Matrix {
    fn cell(&self, kind: Kind, role: Role) -> &AtomicU64 {
        &self.0[kind as usize * Role::ALL.len() + role as usize]
    }

    /// Counts one.
    pub fn count(&self, Stepped { kind, role }: Stepped) {
        self.cell(kind, role).fetch_add(1, Ordering::Relaxed);
    }

    /// How often this input was tried in this role.
    #[must_use]
    pub fn of(&self, kind: Kind, role: Role) -> u64 {
        self.cell(kind, role).load(Ordering::Relaxed)
    }
}
