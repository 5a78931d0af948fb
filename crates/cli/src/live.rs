//! `livemirror watch`, `run` and `status`: the live mirror's doors.

use std::ffi::OsStr;
use std::io::IsTerminal;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use mirror::check::read::FileKind;
use mirror::config::foreign::ForeignConfig;
use mirror::config::options::{BadWords, from_words};
use mirror::config::toml::ConfigError;
use mirror::config::{Config, SyncConfig};
use mirror::report::{Report, What};
use mirror::status::Answerer;
use mirror::watch::BackendChoice;
use rsync::options::Options;
use wire::exit::ExitCode;

use crate::{console, signals};

const WATCH_HELP: &str = "\
livemirror watch [OPTIONS] SRC... DEST

Copies each SRC to DEST, then keeps DEST up to date with every change. SRC/ stands for the content
of SRC, SRC for the directory itself. DEST is a path, host:path, host::module/path or
rsync://[user@]host[:port]/module/path.

  --delete            propagate deletions (without it, DEST only ever gains and changes files)
  --allow-empty       with --delete, let an empty source empty its target
  --exclude=PATTERN   leave out what matches (also --include, --exclude-from, --filter)
  --backend=KIND      auto, fanotify or inotify
  --quiet-ms=N        send a file that stays open after N milliseconds without a write
  --json              one JSON object per event on standard output
  --name=NAME         name of this mirror for `livemirror status`
  --socket=PATH       where `livemirror status` can ask

Options of rsync are taken as rsync takes them: -z, -H, --password-file, --bwlimit, --timeout,
-e, --rsync-path, --port, --numeric-ids, --chmod, --no-owner ... The start is always -a.
";

/// Own options of `watch`; everything else is rsync's.
#[derive(Default)]
struct WatchArgs {
    delete: bool,
    allow_empty: bool,
    json: bool,
    backend: Option<BackendChoice>,
    quiet_ms: Option<u64>,
    name: Option<String>,
    socket: Option<Vec<u8>>,
    rest: Vec<Vec<u8>>,
}

/// `livemirror watch`.
pub(crate) fn watch(args: &[Vec<u8>]) -> i32 {
    if args.iter().any(|arg| arg == b"--help" || arg == b"-h") {
        console::out(WATCH_HELP.as_bytes());
        return 0;
    }
    let wrong = |text| BadWords { text, exit: ExitCode::Syntax };
    let own = watch_args(args).map_err(wrong);
    match own.and_then(|own| Ok((own.json, watch_config(own)?))) {
        Ok((json, config)) => start(config, json),
        Err(bad) => refuse(&bad),
    }
}

fn refuse(bad: &BadWords) -> i32 {
    console::err(format!("livemirror: {}\n", bad.text.trim_end()).as_bytes());
    bad.exit.code()
}

fn watch_args(args: &[Vec<u8>]) -> Result<WatchArgs, String> {
    let mut own = WatchArgs::default();
    let mut words = args.iter();
    while let Some(arg) = words.next() {
        let (name, given) = match arg.iter().position(|&b| b == b'=') {
            Some(at) if arg.starts_with(b"--") => (&arg[..at], Some(arg[at + 1..].to_vec())),
            _ => (&arg[..], None),
        };
        let mut value = |what: &str| {
            given.clone().or_else(|| words.next().cloned()).ok_or(format!("{what} needs a value"))
        };
        match name {
            b"--delete" => own.delete = true,
            b"--allow-empty" => own.allow_empty = true,
            b"--json" => own.json = true,
            b"--backend" => {
                own.backend = Some(match value("--backend")?.as_slice() {
                    b"auto" => BackendChoice::Auto,
                    b"fanotify" => BackendChoice::Fanotify,
                    b"inotify" => BackendChoice::Inotify,
                    _ => return Err("--backend is auto, fanotify or inotify".into()),
                });
            }
            b"--quiet-ms" => {
                let text = String::from_utf8_lossy(&value("--quiet-ms")?).into_owned();
                let number =
                    text.parse().map_err(|_| format!("--quiet-ms: {text} is no number"))?;
                own.quiet_ms = Some(number);
            }
            b"--name" => own.name = Some(String::from_utf8_lossy(&value("--name")?).into_owned()),
            b"--socket" => own.socket = Some(value("--socket")?),
            _ => own.rest.push(arg.clone()),
        }
    }
    Ok(own)
}

fn watch_config(own: WatchArgs) -> Result<Config, BadWords> {
    let env = |name: &str| std::env::var_os(name).map(OsStringExt::into_vec);
    let args: Vec<Vec<u8>> = [b"-a".to_vec()].into_iter().chain(own.rest).collect();
    let parsed = from_words(&args, &env)?;
    let options = parsed.options;
    let Some((target, sources)) = parsed.words.split_last().filter(|(_, s)| !s.is_empty()) else {
        let text = "give at least one source and a target (livemirror watch --help)".into();
        return Err(BadWords { text, exit: ExitCode::Syntax });
    };
    let syncs = sources
        .iter()
        .map(|source| {
            let mut sync = SyncConfig::new(source, target);
            let timeout_s =
                if options.timeout_s == 0 { sync.options.timeout_s } else { options.timeout_s };
            sync.options = Options { timeout_s, ..options.clone() };
            sync.delete = own.delete;
            sync.allow_empty = own.allow_empty;
            sync.backend = own.backend.unwrap_or(BackendChoice::Auto);
            sync.quiet_ms = own.quiet_ms.unwrap_or(sync.quiet_ms);
            sync
        })
        .collect();
    let mut config = Config::new(syncs);
    config.name = own.name.unwrap_or(config.name);
    config.socket = own.socket;
    Ok(config)
}

/// `livemirror run`.
pub(crate) fn run(args: &[Vec<u8>]) -> i32 {
    let json = args.iter().any(|arg| arg == b"--json");
    let files: Vec<&Vec<u8>> = args.iter().filter(|arg| arg.as_slice() != b"--json").collect();
    let [file] = files.as_slice() else {
        let text = "give one configuration file: livemirror run [--json] CONFIG".into();
        return refuse(&BadWords { text, exit: ExitCode::Syntax });
    };
    match load(file) {
        Ok(config) => start(config, json),
        Err(errors) => refuse_config(&errors),
    }
}

/// Tells what is wrong with a configuration; the exit code, that of a refusal when there is nothing
/// else.
pub(crate) fn refuse_config(errors: &[ConfigError]) -> i32 {
    for error in errors {
        console::err(format!("{error}\n").as_bytes());
    }
    match errors.iter().all(|error| error.refused) {
        true => ExitCode::Unsupported.code(),
        false => ExitCode::Syntax.code(),
    }
}

/// A configuration of any kind that can be run. What a file of another program says of its own log
/// and process does not count here: this one stays where it was started.
fn load(file: &[u8]) -> Result<Config, Vec<ConfigError>> {
    let path = Path::new(OsStr::from_bytes(file));
    let name = path.display().to_string();
    match mirror::check::read::kind_of(file).map_err(|e| vec![ConfigError::new(&name, 0, e)])? {
        FileKind::Toml => mirror::config::toml::load(path),
        FileKind::Lsyncd => mirror::config::lsyncd::load(path).map(with_remarks),
        FileKind::Sersync => mirror::config::sersync::load(path).map(with_remarks),
        FileKind::Daemon => {
            let text = "this is a daemon's configuration: livemirror serve FILE".into();
            Err(vec![ConfigError::new(&name, 0, text)])
        }
    }
}

/// `livemirror import`: writes a configuration of another program as our own.
pub(crate) fn import(args: &[Vec<u8>]) -> i32 {
    let [file] = args else {
        let text = "give one configuration of lsyncd or sersync: livemirror import FILE".into();
        return refuse(&BadWords { text, exit: ExitCode::Syntax });
    };
    let path = Path::new(OsStr::from_bytes(file));
    let name = path.display().to_string();
    let wrong = |text: String| vec![ConfigError::new(&name, 0, text)];
    let kind = mirror::check::read::kind_of(file).map_err(wrong);
    let loaded = kind.and_then(|kind| match kind {
        FileKind::Lsyncd => mirror::config::lsyncd::load(path),
        FileKind::Sersync => mirror::config::sersync::load(path),
        FileKind::Toml => Err(wrong("this is TOML already".into())),
        FileKind::Daemon => Err(wrong("a daemon's configuration stays as it is".into())),
    });
    let loaded = loaded.and_then(|loaded| match loaded.config.script {
        Some(_) => {
            let text = "actions and alarms of one's own cannot be written in TOML".into();
            Err(vec![ConfigError::refused(&name, 0, text)])
        }
        None => Ok(loaded),
    });
    let written =
        loaded.and_then(|loaded| mirror::config::export::to_toml(&loaded, &name).map_err(wrong));
    match written {
        Ok(text) => {
            console::out(text.as_bytes());
            0
        }
        Err(errors) => refuse_config(&errors),
    }
}

/// Tells what is seldom meant in a file of another program.
pub(crate) fn with_remarks(loaded: ForeignConfig) -> Config {
    for remark in &loaded.remarks {
        console::err(format!("{remark}\n").as_bytes());
    }
    loaded.config
}

pub(crate) fn start(config: Config, json: bool) -> i32 {
    let stop = Arc::new(AtomicBool::new(false));
    signals::set_on_signal(&stop);
    let live = std::io::stdout().is_terminal();
    let say = move |report: Report| {
        if json {
            console::out(format!("{}\n", report.json()).as_bytes());
        } else if report.is_trouble() {
            console::err(format!("{}\n", report.line()).as_bytes());
        } else if !matches!(report.what, What::Progress(_)) {
            let clear = if live { "\r\x1b[K" } else { "" };
            console::out(format!("{clear}{}\n", report.line()).as_bytes());
        } else if live {
            console::out(format!("\r{}\x1b[K", report.line()).as_bytes());
        }
    };
    mirror::run::runner::run(config, Box::new(say), stop).code()
}

/// `livemirror status`.
pub(crate) fn status(args: &[Vec<u8>]) -> i32 {
    let json = args.iter().any(|arg| arg == b"--json");
    let names: Vec<String> = args
        .iter()
        .filter(|arg| arg.as_slice() != b"--json")
        .map(|arg| String::from_utf8_lossy(arg).into_owned())
        .collect();
    let sockets = match names.first() {
        None => mirror::status::sockets(Answerer::Mirror),
        Some(name) => {
            let name = name.strip_prefix("--socket=").unwrap_or(name);
            let path = if name.contains('/') {
                Some(name.into())
            } else {
                mirror::status::default_socket(Answerer::Mirror, name)
            };
            path.into_iter().collect()
        }
    };
    let mut failed = sockets.is_empty();
    if failed {
        console::err(b"livemirror: no mirror is running\n");
    }
    for socket in sockets {
        let answer = mirror::status::query(Answerer::Mirror, &socket);
        let text = answer.and_then(|text| match json {
            true => Ok(format!("{}\n", text.trim_end())),
            false => mirror::status::parse(&text).map(|status| status.text()),
        });
        match text {
            Ok(text) => console::out(text.as_bytes()),
            // What a mirror that was killed has left behind is no mirror.
            Err(_) if names.is_empty() => {}
            Err(text) => {
                failed = true;
                console::err(format!("livemirror: {text}\n").as_bytes());
            }
        }
    }
    i32::from(failed)
}
