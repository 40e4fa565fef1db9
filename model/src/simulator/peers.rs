//! Peers: their inboxes, timers, disks and steps.

use bazaar_protocol::{
    effect::{Effect, Effects, Note},
    id::PeerId,
    input::{Choice, Input, Timer},
    invariant::{Before, is_untold},
    message::{Body, Envelope, Route},
    peer::Peer,
};

use super::{
    meter::Operation,
    plan::FaultKind,
    survey::Spoken,
    world::{DISARMED, Event, Job, NEVER, Phase, TIMERS, World, between, happens, slot},
};

/// Up to this many peers, an overlay is compared before and after every flood that it has seen before.
const ALWAYS_COMPARED: u32 = 64;

/// Beyond that, in one of so many steps, since copying it costs as much as there are peers.
const COMPARED_ONCE_IN: u64 = 64;

/// The most by which a write is slowed down.
const STALL: u64 = 400_000_000;

impl World {
    pub(super) fn start(&mut self, nth: usize) {
        if self.nodes[nth].peer.is_some() || self.nodes[nth].is_gone {
            return;
        }
        let (config, durable) = (self.nodes[nth].config.clone(), self.nodes[nth].disk);
        let observer = &mut self.observer;
        let mut found = Ok(());
        let started = Peer::watched_recover(config, durable, &mut |participant, said| {
            found = observer.on_start(durable, participant, said);
        });
        // The configurations are made here, and pass the check.
        let Ok((peer, effects)) = started else { return };
        self.check(found);
        if peer.participant().me().incarnation.0 > 1 {
            self.tally.operation(Operation::Restart);
        }
        let node = &mut self.nodes[nth];
        node.peer = Some(peer);
        node.free = self.now;
        node.disk_free = self.now;
        (node.slowness, node.last_detour) = (1, 0);
        self.running.take(&(self.now, nth, &effects));
        self.carry_out(nth, effects);
        self.answer_choices();
        let pairs: Vec<u32> = self.nodes[nth].links.iter().map(|(_, link)| link / 2).collect();
        for pair in pairs {
            self.try_again(pair);
        }
        self.events.push(self.now + 1_000_000, Event::ReconnectLedger { peer: nth as u32 });
    }

    /// What is left of the peer is what its disk holds.
    pub(super) fn crash(&mut self, nth: usize) {
        let node = &mut self.nodes[nth];
        if node.peer.take().is_none() {
            return;
        }
        node.life += 1;
        node.timers = [DISARMED; TIMERS];
        node.inbox.clear();
        (node.is_called, node.paused_until, node.wants_since) = (false, 0, NEVER);
        let pairs: Vec<u32> = node.links.iter().map(|(_, link)| link / 2).collect();
        self.observer.on_crash(PeerId(nth as u32));
        for pair in pairs {
            self.bring_down(pair);
        }
        self.close_line(nth);
        // If it stood still, that is over.
        self.relieve_peer(nth);
    }

    /// Something for a peer arrives: it is dealt with at once, or waits.
    pub(super) fn offer(&mut self, nth: usize, job: Job) {
        let now = self.now;
        let node = &mut self.nodes[nth];
        if node.peer.is_none() {
            return;
        }
        let ready = node.free.max(node.paused_until);
        if node.inbox.is_empty() && ready <= now {
            self.perform(nth, job);
            return;
        }
        if node.inbox.len() >= self.capacity && matches!(job, Job::Input(Input::Received { .. })) {
            self.overflow();
            return;
        }
        node.inbox.push_back(job);
        if !node.is_called {
            node.is_called = true;
            self.events.push(ready, Event::Work { peer: nth as u32, life: node.life });
        }
    }

    /// The peer is free for what waits first.
    pub(super) fn work(&mut self, nth: usize, life: u32) {
        let node = &mut self.nodes[nth];
        if node.life != life {
            return;
        }
        let ready = node.free.max(node.paused_until);
        if ready > self.now {
            self.events.push(ready, Event::Work { peer: nth as u32, life });
            return;
        }
        let job = node.inbox.pop_front();
        node.is_called = false;
        if let Some(job) = job {
            self.perform(nth, job);
        }
        let node = &mut self.nodes[nth];
        if !node.inbox.is_empty() && !node.is_called {
            node.is_called = true;
            self.events.push(node.free.max(node.paused_until), Event::Work { peer: nth as u32, life: node.life });
        }
    }

    fn perform(&mut self, nth: usize, job: Job) {
        let now = self.now;
        let input = match job {
            Job::Input(input) => input,
            Job::Due(timer) => {
                let timing = &mut self.nodes[nth].timers[slot(timer)];
                if timing.due > now {
                    // It was armed again while it waited.
                    return;
                }
                timing.due = NEVER;
                Input::Fired(timer)
            }
        };
        let node = &mut self.nodes[nth];
        node.free = now + self.conditions.per_input * node.slowness;
        self.step(nth, input);
        self.answer_choices();
    }

    /// A timer may be due.
    pub(super) fn ring(&mut self, nth: usize, life: u32, timer: Timer) {
        let node = &mut self.nodes[nth];
        let timing = &mut node.timers[slot(timer)];
        if node.life != life || timing.queued != self.now {
            return;
        }
        timing.queued = NEVER;
        if timing.due > self.now {
            if timing.due < NEVER {
                timing.queued = timing.due;
                self.events.push(timing.due, Event::Timer { peer: nth as u32, life, timer });
            }
            return;
        }
        self.offer(nth, Job::Due(timer));
    }

    fn arm(&mut self, nth: usize, timer: Timer, due: u64) {
        let node = &mut self.nodes[nth];
        let timing = &mut node.timers[slot(timer)];
        timing.due = due;
        if timing.queued > due {
            timing.queued = due;
            self.events.push(due, Event::Timer { peer: nth as u32, life: node.life, timer });
        }
    }

    pub(super) fn answer_choices(&mut self) {
        while self.violation.is_none()
            && let Some((nth, input)) = self.answers.pop_front()
        {
            self.step(nth, input);
        }
    }

    /// One step of a peer, and every property about it.
    fn step(&mut self, nth: usize, input: Input) {
        let World { nodes, observer, running, tally, now, story, survey, .. } = self;
        let Some(peer) = &mut nodes[nth].peer else { return };
        tally.steps += 1;
        running.take(&(*now, nth, &input));
        if let Some(story) = story {
            story.input(*now, nth, &input);
        }
        let arrival = match &input {
            Input::Received { from, envelope } => Some((*from, envelope.clone())),
            Input::LinkUp(_)
            | Input::LinkDown(_)
            | Input::Fired(_)
            | Input::LedgerUp
            | Input::LedgerDown
            | Input::Resign
            | Input::Ledger(_)
            | Input::Written(_)
            | Input::Chose { .. } => None,
        };
        let is_known = arrival.as_ref().is_some_and(|(_, envelope)| match envelope.route {
            Route::Flood { id, .. } => observer.was_handed(PeerId(nth as u32), id),
            Route::Direct { .. } => false,
        });
        let is_compared = peer.config().peers <= ALWAYS_COMPARED || tally.steps.is_multiple_of(COMPARED_ONCE_IN);
        let overlay = (is_known && is_compared).then(|| peer.overlay().clone());
        let before = Before::of(peer.participant());
        let (mut found, mut heard, mut spoken) = (Ok(()), None, Spoken::default());
        let effects = peer.watched_step(input, &mut |after, given, said| {
            found = observer.on_step_since(&before, &given, said, after);
            spoken = Spoken::of(said);
            heard = Some(given);
        });
        if let Some((from, envelope)) = &arrival {
            // A copy of a wave may be the last that its answer waited for.
            let is_answer = |envelope: &Envelope| matches!(envelope.body, Body::Promises { .. });
            let passes_on = |effect: &Effect| matches!(effect, Effect::Send { envelope, .. } if !is_answer(envelope));
            let has_changed = || {
                let has_done = heard.is_none() && effects.iter().any(passes_on);
                has_done || overlay.is_some_and(|overlay| !overlay.remembers_the_same(peer.overlay()))
            };
            found =
                found.and_then(|()| observer.on_handed(&before, *from, envelope, heard.as_ref(), peer, has_changed));
        }
        let found = found.and_then(|()| observer.on_written_ahead(peer));
        if let Some(survey) = survey {
            survey.spoken(spoken, nth, nodes);
        }
        running.take(&effects);
        self.check(found);
        self.carry_out(nth, effects);
    }

    fn carry_out(&mut self, nth: usize, effects: Effects) {
        for effect in effects {
            let node = &self.nodes[nth];
            let Some(peer) = &node.peer else { return };
            let found = self.observer.on_leave(peer, node.disk, &effect);
            if let Some(story) = &mut self.story {
                story.effect(self.now, nth, &effect);
            }
            self.check(found);
            match effect {
                Effect::Stop(_) => {}
                Effect::Send { to, envelope } => {
                    let is_mine = envelope.source.0 as usize == nth;
                    match envelope.route {
                        Route::Flood { id, to: Some(_) } => {
                            let node = &mut self.nodes[nth];
                            if id.origin.0 as usize == nth && id.number > node.last_detour {
                                node.last_detour = id.number;
                                self.tally.detours += 1;
                                self.count_unicast(nth, is_mine);
                                self.on_detour(nth, &envelope);
                            }
                        }
                        // A bare clock is for the neighbour alone.
                        Route::Direct { .. } => self.count_unicast(nth, is_mine && envelope.body != Body::Clock),
                        Route::Flood { to: None, .. } => {}
                    }
                    let link = self.nodes[nth].links.iter().find(|(neighbour, _)| *neighbour == to);
                    if let Some((_, link)) = link {
                        self.send(*link, envelope);
                    }
                }
                Effect::Ledger(call) => self.call(nth, call),
                Effect::Write { id, durable } => {
                    let takes = between(&mut self.streams.disks, self.conditions.disk) + self.stall();
                    let node = &mut self.nodes[nth];
                    let at = node.disk_free.max(self.now) + takes;
                    node.disk_free = at;
                    self.events.push(at, Event::Durable { peer: nth as u32, life: node.life, id, durable });
                }
                Effect::Arm { timer, after } => {
                    let after = u64::try_from(after.as_nanos()).unwrap_or(NEVER);
                    self.arm(nth, timer, self.now.saturating_add(after));
                }
                Effect::Disarm(timer) => self.nodes[nth].timers[slot(timer)].due = NEVER,
                Effect::Choose { choice, among } => {
                    // Nobody wants anything new at the end, but a buyer that was not told how its last request ended
                    // learns that by asking: it may have been trader all the time since it came back.
                    let is_untold = |peer: &Peer| is_untold(peer.participant(), self.observer.log().books());
                    let may_want = || self.nodes[nth].peer.as_ref().is_some_and(is_untold);
                    if choice == Choice::Offer || self.phase != Phase::Draining || may_want() {
                        // Below `among`, which is a `u32`.
                        let pick = self.streams.choices.below(u64::from(among)) as u32;
                        self.answers.push_back((nth, Input::Chose { choice, pick }));
                    }
                }
                Effect::Note { note, .. } => self.noted(nth, &note),
            }
        }
    }

    fn count_unicast(&mut self, nth: usize, is_mine: bool) {
        if is_mine {
            self.tally.unicasts += 1;
            if self.may_not_be_flooded(nth) {
                self.tally.operation(Operation::QuietUnicast);
            }
        }
    }

    /// How much longer a write takes than it should.
    pub(super) fn stall(&mut self) -> u64 {
        if happens(&mut self.streams.stalls, self.noise.stalls) {
            self.tally.fault(FaultKind::Stall);
            return self.streams.stalls.below(STALL);
        }
        0
    }

    fn noted(&mut self, nth: usize, note: &Note) {
        if let Some(operation) = Operation::noted(note) {
            self.tally.operation(operation);
        }
        if let Some(story) = &mut self.story {
            story.note(self.now, nth, note);
        }
        if let Some(survey) = &mut self.survey {
            survey.noted(note, self.now);
        }
        self.judge_note(nth, note);
    }
}
