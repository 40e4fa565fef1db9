//! What a step does: which machine is given what, and what becomes of its effects.

use std::{collections::BTreeMap, time::Duration};

use protocol::{
    effect::{Durable, Effect, Effects},
    id::{Epoch, PeerId, Position},
    input::{Choice, Input, Timer, WriteId},
    invariant,
    ledger::{CallId, Ledger, LedgerAnswer, LedgerCall, LedgerEffect, LedgerInput, LedgerReply, LedgerRequest, Store},
    message::{Envelope, Route},
    peer::Peer,
    record::Batch,
};

use super::{
    Disk, Whole,
    world::{Action, Channel, LEDGER, Live, Node, Parcel, Place, Way, World},
};
use crate::{
    bazaar::world::{Archive, Reply},
    part::Part,
    sighting::{Sighting, Sightings},
};

/// A wait where it does not matter how long.
pub(super) const SOME_TIME: Duration = Duration::from_nanos(1);

/// A step under way.
#[derive(Debug)]
pub struct Step<'a> {
    pub(super) setup: &'a Whole,
    pub(super) world: World,
    pub(super) sightings: Sightings,
    /// Timers run as long as they say.
    pub(super) is_timed: bool,
}

impl<'a> Step<'a> {
    pub(super) fn on(setup: &'a Whole, world: World) -> Step<'a> {
        Step { setup, world, sightings: Sightings::default(), is_timed: setup.waits_matter() }
    }

    pub(super) fn act(&mut self, action: &Action) {
        let budget = &mut self.world.budget;
        match action {
            Action::Arrive(way) => self.arrive(*way),
            Action::Lose(way) => {
                budget.losses -= 1;
                self.channel(*way, |channel| channel.queue.pop_front());
            }
            Action::Double(way) => {
                budget.doubles -= 1;
                self.channel(*way, |channel| {
                    let next = channel.queue.front().cloned();
                    channel.queue.extend(next);
                    // At the head again, so that both come before what follows.
                    channel.queue.rotate_right(1);
                });
            }
            Action::Swap(way) => {
                budget.swaps -= 1;
                self.channel(*way, |channel| channel.queue.swap(0, 1));
            }
            Action::Cut { way, both } => {
                budget.cuts -= 1;
                self.cut(*way);
                if *both {
                    self.cut(way.back());
                }
            }
            Action::Heal(way) => {
                self.sightings.note(Sighting::Healed);
                self.heal(*way);
            }
            Action::Notice(peer, place) => self.notice(*peer, *place),
            Action::Consult(peer) => {
                let way = Way::to_ledger(*peer);
                self.arrive(way);
                self.arrive(way.back());
            }
            Action::Sync => self.sync(),
            Action::LeaseRunsOut => {
                self.world.lease = None;
                self.ledger(|archive| archive.machine.step(LedgerInput::LeaseFired));
            }
            Action::CrashLedger { kept } => {
                budget.ledger_crashes -= 1;
                self.crash_ledger(*kept);
            }
            Action::Persist(peer) => self.persist(*peer),
            Action::Confirm(peer) => self.confirm(*peer),
            Action::Fire(peer, timer) => {
                self.spend(*peer, *timer);
                self.fire(*peer, *timer);
            }
            Action::Pick(peer, choice, pick) => self.pick(*peer, *choice, *pick),
            Action::Crash(peer) => {
                budget.crashes -= 1;
                self.crash(*peer);
            }
            Action::Restart(peer) => {
                budget.restarts -= 1;
                self.sightings.note(Sighting::Restarted);
                self.start(*peer);
            }
        }
    }

    pub(super) fn finish(self) -> (World, Sightings) {
        (self.world, self.sightings)
    }

    // Parts of the state.

    /// Changes a living peer.
    pub(super) fn live<R: Default>(&mut self, peer: PeerId, how: impl FnOnce(&mut Live) -> R) -> R {
        if self.world.live(peer).is_none() {
            return R::default();
        }
        self.world.nodes[peer.0 as usize].change(|node| match node {
            Node::Up(live) => how(live),
            Node::Down { .. } => R::default(),
        })
    }

    pub(super) fn ledger<R>(&mut self, how: impl FnOnce(&mut Archive) -> R) -> R {
        self.world.ledger.change(how)
    }

    pub(super) fn channel<R: Default>(&mut self, way: Way, how: impl FnOnce(&mut Channel) -> R) -> R {
        match self.setup.nth(way) {
            Some(nth) => self.world.channels[nth].change(how),
            None => R::default(),
        }
    }

    // Connections.

    fn send(&mut self, way: Way, parcel: Parcel) {
        if !self.world.is_there(way.to) || self.world.channel(self.setup, way).is_none_or(|channel| channel.is_cut) {
            return;
        }
        self.channel(way, |channel| channel.queue.push_back(Part::new(parcel)));
    }

    pub(super) fn cut(&mut self, way: Way) {
        let dropped = self.channel(way, |channel| {
            channel.is_cut = true;
            std::mem::take(&mut channel.queue).len()
        });
        if dropped > 0 {
            self.sightings.note(Sighting::DroppedByCut);
        }
    }

    pub(super) fn heal(&mut self, way: Way) {
        for way in [way, way.back()] {
            self.channel(way, |channel| channel.is_cut = false);
        }
    }

    pub(super) fn notice(&mut self, peer: PeerId, place: Place) {
        let works = self.world.is_connected(self.setup, Way { from: Place::Peer(peer), to: place });
        if !works {
            self.sightings.note(Sighting::NoticedCut);
        }
        let input = match (place, works) {
            (Place::Peer(neighbour), true) => Input::LinkUp(neighbour),
            (Place::Peer(neighbour), false) => Input::LinkDown(neighbour),
            (Place::Ledger, works) => {
                self.live(peer, |live| live.hears_ledger = works);
                if works { Input::LedgerUp } else { Input::LedgerDown }
            }
        };
        self.give(peer, input);
    }

    pub(super) fn arrive(&mut self, way: Way) {
        let parcel = self.channel(way, |channel| channel.queue.pop_front());
        let Some(parcel) = parcel else { return };
        match (&*parcel, way) {
            (Parcel::Envelope(envelope), Way { from: Place::Peer(from), to: Place::Peer(to) }) => {
                self.receive(to, from, envelope);
            }
            (Parcel::Call(call), _) => self.take(call),
            (Parcel::Reply(reply), Way { to: Place::Peer(to), .. }) => {
                self.see_verdict(to, reply);
                self.give(to, Input::Ledger(reply.reply.clone()));
            }
            (Parcel::Envelope(_) | Parcel::Reply(_), _) => {}
        }
    }

    fn receive(&mut self, peer: PeerId, from: PeerId, envelope: &Envelope) {
        let is_repeated = self.is_repeated(peer, envelope);
        let before = if is_repeated { self.world.live(peer).map(|live| live.peer.clone()) } else { None };
        let is_delivered = !is_repeated && self.is_delivered(peer, envelope);
        if let Route::Flood { id, .. } = envelope.route {
            self.live(peer, |live| {
                live.floods.insert(id);
            });
        }
        let was_in_office = self.world.live(peer).is_some_and(|live| live.epoch().is_some());
        let heard_directly = self.hears_trader(peer, envelope);
        self.give(peer, Input::Received { from, envelope: envelope.clone() });
        self.check_joins_not(peer, heard_directly);
        if let Some(before) = before {
            self.check_repeated(peer, &before, envelope);
        }
        if is_delivered {
            self.check_delivered(peer, envelope, was_in_office);
        }
    }

    // Peers.

    pub(super) fn start(&mut self, peer: PeerId) {
        let nth = peer.0 as usize;
        let (Some(Node::Down { durable, plans }), Some(config)) =
            (self.world.nodes.get(nth).map(|node| &**node), self.setup.config(peer))
        else {
            return;
        };
        let (durable, plans) = (*durable, *plans);
        // The scenarios' configurations pass the check; one that does not has a peer that never starts.
        let Ok((started, effects)) = Peer::recover(config, durable) else { return };
        self.check(invariant::a_clock_never_goes_back(durable.clock_bound, started.clock().now()));
        let live = Live {
            peer: started,
            durable,
            writes: Default::default(),
            synced: None,
            timers: BTreeMap::new(),
            choices: BTreeMap::new(),
            hears_ledger: true,
            plans,
            floods: Default::default(),
            heard: Epoch(0),
            confirmed: false,
            concluded: None,
            earned: None,
        };
        self.world.nodes[nth] = Part::new(Node::Up(Box::new(live)));
        self.carry_out(peer, effects, None);
    }

    fn crash(&mut self, peer: PeerId) {
        let Some(live) = self.world.live(peer) else { return };
        if live.epoch().is_some() {
            self.sightings.note(Sighting::TraderCrashed);
        }
        if !live.writes.is_empty() {
            self.sightings.note(Sighting::LostWrite);
        }
        let (durable, plans) = (live.durable, live.plans);
        self.world.nodes[peer.0 as usize] = Part::new(Node::Down { durable, plans });
        for way in self.setup.ways().filter(|way| way.to == Place::Peer(peer)) {
            self.channel(way, |channel| channel.queue.clear());
        }
    }

    pub(super) fn give(&mut self, peer: PeerId, input: Input) {
        let Some(before) = self.world.live(peer) else { return };
        let before = before.peer.clone();
        let is_written = matches!(input, Input::Written(_));
        let renews = input == Input::Fired(Timer::Renewal);
        let effects = self.live(peer, |live| live.peer.step(input));
        if is_written && effects.iter().any(|effect| matches!(effect, Effect::Send { .. } | Effect::Ledger(_))) {
            self.sightings.note(Sighting::HeldBack);
        }
        self.check_step(peer, &before);
        self.check_heartbeat(peer, renews, is_written, &effects);
        self.check_sales(peer, &before, &effects);
        self.carry_out(peer, effects, before.office().epoch());
    }

    /// Carries out what a peer wants done. `held` is the epoch it held before.
    fn carry_out(&mut self, peer: PeerId, effects: Effects, held: Option<Epoch>) {
        let mut written = None;
        for effect in effects {
            match effect {
                Effect::Send { to, envelope } => {
                    self.check_send(peer, to, &envelope, held);
                    self.send(Way::between(peer, to), Parcel::Envelope(envelope));
                }
                Effect::Ledger(call) => {
                    self.check_call(peer, &call);
                    self.send(Way::to_ledger(peer), Parcel::Call(call));
                }
                Effect::Write { id, durable } => match self.setup.disk {
                    Disk::AtOnce => {
                        self.live(peer, |live| live.durable = durable);
                        written = Some(id);
                    }
                    Disk::InSteps => self.live(peer, |live| live.writes.push_back((id, durable))),
                },
                Effect::Arm { timer, after } => {
                    let after = if self.is_timed || after.is_zero() { after } else { SOME_TIME };
                    self.live(peer, |live| {
                        live.timers.insert(timer, after);
                    });
                }
                Effect::Disarm(timer) => self.live(peer, |live| {
                    live.timers.remove(&timer);
                }),
                Effect::Choose { choice, among } => self.live(peer, |live| {
                    live.choices.insert(choice, among);
                }),
                Effect::Note { clock, note, .. } => {
                    self.check_note(peer, clock, &note);
                    self.see(peer, &note);
                }
            }
        }
        if let Some(id) = written {
            self.give(peer, Input::Written(id));
        }
        // A choice among one is made at once.
        let only = self.world.live(peer).and_then(|live| {
            let only = live.choices.iter().find(|(choice, among)| **among == 1 && live.may_choose(**choice));
            only.map(|(choice, _)| *choice)
        });
        if let Some(choice) = only {
            self.pick(peer, choice, 0);
        }
    }

    fn persist(&mut self, peer: PeerId) {
        self.live(peer, |live| {
            if let Some((id, durable)) = live.writes.pop_front() {
                (live.durable, live.synced) = (durable, Some(id));
            }
        });
    }

    fn confirm(&mut self, peer: PeerId) {
        let synced: Option<WriteId> = self.live(peer, |live| live.synced.take());
        if let Some(id) = synced {
            self.give(peer, Input::Written(id));
        }
    }

    fn spend(&mut self, peer: PeerId, timer: Timer) {
        let is_due = self.world.live(peer).and_then(|live| live.timers.get(&timer)).is_some_and(Duration::is_zero);
        let budget = &mut self.world.budget;
        match timer {
            Timer::Election => budget.alarms -= 1,
            Timer::LedgerRetry => budget.retries -= 1,
            Timer::LedgerPatience => budget.impatience -= 1,
            Timer::Renewal => budget.renewals -= 1,
            Timer::Buyer | Timer::Seller if is_due => {}
            Timer::Buyer | Timer::Seller => budget.resends -= 1,
            Timer::ClockInterval => {}
        }
    }

    pub(super) fn fire(&mut self, peer: PeerId, timer: Timer) {
        self.live(peer, |live| {
            live.timers.remove(&timer);
        });
        self.give(peer, Input::Fired(timer));
    }

    fn pick(&mut self, peer: PeerId, choice: Choice, pick: u32) {
        self.live(peer, |live| {
            live.choices.remove(&choice);
            let plans = match choice {
                Choice::Wish => &mut live.plans.wishes,
                Choice::Offer => &mut live.plans.deposits,
            };
            *plans = plans.saturating_sub(1);
        });
        self.give(peer, Input::Chose { choice, pick });
    }

    // The ledger.

    fn take(&mut self, call: &LedgerCall) {
        let nothing = Batch { epoch: Epoch(0), position: Position(0), records: Vec::new() };
        let batch = match &call.request {
            LedgerRequest::Append(batch) => batch.clone(),
            LedgerRequest::Status | LedgerRequest::Read { .. } => nothing,
        };
        let input = LedgerInput::Call { id: CallId(0), call: call.clone() };
        let effects = self.ledger(|archive| archive.machine.step(input));
        self.see_resent(&batch, &effects);
        self.on_ledger(effects, &batch);
    }

    pub(super) fn sync(&mut self) {
        let Ok(()) = self.ledger(|archive| archive.store.sync());
        self.on_durable();
        let Some(batch) = self.world.ledger.store.durable().last().cloned() else { return };
        let effects = self.ledger(|archive| archive.machine.step(LedgerInput::Persisted));
        self.on_ledger(effects, &batch);
    }

    /// Carries out what the ledger wants done on account of a batch.
    fn on_ledger(&mut self, effects: Vec<LedgerEffect>, batch: &Batch) {
        for effect in effects {
            match effect {
                LedgerEffect::Persist(batch) => {
                    let Ok(()) = self.ledger(|archive| archive.store.append(&batch));
                }
                LedgerEffect::Reply { reply, .. } => self.reply(reply, batch),
                LedgerEffect::Read { to, status, from, part, .. } => {
                    let Ok(answer) = self.world.ledger.store.read(from, part, status.head);
                    if matches!(answer, LedgerAnswer::Part { .. }) {
                        self.sightings.note(Sighting::ReadSnapshot);
                    }
                    self.reply(LedgerReply { to, status, answer }, batch);
                }
                LedgerEffect::Fail(fault) => self.fail(&fault),
                LedgerEffect::ArmLease(wait) => self.world.lease = self.is_timed.then_some(wait),
                LedgerEffect::Drop(_) => {}
            }
        }
    }

    fn reply(&mut self, reply: LedgerReply, batch: &Batch) {
        let way = Way::to_ledger(reply.to.peer).back();
        self.send(way, Parcel::Reply(Reply { reply, batch: batch.clone() }));
    }

    fn crash_ledger(&mut self, kept: bool) {
        let was_writing = self.world.ledger.is_writing();
        let effects = self.ledger(|archive| {
            archive.store.crash(usize::from(kept));
            let (machine, effects) = Ledger::recover(LEDGER, archive.store.tail());
            archive.machine = machine;
            effects
        });
        if was_writing {
            self.sightings.note(if kept { Sighting::KeptUnanswered } else { Sighting::LostUnsynced });
        }
        if kept {
            self.on_durable();
        }
        self.world.lease = None;
        let nothing = Batch { epoch: Epoch(0), position: Position(0), records: Vec::new() };
        self.on_ledger(effects, &nothing);
    }

    /// What a peer's disk holds for good.
    pub(super) fn durable(&self, peer: PeerId) -> Durable {
        self.world.live(peer).map(|live| live.durable).unwrap_or_default()
    }
}
