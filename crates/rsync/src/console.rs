//! Where the lines of a run go. Only the programs implement it with real descriptors.

use std::sync::Arc;

use crate::options::StderrMode;
use crate::report::progress::Sample;

/// Receives what a run has to say. Calls may come from several threads; each call is one line with
/// its newline, or one piece of a progress line.
pub trait Console: Send + Sync {
    /// Writes to the standard output.
    fn out(&self, bytes: &[u8]);
    /// Writes to the standard error.
    fn err(&self, bytes: &[u8]);
    /// Whether items, deletions and progress are to come as events in place of lines.
    fn takes_events(&self) -> bool {
        false
    }
    /// Takes one.
    fn event(&self, _: &RunEvent<'_>) {}
}

/// What a run tells a program. Names are as they are, not escaped.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum RunEvent<'a> {
    /// Something is made, sent or changed.
    Item {
        /// The letters of `--itemize-changes`.
        change: &'a [u8],
        /// Its path in the list; a directory's ends in a slash.
        path: &'a [u8],
        /// Its size in bytes.
        size: u64,
        /// What it leads to: whether as a hard link, and where.
        link: Option<(bool, &'a [u8])>,
    },
    /// Something at the destination is deleted.
    Deleted {
        /// Its path; a directory's ends in a slash.
        path: &'a [u8],
    },
    /// How far the run has come; at most one a second.
    Progress(Sample),
}

/// Says nothing.
pub struct Silent;

impl Console for Silent {
    fn out(&self, _: &[u8]) {}
    fn err(&self, _: &[u8]) {}
}

/// Says everything on the error side of another.
pub struct ErrorSide(pub Arc<dyn Console>);

impl ErrorSide {
    /// This around a console where everything is to go there.
    pub fn where_asked(console: Arc<dyn Console>, mode: StderrMode) -> Arc<dyn Console> {
        match mode {
            StderrMode::All => Arc::new(ErrorSide(console)),
            StderrMode::Errors | StderrMode::Client => console,
        }
    }
}

impl Console for ErrorSide {
    fn out(&self, bytes: &[u8]) {
        self.0.err(bytes);
    }

    fn err(&self, bytes: &[u8]) {
        self.0.err(bytes);
    }

    fn takes_events(&self) -> bool {
        self.0.takes_events()
    }

    fn event(&self, event: &RunEvent<'_>) {
        self.0.event(event);
    }
}

/// Keeps everything, for tests and for callers that read the lines themselves.
#[derive(Default)]
pub struct Captured {
    lines: std::sync::Mutex<(Vec<u8>, Vec<u8>)>,
}

impl Captured {
    /// Takes what was written so far: output, errors.
    pub fn take(&self) -> (Vec<u8>, Vec<u8>) {
        match self.lines.lock() {
            Ok(mut lines) => std::mem::take(&mut *lines),
            Err(_) => (Vec::new(), Vec::new()),
        }
    }
}

impl Console for Captured {
    fn out(&self, bytes: &[u8]) {
        if let Ok(mut lines) = self.lines.lock() {
            lines.0.extend_from_slice(bytes);
        }
    }

    fn err(&self, bytes: &[u8]) {
        if let Ok(mut lines) = self.lines.lock() {
            lines.1.extend_from_slice(bytes);
        }
    }
}
