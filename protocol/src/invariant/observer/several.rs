//! What is checked of several ledger processes over one store (SPEC J3): each of them is a ledger, and what it does not
//! know may have happened.

use alloc::{collections::BTreeMap, format, vec::Vec};
use core::mem;

use super::{Checked, Image, Lease, Observer, Property, violated, whatever_the_ledger_shows_is_durable};
use crate::{
    archive::Deed,
    cluster::{Process, Shelf},
    id::{Epoch, Position},
    invariant::ledger::{Fence, the_ledger_answers_behind},
    ledger::{
        CallId, Echo, LedgerAnswer, LedgerCall, LedgerReply, LedgerRequest, Verdict,
        replica::{Outcome, Replica, Sign},
    },
    record::Batch,
};

/// What is remembered of several ledger processes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct Several {
    processes: BTreeMap<usize, OfProcess>,
    /// How far the books reach that any of them has shown.
    shown: Position,
}

/// What is remembered of one of them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
struct OfProcess {
    lease: Lease,
    /// How far the log reaches that it knows of, and its latest epoch.
    known: (Epoch, Position),
    /// The calls that are not answered.
    calls: BTreeMap<CallId, Asked>,
}

/// A call that is not answered.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Asked {
    call: LedgerCall,
    /// How far the books reached that anybody had been shown when it came.
    floor: Position,
}

impl Observer {
    /// A process has started and knows nothing yet.
    pub fn on_process_start(&mut self, at: usize) {
        self.several.processes.insert(at, OfProcess::default());
    }

    /// A process has taken a call, under this id.
    pub fn on_process_call(&mut self, at: usize, id: CallId, call: &LedgerCall) {
        let floor = self.several.shown;
        self.process(at).calls.insert(id, Asked { call: call.clone(), floor });
    }

    /// A process, which knows `machine`'s books, has seen a sign.
    pub fn on_process_sign(&mut self, at: usize, sign: Sign, machine: &Replica) {
        let fence = self.fence_at(machine.known_status().head);
        let lease = &mut self.process(at).lease;
        match sign {
            // Whoever renewed it was told there whether it is contested.
            Sign::Renewed(epoch) if epoch == fence.epoch() => *lease = Lease::afresh_behind(&fence),
            Sign::Contested(epoch) if epoch == fence.epoch() => lease.is_contested = true,
            Sign::Renewed(_) | Sign::Contested(_) => {}
        }
    }

    /// A process no longer sees the others, or does again. Its lease starts afresh.
    pub fn on_process_watch(&mut self, at: usize, machine: &Replica) {
        let is_live = Lease::afresh_behind(&self.fence_at(machine.known_status().head)).is_live;
        self.process(at).lease.is_live = is_live;
    }

    /// The lease has run out at a process that sees the others.
    pub fn on_process_lease_end(&mut self, at: usize) {
        let process = self.process(at);
        process.lease = process.lease.run_out();
    }

    /// A process has taken a step, with these deeds; `before` is what it was.
    ///
    /// # Errors
    /// S3: when it goes on with a store that holds less than it has seen there, or stops although nothing is missing.
    /// S15: when it says what is older than what was said before it was asked. R2, R3: when it gives any answer but the
    /// one that is due where its status says that the books end, puts to the store what must be answered at once, keeps a
    /// sign from the others, or shows what is not durable.
    pub fn on_process_step(&mut self, at: usize, before: &Process, after: &Process, deeds: &[Deed]) -> Checked {
        let Some(machine) = after.machine() else { return Ok(()) };
        let (waiting, room) = (machine.waiting(), self.rules.limits.waiting_calls.max(1));
        if waiting > room as usize {
            let what = format!("{waiting} calls wait in ledger process {at}, which has room for {room}");
            return violated(Property::R2, what);
        }
        let appending = before.machine().and_then(Replica::appending).map(|(_, batch)| batch);
        for deed in deeds {
            match deed {
                Deed::Reply { id, reply, batch } => {
                    self.grown(at, reply.word.status.head, appending);
                    self.on_process_reply(at, *id, reply, batch.as_ref())?;
                }
                Deed::Drop { id, call } => self.is_dropped(at, *id, call, before, after)?,
                Deed::Refuse { id, call } => self.is_refused(at, *id, call)?,
                Deed::Fail(_) | Deed::Stop(_) if self.image == Image::Latest => {
                    return violated(Property::S3, format!("ledger process {at} stops, and nothing is missing"));
                }
                Deed::Fail(_) | Deed::Stop(_) => self.process(at).calls.clear(),
                Deed::Give(_) | Deed::ArmLease(_) => {}
            }
        }
        self.learnt(at, machine, appending)?;
        self.are_told(at, before, deeds)?;
        let planned = after.transaction().filter(|planned| before.transaction() != Some(*planned));
        if let (Some(planned), Some((caller, batch))) = (planned, machine.appending())
            && self.image == Image::Latest
            && before.machine().and_then(Replica::appending) != Some((caller, batch))
        {
            let (fence, last) = (self.fence_at(planned.onto.status.head), self.last_at(planned.onto.status.head));
            let lease = self.process(at).lease;
            return the_ledger_answers_behind(&fence, last.as_ref(), lease, caller, batch, None);
        }
        Ok(())
    }

    /// The store has answered a read of a process.
    ///
    /// # Errors
    /// As [`Observer::on_process_step`].
    pub fn on_process_read(&mut self, at: usize, id: CallId, reply: &LedgerReply) -> Checked {
        self.on_process_reply(at, id, reply, None)
    }

    /// Something was done about the size of the store.
    ///
    /// # Errors
    /// S3: when neither a snapshot nor the record itself is there of something that is durable.
    pub fn on_tidied(&self, shelf: &Shelf) -> Checked {
        let Shelf { base, snapshots, first } = shelf;
        let has_snapshot = *base == Position(0) || snapshots.contains(base);
        let is_there = has_snapshot && first <= base && *base <= self.head();
        if self.image == Image::Latest && !is_there {
            let what = format!(
                "the store begins with record {first}; its base is {base}, and it has snapshots at {:?} of {} records",
                snapshots,
                self.head()
            );
            return violated(Property::S3, what);
        }
        Ok(())
    }

    fn process(&mut self, at: usize) -> &mut OfProcess {
        self.several.processes.entry(at).or_default()
    }

    /// What a process knows of the log is no less than before.
    fn learnt(&mut self, at: usize, machine: &Replica, appending: Option<&Batch>) -> Checked {
        let (epoch, head) = (machine.known_status().epoch(), machine.known_status().head);
        let known = self.process(at).known;
        if (epoch < known.0 || head < known.1) && !machine.has_failed() {
            let what = format!(
                "ledger process {at} has seen epoch {} and {} records in its store, and goes on with epoch {epoch} and \
                 {head}",
                known.0, known.1
            );
            return violated(Property::S3, what);
        }
        self.grown(at, head, appending);
        self.process(at).known = (epoch, head);
        Ok(())
    }

    /// A process learns how far the log reaches, if that is further than it knew: somebody has appended, so the lease starts
    /// afresh. Whether the term is contested, its holder is told where it appends, so that is here if all that is new is the
    /// batch that this process was `appending`.
    fn grown(&mut self, at: usize, head: Position, appending: Option<&Batch>) {
        let known = self.process(at).known;
        if head <= known.1 {
            return;
        }
        let fence = self.fence_at(head);
        let mut news = self.log.batches.iter().filter(|batch| batch.position >= known.1 && batch.end() <= head);
        let is_own = news.next() == appending && news.next().is_none();
        let is_same_term = self.fence_at(known.1).epoch() == fence.epoch();
        let process = self.process(at);
        let is_contested = process.lease.is_contested && is_own && is_same_term;
        process.lease = Lease { is_contested, ..Lease::afresh_behind(&fence) };
        process.known = (fence.epoch(), head);
    }

    /// A call that is not answered is one that there was no room for, or an append that the store has declined.
    fn is_dropped(&mut self, at: usize, id: CallId, call: &LedgerCall, before: &Process, after: &Process) -> Checked {
        self.process(at).calls.remove(&id);
        let room = self.rules.limits.waiting_calls as usize;
        let is_full = before.machine().is_some_and(|machine| machine.waiting() >= room);
        let appending = before.machine().and_then(Replica::appending);
        // What finds no room changes nothing.
        let finds_no_room = is_full && after.machine().and_then(Replica::appending) == appending;
        let is_declined = matches!(before.outcome(), Some(Outcome::Declined(_)))
            && matches!(&call.request, LedgerRequest::Append(batch) if appending == Some((call.caller, batch)));
        if finds_no_room || is_declined {
            return Ok(());
        }
        violated(Property::R2, format!("ledger process {at} has room, and does not answer {call:?}"))
    }

    fn is_refused(&mut self, at: usize, id: CallId, call: &LedgerCall) -> Checked {
        self.process(at).calls.remove(&id);
        if self.is_of_a_bug(call) {
            return Ok(());
        }
        violated(Property::S3, format!("ledger process {at} refuses {call:?}, and nothing is wrong with it"))
    }

    /// Whether only a member with a bug makes such a call.
    fn is_of_a_bug(&self, call: &LedgerCall) -> bool {
        let is_absurd = matches!(&call.request, LedgerRequest::Append(batch) if !batch.is_of(call.caller));
        is_absurd || !self.was_shown(call)
    }

    fn on_process_reply(&mut self, at: usize, id: CallId, reply: &LedgerReply, batch: Option<&Batch>) -> Checked {
        let LedgerReply { word, answer } = reply;
        let (head, epoch) = (word.status.head, word.status.epoch());
        let Some(Asked { call, floor }) = self.process(at).calls.remove(&id) else {
            let what = format!("ledger process {at} answers peer {} when nobody asks", word.to.peer);
            return violated(Property::R2, what);
        };
        let peer = call.caller.peer;
        let is_answer = match (&call.request, answer) {
            (LedgerRequest::Status, LedgerAnswer::Status)
            | (LedgerRequest::Read { .. }, LedgerAnswer::Chunk { .. }) => true,
            (LedgerRequest::Read { from: asked, .. }, LedgerAnswer::Records { from, .. }) => from == asked,
            (LedgerRequest::Append(asked), LedgerAnswer::Append { .. }) => batch == Some(asked),
            (LedgerRequest::Status | LedgerRequest::Read { .. } | LedgerRequest::Append(_), _) => false,
        };
        if word.to != call.caller || !is_answer {
            let what = format!("ledger process {at} answers {call:?} with {reply:?}");
            return violated(Property::R2, what);
        }
        if word.heard != call.heard {
            let what = format!("peer {peer} is told that it had heard of another epoch than it had");
            return violated(Property::S3, what);
        }
        if self.image == Image::Latest && self.is_of_a_bug(&call) {
            return violated(
                Property::S3,
                format!("ledger process {at} answers peer {peer}, which has a bug: {call:?}"),
            );
        }
        if head < call.seen.head || epoch < call.seen.epoch {
            let what = format!(
                "ledger process {at} tells peer {peer} of epoch {epoch} and {head} records, which has seen epoch {} and {}",
                call.seen.epoch, call.seen.head
            );
            // Of an old image, nothing else is asked than that.
            let is_old = self.image != Image::Latest;
            return violated(if is_old { Property::S3 } else { Property::S15 }, what);
        }
        if head < floor {
            let what = format!(
                "ledger process {at} tells peer {peer} of {head} records, and when it was asked {floor} had been shown"
            );
            return violated(Property::S15, what);
        }
        self.several.shown = self.several.shown.max(head);
        if self.image != Image::Latest {
            return Ok(());
        }
        whatever_the_ledger_shows_is_durable(&self.log.batches, reply)?;
        if let (LedgerAnswer::Append { echo, verdict }, Some(batch)) = (answer, batch) {
            if *echo != Echo::of(word.to, batch) {
                let what = format!("peer {}'s append is answered as another one", word.to.peer);
                return violated(Property::R2, what);
            }
            let (fence, last) = (self.fence_at(head), self.last_at(head));
            let lease = self.process(at).lease;
            the_ledger_answers_behind(&fence, last.as_ref(), lease, word.to, batch, Some(verdict))?;
            self.process(at).lease = lease.answered_behind(&fence, verdict);
        }
        Ok(())
    }

    /// R2: every process is told of renewals and of claims that were kept out, and of nothing else. That a batch was written
    /// just now, `before` this step, they see by themselves; if it has come again meanwhile, the second answer renews.
    fn are_told(&self, at: usize, before: &Process, deeds: &[Deed]) -> Checked {
        let mut is_new = before.outcome() == Some(Outcome::Written);
        let is_of = |deed: &Deed| match deed {
            Deed::Reply {
                reply: LedgerReply { word, answer: LedgerAnswer::Append { verdict, .. } }, batch, ..
            } => {
                let written = before.machine().and_then(Replica::appending).map(|(_, batch)| batch);
                match verdict {
                    Verdict::Appended { .. } if batch.as_ref() == written && mem::take(&mut is_new) => None,
                    Verdict::Appended { .. } => Some(Sign::Renewed(word.status.epoch())),
                    Verdict::LeaseActive => Some(Sign::Contested(word.status.epoch())),
                    Verdict::Fenced | Verdict::Conflict => None,
                }
            }
            Deed::Reply { .. }
            | Deed::Give(_)
            | Deed::ArmLease(_)
            | Deed::Drop { .. }
            | Deed::Refuse { .. }
            | Deed::Fail(_)
            | Deed::Stop(_) => None,
        };
        let due: Vec<Sign> = deeds.iter().filter_map(is_of).collect();
        let is_given = |deed: &Deed| if let Deed::Give(sign) = deed { Some(*sign) } else { None };
        let given: Vec<Sign> = deeds.iter().filter_map(is_given).collect();
        if given != due {
            return violated(
                Property::R2,
                format!("ledger process {at} tells the others {given:?} instead of {due:?}"),
            );
        }
        Ok(())
    }

    fn head(&self) -> Position {
        self.log.batches.last().map(Batch::end).unwrap_or_default()
    }

    /// The fence where the log had this many records.
    fn fence_at(&self, head: Position) -> Fence {
        let mut fence = Fence::default();
        self.log.batches.iter().take_while(|batch| batch.end() <= head).for_each(|batch| fence.absorb(batch));
        fence
    }

    /// The last batch where the log had this many records.
    fn last_at(&self, head: Position) -> Option<Batch> {
        self.log.batches.iter().take_while(|batch| batch.end() <= head).last().cloned()
    }
}
