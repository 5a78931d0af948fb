//! Mode, owner and times of an item, never through a symlink.
//!
//! Called by whoever finishes an entry: the generator for directories, symlinks and unchanged
//! files; new files get theirs through [`crate::stage::Stage`]. Changing a mode without following
//! has no single call that works everywhere, so it takes steps:
//! 1. the C library's `fchmodat`, where tools like fakeroot stand in; it needs `/proc` on older
//!    systems, which a process with a root of its own may lack;
//! 2. the kernel's `fchmodat2`, missing before Linux 6.6;
//! 3. a handle opened for reading, if the item is a regular file or a directory.

use std::ffi::{CStr, CString};
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use rustix::fs::{
    AtFlags, Gid, Mode, OFlags, StatxFlags, Timespec, Timestamps, UTIME_OMIT, Uid, chownat, openat,
    statx, utimensat,
};
use rustix::io::Errno;

use crate::dir::Dir;
use crate::fake;
use crate::meta::Meta;
use crate::path::Name;
use crate::xattr::XattrHolder;

/// Times to set; `None` leaves one as it is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Times {
    /// Modification time: seconds, nanoseconds.
    pub mtime: Option<(i64, u32)>,
    /// Access time in seconds.
    pub atime: Option<i64>,
}

impl Times {
    /// A modification time alone.
    pub fn modified(seconds: i64, nsec: u32) -> Times {
        Times { mtime: Some((seconds, nsec)), atime: None }
    }

    /// Whether there is nothing to set.
    pub fn is_empty(&self) -> bool {
        *self == Times::default()
    }
}

const NSEC_MAX: u32 = 999_999_999;

impl Dir {
    /// Sets permission bits of an item. A symlink is refused with ELOOP.
    pub fn chmod(&self, name: &Name, perm: u32) -> io::Result<()> {
        if !self.fakes() {
            return self.chmod_as_is(name, perm);
        }
        let mut real = self.lstat_as_is(name)?.ok_or(Errno::NOENT)?;
        let holder = XattrHolder::Item(self, name);
        let wanted = with_perm(fake::seen(real, &holder)?, perm);
        let safe = fake::safe_perm(perm, real.is_dir());
        if real.mode & 0o7777 != safe {
            self.chmod_as_is(name, safe)?;
            real = with_perm(real, safe);
        }
        fake::keep(&real, &wanted, &holder)
    }

    pub(crate) fn chmod_as_is(&self, name: &Name, perm: u32) -> io::Result<()> {
        let text = CString::new(name.as_bytes())?;
        match libc_fchmodat(self.fd(), &text, perm, libc::AT_SYMLINK_NOFOLLOW) {
            Err(Errno::OPNOTSUPP | Errno::NOSYS | Errno::INVAL) => {}
            other => return Ok(other?),
        }
        let seen = self.lstat_as_is(name)?.ok_or(Errno::NOENT)?;
        if seen.is_link() {
            return Err(Errno::LOOP.into());
        }
        match kernel_fchmodat2(self.fd(), &text, perm, libc::AT_SYMLINK_NOFOLLOW) {
            Err(Errno::NOSYS | Errno::PERM) if seen.is_file() || seen.is_dir() => {}
            other => return Ok(other?),
        }
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NONBLOCK;
        let item = openat(self.fd(), name.as_bytes(), flags | OFlags::NOCTTY, Mode::empty())?;
        Ok(chmod_file(&item.into(), perm)?)
    }

    /// Sets permission bits of the directory itself.
    pub fn chmod_self(&self, perm: u32) -> io::Result<()> {
        if !self.fakes() {
            return self.chmod_self_as_is(perm);
        }
        let (mut real, holder) = (self.stat_self_as_is()?, XattrHolder::Itself(self));
        let wanted = with_perm(fake::seen(real, &holder)?, perm);
        let safe = fake::safe_perm(perm, true);
        if real.mode & 0o7777 != safe {
            self.chmod_self_as_is(safe)?;
            real = with_perm(real, safe);
        }
        fake::keep(&real, &wanted, &holder)
    }

    pub(crate) fn chmod_self_as_is(&self, perm: u32) -> io::Result<()> {
        match libc_fchmodat(self.fd(), c".", perm, 0) {
            // Its owner may have no right to search it; the handle itself still does.
            Err(Errno::ACCESS) => chmod_handle(self.fd(), perm),
            other => Ok(other?),
        }
    }

    /// Sets owner and group of an item, of a symlink its own. Errors: EINVAL for 4294967295.
    pub fn chown(&self, name: &Name, uid: Option<u32>, gid: Option<u32>) -> io::Result<()> {
        let (new_uid, new_gid) = (uid, gid);
        let (uid, gid) = ids(uid, gid)?;
        if self.fakes() {
            let real = self.lstat_as_is(name)?.ok_or(Errno::NOENT)?;
            return keep_owner(&real, new_uid, new_gid, &XattrHolder::Item(self, name));
        }
        Ok(chownat(self.fd(), name.as_bytes(), uid, gid, AtFlags::SYMLINK_NOFOLLOW)?)
    }

    /// Sets owner and group of the directory itself. Errors: EINVAL for 4294967295.
    pub fn chown_self(&self, uid: Option<u32>, gid: Option<u32>) -> io::Result<()> {
        let (new_uid, new_gid) = (uid, gid);
        let (uid, gid) = ids(uid, gid)?;
        if self.fakes() {
            let real = self.stat_self_as_is()?;
            return keep_owner(&real, new_uid, new_gid, &XattrHolder::Itself(self));
        }
        Ok(chownat(self.fd(), "", uid, gid, AtFlags::EMPTY_PATH)?)
    }

    /// Sets times of an item, of a symlink its own.
    pub fn set_times(&self, name: &Name, times: Times) -> io::Result<()> {
        let times = timestamps(times)?;
        Ok(utimensat(self.fd(), name.as_bytes(), &times, AtFlags::SYMLINK_NOFOLLOW)?)
    }

    /// Sets times of the directory itself.
    pub fn set_times_self(&self, times: Times) -> io::Result<()> {
        let times = timestamps(times)?;
        match utimensat(self.fd(), ".", &times, AtFlags::empty()) {
            Err(Errno::ACCESS) => Ok(utimensat(self.fd(), "", &times, AtFlags::EMPTY_PATH)?),
            other => Ok(other?),
        }
    }

    /// Opens our own file for writing though its mode forbids it: write permission is lent for the
    /// length of the call, through a handle, and taken back before anything is read from a peer.
    pub(crate) fn open_write_lent(&self, name: &Name, flags: OFlags) -> io::Result<OwnedFd> {
        let pin = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let pinned = openat(self.fd(), name.as_bytes(), pin, Mode::empty())?;
        let meta = handle_meta(pinned.as_fd())?;
        let ours = meta.uid == rustix::process::geteuid().as_raw();
        if !meta.is_file() || meta.mode & 0o200 != 0 {
            return Err(Errno::ACCESS.into());
        }
        if !ours {
            return Err(Errno::PERM.into());
        }
        chmod_handle(pinned.as_fd(), meta.mode | 0o200).map_err(|_| Errno::ACCESS)?;
        let opened = openat(self.fd(), name.as_bytes(), flags, Mode::empty());
        chmod_handle(pinned.as_fd(), meta.mode)?;
        let opened = opened?;
        if !handle_meta(opened.as_fd())?.is_same_item(&meta) {
            return Err(Errno::STALE.into());
        }
        Ok(opened)
    }
}

fn with_perm(meta: Meta, perm: u32) -> Meta {
    Meta { mode: meta.mode & 0o170_000 | perm & 0o7777, ..meta }
}

fn keep_owner(
    real: &Meta,
    uid: Option<u32>,
    gid: Option<u32>,
    holder: &XattrHolder<'_>,
) -> io::Result<()> {
    let seen = fake::seen(*real, holder)?;
    let wanted = Meta { uid: uid.unwrap_or(seen.uid), gid: gid.unwrap_or(seen.gid), ..seen };
    fake::keep(real, &wanted, holder)
}

/// Sets owner, group and permission bits of an open file of a faking directory.
pub(crate) fn fake_file(
    file: &File,
    uid: Option<u32>,
    gid: Option<u32>,
    perm: Option<u32>,
) -> io::Result<()> {
    ids(uid, gid)?;
    let (mut real, holder) = (handle_meta(file.as_fd())?, XattrHolder::Faked(file));
    let seen = fake::seen(real, &holder)?;
    let wanted = Meta { uid: uid.unwrap_or(seen.uid), gid: gid.unwrap_or(seen.gid), ..seen };
    let wanted = perm.map_or(wanted, |perm| with_perm(wanted, perm));
    let safe = fake::safe_perm(wanted.mode & 0o7777, false);
    if perm.is_some() && real.mode & 0o7777 != safe {
        chmod_file(file, safe)?;
        real = with_perm(real, safe);
    }
    fake::keep(&real, &wanted, &holder)
}

fn handle_meta(handle: BorrowedFd<'_>) -> io::Result<Meta> {
    let stat = statx(handle, "", AtFlags::EMPTY_PATH, StatxFlags::BASIC_STATS)?;
    Ok(Meta::from_statx(&stat))
}

/// Changes the mode of what a path-only handle points at.
fn chmod_handle(handle: BorrowedFd<'_>, perm: u32) -> io::Result<()> {
    match kernel_fchmodat2(handle, c"", perm, libc::AT_EMPTY_PATH) {
        Err(Errno::NOSYS | Errno::PERM) => {}
        other => return Ok(other?),
    }
    let path = CString::new(format!("/proc/self/fd/{}", handle.as_raw_fd()))?;
    Ok(libc_fchmodat(rustix::fs::CWD, &path, perm, 0)?)
}

fn libc_fchmodat(at: BorrowedFd<'_>, name: &CStr, perm: u32, flags: i32) -> Result<(), Errno> {
    // SAFETY: the descriptor is open and the text ends in NUL; both live through the call, which
    // only reads them.
    let got = unsafe { libc::fchmodat(at.as_raw_fd(), name.as_ptr(), perm & 0o7777, flags) };
    if got == 0 { Ok(()) } else { Err(last_errno()) }
}

fn kernel_fchmodat2(at: BorrowedFd<'_>, name: &CStr, perm: u32, flags: i32) -> Result<(), Errno> {
    // SAFETY: as above; the call takes these four arguments on every architecture.
    let got = unsafe {
        libc::syscall(libc::SYS_fchmodat2, at.as_raw_fd(), name.as_ptr(), perm & 0o7777, flags)
    };
    if got == 0 { Ok(()) } else { Err(last_errno()) }
}

fn last_errno() -> Errno {
    Errno::from_io_error(&io::Error::last_os_error()).unwrap_or(Errno::IO)
}

/// Sets permission bits of an open file, by the C library's own call, which fakeroot and its like
/// replace; rustix goes past them here and in [`chown_file`].
pub(crate) fn chmod_file(file: &File, perm: u32) -> Result<(), Errno> {
    // SAFETY: the descriptor is open; touches no memory.
    let got = unsafe { libc::fchmod(file.as_raw_fd(), perm & 0o7777) };
    if got == 0 { Ok(()) } else { Err(last_errno()) }
}

/// Sets owner and group of an open file. Errors: EINVAL for 4294967295.
pub(crate) fn chown_file(file: &File, uid: Option<u32>, gid: Option<u32>) -> Result<(), Errno> {
    ids(uid, gid)?;
    let as_is = u32::MAX;
    // SAFETY: the descriptor is open; touches no memory.
    let got = unsafe { libc::fchown(file.as_raw_fd(), uid.unwrap_or(as_is), gid.unwrap_or(as_is)) };
    if got == 0 { Ok(()) } else { Err(last_errno()) }
}

/// The largest number means "leave as it is" to the kernel, so it cannot be asked for.
fn ids(uid: Option<u32>, gid: Option<u32>) -> Result<(Option<Uid>, Option<Gid>), Errno> {
    if uid == Some(u32::MAX) || gid == Some(u32::MAX) {
        return Err(Errno::INVAL);
    }
    Ok((uid.map(Uid::from_raw), gid.map(Gid::from_raw)))
}

/// Values above the largest nanosecond mean "now" or "leave" to the kernel; they are refused.
pub(crate) fn timestamps(times: Times) -> Result<Timestamps, Errno> {
    if times.mtime.is_some_and(|(_, nsec)| nsec > NSEC_MAX) {
        return Err(Errno::INVAL);
    }
    let as_is = Timespec { tv_sec: 0, tv_nsec: UTIME_OMIT };
    let spec = |(tv_sec, nsec): (i64, u32)| Timespec { tv_sec, tv_nsec: nsec.into() };
    Ok(Timestamps {
        last_access: times.atime.map_or(as_is, |seconds| spec((seconds, 0))),
        last_modification: times.mtime.map_or(as_is, spec),
    })
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};

    use super::Times;
    use crate::path::RelPath;
    use crate::scratch::{Scratch, name};

    #[test]
    fn attributes_stop_at_a_symlink() {
        let s = Scratch::new();
        std::fs::write(s.path("target"), b"x").unwrap();
        std::fs::set_permissions(s.path("target"), PermissionsExt::from_mode(0o640)).unwrap();
        symlink(s.path("target"), s.path("link")).unwrap();
        let dir = s.root().dir(RelPath::top()).unwrap();
        let before = std::fs::metadata(s.path("target")).unwrap();

        let refused = dir.chmod(name("link"), 0o777).unwrap_err();
        assert_eq!(refused.raw_os_error(), Some(libc::ELOOP));
        dir.set_times(name("link"), Times { atime: Some(77), ..Times::modified(1_000_000, 5) })
            .unwrap();
        if crate::owner::am_root() {
            dir.chown(name("link"), Some(12), Some(34)).unwrap();
            assert_eq!(dir.lstat(name("link")).unwrap().unwrap().uid, 12);
        }
        let link = dir.lstat(name("link")).unwrap().unwrap();
        assert_eq!((link.mtime, link.mtime_nsec, link.atime), (1_000_000, 5, 77));
        let after = std::fs::metadata(s.path("target")).unwrap();
        assert_eq!((before.mode(), before.uid()), (after.mode(), after.uid()));
        assert_eq!(before.mtime(), after.mtime());
        let refused = dir.chmod(name("gone"), 0o777).unwrap_err();
        assert_eq!(refused.raw_os_error(), Some(libc::ENOENT));
    }

    #[test]
    fn every_kind_takes_a_mode() {
        let s = Scratch::new();
        let dir = s.root().dir(RelPath::top()).unwrap();
        dir.create_new(name("f"), 0o600).unwrap();
        dir.mkdir(name("d"), 0o700).unwrap();
        dir.mknod(name("p"), 0o010_600, (0, 0)).unwrap();
        dir.mknod(name("s"), 0o140_600, (0, 0)).unwrap();
        for item in ["f", "d", "p", "s"] {
            dir.chmod(name(item), 0o1644).unwrap();
            assert_eq!(dir.lstat(name(item)).unwrap().unwrap().mode & 0o7777, 0o1644, "{item}");
        }
        let inner = dir.open_dir(name("d")).unwrap();
        inner.chmod_self(0o711).unwrap();
        inner.set_times_self(Times::modified(77, 999_999_999)).unwrap();
        let meta = inner.stat_self().unwrap();
        assert_eq!((meta.mode & 0o7777, meta.mtime, meta.mtime_nsec), (0o711, 77, 999_999_999));
    }

    #[test]
    fn values_with_a_meaning_of_their_own_are_refused() {
        let s = Scratch::new();
        let dir = s.root().dir(RelPath::top()).unwrap();
        dir.create_new(name("f"), 0o600).unwrap();
        let now = (1 << 30) - 1;
        let leave = (1 << 30) - 2;
        for nsec in [1_000_000_000, now, leave, u32::MAX] {
            let refused = dir.set_times(name("f"), Times::modified(5, nsec)).unwrap_err();
            assert_eq!(refused.raw_os_error(), Some(libc::EINVAL));
        }
        let refused = dir.chown(name("f"), Some(u32::MAX), None).unwrap_err();
        assert_eq!(refused.raw_os_error(), Some(libc::EINVAL));
    }
}
