//! The line that tells that a file list is made or read: `building file list ... done`.
//!
//! It stays unfinished while the list grows, so that whatever is said meanwhile starts a line of
//! its own. With incremental recursion there is no end to tell, and the line is whole at once.

use std::sync::atomic::{AtomicBool, Ordering};

use crate::options::Options;
use crate::report::messages::Reporter;

/// Entries between two counts.
const COUNT_STEP: usize = 100;

/// An unfinished heading.
#[derive(Debug)]
pub struct Heading {
    /// Counts are shown on the way.
    counts: bool,
    sending: bool,
    /// A count stands on a line below the heading.
    counted: AtomicBool,
}

impl Heading {
    /// Prints the heading, if options ask for one; what is left to finish of it.
    pub fn begin(opts: &Options, reporter: &Reporter, sending: bool, inc: bool) -> Option<Heading> {
        if opts.info.flist == 0 || opts.list_only && !opts.recurse && opts.verbose == 0 {
            return None;
        }
        if !inc && !opts.recurse && !opts.dirs {
            return None;
        }
        let line: &[u8] = match (inc, sending) {
            (true, true) => b"sending incremental file list\n",
            (true, false) => b"receiving incremental file list\n",
            (false, true) => b"building file list ... ",
            (false, false) => b"receiving file list ... ",
        };
        reporter.say(line);
        if inc {
            return None;
        }
        reporter.set_line_open(true);
        let counts = opts.info.flist > 1;
        Some(Heading { counts, sending, counted: AtomicBool::new(false) })
    }

    /// `entries` are in the list; a sender counts before it adds one.
    pub fn count(&self, reporter: &Reporter, entries: usize) {
        if !self.counts || !entries.is_multiple_of(COUNT_STEP) || entries == 0 && !self.sending {
            return;
        }
        if !self.counted.swap(true, Ordering::Relaxed) {
            reporter.close_line();
        }
        reporter.plain(format!(" {entries} files...\r").as_bytes());
        reporter.set_line_open(true);
    }

    /// The list is complete.
    pub fn end(&self, reporter: &Reporter, entries: u64) {
        reporter.set_line_open(false);
        let text = match (self.counts, entries) {
            (false, _) => "done\n".to_owned(),
            (true, 1) => "1 file to consider\n".to_owned(),
            (true, n) => format!("{n} files to consider\n"),
        };
        reporter.log_line(text.as_bytes());
        reporter.plain(text.as_bytes());
    }
}
