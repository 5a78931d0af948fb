//! filter list.
