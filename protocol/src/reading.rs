//! Reading the books from a ledger.

use alloc::vec::Vec;
use core::mem;

use serde::{Deserialize, Serialize};

use crate::{
    books::{Books, BooksError},
    id::Position,
    ledger::LedgerAnswer,
    snapshot::{ChunkId, SnapshotChunk},
};

/// Books being read from a ledger, answer by answer, whatever is lost or arrives twice on the way.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Reading {
    books: Books,
    chunks: Vec<SnapshotChunk>,
    next: Option<ChunkId>,
}

impl Reading {
    /// Continues from books that were read before. The result keeps as many sales as these do.
    #[must_use]
    pub fn on(books: Books) -> Reading {
        Reading { books, chunks: Vec::new(), next: None }
    }

    /// What to ask for now: the position, and the chunk of a snapshot if it is in the middle of one.
    #[must_use]
    pub fn wanted(&self) -> (Position, Option<ChunkId>) {
        (self.books.position(), self.next)
    }

    /// What has been read so far.
    #[must_use]
    pub fn books(&self) -> &Books {
        &self.books
    }

    /// Gives up the reading and returns what has been read so far.
    #[must_use]
    pub fn into_books(self) -> Books {
        self.books
    }

    /// Takes an answer and says whether it was of use. Every answer to a read is a true piece of the one log there is,
    /// so any that continues these books will do, and any other changes nothing.
    ///
    /// # Errors
    /// When a record cannot follow the ones before it.
    pub fn take(&mut self, answer: LedgerAnswer) -> Result<bool, BooksError> {
        match answer {
            LedgerAnswer::Chunk { id, of, chunk } => Ok(self.take_chunk(id, of, chunk)),
            LedgerAnswer::Records { from, records } => {
                if mutant!(from != self.books.position(); RecordsOutOfPlace => false) {
                    return Ok(false);
                }
                for record in &records {
                    self.books.apply(record)?;
                }
                // There is no longer a snapshot to continue with, or none that is needed.
                (self.chunks, self.next) = (Vec::new(), None);
                Ok(!records.is_empty())
            }
            LedgerAnswer::Status | LedgerAnswer::Append { .. } => Ok(false),
        }
    }

    fn take_chunk(&mut self, id: ChunkId, of: u32, chunk: SnapshotChunk) -> bool {
        let expected = self.next.unwrap_or(ChunkId { position: id.position, index: 0 });
        if id.position <= self.books.position()
            || (mutant!(id != expected; ChunksMixed => id.index != expected.index) && id.index != 0)
        {
            return false;
        }
        if id.index == 0 {
            // A first chunk, because it was asked for or because the snapshot has been replaced: start over.
            self.chunks.clear();
        }
        self.chunks.push(chunk);
        let next = id.index.saturating_add(1);
        if mutant!(next < of; FirstChunkOnly => false) {
            self.next = Some(ChunkId { position: id.position, index: next });
        } else {
            self.next = None;
            self.books = Books::from_chunks(self.books.sales_kept(), mem::take(&mut self.chunks));
        }
        true
    }
}
