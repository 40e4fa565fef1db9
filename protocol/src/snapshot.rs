//! Snapshots: the books in chunks, each small enough for a frame.

use alloc::{sync::Arc, vec::Vec};

use serde::{Deserialize, Serialize};

use crate::{
    account::{BooksTerm, BuyerAccount, QueueKey, SellerAccount, TraderAccount},
    clock::Time,
    config::Limits,
    id::{PeerId, Position},
    record::Request,
};

/// Identifies one chunk of one snapshot.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct ChunkId {
    /// The position at which the snapshot was taken.
    pub position: Position,
    /// The chunk's index, from 0.
    pub index: u32,
}

/// A chunk of the books, as it travels in a snapshot.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct SnapshotChunk(pub(crate) Vec<ChunkEntry>);

#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(crate) enum ChunkEntry {
    Totals { position: Position, latest: Time, term: Option<BooksTerm>, refusals: u64, floor: Option<QueueKey> },
    Queued { place: Time, request: Request },
    Buyer(PeerId, BuyerAccount),
    Seller(PeerId, Arc<SellerAccount>),
    Trader(PeerId, TraderAccount),
}

impl ChunkEntry {
    pub(crate) fn weight(&self) -> usize {
        match self {
            ChunkEntry::Totals { .. } | ChunkEntry::Queued { .. } | ChunkEntry::Trader(..) => 1,
            ChunkEntry::Buyer(..) => 2,
            ChunkEntry::Seller(_, account) => (Limits::ACCOUNT_WEIGHT as usize).saturating_add(account.recent.len()),
        }
    }
}

impl SnapshotChunk {
    /// How much it holds, in the unit of [`Limits::FRAME`]: about the size of one record.
    #[must_use]
    pub fn weight(&self) -> usize {
        self.0.iter().map(ChunkEntry::weight).sum()
    }
}
