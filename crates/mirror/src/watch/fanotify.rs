//! fanotify records to events: handles become paths, and only paths below the source count.
//!
//! Called through [`super::Watcher`]. Steps for a record:
//! 1. the directory handle is resolved to its present path, or taken from a cache that is dropped
//!    whenever a directory is renamed;
//! 2. what is not below the source, or is excluded, is dropped: other programs' work on the same
//!    file system, and this program's own target there;
//! 3. the bits of the record become changes, a deletion first, since the kernel merges what happens
//!    to a name and its order is lost, between records too: an event joins an equal one that is
//!    still unread. Whoever sends a name looks at it again, so the order is not needed.
//!
//! The kernel's records lag behind the tree, so a path may be newer than its event. That is
//! harmless: the rename that made it newer is itself an event that follows.

use std::collections::HashMap;
use std::os::fd::AsFd;
use std::sync::Arc;

use tree::notify::fanotify::{
    Anchor, EventPlace, Fanotify, FanotifyRecord, mask, open_anchor, path_of, resolve,
};
use tree::notify::mounts;

use super::event::{Change, Event};
use super::{Pace, join};
use crate::plan::exclude::Exclude;
use crate::run::guard::GuardedSource;

/// A watch by one mark on the source's file system.
pub struct FanotifyWatch {
    kernel: Fanotify,
    view: View,
    pace: Pace,
}

/// What is needed to make events of records.
struct View {
    source: Arc<GuardedSource>,
    /// Absolute path of the source as the kernel prints it.
    root: Vec<u8>,
    exclude: Arc<Exclude>,
    /// Directory handles to absolute paths; `None` for those that cannot matter.
    paths: HashMap<Vec<u8>, Option<Vec<u8>>>,
}

impl std::fmt::Debug for FanotifyWatch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("FanotifyWatch").finish_non_exhaustive()
    }
}

impl FanotifyWatch {
    /// Opens the watch. Errors: why it cannot be used here, as a phrase.
    pub fn open(
        source: &Arc<GuardedSource>,
        exclude: &Arc<Exclude>,
        anchor: &Anchor,
    ) -> Result<FanotifyWatch, String> {
        let root = path_of(anchor.fd.as_fd()).map_err(|e| e.to_string())?;
        let nested = mounts::mounts_below(&root).map_err(|e| e.to_string())?;
        if let Some(point) = nested.first() {
            return Err(format!(
                "another file system is mounted below the source at {}",
                String::from_utf8_lossy(point)
            ));
        }
        let kernel = Fanotify::open(&anchor.fd).map_err(|e| match e.raw_os_error() {
            Some(libc::EPERM) => "it needs root".to_owned(),
            Some(libc::EOPNOTSUPP | libc::EXDEV | libc::ENODEV) => {
                "this file system does not support it".to_owned()
            }
            Some(libc::EINVAL | libc::ENOSYS) => "this kernel does not support it".to_owned(),
            _ => e.to_string(),
        })?;
        let view = View {
            source: Arc::clone(source),
            root,
            exclude: Arc::clone(exclude),
            paths: HashMap::new(),
        };
        Ok(FanotifyWatch { kernel, view, pace: Pace::default() })
    }

    /// See [`super::Watcher::is_drained`].
    pub fn is_drained(&self) -> bool {
        matches!(self.kernel.wait(0), Ok(false))
    }

    /// See [`super::Watcher::poll`].
    pub fn poll(&mut self, timeout_ms: u32, out: &mut Vec<Event>) {
        self.pace.pause();
        match self.kernel.wait(timeout_ms) {
            Ok(true) => {}
            Ok(false) => return,
            Err(e) => return out.push(Event::Lost(format!("fanotify failed: {e}"))),
        }
        // The source is opened anew each time: an open handle would keep it from being unmounted.
        let anchor = match open_anchor(self.view.source.path()) {
            Ok(anchor) => anchor,
            Err(e) => return out.push(Event::Lost(self.view.source.missing(&e).text)),
        };
        if let Err(refusal) = self.view.source.same(anchor.dev, anchor.ino) {
            return out.push(Event::Lost(refusal.text));
        }
        let mut writes_only = true;
        let view = &mut self.view;
        let read = self.kernel.read(&mut |record| {
            writes_only &= record.mask & !mask::ONDIR == mask::MODIFY;
            view.record(&anchor, record, out);
        });
        match read {
            Ok(_) => self.pace.read(writes_only),
            Err(e) => out.push(Event::Lost(format!("fanotify failed: {e}"))),
        }
    }
}

impl View {
    fn record(&mut self, anchor: &Anchor, record: FanotifyRecord<'_>, out: &mut Vec<Event>) {
        if record.mask & mask::OVERFLOW != 0 {
            self.paths.clear();
            return out.push(Event::Doubt);
        }
        let dir = record.mask & mask::ONDIR != 0;
        let old = record.place.and_then(|place| self.locate(anchor, place));
        let new = record.new_place.and_then(|place| self.locate(anchor, place));
        if dir && record.mask & mask::RENAME != 0 {
            self.paths.clear();
        }
        if let Some(path) = old {
            for change in changes(record.mask) {
                self.emit(&path, change, dir, out);
            }
        }
        if let Some(path) = new {
            let change = if dir { Change::Subtree } else { Change::Arrived };
            self.emit(&path, change, dir, out);
        }
    }

    /// Emits a change of an absolute path if it is the source's, relative to it.
    fn emit(&self, path: &[u8], change: Change, dir: bool, out: &mut Vec<Event>) {
        let Some(rest) = path.strip_prefix(self.root.as_slice()) else {
            if matches!(change, Change::Gone { .. })
                && self.root.strip_prefix(path).is_some_and(|r| r.first() == Some(&b'/'))
            {
                out.push(Event::Lost(self.source.moved_text()));
            }
            return;
        };
        let rest = match (rest, self.root.as_slice()) {
            ([], _) => {
                match change {
                    Change::Gone { .. } => out.push(Event::Lost(self.source.moved_text())),
                    _ => out.push(Event::Path(Vec::new(), Change::Attributes)),
                }
                return;
            }
            ([b'/', rest @ ..], _) => rest,
            (rest, b"/") => rest,
            _ => return,
        };
        if !self.exclude.hides(rest, dir) {
            out.push(Event::Path(rest.to_vec(), change));
        }
    }

    /// The absolute path of a place; `None` when it is gone or cannot concern the source.
    fn locate(&mut self, anchor: &Anchor, place: EventPlace<'_>) -> Option<Vec<u8>> {
        if !self.paths.contains_key(place.handle) {
            // A handle that cannot be opened for another reason is one of a directory that is
            // gone in another way: its own deletion is an event too.
            let path = resolve(anchor.fd.as_fd(), place.handle).ok().flatten();
            let path = path.filter(|p| p.starts_with(&self.root) || self.root.starts_with(p));
            if self.paths.len() >= PATHS_MAX {
                self.paths.clear();
            }
            self.paths.insert(place.handle.to_vec(), path);
        }
        let dir = self.paths.get(place.handle)?.as_ref()?;
        let name = if place.name == b"." { b"" } else { place.name };
        Some(match dir.as_slice() {
            b"/" => [b"/", name].concat(),
            dir => join(dir, name),
        })
    }
}

/// The changes that a record's bits stand for at its (old) place, deletion first.
fn changes(bits: u64) -> Vec<Change> {
    let has = |bit| bits & bit != 0;
    let dir = has(mask::ONDIR);
    let gone = has(mask::DELETE | mask::RENAME);
    let mut all = Vec::new();
    if gone {
        all.push(Change::Gone { dir });
    }
    // After a deletion only a creation can make the name exist again.
    let exists = !gone || has(mask::CREATE);
    match () {
        () if !exists => {}
        () if has(mask::CREATE) && dir => all.push(Change::MadeDir),
        () if has(mask::CREATE) && has(mask::CLOSE_WRITE) => all.push(Change::Arrived),
        () if has(mask::CLOSE_WRITE) => all.push(Change::Settled),
        () if has(mask::CREATE) => all.push(Change::Appeared),
        () if has(mask::MODIFY) => all.push(Change::Writing),
        () if has(mask::ATTRIB) => all.push(Change::Attributes),
        () => {}
    }
    all
}

/// Directories whose paths are kept between records; some 2 MB.
const PATHS_MAX: usize = 8192;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn merged_bits_become_changes_that_lose_nothing() {
        // A failure would leave out a deletion or a creation that the kernel merged.
        use mask::{ATTRIB, CLOSE_WRITE, CREATE, DELETE, MODIFY, ONDIR, RENAME};
        let rows: &[(u64, &[Change])] = &[
            (CREATE | MODIFY | CLOSE_WRITE, &[Change::Arrived]),
            (MODIFY | CLOSE_WRITE, &[Change::Settled]),
            (CREATE | MODIFY, &[Change::Appeared]),
            (MODIFY, &[Change::Writing]),
            (MODIFY | ATTRIB, &[Change::Writing]),
            (ATTRIB, &[Change::Attributes]),
            (CREATE | ONDIR, &[Change::MadeDir]),
            (DELETE | ONDIR, &[Change::Gone { dir: true }]),
            (CREATE | DELETE | ONDIR, &[Change::Gone { dir: true }, Change::MadeDir]),
            (
                CREATE | MODIFY | CLOSE_WRITE | DELETE,
                &[Change::Gone { dir: false }, Change::Arrived],
            ),
            (MODIFY | CLOSE_WRITE | DELETE, &[Change::Gone { dir: false }]),
            (RENAME | ONDIR, &[Change::Gone { dir: true }]),
        ];
        for (bits, want) in rows {
            assert_eq!(changes(*bits), *want, "{bits:#x}");
        }
    }
}
