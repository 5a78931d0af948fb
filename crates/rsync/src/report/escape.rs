//! report escape.
