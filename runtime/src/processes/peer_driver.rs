//! The driver of one hosted peer: it feeds inputs to the machine and carries out its effects. Every input and every
//! effect passes through `Driver::feed`; nothing is decided here.

use std::{
    collections::{BTreeMap, VecDeque},
    path::PathBuf,
    sync::Arc,
};

use bazaar_protocol::{
    config::Config,
    effect::{Durable, Effect},
    id::{Life, PeerId},
    input::{Input, Timer, WriteId},
    peer::Peer,
};
use rand::{RngExt as _, SeedableRng as _, rngs::StdRng};
use thiserror::Error;
use tokio::{
    sync::{mpsc, watch},
    time::{Instant, sleep_until},
};

use crate::{
    config::run_dir::peer_dir,
    network::{
        directory::Registration,
        hello::Credentials,
        host::Host,
        hosted::{HostError, HostedPeer, StatusRequest},
        ledger_client::{LedgerAddress, LedgerClient},
        link::{Links, Outbound as _},
        service::PeerStatus,
        settings::Settings,
    },
    processes::report::{Event, Form, Log, Names},
    store::{PeerStore, StoreError},
};

/// How many inputs may wait for a driver. While its inbox is full, neighbours wait.
const INBOX: usize = 1_024;

/// Why a peer cannot start or continue.
#[derive(Debug, Error)]
pub enum PeerDriverError {
    /// Its configuration fails the protocol's own check.
    #[error("peer {0}: {1}")]
    Config(PeerId, Box<bazaar_protocol::config::ConfigError>),
    /// What its earlier lives left on disk cannot be read or written. The peer must not continue: it could break what
    /// it promised.
    #[error("peer {0}: {1}")]
    Store(PeerId, StoreError),
    /// It has lived before, and what it must remember from then is gone. It must not start from scratch: the numbers of
    /// its first life are used up (DESIGN R8).
    #[error("peer {peer}: its log says that it has lived before, but {} is gone; put it \
        back", dir.join("store").display())]
    StoreLost {
        /// The peer whose store is lost.
        peer: PeerId,
        /// The peer's directory, where the store should be.
        dir: PathBuf,
    },
    /// Its directory or log cannot be written.
    #[error("peer {peer}: cannot write {}: {error}", dir.display())]
    Files {
        /// The peer that cannot start.
        peer: PeerId,
        /// The peer's directory.
        dir: PathBuf,
        /// The operating system's error.
        error: std::io::Error,
    },
    /// The peer is already hosted in this process.
    #[error(transparent)]
    Host(#[from] HostError),
}

/// What the peer drivers of one process share.
pub struct HostContext {
    /// The process's listener, which serves all of its peers.
    pub host: Host,
    /// What proves that the process belongs to the run.
    pub credentials: Credentials,
    /// The waits and bounds of its connections.
    pub settings: Settings,
    /// The address that its peers register, at which others reach them.
    pub address: String,
    /// Where the ledger listens now; `None` while that is not known.
    pub ledger_address: Arc<dyn Fn() -> Option<String> + Send + Sync>,
    /// The run's directory, in which each peer has its own.
    pub dir: PathBuf,
    /// The seed of its peers' random choices.
    pub seed: u64,
    /// How events go to standard output.
    pub form: Form,
    /// What peers and goods are called.
    pub names: Arc<Names>,
    /// Becomes true when the process is to stop.
    pub stop: watch::Receiver<bool>,
}

impl std::fmt::Debug for HostContext {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("HostContext").field("address", &self.address).field("dir", &self.dir).finish_non_exhaustive()
    }
}

/// Runs a peer until it is told to stop.
///
/// # Errors
/// See [`PeerDriverError`]. After an error, the peer must not be started again before somebody has looked into it.
pub async fn run_peer(host_context: &HostContext, config: Config) -> Result<(), PeerDriverError> {
    let me = config.me;
    let dir = peer_dir(&host_context.dir, me);
    let files = |error| PeerDriverError::Files { peer: me, dir: dir.clone(), error };
    std::fs::create_dir_all(&dir).map_err(files)?;
    // The log is written from the first life on.
    let has_lived = std::fs::metadata(dir.join("log")).is_ok_and(|log| log.len() > 0);
    let log = Log::open(&dir.join("log")).map_err(files)?;
    std::fs::write(dir.join("pid"), std::process::id().to_string()).map_err(files)?;
    if has_lived && !dir.join("store").exists() {
        return Err(PeerDriverError::StoreLost { peer: me, dir });
    }
    let store = PeerStore::open(dir.join("store")).map_err(|error| PeerDriverError::Store(me, error))?;
    let durable = store.load();
    let neighbours = config.neighbours.clone();
    let (peer, effects) =
        Peer::recover(config, durable).map_err(|error| PeerDriverError::Config(me, Box::new(error)))?;

    let life = peer.view().me;
    let (inbox, inputs) = mpsc::channel(INBOX);
    let (status, status_requests) = mpsc::channel(1);
    let mut driver = Driver {
        host_context,
        peer,
        log,
        writer: Writer::start(store),
        random: StdRng::seed_from_u64(host_context.seed ^ (u64::from(me.0) << 32) ^ u64::from(life.incarnation.0)),
        timers: BTreeMap::new(),
        todo: VecDeque::new(),
        connections: None,
    };
    driver.carry_out(effects);
    // DESIGN R7: nothing is sent, not even a hello, before this life is durable.
    driver.await_first_write(me).await?;
    let registration =
        Registration { life, address: host_context.address.clone(), pid: std::process::id(), host: hostname() };
    let address = Arc::clone(&host_context.ledger_address);
    let address: LedgerAddress = Box::new(move || address());
    let credentials = host_context.credentials.clone();
    let ledger = LedgerClient::open(credentials, host_context.settings, registration, address, inbox.clone());
    let peer = HostedPeer { life, neighbours, inbox, status };
    let links = host_context.host.settle(peer, &ledger.addresses())?;
    driver.connections = Some((links, ledger));
    driver.run(inputs, status_requests).await
}

fn hostname() -> String {
    std::fs::read_to_string("/proc/sys/kernel/hostname").map_or_else(|_| "unknown".to_owned(), |s| s.trim().to_owned())
}

struct Driver<'a> {
    host_context: &'a HostContext,
    peer: Peer,
    log: Log,
    writer: Writer,
    random: StdRng,
    timers: BTreeMap<Timer, Instant>,
    /// Inputs that arose while effects were carried out.
    todo: VecDeque<Input>,
    connections: Option<(Links, LedgerClient)>,
}

impl Driver<'_> {
    async fn run(
        &mut self,
        mut inputs: mpsc::Receiver<Input>,
        mut status_requests: mpsc::Receiver<StatusRequest>,
    ) -> Result<(), PeerDriverError> {
        let me = self.peer.config().me;
        let mut stop = self.host_context.stop.clone();
        loop {
            let next = self.timers.iter().min_by_key(|(_, at)| **at).map(|(timer, at)| (*timer, *at));
            tokio::select! {
                input = inputs.recv() => {
                    // The connections hold senders for as long as the driver holds the connections.
                    let Some(input) = input else { return Ok(()) };
                    self.feed(input);
                }
                written = self.writer.done.recv() => match written {
                    Some(Ok(id)) => self.feed(Input::Written(id)),
                    Some(Err(error)) => return Err(PeerDriverError::Store(me, error)),
                    None => return Ok(()),
                },
                Some(request) = status_requests.recv() => {
                    // A tool that has gone away needs no answer.
                    let _ = request.send(self.status());
                }
                () = sleep_until(next.map_or_else(Instant::now, |(_, at)| at)), if next.is_some() => {
                    if let Some((timer, _)) = next {
                        self.timers.remove(&timer);
                        self.feed(Input::Fired(timer));
                    }
                }
                _ = stop.wait_for(|stop| *stop) => return self.shut_down(me).await,
            }
        }
    }

    /// Saves how far it has seen the books before it stops.
    async fn shut_down(&mut self, me: PeerId) -> Result<(), PeerDriverError> {
        const LAST: WriteId = WriteId(u64::MAX);
        self.writer.write(LAST, self.peer.durable_at_stop());
        while let Some(written) = self.writer.done.recv().await {
            if written.map_err(|error| PeerDriverError::Store(me, error))? == LAST {
                break;
            }
        }
        Ok(())
    }

    async fn await_first_write(&mut self, me: PeerId) -> Result<(), PeerDriverError> {
        match self.writer.done.recv().await {
            Some(Ok(id)) => self.feed(Input::Written(id)),
            Some(Err(error)) => return Err(PeerDriverError::Store(me, error)),
            None => {}
        }
        Ok(())
    }

    /// The one place through which every input and every effect passes.
    fn feed(&mut self, input: Input) {
        self.todo.push_back(input);
        while let Some(input) = self.todo.pop_front() {
            let effects = self.peer.step(input);
            self.carry_out(effects);
        }
    }

    fn carry_out(&mut self, effects: Vec<Effect>) {
        let me = self.peer.config().me;
        for effect in effects {
            match effect {
                Effect::Send { to, envelope } => {
                    if let Some((links, _)) = &self.connections {
                        links.send(to, envelope);
                    }
                }
                Effect::Ledger(call) => {
                    if let Some((_, ledger)) = &self.connections {
                        ledger.call(call);
                    }
                }
                Effect::Write { id, durable } => self.writer.write(id, durable),
                Effect::Arm { timer, after } => {
                    self.timers.insert(timer, Instant::now() + after);
                }
                Effect::Disarm(timer) => {
                    self.timers.remove(&timer);
                }
                Effect::Choose { choice, among } => {
                    let pick = self.random.random_range(0..among.max(1));
                    self.todo.push_back(Input::Chose { choice, pick });
                }
                Effect::Note { clock, epoch, note } => {
                    let event = Event::noted(me, clock, epoch, note);
                    self.host_context.form.print(&self.host_context.names, &event);
                    if let Err(error) = self.log.write(&self.host_context.names, &event) {
                        tracing::warn!(peer = %me, "cannot write the log: {error}");
                    }
                }
            }
        }
    }

    fn status(&self) -> PeerStatus {
        let view = self.peer.view();
        let Life { peer, incarnation } = view.me;
        let (links, ledger) = match &self.connections {
            Some((links, ledger)) => (links.status(), ledger.is_up()),
            None => (Vec::new(), false),
        };
        PeerStatus {
            id: peer,
            incarnation,
            pid: std::process::id(),
            role: self.host_context.names.role(peer),
            links,
            ledger,
            clock: view.clock,
            trader: view.leader.map(|(_, trader)| trader),
            epoch: view.leader.map(|(epoch, _)| epoch),
            in_office: view.office.is_some(),
            waiting: view.books.map_or(0, |books| (books.queue().len() + view.waiting) as u32),
        }
    }
}

/// Writes what must survive a crash, on a thread of its own: an fdatasync must not keep the process's other peers
/// waiting.
struct Writer {
    asked: std::sync::mpsc::Sender<(WriteId, Durable)>,
    done: mpsc::UnboundedReceiver<Result<WriteId, StoreError>>,
}

impl Writer {
    fn start(mut store: PeerStore) -> Writer {
        let (asked, asks) = std::sync::mpsc::channel::<(WriteId, Durable)>();
        let (tell, done) = mpsc::unbounded_channel();
        std::thread::spawn(move || {
            while let Ok(mut ask) = asks.recv() {
                // Each write replaces the one before, so only the last of those waiting matters.
                while let Ok(next) = asks.try_recv() {
                    ask = next;
                }
                let result = store.save(&ask.1).map(|()| ask.0);
                let is_last = result.is_err();
                if tell.send(result).is_err() || is_last {
                    return;
                }
            }
        });
        Writer { asked, done }
    }

    fn write(&self, id: WriteId, durable: Durable) {
        // If the thread is gone, it has reported why, and the driver is about to stop.
        let _ = self.asked.send((id, durable));
    }
}
