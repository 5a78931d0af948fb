//! report.
pub mod counters;
pub mod escape;
pub mod format;
pub mod list_line;
pub mod number;
pub mod progress;
pub mod summary;
