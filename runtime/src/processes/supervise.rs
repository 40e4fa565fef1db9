//! A run of the whole bazaar on one machine: a process for the ledger, processes for the peers, their events on one
//! output, and a new process for each that dies (SPEC A5).

use std::{
    collections::BTreeMap,
    path::PathBuf,
    process::{ExitStatus, Stdio},
    time::Duration,
};

use bazaar_protocol::id::PeerId;
use thiserror::Error;
use tokio::{
    io::{AsyncBufReadExt as _, BufReader},
    process::{Child, Command},
    signal::unix::{SignalKind, signal},
    sync::{mpsc, watch},
    time::{Instant, sleep_until, timeout},
};

use crate::{
    processes::report::{Event, Form, Names, ProcessEvent, What},
    tools::access::BooksReader,
};

/// How long a process may take to stop on its own before it is killed.
const STOPPING: Duration = Duration::from_secs(5);

/// How long the ledger may take to begin serving.
const STARTING: Duration = Duration::from_secs(30);

/// How often the books are checked for whether the run has reached its number of purchases.
const COUNTING: Duration = Duration::from_millis(200);

/// The exit code of a process that must not be started again before somebody has looked into it.
pub const CANNOT_GO_ON: i32 = 3;

/// What to run, for how long, and how to report it.
#[derive(Debug)]
pub struct Plan {
    /// The name this program was called by; its processes get the same one.
    pub program: PathBuf,
    /// The run's directory, which already holds its effective configuration.
    pub dir: PathBuf,
    /// The file with the effective configuration.
    pub config: PathBuf,
    /// Which peers each process hosts.
    pub shares: Vec<Vec<PeerId>>,
    /// How long to run, counted from when the ledger serves; `None`: without limit.
    pub length: Option<Duration>,
    /// How many purchases in the books end the run; `None`: no number does.
    pub purchases: Option<u64>,
    /// How long after its death a process is restarted; `None`: never.
    pub restart_after: Option<Duration>,
    /// How events go to standard output.
    pub form: Form,
    /// What peers and goods are called.
    pub names: Names,
}

/// What happened to a run's processes. What was traded is in its books.
#[derive(Clone, Debug, Default)]
pub struct Supervised {
    /// How many times a process was restarted.
    pub restarts: usize,
    /// Which process died when, and how; in order.
    pub deaths: Vec<Event>,
}

/// Why a run could not finish.
#[derive(Debug, Error)]
pub enum RunError {
    /// A process could not be started.
    #[error("cannot start {process}: {error}")]
    Start {
        /// The process, such as `peer 3`.
        process: String,
        /// The operating system's error.
        error: std::io::Error,
    },
    /// A process has reported that it must not continue. It has said why on standard error.
    #[error("{0} cannot go on; see what it said above")]
    CannotGoOn(String),
    /// The ledger did not begin to serve in time.
    #[error("the ledger did not begin to serve within {STARTING:?}; see its log in {}", .0.display())]
    LedgerSilent(PathBuf),
    /// Signals cannot be received.
    #[error("cannot wait for signals: {0}")]
    Signals(std::io::Error),
}

/// Runs the bazaar until its time is up, it has reached its number of purchases, or a signal arrives; then stops every
/// process.
///
/// Always returns what happened, and with it why the run could not finish, if it could not ([`RunError`]).
pub async fn supervise(plan: &Plan) -> (Supervised, Result<(), RunError>) {
    let (say, said) = mpsc::channel(1_024);
    let (stop_peers, peers) = watch::channel(false);
    let (stop_ledger, ledger) = watch::channel(false);
    let stopping = Stopping { peers, ledger };
    let mut supervisor =
        Supervisor { plan, say, said, stopping, running: BTreeMap::new(), outcome: Supervised::default() };
    let result = supervisor.run().await;
    // The ledger last: without it the peers would only complain. (Nobody receives this if all processes are gone
    // already.)
    let _ = stop_peers.send(true);
    supervisor.drain(|process| *process != Process::Ledger).await;
    let _ = stop_ledger.send(true);
    supervisor.drain(|_| true).await;
    (supervisor.outcome, result)
}

/// What the task that watches a process reports.
enum Said {
    Line(String),
    Ended { process: Process, pid: u32, status: std::io::Result<ExitStatus> },
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Process {
    Ledger,
    Peers(Vec<PeerId>),
}

impl std::fmt::Display for Process {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Process::Ledger => f.write_str("the ledger"),
            Process::Peers(ids) => match ids.as_slice() {
                [id] => write!(f, "peer {id}"),
                _ => write!(f, "peers {}", listed(ids)),
            },
        }
    }
}

/// Peer ids separated by commas, as flags take them and people read them.
#[must_use]
pub fn listed(ids: &[PeerId]) -> String {
    ids.iter().map(ToString::to_string).collect::<Vec<_>>().join(",")
}

/// These become true when processes are to stop.
struct Stopping {
    peers: watch::Receiver<bool>,
    ledger: watch::Receiver<bool>,
}

struct Supervisor<'a> {
    plan: &'a Plan,
    say: mpsc::Sender<Said>,
    said: mpsc::Receiver<Said>,
    stopping: Stopping,
    running: BTreeMap<Process, u32>,
    outcome: Supervised,
}

impl Supervisor<'_> {
    async fn run(&mut self) -> Result<(), RunError> {
        let mut interrupt = signal(SignalKind::interrupt()).map_err(RunError::Signals)?;
        let mut terminate = signal(SignalKind::terminate()).map_err(RunError::Signals)?;
        let mut restarts: Vec<(Instant, Process)> = Vec::new();

        self.start(&Process::Ledger)?;
        let mut ledger_deadline = Some(Instant::now() + STARTING);
        let mut end = None;
        let mut counting = None;
        let mut reader = None;
        loop {
            let next_restart = restarts.iter().map(|(at, _)| *at).min();
            tokio::select! {
                said = self.said.recv() => match said {
                    Some(Said::Line(line)) => {
                        let event = self.pass_on(&line);
                        let what = event.as_ref().map(|event| &event.what);
                        let serves = matches!(what, Some(What::Process(ProcessEvent::LedgerReady { .. })));
                        if serves && ledger_deadline.take().is_some() {
                            for share in &self.plan.shares {
                                self.start(&Process::Peers(share.clone()))?;
                            }
                            end = self.plan.length.map(|length| Instant::now() + length);
                            counting = self.plan.purchases.map(|_| Instant::now() + COUNTING);
                        }
                    }
                    Some(Said::Ended { process, pid, status }) => {
                        if let Some(at) = self.on_ended(&process, pid, status)? {
                            restarts.push((at, process));
                        }
                    }
                    None => return Ok(()),
                },
                () = sleep_until(next_restart.unwrap_or_else(Instant::now)), if next_restart.is_some() => {
                    let now = Instant::now();
                    let (due, later) = restarts.into_iter().partition(|(at, _)| *at <= now);
                    restarts = later;
                    let due: Vec<(Instant, Process)> = due;
                    for (_, process) in due {
                        self.start(&process)?;
                        self.outcome.restarts += 1;
                    }
                }
                () = sleep_until(ledger_deadline.unwrap_or_else(Instant::now)), if ledger_deadline.is_some() => {
                    return Err(RunError::LedgerSilent(self.plan.dir.clone()));
                }
                () = sleep_until(end.unwrap_or_else(Instant::now)), if end.is_some() => return Ok(()),
                () = sleep_until(counting.unwrap_or_else(Instant::now)), if counting.is_some() => {
                    let reader = reader.get_or_insert_with(|| BooksReader::of_run(&self.plan.dir));
                    // While the ledger is down, nothing is sold either.
                    let sales = timeout(COUNTING * 5, reader.refresh()).await.ok().and_then(Result::ok);
                    if sales.is_some_and(|books| Some(books.sales()) >= self.plan.purchases) {
                        return Ok(());
                    }
                    counting = Some(Instant::now() + COUNTING);
                }
                _ = interrupt.recv() => return Ok(()),
                _ = terminate.recv() => return Ok(()),
            }
        }
    }

    /// Waits until these processes, which were told to stop, have ended.
    async fn drain(&mut self, which: impl Fn(&Process) -> bool) {
        while self.running.keys().any(&which) {
            match self.said.recv().await {
                Some(Said::Line(line)) => {
                    self.pass_on(&line);
                }
                Some(Said::Ended { process, .. }) => {
                    self.running.remove(&process);
                }
                None => return,
            }
        }
    }

    fn pass_on(&mut self, line: &str) -> Option<Event> {
        let event = serde_json::from_str::<Event>(line).ok()?;
        self.plan.form.print(&self.plan.names, &event);
        Some(event)
    }

    fn tell(&self, what: ProcessEvent) -> Event {
        let event = Event::now(what);
        self.plan.form.print(&self.plan.names, &event);
        event
    }

    fn start(&mut self, process: &Process) -> Result<(), RunError> {
        let failed = |error| RunError::Start { process: process.to_string(), error };
        // Not by its path: a rebuild may have replaced or removed the file by now.
        let mut command = Command::new("/proc/self/exe");
        command.arg0(&self.plan.program);
        match process {
            Process::Ledger => command.arg("ledger"),
            Process::Peers(ids) => command.arg("peer").arg("--id").arg(listed(ids)),
        };
        command
            .arg("--config")
            .arg(&self.plan.config)
            .args(["--json", "--until-stdin-closes"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            // A Ctrl-C is meant for the supervisor, which then stops the others.
            .process_group(0)
            .kill_on_drop(true);
        let child = command.spawn().map_err(failed)?;
        let pid = child.id().unwrap_or_default();
        self.running.insert(process.clone(), pid);
        self.tell(ProcessEvent::ProcessStarted { process: process.to_string(), pid });
        let stopping = match process {
            Process::Ledger => self.stopping.ledger.clone(),
            Process::Peers(_) => self.stopping.peers.clone(),
        };
        tokio::spawn(watch_process(process.clone(), child, pid, self.say.clone(), stopping));
        Ok(())
    }

    fn on_ended(
        &mut self,
        process: &Process,
        pid: u32,
        status: std::io::Result<ExitStatus>,
    ) -> Result<Option<Instant>, RunError> {
        self.running.remove(process);
        let how = status.as_ref().map_or_else(ToString::to_string, ToString::to_string);
        let death = self.tell(ProcessEvent::ProcessDied { process: process.to_string(), pid, how: how.clone() });
        self.outcome.deaths.push(death);
        // 2 is a usage error, which a restart would only meet again.
        if status.is_ok_and(|status| matches!(status.code(), Some(2 | CANNOT_GO_ON))) {
            self.tell(ProcessEvent::Failed { process: process.to_string(), reason: how });
            return Err(RunError::CannotGoOn(process.to_string()));
        }
        Ok(self.plan.restart_after.map(|after| {
            let after_ms = u64::try_from(after.as_millis()).unwrap_or(u64::MAX);
            self.tell(ProcessEvent::Restarting { process: process.to_string(), after_ms });
            Instant::now() + after
        }))
    }
}

/// Passes on what a process prints and how it ends. Stops it when all are to stop: by closing its standard input and,
/// if that does not help, with SIGKILL.
async fn watch_process(
    process: Process,
    mut child: Child,
    pid: u32,
    say: mpsc::Sender<Said>,
    mut stopping: watch::Receiver<bool>,
) {
    let input = child.stdin.take();
    let output = child.stdout.take();
    let lines = async {
        let Some(output) = output else { return };
        let mut lines = BufReader::new(output).lines();
        while let Ok(Some(line)) = lines.next_line().await {
            if say.send(Said::Line(line)).await.is_err() {
                return;
            }
        }
    };
    let end = async {
        tokio::select! {
            status = child.wait() => return status,
            _ = stopping.wait_for(|stop| *stop) => {}
        }
        drop(input);
        match timeout(STOPPING, child.wait()).await {
            Ok(status) => status,
            Err(_elapsed) => {
                child.kill().await?;
                child.wait().await
            }
        }
    };
    let ((), status) = tokio::join!(lines, end);
    let _ = say.send(Said::Ended { process, pid, status }).await;
}

/// Divides peers among processes as evenly as possible: at least one process, and at most one per peer.
#[must_use]
pub fn shares(peers: u32, processes: usize) -> Vec<Vec<PeerId>> {
    let processes = processes.clamp(1, peers.max(1) as usize);
    let mut shares = vec![Vec::new(); processes];
    for peer in 0..peers {
        shares[peer as usize % processes].push(PeerId(peer));
    }
    shares
}

/// Becomes true when this process is told to stop: by a signal or, with `until_stdin_closes`, by the end of its
/// standard input.
///
/// # Errors
/// When signals cannot be received.
pub fn stop_signal(until_stdin_closes: bool) -> std::io::Result<watch::Receiver<bool>> {
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    let (stop, stopping) = watch::channel(false);
    let (closed, mut input_closed) = mpsc::channel::<()>(1);
    if until_stdin_closes {
        // A thread, since a blocking read of standard input cannot be cancelled.
        std::thread::spawn(move || {
            let _ = std::io::copy(&mut std::io::stdin(), &mut std::io::sink());
            drop(closed);
        });
        tokio::spawn(async move {
            tokio::select! {
                _ = interrupt.recv() => {}
                _ = terminate.recv() => {}
                _ = input_closed.recv() => {}
            }
            let _ = stop.send(true);
        });
    } else {
        tokio::spawn(async move {
            let _keep = closed;
            tokio::select! {
                _ = interrupt.recv() => {}
                _ = terminate.recv() => {}
            }
            let _ = stop.send(true);
        });
    }
    Ok(stopping)
}
