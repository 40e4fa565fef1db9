//! What was said, compared with the log (S11, S1).

use alloc::{format, string::String, vec::Vec};

use super::{Property, Violation, deposit_name, request_name};
use crate::{
    account::Outcome,
    account::{BuyerStatus, DepositStatus, SellerStatus},
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

fn buyer_was_told_the_truth<'a>(
    told: &BuyerStatus,
    buyer: PeerId,
    log: impl IntoIterator<Item = &'a Record>,
) -> Result<(), String> {
    let mut status = BuyerStatus { open: None, last: None };
    let (mut was_open, mut was_last) = (told.open.is_none(), told.last.is_none());
    if status == *told {
        return Ok(());
    }
    for record in log {
        match &record.entry {
            Entry::Admitted(request) if request.id.buyer == buyer => status.open = Some(request.clone()),
            Entry::Sold(sale) if sale.request.buyer == buyer => {
                status.open = None;
                status.last = Some((sale.request.sequence, Outcome::Sold(sale.clone())));
            }
            Entry::Refused { request } if request.buyer == buyer => {
                let item = status.open.take().map(|open| open.item);
                status.last = item.map(|item| (request.sequence, Outcome::Refused { item }));
            }
            Entry::Claimed { .. }
            | Entry::Deposited(_)
            | Entry::Admitted(_)
            | Entry::Sold(_)
            | Entry::Refused { .. }
            | Entry::Resigned => continue,
        }
        if status == *told {
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
    let mut account = Account { deposit: None, sales: SaleNumber(0), earned: Cents(0) };
    let mut sales: Vec<&Sale> = Vec::new();
    let mut deposited = told.deposit.is_none();
    if account.is_told_in(told, &sales) {
        return Ok(());
    }
    for record in log {
        match &record.entry {
            Entry::Deposited(deposit) if deposit.id.seller == seller => {
                account.deposit = Some(DepositStatus {
                    number: deposit.id.number,
                    item: deposit.item,
                    count: deposit.count,
                    left: deposit.count,
                    price: deposit.price,
                });
            }
            Entry::Sold(sale) if sale.deposit.seller == seller => {
                if let Some(deposit) = account.deposit.as_mut().filter(|last| last.number == sale.deposit.number) {
                    deposit.left = Units(deposit.left.0.saturating_sub(sale.quantity.0));
                }
                account.sales = sale.number;
                account.earned = Cents(account.earned.0.saturating_add(sale.earned.0));
                sales.push(sale);
            }
            Entry::Claimed { .. }
            | Entry::Deposited(_)
            | Entry::Admitted(_)
            | Entry::Sold(_)
            | Entry::Refused { .. }
            | Entry::Resigned => continue,
        }
        if account.is_told_in(told, &sales) {
            return Ok(());
        }
        deposited |= account.number() == told.deposit.as_ref().map(|deposit| deposit.number);
    }
    match &told.deposit {
        Some(DepositStatus { number, .. }) if !deposited => {
            Err(format!("of {}, which is not in the log", deposit_name(DepositId { seller, number: *number })))
        }
        Some(_) | None => match told.recent.iter().find(|sale| !sales.contains(sale)) {
            Some(sale) => Err(format!("of sale {}, which is different in the log", sale.number)),
            None => Err(String::from("a status that was not its own at any head of the log")),
        },
    }
}

/// A seller's status without its latest sales.
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
    fn is_told_in(&self, told: &SellerStatus, sales: &[&Sale]) -> bool {
        self.deposit == told.deposit
            && self.sales == told.sales
            && self.earned == told.earned
            && told.recent.len() <= sales.len()
            && told.recent.iter().rev().zip(sales.iter().rev()).all(|(told, made)| told == *made)
    }
}
