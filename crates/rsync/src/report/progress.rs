//! report progress.
