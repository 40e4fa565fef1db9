//! What the commands do.

mod backup;
mod bench;
mod books;
mod cert;
pub mod cli;
mod faults;
mod look;
mod member;
mod rejoin;
mod run;
mod table;

use std::{
    path::{Path, PathBuf},
    process::ExitCode,
};

use bazaar_etcd::cluster::ClusterError;
use bazaar_runtime::{
    config::run_dir::RunDirError,
    config::{ConfigError, RawConfig},
    processes::{ledger_driver::LedgerDriverError, peer_driver::PeerDriverError, supervise::RunError},
    store::{StoreError, etcd::InitError, witness::Gone},
    system::{
        files::create_whole,
        limits::LimitError,
        output::{self, OutputError, Reader},
    },
    tools::access::{AccessError, books_in_etcd},
};
use clap::CommandFactory as _;
use thiserror::Error;

use self::cli::{Cli, Command, Completions, Init, Man, Which};

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
    /// No books were made in etcd.
    #[error(transparent)]
    Books(#[from] InitError),
    /// The run's own cluster of etcd does not start.
    #[error(transparent)]
    Etcd(#[from] ClusterError),
    /// What was to be printed or written is lost.
    #[error(transparent)]
    Output(#[from] OutputError),
    /// The system does not let the processes have what they need.
    #[error(transparent)]
    Limit(#[from] LimitError),
    /// The books are not as they should be. Standard output has the details.
    #[error("{0}")]
    Unsound(String),
    /// Something outside the program is in the way.
    #[error("{0}")]
    Stuck(String),
    /// Somebody has interrupted it, so that it could not finish.
    #[error("interrupted")]
    Interrupted,
}

impl From<Gone> for Failure {
    fn from(gone: Gone) -> Failure {
        Failure::Unsound(gone.to_string())
    }
}

impl From<StoreError> for Failure {
    fn from(error: StoreError) -> Failure {
        Failure::Access(error.into())
    }
}

impl Failure {
    /// Whether the books themselves are wrong, rather than out of reach.
    pub fn is_about_books(&self) -> bool {
        match self {
            Failure::Unsound(_) => true,
            Failure::Access(error) => error.is_damage(),
            Failure::Config(_)
            | Failure::RunDir(_)
            | Failure::Run(_)
            | Failure::Ledger(_)
            | Failure::Peer(_)
            | Failure::Usage(_)
            | Failure::Books(_)
            | Failure::Etcd(_)
            | Failure::Output(_)
            | Failure::Limit(_)
            | Failure::Stuck(_)
            | Failure::Interrupted => false,
        }
    }

    /// The exit code: 1 a property or the audit fails, 2 wrong usage or configuration, 3 could not finish.
    pub fn code(&self) -> ExitCode {
        match self {
            failure if failure.is_about_books() => ExitCode::from(1),
            Failure::Access(AccessError::Certificates(error)) if error.is_about_writing() => ExitCode::from(3),
            Failure::Config(_) | Failure::RunDir(_) | Failure::Usage(_) => ExitCode::from(2),
            Failure::Access(
                AccessError::RunDir(_) | AccessError::NoKey | AccessError::Certificates(_) | AccessError::Tools(_),
            ) => ExitCode::from(2),
            Failure::Access(AccessError::Store(StoreError::NotABackup { .. })) => ExitCode::from(2),
            Failure::Unsound(_)
            | Failure::Access(_)
            | Failure::Run(_)
            | Failure::Ledger(_)
            | Failure::Peer(_)
            | Failure::Books(_)
            | Failure::Etcd(_)
            | Failure::Output(_)
            | Failure::Limit(_)
            | Failure::Stuck(_)
            | Failure::Interrupted => ExitCode::from(3),
        }
    }
}

impl Failure {
    /// Says on standard error what is wrong, and gives the exit code.
    pub fn tell(&self) -> ExitCode {
        output::fail(&self.to_string());
        self.code()
    }
}

/// Runs a command and gives its exit code.
pub fn run(command: Command) -> Result<ExitCode, Failure> {
    match command {
        Command::Run(flags) => run::run(&flags),
        Command::Init(flags) => match &flags.tls {
            Some(dir) => cert::init(dir, &flags),
            None => init(&flags),
        },
        Command::Cert(flags) => cert::cert(&flags),
        Command::Ledger(flags) => member::ledger(&flags),
        Command::Peer(flags) => member::peer(&flags),
        Command::Status(flags) => look::status(&flags),
        Command::Kill(flags) => faults::kill(&flags.target),
        Command::Pause(flags) => faults::pause(&flags.target),
        Command::Resume(flags) => faults::resume(&flags.target),
        Command::Cut(flags) => faults::cut(&flags),
        Command::Heal(flags) => faults::heal(&flags),
        Command::Resign(flags) => faults::resign(&flags.which),
        Command::Rejoin(flags) => rejoin::rejoin(&flags),
        Command::Books(flags) => books::show(&flags),
        Command::Audit(flags) => books::audit(&flags),
        Command::Backup(flags) => backup::backup(&flags),
        Command::Restore(flags) => backup::restore(&flags),
        Command::Graph(flags) => look::graph(&flags),
        Command::Bench(flags) => bench::bench(&flags),
        Command::Completions(flags) => completions(&flags),
        Command::Man(flags) => man(&flags),
    }
}

fn completions(flags: &Completions) -> Result<ExitCode, Failure> {
    let mut script = Vec::new();
    clap_complete::generate(flags.shell, &mut Cli::command(), "bazaar", &mut script);
    print(&String::from_utf8_lossy(&script))?;
    Ok(ExitCode::SUCCESS)
}

fn man(flags: &Man) -> Result<ExitCode, Failure> {
    let name = output::shown(&flags.dir);
    let failed = |error| Failure::Output(OutputError { name: name.clone(), error });
    std::fs::create_dir_all(&flags.dir).map_err(failed)?;
    clap_mangen::generate_to(Cli::command(), &flags.dir).map_err(failed)?;
    print(&format!("wrote the manual into {name}; now: man {}\n", output::shown(&flags.dir.join("bazaar.1"))))?;
    Ok(ExitCode::SUCCESS)
}

fn init(flags: &Init) -> Result<ExitCode, Failure> {
    if let Some(file) = &flags.books {
        return init_books(file);
    }
    let text = bazaar_runtime::config::init_text();
    match &flags.file {
        None => {
            print(&text)?;
        }
        Some(file) => {
            create_whole(file, text.as_bytes()).map_err(|error| {
                use std::io::ErrorKind::{AlreadyExists, NotADirectory, NotFound, PermissionDenied};
                let name = file.display().to_string();
                if error.kind() == AlreadyExists {
                    return Failure::Usage(format!("cannot write {name}: it exists already; give another name"));
                }
                // With these, nothing is wrong but the name.
                let is_name = matches!(error.kind(), NotFound | NotADirectory | PermissionDenied);
                let output = OutputError { name, error };
                if is_name { Failure::Usage(output.to_string()) } else { Failure::Output(output) }
            })?;
            let file = output::shown(file);
            print(&format!("wrote {file}; now: bazaar run --config {file}\n"))?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// Makes empty books in etcd.
fn init_books(file: &Path) -> Result<ExitCode, Failure> {
    let config = RawConfig::read(file)?.check()?;
    let store = books_in_etcd(&config)?.ok_or_else(|| {
        let right = "its books are made when its ledger starts, on the disk there; only those in etcd are made before, with \
                     store = \"etcd\" under [ledger] and its endpoints under [ledger.etcd]";
        Failure::Usage(format!("{}: {right}", file.display()))
    })?;
    block_on(async { Ok(store.init().await?) })?;
    print(&format!("made empty books below {} in etcd\n", store.prefix()))?;
    Ok(ExitCode::SUCCESS)
}

/// Prints to standard output, and says whether anybody still reads it.
fn print(text: &str) -> Result<Reader, Failure> {
    Ok(output::print(text)?)
}

/// Prints a value as JSON to standard output, with a line break.
fn print_json(value: &impl serde::Serialize) -> Result<Reader, Failure> {
    let json = serde_json::to_string_pretty(value).map_err(|error| Failure::Stuck(error.to_string()))?;
    print(&(json + "\n"))
}

/// Runs a future on the single thread that does all of this process's work (a second one makes round trips slower).
fn block_on<T>(future: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::Stuck(format!("cannot start: {error}")))?
        .block_on(future)
}

fn no_signals(error: std::io::Error) -> Failure {
    Failure::Stuck(format!("cannot wait for signals: {error}"))
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
