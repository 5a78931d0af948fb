//! A destination being written: under a temporary name, or in place.
//!
//! Called by the receiver and by local copies. In order: make the stage, write (in place: or skip)
//! from the start to the end, finish the content, set attributes through the open file, commit. A
//! temporary file is renamed over its final name, so others see the old content or the new, never
//! a mixture; it is removed on every other way out. A file in place shows what was written so far.
//!
//! Small writes are gathered; a failure of one may therefore show at a later call, at the latest
//! in [`Stage::finish_content`]. Nothing is flushed to the disk unless [`Stage::sync`] is called.

use std::cell::RefCell;
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::{FileExt, MetadataExt};

use rustix::fs::{FallocateFlags, copy_file_range, fallocate, futimens};
use rustix::io::Errno;

use crate::attrs::{Times, chmod_file, chown_file, fake_file, timestamps};
use crate::dir::{Dir, content_len};
use crate::path::{Name, NameBuf};
use crate::xattr::XattrHolder;

/// Bytes of the original name that a temporary name keeps at most: with a dot before it, one after
/// it and the random part the whole is 254, for file systems that cannot take 255.
const STEM_MAX: usize = 246;
/// Random characters of a temporary name.
const RANDOM_LEN: usize = 6;
/// Tries at a free temporary name.
const TRIES: u32 = 100;
/// Bytes gathered before they are written.
const GATHER: usize = 64 * 1024;
/// A write of at least this many bytes is not worth a copy.
const DIRECT: usize = 16 * 1024;

/// A temporary name beside `base`: `.NAME.XXXXXX`, cut to fit.
pub fn temp_name(base: &Name) -> io::Result<NameBuf> {
    named(base, true)
}

fn named(base: &Name, beside: bool) -> io::Result<NameBuf> {
    let random = LOTS.with_borrow_mut(|lots| {
        if lots.is_empty() {
            lots.resize(LOTS_DRAWN, [0; RANDOM_LEN]);
            getrandom::fill(lots.as_flattened_mut()).map_err(io::Error::other)?;
        }
        Ok::<_, io::Error>(lots.pop().unwrap_or_default())
    })?;
    NameBuf::new(&compose(base.as_bytes(), beside, random)).map_err(io::Error::other)
}

/// Random parts drawn at once: each name would cost a system call.
const LOTS_DRAWN: usize = 64;

thread_local! {
    static LOTS: RefCell<Vec<[u8; RANDOM_LEN]>> = const { RefCell::new(Vec::new()) };
}

/// Beside its file a temporary one is hidden by a dot; in a directory of its own it is not.
fn compose(base: &[u8], beside: bool, random: [u8; RANDOM_LEN]) -> Vec<u8> {
    const LETTERS: &[u8; 62] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";
    let mut name = Vec::with_capacity(STEM_MAX + 2 + RANDOM_LEN);
    let mut stem = base;
    if beside {
        name.push(b'.');
        stem = base.strip_prefix(b".").unwrap_or(base);
    }
    if let Some(cut) = stem.get(..STEM_MAX).filter(|cut| cut.len() < stem.len()) {
        // The cut may have split a character of several bytes: none of its bytes stays.
        let high = cut.iter().rev().take_while(|b| **b & 0x80 != 0).count();
        stem = &cut[..STEM_MAX - high];
    }
    name.extend_from_slice(stem);
    if name.last() == Some(&b'.') {
        name.pop();
    }
    name.push(b'.');
    name.extend(random.iter().filter_map(|byte| LETTERS.get(usize::from(byte % 62))));
    name
}

/// Zeros are left out in pieces of this many bytes, aligned in the file; file systems keep holes of
/// their own, larger blocks.
const HOLE: usize = 1024;

/// Bytes that the kernel copies at once at most, so that a stop need not wait for more.
const PIECE: usize = 16 << 20;
/// The same where it does not do it alone.
const BY_HAND: usize = 256 * 1024;

/// What failed in copying from another file.
#[derive(Debug)]
pub enum CopyError {
    /// The other file cannot be read, or ends too early.
    Read(io::Error),
    /// This one cannot be written.
    Write(io::Error),
}

/// Where the content stands until it is complete.
enum Place {
    Temp {
        dir: Dir,
        name: NameBuf,
    },
    Final,
    /// A device, which has the length it has.
    Device,
    Gone,
}

/// A file being written. Dropping one that was not committed removes a temporary file.
pub struct Stage {
    file: File,
    place: Place,
    /// Where the next byte goes.
    position: u64,
    written: u64,
    /// The last bytes before `position`, not yet given to the kernel.
    gathered: Vec<u8>,
    /// Zeros become holes.
    sparse: bool,
    /// Room was reserved, so that a hole must be made, not merely left.
    reserved: bool,
    /// Owner and special bits go into an attribute.
    fakes: bool,
}

impl Stage {
    /// A temporary file for `base`: beside it, or in `side` when that is given. Of `mode` only the
    /// owner's bits are taken, writing included, so that nobody else sees an unfinished file.
    pub fn temp(dir: Dir, base: &Name, side: Option<Dir>, mode: u32) -> io::Result<Stage> {
        let beside = side.is_none();
        let dir = side.unwrap_or(dir);
        for _ in 0..TRIES {
            let name = named(base, beside)?;
            let lent = if dir.fakes() { 0o600 } else { 0o200 };
            match dir.create_new(&name, (mode | lent) & 0o700) {
                Ok(file) => {
                    return Ok(Stage::new(file, dir.fakes(), Place::Temp { dir, name }));
                }
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                Err(error) => return Err(error),
            }
        }
        Err(Errno::EXIST.into())
    }

    /// The file itself, open for writing; with `create` a missing one is made, mode 0600.
    pub fn in_place(dir: Dir, base: &Name, create: bool) -> io::Result<Stage> {
        Ok(Stage::new(dir.open_write(base, create)?, dir.fakes(), Place::Final))
    }

    /// A device, written from its start.
    pub fn on_device(dir: &Dir, base: &Name) -> io::Result<Stage> {
        Ok(Stage::new(dir.open_device(base)?, false, Place::Device))
    }

    fn new(file: File, fakes: bool, place: Place) -> Stage {
        Stage {
            file,
            place,
            position: 0,
            written: 0,
            gathered: Vec::new(),
            sparse: false,
            reserved: false,
            fakes,
        }
    }

    /// From now on zeros become holes.
    pub fn set_sparse(&mut self) {
        self.sparse = true;
    }

    /// Reserves room for a file of `len` bytes where it has less.
    pub fn reserve(&mut self, len: u64) -> io::Result<()> {
        if len > self.file.metadata()?.len() {
            fallocate(&self.file, FallocateFlags::empty(), 0, len)?;
            self.reserved = true;
        }
        Ok(())
    }

    /// Whether the file itself is written.
    pub fn is_in_place(&self) -> bool {
        matches!(self.place, Place::Final | Place::Device)
    }

    /// The open file. Content is complete in it only after [`Stage::finish_content`].
    pub fn file(&self) -> &File {
        &self.file
    }

    /// What carries its extended attributes.
    pub fn holder(&self) -> XattrHolder<'_> {
        if self.fakes { XattrHolder::Faked(&self.file) } else { XattrHolder::Open(&self.file) }
    }

    /// Where the next byte goes.
    pub fn position(&self) -> u64 {
        self.position
    }

    /// Bytes written so far, those skipped not counted.
    pub fn written(&self) -> u64 {
        self.written
    }

    /// Appends bytes.
    pub fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        let after = self.position.checked_add(bytes.len() as u64).ok_or(Errno::FBIG)?;
        if self.gathered.len() + bytes.len() > GATHER || bytes.len() >= DIRECT {
            self.flush()?;
        }
        if bytes.len() >= DIRECT {
            self.put(bytes, self.position)?;
        } else {
            if self.gathered.capacity() == 0 {
                self.gathered.reserve_exact(GATHER);
            }
            self.gathered.extend_from_slice(bytes);
        }
        self.position = after;
        self.written += bytes.len() as u64;
        Ok(())
    }

    /// Appends up to `len` bytes that another file has at `offset`, by the kernel where it can;
    /// returns how many, never 0. Zeros are copied as they are.
    pub fn copy_piece(&mut self, from: &File, offset: u64, len: u64) -> Result<u64, CopyError> {
        self.flush().map_err(CopyError::Write)?;
        let want = usize::try_from(len).unwrap_or(PIECE).min(PIECE);
        let (mut at, mut to) = (offset, self.position);
        let copied = match copy_file_range(from, Some(&mut at), &self.file, Some(&mut to), want) {
            Ok(copied) if copied > 0 => copied,
            // Other file systems, odd files, and whatever failed: reading and writing tell.
            _ => {
                let mut buffer = vec![0; want.min(BY_HAND)];
                let got = from.read_at(&mut buffer, offset).map_err(CopyError::Read)?;
                if got == 0 {
                    return Err(CopyError::Read(crate::window::shrunk()));
                }
                buffer.truncate(got);
                self.file.write_all_at(&buffer, self.position).map_err(CopyError::Write)?;
                got
            }
        };
        self.position = self.position.saturating_add(copied as u64);
        self.written += copied as u64;
        Ok(copied as u64)
    }

    /// Goes over bytes that stand already; for a file in place.
    pub fn skip(&mut self, len: u64) -> io::Result<()> {
        let after = self.position.checked_add(len).ok_or(Errno::FBIG)?;
        self.flush()?;
        self.position = after;
        Ok(())
    }

    fn flush(&mut self) -> io::Result<()> {
        if self.gathered.is_empty() {
            return Ok(());
        }
        let start = self.position.saturating_sub(self.gathered.len() as u64);
        let done = self.put(&self.gathered, start);
        self.gathered.clear();
        done
    }

    /// Writes bytes at their place, or with holes where they are zeros.
    fn put(&self, bytes: &[u8], start: u64) -> io::Result<()> {
        if !self.sparse {
            return self.file.write_all_at(bytes, start);
        }
        let (mut rest, mut at) = (bytes, start);
        while !rest.is_empty() {
            let first = HOLE - usize::try_from(at % HOLE as u64).unwrap_or(0);
            let zeros = |piece: &[u8]| piece.iter().all(|&byte| byte == 0);
            let hole = zeros(&rest[..first.min(rest.len())]);
            let mut len = first.min(rest.len());
            while len < rest.len() && zeros(&rest[len..rest.len().min(len + HOLE)]) == hole {
                len = rest.len().min(len + HOLE);
            }
            let (piece, after) = rest.split_at(len);
            if !hole {
                self.file.write_all_at(piece, at)?;
            } else if self.is_in_place() || self.reserved {
                self.punch(piece, at)?;
            }
            (rest, at) = (after, at + len as u64);
        }
        Ok(())
    }

    /// Makes a hole of what stands in the file; where that cannot be done, writes the zeros.
    fn punch(&self, zeros: &[u8], at: u64) -> io::Result<()> {
        let flags = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
        match fallocate(&self.file, flags, at, zeros.len() as u64) {
            Ok(()) => Ok(()),
            Err(_) => self.file.write_all_at(zeros, at),
        }
    }

    /// All content is there: what was gathered is written, and a file in place loses what is
    /// longer.
    pub fn finish_content(&mut self) -> io::Result<()> {
        self.flush()?;
        let fits = matches!(self.place, Place::Device);
        match !fits && (self.is_in_place() || self.sparse || self.reserved) {
            true => self.file.set_len(self.position),
            false => Ok(()),
        }
    }

    /// Has the kernel put content and attributes on the disk.
    pub fn sync(&mut self) -> io::Result<()> {
        self.flush()?;
        self.file.sync_all()
    }

    /// Sets owner, times and permissions where they differ, in this order, since a change of owner
    /// takes special bits away; where that fails nothing else is tried. Returns what failed, each with
    /// the words for it.
    pub fn set_attributes(
        &mut self,
        uid: Option<u32>,
        gid: Option<u32>,
        times: Times,
        perm: Option<u32>,
    ) -> Vec<(&'static str, io::Error)> {
        let mut failed = Vec::new();
        if self.fakes
            && let Err(error) = fake_file(&self.file, uid, gid, perm)
        {
            return vec![("chown", error)];
        }
        let real = |id: Option<u32>| id.filter(|_| !self.fakes);
        let (uid, gid, perm) = (real(uid), real(gid), real(perm));
        // A write after this would undo the time.
        let meta = match self.flush().and_then(|()| self.file.metadata()) {
            Ok(meta) => meta,
            Err(error) => return vec![("failed to stat", error)],
        };
        let uid = uid.filter(|uid| *uid != meta.uid());
        let gid = gid.filter(|gid| *gid != meta.gid());
        let mut has = Some(meta.mode() & 0o7777);
        if uid.is_some() || gid.is_some() {
            match chown_file(&self.file, uid, gid) {
                // Which special bits are left depends on the mode and on who asked.
                Ok(()) => has = has.filter(|mode| mode & 0o6000 == 0),
                Err(error) => {
                    let what = if uid.is_some() { "chown" } else { "chgrp" };
                    return vec![(what, error.into())];
                }
            }
        }
        if !times.is_empty() {
            let done = timestamps(times).and_then(|times| futimens(&self.file, &times));
            if let Err(error) = done {
                return vec![("failed to set times on", error.into())];
            }
        }
        if let Some(perm) = perm.map(|perm| perm & 0o7777).filter(|perm| Some(*perm) != has)
            && let Err(error) = chmod_file(&self.file, perm)
        {
            failed.push(("failed to set permissions on", error.into()));
        }
        failed
    }

    /// Gives the content its final name. Across file systems it is copied first. On an error the
    /// temporary file is removed.
    pub fn commit(mut self, into: &Dir, base: &Name) -> io::Result<()> {
        self.flush()?;
        let Place::Temp { dir, name } = &self.place else {
            self.place = Place::Gone;
            return Ok(());
        };
        match dir.rename(name, into, base) {
            Err(error) if error.raw_os_error() == Some(libc::EXDEV) => {
                // The original goes with the stage.
                copy_over(dir, name, into, base)
            }
            Err(error) => Err(error),
            Ok(()) => {
                self.place = Place::Gone;
                Ok(())
            }
        }
    }

    /// Leaves a file in place as it is, longer old content included.
    pub fn leave(mut self) {
        let _ = self.flush();
        self.place = Place::Gone;
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        match &self.place {
            Place::Temp { dir, name } => drop(dir.unlink(name)),
            // What came before a failure is kept: a later run finds it and sends less.
            Place::Final | Place::Device => drop(self.flush()),
            Place::Gone => {}
        }
    }
}

/// Gives a file another name, over what is there. Across file systems it is copied.
pub fn move_over(from: &Dir, name: &Name, into: &Dir, base: &Name) -> io::Result<()> {
    match from.rename(name, into, base) {
        Err(error) if error.raw_os_error() == Some(libc::EXDEV) => {
            copy_over(from, name, into, base)?;
            from.unlink(name)
        }
        done => done,
    }
}

/// Copies a finished temporary file to another file system, under a temporary name there.
fn copy_over(from: &Dir, name: &Name, into: &Dir, base: &Name) -> io::Result<()> {
    let temp = temp_name(base)?;
    copy_item(from, name, into, &temp)?;
    into.rename(&temp, into, base).inspect_err(|_| drop(into.unlink(&temp)))
}

/// Copies a regular file with its mode, times and, if we may, owner, or remakes a symlink or
/// special file. Whatever was made is removed again on an error.
pub fn copy_item(from: &Dir, name: &Name, into: &Dir, new: &Name) -> io::Result<()> {
    let all = CopyKeeps { owner: true, group: true, times: true };
    copy(from, name, into, new, (all, false))
}

/// What a copy has of the original beside its mode; the rest is that of a new file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CopyKeeps {
    /// The owner.
    pub owner: bool,
    /// The group.
    pub group: bool,
    /// The modification time.
    pub times: bool,
}

/// The same, with the content of a device in a regular file, and with no more than is to be kept.
pub fn copy_content(
    from: &Dir,
    name: &Name,
    into: &Dir,
    new: &Name,
    keeps: CopyKeeps,
) -> io::Result<()> {
    copy(from, name, into, new, (keeps, true))
}

fn copy(
    from: &Dir,
    name: &Name,
    into: &Dir,
    new: &Name,
    (keeps, devices): (CopyKeeps, bool),
) -> io::Result<()> {
    let meta = from.lstat(name)?.ok_or(Errno::NOENT)?;
    if meta.is_link() {
        into.symlink(&from.read_link(name)?, new)?;
    } else if meta.is_file() || devices && meta.is_device() {
        let source = from.open_content(name, devices)?;
        let mut copy = into.create_new(new, 0o600)?;
        let len = content_len(&source)?;
        // Nothing is read of nothing: that would count as access.
        if len > 0 {
            let most = if meta.is_file() { u64::MAX } else { len };
            io::copy(&mut source.take(most), &mut copy).inspect_err(|_| drop(into.unlink(new)))?;
        }
    } else {
        into.mknod(new, meta.mode & 0o170_600, meta.rdev)?;
    }
    let _ = into.chown(new, keeps.owner.then_some(meta.uid), keeps.group.then_some(meta.gid));
    let set = || {
        if !meta.is_link() {
            into.chmod(new, meta.mode & 0o7777)?;
        }
        match keeps.times {
            true => into.set_times(new, Times::modified(meta.mtime, meta.mtime_nsec)),
            false => Ok(()),
        }
    };
    set().inspect_err(|_| drop(into.unlink(new)))
}

#[cfg(test)]
#[path = "stage_tests.rs"]
mod tests;
