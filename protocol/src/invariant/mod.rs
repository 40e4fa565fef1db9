//! What must hold, as plain functions over plain data (DESIGN 5). Each is named after the sentence it checks.
//!
//! Anyone who has a log, a clock, a message or books can ask: the models at every state, the random tests after every
//! step, `bazaar audit` of a log on a disk, the replay of a trace. No check relies on the code that it checks: stock,
//! queue and accounts are recomputed from the records, not by [`Books`](crate::books::Books); prices and shares, the
//! order of the queue and the fence of the ledger are worked out from plain numbers. Only
//! [`the_books_equal_the_fold_of_the_log`] uses the fold, since the fold is its subject.
//!
//! - Over a log: the functions of this module that take a `log`, and all of them in one pass: [`LogAudit`], [`audit`].
//! - Over batches, where the log is divided into appends: [`a_batch_is_deposits_then_admissions_then_outcomes`],
//!   [`a_batch_holds_at_most_as_many_records_as_its_limit`], [`no_admission_follows_an_outcome_in_its_batch`],
//!   [`every_batch_is_of_the_latest_epoch_at_the_head`], [`audit_batches`].
//! - Over the ledger's answers, compared with its durable batches: [`the_ledger_answers_in_order`],
//!   [`whatever_the_ledger_shows_is_durable`].
//! - Over one step of one peer: clocks, links, floods.
//! - Over what was said: [`whatever_a_client_was_told_is_in_the_log`].
//!
//! A [`Violation`] names the property, the record where it first shows, and what was found there.

mod audit;
mod books;
mod causes;
mod clock;
mod history;
mod ledger;
mod log;
mod network;
mod observer;
mod settled;
mod told;

#[cfg(test)]
mod tests;

use alloc::{format, string::String};
use core::fmt;

use serde::{Deserialize, Serialize};

pub use self::{audit::*, books::*, clock::*, ledger::*, log::*, network::*, observer::*, settled::*, told::*};
use crate::id::{DepositId, Position, RequestId};

/// A property that must hold in every reachable state (DESIGN 5), or a row of the specification that shows in the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Property {
    /// An epoch has at most one holder, and only its holder speaks for it.
    S1,
    /// Epochs rise by one along the log, and nothing from an old epoch follows a newer claim.
    S2,
    /// A request that was admitted is in the queue or has an outcome.
    S3,
    /// A request has at most one outcome, a deposit counts once, a sale number identifies one sale of its seller.
    S4,
    /// What was deposited is what was sold and what is left, and nothing is sold that does not exist.
    S5,
    /// What buyers pay is what sellers earn and traders keep.
    S6,
    /// Clocks never go back, and an effect is stamped later than its cause.
    S7,
    /// The smallest stamp is served first, by the seller with the smallest clock among those who can fill it.
    S8,
    /// In the stable order, outcomes stand in the rising order of their requests' places, over all terms (SPEC C5).
    S9,
    /// Peers send to neighbours only, and a flood is delivered once.
    S10,
    /// Whatever a client was told is in the log.
    S11,
    /// The books are the fold of the log.
    S12,
    /// A request is admitted only when its buyer knows what became of the one before.
    S13,
    /// In the stable order, no request is late unless its life has lost its seat (SPEC C5).
    S14,
    /// Whatever a ledger says is at least as new as what its caller has seen, and as all that any ledger had said when the
    /// call came (SPEC J3).
    S15,
    /// An append's position is the end of the books it was planned on (DESIGN R1).
    R1,
    /// The ledger answers an append by its checks, in order (DESIGN R2).
    R2,
    /// Whatever the ledger shows is durable (DESIGN R3).
    R3,
    /// A batch holds no more records than its limit, in order (DESIGN R5).
    R5,
    /// Whatever must wait until the clock is written waits, and no more of it than the limit (DESIGN R10).
    R10,
    /// A message gets through as long as a path is left (SPEC A2).
    A2,
    /// After the last fault, whoever has heard a peer since reaches it without a flood (SPEC A9).
    A9,
    /// A peer that knows of an epoch does not go back to an older one, and is not trader in an older one (SPEC B4).
    B4,
    /// A trader shows that it is alive only after a renewal confirmed since the last time it did, and a peer that hears
    /// it joins no election (SPEC B5).
    B5,
    /// A trader gives its office back with the last sale of its term (SPEC B6).
    B6,
    /// A trader in office neither buys nor sells (SPEC B7).
    B7,
    /// A peer merges each clock multicast that is news to it, and once it is quiet has heard of all (SPEC C2).
    C2,
    /// In the stable order, no request is served after one that it happened before, unless it is shown as late (SPEC
    /// C5).
    C5,
    /// A wave brings the trader all buyers' promises, in one envelope less than there are peers (DESIGN F12).
    F12,
    /// A trader or winner that does not hear the ledger steps down (SPEC B9).
    B9,
    /// Everybody whom a sale concerns is told of it by itself, however many there are in a batch (SPEC D7).
    D7,
    /// A refusal names the deposit that has too little left, if one would have filled the request (SPEC D8).
    D8,
    /// Under synchrony there is at most one trader, and it is the highest of the peers that could be.
    Y1,
    /// Under synchrony a trader that resigned does not hold the next epoch if anybody else can.
    Y2,
    /// Once faults stop there is one trader, known to all.
    L1,
    /// Once faults stop every accepted request gets an outcome, and everyone concerned is told.
    L2,
    /// A lone survivor can hold the office and settles what is pending.
    L3,
    /// In a quiet network nobody calls an election but after a resignation, and every request gets an outcome in time.
    L4,
}

impl Property {
    /// All properties.
    pub const ALL: [Property; 38] = [
        Property::S1,
        Property::S2,
        Property::S3,
        Property::S4,
        Property::S5,
        Property::S6,
        Property::S7,
        Property::S8,
        Property::S9,
        Property::S10,
        Property::S11,
        Property::S12,
        Property::S13,
        Property::S14,
        Property::S15,
        Property::R1,
        Property::R2,
        Property::R3,
        Property::R5,
        Property::R10,
        Property::A2,
        Property::A9,
        Property::B4,
        Property::B5,
        Property::B6,
        Property::B7,
        Property::C2,
        Property::C5,
        Property::F12,
        Property::B9,
        Property::D7,
        Property::D8,
        Property::Y1,
        Property::Y2,
        Property::L1,
        Property::L2,
        Property::L3,
        Property::L4,
    ];

    /// The property in one sentence.
    #[must_use]
    pub fn sentence(self) -> &'static str {
        match self {
            Property::S1 => "an epoch has at most one holder, and only its holder speaks for it",
            Property::S2 => "epochs rise by one, and nothing from an old epoch follows a newer claim",
            Property::S3 => "a request that was admitted is in the queue or has an outcome",
            Property::S4 => "every request has at most one outcome, and every deposit and every sale counts once",
            Property::S5 => "what was deposited is what was sold and what is left",
            Property::S6 => "what buyers pay is what sellers earn and traders keep",
            Property::S7 => "clocks never go back, and an effect is stamped later than its cause",
            Property::S8 => "the smallest stamp is served first, by the smallest seller who can fill it",
            Property::S9 => "in the stable order, outcomes rise from place to place, whatever the term",
            Property::S10 => "peers send to neighbours only, and a flood is delivered once",
            Property::S11 => "whatever a client was told is in the log",
            Property::S12 => "the books are the fold of the log",
            Property::S13 => "a request is admitted only when its buyer knows what became of the one before",
            Property::S14 => "in the stable order, no request is late unless its life has lost its seat",
            Property::S15 => "whatever a ledger says is as new as all that was said before it was asked",
            Property::R1 => "an append's position is the end of the books it was planned on",
            Property::R2 => "the ledger answers an append by its checks, in order",
            Property::R3 => "whatever the ledger shows is durable",
            Property::R5 => "a batch holds no more records than its limit, in order",
            Property::R10 => "whatever must wait until the clock is written waits, and no more of it than the limit",
            Property::A2 => "a message gets through as long as a path is left",
            Property::A9 => "after the last fault, whoever has heard a peer since reaches it without a flood",
            Property::B4 => "a peer that knows of an epoch does not go back to an older one",
            Property::B5 => "a heartbeat follows a confirmed renewal, and a peer that hears it joins no election",
            Property::B6 => "a trader gives its office back with the last sale of its term",
            Property::B7 => "a trader in office neither buys nor sells",
            Property::C2 => {
                "a clock multicast is merged where it is news, and once it is quiet everybody has heard of it"
            }
            Property::C5 => "no request is served after one that it happened before, unless it is shown as late",
            Property::F12 => "a wave brings all buyers' promises, in one envelope less than there are peers",
            Property::B9 => "a trader or winner that hears no ledger steps down",
            Property::D7 => "everybody whom a sale concerns is told of it by itself",
            Property::D8 => "a refusal names the deposit that has too little left",
            Property::Y1 => "under synchrony there is at most one trader, the highest of the peers that could be",
            Property::Y2 => "under synchrony a peer that resigned does not hold the next epoch if anybody else can",
            Property::L1 => "once faults stop there is one trader, known to all",
            Property::L2 => "once faults stop every accepted request gets an outcome, and everyone concerned is told",
            Property::L3 => "a lone survivor can hold the office and settles what is pending",
            Property::L4 => "in a quiet network only a resignation brings an election, and requests end in time",
        }
    }
}

impl fmt::Display for Property {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Property::S1 => "S1",
            Property::S2 => "S2",
            Property::S3 => "S3",
            Property::S4 => "S4",
            Property::S5 => "S5",
            Property::S6 => "S6",
            Property::S7 => "S7",
            Property::S8 => "S8",
            Property::S9 => "S9",
            Property::S10 => "S10",
            Property::S11 => "S11",
            Property::S12 => "S12",
            Property::S13 => "S13",
            Property::S14 => "S14",
            Property::S15 => "S15",
            Property::R1 => "R1",
            Property::R2 => "R2",
            Property::R3 => "R3",
            Property::R5 => "R5",
            Property::R10 => "R10",
            Property::A2 => "A2",
            Property::A9 => "A9",
            Property::B4 => "B4",
            Property::B5 => "B5",
            Property::B6 => "B6",
            Property::B7 => "B7",
            Property::B9 => "B9",
            Property::C2 => "C2",
            Property::C5 => "C5",
            Property::F12 => "F12",
            Property::D7 => "D7",
            Property::D8 => "D8",
            Property::Y1 => "Y1",
            Property::Y2 => "Y2",
            Property::L1 => "L1",
            Property::L2 => "L2",
            Property::L3 => "L3",
            Property::L4 => "L4",
        })
    }
}

/// A property that does not hold.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Violation {
    /// The property.
    pub property: Property,
    /// The record where it shows, counted from 0; the head where a record is missing; `None` when it does not concern
    /// the log.
    pub position: Option<Position>,
    /// What was found there, in words.
    pub what: String,
}

impl Violation {
    pub(super) fn at(property: Property, position: Position, what: String) -> Violation {
        Violation { property, position: Some(position), what }
    }

    /// A violation that does not concern a record of the log.
    #[must_use]
    pub fn off_the_log(property: Property, what: String) -> Violation {
        Violation { property, position: None, what }
    }
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.position {
            Some(position) => write!(f, "{} at record {position}: {}", self.property, self.what),
            None => write!(f, "{}: {}", self.property, self.what),
        }
    }
}

impl core::error::Error for Violation {}

/// A number as people read it: the incarnation that assigned it, and its number in that life (DESIGN R8).
fn number(n: u64) -> String {
    format!("{}.{}", n >> 32, n & u64::from(u32::MAX))
}

fn request_name(id: RequestId) -> String {
    format!("request {} of peer {}", number(id.sequence.0), id.buyer)
}

fn deposit_name(id: DepositId) -> String {
    format!("deposit {} of peer {}", number(id.number.0), id.seller)
}
