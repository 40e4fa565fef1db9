//! The books a trader serves from, compared with the log (S12, S6).

use alloc::{
    format,
    string::{String, ToString},
};
use core::fmt;

use super::{
    Checked, LogAudit, Property, Violation,
    history::{History, TermSoFar},
    log::read,
};
use crate::{
    account::BooksTerm,
    books::Books,
    id::{Epoch, PeerId},
    money::Cents,
    record::{Batch, Entry, Record},
};

/// S12: the books are what [`Books::apply`] makes of the first records of the log, as many as the books say they fold.
///
/// # Errors
/// When the log is shorter than that, when a record cannot be folded (at that record), or when the books differ (at
/// their position).
pub fn the_books_equal_the_fold_of_the_log<'a>(
    books: &Books,
    log: impl IntoIterator<Item = &'a Record>,
) -> Result<(), Violation> {
    let violated = |position, what| Err(Violation::at(Property::S12, position, what));
    let mut fold = Books::keeping(books.sales_kept());
    for record in log {
        if fold.position() == books.position() {
            break;
        }
        if let Err(error) = fold.apply(record) {
            return violated(fold.position(), format!("it cannot be folded: {error}"));
        }
    }
    if fold.position() < books.position() {
        return violated(
            fold.position(),
            format!("the log ends here, but the books fold {} records", books.position()),
        );
    }
    if fold != *books {
        let part = [
            (fold.latest() == books.latest(), "largest stamp"),
            (fold.term() == books.term(), "term"),
            (fold.queue().eq(books.queue()), "queue"),
            (fold.buyers() == books.buyers(), "buyers' accounts"),
            (fold.sellers() == books.sellers(), "sellers' accounts"),
            (fold.traders() == books.traders(), "traders' accounts"),
        ];
        let part = part.into_iter().find(|(equal, _)| !equal).map_or("count of refusals", |(_, part)| part);
        return violated(books.position(), format!("the books are not the fold of the log: their {part} differs"));
    }
    Ok(())
}

/// S12, about the fold itself: what the books say about queue, stock, accounts and term is what the records add up to
/// without [`Books::apply`].
///
/// # Errors
/// At the books' position, when they differ or the log is shorter than that.
pub fn the_books_say_what_the_records_say<'a>(
    books: &Books,
    log: impl IntoIterator<Item = &'a Record>,
) -> Result<(), Violation> {
    let folded = usize::try_from(books.position().0).unwrap_or(usize::MAX);
    let history = read(log.into_iter().take(folded));
    compare(books, &history).map_err(|what| Violation::at(Property::S12, books.position(), what))
}

/// The same, for a log that was audited up to the end of the books: its records are not added up a second time.
///
/// # Errors
/// At the books' position, when they differ.
pub fn the_books_say_what_was_audited(books: &Books, audit: &LogAudit) -> Result<(), Violation> {
    compare(books, audit.history()).map_err(|what| Violation::at(Property::S12, books.position(), what))
}

/// The same, as far as the last batch of that log can have changed it.
pub(super) fn the_batch_changed_what_was_audited(books: &Books, audit: &LogAudit, batch: &Batch) -> Checked {
    let history = audit.history();
    let compared = compare_sums(books, history).and_then(|()| {
        for record in &batch.records {
            let (buyer, seller) = match &record.entry {
                Entry::Deposited(deposit) => (None, Some(deposit.id.seller)),
                Entry::Admitted { request, .. } => (Some(request.id.buyer), None),
                Entry::Sold(sale) => (Some(sale.request.buyer), Some(sale.deposit.seller)),
                Entry::Refused { request, leftover } => (Some(request.buyer), leftover.map(|deposit| deposit.seller)),
                Entry::Seated { buyer, .. } => (Some(buyer.peer), None),
                Entry::Unseated { buyer } => (Some(*buyer), None),
                Entry::Claimed { .. } | Entry::Resigned => (None, None),
            };
            buyer.map_or(Ok(()), |buyer| compare_buyer(books, history, buyer))?;
            seller.map_or(Ok(()), |seller| compare_seller(books, history, seller))?;
            compare_trader(books, history, record.stamp.peer)?;
        }
        Ok(())
    });
    compared.map_err(|what| Violation::at(Property::S12, books.position(), what))
}

/// S6, over all accounts: what the buyers have spent is what the sellers have earned and the traders have kept.
///
/// # Errors
/// When it is not; the position is the books'.
pub fn the_accounts_add_up(books: &Books) -> Result<(), Violation> {
    let spent: Cents = books.buyers().values().map(|account| account.spent).sum();
    let earned: Cents = books.sellers().values().map(|account| account.earned).sum();
    let kept: Cents = books.traders().values().map(|account| account.commission).sum();
    if spent != earned.plus(kept) {
        let what = format!("buyers spent {spent}, sellers earned {earned} and traders kept {kept}");
        return Err(Violation::at(Property::S6, books.position(), what));
    }
    Ok(())
}

fn compare(books: &Books, history: &History) -> Result<(), String> {
    compare_sums(books, history)?;
    history.buyers.keys().try_for_each(|id| compare_buyer(books, history, *id))?;
    history.sellers.keys().try_for_each(|id| compare_seller(books, history, *id))?;
    history.traders.keys().try_for_each(|id| compare_trader(books, history, *id))
}

fn compare_sums(books: &Books, history: &History) -> Result<(), String> {
    equal("records", books.position().0, history.position.0)?;
    equal("largest stamp", books.latest().0, history.latest.0)?;
    equal("refusals", books.refusals(), history.sums.refusals)?;
    compare_terms(books.term(), history.term.as_ref())?;
    if !books.queue().eq(history.queue.values().map(|(_, request)| request)) {
        return Err("the queue is not the open requests in order".to_string());
    }
    // A buyer or seller appears in the books with its first seat, admission or deposit, a trader with its first sale.
    equal("buyers", books.buyers().len() as u64, history.buyers.len() as u64)?;
    equal("sellers", books.sellers().len() as u64, history.sellers.len() as u64)?;
    equal("traders", books.traders().len() as u64, history.traders.len() as u64)
}

fn compare_buyer(books: &Books, history: &History, id: PeerId) -> Result<(), String> {
    let Some(buyer) = history.buyers.get(&id) else { return Ok(()) };
    let account = books.buyers().get(&id).ok_or_else(|| format!("buyer {id} is missing"))?;
    let open = account.open.iter().map(|key| key.id.sequence);
    if !open.eq(buyer.open.iter().copied()) {
        return Err(format!("buyer {id}: its open request differs"));
    }
    if account.last.as_ref().map(|(sequence, _)| *sequence) != buyer.last.map(|(sequence, _)| sequence) {
        return Err(format!("buyer {id}: its last outcome differs"));
    }
    if account.seated() != history.seated(id) {
        return Err(format!("buyer {id}: its seat differs"));
    }
    equal(format_args!("buyer {id} bought"), account.bought, buyer.bought)?;
    equal(format_args!("buyer {id} spent"), account.spent.0, buyer.spent)
}

fn compare_seller(books: &Books, history: &History, id: PeerId) -> Result<(), String> {
    let Some(seller) = history.sellers.get(&id) else { return Ok(()) };
    let account = books.sellers().get(&id).ok_or_else(|| format!("seller {id} is missing"))?;
    if account.deposit.as_ref().map(|deposit| deposit.number) != seller.last_deposit {
        return Err(format!("seller {id}: its last deposit differs"));
    }
    if let Some(deposit) = &account.deposit {
        let stock = history.stock(id, deposit.number).ok_or_else(|| format!("seller {id}: no such deposit"))?;
        equal(format_args!("seller {id} has left"), deposit.left.0, stock.left())?;
        let is_as_deposited = (deposit.item, deposit.count, deposit.price) == (stock.item, stock.count, stock.price);
        if !is_as_deposited {
            return Err(format!("seller {id}: its deposit is not as it was made"));
        }
        if deposit.leftover != stock.leftover.is_some() {
            return Err(format!("seller {id}: whether its deposit is left over differs"));
        }
    }
    equal(format_args!("seller {id}'s clock"), account.clock.0, seller.clock.0)?;
    equal(format_args!("seller {id}'s sales"), account.sales.0, seller.sales.0)?;
    equal(format_args!("seller {id} earned"), account.earned.0, seller.earned)
}

fn compare_trader(books: &Books, history: &History, id: PeerId) -> Result<(), String> {
    let Some(trader) = history.traders.get(&id) else { return Ok(()) };
    let account = books.traders().get(&id).ok_or_else(|| format!("trader {id} is missing"))?;
    equal(format_args!("trader {id}'s sales"), account.sales, trader.sales)?;
    equal(format_args!("trader {id} kept"), account.commission.0, trader.commission)
}

fn compare_terms(books: Option<&BooksTerm>, records: Option<&TermSoFar>) -> Result<(), String> {
    let (Some(term), Some(other)) = (books, records) else {
        let epoch = |epoch: Option<Epoch>| epoch.map_or(0, |epoch| epoch.0);
        return equal("epoch", epoch(books.map(|term| term.epoch)), epoch(records.map(|term| term.epoch)));
    };
    equal("epoch", term.epoch.0, other.epoch.0)?;
    equal("holder", term.holder.peer.0, other.holder.peer.0)?;
    equal("holder's incarnation", term.holder.incarnation.0, other.holder.incarnation.0)?;
    equal("resigned", u8::from(term.ended), u8::from(other.ended))?;
    equal("sales of the term", term.sales, other.sales)?;
    equal("ordering", term.ordering as u8, other.ordering as u8)?;
    equal("inherited requests", term.inherited, other.inherited)
}

/// Checks that these two amounts are equal, or says how they differ.
fn equal(what: impl fmt::Display, books: impl Into<u128>, records: impl Into<u128>) -> Result<(), String> {
    let (books, records) = (books.into(), records.into());
    if books == records { Ok(()) } else { Err(format!("{what}: the books say {books}, the records {records}")) }
}
