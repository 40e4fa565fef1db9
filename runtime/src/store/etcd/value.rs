//! What stands in the keys below `state/`.

use bazaar_etcd::{KeyValue, Revision};
use bazaar_protocol::{id::Position, ledger::Tail, ledger::replica::Found};
use serde::{Deserialize, Serialize, de::DeserializeOwned};

use crate::network::hello::RunId;

use super::keys::Names;

/// The format of everything below a store's prefix; each value below `state/` begins with it. Any change takes a new
/// number.
const FORMAT: u16 = 2;

/// A snapshot that the store refers to: the one in force, with which readers begin who have less, or the oldest one, from
/// which on every record is kept. They may be one and the same.
///
/// The default is that of a log without a snapshot.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Base {
    /// The end of the log that the snapshot is of.
    tail: Tail,
    /// How many parts it is in; 0 if there is none.
    parts: u16,
    /// The hash of its bytes, so that no other snapshot can be taken for it.
    digest: [u8; blake3::OUT_LEN],
}

impl Base {
    pub(super) fn of(tail: Tail, parts: u16, digest: blake3::Hash) -> Base {
        Base { tail, parts, digest: *digest.as_bytes() }
    }

    /// How many records the snapshot is of; 0 if there is none.
    #[must_use]
    pub fn position(&self) -> Position {
        self.tail.status.head
    }

    /// The end of the log that the snapshot is of.
    #[must_use]
    pub fn tail(&self) -> Tail {
        self.tail
    }

    /// The index of the snapshot's last part, which is written last.
    pub(super) fn last_part(&self) -> Option<u16> {
        self.parts.checked_sub(1)
    }

    pub(super) fn parts(&self) -> u16 {
        self.parts
    }

    pub(super) fn digest(&self) -> blake3::Hash {
        blake3::Hash::from_bytes(self.digest)
    }
}

/// A value of a key below `state/`. It has one encoding only, so that comparing the bytes compares the values.
///
/// # Errors
/// When it cannot be encoded, which no value of this program's types meets.
pub(super) fn encode<T: Serialize>(value: &T) -> Result<Vec<u8>, postcard::Error> {
    postcard::to_extend(value, FORMAT.to_be_bytes().to_vec())
}

/// The value whose encoding this is; `None` if it is in another format, or was not written by this program.
pub(super) fn decode<T: Serialize + DeserializeOwned>(bytes: &[u8]) -> Option<T> {
    let value = postcard::from_bytes(bytes.strip_prefix(&FORMAT.to_be_bytes())?).ok()?;
    (encode(&value).is_ok_and(|canonical| canonical == bytes)).then_some(value)
}

/// What the key of the run holds.
pub(super) fn of_run(run: RunId) -> Vec<u8> {
    [FORMAT.to_be_bytes().as_slice(), &run.0.to_be_bytes()].concat()
}

/// What the keys below `state/` hold, at one revision.
#[derive(Clone, Debug)]
pub(super) struct State {
    pub(super) found: Found,
    /// The snapshot in force; `None` if it is missing or cannot be read.
    pub(super) base: Option<Base>,
    /// The oldest snapshot; `None` if it is missing or cannot be read.
    pub(super) oldest: Option<Base>,
    pub(super) revision: Revision,
}

impl State {
    /// Judges what was read at this revision, for a ledger of this run.
    pub(super) fn judge(names: &Names, run: RunId, items: &[KeyValue], revision: Revision) -> State {
        let value = |key: Vec<u8>| items.iter().find(|kv| kv.key == key).map(|kv| kv.value.as_slice());
        let found = match value(names.run()) {
            Some(held) if held == of_run(run) => {
                value(names.head()).and_then(decode).map_or(Found::Unreadable, Found::Tail)
            }
            Some(held) if !held.starts_with(&FORMAT.to_be_bytes()) => Found::Unreadable,
            Some(_) | None => Found::Foreign,
        };
        let [base, oldest] = [names.base(), names.oldest()].map(|key| value(key).and_then(decode));
        State { found, base, oldest, revision }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RUN: RunId = RunId(7);

    fn judge(values: &[(Vec<u8>, Vec<u8>)]) -> Found {
        let item = |(key, value): &(Vec<u8>, Vec<u8>)| KeyValue {
            key: key.clone(),
            value: value.clone(),
            modified: Revision(1),
        };
        let items: Vec<KeyValue> = values.iter().map(item).collect();
        State::judge(&Names::below("p"), RUN, &items, Revision(1)).found
    }

    #[test]
    fn only_the_canonical_head_of_this_run_is_a_tail() {
        let names = Names::below("p");
        let head = encode(&Tail::default()).unwrap();
        let with = |run: &[u8], head: &[u8]| judge(&[(names.run(), run.to_vec()), (names.head(), head.to_vec())]);
        assert_eq!(with(&of_run(RUN), &head), Found::Tail(Tail::default()));

        let mut padded = head.clone();
        padded.push(0);
        // The first number of the tail in more bytes than it needs.
        let mut longer = head.clone();
        longer.splice(2..3, [0x80, 0]);
        let mut other_format = head.clone();
        other_format[1] += 1;
        for unreadable in [&padded, &longer, &other_format, &Vec::new(), &b"garbage".to_vec()] {
            assert_eq!(with(&of_run(RUN), unreadable), Found::Unreadable, "{unreadable:?}");
        }
        assert_eq!(judge(&[(names.run(), of_run(RUN))]), Found::Unreadable, "no head");

        assert_eq!(with(&of_run(RunId(8)), &head), Found::Foreign);
        assert_eq!(judge(&[(names.head(), head.clone())]), Found::Foreign, "no run");
        assert_eq!(judge(&[]), Found::Foreign);
        let mut other_format = of_run(RUN);
        other_format[1] += 1;
        assert_eq!(with(&other_format, &head), Found::Unreadable, "this run or another, in words of another version");
    }
}
