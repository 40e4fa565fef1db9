//! Accounts: what the books say about each buyer, seller and trader, and about the term.

use alloc::vec::Vec;

use serde::{Deserialize, Serialize};

use crate::{
    clock::Time,
    config::Ordering,
    id::{DepositNumber, Epoch, Incarnation, Item, Life, RequestId, SaleNumber, Sequence, Units},
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
    /// When the request was made, by its buyer's clock; of a late one, the place it was given instead (SPEC C5).
    pub time: Time,
    /// The buyer, and its number for the request.
    pub id: RequestId,
}

impl QueueKey {
    /// The place of `request` by its own stamp.
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
    /// Requests of earlier terms that still wait; nothing new is admitted before they have outcomes (DESIGN R4). In the
    /// stable order, which needs no such rule: how many there were at the claim.
    pub inherited: u32,
    /// In which order requests are served.
    pub ordering: Ordering,
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
    /// Its seat, if it ever had one (SPEC C5).
    pub seat: Option<Seat>,
    /// What it asks for next is stamped above this, as the log alone shows: the request or the promise with which it was
    /// seated, or the record of its seat; the record of its last outcome, which it must know first (S13); and the last
    /// record that it wrote in office.
    pub bound: Time,
}

impl BuyerAccount {
    /// The life that counts, if one does: nothing is served before it was heard past it (SPEC C5).
    #[must_use]
    pub fn seated(&self) -> Option<Incarnation> {
        self.seat.filter(|seat| seat.is_taken).map(|seat| seat.incarnation)
    }

    /// Whether this life may be given a seat: it has none, and no later life ever had one.
    #[must_use]
    pub fn may_be_seated(&self, incarnation: Incarnation) -> bool {
        let has_one = |seat: Seat| seat.is_taken && seat.incarnation == incarnation;
        self.seat.is_none_or(|seat| seat.incarnation <= incarnation && !has_one(seat))
    }
}

/// A buyer's seat: whoever has one is waited for (SPEC C5).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Seat {
    /// The latest life that was given one.
    pub incarnation: Incarnation,
    /// Whether it still has it.
    pub is_taken: bool,
    /// How often a seat was given to this buyer or taken from it; at most 4,294,967,295.
    pub changes: u32,
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
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct BuyerStatus {
    /// Its request that is in the queue, if there is one.
    pub open: Option<Request>,
    /// Its last request with an outcome, and that outcome.
    pub last: Option<(Sequence, Outcome)>,
    /// Its seat, if it ever had one (SPEC C5).
    pub seat: Option<Seat>,
    /// A request that is stamped at or below this, and that neither waits nor has its outcome, is never admitted any more:
    /// its buyer has done something since that is stamped later, or its place was passed before it came (SPEC C5). It asks
    /// anew.
    pub bound: Time,
}

impl BuyerStatus {
    /// How often a seat was given to the buyer or taken from it.
    #[must_use]
    pub fn changes(&self) -> u32 {
        self.seat.map_or(0, |seat| seat.changes)
    }
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
