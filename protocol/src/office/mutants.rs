//! What mutants need from the office, in the build that contains them.

use super::*;

impl Step<'_, '_> {
    pub(super) fn skip_to_head(&self, request: LedgerRequest) -> LedgerRequest {
        match request {
            LedgerRequest::Read { from, chunk: None } if from > Position(0) => {
                LedgerRequest::Read { from: self.office.seen.head, chunk: None }
            }
            request @ (LedgerRequest::Read { .. } | LedgerRequest::Status | LedgerRequest::Append(_)) => request,
        }
    }

    /// Resumes the term that the books show as its own.
    pub(super) fn resume_term(&mut self) -> bool {
        let State::Reading(reading) = &self.office.state else { return false };
        let books = reading.books();
        let Some(term) = books.term().copied() else { return false };
        let is_own = !term.ended && term.holder.peer == self.office.me.peer;
        if is_own {
            self.hold(term.epoch, Trader::new(self.office.me.peer, books.clone()));
        }
        is_own
    }

    /// Sends the same append again, at the head that it was told of.
    pub(super) fn move_to_head(&mut self) -> bool {
        let head = self.office.seen.head;
        match &mut self.office.state {
            State::Claiming { claim, .. } => {
                claim.position = mutant!(return false; ClaimsUnread => head);
                claim.records.iter_mut().for_each(|record| {
                    // Above anything written in between: this is not the fault that `NoCatchUp` makes.
                    let above = crate::clock::Time(record.stamp.time.0 + 16);
                    self.ctx.clock.catch_up(above);
                    record.stamp = self.ctx.clock.tick();
                });
            }
            State::Holding { in_flight: Some(batch), .. } => {
                batch.position = mutant!(return false; BatchMovedToHead => head);
            }
            State::Out | State::Reading(_) | State::Holding { in_flight: None, .. } => return false,
        }
        self.ask_again();
        true
    }

    pub(super) fn drop_batch(&mut self) -> bool {
        match &mut self.office.state {
            State::Holding { in_flight, .. } => in_flight.take().is_some(),
            State::Out | State::Reading(_) | State::Claiming { .. } => false,
        }
    }
}

/// What clients would be told about a batch if it were appended.
pub(super) fn told_of(trader: &Trader, batch: &Batch) -> Vec<OfficeEffect> {
    let told = trader.clone().on_appended(batch).unwrap_or_default();
    told.messages.into_iter().map(|(to, message)| OfficeEffect::Tell(to, message)).collect()
}

pub(super) fn not_in_conflict(verdict: Verdict) -> Verdict {
    match verdict {
        Verdict::Conflict => Verdict::Appended { head: Position(0), contested: false },
        Verdict::Appended { .. } | Verdict::Fenced | Verdict::LeaseActive => verdict,
    }
}
