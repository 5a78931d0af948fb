//! The log of one run, `--log-file`: what is said, what is itemized, and how it ended.
//!
//! Called where a run of a client, a server at the end of a remote shell, or the receiving half of
//! a local copy begins. A daemon's sessions have a log of their own.

use crate::daemon::files::open_log;
use crate::daemon::log::{DaemonLog, LogLevel, LogTarget, cause};
use crate::options::Options;
use crate::options::scan::{Scanned, WordScanner};
use crate::options::table::Opt;
use crate::report::messages::Reporter;

/// `--log-file` and `--log-file-format`.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct RunLog {
    /// Path of the file.
    pub file: Option<Vec<u8>>,
    /// How items are told; `%i %n%L` unless given.
    pub format: Option<Vec<u8>>,
}

/// The options of a half that keeps no log.
pub fn without(opts: &Options) -> Options {
    Options { log: RunLog::default(), ..opts.clone() }
}

/// Opens the log that the options name. One that cannot be opened costs a warning in the name of
/// `role`, and the run goes on without.
pub fn open(opts: &Options, reporter: &mut Reporter, role: &str) {
    let Some(path) = opts.log.file.clone() else { return };
    match open_log(&path) {
        Ok(file) => {
            let target = LogTarget { file: path, facility: 0, tag: Vec::new() };
            let (log, _) = DaemonLog::open(&target, |_| Ok(file));
            reporter.log = Some(Box::new(move |line| log.line(line)));
        }
        Err(error) => {
            let mut line = format!("rsync: [{role}] failed to open log-file ").into_bytes();
            line.extend_from_slice(&path);
            line.extend_from_slice(format!(": {}", cause(&error)).as_bytes());
            reporter.warning(&line);
            reporter.info(b"Ignoring \"log file\" setting.\n");
        }
    }
}

/// Tells the log, which `--log-file` among the words may name, that they are refused. The words
/// count up to one that is no option.
pub fn refused(words: &[Vec<u8>], text: &[u8]) {
    let mut scanner = WordScanner::new(words, false);
    let mut path = None;
    while let Ok(Some(found)) = scanner.next_element() {
        if let Scanned::Option { row, value, .. } = found
            && row.opt == Opt::LogFile
        {
            path = Some(value);
        }
    }
    let Some(path) = path else { return };
    if let Ok(file) = open_log(&path) {
        let target = LogTarget { file: path, facility: 0, tag: Vec::new() };
        let (log, _) = DaemonLog::open(&target, |_| Ok(file));
        log.write(LogLevel::Warning, text);
    }
}

/// The first line: which way the list goes.
pub fn begin(reporter: &Reporter, sending: bool) {
    let line: &[u8] = if sending { b"building file list\n" } else { b"receiving file list\n" };
    reporter.log_line(line);
}

/// The last line of a run, numbers in bytes.
pub fn totals(reporter: &Reporter, sent: u64, received: u64, total: u64) {
    let line = format!("sent {sent} bytes  received {received} bytes  total size {total}\n");
    reporter.log_line(line.as_bytes());
}
