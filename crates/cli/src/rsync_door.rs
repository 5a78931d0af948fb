//! `livemirror rsync`: rsync's command line, as a client and as the server that a client starts.

use std::io::Read;
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStringExt;
use std::sync::Arc;

use rsync::charset::Charset;
use rsync::console::Console;
use rsync::control::Control;
use rsync::options::parse::{Action, Parsed, Parsing, UsageError, parse};
use rsync::options::popt::{self, Alias};
use rsync::report::escape::for_terminal;
use rsync::transport::Streams;
use tree::operator;
use wire::exit::ExitCode;

use crate::console::{self, Terminal};
use crate::json_lines::{self, JsonLines};
use crate::signals;

/// Runs the door; the exit code.
pub(crate) fn run(args: &[Vec<u8>]) -> i32 {
    match start(args) {
        Ok(code) => code,
        Err(error) => {
            // The locale does not count yet.
            let eight_bit = args.iter().any(|word| word == b"-8" || word == b"--8-bit-output");
            let text = with_newline(error.rendered());
            for line in text.split_inclusive(|&b| b == b'\n') {
                console::err(&for_terminal(line, eight_bit, false));
            }
            rsync::run_log::refused(args, &text);
            error.exit.code()
        }
    }
}

fn with_newline(mut text: Vec<u8>) -> Vec<u8> {
    if text.last() != Some(&b'\n') {
        text.push(b'\n');
    }
    text
}

fn env(name: &str) -> Option<Vec<u8>> {
    std::env::var_os(name).map(OsStringExt::into_vec)
}

fn start(args: &[Vec<u8>]) -> Result<i32, UsageError> {
    let mut words = popt::expand(args, &aliases())?;
    let all = words.len();
    words.retain(|word| word != JSON_MARK);
    let json = words.len() < all;
    let mut parsed = parse(&words, &env, Parsing::Client)?;
    if json && parsed.options.itemize == 0 {
        words.insert(0, b"-i".to_vec());
        parsed = parse(&words, &env, Parsing::Client)?;
    }
    // A script says what was said, and stands for what it stands for where it is run.
    parsed.options.batch.keep_words(args);
    let text = match &parsed.action {
        Action::Run if parsed.options.server => return serve(args, parsed),
        Action::Run => return client(parsed, json),
        Action::Daemon(daemon) => return Ok(crate::serve::rsync_daemon(daemon)),
        Action::Help => rsync::report::help_text(),
        Action::DaemonHelp => rsync::report::daemon_help_text(),
        Action::InfoHelp => rsync::options::info::help(),
        Action::DebugHelp => rsync::options::debug::help(),
        Action::Version if !json => rsync::report::version::version_text(),
        Action::Version | Action::VersionJson => rsync::report::version::version_json(),
    };
    console::out(text.as_bytes());
    Ok(0)
}

/// What `--json` leaves among the words. No word of a command line has such a byte.
const JSON_MARK: &[u8] = b"\0json";

/// What `--json` stands for, and what the alias files of popt say. A file that cannot be read says
/// nothing, as for the reference.
fn aliases() -> Vec<Alias> {
    let mut files = vec![b"/etc/popt".to_vec()];
    let mut names = operator::list_dir(ALIAS_DIR).unwrap_or_default();
    names.sort_unstable();
    files.extend(names.iter().map(|name| [ALIAS_DIR, b"/", name].concat()));
    files.extend(env("HOME").map(|home| [home.as_slice(), b"/.popt"].concat()));
    let words = vec![JSON_MARK.to_vec(), b"--info=progress2".to_vec()];
    let mut aliases = vec![Alias::new(b"--json", words)];
    for file in files {
        let mut text = Vec::new();
        let opened = operator::open_trusted(&file);
        if opened.and_then(|file| file.take(ALIAS_BYTES_MAX).read_to_end(&mut text)).is_ok() {
            popt::read(&text, &mut aliases);
        }
    }
    aliases
}

/// Where files of aliases lie beside `/etc/popt`.
const ALIAS_DIR: &[u8] = b"/etc/popt.d";
/// Bytes of a file of aliases that are read.
const ALIAS_BYTES_MAX: u64 = 1 << 20;

fn client(parsed: Parsed, json: bool) -> Result<i32, UsageError> {
    let mut options = parsed.options;
    console::set_buffering(options.outbuf);
    options.list_only |= parsed.words.len() == 1 && options.batch.read.is_none();
    if options.batch.write.is_some() {
        options.batch.program = called_as();
    }
    let plan = rsync::location::plan(&parsed.words, &options)?;
    rsync::options::check::with_locations(&mut options, &plan)?;
    let control = Arc::new(Control::default());
    signals::stop_on_signal(&control);
    let console: Arc<dyn Console> = if json { Arc::new(JsonLines) } else { Arc::new(Terminal) };
    let outcome = rsync::client::run(options, plan.sources, plan.dest, console, control);
    if json {
        json_lines::summary(&outcome);
    }
    Ok(outcome.status)
}

/// The words before the options: the program's name, and that of this door where it is written.
fn called_as() -> Vec<Vec<u8>> {
    let words: Vec<Vec<u8>> = std::env::args_os().take(2).map(OsStringExt::into_vec).collect();
    let door = words.get(1).is_some_and(|word| word == b"rsync");
    let named =
        words.first().is_some_and(|word| word.rsplit(|&b| b == b'/').next() == Some(b"rsync"));
    words.into_iter().take(if door && !named { 2 } else { 1 }).collect()
}

/// The server over standard input and output.
fn serve(args: &[Vec<u8>], parsed: Parsed) -> Result<i32, UsageError> {
    let mut parsed = parsed;
    if parsed.options.secluded_args {
        let mut all = args.to_vec();
        let charset = Charset::open(parsed.options.charsets.own.as_deref());
        let charset = charset.map_err(|fatal| UsageError {
            text: [fatal.text.as_slice(), b"\n"].concat(),
            exit: fatal.exit,
            role: "server",
        })?;
        let words = read_secluded()?.into_iter();
        all.extend(words.map(|word| charset.as_ref().map_or(word.clone(), |c| c.hear(&word))));
        parsed = parse(&all, &env, Parsing::Server)?;
    }
    let mut paths = parsed.words;
    if paths.first().is_some_and(|word| word == b".") {
        paths.remove(0);
    }
    let stdio = |fd: std::os::fd::BorrowedFd<'_>| fd.try_clone_to_owned().map(Arc::new);
    let streams = match (stdio(std::io::stdin().as_fd()), stdio(std::io::stdout().as_fd())) {
        (Ok(input), Ok(output)) => Streams { input, output, child: None },
        _ => return Ok(ExitCode::Ipc.code()),
    };
    let control = Arc::new(Control::default());
    signals::stop_on_signal(&control);
    let end = rsync::server::run(rsync::server::ServerRun {
        opts: parsed.options,
        paths,
        streams,
        buffered: Vec::new(),
        console: Arc::new(Terminal),
        daemon: None,
        restricted: None,
        control,
    });
    Ok(end.exit.code())
}

/// Words that a client sends ahead of the session: NUL-terminated, an empty one at the end; the
/// first is a program name.
fn read_secluded() -> Result<Vec<Vec<u8>>, UsageError> {
    let broken =
        || UsageError::plain("rsync: on remote machine: broken list of arguments", "server");
    let (mut words, mut word, mut total) = (Vec::new(), Vec::new(), 0);
    let mut stdin = Unbuffered;
    loop {
        let mut byte = [0];
        if stdin.read(&mut byte).map_err(|_| broken())? == 0 {
            return Err(broken());
        }
        total += 1;
        match byte[0] {
            0 if word.is_empty() => break,
            0 => words.push(std::mem::take(&mut word)),
            other => word.push(other),
        }
        if words.len() > wire::limits::DAEMON_ARGS_MAX || wire::limits::too_big(total) {
            return Err(broken());
        }
    }
    words.remove(0);
    Ok(words)
}

/// Standard input without a buffer, since what follows belongs to someone else.
struct Unbuffered;

impl Read for Unbuffered {
    fn read(&mut self, buf: &mut [u8]) -> std::io::Result<usize> {
        Ok(rustix::io::read(std::io::stdin().as_fd(), buf)?)
    }
}
