//! What mutants need from the clock, in the build that contains them.

use super::*;

impl Clock {
    pub(crate) fn reset(&mut self) {
        self.now = Time(0);
    }
}
