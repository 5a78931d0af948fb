//! Two byte streams and the child, if any, behind them.

pub mod detour;
pub mod pipe;
pub mod remote_shell;
pub mod tcp;

use std::os::fd::OwnedFd;
use std::process::Child;
use std::sync::Arc;

use crate::fatal::Fatal;

/// An open connection, before anything was said.
pub struct Streams {
    /// To read from.
    pub input: Arc<OwnedFd>,
    /// To write to.
    pub output: Arc<OwnedFd>,
    /// The remote shell, to be collected at the end.
    pub child: Option<Child>,
}

/// TLS around a connection.
///
/// # Errors
/// What the other side's certificate lacks; a program built without TLS refuses.
pub fn within_tls(streams: &Streams, host: &str) -> Result<Streams, Fatal> {
    #[cfg(feature = "tls")]
    return crate::tls::client::around(streams, host);
    #[cfg(not(feature = "tls"))]
    {
        let _ = (streams, host);
        Err(Fatal::new(wire::exit::ExitCode::Unsupported, "this program is built without TLS"))
    }
}
