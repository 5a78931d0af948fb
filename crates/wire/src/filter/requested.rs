//! filter requested.
