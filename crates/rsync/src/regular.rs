//! Regular files: is the destination good enough, and if not, what is asked for.
//!
//! Part of the generator. The order of the tests is the reference's: presence, size limits, update,
//! what else stands there, partial file, quick check, basis and its sums.

use std::io;
use std::sync::Arc;

use tree::dir::{Dir, content_len};
use tree::meta::Meta;
use tree::path::{Name, RelPath};
use wire::exchange::request::ItemHead;
use wire::flist::list::EntryView;
use wire::itemize::ItemFlags;
use wire::sum::SumHead;

use crate::alternate::{Alternate, Found};
use crate::attributes;
use crate::fatal::Fatal;
use crate::generator::Generator;
use crate::lists::{Place, Segment};
use crate::options::{Append, Partial};
use crate::quick_check::{attribute_flags, same_time, unchanged};
use crate::receiving::Before;
use crate::report::messages::READ_ERRORS;

/// Basis type of the destination file itself.
pub const BASIS_FILE: u8 = 0x80;
/// Basis type of a file in the partial directory.
pub const BASIS_PARTIAL: u8 = 0x81;
/// Basis type of a backup copy made before an in-place update.
pub const BASIS_BACKUP: u8 = 0x82;

impl Generator {
    /// Decides about one regular file.
    pub fn regular(
        &mut self,
        _segment: &Arc<Segment>,
        entry: &EntryView<'_>,
        index: i32,
    ) -> Result<(), Fatal> {
        let name = entry.name();
        let Some(path) = self.path(&name) else { return Ok(()) };
        let looked =
            if self.is_fresh(&path) { Some(None) } else { self.look_or_tell(&path, &name) };
        let Some(mut meta) = looked else { return Ok(()) };
        self.size_device(&path, meta.as_mut());
        if self.skipped_by_presence(&path, entry, meta.as_ref())
            || self.outside_size_limits(entry, &name)
            || self.newer(entry, meta.as_ref(), &name)
        {
            return Ok(());
        }
        if let Some(found) = &meta
            && !self.recv.takes_content(found)
        {
            if found.is_dir() && !self.make_room(&path, found, "regular file", &name)? {
                return Ok(());
            }
            if !found.is_dir() && !self.clear_other(&path, found, "regular file", &name)? {
                return Ok(());
            }
            meta = None;
        }
        let alternate = match self.alternate_file(&path, entry, meta.as_ref(), index, &name)? {
            Found::Done => return Ok(()),
            Found::Basis(alternate) => {
                meta = None;
                Some(alternate)
            }
            Found::Nothing => None,
        };
        if let (Some(found), Some(base)) = (&meta, path.name()) {
            let dir = self.cache.parent(&path).cloned();
            if self.is_unchanged(dir, base, entry, found) {
                return self.up_to_date(&path, entry, found, index, &name);
            }
        }
        self.request(&path, entry, (meta.as_ref(), alternate.as_ref()), index, &name)
    }

    /// `--write-devices`: a device is as large as what it holds.
    fn size_device(&mut self, path: &RelPath, meta: Option<&mut Meta>) {
        if let Some(found) = meta.filter(|found| !found.is_file() && self.recv.takes_content(found))
            && let Some(base) = path.name()
            && let Ok(file) = self.cache.parent(path).and_then(|dir| dir.open_content(base, true))
        {
            found.size = content_len(&file).unwrap_or_default();
        }
    }

    /// Whether a file is too big or too small to be sent; says so when asked to.
    pub fn outside_size_limits(&self, entry: &EntryView<'_>, name: &[u8]) -> bool {
        let opts = &self.recv.opts;
        let word = if opts.max_size.is_some_and(|max| entry.len() > max) {
            " is over max-size\n"
        } else if opts.min_size.is_some_and(|min| entry.len() < min) {
            " is under min-size\n"
        } else {
            return false;
        };
        if opts.info.skip > 0 {
            self.recv.reporter.info(&[crate::scan::trim_root(name), word.as_bytes()].concat());
        }
        true
    }

    fn newer(&self, entry: &EntryView<'_>, meta: Option<&Meta>, name: &[u8]) -> bool {
        let Some(meta) = meta.filter(|m| self.recv.opts.update && m.is_file()) else {
            return false;
        };
        let window = i64::from(self.recv.opts.modify_window.max(0));
        let newer = entry.mtime().saturating_sub(meta.mtime) < window;
        let newer = if window == 0 { entry.mtime() < meta.mtime } else { newer };
        if newer && self.recv.opts.info.skip > 0 {
            self.recv.reporter.info(&[self.recv.told_name(name), b" is newer\n"].concat());
        }
        newer
    }

    /// Whether the file `base` of `dir` is up to date.
    pub fn is_unchanged(
        &mut self,
        dir: io::Result<Dir>,
        base: &Name,
        entry: &EntryView<'_>,
        meta: &Meta,
    ) -> bool {
        let recv = self.recv.clone();
        let buffer = &mut self.buffer;
        unchanged(&recv.opts, entry, meta, || {
            let file = dir.and_then(|dir| dir.open_content(base, recv.opts.rights.write_devices));
            let digest = file.and_then(|file| {
                crate::hash::hash_file(&recv.opts.opened(file)?, recv.agreed.list_sum, buffer)
            });
            match (digest, entry.digest()) {
                (Ok(ours), Some(theirs)) => ours.as_bytes() == theirs,
                _ => false,
            }
        })
    }

    fn up_to_date(
        &mut self,
        path: &RelPath,
        entry: &EntryView<'_>,
        meta: &Meta,
        index: i32,
        name: &[u8],
    ) -> Result<(), Fatal> {
        let flags = self.item_flags(path, entry, Some(meta), false);
        let mut applied = true;
        if !self.recv.opts.dry_run {
            let mut wanted = attributes::wanted(&self.recv, entry, Before::Mode(meta.mode));
            // The window forgives a small difference of times, but not after a comparison of
            // contents, which says that only the times are wrong.
            if !self.recv.opts.checksum
                && same_time(
                    self.recv.opts.modify_window,
                    (entry.mtime(), entry.mtime_nsec()),
                    (meta.mtime, meta.mtime_nsec),
                )
            {
                wanted.mtime = None;
            }
            applied = self.apply_to(path, meta, &wanted, name, self.recv.opts.checksum);
            if let Partial::Dir(_) = self.recv.opts.partial {
                crate::partial::forget(&self.recv, &mut self.cache, path);
            }
        }
        if applied {
            self.say_untouched(index, flags);
        }
        self.report_flags(index, flags, None)?;
        self.confirm(entry, index, false);
        self.leader_done(entry, index, name)
    }

    /// Asks the sender for a file, with what is at the destination and in a basis directory.
    fn request(
        &mut self,
        path: &RelPath,
        entry: &EntryView<'_>,
        (meta, alternate): (Option<&Meta>, Option<&Alternate>),
        index: i32,
        name: &[u8],
    ) -> Result<(), Fatal> {
        let missing = meta.is_none() && alternate.is_none();
        let mut alternate = alternate;
        let (meta, mut basis) = match self.choose_basis(path, meta.is_some(), alternate) {
            Ok(basis) => (meta, basis),
            Err(error) => {
                self.drop_basis(&mut alternate, name, &error);
                (None, None)
            }
        };
        let mut head =
            ItemHead { ndx: index, iflags: ItemFlags::TRANSFER, basis: None, xname: None };
        let compared = meta.or(alternate.map(|found| &found.meta));
        head.iflags |= self.item_flags(path, entry, meta, true);
        head.iflags |= match (meta, compared) {
            (None, Some(found)) => attribute_flags(&self.recv, entry, found, true),
            (None, None) => ItemFlags::IS_NEW,
            _ => ItemFlags::NONE,
        };
        if self.recv.opts.checksum && compared.is_some() {
            head.iflags |= ItemFlags::REPORT_CHANGE;
        }
        let appends = self.recv.opts.append != Append::Off;
        if appends && compared.is_some_and(|meta| meta.size >= entry.len()) {
            return Ok(());
        }
        let only_asks = self.recv.opts.only_for_batch();
        if self.recv.opts.dry_run && !only_asks {
            self.want(index);
            self.request_head(&head)?;
            if self.recv.opts.hard_links {
                self.leader_assumed(entry, index, name)?;
            }
            return Ok(());
        }
        if missing
            && basis.is_none()
            && let Some(similar) = self.similar(path, entry)
            && let Ok(found) = similar.open(&self.recv.opts)
        {
            basis = basis_of(found, similar.kind).ok();
            head.xname = basis.as_ref().map(|_| similar.name.as_bytes().to_vec());
        }
        name_basis(&mut head, basis.as_ref().map(|(_, kind, _)| *kind));
        if !self.sends_no_sums() && meta.is_some() {
            self.not_similar(path);
        }
        // For a batch alone nothing is owed: what comes is dropped.
        if !only_asks {
            self.requested_leader(entry, index);
            self.owe(index);
            self.want(index);
        }
        self.request_head(&head)?;
        self.describe(index, basis, appends, name)?;
        if only_asks && self.recv.opts.hard_links {
            self.leader_assumed(entry, index, name)?;
        }
        Ok(())
    }

    /// What cannot be read is as if it were not there; where no sums are sent nobody would read it.
    fn drop_basis(&self, alternate: &mut Option<&Alternate>, name: &[u8], error: &io::Error) {
        let shown = match alternate.take_if(|_| !self.sends_no_sums()) {
            Some(found) => self.shown_alternate(found, name),
            None if alternate.is_some() => return,
            None => self.recv.shown_path(name),
        };
        self.recv.reporter.basis_unreadable(&shown, error);
    }

    /// What the sender is told of the basis.
    fn describe(
        &mut self,
        index: i32,
        basis: Option<(std::fs::File, u8, u64)>,
        appends: bool,
        name: &[u8],
    ) -> Result<(), Fatal> {
        match basis {
            // What is there is told by its length alone.
            Some((_, BASIS_FILE, len)) if appends => {
                self.sum_head(len, false).encode(&mut self.writer.data)
            }
            Some((file, _, len)) if !self.sends_no_sums() && !appends => {
                self.recv.asked.offer(index);
                self.send_sums(&file, len, false, name)?;
            }
            _ => SumHead::empty().encode(&mut self.writer.data),
        }
        Ok(())
    }

    /// Tells the receiver, where a batch cannot be told.
    fn want(&self, index: i32) {
        if let Some(wants) = &self.recv.wants {
            wants.want(index);
        }
    }

    /// Whether nobody would read block sums.
    fn sends_no_sums(&self) -> bool {
        self.recv.whole_file || self.recv.wants.is_some()
    }

    /// The file to take blocks from: a partial file before the destination itself, or before one in
    /// a basis directory.
    fn choose_basis(
        &mut self,
        path: &RelPath,
        exists: bool,
        alternate: Option<&Alternate>,
    ) -> io::Result<Option<(std::fs::File, u8, u64)>> {
        if self.recv.opts.dry_run && !self.recv.opts.only_for_batch() {
            return Ok(None);
        }
        let partial = crate::partial::open(&self.recv, &mut self.cache, path);
        if let Some(file) = partial {
            return basis_of(file, BASIS_PARTIAL).map(Some);
        }
        let Some(base) = path.name() else { return Ok(None) };
        if let Some(found) = alternate.filter(|_| !exists) {
            let file = self.recv.opts.opened(found.dir.open_read(base)?)?;
            let number = u8::try_from(found.number).map_err(io::Error::other)?;
            return Ok(Some((file, number, found.meta.size)));
        }
        if !exists || self.recv.whole_file {
            return Ok(None);
        }
        let devices = self.recv.opts.rights.write_devices;
        let file = self.cache.parent(path).and_then(|dir| dir.open_content(base, devices))?;
        basis_of(self.recv.opts.opened(file)?, BASIS_FILE).map(Some)
    }

    /// How a basis of `len` bytes is cut into blocks; empty where it has too many.
    fn sum_head(&self, len: u64, redo: bool) -> SumHead {
        let digest_len = self.recv.agreed.transfer_sum.kind.digest_len();
        let (size, protocol) = (self.recv.opts.block_size, self.recv.agreed.protocol);
        SumHead::for_basis(len, digest_len, redo, size, protocol).unwrap_or_default()
    }

    /// Reads the basis once and writes its sum head and block sums.
    fn send_sums(
        &mut self,
        file: &std::fs::File,
        len: u64,
        redo: bool,
        name: &[u8],
    ) -> Result<(), Fatal> {
        let sum = self.recv.agreed.transfer_sum;
        let head = self.sum_head(len, redo);
        head.encode(&mut self.writer.data);
        if head.count == 0 {
            return Ok(());
        }
        let block_len = head.block_len as usize;
        let per_read = (crate::hash::READ_CHUNK / block_len).max(1);
        let mut buffer = std::mem::take(&mut self.buffer);
        let mut left = len;
        let mut failed: Option<io::Error> = None;
        while left > 0 {
            let want = usize::try_from(left).unwrap_or(usize::MAX).min(per_read * block_len);
            buffer.resize(want, 0);
            match crate::hash::read_full(file, &mut buffer) {
                Ok(got) if got == want => {}
                // A basis that shrinks or fails yields sums that match nothing; the transfer
                // verifies the whole in any case.
                Ok(got) => buffer[got..].fill(0),
                Err(error) => failed = Some(error),
            }
            for block in buffer.chunks(block_len) {
                wire::sum::put_block_sum(&mut self.writer.data, &head, &sum, block);
            }
            left -= want as u64;
            if self.writer.is_full() {
                self.writer.flush()?;
            }
        }
        self.buffer = buffer;
        if let Some(error) = failed {
            self.path_error(READ_ERRORS, name, &error);
        }
        Ok(())
    }

    /// Asks once more for a file that came out wrong, with sums of full length.
    pub fn request_again(&mut self, index: i32) -> Result<(), Fatal> {
        let found = match self.recv.lists.lock() {
            Ok(lists) => lists.find(index)?,
            Err(_) => return Ok(()),
        };
        let (segment, Place::Entry(pos)) = found else { return Ok(()) };
        let entry = segment.list.get(pos);
        let name = entry.name();
        let Some(path) = self.path(&name) else { return Ok(()) };
        let meta = self.look(&path).ok().flatten();
        let mut meta = meta.filter(|found| self.recv.takes_content(found));
        self.size_device(&path, meta.as_mut());
        let alternate = match &meta {
            None => self.any_alternate(&path, &entry),
            Some(_) => None,
        };
        let mut iflags = ItemFlags::TRANSFER | self.item_flags(&path, &entry, meta.as_ref(), true);
        iflags |= match (&meta, &alternate) {
            (None, Some(found)) => attribute_flags(&self.recv, &entry, &found.meta, true),
            (None, None) => ItemFlags::IS_NEW,
            _ => ItemFlags::NONE,
        };
        let mut head = ItemHead { ndx: index, iflags, basis: None, xname: None };
        // Why it cannot be read was told the first time.
        let basis =
            self.choose_basis(&path, meta.is_some(), alternate.as_ref()).unwrap_or_default();
        name_basis(&mut head, basis.as_ref().map(|(_, kind, _)| *kind));
        self.owe(index);
        self.request_head(&head)?;
        match basis {
            Some((file, _, len)) if !self.sends_no_sums() => {
                self.recv.asked.offer(index);
                self.send_sums(&file, len, true, &name)
            }
            _ => {
                SumHead::empty().encode(&mut self.writer.data);
                Ok(())
            }
        }
    }
}

/// A basis of a kind, with its length.
fn basis_of(file: std::fs::File, kind: u8) -> io::Result<(std::fs::File, u8, u64)> {
    let len = content_len(&file)?;
    Ok((file, kind, len))
}

/// Says which file is the basis, where it is not the destination itself.
fn name_basis(head: &mut ItemHead, kind: Option<u8>) {
    if let Some(kind) = kind.filter(|kind| *kind != BASIS_FILE) {
        head.basis = Some(kind);
        head.iflags |= ItemFlags::BASIS_TYPE_FOLLOWS;
    }
    if head.xname.is_some() {
        head.iflags |= ItemFlags::XNAME_FOLLOWS;
    }
}
