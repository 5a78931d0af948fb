//! The only door to the file system and to the process's privileges.
//!
//! A peer's name becomes usable only as a [`path::RelPath`] and is resolved beneath an open
//! [`root::Root`]; all later work happens relative to directory handles. The crate knows no
//! protocol: it reports `io::Error` values and plain facts, and the roles make words of them.

pub mod path;
pub mod meta;
pub mod root;
pub mod resolve;
pub mod cache;
pub mod dir;
pub mod window;
pub mod stage;
pub mod remove;
pub mod operator;
pub mod owner;
pub mod jail;
