//! daemon access.
