//! Fixtures shared by the tests of the machines: the smallest records and messages of the bazaar.

use core::time::Duration;

use crate::{
    clock::{Stamp, Time},
    config::{Offer, Ordering, Pace, Terms, Timeouts},
    id::{
        DepositId, DepositNumber, Epoch, Incarnation, Item, Life, PeerId, Position, RequestId, SaleNumber, Sequence,
        Units,
    },
    money::{Commission, Price},
    record::{Batch, Deposit, Entry, Record, Request, Sale},
};

pub(crate) const TIMEOUTS: Timeouts = Timeouts {
    first_call: Duration::from_millis(500),
    stagger: Duration::from_millis(300),
    answer: Duration::from_millis(400),
    victory: Duration::from_millis(1_500),
    suspicion: Duration::from_millis(1_500),
    renewal: Duration::from_millis(300),
    lease: Duration::from_millis(1_200),
    retry: Duration::from_millis(250),
    give_up_after: Duration::from_millis(1_000),
    resend: Duration::from_millis(700),
    wave: Duration::ZERO,
    clock_interval: Duration::from_millis(40),
};

pub(crate) const TERMS: Terms = Terms {
    commission: Commission::TWENTY_PERCENT,
    resign_after: 40,
    batch_limit: 16,
    ordering: Ordering::SmallestOpen,
};

pub(crate) const PACE: Pace = Pace {
    deposit_after: Duration::from_millis(10),
    trade_after: Duration::from_millis(20),
    think: Some(Duration::from_millis(30)),
};

/// Two fish at 9.00 each.
pub(crate) const FISH: Offer = Offer { item: Item::FISH, count: Units(2), price: Price(900) };

pub(crate) fn life(peer: u32, incarnation: u32) -> Life {
    Life { peer: PeerId(peer), incarnation: Incarnation(incarnation) }
}

pub(crate) fn stamp(time: u64, peer: u32) -> Stamp {
    Stamp { time: Time(time), peer: PeerId(peer) }
}

pub(crate) fn record(time: u64, writer: u32, entry: Entry) -> Record {
    Record { stamp: stamp(time, writer), entry }
}

/// The first life of `holder` claims.
pub(crate) fn claim(time: u64, holder: u32, epoch: u64) -> Record {
    record(
        time,
        holder,
        Entry::Claimed { epoch: Epoch(epoch), holder: life(holder, 1), ordering: Ordering::SmallestOpen },
    )
}

pub(crate) fn batch(epoch: u64, position: u64, records: impl IntoIterator<Item = Record>) -> Batch {
    Batch { epoch: Epoch(epoch), position: Position(position), records: records.into_iter().collect() }
}

/// The seller's `number`-th deposit, of fish at 9.00, stamped with the number.
pub(crate) fn deposit(seller: u32, number: u64, count: u32) -> Deposit {
    Deposit {
        id: DepositId { seller: PeerId(seller), number: DepositNumber(number) },
        previous: (number > 1).then(|| DepositNumber(number - 1)),
        item: Item::FISH,
        count: Units(count),
        price: Price(900),
        stamp: stamp(number, seller),
    }
}

/// The buyer's `sequence`-th request, for one fish.
pub(crate) fn request(time: u64, buyer: u32, sequence: u64) -> Request {
    Request {
        id: RequestId { buyer: PeerId(buyer), sequence: Sequence(sequence) },
        previous: (sequence > 1).then(|| Sequence(sequence - 1)),
        item: Item::FISH,
        quantity: Units(1),
        stamp: stamp(time, buyer),
    }
}

/// The seller's `number`-th sale: what `request` asks for, from `deposit`, at a commission of 20 %.
pub(crate) fn sale(request: &Request, deposit: &Deposit, number: u64) -> Sale {
    let split = Commission::TWENTY_PERCENT.split(deposit.price.times(request.quantity));
    Sale {
        request: request.id,
        deposit: deposit.id,
        number: SaleNumber(number),
        item: request.item,
        quantity: request.quantity,
        price: deposit.price,
        commission: split.commission,
        earned: split.earned,
    }
}
