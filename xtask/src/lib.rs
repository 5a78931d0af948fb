//! What the developer's tasks share with the fuzz targets of `fuzz/`.
//!
//! The program `xtask` runs the tasks; `fuzz/` links this library so that a decoder is fed in the
//! same way by both.

pub mod decoders;
pub mod random;
pub mod seeds;
