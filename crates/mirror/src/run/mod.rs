//! The live side at work: threads, transfers, retries, and the guard before each of them.

pub mod guard;
pub mod initial;
pub mod job;
pub mod plugin;
pub mod retry;
pub mod runner;
pub mod shared;
pub mod survey;
pub mod sync;
