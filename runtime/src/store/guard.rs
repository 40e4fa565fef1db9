//! sled behind a guard: its panics become errors, and its flushes become syncs.

use std::{
    any::Any,
    cell::Cell,
    collections::BTreeSet,
    ffi::OsString,
    fs::{self, File, OpenOptions, TryLockError},
    io::ErrorKind,
    mem,
    panic::{self, AssertUnwindSafe},
    path::{Path, PathBuf},
    sync::Once,
    thread,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use super::{StoreError, sync_dir, sync_parent};

/// The name of the only file that sled overwrites.
pub(super) const DB: &str = "db";

thread_local! {
    static IN_SLED: Cell<bool> = const { Cell::new(false) };
}

/// Keeps panics that a store's guard catches off standard error: their message is in the [`StoreError`] they become.
/// All others go to the previous hook. This changes the panic hook of the whole process, so it is for `main` to call,
/// not for a library. Without it, stores work the same, but a damaged one is noisier.
pub fn install_panic_filter() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let others = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            if !IN_SLED.try_with(Cell::get).unwrap_or(false) {
                others(info);
            }
        }));
    });
}

/// How large sled makes its segments and its cache, in bytes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sizes {
    /// A power of two. A write buffer has this size; a value that exceeds a quarter of it goes to a file of its own.
    pub(super) segment: usize,
    pub(super) cache: u64,
}

/// An open sled directory. All calls to it go through [`Guarded::call`].
#[derive(Debug)]
pub(super) struct Guarded {
    /// `None` after a failure, so that nothing more is written, not even on drop.
    db: Option<sled::Db>,
    /// Where errors say that it is.
    dir: PathBuf,
    /// Where it is.
    files: PathBuf,
    sizes: Sizes,
    /// The files of values too large for a segment that have been synced.
    blobs: BTreeSet<OsString>,
}

impl Guarded {
    /// Opens or creates sled's directory, and makes everything it then holds durable: after a crash of just the
    /// process, it may hold what was never synced.
    pub(super) fn open(dir: &Path, sizes: Sizes) -> Result<Guarded, StoreError> {
        fs::create_dir_all(dir).map_err(StoreError::io("create", dir))?;
        let guarded = Guarded::open_as(dir, dir, sizes)?;
        sync_dir(dir)?;
        sync_parent(dir)?;
        Ok(guarded)
    }

    /// Opens a copy, in `files`, of the directory `dir`, which errors are about.
    pub(super) fn open_as(dir: &Path, files: &Path, sizes: Sizes) -> Result<Guarded, StoreError> {
        remove_half_written(files)?;
        let db = Some(open_sled(dir, files, sizes)?);
        let mut guarded = Guarded { db, dir: dir.to_owned(), files: files.to_owned(), sizes, blobs: BTreeSet::new() };
        guarded.sync()?;
        Ok(guarded)
    }

    /// Closes sled and opens it again to release its cache. sled evicts a page only after many accesses, so a walk over
    /// a whole log would leave the whole log in memory.
    pub(super) fn renew(&mut self) -> Result<(), StoreError> {
        self.close();
        self.db = Some(open_sled(&self.dir, &self.files, self.sizes)?);
        Ok(())
    }

    pub(super) fn dir(&self) -> &Path {
        &self.dir
    }

    /// Calls sled; a panic becomes an error. After a failure it is not called any more.
    pub(super) fn call<T>(&self, call: impl FnOnce(&sled::Db) -> sled::Result<T>) -> Result<T, StoreError> {
        let db = self.db.as_ref().ok_or_else(|| StoreError::Stopped { dir: self.dir.clone() })?;
        guarded(&self.dir, || call(db))
    }

    /// Makes everything written durable. After an error nothing more is written.
    pub(super) fn sync(&mut self) -> Result<(), StoreError> {
        let synced = self.try_sync();
        if synced.is_err() {
            self.stop();
        }
        synced
    }

    fn try_sync(&mut self) -> Result<(), StoreError> {
        self.call(|db| db.flush())?;
        // `flush` is a sync_file_range, which does not withstand a power failure. The file is opened again for the
        // sync, so that five hundred hosted peers keep one descriptor each, not two: an fdatasync covers all pages of a
        // file, whichever descriptor wrote them.
        let path = self.files.join(DB);
        File::open(&path).and_then(|file| file.sync_data()).map_err(StoreError::io("sync", path))?;
        self.sync_blobs()
    }

    /// Syncs the files that hold large values, which sled never does.
    fn sync_blobs(&mut self) -> Result<(), StoreError> {
        let dir = self.files.join("blobs");
        let mut names = BTreeSet::new();
        for entry in fs::read_dir(&dir).map_err(StoreError::io("list", &dir))? {
            names.insert(entry.map_err(StoreError::io("list", &dir))?.file_name());
        }
        let mut is_new = false;
        for name in names.difference(&self.blobs) {
            let path = dir.join(name);
            match File::open(&path).and_then(|blob| blob.sync_all()) {
                Ok(()) => is_new = true,
                // It was replaced meanwhile, and what replaced it is in the log or in a later file.
                Err(error) if error.kind() == ErrorKind::NotFound => {}
                Err(error) => return Err(StoreError::io("sync", path)(error)),
            }
        }
        if is_new {
            sync_dir(&dir)?;
        }
        self.blobs = names;
        Ok(())
    }

    /// Lets go of sled without another write: dropping it would flush again, and a failed sync is never repeated.
    pub(super) fn stop(&mut self) {
        mem::forget(self.db.take());
    }

    fn close(&mut self) {
        if let Some(db) = self.db.take() {
            // Nothing that counts is written here: what was not synced was not acknowledged.
            let _ = guarded(&self.dir, move || {
                drop(db);
                Ok(())
            });
            wait_for_release(&self.files);
        }
    }
}

impl Drop for Guarded {
    fn drop(&mut self) {
        self.close();
    }
}

fn open_sled(dir: &Path, files: &Path, sizes: Sizes) -> Result<sled::Db, StoreError> {
    check_clock(SystemTime::now())?;
    let open = || {
        // It panics already at the first of these where it does not like the clock.
        let config = sled::Config::new().path(files).segment_size(sizes.segment).cache_capacity(sizes.cache);
        config.flush_every_ms(None).open()
    };
    guarded(dir, open).inspect_err(|error| {
        if !matches!(error, StoreError::InUse { .. }) {
            wait_for_release(files);
        }
    })
}

/// sled counts the time since 1970 without a sign.
fn check_clock(now: SystemTime) -> Result<(), StoreError> {
    if now < UNIX_EPOCH { Err(StoreError::Clock) } else { Ok(()) }
}

/// Calls sled; a panic becomes an error that carries its message. What sled leaves half done by panicking is not used
/// again, since a store that has met an error is given up.
pub(super) fn guarded<T>(dir: &Path, call: impl FnOnce() -> sled::Result<T>) -> Result<T, StoreError> {
    let before = IN_SLED.replace(true);
    let result = panic::catch_unwind(AssertUnwindSafe(call));
    IN_SLED.set(before);
    match result {
        Ok(Ok(value)) => Ok(value),
        Ok(Err(error)) => Err(sled_error(dir, error)),
        Err(panic) => Err(StoreError::damaged(dir, format!("sled gave up: {}", message(&*panic)))),
    }
}

fn message(panic: &(dyn Any + Send)) -> &str {
    panic
        .downcast_ref::<String>()
        .map(String::as_str)
        .or_else(|| panic.downcast_ref::<&str>().copied())
        .unwrap_or("no reason given")
}

fn sled_error(dir: &Path, error: sled::Error) -> StoreError {
    match error {
        sled::Error::Io(error) if is_locked(&error) => StoreError::InUse { dir: dir.to_owned() },
        sled::Error::Io(error) if error.kind() == ErrorKind::UnexpectedEof => {
            StoreError::damaged(dir, format!("one of its files ends too early ({error})"))
        }
        sled::Error::Io(source) => StoreError::Io { action: "use the database in", path: dir.to_owned(), source },
        sled::Error::Corruption { .. } => StoreError::damaged(dir, "sled finds one of its files corrupted"),
        sled::Error::Unsupported(what) => StoreError::damaged(dir, format!("sled cannot read it: {what}")),
        sled::Error::ReportableBug(what) => StoreError::damaged(dir, format!("sled gave up: {what}")),
        sled::Error::CollectionNotFound(_) => StoreError::damaged(dir, "sled finds no tree in it"),
    }
}

fn is_locked(error: &std::io::Error) -> bool {
    error.kind() == ErrorKind::WouldBlock || error.to_string().contains("could not acquire lock")
}

/// Waits until sled has let go of its directory, so that the next to open it is not told that it is in use: sled's
/// threads hold on to a closed database for some microseconds. The wait is bounded, since what a panic left behind may
/// stay locked.
fn wait_for_release(dir: &Path) {
    const PAUSE: Duration = Duration::from_micros(200);
    const PAUSES: usize = 1_000;
    let Ok(file) = File::open(dir.join(DB)) else { return };
    for _ in 0..PAUSES {
        match file.try_lock() {
            Err(TryLockError::WouldBlock) => thread::sleep(PAUSE),
            Ok(()) | Err(TryLockError::Error(_)) => return,
        }
    }
}

/// Removes an index that sled had half written when it crashed: sled would take it for a damaged complete one and
/// refuse to open forever. The previous index is removed only after the new one has its name, so nothing is lost. This
/// takes sled's own lock, so as not to remove the file from under a running instance.
fn remove_half_written(dir: &Path) -> Result<(), StoreError> {
    let path = dir.join(DB);
    let lock = match OpenOptions::new().read(true).open(&path) {
        Ok(file) => file,
        // There is no data yet, so an index means nothing.
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(StoreError::io("open", path)(error)),
    };
    const RELEASE: Duration = Duration::from_secs(1);
    let deadline = Instant::now() + RELEASE;
    loop {
        match lock.try_lock() {
            Ok(()) => break,
            // A process that was killed holds its locks for some milliseconds more.
            Err(TryLockError::WouldBlock) if Instant::now() < deadline => thread::sleep(Duration::from_millis(5)),
            Err(TryLockError::WouldBlock) => return Err(StoreError::InUse { dir: dir.to_owned() }),
            Err(TryLockError::Error(error)) => return Err(StoreError::io("lock", path)(error)),
        }
    }
    for entry in fs::read_dir(dir).map_err(StoreError::io("list", dir))? {
        let path = entry.map_err(StoreError::io("list", dir))?.path();
        if path.extension().is_some_and(|extension| extension == "generating") {
            fs::remove_file(&path).map_err(StoreError::io("remove", &path))?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_before_1970_is_an_error_and_no_panic() {
        let second = Duration::from_secs(1);
        assert!(matches!(check_clock(UNIX_EPOCH - second), Err(StoreError::Clock)));
        assert!(check_clock(UNIX_EPOCH).is_ok() && check_clock(UNIX_EPOCH + second).is_ok());
    }
}
