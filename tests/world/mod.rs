//! A whole bazaar in memory: real peers, the real ledger over a store that can lose power, and everything between them
//! (links, calls, disks, timers) controlled by a schedule. The one observer watches every step.
//!
//! A schedule is made of [`Action`]s. Their numbers are taken modulo what there is, so that any list of actions is a
//! schedule, and any shorter list is one too: that is what lets a failing list shrink. What an action did is written to
//! [`World::history`].

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod recovery;
mod schedule;
mod setup;
mod stats;
mod wire;

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    time::Duration,
};

use bazaar_protocol::{
    archive::{Archive, Deed},
    buyer::Buyer,
    config::Config,
    effect::{Departure, Durable, Effect, Effects, Note},
    id::{Incarnation, Life, PeerId},
    input::{Choice, Input, Timer, WriteId},
    invariant::{Checked, Observer, Property, Rules, Stepped, Violation},
    ledger::{LedgerAnswer, LedgerCall, LedgerReply, LedgerRequest, Verdict},
    message::{Envelope, FloodId, Route},
    participant::ParticipantEffect,
    peer::Peer,
    record::{Batch, Entry},
    store::MemoryStore,
};

use self::wire::Wire;
pub use self::{
    schedule::{Action, Ending, Roughness, actions, endings},
    setup::{Setup, TIMEOUTS, graphs, setups},
    stats::{Stats, at_least},
};

#[derive(Debug)]
struct Node {
    config: Config,
    peer: Option<Peer>,
    paused: bool,
    durable: Durable,
    writes: VecDeque<(WriteId, Durable)>,
    timers: BTreeMap<Timer, Duration>,
    choices: Vec<(Choice, u32)>,
    reaches_ledger: bool,
}

#[derive(Clone, Debug)]
struct Flying {
    from: PeerId,
    to: PeerId,
    envelope: Envelope,
}

#[derive(Debug)]
pub struct World {
    setup: Setup,
    nodes: Vec<Node>,
    /// The directions in which links lose everything.
    cut: BTreeSet<(PeerId, PeerId)>,
    envelopes: Wire<Flying>,
    calls: Wire<LedgerCall>,
    replies: Wire<LedgerReply>,
    ledger: Archive,
    lease: Option<Duration>,
    now: Duration,
    picks: u32,
    /// Whether buyers are content for the time being, and want nothing new.
    are_content: bool,

    observer: Observer,
    /// How many durable batches the observer has been told of.
    observed: usize,
    pub stats: Stats,
    /// What happened, line by line; kept on request.
    pub history: Option<Vec<String>>,
}

impl World {
    pub fn new(setup: Setup, keep_history: bool) -> World {
        let nodes = (0..setup.peers()).map(|id| Node {
            config: setup.config(PeerId(id)),
            peer: None,
            paused: false,
            durable: Durable::default(),
            writes: VecDeque::new(),
            timers: BTreeMap::new(),
            choices: Vec::new(),
            reaches_ledger: true,
        });
        World {
            nodes: nodes.collect(),
            cut: BTreeSet::new(),
            envelopes: Wire::default(),
            calls: Wire::default(),
            replies: Wire::default(),
            ledger: Archive::new(setup.ledger(), MemoryStore::new(setup.limits)),
            lease: None,
            now: Duration::ZERO,
            picks: 0,
            are_content: false,
            observer: Observer::new(Rules {
                terms: setup.terms,
                limits: setup.limits,
                is_synchronous: false,
                follows_causes: true,
                only: None,
            }),
            observed: 0,
            stats: Stats::default(),
            history: keep_history.then(Vec::new),
            setup,
        }
    }

    /// Everybody starts, and learns which links are up.
    pub fn begin(&mut self) -> Checked {
        self.start_ledger()?;
        self.ids().try_for_each(|id| self.start(id))?;
        self.directed_links().into_iter().try_for_each(|(a, b)| self.report(a, b))
    }

    // What there is.

    fn ids(&self) -> impl Iterator<Item = PeerId> + use<> {
        (0..self.setup.peers()).map(PeerId)
    }

    fn nth_id(&self, n: u16) -> PeerId {
        PeerId(u32::from(n) % self.setup.peers())
    }

    fn node(&mut self, id: PeerId) -> &mut Node {
        &mut self.nodes[id.0 as usize]
    }

    fn peer(&self, id: PeerId) -> Option<&Peer> {
        self.nodes[id.0 as usize].peer.as_ref()
    }

    fn is_paused(&self, id: PeerId) -> bool {
        self.nodes[id.0 as usize].paused
    }

    fn acts(&self, id: PeerId) -> bool {
        self.peer(id).is_some() && !self.is_paused(id)
    }

    fn directed_links(&self) -> Vec<(PeerId, PeerId)> {
        let links = self.setup.links.iter();
        links.flat_map(|(a, b)| [(PeerId(*a), PeerId(*b)), (PeerId(*b), PeerId(*a))]).collect()
    }

    fn armed(&self) -> impl Iterator<Item = (Duration, PeerId, Timer)> {
        let nodes = self.nodes.iter().filter(|node| node.peer.is_some() && !node.paused);
        nodes.flat_map(|node| node.timers.iter().map(|(timer, due)| (*due, node.config.me, *timer)))
    }

    fn tell(&mut self, line: impl FnOnce() -> String) {
        if let Some(history) = &mut self.history {
            history.push(line());
        }
    }

    fn next_random(&mut self) -> u32 {
        self.picks = self.picks.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        self.picks >> 16
    }

    // What is bound to happen, and time.

    /// The next thing that is bound to happen without time passing, if there is any.
    fn flow(&mut self) -> Result<bool, Violation> {
        Ok(self.persist()? || self.flow_aside()?)
    }

    /// The same, except for the ledger's disk.
    fn flow_aside(&mut self) -> Result<bool, Violation> {
        for id in self.ids() {
            if self.acts(id) {
                if !self.node(id).writes.is_empty() {
                    return self.written(id).map(|()| true);
                }
                let choices = &self.nodes[id.0 as usize].choices;
                if let Some(nth) = choices.iter().position(|(choice, _)| self.may_choose(id, *choice)) {
                    let pick = self.next_random();
                    return self.chosen(id, nth, pick).map(|()| true);
                }
            }
        }
        if !self.ledger.reads().is_empty() {
            return self.answer_read(0).map(|()| true);
        }
        if !self.calls.is_empty() {
            return self.call(0).map(|()| true);
        }
        if let Some(nth) = self.replies.iter().position(|reply| !self.is_paused(reply.word.to.peer)) {
            return self.reply(nth).map(|()| true);
        }
        match self.envelopes.iter().position(|flying| !self.is_paused(flying.to)) {
            Some(nth) => self.deliver(nth).map(|()| true),
            None => Ok(false),
        }
    }

    /// Fires whatever is due first: a timer of a peer, or the lease.
    fn tick(&mut self) -> Result<bool, Violation> {
        let first = self.armed().min();
        match (first, self.lease) {
            (Some((due, id, timer)), lease) if lease.is_none_or(|lease| due <= lease) => {
                self.now = self.now.max(due);
                self.fire(id, timer)?;
            }
            (_, Some(lease)) => {
                self.now = self.now.max(lease);
                self.end_lease();
            }
            (_, None) => return Ok(false),
        }
        Ok(true)
    }

    fn fire(&mut self, id: PeerId, timer: Timer) -> Checked {
        self.node(id).timers.remove(&timer);
        self.give(id, Input::Fired(timer))
    }

    fn written(&mut self, id: PeerId) -> Checked {
        let Some((write, durable)) = self.node(id).writes.pop_front() else { return Ok(()) };
        self.node(id).durable = durable;
        self.give(id, Input::Written(write))
    }

    /// A buyer that is content wants something all the same if it does not know how its last request ended, and so finds
    /// out.
    fn may_choose(&self, id: PeerId, choice: Choice) -> bool {
        let known = self.peer(id).and_then(Peer::buyer).and_then(Buyer::known);
        let last = self.observer.log().books().buyers().get(&id).and_then(|account| account.last.as_ref());
        choice != Choice::Wish || !self.are_content || known < last.map(|(sequence, _)| *sequence)
    }

    fn chosen(&mut self, id: PeerId, nth: usize, pick: u32) -> Checked {
        let (choice, among) = self.node(id).choices.remove(nth);
        self.give(id, Input::Chose { choice, pick: pick % among })
    }

    fn deliver(&mut self, nth: usize) -> Checked {
        let Flying { from, to, envelope } = self.envelopes.arrive(nth);
        self.give(to, Input::Received { from, envelope })
    }

    fn report(&mut self, a: PeerId, b: PeerId) -> Checked {
        let works = self.peer(b).is_some() && !self.cut.contains(&(a, b)) && !self.cut.contains(&(b, a));
        let input = if works { Input::LinkUp(b) } else { Input::LinkDown(b) };
        if self.acts(a) { self.give(a, input) } else { Ok(()) }
    }

    // Peers.

    fn start(&mut self, id: PeerId) -> Checked {
        self.tell(|| format!("peer {id} starts"));
        let node = &mut self.nodes[id.0 as usize];
        let (config, durable, mut started) = (node.config.clone(), node.durable, Ok(()));
        let mut watch = |peer: &_, said: &[_]| started = self.observer.on_start(durable, peer, said);
        let (peer, effects) = Peer::watched_recover(config, durable, &mut watch).expect("a valid set-up");
        node.peer = Some(peer);
        node.paused = false;
        started?;
        self.carry_out(id, effects)
    }

    fn crash(&mut self, id: PeerId, survive: usize) {
        let node = self.node(id);
        if node.peer.take().is_none() {
            return;
        }
        // An unfinished write may or may not have reached the disk, but none without those before it.
        if let Some((_, durable)) = node.writes.iter().take(survive).next_back() {
            node.durable = *durable;
        }
        node.writes.clear();
        node.timers.clear();
        node.choices.clear();
        node.paused = false;
        self.observer.on_crash(id);
        self.stats.count("crashes");
        self.tell(|| format!("peer {id} crashes"));
    }

    fn give(&mut self, id: PeerId, input: Input) -> Checked {
        if self.peer(id).is_none() {
            return Ok(());
        }
        self.stats.count("steps");
        self.tell(|| format!("peer {id} <- {input:?}"));
        let node = &mut self.nodes[id.0 as usize];
        let Some(peer) = &mut node.peer else { return Ok(()) };
        let before = peer.participant().clone();
        let arrived =
            if let Input::Received { from, envelope } = &input { Some((*from, envelope.clone())) } else { None };
        // The rest of a peer is checked where it must not change.
        let is_again = |envelope: &Envelope| match envelope.route {
            Route::Flood { id: flood, .. } => self.observer.was_handed(id, flood),
            Route::Direct { .. } => false,
        };
        let whole = arrived.as_ref().filter(|(_, envelope)| is_again(envelope)).map(|_| peer.clone());
        let was_written = matches!(input, Input::Written(_));
        let mut given = None;
        let effects = peer.watched_step(input, &mut |_, input, said| given = Some((input, said.to_vec())));
        if let Some((input, said)) = &given {
            for effect in said {
                if let ParticipantEffect::Ledger(LedgerCall { request: LedgerRequest::Append(batch), .. }) = effect
                    && crosses(batch, node.durable)
                {
                    self.stats.count("batches that cross a clock's bound");
                }
            }
            let after = peer.participant();
            self.observer.on_step(Stepped { before: &before, input, effects: said, after })?;
        }
        if peer.journal().held() == self.setup.limits.held_back as usize {
            self.stats.count("steps with a full journal");
        }
        if let Some((from, envelope)) = &arrived {
            if given.is_none() && is_for(id, envelope).is_some_and(|flood| !self.observer.was_handed(id, flood)) {
                self.stats.count("floods too old to tell");
            }
            let heard = given.as_ref().map(|(input, _)| input);
            self.observer.on_arrival(whole.as_ref().unwrap_or(peer), *from, envelope, heard, peer)?;
        }
        self.observer.on_written_ahead(peer)?;
        let leaves = |effect: &Effect| matches!(effect, Effect::Send { .. } | Effect::Ledger(_));
        if was_written && effects.iter().any(leaves) {
            self.stats.count("steps held for the clock's bound");
        }
        self.carry_out(id, effects)
    }

    fn carry_out(&mut self, id: PeerId, effects: Effects) -> Checked {
        for effect in effects {
            let node = &self.nodes[id.0 as usize];
            if let Some(peer) = &node.peer {
                self.observer.on_leave(peer, node.durable, &effect)?;
            }
            match effect {
                Effect::Stop(forgotten) => panic!("peer {id} has its latest store and forgot {forgotten}"),
                Effect::Send { to, envelope } => {
                    self.tell(|| format!("  peer {id} -> peer {to}: {envelope:?}"));
                    if !self.cut.contains(&(id, to)) {
                        self.envelopes.push(Flying { from: id, to, envelope });
                    }
                }
                Effect::Ledger(call) => {
                    self.tell(|| format!("  peer {id} -> ledger: {:?}", call.request));
                    if self.node(id).reaches_ledger {
                        self.calls.push(call);
                    }
                }
                Effect::Write { id: write, durable } => self.node(id).writes.push_back((write, durable)),
                Effect::Arm { timer, after } => {
                    // Buyers are people: they do not all think for the same time, or the same ones would always be
                    // first.
                    let unsteady = if timer == Timer::Buyer { u64::from(self.next_random() % 60) } else { 0 };
                    let due = self.now + after + Duration::from_millis(unsteady);
                    self.node(id).timers.insert(timer, due);
                }
                Effect::Disarm(timer) => drop(self.node(id).timers.remove(&timer)),
                Effect::Choose { choice, among } => self.node(id).choices.push((choice, among)),
                Effect::Note { note, .. } => {
                    self.tell(|| format!("  peer {id}: {note:?}"));
                    self.count_note(&note);
                }
            }
        }
        Ok(())
    }

    fn count_note(&mut self, note: &Note) {
        match note {
            Note::ElectionWon => self.stats.count("elections won"),
            Note::TookOffice { inherited } => {
                self.stats.count("offices taken");
                self.stats.add("requests inherited", *inherited as usize);
            }
            Note::SteppedDown { reason: Departure::Isolated } => {
                self.stats.count("offices left for want of neighbours");
            }
            Note::SteppedDown { reason: Departure::LedgerSilent } => {
                self.stats.count("offices left for a silent ledger");
            }
            Note::Recalled { .. } => self.stats.count("outcomes of a former life recalled"),
            Note::ResumedRequest { .. } => self.stats.count("requests of a former life resumed"),
            Note::ResumedAccount { .. } => self.stats.count("accounts resumed"),
            Note::Joined { .. }
            | Note::ElectionCalled
            | Note::AskedForAnyone
            | Note::TraderSuspected { .. }
            | Note::Recognised { .. }
            | Note::SteppedDown { .. }
            | Note::Deposited { .. }
            | Note::Admitted { .. }
            | Note::Seated { .. }
            | Note::Unseated { .. }
            | Note::Sold { .. }
            | Note::Refused { .. }
            | Note::Wanted { .. }
            | Note::Bought { .. }
            | Note::Unavailable { .. }
            | Note::Registered { .. }
            | Note::Earned { .. }
            | Note::SoldOut { .. }
            | Note::LeftOver { .. }
            | Note::BooksRefused { .. }
            | Note::LedgerHeard
            | Note::LedgerSilent
            | Note::NoSuchEpoch { .. }
            | Note::TermRefused { .. }
            | Note::EnvelopeRefused { .. } => {}
        }
    }

    // The ledger.

    fn start_ledger(&mut self) -> Checked {
        let deeds = self.ledger.start();
        self.observe_log()?;
        self.observer.on_ledger_start();
        self.on_deeds(deeds)
    }

    fn crash_ledger(&mut self, kept: usize) -> Checked {
        if self.ledger.machine().is_some() {
            let (written, synced) = (self.ledger.store().written().len(), self.ledger.store().durable().len());
            self.ledger.crash(kept);
            let left = self.ledger.store().durable().len();
            self.stats.count("crashes of the ledger");
            self.stats.add("batches kept in a crash", left - synced);
            self.stats.add("batches lost in a crash", written - left);
            self.lease = None;
            self.tell(|| String::from("the ledger crashes"));
        }
        self.observe_log()
    }

    fn call(&mut self, nth: usize) -> Checked {
        let call = self.calls.arrive(nth);
        if self.ledger.machine().is_none() || !self.node(call.caller.peer).reaches_ledger {
            return Ok(());
        }
        self.stats.count("steps");
        self.tell(|| format!("ledger <- {call:?}"));
        let (was_writing, waiting) = (self.ledger.is_writing(), self.ledger.waiting());
        let deeds = self.ledger.take(call.clone());
        if let Some(machine) = self.ledger.machine() {
            self.observer.on_call(&call, was_writing, machine, &deeds)?;
        }
        self.stats.add("calls that waited in the ledger", self.ledger.waiting().saturating_sub(waiting));
        if !was_writing {
            self.stats.add("batches sent again", deeds.iter().filter(|deed| appends(deed)).count());
        }
        self.on_deeds(deeds)
    }

    fn on_deeds(&mut self, deeds: Vec<Deed>) -> Checked {
        for deed in deeds {
            match deed {
                Deed::Reply { reply, .. } => {
                    self.tell(|| format!("  ledger -> peer {}: {:?}", reply.word.to.peer, reply.answer));
                    if let LedgerAnswer::Append { verdict, .. } = &reply.answer {
                        match verdict {
                            Verdict::Appended { .. } => {}
                            Verdict::Fenced => self.stats.count("fenced appends"),
                            Verdict::Conflict => self.stats.count("conflicts"),
                            Verdict::LeaseActive => self.stats.count("claims that met a live term"),
                        }
                    }
                    self.replies.push(reply);
                }
                Deed::ArmLease(after) => self.lease = Some(self.now + after),
                Deed::Drop { .. } => self.stats.count("calls dropped by the ledger"),
                // The observer has said whether it should.
                Deed::Refuse { call, .. } => self.tell(|| format!("  the ledger refuses {call:?}")),
                Deed::Fail(fault) => self.tell(|| format!("  the ledger stops: {fault:?}")),
                // It is alone.
                Deed::Give(_) | Deed::Stop(_) => {}
            }
        }
        Ok(())
    }

    fn reply(&mut self, nth: usize) -> Checked {
        let reply = self.replies.arrive(nth);
        let to = reply.word.to.peer;
        if self.node(to).reaches_ledger { self.give(to, Input::Ledger(reply)) } else { Ok(()) }
    }

    fn answer_read(&mut self, nth: usize) -> Checked {
        let Some(reply) = self.ledger.answer_read(nth) else { return Ok(()) };
        self.observer.on_read(&reply)?;
        if reply.word.status.head < self.ledger.status().head {
            self.stats.count("reads answered late");
        }
        match &reply.answer {
            LedgerAnswer::Chunk { of: 1, .. } => self.stats.count("snapshots read whole"),
            LedgerAnswer::Chunk { .. } => self.stats.count("parts of snapshots read"),
            LedgerAnswer::Records { from, records } if from.plus(records.len()) < reply.word.status.head => {
                self.stats.count("reads that are cut");
            }
            LedgerAnswer::Records { .. } | LedgerAnswer::Status | LedgerAnswer::Append { .. } => {}
        }
        self.replies.push(reply);
        Ok(())
    }

    /// The ledger's disk makes progress: write, then sync, then report.
    fn persist(&mut self) -> Result<bool, Violation> {
        if self.ledger.is_asked_to_write() {
            self.ledger.write();
        } else if self.ledger.is_unsynced() {
            self.ledger.sync();
            self.observe_log()?;
        } else if self.ledger.is_unanswered() {
            let deeds = self.ledger.answer();
            self.observer.on_answered(&deeds)?;
            self.on_deeds(deeds)?;
        } else {
            return Ok(false);
        }
        Ok(true)
    }

    fn end_lease(&mut self) {
        if self.lease.take().is_some() {
            self.tell(|| String::from("the lease runs out"));
            self.ledger.end_lease();
            self.observer.on_lease_end();
        }
    }

    /// Checks every property of the log, for each batch that has become durable.
    fn observe_log(&mut self) -> Checked {
        // What is appended to an old image is a different history.
        if self.observer.is_put_back() {
            return Ok(());
        }
        while let Some(batch) = self.ledger.store().durable().get(self.observed).cloned() {
            self.tell(|| format!("  durable: {batch:?}"));
            self.observed += 1;
            for record in &batch.records {
                match &record.entry {
                    Entry::Claimed { .. } => {}
                    Entry::Deposited(_) => self.stats.count("deposits"),
                    Entry::Admitted { .. } => self.stats.count("admissions"),
                    Entry::Sold(_) => self.stats.count("sales"),
                    Entry::Refused { leftover, .. } => {
                        self.stats.count("refusals");
                        if leftover.is_some() {
                            self.stats.count("deposits left over");
                        }
                    }
                    Entry::Resigned => self.stats.count("resignations"),
                    Entry::Seated { .. } => self.stats.count("seats"),
                    Entry::Unseated { .. } => self.stats.count("seats lost"),
                }
            }
            self.observer.on_durable(&batch)?;
        }
        Ok(())
    }
}

/// Whether a batch must wait for the clock's next bound only because of its last records.
fn crosses(batch: &Batch, durable: Durable) -> bool {
    let ends = batch.records.first().zip(batch.records.last());
    ends.is_some_and(|(first, last)| first.stamp.time <= durable.clock_bound && durable.clock_bound < last.stamp.time)
}

/// The flood in this envelope, if somebody else started it and it is meant for this peer.
fn is_for(id: PeerId, envelope: &Envelope) -> Option<FloodId> {
    match envelope.route {
        Route::Flood { id: flood, to } if flood.origin != id && to.is_none_or(|to| to == id) => Some(flood),
        Route::Flood { .. } | Route::Direct { .. } => None,
    }
}

/// Whether this message says that records are in the log.
fn appends(deed: &Deed) -> bool {
    match deed {
        Deed::Reply { reply, batch: Some(batch), .. } => {
            let is_in = matches!(reply.answer, LedgerAnswer::Append { verdict: Verdict::Appended { .. }, .. });
            is_in && !batch.records.is_empty()
        }
        Deed::Reply { .. }
        | Deed::ArmLease(_)
        | Deed::Drop { .. }
        | Deed::Refuse { .. }
        | Deed::Fail(_)
        | Deed::Give(_)
        | Deed::Stop(_) => false,
    }
}

fn violated(property: Property, what: String) -> Checked {
    Err(Violation { property, position: None, what })
}

/// One life of a peer, for tests that need one.
pub fn life(peer: u32, incarnation: u32) -> Life {
    Life { peer: PeerId(peer), incarnation: Incarnation(incarnation) }
}
