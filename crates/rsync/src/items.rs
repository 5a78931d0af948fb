//! Printing of items, deletions and progress: which lines a run shows, and when.
//!
//! Sender and receiver call the same [`ItemPrinter`]; a server's is silent but for its log.

use std::sync::{Arc, Mutex};
use std::time::Instant;

use wire::checksum::strong::{ChecksumKind, Digest};
use wire::exchange::goodbye::DelStats;
use wire::exchange::request::ItemHead;
use wire::flist::list::EntryView;
use wire::itemize::ItemFlags;

use crate::console::RunEvent;
use crate::counters::KindCounts;
use crate::heading::Heading;
use crate::lists::{Place, Segment};
use crate::options::Options;
use crate::report::format::{Item, Operation, OutFormat, Peer};
use crate::report::list_line::ListItem;
use crate::report::messages::Reporter;
use crate::report::progress::{INTERVAL, Left, ProgressLine};
use crate::setup::Agreed;

/// What is known of an item once its data has travelled.
#[derive(Clone, Copy, Debug, Default)]
pub struct ItemLine {
    /// Raw bytes it cost.
    pub bytes: u64,
    /// Digest of the whole file.
    pub digest: Option<Digest>,
    /// Bytes of block sums that came for it.
    pub sum_bytes: u64,
    /// Permissions it was given, on a receiving side.
    pub perm: Option<u32>,
}

struct Running {
    line: ProgressLine,
    files: u64,
    /// What was left behind the last file.
    left: Left,
    /// When an event was last told.
    told: Option<Instant>,
}

impl Running {
    /// Shows a line, which stays open or not, or tells a program of `done` bytes of the file in
    /// hand.
    fn tell(&mut self, reporter: &Reporter, text: &[u8], open: bool, done: u64, now: Instant) {
        if reporter.takes_events() {
            return self.event(reporter, done, now);
        }
        reporter.plain(text);
        reporter.set_line_open(open);
    }

    /// What goes to a program in place of a line, if it is time for it.
    fn event(&mut self, reporter: &Reporter, done: u64, now: Instant) {
        let recent = |told: &Instant| now.saturating_duration_since(*told) < INTERVAL;
        if !self.told.as_ref().is_some_and(recent) {
            self.told = Some(now);
            let sample = self.line.sample(done, self.files, self.left, now);
            reporter.event(&RunEvent::Progress(sample));
        }
    }
}

/// Decides what is shown of each item.
#[derive(Clone)]
pub struct ItemPrinter {
    opts: Arc<Options>,
    format: Option<Arc<OutFormat>>,
    sending: bool,
    /// Local copies show `>` though this side sends.
    local: bool,
    progress: Option<Arc<Mutex<Running>>>,
    heading: Option<Arc<Heading>>,
    /// The kind of digest that lines show.
    sum: ChecksumKind,
    log: Option<Arc<ItemLog>>,
    /// A daemon's log names what is made or changed here without data, as `-v` asks.
    names: bool,
}

/// How a log tells of items.
#[derive(Debug)]
pub struct ItemLog {
    format: OutFormat,
    peer: Option<Peer>,
    /// All that is itemized, not only what has arrived.
    whole: bool,
}

/// `--log-file-format` unless given.
const LOG_FORMAT: &[u8] = b"%i %n%L";

impl ItemLog {
    /// A daemon's transfer log.
    pub fn of_transfers(format: OutFormat, peer: Peer) -> ItemLog {
        ItemLog { whole: format.uses(b'i'), format, peer: Some(peer) }
    }

    /// That of `--log-file` on a server that receives: without the letters of items it tells what
    /// has arrived.
    pub fn of_receiver(opts: &Options) -> Option<ItemLog> {
        let log = ItemLog::of_run(opts)?;
        Some(ItemLog { whole: log.format.uses(b'i'), ..log })
    }

    /// That of `--log-file`, where there is one.
    pub fn of_run(opts: &Options) -> Option<ItemLog> {
        let text = opts.log.format.as_deref().unwrap_or(LOG_FORMAT);
        let format = OutFormat::parse(text);
        opts.log.file.as_ref().map(|_| ItemLog { format, peer: None, whole: true })
    }
}

impl ItemPrinter {
    /// The printer of a client.
    pub fn client(opts: Arc<Options>, sending: bool, local: bool) -> ItemPrinter {
        let format = opts.out_format.as_ref().map(|text| Arc::new(OutFormat::parse(text)));
        let shows = opts.info.progress > u8::from(opts.dry_run) && !opts.quiet && !opts.list_only;
        let progress = shows.then(|| {
            let line = ProgressLine::new(opts.info.progress, opts.human, Instant::now());
            Arc::new(Mutex::new(Running { line, files: 0, left: Left::default(), told: None }))
        });
        ItemPrinter {
            log: ItemLog::of_run(&opts).map(Arc::new),
            names: false,
            opts,
            format,
            sending,
            local,
            progress,
            heading: None,
            sum: ChecksumKind::None,
        }
    }

    /// The printer of a server, which shows nothing and may log.
    pub fn server(opts: Arc<Options>, sending: bool, log: Option<ItemLog>) -> ItemPrinter {
        ItemPrinter {
            opts,
            format: None,
            sending,
            local: false,
            progress: None,
            heading: None,
            sum: ChecksumKind::None,
            log: log.map(Arc::new),
            names: false,
        }
    }

    /// A daemon's, where it receives.
    pub fn naming(self) -> ItemPrinter {
        let whole = self.log.as_ref().is_some_and(|log| log.whole);
        ItemPrinter { names: !whole && self.opts.info.name > 0, ..self }
    }

    /// A server's printer for what the protocol has no records of, so that only this side can tell
    /// it: names, where they are told.
    pub fn for_untold(&self) -> ItemPrinter {
        let names = || Arc::new(OutFormat::parse(b"%n%L"));
        ItemPrinter { format: (self.opts.info.name > 0).then(names), ..self.clone() }
    }

    /// Learns which sums the two sides agreed on.
    pub fn set_sums(&mut self, agreed: &Agreed) {
        self.sum = if self.opts.checksum { agreed.list_sum } else { agreed.transfer_sum.kind };
    }

    /// The digest that a line shows: with `--checksum` the listed one, else that of the transfer.
    fn shown_digest(
        &self,
        view: &EntryView<'_>,
        done: Option<&ItemLine>,
        transfers: bool,
    ) -> Option<Vec<u8>> {
        let mut digest = match self.opts.checksum {
            true => view.digest().filter(|_| view.is_reg())?.to_vec(),
            // A dry run has no digest of what it does not transfer.
            false if self.opts.dry_run && transfers => vec![0; self.sum.digest_len()],
            false => done?.digest?.as_bytes().to_vec(),
        };
        match self.sum {
            ChecksumKind::None | ChecksumKind::ImpliedMd4 => return None,
            // Shown as numbers, which travel with the low byte first.
            ChecksumKind::Xxh128 | ChecksumKind::Xxh3 | ChecksumKind::Xxh64 => digest.reverse(),
            ChecksumKind::Md5 | ChecksumKind::Md4 | ChecksumKind::Sha1 => {}
        }
        Some(digest)
    }

    /// The file list begins.
    pub fn begin_list(&mut self, reporter: &Reporter, inc: bool) {
        crate::run_log::begin(reporter, self.sending);
        self.heading = Heading::begin(&self.opts, reporter, self.sending, inc).map(Arc::new);
    }

    /// What tells how the list grows.
    pub fn heading(&self) -> Option<&Arc<Heading>> {
        self.heading.as_ref()
    }

    /// The file list is complete.
    pub fn end_list(&self, reporter: &Reporter, entries: u64) {
        if let Some(heading) = &self.heading {
            heading.end(reporter, entries);
        }
    }

    /// Whether lines need numbers that are known only after the transfer.
    pub fn after_transfer(&self) -> bool {
        let needs = |f: &Option<Arc<OutFormat>>| f.as_ref().is_some_and(|f| f.needs_transfer());
        let log = self.log.as_ref();
        needs(&self.format)
            || log
                .is_some_and(|log| log.peer.is_some() || !log.whole || log.format.needs_transfer())
    }

    /// Shows one item as its record passes by.
    pub fn item<'a>(
        &self,
        reporter: &Reporter,
        segment: &Segment,
        place: &Place,
        head: &ItemHead,
        done: Option<&ItemLine>,
        given: &dyn Fn(u16) -> &'a [u8],
    ) {
        if self.format.is_none() && self.log.is_none() {
            return;
        }
        with_view(segment, place, |view| self.show(reporter, view, head, done, given));
    }

    fn show<'a>(
        &self,
        reporter: &Reporter,
        view: &EntryView<'_>,
        head: &ItemHead,
        done: Option<&ItemLine>,
        given: &dyn Fn(u16) -> &'a [u8],
    ) {
        if let Some(format) = &self.format {
            let events = reporter.takes_events();
            let letters = events || format.uses(b'i');
            if self.is_seen(view, head, letters) {
                let item = self.render_item(view, head, done, given);
                match events {
                    true => reporter.event(&RunEvent::Item {
                        change: &item.itemize,
                        path: &item.name,
                        size: item.len,
                        link: item.target.as_ref().map(|(hard, text)| (*hard, text.as_slice())),
                    }),
                    false => reporter.say(&format.render(&item)),
                }
            }
        }
        if let Some(log) = &self.log
            && self.is_logged(log, view, head, done)
        {
            reporter.log_line(&log.format.render(&self.render_item(view, head, done, given)));
        }
    }

    /// Names in a daemon's log what is made or changed here without data.
    pub fn name_item(
        &self,
        reporter: &Reporter,
        segment: &Segment,
        place: &Place,
        head: &ItemHead,
    ) {
        if !self.names {
            return;
        }
        with_view(segment, place, |view| {
            if self.is_significant(view, head, false) {
                let item = self.render_item(view, head, None, &|_| b"");
                reporter.log_line(&OutFormat::parse(b"%n%L").render(&item));
            }
        });
    }

    /// Whether [`ItemPrinter::name_item`] may have something to say.
    pub fn names_items(&self) -> bool {
        self.names
    }

    /// Whether a client has a line for it.
    fn is_seen(&self, view: &EntryView<'_>, head: &ItemHead, letters: bool) -> bool {
        self.is_significant(view, head, letters) || self.opts.info.name > 1 && letters
    }

    /// Whether a line is worth its while, which may have `letters`: without them there is nothing to
    /// show of a file whose attributes alone change.
    fn is_significant(&self, view: &EntryView<'_>, head: &ItemHead, letters: bool) -> bool {
        let made = head.iflags.contains(ItemFlags::TRANSFER)
            || head.iflags.contains(ItemFlags::LOCAL_CHANGE);
        let all =
            self.opts.itemize > 1 && self.opts.shows_letters() && (letters || !self.opts.server);
        is_changed(head) && (made || view.is_dir() || letters) || all
    }

    fn is_logged(
        &self,
        log: &ItemLog,
        view: &EntryView<'_>,
        head: &ItemHead,
        done: Option<&ItemLine>,
    ) -> bool {
        let transfer = head.iflags.contains(ItemFlags::TRANSFER);
        if !log.whole {
            // The log tells what has arrived.
            return done.is_some() && transfer;
        }
        // A dry run transfers nothing, and a server has nothing to tell of it.
        let dry = self.opts.dry_run && (transfer || self.opts.server);
        if dry || log.format.is_empty() {
            return false;
        }
        let logs_letters = log.format.uses(b'i');
        if self.opts.server {
            return self.is_significant(view, head, logs_letters);
        }
        // A client logs what it shows, or would show without `-q`.
        let letters = self.format.as_ref().is_some_and(|format| format.uses(b'i'));
        self.is_seen(view, head, letters) && (is_changed(head) || logs_letters)
    }

    fn render_item<'a>(
        &self,
        view: &EntryView<'_>,
        head: &ItemHead,
        done: Option<&ItemLine>,
        given: &dyn Fn(u16) -> &'a [u8],
    ) -> Item {
        let towards = if self.sending && !self.local { b'<' } else { b'>' };
        let target = match (&head.xname, view.link_target()) {
            (Some(leader), _)
                if !leader.is_empty() && !head.iflags.contains(ItemFlags::TRANSFER) =>
            {
                Some((true, leader.clone()))
            }
            (_, Some(text)) if self.opts.links => Some((false, text.to_vec())),
            _ => None,
        };
        Item {
            name: self.shown_name(view),
            long_name: long_name(given(view.root()), &view.name()),
            mode: done
                .and_then(|d| d.perm)
                .map_or(view.mode(), |perm| view.mode() & 0o170_000 | perm & 0o7777),
            len: view.len(),
            mtime: view.mtime(),
            uid: view.uid(),
            gid: self.opts.group.then(|| view.gid()),
            target,
            itemize: crate::itemize_line::letters(&self.opts, head.iflags, view, towards),
            operation: if self.sending { Operation::Send } else { Operation::Receive },
            bytes: done.map_or(0, |d| d.bytes),
            sum_bytes: done.map_or(0, |d| d.sum_bytes),
            digest: self.shown_digest(view, done, head.iflags.contains(ItemFlags::TRANSFER)),
            digest_len: self.sum.digest_len(),
            peer: self.log.as_ref().and_then(|log| log.peer.clone()),
        }
    }

    /// The name as printed: a receiving side has dropped leading slashes.
    fn shown_name(&self, view: &EntryView<'_>) -> Vec<u8> {
        let name = display_name(view);
        if self.sending { name } else { crate::scan::trim_root(&name).to_vec() }
    }

    /// Whether lines show modes.
    pub fn shows_modes(&self) -> bool {
        let formats = [self.format.as_deref(), self.log.as_ref().map(|log| &log.format)];
        formats.into_iter().flatten().any(|format| format.uses(b'B'))
    }

    /// Shows a deletion, of something that had a mode if that is known, else 0.
    pub fn deleted(&self, reporter: &Reporter, name: &[u8], dir: bool, mode: u32) {
        self.log_deleted(reporter, name, dir, mode);
        let format = self.format.as_deref();
        if reporter.takes_events() {
            reporter.event(&RunEvent::Deleted { path: &with_slash(name, dir) });
        } else if self.opts.info.del > 0 || format.is_some() {
            reporter.say(&self.deletion_line(format, name, dir, mode));
        }
    }

    /// Shows a deletion that the protocol has no message for, from a server.
    pub fn deleted_untold(&self, reporter: &Reporter, name: &[u8], dir: bool, mode: u32) {
        let format = self.opts.out_format.as_ref().map(|text| Arc::new(OutFormat::parse(text)));
        ItemPrinter { format, ..self.clone() }.deleted(reporter, name, dir, mode);
    }

    /// Notes one in the log.
    pub fn log_deleted(&self, reporter: &Reporter, name: &[u8], dir: bool, mode: u32) {
        if let Some(log) = self.log.as_ref().filter(|_| !self.opts.dry_run) {
            reporter.log_line(&self.deletion_line(Some(&log.format), name, dir, mode));
        }
    }

    /// In the words of a format, where it has some for deletions.
    fn deletion_line(
        &self,
        format: Option<&OutFormat>,
        name: &[u8],
        dir: bool,
        mode: u32,
    ) -> Vec<u8> {
        let shown = with_slash(name, dir);
        match format.filter(|format| format.shows_deletions()) {
            Some(format) => format.render(&Item {
                name: shown,
                long_name: name.to_vec(),
                mode,
                gid: self.opts.group.then_some(0),
                itemize: *b"*deleting  ",
                operation: Operation::Delete,
                digest_len: self.sum.digest_len(),
                peer: self.log.as_ref().and_then(|log| log.peer.clone()),
                ..Item::default()
            }),
            None => [b"deleting ".as_slice(), &shown, b"\n"].concat(),
        }
    }

    /// A file's data begins; `total` is the size of everything listed so far, and `left` what
    /// comes behind it.
    pub fn begin_progress(&self, size: u64, total: u64, left: Left) {
        if let Some(mut running) = self.running() {
            running.left = left;
            running.line.set_total(total);
            running.line.begin(size, Instant::now());
        }
    }

    /// A file would have been transferred.
    pub fn pass_progress(&self, size: u64) {
        if let Some(mut running) = self.running() {
            running.files += 1;
            running.line.pass(size);
        }
    }

    /// More of it has travelled.
    pub fn progress(&self, reporter: &Reporter, done: u64) {
        let Some(mut running) = self.running() else { return };
        let now = Instant::now();
        let Some(text) = running.line.update(done, now) else { return };
        running.tell(reporter, &text, true, done, now);
    }

    /// All of it has.
    pub fn end_progress(&self, reporter: &Reporter, left: Left) {
        if let Some(mut running) = self.running() {
            running.files += 1;
            let (files, now) = (running.files, Instant::now());
            let text = running.line.end(files, left, now);
            let open = running.line.whole();
            running.tell(reporter, &text, open, 0, now);
        }
    }

    /// A list or a phase is over, after which `left` is to come: the progress of the whole run is
    /// shown anew, since nothing may have been transferred.
    pub fn whole_progress(&self, reporter: &Reporter, left: Left, total: u64) {
        if let Some(mut running) = self.running()
            && running.line.whole()
        {
            running.left = left;
            running.line.set_total(total);
            let (files, now) = (running.files, Instant::now());
            let text = running.line.again(files, left, now);
            running.tell(reporter, &text, true, 0, now);
        }
    }

    fn running(&self) -> Option<std::sync::MutexGuard<'_, Running>> {
        self.progress.as_ref().and_then(|running| running.lock().ok())
    }
}

/// A name as items show it.
fn with_slash(name: &[u8], dir: bool) -> Vec<u8> {
    let slash: &[u8] = if dir { b"/" } else { b"" };
    [name, slash].concat()
}

/// Whether a record tells of a difference, or of the leader of a hard link.
fn is_changed(head: &ItemHead) -> bool {
    head.iflags.is_reportable() || head.xname.as_ref().is_some_and(|leader| !leader.is_empty())
}

/// Does something with an entry, which a list has or which is the directory of one.
fn with_view(segment: &Segment, place: &Place, work: impl FnOnce(&EntryView<'_>)) {
    match (place, &segment.dir) {
        (Place::Entry(pos), _) => work(&segment.list.get(*pos)),
        (Place::Dir, Some(dir)) => work(&wire::flist::list::single(dir.clone()).get(0)),
        (Place::Dir, None) => {}
    }
}

/// The name as printed: a directory's with a slash.
pub fn display_name(view: &EntryView<'_>) -> Vec<u8> {
    let mut name = view.name();
    if view.is_dir() {
        name.push(b'/');
    }
    name
}

fn long_name(given: &[u8], name: &[u8]) -> Vec<u8> {
    let base = crate::scan::clean(given);
    let rel = crate::scan::trim_root(name);
    let joined = match (base.as_slice(), rel) {
        (b"", _) => rel.to_vec(),
        _ => [base.as_slice(), b"/", rel].concat(),
    };
    joined.strip_prefix(b"/").map_or(joined.clone(), <[u8]>::to_vec)
}

/// Counts of deletions as counters.
pub fn deleted_counts(stats: &DelStats) -> KindCounts {
    KindCounts {
        files: u64::from(stats.files),
        dirs: u64::from(stats.dirs),
        links: u64::from(stats.links),
        devices: u64::from(stats.devices),
        specials: u64::from(stats.specials),
    }
}

/// One `--list-only` line.
pub fn list_line(opts: &Options, view: &EntryView<'_>, zone: &jiff::tz::TimeZone) -> Vec<u8> {
    let name = view.name();
    let item = ListItem {
        name: crate::scan::trim_root(&name),
        mode: view.mode(),
        len: view.len(),
        mtime: view.mtime(),
        atime: opts.atimes.then(|| (!view.is_dir()).then(|| view.atime())),
        link_target: view.link_target().filter(|_| opts.links),
    };
    let mut line = crate::report::list_line::render(&item, opts.human, zone);
    line.push(b'\n');
    line
}
