//! What the commands do.

mod books;
pub mod cli;
mod look;
mod member;
mod run;

use std::{
    path::{Path, PathBuf},
    process::ExitCode,
};

use bazaar_runtime::{
    config::ConfigError,
    config::run_dir::RunDirError,
    processes::{ledger_driver::LedgerDriverError, peer_driver::PeerDriverError, supervise::RunError},
    tools::access::AccessError,
};
use thiserror::Error;

use self::cli::{Command, Init, Which};

/// Why a command fails. It decides the exit code.
#[derive(Debug, Error)]
pub enum Failure {
    #[error(transparent)]
    Config(#[from] ConfigError),
    #[error(transparent)]
    RunDir(#[from] RunDirError),
    #[error(transparent)]
    Access(#[from] AccessError),
    #[error(transparent)]
    Run(#[from] RunError),
    #[error(transparent)]
    Ledger(#[from] LedgerDriverError),
    #[error(transparent)]
    Peer(#[from] PeerDriverError),
    /// The command line asks for something impossible.
    #[error("{0}")]
    Usage(String),
    /// Something outside the program is in the way.
    #[error("{0}")]
    Stuck(String),
}

impl Failure {
    /// The exit code: 1 a property or the audit fails, 2 wrong usage or configuration, 3 could not finish.
    pub fn code(&self) -> ExitCode {
        match self {
            Failure::Config(_) | Failure::RunDir(_) | Failure::Usage(_) => ExitCode::from(2),
            Failure::Access(AccessError::RunDir(_) | AccessError::NoKey) => ExitCode::from(2),
            Failure::Access(error) if error.is_damage() => ExitCode::from(1),
            Failure::Access(_) | Failure::Run(_) | Failure::Ledger(_) | Failure::Peer(_) | Failure::Stuck(_) => {
                ExitCode::from(3)
            }
        }
    }
}

/// Runs a command and gives its exit code.
pub fn run(command: Command) -> Result<ExitCode, Failure> {
    match command {
        Command::Run(flags) => run::run(&flags),
        Command::Init(flags) => init(&flags),
        Command::Ledger(flags) => member::ledger(&flags),
        Command::Peer(flags) => member::peer(&flags),
        Command::Status(flags) => look::status(&flags),
        Command::Kill(flags) => look::kill(&flags),
        Command::Books(flags) => books::show(&flags),
        Command::Audit(flags) => books::audit(&flags),
        Command::Graph(flags) => look::graph(&flags),
    }
}

fn init(flags: &Init) -> Result<ExitCode, Failure> {
    use std::io::Write as _;
    let text = bazaar_runtime::config::init_text();
    match &flags.file {
        None => {
            print(&text);
        }
        Some(file) => {
            use std::os::unix::fs::OpenOptionsExt as _;
            // It holds the run's key.
            let opened = std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(file);
            opened.and_then(|mut opened| opened.write_all(text.as_bytes())).map_err(|error| {
                let is_there = error.kind() == std::io::ErrorKind::AlreadyExists;
                let why = if is_there { "it exists already; give another name".to_owned() } else { error.to_string() };
                Failure::Usage(format!("cannot write {}: {why}", file.display()))
            })?;
            print(&format!("wrote {}; now: bazaar run --config {}\n", file.display(), file.display()));
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// Prints to standard output, and says whether anybody still reads it. A reader that has gone away has seen what it
/// wanted.
fn print(text: &str) -> bool {
    use std::io::Write as _;
    let mut out = anstream::stdout().lock();
    out.write_all(text.as_bytes()).and_then(|()| out.flush()).is_ok()
}

/// Prints a value as JSON to standard output, with a line break.
fn print_json(value: &impl serde::Serialize) -> Result<bool, Failure> {
    let json = serde_json::to_string_pretty(value).map_err(|error| Failure::Stuck(error.to_string()))?;
    Ok(print(&(json + "\n")))
}

/// Runs a future on the single thread that does all of this process's work (a second one makes round trips slower).
fn block_on<T>(future: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::Stuck(format!("cannot start: {error}")))?
        .block_on(future)
}

/// The directory below which runs go that were given none.
fn runs_dir() -> &'static Path {
    Path::new("bazaar-runs")
}

/// The run that a command is about.
fn which_run(which: &Which) -> Result<PathBuf, Failure> {
    match &which.dir {
        Some(dir) => Ok(dir.clone()),
        None => runs_dir().join("latest").canonicalize().map_err(|_| {
            Failure::Usage(
                "there is no run below ./bazaar-runs/: start one with `bazaar run`, or give --dir".to_owned(),
            )
        }),
    }
}
