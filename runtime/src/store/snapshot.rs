//! The books at some head: a reader that is far behind gets them instead of all records, and opening folds only what
//! came after. On a disk they are in a file; there a snapshot holds nothing that the log does not, so a damaged one only
//! costs time.

use std::{fs, io::ErrorKind, path::Path};

use bazaar_protocol::{
    books::Books, config::Limits, id::Position, ledger::LedgerAnswer, snapshot::ChunkId, snapshot::SnapshotChunk,
};

use super::{StoreError, chain::Chain, replace, slots::FORMAT};

const MAGIC: [u8; 8] = *b"bzr-snap";
/// The bytes of magic, format and chain.
const HEADER: usize = 8 + 2 + blake3::OUT_LEN;

/// A snapshot as it is served, in chunks.
#[derive(Debug)]
pub(super) struct Snapshot {
    position: Position,
    chunks: Vec<SnapshotChunk>,
}

impl Snapshot {
    pub(super) fn of(books: &Books, limits: &Limits) -> Snapshot {
        Snapshot { position: books.position(), chunks: books.chunks(limits.chunk_weight) }
    }

    pub(super) fn position(&self) -> Position {
        self.position
    }

    /// The same as [`Books::chunk_for`], without cutting the books up again for each chunk.
    pub(super) fn chunk_for(&self, wanted: Option<ChunkId>) -> LedgerAnswer {
        let wanted = wanted.filter(|id| id.position == self.position).map_or(0, |id| id.index);
        let (index, chunk) = match self.chunks.get(wanted as usize) {
            Some(chunk) => (wanted, chunk.clone()),
            None => (0, self.chunks.first().cloned().unwrap_or_default()),
        };
        LedgerAnswer::Chunk { id: ChunkId { position: self.position, index }, of: self.chunks.len() as u32, chunk }
    }
}

/// What reading a snapshot's file gave.
#[derive(Debug)]
pub(super) enum Loaded {
    /// There is no file.
    Missing,
    /// It cannot be used, for this reason.
    Damaged(String),
    /// The books, and the chain at their head.
    Whole(Box<Books>, Chain),
}

/// Writes a snapshot in place of the previous one; a reader finds either of the two, whole. It is durable on return.
pub(super) fn write(path: &Path, books: &Books, chain: Chain) -> Result<(), StoreError> {
    let bytes = encode(books, chain)
        .map_err(|error| StoreError::damaged(path, format!("the books cannot be encoded ({error})")))?;
    replace(path, &bytes)
}

pub(super) fn load(path: &Path) -> Result<Loaded, StoreError> {
    let bytes = match fs::read(path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Loaded::Missing),
        Err(error) => return Err(StoreError::io("read", path)(error)),
    };
    Ok(match decode(&bytes) {
        Ok((books, chain)) => Loaded::Whole(Box::new(books), chain),
        Err(what) => Loaded::Damaged(what),
    })
}

/// A snapshot as it is written, wherever that is. `chain` says which log it is of.
pub(super) fn encode(books: &Books, chain: Chain) -> Result<Vec<u8>, postcard::Error> {
    let mut bytes = Vec::new();
    bytes.extend_from_slice(&MAGIC);
    bytes.extend_from_slice(&FORMAT.to_le_bytes());
    bytes.extend_from_slice(&chain);
    let mut bytes = postcard::to_extend(books, bytes)?;
    let hash = blake3::hash(&bytes);
    bytes.extend_from_slice(hash.as_bytes());
    Ok(bytes)
}

/// What [`encode`] was given, or why these bytes cannot be used.
pub(super) fn decode(bytes: &[u8]) -> Result<(Books, Chain), String> {
    let too_short = || "it ends too early".to_owned();
    let (bytes, checksum) = bytes.split_last_chunk::<{ blake3::OUT_LEN }>().ok_or_else(too_short)?;
    if blake3::hash(bytes).as_bytes() != checksum {
        return Err("its checksum does not match".into());
    }
    let (header, books) = bytes.split_at_checked(HEADER).ok_or_else(too_short)?;
    let (tag, chain) = header.split_at(MAGIC.len() + 2);
    if tag != [MAGIC.as_slice(), &FORMAT.to_le_bytes()].concat() {
        return Err("it has another format".into());
    }
    let books = postcard::from_bytes(books).map_err(|error| format!("the books in it cannot be decoded ({error})"))?;
    Ok((books, chain.try_into().map_err(|_| too_short())?))
}
