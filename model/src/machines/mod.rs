//! Models of single machines: clocks and overlays.

pub mod clock;
pub mod gossip;
pub mod network;
pub mod overlay;
