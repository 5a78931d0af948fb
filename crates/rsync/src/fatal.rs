//! What ends a run: the exit code, and the line that says why.
//!
//! Trouble with one path is a [`crate::problem::Problem`] instead and ends nothing.

use wire::exit::ExitCode;

use crate::report::messages::Role;

/// The end of a run that did not finish.
#[derive(Clone, Debug)]
pub struct Fatal {
    /// Exit code of the run.
    pub exit: ExitCode,
    /// Text without program prefix and without newline; empty when the peer has said it already.
    pub text: Vec<u8>,
    /// The peer announced the end itself, so it need not be told.
    pub from_peer: bool,
    /// The role this happened in, where it is not the whole side's.
    pub role: Option<Role>,
    /// The lines that explain it were said already.
    pub explained: bool,
    /// A status outside the table of exit codes, as a remote shell may return.
    pub raw_status: Option<i32>,
}

impl Fatal {
    /// A failure of this side, with its text.
    pub fn new(exit: ExitCode, text: impl Into<Vec<u8>>) -> Fatal {
        Fatal {
            exit,
            text: text.into(),
            from_peer: false,
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
        Fatal {
            exit,
            text: Vec::new(),
            from_peer: true,
            role: None,
            explained: false,
            raw_status: Some(status),
        }
    }

    /// The line that explains it: with the role in brackets where one speaks.
    pub fn line(&self, role: Role) -> Vec<u8> {
        let role = self.role.unwrap_or(role);
        if self.text.starts_with(b"ERROR") {
            return self.text.clone();
        }
        if matches!(role, Role::Client | Role::Server) {
            return [b"rsync: ".as_slice(), &self.text].concat();
        }
        [b"rsync: [".as_slice(), role.word().as_bytes(), b"] ", &self.text].concat()
    }

    /// The text for a failed system call on a path, as the reference words it.
    pub fn io(exit: ExitCode, what: &str, path: &[u8], error: &std::io::Error) -> Fatal {
        Fatal::new(exit, io_text(what, path, error))
    }
}

impl From<wire::error::Error> for Fatal {
    fn from(error: wire::error::Error) -> Fatal {
        Fatal::new(error.exit_code(), error.to_string())
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
        Some(code) => {
            let text = error.to_string();
            let words = text.split(" (os error").next().unwrap_or("").to_string();
            format!("{words} ({code})")
        }
        None => format!("{error}"),
    }
}
