//! The trading post as a pure state machine.
#![no_std]
#![forbid(unsafe_code)]
#![deny(missing_docs)]

extern crate alloc;
#[cfg(test)]
extern crate std;

pub mod books;
pub mod clock;
pub mod config;
pub mod digest;
pub mod effect;
pub mod election;
pub mod id;
pub mod input;
pub mod invariant;
pub mod ledger;
pub mod message;
pub mod money;
pub mod record;
pub mod store;
