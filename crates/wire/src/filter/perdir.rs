//! Per-directory rule files (`: FILE`): which rules are in force where the scan is.
//!
//! Driven by whoever walks a tree with a [`FilterList`]: the sender over the source, the generator
//! over the destination. For each directory, in the order the scan enters them:
//!
//! 1. The present state is saved, to be restored on leaving.
//! 2. Each per-directory list, in rule order, reads its file in that directory. What the file holds
//!    goes in front of what is inherited; a `!` in it, or the `n` modifier, drops the inherited
//!    part.
//! 3. A `:` rule in such a file starts one more list, whose file in the same directory is read
//!    next. It ends when the directory is left.
//!
//! A rule that names its file with a path also looks in directories above the one where it comes
//! into force (the transfer root, or the directory whose file holds the rule): from the directory
//! that the path names downwards, before that one itself. A path that names no directory above
//! only gives the file name.
//!
//! Rules in force in a directory also judge the directory's own entries, so a caller enters it
//! before it asks about them.

use super::list::{Fill, FilterList, Item};
use super::parse::{Modifiers, READ_EARLIER};
use super::rule::{join, last_component};
use super::{FilterError, ReadRules};
use crate::limits::MERGE_PATH_MAX;
use std::sync::Arc;

/// The bit of the I/O error word that stops deletions.
const IO_ERROR_GENERAL: i32 = 1;

/// One `:` rule and its list.
#[derive(Clone, Debug)]
pub(crate) struct DirMerge {
    /// Looked up in each directory; no `/`.
    pub(crate) name: Vec<u8>,
    /// As written: may lead to a directory above the transfer root.
    pub(crate) path: Vec<u8>,
    pub(crate) mods: Modifiers,
    /// The name came from a rule file, and is not shown.
    from_file: bool,
    /// The directories above have been looked at.
    looked_above: bool,
    /// What is in force, one layer for each directory that had rules, the deepest last. Shared
    /// with the saved states.
    pub(crate) layers: Vec<Arc<Vec<Item>>>,
}

/// State to return to when a directory is left.
#[derive(Clone, Debug)]
pub(crate) struct Frame {
    dir: Vec<u8>,
    /// Layers and `looked_above` of each list that was there; the others end.
    lists: Vec<(Vec<Arc<Vec<Item>>>, bool)>,
}

impl DirMerge {
    pub(crate) fn new(path: Vec<u8>, mods: Modifiers, from_file: bool) -> DirMerge {
        DirMerge {
            name: last_component(&path).to_vec(),
            path,
            mods,
            from_file,
            looked_above: false,
            layers: Vec::new(),
        }
    }

    /// The directory above `place` that the rule's path names, and those between it and `place`;
    /// nothing if the path names no ancestor. All absolute, outermost first.
    fn dirs_above(&self, place: &[u8]) -> Vec<Vec<u8>> {
        let Some(slash) = memchr::memrchr(b'/', &self.path) else { return Vec::new() };
        let named = self.path.get(..=slash).unwrap_or_default();
        let from = if named.starts_with(b"/") { clean(named) } else { clean(&join(place, named)) };
        let place = clean(place);
        let Some(between) = place.strip_prefix(from.as_slice()) else { return Vec::new() };
        if between.is_empty() || !(from.ends_with(b"/") || between.starts_with(b"/")) {
            return Vec::new();
        }
        let mut dirs = vec![from.clone()];
        let ends = memchr::memchr_iter(b'/', between).filter(|end| *end > 0);
        dirs.extend(ends.map(|end| [&from, between.get(..end).unwrap_or_default()].concat()));
        dirs
    }
}

/// An absolute path without `.`, `..` and doubled slashes.
fn clean(path: &[u8]) -> Vec<u8> {
    let mut parts: Vec<&[u8]> = Vec::new();
    for part in path.split(|b| *b == b'/') {
        match part {
            b"" | b"." => {}
            b".." => drop(parts.pop()),
            part => parts.push(part),
        }
    }
    [b"/".as_slice(), &parts.join(&b'/')].concat()
}

impl FilterList {
    /// Sets the transfer root's absolute path (inside a module: the path below the module's root,
    /// with `/` in front). All directories count as left.
    pub fn set_root(&mut self, root: &[u8]) {
        while !self.frames.is_empty() {
            self.leave_dir();
        }
        self.root = clean(root);
    }

    /// The scan enters `dir` (relative to the transfer root, `.` for the root itself). On an error
    /// the directory counts as not entered.
    pub fn enter_dir(&mut self, dir: &[u8], read: &mut ReadRules<'_>) -> Result<(), FilterError> {
        let state = |merge: &DirMerge| (merge.layers.clone(), merge.looked_above);
        let lists = self.merges.iter().map(state).collect();
        self.frames.push(Frame { dir: dir.to_vec(), lists });
        let place = if dir == b"." { self.root.clone() } else { join(&self.root, dir) };
        let result = self.read_lists(0, dir, &place, read);
        if result.is_err() {
            self.leave_dir();
        }
        result
    }

    /// The scan leaves the directory entered last.
    pub fn leave_dir(&mut self) {
        let Some(frame) = self.frames.pop() else { return };
        self.merges.truncate(frame.lists.len());
        for (merge, (layers, looked_above)) in self.merges.iter_mut().zip(frame.lists) {
            merge.layers = layers;
            merge.looked_above = looked_above;
        }
    }

    /// Leaves and enters what lies between the present directory and `dir`, in which the scan goes
    /// on: for incremental recursion, and for `--relative` arguments with their parents.
    pub fn move_to_dir(&mut self, dir: &[u8], read: &mut ReadRules<'_>) -> Result<(), FilterError> {
        while let Some(frame) = self.frames.last()
            && !is_within(dir, &frame.dir)
        {
            self.leave_dir();
        }
        if self.frames.is_empty() {
            self.enter_dir(b".", read)?;
        }
        let entered = self.frames.last().map_or(0, |frame| match frame.dir.as_slice() {
            b"." => 0,
            dir => dir.len() + 1,
        });
        if dir == b"." || dir.len() < entered {
            return Ok(());
        }
        let ends = memchr::memchr_iter(b'/', dir).chain([dir.len()]);
        for end in ends.filter(|end| *end > entered) {
            self.enter_dir(dir.get(..end).unwrap_or(dir), read)?;
        }
        Ok(())
    }

    /// Reads one directory's files for list `first` and all behind it, those included that start
    /// here. `dir` is the directory as the reader wants it, `place` its absolute path.
    fn read_lists(
        &mut self,
        first: usize,
        dir: &[u8],
        place: &[u8],
        read: &mut ReadRules<'_>,
    ) -> Result<(), FilterError> {
        let mut at = first;
        while let Some(merge) = self.merges.get_mut(at) {
            if !std::mem::replace(&mut merge.looked_above, true) {
                let above = merge.dirs_above(place);
                self.read_above(at, &above, read)?;
            }
            self.read_one(at, dir, place, read)?;
            at += 1;
        }
        Ok(())
    }

    /// Reads list `at`'s files in the directories above. Lists that start there follow it down,
    /// unless what holds them is not inherited.
    fn read_above(
        &mut self,
        at: usize,
        above: &[Vec<u8>],
        read: &mut ReadRules<'_>,
    ) -> Result<(), FilterError> {
        let known = self.merges.len();
        for place in above {
            self.read_one(at, place, place, read)?;
            self.read_lists(known, place, place, read)?;
            if let Some(merge) = self.merges.get_mut(at)
                && merge.mods.no_inherit
            {
                merge.layers.clear();
                self.merges.truncate(known);
            }
        }
        Ok(())
    }

    /// Reads list `at`'s file in one directory: `dir` as the reader wants it, `place` absolute.
    fn read_one(
        &mut self,
        at: usize,
        dir: &[u8],
        place: &[u8],
        read: &mut ReadRules<'_>,
    ) -> Result<(), FilterError> {
        let Some(merge) = self.merges.get_mut(at) else { return Ok(()) };
        if merge.mods.no_inherit {
            merge.layers.clear();
        }
        let path = join(place, &merge.name);
        if path.len() > MERGE_PATH_MAX {
            let text = b"cannot add local filter rules in long-named directory: ";
            self.warnings.push([text, dir].concat());
            self.io_error |= IO_ERROR_GENERAL;
            return Ok(());
        }
        let Some(content) = read(dir, &merge.name) else { return Ok(()) };
        let (mods, from_file) = (merge.mods.clone(), merge.from_file);
        let mut fill = Fill { dir: Some(place.to_vec()), ..Fill::default() };
        let shown = if from_file { READ_EARLIER } else { &path };
        self.add_content(&mut fill, &content, mods.syntax(), &mods, shown, read)?;
        let Some(merge) = self.merges.get_mut(at) else { return Ok(()) };
        if fill.cleared {
            merge.layers.clear();
        }
        if !fill.items.is_empty() {
            merge.layers.push(Arc::new(fill.items));
        }
        Ok(())
    }
}

/// Whether `path` is `dir` or below it.
fn is_within(path: &[u8], dir: &[u8]) -> bool {
    dir == b"."
        || path.strip_prefix(dir).is_some_and(|rest| rest.is_empty() || rest.starts_with(b"/"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rule_with_a_path_looks_above_the_root() {
        let above = |path: &[u8], root: &[u8]| {
            let dirs = DirMerge::new(path.to_vec(), Modifiers::default(), false).dirs_above(root);
            dirs.into_iter().map(|d| String::from_utf8(d).unwrap()).collect::<Vec<_>>()
        };
        assert_eq!(above(b"/.f", b"/a/b"), ["/", "/a"]);
        assert_eq!(above(b"/a/.f", b"/a/b"), ["/a"]);
        assert_eq!(above(b"../.f", b"/a/b"), ["/a"]);
        assert_eq!(above(b"/a/b/.f", b"/a/b"), [""; 0]);
        assert_eq!(above(b"/ab/.f", b"/abc/d"), [""; 0]);
        assert_eq!(above(b"x/.f", b"/a"), [""; 0]);
        assert_eq!(above(b".f", b"/a"), [""; 0]);
    }
}
