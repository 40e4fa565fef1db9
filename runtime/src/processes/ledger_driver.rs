//! The ledger's process: the pure machine, a store on a thread of its own, and the network side.

use std::{
    collections::BTreeMap,
    error::Error,
    path::{Path, PathBuf},
    sync::{Arc, mpsc as thread_mpsc},
};

use bazaar_protocol::{
    config::Ordering,
    id::Position,
    ledger::{
        CallId, HighWaterMark, Ledger, LedgerAnswer, LedgerCall, LedgerConfig, LedgerEffect, LedgerInput, LedgerReply,
        LedgerStatus, Word,
    },
    record::{Batch, Entry},
    snapshot::ChunkId,
    store::Store,
};
use thiserror::Error;
use tokio::{
    sync::{mpsc, oneshot, watch},
    time::{Instant, sleep_until},
};

use crate::{
    config::{
        ledger::LedgerId,
        run_dir::{leave_address, pid_file},
    },
    network::{
        directory::is_wildcard,
        hello::Credentials,
        ledger_service::{Fence, LedgerJob, LedgerServer, StoreAccess},
        service::{Hand, LedgerRefusal},
        settings::Settings,
    },
    processes::{
        eavesdroppers::warn_of_eavesdroppers,
        log::{Log, once_written},
        report::{Event, Form, Names, ProcessEvent},
        supervise::Process,
    },
    store::{
        StoreError,
        witness::{self, Gone},
    },
    system::process::ProcessMark,
};

/// How many jobs may wait for the machine. When no more fit, callers wait.
pub(super) const JOBS: usize = 1_024;

/// Why the ledger cannot start or continue.
#[derive(Debug, Error)]
pub enum LedgerDriverError {
    /// The store cannot be opened, read or written. The operation is not retried (DESIGN 3).
    #[error(transparent)]
    Store(Box<dyn Error + Send + Sync>),
    /// The thread that writes the books has panicked, and has said so.
    #[error("the thread that writes the books has panicked, which is a fault in the program")]
    Committer,
    /// A task that asks something of the store has panicked, and has said so.
    #[error("a task that asks something of the store has panicked, which is a fault in the program")]
    Task,
    /// A peer has seen durable records that the store does not hold.
    #[error(transparent)]
    Gone(#[from] Gone),
    /// The store in etcd holds other records than a while ago.
    #[error(
        "acknowledged records are gone: {prefix} in etcd held epoch {} and {} records, and now holds others in their place. \
         The cluster was restored from a backup and has gone on since, or another one answers in its place",
        seen.epoch, seen.head
    )]
    Replaced {
        /// The store's prefix.
        prefix: String,
        /// What this process has seen there.
        seen: HighWaterMark,
    },
    /// The store in etcd held more a while ago than it does now.
    #[error(
        "acknowledged records are gone: {prefix} in etcd held epoch {} and {} records, and now holds epoch {} and {} \
         records. The cluster was restored from a backup, or another one answers in its place",
        seen.epoch, seen.head, holds.epoch, holds.head
    )]
    Shrunk {
        /// The store's prefix.
        prefix: String,
        /// What this process has seen there.
        seen: HighWaterMark,
        /// What is there.
        holds: HighWaterMark,
    },
    /// The note of what is gone cannot be read, written or removed.
    #[error(transparent)]
    Note(#[from] StoreError),
    /// The ledger cannot listen on its address.
    #[error("cannot listen on {address}: {error}; give another address in [ledger], or stop the program that uses it")]
    Listen {
        /// The address as configured.
        address: String,
        /// The operating system's error.
        error: std::io::Error,
    },
    /// The ledger listens on every address of the machine, and is to be reached at none.
    #[error(
        "{0} stands for every address of whichever machine uses it: give the ledger an address in [ledger] at which \
         the others reach this machine"
    )]
    Wildcard(String),
    /// The directory cannot be written.
    #[error("cannot write {}: {error}", dir.display())]
    Files {
        /// The directory, or the file in it.
        dir: PathBuf,
        /// The operating system's error.
        error: std::io::Error,
    },
}

/// How the ledger's process is set up.
#[derive(Debug)]
pub struct LedgerDriverConfig {
    /// Which process of the ledger it is.
    pub id: LedgerId,
    /// Its directory within the run's.
    pub dir: PathBuf,
    /// Where it listens, `host:port`; port 0 takes any free one.
    pub listen: String,
    /// Where the others reach it; `None`: where it listens.
    pub address: Option<String>,
    /// The configuration of the machine: its lease and its limits.
    pub ledger: LedgerConfig,
    /// The order that the configuration asks for. If the books were opened with another, it is said at the start.
    pub ordering: Ordering,
    /// How many peers the run has.
    pub peers: u32,
    /// What proves that the process belongs to the run.
    pub credentials: Credentials,
    /// The waits and bounds of its connections.
    pub settings: Settings,
    /// How events go to standard output.
    pub form: Form,
}

/// Refuses a store that lacks what the note in the ledger's directory says that somebody has seen. Once a store has it
/// again, the note is removed.
fn check_note(dir: &Path, holds: HighWaterMark) -> Result<(), LedgerDriverError> {
    let Some(witness) = witness::noted(dir)? else { return Ok(()) };
    witness.compare(holds)?;
    Ok(witness::forget(dir)?)
}

/// A store that a ledger's process can keep its books in: any [`Store`] that can be moved to a thread of its own.
pub trait LedgerStore: Store<Error: Error + Send + Sync + 'static> + Send + 'static {}

impl<S: Store<Error: Error + Send + Sync + 'static> + Send + 'static> LedgerStore for S {}

pub(super) fn failed(error: impl Error + Send + Sync + 'static) -> LedgerDriverError {
    LedgerDriverError::Store(Box::new(error))
}

/// The order in which the books in this store are kept: the first record is a claim, which fixes it.
fn ordering_of<S: Store>(store: &S) -> Result<Option<Ordering>, S::Error> {
    let batches = store.batches(Position(0), store.tail().status.head)?;
    let first = batches.first().and_then(|batch| batch.records.first());
    Ok(first.and_then(|record| if let Entry::Claimed { ordering, .. } = record.entry { Some(ordering) } else { None }))
}

/// What a process of a ledger has of its own, whatever it keeps the books in: its directory, its log, and the network side.
pub(super) struct Desk {
    pub(super) id: LedgerId,
    pub(super) dir: PathBuf,
    pub(super) log: Log,
    pub(super) ledger: LedgerConfig,
    ordering: Ordering,
    names: Arc<Names>,
    form: Form,
    network: Network,
}

/// How it is reached.
struct Network {
    listen: String,
    address: Option<String>,
    peers: u32,
    credentials: Credentials,
    settings: Settings,
}

impl Desk {
    /// Makes the directory, if it is not there, and opens the log in it.
    pub(super) fn open(config: LedgerDriverConfig) -> Result<Desk, LedgerDriverError> {
        let LedgerDriverConfig { id, dir, listen, address, ledger, ordering, peers, credentials, settings, form } =
            config;
        let files = |error| LedgerDriverError::Files { dir: dir.clone(), error };
        std::fs::create_dir_all(&dir).map_err(files)?;
        let log = Log::open(&dir.join("log"), id.to_string()).map_err(files)?;
        let network = Network { listen, address, peers, credentials, settings };
        Ok(Desk { id, dir, log, ledger, ordering, names: Arc::default(), form, network })
    }

    /// Says something on standard output and in the log.
    pub(super) fn say(&self, what: ProcessEvent) {
        let event = Event::now(what);
        self.form.print(&self.names, &event);
        self.log.write(&self.names, event);
    }

    /// Compares the books with the note in the directory, and their order with the configured one.
    pub(super) fn compare(&self, holds: HighWaterMark, order: Option<Ordering>) -> Result<(), LedgerDriverError> {
        check_note(&self.dir, holds)?;
        let configured = self.ordering;
        if let Some(books) = order.filter(|books| *books != configured) {
            self.say(ProcessEvent::OrderingDiffers { books, configured });
        }
        Ok(())
    }

    /// Listens, leaves the address and the process's id in the directory, and says that it serves these records.
    pub(super) async fn serve(
        &self,
        jobs: mpsc::Sender<LedgerJob>,
        access: StoreAccess,
        records: Position,
    ) -> Result<LedgerServer, LedgerDriverError> {
        let Network { listen, address, peers, credentials, settings } = &self.network;
        let failed = |error| LedgerDriverError::Listen { address: listen.clone(), error };
        let is_encrypted = credentials.tls.is_some();
        let server = LedgerServer::listen(&**listen, credentials.clone(), *settings, *peers, jobs, access).await;
        let server = server.map_err(failed)?;
        warn_of_eavesdroppers(&Process::Ledger(self.id), server.address(), is_encrypted);
        if is_wildcard(server.address(), address.as_deref()).await {
            return Err(LedgerDriverError::Wildcard(address.as_ref().unwrap_or(listen).clone()));
        }
        let served = address.clone().unwrap_or_else(|| server.address().to_string());
        let files = |error| LedgerDriverError::Files { dir: self.dir.clone(), error };
        leave_address(&self.dir, &served).map_err(files)?;
        ProcessMark::of_this().and_then(|this| this.leave(&pid_file(&self.dir))).map_err(files)?;
        let ready = ProcessEvent::LedgerReady { process: self.id.to_string(), address: served, records: records.0 };
        self.say(ready);
        Ok(server)
    }

    /// Says that somebody does something to this process, and answers once the log says it.
    pub(super) fn on_hand(&self, hand: Hand, reply: oneshot::Sender<()>) {
        self.say(ProcessEvent::by_hand(Process::Ledger(self.id), hand));
        once_written(move || {
            let _ = reply.send(());
        });
    }

    /// Leaves a note of what is missing, which keeps the next start from going on without it.
    pub(super) fn note(&self, gone: &Gone) {
        if let Err(error) = witness::note(&self.dir, gone) {
            tracing::error!("cannot leave a note of what is missing: {error}");
        }
    }
}

/// Keeps the books in the store that `open` opens in the ledger's directory, until told to stop.
///
/// # Errors
/// See [`LedgerDriverError`]. No error loses anything that was acknowledged.
pub async fn run_ledger<S: LedgerStore>(
    config: LedgerDriverConfig,
    open: impl FnOnce(&Path) -> Result<S, S::Error>,
    mut stop: watch::Receiver<bool>,
) -> Result<(), LedgerDriverError> {
    let desk = Desk::open(config)?;
    let store = open(&desk.dir).map_err(failed)?;
    if let Some(what) = store.cut_off() {
        desk.say(ProcessEvent::LogCut { what });
    }
    let (tail, ledger) = (store.tail(), desk.ledger);
    desk.compare(tail.status.seen(ledger.secret), ordering_of(&store).map_err(failed)?)?;
    let (machine, effects) = Ledger::recover(ledger, tail);
    let (jobs, mut waiting) = mpsc::channel(JOBS);
    let status = watch::Sender::new(machine.status());
    let access = StoreAccess::Sole { status: status.subscribe(), secret: ledger.secret };
    let _server = desk.serve(jobs, access, tail.status.head).await?;

    let mut driver = LedgerDriver {
        desk,
        machine,
        status,
        committer: Committer::start(store),
        calls: BTreeMap::new(),
        reads: BTreeMap::new(),
        logs: BTreeMap::new(),
        next_id: CallId(0),
        lease: None,
    };
    driver.carry_out(effects)?;
    loop {
        tokio::select! {
            job = waiting.recv() => {
                // The server holds a sender for as long as this loop runs.
                match job {
                    Some(LedgerJob::Hand { hand, reply }) => driver.desk.on_hand(hand, reply),
                    Some(LedgerJob::Call { call, reply }) => driver.on_call(call, reply)?,
                    Some(LedgerJob::Log { from, reply }) => driver.on_log(from, reply),
                    // Its own directory is all there is.
                    Some(LedgerJob::Register { reply, .. }) => drop(reply.send(Ok(()))),
                    // A tool that has gone away needs no answer.
                    Some(LedgerJob::Info { reply }) => drop(reply.send(driver.fence())),
                    None => return Ok(()),
                }
            }
            done = driver.committer.done.recv() => {
                let Some(done) = done else { return Err(LedgerDriverError::Committer) };
                driver.on_done(done)?;
            }
            () = sleep_until(driver.lease.unwrap_or_else(Instant::now)), if driver.lease.is_some() => {
                driver.lease = None;
                driver.feed(LedgerInput::LeaseFired)?;
            }
            _ = stop.wait_for(|stop| *stop) => return Ok(()),
        }
    }
}

struct LedgerDriver<E> {
    desk: Desk,
    machine: Ledger,
    /// Its durable state, which every connected peer is told.
    status: watch::Sender<LedgerStatus>,
    committer: Committer<E>,
    calls: BTreeMap<CallId, oneshot::Sender<Result<LedgerReply, LedgerRefusal>>>,
    reads: BTreeMap<CallId, Reader>,
    logs: BTreeMap<CallId, oneshot::Sender<Vec<Batch>>>,
    next_id: CallId,
    lease: Option<Instant>,
}

/// A peer that waits for an answer from the store.
struct Reader {
    word: Word,
    reply: oneshot::Sender<Result<LedgerReply, LedgerRefusal>>,
}

impl<E: Error + Send + Sync + 'static> LedgerDriver<E> {
    fn on_call(
        &mut self,
        call: LedgerCall,
        reply: oneshot::Sender<Result<LedgerReply, LedgerRefusal>>,
    ) -> Result<(), LedgerDriverError> {
        let id = self.new_id();
        self.calls.insert(id, reply);
        self.feed(LedgerInput::Call { id, call })
    }

    fn on_log(&mut self, from: Position, reply: oneshot::Sender<Vec<Batch>>) {
        let (id, upto) = (self.new_id(), self.machine.status().head);
        self.logs.insert(id, reply);
        self.committer.ask(Work::Log { id, from, upto });
    }

    fn fence(&self) -> Fence {
        let (status, live) = (self.machine.status(), self.machine.is_lease_active());
        Fence { status, live, trouble: self.desk.log.trouble() }
    }

    fn new_id(&mut self) -> CallId {
        self.next_id = CallId(self.next_id.0 + 1);
        self.next_id
    }

    fn on_done(&mut self, done: Done<E>) -> Result<(), LedgerDriverError> {
        match done {
            Done::Persisted(result) => {
                result.map_err(failed)?;
                self.feed(LedgerInput::Persisted)
            }
            Done::Read { id, answer } => {
                let answer = answer.map_err(failed)?;
                if let Some(Reader { word, reply }) = self.reads.remove(&id) {
                    let _ = reply.send(Ok(LedgerReply { word, answer }));
                }
                Ok(())
            }
            Done::Log { id, batches } => {
                let batches = batches.map_err(failed)?;
                if let Some(reply) = self.logs.remove(&id) {
                    let _ = reply.send(batches);
                }
                Ok(())
            }
        }
    }

    /// The one place through which every input and every effect passes.
    fn feed(&mut self, input: LedgerInput) -> Result<(), LedgerDriverError> {
        let effects = self.machine.step(input);
        let status = self.machine.status();
        self.status.send_if_modified(|told| std::mem::replace(told, status) != status);
        self.carry_out(effects)
    }

    fn carry_out(&mut self, effects: Vec<LedgerEffect>) -> Result<(), LedgerDriverError> {
        for effect in effects {
            match effect {
                LedgerEffect::Persist(batch) => self.committer.ask(Work::Persist(batch)),
                LedgerEffect::Reply { id, reply } => {
                    if let Some(caller) = self.calls.remove(&id) {
                        let _ = caller.send(Ok(reply));
                    }
                }
                LedgerEffect::Read { id, word, from, chunk } => {
                    if let Some(reply) = self.calls.remove(&id) {
                        self.reads.insert(id, Reader { word, reply });
                        self.committer.ask(Work::Read { id, from, chunk, upto: word.status.head });
                    }
                }
                LedgerEffect::ArmLease(after) => self.lease = Some(Instant::now() + after),
                LedgerEffect::Drop(id) => {
                    self.calls.remove(&id);
                }
                LedgerEffect::Refuse(id) => {
                    if let Some(caller) = self.calls.remove(&id) {
                        let _ = caller.send(Err(LedgerRefusal::MadeUp));
                    }
                }
                LedgerEffect::Fail(fault) => {
                    let gone = Gone(fault);
                    self.desk.note(&gone);
                    return Err(gone.into());
                }
            }
        }
        Ok(())
    }
}

enum Work {
    Persist(Batch),
    Read { id: CallId, from: Position, chunk: Option<ChunkId>, upto: Position },
    Log { id: CallId, from: Position, upto: Position },
}

enum Done<E> {
    Persisted(Result<(), E>),
    Read { id: CallId, answer: Result<LedgerAnswer, E> },
    Log { id: CallId, batches: Result<Vec<Batch>, E> },
}

/// The thread that owns the store. Only it writes, and it syncs before it reports that something is written.
struct Committer<E> {
    work: thread_mpsc::Sender<Work>,
    done: mpsc::UnboundedReceiver<Done<E>>,
}

impl<E: Send + 'static> Committer<E> {
    fn start(mut store: impl Store<Error = E> + Send + 'static) -> Committer<E> {
        let (work, asked) = thread_mpsc::channel();
        let (tell, done) = mpsc::unbounded_channel();
        std::thread::spawn(move || {
            while let Ok(work) = asked.recv() {
                let done = match work {
                    Work::Persist(batch) => Done::Persisted(store.append(&batch).and_then(|()| store.sync())),
                    Work::Log { id, from, upto } => Done::Log { id, batches: store.batches(from, upto) },
                    Work::Read { id, from, chunk, upto } => Done::Read { id, answer: store.read(from, chunk, upto) },
                };
                if tell.send(done).is_err() {
                    return;
                }
            }
        });
        Committer { work, done }
    }

    fn ask(&self, work: Work) {
        // The thread ends only after this sender is dropped.
        let _ = self.work.send(work);
    }
}
