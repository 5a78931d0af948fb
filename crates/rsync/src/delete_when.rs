//! When deletions happen: before the transfer, after it, or found during it and done after.
//!
//! Part of the generator; what is deleted in one directory and how is [`crate::delete`]'s. The walks
//! over the whole list open each directory without following any link, since before the transfer
//! (or after a failed part of it) something else may stand where the list has a directory.

use std::sync::Arc;

use tree::path::{Name, NameBuf};
use wire::flist::entry::Entry;

use crate::fatal::Fatal;
use crate::generator::Generator;
use crate::lists::Segment;
use crate::options::DeleteMode;
use crate::options::debug::DebugFlag;
use crate::report::messages::IO_DEL_LIMIT;

/// What is to be deleted in one directory once the transfer is over.
pub struct DelayedDeletion {
    /// Name of the directory from the transfer root.
    pub dir: Vec<u8>,
    /// Its items that go, each with whether it is a directory.
    pub items: Vec<(NameBuf, bool)>,
}

impl Generator {
    /// Whether deletions wait until the data has come.
    pub fn deletes_late(&self) -> bool {
        matches!(self.recv.opts.delete, DeleteMode::Delay | DeleteMode::After)
    }

    /// Deletes in every directory of the whole list.
    pub fn delete_pass(&mut self, segment: &Arc<Segment>) -> Result<(), Fatal> {
        if self.recv.opts.list_only || self.recv.dest_missing {
            return Ok(());
        }
        for pos in 0..segment.list.len() {
            let entry = segment.list.get(pos);
            if !segment.list.is_active(pos) || !entry.is_dir() || !entry.content_dir() {
                continue;
            }
            let name = entry.name();
            if self.refuses_silently(&entry, &name) {
                continue;
            }
            if entry.top_dir() && self.recv.opts.debug.has(DebugFlag::Del) {
                let rel = crate::scan::trim_root(&name);
                self.recv.reporter.info(&[b"deleting in ".as_slice(), rel, b"\n"].concat());
            }
            if !self.is_real_directory(&name) {
                continue;
            }
            self.delete_in(segment, &entry)?;
            if self.writer.is_full() {
                self.writer.flush()?;
            }
        }
        Ok(())
    }

    /// Whether a directory stands at a name, with no link anywhere on the way.
    fn is_real_directory(&mut self, name: &[u8]) -> bool {
        let Some(path) = self.recv.dest_path(name) else { return false };
        // A dry run assumes what it would have made by then.
        let made = self.recv.opts.dry_run && self.recv.opts.delete == DeleteMode::After;
        if made && matches!(self.look(&path), Ok(None)) {
            return true;
        }
        if self.recv.opts.keep_dirlinks {
            return self.cache.dir(&path).is_ok();
        }
        self.recv.root.dir_itself(&path).is_ok()
    }

    /// What was found during the transfer, or all of it, once the data has come.
    pub fn late_deletions(&mut self) -> Result<(), Fatal> {
        if self.recv.opts.delete == DeleteMode::After {
            let Some(segment) = self.first_segment() else { return Ok(()) };
            return self.delete_pass(&segment);
        }
        for DelayedDeletion { dir: name, items } in std::mem::take(&mut self.delayed) {
            if !self.may_delete() {
                return Ok(());
            }
            let Some(path) = self.recv.dest_path(&name) else { continue };
            let Ok(dir) = self.cache.dir(&path).cloned() else { continue };
            for (item, is_dir) in items {
                // The transfer may have made way for something of its own.
                if matches!(dir.lstat(&item), Ok(None)) {
                    continue;
                }
                let full = child_name(&name, &item);
                self.delete_item(&dir, &item, is_dir, &full, true)?;
            }
        }
        Ok(())
    }

    /// Sets what directories should have whose items were deleted late.
    pub fn end_late_directories(&mut self) {
        for dir in std::mem::take(&mut self.late_dirs) {
            self.end_directory(&dir);
        }
    }

    /// Keeps a directory's end for later if something in it is still to be deleted.
    pub fn ends_late(&mut self, dir: &Entry) -> bool {
        let late = self.delayed_dirs.remove(&dir.name);
        if late {
            self.late_dirs.push(dir.clone());
        }
        late
    }

    /// Whether `--max-delete` allows no more; counts what it keeps.
    pub fn at_delete_limit(&mut self) -> bool {
        let stats = &self.deleted;
        let done = [stats.files, stats.dirs, stats.links, stats.devices, stats.specials];
        let done: u64 = done.iter().map(|&count| u64::from(count)).sum();
        let reached = self.recv.opts.max_delete.is_some_and(|most| done >= u64::from(most));
        self.kept_by_limit = self.kept_by_limit.saturating_add(u32::from(reached));
        reached
    }

    /// Says that the limit was reached, which decides the exit code.
    pub fn tell_delete_limit(&self) {
        if self.kept_by_limit > 0 {
            let skipped = self.kept_by_limit;
            let line = format!("Deletions stopped due to --max-delete limit ({skipped} skipped)");
            self.recv.reporter.warning(line.as_bytes());
            self.recv.reporter.add_io_error(IO_DEL_LIMIT);
        }
    }
}

/// The name of an item in a directory of the list.
pub fn child_name(dir: &[u8], item: &Name) -> Vec<u8> {
    if dir == b"." { item.as_bytes().to_vec() } else { [dir, b"/", item.as_bytes()].concat() }
}
