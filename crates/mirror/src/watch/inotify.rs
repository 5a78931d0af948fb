//! inotify records to events, and the watches that must exist for records to come.
//!
//! Called through [`super::Watcher`]. Rules:
//! 1. a new directory is watched first and listed then, so nothing in it is missed; what the
//!    listing finds is reported as if it had been made just now;
//! 2. a directory that leaves its name keeps its watches until it is found at another; one that is
//!    not found soon has left the source, and all watches below it are removed;
//! 3. a directory that arrives is walked by its new name with all below it, whatever is believed of
//!    it. Records lag behind the tree: what was made in it just before it left was looked for by
//!    the old path, and not found or taken for what has come there since;
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
use crate::run::guard::{GuardedSource, Refusal};

/// A watch by one inotify watch for each directory.
pub struct InotifyWatch {
    kernel: Inotify,
    source: Arc<GuardedSource>,
    exclude: Arc<Exclude>,
    known: Descriptors,
    leaving: Vec<Leaving>,
    pace: Pace,
    tells_moves: bool,
    /// The last record was of a name that left, with this number.
    left: Option<u32>,
}

/// A directory that left its name and was not found at another yet.
struct Leaving {
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
    pub fn open(
        source: &Arc<GuardedSource>,
        exclude: &Arc<Exclude>,
    ) -> Result<InotifyWatch, Refusal> {
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
            tells_moves: false,
            left: None,
        };
        watch.watch_all()?;
        Ok(watch)
    }

    /// Directories watched.
    pub fn directories(&self) -> usize {
        self.known.len()
    }

    /// See [`super::Watcher::tell_moves`].
    pub fn tell_moves(&mut self) {
        self.tells_moves = true;
    }

    /// See [`super::Watcher::is_drained`].
    pub fn is_drained(&self) -> bool {
        matches!(self.kernel.wait(0), Ok(false))
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
            records.push(Record {
                watch: r.watch,
                mask: r.mask,
                cookie: r.cookie,
                name: r.name.to_vec(),
            });
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
        let left = self.left.take();
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
            () if has(mask::MOVED_TO) => Change::Arrived,
            () if has(mask::CLOSE_WRITE) => Change::Settled,
            () if has(mask::DELETE | mask::MOVED_FROM) => Change::Gone { dir: is_dir },
            () if has(mask::MODIFY) => Change::Writing,
            () if has(mask::ATTRIB) => Change::Attributes,
            () => return Ok(()),
        };
        let watched = is_dir.then(|| self.known.child(r.watch, &r.name)).flatten();
        let change = match change {
            // One that could not be opened may have become one that can.
            Change::Attributes if is_dir && watched.is_none() => Change::Subtree,
            other => other,
        };
        if self.tells_moves && has(mask::MOVED_TO) && left == Some(r.cookie) {
            out.push(Event::Moved);
        }
        self.left = has(mask::MOVED_FROM).then_some(r.cookie);
        out.push(Event::Path(path.clone(), change));
        let step = Step { path, parent: r.watch, name: r.name.clone() };
        match (change, watched) {
            (Change::MadeDir, _) => self.walk(step, Some(out)),
            (Change::Subtree, _) => self.walk(step, None),
            (Change::Gone { .. }, Some(watch)) if has(mask::MOVED_FROM) => {
                self.known.detach(watch);
                self.leaving.push(Leaving { watch, readings: 0 });
                Ok(())
            }
            _ => Ok(()),
        }
    }

    /// Watches a directory and all below it, each before it is listed. With `found`, what the
    /// listings show is reported there.
    fn walk(&mut self, top: Step, mut found: Option<&mut Vec<Event>>) -> Result<(), Refusal> {
        let root = self.source.root()?;
        let mut steps = vec![top];
        while let Some(step) = steps.pop() {
            let Some((watch, children)) = self.watch_one(&root, &step)? else {
                continue;
            };
            for (name, is_dir) in children {
                let path = join(&step.path, &name);
                if self.exclude.hides(&path, is_dir) {
                    continue;
                }
                if let Some(out) = found.as_deref_mut() {
                    let change = if is_dir { Change::MadeDir } else { Change::Arrived };
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
    /// an event of its own), or closed to us (which the transfer reports).
    fn watch_one(&mut self, root: &Root, step: &Step) -> Result<Option<(Watch, Listing)>, Refusal> {
        let Ok(dir) = self.source.dir(root, &step.path) else { return Ok(None) };
        let watch = match self.kernel.add(dir.fd()) {
            Ok(watch) => watch,
            Err(e) if is_watch_limit(&e) => return Err(self.out_of_watches()),
            Err(_) => return Ok(None),
        };
        if step.path.is_empty() {
            self.known.set_root(watch);
        } else if let Some(evicted) = self.known.place(watch, step.parent, &step.name) {
            self.leaving.push(Leaving { watch: evicted, readings: 0 });
        }
        Ok(self.source.children(&dir).ok().map(|children| (watch, children)))
    }

    fn watch_all(&mut self) -> Result<(), Refusal> {
        let top = Step { path: Vec::new(), parent: -1, name: Vec::new() };
        self.walk(top, None)?;
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
            // One that was found is the source's.
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

/// How long a directory that left its name may take to arrive at another, in milliseconds without
/// a record: the kernel queues both halves in one go.
const ARRIVAL_MS: u32 = 20;
/// The same in readings, for a stream of records that never pauses: more than a queue of the usual
/// length has, so that no record of a directory that does arrive is lost with its watch.
const READINGS_MAX: u8 = 80;
/// Buffers read away after an overflow at most: more than any queue limit in use holds.
const DRAIN_READS: usize = 10_000;
