//! exchange goodbye.
