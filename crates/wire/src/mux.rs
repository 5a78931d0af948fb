//! mux.
