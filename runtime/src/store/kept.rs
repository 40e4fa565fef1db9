//! What is kept of a log.

use std::iter;

use bazaar_protocol::{
    books::{Books, BooksError},
    clock::Time,
    id::{Incarnation, Life, PeerId, Position},
    invariant::{AuditReport, AuditTerms, LogAudit},
    ledger::{HighWaterMark, Secret, Tail},
    record::{Batch, Entry, Record},
};

/// What is kept of a log: every batch from some point on, and what all records before that add up to. On a disk nothing
/// is ever removed, so that point is the beginning; in etcd it is the oldest snapshot.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KeptLog {
    start: Tail,
    books: Books,
    batches: Vec<Batch>,
}

impl KeptLog {
    /// A log of which everything is kept.
    #[must_use]
    pub fn whole(batches: Vec<Batch>) -> KeptLog {
        KeptLog { batches, ..KeptLog::default() }
    }

    /// A log that is kept from here on, where it had this end and these books.
    #[must_use]
    pub fn from(start: Tail, books: Books, batches: Vec<Batch>) -> KeptLog {
        KeptLog { start, books, batches }
    }

    /// The end of what is not kept any more; the default if everything is.
    #[must_use]
    pub fn start(&self) -> &Tail {
        &self.start
    }

    /// The first record that is kept.
    #[must_use]
    pub fn first(&self) -> Position {
        self.start.status.head
    }

    /// Whether nothing was removed.
    #[must_use]
    pub fn is_whole(&self) -> bool {
        self.first() == Position(0)
    }

    /// What the records before the first one add up to.
    #[must_use]
    pub fn books_at_start(&self) -> &Books {
        &self.books
    }

    /// The batches from the first record that is kept on.
    #[must_use]
    pub fn batches(&self) -> &[Batch] {
        &self.batches
    }

    /// The records from the first one that is kept on.
    pub fn records(&self) -> impl DoubleEndedIterator<Item = &Record> {
        self.batches.iter().flat_map(|batch| &batch.records)
    }

    /// What all records add up to, those before the first one that is kept as well.
    ///
    /// # Errors
    /// When a record cannot follow the ones before it.
    pub fn fold(&self) -> Result<Books, BooksError> {
        let mut books = self.books.clone();
        self.records().try_for_each(|record| books.apply(record))?;
        Ok(books)
    }

    /// The audit of what is kept. What the records before add up to is believed.
    #[must_use]
    pub fn audit(&self, terms: AuditTerms) -> AuditReport {
        let mut audit = if self.is_whole() { LogAudit::new(terms) } else { LogAudit::after(&self.books, terms) };
        for batch in &self.batches {
            // Anything it finds is in the report.
            let _ = audit.observe_batch(batch);
        }
        audit.report()
    }

    /// How far the log has got. The mark is to be compared, and carries no ledger's seal.
    #[must_use]
    pub fn mark(&self) -> HighWaterMark {
        let (epoch, head) = match self.batches.last() {
            Some(last) => (last.epoch, last.end()),
            None => (self.start.status.epoch(), self.start.status.head),
        };
        HighWaterMark { epoch, head, ..HighWaterMark::default() }
    }

    /// The same, with the seal of a ledger that has this secret: for a peer to show.
    #[must_use]
    pub fn sealed_mark(&self, secret: Secret) -> HighWaterMark {
        let HighWaterMark { epoch, head, .. } = self.mark();
        HighWaterMark::sealed(epoch, head, secret)
    }

    /// The latest reading of a clock that it is known to show.
    #[must_use]
    pub fn furthest(&self) -> Time {
        let promised = self.books.buyers().values().map(|account| account.bound);
        let before = promised.chain(iter::once(self.books.latest()));
        before.chain(self.batches.iter().map(Batch::furthest)).max().unwrap_or_default()
    }

    /// The latest life of this peer that it is known to name. Of what is no longer kept, only that one is known that bought,
    /// sold or had a seat last, or was the last trader.
    #[must_use]
    pub fn last_life(&self, peer: PeerId) -> Option<Incarnation> {
        let buyer = self.books.buyers().get(&peer);
        let asked = buyer.and_then(|account| account.last.as_ref()).map(|(sequence, _)| sequence.split().0);
        let asks = buyer.and_then(|account| account.open).map(|open| open.id.sequence.split().0);
        let seated = buyer.and_then(|account| account.seat).map(|seat| seat.incarnation);
        let sells = self.books.sellers().get(&peer).and_then(|account| account.deposit.as_ref());
        let sells = sells.map(|deposit| deposit.number.split().0);
        let trades = self.books.term().map(|term| term.holder).filter(|holder| holder.peer == peer);
        let before = [asked, asks, seated, sells, trades.map(|holder| holder.incarnation)];
        before.into_iter().flatten().chain(self.records().filter_map(|record| life_in(record, peer))).max()
    }
}

/// The life of this peer that a record names.
fn life_in(record: &Record, peer: PeerId) -> Option<Incarnation> {
    let of = |life: Life| (life.peer == peer).then_some(life.incarnation);
    match &record.entry {
        Entry::Claimed { holder, .. } => of(*holder),
        Entry::Seated { buyer, .. } => of(*buyer),
        Entry::Deposited(deposit) => of(Life { peer: deposit.id.seller, incarnation: deposit.id.number.split().0 }),
        Entry::Admitted { request, .. } => {
            of(Life { peer: request.id.buyer, incarnation: request.id.sequence.split().0 })
        }
        Entry::Unseated { .. } | Entry::Sold(_) | Entry::Refused { .. } | Entry::Resigned => None,
    }
}
