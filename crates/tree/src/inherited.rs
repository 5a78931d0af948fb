//! Sockets that were opened for this process before it started.
//!
//! Called by the daemon's listener, for a manager of services that listens itself and starts the
//! daemon when the first client comes.

use std::io;
use std::os::fd::{FromRawFd, OwnedFd, RawFd};
use std::sync::atomic::{AtomicBool, Ordering};

/// The first descriptor that a manager hands over.
const FIRST: RawFd = 3;

/// More descriptors than this are nobody's intention.
pub const INHERITED_MAX: usize = 64;

static TAKEN: AtomicBool = AtomicBool::new(false);

/// The first `count` descriptors after the standard ones, not to be passed on to other programs.
/// A second call gives none, for they have an owner then.
///
/// # Errors
/// More than [`INHERITED_MAX`], or one that is not open.
pub fn sockets(count: usize) -> io::Result<Vec<OwnedFd>> {
    if count > INHERITED_MAX {
        return Err(io::Error::other(format!("{count} descriptors, more than {INHERITED_MAX}")));
    }
    if TAKEN.swap(true, Ordering::AcqRel) {
        return Ok(Vec::new());
    }
    (0..count).map(|at| take(FIRST + RawFd::try_from(at).map_err(io::Error::other)?)).collect()
}

fn take(fd: RawFd) -> io::Result<OwnedFd> {
    // SAFETY: the call only looks at the number; one that is not open is an error.
    let flags = unsafe { libc::fcntl(fd, libc::F_GETFD) };
    // What this process opened is closed on exec, which nothing is that came through one.
    if flags < 0 || flags & libc::FD_CLOEXEC != 0 {
        return Err(io::Error::other(format!("descriptor {fd} was not handed over")));
    }
    // SAFETY: it is open, and was before this process began; `TAKEN` keeps it from a second owner.
    let owned = unsafe { OwnedFd::from_raw_fd(fd) };
    rustix::io::fcntl_setfd(&owned, rustix::io::FdFlags::CLOEXEC)?;
    Ok(owned)
}

#[cfg(test)]
mod tests {
    #[test]
    fn too_many_are_refused() {
        assert!(super::sockets(super::INHERITED_MAX + 1).is_err());
    }
}
