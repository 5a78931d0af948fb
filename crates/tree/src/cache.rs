//! Directory handles by path, so that the files of one directory resolve it once.
//!
//! Called by the sender, generator and receiver, each with a cache of its own. A kept handle stays
//! with its directory when that is renamed or removed: who removes or replaces a directory must
//! call [`DirCache::forget`], else later work goes to the old one.

use std::io;

use crate::dir::Dir;
use crate::path::{RelPath, RelPathBuf};
use crate::root::Root;

/// A small store of open directories, the most recently used last.
pub struct DirCache {
    root: Root,
    open: Vec<(RelPathBuf, Dir)>,
    /// Directories that the operator named behind symlinks which no walk from the root follows.
    named: Vec<(RelPathBuf, Dir)>,
    max: usize,
}

impl DirCache {
    /// Keeps at most `max` directories open.
    pub fn new(root: Root, max: usize) -> DirCache {
        DirCache { root, open: Vec::new(), named: Vec::new(), max: max.max(1) }
    }

    /// From now on `path` is this directory, and what lies below is resolved from it.
    pub fn name(&mut self, path: &RelPath, dir: Dir) {
        self.forget(path);
        self.named.push((path.to_owned(), dir));
    }

    fn resolve(&self, path: &RelPath) -> io::Result<Dir> {
        let below = |(known, dir): &(RelPathBuf, Dir)| {
            let rest = path.as_bytes().strip_prefix(known.as_bytes())?;
            match rest.strip_prefix(b"/") {
                None if rest.is_empty() => Some((known.as_bytes().len(), dir.clone(), None)),
                None => None,
                Some(rest) => {
                    let rest = RelPathBuf::new(rest).ok()?;
                    Some((known.as_bytes().len(), dir.clone(), Some(rest)))
                }
            }
        };
        match self.named.iter().filter_map(below).max_by_key(|(len, ..)| *len) {
            Some((_, dir, None)) => Ok(dir),
            Some((_, dir, Some(rest))) => Root::from_dir(dir).dir(&rest),
            None => self.root.dir(path),
        }
    }

    /// The directory at `path`.
    pub fn dir(&mut self, path: &RelPath) -> io::Result<&Dir> {
        if path.name().is_none() {
            return Ok(self.root.top());
        }
        match self.open.iter().rposition(|(known, _)| **known == *path) {
            Some(at) if at + 1 == self.open.len() => {}
            Some(at) => {
                let hit = self.open.remove(at);
                self.open.push(hit);
            }
            None => {
                let dir = self.resolve(path)?;
                if self.open.len() >= self.max {
                    self.open.remove(0);
                }
                self.open.push((path.to_owned(), dir));
            }
        }
        self.open
            .last()
            .map(|(_, dir)| dir)
            .ok_or_else(|| io::Error::from_raw_os_error(libc::ENOENT))
    }

    /// The directory that holds `path`.
    pub fn parent(&mut self, path: &RelPath) -> io::Result<&Dir> {
        self.dir(path.parent())
    }

    /// Closes the handle of a directory that is gone or replaced, and those of all below it.
    pub fn forget(&mut self, path: &RelPath) {
        if path.name().is_none() {
            return self.open.clear();
        }
        let prefix = path.as_bytes();
        self.open.retain(|(known, _)| {
            let known = known.as_bytes();
            !(known == prefix
                || known.starts_with(prefix) && known.get(prefix.len()) == Some(&b'/'))
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scratch::{Scratch, rel};

    #[test]
    fn what_the_operator_named_is_reached_and_is_a_root_itself() {
        let s = Scratch::new();
        for name in ["in/link", "out/a/b", "far"] {
            std::fs::create_dir_all(s.path(name)).unwrap();
        }
        std::os::unix::fs::symlink(s.path("out"), s.path("in/abs")).unwrap();
        std::os::unix::fs::symlink("../../far", s.path("out/a/leaves")).unwrap();
        let root = Root::from_dir(s.root().dir(rel("in")).unwrap());
        let mut cache = DirCache::new(root.clone(), 8);
        assert!(cache.dir(rel("abs/a")).is_err());
        cache.name(rel("abs"), root.below(rel("abs")).unwrap());
        let ino = |dir: &Dir| dir.stat_self().unwrap().ino;
        let b = s.root().dir(rel("out/a/b")).unwrap();
        assert_eq!(ino(cache.dir(rel("abs/a/b")).unwrap()), ino(&b));
        assert_eq!(cache.dir(rel("abs/a/leaves")).unwrap_err().raw_os_error(), Some(libc::ELOOP));
        assert!(cache.dir(rel("abso")).is_err());
    }

    #[test]
    fn a_kept_handle_is_reused_until_forgotten() {
        let s = Scratch::new();
        for name in ["a", "a/x", "ab", "c"] {
            std::fs::create_dir(s.path(name)).unwrap();
        }
        let mut cache = DirCache::new(s.root(), 2);
        let ino = |cache: &mut DirCache, path: &str| {
            cache.dir(rel(path)).unwrap().stat_self().unwrap().ino
        };
        let first = ino(&mut cache, "a/x");
        std::fs::rename(s.path("a/x"), s.path("away")).unwrap();
        std::fs::create_dir(s.path("a/x")).unwrap();
        assert_eq!(ino(&mut cache, "a/x"), first);
        ino(&mut cache, "ab");
        cache.forget(rel("a"));
        assert_eq!(cache.open.len(), 1, "`ab` is not below `a`");
        assert_ne!(ino(&mut cache, "a/x"), first);

        ino(&mut cache, "ab");
        ino(&mut cache, "c");
        let kept: Vec<&[u8]> = cache.open.iter().map(|(path, _)| path.as_bytes()).collect();
        assert_eq!(kept, [&b"ab"[..], b"c"], "the one unused longest went");
        assert_eq!(cache.parent(rel("c/f")).unwrap().stat_self().unwrap().ino, {
            s.root().dir(rel("c")).unwrap().stat_self().unwrap().ino
        });
        cache.forget(RelPath::top());
        assert!(cache.open.is_empty());
    }
}
