//! The processes of a run: a driver around each machine, what both report, and the supervisor that starts and restarts
//! them.

pub mod eavesdroppers;
mod fold;
pub mod ledger_driver;
pub mod log;
pub mod own_etcd;
mod panics;
pub mod peer_driver;
pub mod replica_driver;
pub mod report;
pub mod supervise;
