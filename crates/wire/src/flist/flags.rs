//! The flag word before each entry, and what decides which fields follow. Source: [flist-flags].

use crate::codec::{ByteSource, get_varint, put_u16, put_varint};
use crate::error::Error;
use crate::exit::ExitCode;
use crate::version::Protocol;

pub(crate) const TOP_DIR: u32 = 1;
pub(crate) const SAME_MODE: u32 = 2;
pub(crate) const EXTENDED: u32 = 4;
/// In one-byte words, where nothing extends them.
pub(crate) const SAME_RDEV: u32 = 4;
pub(crate) const SAME_UID: u32 = 8;
pub(crate) const SAME_GID: u32 = 0x10;
pub(crate) const SAME_NAME: u32 = 0x20;
pub(crate) const LONG_NAME: u32 = 0x40;
pub(crate) const SAME_TIME: u32 = 0x80;
pub(crate) const SAME_RDEV_MAJOR: u32 = 0x100;
pub(crate) const NO_CONTENT_DIR: u32 = 0x100;
pub(crate) const HLINKED: u32 = 0x200;
pub(crate) const USER_NAME_FOLLOWS: u32 = 0x400;
/// Before names of owners travelled inline.
pub(crate) const SAME_DEV: u32 = 0x400;
pub(crate) const GROUP_NAME_FOLLOWS: u32 = 0x800;
/// Before names of groups travelled inline.
pub(crate) const RDEV_MINOR_8: u32 = 0x800;
pub(crate) const HLINK_FIRST: u32 = 0x1000;
pub(crate) const MOD_NSEC: u32 = 0x2000;
pub(crate) const SAME_ATIME: u32 = 0x4000;
/// A flag word that ends the list and announces an error word.
const END_WITH_ERROR: u32 = 0x1004;

/// What the session decided about the shape of entries.
#[derive(Clone, Debug)]
#[allow(clippy::struct_excessive_bools)]
pub struct FlistOptions {
    /// Protocol of the session.
    pub protocol: Protocol,
    /// Flag words are varints.
    pub varint_flags: bool,
    /// The end of a list may carry an error word.
    pub safe_flist: bool,
    /// Id lists carry the name of id 0.
    pub id0_names: bool,
    /// Incremental recursion.
    pub inc: bool,
    /// Access times travel.
    pub atimes: bool,
    /// Owners travel.
    pub owner: bool,
    /// Groups travel.
    pub group: bool,
    /// Symlink texts travel.
    pub links: bool,
    /// Device numbers travel.
    pub devices: bool,
    /// Fifos and sockets are preserved.
    pub specials: bool,
    /// Hard-link groups travel.
    pub hard_links: bool,
    /// Access control lists travel.
    pub acls: bool,
    /// Extended attributes travel.
    pub xattrs: bool,
    /// Length of the digest of regular files, where one travels.
    pub checksum_len: Option<usize>,
    /// Owners' names do not travel.
    pub numeric_ids: bool,
    /// Names may begin with a slash.
    pub relative: bool,
    /// Entries of mode 0 are allowed.
    pub delete_missing_args: bool,
    /// What lies below a named directory belongs to the transfer.
    pub recurse: bool,
}

impl FlistOptions {
    /// The newest form of flags and ends, and entries that hold what every entry has, with the
    /// texts of symbolic links.
    pub fn plain(protocol: Protocol) -> FlistOptions {
        FlistOptions {
            protocol,
            varint_flags: true,
            safe_flist: true,
            id0_names: true,
            inc: false,
            atimes: false,
            owner: false,
            group: false,
            links: true,
            devices: false,
            specials: false,
            hard_links: false,
            acls: false,
            xattrs: false,
            checksum_len: None,
            numeric_ids: false,
            relative: false,
            delete_missing_args: false,
            recurse: true,
        }
    }

    /// Whether an entry of this mode has a device field.
    pub(crate) fn has_rdev(&self, mode: u32) -> bool {
        match mode & 0o170_000 {
            0o060_000 | 0o020_000 => self.devices,
            0o010_000 | 0o140_000 => self.specials && self.protocol.specials_have_rdev(),
            _ => false,
        }
    }

    /// Whether a digest travels with an entry, under `--checksum`.
    pub(crate) fn has_digest(&self, is_reg: bool) -> bool {
        is_reg || !self.protocol.has_wide_flags()
    }

    /// Whether the numbers of its file system and inode travel with an entry.
    pub(crate) fn has_inode(&self, word: u32, is_reg: bool) -> bool {
        self.hard_links
            && !self.protocol.has_link_groups()
            && match self.protocol.has_wide_flags() {
                true => word & HLINKED != 0,
                false => is_reg,
            }
    }

    /// Whether the end of a list can carry an error word in this session.
    pub(crate) fn end_carries_error(&self) -> bool {
        self.varint_flags || self.safe_flist || self.protocol.always_safe_flist()
    }
}

/// What the flags of an entry refer to: fields of the one sent before it, in any segment.
#[derive(Default)]
pub(crate) struct Previous {
    pub(crate) name: Vec<u8>,
    pub(crate) mode: u32,
    pub(crate) mtime: i64,
    pub(crate) atime: i64,
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    pub(crate) rdev_major: u32,
    /// Device number as a whole.
    pub(crate) rdev: u32,
    /// File system of a member of a group of hard links.
    pub(crate) dev: i64,
}

/// What a flag word is in the form that it travels in: in one byte without a second, nothing that
/// would read as the end of the list.
pub(crate) fn fitting(opts: &FlistOptions, flags: u32, is_dir: bool) -> u32 {
    match flags & 0xff {
        _ if opts.protocol.has_wide_flags() => flags,
        0 if is_dir => LONG_NAME,
        0 => TOP_DIR,
        byte => byte,
    }
}

/// Appends a flag word.
pub(crate) fn put(out: &mut Vec<u8>, opts: &FlistOptions, flags: u32, is_dir: bool) {
    if opts.varint_flags {
        put_varint(out, if flags == 0 { EXTENDED } else { flags }.cast_signed());
        return;
    }
    let flags = if flags == 0 && !is_dir { TOP_DIR } else { flags };
    if !opts.protocol.has_wide_flags() {
        out.push(flags as u8);
        return;
    }
    if flags & 0xff00 != 0 || flags == 0 {
        put_u16(out, (flags | EXTENDED) as u16);
    } else {
        out.push(flags as u8);
    }
}

/// Appends the end of a list.
pub(crate) fn put_end(out: &mut Vec<u8>, opts: &FlistOptions, io_error: i32) {
    if opts.varint_flags {
        put_varint(out, 0);
        put_varint(out, io_error);
    } else if io_error != 0 && opts.end_carries_error() {
        put_u16(out, END_WITH_ERROR as u16);
        put_varint(out, io_error);
    } else {
        out.push(0);
    }
}

/// What a flag word turned out to be.
pub(crate) enum Flags {
    Entry(u32),
    End { io_error: i32 },
}

/// Reads a flag word. Errors: an end with error word where there can be none.
pub(crate) fn get<S: ByteSource>(src: &mut S, opts: &FlistOptions) -> Result<Flags, S::Error> {
    if opts.varint_flags {
        let flags = get_varint(src)?.cast_unsigned();
        if flags == 0 {
            return Ok(Flags::End { io_error: get_varint(src)? });
        }
        return Ok(Flags::Entry(flags));
    }
    let mut flags = u32::from(src.byte()?);
    if flags == 0 {
        return Ok(Flags::End { io_error: 0 });
    }
    if flags & EXTENDED != 0 && opts.protocol.has_wide_flags() {
        flags |= u32::from(src.byte()?) << 8;
        if flags == END_WITH_ERROR {
            if !opts.end_carries_error() {
                let text = format!("Invalid flist flag: {flags:x}");
                return Err(Error::misbehaved(ExitCode::Protocol, "flist-flags", text).into());
            }
            return Ok(Flags::End { io_error: get_varint(src)? });
        }
    }
    Ok(Flags::Entry(flags))
}
