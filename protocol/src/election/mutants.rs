//! What mutants need of the machine, in the build that has them.

use super::*;

impl Step<'_> {
    /// As if no later epoch than this had been heard of.
    pub(super) fn lower_floor(&mut self, epoch: Epoch) {
        self.election.floor = self.election.floor.min(epoch);
    }

    pub(super) fn compete(&mut self) {
        self.election.eligibility = Eligibility::Eligible;
    }
}
