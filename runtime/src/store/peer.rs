//! What a peer keeps across a restart.
//!
//! ```text
//! DIR/sled/   sled: one key -> number of the write, the value, checksum
//! DIR/copy    the same in two slots that sled does not know of
//! ```
//!
//! # Why two copies
//!
//! sled may open without an error and have forgotten what it held. A peer that then took its incarnation to be 0 would
//! repeat a former life of its own, and DESIGN R7 would be broken without anybody noticing. A write therefore goes to
//! sled first and to the copy once sled is durable, and nobody is told before both are. Whatever the crash, the copy is
//! of sled's last write or of the one before it. A copy that is ahead of sled, or further behind, or differs at the
//! same number, is damage.

use std::{
    fs,
    path::{Path, PathBuf},
};

use bazaar_protocol::effect::Durable;
use serde::{Deserialize, Serialize};

use super::{
    StoreError,
    guard::{Guarded, Sizes},
    slots::{Slot, Slots},
    sync_parent,
};

const SLED: &str = "sled";
const COPY: &str = "copy";
const KEY: &[u8] = b"durable";

/// As small as sled works well with, since one process may host five hundred peers.
const SIZES: Sizes = Sizes { segment: 8 * 1024, cache: 16 * 1024 };

/// A value with the number of its write; the first write is number 1.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Numbered {
    write: u64,
    durable: Durable,
}

/// What a peer keeps across a restart, on a disk. Only one process at a time may open it. All of its calls block.
#[derive(Debug)]
pub struct PeerStore {
    dir: PathBuf,
    sled: Guarded,
    copy: Slots,
    last: Numbered,
    is_stopped: bool,
}

impl PeerStore {
    /// Opens the store in `dir`, or creates it.
    ///
    /// # Errors
    /// When another process has it open; when what was saved last is missing or changed; when the operating system
    /// reports an error. See [`StoreError`].
    pub fn open(dir: impl AsRef<Path>) -> Result<PeerStore, StoreError> {
        let dir = dir.as_ref();
        fs::create_dir_all(dir).map_err(StoreError::io("create", dir))?;
        let copy = Slots::at(dir.join(COPY));
        // As with the ledger's second head: the copy exists before sled does.
        if copy.load()?.is_none() {
            if dir.join(SLED).exists() {
                return Err(StoreError::damaged(copy.path(), "it is missing, but there is a database beside it"));
            }
            copy.create(&slot(&copy, Numbered::default())?)?;
            sync_parent(dir)?;
        }
        let sled = Guarded::open(&dir.join(SLED), SIZES)?;
        let mut store = PeerStore { dir: dir.to_owned(), sled, copy, last: Numbered::default(), is_stopped: false };
        let copied = store.load_copy()?;
        let saved = store.load_saved()?;
        if copied != saved {
            if copied.write.checked_add(1) != Some(saved.write) {
                return Err(StoreError::damaged(
                    store.sled.dir(),
                    format!(
                        "it holds {:?} of write {}, but {} holds {:?} of write {}",
                        saved.durable,
                        saved.write,
                        store.copy.path().display(),
                        copied.durable,
                        copied.write
                    ),
                ));
            }
            // Either a crash came between the two, or the copy's newest slot is damaged; this repairs both.
            store.copy.write(&slot(&store.copy, saved)?)?;
        }
        store.last = saved;
        Ok(store)
    }

    /// What the peer whose store is in `dir` saved last, give or take one write, read from the second copy alone; `None`
    /// if there is no store. Nothing is changed, and the peer may be running.
    ///
    /// # Errors
    /// When the copy cannot be read.
    pub fn peek(dir: &Path) -> Result<Option<Durable>, StoreError> {
        let copy = Slots::at(dir.join(COPY));
        let Some(slot) = copy.load()? else { return Ok(None) };
        Ok(Some(decode(&copy, &slot)?.durable))
    }

    /// The store's directory.
    #[must_use]
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// What was saved last; for a new store the default, which is that of a peer that has never lived.
    #[must_use]
    pub fn load(&self) -> Durable {
        self.last.durable
    }

    /// Saves a value in place of the previous one. It is durable when this returns.
    ///
    /// # Errors
    /// When the write or the sync fails. The peer must stop; the store refuses all further calls.
    pub fn save(&mut self, durable: &Durable) -> Result<(), StoreError> {
        if self.is_stopped {
            return Err(StoreError::Stopped { dir: self.dir.clone() });
        }
        let saved = self.try_save(durable);
        if saved.is_err() {
            self.is_stopped = true;
            self.sled.stop();
        }
        saved
    }

    fn try_save(&mut self, durable: &Durable) -> Result<(), StoreError> {
        let next = Numbered { write: self.last.write + 1, durable: *durable };
        let mut value = encode(self.sled.dir(), next)?;
        let checksum = blake3::hash(&value);
        value.extend_from_slice(checksum.as_bytes());
        self.sled.call(|db| db.insert(KEY, value))?;
        self.sled.sync()?;
        self.copy.write(&slot(&self.copy, next)?)?;
        self.last = next;
        Ok(())
    }

    fn load_copy(&self) -> Result<Numbered, StoreError> {
        let slot = self.copy.load()?.ok_or_else(|| StoreError::damaged(self.copy.path(), "it has disappeared"))?;
        let numbered = decode(&self.copy, &slot)?;
        if numbered.write == slot.generation {
            Ok(numbered)
        } else {
            Err(StoreError::damaged(self.copy.path(), "its two write numbers differ"))
        }
    }

    fn load_saved(&self) -> Result<Numbered, StoreError> {
        let Some(value) = self.sled.call(|db| db.get(KEY))? else { return Ok(Numbered::default()) };
        let (value, checksum) = value
            .split_last_chunk::<{ blake3::OUT_LEN }>()
            .ok_or_else(|| StoreError::damaged(self.sled.dir(), "the value in it ends too early"))?;
        if blake3::hash(value).as_bytes() != checksum {
            return Err(StoreError::damaged(self.sled.dir(), "the checksum of the value in it does not match"));
        }
        let undecodable = |error| StoreError::damaged(self.sled.dir(), format!("it cannot be decoded ({error})"));
        postcard::from_bytes(value).map_err(undecodable)
    }
}

fn decode(copy: &Slots, slot: &Slot) -> Result<Numbered, StoreError> {
    postcard::from_bytes(&slot.payload)
        .map_err(|error| StoreError::damaged(copy.path(), format!("it cannot be decoded ({error})")))
}

fn encode(file: &Path, numbered: Numbered) -> Result<Vec<u8>, StoreError> {
    postcard::to_allocvec(&numbered)
        .map_err(|error| StoreError::damaged(file, format!("the value cannot be encoded ({error})")))
}

/// The slot's generation is the number of the write.
fn slot(copy: &Slots, numbered: Numbered) -> Result<Slot, StoreError> {
    Ok(Slot { generation: numbered.write, payload: encode(copy.path(), numbered)? })
}
