//! Whole bazaars under random schedules, and the small machines under random inputs (DESIGN 5).
//!
//! `BAZAAR_CASES` multiplies the number of cases, `BAZAAR_SEED` picks different ones. A failure prints the seed, the
//! shrunk schedule and what it did, step by step.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod world;

use std::{cell::RefCell, collections::BTreeSet, env, time::Duration};

use bazaar_protocol::{
    books::Books,
    clock::{Clock, Stamp, Time},
    config::{Limits, Ordering, Terms},
    election::{Election, ElectionEffect, ElectionInput, ElectionMessage, Eligibility, Waits},
    id::{DepositId, DepositNumber, Epoch, Incarnation, Item, PeerId, Position, RequestId, Sequence, Units},
    invariant::{
        AuditReport, AuditTerms, AuditTotals, LogAudit, each_epoch_has_one_holder_and_epochs_rise_by_one,
        every_record_is_stamped_by_the_holder_of_its_epoch, the_books_equal_the_fold_of_the_log,
        whatever_a_client_was_told_is_in_the_log,
    },
    ledger::{
        CallId, HighWaterMark, Ledger, LedgerAnswer, LedgerCall, LedgerConfig, LedgerEffect, LedgerInput, LedgerReply,
        LedgerRequest, LedgerStatus, Secret, Tail, Term, Verdict,
    },
    message::{Body, ClientMessage, Envelope, Promise, Route, TraderMessage},
    money::{Commission, Price},
    office::{Office, OfficeContext, OfficeEffect, OfficeInput, OfficeTimer},
    overlay::Overlay,
    record::{Batch, Deposit, Entry, Record, Request},
    trader::Trader,
};
use proptest::{
    collection::vec,
    prelude::*,
    test_runner::{Config as RunnerConfig, RngAlgorithm, TestCaseError, TestError, TestRng, TestRunner},
};
use world::{Action, Ending, Roughness, Setup, Stats, TIMEOUTS, World, actions, at_least, endings, graphs, setups};

/// Runs this many cases, times `BAZAAR_CASES`; panics with the seed and the smallest failing case.
fn check<S: Strategy>(name: &str, cases: u32, strategy: S, test: impl Fn(S::Value) -> Result<(), TestCaseError>)
where
    S::Value: std::fmt::Debug,
{
    let number = |variable: &str| env::var(variable).ok().and_then(|value| value.parse::<u64>().ok());
    let times = number("BAZAAR_CASES").unwrap_or(1) as u32;
    let seed = number("BAZAAR_SEED").unwrap_or(0);
    let mut bytes = [7; 32];
    bytes[..8].copy_from_slice(&seed.to_le_bytes());
    let config = RunnerConfig {
        cases: cases * times,
        failure_persistence: None,
        max_shrink_iters: 20_000,
        max_shrink_time: 60_000,
        ..RunnerConfig::default()
    };
    let mut runner = TestRunner::new_with_rng(config, TestRng::from_seed(RngAlgorithm::ChaCha, &bytes));
    match runner.run(&strategy, test) {
        Ok(()) => {}
        Err(TestError::Fail(reason, case)) => panic!(
            "{reason}\nthe smallest case: {case:?}\nrepeat with: BAZAAR_SEED={seed} BAZAAR_CASES={times} \
             cargo test -p bazaar-protocol --test properties {name}"
        ),
        Err(TestError::Abort(reason)) => panic!("{name} gave up: {reason}"),
    }
}

/// Runs one schedule and its ending. A failure includes the steps that led to it.
fn run(setup: &Setup, schedule: &[Action], ending: Ending, stats: &RefCell<Stats>) -> Result<(), TestCaseError> {
    let attempt = |keep: bool| {
        let mut world = World::new(setup.clone(), keep);
        let ran = world.begin().and_then(|()| schedule.iter().try_for_each(|action| world.act(*action)));
        (ran.and_then(|()| world.end(ending)), world)
    };
    match attempt(false) {
        (Ok(()), world) => {
            stats.borrow_mut().merge(&world.stats);
            Ok(())
        }
        (Err(violation), _) => {
            let steps = attempt(true).1.history.unwrap_or_default();
            let from = steps.len().saturating_sub(400);
            Err(TestCaseError::fail(format!("{violation}\n{}", steps[from..].join("\n"))))
        }
    }
}

fn whole(name: &str, cases: u32, rough: Roughness, length: std::ops::Range<usize>) -> Stats {
    let stats = RefCell::new(Stats::default());
    check(name, cases, (setups(), vec(actions(rough), length), endings()), |(setup, schedule, ending)| {
        run(&setup, &schedule, ending, &stats)
    });
    let stats = stats.into_inner();
    println!("{name}: {stats:?}");
    stats
}

#[test]
fn whatever_goes_wrong_every_property_holds_and_the_bazaar_recovers() {
    let name = "whatever_goes_wrong_every_property_holds_and_the_bazaar_recovers";
    let stats = whole(name, 3_000, Roughness { network: 60, crashes: 20, order: 8 }, 50..300);
    stats.at_least(&[
        ("elections won", 1_500),
        ("sales", 1_500),
        ("refusals", 1_500),
        ("resignations", 300),
        ("fenced appends", 100),
        ("conflicts", 80),
        ("claims that met a live term", 500),
        ("batches sent again", 80),
        ("calls that waited in the ledger", 100),
        ("calls dropped by the ledger", 20),
        ("reads answered late", 10),
        ("batches that cross a clock's bound", 500),
        ("steps with a full journal", 20),
        ("floods too old to tell", 15),
        ("crashes", 1_000),
        ("crashes of the ledger", 500),
        ("batches lost in a crash", 5),
        ("batches kept in a crash", 3),
        ("duplicates", 8_000),
        ("steps held for the clock's bound", 8_000),
        ("snapshots read whole", 400),
        ("parts of snapshots read", 400),
        ("reads that are cut", 1_000),
        ("accounts resumed", 50),
        ("outcomes of a former life recalled", 80),
        ("requests of a former life resumed", 2),
        ("requests inherited", 20),
        ("offices left for a silent ledger", 150),
        ("offices left for want of neighbours", 10),
        ("recoveries", 1_000),
        ("goods brought after a recovery", 1_000),
        ("old images put back", 200),
        ("old images noticed", 150),
    ]);
}

#[test]
fn on_a_calm_day_much_is_traded_and_every_property_holds() {
    let name = "on_a_calm_day_much_is_traded_and_every_property_holds";
    let stats = whole(name, 900, Roughness { network: 8, crashes: 3, order: 2 }, 100..400);
    stats.at_least(&[
        ("sales", 2_000),
        ("refusals", 2_000),
        ("resignations", 500),
        ("recoveries", 500),
        ("times that all clocks had arrived", 100),
    ]);
}

/// The waits of an election on its own.
const WAITS: Waits = Waits {
    turn: TIMEOUTS.first_call,
    stagger: TIMEOUTS.stagger,
    answer: TIMEOUTS.answer,
    victory: TIMEOUTS.victory,
    suspicion: TIMEOUTS.suspicion,
};

/// Elections on their own, with something that grants: the next epoch to the first that asks, unless another peer
/// leads.
struct Electorate {
    peers: Vec<Election>,
    due: Vec<Option<Duration>>,
    wire: Vec<(PeerId, PeerId, ElectionMessage)>,
    granted: Vec<(Epoch, PeerId)>,
    now: Duration,
}

impl Electorate {
    fn new(eligibilities: &[Eligibility], caller: usize) -> Electorate {
        let n = eligibilities.len();
        let peers = (0..n as u32).map(|id| Election::new(PeerId(id), n as u32)).collect();
        let mut all =
            Electorate { peers, due: vec![None; n], wire: Vec::new(), granted: Vec::new(), now: Duration::ZERO };
        for (id, eligibility) in eligibilities.iter().enumerate() {
            all.give(id, ElectionInput::Started { calls_first: id == caller });
            all.give(id, ElectionInput::Eligibility(*eligibility));
        }
        all
    }

    fn give(&mut self, id: usize, input: ElectionInput) {
        let me = PeerId(id as u32);
        for effect in self.peers[id].step(&WAITS, input) {
            match effect {
                ElectionEffect::Tell(to, message) => self.wire.push((me, to, message)),
                ElectionEffect::TellAll(message) => {
                    let others = (0..self.peers.len() as u32).map(PeerId).filter(|other| *other != me);
                    self.wire.extend(others.map(|other| (me, other, message)));
                }
                ElectionEffect::Arm(after) => self.due[id] = Some(self.now + after),
                ElectionEffect::Stand => {
                    let held = self.granted.last().is_some_and(|(epoch, holder)| {
                        *holder != me && self.peers[holder.0 as usize].leader() == Some((*epoch, *holder))
                    });
                    if held {
                        self.give(id, ElectionInput::Vacated { resigned: None });
                    } else {
                        let epoch = Epoch(self.granted.len() as u64 + 1);
                        self.granted.push((epoch, me));
                        self.give(id, ElectionInput::Granted(epoch));
                    }
                }
                ElectionEffect::Yield => self.give(id, ElectionInput::Vacated { resigned: None }),
                ElectionEffect::Heard(_) | ElectionEffect::Event(_) => {}
            }
        }
    }

    fn fire(&mut self, id: usize) {
        if self.due[id].take().is_some() {
            self.give(id, ElectionInput::Fired);
        }
    }

    fn deliver(&mut self, nth: usize) {
        let (from, to, message) = self.wire.remove(nth);
        self.give(to.0 as usize, ElectionInput::Received(from, message));
    }

    /// Every message arrives, leaders are heard, and whatever is due first fires, until one leads and all follow.
    fn converge(&mut self, firings: usize) -> Option<(Epoch, PeerId)> {
        for _ in 0..firings {
            while !self.wire.is_empty() {
                self.deliver(0);
            }
            if let Some((epoch, leader)) = self.granted.last().copied()
                && self.peers[leader.0 as usize].leader() == Some((epoch, leader))
            {
                for id in (0..self.peers.len()).filter(|id| *id != leader.0 as usize) {
                    self.give(id, ElectionInput::Heard { epoch, leader });
                }
                if self.wire.is_empty() && self.peers.iter().all(|peer| peer.leader() == Some((epoch, leader))) {
                    return Some((epoch, leader));
                }
                continue;
            }
            let (due, id) = (0..self.peers.len()).filter_map(|id| Some((self.due[id]?, id))).min()?;
            self.now = self.now.max(due);
            self.fire(id);
        }
        None
    }
}

fn eligibilities() -> impl Strategy<Value = Vec<Eligibility>> {
    let each = prop_oneof![
        6 => Just(Eligibility::Eligible),
        1 => Just(Eligibility::Resigned),
        1 => Just(Eligibility::Unreachable),
    ];
    vec(each, 2..8)
}

#[test]
fn when_every_message_arrives_the_highest_eligible_peer_is_elected_by_one_grant() {
    let name = "when_every_message_arrives_the_highest_eligible_peer_is_elected_by_one_grant";
    check(name, 2_000, (eligibilities(), any::<u8>()), |(eligibilities, caller)| {
        let highest = |wanted| eligibilities.iter().rposition(|eligibility| *eligibility == wanted);
        let Some(winner) = highest(Eligibility::Eligible).or(highest(Eligibility::Resigned)) else { return Ok(()) };
        let mut all = Electorate::new(&eligibilities, caller as usize % eligibilities.len());
        let leader = all.converge(200);
        let is_lone = eligibilities.iter().all(|eligibility| *eligibility != Eligibility::Eligible);
        prop_assert!(leader.is_some(), "nobody leads: {:?}", all.peers);
        if !is_lone {
            prop_assert_eq!(leader, Some((Epoch(1), PeerId(winner as u32))));
        }
        Ok(())
    });
}

#[test]
fn an_election_that_was_disturbed_ends_with_one_leader_that_all_follow() {
    let name = "an_election_that_was_disturbed_ends_with_one_leader_whom_all_follow";
    let schedule = vec((0..12_u8, any::<u16>()), 0..120);
    check(name, 2_000, (2..8_usize, schedule), |(n, schedule)| {
        let mut all = Electorate::new(&vec![Eligibility::Eligible; n], 2 % n);
        for (what, pick) in schedule {
            let (id, nth) = (pick as usize % n, (pick as usize).checked_rem(all.wire.len()));
            match (what, nth) {
                (0..=3, _) => all.fire(id),
                (4, Some(nth)) => drop(all.wire.remove(nth)),
                (5, Some(nth)) => all.wire.push(all.wire[nth]),
                (6, _) => {
                    // It crashes, comes back and knows nothing.
                    all.peers[id] = Election::new(PeerId(id as u32), n as u32);
                    all.give(id, ElectionInput::Started { calls_first: false });
                    all.give(id, ElectionInput::Eligibility(Eligibility::Eligible));
                }
                (7, _) if all.peers[id].is_leading() => {
                    let epoch = all.peers[id].leader().map(|(epoch, _)| epoch);
                    all.give(id, ElectionInput::Vacated { resigned: epoch });
                }
                (_, Some(nth)) => all.deliver(nth),
                (_, None) => {}
            }
        }
        prop_assert!(all.converge(400).is_some(), "nobody leads: {:?}, granted {:?}", all.peers, all.granted);
        Ok(())
    });
}

/// Delivers everything, in an order drawn from `order`; returns who received what was delivered.
fn carry(
    peers: &mut [Overlay],
    mut wire: Vec<(PeerId, PeerId, Envelope)>,
    order: &mut impl Iterator<Item = u16>,
) -> Result<Vec<PeerId>, TestCaseError> {
    let mut delivered = Vec::new();
    for _ in 0..20_000 {
        if wire.is_empty() {
            return Ok(delivered);
        }
        let nth = order.next().unwrap_or(0) as usize % wire.len();
        let (from, to, envelope) = wire.remove(nth);
        let arrival = peers[to.0 as usize].receive(from, envelope);
        delivered.extend(arrival.delivered.map(|_| to));
        wire.extend(arrival.forwarded.into_iter().map(|(next, envelope)| (to, next, envelope)));
    }
    Err(TestCaseError::fail("it never comes to rest"))
}

#[test]
fn floods_reach_all_that_are_connected_once_and_unicasts_go_around_what_is_down() {
    let name = "floods_reach_all_that_are_connected_once_and_unicasts_go_around_what_is_down";
    let shape = (2..12_u32).prop_flat_map(|n| (Just(n), graphs(n)));
    let input = (shape, vec(any::<u16>(), 0..6), vec((any::<u32>(), any::<u32>()), 1..12), vec(any::<u16>(), 64));
    check(name, 1_000, input, |((n, mut links), down, talks, order)| {
        let whole = links.clone();
        let are_neighbours = |a: u32, b: u32| whole.contains(&(a.min(b), a.max(b)));
        let overlay = |id| Overlay::new(world::life(id, 1), n, &Limits::DEFAULT);
        let mut peers: Vec<Overlay> = (0..n).map(overlay).collect();
        let mut clock = 0;
        let mut tick = || {
            clock += 1;
            Time(clock)
        };
        for (a, b) in &links {
            peers[*a as usize].link_up(PeerId(*b));
            peers[*b as usize].link_up(PeerId(*a));
        }
        let mut order = order.into_iter().cycle();
        let mut down = down.into_iter();
        for (from, to) in talks {
            let (from, to) = (from % n, to % n);
            let reached = reachable(&links, from);
            let sent = peers[from as usize].broadcast(tick(), Body::Clock);
            let wire = sent.into_iter().map(|(to, envelope)| (PeerId(from), to, envelope)).collect();
            let mut delivered = carry(&mut peers, wire, &mut order)?;
            delivered.sort();
            let expected: Vec<PeerId> = reached.iter().filter(|id| **id != from).map(|id| PeerId(*id)).collect();
            prop_assert_eq!(delivered, expected, "a flood");
            if let Some(nth) = down.next().and_then(|pick| (pick as usize).checked_rem(links.len())) {
                let (a, b) = *links.iter().nth(nth).unwrap();
                links.remove(&(a, b));
                peers[a as usize].link_down(PeerId(b));
                peers[b as usize].link_down(PeerId(a));
            }
            if from != to && reachable(&links, from).contains(&to) {
                // Its first unicast may end beside a peer that seems to be gone. Once that peer is heard again, the
                // next one follows its path (SPEC A9).
                for is_heard in [false, true] {
                    if is_heard {
                        let sent = peers[to as usize].broadcast(tick(), Body::Clock);
                        let wire = sent.into_iter().map(|(next, envelope)| (PeerId(to), next, envelope)).collect();
                        carry(&mut peers, wire, &mut order)?;
                    }
                    let sent = peers[from as usize].unicast(PeerId(to), tick(), Body::Clock);
                    let is_flooded = |(_, envelope): &(PeerId, Envelope)| matches!(envelope.route, Route::Flood { .. });
                    prop_assert!(!is_heard || !sent.iter().any(is_flooded), "from {from} to {to}: a flood");
                    let wire = sent.into_iter().map(|(next, envelope)| (PeerId(from), next, envelope)).collect();
                    let delivered = carry(&mut peers, wire, &mut order)?;
                    let is_beside = peers
                        .iter()
                        .enumerate()
                        .any(|(id, peer)| are_neighbours(id as u32, to) && !peer.links().contains(&PeerId(to)));
                    let may_end = is_beside && !is_heard;
                    prop_assert!(may_end || delivered.contains(&PeerId(to)), "from {from} to {to}: {delivered:?}");
                    prop_assert!(delivered.iter().all(|id| *id == PeerId(to)));
                }
            }
        }
        Ok(())
    });
}

fn reachable(links: &BTreeSet<(u32, u32)>, from: u32) -> BTreeSet<u32> {
    let mut reached = BTreeSet::from([from]);
    loop {
        let more: Vec<u32> = links
            .iter()
            .flat_map(|(a, b)| [(*a, *b), (*b, *a)])
            .filter(|(a, b)| reached.contains(a) && !reached.contains(b))
            .map(|(_, b)| b)
            .collect();
        if more.is_empty() {
            return reached;
        }
        reached.extend(more);
    }
}

/// Something a client may say, sensible or not: its number and its predecessor are close to what the books hold.
#[derive(Clone, Debug)]
enum Word {
    Request {
        from: u32,
        number: u64,
        previous: Option<u64>,
        item: u16,
        quantity: u32,
        time: u64,
    },
    Deposit {
        from: u32,
        number: u64,
        previous: Option<u64>,
        item: u16,
        count: u32,
        time: u64,
    },
    /// A life asks for its seat, and knows how often that has changed, or does not.
    Join {
        from: u32,
        life: u32,
        knows: bool,
    },
    /// A life promises that what it asks for from now on is stamped later.
    Promise {
        from: u32,
        life: u32,
        time: u64,
    },
    /// A heartbeat has gone out.
    Heartbeat,
    /// The next batch is planned, or, if one is under way, that one is appended.
    Plan,
    /// Another peer takes office.
    Claim(u32),
}

fn words() -> impl Strategy<Value = Word> {
    let (from, item, number) = (0..5_u32, 0..2_u16, 1..4_u64);
    let previous = prop_oneof![4 => Just(None), 1 => (0..3_u64).prop_map(Some)];
    let client = (from, number, previous, item, 0..4_u32, 0..60_u64);
    prop_oneof![
        8 => client.clone().prop_map(|(from, number, previous, item, quantity, time)| {
            Word::Request { from, number, previous, item, quantity, time }
        }),
        5 => client.prop_map(|(from, number, previous, item, count, time)| {
            Word::Deposit { from, number, previous, item, count: 2 * count, time }
        }),
        2 => (0..5_u32, 0..2_u32, any::<bool>()).prop_map(|(from, life, knows)| Word::Join { from, life, knows }),
        3 => (0..5_u32, 0..2_u32, 0..60_u64).prop_map(|(from, life, time)| Word::Promise { from, life, time }),
        3 => Just(Word::Heartbeat),
        8 => Just(Word::Plan),
        1 => (0..5_u32).prop_map(Word::Claim),
    ]
}

#[test]
fn whatever_clients_say_what_is_planned_can_be_booked_and_is_in_order() {
    let name = "whatever_clients_say_what_is_planned_can_be_booked_and_is_in_order";
    let counts = RefCell::new([0; 6]);
    let later = RefCell::new(AuditedLater::default());
    let ordering = prop_oneof![Just(Ordering::SmallestOpen), Just(Ordering::Stable)];
    let tampering = (any::<usize>(), any::<usize>(), 0..TAMPERINGS);
    let drawn = (2..=6_u32, 2..=5_u32, ordering, vec(words(), 1..120), tampering);
    check(name, 2_000, drawn, |(batch_limit, resign_after, ordering, words, tampering)| {
        let terms = Terms { commission: Commission::TWENTY_PERCENT, resign_after, batch_limit, ordering };
        let audited = AuditTerms {
            commission: Some(terms.commission),
            resign_after: Some(resign_after),
            batch_limit: Some(batch_limit),
        };
        let mut audit = LogAudit::new(audited);
        let mut log: Vec<Record> = Vec::new();
        let (mut trader, mut clock) = (Trader::new(PeerId(9), Books::default()), Clock::resume(PeerId(9), Time(0)));
        let mut in_flight: Option<Batch> = None;
        // Clients' clocks rise, and they keep their promises.
        let mut promised = [0; 5];
        for word in std::iter::once(Word::Claim(4)).chain(words) {
            let books = trader.books().clone();
            // A client that names a predecessor has heard what became of it; one that names none may be far behind.
            let heard = |last: Option<u64>| last.map_or(1, |_| books.latest().0 + 1);
            let batch = match word {
                Word::Request { from, number, previous, item, quantity, time } => {
                    let last = books.buyers().get(&PeerId(from)).and_then(|account| account.last.as_ref());
                    let last = last.map(|(sequence, _)| sequence.0);
                    let request = Request {
                        id: RequestId { buyer: PeerId(from), sequence: Sequence(last.unwrap_or(0) + number) },
                        previous: previous.or(last).map(Sequence),
                        item: Item(item),
                        quantity: Units(quantity),
                        stamp: Stamp {
                            time: Time(heard(last).max(promised[from as usize] + 1) + time),
                            peer: PeerId(from),
                        },
                    };
                    promised[from as usize] = request.stamp.time.0;
                    clock.receive(request.stamp.time);
                    let answer = trader.on_client(PeerId(from), ClientMessage::Request(request));
                    prop_assert_eq!(told_truly(answer.map(|answer| (PeerId(from), answer)), &log), Ok(()));
                    continue;
                }
                Word::Deposit { from, number, previous, item, count, time } => {
                    let last = books.sellers().get(&PeerId(from)).and_then(|account| account.deposit.as_ref());
                    let last = last.map(|deposit| deposit.number.0);
                    let deposit = Deposit {
                        id: DepositId { seller: PeerId(from), number: DepositNumber(last.unwrap_or(0) + number) },
                        previous: previous.or(last).map(DepositNumber),
                        item: Item(item),
                        count: Units(count),
                        price: Price(99),
                        stamp: Stamp { time: Time(heard(last) + time), peer: PeerId(from) },
                    };
                    clock.receive(deposit.stamp.time);
                    let answer = trader.on_client(PeerId(from), ClientMessage::Deposit(deposit));
                    prop_assert_eq!(told_truly(answer.map(|answer| (PeerId(from), answer)), &log), Ok(()));
                    continue;
                }
                Word::Join { from, life, knows } => {
                    let changes = if knows { books.buyer_status(PeerId(from)).changes() } else { 0 };
                    let join = ClientMessage::Join { incarnation: Incarnation(life), changes };
                    let answer = trader.on_client(PeerId(from), join);
                    prop_assert_eq!(told_truly(answer.map(|answer| (PeerId(from), answer)), &log), Ok(()));
                    continue;
                }
                Word::Promise { from, life, time } => {
                    let above = promised[from as usize] + time;
                    promised[from as usize] = above;
                    clock.receive(Time(above));
                    let promise = Promise { incarnation: Incarnation(life), above: Time(above), open: None };
                    trader.on_promises(vec![(PeerId(from), promise)]);
                    continue;
                }
                Word::Heartbeat => {
                    trader.count_silence(0);
                    continue;
                }
                Word::Plan => match in_flight.take() {
                    Some(batch) => batch,
                    None => {
                        let records = trader.plan(&terms, &mut clock);
                        in_flight = Some(Batch { epoch: books.epoch(), position: books.position(), records });
                        continue;
                    }
                },
                Word::Claim(by) => {
                    in_flight = None;
                    let holder = world::life(by, 1);
                    clock = Clock::resume(PeerId(by), clock.now());
                    trader = Trader::new(PeerId(by), books.clone());
                    let epoch = books.epoch().next();
                    let records =
                        vec![Record { stamp: clock.tick(), entry: Entry::Claimed { epoch, holder, ordering } }];
                    Batch { epoch, position: books.position(), records }
                }
            };
            prop_assert!(batch.records.len() <= batch_limit as usize, "a batch of {}", batch.records.len());
            prop_assert_eq!(audit.observe_batch(&batch), Ok(()));
            log.extend(batch.records.iter().cloned());
            let told = trader.on_appended(&batch);
            prop_assert!(told.is_ok(), "{told:?}");
            prop_assert_eq!(told_truly(told.unwrap().messages, &log), Ok(()));
            prop_assert_eq!(the_books_equal_the_fold_of_the_log(trader.books(), &log), Ok(()));
        }
        let report = audit.report();
        prop_assert!(report.is_clean(), "{:?}", report.violations().next());
        let count = |is_one: fn(&Entry) -> bool| log.iter().filter(|record| is_one(&record.entry)).count() as u64;
        let [seats, lost] = [
            count(|entry| matches!(entry, Entry::Seated { .. })),
            count(|entry| matches!(entry, Entry::Unseated { .. })),
        ];
        let held = u64::from(trader.waits().is_some());
        let AuditTotals { sales, refusals, late, .. } = report.totals;
        for (sum, more) in counts.borrow_mut().iter_mut().zip([sales, refusals, seats, lost, late, held]) {
            *sum += more;
        }
        later.borrow_mut().compare(audited, &log, report.totals, tampering)
    });
    let AuditedLater { waiting, stocked, found } = later.into_inner();
    at_least("audits that began while something waited", waiting, 100);
    at_least("audits that began while something was for sale", stocked, 100);
    at_least("tamperings that both audits found", found, 500);
    let floors = [
        ("sales", 1_000),
        ("refusals", 1_000),
        ("seats", 1_000),
        ("seats lost", 100),
        ("late requests", 5),
        ("requests held at the end", 100),
    ];
    for ((name, floor), count) in floors.into_iter().zip(counts.into_inner()) {
        println!("{count} {name}");
        at_least(name, count, floor);
    }
}

/// What audits that began in the midst of a log have come to.
#[derive(Default)]
struct AuditedLater {
    waiting: u64,
    stocked: u64,
    found: u64,
}

const TAMPERINGS: u8 = 9;

impl AuditedLater {
    /// Audits a good log from a drawn record on, as it is and with one of its later records tampered with, and compares
    /// that with an audit of all of it.
    fn compare(
        &mut self,
        terms: AuditTerms,
        log: &[Record],
        whole: AuditTotals,
        (from, at, how): (usize, usize, u8),
    ) -> Result<(), TestCaseError> {
        let from = from % (log.len() + 1);
        let mut books = Books::default();
        for record in &log[..from] {
            books.apply(record).unwrap();
        }
        let audited = |mut audit: LogAudit, log: &[Record]| {
            for record in log {
                let _ = audit.observe(record);
            }
            audit.report()
        };
        let later = audited(LogAudit::after(&books, terms), &log[from..]);
        prop_assert!(later.is_clean(), "{:?}", later.violations().next());
        let AuditTotals { open, units_left, epoch, ordering, .. } = later.totals;
        prop_assert_eq!(
            (open, units_left, epoch, ordering),
            (whole.open, whole.units_left, whole.epoch, whole.ordering)
        );
        prop_assert_eq!((later.totals.first_record.0, later.totals.records), (from as u64, (log.len() - from) as u64));
        self.waiting += u64::from(books.queue().len() > 0);
        self.stocked +=
            u64::from(books.sellers().values().any(|seller| seller.deposit.as_ref().is_some_and(|d| d.left.0 > 0)));

        if from == log.len() {
            return Ok(());
        }
        let rest = tampered(&log[from..], at % (log.len() - from), how);
        let all: Vec<Record> = log[..from].iter().chain(&rest).cloned().collect();
        let (whole, later) = (audited(LogAudit::new(terms), &all), audited(LogAudit::after(&books, terms), &rest));
        let first = |report: &AuditReport| report.violations().map(|found| found.position).min();
        prop_assert_eq!(first(&whole), first(&later), "from {} of {}: {:?}", from, all.len(), (whole, later));
        self.found += u64::from(!later.is_clean());
        Ok(())
    }
}

/// A log in which something is not as it was written.
fn tampered(log: &[Record], at: usize, how: u8) -> Vec<Record> {
    let mut log = log.to_vec();
    let mut record = log[at].clone();
    match (how, &mut record.entry) {
        (0, _) => {
            log.remove(at);
            return log;
        }
        (1, _) => {
            log.insert(at, record);
            return log;
        }
        (2, _) => record.stamp.peer.0 += 1,
        (3, _) => record.stamp.time.0 = 1,
        (4, Entry::Sold(sale)) => sale.earned.0 += 1,
        (5, Entry::Sold(sale)) => sale.number.0 += 1,
        (6, Entry::Sold(sale)) => sale.deposit.number.0 ^= 1,
        (7, Entry::Sold(sale)) => sale.request.sequence.0 ^= 1,
        (_, Entry::Sold(sale)) => {
            record.entry = Entry::Refused { request: sale.request, leftover: Some(sale.deposit) };
        }
        (_, Entry::Claimed { epoch, .. }) => epoch.0 += 1,
        (4 | 5, Entry::Admitted { request, .. }) => request.previous = Some(Sequence(7)),
        (_, Entry::Admitted { request, .. }) => request.id.sequence.0 ^= 1,
        (4 | 5, Entry::Deposited(deposit)) => deposit.previous = Some(DepositNumber(7)),
        (_, Entry::Deposited(deposit)) => deposit.id.number.0 ^= 1,
        (_, Entry::Refused { request, .. }) => request.sequence.0 ^= 1,
        (_, Entry::Seated { .. } | Entry::Unseated { .. } | Entry::Resigned) => record.stamp.peer.0 += 1,
    }
    log[at] = record;
    log
}

fn told_truly(
    told: impl IntoIterator<Item = (PeerId, TraderMessage)>,
    log: &[Record],
) -> Result<(), bazaar_protocol::invariant::Violation> {
    told.into_iter().try_for_each(|(client, message)| whatever_a_client_was_told_is_in_the_log(&message, client, log))
}

/// An append as anyone might send it: an epoch and a position that are about right, the sender, the records, and
/// whether the lease has run out before it.
fn appends() -> impl Strategy<Value = (u64, u64, u32, u8, bool)> {
    let about = || prop_oneof![6 => Just(1_u64), 1 => 0..3_u64];
    (about(), about(), 0..3_u32, 0..6_u8, any::<bool>())
}

#[test]
fn the_log_keeps_its_epochs_and_their_holders_whoever_appends_what() {
    let name = "whoever_appends_whatever_the_log_keeps_its_epochs_and_their_holders";
    let appended = RefCell::new(0);
    check(name, 2_000, vec(appends(), 1..60), |calls| {
        let limits = Limits { waiting_calls: 4, ..Limits::DEFAULT };
        let config = LedgerConfig { lease: TIMEOUTS.lease, limits, secret: Secret::default() };
        let (mut ledger, _) = Ledger::recover(config, Tail::default());
        let mut log: Vec<Record> = Vec::new();
        for (time, (epoch, position, by, what, lease)) in (1..).zip(calls) {
            if lease {
                ledger.step(LedgerInput::LeaseFired);
            }
            let LedgerStatus { head, term, .. } = ledger.status();
            let (caller, latest) = (world::life(by, 1), ledger.status().epoch().0);
            let (mine, next) = (Epoch((latest + epoch).saturating_sub(1)), Epoch(latest + epoch));
            let record = |entry| Record { stamp: Stamp { time: Time(time), peer: PeerId(by) }, entry };
            let request = RequestId { buyer: PeerId(7), sequence: Sequence(time) };
            let (epoch, records) = match what {
                0 | 1 => (
                    next,
                    vec![record(Entry::Claimed { epoch: next, holder: caller, ordering: Ordering::SmallestOpen })],
                ),
                2 => (mine, vec![record(Entry::Resigned)]),
                3 => (mine, Vec::new()),
                _ => (mine, vec![record(Entry::Refused { request, leftover: None })]),
            };
            let is_renewal = records.is_empty();
            let batch = Batch { epoch, position: Position((head.0 + position).saturating_sub(1)), records };
            let call = LedgerCall {
                caller,
                seen: HighWaterMark::default(),
                heard: Epoch(0),
                request: LedgerRequest::Append(batch),
            };
            for effect in ledger.step(LedgerInput::Call { id: CallId(0), call }) {
                match effect {
                    LedgerEffect::Persist(batch) => {
                        prop_assert_eq!(batch.position, head, "R2: not at the head");
                        let in_office = Some(Term { epoch, holder: caller, ended: false });
                        match batch.claimant() {
                            Some(_) => prop_assert_eq!(epoch, Epoch(latest + 1), "S2: out of turn"),
                            None => prop_assert_eq!(term, in_office, "S2: in a term that is not its own"),
                        }
                        log.extend(batch.records);
                        *appended.borrow_mut() += 1;
                        ledger.step(LedgerInput::Persisted);
                        prop_assert_eq!(ledger.status().head, Position(log.len() as u64));
                    }
                    LedgerEffect::Reply { reply, .. } => {
                        let confirmed =
                            matches!(reply.answer, LedgerAnswer::Append { verdict: Verdict::Appended { .. }, .. });
                        let in_office = Some(Term { epoch, holder: caller, ended: false });
                        prop_assert!(!is_renewal || !confirmed || term == in_office, "R6: a term renewed by another");
                    }
                    LedgerEffect::Read { .. }
                    | LedgerEffect::ArmLease(_)
                    | LedgerEffect::Drop(_)
                    | LedgerEffect::Refuse(_) => {}
                    LedgerEffect::Fail(fault) => return Err(TestCaseError::fail(format!("{fault:?}"))),
                }
            }
        }
        prop_assert_eq!(each_epoch_has_one_holder_and_epochs_rise_by_one(&log), Ok(()));
        prop_assert_eq!(every_record_is_stamped_by_the_holder_of_its_epoch(&log), Ok(()));
        Ok(())
    });
    at_least("batches", appended.into_inner(), 5_000);
}

/// One step of an office on its own.
fn office_step(office: &mut Office, input: OfficeInput) -> Vec<OfficeEffect> {
    let terms = Terms {
        commission: Commission::TWENTY_PERCENT,
        resign_after: 2,
        batch_limit: 2,
        ordering: Ordering::SmallestOpen,
    };
    let mut clock = Clock::resume(PeerId(1), Time(0));
    let limits = &Limits::DEFAULT;
    let mut ctx =
        OfficeContext { timeouts: &TIMEOUTS, terms: &terms, limits, clock: &mut clock, asking: None, isolated: false };
    office.step(&mut ctx, input)
}

fn status(head: u64, term: Option<Term>) -> OfficeInput {
    let status = LedgerStatus { head: Position(head), term, latest: Time(0) };
    let word = bazaar_protocol::ledger::Word::of(world::life(1, 1), Epoch(0), status, Secret::default());
    OfficeInput::Reply(LedgerReply { word, answer: LedgerAnswer::Status })
}

// Found by the schedules above: once every peer had resigned a term, nobody was ever eligible again.
#[test]
fn a_peer_that_resigned_may_stand_again_once_another_term_has_begun() {
    let mut office = Office::new(world::life(1, 1), HighWaterMark::default());
    let term = Term { epoch: Epoch(3), holder: world::life(1, 1), ended: true };
    let effects = office_step(&mut office, status(9, Some(term)));
    assert!(effects.contains(&OfficeEffect::Eligibility(Eligibility::Resigned)));
    let heard = |epoch| OfficeInput::Heard(Epoch(epoch));
    assert_eq!(office_step(&mut office, heard(3)), [], "its own term is not another one");
    assert_eq!(office_step(&mut office, heard(4)), [OfficeEffect::Eligibility(Eligibility::Eligible)]);
    assert_eq!(office_step(&mut office, status(9, Some(term))), [OfficeEffect::Disarm(OfficeTimer::Retry)], "late");
}

// Otherwise it would stop asking, and stay ineligible for ever if the reply to its own question was lost.
#[test]
fn a_status_from_before_the_silence_does_not_stop_the_asking() {
    let mut office = Office::new(world::life(1, 1), HighWaterMark::default());
    office_step(&mut office, status(9, None));
    office_step(&mut office, OfficeInput::LedgerDown);
    assert!(!office_step(&mut office, status(4, None)).contains(&OfficeEffect::Disarm(OfficeTimer::Retry)));
    let effects = office_step(&mut office, OfficeInput::Fired(OfficeTimer::Retry));
    assert!(effects.contains(&OfficeEffect::Ask(LedgerRequest::Status)));
}
