//! Links: what an envelope meets between two neighbours.

use bazaar_protocol::{input::Input, message::Envelope};

use super::{
    meter::EnvelopeKind,
    plan::FaultKind,
    world::{Event, Job, SILENCE, World, happens},
};

/// The most by which a message that others overtake is late.
const LATE: u64 = 50_000_000;

/// When something that is sent arrives.
#[derive(Clone, Copy, Debug)]
pub(super) struct Travel {
    pub(super) at: u64,
    /// It arrives once more.
    pub(super) again: Option<u64>,
    /// What is sent the same way later arrives no earlier, unless it overtakes.
    pub(super) last: u64,
}

impl World {
    /// What becomes of something that takes until `soonest`, and longer by chance, on a way on which nothing arrives
    /// before `last`; `None`: it is lost.
    pub(super) fn travels(&mut self, soonest: u64, last: u64) -> Option<Travel> {
        if happens(&mut self.streams.loss, self.noise.loss) {
            self.tally.fault(FaultKind::Loss);
            return None;
        }
        let soonest = soonest + self.streams.latency.below(self.conditions.jitter);
        let again = happens(&mut self.streams.duplication, self.noise.duplication).then(|| {
            self.tally.fault(FaultKind::Duplication);
            soonest + self.streams.duplication.below(LATE)
        });
        if happens(&mut self.streams.reordering, self.noise.reordering) {
            self.tally.fault(FaultKind::Reordering);
            return Some(Travel { at: soonest + self.streams.reordering.below(LATE), again, last });
        }
        let at = soonest.max(last);
        Some(Travel { at, again, last: at })
    }

    /// Puts an envelope on a link.
    pub(super) fn send(&mut self, link: u32, envelope: Envelope) {
        let kind = EnvelopeKind::of(&envelope);
        self.tally.envelope(kind);
        if let Some(survey) = &mut self.survey {
            survey.envelope(kind, &envelope);
        }
        let way = &mut self.links[link as usize];
        let second = self.now / 1_000_000_000;
        if way.second != second {
            (way.second, way.in_second) = (second, 0);
        }
        way.in_second += 1;
        way.peak = way.peak.max(way.in_second);
        if !self.pairs[link as usize / 2].is_up {
            return;
        }
        if way.waiting.is_empty() && way.free <= self.now {
            self.travel(link, envelope);
            return;
        }
        // As the runtime's links do: a link never has two clocks waiting (SPEC C2).
        if let Some(older) = way.waiting.iter().position(|other| envelope.supersedes(other)) {
            way.waiting.remove(older);
            self.tally.superseded += 1;
        }
        if way.waiting.len() >= self.capacity {
            self.overflow();
            return;
        }
        if way.waiting.is_empty() {
            self.events.push(way.free, Event::Depart { link });
        }
        way.waiting.push_back(envelope);
    }

    /// The link is free: what waits first leaves.
    pub(super) fn depart(&mut self, link: u32) {
        let Some(envelope) = self.links[link as usize].waiting.pop_front() else { return };
        self.travel(link, envelope);
        let way = &self.links[link as usize];
        if !way.waiting.is_empty() {
            self.events.push(way.free, Event::Depart { link });
        }
    }

    fn travel(&mut self, link: u32, envelope: Envelope) {
        let way = &mut self.links[link as usize];
        way.free = self.now + self.conditions.per_envelope + u64::from(self.noise.congestion) * 1_000;
        let generation = self.pairs[link as usize / 2].generation;
        let (soonest, last) = (way.free + way.latency, way.last);
        let Some(Travel { at, again, last }) = self.travels(soonest, last) else { return };
        self.links[link as usize].last = last;
        if let Some(again) = again {
            self.events.push(again, Event::Arrive { link, generation, envelope: envelope.clone() });
        }
        self.events.push(at, Event::Arrive { link, generation, envelope });
    }

    /// A link or an inbox has no room for an envelope.
    pub(super) fn overflow(&mut self) {
        self.tally.overflowed += 1;
        if self.noise.congestion > 0 {
            self.tally.fault(FaultKind::Congestion);
        }
    }

    pub(super) fn arrive(&mut self, link: u32, generation: u32, envelope: Envelope) {
        let way = &self.links[link as usize];
        let pair = &self.pairs[link as usize / 2];
        if pair.is_up && pair.generation == generation && way.cuts == 0 && !way.is_gone {
            let from = bazaar_protocol::id::PeerId(way.from);
            self.offer(way.to as usize, Job::Input(Input::Received { from, envelope }));
        }
    }

    // Whether a link is up.

    fn is_blocked(&self, pair: u32) -> bool {
        let ways = &self.links[2 * pair as usize..2 * pair as usize + 2];
        ways.iter().any(|way| way.cuts > 0 || way.is_gone || self.nodes[way.from as usize].is_paused(self.now))
    }

    /// Nothing comes through a link, at least one way.
    pub(super) fn impede(&mut self, pair: u32) {
        let of = &mut self.pairs[pair as usize];
        if !of.is_impeded {
            of.is_impeded = true;
            of.token += 1;
            self.events.push(self.now + SILENCE, Event::Notice { pair, token: of.token });
        }
    }

    /// Something that held a link up is over.
    pub(super) fn relieve(&mut self, pair: u32) {
        if self.is_blocked(pair) {
            return;
        }
        let of = &mut self.pairs[pair as usize];
        of.is_impeded = false;
        of.token += 1;
        if !of.is_up {
            self.try_again(pair);
        }
    }

    /// A link that is down is tried again after a moment.
    pub(super) fn try_again(&mut self, pair: u32) {
        let wait = 25_000_000 + self.streams.connections.below(225_000_000);
        self.events.push(self.now + wait, Event::Reconnect { pair });
    }

    pub(super) fn notice(&mut self, pair: u32, token: u32) {
        let of = self.pairs[pair as usize];
        if of.is_up && of.token == token && self.is_blocked(pair) {
            self.bring_down(pair);
        }
    }

    /// A link goes down; what was under way on it is lost, and both ends learn it.
    pub(super) fn bring_down(&mut self, pair: u32) {
        let of = &mut self.pairs[pair as usize];
        if !of.is_up {
            return;
        }
        of.is_up = false;
        of.generation += 1;
        for link in [2 * pair as usize, 2 * pair as usize + 1] {
            self.links[link].waiting.clear();
            let (from, to) = (self.links[link].from, self.links[link].to);
            self.offer(from as usize, Job::Input(Input::LinkDown(bazaar_protocol::id::PeerId(to))));
        }
    }

    pub(super) fn reconnect(&mut self, pair: u32) {
        let ends = [2 * pair as usize, 2 * pair as usize + 1].map(|link| self.links[link].from as usize);
        let is_there = ends.iter().all(|end| self.nodes[*end].peer.is_some());
        if self.pairs[pair as usize].is_up || !is_there || self.is_blocked(pair) {
            return;
        }
        self.pairs[pair as usize].is_up = true;
        self.pairs[pair as usize].generation += 1;
        for (end, other) in [(ends[0], ends[1]), (ends[1], ends[0])] {
            self.offer(end, Job::Input(Input::LinkUp(bazaar_protocol::id::PeerId(other as u32))));
        }
    }

    /// Something that held a peer up is over.
    pub(super) fn relieve_peer(&mut self, peer: usize) {
        let pairs: Vec<u32> = self.nodes[peer].links.iter().map(|(_, link)| link / 2).collect();
        for pair in pairs {
            self.relieve(pair);
        }
        self.relieve_line(peer);
    }
}
