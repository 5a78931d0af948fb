//! One client, from greeting to session, in the order the checks apply.
//!
//! Called by the program that `listen` starts for each connection, and by inetd or a remote shell.
//! In steps: the configuration is read anew; greetings; message of the day; module name or list;
//! host lists; a slot; login (`login`); ids, root directory and privileges (`enter`); `@RSYNCD: OK`;
//! the argument list; then the session is handed over. Until then nothing of the module can be
//! reached by the client. What it is told of a refusal is one `@ERROR` line; reasons go to the log.

use std::net::IpAddr;
use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tree::path::RelPath;
use wire::exit::ExitCode;
use wire::greeting::{Greeting, format_greeting, parse_greeting};
use wire::limits;
use wire::proxy_header::{self, ProxyStep};
use wire::version::Protocol;

use crate::charset::Charset;
use crate::fatal::Fatal;
use crate::options::check::TEMP_DIR_MAX;

use super::access::{self, ClientPeer};
use super::arguments::{self, Arguments};
use super::config::DaemonConfig;
use super::converter::{self, WaitingConverter};
use super::deadline::{PhaseError, TextStream};
use super::enter::{self, Entered};
use super::hooks::{self, Hooks, PreXfer, Variables};
use super::log::{DaemonLog, LogTarget, cause};
use super::module::{Globals, Module};
use super::peer;
use super::refuse::{RefuseSet, option_rows};
use super::service::Service;
use super::session::{DaemonSession, client_name};
use super::slots::{self, NoSlot};
use super::standing::{Parting, Step, Teller};
use super::{files, login};

/// How long a refused client may take to close its side, so that it reads why.
const LINGER: Duration = Duration::from_secs(2);

/// What the process of a client that gets no session ends with, be it an answer or a refusal.
const NO_SESSION: i32 = 255;

/// A connection to be served.
pub struct Arrival<'a> {
    /// What the daemon was started with.
    pub service: &'a Service,
    /// Bytes from the client.
    pub input: OwnedFd,
    /// Bytes to the client.
    pub output: OwnedFd,
    /// Whether a remote shell carries it: no deadlines, address from the environment.
    pub via_shell: bool,
    /// The client's address, where the descriptors do not tell.
    pub address: Option<IpAddr>,
    /// Where the listener is told how things stand.
    pub standing: Arc<Teller>,
}

/// How a connection ends before its session.
#[derive(Debug)]
pub(crate) enum End {
    /// The client is told (behind `@ERROR: `), and the log with its own words.
    Refused { client: Vec<u8>, log: Vec<u8>, exit: i32 },
    /// Nothing more is said to the client.
    Dropped { log: Vec<u8>, exit: ExitCode },
    /// The client has its answer: the list, or what is wrong with its greeting.
    Answered,
    /// Another process has served the client; this one did what was left to do.
    Elsewhere(ExitCode),
}

impl End {
    /// A refusal with one text for both.
    pub(crate) fn refused(client: impl Into<Vec<u8>>, log: impl Into<Vec<u8>>) -> End {
        End::Refused { client: client.into(), log: log.into(), exit: NO_SESSION }
    }

    pub(crate) fn dropped(log: impl Into<Vec<u8>>, exit: ExitCode) -> End {
        End::Dropped { log: log.into(), exit }
    }

    fn unknown_charset(fatal: &Fatal) -> End {
        let line = crate::report::final_line(fatal.exit, "Receiver");
        End::dropped([fatal.text.as_slice(), b"\n", line.as_bytes()].concat(), fatal.exit)
    }

    /// What the log is told.
    pub(crate) fn reason(&self) -> String {
        match self {
            End::Refused { log, .. } | End::Dropped { log, .. } => {
                String::from_utf8_lossy(log).into_owned()
            }
            End::Answered | End::Elsewhere(_) => String::new(),
        }
    }
}

impl From<PhaseError> for End {
    fn from(error: PhaseError) -> End {
        match error {
            PhaseError::Closed => End::dropped("", ExitCode::StreamIo),
            PhaseError::Timeout => {
                End::dropped("daemon handshake timeout -- exiting", ExitCode::Timeout)
            }
            PhaseError::TooLong | PhaseError::Nul => {
                End::dropped("a line or word of the client is too long", ExitCode::Protocol)
            }
            PhaseError::Io(error) => End::dropped(cause(&error), ExitCode::SocketIo),
        }
    }
}

/// Serves one client and gives the exit code of its process. `serve` runs the session.
pub fn run(arrival: Arrival<'_>, serve: &dyn Fn(DaemonSession) -> ExitCode) -> i32 {
    let addr = arrival.address.unwrap_or_else(|| peer::address(&arrival.input, arrival.via_shell));
    let stream = TextStream::new(arrival.input, arrival.output, !arrival.via_shell);
    let system = |name: &[u8]| files::system_variable(name);
    let (config, globals) = match arrival.service.load(&system) {
        Ok(loaded) => loaded,
        Err(error) => {
            let file = arrival.service.log_file.clone().unwrap_or_default();
            let target = LogTarget { file, facility: 3, tag: b"rsyncd".to_vec() };
            let (log, _) = DaemonLog::open(&target, files::open_log);
            log.warning(error.to_string());
            arrival.standing.refused(Step::Start);
            return error.exit_code().code();
        }
    };
    let log = open_log(arrival.service, &globals.defaults);
    let mut connection = Connection {
        service: arrival.service,
        config,
        globals,
        log,
        stream,
        standing: arrival.standing,
        peer: ClientPeer { addr, scope: None, host: peer::UNDETERMINED.to_vec() },
        variables: Vec::new(),
        early_input: Vec::new(),
    };
    match connection.admit() {
        Ok(admitted) => serve(connection.into_session(admitted)).code(),
        Err(end) => connection.end(end),
    }
}

/// Tells the log why a connection was not served.
pub fn not_served(service: &Service, addr: IpAddr, why: &str) {
    if let Ok((_, globals)) = service.load(&|name| files::system_variable(name)) {
        open_log(service, &globals.defaults).warning(format!("TLS with {addr}: {why}"));
    }
}

/// Opens the log a module asks for, or the one of the command line.
pub(crate) fn open_log(service: &Service, module: &Module) -> DaemonLog {
    let target = LogTarget {
        file: service.log_file.clone().unwrap_or_else(|| module.log_file.clone()),
        facility: module.syslog_facility,
        tag: module.syslog_tag.clone(),
    };
    let (log, error) = DaemonLog::open(&target, files::open_log);
    if let Some(error) = error {
        let file = String::from_utf8_lossy(&target.file);
        log.warning(format!("failed to open log-file {file}: {}", cause(&error)));
        log.warning("Ignoring \"log file\" setting.");
    }
    log
}

/// A client that is being let in.
pub(crate) struct Connection<'a> {
    service: &'a Service,
    config: DaemonConfig,
    globals: Globals,
    pub(crate) log: DaemonLog,
    pub(crate) stream: TextStream,
    standing: Arc<Teller>,
    pub(crate) peer: ClientPeer,
    /// Variables of this connection, by name.
    variables: Vec<(&'static str, Vec<u8>)>,
    /// What the client sent for the early command.
    early_input: Vec<u8>,
}

/// What is known when a client has been let in.
struct Admitted {
    protocol: Protocol,
    module: Module,
    user: Vec<u8>,
    /// The words, and the paths among them as they are in the module.
    asked: (Arguments, Vec<Vec<u8>>),
    entered: Entered,
    slot: Option<slots::Slot>,
    /// The operator's command, who knows names of owners, and how names of files are converted.
    helpers: (Option<PreXfer>, Option<WaitingConverter>, Option<Arc<Charset>>),
}

impl Connection<'_> {
    fn admit(&mut self) -> Result<Admitted, End> {
        self.stream.begin_phase();
        if self.globals.proxy_protocol {
            self.standing.at(Step::Proxy);
            self.read_proxy_header()?;
        }
        if self.globals.defaults.reverse_lookup {
            self.look_up_name();
        }
        enter::confine(&self.globals)?;
        self.set_variable("RSYNC_PID", std::process::id().to_string().into_bytes());
        self.set_variable("RSYNC_HOST_ADDR", self.peer.addr.to_string().into_bytes());
        self.standing.greets(self.peer.addr);
        self.log.info([b"connect from ", self.client().as_slice()].concat());
        let (greeting, protocol) = self.greet()?;
        self.standing.at(Step::Module);
        let name = self.module_name()?;
        self.stream.end_phase();
        let before = self.find_module(&name)?;
        self.standing.module(&before.name);
        // The system's tables of charsets are out of reach behind a change of root.
        let charset = Charset::open(Some(&before.charset[..]).filter(|name| !name.is_empty()));
        let charset = charset.map_err(|fatal| End::unknown_charset(&fatal))?;
        self.check_access(&before)?;
        let slot = self.take_slot(&before)?;
        self.stream.lower_limit(before.timeout_s);
        self.standing.at(Step::Login);
        let admitted = login::login(self, &before, (&greeting, protocol))?;
        self.standing.tell(|standing| {
            standing.step = Step::Entry;
            standing.host = self.peer.host.clone();
            standing.user = admitted.user.clone();
        });
        self.set_variable("RSYNC_USER_NAME", admitted.user.clone());
        let mut module = self.find_module(&name)?;
        module.read_only = admitted.read_only.unwrap_or(module.read_only);
        if let Some(format) = &self.service.log_format {
            module.log_format = format.clone();
            module.transfer_logging = true;
        }
        if module.temp_dir.len() > TEMP_DIR_MAX {
            let name = String::from_utf8_lossy(&name).into_owned();
            let text = format!("the 'temp dir' value for {name} is WAY too long -- ignoring.");
            self.log.warning(text);
            module.temp_dir.clear();
        }
        let plan = enter::plan(&module, &self.log)?;
        self.switch_log(&module);
        let hooks = Hooks::ready(&module, &self.environment())?;
        let converter = hooks::ready(&module.name_converter, &self.environment())?;
        let variables = self.hook_variables();
        if let Some(exit) = hooks.divide(&variables)? {
            return Err(End::Elsewhere(exit));
        }
        hooks.run_early(&variables, &self.early_input)?;
        // Before the other process that waits: that one ends, and with it what it has open.
        let converter = converter::start(&converter)?;
        let pre = hooks.start_pre()?;
        let entered = enter::enter(&module, plan)?;
        self.standing.at(Step::Arguments);
        self.stream.begin_phase();
        self.stream.write(b"@RSYNCD: OK\n")?;
        let arguments = arguments::read(&mut self.stream, protocol, charset.as_deref())?;
        self.stream.end_phase();
        let paths = module_paths(&arguments, &module.name, &entered)?;
        let asked = (arguments, paths);
        let helpers = (pre, converter, charset);
        Ok(Admitted { protocol, module, user: admitted.user, asked, entered, slot, helpers })
    }

    /// Learns from the proxy whom it speaks for. Only a proxy of the operator's is listened to, and
    /// who sends no header is not one.
    fn read_proxy_header(&mut self) -> Result<(), End> {
        let verdict = access::check(&self.globals.proxy_hosts, b"", &self.peer, None);
        if self.globals.proxy_hosts.trim_ascii().is_empty() || !verdict.allowed {
            let client = String::from_utf8_lossy(&self.client()).into_owned();
            let text = format!("proxy protocol rejected from untrusted peer {client}");
            return Err(End::dropped(text, ExitCode::StreamIo));
        }
        let mut header = Vec::new();
        loop {
            match proxy_header::parse(&header) {
                ProxyStep::More => header.extend(self.stream.bytes(1)?),
                ProxyStep::Bad => {
                    self.standing.refused(Step::Proxy);
                    return Err(End::dropped("", ExitCode::StreamIo));
                }
                ProxyStep::Done(Some(client)) => {
                    self.peer.addr = access::canonical(client);
                    return Ok(());
                }
                ProxyStep::Done(None) => return Ok(()),
            }
        }
    }

    fn look_up_name(&mut self) {
        let (name, remark) = peer::host_name(self.peer.addr);
        self.peer.host = name;
        if let Some(remark) = remark {
            self.log.warning(remark);
        }
    }

    /// The two greetings and the message of the day.
    fn greet(&mut self) -> Result<(Greeting, Protocol), End> {
        self.stream.write(format_greeting(Protocol::NEWEST).as_bytes())?;
        let line = self.stream.line(limits::GREETING_MAX)?;
        let greeting = match parse_greeting(&line) {
            Ok(greeting) => greeting,
            Err(defect) => {
                self.stream.write(&defect.daemon_text(&line))?;
                self.standing.refused(Step::Greeting);
                return Err(End::Answered);
            }
        };
        let protocol = greeting
            .negotiate(Protocol::NEWEST)
            .map_err(|error| End::refused(error.to_string(), error.to_string()))?;
        let motd = self.globals.motd_file.clone();
        if !motd.is_empty() {
            let text = files::read(&motd, files::MOTD_BYTES_MAX).unwrap_or_default();
            self.stream.write(&text)?;
            self.stream.write(b"\n")?;
        }
        Ok((greeting, protocol))
    }

    /// Reads lines until one names a module; answers the others.
    fn module_name(&mut self) -> Result<Vec<u8>, End> {
        let mut line = self.stream.line(limits::MODULE_LINE_MAX)?;
        if let Some(length) = line.strip_prefix(b"#early_input=") {
            let length = std::str::from_utf8(length).ok().and_then(|text| text.parse().ok());
            let Some(length @ 1..=limits::EARLY_INPUT_MAX) = length else {
                return Err(End::refused("invalid early_input length", Vec::new()));
            };
            self.early_input = self.stream.bytes(length)?;
            line = self.stream.line(limits::MODULE_LINE_MAX)?;
        }
        match line.as_slice() {
            b"" | b"#list" => {
                self.log.info([b"module-list request from ", self.client().as_slice()].concat());
                self.list()?;
                Err(End::Answered)
            }
            [b'#', ..] => {
                Err(End::refused([b"Unknown command '", &line[..], b"'"].concat(), Vec::new()))
            }
            _ => Ok(line),
        }
    }

    fn list(&mut self) -> Result<(), End> {
        let environment = self.environment();
        let mut text = Vec::new();
        for section in &self.config.sections {
            let Ok(module) = Module::resolve(section, &environment) else { continue };
            if module.list {
                text.extend_from_slice(&module.name);
                let blanks = 15usize.saturating_sub(module.name.len());
                text.resize(text.len() + blanks, b' ');
                text.push(b'\t');
                text.extend_from_slice(&module.comment);
                text.push(b'\n');
            }
        }
        text.extend_from_slice(b"@RSYNCD: EXIT\n");
        drop(environment);
        Ok(self.stream.write(&text)?)
    }

    /// The module of that name, with the variables known by now.
    fn find_module(&mut self, name: &[u8]) -> Result<Module, End> {
        let found = {
            let environment = self.environment();
            let section = self.config.find(name, &environment);
            section.map(|section| Module::resolve(section, &environment))
        };
        let module = match found {
            Some(Ok(module)) => module,
            Some(Err(overgrown)) => {
                let text = format!("{overgrown}");
                return Err(End::dropped(text, ExitCode::Malloc));
            }
            None => {
                let client = self.client();
                let log = [b"unknown module '", name, b"' tried from ", &client].concat();
                return Err(End::refused(unknown_module(name), log));
            }
        };
        self.set_variable("RSYNC_MODULE_NAME", module.name.clone());
        self.set_variable("RSYNC_MODULE_PATH", module.path.clone());
        Ok(module)
    }

    fn check_access(&mut self, module: &Module) -> Result<(), End> {
        if module.reverse_lookup && self.peer.host == peer::UNDETERMINED {
            self.look_up_name();
        }
        let lookup = |name: &str| peer::addresses(name);
        let forward: access::ForwardLookup<'_> =
            if module.forward_lookup { Some(&lookup) } else { None };
        let verdict = access::check(&module.hosts_allow, &module.hosts_deny, &self.peer, forward);
        for remark in &verdict.remarks {
            self.log.warning(remark);
        }
        if let Some(name) = verdict.matched_name.filter(|_| self.peer.host == peer::UNDETERMINED) {
            self.peer.host = name;
        }
        self.set_variable("RSYNC_HOST_NAME", self.peer.host.clone());
        let client = self.client();
        let name = module.name.as_slice();
        if verdict.allowed {
            let text = [b"rsync allowed access on module ", name, b" from ", &client].concat();
            self.log.info(text);
            return Ok(());
        }
        let log = [b"rsync denied on module ", name, b" from ", &client].concat();
        let text = match module.list {
            true => [b"access denied to ", name, b" from ", &client].concat(),
            false => unknown_module(name),
        };
        Err(End::refused(text, log))
    }

    fn take_slot(&self, module: &Module) -> Result<Option<slots::Slot>, End> {
        let max = module.max_connections;
        self.standing.at(Step::Slot);
        slots::take(max, || files::open_lock(&module.lock_file)).map_err(|error| match error {
            NoSlot::Full => {
                let log = format!("max connections ({max}) reached");
                End::refused(format!("{log} -- try again later"), log)
            }
            NoSlot::Unusable(error) => {
                let file = String::from_utf8_lossy(&module.lock_file);
                let cause = cause(&error);
                let log = format!("rsync: [Receiver] failed to open lock file {file}: {cause}");
                self.standing.at(Step::LockFile);
                End::refused("failed to open lock file", log)
            }
        })
    }

    /// Goes over to the log of the module, if it has one of its own.
    fn switch_log(&mut self, module: &Module) {
        let target = self.log.target();
        let same = self.service.log_file.is_some() || target.file == module.log_file;
        let same_syslog =
            target.facility == module.syslog_facility && target.tag == module.syslog_tag;
        if !same || !same_syslog {
            self.log = open_log(self.service, module);
        }
    }

    /// `HOST (ADDR)`.
    pub(crate) fn client(&self) -> Vec<u8> {
        client_name(b"", &self.peer.host, self.peer.addr)
    }

    fn set_variable(&mut self, name: &'static str, value: Vec<u8>) {
        self.variables.retain(|(known, _)| *known != name);
        self.variables.push((name, value));
    }

    /// The variables of this connection, for commands of the operator.
    fn hook_variables(&self) -> Variables {
        let known = self.variables.iter();
        known.map(|(name, value)| ((*name).to_string(), value.clone())).collect()
    }

    fn environment(&self) -> impl Fn(&[u8]) -> Option<Vec<u8>> + '_ {
        |name: &[u8]| {
            let own = self.variables.iter().find(|(known, _)| known.as_bytes() == name);
            own.map(|(_, value)| value.clone()).or_else(|| files::system_variable(name))
        }
    }

    fn end(mut self, end: End) -> i32 {
        match end {
            End::Elsewhere(exit) => exit.code(),
            End::Answered => {
                self.standing.parts(Parting::Served);
                self.stream.linger(LINGER);
                NO_SESSION
            }
            End::Dropped { log, exit } => {
                self.standing.parts(match exit {
                    ExitCode::Timeout => Parting::TimedOut,
                    ExitCode::StreamIo if log.is_empty() => Parting::Left,
                    ExitCode::SocketIo => Parting::Left,
                    _ => Parting::Refused,
                });
                self.log_unless_empty(&log);
                exit.code()
            }
            End::Refused { client, log, exit } => {
                self.standing.parts(Parting::Refused);
                self.log_unless_empty(&log);
                let line = [b"@ERROR: ", client.as_slice(), b"\n"].concat();
                self.stream.begin_phase();
                if self.stream.write(&line).is_ok() {
                    self.stream.linger(LINGER);
                }
                exit
            }
        }
    }

    fn log_unless_empty(&self, text: &[u8]) {
        if !text.is_empty() {
            self.log.warning(text);
        }
    }

    fn into_session(self, admitted: Admitted) -> DaemonSession {
        let variables = self.hook_variables();
        let Admitted { protocol, module, user, asked, entered, slot, helpers } = admitted;
        let ((arguments, paths), (pre, converter, charset)) = (asked, helpers);
        let refused = RefuseSet::compile(&module.refuse_options, &option_rows(), charset.is_some());
        for remark in &refused.remarks {
            self.log.warning(remark);
        }
        let sending = arguments.sending();
        self.standing.tell(|standing| {
            standing.step = Step::Transfer;
            standing.sending = Some(sending);
        });
        let client = client_name(&user, &self.peer.host, self.peer.addr);
        let direction: &[u8] = if sending { b"rsync on " } else { b"rsync to " };
        let request = arguments.paths.join(&b' ');
        self.log.info([direction, &request, b" from ", &client].concat());
        let dot = std::iter::once(b".".to_vec());
        let args: Vec<_> = arguments.options.into_iter().chain(dot).chain(paths).collect();
        let shown = arguments::shown(&args, entered.confined);
        let variables = hooks::with_request(&variables, &arguments.paths, &shown);
        let refusal = pre.and_then(|pre| pre.finish(&variables));
        let begin = |waiting: WaitingConverter| waiting.begin(&variables, self.log.clone());
        let converter = converter.map(begin).map(|names| Arc::new(Mutex::new(names)));
        let (input, output, ahead) = self.stream.into_parts();
        DaemonSession {
            input,
            output,
            ahead,
            protocol,
            args,
            sending,
            root: entered.root,
            confined: entered.confined,
            munge: entered.munge,
            numeric_ids: entered.numeric_ids,
            filters: entered.filters,
            module,
            addr: self.peer.addr,
            host: self.peer.host,
            user,
            refused,
            refusal,
            converter,
            charset,
            log: self.log,
            bwlimit: self.service.bwlimit,
            standing: self.standing,
            slot,
        }
    }
}

fn unknown_module(name: &[u8]) -> Vec<u8> {
    [b"Unknown module '", name, b"'"].concat()
}

/// Looks the client's paths up in the module, below its root and without what its filter hides.
fn module_paths(
    arguments: &Arguments,
    module: &[u8],
    entered: &Entered,
) -> Result<Vec<Vec<u8>>, End> {
    let list = |dir: &[u8]| {
        let read = || entered.root.dir(RelPath::new(dir).ok()?).ok()?.read_entries().ok();
        let names = read().unwrap_or_default();
        names.into_iter().map(|entry| entry.name.as_bytes().to_vec()).collect()
    };
    let exists = |path: &[u8]| enter::visible(&entered.root, &entered.filters, path);
    Ok(arguments.module_paths((module, entered.confined), &list, &exists)?)
}

#[cfg(test)]
#[path = "connection_tests.rs"]
mod tests;
