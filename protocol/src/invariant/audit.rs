//! All checks of a log in one pass.

use alloc::{collections::BTreeMap, vec::Vec};

use serde::{Deserialize, Serialize};

use super::{
    Property, Violation,
    history::{History, Stock},
    log::{BATCH_CHECKS, CHECKS, admitted_are_open_or_settled, the_last_sale_was_followed},
};
use crate::{
    books::Books,
    config::{Ordering, Terms},
    id::{Epoch, Position},
    money::{Cents, Commission},
    record::{Batch, Record},
};

/// What the auditor knows about the terms of trade. It does not check what it does not know.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct AuditTerms {
    /// The traders' share; `None`: any share, as long as the money adds up.
    pub commission: Option<Commission>,
    /// The number of sales after which a trader resigns; `None`: any.
    pub resign_after: Option<u32>,
    /// The most records in a batch; `None`: any number.
    pub batch_limit: Option<u32>,
}

impl AuditTerms {
    /// The terms of a run, all of them known.
    #[must_use]
    pub fn of(terms: Terms) -> AuditTerms {
        AuditTerms {
            commission: Some(terms.commission),
            resign_after: Some(terms.resign_after),
            batch_limit: Some(terms.batch_limit),
        }
    }
}

/// What an audit found: a verdict on every property that shows in the log, and what the log adds up to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AuditReport {
    /// Every property that was checked, in order, each with its first violation.
    pub verdicts: Vec<(Property, Option<Violation>)>,
    /// What the log adds up to. For a log with violations, what its records claim.
    pub totals: AuditTotals,
}

impl AuditReport {
    /// Whether everything that was checked holds.
    #[must_use]
    pub fn is_clean(&self) -> bool {
        self.violations().next().is_none()
    }

    /// The first violation of each property that has one.
    pub fn violations(&self) -> impl Iterator<Item = &Violation> {
        self.verdicts.iter().filter_map(|(_, violation)| violation.as_ref())
    }
}

/// What a log adds up to from the first record on that was audited. In JSON, each amount and each count says of what it is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct AuditTotals {
    /// The first record that was audited: 0, unless the ones before it are not kept any more. Everything is counted from
    /// here on, but what is left or waits at the end.
    pub first_record: Position,
    /// How many records there are from there on.
    pub records: u64,
    /// How many terms there were: those that were claimed, and the one that was under way at the first record.
    pub terms: u64,
    /// How many terms were resigned.
    pub resignations: u64,
    /// The latest epoch.
    pub epoch: Epoch,
    /// How many deposits were booked.
    pub deposits: u64,
    /// How many units were deposited. Units are capped at the largest number there is.
    pub units_deposited: u64,
    /// How many units were sold.
    pub units_sold: u64,
    /// How many units their sellers took back, when too little was left for what was asked.
    pub units_returned: u64,
    /// How many units are left, added up deposit by deposit.
    pub units_left: u64,
    /// How many requests were admitted.
    pub requests: u64,
    /// How many requests wait.
    #[serde(rename = "requests_open")]
    pub open: u64,
    /// How many requests were filled.
    pub sales: u64,
    /// How many requests were refused.
    pub refusals: u64,
    /// In which order requests were served; `None` before the first claim.
    pub ordering: Option<Ordering>,
    /// How many outcomes came after one, from the first record on, of a request with a later stamp (SPEC C5).
    #[serde(rename = "outcomes_overtaken")]
    pub overtaken: u64,
    /// How many requests were late: given another place, since their own had been passed (SPEC C5).
    #[serde(rename = "requests_late")]
    pub late: u64,
    /// What the buyers paid in total.
    #[serde(rename = "paid_cents")]
    pub paid: Cents,
    /// What the sellers earned in total.
    #[serde(rename = "earned_cents")]
    pub earned: Cents,
    /// What the traders kept in total.
    #[serde(rename = "commission_cents")]
    pub commission: Cents,
}

/// An audit in progress: give it the log, then ask for the report. It continues after a violation, so that every property
/// gets its verdict. Its memory grows by a few words for each request and deposit.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct LogAudit {
    terms: AuditTerms,
    history: History,
    /// Whether the log is divided into batches, without which R5 does not show in it.
    by_batch: bool,
    first: BTreeMap<Property, Violation>,
}

impl LogAudit {
    /// The properties that show in a log. R5 shows only if the log is divided into batches.
    pub const PROPERTIES: [Property; 15] = [
        Property::S1,
        Property::S2,
        Property::S3,
        Property::S4,
        Property::S5,
        Property::S6,
        Property::S7,
        Property::S8,
        Property::S9,
        Property::S13,
        Property::S14,
        Property::R5,
        Property::B6,
        Property::B7,
        Property::D8,
    ];

    /// An audit before the first record.
    #[must_use]
    pub fn new(terms: AuditTerms) -> LogAudit {
        LogAudit { terms, ..LogAudit::default() }
    }

    /// An audit of a log whose records up to the end of these books, where a batch ends, are not kept any more. What they
    /// add up to is believed.
    ///
    /// What follows violates a property here if and only if it does where all records are known, but for two things that
    /// only those before show, and that are not checked: that the first request or deposit of a client is stamped later
    /// than what it answers (S7), and that a request of the trader in office that is stamped before the end of these books
    /// was made before its claim (B7). It may be another property: a second outcome of a request that is forgotten is one
    /// of a request that was never admitted (S3 instead of S4), a former trader is a stranger (S1 instead of S2), and whose
    /// an earlier epoch was is not known (S2 instead of S1).
    #[must_use]
    pub fn after(books: &Books, terms: AuditTerms) -> LogAudit {
        LogAudit { terms, history: History::after(books), ..LogAudit::default() }
    }

    /// The position of the next record.
    #[must_use]
    pub fn position(&self) -> Position {
        self.history.position
    }

    pub(super) fn history(&self) -> &History {
        &self.history
    }

    /// Takes the next record.
    ///
    /// # Errors
    /// The first property that this record violates. The audit has noted it and all others, and continues.
    pub fn observe(&mut self, record: &Record) -> Result<(), Violation> {
        let mut found = Ok(());
        for check in CHECKS {
            let checked = check(&self.history, &self.terms, record);
            found = found.and(self.note(checked));
        }
        self.history.absorb(record);
        found
    }

    /// Takes the next batch, if the log is divided into batches: checks the batch, then each of its records.
    ///
    /// # Errors
    /// As for [`observe`](LogAudit::observe), for all its records.
    pub fn observe_batch(&mut self, batch: &Batch) -> Result<(), Violation> {
        self.by_batch = true;
        let mut found = Ok(());
        for check in BATCH_CHECKS {
            let checked = check(&self.history, &self.terms, batch);
            found = found.and(self.note(checked));
        }
        for record in &batch.records {
            found = found.and(self.observe(record));
        }
        found
    }

    /// Whether everything holds for the log up to here, which must be the end of a batch. Adds nothing up.
    ///
    /// # Errors
    /// The first violation of one property.
    pub fn verdict(&self) -> Result<(), Violation> {
        self.first.values().next().cloned().map_or(Ok(()), Err)?;
        admitted_are_open_or_settled(&self.history)?;
        the_last_sale_was_followed(&self.history, &self.terms)
    }

    /// The verdicts on the log up to here, which must be the end of a batch.
    #[must_use]
    pub fn report(&self) -> AuditReport {
        let mut first = self.first.clone();
        let at_the_end =
            [admitted_are_open_or_settled(&self.history), the_last_sale_was_followed(&self.history, &self.terms)];
        for violation in at_the_end.into_iter().filter_map(Result::err) {
            first.entry(violation.property).or_insert(violation);
        }
        let is_asked = |property: &Property| *property != Property::R5 || self.by_batch;
        let asked = Self::PROPERTIES.into_iter().filter(is_asked);
        let verdicts = asked.map(|property| (property, first.remove(&property))).collect();
        AuditReport { verdicts, totals: self.totals() }
    }

    fn note(&mut self, checked: Result<(), Violation>) -> Result<(), Violation> {
        if let Err(violation) = &checked {
            self.first.entry(violation.property).or_insert_with(|| violation.clone());
        }
        checked
    }

    fn totals(&self) -> AuditTotals {
        let sums = &self.history.sums;
        AuditTotals {
            first_record: self.history.since,
            records: self.history.position.0.saturating_sub(self.history.since.0),
            terms: sums.terms,
            resignations: sums.resignations,
            epoch: self.history.term.as_ref().map_or(Epoch(0), |term| term.epoch),
            deposits: sums.deposits,
            units_deposited: sums.deposited,
            units_sold: sums.sold,
            units_returned: sums.returned,
            units_left: self.history.deposits.values().map(Stock::left).fold(0, u64::saturating_add),
            requests: sums.admissions,
            open: self.history.queue.len() as u64,
            sales: sums.sales,
            refusals: sums.refusals,
            ordering: self.history.term.as_ref().map(|term| term.ordering),
            overtaken: sums.overtaken,
            late: sums.late,
            paid: Cents(sums.paid),
            earned: Cents(sums.earned),
            commission: Cents(sums.commission),
        }
    }
}

/// Audits a log, record by record (SPEC D10).
#[must_use]
pub fn audit<'a>(records: impl IntoIterator<Item = &'a Record>, terms: AuditTerms) -> AuditReport {
    let mut audit = LogAudit::new(terms);
    for record in records {
        // Anything it finds is in the report.
        let _ = audit.observe(record);
    }
    audit.report()
}

/// Audits a log, batch by batch: checks what [`audit`] does, and the place, the size and the order of batches.
#[must_use]
pub fn audit_batches<'a>(batches: impl IntoIterator<Item = &'a Batch>, terms: AuditTerms) -> AuditReport {
    let mut audit = LogAudit::new(terms);
    for batch in batches {
        let _ = audit.observe_batch(batch);
    }
    audit.report()
}
