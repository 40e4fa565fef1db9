//! Putting a log in the place of a ledger's store.

use std::{
    fs::{self, File},
    io::ErrorKind,
    path::{Path, PathBuf},
};

use bazaar_protocol::{record::Batch, store::Store as _};
use rustix::fs::{CWD, RenameFlags, renameat_with};

use super::{
    StoreError,
    ledger::{LedgerOptions, SledLedger, lock},
    read::{Remains, read_acknowledged, try_examine},
    sync_dir,
};

/// What the name of a store that was replaced begins with; the time follows.
pub const ASIDE: &str = "store.replaced-";

/// The place of a ledger's store, which is `store` within a ledger's directory. For as long as this is there, no ledger
/// opens the store in it.
#[derive(Debug)]
pub struct Place {
    dir: PathBuf,
    /// `None` if there is no store.
    lock: Option<File>,
}

impl Place {
    /// Takes the place. What is in it is not changed.
    ///
    /// # Errors
    /// [`StoreError::InUse`] when a ledger has the store open, and any error of the operating system.
    pub fn hold(dir: &Path) -> Result<Place, StoreError> {
        let lock = if dir.exists() { Some(lock(dir)?) } else { None };
        Ok(Place { dir: dir.to_owned(), lock })
    }

    /// What is there of the log in the store ([`examine`](super::examine)).
    ///
    /// # Errors
    /// [`StoreError::NotFound`] when there is no store, and any error of the operating system.
    pub fn examine(&self) -> Result<Remains, StoreError> {
        try_examine(&self.dir)
    }

    /// Makes these batches the store. One that is there already is set aside under a name of its own, which is returned;
    /// nothing is removed. At no moment is there anything in the place but the old store or the new one, complete and
    /// verified.
    ///
    /// # Errors
    /// Any error of [`SledLedger`]; [`StoreError::Io`] when a directory cannot be written. Then the old store is in place.
    pub fn restore(self, batches: &[Batch], options: LedgerOptions) -> Result<Option<PathBuf>, StoreError> {
        let dir = &self.dir;
        let ledger = dir.parent().unwrap_or(Path::new("."));
        fs::create_dir_all(ledger).map_err(StoreError::io("create", ledger))?;
        // Whatever an interrupted one has left there: never a store that was in place.
        let fresh = ledger.join("store.restoring");
        match fs::remove_dir_all(&fresh) {
            Err(error) if error.kind() != ErrorKind::NotFound => return Err(StoreError::io("remove", fresh)(error)),
            Ok(()) | Err(_) => {}
        }
        write(batches, &fresh, options)?;
        if read_acknowledged(&fresh)? != batches {
            return Err(StoreError::damaged(&fresh, "it does not hold what has just been written into it"));
        }
        // Whoever waits for the store in place must not open the new one before all this has ended.
        let _lock = lock(&fresh)?;
        sync_dir(&fresh)?;
        if self.lock.is_none() {
            fs::rename(&fresh, dir).map_err(StoreError::io("create", dir))?;
            sync_dir(ledger)?;
            return Ok(None);
        }
        // Before the exchange, so that the old store has this name after it, wherever this is interrupted.
        let aside = ledger.join(format!("{ASIDE}{}", jiff::Timestamp::now().strftime("%Y%m%d-%H%M%S%.3f")));
        fs::rename(&fresh, &aside).map_err(StoreError::io("rename", &fresh))?;
        sync_dir(ledger)?;
        // In one step: there must be no moment without a store, in which a ledger would begin an empty one.
        renameat_with(CWD, &aside, CWD, dir, RenameFlags::EXCHANGE).map_err(|errno| {
            // Without the exchange, it is not what its name says.
            let _ = fs::rename(&aside, &fresh);
            StoreError::io("exchange (move it away yourself and restore again)", dir)(errno.into())
        })?;
        sync_dir(ledger)?;
        Ok(Some(aside))
    }
}

fn write(batches: &[Batch], dir: &Path, options: LedgerOptions) -> Result<(), StoreError> {
    let mut ledger = SledLedger::open(dir, options)?;
    batches.iter().try_for_each(|batch| ledger.append(batch))?;
    ledger.sync()
}
