//! Kernel events in, [`event::Event`] values out, whichever back-end makes them.
//!
//! Called by `run::sync`, which opens the watch before the first pass, so that nothing is missed
//! between the two, and polls it on a thread of its own. The choice: fanotify where privilege, file
//! system and mounts allow (no watch per directory, no gap in new directories), else inotify.

pub mod descriptors;
pub mod event;
pub mod fanotify;
pub mod inotify;

use std::sync::Arc;

use serde::Serialize;
use tree::notify::{fanotify as kernel_fanotify, mounts};

use crate::plan::exclude::Exclude;
use crate::run::guard::{GuardedSource, Refusal};
use event::Event;

/// Which back-end to use.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum BackendChoice {
    /// The best that works.
    #[default]
    Auto,
    /// fanotify, or none.
    Fanotify,
    /// inotify.
    Inotify,
}

/// An open watch.
#[derive(Debug)]
pub enum Watcher {
    /// One mark on the file system.
    Fanotify(fanotify::FanotifyWatch),
    /// One watch for each directory.
    Inotify(Box<inotify::InotifyWatch>),
}

/// An open watch with what there is to say about it.
#[derive(Debug)]
pub struct Opened {
    /// The watch.
    pub watcher: Watcher,
    /// `fanotify` or `inotify`.
    pub backend: &'static str,
    /// Why this one, and at what cost: a phrase.
    pub reason: String,
    /// What this watch cannot see, if it matters here: a line.
    pub warning: Option<String>,
}

impl Watcher {
    /// Waits up to `timeout_ms` milliseconds and appends what happened to `out`.
    pub fn poll(&mut self, timeout_ms: u32, out: &mut Vec<Event>) {
        match self {
            Watcher::Fanotify(watch) => watch.poll(timeout_ms, out),
            Watcher::Inotify(watch) => watch.poll(timeout_ms, out),
        }
    }

    /// Has moves told, where the kernel tells them.
    pub fn tell_moves(&mut self) {
        if let Watcher::Inotify(watch) = self {
            watch.tell_moves();
        }
    }

    /// Whether the kernel holds nothing that is still to be read.
    pub fn is_drained(&self) -> bool {
        match self {
            Watcher::Fanotify(watch) => watch.is_drained(),
            Watcher::Inotify(watch) => watch.is_drained(),
        }
    }
}

/// Opens a watch on `source`. Errors: the source is not fit, or no allowed back-end works; the
/// refusal says what to do.
pub fn open(
    source: &Arc<GuardedSource>,
    exclude: &Arc<Exclude>,
    choice: BackendChoice,
) -> Result<Opened, Refusal> {
    let anchor = kernel_fanotify::open_anchor(source.path()).map_err(|e| source.missing(&e))?;
    let kind =
        mounts::fs_kind(&anchor.fd).unwrap_or(mounts::FsKind { name: "unknown", remote: false });
    let warning = kind.remote.then(|| {
        format!(
            "the source is on {}: changes made by other machines cause no events here and are \
             only found by the first pass",
            kind.name
        )
    });
    let mut why_not = String::new();
    if choice != BackendChoice::Inotify {
        match fanotify::FanotifyWatch::open(source, exclude, &anchor) {
            Ok(watch) => {
                let reason = format!("one mark on the {} file system", kind.name);
                let watcher = Watcher::Fanotify(watch);
                return Ok(Opened { watcher, backend: "fanotify", reason, warning });
            }
            Err(reason) if choice == BackendChoice::Fanotify => {
                return Err(Refusal {
                    text: format!("fanotify cannot be used: {reason}"),
                    remedy: "leave the choice of the back-end to the program, or use inotify"
                        .into(),
                });
            }
            Err(reason) => why_not = format!("; not fanotify: {reason}"),
        }
    }
    let watch = inotify::InotifyWatch::open(source, exclude)?;
    let reason = format!("{} directories watched{why_not}", watch.directories());
    let watcher = Watcher::Inotify(Box::new(watch));
    Ok(Opened { watcher, backend: "inotify", reason, warning })
}

/// Slows the reading down while nothing but writing to open files happens: the kernel merges such
/// events while they wait, and none of them leads to a transfer before quiet or close.
#[derive(Debug, Default)]
pub(crate) struct Pace {
    writes_only: u32,
}

impl Pace {
    /// Notes one reading; `writes_only` if it held nothing but writes.
    pub(crate) fn read(&mut self, writes_only: bool) {
        self.writes_only = if writes_only { self.writes_only.saturating_add(1) } else { 0 };
    }

    /// Milliseconds to wait before the next reading.
    pub(crate) fn pause_ms(&self) -> u64 {
        match self.writes_only {
            0..=2 => 0,
            n => (1 << (n - 3).min(4)).min(PAUSE_MAX_MS),
        }
    }

    pub(crate) fn pause(&self) {
        if self.pause_ms() > 0 {
            std::thread::sleep(std::time::Duration::from_millis(self.pause_ms()));
        }
    }
}

/// The longest such pause; the close of a file is seen at most so much later.
const PAUSE_MAX_MS: u64 = 8;

/// Joins a directory's path and a name in it.
pub(crate) fn join(dir: &[u8], name: &[u8]) -> Vec<u8> {
    match (dir.is_empty(), name.is_empty()) {
        (true, _) => name.to_vec(),
        (_, true) => dir.to_vec(),
        _ => [dir, b"/", name].concat(),
    }
}
