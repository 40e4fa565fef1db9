//! Reading the log and the snapshot, at one revision.

use std::{
    num::NonZeroU32,
    ops::ControlFlow::{self, Break, Continue},
    sync::Arc,
    time::Duration,
};

use bazaar_etcd::{KeyValue, Keys, Range, Revision};
use bazaar_protocol::{
    books::Books,
    config::{Limits, Ordering, Terms},
    id::Position,
    ledger::{LedgerAnswer, Tail, replica::Found},
    record::{Batch, Entry, Record},
    snapshot::ChunkId,
};
use tokio::time::sleep;

use crate::store::{
    KeptLog,
    snapshot::{self, Snapshot},
};

use super::{
    EtcdStore, ReadError,
    compaction::seal_of,
    value::{Base, State},
};

/// How often a read is tried when what it reads is compacted meanwhile. There are minutes between two compactions,
/// unless somebody does nothing else.
const TRIES: usize = 4;

/// How many batches are asked for before it is known how long they are here.
const FIRST_PAGE: u32 = 8;

/// The most keys in one answer.
const LARGEST_PAGE: u32 = 512;

/// How many records are read at a time where many are.
pub(super) const READ_AT_ONCE: usize = 4_096;

/// How often, and after which pause, a page is asked for again by whoever would have to begin anew.
const PAGE_TRIES: usize = 8;
const PAGE_PAUSE: Duration = Duration::from_millis(300);

/// How many parts of a snapshot are asked for at a time: 2 MiB.
const PARTS_PAGE: NonZeroU32 = NonZeroU32::MIN.saturating_add(3);

/// The snapshot of a base, cut into chunks.
#[derive(Clone, Debug)]
pub(super) struct Served {
    base: Base,
    snapshot: Arc<Snapshot>,
}

/// Why a read came to no end at this revision.
#[derive(Debug)]
pub(super) enum Broken {
    /// What it asks for is not there, or not any more.
    Gone,
    /// The revision has been compacted, is another cluster's, or the member has not got so far: begin anew.
    Compacted(bazaar_etcd::ReadError),
    Failed(ReadError),
}

impl From<ReadError> for Broken {
    fn from(error: ReadError) -> Broken {
        Broken::Failed(error)
    }
}

/// The attempts of a read, each at the revision of a linearizable look of its own.
#[derive(Debug, Default)]
pub(super) struct Tries(usize);

impl Tries {
    /// What an attempt came to: an answer, that there is none, or that it is to be begun anew.
    pub(super) fn judge<T>(
        &mut self,
        store: &EtcdStore,
        read: Result<T, Broken>,
    ) -> Result<ControlFlow<Option<T>>, ReadError> {
        self.0 += 1;
        match read {
            Ok(read) => Ok(Break(Some(read))),
            Err(Broken::Gone) => Ok(Break(None)),
            Err(Broken::Compacted(_)) if self.0 < TRIES => Ok(Continue(())),
            Err(Broken::Compacted(source)) => Err(store.unanswered(source)),
            Err(Broken::Failed(error)) => Err(error),
        }
    }
}

impl EtcdStore {
    /// Answers a read as [`Store::read`](bazaar_protocol::store::Store::read) does, from what the store holds at one
    /// moment after the call at which it holds this run, and its log reaches `upto`. `None`: there is no such moment,
    /// or what is asked for has been replaced by a newer snapshot, which ends above `upto`. This is the contract of
    /// [`ReplicaEffect::Read`](bazaar_protocol::ledger::replica::ReplicaEffect::Read).
    ///
    /// # Errors
    /// If the cluster does not answer, or what is there is damaged.
    pub async fn read(
        &self,
        from: Position,
        chunk: Option<ChunkId>,
        upto: Position,
    ) -> Result<Option<LedgerAnswer>, ReadError> {
        let mut tries = Tries::default();
        loop {
            let read = self.read_at(self.state().await?, from, chunk, upto).await;
            if let Break(answer) = tries.judge(self, read)? {
                return Ok(answer);
            }
        }
    }

    async fn read_at(
        &self,
        state: State,
        from: Position,
        chunk: Option<ChunkId>,
        upto: Position,
    ) -> Result<LedgerAnswer, Broken> {
        let base = self.base_reaching(&state, upto)?;
        if from < base.position() && base.position() <= upto {
            return Ok(self.served(&base, state.revision).await?.chunk_for(chunk));
        }
        let most = self.limits().read_records as usize;
        let wanted = upto.0.checked_sub(from.0).map_or(0, |n| usize::try_from(n).map_or(most, |n| n.min(most)));
        let mut records: Vec<Record> = Vec::new();
        let mut walk = Walk::reaching(self, &state, base, from, upto).await?;
        while records.len() < wanted {
            for batch in walk.page(wanted - records.len()).await? {
                // Only the first can begin below.
                let skipped = usize::try_from(from.0.saturating_sub(batch.position.0)).unwrap_or(usize::MAX);
                records.extend(batch.records.into_iter().skip(skipped).take(wanted - records.len()));
            }
        }
        Ok(LedgerAnswer::Records { from, records })
    }

    /// The batches from `from` on that end at or below `upto`, as
    /// [`Store::batches`](bazaar_protocol::store::Store::batches) gives them: at least one if there is any, and no more
    /// records than one answer to a read holds, unless it is a single batch. A batch must start at `from`. `None` as
    /// for [`EtcdStore::read`].
    ///
    /// # Errors
    /// If the cluster does not answer, or what is there is damaged.
    pub async fn batches(&self, from: Position, upto: Position) -> Result<Option<Vec<Batch>>, ReadError> {
        let mut tries = Tries::default();
        loop {
            let read = self.batches_at(self.state().await?, from, upto).await;
            if let Break(batches) = tries.judge(self, read)? {
                return Ok(batches);
            }
        }
    }

    async fn batches_at(&self, state: State, from: Position, upto: Position) -> Result<Vec<Batch>, Broken> {
        let base = self.base_reaching(&state, upto)?;
        let most = self.limits().read_records as usize;
        let (mut batches, mut records) = (Vec::new(), 0_usize);
        let mut walk = Walk::reaching(self, &state, base, from, upto).await?;
        while walk.next < upto && records < most {
            for batch in walk.page(most - records).await? {
                // A tool may ask for anything.
                if batch.position < from {
                    continue;
                }
                records += batch.records.len();
                if batch.end() > upto || (records > most && !batches.is_empty()) {
                    return Ok(batches);
                }
                batches.push(batch);
            }
        }
        Ok(batches)
    }

    /// In which order the books are kept: what their first record says. `None` if there is none yet, or no run.
    ///
    /// # Errors
    /// If the cluster does not answer, or what is there is damaged.
    pub async fn ordering(&self) -> Result<Option<Ordering>, ReadError> {
        let mut tries = Tries::default();
        loop {
            let read = self.ordering_at(self.state().await?).await;
            if let Break(ordering) = tries.judge(self, read)? {
                return Ok(ordering.flatten());
            }
        }
    }

    async fn ordering_at(&self, state: State) -> Result<Option<Ordering>, Broken> {
        let base = self.base_reaching(&state, Position(0))?;
        let Found::Tail(tail) = state.found else { return Err(Broken::Gone) };
        if base.position() > Position(0) {
            // The first record may be gone.
            return Ok(self.books_of(&base, state.revision).await?.ordering());
        }
        let mut walk = self.walk(&base, &state, tail.status.head.min(Position(1)));
        let first = walk.page(1).await?.into_iter().next();
        let first = first.as_ref().and_then(|batch| batch.records.first());
        Ok(first.and_then(|record| match record.entry {
            Entry::Claimed { ordering, .. } => Some(ordering),
            Entry::Seated { .. }
            | Entry::Unseated { .. }
            | Entry::Deposited(_)
            | Entry::Admitted { .. }
            | Entry::Sold(_)
            | Entry::Refused { .. }
            | Entry::Resigned => None,
        }))
    }

    /// The base in force, if this is the run's store and its log reaches so far.
    fn base_reaching(&self, state: &State, upto: Position) -> Result<Base, Broken> {
        match state.found {
            Found::Tail(tail) if tail.status.head >= upto => Ok(self.base(state)?),
            Found::Tail(_) | Found::Foreign | Found::Unreadable => Err(Broken::Gone),
        }
    }

    /// The base in force of a store that holds the run.
    pub(super) fn base(&self, state: &State) -> Result<Base, ReadError> {
        state.base.ok_or_else(|| self.damaged(&self.names().base(), "it is missing, or cannot be read"))
    }

    /// A walk over the batches from a snapshot on, none of which may be missing.
    pub(super) fn walk(&self, from: &Base, state: &State, upto: Position) -> Walk<'_> {
        Walk { store: self, at: state.revision, next: from.position(), upto, base: *from, walked: (0, 0) }
    }

    /// Where the log of a store ends, which must hold the run.
    pub(super) fn head(&self, state: &State) -> Result<Tail, ReadError> {
        match state.found {
            Found::Tail(head) => Ok(head),
            found @ (Found::Foreign | Found::Unreadable) => Err(ReadError::NotHeld { prefix: self.prefix(), found }),
        }
    }

    /// All that is kept of the log, as the store held it at one moment after the call: from the beginning on or, once a
    /// snapshot has taken the place of the first records, from the oldest snapshot on; if its owner has
    /// [made room](super::Space::remedy), from the one in force on. The batches are the ones that the log's end names, all
    /// of them.
    ///
    /// # Errors
    /// If the cluster does not answer, or what is there is damaged.
    pub async fn kept(&self) -> Result<KeptLog, ReadError> {
        let mut tries = Tries::default();
        loop {
            let state = self.state().await?;
            let kept = self.kept_at(&state).await;
            if let Break(kept) = tries.judge(self, kept)? {
                return kept.ok_or_else(|| self.other_log());
            }
        }
    }

    async fn kept_at(&self, state: &State) -> Result<KeptLog, Broken> {
        let (head, from) = (self.head(state)?, self.beginning(state).await?);
        let books = self.books_of(&from, state.revision).await?;
        let mut walk = self.walk(&from, state, head.status.head);
        let (mut tail, mut batches) = (from.tail(), Vec::new());
        while walk.next() < head.status.head {
            for batch in walk.page_at_last(READ_AT_ONCE).await? {
                tail = tail.after(&batch);
                batches.push(batch);
            }
        }
        self.must_lead_to(&head, &tail)?;
        Ok(KeptLog::from(from.tail(), books, batches))
    }

    /// The snapshot from which on everything is kept. That is the oldest one; but if the cluster's owner has
    /// [made room](super::Space::remedy), nothing is left between it and another one that was in force, and it is the one in
    /// force now. Anything else that is missing is damage.
    pub(super) async fn beginning(&self, state: &State) -> Result<Base, Broken> {
        let base = self.base(state)?;
        if let Some(oldest) = state.oldest.filter(|oldest| oldest.position() >= base.position()) {
            return Ok(oldest);
        }
        let range =
            Range { keys_only: true, at: Some(state.revision), limit: Some(1), ..Range::now(self.names().all()) };
        let below = Range { keys: self.names().batches(Position(0), base.position()), ..range.clone() };
        let read = self.client.range(below).await.map_err(|source| self.broken(source))?;
        let Some(first) = read.items.first().and_then(|first| self.names().batch_at(&first.key)) else {
            return Ok(base);
        };
        let Some(oldest) = state.oldest else {
            return Err(self.damaged(&self.names().oldest(), "it is missing, or cannot be read").into());
        };
        if first <= oldest.position() {
            return Ok(oldest);
        }
        let end = Range { keys: Keys::one(self.names().end(first)), ..range };
        let read = self.client.range(end).await.map_err(|source| self.broken(source))?;
        if read.items.is_empty() {
            return Err(self.damaged(&self.names().batch(oldest.position()), "it is missing").into());
        }
        Ok(base)
    }

    /// The books of the snapshot in force, as of some moment after the call: a beginning for whoever follows the log.
    ///
    /// # Errors
    /// If the cluster does not answer, or what is there is damaged.
    pub async fn books(&self) -> Result<Books, ReadError> {
        let mut tries = Tries::default();
        loop {
            let state = self.state().await?;
            self.head(&state)?;
            let books = self.books_of(&self.base(&state)?, state.revision).await;
            if let Break(books) = tries.judge(self, books)? {
                return books.ok_or_else(|| self.other_log());
            }
        }
    }

    /// Batches are whole one by one. They are what was acknowledged if their chain leads to the end that the store names.
    pub(super) fn must_lead_to(&self, head: &Tail, end: &Tail) -> Result<(), ReadError> {
        if head == end { Ok(()) } else { Err(self.other_log()) }
    }

    /// The error for batches that do not lead to the end of the log that the store names.
    #[must_use]
    pub fn other_log(&self) -> ReadError {
        self.damaged(&self.names().head(), "the batches of the log are not the ones that it is the end of")
    }

    /// What chunks are cut from. Whoever asks while another reads it waits for that.
    async fn served(&self, base: &Base, at: Revision) -> Result<Arc<Snapshot>, Broken> {
        let mut served = self.shared.served.lock().await;
        // The base has just been looked at, and says which bytes the snapshot consists of.
        if let Some(Served { snapshot, .. }) = served.as_ref().filter(|served| served.base == *base) {
            return Ok(Arc::clone(snapshot));
        }
        let books = self.books_of(base, at).await?;
        let snapshot = Arc::new(Snapshot::of(&books, self.limits()));
        *served = Some(Served { base: *base, snapshot: Arc::clone(&snapshot) });
        Ok(snapshot)
    }

    /// The books of a snapshot that the store refers to; empty ones if there is none.
    pub(super) async fn books_of(&self, base: &Base, at: Revision) -> Result<Books, Broken> {
        let kept = self.limits().sales_kept;
        if base.last_part().is_none() {
            return Ok(Books::keeping(kept));
        }
        let bytes = self.parts_of(base, at).await?;
        let books = self.decoded(base, &bytes).map_err(|what| self.damaged(&self.names().part(base, 0), what))?;
        if books.sales_kept() == kept {
            return Ok(books);
        }
        // The configuration has changed. What is not kept any more goes; what was not kept does not come back.
        Ok(Books::from_chunks(kept, books.chunks(Limits::FRAME)))
    }

    /// The parts of such a snapshot, put together.
    async fn parts_of(&self, base: &Base, at: Revision) -> Result<Vec<u8>, Broken> {
        let mut pages = self.client.pages(self.names().parts(base), Some(at), PARTS_PAGE);
        let mut bytes = Vec::new();
        while let Some(page) = pages.next().await.map_err(|source| self.broken(source))? {
            bytes.extend(page.into_iter().flat_map(|part| part.value));
        }
        Ok(bytes)
    }

    /// The books of a snapshot, or what is wrong with its bytes.
    fn decoded(&self, base: &Base, bytes: &[u8]) -> Result<Books, String> {
        if blake3::hash(bytes) != base.digest() {
            return Err(format!("its {} parts are not what was written", base.parts()));
        }
        let (books, seal) = snapshot::decode(bytes)?;
        let is_of_log = seal_of(&base.tail()).is_ok_and(|of_tail| of_tail == seal);
        if books.position() == base.position() && is_of_log {
            Ok(books)
        } else {
            Err("it is of another log".to_owned())
        }
    }

    pub(super) fn broken(&self, error: bazaar_etcd::ReadError) -> Broken {
        match error {
            bazaar_etcd::ReadError::Compacted | bazaar_etcd::ReadError::Future => Broken::Compacted(error),
            bazaar_etcd::ReadError::TooLarge(_)
            | bazaar_etcd::ReadError::Refused(_)
            | bazaar_etcd::ReadError::Failed(_) => Broken::Failed(self.unanswered(error)),
        }
    }
}

/// A walk over the batches at one revision, each of which must follow the one before it.
pub(super) struct Walk<'a> {
    store: &'a EtcdStore,
    at: Revision,
    /// Where the next batch begins.
    next: Position,
    /// Batches that begin here or above are not read.
    upto: Position,
    /// From here on, every batch must be there.
    base: Base,
    /// How many batches were read, and how many records they have: how long those to come may be.
    walked: (usize, usize),
}

impl<'a> Walk<'a> {
    /// A walk whose first batch holds the record at `from`.
    async fn reaching(
        store: &'a EtcdStore,
        state: &State,
        base: Base,
        from: Position,
        upto: Position,
    ) -> Result<Walk<'a>, Broken> {
        let mut walk = Walk { store, at: state.revision, next: from, upto, base, walked: (0, 0) };
        let is_known = from == Position(0) || from == base.position();
        if from < upto && !is_known {
            walk.next = walk.beginning_of(from).await?;
        }
        Ok(walk)
    }

    /// Where the batch begins that holds this record. A batch has no more records than [`Terms::LARGEST_BATCH`], so one
    /// read of so many keys, without their values, shows it.
    async fn beginning_of(&self, record: Position) -> Result<Position, Broken> {
        let lowest = Position((record.0 + 1).saturating_sub(u64::from(Terms::LARGEST_BATCH)));
        let keys = self.store.names().batches(lowest, record.plus(1));
        let range = Range { keys_only: true, at: Some(self.at), ..Range::now(keys) };
        let read = self.store.client.range(range).await.map_err(|source| self.store.broken(source))?;
        match read.items.last() {
            Some(last) => {
                self.store.names().batch_at(&last.key).ok_or_else(|| self.damaged(&last.key, "it is no batch's"))
            }
            None => Err(self.hole(record)),
        }
    }

    /// The next batches, about as many as it takes for so many records, and at least one.
    pub(super) async fn page(&mut self, records: usize) -> Result<Vec<Batch>, Broken> {
        let mut limit = match self.walked {
            (0, _) | (_, 0) => FIRST_PAGE,
            (batches, of) => u32::try_from(records.saturating_mul(batches).div_ceil(of)).unwrap_or(u32::MAX),
        };
        limit = limit.clamp(1, LARGEST_PAGE);
        let items = loop {
            match self.range(self.store.names().batches(self.next, self.upto), limit).await {
                Ok(items) => break items,
                Err(bazaar_etcd::ReadError::TooLarge(_)) if limit > 1 => limit /= 2,
                Err(error) => return Err(self.store.broken(error)),
            }
        };
        let mut batches = Vec::with_capacity(items.len());
        for item in items {
            batches.push(self.step(&item)?);
        }
        if batches.is_empty() && self.next < self.upto {
            return Err(self.hole(self.next));
        }
        Ok(batches)
    }

    /// The same, asked for again while the cluster does not answer, each time of another member: for whoever would have to
    /// begin anew.
    async fn page_at_last(&mut self, records: usize) -> Result<Vec<Batch>, Broken> {
        for _ in 1..PAGE_TRIES {
            match self.page(records).await {
                // Another member is asked each time, which may not have got so far.
                Err(
                    Broken::Failed(ReadError::Unanswered { .. }) | Broken::Compacted(bazaar_etcd::ReadError::Future),
                ) => sleep(PAGE_PAUSE).await,
                page => return page,
            }
        }
        self.page(records).await
    }

    async fn range(&self, keys: Keys, limit: u32) -> Result<Vec<KeyValue>, bazaar_etcd::ReadError> {
        let range = Range { at: Some(self.at), limit: Some(limit), ..Range::now(keys) };
        Ok(self.store.client.range(range).await?.items)
    }

    fn step(&mut self, item: &KeyValue) -> Result<Batch, Broken> {
        if item.key != self.store.names().batch(self.next) {
            return Err(self.hole(self.next));
        }
        let batch: Option<Batch> = postcard::from_bytes(&item.value).ok();
        let batch = batch.filter(|batch| batch.position == self.next && !batch.records.is_empty());
        let batch = batch.ok_or_else(|| self.damaged(&item.key, "it does not hold a batch that begins here"))?;
        self.next = batch.end();
        self.walked = (self.walked.0 + 1, self.walked.1 + batch.records.len());
        Ok(batch)
    }

    /// No batch begins where one should: below the base in force it may have been cleared.
    fn hole(&self, at: Position) -> Broken {
        if at < self.base.position() {
            return Broken::Gone;
        }
        self.damaged(&self.store.names().batch(at), "it is missing")
    }

    fn damaged(&self, key: &[u8], what: &str) -> Broken {
        Broken::Failed(self.store.damaged(key, what))
    }

    /// Where the next batch begins: the end of what was walked over.
    pub(super) fn next(&self) -> Position {
        self.next
    }
}

#[cfg(test)]
mod tests {
    use bazaar_protocol::{ledger::Tail, store::conformance::Author};

    use super::*;
    use crate::{
        network::hello::RunId,
        store::etcd::{Appended, testing::Etcd},
    };

    const LIMITS: Limits = Limits { read_records: 20, chunk_weight: 5, ..Limits::DEFAULT };

    async fn trade(store: &EtcdStore, author: &mut Author) -> Tail {
        let Found::Tail(mut onto) = store.look().await.unwrap().found else { panic!("it is this run's") };
        for size in [1, 4, 30, 2] {
            let batch = author.trade(size);
            assert_eq!(store.append(&onto, &batch).await, Appended::Written);
            onto = onto.after(&batch);
        }
        onto
    }

    async fn compact(store: &EtcdStore, tail: Tail) {
        let from = store.look().await.unwrap().base.unwrap();
        let to = store.write_snapshot(tail.status.head).await.unwrap().unwrap();
        store.move_base(&from, &to).await.unwrap();
        store.clear_below(&to, 0).await.unwrap();
    }

    #[tokio::test]
    async fn an_answer_is_of_one_revision_or_is_begun_anew() {
        let Some(etcd) = Etcd::start("an_answer_is_of_one_revision", 1).await else { return };
        let client = etcd.client();
        let new = || EtcdStore::new(client.clone(), "p", RunId(1), LIMITS);
        let (store, mut author) = (new(), Author::new(LIMITS.sales_kept, 0));
        store.init().await.unwrap();
        let first = trade(&store, &mut author).await;
        let read = async || store.read(Position(3), None, first.status.head).await.unwrap();
        let log = (store.state().await.unwrap(), read().await);
        assert!(matches!(log.1, Some(LedgerAnswer::Records { .. })));
        compact(&store, first).await;
        let second = trade(&store, &mut author).await;
        let snapshot = (store.state().await.unwrap(), read().await);
        assert!(matches!(snapshot.1, Some(LedgerAnswer::Chunk { .. })));
        compact(&store, second).await;

        // What a read asks for goes while it is under way: it still gets what was there when it began.
        for (state, answer) in [&log, &snapshot] {
            // By a ledger that has not cut that snapshot up before.
            let late = new().read_at(state.clone(), Position(3), None, first.status.head).await.unwrap();
            assert_eq!(Some(late), *answer);
        }
        client.compact(store.look().await.unwrap().revision).await.unwrap();
        let mut tries = Tries::default();
        for nth in 1..=TRIES {
            let read = new().read_at(log.0.clone(), Position(3), None, first.status.head).await;
            assert!(matches!(read, Err(Broken::Compacted(bazaar_etcd::ReadError::Compacted))), "{read:?}");
            let judged = tries.judge(&store, read);
            assert_eq!(matches!(judged, Ok(Continue(()))), nth < TRIES, "{judged:?}");
        }
        // Begun anew: the log below is gone, and the snapshot reaches beyond what may be seen.
        assert_eq!(new().read(Position(3), None, first.status.head).await, Ok(None));
        let anew = new().read(Position(3), None, second.status.head).await.unwrap();
        assert!(matches!(anew, Some(LedgerAnswer::Chunk { .. })), "{anew:?}");
    }
}
