//! From an agreed set-up to the end: starts the roles of one side and joins them.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use crossbeam_channel::unbounded;
use tree::owner::SharedNames;
use wire::exit::ExitCode;
use wire::filter::RequestedNames;
use wire::filter::{FilterList, Side};
use wire::flist::decode::Decoder;
use wire::ndx::{self, NdxReader};

use crate::asked::AskedFiles;
use crate::chmod::ChmodRules;
use crate::counters::Counters;
use crate::daemon::rules::hides;
use crate::dest::{DestStart, FirstList};
use crate::fatal::Fatal;
use crate::flist_options::flist_options;
use crate::generator::Generator;
use crate::id_map::IdMap;
use crate::items::ItemPrinter;
use crate::link::{LinkReader, LinkWriter};
use crate::lists::Lists;
use crate::options::Partial;
use crate::receiver::{ReceiverRole, read_segment};
use crate::receiving::{Note, Privileges, Receiving, SideDirs};
use crate::report::messages::Role;
use crate::setup::RoleSetup;
use crate::xattrs::XattrStore;

/// How long a side that gave up waits for the other to notice, in seconds.
const FAREWELL_S: u32 = 60;

/// Everything the receiving side needs from whoever set the session up.
pub struct ReceivingSetup {
    /// What both directions need.
    pub role: RoleSetup,
    /// Rules of the client.
    pub filters: FilterList,
    /// Rules of the daemon.
    pub daemon_filters: Option<FilterList>,
    /// `incoming chmod` of the daemon.
    pub daemon_chmod: Option<ChmodRules>,
    /// Names the sender may send; `None` trusts it.
    pub requested: Option<RequestedNames>,
    /// Where the destination is looked up.
    pub start: DestStart,
    /// The destination argument.
    pub dest: Vec<u8>,
    /// Whether files are copied as a whole unless options say otherwise.
    pub local: bool,
    /// Whether symlink texts get the munging prefix.
    pub munge: bool,
    /// Whether texts of symlinks are made to stay below the top of the transfer.
    pub tames_links: bool,
    /// Who knows ids of owners, where that is not the system.
    pub names: Option<SharedNames>,
}

/// What a receiving side hands back.
pub struct ReceiveEnd {
    /// Numbers of the run.
    pub counters: Counters,
    /// The halves of the connection, for what follows an error.
    pub writer: Option<LinkWriter>,
    /// Whether there was anything to do, so that the roles ran.
    pub started: bool,
    /// How it ended.
    pub result: Result<(), Fatal>,
}

impl ReceiveEnd {
    /// Nothing was run.
    fn not_started(writer: LinkWriter, result: Result<(), Fatal>) -> ReceiveEnd {
        ReceiveEnd { counters: Counters::default(), writer: Some(writer), started: false, result }
    }
}

/// Runs generator and receiver to the end.
pub fn receive(setup: ReceivingSetup) -> ReceiveEnd {
    let (notes, inbox) = unbounded();
    let wake = notes.clone();
    setup.role.writer.posts().set_wake(Box::new(move || {
        let _ = wake.send(Note::Wake);
    }));
    let ReceivingParts { mut recv, mut reader, writer, printer, dest } = match parts(setup, notes) {
        Ok(parts) => parts,
        Err(failed) => return ReceiveEnd::not_started(failed.0, Err(failed.1)),
    };
    let mut decoder = Decoder::new(flist_options(&recv.opts, &recv.agreed));
    let mut ndx_in = NdxReader::of(recv.agreed.protocol);
    let started = first_lists(&recv, &mut reader, &mut decoder, &mut ndx_in, &printer);
    let empty = match started.and_then(|()| prepare(&mut recv, &dest)) {
        Ok(empty) => empty,
        Err(fatal) => return give_up(&recv, reader, writer, fatal),
    };
    if empty && !recv.server {
        return ReceiveEnd::not_started(writer, Ok(()));
    }
    let shown = recv.shown.clone();
    recv.filters.set_side(Side::Receiver);
    recv.filters.set_root(if shown.starts_with(b"/") { &shown } else { b"/" });
    let recv = Arc::new(recv);
    reader.set_on_message(crate::receiver::on_message(&recv, printer.clone()));
    let role = match ReceiverRole::new(recv.clone(), reader, decoder, ndx_in, printer.clone()) {
        Ok(role) => role,
        Err(fatal) => return ReceiveEnd::not_started(writer, Err(fatal)),
    };
    let generator = Generator::new(recv.clone(), writer, inbox, printer);
    join(recv, role, generator)
}

/// A set-up taken apart: what is shared, and what each role gets.
struct ReceivingParts {
    recv: Receiving,
    reader: LinkReader,
    writer: LinkWriter,
    printer: ItemPrinter,
    dest: Vec<u8>,
}

fn parts(
    setup: ReceivingSetup,
    notes: crossbeam_channel::Sender<Note>,
) -> Result<ReceivingParts, Box<(LinkWriter, Fatal)>> {
    let root = match setup.start.root() {
        Ok(root) => root,
        Err(error) => {
            let fatal = Fatal::new(ExitCode::FileSelect, error.to_string());
            return Err(Box::new((setup.role.writer, fatal)));
        }
    };
    let RoleSetup { opts, agreed, reader, writer, reporter, control, mut printer, server } =
        setup.role;
    printer.set_sums(&agreed);
    let recv = Receiving {
        traffic: reader.traffic().clone(),
        reporter,
        control,
        lists: Mutex::new(Lists::new(agreed.inc())),
        root,
        shown: Vec::new(),
        top_slash: setup.start.top_slash(),
        rename: None,
        dest_missing: false,
        dest_made: false,
        ids: Mutex::new(IdMap::new(&opts, setup.names)),
        acls: Mutex::default(),
        xattrs: Mutex::new(XattrStore::of_batch(opts.batch.read.is_some())),
        privileges: Privileges {
            root: opts.rights.super_user.is_super(tree::owner::am_root()),
            uid: tree::owner::effective_uid(),
            umask: tree::owner::umask(),
        },
        side: SideDirs::default(),
        start: setup.start,
        filters: setup.filters,
        daemon_filters: setup.daemon_filters,
        daemon_chmod: setup.daemon_chmod,
        chmod: ChmodRules::from_options(&opts.chmod).ok().flatten().filter(|_| !server),
        whole_file: opts.whole_file.unwrap_or(setup.local),
        local: setup.local,
        server,
        munge: setup.munge,
        tames_links: setup.tames_links,
        requested: setup.requested,
        notes,
        wants: opts.batch.read.is_some().then(Default::default),
        listed: Mutex::new(crate::counters::KindCounts::default()),
        flist_size: AtomicU64::new(0),
        listed_size: AtomicU64::new(0),
        literal: AtomicU64::new(0),
        matched: AtomicU64::new(0),
        asked: AskedFiles::default(),
        agreed,
        opts,
    };
    Ok(ReceivingParts { recv, reader, writer, printer, dest: setup.dest })
}

/// Ends before the roles exist: says why, tells the peer, waits for it to go.
fn give_up(
    recv: &Receiving,
    mut reader: LinkReader,
    mut writer: LinkWriter,
    mut fatal: Fatal,
) -> ReceiveEnd {
    if recv.server {
        crate::server::explain(&recv.reporter, Role::SoleReceiver, &fatal);
        fatal.explained = true;
    }
    fatal.role = fatal.role.or(Some(Role::SoleReceiver));
    crate::farewell::announce(&recv.agreed, &mut writer, &fatal);
    crate::farewell::wait_for_peer(&recv.agreed, &mut reader, &fatal);
    ReceiveEnd {
        counters: Counters::default(),
        writer: Some(writer),
        started: false,
        result: Err(fatal),
    }
}

/// Runs the two roles, the receiver on a thread of its own.
fn join(recv: Arc<Receiving>, mut role: ReceiverRole, mut generator: Generator) -> ReceiveEnd {
    let spawned = std::thread::Builder::new().name("receiver".into()).spawn(move || {
        let result = role.run();
        (result, role)
    });
    let handle = match spawned {
        Ok(handle) => handle,
        Err(error) => {
            let text = format!("cannot start a thread: {error}");
            let result = Err(Fatal::new(ExitCode::Ipc, text));
            return ReceiveEnd {
                counters: Counters::default(),
                writer: Some(generator.writer),
                started: true,
                result,
            };
        }
    };
    let generated = generator.run();
    recv.asked.end();
    if let Some(wants) = &recv.wants {
        wants.end();
    }
    let deleted = generator.deleted;
    let mut writer = Some(generator.writer);
    let mut result = generated;
    let mut told = false;
    if let Err(fatal) = &mut result
        && let Some(writer) = &mut writer
    {
        if recv.server && !fatal.explained {
            crate::server::explain(&recv.reporter, Role::Generator, fatal);
            fatal.explained = true;
        }
        crate::farewell::announce(&recv.agreed, writer, fatal);
        told = true;
        // The peer ends once it has read this; until then its data is read and dropped.
        recv.traffic.set_timeout(FAREWELL_S);
        if fatal.from_peer
            || !recv.agreed.protocol.has_error_exit()
            || matches!(fatal.exit, ExitCode::Signal | ExitCode::SocketIo)
        {
            writer.shut_down();
        }
    }
    let mut counters = Counters::default();
    if let Ok((received, role)) = handle.join() {
        counters = role.counters;
        let stats = role.stats;
        if let Some(stats) = &stats {
            counters.take_server_stats(stats);
        }
        if let (true, Err(fatal)) = (told, &result) {
            crate::farewell::wait_for_peer(&recv.agreed, &mut role.into_reader(), fatal);
        }
        if result.is_ok() {
            result = received;
        }
    }
    counters.listed = recv.listed.lock().map(|l| *l).unwrap_or_default();
    if recv.server {
        // A client has the total from the sender's statistics.
        counters.total_size = recv.listed_size.load(Ordering::Relaxed);
    }
    counters.flist_size = recv.flist_size.load(Ordering::Relaxed);
    counters.literal = recv.literal.load(Ordering::Relaxed);
    counters.matched = recv.matched.load(Ordering::Relaxed);
    counters.deleted = crate::items::deleted_counts(&deleted);
    ReceiveEnd { counters, writer, started: true, result }
}

/// Reads the first list, and where one entry leaves it open what the destination is, one more.
fn first_lists(
    recv: &Receiving,
    reader: &mut LinkReader,
    decoder: &mut Decoder,
    ndx_in: &mut NdxReader,
    printer: &ItemPrinter,
) -> Result<(), Fatal> {
    if let Ok(mut ids) = recv.ids.lock() {
        ids.read_maps(&recv.opts, &recv.reporter)?;
    }
    recv.control.stopped()?;
    let heading = printer.heading().map(Arc::as_ref);
    let segment = read_segment(recv, reader, decoder, -1, heading)?;
    if !recv.agreed.inc() {
        if !recv.opts.numeric_ids {
            let names = decoder.id_lists(reader)?;
            if let Ok(mut ids) = recv.ids.lock() {
                names.users.iter().for_each(|(id, name)| ids.learn_user(*id, name));
                names.groups.iter().for_each(|(id, name)| ids.learn_group(*id, name));
            }
            recv.control.stopped()?;
        }
        decoder.last_word(reader)?;
        recv.reporter.add_io_error(decoder.take_io_error());
        recv.control.list_complete.store(true, Ordering::Release);
        recv.note(Note::Segment(segment));
        return Ok(());
    }
    let single = segment.list.len() == 1;
    recv.note(Note::Segment(segment));
    if single {
        match ndx_in.get(reader)? {
            ndx::FLIST_EOF => {
                if let Ok(mut lists) = recv.lists.lock() {
                    lists.complete = true;
                }
                recv.note(Note::ListComplete);
            }
            index if index <= ndx::FLIST_OFFSET => {
                let number = ndx::FLIST_OFFSET.saturating_sub(index);
                let segment = read_segment(recv, reader, decoder, number, None)?;
                recv.note(Note::Segment(segment));
            }
            other => {
                return Err(wire::error::Error::misbehaved(
                    ExitCode::Protocol,
                    "ndx",
                    format!("Invalid file index: {other}"),
                )
                .into());
            }
        }
    }
    Ok(())
}

/// Opens the destination and the directories options name; true when there is nothing to do.
fn prepare(recv: &mut Receiving, dest: &[u8]) -> Result<bool, Fatal> {
    let first = {
        let lists = recv.lists.lock().map_err(|_| Fatal::silent(ExitCode::Crashed))?;
        let list = lists.oldest().cloned();
        FirstList {
            entries: lists.total,
            begins_at_top: list
                .as_ref()
                .is_some_and(|s| !s.list.is_empty() && s.list.get(0).base_name() == b"."),
            first_is_dir: list.is_some_and(|s| !s.list.is_empty() && s.list.get(0).is_dir()),
        }
    };
    if first.entries == 0 && !recv.server {
        return Ok(true);
    }
    if recv.opts.list_only {
        // No destination is entered, so that what options name is looked for from here.
        let start = recv.start.clone();
        recv.shown = start.shown(b".");
        look_beside(recv, &start, b".")?;
        return Ok(false);
    }
    let named = crate::scan::clean(crate::scan::trim_root(dest));
    // A path with an anchor is looked at entry by entry.
    if let Some(filters) = &recv.daemon_filters
        && !(recv.opts.relative && dest.starts_with(b"./"))
        && [true, false].iter().any(|is_dir| filters.is_excluded(&named, *is_dir, Side::Receiver))
    {
        let top: &[u8] = if recv.start.is_process_root() { b"/" } else { b"" };
        let text = [b"ERROR: daemon has excluded destination \"", top, dest, b"\""].concat();
        return Err(Fatal::bare(ExitCode::FileSelect, text));
    }
    let start = recv.start.clone();
    let chosen = crate::dest::choose(&recv.opts, &start, dest, &first, &recv.reporter)?;
    recv.root = chosen.root.faking(recv.opts.rights.fakes());
    recv.shown = chosen.shown;
    recv.rename = chosen.rename;
    recv.dest_missing = chosen.missing;
    recv.dest_made = chosen.made && first.begins_at_top;
    look_beside(recv, &start, dest)?;
    Ok(false)
}

/// Looks for the directories that options name, those of `--link-dest` and its kin first.
fn look_beside(recv: &mut Receiving, start: &DestStart, dest: &[u8]) -> Result<(), Fatal> {
    let basis = crate::basis::open_all(recv, dest)?;
    recv.side = SideDirs { basis, ..side_dirs(recv, start)? };
    Ok(())
}

/// Opens `--temp-dir`; the others are opened when something needs them.
fn side_dirs(recv: &Receiving, start: &DestStart) -> Result<SideDirs, Fatal> {
    let mut side = SideDirs::default();
    if let (Some(filters), Partial::Dir(dir)) = (&recv.daemon_filters, &recv.opts.partial)
        && dir.starts_with(b"/")
        && hides(filters, &crate::scan::clean(crate::scan::trim_root(dir)), true)
    {
        let text = "Your options have been rejected by the server.";
        return Err(Fatal::bare(ExitCode::Syntax, text));
    }
    if let Some(dir) = &recv.opts.backup_dir {
        let place = start.side_path(&recv.shown, dir);
        let looked = start.open_side(&recv.root, &place);
        tree::operator::take_refusal();
        let error = looked.err().map(|error| error.kind());
        if error == Some(std::io::ErrorKind::NotADirectory) {
            let text = [b"The backup-dir is not a directory: ".as_slice(), dir].concat();
            return Err(Fatal::bare(ExitCode::Syntax, text));
        }
        if recv.opts.info.backup > 0 {
            let new: &[u8] =
                if error == Some(std::io::ErrorKind::NotFound) { b"(new) " } else { b"" };
            recv.reporter.info(&[new, b"backup_dir is ", dir, b"\n"].concat());
        }
    }
    if let Some(temp) = &recv.opts.temp_dir {
        let looked = start.open_side(&recv.root, temp);
        // A symlink that is not followed costs each file, and the run goes on; so does a way up.
        side.temp_refused = match looked {
            Ok(_) => recv.climbs(temp),
            Err(error) => error.raw_os_error() == Some(libc::ELOOP),
        };
        tree::operator::take_refusal();
    }
    if let Some(temp) = recv.opts.temp_dir.as_ref().filter(|_| !side.temp_refused) {
        side.temp = Some(start.side_dir(&recv.root, temp, "temp-dir")?.top().clone());
    }
    Ok(side)
}
