//! The messages that peers send each other.

use alloc::vec::Vec;

use serde::{Deserialize, Serialize};

use crate::{
    account::{BuyerStatus, SellerStatus},
    clock::Time,
    election::ElectionMessage,
    id::{Epoch, Incarnation, PeerId, SaleNumber},
    ledger::Term,
    record::{Deposit, Request},
};

/// A message in transit through the overlay: what one neighbour hands to another.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Envelope {
    /// The peer that wrote it.
    pub source: PeerId,
    /// The writer's clock when it was sent. Only its destination merges it (SPEC C1). With a clock multicast and nothing
    /// else: the multicast that the neighbour is known to have heard of; if that is not this one, it answers.
    pub clock: Time,
    /// How it travels.
    pub route: Route,
    /// The message itself.
    pub body: Body,
    /// The highest clock multicast that the neighbour which hands it over has heard of, 0 for none (SPEC C2). It is not
    /// part of the message: each hop says its own.
    pub multicast: Time,
}

impl Envelope {
    /// The peer it is for; `None`: everybody.
    #[must_use]
    pub fn destination(&self) -> Option<PeerId> {
        match self.route {
            Route::Flood { to, .. } => to,
            Route::Direct { to, .. } => Some(to),
        }
    }

    /// The wave that this is, if it asks buyers for their promises (SPEC C5).
    #[must_use]
    pub fn wave(&self) -> Option<FloodId> {
        match self.route {
            Route::Flood { id, to: None } => self.body.asks().then_some(id),
            Route::Flood { to: Some(_), .. } | Route::Direct { .. } => None,
        }
    }

    /// Whether this envelope, handed to the same neighbour, says all that an `earlier` one says which still waits for
    /// the link: both carry a clock multicast and nothing else (SPEC C2).
    #[must_use]
    pub fn supersedes(&self, earlier: &Envelope) -> bool {
        (&self.body, &earlier.body) == (&Body::Clock, &Body::Clock) && self.multicast >= earlier.multicast
    }
}

/// How an envelope travels (SPEC A2).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Route {
    /// To every neighbour except the one it came from, once.
    Flood {
        /// Identifies the flood, so that duplicates are recognised.
        id: FloodId,
        /// The peer it is for; `None`: everybody.
        to: Option<PeerId>,
    },
    /// Along the path that the destination's newest message left behind.
    Direct {
        /// The peer it is for.
        to: PeerId,
        /// How many more hops it may take before it is flooded instead.
        hops: u32,
    },
}

/// Identifies a flood: the peer that started it, in which life, and its number in that life, from 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct FloodId {
    /// The peer that started it. For a unicast that found no path, the relay that turned it into a flood.
    pub origin: PeerId,
    /// The incarnation of that peer's life.
    pub incarnation: Incarnation,
    /// Its number in that life.
    pub number: u64,
}

/// The content of a message.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Body {
    /// A message of the election.
    Election(ElectionMessage),
    /// The trader is alive: sent only after a renewal that was confirmed since the last heartbeat (DESIGN R6).
    Heartbeat {
        /// The trader's epoch.
        epoch: Epoch,
        /// The place of the next request, if that waits until buyers were heard past it (SPEC C5): then this is a wave,
        /// and they promise.
        waits: Option<Time>,
    },
    /// The trader's next request waits until buyers were heard past it, and they are asked for their promises between two
    /// heartbeats (SPEC C5).
    Wave,
    /// The answer to a wave, from one neighbour to the next: what buyers promise.
    Promises {
        /// Who promises, and what.
        promises: Vec<(PeerId, Promise)>,
        /// Whether others follow in an envelope of their own.
        more: bool,
    },
    /// A clock multicast and nothing else (SPEC C2). A buyer multicasts its clock to everybody before a request; any
    /// envelope carries it on, and this one is for a neighbour to which no other goes.
    Clock,
    /// A client's message to the trader.
    Client(ClientMessage),
    /// The trader's message to a client.
    Trader(TraderMessage),
}

/// What a message says of a term.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TermSaid {
    /// Its epoch.
    pub epoch: Epoch,
    /// Who holds or held it.
    pub holder: PeerId,
    /// Whether its holder itself says that it holds it. Hearsay comes late: whoever passes it on may not know yet that the
    /// term is over, and that it is there at all is worth knowing in an election.
    pub is_held: bool,
}

impl TermSaid {
    /// Whether it cannot be true where this is the latest term: there is no epoch 0, an earlier term is over, and the latest
    /// has one holder, who does not hold it any more once it has resigned.
    #[must_use]
    pub fn is_contradicted(&self, latest: Option<Term>) -> bool {
        let is_false = |term: Term| {
            let is_another = self.epoch == term.epoch && self.holder != term.holder.peer;
            let has_ended = self.epoch == term.epoch && term.ended && self.is_held;
            self.epoch < term.epoch || is_another || has_ended
        };
        self.epoch == Epoch(0) || latest.is_some_and(is_false)
    }

    /// Whether it may have been true before this became the latest term, or ended: then it is contradicted, and nobody has
    /// made it up. A trader that hung says such things when it wakes up.
    #[must_use]
    pub fn is_late(&self, latest: Option<Term>) -> bool {
        let was_true = |term: Term| {
            let is_ended = self.epoch == term.epoch && self.holder == term.holder.peer && term.ended;
            self.epoch < term.epoch || is_ended
        };
        self.epoch > Epoch(0) && latest.is_some_and(was_true)
    }
}

impl Body {
    /// What it says buyers promise.
    #[must_use]
    pub fn promises(&self) -> &[(PeerId, Promise)] {
        if let Body::Promises { promises, .. } = self { promises } else { &[] }
    }

    /// The epoch that it names, if it names one.
    #[must_use]
    pub fn names_epoch(&self) -> Option<Epoch> {
        match self {
            Body::Heartbeat { epoch, .. }
            | Body::Election(
                ElectionMessage::Leader { epoch, .. }
                | ElectionMessage::Coordinator { epoch }
                | ElectionMessage::Resigned { epoch },
            ) => Some(*epoch),
            Body::Election(ElectionMessage::Call | ElectionMessage::Anyone | ElectionMessage::Answer)
            | Body::Wave
            | Body::Promises { .. }
            | Body::Clock
            | Body::Client(_)
            | Body::Trader(_) => None,
        }
    }

    /// What it says of a term, if it comes from this peer.
    #[must_use]
    pub fn says_of_term(&self, from: PeerId) -> Option<TermSaid> {
        let epoch = self.names_epoch()?;
        let holder = if let Body::Election(ElectionMessage::Leader { leader, .. }) = self { *leader } else { from };
        let is_held = matches!(self, Body::Heartbeat { .. } | Body::Election(ElectionMessage::Coordinator { .. }));
        Some(TermSaid { epoch, holder, is_held })
    }

    /// Whether this asks buyers for their promises (SPEC C5).
    #[must_use]
    pub fn asks(&self) -> bool {
        matches!(self, Body::Heartbeat { waits: Some(_), .. } | Body::Wave)
    }
}

/// What buyers and sellers tell the trader. They poll; the trader keeps no retransmission state (DESIGN R9).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum ClientMessage {
    /// "I want this." Sent until the status shows what became of it.
    Request(Request),
    /// "Take this." Sent until the status shows that it counts.
    Deposit(Deposit),
    /// "Give me my seat back; I ask for nothing before I know that I have it" (SPEC C5), in the stable order. Sent by a
    /// buyer that asks for nothing, until its status shows the seat. The first request of a life needs no such word: it
    /// seats its buyer.
    Join {
        /// The life that has lost its seat.
        incarnation: Incarnation,
        /// How often it knows that a seat was given to it or taken from it. Another seat raises that, so that a copy that
        /// comes later seats nobody.
        changes: u32,
    },
    /// "What have you sold for me after this sale?"
    AskSales {
        /// The last sale the seller knows of; `None` right after a restart.
        after: Option<SaleNumber>,
    },
}

/// A buyer's promise, "whatever I ask for from now on is stamped above this" (SPEC C5). It stays true for ever, whichever
/// term it was made in, and however late it arrives.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Promise {
    /// The life that promises.
    pub incarnation: Incarnation,
    /// What this life asks for from now on is stamped above this.
    pub above: Time,
    /// What it asks for already, whole: otherwise the promise could overtake the request.
    pub open: Option<Request>,
}

impl Promise {
    /// The largest clock that any of these promises names; 0 if there are none.
    #[must_use]
    pub fn furthest(promises: &[(PeerId, Promise)]) -> Time {
        promises.iter().map(|(_, promise)| promise.above).max().unwrap_or(Time(0))
    }
}

/// What the trader tells its clients. All of it is durable (DESIGN R4, S11) and comes from the books alone.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum TraderMessage {
    /// A buyer's status.
    Buyer(BuyerStatus),
    /// A seller's status.
    Seller(SellerStatus),
}
