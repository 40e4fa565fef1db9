//! What is checked of several ledger processes over one store (SPEC J3): each of them is a ledger, and what it does not
//! know may have happened.

use alloc::{collections::BTreeMap, format};

use super::{Checked, Image, Lease, Observer, Property, violated, whatever_the_ledger_shows_is_durable};
use crate::{
    archive::Deed,
    cluster::Process,
    id::{Epoch, Position},
    invariant::ledger::{Fence, the_ledger_answers_behind},
    ledger::{
        CallId, Echo, LedgerAnswer, LedgerCall, LedgerReply, Verdict,
        replica::{Replica, Sign},
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
    /// For each call that is not answered: how far the books reached that anybody had been shown when it came.
    floors: BTreeMap<CallId, Position>,
}

impl Observer {
    /// A process has started and knows nothing yet.
    pub fn on_process_start(&mut self, at: usize) {
        self.several.processes.insert(at, OfProcess::default());
    }

    /// A process has taken a call, under this id.
    pub fn on_process_call(&mut self, at: usize, id: CallId, call: &LedgerCall) {
        let floor = self.several.shown.max(call.seen.head);
        self.process(at).floors.insert(id, floor);
    }

    /// A process, which knows `machine`'s books, has seen a sign.
    pub fn on_process_sign(&mut self, at: usize, sign: Sign, machine: &Replica) {
        let fence = self.fence_at(machine.known_status().head);
        let lease = &mut self.process(at).lease;
        match sign {
            Sign::Renewed(epoch) if epoch == fence.epoch() => lease.is_live = Lease::afresh_behind(&fence).is_live,
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
        self.learnt(at, machine)?;
        for deed in deeds {
            match deed {
                Deed::Reply { id, reply, batch } => self.on_process_reply(at, *id, reply, batch.as_ref())?,
                Deed::Fail(_) | Deed::Stop(_) if self.image == Image::Latest => {
                    return violated(Property::S3, format!("ledger process {at} stops, and nothing is missing"));
                }
                Deed::Give(_) | Deed::ArmLease(_) | Deed::Drop(_) | Deed::Refuse(_) | Deed::Fail(_) | Deed::Stop(_) => {
                }
            }
        }
        self.are_told(at, deeds)?;
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

    fn process(&mut self, at: usize) -> &mut OfProcess {
        self.several.processes.entry(at).or_default()
    }

    /// A process has learnt how far the log reaches, if that is further than it knew: somebody has appended, so the lease
    /// starts afresh.
    fn learnt(&mut self, at: usize, machine: &Replica) -> Checked {
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
        if head > known.1 {
            let (was, fence) = (self.fence_at(known.1), self.fence_at(head));
            let process = self.process(at);
            let is_contested = process.lease.is_contested && was.epoch() == fence.epoch();
            process.lease = Lease { is_contested, ..Lease::afresh_behind(&fence) };
            process.known = (epoch, head);
        }
        Ok(())
    }

    fn on_process_reply(&mut self, at: usize, id: CallId, reply: &LedgerReply, batch: Option<&Batch>) -> Checked {
        let LedgerReply { word, answer } = reply;
        let head = word.status.head;
        let floor = self.process(at).floors.remove(&id).unwrap_or_default();
        if head < floor {
            let what = format!(
                "ledger process {at} tells peer {} of {head} records, and when it was asked {floor} had been shown",
                word.to.peer
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

    /// R2: every process is told of renewals and of claims that were kept out.
    fn are_told(&self, at: usize, deeds: &[Deed]) -> Checked {
        for deed in deeds {
            let Deed::Reply { reply: LedgerReply { word, answer }, batch: Some(batch), .. } = deed else { continue };
            let LedgerAnswer::Append { verdict, .. } = answer else { continue };
            let epoch = word.status.epoch();
            let (due, what) = match verdict {
                Verdict::Appended { .. } if batch.records.is_empty() => (Sign::Renewed(epoch), "was renewed"),
                Verdict::LeaseActive => (Sign::Contested(epoch), "is contested"),
                Verdict::Appended { .. } | Verdict::Fenced | Verdict::Conflict => continue,
            };
            if !deeds.contains(&Deed::Give(due)) {
                let what = format!("ledger process {at} does not tell the others that epoch {epoch} {what}");
                return violated(Property::R2, what);
            }
        }
        Ok(())
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
