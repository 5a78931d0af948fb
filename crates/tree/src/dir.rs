//! An open directory: every operation takes one checked name and never follows a symlink there.
//!
//! Called by all roles, with a handle from [`crate::root::Root`] or [`crate::cache::DirCache`]. The
//! handle is path-only, so a directory that may be searched but not read can be worked in. Mode,
//! owner and times are in `attrs.rs`.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::MetadataExt;
use std::sync::Arc;

pub use rustix::fs::FileType;
use rustix::fs::{
    Access, AtFlags, Mode, OFlags, RawDir, Statx, StatxFlags, accessat, fcntl_getfl, fcntl_setfl,
    linkat, makedev, mkdirat, mknodat, openat, readlinkat, renameat, statx, symlinkat, unlinkat,
};
use rustix::io::Errno;

use crate::attrs::chmod_file;
use crate::fake;
use crate::meta::Meta;
use crate::path::{Name, NameBuf};
use crate::xattr::XattrHolder;

/// Bytes of the buffer that directories are read into.
const LIST_BUFFER: usize = 64 * 1024;

/// Longest text of a symlink that is kept in a file.
const LINK_MAX: usize = 4096;

/// An open directory. Clones share the handle.
#[derive(Clone, Debug)]
pub struct Dir {
    fd: Arc<OwnedFd>,
    /// What only the super-user may set is kept in attributes (see `fake.rs`).
    fakes: bool,
}

/// One item of a directory.
#[derive(Clone, Debug)]
pub struct DirEntry {
    /// Its name.
    pub name: NameBuf,
    /// Its type, where the file system tells without asking again.
    pub file_type: Option<FileType>,
    /// Its inode number.
    pub ino: u64,
}

/// How many bytes a file holds; a device, whose size no status tells, is asked for its end. Its
/// position is the start then.
pub fn content_len(mut file: &File) -> io::Result<u64> {
    let meta = file.metadata()?;
    if meta.is_file() {
        return Ok(meta.len());
    }
    let len = file.seek(SeekFrom::End(0))?;
    file.rewind()?;
    Ok(len)
}

/// Makes reads of an open file leave its access time, as opening it with `O_NOATIME` would have. Errors:
/// EPERM for who is neither its owner nor privileged.
pub fn leave_access_time(file: &File) -> io::Result<()> {
    let flags = fcntl_getfl(file)?;
    Ok(fcntl_setfl(file, flags | OFlags::NOATIME)?)
}

/// An open file, if it is a regular one, or with `devices` a device.
pub(crate) fn with_content(file: File, devices: bool) -> io::Result<File> {
    match file.metadata()?.mode() & 0o170_000 {
        0o100_000 => Ok(file),
        0o020_000 | 0o060_000 if devices => Ok(file),
        _ => Err(Errno::INVAL.into()),
    }
}

impl DirEntry {
    /// Whether it is a directory; asks when the listing did not tell.
    pub fn is_dir(&self, dir: &Dir) -> bool {
        match self.file_type {
            Some(kind) => kind == FileType::Directory,
            None => dir.lstat(&self.name).ok().flatten().is_some_and(|meta| meta.is_dir()),
        }
    }
}

impl Dir {
    pub(crate) fn from_fd(fd: OwnedFd) -> Dir {
        Dir { fd: Arc::new(fd), fakes: false }
    }

    /// The same directory with or without faking; what is opened from it is as it is.
    pub(crate) fn faking(self, fakes: bool) -> Dir {
        Dir { fakes, ..self }
    }

    pub(crate) fn fakes(&self) -> bool {
        self.fakes
    }

    /// The handle, for calls that take one.
    pub fn fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }

    fn stat(&self, name: &[u8], flags: AtFlags) -> rustix::io::Result<Statx> {
        statx(&*self.fd, name, flags | AtFlags::NO_AUTOMOUNT, StatxFlags::BASIC_STATS)
    }

    /// Facts of an item; `None` when there is none.
    pub fn lstat(&self, name: &Name) -> io::Result<Option<Meta>> {
        match self.lstat_as_is(name)? {
            Some(meta) if self.fakes => fake::seen(meta, &XattrHolder::Item(self, name)).map(Some),
            meta => Ok(meta),
        }
    }

    pub(crate) fn lstat_as_is(&self, name: &Name) -> io::Result<Option<Meta>> {
        match self.stat(name.as_bytes(), AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => Ok(Some(Meta::from_statx(&stat))),
            Err(Errno::NOENT) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// Whether this process may read what a name leads to.
    pub fn is_readable(&self, name: &Name) -> bool {
        accessat(&*self.fd, name.as_bytes(), Access::READ_OK, AtFlags::empty()).is_ok()
    }

    /// Facts of what a name leads to, wherever that is: only for an operator's own wish.
    pub fn stat_through(&self, name: &Name) -> io::Result<Meta> {
        Ok(Meta::from_statx(&self.stat(name.as_bytes(), AtFlags::empty())?))
    }

    /// Fails where names in it may not be looked up, which a path-only handle does not tell.
    pub fn check_search(&self) -> io::Result<()> {
        openat(&self.fd, ".", OFlags::PATH | OFlags::CLOEXEC, Mode::empty())?;
        Ok(())
    }

    /// Facts of the directory itself.
    pub fn stat_self(&self) -> io::Result<Meta> {
        let meta = self.stat_self_as_is()?;
        if self.fakes { fake::seen(meta, &XattrHolder::Itself(self)) } else { Ok(meta) }
    }

    pub(crate) fn stat_self_as_is(&self) -> io::Result<Meta> {
        Ok(Meta::from_statx(&self.stat(b"", AtFlags::EMPTY_PATH)?))
    }

    /// Opens a regular file for reading. Anything else is refused without blocking.
    pub fn open_read(&self, name: &Name) -> io::Result<File> {
        self.open_content(name, false)
    }

    /// The same with the file's size in bytes, and its start in `ahead`: a file that holds as much
    /// as `expected`, in bytes and not 0, is whole there, and its handle was asked nothing else.
    pub fn open_sized(
        &self,
        name: &Name,
        expected: usize,
        ahead: &mut Vec<u8>,
    ) -> io::Result<(File, u64)> {
        let flags =
            OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY;
        let mut file = File::from(openat(&*self.fd, name.as_bytes(), flags, Mode::empty())?);
        ahead.resize(if expected > 0 { expected.saturating_add(1) } else { 0 }, 0);
        // What fails here fails again where the rest is read.
        let got = if expected > 0 { file.read(ahead).unwrap_or(0) } else { 0 };
        ahead.truncate(got);
        if expected > 0 && got == expected {
            return Ok((file, got as u64));
        }
        let meta = file.metadata()?;
        if meta.mode() & 0o170_000 != 0o100_000 {
            return Err(Errno::INVAL.into());
        }
        Ok((file, meta.len()))
    }

    /// The same; with `devices`, which the operator must have asked for, a device too.
    pub fn open_content(&self, name: &Name, devices: bool) -> io::Result<File> {
        let flags =
            OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY;
        let file = File::from(openat(&*self.fd, name.as_bytes(), flags, Mode::empty())?);
        with_content(file, devices)
    }

    /// Opens a device for writing.
    pub fn open_device(&self, name: &Name) -> io::Result<File> {
        let flags =
            OFlags::WRONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY;
        let file = File::from(openat(&*self.fd, name.as_bytes(), flags, Mode::empty())?);
        match file.metadata()?.mode() & 0o170_000 {
            0o020_000 | 0o060_000 => Ok(file),
            _ => Err(Errno::INVAL.into()),
        }
    }

    /// Reads a small regular file whole. Errors: one larger than `max`.
    pub fn read_small(&self, name: &Name, max: usize) -> io::Result<Vec<u8>> {
        let mut content = Vec::new();
        self.open_read(name)?.take(max as u64 + 1).read_to_end(&mut content)?;
        if content.len() > max {
            return Err(Errno::FBIG.into());
        }
        Ok(content)
    }

    /// Opens a regular file for writing in place; with `create` a missing one is made, mode 0600.
    /// Our own file without write permission is opened too; its mode stays. An existing file is
    /// opened without the create flag, which the kernel forbids for other users' files in shared
    /// directories.
    pub fn open_write(&self, name: &Name, create: bool) -> io::Result<File> {
        let base =
            OFlags::WRONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY;
        let open = |flags| openat(&*self.fd, name.as_bytes(), flags, Mode::RUSR | Mode::WUSR);
        let fd = match open(base) {
            Err(Errno::NOENT) if create => open(base | OFlags::CREATE | OFlags::EXCL)?,
            Err(Errno::ACCESS) => self.open_write_lent(name, base)?,
            other => other?,
        };
        let file = File::from(fd);
        if file.metadata()?.mode() & 0o170_000 != 0o100_000 {
            return Err(Errno::INVAL.into());
        }
        Ok(file)
    }

    /// Makes a new file, open for reading and writing; fails if the name is taken.
    pub fn create_new(&self, name: &Name, mode: u32) -> io::Result<File> {
        let flags =
            OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let mode = Mode::from_raw_mode(mode & 0o777);
        Ok(openat(&*self.fd, name.as_bytes(), flags, mode)?.into())
    }

    /// Makes a directory.
    pub fn mkdir(&self, name: &Name, mode: u32) -> io::Result<()> {
        Ok(mkdirat(&*self.fd, name.as_bytes(), Mode::from_raw_mode(mode & 0o7777))?)
    }

    /// Removes an item that is no directory.
    pub fn unlink(&self, name: &Name) -> io::Result<()> {
        Ok(unlinkat(&*self.fd, name.as_bytes(), AtFlags::empty())?)
    }

    /// Removes an empty directory.
    pub fn rmdir(&self, name: &Name) -> io::Result<()> {
        Ok(unlinkat(&*self.fd, name.as_bytes(), AtFlags::REMOVEDIR)?)
    }

    /// Renames an item, over what is there.
    pub fn rename(&self, name: &Name, to: &Dir, new: &Name) -> io::Result<()> {
        Ok(renameat(&*self.fd, name.as_bytes(), &*to.fd, new.as_bytes())?)
    }

    /// Makes a second name for an item; a symlink is not followed.
    pub fn hard_link(&self, name: &Name, to: &Dir, new: &Name) -> io::Result<()> {
        Ok(linkat(&*self.fd, name.as_bytes(), &*to.fd, new.as_bytes(), AtFlags::empty())?)
    }

    /// Makes a symlink.
    pub fn symlink(&self, text: &[u8], name: &Name) -> io::Result<()> {
        if self.fakes {
            let mut file = self.fake_item(name, 0o120_777, (0, 0))?;
            return file.write_all(text).inspect_err(|_| drop(self.unlink(name)));
        }
        Ok(symlinkat(text, &*self.fd, name.as_bytes())?)
    }

    /// Makes a device, fifo or socket. `mode` holds the type and permission bits.
    pub fn mknod(&self, name: &Name, mode: u32, rdev: (u32, u32)) -> io::Result<()> {
        if self.fakes {
            return self.fake_item(name, mode, rdev).map(drop);
        }
        let kind = FileType::from_raw_mode(mode);
        let perm = Mode::from_raw_mode(mode & 0o7777);
        Ok(mknodat(&*self.fd, name.as_bytes(), kind, perm, makedev(rdev.0, rdev.1))?)
    }

    /// Makes a file that stands for an item of another kind.
    fn fake_item(&self, name: &Name, mode: u32, rdev: (u32, u32)) -> io::Result<File> {
        let file = self.create_new(name, 0o600)?;
        let kept = || {
            let perm = fake::safe_perm(mode & 0o7777, false);
            chmod_file(&file, perm)?;
            let real = self.lstat_as_is(name)?.ok_or(Errno::NOENT)?;
            fake::keep(&real, &Meta { mode, rdev, ..real }, &XattrHolder::Faked(&file))
        };
        kept().inspect_err(|_| drop(self.unlink(name)))?;
        Ok(file)
    }

    /// The text of a symlink.
    pub fn read_link(&self, name: &Name) -> io::Result<Vec<u8>> {
        if self.fakes && self.lstat_as_is(name)?.is_some_and(|meta| meta.is_file()) {
            return self.read_small(name, LINK_MAX);
        }
        Ok(readlinkat(&*self.fd, name.as_bytes(), Vec::new())?.into_bytes())
    }

    /// Opens a directory in this one; a symlink is refused.
    pub fn open_dir(&self, name: &Name) -> io::Result<Dir> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let fd = openat(&*self.fd, name.as_bytes(), flags, Mode::empty())?;
        Ok(Dir::from_fd(fd).faking(self.fakes))
    }

    /// Everything in the directory, in its own order.
    pub fn read_entries(&self) -> io::Result<Vec<DirEntry>> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let fd = openat(&*self.fd, ".", flags, Mode::empty())?;
        let mut buffer = [const { MaybeUninit::uninit() }; LIST_BUFFER];
        let mut raw = RawDir::new(fd, &mut buffer);
        let mut out = Vec::new();
        while let Some(item) = raw.next() {
            let item = item?;
            // `.` and `..` are no names, so this leaves them out.
            if let Ok(name) = NameBuf::new(item.file_name().to_bytes()) {
                let kind = item.file_type();
                let file_type = (kind != FileType::Unknown).then_some(kind);
                out.push(DirEntry { name, file_type, ino: item.ino() });
            }
        }
        Ok(out)
    }

    /// Opens the directory that holds this one, if it is still the one that `expected` describes.
    /// Lets a walk over a deep tree give up the handles of upper levels. Errors: ESTALE.
    pub fn climb(&self, expected: &Meta) -> io::Result<Dir> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let above = Dir::from_fd(openat(&*self.fd, "..", flags, Mode::empty())?);
        let above = above.faking(self.fakes);
        if !above.stat_self_as_is()?.is_same_item(expected) {
            return Err(Errno::STALE.into());
        }
        Ok(above)
    }
}

#[cfg(test)]
#[path = "dir_tests.rs"]
mod tests;
