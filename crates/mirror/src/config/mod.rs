//! What to mirror: the typed configuration, however it was written.
//!
//! Made by [`toml`] from a file or by a program from its command line; read by `run`.

pub mod crontab;
pub mod export;
pub mod file;
pub mod foreign;
pub mod lsyncd;
pub mod options;
pub mod origin;
pub mod plugin;
mod regex;
pub mod sersync;
pub mod toml;

use std::collections::BTreeMap;
use std::path::PathBuf;

use rsync::options::{FilterArg, Options};

use crate::watch::BackendChoice;
use crontab::Crontab;
use plugin::Plugin;

/// A whole configuration.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// Names the status socket; the process number when nobody chose.
    pub name: String,
    /// Path of the status socket, instead of the usual one.
    pub socket: Option<Vec<u8>>,
    /// A file that is kept up to date with what is going on.
    pub status_file: Option<StatusFile>,
    /// The program that some of the syncs are actions of.
    pub script: Option<PathBuf>,
    /// Processes that such actions, or lsyncd for any sync, may have running at once.
    pub processes_max: Option<usize>,
    /// When such actions are told that a file was modified.
    pub modified: ModifiedWhen,
    /// What happens inside that is told line by line.
    pub trace: Trace,
    /// At least one.
    pub syncs: Vec<SyncConfig>,
}

/// When a file counts as modified for actions of a program.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ModifiedWhen {
    /// When it is closed after it was open for writing.
    #[default]
    Closed,
    /// When something is written.
    Written,
    /// At both.
    Either,
}

/// Lines about what happens inside, as reports of the kind `Script`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Trace {
    /// Each process that is started, with its words.
    pub exec: bool,
    /// Each change that a watch tells of.
    pub inotify: bool,
    /// Each event that waits for an action, and its end.
    pub delay: bool,
}

/// A status as a file, for those who look there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StatusFile {
    /// Where.
    pub path: Vec<u8>,
    /// Seconds between two writings at least.
    pub interval_s: u64,
}

/// One source and one target.
#[derive(Clone, Debug, PartialEq)]
pub struct SyncConfig {
    /// Name in messages; unique.
    pub name: String,
    /// The directory to mirror.
    pub source: Vec<u8>,
    /// Its content goes into the target, instead of the directory itself by its name.
    pub contents: bool,
    /// Where to, as on a command line: a path, `host:path`, `host::module/path`, `rsync://...`.
    pub target: Vec<u8>,
    /// Propagate deletions.
    pub delete: bool,
    /// With `delete`: only in comparisons of everything, or only in batches.
    pub delete_only: Option<DeleteOnly>,
    /// An empty source may empty its target.
    pub allow_empty: bool,
    /// Which back-end watches.
    pub backend: BackendChoice,
    /// Milliseconds after which a file that is still open counts as finished.
    pub quiet_ms: u64,
    /// Milliseconds for which changes are collected before they are sent; 0 sends the first at once.
    pub delay_ms: u64,
    /// Changes from which on that time is over.
    pub max_delays: usize,
    /// Milliseconds between comparisons of everything, beside those that are needed; 0 for none.
    pub compare_every_ms: u64,
    /// Times of the clock at which everything is compared too.
    pub crontab: Vec<Crontab>,
    /// Rules beside those of `options`, for comparisons that only time asks for.
    pub timed_filters: Vec<FilterArg>,
    /// Who is told of what was sent.
    pub plugin: Option<Plugin>,
    /// Nothing is compared at the start: only what changes from then on is sent.
    pub skip_first: bool,
    /// It ends when the comparison at the start is done.
    pub once: Option<Once>,
    /// Files of more bytes go by themselves, after the others of their batch.
    pub alone_above: Option<u64>,
    /// What certain exit codes of a transfer count as; others are tried again unless they are none.
    pub exits: BTreeMap<i32, ExitRule>,
    /// Its actions are the configuration's own: no transfer is made here.
    pub script: bool,
    /// Processes that such actions may have running at once.
    pub processes: usize,
    /// Options of every transfer; what a sync decides itself (recursion, names, deletion) is set
    /// over them. Filters must hold no file to be read.
    pub options: Options,
}

/// How a sync that ends after its first comparison takes a failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Once {
    /// It ends with it.
    Tried,
    /// It goes on until all is sent.
    Done,
}

/// What an exit code counts as.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExitRule {
    /// Done, whatever failed.
    Good,
    /// To be tried again.
    Again,
    /// The end of everything.
    Die,
}

/// When deletions are propagated, if not always.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DeleteOnly {
    /// In comparisons of everything, such as the one at the start.
    Whole,
    /// In batches of changes.
    Changes,
}

impl Config {
    /// A configuration of `syncs`, named by the process.
    pub fn new(syncs: Vec<SyncConfig>) -> Config {
        Config {
            name: std::process::id().to_string(),
            socket: None,
            status_file: None,
            script: None,
            processes_max: None,
            modified: ModifiedWhen::default(),
            trace: Trace::default(),
            syncs,
        }
    }

    /// Refuses what cannot work together. Errors: a line.
    pub fn check(&self) -> Result<(), String> {
        if self.syncs.is_empty() {
            return Err("nothing to mirror: no sync is given".into());
        }
        for (at, one) in self.syncs.iter().enumerate() {
            for other in self.syncs.iter().skip(at + 1) {
                if one.name == other.name {
                    return Err(format!("two syncs are named {}", one.name));
                }
                if !one.script && one.place() == other.place() && (one.delete || other.delete) {
                    return Err(format!(
                        "the syncs {} and {} have one target, and deletions are on: each would \
                         delete what the other sends",
                        one.name, other.name
                    ));
                }
            }
        }
        Ok(())
    }
}

impl SyncConfig {
    /// A sync with the usual settings: as an archive (links, modes, times, owners, groups, devices,
    /// special files), without deletions. As with rsync, `source` with a slash at its end stands
    /// for its content, without one for itself by name.
    pub fn new(source: &[u8], target: &[u8]) -> SyncConfig {
        let trimmed = source.trim_suffix_slashes();
        let last = trimmed.rsplit(|&b| b == b'/').next().unwrap_or_default();
        let contents = source.ends_with(b"/") || matches!(last, b"" | b"." | b"..");
        let options = Options {
            links: true,
            perms: true,
            times: true,
            owner: true,
            group: true,
            devices: true,
            specials: true,
            timeout_s: TIMEOUT_S,
            ..Options::default()
        };
        SyncConfig {
            name: String::from_utf8_lossy(trimmed).into_owned(),
            source: if trimmed.is_empty() { b"/".to_vec() } else { trimmed.to_vec() },
            contents,
            target: target.to_vec(),
            delete: false,
            delete_only: None,
            allow_empty: false,
            backend: BackendChoice::Auto,
            quiet_ms: QUIET_MS,
            delay_ms: 0,
            max_delays: usize::MAX,
            compare_every_ms: 0,
            crontab: Vec::new(),
            timed_filters: Vec::new(),
            plugin: None,
            skip_first: false,
            once: None,
            alone_above: None,
            exits: BTreeMap::new(),
            script: false,
            processes: 1,
            options,
        }
    }

    /// Whether a comparison of everything deletes.
    pub fn deletes_whole(&self) -> bool {
        self.delete && self.delete_only != Some(DeleteOnly::Changes)
    }

    /// Whether a batch of changes deletes.
    pub fn deletes_changes(&self) -> bool {
        self.delete && self.delete_only != Some(DeleteOnly::Whole)
    }

    /// The source argument that names are relative to, with a slash at its end, and the name of the
    /// source below it, empty when it is the source itself.
    pub fn base_and_prefix(&self) -> (Vec<u8>, Vec<u8>) {
        if self.contents {
            let slash: &[u8] = if self.source.ends_with(b"/") { b"" } else { b"/" };
            return ([self.source.as_slice(), slash].concat(), Vec::new());
        }
        match self.source.iter().rposition(|&b| b == b'/') {
            Some(at) => {
                let (base, name) = self.source.split_at(at + 1);
                (base.to_vec(), name.to_vec())
            }
            None => (b"./".to_vec(), self.source.clone()),
        }
    }

    /// The directory at the target that this sync owns.
    fn place(&self) -> Vec<u8> {
        let (_, prefix) = self.base_and_prefix();
        [self.target.trim_suffix_slashes(), b"/", &prefix].concat()
    }
}

trait TrimSlashes {
    fn trim_suffix_slashes(&self) -> &[u8];
}

impl TrimSlashes for [u8] {
    fn trim_suffix_slashes(&self) -> &[u8] {
        let mut bytes = self;
        while let Some(rest) = bytes.strip_suffix(b"/") {
            bytes = rest;
        }
        bytes
    }
}

/// Milliseconds without writing after which an open file is sent.
pub const QUIET_MS: u64 = 2000;
/// Seconds without a byte after which a transfer counts as stuck: without a limit a target that
/// vanished in the middle of a transfer would hold its sync for ever.
pub const TIMEOUT_S: u32 = 60;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slash_at_the_end_of_a_source_means_its_content() {
        // A failure would put a tree one directory off.
        for (source, path, contents, base, prefix) in [
            ("/srv/a/", "/srv/a", true, "/srv/a/", ""),
            ("/srv/a", "/srv/a", false, "/srv/", "a"),
            ("a", "a", false, "./", "a"),
            (".", ".", true, "./", ""),
            ("/", "/", true, "/", ""),
            ("/a", "/a", false, "/", "a"),
        ] {
            let sync = SyncConfig::new(source.as_bytes(), b"/dst");
            assert_eq!((sync.source.as_slice(), sync.contents), (path.as_bytes(), contents));
            let want = (base.as_bytes().to_vec(), prefix.as_bytes().to_vec());
            assert_eq!(sync.base_and_prefix(), want, "{source}");
        }
    }

    #[test]
    fn syncs_that_fight_over_a_target_are_refused() {
        // A failure would let two syncs delete each other's files in turn.
        let sync = |name: &str, source: &str, delete| SyncConfig {
            name: name.into(),
            delete,
            ..SyncConfig::new(source.as_bytes(), b"/dst/")
        };
        let two = |a, b| Config::new(vec![a, b]).check();
        assert!(two(sync("1", "/a/", true), sync("2", "/b/", false)).is_err());
        assert!(two(sync("1", "/a/", false), sync("2", "/b/", false)).is_ok());
        assert!(two(sync("1", "/a", true), sync("2", "/b", true)).is_ok());
        assert!(two(sync("1", "/a", false), sync("1", "/b", false)).is_err());
        assert!(Config::new(Vec::new()).check().is_err());
    }
}
