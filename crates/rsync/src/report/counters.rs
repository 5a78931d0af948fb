//! report counters.
