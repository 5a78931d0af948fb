//! Finding blocks of a basis in a source file.
//!
//! The sender builds a [`table::SumTable`] from the sums it received and lets [`search::search`]
//! turn the source into literal data and block references, which [`crate::token`] encodes.

pub mod search;
pub mod table;
