//! The one door into a peer.

use serde::{Deserialize, Serialize};

use crate::{id::PeerId, ledger::LedgerReply, message::Envelope};

/// What can happen to a peer. Time comes in as fired timers and randomness as answered choices, so a list of inputs is
/// a complete trace.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Input {
    /// A neighbour hands over an envelope. The driver vouches that `from` is who sent it.
    Received {
        /// Which neighbour.
        from: PeerId,
        /// The envelope.
        envelope: Envelope,
    },
    /// The link to a neighbour works from now on.
    LinkUp(PeerId),
    /// The link to a neighbour no longer works; what was sent over it lately may be lost.
    LinkDown(PeerId),
    /// A timer that was armed fires. It is no longer armed.
    Fired(Timer),
    /// The ledger can be reached from now on.
    LedgerUp,
    /// The ledger can no longer be reached; calls that are under way may be lost.
    LedgerDown,
    /// The ledger answers.
    Ledger(LedgerReply),
    /// What [`Effect::Write`](crate::effect::Effect::Write) asked for is durable, and so is every write before it.
    Written(WriteId),
    /// The answer to [`Effect::Choose`](crate::effect::Effect::Choose).
    Chose {
        /// Which choice.
        choice: Choice,
        /// What was picked, from 0 and below what there was to choose among. Anything else is ignored.
        pick: u32,
    },
}

/// The timers of a peer. Each is armed at most once; arming it again replaces it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Timer {
    /// What the election waits for: a turn, an answer, a coordinator, or the leader's silence. Its phase says which.
    Election,
    /// The ledger has not answered; ask again.
    LedgerRetry,
    /// The ledger has not answered for so long that the office is given up (SPEC B9).
    LedgerGiveUp,
    /// The trader renews its term and shows that it lives.
    Renewal,
    /// The buyer thinks of something to buy, or asks again for what it wants.
    Buyer,
    /// The seller deposits, or asks again what was sold.
    Seller,
    /// The buyer's clock may be multicast again (SPEC C2).
    ClockInterval,
}

/// A decision that is the driver's to make, at random as a rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Choice {
    /// Which of the buyer's items it wants next.
    Wish,
    /// Which of the seller's offers it deposits next.
    Offer,
}

/// Names a durable write of one life of a peer, from 1.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct WriteId(pub u64);
