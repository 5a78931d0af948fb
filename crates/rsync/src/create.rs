//! Directories, symbolic links, devices and specials: items that need no data.
//!
//! Part of the generator. Each function looks at what stands at the destination, makes or mends
//! it, and reports the item.

use std::io;

use tree::dir::Dir;
use tree::meta::Meta;
use tree::path::{Name, RelPath, RelPathBuf};
use tree::xattr::XattrHolder;
use wire::flist::entry::Entry;
use wire::flist::list::EntryView;
use wire::itemize::ItemFlags;

use crate::attributes::{self, Applied, Wanted};
use crate::dest::DestStart;
use crate::fatal::Fatal;
use crate::generator::Generator;
use crate::quick_check::attribute_flags;
use crate::receiving::Before;
use crate::report::messages::Role;

impl Generator {
    /// The path of an entry below the destination, or an error line when it cannot be used.
    pub fn path(&mut self, name: &[u8]) -> Option<RelPathBuf> {
        let path = self.recv.dest_path(name);
        if path.is_none() {
            let line = [b"rsync: [generator] unusable name: ".as_slice(), name].concat();
            self.recv.reporter.error_line(&line);
        }
        path
    }

    /// What stands at a path: `None` when nothing does, or when its directory is missing.
    pub fn look(&mut self, path: &RelPath) -> io::Result<Option<Meta>> {
        if self.recv.dest_missing {
            return Ok(None);
        }
        let Some(name) = path.name() else {
            return self.cache.dir(path)?.stat_self().map(Some);
        };
        if self.would_be_new(path.parent()) {
            return Ok(None);
        }
        match self.cache.parent(path) {
            Ok(dir) => dir.lstat(name),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Whether a dry run leaves something else where this directory would be made, or one above it.
    pub fn would_be_new(&self, dir: &RelPath) -> bool {
        let mut at = dir;
        while !self.replacing.is_empty() && at.name().is_some() {
            if self.replacing.contains(at.as_bytes()) {
                return true;
            }
            at = at.parent();
        }
        false
    }

    /// Whether nothing can stand at a path, since its directory was just made. Nothing is assumed
    /// where another program's file, put there meanwhile, is to be spared.
    pub fn is_fresh(&self, path: &RelPath) -> bool {
        let opts = &self.recv.opts;
        let spares = opts.update || opts.ignore_existing || opts.existing || opts.backup;
        self.fresh.as_ref().is_some_and(|fresh| **fresh == *path.parent())
            && !(spares || opts.hard_links || opts.inplace || opts.keep_dirlinks)
    }

    /// The same; `None` when that failed, which has been told.
    pub fn look_or_tell(&mut self, path: &RelPath, name: &[u8]) -> Option<Option<Meta>> {
        let looked = self.look(path);
        self.told(looked, name)
    }

    fn told(&self, looked: io::Result<Option<Meta>>, name: &[u8]) -> Option<Option<Meta>> {
        looked
            .inspect_err(|error| {
                let (what, shown) = ("recv_generator: failed to stat", self.recv.shown_path(name));
                attributes::failed(&self.recv, Role::Generator, what, &shown, name, error);
            })
            .ok()
    }

    /// Whether a symlink that stands for a directory is kept as one (`--keep-dirlinks`).
    pub fn is_kept_dirlink(&mut self, path: &RelPath) -> bool {
        self.recv.opts.keep_dirlinks
            && matches!(self.look(path), Ok(Some(meta)) if meta.is_link())
            && self.look_through(path).is_ok_and(|meta| meta.is_some_and(|meta| meta.is_dir()))
    }

    /// What a symlink at a path leads to: anywhere for an operator, for a daemon in its module.
    fn look_through(&mut self, path: &RelPath) -> io::Result<Option<Meta>> {
        let Some(name) = path.name() else { return self.look(path) };
        match self.recv.start {
            DestStart::Operator { .. } => self.cache.parent(path)?.stat_through(name).map(Some),
            DestStart::Module { .. } => self.recv.root.stat_through(path).map(Some),
        }
    }

    /// Handles a directory entry; true when its contents can be worked on.
    pub fn directory(&mut self, entry: &EntryView<'_>, index: i32) -> Result<bool, Fatal> {
        let name = entry.name();
        let Some(path) = self.path(&name) else { return Ok(false) };
        let implied = entry.top_dir() && !entry.content_dir();
        if implied && !self.recv.opts.implied_dirs && self.recv.opts.relative {
            return Ok(true);
        }
        let linked = self.is_kept_dirlink(&path);
        let early = self.made_early.remove(&name) || name == b"." && self.recv.dest_made;
        let looked = if linked { self.look_through(&path) } else { self.look(&path) };
        let looked = match unless_denied(looked) {
            Err(error) if error.raw_os_error() == Some(libc::ELOOP) => Ok(None),
            looked => looked,
        };
        let Some(mut meta) = self.told(looked, &name) else {
            self.skip_contents(&name);
            return Ok(false);
        };
        if meta.is_none() && self.skipped_as_missing("directory", &name) {
            self.skip_contents(&name);
            return Ok(false);
        }
        if let Some(found) = &meta
            && !found.is_dir()
        {
            // What it holds is tried all the same, and finds no directory.
            if self.skipped_by_presence(&path, entry, Some(found)) {
                return Ok(true);
            }
            if !self.make_room(&path, found, "directory", &name)? {
                self.skip_failed_directory(&name);
                return Ok(false);
            }
            if self.recv.opts.dry_run {
                self.replacing.insert(path.as_bytes().to_vec());
            }
            meta = None;
        }
        let new = meta.is_none() || early;
        let flags = match &meta {
            Some(meta) if !new => self.item_flags(&path, entry, Some(meta), false),
            _ => self.alternate_directory(&path, entry, &name),
        };
        let late = new && self.names_what_is_set();
        if !late {
            self.report_if_changed(index, flags, None)?;
        }
        if meta.is_none() && !self.recv.opts.dry_run {
            meta = match self.make_directory(&path, entry) {
                Ok(made) => Some(made),
                Err(error) => {
                    self.path_error("recv_generator: mkdir", &name, &error);
                    self.skip_failed_directory(&name);
                    return Ok(false);
                }
            };
        }
        if let Some(meta) = meta
            && !self.recv.opts.dry_run
        {
            let set = self.directory_attributes(&path, entry, &meta, new, &name);
            if late && set {
                self.report_if_changed(index, flags, None)?;
            }
        }
        self.fresh = new.then_some(path);
        Ok(true)
    }

    fn skip_failed_directory(&mut self, name: &[u8]) {
        self.recv.reporter.error_line(b"*** Skipping any contents from this failed directory ***");
        self.skip_contents(name);
    }

    fn make_directory(&mut self, path: &RelPath, entry: &EntryView<'_>) -> io::Result<Meta> {
        let name = path.name().ok_or_else(|| io::Error::from_raw_os_error(libc::EEXIST))?;
        if self.cache.parent(path).is_err_and(|e| e.kind() == io::ErrorKind::NotFound)
            && self.recv.opts.relative
        {
            self.make_parents(path)?;
        }
        let dir = self.cache.parent(path)?;
        let mode = self.recv.wanted_perm(entry, self.recv.before_new(Some(dir))) & 0o777;
        dir.mkdir(name, mode | 0o700)?;
        let made = dir.lstat(name)?;
        made.ok_or_else(|| io::Error::from_raw_os_error(libc::ENOENT))
    }

    /// Makes the missing parents of a path with default modes.
    pub fn make_parents(&mut self, path: &RelPath) -> io::Result<()> {
        let mut missing = Vec::new();
        let mut at = path.parent();
        while at.name().is_some() && self.cache.dir(at).is_err() {
            missing.push(at.to_owned());
            at = at.parent();
        }
        for dir in missing.into_iter().rev() {
            if let Some(name) = dir.name() {
                let made = self.cache.parent(&dir)?.mkdir(name, 0o777);
                if let Err(error) = made
                    && error.kind() != io::ErrorKind::AlreadyExists
                {
                    return Err(error);
                }
            }
        }
        Ok(())
    }

    /// Makes a directory met in its parent's list, so that making it later does not disturb the
    /// parent's time. Its own list brings the rest.
    pub fn make_early(&mut self, entry: &EntryView<'_>) {
        let name = entry.name();
        if self.recv.opts.dry_run || self.recv.opts.list_only || !self.recv.keeps_time(entry) {
            return;
        }
        if self.is_skipped(&name) {
            return;
        }
        let Some(path) = self.recv.dest_path(&name) else { return };
        if self.is_kept_dirlink(&path) {
            return;
        }
        let implied = entry.top_dir() && !entry.content_dir();
        let plain = implied && !self.recv.opts.implied_dirs && self.recv.opts.relative;
        let clear = match self.look(&path) {
            Ok(None) => !self.recv.opts.existing,
            Ok(Some(found)) if !found.is_dir() && !plain && !self.recv.opts.ignore_existing => {
                matches!(self.clear_other(&path, &found, "directory", &name), Ok(true))
            }
            _ => false,
        };
        let mode = if plain { 0o777 } else { 0o700 };
        if clear
            && let Some(base) = path.name()
            && let Ok(dir) = self.cache.parent(&path)
            && dir.mkdir(base, mode).is_ok()
            && !plain
        {
            self.made_early.insert(name);
        }
    }

    /// Sets what a directory wants; whether it had something else.
    fn directory_attributes(
        &mut self,
        path: &RelPath,
        entry: &EntryView<'_>,
        meta: &Meta,
        new: bool,
        name: &[u8],
    ) -> bool {
        let mut before = Before::Mode(meta.mode);
        if new {
            // The destination itself counts as what holds it.
            let above =
                if path.name().is_some() { self.cache.parent(path) } else { self.cache.dir(path) };
            before = self.recv.before_new(above.ok());
        }
        let mut wanted = attributes::wanted(&self.recv, entry, before);
        if let Some(perm) = &mut wanted.perm {
            // A group bit that a new directory inherited stays.
            if new && !self.recv.opts.perms {
                *perm |= meta.mode & 0o2000;
            }
        }
        let perm = wanted.perm.unwrap_or(meta.mode & 0o7777);
        let opened_up = !self.recv.privileges.root && perm & 0o700 != 0o700;
        // What was just made for us to work in stays so until the end.
        if opened_up && new {
            wanted.perm = wanted.perm.map(|perm| perm | 0o700);
        }
        self.apply_to(path, meta, &wanted, name, false);
        if opened_up {
            self.open_up(path, perm, new, name);
        }
        // A directory is made with the rights of its owner, whatever it gets.
        let perm = wanted.perm.map(|perm| if new { perm | 0o700 } else { perm });
        Wanted { perm, ..wanted }.differs(meta, self.recv.opts.modify_window)
    }

    /// Lets us work in a directory that keeps its owner out, until its end.
    fn open_up(&mut self, path: &RelPath, perm: u32, done: bool, name: &[u8]) {
        let set = match path.name() {
            _ if done => Ok(()),
            Some(base) => self.cache.parent(path).and_then(|dir| dir.chmod(base, perm | 0o700)),
            None => self.cache.dir(path).and_then(|dir| dir.chmod_self(perm | 0o700)),
        };
        match set {
            Ok(()) => {
                self.opened_up.insert(name.to_vec(), perm);
            }
            Err(error) => {
                let (what, shown) = ("failed to modify permissions on", self.recv.shown_path(name));
                attributes::failed(&self.recv, Role::Generator, what, &shown, name, &error);
            }
        }
    }

    /// Sets what a directory should have once everything in it is done.
    pub fn end_directory(&mut self, entry: &Entry) {
        if self.recv.opts.dry_run || self.recv.opts.list_only {
            return;
        }
        let single = wire::flist::list::single(entry.clone());
        let view = single.get(0);
        let implied = view.top_dir() && !view.content_dir();
        if implied && !self.recv.opts.implied_dirs && self.recv.opts.relative {
            return;
        }
        let name = view.name();
        let opened_up = self.opened_up.remove(&name);
        if !self.recv.keeps_time(&view) && opened_up.is_none() {
            return;
        }
        let Some(path) = self.recv.dest_path(&name) else { return };
        if !self.unsettable.contains(&name)
            && let Ok(Some(meta)) = self.look(&path)
            && meta.is_dir()
        {
            let mut wanted = attributes::wanted(&self.recv, &view, Before::Mode(meta.mode));
            wanted.uid = None;
            wanted.gid = None;
            wanted.acls = None;
            wanted.perm = opened_up;
            self.apply_to(&path, &meta, &wanted, &name, false);
        }
    }

    /// Applies attributes to the item at a path. Whether all of them are as they should be.
    pub fn apply_to(
        &mut self,
        path: &RelPath,
        meta: &Meta,
        wanted: &Wanted,
        name: &[u8],
        exact: bool,
    ) -> bool {
        let recv = self.recv.clone();
        let applied = match path.name() {
            Some(base) => self
                .cache
                .parent(path)
                .map(|dir| attributes::apply(&recv, dir, Some(base), meta, wanted, name, exact)),
            None => self
                .cache
                .dir(path)
                .map(|dir| attributes::apply(&recv, dir, None, meta, wanted, name, exact)),
        };
        match applied {
            // What could not be set once is not tried again at the end.
            Ok(Applied::Failed) if meta.is_dir() => {
                self.unsettable.insert(name.to_vec());
            }
            Ok(_) => {}
            Err(ref error) => self.path_error("failed to reach", name, error),
        }
        matches!(applied, Ok(Applied::All))
    }

    /// Handles a symlink, device, fifo or socket entry.
    pub fn link_or_special(&mut self, entry: &EntryView<'_>, index: i32) -> Result<(), Fatal> {
        let name = entry.name();
        let opts = self.recv.opts.clone();
        let Some(path) = self.path(&name) else { return Ok(()) };
        let looked = unless_denied(self.look(&path));
        let Some(mut meta) = self.told(looked, &name) else { return Ok(()) };
        if self.skipped_by_presence(&path, entry, meta.as_ref()) {
            return Ok(());
        }
        let wanted_kind = if entry.is_link() {
            opts.links
        } else if entry.is_device() {
            opts.devices && self.recv.privileges.root && !opts.rights.drop_devices
        } else {
            opts.specials && !opts.rights.drop_devices
        };
        if !wanted_kind || entry.is_link() && entry.link_target().is_none() {
            if opts.info.nonreg > 0 {
                let mut line = b"skipping non-regular file \"".to_vec();
                line.extend_from_slice(crate::scan::trim_root(&name));
                line.extend_from_slice(b"\"\n");
                self.recv.reporter.info(&line);
            }
            return Ok(());
        }
        if self.ignores_unsafe(entry, &name) {
            return Ok(());
        }
        let in_the_way = meta.is_some();
        if let Some(found) = &meta {
            if self.has_value(&path, entry, found) {
                let flags = self.item_flags(&path, entry, Some(found), false);
                let wanted = attributes::wanted(&self.recv, entry, Before::Mode(found.mode));
                if opts.dry_run || self.apply_to(&path, found, &wanted, &name, false) {
                    self.say_untouched(index, flags);
                }
                self.report_flags(index, flags, None)?;
                self.confirm(entry, index, false);
                return self.leader_done(entry, index, &name);
            }
            let same_kind = found.mode & 0o170_000 == entry.mode() & 0o170_000;
            if found.is_dir() {
                let kind = kind_word(entry);
                if !self.make_room(&path, found, kind, &name)? {
                    return Ok(());
                }
                meta = None;
            } else if !same_kind {
                meta = None;
            }
        }
        let made = ItemFlags::LOCAL_CHANGE | ItemFlags::REPORT_CHANGE;
        let flags = match meta {
            Some(found) => {
                // What is replaced takes its extended attributes with it; a dry run still sees them.
                let seen = Some(&found).filter(|_| opts.dry_run);
                let lists = self.item_flags(&path, entry, seen, true);
                made | lists | attribute_flags(&self.recv, entry, &found, true)
            }
            None if in_the_way => {
                made | ItemFlags::IS_NEW | self.item_flags(&path, entry, None, true)
            }
            None => match self.alternate_other(&path, entry, index, &name)? {
                Some(flags) => flags,
                None => return Ok(()),
            },
        };
        self.create(&path, entry, &name, index, flags)
    }

    /// `--safe-links`.
    fn ignores_unsafe(&self, entry: &EntryView<'_>, name: &[u8]) -> bool {
        let Some(text) = entry.link_target().filter(|_| entry.is_link()) else { return false };
        let name = crate::scan::trim_root(name);
        if !self.recv.opts.safe_links || !crate::symlinks::is_unsafe(text, name) {
            return false;
        }
        if self.recv.opts.info.symsafe > 0 {
            let words: [&[u8]; 5] =
                [b"ignoring unsafe symlink \"", name, b"\" -> \"", text, b"\"\n"];
            self.recv.reporter.info(&words.concat());
        }
        true
    }

    fn create(
        &mut self,
        path: &RelPath,
        entry: &EntryView<'_>,
        name: &[u8],
        index: i32,
        flags: ItemFlags,
    ) -> Result<(), Fatal> {
        if !self.recv.opts.dry_run
            && let Err(error) = self.create_item(path, entry, name)
        {
            let what = if entry.is_link() { "symlink" } else { "mknod" };
            let mut line = format!("rsync: [generator] {what} ").into_bytes();
            line.extend_from_slice(&self.recv.reporter.quoted(&self.recv.shown_path(name)));
            if let Some(target) = entry.link_target() {
                line.extend_from_slice(b" -> \"");
                line.extend_from_slice(target);
                line.push(b'"');
            }
            line.extend_from_slice(b" failed: ");
            line.extend_from_slice(crate::fatal::errno_text(&error).as_bytes());
            let text = String::from_utf8_lossy(&line).into_owned();
            self.recv.reporter.problem(name, crate::problem::ProblemKind::Failed, text);
            self.recv.reporter.error_line(&line);
            return Ok(());
        }
        self.report_if_changed(index, flags, None)?;
        self.confirm(entry, index, entry.is_link());
        self.leader_done(entry, index, name)
    }

    /// Makes the item under a temporary name and renames it over what is there.
    fn create_item(
        &mut self,
        path: &RelPath,
        entry: &EntryView<'_>,
        name: &[u8],
    ) -> io::Result<()> {
        let base = path.name().ok_or_else(|| io::Error::from_raw_os_error(libc::EISDIR))?;
        if self.cache.parent(path).is_err_and(|e| e.kind() == io::ErrorKind::NotFound)
            && self.recv.opts.relative
        {
            self.make_parents(path)?;
        }
        let dir = self.cache.parent(path)?.clone();
        let old = dir.lstat(base)?;
        if let Some(old) = &old
            && self.recv.opts.backup
        {
            crate::backup::back_up(&self.recv, &dir, base, old, path, false)?;
        }
        let temp = if old.is_some() { Some(tree::stage::temp_name(base)?) } else { None };
        let target: &Name = temp.as_deref().unwrap_or(base);
        if let Some(text) = entry.link_target().filter(|_| entry.is_link()) {
            dir.symlink(text, target)?;
        } else {
            dir.mknod(target, entry.mode() & 0o170_000 | 0o600, entry.rdev())?;
        }
        if let Some(made) = dir.lstat(target)? {
            let wanted = attributes::wanted(&self.recv, entry, self.recv.before_new(Some(&dir)));
            attributes::apply(&self.recv, &dir, Some(target), &made, &wanted, name, true);
            if let Some(number) = entry.xattrs() {
                // Long values come later.
                let new = XattrHolder::Item(&dir, target);
                self.recv.set_xattrs(number, &new, None, (Role::Generator, name), true);
            }
        }
        if temp.is_some()
            && let Err(error) = dir.rename(target, &dir, base)
        {
            let _ = dir.unlink(target);
            return Err(error);
        }
        Ok(())
    }

    pub(crate) fn has_value(
        &mut self,
        path: &RelPath,
        entry: &EntryView<'_>,
        found: &Meta,
    ) -> bool {
        let Some(base) = path.name() else { return false };
        self.cache.parent(path).is_ok_and(|dir| same_value(dir, base, entry, found))
    }
}

/// Whether the item `base` of `dir`, whose facts are `found`, is what a symlink, device or special
/// entry describes.
pub fn same_value(dir: &Dir, base: &Name, entry: &EntryView<'_>, found: &Meta) -> bool {
    if found.mode & 0o170_000 != entry.mode() & 0o170_000 {
        return false;
    }
    if entry.is_link() {
        let Some(target) = entry.link_target() else { return false };
        return dir.read_link(base).is_ok_and(|text| text == target);
    }
    !entry.is_device() || found.rdev == entry.rdev()
}

/// What a new item is called when room must be made for it.
pub fn kind_word(entry: &EntryView<'_>) -> &'static str {
    if entry.is_link() {
        "symlink"
    } else if entry.is_device() {
        "device file"
    } else if entry.is_special() {
        "special file"
    } else if entry.is_dir() {
        "directory"
    } else {
        "regular file"
    }
}

/// What cannot be looked at counts as missing: making something there will tell.
fn unless_denied(looked: io::Result<Option<Meta>>) -> io::Result<Option<Meta>> {
    use io::ErrorKind::{NotADirectory, PermissionDenied};
    match looked {
        Err(error) if matches!(error.kind(), PermissionDenied | NotADirectory) => Ok(None),
        looked => looked,
    }
}
