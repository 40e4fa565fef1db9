//! Accounts: what the books say about each buyer, seller and trader, and about the term.

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
        /// The item that was wanted.
        item: Item,
    },
}

/// A request's place in the queue, ordered by (time, buyer, sequence) (SPEC C4).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct QueueKey {
    /// When the request was made, by its buyer's clock.
    pub time: Time,
    /// The buyer, and its number for the request.
    pub id: RequestId,
}

impl QueueKey {
    /// The place of `request` in the queue.
    #[must_use]
    pub fn of(request: &Request) -> QueueKey {
        QueueKey { time: request.stamp.time, id: request.id }
    }
}

/// The latest term, as the books have it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct BooksTerm {
    /// The term's epoch.
    pub epoch: Epoch,
    /// The life that holds it.
    pub holder: Life,
    /// Whether it has been resigned.
    pub ended: bool,
    /// How many sales were booked in this term.
    pub sales: u32,
    /// Requests of earlier terms that still wait; nothing new is admitted before they have outcomes (DESIGN R4).
    pub inherited: u32,
}

/// A buyer's account.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct BuyerAccount {
    /// Its request in the queue; at most one (SPEC D2).
    pub open: Option<QueueKey>,
    /// Its last request with an outcome, and that outcome.
    pub last: Option<(Sequence, Outcome)>,
    /// How many units it has bought in total; capped at the largest number there is, which takes 2^32 sales of the
    /// largest quantity.
    pub bought: u64,
    /// What it has paid for them in total.
    pub spent: Cents,
}

/// A seller's account.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct SellerAccount {
    /// Its last deposit and what is left of it; `None` before its first.
    pub deposit: Option<DepositStatus>,
    /// The seller's clock as the trader compares it: its deposit's, raised to each sale's (SPEC C4).
    pub clock: Time,
    /// How many sales it has made; the number of the last one.
    pub sales: SaleNumber,
    /// What it has earned in total.
    pub earned: Cents,
    /// Its latest sales, at most as many as the books keep ([`Limits::sales_kept`](crate::config::Limits::sales_kept)).
    pub recent: Vec<Sale>,
}

/// A peer's account as a trader.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct TraderAccount {
    /// How many sales it has made in office.
    pub sales: u64,
    /// The commission it has earned with them.
    pub commission: Cents,
}

/// A buyer's status: its account as far as the buyer is told.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct BuyerStatus {
    /// Its request that is in the queue, if there is one.
    pub open: Option<Request>,
    /// Its last request with an outcome, and that outcome.
    pub last: Option<(Sequence, Outcome)>,
}

/// A seller's status: its account as far as the seller is told.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct SellerStatus {
    /// Its last deposit; `None` before its first.
    pub deposit: Option<DepositStatus>,
    /// How many sales its account holds; the number of the last one.
    pub sales: SaleNumber,
    /// What it has earned with them in total.
    pub earned: Cents,
    /// The latest of those sales, up to and including the last. What is told of a batch has all of its sales; what
    /// answers a question has those asked for, at most as many as the books keep
    /// ([`Limits::sales_kept`](crate::config::Limits::sales_kept)).
    pub recent: Vec<Sale>,
}

/// A seller's last deposit and what is left of it. When nothing is left it is sold out, and another may follow; so may
/// one when it is left over.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct DepositStatus {
    /// The seller's number for this deposit.
    pub number: DepositNumber,
    /// The item deposited.
    pub item: Item,
    /// How many units were deposited.
    pub count: Units,
    /// How many units are left.
    pub left: Units,
    /// The price of one unit.
    pub price: Price,
    /// Whether a request was refused for want of what was sold of it ([`Entry::Refused`](crate::record::Entry)). What
    /// is left stays for sale until the seller deposits again.
    pub leftover: bool,
}

impl DepositStatus {
    /// Whether another deposit may follow this one (DESIGN R8).
    #[must_use]
    pub fn is_over(&self) -> bool {
        self.left == Units(0) || self.leftover
    }
}
