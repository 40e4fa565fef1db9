//! What a batch costs a trader, by instruction counts (valgrind's callgrind): a batch costs what it holds, not what the
//! books hold.
//!
//! `cargo test -p bazaar-protocol --test trade_cost -- --nocapture` prints the table. Without valgrind it says so and
//! checks nothing; `apt-get install valgrind` brings it.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod counting;

use bazaar_protocol::{
    books::Books,
    clock::{Clock, Stamp, Time},
    config::{Ordering, Terms},
    id::{DepositId, DepositNumber, Epoch, Incarnation, Item, Life, PeerId, RequestId, Sequence, Units},
    message::ClientMessage,
    money::Price,
    record::{Batch, Deposit, Entry, Record, Request},
    trader::Trader,
};

/// How many sellers have fish with the trader; as many buyers have bought some.
const SIZES: [u32; 4] = [10, 100, 1_000, 10_000];

const BATCHES: u64 = 100;

/// Trades under valgrind. By itself, outside valgrind, it does nothing.
#[test]
fn trade_as_told() {
    let Some(task) = counting::task() else { return };
    let sellers = task.parse().unwrap();
    let (mut trader, mut clock) = market(sellers);
    counting::figure("a batch", BATCHES, |nth| {
        assert_eq!(counting::counted(|| buy(&mut trader, &mut clock, sellers, nth)), 1);
    });
}

#[test]
fn a_batch_costs_what_it_holds_and_not_what_the_books_hold() {
    if !counting::can_count() {
        return;
    }
    let costs = SIZES.map(|sellers| counting::figures("trade_as_told", &sellers.to_string())[0].instructions);
    println!("sellers  instructions a batch (one request: admitted, sold, everybody told)");
    for (sellers, cost) in SIZES.iter().zip(costs) {
        println!("{sellers:>7}  {cost:>7}");
    }
    assert!(costs.iter().max() <= costs.first().map(|cost| cost * 2).as_ref(), "it grows with the books: {costs:?}");
}

/// A trader with so many sellers and buyers in its books, each of which has traded once.
fn market(sellers: u32) -> (Trader, Clock) {
    let me = PeerId(1_000_000);
    let mut clock = Clock::resume(me, Time(0));
    let mut trader = Trader::new(me, Books::default());
    let claim = Entry::Claimed {
        epoch: Epoch(1),
        holder: Life { peer: me, incarnation: Incarnation(1) },
        ordering: Ordering::SmallestOpen,
    };
    let claim = Record { stamp: clock.tick(), entry: claim };
    trader.on_appended(&Batch { epoch: Epoch(1), position: trader.books().position(), records: vec![claim] }).unwrap();
    for nth in 0..sellers {
        let (seller, stamp) = (PeerId(nth), Stamp { time: clock.tick().time, peer: PeerId(nth) });
        let deposit = Deposit {
            id: DepositId { seller, number: DepositNumber(1) },
            previous: None,
            item: Item::FISH,
            count: Units(100 + nth % 1_000),
            price: Price(900),
            stamp,
        };
        assert_eq!(trader.on_client(seller, ClientMessage::Deposit(deposit)), None);
        append(&mut trader, &mut clock);
    }
    for nth in 0..sellers {
        buy(&mut trader, &mut clock, sellers, nth.into());
    }
    (trader, clock)
}

/// One buyer's request, from its arrival to its outcome, as a batch. Returns how many records the batch sold with.
fn buy(trader: &mut Trader, clock: &mut Clock, buyers: u32, nth: u64) -> u64 {
    let buyer = PeerId(500_000 + (nth % u64::from(buyers)) as u32);
    let previous = trader.books().buyer_status(buyer).last.map(|(sequence, _)| sequence);
    let request = Request {
        id: RequestId { buyer, sequence: Sequence(previous.map_or(1, |last| last.0 + 1)) },
        previous,
        item: Item::FISH,
        quantity: Units(1),
        stamp: Stamp { time: clock.tick().time, peer: buyer },
    };
    assert_eq!(trader.on_client(buyer, ClientMessage::Request(request)), None);
    append(trader, clock)
}

fn append(trader: &mut Trader, clock: &mut Clock) -> u64 {
    let terms = Terms { resign_after: u32::MAX, ..Terms::DEFAULT };
    let records = trader.plan(&terms, clock);
    let sold = records.iter().filter(|record| matches!(record.entry, Entry::Sold(_))).count() as u64;
    let position = trader.books().position();
    trader.on_appended(&Batch { epoch: Epoch(1), position, records }).unwrap();
    sold
}
