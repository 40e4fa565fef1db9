//! Faults: how they begin and end.

use bazaar_protocol::id::PeerId;

use super::{
    plan::{Fault, Noise, What},
    world::{CAPACITY, Event, Phase, World},
};

impl World {
    pub(super) fn begin(&mut self, nth: u32) {
        let Some(fault) = self.schedule.faults.get(nth as usize) else { return };
        let Fault { at, what } = fault.clone();
        if self.phase != Phase::Faults {
            return;
        }
        if let Some(story) = &mut self.story {
            story.fault(self.now, &Fault { at, what: what.clone() });
        }
        let (kind, had_effect) = (what.kind(), self.inflict(&what, nth));
        if had_effect {
            self.tally.fault(kind);
        }
    }

    /// Whether it made a difference.
    fn inflict(&mut self, what: &What, nth: u32) -> bool {
        match *what {
            What::Cut { .. } | What::Isolate { .. } => {
                let cut = self.cut_by(what);
                // One that is cut for good would have come up again.
                let matters = |link: &u32| match what.lasts() {
                    Some(_) => self.pairs[*link as usize / 2].is_up,
                    None => !self.links[*link as usize].is_gone,
                };
                let had_effect = cut.iter().any(matters);
                for link in cut {
                    let way = &mut self.links[link as usize];
                    match what.lasts() {
                        Some(_) => way.cuts += 1,
                        None => way.is_gone = true,
                    }
                    self.impede(link / 2);
                }
                if let Some(lasts) = what.lasts() {
                    self.events.push(self.now + lasts.nanos(), Event::Mend { nth });
                }
                had_effect
            }
            What::CutLedger { peer, calls, replies, lasts } => {
                let line = &mut self.nodes[peer.0 as usize].ledger;
                let was_up = line.is_up;
                line.cuts[0] += u32::from(calls);
                line.cuts[1] += u32::from(replies);
                self.impede_line(peer.0 as usize);
                self.events.push(self.now + lasts.nanos(), Event::Mend { nth });
                was_up
            }
            What::Pause { peer, lasts } => {
                let node = &mut self.nodes[peer.0 as usize];
                if node.peer.is_none() {
                    return false;
                }
                node.paused_until = node.paused_until.max(self.now + lasts.nanos());
                let (until, life) = (node.paused_until, node.life);
                let pairs: Vec<u32> = node.links.iter().map(|(_, link)| link / 2).collect();
                pairs.into_iter().for_each(|pair| self.impede(pair));
                self.impede_line(peer.0 as usize);
                self.events.push(until, Event::Resume { peer: peer.0, life });
                true
            }
            What::Slow { peer, times, lasts } => {
                let node = &mut self.nodes[peer.0 as usize];
                node.slowness = u64::from(times.max(1));
                self.events.push(self.now + lasts.nanos(), Event::Mend { nth });
                node.peer.is_some()
            }
            What::Crash { peer, lasts } => {
                let was_up = self.crash_for(peer, lasts.map(|lasts| lasts.nanos()));
                // One that is down already would have come back.
                let is_gone = &mut self.nodes[peer.0 as usize].is_gone;
                let ends = lasts.is_none() && !std::mem::replace(is_gone, true);
                was_up || ends
            }
            What::CrashTrader { lasts } => match self.trader() {
                Some(peer) => {
                    if let Some(survey) = &mut self.survey {
                        survey.killed(self.now);
                    }
                    self.crash_for(peer, Some(lasts.nanos()))
                }
                None => false,
            },
            What::CrashLedger { keeps, lasts } => {
                let was_up = self.site.is_up;
                self.crash_ledger(keeps);
                if was_up {
                    self.events.push(self.now + lasts.nanos(), Event::StartLedger);
                }
                was_up
            }
        }
    }

    fn crash_for(&mut self, peer: PeerId, nanos: Option<u64>) -> bool {
        let was_up = self.nodes[peer.0 as usize].peer.is_some();
        self.crash(peer.0 as usize);
        if let Some(nanos) = nanos.filter(|_| was_up) {
            self.events.push(self.now + nanos, Event::Start { peer: peer.0 });
        }
        was_up
    }

    pub(super) fn mend(&mut self, nth: u32) {
        // When the faults stop, all of them end at once.
        if self.phase != Phase::Faults {
            return;
        }
        let Some(fault) = self.schedule.faults.get(nth as usize) else { return };
        match fault.what {
            What::Cut { .. } | What::Isolate { .. } => {
                let cut = self.cut_by(&fault.what);
                for link in &cut {
                    let cuts = &mut self.links[*link as usize].cuts;
                    *cuts = cuts.saturating_sub(1);
                }
                // Each pair once, when nothing is left of the cut; both directions of one stand side by side.
                let mut pairs: Vec<u32> = cut.into_iter().map(|link| link / 2).collect();
                pairs.dedup();
                pairs.into_iter().for_each(|pair| self.relieve(pair));
            }
            What::CutLedger { peer, calls, replies, .. } => {
                let cuts = &mut self.nodes[peer.0 as usize].ledger.cuts;
                cuts[0] = cuts[0].saturating_sub(u32::from(calls));
                cuts[1] = cuts[1].saturating_sub(u32::from(replies));
                self.relieve_line(peer.0 as usize);
            }
            What::Slow { peer, .. } => self.nodes[peer.0 as usize].slowness = 1,
            What::Pause { .. } | What::Crash { .. } | What::CrashTrader { .. } | What::CrashLedger { .. } => {}
        }
    }

    /// The faults stop: everybody comes back, and everything works, but for what is gone for good.
    pub(super) fn heal(&mut self) {
        self.phase = Phase::Settling;
        (self.noise, self.capacity) = (Noise::default(), CAPACITY);
        if let Some(story) = &mut self.story {
            story.remark(self.now, "the faults stop");
        }
        for way in &mut self.links {
            way.cuts = 0;
        }
        for nth in 0..self.nodes.len() {
            let node = &mut self.nodes[nth];
            node.slowness = 1;
            node.ledger.cuts = [0, 0];
            let was_paused = node.paused_until > self.now;
            node.paused_until = 0;
            if was_paused && !node.inbox.is_empty() {
                // The event that would take it is due when the pause would have ended.
                self.events.push(self.now, Event::Work { peer: nth as u32, life: node.life });
            }
        }
        for pair in 0..self.pairs.len() as u32 {
            self.relieve(pair);
        }
        self.start_ledger();
        for nth in 0..self.nodes.len() {
            self.relieve_line(nth);
            if self.nodes[nth].peer.is_none() {
                let at = self.now + self.streams.connections.below(100_000_000);
                self.events.push(at, Event::Start { peer: nth as u32 });
            }
        }
        self.events.push(self.now, Event::Sample);
    }

    /// The directions of links that a fault cuts.
    fn cut_by(&self, what: &What) -> Vec<u32> {
        match *what {
            What::Cut { from, to, both, .. } => {
                let there = self.link(from, to);
                there.into_iter().chain(there.filter(|_| both).map(|link| link ^ 1)).collect()
            }
            What::Isolate { peer, .. } => {
                self.nodes[peer.0 as usize].links.iter().flat_map(|(_, link)| [*link, link ^ 1]).collect()
            }
            What::CutLedger { .. }
            | What::Pause { .. }
            | What::Slow { .. }
            | What::Crash { .. }
            | What::CrashTrader { .. }
            | What::CrashLedger { .. } => Vec::new(),
        }
    }

    fn link(&self, from: PeerId, to: PeerId) -> Option<u32> {
        let node = self.nodes.get(from.0 as usize)?;
        node.links.iter().find(|(neighbour, _)| *neighbour == to).map(|(_, link)| *link)
    }
}
