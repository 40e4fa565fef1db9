//! The ledger's end of its connections. Nothing is decided here: every call goes through a channel to the ledger's
//! driver, and its answer comes back. A job whose reply is dropped is not answered, and its caller asks again.
//!
//! A caller that disconnects or stops waiting cancels nothing: once a job is in the channel, the driver carries it out.

use std::{
    io,
    net::SocketAddr,
    sync::{Arc, Mutex},
};

use bazaar_protocol::{
    id::{Life, PeerId, Position},
    ledger::{LedgerCall, LedgerReply, LedgerStatus},
    record::Batch,
};
use futures::StreamExt;
use tarpc::{
    context,
    server::{BaseChannel, Channel},
};
use tokio::{
    net::{TcpListener, ToSocketAddrs},
    sync::{mpsc, oneshot},
};

use crate::network::{
    directory::{Connection, Directory, RegisterError, Registration, SharedDirectory},
    hello::{self, Credentials, Purpose, Refusal, Stranger},
    service::{LedgerDoor, LedgerInfo, LedgerRefusal, LedgerTools},
    settings::Settings,
    task::{Task, lock},
    wire::{Wire, that_fit},
};

/// How many calls of one connection are handled at the same time; further ones wait unread.
const CALLS: usize = 64;

/// Something for the ledger's driver to do.
#[derive(Debug)]
pub enum LedgerJob {
    /// A peer calls. The connection vouches for the caller.
    Call {
        /// The call.
        call: LedgerCall,
        /// Where the reply goes. If it is dropped, the call is not answered.
        reply: oneshot::Sender<LedgerReply>,
    },
    /// A tool reads the log.
    Log {
        /// The first position wanted, where a batch starts.
        from: Position,
        /// Where the durable batches go. If it is dropped, the tool gets no answer.
        reply: oneshot::Sender<Vec<Batch>>,
    },
    /// A tool asks for the state of the fence.
    Info {
        /// Where the answer goes. If it is dropped, the tool gets no answer.
        reply: oneshot::Sender<Fence>,
    },
}

/// The state of the ledger's fence.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fence {
    /// The durable state of the fence.
    pub status: LedgerStatus,
    /// Whether the latest term is being renewed.
    pub live: bool,
}

/// The network side of the ledger's process. Dropping it closes the listener and all connections.
#[derive(Debug)]
pub struct LedgerServer {
    address: SocketAddr,
    directory: SharedDirectory,
    _listening: Task,
}

impl LedgerServer {
    /// Starts to listen. Port 0 takes any free port; see [`LedgerServer::address`]. Jobs go into `jobs`, which should
    /// be bounded: when it is full, callers wait.
    ///
    /// # Errors
    /// When it cannot listen on the address.
    pub async fn listen(
        address: impl ToSocketAddrs,
        credentials: Credentials,
        settings: Settings,
        jobs: mpsc::Sender<LedgerJob>,
    ) -> io::Result<LedgerServer> {
        let listener = TcpListener::bind(address).await?;
        let address = listener.local_addr()?;
        let directory = SharedDirectory::default();
        let shared = Arc::new(Shared { credentials, settings, jobs, directory: Arc::clone(&directory) });
        let serve = move |stranger| receive(Arc::clone(&shared), stranger);
        Ok(LedgerServer { address, directory, _listening: Task::spawn(hello::accept_all(listener, settings, serve)) })
    }

    /// The address it listens on.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The directory of peers, which this process keeps.
    #[must_use]
    pub fn directory(&self) -> &Mutex<Directory> {
        &self.directory
    }
}

#[derive(Debug)]
struct Shared {
    credentials: Credentials,
    settings: Settings,
    jobs: mpsc::Sender<LedgerJob>,
    directory: SharedDirectory,
}

impl Shared {
    fn admit(&self, purpose: Purpose) -> Result<Option<Life>, Refusal> {
        match purpose {
            Purpose::Tool => Ok(None),
            Purpose::Ledger { from } => match lock(&self.directory).latest(from.peer) {
                Some(latest) if latest > from.incarnation => Err(Refusal::OldLife { latest }),
                Some(_) | None => Ok(Some(from)),
            },
            Purpose::Link { to, .. } => {
                Err(Refusal::WrongDoor { wanted: format!("peer {to}"), this: "the ledger".to_owned() })
            }
        }
    }

    /// Gives the driver a job and waits for the answer.
    async fn ask<T>(&self, job: impl FnOnce(oneshot::Sender<T>) -> LedgerJob) -> Result<T, LedgerRefusal> {
        let (reply, answer) = oneshot::channel();
        self.jobs.send(job(reply)).await.map_err(|_| LedgerRefusal::NotAnswered)?;
        answer.await.map_err(|_| LedgerRefusal::NotAnswered)
    }
}

async fn receive(shared: Arc<Shared>, stranger: Stranger) {
    let introduced =
        stranger.introduce_itself(&shared.credentials, &shared.settings, |purpose| shared.admit(purpose)).await;
    match introduced {
        Some((frames, purpose, Some(caller))) => {
            let channel = BaseChannel::with_defaults(Wire::new(frames, purpose.to_string()));
            let door = PeerDoor { registered: Arc::new(Registered::new(&shared, caller)), shared, caller };
            channel.execute(door.serve()).for_each_concurrent(CALLS, |call| call).await;
        }
        Some((frames, purpose, None)) => {
            let channel = BaseChannel::with_defaults(Wire::new(frames, purpose.to_string()));
            channel.execute(ToolDoor { shared }.serve()).for_each_concurrent(CALLS, |call| call).await;
        }
        None => {}
    }
}

/// Remembers what was registered over a connection, and marks the peer as disconnected in the directory when the
/// connection ends.
#[derive(Debug)]
struct Registered {
    directory: SharedDirectory,
    peer: PeerId,
    connection: Mutex<Option<Connection>>,
}

impl Registered {
    fn new(shared: &Shared, caller: Life) -> Registered {
        Registered { directory: Arc::clone(&shared.directory), peer: caller.peer, connection: Mutex::new(None) }
    }
}

impl Drop for Registered {
    fn drop(&mut self) {
        if let Some(connection) = *lock(&self.connection) {
            lock(&self.directory).disconnected(self.peer, connection);
        }
    }
}

#[derive(Clone, Debug)]
struct PeerDoor {
    shared: Arc<Shared>,
    caller: Life,
    registered: Arc<Registered>,
}

impl LedgerDoor for PeerDoor {
    async fn ping(self, _: context::Context) {}

    async fn call(self, _: context::Context, call: LedgerCall) -> Result<LedgerReply, LedgerRefusal> {
        if call.caller != self.caller {
            tracing::warn!(caller = ?self.caller, "a call in the name of {:?} is refused", call.caller);
            return Err(LedgerRefusal::NotYou);
        }
        self.shared.ask(|reply| LedgerJob::Call { call, reply }).await
    }

    async fn register(self, _: context::Context, registration: Registration) -> Result<(), RegisterError> {
        if registration.life != self.caller {
            return Err(RegisterError::NotYours);
        }
        let connection = lock(&self.shared.directory).register(registration)?;
        *lock(&self.registered.connection) = Some(connection);
        Ok(())
    }

    async fn lookup(self, _: context::Context, of: PeerId) -> Option<String> {
        lock(&self.shared.directory).address(of, self.caller.peer)
    }
}

#[derive(Clone, Debug)]
struct ToolDoor {
    shared: Arc<Shared>,
}

impl LedgerTools for ToolDoor {
    async fn status(self, _: context::Context, after: Option<PeerId>) -> Result<LedgerInfo, LedgerRefusal> {
        let Fence { status, live } = self.shared.ask(|reply| LedgerJob::Info { reply }).await?;
        let directory = lock(&self.shared.directory);
        let entries = that_fit(directory.entries(after));
        let more = directory.entries(after).count() > entries.len();
        Ok(LedgerInfo { status, live, entries, more })
    }

    async fn log(self, _: context::Context, from: Position) -> Result<Vec<Batch>, LedgerRefusal> {
        self.shared.ask(|reply| LedgerJob::Log { from, reply }).await
    }

    async fn detour(self, _: context::Context, of: PeerId, seeker: PeerId, address: Option<String>) {
        lock(&self.shared.directory).detour(of, seeker, address);
    }
}
