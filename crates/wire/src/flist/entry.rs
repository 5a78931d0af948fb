//! One file-list entry, all fields typed with units.

use crate::checksum::strong::Digest;
use crate::flist::acls::Acls;
use crate::flist::xattrs::Xattrs;

/// Bits of the mode that tell the type.
const TYPE: u32 = 0o170_000;

/// Membership in a group of hard links.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HardLink {
    /// As the sender's file system tells it.
    Device {
        /// Device number.
        dev: u64,
        /// Inode number.
        ino: u64,
    },
    /// As it travels. Source: [flist-hlink].
    Group {
        /// Index of the group's first member, in order of transmission.
        id: i32,
        /// Whether this is that member.
        first: bool,
    },
}

/// One entry, owned: as the scanner makes it and as the decoder yields it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Entry {
    /// Path from the transfer root, without a trailing slash. Source: [flist-name].
    pub name: Vec<u8>,
    /// Which of the sender's source directories it comes from; never travels.
    pub root: u16,
    /// Type and permission bits; 0 asks the receiver to delete the name. Source: [flist-mode].
    pub mode: u32,
    /// Length in bytes; of a symlink that of its text. Source: [flist-length].
    pub len: u64,
    /// Modification time in seconds since the epoch. Source: [flist-mtime].
    pub mtime: i64,
    /// Its nanoseconds, 0..=999999999; from protocol 31. Source: [flist-nsec].
    pub mtime_nsec: u32,
    /// Access time in seconds, of what is no directory. Source: [flist-atime].
    pub atime: i64,
    /// Owner. Source: [flist-uid].
    pub uid: u32,
    /// Group. Source: [flist-gid].
    pub gid: u32,
    /// Name of the owner, where it travels with the entry. Source: [flist-uname].
    pub user_name: Option<Vec<u8>>,
    /// Name of the group, where it travels with the entry. Source: [flist-gname].
    pub group_name: Option<Vec<u8>>,
    /// Major and minor number of a device. Source: [flist-rdev].
    pub rdev: (u32, u32),
    /// Text of a symlink, never empty. Source: [flist-target].
    pub link_target: Option<Vec<u8>>,
    /// Hard-link group.
    pub hard_link: Option<HardLink>,
    /// Digest of the content under `--checksum`. Source: [flist-digest].
    pub digest: Option<Digest>,
    /// Access control lists, of what is no symlink. Source: [flist-acl].
    pub acls: Option<Acls>,
    /// Extended attributes. Source: [flist-xattr].
    pub xattrs: Option<Xattrs>,
    /// A directory that the user named, or an implied parent of one.
    pub top_dir: bool,
    /// A directory whose contents are in the transfer.
    pub content_dir: bool,
}

impl Entry {
    /// A directory.
    pub fn is_dir(&self) -> bool {
        self.mode & TYPE == 0o040_000
    }

    /// A regular file.
    pub fn is_reg(&self) -> bool {
        self.mode & TYPE == 0o100_000
    }

    /// A symbolic link.
    pub fn is_link(&self) -> bool {
        self.mode & TYPE == 0o120_000
    }

    /// A block or character device.
    pub fn is_device(&self) -> bool {
        matches!(self.mode & TYPE, 0o060_000 | 0o020_000)
    }

    /// A fifo or socket.
    pub fn is_special(&self) -> bool {
        matches!(self.mode & TYPE, 0o010_000 | 0o140_000)
    }
}
