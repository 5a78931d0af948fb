//! Two byte streams and the child, if any, behind them.

pub mod detour;
pub mod pipe;
pub mod remote_shell;
pub mod tcp;

use std::os::fd::OwnedFd;
use std::process::Child;
use std::sync::Arc;

/// An open connection, before anything was said.
pub struct Streams {
    /// To read from.
    pub input: Arc<OwnedFd>,
    /// To write to.
    pub output: Arc<OwnedFd>,
    /// The remote shell, to be collected at the end.
    pub child: Option<Child>,
}
