//! `bazaar books` and `bazaar audit`.

use std::{collections::BTreeMap, fmt::Write as _, path::Path, process::ExitCode};

use bazaar_protocol::{
    books::Books,
    clock::Time,
    id::{DepositId, Epoch, PeerId, Position, RequestId},
    invariant::{AuditReport, AuditTerms},
    ledger::LedgerFault,
    record::{Entry, Record, Request},
    text::counted,
    words::Names as _,
};
use bazaar_runtime::{
    config::BazaarConfig,
    processes::report::Names,
    schema::{RecordLine, Schema as _},
    store::{Backup, KeptLog, witness::Gone},
    system::output::complain,
    tools::access::{AccessError, Run},
};
use serde::Serialize;
use serde_json::json;

use super::cli::{Audit, Books as Flags, Page, Which};
use super::{Failure, backup::config_in, block_on, print, print_json, table::table, which_run};

pub fn show(flags: &Flags) -> Result<ExitCode, Failure> {
    let Source { config, log, gone } = Source::of(&flags.which, flags.backup.as_deref())?;
    let names = Names::of(&config);
    if !log.is_whole() && matches!(flags.page, Page::Sales | Page::Terms | Page::Log) {
        complain(&format!("warning: this begins at record {}: the ones before are not kept", log.first()));
    }
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
        print(&page.text())?;
    }
    gone.map_or(Ok(ExitCode::SUCCESS), |gone| Err(gone.into()))
}

/// Where books are read from: a run, or a backup of its ledger.
struct Source {
    config: BazaarConfig,
    log: KeptLog,
    gone: Option<Gone>,
}

impl Source {
    fn of(which: &Which, backup: Option<&Path>) -> Result<Source, Failure> {
        match backup {
            Some(file) => {
                let backup = Backup::read(file)?;
                let config = config_in(&backup, file)?.check()?;
                Ok(Source { config, log: backup.log, gone: None })
            }
            None => {
                let run = Run::at(&which_run(which)?)?;
                let log = block_on(async { Ok(run.log().await?) })?;
                log.warn();
                Ok(Source { config: run.config().clone(), log: log.kept, gone: log.gone })
            }
        }
    }
}

pub fn audit(flags: &Audit) -> Result<ExitCode, Failure> {
    let Source { config, log, gone } = Source::of(&flags.which, flags.backup.as_deref())?;
    let audited = Audited { report: audit_of(&log, &config), gone };
    if flags.json {
        print_json(&audited.json())?;
    } else {
        print(&audited.verdict())?;
    }
    Ok(if audited.is_clean() { ExitCode::SUCCESS } else { ExitCode::from(1) })
}

/// What an audit of a run's books has found.
#[derive(Debug)]
pub struct Audited {
    /// What the log shows.
    pub report: AuditReport,
    /// What the log cannot show: that it is not all of it.
    pub gone: Option<Gone>,
}

/// The audit of a log under a run's terms.
pub fn audit_of(log: &KeptLog, config: &BazaarConfig) -> AuditReport {
    log.audit(AuditTerms::of(config.terms()))
}

impl Audited {
    /// The audit of a run's books.
    ///
    /// # Errors
    /// When they cannot be read.
    pub async fn of(run: &Run) -> Result<Audited, Failure> {
        let log = run.log().await?;
        Ok(Audited { report: audit_of(&log.kept, run.config()), gone: log.gone })
    }

    /// Whether everything that was checked holds, and nothing is known to be gone.
    pub fn is_clean(&self) -> bool {
        self.report.is_clean() && self.gone.is_none()
    }

    /// The audit as JSON.
    pub fn json(&self) -> serde_json::Value {
        let report = &self.report;
        let verdicts = report.verdicts.iter().map(|(property, violation)| {
            let violation =
                violation.as_ref().map(|violation| json!({ "position": violation.position, "what": violation.what }));
            json!({ "property": property, "holds": violation.is_none(), "violation": violation })
        });
        let gone = self.gone.map(|Gone(LedgerFault { witness, seen, .. })| {
        json!({ "peer": witness.peer, "life": witness.incarnation, "epoch": seen.epoch, "records": seen.head })
    });
        json!({ "holds": self.is_clean(), "verdicts": verdicts.collect::<Vec<_>>(), "totals": report.totals, "gone": gone })
    }

    /// The verdict in words, for people.
    pub fn verdict(&self) -> String {
        let report = &self.report;
        let totals = &report.totals;
        let mut text = String::new();
        // Writing to a string cannot fail.
        let held: Vec<String> =
            report.verdicts.iter().filter(|(_, violation)| violation.is_none()).map(|(p, _)| p.to_string()).collect();
        if totals.first_record > Position(0) {
            let _ = writeln!(
                text,
                "from record {first} on: the {before} before are not kept, and what they add up to is taken as the \
                 snapshot there has it",
                first = totals.first_record,
                before = counted(totals.first_record.0, "record")
            );
        }
        for violation in report.violations() {
            let _ = writeln!(text, "VIOLATED {violation}\n         {}", violation.property.sentence());
        }
        if let Some(gone) = &self.gone {
            let _ = writeln!(text, "GONE: {gone}");
        }
        let word = if self.is_clean() { "the audit holds" } else { "THE AUDIT FAILS" };
        if let Some(ordering) = totals.ordering {
            let _ = writeln!(
                text,
                "order {}: {} of {} after a later-stamped one, {} late",
                ordering.name(),
                totals.overtaken,
                counted(totals.sales + totals.refusals, "outcome"),
                counted(totals.late, "request"),
            );
        }
        let _ = writeln!(
            text,
            "{word}: {} in {}\nholding: {}",
            counted(totals.records, "record"),
            counted(totals.terms, "term"),
            held.join(" ")
        );
        text
    }
}

fn fold(log: &KeptLog) -> Result<Books, Failure> {
    Ok(log.fold().map_err(AccessError::from)?)
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
            "deposit": DepositId { seller, number: deposit.number }.show(names), "item": deposit.item.show(names),
            "units": deposit.count, "units_left": deposit.left, "left_over": deposit.leftover,
            "price_cents": deposit.price,
        }));
    }
    PageOut { head: vec!["seller", "item", "deposited", "left", "price"], rows, foot: String::new(), json: json.into() }
}

fn queue(books: &Books, names: &Names) -> PageOut {
    let (mut rows, mut json) = (Vec::new(), Vec::new());
    for (request, place) in with_places(books) {
        rows.push(vec![
            request.stamp.time.to_string(),
            place_text(request.stamp.time, place),
            names.peer(request.id.buyer),
            request.quantity.to_string(),
            names.item(request.item),
        ]);
        json.push(json!({
            "request": request.id.show(names), "item": request.item.show(names), "units": request.quantity,
            "stamp": request.stamp.time, "place": place, "late": request.is_late_at(place),
        }));
    }
    PageOut { head: vec!["stamp", "place", "buyer", "units", "item"], rows, foot: String::new(), json: json.into() }
}

/// The requests that wait, each with its place.
fn with_places(books: &Books) -> impl Iterator<Item = (&Request, Time)> {
    books.queue().map(|request| {
        let open = books.buyers().get(&request.id.buyer).and_then(|account| account.open);
        (request, open.map_or(request.stamp.time, |open| open.time))
    })
}

/// A request's place in words: late, if it is not the request's own stamp (SPEC C5).
fn place_text(stamp: Time, place: Time) -> String {
    if place == stamp { place.to_string() } else { format!("{place} late") }
}

/// The page of accounts as text.
pub fn accounts_text(log: &KeptLog, names: &Names) -> Result<String, Failure> {
    Ok(accounts(&fold(log)?, names).text())
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
            "peer": id, "units_bought": buyer.bought, "paid_cents": buyer.spent, "sales": seller.sales,
            "earned_cents": seller.earned, "sales_in_office": trader.sales, "commission_cents": trader.commission,
        }));
    }
    let spent: bazaar_protocol::money::Cents = books.buyers().values().map(|account| account.spent).sum();
    let earned: bazaar_protocol::money::Cents = books.sellers().values().map(|account| account.earned).sum();
    let kept: bazaar_protocol::money::Cents = books.traders().values().map(|account| account.commission).sum();
    let head = vec!["peer", "bought", "spent", "sold", "earned", "sold in office", "commission"];
    PageOut { head, rows, foot: format!("{spent} spent = {earned} earned + {kept} commission\n"), json: json.into() }
}

fn with_positions(log: &KeptLog) -> impl Iterator<Item = (Epoch, Position, &Record)> {
    log.batches().iter().flat_map(|batch| {
        batch.records.iter().enumerate().map(|(nth, record)| (batch.epoch, batch.position.plus(nth), record))
    })
}

fn sales(log: &KeptLog, names: &Names) -> PageOut {
    let (mut rows, mut json) = (Vec::new(), Vec::new());
    // Of each request its stamp and its place.
    let mut admitted: BTreeMap<RequestId, (Time, Time)> =
        with_places(log.books_at_start()).map(|(request, place)| (request.id, (request.stamp.time, place))).collect();
    for (epoch, position, record) in with_positions(log) {
        if let Entry::Admitted { request, place } = &record.entry {
            admitted.insert(request.id, (request.stamp.time, *place));
        }
        let Entry::Sold(sale) = &record.entry else { continue };
        let (stamp, place) = admitted.get(&sale.request).copied().unwrap_or_default();
        rows.push(vec![
            position.to_string(),
            epoch.to_string(),
            record.stamp.time.to_string(),
            stamp.to_string(),
            place_text(stamp, place),
            names.peer(sale.request.buyer),
            sale.quantity.to_string(),
            names.item(sale.item),
            names.peer(sale.deposit.seller),
            sale.paid().to_string(),
            sale.earned.to_string(),
            sale.commission.to_string(),
        ]);
        json.push(json!({
            "position": position, "epoch": epoch, "trader": record.stamp.peer, "clock": record.stamp.time,
            "stamp": stamp, "place": place, "late": place != stamp, "sale": sale.show(names),
        }));
    }
    let head = [
        vec!["record", "epoch", "clock", "stamp", "place", "buyer", "units", "item", "seller"],
        vec!["paid", "earned", "commission"],
    ];
    PageOut { head: head.concat(), rows, foot: String::new(), json: json.into() }
}

/// A term of office.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TermLine {
    /// Its epoch.
    epoch: Epoch,
    /// Who held it.
    trader: PeerId,
    /// The record it began with; of one that began before the records that are kept, the first of these.
    from: Position,
    /// Whether it began there.
    is_whole: bool,
    /// How many sales were made in it from there on.
    sales: u64,
    /// How many requests were refused in it from there on.
    refusals: u64,
    /// How it ended; `None` if it has not.
    end: Option<TermEnd>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum TermEnd {
    Resigned,
    /// The office was claimed again: the trader crashed, hung, was cut off, or had stepped down.
    Replaced {
        by: PeerId,
    },
}

impl TermLine {
    /// Who held it.
    pub fn trader(&self) -> PeerId {
        self.trader
    }

    /// The term as JSON.
    pub fn json(&self) -> serde_json::Value {
        let TermLine { epoch, trader, from, is_whole, sales, refusals, end } = self;
        let (ended, replaced_by) = match end {
            None => (None, None),
            Some(TermEnd::Resigned) => (Some("resigned"), None),
            Some(TermEnd::Replaced { by }) => (Some("replaced"), Some(by)),
        };
        json!({
            "epoch": epoch, "trader": trader, "position": from, "whole": is_whole, "sales": sales, "refusals": refusals,
            "ended": ended, "replaced_by": replaced_by,
        })
    }

    /// The term in words, on one line.
    pub fn text(&self, names: &Names) -> String {
        let end = match self.end {
            Some(TermEnd::Resigned) => "resigned".to_owned(),
            Some(TermEnd::Replaced { by }) if by == self.trader => "restarted and claimed again".to_owned(),
            Some(TermEnd::Replaced { by }) => format!("replaced by {} (crashed, hung or cut off)", names.peer(by)),
            None => "in office at the end".to_owned(),
        };
        let TermLine { epoch, from, sales, refusals, .. } = self;
        let (sales, refusals) = (counted(*sales, "sale"), counted(*refusals, "refusal"));
        let since = if self.is_whole { String::new() } else { format!(" from record {from} on") };
        format!("epoch {epoch}: {} was trader, {sales}, {refusals}{since}; {end}", names.peer(self.trader))
    }
}

/// All terms in order, from that on that was under way at the first record: who was trader, and how it ended.
pub fn terms(log: &KeptLog) -> Vec<TermLine> {
    let new =
        |epoch, trader, from, is_whole| TermLine { epoch, trader, from, is_whole, sales: 0, refusals: 0, end: None };
    let under_way = log.books_at_start().term().filter(|term| !term.ended);
    let under_way = under_way.map(|term| (term.epoch, new(term.epoch, term.holder.peer, log.first(), false)));
    let mut terms: BTreeMap<Epoch, TermLine> = under_way.into_iter().collect();
    for (epoch, position, record) in with_positions(log) {
        if let Entry::Claimed { holder, .. } = &record.entry {
            let by = holder.peer;
            if let Some(mut last) = terms.last_entry().filter(|last| last.get().end.is_none()) {
                last.get_mut().end = Some(TermEnd::Replaced { by });
            }
            terms.insert(epoch, new(epoch, by, position, true));
        } else if let Some(mut last) = terms.last_entry() {
            match &record.entry {
                Entry::Sold(_) => last.get_mut().sales += 1,
                Entry::Refused { .. } => last.get_mut().refusals += 1,
                Entry::Resigned => last.get_mut().end = Some(TermEnd::Resigned),
                Entry::Claimed { .. }
                | Entry::Deposited(_)
                | Entry::Seated { .. }
                | Entry::Unseated { .. }
                | Entry::Admitted { .. } => {}
            }
        }
    }
    terms.into_values().collect()
}

fn terms_page(log: &KeptLog, names: &Names) -> PageOut {
    let terms = terms(log);
    let rows = terms.iter().map(|term| {
        let end = match term.end {
            Some(TermEnd::Resigned) => "resigned".to_owned(),
            Some(TermEnd::Replaced { by }) => format!("replaced by {}", names.peer(by)),
            None => "in office".to_owned(),
        };
        let before = if term.is_whole { "" } else { "before " };
        let numbers = [format!("{before}{}", term.from), term.sales.to_string(), term.refusals.to_string()];
        [vec![term.epoch.to_string(), names.peer(term.trader)], numbers.to_vec(), vec![end]].concat()
    });
    let head = vec!["epoch", "trader", "from record", "sales", "refusals", "ended"];
    PageOut { head, rows: rows.collect(), foot: String::new(), json: terms.iter().map(TermLine::json).collect() }
}

/// A record with its place, as JSON.
#[derive(Serialize)]
struct LogLine {
    position: Position,
    epoch: Epoch,
    #[serde(flatten)]
    record: RecordLine,
}

fn log_page(log: &KeptLog, names: &Names) -> PageOut {
    let (mut rows, mut json) = (Vec::new(), Vec::new());
    for (epoch, position, record) in with_positions(log) {
        let text = match &record.entry {
            Entry::Claimed { holder, ordering, .. } => format!(
                "{} (life {}) takes office, order {}",
                names.peer(holder.peer),
                holder.incarnation,
                ordering.name()
            ),
            Entry::Deposited(deposit) => format!(
                "{} deposits {} {} at {}",
                names.peer(deposit.id.seller),
                deposit.count,
                names.item(deposit.item),
                deposit.price.times(bazaar_protocol::id::Units(1))
            ),
            Entry::Seated { buyer, above } => {
                format!("{} (life {}) has a seat above {above}", names.peer(buyer.peer), buyer.incarnation)
            }
            Entry::Unseated { buyer } => {
                format!("{} was not heard for too long and loses its seat", names.peer(*buyer))
            }
            Entry::Admitted { request, place } => {
                let late = if request.is_late_at(*place) { format!(", late: place {place}") } else { String::new() };
                format!(
                    "{} wants {} {} (clock {}{late})",
                    names.peer(request.id.buyer),
                    request.quantity,
                    names.item(request.item),
                    request.stamp.time
                )
            }
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
        json.push(json!(LogLine { position, epoch, record: record.show(names) }));
    }
    PageOut { head: vec!["record", "epoch", "clock", "what"], rows, foot: String::new(), json: json.into() }
}
