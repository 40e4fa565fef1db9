//! The ledger as the models run it: the protocol's [`Archive`], and the rule for when two ledgers are the same.
//!
//! Of the clock readings in the log, only those count on which something can still depend: those of its last batch,
//! which may be sent again and after which the next record is stamped; those of waiting requests; those of each buyer's
//! last outcome and of each seller's last deposit and sale, and of the refusal that named its deposit as left over,
//! against which the next request or deposit is checked; and all of them while a read is to be answered from an older
//! head. Everything else in the log counts. Long afterwards, records that led to the same books with other stamps are
//! the same history.

use std::{
    collections::BTreeMap,
    hash::{Hash, Hasher},
    ops::{Deref, DerefMut},
};

use bazaar_protocol::{
    archive::Archive,
    books::Books,
    cluster::{Cluster, Process},
    config::Ordering,
    id::{DepositId, PeerId, Position},
    ledger::{LedgerReply, LedgerStatus},
    record::{Batch, Entry, Record},
    store::MemoryStore,
};
use serde::{Deserialize, Serialize};

use crate::subject::shared::Shared;

/// A ledger that has its store to itself, or several processes over one.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Ledgers {
    /// A ledger that has its store to itself.
    One(Shared<LedgerNode>),
    /// Several processes over one store.
    Several(Shared<Cluster>),
}

impl Ledgers {
    /// The ledger that has its store to itself, if there is one.
    #[must_use]
    pub fn one(&self) -> Option<&LedgerNode> {
        match self {
            Ledgers::One(ledger) => Some(ledger),
            Ledgers::Several(_) => None,
        }
    }

    /// The several processes and their store, if there are several.
    #[must_use]
    pub fn several(&self) -> Option<&Cluster> {
        match self {
            Ledgers::One(_) => None,
            Ledgers::Several(cluster) => Some(cluster),
        }
    }

    /// The store.
    #[must_use]
    pub fn store(&self) -> &MemoryStore {
        match self {
            Ledgers::One(ledger) => ledger.store(),
            Ledgers::Several(cluster) => cluster.store(),
        }
    }

    /// The state of the fence: of several processes, as the store has it.
    #[must_use]
    pub fn status(&self) -> LedgerStatus {
        match self {
            Ledgers::One(ledger) => ledger.status(),
            Ledgers::Several(cluster) => cluster.status(),
        }
    }

    /// At each of them, whether a claim would meet `LeaseActive`.
    #[must_use]
    pub fn leases(&self) -> Vec<bool> {
        match self {
            Ledgers::One(ledger) => vec![ledger.is_lease_active()],
            Ledgers::Several(cluster) => {
                let is_active = |process: &Process| process.machine().is_some_and(|machine| machine.is_lease_active());
                cluster.processes().iter().map(is_active).collect()
            }
        }
    }

    /// Whether a ledger that has its store to itself writes a batch.
    #[must_use]
    pub fn is_writing(&self) -> bool {
        self.one().is_some_and(|ledger| ledger.is_writing())
    }
}

/// The ledger, its store, and what is under way between the two.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LedgerNode(pub Archive);

/// An answer of the ledger that is under way.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Reply {
    /// The reply as the caller will receive it.
    pub reply: LedgerReply,
    /// The batch that the answer to an append names by its digest; hashes skip the digest, so the batch is kept beside
    /// it.
    pub batch: Option<Batch>,
}

impl Deref for LedgerNode {
    type Target = Archive;

    fn deref(&self) -> &Archive {
        &self.0
    }
}

impl DerefMut for LedgerNode {
    fn deref_mut(&mut self) -> &mut Archive {
        &mut self.0
    }
}

impl LedgerNode {
    /// Whether this batch is a claim that only the active lease keeps from being granted. Then the end of the lease
    /// makes a difference.
    #[must_use]
    pub fn keeps_out(&self, batch: &Batch) -> bool {
        let status = self.status();
        self.is_lease_active()
            && batch.claimant().is_some()
            && batch.epoch == status.epoch().next()
            && batch.position == status.head
    }
}

impl Hash for LedgerNode {
    fn hash<H: Hasher>(&self, state: &mut H) {
        let store = self.store();
        // A snapshot is the fold of the records below it.
        let snapshot = store.snapshot().map(Books::position);
        (self.machine(), self.is_asked_to_write(), self.is_unanswered(), self.reads()).hash(state);
        (store.durable().len(), store.written().len(), snapshot).hash(state);
        // The last batch may be sent again, and becomes the last once more when a crash loses the one that is being
        // written.
        let last = store.durable().last().map_or(Position(0), |batch| batch.position);
        let keep = Latest::of(store.records());
        let mut position = Position(0);
        for batch in store.written() {
            (batch.epoch, batch.records.len()).hash(state);
            for record in &batch.records {
                if position >= last || !self.reads().is_empty() {
                    record.hash(state);
                } else {
                    keep.hash(position, record, state);
                }
                position = position.plus(1);
            }
        }
    }
}

/// The position of each peer's latest record of each kind.
#[derive(Debug, Default)]
struct Latest {
    admitted: BTreeMap<PeerId, Position>,
    settled: BTreeMap<PeerId, Position>,
    deposits: BTreeMap<PeerId, Position>,
    sales: BTreeMap<PeerId, Position>,
    leftovers: BTreeMap<PeerId, Position>,
    /// In the stable order every reading may be compared with a later one.
    is_stable: bool,
}

impl Latest {
    fn of<'a>(records: impl Iterator<Item = &'a Record>) -> Latest {
        let mut latest = Latest::default();
        let mut position = Position(0);
        for record in records {
            match &record.entry {
                Entry::Deposited(deposit) => {
                    latest.deposits.insert(deposit.id.seller, position);
                }
                Entry::Admitted { request, .. } => {
                    latest.admitted.insert(request.id.buyer, position);
                }
                Entry::Sold(sale) => {
                    latest.settled.insert(sale.request.buyer, position);
                    latest.sales.insert(sale.deposit.seller, position);
                }
                Entry::Refused { request, leftover } => {
                    if let Some(deposit) = leftover {
                        latest.leftovers.insert(deposit.seller, position);
                    }
                    latest.settled.insert(request.buyer, position);
                }
                Entry::Claimed { ordering, .. } => latest.is_stable = *ordering == Ordering::Stable,
                Entry::Seated { .. } | Entry::Unseated { .. } | Entry::Resigned => {}
            }
            position = position.plus(1);
        }
        latest
    }

    /// Hashes the record without the readings on which nothing depends any more.
    fn hash<H: Hasher>(&self, position: Position, record: &Record, state: &mut H) {
        if self.is_stable {
            return record.hash(state);
        }
        record.stamp.peer.hash(state);
        std::mem::discriminant(&record.entry).hash(state);
        match &record.entry {
            Entry::Claimed { epoch, holder, ordering } => (epoch, holder, ordering).hash(state),
            Entry::Seated { .. } | Entry::Unseated { .. } => record.hash(state),
            Entry::Deposited(deposit) => {
                (deposit.id, deposit.previous, deposit.item, deposit.count, deposit.price).hash(state);
                if self.deposits.get(&deposit.id.seller) == Some(&position) {
                    deposit.stamp.hash(state);
                }
            }
            Entry::Admitted { request, .. } => {
                (request.id, request.previous, request.item, request.quantity).hash(state);
                let buyer = &request.id.buyer;
                if self.admitted.get(buyer) == Some(&position) && self.settled.get(buyer) < Some(&position) {
                    request.stamp.hash(state);
                }
            }
            Entry::Sold(sale) => {
                sale.hash(state);
                if self.settled.get(&sale.request.buyer) == Some(&position)
                    || self.sales.get(&sale.deposit.seller) == Some(&position)
                {
                    record.stamp.hash(state);
                }
            }
            Entry::Refused { request, leftover } => {
                (request, leftover).hash(state);
                // A deposit in place of one that is left over must be stamped later than this.
                let is_due = |deposit: DepositId| {
                    self.leftovers.get(&deposit.seller) == Some(&position)
                        && self.deposits.get(&deposit.seller) < Some(&position)
                };
                if self.settled.get(&request.buyer) == Some(&position) || leftover.is_some_and(is_due) {
                    record.stamp.hash(state);
                }
            }
            Entry::Resigned => {}
        }
    }
}
