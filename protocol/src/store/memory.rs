//! A store in memory with two images: what has been written, and what a crash leaves (after redb's crash tests).

use alloc::vec::Vec;
use core::{convert::Infallible, num::NonZeroU64};

use serde::{Deserialize, Serialize};

use crate::{
    books::Books,
    config::Limits,
    id::Position,
    ledger::{LedgerAnswer, LedgerStatus, Tail},
    record::{Batch, Record},
    snapshot::ChunkId,
    store::Store,
};

/// The log in memory. [`MemoryStore::crash`] drops what was not synced.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct MemoryStore {
    batches: Vec<Batch>,
    durable: usize,
    snapshot: Option<Books>,
    /// How many records there are between snapshots taken by a sync, if it takes any.
    snapshot_every: Option<NonZeroU64>,
    limits: Limits,
}

impl MemoryStore {
    /// An empty store that answers reads within these limits; [`MemoryStore::default`] uses the default limits.
    #[must_use]
    pub fn new(limits: Limits) -> MemoryStore {
        MemoryStore { limits, ..MemoryStore::default() }
    }

    /// Like [`MemoryStore::new`], and takes a snapshot in the first sync after `every` records; without
    /// that, only on request.
    #[must_use]
    pub fn snapshotting(limits: Limits, every: Option<NonZeroU64>) -> MemoryStore {
        MemoryStore { snapshot_every: every, ..MemoryStore::new(limits) }
    }

    /// All batches written so far, in order, synced or not.
    #[must_use]
    pub fn written(&self) -> &[Batch] {
        &self.batches
    }

    /// The batches that would survive a crash.
    #[must_use]
    pub fn durable(&self) -> &[Batch] {
        &self.batches[..self.durable]
    }

    /// The durable records, in order.
    pub fn records(&self) -> impl Iterator<Item = &Record> {
        self.durable().iter().flat_map(|batch| &batch.records)
    }

    /// Crashes: of the batches that were not synced, the first `kept` survive (never one without those before it).
    pub fn crash(&mut self, kept: usize) {
        self.durable = self.batches.len().min(self.durable + kept);
        self.batches.truncate(self.durable);
    }

    /// Puts an old image back: everything written after the first `batches` is gone, even if it had become durable, and
    /// so is a snapshot of it.
    pub fn put_back(&mut self, batches: usize) {
        self.batches.truncate(batches);
        self.durable = self.batches.len();
        let head = self.head();
        self.snapshot = self.snapshot.take().filter(|books| books.position() <= head);
    }

    /// Takes a snapshot of the books at the durable head, as a store on disk does from time to time.
    pub fn take_snapshot(&mut self) {
        // Continued from the one before, which is of the same records.
        let mut books = self.snapshot.take().unwrap_or_else(|| Books::keeping(self.limits.sales_kept));
        let first = self.first_from(books.position());
        let mut records = self.durable().get(first..).into_iter().flatten().flat_map(|batch| &batch.records);
        let all_apply = records.all(|record| books.apply(record).is_ok());
        self.snapshot = all_apply.then_some(books);
    }

    /// The snapshot that precedes the records above it, if one was taken.
    #[must_use]
    pub fn snapshot(&self) -> Option<&Books> {
        self.snapshot.as_ref()
    }

    /// The state of the fence at the durable head.
    #[must_use]
    pub fn durable_status(&self) -> LedgerStatus {
        self.durable().iter().fold(LedgerStatus::default(), |status, batch| status.after(batch))
    }

    fn head(&self) -> Position {
        self.durable().last().map_or(Position(0), Batch::end)
    }

    /// The index of the first batch that reaches beyond this position.
    fn first_from(&self, position: Position) -> usize {
        self.batches.partition_point(|batch| batch.end() <= position)
    }
}

fn tail_of(batches: &[Batch]) -> Tail {
    batches.iter().fold(Tail::default(), |tail, batch| tail.after(batch))
}

impl Store for MemoryStore {
    type Error = Infallible;

    fn tail(&self) -> Tail {
        tail_of(&self.batches)
    }

    fn append(&mut self, batch: &Batch) -> Result<(), Infallible> {
        self.batches.push(batch.clone());
        Ok(())
    }

    fn sync(&mut self) -> Result<(), Infallible> {
        let before = self.durable;
        self.durable = self.batches.len();
        if let Some(every) = self.snapshot_every.filter(|_| self.durable > before) {
            let taken = self.snapshot.as_ref().map_or(0, |books| books.position().0);
            if self.head().0 >= taken + every.get() {
                self.take_snapshot();
            }
        }
        Ok(())
    }

    fn read(&self, from: Position, chunk: Option<ChunkId>, upto: Position) -> Result<LedgerAnswer, Infallible> {
        if let Some(books) = self.snapshot.as_ref().filter(|books| from < books.position() && books.position() <= upto)
        {
            let (id, of, chunk) = books.chunk_for(chunk, self.limits.chunk_weight);
            return Ok(LedgerAnswer::Chunk { id, of, chunk });
        }
        let records = self.batches[self.first_from(from)..]
            .iter()
            .flat_map(|batch| (0_usize..).zip(&batch.records).map(|(nth, record)| (batch.position.plus(nth), record)));
        let records = records
            .filter(|(position, _)| (from..upto).contains(position))
            .take(self.limits.read_records as usize)
            .map(|(_, record)| record.clone())
            .collect();
        Ok(LedgerAnswer::Records { from, records })
    }

    fn batches(&self, from: Position, upto: Position) -> Result<Vec<Batch>, Infallible> {
        let (mut batches, mut records) = (Vec::new(), 0);
        let rest = self.batches[self.first_from(from)..].iter();
        for batch in rest.filter(|batch| batch.position >= from && batch.end() <= upto) {
            records += batch.records.len();
            if records > self.limits.read_records as usize && !batches.is_empty() {
                break;
            }
            batches.push(batch.clone());
        }
        Ok(batches)
    }
}

#[cfg(test)]
mod tests;
