//! What mutants need of the clock, in the build that has them.

use super::*;

impl Clock {
    pub(crate) fn reset(&mut self) {
        self.now = Time(0);
    }
}
