//! A compact store of one list: names in an arena, directories shared, about 60 bytes an entry.

use std::cmp::Ordering;

use crate::checksum::strong::Digest;
use crate::error::Error;
use crate::exit::ExitCode;
use crate::flist::acls::{AclRef, Acls};
use crate::flist::entry::{Entry, HardLink};
use crate::flist::order::Order;
use crate::flist::xattrs::Xattrs;
use crate::limits::object_max;

const NONE: u32 = u32::MAX;
const TOP: u8 = 1;
const CONTENT: u8 = 2;
const INACTIVE: u8 = 4;
/// Stands for an entry that counts for numbers alone.
const DROPPED: u8 = 8;

/// One entry, packed. Offsets point into the arena.
#[derive(Clone, Copy)]
struct Packed {
    len: u64,
    mtime: i64,
    base: u32,
    dir: u32,
    mode: u32,
    nsec: u32,
    uid: u32,
    gid: u32,
    extra: u32,
    base_len: u16,
    root: u16,
    marks: u8,
}

/// The numbers of an entry's access control lists.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AclNumbers {
    /// Of the access list.
    pub access: u32,
    /// Of a directory's default list.
    pub default: Option<u32>,
}

/// What few entries have.
struct Extra {
    acls: Option<AclNumbers>,
    xattrs: Option<u32>,
    atime: i64,
    link: Option<Box<[u8]>>,
    rdev: (u32, u32),
    hard_link: Option<HardLink>,
    digest: Option<Digest>,
}

/// Entries that the smallest table of the reference has room for.
const SLOTS_FIRST: usize = 32_768;

/// One list, in order once finished.
pub struct FileList {
    start: i32,
    parent: Option<i32>,
    sorting: Order,
    arena: Vec<u8>,
    /// Offset and length of each distinct directory name.
    dirs: Vec<(u32, u16)>,
    entries: Vec<Packed>,
    extras: Vec<Extra>,
    /// Where numbers follow the order of arrival.
    arrival: Option<Arrival>,
}

/// The order in which entries came, and where each stands once sorted. Source: [flist-iconv].
#[derive(Default)]
struct Arrival {
    /// By sorted position.
    came: Vec<u32>,
    /// By arrival.
    stands: Vec<u32>,
}

impl FileList {
    /// An empty list whose first entry gets index `start`; `parent` is the number of the directory
    /// it describes.
    pub fn new(start: i32, parent: Option<i32>) -> FileList {
        FileList {
            start,
            parent,
            sorting: Order::Components,
            arena: Vec::new(),
            dirs: Vec::new(),
            entries: Vec::new(),
            extras: Vec::new(),
            arrival: None,
        }
    }

    /// The same list, whose indices follow the order in which entries are pushed.
    pub fn numbered_by_arrival(self, by_arrival: bool) -> FileList {
        FileList { arrival: by_arrival.then(Arrival::default), ..self }
    }

    /// Adds what has an index and nothing else: an entry whose name has no form here.
    pub fn push_dropped(&mut self, mode: u32) {
        self.push(Entry { mode, ..Entry::default() });
        if let Some(entry) = self.entries.last_mut() {
            entry.marks = INACTIVE | DROPPED;
        }
    }

    /// Whether the entry at a position has only an index.
    pub fn is_dropped(&self, pos: usize) -> bool {
        self.entries.get(pos).is_some_and(|entry| entry.marks & DROPPED != 0)
    }

    /// The index of the entry at a sorted position.
    pub fn index(&self, pos: usize) -> i32 {
        let came = self.arrival.as_ref().and_then(|arrival| arrival.came.get(pos));
        let at = came.map_or(pos, |&came| came as usize);
        self.start.saturating_add(i32::try_from(at).unwrap_or(i32::MAX))
    }

    /// The sorted position of the entry with an index, if it is one of this list.
    pub fn position(&self, index: i32) -> Option<usize> {
        let at = usize::try_from(i64::from(index) - i64::from(self.start)).ok()?;
        match &self.arrival {
            Some(arrival) => arrival.stands.get(at).map(|&pos| pos as usize),
            None => (at < self.entries.len()).then_some(at),
        }
    }

    /// The sorted positions in the order of indices.
    pub fn positions(&self) -> impl Iterator<Item = usize> + '_ {
        let stands = self.arrival.as_ref().map(|arrival| &arrival.stands);
        (0..self.entries.len())
            .map(move |at| stands.and_then(|stands| stands.get(at)).map_or(at, |&pos| pos as usize))
    }

    /// The same list, to be sorted so.
    pub fn in_order(self, sorting: Order) -> FileList {
        FileList { sorting, ..self }
    }

    /// Fails if one entry more would be more than may lie in memory: as at the reference, whose
    /// tables of pointers double.
    pub fn room(&self) -> Result<(), Error> {
        let slots = self.entries.len().max(SLOTS_FIRST - 1) + 1;
        if slots.next_power_of_two() as u64 * 8 < object_max() {
            return Ok(());
        }
        let text = format!("exceeded --max-alloc={} setting", object_max());
        Err(Error::too_big(ExitCode::Malloc, "flist", text))
    }

    /// Adds an entry; its access control lists and extended attributes only by their
    /// numbers. Names and texts of a list are at most 2 GiB, which both codecs see to.
    pub fn push(&mut self, entry: Entry) {
        let cut = entry.name.iter().rposition(|&b| b == b'/');
        let (dir, base) = match cut {
            None => (&b""[..], &entry.name[..]),
            Some(0) => (&b"/"[..], &entry.name[1..]),
            Some(at) => (&entry.name[..at], &entry.name[at + 1..]),
        };
        let dir = self.dir_index(dir);
        let base_at = self.arena.len() as u32;
        self.arena.extend_from_slice(base);
        let mut marks = 0;
        if entry.top_dir {
            marks |= TOP;
        }
        if entry.content_dir {
            marks |= CONTENT;
        }
        let xattrs = match entry.xattrs {
            Some(Xattrs::Number(number)) => Some(number),
            _ => None,
        };
        let acls = match entry.acls {
            Some(Acls { access: AclRef::Number(access), default: None }) => {
                Some(AclNumbers { access, default: None })
            }
            Some(Acls { access: AclRef::Number(access), default: Some(AclRef::Number(n)) }) => {
                Some(AclNumbers { access, default: Some(n) })
            }
            _ => None,
        };
        let plain = xattrs.is_none()
            && acls.is_none()
            && entry.link_target.is_none()
            && entry.rdev == (0, 0)
            && entry.atime == 0
            && entry.hard_link.is_none()
            && entry.digest.is_none();
        let extra = if plain { NONE } else { self.extras.len() as u32 };
        let base_len = base.len() as u16;
        if !plain {
            self.extras.push(Extra {
                link: entry.link_target.map(Vec::into_boxed_slice),
                acls,
                xattrs,
                atime: entry.atime,
                rdev: entry.rdev,
                hard_link: entry.hard_link,
                digest: entry.digest,
            });
        }
        self.entries.push(Packed {
            len: entry.len,
            mtime: entry.mtime,
            base: base_at,
            dir,
            mode: entry.mode,
            nsec: entry.mtime_nsec,
            uid: entry.uid,
            gid: entry.gid,
            extra,
            base_len,
            root: entry.root,
            marks,
        });
    }

    /// Entries of one directory come one after the other, so the last one's is most often right.
    fn dir_index(&mut self, dir: &[u8]) -> u32 {
        let recent = self.dirs.iter().rev().take(4);
        for (back, (at, len)) in recent.enumerate() {
            let known = &self.arena[*at as usize..*at as usize + usize::from(*len)];
            if known == dir {
                return (self.dirs.len() - 1 - back) as u32;
            }
        }
        self.dirs.push((self.arena.len() as u32, dir.len() as u16));
        self.arena.extend_from_slice(dir);
        (self.dirs.len() - 1) as u32
    }

    /// Sorts the list and marks duplicates. `receiving` marks them of any kind; else only
    /// duplicate directories are marked, as a sender does. Source: [flist-duplicates].
    pub fn finish(&mut self, receiving: bool) {
        self.sort();
        self.entries.shrink_to_fit();
        self.arena.shrink_to_fit();
        for at in 1..self.entries.len() {
            let same = self.order(&self.entries[at - 1], &self.entries[at]) == Ordering::Equal;
            if !same || self.is_dropped(at) {
                continue;
            }
            let is_dir = self.get(at).is_dir();
            if !receiving && !is_dir {
                continue;
            }
            let survivor = (0..at).rev().find(|&i| self.entries[i].marks & INACTIVE == 0);
            if let Some(survivor) = survivor.filter(|&i| is_dir && !self.get(i).is_dir()) {
                self.entries[survivor].marks |= INACTIVE;
                continue;
            }
            if let Some(survivor) = survivor.filter(|_| is_dir) {
                let marks = self.entries[at].marks;
                let kept = &mut self.entries[survivor].marks;
                // Implied only if both were; content if either has it.
                if *kept & CONTENT == 0 || marks & CONTENT != 0 {
                    *kept |= marks & (TOP | CONTENT);
                }
            }
            self.entries[at].marks |= INACTIVE;
        }
        if receiving && self.sorting == Order::Components {
            self.drop_files_named_as_directories();
        }
    }

    fn sort(&mut self) {
        let mut entries = std::mem::take(&mut self.entries);
        if let Some(mut arrival) = self.arrival.take() {
            // A list has fewer entries than an index can tell apart, which `room` sees to.
            arrival.came = (0..entries.len() as u32).collect();
            arrival.came.sort_by(|&a, &b| self.order(&entries[a as usize], &entries[b as usize]));
            arrival.stands = vec![0; entries.len()];
            for (pos, &came) in arrival.came.iter().enumerate() {
                arrival.stands[came as usize] = pos as u32;
            }
            self.entries = arrival.came.iter().map(|&came| entries[came as usize]).collect();
            self.arrival = Some(arrival);
        } else {
            entries.sort_by(|a, b| self.order(a, b));
            self.entries = entries;
        }
    }

    fn drop_files_named_as_directories(&mut self) {
        let mut name = Vec::new();
        for at in 0..self.entries.len() {
            if !self.get(at).is_dir() || self.is_dropped(at) {
                continue;
            }
            name.clear();
            self.get(at).write_name(&mut name);
            if let Ok(twin) = self.search(&name, false) {
                self.entries[twin].marks |= INACTIVE;
            }
        }
    }

    /// Marks directories inactive that have nothing below them but directories. `keeps` says of a
    /// directory whether it stays all the same, and with it those it is in.
    pub fn prune_empty_dirs(&mut self, keeps: &dyn Fn(&[u8]) -> bool) {
        // The directories around the entry at hand, each with whether it stays.
        let mut around: Vec<(usize, Vec<u8>, bool)> = Vec::new();
        let mut empty = Vec::new();
        for at in 0..=self.entries.len() {
            if at < self.entries.len() && !self.is_active(at) {
                continue;
            }
            let entry = self.entries.get(at).map(|_| self.get(at));
            let name = entry.map_or_else(Vec::new, |entry| entry.name());
            while let Some((dir, dir_name, stays)) = around.pop() {
                let below = name.strip_prefix(dir_name.as_slice());
                if entry.is_some() && below.is_some_and(|rest| rest.starts_with(b"/")) {
                    around.push((dir, dir_name, stays));
                    break;
                }
                match around.last_mut() {
                    Some(above) if stays => above.2 = true,
                    _ => {}
                }
                if !stays {
                    empty.push(dir);
                }
            }
            let Some(entry) = entry else { continue };
            if !entry.is_dir() {
                if let Some(dir) = around.last_mut() {
                    dir.2 = true;
                }
            } else if name != b"." {
                let stays = keeps(&name);
                around.push((at, name, stays));
            }
        }
        for at in empty {
            self.entries[at].marks |= INACTIVE;
        }
    }

    fn order(&self, a: &Packed, b: &Packed) -> Ordering {
        let (left, right) =
            (EntryView { list: self, packed: a }, EntryView { list: self, packed: b });
        if a.dir == b.dir {
            let (a, b) = (left.base_name(), right.base_name());
            return self.sorting.compare(a, left.is_dir(), b, right.is_dir());
        }
        self.sorting.compare(&left.name(), left.is_dir(), &right.name(), right.is_dir())
    }

    /// Index of the first entry.
    pub fn start(&self) -> i32 {
        self.start
    }

    /// Number of the directory this list describes.
    pub fn parent(&self) -> Option<i32> {
        self.parent
    }

    /// Number of entries, duplicates included.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Whether the entry at a position counts: it is no duplicate.
    pub fn is_active(&self, pos: usize) -> bool {
        self.entries.get(pos).is_some_and(|entry| entry.marks & INACTIVE == 0)
    }

    /// The entry at a sorted position, which must be below [`Self::len`].
    pub fn get(&self, pos: usize) -> EntryView<'_> {
        EntryView { list: self, packed: &self.entries[pos] }
    }

    /// The position of the active entry of this name, of any kind.
    pub fn find(&self, name: &[u8]) -> Option<usize> {
        // A peer may list a directory and something else of one name; only one of them is active.
        [false, true].into_iter().find_map(|is_dir| {
            let found = self.search(name, is_dir).ok()?;
            // Of equal entries one is active, most often the first.
            let equal =
                |&i: &usize| self.order(&self.entries[i], &self.entries[found]) == Ordering::Equal;
            let first = (0..=found).rev().take_while(equal).last()?;
            (first..self.entries.len()).take_while(equal).find(|&at| self.is_active(at))
        })
    }

    fn search(&self, name: &[u8], is_dir: bool) -> Result<usize, usize> {
        let mut probe = Vec::new();
        self.entries.binary_search_by(|packed| {
            let view = EntryView { list: self, packed };
            probe.clear();
            view.write_name(&mut probe);
            self.sorting.compare(&probe, view.is_dir(), name, is_dir)
        })
    }
}

/// One entry of a list.
#[derive(Clone, Copy)]
pub struct EntryView<'a> {
    list: &'a FileList,
    packed: &'a Packed,
}

impl<'a> EntryView<'a> {
    fn extra(&self) -> Option<&'a Extra> {
        self.list.extras.get(self.packed.extra as usize)
    }

    fn kind(&self) -> u32 {
        self.packed.mode & 0o170_000
    }

    /// The directory part of the name; empty at the top, `/` below an absolute root.
    pub fn dir_name(&self) -> &'a [u8] {
        let (at, len) = self.list.dirs[self.packed.dir as usize];
        &self.list.arena[at as usize..at as usize + usize::from(len)]
    }

    /// The last component.
    pub fn base_name(&self) -> &'a [u8] {
        let at = self.packed.base as usize;
        &self.list.arena[at..at + usize::from(self.packed.base_len)]
    }

    /// The whole name.
    pub fn name(&self) -> Vec<u8> {
        let mut name = Vec::with_capacity(self.dir_name().len() + self.base_name().len() + 1);
        self.write_name(&mut name);
        name
    }

    /// Appends the whole name.
    pub fn write_name(&self, out: &mut Vec<u8>) {
        let dir = self.dir_name();
        out.extend_from_slice(dir);
        if !dir.is_empty() && dir != b"/" {
            out.push(b'/');
        }
        out.extend_from_slice(self.base_name());
    }

    /// Type and permission bits.
    pub fn mode(&self) -> u32 {
        self.packed.mode
    }

    /// Length in bytes.
    pub fn len(&self) -> u64 {
        self.packed.len
    }

    /// Whether the length is 0.
    pub fn is_empty(&self) -> bool {
        self.packed.len == 0
    }

    /// Modification time, seconds since the epoch.
    pub fn mtime(&self) -> i64 {
        self.packed.mtime
    }

    /// Its nanoseconds.
    pub fn mtime_nsec(&self) -> u32 {
        self.packed.nsec
    }

    /// Access time, seconds since the epoch.
    pub fn atime(&self) -> i64 {
        self.extra().map_or(0, |extra| extra.atime)
    }

    /// Owner on the sender's side.
    pub fn uid(&self) -> u32 {
        self.packed.uid
    }

    /// Group on the sender's side.
    pub fn gid(&self) -> u32 {
        self.packed.gid
    }

    /// Source directory on the sender's side.
    pub fn root(&self) -> u16 {
        self.packed.root
    }

    /// Major and minor number of a device.
    pub fn rdev(&self) -> (u32, u32) {
        self.extra().map_or((0, 0), |extra| extra.rdev)
    }

    /// Text of a symlink.
    pub fn link_target(&self) -> Option<&'a [u8]> {
        self.extra().and_then(|extra| extra.link.as_deref())
    }

    /// Hard-link group.
    pub fn hard_link(&self) -> Option<HardLink> {
        self.extra().and_then(|extra| extra.hard_link)
    }

    /// Digest under `--checksum`.
    pub fn digest(&self) -> Option<&'a [u8]> {
        self.extra().and_then(|extra| extra.digest.as_ref()).map(|digest| digest.as_bytes())
    }

    /// Numbers of the access control lists.
    pub fn acls(&self) -> Option<AclNumbers> {
        self.extra().and_then(|extra| extra.acls)
    }

    /// Number of the list of extended attributes.
    pub fn xattrs(&self) -> Option<u32> {
        self.extra().and_then(|extra| extra.xattrs)
    }

    /// Named by the user, or implied parent of what is.
    pub fn top_dir(&self) -> bool {
        self.packed.marks & TOP != 0
    }

    /// A directory whose contents are in the transfer.
    pub fn content_dir(&self) -> bool {
        self.packed.marks & CONTENT != 0
    }

    /// A directory.
    pub fn is_dir(&self) -> bool {
        self.kind() == 0o040_000
    }

    /// A regular file.
    pub fn is_reg(&self) -> bool {
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

    /// A fifo or socket.
    pub fn is_special(&self) -> bool {
        matches!(self.kind(), 0o010_000 | 0o140_000)
    }

    /// An owned copy, without the names of the owners.
    pub fn to_entry(&self) -> Entry {
        Entry {
            name: self.name(),
            root: self.root(),
            mode: self.mode(),
            len: self.len(),
            mtime: self.mtime(),
            mtime_nsec: self.mtime_nsec(),
            atime: self.atime(),
            uid: self.uid(),
            gid: self.gid(),
            rdev: self.rdev(),
            link_target: self.link_target().map(<[u8]>::to_vec),
            hard_link: self.hard_link(),
            acls: self.acls().map(|numbers| Acls {
                access: AclRef::Number(numbers.access),
                default: numbers.default.map(AclRef::Number),
            }),
            xattrs: self.xattrs().map(Xattrs::Number),
            digest: self.digest().and_then(Digest::from_slice),
            top_dir: self.top_dir(),
            content_dir: self.content_dir(),
            ..Entry::default()
        }
    }
}

/// A list of one entry, to view an owned entry through.
pub fn single(entry: Entry) -> FileList {
    let mut list = FileList::new(0, None);
    list.push(entry);
    list
}
