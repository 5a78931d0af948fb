//! daemon module.
