//! remove.
