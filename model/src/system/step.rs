//! Taking a step: which machine is given which input, and what becomes of its effects.

use std::{collections::BTreeMap, time::Duration};

use bazaar_protocol::{
    archive::Deed,
    effect::{Effect, Effects},
    id::PeerId,
    input::{Choice, Input, Timer, WriteId},
    invariant::{Checked, Stepped},
    ledger::{LedgerAnswer, LedgerCall, LedgerReply, Word},
    message::Route,
    peer::Peer,
};

use super::{
    Disk, System,
    world::{Action, Channel, Live, Node, Parcel, Place, Way, World},
};
use crate::subject::{
    landmark::{Landmark, Landmarks},
    ledger::{LedgerNode, Reply},
    passed,
    shared::Shared,
};

/// The wait of a timer where its length does not matter.
pub(super) const SOME_TIME: Duration = Duration::from_nanos(1);

/// A step that is being taken.
#[derive(Debug)]
pub struct Step<'a> {
    pub(super) setup: &'a System,
    pub(super) world: World,
    pub(super) landmarks: Landmarks,
    /// Whether timers run for exactly as long as they say.
    pub(super) is_timed: bool,
}

impl<'a> Step<'a> {
    pub(super) fn on(setup: &'a System, world: World) -> Step<'a> {
        Step { setup, world, landmarks: Landmarks::default(), is_timed: setup.waits_matter() }
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
                self.landmarks.note(Landmark::Healed);
                self.heal(*way);
            }
            Action::Notice(peer, place) => self.notice(*peer, *place),
            Action::Consult(peer) => {
                let way = Way::to_ledger(*peer);
                self.arrive(way);
                self.arrive(way.back());
            }
            Action::Report(peer) => {
                budget.reports -= 1;
                self.report(*peer);
            }
            Action::Sync => self.sync(),
            Action::Answer => {
                let deeds = self.ledger(|ledger| ledger.answer());
                let found = self.world.observer.on_answered(&deeds);
                self.check(found);
                self.on_deeds(deeds);
                // A call that waited inside it may have been granted.
                self.ledger(|ledger| ledger.write());
            }
            Action::Read(nth) => self.answer_read(*nth),
            Action::Snapshot => {
                budget.snapshots -= 1;
                self.ledger(|ledger| ledger.take_snapshot());
            }
            Action::LeaseRunsOut => {
                self.world.lease = None;
                self.ledger(|ledger| ledger.end_lease());
                self.world.observer.on_lease_end();
            }
            Action::CrashLedger => {
                budget.ledger_crashes -= 1;
                self.crash_ledger(None);
            }
            Action::PutBack { batches } => {
                budget.put_backs -= 1;
                self.crash_ledger(Some(*batches));
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
                self.landmarks.note(Landmark::Restarted);
                self.start(*peer);
            }
        }
    }

    pub(super) fn finish(self) -> (World, Landmarks) {
        (self.world, self.landmarks)
    }

    fn check(&mut self, found: Checked) {
        if let Err(violation) = found
            && self.setup.counts(&violation)
        {
            self.world.violation.get_or_insert_with(|| Shared::new(violation));
        }
    }

    // Parts of the state.

    /// Changes a peer that is alive; does nothing to one that is down.
    pub(super) fn live<R: Default>(&mut self, peer: PeerId, how: impl FnOnce(&mut Live) -> R) -> R {
        if self.world.live(peer).is_none() {
            return R::default();
        }
        self.world.nodes[peer.0 as usize].change(|node| match node {
            Node::Up(live) => how(live),
            Node::Down { .. } => R::default(),
        })
    }

    pub(super) fn ledger<R>(&mut self, how: impl FnOnce(&mut LedgerNode) -> R) -> R {
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
        self.channel(way, |channel| channel.queue.push_back(Shared::new(parcel)));
    }

    pub(super) fn cut(&mut self, way: Way) {
        let dropped = self.channel(way, |channel| {
            channel.is_cut = true;
            std::mem::take(&mut channel.queue).len()
        });
        if dropped > 0 {
            self.landmarks.note(Landmark::DroppedByCut);
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
            self.landmarks.note(Landmark::NoticedCut);
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

    fn report(&mut self, peer: PeerId) {
        let asks = self.world.live(peer).map(|live| (live.peer.view().me, live.peer.participant().latest_epoch()));
        if let (Some((to, heard)), Some(ledger)) = (asks, self.world.machine()) {
            let word = Word::of(to, heard, ledger.status(), self.setup.ledger().secret);
            self.give(peer, Input::Ledger(LedgerReply { word, answer: LedgerAnswer::Status }));
        }
    }

    pub(super) fn arrive(&mut self, way: Way) {
        let parcel = self.channel(way, |channel| channel.queue.pop_front());
        let Some(parcel) = parcel else { return };
        match (&*parcel, way) {
            (Parcel::Envelope(envelope), Way { from: Place::Peer(from), to: Place::Peer(to) }) => {
                self.give(to, Input::Received { from, envelope: envelope.clone() });
            }
            (Parcel::Call(call), _) => self.take(call),
            (Parcel::Reply(reply), Way { to: Place::Peer(to), .. }) => {
                self.give(to, Input::Ledger(reply.reply.clone()));
            }
            (Parcel::Envelope(_) | Parcel::Reply(_), _) => {}
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
        // The configurations of all scenarios pass the check; a peer whose configuration did not would never start.
        let mut found = Ok(());
        let observer = &mut self.world.observer;
        let started = Peer::watched_recover(config, durable, &mut |participant, said| {
            found = observer.on_start(durable, participant, said);
        });
        let Ok((started, effects)) = started else { return };
        self.check(found);
        let live = Live {
            peer: started,
            durable,
            writes: Default::default(),
            synced: None,
            timers: BTreeMap::new(),
            choices: BTreeMap::new(),
            hears_ledger: true,
            plans,
        };
        self.world.nodes[nth] = Shared::new(Node::Up(Box::new(live)));
        self.carry_out(peer, effects);
    }

    fn crash(&mut self, peer: PeerId) {
        let Some(live) = self.world.live(peer) else { return };
        if live.epoch().is_some() {
            self.landmarks.note(Landmark::TraderCrashed);
        }
        if !live.writes.is_empty() {
            self.landmarks.note(Landmark::LostWrite);
        }
        let (durable, plans) = (live.durable, live.plans);
        self.world.nodes[peer.0 as usize] = Shared::new(Node::Down { durable, plans });
        self.world.observer.on_crash(peer);
        for way in self.setup.ways().filter(|way| way.to == Place::Peer(peer)) {
            self.channel(way, |channel| channel.queue.clear());
        }
    }

    pub(super) fn give(&mut self, peer: PeerId, input: Input) {
        let Some(node) = self.world.nodes.get(peer.0 as usize).cloned() else { return };
        let Node::Up(before) = &*node else { return };
        let arrival = match &input {
            Input::Received { from, envelope } => Some((*from, envelope.clone())),
            Input::LinkUp(_)
            | Input::LinkDown(_)
            | Input::LedgerUp
            | Input::LedgerDown
            | Input::Resign
            | Input::Fired(_)
            | Input::Ledger(_)
            | Input::Chose { .. }
            | Input::Written(_) => None,
        };
        let is_written = matches!(input, Input::Written(_));
        let mut watched = None;
        let effects = self.live(peer, |live| {
            live.peer.watched_step(input, &mut |_, given, said| watched = Some((given, said.to_vec())))
        });
        let World { nodes, observer, .. } = &mut self.world;
        let Some(Node::Up(after)) = nodes.get(peer.0 as usize).map(|node| &**node) else { return };
        let mut found = Ok(());
        if let Some((given, said)) = &watched {
            let step =
                Stepped { before: before.participant(), input: given, effects: said, after: after.participant() };
            found = observer.on_step(step);
            self.landmarks.join(passed::in_step(step));
        }
        if let Some((from, envelope)) = &arrival {
            if let Route::Flood { id, .. } = envelope.route
                && observer.was_handed(peer, id)
            {
                self.landmarks.note(Landmark::RepeatedFlood);
            }
            let heard = watched.as_ref().map(|(given, _)| given);
            found = found.and(observer.on_arrival(&before.peer, *from, envelope, heard, &after.peer));
        }
        found = found.and(observer.on_written_ahead(&after.peer));
        let said = watched.as_ref().map_or(&[][..], |(_, said)| said);
        self.landmarks.join(super::passed::held_back(&before.peer, is_written, said, &effects, &after.peer));
        self.check(found);
        self.carry_out(peer, effects);
    }

    /// Carries out the effects of a peer.
    fn carry_out(&mut self, peer: PeerId, effects: Effects) {
        let mut written = None;
        for effect in effects {
            self.leave(peer, &effect);
            match effect {
                Effect::Stop(_) => {}
                Effect::Send { to, envelope } => {
                    self.send(Way::between(peer, to), Parcel::Envelope(envelope));
                }
                Effect::Ledger(call) => {
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
                Effect::Note { .. } => {}
            }
        }
        if let Some(id) = written {
            self.give(peer, Input::Written(id));
        }
        // A choice with only one alternative is made at once.
        let only = self.world.live(peer).and_then(|live| {
            let only = live.choices.iter().find(|(choice, among)| **among == 1 && live.may_choose(**choice));
            only.map(|(choice, _)| *choice)
        });
        if let Some(choice) = only {
            self.pick(peer, choice, 0);
        }
    }

    /// Puts under way what leaves a peer.
    fn leave(&mut self, peer: PeerId, effect: &Effect) {
        let Some(live) = self.world.live(peer) else { return };
        let found = self.world.observer.on_leave(&live.peer, live.durable, effect);
        self.landmarks.join(super::passed::in_leaving(peer, effect));
        self.check(found);
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
            Timer::LedgerGiveUp => budget.give_ups -= 1,
            Timer::Renewal | Timer::Wave => budget.renewals -= 1,
            Timer::Buyer | Timer::Seller if is_due => {}
            Timer::Buyer | Timer::Seller => budget.resends -= 1,
            Timer::Gather | Timer::ClockInterval => budget.ticks -= 1,
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
        let (waiting, was_writing) = (self.world.ledger.waiting(), self.world.ledger.is_writing());
        let deeds = self.ledger(|ledger| {
            let deeds = ledger.take(call.clone());
            ledger.write();
            deeds
        });
        let World { ledger, observer, .. } = &mut self.world;
        let found = ledger.machine().map_or(Ok(()), |machine| observer.on_call(call, was_writing, machine, &deeds));
        self.landmarks.join(passed::in_call(call, &deeds, ledger.waiting() > waiting));
        self.check(found);
        self.on_deeds(deeds);
        if self.setup.asks_at_once {
            while !self.world.ledger.reads().is_empty() {
                self.answer_read(0);
            }
        }
    }

    fn answer_read(&mut self, nth: usize) {
        let reply = self.ledger(|ledger| ledger.answer_read(nth));
        if let Some(reply) = reply {
            let found = self.world.observer.on_read(&reply);
            self.check(found);
            self.reply(Reply { reply, batch: None });
        }
    }

    fn sync(&mut self) {
        let Some(batch) = self.ledger(|ledger| ledger.sync().cloned()) else { return };
        let found = self.world.observer.on_durable(&batch);
        let writer = batch.writer().and_then(|writer| self.world.live(writer)).map(Live::participant);
        self.landmarks.join(passed::in_batch(&batch, self.world.observer.log(), writer));
        self.check(found);
    }

    /// Carries out the deeds of the ledger.
    fn on_deeds(&mut self, deeds: Vec<Deed>) {
        for deed in deeds {
            match deed {
                Deed::Reply { reply, batch, .. } => self.reply(Reply { reply, batch }),
                Deed::ArmLease(wait) => self.world.lease = self.is_timed.then_some(wait),
                Deed::Drop { .. } | Deed::Refuse { .. } | Deed::Give(_) | Deed::Stop(_) => {}
                Deed::Fail(_) => self.landmarks.note(Landmark::OldImageNoticed),
            }
        }
    }

    fn reply(&mut self, reply: Reply) {
        let way = Way::to_ledger(reply.reply.word.to.peer).back();
        self.send(way, Parcel::Reply(reply));
    }

    /// The ledger crashes and comes back, with an old image of this many batches if one is put back.
    fn crash_ledger(&mut self, image: Option<usize>) {
        if self.world.ledger.is_unsynced() {
            self.landmarks.note(Landmark::LostUnsynced);
        }
        if self.world.ledger.is_unanswered() {
            self.landmarks.note(Landmark::KeptUnanswered);
        }
        let deeds = self.ledger(|ledger| {
            ledger.crash(0);
            if let Some(batches) = image {
                ledger.put_back(batches);
            }
            ledger.start()
        });
        if image.is_some() {
            self.landmarks.note(Landmark::OldImage);
            self.world.observer.on_put_back();
        }
        self.world.observer.on_ledger_start();
        self.world.lease = None;
        self.on_deeds(deeds);
    }
}
