//! delta.

pub mod table;
pub mod search;
