//! Where each peer can be reached (SPEC A4). The ledger's process keeps the directory in memory: peers register
//! whenever they connect, so it is soon complete again after a restart.
//!
//! It is also where a peer is noticed that runs twice, or from an old copy of its store (SPEC I5). A life belongs to one
//! store at one time: no other process has it, nor an earlier one after it. And a later life has to wait until the
//! earlier one was not heard for as long as a connection may be silent.
//!
//! Of several processes of a ledger each keeps a directory. Before one of them enters a registration, it is written where
//! all can see it ([`LedgerJob::Register`](crate::network::ledger_service::LedgerJob::Register)), provided that no other
//! process has the life and no later one has registered; the others [learn](Directory::learn) of it from there. So a life
//! still belongs to one store at one time. But which of them hears an earlier life, the others do not know: a later one
//! that comes to another process does not wait for it.

use std::{
    collections::BTreeMap,
    fmt,
    net::SocketAddr,
    sync::{Arc, Mutex},
    time::Duration,
};

use bazaar_protocol::id::{Life, PeerId};
use futures::future::BoxFuture;
use serde::{Deserialize, Serialize};
use thiserror::Error;
use tokio::{
    net::lookup_host,
    sync::Notify,
    time::{Instant, timeout},
};

use crate::{
    config::Address,
    network::{settings::Settings, task::lock},
};

/// The longest address, host name, or other text in a registration, in bytes.
pub const MAX_TEXT: usize = 256;

/// Where one life of a peer can be reached, and which process hosts it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Registration {
    /// Which peer, in which life.
    pub life: Life,
    /// Tells this run of the peer from any other, whatever its life says: a random number, drawn when the life begins.
    pub instance: u64,
    /// Where its process listens: `host:port`.
    pub address: String,
    /// The id of its process.
    pub pid: u32,
    /// The name of the machine its process runs on.
    pub host: String,
}

/// "process 4711 on host1, at 10.0.0.1:4000".
impl fmt::Display for Registration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "process {} on {}, at {}", self.pid, self.host, self.address)
    }
}

/// A registration as a reader sees it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// What the peer has registered.
    pub registration: Registration,
    /// Whether the connection it registered over is still open. Of several processes of a ledger, only one knows that.
    pub connected: bool,
}

/// Why a registration is refused.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, Error)]
pub enum RegisterError {
    /// This life, or a later one, has already registered from elsewhere; this one must not continue (DESIGN R7).
    #[error("life {} of it has registered before ({by})", by.life.incarnation)]
    Outlived {
        /// The latest registration.
        by: Box<Registration>,
    },
    /// An earlier life is connected and was heard just now. Ask again: if it is about to end, there will be room.
    #[error("it runs already ({by})")]
    Taken {
        /// The registration of that life.
        by: Box<Registration>,
    },
    /// The registration is not for the peer that sends it.
    #[error("a peer may only register itself")]
    NotYours,
    /// The address or host name is too long.
    #[error("an address or host name may have at most {MAX_TEXT} bytes")]
    TooLong,
    /// Nobody can be reached at the address, such as a wildcard, which is never told to others (SPEC J2).
    #[error("others cannot be told its address: {0}")]
    Address(String),
    /// Whether another life or process of it has registered elsewhere cannot be found out at the moment. Ask another
    /// process of the ledger.
    #[error("the ledger's store does not answer")]
    NotAnswered,
}

/// How long a name is looked up at a start.
const LOOKUP: Duration = Duration::from_secs(2);

/// Whether a process that listens at `listens`, and is to be reached at `address` if it says one, cannot be reached,
/// because that stands for every address of whichever machine uses it (SPEC J2). A name is judged by what it means
/// here.
pub async fn is_wildcard(listens: SocketAddr, address: Option<&str>) -> bool {
    let is_any = |at: SocketAddr| at.ip().to_canonical().is_unspecified();
    let Some(address) = address else { return is_any(listens) };
    match timeout(LOOKUP, lookup_host(address)).await {
        Ok(Ok(mut found)) => found.any(is_any),
        // It need not mean anything on this machine.
        Ok(Err(_)) | Err(_) => false,
    }
}

/// The addresses of all peers that have registered.
#[derive(Clone, Debug)]
pub struct Directory {
    entries: BTreeMap<PeerId, (Registration, Option<Line>)>,
    /// Addresses that one seeker is told instead: (of, seeker) → address. This is how a proxy is put on a single link.
    detours: BTreeMap<(PeerId, PeerId), String>,
    lines: u64,
    /// Who was not heard for as long is not there.
    silence: Duration,
}

/// One of the connections over which peers registered.
#[derive(Clone, Debug)]
pub struct Line {
    number: u64,
    heard: Instant,
    /// Notified when the peer has registered over another one: this one is of no further use.
    pub replaced: Arc<Notify>,
}

impl Default for Directory {
    fn default() -> Directory {
        Directory::new(Settings::default().silence)
    }
}

impl Directory {
    /// An empty directory, in which who was not heard for as long is not there.
    #[must_use]
    pub fn new(silence: Duration) -> Directory {
        Directory { entries: BTreeMap::new(), detours: BTreeMap::new(), lines: 0, silence }
    }

    /// Enters a registration in place of the peer's previous one.
    ///
    /// # Errors
    /// As for [`Directory::check`]. Nothing has changed then.
    pub fn register(&mut self, registration: Registration) -> Result<Line, RegisterError> {
        self.check(&registration)?;
        self.lines += 1;
        let line = Line { number: self.lines, heard: Instant::now(), replaced: Arc::default() };
        let peer = registration.life.peer;
        if let Some((_, Some(former))) = self.entries.insert(peer, (registration, Some(line.clone()))) {
            former.replaced.notify_one();
        }
        Ok(line)
    }

    /// Enters what was registered with another process of the ledger, unless as much is known already; whether it was
    /// entered. The connection of an earlier life to this process is then of no further use.
    pub fn learn(&mut self, registration: Registration) -> bool {
        let Life { peer, incarnation } = registration.life;
        let Some((known, line)) = self.entries.get_mut(&peer) else {
            self.entries.insert(peer, (registration, None));
            return true;
        };
        if known.life.incarnation == incarnation && known.instance == registration.instance {
            // It may have moved. Its connection to this process, if it has one, is still its own.
            let is_news = *known != registration;
            *known = registration;
            return is_news;
        }
        // Two processes never have the same life: it is written where all can see it before anybody enters it.
        let is_later = incarnation > known.life.incarnation;
        if is_later {
            *known = registration;
            if let Some(former) = line.take() {
                former.replaced.notify_one();
            }
        }
        is_later
    }

    /// Whether a registration would be entered.
    ///
    /// # Errors
    /// When the same or a later life is known from elsewhere, when an earlier one is still there, when a text is too
    /// long, or when nobody can be reached at the address.
    pub fn check(&self, registration: &Registration) -> Result<(), RegisterError> {
        if registration.address.len() > MAX_TEXT || registration.host.len() > MAX_TEXT {
            return Err(RegisterError::TooLong);
        }
        Address::parse(&registration.address).map_err(RegisterError::Address)?;
        let Life { peer, incarnation } = registration.life;
        if let Some((known, line)) = self.entries.get(&peer) {
            let latest = known.life.incarnation;
            let is_itself = known.instance == registration.instance;
            if latest > incarnation || (latest == incarnation && !is_itself) {
                return Err(RegisterError::Outlived { by: Box::new(known.clone()) });
            }
            let is_there = line.as_ref().is_some_and(|line| line.heard.elapsed() < self.silence);
            if is_there && !is_itself {
                return Err(RegisterError::Taken { by: Box::new(known.clone()) });
            }
        }
        Ok(())
    }

    /// Notes that the peer was heard over this connection.
    pub fn heard(&mut self, peer: PeerId, over: &Line) {
        if let Some((_, Some(line))) = self.entries.get_mut(&peer)
            && line.number == over.number
        {
            line.heard = Instant::now();
        }
    }

    /// Notes that a connection over which a peer registered has ended. The peer's address stays: it may be cut off from
    /// the ledger only.
    pub fn disconnected(&mut self, peer: PeerId, ended: &Line) {
        if let Some((_, current)) = self.entries.get_mut(&peer)
            && current.as_ref().is_some_and(|line| line.number == ended.number)
        {
            *current = None;
        }
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
        self.entries
            .iter()
            .filter(move |(peer, _)| is_above(peer))
            .map(|(_, (registration, line))| Entry { registration: registration.clone(), connected: line.is_some() })
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
    use bazaar_protocol::id::Incarnation;
    use futures::FutureExt as _;

    use super::*;

    fn registration(peer: u32, incarnation: u32, address: &str) -> Registration {
        let life = Life { peer: PeerId(peer), incarnation: Incarnation(incarnation) };
        Registration { life, instance: 1, address: address.into(), pid: 1, host: "here".into() }
    }

    fn of_instance(instance: u64, incarnation: u32) -> Registration {
        Registration { instance, ..registration(1, incarnation, "a:1") }
    }

    /// SPEC J2.
    #[test]
    fn an_address_at_which_nobody_can_be_reached_is_told_to_nobody() {
        let mut directory = Directory::default();
        for address in ["0.0.0.0:7000", "[::]:7000", "[::ffff:0.0.0.0]:7000", "127.0.0.1:0", "nowhere"] {
            let refused = directory.register(registration(1, 1, address)).unwrap_err();
            assert!(matches!(refused, RegisterError::Address(_)), "{address}: {refused}");
        }
        assert_eq!(directory.address(PeerId(1), PeerId(0)), None);
    }

    #[test]
    fn an_older_life_never_replaces_a_later_one() {
        let mut directory = Directory::default();
        directory.register(registration(1, 2, "a:2")).unwrap();
        let by = Box::new(registration(1, 2, "a:2"));
        assert_eq!(directory.register(registration(1, 1, "a:1")).unwrap_err(), RegisterError::Outlived { by });
        assert_eq!(directory.address(PeerId(1), PeerId(0)).as_deref(), Some("a:2"));
        directory.register(registration(1, 3, "a:3")).unwrap();
        assert_eq!(directory.address(PeerId(1), PeerId(0)).as_deref(), Some("a:3"));
    }

    #[test]
    fn the_same_life_may_register_again_and_the_end_of_its_old_connection_changes_nothing() {
        let mut directory = Directory::default();
        let old = directory.register(registration(1, 1, "a:1")).unwrap();
        let new = directory.register(registration(1, 1, "a:1")).unwrap();
        directory.disconnected(PeerId(1), &old);
        assert!(directory.entries(None).all(|entry| entry.connected));
        directory.disconnected(PeerId(1), &new);
        assert!(directory.entries(None).all(|entry| !entry.connected));
        assert!(directory.address(PeerId(1), PeerId(0)).is_some(), "the address stays");
    }

    // SPEC I5.
    #[tokio::test(start_paused = true)]
    async fn another_process_of_a_peer_is_kept_out_while_the_first_is_heard_and_never_has_its_life() {
        let mut directory = Directory::default();
        let silence = Settings::default().silence;
        let first = directory.register(of_instance(1, 5)).unwrap();
        let by = || Box::new(of_instance(1, 5));
        for incarnation in [4, 5] {
            let refused = directory.register(of_instance(2, incarnation)).unwrap_err();
            assert_eq!(refused, RegisterError::Outlived { by: by() });
        }
        tokio::time::advance(silence * 2 / 3).await;
        directory.heard(PeerId(1), &first);
        tokio::time::advance(silence * 2 / 3).await;
        assert_eq!(directory.register(of_instance(2, 6)).unwrap_err(), RegisterError::Taken { by: by() });
        tokio::time::advance(silence / 3).await;
        directory.register(of_instance(2, 6)).unwrap();
        first.replaced.notified().await;
        assert_eq!(
            directory.register(of_instance(1, 5)).unwrap_err().to_string(),
            "life 6 of it has registered before \
            (process 1 on here, at a:1)"
        );
    }

    #[test]
    fn a_later_life_need_not_wait_once_the_connection_of_the_earlier_has_ended() {
        let mut directory = Directory::default();
        let first = directory.register(of_instance(1, 5)).unwrap();
        directory.disconnected(PeerId(1), &first);
        directory.register(of_instance(2, 6)).unwrap();
    }

    #[test]
    fn what_another_ledger_has_entered_is_known_here_and_keeps_its_life() {
        let mut directory = Directory::default();
        assert!(directory.learn(of_instance(1, 5)));
        assert_eq!(directory.address(PeerId(1), PeerId(0)).as_deref(), Some("a:1"));
        assert!(directory.entries(None).all(|entry| !entry.connected), "it is connected elsewhere");
        let by = || Box::new(of_instance(1, 5));
        for (instance, incarnation) in [(2, 5), (2, 4), (1, 4)] {
            let refused = directory.register(of_instance(instance, incarnation)).unwrap_err();
            assert_eq!(refused, RegisterError::Outlived { by: by() });
            assert!(!directory.learn(of_instance(instance, incarnation)));
        }
        // The process itself may come here, and a later life need not wait: who hears the earlier one is not known here.
        directory.register(of_instance(1, 5)).unwrap();
        let mut elsewhere = Directory::default();
        elsewhere.learn(of_instance(1, 5));
        elsewhere.register(of_instance(2, 6)).unwrap();
    }

    #[tokio::test]
    async fn a_later_life_elsewhere_replaces_the_earlier_one_here_which_is_told_when_it_comes_back() {
        let mut directory = Directory::default();
        let line = directory.register(of_instance(1, 5)).unwrap();
        assert!(directory.learn(of_instance(2, 6)));
        line.replaced.notified().await;
        // The end of the connection that is replaced is not the end of another.
        directory.disconnected(PeerId(1), &line);
        directory.heard(PeerId(1), &line);
        let outlived = RegisterError::Outlived { by: Box::new(of_instance(2, 6)) };
        assert_eq!(directory.register(of_instance(1, 5)).unwrap_err(), outlived);
    }

    #[test]
    fn a_process_that_has_gone_to_another_ledger_and_moved_is_found_there_and_its_line_here_stays_its_own() {
        let mut directory = Directory::default();
        let line = directory.register(of_instance(1, 5)).unwrap();
        assert!(!directory.learn(of_instance(1, 5)), "nothing new");
        assert!(directory.learn(Registration { address: "b:1".into(), ..of_instance(1, 5) }));
        assert_eq!(directory.address(PeerId(1), PeerId(0)).as_deref(), Some("b:1"));
        assert!(directory.entries(None).all(|entry| entry.connected));
        assert!(line.replaced.notified().now_or_never().is_none(), "it may still be in use");
        directory.disconnected(PeerId(1), &line);
        assert!(directory.entries(None).all(|entry| !entry.connected));
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
