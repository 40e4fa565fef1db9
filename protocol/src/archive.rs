//! A complete ledger in memory: the machine, its store, and the driver between them, one step at a time.
//!
//! Everything that drives the ledger without a disk uses this: the models, and the random schedules. Writing a batch,
//! making it durable, answering for it, and answering a read are separate steps, and it may crash between any two of
//! them.

use alloc::{collections::BTreeMap, vec::Vec};
use core::time::Duration;

use serde::{Deserialize, Serialize};

use crate::{
    id::Position,
    ledger::{
        CallId, Ledger, LedgerCall, LedgerConfig, LedgerEffect, LedgerFault, LedgerInput, LedgerReply, LedgerRequest,
        LedgerStatus, Word,
        replica::{ReplicaFault, Sign},
    },
    record::Batch,
    snapshot::ChunkId,
    store::MemoryStore,
    store::Store,
};

/// A ledger and its store.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Archive {
    config: LedgerConfig,
    /// The machine; `None` while it is down.
    machine: Option<Ledger>,
    store: MemoryStore,
    write: Option<Write>,
    reads: Vec<Read>,
    /// The calls that are not answered yet.
    calls: BTreeMap<CallId, LedgerCall>,
}

/// How far a write has progressed.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
enum Write {
    /// The machine has asked for it.
    Asked(Batch),
    /// The batch is in the store, but not durable.
    Written,
    /// The batch is durable, but the machine does not know yet.
    Durable,
}

/// A read that the store has not answered yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Read {
    /// What the reply says in any case; its status is what the answer is drawn from.
    pub word: Word,
    /// The first position wanted.
    pub from: Position,
    /// The chunk of a snapshot to continue with; `None` to begin.
    pub chunk: Option<ChunkId>,
}

/// Something a ledger does that others can notice.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Deed {
    /// It answers a call.
    Reply {
        /// The call that it answers.
        id: CallId,
        /// The reply.
        reply: LedgerReply,
        /// The batch that the answer to an append identifies by its digest.
        batch: Option<Batch>,
    },
    /// Its lease starts afresh.
    ArmLease(Duration),
    /// It has no room for a call, or its store has none for an append, and does not answer it.
    Drop {
        /// The call's id.
        id: CallId,
        /// The call.
        call: LedgerCall,
    },
    /// It does not believe what a call shows, and does not answer it.
    Refuse {
        /// The call's id.
        id: CallId,
        /// The call.
        call: LedgerCall,
    },
    /// It has stopped for good and no longer answers anything: a caller has seen more than it holds.
    Fail(LedgerFault),
    /// It is one of several, and gives the others a sign.
    Give(Sign),
    /// It is one of several, and has stopped for good because of what the store holds.
    Stop(ReplicaFault),
}

impl Archive {
    /// A ledger that is down, on top of a store.
    #[must_use]
    pub fn new(config: LedgerConfig, store: MemoryStore) -> Archive {
        Archive { config, machine: None, store, write: None, reads: Vec::new(), calls: BTreeMap::new() }
    }

    /// Starts it, or starts it again, from what is durable.
    pub fn start(&mut self) -> Vec<Deed> {
        let (machine, effects) = Ledger::recover(self.config, self.store.tail());
        self.machine = Some(machine);
        self.carry_out(effects)
    }

    /// Stops it: everything that was not durable is lost, except the first `kept` of the batches that were written.
    pub fn crash(&mut self, kept: usize) {
        self.store.crash(kept);
        self.machine = None;
        self.write = None;
        self.reads.clear();
        self.calls.clear();
    }

    /// Puts an old image back while it is down: only the first `batches` of its batches remain.
    pub fn put_back(&mut self, batches: usize) {
        self.store.put_back(batches);
    }

    /// The machine; `None` while it is down.
    #[must_use]
    pub fn machine(&self) -> Option<&Ledger> {
        self.machine.as_ref()
    }

    /// The store, whether the machine is up or down.
    #[must_use]
    pub fn store(&self) -> &MemoryStore {
        &self.store
    }

    /// The state of the fence as the machine knows it; while it is down, the durable one.
    #[must_use]
    pub fn status(&self) -> LedgerStatus {
        self.machine.as_ref().map_or_else(|| self.store.durable_status(), Ledger::status)
    }

    /// Whether a claim would meet `LeaseActive`.
    #[must_use]
    pub fn is_lease_active(&self) -> bool {
        self.machine.as_ref().is_some_and(Ledger::is_lease_active)
    }

    /// Whether a batch is being written, from the machine's request to its answer.
    #[must_use]
    pub fn is_writing(&self) -> bool {
        self.write.is_some()
    }

    /// Whether a batch has been asked for but not written.
    #[must_use]
    pub fn is_asked_to_write(&self) -> bool {
        matches!(self.write, Some(Write::Asked(_)))
    }

    /// Whether a batch is written but not durable.
    #[must_use]
    pub fn is_unsynced(&self) -> bool {
        self.write == Some(Write::Written)
    }

    /// Whether a batch is durable but not answered for.
    #[must_use]
    pub fn is_unanswered(&self) -> bool {
        self.write == Some(Write::Durable)
    }

    /// The reads that wait for the store.
    #[must_use]
    pub fn reads(&self) -> &[Read] {
        &self.reads
    }

    /// How many calls wait in the machine.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.machine.as_ref().map_or(0, Ledger::waiting)
    }

    /// Takes a call. While the ledger is down, the call is lost.
    pub fn take(&mut self, call: LedgerCall) -> Vec<Deed> {
        let Some(machine) = &mut self.machine else { return Vec::new() };
        // The smallest free one, so that the id does not reveal how many calls there were before.
        let is_free = |id: &CallId| !self.calls.contains_key(id);
        let id = (0..).map(CallId).find(is_free).unwrap_or_default();
        self.calls.insert(id, call.clone());
        let effects = machine.step(LedgerInput::Call { id, call });
        if machine.has_failed() {
            // It no longer answers anything.
            self.calls.clear();
        }
        self.carry_out(effects)
    }

    /// Writes the batch that the machine asked for into the store.
    pub fn write(&mut self) {
        if let Some(Write::Asked(batch)) = &self.write {
            let Ok(()) = self.store.append(batch);
            self.write = Some(Write::Written);
        }
    }

    /// Makes what was written durable; returns the batch, if there was one.
    pub fn sync(&mut self) -> Option<&Batch> {
        if self.write != Some(Write::Written) {
            return None;
        }
        let Ok(()) = self.store.sync();
        self.write = Some(Write::Durable);
        self.store.durable().last()
    }

    /// Tells the machine that its batch is durable, and returns its answers.
    pub fn answer(&mut self) -> Vec<Deed> {
        if self.write != Some(Write::Durable) {
            return Vec::new();
        }
        self.write = None;
        let effects = self.machine.as_mut().map(|machine| machine.step(LedgerInput::Persisted));
        self.carry_out(effects.unwrap_or_default())
    }

    /// Lets the store answer one of the [`reads`](Archive::reads).
    pub fn answer_read(&mut self, nth: usize) -> Option<LedgerReply> {
        if nth >= self.reads.len() {
            return None;
        }
        let Read { word, from, chunk } = self.reads.remove(nth);
        let Ok(answer) = self.store.read(from, chunk, word.status.head);
        Some(LedgerReply { word, answer })
    }

    /// The lease runs out.
    pub fn end_lease(&mut self) {
        if let Some(machine) = &mut self.machine {
            machine.step(LedgerInput::LeaseFired);
        }
    }

    /// Takes a snapshot of the books at the durable head.
    pub fn take_snapshot(&mut self) {
        self.store.take_snapshot();
    }

    fn carry_out(&mut self, effects: Vec<LedgerEffect>) -> Vec<Deed> {
        let mut deeds = Vec::new();
        for effect in effects {
            match effect {
                LedgerEffect::Persist(batch) => self.write = Some(Write::Asked(batch)),
                LedgerEffect::Reply { id, reply } => {
                    let batch = self.calls.remove(&id).and_then(|call| match call.request {
                        LedgerRequest::Append(batch) => Some(batch),
                        LedgerRequest::Status | LedgerRequest::Read { .. } => None,
                    });
                    deeds.push(Deed::Reply { id, reply, batch });
                }
                LedgerEffect::Read { id, word, from, chunk } => {
                    self.calls.remove(&id);
                    self.reads.push(Read { word, from, chunk });
                }
                LedgerEffect::ArmLease(wait) => deeds.push(Deed::ArmLease(wait)),
                LedgerEffect::Drop(id) => deeds.extend(self.calls.remove(&id).map(|call| Deed::Drop { id, call })),
                LedgerEffect::Refuse(id) => deeds.extend(self.calls.remove(&id).map(|call| Deed::Refuse { id, call })),
                LedgerEffect::Fail(fault) => deeds.push(Deed::Fail(fault)),
            }
        }
        deeds
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        config::Limits,
        id::Epoch,
        ledger::{HighWaterMark, LedgerAnswer, Secret, Verdict},
        testing::{TIMEOUTS, batch, claim, life},
    };

    fn archive() -> Archive {
        let limits = Limits { waiting_calls: 1, ..Limits::DEFAULT };
        let mut archive = Archive::new(
            LedgerConfig { lease: TIMEOUTS.lease, limits, secret: Secret::default() },
            MemoryStore::new(limits),
        );
        assert_eq!(archive.start(), []);
        archive
    }

    fn call(request: LedgerRequest) -> LedgerCall {
        LedgerCall { caller: life(1, 1), seen: HighWaterMark::default(), heard: Epoch(0), request }
    }

    fn claims() -> LedgerCall {
        call(LedgerRequest::Append(batch(1, 0, [claim(1, 1, 1)])))
    }

    fn verdicts(deeds: &[Deed]) -> usize {
        let is_appended = |deed: &&Deed| {
            matches!(
                deed,
                Deed::Reply {
                    reply: LedgerReply { answer: LedgerAnswer::Append { verdict: Verdict::Appended { .. }, .. }, .. },
                    batch: Some(_),
                    ..
                }
            )
        };
        deeds.iter().filter(is_appended).count()
    }

    #[test]
    fn write_sync_and_answer_are_three_steps() {
        let mut archive = archive();
        assert_eq!(archive.take(claims()), []);
        assert!(archive.is_asked_to_write() && archive.sync().is_none() && archive.answer().is_empty());
        archive.write();
        assert!(archive.is_unsynced() && archive.answer().is_empty());
        assert_eq!(archive.sync().map(Batch::end), Some(Position(1)));
        assert_eq!((archive.is_unanswered(), archive.status().head), (true, Position(0)));
        assert_eq!(verdicts(&archive.answer()), 1);
        assert!(!archive.is_writing());
    }

    #[test]
    fn a_crash_keeps_what_is_durable_and_what_it_is_told_to() {
        for (kept, head) in [(0, 0), (1, 1)] {
            let mut archive = archive();
            archive.take(claims());
            archive.write();
            archive.crash(kept);
            assert!(archive.machine().is_none() && archive.take(claims()).is_empty());
            archive.start();
            assert_eq!(archive.status().head, Position(head));
        }
    }

    #[test]
    fn calls_wait_while_it_writes_and_are_dropped_beyond_its_room() {
        let mut archive = archive();
        archive.take(claims());
        let status = call(LedgerRequest::Status);
        assert_eq!((archive.take(claims()), archive.waiting()), (Vec::new(), 1));
        assert_eq!(archive.take(status.clone()), [Deed::Drop { id: CallId(2), call: status }]);
        archive.write();
        archive.sync();
        assert_eq!(verdicts(&archive.answer()), 2, "the claim, and the same one again");
        assert_eq!(archive.waiting(), 0);
    }

    #[test]
    fn an_append_is_answered_with_its_batch_whatever_else_waits() {
        let limits = Limits { waiting_calls: 2, ..Limits::DEFAULT };
        let mut archive = Archive::new(
            LedgerConfig { lease: TIMEOUTS.lease, limits, secret: Secret::default() },
            MemoryStore::new(limits),
        );
        archive.start();
        for call in [claims(), call(LedgerRequest::Status), claims()] {
            assert_eq!(archive.take(call), []);
        }
        archive.write();
        archive.sync();
        assert_eq!(verdicts(&archive.answer()), 2);
    }

    #[test]
    fn a_read_is_answered_from_what_was_durable_when_it_came() {
        let mut archive = archive();
        archive.take(call(LedgerRequest::Read { from: Position(0), chunk: None }));
        archive.take(claims());
        archive.write();
        archive.sync();
        archive.answer();
        let reply = archive.answer_read(0).unwrap();
        assert_eq!(reply.word.status.head, Position(0));
        assert_eq!(reply.answer, LedgerAnswer::Records { from: Position(0), records: Vec::new() });
        assert_eq!(archive.answer_read(0), None);
    }

    #[test]
    fn an_old_image_holds_less_and_a_peer_that_has_seen_more_stops_it() {
        let mut archive = archive();
        archive.take(claims());
        archive.write();
        archive.sync();
        archive.answer();
        archive.crash(0);
        archive.put_back(0);
        archive.start();
        let seen = HighWaterMark::sealed(Epoch(1), Position(1), Secret::default());
        let deeds = archive.take(LedgerCall { seen, ..claims() });
        assert!(matches!(deeds[..], [Deed::Fail(_)]), "{deeds:?}");
        assert_eq!(archive.take(claims()), [], "it answers nothing");
    }
}
