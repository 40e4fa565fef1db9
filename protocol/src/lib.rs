//! The trading post as a pure state machine: who leads, what is sold to whom, and what stands in the books.
//!
//! # The call contract
//!
//! [`Peer`](peer::Peer) and [`Ledger`](ledger::Ledger) are machines with one door in and one door out. A driver gives
//! an input to `step`, carries out the effects that come out, in order, and comes back with what became of them as
//! further inputs. `step` cannot fail and cannot block; it does no I/O and knows no clock, thread, file or random
//! source. So:
//!
//! - time comes in as fired timers ([`Input::Fired`](input::Input::Fired)), randomness as answered choices
//!   ([`Input::Chose`](input::Input::Chose)), and a list of inputs is a complete trace;
//! - effects never wait for one another: what depends on a write comes out of the step that handles
//!   [`Input::Written`](input::Input::Written), so there is no order for a driver to remember;
//! - anything sent may be lost, doubled, reordered or late, any timer may fire at any moment, and every machine may
//!   stop at any step and come back with what was durable. What is promised regardless is stated in DESIGN 5 and in
//!   [`invariant`].
//!
//! # Reading order
//!
//! [`id`], [`money`], [`clock`], [`digest`], [`record`] and [`message`] are the vocabulary, [`config`], [`input`] and
//! [`effect`] the doors. [`books`] says what records mean. [`ledger`] is the authority: the log and its fence, over a
//! [`store`]; [`archive`] is both of them in memory. [`election`] is a hint of who should ask it for the office,
//! [`office`] asks, holds and leaves it, [`trader`] decides what to write in it. [`buyer`] and [`seller`] are its
//! [`client`]s. [`participant`] wires them together: who is told of what. [`overlay`] carries words from neighbour to
//! neighbour, [`journal`] holds back what is not durable enough to leave, and [`peer`] is a participant with both.
//! [`invariant`] states what must hold whatever happens, and [`mutant`] is where one can see that it notices.
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
pub mod client;
pub mod clock;
pub mod config;
pub mod digest;
pub mod effect;
pub mod election;
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
pub mod reading;
pub mod record;
pub mod seller;
pub mod snapshot;
pub mod store;
#[cfg(test)]
mod testing;
pub mod trader;
pub mod words;

#[doc(no_inline)]
pub use crate::{
    config::{Config, Limits, Offer, Offers, Pace, Role, Terms, Timeouts, Wishes},
    effect::{Durable, Effect, Effects, Note},
    election::Election,
    id::{Epoch, Incarnation, Item, Life, PeerId, Position, Units},
    input::{Choice, Input, Timer, WriteId},
    ledger::{CallId, Ledger, LedgerCall, LedgerConfig, LedgerEffect, LedgerInput, LedgerReply},
    message::Envelope,
    money::{Cents, Price},
    participant::Participant,
    peer::Peer,
    store::{MemoryStore, Store},
};

/// Whether this is the build that has the mutants in it. What is shipped asserts that it is not.
pub const MUTABLE: bool = cfg!(feature = "mutants");
