//! filter.

pub mod rule;
pub mod list;
pub mod wildmatch;
pub mod requested;
