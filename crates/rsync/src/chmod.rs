//! chmod.
