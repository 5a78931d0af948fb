//! From dirty paths to the names of a transfer. Pure.

pub mod batch;
pub mod exclude;
pub mod links;
