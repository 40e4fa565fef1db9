//! The one door out of a peer.

use alloc::vec::Vec;
use core::time::Duration;

use serde::{Deserialize, Serialize};

use crate::{
    account::Outcome,
    clock::Time,
    id::{DepositId, Epoch, Incarnation, Item, PeerId, Position, RequestId, Units},
    input::{Choice, Timer, WriteId},
    ledger::{HighWaterMark, LedgerCall},
    message::Envelope,
    money::{Cents, Price},
    record::Sale,
};

/// What a step wants done, in order.
pub type Effects = Vec<Effect>;

/// One thing a peer wants done. None waits for another: what depends on a write comes out of the step that handles
/// [`Input::Written`](crate::input::Input::Written).
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Effect {
    /// Hand an envelope to a neighbour. It may be lost, doubled or late.
    Send {
        /// Which neighbour; its link is up.
        to: PeerId,
        /// The envelope.
        envelope: Envelope,
    },
    /// Call the ledger. Call and reply may be lost, doubled or late.
    Ledger(LedgerCall),
    /// Make this durable in place of what was durable before, then say
    /// [`Input::Written`](crate::input::Input::Written). A driver whose write fails stops the peer.
    Write {
        /// Names the write.
        id: WriteId,
        /// What shall survive.
        durable: Durable,
    },
    /// Fire this timer once, `after` from now.
    Arm {
        /// Which timer.
        timer: Timer,
        /// How long from now.
        after: Duration,
    },
    /// Do not fire this timer.
    Disarm(Timer),
    /// Pick a number below `among` (at least 1) and answer with [`Input::Chose`](crate::input::Input::Chose).
    Choose {
        /// Which choice.
        choice: Choice,
        /// How many there are to choose among.
        among: u32,
    },
    /// Something people may want to read (SPEC H1).
    Note {
        /// The peer's clock (SPEC C6).
        clock: Time,
        /// The epoch of the trader it knows; nothing when it knows none.
        epoch: Option<Epoch>,
        /// What happened.
        note: Note,
    },
}

/// All of a peer that survives a crash.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Durable {
    /// How often it has started.
    pub incarnation: Incarnation,
    /// No clock above this was ever sent (DESIGN R10).
    pub clock_bound: Time,
    /// The furthest durable books it knew of when this was written (it may lag).
    pub seen: HighWaterMark,
}

/// What happened, for people and tests.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "event")]
pub enum Note {
    /// The peer has started and may speak.
    Joined {
        /// Its life.
        incarnation: Incarnation,
    },
    /// It calls an election.
    ElectionCalled,
    /// It is not eligible and asks whether anybody is.
    AskedForAnyone,
    /// It has not heard the trader for too long.
    TraderSuspected {
        /// The trader.
        trader: PeerId,
    },
    /// It has won the election and claims the office.
    ElectionWon,
    /// It holds the office: "I am the new coordinator".
    TookOffice {
        /// Requests that wait from earlier terms.
        inherited: u32,
    },
    /// It recognises a coordinator.
    Recognised {
        /// The trader.
        trader: PeerId,
    },
    /// It has left the office, or given up claiming it.
    SteppedDown {
        /// Why.
        reason: Departure,
    },
    /// Trader: a deposit is booked.
    Deposited {
        /// Which.
        deposit: DepositId,
        /// What.
        item: Item,
        /// How many.
        count: Units,
        /// At what price each.
        price: Price,
    },
    /// Trader: a request is in the queue.
    Admitted {
        /// Which.
        request: RequestId,
        /// For what.
        item: Item,
        /// How many.
        quantity: Units,
        /// The request's own clock.
        stamp: Time,
    },
    /// Trader: a sale is booked.
    Sold {
        /// The sale.
        sale: Sale,
    },
    /// Trader: a request is refused; nobody could fill it.
    Refused {
        /// Which.
        request: RequestId,
    },
    /// Buyer: it wants something and asks the trader.
    Wanted {
        /// Which request.
        request: RequestId,
        /// What.
        item: Item,
        /// How many.
        quantity: Units,
    },
    /// Buyer: it was told that it bought something.
    Bought {
        /// The sale.
        sale: Sale,
    },
    /// Buyer: it was told that nobody could sell that.
    Unavailable {
        /// Which request.
        request: RequestId,
        /// What it wanted.
        item: Item,
    },
    /// Buyer: a request of its former life is in the queue; it waits for that one.
    ResumedRequest {
        /// Which.
        request: RequestId,
    },
    /// Buyer: it learns how a request of its former life ended, and may have been told so before.
    Recalled {
        /// Which.
        request: RequestId,
        /// How it ended.
        outcome: Outcome,
    },
    /// Seller: it was told that its deposit counts.
    Registered {
        /// Which.
        deposit: DepositId,
        /// What.
        item: Item,
        /// How many.
        count: Units,
        /// At what price each.
        price: Price,
    },
    /// Seller: it was told of a sale.
    Earned {
        /// The sale.
        sale: Sale,
        /// What it has earned in all.
        total: Cents,
        /// What is left of the deposit.
        left: Units,
    },
    /// Seller: its deposit is sold out.
    SoldOut {
        /// Which.
        deposit: DepositId,
        /// What it was.
        item: Item,
    },
    /// Seller: it took over its account as the books have it (after a restart, or after missing too much).
    ResumedAccount {
        /// How many sales it holds.
        sales: u64,
        /// What they earned.
        earned: Cents,
    },
    /// The ledger answers again; the peer is eligible for the office.
    LedgerHeard,
    /// The ledger does not answer; the peer is not eligible (SPEC B9).
    LedgerSilent,
    /// An envelope was refused: its clock is absurdly far ahead.
    ClockRefused {
        /// Whose.
        source: PeerId,
        /// What it showed.
        clock: Time,
    },
    /// An envelope was refused: it names a peer whose id is not one of this bazaar's.
    PeerUnknown {
        /// Which id.
        peer: PeerId,
    },
    /// The books hold a record that cannot follow the ones before it; the peer will not serve from them.
    BooksRefused {
        /// Where.
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
    /// The log is not where it left it: somebody else has written.
    Overtaken,
    /// The ledger did not answer in time (SPEC B9).
    LedgerSilent,
    /// Another trader keeps renewing its term.
    LeaseActive,
    /// It learned while standing that it resigned the last term (DESIGN 3).
    SitsOut,
    /// It hears no neighbour while somebody else claims its office (DESIGN R6).
    Isolated,
    /// The books cannot be folded.
    BooksDamaged,
}
