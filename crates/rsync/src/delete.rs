//! Removing what the source does not have, and making room for items of another type.
//!
//! Part of the generator. A directory's extraneous entries go in reverse list order, a directory's
//! contents before itself. Everything happens relative to handles, without following links and
//! without recursion on the stack.

use std::io;
use std::sync::Arc;

use tree::dir::{Dir, DirEntry};
use tree::meta::Meta;
use tree::path::{Name, NameBuf, RelPath};
use wire::filter::Side;
use wire::flist::list::EntryView;
use wire::flist::order::Order;
use wire::message::Message;

use crate::delete_when::{DelayedDeletion, child_name};
use crate::fatal::{Fatal, errno_text};
use crate::generator::Generator;
use crate::lists::Segment;
use crate::merge_files::{decides, read_in_walk};
use crate::options::DeleteMode;
use crate::report::messages::IO_GENERAL;

/// One directory being emptied.
struct Level {
    dir: Dir,
    /// Its name from the transfer root.
    name: Vec<u8>,
    /// What is still to be removed, last first.
    left: Vec<(NameBuf, bool)>,
    /// Something in it stays.
    kept: bool,
}

impl Generator {
    /// A directory of the list is met in the walk: deletes in it where that is the time for it.
    pub fn delete_met(
        &mut self,
        segment: &Arc<Segment>,
        entry: &EntryView<'_>,
    ) -> Result<(), Fatal> {
        match self.recv.opts.delete {
            DeleteMode::During | DeleteMode::Delay => self.delete_in(segment, entry),
            DeleteMode::Off | DeleteMode::Before | DeleteMode::After => Ok(()),
        }
    }

    /// Deletes what stands in a directory and is not in its list.
    pub fn delete_in(
        &mut self,
        segment: &Arc<Segment>,
        entry: &EntryView<'_>,
    ) -> Result<(), Fatal> {
        let opts = self.recv.opts.clone();
        if opts.delete == DeleteMode::Off || !entry.content_dir() || self.recv.rename.is_some() {
            return Ok(());
        }
        if !self.may_delete() {
            return Ok(());
        }
        let name = entry.name();
        let Some(path) = self.recv.dest_path(&name) else { return Ok(()) };
        if self.recv.dest_missing || self.would_be_new(&path) {
            return Ok(());
        }
        let dir = match self.cache.dir(&path) {
            Ok(dir) => dir.clone(),
            // A link that leads out is told by each item below it.
            Err(error) if matches!(error.raw_os_error(), Some(libc::ENOENT | libc::ELOOP)) => {
                return Ok(());
            }
            Err(error) => {
                self.path_error("opendir", &name, &error);
                self.recv.reporter.add_io_error(IO_GENERAL);
                return Ok(());
            }
        };
        if opts.one_file_system > 0 && !self.on_root_device(&dir) {
            return Ok(());
        }
        self.enter_filters(crate::scan::trim_root(&name))?;
        let mut extraneous = Vec::new();
        for item in self.items_of(&dir, &name) {
            let full = child_name(&name, &item.name);
            let listed = segment.list.find(&full).is_some();
            // What rules say of everything here is told where that is asked for.
            if listed && self.recv.opts.verbose < 2 {
                continue;
            }
            let is_dir = item.is_dir(&dir);
            if !self.is_protected(crate::scan::trim_root(&full), is_dir) && !listed {
                extraneous.push((item.name.clone(), is_dir));
            }
        }
        sort_for_deletion(&mut extraneous, Order::of(self.recv.agreed.protocol));
        if opts.delete == DeleteMode::Delay {
            if !extraneous.is_empty() {
                self.delayed_dirs.insert(name.clone());
                self.delayed.push(DelayedDeletion { dir: name, items: extraneous });
            }
            return Ok(());
        }
        for (item, is_dir) in extraneous {
            let full = child_name(&name, &item);
            self.delete_item(&dir, &item, is_dir, &full, true)?;
        }
        Ok(())
    }

    /// Whether the list is complete enough to say what is extraneous.
    pub fn may_delete(&mut self) -> bool {
        if self.recv.reporter.io_error() & IO_GENERAL == 0 || self.recv.opts.ignore_errors {
            return true;
        }
        if !self.deletion_skipped {
            self.deletion_skipped = true;
            self.recv.reporter.info(b"IO error encountered -- skipping file deletion\n");
        }
        false
    }

    /// What is in a directory of the destination. What cannot be looked at is told, and counts as an
    /// error that keeps everything later from being deleted.
    fn items_of(&mut self, dir: &Dir, name: &[u8]) -> Vec<DirEntry> {
        let items = match dir.read_entries() {
            Ok(items) => items,
            Err(error) => {
                self.path_error("opendir", name, &error);
                self.recv.reporter.add_io_error(IO_GENERAL);
                return Vec::new();
            }
        };
        let searched = if self.recv.privileges.root { Ok(()) } else { dir.check_search() };
        let Err(error) = searched else { return items };
        for item in items {
            let shown = self.recv.shown_path(&child_name(name, &item.name));
            let mut line = b"rsync: [generator] readlink_stat(".to_vec();
            line.extend_from_slice(&self.recv.reporter.quoted(&shown));
            line.extend_from_slice(format!(") failed: {}", errno_text(&error)).as_bytes());
            self.recv.reporter.error_line(&line);
            self.recv.reporter.add_io_error(IO_GENERAL);
        }
        Vec::new()
    }

    /// Tells that something could not be deleted.
    fn delete_failed(&self, call: &str, name: &[u8], error: &io::Error) {
        let rel = crate::scan::trim_root(name);
        let mut line = format!("rsync: [generator] delete_file: {call}(").into_bytes();
        line.extend_from_slice(rel);
        line.extend_from_slice(format!(") failed: {}", errno_text(error)).as_bytes());
        let text = String::from_utf8_lossy(&line).into_owned();
        self.recv.reporter.problem(name, crate::problem::ProblemKind::Failed, text);
        self.recv.reporter.error_line(&line);
    }

    fn in_the_way(&self, new: &str, name: &[u8]) {
        let mut line = format!("could not make way for new {new}: ").into_bytes();
        line.extend_from_slice(crate::scan::trim_root(name));
        let text = String::from_utf8_lossy(&line).into_owned();
        self.recv.reporter.problem(name, crate::problem::ProblemKind::Failed, text);
        self.recv.reporter.error_line(&line);
    }

    fn on_root_device(&mut self, dir: &Dir) -> bool {
        let Ok(meta) = dir.stat_self() else { return false };
        if self.root_device.is_none() {
            let root =
                RelPath::new(b".").ok().and_then(|p| self.cache.dir(p).ok()?.stat_self().ok());
            self.root_device = root.map(|m| m.dev);
        }
        self.root_device == Some(meta.dev)
    }

    /// Brings the per-directory rules of the destination in line with a directory.
    /// Errors: they make no sense, and without them too much would be deleted.
    fn enter_filters(&mut self, rel: &[u8]) -> Result<(), Fatal> {
        let filters = &mut self.filters;
        if !filters.has_dir_merge() {
            return Ok(());
        }
        let (cache, recv) = (&mut self.cache, &self.recv);
        let entered = filters.move_to_dir(rel, &mut |dir, file| {
            let path = [dir, b"/", file].concat();
            let path = crate::scan::clean(crate::scan::trim_root(&path));
            match !dir.starts_with(b"/") && recv.hidden_by_daemon(&path, false) {
                true => None,
                false => read_in_walk(cache, recv.start.rules_within(), dir, file),
            }
        });
        recv.reporter.explain_refusal();
        entered.map_err(|error| Fatal::bare(error.exit_code(), error.text()))
    }

    fn is_kept_by_rule(&self, rel: &[u8], is_dir: bool, perishing: bool) -> bool {
        let (recv, which) = (&self.recv, (Side::Receiver, perishing));
        decides(&recv.reporter, &recv.opts, &self.filters, (rel, rel, is_dir), which)
    }

    /// Whether rules keep a destination name from being deleted.
    fn is_protected(&self, rel: &[u8], is_dir: bool) -> bool {
        self.recv.hidden_by_daemon(rel, is_dir) || self.is_kept_by_rule(rel, is_dir, false)
    }

    /// Handles an entry that says a name is to be deleted.
    pub fn delete_missing(&mut self, entry: &EntryView<'_>) -> Result<(), Fatal> {
        let name = entry.name();
        let Some(path) = self.path(&name) else { return Ok(()) };
        let Ok(Some(meta)) = self.look(&path) else { return Ok(()) };
        let Some(base) = path.name().map(Name::to_owned) else { return Ok(()) };
        if self.is_protected(crate::scan::trim_root(&name), meta.is_dir()) {
            return Ok(());
        }
        let Ok(dir) = self.cache.parent(&path).cloned() else { return Ok(()) };
        let recursive = self.recv.opts.delete != DeleteMode::Off || self.recv.opts.force;
        self.delete_item(&dir, &base, meta.is_dir(), &name, recursive)?;
        self.cache.forget(&path);
        Ok(())
    }

    /// Makes way for an item of another type; false when something stays in the way.
    pub fn make_room(
        &mut self,
        path: &RelPath,
        found: &Meta,
        new: &str,
        name: &[u8],
    ) -> Result<bool, Fatal> {
        if !found.is_dir() {
            return self.clear_other(path, found, new, name);
        }
        let Some(base) = path.name().map(Name::to_owned) else { return Ok(false) };
        let Ok(dir) = self.cache.parent(path).cloned() else { return Ok(false) };
        let recursive = self.recv.opts.delete != DeleteMode::Off || self.recv.opts.force;
        let gone = if recursive || self.recv.opts.dry_run {
            self.empty_directory(&dir, &base, name, recursive)?
        } else {
            false
        };
        // A dry run that may not empty the directory cannot tell whether it is empty but by looking.
        let removed = match self.recv.opts.dry_run {
            true => gone,
            false => dir.rmdir(&base).is_ok(),
        };
        self.cache.forget(path);
        if removed {
            return Ok(true);
        }
        self.tell_not_empty(name);
        self.in_the_way(new, name);
        Ok(false)
    }

    /// Removes a non-directory that is in the way; with backups it is kept aside.
    pub fn clear_other(
        &mut self,
        path: &RelPath,
        found: &Meta,
        new: &str,
        name: &[u8],
    ) -> Result<bool, Fatal> {
        if self.recv.opts.dry_run {
            return Ok(true);
        }
        let Some(base) = path.name() else { return Ok(false) };
        let Ok(dir) = self.cache.parent(path).cloned() else { return Ok(false) };
        let done = if self.recv.opts.backup {
            crate::backup::back_up(&self.recv, &dir, base, found, path, false)
        } else {
            dir.unlink(base)
        };
        match done {
            Ok(()) => Ok(true),
            Err(error) => {
                self.delete_failed("unlink", name, &error);
                self.in_the_way(new, name);
                Ok(false)
            }
        }
    }

    /// Deletes one extraneous item, a directory with all that is in it.
    pub fn delete_item(
        &mut self,
        dir: &Dir,
        base: &Name,
        is_dir: bool,
        name: &[u8],
        recursive: bool,
    ) -> Result<(), Fatal> {
        if !is_dir {
            self.delete_leaf(dir, base, name);
        } else if self.empty_directory(dir, base, name, recursive)? {
            self.delete_empty(dir, base, name);
        } else {
            self.tell_not_empty(name);
        }
        Ok(())
    }

    fn tell_not_empty(&self, name: &[u8]) {
        let rel = crate::scan::trim_root(name);
        let line = [b"cannot delete non-empty directory: ".as_slice(), rel, b"\n"].concat();
        self.recv.reporter.info(&line);
    }

    /// Removes a directory that should be empty by now; false when it stays.
    fn delete_empty(&mut self, dir: &Dir, base: &Name, name: &[u8]) -> bool {
        if self.at_delete_limit() {
            return false;
        }
        let found = match self.printer.shows_modes() {
            true => dir.lstat(base).ok().flatten(),
            false => None,
        };
        if !self.recv.opts.dry_run
            && let Err(error) = dir.rmdir(base)
        {
            match error.raw_os_error() {
                Some(libc::ENOENT) => {}
                Some(libc::ENOTEMPTY | libc::EEXIST) => {
                    self.tell_not_empty(name);
                    return false;
                }
                _ => {
                    self.delete_failed("rmdir", name, &error);
                    return false;
                }
            }
        }
        self.deleted.dirs += 1;
        self.tell_deleted(name, true, found.map_or(0, |meta| meta.mode));
        true
    }

    /// Removes something that is no directory; false when it stays.
    fn delete_leaf(&mut self, dir: &Dir, base: &Name, name: &[u8]) -> bool {
        if self.at_delete_limit() {
            return false;
        }
        let meta = dir.lstat(base).ok().flatten();
        if !self.recv.opts.dry_run {
            let mut call = "unlink";
            let done = match &meta {
                Some(meta)
                    if self.recv.opts.backup
                        && !crate::backup::is_backup(&self.recv, base.as_bytes()) =>
                {
                    match self.path(name) {
                        Some(path) => {
                            call = "make_backup";
                            crate::backup::back_up(&self.recv, dir, base, meta, &path, false)
                        }
                        None => return false,
                    }
                }
                _ => dir.unlink(base),
            };
            // What is gone by itself needs no deletion; what could not be put aside stays.
            if let Err(error) = done
                && (call != "unlink" || error.kind() != io::ErrorKind::NotFound)
            {
                crate::backup::tell_unmade(&self.recv, &error);
                self.delete_failed(call, name, &error);
                return false;
            }
        }
        match meta.map_or(0o100_000, |m| m.mode) & 0o170_000 {
            0o120_000 => self.deleted.links += 1,
            0o060_000 | 0o020_000 => self.deleted.devices += 1,
            0o010_000 | 0o140_000 => self.deleted.specials += 1,
            _ => self.deleted.files += 1,
        }
        self.tell_deleted(name, false, meta.map_or(0, |meta| meta.mode));
        true
    }

    /// Removes everything in a directory; false when something in it stays.
    fn empty_directory(
        &mut self,
        dir: &Dir,
        base: &Name,
        name: &[u8],
        recursive: bool,
    ) -> Result<bool, Fatal> {
        let Some(top) = self.level(dir, base, name, recursive)? else { return Ok(false) };
        if !recursive {
            return Ok(top.left.is_empty() && !top.kept);
        }
        let mut levels = vec![top];
        loop {
            let Some(level) = levels.last_mut() else { return Ok(true) };
            let at = level.dir.clone();
            if let Some((item, is_dir)) = level.left.pop() {
                let full = [level.name.as_slice(), b"/", item.as_bytes()].concat();
                let mut kept = false;
                if !is_dir {
                    kept = !self.delete_leaf(&at, &item, &full);
                } else if let Some(next) = self.level(&at, &item, &full, true)? {
                    levels.push(next);
                } else {
                    kept = true;
                }
                if kept && let Some(level) = levels.last_mut() {
                    level.kept = true;
                }
                continue;
            }
            let Some(done) = levels.pop() else { return Ok(true) };
            let Some(parent) = levels.last_mut() else { return Ok(!done.kept) };
            let above = parent.dir.clone();
            parent.kept |= done.kept;
            if done.kept {
                self.tell_not_empty(&done.name);
            }
            // The reference tries all the same: the limit counts it, a dry run shows it as gone.
            let last = done.name.rsplit(|&b| b == b'/').next().unwrap_or(&done.name);
            let gone =
                Name::new(last).is_ok_and(|last| self.delete_empty(&above, last, &done.name));
            if !gone && let Some(parent) = levels.last_mut() {
                parent.kept = true;
            }
        }
    }

    /// Opens a directory to be emptied and lists what goes; what rules protect stays.
    fn level(
        &mut self,
        dir: &Dir,
        base: &Name,
        name: &[u8],
        recursive: bool,
    ) -> Result<Option<Level>, Fatal> {
        let inner = match dir.open_dir(base) {
            Ok(inner) => inner,
            Err(error) => {
                self.path_error("opendir", name, &error);
                return Ok(None);
            }
        };
        if recursive && !self.recv.opts.dry_run && !self.recv.privileges.root {
            // A directory of ours that we may not write in is opened up first.
            if let Ok(meta) = inner.stat_self()
                && meta.mode & 0o200 == 0
                && meta.uid == self.recv.privileges.uid
            {
                let _ = inner.chmod_self(meta.mode & 0o7777 | 0o200);
            }
        }
        // Rules in the directory itself protect what is in it, to the last moment.
        self.enter_filters(crate::scan::trim_root(name))?;
        let device = inner.stat_self().map(|m| m.dev).ok();
        let mut level = Level { dir: inner, name: name.to_vec(), left: Vec::new(), kept: false };
        for item in self.items_of(&level.dir, name) {
            let full = [name, b"/", item.name.as_bytes()].concat();
            let is_dir = item.is_dir(&level.dir);
            let rel = crate::scan::trim_root(&full);
            let protected =
                self.recv.hidden_by_daemon(rel, is_dir) || self.is_kept_by_rule(rel, is_dir, true);
            // What is mounted here is no part of the tree.
            let here = is_dir.then(|| level.dir.lstat(&item.name).ok().flatten()).flatten();
            let mounted = here.is_some_and(|meta| Some(meta.dev) != device);
            if protected || mounted {
                level.kept = true;
            } else {
                level.left.push((item.name.clone(), is_dir));
            }
        }
        sort_for_deletion(&mut level.left, Order::of(self.recv.agreed.protocol));
        level.left.reverse();
        Ok(Some(level))
    }

    /// Tells whoever prints that an item was deleted, and here what its mode was.
    fn tell_deleted(&mut self, name: &[u8], dir: bool, mode: u32) {
        let rel = crate::scan::trim_root(name).to_vec();
        if self.recv.server && !self.recv.agreed.protocol.has_item_flags() {
            self.printer.deleted_untold(&self.recv.reporter, &rel, dir, mode);
        } else if self.recv.server {
            self.printer.log_deleted(&self.recv.reporter, &rel, dir, mode);
            let name = self.recv.reporter.travelling(&rel).into_owned();
            self.writer.message(&Message::Deleted { name, dir });
        } else {
            self.printer.deleted(&self.recv.reporter, &rel, dir, mode);
        }
    }
}

/// Reverse list order: directories before files, each by name from the last to the first.
fn sort_for_deletion(items: &mut [(NameBuf, bool)], order: Order) {
    items.sort_by(|a, b| order.compare(b.0.as_bytes(), b.1, a.0.as_bytes(), a.1));
}
