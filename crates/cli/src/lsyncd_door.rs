//! `livemirror lsyncd`: lsyncd's command line, its log, pid file, daemon and exit codes.

use std::io::Write as _;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI32, Ordering};

use mirror::config::Once;
use mirror::config::foreign::{ForeignConfig, ProcessSettings};
use mirror::config::lsyncd;
use mirror::config::toml::ConfigError;
use mirror::report::{Report, What};
use mirror::watch::BackendChoice;
use rsync::daemon::log::{DaemonLog, LogTarget, shown_line};
use rsync::daemon::params::{ParamKind, ParamValue, parse_value};
use rsync::daemon::{files, pidfile};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use wire::exit::ExitCode;

use crate::log_lines::Lines;
use crate::{console, signals};

const HELP: &str = "
USAGE:
  runs a config file:
    lsyncd [OPTIONS] [CONFIG-FILE]

  default rsync behaviour:
    lsyncd [OPTIONS] -rsync [SOURCE] [TARGET]

  default rsync over ssh:
    lsyncd [OPTIONS] -rsyncssh [SOURCE] [HOST] [TARGETDIR]

  default local copying:
    lsyncd [OPTIONS] -direct [SOURCE] [TARGETDIR]

OPTIONS:
  -delay SECS         Overrides default delay times
  -help               Shows this
  -insist             What happens anyway: a target that is down is tried again; with -onepass
                      it is not without this
  -log    all         Logs everything there is
  -log    scarce      Logs warnings and errors only
  -log    [Category]  Turns on a kind of lines: Exec, Inotify, Delay, or one of a
                      configuration's own
  -logfile FILE       Writes log to FILE (DEFAULT: uses syslog)
  -monitor NAME       Watches with NAME; without NAME lists what there is
  -onepass            Ends when all syncs have compared and sent everything once
  -nodaemon           Does not detach and logs to stdout/stderr
  -pidfile FILE       Writes the PID into FILE
  -version            Prints versions and exits

No programs are run but those of the configuration's own actions: the transfers are livemirror's.

";

/// What lsyncd ends with on any failure.
const FAILURE: i32 = 255;

/// The command line.
#[derive(Default)]
struct DoorArgs {
    file: Option<Vec<u8>>,
    /// Calls of `sync`, as the text of a configuration.
    syncs: String,
    delay_ms: Option<u64>,
    monitor: Option<BackendChoice>,
    lines: Lines,
    log_file: Option<Vec<u8>>,
    pid_file: Option<Vec<u8>>,
    foreground: bool,
    once: bool,
    insist: bool,
}

/// Why the door stays shut.
pub(crate) enum Shut {
    Said(i32),
    Wrong(String),
    Refused(String),
}

/// `livemirror lsyncd`, or a link named `lsyncd`.
pub(crate) fn run(args: &[Vec<u8>]) -> i32 {
    let args = match parse(args) {
        Ok(args) => args,
        Err(Shut::Said(code)) => return code,
        Err(Shut::Wrong(text)) => return say_error(&text, FAILURE),
        Err(Shut::Refused(text)) => return say_error(&text, ExitCode::Unsupported.code()),
    };
    let mut loaded = match load(&args) {
        Ok(loaded) => loaded,
        Err(errors) => {
            let ends = errors.iter().find_map(|error| error.ends);
            return tell(&errors, ends.unwrap_or(FAILURE));
        }
    };
    let process = loaded.process.clone();
    if !process.foreground
        && let Err(text) = leave_terminal(&process)
    {
        return say_error(&text, FAILURE);
    }
    let pid_file = match process.pid_file.as_deref().filter(|_| !process.foreground) {
        Some(path) => match pidfile::take(path) {
            Ok(file) => Some(file),
            Err(text) => return say_error(&text, FAILURE),
        },
        None => None,
    };
    let log = Arc::new(Log::open(&process, args.lines.clone()));
    let (stop, last) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicI32::new(0)));
    signals::note_signal(&stop, &last);
    let code = loop {
        log.line("Normal", "--- Startup ---");
        let code = mirror_until_signal(loaded, &log, &stop);
        match last.swap(0, Ordering::AcqRel) {
            SIGHUP => log.line("Normal", "--- HUP signal, resetting ---"),
            SIGTERM => break ended(&log, "TERM", SIGTERM),
            SIGINT => break ended(&log, "INT", SIGINT),
            _ => break if code == 0 { 0 } else { FAILURE },
        }
        stop.store(false, Ordering::Release);
        loaded = match load(&args) {
            Ok(again) => again,
            Err(errors) => {
                errors.iter().for_each(|error| log.line("Error", &error.to_string()));
                break FAILURE;
            }
        };
    };
    if let Some(file) = pid_file {
        file.remove();
    }
    code
}

fn ended(log: &Log, name: &str, signal: i32) -> i32 {
    log.line("Normal", &format!("--- {name} signal, fading ---"));
    128 + signal
}

fn say_error(text: &str, code: i32) -> i32 {
    console::err(format!("Error: {text}\n").as_bytes());
    code
}

/// Prints what is wrong with a configuration; the exit code, which is that of a refusal when nothing
/// but refusals is there.
pub(crate) fn tell(errors: &[ConfigError], otherwise: i32) -> i32 {
    for error in errors {
        console::err(format!("Error: {error}\n").as_bytes());
    }
    match errors.iter().all(|error| error.refused) {
        true => ExitCode::Unsupported.code(),
        false => otherwise,
    }
}

fn load(args: &DoorArgs) -> Result<ForeignConfig, Vec<ConfigError>> {
    use std::os::unix::ffi::OsStrExt;
    let mut loaded = match &args.file {
        Some(file) => lsyncd::load(Path::new(std::ffi::OsStr::from_bytes(file)))?,
        None => lsyncd::load_text("command line", &args.syncs)?,
    };
    let process = &mut loaded.process;
    process.log_file = args.log_file.clone().or(process.log_file.take());
    process.pid_file = args.pid_file.clone().or(process.pid_file.take());
    process.foreground |= args.foreground;
    loaded.config.trace = args.lines.trace();
    for sync in &mut loaded.config.syncs {
        sync.backend = args.monitor.unwrap_or(sync.backend);
        sync.delay_ms = args.delay_ms.unwrap_or(sync.delay_ms);
        sync.once = match sync.once {
            None if !args.once => None,
            _ if args.insist => Some(Once::Done),
            given => given.or(Some(Once::Tried)),
        };
    }
    Ok(loaded)
}

fn parse(args: &[Vec<u8>]) -> Result<DoorArgs, Shut> {
    let mut got = DoorArgs::default();
    let mut words = args.iter();
    while let Some(word) = words.next() {
        let Some(name) = word.strip_prefix(b"-") else {
            if got.file.replace(word.clone()).is_some() {
                return Err(Shut::Wrong("there can only be one config file".into()));
            }
            continue;
        };
        let name = String::from_utf8_lossy(name.strip_prefix(b"-").unwrap_or(name)).into_owned();
        let mut value = |count: &str| {
            words.next().cloned().ok_or_else(|| Shut::Wrong(format!("{name} needs {count}")))
        };
        match name.as_str() {
            "help" => {
                console::out(HELP.as_bytes());
                return Err(Shut::Said(FAILURE));
            }
            "version" => {
                let version = env!("CARGO_PKG_VERSION");
                console::out(format!("Version: 2.2.3 (livemirror {version})\n").as_bytes());
                return Err(Shut::Said(0));
            }
            "delay" => got.delay_ms = Some(seconds(&value("1 argument")?)?),
            "log" => got.lines.want(&value("1 argument")?)?,
            "monitor" => got.monitor = Some(monitor(words.next())?),
            "logfile" => got.log_file = Some(value("1 argument")?),
            "pidfile" => got.pid_file = Some(value("1 argument")?),
            "nodaemon" => got.foreground = true,
            "insist" => got.insist = true,
            "onepass" => got.once = true,
            "rsync" | "direct" => {
                let pair = [("source", value("2 arguments")?), ("target", value("2 arguments")?)];
                got.syncs.push_str(&call(&name, &pair));
            }
            "rsyncssh" => {
                let three = [
                    ("source", value("3 arguments")?),
                    ("host", value("3 arguments")?),
                    ("targetdir", value("3 arguments")?),
                ];
                got.syncs.push_str(&call(&name, &three));
            }
            "runner" | "script" | "sshopts" => return Err(refused(&name)),
            _ => return Err(Shut::Wrong(format!("unknown command line option -{name}"))),
        }
    }
    match (&got.file, got.syncs.is_empty()) {
        (Some(_), false) => {
            Err(Shut::Wrong("there cannot be command line syncs and a config file together".into()))
        }
        (None, true) => {
            console::out(HELP.as_bytes());
            Err(Shut::Said(FAILURE))
        }
        _ => Ok(got),
    }
}

fn seconds(text: &[u8]) -> Result<u64, Shut> {
    let text = String::from_utf8_lossy(text).into_owned();
    let seconds = text.parse::<f64>().ok().filter(|s| (0.0..=1e7).contains(s));
    seconds.map(|s| (s * 1000.0) as u64).ok_or(Shut::Wrong(format!("-delay {text}: no number")))
}

/// A call of `sync` with texts, each byte of them as a number so that none has a meaning.
fn call(layer: &str, keys: &[(&str, Vec<u8>)]) -> String {
    let mut text = format!("sync {{ default.{layer}");
    for (key, value) in keys {
        let bytes: String = value.iter().map(|b| format!("\\{b:03}")).collect();
        text.push_str(&format!(", {key} = \"{bytes}\""));
    }
    text.push_str(" }\n");
    text
}

fn leave_terminal(process: &ProcessSettings) -> Result<(), String> {
    if let Some(path) = &process.log_file {
        // Nobody would hear of a log that cannot be written.
        files::open_log(path).map_err(|error| {
            format!("cannot open logfile {}: {error}", String::from_utf8_lossy(path))
        })?;
    }
    if let Some(path) = &process.pid_file {
        pidfile::probe(path)?;
    }
    tree::jail::detach().map_err(|error| format!("cannot daemonize: {error}"))
}

fn mirror_until_signal(loaded: ForeignConfig, log: &Arc<Log>, stop: &Arc<AtomicBool>) -> i32 {
    for (category, text) in &loaded.lines {
        log.line(category, text);
    }
    for text in log.lines.without_use(&loaded.config) {
        log.line("Normal", &text);
    }
    for remark in &loaded.remarks {
        log.line("Warn", &remark.to_string());
    }
    let ways: Vec<(String, String)> = loaded
        .config
        .syncs
        .iter()
        .filter(|sync| !sync.script)
        .map(|sync| {
            let shown = |text: &[u8]| String::from_utf8_lossy(text).into_owned();
            (sync.name.clone(), format!("{}/ -> {}", shown(&sync.source), shown(&sync.target)))
        })
        .collect();
    let log = Arc::clone(log);
    let say = move |report: Report| {
        let way = ways.iter().find(|(name, _)| *name == report.sync);
        let way = way.map_or("", |(_, way)| way);
        match &report.what {
            What::Watching { .. } => {
                log.line("Normal", &report.line());
                if !way.is_empty() {
                    log.line("Normal", &format!("recursive startup rsync: {way}"));
                }
            }
            What::Pass { first: true, .. } => {
                log.line("Normal", &format!("Startup of {way} finished."));
            }
            What::Batch { .. } => {
                let line = format!("Finished a list after exitcode: 0, {}", report.line());
                log.line("Normal", &line);
            }
            What::Retry { .. } => {
                log.line("Warn", &format!("Retrying a list, {}", report.line()));
            }
            What::Overflow => log.line("Normal", "--- OVERFLOW in event queue ---"),
            What::Progress(_) => {}
            What::Script { category, text } => {
                let lines: Vec<String> = text.split('\n').map(shown_line).collect();
                log.line(category, &lines.join("\n"));
            }
            What::Warning { .. } => log.line("Warn", &report.line()),
            What::Stopped { .. } => log.line("Error", &report.line()),
            What::Pass { .. } | What::Ended { .. } => log.line("Normal", &report.line()),
        }
    };
    mirror::run::runner::run(loaded.config, Box::new(say), Arc::clone(stop)).code()
}

/// An option that is not done here, with what to do instead.
fn refused(name: &str) -> Shut {
    let instead = match name {
        "script" => "write dofile(\"FILE\") at the head of the configuration",
        "sshopts" => "write ssh = { _extra = { ... } } into the sync of a configuration",
        _ => "nothing of lsyncd's own is loaded here",
    };
    Shut::Refused(format!("-{name} is not done here: {instead}"))
}

/// `-monitor NAME`.
fn monitor(name: Option<&Vec<u8>>) -> Result<BackendChoice, Shut> {
    match name.map(Vec::as_slice) {
        None => {
            console::out(b"This Lsyncd supports these monitors:\n   inotify\n   fanotify\n\n");
            Err(Shut::Said(FAILURE))
        }
        Some(b"inotify") => Ok(BackendChoice::Inotify),
        Some(b"fanotify") => Ok(BackendChoice::Fanotify),
        Some(other) => {
            let other = String::from_utf8_lossy(other).into_owned();
            let text = format!("-monitor {other}: inotify and fanotify are what is here");
            Err(Shut::Refused(text))
        }
    }
}

/// Where log lines go: a file, the terminal, the system's log.
struct Log {
    file: Option<Vec<u8>>,
    terminal: bool,
    system: Option<DaemonLog>,
    lines: Lines,
}

impl Log {
    fn open(process: &ProcessSettings, lines: Lines) -> Log {
        let (file, terminal) = (process.log_file.clone(), process.foreground);
        let facility = process.log_facility.as_deref().unwrap_or(b"user");
        let facility = match parse_value(ParamKind::Facility, facility) {
            Ok(ParamValue::Int(number)) => u8::try_from(number).unwrap_or(1),
            _ => 1,
        };
        let tag = process.log_ident.clone().unwrap_or(b"lsyncd".to_vec());
        let target = LogTarget { file: Vec::new(), facility, tag };
        let wanted = file.is_none() && !terminal;
        let system = wanted.then(|| DaemonLog::open(&target, files::open_log).0);
        Log { file, terminal, system, lines }
    }

    fn line(&self, category: &str, text: &str) {
        if !self.lines.has(category) {
            return;
        }
        let now = jiff::Zoned::now();
        if let Some(path) = &self.file {
            let time = now.strftime("%a %b %e %H:%M:%S %Y");
            // Opened for each line, so that a log that was moved away begins anew.
            let written = files::open_log(path).and_then(|mut file| {
                file.write_all(format!("{time} {category}: {text}\n").as_bytes())
            });
            if let Err(error) = written
                && self.terminal
            {
                console::err(format!("Error: cannot write the log: {error}\n").as_bytes());
            }
        }
        if self.terminal {
            let line = format!("{} {category}: {text}\n", now.strftime("%H:%M:%S"));
            match category {
                "Warn" | "Error" => console::err(line.as_bytes()),
                _ => console::out(line.as_bytes()),
            }
        }
        if let Some(system) = &self.system {
            let line = format!("{category}, {text}");
            match category {
                "Warn" | "Error" => system.warning(line),
                _ => system.info(line),
            }
        }
    }
}
