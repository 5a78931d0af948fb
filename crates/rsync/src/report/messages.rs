//! Who says what, and where it goes: a client's console, or a server's connection and log.
//!
//! Every role holds the same [`Reporter`]. It also keeps what decides the exit code: the I/O error
//! bits, whether any error of the transfer class was said, and the problems by path.

use std::borrow::Cow;
use std::sync::atomic::{AtomicBool, AtomicI32, Ordering};
use std::sync::{Arc, Mutex, OnceLock};

use wire::exit::ExitCode;
use wire::message::Message;

use crate::charset::Charset;
use crate::console::{Console, RunEvent};
use crate::fatal::errno_text;
use crate::link::Posts;
use crate::options::Options;
use crate::options::debug::DebugFlag;
use crate::problem::{PROBLEMS_MAX, Problem, ProblemKind};
use crate::report::escape::for_terminal;

/// General trouble on the sending side: deletions stop.
pub const IO_GENERAL: i32 = 1;
/// Something vanished before it could be sent.
pub const IO_VANISHED: i32 = 2;

/// The limit of deletions was reached.
pub const IO_DEL_LIMIT: i32 = 4;

/// The part a line's speaker plays; printed in brackets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Reads the source.
    Sender,
    /// Decides at the destination.
    Generator,
    /// Writes the destination.
    Receiver,
    /// The receiving side before its two roles exist.
    SoleReceiver,
    /// The process a user started, outside the roles.
    Client,
    /// The process a client started, outside the roles.
    Server,
}

impl Role {
    /// The word in brackets.
    pub fn word(self) -> &'static str {
        match self {
            Role::Sender => "sender",
            Role::Generator => "generator",
            Role::Receiver => "receiver",
            Role::SoleReceiver => "Receiver",
            Role::Client => "client",
            Role::Server => "server",
        }
    }
}

/// What failed when content cannot be read to its listed end.
pub const READ_ERRORS: &str = "read errors mapping";

/// What explains an ELOOP that the owner of a symlink caused.
const REFUSED_LINK: &[u8] = b"refusing to follow a symlink owned by an untrusted user; use \
    --insecure-links locally or \"insecure links = yes\" in a daemon module ONLY if every path \
    component is trusted";

/// Where lines go.
#[derive(Clone)]
pub enum Outlet {
    /// To the console: this process is the client.
    Console,
    /// Information through the connection, errors to the console's error side: a server with a
    /// standard error of its own.
    Split(Arc<Posts>),
    /// Everything through the connection.
    Framed(Arc<Posts>),
    /// Everything to the console's error side: a server's standard output is the connection.
    Errors,
}

/// A copy of each line for a log file.
pub type LogSink = Box<dyn Fn(&[u8]) + Send + Sync>;

/// The voice of one run.
pub struct Reporter {
    console: Arc<dyn Console>,
    outlet: Mutex<Outlet>,
    quiet: bool,
    eight_bit: bool,
    /// Texts beyond ASCII are shown as the locale has them, which is so from the set-up on.
    utf8: AtomicBool,
    /// The locale writes UTF-8, and what is said there counts as its text.
    locale_utf8: bool,
    /// Receives every message line, for a daemon's log.
    pub log: Option<LogSink>,
    io_error: AtomicI32,
    transfer_error: AtomicBool,
    problems: Mutex<(Vec<Problem>, bool)>,
    /// Text a path is shown with its module instead of its place on this machine.
    pub module: Option<Vec<u8>>,
    line_open: AtomicBool,
    cause: Mutex<Option<String>>,
    /// What was said last of trouble with a path.
    trouble: Mutex<Option<String>>,
    /// How texts travel through the connection, where not as they are.
    charset: OnceLock<Arc<Charset>>,
}

impl Reporter {
    /// A reporter that talks to `console`.
    pub fn new(console: Arc<dyn Console>, quiet: bool, eight_bit: bool) -> Reporter {
        Reporter {
            console,
            outlet: Mutex::new(Outlet::Console),
            quiet,
            eight_bit,
            utf8: AtomicBool::new(false),
            locale_utf8: crate::report::escape::locale_is_utf8(),
            log: None,
            io_error: AtomicI32::new(0),
            transfer_error: AtomicBool::new(false),
            problems: Mutex::new((Vec::new(), true)),
            module: None,
            line_open: AtomicBool::new(false),
            cause: Mutex::new(None),
            trouble: Mutex::new(None),
            charset: OnceLock::new(),
        }
    }

    /// Ends the set-up: from here on the locale counts. Has texts converted where they go through the connection, and those that come; says so, in the
    /// name of `role`, where the user asks for that much.
    pub fn set_charset(&self, charset: Option<&Arc<Charset>>, role: Role, opts: &Options) {
        self.utf8.store(self.locale_utf8, Ordering::Relaxed);
        if let Some(charset) = charset {
            // A session has one charset; whoever sets it again sets the same.
            let _ = self.charset.set(charset.clone());
            if opts.debug.has(DebugFlag::Iconv) {
                self.info(&charset.told(role));
            }
        }
    }

    /// A text as it goes through the connection.
    pub fn travelling<'a>(&self, text: &'a [u8]) -> Cow<'a, [u8]> {
        self.charset.get().map_or(Cow::Borrowed(text), |charset| charset.say(text).into())
    }

    /// A text that came through the connection.
    pub fn arrived<'a>(&self, text: &'a [u8]) -> Cow<'a, [u8]> {
        self.charset.get().map_or(Cow::Borrowed(text), |charset| charset.hear(text).into())
    }

    /// The reporter of a server. What it says to the console itself is shown byte by byte where it
    /// is not ASCII, whatever the locale.
    pub fn server(console: Arc<dyn Console>, opts: &Options) -> Reporter {
        let outlet = Mutex::new(Outlet::Errors);
        Reporter {
            locale_utf8: false,
            outlet,
            ..Reporter::new(console, opts.quiet, opts.eight_bit)
        }
    }

    /// Redirects everything said from now on.
    pub fn set_outlet(&self, outlet: Outlet) {
        if let Ok(mut current) = self.outlet.lock() {
            *current = outlet;
        }
    }

    fn outlet(&self) -> Outlet {
        self.outlet.lock().map_or(Outlet::Console, |o| o.clone())
    }

    /// Whether whoever listens takes events in place of lines.
    pub fn takes_events(&self) -> bool {
        self.console.takes_events() && matches!(self.outlet(), Outlet::Console)
    }

    /// Tells one, unless nothing is to be told.
    pub fn event(&self, event: &RunEvent<'_>) {
        if !self.quiet {
            self.console.event(event);
        }
    }

    /// One line of information, with its newline.
    pub fn info(&self, line: &[u8]) {
        self.log_line(line);
        self.say(line);
    }

    /// The same for what a log tells in its own words, or not at all.
    pub fn say(&self, line: &[u8]) {
        self.say_as(line, self.eight_bit);
    }

    fn say_as(&self, line: &[u8], eight_bit: bool) {
        match self.outlet() {
            Outlet::Console | Outlet::Errors if self.quiet => {}
            Outlet::Console => {
                self.close_line();
                self.console.out(&for_terminal(line, eight_bit, self.utf8.load(Ordering::Relaxed)));
            }
            Outlet::Split(posts) | Outlet::Framed(posts) => {
                posts.post(&Message::Info(self.travelling(line).into_owned()));
            }
            Outlet::Errors => self.on_error_side(line, eight_bit),
        }
    }

    /// Text on the standard output that is no message: progress, statistics, listings.
    pub fn plain(&self, text: &[u8]) {
        if let Outlet::Console = self.outlet()
            && !self.quiet
        {
            self.console.out(text);
        }
    }

    /// One line of a listing: it is what was asked for, so that `-q` does not silence it.
    pub fn listing(&self, text: &[u8]) {
        self.log_line(text);
        match self.outlet() {
            Outlet::Console => {
                self.console.out(&for_terminal(
                    text,
                    self.eight_bit,
                    self.utf8.load(Ordering::Relaxed),
                ));
            }
            Outlet::Split(posts) | Outlet::Framed(posts) => {
                posts.post(&Message::Info(self.travelling(text).into_owned()));
            }
            Outlet::Errors => self.on_error_side(text, self.eight_bit),
        }
    }

    /// Notes whether a progress line stands unfinished, so that the next line starts afresh.
    pub fn set_line_open(&self, open: bool) {
        self.line_open.store(open, Ordering::Relaxed);
    }

    /// Ends a line that stands unfinished on the standard output.
    pub fn close_line(&self) {
        if self.line_open.swap(false, Ordering::Relaxed) {
            self.console.out(b"\n");
        }
    }

    /// Says it in the log alone, where there is one.
    pub fn log_line(&self, line: &[u8]) {
        if let Some(log) = &self.log {
            log(line);
        }
    }

    /// Explains, once for each, the symlinks of strangers that this thread was kept from following.
    /// Error lines do so by themselves; this is for what is not an error.
    pub fn explain_refusal(&self) {
        if tree::operator::take_refusal() {
            self.warning(REFUSED_LINK);
        }
    }

    fn on_error_side(&self, line: &[u8], eight_bit: bool) {
        self.console.err(&for_terminal(line, eight_bit, self.utf8.load(Ordering::Relaxed)));
    }

    fn say_error(&self, line: Vec<u8>, framed: fn(Vec<u8>) -> Message) {
        self.say_error_as(line, framed, self.eight_bit);
    }

    fn say_error_as(&self, line: Vec<u8>, framed: fn(Vec<u8>) -> Message, eight_bit: bool) {
        self.explain_refusal();
        self.log_line(&line);
        match self.outlet() {
            Outlet::Console => {
                if self.line_open.swap(false, Ordering::Relaxed) {
                    self.console.err(b"\n");
                }
                self.on_error_side(&line, eight_bit);
            }
            Outlet::Split(_) | Outlet::Errors => self.on_error_side(&line, eight_bit),
            Outlet::Framed(posts) => {
                let max = wire::limits::MESSAGE_TEXT_MAX;
                let mut line = self.travelling(&line).into_owned();
                line.truncate(max);
                posts.post(&framed(line));
            }
        }
    }

    /// An error that makes the run end with 23: a complete line without newline.
    pub fn error_line(&self, line: &[u8]) {
        self.transfer_error.store(true, Ordering::Relaxed);
        self.note_trouble(line);
        let mut line = line.to_vec();
        line.push(b'\n');
        self.say_error(line, Message::ErrorXfer);
    }

    /// A warning, which changes no exit code: a complete line without newline.
    pub fn warning(&self, line: &[u8]) {
        let mut line = line.to_vec();
        line.push(b'\n');
        self.say_error(line, Message::Warning);
    }

    /// The last words of a run: complete lines without the last newline.
    pub fn final_error(&self, line: &[u8]) {
        let mut line = line.to_vec();
        line.push(b'\n');
        self.say_error(line, Message::Error);
    }

    /// The same for a text in the charset of the connection, which goes through it as it is.
    pub fn error_as_it_came(&self, line: &[u8]) {
        let line = [line, b"\n"].concat();
        match self.outlet() {
            Outlet::Framed(posts) => {
                self.log_line(&line);
                posts.post(&Message::Error(line));
            }
            _ => self.say_error(line, Message::Error),
        }
    }

    /// `rsync: [ROLE] WHAT "PATH" failed: STRERROR (ERRNO)`, counted against the path.
    pub fn path_error(
        &self,
        role: Role,
        what: &str,
        shown: &[u8],
        path: &[u8],
        error: &std::io::Error,
    ) {
        let mut line = format!("rsync: [{}] {what} ", role.word()).into_bytes();
        line.extend_from_slice(&self.quoted(shown));
        // What says itself that it failed does not say so twice.
        let failed: &[u8] = if what.contains(" failed ") || what.contains(" errors ") {
            b": "
        } else {
            b" failed: "
        };
        line.extend_from_slice(failed);
        line.extend_from_slice(errno_text(error).as_bytes());
        self.problem(path, ProblemKind::Failed, String::from_utf8_lossy(&line).into_owned());
        self.error_line(&line);
    }

    /// A file at the destination that cannot be read gives no blocks; the run goes on as without it.
    pub fn basis_unreadable(&self, shown: &[u8], error: &std::io::Error) {
        let mut line = b"rsync: [generator] failed to open ".to_vec();
        line.extend_from_slice(&self.quoted(shown));
        line.extend_from_slice(format!(", continuing: {}", errno_text(error)).as_bytes());
        self.warning(&line);
    }

    /// `"PATH"`, with ` (in MODULE)` behind it on a daemon.
    pub fn quoted(&self, shown: &[u8]) -> Vec<u8> {
        let mut text = vec![b'"'];
        text.extend_from_slice(shown);
        text.push(b'"');
        if let Some(module) = &self.module {
            text.extend_from_slice(b" (in ");
            text.extend_from_slice(module);
            text.push(b')');
        }
        text
    }

    /// Passes on what decides and explains the exit code, from the other half of a local copy.
    pub fn hand_over(&self, to: &Reporter) {
        if let Some(trouble) = self.trouble_said() {
            to.note_trouble(trouble.as_bytes());
        }
        to.add_io_error(self.io_error());
        if self.transfer_error.load(Ordering::Relaxed) {
            to.transfer_error.store(true, Ordering::Relaxed);
        }
        let (problems, complete) = self.take_problems();
        if let Ok(mut own) = to.problems.lock() {
            own.0.extend(problems);
            own.1 &= complete;
        }
    }

    /// A daemon's refusal, as it said it.
    pub fn refusal(&self, line: &[u8]) {
        self.note_cause(line);
        self.on_error_side(line, self.eight_bit);
    }

    /// Remembers the first line of the peer that is more than the number of an exit code.
    fn note_cause(&self, line: &[u8]) {
        if !line.starts_with(b"rsync error: ")
            && let Ok(mut cause) = self.cause.lock()
        {
            cause.get_or_insert_with(|| String::from_utf8_lossy(line).trim_end().to_string());
        }
    }

    /// Why the peer refuses or gives up, as it said first.
    pub fn cause_said(&self) -> Option<String> {
        self.cause.lock().ok().and_then(|cause| cause.clone())
    }

    fn note_trouble(&self, line: &[u8]) {
        if let Ok(mut trouble) = self.trouble.lock() {
            *trouble = Some(String::from_utf8_lossy(line).trim_end().to_string());
        }
    }

    /// What was said last of trouble with a path: why a side gives up that does so at once.
    pub fn trouble_said(&self) -> Option<String> {
        self.trouble.lock().ok().and_then(|trouble| trouble.clone())
    }

    /// Remembers trouble with a path for the caller of the run.
    pub fn problem(&self, path: &[u8], kind: ProblemKind, text: String) {
        if let Ok(mut problems) = self.problems.lock() {
            if problems.0.len() < PROBLEMS_MAX {
                problems.0.push(Problem { path: path.to_vec(), kind, text });
            } else {
                problems.1 = false;
            }
        }
    }

    /// Takes the problems so far, and whether these are all.
    pub fn take_problems(&self) -> (Vec<Problem>, bool) {
        self.problems
            .lock()
            .map_or((Vec::new(), false), |mut p| std::mem::replace(&mut *p, (Vec::new(), true)))
    }

    /// Adds I/O error bits.
    pub fn add_io_error(&self, bits: i32) {
        self.io_error.fetch_or(bits & 7, Ordering::Relaxed);
    }

    /// The I/O error bits so far.
    pub fn io_error(&self) -> i32 {
        self.io_error.load(Ordering::Relaxed)
    }

    /// Handles a text or error message of the peer; false when it is none of these.
    pub fn take_message(&self, message: &Message) -> bool {
        // What was converted is text in this side's charset, and shown as it is.
        let eight_bit = self.eight_bit || self.charset.get().is_some();
        match message {
            Message::Info(text) => {
                let text = self.arrived(text);
                self.log_line(&text);
                self.say_as(&text, eight_bit);
            }
            Message::Warning(text) => {
                self.say_error_as(self.arrived(text).into_owned(), Message::Warning, eight_bit);
            }
            Message::Error(text) => {
                let text = self.arrived(text);
                self.note_cause(&text);
                self.say_error_as(text.into_owned(), Message::Error, eight_bit);
            }
            Message::ErrorXfer(text) => {
                let text = self.arrived(text);
                self.transfer_error.store(true, Ordering::Relaxed);
                self.note_trouble(&text);
                self.say_error_as(text.into_owned(), Message::ErrorXfer, eight_bit);
            }
            Message::IoError(bits) => self.add_io_error(*bits),
            _ => return false,
        }
        true
    }

    /// Exit code of a run that reached its end.
    pub fn exit(&self) -> ExitCode {
        let io_error = self.io_error();
        if io_error & IO_GENERAL != 0 || self.transfer_error.load(Ordering::Relaxed) {
            ExitCode::Partial
        } else if io_error & IO_VANISHED != 0 {
            ExitCode::Vanished
        } else if io_error & IO_DEL_LIMIT != 0 {
            ExitCode::DelLimit
        } else {
            ExitCode::Ok
        }
    }
}
