//! The directory of a run: everything that a run leaves behind and continues with.
//!
//! ```text
//! DIR/format        which version of this layout it is
//!     lock          held by the `bazaar run` that uses it
//!     config.lock   held by a process for as long as it changes bazaar.toml
//!     bazaar.toml   the effective configuration, everything decided
//!     graph.json    the network
//!     tls/          certificates, if it has any ([`files`](crate::tls::files))
//!     mark          in a run that was made from a backup: by which mark its backups are known
//!     ledger/       address, pid, log, trace, store/; `missing` if acknowledged records are gone;
//!                   `store.replaced-TIME/` for each store that `bazaar restore` has set aside
//!     ledger-N/     the same, without a store, of its second process and further ones, if it has several
//!     books-in-etcd once the run's books were made there
//!     etcd/         ports, and the data and log of each node, if it has an etcd of its own
//!     peer-N/       address, pid, log, trace, store/
//! ```

use std::{
    fs::{self, File},
    io,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use bazaar_protocol::id::PeerId;
use thiserror::Error;

use crate::{
    config::{
        BazaarConfig, ConfigError, Key, RawConfig, TlsSettings,
        ledger::{LedgerId, LedgerSettings, MOST_LEDGERS},
    },
    system::{files::replace_whole, process::ProcessMark},
    tls::certificate::Serial,
};

/// Which version of the layout this is.
const FORMAT: &str = "bazaar run 5";

/// The file that says that the run's books were made in etcd.
const BOOKS: &str = "books-in-etcd";

/// How long processes whose supervisor was killed may take to stop.
const ORPHANS: Duration = Duration::from_secs(10);

/// How long a process that is being killed may hold what it has locked.
const RELEASE: Duration = Duration::from_secs(1);

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
    made: Made,
    _lock: File,
}

/// How much of a run's directory this start has made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Made {
    /// Nothing: it continues a run.
    Nothing,
    /// What is in the directory.
    Contents,
    /// The directory as well.
    Directory,
}

impl RunDir {
    /// Takes the directory at `path` for a run: a new one, or that of a run that ended. `file` is the configuration
    /// that the caller gives, and `flags` overrides it with the flags. If there is a run already, nothing in either may
    /// differ from what it was started with; what they leave open stays as it was. `admit` may still refuse the
    /// configuration before anything is made.
    ///
    /// # Errors
    /// See [`RunDirError`], and what `admit` says. Nothing that was there has been changed then.
    pub fn take<E: From<RunDirError>>(
        path: &Path,
        file: Option<RawConfig>,
        flags: impl Fn(&mut RawConfig) -> Result<(), ConfigError>,
        admit: impl FnOnce(&BazaarConfig) -> Result<(), E>,
    ) -> Result<RunDir, E> {
        let (config, saved) = RunDir::configure(path, file, flags)?;
        admit(&config)?;
        Ok(RunDir::make(path, config, saved)?)
    }

    /// The configuration that is asked for, and the saved one of the run that is there already.
    fn configure(
        path: &Path,
        file: Option<RawConfig>,
        flags: impl Fn(&mut RawConfig) -> Result<(), ConfigError>,
    ) -> Result<(BazaarConfig, Option<RawConfig>), RunDirError> {
        let is_run = check_format(path)?;
        if !is_run && path.read_dir().is_ok_and(|mut entries| entries.next().is_some()) {
            return Err(RunDirError::NotARun(path.to_owned()));
        }
        let saved = if is_run { Some(RawConfig::read(&config_file(path))?) } else { None };
        let mut asked = file.or_else(|| saved.clone()).unwrap_or_default();
        flags(&mut asked)?;
        let config = match (asked.check(), &saved) {
            (Ok(config), _) => config,
            // The flags do not fit the network that is there. Draw what they ask for, to say how it differs.
            (Err(error), Some(_)) => asked.without_what_was_drawn().check().map_err(|_| error)?,
            (Err(error), None) => return Err(error.into()),
        };
        Ok((config.in_dir(path), saved))
    }

    fn make(path: &Path, config: BazaarConfig, saved: Option<RawConfig>) -> Result<RunDir, RunDirError> {
        let made = match (&saved, path.exists()) {
            (Some(_), _) => Made::Nothing,
            (None, true) => Made::Contents,
            (None, false) => Made::Directory,
        };
        fs::create_dir_all(path).map_err(io_error("create", path))?;
        let lock = lock(path)?;
        let mut taken = RunDir { path: path.to_owned(), config, made, _lock: lock };
        match taken.prepare(saved.is_some()) {
            Ok(()) => Ok(taken),
            Err(error) => {
                taken.discard();
                Err(error)
            }
        }
    }

    fn prepare(&mut self, is_run: bool) -> Result<(), RunDirError> {
        let path = &self.path;
        if is_run {
            self.config = continued(path, &self.config)?;
        }
        await_orphans(path, self.config.peers())?;
        let _turn = change_config(path)?;
        if is_run {
            // Something may have been revoked meanwhile.
            self.config = continued(path, &self.config)?;
        }
        self.config.ensure_key();
        leave_all(path, &self.config)?;
        forget_processes(path, self.config.peers());
        Ok(())
    }

    /// Whether the run is new, rather than continued.
    #[must_use]
    pub fn is_new(&self) -> bool {
        self.made != Made::Nothing
    }

    /// Gives the run certificates.
    ///
    /// # Errors
    /// When its configuration cannot be written.
    pub fn set_tls(&mut self, tls: TlsSettings) -> Result<(), RunDirError> {
        self.config = self.config.clone().with_tls(tls);
        leave_config(&self.path, &self.config)
    }

    /// Has the run's books kept somewhere else, and by other processes.
    ///
    /// # Errors
    /// When its configuration cannot be written.
    pub fn set_ledger(&mut self, ledger: LedgerSettings) -> Result<(), RunDirError> {
        self.config = self.config.clone().with_ledger(ledger);
        leave_config(&self.path, &self.config)
    }

    /// Whether books were made in etcd for this run. (Those on a disk are made when their ledger starts.)
    #[must_use]
    pub fn has_books(&self) -> bool {
        self.path.join(BOOKS).exists()
    }

    /// Notes that they were.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn note_books(&self) -> Result<(), RunDirError> {
        let file = self.path.join(BOOKS);
        replace_whole(&file, b"").map_err(io_error("write", &file))
    }

    /// Removes what this start has made, because nothing came of it.
    pub fn discard(self) {
        // What cannot be removed stays, and the next start says what is there.
        if self.made == Made::Nothing {
            return;
        }
        for entry in fs::read_dir(&self.path).into_iter().flatten().flatten() {
            let is_dir = entry.file_type().is_ok_and(|kind| kind.is_dir());
            let _ = if is_dir { fs::remove_dir_all(entry.path()) } else { fs::remove_file(entry.path()) };
        }
        if self.made == Made::Directory {
            let _ = fs::remove_dir(&self.path);
        }
    }

    /// Takes the directory of a run that has ended, to change something in it.
    ///
    /// # Errors
    /// When there is no run in it, or one that has not ended.
    pub fn take_ended(path: &Path) -> Result<RunDir, RunDirError> {
        let config = config_of(path)?;
        let lock = lock(path)?;
        await_orphans(path, config.peers())?;
        Ok(RunDir { path: path.to_owned(), config, made: Made::Nothing, _lock: lock })
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
/// does. In a directory that `bazaar run` has prepared, there is nothing to do, unless an address has changed.
///
/// Returns the configuration that the member is to use: the saved one of a run that is there already, with what
/// `config` adds to it, so that no file that is given can take back a revocation or TLS. `admit` may still refuse it
/// before anything is written; what it gives is returned as well.
///
/// # Errors
/// When it holds something else, or a run with other parameters, or cannot be written; and what `admit` says.
pub fn join<T, E: From<RunDirError>>(
    config: &BazaarConfig,
    admit: impl Fn(&BazaarConfig) -> Result<T, E>,
) -> Result<(BazaarConfig, T), E> {
    let path = config.dir();
    if !check_format(path)? {
        admit(config)?;
        fs::create_dir_all(path).map_err(io_error("create", path))?;
    }
    let _turn = change_config(path)?;
    let joined = if check_format(path)? { continued(path, config)? } else { config.clone() };
    let admitted = admit(&joined)?;
    // Tools must find a member that has moved.
    leave_all(path, &joined)?;
    Ok((joined, admitted))
}

/// The configuration of the run at `path` that was saved, with what the one that is `asked` for adds to it.
fn continued(path: &Path, asked: &BazaarConfig) -> Result<BazaarConfig, RunDirError> {
    let saved = RawConfig::read(&config_file(path))?.check()?.in_dir(path);
    if saved.key().is_none() {
        return Err(RunDirError::Damaged(config_file(path)));
    }
    let differences = saved.differences(asked);
    if differences.is_empty() {
        Ok(saved.at_addresses_of(asked))
    } else {
        Err(RunDirError::OtherParameters { dir: path.to_owned(), differences })
    }
}

/// Adds serial numbers to those that the run at `path` refuses.
///
/// # Errors
/// When there is no run, or its configuration cannot be written; then what was there is still there.
pub fn revoke(path: &Path, serials: impl IntoIterator<Item = Serial>) -> Result<(), RunDirError> {
    let _turn = change_config(path)?;
    let config = config_of(path)?;
    let Some(mut tls) = config.tls().cloned() else { return Ok(()) };
    tls.revoked.extend(serials);
    leave_config(path, &config.with_tls(tls))
}

/// Waits until no other process changes the configuration of the run at `path`, and keeps others from it until what it
/// returns is dropped. Each reads it within that time, so that none undoes what another has written.
fn change_config(path: &Path) -> Result<File, RunDirError> {
    let file = path.join("config.lock");
    let lock = File::create(&file).map_err(io_error("write", &file))?;
    lock.lock().map_err(io_error("lock", &file))?;
    Ok(lock)
}

/// Writes the effective configuration of the run at `path`.
fn leave_config(path: &Path, config: &BazaarConfig) -> Result<(), RunDirError> {
    leave(path, "bazaar.toml", &config.to_toml())
}

/// Writes the files that make a directory that of a run. `format` comes last: a directory that has it is complete.
fn leave_all(path: &Path, config: &BazaarConfig) -> Result<(), RunDirError> {
    leave_config(path, config)?;
    leave(path, "graph.json", &config.graph().to_json())?;
    leave(path, "format", &format!("{FORMAT}\n"))
}

/// Writes a file so that it holds either all of `text` or what was there before. Members that start at the same time
/// all do this, and all write the same.
fn leave(path: &Path, name: &str, text: &str) -> Result<(), RunDirError> {
    let file = path.join(name);
    if fs::read_to_string(&file).is_ok_and(|there| there == text) {
        return Ok(());
    }
    replace_whole(&file, text.as_bytes()).map_err(io_error("write", &file))
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

/// The mark that was left in the run at `path` ([`leave_mark`]), if one was.
///
/// # Errors
/// When it cannot be read, or is not one.
pub fn mark_in(path: &Path) -> Result<Option<[u8; 32]>, RunDirError> {
    let file = path.join("mark");
    match fs::read_to_string(&file) {
        Ok(text) => match Key::from_hex(text.trim_end()) {
            Some(mark) => Ok(Some(*mark.as_bytes())),
            None => Err(io_error("read", &file)(io::ErrorKind::InvalidData.into())),
        },
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(io_error("read", &file)(error)),
    }
}

/// Leaves in the run at `path` the mark of the run whose backup it was made from. Its own key is another, so that nothing
/// else would show that this is the same bazaar.
///
/// # Errors
/// When it cannot be written.
pub fn leave_mark(path: &Path, mark: [u8; 32]) -> Result<(), RunDirError> {
    leave(path, "mark", &format!("{}\n", Key(mark).to_hex()))
}

/// A fresh directory for a run, to which the link `latest` beside it points.
#[derive(Debug)]
pub struct Fresh {
    path: PathBuf,
    link: PathBuf,
    /// What the link pointed to before.
    before: Option<PathBuf>,
}

impl Fresh {
    /// Creates it below `runs`.
    ///
    /// # Errors
    /// When it cannot be created.
    pub fn below(runs: &Path) -> Result<Fresh, RunDirError> {
        fs::create_dir_all(runs).map_err(io_error("create", runs))?;
        let link = runs.join("latest");
        let stamp = jiff::Zoned::now().strftime("%Y%m%d-%H%M%S").to_string();
        for n in 1_u32.. {
            let name = if n == 1 { stamp.clone() } else { format!("{stamp}-{n}") };
            let path = runs.join(&name);
            match fs::create_dir(&path) {
                Ok(()) => {
                    let before = fs::read_link(&link).ok();
                    point(&link, Path::new(&name)).map_err(io_error("link", &link))?;
                    return Ok(Fresh { path, link, before });
                }
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                Err(error) => return Err(io_error("create", &path)(error)),
            }
        }
        unreachable!("some number below 2^32 is free")
    }

    /// Its path.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Removes it, which must be empty, and lets the link point to where it did before.
    pub fn undo(self) {
        // Where that fails, something has come in meanwhile, and stays.
        if fs::remove_dir(&self.path).is_ok()
            && fs::read_link(&self.link).ok().as_deref().map(Path::file_name) == Some(self.path.file_name())
        {
            let _ = match &self.before {
                Some(before) => point(&self.link, before),
                None => fs::remove_file(&self.link),
            };
        }
    }
}

/// Lets a link point to `target`, at once.
fn point(link: &Path, target: &Path) -> io::Result<()> {
    let new = link.with_file_name(format!(".latest-{}", std::process::id()));
    std::os::unix::fs::symlink(target, &new)?;
    fs::rename(&new, link)
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
    let deadline = Instant::now() + RELEASE;
    loop {
        match lock.try_lock() {
            Ok(()) => return Ok(lock),
            // A process that was killed holds its locks for some milliseconds more.
            Err(fs::TryLockError::WouldBlock) if Instant::now() < deadline => {
                std::thread::sleep(Duration::from_millis(10));
            }
            Err(fs::TryLockError::WouldBlock) => return Err(RunDirError::InUse(path.to_owned())),
            Err(fs::TryLockError::Error(error)) => return Err(io_error("lock", &file)(error)),
        }
    }
}

/// Waits for the processes of a killed supervisor. They stop on their own, but not at once, and hold their stores until
/// then.
fn await_orphans(run: &Path, peers: u32) -> Result<(), RunDirError> {
    let dirs: Vec<PathBuf> = member_dirs(run, peers).collect();
    let deadline = Instant::now() + ORPHANS;
    while dirs.iter().any(|dir| living_process(dir).is_some()) {
        if Instant::now() >= deadline {
            return Err(RunDirError::InUse(run.to_owned()));
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    Ok(())
}

/// The living process of the ledger or peer that has this directory.
#[must_use]
pub fn living_process(dir: &Path) -> Option<ProcessMark> {
    ProcessMark::read(&pid_file(dir)).filter(ProcessMark::is_living)
}

/// Removes the addresses and ids that earlier processes of this run left behind, since they are no longer right.
fn forget_processes(run: &Path, peers: u32) {
    for file in member_dirs(run, peers).flat_map(|dir| [address_file(&dir), pid_file(&dir)]) {
        // It need not be there.
        let _ = fs::remove_file(file);
    }
}

/// The directory of a cluster of etcd that a run has of its own ([`crate::processes::own_etcd`]), within the run's.
#[must_use]
pub fn etcd_dir(run: &Path) -> PathBuf {
    run.join("etcd")
}

/// The directory of a process of the ledger within its run's.
#[must_use]
pub fn ledger_dir(run: &Path, id: LedgerId) -> PathBuf {
    match id.number() {
        1 => run.join("ledger"),
        number => run.join(format!("ledger-{number}")),
    }
}

/// The directories of all who may have been started in a run with so many peers. It may have had more processes of the
/// ledger than it has now.
pub(crate) fn member_dirs(run: &Path, peers: u32) -> impl Iterator<Item = PathBuf> {
    let ledgers = LedgerId::all(usize::from(MOST_LEDGERS)).map(|id| ledger_dir(run, id));
    ledgers.chain((0..peers).map(|id| peer_dir(run, PeerId(id))))
}

/// The file in a peer's directory that says why the peer must not go on, until it starts again.
#[must_use]
pub fn left_file(member: &Path) -> PathBuf {
    member.join("left")
}

/// The store within a directory of a ledger or a peer.
#[must_use]
pub fn store_dir(member: &Path) -> PathBuf {
    member.join("store")
}

/// The file in the directory of the ledger or of a peer into which its process writes the address it listens on.
#[must_use]
pub fn address_file(dir: &Path) -> PathBuf {
    dir.join("address")
}

/// Writes the address at which a ledger or peer listens into its directory. A reader always finds a complete one.
///
/// # Errors
/// When it cannot be written.
pub fn leave_address(dir: &Path, address: &str) -> io::Result<()> {
    let fresh = dir.join("address.new");
    fs::write(&fresh, address).and_then(|()| fs::rename(&fresh, address_file(dir)))
}

/// The file into which the process of a ledger or peer writes which it is ([`ProcessMark`]).
#[must_use]
pub fn pid_file(dir: &Path) -> PathBuf {
    dir.join("pid")
}

/// A peer's directory within its run's.
#[must_use]
pub fn peer_dir(run: &Path, peer: PeerId) -> PathBuf {
    run.join(format!("peer-{peer}"))
}
