//! daemon refuse.
