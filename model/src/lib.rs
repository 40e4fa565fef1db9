//! x
#![deny(missing_docs)]

/// The protocol that is checked: in this build as it is, or with the mutants in it.
pub use protocol;

pub mod bazaar;
pub mod canonical;
pub mod check;
pub mod clock;
pub mod diagram;
pub mod election;
pub mod explore;
pub mod graph;
pub mod matrix;
#[cfg(feature = "mutants")]
pub mod mutants;
pub mod network;
pub mod overlay;
pub mod part;
pub mod picture;
pub mod replay;
pub mod scenario;
pub mod sighting;
pub mod subject;
pub mod trace;
pub mod trading;
pub mod whole;
mod words;

#[cfg(test)]
mod toy;
