//! token.
pub mod deflate;
pub mod zstd;
pub mod lz4;
/// Kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TokenKind { /// x
 Plain, /// x
 Zlib, /// x
 Zlibx, /// x
 Zstd, /// x
 Lz4 }
