//! A running sync on real directories, with the reference program or a script as its transfer.
//!
//! Nothing here sleeps for a fixed time to let things settle: a marker file written to the source
//! must arrive, which it can only do after everything before it.

// A helper that cannot set a case up has nothing better to do than to fail it.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod churn;
mod harness;
mod plugins;
mod retries;
mod settings;
mod source;
mod watching;
