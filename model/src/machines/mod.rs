//! Single machines: clocks and overlays, each by itself.

pub mod clock;
pub mod network;
pub mod overlay;
