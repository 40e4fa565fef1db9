//! Models of single machines: clocks and overlays.

pub mod clock;
pub mod gather;
pub mod gossip;
pub mod network;
pub mod overlay;
