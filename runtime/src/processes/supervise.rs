//! A run of the whole bazaar on one machine: a process for the ledger, processes for the peers, their events on one
//! output, and a new process for each that dies (SPEC A5).

use std::{
    collections::BTreeMap,
    os::unix::process::ExitStatusExt as _,
    path::PathBuf,
    pin::pin,
    process::{ExitStatus, Stdio},
    time::Duration,
};

use bazaar_protocol::id::PeerId;
use signal_hook::consts::SIGKILL;
use thiserror::Error;
use tokio::{
    io::{AsyncBufReadExt as _, BufReader},
    process::{Child, Command},
    sync::{mpsc, watch},
    time::{Instant, sleep_until, timeout},
};

use super::panics::{LastWords, Panics};
use crate::{
    config::ledger::LedgerId,
    processes::report::{Event, Filter, Form, Names, ProcessEvent, What},
    system::{output::complain, signals::StopSignals},
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
    /// How many processes the ledger has, from 1 to [`MOST_LEDGERS`](crate::config::ledger::MOST_LEDGERS).
    pub ledgers: usize,
    /// Which peers each of the other processes hosts.
    pub shares: Vec<Vec<PeerId>>,
    /// How long to run, counted from when a process of the ledger serves; `None`: without limit.
    pub length: Option<Duration>,
    /// How many purchases in the books end the run; `None`: no number does.
    pub purchases: Option<u64>,
    /// How long after its death a process is restarted; `None`: never.
    pub restart_after: Option<Duration>,
    /// How events are told, so that processes tell none that nobody hears.
    pub form: Form,
    /// Which of them are.
    pub filter: Filter,
    /// What peers and goods are called.
    pub names: Names,
}

impl Plan {
    /// The flags of a process of peers, so that it prints what is wanted, for this one to read.
    fn shown(&self) -> Vec<String> {
        if self.form == Form::Quiet {
            return vec!["--quiet".to_owned()];
        }
        let Filter { kinds, peers } = &self.filter;
        let mut flags = vec!["--json".to_owned()];
        if !kinds.is_empty() {
            flags.extend(["--only".to_owned(), kinds.iter().map(String::as_str).collect::<Vec<_>>().join(",")]);
        }
        if !peers.is_empty() {
            flags.extend(["--peer".to_owned(), listed(&peers.iter().copied().collect::<Vec<_>>())]);
        }
        flags
    }
}

/// What happened to a run's processes. What was traded is in its books.
#[derive(Clone, Debug, Default)]
pub struct Supervised {
    /// How many times a process was restarted.
    pub restarts: usize,
    /// Which process died when, and how; in order.
    pub deaths: Vec<Event>,
    /// Whether the ledger has served.
    pub has_served: bool,
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
    /// These processes have ended and were not started again: each must not continue, as it has said on standard error,
    /// or panicked twice in a row soon after it had started. All others went on, as long as there were peers and the ledger.
    #[error("not started again: {}", .who.join("; "))]
    LeftOut {
        /// Who, and why, in words.
        who: Vec<String>,
        /// Whether any of them panicked.
        panicked: bool,
    },
    /// The ledger did not begin to serve in time.
    #[error("the ledger did not begin to serve within {STARTING:?}; see its log in {}", .0.display())]
    LedgerSilent(PathBuf),
    /// Processes that were told to stop failed at it, or had to be killed. They have said why on standard error.
    #[error("not everybody stopped cleanly: {}", .0.join("; "))]
    StoppedBadly(Vec<String>),
    /// Signals cannot be received.
    #[error("cannot wait for signals: {0}")]
    Signals(std::io::Error),
}

impl RunError {
    /// Whether all there is to say has been said, so that nobody needs to look into the logs.
    #[must_use]
    pub fn is_explained(&self) -> bool {
        match self {
            RunError::Start { .. } | RunError::Signals(_) | RunError::LeftOut { panicked: false, .. } => true,
            RunError::LedgerSilent(_) | RunError::LeftOut { panicked: true, .. } | RunError::StoppedBadly(_) => false,
        }
    }
}

/// Runs the bazaar until its time is up, it has reached its number of purchases, a signal arrives, or `enough` is ready;
/// then stops every process. `hear` is given what happens to processes, and what the plan's filter wants of their peers.
///
/// Always returns what happened, and with it why the run could not finish, if it could not ([`RunError`]).
pub async fn supervise(
    plan: &Plan,
    hear: &mut dyn FnMut(&Event),
    enough: impl Future<Output = ()>,
) -> (Supervised, Result<(), RunError>) {
    let (say, said) = mpsc::channel(1_024);
    let (stop_peers, peers) = watch::channel(false);
    let (stop_ledger, ledger) = watch::channel(false);
    let stopping = Stopping { peers, ledger };
    let mut supervisor = Supervisor {
        plan,
        hear,
        say,
        said,
        stopping,
        running: BTreeMap::new(),
        panics: Panics::default(),
        left_out: Vec::new(),
        ledgers_left_out: 0,
        shares_left_out: 0,
        panicked: false,
        outcome: Supervised::default(),
        stopped_badly: Vec::new(),
    };
    let mut result = supervisor.run(enough).await;
    // The ledger last: without it the peers would only complain. (Nobody receives this if all processes are gone
    // already.)
    let _ = stop_peers.send(true);
    supervisor.drain(|process| matches!(process, Process::Peers(_))).await;
    let _ = stop_ledger.send(true);
    supervisor.drain(|_| true).await;
    if result.is_ok() && !supervisor.left_out.is_empty() {
        result = Err(RunError::LeftOut { who: supervisor.left_out, panicked: supervisor.panicked });
    } else if result.is_ok() && !supervisor.stopped_badly.is_empty() {
        result = Err(RunError::StoppedBadly(supervisor.stopped_badly));
    }
    (supervisor.outcome, result)
}

/// What the task that watches a process reports.
enum Said {
    Line(String),
    Ended { process: Process, pid: u32, end: End, life: Life },
}

/// How a process lived, besides how it ended.
struct Life {
    length: Duration,
    last_words: Option<String>,
    /// The last line of its standard error.
    last_line: Option<String>,
}

/// How a process ended.
enum End {
    /// By itself, or because somebody killed it.
    Unasked(std::io::Result<ExitStatus>),
    /// After it was told to stop.
    Stopped(std::io::Result<ExitStatus>),
    /// It was told to stop, did not in time, and was killed.
    Killed,
}

impl End {
    /// The exit code of a process that ended by itself.
    fn code(&self) -> Option<i32> {
        match self {
            End::Unasked(Ok(status)) => status.code(),
            End::Unasked(Err(_)) | End::Stopped(_) | End::Killed => None,
        }
    }

    /// Whether it did what it was told.
    fn is_clean(&self) -> bool {
        matches!(self, End::Stopped(Ok(status)) if status.success())
    }

    /// Whether it did not stop as it was told, by a fault of its own: somebody who kills it by hand at the last moment
    /// has killed a process that would have been started again.
    fn is_failure_to_stop(&self) -> bool {
        match self {
            End::Unasked(_) => self.cannot_go_on(),
            End::Stopped(Ok(status)) => !status.success() && status.signal() != Some(SIGKILL),
            End::Stopped(Err(_)) | End::Killed => true,
        }
    }

    /// Whether the process has said that it must not be started again.
    fn cannot_go_on(&self) -> bool {
        // 2 is a usage error, which a restart would only meet again.
        matches!(self.code(), Some(2 | CANNOT_GO_ON))
    }
}

impl std::fmt::Display for End {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            End::Unasked(Ok(status)) => status.fmt(f),
            End::Stopped(Ok(status)) => write!(f, "{status}, when it was told to stop"),
            End::Unasked(Err(error)) | End::Stopped(Err(error)) => error.fmt(f),
            End::Killed => write!(f, "killed, since it did not stop within {STOPPING:?}"),
        }
    }
}

/// A process of a run.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Process {
    /// One that keeps the books.
    Ledger(LedgerId),
    /// One that hosts these peers.
    Peers(Vec<PeerId>),
}

impl std::fmt::Display for Process {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Process::Ledger(id) => id.fmt(f),
            Process::Peers(ids) => match ids.as_slice() {
                [id] => write!(f, "peer {id}"),
                _ => write!(f, "peers {}", listed(ids)),
            },
        }
    }
}

/// A process, such as `peers 0,4,8,12,16,20,24`, in words for a narrow line: "peers 0,4,8 and 4 more".
#[must_use]
pub fn briefly(process: &str) -> String {
    const SHOWN: usize = 3;
    let ids: Vec<&str> = process.split(',').collect();
    match ids.get(..SHOWN) {
        Some(shown) if ids.len() > SHOWN => format!("{} and {} more", shown.join(","), ids.len() - SHOWN),
        _ => process.to_owned(),
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
    hear: &'a mut dyn FnMut(&Event),
    say: mpsc::Sender<Said>,
    said: mpsc::Receiver<Said>,
    stopping: Stopping,
    running: BTreeMap<Process, u32>,
    panics: Panics,
    /// Who is not started again, and why, in words.
    left_out: Vec<String>,
    /// How many of them were processes of the ledger.
    ledgers_left_out: usize,
    /// How many of them hosted peers.
    shares_left_out: usize,
    /// Whether anybody of these has panicked.
    panicked: bool,
    outcome: Supervised,
    /// Who failed at stopping, and how, in words.
    stopped_badly: Vec<String>,
}

impl Supervisor<'_> {
    async fn run(&mut self, enough: impl Future<Output = ()>) -> Result<(), RunError> {
        let mut enough = pin!(enough);
        let mut signals = StopSignals::catch().map_err(RunError::Signals)?;
        let mut restarts: Vec<(Instant, Process)> = Vec::new();

        for id in LedgerId::all(self.plan.ledgers) {
            self.start(&Process::Ledger(id))?;
        }
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
                            self.outcome.has_served = true;
                            for share in &self.plan.shares {
                                self.start(&Process::Peers(share.clone()))?;
                            }
                            end = self.plan.length.map(|length| Instant::now() + length);
                            counting = self.plan.purchases.map(|_| Instant::now() + COUNTING);
                        }
                    }
                    Some(Said::Ended { process, pid, end, life }) => {
                        if let Some(at) = self.on_ended(&process, pid, &end, life)? {
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
                () = signals.arrived() => return Ok(()),
                () = &mut enough => return Ok(()),
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
                Some(Said::Ended { process, pid, end, .. }) => {
                    self.running.remove(&process);
                    if !end.is_clean() {
                        self.note_death(&process, pid, &end);
                    }
                    if end.is_failure_to_stop() {
                        self.stopped_badly.push(format!("{process}: {end}"));
                    }
                }
                None => return,
            }
        }
    }

    fn pass_on(&mut self, line: &str) -> Option<Event> {
        let Some(event) = self.plan.names.event(line) else {
            // Half a line of a process that was killed; anything else is a fault, and should be seen.
            complain(&format!("warning: a process printed what is no event: {line}"));
            return None;
        };
        self.pass(&event);
        Some(event)
    }

    fn tell(&mut self, what: ProcessEvent) -> Event {
        let event = Event::now(what);
        self.pass(&event);
        event
    }

    fn pass(&mut self, event: &Event) {
        (self.hear)(event);
    }

    fn start(&mut self, process: &Process) -> Result<(), RunError> {
        let failed = |error| RunError::Start { process: process.to_string(), error };
        // Not by its path: a rebuild may have replaced or removed the file by now.
        let mut command = Command::new("/proc/self/exe");
        command.arg0(&self.plan.program);
        match process {
            Process::Ledger(id) if id.is_only() => command.arg("ledger").arg("--json"),
            Process::Ledger(id) => command.arg("ledger").arg("--json").arg("--process").arg(id.number().to_string()),
            Process::Peers(ids) => command.arg("peer").arg("--id").arg(listed(ids)).args(self.plan.shown()),
        };
        command
            .arg("--config")
            .arg(&self.plan.config)
            .arg("--until-stdin-closes")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            // A Ctrl-C is meant for the supervisor, which then stops the others.
            .process_group(0)
            .kill_on_drop(true);
        let child = command.spawn().map_err(failed)?;
        let pid = child.id().unwrap_or_default();
        self.running.insert(process.clone(), pid);
        self.tell(ProcessEvent::ProcessStarted { process: process.to_string(), pid });
        let stopping = match process {
            Process::Ledger(_) => self.stopping.ledger.clone(),
            Process::Peers(_) => self.stopping.peers.clone(),
        };
        tokio::spawn(watch_process(process.clone(), child, pid, self.say.clone(), stopping));
        Ok(())
    }

    fn note_death(&mut self, process: &Process, pid: u32, end: &End) {
        let how = end.to_string();
        let death = self.tell(ProcessEvent::ProcessDied { process: process.to_string(), pid, how });
        self.outcome.deaths.push(death);
    }

    fn on_ended(&mut self, process: &Process, pid: u32, end: &End, life: Life) -> Result<Option<Instant>, RunError> {
        self.running.remove(process);
        self.note_death(process, pid, end);
        if self.panics.note(process, end.code(), life.length) {
            self.panicked = true;
            let said = life.last_words.unwrap_or_else(|| "no message".to_owned());
            let reason = format!("it panicked twice in a row, which is a fault in the program: {said}");
            return self.leave_out(process, &reason).map(|()| None);
        }
        if end.cannot_go_on() {
            let reason = life.last_line.unwrap_or_else(|| end.to_string());
            return self.leave_out(process, &reason).map(|()| None);
        }
        let Some(after) = self.plan.restart_after else { return Ok(None) };
        let after_ms = u64::try_from(after.as_millis()).unwrap_or(u64::MAX);
        self.tell(ProcessEvent::Restarting { process: process.to_string(), after_ms });
        Ok(Some(Instant::now() + after))
    }
}

impl Supervisor<'_> {
    /// Does without a process that a restart would not help. The others go on, as long as there are processes of peers
    /// and of the ledger among them.
    fn leave_out(&mut self, process: &Process, reason: &str) -> Result<(), RunError> {
        self.tell(ProcessEvent::Failed { process: process.to_string(), reason: reason.to_owned() });
        self.left_out.push(format!("{process} ({reason})"));
        let (left_out, of) = match process {
            Process::Ledger(_) => (&mut self.ledgers_left_out, self.plan.ledgers),
            Process::Peers(_) => (&mut self.shares_left_out, self.plan.shares.len()),
        };
        *left_out += 1;
        if *left_out >= of {
            return Err(RunError::LeftOut { who: std::mem::take(&mut self.left_out), panicked: self.panicked });
        }
        Ok(())
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
    let (output, errors) = (child.stdout.take(), child.stderr.take());
    let since = Instant::now();
    let lines = async {
        let Some(output) = output else { return };
        let mut lines = BufReader::new(output).lines();
        while let Ok(Some(line)) = lines.next_line().await {
            if say.send(Said::Line(line)).await.is_err() {
                return;
            }
        }
    };
    let words = async {
        let (mut words, mut last) = (LastWords::default(), None);
        let Some(errors) = errors else { return (words, last) };
        let mut lines = BufReader::new(errors).split(b'\n');
        while let Ok(Some(line)) = lines.next_segment().await {
            let line = String::from_utf8_lossy(&line);
            words.hear(&line);
            complain(&line);
            last = Some(line.into_owned()).filter(|line| !line.trim().is_empty()).or(last);
        }
        (words, last)
    };
    let end = async {
        tokio::select! {
            // In this order: one that has ended already was not stopped.
            biased;
            status = child.wait() => return End::Unasked(status),
            _ = stopping.wait_for(|stop| *stop) => {}
        }
        drop(input);
        if let Ok(status) = timeout(STOPPING, child.wait()).await {
            return End::Stopped(status);
        }
        match child.kill().await {
            Ok(()) => End::Killed,
            Err(error) => End::Stopped(Err(error)),
        }
    };
    let ((), (words, last_line), end) = tokio::join!(lines, words, end);
    let life = Life { length: since.elapsed(), last_words: words.said(), last_line };
    let _ = say.send(Said::Ended { process, pid, end, life }).await;
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
