//! What a step does: which machine is asked, and what becomes of its effects.

use std::time::Duration;

use protocol::{
    buyer::{Buyer, BuyerSurroundings},
    client::{ClientEffect, ClientInput},
    clock::{Clock, Stamp, Time},
    config::{Limits, Offers, Pace, Terms},
    effect::Durable,
    election::{Election, ElectionEffect, ElectionInput, ElectionMessage, Phase, Waits},
    id::{DepositId, DepositNumber, Epoch, Incarnation, Item, Life, PeerId, Position, RequestId, Sequence, Units},
    input::{Choice, Timer},
    invariant,
    ledger::{
        CallId, Echo, Ledger, LedgerAnswer, LedgerCall, LedgerEffect, LedgerInput, LedgerReply, LedgerRequest, Seen,
        Store,
    },
    message::{Body, BuyerStanding, ClientMessage, SellerStanding, TraderMessage},
    money::Price,
    office::{Office, OfficeEffect, OfficeInput, Surroundings},
    record::{Batch, Deposit, Request},
    seller::{Seller, SellerSurroundings},
};

use super::{
    Bazaar, Cut, TIMEOUTS,
    world::{Action, Archive, Call, LEDGER, Live, Mail, Peer, Reply, World},
};
use crate::{
    part::Part,
    sighting::{Sighting, Sightings},
};

const WAITS: Waits = Waits {
    turn: TIMEOUTS.first_call,
    stagger: TIMEOUTS.stagger,
    answer: TIMEOUTS.answer,
    victory: TIMEOUTS.victory,
    suspicion: TIMEOUTS.suspicion,
};
const PACE: Pace = Pace {
    deposit_after: Duration::ZERO,
    trade_after: Duration::ZERO,
    think: Some(Duration::ZERO),
    clock_interval: Duration::ZERO,
};

/// Those who pass by and trade with whoever is in office, where nobody else does.
const PASSING_SELLER: PeerId = PeerId(1_000);
const PASSING_BUYER: PeerId = PeerId(1_001);

/// On what occasion an office does something.
#[derive(Clone, Copy, Debug)]
pub(super) struct Occasion {
    /// The term it holds, or has just left.
    pub epoch: Option<Epoch>,
    /// The request it is asked.
    pub asked: Option<RequestId>,
}

/// A step under way.
#[derive(Debug)]
pub struct Step<'a> {
    pub(super) setup: &'a Bazaar,
    pub(super) world: World,
    pub(super) sightings: Sightings,
    /// What stays cut, on the fair schedule.
    pub(super) cut: Cut,
}

impl<'a> Step<'a> {
    pub(super) fn on(setup: &'a Bazaar, world: World) -> Step<'a> {
        Step { setup, world, sightings: Sightings::default(), cut: Cut::Nothing }
    }

    pub(super) fn act(&mut self, action: &Action) {
        let budget = &mut self.world.budget;
        match action {
            Action::Stand(peer) => {
                // On the fair schedule nobody counts.
                budget.stands = budget.stands.saturating_sub(1);
                self.office(*peer, OfficeInput::Stand);
            }
            Action::Yield(peer) => {
                budget.yields -= 1;
                self.office(*peer, OfficeInput::Yield);
            }
            Action::Fire(peer, timer) => {
                self.spend(*timer);
                self.elapse(self.wait_of(*peer, *timer));
                self.fire(*peer, *timer);
            }
            Action::Pick(peer, pick) => self.pick(*peer, *pick),
            Action::Tick(peer) => {
                budget.ticks -= 1;
                self.live(*peer, |live| {
                    live.clock.tick();
                });
            }
            Action::Serve(peer) => {
                budget.sales -= 1;
                self.serve(*peer);
            }
            Action::Consult(peer) => self.consult(*peer),
            Action::Arrive(peer, mail) => {
                if self.setup.is_synchronous() {
                    self.world.mail.change(|bag| bag.take(mail));
                }
                self.arrive(*peer, mail);
            }
            Action::Take(call) => {
                if self.setup.is_synchronous() {
                    self.world.calls.change(|calls| calls.take(call));
                }
                self.take(call);
            }
            Action::Sync => self.sync(),
            Action::Answer(peer, reply) => {
                if self.setup.is_synchronous() {
                    self.world.replies.change(|replies| replies.take(reply));
                }
                self.answer(*peer, reply);
            }
            Action::LeaseRunsOut => {
                self.elapse(self.world.lease);
                self.world.lease = None;
                self.ledger(|archive| archive.machine.step(LedgerInput::LeaseFired));
            }
            Action::Snapshot => {
                budget.snapshots -= 1;
                self.ledger(|archive| archive.store.take_snapshot());
            }
            Action::Crash(peer) => {
                budget.crashes -= 1;
                self.crash(*peer);
            }
            Action::Restart(peer) => {
                budget.restarts -= 1;
                self.sightings.note(Sighting::Restarted);
                self.start(*peer);
            }
            Action::CrashLedger { kept } => {
                budget.ledger_crashes -= 1;
                self.crash_ledger(*kept);
            }
        }
        self.note_rivals();
    }

    // Time.

    fn spend(&mut self, timer: Timer) {
        if self.setup.is_synchronous() {
            return;
        }
        let budget = &mut self.world.budget;
        match timer {
            Timer::Election => budget.alarms -= 1,
            Timer::LedgerPatience => budget.impatience -= 1,
            Timer::Renewal => budget.renewals -= 1,
            Timer::Seller => budget.asks -= 1,
            Timer::Buyer | Timer::LedgerRetry | Timer::ClockInterval => {}
        }
    }

    fn wait_of(&self, peer: PeerId, timer: Timer) -> Option<Duration> {
        self.world.live(self.setup, peer)?.timers.get(&timer).copied()
    }

    /// So much time passes, where it does.
    pub(super) fn elapse(&mut self, time: Option<Duration>) {
        let Some(time) = time.filter(|time| !time.is_zero()) else { return };
        if !self.setup.is_synchronous() {
            return;
        }
        for place in 0..self.world.peers.len() {
            self.world.peers[place].change(|peer| match peer {
                Peer::Up(live) => live.timers.values_mut().for_each(|wait| *wait = wait.saturating_sub(time)),
                Peer::Down { .. } => {}
            });
        }
        self.world.lease = self.world.lease.map(|lease| lease.saturating_sub(time));
    }

    fn arm(&mut self, peer: PeerId, timer: Timer, wait: Duration) {
        let wait = if self.setup.waits_matter() { wait } else { Duration::ZERO };
        self.live(peer, |live| {
            live.timers.insert(timer, wait);
        });
    }

    fn disarm(&mut self, peer: PeerId, timer: Timer) {
        self.live(peer, |live| {
            live.timers.remove(&timer);
        });
    }

    // Peers.

    pub(super) fn start(&mut self, peer: PeerId) {
        let place = self.setup.place(peer);
        let (Peer::Down { durable, plans }, Some(role)) = (&*self.world.peers[place], self.setup.role(peer)) else {
            return;
        };
        let (durable, plans) = (*durable, *plans);
        let me = Life { peer, incarnation: durable.incarnation.next() };
        let clock = Clock::resume(peer, durable.clock_bound);
        self.check(invariant::a_clock_never_goes_back(durable.clock_bound, clock.now()));
        let first = role.sells.as_ref().and_then(|Offers(offers)| offers.first());
        let peers = self.setup.first_id + self.setup.cast.len() as u32;
        let live = Live {
            me,
            clock,
            election: role.elects.then(|| Election::new(peer, peers)),
            office: role.trades.then(|| Office::new(me, durable.seen)),
            buyer: role.buys.as_ref().map(|_| Buyer::new(me)),
            seller: first.map(|first| Seller::new(me, *first)),
            question: None,
            choice: None,
            timers: Default::default(),
            heard: Epoch(0),
            confirmed: false,
            rivals: None,
            plans,
        };
        self.world.peers[place] = Part::new(Peer::Up(Box::new(live)));
        if role.elects {
            // SPEC B2: one of them calls the first election.
            let calls_first = me.incarnation == Incarnation(1) && place == 0;
            self.election(peer, ElectionInput::Started { calls_first });
            self.office(peer, OfficeInput::Started);
        }
        self.clients(peer, true);
        if role.sells.is_some() {
            self.seller(peer, ClientInput::Fired(Timer::Seller));
        }
    }

    fn crash(&mut self, peer: PeerId) {
        let Some(live) = self.world.live(self.setup, peer) else { return };
        if live.epoch().is_some() {
            self.sightings.note(Sighting::TraderCrashed);
        }
        // The furthest books seen may lag arbitrarily: nothing is kept of them.
        let durable =
            Durable { incarnation: live.me.incarnation, clock_bound: live.clock.bound(), seen: Seen::default() };
        let plans = live.plans;
        let place = self.setup.place(peer);
        self.world.peers[place] = Part::new(Peer::Down { durable, plans });
    }

    /// Changes a living peer.
    pub(super) fn live<R: Default>(&mut self, peer: PeerId, how: impl FnOnce(&mut Live) -> R) -> R {
        if self.setup.role(peer).is_none() {
            return R::default();
        }
        let place = self.setup.place(peer);
        let (result, before, after) = self.world.peers[place].change(|peer| match peer {
            Peer::Up(live) => {
                let before = live.clock.now();
                let result = how(live);
                // Each step's clock is durable before what it says leaves: the tightest that writing ahead allows.
                live.clock.extend(live.clock.now());
                (result, before, live.clock.now())
            }
            Peer::Down { .. } => (R::default(), Time(0), Time(0)),
        });
        self.check(invariant::a_clock_never_goes_back(before, after));
        result
    }

    /// A timer that was armed fires.
    pub(super) fn fire(&mut self, peer: PeerId, timer: Timer) {
        self.disarm(peer, timer);
        match timer {
            Timer::Election => self.election(peer, ElectionInput::Fired),
            Timer::LedgerPatience | Timer::Renewal | Timer::LedgerRetry => {
                self.office(peer, OfficeInput::Fired(timer));
            }
            Timer::Buyer => {
                let may_want = self.world.live(self.setup, peer).is_some_and(Live::may_want);
                if may_want {
                    self.live(peer, |live| live.plans.wishes = live.plans.wishes.saturating_sub(1));
                }
                self.buyer(peer, ClientInput::Fired(timer));
            }
            Timer::Seller => self.seller(peer, ClientInput::Fired(timer)),
            Timer::ClockInterval => {}
        }
    }

    pub(super) fn pick(&mut self, peer: PeerId, pick: u32) {
        let choice = self.live(peer, |live| {
            let choice = live.choice.take().map(|(choice, _)| choice);
            if choice == Some(Choice::Offer) {
                live.plans.deposits = live.plans.deposits.saturating_sub(1);
            }
            choice
        });
        match choice {
            Some(Choice::Wish) => self.buyer(peer, ClientInput::Chose(pick)),
            Some(Choice::Offer) => self.seller(peer, ClientInput::Chose(pick)),
            None => {}
        }
    }

    /// A deposit, if there is none that lasts, and a request, of people that pass by and know how they stand.
    fn serve(&mut self, peer: PeerId) {
        let Some(trader) = self.world.live(self.setup, peer).and_then(|live| live.office.as_ref()?.trader()) else {
            return;
        };
        let books = trader.books();
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
        let time = request.stamp.time;
        self.live(peer, |live| live.clock.receive(time));
        if let Some(deposit) = deposit {
            self.ledger(|archive| archive.decided.push(deposit.clone()));
            self.office(peer, OfficeInput::Client(PASSING_SELLER, ClientMessage::Deposit(deposit)));
        }
        self.office(peer, OfficeInput::Client(PASSING_BUYER, ClientMessage::Request(request)));
    }

    pub(super) fn arrive(&mut self, peer: PeerId, mail: &Mail) {
        let received = self.live(peer, |live| {
            if live.clock.now() <= mail.clock {
                live.clock.receive(mail.clock);
            }
            live.clock.now()
        });
        let heard_directly = self.hears_trader(peer, mail);
        match &mail.body {
            Body::Election(message) => {
                if let ElectionMessage::Leader { epoch, .. }
                | ElectionMessage::Coordinator { epoch }
                | ElectionMessage::Resigned { epoch } = message
                {
                    self.office(peer, OfficeInput::Heard(Seen { epoch: *epoch, head: Position(0) }));
                }
                self.election(peer, ElectionInput::Received(mail.from, *message));
                match message {
                    ElectionMessage::Leader { epoch, .. }
                    | ElectionMessage::Coordinator { epoch }
                    | ElectionMessage::Resigned { epoch } => self.check_deposed(peer, *epoch),
                    ElectionMessage::Call | ElectionMessage::Anyone | ElectionMessage::Answer => {
                        self.check_joins_not(peer, heard_directly);
                    }
                }
            }
            Body::Heartbeat { epoch, head } => {
                self.office(peer, OfficeInput::Heartbeat(Seen { epoch: *epoch, head: *head }));
                self.election(peer, ElectionInput::Heard { epoch: *epoch, leader: mail.from });
                self.check_deposed(peer, *epoch);
            }
            Body::Clock => {}
            Body::Client(message) => {
                self.check(invariant::a_receive_is_later_than_its_send(mail.clock, received));
                self.office(peer, OfficeInput::Client(mail.from, message.clone()));
            }
            Body::Trader(message) => {
                self.check(invariant::a_receive_is_later_than_its_send(mail.clock, received));
                match message.clone() {
                    TraderMessage::Buyer(standing) => self.buyer(peer, ClientInput::Told(standing)),
                    TraderMessage::Seller(standing) => self.seller(peer, ClientInput::Told(standing)),
                }
            }
        }
    }

    fn send(&mut self, from: PeerId, to: Option<PeerId>, clock: Time, body: Body) {
        if let Some(to) = to {
            let is_cut = |peer| self.cut == Cut::FromOverlay(peer);
            let is_there = !self.setup.is_synchronous() || self.world.live(self.setup, to).is_some();
            if self.setup.role(to).is_none_or(|role| role.deaf) || !is_there || is_cut(from) || is_cut(to) {
                return;
            }
        }
        let mail = Part::new(Mail { from, to, clock, body });
        let counts = self.setup.is_synchronous();
        self.world.mail.change(|bag| if counts { bag.put(mail) } else { bag.add(mail) });
    }

    // Machines.

    pub(super) fn election(&mut self, peer: PeerId, input: ElectionInput) {
        let election = |world: &World| world.live(self.setup, peer).and_then(|live| live.election.clone());
        let Some(before) = election(&self.world) else { return };
        let effects = self
            .live(peer, |live| live.election.as_mut().map(|election| election.step(&WAITS, input)).unwrap_or_default());
        self.note_leader(peer);
        for effect in effects {
            match effect {
                ElectionEffect::Tell(to, message) => self.tell(peer, to, message),
                ElectionEffect::TellAll(message) => {
                    for to in self.setup.ids().filter(|to| *to != peer) {
                        self.tell(peer, to, message);
                    }
                }
                ElectionEffect::Stand => self.office(peer, OfficeInput::Stand),
                ElectionEffect::Yield => {
                    if before.is_leading() {
                        self.sightings.note(Sighting::Deposed);
                    }
                    self.office(peer, OfficeInput::Yield);
                }
                ElectionEffect::Arm(wait) => self.arm(peer, Timer::Election, wait),
                ElectionEffect::Event(_) => {}
            }
        }
        if let Some(after) = self.world.live(self.setup, peer).and_then(|live| live.election.as_ref()) {
            self.see_election(before.phase(), after.phase());
        }
    }

    fn see_election(&mut self, before: Phase, after: Phase) {
        match (before, after) {
            (Phase::Calling, Phase::Waiting) => self.sightings.note(Sighting::Answered),
            (Phase::Asking, Phase::Standing) => self.sightings.note(Sighting::LoneSurvivor),
            (_, _) => {}
        }
    }

    fn tell(&mut self, from: PeerId, to: PeerId, message: ElectionMessage) {
        if let ElectionMessage::Coordinator { epoch } = message {
            self.check_speaker(from, epoch);
        }
        if matches!(message, ElectionMessage::Leader { .. }) {
            self.sightings.note(Sighting::ReferredToLeader);
        }
        self.send(from, Some(to), Time(0), Body::Election(message));
    }

    pub(super) fn office(&mut self, peer: PeerId, input: OfficeInput) {
        let terms = &self.setup.terms;
        let asked = match &input {
            OfficeInput::Client(_, ClientMessage::Request(request)) => Some(request.id),
            OfficeInput::Client(_, ClientMessage::Deposit(_) | ClientMessage::AskSales { .. })
            | OfficeInput::Started
            | OfficeInput::Stand
            | OfficeInput::Yield
            | OfficeInput::LedgerUp
            | OfficeInput::LedgerDown
            | OfficeInput::Reply(_)
            | OfficeInput::Heard(_)
            | OfficeInput::Heartbeat(_)
            | OfficeInput::Fired(_) => None,
        };
        let isolated = self.cut == Cut::FromOverlay(peer);
        let books = |office: &Office| office.trader().map(|trader| trader.books().clone());
        let before = self.world.live(self.setup, peer).and_then(Live::epoch);
        let (effects, is_changed) = self.live(peer, |live| {
            let Live { office: Some(office), clock, .. } = live else { return (Vec::new(), false) };
            let before = books(office);
            let effects = office.step(
                &mut Surroundings { timeouts: &TIMEOUTS, terms, limits: &Limits::DEFAULT, clock, isolated },
                input,
            );
            (effects, before.as_ref() != office.trader().map(protocol::trader::Trader::books))
        });
        // What a trader says as it resigns it still says for the term it resigns.
        let after = self.world.live(self.setup, peer).and_then(Live::epoch);
        let occasion = Occasion { epoch: after.or(before), asked };
        for effect in effects {
            self.on_office(peer, effect, occasion);
        }
        if is_changed {
            self.check_books(peer);
        }
        if before.is_some() != after.is_some() {
            // SPEC B7: in office a peer does not trade.
            self.clients(peer, after.is_none());
        }
    }

    fn on_office(&mut self, peer: PeerId, effect: OfficeEffect, occasion: Occasion) {
        match effect {
            OfficeEffect::Ask(LedgerRequest::Append(batch)) => {
                if let Some(caller) = self.world.live(self.setup, peer).map(|live| live.me)
                    && !matches!(self.cut, Cut::Ledger)
                    && self.cut != Cut::FromLedger(peer)
                {
                    let call = Part::new(Call { caller, batch });
                    let counts = self.setup.is_synchronous();
                    self.world.calls.change(|calls| if counts { calls.put(call) } else { calls.add(call) });
                }
            }
            OfficeEffect::Ask(question @ (LedgerRequest::Read { .. } | LedgerRequest::Status)) => {
                if !self.hears_no_ledger(peer) {
                    self.live(peer, |live| live.question = Some(question));
                }
            }
            OfficeEffect::Tell(to, message) => self.tell_client(peer, to, message, occasion),
            OfficeEffect::Heartbeat { epoch, head } => {
                self.sightings.note(Sighting::Heartbeat);
                self.check_speaker(peer, epoch);
                self.check_confirmed(peer);
                for to in self.setup.ids().filter(|to| *to != peer) {
                    if self.setup.role(to).is_some_and(|role| role.elects) {
                        self.send(peer, Some(to), Time(0), Body::Heartbeat { epoch, head });
                    }
                }
            }
            OfficeEffect::Granted(epoch) => {
                self.sightings.note(match epoch {
                    Epoch(0 | 1) => Sighting::TookOffice,
                    Epoch(2) => Sighting::SecondEpoch,
                    Epoch(3..) => Sighting::ThirdEpoch,
                });
                self.check_granted(peer);
                self.live(peer, |live| live.confirmed = true);
                self.election(peer, ElectionInput::Granted(epoch));
            }
            OfficeEffect::Vacated { resigned } => {
                self.live(peer, |live| live.question = None);
                self.election(peer, ElectionInput::Vacated { resigned });
            }
            OfficeEffect::Eligibility(eligibility) => self.election(peer, ElectionInput::Eligibility(eligibility)),
            OfficeEffect::Arm(timer, wait) => self.arm(peer, timer, wait),
            OfficeEffect::Disarm(timer) => self.disarm(peer, timer),
            OfficeEffect::Note(note) => self.see(peer, &note),
        }
    }

    fn tell_client(&mut self, peer: PeerId, to: PeerId, message: TraderMessage, occasion: Occasion) {
        if let Some(epoch) = occasion.epoch {
            self.check_speaker(peer, epoch);
        }
        self.check_told(to, &message, occasion);
        // The least that the trader's clock can be: what it says comes from its books. As it resigns they are closed.
        let clock = self.world.live(self.setup, peer).map_or(Time(0), |live| {
            let trader = live.office.as_ref().and_then(Office::trader);
            trader.map_or(live.clock.now(), |trader| trader.books().latest())
        });
        self.send(peer, Some(to), clock, Body::Trader(message));
    }

    /// Tells a peer's buyer and seller whether there is a trader to turn to.
    fn clients(&mut self, peer: PeerId, has_trader: bool) {
        if has_trader {
            self.buyer(peer, ClientInput::TraderKnown);
            self.seller(peer, ClientInput::TraderKnown);
        } else {
            self.buyer(peer, ClientInput::TraderGone);
            self.seller(peer, ClientInput::TraderGone);
        }
    }

    pub(super) fn buyer(&mut self, peer: PeerId, input: ClientInput<BuyerStanding>) {
        let Some(wishes) = self.setup.role(peer).and_then(|role| role.buys.as_ref()) else { return };
        let buyer = |world: &World| world.live(self.setup, peer).and_then(|live| live.buyer.as_ref()?.known());
        let known = buyer(&self.world);
        let effects = self.live(peer, |live| {
            let Live { buyer: Some(buyer), clock, .. } = live else { return Vec::new() };
            buyer.step(&mut BuyerSurroundings { wishes, pace: &PACE, timeouts: &TIMEOUTS, clock }, input)
        });
        self.check_outcomes_are_news(peer, known, &effects);
        for effect in effects {
            self.on_client(peer, effect);
        }
    }

    pub(super) fn seller(&mut self, peer: PeerId, input: ClientInput<SellerStanding>) {
        let Some(offers) = self.setup.role(peer).and_then(|role| role.sells.as_ref()) else { return };
        let seller = |world: &World| world.live(self.setup, peer).and_then(|live| live.seller.as_ref()?.account());
        let account = seller(&self.world);
        let effects = self.live(peer, |live| {
            let Live { seller: Some(seller), clock, .. } = live else { return Vec::new() };
            seller.step(
                &mut SellerSurroundings { offers, pace: &PACE, timeouts: &TIMEOUTS, limits: &Limits::DEFAULT, clock },
                input,
            )
        });
        self.check_sales_are_news(peer, account, &effects);
        for effect in effects {
            self.on_client(peer, effect);
        }
    }

    fn on_client(&mut self, peer: PeerId, effect: ClientEffect) {
        match effect {
            ClientEffect::Tell(message) => {
                let clock = match &message {
                    // Sent again it is the same message, with the same clock.
                    ClientMessage::Request(request) => request.stamp.time,
                    ClientMessage::Deposit(deposit) => deposit.stamp.time,
                    // Nothing that is stamped follows from a question.
                    ClientMessage::AskSales { .. } => Time(0),
                };
                if let ClientMessage::Deposit(deposit) = &message
                    && !self.world.ledger.decided.contains(deposit)
                {
                    self.ledger(|archive| archive.decided.push(deposit.clone()));
                }
                self.check_number(&message);
                self.send(peer, None, clock, Body::Client(message));
            }
            ClientEffect::Choose(choice, among) => {
                self.live(peer, |live| live.choice = Some((choice, among)));
                if among == 1 && choice == Choice::Wish {
                    self.pick(peer, 0);
                }
            }
            ClientEffect::MulticastClock => {}
            ClientEffect::Arm(timer, wait) => self.arm(peer, timer, wait),
            ClientEffect::Note(note) => self.see(peer, &note),
        }
    }

    // The ledger.

    pub(super) fn ledger<R>(&mut self, how: impl FnOnce(&mut Archive) -> R) -> R {
        self.world.ledger.change(how)
    }

    fn hears_no_ledger(&self, peer: PeerId) -> bool {
        match self.cut {
            Cut::Ledger => true,
            Cut::FromLedger(cut) | Cut::AnswersOfLedger(cut) => cut == peer,
            Cut::Nothing | Cut::FromOverlay(_) | Cut::FirstAnswers => false,
        }
    }

    pub(super) fn consult(&mut self, peer: PeerId) {
        let asked = self.live(peer, |live| {
            let seen = live.office.as_ref().map(Office::seen).unwrap_or_default();
            live.question.take().map(|request| LedgerCall { caller: live.me, seen, request })
        });
        let Some(call) = asked else { return };
        let effects = self.ledger(|archive| archive.machine.step(LedgerInput::Call { id: CallId(0), call }));
        for effect in effects {
            let reply = match effect {
                LedgerEffect::Read { to, status, from, part, .. } => {
                    let Ok(answer) = self.world.ledger.store.read(from, part, status.head);
                    if matches!(answer, LedgerAnswer::Part { .. }) {
                        self.sightings.note(Sighting::ReadSnapshot);
                    }
                    LedgerReply { to, status, answer }
                }
                LedgerEffect::Reply { reply, .. } => reply,
                LedgerEffect::Fail(fault) => {
                    self.fail(&fault);
                    continue;
                }
                LedgerEffect::Persist(_) | LedgerEffect::ArmLease(_) | LedgerEffect::Drop(_) => continue,
            };
            self.office(peer, OfficeInput::Reply(reply));
        }
    }

    pub(super) fn take(&mut self, call: &Call) {
        let seen =
            self.world.live(self.setup, call.caller.peer).and_then(|live| live.office.as_ref()).map(Office::seen);
        let batch = &call.batch;
        let call = LedgerCall {
            caller: call.caller,
            seen: seen.unwrap_or_default(),
            request: LedgerRequest::Append(batch.clone()),
        };
        let effects =
            self.ledger(|archive| archive.machine.step(LedgerInput::Call { id: CallId(0), call: call.clone() }));
        self.see_resent(batch, &effects);
        let persists = effects.iter().any(|effect| matches!(effect, LedgerEffect::Persist(_)));
        self.on_ledger(effects, Some(&call), batch);
        if persists && self.setup.tampering.answers_before_sync {
            let effects = self.ledger(|archive| archive.machine.step(LedgerInput::Persisted));
            self.on_ledger(effects, Some(&call), batch);
        }
    }

    pub(super) fn sync(&mut self) {
        let Ok(()) = self.ledger(|archive| archive.store.sync());
        self.on_durable();
        let Some(batch) = self.world.ledger.store.durable().last().cloned() else { return };
        let effects = self.ledger(|archive| archive.machine.step(LedgerInput::Persisted));
        self.on_ledger(effects, None, &batch);
    }

    fn on_ledger(&mut self, effects: Vec<LedgerEffect>, call: Option<&LedgerCall>, batch: &Batch) {
        for effect in effects {
            match effect {
                LedgerEffect::Persist(batch) => {
                    let Ok(()) = self.ledger(|archive| archive.store.append(&batch));
                }
                LedgerEffect::Reply { reply, .. } => {
                    let reply = match (self.setup.tampering.reply, call) {
                        (Some(tamper), Some(call)) => tamper(call, reply),
                        (Some(_) | None, _) => reply,
                    };
                    // What becomes durable is answered for the first time.
                    let is_first = call.is_none();
                    if self.hears_no_ledger(reply.to.peer) || (self.cut == Cut::FirstAnswers && is_first) {
                        continue;
                    }
                    let is_there = self.world.lives().any(|live| live.me == reply.to);
                    let reply = Part::new(Reply { reply, batch: batch.clone() });
                    if !self.setup.is_synchronous() {
                        self.world.replies.change(|replies| replies.add(reply));
                    } else if is_there {
                        self.world.replies.change(|replies| replies.put(reply));
                    }
                }
                LedgerEffect::Fail(fault) => self.fail(&fault),
                LedgerEffect::ArmLease(wait) => {
                    self.world.lease = self.setup.waits_matter().then_some(wait);
                }
                LedgerEffect::Read { .. } | LedgerEffect::Drop(_) => {}
            }
        }
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
        // The lease starts afresh.
        self.world.lease = None;
        let nothing = Batch { epoch: Epoch(0), position: Position(0), records: Vec::new() };
        self.on_ledger(effects, None, &nothing);
    }

    pub(super) fn answer(&mut self, peer: PeerId, Reply { reply, .. }: &Reply) {
        self.see_verdict(peer, reply);
        self.office(peer, OfficeInput::Reply(reply.clone()));
    }

    // The end.

    pub(super) fn finish(mut self) -> (World, Sightings) {
        self.prune();
        (self.world, self.sightings)
    }

    /// The echo that settles what a peer waits for.
    pub(super) fn awaited(&self, peer: PeerId) -> Option<(Echo, bool)> {
        let live = self.world.live(self.setup, peer)?;
        let office = live.office.as_ref()?;
        Some((Echo::of(live.me, office.in_flight()?), office.epoch().is_none()))
    }

    pub(super) fn audit_terms(&self) -> protocol::invariant::AuditTerms {
        let Terms { commission, resign_after, batch_limit } = self.setup.terms;
        protocol::invariant::AuditTerms {
            commission: Some(commission),
            resign_after: Some(resign_after),
            batch_limit: Some(batch_limit),
        }
    }
}
