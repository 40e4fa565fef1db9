//! A client of [etcd](https://etcd.io) for a log that is kept by compare-and-set, and a [cluster] of etcd's own on this
//! machine, for tests and for trying.
//!
//! It is no general client: no leases, no locks, no elections. It has what a log needs (a transaction that compares and
//! writes, reads that are linearizable, a watch that never goes silent), and says of each call what is known once it
//! has failed.
//!
//! ```no_run
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! use bazaar_etcd::{Client, Compare, Endpoints, Keys, Op, Settings, Txn};
//!
//! let client = Client::new(&Settings::new(Endpoints::parse(["http://10.0.0.1:2379", "http://10.0.0.2:2379"])?))?;
//! let answer = client
//!     .txn(Txn {
//!         compare: vec![Compare::Absent { key: b"run".to_vec() }],
//!         then: vec![Op::Put { key: b"run".to_vec(), value: b"7d1f".to_vec() }],
//!         otherwise: vec![Op::Get(Keys::one("run"))],
//!     })
//!     .await?;
//! println!("{}", if answer.succeeded { "this run is new" } else { "there is a run already" });
//! # Ok(())
//! # }
//! ```
//!
//! # The contract
//!
//! - **One request, one attempt.** A request goes to one member, the [current](Client) one, and is never repeated behind
//!   the caller's back. The one exception is a request that a member has refused for a token that is no longer valid:
//!   it was certainly not carried out, and goes out once more with a new token.
//! - **Every call ends** within its [deadline](Settings::deadline), connecting included.
//! - **A failed write says what is known.** [`WriteError::Unknown`]: it may have been carried out, may be carried out
//!   later, or never. [`WriteError::NotSent`] and [`WriteError::Refused`]: it certainly is not, and never will be.
//!   [`WriteError::Full`]: it may have been, but will not be later. etcd's error codes do not tell these apart; only what
//!   never reached a connection, and refusals that etcd gives before it changes anything, are certain.
//! - **After trouble, another member.** A deadline that ran out, a broken connection, or a member without a leader make
//!   the *next* request go to the next member, over a new connection if the old one did not answer.
//! - **Reads are linearizable** unless they ask for a revision. [`Pages`] reads a long range at one revision; a
//!   compaction in between is [`ReadError::Compacted`].
//! - **A watch ends with [`Lost`]**, never with silence: a member that does not answer is noticed within
//!   [`Settings::watch_silence`].
//!
//! # How an unknown transaction is settled
//!
//! By sending the very same transaction again, if it compares the *value* of a key that it changes:
//!
//! ```text
//! compare  head == A          first attempt: unknown. Then either it has landed: head == B, so the repetition fails its
//! then     put batch, head=B  compare, and what its other branch reads is B: it was carried out. Or it has not: head
//! else     get head           == A, and the repetition carries it out; a late first attempt fails its compare.
//! ```
//!
//! For this the values must never repeat, so a head names its position. If the other branch reads neither A nor B, others
//! have gone on from one of them; which, only the batch tells, so the other branch should read that as well. Compare
//! values, not revisions: a cluster that is restored from a backup counts its revisions from an earlier one.
//!
//! # The services
//!
//! The code of the few services and messages is in the repository, so that a build needs nothing but Rust. It is made
//! from `proto/etcd.proto`, a part of etcd's own API (Apache-2.0), by a program that needs nothing but Rust either, and
//! is a package outside the workspace since it takes longer to build than this one. A test fails when either was changed
//! without the other.
//!
//! ```sh
//! cargo run --manifest-path runtime/etcd/generate/Cargo.toml
//! ```
//!
//! # Reading order
//!
//! [`Settings`]: where the cluster is. [`Client`]: the calls. [`Txn`], [`Keys`]: what they take. [`WriteError`],
//! [`ReadError`], [`Lost`]: how they fail. [`Watch`], [`Pages`]. [`cluster`]: an etcd of one's own.
#![deny(missing_docs)]

mod client;
pub mod cluster;
mod connection;
mod data;
mod error;
mod maintenance;
mod pages;
mod settings;
mod watch;

/// What `generate` has made from `proto/etcd.proto`.
#[rustfmt::skip]
#[allow(
    missing_docs, missing_debug_implementations, clippy::all, clippy::wildcard_enum_match_arm, dead_code,
    unreachable_pub, rust_2018_idioms,
    reason = "made by tonic-prost-build, which these lints are not for; the comments are in the .proto"
)]
mod generated;

pub use client::Client;
pub use data::{
    Compare, KeyValue, Keys, MAX_OPERATIONS, MAX_REQUEST, Op, OpAnswer, Range, RangeAnswer, Revision, Txn, TxnAnswer,
};
pub use error::{Lost, ReadError, Refusal, Trouble, WriteError};
pub use maintenance::{Alarm, AlarmKind, MemberId, MemberStatus};
pub use pages::Pages;
pub use settings::{Endpoints, EndpointsError, Settings, SettingsError, Tls, User};
pub use watch::{Event, Watch, WatchItem};
