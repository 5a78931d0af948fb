//! An open directory that nothing may resolve out of, unless the operator asked for it.
//!
//! Opened once by whoever starts a run, from a path of the operator; every path of a peer is then
//! resolved from here. In-root relative symlinks to directories are followed, at the end of the
//! path too; the last name of a file is left to [`Dir`], which never follows, but for the two calls
//! whose names say `through`.

use std::fs::File;
use std::io;
use std::sync::Arc;

use rustix::fs::{AtFlags, CWD, Mode, OFlags, StatxFlags, openat, statx};
use rustix::io::Errno;

use crate::dir::{Dir, with_content};
use crate::meta::Meta;
use crate::path::{RelPath, RelPathBuf};
use crate::resolve;

/// Opens a regular file, without waiting for anything else.
const READ: OFlags =
    OFlags::RDONLY.union(OFlags::CLOEXEC).union(OFlags::NONBLOCK).union(OFlags::NOCTTY);

/// How far symlinks may lead.
#[derive(Clone, Debug)]
enum Reach {
    /// Nowhere out of the root.
    Root,
    /// Out of the root, but not out of the directory that it lies in by this path.
    Around(Arc<(Dir, RelPathBuf)>),
    /// Anywhere: the operator asked that links be followed.
    Anywhere,
}

/// A root. Clones share the handle.
#[derive(Clone, Debug)]
pub struct Root {
    top: Dir,
    reach: Reach,
}

impl Root {
    /// Opens a directory named by the operator, following symlinks as any program does.
    pub fn open(path: &[u8]) -> io::Result<Root> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let path: &[u8] = if path.is_empty() { b"." } else { path };
        Ok(Root::from_dir(Dir::from_fd(openat(CWD, path, flags, Mode::empty())?)))
    }

    /// Opens a directory named by the operator, following only symlinks of trusted owners.
    pub fn open_trusted(path: &[u8]) -> io::Result<Root> {
        Ok(Root::from_dir(Dir::from_fd(resolve::trusted(path, true)?.dir)))
    }

    fn opened(&self, fd: std::os::fd::OwnedFd) -> Dir {
        Dir::from_fd(fd).faking(self.top.fakes())
    }

    /// The same root, below which, with `fakes`, what only the super-user may set is kept in
    /// attributes.
    pub fn faking(self, fakes: bool) -> Root {
        Root { top: self.top.faking(fakes), ..self }
    }

    /// Whether that is so.
    pub fn is_faking(&self) -> bool {
        self.top.fakes()
    }

    /// Makes an open directory a root.
    pub fn from_dir(top: Dir) -> Root {
        Root { top, reach: Reach::Root }
    }

    /// The same root for an operator who asked that symlinks be followed wherever they lead.
    pub fn following(self) -> Root {
        Root { reach: Reach::Anywhere, ..self }
    }

    /// Whether symlinks may lead anywhere.
    pub fn is_following(&self) -> bool {
        matches!(self.reach, Reach::Anywhere)
    }

    /// A root within this one, whose symlinks may lead anywhere in this one.
    pub fn inner(&self, path: &RelPath) -> io::Result<Root> {
        let around = Arc::new((self.top.clone(), path.to_owned()));
        Ok(Root { top: self.dir(path)?, reach: Reach::Around(around) })
    }

    /// The directory itself.
    pub fn top(&self) -> &Dir {
        &self.top
    }

    /// Opens a directory that the operator named relative to this one, following symlinks as any
    /// program does.
    pub fn below(&self, path: &RelPath) -> io::Result<Dir> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let fd = openat(self.top.fd(), path.as_bytes(), flags, Mode::empty())?;
        Ok(self.opened(fd))
    }

    /// Opens a directory that the operator named relative to this one; it may lie anywhere.
    pub fn below_trusted(&self, path: &[u8]) -> io::Result<Root> {
        let walked = resolve::trusted_from(self.top.fd(), path, true)?;
        Ok(Root::from_dir(self.opened(walked.dir)))
    }

    /// Opens a directory that somebody else named relative to `start`; it may lie anywhere in this
    /// root, behind symlinks of trusted owners.
    pub fn dir_within(&self, start: &Root, path: &[u8]) -> io::Result<Root> {
        let walked = resolve::trusted_within(self.top.fd(), start.top.fd(), path, true)?;
        Ok(Root::from_dir(self.opened(walked.dir)))
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
        let fd = match &self.reach {
            Reach::Root => resolve::beneath(self.top.fd(), path)?,
            Reach::Around(around) => resolve::beneath(around.0.fd(), &joined(&around.1, path)?)?,
            Reach::Anywhere => {
                let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
                openat(self.top.fd(), path.as_bytes(), flags, Mode::empty())?
            }
        };
        Ok(self.opened(fd))
    }

    /// Opens a directory beneath the root by its own path: ELOOP or ENOTDIR where a symlink stands
    /// in it.
    pub fn dir_itself(&self, path: &RelPath) -> io::Result<Dir> {
        if path.name().is_none() {
            return Ok(self.top.clone());
        }
        resolve::plain(self.top.fd(), path).map(|fd| self.opened(fd))
    }

    /// Facts of what a path leads to, its last symlink followed too.
    pub fn stat_through(&self, path: &RelPath) -> io::Result<Meta> {
        let (basic, empty) = (StatxFlags::BASIC_STATS, AtFlags::EMPTY_PATH);
        let stat = match &self.reach {
            Reach::Root => statx(resolve::item_beneath(self.top.fd(), path)?, "", empty, basic)?,
            Reach::Around(around) => {
                let path = joined(&around.1, path)?;
                statx(resolve::item_beneath(around.0.fd(), &path)?, "", empty, basic)?
            }
            Reach::Anywhere => statx(self.top.fd(), path.as_bytes(), AtFlags::NO_AUTOMOUNT, basic)?,
        };
        Ok(Meta::from_statx(&stat))
    }

    /// Opens the regular file that a path leads to, its last symlink followed too; with `devices`,
    /// which the operator must have asked for, the device.
    pub fn open_through(&self, path: &RelPath, devices: bool) -> io::Result<File> {
        let fd = match &self.reach {
            Reach::Root => resolve::file_beneath(self.top.fd(), path, READ)?,
            Reach::Around(around) => {
                resolve::file_beneath(around.0.fd(), &joined(&around.1, path)?, READ)?
            }
            Reach::Anywhere => openat(self.top.fd(), path.as_bytes(), READ, Mode::empty())?,
        };
        with_content(File::from(fd), devices)
    }
}

fn joined(prefix: &RelPath, path: &RelPath) -> io::Result<RelPathBuf> {
    if prefix.name().is_none() {
        return Ok(path.to_owned());
    }
    let text = [prefix.as_bytes(), b"/", path.as_bytes()].concat();
    RelPathBuf::new(&text).map_err(|_| Errno::NAMETOOLONG.into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scratch::{Scratch, rel};

    #[test]
    fn links_lead_as_far_as_the_root_lets_them() {
        let s = Scratch::new();
        std::fs::create_dir_all(s.path("m/d/sub")).unwrap();
        for (path, text) in [("out", "outside"), ("m/in", "inside"), ("m/d/f", "own")] {
            std::fs::write(s.path(path), text).unwrap();
        }
        for (name, target) in [("own", "f"), ("up", "../in"), ("far", "../../out"), ("dir", "..")] {
            std::os::unix::fs::symlink(target, s.path(&format!("m/d/{name}"))).unwrap();
        }
        std::os::unix::fs::symlink(s.path("m/in"), s.path("m/d/abs")).unwrap();
        std::os::unix::fs::symlink("nowhere", s.path("m/d/gone")).unwrap();
        let module = Root::from_dir(s.root().dir(rel("m")).unwrap());
        let inner = module.inner(rel("d")).unwrap();
        let own = Root::from_dir(inner.top().clone());
        let free = own.clone().following();
        let reads = |root: &Root, name: &str| {
            let stat = root.stat_through(rel(name)).map_err(|e| e.raw_os_error());
            let read = root.open_through(rel(name), false).map_err(|e| e.raw_os_error());
            assert_eq!(stat.as_ref().err(), read.as_ref().err(), "{name}");
            stat.map(|meta| meta.size).map_err(Option::unwrap)
        };
        let all = |root: &Root| ["own", "up", "far", "abs", "gone"].map(|name| reads(root, name));
        let (no, gone) = (Err(libc::ELOOP), Err(libc::ENOENT));
        assert_eq!(all(&own), [Ok(3), no, no, no, gone]);
        assert_eq!(all(&inner), [Ok(3), Ok(6), no, no, gone]);
        assert_eq!(all(&free), [Ok(3), Ok(6), Ok(7), Ok(6), gone]);
        let dir = |root: &Root| root.dir(rel("dir/d/sub")).is_ok();
        assert_eq!([dir(&own), dir(&inner), dir(&free)], [false, true, true]);
        assert_eq!(
            inner.open_through(rel("sub"), false).unwrap_err().raw_os_error(),
            Some(libc::EINVAL)
        );
    }
}
