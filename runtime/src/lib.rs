//! The trading post as real processes: everything that awaits.
//!
//! Reading order of the network: [`wire`] puts messages into frames, [`hello`] opens a connection, [`service`] says what
//! can be asked over it; [`host`] accepts what comes in, [`link`] carries what goes out, [`directory`] says where.
//! [`ledger_client`] and [`ledger_service`] are the two ends of a peer's connection to the ledger; [`tools`] are for
//! people.
#![deny(missing_docs)]

pub mod directory;
pub mod hello;
pub mod host;
pub mod ledger_client;
pub mod ledger_service;
pub mod link;
pub mod service;
pub mod settings;
pub mod store;
pub mod tools;
pub mod wire;

mod task;
