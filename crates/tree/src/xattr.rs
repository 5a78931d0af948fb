//! Extended attributes of an item, by handle and name, never through a symlink.
//!
//! Called by the sender to list them, by the receiving side to compare and set them. Calls that take
//! a handle and a name are as young as Linux 6.13, so each step is tried where the one before is
//! not to be had:
//! 1. the kernel's `getxattrat` and its kin;
//! 2. the older calls on a path through `/proc/self/fd`, which a process with a root of its own may
//!    lack;
//! 3. those on a handle opened for reading, if the item is a regular file or a directory.

use std::ffi::{CStr, CString};
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::os::unix::fs::MetadataExt;

use rustix::fs::{Mode, OFlags, XattrFlags, openat};
use rustix::io::Errno;

use crate::dir::Dir;
use crate::fake;
use crate::path::Name;

/// Most bytes of names, or of one value, that are read; the kernel has no more than 64 KiB.
const READ_MAX: usize = 1 << 20;
/// Bytes read at first.
const READ_FIRST: usize = 1024;

/// What carries the attributes.
#[derive(Clone, Copy, Debug)]
pub enum XattrHolder<'a> {
    /// An item of a directory; of a symlink its own.
    Item(&'a Dir, &'a Name),
    /// The directory itself.
    Itself(&'a Dir),
    /// An open file.
    Open(&'a File),
    /// An open file of a faking directory.
    Faked(&'a File),
}

/// The name under which a faking directory stores an attribute.
pub fn faked_name(name: &[u8]) -> Vec<u8> {
    fake::stored_name(name)
}

/// The name of an attribute that a faking directory stores under this one.
pub fn unfaked_name(name: Vec<u8>) -> Vec<u8> {
    fake::shown_name(name)
}

/// One call on attributes.
enum Call<'a> {
    List(&'a mut [u8]),
    Get(&'a CStr, &'a mut [u8]),
    Set(&'a CStr, &'a [u8]),
    Remove(&'a CStr),
}

impl XattrHolder<'_> {
    /// Whether what only the super-user may set is kept in other attributes (see `fake.rs`).
    pub(crate) fn fakes(&self) -> bool {
        match self {
            XattrHolder::Item(dir, _) | XattrHolder::Itself(dir) => dir.fakes(),
            XattrHolder::Open(_) => false,
            XattrHolder::Faked(_) => true,
        }
    }

    /// The names of all attributes that show themselves; none where there can be none.
    pub fn names(&self) -> io::Result<Vec<Vec<u8>>> {
        let mut names = self.raw_names()?;
        if self.fakes() {
            names.retain(|name| !fake::is_own(name));
        }
        Ok(names)
    }

    /// The value of an attribute; `None` where there is none of that name.
    pub fn get(&self, name: &[u8]) -> io::Result<Option<Vec<u8>>> {
        if self.fakes()
            && let Some(value) = self.raw_get(&fake::stored_name(name))?
        {
            return Ok(Some(value));
        }
        self.raw_get(name)
    }

    /// Sets an attribute.
    pub fn set(&self, name: &[u8], value: &[u8]) -> io::Result<()> {
        match self.fakes() {
            true => self.raw_set(&fake::stored_name(name), value),
            false => self.raw_set(name, value),
        }
    }

    /// Removes an attribute; one that is not there is no error.
    pub fn remove(&self, name: &[u8]) -> io::Result<()> {
        match self.fakes() {
            true => self.raw_remove(&fake::stored_name(name)),
            false => self.raw_remove(name),
        }
    }

    fn raw_names(&self) -> io::Result<Vec<Vec<u8>>> {
        let bytes = match self.grown(|buffer| self.call(Call::List(buffer))) {
            Err(Errno::OPNOTSUPP | Errno::NOSYS) => return Ok(Vec::new()),
            other => other?,
        };
        let names = bytes.split(|&b| b == 0).filter(|name| !name.is_empty());
        Ok(names.map(<[u8]>::to_vec).collect())
    }

    /// The value of an attribute as it is stored.
    pub(crate) fn raw_get(&self, name: &[u8]) -> io::Result<Option<Vec<u8>>> {
        let name = CString::new(name)?;
        match self.grown(|buffer| self.call(Call::Get(&name, buffer))) {
            Err(Errno::NODATA | Errno::OPNOTSUPP | Errno::NOSYS) => Ok(None),
            other => Ok(Some(other?)),
        }
    }

    /// Stores an attribute as it is.
    pub(crate) fn raw_set(&self, name: &[u8], value: &[u8]) -> io::Result<()> {
        let name = CString::new(name)?;
        self.lending(|| self.call(Call::Set(&name, value)).map(drop))
    }

    /// Removes a stored attribute; one that is not there is no error.
    pub(crate) fn raw_remove(&self, name: &[u8]) -> io::Result<()> {
        let name = CString::new(name)?;
        match self.lending(|| self.call(Call::Remove(&name)).map(drop)) {
            Err(error) if error.raw_os_error() == Some(libc::ENODATA) => Ok(()),
            other => other,
        }
    }

    /// Reads into a buffer that grows until it is enough.
    fn grown(
        &self,
        mut read: impl FnMut(&mut [u8]) -> Result<usize, Errno>,
    ) -> Result<Vec<u8>, Errno> {
        let mut buffer = vec![0; READ_FIRST];
        loop {
            match read(&mut buffer) {
                Err(Errno::RANGE) if buffer.len() < READ_MAX => buffer.resize(buffer.len() * 8, 0),
                Err(error) => return Err(error),
                Ok(len) => {
                    buffer.truncate(len);
                    return Ok(buffer);
                }
            }
        }
    }

    /// Changes something; our own item whose mode forbids it is made writable for the time.
    fn lending(&self, change: impl Fn() -> Result<(), Errno>) -> io::Result<()> {
        let chmod = |perm| match self {
            XattrHolder::Item(dir, name) => dir.chmod_as_is(name, perm),
            XattrHolder::Itself(dir) => dir.chmod_self_as_is(perm),
            XattrHolder::Open(file) | XattrHolder::Faked(file) => {
                Ok(crate::attrs::chmod_file(file, perm)?)
            }
        };
        match change() {
            Err(Errno::ACCESS) => {}
            other => return Ok(other?),
        }
        let mode = match self {
            XattrHolder::Item(dir, name) => dir.lstat_as_is(name)?.filter(|m| !m.is_link()),
            XattrHolder::Itself(dir) => Some(dir.stat_self_as_is()?),
            XattrHolder::Open(_) | XattrHolder::Faked(_) => None,
        };
        let own = rustix::process::geteuid().as_raw();
        let Some(meta) = mode.filter(|m| m.uid == own && m.mode & 0o200 == 0) else {
            return Err(Errno::ACCESS.into());
        };
        chmod(meta.mode | 0o200)?;
        let changed = change();
        chmod(meta.mode)?;
        Ok(changed?)
    }

    fn call(&self, mut call: Call<'_>) -> Result<usize, Errno> {
        let (dir, name) = match self {
            XattrHolder::Open(file) | XattrHolder::Faked(file) => {
                return on_file(file.as_fd(), call);
            }
            XattrHolder::Item(dir, name) => (dir, name.as_bytes()),
            XattrHolder::Itself(dir) => (dir, &b"."[..]),
        };
        let text = CString::new(name).map_err(|_| Errno::INVAL)?;
        match at_name(dir.fd(), &text, &mut call) {
            Err(Errno::NOSYS) => {}
            other => return other,
        }
        let path = [format!("/proc/self/fd/{}/", dir.fd().as_raw_fd()).as_bytes(), name].concat();
        match on_path(&path, &mut call) {
            Err(Errno::NOENT) => {}
            other => return other,
        }
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NONBLOCK;
        let item = match openat(dir.fd(), name, flags | OFlags::NOCTTY, Mode::empty()) {
            Err(Errno::LOOP | Errno::NXIO) => return Err(Errno::OPNOTSUPP),
            other => File::from(other?),
        };
        match item.metadata().map(|meta| meta.mode() & 0o170_000) {
            Ok(0o100_000 | 0o040_000) => on_file(item.as_fd(), call),
            _ => Err(Errno::OPNOTSUPP),
        }
    }
}

fn on_file(file: BorrowedFd<'_>, call: Call<'_>) -> Result<usize, Errno> {
    match call {
        Call::List(buffer) => rustix::fs::flistxattr(file, buffer),
        Call::Get(name, buffer) => rustix::fs::fgetxattr(file, name, buffer),
        Call::Set(name, value) => {
            rustix::fs::fsetxattr(file, name, value, XattrFlags::empty()).map(|()| 0)
        }
        Call::Remove(name) => rustix::fs::fremovexattr(file, name).map(|()| 0),
    }
}

fn on_path(path: &[u8], call: &mut Call<'_>) -> Result<usize, Errno> {
    match call {
        Call::List(buffer) => rustix::fs::llistxattr(path, &mut **buffer),
        Call::Get(name, buffer) => rustix::fs::lgetxattr(path, *name, &mut **buffer),
        Call::Set(name, value) => {
            rustix::fs::lsetxattr(path, *name, value, XattrFlags::empty()).map(|()| 0)
        }
        Call::Remove(name) => rustix::fs::lremovexattr(path, *name).map(|()| 0),
    }
}

/// The kernel's numbers of `setxattrat` and the three after it, where they are the common ones.
#[cfg(not(any(target_arch = "mips", target_arch = "mips64", target_arch = "sparc64")))]
const SET_XATTR_AT: Option<libc::c_long> = Some(463);
#[cfg(any(target_arch = "mips", target_arch = "mips64", target_arch = "sparc64"))]
const SET_XATTR_AT: Option<libc::c_long> = None;

/// Argument of the calls that get and set, as the kernel lays it out.
#[repr(C)]
struct XattrArgs {
    value: u64,
    size: u32,
    flags: u32,
}

fn at_name(dir: BorrowedFd<'_>, name: &CStr, call: &mut Call<'_>) -> Result<usize, Errno> {
    let first = SET_XATTR_AT.ok_or(Errno::NOSYS)?;
    let (fd, flags) = (dir.as_raw_fd(), libc::AT_SYMLINK_NOFOLLOW);
    let args = |value: u64, size: usize| XattrArgs { value, size: size as u32, flags: 0 };
    let size = size_of::<XattrArgs>();
    let got = match call {
        Call::Set(key, value) => {
            let args = args(value.as_ptr() as u64, value.len());
            // SAFETY: the texts end in NUL, `args` names the value's bytes and their number; all
            // live through the call, which only reads them.
            unsafe {
                libc::syscall(first, fd, name.as_ptr(), flags, key.as_ptr(), &raw const args, size)
            }
        }
        Call::Get(key, buffer) => {
            let args = args(buffer.as_mut_ptr() as u64, buffer.len());
            // SAFETY: the texts end in NUL, `args` names a buffer that is ours alone and its
            // length, beyond which the call does not write.
            unsafe {
                let args = &raw const args;
                libc::syscall(first + 1, fd, name.as_ptr(), flags, key.as_ptr(), args, size)
            }
        }
        Call::List(buffer) => {
            let (to, len) = (buffer.as_mut_ptr(), buffer.len());
            // SAFETY: the text ends in NUL; the buffer is ours alone, and the call does not write
            // beyond its length.
            unsafe { libc::syscall(first + 2, fd, name.as_ptr(), flags, to, len) }
        }
        Call::Remove(key) => {
            // SAFETY: both texts end in NUL and live through the call, which only reads them.
            unsafe { libc::syscall(first + 3, fd, name.as_ptr(), flags, key.as_ptr()) }
        }
    };
    usize::try_from(got)
        .map_err(|_| Errno::from_io_error(&io::Error::last_os_error()).unwrap_or(Errno::IO))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::path::RelPath;
    use crate::scratch::{Scratch, name};

    /// Whether the machine can be tested; one that cannot must say that it need not.
    fn supported(dir: &Dir) -> bool {
        let set = XattrHolder::Item(dir, name("f")).set(b"user.probe", b"x");
        let excused = std::env::var_os("LIVEMIRROR_NO_ORACLE").is_some_and(|v| v == "1");
        assert!(set.is_ok() || excused, "no extended attributes here: {set:?}");
        set.is_ok()
    }

    #[test]
    fn attributes_come_back_by_every_way() {
        let s = Scratch::new();
        let dir = s.root().dir(RelPath::top()).unwrap();
        let file = dir.create_new(name("f"), 0o600).unwrap();
        if !supported(&dir) {
            return;
        }
        dir.mkdir(name("d"), 0o700).unwrap();
        let long = vec![7; 3000];
        for holder in [
            XattrHolder::Item(&dir, name("f")),
            XattrHolder::Open(&file),
            XattrHolder::Item(&dir, name("d")),
            XattrHolder::Itself(&dir),
        ] {
            holder.set(b"user.a", b"1").unwrap();
            holder.set(b"user.long", &long).unwrap();
            holder.set(b"user.a", b"22").unwrap();
            assert_eq!(holder.get(b"user.a").unwrap().as_deref(), Some(&b"22"[..]));
            assert_eq!(holder.get(b"user.long").unwrap().as_ref(), Some(&long));
            assert_eq!(holder.get(b"user.none").unwrap(), None);
            holder.remove(b"user.long").unwrap();
            holder.remove(b"user.long").unwrap();
            holder.remove(b"user.probe").unwrap();
            assert!(holder.names().unwrap().contains(&b"user.a".to_vec()));
            assert!(!holder.names().unwrap().contains(&b"user.long".to_vec()));
        }
    }

    #[test]
    fn the_older_calls_do_the_same() {
        let s = Scratch::new();
        let dir = s.root().dir(RelPath::top()).unwrap();
        dir.create_new(name("f"), 0o600).unwrap();
        if !supported(&dir) {
            return;
        }
        let path = format!("/proc/self/fd/{}/f", dir.fd().as_raw_fd()).into_bytes();
        on_path(&path, &mut Call::Set(c"user.a", b"1")).unwrap();
        let mut buffer = [0; 64];
        assert_eq!(on_path(&path, &mut Call::Get(c"user.a", &mut buffer)), Ok(1));
        assert_eq!(&buffer[..1], b"1");
        assert!(on_path(&path, &mut Call::List(&mut buffer)).unwrap() > 6);
        on_path(&path, &mut Call::Remove(c"user.a")).unwrap();
        let gone = on_path(&path, &mut Call::Get(c"user.a", &mut buffer));
        assert_eq!(gone, Err(Errno::NODATA));
    }

    #[test]
    fn a_symlink_has_its_own() {
        let s = Scratch::new();
        let dir = s.root().dir(RelPath::top()).unwrap();
        dir.create_new(name("f"), 0o600).unwrap();
        if !supported(&dir) {
            return;
        }
        dir.symlink(b"f", name("l")).unwrap();
        let link = XattrHolder::Item(&dir, name("l"));
        assert!(link.names().unwrap().iter().all(|n| n != b"user.probe"));
        assert_eq!(link.set(b"user.a", b"1").unwrap_err().raw_os_error(), Some(libc::EPERM));
        if crate::owner::am_root() {
            link.set(b"trusted.a", b"1").unwrap();
            assert_eq!(XattrHolder::Item(&dir, name("f")).get(b"trusted.a").unwrap(), None);
        }
    }
}
