//! The generator: one decision per entry, requests and reports to the sender.
//!
//! Runs on its own thread and owns the writing half of the connection. Steps:
//! 1. for each list in order of arrival: the directory it describes (its attributes, the deletions
//!    in it), then its entries in sorted order; see [`crate::regular`], [`crate::create`],
//!    [`crate::delete`];
//! 2. an end mark for each list whose requests are all answered; what came out wrong is asked for
//!    again first (at once with incremental recursion, after the walk without);
//! 3. the end marks of the later phases, deletion counts, directory times, the goodbye.
//!
//! It never waits for the receiver while requests wait unsent.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::Arc;

use crossbeam_channel::{Receiver, RecvTimeoutError};
use tree::cache::DirCache;
use wire::exchange::goodbye::DelStats;
use wire::exchange::request::ItemHead;
use wire::filter::FilterList;
use wire::flist::entry::Entry;
use wire::flist::list::EntryView;
use wire::itemize::ItemFlags;
use wire::ndx::{self, NdxWriter};

use crate::basis::BasisWalk;
use crate::delete_when::DelayedDeletion;
use crate::fatal::Fatal;
use crate::fuzzy::Shelves;
use crate::items::ItemPrinter;
use crate::link::LinkWriter;
use crate::lists::Segment;
use crate::options::DeleteMode;
use crate::options::debug::DebugFlag;
use crate::receiving::{Note, Receiving};
use crate::report::messages::Role;

/// Entries known before the first is looked at, under `--hard-links`.
const LINK_LOOK_AHEAD: u64 = 500;
/// Entries of a list that came as a whole, after which what was gathered is sent.
const FLUSH_STEP: usize = 200;

/// A list under way: its entries, and the answers still owed.
struct Walk {
    segment: Arc<Segment>,
    open: u32,
    walked: bool,
}

/// The generator's own state.
pub struct Generator {
    /// What it shares with the receiver.
    pub recv: Arc<Receiving>,
    /// The writing half.
    pub writer: LinkWriter,
    /// Handles of destination directories.
    pub cache: DirCache,
    /// Alternate basis directories.
    pub basis: BasisWalk,
    /// Files that may be like a missing one.
    pub shelves: Shelves,
    ndx: NdxWriter,
    notes: Receiver<Note>,
    walks: VecDeque<Walk>,
    /// Names below which nothing is done: directories that could not be made.
    skip_below: Option<Vec<u8>>,
    /// Directories made ahead of their own list, by name.
    pub made_early: HashSet<Vec<u8>>,
    /// Directories that would take the place of something else, where nothing is done.
    pub replacing: HashSet<Vec<u8>>,
    /// The directory last met, if it was made then.
    pub fresh: Option<tree::path::RelPathBuf>,
    /// Directories whose attributes could not be set.
    pub unsettable: HashSet<Vec<u8>>,
    /// Directories that keep their owner out and were opened to work in, with the bits they get.
    pub opened_up: HashMap<Vec<u8>, u32>,
    /// Directories the walk went through, for their times at the end (without incremental
    /// recursion): their list positions.
    finished_dirs: Vec<usize>,
    redo: Vec<i32>,
    redoing: bool,
    lists_complete: bool,
    answers: u32,
    /// Lists that got their end mark (incremental recursion).
    closed: usize,
    data_ended: bool,
    finals: bool,
    /// Deletions so far.
    pub deleted: DelStats,
    /// Items that `--max-delete` kept.
    pub kept_by_limit: u32,
    /// Found extraneous, to be deleted once the data has come.
    pub delayed: Vec<DelayedDeletion>,
    /// Names of the directories with such items whose end has not come.
    pub delayed_dirs: HashSet<Vec<u8>>,
    /// Directories whose times wait for such deletions (with incremental recursion).
    pub late_dirs: Vec<Entry>,
    /// Whether the note about skipped deletions was said.
    pub deletion_skipped: bool,
    /// Hard-link groups: what is known of each.
    pub groups: HashMap<i32, crate::hardlink::Group>,
    /// Read buffer for bases.
    pub buffer: Vec<u8>,
    /// List and items that the record under way asks for.
    pub wanted_xattrs: Option<(u32, Vec<u32>)>,
    /// Device of the destination root under `-x`.
    pub root_device: Option<u64>,
    /// Rules that protect from deletion; follows the directories.
    pub filters: FilterList,
    zone: Option<jiff::tz::TimeZone>,
    /// Shows deletions on a client.
    pub printer: ItemPrinter,
}

impl Generator {
    /// A generator that has done nothing yet.
    pub fn new(
        recv: Arc<Receiving>,
        writer: LinkWriter,
        notes: Receiver<Note>,
        printer: ItemPrinter,
    ) -> Generator {
        let cache = DirCache::new(recv.root.clone(), 64);
        let filters = recv.filters.clone();
        Generator {
            cache,
            basis: BasisWalk::new(&recv),
            shelves: Shelves::default(),
            ndx: NdxWriter::of(recv.agreed.protocol),
            recv,
            writer,
            notes,
            walks: VecDeque::new(),
            skip_below: None,
            made_early: HashSet::new(),
            replacing: HashSet::new(),
            fresh: None,
            unsettable: HashSet::new(),
            opened_up: HashMap::new(),
            finished_dirs: Vec::new(),
            redo: Vec::new(),
            redoing: false,
            lists_complete: false,
            answers: 0,
            closed: 0,
            data_ended: false,
            finals: false,
            deleted: DelStats::default(),
            kept_by_limit: 0,
            delayed: Vec::new(),
            delayed_dirs: HashSet::new(),
            late_dirs: Vec::new(),
            deletion_skipped: false,
            groups: HashMap::new(),
            buffer: Vec::new(),
            wanted_xattrs: None,
            root_device: None,
            filters,
            zone: None,
            printer,
        }
    }

    /// From the first list to the goodbye.
    pub fn run(&mut self) -> Result<(), Fatal> {
        let inc = self.recv.agreed.inc();
        self.lists_complete = !inc;
        if self.recv.opts.delete == DeleteMode::Before
            && let Some(segment) = self.next_segment()?
        {
            self.delete_pass(&segment)?;
        }
        if self.recv.opts.debug.has(DebugFlag::Flist) {
            let line: &[u8] = if self.recv.whole_file {
                b"delta-transmission disabled for local transfer or --whole-file\n"
            } else {
                b"delta-transmission enabled\n"
            };
            self.recv.reporter.info(line);
        }
        if self.recv.opts.hard_links && self.recv.wants.is_none() {
            self.gather_lists()?;
        }
        while let Some(segment) = self.next_segment()? {
            self.walk(&segment)?;
            self.take_notes()?;
            self.close_lists()?;
        }
        self.finish_requests(inc)?;
        self.later_phases()?;
        self.end_directories(inc);
        self.mark_done();
        self.writer.flush()
    }

    /// Waits until so much of the lists is known that the members of small groups of hard links are.
    fn gather_lists(&mut self) -> Result<(), Fatal> {
        let known = |recv: &Receiving| recv.lists.lock().map_or(u64::MAX, |lists| lists.total);
        while !self.lists_complete && known(&self.recv) < LINK_LOOK_AHEAD {
            self.wait()?;
        }
        Ok(())
    }

    /// The next list to walk; waits for it, handling answers meanwhile. `None` when all have come.
    fn next_segment(&mut self) -> Result<Option<Arc<Segment>>, Fatal> {
        loop {
            let next = self.walks.iter().find(|w| !w.walked).map(|w| w.segment.clone());
            if next.is_some() {
                return Ok(next);
            }
            if self.lists_complete && (!self.walks.is_empty() || self.recv.agreed.inc()) {
                return Ok(None);
            }
            self.wait()?;
            self.close_lists()?;
        }
    }

    /// After the walk: waits for all answers, repeats what came out wrong, ends phase 0 and 1.
    fn finish_requests(&mut self, inc: bool) -> Result<(), Fatal> {
        if inc {
            while !self.walks.is_empty() {
                self.wait()?;
                self.close_lists()?;
            }
            let answers = u32::try_from(self.closed).unwrap_or(u32::MAX);
            while self.answers < answers {
                self.wait()?;
            }
            return Ok(());
        }
        self.mark_done();
        while self.answers < 1 {
            self.wait()?;
        }
        self.redoing = true;
        for index in std::mem::take(&mut self.redo) {
            self.request_again(index)?;
        }
        Ok(())
    }

    fn later_phases(&mut self) -> Result<(), Fatal> {
        self.mark_done();
        // The answer comes when all files that were held back have their places.
        while self.recv.opts.delay_updates && self.answers < 2 {
            self.wait()?;
        }
        if self.recv.agreed.protocol.has_third_phase() {
            self.mark_done();
        }
        if self.deletes_late() {
            while !self.data_ended {
                self.wait()?;
            }
            self.late_deletions()?;
        }
        self.tell_delete_limit();
        if self.recv.agreed.protocol.has_del_stats() {
            if self.recv.opts.counts_deletions() {
                self.ndx.put(&mut self.writer.data, ndx::DEL_STATS);
                self.deleted.encode(&mut self.writer.data);
            }
            self.mark_done();
        }
        while !self.finals {
            self.wait()?;
        }
        Ok(())
    }

    fn mark_done(&mut self) {
        self.ndx.put(&mut self.writer.data, ndx::DONE);
    }

    /// Sends what waits, then waits for a note.
    fn wait(&mut self) -> Result<(), Fatal> {
        self.writer.flush()?;
        if self.finals {
            return Err(receiver_gone());
        }
        match self.notes.recv_timeout(self.writer.keep_alive_after()) {
            Ok(note) => self.note(note)?,
            Err(RecvTimeoutError::Timeout) => self.writer.keep_alive()?,
            Err(RecvTimeoutError::Disconnected) => return Err(receiver_gone()),
        }
        self.take_notes()
    }

    /// Handles the notes that are there, without waiting.
    fn take_notes(&mut self) -> Result<(), Fatal> {
        while let Ok(note) = self.notes.try_recv() {
            self.note(note)?;
        }
        Ok(())
    }

    fn note(&mut self, note: Note) -> Result<(), Fatal> {
        match note {
            Note::Segment(segment) => {
                if self.recv.opts.hard_links {
                    self.count_members(&segment);
                }
                self.walks.push_back(Walk { segment, open: 0, walked: false });
            }
            Note::ListComplete => self.lists_complete = true,
            Note::Done { ndx, ok } => {
                self.answered(ndx);
                if ok {
                    self.confirm_transferred(ndx)?;
                }
                if self.recv.opts.hard_links {
                    self.link_waiting(ndx, ok)?;
                }
            }
            Note::Redo(index) => {
                if self.recv.agreed.inc() || self.redoing {
                    self.answered(index);
                    self.request_again(index)?;
                } else {
                    self.redo.push(index);
                }
            }
            Note::Answer => self.answers += 1,
            Note::DataEnded => self.data_ended = true,
            Note::Final => self.finals = true,
            Note::Wake => {}
            Note::Failed(fatal) => return Err(fatal),
        }
        Ok(())
    }

    fn walk_of(&mut self, index: i32) -> Option<&mut Walk> {
        self.walks.iter_mut().find(|w| (w.segment.start()..w.segment.end()).contains(&index))
    }

    fn answered(&mut self, index: i32) {
        if let Some(walk) = self.walk_of(index) {
            walk.open = walk.open.saturating_sub(1);
        }
    }

    /// A member of a group that waited is settled.
    pub fn settle(&mut self, index: i32) {
        self.answered(index);
    }

    /// Notes that an answer for this index is owed.
    pub fn owe(&mut self, index: i32) {
        if let Some(walk) = self.walk_of(index) {
            walk.open = walk.open.saturating_add(1);
        }
    }

    /// With incremental recursion: end marks for the oldest lists whose requests are all answered.
    fn close_lists(&mut self) -> Result<(), Fatal> {
        if !self.recv.agreed.inc() {
            return Ok(());
        }
        while self.walks.front().is_some_and(|w| w.walked && w.open == 0) {
            let Some(walk) = self.walks.pop_front() else { break };
            self.mark_done();
            self.closed += 1;
            if let Some(dir) = &walk.segment.dir
                && !self.ends_late(dir)
            {
                self.end_directory(dir);
            }
        }
        Ok(())
    }

    /// Walks one list.
    fn walk(&mut self, segment: &Arc<Segment>) -> Result<(), Fatal> {
        let inc = self.recv.agreed.inc();
        if inc && let Some(dir) = &segment.dir {
            let index = segment.start() - 1;
            self.directory_of_list(segment, &dir.clone(), index)?;
        }
        for pos in 0..segment.list.len() {
            if !segment.list.is_active(pos) {
                continue;
            }
            let entry = segment.list.get(pos);
            let index = segment.list.index(pos);
            if inc && entry.is_dir() {
                if entry.base_name() != b"." || entry.dir_name() != b"" {
                    self.make_early(&entry);
                }
                continue;
            }
            self.member_reached(&entry);
            self.entry(segment, pos, &entry, index)?;
            self.member_passed(&entry)?;
            if self.recv.agreed.charset.is_none() {
                self.recv.decided(index.saturating_add(1));
            }
            // A whole list begins to be answered at once, and goes on being answered steadily.
            let due = !inc && pos.is_multiple_of(FLUSH_STEP);
            if due || self.writer.is_full() {
                self.writer.flush()?;
                self.take_notes()?;
                self.close_lists()?;
            }
        }
        self.recv.decided(segment.end());
        if let Some(walk) = self.walks.iter_mut().find(|w| Arc::ptr_eq(&w.segment, segment)) {
            walk.walked = true;
        }
        Ok(())
    }

    /// The directory that a list describes: attributes first, then what is extraneous in it.
    fn directory_of_list(
        &mut self,
        segment: &Arc<Segment>,
        dir: &Entry,
        index: i32,
    ) -> Result<(), Fatal> {
        let single = wire::flist::list::single(dir.clone());
        let view = single.get(0);
        let name = view.name();
        if self.is_skipped(&name) || self.only_listed(&view) {
            return Ok(());
        }
        if !self.refused_by_daemon(&view, &name) && self.directory(&view, index)? {
            self.delete_met(segment, &view)?;
        }
        Ok(())
    }

    fn entry(
        &mut self,
        segment: &Arc<Segment>,
        pos: usize,
        entry: &EntryView<'_>,
        index: i32,
    ) -> Result<(), Fatal> {
        let name = entry.name();
        if self.is_skipped(&name) || self.only_listed(entry) {
            return Ok(());
        }
        if self.refused_by_daemon(entry, &name) {
            return Ok(());
        }
        if entry.mode() == 0 {
            return self.delete_missing(entry);
        }
        if entry.is_dir() {
            if self.directory(entry, index)? {
                self.finished_dirs.push(pos);
                self.delete_met(segment, entry)?;
            }
            self.writer.frame();
            return Ok(());
        }
        if self.recv.opts.hard_links && self.linked_already(segment, pos, entry, index)? {
            return Ok(());
        }
        if entry.is_reg() {
            self.regular(segment, entry, index)
        } else {
            self.link_or_special(entry, index)
        }
    }

    /// Whether a name lies below a directory that could not be made; forgets that directory once
    /// the walk has left it.
    pub fn is_skipped(&mut self, name: &[u8]) -> bool {
        let Some(prefix) = &self.skip_below else { return false };
        let below = name.len() > prefix.len()
            && name.starts_with(prefix)
            && name.get(prefix.len()) == Some(&b'/');
        if !below && !self.recv.agreed.inc() {
            self.skip_below = None;
        }
        below
    }

    /// From now on ignores what lies below this directory.
    pub fn skip_contents(&mut self, name: &[u8]) {
        self.skip_below = Some(name.to_vec());
    }

    /// Whether the daemon's rules hide an entry; nothing is said.
    pub fn refuses_silently(&self, entry: &EntryView<'_>, name: &[u8]) -> bool {
        let rel = crate::scan::trim_root(name);
        rel != b"." && self.recv.hides_entry(rel, entry.is_dir())
    }

    fn refused_by_daemon(&mut self, entry: &EntryView<'_>, name: &[u8]) -> bool {
        if !self.refuses_silently(entry, name) {
            return false;
        }
        let rel = self.recv.told_name(name);
        let mut line = b"ERROR: daemon refused to receive ".to_vec();
        line.extend_from_slice(if entry.is_dir() { b"directory " } else { b"file " });
        line.extend_from_slice(&[b"\"", rel, b"\""].concat());
        self.recv.reporter.error_line(&line);
        if entry.is_dir() {
            self.recv
                .reporter
                .error_line(b"*** Skipping any contents from this failed directory ***");
            self.skip_contents(name);
        }
        true
    }

    /// The first list, while it is walked or kept.
    pub fn first_segment(&self) -> Option<Arc<Segment>> {
        self.walks.front().map(|walk| walk.segment.clone())
    }

    /// Writes one item record, without sums.
    pub fn report(
        &mut self,
        index: i32,
        iflags: ItemFlags,
        xname: Option<Vec<u8>>,
    ) -> Result<(), Fatal> {
        let named = if xname.is_some() { ItemFlags::XNAME_FOLLOWS } else { ItemFlags::NONE };
        let head = ItemHead { ndx: index, iflags: iflags | named, basis: None, xname };
        self.name_in_log(&head);
        match self.recv.agreed.protocol.has_item_flags() {
            true => self.request_head(&head),
            false => self.tell_untold(&head),
        }
    }

    /// Writes an item record if there is anything to say of an item that needs no data.
    pub fn report_if_changed(
        &mut self,
        index: i32,
        iflags: ItemFlags,
        xname: Option<Vec<u8>>,
    ) -> Result<(), Fatal> {
        self.say_untouched(index, iflags);
        self.report_flags(index, iflags, xname)
    }

    /// The record of an item, where one is owed.
    pub fn report_flags(
        &mut self,
        index: i32,
        iflags: ItemFlags,
        xname: Option<Vec<u8>>,
    ) -> Result<(), Fatal> {
        let opts = &self.recv.opts;
        let always = opts.info.name > 1 || opts.itemize > 1;
        let linked = xname.as_ref().is_some_and(Vec::is_empty);
        if iflags.is_reportable() || always || xname.is_some() && !linked {
            // An item that is linked already travels as a local change with an empty name.
            let local = if linked { ItemFlags::LOCAL_CHANGE } else { ItemFlags::NONE };
            self.report(index, iflags | local, xname)?;
        }
        Ok(())
    }

    /// Writes a record; of a request the sum head follows by the caller.
    pub fn request_head(&mut self, head: &ItemHead) -> Result<(), Fatal> {
        self.recv.asked.ask(head);
        head.encode(&mut self.writer.data, &mut self.ndx, self.recv.agreed.protocol)?;
        self.put_xattr_request(head.iflags);
        Ok(())
    }

    fn end_directories(&mut self, inc: bool) {
        if inc {
            self.end_late_directories();
            return;
        }
        let Some(walk) = self.walks.pop_front() else { return };
        for pos in std::mem::take(&mut self.finished_dirs).into_iter().rev() {
            self.end_directory(&walk.segment.list.get(pos).to_entry());
        }
    }

    /// Whether the run only lists, which then is done.
    fn only_listed(&mut self, entry: &EntryView<'_>) -> bool {
        if self.recv.opts.list_only {
            let zone = self.zone.get_or_insert_with(jiff::tz::TimeZone::system);
            let line = crate::items::list_line(&self.recv.opts, entry, zone);
            self.recv.reporter.listing(&line);
        }
        self.recv.opts.list_only
    }

    /// Shows a problem with one entry.
    pub fn path_error(&self, what: &str, name: &[u8], error: &std::io::Error) {
        let shown = self.recv.shown_path(name);
        self.recv.reporter.path_error(Role::Generator, what, &shown, name, error);
    }
}

fn receiver_gone() -> Fatal {
    Fatal::new(wire::exit::ExitCode::Crashed, "the receiver ended unexpectedly")
}
