//! The trading post as real processes: everything that awaits. Nothing in here decides; `bazaar-protocol` does.
//!
//! Reading order. Setting up: [`config`], with [pictures of the graph](config::picture) and [the run directory](config::run_dir). The
//! [`network`]: [`wire`](network::wire) puts messages into frames, [`hello`](network::hello) opens a connection,
//! [`service`](network::service) says what can be asked over it; [`host`](network::host) accepts what comes in,
//! [`link`](network::link) carries what goes out, [`directory`](network::directory) knows the addresses;
//! [`ledger_client`](network::ledger_client) and [`ledger_service`](network::ledger_service) are the two ends of a
//! peer's connection to the ledger; [`tls`] encrypts connections and says by certificate who is at their ends.
//! The [`processes`] around the machines: [`peer_driver`](processes::peer_driver) and
//! [`ledger_driver`](processes::ledger_driver), each with one place through which every input and effect passes, and
//! [`store`] below both. For people: [`supervise`](processes::supervise) runs it all, [`report`](processes::report)
//! says what happens, [`schema`] says how programs read it, [`tools`] inspect it. Below all of it is the [`system`]: its
//! signals, limits, files and outputs.
#![deny(missing_docs)]

pub mod config;
pub mod network;
pub mod processes;
pub mod schema;
pub mod store;
pub mod system;
pub mod tls;
pub mod tools;
