//! What the readers of other programs' configurations have in common.

use super::origin::SyncOrigin;
use super::toml::ConfigError;
use super::{Config, StatusFile};

/// How the process that runs a configuration is to behave.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ProcessSettings {
    /// Where the log goes.
    pub log_file: Option<Vec<u8>>,
    /// Where the process number goes.
    pub pid_file: Option<Vec<u8>>,
    /// The process stays in the foreground.
    pub foreground: bool,
    /// The status file.
    pub status_file: Option<StatusFile>,
    /// Name in syslog.
    pub log_ident: Option<Vec<u8>>,
    /// Facility in syslog.
    pub log_facility: Option<Vec<u8>>,
    /// Where these were written.
    pub origin: Option<SyncOrigin>,
}

/// A configuration of another program, understood.
#[derive(Clone, Debug)]
pub struct ForeignConfig {
    /// What to mirror.
    pub config: Config,
    /// Where each sync was written.
    pub origins: Vec<SyncOrigin>,
    /// For each sync, what its options were said in: words of rsync's command line.
    pub words: Vec<Vec<Vec<u8>>>,
    /// How to run.
    pub process: ProcessSettings,
    /// What the configuration logs by itself: category and line.
    pub lines: Vec<(String, String)>,
    /// What is no mistake, and seldom meant.
    pub remarks: Vec<ConfigError>,
}

/// The name of the mirror: the file's, and a mark of its path, since several files have one name.
pub(super) fn mirror_name(file: &str) -> String {
    let base = file.rsplit('/').next().unwrap_or_default();
    let stem = base.split('.').find(|part| !part.is_empty()).unwrap_or("mirror");
    let fine = |c: char| if c.is_ascii_alphanumeric() || "-_".contains(c) { c } else { '_' };
    let stem: String = stem.chars().map(fine).collect();
    let path = std::path::absolute(file).unwrap_or_else(|_| file.into());
    let bytes = path.as_os_str().as_encoded_bytes();
    // FNV-1a: the mark must be the same at the next start.
    let mark = bytes
        .iter()
        .fold(0x811c_9dc5_u32, |hash, &b| (hash ^ u32::from(b)).wrapping_mul(0x0100_0193));
    format!("{stem}-{mark:08x}")
}
