//! What the keys are called.

use std::{fmt, ops::RangeTo};

use bazaar_etcd::Keys;
use bazaar_protocol::id::{PeerId, Position};

use super::{Base, signs::Kind};

/// The keys of a store, all below its prefix:
///
/// ```text
/// books/<position>/<digest>/<part>   a snapshot, in parts
/// end/<position>                     where the log ended at a snapshot that was in force
/// log/<position>                     a batch, by the position of its first record
/// peer/<id>                          where a peer can be reached
/// sign/contested, sign/renewed       what ledgers tell each other of a term
/// state/base                         which snapshot is in force
/// state/head                         where the log ends
/// state/oldest                       which snapshot the log that is kept begins at
/// state/run                          whose log it is
/// ```
///
/// etcd knows ranges of keys only, so the order of these names matters: what is looked at together stands together
/// (`state/`), and so does what is watched (`peer/` to `state/`), without the bulk (`books/`, `end/`, `log/`). Numbers are in
/// hexadecimal and all of one length, so that the order of the keys is theirs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Names {
    prefix: String,
}

const BOOKS: &str = "books/";
const END: &str = "end/";
const LOG: &str = "log/";
const PEER: &str = "peer/";
const STATE: &str = "state/";
const BASE: &str = "state/base";
const HEAD: &str = "state/head";
const OLDEST: &str = "state/oldest";
const RUN: &str = "state/run";
/// The first name behind all that is watched: a digit more than the slash.
const BEHIND_STATE: &str = "state0";

/// A key that is watched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Watched {
    Base,
    Head,
    Oldest,
    Run,
    Sign(Kind),
    Peer,
}

impl Names {
    /// The names below a prefix; a slash is added to one that does not end with it.
    pub(super) fn below(prefix: &str) -> Names {
        let slash = if prefix.ends_with('/') { "" } else { "/" };
        Names { prefix: format!("{prefix}{slash}") }
    }

    fn key(&self, name: impl fmt::Display) -> Vec<u8> {
        format!("{}{name}", self.prefix).into_bytes()
    }

    pub(super) fn all(&self) -> Keys {
        Keys::prefix(self.key(""))
    }

    pub(super) fn state(&self) -> Keys {
        Keys::prefix(self.key(STATE))
    }

    pub(super) fn base(&self) -> Vec<u8> {
        self.key(BASE)
    }

    pub(super) fn head(&self) -> Vec<u8> {
        self.key(HEAD)
    }

    pub(super) fn oldest(&self) -> Vec<u8> {
        self.key(OLDEST)
    }

    pub(super) fn run(&self) -> Vec<u8> {
        self.key(RUN)
    }

    pub(super) fn batch(&self, at: Position) -> Vec<u8> {
        self.key(format_args!("{LOG}{:016x}", at.0))
    }

    /// The batches that begin at `from` or above it, and below `upto`.
    pub(super) fn batches(&self, from: Position, upto: Position) -> Keys {
        Keys::between(self.batch(from), self.batch(upto))
    }

    /// Where the log ended when a snapshot at this position was put in force.
    pub(super) fn end(&self, at: Position) -> Vec<u8> {
        self.key(format_args!("{END}{:016x}", at.0))
    }

    /// Such ends from one position on, and below another.
    pub(super) fn ends(&self, from: Position, upto: Position) -> Keys {
        Keys::between(self.end(from), self.end(upto))
    }

    /// Where the batch with this key begins.
    pub(super) fn batch_at(&self, key: &[u8]) -> Option<Position> {
        let name = key.strip_prefix(self.key(LOG).as_slice())?;
        let digits = std::str::from_utf8(name).ok().filter(|digits| digits.len() == 16)?;
        u64::from_str_radix(digits, 16).ok().map(Position)
    }

    /// A part of the snapshot of this base.
    pub(super) fn part(&self, of: &Base, part: u16) -> Vec<u8> {
        self.key(format_args!("{}{part:04x}", parts_of(of)))
    }

    /// All parts of the snapshot of this base.
    pub(super) fn parts(&self, of: &Base) -> Keys {
        Keys::prefix(self.key(parts_of(of)))
    }

    /// The parts of all snapshots that stand before that of this base.
    pub(super) fn parts_before(&self, base: &Base) -> Keys {
        Keys::between(self.key(BOOKS), self.key(parts_of(base)))
    }

    /// The parts of all snapshots that stand behind that of this base and were taken below a position, which must be
    /// above it.
    pub(super) fn parts_behind(&self, base: &Base, RangeTo { end }: RangeTo<Position>) -> Keys {
        let (first, digest) = (base.position().0, base.digest().to_hex());
        // A digit more than the slash.
        let behind = self.key(format_args!("{BOOKS}{first:016x}/{digest}0"));
        Keys::between(behind, self.key(format_args!("{BOOKS}{:016x}", end.0)))
    }

    pub(super) fn sign(&self, kind: Kind) -> Vec<u8> {
        self.key(kind.name())
    }

    pub(super) fn peer(&self, peer: PeerId) -> Vec<u8> {
        self.key(format_args!("{PEER}{:08x}", peer.0))
    }

    pub(super) fn peers(&self) -> Keys {
        Keys::prefix(self.key(PEER))
    }

    /// Everything but the bulk.
    pub(super) fn watched(&self) -> Keys {
        Keys::between(self.key(PEER), self.key(BEHIND_STATE))
    }

    /// Which of the watched keys this is; `None` for one that this program does not write.
    pub(super) fn recognise(&self, key: &[u8]) -> Option<Watched> {
        let name = std::str::from_utf8(key.strip_prefix(self.prefix.as_bytes())?).ok()?;
        match name {
            BASE => Some(Watched::Base),
            HEAD => Some(Watched::Head),
            OLDEST => Some(Watched::Oldest),
            RUN => Some(Watched::Run),
            name if name.starts_with(PEER) => Some(Watched::Peer),
            name => Kind::ALL.into_iter().find(|kind| kind.name() == name).map(Watched::Sign),
        }
    }
}

fn parts_of(base: &Base) -> String {
    format!("{BOOKS}{:016x}/{}/", base.position().0, base.digest().to_hex())
}

impl fmt::Display for Names {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.prefix)
    }
}

/// A key as people read it.
pub(super) fn text(key: &[u8]) -> String {
    String::from_utf8_lossy(key).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_order_of_the_keys_keeps_the_bulk_out_of_what_is_watched() {
        let names = Names::below("/bazaar/market");
        assert_eq!(names.to_string(), "/bazaar/market/");
        assert_eq!(Names::below("/bazaar/market/"), names);
        let (first, behind) = (names.key(PEER), names.key(BEHIND_STATE));
        let is_watched = |key: &Vec<u8>| *key >= first && *key < behind;
        let state = [names.base(), names.head(), names.oldest(), names.run()];
        let signs = Kind::ALL.map(|kind| names.sign(kind));
        assert!(state.iter().chain(&signs).all(is_watched));
        assert!(is_watched(&names.peer(PeerId(u32::MAX))));
        assert!(!is_watched(&names.batch(Position(u64::MAX))));
        assert!(!is_watched(&names.part(&Base::default(), u16::MAX)));
        assert!(signs.iter().all(|sign| matches!(names.recognise(sign), Some(Watched::Sign(_)))));
        assert_eq!(names.recognise(&names.head()), Some(Watched::Head));
        assert_eq!(names.recognise(&names.batch(Position(0))), None);
    }

    #[test]
    fn batches_stand_in_the_order_of_their_positions() {
        let names = Names::below("p");
        let positions = [0, 1, 9, 10, 255, 256, u64::from(u32::MAX) + 1, u64::MAX].map(Position);
        let keys = positions.map(|at| names.batch(at));
        assert!(keys.is_sorted());
        assert_eq!(keys.each_ref().map(|key| names.batch_at(key)), positions.map(Some));
        assert_eq!(names.batch_at(b"p/log/1"), None);
        assert_eq!(names.batch_at(b"q/log/0000000000000001"), None);
    }
}
