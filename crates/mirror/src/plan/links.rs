//! Which names of the source are one file: needed because an event names only the one written to.
//!
//! Kept by `run::survey`; filled from a scan before each comparison of everything, and from every
//! batch after. A name that is gone still tells which other names its file had: it may have been
//! written to through that one just before. Not guaranteed: names outside the source or excluded
//! ones, which a mirror does not have either; and a map beyond [`LINKS_MAX`] is given up, after
//! which a change of such a file leads to a comparison of the whole source.

use std::collections::{BTreeMap, BTreeSet, HashMap};

/// A file's identity: device and inode.
pub type FileId = (u64, u64);

/// The names of files that have several.
#[derive(Debug, Default)]
pub struct Links {
    ids: BTreeMap<Vec<u8>, FileId>,
    names: HashMap<FileId, BTreeSet<Vec<u8>>>,
}

impl Links {
    /// Notes what `path` is now: a file with several names, or anything else. Returns false when
    /// the map has become too large.
    pub fn note(&mut self, path: &[u8], id: Option<FileId>) -> bool {
        self.forget(path);
        if let Some(id) = id {
            self.ids.insert(path.to_vec(), id);
            self.names.entry(id).or_default().insert(path.to_vec());
        }
        self.ids.len() <= LINKS_MAX
    }

    /// What `path` was when it was last noted, if a file with several names.
    pub fn id_of(&self, path: &[u8]) -> Option<FileId> {
        self.ids.get(path).copied()
    }

    /// Forgets `path` and everything below it; returns which files these were names of.
    pub fn forget_below(&mut self, path: &[u8]) -> Vec<FileId> {
        let (mut from, mut to) = (path.to_vec(), path.to_vec());
        from.push(b'/');
        to.push(b'/' + 1);
        let mut gone: Vec<Vec<u8>> = self.ids.range(from..to).map(|(p, _)| p.clone()).collect();
        gone.push(path.to_vec());
        gone.iter().filter_map(|path| self.forget(path)).collect()
    }

    /// All known names of one file.
    pub fn names_of(&self, id: FileId) -> impl Iterator<Item = &Vec<u8>> {
        self.names.get(&id).into_iter().flatten()
    }

    fn forget(&mut self, path: &[u8]) -> Option<FileId> {
        let id = self.ids.remove(path)?;
        if let Some(names) = self.names.get_mut(&id) {
            names.remove(path);
            if names.is_empty() {
                self.names.remove(&id);
            }
        }
        Some(id)
    }
}

/// Names kept: some 15 MB at most; trees built of hard links have millions.
pub const LINKS_MAX: usize = 50_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_follow_what_happens_to_them() {
        // A failure would leave the other names of a written file stale on the target.
        let mut links = Links::default();
        for path in ["a", "d/b", "d/e/c"] {
            assert!(links.note(path.as_bytes(), Some((1, 7))));
        }
        assert_eq!(links.names_of((1, 7)).count(), 3);
        links.note(b"a", Some((1, 8)));
        assert_eq!(links.names_of((1, 7)).count(), 2);
        assert_eq!(links.forget_below(b"d/e"), vec![(1, 7)]);
        assert_eq!(links.id_of(b"d/b"), Some((1, 7)));
        assert_eq!(links.names_of((1, 7)).collect::<Vec<_>>(), vec![b"d/b"]);
        links.note(b"d/b", None);
        assert_eq!(links.names_of((1, 7)).count(), 0);
        assert_eq!(links.ids.len(), 1);
    }
}
