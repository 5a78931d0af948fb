//! Tells the manager of services that started the daemon where it stands.
//!
//! Called by `listen`. The manager names a socket of datagrams in the environment; without one there
//! is nobody to tell. What cannot be told changes nothing for a client.

use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};

/// Variable that names the socket; not for the process of a connection.
pub(crate) const SOCKET: &str = "NOTIFY_SOCKET";

/// Sends lines of `NAME=VALUE`.
pub(crate) fn tell(lines: &str) {
    let Some(name) = std::env::var_os(SOCKET) else { return };
    let address = match name.as_bytes() {
        [b'@', name @ ..] => SocketAddr::from_abstract_name(name),
        _ => SocketAddr::from_pathname(&name),
    };
    let sent = |address| UnixDatagram::unbound()?.send_to_addr(lines.as_bytes(), &address);
    let _ = address.and_then(sent);
}
