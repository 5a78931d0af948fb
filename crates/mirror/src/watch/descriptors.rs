//! Watch numbers to paths, as directories come, move and go. Pure.
//!
//! Called by [`super::inotify`]. A watch stays on its directory when that is renamed, so each
//! number knows only its parent's number and its own name: a rename of a directory is one change,
//! whatever is below it. A directory that left its name and has not arrived elsewhere has no path.

use std::collections::{BTreeMap, HashMap};

/// A watch number as the kernel gives it.
pub type Watch = i32;

#[derive(Debug)]
struct Node {
    /// `None`: the root, or a directory that has left its place.
    parent: Option<Watch>,
    name: Box<[u8]>,
}

/// The watched directories of one source.
#[derive(Debug, Default)]
pub struct Descriptors {
    nodes: HashMap<Watch, Node>,
    places: BTreeMap<(Watch, Box<[u8]>), Watch>,
    root: Option<Watch>,
}

impl Descriptors {
    /// Sets the watch of the source itself.
    pub fn set_root(&mut self, watch: Watch) {
        self.nodes.insert(watch, Node { parent: None, name: Box::default() });
        self.root = Some(watch);
    }

    /// Whether `watch` is that of the source itself.
    pub fn is_root(&self, watch: Watch) -> bool {
        self.root == Some(watch)
    }

    /// Whether `watch` is known.
    pub fn contains(&self, watch: Watch) -> bool {
        self.nodes.contains_key(&watch)
    }

    /// Puts `watch` at `name` in `parent`, wherever it was before. Returns the watch that was at
    /// that name, if another one: its directory is not there any more.
    pub fn place(&mut self, watch: Watch, parent: Watch, name: &[u8]) -> Option<Watch> {
        if self.is_root(watch) || watch == parent {
            return None;
        }
        self.detach(watch);
        let node = Node { parent: Some(parent), name: name.into() };
        self.nodes.insert(watch, node);
        let evicted = self.places.insert((parent, name.into()), watch)?;
        if let Some(node) = self.nodes.get_mut(&evicted) {
            node.parent = None;
        }
        Some(evicted)
    }

    /// Takes a directory off its place; it keeps what is below it and has no path.
    pub fn detach(&mut self, watch: Watch) {
        if let Some(node) = self.nodes.get_mut(&watch)
            && let Some(parent) = node.parent.take()
        {
            self.places.remove(&(parent, node.name.clone()));
        }
    }

    /// The watch at `name` in `parent`.
    pub fn child(&self, parent: Watch, name: &[u8]) -> Option<Watch> {
        self.places.get(&(parent, name.into())).copied()
    }

    /// Forgets one watch whose directory is gone, with nothing below it known any more.
    pub fn remove(&mut self, watch: Watch) {
        self.detach(watch);
        self.nodes.remove(&watch);
    }

    /// Forgets a directory and all below it; returns their watch numbers.
    pub fn remove_all(&mut self, watch: Watch) -> Vec<Watch> {
        let mut gone = Vec::new();
        let mut open = vec![watch];
        while let Some(watch) = open.pop() {
            let from = (watch, Box::default());
            open.extend(
                self.places.range(from..).take_while(|((p, _), _)| *p == watch).map(|(_, &w)| w),
            );
            if self.nodes.contains_key(&watch) {
                gone.push(watch);
            }
        }
        // Children first, so that each finds its parent's place to leave.
        for &watch in gone.iter().rev() {
            self.remove(watch);
        }
        gone
    }

    /// The path of a watched directory relative to the source; `None` when it has none now.
    pub fn path(&self, watch: Watch) -> Option<Vec<u8>> {
        let mut names: Vec<&[u8]> = Vec::new();
        let mut at = watch;
        // A cycle cannot form by renames; the bound keeps a mistake from hanging the watch.
        for _ in 0..=self.nodes.len() {
            if self.is_root(at) {
                names.reverse();
                return Some(names.join(&b'/'));
            }
            let node = self.nodes.get(&at)?;
            names.push(&node.name);
            at = node.parent?;
        }
        None
    }

    /// All watch numbers.
    pub fn watches(&self) -> impl Iterator<Item = Watch> {
        self.nodes.keys().copied()
    }

    /// Directories watched.
    pub fn len(&self) -> usize {
        self.nodes.len()
    }

    /// Whether nothing is watched.
    pub fn is_empty(&self) -> bool {
        self.nodes.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// root 1, a 2, a/b 3, a/b/c 4, d 5
    fn tree() -> Descriptors {
        let mut all = Descriptors::default();
        all.set_root(1);
        all.place(2, 1, b"a");
        all.place(3, 2, b"b");
        all.place(4, 3, b"c");
        all.place(5, 1, b"d");
        all
    }

    #[test]
    fn a_moved_directory_takes_what_is_below_along() {
        // A failure would report changes under the old name.
        let mut all = tree();
        assert_eq!(all.path(4).unwrap(), b"a/b/c");
        all.detach(3);
        assert_eq!(all.path(4), None);
        assert_eq!(all.place(3, 5, b"moved"), None);
        assert_eq!(all.path(4).unwrap(), b"d/moved/c");
        assert_eq!(all.child(2, b"b"), None);
        assert_eq!(all.path(1).unwrap(), b"");
    }

    #[test]
    fn a_directory_moved_out_is_forgotten_with_all_below() {
        // A failure would leak watches and report changes outside the source.
        let mut all = tree();
        let mut gone = all.remove_all(2);
        gone.sort_unstable();
        assert_eq!(gone, vec![2, 3, 4]);
        assert_eq!(all.len(), 2);
        assert!(all.places.len() == 1 && all.path(5).unwrap() == b"d");
    }

    #[test]
    fn a_directory_moved_over_another_takes_its_place() {
        // A failure would give two directories one path.
        let mut all = tree();
        assert_eq!(all.place(5, 1, b"a"), Some(2));
        assert_eq!(all.path(5).unwrap(), b"a");
        assert_eq!((all.path(2), all.path(4)), (None, None));
        all.remove(2);
        assert_eq!(all.path(5).unwrap(), b"a");
    }
}
