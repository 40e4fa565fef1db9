//! What can be asked over a connection, once it is open. Which of the services a connection speaks follows from its
//! [`Purpose`](crate::network::hello::Purpose) and from who accepted it:
//!
//! | | a peer's process | the ledger's process |
//! |---|---|---|
//! | `Link` | [`PeerLink`] | refused |
//! | `Ledger` | refused | [`LedgerDoor`] |
//! | `Tool` | [`HostTools`] | [`LedgerTools`] |
//!
//! So a tool cannot append: the service it speaks has no such call.

use bazaar_protocol::{
    clock::Time,
    id::{Epoch, Incarnation, PeerId},
    ledger::LedgerStatus,
};
use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::network::directory::Entry;

pub use rpc::*;

/// The peer that a link leads to has just gone. The link is of no more use.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, Error)]
#[error("the peer has gone")]
pub struct Gone;

/// Why the ledger's process does not answer a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, Error)]
pub enum LedgerRefusal {
    /// The call is in another's name than the connection's.
    #[error("a peer calls in its own name only")]
    NotYou,
    /// The ledger has not answered: it has too much to do, or is about to stop. Ask again.
    #[error("the ledger has not answered")]
    NotAnswered,
}

/// What a ledger's process shows of itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LedgerInfo {
    /// The fence.
    pub status: LedgerStatus,
    /// Whether the latest term is being renewed.
    pub live: bool,
    /// The directory's entries in order of their ids; as many as fit.
    pub entries: Vec<Entry>,
    /// More follow: ask again for what comes after the last of these.
    pub more: bool,
}

/// What a peer's process shows of itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostInfo {
    /// The peers it hosts, in order of their ids; as many as fit.
    pub peers: Vec<PeerInfo>,
    /// More follow: ask again for what comes after the last of these.
    pub more: bool,
}

/// One hosted peer, for a tool.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum PeerInfo {
    /// How it is.
    Well(Box<PeerStatus>),
    /// It has not said how it is within the time: its driver hangs or is overloaded.
    NoAnswer(PeerId),
}

impl PeerInfo {
    /// Which peer.
    #[must_use]
    pub fn id(&self) -> PeerId {
        match self {
            PeerInfo::Well(status) => status.id,
            PeerInfo::NoAnswer(id) => *id,
        }
    }
}

/// How a peer is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PeerStatus {
    /// Which peer.
    pub id: PeerId,
    /// Its life.
    pub incarnation: Incarnation,
    /// Its process.
    pub pid: u32,
    /// What it does, for people.
    pub role: String,
    /// Its neighbours and the links to them.
    pub links: Vec<LinkStatus>,
    /// Whether it is connected to the ledger.
    pub ledger: bool,
    /// Its Lamport clock.
    pub clock: Time,
    /// The trader it knows.
    pub trader: Option<PeerId>,
    /// The trader's epoch.
    pub epoch: Epoch,
    /// Whether it is the trader itself.
    pub in_office: bool,
    /// Requests that wait in its queue, if it is the trader.
    pub waiting: u32,
}

/// How a link is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LinkStatus {
    /// To whom.
    pub neighbour: PeerId,
    /// Whether it works.
    pub up: bool,
    /// Envelopes that wait for it.
    pub waiting: u32,
    /// What has passed over it since it was opened.
    pub counts: LinkCounts,
}

/// What became of the envelopes that were given to a link.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LinkCounts {
    /// The other side has them.
    pub delivered: u64,
    /// They were needless, a newer clock of the same origin being there (SPEC C2).
    pub superseded: u64,
    /// There was no room.
    pub overflowed: u64,
    /// The link was down, or went down before they were known to have arrived.
    pub lost: u64,
    /// They do not fit into a frame.
    pub oversized: u64,
}

mod rpc {
    // The attribute writes public items that cannot carry documentation of their own.
    #![allow(missing_docs, missing_debug_implementations)]

    use bazaar_protocol::{
        id::{PeerId, Position},
        ledger::{LedgerCall, LedgerReply},
        message::Envelope,
        record::Batch,
    };

    use super::{Gone, HostInfo, LedgerInfo, LedgerRefusal};
    use crate::network::directory::{RegisterError, Registration};

    /// What a peer says to a neighbour. Who says it is settled by the hello.
    #[tarpc::service]
    pub trait PeerLink {
        /// Hands over envelopes, in order; none at all asks whether the neighbour is there. The answer comes when all
        /// of them are in the neighbour's inbox.
        async fn deliver(envelopes: Vec<Envelope>) -> Result<(), Gone>;
    }

    /// What a peer asks of the ledger's process. Who asks is settled by the hello.
    #[tarpc::service]
    pub trait LedgerDoor {
        /// "Are you there?"
        async fn ping();
        /// Calls the ledger.
        async fn call(call: LedgerCall) -> Result<LedgerReply, LedgerRefusal>;
        /// Tells the directory where the caller lives.
        async fn register(registration: Registration) -> Result<(), RegisterError>;
        /// Where another peer lives; `None`: it has not registered.
        async fn lookup(of: PeerId) -> Option<String>;
    }

    /// What a tool asks of the ledger's process.
    #[tarpc::service]
    pub trait LedgerTools {
        /// The fence, and the directory's entries above `after`.
        async fn status(after: Option<PeerId>) -> Result<LedgerInfo, LedgerRefusal>;
        /// The durable batches from `from` on, where one starts; as many as fit. None: `from` is the head.
        async fn log(from: Position) -> Result<Vec<Batch>, LedgerRefusal>;
        /// Tells `seeker` this address from now on when it looks for `of`; `None`: the registered one again.
        async fn detour(of: PeerId, seeker: PeerId, address: Option<String>);
    }

    /// What a tool asks of a peer's process.
    #[tarpc::service]
    pub trait HostTools {
        /// How the hosted peers above `after` are.
        async fn status(after: Option<PeerId>) -> HostInfo;
    }
}
