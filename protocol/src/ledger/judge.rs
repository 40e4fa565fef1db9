//! The verdict: a pure function of the end of the log, the fence, the lease and the call (DESIGN 3). Both kinds of ledger
//! give it, and neither adds to it.

use core::time::Duration;

use serde::{Deserialize, Serialize};

use super::{
    Echo, HighWaterMark, LastBatch, LedgerAnswer, LedgerCall, LedgerConfig, LedgerFault, LedgerReply, LedgerRequest,
    LedgerStatus, Tail, Term, Verdict, Word,
};
use crate::{
    id::{Epoch, Life},
    record::Batch,
};

/// What a ledger knows of the books and of the latest term, and what it makes of a call because of that.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(super) struct Judge {
    pub(super) config: LedgerConfig,
    pub(super) durable: Tail,
    /// Whether the term has been renewed within the lease.
    live: bool,
    /// Whether a claim has met `LeaseActive` since the holder's last append.
    contested: bool,
}

/// Who asks, and the latest epoch that it had been named.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(super) struct Asker {
    pub(super) caller: Life,
    pub(super) heard: Epoch,
}

/// What somebody has seen, compared with what is durable. Only durable records are ever shown (R3).
pub(super) enum Compared {
    /// The books hold it.
    Covered,
    /// No ledger of this bazaar has shown it: its caller has a bug.
    MadeUp,
    /// It was lost, or an old copy was put back.
    Gone(LedgerFault),
}

impl Asker {
    pub(super) fn of(call: &LedgerCall) -> Asker {
        Asker { caller: call.caller, heard: call.heard }
    }
}

/// What becomes of an append.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Ruling {
    /// The verdict; `None`: it must be made durable first.
    pub(super) verdict: Option<Verdict>,
    /// How long the lease runs from now on, if it starts afresh.
    pub(super) lease: Option<Duration>,
}

impl Judge {
    /// What is known of a log that ends at `tail`, before its lease is started ([`Judge::renew`]).
    pub(super) fn over(config: LedgerConfig, tail: Tail) -> Judge {
        Judge { config, durable: tail, live: false, contested: false }
    }

    pub(super) fn status(&self) -> LedgerStatus {
        self.durable.status
    }

    pub(super) fn holds(&self) -> HighWaterMark {
        self.durable.status.seen(self.config.secret)
    }

    pub(super) fn is_live(&self) -> bool {
        self.live
    }

    /// Starts the lease afresh, if there is a term to lease; returns how long it runs.
    pub(super) fn renew(&mut self) -> Option<Duration> {
        self.live = self.durable.status.term.is_some_and(|term| !term.ended);
        self.live.then_some(self.config.lease)
    }

    /// The lease timer has fired.
    pub(super) fn run_out(&mut self) {
        self.live = mutant!(false; LeaseNeverEnds => self.live);
    }

    /// Somebody was kept out of the latest term.
    pub(super) fn contest(&mut self) {
        self.contested = true;
    }

    /// Whether a call must be refused whatever the books hold: its batch cannot be what it says it is.
    pub(super) fn is_absurd(call: &LedgerCall) -> bool {
        match &call.request {
            LedgerRequest::Append(batch) => mutant!(!batch.is_of(call.caller); BatchUnread => false),
            LedgerRequest::Status | LedgerRequest::Read { .. } => false,
        }
    }

    /// Compares what a caller has seen with the books.
    pub(super) fn compare(&self, caller: Life, seen: HighWaterMark) -> Compared {
        if !self.is_behind(seen) {
            Compared::Covered
        } else if self.is_own(seen) {
            Compared::Gone(LedgerFault { witness: caller, seen, holds: self.holds() })
        } else {
            Compared::MadeUp
        }
    }

    /// Whether somebody has seen more than is known here.
    pub(super) fn is_behind(&self, seen: HighWaterMark) -> bool {
        mutant!(seen.is_beyond(self.holds()); OldImageServed => false)
    }

    /// Whether a ledger of this bazaar has given a mark.
    fn is_own(&self, mark: HighWaterMark) -> bool {
        let own = HighWaterMark::sealed(mark.epoch, mark.head, self.config.secret);
        mutant!(mark == own; BelievesAnyMark => true)
    }

    pub(super) fn word(&self, asker: Asker, status: LedgerStatus) -> Word {
        Word::of(asker.caller, asker.heard, status, self.config.secret)
    }

    /// The reply to a call for the status alone.
    pub(super) fn shown(&self, asker: Asker) -> LedgerReply {
        LedgerReply { word: self.word(asker, self.status()), answer: LedgerAnswer::Status }
    }

    /// The reply to an append.
    pub(super) fn settled(&self, asker: Asker, batch: &Batch, verdict: Verdict) -> LedgerReply {
        let asked = Echo::of(asker.caller, batch);
        let echo = mutant!(asked; AnsweredAsAnother => Echo { position: self.durable.status.head, ..asked });
        LedgerReply { word: self.word(asker, self.durable.status), answer: LedgerAnswer::Append { echo, verdict } }
    }

    /// DESIGN R2: the checks, in this order.
    pub(super) fn rule(&mut self, caller: Life, batch: &Batch) -> Ruling {
        let (verdict, lease) = if self.is_last(batch) {
            let lease = self.renew();
            (Some(self.appended(batch)), lease)
        } else if self.is_fenced(caller, batch) {
            (Some(mutant!(Verdict::Fenced; ConflictBeforeFenced => self.place_before_epoch(batch))), None)
        } else if self.is_out_of_place(batch) {
            (Some(mutant!(Verdict::Conflict; LeaseBeforeConflict => self.lease_before_place(batch))), None)
        } else if batch.claimant().is_some_and(|claimant| self.is_leased_against(claimant)) {
            self.contest();
            (Some(Verdict::LeaseActive), None)
        } else if batch.records.is_empty() {
            let lease = self.renew();
            (Some(self.appended(batch)), lease)
        } else {
            (None, None)
        };
        Ruling { verdict, lease }
    }

    /// The batch at the head has become durable.
    pub(super) fn written(&mut self, batch: &Batch) -> Ruling {
        self.durable = self.durable.after(batch);
        if batch.claimant().is_some() {
            self.contested = false;
        }
        let lease = self.renew();
        Ruling { verdict: Some(self.appended(batch)), lease }
    }

    /// The log ends here by now, further on than was known: the holder has appended elsewhere, or there is another. Returns
    /// how long the lease runs, which starts afresh.
    pub(super) fn advance(&mut self, tail: Tail) -> Option<Duration> {
        self.durable = tail;
        self.renewed_elsewhere()
    }

    /// The holder has appended where it was told whether its term is contested. Returns how long the lease runs.
    pub(super) fn renewed_elsewhere(&mut self) -> Option<Duration> {
        self.contested = mutant!(false; ContestedKeptElsewhere => self.contested);
        self.renew()
    }

    fn is_last(&self, batch: &Batch) -> bool {
        let is_same = |last: LastBatch| {
            last.epoch == batch.epoch && last.position == batch.position && last.digest == batch.digest()
        };
        mutant!(self.durable.last.is_some_and(is_same); ResentBatchUnknown => false)
    }

    pub(super) fn is_out_of_place(&self, batch: &Batch) -> bool {
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
    pub(super) fn is_leased_against(&self, claimant: Life) -> bool {
        mutant!(
            self.live && self.durable.status.term.is_some_and(|term| term.holder.peer != claimant.peer);
            LeaseIgnored => false
        )
    }

    /// The verdict on an append by the holder. It reports and clears the mark of a contested term.
    fn appended(&mut self, batch: &Batch) -> Verdict {
        let is_contested = core::mem::take(&mut self.contested);
        Verdict::Appended { head: batch.end(), contested: mutant!(is_contested; ContestedNeverTold => false) }
    }
}
