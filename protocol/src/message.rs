//! What peers say to each other.

use serde::{Deserialize, Serialize};

use crate::{
    account::{BuyerStatus, SellerStatus},
    clock::Time,
    election::ElectionMessage,
    id::{Epoch, Incarnation, PeerId, Position, SaleNumber},
    record::{Deposit, Request},
};

/// A message on its way through the overlay: what one neighbour hands to another.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Envelope {
    /// Who wrote it.
    pub source: PeerId,
    /// The writer's clock when it was sent. Only its destination merges it (SPEC C1).
    pub clock: Time,
    /// How it travels.
    pub route: Route,
    /// What it says.
    pub body: Body,
}

impl Envelope {
    /// Whom it is for; nothing: everybody.
    #[must_use]
    pub fn destination(&self) -> Option<PeerId> {
        match self.route {
            Route::Flood { to, .. } => to,
            Route::Direct { to, .. } => Some(to),
        }
    }

    /// Who started the flood that carries it, if one does.
    #[must_use]
    pub fn origin(&self) -> Option<PeerId> {
        match self.route {
            Route::Flood { id, .. } => Some(id.origin),
            Route::Direct { .. } => None,
        }
    }

    /// Whether this envelope makes an `earlier` one that still waits for the same link needless: a newer clock
    /// multicast of the same origin (SPEC C2).
    #[must_use]
    pub fn supersedes(&self, earlier: &Envelope) -> bool {
        match (&self.body, &earlier.body) {
            (Body::Clock, Body::Clock) => self.source == earlier.source && self.clock > earlier.clock,
            _ => false,
        }
    }
}

/// How an envelope travels (SPEC A2).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Route {
    /// To every neighbour but the one it came from, once.
    Flood {
        /// Its name, by which duplicates are known.
        id: FloodId,
        /// Whom it is for; nothing: everybody.
        to: Option<PeerId>,
    },
    /// Along the path that the destination's last message left behind.
    Direct {
        /// Whom it is for.
        to: PeerId,
        /// How many more hops it may take before it is flooded instead.
        hops: u16,
    },
}

/// Names a flood: who started it, in which life, and which of its floods it is, from 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct FloodId {
    /// Who started it. For a unicast that lost its way, the relay that turned it into a flood.
    pub origin: PeerId,
    /// In which of its lives.
    pub incarnation: Incarnation,
    /// Its number in that life.
    pub number: u64,
}

/// What a message says.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Body {
    /// The election's messages.
    Election(ElectionMessage),
    /// The trader lives: sent only after a renewal that was confirmed since the last one (DESIGN R6).
    Heartbeat {
        /// Its epoch.
        epoch: Epoch,
        /// A durable head of the log.
        head: Position,
    },
    /// A buyer's clock, told to everybody before a request (SPEC C2). The envelope carries the reading.
    Clock,
    /// A client's message to the trader.
    Client(ClientMessage),
    /// The trader's message to a client.
    Trader(TraderMessage),
}

/// What buyers and sellers tell the trader. They pull; the trader keeps no retransmission state (DESIGN R9).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum ClientMessage {
    /// "I want this." Sent until the status shows what became of it.
    Request(Request),
    /// "Take this." Sent until the status shows that it counts.
    Deposit(Deposit),
    /// "What have you sold of mine after this sale?"
    AskSales {
        /// The last sale the seller knows of; nothing right after a restart.
        after: Option<SaleNumber>,
    },
}

/// What the trader tells clients. Everything in it is durable (DESIGN R4, S11), and comes from the books alone.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum TraderMessage {
    /// To a buyer.
    Buyer(BuyerStatus),
    /// To a seller.
    Seller(SellerStatus),
}
