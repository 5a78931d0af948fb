//! What the generator makes of an item that a basis directory holds: nothing, a link, a copy, or
//! the file to take blocks from.
//!
//! Part of the generator. The first directory with the best match counts; a perfect one ends the
//! search.

use std::io;

use tree::attrs::Times;
use tree::dir::Dir;
use tree::meta::Meta;
use tree::path::{Name, RelPath};
use tree::stage::Stage;
use tree::xattr::XattrHolder;
use wire::flist::list::EntryView;
use wire::itemize::ItemFlags;

use crate::attributes;
use crate::fatal::{Fatal, errno_text};
use crate::generator::Generator;
use crate::options::BasisKind;
use crate::quick_check::{attribute_flags, same_time};
use crate::report::messages::Role;

/// How much of an item agrees with its entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// Its type.
    Type,
    /// And its content or value.
    Value,
    /// And all attributes that are preserved.
    All,
}

/// What a basis directory holds.
pub struct Alternate {
    /// Which of the directories.
    pub number: usize,
    /// How much of it agrees.
    pub level: Level,
    /// The directory it lies in.
    pub dir: Dir,
    /// Its facts.
    pub meta: Meta,
}

/// What became of a regular file.
pub enum Found {
    /// Nothing more is to be done for it.
    Done,
    /// A file to take blocks from.
    Basis(Alternate),
    /// Nothing of use.
    Nothing,
}

/// The kind of an item, from its mode.
const KIND: u32 = 0o170_000;

impl Generator {
    /// The best match for an entry. `same_value` compares contents of items of one type.
    fn best_alternate(
        &mut self,
        path: &RelPath,
        entry: &EntryView<'_>,
        same_value: &mut dyn FnMut(&mut Generator, &Dir, &Meta) -> bool,
    ) -> Option<Alternate> {
        let mut best: Option<Alternate> = None;
        for number in 0..self.basis.len() {
            let Some((dir, meta)) = self.basis.look(number, path) else { continue };
            if meta.mode & KIND != entry.mode() & KIND {
                continue;
            }
            let level = if !same_value(self, &dir, &meta) {
                Level::Type
            } else if self.flags_at((&dir, path.name()), entry, &meta, false) != ItemFlags::NONE
                || self.omitted_time_differs(entry, &meta)
            {
                Level::Value
            } else {
                Level::All
            };
            if best.as_ref().is_none_or(|best| level > best.level) {
                best = Some(Alternate { number, level, dir, meta });
            }
            if level == Level::All {
                break;
            }
        }
        best
    }

    /// Whether a directory has another time than its entry, where that is not set: it counts here
    /// all the same.
    fn omitted_time_differs(&self, entry: &EntryView<'_>, meta: &Meta) -> bool {
        let (wanted, there) = ((entry.mtime(), entry.mtime_nsec()), (meta.mtime, meta.mtime_nsec));
        entry.is_dir()
            && self.recv.opts.times
            && !same_time(self.recv.opts.modify_window, wanted, there)
    }

    /// Whether a basis directory holds a regular file of this path.
    pub fn has_alternate(&mut self, path: &RelPath) -> bool {
        (0..self.basis.len())
            .any(|number| self.basis.look(number, path).is_some_and(|(_, meta)| meta.is_file()))
    }

    /// The first file of this path, where contents are not believed any more.
    pub fn any_alternate(&mut self, path: &RelPath, entry: &EntryView<'_>) -> Option<Alternate> {
        self.best_alternate(path, entry, &mut |_, _, _| false)
    }

    /// Uses the basis directories for a regular file. `there` stands at the destination.
    pub fn alternate_file(
        &mut self,
        path: &RelPath,
        entry: &EntryView<'_>,
        there: Option<&Meta>,
        index: i32,
        name: &[u8],
    ) -> Result<Found, Fatal> {
        let kind = self.recv.opts.basis_kind;
        let Some(base) = path.name().filter(|_| there.is_none() || kind != BasisKind::Copy) else {
            return Ok(Found::Nothing);
        };
        let found = self.best_alternate(path, entry, &mut |generator, dir, meta| {
            generator.is_unchanged(Ok(dir.clone()), base, entry, meta)
        });
        let Some(found) = found else { return Ok(Found::Nothing) };
        if let Some(there) = there {
            if found.level < Level::All {
                return Ok(Found::Nothing);
            }
            if kind == BasisKind::Link && there.is_same_item(&found.meta) {
                self.report_if_changed(index, ItemFlags::NONE, None)?;
                return self.alternate_done(path, entry, index, name);
            }
            // What is in the basis directory takes the place of what is here.
            if !self.recv.opts.dry_run
                && self.cache.parent(path).and_then(|dir| dir.unlink(base)).is_err()
            {
                return Ok(Found::Nothing);
            }
        }
        if found.level == Level::All && kind == BasisKind::Compare {
            self.report_if_changed(index, ItemFlags::NONE, None)?;
            self.confirm(entry, index, false);
            return Ok(Found::Done);
        }
        if found.level == Level::All && kind == BasisKind::Link && self.link_from(&found, path) {
            self.report_if_changed(index, ItemFlags::NONE, Some(Vec::new()))?;
            return self.alternate_done(path, entry, index, name);
        }
        if found.level >= Level::Value && self.copy_from(&found, path, entry, name).is_ok() {
            if found.level == Level::All {
                self.say_up_to_date(name, false);
            }
            let flags = self.flags_at((&found.dir, Some(base)), entry, &found.meta, true);
            self.report_if_changed(index, ItemFlags::LOCAL_CHANGE | flags, None)?;
            return self.alternate_done(path, entry, index, name);
        }
        Ok(if self.is_readable(&found, base, name) { Found::Basis(found) } else { Found::Nothing })
    }

    /// Whether blocks can be taken from what was found; tells if not.
    fn is_readable(&self, found: &Alternate, base: &Name, name: &[u8]) -> bool {
        // Comparing contents has found out already, without a word.
        if self.recv.privileges.root || self.recv.opts.dry_run || self.recv.opts.checksum {
            return true;
        }
        let Err(error) = found.dir.open_read(base) else { return true };
        let shown = self.shown_alternate(found, name);
        let mut line = b"rsync: [generator] open ".to_vec();
        line.extend_from_slice(&self.recv.reporter.quoted(&shown));
        line.extend_from_slice(format!(": {}", errno_text(&error)).as_bytes());
        self.recv.reporter.error_line(&line);
        false
    }

    /// What was found as messages show it.
    pub fn shown_alternate(&self, found: &Alternate, name: &[u8]) -> Vec<u8> {
        let mut shown = self.recv.opts.basis_dirs.get(found.number).cloned().unwrap_or_default();
        if !shown.starts_with(b"/") {
            shown = [self.recv.shown.as_slice(), b"/", &shown].concat();
        }
        [&shown, b"/".as_slice(), crate::scan::trim_root(name)].concat()
    }

    fn alternate_done(
        &mut self,
        path: &RelPath,
        entry: &EntryView<'_>,
        index: i32,
        name: &[u8],
    ) -> Result<Found, Fatal> {
        if !self.recv.opts.dry_run {
            crate::partial::forget(&self.recv, &mut self.cache, path);
        }
        self.confirm(entry, index, false);
        self.leader_done(entry, index, name)?;
        Ok(Found::Done)
    }

    /// Uses the basis directories for a symlink, device or special that is not there. True when
    /// nothing more is to be done for it; else the flags of what is to be made.
    pub fn alternate_other(
        &mut self,
        path: &RelPath,
        entry: &EntryView<'_>,
        index: i32,
        name: &[u8],
    ) -> Result<Option<ItemFlags>, Fatal> {
        let new = ItemFlags::LOCAL_CHANGE | ItemFlags::REPORT_CHANGE | ItemFlags::IS_NEW;
        let Some(base) = path.name() else { return Ok(Some(new)) };
        // What is made has no extended attributes yet.
        let found = self.best_alternate(path, entry, &mut |_, dir, meta| {
            crate::create::same_value(dir, base, entry, meta)
        });
        let lists = self.item_flags(path, entry, None, true);
        let Some(found) = found else { return Ok(Some(new | lists)) };
        if found.level < Level::All {
            let flags = lists | attribute_flags(&self.recv, entry, &found.meta, true);
            return Ok(Some(ItemFlags::LOCAL_CHANGE | ItemFlags::REPORT_CHANGE | flags));
        }
        let kind = self.recv.opts.basis_kind;
        match kind {
            BasisKind::Compare => self.report_if_changed(index, ItemFlags::NONE, None)?,
            BasisKind::Link if self.link_from(&found, path) => {
                self.report_if_changed(index, ItemFlags::NONE, Some(Vec::new()))?;
                self.leader_done(entry, index, name)?;
            }
            BasisKind::Link | BasisKind::Copy => {
                self.say_up_to_date(name, false);
                return Ok(Some(ItemFlags::LOCAL_CHANGE | lists));
            }
        }
        Ok(None)
    }

    /// The flags of a directory that was made, or would be: it differs from that in a basis
    /// directory, if there is one.
    pub fn alternate_directory(
        &mut self,
        path: &RelPath,
        entry: &EntryView<'_>,
        name: &[u8],
    ) -> ItemFlags {
        let Some(found) = self.best_alternate(path, entry, &mut |_, _, _| true) else {
            let lists = self.item_flags(path, entry, None, false);
            return ItemFlags::LOCAL_CHANGE | ItemFlags::IS_NEW | lists;
        };
        let mut flags = ItemFlags::LOCAL_CHANGE;
        if found.level == Level::All {
            self.say_up_to_date(name, true);
        } else if !self.recv.keeps_time(entry) {
            flags |= ItemFlags::REPORT_TIME;
        }
        flags |= self.item_flags(path, entry, None, false);
        flags | attribute_flags(&self.recv, entry, &found.meta, false)
    }

    /// Whether there is something to tell of a member of a group that was not there and becomes a
    /// link to `leader`, and how it differs; a basis directory may hold the same two links.
    pub fn alternate_link(
        &mut self,
        path: &RelPath,
        entry: &EntryView<'_>,
        leader: &RelPath,
        leader_meta: Option<&Meta>,
    ) -> (bool, ItemFlags) {
        let new = (true, ItemFlags::IS_NEW | self.item_flags(path, entry, None, false));
        let Some(base) = path.name() else { return new };
        for number in 0..self.basis.len() {
            let Some((dir, meta)) = self.basis.look(number, path) else { continue };
            if meta.mode & KIND != entry.mode() & KIND {
                continue;
            }
            if self.recv.opts.basis_kind == BasisKind::Link {
                let assumed = || self.basis.look(number, leader).map(|(_, meta)| meta);
                let leads = leader_meta.cloned().or_else(assumed);
                if leads.is_some_and(|leads| leads.is_same_item(&meta)) {
                    return (false, self.flags_at((&dir, Some(base)), entry, &meta, false));
                }
            } else if self.is_unchanged(Ok(dir.clone()), base, entry, &meta) {
                return (true, self.flags_at((&dir, Some(base)), entry, &meta, false));
            }
        }
        new
    }

    /// Makes a link to what was found; a dry run would have.
    fn link_from(&mut self, found: &Alternate, path: &RelPath) -> bool {
        let (Some(base), false) = (path.name(), self.recv.opts.dry_run) else { return true };
        self.parent_made(path).is_ok_and(|dir| found.dir.hard_link(base, &dir, base).is_ok())
    }

    /// The directory of a path, its missing parents made where `--relative` leaves that to us.
    fn parent_made(&mut self, path: &RelPath) -> io::Result<Dir> {
        match self.cache.parent(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound && self.recv.opts.relative => {
                self.make_parents(path)?;
                self.cache.parent(path).cloned()
            }
            found => found.cloned(),
        }
    }

    /// Copies the content of what was found, with the attributes of the entry; a dry run would have.
    fn copy_from(
        &mut self,
        found: &Alternate,
        path: &RelPath,
        entry: &EntryView<'_>,
        name: &[u8],
    ) -> io::Result<()> {
        let (Some(base), false) = (path.name(), self.recv.opts.dry_run) else { return Ok(()) };
        let recv = self.recv.clone();
        let dir = self.parent_made(path)?;
        let source = recv.opts.opened(found.dir.open_read(base)?)?;
        let wanted = attributes::wanted(&recv, entry, recv.before_new(Some(&dir)));
        let mut stage = self.new_stage(&dir, base, wanted.perm.unwrap_or(0o600))?;
        if recv.opts.sparse {
            stage.set_sparse();
        }
        self.buffer.resize(crate::hash::READ_CHUNK, 0);
        loop {
            let got = crate::hash::read_full(&source, &mut self.buffer)?;
            stage.write(self.buffer.get(..got).unwrap_or_default())?;
            if got < self.buffer.len() {
                break;
            }
        }
        stage.finish_content()?;
        if recv.opts.fsync {
            stage.sync()?;
        }
        let mut failed = stage.set_attributes(wanted.uid, wanted.gid, Times::default(), None);
        let (holder, who) = (stage.holder(), (Role::Generator, name));
        if let Some(number) = entry.xattrs() {
            let old = XattrHolder::Item(&found.dir, base);
            recv.set_xattrs(number, &holder, Some(&old), who, true);
        }
        if let (Some(numbers), Some(perm)) = (wanted.acls, wanted.perm) {
            recv.set_acls(numbers, &holder, perm, who);
        }
        failed.extend(stage.set_attributes(None, None, wanted.times(), wanted.perm));
        for (what, error) in failed {
            let shown = recv.shown_temp(name);
            attributes::failed(&recv, Role::Generator, what, &shown, name, &error);
        }
        stage.commit(&dir, base)
    }

    fn new_stage(&self, dir: &Dir, base: &Name, perm: u32) -> io::Result<Stage> {
        match self.recv.opts.inplace {
            true => Stage::in_place(dir.clone(), base, true),
            false => Stage::temp(dir.clone(), base, self.recv.temp_dir()?, (perm | 0o200) & 0o700),
        }
    }

    /// What `-vv` says of an item that a basis directory has as it should be.
    pub fn say_up_to_date(&self, name: &[u8], is_dir: bool) {
        if self.recv.opts.info.name > 1 && !self.recv.opts.shows_letters() {
            let slash: &[u8] = if is_dir { b"/" } else { b"" };
            let name = self.recv.told_name(name);
            self.recv.reporter.info(&[name, slash, b" is uptodate\n"].concat());
        }
    }
}
