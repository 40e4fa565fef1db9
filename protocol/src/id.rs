//! Ids and numbers. Each has a type of its own, so that an epoch is never mistaken for a position.

use core::fmt;

use serde::{Deserialize, Serialize};

macro_rules! number {
    ($(#[$doc:meta])* $name:ident($inner:ty)) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(pub $inner);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(&self.0, f)
            }
        }
    };
}

number! {
    /// A peer of the overlay. Ids run from 0 and are compared as numbers (SPEC B1).
    PeerId(u32)
}
number! {
    /// How many times a peer has started; 1 in its first life. It rises durably before the peer sends anything (DESIGN
    /// R7).
    Incarnation(u32)
}
number! {
    /// A term of office. 0 means "before the first"; claims count up from 1 without a gap (DESIGN R1).
    Epoch(u64)
}
number! {
    /// How many records precede this place in the log (DESIGN R2). A head of `Position(n)` means n records.
    Position(u64)
}
number! {
    /// A buyer's number for one request. The high 32 bits are the buyer's incarnation (DESIGN R8).
    Sequence(u64)
}
number! {
    /// A seller's number for one deposit. The high 32 bits are the seller's incarnation (DESIGN R8).
    DepositNumber(u64)
}
number! {
    /// How many sales of one seller the books hold up to and including this one; the first is 1 (DESIGN R8).
    SaleNumber(u64)
}
number! {
    /// A number of units of a good.
    Units(u32)
}
number! {
    /// A good that is traded. The first three are the bazaar's own ([`Item::FISH`], [`Item::SALT`], [`Item::BOAR`]);
    /// the others are named by the configuration.
    Item(u16)
}

impl Item {
    /// Fish, item 0.
    pub const FISH: Item = Item(0);
    /// Salt, item 1.
    pub const SALT: Item = Item(1);
    /// Boar, item 2.
    pub const BOAR: Item = Item(2);
}

impl Incarnation {
    /// No message may name a life above this (SPEC I8): nobody starts as often. A peer that somebody has said to be in this
    /// very life, and whose store is lost, can't be let in again.
    pub const MOST: Incarnation = Incarnation(1 << 31);

    /// The incarnation of the next life (DESIGN R7).
    #[must_use]
    pub fn next(self) -> Incarnation {
        mutant!(Incarnation(self.0.saturating_add(1)); IncarnationNotRaised => Incarnation(self.0.max(1)))
    }
}

impl Epoch {
    /// No message may name an epoch that is further above the latest one known than this (SPEC I8). A peer that heard of
    /// no term for as long, and does not reach the ledger, is out of touch anyway: a million terms take 12 days if
    /// each lasts a second.
    pub const MAX_LEAD: u64 = 1 << 20;

    /// The epoch that a claimant asks for when this one is the latest.
    #[must_use]
    pub fn next(self) -> Epoch {
        Epoch(self.0.saturating_add(1))
    }
}

impl Position {
    /// The position that is `records` further on.
    #[must_use]
    pub fn plus(self, records: usize) -> Position {
        Position(self.0.saturating_add(records as u64))
    }
}

impl SaleNumber {
    /// The number of the next sale.
    #[must_use]
    pub fn next(self) -> SaleNumber {
        SaleNumber(self.0.saturating_add(1))
    }
}

impl Sequence {
    /// In which life it was given, and which of that life's it is.
    #[must_use]
    pub fn split(self) -> (Incarnation, u32) {
        split(self.0)
    }
}

impl DepositNumber {
    /// In which life it was given, and which of that life's it is.
    #[must_use]
    pub fn split(self) -> (Incarnation, u32) {
        split(self.0)
    }
}

/// What [`numbered`] has put together.
fn split(number: u64) -> (Incarnation, u32) {
    (Incarnation((number >> 32) as u32), number as u32)
}

/// The `n`-th number of an incarnation, the form of sequences and deposit numbers (DESIGN R8).
pub(crate) fn numbered(incarnation: Incarnation, n: u32) -> u64 {
    (u64::from(incarnation.0) << 32) | u64::from(n)
}

/// One life of a peer: the peer and its incarnation. A restarted peer is a new life and never resumes the term of a
/// former one (DESIGN R7).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Life {
    /// The peer.
    pub peer: PeerId,
    /// Which of its lives.
    pub incarnation: Incarnation,
}

/// Identifies a buyer's request for ever (SPEC D2).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct RequestId {
    /// The buyer.
    pub buyer: PeerId,
    /// The buyer's number for the request.
    pub sequence: Sequence,
}

/// Identifies a seller's deposit for ever (SPEC D1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct DepositId {
    /// The seller.
    pub seller: PeerId,
    /// The seller's number for the deposit.
    pub number: DepositNumber,
}
