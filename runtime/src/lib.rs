//! The trading post as real processes: everything that awaits. Nothing in here decides; that is `bazaar-protocol`'s.
//!
//! Reading order. Setting up: [`config`], [`graph`], [`rundir`]. The network: [`wire`] puts messages into frames,
//! [`hello`] opens a connection, [`service`] says what can be asked over it; [`host`] accepts what comes in, [`link`]
//! carries what goes out, [`directory`] says where; [`ledger_client`] and [`ledger_service`] are the two ends of a peer's
//! connection to the ledger. The worlds around the machines: [`driver`] for a peer, [`keeper`] for the ledger, each with
//! one place through which every input and effect passes, and [`store`] below both. For people: [`supervise`] runs it
//! all, [`report`] says what happens, [`access`] and [`tools`] look at it.
#![deny(missing_docs)]

pub mod access;
pub mod config;
pub mod directory;
pub mod driver;
pub mod duration;
pub mod graph;
pub mod hello;
pub mod host;
pub mod keeper;
pub mod ledger_client;
pub mod ledger_service;
pub mod link;
pub mod random;
pub mod report;
pub mod rundir;
pub mod service;
pub mod settings;
pub mod store;
pub mod supervise;
pub mod tools;
pub mod wire;

mod task;
