//! A directory for one test, removed afterwards.

use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use crate::path::{Name, RelPath};
use crate::root::Root;

static NEXT: AtomicU32 = AtomicU32::new(0);

/// The directory.
pub(crate) struct Scratch(PathBuf);

impl Scratch {
    pub(crate) fn new() -> Scratch {
        let own = format!("tree-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let path = std::env::temp_dir().canonicalize().unwrap().join(own);
        std::fs::create_dir(&path).unwrap();
        Scratch(path)
    }

    pub(crate) fn path(&self, below: &str) -> PathBuf {
        self.0.join(below)
    }

    pub(crate) fn root(&self) -> Root {
        Root::open(bytes(&self.0)).unwrap()
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // By our own means, since the standard library's recursion runs out on deep trees.
        let at = Root::open(bytes(self.0.parent().unwrap())).unwrap();
        let own = Name::new(self.0.file_name().unwrap().as_bytes()).unwrap();
        let removed = crate::remove::remove_tree(at.top(), own);
        if !std::thread::panicking() {
            removed.unwrap();
        }
    }
}

pub(crate) fn bytes(path: &Path) -> &[u8] {
    path.as_os_str().as_bytes()
}

pub(crate) fn name(text: &str) -> &Name {
    Name::new(text.as_bytes()).unwrap()
}

pub(crate) fn rel(text: &str) -> &RelPath {
    RelPath::new(text.as_bytes()).unwrap()
}
