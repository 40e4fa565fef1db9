//! How buyers' promises reach the trader (SPEC C5): gathered, from neighbour to neighbour, on the way back of a wave.
//!
//! A *wave* is a broadcast that asks for promises: a heartbeat of a trader whose next request waits, or one sent for
//! this alone. The neighbour that brought a wave first is the one that the answer goes to. A peer answers once, with its
//! own promise and those that it has gathered, when every other neighbour has sent either its copy of the same wave, and
//! so answers to another, or its answer (the probe and echo of Chang 1982, without the acknowledgements). So a wave
//! among N peers is answered in N-1 envelopes, and nothing is flooded.
//!
//! Nothing here has to arrive. A promise stays true however late it comes, and the next wave asks again. A peer waits
//! for its neighbours no longer than a timer allows; what comes after that leaves with its next answer. A neighbour that
//! the timer found silent is not waited for again before something has come from it.
//!
//! The timer is long enough for the way through the whole network and back. Heartbeats may come faster: then the answer
//! to one wave counts for the next as well, so that promises keep moving, and the timer runs on for those neighbours
//! that have sent nothing since it was started.

use alloc::{
    collections::{BTreeMap, BTreeSet},
    vec::Vec,
};

use serde::{Deserialize, Serialize};

use crate::{
    id::PeerId,
    message::{FloodId, Promise},
};

/// One peer's part in the gathering of promises.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Gather {
    /// The wave that it heard of last.
    wave: Option<FloodId>,
    /// The neighbour that brought it; `None` where this peer started it.
    towards: Option<PeerId>,
    /// Whether its answer is still to be given or, where it started the wave, to come.
    is_open: bool,
    /// Those that have yet to send their copy of the wave, or their answer.
    awaited: BTreeSet<PeerId>,
    /// Those of them that have sent nothing since the timer was started.
    overdue: BTreeSet<PeerId>,
    /// Whether the timer is to be started afresh at the end of this step.
    starts: bool,
    /// Those for which the timer fired and from which nothing has come since.
    mute: BTreeSet<PeerId>,
    /// What it has gathered, of each buyer the furthest.
    promises: Promises,
}

/// Who promises, and what.
pub type Promises = BTreeMap<PeerId, Promise>;

impl Gather {
    /// Whether it waits for a neighbour; then the timer must run.
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.is_open
    }

    /// This peer starts a wave that goes to these neighbours.
    pub fn start(&mut self, wave: FloodId, neighbours: &BTreeSet<PeerId>) {
        self.begin(wave, None, neighbours);
    }

    /// A wave has come for the first time, `from` one of these neighbours; it has gone to the others.
    pub fn on_wave(&mut self, wave: FloodId, from: PeerId, neighbours: &BTreeSet<PeerId>) {
        self.mute.remove(&from);
        self.begin(wave, Some(from), neighbours);
    }

    fn begin(&mut self, wave: FloodId, towards: Option<PeerId>, neighbours: &BTreeSet<PeerId>) {
        let age = |wave: FloodId| (wave.incarnation, wave.number);
        if self.wave.is_some_and(|known| known.origin == wave.origin && age(known) > age(wave)) {
            // It was overtaken: the answer to the later one says more.
            return;
        }
        let is_awaited = |neighbour: &&PeerId| Some(**neighbour) != towards && !self.mute.contains(*neighbour);
        self.awaited = neighbours.iter().filter(is_awaited).copied().collect();
        self.wave = Some(wave);
        self.towards = towards;
        self.is_open = true;
        self.overdue.retain(|neighbour| self.awaited.contains(neighbour));
        // A timer that still runs for somebody runs on, or a neighbour that is silent would never be given up where waves
        // follow one another fast.
        if self.overdue.is_empty() {
            self.start_timer();
        }
    }

    fn start_timer(&mut self) {
        self.overdue = self.awaited.clone();
        self.starts = !self.overdue.is_empty();
    }

    /// Whether the timer must be started afresh now that a step is over.
    pub fn starts(&mut self) -> bool {
        core::mem::take(&mut self.starts)
    }

    fn heard(&mut self, from: PeerId) {
        self.awaited.remove(&from);
        self.overdue.remove(&from);
    }

    /// A copy of a wave that was taken before has come from a neighbour: that one answers to another.
    pub fn on_copy(&mut self, wave: FloodId, from: PeerId) {
        self.mute.remove(&from);
        if self.wave == Some(wave) {
            mutant!(self.heard(from); CopyNotCounted => {});
        }
    }

    /// This peer promises.
    pub fn promise(&mut self, peer: PeerId, promise: Promise) {
        // Of a life, the later promise; a later life has promised nothing yet.
        let reach = |promise: &Promise| (promise.incarnation, promise.above);
        let is_further = self.promises.get(&peer).is_none_or(|known| reach(known) <= reach(&promise));
        if is_further {
            self.promises.insert(peer, promise);
        }
    }

    /// Promises have come from a neighbour; `more`: others follow in an envelope of their own. Returns those that are for
    /// this peer, which started the wave.
    pub fn on_answer(&mut self, from: PeerId, promises: Vec<(PeerId, Promise)>, more: bool) -> Promises {
        self.mute.remove(&from);
        for (peer, promise) in promises {
            self.promise(peer, promise);
        }
        if !more {
            self.heard(from);
        }
        if self.towards.is_none() { core::mem::take(&mut self.promises) } else { Promises::new() }
    }

    /// The link to a neighbour has gone down: nothing comes from it.
    pub fn link_down(&mut self, neighbour: PeerId) {
        self.heard(neighbour);
        self.mute.remove(&neighbour);
    }

    /// The timer has fired. It is started afresh for those that are waited for since it was started.
    pub fn on_timer(&mut self) {
        self.awaited.retain(|neighbour| !self.overdue.contains(neighbour));
        self.mute.append(&mut self.overdue);
        self.start_timer();
    }

    /// The answer, and the neighbour that it is for, if it is due now that a step is over. If that neighbour's link is not
    /// among these, what was gathered leaves with the next answer.
    pub fn due(&mut self, links: &BTreeSet<PeerId>) -> Option<(PeerId, Promises)> {
        let is_complete = mutant!(self.awaited.is_empty(); AnswersAtOnce => true);
        if !self.is_open || !is_complete {
            return None;
        }
        self.is_open = false;
        let towards = self.towards.filter(|towards| links.contains(towards))?;
        Some((towards, core::mem::take(&mut self.promises)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{clock::Time, id::Incarnation};

    fn wave(number: u64) -> FloodId {
        FloodId { origin: PeerId(9), incarnation: Incarnation(1), number }
    }

    fn promise(above: u64) -> Promise {
        Promise { incarnation: Incarnation(1), above: Time(above), open: None }
    }

    fn neighbours() -> BTreeSet<PeerId> {
        [1, 2, 3].map(PeerId).into()
    }

    /// A relay that has promised and waits for two neighbours.
    fn relay() -> Gather {
        let mut gather = Gather::default();
        gather.on_wave(wave(1), PeerId(1), &neighbours());
        assert!(gather.starts() && !gather.starts(), "the timer, and once");
        gather.promise(PeerId(0), promise(5));
        assert_eq!(gather.due(&neighbours()), None);
        gather
    }

    fn answer(gather: &mut Gather) -> Option<(u32, Vec<(u32, u64)>)> {
        let (to, promises) = gather.due(&neighbours())?;
        Some((to.0, promises.into_iter().map(|(peer, promise)| (peer.0, promise.above.0)).collect()))
    }

    #[test]
    fn a_peer_answers_once_all_others_have_sent_the_wave_or_their_answers() {
        let mut gather = relay();
        gather.on_copy(wave(1), PeerId(2));
        assert_eq!(answer(&mut gather), None);
        gather.on_answer(PeerId(3), alloc::vec![(PeerId(7), promise(4))], true);
        assert_eq!(answer(&mut gather), None, "more follows");
        gather.on_answer(PeerId(3), alloc::vec![(PeerId(8), promise(6))], false);
        assert_eq!(answer(&mut gather), Some((1, alloc::vec![(0, 5), (7, 4), (8, 6)])));
        assert_eq!(answer(&mut gather), None, "and once");
    }

    #[test]
    fn a_peer_with_one_neighbour_answers_at_once() {
        let mut gather = Gather::default();
        gather.on_wave(wave(1), PeerId(1), &[PeerId(1)].into());
        assert!(!gather.starts(), "no timer");
        assert_eq!(answer(&mut gather), Some((1, alloc::vec![])), "also if it has nothing to promise");
    }

    #[test]
    fn a_neighbour_that_is_silent_is_waited_for_once() {
        let mut gather = relay();
        gather.on_copy(wave(1), PeerId(2));
        gather.on_timer();
        assert_eq!(answer(&mut gather), Some((1, alloc::vec![(0, 5)])));
        gather.on_wave(wave(2), PeerId(1), &neighbours());
        gather.on_copy(wave(2), PeerId(2));
        assert_eq!(answer(&mut gather), Some((1, alloc::vec![])));
        // What it sends late leaves with the next answer, and from then on it is waited for.
        gather.on_answer(PeerId(3), alloc::vec![(PeerId(7), promise(4))], false);
        assert_eq!(answer(&mut gather), None);
        gather.on_wave(wave(3), PeerId(1), &neighbours());
        gather.on_copy(wave(3), PeerId(2));
        assert_eq!(answer(&mut gather), None);
        gather.on_answer(PeerId(3), alloc::vec![], false);
        assert_eq!(answer(&mut gather), Some((1, alloc::vec![(7, 4)])));
    }

    #[test]
    fn waves_that_follow_fast_do_not_keep_the_timer_from_firing_for_whom_it_was_started() {
        let mut gather = relay();
        gather.on_copy(wave(1), PeerId(2));
        gather.on_wave(wave(2), PeerId(1), &neighbours());
        assert!(!gather.starts(), "it runs for peer 3");
        gather.on_timer();
        assert!(gather.starts(), "peer 2 has sent something since, and is waited for as long");
        assert_eq!(answer(&mut gather), None);
        gather.on_timer();
        assert!(!gather.starts());
        assert_eq!(answer(&mut gather), Some((1, alloc::vec![(0, 5)])));
    }

    #[test]
    fn a_wave_that_was_overtaken_is_not_answered() {
        let mut gather = relay();
        gather.on_wave(wave(3), PeerId(2), &neighbours());
        gather.on_wave(wave(2), PeerId(3), &neighbours());
        gather.on_copy(wave(3), PeerId(1));
        gather.on_copy(wave(3), PeerId(3));
        assert_eq!(answer(&mut gather), Some((2, alloc::vec![(0, 5)])));
    }

    // A long way: answers to former waves keep moving while others are under way.
    #[test]
    fn an_answer_to_a_former_wave_counts_for_the_next() {
        let mut gather = relay();
        gather.on_wave(wave(2), PeerId(1), &neighbours());
        gather.on_copy(wave(2), PeerId(2));
        gather.on_answer(PeerId(3), alloc::vec![(PeerId(7), promise(4))], false);
        assert_eq!(answer(&mut gather), Some((1, alloc::vec![(0, 5), (7, 4)])));
    }

    #[test]
    fn a_neighbour_whose_link_goes_down_is_not_waited_for() {
        let mut gather = relay();
        gather.link_down(PeerId(2));
        gather.link_down(PeerId(3));
        assert_eq!(answer(&mut gather), Some((1, alloc::vec![(0, 5)])));
    }

    #[test]
    fn a_copy_of_another_wave_says_nothing_of_this_one() {
        let mut gather = relay();
        gather.on_copy(wave(0), PeerId(2));
        gather.on_answer(PeerId(3), alloc::vec![], false);
        assert_eq!(answer(&mut gather), None);
    }

    #[test]
    fn of_two_promises_of_a_buyer_the_further_one_is_kept() {
        let mut gather = relay();
        let next_life = Promise { incarnation: Incarnation(2), ..promise(1) };
        for (promise, kept) in [(promise(9), 9), (promise(6), 9), (next_life, 1), (promise(10), 1)] {
            gather.promise(PeerId(7), promise);
            assert_eq!(gather.promises[&PeerId(7)].above.0, kept);
        }
    }

    #[test]
    fn where_the_wave_was_started_promises_arrive_as_they_come() {
        let mut gather = Gather::default();
        gather.start(wave(1), &[PeerId(1), PeerId(2)].into());
        assert_eq!(gather.on_answer(PeerId(1), alloc::vec![(PeerId(7), promise(4))], false).len(), 1);
        assert_eq!((gather.due(&neighbours()), gather.is_open()), (None, true));
        assert_eq!(gather.on_answer(PeerId(2), alloc::vec![], false).len(), 0);
        assert_eq!((gather.due(&neighbours()), gather.is_open()), (None, false));
    }
}
