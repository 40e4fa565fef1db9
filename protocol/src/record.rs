//! What stands in the log. Their meaning is [`Books::apply`](crate::books::Books::apply).

use alloc::vec::Vec;
use core::hash::Hash;

use serde::{Deserialize, Serialize};

use crate::{
    clock::Stamp,
    digest::Digest,
    id::{DepositId, DepositNumber, Epoch, Item, Life, PeerId, Position, RequestId, SaleNumber, Sequence, Units},
    money::{Cents, Price},
};

/// A buyer's wish: `quantity` units of `item`, from one deposit, whole or not at all (SPEC D2, D8).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Request {
    /// Who asks, and its number for it.
    pub id: RequestId,
    /// The last request of this buyer whose outcome it knows; admitted only if that is the books' last (DESIGN R8).
    pub previous: Option<Sequence>,
    /// What it wants.
    pub item: Item,
    /// How many of it; at least 1.
    pub quantity: Units,
    /// When it was made, by the buyer's clock. The same however often it is sent.
    pub stamp: Stamp,
}

/// A seller's goods, handed to the trader (SPEC D1).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Deposit {
    /// Who deposits, and its number for it.
    pub id: DepositId,
    /// The last deposit of this seller it knows to be sold out; admitted only if that is the books' last (DESIGN R8).
    pub previous: Option<DepositNumber>,
    /// What it is.
    pub item: Item,
    /// How many of it; at least 1.
    pub count: Units,
    /// What one unit costs.
    pub price: Price,
    /// When it was made, by the seller's clock. The same however often it is sent.
    pub stamp: Stamp,
}

/// A request filled from one deposit: the queue, the stock, the seller's account and the commission change in this one
/// record (SPEC D4).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Sale {
    /// The request that is served.
    pub request: RequestId,
    /// The deposit it is served from.
    pub deposit: DepositId,
    /// The seller's number for this sale.
    pub number: SaleNumber,
    /// What was sold.
    pub item: Item,
    /// How many of it.
    pub quantity: Units,
    /// What one unit cost.
    pub price: Price,
    /// What the trader keeps.
    pub commission: Cents,
    /// What the seller gets. Together with the commission it is the order's total.
    pub earned: Cents,
}

impl Sale {
    /// What the buyer pays.
    #[must_use]
    pub fn paid(&self) -> Cents {
        self.price.times(self.quantity)
    }
}

/// What a record says.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Entry {
    /// `holder` takes office for `epoch` (DESIGN R1).
    Claimed {
        /// The epoch before it plus one.
        epoch: Epoch,
        /// Who holds it.
        holder: Life,
    },
    /// A deposit counts from here on.
    Deposited(Deposit),
    /// A request is in the queue from here on (SPEC D3).
    Admitted(Request),
    /// A request's outcome: it was filled.
    Sold(Sale),
    /// A request's outcome: nobody could fill it (SPEC D8).
    Refused {
        /// Which request.
        request: RequestId,
    },
    /// The holder of the epoch gives it back (SPEC B6).
    Resigned,
}

/// One record of the log.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Record {
    /// When it was written, by the writer's clock.
    pub stamp: Stamp,
    /// What it says.
    pub entry: Entry,
}

/// Records that are appended together, or not at all.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Batch {
    /// The writer's epoch; for a claim the epoch it claims.
    pub epoch: Epoch,
    /// The head it was planned on.
    pub position: Position,
    /// The records; none at all renews the term and moves nothing (DESIGN R6).
    pub records: Vec<Record>,
}

impl Batch {
    /// The head after this batch.
    #[must_use]
    pub fn end(&self) -> Position {
        self.position.plus(self.records.len())
    }

    /// What tells this batch from every other (DESIGN R2).
    #[must_use]
    pub fn digest(&self) -> Digest {
        Digest::of(self)
    }

    /// Who claims with this batch, if it is a claim.
    #[must_use]
    pub fn claimant(&self) -> Option<Life> {
        match self.records.as_slice() {
            [Record { entry: Entry::Claimed { holder, .. }, .. }] => Some(*holder),
            _ => None,
        }
    }

    /// Whether the term ends with this batch.
    #[must_use]
    pub fn resigns(&self) -> bool {
        self.records.last().is_some_and(|record| record.entry == Entry::Resigned)
    }

    /// The peer whose stamp the first record carries; nothing when there is no record.
    #[must_use]
    pub fn writer(&self) -> Option<PeerId> {
        self.records.first().map(|record| record.stamp.peer)
    }
}
