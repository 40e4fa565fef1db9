//! Histories for people: in words, as pictures, and in the Explorer.

pub mod diagram;
pub mod explore;
pub mod replay;
