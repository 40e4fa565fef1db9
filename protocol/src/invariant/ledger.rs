//! What the ledger answers, compared with the durable log (R2, R3).
//!
//! A second opinion: the fence is read from the records here, one by one, and batches are compared by their contents.
//! Nothing here consults the ledger, its [`Tail`](crate::ledger::Tail) or a digest.

use alloc::{format, string::String, vec::Vec};

use serde::{Deserialize, Serialize};

use super::{Property, Violation};
use crate::{
    clock::Time,
    config::Ordering,
    id::{Epoch, Life, Position},
    ledger::{LedgerAnswer, LedgerReply, LedgerStatus, Term, Verdict, Word},
    record::{Batch, Entry, Record},
};

/// What the log does not say about the latest term (DESIGN R6). An observer of a ledger maintains it from what goes in
/// and what comes out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Lease {
    /// The term is being renewed: it was not resigned, and its lease has not run out since the last renewal.
    pub is_live: bool,
    /// Another peer has claimed the office in vain since the holder's last append.
    pub is_contested: bool,
}

impl Lease {
    /// A ledger has started over this log. The lease starts afresh: the holder may be alive.
    #[must_use]
    pub fn afresh<'a>(log: impl IntoIterator<Item = &'a Batch>) -> Lease {
        Lease::afresh_behind(&Fence::of(log))
    }

    pub(super) fn afresh_behind(fence: &Fence) -> Lease {
        Lease { is_live: fence.is_open(), is_contested: false }
    }

    /// The lease timer has fired.
    #[must_use]
    pub fn run_out(self) -> Lease {
        Lease { is_live: false, ..self }
    }

    /// `batch` has become durable and is about to be answered. A peer that was kept out of an earlier term does not
    /// make a new one contested.
    #[must_use]
    pub fn written(self, batch: &Batch) -> Lease {
        Lease { is_contested: self.is_contested && claimant(batch).is_none(), ..self }
    }

    /// An append was answered with this verdict, over this log.
    #[must_use]
    pub fn answered<'a>(self, log: impl IntoIterator<Item = &'a Batch>, verdict: &Verdict) -> Lease {
        self.answered_behind(&Fence::of(log), verdict)
    }

    pub(super) fn answered_behind(self, fence: &Fence, verdict: &Verdict) -> Lease {
        match verdict {
            Verdict::Appended { .. } => Lease::afresh_behind(fence),
            Verdict::LeaseActive => Lease { is_contested: true, ..self },
            Verdict::Fenced | Verdict::Conflict => self,
        }
    }
}

/// R2: an append is answered by the first of these that applies.
///
/// 1. It is the very batch that was appended last: `Appended` again, with the head after that batch.
/// 2. Its epoch is not the caller's to write in: `Fenced`. A claim must be for the epoch after the latest, and in the
///    caller's own name; anything else must be for the latest, which the caller holds and has not resigned.
/// 3. Its position is not the head: `Conflict`.
/// 4. It is a claim, and another peer's term is active: `LeaseActive`.
/// 5. It is empty: `Appended`, with the head as it is.
///
/// If none applies it must be made durable, and gets no verdict before it is. `Appended` says whether the term is
/// contested (R6). `log` is the durable batches and `lease` the lease at the moment of the answer; a batch that has
/// just become durable is the last of the log.
///
/// # Errors
/// When the answer was different, or came at once where the batch must be written first, or was missing where it was
/// due.
pub fn the_ledger_answers_in_order<'a>(
    log: impl IntoIterator<Item = &'a Batch>,
    lease: Lease,
    caller: Life,
    batch: &Batch,
    answered: Option<&Verdict>,
) -> Result<(), Violation> {
    let (mut fence, mut last) = (Fence::default(), None);
    for batch in log {
        fence.absorb(batch);
        last = Some(batch);
    }
    the_ledger_answers_behind(&fence, last, lease, caller, batch, answered)
}

/// The same, where the fence of the log is known, and its `last` batch.
pub(super) fn the_ledger_answers_behind(
    fence: &Fence,
    last: Option<&Batch>,
    lease: Lease,
    caller: Life,
    batch: &Batch,
    answered: Option<&Verdict>,
) -> Result<(), Violation> {
    let due = fence.verdict(last, lease, caller, batch);
    if due.as_ref() == answered {
        return Ok(());
    }
    let what = format!(
        "an append of peer {} (incarnation {}) for epoch {} at {} {}, where it {}; the head is {}, the latest epoch {}",
        caller.peer,
        caller.incarnation,
        batch.epoch,
        batch.position,
        answer_name(answered),
        answer_name(due.as_ref()),
        fence.head,
        fence.epoch()
    );
    Err(Violation::off_the_log(Property::R2, what))
}

/// R3: a status that the ledger shows is the fence as it was at that head of the durable log. Only whole batches are
/// durable, so there never was a head within one.
///
/// # Errors
/// At the head that was shown, when it was never a head or the term there was different; at the log's end, when the log
/// is shorter than that.
pub fn a_status_shown_is_the_fence_at_a_durable_head<'a>(
    log: impl IntoIterator<Item = &'a Batch>,
    status: &LedgerStatus,
) -> Result<(), Violation> {
    let mut fence = Fence::default();
    for batch in log {
        if fence.head >= status.head.0 {
            break;
        }
        fence.absorb(batch);
    }
    let violated = |head, what| Err(Violation::at(Property::R3, Position(head), what));
    if fence.head < status.head.0 {
        return violated(fence.head, format!("the durable log ends here, but a head of {} was shown", status.head));
    }
    if fence.head > status.head.0 {
        return violated(status.head.0, String::from("the head that was shown is within a batch"));
    }
    if fence.latest != status.latest {
        let what = format!("{} was shown as the largest stamp, which is {}", status.latest, fence.latest);
        return violated(fence.head, what);
    }
    if fence.term != status.term {
        let (shown, durable) = (term_name(status.term), term_name(fence.term));
        return violated(fence.head, format!("{shown} was shown, where {durable} is durable"));
    }
    Ok(())
}

/// R3: everything in a reply is durable. Its status is the fence at a durable head, and nothing in the answer reaches
/// above that head: its records are those of the log, a snapshot was taken no higher, and an append that it confirms
/// ends no higher.
/// # Errors
/// As [`a_status_shown_is_the_fence_at_a_durable_head`]; at the first record that violates this, or at the position
/// that is too high.
pub fn whatever_the_ledger_shows_is_durable<'a>(
    log: impl IntoIterator<Item = &'a Batch>,
    reply: &LedgerReply,
) -> Result<(), Violation> {
    let log: Vec<&Batch> = log.into_iter().collect();
    let LedgerReply { word: Word { status, seen, .. }, answer } = reply;
    a_status_shown_is_the_fence_at_a_durable_head(log.iter().copied(), status)?;
    let head = status.head.0;
    let violated = |position, what| Err(Violation::at(Property::R3, Position(position), what));
    if (seen.epoch, seen.head) != (status.epoch(), status.head) {
        return violated(head, format!("a mark of epoch {}, head {} was given with it", seen.epoch, seen.head));
    }
    match answer {
        LedgerAnswer::Status => Ok(()),
        LedgerAnswer::Chunk { id, .. } if id.position.0 > head => {
            violated(id.position.0, format!("the snapshot that was shown is above the head, {head}"))
        }
        LedgerAnswer::Chunk { .. } => Ok(()),
        LedgerAnswer::Records { from, records } => {
            let durable = (0..head).zip(log.iter().flat_map(|batch| &batch.records));
            let mut durable = durable.skip_while(|(position, _)| *position < from.0);
            for (position, shown) in (from.0..).zip(records) {
                match durable.next() {
                    Some((_, record)) if record == shown => {}
                    Some(_) => {
                        return violated(position, String::from("the record that was shown is not the durable one"));
                    }
                    None => return violated(position, format!("the record that was shown is above the head, {head}")),
                }
            }
            Ok(())
        }
        LedgerAnswer::Append { verdict: Verdict::Appended { head: appended, .. }, .. } if appended.0 > head => {
            violated(appended.0, format!("the batch that was confirmed ends above the head, {head}"))
        }
        LedgerAnswer::Append { .. } => Ok(()),
    }
}

/// The fence according to the records.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Fence {
    /// How many records there are.
    head: u64,
    term: Option<Term>,
    is_stable: bool,
    /// The largest time in any of them, in the stable order.
    latest: Time,
}

impl Fence {
    fn of<'a>(log: impl IntoIterator<Item = &'a Batch>) -> Fence {
        let mut fence = Fence::default();
        log.into_iter().for_each(|batch| fence.absorb(batch));
        fence
    }

    pub(super) fn absorb(&mut self, batch: &Batch) {
        for record in &batch.records {
            match record.entry {
                Entry::Claimed { epoch, holder, ordering } => {
                    self.term = Some(Term { epoch, holder, ended: false });
                    self.is_stable = ordering == Ordering::Stable;
                }
                Entry::Resigned => {
                    if let Some(term) = &mut self.term {
                        term.ended = true;
                    }
                }
                Entry::Deposited(_)
                | Entry::Seated { .. }
                | Entry::Unseated { .. }
                | Entry::Admitted { .. }
                | Entry::Sold(_)
                | Entry::Refused { .. } => {}
            }
            if self.is_stable {
                self.latest = self.latest.max(record.stamp.time);
            }
        }
        self.head += batch.records.len() as u64;
    }

    pub(super) fn head(&self) -> u64 {
        self.head
    }

    pub(super) fn epoch(&self) -> Epoch {
        self.term.map_or(Epoch(0), |term| term.epoch)
    }

    fn is_open(&self) -> bool {
        self.term.is_some_and(|term| !term.ended)
    }

    /// Whether a reply with this status shows, of the records that are durable, what is there.
    pub(super) fn shows(&self, records: &[Record], LedgerReply { word, answer }: &LedgerReply) -> bool {
        let (head, Word { status, seen, .. }) = (self.head, word);
        let is_this = (status.head.0, status.term, status.latest) == (head, self.term, self.latest);
        if !is_this || (seen.epoch, seen.head.0) != (self.epoch(), head) {
            return false;
        }
        match answer {
            LedgerAnswer::Status => true,
            LedgerAnswer::Chunk { id, .. } => id.position.0 <= head,
            LedgerAnswer::Records { from, records: shown } => {
                let from = usize::try_from(from.0).unwrap_or(usize::MAX);
                let upto = from.saturating_add(shown.len());
                records.len() as u64 == head && records.get(from..upto) == Some(shown.as_slice())
            }
            LedgerAnswer::Append { verdict: Verdict::Appended { head: appended, .. }, .. } => appended.0 <= head,
            LedgerAnswer::Append { verdict: Verdict::Fenced | Verdict::Conflict | Verdict::LeaseActive, .. } => true,
        }
    }

    fn verdict(&self, last: Option<&Batch>, lease: Lease, caller: Life, batch: &Batch) -> Option<Verdict> {
        let appended = |head: u64| Verdict::Appended { head: Position(head), contested: lease.is_contested };
        if last.is_some_and(|last| last == batch) {
            return Some(appended(batch.position.0 + batch.records.len() as u64));
        }
        let claimant = claimant(batch);
        let may_write = match claimant {
            Some(claimant) => self.epoch().0.checked_add(1) == Some(batch.epoch.0) && claimant == caller,
            None => self.term.is_some_and(|term| term.epoch == batch.epoch && term.holder == caller && !term.ended),
        };
        if !may_write {
            return Some(Verdict::Fenced);
        }
        if batch.position.0 != self.head {
            return Some(Verdict::Conflict);
        }
        // A peer's own former term does not keep it out.
        let is_anothers = |claimant: Life| self.term.is_some_and(|term| term.holder.peer != claimant.peer);
        if lease.is_live && claimant.is_some_and(is_anothers) {
            return Some(Verdict::LeaseActive);
        }
        batch.records.is_empty().then(|| appended(self.head))
    }
}

/// The life that claims with a batch: a claim is a single record.
fn claimant(batch: &Batch) -> Option<Life> {
    match batch.records.as_slice() {
        [Record { entry: Entry::Claimed { holder, .. }, .. }] => Some(*holder),
        _ => None,
    }
}

fn answer_name(verdict: Option<&Verdict>) -> String {
    match verdict {
        Some(Verdict::Appended { head, contested: false }) => format!("is appended up to {head}"),
        Some(Verdict::Appended { head, contested: true }) => format!("is appended up to {head} in a contested term"),
        Some(Verdict::Fenced) => String::from("is fenced"),
        Some(Verdict::Conflict) => String::from("is in conflict"),
        Some(Verdict::LeaseActive) => String::from("meets an active lease"),
        None => String::from("must be written first"),
    }
}

fn term_name(term: Option<Term>) -> String {
    match term {
        Some(Term { epoch, holder, ended }) => {
            let ended = if ended { ", resigned" } else { "" };
            format!("epoch {epoch} of peer {} (incarnation {}){ended}", holder.peer, holder.incarnation)
        }
        None => String::from("no term"),
    }
}

#[cfg(test)]
mod tests;
