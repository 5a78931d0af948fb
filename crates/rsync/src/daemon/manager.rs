//! The manager of services that started the daemon: tells it where the daemon stands, and takes over
//! the sockets that it listens on.
//!
//! Called by `listen`. The manager names a socket of datagrams in the environment; without one there
//! is nobody to tell. What cannot be told changes nothing for a client.

use std::net::TcpListener;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};

use socket2::Socket;

use super::log::cause;

/// Variable that names the socket.
const SOCKET: &str = "NOTIFY_SOCKET";
/// Variables of sockets that are handed over: for which process, how many, and their names.
const HANDED: [&str; 3] = ["LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES"];

/// Variables that are not for the process of a connection.
pub(crate) fn variables() -> impl Iterator<Item = &'static str> {
    HANDED.into_iter().chain([SOCKET])
}

/// The sockets that the manager listens on for this process; none where it does not.
///
/// # Errors
/// A line, for one that is no listening socket of TCP.
pub(crate) fn sockets() -> Result<Vec<TcpListener>, String> {
    let number = |name: &str| std::env::var(name).ok()?.parse::<usize>().ok();
    let [for_whom, count, _] = HANDED;
    if number(for_whom) != usize::try_from(std::process::id()).ok() {
        return Ok(Vec::new());
    }
    let count = number(count).unwrap_or(0);
    let handed = tree::inherited::sockets(count)
        .map_err(|error| format!("sockets of the manager of services: {}", cause(&error)))?;
    let checked = handed.into_iter().enumerate().map(|(at, fd)| {
        let socket = Socket::from(fd);
        let listens = socket.is_listener().unwrap_or(false)
            && socket.local_addr().is_ok_and(|address| address.as_socket().is_some());
        let ready = listens && socket.set_nonblocking(true).is_ok();
        let place = at + 3;
        let wrong = || {
            format!(
                "descriptor {place} of the manager of services is no listening TCP socket \
                 (in its unit: ListenStream=PORT, Accept=no)"
            )
        };
        ready.then(|| socket.into()).ok_or_else(wrong)
    });
    checked.collect()
}

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
