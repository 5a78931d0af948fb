//! Removing a whole tree, through handles and without recursion on the stack.
//!
//! Called where no rule protects anything any more: what stands in the way of a backup or a partial
//! directory. Deletions that filters and limits govern are the generator's own loop. A level far
//! above the current one gives up its handle and is found again through `..`, checked against what
//! was seen on the way down, so neither depth nor the limit of open files ends the walk.
//!
//! Stops at the first error and leaves the rest. Never goes through a symlink or a mount point.

use std::io;

use rustix::io::Errno;

use crate::dir::Dir;
use crate::meta::Meta;
use crate::path::{Name, NameBuf};

/// Levels whose handles are held at once.
const HELD_MAX: usize = 64;

struct Level {
    /// Open while near the bottom.
    dir: Option<Dir>,
    meta: Meta,
    name: NameBuf,
    left: Vec<(NameBuf, bool)>,
}

/// Removes the directory `name` of `dir` with everything in it. Errors: EBUSY at a mount point.
pub fn remove_tree(dir: &Dir, name: &Name) -> io::Result<()> {
    let device = dir.stat_self()?.dev;
    let mut levels = vec![enter(dir, name, device)?];
    while let Some(level) = levels.last_mut() {
        let here = level.dir.clone().ok_or(Errno::STALE)?;
        match level.left.pop() {
            Some((item, true)) => {
                levels.push(enter(&here, &item, device)?);
                let far = levels.len().checked_sub(HELD_MAX + 1);
                if let Some(level) = far.and_then(|far| levels.get_mut(far)) {
                    level.dir = None;
                }
            }
            Some((item, false)) => gone(here.unlink(&item))?,
            None => {
                let done = level.name.clone();
                levels.pop();
                let Some(above) = levels.last_mut() else {
                    return gone(dir.rmdir(&done));
                };
                if above.dir.is_none() {
                    above.dir = Some(here.climb(&above.meta)?);
                }
                if let Some(above) = &above.dir {
                    gone(above.rmdir(&done))?;
                }
            }
        }
    }
    Ok(())
}

/// Opens a directory to be emptied and lists it; our own is made writable first.
fn enter(above: &Dir, name: &Name, device: u64) -> io::Result<Level> {
    let dir = above.open_dir(name)?;
    let meta = dir.stat_self()?;
    if meta.dev != device {
        return Err(Errno::BUSY.into());
    }
    let own = crate::owner::effective_uid();
    if own != 0 && own == meta.uid && meta.mode & 0o700 != 0o700 {
        dir.chmod_self(meta.mode | 0o700)?;
    }
    let left = dir.read_entries()?;
    let left = left.into_iter().map(|item| (item.name.clone(), item.is_dir(&dir))).collect();
    Ok(Level { dir: Some(dir), meta, name: name.to_owned(), left })
}

/// Already gone is as good.
fn gone(result: io::Result<()>) -> io::Result<()> {
    match result {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scratch::{Scratch, name};

    #[test]
    fn a_tree_goes_with_all_kinds_and_nothing_else() {
        let s = Scratch::new();
        let top = s.root().top().clone();
        std::fs::create_dir_all(s.path("t/a/b/c")).unwrap();
        std::fs::create_dir(s.path("kept")).unwrap();
        std::fs::write(s.path("kept/f"), b"x").unwrap();
        std::fs::write(s.path("t/a/f"), b"x").unwrap();
        std::os::unix::fs::symlink("../kept", s.path("t/link")).unwrap();
        top.open_dir(name("t")).unwrap().mknod(name("p"), 0o010_600, (0, 0)).unwrap();
        remove_tree(&top, name("t")).unwrap();
        assert!(!s.path("t").exists());
        assert!(s.path("kept/f").exists());
        std::os::unix::fs::symlink("kept", s.path("t")).unwrap();
        assert_eq!(remove_tree(&top, name("t")).unwrap_err().raw_os_error(), Some(libc::ENOTDIR));
        assert!(s.path("kept/f").exists());
    }

    #[test]
    fn depth_beyond_paths_and_handles_is_no_obstacle() {
        let s = Scratch::new();
        let top = s.root().top().clone();
        let mut dir = top.clone();
        // A path to the bottom would be far longer than the kernel takes.
        for _ in 0..1200 {
            dir.mkdir(name("deep"), 0o700).unwrap();
            dir.create_new(name("f"), 0o600).unwrap();
            dir = dir.open_dir(name("deep")).unwrap();
        }
        remove_tree(&top, name("deep")).unwrap();
        assert_eq!(top.lstat(name("deep")).unwrap(), None);
    }
}
