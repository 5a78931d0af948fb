//! What a sync of one's own has to do: its events, in order, with what waits for what.
//!
//! Filled and emptied by [`super::machine`]; pure, and given the time. An event waits until its delay
//! is over and until no older one concerns it: the same path, or a directory above or below. What an
//! event replaces is what it makes pointless: a deletion whatever waited for that path, a file that
//! is made anew its deletion, a further change an equal one.

use std::collections::BTreeSet;

/// What happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EventKind {
    /// Owner, mode, times.
    Attrib,
    /// A name was made.
    Create,
    /// A file was written and closed.
    Modify,
    /// A name is gone.
    Delete,
    /// A name became another.
    Move,
    /// The start.
    Init,
    /// Made by the user's own functions: waits for all before it, all after it wait.
    Blanket,
    /// Everything is to be compared: the same.
    Full,
}

impl EventKind {
    /// The name that scripts know.
    pub fn name(self) -> &'static str {
        match self {
            EventKind::Attrib => "Attrib",
            EventKind::Create => "Create",
            EventKind::Modify => "Modify",
            EventKind::Delete => "Delete",
            EventKind::Move => "Move",
            EventKind::Init => "Init",
            EventKind::Blanket => "Blanket",
            EventKind::Full => "Full",
        }
    }

    fn is_barrier(self) -> bool {
        matches!(self, EventKind::Init | EventKind::Blanket | EventKind::Full)
    }
}

/// One event that somebody has to act on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Delay {
    /// Its number.
    pub id: u64,
    /// What happened.
    pub kind: EventKind,
    /// Where, relative to the source.
    pub path: Vec<u8>,
    /// The new name of a move.
    pub to: Option<Vec<u8>>,
    /// It is or was a directory.
    pub dir: bool,
    /// When it may be acted on.
    pub due: u64,
    /// A process works on it.
    pub active: bool,
}

/// The events of one sync, oldest first.
#[derive(Debug, Default)]
pub struct Delays {
    all: Vec<Delay>,
    last: u64,
    /// A deletion that may be the first half of a move: nothing else was known of that path.
    alone: Option<u64>,
}

impl Delays {
    /// Events that are not done.
    pub fn len(&self) -> usize {
        self.all.len()
    }

    /// Whether an event of this kind waits.
    pub fn waits(&self, kind: EventKind) -> bool {
        self.all.iter().any(|delay| delay.kind == kind && !delay.active)
    }

    /// The number of the newest.
    pub fn last(&self) -> u64 {
        self.last
    }

    /// Whether nothing is to be done.
    pub fn is_empty(&self) -> bool {
        self.all.is_empty()
    }

    /// One of them.
    pub fn get(&self, id: u64) -> Option<&Delay> {
        let at = self.all.binary_search_by_key(&id, |delay| delay.id).ok()?;
        self.all.get(at)
    }

    /// One of them, to be changed.
    pub fn get_mut(&mut self, id: u64) -> Option<&mut Delay> {
        let at = self.all.binary_search_by_key(&id, |delay| delay.id).ok()?;
        self.all.get_mut(at)
    }

    /// Adds an event; its number.
    pub fn add(&mut self, kind: EventKind, path: &[u8], dir: bool, due: u64) -> u64 {
        if !kind.is_barrier() && self.is_told(kind, path, dir) {
            self.alone = None;
            return self.last;
        }
        let before = self.all.len();
        if kind == EventKind::Delete {
            // What waited for this name, or for one below it, has nothing to work on any more.
            self.all.retain(|old| {
                let stays = old.active || old.to.is_some() || old.kind == EventKind::Delete;
                stays || old.kind.is_barrier() || !within(&old.path, path)
            });
        }
        let replaced = before != self.all.len();
        if kind == EventKind::Create && !dir {
            self.all.retain(|old| {
                old.active || old.kind != EventKind::Delete || old.dir || old.path != path
            });
        }
        self.last += 1;
        let id = self.last;
        let alone = kind == EventKind::Delete && !replaced && !self.concerns(path);
        self.alone = alone.then_some(id);
        self.all.push(Delay { id, kind, path: path.to_vec(), to: None, dir, due, active: false });
        id
    }

    /// Makes a move of the last event, a deletion, and the name that appeared with it. False when
    /// they stay what they are: somebody waits for one of the names.
    pub fn pair(&mut self, to: &[u8]) -> bool {
        let Some(id) = self.alone.take() else { return false };
        let other = |old: &&Delay| old.id != id && touches(old, to);
        if self.all.iter().any(|old| other(&old)) {
            return false;
        }
        match self.get_mut(id).filter(|old| !old.active) {
            Some(delay) => {
                (delay.kind, delay.to) = (EventKind::Move, Some(to.to_vec()));
                true
            }
            None => false,
        }
    }

    /// Whether the newest event that waits for this path says it already.
    fn is_told(&self, kind: EventKind, path: &[u8], dir: bool) -> bool {
        let newest = self.all.iter().rev().find(|old| old.kind.is_barrier() || touches(old, path));
        let Some(old) = newest.filter(|old| !old.active && old.path == path && old.dir == dir)
        else {
            return false;
        };
        let covers = matches!(old.kind, EventKind::Create | EventKind::Modify);
        old.kind == kind || (kind == EventKind::Attrib && covers)
    }

    fn concerns(&self, path: &[u8]) -> bool {
        self.all.iter().any(|old| touches(old, path))
    }

    /// Ends events.
    pub fn done(&mut self, ids: &[u64]) {
        self.all.retain(|delay| !ids.contains(&delay.id));
    }

    /// Gives events back, to be acted on at `due`.
    pub fn again(&mut self, ids: &[u64], due: u64) {
        for delay in self.all.iter_mut().filter(|delay| ids.contains(&delay.id)) {
            (delay.active, delay.due) = (false, due);
        }
    }

    /// Forgets all that no process works on.
    pub fn forget(&mut self) {
        self.all.retain(|delay| delay.active);
        self.alone = None;
    }

    /// The events that nothing older stands in the way of and no process works on, oldest first.
    pub fn open(&self) -> Vec<u64> {
        let mut found = Vec::new();
        self.scan(|id| {
            found.push(id);
            true
        });
        found
    }

    /// The first of them.
    pub fn first_open(&self) -> Option<u64> {
        let mut found = None;
        self.scan(|id| {
            found = Some(id);
            false
        });
        found
    }

    /// Whether an event is among them.
    pub fn is_open(&self, wanted: u64) -> bool {
        let mut found = false;
        self.scan(|id| {
            found |= id == wanted;
            id < wanted
        });
        found
    }

    /// Hands out those events until nobody wants more.
    fn scan(&self, mut more: impl FnMut(u64) -> bool) {
        let mut seen: BTreeSet<&[u8]> = BTreeSet::new();
        let mut barrier = false;
        for delay in &self.all {
            let paths = || [Some(delay.path.as_slice()), delay.to.as_deref()].into_iter().flatten();
            let blocked = match delay.kind.is_barrier() {
                true => barrier || !seen.is_empty(),
                false => barrier || paths().any(|path| in_the_way(&seen, path)),
            };
            if !blocked && !delay.active && !more(delay.id) {
                return;
            }
            barrier |= delay.kind.is_barrier();
            seen.extend(paths());
        }
    }

    /// The first event to act on now, or when that will be. From `max` events on none waits.
    pub fn next(&self, now: u64, max: usize) -> Option<Result<u64, u64>> {
        let first = self.first_open()?;
        let due = self.get(first).map_or(now, |delay| delay.due);
        Some(if due <= now || self.all.len() >= max { Ok(first) } else { Err(due) })
    }
}

/// Whether a path, one above or one below it was seen.
fn in_the_way(seen: &BTreeSet<&[u8]>, path: &[u8]) -> bool {
    let above = path.iter().enumerate().filter(|(_, b)| **b == b'/');
    let mut above = above.filter_map(|(at, _)| path.get(..at));
    let below = [path, b"/"].concat();
    let next = seen.range(below.as_slice()..).next();
    seen.contains(path)
        || above.any(|dir| seen.contains(dir))
        || next.is_some_and(|other| other.starts_with(&below))
}

/// Whether `path` is `dir` or below it.
fn within(path: &[u8], dir: &[u8]) -> bool {
    path.strip_prefix(dir).is_some_and(|rest| matches!(rest, [] | [b'/', ..]))
}

fn touches(old: &Delay, path: &[u8]) -> bool {
    let one = |own: &[u8]| within(own, path) || within(path, own);
    one(&old.path) || old.to.as_deref().is_some_and(one)
}

#[cfg(test)]
mod tests {
    use super::EventKind::{Attrib, Blanket, Create, Delete, Init, Modify, Move};
    use super::*;

    fn told(delays: &Delays) -> Vec<(EventKind, String)> {
        let path = |d: &Delay| String::from_utf8(d.path.clone()).unwrap();
        delays.all.iter().map(|d| (d.kind, path(d))).collect()
    }

    #[test]
    fn events_of_one_path_merge() {
        // A failure would run a command for each write, or for a file that is gone.
        let mut delays = Delays::default();
        for kind in [Create, Modify, Modify, Attrib, Modify] {
            delays.add(kind, b"a", false, 0);
        }
        assert_eq!(told(&delays), [(Create, "a".into()), (Modify, "a".into())]);
        delays.add(Delete, b"a", false, 0);
        assert_eq!(told(&delays), [(Delete, "a".into())]);
        delays.add(Create, b"a", false, 0);
        assert_eq!(told(&delays), [(Create, "a".into())]);
        delays.add(Create, b"d", true, 0);
        delays.add(Create, b"d/x", false, 0);
        delays.add(Delete, b"d", true, 0);
        delays.add(Create, b"d", true, 0);
        delays.add(Delete, b"d/x", false, 0);
        let wanted = [(Create, "a"), (Delete, "d"), (Create, "d"), (Delete, "d/x")]
            .map(|(k, p)| (k, p.to_owned()));
        assert_eq!(told(&delays), wanted);
    }

    #[test]
    fn what_a_process_works_on_is_not_merged_with() {
        // A failure would lose what is written while a command reads.
        let mut delays = Delays::default();
        let id = delays.add(Modify, b"a", false, 0);
        delays.get_mut(id).unwrap().active = true;
        delays.add(Modify, b"a", false, 0);
        assert_eq!(delays.len(), 2);
        assert!(delays.open().is_empty(), "the second waits for the first");
        delays.done(&[id]);
        assert_eq!(delays.open().len(), 1);
    }

    #[test]
    fn older_events_come_first_where_they_touch() {
        // A failure would copy into a directory that is not made yet.
        let mut delays = Delays::default();
        let dir = delays.add(Create, b"d", true, 5);
        delays.add(Create, b"d/e", false, 0);
        let other = delays.add(Create, b"de", false, 0);
        assert_eq!(delays.open(), [dir, other]);
        assert_eq!(delays.next(0, 100), Some(Err(5)));
        assert_eq!(delays.next(0, 3), Some(Ok(dir)));
        let blanket = delays.add(Blanket, b"", false, 0);
        delays.add(Modify, b"z", false, 0);
        delays.done(&[dir, other]);
        assert_eq!(delays.open().len(), 1, "d/e");
        delays.forget();
        let init = delays.add(Init, b"", true, 0);
        delays.add(Modify, b"z", false, 0);
        assert_eq!((delays.open(), delays.get(blanket)), (vec![init], None));
    }

    #[test]
    fn moves_are_made_where_nobody_waits() {
        // A failure would move what is not there, or copy what could be moved.
        let mut delays = Delays::default();
        delays.add(Delete, b"a", false, 0);
        assert!(delays.pair(b"b"));
        assert_eq!(told(&delays), [(Move, "a".into())]);
        delays.add(Delete, b"b", false, 0);
        assert!(!delays.pair(b"c"), "somebody works with that name");
        let mut delays = Delays::default();
        delays.add(Create, b"a", false, 0);
        delays.add(Delete, b"a", false, 0);
        assert!(!delays.pair(b"b"), "it was never told");
        let mut delays = Delays::default();
        delays.add(Modify, b"b", false, 0);
        delays.add(Delete, b"a", false, 0);
        assert!(!delays.pair(b"b"));
    }
}
