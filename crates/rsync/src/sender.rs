//! The sender: lists the source, answers the generator's requests.
//!
//! One thread, one connection. Steps:
//! 1. send the first list (all of it, or with incremental recursion the arguments' level);
//! 2. until the generator is done: keep enough of the list announced ahead, read the next request,
//!    echo it, and for a wanted file send the tokens that make it;
//! 3. answer the end marks, send statistics if this is the server, say goodbye.
//!
//! A file that cannot be read is answered with NO_SEND and costs only itself.

use std::collections::{HashMap, HashSet};
use std::io::{self, Seek, SeekFrom};
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use wire::checksum::strong::FileHasher;
use wire::delta::search::{MatchStats, Token};
use wire::delta::table::SumTable;
use wire::error::Error;
use wire::exchange::goodbye::{DelStats, Stats};
use wire::exchange::request::{BASIS_DEST, ItemHead};
use wire::exit::ExitCode;
use wire::flist::encode::Encoder;
use wire::flist::entry::Entry;
use wire::flist::ids::IdKind;
use wire::flist::list::FileList;
use wire::flist::order::Order;
use wire::flist::xattrs::{self, XattrValue, Xattrs};
use wire::itemize::ItemFlags;
use wire::message::Message;
use wire::ndx::{self, NdxReader, NdxWriter};
use wire::sum::BlockSums;
use wire::token::TokenWriter;

use crate::control::Control;
use crate::counters::Counters;
use crate::fatal::Fatal;
use crate::flist_options::flist_options;
use crate::items::{ItemLine, ItemPrinter};
use crate::link::{LinkReader, LinkWriter};
use crate::lists::{Lists, Place, Segment};
use crate::options::debug::DebugFlag;
use crate::options::{Append, Options};
use crate::problem::ProblemKind;
use crate::remove_source::Successes;
use crate::report::messages::{IO_GENERAL, IO_VANISHED, READ_ERRORS, Reporter, Role};
use crate::scan::{Scanner, SourceStart};
use crate::setup::{Agreed, RoleSetup};
use crate::window::SourceWindow;

/// Entries announced beyond those the receiver has started on, at least, while there are more.
const AHEAD_MIN: u64 = 1000;
/// The same while the sender would only wait for input.
const AHEAD_IDLE: u64 = 10_000;
/// Bytes read from a file at once when no basis is searched.
const COPY_CHUNK: usize = 256 * 1024;
/// Largest file, in bytes, that is read on opening, before its size is asked for.
const AHEAD: usize = 64 * 1024;

/// What was asked for of one file.
struct Asked {
    head: ItemHead,
    sums: BlockSums,
    /// Only what comes after the basis that the sums describe.
    appends: bool,
    /// Asked for the first time.
    first: bool,
    /// What the sums cost.
    sum_bytes: u64,
    /// Long values of extended attributes that are wanted with it.
    xattrs: Option<Vec<u32>>,
}

/// Everything the sender works with.
pub struct Sender {
    pub(crate) opts: Arc<Options>,
    agreed: Agreed,
    reader: LinkReader,
    writer: LinkWriter,
    pub(crate) reporter: Arc<Reporter>,
    control: Arc<Control>,
    pub(crate) scanner: Scanner,
    encoder: Encoder,
    pub(crate) lists: Lists,
    ndx_out: NdxWriter,
    ndx_in: NdxReader,
    tokens: TokenWriter,
    /// Entries named deeper down, by directory, until its contents are sent.
    deeper: HashMap<Vec<u8>, Vec<Entry>>,
    printer: ItemPrinter,
    /// Numbers of the run.
    pub counters: Counters,
    pub(crate) successes: Arc<Successes>,
    server: bool,
    last_io_error: i32,
    searched: MatchStats,
    /// Long values of extended attributes that were sent: list and item.
    xattrs_sent: HashSet<(u32, u32)>,
    buffer: Vec<u8>,
    /// Files asked for once, under `--append`: the next time they are sent as usual.
    sent: HashSet<i32>,
}

impl Sender {
    /// A sender that has sent nothing yet.
    ///
    /// In `successes` the connection puts what the other side confirms.
    pub fn new(
        setup: RoleSetup,
        mut scanner: Scanner,
        successes: Arc<Successes>,
    ) -> Result<Sender, Fatal> {
        scanner.heading = setup.printer.heading().cloned();
        let mut printer = setup.printer;
        printer.set_sums(&setup.agreed);
        let opts = setup.opts;
        let options = flist_options(&opts, &setup.agreed);
        Ok(Sender {
            encoder: Encoder::new(options),
            lists: Lists::new(setup.agreed.inc()),
            ndx_out: NdxWriter::of(setup.agreed.protocol),
            ndx_in: NdxReader::of(setup.agreed.protocol),
            tokens: TokenWriter::new(
                setup.agreed.tokens,
                opts.compress_level,
                setup.agreed.protocol,
            )?
            .with_workers(opts.compress_threads)?,
            opts,
            agreed: setup.agreed,
            reader: setup.reader,
            writer: setup.writer,
            reporter: setup.reporter,
            control: setup.control,
            scanner,
            deeper: HashMap::new(),
            printer,
            counters: Counters::default(),
            successes,
            server: setup.server,
            last_io_error: 0,
            searched: MatchStats::default(),
            xattrs_sent: HashSet::new(),
            buffer: Vec::new(),
            sent: HashSet::new(),
        })
    }

    /// Runs from the first list to the goodbye.
    pub fn run(
        &mut self,
        start: &SourceStart,
        args: &[Vec<u8>],
        names: Option<&[Vec<u8>]>,
    ) -> Result<(), Fatal> {
        let inc = self.agreed.inc();
        let started = std::time::Instant::now();
        let mut entries = self.scanner.first_list(start, args, names, !inc)?;
        self.counters.flist_build_ms = millis(started).max(1);
        let nothing = entries.is_empty();
        if inc {
            self.keep_deeper(&mut entries);
        }
        self.send_first_list(entries)?;
        if nothing && self.server {
            return self.flush();
        }
        if inc {
            self.announce_after_first()?;
        } else {
            self.control.list_complete.store(true, Ordering::Release);
        }
        self.serve()?;
        self.goodbye()
    }

    /// Hands back the halves of the connection.
    pub fn into_link(self) -> (LinkReader, LinkWriter, Counters) {
        (self.reader, self.writer, self.counters)
    }

    fn flush(&mut self) -> Result<(), Fatal> {
        self.writer.flush_reading(&mut self.reader)
    }

    fn flush_if_full(&mut self) -> Result<(), Fatal> {
        self.control.cut_off()?;
        if self.writer.is_full() { self.flush() } else { Ok(()) }
    }

    /// With incremental recursion the first list holds no name below another: what `--relative`
    /// names deeper down travels with the contents of its directory.
    fn keep_deeper(&mut self, entries: &mut Vec<Entry>) {
        let all = std::mem::take(entries);
        for entry in all {
            match entry.name.iter().rposition(|&b| b == b'/') {
                Some(at) if at > 0 && self.opts.relative => {
                    self.deeper.entry(entry.name[..at].to_vec()).or_default().push(entry);
                }
                _ => entries.push(entry),
            }
        }
    }

    fn send_first_list(&mut self, entries: Vec<Entry>) -> Result<(), Fatal> {
        let started = std::time::Instant::now();
        let before = self.writer.data.len();
        let list = self.encode_list(entries, -1, true)?;
        if !self.agreed.inc() && !self.opts.numeric_ids {
            let hidden = self.opts.names_hidden;
            let owners = self.scanner.owners();
            self.encoder.id_lists(&mut self.writer.data, &mut |kind, id| match kind {
                _ if hidden => None,
                IdKind::User => owners.user_name(id),
                IdKind::Group => owners.group_name(id),
            });
        }
        let io_error = if self.opts.ignore_errors { 0 } else { self.reporter.io_error() };
        self.encoder.last_word(&mut self.writer.data, io_error);
        self.unless_stopped(before)?;
        self.counters.flist_size += (self.writer.data.len() - before) as u64;
        self.flush()?;
        self.counters.flist_xfer_ms = millis(started);
        self.lists.add(list, -1)?;
        self.printer.end_list(&self.reporter, self.lists.total);
        Ok(())
    }

    /// Whoever was asked for names may be gone: what was listed without, from `start` on, is not
    /// sent then.
    fn unless_stopped(&mut self, start: usize) -> Result<(), Fatal> {
        self.control.stopped().inspect_err(|_| self.writer.data.truncate(start))
    }

    /// Encodes entries as one list with its end mark, and keeps them.
    fn encode_list(
        &mut self,
        mut entries: Vec<Entry>,
        number: i32,
        first: bool,
    ) -> Result<FileList, Fatal> {
        let before = self.writer.data.len();
        let mut texts = self.in_wire_charset(&mut entries).into_iter();
        let start = self.lists.next_start();
        let parent = (number >= 0).then_some(number);
        let mut list = FileList::new(start, parent).in_order(Order::of(self.agreed.protocol));
        self.encoder.begin_segment(start);
        for entry in &mut entries {
            let own = texts.next().map(|texts| swap_texts(entry, texts));
            let xattrs = self.encoder.entry(&mut self.writer.data, entry)?;
            own.map(|own| swap_texts(entry, own));
            entry.xattrs = xattrs.map(Xattrs::Number);
            self.counters.listed.add(entry.mode);
            if entry.is_reg() || entry.is_link() {
                self.counters.total_size += entry.len;
            }
            self.control.listed.fetch_add(1, Ordering::Relaxed);
            if entry.is_reg() {
                self.control.bytes_listed.fetch_add(entry.len, Ordering::Relaxed);
            }
            entry.user_name = None;
            entry.group_name = None;
        }
        for entry in entries {
            list.room()?;
            list.push(entry);
        }
        let io_error = if self.opts.ignore_errors { 0 } else { self.reporter.io_error() };
        let told = if first || io_error != self.last_io_error { io_error } else { 0 };
        self.last_io_error = io_error;
        self.encoder.end(&mut self.writer.data, told);
        self.unless_stopped(before)?;
        list.finish(false);
        Ok(list)
    }

    /// The texts of entries as they travel, where that is not how they are. Such entries are sent in
    /// the order of this side's names, so that their indices are this side's positions.
    fn in_wire_charset(&self, entries: &mut Vec<Entry>) -> Vec<(Vec<u8>, Option<Vec<u8>>)> {
        let Some(charset) = &self.agreed.charset else { return Vec::new() };
        let order = Order::of(self.agreed.protocol);
        entries.sort_by(|a, b| order.compare(&a.name, a.is_dir(), &b.name, b.is_dir()));
        let shown = |entry: &Entry| self.shown(entry.root, &entry.name);
        let charset = (charset.as_ref(), self.agreed.converts_links);
        crate::charset::outgoing(charset, entries, &self.reporter, &shown)
    }

    /// After a first list: either there are no directories, or a list of one entry needs one more
    /// segment before the receiver can tell a file from a tree.
    fn announce_after_first(&mut self) -> Result<(), Fatal> {
        let single = self.lists.total == 1;
        if !self.announce_ahead(if single { 1 } else { 0 })? && self.lists.complete {
            return Ok(());
        }
        Ok(())
    }

    /// Sends segments until `at_least` entries are announced beyond the oldest segment, or all
    /// are. Returns whether it sent any.
    fn announce_ahead(&mut self, at_least: u64) -> Result<bool, Fatal> {
        let mut sent = false;
        loop {
            if self.lists.complete {
                return Ok(sent);
            }
            let oldest = self.lists.oldest().map_or(0, |s| s.list.len() as u64);
            let enough = self.live_entries().saturating_sub(oldest) >= at_least;
            if enough && (sent || at_least > 0 || self.lists.dirs.next_to_send().is_some()) {
                return Ok(sent);
            }
            self.announce_one()?;
            sent = true;
        }
    }

    fn live_entries(&self) -> u64 {
        self.lists.entries_live()
    }

    /// Sends the next segment, or the mark that there are no more.
    fn announce_one(&mut self) -> Result<(), Fatal> {
        let Some(number) = self.lists.dirs.next_to_send() else {
            self.ndx_out.put(&mut self.writer.data, ndx::FLIST_EOF);
            self.lists.complete = true;
            self.control.list_complete.store(true, Ordering::Release);
            return Ok(());
        };
        let before = self.writer.data.len();
        self.ndx_out.put(&mut self.writer.data, ndx::FLIST_OFFSET - number);
        self.lists.dirs.mark_sent(number)?;
        let entries = self.contents_of(number)?;
        let list = self.encode_list(entries, number, false)?;
        self.counters.flist_size += (self.writer.data.len() - before) as u64;
        self.lists.add(list, number)?;
        self.flush_if_full()
    }

    /// The contents of a directory and of its duplicates, which travel together.
    ///
    /// A duplicate that is the same directory brings nothing new. Like the reference, this leaves
    /// out every second one, so that sums over the lists agree, until another root takes part.
    fn contents_of(&mut self, number: i32) -> Result<Vec<Entry>, Fatal> {
        let mut entries = Vec::new();
        let mut same = number;
        let (mut first_root, mut mixed, mut sent_before) = (None, false, false);
        while let Some(dir) = self.lists.waiting_dir(same) {
            let (root, name, content) = (dir.root, dir.name.clone(), dir.content_dir);
            mixed |= *first_root.get_or_insert(root) != root;
            entries.extend(self.deeper.remove(&name).unwrap_or_default());
            sent_before = content && (mixed || !sent_before);
            if sent_before {
                self.scanner.children(root, &name, &mut entries)?;
            }
            same = match self.lists.dirs.duplicate_after(same) {
                Some(next) => next,
                None => break,
            };
        }
        Ok(entries)
    }

    /// The request loop.
    fn serve(&mut self) -> Result<(), Fatal> {
        let mut phase = 0;
        loop {
            self.control.stopped()?;
            if self.agreed.inc() {
                self.announce_ahead(AHEAD_MIN)?;
            }
            self.wait_for_request()?;
            let index = self.ndx_in.get(&mut self.reader)?;
            self.remove_confirmed()?;
            match index {
                ndx::DONE => {
                    if self.end_mark(&mut phase)? {
                        return Ok(());
                    }
                }
                ndx::DEL_STATS => self.take_del_stats()?,
                index if index >= 0 => self.item(index, phase)?,
                _ => return Err(bad_index(index).into()),
            }
            self.flush_if_full()?;
        }
    }

    /// Waits until a request is there; meanwhile announces more of the list and keeps the
    /// connection alive.
    fn wait_for_request(&mut self) -> Result<(), Fatal> {
        if self.reader.data_ready()? {
            return Ok(());
        }
        self.flush()?;
        while !self.lists.complete && !self.reader.data_ready()? {
            let oldest = self.lists.oldest().map_or(0, |s| s.list.len() as u64);
            if self.live_entries().saturating_sub(oldest) >= AHEAD_IDLE {
                break;
            }
            self.announce_one()?;
        }
        self.wait_data()
    }

    /// Waits until there is data, with everything of ours sent.
    fn wait_data(&mut self) -> Result<(), Fatal> {
        self.flush()?;
        while !self.reader.data_ready()? {
            if !self.reader.wait_input()? {
                self.writer.keep_alive()?;
            }
            self.remove_confirmed()?;
        }
        Ok(())
    }

    fn show_progress(&self) {
        let left = self.lists.left_ahead();
        self.printer.whole_progress(&self.reporter, left, self.lists.bytes);
    }

    /// Handles an end mark; true when the loop is over.
    fn end_mark(&mut self, phase: &mut u8) -> Result<bool, Fatal> {
        let lists_end = *phase == 0 && self.agreed.inc();
        if lists_end && self.lists.live() > 0 {
            if let Some(oldest) = self.lists.oldest() {
                self.control.done.fetch_add(oldest.list.len() as u64, Ordering::Relaxed);
            }
            let more = self.lists.free_oldest();
            if more || !self.lists.complete {
                self.show_progress();
                self.ndx_out.put(&mut self.writer.data, ndx::DONE);
                return Ok(false);
            }
        }
        *phase += 1;
        // What comes after the last of the lists has nothing to show.
        if lists_end || !self.agreed.inc() {
            self.show_progress();
        }
        if *phase > self.agreed.last_phase() {
            return Ok(true);
        }
        self.ndx_out.put(&mut self.writer.data, ndx::DONE);
        Ok(false)
    }

    fn take_del_stats(&mut self) -> Result<(), Fatal> {
        let stats = DelStats::decode(&mut self.reader)?;
        if self.server {
            self.ndx_out.put(&mut self.writer.data, ndx::DEL_STATS);
            stats.encode(&mut self.writer.data);
        }
        self.counters.deleted = crate::items::deleted_counts(&stats);
        Ok(())
    }

    fn item(&mut self, index: i32, phase: u8) -> Result<(), Fatal> {
        let head = ItemHead::decode_after_ndx(&mut self.reader, index, self.agreed.protocol)?;
        let (segment, place) = self.lists.find(index)?;
        let wanted = self.xattr_request(&segment, &place, &head)?;
        if !head.iflags.contains(ItemFlags::TRANSFER) {
            self.count_created(&segment, &place, &head);
            self.print(&segment, &place, &head, None);
            head.encode(&mut self.writer.data, &mut self.ndx_out, self.agreed.protocol)?;
            self.xattr_answer(&segment, &place, wanted);
            return Ok(());
        }
        let pos = segment.content(&place, index, phase)?;
        if phase == 0 {
            self.counters.transferred += 1;
            self.counters.transferred_size += segment.list.get(pos).len();
            self.count_created(&segment, &place, &head);
        }
        if self.opts.dry_run {
            self.printer.pass_progress(segment.list.get(pos).len());
            self.print(&segment, &place, &head, None);
            head.encode(&mut self.writer.data, &mut self.ndx_out, self.agreed.protocol)?;
            return Ok(());
        }
        let taken = self.reader.taken;
        let sum_head = self.agreed.sum_head(&mut self.reader)?;
        let appends = self.opts.append != Append::Off && phase == 0 && self.sent.insert(index);
        let sums = match appends {
            true => BlockSums { head: sum_head, ..BlockSums::default() },
            false => BlockSums::decode(&mut self.reader, sum_head)?,
        };
        let sum_bytes = self.reader.taken - taken;
        let first = phase == 0;
        let asked = Asked { head, sums, appends, first, sum_bytes, xattrs: wanted };
        self.send_file(&segment, pos, asked)
    }

    fn count_created(&mut self, segment: &Segment, place: &Place, head: &ItemHead) {
        if head.iflags.contains(ItemFlags::IS_NEW) {
            self.counters.created.add(segment.mode(place));
        }
    }

    fn print(
        &mut self,
        segment: &Segment,
        place: &Place,
        head: &ItemHead,
        sent: Option<&ItemLine>,
    ) {
        self.printer.item(&self.reporter, segment, place, head, sent, &|root| {
            self.scanner.roots.get(usize::from(root)).map_or(&b""[..], |r| &r.given)
        });
    }

    /// Sends one file's content, or says that it will not come.
    fn send_file(&mut self, segment: &Arc<Segment>, pos: usize, asked: Asked) -> Result<(), Fatal> {
        let Asked { head, sums, appends, first, sum_bytes, xattrs: wanted } = asked;
        let entry = segment.list.get(pos);
        let name = entry.name();
        let whole = appends || sums.head.count == 0;
        let expected = usize::try_from(entry.len()).unwrap_or(usize::MAX);
        let ahead = if whole && !appends && expected <= AHEAD { expected } else { 0 };
        let opened = self.scanner.open_ahead(entry.root(), &name, ahead, &mut self.buffer);
        let (file, size) = match opened {
            Ok(opened) => opened,
            Err(error) => return self.no_send(head.ndx, entry.root(), &name, &error),
        };
        if appends && size < entry.len() {
            self.skip_diminished(head.ndx, entry.root(), &name);
            return Ok(());
        }
        let written_before = self.wrote();
        if !self.printer.after_transfer() {
            self.print(segment, &Place::Entry(pos), &head, None);
        }
        head.encode(&mut self.writer.data, &mut self.ndx_out, self.agreed.protocol)?;
        self.xattr_answer(segment, &Place::Entry(pos), wanted);
        // For a batch alone, content is not sent.
        if self.opts.batch.only {
            self.writer.set_aside(!self.server);
        }
        sums.head.encode(&mut self.writer.data);
        let left = self.lists.left_after(segment, pos);
        self.printer.begin_progress(entry.len(), self.lists.bytes, left);
        let mut hasher = self.agreed.transfer_sum.file_hasher();
        let (damaged, stats) = match whole {
            true => {
                let start = sums.head.basis_len();
                let hand = (first && !appends).then(|| entry.root());
                self.send_content(file, start..size, hand, &name, &mut hasher)?
            }
            false => self.send_delta(file, &head, sums, &mut hasher)?,
        };
        self.tokens.end(&mut self.writer.data)?;
        let mut digest = hasher.finish();
        if damaged.is_some() {
            digest = crate::hash::falsified(digest);
        }
        self.writer.data.extend_from_slice(digest.as_bytes());
        if self.opts.batch.only {
            self.writer.set_aside(false);
        }
        self.searched.matches += stats.matches;
        self.searched.hash_hits += stats.hash_hits;
        self.searched.false_alarms += stats.false_alarms;
        self.counters.literal += stats.literal;
        self.counters.matched += stats.matched;
        self.control.bytes.fetch_add(entry.len(), Ordering::Relaxed);
        self.printer.end_progress(&self.reporter, left);
        if self.printer.after_transfer() {
            let bytes = self.wrote() - written_before;
            let line = ItemLine { bytes, digest: Some(digest), sum_bytes, perm: None };
            self.print(segment, &Place::Entry(pos), &head, Some(&line));
        }
        if let Some(error) = damaged {
            let shown = self.shown(entry.root(), &name);
            self.reporter.path_error(Role::Sender, READ_ERRORS, &shown, &name, &error);
            self.reporter.add_io_error(IO_GENERAL);
        }
        self.flush_if_full()
    }

    /// Reads the request for long values that follows a record, where one does.
    fn xattr_request(
        &mut self,
        segment: &Segment,
        place: &Place,
        head: &ItemHead,
    ) -> Result<Option<Vec<u32>>, Fatal> {
        if !self.agreed.xattrs_follow(&self.opts, head.iflags) {
            return Ok(None);
        }
        let (number, ..) = segment.xattrs(place)?;
        let list = self.encoder.xattr_list(number).cloned().unwrap_or_else(|| Vec::new().into());
        let items = xattrs::get_request(&mut self.reader, list.len())?;
        for item in &items {
            let at = (*item as usize).saturating_sub(1);
            let long = list.get(at).is_some_and(|x| matches!(x.value, XattrValue::Digest(..)));
            if !long || !self.xattrs_sent.insert((number, *item)) {
                let text = format!("internal abbrev error: xattr #{item} cannot be asked for");
                return Err(Error::misbehaved(ExitCode::Protocol, "xattr-request", text).into());
            }
        }
        Ok(Some(items))
    }

    /// Writes the values that were asked for; one that is gone is empty.
    fn xattr_answer(&mut self, segment: &Segment, place: &Place, wanted: Option<Vec<u32>>) {
        let Some(items) = wanted else { return };
        let root = match (place, &segment.dir) {
            (Place::Entry(pos), _) => segment.list.get(*pos).root(),
            (Place::Dir, dir) => dir.as_ref().map_or(0, |dir| dir.root),
        };
        let mut last = 0;
        if let Ok((number, name, _)) = segment.xattrs(place) {
            let list = self.encoder.xattr_list(number).cloned();
            for item in items {
                let at = (item as usize).saturating_sub(1);
                let key = list.as_ref().and_then(|list| list.get(at)).map(|x| x.name.as_slice());
                let value = key.and_then(|key| {
                    let got = self.scanner.on_xattrs(root, &name, |holder| holder.get(key));
                    got.ok()?.ok()?
                });
                let value = value.unwrap_or_default();
                xattrs::put_answer(&mut self.writer.data, last, item, &value);
                last = item;
            }
        }
        xattrs::end_answer(&mut self.writer.data);
    }

    fn wrote(&self) -> u64 {
        self.writer.written()
    }

    fn shown(&self, root: u16, name: &[u8]) -> Vec<u8> {
        self.scanner
            .roots
            .get(usize::from(root))
            .map_or_else(|| name.to_vec(), |r| r.shown_path(name))
    }

    fn no_send(
        &mut self,
        index: i32,
        root: u16,
        name: &[u8],
        error: &io::Error,
    ) -> Result<(), Fatal> {
        let shown = self.shown(root, name);
        if error.kind() == io::ErrorKind::NotFound {
            let mut line = b"file has vanished: ".to_vec();
            line.extend_from_slice(&self.reporter.quoted(&shown));
            let text = String::from_utf8_lossy(&line).into_owned();
            self.reporter.problem(name, ProblemKind::Vanished, text);
            self.reporter.warning(&line);
            self.reporter.add_io_error(IO_VANISHED);
        } else {
            self.reporter.path_error(
                Role::Sender,
                "send_files failed to open",
                &shown,
                name,
                error,
            );
            self.reporter.add_io_error(IO_GENERAL);
        }
        self.writer.message(&Message::NoSend(index));
        Ok(())
    }

    /// A file to append to that has become shorter than it was listed.
    fn skip_diminished(&mut self, index: i32, root: u16, name: &[u8]) {
        let shown = self.shown(root, name);
        let line =
            [b"skipped diminished file: ".as_slice(), &self.reporter.quoted(&shown)].concat();
        self.reporter.warning(&line);
        self.writer.message(&Message::NoSend(index));
    }

    /// A file without a basis, or what follows the basis. With `hand`, the number of its source
    /// argument, it may go as a handle.
    fn send_content(
        &mut self,
        file: std::fs::File,
        range: Range<u64>,
        hand: Option<u16>,
        name: &[u8],
        hasher: &mut FileHasher,
    ) -> Result<(Option<io::Error>, MatchStats), Fatal> {
        let size = match self.opts.rights.copy_devices {
            true => crate::symlinks::device_len(&self.reporter, &file, name),
            false => range.end,
        };
        let Some(root) = hand.filter(|_| size > AHEAD as u64) else {
            return self.send_whole(file, range.start..size, hasher);
        };
        let shown = self.shown(root, name);
        match self.writer.hand_over(file, size, shown) {
            Ok(()) => {
                self.tokens.block(&mut self.writer.data, crate::handover::BLOCK, &[])?;
                Ok((None, MatchStats { literal: size, ..MatchStats::default() }))
            }
            Err(file) => self.send_whole(file, range.start..size, hasher),
        }
    }

    /// A range up to the end as literal data; reads ahead of the writer in large pieces. What
    /// comes before counts for the digest where `--append-verify` says so. The buffer holds what
    /// was read on opening.
    fn send_whole(
        &mut self,
        file: std::fs::File,
        Range { start, end: size }: Range<u64>,
        hasher: &mut FileHasher,
    ) -> Result<(Option<io::Error>, MatchStats), Fatal> {
        let mut stats = MatchStats::default();
        let mut buffer = std::mem::take(&mut self.buffer);
        let mut held = buffer.len();
        let mut damaged = match self.opts.append {
            Append::Verified => crate::hash::hash_start(&file, start, hasher, &mut buffer).err(),
            Append::Off | Append::Blindly => None,
        };
        if start > 0
            && let Err(error) = (&file).seek(SeekFrom::Start(start))
        {
            damaged = Some(error);
        }
        let mut left = size.saturating_sub(start);
        while left > 0 {
            let want = usize::try_from(left).unwrap_or(COPY_CHUNK).min(COPY_CHUNK);
            held = held.min(want);
            buffer.resize(want, 0);
            let rest = buffer.get_mut(held..).unwrap_or_default();
            let got = held
                + crate::hash::read_full(&file, rest).unwrap_or_else(|error| {
                    damaged = Some(error);
                    0
                });
            held = 0;
            if got < want {
                // What is missing of a file that shrank goes as zeros, and the digest is spoiled.
                damaged.get_or_insert_with(tree::window::shrunk);
                buffer.get_mut(got..).unwrap_or_default().fill(0);
            }
            hasher.update(&buffer);
            self.tokens.literal(&mut self.writer.data, &buffer)?;
            left -= want as u64;
            stats.literal += want as u64;
            self.flush_if_full()?;
            self.printer.progress(&self.reporter, start + stats.literal);
        }
        self.buffer = buffer;
        Ok((damaged, stats))
    }

    fn send_delta(
        &mut self,
        file: std::fs::File,
        head: &ItemHead,
        sums: BlockSums,
        hasher: &mut FileHasher,
    ) -> Result<(Option<io::Error>, MatchStats), Fatal> {
        let mut window =
            SourceWindow::new(file).map_err(|e| Fatal::new(ExitCode::FileIo, e.to_string()))?;
        let own = match self.agreed.protocol.has_item_flags() {
            true => head.basis.unwrap_or(BASIS_DEST) == BASIS_DEST,
            false => !self.opts.backup,
        };
        let in_place = self.opts.inplace && own;
        let table = SumTable::new(sums);
        let work = wire::delta::search::work_limit(window.size(), table.head());
        let sum = self.agreed.transfer_sum;
        let (tokens, writer, reader) = (&mut self.tokens, &mut self.writer, &mut self.reader);
        let stats = {
            let mut emit = |token: Token<'_>| -> Result<(), Fatal> {
                match token {
                    Token::Literal(bytes) => {
                        hasher.update(bytes);
                        tokens.literal(&mut writer.data, bytes)?;
                    }
                    Token::Block { index, data } => {
                        hasher.update(data);
                        tokens.block(&mut writer.data, index, data)?;
                    }
                }
                if writer.is_full() { writer.flush_reading(reader) } else { Ok(()) }
            };
            wire::delta::search::search(&table, &sum, &mut window, in_place, work, &mut emit)?
        };
        Ok((window.take_error(), stats))
    }

    /// From the last end mark to the end of the session.
    fn goodbye(&mut self) -> Result<(), Fatal> {
        let io_error = self.reporter.io_error();
        if io_error != self.last_io_error {
            self.writer.message(&Message::IoError(io_error));
        }
        self.ndx_out.put(&mut self.writer.data, ndx::DONE);
        if self.opts.debug.has(DebugFlag::Deltasum) {
            let MatchStats { matches, hash_hits, false_alarms, .. } = self.searched;
            let data = self.counters.literal;
            let line = format!(
                "total: matches={matches}  hash_hits={hash_hits}  false_alarms={false_alarms} data={data}\n"
            );
            self.reporter.info(line.as_bytes());
        }
        // Both sides tell the bytes up to here, on whichever the numbers are shown.
        self.counters.received = self.reader.traffic().read();
        self.counters.sent = self.wrote();
        let batch = self.writer.copies();
        if self.server || batch {
            let stats = Stats {
                read: self.counters.received,
                written: self.counters.sent,
                size: self.counters.total_size,
                build_ms: self.counters.flist_build_ms,
                xfer_ms: self.counters.flist_xfer_ms,
            };
            if batch {
                self.writer.set_aside(true);
            }
            stats.encode(&mut self.writer.data, self.agreed.protocol);
            if batch {
                self.writer.set_aside(false);
            }
        }
        self.flush()?;
        if self.agreed.protocol.has_final_goodbye() {
            self.expect_done()?;
            self.ndx_out.put(&mut self.writer.data, ndx::DONE);
            self.flush()?;
        }
        self.writer.end_copy()?;
        self.expect_done()
    }

    fn expect_done(&mut self) -> Result<(), Fatal> {
        loop {
            self.wait_data()?;
            let index = self.ndx_in.get(&mut self.reader)?;
            self.remove_confirmed()?;
            match index {
                ndx::DONE => return Ok(()),
                ndx::DEL_STATS => self.take_del_stats()?,
                other => {
                    return Err(Error::misbehaved(
                        ExitCode::Protocol,
                        "goodbye",
                        format!("Invalid packet at end of run ({other})"),
                    )
                    .into());
                }
            }
        }
    }
}

/// Gives an entry other texts, of its name and its link; what it had comes back.
fn swap_texts(
    entry: &mut Entry,
    (name, link): (Vec<u8>, Option<Vec<u8>>),
) -> (Vec<u8>, Option<Vec<u8>>) {
    let link = link.and_then(|link| entry.link_target.replace(link));
    (std::mem::replace(&mut entry.name, name), link)
}

fn bad_index(index: i32) -> Error {
    Error::misbehaved(ExitCode::Protocol, "ndx", format!("Invalid file index: {index}"))
}

fn millis(since: std::time::Instant) -> u64 {
    u64::try_from(since.elapsed().as_millis()).unwrap_or(u64::MAX)
}
