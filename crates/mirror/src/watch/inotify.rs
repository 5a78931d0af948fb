//! inotify records to events, and the watches that must exist for records to come.
//!
//! Called through [`super::Watcher`]. Rules:
//! 1. a new directory is watched first and listed then, so nothing in it is missed; what the
//!    listing finds is reported as if it had been made just now;
//! 2. a directory that leaves its name keeps its watches until its arrival is seen; one that does
//!    not arrive soon has left the source, and all watches below it are removed;
//! 3. a directory that arrives is looked up again by its new name, whatever is believed of it: if
//!    it is the one expected its watches are kept, else it is watched afresh;
//! 4. after an overflow the whole source is walked again, every directory on its present path is
//!    watched, watches of others are removed, and everything is in doubt.
//!
//! Not guaranteed: changes through names outside the source of files with several names, and
//! writing through memory maps, which the kernel does not report.

use std::io;
use std::sync::Arc;

use tree::notify::inotify::{Inotify, mask};
use tree::notify::mounts::inotify_watches_max;
use tree::root::Root;

use super::descriptors::{Descriptors, Watch};
use super::event::{Change, Event};
use super::{Pace, join};
use crate::plan::exclude::Exclude;
use crate::run::guard::{Refusal, Source};

/// A watch by one inotify watch for each directory.
pub struct InotifyWatch {
    kernel: Inotify,
    source: Arc<Source>,
    exclude: Arc<Exclude>,
    known: Descriptors,
    leaving: Vec<Leaving>,
    pace: Pace,
}

/// A directory that left its name and has not arrived yet.
struct Leaving {
    cookie: u32,
    watch: Watch,
    /// Readings it has survived.
    readings: u8,
}

/// A record that outlives the buffer.
struct Record {
    watch: Watch,
    mask: u32,
    cookie: u32,
    name: Vec<u8>,
}

/// The names in a directory, and whether each is a directory.
type Listing = Vec<(Vec<u8>, bool)>;

/// A directory to be watched: its path, and where that is.
struct Step {
    path: Vec<u8>,
    parent: Watch,
    name: Vec<u8>,
}

impl std::fmt::Debug for InotifyWatch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("InotifyWatch").field("known", &self.known.len()).finish_non_exhaustive()
    }
}

impl InotifyWatch {
    /// Opens an instance and watches every directory of the source. Errors: the source is not fit,
    /// or the system's limits on watches are too low.
    pub fn open(source: &Arc<Source>, exclude: &Arc<Exclude>) -> Result<InotifyWatch, Refusal> {
        let kernel = Inotify::open().map_err(|e| Refusal {
            text: format!("cannot use inotify: {e}"),
            remedy: "raise the limit: sysctl fs.inotify.max_user_instances=1024".into(),
        })?;
        let mut watch = InotifyWatch {
            kernel,
            source: Arc::clone(source),
            exclude: Arc::clone(exclude),
            known: Descriptors::default(),
            leaving: Vec::new(),
            pace: Pace::default(),
        };
        watch.watch_all()?;
        Ok(watch)
    }

    /// Directories watched.
    pub fn directories(&self) -> usize {
        self.known.len()
    }

    /// See [`super::Watcher::poll`].
    pub fn poll(&mut self, timeout_ms: u32, out: &mut Vec<Event>) {
        self.pace.pause();
        let wait_ms = if self.leaving.is_empty() { timeout_ms } else { ARRIVAL_MS.min(timeout_ms) };
        match self.kernel.wait(wait_ms) {
            Ok(true) => {}
            Ok(false) => return self.drop_left(0),
            Err(e) => return out.push(Event::Lost(format!("inotify failed: {e}"))),
        }
        let mut records = Vec::new();
        let mut writes_only = true;
        let read = self.kernel.read(&mut |r| {
            writes_only &= r.mask == mask::MODIFY;
            let (watch, mask, cookie) = (r.watch, r.mask, r.cookie);
            records.push(Record { watch, mask, cookie, name: r.name.to_vec() });
        });
        if let Err(e) = read {
            return out.push(Event::Lost(format!("inotify failed: {e}")));
        }
        self.pace.read(writes_only);
        if records.iter().any(|r| r.mask & mask::OVERFLOW != 0) {
            return self.overflow(out);
        }
        for record in &records {
            if let Err(refusal) = self.record(record, out) {
                return out.push(Event::Lost(refusal.text));
            }
        }
        self.drop_left(READINGS_MAX);
    }

    fn record(&mut self, r: &Record, out: &mut Vec<Event>) -> Result<(), Refusal> {
        let has = |bit| r.mask & bit != 0;
        if has(mask::UNMOUNT) {
            return Err(self.unmounted(r.watch));
        }
        if self.known.is_root(r.watch) && has(mask::DELETE_SELF | mask::MOVE_SELF | mask::IGNORED) {
            return Err(self.source.moved());
        }
        if has(mask::IGNORED) {
            self.known.remove(r.watch);
            return Ok(());
        }
        let Some(dir) = self.known.path(r.watch) else { return Ok(()) };
        if r.name.is_empty() {
            if has(mask::ATTRIB) && self.known.is_root(r.watch) {
                out.push(Event::Path(dir, Change::Attributes));
            }
            return Ok(());
        }
        let is_dir = has(mask::ISDIR);
        let path = join(&dir, &r.name);
        if self.exclude.hides(&path, is_dir) {
            return Ok(());
        }
        let change = match () {
            () if has(mask::CREATE) && is_dir => Change::MadeDir,
            () if has(mask::CREATE) => Change::Appeared,
            () if has(mask::MOVED_TO) && is_dir => Change::Subtree,
            () if has(mask::MOVED_TO | mask::CLOSE_WRITE) => Change::Settled,
            () if has(mask::DELETE | mask::MOVED_FROM) => Change::Gone { dir: is_dir },
            () if has(mask::MODIFY) => Change::Writing,
            () if has(mask::ATTRIB) => Change::Attributes,
            () => return Ok(()),
        };
        out.push(Event::Path(path.clone(), change));
        if !is_dir {
            return Ok(());
        }
        let step = Step { path, parent: r.watch, name: r.name.clone() };
        match change {
            Change::MadeDir => self.walk(step, None, Some(out)),
            Change::Subtree => {
                let at = self.leaving.iter().position(|l| l.cookie == r.cookie);
                let expected = at.map(|at| self.leaving.swap_remove(at).watch);
                self.walk(step, expected, None)
            }
            Change::Gone { .. } => {
                if has(mask::MOVED_FROM)
                    && let Some(watch) = self.known.child(r.watch, &r.name)
                {
                    self.known.detach(watch);
                    self.leaving.push(Leaving { cookie: r.cookie, watch, readings: 0 });
                }
                Ok(())
            }
            _ => Ok(()),
        }
    }

    /// Watches a directory and all below it, each before it is listed. With `found`, what the
    /// listings show is reported there. If the directory turns out to be the `expected` one, it
    /// has just moved and everything below it is watched already.
    fn walk(
        &mut self,
        top: Step,
        expected: Option<Watch>,
        mut found: Option<&mut Vec<Event>>,
    ) -> Result<(), Refusal> {
        let root = self.source.root()?;
        let mut steps = vec![top];
        while let Some(step) = steps.pop() {
            let Some((watch, children)) = self.watch_one(&root, &step, expected)? else {
                continue;
            };
            for (name, is_dir) in children {
                let path = join(&step.path, &name);
                if self.exclude.hides(&path, is_dir) {
                    continue;
                }
                if let Some(out) = found.as_deref_mut() {
                    let change = if is_dir { Change::MadeDir } else { Change::Settled };
                    out.push(Event::Path(path.clone(), change));
                }
                if is_dir {
                    steps.push(Step { path, parent: watch, name });
                }
            }
        }
        Ok(())
    }

    /// Watches and lists one directory; `None` when there is nothing to list: it is gone (which is
    /// an event of its own), closed to us (which the transfer reports), or the expected one.
    fn watch_one(
        &mut self,
        root: &Root,
        step: &Step,
        expected: Option<Watch>,
    ) -> Result<Option<(Watch, Listing)>, Refusal> {
        let Ok(dir) = self.source.dir(root, &step.path) else { return Ok(None) };
        let watch = match self.kernel.add(dir.fd()) {
            Ok(watch) => watch,
            Err(e) if is_watch_limit(&e) => return Err(self.out_of_watches()),
            Err(_) => return Ok(None),
        };
        if step.path.is_empty() {
            self.known.set_root(watch);
        } else if let Some(evicted) = self.known.place(watch, step.parent, &step.name) {
            for old in self.known.remove_all(evicted) {
                self.kernel.remove(old);
            }
        }
        if expected == Some(watch) {
            return Ok(None);
        }
        Ok(self.source.children(&dir).ok().map(|children| (watch, children)))
    }

    fn watch_all(&mut self) -> Result<(), Refusal> {
        let top = Step { path: Vec::new(), parent: -1, name: Vec::new() };
        self.walk(top, None, None)?;
        if self.known.is_empty() {
            return Err(self.source.moved());
        }
        Ok(())
    }

    /// Starts over after lost records. What is read away here happened before the walk, which sees
    /// it; what happens during the walk is read after it.
    fn overflow(&mut self, out: &mut Vec<Event>) {
        for _ in 0..DRAIN_READS {
            if !matches!(self.kernel.read(&mut |_| {}), Ok(1..)) {
                break;
            }
        }
        let old = std::mem::take(&mut self.known);
        self.leaving.clear();
        if let Err(refusal) = self.watch_all() {
            return out.push(Event::Lost(refusal.text));
        }
        for watch in old.watches().filter(|&w| !self.known.contains(w)) {
            self.kernel.remove(watch);
        }
        out.push(Event::Doubt);
    }

    /// Gives up directories that have not arrived within `readings` further readings.
    fn drop_left(&mut self, readings: u8) {
        let mut gone = Vec::new();
        self.leaving.retain_mut(|left| {
            let stays = left.readings < readings;
            left.readings = left.readings.saturating_add(1);
            if !stays {
                gone.push(left.watch);
            }
            stays
        });
        for watch in gone {
            // It may have been found on another path meanwhile, and then it is the source's.
            if self.known.path(watch).is_none() {
                for watch in self.known.remove_all(watch) {
                    self.kernel.remove(watch);
                }
            }
        }
    }

    fn unmounted(&self, watch: Watch) -> Refusal {
        let below = self.known.path(watch).unwrap_or_default();
        let whole = join(self.source.path(), &below);
        Refusal {
            text: format!("{} was unmounted", String::from_utf8_lossy(&whole)),
            remedy: "mount it again and start anew".into(),
        }
    }

    fn out_of_watches(&self) -> Refusal {
        let limit = inotify_watches_max().map_or_else(|| "unknown".into(), |n| n.to_string());
        Refusal {
            text: format!(
                "out of inotify watches after {} directories (limit of this user {limit}, shared \
                 with other programs); raise it: sysctl fs.inotify.max_user_watches=1048576",
                self.known.len()
            ),
            remedy: "sysctl fs.inotify.max_user_watches=1048576, or run as root for fanotify"
                .into(),
        }
    }
}

fn is_watch_limit(e: &io::Error) -> bool {
    matches!(e.raw_os_error(), Some(libc::ENOSPC | libc::ENOMEM))
}

/// How long a directory that left its name may take to arrive at another, in milliseconds: the
/// kernel queues both halves in one go.
const ARRIVAL_MS: u32 = 20;
/// The same in readings, for a stream of records that never pauses.
const READINGS_MAX: u8 = 4;
/// Buffers read away after an overflow at most: more than any queue limit in use holds.
const DRAIN_READS: usize = 10_000;
