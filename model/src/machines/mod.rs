//! Models of single machines: clocks and overlays.

pub mod clock;
pub mod network;
pub mod overlay;
