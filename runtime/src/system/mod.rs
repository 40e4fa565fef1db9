//! What the operating system gives and takes: signals, limits, output, files and processes (SPEC I1 to I4, I9).

pub mod files;
pub mod limits;
pub mod output;
pub mod process;
pub mod signals;
