//! checksum.

pub mod rolling;
pub mod strong;
