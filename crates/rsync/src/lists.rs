//! The file lists of a running transfer, as both sides keep them.
//!
//! Without incremental recursion there is one list. With it, lists arrive as segments, each for
//! the contents of one directory; a segment lives from its arrival until the end mark of its
//! requests. An index names an entry of a live segment, or, one below a segment's start, the
//! directory that the segment describes.

use std::collections::VecDeque;
use std::sync::Arc;

use crate::report::progress::Left;
use wire::error::Error;
use wire::exit::ExitCode;
use wire::flist::entry::Entry;
use wire::flist::list::FileList;
use wire::flist::segment::DirTable;
use wire::flist::xattrs::Xattrs;

/// One list: all of it, or the contents of one directory.
pub struct Segment {
    /// Entries, sorted, duplicates marked.
    pub list: FileList,
    /// The directory whose contents these are; absent without incremental recursion, and for a
    /// first segment that does not begin with `.`.
    pub dir: Option<Entry>,
    /// Number of that directory; -1 for the first list.
    pub number: i32,
    /// Entries in all lists before this one.
    pub before: u64,
}

impl Segment {
    /// Index of the first entry.
    pub fn start(&self) -> i32 {
        self.list.start()
    }

    /// One past the index of the last entry.
    pub fn end(&self) -> i32 {
        self.list.start().saturating_add(i32::try_from(self.list.len()).unwrap_or(i32::MAX))
    }

    /// Mode of what an index names.
    pub fn mode(&self, place: &Place) -> u32 {
        match place {
            Place::Entry(pos) => self.list.get(*pos).mode(),
            Place::Dir => 0o040_000,
        }
    }

    /// Number of the list of extended attributes, name and mode of what an index names.
    ///
    /// # Errors
    /// It has no such list.
    pub fn xattrs(&self, place: &Place) -> Result<(u32, Vec<u8>, u32), Error> {
        let found = match (place, &self.dir) {
            (Place::Entry(pos), _) => {
                let entry = self.list.get(*pos);
                entry.xattrs().map(|number| (number, entry.name(), entry.mode()))
            }
            (Place::Dir, Some(dir)) => match dir.xattrs {
                Some(Xattrs::Number(number)) => Some((number, dir.name.clone(), dir.mode)),
                _ => None,
            },
            (Place::Dir, None) => None,
        };
        found.ok_or_else(|| {
            let text = "extended attributes of an item that has none";
            Error::misbehaved(ExitCode::Protocol, "xattr-request", text)
        })
    }

    /// Position of the file whose content an item announces or asks for.
    ///
    /// # Errors
    /// What is named is no regular file, or the phase of transfers is over.
    pub fn content(&self, place: &Place, index: i32, phase: u8) -> Result<usize, Error> {
        let refuse = |text| Error::misbehaved(ExitCode::Protocol, "item-index", text);
        match place {
            Place::Entry(pos) if self.list.get(*pos).is_reg() && phase < 2 => Ok(*pos),
            Place::Entry(pos) if self.list.get(*pos).is_reg() => {
                Err(refuse(format!("got transfer request in phase {phase}")))
            }
            _ => Err(refuse(format!("received request to transfer non-regular file: {index}"))),
        }
    }
}

/// What an index names.
pub enum Place {
    /// The entry at this sorted position.
    Entry(usize),
    /// The directory that the segment describes.
    Dir,
}

/// The live segments and what is known of directories still to come.
pub struct Lists {
    inc: bool,
    segments: VecDeque<Arc<Segment>>,
    /// Numbers of directories; only with incremental recursion.
    pub dirs: DirTable,
    waiting: Vec<Option<Box<Entry>>>,
    /// No more segments will come.
    pub complete: bool,
    next_start: i32,
    /// Entries in all lists so far.
    pub total: u64,
    /// Size of all files and links in them.
    pub bytes: u64,
}

impl Lists {
    /// No list yet.
    pub fn new(inc: bool) -> Lists {
        Lists {
            inc,
            segments: VecDeque::new(),
            dirs: DirTable::new(),
            waiting: Vec::new(),
            complete: !inc,
            next_start: i32::from(inc),
            total: 0,
            bytes: 0,
        }
    }

    /// Index that the next list's first entry gets.
    pub fn next_start(&self) -> i32 {
        self.next_start
    }

    /// Whether incremental recursion is in use.
    pub fn inc(&self) -> bool {
        self.inc
    }

    /// Takes the entry of directory `number`, for the segment of its contents.
    pub fn take_dir(&mut self, number: i32) -> Option<Entry> {
        let index = usize::try_from(number).ok()?;
        self.waiting.get_mut(index)?.take().map(|entry| *entry)
    }

    /// The entry of a directory whose segment has not come yet.
    pub fn waiting_dir(&self, number: i32) -> Option<&Entry> {
        self.waiting.get(usize::try_from(number).ok()?)?.as_deref()
    }

    /// Adds a finished list. `number` is the directory it describes, -1 for the first.
    pub fn add(&mut self, list: FileList, number: i32) -> Result<Arc<Segment>, Error> {
        let before = self.total;
        self.total += list.len() as u64;
        let sized = (0..list.len()).map(|at| list.get(at)).filter(|e| e.is_reg() || e.is_link());
        self.bytes += sized.map(|entry| entry.len()).fold(0, u64::saturating_add);
        let mut dir = None;
        if self.inc {
            self.dirs.add_list(&list);
            let first = self.waiting.len();
            let mut top = None;
            for at in list.positions().filter(|&at| list.get(at).is_dir()) {
                let entry = list.get(at);
                if top.is_none() && entry.base_name() == b"." {
                    top = i32::try_from(self.waiting.len() - first).ok();
                }
                let named = !list.is_dropped(at);
                self.waiting.push(named.then(|| Box::new(entry.to_entry())));
            }
            dir = match number {
                // The top directory comes before all others, where it is there.
                -1 => top.and_then(|number| self.take_dir(number)),
                n => self.take_dir(n),
            };
        }
        let count = i32::try_from(list.len()).map_err(|_| too_large())?;
        let next = list.start().checked_add(count).and_then(|n| n.checked_add(1));
        self.next_start = next.ok_or_else(too_large)?;
        let segment = Arc::new(Segment { list, dir, number, before });
        self.segments.push_back(segment.clone());
        Ok(segment)
    }

    /// Finds what an index names among the live segments.
    pub fn find(&self, ndx: i32) -> Result<(Arc<Segment>, Place), Error> {
        let at = self.segments.partition_point(|s| s.start() <= ndx.saturating_add(1));
        let segment = at.checked_sub(1).and_then(|i| self.segments.get(i));
        if let Some(segment) = segment {
            if self.inc && ndx.saturating_add(1) == segment.start() {
                if segment.dir.is_some() {
                    return Ok((segment.clone(), Place::Dir));
                }
            } else if let Some(pos) = segment.list.position(ndx) {
                if !segment.list.is_active(pos) {
                    return Err(Error::misbehaved(
                        ExitCode::Protocol,
                        "ndx",
                        format!("refusing transfer of cleared file index {ndx}"),
                    ));
                }
                return Ok((segment.clone(), Place::Entry(pos)));
            }
        }
        let first = self.segments.front().map_or(0, |s| s.start());
        let last = self.segments.back().map_or(-1, |s| s.end() - 1);
        Err(Error::misbehaved(
            ExitCode::Protocol,
            "ndx",
            format!("File-list index {ndx} not in {first} - {last}"),
        ))
    }

    /// Frees the oldest segment; returns whether any is left.
    pub fn free_oldest(&mut self) -> bool {
        self.segments.pop_front();
        !self.segments.is_empty()
    }

    /// Entries of all live segments.
    pub fn entries_live(&self) -> u64 {
        self.segments.iter().map(|s| s.list.len() as u64).sum()
    }

    /// What is left after an entry, for progress.
    pub fn left_after(&self, segment: &Segment, pos: usize) -> Left {
        let reached = segment.before + pos as u64 + 1;
        Left {
            remaining: self.total.saturating_sub(reached),
            total: self.total,
            complete: self.complete,
        }
    }

    /// What is left in the lists that live, or will.
    pub fn left_ahead(&self) -> Left {
        let remaining = if self.inc { self.entries_live() } else { 0 };
        Left { remaining, total: self.total, complete: self.complete }
    }

    /// Number of live segments.
    pub fn live(&self) -> usize {
        self.segments.len()
    }

    /// The oldest live segment.
    pub fn oldest(&self) -> Option<&Arc<Segment>> {
        self.segments.front()
    }
}

fn too_large() -> Error {
    Error::misbehaved(ExitCode::Malloc, "ndx", "file list has grown too large".to_string())
}
