//! Opens directories: beneath a root, or along a path of the operator with trust in its owners.
//!
//! Called by [`crate::root`] and [`crate::operator`]. Two walks, for two kinds of path:
//! - *Confined* (names a peer chose): a symlink is followed only if its text is relative and leads
//!   nowhere above the root. The kernel does it in one call, `openat2`; where that is missing or
//!   forbidden, or the tree changes too fast for it, the walk goes by component on a stack of held
//!   handles, on which `..` in a symlink pops.
//!   A walk of the same kind that follows no symlink at all is for those who must know that a path
//!   is the only one of its directory.
//! - *Trusted* (names the operator chose, which may lie anywhere): a symlink is followed only if
//!   root or this process's user owns it, for only they could have planned where it leads.
//!
//! Each step opens a handle first and judges what the handle shows, never a name a second time.
//! All handles are path-only: passing through a directory needs no right to read it. Mount points
//! are crossed. The walk by component holds at most 1024 directories; `openat2` has no such limit.

use std::cell::Cell;
use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::fs::{
    AtFlags, CWD, Mode, OFlags, PROC_SUPER_MAGIC, ResolveFlags, StatxFlags, fstatfs, openat,
    openat2, readlinkat, statx,
};
use rustix::io::Errno;

use crate::path::{PATH_LEN_MAX, RelPath};

/// Symlinks one walk may follow.
const HOPS_MAX: u32 = 40;
/// Handles one walk may hold.
const DEPTH_MAX: usize = 1024;
/// Bytes of path still to walk, symlink texts included: twice the longest path.
const PENDING_MAX: usize = 2 * PATH_LEN_MAX;
/// How often the kernel may ask to walk again because something was renamed meanwhile.
const AGAIN_MAX: u32 = 32;

const PIN: OFlags = OFlags::PATH.union(OFlags::CLOEXEC);
const DIR: OFlags = PIN.union(OFlags::DIRECTORY);

/// The operator has the process follow every symlink, as any program does.
static FOLLOWS_ALL: AtomicBool = AtomicBool::new(false);

/// From now on both walks of this process follow whatever symlink they meet. There is no way back:
/// the operator who asks for it vouches for every directory on the way.
pub fn follow_all() {
    FOLLOWS_ALL.store(true, Ordering::Relaxed);
}

fn follows_all() -> bool {
    FOLLOWS_ALL.load(Ordering::Relaxed)
}

/// Opens the directory at `path` beneath `root`, as a path-only handle. Errors: ELOOP where the
/// way would lead out of the root.
pub fn beneath(root: BorrowedFd<'_>, path: &RelPath) -> io::Result<OwnedFd> {
    match in_one_call(root, path, DIR) {
        Some(result) => result,
        None => beneath_by_steps(root, path),
    }
}

/// Pins whatever `path` leads to beneath `root`, its last symlink followed too.
pub fn item_beneath(root: BorrowedFd<'_>, path: &RelPath) -> io::Result<OwnedFd> {
    match in_one_call(root, path, PIN) {
        Some(result) => result,
        None => item_by_steps(root, path, PIN),
    }
}

/// Opens the file that `path` leads to beneath `root`, its last symlink followed too.
pub fn file_beneath(root: BorrowedFd<'_>, path: &RelPath, flags: OFlags) -> io::Result<OwnedFd> {
    match in_one_call(root, path, flags) {
        Some(result) => result,
        None => item_by_steps(root, path, flags),
    }
}

/// The kernel's confined walk; `None` where it cannot be had.
fn in_one_call(root: BorrowedFd<'_>, path: &RelPath, flags: OFlags) -> Option<io::Result<OwnedFd>> {
    if follows_all() {
        return Some(openat(root, path.as_bytes(), flags, Mode::empty()).map_err(io::Error::from));
    }
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS;
    for _ in 0..AGAIN_MAX {
        match openat2(root, path.as_bytes(), flags, Mode::empty(), resolve) {
            Ok(fd) => return Some(Ok(fd)),
            Err(Errno::XDEV) => return Some(Err(Errno::LOOP.into())),
            Err(Errno::NOSYS | Errno::PERM) => break,
            Err(Errno::AGAIN | Errno::INTR) => {}
            Err(error) => return Some(Err(error.into())),
        }
    }
    None
}

/// Opens the directory at `path` beneath `root` with no symlink on the way, as a path-only handle.
/// Errors: ELOOP or ENOTDIR where a component is a symlink.
pub fn plain(root: BorrowedFd<'_>, path: &RelPath) -> io::Result<OwnedFd> {
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS;
    for _ in 0..AGAIN_MAX {
        match openat2(root, path.as_bytes(), DIR, Mode::empty(), resolve) {
            Ok(fd) => return Ok(fd),
            Err(Errno::NOSYS | Errno::PERM) => break,
            Err(Errno::AGAIN | Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
    plain_by_steps(root, path)
}

/// The walk without symlinks, one component at a time.
fn plain_by_steps(root: BorrowedFd<'_>, path: &RelPath) -> io::Result<OwnedFd> {
    let mut at = openat(root, ".", DIR, Mode::empty())?;
    for part in path.components() {
        at = openat(&at, part.as_bytes(), DIR | OFlags::NOFOLLOW, Mode::empty())?;
    }
    Ok(at)
}

/// The confined walk, one component at a time on a stack of held handles.
pub fn beneath_by_steps(root: BorrowedFd<'_>, path: &RelPath) -> io::Result<OwnedFd> {
    let (mut held, _) = steps(root, path, true)?;
    match held.pop() {
        Some(fd) => Ok(fd),
        None => Ok(openat(root, ".", DIR, Mode::empty())?),
    }
}

/// The same for an item of any kind, which is opened with `flags`.
pub fn item_by_steps(root: BorrowedFd<'_>, path: &RelPath, flags: OFlags) -> io::Result<OwnedFd> {
    let (held, name) = steps(root, path, false)?;
    let at = held.last().map_or(root, AsFd::as_fd);
    let name = name.as_deref().unwrap_or(b".");
    Ok(openat(at, name, flags | OFlags::NOFOLLOW, Mode::empty())?)
}

/// Walks to a directory, or with `whole` false to an item of any kind: the handles on the way, and
/// the name of what is no directory.
fn steps(
    root: BorrowedFd<'_>,
    path: &RelPath,
    whole: bool,
) -> io::Result<(Vec<OwnedFd>, Option<Vec<u8>>)> {
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
                    Ok(text) => text,
                    // It is there, and neither directory nor link.
                    Err(Errno::INVAL) if !whole && todo.is_empty() => {
                        return Ok((held, Some(part)));
                    }
                    Err(_) => return Err(error.into()),
                };
                let text = text.into_bytes();
                hops += 1;
                if hops > HOPS_MAX || text.is_empty() || text.starts_with(b"/") {
                    return Err(Errno::LOOP.into());
                }
                push_front(&mut todo, &text);
            }
        }
    }
    Ok((held, None))
}

/// Puts the components of `text` before those still to walk.
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
    /// The last component is a handle of a process, such as `/dev/fd/63`: its text is no path, so
    /// it must be opened by following it. Never set outside procfs.
    pub pinned: bool,
}

thread_local! {
    /// A walk of this thread stopped at a symlink of a stranger, and nobody has asked since.
    static REFUSED: Cell<bool> = const { Cell::new(false) };
}

/// Whether a walk of this thread was stopped by the owner of a symlink since the last call, for the
/// line that explains an ELOOP.
pub fn take_refusal() -> bool {
    REFUSED.take()
}

/// Walks a path of the operator to the directory of its last component, following only symlinks of
/// trusted owners. With `whole`, the last component is walked too and must be a directory. A
/// missing last component is no error here.
pub fn trusted(path: &[u8], whole: bool) -> io::Result<Trusted> {
    let start: &[u8] = if path.starts_with(b"/") { b"/" } else { b"." };
    Ok(walk(openat(CWD, start, DIR, Mode::empty())?, path, whole, None)?)
}

/// Walks a relative path of the operator from an open directory; `..` leads up.
pub fn trusted_from(start: BorrowedFd<'_>, path: &[u8], whole: bool) -> io::Result<Trusted> {
    let start = openat(start, ".", DIR, Mode::empty())?;
    Ok(walk(start, path, whole, None)?)
}

/// The same for a path that somebody else named, and that may not end outside of `root`: the trust
/// in owners is not enough, each directory on the way lies in `root` or is one above it. An absolute
/// path starts at `/`.
pub fn trusted_within(
    root: BorrowedFd<'_>,
    start: BorrowedFd<'_>,
    path: &[u8],
    whole: bool,
) -> io::Result<Trusted> {
    let start = match path.starts_with(b"/") {
        true => openat(CWD, "/", DIR, Mode::empty())?,
        false => openat(start, ".", DIR, Mode::empty())?,
    };
    if follows_all() {
        return Ok(walk(start, path, whole, None)?);
    }
    let bounds = Bounds::new(root, &start)?;
    let end = walk(start, path, whole, Some(bounds.clone()))?;
    // Something may have been moved meanwhile: what counts is where the end lies now.
    match climb(&end.dir)?.contains(&bounds.root) {
        true => Ok(end),
        false => Err(Errno::LOOP.into()),
    }
}

/// Device and inode of a directory.
type Id = (u64, u64);

fn identity(dir: &OwnedFd) -> rustix::io::Result<Id> {
    let stat = rustix::fs::fstat(dir)?;
    Ok((stat.st_dev, stat.st_ino))
}

/// A directory and all above it, as far as they may be searched.
fn climb(dir: &OwnedFd) -> rustix::io::Result<Vec<Id>> {
    let mut ids = vec![identity(dir)?];
    let mut at = openat(dir, ".", DIR, Mode::empty())?;
    while ids.len() <= PATH_LEN_MAX {
        let Ok(above) = openat(&at, "..", DIR, Mode::empty()) else { break };
        let id = identity(&above)?;
        if ids.last() == Some(&id) {
            break;
        }
        ids.push(id);
        at = above;
    }
    Ok(ids)
}

/// Where a walk may be: in a directory, or on the way down to it.
#[derive(Clone)]
struct Bounds {
    root: Id,
    above: Vec<Id>,
    inside: bool,
}

impl Bounds {
    fn new(root: BorrowedFd<'_>, start: &OwnedFd) -> io::Result<Bounds> {
        let mut above = climb(&openat(root, ".", DIR, Mode::empty())?)?;
        let root = above.remove(0);
        let inside = climb(start)?.contains(&root);
        match inside || above.contains(&identity(start)?) {
            true => Ok(Bounds { root, above, inside }),
            false => Err(Errno::LOOP.into()),
        }
    }

    fn enter(&mut self, dir: &OwnedFd) -> rustix::io::Result<()> {
        let id = identity(dir)?;
        if id == self.root {
            self.inside = true;
        } else if self.above.contains(&id) {
            self.inside = false;
        } else if !self.inside {
            return Err(Errno::LOOP);
        }
        Ok(())
    }
}

fn walk(
    mut at: OwnedFd,
    path: &[u8],
    whole: bool,
    mut bounds: Option<Bounds>,
) -> rustix::io::Result<Trusted> {
    if path.is_empty() || path.contains(&0) {
        return Err(Errno::INVAL);
    }
    let mut hops = 0;
    let mut todo = VecDeque::new();
    push_front(&mut todo, path);
    let mut want_dir = whole || ends_as_dir(path);
    while let Some(part) = todo.pop_front() {
        let wanted = todo.is_empty() && !want_dir;
        if part == b".." {
            at = entered(openat(&at, "..", DIR, Mode::empty())?, &mut bounds)?;
            continue;
        }
        let item = match openat(&at, &part[..], PIN | OFlags::NOFOLLOW, Mode::empty()) {
            Ok(item) => item,
            Err(Errno::NOENT) if wanted => return end(at, Some(part), false, &bounds),
            Err(errno) => return Err(errno),
        };
        let stat = statx(&item, "", AtFlags::EMPTY_PATH, StatxFlags::BASIC_STATS)?;
        match u32::from(stat.stx_mode) & libc::S_IFMT {
            libc::S_IFLNK => {
                hops += 1;
                may_follow(stat.stx_uid, hops)?;
                if fstatfs(&at)?.f_type == PROC_SUPER_MAGIC {
                    if wanted {
                        return end(at, Some(part), true, &bounds);
                    }
                    at = entered(openat(&at, &part[..], DIR, Mode::empty())?, &mut bounds)?;
                    continue;
                }
                let text = readlinkat(&item, "", Vec::new())?.into_bytes();
                if text.is_empty() {
                    return Err(Errno::NOENT);
                }
                if text.starts_with(b"/") {
                    at = entered(openat(CWD, "/", DIR, Mode::empty())?, &mut bounds)?;
                }
                want_dir |= todo.is_empty() && ends_as_dir(&text);
                push_front(&mut todo, &text);
                if todo.iter().map(|part| part.len() + 1).sum::<usize>() > PENDING_MAX {
                    return Err(Errno::NAMETOOLONG);
                }
            }
            _ if wanted => return end(at, Some(part), false, &bounds),
            libc::S_IFDIR => at = entered(item, &mut bounds)?,
            _ => return Err(Errno::NOTDIR),
        }
    }
    end(at, None, false, &bounds)
}

/// One more directory of a walk, if it may go there.
fn entered(dir: OwnedFd, bounds: &mut Option<Bounds>) -> rustix::io::Result<OwnedFd> {
    if let Some(bounds) = bounds {
        bounds.enter(&dir)?;
    }
    Ok(dir)
}

/// The end of a walk, if it may end there. A handle of a process leads out.
fn end(
    dir: OwnedFd,
    name: Option<Vec<u8>>,
    pinned: bool,
    bounds: &Option<Bounds>,
) -> rustix::io::Result<Trusted> {
    match bounds {
        Some(bounds) if pinned || !bounds.inside => Err(Errno::LOOP),
        _ => Ok(Trusted { dir, name, pinned }),
    }
}

fn may_follow(owner: u32, hops: u32) -> rustix::io::Result<()> {
    if !follows_all() && owner != 0 && owner != rustix::process::geteuid().as_raw() {
        REFUSED.set(true);
        return Err(Errno::LOOP);
    }
    if hops > HOPS_MAX { Err(Errno::LOOP) } else { Ok(()) }
}

/// Whether a path can only mean a directory.
fn ends_as_dir(path: &[u8]) -> bool {
    matches!(path.rsplit(|&b| b == b'/').next(), Some(b"" | b"." | b".."))
}

#[cfg(test)]
#[path = "resolve_tests.rs"]
mod tests;
