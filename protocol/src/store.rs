//! What the ledger writes to: what a store must promise (DESIGN 3), a store in memory, and a suite that any store must
//! pass.

pub mod conformance;
mod memory;

pub use memory::MemoryStore;

use alloc::{string::String, vec::Vec};

use crate::{
    id::Position,
    ledger::{LedgerAnswer, Tail},
    record::Batch,
    snapshot::ChunkId,
};

/// A place that keeps the log. [`MemoryStore`] is the one the models use; the runtime's is on a disk. Anything that
/// passes the [conformance suite](conformance) can replace either.
///
/// # What a store must promise
///
/// - After [`sync`](Store::sync) has returned, every batch appended before it survives any crash, whole.
/// - A batch appended but not synced may or may not survive, but never in part, and never without those before it.
/// - A crash or a damaged medium may lose no *synced* record silently: either all of them are intact, or there is an
///   error that names the record; never a shorter or different log that looks intact.
pub trait Store {
    /// Why the store cannot do what it was asked.
    type Error;

    /// The end of the log as written, synced or not. Right after opening, everything up to here is durable: what a crash
    /// has left beyond the last sync counts from then on, and must be synced before the store is handed out.
    fn tail(&self) -> Tail;

    /// Writes a batch at the end. It is not durable yet.
    ///
    /// # Errors
    /// When the medium refuses. The caller must stop; it does not retry.
    fn append(&mut self, batch: &Batch) -> Result<(), Self::Error>;

    /// Makes everything that was appended durable.
    ///
    /// # Errors
    /// When the medium refuses. The caller must stop; it does not retry.
    fn sync(&mut self) -> Result<(), Self::Error>;

    /// Answers a read from what lies below `upto`: a chunk of a snapshot that was taken above `from` and not above
    /// `upto`, no heavier than [`Limits::chunk_weight`](crate::config::Limits::chunk_weight), or else the records from
    /// `from` on, at most [`Limits::read_records`](crate::config::Limits::read_records) of them.
    ///
    /// # Errors
    /// When the medium refuses, or returns something damaged.
    fn read(&self, from: Position, chunk: Option<ChunkId>, upto: Position) -> Result<LedgerAnswer, Self::Error>;

    /// The batches from `from` on that end at or below `upto`: at least one if there is any, and no more records than
    /// one answer to a read holds, unless it is a single batch. A batch must start at `from`. Tools use this to read a
    /// running ledger.
    ///
    /// # Errors
    /// When the medium refuses, or returns something damaged.
    fn batches(&self, from: Position, upto: Position) -> Result<Vec<Batch>, Self::Error>;

    /// What opening the store cut off the end of its log, in words: what a crash had left torn there, and nobody was
    /// ever told of. `None` for a store that never has to.
    fn cut_off(&self) -> Option<String> {
        None
    }
}
