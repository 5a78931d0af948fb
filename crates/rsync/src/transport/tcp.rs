//! Connecting to a daemon.

use std::io;
use std::net::{IpAddr, SocketAddr, TcpStream, ToSocketAddrs};
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Duration;

use socket2::{Domain, Protocol, SockAddr, Socket, Type};
use wire::exit::ExitCode;

use super::Streams;
use crate::fatal::{Fatal, errno_text};
use crate::options::Options;

/// Port of the daemon protocol.
pub const DAEMON_PORT: u16 = 873;

/// Connects to `host`, trying each of its addresses in turn.
pub fn connect(opts: &Options, host: &str, port: u16) -> Result<TcpStream, Fatal> {
    let addresses = (host, port).to_socket_addrs().map_err(|error| {
        let text = error.to_string();
        let why = text.strip_prefix("failed to lookup address information: ").unwrap_or(&text);
        Fatal::program(ExitCode::SocketIo, format!("getaddrinfo: {host} {port}: {why}"))
    })?;
    let wanted = addresses.filter(|a| match opts.family {
        Some(4) => a.is_ipv4(),
        Some(6) => a.is_ipv6(),
        _ => true,
    });
    let mut failures = Vec::new();
    for address in wanted {
        match connect_one(opts, address) {
            Ok(stream) => {
                let _ = stream.set_nodelay(true);
                return Ok(stream);
            }
            Err(error) if error.kind() == io::ErrorKind::TimedOut && opts.contimeout_s > 0 => {
                return Err(Fatal::new(
                    ExitCode::ConTimeout,
                    "timeout waiting for daemon connection",
                ));
            }
            Err(error) => failures.push((address.ip(), error)),
        }
    }
    let lines: Vec<String> = failures.iter().map(|(ip, error)| refused(host, ip, error)).collect();
    let text = if lines.is_empty() {
        format!("no usable address for {host}")
    } else {
        lines.join("\nrsync: ")
    };
    Err(Fatal::new(ExitCode::SocketIo, text))
}

/// Both directions of a connection.
pub fn streams(connection: TcpStream) -> Streams {
    let fd = Arc::new(OwnedFd::from(connection));
    Streams { input: fd.clone(), output: fd, child: None }
}

fn refused(host: &str, ip: &IpAddr, error: &io::Error) -> String {
    format!("failed to connect to {host} ({ip}): {}", errno_text(error))
}

fn connect_one(opts: &Options, address: SocketAddr) -> io::Result<TcpStream> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    if let Some(own) = &opts.address {
        let own = String::from_utf8_lossy(own).into_owned();
        let own = (own.as_str(), 0).to_socket_addrs()?.find(|a| a.is_ipv4() == address.is_ipv4());
        if let Some(own) = own {
            socket.bind(&SockAddr::from(own))?;
        }
    }
    let address = SockAddr::from(address);
    if opts.contimeout_s > 0 {
        socket.connect_timeout(&address, Duration::from_secs(u64::from(opts.contimeout_s)))?;
    } else {
        socket.connect(&address)?;
    }
    Ok(socket.into())
}
