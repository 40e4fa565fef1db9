//! Several ledger processes over one store (SPEC J3), in place of a ledger that has its store to itself: what can happen
//! to them, and what follows.
//!
//! What a process asks the store for happens at any later moment, and it hears of it at any later moment, or hears that
//! nobody can say; then it may happen even later, or never. Any call may arrive at any process, and at several of them.
//! Signs between processes arrive late or, where a process is blind for a time, never. As with a single ledger, asking for
//! the status or for records and hearing the answer is one step; how looks and calls overlap is tried with appends.

use bazaar_protocol::{
    archive::Deed,
    cluster::{Cluster, Process},
    id::PeerId,
    ledger::{
        LedgerAnswer, LedgerCall, LedgerReply, LedgerRequest,
        compaction::CompactionEffect,
        replica::{Found, Outcome, Replica, Sign},
    },
    participant::ParticipantInput,
    record::Batch,
};
use serde::{Deserialize, Serialize};

use super::{
    Participants,
    step::Step,
    world::{Action, Call, World},
};
use crate::subject::{
    landmark::Landmark,
    ledger::{Ledgers, Reply},
    matrix::Stepped,
    passed,
    shared::Shared,
};

/// What can happen at one of several ledger processes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ProcessAction {
    /// A call arrives.
    Take(Shared<Call>),
    /// A peer asks its question and hears the answer.
    Consult(PeerId),
    /// It looks at the store and hears what it has found.
    Look,
    /// What it has asked the store for happens there.
    Happen,
    /// It hears what has happened.
    Hear,
    /// It is told that nobody can say what has become of its append.
    Lose,
    /// The store says that it is full when it is asked for an append.
    Decline {
        /// Whether it has carried it out.
        carried_out: bool,
    },
    /// The store answers one of its reads.
    Read,
    /// It notices how far the log reaches.
    NoticeGrowth,
    /// It does the next thing about the size of the store.
    Tidy,
    /// It sees a sign.
    See(Sign),
    /// It sees that another has appended.
    SeeAppend,
    /// It no longer sees what the others do.
    GoBlind,
    /// It sees again what the others do.
    SeeAgain,
    /// The lease runs out there.
    LeaseRunsOut,
    /// It crashes, and comes back knowing nothing.
    Crash,
}

impl World {
    /// Adds the steps that several ledger processes can take next.
    pub(super) fn actions_of_processes(&self, cluster: &Cluster, setup: &Participants, actions: &mut Vec<Action>) {
        for (at, process) in cluster.processes().iter().enumerate() {
            let mut add = |action| actions.push(Action::At(at, action));
            if process.is_asking() && (process.is_appending() || setup.slow_looks) {
                add(ProcessAction::Happen);
            } else if process.is_asking() {
                add(ProcessAction::Look);
            }
            if process.is_to_hear() {
                add(ProcessAction::Hear);
            }
            if process.is_appending() && self.budget.unknowns > 0 {
                add(ProcessAction::Lose);
            }
            if process.transaction().is_some() && self.budget.declines > 0 {
                [true, false].into_iter().for_each(|carried_out| add(ProcessAction::Decline { carried_out }));
            }
            if !process.reads().is_empty() {
                add(ProcessAction::Read);
            }
            if process.tidying().is_some() {
                add(ProcessAction::Tidy);
            } else if self.budget.compactions > 0 && !self.ledger.store().durable().is_empty() {
                add(ProcessAction::NoticeGrowth);
            }
            process.signs().map(ProcessAction::See).for_each(&mut add);
            if process.has_unseen_append() {
                add(ProcessAction::SeeAppend);
            }
            if !process.watches() {
                add(ProcessAction::SeeAgain);
            } else if self.budget.blinds > 0 {
                add(ProcessAction::GoBlind);
            }
            let has_room = is_free(process) || setup.limits.waiting_calls > 0;
            let is_taken = |call: &&Shared<Call>| {
                self.budget.takes != Some(0) && has_room && (is_free(process) || !call.is_read())
            };
            self.calls.iter().filter(is_taken).cloned().map(ProcessAction::Take).for_each(&mut add);
            if is_free(process) {
                let asks = self.lives().filter(|live| live.question.is_some());
                asks.map(|live| ProcessAction::Consult(live.id())).for_each(&mut add);
            }
            if !setup.is_synchronous() && self.calls.iter().any(|call| keeps_out(process, call)) {
                add(ProcessAction::LeaseRunsOut);
            }
            if self.budget.ledger_crashes > 0 {
                add(ProcessAction::Crash);
            }
        }
        actions.extend((0..cluster.strays().len()).map(Action::Stray));
        if self.budget.wipes > 0 {
            actions.push(Action::Wipe);
        }
        if self.budget.old_images > 0 {
            actions.push(Action::PutBack);
        }
    }

    /// Whether several ledger processes, if there are any, have nothing to do.
    pub(super) fn are_processes_quiet(&self) -> bool {
        self.ledger.several().is_none_or(|cluster| self.next_of_processes(cluster).is_none())
    }

    /// What several ledger processes do next on the fair schedule, without time passing. Each peer turns to one of them.
    pub(super) fn next_of_processes(&self, cluster: &Cluster) -> Option<Action> {
        let next = |process: &Process| {
            if !process.watches() {
                Some(ProcessAction::SeeAgain)
            } else if process.is_to_hear() {
                Some(ProcessAction::Hear)
            } else if process.is_asking() {
                Some(ProcessAction::Happen)
            } else if !process.reads().is_empty() {
                Some(ProcessAction::Read)
            } else if process.tidying().is_some() {
                Some(ProcessAction::Tidy)
            } else if process.has_unseen_append() {
                Some(ProcessAction::SeeAppend)
            } else {
                process.signs().next().map(ProcessAction::See)
            }
        };
        let of_process = cluster.processes().iter().enumerate().find_map(|(at, process)| {
            let action = next(process)?;
            Some(Action::At(at, action))
        });
        let stray = || (!cluster.strays().is_empty()).then_some(Action::Stray(0));
        let call = || {
            let call = self.calls.iter().next()?;
            Some(Action::At(turns_to(cluster, call.caller.peer), ProcessAction::Take(call.clone())))
        };
        of_process.or_else(stray).or_else(call)
    }

    /// A peer asks the ledger its question, or the one of several ledgers that it turns to.
    pub(super) fn consults(&self, peer: PeerId) -> Action {
        match &self.ledger {
            Ledgers::One(_) => Action::Consult(peer),
            Ledgers::Several(cluster) => Action::At(turns_to(cluster, peer), ProcessAction::Consult(peer)),
        }
    }

    /// The machine input that a step of a process tries, where it is one of a peer.
    pub(super) fn stepped_at(&self, setup: &Participants, action: &ProcessAction) -> Option<Stepped> {
        let ProcessAction::Consult(peer) = action else { return None };
        let role = self.live(setup, *peer)?.role();
        Some(Stepped { kind: self.kind_of_question(setup, *peer)?, role })
    }
}

/// The process that a peer turns to where nothing is wrong.
fn turns_to(cluster: &Cluster, peer: PeerId) -> usize {
    peer.0 as usize % cluster.processes().len().max(1)
}

/// Whether a process waits for nothing.
fn is_free(process: &Process) -> bool {
    !process.is_asking() && !process.is_to_hear()
}

/// Whether this is a claim that only the lease of this process keeps from being granted. Then its end makes a difference.
fn keeps_out(process: &Process, call: &Call) -> bool {
    let (Some(machine), LedgerRequest::Append(batch)) = (process.machine(), &call.request) else { return false };
    machine.is_lease_active() && batch.claimant().is_some() && batch.epoch == machine.known_status().epoch().next()
}

impl Step<'_> {
    /// Does something with several ledger processes, if there are several.
    pub(super) fn several<R: Default>(&mut self, how: impl FnOnce(&mut Cluster) -> R) -> R {
        match &mut self.world.ledger {
            Ledgers::One(_) => R::default(),
            Ledgers::Several(cluster) => cluster.change(how),
        }
    }

    /// Starts several ledger processes, if there are several, until they know the books.
    pub(super) fn start_processes(&mut self) {
        let processes = self.world.ledger.several().map_or(0, |cluster| cluster.processes().len());
        for at in 0..processes {
            self.start_process(at);
            self.act_at(at, &ProcessAction::Happen);
            self.act_at(at, &ProcessAction::Hear);
        }
    }

    pub(super) fn act_at(&mut self, at: usize, action: &ProcessAction) {
        match action {
            ProcessAction::Take(call) => {
                if self.setup.is_synchronous() {
                    self.world.calls.change(|calls| calls.take(call));
                }
                let budget = &mut self.world.budget;
                budget.takes = budget.takes.map(|takes| takes.saturating_sub(1));
                let call = self.arriving_call(call);
                self.take_at(at, call);
            }
            ProcessAction::Consult(peer) => self.consult_at(*peer, at),
            ProcessAction::Happen => {
                let written = self.several(|cluster| cluster.happen(at));
                self.on_carried_out(written);
            }
            ProcessAction::Look => {
                self.act_at(at, &ProcessAction::Happen);
                self.act_at(at, &ProcessAction::Hear);
            }
            ProcessAction::Hear => {
                self.note_what_is_heard(at);
                self.process(at, |cluster| cluster.hear(at));
            }
            ProcessAction::Lose => {
                self.world.budget.unknowns -= 1;
                self.landmarks.note(Landmark::OutcomeUnknown);
                self.process(at, |cluster| cluster.lose(at));
            }
            ProcessAction::Decline { carried_out } => {
                self.world.budget.declines -= 1;
                self.landmarks.note(Landmark::StoreFull);
                let written = self.several(|cluster| cluster.decline(at, *carried_out));
                self.on_carried_out(written);
            }
            ProcessAction::Read => self.answer_read(at),
            ProcessAction::NoticeGrowth => {
                self.world.budget.compactions -= 1;
                self.several(|cluster| cluster.notice_growth(at));
            }
            ProcessAction::Tidy => self.tidy(at),
            ProcessAction::See(sign) => {
                if matches!(sign, Sign::Renewed(_)) {
                    self.landmarks.note(Landmark::RenewedElsewhere);
                }
                let cluster = self.world.ledger.several().cloned();
                if let Some(machine) = cluster.as_ref().and_then(|cluster| cluster.processes()[at].machine()) {
                    self.watch(|observer| {
                        observer.on_process_sign(at, *sign, machine);
                        Ok(())
                    });
                }
                self.process(at, |cluster| cluster.see(at, *sign));
            }
            ProcessAction::SeeAppend => self.process(at, |cluster| cluster.see_append(at)),
            ProcessAction::GoBlind => {
                self.world.budget.blinds -= 1;
                self.process(at, |cluster| cluster.watch(at, false));
                self.watched(at);
            }
            ProcessAction::SeeAgain => {
                self.process(at, |cluster| cluster.watch(at, true));
                self.watched(at);
            }
            ProcessAction::LeaseRunsOut => {
                self.elapse(self.world.leases[at]);
                self.world.leases[at] = None;
                let sees = self.several(|cluster| cluster.processes()[at].watches());
                self.process(at, |cluster| {
                    cluster.end_lease(at);
                    Vec::new()
                });
                if sees {
                    self.watch(|observer| {
                        observer.on_process_lease_end(at);
                        Ok(())
                    });
                }
            }
            ProcessAction::Crash => {
                self.world.budget.ledger_crashes -= 1;
                let is_unheard = self.several(|cluster| cluster.processes()[at].outcome() == Some(Outcome::Written));
                if is_unheard {
                    self.landmarks.note(Landmark::KeptUnanswered);
                }
                self.several(|cluster| cluster.crash(at));
                self.world.leases[at] = None;
                self.start_process(at);
            }
        }
    }

    fn note_what_is_heard(&mut self, at: usize) {
        let Some(process) = self.world.ledger.several().map(|cluster| &cluster.processes()[at]) else { return };
        let landmark = match (process.outcome(), process.machine().and_then(Replica::appending)) {
            (Some(Outcome::Refused(Found::Tail(tail)) | Outcome::Declined(Found::Tail(tail))), Some((_, batch))) => {
                let is_it =
                    tail.last.is_some_and(|last| last.position == batch.position && last.digest == batch.digest());
                match process.outcome() {
                    _ if is_it => Landmark::OutcomeFound,
                    Some(Outcome::Declined(_)) => Landmark::AppendDeclined,
                    _ => Landmark::OtherGotInFirst,
                }
            }
            (Some(Outcome::Refused(_) | Outcome::Declined(_) | Outcome::Written | Outcome::Unknown) | None, _) => {
                return;
            }
        };
        self.landmarks.note(landmark);
    }

    /// Whether no process waits for the outcome of this append.
    fn is_stray(&self, batch: &Batch) -> bool {
        let waits = |process: &Process| {
            process.machine().and_then(Replica::appending).is_some_and(|(_, waited)| waited == batch)
        };
        !self.world.ledger.several().is_some_and(|cluster| cluster.processes().iter().any(waits))
    }

    fn start_process(&mut self, at: usize) {
        self.watch(|observer| {
            observer.on_process_start(at);
            Ok(())
        });
        self.process(at, |cluster| cluster.start(at));
    }

    /// A process begins or ceases to see the others; its lease starts afresh.
    fn watched(&mut self, at: usize) {
        let cluster = self.world.ledger.several().cloned();
        if let Some(machine) = cluster.as_ref().and_then(|cluster| cluster.processes()[at].machine()) {
            self.watch(|observer| {
                observer.on_process_watch(at, machine);
                Ok(())
            });
        }
    }

    /// Hands a process a call while the observer watches.
    fn take_at(&mut self, at: usize, call: LedgerCall) {
        let before = self.world.ledger.several().map(|cluster| cluster.processes()[at].clone());
        let (id, deeds) = self.several(|cluster| cluster.take(at, call.clone()));
        self.watch(|observer| {
            observer.on_process_call(at, id, &call);
            Ok(())
        });
        self.landmarks.join(passed::in_call(&call, &deeds, false));
        self.after_process(at, before, deeds);
    }

    /// Lets a process take a step while the observer watches.
    fn process(&mut self, at: usize, how: impl FnOnce(&mut Cluster) -> Vec<Deed>) {
        let before = self.world.ledger.several().map(|cluster| cluster.processes()[at].clone());
        let deeds = self.several(how);
        if !self.setup.signs {
            self.several(Cluster::lose_signs);
        }
        self.after_process(at, before, deeds);
    }

    fn after_process(&mut self, at: usize, before: Option<Process>, deeds: Vec<Deed>) {
        let after = self.world.ledger.several().map(|cluster| cluster.processes()[at].clone());
        if let (Some(before), Some(after)) = (before, after) {
            self.watch(|observer| observer.on_process_step(at, &before, &after, &deeds));
            let replies = deeds.iter().filter(|deed| matches!(deed, Deed::Reply { .. })).count();
            if before.outcome().is_some() && replies > 1 {
                self.landmarks.note(Landmark::AppendToldOthers);
            }
        }
        for deed in &deeds {
            match deed {
                Deed::Stop(_) => self.landmarks.note(Landmark::StoreLost),
                Deed::Fail(_) => self.landmarks.note(Landmark::OldImageNoticed),
                Deed::Reply { .. } | Deed::ArmLease(_) | Deed::Drop { .. } | Deed::Refuse { .. } | Deed::Give(_) => {}
            }
        }
        self.on_deeds_at(at, deeds);
        while !self.setup.reads_apart && self.has_reads(at) {
            self.answer_read(at);
        }
    }

    fn has_reads(&self, at: usize) -> bool {
        self.world.ledger.several().is_some_and(|cluster| !cluster.processes()[at].reads().is_empty())
    }

    /// The store answers a read of a process, if it still holds what is asked for.
    fn answer_read(&mut self, at: usize) {
        match self.several(|cluster| cluster.answer_read(at, 0)) {
            Some((id, reply)) => {
                self.watch(|observer| observer.on_process_read(at, id, &reply));
                self.answer(reply);
            }
            None => self.landmarks.note(Landmark::ReadTooLate),
        }
    }

    fn tidy(&mut self, at: usize) {
        let effect = self.world.ledger.several().and_then(|cluster| cluster.processes()[at].tidying());
        self.several(|cluster| cluster.tidy(at));
        let Some(shelf) = self.world.ledger.several().map(|cluster| cluster.shelf().clone()) else { return };
        match effect {
            Some(CompactionEffect::MoveBase { to, .. }) if shelf.base == to => {
                self.landmarks.note(Landmark::BaseMoved);
            }
            Some(CompactionEffect::MoveBase { .. }) => self.landmarks.note(Landmark::BaseMovedByAnother),
            Some(CompactionEffect::FindBase | CompactionEffect::WriteSnapshot(_) | CompactionEffect::ClearBelow(_))
            | None => {}
        }
        self.watch(|observer| observer.on_tidied(&shelf));
    }

    /// The answer to a question or to a read. It is under way only where reads are slow.
    pub(super) fn answer(&mut self, reply: LedgerReply) {
        let peer = reply.word.to.peer;
        if self.setup.slow_reads && reply.answer != LedgerAnswer::Status {
            self.reply(Reply { reply, batch: None }, false);
        } else if !self.hears_no_ledger(peer) {
            self.give(peer, ParticipantInput::Ledger(reply));
        }
    }

    /// The log may have grown. What several processes append to a store that was put back is another history.
    pub(super) fn on_carried_out(&mut self, written: Option<Batch>) {
        if !self.setup.signs {
            self.several(Cluster::lose_signs);
        }
        let Some(batch) = written else { return };
        if self.is_stray(&batch) {
            self.landmarks.note(Landmark::StrayWritten);
        }
        let is_put_back = self.world.observer.is_put_back();
        if is_put_back && !self.world.ledger.several().is_some_and(Cluster::is_wiped) {
            return;
        }
        if is_put_back {
            self.watch(|observer| observer.on_durable(&batch));
            return;
        }
        self.on_durable();
    }

    /// Asks a process a peer's question and gives the peer the answer, in one step.
    pub(super) fn consult_at(&mut self, peer: PeerId, at: usize) {
        let Some(call) = self.question(peer) else { return };
        self.take_at(at, call);
        while self.several(|cluster| cluster.processes()[at].is_asking() || cluster.processes()[at].is_to_hear()) {
            self.act_at(at, &ProcessAction::Happen);
            self.act_at(at, &ProcessAction::Hear);
        }
    }
}
