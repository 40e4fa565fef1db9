//! The processes of a run: a driver around each machine, what both report, and the supervisor that starts and restarts
//! them.

pub mod eavesdroppers;
mod fold;
pub mod ledger_driver;
pub mod log;
mod panics;
pub mod peer_driver;
pub mod report;
pub mod supervise;
