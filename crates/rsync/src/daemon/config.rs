//! daemon config.
