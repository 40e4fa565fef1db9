//! The chain over a log: a hash of each batch and of all before it. Whatever leads from the empty log to a head whose
//! chain is known is the log that this head is of, wherever its bytes were found.

use bazaar_protocol::{id::Position, record::Batch};
use serde::{Deserialize, Serialize};

/// A hash of all batches up to some place in the log, in order.
pub(super) type Chain = [u8; blake3::OUT_LEN];

/// A place in a log where a batch ends, and the chain up to there. The ledger's second head is one (DESIGN 3, "What a
/// store must promise").
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(super) struct Head {
    pub(super) position: Position,
    pub(super) chain: Chain,
}

impl Head {
    /// The head of an empty log.
    pub(super) fn start() -> Head {
        Head { position: Position(0), chain: *blake3::hash(b"bazaar ledger log 1").as_bytes() }
    }

    /// The head after a batch, given the batch and its encoding.
    pub(super) fn after(&self, batch: &Batch, encoded: &[u8]) -> Head {
        let mut hasher = blake3::Hasher::new();
        hasher.update(&self.chain);
        hasher.update(encoded);
        Head { position: batch.end(), chain: *hasher.finalize().as_bytes() }
    }
}

/// A batch as it is stored: its encoding, then the chain up to its end.
#[derive(Serialize, Deserialize)]
pub(super) struct Entry {
    pub(super) batch: Batch,
    pub(super) chain: Chain,
}

impl Entry {
    /// The entry that `bytes` begin with, and its length. It need not be chained to anything.
    pub(super) fn first_in(bytes: &[u8]) -> Option<(Entry, usize)> {
        let (entry, rest) = postcard::take_from_bytes::<Entry>(bytes).ok()?;
        let records = entry.batch.records.len() as u64;
        // Bytes that were never an entry may say anything.
        let is_possible = records > 0 && entry.batch.position.0.checked_add(records).is_some();
        is_possible.then(|| (entry, bytes.len() - rest.len()))
    }

    /// The batch's own encoding, which the chain runs over. The chain is the last field and of fixed length.
    pub(super) fn batch_in(bytes: &[u8]) -> Option<&[u8]> {
        bytes.split_last_chunk::<{ blake3::OUT_LEN }>().map(|(batch, _)| batch)
    }

    /// The encoding of the entry for a batch that follows `before`, and the head after it.
    ///
    /// # Errors
    /// When the batch cannot be encoded.
    pub(super) fn encode(before: &Head, batch: &Batch) -> Result<(Vec<u8>, Head), postcard::Error> {
        let mut bytes = postcard::to_allocvec(batch)?;
        let after = before.after(batch, &bytes);
        bytes.extend_from_slice(&after.chain);
        Ok((bytes, after))
    }
}
