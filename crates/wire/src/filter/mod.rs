//! Filter rules: which names a sender lists and which names a receiver protects from deletion.
//!
//! The sender asks a [`FilterList`] while it builds the file list, the generator asks one before it
//! deletes, a daemon asks one made from its module's parameters, and a pulling client asks
//! [`RequestedNames`] whether a received name was asked for at all.
//!
//! A rule goes this way: text ([`parse`]) becomes a [`FilterRule`] ([`rule`], its pattern compiled
//! by [`wildmatch`]) in a list ([`list`]); files named by `:` rules are read while the scan walks
//! ([`perdir`]); [`wire_form`] writes the rules the other side needs.
//!
//! Nothing here opens a file. Who owns the list hands in a [`ReadRules`] callback.

pub mod cvs;
pub mod explain;
pub mod list;
pub mod parse;
pub mod perdir;
pub mod requested;
pub mod rule;
pub mod wildmatch;
pub mod wire_form;

pub use list::FilterList;
pub use parse::{Origin, Syntax};
pub use requested::{RequestVerdict, RequestedNames};
pub use rule::FilterRule;

use crate::exit::ExitCode;
use std::fmt;

/// Which end of a transfer asks. A rule may act for one of them only.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub enum Side {
    /// Builds the file list: an exclude hides.
    Sender,
    /// Deletes: an exclude protects.
    Receiver,
}

/// Reads a rule file for the list: `read(dir, file)` gives the content, or `None` if it cannot be
/// read (or a daemon hides it).
///
/// `dir` is empty for a file named by a `.` rule: `file` is then taken from the process's current
/// directory. For a `:` rule `dir` is the directory being entered, relative to the transfer root
/// (`.` for the root itself), or an absolute path for the directories above the root. A file beyond
/// [`crate::limits::MERGE_FILE_MAX`] bytes counts as one that cannot be read.
pub type ReadRules<'a> = dyn FnMut(&[u8], &[u8]) -> Option<Vec<u8>> + 'a;

/// A rule or rule file that ends the run.
///
/// The text never holds anything read from a rule file, only the place where it stood: otherwise
/// `. /etc/shadow` would print what the process may read.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct FilterError {
    code: ExitCode,
    text: Vec<u8>,
    unreadable: bool,
}

impl FilterError {
    pub(crate) fn new(code: ExitCode, text: Vec<u8>) -> Self {
        FilterError { code, text, unreadable: false }
    }

    /// A rule file could not be read; `shown` is its name or, if the name came from a rule file,
    /// the place of that rule.
    pub(crate) fn unreadable(include: bool, shown: &[u8], name_is_known: bool) -> Self {
        let kind: &[u8] = if include { b"include" } else { b"exclude" };
        let text = [b"failed to open ", kind, b" file ", shown].concat();
        FilterError { code: ExitCode::FileIo, text, unreadable: name_is_known }
    }

    /// The code the process ends with.
    pub fn exit_code(&self) -> ExitCode {
        self.code
    }

    /// The message, without line end. Bytes, because rules are.
    pub fn text(&self) -> &[u8] {
        &self.text
    }

    /// Whether the caller should append `: ` and the system's error text, which only the reader
    /// callback knows. False where even that would tell something about a file named in a rule
    /// file.
    pub fn wants_errno(&self) -> bool {
        self.unreadable
    }
}

impl fmt::Display for FilterError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&String::from_utf8_lossy(&self.text))
    }
}

impl std::error::Error for FilterError {}
