//! greeting.
