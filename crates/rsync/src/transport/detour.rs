//! Ways to a daemon that are not a plain connection: a program of the operator's, or a proxy.
//!
//! `RSYNC_CONNECT_PROG` is run by a shell with a socket as its input and output; `RSYNC_PROXY` is
//! asked to `CONNECT`. The program wins where both are set. Called by `client`.

use std::ffi::{OsStr, OsString};
use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::process::{Command, Stdio};
use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use wire::exit::ExitCode;

use super::{Streams, tcp};
use crate::fatal::{Fatal, errno_text};
use crate::options::Options;
use crate::options::debug::DebugFlag;

/// Longest line of a proxy's answer, and longest request, in bytes.
const LINE_MAX: usize = 1023;
/// Lines of a proxy's answer.
const LINES_MAX: usize = 256;

/// Opens the connection to a daemon in the way that the environment asks for. `explain` takes lines
/// for `-vv` with their flag, `warn` those about socket options. Errors: it cannot be opened, exit
/// code 10 or 35.
pub fn open(
    opts: &Options,
    host: &str,
    port: u16,
    explain: &dyn Fn(DebugFlag, &str),
    warn: &dyn Fn(&str),
) -> Result<Streams, Fatal> {
    let named = |name| std::env::var_os(name).map(OsStringExt::into_vec).filter(|v| !v.is_empty());
    if let Some(line) = named("RSYNC_CONNECT_PROG") {
        let shown = format!(
            "Using RSYNC_CONNECT_PROG instead of opening tcp connection to {host} port {port}"
        );
        explain(DebugFlag::Connect, &shown);
        let line = command_line(&line, host)?;
        let shown = format!("Running socket program: \"{}\"", String::from_utf8_lossy(&line));
        explain(DebugFlag::Cmd, &shown);
        return run(&line);
    }
    explain(DebugFlag::Connect, &format!("opening tcp connection to {host} port {port}"));
    match named("RSYNC_PROXY") {
        Some(proxy) => through(opts, &proxy, (host, port), explain, warn),
        None => tcp::connect(opts, host, port, warn).map(tcp::streams),
    }
}

/// The command line of a connect program: `%H` becomes the quoted host, `%%` one percent sign.
/// Errors: a host that a shell could take for something else.
fn command_line(line: &[u8], host: &str) -> Result<Vec<u8>, Fatal> {
    let safe = |b: u8| b.is_ascii_alphanumeric() || b"._:%+~-".contains(&b);
    let first = host.bytes().next();
    let unsafe_host = !host.bytes().all(safe) || first.is_none_or(|b| b"-+~%".contains(&b));
    let mut out = Vec::with_capacity(line.len());
    let mut rest = line;
    while let Some((&byte, tail)) = rest.split_first() {
        rest = match (byte, tail.first()) {
            (b'%', Some(b'%')) => {
                out.push(b'%');
                tail.get(1..).unwrap_or_default()
            }
            (b'%', Some(b'H')) if unsafe_host => {
                let text = "unsafe host characters for RSYNC_CONNECT_PROG";
                return Err(Fatal::bare(ExitCode::SocketIo, text));
            }
            (b'%', Some(b'H')) => {
                out.extend_from_slice(&[b"'", host.as_bytes(), b"'"].concat());
                tail.get(1..).unwrap_or_default()
            }
            _ => {
                out.push(byte);
                tail
            }
        };
    }
    Ok(out)
}

/// Two ends of a connection of this host with itself: a daemon that is the program has an address
/// of its peer to look at.
fn pair() -> io::Result<(TcpStream, TcpStream)> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    let own = TcpStream::connect(listener.local_addr()?)?;
    own.set_nodelay(true)?;
    loop {
        // Any process of this host may have come between.
        let (theirs, from) = listener.accept()?;
        if from == own.local_addr()? {
            return Ok((own, theirs));
        }
    }
}

/// Runs a connect program, by `RSYNC_SHELL` or `sh`, with one socket as its input and output.
fn run(line: &[u8]) -> Result<Streams, Fatal> {
    let failed = |what: &str, error: io::Error| {
        Fatal::new(ExitCode::SocketIo, format!("{what}: {}", errno_text(&error)))
    };
    let (own, theirs) = pair().map_err(|error| failed("socketpair_tcp failed", error))?;
    let again = theirs.try_clone().map_err(|error| failed("dup", error))?;
    let shell = std::env::var_os("RSYNC_SHELL").unwrap_or_else(|| OsString::from("sh"));
    Command::new(&shell)
        .arg("-c")
        .arg(OsStr::from_bytes(line))
        .stdin(Stdio::from(OwnedFd::from(theirs)))
        .stdout(Stdio::from(OwnedFd::from(again)))
        .spawn()
        .map_err(|error| failed(&format!("Failed to exec {}", shell.to_string_lossy()), error))?;
    let fd = Arc::new(OwnedFd::from(own));
    // It stands for the far end of a connection: how it ends is not asked.
    Ok(Streams { input: fd.clone(), output: fd, child: None })
}

/// Connects to a proxy and has it connect to the daemon.
fn through(
    opts: &Options,
    proxy: &[u8],
    (host, port): (&str, u16),
    explain: &dyn Fn(DebugFlag, &str),
    warn: &dyn Fn(&str),
) -> Result<Streams, Fatal> {
    let bare = |text: &str| Fatal::bare(ExitCode::SocketIo, text);
    let (login, place) = match proxy.iter().rposition(|&b| b == b'@') {
        Some(at) => (proxy.get(..at), proxy.get(at + 1..).unwrap_or_default()),
        None => (None, proxy),
    };
    let place = String::from_utf8_lossy(place);
    if login.is_some_and(|login| !login.contains(&b':')) {
        return Err(bare("invalid proxy specification: should be USER:PASS@HOST:PORT"));
    }
    let (proxy_host, proxy_port) = place
        .rsplit_once(':')
        .ok_or_else(|| bare("invalid proxy specification: should be HOST:PORT"))?;
    let proxy_port = proxy_port.parse().map_err(|_| {
        let text = format!(
            "getaddrinfo: {proxy_host} {proxy_port}: Servname not supported for ai_socktype"
        );
        Fatal::program(ExitCode::SocketIo, text)
    })?;
    let shown = format!("connection via http proxy {proxy_host} port {proxy_port}");
    explain(DebugFlag::Connect, &shown);
    let mut stream = tcp::connect(opts, proxy_host, proxy_port, warn)?;
    let request = request(login, host, port).map_err(&bare)?;
    let said = |what: &str, error: &io::Error| {
        let text = format!("failed to {what} proxy: {}", errno_text(error));
        Fatal::new(ExitCode::SocketIo, text)
    };
    stream.write_all(&request).map_err(|error| said("write to", &error))?;
    let status = line(&mut stream, &said)?;
    let code = status.strip_prefix(b"HTTP/").and_then(|rest| {
        rest.iter().position(|&b| b == b' ').and_then(|at| rest.get(at..)).map(<[u8]>::trim_ascii)
    });
    if code.is_none_or(|code| code.first() != Some(&b'2')) {
        return Err(Fatal::bare(
            ExitCode::SocketIo,
            [b"bad response from proxy -- ", status.as_slice()].concat(),
        ));
    }
    for _ in 0..LINES_MAX {
        if line(&mut stream, &said)?.is_empty() {
            return Ok(tcp::streams(stream));
        }
    }
    Err(bare("the proxy's answer has too many lines"))
}

/// The bytes that ask a proxy for a connection. Errors: a host that would break out of its line.
fn request(login: Option<&[u8]>, host: &str, port: u16) -> Result<Vec<u8>, &'static str> {
    if host.bytes().any(|b| b.is_ascii_control()) {
        return Err("invalid control character in proxy CONNECT host");
    }
    let host = if host.contains(':') { format!("[{host}]") } else { host.to_owned() };
    let login = login.map_or(String::new(), |login| {
        format!("Proxy-Authorization: Basic {}\r\n", STANDARD.encode(login))
    });
    let text = format!("CONNECT {host}:{port} HTTP/1.0\r\n{login}\r\n");
    if text.len() > LINE_MAX {
        return Err("proxy CONNECT request too long");
    }
    Ok(text.into_bytes())
}

/// One line of a proxy's answer, without its end. What follows the answer belongs to the daemon, so
/// nothing is read ahead.
fn line(
    stream: &mut TcpStream,
    said: &dyn Fn(&str, &io::Error) -> Fatal,
) -> Result<Vec<u8>, Fatal> {
    let mut line = Vec::new();
    loop {
        let mut byte = [0];
        match stream.read(&mut byte) {
            Ok(0) => {
                let error = io::Error::from(io::ErrorKind::UnexpectedEof);
                return Err(said("read from", &error));
            }
            Ok(_) if byte == *b"\n" => {
                if line.last() == Some(&b'\r') {
                    line.pop();
                }
                return Ok(line);
            }
            Ok(_) if line.len() >= LINE_MAX => {
                return Err(Fatal::bare(ExitCode::SocketIo, "proxy response line too long"));
            }
            Ok(_) => line.extend_from_slice(&byte),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(said("read from", &error)),
        }
    }
}

#[cfg(test)]
mod tests {
    // A case that cannot be set up is a failure.
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn a_host_is_quoted_or_refused() {
        // A failure would let a host's name run a command.
        let made = |host| command_line(b"nc %H 873 %% %x %", host).ok();
        assert_eq!(made("a.b-c").as_deref(), Some(&b"nc 'a.b-c' 873 % %x %"[..]));
        assert_eq!(made("fe80::1%eth0").as_deref(), Some(&b"nc 'fe80::1%eth0' 873 % %x %"[..]));
        for host in ["", "-x", "+x", "~x", "%x", "a;b", "a'b", "a b", "a\nb", "a_b\u{e9}", "$(x)"] {
            assert_eq!(made(host), None, "{host:?}");
        }
    }

    #[test]
    fn a_request_is_one_request() {
        // A failure would let a host's name add headers.
        assert_eq!(
            request(Some(b"user:pw"), "h", 874).unwrap(),
            b"CONNECT h:874 HTTP/1.0\r\nProxy-Authorization: Basic dXNlcjpwdw==\r\n\r\n"
        );
        assert_eq!(request(None, "::1", 1).unwrap(), b"CONNECT [::1]:1 HTTP/1.0\r\n\r\n");
        assert!(request(None, "a\r\nX: y", 1).is_err());
        assert!(request(None, &"x".repeat(2000), 1).is_err());
    }
}
