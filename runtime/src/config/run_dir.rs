//! The directory of a run: everything that a run leaves behind and continues with.
//!
//! ```text
//! DIR/format        which version of this layout it is
//!     lock          held by the `bazaar run` that uses it
//!     bazaar.toml   the effective configuration, everything decided
//!     graph.json    the network
//!     ledger/       address, pid, log, trace, store/; `missing` if acknowledged records are gone
//!     peer-N/       pid, log, trace, store/
//! ```

use std::{
    fs::{self, File},
    io,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use bazaar_protocol::id::PeerId;
use thiserror::Error;

use crate::config::{BazaarConfig, ConfigError, RawConfig};

/// Which version of the layout this is.
const FORMAT: &str = "bazaar run 3";

/// How long processes whose supervisor was killed may take to stop.
const ORPHANS: Duration = Duration::from_secs(10);

/// Why a run's directory cannot be used.
#[derive(Debug, Error)]
pub enum RunDirError {
    /// Its configuration is wrong.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// It cannot be read or written.
    #[error("cannot {action} {}: {error}; give a --dir that can be written", .path.display())]
    Io {
        /// What was attempted, as a verb.
        action: &'static str,
        /// The file or directory it was attempted with.
        path: PathBuf,
        /// The operating system's error.
        error: io::Error,
    },
    /// There is no run in it.
    #[error("there is no run in {}: give the --dir of one, or start one with `bazaar run`", .0.display())]
    NoRun(PathBuf),
    /// It holds something that is not a run.
    #[error("{} is not empty and holds no run: give --dir a new directory or that of a run", .0.display())]
    NotARun(PathBuf),
    /// Its configuration lacks what every run writes into it.
    #[error("{} is damaged: it has no key, and every run has one; restore the file, or give another \
        --dir", .0.display())]
    Damaged(PathBuf),
    /// A run that has not ended is using it.
    #[error("{} is in use by a run that has not ended: stop that one first, or give another --dir", .0.display())]
    InUse(PathBuf),
    /// It was written by another version.
    #[error("{} was written by another version (\"{found}\", this one writes \"{FORMAT}\"): use that \
        version", .dir.display())]
    OtherFormat {
        /// The directory.
        dir: PathBuf,
        /// The version that it names.
        found: String,
    },
    /// Its run was started with other parameters than are asked for now.
    #[error(
        "{} holds a run with other parameters; leave them out to continue it, or give another --dir:\n  {}",
        .dir.display(), .differences.join("\n  ")
    )]
    OtherParameters {
        /// The directory.
        dir: PathBuf,
        /// What differs, a line for each parameter.
        differences: Vec<String>,
    },
}

fn io_error<'a>(action: &'static str, path: &'a Path) -> impl FnOnce(io::Error) -> RunDirError + 'a {
    move |error| RunDirError::Io { action, path: path.to_owned(), error }
}

/// A run's directory, held by this process so that no other run uses it.
#[derive(Debug)]
pub struct RunDir {
    path: PathBuf,
    config: BazaarConfig,
    _lock: File,
}

impl RunDir {
    /// Takes the directory at `path` for a run: a new one, or that of a run that ended. `file` is the configuration
    /// that the caller gives, and `flags` overrides it with the flags. If there is a run already, nothing in either may
    /// differ from what it was started with; what they leave open stays as it was.
    ///
    /// # Errors
    /// See [`RunDirError`]. Nothing that was there has been changed then.
    pub fn take(
        path: &Path,
        file: Option<RawConfig>,
        flags: impl Fn(&mut RawConfig) -> Result<(), ConfigError>,
    ) -> Result<RunDir, RunDirError> {
        let is_run = check_format(path)?;
        if !is_run && path.read_dir().is_ok_and(|mut entries| entries.next().is_some()) {
            return Err(RunDirError::NotARun(path.to_owned()));
        }
        let saved_file = config_file(path);
        let saved = if is_run { Some(RawConfig::read(&saved_file)?) } else { None };
        let mut asked = file.or_else(|| saved.clone()).unwrap_or_default();
        flags(&mut asked)?;
        asked.set_text("--dir", "dir", &path.to_string_lossy())?;
        let mut config = match (asked.check(), &saved) {
            (Ok(config), _) => config,
            // The flags do not fit the network that is there. Draw what they ask for, to say how it differs.
            (Err(error), Some(_)) => asked.without_what_was_drawn().check().map_err(|_| error)?,
            (Err(error), None) => return Err(error.into()),
        };
        fs::create_dir_all(path).map_err(io_error("create", path))?;
        let lock = lock(path)?;
        if let Some(saved) = saved {
            let mut saved = saved;
            saved.set_text("--dir", "dir", &path.to_string_lossy())?;
            let saved = saved.check()?;
            if saved.key().is_none() {
                return Err(RunDirError::Damaged(saved_file));
            }
            let differences = saved.differences(&config);
            if !differences.is_empty() {
                return Err(RunDirError::OtherParameters { dir: path.to_owned(), differences });
            }
            config = saved;
        }
        await_orphans(path, config.peers())?;
        config.ensure_key();
        leave_all(path, &config)?;
        forget_processes(path, config.peers());
        Ok(RunDir { path: path.to_owned(), config, _lock: lock })
    }

    /// The directory's path.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The run's effective configuration.
    #[must_use]
    pub fn config(&self) -> &BazaarConfig {
        &self.config
    }
}

/// Makes the directory of a member that was started by hand one that tools can use: on several machines nobody else
/// does. In a directory that `bazaar run` has prepared, there is nothing to do.
///
/// # Errors
/// When it holds something else, or a run with other parameters, or cannot be written.
pub fn join(config: &BazaarConfig) -> Result<(), RunDirError> {
    let path = config.dir();
    if check_format(path)? {
        let differences = RawConfig::read(&config_file(path))?.check()?.differences(config);
        return if differences.is_empty() {
            Ok(())
        } else {
            Err(RunDirError::OtherParameters { dir: path.to_owned(), differences })
        };
    }
    fs::create_dir_all(path).map_err(io_error("create", path))?;
    leave_all(path, config)
}

/// Writes the files that make a directory that of a run. `format` comes last: a directory that has it is complete.
fn leave_all(path: &Path, config: &BazaarConfig) -> Result<(), RunDirError> {
    leave(path, "bazaar.toml", &config.to_toml())?;
    leave(path, "graph.json", &config.graph().to_json())?;
    leave(path, "format", &format!("{FORMAT}\n"))
}

/// Writes a file so that it holds either all of `text` or what was there before. Members that start at the same time
/// all do this, and all write the same.
fn leave(path: &Path, name: &str, text: &str) -> Result<(), RunDirError> {
    let (file, fresh) = (path.join(name), path.join(format!(".{name}-{}", std::process::id())));
    if fs::read_to_string(&file).is_ok_and(|there| there == text) {
        return Ok(());
    }
    let written = write_private(&fresh, text).and_then(|()| fs::rename(&fresh, &file));
    written.map_err(|error| {
        // It may not be there.
        let _ = fs::remove_file(&fresh);
        io_error("write", &file)(error)
    })
}

/// The effective configuration of the run at `path`.
///
/// # Errors
/// When there is no run, or one of another version.
pub fn config_of(path: &Path) -> Result<BazaarConfig, RunDirError> {
    if !check_format(path)? {
        return Err(RunDirError::NoRun(path.to_owned()));
    }
    Ok(RawConfig::read(&config_file(path))?.check()?)
}

/// Where a run's effective configuration is.
#[must_use]
pub fn config_file(run: &Path) -> PathBuf {
    run.join("bazaar.toml")
}

/// Creates a fresh directory below `runs`, and points the link `latest` there to it.
///
/// # Errors
/// When it cannot be created.
pub fn fresh(runs: &Path) -> Result<PathBuf, RunDirError> {
    fs::create_dir_all(runs).map_err(io_error("create", runs))?;
    let stamp = jiff::Zoned::now().strftime("%Y%m%d-%H%M%S").to_string();
    for n in 1_u32.. {
        let name = if n == 1 { stamp.clone() } else { format!("{stamp}-{n}") };
        let path = runs.join(&name);
        match fs::create_dir(&path) {
            Ok(()) => {
                let (link, new) = (runs.join("latest"), runs.join(format!(".latest-{name}")));
                std::os::unix::fs::symlink(&name, &new)
                    .and_then(|()| fs::rename(&new, &link))
                    .map_err(io_error("link", &link))?;
                return Ok(path);
            }
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(io_error("create", &path)(error)),
        }
    }
    unreachable!("some number below 2^32 is free")
}

fn check_format(path: &Path) -> Result<bool, RunDirError> {
    match fs::read(path.join("format")).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()) {
        Ok(found) if found.trim_end() == FORMAT => Ok(true),
        Ok(found) => Err(RunDirError::OtherFormat { dir: path.to_owned(), found: found.trim_end().to_owned() }),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(io_error("read", path)(error)),
    }
}

fn lock(path: &Path) -> Result<File, RunDirError> {
    let file = path.join("lock");
    let lock = File::create(&file).map_err(io_error("write", &file))?;
    match lock.try_lock() {
        Ok(()) => Ok(lock),
        Err(fs::TryLockError::WouldBlock) => Err(RunDirError::InUse(path.to_owned())),
        Err(fs::TryLockError::Error(error)) => Err(io_error("lock", &file)(error)),
    }
}

/// Writes a file that only its owner can read: the configuration holds the run's key.
fn write_private(path: &Path, text: &str) -> io::Result<()> {
    use std::{io::Write as _, os::unix::fs::OpenOptionsExt as _};
    let mut file = fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()
}

/// Waits for the processes of a killed supervisor. They stop on their own, but not at once, and hold their stores until
/// then.
fn await_orphans(run: &Path, peers: u32) -> Result<(), RunDirError> {
    let dirs: Vec<PathBuf> =
        std::iter::once(ledger_dir(run)).chain((0..peers).map(|id| peer_dir(run, PeerId(id)))).collect();
    let deadline = Instant::now() + ORPHANS;
    while dirs.iter().any(|dir| living_process(dir, run).is_some()) {
        if Instant::now() >= deadline {
            return Err(RunDirError::InUse(run.to_owned()));
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    Ok(())
}

/// The process whose id is in this directory of a run's ledger or peer, if that is a running process of this run: the
/// id may have passed to another process meanwhile.
#[must_use]
pub fn living_process(dir: &Path, run: &Path) -> Option<u32> {
    let pid: u32 = fs::read_to_string(dir.join("pid")).ok()?.trim().parse().ok()?;
    let command = fs::read(format!("/proc/{pid}/cmdline")).ok()?;
    let words: Vec<&[u8]> = command.split(|byte| *byte == 0).collect();
    let is_member =
        words.first()?.ends_with(b"bazaar") && words.iter().any(|word| matches!(*word, b"peer" | b"ledger"));
    // Started with a configuration whose directory is this run's.
    let config = words.iter().skip_while(|word| **word != b"--config").nth(1)?;
    let started_in = fs::read_link(format!("/proc/{pid}/cwd")).ok()?;
    let config = started_in.join(String::from_utf8_lossy(config).into_owned());
    let config = RawConfig::read(&config).ok()?.check().ok()?;
    let is_same = config.dir().canonicalize().ok()? == run.canonicalize().ok()?;
    (is_member && is_same).then_some(pid)
}

/// Removes the addresses and ids that earlier processes of this run left behind, since they are no longer right.
fn forget_processes(run: &Path, peers: u32) {
    let ledger = ledger_dir(run);
    let pids = (0..peers).map(|id| peer_dir(run, PeerId(id)).join("pid"));
    for file in [ledger.join("address"), ledger.join("pid")].into_iter().chain(pids) {
        // It need not be there.
        let _ = fs::remove_file(file);
    }
}

/// The ledger's directory within its run's.
#[must_use]
pub fn ledger_dir(run: &Path) -> PathBuf {
    run.join("ledger")
}

/// The file into which the ledger's process writes the address it listens on.
#[must_use]
pub fn address_file(ledger: &Path) -> PathBuf {
    ledger.join("address")
}

/// A peer's directory within its run's.
#[must_use]
pub fn peer_dir(run: &Path, peer: PeerId) -> PathBuf {
    run.join(format!("peer-{peer}"))
}
