//! A peer's connection to the ledger: calls, and the directory.
//!
//! It leads to one process of the ledger. If there are several, it stays with that one for as long as it answers, and
//! turns to the next when it has ended, cannot be opened or a sign of life is missed; each peer begins with another, so
//! that they share the work. To the peer's machine, this is a ledger that was down for a moment.
//!
//! It is kept alive like a link. Each time it opens, the peer registers its address first and only then hears
//! [`Input::LedgerUp`]; replies come as [`Input::Ledger`] in whatever order they arrive. A call that finds the
//! connection closed, or whose reply comes too late, is dropped: the peer asks again on a timer of its own.

use std::{
    collections::BTreeSet,
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use bazaar_protocol::{
    id::{Epoch, PeerId},
    input::Input,
    ledger::{LedgerCall, LedgerReply},
};
use futures::{FutureExt, StreamExt, future::BoxFuture, stream::FuturesUnordered};
use tarpc::client::{self, RpcError};
use thiserror::Error;
use tokio::{
    sync::{mpsc, oneshot, watch},
    time::{Instant, error::Elapsed, sleep, sleep_until, timeout},
};

use crate::{
    network::{
        directory::{Addresses, RegisterError, Registration, Unavailable},
        hello::{self, ConnectError, Credentials, Purpose},
        refusals::Refusals,
        service::{LedgerDoorClient, LedgerRefusal, within},
        settings::{Backoff, Settings},
        task::Task,
        wire::{Frames, Wire},
    },
    system::output::complain,
};

/// How many calls may be under way; as many more may wait.
const CALLS: usize = 64;

/// By how much sooner than on an idle connection it is asked whether a process of several is there, after a call that it has
/// not answered. So a trader whose process halts is at another one before it gives up the office.
const IMPATIENCE: u32 = 4;

/// Where each process of the ledger listens now, in the order of their numbers; `None` while that is not known. Asked
/// before each attempt, since addresses may change with a restart.
pub type LedgerAddresses = Box<dyn Fn() -> Vec<Option<String>> + Send + Sync>;

/// A peer's connection to the ledger, kept alive until this is dropped.
#[derive(Debug)]
pub struct LedgerClient {
    asks: mpsc::Sender<Ask>,
    state: Arc<State>,
    settings: Settings,
    refused: watch::Receiver<Option<RegisterError>>,
    _task: Task,
}

#[derive(Debug, Default)]
struct State {
    up: AtomicBool,
    dropped: AtomicU64,
    /// The latest epoch that anybody has named to the peer.
    heard: AtomicU64,
}

impl State {
    fn heard(&self) -> Epoch {
        Epoch(self.heard.load(Ordering::Relaxed))
    }
}

#[derive(Debug)]
enum Ask {
    Call(LedgerCall),
    Lookup { of: PeerId, answer: oneshot::Sender<Result<Option<String>, Unavailable>> },
}

impl LedgerClient {
    /// Keeps a connection open for the peer that `registration` is about. The incarnation in it must be durable (DESIGN
    /// R7). `inbox` is the driver's, which must keep draining it. `refusals` are the process's.
    #[must_use]
    pub fn open(
        credentials: Credentials,
        settings: Settings,
        registration: Registration,
        addresses: LedgerAddresses,
        inbox: mpsc::Sender<Input>,
        refusals: Arc<Refusals>,
    ) -> LedgerClient {
        let (asks, asked) = mpsc::channel(CALLS);
        let state = Arc::new(State::default());
        let (refusal, refused) = watch::channel(None);
        let connection = Connection {
            credentials,
            settings,
            turn: registration.life.peer.0 as usize,
            registration,
            addresses,
            inbox,
            asked,
            state: Arc::clone(&state),
            refusals,
            taken_since: None,
            refusal,
        };
        LedgerClient { asks, state, settings, refused, _task: Task::spawn(connection.run()) }
    }

    /// Waits until the directory has refused this life for good: the peer runs twice, or from an old copy of its store
    /// (SPEC I5).
    pub fn refused(&self) -> impl Future<Output = RegisterError> + use<> {
        let mut refused = self.refused.clone();
        async move {
            let found = refused.wait_for(Option::is_some).await.map(|refused| refused.clone());
            match found {
                Ok(Some(error)) => error,
                // The connection has ended with its driver.
                Ok(None) | Err(_) => std::future::pending().await,
            }
        }
    }

    /// Calls the ledger; neither waits nor fails. When the ledger cannot be reached the call is dropped.
    pub fn call(&self, call: LedgerCall) {
        if !self.is_up() || self.asks.try_send(Ask::Call(call)).is_err() {
            self.state.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Says what the latest epoch is that anybody has named to the peer: the next sign of life asks about it.
    pub fn tell_heard(&self, epoch: Epoch) {
        self.state.heard.store(epoch.0, Ordering::Relaxed);
    }

    /// Whether the connection is open and the peer registered.
    #[must_use]
    pub fn is_up(&self) -> bool {
        self.state.up.load(Ordering::Relaxed)
    }

    /// How many calls got no reply: they were dropped, refused, cut off, or answered too late.
    #[must_use]
    pub fn dropped(&self) -> u64 {
        self.state.dropped.load(Ordering::Relaxed)
    }

    /// The directory, asked over this connection.
    #[must_use]
    pub fn addresses(&self) -> Arc<dyn Addresses> {
        let answer_timeout = self.settings.silence;
        Arc::new(Lookup { asks: self.asks.clone(), state: Arc::clone(&self.state), answer_timeout })
    }
}

#[derive(Debug)]
struct Lookup {
    asks: mpsc::Sender<Ask>,
    state: Arc<State>,
    answer_timeout: Duration,
}

impl Addresses for Lookup {
    // The ledger knows who asks: `seeker` is the peer of the connection.
    fn address(&self, of: PeerId, _seeker: PeerId) -> BoxFuture<'static, Result<Option<String>, Unavailable>> {
        if !self.state.up.load(Ordering::Relaxed) {
            return std::future::ready(Err(Unavailable)).boxed();
        }
        let asks = self.asks.clone();
        let lookup = async move {
            let (answer, answered) = oneshot::channel();
            asks.send(Ask::Lookup { of, answer }).await.map_err(|_| Unavailable)?;
            answered.await.unwrap_or(Err(Unavailable))
        };
        timeout(self.answer_timeout, lookup).map(|found| found.unwrap_or(Err(Unavailable))).boxed()
    }
}

/// Why the ledger cannot be reached. The client tries again.
#[derive(Debug, Error)]
enum Trouble {
    #[error("the ledger's address is not known")]
    NoAddress,
    #[error("{address}: {error}")]
    Connect { address: String, error: ConnectError },
    #[error("the directory refuses: {0}")]
    Register(#[from] RegisterError),
    #[error("the connection was closed")]
    Closed,
    #[error("the connection broke: {0}")]
    Broken(String),
    #[error("the ledger is silent")]
    Silent,
    #[error("the driver is gone")]
    NoDriver,
}

impl Trouble {
    /// Whether another process of the ledger may be better off. It is not where an earlier life of the peer is in the way:
    /// the process that hears that life knows when it has ended.
    fn is_of_process(&self) -> bool {
        match self {
            Trouble::NoAddress
            | Trouble::Connect { .. }
            | Trouble::Register(RegisterError::NotAnswered)
            | Trouble::Closed
            | Trouble::Broken(_)
            | Trouble::Silent => true,
            Trouble::Register(
                RegisterError::Outlived { .. }
                | RegisterError::Taken { .. }
                | RegisterError::NotYours
                | RegisterError::TooLong
                | RegisterError::Address(_),
            )
            | Trouble::NoDriver => false,
        }
    }
}

impl From<Elapsed> for Trouble {
    fn from(_: Elapsed) -> Trouble {
        Trouble::Silent
    }
}

impl From<RpcError> for Trouble {
    fn from(error: RpcError) -> Trouble {
        match error {
            RpcError::Shutdown => Trouble::Closed,
            other @ (RpcError::Send(_) | RpcError::Channel(_) | RpcError::DeadlineExceeded | RpcError::Server(_)) => {
                Trouble::Broken(other.to_string())
            }
        }
    }
}

/// What became of a ping, a call or a lookup.
enum Done {
    Ping(Result<Result<LedgerReply, RpcError>, Elapsed>),
    Reply(Result<Result<Result<LedgerReply, LedgerRefusal>, RpcError>, Elapsed>),
    Address {
        found: Result<Result<Option<String>, RpcError>, Elapsed>,
        answer: oneshot::Sender<Result<Option<String>, Unavailable>>,
    },
}

struct Connection {
    credentials: Credentials,
    settings: Settings,
    registration: Registration,
    addresses: LedgerAddresses,
    /// Whose turn it is, of the ledger's processes: the number of turns before this one, and the peer's id.
    turn: usize,
    inbox: mpsc::Sender<Input>,
    asked: mpsc::Receiver<Ask>,
    state: Arc<State>,
    refusals: Arc<Refusals>,
    /// Since when an earlier life of the peer has kept it out.
    taken_since: Option<Instant>,
    refusal: watch::Sender<Option<RegisterError>>,
}

impl Connection {
    async fn run(mut self) {
        let me = self.registration.life.peer;
        let mut backoff = Backoff::new(&self.settings);
        let mut complaints = BTreeSet::new();
        while !self.inbox.is_closed() {
            let trouble = match self.connect().await {
                Ok(frames) => self.serve(frames, &mut backoff).await,
                Err(trouble) => trouble,
            };
            if self.state.up.swap(false, Ordering::Relaxed) {
                complaints.clear();
                if self.inbox.send(Input::LedgerDown).await.is_err() {
                    return;
                }
            }
            if self.is_refused_for_good(&trouble) {
                return;
            }
            // Once per reason, since attempts repeat.
            let text = trouble.to_string();
            if complaints.insert(text.clone()) {
                tracing::warn!(%me, "no ledger: {text}");
                if matches!(&trouble, Trouble::Connect { error, .. } if error.is_about_certificates()) {
                    complain(&format!("warning: peer {me} cannot reach the ledger: {text}"));
                }
            }
            if trouble.is_of_process() {
                self.turn = self.turn.wrapping_add(1);
            }
            // Whatever was asked of the ended connection is lost with it.
            while let Ok(ask) = self.asked.try_recv() {
                match ask {
                    Ask::Call(_) => self.count_dropped(),
                    Ask::Lookup { answer, .. } => drop(answer.send(Err(Unavailable))),
                }
            }
            tokio::select! {
                () = sleep(backoff.wait()) => {}
                () = self.inbox.closed() => return,
            }
        }
    }

    /// Whether the directory will never let this life in. One whose predecessor is still there is given the time in which
    /// that one would be missed if it had just died, twice.
    fn is_refused_for_good(&mut self, trouble: &Trouble) -> bool {
        let Trouble::Register(error) = trouble else { return false };
        let is_final = match error {
            RegisterError::Outlived { .. }
            | RegisterError::NotYours
            | RegisterError::TooLong
            | RegisterError::Address(_) => true,
            RegisterError::NotAnswered => false,
            RegisterError::Taken { .. } => {
                self.taken_since.get_or_insert_with(Instant::now).elapsed() >= self.settings.silence * 2
            }
        };
        if is_final {
            self.refusal.send_replace(Some(error.clone()));
        }
        is_final
    }

    fn count_dropped(&self) {
        self.state.dropped.fetch_add(1, Ordering::Relaxed);
    }

    /// Connects to the process whose turn it is. One whose address is not known is passed over.
    async fn connect(&mut self) -> Result<Frames, Trouble> {
        let addresses = (self.addresses)();
        let turns = (0..addresses.len()).map(|later| self.turn.wrapping_add(later));
        let mut known = turns.filter_map(|turn| Some((turn, addresses.get(turn % addresses.len())?.clone()?)));
        let (turn, address) = known.next().ok_or(Trouble::NoAddress)?;
        self.turn = turn;
        let purpose = Purpose::Ledger { from: self.registration.life };
        let connected = hello::connect(&address, &self.credentials, purpose, &self.settings).await;
        connected.map_err(|error| Trouble::Connect { address, error })
    }

    /// Registers, then carries calls and replies until the connection no longer works.
    async fn serve(&mut self, frames: Frames, backoff: &mut Backoff) -> Trouble {
        let is_one_of_several = (self.addresses)().len() > 1;
        let Settings { keepalive, call: call_timeout, .. } = self.settings;
        let answer_timeout = self.settings.answer_timeout();
        let wire = Wire::new(frames, "the ledger").reporting_to(&self.refusals);
        let connection = LedgerDoorClient::new(client::Config::default(), wire);
        let client = connection.client;
        let mut dispatch = pin!(connection.dispatch.fuse());

        let register = client.register(within(answer_timeout * 4), self.registration.clone());
        let registered = tokio::select! {
            ended = &mut dispatch => return ended_because(ended),
            registered = timeout(answer_timeout, register) => registered,
        };
        match registered {
            Ok(Ok(Ok(()))) => {}
            Ok(Ok(Err(refused))) => return refused.into(),
            Ok(Err(broken)) => return broken.into(),
            Err(elapsed) => return elapsed.into(),
        }
        backoff.reset();
        self.taken_since = None;
        self.state.up.store(true, Ordering::Relaxed);
        if self.inbox.send(Input::LedgerUp).await.is_err() {
            return Trouble::NoDriver;
        }

        let mut under_way: FuturesUnordered<BoxFuture<'_, Done>> = FuturesUnordered::new();
        let mut idle = pin!(sleep_until(Instant::now() + keepalive));
        let mut pinging = false;
        loop {
            tokio::select! {
                ended = &mut dispatch => return ended_because(ended),
                Some(ask) = self.asked.recv(), if under_way.len() < CALLS => under_way.push(match ask {
                    Ask::Call(call) => {
                        if is_one_of_several {
                            let due = idle.deadline().min(Instant::now() + keepalive / IMPATIENCE);
                            idle.as_mut().reset(due);
                        }
                        let reply = timeout(call_timeout, client.call(within(call_timeout * 2), call));
                        reply.map(Done::Reply).boxed()
                    }
                    Ask::Lookup { of, answer } => {
                        let found = timeout(answer_timeout, client.lookup(within(answer_timeout * 4), of));
                        found.map(|found| Done::Address { found, answer }).boxed()
                    }
                }),
                // Pings go out beside the calls, which may wait long for a disk.
                () = &mut idle, if !pinging => {
                    pinging = true;
                    let ping = timeout(answer_timeout, client.ping(within(answer_timeout * 4), self.state.heard()));
                    under_way.push(ping.map(Done::Ping).boxed());
                }
                Some(done) = under_way.next() => {
                    match done {
                        Done::Ping(Ok(Ok(reply))) => {
                            pinging = false;
                            if self.inbox.send(Input::Ledger(reply)).await.is_err() {
                                return Trouble::NoDriver;
                            }
                        }
                        Done::Ping(Ok(Err(broken))) => return broken.into(),
                        Done::Ping(Err(elapsed)) => return elapsed.into(),
                        Done::Reply(Ok(Ok(Ok(reply)))) => {
                            if self.inbox.send(Input::Ledger(reply)).await.is_err() {
                                return Trouble::NoDriver;
                            }
                        }
                        Done::Reply(Ok(Ok(Err(_))) | Ok(Err(_)) | Err(_)) => {
                            self.state.dropped.fetch_add(1, Ordering::Relaxed);
                            continue;
                        }
                        // This is no word of the fence, so a ping is due all the same.
                        Done::Address { found, answer } => {
                            drop(answer.send(found.ok().and_then(Result::ok).ok_or(Unavailable)));
                            continue;
                        }
                    }
                    idle.as_mut().reset(Instant::now() + keepalive);
                }
                () = self.inbox.closed() => return Trouble::NoDriver,
            }
        }
    }
}

fn ended_because<E: std::error::Error>(ended: Result<(), E>) -> Trouble {
    match ended {
        Ok(()) => Trouble::Closed,
        Err(error) => Trouble::Broken(error.to_string()),
    }
}
