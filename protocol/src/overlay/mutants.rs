//! What mutants need from the overlay, in the build that contains them.

use super::*;

impl Overlay {
    /// What is left to do with a flood that has arrived before.
    pub(super) fn again(&self, id: FloodId, to: Option<PeerId>, envelope: Envelope) -> Arrival {
        let is_mine = id.origin != self.me.peer && to.is_none_or(|to| to == self.me.peer);
        Arrival { delivered: is_mine.then_some(envelope), forwarded: Vec::new() }
    }
}
