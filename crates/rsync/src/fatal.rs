//! What ends a run: the exit code, and the line that says why.
//!
//! Trouble with one path is a [`crate::problem::Problem`] instead and ends nothing.

use wire::error::Error;
use wire::exit::ExitCode;

use crate::report::messages::Role;

/// How a last text is introduced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Voice {
    /// `rsync: [ROLE] TEXT`.
    Role,
    /// `rsync: TEXT [ROLE]`.
    RoleBehind,
    /// `rsync: TEXT`.
    Program,
    /// `TEXT [ROLE]`.
    BareRoleBehind,
    /// `TEXT`.
    Bare,
}

/// Wire fields whose errors the reference tells without a role.
const TOLD_BARE: [&str; 5] =
    ["flist-length", "flist-hlink", "flist-target", "vstring", "item-basis"];

/// The end of a run that did not finish.
#[derive(Clone, Debug)]
pub struct Fatal {
    /// Exit code of the run.
    pub exit: ExitCode,
    /// Text without program prefix and without newline; empty when the peer has said it already.
    pub text: Vec<u8>,
    /// What stands around the text.
    pub voice: Voice,
    /// The peer announced the end itself, so it need not be told.
    pub from_peer: bool,
    /// The peer is not told the code: it sees the connection end.
    pub unannounced: bool,
    /// The role this happened in, where it is not the whole side's.
    pub role: Option<Role>,
    /// The lines that explain it were said already.
    pub explained: bool,
    /// A status outside the table of exit codes, as a remote shell may return.
    pub raw_status: Option<i32>,
}

impl Fatal {
    /// The same with a status that another program ended with.
    pub fn with_status(self, status: i32) -> Fatal {
        let exit = ExitCode::from_code(status).unwrap_or(self.exit);
        Fatal { exit, raw_status: Some(status), ..self }
    }

    /// A failure of this side, with its text.
    pub fn new(exit: ExitCode, text: impl Into<Vec<u8>>) -> Fatal {
        Fatal {
            exit,
            text: text.into(),
            voice: Voice::Role,
            from_peer: false,
            unannounced: false,
            role: None,
            explained: false,
            raw_status: None,
        }
    }

    /// A failure whose text was printed where it was known best.
    pub fn silent(exit: ExitCode) -> Fatal {
        Fatal::new(exit, Vec::new())
    }

    /// The peer said it ends with this status.
    pub fn peer_exit(status: i32) -> Fatal {
        let exit = ExitCode::from_code(status).unwrap_or(ExitCode::StreamIo);
        Fatal { exit, from_peer: true, raw_status: Some(status), ..Fatal::silent(exit) }
    }

    /// A failure whose text stands for itself, without the program's name.
    pub fn bare(exit: ExitCode, text: impl Into<Vec<u8>>) -> Fatal {
        Fatal { voice: Voice::Bare, ..Fatal::new(exit, text) }
    }

    /// A failure that the program tells rather than one of its roles.
    pub fn program(exit: ExitCode, text: impl Into<Vec<u8>>) -> Fatal {
        Fatal { voice: Voice::Program, ..Fatal::new(exit, text) }
    }

    /// The same in the name of `role`.
    pub fn of(self, role: Role) -> Fatal {
        Fatal { role: Some(role), ..self }
    }

    /// The line that says with which code the run ends, in the name of `role`.
    pub fn last_line(&self, role: Role) -> String {
        match self.raw_status {
            Some(status) if ExitCode::from_code(status).is_none() => {
                crate::report::unexplained(status, role.word())
            }
            _ => crate::report::final_line(self.exit, role.word()),
        }
    }

    /// The line that explains it: with the role in brackets where one speaks.
    pub fn line(&self, role: Role) -> Vec<u8> {
        let role = self.role.unwrap_or(role).word().as_bytes();
        match self.voice {
            Voice::Role => [b"rsync: [".as_slice(), role, b"] ", &self.text].concat(),
            Voice::RoleBehind => [b"rsync: ".as_slice(), &self.text, b" [", role, b"]"].concat(),
            Voice::Program => [b"rsync: ".as_slice(), &self.text].concat(),
            Voice::BareRoleBehind => [&self.text, b" [".as_slice(), role, b"]"].concat(),
            Voice::Bare => self.text.clone(),
        }
    }

    /// The text for a failed system call on a path, as the reference words it.
    pub fn io(exit: ExitCode, what: &str, path: &[u8], error: &std::io::Error) -> Fatal {
        Fatal::new(exit, io_text(what, path, error))
    }
}

impl From<Error> for Fatal {
    fn from(error: Error) -> Fatal {
        let text = error.to_string();
        let voice = match &error {
            _ if text.starts_with("ERROR") || text.starts_with("ABORTING") => Voice::Bare,
            _ if TOLD_BARE.contains(&error.field()) => Voice::Bare,
            Error::Malformed { field: "version", .. } => Voice::Role,
            Error::Malformed { .. } | Error::Misbehaved { .. } => Voice::BareRoleBehind,
            _ => Voice::Role,
        };
        Fatal { voice, ..Fatal::new(error.exit_code(), text) }
    }
}

/// `WHAT "PATH" failed: STRERROR (ERRNO)`, or with `what` ending in the word `failed` already
/// placed before the path.
pub fn io_text(what: &str, path: &[u8], error: &std::io::Error) -> Vec<u8> {
    let mut text = Vec::new();
    text.extend_from_slice(what.as_bytes());
    text.extend_from_slice(b" \"");
    text.extend_from_slice(path);
    text.extend_from_slice(b"\" failed: ");
    text.extend_from_slice(errno_text(error).as_bytes());
    text
}

/// `STRERROR (ERRNO)`, the platform's own words without Rust's decoration.
pub fn errno_text(error: &std::io::Error) -> String {
    match error.raw_os_error() {
        Some(code) => format!("{} ({code})", errno_words(error)),
        // An error around another has its words.
        None => match error.get_ref().and_then(|inner| inner.source()) {
            Some(cause) => cause.downcast_ref().map_or_else(|| cause.to_string(), errno_text),
            None => error.to_string(),
        },
    }
}

/// `STRERROR`.
pub fn errno_words(error: &std::io::Error) -> String {
    error.to_string().split(" (os error").next().unwrap_or_default().to_owned()
}
