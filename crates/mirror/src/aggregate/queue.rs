//! The dirty paths of one sync, in path order, within a bounded memory.
//!
//! Filled by the watch thread, emptied by the transfer thread, both through one lock held by
//! `run::sync`. Steps:
//! 1. [`Queue::add`] merges an event into the entry of its path; a directory that is to be sent or
//!    deleted whole swallows the entries below it;
//! 2. [`Queue::take`] hands out what is ready and keeps it as *flying*;
//! 3. [`Queue::landed`], [`Queue::failed`] or [`Queue::part_failed`] ends the flight; what failed
//!    comes back under what has arrived meanwhile;
//! 4. what landed is remembered until [`Queue::caught_up`]: a change that is read after the landing
//!    may have happened before it, and the transfer may have seen it or not;
//! 5. beyond the caps the directories with the most entries are taken whole instead of by entry,
//!    and in the end the whole source.
//!
//! Not guaranteed: order between paths; a batch is made in path order, not in order of events.

use std::collections::{BTreeMap, HashMap};

use super::combine::{Dirty, Handed, Kind, Millis, Wait, combine, put_back};
use crate::watch::event::Change;

/// What there is to do now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Due {
    /// The whole source must be compared.
    Full,
    /// Some paths can be sent.
    Paths,
    /// Nothing before this time.
    At(Millis),
    /// Nothing.
    Nothing,
}

/// What may be held.
#[derive(Clone, Copy, Debug)]
pub struct Caps {
    /// Entries.
    pub entries: usize,
    /// Bytes of their names.
    pub bytes: usize,
}

impl Default for Caps {
    fn default() -> Self {
        Caps { entries: ENTRIES_MAX, bytes: NAME_BYTES_MAX }
    }
}

/// The dirty paths of one sync.
#[derive(Debug)]
pub struct Queue {
    pending: BTreeMap<Vec<u8>, Dirty>,
    flying: BTreeMap<Vec<u8>, Dirty>,
    doubt: Option<Millis>,
    flying_doubt: Option<Millis>,
    /// A comparison is under way that covers less than everything.
    comparing: bool,
    landed: Landed,
    /// Paths that have waited for a look since they were last handed out; may hold stale ones.
    look: Vec<Vec<u8>>,
    /// Entries of `pending` that are ready.
    ready: usize,
    /// Entries of `pending` that are subtrees.
    subtrees: usize,
    /// Bytes of the names in `pending`.
    bytes: usize,
    /// No waiting entry is due before this time.
    alarm: Option<Millis>,
    quiet: Millis,
    caps: Caps,
}

/// What has landed, and the watch may not have caught up with.
#[derive(Debug, Default)]
struct Landed {
    /// Names that were deleted or sent whole, and files in the place of directories.
    paths: BTreeMap<Vec<u8>, Dirty>,
    /// Everything was sent, or there are too many paths to remember.
    everything: bool,
    /// How many flights have landed.
    flights: u64,
}

impl Queue {
    /// Makes an empty queue; `quiet` is in milliseconds.
    pub fn new(quiet: Millis, caps: Caps) -> Queue {
        Queue {
            pending: BTreeMap::new(),
            flying: BTreeMap::new(),
            doubt: None,
            flying_doubt: None,
            comparing: false,
            landed: Landed::default(),
            look: Vec::new(),
            ready: 0,
            subtrees: 0,
            bytes: 0,
            alarm: None,
            quiet,
            caps,
        }
    }

    /// Notes a change of `path`, which is relative to the source and empty for the source itself.
    pub fn add(&mut self, path: &[u8], change: Change, now: Millis) {
        if self.doubt.is_some() {
            return;
        }
        if path.is_empty() && matches!(change, Change::Subtree | Change::Gone { .. }) {
            return self.doubt(now);
        }
        if self.swallowed(path) {
            return;
        }
        let given = self.given(path);
        let dirty = combine(self.pending.get(path), given, change, now, self.quiet);
        self.put(path.to_vec(), dirty);
        self.shrink(now);
    }

    /// Notes that everything below the source must be compared; what waits is part of that.
    pub fn doubt(&mut self, now: Millis) {
        let waiting = self.pending.values().map(|d| d.since).min();
        self.doubt = [Some(now), self.doubt, waiting].into_iter().flatten().min();
        self.pending.clear();
        self.look.clear();
        (self.ready, self.subtrees, self.bytes, self.alarm) = (0, 0, 0, None);
    }

    /// Whether there may be new files to look at.
    pub fn looks_wanted(&self) -> bool {
        !self.look.is_empty()
    }

    /// Hands out the new files that somebody has to look at, each once.
    pub fn to_look(&mut self) -> Vec<Vec<u8>> {
        let mut paths = std::mem::take(&mut self.look);
        paths.retain(|p| self.pending.get(p).is_some_and(|d| d.wait == Wait::Look));
        paths
    }

    /// Answers a look: a file that may be about to be written waits for its close or for quiet.
    pub fn looked(&mut self, path: &[u8], may_be_written: bool) {
        let Some(old) = self.pending.get(path).filter(|d| d.wait == Wait::Look) else { return };
        let wait = match may_be_written {
            true => Wait::Quiet(old.since.saturating_add(self.quiet)),
            false => Wait::Ready,
        };
        let dirty = Dirty { wait, ..*old };
        self.put(path.to_vec(), dirty);
    }

    /// Says what is due, and makes ready what has waited long enough.
    pub fn due(&mut self, now: Millis) -> Due {
        if self.alarm.is_some_and(|at| at <= now) {
            self.ring(now);
        }
        match (self.doubt.is_some(), self.ready > 0, self.alarm) {
            (true, _, _) => Due::Full,
            (_, true, _) => Due::Paths,
            (_, _, Some(at)) => Due::At(at),
            _ => Due::Nothing,
        }
    }

    /// Starts the comparison of the whole source.
    pub fn take_full(&mut self) {
        self.flying_doubt = self.doubt.take();
    }

    /// Starts a comparison that leaves something out: it settles nothing, but may have seen what is
    /// read of any path while it goes on.
    pub fn take_part(&mut self) {
        self.comparing = true;
    }

    /// Starts the flight of up to `max` ready paths and returns them in path order. Those whose
    /// content has to be compared go apart from those whose time tells enough.
    pub fn take(&mut self, max: usize) -> Vec<(Vec<u8>, Dirty)> {
        let ready = |d: &&Dirty| d.wait == Wait::Ready;
        let oldest = self.pending.values().filter(ready).min_by_key(|d| (d.since, !d.anew));
        let anew = oldest.is_some_and(|d| d.anew);
        let names: Vec<Vec<u8>> = self
            .pending
            .iter()
            .filter(|(_, d)| d.wait == Wait::Ready && d.anew == anew)
            .take(max)
            .map(|(p, _)| p.clone())
            .collect();
        let mut taken = Vec::with_capacity(names.len());
        for path in names {
            if let Some(dirty) = self.remove(&path) {
                self.flying.insert(path.clone(), dirty);
                taken.push((path, dirty));
            }
        }
        taken
    }

    /// Ends a flight that arrived.
    pub fn landed(&mut self) {
        self.landed.flights += 1;
        let compared = std::mem::take(&mut self.comparing);
        self.landed.everything |= self.flying_doubt.take().is_some() || compared;
        for (path, dirty) in std::mem::take(&mut self.flying) {
            if dirty.left_dir || dirty.kind != Kind::Entry {
                self.landed.paths.insert(path, dirty);
            }
        }
        if self.landed.paths.len() > self.caps.entries {
            self.landed.paths.clear();
            self.landed.everything = true;
        }
    }

    /// The number of the flight that landed last, if the watch has to catch up with it.
    pub fn to_catch_up(&self) -> Option<u64> {
        let waits = self.landed.everything || !self.landed.paths.is_empty();
        waits.then_some(self.landed.flights)
    }

    /// Notes that every change was added that happened before that flight landed.
    pub fn caught_up(&mut self, flight: u64) {
        // What an older flight left is not known apart; a later call will do.
        if flight == self.landed.flights {
            self.landed.paths.clear();
            self.landed.everything = false;
        }
    }

    /// Ends a flight that failed as a whole: all of it is owed again, at once.
    pub fn failed(&mut self) {
        if std::mem::take(&mut self.comparing) {
            // What was compared before the failure may have been seen all the same.
            self.landed.flights += 1;
            self.landed.everything = true;
        }
        if let Some(since) = self.flying_doubt.take() {
            self.doubt(since);
        }
        for (path, dirty) in std::mem::take(&mut self.flying) {
            self.restore(path, &dirty, Wait::Ready);
        }
    }

    /// Ends a flight in which only `paths` failed; they are due again at `later` of their tries.
    ///
    /// Each path comes with whether it is a directory now. One that was not asked for by itself (it
    /// was below a subtree) is owed by its own name, a directory with everything in it.
    pub fn part_failed(
        &mut self,
        paths: &[(Vec<u8>, bool)],
        now: Millis,
        later: &mut dyn FnMut(u8) -> Millis,
    ) {
        let flying = self.flying.clone();
        self.landed();
        for (path, is_dir) in paths {
            let dirty = flying.get(path).copied().unwrap_or(Dirty {
                kind: if *is_dir { Kind::Subtree } else { Kind::Entry },
                left_dir: false,
                anew: false,
                wait: Wait::Ready,
                since: now,
                tries: 0,
            });
            let at = now.saturating_add(later(dirty.tries));
            self.restore(path.clone(), &dirty, Wait::Later(at));
        }
        self.shrink(now);
    }

    /// Paths that are owed, those under way included; a comparison of everything counts as one.
    pub fn len(&self) -> usize {
        self.pending.len()
            + self.flying.len()
            + usize::from(self.doubt.is_some())
            + usize::from(self.flying_doubt.is_some())
    }

    /// Whether nothing is owed.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// When the oldest change that is still owed was seen.
    pub fn oldest(&self) -> Option<Millis> {
        let paths = self.pending.values().chain(self.flying.values()).map(|d| d.since);
        paths.chain(self.doubt).chain(self.flying_doubt).min()
    }

    fn restore(&mut self, path: Vec<u8>, failed: &Dirty, wait: Wait) {
        if self.doubt.is_some() {
            return;
        }
        if self.swallowed(&path) {
            return;
        }
        let dirty = put_back(self.pending.get(&path), failed, wait);
        self.put(path, dirty);
    }

    /// Whether a waiting subtree covers `path`.
    fn swallowed(&self, path: &[u8]) -> bool {
        let whole = |d: &Dirty| d.kind == Kind::Subtree;
        self.subtrees > 0 && above(path).any(|p| self.pending.get(p).is_some_and(whole))
    }

    /// What transfers were given of `path`, as far as they may not have seen what is read of it now.
    fn given(&self, path: &[u8]) -> Handed {
        // A name that was to be deleted and is there again is sent whole.
        let whole = |d: &Dirty| d.kind != Kind::Entry;
        let given = [&self.flying, &self.landed.paths];
        Handed {
            left_dir: given.iter().any(|all| all.get(path).is_some_and(|d| d.left_dir)),
            whole: self.flying_doubt.is_some()
                || self.comparing
                || self.landed.everything
                || given.iter().filter(|all| !all.is_empty()).any(|all| {
                    all.get(path).is_some_and(whole)
                        || above(path).any(|p| all.get(p).is_some_and(whole))
                }),
        }
    }

    /// Sets the entry of `path`; a directory taken whole swallows what waits below it.
    fn put(&mut self, path: Vec<u8>, mut dirty: Dirty) {
        self.remove(&path);
        let whole = dirty.kind == Kind::Subtree || dirty.kind == Kind::Gone && dirty.left_dir;
        if whole {
            for below in self.below(&path) {
                if let Some(old) = self.remove(&below) {
                    dirty.since = dirty.since.min(old.since);
                }
            }
        }
        self.ready += usize::from(dirty.wait == Wait::Ready);
        self.subtrees += usize::from(dirty.kind == Kind::Subtree);
        self.bytes += path.len();
        match dirty.wait {
            Wait::Look => self.look.push(path.clone()),
            Wait::Quiet(at) | Wait::Later(at) => {
                self.alarm = Some(self.alarm.map_or(at, |alarm| alarm.min(at)));
            }
            Wait::Ready => {}
        }
        self.pending.insert(path, dirty);
    }

    fn remove(&mut self, path: &[u8]) -> Option<Dirty> {
        let dirty = self.pending.remove(path)?;
        self.ready -= usize::from(dirty.wait == Wait::Ready);
        self.subtrees -= usize::from(dirty.kind == Kind::Subtree);
        self.bytes -= path.len();
        Some(dirty)
    }

    fn below(&self, path: &[u8]) -> Vec<Vec<u8>> {
        let (mut from, mut to) = (path.to_vec(), path.to_vec());
        from.push(b'/');
        to.push(b'/' + 1);
        self.pending.range(from..to).map(|(p, _)| p.clone()).collect()
    }

    fn ring(&mut self, now: Millis) {
        let mut next: Option<Millis> = None;
        for dirty in self.pending.values_mut() {
            match dirty.wait {
                Wait::Quiet(at) | Wait::Later(at) if at <= now => {
                    dirty.wait = Wait::Ready;
                    self.ready += 1;
                }
                Wait::Quiet(at) | Wait::Later(at) => {
                    next = Some(next.map_or(at, |n| n.min(at)));
                }
                Wait::Ready | Wait::Look => {}
            }
        }
        self.alarm = next;
    }

    /// Keeps the caps: takes the fullest directories whole until half of the room is free.
    fn shrink(&mut self, now: Millis) {
        if self.pending.len() <= self.caps.entries && self.bytes <= self.caps.bytes {
            return;
        }
        while self.pending.len() > self.caps.entries / 2 || self.bytes > self.caps.bytes / 2 {
            let mut counts: HashMap<Vec<u8>, usize> = HashMap::new();
            for path in self.pending.keys() {
                *counts.entry(parent(path).to_vec()).or_default() += 1;
            }
            let mut fullest: Vec<(usize, Vec<u8>)> =
                counts.into_iter().map(|(path, n)| (n, path)).collect();
            fullest.sort_unstable_by(|a, b| b.cmp(a));
            for (_, dir) in fullest {
                if dir.is_empty() {
                    return self.doubt(now);
                }
                if !self.swallowed(&dir) {
                    let old = self.pending.get(&dir);
                    let dirty = combine(old, self.given(&dir), Change::Subtree, now, 0);
                    // To compare so much by content would keep everything else waiting.
                    self.put(dir, Dirty { anew: false, ..dirty });
                }
                if self.pending.len() <= self.caps.entries / 2 && self.bytes <= self.caps.bytes / 2
                {
                    break;
                }
            }
        }
    }
}

/// The directory part of a path relative to the source; empty at its top.
pub fn parent(path: &[u8]) -> &[u8] {
    match path.iter().rposition(|&b| b == b'/') {
        Some(at) => path.get(..at).unwrap_or_default(),
        None => b"",
    }
}

/// The directories above a path, the source itself left out, the nearest first.
fn above(path: &[u8]) -> impl Iterator<Item = &[u8]> {
    std::iter::successors(Some(parent(path)), |p| Some(parent(p))).take_while(|p| !p.is_empty())
}

/// Entries kept by name: with flying ones some 15 MB at most; beyond, directories are taken whole.
const ENTRIES_MAX: usize = 50_000;
/// Bytes of names kept; beyond, directories are taken whole.
const NAME_BYTES_MAX: usize = 6 << 20;

#[cfg(test)]
#[path = "queue_tests.rs"]
mod tests;
