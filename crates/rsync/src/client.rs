//! One transfer, from locations to an outcome.
//!
//! Steps: connect (daemon, remote shell, or an in-process pair), agree, exchange filter rules and
//! names, run the sender or the receiving roles, print the closing lines, make the exit code.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use wire::exit::ExitCode;
use wire::filter::{FilterList, RequestedNames};
use wire::message::{Message, MessagePolicy};
use wire::version::Protocol;

use crate::batch::Writing;
use crate::charset::Charset;
use crate::console::{Console, ErrorSide};
use crate::control::Control;
use crate::counters::Counters;
use crate::daemon_login::{self, Welcome};
use crate::dest::DestStart;
use crate::ending::Ending;
use crate::fatal::Fatal;
use crate::files_from;
use crate::items::ItemPrinter;
use crate::link::{LinkReader, LinkWriter, Traffic};
use crate::location::{Location, cwd, local_paths};
use crate::merge_files::implied_rules;
use crate::options::Options;
use crate::options::debug::DebugFlag;
use crate::options::server_args;
use crate::problem::Outcome;
use crate::remove_source::Successes;
use crate::report::messages::{Reporter, Role};
use crate::scan::{ScanRules, Scanner, SourceStart};
use crate::sender::Sender;
use crate::session::{ReceivingSetup, receive};
use crate::setup::{self, Agreed, NameLists, RoleSetup};
use crate::transport::{Streams, detour, pipe, remote_shell, tcp};

/// Runs one transfer. Lines go to `console`; nothing else of the process is touched.
pub fn run(
    opts: Options,
    sources: Vec<Location>,
    dest: Option<Location>,
    console: Arc<dyn Console>,
    control: Arc<Control>,
) -> Outcome {
    let console = ErrorSide::where_asked(console, opts.stderr);
    let mut reporter = Reporter::new(console.clone(), opts.quiet, opts.eight_bit);
    opts.trust_links();
    crate::run_log::open(&opts, &mut reporter, Role::Client.word());
    let reporter = Arc::new(reporter);
    crate::ending::limit(&opts, &control, &reporter);
    let mut client = Client {
        protocol: opts.protocol,
        opts: Arc::new(opts),
        console,
        reporter,
        control,
        started: Instant::now(),
        counters: Counters::default(),
        role: Role::Client,
        child: None,
        child_status: 0,
        writing: None,
    };
    let result = client.transfer(&sources, dest.as_ref());
    client.ending().conclude(result)
}

pub(crate) struct Client {
    pub(crate) opts: Arc<Options>,
    pub(crate) reporter: Arc<Reporter>,
    pub(crate) control: Arc<Control>,
    started: Instant,
    pub(crate) counters: Counters,
    pub(crate) role: Role,
    writing: Option<Writing>,
    child: Option<std::process::Child>,
    child_status: i32,
    pub(crate) protocol: Protocol,
    console: Arc<dyn Console>,
}

/// An open session, before the roles start.
pub(crate) struct Open {
    pub(crate) reader: LinkReader,
    pub(crate) writer: LinkWriter,
}

impl Client {
    fn ending(self) -> Ending {
        Ending {
            elapsed: self.started.elapsed(),
            opts: self.opts,
            reporter: self.reporter,
            counters: self.counters,
            role: self.role,
            child_status: self.child_status,
            protocol: self.protocol,
        }
    }

    fn transfer(&mut self, sources: &[Location], dest: Option<&Location>) -> Result<(), Fatal> {
        if let (Some(name), Some(Location::Local(path))) = (&self.opts.batch.read.clone(), dest) {
            return self.read_batch(name, path.clone());
        }
        let first =
            sources.first().ok_or_else(|| Fatal::new(ExitCode::Syntax, "no source given"))?;
        self.role = match first {
            Location::Local(_) => Role::Sender,
            _ => Role::SoleReceiver,
        };
        crate::munge::check(&self.opts)?;
        match (first, dest) {
            (Location::Local(_), None | Some(Location::Local(_))) => self.local(sources, dest),
            (Location::Local(_), Some(remote)) => self.push(sources, remote),
            (remote, _) => self.pull(remote, sources, dest),
        }
    }

    fn push(&mut self, sources: &[Location], remote: &Location) -> Result<(), Fatal> {
        let filters = self.filters(remote)?;
        let names = files_from::for_sender(&self.opts).map_err(|f| f.of(Role::Client))?;
        let Some((open, protocol)) = self.connect(remote, &[remote], true)? else { return Ok(()) };
        let result = self.push_session(open, protocol, sources, filters, names);
        self.finish_child(result)
    }

    fn push_session(
        &mut self,
        mut open: Open,
        protocol: Protocol,
        sources: &[Location],
        filters: FilterList,
        names: files_from::NameSource,
    ) -> Result<(), Fatal> {
        self.opts = crate::old_peer::settle(&self.opts, protocol, false)?;
        let agreed = self.agree(&mut open, protocol, true)?;
        crate::copy_as::take_on(&self.opts)?;
        self.send_filters(&filters, true, &agreed, Some(&mut open))?;
        open.writer.flush()?;
        let names = names.read(&mut open.reader, &agreed, &self.opts)?;
        let args = local_paths(sources);
        let start = SourceStart::Operator { cwd: cwd() };
        self.send(open, agreed, filters, &start, &args, names, false)
    }

    #[allow(clippy::too_many_arguments)]
    fn send(
        &mut self,
        open: Open,
        agreed: Agreed,
        filters: FilterList,
        start: &SourceStart,
        args: &[Vec<u8>],
        names: Option<Vec<Vec<u8>>>,
        local: bool,
    ) -> Result<(), Fatal> {
        self.role = Role::Sender;
        let mut printer = ItemPrinter::client(self.opts.clone(), true, local);
        let mut scanner = Scanner::new(
            self.opts.clone(),
            self.reporter.clone(),
            ScanRules {
                filters,
                munge: self.opts.munge_links,
                settle: self.control.settle.load(Ordering::Relaxed),
                ..ScanRules::default()
            },
            agreed.list_sum,
            agreed.inc(),
        )?;
        if !local {
            scanner.foresee(start, args, names.is_some())?;
        }
        let mut open = open;
        if let Some(writing) = self.writing.take() {
            open.writer.flush()?;
            open.writer.copy_to(writing.begin(&self.opts, &agreed)?);
        }
        let successes = Arc::new(Successes::default());
        printer.set_sums(&agreed);
        open.reader.set_on_message(self.sender_messages(printer.clone(), successes.clone()));
        printer.begin_list(&self.reporter, agreed.inc());
        let setup = self.role_setup(open, agreed.clone(), printer);
        let mut sender = Sender::new(setup, scanner, successes)?;
        let result = sender.run(start, args, names.as_deref());
        let (_, mut writer, counters) = sender.into_link();
        if let Err(fatal) = &result {
            crate::farewell::announce(&agreed, &mut writer, fatal);
        }
        self.counters = counters;
        result
    }

    /// What a role on this side begins with.
    fn role_setup(&self, open: Open, agreed: Agreed, printer: ItemPrinter) -> RoleSetup {
        RoleSetup {
            opts: self.opts.clone(),
            agreed,
            reader: open.reader,
            writer: open.writer,
            reporter: self.reporter.clone(),
            control: self.control.clone(),
            printer,
            server: false,
        }
    }

    /// What a sending client does with messages between requests.
    fn sender_messages(
        &self,
        printer: ItemPrinter,
        successes: Arc<Successes>,
    ) -> crate::link::OnMessage {
        let reporter = self.reporter.clone();
        Box::new(move |message| {
            if successes.take(&message)? {
                return Ok(());
            }
            match &message {
                Message::Deleted { name, dir } => {
                    printer.deleted(&reporter, &reporter.arrived(name), *dir, 0);
                }
                other => {
                    reporter.take_message(other);
                }
            }
            Ok(())
        })
    }

    fn pull(
        &mut self,
        remote: &Location,
        sources: &[Location],
        dest: Option<&Location>,
    ) -> Result<(), Fatal> {
        let refs: Vec<&Location> = sources.iter().collect();
        let filters = self.filters(dest.unwrap_or(remote))?;
        let forward = files_from::for_forwarding(&self.opts).map_err(|f| f.of(Role::Client))?;
        let Some((open, protocol)) = self.connect(remote, &refs, false)? else { return Ok(()) };
        let result = self.pull_session(open, protocol, (sources, dest), filters, forward);
        self.finish_child(result)
    }

    fn pull_session(
        &mut self,
        mut open: Open,
        protocol: Protocol,
        (sources, dest): (&[Location], Option<&Location>),
        filters: FilterList,
        forward: Option<Vec<u8>>,
    ) -> Result<(), Fatal> {
        self.opts = crate::old_peer::settle(&self.opts, protocol, false)?;
        let agreed = self.agree(&mut open, protocol, false)?;
        crate::copy_as::take_on(&self.opts)?;
        self.send_filters(&filters, false, &agreed, Some(&mut open))?;
        if let Some(names) = &forward {
            files_from::put(names, &agreed, &self.opts, &mut open.writer);
        }
        open.writer.flush()?;
        self.role = Role::Generator;
        let requested = crate::accept::requested(&self.opts, sources, forward.as_deref());
        let dest = match dest {
            Some(Location::Local(path)) => path.clone(),
            _ => b".".to_vec(),
        };
        self.receive(open, agreed, filters, requested, dest, false)
    }

    pub(crate) fn receive(
        &mut self,
        open: Open,
        agreed: Agreed,
        filters: FilterList,
        requested: Option<RequestedNames>,
        dest: Vec<u8>,
        local: bool,
    ) -> Result<(), Fatal> {
        let mut open = open;
        if let Some(writing) = self.writing.take() {
            open.reader.copy_to(writing.begin(&self.opts, &agreed)?);
            let dry_run = self.opts.dry_run || self.opts.batch.only;
            self.opts = Arc::new(Options { dry_run, ..(*self.opts).clone() });
        }
        let mut printer = ItemPrinter::client(self.opts.clone(), false, local);
        printer.begin_list(&self.reporter, agreed.inc());
        let received = receive(ReceivingSetup {
            role: self.role_setup(open, agreed, printer),
            filters,
            daemon_filters: None,
            daemon_chmod: None,
            requested,
            start: DestStart::operator(&self.opts),
            dest,
            local,
            munge: self.opts.munge_links,
            tames_links: false,
            names: None,
        });
        if !received.started && self.role == Role::Generator {
            self.role = Role::SoleReceiver;
        }
        self.counters = received.counters;
        received.result
    }

    /// A local copy: the other half of an ordinary session runs in this process.
    fn local(&mut self, sources: &[Location], dest: Option<&Location>) -> Result<(), Fatal> {
        let (ours, theirs) = pipe::pair().map_err(|e| Fatal::new(ExitCode::Ipc, e.to_string()))?;
        let mut opts = (*self.opts).clone();
        opts.list_only |= dest.is_none();
        opts.compress &= opts.batch.write.is_some();
        self.opts = Arc::new(opts);
        let nowhere = Location::Local(Vec::new());
        let filters = self.filters(dest.or(sources.last()).unwrap_or(&nowhere))?;
        let names = files_from::for_sender(&self.opts).map_err(|f| f.of(Role::Client))?;
        crate::copy_as::take_on(&self.opts)?;
        let mut half = crate::server::LocalHalf {
            opts: self.other_half()?,
            streams: theirs,
            dest: match dest {
                Some(Location::Local(path)) => path.clone(),
                _ => b".".to_vec(),
            },
            filters: filters.clone(),
            reporter: self.reporter.clone(),
            console: self.console.clone(),
            control: self.control.clone(),
            handed: None,
        };
        let mut open = self.wrap(ours);
        if crate::handover::suits(&self.opts, &half.opts) {
            let (hands, handed) = crate::handover::pair();
            (open.writer.hands, half.handed) = (Some(hands), Some(handed));
        }
        let other = std::thread::Builder::new()
            .name("receiving side".into())
            .spawn(move || crate::server::run_local_half(half))
            .map_err(|e| Fatal::new(ExitCode::Ipc, e.to_string()))?;
        let result = self.local_session(open, sources, names, filters);
        let other = other.join().unwrap_or_else(|_| Err(Fatal::silent(ExitCode::Crashed)));
        match (result, other) {
            (Err(ours), Err(theirs)) if ours.from_peer || ours.exit == ExitCode::StreamIo => {
                Err(theirs)
            }
            (Ok(()), other) => other,
            (ours, _) => ours,
        }
    }

    /// The options of the receiving half of a local copy: those of this one and what
    /// `--remote-option` adds.
    fn other_half(&self) -> Result<Arc<Options>, Fatal> {
        let Some(half) = &self.opts.given.other_half else {
            let mut half = crate::run_log::without(&self.opts);
            half.dry_run |= half.batch.only;
            return Ok(Arc::new(half));
        };
        match &**half {
            Ok(half) => {
                let mut opts = half.clone();
                opts.list_only |= self.opts.list_only;
                opts.whole_file = opts.whole_file.or(self.opts.whole_file);
                opts.compress &= opts.batch.write.is_some();
                opts.dry_run |= opts.batch.only;
                Ok(Arc::new(opts))
            }
            Err(error) => {
                self.console.err(&error.text);
                if error.exit == ExitCode::Unsupported {
                    return Err(Fatal::silent(error.exit));
                }
                // Such a half ends at once, and this one is left without a peer.
                let line = crate::report::final_line(error.exit, "Receiver");
                self.console.err(&[line.as_bytes(), b"\n"].concat());
                let text = "connection unexpectedly closed (0 bytes received so far) [sender]";
                Err(Fatal::program(ExitCode::StreamIo, text))
            }
        }
    }

    fn local_session(
        &mut self,
        mut open: Open,
        sources: &[Location],
        names: files_from::NameSource,
        filters: FilterList,
    ) -> Result<(), Fatal> {
        let protocol = setup::versions(&self.opts, &mut open.reader, &mut open.writer)?;
        self.opts = crate::old_peer::settle(&self.opts, protocol, true)?;
        let agreed = self.agree(&mut open, protocol, true)?;
        self.send_filters(&filters, true, &agreed, None)?;
        let names = names.read(&mut open.reader, &agreed, &self.opts)?;
        let start = SourceStart::Operator { cwd: cwd() };
        self.send(open, agreed, filters, &start, &local_paths(sources), names, true)
    }

    fn wrap(&mut self, streams: Streams) -> Open {
        self.child = streams.child;
        let traffic = Traffic::new(self.opts.timeout_s, self.control.clone());
        Open {
            reader: LinkReader::new(streams.input, traffic.clone(), Vec::new()),
            writer: LinkWriter::new(streams.output, traffic, self.opts.bwlimit),
        }
    }

    /// Connects and gets as far as the version; `None` when a listing was all.
    fn connect(
        &mut self,
        remote: &Location,
        paths: &[&Location],
        sending: bool,
    ) -> Result<Option<(Open, Protocol)>, Fatal> {
        let words = server_args::server_args(&self.opts, sending);
        let charset = Charset::open(self.opts.charsets.own.as_deref())?;
        let charset = charset.as_deref();
        match remote {
            Location::Shell { user, host, .. } => {
                let mut argv = server_args::escape_words(&words, &self.opts);
                argv.push(b".".to_vec());
                argv.extend(server_args::shell_paths(paths, &self.opts, sending));
                let (argv, secluded) =
                    server_args::seclude(&self.opts, &words, argv, paths, charset);
                let command = remote_shell::command(&self.opts, user.as_deref(), host, &argv)?;
                self.show_words("opening connection using:", &command);
                self.show_words("protected args:", &remote_shell::words_between(&secluded));
                let streams = remote_shell::start(&command)?;
                let mut open = self.wrap(streams);
                open.writer.data.extend_from_slice(&secluded);
                match setup::versions(&self.opts, &mut open.reader, &mut open.writer) {
                    Ok(protocol) => Ok(Some((open, protocol))),
                    Err(fatal) => {
                        // The shell ends once nobody is there to talk to.
                        drop(open);
                        Err(self.shell_failed(fatal))
                    }
                }
            }
            Location::Daemon { .. } => self.connect_daemon(remote, paths, words, charset),
            Location::Local(_) => {
                Err(Fatal::new(ExitCode::Syntax, "local path where a remote was expected"))
            }
        }
    }

    fn connect_daemon(
        &mut self,
        remote: &Location,
        paths: &[&Location],
        words: Vec<Vec<u8>>,
        charset: Option<&Charset>,
    ) -> Result<Option<(Open, Protocol)>, Fatal> {
        let Location::Daemon { user, host, port, module_path, via_shell, tls } = remote else {
            return Err(Fatal::silent(ExitCode::Syntax));
        };
        if module_path.starts_with(b"/") {
            return Err(Fatal::bare(
                ExitCode::StartClient,
                "ERROR: The remote path must start with a module name not a /",
            ));
        }
        let streams = if *via_shell {
            let argv = [b"--server".to_vec(), b"--daemon".to_vec(), b".".to_vec()];
            remote_shell::start(&remote_shell::command(&self.opts, None, host, &argv)?)?
        } else {
            let port = port.or(self.opts.port).unwrap_or(tcp::DAEMON_PORT);
            let host = String::from_utf8_lossy(host);
            let explain = |flag: DebugFlag, line: &str| {
                if self.opts.debug.has(flag) {
                    self.reporter.info(format!("{line}\n").as_bytes());
                }
            };
            let warn = |line: &str| self.reporter.warning(line.as_bytes());
            let streams = detour::open(&self.opts, &host, port, &explain, &warn)?;
            if *tls { crate::transport::within_tls(&streams, &host)? } else { streams }
        };
        let mut open = self.wrap(streams);
        let module = module_path.split(|&b| b == b'/').next().unwrap_or(b"").to_vec();
        let user = user.as_deref();
        let args = server_args::daemon_words(&self.opts, words, paths, &module, charset);
        self.show_words("sending daemon args:", &args.outer);
        let welcome = daemon_login::enter(
            &self.opts,
            user,
            &module,
            &mut open.reader,
            &mut open.writer,
            &self.reporter,
        )?;
        let Welcome::Session(protocol) = welcome else { return Ok(None) };
        self.show_words("protected args:", &remote_shell::words_between(&args.secluded));
        daemon_login::send_args(&args.outer, protocol, &mut open.writer)?;
        open.writer.data.extend_from_slice(&args.secluded);
        open.writer.flush()?;
        Ok(Some((open, protocol)))
    }

    /// With `-vv`: the words that the other side is started with.
    fn show_words(&self, heading: &str, words: &[Vec<u8>]) {
        if self.opts.debug.has(DebugFlag::Cmd) && !words.is_empty() {
            self.reporter.say(&remote_shell::shown(heading, words));
        }
    }

    /// A remote shell's higher code says more than a closed pipe.
    fn shell_failed(&mut self, fatal: Fatal) -> Fatal {
        let Some(mut child) = self.child.take() else { return fatal };
        if fatal.exit == ExitCode::Protocol {
            // What it says besides is of no use, and it may say it for ever.
            let _ = child.kill().and_then(|()| child.wait());
            self.reporter.final_error(&fatal.text);
            return Fatal::bare(fatal.exit, "(see the rsync manpage for an explanation)");
        }
        match remote_shell::collect(child) {
            Ok(status) if status > fatal.exit.code() => {
                self.child_status = status;
                fatal.with_status(status)
            }
            _ => fatal,
        }
    }

    fn agree(
        &mut self,
        open: &mut Open,
        protocol: Protocol,
        sending: bool,
    ) -> Result<Agreed, Fatal> {
        let names = NameLists::of_client(&self.opts);
        self.protocol = protocol;
        let agreed = setup::client(
            &self.opts,
            protocol,
            &names,
            sending,
            &mut open.reader,
            &mut open.writer,
        )?;
        let role = if sending { Role::Sender } else { Role::SoleReceiver };
        self.reporter.set_charset(agreed.charset.as_ref(), role, &self.opts);
        let policy = if sending {
            MessagePolicy::from_receiving_server()
        } else {
            MessagePolicy::from_sending_server()
        };
        let reporter = self.reporter.clone();
        open.reader.begin(
            true,
            policy,
            Box::new(move |message| {
                reporter.take_message(&message);
                Ok(())
            }),
        );
        open.writer.begin(agreed.frames_client(&self.opts, !sending), protocol);
        Ok(agreed)
    }

    /// The rules of the command line; whatever is wrong with them is told before anything is opened.
    /// Then a batch that is to be written is opened. `last` is the last operand.
    fn filters(&mut self, last: &Location) -> Result<FilterList, Fatal> {
        let (list, script) = crate::merge_files::filters_and_script(&self.opts)
            .map_err(|fatal| fatal.of(Role::Client))?;
        self.writing = Writing::open(&self.opts, script, last)?;
        Ok(list)
    }

    /// Sends the rules the other side needs, or the end of them. The half of a local copy has them
    /// already; what an old protocol cannot say is refused all the same.
    fn send_filters(
        &self,
        filters: &FilterList,
        sending: bool,
        agreed: &Agreed,
        open: Option<&mut Open>,
    ) -> Result<(), Fatal> {
        let rules = filters.encode_in(agreed.protocol, sending, &implied_rules(&self.opts));
        let rules = rules.map_err(|e| Fatal::bare(e.exit_code(), e.to_string()))?;
        let sent = !sending || agreed.sends_receiver_rules(&self.opts);
        let Some(open) = open.filter(|_| sent) else { return Ok(()) };
        wire::filter::wire_form::put_rules(&mut open.writer.data, &rules)?;
        Ok(())
    }

    /// Collects a remote shell after the session.
    fn finish_child(&mut self, result: Result<(), Fatal>) -> Result<(), Fatal> {
        if let Some(child) = self.child.take() {
            self.child_status = remote_shell::collect(child).unwrap_or(ExitCode::WaitChild.code());
        }
        result
    }
}
