//! The live mirror.
