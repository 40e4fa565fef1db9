//! The ledger's end of its connections. What the ledger decides is decided elsewhere: every call goes through a channel
//! to the ledger's driver and its answer comes back; a job whose reply is dropped is not answered, and its caller asks
//! again.
//!
//! A caller that goes away, or no longer waits, takes nothing back: its job is the driver's once it is in the channel.

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

/// How many calls of one connection are dealt with at the same time; further ones wait unread.
const CALLS: usize = 64;

/// Something for the ledger's driver to do.
#[derive(Debug)]
pub enum LedgerJob {
    /// A peer calls. The connection vouches for the caller.
    Call {
        /// The call.
        call: LedgerCall,
        /// Where the reply goes. Dropped: not answered.
        reply: oneshot::Sender<LedgerReply>,
    },
    /// A tool reads the log itself.
    Log {
        /// The first position wanted, where a batch starts.
        from: Position,
        /// Where the durable batches go. Dropped: not answered.
        reply: oneshot::Sender<Vec<Batch>>,
    },
    /// A tool asks how the ledger is.
    Info {
        /// Where the answer goes. Dropped: not answered.
        reply: oneshot::Sender<Fence>,
    },
}

/// How the ledger is.
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
    /// Listens. Port 0 takes any that is free; see [`LedgerServer::address`]. Jobs go into `jobs`, which should be
    /// bounded: when it is full, callers wait.
    ///
    /// # Errors
    /// When the address cannot be listened on.
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

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The directory.
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

    /// Has the driver do something, and waits for the answer.
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

/// Remembers what was registered over a connection, and takes note in the directory when that ends.
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
