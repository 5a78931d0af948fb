//! The listener: sockets, accepting, one process for each connection.
//!
//! Called by the program for `--daemon` and `livemirror serve`. In steps: the whole configuration
//! is read, so that what is wrong is told before anything starts; sockets are bound; the process
//! id file is tried; the program detaches; the file is written; then each connection is given as
//! standard input to a new process of this program, which reads the configuration anew; its
//! standard output is a page in which it tells how things stand. Whatever prevents the start is known,
//! and told, before the program detaches. Children are not ended with the listener.

use std::ffi::OsString;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream, ToSocketAddrs};
use std::os::fd::{BorrowedFd, OwnedFd};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::thread::sleep;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use socket2::{Domain, Protocol, SockRef, Socket, Type};
use tree::page::Page;
use wire::exit::ExitCode;

use crate::console::Console;

use super::advice;
use super::connection::open_log;
use super::log::{DaemonLog, cause, reason};
use super::module::Globals;
use super::pidfile::{self, PidFile};
use super::service::{ConfigSource, Service};
use super::tally::Tally;
use super::{files, manager, sockopts};

/// Used when neither file nor command line names one.
pub const DEFAULT_PORT: u16 = 873;

/// What is said where the kernel has no fence.
const UNFENCED: &str = "this kernel has no landlock (5.19 and later, lsm=landlock): modules are kept \
                        by directory handles alone";
/// How long to wait after a connection could not be given to a process.
const PAUSE: Duration = Duration::from_secs(2);

/// How long ended children may wait to be collected, in seconds.
const COLLECT_S: i64 = 1;

/// How this program is started for one connection: the words before those of
/// [`Service::to_words`].
#[derive(Clone, Debug)]
pub struct Respawn {
    /// The program, as a rule `/proc/self/exe`.
    pub program: OsString,
    /// Its first words.
    pub args: Vec<OsString>,
}

/// What the listener needs from the program it runs in.
pub struct ListenerContext<'a> {
    /// Where what happens at start is told.
    pub console: &'a dyn Console,
    /// Puts the process into the background; not called with `stay`.
    pub detach: &'a dyn Fn() -> io::Result<()>,
    /// Stay in the foreground.
    pub stay: bool,
    /// Becomes readable, a byte for each, when a signal came.
    pub stop: BorrowedFd<'a>,
    /// Called with the port once everything is right and the process has detached, with what is
    /// known of connections. What it gives goes to the log.
    pub begun: &'a dyn Fn(u16, &Arc<Tally>) -> Option<String>,
    /// What the signal that came asks for.
    pub signal: &'a dyn Fn() -> Asked,
}

/// What a signal asks of the listener.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Asked {
    /// To end, with this code. Connections are processes of their own and go on.
    End(ExitCode),
    /// To let nobody else in and to end when the last connection has; asked again, to end at once.
    Drain,
    /// To look at the configuration anew. Each connection does so anyway; here it is told what is
    /// wrong with it while nobody waits for an answer.
    Reload,
}

/// Where to listen, as the command line says it; what it does not say is in the configuration.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ListenArgs {
    /// `--address`.
    pub address: Option<Vec<u8>>,
    /// `--port`; 0 as if it were not there.
    pub port: Option<u16>,
    /// 4 or 6: only that family.
    pub family: Option<u8>,
}

/// Listens until a signal comes. Failures are told and are the exit code.
pub fn serve(
    service: &Service,
    args: &ListenArgs,
    respawn: &Respawn,
    around: &ListenerContext<'_>,
) -> ExitCode {
    match start(service, args, around) {
        Ok(listener) => listener.run(service, respawn, around),
        Err((exit, lines)) => {
            for line in lines {
                tell(around.console, &line);
            }
            exit
        }
    }
}

fn tell(console: &dyn Console, line: &str) {
    console.err(format!("{line}\n").as_bytes());
}

type Failure = (ExitCode, Vec<String>);

/// A listener that has everything it needs.
struct Listener {
    sockets: Vec<TcpListener>,
    pid_file: Option<PidFile>,
    globals: Globals,
    port: u16,
    tally: Arc<Tally>,
}

fn start(
    service: &Service,
    args: &ListenArgs,
    around: &ListenerContext<'_>,
) -> Result<Listener, Failure> {
    let system = |name: &[u8]| files::system_variable(name);
    let (config, globals) = service.load(&system).map_err(|error| {
        let mut lines = vec![error.to_string()];
        if let ConfigSource::File(path) = &service.source {
            let path = String::from_utf8_lossy(path);
            lines.push(format!("Failed to parse config file: {path}"));
        }
        (error.exit_code(), lines)
    })?;
    let log = open_log(service, &globals.defaults);
    let remarks = config.remarks.iter().map(ToString::to_string);
    let hints = advice::lint(&config).into_iter().map(|advice| format!("{advice}"));
    let unfenced = (!tree::confine::available()).then(|| UNFENCED.to_string());
    let lines: Vec<String> = remarks.chain(hints).chain(unfenced).collect();
    for line in &lines {
        log.warning(line);
        tell(around.console, line);
    }
    let wanted = wanted_port(service, args, &globals);
    let fail = |exit, lines: Vec<String>| {
        lines.iter().for_each(|line| log.warning(line));
        (exit, lines)
    };
    let Bound { sockets, port, remarks } = bind_all(service, args, &globals, wanted)
        .map_err(|lines| fail(ExitCode::SocketIo, lines))?;
    for line in &remarks {
        log.warning(line);
        tell(around.console, line);
    }
    let pid_path = globals.pid_file.clone();
    let unusable = |text: String| fail(ExitCode::FileIo, vec![text]);
    if !pid_path.is_empty() {
        pidfile::probe(&pid_path).map_err(unusable)?;
    }
    if wanted == 0 {
        around.console.out(format!("listening on port {port}\n").as_bytes());
    }
    if !around.stay {
        (around.detach)().map_err(|error| {
            fail(ExitCode::Ipc, vec![format!("cannot detach: {}", cause(&error))])
        })?;
    }
    let pid_file = match pid_path.as_slice() {
        [] => None,
        path => Some(pidfile::take(path).map_err(unusable)?),
    };
    let version = env!("CARGO_PKG_VERSION");
    log.info(format!("rsyncd version {version} starting, listening on port {port}"));
    let tally = Arc::default();
    if let Some(remark) = (around.begun)(port, &tally) {
        log.warning(remark);
    }
    manager::tell(&format!("READY=1\nMAINPID={}", std::process::id()));
    Ok(Listener { sockets, pid_file, globals, port, tally })
}

/// The port to bind; 0 lets the system choose, which only `livemirror serve --port 0` asks for.
fn wanted_port(service: &Service, args: &ListenArgs, globals: &Globals) -> u16 {
    let any = matches!(&service.source, ConfigSource::Flags(flags) if flags.port == Some(0));
    let named = args.port.filter(|port| *port != 0).unwrap_or(globals.port);
    if named == 0 && !any { DEFAULT_PORT } else { named }
}

/// Sockets that are bound, and what to tell about others.
struct Bound {
    sockets: Vec<TcpListener>,
    port: u16,
    remarks: Vec<String>,
}

/// Binds every address there is; some may fail, not all. A family that the system does not have is
/// told only with `--verbose`. Sockets that a manager of services hands over stand for all of them.
fn bind_all(
    service: &Service,
    args: &ListenArgs,
    globals: &Globals,
    wanted: u16,
) -> Result<Bound, Vec<String>> {
    let options = service.socket_options.as_ref().unwrap_or(&globals.socket_options);
    let handed = manager::sockets().map_err(|line| vec![line])?;
    if let Some(first) = handed.first() {
        let port = first.local_addr().map_or(wanted, |address| address.port());
        let apply = |socket: &TcpListener| sockopts::apply(&SockRef::from(socket), options);
        let remarks = handed.iter().flat_map(apply).collect();
        return Ok(Bound { sockets: handed, port, remarks });
    }
    let name = args.address.as_ref().unwrap_or(&globals.address);
    let name = String::from_utf8_lossy(name);
    let mut addresses: Vec<IpAddr> = match name.as_ref() {
        "" => vec![Ipv4Addr::UNSPECIFIED.into(), Ipv6Addr::UNSPECIFIED.into()],
        name => match (name, 0).to_socket_addrs() {
            Ok(found) => found.map(|address| address.ip()).collect(),
            Err(error) => return Err(vec![format!("cannot find the address {name}: {error}")]),
        },
    };
    addresses.retain(|address| match args.family {
        Some(4) => address.is_ipv4(),
        Some(6) => address.is_ipv6(),
        _ => true,
    });
    addresses.sort();
    addresses.dedup();
    let mut bound = Bound { sockets: Vec::new(), port: wanted, remarks: Vec::new() };
    let mut failures = Vec::new();
    for address in addresses {
        match bind(SocketAddr::new(address, bound.port), globals.listen_backlog, options) {
            Ok((socket, remarks)) => {
                // Where the system chooses, all families share its first choice.
                bound.port = socket.local_addr().map_or(bound.port, |address| address.port());
                bound.sockets.push(socket);
                bound.remarks.extend(remarks);
            }
            Err(error) => {
                let family = if address.is_ipv4() { 2 } else { 10 };
                let text = format!("bind() failed: {} (address-family {family})", reason(&error));
                let absent = [Some(libc::EAFNOSUPPORT), Some(libc::EADDRNOTAVAIL)];
                if service.verbose > 0 || !absent.contains(&error.raw_os_error()) {
                    bound.remarks.push(text.clone());
                }
                failures.push(text);
            }
        }
    }
    bound.remarks.dedup();
    if bound.sockets.is_empty() {
        failures.push(format!("unable to bind any inbound sockets on port {wanted}"));
        return Err(failures);
    }
    Ok(bound)
}

fn bind(
    address: SocketAddr,
    backlog: i32,
    options: &[u8],
) -> io::Result<(TcpListener, Vec<String>)> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    let remarks = sockopts::apply(&SockRef::from(&socket), options);
    socket.bind(&address.into())?;
    socket.listen(backlog)?;
    socket.set_nonblocking(true)?;
    Ok((socket.into(), remarks))
}

impl Listener {
    fn run(
        mut self,
        service: &Service,
        respawn: &Respawn,
        around: &ListenerContext<'_>,
    ) -> ExitCode {
        let mut children: Vec<Child> = Vec::new();
        let mut draining = false;
        loop {
            children.retain_mut(|child| {
                let there = matches!(child.try_wait(), Ok(None));
                if !there {
                    self.tally.leave(child.id());
                }
                there
            });
            if draining && children.is_empty() {
                self.pid_file.into_iter().for_each(PidFile::remove);
                return ExitCode::Ok;
            }
            match self.wait(around.stop, !children.is_empty()) {
                Ok(Woken::Stop) => {
                    // One byte more or less decides only how often the same is asked.
                    let _ = rustix::io::read(around.stop, &mut [0; 64]);
                    match (around.signal)() {
                        Asked::Reload => self.reload(service),
                        Asked::Drain if !draining => {
                            draining = true;
                            self.drain(service, children.len());
                        }
                        asked => {
                            if !draining {
                                manager::tell("STOPPING=1");
                            }
                            self.pid_file.into_iter().for_each(PidFile::remove);
                            return if let Asked::End(exit) = asked { exit } else { ExitCode::Ok };
                        }
                    }
                }
                Ok(Woken::Ready(ready)) => {
                    for index in ready {
                        let Some(socket) = self.sockets.get(index) else { continue };
                        let accepted = socket.accept().and_then(|(stream, peer)| {
                            self.tally.accept();
                            let given = self.give_to_process(stream, respawn, service, around.stay);
                            let (child, page) = given.inspect_err(|_| self.tally.turn_away())?;
                            self.tally.enter(child.id(), peer.ip(), page);
                            Ok(child)
                        });
                        match accepted {
                            Ok(child) => children.push(child),
                            Err(error) if is_passing(&error) => {}
                            Err(error) => {
                                let log = open_log(service, &self.globals.defaults);
                                let text = format!("cannot serve a connection: {}", cause(&error));
                                log.warning(text);
                                sleep(PAUSE);
                            }
                        }
                    }
                }
                Err(error) => {
                    let log: DaemonLog = open_log(service, &self.globals.defaults);
                    log.warning(format!("waiting on port {}: {}", self.port, cause(&error)));
                    self.pid_file.into_iter().for_each(PidFile::remove);
                    return ExitCode::SocketIo;
                }
            }
        }
    }

    /// Lets nobody else in.
    fn drain(&mut self, service: &Service, connections: usize) {
        manager::tell("STOPPING=1");
        self.sockets.clear();
        if connections > 0 {
            let log = open_log(service, &self.globals.defaults);
            log.info(format!("ending when the last of {connections} connections has"));
        }
    }

    /// Says what is wrong with a configuration that may have changed. Sockets stay what they are.
    fn reload(&self, service: &Service) {
        let system = |name: &[u8]| files::system_variable(name);
        manager::tell("RELOADING=1");
        match service.load(&system) {
            Ok((config, globals)) => {
                let log = open_log(service, &globals.defaults);
                log.info("configuration read anew");
                config.remarks.iter().for_each(|remark| log.warning(remark.to_string()));
                advice::lint(&config).iter().for_each(|advice| log.warning(advice.to_string()));
            }
            Err(error) => {
                let log = open_log(service, &self.globals.defaults);
                log.warning(format!("{error}: no client can enter until that is right"));
            }
        }
        manager::tell("READY=1");
    }

    /// Waits for connections or the end; with children, no longer than until they are collected.
    fn wait(&self, stop: BorrowedFd<'_>, collecting: bool) -> io::Result<Woken> {
        let mut watched = vec![PollFd::from_borrowed_fd(stop, PollFlags::IN)];
        watched.extend(self.sockets.iter().map(|socket| PollFd::new(socket, PollFlags::IN)));
        let limit = collecting.then_some(Timespec { tv_sec: COLLECT_S, tv_nsec: 0 });
        match poll(&mut watched, limit.as_ref()) {
            Ok(_) => {}
            Err(rustix::io::Errno::INTR) => return Ok(Woken::Ready(Vec::new())),
            Err(error) => return Err(error.into()),
        }
        let mut ready = watched.iter().map(|fd| !fd.revents().is_empty());
        if ready.next() == Some(true) {
            return Ok(Woken::Stop);
        }
        Ok(Woken::Ready(ready.enumerate().filter(|(_, is)| *is).map(|(i, _)| i).collect()))
    }

    fn give_to_process(
        &self,
        stream: TcpStream,
        respawn: &Respawn,
        service: &Service,
        stay: bool,
    ) -> io::Result<(Child, Page)> {
        stream.set_nonblocking(false)?;
        let page = Page::new()?;
        let input: OwnedFd = stream.into();
        let mut command = Command::new(&respawn.program);
        manager::variables().for_each(|name| {
            command.env_remove(name);
        });
        let child = command
            .args(&respawn.args)
            .args(service.to_words())
            .stdin(Stdio::from(input))
            .stdout(Stdio::from(page.share()?))
            .stderr(if stay { Stdio::inherit() } else { Stdio::null() })
            .spawn()?;
        Ok((child, page))
    }
}

/// Whether an error of accepting concerns only a peer that has gone again.
fn is_passing(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionReset, Interrupted, WouldBlock};
    matches!(error.kind(), ConnectionAborted | ConnectionReset | Interrupted | WouldBlock)
}

enum Woken {
    Stop,
    Ready(Vec<usize>),
}

#[cfg(test)]
#[path = "listen_tests.rs"]
mod tests;
