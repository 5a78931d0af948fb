//! An in-process pair of streams, by which a local copy is an ordinary session.

use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::sync::Arc;

use super::Streams;

/// Two connected ends.
pub fn pair() -> io::Result<(Streams, Streams)> {
    let (a, b) = UnixStream::pair()?;
    Ok((streams(a), streams(b)))
}

fn streams(socket: UnixStream) -> Streams {
    let fd = Arc::new(OwnedFd::from(socket));
    Streams { input: fd.clone(), output: fd, child: None }
}
