//! Write locks on byte ranges of a file, as other programs that share the file take them.
//!
//! Called by the daemon for its slots and its process id file. The locks belong to the process:
//! they end with it, however it ends, and closing any descriptor of the same file drops them, so
//! the file must stay open, once. They do not pass to child processes.

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;

use rustix::fs::{FlockOperation, Mode, OFlags, flock, openat};
use rustix::io::Errno;

use crate::dir::Dir;

/// Tries to lock `length` bytes from `start`; `length` 0 is to the end, however far it moves.
/// `false` if another process holds a lock there.
pub fn try_lock_range(file: &File, start: u64, length: u64) -> io::Result<bool> {
    let range = || io::Error::from(io::ErrorKind::InvalidInput);
    let lock = libc::flock {
        l_type: libc::F_WRLCK as libc::c_short,
        l_whence: libc::SEEK_SET as libc::c_short,
        l_start: libc::off_t::try_from(start).map_err(|_| range())?,
        l_len: libc::off_t::try_from(length).map_err(|_| range())?,
        l_pid: 0,
    };
    // SAFETY: the descriptor is open for the length of the call and `lock` is a valid, initialised
    // structure that F_SETLK only reads.
    let done = unsafe { libc::fcntl(file.as_raw_fd(), libc::F_SETLK, &raw const lock) };
    if done == 0 {
        return Ok(true);
    }
    let error = io::Error::last_os_error();
    match error.raw_os_error() {
        Some(libc::EACCES | libc::EAGAIN) => Ok(false),
        _ => Err(error),
    }
}

/// Locks a whole directory against others who do the same, in any program that uses `flock`;
/// `None` if somebody else has it. The lock lasts as long as the file is open.
pub fn try_lock_dir(dir: &Dir) -> io::Result<Option<File>> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let file = File::from(openat(dir.fd(), ".", flags, Mode::empty())?);
    match flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(Some(file)),
        Err(Errno::WOULDBLOCK) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_has_one_holder() {
        let scratch = crate::scratch::Scratch::new();
        let dir = scratch.root().top().clone();
        let held = try_lock_dir(&dir).unwrap();
        assert!(held.is_some());
        assert!(try_lock_dir(&dir).unwrap().is_none());
        drop(held);
        assert!(try_lock_dir(&dir).unwrap().is_some());
    }

    #[test]
    fn a_range_is_free_for_its_own_process() {
        let path = std::env::temp_dir().join(format!("livemirror-lock-{}", std::process::id()));
        let file = File::create(&path).unwrap();
        assert!(try_lock_range(&file, 0, 4).unwrap());
        assert!(try_lock_range(&file, 4, 4).unwrap());
        assert!(try_lock_range(&file, 0, 0).unwrap());
        assert!(try_lock_range(&file, u64::MAX, 1).is_err());
        std::fs::remove_file(&path).unwrap();
    }
}
