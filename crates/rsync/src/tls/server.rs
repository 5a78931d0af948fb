//! The daemon's side: a connection's process divides after the handshake. The one half gives
//! up its rights and carries bytes; the other, without the network, serves the client.

use std::net::TcpStream;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::time::Duration;

use rustls::server::WebPkiClientVerifier;
use rustls::{ServerConfig, ServerConnection};
use wire::exit::ExitCode;
use wire::limits::HANDSHAKE_SECONDS_MAX;

use super::pump;
use crate::daemon::log::cause;
use crate::daemon::service::TlsFiles;

/// User and group of the half that carries bytes: nobody's.
const NOBODY: u32 = 65_534;

/// Which half this is.
pub enum Half {
    /// It serves the client over this.
    Serves(OwnedFd),
    /// It carried bytes until the client and the other half were done.
    Carried(ExitCode),
}

/// Reads certificates and key.
///
/// # Errors
/// One line of text.
pub fn config(files: &TlsFiles) -> Result<ServerConfig, String> {
    let builder = ServerConfig::builder_with_provider(super::provider());
    let builder =
        builder.with_safe_default_protocol_versions().map_err(|error| error.to_string())?;
    let builder = match &files.client_ca {
        None => builder.with_no_client_auth(),
        Some(path) => {
            let roots = Arc::new(super::roots(path)?);
            let verifier =
                WebPkiClientVerifier::builder_with_provider(roots, super::provider()).build();
            builder.with_client_cert_verifier(verifier.map_err(|error| error.to_string())?)
        }
    };
    builder
        .with_single_cert(super::certificates(&files.cert)?, super::key(&files.key)?)
        .map_err(|error| format!("certificate and key do not fit: {error}"))
}

/// Takes a client's connection. Must run before any thread starts.
///
/// # Errors
/// One line of text for the log; the client has its alert.
pub fn accept(files: &TlsFiles, connection: OwnedFd) -> Result<Half, String> {
    let config = config(files)?;
    let mut tcp = TcpStream::from(connection);
    let tls = ServerConnection::new(Arc::new(config)).map_err(|error| error.to_string())?;
    let mut tls = rustls::Connection::from(tls);
    let limit = Duration::from_secs(u64::from(HANDSHAKE_SECONDS_MAX));
    pump::handshake(&mut tls, &mut tcp, limit)?;
    let failed = |error: std::io::Error| cause(&error);
    let (serving, carrying) = UnixStream::pair().map_err(failed)?;
    match tree::jail::divide().map_err(failed)? {
        None => {
            // Only the other half has the network.
            tree::jail::leave_stdio().map_err(failed)?;
            Ok(Half::Serves(serving.into()))
        }
        Some(child) => {
            drop(serving);
            // What standard input and output are here would keep the client from seeing the end.
            tree::jail::leave_stdio().map_err(failed)?;
            if tree::owner::am_root() {
                tree::jail::drop_to(NOBODY, NOBODY, &[NOBODY]).map_err(failed)?;
            }
            let carried = pump::run(tls, tcp, carrying);
            let status = child.wait().map_err(failed)?;
            Ok(Half::Carried(match carried {
                Ok(()) if status.success() => ExitCode::Ok,
                _ => ExitCode::SocketIo,
            }))
        }
    }
}
