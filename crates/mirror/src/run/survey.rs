//! What must be looked at in the source before a batch is sent, beyond what events tell.
//!
//! Called by `run::sync` with the paths of a batch. Four questions:
//! 1. is a new file about to be written? An ordinary file with one name may be;
//! 2. is each path still below directories? If not, what stands in the place of the topmost one is
//!    sent instead: a transfer cannot send, nor take for gone, a name below a file or a link;
//! 3. is what is said to be gone there again? The kernel merges an event with an equal older one
//!    that is still unread, so the last event read of a path need not be the last that happened;
//! 4. which other names does a changed file have? An event names only the one through which it was
//!    changed, while the target has them as separate files, or, with hard links kept, must get all
//!    of them at once. The name that was written to may be gone by then, so names are kept in mind.
//!
//! Not guaranteed: that an answer holds a moment later. Then the transfer fails for that path, and
//! the next batch asks again. A name that was made, written to and removed before anybody looked
//! does not tell which file it was of.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use tree::meta::Meta;
use tree::root::Root;

use super::guard::GuardedSource;
use crate::aggregate::combine::{Dirty, Kind};
use crate::aggregate::queue::parent;
use crate::plan::exclude::Exclude;
use crate::plan::links::{FileId, LINKS_MAX, Links};
use crate::watch::join;

/// Looks at one source.
#[derive(Debug)]
pub struct Survey {
    source: Arc<GuardedSource>,
    exclude: Arc<Exclude>,
    hard_links: bool,
    links: LinkMap,
    /// Files of which not all names are in the source: how many they had when it was searched.
    outside: HashMap<FileId, usize>,
}

/// A file with several names, and how many.
type Several = (FileId, usize);

/// What is known of files with several names.
#[derive(Debug)]
enum LinkMap {
    /// Nothing yet.
    Unknown,
    /// All of them.
    Known(Links),
    /// There are too many.
    TooMany,
}

impl Survey {
    /// For one sync; `hard_links` tells whether its transfers keep them.
    pub fn new(source: &Arc<GuardedSource>, exclude: &Arc<Exclude>, hard_links: bool) -> Survey {
        let (source, exclude) = (Arc::clone(source), Arc::clone(exclude));
        Survey { source, exclude, hard_links, links: LinkMap::Unknown, outside: HashMap::new() }
    }

    /// Tells for each new file whether it may be about to be written. A new name of a file that has
    /// others is kept in mind.
    pub fn being_written(&mut self, root: &Root, paths: Vec<Vec<u8>>) -> Vec<(Vec<u8>, bool)> {
        let mut files = HashMap::new();
        let mut answers = Vec::with_capacity(paths.len());
        for path in paths {
            let meta = self.source.look(root, &path).ok().flatten();
            if let Some(file) = meta.as_ref().and_then(several) {
                self.note(&path, Some(file.0));
                files.extend([file]);
            }
            let written = meta.is_some_and(|m| m.is_file() && m.nlink == 1);
            answers.push((path, written));
        }
        self.learn(root, &files);
        answers
    }

    /// Puts `taken` on the ground of what is there. Paths that are below no directory any more are
    /// taken out; what to send in their place is returned, the topmost name above each that is no
    /// directory. Names that are there again are sent, a directory compared with everything in it.
    pub fn ground(&self, root: &Root, taken: &mut Vec<(Vec<u8>, Dirty)>) -> Vec<Vec<u8>> {
        let mut known: HashMap<Vec<u8>, Option<Vec<u8>>> = HashMap::new();
        let mut stumps = Vec::new();
        taken.retain_mut(|(path, dirty)| match self.stump(root, parent(path), &mut known) {
            None => {
                self.revive(root, path, dirty);
                true
            }
            Some(stump) => {
                stumps.push(stump);
                false
            }
        });
        stumps.sort_unstable();
        stumps.dedup();
        stumps
    }

    fn revive(&self, root: &Root, path: &[u8], dirty: &mut Dirty) {
        if dirty.kind != Kind::Gone {
            return;
        }
        match self.source.look(root, path).ok().flatten() {
            None => {}
            Some(meta) if meta.is_dir() => (dirty.kind, dirty.left_dir) = (Kind::Subtree, true),
            Some(_) => dirty.kind = Kind::Entry,
        }
    }

    /// The topmost of `dir` and the directories above it that is none; `None` if all are.
    fn stump(
        &self,
        root: &Root,
        dir: &[u8],
        known: &mut HashMap<Vec<u8>, Option<Vec<u8>>>,
    ) -> Option<Vec<u8>> {
        if dir.is_empty() {
            return None;
        }
        if let Some(answer) = known.get(dir) {
            return answer.clone();
        }
        // The number of components is bounded by the length of a path.
        let answer = self.stump(root, parent(dir), known).or_else(|| {
            let meta = self.source.look(root, dir).ok().flatten();
            (!meta.is_some_and(|m| m.is_dir())).then(|| dir.to_vec())
        });
        known.insert(dir.to_vec(), answer.clone());
        answer
    }

    /// Searches the source for files with several names, before everything is compared: what is
    /// known is in doubt, and what happens from now on is told by events.
    pub fn search_links(&mut self, root: &Root) {
        if !matches!(self.links, LinkMap::TooMany) {
            self.links = self.map_all(root);
        }
        self.outside.clear();
    }

    /// All names of the files that `taken` are, or were, names of, where these have several.
    /// `None`: there are too many such files to know, and everything must be compared instead.
    pub fn linked(&mut self, root: &Root, taken: &[(Vec<u8>, Dirty)]) -> Option<Vec<Vec<u8>>> {
        let mut files: HashMap<FileId, usize> = HashMap::new();
        let mut left: HashSet<FileId> = HashSet::new();
        for (path, dirty) in taken {
            match dirty.kind {
                Kind::Gone => left.extend(self.forget(path)),
                Kind::Entry => {
                    let file = self.several(root, path);
                    files.extend(file);
                    left.extend(self.note(path, file.map(|(id, _)| id)));
                }
                Kind::Subtree => {
                    left.extend(self.forget(path));
                    if self.hard_links || matches!(self.links, LinkMap::Known(_)) {
                        for (path, file) in self.scan(root, path)? {
                            self.note(&path, Some(file.0));
                            files.extend([file]);
                        }
                    }
                }
            }
        }
        if !files.is_empty() {
            self.learn(root, &files);
        }
        match &self.links {
            LinkMap::Known(links) => {
                left.extend(files.keys());
                let still = |path: &&Vec<u8>, id| self.id(root, path).is_some_and(|now| now == id);
                let names = |id| links.names_of(id).filter(move |path| still(path, id)).cloned();
                Some(left.into_iter().flat_map(names).collect())
            }
            LinkMap::Unknown | LinkMap::TooMany => files.is_empty().then(Vec::new),
        }
    }

    /// Sees to it that all names of `files` are known, as far as they are in the source. A file
    /// gets its second name without an event for its first: only a walk finds that one.
    fn learn(&mut self, root: &Root, files: &HashMap<FileId, usize>) {
        let known = |(id, count): (&FileId, &usize)| match &self.links {
            LinkMap::Known(links) => {
                self.outside.get(id) == Some(count) || links.names_of(*id).count() >= *count
            }
            LinkMap::Unknown => false,
            LinkMap::TooMany => true,
        };
        if files.iter().all(known) {
            return;
        }
        self.links = self.map_all(root);
        if self.outside.len() > LINKS_MAX {
            self.outside.clear();
        }
        self.outside.extend(files);
    }

    fn id(&self, root: &Root, path: &[u8]) -> Option<FileId> {
        self.source.look(root, path).ok().flatten().map(|meta| (meta.dev, meta.ino))
    }

    /// The identity of a file with several names, and how many.
    fn several(&self, root: &Root, path: &[u8]) -> Option<Several> {
        let meta = self.source.look(root, path).ok().flatten()?;
        several(&meta)
    }

    /// Returns which files `path` and what was below it were names of.
    fn forget(&mut self, path: &[u8]) -> Vec<FileId> {
        match &mut self.links {
            LinkMap::Known(links) => links.forget_below(path),
            LinkMap::Unknown | LinkMap::TooMany => Vec::new(),
        }
    }

    /// Notes what `path` is now; returns what it was, if that is another file.
    fn note(&mut self, path: &[u8], id: Option<FileId>) -> Option<FileId> {
        let LinkMap::Known(links) = &mut self.links else { return None };
        let was = links.id_of(path).filter(|&was| Some(was) != id);
        if !links.note(path, id) {
            self.links = LinkMap::TooMany;
        }
        was
    }

    fn map_all(&self, root: &Root) -> LinkMap {
        let Some(all) = self.scan(root, b"") else { return LinkMap::TooMany };
        let mut links = Links::default();
        for (path, (id, _)) in all {
            links.note(&path, Some(id));
        }
        LinkMap::Known(links)
    }

    /// All files with several names below `path`; `None` when there are too many.
    fn scan(&self, root: &Root, path: &[u8]) -> Option<Vec<(Vec<u8>, Several)>> {
        let mut found = Vec::new();
        let mut open = vec![path.to_vec()];
        while let Some(at) = open.pop() {
            // A directory that cannot be read now is one that the transfer reports.
            let Ok(dir) = self.source.dir(root, &at) else { continue };
            for (name, meta) in self.source.metas(&dir).unwrap_or_default() {
                let path = join(&at, &name);
                if self.exclude.hides(&path, meta.is_dir()) {
                    continue;
                }
                if meta.is_dir() {
                    open.push(path);
                } else if let Some(file) = several(&meta) {
                    found.push((path, file));
                }
            }
            if found.len() > LINKS_MAX {
                return None;
            }
        }
        Some(found)
    }
}

fn several(meta: &Meta) -> Option<Several> {
    let names = usize::try_from(meta.nlink).unwrap_or(usize::MAX);
    // Links and special files can have several names too.
    (!meta.is_dir() && names > 1).then_some(((meta.dev, meta.ino), names))
}
