//! Searching the states of a subject: exhaustive checks, shortest histories, and what they show.

pub mod canonical;
pub mod check;
pub mod graph;
pub mod history;
#[cfg(feature = "mutants")]
pub mod mutants;
pub mod trace;
