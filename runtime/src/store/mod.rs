//! What is durable: the ledger's log ([`SledLedger`]), and what a peer keeps across a restart ([`PeerStore`]), each in
//! a sled database of its own. Where several ledgers share one log, it is in [`etcd`] instead.
//!
//! sled alone does not keep the promise of [`Store`](bazaar_protocol::store::Store): its `flush` stops short of an
//! fsync, and after one flipped bit it may open without an error and have forgotten acknowledged records. Therefore
//! (DESIGN 3, "What a store must promise"):
//!
//! - to make what sled holds durable takes sled's `flush` *and* an fdatasync of its files;
//! - every batch carries a chain over all batches before it;
//! - what sled holds is compared on opening with a witness in a file that sled does not know of: the ledger's second head
//!   (`second_head`), the peer's second copy (`slots`). The witness is durable before anybody is told, so it is never behind
//!   what was acknowledged. The second head has the latest batches with it: one sync of its file acknowledges them, and
//!   sled may hold them later.
//!
//! Tools read a ledger's store without sled and change nothing in it ([`examine`]).
//!
//! sled panics on some kinds of damage. Every call to it goes through a guard that turns a panic into an error;
//! [`install_panic_filter`] keeps such a panic off standard error as well.

mod backup;
mod chain;
pub mod etcd;
mod guard;
mod kept;
mod ledger;
mod peer;
mod read;
mod restore;
mod second_head;
mod slots;
mod snapshot;
mod trial;
pub mod witness;

use std::{
    io,
    path::{Path, PathBuf},
};

use bazaar_protocol::{books::BooksError, id::Position};

use crate::system::files;

pub use backup::{Backup, BackupHeader};
pub use guard::install_panic_filter;
pub use kept::KeptLog;
pub use ledger::{Batches, Cut, LedgerOptions, SledLedger};
pub use peer::PeerStore;
pub use read::{Intact, Remains, examine, read_acknowledged};
pub use restore::{ASIDE, Place};

/// Why a store cannot be opened or used. No store is used again after a failed write or sync: the process that holds it
/// stops (a failed fsync may have dropped the very pages that a second one would report as safe).
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// There is no store to read. Give a directory that holds one. (A store opened for writing is created if it is
    /// missing.)
    #[error("there is no ledger store in {}: give the directory that `bazaar ledger` was started with", dir.display())]
    NotFound {
        /// Where it was looked for.
        dir: PathBuf,
    },
    /// Another process, or another part of this one, has it open. Ask that one, or stop it first.
    #[error("the store in {} is in use: ask the process that has it open, or stop that process first", dir.display())]
    InUse {
        /// The store's directory.
        dir: PathBuf,
    },
    /// The operating system reported an error. After a failed write or sync the process must stop; once the cause is
    /// gone (a full disk, permissions), a restart is safe.
    #[error("cannot {action} {}: {source}", path.display())]
    Io {
        /// What was attempted, as a verb.
        action: &'static str,
        /// The file or directory it was attempted with.
        path: PathBuf,
        /// The operating system's error.
        source: io::Error,
    },
    /// The store was written by another version of this program. Use that version.
    #[error("{} has format {found}, and this program reads format {known}: use the version that \
        wrote it", file.display())]
    Version {
        /// The file with another format.
        file: PathBuf,
        /// Its format.
        found: u16,
        /// The format that this program reads.
        known: u16,
    },
    /// Acknowledged records are missing or changed. Nothing that was acknowledged may be dropped, so the ledger does
    /// not start.
    #[error("the log in {} is damaged at record {record}: {what}", file.display())]
    DamagedLog {
        /// sled's directory.
        file: PathBuf,
        /// The first record that is not as it was acknowledged.
        record: Position,
        /// What is wrong with it.
        what: String,
    },
    /// A file is not intact, and what it held cannot be rebuilt from others.
    #[error("{} is damaged: {what}", file.display())]
    DamagedFile {
        /// The file, or sled's directory where sled does not say which of its files it is.
        file: PathBuf,
        /// What is wrong with it.
        what: String,
    },
    /// A ledger's store is damaged, with what of it is intact. `bazaar backup` saves that, and `bazaar restore` puts a
    /// backup in place.
    #[error("{why}; {intact}")]
    DamagedLedger {
        /// What is wrong with it.
        why: Box<StoreError>,
        /// What is not.
        intact: Intact,
    },
    /// A file that was given as a backup is something else.
    #[error("{} is not a backup of a ledger: give a file that `bazaar backup` wrote", file.display())]
    NotABackup {
        /// The file.
        file: PathBuf,
    },
    /// A record is intact but cannot follow the ones before it: a bug in the protocol. The ledger stops; `bazaar audit`
    /// shows the log.
    #[error("the log in {} cannot be folded: {source}", file.display())]
    Unfoldable {
        /// sled's directory.
        file: PathBuf,
        /// Which record, and what is wrong with it.
        source: BooksError,
    },
    /// A batch that was to be appended holds no record or does not start at the head: a bug in the caller. Nothing was
    /// written.
    #[error("a batch of {records} records at {position} cannot be appended to a log of {head} records")]
    Misplaced {
        /// Where the batch says that it starts.
        position: Position,
        /// How many records the batch has.
        records: usize,
        /// Where the log ends.
        head: Position,
    },
    /// The machine's clock cannot be right, and sled does not work with it. Set it.
    #[error("the clock of this machine says that it is before 1970: set it")]
    Clock,
    /// An earlier call on this store failed, and it refuses all further ones. Stop, and open it again.
    #[error("the store in {} has stopped after an earlier failure", dir.display())]
    Stopped {
        /// The store's directory.
        dir: PathBuf,
    },
}

impl StoreError {
    fn io(action: &'static str, path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> StoreError {
        let path = path.into();
        move |source| StoreError::Io { action, path, source }
    }

    fn damaged(file: impl Into<PathBuf>, what: impl Into<String>) -> StoreError {
        StoreError::DamagedFile { file: file.into(), what: what.into() }
    }

    /// Whether the store's files are no longer what was written, rather than in use, missing or out of reach.
    #[must_use]
    pub fn is_damage(&self) -> bool {
        match self {
            StoreError::DamagedLog { .. }
            | StoreError::DamagedFile { .. }
            | StoreError::DamagedLedger { .. }
            | StoreError::Unfoldable { .. } => true,
            StoreError::NotFound { .. }
            | StoreError::InUse { .. }
            | StoreError::Io { .. }
            | StoreError::NotABackup { .. }
            | StoreError::Version { .. }
            | StoreError::Misplaced { .. }
            | StoreError::Clock
            | StoreError::Stopped { .. } => false,
        }
    }
}

/// Writes a file in place of the one that has its name, if any ([`files::replace_whole`]).
fn replace(file: &Path, bytes: &[u8]) -> Result<(), StoreError> {
    files::replace_whole(file, bytes).map_err(StoreError::io("write", file))
}

/// Writes a file, whole or not at all, unless it exists.
fn create_unless_there(file: &Path, parts: &[&[u8]]) -> Result<(), StoreError> {
    match files::create_whole_of(file, parts) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(StoreError::io("create", file)(error)),
        Ok(()) | Err(_) => Ok(()),
    }
}

/// Makes the entries of a directory durable.
fn sync_dir(dir: &Path) -> Result<(), StoreError> {
    files::sync_dir(dir).map_err(StoreError::io("sync", dir))
}

/// Makes a file's entry in its directory durable.
fn sync_parent(path: &Path) -> Result<(), StoreError> {
    sync_dir(files::dir_of(path))
}
