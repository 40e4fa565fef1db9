//! x
#![deny(missing_docs)]

pub mod bazaar;
pub mod check;
pub mod election;
pub mod graph;
pub mod matrix;
pub mod part;
pub mod picture;
pub mod scenario;
pub mod sighting;
pub mod subject;
pub mod trace;
pub mod trading;
pub mod whole;
mod words;
