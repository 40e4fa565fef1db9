//! Where peers can be reached, as all ledgers know it.

use std::num::NonZeroU32;

use bazaar_etcd::{Compare, Keys, Op, Range};
use bazaar_protocol::id::PeerId;

use crate::network::directory::Registration;

use super::{EtcdStore, ReadError, WriteError};

/// How many registrations are read at a time.
const PAGE: NonZeroU32 = NonZeroU32::MIN.saturating_add(999);

/// What became of a registration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Registered {
    /// It is entered.
    Entered,
    /// What was known is no longer so: read the [registrations](EtcdStore::registrations), and judge again. (Or an
    /// earlier attempt has entered it.)
    Overtaken,
}

impl EtcdStore {
    /// Enters a registration in the place of what is `known` of the peer, if that is still so. Whether a peer may
    /// register is judged elsewhere; here, of two ledgers that each let another life of it in, one is told.
    ///
    /// # Errors
    /// If the store does not hold this run, or the cluster does not say that it was entered.
    pub async fn register(
        &self,
        registration: &Registration,
        known: Option<&Registration>,
    ) -> Result<Registered, WriteError> {
        let encode =
            |registration: &Registration| postcard::to_allocvec(registration).map_err(|error| self.unencodable(error));
        let key = self.names().peer(registration.life.peer);
        let is_known = match known {
            Some(known) => Compare::Value { key: key.clone(), value: encode(known)? },
            None => Compare::Absent { key: key.clone() },
        };
        let entered = self.change(vec![is_known], vec![Op::Put { key, value: encode(registration)? }]).await?;
        Ok(if entered.is_ok() { Registered::Entered } else { Registered::Overtaken })
    }

    /// What is registered of a peer, read linearizably.
    ///
    /// # Errors
    /// If the cluster does not answer, or its key holds something else.
    pub async fn registration(&self, peer: PeerId) -> Result<Option<Registration>, ReadError> {
        let range = Range::now(Keys::one(self.names().peer(peer)));
        let read = self.client.range(range).await.map_err(|source| self.unanswered(source))?;
        let Some(entry) = read.items.first() else { return Ok(None) };
        let registration = registration_in(&entry.value);
        registration.map(Some).ok_or_else(|| self.damaged(&entry.key, "it is no registration"))
    }

    /// All registrations, in order of the peers' ids, as of one moment. What is none is left out.
    ///
    /// # Errors
    /// If the cluster does not answer.
    pub async fn registrations(&self) -> Result<Vec<Registration>, ReadError> {
        let mut pages = self.client.pages(self.names().peers(), None, PAGE);
        let mut all = Vec::new();
        while let Some(page) = pages.next().await.map_err(|source| self.unanswered(source))? {
            for entry in page {
                match registration_in(&entry.value) {
                    Some(registration) => all.push(registration),
                    // It keeps one peer out, and nobody else.
                    None => tracing::warn!("{}", self.damaged(&entry.key, "it is no registration")),
                }
            }
        }
        Ok(all)
    }
}

pub(super) fn registration_in(value: &[u8]) -> Option<Registration> {
    postcard::from_bytes(value).ok()
}
