//! What `lstat` tells, in our types.
//!
//! Made by [`crate::dir::Dir`]; read by the roles. A `Meta` is what was seen at one moment.

use rustix::fs::Statx;

/// Facts of one item.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Meta {
    /// Type and permission bits.
    pub mode: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Size in bytes.
    pub size: u64,
    /// Modification time, seconds since the epoch.
    pub mtime: i64,
    /// Its nanoseconds.
    pub mtime_nsec: u32,
    /// Access time, seconds since the epoch.
    pub atime: i64,
    /// Its nanoseconds.
    pub atime_nsec: u32,
    /// Inode number.
    pub ino: u64,
    /// Device it lies on: major number in the upper half, minor in the lower.
    pub dev: u64,
    /// Major and minor number of a device.
    pub rdev: (u32, u32),
    /// Number of names.
    pub nlink: u32,
}

impl Meta {
    pub(crate) fn from_statx(stat: &Statx) -> Meta {
        Meta {
            mode: u32::from(stat.stx_mode),
            uid: stat.stx_uid,
            gid: stat.stx_gid,
            size: stat.stx_size,
            mtime: stat.stx_mtime.tv_sec,
            mtime_nsec: stat.stx_mtime.tv_nsec,
            atime: stat.stx_atime.tv_sec,
            atime_nsec: stat.stx_atime.tv_nsec,
            ino: stat.stx_ino,
            dev: u64::from(stat.stx_dev_major) << 32 | u64::from(stat.stx_dev_minor),
            rdev: (stat.stx_rdev_major, stat.stx_rdev_minor),
            nlink: stat.stx_nlink,
        }
    }

    fn kind(&self) -> u32 {
        self.mode & 0o170_000
    }

    /// Whether both are facts of the same item.
    pub fn is_same_item(&self, other: &Meta) -> bool {
        (self.dev, self.ino) == (other.dev, other.ino)
    }

    /// A directory.
    pub fn is_dir(&self) -> bool {
        self.kind() == 0o040_000
    }

    /// A regular file.
    pub fn is_file(&self) -> bool {
        self.kind() == 0o100_000
    }

    /// A symbolic link.
    pub fn is_link(&self) -> bool {
        self.kind() == 0o120_000
    }

    /// A block or character device.
    pub fn is_device(&self) -> bool {
        matches!(self.kind(), 0o060_000 | 0o020_000)
    }
}
