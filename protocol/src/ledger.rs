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
    /// What a ledger with this secret and this durable state of the fence tells a life. A driver may give a peer this word
    /// at any time, as the answer to a [`LedgerRequest::Status`] that nobody has called with.
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
}

impl Tail {
    /// The tail after `batch` was appended to a log with this tail.
    #[must_use]
    pub fn after(&self, batch: &Batch) -> Tail {
        let status = self.status.after(batch);
        Tail { status, last: Some(LastBatch { epoch: batch.epoch, position: batch.position, digest: batch.digest() }) }
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
    config: LedgerConfig,
    durable: Tail,
    /// Whether the term has been renewed within the lease.
    live: bool,
    /// Whether a claim has met `LeaseActive` since the holder's last append.
    contested: bool,
    state: State,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
enum State {
    Ready,
    Persisting { id: CallId, asker: Asker, batch: Batch, waiting: VecDeque<(CallId, LedgerCall)> },
    Failed,
}

/// Who asks, and the latest epoch that it had been named.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
struct Asker {
    caller: Life,
    heard: Epoch,
}

impl Ledger {
    /// A ledger on top of a store whose log ends at `tail`. The lease starts afresh: the holder may be alive (DESIGN
    /// R6).
    #[must_use]
    pub fn recover(config: LedgerConfig, tail: Tail) -> (Ledger, Vec<LedgerEffect>) {
        let live = tail.status.term.is_some_and(|term| !term.ended);
        let ledger = Ledger { config, durable: tail, live, contested: false, state: State::Ready };
        let effects = if live { alloc::vec![LedgerEffect::ArmLease(config.lease)] } else { Vec::new() };
        (ledger, effects)
    }

    /// The state of the fence, as far as it is durable.
    #[must_use]
    pub fn status(&self) -> LedgerStatus {
        self.durable.status
    }

    /// Whether a claim would meet `LeaseActive`: the latest term is being renewed and has not been resigned.
    #[must_use]
    pub fn is_lease_active(&self) -> bool {
        self.live
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
            LedgerInput::LeaseFired => step.on_lease_fired(),
        }
        step.effects
    }

    /// Whether the caller has seen durable records that are not here. Only durable records are ever shown (R3), so they
    /// were lost, or an old copy was put back.
    fn is_behind(&self, call: &LedgerCall) -> bool {
        mutant!(call.seen.is_beyond(self.holds()); OldImageServed => false)
    }

    /// Whether a ledger of this bazaar has given a mark.
    fn is_own(&self, mark: HighWaterMark) -> bool {
        let own = HighWaterMark::sealed(mark.epoch, mark.head, self.config.secret);
        mutant!(mark == own; BelievesAnyMark => true)
    }

    fn holds(&self) -> HighWaterMark {
        self.durable.status.seen(self.config.secret)
    }

    fn word(&self, Asker { caller, heard }: Asker, status: LedgerStatus) -> Word {
        Word::of(caller, heard, status, self.config.secret)
    }

    fn is_last(&self, batch: &Batch) -> bool {
        let is_same = |last: LastBatch| {
            last.epoch == batch.epoch && last.position == batch.position && last.digest == batch.digest()
        };
        mutant!(self.durable.last.is_some_and(is_same); ResentBatchUnknown => false)
    }

    fn is_out_of_place(&self, batch: &Batch) -> bool {
        let is_at_head = batch.position == self.durable.status.head;
        mutant!(!is_at_head; NoFence | PositionUnchecked => batch.claimant().is_some() && !is_at_head)
    }

    fn is_fenced(&self, caller: Life, batch: &Batch) -> bool {
        let status = self.durable.status;
        match batch.claimant() {
            Some(claimant) => batch.epoch != status.epoch().next() || claimant != caller,
            None => !status.term.is_some_and(|term| self.is_open_to(term, caller, batch)),
        }
    }

    fn is_open_to(&self, term: Term, caller: Life, batch: &Batch) -> bool {
        let is_holder = mutant!(term.holder == caller; TermResumedAfterRestart => term.holder.peer == caller.peer);
        mutant!(
            term.epoch == batch.epoch && is_holder && !term.ended;
            NoFence | BatchMovedToHead => true,
            ServesAfterResigning => term.epoch == batch.epoch && is_holder
        )
    }

    /// A peer's own former term does not keep it out: the life that held it is gone.
    fn is_leased_against(&self, claimant: Life) -> bool {
        mutant!(
            self.live && self.durable.status.term.is_some_and(|term| term.holder.peer != claimant.peer);
            LeaseIgnored => false
        )
    }

    /// The verdict on an append by the holder. It reports and clears the mark of a contested term.
    fn appended(&mut self, head: Position) -> Verdict {
        let is_contested = core::mem::take(&mut self.contested);
        Verdict::Appended { head, contested: mutant!(is_contested; ContestedNeverTold => false) }
    }

    fn settle(&self, id: CallId, asker: Asker, batch: &Batch, verdict: Verdict) -> LedgerEffect {
        let asked = Echo::of(asker.caller, batch);
        let echo = mutant!(asked; AnsweredAsAnother => Echo { position: self.durable.status.head, ..asked });
        let word = self.word(asker, self.durable.status);
        LedgerEffect::Reply { id, reply: LedgerReply { word, answer: LedgerAnswer::Append { echo, verdict } } }
    }
}

/// One step in progress.
struct Step<'a> {
    ledger: &'a mut Ledger,
    effects: Vec<LedgerEffect>,
}

impl Step<'_> {
    fn on_call(&mut self, id: CallId, call: LedgerCall) {
        let (is_behind, is_own) = (self.ledger.is_behind(&call), self.ledger.is_own(call.seen));
        let is_absurd = match &call.request {
            LedgerRequest::Append(batch) => mutant!(!batch.is_of(call.caller); BatchUnread => false),
            LedgerRequest::Status | LedgerRequest::Read { .. } => false,
        };
        match &mut self.ledger.state {
            State::Failed => {}
            State::Ready | State::Persisting { .. } if is_absurd => self.effects.push(LedgerEffect::Refuse(id)),
            State::Ready | State::Persisting { .. } if is_behind && !is_own => {
                self.effects.push(LedgerEffect::Refuse(id))
            }
            State::Ready | State::Persisting { .. } if is_behind => {
                let holds = self.ledger.holds();
                self.ledger.state = State::Failed;
                self.effects.push(LedgerEffect::Fail(LedgerFault { witness: call.caller, seen: call.seen, holds }));
            }
            State::Ready => self.answer(id, call),
            State::Persisting { waiting, .. } => match call.request {
                // A read can already be answered from the durable prefix.
                LedgerRequest::Read { .. } => self.answer(id, call),
                LedgerRequest::Append(_) if mutant!(false; AppendsDoNotWait => true) => self.answer(id, call),
                LedgerRequest::Status | LedgerRequest::Append(_)
                    if mutant!(
                        waiting.len() < self.ledger.config.limits.waiting_calls as usize;
                        WaitsWithoutBound => true
                    ) =>
                {
                    waiting.push_back((id, call));
                }
                LedgerRequest::Status | LedgerRequest::Append(_) => self.effects.push(LedgerEffect::Drop(id)),
            },
        }
    }

    fn on_lease_fired(&mut self) {
        self.ledger.live = mutant!(false; LeaseNeverEnds => self.ledger.live);
    }

    fn on_persisted(&mut self) {
        match core::mem::replace(&mut self.ledger.state, State::Ready) {
            State::Persisting { id, asker, batch, waiting } => {
                self.ledger.durable = self.ledger.durable.after(&batch);
                if batch.claimant().is_some() {
                    self.ledger.contested = false;
                }
                self.renew();
                let verdict = self.ledger.appended(batch.end());
                self.effects.push(self.ledger.settle(id, asker, &batch, verdict));
                for (id, call) in waiting {
                    self.on_call(id, call);
                }
            }
            other @ (State::Ready | State::Failed) => self.ledger.state = other,
        }
    }

    fn answer(&mut self, id: CallId, call: LedgerCall) {
        let status = mutant!(self.ledger.durable.status; UnsyncedReads => self.ledger.written().status);
        let LedgerCall { caller, heard, request, .. } = call;
        let asker = Asker { caller, heard };
        let word = self.ledger.word(asker, status);
        match request {
            LedgerRequest::Status => {
                self.effects
                    .push(LedgerEffect::Reply { id, reply: LedgerReply { word, answer: LedgerAnswer::Status } });
            }
            LedgerRequest::Read { from, chunk } => self.effects.push(LedgerEffect::Read { id, word, from, chunk }),
            LedgerRequest::Append(batch) => self.on_append(id, asker, batch),
        }
    }

    // DESIGN R2: the checks, in this order.
    fn on_append(&mut self, id: CallId, asker: Asker, batch: Batch) {
        let verdict = if self.ledger.is_last(&batch) {
            self.renew();
            Some(self.ledger.appended(batch.end()))
        } else if self.ledger.is_fenced(asker.caller, &batch) {
            Some(mutant!(Verdict::Fenced; ConflictBeforeFenced => self.ledger.place_before_epoch(&batch)))
        } else if self.ledger.is_out_of_place(&batch) {
            Some(mutant!(Verdict::Conflict; LeaseBeforeConflict => self.ledger.lease_before_place(&batch)))
        } else if batch.claimant().is_some_and(|claimant| self.ledger.is_leased_against(claimant)) {
            self.ledger.contested = true;
            Some(Verdict::LeaseActive)
        } else if batch.records.is_empty() {
            self.renew();
            Some(self.ledger.appended(batch.position))
        } else {
            None
        };
        match verdict {
            Some(verdict) => self.effects.push(self.ledger.settle(id, asker, &batch, verdict)),
            None => {
                let kept = mutant!(batch; NoFence | PositionUnchecked => self.ledger.at_head(batch));
                self.effects.push(LedgerEffect::Persist(kept.clone()));
                mutant!(
                    ClaimNotDurable | AcknowledgedBeforeDurable =>
                        self.effects.extend(self.ledger.answer_early(id, asker, &kept))
                );
                self.ledger.state = State::Persisting { id, asker, batch: kept, waiting: VecDeque::new() };
            }
        }
    }

    fn renew(&mut self) {
        self.ledger.live = self.ledger.durable.status.term.is_some_and(|term| !term.ended);
        if self.ledger.live {
            self.effects.push(LedgerEffect::ArmLease(self.ledger.config.lease));
        }
    }
}

#[cfg(feature = "mutants")]
mod mutants;

#[cfg(test)]
mod tests;
