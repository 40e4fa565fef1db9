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
    id::{Epoch, Life, PeerId, Position},
    ledger::{HighWaterMark, LedgerAnswer, LedgerCall, LedgerReply, LedgerRequest, LedgerStatus, Secret, Word},
    record::Batch,
};
use futures::StreamExt;
use tarpc::{
    context,
    server::{BaseChannel, Channel},
};
use tokio::{
    net::{TcpListener, ToSocketAddrs},
    sync::{mpsc, oneshot, watch},
};

use crate::network::{
    ceiling,
    directory::{Directory, Line, RegisterError, Registration, SharedDirectory},
    door::{Door, Stranger},
    hello::{Credentials, Purpose, Refusal},
    refusals::Reason,
    service::{Hand, LedgerDoor, LedgerInfo, LedgerRefusal, LedgerTools},
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
        reply: oneshot::Sender<Result<LedgerReply, LedgerRefusal>>,
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
    /// A peer wants to be entered into the directory. Only with a store that is [shared](StoreAccess::Shared); without one,
    /// answer that it may.
    Register {
        /// Its registration, against which this process's directory has nothing to say.
        registration: Registration,
        /// What the store says: nothing, once it holds the registration as the peer's latest, where all processes of the
        /// ledger see it; or the one that it holds instead, which has the same life from another process of the peer's or a
        /// later one. If it is dropped, the peer turns to another process of the ledger.
        reply: oneshot::Sender<Result<(), Registration>>,
    },
    /// Somebody does something to the process, which its log is to say.
    Hand {
        /// What is done.
        hand: Hand,
        /// Answered once the log says it.
        reply: oneshot::Sender<()>,
    },
}

/// The state of the ledger's fence.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fence {
    /// The durable state of the fence.
    pub status: LedgerStatus,
    /// Whether the latest term is being renewed.
    pub live: bool,
    /// What is wrong with its log, in words.
    pub trouble: Option<String>,
}

/// Whether others write to the ledger's store, and so what a peer may be told without asking it.
#[derive(Debug)]
pub enum StoreAccess {
    /// Nobody does, so what its driver last said of the fence is always right. It is told with every sign of life, whatever
    /// the disk does, sealed with the ledger's secret.
    Sole {
        /// The durable state of the fence.
        status: watch::Receiver<LedgerStatus>,
        /// The ledger's secret.
        secret: Secret,
    },
    /// Other processes of the ledger do. What this one knows may be old: each sign of life takes a
    /// [call](LedgerJob::Call), as if the peer had called for the status having seen nothing, and each registration takes a
    /// [`LedgerJob::Register`]. If the store does not answer, nor does this process, and its peers turn to another.
    Shared,
}

/// The network side of the ledger's process. Dropping it closes the listener and all connections.
#[derive(Debug)]
pub struct LedgerServer {
    address: SocketAddr,
    directory: SharedDirectory,
    _listening: Task,
}

impl LedgerServer {
    /// Starts to listen. Port 0 takes any free port; see [`LedgerServer::address`]. The run has this many `peers`; others
    /// are refused. Jobs go into `jobs`, which should be bounded: when it is full, callers wait.
    ///
    /// # Errors
    /// When it cannot listen on the address.
    pub async fn listen(
        address: impl ToSocketAddrs,
        credentials: Credentials,
        settings: Settings,
        peers: u32,
        jobs: mpsc::Sender<LedgerJob>,
        store: StoreAccess,
    ) -> io::Result<LedgerServer> {
        let listener = TcpListener::bind(address).await?;
        let address = listener.local_addr()?;
        let directory = SharedDirectory::new(Mutex::new(Directory::new(settings.silence)));
        let door = Door::new(credentials, settings);
        let shared = Arc::new(Shared { door, peers, jobs, store, directory: Arc::clone(&directory) });
        let listening = async move {
            let serve = |stranger| receive(Arc::clone(&shared), stranger);
            shared.door.accept_all(listener, serve).await;
        };
        Ok(LedgerServer { address, directory, _listening: Task::spawn(listening) })
    }

    /// The address it listens on.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The directory of peers, which this process keeps. What others have entered, it has to be
    /// [told](Directory::learn).
    #[must_use]
    pub fn directory(&self) -> &Mutex<Directory> {
        &self.directory
    }
}

#[derive(Debug)]
struct Shared {
    door: Door,
    /// How many peers the run has.
    peers: u32,
    jobs: mpsc::Sender<LedgerJob>,
    store: StoreAccess,
    directory: SharedDirectory,
}

impl Shared {
    fn admit(&self, purpose: Purpose) -> Result<Option<Life>, Refusal> {
        match purpose {
            Purpose::Tool => Ok(None),
            Purpose::Ledger { from } if from.peer.0 >= self.peers => {
                Err(Refusal::NoSuchPeer { peer: from.peer, peers: self.peers })
            }
            // Whether this life may go on is decided when it registers.
            Purpose::Ledger { from } => Ok(Some(from)),
            Purpose::Link { to, .. } => {
                Err(Refusal::WrongDoor { wanted: format!("peer {to}"), this: "the ledger".to_owned() })
            }
        }
    }

    /// Enters a registration into the directory, and first into the store if others use it.
    async fn register(&self, registration: Registration) -> Result<Line, RegisterError> {
        if let StoreAccess::Shared = self.store {
            lock(&self.directory).check(&registration)?;
            let entering = registration.clone();
            let entered = self.ask(|reply| LedgerJob::Register { registration: entering, reply }).await;
            if let Err(by) = entered.map_err(|_| RegisterError::NotAnswered)? {
                lock(&self.directory).learn(by.clone());
                return Err(RegisterError::Outlived { by: Box::new(by) });
            }
        }
        // Meanwhile, another may have been entered.
        lock(&self.directory).register(registration)
    }

    /// Gives the driver a job and waits for the answer.
    async fn ask<T>(&self, job: impl FnOnce(oneshot::Sender<T>) -> LedgerJob) -> Result<T, LedgerRefusal> {
        let (reply, answer) = oneshot::channel();
        self.jobs.send(job(reply)).await.map_err(|_| LedgerRefusal::NotAnswered)?;
        answer.await.map_err(|_| LedgerRefusal::NotAnswered)
    }
}

async fn receive(shared: Arc<Shared>, stranger: Stranger) {
    let introduced = shared.door.introduce(stranger, |purpose| shared.admit(purpose)).await;
    match introduced {
        Some((frames, purpose, Some(caller))) => {
            let wire = Wire::new(frames, purpose.to_string()).reporting_to(&shared.door.refusals);
            let channel = BaseChannel::with_defaults(wire);
            let registered = Arc::new(Registered::new(&shared, caller));
            let door = PeerDoor { registered: Arc::clone(&registered), shared, caller };
            tokio::select! {
                () = channel.execute(door.serve()).for_each_concurrent(CALLS, |call| call) => {}
                () = registered.replaced() => {}
            }
        }
        Some((frames, purpose, None)) => {
            let wire = Wire::new(frames, purpose.to_string()).reporting_to(&shared.door.refusals);
            let channel = BaseChannel::with_defaults(wire);
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
    line: watch::Sender<Option<Line>>,
}

impl Registered {
    fn new(shared: &Shared, caller: Life) -> Registered {
        Registered { directory: Arc::clone(&shared.directory), peer: caller.peer, line: watch::Sender::new(None) }
    }

    /// Notes that the peer was heard.
    ///
    /// # Errors
    /// When it has not registered.
    fn heard(&self) -> Result<(), LedgerRefusal> {
        let line = self.line.borrow().clone().ok_or(LedgerRefusal::NotRegistered)?;
        lock(&self.directory).heard(self.peer, &line);
        Ok(())
    }

    /// Waits until the peer has registered over another connection.
    async fn replaced(&self) {
        let mut lines = self.line.subscribe();
        loop {
            let replaced = lines.borrow_and_update().as_ref().map(|line| Arc::clone(&line.replaced));
            match replaced {
                Some(replaced) => {
                    tokio::select! {
                        () = replaced.notified() => return,
                        _ = lines.changed() => {}
                    }
                }
                None => drop(lines.changed().await),
            }
        }
    }
}

impl Drop for Registered {
    fn drop(&mut self) {
        if let Some(line) = &*self.line.borrow() {
            lock(&self.directory).disconnected(self.peer, line);
        }
    }
}

#[derive(Clone, Debug)]
struct PeerDoor {
    shared: Arc<Shared>,
    caller: Life,
    registered: Arc<Registered>,
}

impl PeerDoor {
    fn in_anothers_name(&self, does: &str, other: Life) {
        let detail = format_args!(
            "peer {} (life {}) {does} in the name of peer {} (life {})",
            self.caller.peer, self.caller.incarnation, other.peer, other.incarnation
        );
        self.shared.door.refusals.refuse(Reason::OtherName, detail);
    }
}

impl LedgerDoor for PeerDoor {
    async fn ping(self, _: context::Context, heard: Epoch) -> LedgerReply {
        // Before it has registered, it may ask whether anybody is there.
        let _ = self.registered.heard();
        match &self.shared.store {
            StoreAccess::Sole { status, secret } => {
                let word = Word::of(self.caller, heard, *status.borrow(), *secret);
                LedgerReply { word, answer: LedgerAnswer::Status }
            }
            StoreAccess::Shared => {
                let (seen, request) = (HighWaterMark::default(), LedgerRequest::Status);
                let call = LedgerCall { caller: self.caller, seen, heard, request };
                match self.shared.ask(|reply| LedgerJob::Call { call, reply }).await {
                    Ok(Ok(reply)) => reply,
                    // There is no word without the store. The peer stops waiting, and turns to another process.
                    Ok(Err(_)) | Err(_) => std::future::pending().await,
                }
            }
        }
    }

    async fn call(self, _: context::Context, call: LedgerCall) -> Result<LedgerReply, LedgerRefusal> {
        self.registered.heard()?;
        if call.caller != self.caller {
            self.in_anothers_name("calls", call.caller);
            return Err(LedgerRefusal::NotYou);
        }
        if let LedgerRequest::Append(batch) = &call.request
            && let Some(reading) = ceiling::above(batch.furthest())
        {
            let detail = format_args!("a batch of peer {}: {reading}", self.caller.peer);
            self.shared.door.refusals.refuse(Reason::Implausible, detail);
            return Err(LedgerRefusal::ClockAbsurd);
        }
        let HighWaterMark { epoch, head, .. } = call.seen;
        let answer = self.shared.ask(|reply| LedgerJob::Call { call, reply }).await?;
        if answer == Err(LedgerRefusal::MadeUp) {
            let peer = self.caller.peer;
            let detail = format_args!(
                "a call of peer {peer}: it says that it has seen epoch {epoch} and {head} records; either nobody has, or its \
                 batch is not what it says it is"
            );
            self.shared.door.refusals.refuse(Reason::Implausible, detail);
        }
        answer
    }

    async fn register(self, _: context::Context, registration: Registration) -> Result<(), RegisterError> {
        if registration.life != self.caller {
            self.in_anothers_name("registers", registration.life);
            return Err(RegisterError::NotYours);
        }
        let registered = self.shared.register(registration).await;
        if let Err(error @ RegisterError::Outlived { .. }) = &registered {
            let detail = format_args!("peer {} (life {}): {error}", self.caller.peer, self.caller.incarnation);
            self.shared.door.refusals.refuse(Reason::OldLife, detail);
        }
        self.registered.line.send_replace(Some(registered?));
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
        let Fence { status, live, trouble } = self.shared.ask(|reply| LedgerJob::Info { reply }).await?;
        let directory = lock(&self.shared.directory);
        let door = self.shared.door.status();
        let entries = that_fit(&door, directory.entries(after));
        let more = directory.entries(after).count() > entries.len();
        Ok(LedgerInfo { status, live, trouble, entries, more, door })
    }

    async fn log(self, _: context::Context, from: Position) -> Result<Vec<Batch>, LedgerRefusal> {
        self.shared.ask(|reply| LedgerJob::Log { from, reply }).await
    }

    async fn hand(self, _: context::Context, hand: Hand) -> Result<(), LedgerRefusal> {
        self.shared.ask(|reply| LedgerJob::Hand { hand, reply }).await
    }

    async fn detour(self, _: context::Context, of: PeerId, seeker: PeerId, address: Option<String>) {
        lock(&self.shared.directory).detour(of, seeker, address);
    }
}
