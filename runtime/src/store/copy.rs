//! Reading a ledger's store without changing it: sled has no read-only mode, and opening may cut and repair.

use std::{
    env,
    fs::{self, DirBuilder, File, TryLockError},
    io::ErrorKind,
    os::unix::fs::DirBuilderExt,
    path::{Path, PathBuf},
    process,
    sync::atomic::{AtomicU64, Ordering},
};

use bazaar_protocol::{
    books::{Books, BooksError},
    ledger::Tail,
    store::Store,
};

use super::{
    StoreError,
    ledger::{Batches, Cut, HEAD, LOG, LedgerOptions, SNAPSHOT, SledLedger},
};

/// A verified copy of a ledger's store, in the system's directory for temporary files, removed when this is dropped.
#[derive(Debug)]
pub struct LedgerCopy {
    // Declared before the directory, so that sled closes its files first.
    ledger: SledLedger,
    original: PathBuf,
    _copy: TemporaryDir,
}

impl LedgerCopy {
    /// The directory of the original.
    #[must_use]
    pub fn original(&self) -> &Path {
        &self.original
    }

    /// The end of the log.
    #[must_use]
    pub fn tail(&self) -> Tail {
        self.ledger.tail()
    }

    /// What opening the original would cut off: the original still has it.
    #[must_use]
    pub fn cut(&self) -> Option<&Cut> {
        self.ledger.cut()
    }

    /// The books, as far as the records can be folded.
    #[must_use]
    pub fn books(&self) -> &Books {
        self.ledger.books()
    }

    /// Whether all records could be folded.
    ///
    /// # Errors
    /// Names the first record that cannot follow the ones before it; a ledger refuses to open such a store.
    pub fn folded(&self) -> Result<(), BooksError> {
        self.ledger.fold().clone()
    }

    /// All batches, from the first on, each verified against the chain. The iterator ends after the first error.
    ///
    /// # Errors
    /// When the copy cannot be read.
    pub fn batches(&self) -> Result<Batches<'_>, StoreError> {
        self.ledger.verified_batches()
    }
}

/// Copies the store in `dir` and opens the copy; nothing in `dir` is changed. This also works beside a running ledger,
/// but then shows what is on its disk at that moment, acknowledged or not; it is better to ask the ledger itself.
///
/// # Errors
/// As for [`SledLedger::open`], naming the original's files; [`StoreError::NotFound`] when there is no store in `dir`,
/// and [`StoreError::InUse`] when a running ledger writes too fast for a consistent copy to be taken.
pub fn open_copy(dir: impl AsRef<Path>) -> Result<LedgerCopy, StoreError> {
    const TRIES: usize = 5;
    let dir = dir.as_ref();
    if !dir.join(HEAD).exists() && !dir.join(LOG).exists() {
        return Err(StoreError::NotFound { dir: dir.to_owned() });
    }
    // A copy taken while the ledger writes may not be of one moment, and then it looks damaged.
    for _ in 0..TRIES {
        let in_use_before = is_in_use(dir)?;
        match try_open_copy(dir) {
            Ok(copy) => return Ok(copy),
            Err(error) if !in_use_before && !is_in_use(dir)? => return Err(error),
            Err(_) => {}
        }
    }
    Err(StoreError::InUse { dir: dir.to_owned() })
}

fn try_open_copy(dir: &Path) -> Result<LedgerCopy, StoreError> {
    let copy = TemporaryDir::create()?;
    // The witnesses first, so that they are not ahead of the log if a ledger is writing it.
    copy_file(dir, &copy.0, HEAD)?;
    copy_file(dir, &copy.0, SNAPSHOT)?;
    copy_dir(&dir.join(LOG), &copy.0.join(LOG))?;
    let ledger = SledLedger::open_unfolded(&copy.0, LedgerOptions::default());
    let ledger = ledger.map_err(|error| in_names_of(dir, &copy.0, error))?;
    Ok(LedgerCopy { ledger, original: dir.to_owned(), _copy: copy })
}

/// Puts the original's paths into an error: its reader does not know the copy's.
fn in_names_of(original: &Path, copy: &Path, error: StoreError) -> StoreError {
    let renamed = |path: PathBuf| match path.strip_prefix(copy) {
        Ok(rest) => original.join(rest),
        Err(_) => path,
    };
    match error {
        StoreError::DamagedLog { file, record, what } => StoreError::DamagedLog { file: renamed(file), record, what },
        StoreError::DamagedFile { file, what } => StoreError::DamagedFile { file: renamed(file), what },
        StoreError::Unfoldable { file, source } => StoreError::Unfoldable { file: renamed(file), source },
        StoreError::Version { file, found, known } => StoreError::Version { file: renamed(file), found, known },
        // These are about the copy itself.
        other @ (StoreError::NotFound { .. }
        | StoreError::InUse { .. }
        | StoreError::Io { .. }
        | StoreError::Misplaced { .. }
        | StoreError::Stopped { .. }) => other,
    }
}

fn is_in_use(dir: &Path) -> Result<bool, StoreError> {
    let path = dir.join(LOG).join("db");
    let file = match File::open(&path) {
        Ok(file) => file,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(false),
        Err(error) => return Err(StoreError::io("open", path)(error)),
    };
    // Shared, so that two readers do not take each other for a ledger.
    match file.try_lock_shared() {
        Ok(()) => Ok(false),
        Err(TryLockError::WouldBlock) => Ok(true),
        Err(TryLockError::Error(error)) => Err(StoreError::io("lock", path)(error)),
    }
}

fn copy_file(from: &Path, to: &Path, name: &str) -> Result<(), StoreError> {
    let from = from.join(name);
    match fs::copy(&from, to.join(name)) {
        Ok(_) => Ok(()),
        // It never existed, or a running ledger has just removed it.
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        Err(error) => Err(StoreError::io("copy", from)(error)),
    }
}

fn copy_dir(from: &Path, to: &Path) -> Result<(), StoreError> {
    let entries = match fs::read_dir(from) {
        Ok(entries) => entries,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(StoreError::io("list", from)(error)),
    };
    fs::create_dir_all(to).map_err(StoreError::io("create", to))?;
    for entry in entries {
        let entry = entry.map_err(StoreError::io("list", from))?;
        let name = entry.file_name();
        if entry.file_type().map_err(StoreError::io("inspect", entry.path()))?.is_dir() {
            copy_dir(&entry.path(), &to.join(name))?;
        } else if let Some(name) = name.to_str() {
            copy_file(from, to, name)?;
        }
    }
    Ok(())
}

#[derive(Debug)]
struct TemporaryDir(PathBuf);

impl TemporaryDir {
    fn create() -> Result<TemporaryDir, StoreError> {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        loop {
            let name = format!("bazaar-copy-{}-{}", process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
            let path = env::temp_dir().join(name);
            // It fails when the name is taken, so the directory is ours alone.
            match DirBuilder::new().mode(0o700).create(&path) {
                Ok(()) => return Ok(TemporaryDir(path)),
                Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
                Err(error) => return Err(StoreError::io("create", path)(error)),
            }
        }
    }
}

impl Drop for TemporaryDir {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_dir_all(&self.0) {
            tracing::warn!(dir = %self.0.display(), %error, "a temporary copy is left over");
        }
    }
}
