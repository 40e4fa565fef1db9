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

use std::time::{Duration, Instant};

use bazaar_protocol::{
    clock::Time,
    config::Ordering,
    id::{Epoch, Incarnation, Life, PeerId},
    ledger::LedgerStatus,
};
use serde::{Deserialize, Serialize};
use tarpc::context;
use thiserror::Error;

use crate::network::{directory::Entry, door::DoorStatus};

pub use rpc::*;

/// The peer that a link leads to is gone. The link is of no further use.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, Error)]
#[error("the peer is gone")]
pub struct Gone;

/// Why the ledger's process does not answer a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, Error)]
pub enum LedgerRefusal {
    /// The call is in the name of another peer than the connection's.
    #[error("a peer may only call in its own name")]
    NotYou,
    /// The peer has not registered over this connection, or its registration was refused (SPEC I5).
    #[error("a peer may only call once it has registered")]
    NotRegistered,
    /// What is to be appended names a clock reading above everything that an honest clock can have got to (SPEC I8).
    #[error("a clock reading in it is absurdly far ahead")]
    ClockAbsurd,
    /// The caller says that it has seen more than the books hold, and no ledger of this run has told it so; or its batch
    /// cannot be what it says it is (SPEC I8).
    #[error("what it says cannot be: it has seen no such books, or is not such a batch")]
    MadeUp,
    /// The ledger has not answered: it is overloaded or about to stop. Ask again.
    #[error("the ledger has not answered")]
    NotAnswered,
}

/// What somebody does to a whole process by hand (`bazaar pause`, `bazaar resume`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Hand {
    /// It is about to be stopped, until it is resumed.
    Paused,
    /// It goes on.
    Resumed,
}

/// Why a process does not do what somebody wants done to a peer by hand.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, Error)]
pub enum HandRefusal {
    /// The peer is not, or no longer, hosted in this process.
    #[error("peer {0} is not here")]
    NotHere(PeerId),
    /// There is no such link.
    #[error("they are not neighbours")]
    NotNeighbours,
    /// The peer does not hold the office.
    #[error("peer {0} is not the trader")]
    NotTrader(PeerId),
    /// The peer's driver did not answer in time: it hangs or is overloaded.
    #[error("it does not answer")]
    NoAnswer,
}

/// What the ledger's process tells a tool.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LedgerInfo {
    /// The durable state of the fence.
    pub status: LedgerStatus,
    /// Whether the latest term is being renewed.
    pub live: bool,
    /// What is wrong with its log, in words (SPEC I3).
    pub trouble: Option<String>,
    /// The directory's entries in order of their ids; as many as fit into a frame.
    pub entries: Vec<Entry>,
    /// Whether more follow: ask again for those after the last of these.
    pub more: bool,
    /// What goes on at its door.
    pub door: DoorStatus,
}

/// What a process that hosts peers tells a tool.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostInfo {
    /// The peers it hosts, in order of their ids; as many as fit into a frame.
    pub peers: Vec<PeerInfo>,
    /// Whether more follow: ask again for those after the last of these.
    pub more: bool,
    /// What goes on at its door.
    pub door: DoorStatus,
}

/// A hosted peer, as a tool sees it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum PeerInfo {
    /// Its status.
    Well(Box<PeerStatus>),
    /// Its driver did not answer in time: it hangs or is overloaded.
    NoAnswer(PeerId),
}

impl PeerInfo {
    /// The peer that this is about.
    #[must_use]
    pub fn id(&self) -> PeerId {
        match self {
            PeerInfo::Well(status) => status.id,
            PeerInfo::NoAnswer(id) => *id,
        }
    }
}

/// The status of a peer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PeerStatus {
    /// The peer's id.
    pub id: PeerId,
    /// Which of its lives this is.
    pub incarnation: Incarnation,
    /// The id of its process.
    pub pid: u32,
    /// What it buys and sells, in words.
    pub role: String,
    /// Its neighbours and the links to them.
    pub links: Vec<LinkStatus>,
    /// Whether it is connected to the ledger.
    pub ledger: bool,
    /// Its Lamport clock.
    pub clock: Time,
    /// The trader it knows of, if any.
    pub trader: Option<PeerId>,
    /// That trader's epoch.
    pub epoch: Option<Epoch>,
    /// Whether it is the trader itself.
    pub in_office: bool,
    /// How many requests wait in its queue, if it is the trader.
    pub waiting: u32,
    /// In which order it serves them, if it is the trader.
    pub ordering: Option<Ordering>,
    /// The buyers that have seats, in order of their ids, if it is the trader (SPEC C5).
    pub seats: Vec<Life>,
    /// For whom its next request waits, if it is the trader and that request waits for anybody (SPEC C5).
    pub waits: Option<Waits>,
    /// What is wrong with its log, in words (SPEC I3).
    pub trouble: Option<String>,
}

/// The next request waits until buyers were heard past its place (SPEC C5).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Waits {
    /// The request's place.
    pub place: Time,
    /// The buyers that have not been heard past it, in order of their ids.
    pub buyers: Vec<PeerId>,
}

/// The status of a link.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LinkStatus {
    /// The neighbour it leads to.
    pub neighbour: PeerId,
    /// The latest life of the neighbour that has connected to this peer from another process; 0 if none has.
    pub life: Incarnation,
    /// Whether it is open and the neighbour answers over it.
    pub up: bool,
    /// Whether it was cut by hand.
    pub cut: bool,
    /// How many envelopes wait for it.
    pub waiting: u32,
    /// What became of the envelopes given to it so far.
    pub counts: LinkCounts,
}

/// What became of the envelopes that were given to a link.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LinkCounts {
    /// How many there were.
    pub given: u64,
    /// How many are known to have arrived.
    pub delivered: u64,
    /// How many carried a clock multicast and nothing else, and were replaced by a newer one while they waited (SPEC C2).
    pub superseded: u64,
    /// How many, of all that it was given, carried a clock multicast and nothing else (SPEC C2).
    pub clocks: u64,
    /// How many, of all that it was given, belonged to the flood of a message for one peer (SPEC A9).
    pub flooded: u64,
    /// How many, of all that it was given, carried a message of an election.
    pub elections: u64,
    /// How many were dropped because the queue was full.
    pub overflowed: u64,
    /// How many were lost because the link was down, or went down before they were known to have arrived.
    pub lost: u64,
    /// How many were dropped because they do not fit into a frame.
    pub oversized: u64,
}

mod rpc {
    // The attribute writes public items that cannot carry documentation of their own.
    #![allow(missing_docs, missing_debug_implementations)]

    use bazaar_protocol::{
        id::{Epoch, PeerId, Position},
        ledger::{LedgerCall, LedgerReply},
        message::Envelope,
        record::Batch,
    };

    use super::{Gone, Hand, HandRefusal, HostInfo, LedgerInfo, LedgerRefusal};
    use crate::network::directory::{RegisterError, Registration};

    /// What a peer says to a neighbour. The hello has settled which peer it is.
    #[tarpc::service]
    pub trait PeerLink {
        /// Hands over envelopes, in order; an empty list asks whether the neighbour is there. The answer comes once all
        /// of them are in the neighbour's inbox.
        async fn deliver(envelopes: Vec<Envelope>) -> Result<(), Gone>;
    }

    /// What a peer asks of the ledger's process. The hello has settled which peer it is.
    #[tarpc::service]
    pub trait LedgerDoor {
        /// "Are you there?" It is answered with the durable state of the fence: so every peer is a witness of how far the books
        /// reach, by the ledger's own word (SPEC I5, I8). `heard` is the latest epoch that anybody has named to the caller. A
        /// ledger that has its store to itself answers at once, whatever its disk does; one of several asks the store.
        async fn ping(heard: Epoch) -> LedgerReply;
        /// Passes a call to the ledger's machine; the answer may come only after a write to disk.
        async fn call(call: LedgerCall) -> Result<LedgerReply, LedgerRefusal>;
        /// Tells the directory where the caller can be reached.
        async fn register(registration: Registration) -> Result<(), RegisterError>;
        /// Where the caller can reach another peer; `None` if that has not registered.
        async fn lookup(of: PeerId) -> Option<String>;
    }

    /// What a tool asks of the ledger's process.
    #[tarpc::service]
    pub trait LedgerTools {
        /// The fence, and the directory's entries above `after`.
        async fn status(after: Option<PeerId>) -> Result<LedgerInfo, LedgerRefusal>;
        /// The durable batches from `from` on, which is where one starts; as many as fit into a frame. An empty list
        /// means that `from` is the head.
        async fn log(from: Position) -> Result<Vec<Batch>, LedgerRefusal>;
        /// From now on, tells `seeker` this address when it looks for `of`; `None` restores the registered one.
        async fn detour(of: PeerId, seeker: PeerId, address: Option<String>);
        /// Writes into its log what is done to its process. Answered once it is there.
        async fn hand(hand: Hand) -> Result<(), LedgerRefusal>;
    }

    /// What a tool asks of a peer's process.
    #[tarpc::service]
    pub trait HostTools {
        /// The status of the hosted peers above `after`.
        async fn status(after: Option<PeerId>) -> HostInfo;
        /// Cuts the link of `of` to its neighbour `to`: it carries nothing until it is healed or its process ends. The
        /// neighbour's link, in the other direction, stays.
        async fn cut(of: PeerId, to: PeerId) -> Result<(), HandRefusal>;
        /// Heals all links of `of` that were cut, and returns to whom they lead.
        async fn heal(of: PeerId) -> Result<Vec<PeerId>, HandRefusal>;
        /// Wants the trader `of` to give the office back, before its number of sales.
        async fn resign(of: PeerId) -> Result<(), HandRefusal>;
        /// Writes into the logs of all its peers what is done to their process. Answered once it is there.
        async fn hand(hand: Hand);
    }
}

/// The context of a call whose caller waits for `at_most` this long.
#[must_use]
pub fn within(at_most: Duration) -> context::Context {
    let mut context = context::current();
    context.deadline = Instant::now() + at_most;
    context
}
