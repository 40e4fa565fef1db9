//! The driver of one hosted peer: it feeds inputs to the machine and carries out its effects. Every input and every
//! effect passes through `Driver::feed`; nothing is decided here.

use std::{
    collections::{BTreeMap, VecDeque},
    path::{Path, PathBuf},
    pin::pin,
    sync::Arc,
};

use bazaar_protocol::{
    books::Books,
    config::Config,
    effect::{Durable, Effect, Note},
    forgotten::Forgotten,
    id::{Life, PeerId},
    input::{Input, Timer, WriteId},
    office::Office,
    peer::Peer,
    trader::Trader,
};
use rand::{RngExt as _, SeedableRng as _, rngs::StdRng};
use thiserror::Error;
use tokio::{
    sync::{mpsc, oneshot, watch},
    time::{Instant, sleep_until},
};

use crate::{
    config::run_dir::{leave_address, left_file, peer_dir, pid_file},
    network::{
        directory::{RegisterError, Registration},
        hello::Credentials,
        host::Host,
        hosted::{HostError, HostedPeer, Request},
        ledger_client::{LedgerAddresses, LedgerClient},
        link::{Links, Outbound as _},
        refusals::Reason,
        service::{HandRefusal, PeerStatus, Waits},
        settings::Settings,
    },
    processes::{
        log::{Log, once_written},
        report::{Event, Filter, Form, Names, ProcessEvent},
        supervise::Process,
    },
    store::{PeerStore, StoreError},
    system::{files::replace_whole, process::ProcessMark},
};

/// How many inputs may wait for a driver. While its inbox is full, neighbours wait.
const INBOX: usize = 1_024;

/// How many of them it takes at once: what one leads to is sent beside what the others lead to.
const AT_ONCE: usize = 32;

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
        back, or run `bazaar rejoin {peer}` to let it in again with a new one", dir.join("store").display())]
    StoreLost {
        /// The peer whose store is lost.
        peer: PeerId,
        /// The peer's directory, where the store should be.
        dir: PathBuf,
    },
    /// Others know of numbers of this peer that its store does not. It must not go on: it would use them again.
    #[error("peer {peer}: {}", old_copy(*.peer, dir, &format!("others know of {forgotten}")))]
    OldCopy {
        /// The peer.
        peer: PeerId,
        /// The peer's directory, with the old store.
        dir: PathBuf,
        /// What the store does not know of.
        forgotten: Forgotten,
    },
    /// The directory does not let it in.
    #[error("peer {peer}: {}", kept_out(*.peer, dir, refusal))]
    KeptOut {
        /// The peer.
        peer: PeerId,
        /// The peer's directory.
        dir: PathBuf,
        /// Why.
        refusal: RegisterError,
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
    /// The thread that writes its store has panicked, and has said so.
    #[error("peer {0}: the thread that writes its store has panicked, which is a fault in the program")]
    Writer(PeerId),
    /// The peer is already hosted in this process.
    #[error(transparent)]
    Host(#[from] HostError),
}

fn old_copy(peer: PeerId, dir: &Path, found: &str) -> String {
    format!(
        "{found}, but {} does not: this store is an old copy, or not this peer's. Put the latest one back; if it is lost, \
         run `bazaar rejoin {peer}` to let the peer in again with a new one",
        dir.join("store").display()
    )
}

fn kept_out(peer: PeerId, dir: &Path, refusal: &RegisterError) -> String {
    match refusal {
        RegisterError::Outlived { .. } => {
            format!("if the peer runs twice, stop this one; if not: {}", old_copy(peer, dir, &refusal.to_string()))
        }
        RegisterError::Taken { .. } => format!("{refusal}; stop that process first, or give this one another id"),
        RegisterError::NotYours | RegisterError::TooLong | RegisterError::Address(_) | RegisterError::NotAnswered => {
            refusal.to_string()
        }
    }
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
    /// Where each process of the ledger listens now; `None` while that is not known.
    pub ledger_addresses: Arc<dyn Fn() -> Vec<Option<String>> + Send + Sync>,
    /// The run's directory, in which each peer has its own.
    pub dir: PathBuf,
    /// The seed of its peers' random choices.
    pub seed: u64,
    /// How events go to standard output.
    pub form: Form,
    /// Which of its peers' events do.
    pub filter: Filter,
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
    let ended = drive(host_context, config, dir.clone()).await;
    if let Err(
        error @ (PeerDriverError::StoreLost { .. } | PeerDriverError::OldCopy { .. } | PeerDriverError::KeptOut { .. }),
    ) = &ended
    {
        // For `status`, which cannot ask it any more. Whoever started it is told in any case.
        let _ = replace_whole(&left_file(&dir), error.to_string().as_bytes());
    }
    ended
}

async fn drive(host_context: &HostContext, config: Config, dir: PathBuf) -> Result<(), PeerDriverError> {
    let me = config.me;
    let files = |error| PeerDriverError::Files { peer: me, dir: dir.clone(), error };
    // The log is written from the first life on.
    let has_lived = std::fs::metadata(dir.join("log")).is_ok_and(|log| log.len() > 0);
    let log = Log::open(&dir.join("log"), format!("peer {me}")).map_err(files)?;
    if has_lived && !dir.join("store").exists() {
        return Err(PeerDriverError::StoreLost { peer: me, dir });
    }
    let store = PeerStore::open(dir.join("store")).map_err(|error| PeerDriverError::Store(me, error))?;
    // Only now: a process that cannot have the store must not stand in the place of the one that has it.
    let _ = std::fs::remove_file(left_file(&dir));
    ProcessMark::of_this().and_then(|this| this.leave(&pid_file(&dir))).map_err(files)?;
    let durable = store.load();
    let neighbours = config.neighbours.clone();
    let (peer, effects) =
        Peer::recover(config, durable).map_err(|error| PeerDriverError::Config(me, Box::new(error)))?;

    let life = peer.view().me;
    let (inbox, inputs) = mpsc::channel(INBOX);
    let (requests, asked) = mpsc::channel(1);
    let mut driver = Driver {
        host_context,
        peer,
        log,
        writer: Writer::start(store),
        random: StdRng::seed_from_u64(host_context.seed ^ (u64::from(me.0) << 32) ^ u64::from(life.incarnation.0)),
        timers: BTreeMap::new(),
        todo: VecDeque::new(),
        connections: None,
        has_compared: false,
        forgotten: None,
    };
    driver.carry_out(effects);
    // DESIGN R7: nothing is sent, not even a hello, before this life is durable.
    driver.await_first_write(me).await?;
    if !has_lived {
        // Nor before the log says that it has lived: without that, a store that is lost would not be missed.
        let (tell, told) = oneshot::channel();
        once_written(move || {
            let _ = tell.send(());
        });
        let _ = told.await;
    }
    let registration = Registration {
        life,
        instance: rand::random(),
        address: host_context.address.clone(),
        pid: std::process::id(),
        host: hostname(),
    };
    let addresses = Arc::clone(&host_context.ledger_addresses);
    let addresses: LedgerAddresses = Box::new(move || addresses());
    let credentials = host_context.credentials.clone();
    let ledger = LedgerClient::open(
        credentials,
        host_context.settings,
        registration,
        addresses,
        inbox.clone(),
        Arc::clone(host_context.host.refusals()),
    );
    let peer = HostedPeer { life, neighbours, inbox, requests };
    let links = host_context.host.settle(peer, &ledger.addresses())?;
    // For the tools on this machine, while the ledger's directory does not have it.
    leave_address(&dir, &host_context.address).map_err(files)?;
    driver.connections = Some((links, ledger));
    driver.run(inputs, asked).await
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
    /// Whether it has said that the books are kept in another order.
    has_compared: bool,
    /// What others know of this life and it does not: it must stop.
    forgotten: Option<Forgotten>,
}

impl Driver<'_> {
    async fn run(
        &mut self,
        mut inputs: mpsc::Receiver<Input>,
        mut requests: mpsc::Receiver<Request>,
    ) -> Result<(), PeerDriverError> {
        let me = self.peer.config().me;
        let mut stop = self.host_context.stop.clone();
        let kept_out = self.connections.as_ref().map(|(_, ledger)| ledger.refused());
        let mut kept_out = pin!(async {
            match kept_out {
                Some(refused) => refused.await,
                None => std::future::pending().await,
            }
        });
        let dir = || peer_dir(&self.host_context.dir, me);
        let mut arrived = Vec::with_capacity(AT_ONCE);
        loop {
            if let Some(forgotten) = self.forgotten {
                return Err(PeerDriverError::OldCopy { peer: me, dir: dir(), forgotten });
            }
            let next = self.timers.iter().min_by_key(|(_, at)| **at).map(|(timer, at)| (*timer, *at));
            tokio::select! {
                count = inputs.recv_many(&mut arrived, AT_ONCE) => {
                    // The connections hold senders for as long as the driver holds the connections.
                    if count == 0 {
                        return Ok(());
                    }
                    for input in arrived.drain(..) {
                        // It must stop, and a peer that must stop hears nothing more.
                        if self.forgotten.is_none() {
                            self.feed(input);
                        }
                    }
                }
                written = self.writer.done.recv() => match written {
                    Some(Ok(id)) => self.feed(Input::Written(id)),
                    Some(Err(error)) => return Err(PeerDriverError::Store(me, error)),
                    None => return Err(PeerDriverError::Writer(me)),
                },
                Some(request) = requests.recv() => self.on_request(request),
                () = reach(next.map(|(_, at)| at)) => {
                    if let Some((timer, _)) = next {
                        self.timers.remove(&timer);
                        self.feed(Input::Fired(timer));
                    }
                }
                refusal = &mut kept_out => {
                    return Err(PeerDriverError::KeptOut { peer: me, dir: dir(), refusal });
                }
                _ = stop.wait_for(|stop| *stop) => return self.shut_down(me).await,
            }
        }
    }

    /// Does what a tool asks. A tool that has gone away needs no answer.
    fn on_request(&mut self, request: Request) {
        let me = self.peer.config().me;
        match request {
            Request::Status(answer) => drop(answer.send(self.status())),
            Request::Cut { to, answer } => {
                let cut = self.connections.as_ref().map_or(Err(HandRefusal::NoAnswer), |(links, _)| links.cut(to));
                if cut == Ok(true) {
                    self.say(Event::now(ProcessEvent::LinkCut { process: of(me), neighbour: to }));
                }
                let _ = answer.send(cut.map(drop));
            }
            Request::Heal(answer) => {
                let healed = self.connections.as_ref().map(|(links, _)| links.heal()).unwrap_or_default();
                for neighbour in &healed {
                    let what = ProcessEvent::LinkHealed { process: of(me), neighbour: *neighbour };
                    self.say(Event::now(what));
                }
                drop(answer.send(healed));
            }
            Request::Resign(answer) => {
                let is_trader = self.peer.view().office.is_some();
                if is_trader {
                    self.say(Event::now(ProcessEvent::AskedToResign { process: of(me) }));
                    self.feed(Input::Resign);
                }
                let _ = answer.send(if is_trader { Ok(()) } else { Err(HandRefusal::NotTrader(me)) });
            }
            Request::Hand { hand, answer } => {
                self.say(Event::now(ProcessEvent::by_hand(Process::Peers(vec![me]), hand)));
                once_written(move || {
                    let _ = answer.send(());
                });
            }
        }
    }

    /// Saves how far it has seen the books before it stops.
    async fn shut_down(&mut self, me: PeerId) -> Result<(), PeerDriverError> {
        const LAST: WriteId = WriteId(u64::MAX);
        self.writer.write(LAST, self.peer.durable_at_stop());
        while let Some(written) = self.writer.done.recv().await {
            if written.map_err(|error| PeerDriverError::Store(me, error))? == LAST {
                return Ok(());
            }
        }
        Err(PeerDriverError::Writer(me))
    }

    async fn await_first_write(&mut self, me: PeerId) -> Result<(), PeerDriverError> {
        match self.writer.done.recv().await {
            Some(Ok(id)) => self.feed(Input::Written(id)),
            Some(Err(error)) => return Err(PeerDriverError::Store(me, error)),
            None => return Err(PeerDriverError::Writer(me)),
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
        if let Some((_, ledger)) = &self.connections {
            ledger.tell_heard(self.peer.participant().latest_epoch());
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
                Effect::Stop(forgotten) => self.forgotten = Some(forgotten),
                Effect::Choose { choice, among } => {
                    let pick = self.random.random_range(0..among.max(1));
                    self.todo.push_back(Input::Chose { choice, pick });
                }
                Effect::Note { note: note @ (Note::EnvelopeRefused { .. } | Note::TermRefused { .. }), .. }
                    if !self.is_to_be_said(&note) => {}
                Effect::Note { clock, epoch, note } => {
                    let takes_office = matches!(note, Note::TookOffice { .. });
                    self.say(Event::noted(me, clock, epoch, note));
                    if takes_office {
                        self.compare_ordering();
                    }
                }
            }
        }
    }

    /// Counts a refusal among those of the process; whether it is said alone, or with others of its second (SPEC I7).
    fn is_to_be_said(&self, refused: &Note) -> bool {
        let me = self.peer.config().me;
        let detail = format_args!("peer {me} {}", refused.told(&*self.host_context.names));
        self.host_context.host.refusals().count(Reason::Implausible, &detail)
    }

    fn say(&mut self, event: Event) {
        let HostContext { form, filter, names, .. } = self.host_context;
        if filter.shows(&event) {
            form.print(names, &event);
        }
        self.log.write(names, event);
    }

    /// Says once if the books that it serves from are kept in another order than it is set up for.
    fn compare_ordering(&mut self) {
        let configured = self.peer.config().terms.ordering;
        let books = self.peer.view().books.and_then(Books::ordering).filter(|books| *books != configured);
        if let Some(books) = books.filter(|_| !self.has_compared) {
            self.has_compared = true;
            self.say(Event::now(ProcessEvent::OrderingDiffers { books, configured }));
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
            ordering: view.books.and_then(Books::ordering),
            seats: view.books.map(seats).unwrap_or_default(),
            waits: self.peer.participant().office().and_then(Office::trader).and_then(waits),
            trouble: self.log.trouble(),
        }
    }
}

/// Waits until then; for ever if there is no such time. A time that has come is not waited for: tokio's timers go off up
/// to a millisecond late, and a purchase takes less.
async fn reach(at: Option<Instant>) {
    match at {
        Some(at) if at <= Instant::now() => {}
        Some(at) => sleep_until(at).await,
        None => std::future::pending().await,
    }
}

/// What an event calls the process of this peer.
fn of(peer: PeerId) -> String {
    Process::Peers(vec![peer]).to_string()
}

fn seats(books: &Books) -> Vec<Life> {
    let accounts = books.buyers().iter();
    accounts.filter_map(|(peer, account)| Some(Life { peer: *peer, incarnation: account.seated()? })).collect()
}

fn waits(trader: &Trader) -> Option<Waits> {
    Some(Waits { place: trader.waits()?, buyers: trader.awaited().collect() })
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

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use futures::FutureExt as _;
    use std::time::Duration;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_time_that_has_come_is_not_waited_for() {
        let now = Instant::now();
        assert!(reach(Some(now)).now_or_never().is_some());
        assert!(reach(Some(now + Duration::from_millis(1))).now_or_never().is_none());
        assert!(reach(None).now_or_never().is_none());
    }
}
