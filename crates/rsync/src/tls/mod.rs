//! The daemon protocol within TLS.
//!
//! A TLS stream is not a descriptor, and the engine reads descriptors: so a process of its own
//! stands between, with the engine at one end of a socket pair and the network at its other side.
//! - `client`: what that process does for a client, which starts it with its connection in hand;
//! - `server`: the same before a daemon's connection is served;
//! - `pump`: the handshake against a deadline, then both directions until both have ended.
//!
//! Certificates are judged by rustls, against what the system trusts or what the operator names.

pub mod client;
pub mod pump;
pub mod server;

use std::sync::Arc;

use rustls::RootCertStore;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

use crate::daemon::files;
use crate::daemon::log::cause;

/// Bytes of a file of certificates or a key; more is none.
const PEM_BYTES_MAX: usize = 4 * 1024 * 1024;

fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::aws_lc_rs::default_provider())
}

/// The certificates of a file, at least one.
fn certificates(path: &[u8]) -> Result<Vec<CertificateDer<'static>>, String> {
    let shown = String::from_utf8_lossy(path);
    let text = files::read(path, PEM_BYTES_MAX)
        .map_err(|error| format!("cannot read certificates from {shown}: {}", cause(&error)))?;
    let all: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&text).collect();
    all.ok()
        .filter(|all| !all.is_empty())
        .ok_or_else(|| format!("there is no certificate in {shown}"))
}

/// Those that a chain may end at.
fn roots(path: &[u8]) -> Result<RootCertStore, String> {
    let mut roots = RootCertStore::empty();
    let (added, _) = roots.add_parsable_certificates(certificates(path)?);
    match added {
        0 => Err(format!("no certificate of {} can be used", String::from_utf8_lossy(path))),
        _ => Ok(roots),
    }
}

/// A private key that others cannot read.
fn key(path: &[u8]) -> Result<PrivateKeyDer<'static>, String> {
    let shown = String::from_utf8_lossy(path);
    let mut file = files::read_secrets(path)
        .map_err(|error| format!("cannot read the key {shown}: {}", cause(&error)))?;
    let key = match file.mode & 0o007 {
        0 => PrivateKeyDer::from_pem_slice(&file.content)
            .map_err(|_| format!("there is no private key in {shown}")),
        _ => Err(format!("the key {shown} must not be other-accessible: chmod 600 {shown}")),
    };
    file.content.fill(0);
    key
}
