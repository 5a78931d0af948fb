//! report list_line.
