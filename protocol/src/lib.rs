//! The trading post as a pure state machine: who leads, what is sold to whom, and what is written in the books.
//!
//! # The call contract
//!
//! [`Peer`] and [`Ledger`] are machines with one way in and one way out. A driver gives an input to `step`, carries out
//! the effects it returns, in order, and reports their results as further inputs. `step` cannot fail and cannot block;
//! it does no I/O and knows no clock, thread, file or random source. So:
//!
//! - time arrives as fired timers ([`Input::Fired`]), randomness as answered choices ([`Input::Chose`]), and a list of
//!   inputs is a complete trace;
//! - effects never wait for one another: whatever depends on a write is returned by the step that handles
//!   [`Input::Written`], so there is no order for a driver to remember;
//! - anything sent may be lost, duplicated, reordered or delayed, any timer may fire at any moment, and every machine
//!   may stop at any step and come back with what was durable. What is promised regardless is stated in DESIGN 5 and in
//!   [`invariant`].
//!
//! Everything a driver needs is at the root of this crate. `examples/market.rs` is a whole driver in one file;
//! `examples/elect.rs` drives [`Election`] alone.
//!
//! # Reading order
//!
//! 1. The vocabulary: [`id`], [`money`], [`clock`], [`digest`], [`record`], [`account`], [`snapshot`] and [`message`].
//!    The ways in and out: [`config`], [`input`] and [`effect`], which [`words`] puts into sentences. What a seed fixes
//!    for every driver: [`random`] numbers, the [`graph`] of neighbours, the [`cast`] of buyers and sellers. What every
//!    tool does with [`text`] from outside.
//! 2. The authority: [`books`] says what records mean, [`ledger`] is the log with its fence, on top of a [`store`];
//!    [`archive`] is both of them in memory. [`ledger::replica`] is one of several ledgers over a replicated store, and
//!    [`cluster`] all of these in memory. [`reading`] is how a peer obtains the books.
//! 3. The machines of a peer: [`election`] suggests who should ask the ledger for the office; [`office`] asks for it,
//!    holds it and leaves it; [`trader`] decides what to write while in office. [`buyer`] and [`seller`] are its
//!    [`client`]s.
//! 4. The composition: [`participant`] wires these machines together and decides which of them hears what. [`overlay`]
//!    carries messages from neighbour to neighbour, [`journal`] holds back whatever is not yet durable enough to leave,
//!    and [`peer`] is a participant with both.
//! 5. The proof: [`invariant`] states what must hold whatever happens, and [`mutant`] shows that the checks notice when
//!    it does not.
#![no_std]
#![forbid(unsafe_code)]
#![deny(missing_docs)]
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used))]

extern crate alloc;
#[cfg(test)]
extern crate std;

#[macro_use]
pub mod mutant;

pub mod account;
pub mod archive;
pub mod books;
pub mod buyer;
pub mod cast;
pub mod client;
pub mod clock;
pub mod cluster;
pub mod config;
pub mod digest;
pub mod effect;
pub mod election;
pub mod forgotten;
pub mod gather;
pub mod gossip;
pub mod graph;
pub mod id;
pub mod input;
pub mod invariant;
pub mod journal;
pub mod ledger;
pub mod message;
pub mod money;
pub mod office;
pub mod overlay;
pub mod participant;
pub mod peer;
pub mod plausible;
pub mod random;
pub mod reading;
pub mod record;
pub mod seller;
pub mod snapshot;
pub mod store;
#[cfg(test)]
mod testing;
pub mod text;
pub mod trader;
pub mod words;

#[doc(no_inline)]
pub use crate::{
    clock::{Stamp, Time},
    config::{Config, ConfigError, Limits, Offer, Offers, Pace, Role, Terms, Timeouts, Wishes},
    effect::{Durable, Effect, Effects, Note},
    election::Election,
    id::{Epoch, Incarnation, Item, Life, PeerId, Position, Units},
    input::{Choice, Input, Timer, WriteId},
    ledger::{
        CallId, HighWaterMark, Ledger, LedgerAnswer, LedgerCall, LedgerConfig, LedgerEffect, LedgerInput, LedgerReply,
        LedgerRequest, Tail, Verdict,
    },
    message::Envelope,
    money::{Cents, Price},
    participant::Participant,
    peer::Peer,
    record::{Batch, Entry, Record},
    snapshot::ChunkId,
    store::{MemoryStore, Store},
};

/// Whether this build contains the mutants. What is shipped asserts that it does not.
pub const MUTABLE: bool = cfg!(feature = "mutants");
