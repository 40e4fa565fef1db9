//! What must hold once faults have stopped (L1 to L4, A9), within stated bounds.

use std::{collections::BTreeSet, time::Duration};

use bazaar_protocol::{
    effect::Note,
    id::PeerId,
    invariant::{Checked, Property, Settled, Violation},
    message::Envelope,
};

use super::{
    meter::Operation,
    plan::{ACQUAINTED, ELECTION_BOUND, REQUEST_BOUND, SETTLE},
    world::{Event, NEVER, Phase, World},
};

/// How often it is asked whether there is one trader that all know.
const LOOK: u64 = 100_000_000;

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(NEVER)
}

fn violated(property: Property, what: String) -> Checked {
    Err(Violation::off_the_log(property, what))
}

impl World {
    /// The peers that are alive, if all of them hear each other over links that are not cut for good. Empty where
    /// nothing can be demanded.
    fn together(&self) -> BTreeSet<PeerId> {
        let is_live = |peer: usize| self.nodes[peer].peer.is_some();
        let live: BTreeSet<PeerId> =
            (0..self.nodes.len()).filter(|peer| is_live(*peer)).map(|peer| PeerId(peer as u32)).collect();
        let mut reached = BTreeSet::new();
        let mut next: Vec<PeerId> = live.first().copied().into_iter().collect();
        while let Some(peer) = next.pop() {
            if !reached.insert(peer) {
                continue;
            }
            for (other, link) in &self.nodes[peer.0 as usize].links {
                let ways = [*link, link ^ 1].map(|way| &self.links[way as usize]);
                if live.contains(other) && ways.iter().all(|way| !way.is_gone) {
                    next.push(*other);
                }
            }
        }
        if reached == live { live } else { BTreeSet::new() }
    }

    fn settled(&self, together: BTreeSet<PeerId>) -> Settled<'_> {
        let live = self.nodes.iter().filter_map(|node| node.peer.as_ref());
        Settled {
            live: live.map(|peer| peer.participant()).collect(),
            together,
            unheard: BTreeSet::new(),
            deaf: BTreeSet::new(),
            status: self.site.archive.status(),
            books: self.observer.log().books(),
        }
    }

    /// Whether everybody is there who ever was.
    fn is_everybody_there(&self) -> bool {
        self.nodes.iter().all(|node| node.peer.is_some())
    }

    /// L1, L3: looks until there is one trader that all know.
    pub(super) fn sample(&mut self) {
        if self.phase != Phase::Settling {
            return;
        }
        // Before all are up that will be, there is nobody to ask.
        let are_up = self.nodes.iter().all(|node| node.peer.is_some() || node.is_gone);
        let together = self.together();
        if !are_up
            || !together.is_empty() && self.settled(together.clone()).there_is_one_trader_that_all_know().is_err()
        {
            self.events.push(self.now + LOOK, Event::Sample);
            return;
        }
        if !together.is_empty() {
            self.tally.operation(Operation::Settled);
        }
        // There is one, or nothing is asked.
        self.has_settled = true;
    }

    /// The time to settle is over.
    pub(super) fn be_quiet(&mut self) {
        self.phase = Phase::Quiet;
        self.quiet_since = self.now;
        if self.conditions.terms.resign_after == u32::MAX && self.is_everybody_there() {
            self.tally.operation(Operation::QuietTerm);
        }
        if let Some(story) = &mut self.story {
            story.remark(self.now, "the network must be quiet from here on");
        }
        if !self.has_settled {
            let found = self.settled(self.together()).there_is_one_trader_that_all_know();
            let found = found.map_err(|violation| {
                let what = format!("{} s after the last fault, {}", SETTLE.as_secs(), violation.what);
                Violation { what, ..violation }
            });
            self.check(found);
        }
    }

    fn is_quiet(&self) -> bool {
        matches!(self.phase, Phase::Quiet | Phase::Draining)
    }

    /// Whether a unicast of this peer must find its path (A9).
    pub(super) fn may_not_be_flooded(&self, source: usize) -> bool {
        // A new trader has not heard of all its clients yet, if it has restarted since they spoke last.
        let (trader, since) = self.took_office;
        let is_new = source == trader && self.now < since + nanos(ACQUAINTED);
        self.is_quiet() && !is_new && self.is_everybody_there()
    }

    /// A9: a unicast is turned into a flood.
    pub(super) fn on_detour(&mut self, nth: usize, envelope: &Envelope) {
        if self.may_not_be_flooded(envelope.source.0 as usize) {
            let to = envelope.destination().map_or(String::new(), |to| format!(" to peer {to}"));
            let what = format!(
                "{} s after the last fault, peer {nth} floods a unicast of peer {}{to}",
                self.since_last_fault(),
                envelope.source
            );
            self.check(violated(Property::A9, what));
        }
    }

    fn since_last_fault(&self) -> u64 {
        self.now.saturating_sub(self.schedule.faults_stop.nanos()) / 1_000_000_000
    }

    /// L4: who calls an election when, and how long a request waits.
    pub(super) fn judge_note(&mut self, nth: usize, note: &Note) {
        match note {
            Note::Wanted { .. } => self.nodes[nth].wants_since = self.now,
            Note::Bought { .. } | Note::Unavailable { .. } | Note::Recalled { .. } => {
                let since = std::mem::replace(&mut self.nodes[nth].wants_since, NEVER);
                if since < NEVER
                    && let Some(survey) = &mut self.survey
                {
                    survey.waited(self.now - since);
                }
                self.judge_wait(nth, since);
            }
            Note::TookOffice { .. } => {
                self.took_office = (nth, self.now);
                self.nodes[nth].wants_since = NEVER;
                if let Some(survey) = &mut self.survey {
                    survey.took_office(self.now);
                }
            }
            Note::TraderSuspected { trader } if self.is_quiet() && self.is_everybody_there() => {
                let what = format!("peer {nth} suspects trader {trader}, although nothing has gone wrong");
                self.check(violated(Property::L4, what));
            }
            Note::ElectionCalled | Note::AskedForAnyone if self.is_quiet() && self.is_everybody_there() => {
                let bound = nanos(ELECTION_BOUND);
                if self.resigned_at.is_none_or(|resigned| self.now - resigned > bound) {
                    let what = format!("peer {nth} calls an election, although nobody has resigned");
                    self.check(violated(Property::L4, what));
                }
            }
            Note::TraderSuspected { .. }
            | Note::ElectionCalled
            | Note::AskedForAnyone
            | Note::Joined { .. }
            | Note::ElectionWon
            | Note::Recognised { .. }
            | Note::SteppedDown { .. }
            | Note::Deposited { .. }
            | Note::Admitted { .. }
            | Note::Seated { .. }
            | Note::Unseated { .. }
            | Note::Sold { .. }
            | Note::Refused { .. }
            | Note::ResumedRequest { .. }
            | Note::Registered { .. }
            | Note::Earned { .. }
            | Note::SoldOut { .. }
            | Note::LeftOver { .. }
            | Note::ResumedAccount { .. }
            | Note::LedgerHeard
            | Note::LedgerSilent
            | Note::NoSuchEpoch { .. }
            | Note::TermRefused { .. }
            | Note::EnvelopeRefused { .. }
            | Note::BooksRefused { .. } => {}
        }
    }

    /// L4: what a peer has wanted since then has not waited for too long in a quiet network.
    fn judge_wait(&mut self, nth: usize, since: u64) {
        let begun = since.max(self.quiet_since);
        if self.is_quiet() && since < NEVER && self.now.saturating_sub(begun) > nanos(REQUEST_BOUND) {
            let what = format!("peer {nth}'s request has waited for {} ms", (self.now - begun) / 1_000_000);
            self.check(violated(Property::L4, what));
        }
    }

    /// L2, C2: the end.
    pub(super) fn end(&mut self) {
        for nth in 0..self.nodes.len() {
            self.judge_wait(nth, self.nodes[nth].wants_since);
        }
        let together = self.together();
        if together.is_empty() {
            return;
        }
        let settled = self.settled(together);
        let found = settled.there_is_one_trader_that_all_know();
        let found = found.and_then(|()| settled.everybody_was_told());
        let found = found.and_then(|()| settled.every_seller_has_goods());
        let heard: Vec<_> =
            settled.live.iter().copied().filter(|live| settled.together.contains(&live.me().peer)).collect();
        let found = found.and_then(|()| self.observer.on_quiet(&heard));
        self.check(found);
    }
}
