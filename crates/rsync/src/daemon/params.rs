//! daemon params.
