//! ndx.
