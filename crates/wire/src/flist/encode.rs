//! Entries to bytes, each relative to the one before.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use crate::codec::{put_i32, put_long, put_longint, put_number, put_u32, put_varint, put_varlong};
use crate::error::Error;
use crate::exit::ExitCode;
use crate::flist::acls::{self, Acl, AclRef, Acls};
use crate::flist::entry::{Entry, HardLink};
use crate::flist::flags::{self, FlistOptions, Previous};
use crate::flist::ids::{self, IdKind};
use crate::flist::rdev;
use crate::flist::xattrs::{self, Xattr, Xattrs};
use crate::limits::{LINK_TARGET_MAX, NAME_MAX_LEN};

/// Longest prefix shared with the name before, in bytes: its length travels in one byte.
const PREFIX_MAX: usize = 255;

/// Running state of a sender's lists, over all segments.
pub struct Encoder {
    opts: FlistOptions,
    last: Previous,
    first: bool,
    start: i32,
    sent: i32,
    groups: HashMap<(u64, u64), i32>,
    users: BTreeSet<u32>,
    group_ids: BTreeSet<u32>,
    /// Access lists and default lists that travelled.
    acls: [HashMap<Acl, u32>; 2],
    xattrs: HashMap<Arc<[Xattr]>, u32>,
    xattr_lists: Vec<Arc<[Xattr]>>,
}

impl Encoder {
    /// State at the start of the first list.
    pub fn new(opts: FlistOptions) -> Encoder {
        Encoder {
            opts,
            last: Previous::default(),
            first: true,
            start: 0,
            sent: 0,
            groups: HashMap::new(),
            users: BTreeSet::new(),
            group_ids: BTreeSet::new(),
            acls: [HashMap::new(), HashMap::new()],
            xattrs: HashMap::new(),
            xattr_lists: Vec::new(),
        }
    }

    /// The entries that follow get indices from `start` on, in order of transmission.
    pub fn begin_segment(&mut self, start: i32) {
        self.start = start;
        self.sent = 0;
    }

    /// The list of extended attributes that travelled under a number.
    pub fn xattr_list(&self, number: u32) -> Option<&Arc<[Xattr]>> {
        self.xattr_lists.get(number as usize)
    }

    /// Appends one entry; gives the number of its list of extended attributes, where those travel.
    /// Errors: a name or symlink text too long to travel.
    pub fn entry(&mut self, out: &mut Vec<u8>, entry: &Entry) -> Result<Option<u32>, Error> {
        let target = entry.link_target.as_deref().filter(|_| entry.is_link() && self.opts.links);
        if entry.name.len() > NAME_MAX_LEN || target.is_some_and(|t| t.len() > LINK_TARGET_MAX) {
            let text = "name too long to send".to_string();
            return Err(Error::malformed(ExitCode::Malloc, "flist-name", text));
        }
        let (group, mut word) = self.group_of(entry);
        let user_name = self.inline_name(IdKind::User, entry);
        let group_name = self.inline_name(IdKind::Group, entry);
        word |= self.flag_word(entry);
        if user_name.is_some() {
            word |= flags::USER_NAME_FOLLOWS;
        }
        if group_name.is_some() {
            word |= flags::GROUP_NAME_FOLLOWS;
        }
        let word = self.put_name(out, word, entry);
        if let Some(index) = group {
            put_varint(out, index);
        }
        if group.is_none_or(|index| index < self.start) {
            self.put_fields(out, word, entry, user_name, group_name);
        }
        self.last.mode = entry.mode;
        self.last.mtime = entry.mtime;
        if !entry.is_dir() {
            self.last.atime = entry.atime;
        }
        self.last.uid = entry.uid;
        self.last.gid = entry.gid;
        self.first = false;
        self.sent = self.sent.saturating_add(1);
        if self.opts.acls && !entry.is_link() {
            self.put_acls(out, entry);
        }
        Ok(self.opts.xattrs.then(|| self.put_xattrs(out, entry)))
    }

    fn put_acls(&mut self, out: &mut Vec<u8>, entry: &Entry) {
        let none = AclRef::List(Acl::default());
        let (access, default) = match &entry.acls {
            Some(Acls { access, default }) => (access, default.as_ref()),
            None => (&none, None),
        };
        self.put_acl(out, 0, access);
        if entry.is_dir() {
            self.put_acl(out, 1, default.unwrap_or(&none));
        }
    }

    fn put_acl(&mut self, out: &mut Vec<u8>, kind: usize, list: &AclRef) {
        let acl = match list {
            AclRef::List(acl) => acl,
            AclRef::Number(number) => return acls::put_number(out, *number),
        };
        if let Some(number) = self.acls[kind].get(acl) {
            return acls::put_number(out, *number);
        }
        let number = self.acls[kind].len() as u32;
        self.acls[kind].insert(acl.clone(), number);
        let inline = self.opts.inc && !self.opts.numeric_ids;
        let (users, groups) = (&mut self.users, &mut self.group_ids);
        acls::put(out, acl, inline, &mut |user, id| match user {
            true => users.insert(id),
            false => groups.insert(id),
        });
    }

    fn put_xattrs(&mut self, out: &mut Vec<u8>, entry: &Entry) -> u32 {
        let list: &[Xattr] = match &entry.xattrs {
            Some(Xattrs::List(list)) => list,
            Some(Xattrs::Number(number)) if (*number as usize) < self.xattr_lists.len() => {
                xattrs::put(out, &[], Some(*number));
                return *number;
            }
            _ => &[],
        };
        let known = self.xattrs.get(list).copied();
        xattrs::put(out, list, known);
        known.unwrap_or_else(|| {
            let number = self.xattr_lists.len() as u32;
            let list: Arc<[Xattr]> = list.into();
            self.xattr_lists.push(list.clone());
            self.xattrs.insert(list, number);
            number
        })
    }

    /// The back reference of a later member of a hard-link group, and the flags of any member.
    fn group_of(&mut self, entry: &Entry) -> (Option<i32>, u32) {
        let Some(HardLink::Device { dev, ino }) = entry.hard_link.filter(|_| self.opts.hard_links)
        else {
            return (None, 0);
        };
        if entry.is_dir() {
            return (None, 0);
        }
        if !self.opts.protocol.has_link_groups() {
            let same = !self.first && self.last.dev == device_word(dev);
            return (None, flags::HLINKED | if same { flags::SAME_DEV } else { 0 });
        }
        let own = self.start.saturating_add(self.sent);
        match *self.groups.entry((dev, ino)).or_insert(own) {
            index if index == own => (None, flags::HLINKED | flags::HLINK_FIRST),
            index => (Some(index), flags::HLINKED),
        }
    }

    /// With incremental recursion a name travels the first time its id is met.
    fn inline_name<'e>(&mut self, kind: IdKind, entry: &'e Entry) -> Option<&'e [u8]> {
        let (preserved, ids, id, name) = match kind {
            IdKind::User => (self.opts.owner, &mut self.users, entry.uid, &entry.user_name),
            IdKind::Group => (self.opts.group, &mut self.group_ids, entry.gid, &entry.group_name),
        };
        if !preserved {
            return None;
        }
        let met_first = ids.insert(id);
        let travels = met_first && self.opts.inc && !self.opts.numeric_ids;
        name.as_deref().filter(|name| travels && !name.is_empty())
    }

    fn flag_word(&mut self, entry: &Entry) -> u32 {
        let mut word = 0;
        let mut set = |when: bool, flag: u32| {
            if when {
                word |= flag;
            }
        };
        let later = !self.first;
        let named = entry.content_dir || self.opts.protocol.marks_contents();
        set(entry.is_dir() && entry.top_dir && named, flags::TOP_DIR);
        let bare = entry.is_dir() && !entry.content_dir;
        set(bare && self.opts.protocol.marks_contents(), flags::NO_CONTENT_DIR);
        set(later && entry.mode == self.last.mode, flags::SAME_MODE);
        set(!self.opts.owner || later && entry.uid == self.last.uid, flags::SAME_UID);
        set(!self.opts.group || later && entry.gid == self.last.gid, flags::SAME_GID);
        set(later && entry.mtime == self.last.mtime, flags::SAME_TIME);
        let timed = self.opts.atimes && !entry.is_dir();
        set(timed && later && entry.atime == self.last.atime, flags::SAME_ATIME);
        set(entry.mtime_nsec != 0 && self.opts.protocol.has_nsec(), flags::MOD_NSEC);
        if self.opts.has_rdev(entry.mode) {
            word |= rdev::flags(&self.opts, &self.last, entry);
        }
        word
    }

    /// Appends flags and name; gives the flags as they went out.
    fn put_name(&mut self, out: &mut Vec<u8>, word: u32, entry: &Entry) -> u32 {
        let mut word = word;
        let shared = self.last.name.iter().zip(&entry.name).take_while(|(a, b)| a == b).count();
        let shared = shared.min(PREFIX_MAX);
        let suffix = &entry.name[shared..];
        if shared > 0 {
            word |= flags::SAME_NAME;
        }
        if suffix.len() > 255 {
            word |= flags::LONG_NAME;
        }
        word = flags::fitting(&self.opts, word, entry.is_dir());
        flags::put(out, &self.opts, word, entry.is_dir());
        if shared > 0 {
            out.push(shared as u8);
        }
        if word & flags::LONG_NAME != 0 {
            put_number(out, self.opts.protocol, suffix.len() as i32);
        } else {
            out.push(suffix.len() as u8);
        }
        out.extend_from_slice(suffix);
        self.last.name.truncate(shared);
        self.last.name.extend_from_slice(suffix);
        word
    }

    fn put_fields(
        &mut self,
        out: &mut Vec<u8>,
        word: u32,
        entry: &Entry,
        user_name: Option<&[u8]>,
        group_name: Option<&[u8]>,
    ) {
        let has = |flag: u32| word & flag != 0;
        let protocol = self.opts.protocol;
        put_long(out, protocol, i64::try_from(entry.len).unwrap_or(i64::MAX), 3);
        if !has(flags::SAME_TIME) {
            match protocol.has_varints() {
                true => put_varlong(out, entry.mtime, 4),
                // Such a protocol knows no times but those of 32 bits.
                false => put_u32(out, entry.mtime as u32),
            }
        }
        if has(flags::MOD_NSEC) {
            put_varint(out, entry.mtime_nsec.cast_signed());
        }
        if !has(flags::SAME_MODE) {
            put_i32(out, entry.mode.cast_signed());
        }
        if self.opts.atimes && !entry.is_dir() && !has(flags::SAME_ATIME) {
            put_varlong(out, entry.atime, 4);
        }
        if !has(flags::SAME_UID) {
            put_number(out, protocol, entry.uid.cast_signed());
            if let Some(name) = user_name {
                ids::put_name(out, name);
            }
        }
        if !has(flags::SAME_GID) {
            put_number(out, protocol, entry.gid.cast_signed());
            if let Some(name) = group_name {
                ids::put_name(out, name);
            }
        }
        if self.opts.has_rdev(entry.mode) {
            rdev::put(out, &self.opts, &mut self.last, word, entry);
        }
        if entry.is_link() && self.opts.links {
            let target = entry.link_target.as_deref().unwrap_or(b"");
            put_number(out, protocol, target.len() as i32);
            out.extend_from_slice(target);
        }
        if self.opts.has_inode(word, entry.is_reg()) {
            self.put_inode(out, word, entry);
        }
        if let Some(len) = self.opts.checksum_len.filter(|_| self.opts.has_digest(entry.is_reg())) {
            let digest = entry.digest.as_ref().map_or(&b""[..], |digest| digest.as_bytes());
            let at = out.len();
            out.extend_from_slice(&digest[..digest.len().min(len)]);
            out.resize(at + len, 0);
        }
    }

    /// The numbers that tell which entries are one file; a file of one name has numbers, too.
    fn put_inode(&mut self, out: &mut Vec<u8>, word: u32, entry: &Entry) {
        let (dev, ino) = match entry.hard_link {
            Some(HardLink::Device { dev, ino }) => (device_word(dev), ino.cast_signed()),
            // One of its own on a file system that none has.
            _ => (-2, i64::from(self.sent).saturating_add(1)),
        };
        let wide = self.opts.protocol.has_wide_flags();
        if !wide || word & flags::SAME_DEV == 0 {
            put_longint(out, dev);
            self.last.dev = dev;
        }
        put_longint(out, ino);
    }

    /// Appends what follows the lists of ids in protocols whose lists carry no error words.
    pub fn last_word(&self, out: &mut Vec<u8>, io_error: i32) {
        if !self.opts.protocol.has_failure_messages() {
            put_i32(out, io_error);
        }
    }

    /// Appends the end of a list ([flist-end]). `io_error` is 0 where there is nothing (new) to tell.
    pub fn end(&mut self, out: &mut Vec<u8>, io_error: i32) {
        flags::put_end(out, &self.opts, io_error);
    }

    /// Appends the id lists that follow a whole list; none with numeric ids.
    pub fn id_lists(
        &mut self,
        out: &mut Vec<u8>,
        names: &mut dyn FnMut(IdKind, u32) -> Option<Vec<u8>>,
    ) {
        if self.opts.owner || self.opts.acls {
            let ids = self.users.iter().copied();
            ids::put_list(out, &self.opts, ids, &mut |id| names(IdKind::User, id));
        }
        if self.opts.group || self.opts.acls {
            let ids = self.group_ids.iter().copied();
            ids::put_list(out, &self.opts, ids, &mut |id| names(IdKind::Group, id));
        }
    }
}

/// The number of a file system as it travels: 0 is none.
fn device_word(dev: u64) -> i64 {
    dev.cast_signed().wrapping_add(1)
}
