//! A whole bazaar of real processes for the suites, which start it in a directory of its own, listen to it, ask it,
//! hurt it, and clear it away again.
//!
//! Nothing here sleeps and hopes: a test waits for an event or for a fact of the kernel, with a bound that a busy
//! machine meets. The processes of a test are known by its directory's name, which is in each of their command lines.
//! Whatever happens, none of them outlives the test.
#![allow(dead_code)] // Each suite uses its share.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    io::{BufRead as _, BufReader, Read as _},
    os::unix::process::CommandExt as _,
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Output, Stdio},
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    thread,
    time::{Duration, Instant},
};

use bazaar_protocol::{
    effect::Note,
    id::{DepositId, Epoch, PeerId, RequestId},
    record::{Batch, Deposit, Entry, Record, Sale},
};
use bazaar_runtime::{
    config::RawConfig,
    processes::report::{Event, Names, ProcessEvent, What},
    schema::Schema as _,
};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use serde_json::Value;
use tempfile::TempDir;

/// How long anything that must happen may take. On a machine that has nothing else to do, it takes far less.
pub const DEADLINE: Duration = Duration::from_secs(90);

/// How often to ask the kernel for what it does not report on its own.
const GLANCE: Duration = Duration::from_millis(20);

/// A market whose trade is quick to start.
pub const QUICK: &str = r#"
peers = 4
seed = 7
[timeouts]
first_call = "300ms"
[waits]
deposit_after = "50ms"
trade_after = "100ms"
think = "50ms"
"#;

pub fn bazaar() -> Command {
    bazaar_inside(&[])
}

/// The same, run by a command that begins with these words, as `ip netns exec` does.
pub fn bazaar_inside(outer: &[String]) -> Command {
    let program = env!("CARGO_BIN_EXE_bazaar").to_owned();
    let (first, rest) = outer.split_first().unwrap_or((&program, &[]));
    let mut command = Command::new(first);
    command.args(rest).args((!outer.is_empty()).then_some(&program));
    command.stdin(Stdio::null()).arg("--color").arg("never");
    command
}

/// What a command printed, and how it ended.
pub struct Answer {
    pub code: Option<i32>,
    pub out: String,
    pub err: String,
    command: String,
}

impl Answer {
    pub fn of(mut command: Command) -> Answer {
        let shown = shown(&command);
        let Output { status, stdout, stderr } = command.output().expect("the command starts");
        let text = |bytes| String::from_utf8(bytes).expect("the output is text");
        Answer { code: status.code(), out: text(stdout), err: text(stderr), command: shown }
    }

    #[track_caller]
    pub fn ends(self, code: i32) -> Answer {
        assert_eq!(self.code, Some(code), "exit code of {}\n{}{}", self.command, self.out, self.err);
        self
    }

    /// Checks that it was refused, and that its standard error contains each of `parts`.
    #[track_caller]
    pub fn refused(self, code: i32, parts: &[&str]) -> Answer {
        let answer = self.ends(code);
        for part in parts {
            assert!(answer.err.contains(part), "{part:?} is not in what {} says: {}", answer.command, answer.err);
        }
        assert!(!answer.err.contains("panicked"), "{} panics: {}", answer.command, answer.err);
        answer
    }

    #[track_caller]
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.out).unwrap_or_else(|error| panic!("{}: {error}: {}", self.command, self.out))
    }
}

/// Runs a command that has nothing to do with a run.
pub fn ask(args: &[&str]) -> Answer {
    let mut command = bazaar();
    command.args(args);
    Answer::of(command)
}

fn shown(command: &Command) -> String {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    words.map(|word| word.to_string_lossy().into_owned()).collect::<Vec<_>>().join(" ")
}

/// What has been heard so far.
#[derive(Default)]
struct Heard {
    events: Vec<Event>,
    summary: Option<Value>,
    errors: String,
    /// How many outputs are still open.
    open: usize,
}

#[derive(Default)]
struct Ears {
    heard: Mutex<Heard>,
    more: Condvar,
    names: Names,
}

impl Ears {
    /// Works even after a test or a listener has failed: what was heard stays as it is.
    fn heard(&self) -> MutexGuard<'_, Heard> {
        self.heard.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wait<'a>(&self, heard: MutexGuard<'a, Heard>, left: Duration) -> MutexGuard<'a, Heard> {
        self.more.wait_timeout(heard, left).unwrap_or_else(PoisonError::into_inner).0
    }

    fn change(&self, change: impl FnOnce(&mut Heard)) {
        change(&mut self.heard());
        self.more.notify_all();
    }

    fn listen(self: &Arc<Ears>, child: &mut Child) {
        let output = child.stdout.take().expect("a piped output");
        let mut errors = child.stderr.take().expect("a piped error output");
        self.change(|heard| heard.open += 2);
        let ears = Arc::clone(self);
        thread::spawn(move || {
            for line in BufReader::new(output).lines().map_while(Result::ok) {
                if let Some(event) = ears.names.event(&line) {
                    ears.change(|heard| heard.events.push(event));
                } else {
                    let value: Value = serde_json::from_str(&line)
                        .unwrap_or_else(|error| panic!("`--json` prints a line that is not JSON ({error}): {line}"));
                    assert_eq!(value["event"], "summary", "an unknown event: {line}");
                    ears.change(|heard| heard.summary = Some(value["data"].clone()));
                }
            }
            ears.change(|heard| heard.open -= 1);
        });
        let ears = Arc::clone(self);
        thread::spawn(move || {
            let mut text = String::new();
            let _ = errors.read_to_string(&mut text);
            ears.change(|heard| {
                heard.errors.push_str(&text);
                heard.open -= 1;
            });
        });
    }
}

/// A bazaar in a directory of its own.
pub struct Bazaar {
    home: Option<TempDir>,
    started: Vec<Child>,
    ears: Arc<Ears>,
    commands: Vec<String>,
    outer: Vec<String>,
}

impl Bazaar {
    /// A place for a bazaar with this configuration; nothing runs yet.
    pub fn new(config: &str) -> Bazaar {
        let home = TempDir::with_prefix("bazaar-test-").expect("a directory");
        let given = home.path().join("given.toml");
        fs::write(&given, config).expect("the configuration is written");
        // What cannot run prints no events.
        let names = RawConfig::read(&given).and_then(|raw| raw.check()).map(|config| Names::of(&config));
        let ears = Ears { names: names.unwrap_or_default(), ..Ears::default() };
        Bazaar { home: Some(home), started: Vec::new(), ears: Arc::new(ears), commands: Vec::new(), outer: Vec::new() }
    }

    /// Has its tools run by a command that begins with these words, as those on another host are.
    pub fn ask_inside(&mut self, outer: Vec<String>) {
        self.outer = outer;
    }

    /// A bazaar that has been started.
    pub fn run(config: &str, flags: &[&str]) -> Bazaar {
        let mut bazaar = Bazaar::new(config);
        bazaar.start(flags);
        bazaar
    }

    /// Starts it, for the first time or again.
    pub fn start(&mut self, flags: &[&str]) {
        let mut command = bazaar();
        command.arg("run").arg("--dir").arg(self.dir()).arg("--json").args(flags);
        if !self.dir().join("format").exists() {
            command.arg("--config").arg(self.home().join("given.toml"));
        }
        self.start_with(command);
    }

    /// Starts a process of the bazaar. Its command line must name something below [`Bazaar::home`].
    pub fn start_with(&mut self, mut command: Command) -> u32 {
        self.commands.push(shown(&command));
        // A group of its own: a Ctrl-C at the tests must not look like one at the bazaar.
        command.stdout(Stdio::piped()).stderr(Stdio::piped()).process_group(0);
        let mut child = command.spawn().expect("the bazaar starts");
        self.ears.listen(&mut child);
        let pid = child.id();
        self.started.push(child);
        pid
    }

    pub fn home(&self) -> &Path {
        self.home.as_ref().expect("it is given up only at the end").path()
    }

    pub fn dir(&self) -> PathBuf {
        self.home().join("run")
    }

    // -------------------------------------------------------------------------------------------------- listening

    /// How many events there have been, so that a wait can begin after them.
    pub fn now(&self) -> usize {
        self.ears.heard().events.len()
    }

    pub fn events(&self) -> Vec<Event> {
        self.ears.heard().events.clone()
    }

    pub fn summary(&self) -> Value {
        self.ears.heard().summary.clone().expect("a summary")
    }

    pub fn errors(&self) -> String {
        self.ears.heard().errors.clone()
    }

    /// Waits until `look` finds something in the events from number `from` on, and returns it.
    #[track_caller]
    pub fn wait_for<T>(&self, what: &str, from: usize, mut look: impl FnMut(&[Event]) -> Option<T>) -> T {
        let deadline = Instant::now() + DEADLINE;
        let mut heard = self.ears.heard();
        loop {
            if let Some(found) = look(&heard.events[from..]) {
                return found;
            }
            let left = deadline.saturating_duration_since(Instant::now());
            assert!(!left.is_zero(), "{what}: not within {DEADLINE:?}");
            assert!(heard.open > 0, "{what}: not before the run has ended; it said: {}", heard.errors);
            heard = self.ears.wait(heard, left);
        }
    }

    /// Waits for the first event from number `from` on for which `is` holds.
    #[track_caller]
    pub fn wait_for_event(&self, what: &str, from: usize, is: impl Fn(&Event) -> bool) -> Event {
        self.wait_for(what, from, |events| events.iter().find(|event| is(event)).cloned())
    }

    /// Waits until buyers have been told of `count` purchases since event number `from`.
    #[track_caller]
    pub fn wait_for_purchases(&self, from: usize, count: usize) {
        self.wait_for(&format!("{count} purchases"), from, |events| {
            (events.iter().filter(|event| matches!(note(event), Some(Note::Bought { .. }))).count() >= count)
                .then_some(())
        });
    }

    /// Waits until a peer has taken office since event number `from`, and returns it with its epoch.
    #[track_caller]
    pub fn wait_for_trader(&self, from: usize) -> (PeerId, Epoch) {
        // A peer may still speak of an older term until it hears of the new one.
        let before = self.events()[..from].iter().filter_map(|event| event.epoch).max();
        self.wait_for("a trader that another peer recognises", from, |events| {
            let events = events.iter().filter(|event| event.epoch > before).collect::<Vec<_>>();
            let took = events.iter().filter(|event| matches!(note(event), Some(Note::TookOffice { .. })));
            let took: BTreeSet<PeerId> = took.filter_map(|event| event.peer).collect();
            events.iter().find_map(|event| match note(event) {
                Some(Note::Recognised { trader }) if took.contains(trader) => Some((*trader, event.epoch?)),
                _ => None,
            })
        })
    }

    // --------------------------------------------------------------------------------------------------- asking

    /// Runs a command about this bazaar.
    pub fn ask(&self, args: &[&str]) -> Answer {
        let mut command = bazaar_inside(&self.outer);
        command.args(args).arg("--dir").arg(self.dir());
        Answer::of(command)
    }

    /// A page of the books.
    #[track_caller]
    pub fn page(&self, page: &str) -> Vec<Value> {
        // A ledger that has just been killed may be asked between two lives.
        let answer = until("the books can be read", || {
            let answer = self.ask(&["books", page, "--json"]);
            (answer.code != Some(3)).then_some(answer)
        });
        answer.ends(0).json().as_array().expect("a list").clone()
    }

    /// Changes every version of a batch that is left in the files of the ledger's store, which must not be open.
    #[track_caller]
    pub fn damage(&self, batch: &Batch) {
        let store = self.dir().join("ledger/store");
        let encoded = postcard::to_allocvec(batch).unwrap();
        let damaged = [store.join("log/db"), store.join("head")].map(|file| {
            let mut bytes = fs::read(&file).unwrap();
            let starts = |at: &usize| bytes[*at..].starts_with(&encoded);
            let places: Vec<usize> = (0..bytes.len() - encoded.len()).filter(starts).collect();
            places.iter().for_each(|at| bytes[at + encoded.len() - 1] ^= 1);
            fs::write(&file, bytes).unwrap();
            places.len()
        });
        assert!(damaged.iter().sum::<usize>() > 0, "the batch is nowhere");
    }

    /// Every record in the books, with its epoch.
    #[track_caller]
    pub fn log(&self) -> Vec<(Epoch, Record)> {
        let read = |line: Value| {
            let epoch = line["epoch"].as_u64().expect("an epoch");
            let record = serde_json::from_value(line).expect("a record");
            (Epoch(epoch), Record::read(record, &self.ears.names).expect("known items"))
        };
        self.page("log").into_iter().map(read).collect()
    }

    /// Every sale in the books.
    #[track_caller]
    pub fn sales(&self) -> Vec<Sale> {
        self.log().into_iter().filter_map(|(_, record)| sale(&record)).collect()
    }

    /// The status of all peers, from `bazaar status`.
    #[track_caller]
    pub fn status(&self) -> Value {
        until("the bazaar reports its status", || {
            let answer = self.ask(&["status", "--json"]);
            (answer.code == Some(0)).then(|| answer.json())
        })
    }

    /// The trader, according to both its own status and the books.
    #[track_caller]
    pub fn trader(&self) -> PeerId {
        until("there is a trader", || {
            let trader = self.status()["trader"].as_u64()?;
            let last = self.page("terms").pop()?;
            (last["trader"] == trader && last["ended"].is_null()).then_some(PeerId(trader as u32))
        })
    }

    /// Who is whose neighbour.
    pub fn graph(&self) -> BTreeMap<u32, BTreeSet<u32>> {
        let text = fs::read_to_string(self.dir().join("graph.json")).expect("the network is saved");
        let graph: BTreeMap<String, BTreeSet<u32>> = serde_json::from_str(&text).expect("an adjacency list");
        graph.into_iter().map(|(id, neighbours)| (id.parse().expect("an id"), neighbours)).collect()
    }

    /// Checks that the audit holds, and that everything anybody was told so far is in the books: an outcome (`bought`,
    /// `unavailable`), a deposit, a sale. Returns how many sales there are.
    #[track_caller]
    pub fn check(&self) -> usize {
        let told = self.events();
        let log = self.log();
        let sold: BTreeMap<RequestId, Sale> =
            log.iter().filter_map(|(_, record)| sale(record)).map(|sale| (sale.request, sale)).collect();
        let refused: BTreeSet<RequestId> = log
            .iter()
            .filter_map(
                |(_, record)| if let Entry::Refused { request, .. } = record.entry { Some(request) } else { None },
            )
            .collect();
        let deposits: BTreeSet<DepositId> =
            log.iter().filter_map(|(_, record)| deposit(record).map(|deposit| deposit.id)).collect();
        for event in &told {
            let stands = match note(event) {
                Some(Note::Bought { sale } | Note::Earned { sale, .. } | Note::Sold { sale }) => {
                    sold.get(&sale.request) == Some(sale)
                }
                Some(Note::Unavailable { request, .. } | Note::Refused { request }) => refused.contains(request),
                Some(Note::Registered { deposit, .. } | Note::Deposited { deposit, .. }) => deposits.contains(deposit),
                _ => true,
            };
            assert!(stands, "this was told but is not in the books: {event:?}");
        }
        let audit =
            until("the books can be read", || Some(self.ask(&["audit", "--json"])).filter(|it| it.code != Some(3)));
        let audit = audit.ends(0).json();
        assert!(audit["totals"]["sales"].as_u64().expect("a count") >= sold.len() as u64, "{audit}");
        sold.len()
    }

    // ------------------------------------------------------------------------------------------------- processes

    /// Every running process of this bazaar: supervisors, ledger, peers.
    pub fn processes(&self) -> BTreeMap<i32, Vec<String>> {
        processes_below(self.home())
    }

    /// The process of the ledger.
    #[track_caller]
    pub fn ledger_pid(&self) -> i32 {
        self.find_process("the ledger", |words| words.iter().any(|word| word == "ledger"))
    }

    /// The process that hosts a peer.
    #[track_caller]
    pub fn pid_of(&self, peer: PeerId) -> i32 {
        let id = peer.to_string();
        self.find_process(&format!("peer {id}"), |words| {
            let at = words.iter().position(|word| word == "--id");
            at.and_then(|at| words.get(at + 1)).is_some_and(|ids| ids.split(',').any(|hosted| hosted == id))
        })
    }

    #[track_caller]
    fn find_process(&self, what: &str, is: impl Fn(&[String]) -> bool) -> i32 {
        until(&format!("{what} has a process"), || {
            self.processes().into_iter().find(|(_, words)| is(words)).map(|(pid, _)| pid)
        })
    }

    /// The process that was started last: the supervisor.
    pub fn supervisor(&self) -> i32 {
        self.started.last().expect("it was started").id() as i32
    }

    /// Sends a signal to one of the bazaar's processes.
    #[track_caller]
    pub fn signal(&self, pid: i32, signal: Signal) {
        assert!(self.processes().contains_key(&pid), "process {pid} is not one of this bazaar, or not any more");
        kill(Pid::from_raw(pid), signal).expect("the signal is sent");
    }

    /// Kills the supervisor alone, as [`Bazaar::end`] does.
    pub fn kill_supervisor(&mut self) {
        self.end(self.supervisor(), Signal::SIGKILL);
    }

    /// Ends one that was started here with this signal, and waits until the kernel has removed it and released its locks and
    /// ports. (Its command line is gone before they are.)
    #[track_caller]
    pub fn end(&mut self, pid: i32, signal: Signal) {
        self.signal(pid, signal);
        let ended = self.started.iter_mut().find(|child| child.id() as i32 == pid).expect("it was started here");
        until("the process ends", || ended.try_wait().expect("a child"));
    }

    /// Kills everything at once.
    pub fn kill_everything(&mut self) {
        // The supervisor first: it must not start anything again.
        let supervisors: Vec<i32> = self.started.iter().map(|child| child.id() as i32).collect();
        let others = self.processes().into_keys();
        for pid in supervisors.iter().copied().filter(|pid| self.is_ours(*pid)).chain(others) {
            let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
        }
        for child in &mut self.started {
            let _ = child.wait();
        }
        self.assert_nobody_is_left();
    }

    fn is_ours(&self, pid: i32) -> bool {
        self.processes().contains_key(&pid)
    }

    /// Waits until the last process that was started here ends on its own; then no other may be left.
    #[track_caller]
    pub fn wait_for_end(&mut self) -> ExitStatus {
        let child = self.started.last_mut().expect("it was started");
        let status = until("the run ends", || child.try_wait().expect("a child"));
        self.assert_nobody_is_left();
        let deadline = Instant::now() + DEADLINE;
        let mut heard = self.ears.heard();
        while heard.open > 0 {
            let left = deadline.saturating_duration_since(Instant::now());
            assert!(!left.is_zero(), "an output of an ended run is still open");
            heard = self.ears.wait(heard, left);
        }
        status
    }

    /// How all processes that were started here have ended.
    #[track_caller]
    pub fn statuses(&mut self) -> Vec<ExitStatus> {
        self.started.iter_mut().map(|child| child.wait().expect("a child")).collect()
    }

    /// Ends the run as Ctrl-C does: it must exit with 0, with a summary and an audit that holds, and leave no process.
    #[track_caller]
    pub fn stop(&mut self) {
        self.signal(self.supervisor(), Signal::SIGINT);
        let status = self.wait_for_end();
        assert_eq!(status.code(), Some(0), "how the run ended; it said: {}", self.errors());
        let summary = self.summary();
        for verdict in summary["audit"]["verdicts"].as_array().expect("verdicts") {
            assert_eq!(verdict["holds"], true, "{verdict}");
        }
    }

    #[track_caller]
    pub fn assert_nobody_is_left(&self) {
        until("no process is left", || self.processes().is_empty().then_some(()));
    }
}

impl Drop for Bazaar {
    fn drop(&mut self) {
        for (pid, _) in self.processes() {
            // It may be ending on its own just now.
            let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
        }
        for child in &mut self.started {
            // It may not have become a bazaar yet, if another command was to start it.
            let _ = child.kill();
            let _ = child.wait();
        }
        if thread::panicking() {
            self.say_what_happened();
        } else {
            self.assert_nobody_is_left();
        }
    }
}

impl Bazaar {
    /// Prints what is needed to understand a failure, so that there is no other place to look.
    fn say_what_happened(&mut self) {
        let Some(home) = self.home.take() else { return };
        let home = home.keep();
        let thread = thread::current();
        let name = thread.name().unwrap_or("?");
        eprintln!("\n---- what happened in {name} ----");
        eprintln!("everything is in {}", home.display());
        if let Ok(config) = fs::read_to_string(home.join("run/bazaar.toml")) {
            let seed = config.lines().find(|line| line.starts_with("seed")).unwrap_or("seed unknown");
            eprintln!("{seed}");
        }
        for command in &self.commands {
            eprintln!("ran:    {command}");
        }
        eprintln!("repeat: cargo test -p bazaar-runtime --test '*' -- --exact {name}");
        let heard = self.ears.heard();
        if !heard.errors.is_empty() {
            eprintln!("on the error output:\n{}", heard.errors);
        }
        eprintln!("the last events:");
        for event in heard.events.iter().rev().take(50).rev() {
            eprintln!("  {}", serde_json::to_string(&event.show(&self.ears.names)).unwrap_or_default());
        }
    }
}

/// Asks again until there is an answer: for what the kernel and other processes do not report on their own.
#[track_caller]
pub fn until<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + DEADLINE;
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(Instant::now() < deadline, "{what}: not within {DEADLINE:?}");
        thread::park_timeout(GLANCE);
    }
}

/// Copies a directory with all that is in it.
pub fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).expect("a directory");
    for entry in fs::read_dir(from).expect("a directory").map(|entry| entry.expect("an entry")) {
        let to = to.join(entry.file_name());
        if entry.file_type().expect("a type").is_dir() {
            copy(&entry.path(), &to);
        } else {
            fs::copy(entry.path(), to).expect("a copy");
        }
    }
}

/// The running processes whose command line names something below a directory. One that has ended and has not been
/// waited for has no command line.
pub fn processes_below(dir: &Path) -> BTreeMap<i32, Vec<String>> {
    let dir = dir.to_string_lossy().into_owned();
    let mut found = BTreeMap::new();
    for entry in fs::read_dir("/proc").expect("/proc").flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse::<i32>().ok()) else { continue };
        // It may be gone by now.
        let Ok(command) = fs::read(entry.path().join("cmdline")) else { continue };
        let words: Vec<String> =
            command.split(|byte| *byte == 0).map(|word| String::from_utf8_lossy(word).into_owned()).collect();
        if words.first().is_some_and(|word| word.ends_with("bazaar")) && words.iter().any(|word| word.contains(&dir)) {
            found.insert(pid, words);
        }
    }
    found
}

/// A port of this machine that nobody listens on at the moment.
pub fn free_port(host: &str) -> u16 {
    let listener = std::net::TcpListener::bind((host, 0)).expect("a free port");
    listener.local_addr().expect("an address").port()
}

pub fn note(event: &Event) -> Option<&Note> {
    match &event.what {
        What::Peer(note) => Some(note),
        What::Process(_) => None,
    }
}

pub fn process_event(event: &Event) -> Option<&ProcessEvent> {
    match &event.what {
        What::Process(event) => Some(event),
        What::Peer(_) => None,
    }
}

pub fn sale(record: &Record) -> Option<Sale> {
    if let Entry::Sold(sale) = &record.entry { Some(sale.clone()) } else { None }
}

pub fn deposit(record: &Record) -> Option<Deposit> {
    if let Entry::Deposited(deposit) = &record.entry { Some(deposit.clone()) } else { None }
}
