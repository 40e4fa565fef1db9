//! The log, read record by record (S1 to S9, S13, S14, R5, SPEC B6, B7 and D8).
//!
//! The public functions each run one check over a whole log. [`LogAudit`](super::LogAudit) runs all of them at once.

use alloc::{format, string::String};

use super::{
    Property, Violation,
    audit::AuditTerms,
    deposit_name,
    history::{Fate, History, paid_for, place_of_request},
    number, request_name,
};
use crate::{
    clock::Time,
    config::Ordering,
    id::{DepositId, Position, RequestId},
    money::Commission,
    record::{Batch, Deposit, Entry, Record, Request, Sale},
};

/// One check of the next record, against the history before it.
type Check = fn(&History, &AuditTerms, &Record) -> Result<(), Violation>;

/// All checks of single records, by property.
pub(super) const CHECKS: [Check; 17] = [
    holders,
    writers,
    outcomes_of_admitted,
    numbers,
    deposits_in_turn,
    stock,
    money,
    stamps,
    answers,
    serving_order,
    leftovers,
    inherited_first,
    places,
    late_only_without_a_seat,
    names_outcome,
    last_sale,
    trader_does_not_trade,
];

/// One check of the next batch, against the history before it.
type BatchCheck = fn(&History, &AuditTerms, &Batch) -> Result<(), Violation>;

/// All checks of batches, by property.
pub(super) const BATCH_CHECKS: [BatchCheck; 4] =
    [batch_is_in_its_place, admissions_before_outcomes, batch_is_within_its_limit, batch_is_in_order];

/// S1, S2: no epoch is claimed by two lives, each claim is for the epoch after the latest, and its holder stamps it.
///
/// # Errors
/// At the claim that violates this: S1 for a second holder or a claim in another's name, S2 for an epoch out of turn.
pub fn each_epoch_has_one_holder_and_epochs_rise_by_one<'a>(
    log: impl IntoIterator<Item = &'a Record>,
) -> Result<(), Violation> {
    run(log, AuditTerms::default(), holders).map(drop)
}

/// S1, S2: every writer holds the latest epoch, and after its resignation nothing is written but a claim.
///
/// # Errors
/// At the record that violates this: S2 when its writer's term is over, S1 when it never had one.
pub fn every_record_is_stamped_by_the_holder_of_its_epoch<'a>(
    log: impl IntoIterator<Item = &'a Record>,
) -> Result<(), Violation> {
    run(log, AuditTerms::default(), writers).map(drop)
}

/// S3: admitted requests are those in the queue and those with an outcome; no other request has an outcome, and a sale
/// matches what its request asked for.
///
/// # Errors
/// At the outcome that violates this, or at the head when the counts differ.
pub fn every_admitted_request_is_open_or_has_an_outcome<'a>(
    log: impl IntoIterator<Item = &'a Record>,
) -> Result<(), Violation> {
    let history = run(log, AuditTerms::default(), outcomes_of_admitted)?;
    admitted_are_open_or_settled(&history)
}

/// S4: a request is admitted once and has at most one outcome, a deposit counts once, each peer numbers what it asks for
/// and what it deposits upwards, and each seller's sales are numbered from 1 without a gap.
///
/// # Errors
/// At the record that violates this.
pub fn every_request_has_at_most_one_outcome<'a>(log: impl IntoIterator<Item = &'a Record>) -> Result<(), Violation> {
    run(log, AuditTerms::default(), numbers).map(drop)
}

/// S4: a deposit names the seller's last one, and that is sold out or was named as left over: so what a former life of
/// the seller left in the network does not count beside what the present one decided (DESIGN R8).
///
/// # Errors
/// At the deposit that violates this.
pub fn a_deposit_follows_the_sold_out_one_before_it<'a>(
    log: impl IntoIterator<Item = &'a Record>,
) -> Result<(), Violation> {
    run(log, AuditTerms::default(), deposits_in_turn).map(drop)
}

/// S5: no deposit sells more than was deposited, every sale is of its deposit's item at its deposit's price, and no
/// deposit, request or sale is of zero units.
///
/// # Errors
/// At the record that violates this.
pub fn stock_is_what_was_deposited_less_what_was_sold<'a>(
    log: impl IntoIterator<Item = &'a Record>,
) -> Result<(), Violation> {
    run(log, AuditTerms::default(), stock).map(drop)
}

/// S6: what is paid for a sale is what its seller earns and its trader keeps, to the cent; if `commission` is given,
/// the trader keeps that share of the order's total, rounded down, and the seller gets the rest. So the totals add up
/// too.
///
/// # Errors
/// At the sale that violates this.
pub fn money_adds_up<'a>(
    log: impl IntoIterator<Item = &'a Record>,
    commission: Option<Commission>,
) -> Result<(), Violation> {
    run(log, AuditTerms { commission, ..AuditTerms::default() }, money).map(drop)
}

/// S7: stamps rise along the whole log, not only for each writer: a peer that takes office has read everything before
/// it (DESIGN R1) and caught up with the largest stamp (R10).
///
/// # Errors
/// At the record that is not stamped later than all before it.
pub fn stamps_rise_along_the_log<'a>(log: impl IntoIterator<Item = &'a Record>) -> Result<(), Violation> {
    run(log, AuditTerms::default(), stamps).map(drop)
}

/// S7: an answer is stamped later than what it answers: a record later than the request or deposit it books or serves;
/// a request later than the outcome it names, and a deposit later than the last sale of the one it names, since both
/// had to be heard.
///
/// # Errors
/// At the record that violates this.
pub fn what_answers_is_later_than_what_it_answers<'a>(
    log: impl IntoIterator<Item = &'a Record>,
) -> Result<(), Violation> {
    run(log, AuditTerms::default(), answers).map(drop)
}

/// S8: at each outcome its request is the smallest (time, buyer, sequence) in the queue. If the outcome is a sale, the
/// seller is the smallest (clock, seller) among those who can fill the request; if it is a refusal, nobody can. A
/// seller can if it has enough of the item left in one deposit and is neither the trader in office (SPEC B7) nor the
/// buyer. The seller's clock is its deposit's stamp, raised to the sale's stamp by each sale.
///
/// # Errors
/// At the outcome that violates this.
pub fn the_smallest_stamp_is_served_first_from_the_smallest_seller<'a>(
    log: impl IntoIterator<Item = &'a Record>,
) -> Result<(), Violation> {
    run(log, AuditTerms::default(), serving_order).map(drop)
}

/// SPEC D8: a refusal names the deposit that is left over: of those of the item that were of as many units as were
/// asked for, have been sold in part and have not been named before, the one of the smallest (clock, seller). The
/// trader's and the buyer's own do not count.
///
/// # Errors
/// At the refusal that names another or none.
pub fn a_refusal_names_the_deposit_that_is_left_over<'a>(
    log: impl IntoIterator<Item = &'a Record>,
) -> Result<(), Violation> {
    run(log, AuditTerms::default(), leftovers).map(drop)
}

/// S8: within a term nothing is admitted before every request that waited at its claim has an outcome (SPEC D9).
///
/// # Errors
/// At the admission that came too early.
pub fn nothing_is_admitted_before_the_inherited_queue_is_served<'a>(
    log: impl IntoIterator<Item = &'a Record>,
) -> Result<(), Violation> {
    run(log, AuditTerms::default(), inherited_first).map(drop)
}

/// S13: a request names the buyer's last request with an outcome in the log (or none if there is none), and the buyer
/// has no other open request.
///
/// # Errors
/// At the admission that violates this.
pub fn a_request_names_the_outcome_before_it<'a>(log: impl IntoIterator<Item = &'a Record>) -> Result<(), Violation> {
    run(log, AuditTerms::default(), names_outcome).map(drop)
}

/// S9: in the stable order, a request is admitted at its own place unless that was passed, then at the next one, and
/// outcomes rise from place to place (SPEC C5).
///
/// # Errors
/// At the record that violates this.
pub fn outcomes_rise_from_place_to_place<'a>(log: impl IntoIterator<Item = &'a Record>) -> Result<(), Violation> {
    run(log, AuditTerms::default(), places).map(drop)
}

/// S14: in the stable order, no request is late unless its life has lost its seat (SPEC C5).
///
/// # Errors
/// At the admission that violates this.
pub fn whoever_is_late_has_lost_its_seat<'a>(log: impl IntoIterator<Item = &'a Record>) -> Result<(), Violation> {
    run(log, AuditTerms::default(), late_only_without_a_seat).map(drop)
}

/// SPEC B6: no term has more than `resign_after` sales, and nothing but the resignation follows the last of them. The
/// log must end at the end of a batch; if `resign_after` is `None`, nothing is checked.
///
/// # Errors
/// At the record that follows the last sale, or at the head when the resignation is missing.
pub fn a_term_ends_with_its_last_sale<'a>(
    log: impl IntoIterator<Item = &'a Record>,
    resign_after: Option<u32>,
) -> Result<(), Violation> {
    let terms = AuditTerms { resign_after, ..AuditTerms::default() };
    let history = run(log, terms, last_sale)?;
    the_last_sale_was_followed(&history, &terms)
}

/// SPEC B7: while a peer is in office none of its deposits or requests is booked, and nothing is sold from its deposit.
/// A request of its own that was admitted before is served, and in the stable order one that it made before its claim is
/// admitted.
///
/// # Errors
/// At the record that violates this.
pub fn a_trader_in_office_neither_buys_nor_sells<'a>(
    log: impl IntoIterator<Item = &'a Record>,
) -> Result<(), Violation> {
    run(log, AuditTerms::default(), trader_does_not_trade).map(drop)
}

/// S2: batches follow one another without a gap, each is of the epoch that was the latest when it was appended, and a
/// claim is a batch on its own (DESIGN R1, R2).
///
/// # Errors
/// At the first record of the batch that violates this.
pub fn every_batch_is_of_the_latest_epoch_at_the_head<'a>(
    batches: impl IntoIterator<Item = &'a Batch>,
) -> Result<(), Violation> {
    run_batches(batches, AuditTerms::default(), batch_is_in_its_place)
}

/// S8: within a batch no admission follows an outcome: two requests that arrived together are both in the queue before
/// the smaller one is served.
///
/// # Errors
/// At the admission that comes too late in its batch.
pub fn no_admission_follows_an_outcome_in_its_batch<'a>(
    batches: impl IntoIterator<Item = &'a Batch>,
) -> Result<(), Violation> {
    run_batches(batches, AuditTerms::default(), admissions_before_outcomes)
}

/// R5: a batch holds at most `batch_limit` records; a claim is one. If `batch_limit` is `None`, nothing is checked.
///
/// # Errors
/// At the first record beyond the limit.
pub fn a_batch_holds_at_most_as_many_records_as_its_limit<'a>(
    batches: impl IntoIterator<Item = &'a Batch>,
    batch_limit: Option<u32>,
) -> Result<(), Violation> {
    run_batches(batches, AuditTerms { batch_limit, ..AuditTerms::default() }, batch_is_within_its_limit)
}

/// R5: a batch is its deposits, then its admissions, then outcomes, then at most one resignation.
///
/// # Errors
/// At the record that comes too late in its batch.
pub fn a_batch_is_deposits_then_admissions_then_outcomes<'a>(
    batches: impl IntoIterator<Item = &'a Batch>,
) -> Result<(), Violation> {
    run_batches(batches, AuditTerms::default(), batch_is_in_order)
}

fn run<'a>(log: impl IntoIterator<Item = &'a Record>, terms: AuditTerms, check: Check) -> Result<History, Violation> {
    let mut history = History::default();
    for record in log {
        check(&history, &terms, record)?;
        history.absorb(record);
    }
    Ok(history)
}

pub(super) fn read<'a>(log: impl IntoIterator<Item = &'a Record>) -> History {
    let mut history = History::default();
    log.into_iter().for_each(|record| history.absorb(record));
    history
}

fn run_batches<'a>(
    batches: impl IntoIterator<Item = &'a Batch>,
    terms: AuditTerms,
    check: BatchCheck,
) -> Result<(), Violation> {
    let mut history = History::default();
    for batch in batches {
        check(&history, &terms, batch)?;
        batch.records.iter().for_each(|record| history.absorb(record));
    }
    Ok(())
}

fn holders(history: &History, _: &AuditTerms, record: &Record) -> Result<(), Violation> {
    let Entry::Claimed { epoch, holder, .. } = &record.entry else { return Ok(()) };
    if let Some(other) = history.holders.get(epoch).filter(|other| *other != holder) {
        let what = format!(
            "peer {} (incarnation {}) claims epoch {epoch}, which peer {} (incarnation {}) holds",
            holder.peer, holder.incarnation, other.peer, other.incarnation
        );
        return history.violated(Property::S1, what);
    }
    if record.stamp.peer != holder.peer {
        let what = format!("peer {} claims epoch {epoch} in the name of peer {}", record.stamp.peer, holder.peer);
        return history.violated(Property::S1, what);
    }
    let latest = history.term.as_ref().map_or(0, |term| term.epoch.0);
    if latest.checked_add(1) != Some(epoch.0) {
        return history.violated(Property::S2, format!("epoch {epoch} is claimed after epoch {latest}"));
    }
    Ok(())
}

fn writers(history: &History, _: &AuditTerms, record: &Record) -> Result<(), Violation> {
    let writer = record.stamp.peer;
    if matches!(record.entry, Entry::Claimed { .. }) {
        return Ok(());
    }
    match &history.term {
        None => history.violated(Property::S1, format!("peer {writer} writes before anybody holds the office")),
        Some(term) if term.holder.peer == writer && !term.ended => Ok(()),
        Some(term) if term.holder.peer == writer => {
            history.violated(Property::S2, format!("peer {writer} writes after it has resigned epoch {}", term.epoch))
        }
        Some(term) if history.former.contains(&writer) => {
            let what = format!("peer {writer}, whose term is over, writes in epoch {}", term.epoch);
            history.violated(Property::S2, what)
        }
        Some(term) => {
            let what = format!("peer {writer} writes in epoch {}, which peer {} holds", term.epoch, term.holder.peer);
            history.violated(Property::S1, what)
        }
    }
}

fn outcomes_of_admitted(history: &History, _: &AuditTerms, record: &Record) -> Result<(), Violation> {
    let Some(id) = served(record) else { return Ok(()) };
    if !history.requests.contains_key(&id) {
        let what = format!("{} has an outcome, but {}", request_name(id), history.unknown());
        return history.violated(Property::S3, what);
    }
    if let (Entry::Sold(sale), Some((_, asked))) = (&record.entry, history.open(id))
        && (sale.item, sale.quantity) != (asked.item, asked.quantity)
    {
        let what = format!(
            "{} asked for {} of item {} and got {} of item {}",
            request_name(id),
            asked.quantity,
            asked.item,
            sale.quantity,
            sale.item
        );
        return history.violated(Property::S3, what);
    }
    Ok(())
}

pub(super) fn admitted_are_open_or_settled(history: &History) -> Result<(), Violation> {
    let (admitted, open) = (history.waited + history.sums.admissions, history.queue.len() as u64);
    let outcomes = history.sums.sales + history.sums.refusals;
    if admitted != open + outcomes {
        let what = format!("{admitted} requests were admitted, {open} are open and {outcomes} have an outcome");
        return history.violated(Property::S3, what);
    }
    Ok(())
}

fn numbers(history: &History, _: &AuditTerms, record: &Record) -> Result<(), Violation> {
    if let Some(id) = served(record)
        && let Some(Fate::Settled(before)) = history.requests.get(&id)
    {
        let what = format!("{} has its outcome in record {before} already", request_name(id));
        return history.violated(Property::S4, what);
    }
    match &record.entry {
        Entry::Admitted { request, .. } if history.requests.contains_key(&request.id) => {
            history.violated(Property::S4, format!("{} is admitted a second time", request_name(request.id)))
        }
        Entry::Deposited(deposit) if history.deposits.contains_key(&deposit.id) => {
            history.violated(Property::S4, format!("{} is booked a second time", deposit_name(deposit.id)))
        }
        Entry::Admitted { request: Request { id, .. }, .. } => {
            let last = history.buyers.get(&id.buyer).and_then(|buyer| buyer.last).map(|(sequence, _)| sequence);
            rises(history, request_name(*id), id.sequence.0, last.map(|last| last.0))
        }
        Entry::Deposited(Deposit { id, .. }) => {
            let last = history.sellers.get(&id.seller).and_then(|seller| seller.last_deposit);
            rises(history, deposit_name(*id), id.number.0, last.map(|last| last.0))
        }
        Entry::Sold(sale) => {
            let seller = sale.deposit.seller;
            let last = history.sellers.get(&seller).map_or(0, |seller| seller.sales.0);
            if last.checked_add(1) == Some(sale.number.0) {
                return Ok(());
            }
            let what = format!("peer {seller} makes sale number {} after sale number {last}", sale.number);
            history.violated(Property::S4, what)
        }
        Entry::Claimed { .. }
        | Entry::Seated { .. }
        | Entry::Unseated { .. }
        | Entry::Refused { .. }
        | Entry::Resigned => Ok(()),
    }
}

/// Numbers that rise are never used twice, also where nobody remembers all that were.
fn rises(history: &History, name: String, its: u64, last: Option<u64>) -> Result<(), Violation> {
    match last {
        Some(last) if its <= last => {
            let what = format!("{name} is numbered no higher than {}, which came before it", number(last));
            history.violated(Property::S4, what)
        }
        Some(_) | None => Ok(()),
    }
}

fn deposits_in_turn(history: &History, _: &AuditTerms, record: &Record) -> Result<(), Violation> {
    let Entry::Deposited(deposit) = &record.entry else { return Ok(()) };
    let seller = history.sellers.get(&deposit.id.seller);
    let last = seller.and_then(|seller| seller.last_deposit);
    if deposit.previous != last {
        let what = format!(
            "{} follows {}, but names {}",
            deposit_name(deposit.id),
            number_or_none(last.map(|number| number.0)),
            number_or_none(deposit.previous.map(|number| number.0))
        );
        return history.violated(Property::S4, what);
    }
    let is_open = |number| {
        let stock = history.stock(deposit.id.seller, number);
        stock.is_some_and(|stock| stock.leftover.is_none())
    };
    if seller.is_some_and(|seller| seller.in_stock().any(is_open)) {
        let name = deposit_name(deposit.id);
        let what = format!("{name} is booked while another of its seller's is neither sold out nor left over");
        return history.violated(Property::S4, what);
    }
    Ok(())
}

fn stock(history: &History, _: &AuditTerms, record: &Record) -> Result<(), Violation> {
    match &record.entry {
        Entry::Deposited(deposit) if deposit.count.0 == 0 => {
            history.violated(Property::S5, format!("{} is of no units", deposit_name(deposit.id)))
        }
        Entry::Admitted { request, .. } if request.quantity.0 == 0 => {
            history.violated(Property::S5, format!("{} asks for no units", request_name(request.id)))
        }
        Entry::Sold(sale) => stock_of_sale(history, sale),
        Entry::Claimed { .. }
        | Entry::Deposited(_)
        | Entry::Seated { .. }
        | Entry::Unseated { .. }
        | Entry::Admitted { .. }
        | Entry::Refused { .. }
        | Entry::Resigned => Ok(()),
    }
}

fn stock_of_sale(history: &History, sale: &Sale) -> Result<(), Violation> {
    let name = deposit_name(sale.deposit);
    let Some(stock) = history.deposits.get(&sale.deposit) else {
        return history.violated(Property::S5, format!("a sale from {name}, which {}", history.unknown()));
    };
    if sale.item != stock.item {
        let what = format!("item {} is sold from {name}, which is of item {}", sale.item, stock.item);
        return history.violated(Property::S5, what);
    }
    if sale.price != stock.price {
        let (here, there) = (sale.price.0, stock.price.0);
        return history.violated(Property::S5, format!("a unit of {name} is sold at {here} cents, but costs {there}"));
    }
    if sale.quantity.0 == 0 {
        return history.violated(Property::S5, format!("no units are sold from {name}"));
    }
    if stock.left() < u64::from(sale.quantity.0) {
        let what = format!("{} units are sold from {name}, which has {} left", sale.quantity, stock.left());
        return history.violated(Property::S5, what);
    }
    Ok(())
}

fn money(history: &History, terms: &AuditTerms, record: &Record) -> Result<(), Violation> {
    let Entry::Sold(sale) = &record.entry else { return Ok(()) };
    let (paid, earned, kept) = (paid_for(sale), sale.earned.0, sale.commission.0);
    if kept.checked_add(earned) != Some(paid) {
        let what = format!("{} is paid, {} earned and {} kept", amount(paid), amount(earned), amount(kept));
        return history.violated(Property::S6, what);
    }
    if let Some(rate) = terms.commission {
        // SPEC D6, not `Commission::split`, which is under test: the seller gets the fraction of a cent.
        let due = paid * u128::from(u16::from(rate)) / 10_000;
        if kept != due {
            let what = format!("of {}, {} is kept where {} is due", amount(paid), amount(kept), amount(due));
            return history.violated(Property::S6, what);
        }
    }
    Ok(())
}

fn stamps(history: &History, _: &AuditTerms, record: &Record) -> Result<(), Violation> {
    if record.stamp.time <= history.latest {
        let what = format!(
            "peer {} stamps it {}, but the books before it already contain {}",
            record.stamp.peer, record.stamp.time, history.latest
        );
        return history.violated(Property::S7, what);
    }
    Ok(())
}

fn answers(history: &History, _: &AuditTerms, record: &Record) -> Result<(), Violation> {
    let written = record.stamp.time;
    let (name, owner, stamp, heard) = match &record.entry {
        Entry::Deposited(deposit) => {
            // Of a deposit that was named as left over, the seller need not have heard more than that.
            let last = deposit.previous.and_then(|number| history.stock(deposit.id.seller, number));
            let sold_out = history.sellers.get(&deposit.id.seller).map(|seller| seller.clock);
            let heard = last.and_then(|stock| stock.leftover).or(sold_out);
            (deposit_name(deposit.id), deposit.id.seller, deposit.stamp, heard.filter(|_| deposit.previous.is_some()))
        }
        Entry::Admitted { request, .. } => {
            let last = history.buyers.get(&request.id.buyer).and_then(|buyer| buyer.last);
            let heard = last.filter(|(sequence, _)| Some(*sequence) == request.previous).map(|(_, time)| time);
            (request_name(request.id), request.id.buyer, request.stamp, heard)
        }
        Entry::Sold(Sale { request: id, .. }) | Entry::Refused { request: id, .. } => match history.open(*id) {
            Some((_, request)) => (request_name(*id), id.buyer, request.stamp, None),
            None => return Ok(()),
        },
        Entry::Claimed { .. } | Entry::Seated { .. } | Entry::Unseated { .. } | Entry::Resigned => return Ok(()),
    };
    if stamp.peer != owner {
        return history.violated(Property::S7, format!("{name} is stamped by peer {}", stamp.peer));
    }
    if stamp.time >= written {
        let what = format!("{name} is stamped {}, but a record about it is stamped {written}", stamp.time);
        return history.violated(Property::S7, what);
    }
    if let Some(heard) = heard.filter(|heard| stamp.time <= *heard) {
        let what = format!("{name} is stamped {}, but what it follows was written at {heard}", stamp.time);
        return history.violated(Property::S7, what);
    }
    Ok(())
}

fn serving_order(history: &History, _: &AuditTerms, record: &Record) -> Result<(), Violation> {
    let Some((_, request)) = served(record).and_then(|id| history.open(id)) else { return Ok(()) };
    let name = request_name(request.id);
    if let Some((_, (_, first))) = history.queue.first_key_value()
        && first.id != request.id
    {
        let what = format!(
            "{name}, stamped {}, is served before {}, stamped {}",
            request.stamp.time,
            request_name(first.id),
            first.stamp.time
        );
        return history.violated(Property::S8, what);
    }
    let chosen = match &record.entry {
        Entry::Sold(sale) => Some(sale.deposit),
        Entry::Claimed { .. }
        | Entry::Deposited(_)
        | Entry::Seated { .. }
        | Entry::Unseated { .. }
        | Entry::Admitted { .. }
        | Entry::Refused { .. }
        | Entry::Resigned => None,
    };
    match (chosen, history.smallest_offer(request)) {
        (Some(chosen), Some((_, smallest))) if chosen == smallest => Ok(()),
        (None, None) => Ok(()),
        (Some(chosen), Some((clock, smallest))) => {
            let what = format!(
                "{name} is filled from {} before {}, whose seller's clock is {clock}",
                deposit_name(chosen),
                deposit_name(smallest)
            );
            history.violated(Property::S8, what)
        }
        (Some(chosen), None) => {
            let what = format!("{name} is filled from {}, which cannot fill it", deposit_name(chosen));
            history.violated(Property::S8, what)
        }
        (None, Some((_, smallest))) => {
            history.violated(Property::S8, format!("{name} is refused while {} can fill it", deposit_name(smallest)))
        }
    }
}

fn leftovers(history: &History, _: &AuditTerms, record: &Record) -> Result<(), Violation> {
    let Entry::Refused { request: id, leftover } = &record.entry else { return Ok(()) };
    let Some((_, request)) = history.open(*id) else { return Ok(()) };
    let due = history.smallest_leftover(request);
    if *leftover != due {
        let name = |deposit: Option<DepositId>| deposit.map_or_else(|| String::from("none"), deposit_name);
        let what = format!(
            "the refusal of {} names {} as left over, where {} is due",
            request_name(*id),
            name(*leftover),
            name(due)
        );
        return history.violated(Property::D8, what);
    }
    Ok(())
}

fn inherited_first(history: &History, _: &AuditTerms, record: &Record) -> Result<(), Violation> {
    let Entry::Admitted { request, .. } = &record.entry else { return Ok(()) };
    match &history.term {
        Some(term) if term.inherited > 0 && history.ordering == Ordering::SmallestOpen => {
            let name = request_name(request.id);
            let what = format!("{name} is admitted while {} requests of earlier terms wait", term.inherited);
            history.violated(Property::S8, what)
        }
        Some(_) | None => Ok(()),
    }
}

/// In the stable order, what is served rises from place to place; and a request keeps its own place unless that was passed.
fn places(history: &History, _: &AuditTerms, record: &Record) -> Result<(), Violation> {
    if history.ordering != Ordering::Stable {
        return Ok(());
    }
    if let Entry::Admitted { request, place } = &record.entry {
        let [own, given] = [request.stamp.time, *place].map(|time| place_of_request(time, request.id));
        let due = match history.floor {
            Some((time, ..)) if history.floor >= Some(own) => {
                place_of_request(Time(time.saturating_add(1)), request.id)
            }
            Some(_) | None => own,
        };
        if given != due {
            let what = format!("{} is given the place {place}, where {} is due", request_name(request.id), due.0);
            return history.violated(Property::S9, what);
        }
    }
    if let Some(id) = served(record)
        && let Some(Fate::Open(placed)) = history.requests.get(&id)
        && Some(place_of_request(*placed, id)) <= history.floor
    {
        let what = format!("{}, at the place {placed}, is served after a later one", request_name(id));
        return history.violated(Property::S9, what);
    }
    Ok(())
}

fn late_only_without_a_seat(history: &History, _: &AuditTerms, record: &Record) -> Result<(), Violation> {
    let Entry::Admitted { request, place } = &record.entry else { return Ok(()) };
    let life = request.id.sequence.split().0;
    if request.is_late_at(*place) && history.seats.get(&request.id.buyer) != Some(&(life, false)) {
        let name = request_name(request.id);
        let what = format!(
            "{name}, stamped {}, is late at the place {place}, though its buyer has not lost its seat",
            request.stamp.time
        );
        return history.violated(Property::S14, what);
    }
    Ok(())
}

fn names_outcome(history: &History, _: &AuditTerms, record: &Record) -> Result<(), Violation> {
    let Entry::Admitted { request: Request { id, previous, .. }, .. } = &record.entry else { return Ok(()) };
    let buyer = history.buyers.get(&id.buyer);
    if let Some(open) = buyer.and_then(|buyer| buyer.open.first()) {
        let what = format!("{} is admitted while its buyer's {} is open", request_name(*id), number(open.0));
        return history.violated(Property::S13, what);
    }
    let last = buyer.and_then(|buyer| buyer.last).map(|(sequence, _)| sequence);
    if *previous != last {
        let what = format!(
            "{} follows the outcome of {}, but names {}",
            request_name(*id),
            number_or_none(last.map(|sequence| sequence.0)),
            number_or_none(previous.map(|sequence| sequence.0))
        );
        return history.violated(Property::S13, what);
    }
    Ok(())
}

fn last_sale(history: &History, terms: &AuditTerms, record: &Record) -> Result<(), Violation> {
    if record.entry == Entry::Resigned {
        return Ok(());
    }
    the_last_sale_was_followed(history, terms)
}

/// The next record, if there is one at all, is not a resignation.
pub(super) fn the_last_sale_was_followed(history: &History, terms: &AuditTerms) -> Result<(), Violation> {
    if let (Some(term), Some(resign_after)) = (&history.term, terms.resign_after)
        && !term.ended
        && resign_after > 0
        && term.sales >= u64::from(resign_after)
    {
        let what = format!("epoch {} continues after its {} sales", term.epoch, term.sales);
        return history.violated(Property::B6, what);
    }
    Ok(())
}

fn trader_does_not_trade(history: &History, _: &AuditTerms, record: &Record) -> Result<(), Violation> {
    let (who, what) = match &record.entry {
        Entry::Deposited(deposit) => (deposit.id.seller, "deposits"),
        Entry::Admitted { request, .. } if !history.was_made_before_the_claim(request) => {
            (request.id.buyer, "asks for something")
        }
        Entry::Sold(sale) => (sale.deposit.seller, "sells"),
        Entry::Admitted { .. } => return Ok(()),
        Entry::Claimed { .. }
        | Entry::Seated { .. }
        | Entry::Unseated { .. }
        | Entry::Refused { .. }
        | Entry::Resigned => return Ok(()),
    };
    if history.in_office() == Some(who) {
        return history.violated(Property::B7, format!("peer {who} {what} while it is the trader"));
    }
    Ok(())
}

fn batch_is_in_its_place(history: &History, _: &AuditTerms, batch: &Batch) -> Result<(), Violation> {
    if batch.position != history.position {
        let what = format!("a batch for position {} is at {}", batch.position, history.position);
        return history.violated(Property::S2, what);
    }
    let claims = batch.records.iter().any(|record| matches!(record.entry, Entry::Claimed { .. }));
    if claims && batch.records.len() > 1 {
        return history.violated(Property::S2, String::from("a claim shares a batch with other records"));
    }
    let latest = match batch.records.as_slice() {
        [Record { entry: Entry::Claimed { epoch, .. }, .. }] => Some(*epoch),
        _ => history.term.as_ref().map(|term| term.epoch),
    };
    match latest {
        Some(latest) if latest == batch.epoch => Ok(()),
        Some(latest) => history.violated(Property::S2, format!("a batch of epoch {} in epoch {latest}", batch.epoch)),
        None => history.violated(Property::S2, format!("a batch of epoch {} before the first claim", batch.epoch)),
    }
}

fn admissions_before_outcomes(history: &History, _: &AuditTerms, batch: &Batch) -> Result<(), Violation> {
    if history.ordering == Ordering::Stable {
        return Ok(());
    }
    let mut outcome = None;
    for (nth, record) in (0..).zip(&batch.records) {
        if served(record).is_some() {
            outcome = Some(record);
        } else if let (Entry::Admitted { .. }, Some(before)) = (&record.entry, outcome) {
            let what = format!("{} after {} in one batch", kind(record), kind(before));
            return Err(Violation::at(Property::S8, nth_of(history, nth), what));
        }
    }
    Ok(())
}

fn batch_is_within_its_limit(history: &History, terms: &AuditTerms, batch: &Batch) -> Result<(), Violation> {
    let Some(limit) = terms.batch_limit.map(|limit| limit as usize) else { return Ok(()) };
    if batch.records.len() > limit {
        let what = format!("a batch of {} records, where {limit} are the most", batch.records.len());
        return Err(Violation::at(Property::R5, nth_of(history, limit), what));
    }
    Ok(())
}

fn batch_is_in_order(history: &History, _: &AuditTerms, batch: &Batch) -> Result<(), Violation> {
    let turn = |record: &Record, before: u8| match record.entry {
        Entry::Claimed { .. } | Entry::Deposited(_) => 0,
        Entry::Seated { .. } | Entry::Unseated { .. } => 1,
        // In the stable order, each request is admitted when it is served, or when its buyer is seated.
        Entry::Admitted { .. } if history.ordering == Ordering::Stable => before.max(1),
        Entry::Admitted { .. } => 2,
        Entry::Sold(_) | Entry::Refused { .. } => 3,
        Entry::Resigned => 4,
    };
    let mut before: Option<(&Record, u8)> = None;
    for (nth, record) in (0_usize..).zip(&batch.records) {
        let turn = turn(record, before.map_or(0, |(_, turn)| turn));
        if let Some((before, its)) = before
            && (turn < its || before.entry == Entry::Resigned)
        {
            let what = format!("{} after {} in one batch", kind(record), kind(before));
            return Err(Violation::at(Property::R5, nth_of(history, nth), what));
        }
        before = Some((record, turn));
    }
    Ok(())
}

/// The position of the `nth` record of the next batch, from 0.
fn nth_of(history: &History, nth: usize) -> Position {
    Position(history.position.0 + nth as u64)
}

fn kind(record: &Record) -> &'static str {
    match record.entry {
        Entry::Claimed { .. } => "a claim",
        Entry::Seated { .. } => "a seat",
        Entry::Unseated { .. } => "the end of a seat",
        Entry::Deposited(_) => "a deposit",
        Entry::Admitted { .. } => "an admission",
        Entry::Sold(_) => "a sale",
        Entry::Refused { .. } => "a refusal",
        Entry::Resigned => "a resignation",
    }
}

/// The request whose outcome a record is.
fn served(record: &Record) -> Option<RequestId> {
    match &record.entry {
        Entry::Sold(Sale { request, .. }) | Entry::Refused { request, .. } => Some(*request),
        Entry::Claimed { .. }
        | Entry::Deposited(_)
        | Entry::Seated { .. }
        | Entry::Unseated { .. }
        | Entry::Admitted { .. }
        | Entry::Resigned => None,
    }
}

/// An amount in cents, as people read it.
fn amount(cents: u128) -> String {
    format!("{}.{:02}", cents / 100, cents % 100)
}

fn number_or_none(n: Option<u64>) -> String {
    n.map_or_else(|| String::from("none"), number)
}
