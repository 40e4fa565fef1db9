//! What comes out of a peer.

use alloc::vec::Vec;
use core::time::Duration;

use serde::{Deserialize, Serialize};

use crate::{
    account::Outcome,
    clock::Time,
    forgotten::Forgotten,
    id::{DepositId, Epoch, Incarnation, Item, PeerId, Position, RequestId, Units},
    input::{Choice, Timer, WriteId},
    ledger::{HighWaterMark, LedgerCall},
    message::Envelope,
    money::{Cents, Price},
    plausible::Implausible,
    record::Sale,
};

/// The effects of a step, in order.
pub type Effects = Vec<Effect>;

/// One thing that a peer wants done. Effects do not wait for one another: whatever depends on a write is returned by
/// the step that handles [`Input::Written`](crate::input::Input::Written).
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Effect {
    /// Hand an envelope to a neighbour. It may be lost, duplicated or delayed.
    Send {
        /// The neighbour; its link is up.
        to: PeerId,
        /// The envelope to hand over.
        envelope: Envelope,
    },
    /// Call the ledger. Call and reply may be lost, duplicated or delayed.
    Ledger(LedgerCall),
    /// Make this durable, replacing what was durable before, then report
    /// [`Input::Written`](crate::input::Input::Written). A driver whose write fails must stop the peer.
    Write {
        /// Identifies the write.
        id: WriteId,
        /// What must survive a crash.
        durable: Durable,
    },
    /// Fire this timer once, `after` from now.
    Arm {
        /// The timer to arm; if it is already armed, this replaces it.
        timer: Timer,
        /// The delay from now.
        after: Duration,
    },
    /// Disarm this timer.
    Disarm(Timer),
    /// This life must not go on: its store is an old copy, or is not the peer's at all, since others know more of it than
    /// it does (SPEC I5). The driver stops the peer and says so.
    Stop(Forgotten),
    /// Pick a number below `among` (at least 1) and answer with [`Input::Chose`](crate::input::Input::Chose).
    Choose {
        /// The choice to make.
        choice: Choice,
        /// How many options there are; the answer is from 0 to one below.
        among: u32,
    },
    /// An event that people may want to read about (SPEC H1).
    Note {
        /// The peer's clock (SPEC C6).
        clock: Time,
        /// The epoch of the trader it knows; `None` when it knows none.
        epoch: Option<Epoch>,
        /// What happened.
        note: Note,
    },
}

/// The part of a peer that survives a crash.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Durable {
    /// How many times it has started.
    pub incarnation: Incarnation,
    /// No clock reading above this has ever been sent (DESIGN R10).
    pub clock_bound: Time,
    /// The furthest durable books it knew of when this was written (it may be out of date).
    pub seen: HighWaterMark,
}

/// An event, for people and tests.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Note {
    /// The peer has started and may speak.
    Joined {
        /// The life that has started; 1 is the first.
        incarnation: Incarnation,
    },
    /// It calls an election.
    ElectionCalled,
    /// It is not eligible and asks whether anybody is.
    AskedForAnyone,
    /// It has not heard from the trader for too long.
    TraderSuspected {
        /// The trader it suspects.
        trader: PeerId,
    },
    /// It has won the election and claims the office.
    ElectionWon,
    /// It holds the office: "I am the new coordinator".
    TookOffice {
        /// How many requests wait from earlier terms.
        inherited: u32,
    },
    /// It recognises a coordinator.
    Recognised {
        /// The trader it now follows.
        trader: PeerId,
    },
    /// It has left the office, or given up claiming it.
    SteppedDown {
        /// The reason.
        reason: Departure,
    },
    /// Trader: a deposit is booked.
    Deposited {
        /// The deposit.
        deposit: DepositId,
        /// The item that was deposited.
        item: Item,
        /// How many units.
        count: Units,
        /// The price of one unit.
        price: Price,
    },
    /// Trader: a request has entered the queue.
    Admitted {
        /// The request.
        request: RequestId,
        /// The item it asks for.
        item: Item,
        /// How many units.
        quantity: Units,
        /// The request's own stamp.
        stamp: Time,
        /// The place that it is given: its stamp, or a later one if it is late (SPEC C5).
        place: Time,
    },
    /// Trader: a buyer has a seat; what is stamped later than anything heard of it waits for it (SPEC C5).
    Seated {
        /// The buyer.
        buyer: PeerId,
        /// Its life that has the seat.
        incarnation: Incarnation,
    },
    /// Trader: a buyer was not heard for too long and has lost its seat; nothing waits for it any more (SPEC C5).
    Unseated {
        /// The buyer.
        buyer: PeerId,
        /// Its life that had the seat.
        incarnation: Incarnation,
    },
    /// Trader: a sale is booked.
    Sold {
        /// The sale that was booked.
        sale: Sale,
    },
    /// Trader: a request is refused, since nobody could fill it.
    Refused {
        /// The request.
        request: RequestId,
    },
    /// Buyer: it wants something and asks the trader.
    Wanted {
        /// The request.
        request: RequestId,
        /// The item it wants.
        item: Item,
        /// How many units.
        quantity: Units,
    },
    /// Buyer: it was told that its request was filled.
    Bought {
        /// The sale that filled it.
        sale: Sale,
    },
    /// Buyer: it was told that nobody could fill its request.
    Unavailable {
        /// The request.
        request: RequestId,
        /// The item it wanted.
        item: Item,
    },
    /// Buyer: a request of its former life is in the queue; it waits for that one.
    ResumedRequest {
        /// The request of the former life.
        request: RequestId,
    },
    /// Buyer: it has learned how a request of its former life ended. That life may have been told already.
    Recalled {
        /// The request of the former life.
        request: RequestId,
        /// How the request ended.
        outcome: Outcome,
    },
    /// Seller: it was told that its deposit counts.
    Registered {
        /// The deposit.
        deposit: DepositId,
        /// The item that was deposited.
        item: Item,
        /// How many units.
        count: Units,
        /// The price of one unit.
        price: Price,
    },
    /// Seller: it was told of a sale from its deposit.
    Earned {
        /// The sale.
        sale: Sale,
        /// What it has earned in total.
        total: Cents,
        /// How many units of the deposit are left.
        left: Units,
    },
    /// Seller: its deposit is sold out.
    SoldOut {
        /// The deposit.
        deposit: DepositId,
        /// The item that is sold out.
        item: Item,
    },
    /// Seller: its deposit has too little left for a request that was refused. It takes the rest back and deposits
    /// again.
    LeftOver {
        /// The deposit.
        deposit: DepositId,
        /// The item.
        item: Item,
        /// How many units are left, as far as it was told.
        left: Units,
    },
    /// Seller: it took over its account from the books (after a restart, or after missing too many sales).
    ResumedAccount {
        /// How many sales the account holds.
        sales: u64,
        /// What those sales earned.
        earned: Cents,
    },
    /// The ledger answers again; the peer is eligible for the office.
    LedgerHeard,
    /// The ledger does not answer; the peer is not eligible (SPEC B9).
    LedgerSilent,
    /// An envelope was refused, since it names something that cannot be true (SPEC I8).
    EnvelopeRefused {
        /// The neighbour that handed it over.
        from: PeerId,
        /// Its writer, by its own account.
        source: PeerId,
        /// What cannot be true.
        implausible: Implausible,
    },
    /// Epochs up to this one were named, and the ledger, asked since, says that nobody was granted one after the latest: a
    /// member has a bug. From now on the ledger alone is believed, until it falls silent (SPEC I8).
    NoSuchEpoch {
        /// The highest epoch that was named.
        epoch: Epoch,
        /// The latest epoch that was granted; 0 before the first.
        latest: Epoch,
    },
    /// What a message says of a term was not believed: the ledger's word is against it (SPEC I8). Nothing is said of one
    /// that is only late: its term is over.
    TermRefused {
        /// Whose message it was, by its own account.
        source: PeerId,
        /// The epoch that it names.
        epoch: Epoch,
        /// The peer that holds or held it, according to the message.
        leader: PeerId,
    },
    /// The books hold a record that cannot follow the ones before it; the peer will not serve from them.
    BooksRefused {
        /// The position of the record.
        position: Position,
    },
}

/// Why a peer left the office or gave up claiming it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Departure {
    /// It made its number of sales (SPEC B6).
    Resigned,
    /// A newer epoch exists.
    Deposed,
    /// The log does not end where this peer left it: somebody else has written.
    Overtaken,
    /// The ledger did not answer in time (SPEC B9).
    LedgerSilent,
    /// Another trader keeps renewing its term.
    LeaseActive,
    /// It learned while standing that it resigned the last term (DESIGN 3).
    SitsOut,
    /// It hears no neighbour, and another peer has the office or has claimed it (DESIGN R6).
    Isolated,
    /// The books contain a record that cannot be folded.
    BooksDamaged,
}
