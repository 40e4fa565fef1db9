//! The trading post as real processes.
#![deny(missing_docs)]

pub mod config;
pub mod duration;
pub mod graph;
pub mod random;
