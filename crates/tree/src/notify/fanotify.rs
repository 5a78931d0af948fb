//! fanotify: one mark for a whole file system, records with directory handles and names.
//!
//! Called by `mirror::watch::fanotify`. Needs `CAP_SYS_ADMIN` for the mark and
//! `CAP_DAC_READ_SEARCH` to open handles; [`Fanotify::open`] tries both, so that a caller that gets
//! an instance can rely on it. Steps:
//! 1. an instance that reports directory handles with names, with an unlimited queue if allowed;
//! 2. a mark on the file system of the given directory;
//! 3. records are read and checked; each carries one or two (handle, name) pairs;
//! 4. [`resolve`] turns a handle into the path the directory has at that moment.
//!
//! Not guaranteed: order inside one record (the kernel merges what happens to one name), and
//! anything about other file systems mounted below the directory.

use std::ffi::CString;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;

use rustix::fs::{AtFlags, Mode, OFlags};

use super::{Bytes, read_some, until_nul, wait_readable};

/// One open fanotify instance with its mark.
pub struct Fanotify {
    fd: OwnedFd,
    buffer: Vec<u8>,
}

/// The bits of [`FanotifyRecord::mask`].
pub mod mask {
    /// Content was written, the file is still open.
    pub const MODIFY: u64 = libc::FAN_MODIFY;
    /// Attributes changed.
    pub const ATTRIB: u64 = libc::FAN_ATTRIB;
    /// A file open for writing was closed.
    pub const CLOSE_WRITE: u64 = libc::FAN_CLOSE_WRITE;
    /// A name was made.
    pub const CREATE: u64 = libc::FAN_CREATE;
    /// A name was removed.
    pub const DELETE: u64 = libc::FAN_DELETE;
    /// A name became another one.
    pub const RENAME: u64 = libc::FAN_RENAME;
    /// The name is a directory.
    pub const ONDIR: u64 = libc::FAN_ONDIR;
    /// Records were lost.
    pub const OVERFLOW: u64 = libc::FAN_Q_OVERFLOW;
}

/// A directory handle with a name in it, both as the kernel gave them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place<'a> {
    /// The kernel's `struct file_handle`: byte count, type, that many bytes. Usable as a key.
    pub handle: &'a [u8],
    /// One component, or `.` for the directory itself.
    pub name: &'a [u8],
}

/// One record of the kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FanotifyRecord<'a> {
    /// What happened, [`mask`] bits; several at once when the kernel merged them.
    pub mask: u64,
    /// Where; on a rename the old place. Absent on overflow and on a rename from elsewhere.
    pub place: Option<Place<'a>>,
    /// On a rename the new place.
    pub new_place: Option<Place<'a>>,
}

impl Fanotify {
    /// Watches the whole file system that holds the open directory `dir`. Errors: `EPERM` without
    /// the privileges, `EOPNOTSUPP`, `EXDEV`, `ENODEV` or `EINVAL` where file system or kernel
    /// cannot do it.
    pub fn open(dir: impl AsFd) -> io::Result<Fanotify> {
        let dir = dir.as_fd();
        let fd = init(libc::FAN_UNLIMITED_QUEUE).or_else(|_| init(0))?;
        let events = mask::MODIFY
            | mask::ATTRIB
            | mask::CLOSE_WRITE
            | mask::CREATE
            | mask::DELETE
            | mask::RENAME
            | mask::ONDIR;
        // JUSTIFICATION: neither the standard library nor rustix has this call.
        // SAFETY: both descriptors are open for the call; a null path names `dir` itself.
        let done = unsafe {
            libc::fanotify_mark(
                fd.as_raw_fd(),
                libc::FAN_MARK_ADD | libc::FAN_MARK_FILESYSTEM,
                events,
                dir.as_raw_fd(),
                std::ptr::null(),
            )
        };
        if done != 0 {
            return Err(io::Error::last_os_error());
        }
        resolve(dir, &handle_of(dir)?)?;
        Ok(Fanotify { fd, buffer: vec![0; READ_BYTES] })
    }

    /// Waits for records; false after `timeout_ms` milliseconds without any.
    pub fn wait(&self, timeout_ms: u32) -> io::Result<bool> {
        wait_readable(self.fd.as_fd(), timeout_ms)
    }

    /// Reads what the kernel holds, at most one buffer, and hands each record to `each`. Returns
    /// the number of records; 0 when there are none.
    pub fn read(&mut self, each: &mut dyn FnMut(FanotifyRecord<'_>)) -> io::Result<usize> {
        let n = read_some(self.fd.as_fd(), &mut self.buffer)?;
        let mut bytes = Bytes(self.buffer.get(..n).unwrap_or_default());
        let mut count = 0;
        while let Some(record) = next_record(&mut bytes)? {
            count += 1;
            each(record);
        }
        Ok(count)
    }
}

/// Returns the absolute path a directory has now, from its handle. `mount` is any open directory
/// of the same mount, not one opened as a mere path. `None`: the directory is gone.
pub fn resolve(mount: BorrowedFd<'_>, handle: &[u8]) -> io::Result<Option<Vec<u8>>> {
    let fd = match open_handle(mount, handle) {
        Ok(fd) => fd,
        Err(e) if matches!(e.raw_os_error(), Some(libc::ESTALE | libc::ENOENT)) => {
            return Ok(None);
        }
        Err(e) => return Err(e),
    };
    let path = path_of(fd.as_fd())?;
    if path.ends_with(DELETED) {
        // The kernel marks a removed directory by a suffix that a name may truly have.
        let meant = rustix::fs::fstat(&fd)?;
        let there = CString::new(path.as_slice())
            .ok()
            .and_then(|p| rustix::fs::statat(rustix::fs::CWD, p, AtFlags::SYMLINK_NOFOLLOW).ok());
        if there.is_none_or(|s| (s.st_dev, s.st_ino) != (meant.st_dev, meant.st_ino)) {
            return Ok(None);
        }
    }
    Ok(Some(path))
}

/// The absolute path of an open directory as this process sees it now.
pub fn path_of(fd: BorrowedFd<'_>) -> io::Result<Vec<u8>> {
    let link = std::fs::read_link(format!("/proc/self/fd/{}", fd.as_raw_fd()))?;
    Ok(link.as_os_str().as_bytes().to_vec())
}

/// An open directory by whose mount handles are resolved, with its identity.
#[derive(Debug)]
pub struct Anchor {
    /// The directory.
    pub fd: OwnedFd,
    /// Its device.
    pub dev: u64,
    /// Its inode.
    pub ino: u64,
}

/// Opens a directory by an operator's path, following links.
pub fn open_anchor(path: &[u8]) -> io::Result<Anchor> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let fd = rustix::fs::open(std::ffi::OsStr::from_bytes(path), flags, Mode::empty())?;
    let stat = rustix::fs::fstat(&fd)?;
    // As in `Meta`, so that the two can be compared.
    let (major, minor) = (rustix::fs::major(stat.st_dev), rustix::fs::minor(stat.st_dev));
    Ok(Anchor { dev: u64::from(major) << 32 | u64::from(minor), ino: stat.st_ino, fd })
}

fn init(extra: libc::c_uint) -> io::Result<OwnedFd> {
    let flags = libc::FAN_CLASS_NOTIF
        | libc::FAN_CLOEXEC
        | libc::FAN_NONBLOCK
        | libc::FAN_REPORT_DFID_NAME
        | extra;
    // JUSTIFICATION: neither the standard library nor rustix has this call.
    // SAFETY: no pointers; the result is checked before it becomes an owned descriptor.
    let fd = unsafe { libc::fanotify_init(flags, (libc::O_RDONLY | libc::O_CLOEXEC) as u32) };
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the kernel has just opened this descriptor for us and nobody else holds it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// The kernel's `struct file_handle`, with the room its largest form needs.
#[repr(C, align(8))]
struct RawHandle([u8; HANDLE_HEAD + HANDLE_MAX]);

fn handle_of(dir: BorrowedFd<'_>) -> io::Result<Vec<u8>> {
    let mut raw = RawHandle([0; HANDLE_HEAD + HANDLE_MAX]);
    let room = u32::try_from(HANDLE_MAX).unwrap_or_default().to_ne_bytes();
    for (to, from) in raw.0.iter_mut().zip(room) {
        *to = from;
    }
    let mut mount_id = 0;
    // JUSTIFICATION: neither the standard library nor rustix has this call.
    // SAFETY: `raw` is aligned, says its own room in its first field and outlives the call; the
    // empty path with AT_EMPTY_PATH names `dir`, which is open.
    let done = unsafe {
        libc::name_to_handle_at(
            dir.as_raw_fd(),
            c"".as_ptr(),
            raw.0.as_mut_ptr().cast(),
            &raw mut mount_id,
            libc::AT_EMPTY_PATH,
        )
    };
    if done != 0 {
        return Err(io::Error::last_os_error());
    }
    let mut bytes = Bytes(&raw.0);
    let used = bytes.u32().and_then(|n| usize::try_from(n).ok()).unwrap_or_default();
    Ok(raw.0.get(..HANDLE_HEAD + used).unwrap_or_default().to_vec())
}

fn open_handle(mount: BorrowedFd<'_>, handle: &[u8]) -> io::Result<OwnedFd> {
    let mut raw = RawHandle([0; HANDLE_HEAD + HANDLE_MAX]);
    let said = Bytes(handle).u32().and_then(|n| usize::try_from(n).ok());
    if said.is_none_or(|n| n > HANDLE_MAX || handle.len() != HANDLE_HEAD + n) {
        return Err(io::Error::from_raw_os_error(libc::EINVAL));
    }
    for (to, from) in raw.0.iter_mut().zip(handle) {
        *to = *from;
    }
    let flags = libc::O_PATH | libc::O_DIRECTORY | libc::O_CLOEXEC;
    // JUSTIFICATION: neither the standard library nor rustix has this call.
    // SAFETY: `raw` is aligned, holds as many bytes as its first field says (checked above) and
    // outlives the call; `mount` is open.
    let fd =
        unsafe { libc::open_by_handle_at(mount.as_raw_fd(), raw.0.as_mut_ptr().cast(), flags) };
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the kernel has just opened this descriptor for us and nobody else holds it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Takes one record off `bytes`; `None` at the end. Errors: another version of the structure.
fn next_record<'a>(bytes: &mut Bytes<'a>) -> io::Result<Option<FanotifyRecord<'a>>> {
    let Some(len) = Bytes(bytes.0).u32().and_then(|n| usize::try_from(n).ok()) else {
        return Ok(None);
    };
    let Some(whole) = bytes.take(len).filter(|_| len >= METADATA_LEN) else { return Ok(None) };
    let mut event = Bytes(whole);
    let head = (|| {
        event.take(4)?;
        let version = event.u8()?;
        event.take(1)?;
        let metadata_len = usize::from(event.u16()?);
        Some((version, metadata_len, event.u64()?))
    })();
    let Some((version, metadata_len, mask)) = head else { return Ok(None) };
    if version != libc::FANOTIFY_METADATA_VERSION {
        return Err(io::Error::other("the kernel speaks another version of fanotify"));
    }
    let mut info = Bytes(whole.get(metadata_len..).unwrap_or_default());
    let mut record = FanotifyRecord { mask, place: None, new_place: None };
    while let Some((kind, place)) = next_info(&mut info) {
        match kind {
            libc::FAN_EVENT_INFO_TYPE_DFID_NAME | libc::FAN_EVENT_INFO_TYPE_OLD_DFID_NAME => {
                record.place = place;
            }
            libc::FAN_EVENT_INFO_TYPE_DFID => {
                record.place = place.map(|p| Place { name: b".", ..p });
            }
            libc::FAN_EVENT_INFO_TYPE_NEW_DFID_NAME => record.new_place = place,
            _ => {}
        }
    }
    Ok(Some(record))
}

/// Takes one information record: its type and, when it has that shape, the place it names.
fn next_info<'a>(info: &mut Bytes<'a>) -> Option<(u8, Option<Place<'a>>)> {
    let mut head = Bytes(info.0);
    let kind = head.u8()?;
    head.take(1)?;
    let len = usize::from(head.u16()?);
    let mut body = Bytes(info.take(len).filter(|_| len >= 4)?.get(4..)?);
    let place = (|| {
        body.take(8)?; // the file system's id: one mark, one file system
        let bytes = usize::try_from(Bytes(body.0).u32()?).ok()?;
        let handle = body.take(HANDLE_HEAD.checked_add(bytes)?)?;
        Some(Place { handle, name: until_nul(body.0) })
    })();
    Some((kind, place))
}

/// Bytes of one read: some six hundred records.
const READ_BYTES: usize = 64 * 1024;
/// Bytes of the fixed part of a record.
const METADATA_LEN: usize = 24;
/// Bytes of count and type before a handle's own bytes.
const HANDLE_HEAD: usize = 8;
/// Bytes of the longest handle the kernel makes (`MAX_HANDLE_SZ`).
const HANDLE_MAX: usize = 128;
/// What the kernel appends to the path of a removed directory.
const DELETED: &[u8] = b" (deleted)";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_are_cut_at_their_own_length() {
        // A failure would mean that names run into the next record.
        let mut info = vec![libc::FAN_EVENT_INFO_TYPE_DFID_NAME, 0, 0, 0];
        info.extend_from_slice(&[0; 8]);
        info.extend_from_slice(&4u32.to_ne_bytes());
        info.extend_from_slice(&1i32.to_ne_bytes());
        info.extend_from_slice(&[9, 9, 9, 9]);
        info.extend_from_slice(b"name\0\0\0\0");
        let len = u16::try_from(info.len()).unwrap().to_ne_bytes();
        info[2..4].copy_from_slice(&len);
        let mut raw = u32::try_from(24 + info.len()).unwrap().to_ne_bytes().to_vec();
        raw.extend_from_slice(&[libc::FANOTIFY_METADATA_VERSION, 0, 24, 0]);
        raw.extend_from_slice(&mask::CREATE.to_ne_bytes());
        raw.extend_from_slice(&[0; 8]);
        raw.extend_from_slice(&info);
        let mut bytes = Bytes(&raw);
        let record = next_record(&mut bytes).unwrap().unwrap();
        assert_eq!(record.place.unwrap().name, b"name");
        assert_eq!(record.place.unwrap().handle.len(), 12);
        assert!(next_record(&mut bytes).unwrap().is_none());
        for cut in 0..raw.len() {
            assert!(next_record(&mut Bytes(&raw[..cut])).unwrap().is_none());
        }
    }
}
