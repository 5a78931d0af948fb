//! daemon log.
