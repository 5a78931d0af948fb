//! token lz4.
