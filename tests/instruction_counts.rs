//! What the parts of a peer cost, in instructions (valgrind's callgrind), by the size of what they work on. A search
//! may add a fraction to the cost with each doubling of the size. A look at everything is found out where it costs more
//! than those fractions together: a few instructions for each of ten thousand peers pass beside a step that takes tens
//! of thousands.
//!
//! `cargo test -p bazaar-runtime --test instruction_counts -- --nocapture` prints the tables. Without valgrind it says
//! so and checks nothing; `apt-get install valgrind` brings it.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod counting;

use std::{collections::BTreeMap, fmt, hint::black_box, ops::Range};

use bazaar_protocol::{
    archive::{Archive, Deed},
    books::Books,
    clock::{Clock, Stamp, Time},
    config::{Config, Limits, Ordering, Role, Terms, Timeouts, Wishes},
    effect::{Durable, Effect, Effects},
    id::{
        DepositId, DepositNumber, Epoch, Incarnation, Item, Life, PeerId, Position, RequestId, SaleNumber, Sequence,
        Units,
    },
    input::{Input, Timer},
    ledger::{HighWaterMark, LedgerCall, LedgerConfig, LedgerReply, LedgerRequest, Secret},
    message::{Body, ClientMessage, Envelope, FloodId, Route},
    money::Price,
    overlay::Overlay,
    peer::Peer,
    record::{Batch, Deposit, Entry, Record, Request, Sale},
    store::MemoryStore,
    trader::Trader,
};
use bazaar_runtime::network::{
    service::{LedgerDoorRequest, PeerLinkRequest},
    wire::{self, Call},
};
use counting::{counted, figure};

/// How often each is done.
const TIMES: u64 = 100;

/// How often a choice is made.
const CHOICES: u64 = 4;

/// Does something under valgrind. By itself, outside valgrind, it does nothing.
#[test]
fn work_as_told() {
    let Some(task) = counting::task() else { return };
    let (part, size) = task.split_once(' ').expect("a part and its size");
    let size = size.parse().unwrap();
    match part {
        "relay" => relay(size),
        "office" => office(size),
        "books" => books(size),
        "overlay" => overlay(size),
        "codec" => codec(size),
        "queued" => choose(Ordering::SmallestOpen, Pending::InTheQueue, size),
        "waiting" => choose(Ordering::SmallestOpen, Pending::ForTheNextBatch, size),
        "stable" => choose(Ordering::Stable, Pending::ForTheNextBatch, size),
        unknown => panic!("{unknown}?"),
    }
}

/// What each operation costs by size.
struct Table {
    what: &'static str,
    sizes: Vec<u32>,
    rows: Vec<(String, Vec<u64>)>,
}

impl Table {
    /// Everything that these parts count, at these sizes of something.
    fn of(what: &'static str, sizes: &[u32], parts: &[&str]) -> Table {
        let mut rows: Vec<(String, Vec<u64>)> = Vec::new();
        for part in parts {
            let counts = sizes.iter().map(|size| counting::figures("work_as_told", &format!("{part} {size}")));
            let counts: Vec<_> = counts.collect();
            assert!(counts.iter().all(|figures| figures.len() == counts[0].len()), "{part}: {counts:?}");
            let row = |nth: usize| {
                let name = counts[0][nth].name.clone();
                (name, counts.iter().map(|figures| figures[nth].instructions).collect())
            };
            rows.extend((0..counts[0].len()).map(row));
        }
        let table = Table { what, sizes: sizes.to_vec(), rows };
        println!("{table}");
        table
    }

    /// Each doubling of the size adds at most this share of what it costs at the smallest.
    fn assert_that_a_doubling_adds_at_most(&self, share: f64) {
        let least = f64::from(self.sizes[0]);
        let doublings: Vec<_> = self.sizes.iter().map(|size| (f64::from(*size) / least).log2()).collect();
        let grows = |(_, costs): &&(String, Vec<u64>)| {
            let most = doublings.iter().map(|doublings| costs[0] as f64 * (1.0 + share * doublings));
            costs.iter().zip(most).any(|(cost, most)| *cost as f64 > most)
        };
        let wrong: Vec<_> = self.rows.iter().filter(grows).collect();
        assert!(wrong.is_empty(), "these grow with the number of {}: {wrong:?}", self.what);
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let width = self.rows.iter().map(|(name, _)| name.len()).chain([self.what.len()]).max().unwrap_or(0);
        write!(f, "{:width$}", self.what)?;
        self.sizes.iter().try_for_each(|size| write!(f, "  {size:>7}"))?;
        for (name, costs) in &self.rows {
            write!(f, "\n{name:width$}")?;
            costs.iter().try_for_each(|cost| write!(f, "  {cost:>7}"))?;
        }
        Ok(())
    }
}

#[test]
fn a_step_costs_little_more_in_a_large_network() {
    if counting::can_count() {
        let table = Table::of("peers", &[3, 100, 1_000, 10_000], &["relay", "office"]);
        table.assert_that_a_doubling_adds_at_most(0.06);
    }
}

#[test]
fn a_batch_is_folded_without_a_look_at_accounts_that_it_does_not_name() {
    if counting::can_count() {
        let table = Table::of("accounts", &[10, 1_000, 100_000], &["books"]);
        table.assert_that_a_doubling_adds_at_most(0.2);
    }
}

#[test]
fn the_overlay_looks_up_only_whom_a_message_names() {
    if counting::can_count() {
        let table = Table::of("peers known", &[10, 1_000, 10_000], &["overlay"]);
        table.assert_that_a_doubling_adds_at_most(0.08);
    }
}

#[test]
fn the_next_request_is_chosen_without_a_look_at_all_that_are_pending() {
    if counting::can_count() {
        let table = Table::of("pending", &[10, 1_000, 100_000], &["queued", "waiting", "stable"]);
        table.assert_that_a_doubling_adds_at_most(0.2);
    }
}

#[test]
fn a_frame_costs_what_is_in_it() {
    if counting::can_count() {
        let table = Table::of("in a frame", &[1, 16, 256], &["codec"]);
        let costs_more_among_many = |(_, costs): &&(String, Vec<u64>)| {
            let of_each = table.sizes.iter().zip(costs).map(|(size, cost)| cost / u64::from(*size));
            !of_each.is_sorted_by(|of_fewer, of_more| of_fewer >= of_more)
        };
        let wrong: Vec<_> = table.rows.iter().filter(costs_more_among_many).collect();
        assert!(wrong.is_empty(), "each costs more among many: {wrong:?}");
    }
}

/// One number after the other below `size`, far from the one before.
fn spread(nth: u64, size: u32) -> u32 {
    (nth * 7_919 % u64::from(size)) as u32
}

fn life(peer: PeerId) -> Life {
    Life { peer, incarnation: Incarnation(1) }
}

fn stamp(time: u64, peer: PeerId) -> Stamp {
    Stamp { time: Time(time), peer }
}

/// A number of a first life.
fn numbered(n: u64) -> u64 {
    1 << 32 | n
}

/// A buyer's request for one fish, its `nth` from 1.
fn request(buyer: PeerId, nth: u64, time: u64) -> Request {
    Request {
        id: RequestId { buyer, sequence: Sequence(numbered(nth)) },
        previous: (nth > 1).then(|| Sequence(numbered(nth - 1))),
        item: Item::FISH,
        quantity: Units(1),
        stamp: stamp(time, buyer),
    }
}

/// A seller's first deposit. What it takes to sell of it depends on how much is left.
fn deposit(seller: PeerId, time: u64, fish: u32) -> Deposit {
    Deposit {
        id: DepositId { seller, number: DepositNumber(numbered(1)) },
        previous: None,
        item: Item::FISH,
        count: Units(fish),
        price: Price(900),
        stamp: stamp(time, seller),
    }
}

fn terms(ordering: Ordering, batch_limit: u32) -> Terms {
    Terms { resign_after: u32::MAX, batch_limit, ordering, ..Terms::DEFAULT }
}

fn envelope(source: PeerId, clock: u64, route: Route, body: Body) -> Envelope {
    Envelope { source, clock: Time(clock), route, body, multicast: Time(0) }
}

fn direct(source: PeerId, to: PeerId, clock: u64, body: Body) -> Envelope {
    envelope(source, clock, Route::Direct { to, hops: 4_000 }, body)
}

fn flood(origin: PeerId, number: u64, to: Option<PeerId>, body: Body) -> Envelope {
    let id = FloodId { origin, incarnation: Incarnation(1), number };
    envelope(origin, number, Route::Flood { id, to }, body)
}

const HEARTBEAT: Body = Body::Heartbeat { epoch: Epoch(1), waits: None };

// The overlay.

fn overlay(known: u32) {
    let neighbours = [1, 2, 3].map(PeerId);
    let mut overlay = Overlay::new(life(PeerId(0)), known + 1, &Limits::DEFAULT);
    neighbours.iter().for_each(|link| overlay.link_up(*link));
    let peer = |nth| PeerId(1 + spread(nth, known));
    let size = u64::from(known);
    let nth_flood = |nth| flood(peer(nth), 1 + nth / size, None, HEARTBEAT);
    for nth in 0..size {
        overlay.receive(neighbours[nth as usize % 3], nth_flood(nth));
    }
    figure("a flood is received", TIMES, |nth| {
        let arrives = nth_flood(size + nth);
        let arrival = counted(|| overlay.receive(neighbours[0], arrives));
        assert!(arrival.delivered.is_some() && arrival.forwarded.len() == 2);
    });
    figure("a copy of it is received", TIMES, |nth| {
        let arrives = nth_flood(size + nth);
        let arrival = counted(|| overlay.receive(neighbours[1], arrives));
        assert!(arrival.delivered.is_none() && arrival.forwarded.is_empty());
    });
    figure("a message is sent to one peer", TIMES, |nth| {
        let to = peer(nth);
        let sent = counted(|| overlay.unicast(to, Time(1), HEARTBEAT));
        assert_eq!(sent.len(), 1);
    });
}

// The steps of a peer.

/// A peer that has said all it may: its life is durable, and so is every write that it asks for.
struct Machine {
    peer: Peer,
    neighbours: Vec<PeerId>,
}

impl Machine {
    /// One of `peers` peers, with a link to each of these.
    fn start(me: PeerId, peers: u32, neighbours: &[u32]) -> Machine {
        let neighbours: Vec<_> =
            neighbours.iter().copied().map(PeerId).filter(|peer| peer.0 < peers && *peer != me).collect();
        let wishes = Wishes { items: vec![Item::FISH], quantity: Units(1) };
        let terms = terms(Ordering::SmallestOpen, Terms::DEFAULT.batch_limit);
        let config = Config { terms, ..Config::new(me, peers, neighbours.clone(), Role::Buyer(wishes)) };
        let (peer, effects) = Peer::recover(config, Durable::default()).unwrap();
        let mut machine = Machine { peer, neighbours };
        machine.write(effects);
        for neighbour in machine.neighbours.clone() {
            machine.give(Input::LinkUp(neighbour));
        }
        machine
    }

    fn give(&mut self, input: Input) -> Effects {
        let effects = self.peer.step(input);
        self.write(effects)
    }

    /// Makes durable what is to be; the effects, with those that follow.
    fn write(&mut self, mut effects: Effects) -> Effects {
        let mut nth = 0;
        while let Some(effect) = effects.get(nth) {
            if let Effect::Write { id, .. } = effect {
                let written = self.peer.step(Input::Written(*id));
                effects.extend(written);
            }
            nth += 1;
        }
        effects
    }

    /// What a neighbour hands over; by turns, if it does not matter which.
    fn received(&self, nth: u64, envelope: Envelope) -> Input {
        Input::Received { from: self.neighbours[nth as usize % self.neighbours.len()], envelope }
    }
}

fn sent(effects: &[Effect]) -> usize {
    effects.iter().filter(|effect| matches!(effect, Effect::Send { .. })).count()
}

fn relay(peers: u32) {
    let (me, trader) = (PeerId(1), PeerId(peers - 1));
    let mut machine = Machine::start(me, peers, &[0, 2, 3]);
    let others = machine.neighbours.len() - 1;
    // Everybody has been heard, by a flood for somebody else.
    let asks = Body::Client(ClientMessage::AskSales { after: None });
    for source in (0..peers).filter(|peer| *peer != me.0) {
        let heard = flood(PeerId(source), 1, Some(PeerId(u32::from(source == 0) * trader.0)), asks.clone());
        let heard = machine.received(source.into(), heard);
        assert_eq!(sent(&machine.give(heard)), others);
    }
    let heartbeat = |machine: &Machine, nth, from| machine.received(from, flood(trader, 3 + nth, None, HEARTBEAT));
    // It recognises the trader with the first.
    machine.give(machine.received(0, flood(trader, 2, None, HEARTBEAT)));
    assert_eq!(machine.peer.view().leader, Some((Epoch(1), trader)));
    figure("a heartbeat is received", TIMES, |nth| {
        let arrives = heartbeat(&machine, nth, 0);
        let effects = counted(|| machine.peer.step(arrives));
        assert_eq!(sent(&machine.write(effects)), others);
    });
    figure("a copy of it is received", TIMES, |nth| {
        let arrives = heartbeat(&machine, nth, 1);
        let effects = counted(|| machine.peer.step(arrives));
        assert_eq!(sent(&machine.write(effects)), 0);
    });
    figure("a message is passed on", TIMES, |nth| {
        let to = PeerId(2 + spread(nth, peers - 2));
        let arrives = machine.received(0, direct(PeerId(0), to, 1_000 + nth, asks.clone()));
        let effects = counted(|| machine.peer.step(arrives));
        assert_eq!(sent(&machine.write(effects)), 1);
    });
}

/// A trader and its ledger, whose disk is never slow. Peer 0 sells, the others buy.
struct InOffice {
    machine: Machine,
    ledger: Archive,
    requests: BTreeMap<PeerId, u64>,
}

impl InOffice {
    fn start(peers: u32) -> InOffice {
        let limits = Limits::DEFAULT;
        let config = LedgerConfig { lease: Timeouts::DEFAULT.lease, limits, secret: Secret(7) };
        let mut ledger = Archive::new(config, MemoryStore::new(limits));
        ledger.start();
        let machine = Machine::start(PeerId(peers - 1), peers, &[0, 1, 2]);
        let mut trader = InOffice { machine, ledger, requests: BTreeMap::new() };
        let effects = trader.machine.give(Input::LedgerUp);
        trader.settle(effects);
        // Nobody is higher, so nobody is asked.
        let effects = trader.machine.give(Input::Fired(Timer::Election));
        trader.settle(effects);
        assert_eq!(trader.machine.peer.view().office, Some(Epoch(1)));
        let deposits = ClientMessage::Deposit(deposit(PeerId(0), trader.later(), 1_000 + peers - 2));
        let effects = trader.machine.give(trader.received(PeerId(0), deposits));
        trader.settle(effects);
        trader
    }

    fn later(&self) -> u64 {
        self.machine.peer.view().clock.0 + 1
    }

    fn received(&self, from: PeerId, message: ClientMessage) -> Input {
        let to = self.machine.peer.view().me.peer;
        self.machine.received(0, direct(from, to, self.later(), Body::Client(message)))
    }

    /// The next request of one of the buyers.
    fn request(&mut self, nth: u64) -> Input {
        let time = self.later();
        let buyers = self.machine.peer.config().peers - 2;
        let buyer = PeerId(1 + spread(nth, buyers));
        let nth_of_buyer = self.requests.entry(buyer).or_default();
        *nth_of_buyer += 1;
        let request = ClientMessage::Request(request(buyer, *nth_of_buyer, time));
        self.received(buyer, request)
    }

    /// The ledger's answer to what the trader has called it for, if it has.
    fn answer(&mut self, effects: Effects) -> Option<LedgerReply> {
        let mut calls = effects.into_iter().filter_map(|effect| match effect {
            Effect::Ledger(call) => Some(call),
            Effect::Send { .. }
            | Effect::Write { .. }
            | Effect::Arm { .. }
            | Effect::Disarm(_)
            | Effect::Stop(_)
            | Effect::Choose { .. }
            | Effect::Note { .. } => None,
        });
        let mut deeds = self.ledger.take(calls.next()?);
        assert!(calls.next().is_none(), "one call at a time");
        self.ledger.write();
        self.ledger.sync();
        deeds.extend(self.ledger.answer());
        let reply = deeds.into_iter().find_map(|deed| match deed {
            Deed::Reply { reply, .. } => Some(reply),
            Deed::ArmLease(_) => None,
            Deed::Drop { .. } | Deed::Refuse { .. } | Deed::Fail(_) | Deed::Give(_) | Deed::Stop(_) => {
                panic!("{deed:?}")
            }
        });
        Some(reply.or_else(|| self.ledger.answer_read(0)).expect("an answer"))
    }

    /// Goes on until the ledger has answered everything.
    fn settle(&mut self, mut effects: Effects) {
        while let Some(reply) = self.answer(effects) {
            effects = self.machine.give(Input::Ledger(reply));
        }
    }
}

fn office(peers: u32) {
    let mut trader = InOffice::start(peers);
    // Every buyer has bought.
    for nth in 0..u64::from(peers - 2) {
        let request = trader.request(nth);
        let effects = trader.machine.give(request);
        trader.settle(effects);
    }
    let sales = |trader: &InOffice| trader.machine.peer.view().books.map_or(0, Books::sales);
    assert_eq!(sales(&trader), u64::from(peers - 2));
    figure("the trader receives a request", TIMES, |nth| {
        let arrives = trader.request(nth);
        let effects = counted(|| trader.machine.peer.step(arrives));
        let effects = trader.machine.write(effects);
        trader.settle(effects);
    });
    figure("the ledger has appended its batch", TIMES, |nth| {
        let arrives = trader.request(nth);
        let effects = trader.machine.give(arrives);
        let reply = trader.answer(effects).expect("it appends at once");
        let effects = counted(|| trader.machine.peer.step(Input::Ledger(reply)));
        let effects = trader.machine.write(effects);
        assert_eq!(sent(&effects), 2, "buyer and seller are told");
        trader.settle(effects);
    });
    assert_eq!(sales(&trader), u64::from(peers - 2) + 2 * TIMES);
}

// The books.

/// A log as it is written.
struct Log {
    writer: PeerId,
    clock: u64,
    books: Books,
}

impl Log {
    fn begin(writer: PeerId, ordering: Ordering) -> Log {
        let mut log = Log { writer, clock: 0, books: Books::default() };
        log.write(Entry::Claimed { epoch: Epoch(1), holder: life(writer), ordering });
        log
    }

    fn record(&mut self, entry: Entry) -> Record {
        self.clock += 1;
        Record { stamp: stamp(self.clock, self.writer), entry }
    }

    fn write(&mut self, entry: Entry) {
        let record = self.record(entry);
        self.books.apply(&record).unwrap();
    }

    /// The `nth` request of this buyer from 1, and what this seller sells it.
    fn trade(&mut self, buyer: PeerId, nth: u64, seller: PeerId) -> [Record; 2] {
        let request = request(buyer, nth, self.clock);
        let split = Terms::DEFAULT.commission.split(Price(900).times(Units(1)));
        let sales = self.books.sellers()[&seller].sales;
        let sale = Sale {
            request: request.id,
            deposit: DepositId { seller, number: DepositNumber(numbered(1)) },
            number: SaleNumber(sales.0 + 1),
            item: Item::FISH,
            quantity: Units(1),
            price: Price(900),
            commission: split.commission,
            earned: split.earned,
        };
        [self.record(Entry::admitted(request)), self.record(Entry::Sold(sale))]
    }
}

fn fold(books: &mut Books, records: &[Record]) {
    records.iter().for_each(|record| books.apply(record).unwrap());
}

fn books(accounts: u32) {
    let (sellers, buyers) = (accounts / 2, accounts / 2);
    let mut log = Log::begin(PeerId(accounts), Ordering::SmallestOpen);
    for seller in 0..sellers {
        let deposit = deposit(PeerId(seller), log.clock, 1_000);
        log.write(Entry::Deposited(deposit));
    }
    let trade = |log: &mut Log, nth: u64| {
        let at = spread(nth, buyers);
        log.trade(PeerId(sellers + at), 1 + nth / u64::from(buyers), PeerId(at))
    };
    for nth in 0..u64::from(buyers) {
        let records = trade(&mut log, nth);
        fold(&mut log.books, &records);
    }
    assert_eq!((log.books.buyers().len(), log.books.sellers().len()), (buyers as usize, sellers as usize));
    figure("a batch is folded (admitted, sold)", TIMES, |nth| {
        let records = trade(&mut log, u64::from(buyers) + nth);
        counted(|| fold(&mut log.books, &records));
    });
    assert_eq!(log.books.sales(), u64::from(buyers) + TIMES);
}

// The choice of the next request.

/// Where requests are that have no outcome yet.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Pending {
    /// In the books.
    InTheQueue,
    /// With the trader, for its next batch or until buyers were heard.
    ForTheNextBatch,
}

/// Requests of so many buyers are pending; in the stable order, as many others have been heard further. Sellers have
/// enough for all of them.
fn choose(ordering: Ordering, pending: Pending, size: u32) {
    const SELLERS: u32 = 10;
    const FURTHER: u64 = 1 << 40;
    let trader = PeerId(u32::MAX);
    let ids = |ids: Range<u32>| ids.map(|nth| PeerId(SELLERS + nth));
    let (buyers, others) = (ids(0..size), ids(size..2 * size));
    let mut log = Log::begin(trader, ordering);
    for seller in 0..SELLERS {
        let deposit = deposit(PeerId(seller), log.clock, 1_000);
        log.write(Entry::Deposited(deposit));
    }
    if ordering == Ordering::Stable {
        let seats = buyers.clone().map(|buyer| (buyer, 0)).chain(others.map(|buyer| (buyer, FURTHER)));
        seats.for_each(|(buyer, above)| log.write(Entry::Seated { buyer: life(buyer), above: Time(above) }));
    }
    let requests: Vec<_> = buyers.map(|buyer| request(buyer, 1, log.clock + 1 + u64::from(buyer.0))).collect();
    if pending == Pending::InTheQueue {
        requests.iter().for_each(|request| log.write(Entry::admitted(request.clone())));
    }
    let mut clock = Clock::resume(trader, Time(log.clock + u64::from(2 * size)));
    let mut trader = Trader::new(trader, log.books);
    if pending == Pending::ForTheNextBatch {
        for request in requests {
            assert_eq!(trader.on_client(request.id.buyer, ClientMessage::Request(request)), None);
        }
    }
    // A request that is chosen is admitted and served, as far as it is not yet.
    let is_admitted_first = ordering == Ordering::SmallestOpen && pending == Pending::ForTheNextBatch;
    let limit = if is_admitted_first { 1 } else { 2 };
    let name = |what| match (ordering, pending) {
        (Ordering::SmallestOpen, Pending::InTheQueue) => format!("smallest-open, admitted: {what}"),
        (Ordering::SmallestOpen, Pending::ForTheNextBatch) => format!("smallest-open, not yet admitted: {what}"),
        (Ordering::Stable, _) => format!("stable: {what}"),
    };
    let (nothing, one) = (terms(ordering, 0), terms(ordering, limit));
    for nth in 0..CHOICES {
        let buyer = PeerId(SELLERS + size + nth as u32);
        let request = ClientMessage::Request(request(buyer, 1, 2 * FURTHER + nth));
        figure(&name("a request arrives"), 1, |_| {
            assert_eq!(counted(|| trader.on_client(buyer, request.clone())), None);
        });
        if ordering == Ordering::Stable {
            figure(&name("whether the next waits"), 1, |_| assert_eq!(counted(|| trader.waits()), None));
        }
        let mut records = Vec::new();
        let chosen = name(if is_admitted_first { "the next is admitted" } else { "the next is served" });
        if ordering == Ordering::Stable {
            // Where debug assertions are on, every plan in this order looks at all buyers first, this one as well. With the
            // assertion goes what else a plan of nothing does.
            counting::taken_off(&chosen, || assert_eq!(counted(|| trader.plan(&nothing, &mut clock)), []));
        }
        figure(&chosen, 1, |_| records = counted(|| trader.plan(&one, &mut clock)));
        assert_eq!(records.len(), limit as usize);
        let position = trader.books().position();
        trader.on_appended(&Batch { epoch: Epoch(1), position, records }).unwrap();
    }
}

// The codec.

/// Frames as they go from peer to peer, with so many envelopes, and to the ledger, with so many records.
fn codec(size: u32) {
    let asks = |nth: u32| {
        let buyer = PeerId(nth % 50);
        let request = request(buyer, 1_000, 100_000 + u64::from(nth));
        direct(buyer, PeerId(99), request.stamp.time.0, Body::Client(ClientMessage::Request(request)))
    };
    let heartbeat = |nth: u32| flood(PeerId(99), 1_000 + u64::from(nth), None, HEARTBEAT);
    let deliver =
        |envelopes| Call::Ask { id: 1_000, timeout_millis: 1_000, body: PeerLinkRequest::Deliver { envelopes } };
    for (what, frame) in [
        ("requests", deliver((0..size).map(asks).collect())),
        ("heartbeats", deliver((0..size).map(heartbeat).collect())),
    ] {
        let mut bytes = wire::encode(&frame).unwrap();
        figure(&format!("{what} are encoded"), TIMES, |_| bytes = counted(|| wire::encode(black_box(&frame))).unwrap());
        figure(&format!("{what} are decoded"), TIMES, |_| {
            let decoded: Call<PeerLinkRequest> = counted(|| wire::decode(&bytes)).unwrap();
            let Call::Ask { body: PeerLinkRequest::Deliver { envelopes }, .. } = decoded else { panic!("no call") };
            assert_eq!(envelopes.len(), size as usize);
        });
    }
    let mut log = Log::begin(PeerId(99), Ordering::SmallestOpen);
    let deposit = deposit(PeerId(0), log.clock, 1_000);
    log.write(Entry::Deposited(deposit));
    let records = (0..size).flat_map(|nth| log.trade(PeerId(1 + nth), 1_000, PeerId(0))).take(size as usize).collect();
    let request = LedgerRequest::Append(Batch { epoch: Epoch(1), position: Position(100_000), records });
    let seen = HighWaterMark::sealed(Epoch(1), Position(100_000), Secret(7));
    let call = LedgerCall { caller: life(PeerId(99)), seen, heard: Epoch(1), request };
    let frame = Call::Ask { id: 1_000, timeout_millis: 1_000, body: LedgerDoorRequest::Call { call: call.clone() } };
    let mut bytes = wire::encode(&frame).unwrap();
    figure("records are encoded", TIMES, |_| bytes = counted(|| wire::encode(black_box(&frame))).unwrap());
    figure("records are decoded", TIMES, |_| {
        let decoded: Call<LedgerDoorRequest> = counted(|| wire::decode(&bytes)).unwrap();
        let Call::Ask { body: LedgerDoorRequest::Call { call: decoded }, .. } = decoded else { panic!("no call") };
        assert_eq!(decoded, call);
    });
}
