//! The daemon: serves the modules of `rsyncd.conf` to clients that need no account here.
//!
//! In the order a client meets them: the listener accepts and starts a process; the connection
//! admits the client step by step; the session goes on in `crate::server`. The configuration is a
//! table of parameters, its grammar, and modules resolved from it; the decisions about hosts,
//! users and options are pure functions of it.

pub mod access;
pub mod advice;
pub mod arguments;
pub mod config;
pub mod connection;
pub mod converter;
pub mod deadline;
pub(crate) mod enter;
pub mod expand;
pub mod files;
pub(crate) mod glob;
mod hooks;
pub mod listen;
pub mod log;
pub(crate) mod login;
pub(crate) mod manager;
pub mod module;
pub mod params;
pub mod peer;
pub mod pidfile;
pub mod refuse;
pub(crate) mod rules;
pub mod secrets;
pub mod service;
pub mod session;
pub mod slots;
pub mod sockopts;
pub mod standing;
pub mod tally;
pub(crate) mod text;
