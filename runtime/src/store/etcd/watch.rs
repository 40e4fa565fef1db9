//! What others do, as it happens.

use std::collections::VecDeque;

use bazaar_etcd::{Event, Revision, WatchItem};
use bazaar_protocol::ledger::{Tail, replica::Sign};

use crate::network::directory::Registration;

use super::{
    Base, EtcdStore,
    keys::{self, Watched},
    peers::registration_in,
    value,
};

/// Something that has happened in a store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Seen {
    /// Another ledger has given a sign.
    Sign(Sign),
    /// A ledger has appended, perhaps this one, and then the log ended here.
    Appended(Tail),
    /// A peer has registered, with whichever ledger.
    Registered(Registration),
}

/// Why a watch has ended. What happens from now on is not seen: look, and watch from there on.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Lost {
    /// The cluster does not tell more.
    #[error("{prefix} in etcd is not watched any more: {source}")]
    Broken {
        /// The store's prefix.
        prefix: String,
        /// What the client says.
        source: bazaar_etcd::Lost,
    },
    /// Somebody has changed this key to what no ledger of this run writes. A look says what the store holds now.
    #[error("{key} in etcd was changed to something else")]
    Changed {
        /// The key.
        key: String,
    },
}

/// What happens in a store, in order. Made by [`EtcdStore::watch`]; dropping it ends it.
#[derive(Debug)]
pub struct Watch {
    store: EtcdStore,
    watch: bazaar_etcd::Watch,
    /// What the last item had more of.
    events: VecDeque<Event>,
    lost: Option<Lost>,
}

impl EtcdStore {
    /// Watches what happens after this revision, that of a [look](Self::look). Returns once a member has begun to tell.
    ///
    /// # Errors
    /// As [`Watch::next`].
    pub async fn watch(&self, after: Revision) -> Result<Watch, Lost> {
        let watch = self.client.watch(self.names().watched(), after.next()).await;
        let watch = watch.map_err(|source| Lost::Broken { prefix: self.prefix(), source })?;
        Ok(Watch { store: self.clone(), watch, events: VecDeque::new(), lost: None })
    }
}

impl Watch {
    /// What happens next. Nothing is lost if the call is dropped before it has returned.
    ///
    /// # Errors
    /// Why nothing more will be told. From then on it always returns this.
    pub async fn next(&mut self) -> Result<Seen, Lost> {
        loop {
            if let Some(lost) = &self.lost {
                return Err(lost.clone());
            }
            while let Some(event) = self.events.pop_front() {
                match self.judge(&event) {
                    Ok(Some(seen)) => return Ok(seen),
                    Ok(None) => {}
                    Err(lost) => {
                        self.lost = Some(lost.clone());
                        return Err(lost);
                    }
                }
            }
            match self.watch.next().await {
                Ok(WatchItem::Events(events)) => self.events.extend(events),
                Ok(WatchItem::Alive) => {}
                Err(source) => self.lost = Some(Lost::Broken { prefix: self.store.prefix(), source }),
            }
        }
    }

    fn judge(&self, event: &Event) -> Result<Option<Seen>, Lost> {
        let (key, value) = match event {
            Event::Put(kv) => (&kv.key, Some(kv.value.as_slice())),
            Event::Deleted { key, .. } => (key, None),
        };
        let changed = || Lost::Changed { key: keys::text(key) };
        match self.store.names().recognise(key) {
            Some(Watched::Head) => value.and_then(value::decode).map(Seen::Appended).ok_or_else(changed).map(Some),
            // Another snapshot is in force, or the oldest, which is found when one is looked for.
            Some(Watched::Base | Watched::Oldest) if value.and_then(value::decode::<Base>).is_some() => Ok(None),
            Some(Watched::Base | Watched::Oldest) => Err(changed()),
            Some(Watched::Run) => {
                if value.is_some_and(|value| value == value::of_run(self.store.shared.run)) {
                    Ok(None)
                } else {
                    Err(changed())
                }
            }
            Some(Watched::Sign(kind)) => {
                Ok(value.and_then(|value| self.store.sign_of_others(kind, value)).map(Seen::Sign))
            }
            Some(Watched::Peer) => Ok(value.and_then(registration_in).map(Seen::Registered)),
            None => Ok(None),
        }
    }
}
