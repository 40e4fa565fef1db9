//! What goes into a peer.

use serde::{Deserialize, Serialize};

use crate::{id::PeerId, ledger::LedgerReply, message::Envelope};

/// What can happen to a peer. Time comes in as fired timers and randomness as answered choices, so a list of inputs is
/// a complete trace.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Input {
    /// A neighbour hands over an envelope. The driver vouches that it came from `from`.
    Received {
        /// The neighbour.
        from: PeerId,
        /// The envelope as it was received.
        envelope: Envelope,
    },
    /// The link to a neighbour has come up.
    LinkUp(PeerId),
    /// The link to a neighbour has gone down; anything sent over it recently may be lost.
    LinkDown(PeerId),
    /// An armed timer has fired. It is no longer armed.
    Fired(Timer),
    /// The ledger has become reachable.
    LedgerUp,
    /// The ledger has become unreachable; calls in flight may be lost.
    LedgerDown,
    /// A reply from the ledger.
    Ledger(LedgerReply),
    /// The write that [`Effect::Write`](crate::effect::Effect::Write) asked for is durable, and so is every write
    /// before it.
    Written(WriteId),
    /// The answer to [`Effect::Choose`](crate::effect::Effect::Choose).
    Chose {
        /// The choice that was asked for.
        choice: Choice,
        /// The index that was picked, from 0 and below the number of options. Anything else is ignored.
        pick: u32,
    },
    /// Somebody wants the trader to give the office back, before its number of sales. Ignored out of office.
    Resign,
}

/// The timers of a peer. Each is armed at most once; arming it again replaces it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Timer {
    /// The election's timer: for a turn, an answer, a coordinator, or the leader's silence, depending on its phase.
    Election,
    /// The ledger has not answered; ask again.
    LedgerRetry,
    /// The ledger has been silent for so long that the peer gives the office up (SPEC B9).
    LedgerGiveUp,
    /// The trader renews its term and shows that it is alive.
    Renewal,
    /// The buyer thinks of something to buy, or asks again for what it wants.
    Buyer,
    /// The seller deposits, or asks again what has been sold.
    Seller,
    /// The trader's next request still waits; ask its buyers again (SPEC C5).
    Wave,
    /// Neighbours have not answered a wave; answer without them (SPEC C5).
    Gather,
    /// Neighbours may be told of a clock multicast by an envelope of its own (SPEC C2).
    ClockInterval,
}

/// A decision that is left to the driver, normally a random one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Choice {
    /// Which of the buyer's items it requests next.
    Wish,
    /// Which of the seller's offers it deposits next.
    Offer,
}

/// Identifies one durable write of one life of a peer; counted from 1.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct WriteId(pub u64);
