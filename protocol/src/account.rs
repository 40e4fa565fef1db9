//! Accounts: what the books say of each buyer, seller and trader, and of the term.

use alloc::vec::Vec;

use serde::{Deserialize, Serialize};

use crate::{
    clock::Time,
    id::{DepositNumber, Epoch, Item, Life, RequestId, SaleNumber, Sequence, Units},
    money::{Cents, Price},
    record::{Request, Sale},
};

/// What became of a request.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Outcome {
    /// It was filled.
    Sold(Sale),
    /// Nobody could fill it.
    Refused {
        /// What was wanted.
        item: Item,
    },
}

/// Where a request stands in the queue: by (time, buyer, sequence) (SPEC C4).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct QueueKey {
    /// When it was made.
    pub time: Time,
    /// Who made it, and its number.
    pub id: RequestId,
}

impl QueueKey {
    /// The place of a request.
    #[must_use]
    pub fn of(request: &Request) -> QueueKey {
        QueueKey { time: request.stamp.time, id: request.id }
    }
}

/// The latest term, with what it needs to know of itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct BooksTerm {
    /// Its epoch.
    pub epoch: Epoch,
    /// Who holds it.
    pub holder: Life,
    /// Whether it was resigned.
    pub ended: bool,
    /// Sales booked in it.
    pub sales: u32,
    /// Requests of earlier terms that still wait; nothing is admitted before they have their outcomes (DESIGN R4).
    pub inherited: u32,
}

/// A buyer's account.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct BuyerAccount {
    /// Its request in the queue; at most one (SPEC D2).
    pub open: Option<QueueKey>,
    /// Its last request with an outcome.
    pub last: Option<(Sequence, Outcome)>,
    /// Units it has bought.
    pub bought: u64,
    /// What it has paid for them.
    pub spent: Cents,
}

/// A seller's account.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct SellerAccount {
    /// Its last deposit and what is left of it.
    pub deposit: Option<DepositStatus>,
    /// The seller's clock as the trader compares it: its deposit's, raised to each sale's (SPEC C4).
    pub clock: Time,
    /// How many sales it has made.
    pub sales: SaleNumber,
    /// What it has earned.
    pub earned: Cents,
    /// Its latest sales, at most as many as the books keep ([`Limits::sales_kept`](crate::config::Limits::sales_kept)).
    pub recent: Vec<Sale>,
}

/// What a peer has earned as a trader.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct TraderAccount {
    /// Sales it has made in office.
    pub sales: u64,
    /// Its share of them.
    pub commission: Cents,
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
    pub deposit: Option<DepositStatus>,
    /// How many sales its account holds.
    pub sales: SaleNumber,
    /// What it has earned with them.
    pub earned: Cents,
    /// The latest of those sales, up to and including the last; at most as many as the books keep.
    pub recent: Vec<Sale>,
}

/// A seller's last deposit and what is left of it. Nothing left: it is sold out and another may follow.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct DepositStatus {
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
