//! A ledger as a whole in memory: the machine, its store, and between them what a driver does, one step at a time.
//!
//! Every world without a disk drives the ledger through this: the models, and the random schedules. Writing a batch,
//! making it durable, answering for it, and answering a read are steps of their own, and it may crash between any two
//! of them.

use alloc::{collections::BTreeMap, vec::Vec};
use core::time::Duration;

use serde::{Deserialize, Serialize};

use crate::{
    id::{Life, Position},
    ledger::{
        CallId, Ledger, LedgerCall, LedgerConfig, LedgerEffect, LedgerFault, LedgerInput, LedgerReply, LedgerRequest,
        LedgerStatus,
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
    /// Nothing while it is down.
    machine: Option<Ledger>,
    store: MemoryStore,
    write: Option<Write>,
    reads: Vec<Read>,
    /// The calls that are not answered yet.
    calls: BTreeMap<CallId, LedgerCall>,
}

/// How far a write has come.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
enum Write {
    /// The machine has asked for it.
    Asked(Batch),
    /// It is in the store.
    Written,
    /// It is durable, and the machine does not know yet.
    Durable,
}

/// A read that the store has not answered yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Read {
    /// Who asked.
    pub to: Life,
    /// The durable state that the answer is drawn from.
    pub status: LedgerStatus,
    /// The first position wanted.
    pub from: Position,
    /// The chunk of which snapshot to go on with.
    pub chunk: Option<ChunkId>,
}

/// What a ledger does that somebody else notices.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Deed {
    /// It answers.
    Reply {
        /// The answer.
        reply: LedgerReply,
        /// The batch that the answer to an append names by its digest.
        batch: Option<Batch>,
    },
    /// Its lease starts afresh.
    ArmLease(Duration),
    /// It has no room for a call, which it does not answer.
    Drop(LedgerCall),
    /// It answers nothing any more.
    Fail(LedgerFault),
}

impl Archive {
    /// A ledger that is down, over a store.
    #[must_use]
    pub fn new(config: LedgerConfig, store: MemoryStore) -> Archive {
        Archive { config, machine: None, store, write: None, reads: Vec::new(), calls: BTreeMap::new() }
    }

    /// It starts, or starts again, from what is durable.
    pub fn start(&mut self) -> Vec<Deed> {
        let (machine, effects) = Ledger::recover(self.config, self.store.tail());
        self.machine = Some(machine);
        self.carry_out(effects)
    }

    /// It stops, with all that was not durable; of the batches that were written the first `kept` survive.
    pub fn crash(&mut self, kept: usize) {
        self.store.crash(kept);
        self.machine = None;
        self.write = None;
        self.reads.clear();
        self.calls.clear();
    }

    /// Somebody puts an old image of it back, with the first `batches` of its batches, while it is down.
    pub fn put_back(&mut self, batches: usize) {
        self.store.put_back(batches);
    }

    /// The machine, while it is up.
    #[must_use]
    pub fn machine(&self) -> Option<&Ledger> {
        self.machine.as_ref()
    }

    /// The store.
    #[must_use]
    pub fn store(&self) -> &MemoryStore {
        &self.store
    }

    /// What it knows of the fence; what is durable, while it is down.
    #[must_use]
    pub fn status(&self) -> LedgerStatus {
        self.machine.as_ref().map_or_else(|| self.store.durable_status(), Ledger::status)
    }

    /// Whether a claim would meet `LeaseActive`.
    #[must_use]
    pub fn is_lease_active(&self) -> bool {
        self.machine.as_ref().is_some_and(Ledger::is_lease_active)
    }

    /// Whether a batch is under way, from the machine's asking to its answer.
    #[must_use]
    pub fn is_writing(&self) -> bool {
        self.write.is_some()
    }

    /// Whether a batch has been asked for and is not written.
    #[must_use]
    pub fn is_asked_to_write(&self) -> bool {
        matches!(self.write, Some(Write::Asked(_)))
    }

    /// Whether a batch is written and not durable.
    #[must_use]
    pub fn is_unsynced(&self) -> bool {
        self.write == Some(Write::Written)
    }

    /// Whether a batch is durable and not answered for.
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

    /// A call comes. While it is down nothing becomes of it.
    pub fn take(&mut self, call: LedgerCall) -> Vec<Deed> {
        let Some(machine) = &mut self.machine else { return Vec::new() };
        // The smallest that is free, so that it does not tell how many there were before.
        let is_free = |id: &CallId| !self.calls.contains_key(id);
        let id = (0..).map(CallId).find(is_free).unwrap_or_default();
        self.calls.insert(id, call.clone());
        let effects = machine.step(LedgerInput::Call { id, call });
        if machine.has_failed() {
            // It answers nothing any more.
            self.calls.clear();
        }
        self.carry_out(effects)
    }

    /// What the machine wants written is in the store.
    pub fn write(&mut self) {
        if let Some(Write::Asked(batch)) = &self.write {
            let Ok(()) = self.store.append(batch);
            self.write = Some(Write::Written);
        }
    }

    /// It is durable: the batch, if there was any.
    pub fn sync(&mut self) -> Option<&Batch> {
        if self.write != Some(Write::Written) {
            return None;
        }
        let Ok(()) = self.store.sync();
        self.write = Some(Write::Durable);
        self.store.durable().last()
    }

    /// The machine learns that it is, and answers.
    pub fn answer(&mut self) -> Vec<Deed> {
        if self.write != Some(Write::Durable) {
            return Vec::new();
        }
        self.write = None;
        let effects = self.machine.as_mut().map(|machine| machine.step(LedgerInput::Persisted));
        self.carry_out(effects.unwrap_or_default())
    }

    /// The store answers one of the [`reads`](Archive::reads).
    pub fn answer_read(&mut self, nth: usize) -> Option<LedgerReply> {
        if nth >= self.reads.len() {
            return None;
        }
        let Read { to, status, from, chunk } = self.reads.remove(nth);
        let Ok(answer) = self.store.read(from, chunk, status.head);
        Some(LedgerReply { to, status, answer })
    }

    /// The lease runs out.
    pub fn end_lease(&mut self) {
        if let Some(machine) = &mut self.machine {
            machine.step(LedgerInput::LeaseFired);
        }
    }

    /// The store keeps a snapshot of the books as they stand at the durable head.
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
                    deeds.push(Deed::Reply { reply, batch });
                }
                LedgerEffect::Read { id, to, status, from, chunk } => {
                    self.calls.remove(&id);
                    self.reads.push(Read { to, status, from, chunk });
                }
                LedgerEffect::ArmLease(wait) => deeds.push(Deed::ArmLease(wait)),
                LedgerEffect::Drop(id) => deeds.extend(self.calls.remove(&id).map(Deed::Drop)),
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
        ledger::{HighWaterMark, LedgerAnswer, Verdict},
        testing::{TIMEOUTS, batch, claim, life},
    };

    fn archive() -> Archive {
        let limits = Limits { waiting_calls: 1, ..Limits::DEFAULT };
        let mut archive = Archive::new(LedgerConfig { lease: TIMEOUTS.lease, limits }, MemoryStore::new(limits));
        assert_eq!(archive.start(), []);
        archive
    }

    fn call(request: LedgerRequest) -> LedgerCall {
        LedgerCall { caller: life(1, 1), seen: HighWaterMark::default(), request }
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
                    batch: Some(_)
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
        assert_eq!(archive.take(status.clone()), [Deed::Drop(status)]);
        archive.write();
        archive.sync();
        assert_eq!(verdicts(&archive.answer()), 2, "the claim, and the same one again");
        assert_eq!(archive.waiting(), 0);
    }

    #[test]
    fn whatever_waits_beside_it_an_append_is_answered_with_its_batch() {
        let limits = Limits { waiting_calls: 2, ..Limits::DEFAULT };
        let mut archive = Archive::new(LedgerConfig { lease: TIMEOUTS.lease, limits }, MemoryStore::new(limits));
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
        assert_eq!(reply.status.head, Position(0));
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
        let seen = HighWaterMark { epoch: crate::id::Epoch(1), head: Position(1) };
        let deeds = archive.take(LedgerCall { seen, ..claims() });
        assert!(matches!(deeds[..], [Deed::Fail(_)]), "{deeds:?}");
        assert_eq!(archive.take(claims()), [], "nothing any more");
    }
}
