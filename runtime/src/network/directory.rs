//! Where each peer can be reached (SPEC A4). The ledger's process keeps the directory in memory: peers register
//! whenever they connect, so it is soon complete again after a restart.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
};

use bazaar_protocol::id::{Incarnation, Life, PeerId};
use futures::future::BoxFuture;
use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::network::task::lock;

/// The longest address, host name, or other text in a registration, in bytes.
pub const MAX_TEXT: usize = 256;

/// Where one life of a peer can be reached, and which process hosts it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Registration {
    /// Which peer, in which life.
    pub life: Life,
    /// Where its process listens: `host:port`.
    pub address: String,
    /// The id of its process.
    pub pid: u32,
    /// The name of the machine its process runs on.
    pub host: String,
}

/// A registration as a reader sees it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// What the peer has registered.
    pub registration: Registration,
    /// Whether the connection it registered over is still open.
    pub connected: bool,
}

/// Why a registration is refused.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, Error)]
pub enum RegisterError {
    /// A later life has already registered; this one must not continue (DESIGN R7).
    #[error("life {latest} of this peer has already registered: an older one must not continue")]
    OldLife {
        /// The latest life.
        latest: Incarnation,
    },
    /// The registration is not for the peer that sends it.
    #[error("a peer may only register itself")]
    NotYours,
    /// The address or host name is too long.
    #[error("an address or host name may have at most {MAX_TEXT} bytes")]
    TooLong,
}

/// The addresses of all peers that have registered.
#[derive(Clone, Debug, Default)]
pub struct Directory {
    entries: BTreeMap<PeerId, (Registration, Option<Connection>)>,
    /// Addresses that one seeker is told instead: (of, seeker) → address. This is how a proxy is put on a single link.
    detours: BTreeMap<(PeerId, PeerId), String>,
    connections: u64,
}

/// Identifies one of the connections over which peers registered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Connection(u64);

impl Directory {
    /// Enters a registration in place of the peer's previous one.
    ///
    /// # Errors
    /// When a later life is known or a text is too long. Nothing has changed then.
    pub fn register(&mut self, registration: Registration) -> Result<Connection, RegisterError> {
        if registration.address.len() > MAX_TEXT || registration.host.len() > MAX_TEXT {
            return Err(RegisterError::TooLong);
        }
        let Life { peer, incarnation } = registration.life;
        if let Some(latest) = self.latest(peer).filter(|latest| *latest > incarnation) {
            return Err(RegisterError::OldLife { latest });
        }
        self.connections += 1;
        let connection = Connection(self.connections);
        self.entries.insert(peer, (registration, Some(connection)));
        Ok(connection)
    }

    /// Notes that a connection over which a peer registered has ended. The peer's address stays: it may be cut off from
    /// the ledger only.
    pub fn disconnected(&mut self, peer: PeerId, connection: Connection) {
        if let Some((_, current)) = self.entries.get_mut(&peer)
            && *current == Some(connection)
        {
            *current = None;
        }
    }

    /// The latest life of a peer that has registered, if any has.
    #[must_use]
    pub fn latest(&self, peer: PeerId) -> Option<Incarnation> {
        self.entries.get(&peer).map(|(registration, _)| registration.life.incarnation)
    }

    /// Where `seeker` can reach `of`; `None` if `of` has not registered.
    #[must_use]
    pub fn address(&self, of: PeerId, seeker: PeerId) -> Option<String> {
        let direct = || self.entries.get(&of).map(|(registration, _)| registration.address.clone());
        self.detours.get(&(of, seeker)).cloned().or_else(direct)
    }

    /// From now on, `seeker` is told this address when it asks for `of`; `None` restores the one that `of` has
    /// registered.
    pub fn detour(&mut self, of: PeerId, seeker: PeerId, address: Option<String>) {
        match address {
            Some(address) => self.detours.insert((of, seeker), address),
            None => self.detours.remove(&(of, seeker)),
        };
    }

    /// All entries of peers above `after` (`None`: from the first), in order of their ids.
    pub fn entries(&self, after: Option<PeerId>) -> impl Iterator<Item = Entry> + '_ {
        let is_above = move |peer: &PeerId| after.is_none_or(|after| *peer > after);
        self.entries.iter().filter(move |(peer, _)| is_above(peer)).map(|(_, (registration, connection))| Entry {
            registration: registration.clone(),
            connected: connection.is_some(),
        })
    }
}

/// Nobody can say at the moment where a peer can be reached. Use the last known address, or ask again later.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("the directory cannot be reached")]
pub struct Unavailable;

/// Tells where peers can be reached.
pub trait Addresses: Send + Sync + 'static {
    /// Where `seeker` can reach `of`; `None` if `of` has not registered.
    fn address(&self, of: PeerId, seeker: PeerId) -> BoxFuture<'static, Result<Option<String>, Unavailable>>;
}

impl Addresses for Mutex<Directory> {
    fn address(&self, of: PeerId, seeker: PeerId) -> BoxFuture<'static, Result<Option<String>, Unavailable>> {
        Box::pin(std::future::ready(Ok(lock(self).address(of, seeker))))
    }
}

/// A directory shared within a process.
pub type SharedDirectory = Arc<Mutex<Directory>>;

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;

    fn registration(peer: u32, incarnation: u32, address: &str) -> Registration {
        let life = Life { peer: PeerId(peer), incarnation: Incarnation(incarnation) };
        Registration { life, address: address.into(), pid: 1, host: "here".into() }
    }

    #[test]
    fn an_older_life_never_replaces_a_later_one() {
        let mut directory = Directory::default();
        directory.register(registration(1, 2, "a:2")).unwrap();
        let latest = Incarnation(2);
        assert_eq!(directory.register(registration(1, 1, "a:1")), Err(RegisterError::OldLife { latest }));
        assert_eq!(directory.address(PeerId(1), PeerId(0)).as_deref(), Some("a:2"));
        directory.register(registration(1, 3, "a:3")).unwrap();
        assert_eq!(directory.address(PeerId(1), PeerId(0)).as_deref(), Some("a:3"));
    }

    #[test]
    fn the_same_life_may_register_again_and_the_end_of_its_old_connection_changes_nothing() {
        let mut directory = Directory::default();
        let old = directory.register(registration(1, 1, "a:1")).unwrap();
        let new = directory.register(registration(1, 1, "a:1")).unwrap();
        directory.disconnected(PeerId(1), old);
        assert!(directory.entries(None).all(|entry| entry.connected));
        directory.disconnected(PeerId(1), new);
        assert!(directory.entries(None).all(|entry| !entry.connected));
        assert!(directory.address(PeerId(1), PeerId(0)).is_some(), "the address stays");
    }

    #[test]
    fn a_detour_is_told_to_one_seeker_only() {
        let mut directory = Directory::default();
        directory.register(registration(1, 1, "a:1")).unwrap();
        directory.detour(PeerId(1), PeerId(0), Some("proxy:1".into()));
        assert_eq!(directory.address(PeerId(1), PeerId(0)).as_deref(), Some("proxy:1"));
        assert_eq!(directory.address(PeerId(1), PeerId(2)).as_deref(), Some("a:1"));
        directory.detour(PeerId(1), PeerId(0), None);
        assert_eq!(directory.address(PeerId(1), PeerId(0)).as_deref(), Some("a:1"));
    }

    #[test]
    fn entries_continue_where_the_last_page_ended() {
        let mut directory = Directory::default();
        for peer in 0..5 {
            directory.register(registration(peer, 1, "a:1")).unwrap();
        }
        let peers = |after| directory.entries(after).map(|entry| entry.registration.life.peer.0).collect::<Vec<_>>();
        assert_eq!(peers(None), [0, 1, 2, 3, 4]);
        assert_eq!(peers(Some(PeerId(2))), [3, 4]);
    }
}
