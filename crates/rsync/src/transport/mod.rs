//! transport.
pub mod pipe;
pub mod remote_shell;
pub mod stdio;
pub mod tcp;
