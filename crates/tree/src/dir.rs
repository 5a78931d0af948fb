//! An open directory: every operation takes one checked name and never follows a symlink there.

use std::fs::File;
use std::io::{self, Read};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::MetadataExt;
use std::sync::Arc;

use rustix::fs::{
    AtFlags, FileType, Gid, Mode, OFlags, RawDir, RawMode, Statx, StatxFlags, Timespec, Timestamps,
    UTIME_OMIT, Uid, chmodat, chownat, linkat, makedev, mkdirat, mknodat, openat, readlinkat,
    renameat, statx, symlinkat, unlinkat, utimensat,
};
use rustix::io::Errno;

use crate::meta::Meta;
use crate::path::{Name, NameBuf};

/// Bytes of the buffer that directories are read into.
const LIST_BUFFER: usize = 64 * 1024;

/// An open directory. Clones share the handle.
#[derive(Clone, Debug)]
pub struct Dir {
    fd: Arc<OwnedFd>,
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
        Dir { fd: Arc::new(fd) }
    }

    /// The handle, for calls that take one.
    pub fn fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }

    fn stat(&self, name: &[u8], flags: AtFlags) -> rustix::io::Result<Statx> {
        statx(&*self.fd, name, flags | AtFlags::STATX_DONT_SYNC, StatxFlags::BASIC_STATS)
    }

    /// Facts of an item; `None` when there is none.
    pub fn lstat(&self, name: &Name) -> io::Result<Option<Meta>> {
        match self.stat(name.as_bytes(), AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => Ok(Some(Meta::from_statx(&stat))),
            Err(Errno::NOENT) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// Facts of the directory itself.
    pub fn stat_self(&self) -> io::Result<Meta> {
        Ok(Meta::from_statx(&self.stat(b"", AtFlags::EMPTY_PATH)?))
    }

    /// Opens a regular file for reading. Anything else is refused without blocking.
    pub fn open_read(&self, name: &Name) -> io::Result<File> {
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY;
        let file = File::from(openat(&*self.fd, name.as_bytes(), flags, Mode::empty())?);
        if file.metadata()?.mode() & 0o170_000 != 0o100_000 {
            return Err(Errno::INVAL.into());
        }
        Ok(file)
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
    pub fn open_write(&self, name: &Name, create: bool) -> io::Result<File> {
        let base = OFlags::WRONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY;
        let open = |flags| openat(&*self.fd, name.as_bytes(), flags, Mode::RUSR | Mode::WUSR);
        let fd = match open(base) {
            Err(Errno::NOENT) if create => open(base | OFlags::CREATE | OFlags::EXCL)?,
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
        Ok(symlinkat(text, &*self.fd, name.as_bytes())?)
    }

    /// Makes a device, fifo or socket. `mode` holds the type and permission bits.
    pub fn mknod(&self, name: &Name, mode: u32, rdev: (u32, u32)) -> io::Result<()> {
        let kind = FileType::from_raw_mode(mode);
        let perm = Mode::from_raw_mode(mode & 0o7777);
        Ok(mknodat(&*self.fd, name.as_bytes(), kind, perm, makedev(rdev.0, rdev.1))?)
    }

    /// The text of a symlink.
    pub fn read_link(&self, name: &Name) -> io::Result<Vec<u8>> {
        Ok(readlinkat(&*self.fd, name.as_bytes(), Vec::new())?.into_bytes())
    }

    /// Opens a directory in this one; a symlink is refused.
    pub fn open_dir(&self, name: &Name) -> io::Result<Dir> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        Ok(Dir::from_fd(openat(&*self.fd, name.as_bytes(), flags, Mode::empty())?))
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

    /// Sets permission bits of an item that is no symlink.
    pub fn chmod(&self, name: &Name, perm: u32) -> io::Result<()> {
        // A path-only handle pins the item; the change goes through it, so that a symlink put in
        // its place meanwhile is not followed.
        let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let item = openat(&*self.fd, name.as_bytes(), flags, Mode::empty())?;
        let stat = statx(&item, "", AtFlags::EMPTY_PATH, StatxFlags::TYPE)?;
        if u32::from(stat.stx_mode) & 0o170_000 == 0o120_000 {
            return Err(Errno::LOOP.into());
        }
        chmod_handle(item.as_fd(), perm)
    }

    /// Sets permission bits of the directory itself.
    pub fn chmod_self(&self, perm: u32) -> io::Result<()> {
        chmod_handle(self.fd(), perm)
    }

    /// Sets owner and group of an item, of a symlink its own.
    pub fn chown(&self, name: &Name, uid: Option<u32>, gid: Option<u32>) -> io::Result<()> {
        let (uid, gid) = ids(uid, gid);
        Ok(chownat(&*self.fd, name.as_bytes(), uid, gid, AtFlags::SYMLINK_NOFOLLOW)?)
    }

    /// Sets owner and group of the directory itself.
    pub fn chown_self(&self, uid: Option<u32>, gid: Option<u32>) -> io::Result<()> {
        let (uid, gid) = ids(uid, gid);
        Ok(chownat(&*self.fd, "", uid, gid, AtFlags::EMPTY_PATH)?)
    }

    /// Sets the modification time of an item, of a symlink its own.
    pub fn set_times(&self, name: &Name, mtime: i64, nsec: u32) -> io::Result<()> {
        let times = timestamps(mtime, nsec);
        Ok(utimensat(&*self.fd, name.as_bytes(), &times, AtFlags::SYMLINK_NOFOLLOW)?)
    }

    /// Sets the modification time of the directory itself.
    pub fn set_times_self(&self, mtime: i64, nsec: u32) -> io::Result<()> {
        Ok(utimensat(&*self.fd, ".", &timestamps(mtime, nsec), AtFlags::empty())?)
    }
}

/// Changes the mode of what a path-only handle points at.
fn chmod_handle(handle: BorrowedFd<'_>, perm: u32) -> io::Result<()> {
    use std::os::fd::AsRawFd;
    let path = format!("/proc/self/fd/{}", handle.as_raw_fd());
    let mode = Mode::from_raw_mode(perm as RawMode & 0o7777);
    Ok(chmodat(rustix::fs::CWD, path, mode, AtFlags::empty())?)
}

pub(crate) fn ids(uid: Option<u32>, gid: Option<u32>) -> (Option<Uid>, Option<Gid>) {
    (uid.map(Uid::from_raw), gid.map(Gid::from_raw))
}

pub(crate) fn timestamps(mtime: i64, nsec: u32) -> Timestamps {
    Timestamps {
        last_access: Timespec { tv_sec: 0, tv_nsec: UTIME_OMIT },
        last_modification: Timespec { tv_sec: mtime, tv_nsec: nsec.into() },
    }
}
