//! The receiver: consumes the sender's stream, writes files, hands everything else on.
//!
//! Owns the reading half of the connection, on a thread of its own, and never waits for anything
//! but input: what the generator must know goes to it as [`Note`]s. Steps:
//! 1. lists as they arrive are decoded, checked, shared;
//! 2. an item with data is staged: tokens into a temporary file (or the file itself), the digest
//!    verified, attributes set, the result renamed into place;
//! 3. end marks advance the phase; after the last one come statistics and the goodbye.
//!
//! A file that cannot be written is still read to its end, so that the stream stays in step.

use std::collections::HashSet;
use std::fs::File;
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use tree::attrs::Times;
use tree::cache::DirCache;
use tree::dir::Dir;
use tree::path::{Name, NameBuf, RelPathBuf};
use tree::stage::{CopyError, Stage};
use tree::xattr::XattrHolder;
use wire::checksum::strong::FileHasher;
use wire::codec::ByteSource;
use wire::error::Error;
use wire::exchange::goodbye::{DelStats, Stats};
use wire::exchange::request::{BASIS_FUZZY, ItemHead};
use wire::exit::ExitCode;
use wire::filter::Side;
use wire::flist::decode::Decoder;
use wire::flist::entry::Entry;
use wire::flist::list::{EntryView, FileList};
use wire::flist::order::Order;
use wire::flist::xattrs::{self, Xattrs};
use wire::handshake::CompatFlags;
use wire::itemize::ItemFlags;
use wire::message::Message;
use wire::ndx::{self, NdxReader};
use wire::sum::SumHead;
use wire::token::{Received, TokenReader};

use crate::attributes;
use crate::basis::BasisWalk;
use crate::counters::Counters;
use crate::delayed::Delayed;
use crate::fatal::Fatal;
use crate::handover::BLOCK;
use crate::heading::Heading;
use crate::items::{ItemLine, ItemPrinter};
use crate::link::LinkReader;
use crate::lists::{Place, Segment};
use crate::options::debug::DebugFlag;
use crate::options::{Append, Partial};
use crate::problem::ProblemKind;
use crate::receiving::{Before, Note, Receiving};
use crate::regular::{BASIS_FILE, BASIS_PARTIAL};
use crate::report::messages::{IO_GENERAL, READ_ERRORS, Role};
use crate::report::progress::Left;

/// The receiver's own state.
pub struct ReceiverRole {
    recv: Arc<Receiving>,
    reader: LinkReader,
    decoder: Decoder,
    ndx: NdxReader,
    tokens: TokenReader,
    cache: DirCache,
    basis: BasisWalk,
    delayed: Delayed,
    printer: ItemPrinter,
    /// Numbers of the run.
    pub counters: Counters,
    /// What the sending server told at the end.
    pub stats: Option<Stats>,
    failed_once: HashSet<i32>,
    /// Sums of a basis went with the request for the file under way.
    offered: bool,
    /// What the file committed last was given.
    given_perm: Option<u32>,
    block: Vec<u8>,
}

/// Where a file's content goes, or why it goes nowhere. `own`: the basis is the file that is
/// replaced or written in place.
enum Target {
    Stage { stage: Stage, at: Landing, basis: Option<File>, own: bool },
    Discard,
}

/// Where a file's content ends up, and what its permissions start from: those of its basis.
struct Landing {
    dir: Dir,
    place: RelPathBuf,
    before: Before,
}

impl ReceiverRole {
    /// A receiver that has read the first list with `decoder`.
    pub fn new(
        recv: Arc<Receiving>,
        reader: LinkReader,
        decoder: Decoder,
        ndx: NdxReader,
        printer: ItemPrinter,
    ) -> Result<ReceiverRole, Fatal> {
        let cache = DirCache::new(recv.root.clone(), 64);
        let tokens = TokenReader::new(recv.agreed.tokens, recv.agreed.protocol)?;
        Ok(ReceiverRole {
            basis: BasisWalk::new(&recv),
            delayed: Delayed::default(),
            recv,
            reader,
            decoder,
            ndx,
            tokens,
            cache,
            printer,
            counters: Counters::default(),
            stats: None,
            failed_once: HashSet::new(),
            offered: false,
            given_perm: None,
            block: Vec::new(),
        })
    }

    /// Reads to the end of the session. The generator hears of every end, good or bad.
    pub fn run(&mut self) -> Result<(), Fatal> {
        let result = self.stream();
        match &result {
            Ok(()) => self.recv.note(Note::Final),
            Err(fatal) => {
                let role = fatal.role.or(Some(Role::Receiver));
                self.recv.note(Note::Failed(Fatal { role, ..fatal.clone() }));
            }
        }
        result
    }

    /// Gives the reading half back.
    pub fn into_reader(self) -> LinkReader {
        self.reader
    }

    fn stream(&mut self) -> Result<(), Fatal> {
        let mut phase = 0;
        loop {
            let index = self.ndx.get(&mut self.reader)?;
            match index {
                ndx::DONE => {
                    if self.end_mark(&mut phase)? {
                        break;
                    }
                }
                ndx::FLIST_EOF => {
                    if let Ok(mut lists) = self.recv.lists.lock() {
                        lists.complete = true;
                    }
                    self.recv.control.list_complete.store(true, Ordering::Release);
                    self.recv.note(Note::ListComplete);
                }
                ndx::DEL_STATS => self.take_del_stats()?,
                index if index >= 0 => self.item(index, phase)?,
                index => self.segment(index)?,
            }
        }
        if !self.recv.server {
            self.stats = Some(Stats::decode(&mut self.reader, self.recv.agreed.protocol)?);
        }
        self.recv.note(Note::DataEnded);
        if self.recv.agreed.protocol.has_final_goodbye() {
            loop {
                match self.ndx.get(&mut self.reader)? {
                    ndx::DONE => break,
                    ndx::DEL_STATS => self.take_del_stats()?,
                    other => {
                        let text = format!("Invalid packet at end of run ({other})");
                        return Err(Error::misbehaved(ExitCode::Protocol, "goodbye", text).into());
                    }
                }
            }
        }
        self.reader.end_copy()
    }

    fn take_del_stats(&mut self) -> Result<(), Fatal> {
        let stats = DelStats::decode(&mut self.reader)?;
        self.counters.deleted = crate::items::deleted_counts(&stats);
        Ok(())
    }

    /// Handles an end mark; true after the last one before the goodbye.
    fn end_mark(&mut self, phase: &mut u8) -> Result<bool, Fatal> {
        self.tell_missing(*phase)?;
        if *phase == 0
            && self.recv.agreed.inc()
            && let Ok(mut lists) = self.recv.lists.lock()
        {
            let more = lists.free_oldest();
            if more || !lists.complete {
                self.printer.whole_progress(&self.recv.reporter, lists.left_ahead(), lists.bytes);
                self.recv.note(Note::Answer);
                return Ok(false);
            }
        }
        let whole = *phase == 0 && !self.recv.agreed.inc() && self.recv.wants.is_none();
        let end = self.recv.lists.lock().ok().and_then(|l| l.oldest().map(|s| s.end()));
        self.recv.all_answered(end.filter(|_| whole).unwrap_or(0))?;
        // What comes after the last of the lists has nothing to show.
        let shows = *phase == 0 || !self.recv.agreed.inc();
        *phase += 1;
        if *phase == 2 {
            self.delayed.finish(&self.recv, &mut self.cache)?;
        }
        if let Ok(lists) = self.recv.lists.lock()
            && shows
        {
            let left = lists.left_ahead();
            self.printer.whole_progress(&self.recv.reporter, left, lists.bytes);
        }
        self.recv.note(Note::Answer);
        Ok(*phase > self.recv.agreed.last_phase())
    }

    /// Bytes of all that is listed, and what comes behind an entry.
    fn listed(&self, segment: &Segment, pos: usize) -> (u64, Left) {
        let lists = self.recv.lists.lock();
        lists.map(|lists| (lists.bytes, lists.left_after(segment, pos))).unwrap_or_default()
    }

    fn segment(&mut self, index: i32) -> Result<(), Fatal> {
        let number = i64::from(ndx::FLIST_OFFSET) - i64::from(index);
        let number = i32::try_from(number).unwrap_or(-1);
        // Nobody would walk a list of a batch that comes behind the last one.
        let late =
            self.recv.wants.is_some() && self.recv.lists.lock().is_ok_and(|lists| lists.complete);
        if !self.recv.agreed.inc() || number < 0 || late {
            return Err(Error::misbehaved(
                ExitCode::Protocol,
                "ndx",
                format!("Invalid file index: {index}"),
            )
            .into());
        }
        let segment = read_segment(&self.recv, &mut self.reader, &mut self.decoder, number, None)?;
        self.recv.note(Note::Segment(segment));
        Ok(())
    }

    fn item(&mut self, index: i32, phase: u8) -> Result<(), Fatal> {
        let head = ItemHead::decode_after_ndx(&mut self.reader, index, self.recv.agreed.protocol)?;
        head.check_basis(self.recv.opts.basis_dirs.len(), self.recv.opts.fuzzy > 0)?;
        let (segment, place) = match self.recv.lists.lock() {
            Ok(lists) => lists.find(index)?,
            Err(_) => return Err(Fatal::silent(ExitCode::Crashed)),
        };
        let again = head.iflags.contains(ItemFlags::TRANSFER) && phase > 0;
        if head.iflags.contains(ItemFlags::IS_NEW) && !again {
            self.counters.created.add(segment.mode(&place));
        }
        let xattrs = match self.recv.agreed.xattrs_follow(&self.recv.opts, head.iflags) {
            true => Some(self.take_xattrs(&segment, &place)?),
            false => None,
        };
        if !head.iflags.contains(ItemFlags::TRANSFER) {
            self.print(&segment, &place, &head, None);
            if let Some((number, name, mode)) = xattrs.filter(|_| !self.recv.opts.dry_run) {
                self.set_xattrs_of(number, &name, mode);
            }
            return Ok(());
        }
        let pos = segment.content(&place, index, phase)?;
        self.refuse_unwanted(&segment.list.get(pos))?;
        let (head, offered) = self.recv.as_asked(head, self.failed_once.contains(&index))?;
        self.offered = offered;
        if let Some(wants) = &self.recv.wants
            && !wants.takes(index, &self.recv.control)?
        {
            return self.skip_batched(&segment, pos, phase);
        }
        if phase == 0 {
            self.counters.transferred += 1;
            self.counters.transferred_size += segment.list.get(pos).len();
        }
        if self.recv.opts.dry_run {
            self.printer.pass_progress(segment.list.get(pos).len());
            self.print(&segment, &Place::Entry(pos), &head, None);
            if self.recv.opts.drops_content() {
                self.drop_content(&segment.list.get(pos).name())?;
            }
            return Ok(());
        }
        self.receive_file(&segment, pos, &head)
    }

    /// Content of a batch that our generator does not want.
    fn skip_batched(&mut self, segment: &Segment, pos: usize, phase: u8) -> Result<(), Fatal> {
        let entry = segment.list.get(pos);
        let name = entry.name();
        if phase == 0 {
            self.counters.transferred += 1;
            self.counters.transferred_size += entry.len();
        }
        let shown = crate::scan::trim_root(&name);
        let line = [b"(Skipping batched update for \"".as_slice(), shown, b"\")\n"].concat();
        self.recv.reporter.info(&line);
        self.drop_content(&name)
    }

    fn drop_content(&mut self, name: &[u8]) -> Result<(), Fatal> {
        let sums = SumHead::decode(
            &mut self.reader,
            self.recv.agreed.transfer_sum.kind.digest_len(),
            self.recv.agreed.protocol,
        )?;
        self.tokens_into(&mut Target::Discard, &sums, 0, name).map(|_| ())
    }

    /// At an end mark of a batch: tells what our generator wants and the batch does not have. What
    /// came out wrong has another chance where lists are whole.
    fn tell_missing(&mut self, phase: u8) -> Result<(), Fatal> {
        let Some(wants) = &self.recv.wants else { return Ok(()) };
        let Ok(lists) = self.recv.lists.lock() else { return Ok(()) };
        let oldest = lists.oldest().map(|s| s.start()..s.end());
        drop(lists);
        let Some(range) = oldest else { return Ok(()) };
        for index in wants.left(range, &self.recv.control)? {
            let again = self.failed_once.contains(&index);
            if again && phase == 0 && !self.recv.agreed.inc() {
                wants.want(index);
                continue;
            }
            let found = self.recv.lists.lock().ok().and_then(|lists| lists.find(index).ok());
            let name = match found {
                Some((segment, Place::Entry(pos))) => segment.list.get(pos).name(),
                _ => continue,
            };
            let what = if again { "resend of " } else { "" };
            let mut line = format!("(No batched update for {what}\"").into_bytes();
            line.extend_from_slice(crate::scan::trim_root(&name));
            line.extend_from_slice(b"\")");
            let text = String::from_utf8_lossy(&line).into_owned();
            self.recv.reporter.problem(&name, ProblemKind::Failed, text);
            self.recv.reporter.error_line(&line);
            self.recv.note(Note::Done { ndx: index, ok: false });
        }
        Ok(())
    }

    /// Reads the long values that come with an item; its list, name and mode.
    fn take_xattrs(
        &mut self,
        segment: &Segment,
        place: &Place,
    ) -> Result<(u32, Vec<u8>, u32), Fatal> {
        let (number, name, mode) = segment.xattrs(place)?;
        let crashed = |_| Fatal::silent(ExitCode::Crashed);
        let sent = self.recv.xattrs.lock().map(|store| store.sent(number)).unwrap_or_default();
        let mut last = 0;
        while let Some((item, value)) = xattrs::get_answer(&mut self.reader, last, sent)? {
            let mut store = self.recv.xattrs.lock().map_err(|_| crashed(()))?;
            store.fill(number, item, value)?;
            last = item;
        }
        Ok((number, name, mode))
    }

    /// Sets the attributes of an item that the generator has made or found.
    fn set_xattrs_of(&mut self, number: u32, name: &[u8], mode: u32) {
        let rel = crate::scan::trim_root(name);
        let is_dir = mode & 0o170_000 == 0o040_000;
        if self.recv.hides_entry(rel, is_dir) || self.recv.opts.list_only {
            return;
        }
        let Some(place) = self.recv.dest_path(name) else { return };
        let who = (Role::Receiver, name);
        let recv = self.recv.clone();
        match place.name() {
            None => {
                if let Ok(dir) = self.cache.dir(&place) {
                    recv.set_xattrs(number, &XattrHolder::Itself(dir), None, who, false);
                }
            }
            Some(base) => {
                let Ok(dir) = self.cache.parent(&place) else { return };
                // What is of another kind was not made, and that has been told.
                let found = dir.lstat(base).ok().flatten();
                if found.is_some_and(|found| found.mode & 0o170_000 == mode & 0o170_000) {
                    recv.set_xattrs(number, &XattrHolder::Item(dir, base), None, who, false);
                }
            }
        }
    }

    /// Content that our own generator cannot have asked for ends the run: of what the daemon's rules
    /// hide, and where only a list was wanted, which leaves the destination unchosen.
    fn refuse_unwanted(&self, entry: &EntryView<'_>) -> Result<(), Fatal> {
        let name = entry.name();
        let rel = crate::scan::trim_root(&name);
        let text = if self.recv.hides_entry(rel, false) {
            b"ERROR: rejecting file transfer request for daemon excluded file: ".as_slice()
        } else if self.recv.opts.list_only {
            b"ERROR: rejecting file transfer into a listing: "
        } else {
            return Ok(());
        };
        Err(Fatal::bare(ExitCode::Protocol, [text, rel].concat()))
    }

    fn print(
        &mut self,
        segment: &Segment,
        place: &Place,
        head: &ItemHead,
        done: Option<&ItemLine>,
    ) {
        let shown: &[u8] = match self.recv.start.module() {
            Some(_) => &self.recv.shown,
            None => b"",
        };
        self.printer.item(&self.recv.reporter, segment, place, head, done, &|_| shown);
    }

    /// Takes one file's tokens.
    fn receive_file(
        &mut self,
        segment: &Segment,
        pos: usize,
        head: &ItemHead,
    ) -> Result<(), Fatal> {
        let entry = segment.list.get(pos);
        let name = entry.name();
        let taken = self.reader.taken;
        let sum_head = self.recv.agreed.sum_head(&mut self.reader)?;
        let mut target = self.open_target(&entry, &name, head);
        // What cannot be written is not told as an item.
        if !self.printer.after_transfer() && !matches!(target, Target::Discard) {
            self.print(segment, &Place::Entry(pos), head, None);
        }
        let (listed_bytes, left) = self.listed(segment, pos);
        self.printer.begin_progress(entry.len(), listed_bytes, left);
        let appends = self.recv.opts.append != Append::Off && !self.failed_once.contains(&head.ndx);
        let start = if appends { sum_head.basis_len() } else { 0 };
        let received = self.tokens_into(&mut target, &sum_head, start, &name);
        let good = match received {
            Ok(good) => good,
            Err(fatal) => {
                self.keep_partial(target, &entry, &name, head.ndx);
                return Err(fatal);
            }
        };
        self.printer.end_progress(&self.recv.reporter, left);
        let outcome = match target {
            Target::Discard => {
                self.recv.note(Note::Done { ndx: head.ndx, ok: false });
                return Ok(());
            }
            Target::Stage { stage, at, .. } if good.is_some() => {
                self.commit(stage, &at, &entry, &name, head)?
            }
            Target::Stage { stage, at, .. } => {
                self.wrong_digest(stage, &at, &entry, &name, head)?;
                return Ok(());
            }
        };
        if self.printer.after_transfer() {
            let bytes = self.reader.taken - taken;
            let line = ItemLine { bytes, digest: good, sum_bytes: 0, perm: self.given_perm };
            self.print(segment, &Place::Entry(pos), head, Some(&line));
        }
        self.recv.control.bytes.fetch_add(entry.len(), Ordering::Relaxed);
        if let Some(ok) = outcome {
            self.recv.note(Note::Done { ndx: head.ndx, ok });
        }
        Ok(())
    }

    /// Opens what the tokens go into, and the basis, whose mode counts even where no block of it
    /// may come. Failure is reported and costs this file only.
    fn open_target(&mut self, entry: &EntryView<'_>, name: &[u8], head: &ItemHead) -> Target {
        let Some(place) = self.recv.dest_path(name) else { return Target::Discard };
        let Some(base) = place.name() else { return Target::Discard };
        if self.recv.opts.relative
            && self.cache.parent(&place).is_err_and(|e| e.kind() == io::ErrorKind::NotFound)
        {
            let _ = make_parents(&mut self.cache, &place);
        }
        let dir = match self.cache.parent(&place) {
            Ok(dir) => dir.clone(),
            Err(error) => {
                let shown = self.recv.shown_path(name);
                self.recv.reporter.path_error(Role::Receiver, "mkstemp", &shown, name, &error);
                return Target::Discard;
            }
        };
        let basis = match head.basis {
            None if head.iflags.contains(ItemFlags::IS_NEW) => None,
            Some(kind @ BASIS_FUZZY..) => self.open_similar(&place, &dir, kind, head),
            _ => self.open_basis(&place, &dir, base, head),
        };
        let own = head.basis.unwrap_or(BASIS_FILE) == BASIS_FILE;
        let opened = if self.recv.opts.inplace {
            let again = self.failed_once.contains(&head.ndx);
            self.back_up_copy(&dir, base, &place, again)
                .and_then(|()| self.stage_in_place(&dir, base))
        } else {
            let mode = self.recv.wanted_perm(entry, Before::Allowed(0o777)) | 0o200;
            self.recv.temp_dir().and_then(|temp| Stage::temp(dir.clone(), base, temp, mode & 0o700))
        };
        match opened {
            Ok(mut stage) => {
                self.lay_out(&mut stage, entry, name);
                let found = basis.as_ref().and_then(|file| file.metadata().ok());
                let before = match found {
                    Some(meta) => Before::Mode(meta.mode()),
                    None => self.recv.before_new(Some(&dir)),
                };
                Target::Stage { stage, at: Landing { dir, place, before }, basis, own }
            }
            Err(error) => {
                let what = if self.recv.opts.inplace { "open" } else { "mkstemp" };
                let shown = match self.recv.opts.inplace {
                    true => self.recv.shown_path(name),
                    false => self.recv.shown_temp(name),
                };
                self.recv.reporter.path_error(Role::Receiver, what, &shown, name, &error);
                Target::Discard
            }
        }
    }

    /// The file itself, or with `--write-devices` the device that stands there.
    fn stage_in_place(&self, dir: &Dir, base: &Name) -> io::Result<Stage> {
        let device = self.recv.opts.rights.write_devices
            && dir.lstat(base)?.is_some_and(|found| found.is_device());
        match device {
            true => Stage::on_device(dir, base),
            false => Stage::in_place(dir.clone(), base, true),
        }
    }

    /// `--preallocate` and `--sparse`.
    fn lay_out(&self, stage: &mut Stage, entry: &EntryView<'_>, name: &[u8]) {
        if self.recv.opts.sparse {
            stage.set_sparse();
        }
        if self.recv.opts.preallocate
            && !entry.is_empty()
            && let Err(error) = stage.reserve(entry.len())
        {
            let mut line = b"rsync: [receiver] do_fallocate ".to_vec();
            line.extend_from_slice(&self.recv.reporter.quoted(&self.recv.shown_path(name)));
            line.extend_from_slice(b": ");
            line.extend_from_slice(crate::fatal::errno_text(&error).as_bytes());
            self.recv.reporter.warning(&line);
        }
    }

    /// In-place with backups: the old content is copied aside before it is overwritten, but not what
    /// a first try has left.
    fn back_up_copy(
        &mut self,
        dir: &Dir,
        base: &Name,
        place: &RelPathBuf,
        again: bool,
    ) -> io::Result<()> {
        if self.recv.opts.backup
            && !again
            && let Some(old) = dir.lstat(base)?
            && self.recv.takes_content(&old)
        {
            crate::backup::copy_aside(&self.recv, dir, base, place)?;
        }
        Ok(())
    }

    fn open_basis(
        &mut self,
        place: &RelPathBuf,
        dir: &Dir,
        base: &Name,
        head: &ItemHead,
    ) -> Option<File> {
        match head.basis.unwrap_or(BASIS_FILE) {
            BASIS_FILE => {
                let file = dir.open_content(base, self.recv.opts.rights.write_devices);
                file.and_then(|file| self.recv.opts.opened(file)).ok()
            }
            BASIS_PARTIAL => crate::partial::open(&self.recv, &mut self.cache, place),
            number @ 0..BASIS_FILE => self.basis.open(usize::from(number), place),
            _ => None,
        }
    }

    /// Opens the file of another name that our generator told of; a name that it cannot have told,
    /// or that the daemon hides, is none.
    fn open_similar(
        &mut self,
        place: &RelPathBuf,
        dir: &Dir,
        kind: u8,
        head: &ItemHead,
    ) -> Option<File> {
        let name = NameBuf::new(head.xname.as_deref()?).ok()?;
        if self.recv.hidden_by_daemon(place.parent().join(&name).as_bytes(), false) {
            return None;
        }
        match kind.checked_sub(BASIS_FUZZY + 1) {
            None => dir.open_read(&name).ok(),
            Some(number) => self.basis.parent(usize::from(number), place)?.open_read(&name).ok(),
        }
    }

    /// Reads tokens to the end mark and verifies the digest; the digest when it is right.
    fn tokens_into(
        &mut self,
        target: &mut Target,
        sums: &SumHead,
        start: u64,
        name: &[u8],
    ) -> Result<Option<wire::checksum::strong::Digest>, Fatal> {
        let mut hasher = self.recv.agreed.transfer_sum.file_hasher();
        let kept = self.keep_start(target, start, &mut hasher);
        let mut write_failed: Option<io::Error> = None;
        let mut total: u64 = start;
        let mut handed = None;
        loop {
            let wrote = match self.tokens.next(&mut self.reader)? {
                Received::End => break,
                Received::Literal(bytes) => {
                    self.printer.progress(&self.recv.reporter, total);
                    hasher.update(bytes);
                    self.recv.literal.fetch_add(bytes.len() as u64, Ordering::Relaxed);
                    total += bytes.len() as u64;
                    match target {
                        Target::Stage { stage, .. } if write_failed.is_none() => stage.write(bytes),
                        _ => Ok(()),
                    }
                }
                Received::Block(BLOCK) if sums.count == 0 && self.reader.handed.is_some() => {
                    let (complete, wrote) =
                        self.take_handed(target, name, write_failed.is_none())?;
                    handed = Some(complete);
                    wrote
                }
                Received::Block(index) => {
                    self.printer.progress(&self.recv.reporter, total);
                    let (offset, len) = sums.require_block(index)?;
                    self.require_basis(name)?;
                    total += u64::from(len);
                    let copied = copy_block(target, &mut self.block, offset, len);
                    hasher.update(&self.block);
                    self.tokens.saw_block(&self.block)?;
                    self.recv.matched.fetch_add(u64::from(len), Ordering::Relaxed);
                    if write_failed.is_none() { copied } else { Ok(()) }
                }
            };
            if let Err(error) = wrote {
                write_failed = Some(error);
            }
        }
        let ours = hasher.finish();
        let mut theirs = vec![0; ours.as_bytes().len()];
        self.reader.read_exact(&mut theirs)?;
        if let Target::Stage { stage, .. } = target
            && write_failed.is_none()
        {
            let synced =
                |stage: &mut Stage| if self.recv.opts.fsync { stage.sync() } else { Ok(()) };
            write_failed = stage.finish_content().and_then(|()| synced(stage)).err();
        }
        if let Some(error) = write_failed {
            let shown = self.recv.shown_path(name);
            let mut text = b"rsync: [receiver] write failed on ".to_vec();
            text.extend_from_slice(&self.recv.reporter.quoted(&shown));
            text.extend_from_slice(b": ");
            text.extend_from_slice(crate::fatal::errno_text(&error).as_bytes());
            self.recv.reporter.error_line(&text);
            return Err(Fatal::silent(ExitCode::FileIo));
        }
        let right = kept && handed.unwrap_or(theirs == ours.as_bytes());
        let right = right || matches!(target, Target::Discard);
        Ok(right.then_some(ours))
    }

    /// A block can only come from a basis. One that is gone meanwhile makes a wrong digest.
    fn require_basis(&self, name: &[u8]) -> Result<(), Fatal> {
        if self.offered {
            return Ok(());
        }
        let shown = self.recv.reporter.quoted(&self.recv.shown_path(name));
        let shown = String::from_utf8_lossy(&shown).into_owned();
        let text = format!("got a block match with no basis file for {shown}");
        Err(Error::misbehaved(ExitCode::Protocol, "token", text).into())
    }

    /// Takes a file in place of its content: whether all of it could be read, and how writing
    /// went. There is no digest: nothing travelled.
    fn take_handed(
        &mut self,
        target: &mut Target,
        name: &[u8],
        wanted: bool,
    ) -> Result<(bool, io::Result<()>), Fatal> {
        let text = "a token names a block of no basis";
        let Some(handed) = self.reader.take_handed() else {
            return Err(Error::misbehaved(ExitCode::Protocol, "token", text.to_owned()).into());
        };
        self.recv.literal.fetch_add(handed.len, Ordering::Relaxed);
        let Target::Stage { stage, .. } = target else { return Ok((true, Ok(()))) };
        let mut at = if wanted { 0 } else { handed.len };
        while at < handed.len {
            self.reader.cut_off()?;
            match stage.copy_piece(&handed.file, at, handed.len - at) {
                Ok(copied) => at += copied,
                Err(CopyError::Read(error)) => {
                    // The sender would have met it.
                    let (reporter, shown) = (&self.recv.reporter, &handed.shown);
                    reporter.path_error(Role::Sender, READ_ERRORS, shown, name, &error);
                    reporter.add_io_error(IO_GENERAL);
                    return Ok((false, Ok(())));
                }
                Err(CopyError::Write(error)) => return Ok((true, Err(error))),
            }
        }
        Ok((true, Ok(())))
    }

    /// Goes over the bytes that `--append` leaves as they are, and with `--append-verify` reads them
    /// for the digest. False when they are not all there.
    fn keep_start(&mut self, target: &mut Target, start: u64, hasher: &mut FileHasher) -> bool {
        let Target::Stage { stage, basis, .. } = target else { return true };
        if start == 0 {
            return true;
        }
        let verified = match basis {
            _ if self.recv.opts.append != Append::Verified => Ok(()),
            Some(basis) => crate::hash::hash_start(basis, start, hasher, &mut self.block),
            None => return false,
        };
        let there = stage.file().metadata().is_ok_and(|meta| meta.len() >= start);
        verified.is_ok() && there && stage.skip(start).is_ok()
    }

    /// Backup, attributes, rename. Whether the file has its place; `None` when it waits for that.
    fn commit(
        &mut self,
        mut stage: Stage,
        at: &Landing,
        entry: &EntryView<'_>,
        name: &[u8],
        head: &ItemHead,
    ) -> Result<Option<bool>, Fatal> {
        let (dir, place) = (&at.dir, &at.place);
        let Some(base) = place.name() else { return Ok(Some(false)) };
        let waits = self.delayed.place(&self.recv, &mut self.cache, place);
        // In place, what has the name now is the new file itself.
        if waits.is_none() && !self.make_way(at, base, name, head.ndx)? {
            return Ok(Some(false));
        }
        self.set_attributes(&mut stage, (dir, base), entry, at.before, name);
        if let Err(error) = stage.commit(waits.as_ref().unwrap_or(dir), base) {
            let mut line = b"rsync: [receiver] rename ".to_vec();
            line.extend_from_slice(&self.recv.reporter.quoted(&self.recv.shown_temp(name)));
            line.extend_from_slice(b" -> \"");
            match waits {
                Some(_) => line.extend_from_slice(&crate::partial::shown(&self.recv, place)),
                None => line.extend_from_slice(crate::scan::trim_root(name)),
            }
            line.extend_from_slice(b"\": ");
            line.extend_from_slice(crate::fatal::errno_text(&error).as_bytes());
            let text = String::from_utf8_lossy(&line).into_owned();
            self.recv.reporter.problem(name, ProblemKind::Failed, text);
            self.recv.reporter.error_line(&line);
            return Ok(Some(false));
        }
        if waits.is_some() {
            self.delayed.add(head.ndx, place);
            return Ok(None);
        }
        if let Partial::Dir(_) = self.recv.opts.partial {
            crate::partial::forget(&self.recv, &mut self.cache, place);
        }
        Ok(Some(true))
    }

    /// Backs up what has the final name; false when that failed. Where content that did not match
    /// its digest has that name by now, there is nothing more to back up.
    fn make_way(
        &self,
        Landing { dir, place, .. }: &Landing,
        base: &Name,
        name: &[u8],
        index: i32,
    ) -> Result<bool, Fatal> {
        let opts = &self.recv.opts;
        let kept = opts.partial == Partial::Keep && self.failed_once.contains(&index);
        if !opts.backup || opts.inplace || kept {
            return Ok(true);
        }
        let old = dir.lstat(base).ok().flatten();
        crate::backup::make_way(&self.recv, dir, old.as_ref(), place, name)
    }

    /// Owner, extended attributes, times, permissions of a finished file.
    fn set_attributes(
        &mut self,
        stage: &mut Stage,
        (dir, base): (&Dir, &Name),
        entry: &EntryView<'_>,
        before: Before,
        name: &[u8],
    ) {
        let wanted = attributes::wanted(&self.recv, entry, before);
        self.given_perm = wanted.perm;
        let mut failed = Vec::new();
        let (acls, attributes) = (wanted.acls, entry.xattrs());
        if acls.is_some() || attributes.is_some() {
            // A change of owner takes capabilities away.
            failed = stage.set_attributes(wanted.uid, wanted.gid, Times::default(), None);
        }
        if failed.is_empty() && (acls.is_some() || attributes.is_some()) {
            let holder = stage.holder();
            let who = (Role::Receiver, name);
            if let Some(number) = attributes {
                let there = XattrHolder::Item(dir, base);
                let there = (!stage.is_in_place()).then_some(&there);
                self.recv.set_xattrs(number, &holder, there, who, false);
            }
            if let (Some(numbers), Some(perm)) = (acls, wanted.perm) {
                self.recv.set_acls(numbers, &holder, perm, who);
            }
        }
        let times = wanted.times();
        if failed.is_empty() {
            failed = stage.set_attributes(wanted.uid, wanted.gid, times, wanted.perm);
        }
        let shown = match stage.is_in_place() {
            true => self.recv.shown_path(name),
            false => self.recv.shown_temp(name),
        };
        for (what, error) in failed {
            attributes::failed(&self.recv, Role::Receiver, what, &shown, name, &error);
        }
    }

    /// The content does not match its digest: once more, or for good.
    fn wrong_digest(
        &mut self,
        stage: Stage,
        at: &Landing,
        entry: &EntryView<'_>,
        name: &[u8],
        head: &ItemHead,
    ) -> Result<(), Fatal> {
        let (opts, index) = (&self.recv.opts, head.ndx);
        let in_place = self.recv.agreed.compat.contains(CompatFlags::INPLACE_PARTIAL)
            && head.basis == Some(BASIS_PARTIAL)
            && !opts.delay_updates;
        // Other content is kept as well where that is asked; the reference's word is this.
        let kept = match opts.inplace {
            true => "retained",
            false if in_place => "put into partial-dir",
            false => "discarded",
        };
        if self.may_keep(at, name, index)? {
            self.keep_stage(stage, at, entry, false);
        }
        let mut line = Vec::new();
        let again = self.failed_once.insert(index);
        line.extend_from_slice(if again { b"WARNING: " } else { b"ERROR: " });
        line.extend_from_slice(crate::scan::trim_root(name));
        line.extend_from_slice(format!(" failed verification -- update {kept}").as_bytes());
        if again {
            let may: &[u8] = if self.recv.wants.is_some() { b"may" } else { b"will" };
            line.extend_from_slice(&[b" (", may, b" try again)."].concat());
            // Another pass mends it, so only who is told of files hears of it.
            if self.recv.opts.info.name > 0 || self.recv.opts.shows_letters() {
                self.recv.reporter.warning(&line);
            }
            if let Some(wants) = &self.recv.wants {
                wants.want(index);
            }
            self.recv.note(Note::Redo(index));
        } else {
            line.push(b'.');
            let text = String::from_utf8_lossy(&line).into_owned();
            self.recv.reporter.problem(name, ProblemKind::Failed, text);
            self.recv.reporter.error_line(&line);
            self.recv.note(Note::Done { ndx: index, ok: false });
        }
        Ok(())
    }

    /// Whether unfinished content is kept, and has a free place.
    fn may_keep(&self, at: &Landing, name: &[u8], index: i32) -> Result<bool, Fatal> {
        match (&self.recv.opts.partial, at.place.name()) {
            _ if self.recv.opts.inplace => Ok(true),
            (Partial::Discard, _) | (_, None) => Ok(false),
            (Partial::Keep, Some(base)) => self.make_way(at, base, name, index),
            (Partial::Dir(_), Some(_)) => Ok(true),
        }
    }

    /// What arrived before the session broke stays as the options say.
    fn keep_partial(&mut self, target: Target, entry: &EntryView<'_>, name: &[u8], index: i32) {
        if let Target::Stage { stage, at, .. } = target
            && stage.written() > 0
            && self.may_keep(&at, name, index).unwrap_or(false)
        {
            self.keep_stage(stage, &at, entry, true);
        }
    }

    /// Gives unfinished content the place that the options say. Its time is that of its writing;
    /// what was cut off under the final name must not pass for the whole, where times are kept.
    fn keep_stage(&mut self, mut stage: Stage, at: &Landing, entry: &EntryView<'_>, cut: bool) {
        // In place, what was cut off has the attributes that it has.
        if !self.recv.opts.inplace || !cut {
            let wanted = attributes::wanted(&self.recv, entry, at.before);
            let shown_whole = cut && self.recv.opts.partial == Partial::Keep;
            let mtime = wanted.mtime.filter(|_| shown_whole).map(|_| (0, 0));
            let times = Times { mtime, ..wanted.times() };
            let _ = stage.finish_content();
            let _ = stage.set_attributes(wanted.uid, wanted.gid, times, wanted.perm);
        }
        if self.recv.opts.inplace {
            stage.leave();
        } else if let Some(base) = at.place.name()
            && let Some(keep) =
                crate::partial::keeping_place(&self.recv, &mut self.cache, &at.place)
        {
            let _ = stage.commit(&keep, base);
        }
    }
}

/// Copies one block of the basis to the target. A basis that shrank or is gone by now reads as
/// zeros: the digest will tell, and the file is asked for again.
fn copy_block(target: &mut Target, block: &mut Vec<u8>, offset: u64, len: u32) -> io::Result<()> {
    block.resize(len as usize, 0);
    let Target::Stage { stage, basis, own, .. } = target else { return Ok(()) };
    // A basis that can no longer be read makes a wrong digest.
    if basis.as_ref().is_none_or(|basis| basis.read_exact_at(block, offset).is_err()) {
        block.fill(0);
    }
    if *own && stage.is_in_place() && stage.position() == offset {
        stage.skip(u64::from(len))
    } else {
        stage.write(block)
    }
}

/// Makes the missing parents of a path.
fn make_parents(cache: &mut DirCache, path: &RelPathBuf) -> io::Result<()> {
    let mut missing = Vec::new();
    let mut at = path.parent();
    while at.name().is_some() && cache.dir(at).is_err() {
        missing.push(at.to_owned());
        at = at.parent();
    }
    for dir in missing.into_iter().rev() {
        if let Some(name) = dir.name() {
            cache.parent(&dir)?.mkdir(name, 0o777)?;
        }
    }
    Ok(())
}

/// Reads one list, checks its names, maps its owners and shares it.
pub fn read_segment(
    recv: &Receiving,
    reader: &mut LinkReader,
    decoder: &mut Decoder,
    number: i32,
    heading: Option<&Heading>,
) -> Result<Arc<Segment>, Fatal> {
    let start = {
        let mut lists = recv.lists.lock().map_err(|_| Fatal::silent(ExitCode::Crashed))?;
        if number >= 0 {
            lists.dirs.announce(number)?;
        }
        lists.next_start()
    };
    let parent_name = recv.lists.lock().ok().and_then(|l| l.dirs.name(number));
    decoder.begin_segment(start);
    let taken = reader.taken;
    let order = Order::of(recv.agreed.protocol);
    let mut list = FileList::new(start, (number >= 0).then_some(number))
        .in_order(order)
        .numbered_by_arrival(recv.agreed.charset.is_some());
    while let Some(mut entry) = decoder.next(reader)? {
        let named = take_names(recv, decoder, &mut entry, parent_name.as_deref())?;
        store_lists(recv, &mut entry);
        list.room()?;
        if !named {
            list.push_dropped(entry.mode);
            continue;
        }
        recv.control.listed.fetch_add(1, Ordering::Relaxed);
        let _ = recv.listed.lock().map(|mut listed| listed.add(entry.mode));
        if entry.is_reg() || entry.is_link() {
            recv.listed_size.fetch_add(entry.len, Ordering::Relaxed);
        }
        list.push(entry);
        if let Some(heading) = heading {
            heading.count(&recv.reporter, list.len());
        }
    }
    recv.flist_size.fetch_add(reader.taken - taken, Ordering::Relaxed);
    recv.reporter.add_io_error(decoder.take_io_error());
    // Whoever was asked for ids may be gone: nothing is made of what was listed without.
    recv.control.stopped()?;
    list.finish(true);
    if let Some(heading) = heading {
        heading.end(&recv.reporter, list.len() as u64);
    }
    if recv.opts.debug.has(DebugFlag::Dup) {
        tell_duplicates(recv, &list);
    }
    if !recv.agreed.inc() {
        crate::accept::check_parents(recv, &list)?;
        if recv.opts.prune_empty_dirs {
            list.prune_empty_dirs(&|name| {
                recv.filters.is_excluded(crate::scan::trim_root(name), true, Side::Receiver)
            });
        }
    }
    let mut lists = recv.lists.lock().map_err(|_| Fatal::silent(ExitCode::Crashed))?;
    Ok(lists.add(list, number)?)
}

/// Converts and checks what an entry is called; `false` for one whose name has no form here.
fn take_names(
    recv: &Receiving,
    decoder: &Decoder,
    entry: &mut Entry,
    parent: Option<&[u8]>,
) -> Result<bool, Fatal> {
    if let Some(charset) = &recv.agreed.charset {
        if !crate::charset::incoming(charset, entry, recv) {
            return Ok(false);
        }
        decoder.check(entry)?;
    }
    if let Some(parent) = parent {
        crate::accept::check_parent(entry, parent)?;
    }
    crate::accept::check_entry(recv, entry)?;
    Ok(true)
}

/// Keeps an entry's lists of rights and attributes, which later entries may name by number.
fn store_lists(recv: &Receiving, entry: &mut Entry) {
    if let Some(acls) = entry.acls.take() {
        entry.acls = recv.acls.lock().ok().map(|mut store| store.add(acls));
    }
    if let Some(Xattrs::List(mut list)) = entry.xattrs.take_if(|x| matches!(x, Xattrs::List(_))) {
        if recv.opts.rights.fakes() {
            list.iter_mut().for_each(|one| one.name = tree::xattr::faked_name(&one.name));
        }
        let store = recv.xattrs.lock().ok();
        let number = store.map(|mut store| store.add(list, &|name| recv.counts_xattr(name)));
        entry.xattrs = number.map(Xattrs::Number);
    }
}

/// Tells which entries do not count because others have their names. What comes while the roles are
/// at work each of the two finds, and says, for itself.
fn tell_duplicates(recv: &Receiving, list: &FileList) {
    let gone = (0..list.len()).zip(list.start()..).filter(|(at, _)| !list.is_active(*at));
    // A file that has the name of a directory is met where that stands.
    let met = |(at, ndx): (usize, i32)| {
        let name = list.get(at).name();
        (list.find(&name).map_or(at, |twin| twin.max(at)), ndx, name)
    };
    let mut gone: Vec<_> = gone.map(met).collect();
    gone.sort();
    for (_, ndx, name) in gone {
        let shown = crate::scan::trim_root(&name);
        let place = format!(" from file list ({ndx})\n").into_bytes();
        let line = [b"removing duplicate name ".as_slice(), shown, &place].concat();
        for _role in 0..if list.parent().is_some() { 2 } else { 1 } {
            recv.reporter.info(&line);
        }
    }
}

/// What a receiving side does with messages between data.
pub fn on_message(recv: &Arc<Receiving>, printer: ItemPrinter) -> crate::link::OnMessage {
    let recv = recv.clone();
    Box::new(move |message| {
        match &message {
            Message::NoSend(index) if recv.asked.withdraw(*index) => {
                recv.note(Note::Done { ndx: *index, ok: false });
            }
            Message::NoSend(_) => {}
            Message::Deleted { name, dir } => {
                printer.deleted(&recv.reporter, &recv.reporter.arrived(name), *dir, 0);
            }
            other => {
                recv.reporter.take_message(other);
            }
        }
        Ok(())
    })
}
