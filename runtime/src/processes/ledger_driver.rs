//! The ledger's process: the pure machine, a store on a thread of its own, and the network side.

use std::{
    collections::BTreeMap,
    error::Error,
    path::{Path, PathBuf},
    sync::mpsc as thread_mpsc,
};

use bazaar_protocol::{
    id::{Life, Position},
    ledger::{
        CallId, HighWaterMark, Ledger, LedgerAnswer, LedgerConfig, LedgerEffect, LedgerFault, LedgerInput, LedgerReply,
        LedgerStatus,
    },
    record::Batch,
    snapshot::ChunkId,
    store::Store,
};
use thiserror::Error;
use tokio::{
    sync::{mpsc, oneshot, watch},
    time::{Instant, sleep_until},
};

use crate::{
    config::run_dir::address_file,
    network::{
        hello::Credentials,
        ledger_service::{Fence, LedgerJob, LedgerServer},
        settings::Settings,
    },
    processes::report::{Event, Form, Log, Names, ProcessEvent},
};

/// How many jobs may wait for the machine. When no more fit, callers wait.
const JOBS: usize = 1_024;

/// Why the ledger cannot start or continue.
#[derive(Debug, Error)]
pub enum LedgerDriverError {
    /// The store cannot be opened, read or written. The operation is not retried (DESIGN 3).
    #[error(transparent)]
    Store(Box<dyn Error + Send + Sync>),
    /// A peer has seen durable records that the store does not hold.
    #[error(
        "acknowledged records are gone: peer {} (life {}) has seen epoch {} and {} records, and the store holds epoch \
         {} and {} records. It is an old copy, or the disk has lost them; put the right store in place",
        .0.witness.peer, .0.witness.incarnation, .0.seen.epoch, .0.seen.head, .0.holds.epoch, .0.holds.head
    )]
    Gone(LedgerFault),
    /// The ledger cannot listen on its address.
    #[error("cannot listen on {address}: {error}; give another address in [ledger], or stop the program that uses it")]
    Listen {
        /// The address as configured.
        address: String,
        /// The operating system's error.
        error: std::io::Error,
    },
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
    /// The ledger's directory within its run's.
    pub dir: PathBuf,
    /// Where it listens, `host:port`; port 0 takes any free one.
    pub address: String,
    /// The configuration of the machine: its lease and its limits.
    pub ledger: LedgerConfig,
    /// What proves that the process belongs to the run.
    pub credentials: Credentials,
    /// The waits and bounds of its connections.
    pub settings: Settings,
    /// How events go to standard output.
    pub form: Form,
}

/// The file in which a ledger that stopped because acknowledged records were gone notes what is missing, so that a
/// restart does not forget it.
fn witness_file(ledger: &Path) -> PathBuf {
    ledger.join("missing")
}

/// Refuses a store that lacks what the witness has seen. Once a store has it again, the note is removed.
fn check_witness(dir: &Path, holds: HighWaterMark) -> Result<(), LedgerDriverError> {
    let file = witness_file(dir);
    let Ok(text) = std::fs::read_to_string(&file) else { return Ok(()) };
    let fault: LedgerFault = serde_json::from_str(&text).map_err(|error| LedgerDriverError::Files {
        dir: file.clone(),
        error: std::io::Error::new(std::io::ErrorKind::InvalidData, error),
    })?;
    if fault.seen.head > holds.head || fault.seen.epoch > holds.epoch {
        return Err(LedgerDriverError::Gone(LedgerFault { holds, ..fault }));
    }
    std::fs::remove_file(&file).map_err(|error| LedgerDriverError::Files { dir: file.clone(), error })
}

/// A store that a ledger's process can keep its books in: any [`Store`] that can be moved to a thread of its own.
pub trait LedgerStore: Store<Error: Error + Send + Sync + 'static> + Send + 'static {}

impl<S: Store<Error: Error + Send + Sync + 'static> + Send + 'static> LedgerStore for S {}

fn failed(error: impl Error + Send + Sync + 'static) -> LedgerDriverError {
    LedgerDriverError::Store(Box::new(error))
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
    let LedgerDriverConfig { dir, address, ledger, credentials, settings, form } = config;
    let files = |error| LedgerDriverError::Files { dir: dir.clone(), error };
    std::fs::create_dir_all(&dir).map_err(files)?;
    let mut log = Log::open(&dir.join("log")).map_err(files)?;
    let mut say = |what| {
        let event = Event::now(what);
        form.print(&Names::default(), &event);
        if let Err(error) = log.write(&Names::default(), &event) {
            tracing::warn!("cannot write the log: {error}");
        }
    };

    let store = open(&dir).map_err(failed)?;
    if let Some(what) = store.cut_off() {
        say(ProcessEvent::LogCut { what });
    }
    let tail = store.tail();
    check_witness(&dir, tail.status.seen())?;
    let (machine, effects) = Ledger::recover(ledger, tail);
    let (jobs, mut waiting) = mpsc::channel(JOBS);
    let listen = |error| LedgerDriverError::Listen { address: address.clone(), error };
    let server = LedgerServer::listen(&*address, credentials, settings, jobs).await.map_err(listen)?;
    let served = server.address().to_string();
    // Renamed into place, so that a reader always finds a complete address.
    let (file, fresh) = (address_file(&dir), dir.join("address.new"));
    std::fs::write(&fresh, &served).and_then(|()| std::fs::rename(&fresh, &file)).map_err(files)?;
    std::fs::write(dir.join("pid"), std::process::id().to_string()).map_err(files)?;
    say(ProcessEvent::LedgerReady { address: served, records: tail.status.head.0 });

    let mut driver = LedgerDriver {
        witness: witness_file(&dir),
        machine,
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
                let Some(job) = job else { return Ok(()) };
                driver.on_job(job)?;
            }
            done = driver.committer.done.recv() => {
                let Some(done) = done else { return Ok(()) };
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
    witness: PathBuf,
    machine: Ledger,
    committer: Committer<E>,
    calls: BTreeMap<CallId, oneshot::Sender<LedgerReply>>,
    reads: BTreeMap<CallId, Reader>,
    logs: BTreeMap<CallId, oneshot::Sender<Vec<Batch>>>,
    next_id: CallId,
    lease: Option<Instant>,
}

/// A peer that waits for an answer from the store.
struct Reader {
    to: Life,
    status: LedgerStatus,
    reply: oneshot::Sender<LedgerReply>,
}

impl<E: Error + Send + Sync + 'static> LedgerDriver<E> {
    fn on_job(&mut self, job: LedgerJob) -> Result<(), LedgerDriverError> {
        let id = self.new_id();
        match job {
            LedgerJob::Call { call, reply } => {
                self.calls.insert(id, reply);
                self.feed(LedgerInput::Call { id, call })
            }
            LedgerJob::Log { from, reply } => {
                let upto = self.machine.status().head;
                self.logs.insert(id, reply);
                self.committer.ask(Work::Log { id, from, upto });
                Ok(())
            }
            LedgerJob::Info { reply } => {
                // A tool that has gone away needs no answer.
                let _ = reply.send(Fence { status: self.machine.status(), live: self.machine.is_lease_active() });
                Ok(())
            }
        }
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
                if let Some(Reader { to, status, reply }) = self.reads.remove(&id) {
                    let _ = reply.send(LedgerReply { to, status, answer });
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
        self.carry_out(effects)
    }

    fn carry_out(&mut self, effects: Vec<LedgerEffect>) -> Result<(), LedgerDriverError> {
        for effect in effects {
            match effect {
                LedgerEffect::Persist(batch) => self.committer.ask(Work::Persist(batch)),
                LedgerEffect::Reply { id, reply } => {
                    if let Some(caller) = self.calls.remove(&id) {
                        let _ = caller.send(reply);
                    }
                }
                LedgerEffect::Read { id, to, status, from, chunk } => {
                    if let Some(reply) = self.calls.remove(&id) {
                        self.reads.insert(id, Reader { to, status, reply });
                        self.committer.ask(Work::Read { id, from, chunk, upto: status.head });
                    }
                }
                LedgerEffect::ArmLease(after) => self.lease = Some(Instant::now() + after),
                LedgerEffect::Drop(id) => {
                    self.calls.remove(&id);
                }
                LedgerEffect::Fail(fault) => {
                    let left = serde_json::to_string(&fault).map_err(std::io::Error::other);
                    if let Err(error) = left.and_then(|text| std::fs::write(&self.witness, text)) {
                        tracing::error!("cannot leave a note of what is missing: {error}");
                    }
                    return Err(LedgerDriverError::Gone(fault));
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
