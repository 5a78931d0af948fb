//! token zstd.
