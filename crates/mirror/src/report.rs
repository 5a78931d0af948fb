//! What a running mirror has to say, as values with their two renderings.
//!
//! Made by `run`, handed to the caller's function; only a program prints them. Text is one line
//! without newline; JSON is one object on one line, with the same facts and an `event` field.

use std::fmt::Write as _;

use serde::Serialize;

use crate::run::initial::Progress;

/// One message about one sync.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Report {
    /// The sync's name.
    pub sync: String,
    /// What happened.
    #[serde(flatten)]
    pub what: What,
}

/// What happened.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(tag = "event", rename_all = "kebab-case")]
pub enum What {
    /// The watch is open; the first pass follows.
    Watching {
        /// `fanotify` or `inotify`.
        backend: String,
        /// Why, and at what cost.
        reason: String,
        /// The source.
        source: String,
        /// The target.
        target: String,
    },
    /// Something the operator should know; the sync goes on.
    Warning {
        /// The line.
        text: String,
    },
    /// What the program of a configuration has to say.
    Script {
        /// Its kind of line; `Normal`, `Warn` and `Error` are the usual ones.
        category: String,
        /// The line.
        text: String,
    },
    /// A comparison of everything is under way.
    Progress(Progress),
    /// A comparison of everything is done.
    Pass {
        /// It was the first one.
        first: bool,
        /// What it did.
        #[serde(flatten)]
        work: Work,
    },
    /// A batch of changes was sent.
    Batch {
        /// Names in the batch.
        names: usize,
        /// What it did.
        #[serde(flatten)]
        work: Work,
    },
    /// Events were lost; everything is compared.
    Overflow,
    /// A transfer failed, in whole or for some paths, which are tried again.
    Retry {
        /// Paths that failed; 0 when the transfer failed as a whole.
        paths: usize,
        /// Milliseconds until the next attempt.
        wait_ms: u64,
        /// What failed.
        text: String,
        /// What would help; may be empty.
        remedy: String,
    },
    /// The sync has ended by itself; nothing was deleted.
    Stopped {
        /// Why.
        text: String,
        /// What to do.
        remedy: String,
    },
    /// The sync has ended because it was asked to.
    Ended {
        /// Changes that were not sent; the next start finds them.
        unsent: usize,
    },
}

/// What a transfer did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Work {
    /// Files whose content was sent.
    pub files: u64,
    /// Bytes of those files.
    pub bytes: u64,
    /// Items deleted at the target.
    pub deleted: u64,
    /// Milliseconds it took.
    pub ms: u64,
}

impl Report {
    /// Whether this is trouble, for callers that part output from errors.
    pub fn is_trouble(&self) -> bool {
        if let What::Script { category, .. } = &self.what {
            return category == "Warn" || category == "Error";
        }
        matches!(self.what, What::Warning { .. } | What::Retry { .. } | What::Stopped { .. })
    }

    /// One line of text.
    pub fn line(&self) -> String {
        let mut out = format!("{}: ", self.sync);
        let done = match &self.what {
            What::Watching { backend, reason, source, target } => {
                write!(out, "watching {source} with {backend} ({reason}), target {target}")
            }
            What::Warning { text } => write!(out, "warning: {text}"),
            What::Script { text, .. } => write!(out, "{text}"),
            What::Progress(progress) => write!(out, "{}", progress.line()),
            What::Pass { first, work } => {
                let name = if *first { "first pass" } else { "comparison" };
                write!(out, "{name} done: {}", work.line())
            }
            What::Batch { names, work } => {
                let s = if *names == 1 { "" } else { "s" };
                write!(out, "{names} name{s}: {}", work.line())
            }
            What::Overflow => {
                write!(out, "events were lost; the source is compared as a whole")
            }
            What::Retry { paths, wait_ms, text, remedy } => {
                let what = match paths {
                    0 => "transfer failed".to_owned(),
                    1 => "1 path failed".to_owned(),
                    n => format!("{n} paths failed"),
                };
                let wait = seconds(*wait_ms);
                write!(out, "{what}, next attempt in {wait}: {}", with_remedy(text, remedy))
            }
            What::Stopped { text, remedy } => {
                write!(out, "stopped: {}", with_remedy(text, remedy))
            }
            What::Ended { unsent: 0 } => write!(out, "ended, everything sent"),
            What::Ended { unsent } => {
                write!(out, "ended, {unsent} changes unsent (the next start finds them)")
            }
        };
        debug_assert!(done.is_ok());
        out.replace(|c: char| c.is_control(), "?")
    }

    /// One line of JSON.
    pub fn json(&self) -> String {
        serde_json::to_string(self).unwrap_or_default()
    }
}

impl Work {
    fn line(&self) -> String {
        let files = if self.files == 1 { "file" } else { "files" };
        format!(
            "{} {files}, {}, {} deleted, {}",
            self.files,
            bytes(self.bytes),
            self.deleted,
            seconds(self.ms)
        )
    }
}

fn with_remedy(text: &str, remedy: &str) -> String {
    if remedy.is_empty() { text.to_owned() } else { format!("{text} -- {remedy}") }
}

/// A number of bytes for people.
pub fn bytes(n: u64) -> String {
    let mut value = n as f64;
    for unit in ["B", "kB", "MB", "GB", "TB"] {
        if value < 1000.0 {
            let digits = usize::from(unit != "B" && value < 100.0);
            return format!("{value:.digits$} {unit}");
        }
        value /= 1000.0;
    }
    format!("{value:.1} PB")
}

/// A number of milliseconds for people.
pub fn seconds(ms: u64) -> String {
    match ms {
        0..1000 => format!("{ms} ms"),
        1000..60_000 => format!("{:.1} s", ms as f64 / 1000.0),
        60_000..3_600_000 => format!("{}:{:02} min", ms / 60_000, ms / 1000 % 60),
        _ => format!("{}:{:02} h", ms / 3_600_000, ms / 60_000 % 60),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reports_are_one_line_each() {
        // A failure would tear a log apart, or hide facts from machines.
        let work = Work { files: 1, bytes: 1536, deleted: 2, ms: 5 };
        let batch = Report { sync: "www".into(), what: What::Batch { names: 3, work } };
        assert_eq!(batch.line(), "www: 3 names: 1 file, 1.5 kB, 2 deleted, 5 ms");
        assert_eq!(
            batch.json(),
            r#"{"sync":"www","event":"batch","names":3,"files":1,"bytes":1536,"deleted":2,"ms":5}"#
        );
        let text = "a\nb".to_owned();
        let retry = What::Retry { paths: 0, wait_ms: 1500, text, remedy: "do".into() };
        let retry = Report { sync: "www".into(), what: retry };
        assert_eq!(retry.line(), "www: transfer failed, next attempt in 1.5 s: a?b -- do");
        assert!(retry.is_trouble() && !retry.json().contains('\n'));
    }
}
