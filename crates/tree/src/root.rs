//! An open directory that nothing may resolve out of.
//!
//! Opened once by whoever starts a run, from a path of the operator; every path of a peer is then
//! resolved from here. In-root relative symlinks to directories are followed, at the end of the
//! path too; the last name of a file is left to [`Dir`], which never follows.

use std::io;

use rustix::fs::{CWD, Mode, OFlags, openat};

use crate::dir::Dir;
use crate::path::RelPath;

/// A root. Clones share the handle.
#[derive(Clone, Debug)]
pub struct Root {
    top: Dir,
}

impl Root {
    /// Opens a directory named by the operator, following symlinks as any program does.
    pub fn open(path: &[u8]) -> io::Result<Root> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let path: &[u8] = if path.is_empty() { b"." } else { path };
        Ok(Root { top: Dir::from_fd(openat(CWD, path, flags, Mode::empty())?) })
    }

    /// Opens a directory named by the operator, following only symlinks of trusted owners.
    pub fn open_trusted(path: &[u8]) -> io::Result<Root> {
        Ok(Root { top: Dir::from_fd(crate::resolve::trusted(path, true)?.dir) })
    }

    /// Makes an open directory a root.
    pub fn from_dir(top: Dir) -> Root {
        Root { top }
    }

    /// The directory itself.
    pub fn top(&self) -> &Dir {
        &self.top
    }

    /// Opens a directory that the operator named relative to this one, following symlinks as any
    /// program does.
    pub fn below(&self, path: &RelPath) -> io::Result<Dir> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        Ok(Dir::from_fd(openat(self.top.fd(), path.as_bytes(), flags, Mode::empty())?))
    }

    /// Opens a directory that the operator named relative to this one; it may lie anywhere.
    pub fn below_trusted(&self, path: &[u8]) -> io::Result<Root> {
        let walked = crate::resolve::trusted_from(self.top.fd(), path, true)?;
        Ok(Root { top: Dir::from_fd(walked.dir) })
    }

    /// Opens a directory that somebody else named relative to `start`; it may lie anywhere in this
    /// root, behind symlinks of trusted owners.
    pub fn dir_within(&self, start: &Root, path: &[u8]) -> io::Result<Root> {
        let walked = crate::resolve::trusted_within(self.top.fd(), start.top.fd(), path, true)?;
        Ok(Root { top: Dir::from_fd(walked.dir) })
    }

    /// Opens the directory that holds `path`; the root's is the root.
    pub fn parent_of(&self, path: &RelPath) -> io::Result<Dir> {
        self.dir(path.parent())
    }

    /// Opens a directory beneath the root; ELOOP where the way would lead out.
    pub fn dir(&self, path: &RelPath) -> io::Result<Dir> {
        if path.name().is_none() {
            return Ok(self.top.clone());
        }
        crate::resolve::beneath(self.top.fd(), path).map(Dir::from_fd)
    }
}
