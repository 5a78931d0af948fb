//! daemon listen.
