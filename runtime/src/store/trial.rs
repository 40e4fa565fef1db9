//! A log is tried out on a copy before sled opens it. Where one bit is wrong, sled drops whatever came after that, and
//! soon overwrites it: of 200 flipped bits, 188 left every record intact in sled's files, and after an attempt to open
//! them a part of the records was gone. That a record can still be found in the bytes does not show whether sled will
//! find it, so only sled itself can tell.
//!
//! sled overwrites nothing but its file `db`, of which the copy is in memory. All else it replaces or removes by name, so
//! that links will do. Nothing is durable here and nothing is ever put back: a log that fails the trial was not touched,
//! and a process that is killed leaves some links behind.

use std::{
    fs::{self, File},
    io::{self, ErrorKind},
    os::{fd::AsRawFd as _, unix::fs::symlink},
    path::{Path, PathBuf},
};

use rustix::fs::{MemfdFlags, memfd_create};

use super::{StoreError, guard::DB};

/// A directory in which sled may do what it likes, with the content of another. It is removed when this is dropped.
#[derive(Debug)]
pub(super) struct Trial {
    dir: PathBuf,
    /// It is gone as soon as neither this nor sled has it open.
    db: File,
}

impl Trial {
    /// Prepares a trial of the log in `log`; `None` if there is no such directory. The caller holds the store's lock.
    pub(super) fn of(log: &Path) -> Result<Option<Trial>, StoreError> {
        let dir = log.with_extension("trial");
        // One that was killed has left it.
        remove(&dir)?;
        if !log.exists() {
            return Ok(None);
        }
        let db = copy(&log.join(DB)).map_err(StoreError::io("copy into memory", log.join(DB)))?;
        let trial = Trial { dir, db };
        link_all(log, &trial.dir)?;
        let (link, target) = (trial.dir.join(DB), format!("/proc/self/fd/{}", trial.db.as_raw_fd()));
        symlink(target, &link).map_err(StoreError::io("create", link))?;
        Ok(Some(trial))
    }

    pub(super) fn dir(&self) -> &Path {
        &self.dir
    }
}

impl Drop for Trial {
    fn drop(&mut self) {
        if let Err(error) = remove(&self.dir) {
            // The next trial begins with that.
            tracing::warn!(%error, "a trial of the log is not cleaned up");
        }
    }
}

/// The content of a file in one without a name; nothing if there is no such file.
fn copy(file: &Path) -> io::Result<File> {
    let mut copy = File::from(memfd_create("bazaar-trial", MemfdFlags::CLOEXEC)?);
    match File::open(file) {
        Ok(mut file) => io::copy(&mut file, &mut copy).map(|_| copy),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(copy),
        Err(error) => Err(error),
    }
}

fn link_all(from: &Path, to: &Path) -> Result<(), StoreError> {
    fs::create_dir(to).map_err(StoreError::io("create", to))?;
    for entry in fs::read_dir(from).map_err(StoreError::io("list", from))? {
        let name = entry.map_err(StoreError::io("list", from))?.file_name();
        let (from, to) = (from.join(&name), to.join(&name));
        if from.is_dir() {
            link_all(&from, &to)?;
        } else if name != DB {
            fs::hard_link(&from, &to).map_err(StoreError::io("link", &from))?;
        }
    }
    Ok(())
}

fn remove(dir: &Path) -> Result<(), StoreError> {
    match fs::remove_dir_all(dir) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(StoreError::io("remove", dir)(error)),
        Ok(()) | Err(_) => Ok(()),
    }
}
