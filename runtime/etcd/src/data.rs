//! What is compared, written and read.

use crate::generated::{
    self as wire,
    compare::{CompareResult, CompareTarget, TargetUnion},
    request_op::Request,
    response_op::Response,
};

/// How many operations a member takes in each branch of a transaction, and how many comparisons, unless its
/// `--max-txn-ops` says otherwise.
pub const MAX_OPERATIONS: usize = 128;

/// How many bytes a member takes in one request, unless its `--max-request-bytes` says otherwise.
pub const MAX_REQUEST: usize = 1_572_864;

/// The number of changes that a cluster has seen; the first that anybody makes is 2. Each change has one, and a cluster
/// that is restored from a backup counts on from that backup's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Revision(pub i64);

impl Revision {
    /// The revision after this one.
    #[must_use]
    pub fn next(self) -> Revision {
        Revision(self.0.saturating_add(1))
    }
}

/// One key or a range of them, in the order of their bytes.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Keys {
    pub(crate) from: Vec<u8>,
    /// As etcd has it: empty for the one key `from`; a single zero byte for no end.
    pub(crate) to: Vec<u8>,
}

/// The smallest key there can be, since none is empty. As an end: no end.
const ZERO: [u8; 1] = [0];

impl Keys {
    /// One key. It must not be empty: etcd refuses that.
    #[must_use]
    pub fn one(key: impl Into<Vec<u8>>) -> Keys {
        Keys { from: key.into(), to: Vec::new() }
    }

    /// All keys that begin with these bytes; with none, all keys.
    #[must_use]
    pub fn prefix(prefix: impl Into<Vec<u8>>) -> Keys {
        let from: Vec<u8> = prefix.into();
        // The first key behind them: the prefix with its last byte that can be raised, raised.
        let to = match from.iter().rposition(|byte| *byte < u8::MAX) {
            Some(last) => {
                let mut to = from[..=last].to_vec();
                to[last] += 1;
                to
            }
            None => ZERO.to_vec(),
        };
        Keys { from: smallest_if_empty(from), to }
    }

    /// The keys from `from` on and below `to`; none if there cannot be any between them.
    #[must_use]
    pub fn between(from: impl Into<Vec<u8>>, to: impl Into<Vec<u8>>) -> Keys {
        let from = smallest_if_empty(from.into());
        let to = to.into();
        if to > from {
            return Keys { from, to };
        }
        // Not the two ends as they are: an empty second one would mean one key, and a zero byte no end at all.
        Keys { from: vec![1], to: vec![1] }
    }

    /// The same keys, but only those above `key`.
    pub(crate) fn above(&self, key: &[u8]) -> Keys {
        let mut from = key.to_vec();
        from.push(0);
        Keys { from, to: self.to.clone() }
    }

    /// Whether it is one key, however many there are.
    pub(crate) fn is_one(&self) -> bool {
        self.to.is_empty()
    }
}

fn smallest_if_empty(key: Vec<u8>) -> Vec<u8> {
    if key.is_empty() { ZERO.to_vec() } else { key }
}

/// A key, its value, and when it was last changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyValue {
    /// The key.
    pub key: Vec<u8>,
    /// Its value.
    pub value: Vec<u8>,
    /// The revision of its last change.
    pub modified: Revision,
}

impl From<wire::KeyValue> for KeyValue {
    fn from(kv: wire::KeyValue) -> KeyValue {
        KeyValue { key: kv.key, value: kv.value, modified: Revision(kv.mod_revision) }
    }
}

/// What a read asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Range {
    /// Which keys.
    pub keys: Keys,
    /// As they were at this revision; `None`: as they are, with everything that was written before the call began. What was
    /// is the same at every member, so the one that is asked answers alone; if it has not got so far,
    /// [`ReadError::Future`](crate::ReadError::Future).
    pub at: Option<Revision>,
    /// At most this many of them, the smallest; `None`: all. An answer is at most 4 MiB.
    pub limit: Option<u32>,
    /// Leave the values out, so that the answer is small. They are empty in it then.
    pub keys_only: bool,
}

impl Range {
    /// These keys, all of them, as they are.
    #[must_use]
    pub fn now(keys: Keys) -> Range {
        Range { keys, at: None, limit: None, keys_only: false }
    }

    pub(crate) fn into_wire(self) -> wire::RangeRequest {
        wire::RangeRequest {
            key: self.keys.from,
            range_end: self.keys.to,
            limit: self.limit.map_or(0, i64::from),
            revision: self.at.map_or(0, |revision| revision.0),
            // What holds now can be told only by a member that a majority follows, after the call began.
            serializable: self.at.is_some(),
            keys_only: self.keys_only,
            ..wire::RangeRequest::default()
        }
    }
}

/// What a read has found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RangeAnswer {
    /// The cluster's revision when it was read; the keys are as of then, unless an earlier one was asked for.
    pub revision: Revision,
    /// The keys with their values, in order.
    pub items: Vec<KeyValue>,
    /// Whether there are more than the limit let through.
    pub more: bool,
}

impl RangeAnswer {
    /// `None` for an answer without a revision, which etcd does not give.
    pub(crate) fn read(answer: wire::RangeResponse) -> Option<RangeAnswer> {
        let items = answer.kvs.into_iter().map(KeyValue::from).collect();
        Some(RangeAnswer { revision: revision(answer.header.as_ref())?, items, more: answer.more })
    }
}

/// The revision that a response names.
pub(crate) fn revision(header: Option<&wire::ResponseHeader>) -> Option<Revision> {
    header.map(|header| Revision(header.revision))
}

/// What a transaction asks of a key before it does anything.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Compare {
    /// The key is there and has this value.
    Value {
        /// The key.
        key: Vec<u8>,
        /// The value, which may be empty: a key that is not there has none, not an empty one.
        value: Vec<u8>,
    },
    /// The key is not there.
    Absent {
        /// The key.
        key: Vec<u8>,
    },
    /// None of these keys is there.
    NoneOf(Keys),
    /// The key is there, whatever its value.
    Present {
        /// The key.
        key: Vec<u8>,
    },
    /// The key was last changed at this revision. Do not compare with one that may be from before a restore.
    Modified {
        /// The key.
        key: Vec<u8>,
        /// The revision.
        at: Revision,
    },
}

impl Compare {
    fn into_wire(self) -> wire::Compare {
        let (keys, result, target, union) = match self {
            Compare::Value { key, value } => {
                (Keys::one(key), CompareResult::Equal, CompareTarget::Value, TargetUnion::Value(value))
            }
            // The version counts the changes of a key since it was made.
            Compare::Absent { key } => {
                (Keys::one(key), CompareResult::Equal, CompareTarget::Version, TargetUnion::Version(0))
            }
            Compare::NoneOf(keys) => (keys, CompareResult::Equal, CompareTarget::Version, TargetUnion::Version(0)),
            Compare::Present { key } => {
                (Keys::one(key), CompareResult::Greater, CompareTarget::Version, TargetUnion::Version(0))
            }
            Compare::Modified { key, at } => {
                (Keys::one(key), CompareResult::Equal, CompareTarget::Mod, TargetUnion::ModRevision(at.0))
            }
        };
        wire::Compare {
            result: result.into(),
            target: target.into(),
            key: keys.from,
            target_union: Some(union),
            range_end: keys.to,
        }
    }
}

/// One operation of a transaction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Op {
    /// Reads keys as they are after the operations before it.
    Get(Keys),
    /// Gives a key a value.
    Put {
        /// The key. A transaction that changes a key twice is refused.
        key: Vec<u8>,
        /// Its value.
        value: Vec<u8>,
    },
    /// Deletes keys.
    Delete(Keys),
}

impl Op {
    fn into_wire(self) -> wire::RequestOp {
        let request = match self {
            Op::Get(keys) => Request::RequestRange(Range::now(keys).into_wire()),
            Op::Put { key, value } => Request::RequestPut(put(key, value)),
            Op::Delete(keys) => Request::RequestDeleteRange(delete(keys)),
        };
        wire::RequestOp { request: Some(request) }
    }
}

pub(crate) fn put(key: Vec<u8>, value: Vec<u8>) -> wire::PutRequest {
    wire::PutRequest { key, value, ..wire::PutRequest::default() }
}

pub(crate) fn delete(keys: Keys) -> wire::DeleteRangeRequest {
    wire::DeleteRangeRequest { key: keys.from, range_end: keys.to, prev_kv: false }
}

/// A transaction: if every comparison holds, `then`, else `otherwise`; all of it at once or not at all.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Txn {
    /// What must hold.
    pub compare: Vec<Compare>,
    /// What is done if it does.
    pub then: Vec<Op>,
    /// What is done if it does not.
    pub otherwise: Vec<Op>,
}

impl Txn {
    pub(crate) fn into_wire(self) -> wire::TxnRequest {
        let operations = |ops: Vec<Op>| ops.into_iter().map(Op::into_wire).collect();
        wire::TxnRequest {
            compare: self.compare.into_iter().map(Compare::into_wire).collect(),
            success: operations(self.then),
            failure: operations(self.otherwise),
        }
    }
}

/// What became of a transaction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TxnAnswer {
    /// Whether the comparisons held.
    pub succeeded: bool,
    /// The cluster's revision after it.
    pub revision: Revision,
    /// What its operations did, each in its place.
    pub results: Vec<OpAnswer>,
}

/// What an operation did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OpAnswer {
    /// [`Op::Get`]: what it has read, in order.
    Got(Vec<KeyValue>),
    /// [`Op::Put`].
    Put,
    /// [`Op::Delete`]: how many keys were there.
    Deleted(u64),
}

impl TxnAnswer {
    /// `None` for an answer that does not belong to any transaction that a client sends.
    pub(crate) fn read(answer: wire::TxnResponse) -> Option<TxnAnswer> {
        let results = answer.responses.into_iter().map(OpAnswer::read).collect::<Option<_>>()?;
        Some(TxnAnswer { succeeded: answer.succeeded, revision: revision(answer.header.as_ref())?, results })
    }
}

impl OpAnswer {
    fn read(answer: wire::ResponseOp) -> Option<OpAnswer> {
        Some(match answer.response? {
            Response::ResponseRange(range) => OpAnswer::Got(range.kvs.into_iter().map(KeyValue::from).collect()),
            Response::ResponsePut(_) => OpAnswer::Put,
            Response::ResponseDeleteRange(range) => OpAnswer::Deleted(range.deleted.unsigned_abs()),
            // A client sends no transaction within a transaction.
            Response::ResponseTxn(_) => return None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Whether a key is among these, as etcd reads the two ends.
    fn has(keys: &Keys, key: &[u8]) -> bool {
        match keys.to.as_slice() {
            [] => key == keys.from,
            [0] => key >= keys.from.as_slice(),
            to => key >= keys.from.as_slice() && key < to,
        }
    }

    #[test]
    fn a_prefix_has_the_keys_that_begin_with_it_and_no_other() {
        let keys: [&[u8]; 9] =
            [&[0], b"a", b"a\x00", b"a\xff", b"a\xff\x00", b"a\xff\xff", b"b", b"\xff", b"\xff\xff\x01"];
        for prefix in [&b""[..], b"a", b"a\xff", b"\xff", b"\xff\xff", b"a\x00"] {
            let range = Keys::prefix(prefix);
            for key in keys {
                assert_eq!(has(&range, key), key.starts_with(prefix), "{prefix:?} {key:?}");
            }
        }
    }

    #[test]
    fn a_range_without_room_has_no_key_rather_than_one_or_all() {
        for (from, to) in [(&b"b"[..], &b"b"[..]), (b"b", b"a"), (b"b", b""), (b"", b""), (b"", b"\x00")] {
            let range = Keys::between(from, to);
            for key in [&[0][..], &[1], b"a", b"b", b"c", &[0xff]] {
                assert!(!has(&range, key), "{range:?} {key:?}");
            }
        }
        assert!(has(&Keys::between("a", "c"), b"b") && !has(&Keys::between("a", "c"), b"c"));
        assert!(has(&Keys::between("", "c"), b"\x00"));
    }

    #[test]
    fn what_is_above_a_key_begins_right_behind_it() {
        let rest = Keys::prefix("a").above(b"ab");
        assert!(has(&rest, b"ab\x00") && has(&rest, b"ac") && !has(&rest, b"ab") && !has(&rest, b"b"));
    }
}
