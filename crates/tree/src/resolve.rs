//! Opens directories: beneath a root, or along a path of the operator with trust in its owners.
//!
//! The confined walk follows a symlink only if it stays beneath the root; the kernel does it in
//! one call (`openat2`), and where that call is missing the walk goes component by component. The
//! trusted walk follows only symlinks owned by root or by this process's user.

use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{AtFlags, CWD, Mode, OFlags, ResolveFlags, StatxFlags, openat, openat2, readlinkat, statx};
use rustix::io::Errno;

use crate::path::RelPath;

/// Symlinks one walk may follow.
const HOPS_MAX: u32 = 40;
/// Handles one walk may hold.
const DEPTH_MAX: usize = 1024;

const DIR: OFlags = OFlags::PATH.union(OFlags::DIRECTORY).union(OFlags::CLOEXEC);

/// Opens the directory at `path` beneath `root`, as a path-only handle.
pub fn beneath(root: BorrowedFd<'_>, path: &RelPath) -> io::Result<OwnedFd> {
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS;
    loop {
        match openat2(root, path.as_bytes(), DIR, Mode::empty(), resolve) {
            Ok(fd) => return Ok(fd),
            Err(Errno::XDEV) => return Err(Errno::LOOP.into()),
            Err(Errno::NOSYS | Errno::PERM) => return beneath_by_steps(root, path),
            // The tree changed under the walk; the kernel asks to try again.
            Err(Errno::AGAIN | Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

/// The confined walk, one component at a time on a stack of held handles.
pub fn beneath_by_steps(root: BorrowedFd<'_>, path: &RelPath) -> io::Result<OwnedFd> {
    let mut todo: VecDeque<Vec<u8>> = path.components().map(|c| c.as_bytes().to_vec()).collect();
    let mut held: Vec<OwnedFd> = Vec::new();
    let mut hops = 0;
    while let Some(part) = todo.pop_front() {
        if part == b".." {
            if held.pop().is_none() {
                return Err(Errno::LOOP.into());
            }
            continue;
        }
        let at = held.last().map_or(root, AsFd::as_fd);
        match openat(at, &part[..], DIR | OFlags::NOFOLLOW, Mode::empty()) {
            Ok(fd) if held.len() < DEPTH_MAX => held.push(fd),
            Ok(_) => return Err(Errno::NOMEM.into()),
            Err(error) => {
                let text = match readlinkat(at, &part[..], Vec::new()) {
                    Ok(text) => text.into_bytes(),
                    Err(_) => return Err(error.into()),
                };
                hops += 1;
                if hops > HOPS_MAX || text.is_empty() || text.starts_with(b"/") {
                    return Err(Errno::LOOP.into());
                }
                push_front(&mut todo, &text);
            }
        }
    }
    match held.pop() {
        Some(fd) => Ok(fd),
        None => Ok(openat(root, ".", DIR, Mode::empty())?),
    }
}

fn push_front(todo: &mut VecDeque<Vec<u8>>, text: &[u8]) {
    for part in text.split(|&b| b == b'/').rev().filter(|p| !p.is_empty() && *p != b".") {
        todo.push_front(part.to_vec());
    }
}

/// What a trusted walk ends at.
pub struct Trusted {
    /// Path-only handle of the last directory.
    pub dir: OwnedFd,
    /// The last component, when the path does not end in a directory form.
    pub name: Option<Vec<u8>>,
}

/// Walks a path of the operator to the directory of its last component, following only symlinks of
/// trusted owners. With `whole`, the last component is walked too and must be a directory.
pub fn trusted(path: &[u8], whole: bool) -> io::Result<Trusted> {
    let start: &[u8] = if path.starts_with(b"/") { b"/" } else { b"." };
    walk(openat(CWD, start, DIR, Mode::empty())?, path, whole)
}

/// Walks a relative path of the operator from an open directory; `..` leads up.
pub fn trusted_from(start: BorrowedFd<'_>, path: &[u8]) -> io::Result<OwnedFd> {
    Ok(walk(openat(start, ".", DIR, Mode::empty())?, path, true)?.dir)
}

fn walk(mut at: OwnedFd, path: &[u8], whole: bool) -> io::Result<Trusted> {
    if path.is_empty() || path.contains(&0) {
        return Err(Errno::INVAL.into());
    }
    let mut hops = 0;
    let mut todo = VecDeque::new();
    push_front(&mut todo, path);
    let ends_in_dir = path.ends_with(b"/") || path.ends_with(b"/.") || path == b".";
    while let Some(part) = todo.pop_front() {
        let last = todo.is_empty();
        let stat = statx(&at, &part[..], AtFlags::SYMLINK_NOFOLLOW, StatxFlags::BASIC_STATS);
        let stat = match stat {
            Ok(stat) => stat,
            Err(Errno::NOENT) if last && !whole && !ends_in_dir => {
                return Ok(Trusted { dir: at, name: Some(part) });
            }
            Err(error) => return Err(error.into()),
        };
        let kind = u32::from(stat.stx_mode) & 0o170_000;
        if kind == 0o120_000 {
            let own = rustix::process::geteuid().as_raw();
            hops += 1;
            if (stat.stx_uid != 0 && stat.stx_uid != own) || hops > HOPS_MAX {
                return Err(Errno::LOOP.into());
            }
            let text = readlinkat(&at, &part[..], Vec::new())?.into_bytes();
            if text.starts_with(b"/") {
                at = openat(CWD, "/", DIR, Mode::empty())?;
            }
            push_front(&mut todo, &text);
            continue;
        }
        if last && !whole && !ends_in_dir {
            return Ok(Trusted { dir: at, name: Some(part) });
        }
        at = openat(&at, &part[..], DIR | OFlags::NOFOLLOW, Mode::empty())?;
    }
    Ok(Trusted { dir: at, name: None })
}
