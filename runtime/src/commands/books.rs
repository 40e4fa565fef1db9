//! `bazaar books` and `bazaar audit`.

use std::{collections::BTreeMap, fmt::Write as _, process::ExitCode};

use bazaar_protocol::{
    books::Books,
    id::{Epoch, PeerId, Position},
    invariant::{AuditReport, AuditTerms, audit_batches},
    record::{Batch, Entry, Record},
    words::Names as _,
};
use bazaar_runtime::{config::BazaarConfig, processes::report::Names, tools::access::Run};
use serde::Serialize;
use serde_json::json;

use super::cli::{Audit, Books as Flags, Page};
use super::{Failure, block_on, member::names, print, print_json, which_run};

pub fn show(flags: &Flags) -> Result<ExitCode, Failure> {
    let run = Run::at(&which_run(&flags.which)?)?;
    let log = block_on(async { Ok(run.log().await?) })?;
    let names = names(run.config());
    let page = match flags.page {
        Page::Stock => stock(&fold(&log)?, &names),
        Page::Queue => queue(&fold(&log)?, &names),
        Page::Accounts => accounts(&fold(&log)?, &names),
        Page::Sales => sales(&log, &names),
        Page::Terms => terms_page(&log, &names),
        Page::Log => log_page(&log, &names),
    };
    if flags.json {
        print_json(&page.json)?;
    } else {
        print(&page.text());
    }
    Ok(ExitCode::SUCCESS)
}

pub fn audit(flags: &Audit) -> Result<ExitCode, Failure> {
    let run = Run::at(&which_run(&flags.which)?)?;
    let log = block_on(async { Ok(run.log().await?) })?;
    let report = audited(&log, run.config());
    if flags.json {
        print_json(&report)?;
    } else {
        print(&verdict(&report));
    }
    Ok(if report.is_clean() { ExitCode::SUCCESS } else { ExitCode::from(1) })
}

/// The audit of a log under a run's terms.
pub fn audited(log: &[Batch], config: &BazaarConfig) -> AuditReport {
    let terms = config.terms();
    let terms = AuditTerms {
        commission: Some(terms.commission),
        resign_after: Some(terms.resign_after),
        batch_limit: Some(terms.batch_limit),
    };
    audit_batches(log, terms)
}

/// An audit's verdict in words, for people.
pub fn verdict(report: &AuditReport) -> String {
    let totals = &report.totals;
    let mut text = String::new();
    // Writing to a string cannot fail.
    let held: Vec<String> =
        report.verdicts.iter().filter(|(_, violation)| violation.is_none()).map(|(p, _)| p.to_string()).collect();
    for violation in report.violations() {
        let _ = writeln!(text, "VIOLATED {violation}\n         {}", violation.property.sentence());
    }
    let word = if report.is_clean() { "the audit holds" } else { "THE AUDIT FAILS" };
    let _ = writeln!(text, "{word}: {} records in {} terms; holding: {}", totals.records, totals.terms, held.join(" "));
    text
}

fn fold(log: &[Batch]) -> Result<Books, Failure> {
    let mut books = Books::default();
    for record in log.iter().flat_map(|batch| &batch.records) {
        books.apply(record).map_err(bazaar_runtime::tools::access::AccessError::from)?;
    }
    Ok(books)
}

/// A page of the books: a table for people, and the same as JSON.
struct PageOut {
    head: Vec<&'static str>,
    rows: Vec<Vec<String>>,
    foot: String,
    json: serde_json::Value,
}

impl PageOut {
    fn text(&self) -> String {
        let mut text = table(&self.head, &self.rows);
        text.push_str(&self.foot);
        text
    }
}

/// Lays out a table with columns as wide as needed, and numbers aligned to the right.
pub fn table(head: &[&str], rows: &[Vec<String>]) -> String {
    let width = |column: usize| {
        let cells = rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count());
        cells.chain(head.get(column).map(|name| name.chars().count())).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..head.len()).map(width).collect();
    let is_number = |cell: &str| cell.starts_with(|c: char| c.is_ascii_digit()) && !cell.contains(' ');
    let line = |cells: &[&str]| {
        let padded = cells
            .iter()
            .zip(&widths)
            .map(|(cell, width)| if is_number(cell) { format!("{cell:>width$}") } else { format!("{cell:<width$}") });
        padded.collect::<Vec<_>>().join("  ").trim_end().to_owned() + "\n"
    };
    let mut text = line(head);
    for row in rows {
        text.push_str(&line(&row.iter().map(String::as_str).collect::<Vec<_>>()));
    }
    text
}

fn stock(books: &Books, names: &Names) -> PageOut {
    let deposits = books.sellers().iter().filter_map(|(seller, account)| Some((*seller, account.deposit.as_ref()?)));
    let (mut rows, mut json) = (Vec::new(), Vec::new());
    for (seller, deposit) in deposits {
        let price = deposit.price.times(bazaar_protocol::id::Units(1));
        rows.push(vec![
            names.peer(seller),
            names.item(deposit.item),
            deposit.count.to_string(),
            deposit.left.to_string(),
            price.to_string(),
        ]);
        json.push(json!({
            "seller": seller, "number": deposit.number, "item": names.item(deposit.item),
            "deposited": deposit.count, "left": deposit.left, "left_over": deposit.leftover,
            "price_cents": deposit.price,
        }));
    }
    PageOut { head: vec!["seller", "item", "deposited", "left", "price"], rows, foot: String::new(), json: json.into() }
}

fn queue(books: &Books, names: &Names) -> PageOut {
    let (mut rows, mut json) = (Vec::new(), Vec::new());
    for request in books.queue() {
        rows.push(vec![
            request.stamp.time.to_string(),
            names.peer(request.id.buyer),
            request.quantity.to_string(),
            names.item(request.item),
        ]);
        json.push(json!({
            "clock": request.stamp.time, "buyer": request.id.buyer, "sequence": request.id.sequence,
            "item": names.item(request.item), "quantity": request.quantity,
        }));
    }
    PageOut { head: vec!["clock", "buyer", "quantity", "item"], rows, foot: String::new(), json: json.into() }
}

fn accounts(books: &Books, names: &Names) -> PageOut {
    let ids = books.buyers().keys().chain(books.sellers().keys()).chain(books.traders().keys());
    let ids: std::collections::BTreeSet<PeerId> = ids.copied().collect();
    let (mut rows, mut json) = (Vec::new(), Vec::new());
    for id in ids {
        let buyer = books.buyers().get(&id).cloned().unwrap_or_default();
        let seller = books.sellers().get(&id).cloned().unwrap_or_default();
        let trader = books.traders().get(&id).copied().unwrap_or_default();
        rows.push(vec![
            names.peer(id),
            buyer.bought.to_string(),
            buyer.spent.to_string(),
            seller.sales.to_string(),
            seller.earned.to_string(),
            trader.sales.to_string(),
            trader.commission.to_string(),
        ]);
        json.push(json!({
            "peer": id, "units_bought": buyer.bought, "spent_cents": buyer.spent, "sales": seller.sales,
            "earned_cents": seller.earned, "sales_in_office": trader.sales, "commission_cents": trader.commission,
        }));
    }
    let spent: bazaar_protocol::money::Cents = books.buyers().values().map(|account| account.spent).sum();
    let earned: bazaar_protocol::money::Cents = books.sellers().values().map(|account| account.earned).sum();
    let kept: bazaar_protocol::money::Cents = books.traders().values().map(|account| account.commission).sum();
    let head = vec!["peer", "bought", "spent", "sold", "earned", "sold in office", "commission"];
    PageOut { head, rows, foot: format!("{spent} spent = {earned} earned + {kept} commission\n"), json: json.into() }
}

fn with_positions(log: &[Batch]) -> impl Iterator<Item = (Epoch, Position, &Record)> {
    log.iter().flat_map(|batch| {
        batch.records.iter().enumerate().map(|(nth, record)| (batch.epoch, batch.position.plus(nth), record))
    })
}

fn sales(log: &[Batch], names: &Names) -> PageOut {
    let (mut rows, mut json) = (Vec::new(), Vec::new());
    for (epoch, position, record) in with_positions(log) {
        let Entry::Sold(sale) = &record.entry else { continue };
        rows.push(vec![
            position.to_string(),
            epoch.to_string(),
            record.stamp.time.to_string(),
            names.peer(sale.request.buyer),
            sale.quantity.to_string(),
            names.item(sale.item),
            names.peer(sale.deposit.seller),
            sale.paid().to_string(),
            sale.earned.to_string(),
            sale.commission.to_string(),
        ]);
        json.push(json!({
            "position": position, "epoch": epoch, "clock": record.stamp.time, "trader": record.stamp.peer,
            "buyer": sale.request.buyer, "sequence": sale.request.sequence, "seller": sale.deposit.seller,
            "deposit": sale.deposit.number, "item": names.item(sale.item), "quantity": sale.quantity,
            "paid_cents": sale.paid(), "earned_cents": sale.earned, "commission_cents": sale.commission,
        }));
    }
    let head = vec!["record", "epoch", "clock", "buyer", "units", "item", "seller", "paid", "earned", "commission"];
    PageOut { head, rows, foot: String::new(), json: json.into() }
}

/// A term of office.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct TermLine {
    /// Its epoch.
    epoch: Epoch,
    /// Who held it.
    trader: PeerId,
    /// The record it began with.
    from: Position,
    /// How many sales were made in it.
    sales: u64,
    /// How many requests were refused in it.
    refusals: u64,
    /// How it ended; `None` if it has not.
    end: Option<TermEnd>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
enum TermEnd {
    Resigned,
    /// The office was claimed again: the trader crashed, hung, was cut off, or had stepped down.
    Replaced {
        by: PeerId,
    },
}

impl TermLine {
    /// The term in words, on one line.
    pub fn text(&self, names: &Names) -> String {
        let end = match self.end {
            Some(TermEnd::Resigned) => "resigned".to_owned(),
            Some(TermEnd::Replaced { by }) if by == self.trader => "restarted and claimed again".to_owned(),
            Some(TermEnd::Replaced { by }) => format!("replaced by {} (crashed, hung or cut off)", names.peer(by)),
            None => "in office at the end".to_owned(),
        };
        let TermLine { epoch, sales, refusals, .. } = self;
        format!("epoch {epoch}: {} was trader, {sales} sales, {refusals} refusals; {end}", names.peer(self.trader))
    }
}

/// All terms in order: who was trader, and how it ended.
pub fn terms(log: &[Batch]) -> Vec<TermLine> {
    let mut terms: BTreeMap<Epoch, TermLine> = BTreeMap::new();
    for (epoch, position, record) in with_positions(log) {
        if let Entry::Claimed { holder, .. } = &record.entry {
            let by = holder.peer;
            if let Some(mut last) = terms.last_entry().filter(|last| last.get().end.is_none()) {
                last.get_mut().end = Some(TermEnd::Replaced { by });
            }
            let fresh = TermLine { epoch, trader: by, from: position, sales: 0, refusals: 0, end: None };
            terms.insert(epoch, fresh);
        } else if let Some(mut last) = terms.last_entry() {
            match &record.entry {
                Entry::Sold(_) => last.get_mut().sales += 1,
                Entry::Refused { .. } => last.get_mut().refusals += 1,
                Entry::Resigned => last.get_mut().end = Some(TermEnd::Resigned),
                Entry::Claimed { .. } | Entry::Deposited(_) | Entry::Admitted(_) => {}
            }
        }
    }
    terms.into_values().collect()
}

fn terms_page(log: &[Batch], names: &Names) -> PageOut {
    let terms = terms(log);
    let rows = terms.iter().map(|term| {
        let end = match term.end {
            Some(TermEnd::Resigned) => "resigned".to_owned(),
            Some(TermEnd::Replaced { by }) => format!("replaced by {}", names.peer(by)),
            None => "in office".to_owned(),
        };
        let numbers = [term.from.to_string(), term.sales.to_string(), term.refusals.to_string()];
        [vec![term.epoch.to_string(), names.peer(term.trader)], numbers.to_vec(), vec![end]].concat()
    });
    let head = vec!["epoch", "trader", "from record", "sales", "refusals", "ended"];
    PageOut { head, rows: rows.collect(), foot: String::new(), json: json!(terms) }
}

fn log_page(log: &[Batch], names: &Names) -> PageOut {
    let (mut rows, mut json) = (Vec::new(), Vec::new());
    for (epoch, position, record) in with_positions(log) {
        let text = match &record.entry {
            Entry::Claimed { holder, .. } => {
                format!("{} (life {}) takes office", names.peer(holder.peer), holder.incarnation)
            }
            Entry::Deposited(deposit) => format!(
                "{} deposits {} {} at {}",
                names.peer(deposit.id.seller),
                deposit.count,
                names.item(deposit.item),
                deposit.price.times(bazaar_protocol::id::Units(1))
            ),
            Entry::Admitted(request) => format!(
                "{} wants {} {} (clock {})",
                names.peer(request.id.buyer),
                request.quantity,
                names.item(request.item),
                request.stamp.time
            ),
            Entry::Sold(sale) => format!(
                "{} buys {} {} of {} for {} = {} + {}",
                names.peer(sale.request.buyer),
                sale.quantity,
                names.item(sale.item),
                names.peer(sale.deposit.seller),
                sale.paid(),
                sale.earned,
                sale.commission
            ),
            Entry::Refused { request, leftover: None } => {
                format!("{} is refused: nobody can fill it", names.peer(request.buyer))
            }
            Entry::Refused { request, leftover: Some(deposit) } => format!(
                "{} is refused: nobody can fill it; {} has too little left",
                names.peer(request.buyer),
                names.peer(deposit.seller)
            ),
            Entry::Resigned => "the trader resigns".to_owned(),
        };
        rows.push(vec![position.to_string(), epoch.to_string(), record.stamp.time.to_string(), text]);
        json.push(json!({ "position": position, "epoch": epoch, "record": record }));
    }
    PageOut { head: vec!["record", "epoch", "clock", "what"], rows, foot: String::new(), json: json.into() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_aligned_right_and_words_left() {
        let rows = [vec!["1".to_owned(), "a".to_owned()], vec!["20".to_owned(), "bb".to_owned()]];
        assert_eq!(table(&["n", "word"], &rows), "n   word\n 1  a\n20  bb\n");
    }
}
