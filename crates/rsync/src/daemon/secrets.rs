//! daemon secrets.
