//! What mutants need from the election, in the build that contains them.

use super::*;

impl Step<'_> {
    /// Behaves as though it had heard of no later epoch.
    pub(super) fn lower_floor(&mut self, epoch: Epoch) {
        self.election.floor = self.election.floor.min(epoch);
    }

    pub(super) fn compete(&mut self) {
        self.election.eligibility = Eligibility::Eligible;
    }
}
