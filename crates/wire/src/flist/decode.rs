//! Bytes to entries, refusing what [`crate::limits`] and the flags forbid.

use std::collections::{HashMap, HashSet};

use crate::checksum::strong::Digest;
use crate::codec::{
    ByteSource, get_i32, get_long, get_longint, get_number, get_u32, get_varint, get_varlong,
};
use crate::error::Error;
use crate::exit::ExitCode;
use crate::flist::acls::{self, Acl, AclEntry, AclRef, Acls};
use crate::flist::entry::{Entry, HardLink};
use crate::flist::flags::{self, Flags, FlistOptions, Previous};
use crate::flist::ids::{self, IdNames};
use crate::flist::rdev;
use crate::flist::xattrs::{self, Xattrs};
use crate::limits::{LINK_TARGET_MAX, NAME_MAX_LEN, too_big};

/// Bytes of names and texts one list may hold.
const LIST_BYTES_MAX: usize = 1 << 31;
/// Entries of one list.
const LIST_ENTRIES_MAX: i32 = 1 << 28;

/// Running state of a receiving side's lists, over all segments.
pub struct Decoder {
    opts: FlistOptions,
    last: Previous,
    start: i32,
    received: i32,
    bytes: usize,
    io_error: i32,
    /// First members of groups in this list, for the fields that later ones leave out.
    leaders: HashMap<i32, Entry>,
    /// First members of groups in all lists.
    declared: HashSet<i32>,
    /// First members by file system and inode, where those travel.
    inodes: HashMap<(i64, i64), i32>,
    /// Directories that the user named, where only these are marked.
    tops: HashSet<Vec<u8>>,
    /// Access lists and default lists so far, and what they take in memory.
    acl_lists: [u32; 2],
    acl_bytes: usize,
    /// Lists of extended attributes so far, and what they take in memory.
    xattr_lists: u32,
    xattr_bytes: usize,
}

impl Decoder {
    /// State at the start of the first list.
    pub fn new(opts: FlistOptions) -> Decoder {
        Decoder {
            opts,
            last: Previous::default(),
            start: 0,
            received: 0,
            bytes: 0,
            io_error: 0,
            leaders: HashMap::new(),
            declared: HashSet::new(),
            inodes: HashMap::new(),
            tops: HashSet::new(),
            acl_lists: [0; 2],
            acl_bytes: 0,
            xattr_lists: 0,
            xattr_bytes: 0,
        }
    }

    /// The entries that follow get indices from `start` on, in order of transmission.
    pub fn begin_segment(&mut self, start: i32) {
        self.start = start;
        self.received = 0;
        self.bytes = 0;
        self.leaders.clear();
    }

    /// The error bits that lists carried since the last call.
    pub fn take_io_error(&mut self) -> i32 {
        std::mem::take(&mut self.io_error)
    }

    /// Reads one entry, or the end of the list.
    pub fn next<S: ByteSource>(&mut self, src: &mut S) -> Result<Option<Entry>, S::Error> {
        let word = match flags::get(src, &self.opts)? {
            Flags::End { io_error } => {
                self.io_error |= io_error & 7;
                return Ok(None);
            }
            Flags::Entry(word) => word,
        };
        self.read_name(src, word)?;
        let own = self.start.saturating_add(self.received);
        let mut entry = match self.read_group(src, word, own)? {
            Some(entry) => entry,
            None => self.read_fields(src, word)?,
        };
        entry.name = self.last.name.clone();
        if word & flags::HLINKED != 0
            && self.opts.hard_links
            && self.opts.protocol.has_link_groups()
            && !entry.is_dir()
            && word & flags::HLINK_FIRST != 0
        {
            entry.hard_link = Some(HardLink::Group { id: own, first: true });
            self.declared.insert(own);
            self.leaders.insert(own, entry.clone());
        }
        if entry.is_dir() {
            entry.top_dir = word & flags::TOP_DIR != 0;
            entry.content_dir = match self.opts.protocol.marks_contents() {
                true => word & flags::NO_CONTENT_DIR == 0,
                false => self.is_in_transfer(&entry),
            };
        }
        entry.acls = None;
        if self.opts.acls && !entry.is_link() {
            let access = self.read_acl(src, 0)?;
            let default = if entry.is_dir() { Some(self.read_acl(src, 1)?) } else { None };
            entry.acls = Some(Acls { access, default });
        }
        if self.opts.xattrs {
            entry.xattrs = Some(self.read_xattrs(src)?);
        }
        self.check(&entry)?;
        self.received += 1;
        if self.received > LIST_ENTRIES_MAX || self.bytes > LIST_BYTES_MAX {
            let text = "file list has grown too large".to_string();
            return Err(Error::misbehaved(ExitCode::Malloc, "flist", text).into());
        }
        Ok(Some(entry))
    }

    /// Whether a directory of a list that marks only the named ones belongs to the transfer.
    fn is_in_transfer(&mut self, entry: &Entry) -> bool {
        if entry.top_dir {
            self.tops.insert(entry.name.clone());
            return true;
        }
        let name = &entry.name;
        let mut ends = (0..name.len()).filter(|at| name.get(*at) == Some(&b'/'));
        self.opts.recurse
            && (self.tops.contains(&b"."[..])
                || ends.any(|end| name.get(..end).is_some_and(|above| self.tops.contains(above))))
    }

    fn read_name<S: ByteSource>(&mut self, src: &mut S, word: u32) -> Result<(), S::Error> {
        let prefix = if word & flags::SAME_NAME != 0 { usize::from(src.byte()?) } else { 0 };
        let suffix = if word & flags::LONG_NAME != 0 {
            usize::try_from(get_number(src, self.opts.protocol)?).unwrap_or(usize::MAX)
        } else {
            usize::from(src.byte()?)
        };
        if prefix > self.last.name.len() || suffix > NAME_MAX_LEN || prefix + suffix > NAME_MAX_LEN
        {
            let last = String::from_utf8_lossy(&self.last.name);
            let text =
                format!("overflow: xflags=0x{word:x} l1={prefix} l2={suffix} lastname={last}");
            return Err(Error::malformed(ExitCode::Malloc, "flist-name", text).into());
        }
        self.last.name.truncate(prefix);
        let rest = src.read_vec(suffix)?;
        self.last.name.extend_from_slice(&rest);
        self.bytes += self.last.name.len();
        Ok(())
    }

    /// The reference of a later member of a group: within this list it stands for all fields.
    fn read_group<S: ByteSource>(
        &mut self,
        src: &mut S,
        word: u32,
        own: i32,
    ) -> Result<Option<Entry>, S::Error> {
        let first = word & flags::HLINK_FIRST != 0 || !self.opts.protocol.has_link_groups();
        if word & flags::HLINKED == 0 || first || !self.opts.hard_links {
            return Ok(None);
        }
        let index = get_varint(src)?;
        if index < 0 || index >= own || !self.declared.contains(&index) {
            let text = format!("hard-link reference out of range: {index} ({own})");
            return Err(Error::misbehaved(ExitCode::Protocol, "flist-hlink", text).into());
        }
        let group = Some(HardLink::Group { id: index, first: false });
        if index < self.start {
            let mut entry = self.read_fields(src, word)?;
            entry.hard_link = group;
            return Ok(Some(entry));
        }
        let Some(leader) = self.leaders.get(&index) else { return Ok(None) };
        let entry = Entry { hard_link: group, ..leader.clone() };
        self.last.mode = entry.mode;
        self.last.mtime = entry.mtime;
        self.last.atime = entry.atime;
        self.last.uid = entry.uid;
        self.last.gid = entry.gid;
        Ok(Some(entry))
    }

    fn read_fields<S: ByteSource>(&mut self, src: &mut S, word: u32) -> Result<Entry, S::Error> {
        let has = |flag: u32| word & flag != 0;
        let protocol = self.opts.protocol;
        let len = get_long(src, protocol, 3)?;
        let len = u64::try_from(len).map_err(|_| {
            Error::misbehaved(
                ExitCode::Unsupported,
                "flist-length",
                "Offset underflow: file-length is negative",
            )
        })?;
        if !has(flags::SAME_TIME) {
            self.last.mtime = match protocol.has_varints() {
                true => get_varlong(src, 4)?,
                false => i64::from(get_u32(src)?),
            };
        }
        let mut entry = Entry { len, mtime: self.last.mtime, ..Entry::default() };
        if has(flags::MOD_NSEC) && self.opts.protocol.has_nsec() {
            let nsec = get_varint(src)?;
            entry.mtime_nsec =
                u32::try_from(nsec).ok().filter(|n| *n < 1_000_000_000).ok_or_else(|| {
                    let text = format!(
                        "wire value modtime_nsec out of range: {nsec} not in [0,999999999]"
                    );
                    Error::misbehaved(ExitCode::Protocol, "flist-nsec", text)
                })?;
        }
        if !has(flags::SAME_MODE) {
            self.last.mode = get_i32(src)?.cast_unsigned();
        }
        entry.mode = self.last.mode;
        if self.opts.atimes && !entry.is_dir() {
            if !has(flags::SAME_ATIME) {
                self.last.atime = get_varlong(src, 4)?;
            }
            entry.atime = self.last.atime;
        }
        if self.opts.owner && !has(flags::SAME_UID) {
            self.last.uid = get_number(src, protocol)?.cast_unsigned();
            if has(flags::USER_NAME_FOLLOWS) && protocol.has_varints() {
                entry.user_name = Some(ids::get_name(src)?);
            }
        }
        entry.uid = self.last.uid;
        if self.opts.group && !has(flags::SAME_GID) {
            self.last.gid = get_number(src, protocol)?.cast_unsigned();
            if has(flags::GROUP_NAME_FOLLOWS) && protocol.has_varints() {
                entry.group_name = Some(ids::get_name(src)?);
            }
        }
        entry.gid = self.last.gid;
        if self.opts.has_rdev(entry.mode) {
            let rdev = rdev::get(src, &self.opts, &mut self.last, word)?;
            if entry.is_device() {
                entry.rdev = rdev;
            }
        }
        if entry.is_link() && self.opts.links {
            entry.link_target = Some(self.read_target(src)?);
        }
        if self.opts.has_inode(word, entry.is_reg()) {
            entry.hard_link = self.read_inode(src, word)?;
        }
        if let Some(len) = self.opts.checksum_len.filter(|_| self.opts.has_digest(entry.is_reg())) {
            let digest = src.read_vec(len)?;
            entry.digest = Digest::from_slice(&digest).filter(|_| entry.is_reg());
        }
        Ok(entry)
    }

    /// The group that file system and inode make a member of.
    fn read_inode<S: ByteSource>(
        &mut self,
        src: &mut S,
        word: u32,
    ) -> Result<Option<HardLink>, S::Error> {
        let wide = self.opts.protocol.has_wide_flags();
        if !wide || word & flags::SAME_DEV == 0 {
            self.last.dev = get_longint(src)?;
        }
        let ino = get_longint(src)?;
        if self.last.dev == 0 {
            return Ok(None);
        }
        let own = self.start.saturating_add(self.received);
        let id = *self.inodes.entry((self.last.dev, ino)).or_insert(own);
        Ok(Some(HardLink::Group { id, first: id == own }))
    }

    fn read_target<S: ByteSource>(&mut self, src: &mut S) -> Result<Vec<u8>, S::Error> {
        let len = get_number(src, self.opts.protocol)?;
        let size =
            usize::try_from(len).ok().filter(|len| *len <= LINK_TARGET_MAX).ok_or_else(|| {
                let text = format!("overflow: linkname_len={len}");
                Error::malformed(ExitCode::Malloc, "flist-target", text)
            })?;
        let target = src.read_vec(size)?;
        if target.contains(&0) {
            let text = "invalid symlink text in the file list".to_string();
            return Err(Error::malformed(ExitCode::Protocol, "flist-target", text).into());
        }
        self.bytes += target.len();
        Ok(target)
    }

    fn read_acl<S: ByteSource>(&mut self, src: &mut S, kind: usize) -> Result<AclRef, S::Error> {
        let known = &mut self.acl_lists[kind];
        let found = acls::get(src, *known)?;
        if let AclRef::List(acl) = &found {
            *known += 1;
            self.acl_bytes += size_of::<Acl>() + acl.named.len() * 2 * size_of::<AclEntry>();
            if too_big(self.acl_bytes) {
                let text = "access control lists have grown too large";
                return Err(Error::misbehaved(ExitCode::Malloc, "flist-acl", text).into());
            }
        }
        Ok(found)
    }

    fn read_xattrs<S: ByteSource>(&mut self, src: &mut S) -> Result<Xattrs, S::Error> {
        let found = xattrs::get(src, self.xattr_lists)?;
        if let Xattrs::List(list) = &found {
            self.xattr_lists += 1;
            self.xattr_bytes += size_of::<Xattrs>()
                + list.iter().map(|x| x.name.len() + 2 * size_of::<Xattrs>()).sum::<usize>();
            if too_big(self.xattr_bytes) {
                let text = "lists of extended attributes have grown too large";
                return Err(Error::misbehaved(ExitCode::Malloc, "flist-xattr", text).into());
            }
        }
        Ok(found)
    }

    /// What no sender may send, whatever was asked for.
    ///
    /// # Errors
    /// A name that could lead elsewhere, a mode of no kind of file, a root that is no directory.
    pub fn check(&self, entry: &Entry) -> Result<(), Error> {
        let name = &entry.name;
        let rel = match name.iter().position(|&b| b != b'/') {
            Some(0) => &name[..],
            Some(at) if self.opts.relative => &name[at..],
            None if self.opts.relative && !name.is_empty() => b".",
            _ => return Err(unsafe_name(name)),
        };
        let odd = |part: &[u8]| part.is_empty() || part == b"." || part == b"..";
        if rel.contains(&0) || rel != b"." && rel.split(|&b| b == b'/').any(odd) {
            return Err(unsafe_name(name));
        }
        let known = matches!(
            entry.mode & 0o170_000,
            0o040_000 | 0o100_000 | 0o120_000 | 0o060_000 | 0o020_000 | 0o010_000 | 0o140_000
        );
        let deletes = entry.mode == 0 && self.opts.delete_missing_args;
        if !(known || deletes) || entry.mode > 0o177_777 {
            let shown = String::from_utf8_lossy(name);
            let text = format!("invalid file mode 0{:o} for {shown}", entry.mode);
            return Err(Error::misbehaved(ExitCode::Protocol, "flist-mode", text));
        }
        if rel == b"." && !entry.is_dir() {
            let mut text = b"rejecting non-directory transfer-root entry: ".to_vec();
            text.extend_from_slice(name);
            let text = format!("ERROR: {}", String::from_utf8_lossy(&text));
            return Err(Error::misbehaved(ExitCode::Protocol, "flist-name", text));
        }
        Ok(())
    }

    /// Reads what follows the lists of ids in protocols whose lists carry no error words.
    pub fn last_word<S: ByteSource>(&mut self, src: &mut S) -> Result<(), S::Error> {
        if !self.opts.protocol.has_failure_messages() {
            self.io_error |= get_i32(src)? & 7;
        }
        Ok(())
    }

    /// Reads the id lists that follow a whole list.
    pub fn id_lists<S: ByteSource>(&mut self, src: &mut S) -> Result<IdNames, S::Error> {
        let mut names = IdNames::default();
        if self.opts.owner || self.opts.acls {
            names.users = ids::get_list(src, &self.opts)?;
        }
        if self.opts.group || self.opts.acls {
            names.groups = ids::get_list(src, &self.opts)?;
        }
        Ok(names)
    }
}

fn unsafe_name(name: &[u8]) -> Error {
    let text =
        format!("ABORTING due to unsafe pathname from sender: {}", String::from_utf8_lossy(name));
    Error::misbehaved(ExitCode::Unsupported, "flist-name", text)
}
