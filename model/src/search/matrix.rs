//! Which inputs the machines were given, in which roles: an input that no scenario ever tries in some role is a gap.

use std::{
    fmt,
    sync::atomic::{AtomicU64, Ordering},
};

use bazaar_protocol::{
    election::ElectionMessage,
    input::{Choice, Timer},
    ledger::{LedgerAnswer, LedgerRequest, Verdict},
    message::{Body, ClientMessage, TraderMessage},
    participant::Participant,
    record::Batch,
};
use serde::{Deserialize, Serialize};

macro_rules! names {
    ($(#[$doc:meta])* $name:ident { $($(#[$variant_doc:meta])* $variant:ident = $text:literal,)* }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
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
        /// A buyer's status.
        BuyerStatus = "buyer's status",
        /// A seller's status.
        SellerStatus = "seller's status",
        /// Something on its way to somebody else.
        Relayed = "something to relay",
        /// The election's timer.
        ElectionTimer = "election timer",
        /// Ask the ledger again.
        RetryTimer = "ledger retry timer",
        /// Nothing came of the ledger.
        GiveUpTimer = "ledger give-up timer",
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
        /// A chunk of a snapshot.
        Chunk = "ledger: snapshot chunk",
        /// Records.
        Records = "ledger: records",
        /// An append is durable.
        Appended = "ledger: appended",
        /// An append of an epoch that is over.
        Fenced = "ledger: fenced",
        /// An append at another place than the head.
        Conflict = "ledger: conflict",
        /// A claim that the active lease keeps out.
        LeaseActive = "ledger: lease active",
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

impl Kind {
    /// A timer that fires.
    #[must_use]
    pub fn of_timer(timer: Timer) -> Kind {
        match timer {
            Timer::Election => Kind::ElectionTimer,
            Timer::LedgerRetry => Kind::RetryTimer,
            Timer::LedgerGiveUp => Kind::GiveUpTimer,
            Timer::Renewal => Kind::RenewalTimer,
            Timer::Buyer => Kind::BuyerTimer,
            Timer::Seller => Kind::SellerTimer,
            Timer::ClockInterval => Kind::ClockTimer,
        }
    }

    /// A choice that is made.
    #[must_use]
    pub fn of_choice(choice: Choice) -> Kind {
        match choice {
            Choice::Wish => Kind::WishChosen,
            Choice::Offer => Kind::OfferChosen,
        }
    }

    /// A message that arrives where it is meant to.
    #[must_use]
    pub fn of_body(body: &Body) -> Kind {
        match body {
            Body::Election(ElectionMessage::Call) => Kind::Call,
            Body::Election(ElectionMessage::Anyone) => Kind::Anyone,
            Body::Election(ElectionMessage::Answer) => Kind::AnswerOk,
            Body::Election(ElectionMessage::Leader { .. }) => Kind::Leader,
            Body::Election(ElectionMessage::Coordinator { .. }) => Kind::Coordinator,
            Body::Election(ElectionMessage::Resigned { .. }) => Kind::Resigned,
            Body::Heartbeat { .. } => Kind::Heartbeat,
            Body::Clock => Kind::ClockMulticast,
            Body::Client(ClientMessage::Request(_)) => Kind::Request,
            Body::Client(ClientMessage::Deposit(_)) => Kind::Deposit,
            Body::Client(ClientMessage::AskSales { .. }) => Kind::AskSales,
            Body::Trader(TraderMessage::Buyer(_)) => Kind::BuyerStatus,
            Body::Trader(TraderMessage::Seller(_)) => Kind::SellerStatus,
        }
    }

    /// An answer of the ledger.
    #[must_use]
    pub fn of_answer(answer: &LedgerAnswer) -> Kind {
        match answer {
            LedgerAnswer::Status => Kind::Status,
            LedgerAnswer::Chunk { .. } => Kind::Chunk,
            LedgerAnswer::Records { .. } => Kind::Records,
            LedgerAnswer::Append { verdict, .. } => match verdict {
                Verdict::Appended { .. } => Kind::Appended,
                Verdict::Fenced => Kind::Fenced,
                Verdict::Conflict => Kind::Conflict,
                Verdict::LeaseActive => Kind::LeaseActive,
            },
        }
    }

    /// What the ledger is asked for.
    #[must_use]
    pub fn of_request(request: &LedgerRequest) -> Kind {
        match request {
            LedgerRequest::Status => Kind::StatusCall,
            LedgerRequest::Read { .. } => Kind::ReadCall,
            LedgerRequest::Append(batch) => Kind::of_batch(batch),
        }
    }

    /// An append that the ledger is asked for.
    #[must_use]
    pub fn of_batch(batch: &Batch) -> Kind {
        match batch.claimant() {
            Some(_) => Kind::ClaimCall,
            None if batch.records.is_empty() => Kind::RenewalCall,
            None => Kind::BatchCall,
        }
    }
}

impl Kind {
    /// Whether an empty cell is a gap. It is none where a machine in this role is never given this, or where it is the
    /// same as another role for whoever is given it.
    #[must_use]
    pub fn concerns(self, role: Role) -> bool {
        use Role::{Buyer, Candidate, Clock, Ledger, Peer, Relay, Seller, Trader};
        match self {
            // Elections, links, disks and the ledger's answers know nothing of what a peer buys or sells: out of office
            // it is a peer.
            Kind::Call
            | Kind::Anyone
            | Kind::AnswerOk
            | Kind::Leader
            | Kind::Coordinator
            | Kind::Resigned
            | Kind::Heartbeat
            | Kind::ClockMulticast
            | Kind::Appended
            | Kind::Fenced
            | Kind::LedgerUp
            | Kind::LedgerDown
            | Kind::Written => matches!(role, Trader | Candidate | Peer),
            Kind::LinkUp | Kind::LinkDown | Kind::Relayed => matches!(role, Trader | Candidate | Peer | Relay),
            // Who stands or leads waits for the ledger, not for the election.
            Kind::ElectionTimer => role == Peer,
            // Out of office it asks for the status, and only then.
            Kind::Status => role == Peer,
            Kind::RetryTimer => matches!(role, Trader | Candidate),
            Kind::GiveUpTimer => matches!(role, Trader | Candidate),
            Kind::RenewalTimer => role == Trader,
            Kind::Chunk | Kind::Records => role == Candidate,
            // A trader is told so only of an append that nobody else could have overtaken: never, but for what is late.
            Kind::Conflict => matches!(role, Trader | Candidate),
            Kind::LeaseActive => matches!(role, Candidate | Peer),
            // Whoever is not in office drops them.
            Kind::Request | Kind::Deposit | Kind::AskSales => role == Trader,
            // In office, or on the way there, a buyer is a buyer still.
            Kind::BuyerStatus | Kind::BuyerTimer | Kind::WishChosen => matches!(role, Trader | Candidate | Buyer),
            // It ends the interval, whatever else the peer is.
            Kind::ClockTimer => role == Buyer,
            Kind::SellerStatus | Kind::SellerTimer | Kind::OfferChosen => matches!(role, Trader | Candidate | Seller),
            Kind::Stand => role == Peer,
            Kind::Yield => matches!(role, Trader | Candidate),
            Kind::Start => matches!(role, Buyer | Seller | Peer | Ledger | Clock | Relay),
            Kind::StatusCall
            | Kind::ReadCall
            | Kind::ClaimCall
            | Kind::BatchCall
            | Kind::RenewalCall
            | Kind::Persisted
            | Kind::Lease => role == Ledger,
            Kind::Tick | Kind::Receive | Kind::CatchUp => role == Clock,
        }
    }
}

impl Role {
    /// What a participant is at the moment.
    #[must_use]
    pub fn of(participant: &Participant) -> Role {
        match participant.office() {
            Some(office) if office.epoch().is_some() => Role::Trader,
            Some(office) if office.is_standing() => Role::Candidate,
            Some(_) | None => Role::of_client(participant.buyer().is_some(), participant.seller().is_some()),
        }
    }

    /// A peer out of office, by what it does there.
    #[must_use]
    pub fn of_client(buys: bool, sells: bool) -> Role {
        match (buys, sells) {
            (true, false) => Role::Buyer,
            (false, true) => Role::Seller,
            (true, true) | (false, false) => Role::Peer,
        }
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
