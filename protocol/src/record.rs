//! What the log contains. What the records mean is defined by [`Books::apply`](crate::books::Books::apply).

use alloc::vec::Vec;
use core::hash::Hash;

use serde::{Deserialize, Serialize};

use crate::{
    clock::{Stamp, Time},
    config::Ordering,
    digest::Digest,
    id::{DepositId, DepositNumber, Epoch, Item, Life, PeerId, Position, RequestId, SaleNumber, Sequence, Units},
    money::{Cents, Price},
};

/// A buyer's wish: `quantity` units of `item`, from one deposit, whole or not at all (SPEC D2, D8).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Request {
    /// The buyer, and its number for this request.
    pub id: RequestId,
    /// The buyer's last request whose outcome it knows; admitted only if that is also the last in the books (DESIGN
    /// R8).
    pub previous: Option<Sequence>,
    /// The item it asks for.
    pub item: Item,
    /// How many units; at least 1.
    pub quantity: Units,
    /// When it was made, by the buyer's clock. Unchanged however often it is sent.
    pub stamp: Stamp,
}

impl Request {
    /// Whether it is late when it is admitted at this place: its own was passed before it came (SPEC C5).
    #[must_use]
    pub fn is_late_at(&self, place: Time) -> bool {
        place != self.stamp.time
    }
}

/// A seller's goods, handed to the trader (SPEC D1).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Deposit {
    /// The seller, and its number for this deposit.
    pub id: DepositId,
    /// The seller's last deposit that it knows to be sold out or left over; booked only if that is also the last in the
    /// books (DESIGN R8). Of a deposit that is left over, the seller takes the rest back with this one.
    pub previous: Option<DepositNumber>,
    /// The item deposited.
    pub item: Item,
    /// How many units; at least 1.
    pub count: Units,
    /// The price of one unit.
    pub price: Price,
    /// When it was made, by the seller's clock. Unchanged however often it is sent.
    pub stamp: Stamp,
}

/// A request filled from one deposit: the queue, the stock, the seller's account and the commission change in this one
/// record (SPEC D4).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Sale {
    /// The request that it fills.
    pub request: RequestId,
    /// The deposit that the goods come from.
    pub deposit: DepositId,
    /// The seller's number for this sale.
    pub number: SaleNumber,
    /// The item sold.
    pub item: Item,
    /// How many units.
    pub quantity: Units,
    /// The price of one unit.
    pub price: Price,
    /// The trader's commission.
    pub commission: Cents,
    /// What the seller earns. Together with the commission it is the order's total.
    pub earned: Cents,
}

impl Sale {
    /// What the buyer pays: the commission and the seller's earnings.
    #[must_use]
    pub fn paid(&self) -> Cents {
        self.price.times(self.quantity)
    }
}

impl Entry {
    /// The admission of a request at its own place.
    #[must_use]
    pub fn admitted(request: Request) -> Entry {
        Entry::Admitted { place: request.stamp.time, request }
    }
}

/// What a record says.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Entry {
    /// `holder` takes office for `epoch` (DESIGN R1).
    Claimed {
        /// The latest epoch plus one.
        epoch: Epoch,
        /// The life that takes office.
        holder: Life,
        /// In which order requests are served: what the books say, or, in the first claim, what the run is configured
        /// for.
        ordering: Ordering,
    },
    /// A buyer is counted from now on: no request is served before it was heard past that request's stamp (SPEC C5).
    Seated {
        /// The life that is counted.
        buyer: Life,
        /// What this life asks for from now on is stamped above this: it has promised so, or it asks for nothing before
        /// it has read this record.
        above: Time,
    },
    /// A buyer that was not heard for too long is not counted any more (SPEC C5).
    Unseated {
        /// The buyer.
        buyer: PeerId,
    },
    /// A deposit is booked.
    Deposited(Deposit),
    /// A request enters the queue (SPEC D3).
    Admitted {
        /// The request.
        request: Request,
        /// Its place in the queue. It is the request's own stamp, unless that place had been passed already: then the
        /// request is *late*, and its place is the next after the last that was served (SPEC C5).
        place: Time,
    },
    /// A request's outcome: it was filled.
    Sold(Sale),
    /// A request's outcome: nobody could fill it (SPEC D8).
    Refused {
        /// The request that is refused.
        request: RequestId,
        /// The deposit that would have filled it when it was whole, and has too little left: its seller may take the
        /// rest back and deposit again. Of several, the one of the smallest (clock, seller) that no refusal has named
        /// before.
        leftover: Option<DepositId>,
    },
    /// The holder of the epoch gives it back (SPEC B6).
    Resigned,
}

/// One record of the log.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Record {
    /// When it was written, by the writer's clock.
    pub stamp: Stamp,
    /// What happened.
    pub entry: Entry,
}

/// Records that are appended together or not at all.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Batch {
    /// The writer's epoch; for a claim, the epoch it claims.
    pub epoch: Epoch,
    /// The head of the log it was planned on.
    pub position: Position,
    /// The records; an empty batch renews the term and moves nothing (DESIGN R6).
    pub records: Vec<Record>,
}

impl Batch {
    /// The head of the log after this batch.
    #[must_use]
    pub fn end(&self) -> Position {
        self.position.plus(self.records.len())
    }

    /// The digest that tells this batch from every other (DESIGN R2).
    #[must_use]
    pub fn digest(&self) -> Digest {
        Digest::of(self)
    }

    /// The life that claims with this batch, if it is a claim.
    #[must_use]
    pub fn claimant(&self) -> Option<Life> {
        match self.records.as_slice() {
            [Record { entry: Entry::Claimed { holder, .. }, .. }] => Some(*holder),
            _ => None,
        }
    }

    /// Whether this batch can be this life's: all of it is stamped by its peer, and a claim stands alone and names the batch's
    /// epoch. Readers refuse anything else for ever, so a ledger does not take it (SPEC I8).
    #[must_use]
    pub fn is_of(&self, writer: Life) -> bool {
        self.records.iter().all(|record| {
            let is_fine = match record.entry {
                Entry::Claimed { epoch, .. } => self.records.len() == 1 && epoch == self.epoch,
                Entry::Seated { .. }
                | Entry::Unseated { .. }
                | Entry::Deposited(_)
                | Entry::Admitted { .. }
                | Entry::Sold(_)
                | Entry::Refused { .. }
                | Entry::Resigned => true,
            };
            is_fine && record.stamp.peer == writer.peer
        })
    }

    /// Whether this batch ends the term.
    #[must_use]
    pub fn resigns(&self) -> bool {
        self.records.last().is_some_and(|record| record.entry == Entry::Resigned)
    }

    /// The peer whose stamp the first record carries; `None` when there is no record.
    #[must_use]
    pub fn writer(&self) -> Option<PeerId> {
        self.records.first().map(|record| record.stamp.peer)
    }
}
