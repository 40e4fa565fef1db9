//! What was said, compared with the log (S11, S1).

use alloc::{format, string::String, vec::Vec};

use super::{Property, Violation, deposit_name, request_name};
use crate::{
    account::Outcome,
    account::{BuyerStatus, DepositStatus, Seat, SellerStatus},
    id::{DepositId, DepositNumber, PeerId, RequestId, SaleNumber, Units},
    message::TraderMessage,
    money::Cents,
    record::{Entry, Record, Sale},
};

/// S11: every request, outcome, deposit and sale that `client` was told of is in the durable log, and the status it was
/// told was, as a whole, its status at some head of that log. Since the log only grows, everything that was ever told
/// agrees (S4).
///
/// # Errors
/// When it was not; the reason names the part that is not in the log, if it is a single part.
pub fn whatever_a_client_was_told_is_in_the_log<'a>(
    told: &TraderMessage,
    client: PeerId,
    log: impl IntoIterator<Item = &'a Record>,
) -> Result<(), Violation> {
    let found = match told {
        TraderMessage::Buyer(status) => buyer_was_told_the_truth(status, client, log),
        TraderMessage::Seller(status) => seller_was_told_the_truth(status, client, log),
    };
    found.map_err(|what| Violation::off_the_log(Property::S11, format!("peer {client} was told {what}")))
}

/// What a client's records add up to, as it may be told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ClientSoFar {
    buyer: BuyerStatus,
    seller: Account,
    /// Its sales, in order.
    sales: Vec<MadeSale>,
    /// Whether the numbers of its sales rise, as they must.
    is_in_order: bool,
}

/// A sale, and what its seller has earned up to it.
#[derive(Clone, Debug, PartialEq, Eq)]
struct MadeSale {
    sale: Sale,
    earned: u128,
}

impl Default for ClientSoFar {
    fn default() -> ClientSoFar {
        ClientSoFar {
            buyer: BuyerStatus::default(),
            seller: Account { deposit: None, sales: SaleNumber(0), earned: Cents(0) },
            sales: Vec::new(),
            is_in_order: true,
        }
    }
}

impl ClientSoFar {
    /// Takes the next record that concerns this client. Says whether it concerned its buyer, and whether its seller.
    pub(super) fn absorb(&mut self, client: PeerId, record: &Record) -> (bool, bool) {
        match &record.entry {
            Entry::Admitted { request, .. } if request.id.buyer == client => {
                self.buyer.open = Some(request.clone());
                (true, false)
            }
            Entry::Seated { buyer, .. } if buyer.peer == client => {
                let changes = self.buyer.changes().saturating_add(1);
                self.buyer.seat = Some(Seat { incarnation: buyer.incarnation, is_taken: true, changes });
                (true, false)
            }
            Entry::Unseated { buyer } if *buyer == client => {
                if let Some(seat) = &mut self.buyer.seat {
                    *seat = Seat { is_taken: false, changes: seat.changes.saturating_add(1), ..*seat };
                }
                (true, false)
            }
            Entry::Deposited(deposit) if deposit.id.seller == client => {
                self.seller.deposit = Some(DepositStatus {
                    number: deposit.id.number,
                    item: deposit.item,
                    count: deposit.count,
                    left: deposit.count,
                    price: deposit.price,
                    leftover: false,
                });
                (false, true)
            }
            Entry::Sold(sale) => {
                let (buys, sells) = (sale.request.buyer == client, sale.deposit.seller == client);
                if buys {
                    self.buyer.open = None;
                    self.buyer.last = Some((sale.request.sequence, Outcome::Sold(sale.clone())));
                }
                if sells {
                    self.absorb_sale(sale);
                }
                (buys, sells)
            }
            Entry::Refused { request, leftover } => {
                let (buys, sells) = (request.buyer == client, leftover.is_some_and(|deposit| deposit.seller == client));
                if buys {
                    let item = self.buyer.open.take().map(|open| open.item);
                    self.buyer.last = item.map(|item| (request.sequence, Outcome::Refused { item }));
                }
                let deposit = self.seller.deposit.as_mut().filter(|last| {
                    leftover.is_some_and(|deposit| deposit.seller == client && deposit.number == last.number)
                });
                if let Some(deposit) = deposit {
                    deposit.leftover = true;
                }
                (buys, sells)
            }
            Entry::Claimed { .. }
            | Entry::Deposited(_)
            | Entry::Seated { .. }
            | Entry::Unseated { .. }
            | Entry::Admitted { .. }
            | Entry::Resigned => (false, false),
        }
    }

    fn absorb_sale(&mut self, sale: &Sale) {
        let seller = &mut self.seller;
        if let Some(deposit) = seller.deposit.as_mut().filter(|last| last.number == sale.deposit.number) {
            deposit.left = Units(deposit.left.0.saturating_sub(sale.quantity.0));
        }
        seller.sales = sale.number;
        seller.earned = seller.earned.plus(sale.earned);
        let before = self.sales.last();
        self.is_in_order &= before.is_none_or(|before| before.sale.number < sale.number);
        let earned = before.map_or(0, |before| before.earned) + sale.earned.0;
        self.sales.push(MadeSale { sale: sale.clone(), earned });
    }

    /// Whether this is its status now.
    pub(super) fn is(&self, told: &TraderMessage) -> bool {
        match told {
            TraderMessage::Buyer(status) => is_same(&self.buyer, status),
            TraderMessage::Seller(status) => self.is_seller(status),
        }
    }

    fn is_seller(&self, told: &SellerStatus) -> bool {
        self.seller.is_told_in(told, &self.sales)
    }

    /// Whether it made this sale, and what it has earned with all sales up to its number.
    pub(super) fn earned_up_to(&self, sale: &Sale) -> (bool, u128) {
        if self.is_in_order {
            let upto = self.sales.partition_point(|made| made.sale.number <= sale.number);
            let last = upto.checked_sub(1).and_then(|nth| self.sales.get(nth));
            return last.map_or((false, 0), |made| (made.sale == *sale, made.earned));
        }
        let upto = || self.sales.iter().filter(|made| made.sale.number <= sale.number);
        (upto().any(|made| made.sale == *sale), upto().map(|made| made.sale.earned.0).sum())
    }
}

/// Whether both say the same of the buyer's account. Its bound follows from other records than its own as well.
fn is_same(one: &BuyerStatus, other: &BuyerStatus) -> bool {
    (&one.open, &one.last, one.seat) == (&other.open, &other.last, other.seat)
}

fn buyer_was_told_the_truth<'a>(
    told: &BuyerStatus,
    buyer: PeerId,
    log: impl IntoIterator<Item = &'a Record>,
) -> Result<(), String> {
    let mut so_far = ClientSoFar::default();
    let (mut was_open, mut was_last) = (told.open.is_none(), told.last.is_none());
    if is_same(&so_far.buyer, told) {
        return Ok(());
    }
    for record in log {
        if !so_far.absorb(buyer, record).0 {
            continue;
        }
        let status = &so_far.buyer;
        if is_same(status, told) {
            return Ok(());
        }
        was_open |= status.open == told.open;
        was_last |= status.last == told.last;
    }
    let name = |sequence| request_name(RequestId { buyer, sequence });
    match (&told.open, &told.last) {
        (Some(open), _) if !was_open => {
            Err(format!("that {} waits, which the log never admitted so", request_name(open.id)))
        }
        (_, Some((sequence, _))) if !was_last => {
            Err(format!("an outcome of {} that is not in the log", name(*sequence)))
        }
        _ => Err(String::from("a status that was not its own at any head of the log")),
    }
}

fn seller_was_told_the_truth<'a>(
    told: &SellerStatus,
    seller: PeerId,
    log: impl IntoIterator<Item = &'a Record>,
) -> Result<(), String> {
    let mut so_far = ClientSoFar::default();
    let mut deposited = told.deposit.is_none();
    if so_far.is_seller(told) {
        return Ok(());
    }
    for record in log {
        if !so_far.absorb(seller, record).1 {
            continue;
        }
        if so_far.is_seller(told) {
            return Ok(());
        }
        deposited |= so_far.seller.number() == told.deposit.as_ref().map(|deposit| deposit.number);
    }
    match &told.deposit {
        Some(DepositStatus { number, .. }) if !deposited => {
            Err(format!("of {}, which is not in the log", deposit_name(DepositId { seller, number: *number })))
        }
        Some(_) | None => match told.recent.iter().find(|sale| !so_far.sales.iter().any(|made| made.sale == **sale)) {
            Some(sale) => Err(format!("of sale {}, which is different in the log", sale.number)),
            None => Err(String::from("a status that was not its own at any head of the log")),
        },
    }
}

/// A seller's status without its latest sales.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Account {
    deposit: Option<DepositStatus>,
    sales: SaleNumber,
    earned: Cents,
}

impl Account {
    fn number(&self) -> Option<DepositNumber> {
        self.deposit.as_ref().map(|deposit| deposit.number)
    }

    /// Whether this is the status that was told, with these `sales`, of which any number of the latest may be told.
    fn is_told_in(&self, told: &SellerStatus, sales: &[MadeSale]) -> bool {
        self.deposit == told.deposit
            && self.sales == told.sales
            && self.earned == told.earned
            && told.recent.len() <= sales.len()
            && told.recent.iter().rev().zip(sales.iter().rev()).all(|(told, made)| *told == made.sale)
    }
}
