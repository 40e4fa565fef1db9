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

/// Books in the making: read from a ledger, answer by answer, whatever gets lost or comes twice on the way.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Reading {
    books: Books,
    chunks: Vec<SnapshotChunk>,
    next: Option<ChunkId>,
}

impl Reading {
    /// Goes on from books that were read before. What is read keeps as many sales as these do.
    #[must_use]
    pub fn on(books: Books) -> Reading {
        Reading { books, chunks: Vec::new(), next: None }
    }

    /// What to ask for now: from which position, and which chunk of a snapshot.
    #[must_use]
    pub fn wanted(&self) -> (Position, Option<ChunkId>) {
        (self.books.position(), self.next)
    }

    /// What has been read.
    #[must_use]
    pub fn books(&self) -> &Books {
        &self.books
    }

    /// What has been read, to keep.
    #[must_use]
    pub fn into_books(self) -> Books {
        self.books
    }

    /// Takes an answer; says whether it went on with it. Every answer to a read is a true piece of the one log there
    /// is, so any that continues these books will do, and any other changes nothing.
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
                // There is no snapshot to go on with any more, or none that is needed.
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
            // A first chunk, asked for or because there is another snapshot by now: begin anew.
            self.chunks.clear();
        }
        self.chunks.push(chunk);
        if mutant!(id.index + 1 < of; FirstChunkOnly => false) {
            self.next = Some(ChunkId { position: id.position, index: id.index + 1 });
        } else {
            self.next = None;
            self.books = Books::from_chunks(self.books.sales_kept(), mem::take(&mut self.chunks));
        }
        true
    }
}
