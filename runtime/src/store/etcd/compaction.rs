//! Putting a snapshot in the place of the beginning of the log, in steps.

use std::ops::ControlFlow;

use bazaar_etcd::{Compare, Keys, MAX_OPERATIONS, Op, OpAnswer, Range};
use bazaar_protocol::{id::Position, ledger::Tail};

use crate::store::{chain::Chain, snapshot};

use super::{
    CompactionError, EtcdStore, ReadError, WriteError,
    log::{Broken, READ_AT_ONCE, Tries},
    value::{self, Base, State},
};

/// The size of a part, in bytes. A request may be three times as large. (Small in tests, where books are.)
const PART: usize = if cfg!(test) { 1_000 } else { 512 * 1024 };

/// How many batches are deleted at a time. The cluster does nothing else meanwhile.
const CLEARED_AT_ONCE: u32 = 256;

/// What was deleted in one go.
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

/// What is to be the oldest snapshot.
enum Next {
    /// This one, which is there.
    Snapshot(Base),
    /// This one, once it is written.
    Made(Made),
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
        match made {
            Some(made) => Ok(Some(self.write(made).await?)),
            None => Ok(None),
        }
    }

    async fn make_snapshot(&self, state: State, upto: Position) -> Result<Option<Made>, Broken> {
        let (head, from) = (self.head(&state)?, self.base(&state)?);
        let (made, end) = self.folded(&from, &state, upto, head.status.head).await?;
        self.must_lead_to(&head, &end)?;
        Ok(made)
    }

    /// A snapshot of the books at the end of the last batch that ends at or below `upto`, made from another snapshot and the
    /// batches that follow it; `None` if there is no such batch. Batches are read until one ends at or above `through`; also
    /// gives the log's end after that one.
    async fn folded(
        &self,
        from: &Base,
        state: &State,
        upto: Position,
        through: Position,
    ) -> Result<(Option<Made>, Tail), Broken> {
        let mut walk = self.walk(from, state, through);
        let (mut end, mut of_snapshot) = (from.tail(), from.tail());
        let mut books = self.books_of(from, state.revision).await?;
        while walk.next() < through {
            for batch in walk.page(READ_AT_ONCE).await? {
                end = end.after(&batch);
                if batch.end() > upto {
                    continue;
                }
                of_snapshot = end;
                batch
                    .records
                    .iter()
                    .try_for_each(|record| books.apply(record))
                    .map_err(|source| Broken::Failed(ReadError::Unfoldable { prefix: self.prefix(), source }))?;
            }
        }
        if of_snapshot == from.tail() {
            return Ok((None, end));
        }
        let made = seal_of(&of_snapshot).and_then(|seal| snapshot::encode(&books, seal));
        let bytes = made.map_err(|error| self.too_large(error.to_string()))?;
        let parts = u16::try_from(bytes.len().div_ceil(PART));
        let parts = parts.map_err(|_| self.too_large(format!("they take {} bytes", bytes.len())))?;
        Ok((Some(Made { base: Base::of(of_snapshot, parts, blake3::hash(&bytes)), bytes }), end))
    }

    /// Writes a snapshot, unless it is there.
    async fn write(&self, Made { base, bytes }: Made) -> Result<Base, CompactionError> {
        if self.parts_there(&base).await? == usize::from(base.parts()) {
            return Ok(base);
        }
        for (part, bytes) in (0_u16..).zip(bytes.chunks(PART)) {
            let put = Op::Put { key: self.names().part(&base, part), value: bytes.to_vec() };
            // Only the run is compared, so nothing else can have failed.
            let _ = self.change(Vec::new(), vec![put]).await?;
        }
        Ok(base)
    }

    fn too_large(&self, what: String) -> Broken {
        Broken::Failed(self.damaged(&self.names().base(), format!("the books cannot be written: {what}")))
    }

    async fn parts_there(&self, of: &Base) -> Result<usize, ReadError> {
        let range = Range { keys_only: true, ..Range::now(self.names().parts(of)) };
        let read = self.client.range(range).await.map_err(|source| self.unanswered(source))?;
        Ok(read.items.len())
    }

    /// Puts a snapshot that was [written](Self::write_snapshot) in force instead of another, if that is in force. One
    /// transaction. Done already, it is done.
    ///
    /// # Errors
    /// If another one is in force, the snapshot is not there, or the cluster does not say that it was done.
    pub async fn move_base(&self, from: &Base, to: &Base) -> Result<(), CompactionError> {
        let prefix = || self.prefix();
        if to.position() <= from.position() {
            return Err(CompactionError::OtherBase { prefix: prefix() });
        }
        let mut only_if = vec![self.is_base(from)?];
        only_if.extend(self.parts_are_there(to, 1));
        let then = vec![
            Op::Put { key: self.names().base(), value: self.encode(to)? },
            Op::Put { key: self.names().end(to.position()), value: self.encode(&to.tail())? },
        ];
        match self.change(only_if, then).await? {
            Ok(_) => Ok(()),
            Err(state) if state.base == Some(*to) => Ok(()),
            Err(state) if state.base == Some(*from) => Err(CompactionError::Incomplete { prefix: prefix() }),
            Err(_) => Err(CompactionError::OtherBase { prefix: prefix() }),
        }
    }

    /// That a snapshot is there, for a transaction that compares so much besides and the run. As many of its parts are asked
    /// for as one transaction can, the last ones, which were written last: somebody else may have deleted them, or etcd
    /// was restored from a backup that was taken in between.
    fn parts_are_there(&self, of: &Base, besides: usize) -> impl Iterator<Item = Compare> {
        let parts = (0..of.parts()).rev().take(MAX_OPERATIONS - 1 - besides);
        parts.map(|part| Compare::Present { key: self.names().part(of, part) })
    }

    /// Removes what the snapshot in force, which must be that of `base`, has replaced, but for at least the last `history`
    /// records below it. Of the snapshots that were in force, the latest one with so many records between it and the base
    /// is made the oldest; then what lies below that is deleted, some hundreds of batches at a time, the first ones first,
    /// and so are snapshots that nothing refers to.
    ///
    /// While the cluster is [full](super::Space), no other snapshot becomes the oldest, and only what lies below it is
    /// deleted, which etcd before 3.4.20 and 3.5.7 refuses as well.
    ///
    /// # Errors
    /// If another one is in force, the cluster does not say that it was done, or the history that was about to be replaced
    /// is damaged: then nothing is deleted until it is [gone](super::Space::remedy).
    pub async fn clear_below(&self, base: &Base, history: u64) -> Result<Cleared, CompactionError> {
        let names = self.names();
        loop {
            let oldest = self.oldest_moved(base, history).await?;
            let (below, has_more) = self.clearable(&oldest).await?;
            let mut then = vec![
                Op::Delete(names.batches(Position(0), below)),
                Op::Delete(names.ends(Position(0), oldest.position())),
                Op::Delete(names.parts_before(&oldest)),
            ];
            if oldest.position() < base.position() {
                then.push(Op::Delete(names.parts_behind(&oldest, ..base.position())));
            }
            match self.change(vec![self.is_base(base)?, self.is_oldest(&oldest)?], then).await? {
                Ok(answer) => {
                    let deleted = |result: &OpAnswer| match result {
                        OpAnswer::Deleted(keys) => *keys,
                        OpAnswer::Got(_) | OpAnswer::Put => 0,
                    };
                    let batches = answer.results.first().map_or(0, deleted);
                    let parts = answer.results.iter().skip(2).map(deleted).sum();
                    return Ok(Cleared { batches, parts, has_more });
                }
                // Another ledger has made another one the oldest.
                Err(state) if state.base == Some(*base) => {}
                Err(_) => return Err(CompactionError::OtherBase { prefix: self.prefix() }),
            }
        }
    }

    /// The oldest snapshot, after another one was made that if there is one to take its place.
    async fn oldest_moved(&self, base: &Base, history: u64) -> Result<Base, CompactionError> {
        let upto = Position(base.position().0.saturating_sub(history));
        let mut tries = Tries::default();
        loop {
            let state = self.state().await?;
            self.head(&state)?;
            if state.base != Some(*base) {
                return Err(CompactionError::OtherBase { prefix: self.prefix() });
            }
            let next = self.next_oldest(&state, base, upto).await;
            if let ControlFlow::Break(next) = tries.judge(self, next)? {
                let to = match next {
                    Some(Next::Snapshot(to)) if state.oldest == Some(to) => return Ok(to),
                    Some(Next::Snapshot(to)) => Ok(to),
                    Some(Next::Made(made)) => self.write(made).await,
                    None => return Err(CompactionError::OtherBase { prefix: self.prefix() }),
                };
                let moved = match to {
                    Ok(to) => self.move_oldest(base, state.oldest.as_ref(), &to).await,
                    Err(error) => Err(error),
                };
                return match (moved, state.oldest) {
                    // What lies below the one that was the oldest can be deleted all the same.
                    (Err(error), Some(oldest)) if error.is_full() => Ok(oldest),
                    (moved, _) => moved,
                };
            }
        }
    }

    /// What is to be the oldest snapshot.
    async fn next_oldest(&self, state: &State, base: &Base, upto: Position) -> Result<Next, Broken> {
        let oldest = self.beginning(state).await?;
        let keys = self.names().ends(oldest.position().plus(1), upto.plus(1));
        let range = Range { keys_only: true, at: Some(state.revision), ..Range::now(keys) };
        let read = self.client.range(range).await.map_err(|source| self.broken(source))?;
        let Some(last) = read.items.last() else { return Ok(Next::Snapshot(oldest)) };
        let range = Range { at: Some(state.revision), ..Range::now(Keys::one(last.key.as_slice())) };
        let read = self.client.range(range).await.map_err(|source| self.broken(source))?;
        let Some(last) = read.items.first() else { return Ok(Next::Snapshot(oldest)) };
        let damaged = |what| Broken::Failed(self.damaged(&last.key, what));
        let end: Tail = value::decode(&last.value).ok_or_else(|| damaged("it cannot be read"))?;
        if end == base.tail() {
            return Ok(Next::Snapshot(*base));
        }
        // What is about to be deleted is checked whole.
        let (made, reached) = self.folded(&oldest, state, end.status.head, end.status.head).await?;
        match made {
            Some(made) if reached == end => Ok(Next::Made(made)),
            Some(_) | None => Err(damaged("the batches before are not the ones that it is the end of")),
        }
    }

    /// Makes a snapshot the oldest instead of another, if that is it, and gives the one that is the oldest then.
    async fn move_oldest(&self, base: &Base, from: Option<&Base>, to: &Base) -> Result<Base, CompactionError> {
        let mut only_if = vec![self.is_base(base)?];
        // One that cannot be read is replaced as it is.
        only_if.extend(from.map(|from| self.is_oldest(from)).transpose()?);
        only_if.extend(self.parts_are_there(to, 2));
        let put = Op::Put { key: self.names().oldest(), value: self.encode(to)? };
        match self.change(only_if, vec![put]).await? {
            Ok(_) => Ok(*to),
            Err(state) if state.base != Some(*base) => Err(CompactionError::OtherBase { prefix: self.prefix() }),
            // Another ledger was first, or has deleted some of this one.
            Err(state) => state.oldest.ok_or_else(|| CompactionError::Incomplete { prefix: self.prefix() }),
        }
    }

    /// Below where batches can be deleted in one go, and whether there are more of them.
    async fn clearable(&self, oldest: &Base) -> Result<(Position, bool), ReadError> {
        let names = self.names();
        let keys = names.batches(Position(0), oldest.position());
        let range = Range { keys_only: true, limit: Some(CLEARED_AT_ONCE + 1), ..Range::now(keys) };
        let read = self.client.range(range).await.map_err(|source| self.unanswered(source))?;
        let many = read.items.get(CLEARED_AT_ONCE as usize).and_then(|first_left| names.batch_at(&first_left.key));
        Ok(many.map_or((oldest.position(), false), |many| (many, true)))
    }

    fn is_base(&self, base: &Base) -> Result<Compare, WriteError> {
        Ok(Compare::Value { key: self.names().base(), value: self.encode(base)? })
    }

    fn is_oldest(&self, oldest: &Base) -> Result<Compare, WriteError> {
        Ok(Compare::Value { key: self.names().oldest(), value: self.encode(oldest)? })
    }
}

#[cfg(test)]
mod tests {
    use bazaar_protocol::{books::Books, config::Limits, ledger::LedgerAnswer, store::conformance::Author};

    use super::*;
    use crate::{
        network::hello::RunId,
        store::etcd::{Appended, testing::Etcd},
    };

    #[tokio::test]
    async fn a_snapshot_of_many_parts_counts_only_whole() {
        let Some(etcd) = Etcd::start("a_snapshot_of_many_parts", 1).await else { return };
        let client = etcd.client();
        let new = || EtcdStore::new(client.clone(), "p", RunId(1), Limits::DEFAULT);
        let (store, mut author) = (new(), Author::new(Limits::DEFAULT.sales_kept, 0));
        store.init().await.unwrap();
        let mut onto = Tail::default();
        for size in [1, 500, 500] {
            let batch = author.trade(size);
            assert_eq!(store.append(&onto, &batch).await, Appended::Written);
            onto = onto.after(&batch);
        }
        let to = store.write_snapshot(onto.status.head).await.unwrap().unwrap();
        let parts = client.range(Range::now(Keys::prefix("p/books/"))).await.unwrap().items;
        assert!(parts.len() > 9 && parts.len() == usize::from(to.parts()), "{}", parts.len());
        assert!(parts.iter().rev().skip(1).all(|part| part.value.len() == PART));
        for part in &parts {
            client.delete_range(Keys::one(part.key.as_slice())).await.unwrap();
            let moved = store.move_base(&Base::default(), &to).await;
            assert!(matches!(moved, Err(CompactionError::Incomplete { .. })), "{moved:?}");
            client.put(part.key.as_slice(), part.value.as_slice()).await.unwrap();
        }
        store.move_base(&Base::default(), &to).await.unwrap();
        store.clear_below(&to, 0).await.unwrap();
        let state = store.state().await.unwrap();
        let books = new().books_of(&to, state.revision).await;
        assert!(matches!(&books, Ok(books) if books == author.books()), "{books:?}");
        for part in &parts {
            client.delete_range(Keys::one(part.key.as_slice())).await.unwrap();
            let read = new().read(Position(0), None, to.position()).await;
            assert!(matches!(read, Err(ReadError::Damaged { .. })), "{read:?}");
            client.put(part.key.as_slice(), part.value.as_slice()).await.unwrap();
        }
        let chunk = new().read(Position(0), None, to.position()).await;
        let (_, of, first) = author.books().chunk_for(None, Limits::DEFAULT.chunk_weight);
        let is_first =
            matches!(&chunk, Ok(Some(LedgerAnswer::Chunk { of: told, chunk, .. })) if (*told, chunk) == (of, &first));
        assert!(is_first, "{chunk:?}");
        assert_ne!(*author.books(), Books::default());
    }
}
