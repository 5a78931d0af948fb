//! Shared pieces of the test suites: what it takes to run programs side by side and to compare.

pub mod lines;
pub mod matrix;
pub mod peer;
pub mod report;
pub mod scenario;
pub mod tree_text;
