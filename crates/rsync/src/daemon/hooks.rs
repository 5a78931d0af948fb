//! `early exec`, `pre-xfer exec` and `post-xfer exec`: commands of the operator around a session.
//!
//! Called by `connection` once the client is known, while the process still is what the daemon was
//! started as: the commands run as that user, outside any changed root. In steps:
//! 1. the commands are made ready: variables of the connection are put in, quoted;
//! 2. with a post-xfer command the process divides: the one half waits for the other, runs the
//!    command and ends, the other goes on with the client;
//! 3. the early command runs; its failure ends the connection;
//! 4. the process of the pre-xfer command starts, and waits until the arguments are known, when
//!    the process of the session has given up its rights. Its failure refuses the request.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Command, ExitStatus, Stdio};

use tree::jail::{self, Child};
use wire::exit::ExitCode;

use super::connection::End;
use super::expand::{Environment, expand_shell};
use super::log::cause;
use super::module::Module;

/// Bytes of a failed pre-xfer command's output that the client is told.
const OUTPUT_MAX: u64 = 5120;
/// Bytes of the request in `RSYNC_REQUEST`.
const REQUEST_MAX: usize = 1024;

/// Names and values that a command finds in its environment beside the daemon's own.
pub(crate) type Variables = Vec<(String, Vec<u8>)>;

/// The three commands, ready for the shell; empty ones are not run.
#[derive(Debug, Default)]
pub(crate) struct Hooks {
    early: Vec<u8>,
    pre: Vec<u8>,
    post: Vec<u8>,
}

impl Hooks {
    /// Puts the variables into the commands of a module. `RSYNC_NO_XFER_EXEC` in the daemon's own
    /// environment turns all of them off.
    ///
    /// # Errors
    /// A value that would mean something to the shell: the connection ends.
    pub(crate) fn ready(module: &Module, environment: Environment<'_>) -> Result<Hooks, End> {
        if std::env::var_os("RSYNC_NO_XFER_EXEC").is_some() {
            return Ok(Hooks::default());
        }
        let ready = |text: &[u8]| ready(text, environment);
        Ok(Hooks {
            early: ready(&module.early_exec)?,
            pre: ready(&module.pre_exec)?,
            post: ready(&module.post_exec)?,
        })
    }

    /// Divides the process for the post-xfer command. In the half that goes on with the client
    /// this returns at once; in the other when the session is over and the command has run, with
    /// the exit code to end with.
    pub(crate) fn divide(&self, variables: &Variables) -> Result<Option<ExitCode>, End> {
        if self.post.is_empty() {
            return Ok(None);
        }
        let failed = |error: io::Error| {
            End::refused("fork failed", format!("fork failed: {}", cause(&error)))
        };
        let Some(child) = jail::divide().map_err(failed)? else { return Ok(None) };
        // What is held open here would keep the client from seeing the end of the session.
        if jail::leave_stdio().is_err() {
            return Ok(Some(ExitCode::Ipc));
        }
        let status = child.wait().map_err(failed)?;
        let raw = status.into_raw();
        let exit = status.code().unwrap_or(-1);
        let mut variables = variables.clone();
        variables.push(("RSYNC_RAW_STATUS".into(), raw.to_string().into_bytes()));
        variables.push(("RSYNC_EXIT_STATUS".into(), exit.to_string().into_bytes()));
        let ran = shell(&self.post, &variables).stdin(Stdio::null()).status();
        let well = ran.is_ok_and(|status| status.success());
        Ok(Some(if well { ExitCode::Ok } else { ExitCode::StartClient }))
    }

    /// Runs the early command, with what the client sent for it as its input.
    pub(crate) fn run_early(&self, variables: &Variables, input: &[u8]) -> Result<(), End> {
        if self.early.is_empty() {
            return Ok(());
        }
        let mut variables = variables.clone();
        variables.push(("RSYNC_REQUEST".into(), b"(NONE)".to_vec()));
        let mut command = shell(&self.early, &variables);
        let mut run = || {
            let mut child = command.stdin(Stdio::piped()).stdout(Stdio::null()).spawn()?;
            if let Some(mut stdin) = child.stdin.take() {
                // A command that does not read its input is not at fault.
                let _ = stdin.write_all(input);
            }
            child.wait()
        };
        let why = match run() {
            Ok(status) if status.success() => return Ok(()),
            Ok(status) => format!("early exec returned failure ({})", raw_status(status)),
            Err(error) => format!("early exec failed: {}", cause(&error)),
        };
        Err(End::refused("early exec failed", why))
    }

    /// Starts the process of the pre-xfer command, if there is one.
    pub(crate) fn start_pre(&self) -> Result<Option<PreXfer>, End> {
        if self.pre.is_empty() {
            return Ok(None);
        }
        self.spawn_pre().map(Some).map_err(|error| {
            let text = format!("pre-xfer exec preparation failed: {}", cause(&error));
            End::refused("pre-xfer exec preparation failed", text)
        })
    }

    fn spawn_pre(&self) -> io::Result<PreXfer> {
        let (request, send) = io::pipe()?;
        let (receive, output) = io::pipe()?;
        let mut ends = Some((OwnedFd::from(send), OwnedFd::from(receive)));
        let child = jail::in_child(|| {
            // The end of the request shows only when nobody else can write to it.
            drop(ends.take());
            let mut words = Vec::new();
            let read = File::from(OwnedFd::from(request)).read_to_end(&mut words);
            if read.is_err() || words.is_empty() {
                // The client went before it asked for anything.
                return 1;
            }
            let mut command = shell(&self.pre, &variables_of(&words));
            command.stdin(Stdio::null()).stdout(OwnedFd::from(output));
            // Comes back only when there is no shell to run.
            let _ = command.exec();
            127
        })?;
        let (send, receive) = ends.take().ok_or(io::ErrorKind::BrokenPipe)?;
        Ok(PreXfer { child, send, receive })
    }
}

/// A command line with the variables put in.
///
/// # Errors
/// A value that would mean something to the shell: the connection ends.
pub(crate) fn ready(text: &[u8], environment: Environment<'_>) -> Result<Vec<u8>, End> {
    expand_shell(text, environment).map_err(|name| {
        let name = String::from_utf8_lossy(&name).into_owned();
        let text = format!("refusing to run shell hook: %{name}% holds a shell metacharacter");
        End::dropped(text, ExitCode::Unsupported)
    })
}

/// The variables of a connection and those of its request: the paths as the client wrote them and
/// the words of the session.
pub(crate) fn with_request(
    variables: &Variables,
    asked: &[Vec<u8>],
    args: &[Vec<u8>],
) -> Variables {
    let mut request = asked.join(&b' ');
    request.truncate(REQUEST_MAX);
    if request.is_empty() {
        request = b"(NONE)".to_vec();
    }
    let mut variables = variables.clone();
    variables.push(("RSYNC_REQUEST".into(), request));
    variables.push(("RSYNC_ARG0".into(), b"rsyncd".to_vec()));
    for (number, word) in args.iter().enumerate() {
        variables.push((format!("RSYNC_ARG{}", number + 1), word.clone()));
    }
    variables
}

/// The process of a pre-xfer command, which waits for the request.
#[derive(Debug)]
pub(crate) struct PreXfer {
    child: Child,
    send: OwnedFd,
    receive: OwnedFd,
}

impl PreXfer {
    /// Lets it run with the variables of the request and waits for it. The text for the client if
    /// it fails.
    pub(crate) fn finish(self, variables: &Variables) -> Option<Vec<u8>> {
        // If that fails the command sees the end of a shorter list, and its own status tells.
        let _ = File::from(self.send).write_all(&words_of(variables));
        let mut output = Vec::new();
        let mut receive = File::from(self.receive);
        let _ = Read::by_ref(&mut receive).take(OUTPUT_MAX).read_to_end(&mut output);
        drop(receive);
        let (status, error) = match self.child.wait() {
            Ok(status) if status.success() => return None,
            Ok(status) => (raw_status(status), String::new()),
            Err(error) => (-1, format!(": {}", cause(&error))),
        };
        let colon = if output.is_empty() { "" } else { ":" };
        let mut text = format!("pre-xfer exec returned failure ({status}){error}{colon}\n");
        text.push_str(&String::from_utf8_lossy(&output));
        if !text.ends_with('\n') {
            text.push('\n');
        }
        Some(text.into_bytes())
    }
}

/// The status as the reference gives it: of a command that a signal ended, that of a failure.
fn raw_status(status: ExitStatus) -> i32 {
    status.code().unwrap_or(1) << 8
}

/// A command line for the shell that the daemon's environment names, or the system's.
pub(crate) fn shell(line: &[u8], variables: &Variables) -> Command {
    let program = std::env::var_os("RSYNC_SHELL").unwrap_or_else(|| OsString::from("/bin/sh"));
    let mut command = Command::new(program);
    command.arg("-c").arg(OsStr::from_bytes(line));
    for (name, value) in variables {
        // A NUL cannot stand in an environment; what it would cut off is not passed either.
        let end = value.iter().position(|b| *b == 0).unwrap_or(value.len());
        command.env(name, OsStr::from_bytes(value.get(..end).unwrap_or_default()));
    }
    command
}

/// `NAME=VALUE` words, each ended by NUL.
pub(crate) fn words_of(variables: &Variables) -> Vec<u8> {
    let word = |(name, value): &(String, Vec<u8>)| [name.as_bytes(), b"=", value, b"\0"].concat();
    variables.iter().flat_map(word).collect()
}

pub(crate) fn variables_of(words: &[u8]) -> Variables {
    let words = words.split(|b| *b == 0);
    let pairs = words.filter_map(|word| {
        let at = word.iter().position(|b| *b == b'=')?;
        let name = String::from_utf8(word.get(..at)?.to_vec()).ok()?;
        Some((name, word.get(at + 1..)?.to_vec()))
    });
    pairs.collect()
}
