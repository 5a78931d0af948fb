//! token.

pub mod deflate;
pub mod zstd;
pub mod lz4;
