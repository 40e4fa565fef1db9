//! What happened before what, as far as requests that still have no outcome are concerned (SPEC C5).
//!
//! A second opinion on the stable order that compares no stamps: it follows what each participant can know. That is a
//! vector clock, restricted to the events that matter. Of the past of a participant only the open requests in it are
//! kept: one request happened before another exactly if it is in the past of the other's buyer when that one is made.
//! Readings only say which event of its sender a message belongs to.

use alloc::{
    collections::{BTreeMap, BTreeSet},
    format,
};

use super::{Property, Violation, request_name};
use crate::{
    clock::Time,
    id::{PeerId, Position, RequestId},
    record::{Batch, Entry, Request},
};

/// The open requests in the past of every participant, of the log, and of one another.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct Causes {
    /// What each participant knows, and the first reading of its clock since.
    known: BTreeMap<PeerId, BTreeMap<RequestId, Time>>,
    /// What the log shows, and from which head on.
    logged: BTreeMap<RequestId, Position>,
    /// What happened before each open request.
    pasts: BTreeMap<RequestId, BTreeSet<RequestId>>,
    /// The open requests that happened before one that has its outcome.
    overtaken: BTreeSet<RequestId>,
}

impl Causes {
    /// What a participant learns from a message of `from` that carries this reading.
    pub(super) fn told(&self, from: PeerId, reading: Time) -> impl Iterator<Item = RequestId> {
        let known = self.known.get(&from).into_iter().flatten();
        known.filter(move |(_, since)| **since <= reading).map(|(id, _)| *id)
    }

    /// What a participant learns from the log up to this head.
    pub(super) fn shown(&self, head: Position) -> impl Iterator<Item = RequestId> {
        self.logged.iter().filter(move |(_, since)| **since <= head).map(|(id, _)| *id)
    }

    /// Whether a participant does not know all of these yet.
    pub(super) fn teaches(&self, peer: PeerId, mut requests: impl Iterator<Item = RequestId>) -> bool {
        let known = self.known.get(&peer);
        requests.any(|id| known.is_none_or(|known| !known.contains_key(&id)))
    }

    /// A participant knows of these requests, from this reading of its clock on.
    pub(super) fn learn(&mut self, peer: PeerId, requests: BTreeSet<RequestId>, since: Time) {
        let known = self.known.entry(peer).or_default();
        for id in requests {
            known.entry(id).or_insert(since);
        }
    }

    /// A request is made: all that its buyer knows happened before it.
    pub(super) fn made(&mut self, request: &Request) {
        let known = self.known.entry(request.id.buyer).or_default();
        self.pasts.insert(request.id, known.keys().copied().collect());
        known.insert(request.id, request.stamp.time);
    }

    /// A participant has started again, with a clock that resumes at this bound. What raised its clock above that is
    /// forgotten by everybody.
    pub(super) fn restarted(&mut self, peer: PeerId, bound: Time) {
        if let Some(known) = self.known.get_mut(&peer) {
            known.retain(|_, since| since.0 <= bound.0 + 1);
        }
    }

    /// These requests were never made, or are settled.
    pub(super) fn forget(&mut self, is_over: impl Fn(&RequestId) -> bool) {
        self.pasts.retain(|id, _| !is_over(id));
        self.excuse(is_over);
    }

    /// Others may be served before these, whatever they happened before.
    fn excuse(&mut self, is_excused: impl Fn(&RequestId) -> bool) {
        self.known.values_mut().for_each(|known| known.retain(|id, _| !is_excused(id)));
        self.known.retain(|_, known| !known.is_empty());
        self.logged.retain(|id, _| !is_excused(id));
        self.pasts.values_mut().for_each(|past| past.retain(|id| !is_excused(id)));
        self.overtaken.retain(|id| !is_excused(id));
    }

    /// A batch is durable.
    ///
    /// # Errors
    /// C5: when it holds the outcome of a request that happened before one that has its outcome already, and that is
    /// not shown as late.
    pub(super) fn written(&mut self, batch: &Batch) -> Result<(), Violation> {
        let mut found = Ok(());
        let mut position = batch.position;
        for record in &batch.records {
            let settled = match &record.entry {
                Entry::Admitted { request, place } => {
                    if request.is_late_at(*place) {
                        self.excuse(|id| *id == request.id);
                    }
                    None
                }
                Entry::Sold(sale) => Some(sale.request),
                Entry::Refused { request, .. } => Some(*request),
                Entry::Claimed { .. }
                | Entry::Seated { .. }
                | Entry::Unseated { .. }
                | Entry::Deposited(_)
                | Entry::Resigned => None,
            };
            if let Some(id) = settled {
                if self.overtaken.contains(&id) {
                    let what = format!(
                        "{} is served after one that it happened before, and is not shown as late",
                        request_name(id)
                    );
                    found = found.and(Err(Violation::at(Property::C5, position, what)));
                }
                let past = self.pasts.remove(&id).unwrap_or_default();
                self.overtaken.extend(past);
                // S13: whatever else this buyer has asked for so far can never be admitted any more.
                self.forget(|other| other.buyer == id.buyer);
            }
            position = position.plus(1);
        }
        if let (Some(writer), Some(last)) = (batch.writer(), batch.records.last()) {
            let known = self.known.get(&writer).into_iter().flatten();
            let written = known.filter(|(_, since)| **since <= last.stamp.time).map(|(id, _)| *id);
            for id in written {
                self.logged.entry(id).or_insert(batch.end());
            }
        }
        found
    }
}

#[cfg(test)]
mod tests {
    use alloc::{vec, vec::Vec};

    use super::*;
    use crate::testing::{batch, record, request};

    fn admitted(time: u64, request: &Request, place: u64) -> crate::record::Record {
        record(time, 9, Entry::Admitted { request: request.clone(), place: Time(place) })
    }

    fn refused(time: u64, request: &Request) -> crate::record::Record {
        record(time, 9, Entry::Refused { request: request.id, leftover: None })
    }

    /// Peer 1 asks; peer 9 hears of it at 5, and writes a record at 6.
    fn begun() -> (Causes, Request) {
        let (mut causes, first) = (Causes::default(), request(4, 1, 1));
        causes.made(&first);
        assert_eq!(causes.told(PeerId(1), Time(3)).count(), 0, "that was said before");
        let told = causes.told(PeerId(1), Time(4)).collect();
        causes.learn(PeerId(9), told, Time(5));
        causes.written(&batch(1, 0, [record(6, 9, Entry::Unseated { buyer: PeerId(7) })])).unwrap();
        (causes, first)
    }

    #[test]
    fn a_request_served_after_one_that_it_happened_before_is_found() {
        for upto in [0, 1] {
            let (mut causes, first) = begun();
            let shown = causes.shown(Position(upto)).collect();
            causes.learn(PeerId(2), shown, Time(2));
            // By its stamp it comes first; nothing here looks at that.
            let second = request(3, 2, 1);
            causes.made(&second);
            let served = |request: &Request, time| {
                vec![admitted(time, request, request.stamp.time.0), refused(time + 1, request)]
            };
            assert_eq!(causes.clone().written(&batch(1, 1, served(&first, 7))), Ok(()));
            causes.written(&batch(1, 1, served(&second, 7))).unwrap();
            let found =
                causes.written(&batch(1, 3, served(&first, 9))).map_err(|found| (found.property, found.position));
            let due = if upto == 0 { Ok(()) } else { Err((Property::C5, Some(Position(4)))) };
            assert_eq!(found, due, "shown the log up to {upto}");
        }
    }

    #[test]
    fn a_request_that_is_shown_as_late_may_be_served_later() {
        let (mut causes, first) = begun();
        let shown = causes.shown(Position(1)).collect();
        causes.learn(PeerId(2), shown, Time(2));
        let second = request(8, 2, 1);
        causes.made(&second);
        let records: Vec<_> =
            vec![admitted(9, &second, 8), refused(10, &second), admitted(11, &first, 9), refused(12, &first)];
        assert_eq!(causes.written(&batch(1, 1, records)), Ok(()));
    }

    #[test]
    fn what_was_never_written_is_forgotten_by_a_restart() {
        let (mut causes, _) = begun();
        assert!(!causes.teaches(PeerId(9), causes.told(PeerId(1), Time(9))));
        causes.restarted(PeerId(9), Time(4));
        assert!(!causes.teaches(PeerId(9), causes.told(PeerId(1), Time(9))));
        causes.restarted(PeerId(9), Time(3));
        assert!(causes.teaches(PeerId(9), causes.told(PeerId(1), Time(9))));
    }
}
