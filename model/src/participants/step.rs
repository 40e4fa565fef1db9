//! Taking a step: which machine is given which input, and what becomes of its effects. All decisions are those of
//! [`Participant`] and [`Archive`](bazaar_protocol::archive::Archive); all checks are the [`Observer`]'s.

use std::time::Duration;

use bazaar_protocol::{
    archive::Deed,
    clock::{Stamp, Time},
    cluster::Cluster,
    effect::Durable,
    id::{DepositId, DepositNumber, Epoch, Incarnation, Item, Life, PeerId, RequestId, Sequence, Units},
    input::{Choice, Timer},
    invariant::{Checked, Observer, Stepped},
    ledger::{HighWaterMark, LedgerCall, LedgerReply, LedgerRequest},
    message::{Body, ClientMessage, TraderMessage},
    money::Price,
    participant::{Context, Participant, ParticipantEffect, ParticipantInput},
    record::{Batch, Deposit, Entry, Record, Request},
};

use super::{
    Cut, OFFICE, Participants, Role,
    world::{Action, Call, Live, Mail, State, World},
};
use crate::subject::{
    landmark::{Landmark, Landmarks},
    ledger::{LedgerNode, Ledgers, Reply},
    passed,
    shared::Shared,
};

/// Passing clients, which trade with the peer in office where there are no other clients.
const PASSING_SELLER: PeerId = PeerId(1_000);
const PASSING_BUYER: PeerId = PeerId(1_001);

/// A step that is being taken.
#[derive(Debug)]
pub struct Step<'a> {
    pub(super) setup: &'a Participants,
    pub(super) world: World,
    pub(super) landmarks: Landmarks,
    /// What stays cut, on the fair schedule.
    pub(super) cut: Cut,
    /// The last append whose answer was lost, where first answers are lost.
    pub(super) unanswered: Option<Batch>,
    /// How long a read has been under way, where reads are slow.
    pub(super) reading: Duration,
    /// How much the ledger and a member with a bug have told the peers since time last passed: each peer twice.
    pub(super) told: usize,
}

impl<'a> Step<'a> {
    pub(super) fn on(setup: &'a Participants, world: World) -> Step<'a> {
        Step {
            setup,
            world,
            landmarks: Landmarks::default(),
            cut: Cut::Nothing,
            unanswered: None,
            reading: Duration::ZERO,
            told: 0,
        }
    }

    pub(super) fn act(&mut self, action: &Action) {
        let budget = &mut self.world.budget;
        match action {
            Action::Resign(peer) => {
                budget.dismissals -= 1;
                let office = self.world.live(self.setup, *peer).and_then(|live| live.participant.office());
                if office.is_some_and(|office| office.in_flight().is_some()) {
                    self.landmarks.note(Landmark::DismissedInFlight);
                }
                self.give(*peer, ParticipantInput::Resign);
            }
            Action::Stand(peer) => {
                // The fair schedule has no budgets.
                budget.stands = budget.stands.saturating_sub(1);
                self.give(*peer, ParticipantInput::Stand);
            }
            Action::Yield(peer) => {
                budget.yields -= 1;
                self.give(*peer, ParticipantInput::Yield);
            }
            Action::Fire(peer, timer) => {
                self.spend(*timer);
                self.elapse(self.wait_of(*peer, *timer));
                self.fire(*peer, *timer);
            }
            Action::Pick(peer, pick) => self.pick(*peer, *pick),
            Action::Tick(peer) => {
                budget.ticks -= 1;
                // Its clock rises because of an event that has nothing to do with the trading post.
                let clock = self.world.live(self.setup, *peer).map(|live| live.participant.clock().now());
                if let Some(clock) = clock {
                    self.give(*peer, ParticipantInput::Heard { from: PASSING_BUYER, clock, body: Body::Clock });
                }
            }
            Action::Serve(peer) => {
                budget.sales -= 1;
                self.serve(*peer);
            }
            Action::Lie(peer) => {
                // The fair schedule has no budget: there it goes on for ever.
                budget.lies = budget.lies.saturating_sub(1);
                let (from, epoch) = self.world.lie(self.setup, *peer);
                self.watch(|observer| {
                    observer.on_made_up(epoch);
                    Ok(())
                });
                let body = Body::Heartbeat { epoch, waits: None };
                self.give(*peer, ParticipantInput::Heard { from, clock: Time(0), body });
                // It shows the ledger the same.
                let head = self.world.ledger.status().head.plus(1);
                let seen = HighWaterMark { epoch, head, ..HighWaterMark::default() };
                let caller = Life { peer: from, incarnation: Incarnation(1) };
                let status = self.world.ledger.status();
                let entry = Entry::Claimed { epoch, holder: caller, ordering: self.setup.terms.ordering };
                let records = vec![Record { stamp: Stamp { time: Time(1), peer: from }, entry }];
                let batch = Batch { epoch: status.epoch().next(), position: status.head, records };
                let unseen = HighWaterMark::default();
                // And it claims, by a batch that says one thing and holds another.
                for (seen, request) in [(seen, LedgerRequest::Status), (unseen, LedgerRequest::Append(batch))] {
                    self.hand_in(LedgerCall { caller, seen, heard: epoch, request });
                }
            }
            Action::Consult(peer) => self.consult(*peer),
            Action::Arrive(peer, mail) => {
                if self.setup.is_synchronous() {
                    self.world.mail.change(|bag| bag.take(mail));
                }
                let Mail { from, clock, body, .. } = (**mail).clone();
                self.give(*peer, ParticipantInput::Heard { from, clock, body });
            }
            Action::At(at, action) => self.act_at(*at, action),
            Action::Stray(nth) => {
                let written = self.several(|cluster| cluster.stray(*nth));
                self.on_carried_out(written);
            }
            Action::Wipe => {
                budget.wipes -= 1;
                self.several(Cluster::wipe);
                self.world.observer.change(Observer::on_put_back);
            }
            Action::PutBack => {
                budget.old_images -= 1;
                self.several(|cluster| cluster.put_back(cluster.store().durable().len().saturating_sub(1)));
                self.world.observer.change(Observer::on_put_back);
            }
            Action::Take(call) => {
                if self.setup.is_synchronous() {
                    self.world.calls.change(|calls| calls.take(call));
                }
                self.take(call);
            }
            Action::Sync => self.sync(),
            Action::Confirm => {
                let deeds = self.ledger(|ledger| {
                    let deeds = ledger.answer();
                    // A batch that waited may be written next.
                    ledger.write();
                    deeds
                });
                self.watch(|observer| observer.on_answered(&deeds));
                self.on_deeds(deeds);
            }
            Action::Answer(peer, reply) => {
                if self.setup.is_synchronous() {
                    self.world.replies.change(|replies| replies.take(reply));
                }
                self.give(*peer, ParticipantInput::Ledger(reply.reply.clone()));
            }
            Action::LeaseRunsOut => {
                self.elapse(self.world.leases[0]);
                self.world.leases[0] = None;
                self.ledger(|ledger| ledger.end_lease());
                self.watch(|observer| {
                    observer.on_lease_end();
                    Ok(())
                });
            }
            Action::Snapshot => {
                budget.snapshots -= 1;
                self.ledger(|ledger| ledger.take_snapshot());
            }
            Action::Crash(peer) => {
                budget.crashes -= 1;
                self.crash(*peer);
            }
            Action::Restart(peer) => {
                budget.restarts -= 1;
                self.landmarks.note(Landmark::Restarted);
                self.start(*peer);
            }
            Action::CrashLedger { kept } => {
                budget.ledger_crashes -= 1;
                self.crash_ledger(*kept);
            }
        }
        if self.setup.is_synchronous() {
            let mut observer = Observer::clone(&self.world.observer);
            let found = observer.on_instant(self.world.lives().map(|live| &live.participant));
            self.observed(observer, found);
        }
    }

    // The observer.

    pub(super) fn check(&mut self, found: Checked) {
        if let Err(violation) = found
            && self.setup.counts(&violation)
        {
            self.world.violation.get_or_insert_with(|| Shared::new(violation));
        }
    }

    /// Tells the observer something and notes what it finds.
    pub(super) fn watch(&mut self, what: impl FnOnce(&mut Observer) -> Checked) {
        let mut observer = Observer::clone(&self.world.observer);
        let found = what(&mut observer);
        self.observed(observer, found);
    }

    fn observed(&mut self, observer: Observer, found: Checked) {
        if observer != *self.world.observer {
            self.world.observer = Shared::new(observer);
        }
        self.check(found);
    }

    // Time.

    fn spend(&mut self, timer: Timer) {
        if self.setup.is_synchronous() {
            return;
        }
        let budget = &mut self.world.budget;
        match timer {
            Timer::Election => budget.alarms -= 1,
            Timer::LedgerGiveUp => budget.give_ups -= 1,
            Timer::Renewal | Timer::Wave => budget.renewals -= 1,
            Timer::Seller => budget.asks -= 1,
            Timer::Buyer | Timer::LedgerRetry | Timer::Gather | Timer::ClockInterval => {}
        }
    }

    fn wait_of(&self, peer: PeerId, timer: Timer) -> Option<Duration> {
        self.world.live(self.setup, peer)?.timers.get(&timer).copied()
    }

    /// Lets this much time pass, where time passes at all.
    pub(super) fn elapse(&mut self, time: Option<Duration>) {
        let Some(time) = time.filter(|time| !time.is_zero()) else { return };
        if !self.setup.is_synchronous() {
            return;
        }
        for peer in self.setup.ids() {
            self.live(peer, |live| live.timers.values_mut().for_each(|wait| *wait = wait.saturating_sub(time)));
        }
        for lease in self.world.leases.iter_mut().flatten() {
            *lease = lease.saturating_sub(time);
        }
    }

    // Peers.

    pub(super) fn start(&mut self, peer: PeerId) {
        let Some(role) = self.setup.role(peer) else { return };
        let place = self.setup.place(peer);
        let State::Down { durable, plans } = self.world.peers[place].state else { return };
        let config = std::sync::Arc::clone(&self.world.peers[place].config);
        let context = Context { config: &config, is_isolated: self.is_isolated(peer) };
        let (participant, effects) = Participant::recover(context, role.parts(), durable);
        self.watch(|observer| observer.on_start(durable, &participant, &effects));
        let live = Live { participant, question: None, choice: None, timers: Default::default(), plans };
        self.world.peers[place].change(|peer| peer.state = State::Up(Box::new(live)));
        self.carry_out(peer, effects);
        if role.sells.is_some() {
            // It makes its first deposit at once.
            self.fire(peer, Timer::Seller);
        }
    }

    /// Whoever the log gives a seat when everything starts was told of it.
    pub(super) fn tell_of_seat(&mut self, peer: PeerId) {
        let books = self.world.observer.log().books();
        let status = books.buyer_status(peer);
        if let (Some(term), Some(_)) = (books.term(), status.seat) {
            let (from, clock) = (term.holder.peer, books.latest());
            self.watch(|observer| {
                observer.on_outsider(from);
                Ok(())
            });
            let body = Body::Trader(TraderMessage::Buyer(status));
            self.give(peer, ParticipantInput::Heard { from, clock, body });
        }
    }

    fn crash(&mut self, peer: PeerId) {
        let Some(live) = self.world.live(self.setup, peer) else { return };
        if live.epoch().is_some() {
            self.landmarks.note(Landmark::TraderCrashed);
        }
        // The clock of each step is durable before the step's messages leave: the tightest bound that writing ahead
        // allows. The furthest books seen may lag arbitrarily, so nothing of them is kept.
        let incarnation = live.participant.me().incarnation;
        let durable =
            Durable { incarnation, clock_bound: live.participant.clock().now(), seen: HighWaterMark::default() };
        let plans = live.plans;
        let place = self.setup.place(peer);
        self.world.peers[place].change(|peer| peer.state = State::Down { durable, plans });
        self.world.observer.change(|observer| observer.on_crash(peer));
    }

    /// Changes a peer that is alive; does nothing to one that is down.
    pub(super) fn live<R: Default>(&mut self, peer: PeerId, how: impl FnOnce(&mut Live) -> R) -> R {
        if self.world.live(self.setup, peer).is_none() {
            return R::default();
        }
        let place = self.setup.place(peer);
        self.world.peers[place].change(|peer| match &mut peer.state {
            State::Up(live) => how(live),
            State::Down { .. } => R::default(),
        })
    }

    fn is_isolated(&self, peer: PeerId) -> bool {
        self.cut == Cut::FromOverlay(peer)
    }

    /// Fires an armed timer.
    pub(super) fn fire(&mut self, peer: PeerId, timer: Timer) {
        self.live(peer, |live| {
            live.timers.remove(&timer);
            if timer == Timer::Buyer && live.may_want() {
                live.plans.wishes = live.plans.wishes.saturating_sub(1);
            }
        });
        self.give(peer, ParticipantInput::Fired(timer));
    }

    pub(super) fn pick(&mut self, peer: PeerId, pick: u32) {
        let choice = self.live(peer, |live| {
            let choice = live.choice.take().map(|(choice, _)| choice);
            if choice == Some(Choice::Offer) {
                live.plans.deposits = live.plans.deposits.saturating_sub(1);
            }
            choice
        });
        if let Some(choice) = choice {
            self.give(peer, ParticipantInput::Chose { choice, pick });
        }
    }

    /// A request of a passing buyer, and before it a deposit of a passing seller if that has no stock left. Both know
    /// the state of the books.
    fn serve(&mut self, peer: PeerId) {
        let trader = self.world.live(self.setup, peer).and_then(|live| live.participant.office()?.trader());
        let Some(books) = trader.map(|trader| trader.books()) else { return };
        let stamp = |peer| Stamp { time: Time(books.latest().0 + 1), peer };
        let before = books.sellers().get(&PASSING_SELLER).and_then(|account| account.deposit.as_ref());
        let deposit = before.is_none_or(|deposit| deposit.left == Units(0)).then(|| Deposit {
            id: DepositId {
                seller: PASSING_SELLER,
                number: DepositNumber(before.map_or(1, |deposit| deposit.number.0 + 1)),
            },
            previous: before.map(|deposit| deposit.number),
            item: Item::FISH,
            count: Units(9),
            price: Price(99),
            stamp: stamp(PASSING_SELLER),
        });
        let last = books.buyers().get(&PASSING_BUYER).and_then(|account| account.last.as_ref());
        let last = last.map(|(sequence, _)| *sequence);
        let request = Request {
            id: RequestId { buyer: PASSING_BUYER, sequence: Sequence(last.map_or(1, |last| last.0 + 1)) },
            previous: last,
            item: Item::FISH,
            quantity: Units(1),
            stamp: stamp(PASSING_BUYER),
        };
        let clock = request.stamp.time;
        let deposit = deposit.map(|deposit| (PASSING_SELLER, ClientMessage::Deposit(deposit)));
        for (from, message) in deposit.into_iter().chain([(PASSING_BUYER, ClientMessage::Request(request))]) {
            self.watch(|observer| {
                observer.on_outsider(from);
                Ok(())
            });
            self.give(peer, ParticipantInput::Heard { from, clock, body: Body::Client(message) });
        }
    }

    /// Gives a participant an input while the observer watches.
    pub(super) fn give(&mut self, peer: PeerId, input: ParticipantInput) {
        if self.world.live(self.setup, peer).is_none() {
            return;
        }
        let place = self.setup.place(peer);
        let is_isolated = self.is_isolated(peer);
        let was = self.world.peers[place].clone();
        let effects = self.world.peers[place].change(|peer| {
            let State::Up(live) = &mut peer.state else { return Vec::new() };
            let effects = live.participant.step(Context { config: &peer.config, is_isolated }, input.clone());
            let now = live.participant.clock().now();
            live.participant.extend(now);
            effects
        });
        let lives = was.live().zip(self.world.peers[place].live());
        let Some((was, is)) = lives.map(|(was, is)| (&was.participant, &is.participant)) else { return };
        let stepped = Stepped { before: was, input: &input, effects: &effects, after: is };
        let mut observer = Observer::clone(&self.world.observer);
        let found = observer.on_step(stepped);
        self.landmarks.join(passed::in_step(stepped));
        let has_left = was.epoch().is_some() || was.office().is_some_and(|office| office.is_standing());
        let is_out = is.epoch().is_none() && is.office().is_none_or(|office| !office.is_standing());
        self.observed(observer, found);
        if has_left && is_out {
            // It no longer wants to read anything.
            self.live(peer, |live| live.question = None);
        }
        self.carry_out(peer, effects);
    }

    fn carry_out(&mut self, peer: PeerId, effects: Vec<ParticipantEffect>) {
        for effect in effects {
            match effect {
                // It goes on here, so that the observer sees what would come of it.
                ParticipantEffect::Stop(_) => {}
                ParticipantEffect::Tell { to, clock, body } => {
                    let to = (to != OFFICE).then_some(to);
                    self.send(Mail { from: peer, to, clock, body });
                }
                ParticipantEffect::TellAll { body: Body::Clock, .. } if !self.setup.multicasts => {}
                ParticipantEffect::TellAll { clock, body } => {
                    // In the stable order a trader asks its buyers with its heartbeats.
                    let is_heartbeat = matches!(body, Body::Heartbeat { .. });
                    let clock = if is_heartbeat && !self.setup.asking_raises_clocks { Time(0) } else { clock };
                    let is_for_buyers = body.asks() || body == Body::Clock;
                    let hears = |role: &Role| role.elects || (is_for_buyers && role.buys.is_some());
                    let concerns = |to: &PeerId| *to != peer && self.setup.role(*to).is_some_and(hears);
                    let others: Vec<PeerId> = self.setup.ids().filter(concerns).collect();
                    for to in others {
                        self.send(Mail { from: peer, to: Some(to), clock, body: body.clone() });
                    }
                }
                ParticipantEffect::Ledger(call) => self.call(call),
                ParticipantEffect::Arm { timer, after } => {
                    let after = if self.setup.waits_matter() { after } else { Duration::ZERO };
                    self.live(peer, |live| {
                        live.timers.insert(timer, after);
                    });
                }
                ParticipantEffect::Disarm(timer) => self.live(peer, |live| {
                    live.timers.remove(&timer);
                }),
                ParticipantEffect::Choose { choice, among } => {
                    self.live(peer, |live| live.choice = Some((choice, among)));
                    if among == 1 && choice == Choice::Wish {
                        self.pick(peer, 0);
                    }
                }
                ParticipantEffect::Note { .. } => {}
            }
        }
    }

    fn send(&mut self, mail: Mail) {
        if let Some(to) = mail.to {
            let is_there = !self.setup.is_synchronous() || self.world.live(self.setup, to).is_some();
            let is_cut = self.is_isolated(mail.from) || self.is_isolated(to);
            if self.setup.role(to).is_none_or(|role| role.deaf) || !is_there || is_cut {
                return;
            }
        }
        let counts = self.setup.is_synchronous();
        let mail = Shared::new(mail);
        self.world.mail.change(|bag| if counts { bag.put(mail) } else { bag.add(mail) });
    }

    /// A participant calls the ledger.
    fn call(&mut self, LedgerCall { caller, request, .. }: LedgerCall) {
        let is_at_once = match request {
            LedgerRequest::Status => true,
            LedgerRequest::Read { .. } => !self.setup.slow_reads,
            LedgerRequest::Append(_) => false,
        };
        if self.cut == Cut::Ledger || self.cut == Cut::FromLedger(caller.peer) {
            return;
        }
        if is_at_once {
            if !self.hears_no_ledger(caller.peer) {
                self.live(caller.peer, |live| live.question = Some(request));
            }
            return;
        }
        let call = Shared::new(Call { caller, request });
        let counts = self.setup.is_synchronous();
        self.world.calls.change(|calls| if counts { calls.put(call) } else { calls.add(call) });
    }

    // The ledger.

    /// Does something with the ledger that has its store to itself, if there is one.
    pub(super) fn ledger<R: Default>(&mut self, how: impl FnOnce(&mut LedgerNode) -> R) -> R {
        match &mut self.world.ledger {
            Ledgers::One(ledger) => ledger.change(how),
            Ledgers::Several(_) => R::default(),
        }
    }

    pub(super) fn hears_no_ledger(&self, peer: PeerId) -> bool {
        match self.cut {
            Cut::Ledger => true,
            Cut::FromLedger(cut) | Cut::AnswersOfLedger(cut) => cut == peer,
            Cut::Nothing | Cut::FromOverlay(_) | Cut::FirstAnswers | Cut::SlowReads | Cut::Liar => false,
        }
    }

    /// Takes a peer's question to the ledger away from it.
    pub(super) fn question(&mut self, peer: PeerId) -> Option<LedgerCall> {
        self.live(peer, |live| {
            let (caller, seen, heard) = shows(&live.participant);
            live.question.take().map(|request| LedgerCall { caller, seen, heard, request })
        })
    }

    /// Asks the ledger a peer's question and gives the peer the answer, in one step.
    pub(super) fn consult(&mut self, peer: PeerId) {
        if self.world.ledger.several().is_some() {
            return self.consult_at(peer, 0);
        }
        let asked = self.question(peer);
        for reply in asked.map(|call| self.ask(call)).unwrap_or_default() {
            self.give(peer, ParticipantInput::Ledger(reply));
        }
    }

    /// Puts a question to the ledger and returns its answers.
    fn ask(&mut self, call: LedgerCall) -> Vec<LedgerReply> {
        let deeds = self.hand_in(call);
        let read = self.ledger(|ledger| ledger.answer_read(0));
        self.watch(|observer| read.iter().try_for_each(|reply| observer.on_read(reply)));
        let replies = deeds.into_iter().filter_map(|deed| match deed {
            Deed::Reply { reply, .. } => Some(reply),
            Deed::ArmLease(_)
            | Deed::Drop { .. }
            | Deed::Refuse { .. }
            | Deed::Fail(_)
            | Deed::Give(_)
            | Deed::Stop(_) => None,
        });
        replies.chain(read).collect()
    }

    /// Hands the ledger a call while the observer watches.
    fn hand_in(&mut self, call: LedgerCall) -> Vec<Deed> {
        let was_writing = self.world.ledger.is_writing();
        let waited = self.ledger(|ledger| ledger.waiting());
        let deeds = self.ledger(|ledger| ledger.take(call.clone()));
        let waiting = self.ledger(|ledger| ledger.waiting());
        self.landmarks.join(passed::in_call(&call, &deeds, waiting > waited));
        let ledger = self.world.ledger.clone();
        if let Some(machine) = ledger.one().and_then(|ledger| ledger.machine()) {
            self.watch(|observer| observer.on_call(&call, was_writing, machine, &deeds));
        }
        deeds
    }

    /// What the ledger is told by a call that arrives now.
    pub(super) fn arriving_call(&self, Call { caller, request }: &Call) -> LedgerCall {
        let shown = self.world.live(self.setup, caller.peer).map(|live| shows(&live.participant));
        let (_, seen, heard) = shown.unwrap_or((*caller, HighWaterMark::default(), Epoch(0)));
        LedgerCall { caller: *caller, seen, heard, request: request.clone() }
    }

    pub(super) fn take(&mut self, call: &Call) {
        let call = self.arriving_call(call);
        if let LedgerRequest::Read { .. } = call.request {
            for reply in self.ask(call) {
                self.reply(Reply { reply, batch: None }, false);
            }
            return;
        }
        let deeds = self.hand_in(call.clone());
        self.ledger(|ledger| ledger.write());
        let deeds = deeds.into_iter().map(|deed| match (deed, self.setup.tampering.reply) {
            (Deed::Reply { id, reply, batch }, Some(tamper)) => Deed::Reply { id, reply: tamper(&call, reply), batch },
            (deed, _) => deed,
        });
        let deeds = deeds.collect();
        self.on_deeds(deeds);
        let written = self.world.ledger.one().filter(|ledger| ledger.is_unsynced()).cloned();
        if let Some(mut early) = written.filter(|_| self.setup.tampering.answers_before_sync) {
            early.sync();
            let deeds = early.answer();
            self.on_deeds(deeds);
        }
    }

    pub(super) fn sync(&mut self) {
        self.ledger(|ledger| {
            let _ = ledger.sync();
        });
        self.on_durable();
    }

    /// The log may have grown. It never shrinks and no record changes, so what holds now holds until it grows again.
    pub(super) fn on_durable(&mut self) {
        let known = self.world.observer.log().batches().len();
        let Some(batch) = self.world.ledger.store().durable().get(known).cloned() else { return };
        let mut observer = Observer::clone(&self.world.observer);
        let found = observer.on_durable(&batch);
        let writer = batch.writer().and_then(|writer| self.world.live(self.setup, writer));
        self.landmarks.join(passed::in_batch(&batch, observer.log(), writer.map(|live| &live.participant)));
        self.observed(observer, found);
    }

    fn on_deeds(&mut self, deeds: Vec<Deed>) {
        self.on_deeds_at(0, deeds);
    }

    /// Carries out the deeds of a ledger.
    pub(super) fn on_deeds_at(&mut self, at: usize, deeds: Vec<Deed>) {
        for deed in deeds {
            match deed {
                Deed::Reply { reply, batch: None, .. } if self.setup.ledgers > 1 => self.answer(reply),
                Deed::Reply { reply, batch, .. } => self.reply(Reply { reply, batch }, true),
                Deed::ArmLease(wait) => self.world.leases[at] = self.setup.waits_matter().then_some(wait),
                Deed::Drop { .. } | Deed::Refuse { .. } | Deed::Fail(_) | Deed::Give(_) | Deed::Stop(_) => {}
            }
        }
    }

    /// Puts an answer of the ledger under way; on the fair schedule the first answer to every append may be lost.
    pub(super) fn reply(&mut self, reply: Reply, is_verdict: bool) {
        if self.hears_no_ledger(reply.reply.word.to.peer) {
            return;
        }
        if self.cut == Cut::FirstAnswers && is_verdict {
            let is_first = self.unanswered != reply.batch;
            self.unanswered = reply.batch.clone().filter(|_| is_first);
            if is_first {
                return;
            }
        }
        let is_there = self.world.lives().any(|live| live.participant.me() == reply.reply.word.to);
        let reply = Shared::new(reply);
        if !self.setup.is_synchronous() {
            self.world.replies.change(|replies| replies.add(reply));
        } else if is_there {
            self.world.replies.change(|replies| replies.put(reply));
        }
    }

    fn crash_ledger(&mut self, kept: bool) {
        let (was_unsynced, was_unanswered) = self.ledger(|ledger| (ledger.is_unsynced(), ledger.is_unanswered()));
        let deeds = self.ledger(|ledger| {
            ledger.crash(usize::from(kept));
            ledger.start()
        });
        if was_unsynced && !kept {
            self.landmarks.note(Landmark::LostUnsynced);
        }
        if was_unanswered || (was_unsynced && kept) {
            self.landmarks.note(Landmark::KeptUnanswered);
        }
        self.on_durable();
        self.watch(|observer| {
            observer.on_ledger_start();
            Ok(())
        });
        // The lease starts afresh.
        self.world.leases[0] = None;
        self.on_deeds(deeds);
    }

    // The end.

    pub(super) fn finish(mut self) -> (World, Landmarks) {
        self.prune();
        (self.world, self.landmarks)
    }
}

/// What a participant shows the ledger with a call.
fn shows(participant: &Participant) -> (Life, HighWaterMark, Epoch) {
    (participant.me(), participant.seen(), participant.latest_epoch())
}
