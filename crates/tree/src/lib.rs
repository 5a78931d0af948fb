//! The only door to the file system and to the process's privileges.
//!
//! A peer's name becomes usable only as a [`path::RelPath`] and is resolved beneath an open
//! [`root::Root`]; all later work happens relative to directory handles. The crate knows no
//! protocol: it reports `io::Error` values and plain facts, and the roles make words of them.
//!
//! Invariants: no call below a root takes more than one checked name and a handle; no symlink is
//! followed at the last name; every handle is closed on exec; nothing is kept in statics but
//! whether inherited sockets have an owner.

pub mod acl;
pub mod attrs;
pub mod cache;
pub mod charset;
pub mod confine;
pub mod dir;
mod fake;
pub mod inherited;
pub mod jail;
pub mod lock;
pub mod meta;
pub mod netname;
pub mod notify;
pub mod operator;
pub mod owner;
pub mod page;
pub mod path;
pub mod remove;
pub mod resolve;
pub mod root;
pub mod stage;
pub mod window;
pub mod xattr;

#[cfg(test)]
mod scratch;
