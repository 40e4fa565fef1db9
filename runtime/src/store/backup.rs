//! A backup of a ledger: its log in one file that needs neither sled nor a second head to be read.
//!
//! ```text
//! magic (8 bytes), format (2)
//! length (4), the header: when it was taken, of which run
//! in format 2: length (4), what the records before the first one add up to, which are not kept any more
//! length (4), a batch and the chain up to its end; and so on for every batch
//! 0 (4), the position after the last record (8), hash of everything before it (32)
//! ```
//!
//! Numbers are little-endian. A file that was cut short has no end mark; in one that was changed, the chain tells up to
//! where it is intact.

use std::{fs, path::Path};

use bazaar_protocol::{books::Books, id::Position, ledger::Tail, record::Batch};
use serde::{Deserialize, Serialize};

use crate::system::files;

use super::{
    KeptLog, StoreError,
    chain::{Entry, Head},
};

const MAGIC: [u8; 8] = *b"bzr-back";

/// The formats of a backup: of a whole log, and of one whose first records are not kept. Any change to them takes a new
/// number.
const WHOLE: u16 = 1;
const KEPT: u16 = 2;

/// What a backup says about itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BackupHeader {
    /// When it was taken.
    pub taken: jiff::Timestamp,
    /// A mark of the run whose ledger it is of: no other run has it.
    pub run: [u8; 32],
    /// That run's configuration, without its key.
    pub config: String,
    /// How many records the ledger had acknowledged, which is more than the backup holds if the ledger was damaged;
    /// `None` if that was not known any more.
    pub acknowledged: Option<Position>,
}

/// A ledger's log as of one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Backup {
    /// What it says about itself.
    pub header: BackupHeader,
    /// All that was kept of it.
    pub log: KeptLog,
}

impl Backup {
    /// Writes it into a new file, whole or not at all. It is durable on return.
    ///
    /// # Errors
    /// When there is a file of that name already, or it cannot be written.
    pub fn write(&self, file: &Path) -> Result<(), StoreError> {
        let bytes = self.encode().map_err(|error| StoreError::damaged(file, format!("it cannot be encoded ({error})")));
        files::create_whole(file, &bytes?).map_err(StoreError::io("write", file))
    }

    fn encode(&self) -> Result<Vec<u8>, postcard::Error> {
        let format = if self.log.is_whole() { WHOLE } else { KEPT };
        let mut bytes = [MAGIC.as_slice(), &format.to_le_bytes()].concat();
        let put = |bytes: &mut Vec<u8>, part: &[u8]| {
            // A batch fits a frame of the network, so its length fits as well; books are far below 4 GiB.
            bytes.extend_from_slice(&(part.len() as u32).to_le_bytes());
            bytes.extend_from_slice(part);
        };
        put(&mut bytes, &postcard::to_allocvec(&self.header)?);
        if format == KEPT {
            put(&mut bytes, &postcard::to_allocvec(&(self.log.start(), self.log.books_at_start()))?);
        }
        let mut head = Head { position: self.log.first(), ..Head::start() };
        for batch in self.log.batches() {
            let (entry, after) = Entry::encode(&head, batch)?;
            put(&mut bytes, &entry);
            head = after;
        }
        put(&mut bytes, &[]);
        bytes.extend_from_slice(&head.position.0.to_le_bytes());
        let hash = blake3::hash(&bytes);
        bytes.extend_from_slice(hash.as_bytes());
        Ok(bytes)
    }

    /// Reads a backup and verifies all of it.
    ///
    /// # Errors
    /// [`StoreError::NotABackup`], [`StoreError::Version`], [`StoreError::DamagedFile`] with the last intact record, and
    /// any error of the operating system.
    pub fn read(file: &Path) -> Result<Backup, StoreError> {
        let bytes = fs::read(file).map_err(StoreError::io("read", file))?;
        let not_a_backup = || StoreError::NotABackup { file: file.to_owned() };
        let (magic, rest) = bytes.split_first_chunk::<8>().ok_or_else(not_a_backup)?;
        let (format, rest) = rest.split_first_chunk::<2>().ok_or_else(not_a_backup)?;
        if *magic != MAGIC {
            return Err(not_a_backup());
        }
        let is_whole = match u16::from_le_bytes(*format) {
            WHOLE => true,
            KEPT => false,
            found => return Err(StoreError::Version { file: file.to_owned(), found, known: KEPT }),
        };
        let mut parts = Parts(rest);
        let header = parts.next().and_then(|header| postcard::from_bytes::<BackupHeader>(header).ok());
        let header = header.ok_or_else(|| StoreError::damaged(file, "its first lines cannot be read"))?;
        let (start, books) = if is_whole {
            (Tail::default(), Books::default())
        } else {
            let before = parts.next().and_then(|before| postcard::from_bytes::<(Tail, Books)>(before).ok());
            let before = before.filter(|(start, books)| start.status.head == books.position());
            before.ok_or_else(|| {
                StoreError::damaged(
                    file,
                    "what the records before its first one add up to cannot be read: use another backup",
                )
            })?
        };
        let (first, mut batches) = (start.status.head, Vec::new());
        let mut head = Head { position: first, ..Head::start() };
        let damaged = |head: Head, what: &str| {
            let intact = match head.position.0.checked_sub(1) {
                Some(last) if head.position > first => format!("the last intact record in it is {last}"),
                Some(_) | None => "no record in it is intact".to_owned(),
            };
            Err(StoreError::damaged(file, format!("{what}; {intact}: use another backup")))
        };
        loop {
            match parts.next() {
                None => return damaged(head, "it is cut short"),
                Some([]) => break,
                Some(part) => match follows(&head, part) {
                    None => return damaged(head, "a batch is not chained to the ones before it"),
                    Some((batch, after)) => {
                        batches.push(batch);
                        head = after;
                    }
                },
            }
        }
        // The header alone is longer than the hash.
        let mut end = head.position.0.to_le_bytes().to_vec();
        end.extend_from_slice(blake3::hash(&bytes[..bytes.len() - HASH]).as_bytes());
        if parts.0 != end {
            return damaged(head, "its end does not match the rest");
        }
        Ok(Backup { header, log: KeptLog::from(start, books, batches) })
    }
}

const HASH: usize = blake3::OUT_LEN;

/// The batch in this part and the head after it, if it follows `head`.
fn follows(head: &Head, part: &[u8]) -> Option<(Batch, Head)> {
    let (entry, length) = Entry::first_in(part)?;
    let after = head.after(&entry.batch, Entry::batch_in(part)?);
    let is_next = entry.batch.position == head.position && after.chain == entry.chain;
    (length == part.len() && is_next).then_some((entry.batch, after))
}

/// Parts that each have their length in front.
struct Parts<'a>(&'a [u8]);

impl<'a> Parts<'a> {
    fn next(&mut self) -> Option<&'a [u8]> {
        let (length, rest) = self.0.split_first_chunk::<4>()?;
        let (part, rest) = rest.split_at_checked(u32::from_le_bytes(*length) as usize)?;
        self.0 = rest;
        Some(part)
    }
}
