//! What mutants need from the ledger, in the build that contains them.

use super::{judge::Judge, *};

impl Judge {
    /// Puts in its place a batch that no check has kept out.
    pub(super) fn at_head(&self, batch: Batch) -> Batch {
        Batch { position: self.durable.status.head, ..batch }
    }

    /// Checks the position before the epoch.
    pub(super) fn place_before_epoch(&self, batch: &Batch) -> Verdict {
        if self.is_out_of_place(batch) { Verdict::Conflict } else { Verdict::Fenced }
    }

    /// Checks the lease before the position.
    pub(super) fn lease_before_place(&mut self, batch: &Batch) -> Verdict {
        if batch.claimant().is_some_and(|claimant| self.is_leased_against(claimant)) {
            self.contest();
            Verdict::LeaseActive
        } else {
            Verdict::Conflict
        }
    }
}

impl Ledger {
    /// Treats what is written as durable.
    pub(super) fn written(&self) -> Tail {
        match &self.state {
            State::Persisting { batch, .. } => self.judge.durable.after(batch),
            State::Ready | State::Failed => self.judge.durable,
        }
    }

    /// Treats the batch as durable already.
    pub(super) fn answer_early(&self, id: CallId, asker: Asker, batch: &Batch) -> Option<LedgerEffect> {
        let is_early = mutant!(true; ClaimNotDurable => batch.claimant().is_some());
        is_early.then(|| self.settle(id, asker, batch, Verdict::Appended { head: batch.end(), contested: false }))
    }
}
