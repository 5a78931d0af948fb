//! report format.
