//! Putting a snapshot in the place of the beginning of the log, in steps.

use std::ops::ControlFlow;

use bazaar_etcd::{Compare, Op, OpAnswer, Range};
use bazaar_protocol::{
    id::Position,
    ledger::{Tail, replica::Found},
};

use crate::store::{chain::Chain, snapshot};

use super::{
    CompactionError, EtcdStore, ReadError, WriteError,
    log::{Broken, Tries, Walk},
    value::{self, Base, State},
};

/// The size of a part, in bytes. A request may be three times as large.
const PART: usize = 512 * 1024;

/// How many records are read at a time while a snapshot is made.
const FOLDED_AT_ONCE: usize = 4_096;

/// How many batches are deleted at a time. The cluster does nothing else meanwhile.
const CLEARED_AT_ONCE: u32 = 256;

/// What was deleted below a base.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cleared {
    /// How many batches.
    pub batches: u64,
    /// How many parts of snapshots.
    pub parts: u64,
    /// Whether there is more to delete: clear again.
    pub has_more: bool,
}

/// What says in a snapshot which log it is of.
pub(super) fn seal_of(tail: &Tail) -> Result<Chain, postcard::Error> {
    Ok(*blake3::hash(&value::encode(tail)?).as_bytes())
}

/// A snapshot that is ready to be written.
struct Made {
    base: Base,
    bytes: Vec<u8>,
}

impl EtcdStore {
    /// Writes a snapshot of the books at the end of the last batch that ends at or below `upto`, and gives the base
    /// that it makes. Nothing refers to it before [`move_base`](Self::move_base). `None` if there is no such batch
    /// above the base in force.
    ///
    /// The log from that base on is read to its end and must be the one that its head names: what is about to be
    /// replaced is checked whole. This takes several requests, and memory for the books. It may be dropped anywhere.
    ///
    /// # Errors
    /// If something is not readable, or not written.
    pub async fn write_snapshot(&self, upto: Position) -> Result<Option<Base>, CompactionError> {
        let mut tries = Tries::default();
        let made = loop {
            let made = self.make_snapshot(self.state().await?, upto).await;
            if let ControlFlow::Break(made) = tries.judge(self, made)? {
                break made.flatten();
            }
        };
        let Some(Made { base, bytes }) = made else { return Ok(None) };
        let last = base.last_part().map(|last| self.names().part(&base, last));
        if let Some(last) = last
            && self.is_there(&last).await?
        {
            return Ok(Some(base));
        }
        for (part, bytes) in (0_u16..).zip(bytes.chunks(PART)) {
            let put = Op::Put { key: self.names().part(&base, part), value: bytes.to_vec() };
            // Only the run is compared, so nothing else can have failed.
            let _ = self.change(Vec::new(), vec![put]).await?;
        }
        Ok(Some(base))
    }

    async fn make_snapshot(&self, state: State, upto: Position) -> Result<Option<Made>, Broken> {
        let head = match state.found {
            Found::Tail(head) => head,
            found @ (Found::Foreign | Found::Unreadable) => {
                return Err(Broken::Failed(ReadError::NotHeld { prefix: self.prefix(), found }));
            }
        };
        let from = self.base(&state)?;
        let mut walk = Walk::from_base(self, state.revision, from, head.status.head);
        let (mut tail, mut of_snapshot) = (from.tail(), from.tail());
        let mut books = self.books_of(&from, state.revision).await?;
        while walk.next() < head.status.head {
            for batch in walk.page(FOLDED_AT_ONCE).await? {
                tail = tail.after(&batch);
                if batch.end() > upto {
                    continue;
                }
                of_snapshot = tail;
                batch
                    .records
                    .iter()
                    .try_for_each(|record| books.apply(record))
                    .map_err(|source| Broken::Failed(ReadError::Unfoldable { prefix: self.prefix(), source }))?;
            }
        }
        if tail != head {
            let what = "the batches above the base are not the ones that it is the end of";
            return Err(Broken::Failed(self.damaged(&self.names().head(), what)));
        }
        if of_snapshot == from.tail() {
            return Ok(None);
        }
        let made = seal_of(&of_snapshot).and_then(|seal| snapshot::encode(&books, seal));
        let bytes = made.map_err(|error| self.too_large(error.to_string()))?;
        let parts = u16::try_from(bytes.len().div_ceil(PART));
        let parts = parts.map_err(|_| self.too_large(format!("they take {} bytes", bytes.len())))?;
        Ok(Some(Made { base: Base::of(of_snapshot, parts, blake3::hash(&bytes)), bytes }))
    }

    fn too_large(&self, what: String) -> Broken {
        Broken::Failed(self.damaged(&self.names().base(), format!("the books cannot be written: {what}")))
    }

    async fn is_there(&self, key: &[u8]) -> Result<bool, ReadError> {
        let range = Range { keys_only: true, ..Range::now(bazaar_etcd::Keys::one(key)) };
        let read = self.client.range(range).await.map_err(|source| self.unanswered(source))?;
        Ok(!read.items.is_empty())
    }

    /// Puts a snapshot that was [written](Self::write_snapshot) in force instead of another, if that is in force. One
    /// transaction. Done already, it is done.
    ///
    /// # Errors
    /// If another one is in force, the snapshot is not there, or the cluster does not say that it was done.
    pub async fn move_base(&self, from: &Base, to: &Base) -> Result<(), CompactionError> {
        let prefix = || self.prefix();
        let Some(last) = to.last_part().filter(|_| to.position() > from.position()) else {
            return Err(CompactionError::OtherBase { prefix: prefix() });
        };
        let only_if = vec![
            self.is_base(from)?,
            // It was written last, and nothing deletes a part of a snapshot that is above the base in force.
            Compare::Present { key: self.names().part(to, last) },
        ];
        let put = Op::Put { key: self.names().base(), value: self.encode(to)? };
        match self.change(only_if, vec![put]).await? {
            Ok(_) => Ok(()),
            Err(state) if state.base == Some(*to) => Ok(()),
            Err(state) if state.base == Some(*from) => Err(CompactionError::Incomplete { prefix: prefix() }),
            Err(_) => Err(CompactionError::OtherBase { prefix: prefix() }),
        }
    }

    /// Deletes what the snapshot in force, which must be that of `base`, has replaced: snapshots that were taken below
    /// it, and batches that end at least `history` records below it, some hundreds at a time, the first ones first. A
    /// little more history may be kept. Works while the cluster is [full](super::Space), but for etcd before 3.4.20 and
    /// 3.5.7, whose first of the [four commands](super::Space::remedy) does the same.
    ///
    /// # Errors
    /// If another one is in force, or the cluster does not say that it was done.
    pub async fn clear_below(&self, base: &Base, history: u64) -> Result<Cleared, CompactionError> {
        let names = self.names();
        let (below, has_more) = self.clearable(base, history).await?;
        let then =
            vec![Op::Delete(names.batches(Position(0), below)), Op::Delete(names.parts_below(..base.position()))];
        match self.change(vec![self.is_base(base)?], then).await? {
            Ok(answer) => {
                let deleted = |nth: usize| match answer.results.get(nth) {
                    Some(OpAnswer::Deleted(keys)) => *keys,
                    Some(OpAnswer::Got(_) | OpAnswer::Put) | None => 0,
                };
                Ok(Cleared { batches: deleted(0), parts: deleted(1), has_more })
            }
            Err(_) => Err(CompactionError::OtherBase { prefix: self.prefix() }),
        }
    }

    /// Below where batches can be deleted in one go, and whether there are more of them.
    async fn clearable(&self, base: &Base, history: u64) -> Result<(Position, bool), ReadError> {
        let names = self.names();
        // At a base, a batch ends; elsewhere, what ends below is what the next one begins above.
        let limit = Position(base.position().0.saturating_sub(history));
        let keys = names.batches(Position(0), limit.plus(1));
        let range = Range { keys_only: true, limit: Some(CLEARED_AT_ONCE + 1), ..Range::now(keys) };
        let read = self.client.range(range).await.map_err(|source| self.unanswered(source))?;
        let last = read.items.last().and_then(|last| names.batch_at(&last.key)).unwrap_or_default();
        let is_all = !read.more && limit == base.position();
        Ok((if is_all { limit } else { last }, read.more))
    }

    fn is_base(&self, base: &Base) -> Result<Compare, WriteError> {
        Ok(Compare::Value { key: self.names().base(), value: self.encode(base)? })
    }
}
