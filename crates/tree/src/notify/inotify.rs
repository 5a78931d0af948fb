//! inotify: one watch for each directory, records with a watch number and a name.
//!
//! Called by `mirror::watch::inotify`. A watch is added through an open directory handle, so that
//! it is on the directory that was listed and no other, whatever renames happen meanwhile.
//! Not guaranteed: which path a watch number stands for; the caller keeps that map.

use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};

use rustix::fs::inotify::{self, CreateFlags, WatchFlags};

use super::{Bytes, read_some, until_nul, wait_readable};

/// One open inotify instance.
pub struct Inotify {
    fd: OwnedFd,
    buffer: Vec<u8>,
}

/// One record of the kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InotifyRecord<'a> {
    /// Watch number; -1 on overflow.
    pub watch: i32,
    /// What happened, [`mask`] bits.
    pub mask: u32,
    /// Joins the two halves of a rename; 0 elsewhere.
    pub cookie: u32,
    /// Name in the watched directory; empty when the directory itself is meant.
    pub name: &'a [u8],
}

/// The bits of [`InotifyRecord::mask`].
pub mod mask {
    /// Content was written, the file is still open.
    pub const MODIFY: u32 = libc::IN_MODIFY;
    /// Attributes changed.
    pub const ATTRIB: u32 = libc::IN_ATTRIB;
    /// A file open for writing was closed.
    pub const CLOSE_WRITE: u32 = libc::IN_CLOSE_WRITE;
    /// A name left by a rename.
    pub const MOVED_FROM: u32 = libc::IN_MOVED_FROM;
    /// A name came by a rename.
    pub const MOVED_TO: u32 = libc::IN_MOVED_TO;
    /// A name was made.
    pub const CREATE: u32 = libc::IN_CREATE;
    /// A name was removed.
    pub const DELETE: u32 = libc::IN_DELETE;
    /// The watched directory was removed.
    pub const DELETE_SELF: u32 = libc::IN_DELETE_SELF;
    /// The watched directory was renamed.
    pub const MOVE_SELF: u32 = libc::IN_MOVE_SELF;
    /// The file system of the watched directory was unmounted.
    pub const UNMOUNT: u32 = libc::IN_UNMOUNT;
    /// The watch is gone.
    pub const IGNORED: u32 = libc::IN_IGNORED;
    /// The name is a directory.
    pub const ISDIR: u32 = libc::IN_ISDIR;
    /// Records were lost.
    pub const OVERFLOW: u32 = libc::IN_Q_OVERFLOW;
}

impl Inotify {
    /// Opens an instance. Errors: `EMFILE` when `fs.inotify.max_user_instances` is reached.
    pub fn open() -> io::Result<Inotify> {
        let fd = inotify::init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK)?;
        Ok(Inotify { fd, buffer: vec![0; READ_BYTES] })
    }

    /// Watches the directory behind the open handle `dir` and returns its watch number, which is
    /// the old one when the directory is watched already. Errors: `ENOSPC` when
    /// `fs.inotify.max_user_watches` is reached.
    pub fn add(&self, dir: impl AsFd) -> io::Result<i32> {
        // The final dot makes the last component a plain directory, so that `DONT_FOLLOW` does not
        // stop at the link that stands for the handle.
        let path = format!("/proc/self/fd/{}/.", dir.as_fd().as_raw_fd());
        let flags = WatchFlags::MODIFY
            | WatchFlags::ATTRIB
            | WatchFlags::CLOSE_WRITE
            | WatchFlags::MOVED_FROM
            | WatchFlags::MOVED_TO
            | WatchFlags::CREATE
            | WatchFlags::DELETE
            | WatchFlags::DELETE_SELF
            | WatchFlags::MOVE_SELF
            | WatchFlags::ONLYDIR
            | WatchFlags::DONT_FOLLOW
            | WatchFlags::EXCL_UNLINK;
        Ok(inotify::add_watch(&self.fd, path, flags)?)
    }

    /// Removes a watch; one that is gone already is no error.
    pub fn remove(&self, watch: i32) {
        let _ = inotify::remove_watch(&self.fd, watch);
    }

    /// Waits for records; false after `timeout_ms` milliseconds without any.
    pub fn wait(&self, timeout_ms: u32) -> io::Result<bool> {
        wait_readable(self.fd.as_fd(), timeout_ms)
    }

    /// Reads what the kernel holds, at most one buffer, and hands each record to `each`. Returns
    /// the number of records; 0 when there are none.
    pub fn read(&mut self, each: &mut dyn FnMut(InotifyRecord<'_>)) -> io::Result<usize> {
        let n = read_some(self.fd.as_fd(), &mut self.buffer)?;
        let mut bytes = Bytes(self.buffer.get(..n).unwrap_or_default());
        let mut count = 0;
        while let Some(record) = next_record(&mut bytes) {
            count += 1;
            each(record);
        }
        Ok(count)
    }
}

fn next_record<'a>(bytes: &mut Bytes<'a>) -> Option<InotifyRecord<'a>> {
    let (watch, mask) = (bytes.i32()?, bytes.u32()?);
    let (cookie, len) = (bytes.u32()?, bytes.u32()?);
    let name = until_nul(bytes.take(usize::try_from(len).ok()?)?);
    Some(InotifyRecord { watch, mask, cookie, name })
}

/// Bytes of one read: some two thousand records with short names.
const READ_BYTES: usize = 64 * 1024;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_cut_short_ends_the_reading() {
        // A failure would mean that a torn buffer is read past its end.
        let mut raw = Vec::new();
        raw.extend_from_slice(&3i32.to_ne_bytes());
        raw.extend_from_slice(&mask::CREATE.to_ne_bytes());
        raw.extend_from_slice(&0u32.to_ne_bytes());
        raw.extend_from_slice(&8u32.to_ne_bytes());
        raw.extend_from_slice(b"name\0\0\0\0");
        let mut bytes = Bytes(&raw);
        let record = next_record(&mut bytes).unwrap();
        assert_eq!((record.watch, record.name), (3, &b"name"[..]));
        assert!(next_record(&mut bytes).is_none());
        assert!(next_record(&mut Bytes(&raw[..20])).is_none());
    }

    #[test]
    fn a_file_written_in_a_watched_directory_is_reported() {
        let dir = std::env::temp_dir().join(format!("lm-inotify-{}", std::process::id()));
        std::fs::create_dir_all(&dir).unwrap();
        let mut watch = Inotify::open().unwrap();
        let wd = watch.add(std::fs::File::open(&dir).unwrap()).unwrap();
        std::fs::write(dir.join("f"), b"x").unwrap();
        let mut seen = 0;
        while watch.wait(1000).unwrap() && seen & mask::CLOSE_WRITE == 0 {
            watch
                .read(&mut |r| {
                    assert_eq!((r.watch, r.name), (wd, &b"f"[..]));
                    seen |= r.mask;
                })
                .unwrap();
        }
        assert_eq!(seen & (mask::CREATE | mask::CLOSE_WRITE), mask::CREATE | mask::CLOSE_WRITE);
        std::fs::remove_dir_all(&dir).unwrap();
    }
}
