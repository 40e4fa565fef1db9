//! The ledger: an append-only log with one fence. It knows epochs and positions, but not what records mean.
//!
//! ```text
//! append(epoch, position, batch) -> Appended | Fenced | Conflict | LeaseActive
//! read(from)                     -> chunks of a snapshot, then records
//! ```
//!
//! # Why the order of steps cannot lose anything
//!
//! ```text
//! time  peer 4 (epoch 1)        ledger                         peer 3
//!  1    append(1, 7, [A]) ----->
//!  2                            Persist{7, [A]}
//!  3                            <---------------------------- read(0)
//!  4                            ----- records 0..7 ---------->            A is not durable, so not shown (R3)
//!  5                            Persisted
//!  6    <------------ Appended{8}
//!  7                            <---------------------------- append(2, 7, [Claimed{2}])
//!  8                            ------------ Conflict{8} ---->            it has not read A: it may not claim (R1)
//!  9    (its lease runs out)    <---------------------------- read(7), append(2, 8, [Claimed{2}])
//! 10    append(1, 8, [B]) -----> ----- Fenced{2} ...                      epoch 1 is over (R2)
//! ```
//!
//! While a batch is being made durable, later appends wait, and reads are answered from what is already durable. So
//! every verdict and every answer is derived from durable state alone, by construction, and a power failure between
//! steps 2 and 5 leaves nobody with knowledge of A.

use alloc::{collections::VecDeque, vec::Vec};

use core::time::Duration;

use serde::{Deserialize, Serialize};

use crate::{
    clock::Time,
    config::{Limits, Ordering},
    digest::Digest,
    id::{Epoch, Incarnation, Life, Position},
    record::{Batch, Entry, Record},
    snapshot::{ChunkId, SnapshotChunk},
};

pub mod compaction;
mod judge;
pub mod replica;

use judge::{Asker, Compared, Judge, Ruling};

/// The highest durable (epoch, head) that a peer has seen. The peer shows it to the ledger with every call, so that an
/// old copy of the books that was put back is noticed (DESIGN 3, "What a store must promise").
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct HighWaterMark {
    /// The latest epoch in those books; 0 before the first claim.
    pub epoch: Epoch,
    /// How many records those books held.
    pub head: Position,
    /// Shows that a ledger of this bazaar has said so.
    pub seal: Seal,
}

impl HighWaterMark {
    /// The mark of books with this latest epoch and this many records, sealed by whoever knows the ledger's secret.
    #[must_use]
    pub fn sealed(epoch: Epoch, head: Position, secret: Secret) -> HighWaterMark {
        HighWaterMark { epoch, head, seal: Seal::of(epoch, head, secret) }
    }

    /// Raises this mark to `other` if that is further on.
    pub fn raise(&mut self, other: HighWaterMark) {
        if other.is_beyond(*self) {
            *self = other;
        }
    }

    /// Whether these books hold something that `other` does not.
    #[must_use]
    pub fn is_beyond(&self, other: HighWaterMark) -> bool {
        self.head > other.head || self.epoch > other.epoch
    }
}

/// By what a ledger knows its own word again. All ledgers of a bazaar have the same, also one whose store was lost, so
/// it does not come out of a store. Nobody but a ledger, or a tool that stands in for it, is given it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Secret(pub u64);

/// The ledger's seal on a mark: a member with a bug can name any numbers, but not numbers and the seal that belongs to
/// them (SPEC I8). It is no protection from somebody who has the bazaar's key and means harm.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Seal(u64);

impl Seal {
    fn of(epoch: Epoch, head: Position, secret: Secret) -> Seal {
        Seal(Digest::of(&(secret, epoch, head)).0)
    }
}

/// The latest term, as the fence knows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Term {
    /// The term's epoch.
    pub epoch: Epoch,
    /// The life that holds it.
    pub holder: Life,
    /// Whether its holder has resigned.
    pub ended: bool,
}

/// What every reply reports: the state of the fence at a durable head.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct LedgerStatus {
    /// How many records are durable.
    pub head: Position,
    /// The latest term; `None` before the first claim.
    pub term: Option<Term>,
    /// In the stable order, the largest time that any of these records carries: whoever is shown it stamps above it from
    /// then on (SPEC C5). 0 in the other order, which promises nothing of the kind.
    pub latest: Time,
}

impl LedgerStatus {
    /// The latest epoch; 0 before the first claim.
    #[must_use]
    pub fn epoch(&self) -> Epoch {
        self.term.map_or(Epoch(0), |term| term.epoch)
    }

    /// The status after `batch` was appended to a log with this status.
    #[must_use]
    pub fn after(mut self, batch: &Batch) -> LedgerStatus {
        self.head = batch.end();
        let is_stable = |record: &Record| match record.entry {
            Entry::Claimed { ordering, .. } => ordering == Ordering::Stable,
            Entry::Seated { .. }
            | Entry::Unseated { .. }
            | Entry::Deposited(_)
            | Entry::Admitted { .. }
            | Entry::Sold(_)
            | Entry::Refused { .. }
            | Entry::Resigned => false,
        };
        // A log begins with a claim, and all of it is in one order.
        if self.latest > Time(0) || batch.records.first().is_some_and(is_stable) {
            self.latest = batch.records.iter().map(|record| record.stamp.time).fold(self.latest, Time::max);
        }
        if let Some(holder) = batch.claimant() {
            self.term = Some(Term { epoch: batch.epoch, holder, ended: false });
        } else if let Some(term) = &mut self.term {
            term.ended |= batch.resigns();
        }
        self
    }

    /// How far these books reach, as a ledger with this secret says it.
    #[must_use]
    pub fn seen(&self, secret: Secret) -> HighWaterMark {
        HighWaterMark::sealed(self.epoch(), self.head, secret)
    }
}

/// A question that a peer asks of the ledger.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum LedgerRequest {
    /// "Are you there, and whose term is it?"
    Status,
    /// Records from `from` on; if there is a snapshot above `from`, the snapshot first.
    Read {
        /// The first position wanted: how many records the reader has already folded.
        from: Position,
        /// The chunk of a snapshot to continue with; `None` to begin.
        chunk: Option<ChunkId>,
    },
    /// Append a batch, or a claim, or nothing (a renewal).
    Append(Batch),
}

/// A request together with its caller and what that caller has seen.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct LedgerCall {
    /// The caller. A link that authenticates its peer must refuse a call in another peer's name.
    pub caller: Life,
    /// The furthest durable books it knows of.
    pub seen: HighWaterMark,
    /// The latest epoch that anybody had named to it when it asked. The reply repeats it.
    pub heard: Epoch,
    /// The question itself.
    pub request: LedgerRequest,
}

/// What every reply says, whatever the answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Word {
    /// The life that is answered.
    pub to: Life,
    /// The latest epoch that anybody had named to that life when it asked. Epochs are named once they are durable, so one
    /// that is later than the status of this word was not: nobody was granted it, and a member has a bug (SPEC I8).
    pub heard: Epoch,
    /// The durable state of the fence at the moment of the answer.
    pub status: LedgerStatus,
    /// How far the books reach in that state, for the caller to remember and to show.
    pub seen: HighWaterMark,
}

impl Word {
    /// What a ledger with this secret and this durable state of the fence tells a life. The driver of a ledger that has its
    /// store to itself may give a peer this word at any time, as the answer to a [`LedgerRequest::Status`] that nobody has
    /// called with. What one of several ledgers knows may be old: there it takes a call.
    #[must_use]
    pub fn of(to: Life, heard: Epoch, status: LedgerStatus, secret: Secret) -> Word {
        Word { to, heard, status, seen: status.seen(secret) }
    }
}

/// The ledger's reply: its word, and the answer.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct LedgerReply {
    /// What it says in any case.
    pub word: Word,
    /// The answer to the request.
    pub answer: LedgerAnswer,
}

/// The answer to a request, by kind.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum LedgerAnswer {
    /// To [`LedgerRequest::Status`]: the status alone.
    Status,
    /// To [`LedgerRequest::Read`]: one chunk of a snapshot that reaches beyond what the reader has.
    Chunk {
        /// Which chunk of which snapshot this is.
        id: ChunkId,
        /// How many chunks the snapshot has; at least 1.
        of: u32,
        /// The chunk's contents.
        chunk: SnapshotChunk,
    },
    /// To [`LedgerRequest::Read`]: the durable records from `from` on, as many as fit in a reply.
    Records {
        /// The position of the first record.
        from: Position,
        /// The records; empty when `from` is the head.
        records: Vec<Record>,
    },
    /// To [`LedgerRequest::Append`]. Only the echo says which append this settles (DESIGN R2).
    Append {
        /// The append that this answers.
        echo: Echo,
        /// What became of that append.
        verdict: Verdict,
    },
}

/// Identifies one append by one life of a peer. Nothing else settles that append (DESIGN R2).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Echo {
    /// The caller's incarnation.
    pub incarnation: Incarnation,
    /// The batch's epoch.
    pub epoch: Epoch,
    /// The batch's position.
    pub position: Position,
    /// The batch's digest.
    pub digest: Digest,
}

impl Echo {
    /// The identity of this append.
    #[must_use]
    pub fn of(caller: Life, batch: &Batch) -> Echo {
        Echo { incarnation: caller.incarnation, epoch: batch.epoch, position: batch.position, digest: batch.digest() }
    }
}

/// What became of an append. `Fenced`, `LeaseActive` and `Conflict` have changed nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Verdict {
    /// It is durable (just now, or since an earlier send of the very same batch).
    Appended {
        /// The head right after *that* batch.
        head: Position,
        /// Another peer has claimed the office in vain since the holder's last append (DESIGN R6).
        contested: bool,
    },
    /// Its epoch is over or does not belong to the caller; the reply's status names the latest.
    Fenced,
    /// Its position is not the head; the reply's status names the head.
    Conflict,
    /// It is a claim, and the term named in the reply's status is still being renewed.
    LeaseActive,
}

/// Matches a reply to its call where a driver has several in flight; the machine returns it unread.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct CallId(pub u64);

/// What can happen to the ledger.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum LedgerInput {
    /// A call from a peer.
    Call {
        /// The driver's id for the call.
        id: CallId,
        /// The call itself.
        call: LedgerCall,
    },
    /// The batch of the last [`LedgerEffect::Persist`] is durable.
    Persisted,
    /// The lease timer has fired.
    LeaseFired,
}

/// What the ledger wants done.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum LedgerEffect {
    /// Write the batch and make it durable, then report [`LedgerInput::Persisted`]. At most one is in progress. A
    /// driver whose write or sync fails must stop the ledger for good and never retry (a failed fsync may have dropped
    /// the very pages that a second one would report as safe).
    Persist(Batch),
    /// Answer a call. Everything in it is durable.
    Reply {
        /// The call to answer.
        id: CallId,
        /// The reply to it.
        reply: LedgerReply,
    },
    /// Answer a read from the store with [`Store::read`](crate::store::Store::read), up to `word.status.head` and
    /// no further: nothing above it is durable yet.
    Read {
        /// The call to answer.
        id: CallId,
        /// What the reply says in any case; its status is what the answer is drawn from.
        word: Word,
        /// The first position wanted.
        from: Position,
        /// The chunk of a snapshot to continue with; `None` to begin.
        chunk: Option<ChunkId>,
    },
    /// Start the lease timer afresh.
    ArmLease(Duration),
    /// Too many calls are waiting for the disk. This one is not answered; its caller will ask again.
    Drop(CallId),
    /// The caller has a bug: it shows a mark that is beyond these books and that no ledger of this bazaar has given it, or
    /// its batch cannot be what it says it is ([`Batch::is_of`]). The call is not answered.
    Refuse(CallId),
    /// Acknowledged records are gone. The ledger no longer answers anything, and its operator must investigate.
    Fail(LedgerFault),
}

/// Why a ledger has stopped for good.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct LedgerFault {
    /// The life that has seen more than the ledger holds.
    pub witness: Life,
    /// What that life has seen.
    pub seen: HighWaterMark,
    /// What this ledger holds.
    pub holds: HighWaterMark,
}

/// What a store knows about the end of its log: everything the ledger needs to resume after a restart.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Tail {
    /// The state of the fence.
    pub status: LedgerStatus,
    /// The last appended batch, so that its writer can be answered again (DESIGN R2).
    pub last: Option<LastBatch>,
    /// A digest of all batches, in order. Logs that have the same end differ in it if they have come to it by other ways.
    pub chain: Digest,
}

impl Tail {
    /// The tail after `batch` was appended to a log with this tail.
    #[must_use]
    pub fn after(&self, batch: &Batch) -> Tail {
        let digest = batch.digest();
        let last = LastBatch { epoch: batch.epoch, position: batch.position, digest };
        Tail { status: self.status.after(batch), last: Some(last), chain: self.chain_with(digest) }
    }

    /// The chain after a batch with this digest.
    pub(crate) fn chain_with(&self, digest: Digest) -> Digest {
        Digest::of(&(self.chain, digest))
    }
}

/// Identifies the last appended batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct LastBatch {
    /// Its epoch.
    pub epoch: Epoch,
    /// Its position.
    pub position: Position,
    /// Its digest.
    pub digest: Digest,
}

/// The settings of a ledger.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct LedgerConfig {
    /// How long a term stays active after its holder's last append (DESIGN R6). No safety property depends on it.
    pub lease: Duration,
    /// The limits of the run. This machine uses [`Limits::waiting_calls`]; its store uses the others.
    pub limits: Limits,
    /// By what it knows its own word again.
    pub secret: Secret,
}

/// The ledger machine.
///
/// ```
/// use bazaar_protocol::{
///     CallId, Epoch, Incarnation, Ledger, LedgerCall, LedgerConfig, LedgerEffect, LedgerInput, Life, Limits,
///     MemoryStore, PeerId, Position, Store, Timeouts,
///     clock::{Stamp, Time},
///     config::Ordering,
///     ledger::{HighWaterMark, LedgerAnswer, LedgerRequest, Secret, Verdict},
///     record::{Batch, Entry, Record},
/// };
///
/// let mut store = MemoryStore::default();
/// let (lease, limits) = (Timeouts::DEFAULT.lease, Limits::DEFAULT);
/// let config = LedgerConfig { lease, limits, secret: Secret(7) };
/// let (mut ledger, _) = Ledger::recover(config, store.tail());
///
/// // Peer 3 claims the first epoch, at the head of an empty log.
/// let caller = Life { peer: PeerId(3), incarnation: Incarnation(1) };
/// let entry = Entry::Claimed { epoch: Epoch(1), holder: caller, ordering: Ordering::SmallestOpen };
/// let claim = Record { stamp: Stamp { time: Time(1), peer: caller.peer }, entry };
/// let batch = Batch { epoch: Epoch(1), position: Position(0), records: vec![claim] };
/// let (seen, request) = (HighWaterMark::default(), LedgerRequest::Append(batch));
/// let call = LedgerCall { caller, seen, heard: Epoch(0), request };
/// let effects = ledger.step(LedgerInput::Call { id: CallId(1), call });
///
/// // Nothing is answered before it is durable.
/// let [LedgerEffect::Persist(batch)] = effects.as_slice() else { panic!("it must be written first") };
/// store.append(batch).and_then(|()| store.sync())?;
/// let effects = ledger.step(LedgerInput::Persisted);
/// let granted = effects.iter().any(|effect| {
///     matches!(effect, LedgerEffect::Reply { reply, .. }
///         if matches!(reply.answer, LedgerAnswer::Append { verdict: Verdict::Appended { .. }, .. }))
/// });
/// assert!(granted && ledger.status().epoch() == Epoch(1));
/// # Ok::<(), std::convert::Infallible>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Ledger {
    judge: Judge,
    state: State,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
enum State {
    Ready,
    Persisting { id: CallId, asker: Asker, batch: Batch, waiting: VecDeque<(CallId, LedgerCall)> },
    Failed,
}

impl Ledger {
    /// A ledger on top of a store whose log ends at `tail`. The lease starts afresh: the holder may be alive (DESIGN
    /// R6).
    #[must_use]
    pub fn recover(config: LedgerConfig, tail: Tail) -> (Ledger, Vec<LedgerEffect>) {
        let mut judge = Judge::over(config, tail);
        let effects = judge.renew().map(LedgerEffect::ArmLease).into_iter().collect();
        (Ledger { judge, state: State::Ready }, effects)
    }

    /// The state of the fence, as far as it is durable.
    #[must_use]
    pub fn status(&self) -> LedgerStatus {
        self.judge.status()
    }

    /// Whether a claim would meet `LeaseActive`: the latest term is being renewed and has not been resigned.
    #[must_use]
    pub fn is_lease_active(&self) -> bool {
        self.judge.is_live()
    }

    /// Whether it found acknowledged records to be gone; it then no longer answers anything.
    #[must_use]
    pub fn has_failed(&self) -> bool {
        matches!(self.state, State::Failed)
    }

    /// How many calls are waiting for a batch to become durable.
    #[must_use]
    pub fn waiting(&self) -> usize {
        match &self.state {
            State::Persisting { waiting, .. } => waiting.len(),
            State::Ready | State::Failed => 0,
        }
    }

    /// Takes one input. Cannot fail; there is an answer to anything a peer can send.
    pub fn step(&mut self, input: LedgerInput) -> Vec<LedgerEffect> {
        let mut step = Step { ledger: self, effects: Vec::new() };
        match input {
            LedgerInput::Call { id, call } => step.on_call(id, call),
            LedgerInput::Persisted => step.on_persisted(),
            LedgerInput::LeaseFired => step.ledger.judge.run_out(),
        }
        step.effects
    }

    fn settle(&self, id: CallId, asker: Asker, batch: &Batch, verdict: Verdict) -> LedgerEffect {
        LedgerEffect::Reply { id, reply: self.judge.settled(asker, batch, verdict) }
    }
}

/// One step in progress.
struct Step<'a> {
    ledger: &'a mut Ledger,
    effects: Vec<LedgerEffect>,
}

impl Step<'_> {
    fn on_call(&mut self, id: CallId, call: LedgerCall) {
        if self.ledger.has_failed() {
            return;
        }
        if Judge::is_absurd(&call) {
            return self.effects.push(LedgerEffect::Refuse(id));
        }
        match self.ledger.judge.compare(call.caller, call.seen) {
            Compared::Covered => {}
            Compared::MadeUp => return self.effects.push(LedgerEffect::Refuse(id)),
            Compared::Gone(fault) => {
                self.ledger.state = State::Failed;
                return self.effects.push(LedgerEffect::Fail(fault));
            }
        }
        match &mut self.ledger.state {
            State::Failed => {}
            State::Ready => self.answer(id, call),
            State::Persisting { waiting, .. } => match call.request {
                // A read can already be answered from the durable prefix.
                LedgerRequest::Read { .. } => self.answer(id, call),
                LedgerRequest::Append(_) if mutant!(false; AppendsDoNotWait => true) => self.answer(id, call),
                LedgerRequest::Status | LedgerRequest::Append(_)
                    if mutant!(
                        waiting.len() < self.ledger.judge.config.limits.waiting_calls as usize;
                        WaitsWithoutBound => true
                    ) =>
                {
                    waiting.push_back((id, call));
                }
                LedgerRequest::Status | LedgerRequest::Append(_) => self.effects.push(LedgerEffect::Drop(id)),
            },
        }
    }

    fn on_persisted(&mut self) {
        match core::mem::replace(&mut self.ledger.state, State::Ready) {
            State::Persisting { id, asker, batch, waiting } => {
                let ruling = self.ledger.judge.written(&batch);
                self.settle(id, asker, &batch, ruling);
                for (id, call) in waiting {
                    self.on_call(id, call);
                }
            }
            other @ (State::Ready | State::Failed) => self.ledger.state = other,
        }
    }

    fn answer(&mut self, id: CallId, call: LedgerCall) {
        let asker = Asker::of(&call);
        let status = mutant!(self.ledger.status(); UnsyncedReads => self.ledger.written().status);
        let word = self.ledger.judge.word(asker, status);
        match call.request {
            LedgerRequest::Status => {
                let reply = LedgerReply { word, answer: LedgerAnswer::Status };
                self.effects.push(LedgerEffect::Reply { id, reply });
            }
            LedgerRequest::Read { from, chunk } => self.effects.push(LedgerEffect::Read { id, word, from, chunk }),
            LedgerRequest::Append(batch) => self.on_append(id, asker, batch),
        }
    }

    fn on_append(&mut self, id: CallId, asker: Asker, batch: Batch) {
        let ruling = self.ledger.judge.rule(asker.caller, &batch);
        if ruling.verdict.is_some() {
            return self.settle(id, asker, &batch, ruling);
        }
        let kept = mutant!(batch; NoFence | PositionUnchecked => self.ledger.judge.at_head(batch));
        self.effects.push(LedgerEffect::Persist(kept.clone()));
        mutant!(
            ClaimNotDurable | AcknowledgedBeforeDurable =>
                self.effects.extend(self.ledger.answer_early(id, asker, &kept))
        );
        self.ledger.state = State::Persisting { id, asker, batch: kept, waiting: VecDeque::new() };
    }

    fn settle(&mut self, id: CallId, asker: Asker, batch: &Batch, ruling: Ruling) {
        self.effects.extend(ruling.lease.map(LedgerEffect::ArmLease));
        let settled = ruling.verdict.map(|verdict| self.ledger.settle(id, asker, batch, verdict));
        self.effects.extend(settled);
    }
}

#[cfg(feature = "mutants")]
mod mutants;

#[cfg(test)]
mod tests;
