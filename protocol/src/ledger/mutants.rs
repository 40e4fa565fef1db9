//! What mutants need of the machine, in the build that has them.

use super::*;

impl Ledger {
    /// As if what is written were durable.
    pub(super) fn written(&self) -> Tail {
        match &self.state {
            State::Persisting { batch, .. } => self.durable.after(batch),
            State::Ready | State::Failed => self.durable,
        }
    }

    /// Where a batch is added that no check has kept out.
    pub(super) fn at_head(&self, batch: Batch) -> Batch {
        Batch { position: self.durable.status.head, ..batch }
    }

    /// As if the position were looked at before the epoch.
    pub(super) fn place_before_epoch(&self, batch: &Batch) -> Verdict {
        if self.is_out_of_place(batch) { Verdict::Conflict } else { Verdict::Fenced }
    }

    /// As if the lease were looked at before the position.
    pub(super) fn lease_before_place(&mut self, batch: &Batch) -> Verdict {
        if batch.claimant().is_some_and(|claimant| self.is_leased_against(claimant)) {
            self.contested = true;
            Verdict::LeaseActive
        } else {
            Verdict::Conflict
        }
    }

    /// As if it were durable already.
    pub(super) fn answer_early(&self, id: CallId, caller: Life, batch: &Batch) -> Option<LedgerEffect> {
        let is_early = mutant!(true; ClaimNotDurable => batch.claimant().is_some());
        is_early.then(|| self.settle(id, caller, batch, Verdict::Appended { head: batch.end(), contested: false }))
    }
}
