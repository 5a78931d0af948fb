//! `livemirror serve` and `rsync --daemon`: the listener, and the process of each connection.

use std::ffi::OsString;
use std::io;
use std::net::IpAddr;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStringExt;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicI32, Ordering};

use rsync::control::Control;
use rsync::daemon::connection::{self, Arrival};
use rsync::daemon::listen::{self, Asked, ListenArgs, ListenerContext, Respawn};
use rsync::daemon::module::ServeFlags;
use rsync::daemon::peer;
use rsync::daemon::service::{ConfigSource, Service, TlsFiles, default_config};
use rsync::daemon::standing::{Step, Teller};
use rsync::location::TLS_PORT;
use rsync::options::daemon_args::DaemonArgs;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use tree::page::Page;
use wire::exit::ExitCode;

use crate::console::{self, Terminal};
use crate::serve_status::{self, Desk};

/// First word of a connection's process.
pub(crate) const CONNECTION: &[u8] = b"__connection";

const HELP: &str = "\
livemirror serve CONFIG [--port N] [--address A] [--detach]
livemirror serve --module NAME=PATH... [--user NAME --secrets FILE] [--port N] [--address A]
livemirror serve --status [--port N] [--json]

With --tls-cert FILE --tls-key FILE every connection is within TLS, on port 874, for clients with
rsyncs:// or rsync-ssl; with --tls-client-ca FILE they need a certificate from there.

The receiving daemon: an rsync daemon for clients of any age. CONFIG is an rsyncd.conf; with
--module no file is needed, and the modules may be written to. It stays in the foreground unless
--detach is given. HUP reads the configuration anew (each connection does so too). TERM lets nobody
else in and ends when the last connection has, a second TERM at once. A manager of services is told
when it is ready, and may listen itself (systemd: ListenStream=873 with Accept=no, or Accept=yes and
StandardInput=socket for `rsync --daemon`). --check reads the configuration, says what is wrong or
risky, and ends.

--status asks the daemons of this user that `livemirror serve` started, or the one of --port: who is
connected, to which module, as whom, in which direction, since when and how fast; how many connections
were accepted, ended and refused, and why. They answer this user and root, at a socket below
/run/livemirror or $XDG_RUNTIME_DIR/livemirror, or where --socket=PATH says, to both.
";

/// `rsync --daemon`.
pub(crate) fn rsync_daemon(args: &DaemonArgs) -> i32 {
    if args.temp_dir.is_some() || args.protocol.is_some() {
        console::err(
            b"livemirror: --temp-dir and --protocol are not supported in daemon mode yet\n",
        );
        return ExitCode::Unsupported.code();
    }
    let source =
        args.config.clone().map_or_else(|| default_config(args.server), ConfigSource::File);
    let service = Service {
        overrides: args
            .dparams
            .iter()
            .map(|(name, value)| [name, value.as_slice()].join(&b'='))
            .collect(),
        log_file: args.log_file.clone(),
        log_format: args.log_format.clone(),
        bwlimit: u64::from(args.bwlimit_kib) * 1024,
        socket_options: args.sockopts.clone(),
        verbose: args.verbose,
        ..Service::new(source)
    };
    let stdin = io::stdin().as_fd().try_clone_to_owned();
    if args.server || stdin.as_ref().is_ok_and(peer::is_connection) {
        return attend(&service, args.server, Teller::default());
    }
    let listen = ListenArgs { address: args.address.clone(), port: args.port, family: args.family };
    listen_until_signal(&service, &listen, args.no_detach, None)
}

/// `livemirror serve`.
pub(crate) fn serve(args: &[Vec<u8>]) -> i32 {
    match parse(args) {
        Ok(Wanted::Help) => {
            console::out(HELP.as_bytes());
            0
        }
        Ok(Wanted::Check(service)) => check(&service),
        Ok(Wanted::Status { socket, port, json }) => {
            serve_status::ask(socket.as_deref(), port, json)
        }
        Ok(Wanted::Serve { service, listen, stay, socket }) => {
            listen_until_signal(&service, &listen, stay, Some(Own { socket }))
        }
        Err(text) => {
            console::err(format!("livemirror: {text}\n").as_bytes());
            ExitCode::Syntax.code()
        }
    }
}

enum Wanted {
    Help,
    Check(Service),
    Status { socket: Option<Vec<u8>>, port: Option<u16>, json: bool },
    Serve { service: Service, listen: ListenArgs, stay: bool, socket: Option<Vec<u8>> },
}

/// What `livemirror serve` has and the reference has not: HUP has the configuration read anew, and
/// there is a status, at a socket.
struct Own {
    socket: Option<Vec<u8>>,
}

fn port_number(text: &[u8]) -> Result<u16, String> {
    let text = String::from_utf8_lossy(text);
    text.parse().map_err(|_| format!("--port: {text} is no port"))
}

/// The words beside `--status`.
fn parse_status(args: &[Vec<u8>]) -> Result<Wanted, String> {
    let (mut socket, mut port, mut json) = (None, None, false);
    let mut words = args.iter();
    while let Some(word) = words.next() {
        let shown = String::from_utf8_lossy(word).into_owned();
        let mut value = || words.next().cloned().ok_or(format!("{shown} needs a value"));
        match word.as_slice() {
            b"--help" | b"-h" => return Ok(Wanted::Help),
            b"--status" => {}
            b"--json" => json = true,
            b"--port" => port = Some(port_number(&value()?)?),
            b"--socket" => socket = Some(value()?),
            word => match (word.strip_prefix(b"--port="), word.strip_prefix(b"--socket=")) {
                (Some(text), _) => port = Some(port_number(text)?),
                (_, Some(path)) => socket = Some(path.to_vec()),
                _ => return Err("--status takes --port, --socket and --json".into()),
            },
        }
    }
    Ok(Wanted::Status { socket, port, json })
}

fn parse(args: &[Vec<u8>]) -> Result<Wanted, String> {
    if args.iter().any(|word| word == b"--status") {
        return parse_status(args);
    }
    let mut flags = ServeFlags::default();
    let mut file = None;
    let (mut cert, mut key, mut client_ca) = (None, None, None);
    let (mut stay, mut check) = (true, false);
    let mut socket = None;
    let mut words = args.iter();
    while let Some(word) = words.next() {
        let (name, given) = match word.iter().position(|&b| b == b'=') {
            Some(at) if word.starts_with(b"--") => (&word[..at], Some(word[at + 1..].to_vec())),
            _ => (&word[..], None),
        };
        let shown = String::from_utf8_lossy(name).into_owned();
        let mut value = || {
            given.clone().or_else(|| words.next().cloned()).ok_or(format!("{shown} needs a value"))
        };
        match name {
            b"--help" | b"-h" => return Ok(Wanted::Help),
            b"--check" => check = true,
            b"--socket" => socket = Some(value()?),
            b"--detach" => stay = false,
            b"--no-detach" => stay = true,
            b"--module" => {
                let text = value()?;
                let at = text.iter().position(|&b| b == b'=').ok_or("--module is NAME=PATH")?;
                flags.modules.push((text[..at].to_vec(), text[at + 1..].to_vec()));
            }
            b"--tls-cert" => cert = Some(value()?),
            b"--tls-key" => key = Some(value()?),
            b"--tls-client-ca" => client_ca = Some(value()?),
            b"--user" => flags.user = Some(value()?),
            b"--secrets" => flags.secrets = Some(value()?),
            b"--address" => flags.address = Some(value()?),
            b"--port" => flags.port = Some(port_number(&value()?)?),
            _ if word.starts_with(b"-") => {
                return Err(format!("unknown option {shown} (livemirror serve --help)"));
            }
            _ if file.is_some() => return Err("give one configuration file".into()),
            _ => file = Some(word.clone()),
        }
    }
    let tls = match (cert, key, client_ca) {
        (None, None, None) => None,
        (Some(cert), Some(key), client_ca) => Some(TlsFiles { cert, key, client_ca }),
        _ => return Err("--tls-cert and --tls-key belong together".into()),
    };
    if let Some(files) = &tls {
        tls_is_right(files)?;
        flags.port = flags.port.or(Some(TLS_PORT));
    }
    let listen = ListenArgs { address: flags.address.clone(), port: flags.port, family: None };
    let service = match file {
        Some(_) if !flags.modules.is_empty() => {
            return Err("give a file or --module, not both".into());
        }
        Some(file) => Service::new(ConfigSource::File(file)),
        None if flags.modules.is_empty() => {
            return Err("give a configuration file or --module NAME=PATH".into());
        }
        None => Service::new(ConfigSource::Flags(flags)),
    };
    let service = Service { tls, ..service };
    Ok(match check {
        true => Wanted::Check(service),
        false => Wanted::Serve { service, listen, stay, socket },
    })
}

fn check(service: &Service) -> i32 {
    if let ConfigSource::File(path) = &service.source {
        return crate::check::show(&mirror::check::check_daemon(path), false);
    }
    match service.load(&rsync::daemon::files::system_variable) {
        Err(error) => {
            console::err(format!("{error}\n").as_bytes());
            2
        }
        Ok((config, _)) => {
            let advice = rsync::daemon::advice::lint(&config).into_iter();
            crate::check::show(&advice.map(Into::into).collect::<Vec<_>>(), false)
        }
    }
}

fn listen_until_signal(service: &Service, args: &ListenArgs, stay: bool, own: Option<Own>) -> i32 {
    let Ok((readable, wake)) = UnixStream::pair() else { return ExitCode::Ipc.code() };
    let last = Arc::new(AtomicI32::new(0));
    for signal in [SIGTERM, SIGINT, SIGHUP] {
        let (Ok(wake), last) = (wake.try_clone(), last.clone()) else {
            return ExitCode::Ipc.code();
        };
        // A handler may only do what is safe at any moment: a store and a write.
        let act = move || {
            last.store(signal, Ordering::Release);
            let _ = rustix::io::write(&wake, b"x");
        };
        if register(signal, act).is_err() {
            return ExitCode::Ipc.code();
        }
    }
    let respawn = Respawn {
        program: OsString::from("/proc/self/exe"),
        args: vec![OsString::from_vec(CONNECTION.to_vec())],
    };
    let desk = Desk::default();
    let around = ListenerContext {
        console: &Terminal,
        detach: &tree::jail::detach,
        stay,
        stop: readable.as_fd(),
        begun: &|port, tally| desk.open(own.as_ref()?.socket.as_deref(), port, tally),
        signal: &|| match last.load(Ordering::Acquire) {
            SIGTERM if own.is_some() => Asked::Drain,
            SIGTERM => Asked::End(ExitCode::Ok),
            SIGHUP if own.is_some() => Asked::Reload,
            _ => Asked::End(ExitCode::Signal),
        },
    };
    let exit = listen::serve(service, args, &respawn, &around);
    desk.close();
    exit.code()
}

#[allow(unsafe_code)]
fn register(signal: i32, act: impl Fn() + Send + Sync + 'static) -> io::Result<()> {
    // SAFETY: the action only stores to an atomic and writes one byte to a descriptor, both of
    // which are async-signal-safe.
    unsafe { signal_hook::low_level::register(signal, act) }.map(drop)
}

/// The process of one connection: descriptor 0 is the client, 1 the page in which the listener is
/// told how things stand.
pub(crate) fn connection(args: &[Vec<u8>]) -> i32 {
    let words: Vec<OsString> = args.iter().cloned().map(OsString::from_vec).collect();
    match Service::from_words(&words) {
        Some(service) => {
            let page = io::stdout().as_fd().try_clone_to_owned();
            if rustix::stdio::dup2_stdout(io::stdin()).is_err() {
                return ExitCode::Ipc.code();
            }
            attend(&service, false, Teller::new(page.ok().map(Page::from_fd)))
        }
        None => ExitCode::Syntax.code(),
    }
}

/// Has every connection within TLS: says what is wrong with certificate and key before anybody comes.
#[cfg(feature = "tls")]
fn tls_is_right(files: &TlsFiles) -> Result<(), String> {
    rsync::tls::server::config(files).map(drop)
}

#[cfg(not(feature = "tls"))]
fn tls_is_right(_: &TlsFiles) -> Result<(), String> {
    Err("this program is built without TLS".into())
}

/// The client's connection, out of TLS where the service wants that; or the exit code of the half of
/// the process that only carries bytes, or none for a client that is not served.
#[cfg(feature = "tls")]
fn unwrapped(service: &Service, input: OwnedFd, addr: IpAddr) -> Result<OwnedFd, Option<i32>> {
    use rsync::tls::server::{Half, accept};
    let Some(files) = &service.tls else { return Ok(input) };
    match accept(files, input) {
        Ok(Half::Serves(plain)) => Ok(plain),
        Ok(Half::Carried(exit)) => Err(Some(exit.code())),
        Err(why) => {
            connection::not_served(service, addr, &why);
            Err(None)
        }
    }
}

#[cfg(not(feature = "tls"))]
fn unwrapped(service: &Service, input: OwnedFd, _: IpAddr) -> Result<OwnedFd, Option<i32>> {
    // Nothing that should be within TLS is ever served in clear.
    if service.tls.is_some() { Err(None) } else { Ok(input) }
}

/// Serves the client on standard input and output.
fn attend(service: &Service, via_shell: bool, standing: Teller) -> i32 {
    let own = |fd: std::os::fd::BorrowedFd<'_>| -> io::Result<OwnedFd> { fd.try_clone_to_owned() };
    let (Ok(input), Ok(output)) = (own(io::stdin().as_fd()), own(io::stdout().as_fd())) else {
        return ExitCode::Ipc.code();
    };
    let standing = Arc::new(standing);
    let mut arrival =
        Arrival { service, input, output, via_shell, address: None, standing: standing.clone() };
    if service.tls.is_some() {
        standing.at(Step::Tls);
        let addr = peer::address(&arrival.input, via_shell);
        let plain = match unwrapped(service, arrival.input, addr) {
            Ok(plain) => plain,
            Err(Some(exit)) => return exit,
            Err(None) => {
                standing.refused(Step::Tls);
                return ExitCode::SocketIo.code();
            }
        };
        let Ok(output) = plain.try_clone() else { return ExitCode::Ipc.code() };
        let address = Some(addr);
        arrival = Arrival { service, input: plain, output, via_shell, address, standing };
    }
    let serve = |session| {
        let control = Arc::new(Control::default());
        crate::signals::stop_on_signal(&control);
        rsync::daemon_session::run(session, Arc::new(Terminal), control)
    };
    connection::run(arrival, &serve)
}
