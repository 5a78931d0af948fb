//! Directory handles by path, so that the files of one directory resolve it once.

use std::io;

use crate::dir::Dir;
use crate::path::{RelPath, RelPathBuf};
use crate::root::Root;

/// A small store of open directories, the most recently used last.
pub struct DirCache {
    root: Root,
    open: Vec<(RelPathBuf, Dir)>,
    max: usize,
}

impl DirCache {
    /// Keeps at most `max` directories open.
    pub fn new(root: Root, max: usize) -> DirCache {
        DirCache { root, open: Vec::new(), max: max.max(1) }
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
                let dir = self.root.dir(path)?;
                if self.open.len() >= self.max {
                    self.open.remove(0);
                }
                self.open.push((path.to_owned(), dir));
            }
        }
        self.open.last().map(|(_, dir)| dir).ok_or_else(|| io::Error::from_raw_os_error(libc::ENOENT))
    }

    /// The directory that holds `path`.
    pub fn parent(&mut self, path: &RelPath) -> io::Result<&Dir> {
        self.dir(path.parent())
    }

    /// Closes the handle of a directory that is gone or replaced, and those of all below it.
    pub fn forget(&mut self, path: &RelPath) {
        let prefix = path.as_bytes();
        self.open.retain(|(known, _)| {
            let known = known.as_bytes();
            !(known == prefix
                || known.starts_with(prefix) && known.get(prefix.len()) == Some(&b'/'))
        });
    }
}
