//! Models.
pub mod bazaar;
pub mod check;
pub mod election;
pub mod part;
pub mod scenario;
pub mod sighting;
pub mod trace;
pub mod trading;
pub mod world;
