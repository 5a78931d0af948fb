//! The source directory, and the guard against taking another one for it.
//!
//! Called by the watch back-ends and by `run::sync` before each transfer. A source is known by
//! device and inode of its directory: an unmounted disk leaves another directory at the path, a
//! replaced directory is another one, and a missing one is none. In each case the sync stops and
//! nothing is deleted. Not guaranteed: anything between the check and the transfer's own opening of
//! the path; the source is not held open meanwhile, so that it can be unmounted at any time.

use std::io;

use tree::dir::Dir;
use tree::meta::Meta;
use tree::path::{Name, RelPath};
use tree::root::Root;

use crate::aggregate::queue::parent;

/// Why a sync cannot go on, and what to do about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// What is wrong: a line without newline.
    pub text: String,
    /// What to do: a phrase.
    pub remedy: String,
}

/// A source directory with the identity it had at the start.
#[derive(Debug)]
pub struct GuardedSource {
    path: Vec<u8>,
    dev: u64,
    ino: u64,
}

impl GuardedSource {
    /// Opens the source and remembers which directory it is. Errors: it is missing or no directory.
    pub fn open(path: &[u8]) -> Result<GuardedSource, Refusal> {
        let mut source = GuardedSource { path: path.to_vec(), dev: 0, ino: 0 };
        let meta = source.open_dir().and_then(|(_, dir)| dir.stat_self());
        let meta = meta.map_err(|e| source.missing(&e))?;
        (source.dev, source.ino) = (meta.dev, meta.ino);
        Ok(source)
    }

    /// The path as the operator wrote it.
    pub fn path(&self) -> &[u8] {
        &self.path
    }

    /// Opens the source, refusing another directory at its path.
    pub fn root(&self) -> Result<Root, Refusal> {
        let (root, dir) = self.open_dir().map_err(|e| self.missing(&e))?;
        let meta = dir.stat_self().map_err(|e| self.missing(&e))?;
        self.same(meta.dev, meta.ino)?;
        Ok(root)
    }

    /// Refuses an identity that is not that of the source.
    pub fn same(&self, dev: u64, ino: u64) -> Result<(), Refusal> {
        if (dev, ino) == (self.dev, self.ino) {
            return Ok(());
        }
        let text = if dev == self.dev {
            format!("{} was replaced by another directory", self.shown())
        } else {
            format!(
                "{} is on another file system than at the start: unmounted, or mounted over",
                self.shown()
            )
        };
        let remedy =
            "nothing was deleted; bring the source back, or start anew if this is meant".into();
        Err(Refusal { text, remedy })
    }

    /// The refusal for a source that cannot be opened.
    pub fn missing(&self, e: &io::Error) -> Refusal {
        Refusal {
            text: format!("the source {} cannot be opened: {e}", self.shown()),
            remedy: "nothing was deleted; bring the source back and start anew".into(),
        }
    }

    /// The refusal for a source that left its path.
    pub fn moved(&self) -> Refusal {
        Refusal {
            text: self.moved_text(),
            remedy: "nothing was deleted; bring the source back and start anew".into(),
        }
    }

    /// The text of [`GuardedSource::moved`].
    pub fn moved_text(&self) -> String {
        format!("{} was removed, renamed or unmounted", self.shown())
    }

    /// The refusal for an empty source where the target is not.
    pub fn emptied(&self) -> Refusal {
        Refusal {
            text: format!(
                "{} is empty while the target is not, and deletions are on: an unmounted disk, or \
                 a wrong path?",
                self.shown()
            ),
            remedy: "nothing was deleted; give --allow-empty (allow_empty = true) if this is meant"
                .into(),
        }
    }

    /// Whether the source has no entries at all.
    pub fn is_empty(&self, root: &Root) -> io::Result<bool> {
        Ok(self.children(&self.dir(root, b"")?)?.is_empty())
    }

    /// Opens a directory of the source; `path` is relative, empty for the source itself. A path
    /// through a symbolic link is none: what is behind it has a path of its own, or is not the
    /// source's.
    pub fn dir(&self, root: &Root, path: &[u8]) -> io::Result<Dir> {
        root.dir_itself(rel(path)?)
    }

    /// Lists a directory: names, and whether each is a directory.
    pub fn children(&self, dir: &Dir) -> io::Result<Vec<(Vec<u8>, bool)>> {
        let mut all = Vec::new();
        for entry in dir.read_entries()? {
            all.push((entry.name.as_bytes().to_vec(), entry.is_dir(dir)));
        }
        Ok(all)
    }

    /// Lists a directory with what each name is; names that vanish meanwhile are left out.
    pub fn metas(&self, dir: &Dir) -> io::Result<Vec<(Vec<u8>, Meta)>> {
        let mut all = Vec::new();
        for entry in dir.read_entries()? {
            if let Some(meta) = dir.lstat(&entry.name)? {
                all.push((entry.name.as_bytes().to_vec(), meta));
            }
        }
        Ok(all)
    }

    /// Looks at one path of the source without following a link; `None` when it is not there.
    pub fn look(&self, root: &Root, path: &[u8]) -> io::Result<Option<Meta>> {
        if path.is_empty() {
            return self.dir(root, path)?.stat_self().map(Some);
        }
        let gone = |e: &io::Error| {
            matches!(e.raw_os_error(), Some(libc::ENOENT | libc::ENOTDIR | libc::ELOOP))
        };
        let dir = match self.dir(root, parent(path)) {
            Ok(dir) => dir,
            Err(e) if gone(&e) => return Ok(None),
            Err(e) => return Err(e),
        };
        match Name::new(path.rsplit(|&b| b == b'/').next().unwrap_or_default()) {
            Ok(name) => dir.lstat(name),
            Err(_) => Ok(None),
        }
    }

    fn open_dir(&self) -> io::Result<(Root, Dir)> {
        let root = Root::open(&self.path)?;
        let dir = root.dir(rel(b"")?)?;
        Ok((root, dir))
    }

    fn shown(&self) -> String {
        String::from_utf8_lossy(&self.path).into_owned()
    }
}

/// A path of the source as the tree wants it.
fn rel(path: &[u8]) -> io::Result<&RelPath> {
    let path = if path.is_empty() { b"." } else { path };
    RelPath::new(path).map_err(|e| io::Error::new(io::ErrorKind::InvalidInput, e.to_string()))
}

/// Refuses a local target that overlaps the source: the mirror would feed itself, or delete its own
/// source.
pub fn refuse_overlap(source: &[u8], target: &[u8]) -> Result<(), Refusal> {
    let canonical = |path: &[u8]| {
        use std::os::fd::AsFd;
        let anchor = tree::notify::fanotify::open_anchor(path).ok()?;
        tree::notify::fanotify::path_of(anchor.fd.as_fd()).ok()
    };
    let Some(from) = canonical(source) else { return Ok(()) };
    // A target that is still to be made is judged by the nearest directory that exists.
    let mut probe = target;
    let mut missing: &[u8] = b"";
    let to = loop {
        if let Some(found) = canonical(if probe.is_empty() { b"." } else { probe }) {
            break [found.as_slice(), missing].concat();
        }
        let Some(at) = probe.iter().rposition(|&b| b == b'/') else {
            probe = b"";
            continue;
        };
        if probe.is_empty() || at == 0 {
            return Ok(());
        }
        probe = probe.get(..at).unwrap_or_default();
        missing = target.get(at..).unwrap_or_default();
    };
    let inside = |inner: &[u8], outer: &[u8]| {
        inner.strip_prefix(outer).is_some_and(|r| r.is_empty() || r.first() == Some(&b'/'))
            || outer == b"/"
    };
    let shown = |path: &[u8]| String::from_utf8_lossy(path).into_owned();
    let text = match () {
        () if inside(&to, &from) => {
            format!("the target {} lies inside the source {}", shown(&to), shown(&from))
        }
        () if inside(&from, &to) => {
            format!("the source {} lies inside the target {}", shown(&from), shown(&to))
        }
        () => return Ok(()),
    };
    Err(Refusal { text, remedy: "choose directories that do not contain each other".into() })
}
