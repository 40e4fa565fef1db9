//! Who has seen how far a ledger's books had got, and whether a store is behind that: an old copy was put back, or the
//! disk has lost what was acknowledged. The log alone cannot show it, since an old log is as sound as any.
//!
//! A ledger that a peer tells of it stops, and notes it in the file `missing` beside its store. Every peer keeps what it
//! has seen in its own store. Tools read both.

use std::{fs, io::ErrorKind, path::Path};

use bazaar_protocol::{
    effect::Durable,
    id::{Life, PeerId, Position},
    ledger::{HighWaterMark, LedgerFault},
};
use thiserror::Error;

use super::{KeptLog, StoreError, peer::PeerStore, replace, sync_dir};

/// A store lacks what was acknowledged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error(
    "acknowledged records are gone: peer {} (life {}) has seen epoch {} and {} records, and the store holds epoch {} and \
     {} records. It is an old copy, or the disk has lost them; put the right store in place, or the latest backup with \
     `bazaar restore`",
    .0.witness.peer, .0.witness.incarnation, .0.seen.epoch, .0.seen.head, .0.holds.epoch, .0.holds.head
)]
pub struct Gone(pub LedgerFault);

/// What a life has seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Witness {
    /// Whose life.
    pub life: Life,
    /// How far the books had got.
    pub seen: HighWaterMark,
}

impl Witness {
    /// Whether books that have got as far as `holds` lack what this one has seen.
    ///
    /// # Errors
    /// They do.
    pub fn compare(self, holds: HighWaterMark) -> Result<(), Gone> {
        if self.seen.is_beyond(holds) {
            return Err(Gone(LedgerFault { witness: self.life, seen: self.seen, holds }));
        }
        Ok(())
    }
}

/// What books that have got as far as `holds` lack, by the one of these who has seen most.
#[must_use]
pub fn gone(witnesses: &[Witness], holds: HighWaterMark) -> Option<Gone> {
    witnesses.iter().filter_map(|witness| witness.compare(holds).err()).max_by_key(|gone| gone.0.seen)
}

/// Says, for people, that a peer's store is an old copy or gone, if a log knows of a later life than the store (SPEC I5).
/// A peer without a directory for it may have that on another machine.
#[must_use]
pub fn old_copy(log: &KeptLog, peer: PeerId, store: &Path) -> Option<String> {
    let known = log.last_life(peer).filter(|_| store.parent().is_some_and(Path::exists))?;
    let what = match PeerStore::peek(store).ok()? {
        None => "is gone".to_owned(),
        Some(durable) if durable.incarnation < known => format!("is an old copy, of life {}", durable.incarnation),
        Some(_) => return None,
    };
    Some(format!("peer {peer}: its store {what}, and the books know of life {known}; see `bazaar rejoin {peer}`"))
}

/// The name of the note in a ledger's directory.
const NOTE: &str = "missing";

/// Notes in a ledger's directory what is gone, so that nobody forgets it.
///
/// # Errors
/// When it cannot be written.
pub fn note(ledger: &Path, gone: &Gone) -> Result<(), StoreError> {
    // It may have been lost with the store.
    fs::create_dir_all(ledger).map_err(StoreError::io("create", ledger))?;
    let file = ledger.join(NOTE);
    let text = serde_json::to_string(&gone.0).map_err(std::io::Error::other).map_err(StoreError::io("write", &file))?;
    replace(&file, text.as_bytes())
}

/// The witness of what is noted in a ledger's directory, if anything is.
///
/// # Errors
/// [`StoreError::DamagedFile`] when the note does not say it any more, and any error of the operating system.
pub fn noted(ledger: &Path) -> Result<Option<Witness>, StoreError> {
    let file = ledger.join(NOTE);
    let text = match fs::read(&file) {
        Ok(text) => text,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(StoreError::io("read", file)(error)),
    };
    let LedgerFault { witness, seen, .. } = serde_json::from_slice(&text).map_err(|error| {
        let what = "acknowledged records are gone, but it no longer says which";
        StoreError::damaged(
            file,
            format!("{what} ({error}); put the right store in place, or the latest backup with `bazaar restore`"),
        )
    })?;
    Ok(Some(Witness { life: witness, seen }))
}

/// Removes the note, once the store has again what was missing, or its loss has been accepted.
///
/// # Errors
/// When it cannot be removed.
pub fn forget(ledger: &Path) -> Result<(), StoreError> {
    let file = ledger.join(NOTE);
    match fs::remove_file(&file) {
        Ok(()) => sync_dir(ledger),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        Err(error) => Err(StoreError::io("remove", file)(error)),
    }
}

/// What the peer whose store is in `dir` has seen; `None` if it has no store, or none that can be read, which that peer
/// says itself when it starts.
#[must_use]
pub fn seen_by(peer: PeerId, dir: &Path) -> Option<Witness> {
    let durable = PeerStore::peek(dir).ok().flatten()?;
    let life = Life { peer, incarnation: durable.incarnation };
    (durable.seen.head > Position(0)).then_some(Witness { life, seen: durable.seen })
}

/// Accepts in a peer's store that nothing beyond `holds`, which has the ledger's seal, is there any more. The peer keeps its
/// life and its clock.
///
/// # Errors
/// When the store cannot be written.
pub fn accept(store: &mut PeerStore, holds: HighWaterMark) -> Result<(), StoreError> {
    let durable = store.load();
    let seen = if durable.seen.is_beyond(holds) { holds } else { durable.seen };
    store.save(&Durable { seen, ..durable })
}
