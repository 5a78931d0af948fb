//! daemon.
pub mod access;
pub mod config;
pub mod connection;
pub mod listen;
pub mod log;
pub mod module;
pub mod params;
pub mod refuse;
pub mod secrets;
pub mod session;
pub mod slots;
