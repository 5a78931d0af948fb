//! Shared pieces of the test suites: what it takes to run programs side by side and to compare.

// In a test suite a panic is the report, and its output is for a reader.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout)]

pub mod churn;
pub mod daemon_story;
pub mod lines;
pub mod matrix;
pub mod peer;
pub mod place;
pub mod report;
pub mod scenario;
pub mod tree_text;
