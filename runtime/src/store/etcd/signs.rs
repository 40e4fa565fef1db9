//! The signs that ledgers give each other of a term.

use std::sync::atomic::Ordering;

use bazaar_etcd::Op;
use bazaar_protocol::{id::Epoch, ledger::replica::Sign};
use serde::{Deserialize, Serialize};

use super::{EtcdStore, WriteError};

/// What a sign is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Renewed,
    Contested,
}

impl Kind {
    pub(super) const ALL: [Kind; 2] = [Kind::Renewed, Kind::Contested];

    /// The name of its key.
    pub(super) fn name(self) -> &'static str {
        match self {
            Kind::Renewed => "sign/renewed",
            Kind::Contested => "sign/contested",
        }
    }

    fn sign(self, epoch: Epoch) -> Sign {
        match self {
            Kind::Renewed => Sign::Renewed(epoch),
            Kind::Contested => Sign::Contested(epoch),
        }
    }
}

/// The value of a sign's key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Given {
    epoch: Epoch,
    giver: u64,
    /// How many signs this giver has given, so that no two are the same.
    number: u64,
}

impl EtcdStore {
    /// Gives the other ledgers a sign. One attempt: it need not come through, so nobody waits for it.
    ///
    /// # Errors
    /// If the store does not hold this run, or the cluster does not say that it was given.
    pub async fn give(&self, sign: Sign) -> Result<(), WriteError> {
        let (kind, epoch) = match sign {
            Sign::Renewed(epoch) => (Kind::Renewed, epoch),
            Sign::Contested(epoch) => (Kind::Contested, epoch),
        };
        let number = self.shared.signs.fetch_add(1, Ordering::Relaxed);
        let given = Given { epoch, giver: self.shared.instance, number };
        let value = postcard::to_allocvec(&given).map_err(|error| self.unencodable(error))?;
        // Only the run is compared, so nothing else can have failed.
        let _ = self.change(Vec::new(), vec![Op::Put { key: self.names().sign(kind), value }]).await?;
        Ok(())
    }

    /// The sign in this value, if another ledger has given it.
    pub(super) fn sign_of_others(&self, kind: Kind, value: &[u8]) -> Option<Sign> {
        let given: Given = postcard::from_bytes(value).ok()?;
        (given.giver != self.shared.instance).then(|| kind.sign(given.epoch))
    }
}
