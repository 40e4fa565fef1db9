//! The ledger's log in etcd, where several ledgers share it (SPEC J3).
//!
//! A ledger over this store is a [`Replica`](bazaar_protocol::ledger::replica): the log is written by whoever gets in
//! first, and nothing that a ledger remembers of it is an answer. This module knows how the log lies in etcd, and what
//! can be said of a call that failed; when to do what is decided elsewhere.
//!
//! # An append
//!
//! ```text
//! compare  state/run == this run, state/head == the end that is to be continued
//! then     log/<position> = the batch, state/head = the end after it
//! else     get state/
//! ```
//!
//! It compares the *value* of a key that it changes, and the values never repeat, since an end of the log names its
//! position and a digest of everything before it. So the same transaction again settles one whose outcome is unknown
//! ([how](bazaar_etcd#how-an-unknown-transaction-is-settled)), a second ledger with the same end is refused, and so is
//! everybody where the store was wiped, restored from an older backup, or is another run's.
//!
//! # A read
//!
//! It begins with a linearizable range over `state/`, and everything else is read at the revision of that: an answer is
//! what the store held at one moment after the call. (Not with a transaction that only reads: one that has reached
//! its quota refuses that before 3.4.20 and 3.5.7, but no range.)
//!
//! # What is still there
//!
//! The log only grows, and a snapshot of the books only ever replaces what lies below it, in three steps. Each may be
//! repeated, and after each of them everything is readable, whoever does the next:
//!
//! ```text
//! write_snapshot   its parts, the last one last; named by its position and the hash of its bytes, so never overwritten
//! move_base        compare state/base == the old one, and that the parts are there; then state/base = the new one, and
//!                  end/<its position> = the end of the log there
//! clear_below      fold the oldest snapshot and the batches up to an end that lies deep enough below the base; write that
//!                  as a snapshot; compare state/base and state/oldest; then state/oldest = that snapshot;
//!                  compare both; then delete batches and snapshots below it, and snapshots between the two
//! ```
//!
//! So from the position of the base in force on, every batch is there, or the store is damaged. Below it, they are there
//! from the oldest snapshot on, unless the cluster's owner has [made room](Space::remedy): batches disappear from the
//! first on, and a reader notices by what it finds, since positions have no holes. Whoever audits the books reads
//! [all that is kept](EtcdStore::kept).
//!
//! # Reading order
//!
//! [`EtcdStore`]: the calls, one attempt each. [`Looked`], [`Appended`]: what they find.
//! [`EtcdStore::append_until_settled`] is what a driver does with
//! [`ReplicaEffect::Append`](bazaar_protocol::ledger::replica::ReplicaEffect::Append). [`Watch`]: what others do.
//! [`Space`]: what to do when it is full.

mod compaction;
mod error;
mod keys;
mod log;
mod peers;
mod settle;
mod signs;
mod space;
#[cfg(test)]
#[path = "../../../etcd/tests/common/mod.rs"]
mod testing;
mod value;
mod watch;

use std::sync::{Arc, Mutex, atomic::AtomicU64};

use bazaar_etcd::{Client, Compare, Op, OpAnswer, Range, Refusal, Revision, Trouble, Txn, TxnAnswer};
use bazaar_protocol::{
    config::Limits,
    ledger::{Tail, replica::Found},
    record::Batch,
};
use serde::Serialize;
use tokio::time::{Duration, sleep};

use crate::network::hello::RunId;

pub use compaction::Cleared;
pub use error::{CompactionError, InitError, ReadError, WriteError};
pub use peers::Registered;
pub use settle::Pauses;
pub use space::Space;
pub use value::Base;
pub use watch::{Lost, Seen, Watch};

use keys::Names;
use log::Served;
use value::State;

/// A ledger's log in etcd, for one run. Its clones are the same ledger: they share what they have given
/// [signs](Self::give) of.
///
/// Every call is one attempt, within the client's [deadline](bazaar_etcd::Settings::deadline) for each request it
/// takes, unless it says otherwise. A call that is dropped while it is under way leaves nothing half done; whether its
/// request is carried out is then unknown.
#[derive(Clone, Debug)]
pub struct EtcdStore {
    client: Client,
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    names: Names,
    run: RunId,
    limits: Limits,
    /// Tells this ledger's signs from those of others.
    instance: u64,
    signs: AtomicU64,
    /// The snapshot that was in force when a chunk of it was last asked for. It is that one for as long as the base is.
    served: tokio::sync::Mutex<Option<Served>>,
    trouble: Mutex<Option<String>>,
}

/// What a look finds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Looked {
    /// The end of the log, if it is this run's.
    pub found: Found,
    /// The snapshot in force; `None` if that cannot be read, which is damage where `found` is a tail.
    pub base: Option<Base>,
    /// When this was so. A [watch](EtcdStore::watch) from here on misses nothing.
    pub revision: Revision,
}

/// What became of one attempt to append.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Appended {
    /// It was carried out, and is durable.
    Written,
    /// It was not carried out, and this is what was there instead, read in the same transaction.
    Refused(Found),
    /// Nothing has reached the store. Try again.
    NotSent(Trouble),
    /// The store is [full](Space). It may have been carried out, but will not be later: look, to know.
    Full(Trouble),
    /// The store takes no such batch: it is too large, or this client may not write. It was not carried out.
    Denied(Refusal),
    /// It may have been carried out, may yet be, or never. The same again tells.
    Unknown(Trouble),
}

/// How often [`EtcdStore::init`] tries, and the pause between two attempts.
const INIT_TRIES: usize = 5;
const INIT_PAUSE: Duration = Duration::from_millis(200);

impl EtcdStore {
    /// The log of a run below a prefix, such as `/bazaar/market/`; a slash is added if it does not end with one.
    /// `limits` bound the answers to reads. Nothing is asked of the cluster yet.
    #[must_use]
    pub fn new(client: Client, prefix: &str, run: RunId, limits: Limits) -> EtcdStore {
        let shared = Shared {
            names: Names::below(prefix),
            run,
            limits,
            instance: rand::random(),
            signs: AtomicU64::new(0),
            served: tokio::sync::Mutex::default(),
            trouble: Mutex::default(),
        };
        EtcdStore { client, shared: Arc::new(shared) }
    }

    /// The same store, asked by this client. It must be one of the same cluster, such as
    /// [`Client::with_deadline`] gives.
    #[must_use]
    pub fn with_client(&self, client: Client) -> EtcdStore {
        EtcdStore { client, shared: Arc::clone(&self.shared) }
    }

    /// The client that it asks.
    #[must_use]
    pub fn client(&self) -> &Client {
        &self.client
    }

    /// Its prefix, with a slash at the end.
    #[must_use]
    pub fn prefix(&self) -> String {
        self.names().to_string()
    }

    /// Makes an empty log for this run, where there is nothing below the prefix. Never changes anything that is there.
    /// An attempt whose outcome is unknown is repeated a few times.
    ///
    /// # Errors
    /// If there is anything, or the cluster does not say what became of it.
    pub async fn init(&self) -> Result<(), InitError> {
        let prefix = || self.prefix();
        let names = self.names();
        let made = [
            (names.run(), value::of_run(self.shared.run)),
            (names.head(), self.encode(&Tail::default())?),
            (names.base(), self.encode(&Base::default())?),
            (names.oldest(), self.encode(&Base::default())?),
        ];
        let txn = Txn {
            compare: vec![Compare::NoneOf(names.all())],
            then: made.into_iter().map(|(key, value)| Op::Put { key, value }).collect(),
            otherwise: vec![Op::Get(names.state())],
        };
        let mut is_unknown = false;
        let mut tries = 0;
        loop {
            tries += 1;
            let why = match self.client.txn(txn.clone()).await {
                Ok(answer) if answer.succeeded => return Ok(()),
                Ok(answer) => {
                    let State { found, base, .. } = self.judge(&answer);
                    let is_as_made = found == Found::Tail(Tail::default()) && base == Some(Base::default());
                    // An earlier attempt has made it.
                    return if is_unknown && is_as_made {
                        Ok(())
                    } else {
                        Err(InitError::Exists { prefix: prefix(), found })
                    };
                }
                Err(bazaar_etcd::WriteError::Refused(source)) => {
                    return Err(InitError::Refused { prefix: prefix(), source });
                }
                // It may be carried out nevertheless.
                Err(bazaar_etcd::WriteError::Full(why)) => {
                    let State { found, .. } = self.state().await?;
                    let is_made = found == Found::Tail(Tail::default());
                    return if is_made { Ok(()) } else { Err(InitError::Full { prefix: prefix(), why }) };
                }
                Err(bazaar_etcd::WriteError::NotSent(why)) => why,
                Err(bazaar_etcd::WriteError::Unknown(why)) => {
                    is_unknown = true;
                    why
                }
            };
            if tries == INIT_TRIES {
                let prefix = prefix();
                return Err(if is_unknown {
                    InitError::Unknown { prefix, why }
                } else {
                    InitError::NotSent { prefix, why }
                });
            }
            sleep(INIT_PAUSE).await;
        }
    }

    /// Looks what the store holds, linearizably: everything that was written before the call is seen.
    ///
    /// # Errors
    /// If the cluster does not answer.
    pub async fn look(&self) -> Result<Looked, ReadError> {
        let State { found, base, revision, oldest: _ } = self.state().await?;
        Ok(Looked { found, base, revision })
    }

    /// One attempt to append a batch where the log ends at `onto`. The batch must not be empty, and start there.
    pub async fn append(&self, onto: &Tail, batch: &Batch) -> Appended {
        let is_next = !batch.records.is_empty() && batch.position == onto.status.head;
        debug_assert!(is_next, "an append of {} records at {:?} onto {onto:?}", batch.records.len(), batch.position);
        let txn = match self.append_txn(onto, batch) {
            Ok(txn) if is_next => txn,
            Ok(_) => return Appended::Denied(Refusal::Malformed("the batch does not continue the log".to_owned())),
            Err(error) => return Appended::Denied(Refusal::Malformed(format!("it cannot be encoded ({error})"))),
        };
        match self.client.txn(txn).await {
            Ok(answer) if answer.succeeded => Appended::Written,
            Ok(answer) => Appended::Refused(self.judge(&answer).found),
            Err(bazaar_etcd::WriteError::NotSent(why)) => Appended::NotSent(why),
            Err(bazaar_etcd::WriteError::Full(why)) => Appended::Full(why),
            // Once a login holds again, it is a matter of trying again.
            Err(bazaar_etcd::WriteError::Refused(Refusal::Unauthenticated(why))) => {
                let endpoint = self.client.endpoints().nth(self.client.current()).unwrap_or_default().to_owned();
                Appended::NotSent(Trouble { endpoint, why })
            }
            Err(bazaar_etcd::WriteError::Refused(refusal)) => Appended::Denied(refusal),
            Err(bazaar_etcd::WriteError::Unknown(why)) => Appended::Unknown(why),
        }
    }

    fn append_txn(&self, onto: &Tail, batch: &Batch) -> Result<Txn, postcard::Error> {
        let names = self.names();
        let entry = postcard::to_allocvec(batch)?;
        Ok(Txn {
            compare: vec![self.is_this_run(), Compare::Value { key: names.head(), value: value::encode(onto)? }],
            then: vec![
                Op::Put { key: names.batch(batch.position), value: entry },
                Op::Put { key: names.head(), value: value::encode(&onto.after(batch))? },
            ],
            otherwise: vec![Op::Get(names.state())],
        })
    }

    // What the modules beside this one are made of.

    fn names(&self) -> &Names {
        &self.shared.names
    }

    fn limits(&self) -> &Limits {
        &self.shared.limits
    }

    fn is_this_run(&self) -> Compare {
        Compare::Value { key: self.names().run(), value: value::of_run(self.shared.run) }
    }

    /// What the keys below `state/` hold, linearizably.
    async fn state(&self) -> Result<State, ReadError> {
        let read = self.client.range(Range::now(self.names().state())).await;
        let read = read.map_err(|source| self.unanswered(source))?;
        Ok(State::judge(self.names(), self.shared.run, &read.items, read.revision))
    }

    /// The same, from a transaction whose first answer is a get of them.
    fn judge(&self, answer: &TxnAnswer) -> State {
        let items = match answer.results.first() {
            Some(OpAnswer::Got(items)) => items.as_slice(),
            Some(OpAnswer::Put | OpAnswer::Deleted(_)) | None => &[],
        };
        State::judge(self.names(), self.shared.run, items, answer.revision)
    }

    /// Changes something in a store of this run, if also these hold. Otherwise the error says what it holds, or the
    /// state is given back if it is that of this run.
    async fn change(&self, only_if: Vec<Compare>, then: Vec<Op>) -> Result<Result<TxnAnswer, State>, WriteError> {
        let compare = std::iter::once(self.is_this_run()).chain(only_if).collect();
        let txn = Txn { compare, then, otherwise: vec![Op::Get(self.names().state())] };
        let answer = self.client.txn(txn).await;
        let answer = answer.map_err(|source| WriteError::Unanswered { prefix: self.prefix(), source })?;
        if answer.succeeded {
            return Ok(Ok(answer));
        }
        let state = self.judge(&answer);
        match state.found {
            Found::Tail(_) => Ok(Err(state)),
            found @ (Found::Foreign | Found::Unreadable) => Err(WriteError::NotHeld { prefix: self.prefix(), found }),
        }
    }

    fn encode<T: Serialize>(&self, value: &T) -> Result<Vec<u8>, WriteError> {
        value::encode(value).map_err(|error| self.unencodable(error))
    }

    fn unencodable(&self, error: postcard::Error) -> WriteError {
        WriteError::Unencodable { prefix: self.prefix(), what: error.to_string() }
    }

    fn unanswered(&self, source: bazaar_etcd::ReadError) -> ReadError {
        ReadError::Unanswered { prefix: self.prefix(), source }
    }

    fn damaged(&self, key: &[u8], what: impl Into<String>) -> ReadError {
        ReadError::Damaged { key: keys::text(key), what: what.into() }
    }
}

#[cfg(test)]
mod tests {
    use bazaar_protocol::{
        id::{Epoch, Position},
        ledger::replica::Sign,
    };

    use super::*;

    /// A driver runs them on tasks of their own.
    #[test]
    fn every_call_can_be_moved_to_another_thread() {
        fn can_move<F: Future + Send>(_: impl FnOnce(&'static EtcdStore) -> F) {}
        can_move(|store| store.init());
        can_move(|store| store.look());
        can_move(|store| async { store.append(&Tail::default(), &EMPTY).await });
        can_move(|store| async { store.append_until_settled(&Tail::default(), &EMPTY, Pauses::default()).await });
        can_move(|store| store.look_until_answered(Pauses::default()));
        can_move(|store| store.read(Position(0), None, Position(0)));
        can_move(|store| store.batches(Position(0), Position(0)));
        can_move(|store| store.ordering());
        can_move(|store| store.kept());
        can_move(|store| store.write_snapshot(Position(0)));
        can_move(|store| async { store.move_base(&Base::default(), &Base::default()).await });
        can_move(|store| async { store.clear_below(&Base::default(), 0).await });
        can_move(|store| store.give(Sign::Renewed(Epoch(0))));
        can_move(|store| async { store.watch(Revision(0)).await?.next().await });
        can_move(|store| store.registrations());
        can_move(|store| store.space());
    }

    const EMPTY: Batch = Batch { epoch: Epoch(0), position: Position(0), records: Vec::new() };
}
