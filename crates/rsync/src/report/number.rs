//! report number.
