//! Several ledger processes over one replicated store, in memory, one step at a time (SPEC J3): what
//! [`archive`](crate::archive) is for a ledger that has its store to itself.
//!
//! A transaction and a look take three steps: a process asks, it happens at the store, and the process hears of it. It
//! may never hear; a transaction that it did not hear of may happen later, or never. A process may crash between any two
//! steps, lose sight of what the others do, and see late what they did.

use alloc::{
    collections::{BTreeMap, BTreeSet},
    vec::Vec,
};

use serde::{Deserialize, Serialize};

use crate::{
    archive::{Deed, Read},
    books::Books,
    id::Position,
    ledger::{
        CallId, LedgerAnswer, LedgerCall, LedgerConfig, LedgerReply, LedgerRequest, LedgerStatus, Tail,
        compaction::{Compaction, CompactionEffect, CompactionInput},
        replica::{Found, Outcome, Replica, ReplicaEffect, ReplicaFault, ReplicaInput, Sign},
    },
    record::Batch,
    snapshot::ChunkId,
    store::{MemoryStore, Store},
};

/// Several ledger processes and their store.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Cluster {
    config: LedgerConfig,
    store: MemoryStore,
    /// Whether the store holds the run; otherwise it was wiped, and holds nothing.
    is_of_run: bool,
    processes: Vec<Process>,
    /// The transactions whose outcome nobody waits for any more, and that may still be carried out.
    strays: Vec<Transaction>,
    shelf: Shelf,
}

/// What a store has in place of records that were removed. The records are still in memory here.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Shelf {
    /// The position of the snapshot in force; 0: there is none.
    pub base: Position,
    /// Where there are snapshots, whole.
    pub snapshots: BTreeSet<Position>,
    /// The records below this are removed.
    pub first: Position,
}

/// A ledger process.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Process {
    /// The machine; `None` while it is down.
    machine: Option<Replica>,
    asked: Option<Asked>,
    reads: Vec<(CallId, Read)>,
    /// The calls that are not answered yet.
    calls: BTreeMap<CallId, LedgerCall>,
    /// Whether it sees what happens at the store.
    watches: bool,
    /// What it has not seen yet: signs, and where others have appended.
    signs: BTreeSet<Sign>,
    appended: Option<Tail>,
    /// What it does about the size of the store, and what of that is to be done next.
    compaction: Compaction,
    tidying: Option<CompactionEffect>,
}

/// What a process has asked the store for.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
enum Asked {
    Look,
    Append(Transaction),
    /// It has happened, and the process has not heard yet.
    Done(ReplicaInput),
}

/// An append under way to the store.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Transaction {
    /// Where the log must end, for the batch to be written.
    pub onto: Tail,
    /// The batch.
    pub batch: Batch,
}

impl Cluster {
    /// So many processes, all of them down, over a store.
    #[must_use]
    pub fn new(config: LedgerConfig, store: MemoryStore, processes: usize) -> Cluster {
        let processes = (0..processes).map(|_| Process::default()).collect();
        Cluster { config, store, is_of_run: true, processes, strays: Vec::new(), shelf: Shelf::default() }
    }

    /// The processes, up or down.
    #[must_use]
    pub fn processes(&self) -> &[Process] {
        &self.processes
    }

    /// The store.
    #[must_use]
    pub fn store(&self) -> &MemoryStore {
        &self.store
    }

    /// What the store has in place of records that were removed.
    #[must_use]
    pub fn shelf(&self) -> &Shelf {
        &self.shelf
    }

    /// The state of the fence at the store.
    #[must_use]
    pub fn status(&self) -> LedgerStatus {
        self.store.durable_status()
    }

    /// The transactions whose outcome nobody waits for any more.
    #[must_use]
    pub fn strays(&self) -> &[Transaction] {
        &self.strays
    }

    /// Starts a process that is down. It sees what happens at the store from then on.
    pub fn start(&mut self, at: usize) -> Vec<Deed> {
        let Some(process) = self.processes.get_mut(at) else { return Vec::new() };
        let (machine, effects) = Replica::start(self.config);
        *process = Process { machine: Some(machine), watches: true, ..Process::default() };
        let mut deeds = self.carry_out(at, effects);
        deeds.extend(self.step(at, ReplicaInput::WatchBegun));
        deeds
    }

    /// Stops a process. A transaction of its own that has not happened may still do so.
    pub fn crash(&mut self, at: usize) {
        let Some(process) = self.processes.get_mut(at) else { return };
        if let Some(Asked::Append(transaction)) = core::mem::take(process).asked {
            self.lose_sight_of(transaction);
        }
    }

    /// The store loses everything, and whose it is.
    pub fn wipe(&mut self) {
        self.store = MemoryStore::new(self.config.limits);
        self.is_of_run = false;
        self.shelf = Shelf::default();
    }

    /// Whether the store was wiped.
    #[must_use]
    pub fn is_wiped(&self) -> bool {
        !self.is_of_run
    }

    /// Puts an old image of the store back, from before its first snapshot: only the first `batches` of its batches remain.
    pub fn put_back(&mut self, batches: usize) {
        self.store.put_back(batches);
        self.shelf = Shelf::default();
    }

    /// A process takes a call; while it is down, or has stopped for good, the call is lost. Returns the call's id there,
    /// and what it does at once.
    pub fn take(&mut self, at: usize, call: LedgerCall) -> (CallId, Vec<Deed>) {
        let answers = |process: &&mut Process| process.machine.as_ref().is_some_and(|machine| !machine.has_failed());
        let Some(process) = self.processes.get_mut(at).filter(answers) else {
            return (CallId::default(), Vec::new());
        };
        // The smallest free one, so that the id does not reveal how many calls there were before.
        let is_free = |id: &CallId| !process.calls.contains_key(id) && process.reads.iter().all(|(read, _)| read != id);
        let id = (0..).map(CallId).find(is_free).unwrap_or_default();
        process.calls.insert(id, call.clone());
        (id, self.step(at, ReplicaInput::Call { id, call }))
    }

    /// What a process has asked the store for happens there. Returns the batch that this has written, if it has.
    pub fn happen(&mut self, at: usize) -> Option<Batch> {
        let asked = self.processes.get_mut(at)?.asked.take()?;
        let (done, written) = match asked {
            Asked::Look => (ReplicaInput::Looked(self.found()), None),
            Asked::Append(transaction) => {
                let outcome = self.commit(Some(at), &transaction);
                let written = (outcome == Outcome::Written).then_some(transaction.batch);
                (ReplicaInput::Settled(outcome), written)
            }
            Asked::Done(done) => (done, None),
        };
        if let Some(process) = self.processes.get_mut(at) {
            process.asked = Some(Asked::Done(done));
        }
        written
    }

    /// The store says that it is full when a process asks for an append, which it may have carried out nevertheless. Returns
    /// the batch if it has.
    pub fn decline(&mut self, at: usize, carried_out: bool) -> Option<Batch> {
        let process = self.processes.get_mut(at)?;
        let transaction = process.transaction()?.clone();
        let outcome = carried_out.then(|| self.commit(Some(at), &transaction));
        let written = (outcome == Some(Outcome::Written)).then_some(transaction.batch);
        // What a look finds that begins then.
        let declined = ReplicaInput::Settled(Outcome::Declined(self.found()));
        if let Some(process) = self.processes.get_mut(at) {
            process.asked = Some(Asked::Done(declined));
        }
        written
    }

    /// A transaction that nobody waits for happens after all. Returns the batch if it was written.
    pub fn stray(&mut self, nth: usize) -> Option<Batch> {
        if nth >= self.strays.len() {
            return None;
        }
        let transaction = self.strays.remove(nth);
        (self.commit(None, &transaction) == Outcome::Written).then_some(transaction.batch)
    }

    /// A process hears what has become of what it asked the store for.
    pub fn hear(&mut self, at: usize) -> Vec<Deed> {
        let Some(process) = self.processes.get_mut(at) else { return Vec::new() };
        match process.asked.take() {
            Some(Asked::Done(input)) => self.step(at, input),
            other => {
                process.asked = other;
                Vec::new()
            }
        }
    }

    /// A process is told that nobody can say what has become of its transaction. If that has not happened, it still may.
    pub fn lose(&mut self, at: usize) -> Vec<Deed> {
        let Some(process) = self.processes.get_mut(at) else { return Vec::new() };
        match process.asked.take() {
            Some(Asked::Append(transaction)) => self.lose_sight_of(transaction),
            Some(Asked::Done(ReplicaInput::Settled(_))) => {}
            other => {
                process.asked = other;
                return Vec::new();
            }
        }
        self.step(at, ReplicaInput::Settled(Outcome::Unknown))
    }

    /// A process sees a sign that it was given.
    pub fn see(&mut self, at: usize, sign: Sign) -> Vec<Deed> {
        let is_new = self.processes.get_mut(at).is_some_and(|process| process.signs.remove(&sign));
        if is_new { self.step(at, ReplicaInput::Sign(sign)) } else { Vec::new() }
    }

    /// A process sees where another has appended.
    pub fn see_append(&mut self, at: usize) -> Vec<Deed> {
        let tail = self.processes.get_mut(at).and_then(|process| process.appended.take());
        tail.map(|tail| self.step(at, ReplicaInput::Appended(tail))).unwrap_or_default()
    }

    /// Nobody sees what it has not seen yet.
    pub fn lose_signs(&mut self) {
        for process in &mut self.processes {
            process.signs.clear();
            process.appended = None;
        }
    }

    /// A process no longer sees what happens at the store, or does again.
    pub fn watch(&mut self, at: usize, watches: bool) -> Vec<Deed> {
        let Some(process) = self.processes.get_mut(at) else { return Vec::new() };
        process.watches = watches;
        process.signs.clear();
        process.appended = None;
        self.step(at, if watches { ReplicaInput::WatchBegun } else { ReplicaInput::WatchLost })
    }

    /// The store answers one of the [`reads`](Process::reads) of a process, if it still holds what is asked for.
    pub fn answer_read(&mut self, at: usize, nth: usize) -> Option<(CallId, LedgerReply)> {
        let process = self.processes.get_mut(at).filter(|process| nth < process.reads.len())?;
        let (id, Read { word, from, chunk }) = process.reads.remove(nth);
        let upto = word.status.head;
        let is_there = self.is_of_run && self.store.tail().status.head >= upto;
        let answer = is_there.then(|| self.read(from, chunk, upto)).flatten();
        answer.map(|answer| (id, LedgerReply { word, answer }))
    }

    fn read(&self, from: Position, chunk: Option<ChunkId>, upto: Position) -> Option<LedgerAnswer> {
        let Shelf { base, first, .. } = self.shelf;
        if from < base && base <= upto {
            let books = self.snapshot(base)?;
            let (id, of, chunk) = books.chunk_for(chunk, self.config.limits.chunk_weight);
            return Some(LedgerAnswer::Chunk { id, of, chunk });
        }
        if from >= first {
            let Ok(answer) = self.store.read(from, None, upto);
            return Some(answer);
        }
        mutant!(None; GapInRead => self.read_from_the_first(upto))
    }

    /// The snapshot at this position, if it was written. The records that it was made of are still in memory.
    fn snapshot(&self, at: Position) -> Option<Books> {
        let mut books = Books::keeping(self.config.limits.sales_kept);
        let below = self.store.durable().iter().take_while(|batch| batch.end() <= at);
        let all_apply = below.flat_map(|batch| &batch.records).all(|record| books.apply(record).is_ok());
        (self.shelf.snapshots.contains(&at) && all_apply && books.position() == at).then_some(books)
    }

    /// A process notices how far the log reaches that it knows of, and whether the store is to be kept small.
    pub fn notice_growth(&mut self, at: usize) {
        let Some(process) = self.processes.get_mut(at) else { return };
        if let Some(machine) = process.machine.as_ref().filter(|_| process.tidying.is_none()) {
            let head = machine.known_status().head;
            process.tidying = process.compaction.step(CompactionInput::Grown(head));
        }
    }

    /// A process does the next thing about the size of the store, and hears of it.
    pub fn tidy(&mut self, at: usize) {
        let Some(effect) = self.processes.get_mut(at).and_then(|process| process.tidying.take()) else { return };
        let shelf = &mut self.shelf;
        let done = match effect {
            // It compares the run as well.
            _ if !self.is_of_run => CompactionInput::Failed,
            CompactionEffect::FindBase => CompactionInput::Found(shelf.base),
            CompactionEffect::WriteSnapshot(to) => {
                shelf.snapshots.insert(to);
                CompactionInput::Done
            }
            CompactionEffect::MoveBase { from, to } => {
                if mutant!(shelf.base == from; BaseNotCompared => true) {
                    shelf.base = to;
                    CompactionInput::Done
                } else {
                    CompactionInput::Failed
                }
            }
            CompactionEffect::ClearBelow(base) => {
                shelf.snapshots.retain(|at| *at >= base);
                shelf.first = shelf.first.max(base);
                CompactionInput::Done
            }
        };
        if let Some(process) = self.processes.get_mut(at) {
            process.tidying = process.compaction.step(done);
        }
    }

    /// The lease runs out at a process.
    pub fn end_lease(&mut self, at: usize) {
        self.step(at, ReplicaInput::LeaseFired);
    }

    /// Nobody waits for the outcome of a transaction any more. Two of the same come to the same as one: once the first has
    /// been written, the log does not end there any more.
    fn lose_sight_of(&mut self, transaction: Transaction) {
        let may_be = self.is_of_run && transaction.onto.status.head >= self.store.tail().status.head;
        if may_be && !self.strays.contains(&transaction) {
            self.strays.push(transaction);
        }
    }

    fn found(&self) -> Found {
        if mutant!(self.is_of_run; RunNotCompared => true) { Found::Tail(self.store.tail()) } else { Found::Foreign }
    }

    /// Carries a transaction out: a compare-and-set on whose the store is and on where the log ends.
    fn commit(&mut self, by: Option<usize>, transaction: &Transaction) -> Outcome {
        let (found, Transaction { onto, batch }) = (self.found(), transaction);
        let is_equal = found == Found::Tail(*onto);
        if !mutant!(is_equal; EndNotCompared => found != Found::Foreign) {
            return Outcome::Refused(found);
        }
        let Ok(()) = self.store.append(batch);
        let Ok(()) = self.store.sync();
        let tail = self.store.tail();
        // The log never ends there again, unless an old image is put back.
        self.strays.retain(|stray| stray.onto == tail);
        for (at, process) in self.processes.iter_mut().enumerate() {
            if Some(at) != by && process.watches {
                process.appended = Some(tail);
            }
        }
        Outcome::Written
    }

    fn step(&mut self, at: usize, input: ReplicaInput) -> Vec<Deed> {
        let machine = self.processes.get_mut(at).and_then(|process| process.machine.as_mut());
        let effects = machine.map(|machine| machine.step(input)).unwrap_or_default();
        self.carry_out(at, effects)
    }

    fn carry_out(&mut self, at: usize, effects: Vec<ReplicaEffect>) -> Vec<Deed> {
        let mut deeds = Vec::new();
        for effect in effects {
            if let ReplicaEffect::Give(sign) = effect {
                for (nth, other) in self.processes.iter_mut().enumerate() {
                    if nth != at && other.watches {
                        other.signs.insert(sign);
                    }
                }
            }
            let Some(process) = self.processes.get_mut(at) else { continue };
            match effect {
                ReplicaEffect::Look => process.asked = Some(Asked::Look),
                ReplicaEffect::Append { onto, batch } => {
                    process.asked = Some(Asked::Append(Transaction { onto, batch }));
                }
                ReplicaEffect::Reply { id, reply } => {
                    let batch = process.calls.remove(&id).and_then(|call| match call.request {
                        LedgerRequest::Append(batch) => Some(batch),
                        LedgerRequest::Status | LedgerRequest::Read { .. } => None,
                    });
                    deeds.push(Deed::Reply { id, reply, batch });
                }
                ReplicaEffect::Read { id, word, from, chunk } => {
                    process.calls.remove(&id);
                    process.reads.push((id, Read { word, from, chunk }));
                }
                ReplicaEffect::Give(sign) => deeds.push(Deed::Give(sign)),
                ReplicaEffect::ArmLease(wait) => deeds.push(Deed::ArmLease(wait)),
                ReplicaEffect::Drop(id) => deeds.extend(process.calls.remove(&id).map(|call| Deed::Drop { id, call })),
                ReplicaEffect::Refuse(id) => {
                    deeds.extend(process.calls.remove(&id).map(|call| Deed::Refuse { id, call }))
                }
                ReplicaEffect::Fail(fault) => {
                    // It no longer answers anything.
                    process.calls.clear();
                    deeds.push(match fault {
                        ReplicaFault::Gone(fault) => Deed::Fail(fault),
                        other @ (ReplicaFault::Shrunk { .. } | ReplicaFault::Foreign | ReplicaFault::Unreadable) => {
                            Deed::Stop(other)
                        }
                    });
                }
            }
        }
        deeds
    }
}

impl Process {
    /// The machine; `None` while it is down.
    #[must_use]
    pub fn machine(&self) -> Option<&Replica> {
        self.machine.as_ref()
    }

    /// Whether it has asked the store for something that has not happened yet.
    #[must_use]
    pub fn is_asking(&self) -> bool {
        matches!(self.asked, Some(Asked::Look | Asked::Append(_)))
    }

    /// Whether it is to hear what has happened.
    #[must_use]
    pub fn is_to_hear(&self) -> bool {
        matches!(self.asked, Some(Asked::Done(_)))
    }

    /// Whether it waits for the outcome of a transaction.
    #[must_use]
    pub fn is_appending(&self) -> bool {
        matches!(self.asked, Some(Asked::Append(_) | Asked::Done(ReplicaInput::Settled(_))))
    }

    /// What has become of its transaction, when it is to hear that.
    #[must_use]
    pub fn outcome(&self) -> Option<Outcome> {
        match &self.asked {
            Some(Asked::Done(ReplicaInput::Settled(outcome))) => Some(*outcome),
            Some(Asked::Done(_) | Asked::Look | Asked::Append(_)) | None => None,
        }
    }

    /// The transaction that it has asked for, until it happens.
    #[must_use]
    pub fn transaction(&self) -> Option<&Transaction> {
        match &self.asked {
            Some(Asked::Append(transaction)) => Some(transaction),
            Some(Asked::Look | Asked::Done(_)) | None => None,
        }
    }

    /// The reads that wait for the store.
    #[must_use]
    pub fn reads(&self) -> &[(CallId, Read)] {
        &self.reads
    }

    /// The signs that it has not seen yet.
    pub fn signs(&self) -> impl Iterator<Item = Sign> {
        self.signs.iter().copied()
    }

    /// Whether others have appended, and it has not seen it yet.
    #[must_use]
    pub fn has_unseen_append(&self) -> bool {
        self.appended.is_some()
    }

    /// Whether it sees what happens at the store.
    #[must_use]
    pub fn watches(&self) -> bool {
        self.watches
    }

    /// What it is to do next about the size of the store.
    #[must_use]
    pub fn tidying(&self) -> Option<CompactionEffect> {
        self.tidying
    }
}

#[cfg(feature = "mutants")]
impl Cluster {
    /// Answers with the records that are left.
    fn read_from_the_first(&self, upto: Position) -> Option<LedgerAnswer> {
        let Ok(answer) = self.store.read(self.shelf.first, None, upto);
        Some(answer)
    }
}
