//! What the ledger writes to: what a store must promise (DESIGN 3), one in memory, and a suite that any must pass.

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

/// A place that keeps the log. [`MemoryStore`] is the model's; the runtime's is on a disk. Whatever passes the
/// [conformance suite](conformance) can stand in for either.
///
/// # What a store must promise
///
/// - After [`sync`](Store::sync) has returned, every batch appended before it survives any crash, whole.
/// - A batch appended but not synced may survive or not, but never in part, and never without those before it.
/// - What a crash or a damaged medium has made of *synced* records is either nothing, or an error that names the
///   record: never a shorter or another log that looks intact.
pub trait Store {
    /// Why the store cannot do what it should.
    type Error;

    /// The end of the log as written, synced or not.
    fn tail(&self) -> Tail;

    /// Writes a batch at the end. Not durable yet.
    ///
    /// # Errors
    /// When the medium refuses. The caller stops; it does not try again.
    fn append(&mut self, batch: &Batch) -> Result<(), Self::Error>;

    /// Makes everything that was appended durable.
    ///
    /// # Errors
    /// When the medium refuses. The caller stops; it does not try again.
    fn sync(&mut self) -> Result<(), Self::Error>;

    /// Answers a read from what stands below `upto`: a chunk of a snapshot that was taken above `from` and not above
    /// `upto`, no heavier than [`Limits::chunk_weight`](crate::config::Limits::chunk_weight) says, or else the records
    /// from `from` on, at most [`Limits::read_records`](crate::config::Limits::read_records) of them.
    ///
    /// # Errors
    /// When the medium refuses, or what it gives is damaged.
    fn read(&self, from: Position, chunk: Option<ChunkId>, upto: Position) -> Result<LedgerAnswer, Self::Error>;

    /// The batches that stand from `from` on and end at or below `upto`: at least one if there is any, and no more
    /// records than an answer to a read holds unless it is a single batch. `from` is where a batch starts. Tools read a
    /// living ledger by it.
    ///
    /// # Errors
    /// When the medium refuses, or what it gives is damaged.
    fn batches(&self, from: Position, upto: Position) -> Result<Vec<Batch>, Self::Error>;

    /// What opening the store has cut off the end of its log, in words: what a crash had left there torn, and nobody
    /// was ever told of. Nothing where a store never has to.
    fn cut_off(&self) -> Option<String> {
        None
    }
}
