//! The simulator: whole peers, their disks, the links between them, and the ledger, in virtual time.
pub mod events;
mod faults;
pub mod history;
mod judge;
mod ledger;
pub mod meter;
mod network;
mod peers;
pub mod plan;
pub mod story;
pub mod survey;
pub mod table;
mod world;

pub use world::World;
