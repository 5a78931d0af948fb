//! What is wrong or risky in configuration files, before it hurts: one line each, with its way out.
//!
//! Called by `livemirror check`. Steps: `read` tells what kind a file is and reads it with the very
//! reader that runs it; `sync` judges each sync by itself, `ends` what several syncs, or a sync and
//! the daemon it sends to, make of each other; `live` asks the targets, if that is wanted. Facts of
//! this machine come from `facts`.
//!
//! Not guaranteed: completeness. What a program cannot see, such as a firewall between other
//! machines, is not guessed at.

pub mod ends;
pub mod facts;
pub mod finding;
pub mod live;
pub mod read;
pub mod sync;

use rsync::daemon::config::DaemonConfig;

use crate::config::SyncConfig;
use crate::config::origin::SyncOrigin;
use finding::Finding;

/// A sync with where it was written.
#[derive(Clone, Debug)]
pub struct PlacedSync {
    /// What it is.
    pub config: SyncConfig,
    /// Where it stands.
    pub origin: SyncOrigin,
}

/// What the files hold that could be read.
#[derive(Debug, Default)]
pub struct CheckedFiles {
    /// All syncs of all files.
    pub syncs: Vec<PlacedSync>,
    /// Daemon configurations, by the name of their file.
    pub daemons: Vec<(String, DaemonConfig)>,
}

/// Checks files together; `ask_targets` also connects to the targets. The findings are in the order
/// of the files and their lines.
pub fn check(files: &[Vec<u8>], ask_targets: bool) -> Vec<Finding> {
    let mut held = CheckedFiles::default();
    let mut found = Vec::new();
    for file in files {
        read::read(file, &mut held, &mut found);
    }
    judge(&held, ask_targets, &mut found);
    sort(files, &mut found);
    found
}

/// Checks a file that is known to be a daemon's.
pub fn check_daemon(file: &[u8]) -> Vec<Finding> {
    let mut held = CheckedFiles::default();
    let mut found = Vec::new();
    read::daemon(file, &mut held, &mut found);
    sort(&[file.to_vec()], &mut found);
    found
}

/// Brings findings into the order of the files and their lines; each is kept once.
fn sort(files: &[Vec<u8>], found: &mut Vec<Finding>) {
    let mut order: Vec<String> =
        files.iter().map(|file| String::from_utf8_lossy(file).into_owned()).collect();
    for one in found.iter() {
        if !order.contains(&one.file) {
            order.push(one.file.clone());
        }
    }
    found.sort_by_key(|one| (order.iter().position(|file| *file == one.file), one.line));
    found.dedup();
}

fn judge(held: &CheckedFiles, ask_targets: bool, found: &mut Vec<Finding>) {
    for one in &held.syncs {
        sync::judge(one, found);
    }
    let held = &CheckedFiles {
        syncs: held.syncs.iter().filter(|sync| !sync.config.script).cloned().collect(),
        daemons: held.daemons.clone(),
    };
    ends::judge(held, found);
    if ask_targets {
        live::ask(&held.syncs, found);
        live::ports(&held.daemons, found);
    }
}
