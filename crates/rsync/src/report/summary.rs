//! report summary.
