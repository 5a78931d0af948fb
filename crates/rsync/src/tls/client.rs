//! The client's side: a process with the engine on its standard input and the network on its
//! standard output.

use std::ffi::OsString;
use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStringExt;
use std::os::unix::net::UnixStream;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, RootCertStore};
use wire::exit::ExitCode;

use crate::fatal::{Fatal, errno_text};
use crate::transport::Streams;

/// First word of that process.
pub const PROCESS: &[u8] = b"__tls";
/// How long a handshake may take.
const HANDSHAKE: Duration = Duration::from_secs(60);
/// What the process says before the first byte of the daemon.
const READY: u8 = b'+';
/// Longest error it tells.
const ERROR_MAX: u64 = 1024;

/// Puts TLS around an open connection to `host`, which must have a certificate of that name.
pub fn around(connection: &Streams, host: &str) -> Result<Streams, Fatal> {
    let failed = |what: &str, error: io::Error| {
        Fatal::new(ExitCode::SocketIo, format!("{what}: {}", errno_text(&error)))
    };
    let network = connection.output.try_clone().map_err(|error| failed("dup", error))?;
    let (mut own, theirs) = UnixStream::pair().map_err(|error| failed("socketpair", error))?;
    let mut child = Command::new("/proc/self/exe")
        .arg(OsString::from_vec(PROCESS.to_vec()))
        .arg(host)
        .stdin(Stdio::from(OwnedFd::from(theirs)))
        .stdout(Stdio::from(network))
        .spawn()
        .map_err(|error| failed("cannot start the process of TLS", error))?;
    let mut ready = [0];
    if own.read(&mut ready).is_ok_and(|count| count == 1 && ready == [READY]) {
        let fd = Arc::new(OwnedFd::from(own));
        return Ok(Streams { input: fd.clone(), output: fd, child: Some(child) });
    }
    let mut text = ready.to_vec();
    let _ = own.take(ERROR_MAX).read_to_end(&mut text);
    let _ = child.wait();
    let text = String::from_utf8_lossy(&text);
    Err(Fatal::new(ExitCode::SocketIo, format!("TLS with {host}: {}", text.trim_matches('\0'))))
}

/// What that process does.
///
/// # Errors
/// One line: what went wrong after the daemon's first byte. Earlier errors are the client's to tell.
pub fn process(host: &str) -> Result<(), String> {
    let own = || -> io::Result<(UnixStream, TcpStream)> {
        let plain = io::stdin().as_fd().try_clone_to_owned()?;
        let network = io::stdout().as_fd().try_clone_to_owned()?;
        Ok((plain.into(), network.into()))
    };
    let (mut plain, mut tcp) = own().map_err(|error| errno_text(&error))?;
    // Else the end of the engine would not show to the other side.
    tree::jail::leave_stdio().map_err(|error| errno_text(&error))?;
    match start(host, &mut tcp) {
        Ok(tls) => plain
            .write_all(&[READY])
            .and_then(|()| super::pump::run(tls, tcp, plain))
            .map_err(|error| format!("TLS with {host}: {error}")),
        Err(text) => plain.write_all(text.as_bytes()).map_err(|error| errno_text(&error)),
    }
}

fn start(host: &str, tcp: &mut TcpStream) -> Result<rustls::Connection, String> {
    let name = ServerName::try_from(host.to_owned())
        .map_err(|_| "no name that a certificate can have".to_string())?;
    let tls = ClientConnection::new(Arc::new(config()?), name).map_err(|e| e.to_string())?;
    let mut tls = rustls::Connection::from(tls);
    super::pump::handshake(&mut tls, tcp, HANDSHAKE)?;
    Ok(tls)
}

/// Whom to trust and who this is, by the variables of rsync-ssl.
fn config() -> Result<ClientConfig, String> {
    let named = |name: &str| std::env::var_os(name).map(OsStringExt::into_vec);
    let roots = match named("RSYNC_SSL_CA_CERT") {
        Some(path) if path.is_empty() => {
            return Err("an empty RSYNC_SSL_CA_CERT would trust anybody, which is refused".into());
        }
        Some(path) => super::roots(&path)?,
        None => system_roots()?,
    };
    let config = ClientConfig::builder_with_provider(super::provider())
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())?
        .with_root_certificates(roots);
    match (named("RSYNC_SSL_CERT"), named("RSYNC_SSL_KEY")) {
        (None, None) => Ok(config.with_no_client_auth()),
        (Some(cert), Some(key)) => config
            .with_client_auth_cert(super::certificates(&cert)?, super::key(&key)?)
            .map_err(|error| error.to_string()),
        _ => Err("RSYNC_SSL_CERT and RSYNC_SSL_KEY belong together".into()),
    }
}

fn system_roots() -> Result<RootCertStore, String> {
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    match roots.is_empty() {
        true => Err("this system trusts no certificates; name some in RSYNC_SSL_CA_CERT".into()),
        false => Ok(roots),
    }
}
