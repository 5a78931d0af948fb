//! The keys of lsyncd's configuration: what each is here, one row a key.
//!
//! Read by `table` when a file is loaded. A key that lsyncd does not know is a mistake; one that it
//! knows and that is not done here is refused by name.

/// What a key is here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeySupport {
    /// It does what it does there.
    Full,
    /// It is right, and refused: with the reason.
    Refused(&'static str),
}

use KeySupport::{Full, Refused};

/// Keys with what they are.
pub type Keys = &'static [(&'static str, KeySupport)];

/// `settings { ... }`.
pub const SETTINGS: Keys = &[
    ("logfile", Full),
    ("pidfile", Full),
    ("nodaemon", Full),
    ("statusFile", Full),
    ("statusInterval", Full),
    ("logfacility", Full),
    ("logident", Full),
    ("insist", Full),
    ("inotifyMode", Full),
    ("maxProcesses", Full),
    ("maxDelays", Full),
    ("onepass", Full),
];

/// `sync { ... }`, for all layers.
pub const SYNC: Keys = &[
    ("source", Full),
    ("target", Full),
    ("host", Full),
    ("targetdir", Full),
    ("delete", Full),
    ("delay", Full),
    ("maxDelays", Full),
    ("maxProcesses", Full),
    ("exclude", Full),
    ("excludeFrom", Full),
    ("filter", Full),
    ("filterFrom", Full),
    ("rsync", Full),
    ("ssh", Full),
    ("init", Full),
    ("batchSizeLimit", Full),
    ("crontab", Full),
    ("tunnel", Refused("start the tunnel by itself and name its local end as target")),
    ("exitcodes", Full),
    ("rsyncExitCodes", Full),
    ("sshExitCodes", Full),
    ("action", Full),
    ("collect", Full),
    ("full", Full),
    ("prepare", Full),
    ("checkgauge", Full),
    ("onAttrib", Full),
    ("onCreate", Full),
    ("onModify", Full),
    ("onDelete", Full),
    ("onMove", Full),
    ("onFull", Full),
    ("onStartup", Full),
];

/// `ssh { ... }` in a sync.
pub const SSH: Keys = &[
    ("binary", Full),
    ("identityFile", Full),
    ("options", Full),
    ("port", Full),
    ("_extra", Full),
];

/// Switches of `rsync { ... }` with rsync's letter.
pub const RSYNC_SWITCHES: &[(&str, &str)] = &[
    ("acls", "-A"),
    ("backup", "-b"),
    ("checksum", "-c"),
    ("compress", "-z"),
    ("copy_dirlinks", "-k"),
    ("copy_links", "-L"),
    ("cvs_exclude", "-C"),
    ("dry_run", "-n"),
    ("executability", "-E"),
    ("group", "-g"),
    ("hard_links", "-H"),
    ("ignore_times", "-I"),
    ("ipv4", "-4"),
    ("ipv6", "-6"),
    ("keep_dirlinks", "-K"),
    ("links", "-l"),
    ("one_file_system", "-x"),
    ("omit_dir_times", "-O"),
    ("omit_link_times", "-J"),
    ("owner", "-o"),
    ("perms", "-p"),
    ("protect_args", "-s"),
    ("prune_empty_dirs", "-m"),
    ("quiet", "-q"),
    ("sparse", "-S"),
    ("times", "-t"),
    ("update", "-u"),
    ("verbose", "-v"),
    ("whole_file", "-W"),
    ("xattrs", "-X"),
    ("append", "--append"),
    ("append_verify", "--append-verify"),
    ("copy_unsafe_links", "--copy-unsafe-links"),
    ("delete_excluded", "--delete-excluded"),
    ("existing", "--existing"),
    ("inplace", "--inplace"),
];

/// Keys of `rsync { ... }` with a value, and rsync's option.
pub const RSYNC_VALUES: &[(&str, &str)] = &[
    ("backup_dir", "--backup-dir"),
    ("bwlimit", "--bwlimit"),
    ("chmod", "--chmod"),
    ("chown", "--chown"),
    ("groupmap", "--groupmap"),
    ("password_file", "--password-file"),
    ("rsh", "--rsh"),
    ("rsync_path", "--rsync-path"),
    ("suffix", "--suffix"),
    ("temp_dir", "--temp-dir"),
    ("timeout", "--timeout"),
    ("usermap", "--usermap"),
];

/// Names of older versions or of other programs, and what to write instead.
pub const FORMER: &[(&str, &str)] = &[
    ("rsyncOps", "write rsync = { ... }, which came with version 2.1"),
    ("rsyncOpts", "write rsync = { ... }, which came with version 2.1"),
    ("settings.delay", "write delay = SECONDS into each sync"),
    ("settings.log", "use the command line: -log CATEGORY"),
    ("settings.stubborn", "write insist = true"),
    ("rsync.delete", "write delete = ... into the sync, beside rsync"),
    ("rsync.ssh", "write ssh = { ... } beside rsync"),
    ("rsync.exclude", "write exclude = { ... } into the sync, beside rsync"),
    ("xargs", "remove it: it is gone since version 2.2"),
    ("onEvent", "lsyncd has no such key; the nearest is onCreate"),
];
