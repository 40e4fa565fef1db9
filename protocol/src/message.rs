//! The messages that peers send each other.

use serde::{Deserialize, Serialize};

use crate::{
    account::{BuyerStatus, SellerStatus},
    clock::Time,
    election::ElectionMessage,
    id::{Epoch, Incarnation, PeerId, Position, SaleNumber},
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

    /// The peer that started the flood carrying it, if a flood does.
    #[must_use]
    pub fn origin(&self) -> Option<PeerId> {
        match self.route {
            Route::Flood { id, .. } => Some(id.origin),
            Route::Direct { .. } => None,
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
        /// A durable head of the log.
        head: Position,
    },
    /// A clock multicast and nothing else (SPEC C2). A buyer multicasts its clock to everybody before a request; any
    /// envelope carries it on, and this one is for a neighbour to which no other goes.
    Clock,
    /// A client's message to the trader.
    Client(ClientMessage),
    /// The trader's message to a client.
    Trader(TraderMessage),
}

/// What buyers and sellers tell the trader. They poll; the trader keeps no retransmission state (DESIGN R9).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum ClientMessage {
    /// "I want this." Sent until the status shows what became of it.
    Request(Request),
    /// "Take this." Sent until the status shows that it counts.
    Deposit(Deposit),
    /// "What have you sold for me after this sale?"
    AskSales {
        /// The last sale the seller knows of; `None` right after a restart.
        after: Option<SaleNumber>,
    },
}

/// What the trader tells its clients. All of it is durable (DESIGN R4, S11) and comes from the books alone.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum TraderMessage {
    /// A buyer's status.
    Buyer(BuyerStatus),
    /// A seller's status.
    Seller(SellerStatus),
}
