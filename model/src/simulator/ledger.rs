//! The ledger: calls and replies, and the steps in which it writes.

use bazaar_protocol::{
    archive::Deed,
    id::PeerId,
    input::Input,
    ledger::{LedgerAnswer, LedgerCall, LedgerReply},
    record::{Batch, Entry},
};

use super::{
    meter::Operation,
    network::Travel,
    world::{DISARMED, Event, Job, SILENCE, World, between},
};

/// How long it takes from a batch's being durable to its answer, and to answer a read.
const MOMENT: u64 = 20_000;

/// The two directions of a peer's connection.
#[derive(Clone, Copy, Debug)]
enum Direction {
    Calls = 0,
    Replies = 1,
}

impl World {
    // Connections.

    /// What becomes of a call or a reply that leaves now; `None`: it is lost.
    fn line_travels(&mut self, nth: usize, direction: Direction) -> Option<Travel> {
        let last = self.nodes[nth].ledger.last[direction as usize];
        let travel = self.travels(self.now + self.conditions.to_ledger, last)?;
        self.nodes[nth].ledger.last[direction as usize] = travel.last;
        Some(travel)
    }

    /// A peer calls the ledger.
    pub(super) fn call(&mut self, nth: usize, call: LedgerCall) {
        let line = self.nodes[nth].ledger;
        if !line.is_up {
            return;
        }
        let (peer, generation) = (nth as u32, line.generation);
        let Some(travel) = self.line_travels(nth, Direction::Calls) else { return };
        if let Some(again) = travel.again {
            self.events.push(again, Event::Call { peer, generation, call: call.clone() });
        }
        self.events.push(travel.at, Event::Call { peer, generation, call });
    }

    pub(super) fn receive_call(&mut self, nth: usize, generation: u32, call: LedgerCall) {
        let line = self.nodes[nth].ledger;
        if !line.is_up || line.generation != generation || line.cuts[Direction::Calls as usize] > 0 || !self.site.is_up
        {
            return;
        }
        let ready = self.site.free.max(self.now);
        self.site.free = ready + self.conditions.per_call;
        if ready > self.now {
            self.events.push(ready, Event::Take { life: self.site.life, call });
        } else {
            self.take(call);
        }
    }

    fn reply(&mut self, reply: LedgerReply) {
        if matches!(reply.answer, LedgerAnswer::Chunk { .. }) {
            self.tally.operation(Operation::Snapshot);
        }
        let peer = reply.word.to.peer.0;
        let Some(node) = self.nodes.get(peer as usize) else { return };
        let generation = node.ledger.generation;
        if !node.ledger.is_up {
            return;
        }
        let Some(travel) = self.line_travels(peer as usize, Direction::Replies) else { return };
        if let Some(again) = travel.again {
            self.events.push(again, Event::Reply { peer, generation, reply: reply.clone() });
        }
        self.events.push(travel.at, Event::Reply { peer, generation, reply });
    }

    fn is_line_blocked(&self, nth: usize) -> bool {
        let node = &self.nodes[nth];
        node.ledger.cuts != [0, 0] || node.is_paused(self.now)
    }

    /// Nothing comes through a peer's connection to the ledger, at least one way.
    pub(super) fn impede_line(&mut self, nth: usize) {
        let line = &mut self.nodes[nth].ledger;
        if !line.is_impeded {
            line.is_impeded = true;
            line.token += 1;
            self.events.push(self.now + SILENCE, Event::NoticeLedger { peer: nth as u32, token: line.token });
        }
    }

    /// Something that held it up is over.
    pub(super) fn relieve_line(&mut self, nth: usize) {
        if self.is_line_blocked(nth) {
            return;
        }
        let line = &mut self.nodes[nth].ledger;
        line.is_impeded = false;
        line.token += 1;
        if !line.is_up {
            self.call_again(nth);
        }
    }

    fn call_again(&mut self, nth: usize) {
        let wait = 25_000_000 + self.streams.connections.below(225_000_000);
        self.events.push(self.now + wait, Event::ReconnectLedger { peer: nth as u32 });
    }

    pub(super) fn notice_ledger(&mut self, nth: usize, token: u32) {
        if self.nodes[nth].ledger.token == token && self.is_line_blocked(nth) {
            self.close_line(nth);
        }
    }

    /// The connection goes down; what was under way is lost, and the peer learns it.
    pub(super) fn close_line(&mut self, nth: usize) {
        let line = &mut self.nodes[nth].ledger;
        if !line.is_up {
            return;
        }
        line.is_up = false;
        line.generation += 1;
        self.offer(nth, Job::Input(Input::LedgerDown));
    }

    pub(super) fn reconnect_ledger(&mut self, nth: usize) {
        let node = &self.nodes[nth];
        if node.ledger.is_up || node.peer.is_none() || !self.site.is_up || self.is_line_blocked(nth) {
            return;
        }
        let line = &mut self.nodes[nth].ledger;
        line.is_up = true;
        line.generation += 1;
        self.offer(nth, Job::Input(Input::LedgerUp));
    }

    // The machine and its store.

    pub(super) fn start_ledger(&mut self) {
        if self.site.is_up {
            return;
        }
        if self.site.life > 0 {
            self.tally.operation(Operation::LedgerRestart);
        }
        self.site.is_up = true;
        self.site.free = self.now;
        let deeds = self.site.archive.start();
        self.observer.on_ledger_start();
        self.on_deeds(deeds);
        for nth in 0..self.nodes.len() {
            self.call_again(nth);
        }
    }

    /// What is left of the ledger is what is durable, and the unsynced batch if it is kept.
    pub(super) fn crash_ledger(&mut self, keeps: bool) {
        if !self.site.is_up {
            return;
        }
        let before = self.site.archive.store().durable().len();
        self.site.archive.crash(usize::from(keeps));
        self.site.is_up = false;
        self.site.life += 1;
        self.site.lease = DISARMED;
        let kept: Vec<Batch> = self.site.archive.store().durable()[before..].to_vec();
        for batch in kept {
            self.on_durable(&batch);
        }
        for nth in 0..self.nodes.len() {
            self.close_line(nth);
        }
    }

    pub(super) fn take(&mut self, call: LedgerCall) {
        self.tally.steps += 1;
        self.running.take(&(self.now, &call));
        if let Some(story) = &mut self.story {
            story.call(self.now, &call);
        }
        let archive = &mut self.site.archive;
        let (was_writing, reads) = (archive.is_writing(), archive.reads().len());
        let deeds = archive.take(call.clone());
        if archive.reads().len() > reads {
            self.events.push(self.now + MOMENT, Event::LedgerRead { life: self.site.life });
        }
        let observer = &mut self.observer;
        let found = archive.machine().map_or(Ok(()), |machine| observer.on_call(&call, was_writing, machine, &deeds));
        self.check(found);
        if !was_writing {
            self.write_soon();
        }
        self.on_deeds(deeds);
    }

    fn write_soon(&mut self) {
        if self.site.archive.is_asked_to_write() {
            let at = self.now + self.conditions.write;
            self.events.push(at, Event::LedgerWrite { life: self.site.life });
        }
    }

    pub(super) fn ledger_write(&mut self, life: u32) {
        if self.site.life == life {
            self.site.archive.write();
            let at = self.now + between(&mut self.streams.disks, self.conditions.sync) + self.stall();
            self.events.push(at, Event::LedgerSync { life });
        }
    }

    pub(super) fn ledger_sync(&mut self, life: u32) {
        if self.site.life != life {
            return;
        }
        if let Some(batch) = self.site.archive.sync().cloned() {
            self.on_durable(&batch);
            self.events.push(self.now + MOMENT, Event::LedgerAnswer { life });
        }
    }

    fn on_durable(&mut self, batch: &Batch) {
        self.tally.steps += 1;
        self.running.take(&(self.now, batch));
        let found = self.observer.on_durable(batch);
        self.check(found);
        for record in &batch.records {
            let operation = match &record.entry {
                Entry::Deposited(_) => Operation::Deposit,
                Entry::Sold(_) => Operation::Sale,
                Entry::Refused { .. } => Operation::Refusal,
                Entry::Resigned => {
                    self.resigned_at = Some(self.now);
                    Operation::Resignation
                }
                Entry::Claimed { .. } | Entry::Seated { .. } | Entry::Unseated { .. } | Entry::Admitted { .. } => {
                    continue;
                }
            };
            self.tally.operation(operation);
        }
        if let Some(survey) = &mut self.survey {
            survey.batch(batch);
        }
    }

    pub(super) fn ledger_answer(&mut self, life: u32) {
        if self.site.life != life {
            return;
        }
        let reads = self.site.archive.reads().len();
        let deeds = self.site.archive.answer();
        for _ in reads..self.site.archive.reads().len() {
            self.events.push(self.now + MOMENT, Event::LedgerRead { life });
        }
        let found = self.observer.on_answered(&deeds);
        self.check(found);
        self.write_soon();
        self.on_deeds(deeds);
    }

    pub(super) fn ledger_read(&mut self, life: u32) {
        if self.site.life != life {
            return;
        }
        if let Some(reply) = self.site.archive.answer_read(0) {
            let found = self.observer.on_read(&reply);
            self.check(found);
            self.reply(reply);
        }
    }

    fn on_deeds(&mut self, deeds: Vec<Deed>) {
        for deed in deeds {
            match deed {
                Deed::Reply { reply, .. } => self.reply(reply),
                Deed::ArmLease(wait) => {
                    let due = self.now.saturating_add(u64::try_from(wait.as_nanos()).unwrap_or(u64::MAX));
                    self.site.lease.due = due;
                    if self.site.lease.queued > due {
                        self.site.lease.queued = due;
                        self.events.push(due, Event::Lease { life: self.site.life });
                    }
                }
                // The observer has seen both.
                Deed::Drop { .. } | Deed::Refuse { .. } | Deed::Fail(_) | Deed::Give(_) | Deed::Stop(_) => {}
            }
        }
    }

    pub(super) fn lease_runs_out(&mut self, life: u32) {
        let lease = &mut self.site.lease;
        if self.site.life != life || lease.queued != self.now {
            return;
        }
        if lease.due > self.now {
            lease.queued = lease.due;
            self.events.push(lease.due, Event::Lease { life });
            return;
        }
        *lease = DISARMED;
        self.site.archive.end_lease();
        self.observer.on_lease_end();
    }

    /// The peer that is trader according to the ledger.
    pub(super) fn trader(&self) -> Option<PeerId> {
        self.site.archive.status().term.filter(|term| !term.ended).map(|term| term.holder.peer)
    }
}
