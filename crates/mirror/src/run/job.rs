//! Transfers of one sync, in-process, through `rsync::client`.
//!
//! Called by `run::sync`. A comparison of everything is one recursive transfer. A batch is up to
//! three, each only if there is something for it, in an order that never leaves a renamed directory
//! without both its names longer than needed: whole directories first, then names and deletions.
//!
//! Names are sent as a list of files, relative to the source and without recursion. What is missing
//! at that moment is deleted at the target by its exact name, or ignored without deletions. When a
//! directory is gone and there are exclude rules, the transfer is also told to delete: without a
//! directory whose content is listed that deletes nothing by itself, but it makes the other side
//! receive the rules and spare what they protect.
//!
//! Times are compared to the nanosecond: a file that is written twice in one second with one size
//! would else be taken for equal, and a directory changed twice in one second keep the wrong time.
//! That holds for the first pass too, since a mirror that was killed may have sent the earlier of
//! the two. A target that stores times less exactly gets files anew, as differences; a
//! `--modify-window` of the operator spares it that. A name that another file has taken is compared
//! by its content, since files that were made together often share size and time.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use rsync::console::{Captured, Silent};
use rsync::control::Control;
use rsync::location::{self, Location};
use rsync::options::{DeleteMode, FilesFrom, FilterArg, Options};
use rsync::problem::Outcome;
use wire::exit::ExitCode;

use super::guard::Refusal;
use crate::config::SyncConfig;
use crate::plan::batch::Batch;

/// What a sync asks of its transfers.
pub trait Transfer: Send {
    /// Makes the whole target equal.
    fn full(&self, control: &Arc<Control>) -> Outcome;
    /// The same of what comparisons by time are to compare.
    fn timed(&self, control: &Arc<Control>) -> Outcome {
        self.full(control)
    }
    /// Sends a batch.
    fn batch(&self, batch: &Batch, control: &Arc<Control>) -> Outcome;
    /// Whether the target holds nothing, or is not there. Errors: it could not be asked.
    fn target_is_empty(&self, control: &Arc<Control>) -> Result<bool, Outcome>;
}

/// The transfers of a sync by `rsync::client`.
#[derive(Debug)]
pub struct Job {
    options: Options,
    /// GuardedSource argument of a comparison of everything.
    whole: Vec<u8>,
    /// GuardedSource argument that names are relative to.
    base: Vec<u8>,
    target: Location,
    /// The same with a slash: a target that is missing is made as a directory, whatever comes first.
    target_dir: Location,
    /// Further rules of a comparison by time.
    timed: Vec<FilterArg>,
    /// In a comparison of everything.
    delete_whole: bool,
    /// In a batch.
    delete: bool,
}

impl Job {
    /// Prepares the transfers of `config`. Errors: its target makes no sense.
    pub fn new(config: &SyncConfig) -> Result<Job, Refusal> {
        let mut options = config.options.clone();
        let wrong = |text: String| Refusal { text, remedy: "correct the target".into() };
        let parse = |word: &[u8]| {
            location::parse(word, &config.options)
                .map_err(|e| wrong(String::from_utf8_lossy(&e.text).trim_end().to_owned()))
        };
        let target = parse(&config.target)?;
        let slashed = match config.target.ends_with(b"/") {
            true => config.target.clone(),
            false => [config.target.as_slice(), b"/"].concat(),
        };
        let target_dir = parse(&slashed)?;
        match &target {
            Location::Daemon { module_path, .. } if module_path.is_empty() => {
                return Err(wrong("the target names a daemon but no module".into()));
            }
            Location::Daemon { .. } if options.contimeout_s == 0 => {
                options.contimeout_s = CONNECT_TIMEOUT_S;
            }
            Location::Shell { .. } | Location::Local(_) if options.contimeout_s != 0 => {
                return Err(wrong("a time limit for connecting needs a daemon as target".into()));
            }
            _ => {}
        }
        let (base, prefix) = config.base_and_prefix();
        let whole = [base.as_slice(), &prefix].concat();
        let (delete_whole, delete) = (config.deletes_whole(), config.deletes_changes());
        let timed = config.timed_filters.clone();
        Ok(Job { options, whole, base, target, target_dir, timed, delete_whole, delete })
    }

    /// The path of a target on this machine.
    pub fn local_target(&self) -> Option<&[u8]> {
        match &self.target {
            Location::Local(path) => Some(path),
            _ => None,
        }
    }

    /// Whether the target holds nothing, or is not there. Errors: it could not be asked.
    pub fn list_target(&self, control: &Arc<Control>) -> Result<bool, Outcome> {
        let console = Arc::new(Captured::default());
        let options =
            Options { list_only: true, dirs: true, filters: Vec::new(), ..self.options.clone() };
        let outcome = rsync::client::run(
            options,
            vec![self.target_dir.clone()],
            None,
            Arc::clone(&console) as Arc<dyn rsync::console::Console>,
            Arc::clone(control),
        );
        let (lines, errors) = console.take();
        if outcome.exit == ExitCode::Ok {
            let entries = lines.split(|&b| b == b'\n').filter(|l| !l.is_empty());
            return Ok(entries.filter(|l| !l.ends_with(b" .")).count() == 0);
        }
        let missing = |text: &[u8]| String::from_utf8_lossy(text).contains("No such file");
        if missing(&errors) || missing(outcome.reason.as_bytes()) {
            return Ok(true);
        }
        Err(outcome)
    }

    /// What a comparison of everything would do, by a run that changes nothing: files it would send,
    /// entries it would delete. `None` when it did not come to an end.
    pub fn would_do(&self, control: &Arc<Control>) -> Option<(u64, u64)> {
        let delete = if self.delete_whole { DeleteMode::During } else { DeleteMode::Off };
        let options = Options { recurse: true, delete, dry_run: true, ..self.options.clone() };
        let outcome = self.run(options, &self.whole, control);
        (outcome.exit == ExitCode::Ok).then_some((outcome.files, outcome.deleted))
    }

    fn run(&self, options: Options, source: &[u8], control: &Arc<Control>) -> Outcome {
        let stall_s = options.timeout_s.saturating_mul(STALL_TIMEOUTS);
        control.stall_s.store(stall_s, Ordering::Relaxed);
        control.settle.store(true, Ordering::Relaxed);
        control.after_file.store(true, Ordering::Relaxed);
        rsync::client::run(
            options,
            vec![Location::Local(source.to_vec())],
            Some(self.target_dir.clone()),
            Arc::new(Silent),
            Arc::clone(control),
        )
    }

    /// The window of a comparison to the nanosecond, unless the operator has set one.
    fn exact_window(&self) -> i32 {
        if self.options.modify_window == 0 { -1 } else { self.options.modify_window }
    }

    /// The options of a comparison of everything.
    fn compared(&self) -> Options {
        let delete = if self.delete_whole { DeleteMode::During } else { DeleteMode::Off };
        Options {
            recurse: true,
            delete,
            force: self.delete_whole,
            modify_window: self.exact_window(),
            ..self.options.clone()
        }
    }

    fn named(&self, names: Vec<Vec<u8>>) -> Options {
        Options {
            modify_window: self.exact_window(),
            files_from: Some(FilesFrom::Names(Arc::new(names))),
            relative: true,
            dirs: true,
            recurse: false,
            delete_missing_args: self.delete,
            ignore_missing_args: !self.delete,
            force: self.delete,
            ..self.options.clone()
        }
    }
}

impl Transfer for Job {
    fn full(&self, control: &Arc<Control>) -> Outcome {
        self.run(self.compared(), &self.whole, control)
    }

    fn timed(&self, control: &Arc<Control>) -> Outcome {
        let mut options = self.compared();
        options.filters.extend(self.timed.iter().cloned());
        self.run(options, &self.whole, control)
    }

    fn batch(&self, batch: &Batch, control: &Arc<Control>) -> Outcome {
        let mut runs = Vec::new();
        if !batch.subtrees.is_empty() {
            let delete = if self.delete { DeleteMode::During } else { DeleteMode::Off };
            let options = self.named(batch.subtrees.clone());
            runs.push(Options { recurse: true, delete, ..options });
        }
        if !batch.names.is_empty() {
            let spare = batch.gone_dirs && !self.options.filters.is_empty();
            let delete = if spare { DeleteMode::During } else { DeleteMode::Off };
            runs.push(Options { delete, ..self.named(batch.names.clone()) });
        }
        // Sizes only, or checksums, are the operator's own notion of equal.
        let content = batch.anew && !self.options.size_only && !self.options.checksum;
        runs.iter_mut().for_each(|options| options.ignore_times |= content);
        if batch.root {
            // The dot also lists the top directory's entries, which costs a comparison of each.
            runs.push(self.named(vec![b".".to_vec()]));
        }
        let mut all = nothing_done();
        for options in runs {
            let outcome = self.run(options, &self.base, control);
            if !add(&mut all, outcome) {
                break;
            }
        }
        all
    }

    fn target_is_empty(&self, control: &Arc<Control>) -> Result<bool, Outcome> {
        self.list_target(control).map_err(|mut outcome| {
            outcome.reason =
                format!("the source is empty, and the target cannot be asked: {}", outcome.reason);
            outcome
        })
    }
}

/// The outcome of doing nothing.
pub(super) fn nothing_done() -> Outcome {
    Outcome {
        exit: ExitCode::Ok,
        status: 0,
        reason: String::new(),
        problems: Vec::new(),
        complete: true,
        files: 0,
        bytes: 0,
        deleted: 0,
    }
}

/// Adds a further outcome; false when it failed as a whole and nothing should follow.
pub(super) fn add(all: &mut Outcome, next: Outcome) -> bool {
    let part = |exit| matches!(exit, ExitCode::Ok | ExitCode::Partial | ExitCode::Vanished);
    all.files += next.files;
    all.bytes += next.bytes;
    all.deleted += next.deleted;
    all.complete &= next.complete;
    all.problems.extend(next.problems);
    // A failure without a path would be lost among those with one.
    if part(next.exit) && next.exit != ExitCode::Ok && all.problems.is_empty() {
        all.complete = false;
    }
    if next.exit != ExitCode::Ok && (all.exit == ExitCode::Ok || !part(next.exit)) {
        (all.exit, all.status, all.reason) = (next.exit, next.status, next.reason);
    }
    part(next.exit)
}

/// Timeouts in which a transfer must move something other than keep-alives, beyond the time for the
/// files themselves: long enough for a target that deletes a large directory, which says nothing
/// meanwhile, and what it has deleted by then is gone. Nobody waits at a terminal to end one that
/// hangs.
const STALL_TIMEOUTS: u32 = 5;
/// Seconds a daemon may take to accept a connection, where nothing else is set.
const CONNECT_TIMEOUT_S: u32 = 30;

#[cfg(test)]
mod tests {
    use super::*;

    fn ended(exit: ExitCode, reason: &str) -> Outcome {
        Outcome { exit, reason: reason.into(), files: 1, ..nothing_done() }
    }

    #[test]
    fn outcomes_of_one_batch_add_up() {
        // A failure would take a batch for sent when one of its transfers failed.
        let mut all = nothing_done();
        assert!(add(&mut all, ended(ExitCode::Ok, "")));
        assert!(add(&mut all, ended(ExitCode::Vanished, "some vanished")));
        assert!(!add(&mut all, ended(ExitCode::SocketIo, "broken")));
        assert_eq!((all.exit, all.reason.as_str(), all.files), (ExitCode::SocketIo, "broken", 3));
        assert!(!all.complete);
    }

    #[test]
    fn a_job_says_what_is_wrong_with_a_target() {
        // A failure would start a sync that can never work.
        let sync = |target: &str| SyncConfig::new(b"/src/", target.as_bytes());
        assert!(Job::new(&sync("host::")).unwrap_err().text.contains("module"));
        assert_eq!(Job::new(&sync("/dst")).unwrap().local_target(), Some(&b"/dst"[..]));
        assert_eq!(Job::new(&sync("host::mod/x")).unwrap().options.contimeout_s, 30);
    }
}
