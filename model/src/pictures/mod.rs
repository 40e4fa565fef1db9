//! What people see of a history: words, a picture, and the Explorer.

pub mod diagram;
pub mod explore;
pub mod picture;
pub(crate) mod words;
