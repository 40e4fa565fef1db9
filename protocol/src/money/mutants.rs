//! What mutants need from the money, in the build that contains them.

use super::*;

impl Commission {
    /// The seller's part, rounded down too.
    pub(super) fn rest_of(self, total: Cents) -> Cents {
        Cents(total.0 * u128::from(10_000 - self.0) / 10_000)
    }
}
