//! token deflate.
