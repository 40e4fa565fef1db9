//! What mutants need from a ledger's process over a replicated store, in the build that contains them.

use super::*;

impl Step<'_> {
    /// Answers from what is known what needs no write, and returns the other calls.
    pub(super) fn answer_from_memory(&mut self, calls: Queue) -> Queue {
        let mut others = Queue::new();
        for (id, call) in calls {
            let is_append = matches!(call.request, LedgerRequest::Append(_));
            let is_at_once = mutant!(
                false;
                AnswersFromMemory => !is_append,
                FenceFromMemory => is_append && self.planned(id, &call).is_none()
            );
            if is_at_once && !self.replica.judge.is_behind(call.seen) {
                let _ = self.answer(id, &call);
            } else {
                others.push_back((id, call));
            }
        }
        others
    }

    /// Answers an append whose outcome is unknown as though it had been refused.
    pub(super) fn take_for_refused(&mut self, append: Append, asking: Queue, waiting: Queue) {
        let Append { id, asker, batch, .. } = append;
        self.settle(id, asker, &batch, Ruling { verdict: Some(Verdict::Conflict), lease: None }, false);
        self.begin_with(asking, waiting);
    }

    /// Forgets an append whose outcome is unknown, and goes on from what is known.
    pub(super) fn forget(&mut self, append: Append, asking: Queue, waiting: Queue) {
        self.effects.push(ReplicaEffect::Drop(append.id));
        self.begin_with(asking, waiting);
    }

    fn begin_with(&mut self, mut asking: Queue, mut waiting: Queue) {
        asking.append(&mut waiting);
        self.begin(asking);
    }
}
