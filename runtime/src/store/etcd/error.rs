//! How operations fail.

use bazaar_etcd::{Refusal, Trouble};
use bazaar_protocol::{books::BooksError, ledger::replica::Found};

/// Why something that the store holds cannot be read. Nothing has changed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReadError {
    /// The cluster has not answered, or refuses to. Read again; the next attempt goes to another member.
    #[error("cannot read {prefix} in etcd: {source}")]
    Unanswered {
        /// The store's prefix.
        prefix: String,
        /// What the client says.
        source: bazaar_etcd::ReadError,
    },
    /// The store holds no run, another one, or one of another version: use the right cluster, prefix and program.
    #[error("{prefix} in etcd {}", what_is_wrong_with(*.found))]
    NotHeld {
        /// The store's prefix.
        prefix: String,
        /// What it holds.
        found: Found,
    },
    /// A key does not hold what a ledger has written there, or is missing. Reading again does not help: the books must
    /// be restored.
    #[error("{key} in etcd is damaged: {what}")]
    Damaged {
        /// The key.
        key: String,
        /// What is wrong with it.
        what: String,
    },
    /// A record is intact but cannot follow the ones before it: a fault in the protocol.
    #[error("the log below {prefix} in etcd cannot be folded: {source}")]
    Unfoldable {
        /// The store's prefix.
        prefix: String,
        /// Which record, and what is wrong with it.
        source: BooksError,
    },
}

impl ReadError {
    /// Whether what is there is not what was written, rather than out of reach.
    #[must_use]
    pub fn is_damage(&self) -> bool {
        match self {
            ReadError::Damaged { .. } | ReadError::Unfoldable { .. } => true,
            ReadError::Unanswered { .. } | ReadError::NotHeld { .. } => false,
        }
    }
}

/// Why something was not written, or is not known to be. Everything that fails like this may be repeated.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WriteError {
    /// The cluster has not carried it out, or has not said so.
    #[error("cannot write to {prefix} in etcd: {source}")]
    Unanswered {
        /// The store's prefix.
        prefix: String,
        /// What the client says, and whether it may have been carried out.
        source: bazaar_etcd::WriteError,
    },
    /// The store does not hold this run. Nothing was written.
    #[error("{prefix} in etcd {}", what_is_wrong_with(*.found))]
    NotHeld {
        /// The store's prefix.
        prefix: String,
        /// What it holds.
        found: Found,
    },
    /// It cannot be encoded: a fault in this program. Nothing was written.
    #[error("what is to be written below {prefix} in etcd cannot be encoded: {what}")]
    Unencodable {
        /// The store's prefix.
        prefix: String,
        /// Why.
        what: String,
    },
}

impl WriteError {
    /// Whether the cluster is [full](super::Space).
    #[must_use]
    pub fn is_full(&self) -> bool {
        matches!(self, WriteError::Unanswered { source: bazaar_etcd::WriteError::Full(_), .. })
    }
}

/// Why a store was not made.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InitError {
    /// There is something below the prefix already, which is left as it is: start the ledgers of that run, or give
    /// another prefix.
    #[error("{prefix} in etcd is in use: it {}", what_is_there(*.found))]
    Exists {
        /// The store's prefix.
        prefix: String,
        /// What is there.
        found: Found,
    },
    /// The cluster has not said what became of it. It may be made, and may yet be, but nothing that was there is
    /// harmed. Once the cluster answers, do it again: `Exists` without a record is then this store.
    #[error("not known whether {prefix} in etcd was made: {why}")]
    Unknown {
        /// The store's prefix.
        prefix: String,
        /// What the last attempt met.
        why: Trouble,
    },
    /// No member of the cluster could be reached. Nothing was made: start it, or correct the addresses, and do it again.
    #[error("{prefix} in etcd was not made: {why}")]
    NotSent {
        /// The store's prefix.
        prefix: String,
        /// What the last attempt met.
        why: Trouble,
    },
    /// The cluster refuses it. Nothing was made.
    #[error("{prefix} in etcd was not made: {source}")]
    Refused {
        /// The store's prefix.
        prefix: String,
        /// Why.
        source: Refusal,
    },
    /// The cluster is [full](super::Space). Nothing was made.
    #[error("{prefix} in etcd was not made: {why}")]
    Full {
        /// The store's prefix.
        prefix: String,
        /// What the cluster said.
        why: Trouble,
    },
    /// It cannot be read back.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// It cannot be encoded.
    #[error(transparent)]
    Write(#[from] WriteError),
}

/// Why a step of a compaction was not done, or is not known to be. Each may be repeated.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CompactionError {
    /// What it needs cannot be read.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// It cannot be written.
    #[error(transparent)]
    Write(#[from] WriteError),
    /// The snapshot in force is not the one that was named, or this one does not come after it. Another ledger may have
    /// been first: look, and go on from what is in force.
    #[error("another snapshot is in force below {prefix} in etcd")]
    OtherBase {
        /// The store's prefix.
        prefix: String,
    },
    /// The snapshot that is to be in force is not there. Write it first.
    #[error("the snapshot that is to be in force is not below {prefix} in etcd")]
    Incomplete {
        /// The store's prefix.
        prefix: String,
    },
}

impl CompactionError {
    /// Whether the cluster is [full](super::Space).
    #[must_use]
    pub fn is_full(&self) -> bool {
        matches!(self, CompactionError::Write(error) if error.is_full())
    }
}

fn what_is_wrong_with(found: Found) -> &'static str {
    match found {
        Found::Foreign => {
            "holds no run, or another one: if its books were never made, `bazaar init --books` makes them; if they were, \
             the cluster was wiped, or another one is named"
        }
        Found::Unreadable => "was written by another version of this program, or by somebody else",
        // Nobody calls a store wrong that holds its run.
        Found::Tail(_) => "holds this run",
    }
}

fn what_is_there(found: Found) -> String {
    match found {
        Found::Tail(tail) => {
            format!("holds this run, with {}", bazaar_protocol::text::counted(tail.status.head.0, "record"))
        }
        Found::Foreign => "holds something else".to_owned(),
        Found::Unreadable => what_is_wrong_with(found).to_owned(),
    }
}
