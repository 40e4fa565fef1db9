//! The inputs that the machines were given in each role. An input that no scenario tries in some role is a gap.

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
            /// Every one, in order of declaration.
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
    /// The inputs that a machine can be given.
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
        /// "I have resigned this epoch."
        Resigned = "election: resigned",
        /// The trader is alive.
        Heartbeat = "heartbeat",
        /// A buyer's clock.
        ClockMulticast = "clock multicast",
        /// A buyer's request.
        Request = "request",
        /// A seller's deposit.
        Deposit = "deposit",
        /// "A seat, please."
        Join = "request for a seat",
        /// "Nothing more of mine is stamped up to this", from one or several buyers.
        Promises = "promises",
        /// The trader's next request waits, and buyers are asked for promises.
        Wave = "wave",
        /// "What was sold?"
        AskSales = "question after sales",
        /// A buyer's status.
        BuyerStatus = "buyer's status",
        /// A seller's status.
        SellerStatus = "seller's status",
        /// A message for another peer, to forward.
        Relayed = "something to relay",
        /// The election's timer.
        ElectionTimer = "election timer",
        /// Ask the ledger again.
        RetryTimer = "ledger retry timer",
        /// Give up waiting for the ledger.
        GiveUpTimer = "ledger give-up timer",
        /// Renew the term.
        RenewalTimer = "renewal timer",
        /// The buyer's timer.
        BuyerTimer = "buyer's timer",
        /// The seller's timer.
        SellerTimer = "seller's timer",
        /// The trader's next request still waits.
        WaveTimer = "wave timer",
        /// A wave is answered without those that are silent.
        GatherTimer = "gathering timer",
        /// Neighbours may be told of a clock multicast by itself.
        ClockTimer = "clock interval timer",
        /// A buyer's choice of what to request.
        WishChosen = "wish chosen",
        /// A seller's choice of what to deposit.
        OfferChosen = "offer chosen",
        /// The ledger's status.
        Status = "ledger: status",
        /// A chunk of a snapshot.
        Chunk = "ledger: snapshot chunk",
        /// Records of the ledger.
        Records = "ledger: records",
        /// An append is durable.
        Appended = "ledger: appended",
        /// An append was refused because its epoch is over.
        Fenced = "ledger: fenced",
        /// An append was refused because it is not at the head.
        Conflict = "ledger: conflict",
        /// A claim was refused because the lease is active.
        LeaseActive = "ledger: lease active",
        /// The ledger can be reached.
        LedgerUp = "ledger up",
        /// The ledger cannot be reached.
        LedgerDown = "ledger down",
        /// A link works.
        LinkUp = "link up",
        /// A link no longer works.
        LinkDown = "link down",
        /// A write is durable.
        Written = "written",
        /// Somebody wants a trader to resign.
        Resign = "resign (by hand)",
        /// The adversary makes a peer stand for office.
        Stand = "stand (by the adversary)",
        /// The adversary makes a peer leave the office.
        Yield = "yield (by the adversary)",
        /// A crash and, later, a start from what was durable.
        Start = "start",
        /// The ledger is asked for its status.
        StatusCall = "call: status",
        /// The ledger is asked for records.
        ReadCall = "call: read",
        /// The ledger is asked to append a claim.
        ClaimCall = "call: claim",
        /// The ledger is asked to append a batch of the holder.
        BatchCall = "call: batch",
        /// The ledger is asked to renew a term.
        RenewalCall = "call: renewal",
        /// The ledger learns that a batch is durable.
        Persisted = "persisted",
        /// The lease runs out.
        Lease = "lease timer",
        /// A clock counts a local event.
        Tick = "clock: local event",
        /// A clock receives a reading.
        Receive = "clock: receive",
        /// A clock takes over what it read.
        CatchUp = "clock: catch up",
    }
}

names! {
    /// The roles in which machines are given inputs.
    Role {
        /// A peer that holds the office, or thinks so.
        Trader = "trader",
        /// A peer that stands for the office.
        Candidate = "candidate",
        /// A peer out of office that buys.
        Buyer = "buyer",
        /// A peer out of office that sells.
        Seller = "seller",
        /// A peer out of office that does both, or neither.
        Peer = "peer",
        /// The ledger.
        Ledger = "ledger",
        /// A clock alone.
        Clock = "clock",
        /// An overlay alone.
        Relay = "relay",
    }
}

impl Kind {
    /// The input when this timer fires.
    #[must_use]
    pub fn of_timer(timer: Timer) -> Kind {
        match timer {
            Timer::Election => Kind::ElectionTimer,
            Timer::LedgerRetry => Kind::RetryTimer,
            Timer::LedgerGiveUp => Kind::GiveUpTimer,
            Timer::Renewal => Kind::RenewalTimer,
            Timer::Buyer => Kind::BuyerTimer,
            Timer::Seller => Kind::SellerTimer,
            Timer::Wave => Kind::WaveTimer,
            Timer::Gather => Kind::GatherTimer,
            Timer::ClockInterval => Kind::ClockTimer,
        }
    }

    /// The input when this choice is made.
    #[must_use]
    pub fn of_choice(choice: Choice) -> Kind {
        match choice {
            Choice::Wish => Kind::WishChosen,
            Choice::Offer => Kind::OfferChosen,
        }
    }

    /// The input when this message arrives at its destination.
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
            Body::Wave => Kind::Wave,
            Body::Promises { .. } => Kind::Promises,
            Body::Clock => Kind::ClockMulticast,
            Body::Client(ClientMessage::Request(_)) => Kind::Request,
            Body::Client(ClientMessage::Deposit(_)) => Kind::Deposit,
            Body::Client(ClientMessage::Join { .. }) => Kind::Join,
            Body::Client(ClientMessage::AskSales { .. }) => Kind::AskSales,
            Body::Trader(TraderMessage::Buyer(_)) => Kind::BuyerStatus,
            Body::Trader(TraderMessage::Seller(_)) => Kind::SellerStatus,
        }
    }

    /// The input when this answer of the ledger arrives.
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

    /// The input when the ledger receives this request.
    #[must_use]
    pub fn of_request(request: &LedgerRequest) -> Kind {
        match request {
            LedgerRequest::Status => Kind::StatusCall,
            LedgerRequest::Read { .. } => Kind::ReadCall,
            LedgerRequest::Append(batch) => Kind::of_batch(batch),
        }
    }

    /// The input when the ledger receives this append.
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
    /// Whether an empty cell is a gap. It is not where a machine in this role is never given this input, or where the
    /// role makes no difference to the machine that is given it.
    #[must_use]
    pub fn concerns(self, role: Role) -> bool {
        use Role::{Buyer, Candidate, Clock, Ledger, Peer, Relay, Seller, Trader};
        match self {
            // What a peer buys or sells makes no difference to elections, links, disks and the ledger's answers: out of
            // office it counts as a peer.
            Kind::Call
            | Kind::Anyone
            | Kind::AnswerOk
            | Kind::Leader
            | Kind::Coordinator
            | Kind::Resigned
            | Kind::Heartbeat
            | Kind::Appended
            | Kind::Fenced
            | Kind::LedgerUp
            | Kind::LedgerDown
            | Kind::Written => matches!(role, Trader | Candidate | Peer),
            Kind::LinkUp | Kind::LinkDown | Kind::Relayed => matches!(role, Trader | Candidate | Peer | Relay),
            // A peer that stands or leads waits for the ledger, not for the election.
            Kind::ElectionTimer => role == Peer,
            // A peer asks for the status only out of office.
            Kind::Status => role == Peer,
            Kind::RetryTimer => matches!(role, Trader | Candidate),
            Kind::GiveUpTimer => matches!(role, Trader | Candidate),
            Kind::RenewalTimer | Kind::WaveTimer => role == Trader,
            Kind::Chunk | Kind::Records => role == Candidate,
            // A trader, whose appends nobody can overtake, is told so only in late answers.
            Kind::Conflict => matches!(role, Trader | Candidate),
            Kind::LeaseActive => matches!(role, Candidate | Peer),
            // A peer out of office drops these.
            Kind::Request | Kind::Join | Kind::Promises | Kind::Deposit | Kind::AskSales => role == Trader,
            // To a buyer a wave says what a heartbeat says that asks; that one is tried with whole peers.
            Kind::Wave | Kind::GatherTimer => role == Relay,
            // In office, or standing for it, a buyer is still a buyer.
            Kind::BuyerStatus | Kind::BuyerTimer | Kind::WishChosen => matches!(role, Trader | Candidate | Buyer),
            // A peer's gossip deals with both, no matter what else the peer is.
            Kind::ClockMulticast | Kind::ClockTimer => matches!(role, Buyer | Relay),
            Kind::SellerStatus | Kind::SellerTimer | Kind::OfferChosen => matches!(role, Trader | Candidate | Seller),
            Kind::Resign => role == Trader,
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
    /// The role of a participant at the moment.
    #[must_use]
    pub fn of(participant: &Participant) -> Role {
        match participant.office() {
            Some(office) if office.epoch().is_some() => Role::Trader,
            Some(office) if office.is_standing() => Role::Candidate,
            Some(_) | None => Role::of_client(participant.buyer().is_some(), participant.seller().is_some()),
        }
    }

    /// The role of a peer out of office that buys, sells, or both.
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
    /// The input.
    pub kind: Kind,
    /// The machine's role at that moment.
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

    /// Counts one step.
    pub fn count(&self, Stepped { kind, role }: Stepped) {
        self.cell(kind, role).fetch_add(1, Ordering::Relaxed);
    }

    /// How often this input was tried in this role.
    #[must_use]
    pub fn of(&self, kind: Kind, role: Role) -> u64 {
        self.cell(kind, role).load(Ordering::Relaxed)
    }
}
