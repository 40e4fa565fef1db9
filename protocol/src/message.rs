//! What peers say to each other.

use alloc::vec::Vec;

use serde::{Deserialize, Serialize};

use crate::{
    books::Outcome,
    clock::Time,
    election::ElectionMessage,
    id::{DepositNumber, Epoch, Incarnation, Item, PeerId, Position, SaleNumber, Sequence, Units},
    money::{Cents, Price},
    record::{Deposit, Request, Sale},
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

/// A buyer as the books have it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct BuyerStatus {
    /// Its request that is in the queue.
    pub open: Option<Request>,
    /// Its last request that has an outcome, and which.
    pub last: Option<(Sequence, Outcome)>,
}

/// A seller as the books have it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct SellerStatus {
    /// The last deposit that was booked.
    pub deposit: Option<DepositStanding>,
    /// How many sales its account holds.
    pub sales: SaleNumber,
    /// What it has earned with them.
    pub earned: Cents,
    /// The latest of those sales, up to and including the last; at most as many as the books keep.
    pub recent: Vec<Sale>,
}

/// A seller's last deposit and what is left of it. Nothing left: it is sold out and another may follow.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct DepositStanding {
    /// Its number.
    pub number: DepositNumber,
    /// What it is.
    pub item: Item,
    /// How many were deposited.
    pub count: Units,
    /// How many are left.
    pub left: Units,
    /// What one unit costs.
    pub price: Price,
}
