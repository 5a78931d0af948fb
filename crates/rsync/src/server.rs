//! The `--server` side of a transfer: over a remote shell, behind a daemon, or as the other half
//! of a local copy.

use std::sync::Arc;

use tree::owner::SharedNames;
use tree::root::Root;
use wire::exit::ExitCode;
use wire::filter::FilterList;
use wire::message::{Message, MessagePolicy};
use wire::version::Protocol;

use crate::charset::Charset;
use crate::chmod::ChmodRules;
use crate::console::Console;
use crate::control::Control;
use crate::dest::DestStart;
use crate::fatal::Fatal;
use crate::files_from;
use crate::handover::HandedFile;
use crate::items::{ItemLog, ItemPrinter};
use crate::link::{LinkReader, LinkWriter, Traffic};
use crate::options::{Options, StderrMode};
use crate::remove_source::Successes;
use crate::report::messages::{Outlet, Reporter, Role};
use crate::scan::{ScanRules, Scanner, SourceStart};
use crate::sender::Sender;
use crate::session::{ReceivingSetup, receive};
use crate::setup::{self, Agreed, NameLists, RoleSetup};
use crate::transport::Streams;

/// What a daemon adds to a server: its rules, its place, its log.
pub struct DaemonPart {
    /// Protocol of the greeting.
    pub protocol: Protocol,
    /// The module's directory.
    pub root: Root,
    /// That directory is the root of the process.
    pub confined: bool,
    /// Name of the module, for messages.
    pub module: Vec<u8>,
    /// The daemon's rules.
    pub filters: FilterList,
    /// `outgoing chmod`.
    pub outgoing_chmod: Option<ChmodRules>,
    /// `incoming chmod`.
    pub incoming_chmod: Option<ChmodRules>,
    /// Who knows names and ids of owners, where that is not the system.
    pub names: Option<SharedNames>,
    /// Whether symlinks are munged.
    pub munge: bool,
    /// Whether a listing leaves out what cannot be read.
    pub ignore_nonreadable: bool,
    /// Module timeout in seconds, told to the client; 0 none.
    pub timeout_s: u32,
    /// Where log lines go.
    pub log: crate::report::messages::LogSink,
    /// Format and peer of the transfer log.
    pub transfer_log: Option<ItemLog>,
    /// How names are converted, where they are.
    pub charset: Option<Arc<Charset>>,
    /// A refusal of options, to be told once the client can read it: whole lines.
    pub refusal: Option<Vec<u8>>,
    /// Why the module cannot be read, or written.
    pub denied: Option<&'static str>,
}

/// One server run.
pub struct ServerRun {
    /// Options the client sent.
    pub opts: Options,
    /// What followed the `.` of the command line.
    pub paths: Vec<Vec<u8>>,
    /// The connection.
    pub streams: Streams,
    /// Bytes read ahead of it.
    pub buffered: Vec<u8>,
    /// This process's standard error.
    pub console: Arc<dyn Console>,
    /// The daemon this server belongs to.
    pub daemon: Option<DaemonPart>,
    /// The directory that nothing may leave, where a key serves only one. Never beside a daemon.
    pub restricted: Option<Root>,
    /// To ask it to stop.
    pub control: Arc<Control>,
}

/// How a run ended.
pub struct ServerEnd {
    /// Exit code.
    pub exit: ExitCode,
}

/// Serves one client.
pub fn run(run: ServerRun) -> ServerEnd {
    let mut opts = run.opts;
    opts.trust_links();
    if let Some(daemon) = &run.daemon
        && daemon.timeout_s != 0
        && (opts.timeout_s == 0 || opts.timeout_s > daemon.timeout_s)
    {
        opts.timeout_s = daemon.timeout_s;
    }
    let traffic = Traffic::new(opts.timeout_s, run.control.clone());
    let reader = LinkReader::new(run.streams.input, traffic.clone(), run.buffered);
    let bwlimit = match (opts.bwlimit, opts.daemon_bwlimit) {
        (0, limit) | (limit, 0) => limit,
        (a, b) => a.min(b),
    };
    let writer = LinkWriter::new(run.streams.output, traffic.clone(), bwlimit);
    let mut reporter = Reporter::server(run.console, &opts);
    let mut daemon = run.daemon;
    if let Some(daemon) = &mut daemon {
        reporter.module = Some(daemon.module.clone());
        reporter.log = Some(std::mem::replace(&mut daemon.log, Box::new(|_| {})));
    } else {
        crate::run_log::open(&opts, &mut reporter, Role::Server.word());
        crate::run_log::begin(&reporter, opts.sender);
    }
    let reporter = Arc::new(reporter);
    opts.batch.tell_ignored(&reporter);
    crate::ending::limit(&opts, &run.control, &reporter);
    let mut server = Server {
        opts: Arc::new(opts),
        reporter,
        control: run.control,
        traffic,
        total_size: 0,
        totals_logged: false,
        role: Role::Server,
        restricted: run.restricted,
    };
    let result = server.session(reader, writer, run.paths, daemon);
    server.conclude(result)
}

struct Server {
    opts: Arc<Options>,
    reporter: Arc<Reporter>,
    control: Arc<Control>,
    traffic: Arc<Traffic>,
    total_size: u64,
    totals_logged: bool,
    role: Role,
    restricted: Option<Root>,
}

impl Server {
    /// Where paths begin, without a daemon.
    fn source_start(&self) -> SourceStart {
        match &self.restricted {
            None => SourceStart::Operator { cwd: crate::location::cwd() },
            Some(root) => SourceStart::Module { root: root.clone(), confined: false },
        }
    }

    fn session(
        &mut self,
        mut reader: LinkReader,
        mut writer: LinkWriter,
        paths: Vec<Vec<u8>>,
        daemon: Option<DaemonPart>,
    ) -> Result<(), Fatal> {
        let protocol = match &daemon {
            Some(daemon) => daemon.protocol,
            None => setup::versions(&self.opts, &mut reader, &mut writer)?,
        };
        let names = NameLists::from_env();
        let seed = random_seed();
        let role = if self.opts.sender { Role::Sender } else { Role::SoleReceiver };
        let settled = crate::old_peer::settle(&self.opts, protocol, false);
        self.opts = settled.map_err(|fatal| fatal.of(role))?;
        let (input, output) = (&mut reader, &mut writer);
        let mut agreed = setup::server(&self.opts, protocol, &names, seed, input, output)?;
        agreed.charset = daemon.as_ref().map_or(agreed.charset, |daemon| daemon.charset.clone());
        let policy = if self.opts.sender {
            MessagePolicy::from_receiving_client()
        } else {
            MessagePolicy::from_sending_client()
        };
        let reporter = self.reporter.clone();
        reader.begin(
            agreed.frames_client(&self.opts, self.opts.sender),
            policy,
            Box::new(move |message| {
                reporter.take_message(&message);
                Ok(())
            }),
        );
        writer.begin(true, protocol);
        self.role = role;
        self.reporter.set_charset(agreed.charset.as_ref(), role, &self.opts);
        self.choose_outlet(&writer, daemon.is_some() || protocol.frames_all_texts());
        if let Some(daemon) = &daemon
            && let Err(fatal) = self.greet(daemon, &agreed, &mut writer)
        {
            return Err(self.tell(fatal, &agreed, &mut reader, &mut writer));
        }
        if let Err(fatal) = crate::copy_as::take_on(&self.opts) {
            return Err(self.tell(fatal, &agreed, &mut reader, &mut writer));
        }
        let result = if self.opts.sender {
            self.send(reader, writer, agreed, paths, daemon)
        } else {
            self.receive(reader, writer, agreed, paths, daemon)
        };
        self.reporter.set_outlet(Outlet::Errors);
        result
    }

    fn choose_outlet(&self, writer: &LinkWriter, framed: bool) {
        let posts = writer.posts();
        self.reporter.set_outlet(match self.opts.stderr {
            StderrMode::Client => Outlet::Framed(posts),
            _ if framed => Outlet::Framed(posts),
            StderrMode::Errors => Outlet::Split(posts),
            StderrMode::All => Outlet::Errors,
        });
    }

    /// The first messages of a daemon: its timeout, or why it will not serve.
    fn greet(
        &self,
        daemon: &DaemonPart,
        agreed: &Agreed,
        writer: &mut LinkWriter,
    ) -> Result<(), Fatal> {
        if daemon.timeout_s != 0 && agreed.protocol.has_io_timeout() {
            writer.message(&Message::IoTimeout(daemon.timeout_s.cast_signed()));
        }
        if let Some(text) = &daemon.refusal {
            // A message holds one line: a line break within one would be shown as an odd byte.
            for line in text.split_inclusive(|b| *b == b'\n') {
                self.reporter.log_line(line);
                writer.message(&Message::Error(line.to_vec()));
            }
            writer.flush()?;
            // The client must read this before it sees the connection go.
            std::thread::sleep(std::time::Duration::from_millis(400));
            return Err(Fatal::silent(ExitCode::Unsupported));
        }
        match daemon.denied {
            Some(text) => Err(Fatal::bare(ExitCode::Syntax, text)),
            None => Ok(()),
        }
    }

    fn send(
        &mut self,
        mut reader: LinkReader,
        mut writer: LinkWriter,
        agreed: Agreed,
        paths: Vec<Vec<u8>>,
        daemon: Option<DaemonPart>,
    ) -> Result<(), Fatal> {
        self.role = Role::Sender;
        let mut filters = FilterList::new();
        read_filters(&mut reader, &mut filters, agreed.protocol)?;
        if self.opts.cvs_exclude {
            // The client sends nothing for the option itself.
            crate::merge_files::add_cvs(&mut filters)?;
        }
        let (start, printer, rules) = match daemon {
            None => {
                let log = ItemLog::of_run(&self.opts);
                let printer = ItemPrinter::server(self.opts.clone(), true, log);
                crate::munge::check(&self.opts)?;
                let (module, munge) = (self.restricted.clone(), self.opts.munge_links);
                let own = ScanRules { filters, module, munge, ..Default::default() };
                (self.source_start(), printer, own)
            }
            Some(daemon) => (
                SourceStart::Module { root: daemon.root.clone(), confined: daemon.confined },
                ItemPrinter::server(self.opts.clone(), true, daemon.transfer_log),
                ScanRules {
                    filters,
                    daemon_filters: Some(daemon.filters),
                    module: Some(daemon.root),
                    daemon_chmod: daemon.outgoing_chmod,
                    munge: daemon.munge,
                    settle: false,
                    ignore_nonreadable: daemon.ignore_nonreadable,
                    names: daemon.names,
                },
            ),
        };
        let paths = self.as_asked(&start, paths);
        let names = match files_from::for_server(&self.opts, |path| open_list(&start, path)) {
            Ok(names) => names,
            Err(fatal) => {
                let fatal = fatal.of(Role::Server);
                return Err(self.tell(fatal, &agreed, &mut reader, &mut writer));
            }
        };
        let names = names.read(&mut reader, &agreed, &self.opts)?;
        let mut scanner = Scanner::new(
            self.opts.clone(),
            self.reporter.clone(),
            rules,
            agreed.list_sum,
            agreed.inc(),
        )?;
        // Before anything is listed the reference goes without a word to its client.
        if let SourceStart::Operator { .. } = start {
            scanner.foresee(&start, &paths, names.is_some())?;
        }
        let successes = Arc::new(Successes::default());
        reader.set_on_message(successes.on_message(&self.reporter));
        let setup = self.role_setup(reader, writer, agreed.clone(), printer);
        let mut sender = Sender::new(setup, scanner, successes)?;
        let result = sender.run(&start, &paths, names.as_deref());
        let (mut reader, mut writer, counters) = sender.into_link();
        self.total_size = counters.total_size;
        result.map_err(|fatal| self.tell(fatal, &agreed, &mut reader, &mut writer))
    }

    /// What a shell would have made of the words where they did not come through one. Where the
    /// module is the root of the process its paths are absolute, which is how the names of
    /// `--relative` travel and sort.
    fn as_asked(&self, start: &SourceStart, paths: Vec<Vec<u8>>) -> Vec<Vec<u8>> {
        let paths = match self.opts.secluded_args && self.restricted.is_none() {
            true => crate::wildcards::without_shell(start, paths),
            false => paths,
        };
        let rooted = matches!(start, SourceStart::Module { confined: true, .. });
        match rooted && self.opts.relative && self.opts.files_from.is_none() {
            true => paths.iter().map(|path| [b"/", path.as_slice()].concat()).collect(),
            false => paths,
        }
    }

    fn receive(
        &mut self,
        mut reader: LinkReader,
        writer: LinkWriter,
        agreed: Agreed,
        paths: Vec<Vec<u8>>,
        daemon: Option<DaemonPart>,
    ) -> Result<(), Fatal> {
        self.role = Role::Receiver;
        let mut filters = FilterList::new();
        if agreed.sends_receiver_rules(&self.opts) {
            filters.set_delete_excluded(self.opts.delete_excluded);
            read_filters(&mut reader, &mut filters, agreed.protocol)?;
        }
        let mut writer = writer;
        let place = match &daemon {
            None => self.source_start(),
            Some(d) => SourceStart::Module { root: d.root.clone(), confined: d.confined },
        };
        let list = |path: &[u8]| open_list(&place, path);
        if let Err(fatal) = files_from::serve(&self.opts, list, &agreed, &mut writer) {
            let fatal = fatal.of(Role::Server);
            return Err(self.tell(fatal, &agreed, &mut reader, &mut writer));
        }
        let dest = paths.into_iter().next().unwrap_or_else(|| b".".to_vec());
        let log = ItemLog::of_receiver(&self.opts);
        let printer = ItemPrinter::server(self.opts.clone(), false, log);
        let mut setup = ReceivingSetup {
            role: self.role_setup(reader, writer, agreed, printer),
            filters,
            daemon_filters: None,
            daemon_chmod: None,
            requested: None,
            start: match &self.restricted {
                None => DestStart::operator(&self.opts),
                Some(root) => DestStart::Module { root: root.clone(), confined: false },
            },
            tames_links: false,
            names: None,
            dest,
            local: false,
            munge: self.opts.munge_links,
        };
        if daemon.is_none() {
            crate::munge::check(&self.opts)?;
        }
        if let Some(daemon) = daemon {
            setup.role.printer =
                ItemPrinter::server(self.opts.clone(), false, daemon.transfer_log).naming();
            setup.daemon_filters = Some(daemon.filters);
            setup.daemon_chmod = daemon.incoming_chmod;
            setup.munge = daemon.munge;
            // Where the module is the root of the process there is nowhere to lead to.
            setup.names = daemon.names;
            setup.tames_links = !daemon.confined;
            setup.start = DestStart::Module { root: daemon.root, confined: daemon.confined };
        }
        let received = receive(setup);
        self.total_size = received.counters.total_size;
        received.result
    }

    /// What a role on this side begins with.
    fn role_setup(
        &self,
        reader: LinkReader,
        writer: LinkWriter,
        agreed: Agreed,
        printer: ItemPrinter,
    ) -> RoleSetup {
        RoleSetup {
            opts: self.opts.clone(),
            agreed,
            reader,
            writer,
            reporter: self.reporter.clone(),
            control: self.control.clone(),
            printer,
            server: true,
        }
    }

    /// Says what ends the run, and waits until the client knows.
    fn tell(
        &mut self,
        mut fatal: Fatal,
        agreed: &Agreed,
        reader: &mut LinkReader,
        writer: &mut LinkWriter,
    ) -> Fatal {
        self.explain(&mut fatal);
        crate::farewell::announce(agreed, writer, &fatal);
        crate::farewell::wait_for_peer(agreed, reader, &fatal);
        fatal
    }

    /// Says what ends the run, through the connection where that still works. A log has what went
    /// over the connection before the last line.
    fn explain(&mut self, fatal: &mut Fatal) {
        explain_in_parts(&self.reporter.clone(), self.role, fatal, || {
            if self.opts.sender {
                self.log_totals();
            }
        });
        fatal.explained = true;
    }

    fn log_totals(&mut self) {
        if !std::mem::replace(&mut self.totals_logged, true) {
            let (sent, received) = (self.traffic.written(), self.traffic.read());
            crate::run_log::totals(&self.reporter, sent, received, self.total_size);
        }
    }

    fn conclude(mut self, result: Result<(), Fatal>) -> ServerEnd {
        let exit = match result {
            Ok(()) => self.reporter.exit(),
            Err(mut fatal) => {
                if !fatal.explained {
                    self.explain(&mut fatal);
                }
                fatal.exit
            }
        };
        if exit == ExitCode::Ok || self.opts.sender {
            self.log_totals();
        }
        ServerEnd { exit }
    }
}

/// The last lines of a run that ends early: what happened, then the exit code.
pub fn explain(reporter: &Reporter, role: Role, fatal: &Fatal) {
    explain_in_parts(reporter, role, fatal, || {});
}

fn explain_in_parts(reporter: &Reporter, role: Role, fatal: &Fatal, between: impl FnOnce()) {
    if fatal.from_peer {
        between();
        reporter.log_line(fatal.last_line(role).as_bytes());
        return;
    }
    if !fatal.text.is_empty() {
        reporter.final_error(&fatal.line(role));
    }
    between();
    let role = fatal.role.unwrap_or(role);
    reporter.final_error(fatal.last_line(role).as_bytes());
}

fn open_list(start: &SourceStart, path: &[u8]) -> std::io::Result<std::fs::File> {
    match start {
        SourceStart::Operator { .. } => tree::operator::open_trusted(path),
        SourceStart::Module { root, .. } => {
            let clean = crate::scan::clean(crate::scan::trim_root(path));
            tree::operator::open_from(root.top(), &clean, Some(root.top()))
        }
    }
}

/// Reads the client's rules off the connection.
pub fn read_filters(
    reader: &mut LinkReader,
    filters: &mut FilterList,
    protocol: Protocol,
) -> Result<(), Fatal> {
    let rules = wire::filter::wire_form::get_rules(reader)?;
    filters.add_from_wire(&rules, protocol).map_err(|e| Fatal::bare(e.exit_code(), e.text()))
}

fn random_seed() -> i32 {
    let mut bytes = [0; 4];
    // Without randomness the seed only has to be something.
    let _ = getrandom::fill(&mut bytes);
    i32::from_le_bytes(bytes) | 1
}

/// The receiving half of a local copy.
pub struct LocalHalf {
    /// Options of the run.
    pub opts: Arc<Options>,
    /// This half's end of the pair.
    pub streams: Streams,
    /// Destination argument.
    pub dest: Vec<u8>,
    /// Rules of the client.
    pub filters: FilterList,
    /// Voice of the run; errors go to it directly, information through the connection.
    pub reporter: Arc<Reporter>,
    /// Where the errors are said.
    pub console: Arc<dyn Console>,
    /// To ask it to stop.
    pub control: Arc<Control>,
    /// Where files come whose content does not travel.
    pub handed: Option<crossbeam_channel::Receiver<HandedFile>>,
}

/// Runs the receiving half of a local copy.
pub fn run_local_half(half: LocalHalf) -> Result<(), Fatal> {
    let traffic = Traffic::new(half.opts.timeout_s, half.control.clone());
    let mut reader = LinkReader::new(half.streams.input, traffic.clone(), Vec::new());
    reader.handed = half.handed;
    let mut writer = LinkWriter::new(half.streams.output, traffic.clone(), 0);
    let mut opts = (*half.opts).clone();
    let inc = opts.may_recurse_in_segments(true);
    opts.capabilities = Some(wire::handshake::client_capabilities(inc).as_bytes()[1..].to_vec());
    opts.server = true;
    opts.charsets = opts.charsets.turned();
    let opts = Arc::new(opts);
    let protocol = setup::versions(&opts, &mut reader, &mut writer)?;
    let names = NameLists::from_env();
    let agreed = setup::server(&opts, protocol, &names, random_seed(), &mut reader, &mut writer)?;
    let framed = agreed.frames_client(&opts, false);
    reader.begin(framed, MessagePolicy::from_sending_client(), Box::new(|_| Ok(())));
    writer.begin(true, protocol);
    let opts = crate::old_peer::settle(&opts, protocol, true)?;
    let mut reporter = Reporter::server(half.console, &opts);
    crate::run_log::open(&opts, &mut reporter, Role::SoleReceiver.word());
    crate::run_log::begin(&reporter, false);
    let reporter = Arc::new(reporter);
    reporter.set_charset(agreed.charset.as_ref(), Role::SoleReceiver, &opts);
    reporter.set_outlet(match opts.stderr {
        StderrMode::Errors => Outlet::Split(writer.posts()),
        StderrMode::Client => Outlet::Framed(writer.posts()),
        StderrMode::All => Outlet::Errors,
    });
    opts.batch.tell_ignored(&reporter);
    let received = receive(ReceivingSetup {
        role: RoleSetup {
            printer: ItemPrinter::server(opts.clone(), false, ItemLog::of_run(&opts)),
            opts,
            agreed,
            reader,
            writer,
            reporter: reporter.clone(),
            control: Arc::new(Control::default()),
            server: true,
        },
        filters: half.filters,
        daemon_filters: None,
        daemon_chmod: None,
        requested: None,
        start: DestStart::operator(&half.opts),
        dest: half.dest,
        local: true,
        // Locally the option only undoes what is munged in the source.
        munge: false,
        tames_links: false,
        names: None,
    });
    if received.result.is_ok() {
        let total = received.counters.total_size;
        crate::run_log::totals(&reporter, traffic.written(), traffic.read(), total);
    }
    reporter.hand_over(&half.reporter);
    received.result
}
