//! The table of options: one row per effect, from which parsing, help and refusal follow.
//!
//! A row holds every spelling that has the same effect, so two spellings are "the same option"
//! exactly when they are found in the same row with the same polarity. That identity is what a
//! daemon's `refuse options` compares.

use super::{rows_copy, rows_daemon, rows_files, rows_talk};

/// What kind of value an option takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OptionKind {
    /// None; repeating may count.
    Flag,
    /// Any text.
    Text,
    /// A 32-bit integer.
    Int,
    /// A size, see [`super::size`].
    Size,
}

/// Which setting a row changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)] // The row of each variant says what it is.
pub enum Opt {
    Help,
    WriteBatch,
    OnlyWriteBatch,
    ReadBatch,
    Version,
    Verbose,
    Quiet,
    Info,
    Stderr,
    Msgs2Stderr,
    Motd,
    Stats,
    Human,
    DryRun,
    Archive,
    Recursive,
    IncRecursive,
    Dirs,
    OldDirs,
    Relative,
    ImpliedDirs,
    OneFileSystem,
    Exclude,
    Include,
    ExcludeFrom,
    IncludeFrom,
    Filter,
    PerDirFilter,
    CvsExclude,
    FilesFrom,
    From0,
    MaxSize,
    MinSize,
    Links,
    Perms,
    Executability,
    Times,
    Atimes,
    Crtimes,
    Acls,
    Xattrs,
    Owner,
    Group,
    Devices,
    Specials,
    DevicesAndSpecials,
    HardLinks,
    OmitDirTimes,
    OmitLinkTimes,
    Super,
    FakeSuper,
    CopyDevices,
    WriteDevices,
    DropDevices,
    NumericIds,
    Chmod,
    Checksum,
    Update,
    IgnoreTimes,
    SizeOnly,
    Existing,
    IgnoreExisting,
    ModifyWindow,
    WholeFile,
    Inplace,
    Append,
    AppendVerify,
    Partial,
    PartialDir,
    DelayUpdates,
    PartialProgress,
    Progress,
    TempDir,
    Fuzzy,
    CompareDest,
    CopyDest,
    LinkDest,
    Backup,
    BackupDir,
    Suffix,
    Delete,
    DeleteDuring,
    DeleteBefore,
    DeleteDelay,
    DeleteAfter,
    DeleteExcluded,
    MaxDelete,
    RemoveSourceFiles,
    RemoveSentFiles,
    PruneEmptyDirs,
    Mkpath,
    Sparse,
    Preallocate,
    OpenNoatime,
    Fsync,
    StopAfter,
    StopAt,
    CompressThreads,
    Qsort,
    Chown,
    Groupmap,
    Usermap,
    KeepDirlinks,
    CopyDirlinks,
    MungeLinks,
    SafeLinks,
    CopyUnsafeLinks,
    CopyLinks,
    DeleteMissingArgs,
    IgnoreMissingArgs,
    IgnoreErrors,
    Force,
    TrustSender,
    Compress,
    OldCompress,
    NewCompress,
    CompressChoice,
    CompressLevel,
    SkipCompress,
    ChecksumChoice,
    ChecksumSeed,
    BlockSize,
    MaxAlloc,
    CopyAs,
    InsecureLinks,
    ConfineRoot,
    Protocol,
    Bwlimit,
    Timeout,
    Contimeout,
    Rsh,
    RsyncPath,
    RemoteOption,
    SecludedArgs,
    OldArgs,
    Port,
    Address,
    Ipv4,
    Ipv6,
    PasswordFile,
    EarlyInput,
    Iconv,
    Debug,
    Outbuf,
    BlockingIo,
    Itemize,
    OutFormat,
    EightBit,
    ListOnly,
    Server,
    Sender,
    Daemon,
    DaemonOnly,
    Config,
    Dparam,
    Detach,
    LogFile,
    LogFileFormat,
    Sockopts,
}

/// One option with all its spellings.
#[derive(Debug)]
pub struct Row {
    /// Which setting it changes.
    pub opt: Opt,
    /// Long names without dashes, the usual one first; empty for `-D`, `-F`, `-P`.
    pub names: &'static [&'static str],
    /// The letter.
    pub short: Option<u8>,
    /// Names that, after `--no-`, undo it.
    pub no: &'static [&'static str],
    /// What value it takes.
    pub kind: OptionKind,
    /// The value's name in the help.
    pub arg: &'static str,
    /// One line of help; empty for options that programs use among themselves.
    pub help: &'static str,
}

impl Row {
    /// A flag.
    pub const fn flag(
        opt: Opt,
        names: &'static [&'static str],
        short: &[u8],
        no: &'static [&'static str],
        help: &'static str,
    ) -> Row {
        Row { opt, names, short: letter(short), no, kind: OptionKind::Flag, arg: "", help }
    }

    /// An option with a value of the given kind.
    pub const fn value(
        opt: Opt,
        kind: OptionKind,
        names: &'static [&'static str],
        short: &[u8],
        no: &'static [&'static str],
        arg: &'static str,
        help: &'static str,
    ) -> Row {
        Row { opt, names, short: letter(short), no, kind, arg, help }
    }

    /// The long name, with `no-` if negated, empty if there is only a letter; and the letter.
    pub fn form(&self, negated: bool) -> (String, Option<u8>) {
        match (negated, self.names.first(), self.no.first()) {
            (true, _, Some(name)) => (format!("no-{name}"), None),
            (_, Some(name), _) => ((*name).to_owned(), self.short),
            _ => (String::new(), self.short),
        }
    }
}

const fn letter(short: &[u8]) -> Option<u8> {
    match short {
        [letter] => Some(*letter),
        _ => None,
    }
}

/// Every option outside daemon mode, in the order of the help.
pub const ROWS: [&[Row]; 3] = [rows_files::ROWS, rows_copy::ROWS, rows_talk::ROWS];

/// Every option of daemon mode.
pub const DAEMON_ROWS: [&[Row]; 1] = [rows_daemon::ROWS];

/// All rows of one mode.
pub fn rows(daemon: bool) -> impl Iterator<Item = &'static Row> {
    let groups: &'static [&'static [Row]] = if daemon { &DAEMON_ROWS } else { &ROWS };
    groups.iter().flat_map(|group| group.iter())
}

/// The row of a long name without its dashes, and whether the name undoes it.
pub fn by_long_name(name: &[u8], daemon: bool) -> Option<(&'static Row, bool)> {
    let equals = |n: &&&str| n.as_bytes() == name;
    let positive = rows(daemon).find(|row| row.names.iter().any(|n| equals(&n)));
    positive.map(|row| (row, false)).or_else(|| {
        let undone = name.strip_prefix(b"no-")?;
        let row = rows(daemon).find(|row| row.no.iter().any(|n| n.as_bytes() == undone))?;
        Some((row, true))
    })
}

/// The row of a letter.
pub fn by_letter(letter: u8, daemon: bool) -> Option<&'static Row> {
    rows(daemon).find(|row| row.short == Some(letter))
}

/// Every spelling outside daemon mode, for `refuse options`: long name with `no-` where it has
/// that, letter, and a number that spellings of the same effect share.
pub fn spellings() -> Vec<(String, Option<u8>, usize)> {
    let mut all = Vec::new();
    for (at, row) in rows(false).enumerate() {
        let (long, short) = row.form(false);
        all.push((long, short, at * 2));
        all.extend(row.names.iter().skip(1).map(|name| ((*name).to_owned(), None, at * 2)));
        all.extend(row.no.iter().map(|name| (format!("no-{name}"), None, at * 2 + 1)));
    }
    all
}

/// Column at which descriptions start.
const HELP_COLUMN: usize = 25;

/// The list of options of the help, one line each.
pub fn help_lines(daemon: bool) -> String {
    let mut text = String::new();
    for row in rows(daemon).filter(|row| !row.help.is_empty()) {
        let assign = if row.arg.is_empty() { String::new() } else { format!("={}", row.arg) };
        let short = row.short.map(|s| format!("-{}", char::from(s)));
        let left = match (row.names.first(), short) {
            (Some(name), Some(short)) => format!("--{name}{assign}, {short}"),
            (Some(name), None) => format!("--{name}{assign}"),
            (None, short) => short.unwrap_or_default(),
        };
        text.push_str(&format!("{left:<HELP_COLUMN$}{}\n", spaced(&left, row.help)));
        for alias in row.names.iter().skip(1) {
            let left = format!("--{alias}{assign}");
            let same = format!("same as --{}", row.names.first().unwrap_or(&""));
            text.push_str(&format!("{left:<HELP_COLUMN$}{}\n", spaced(&left, &same)));
        }
    }
    text
}

fn spaced(left: &str, help: &str) -> String {
    if left.len() >= HELP_COLUMN { format!(" {help}") } else { help.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_spelling_names_one_row() {
        for daemon in [false, true] {
            let mut seen = std::collections::BTreeSet::new();
            for row in rows(daemon) {
                for name in row.names {
                    assert!(seen.insert(format!("--{name}")), "{name} twice");
                }
                for name in row.no {
                    assert!(seen.insert(format!("--no-{name}")), "no-{name} twice");
                }
                if let Some(short) = row.short {
                    assert!(seen.insert(format!("-{}", char::from(short))), "{short} twice");
                }
            }
        }
    }

    #[test]
    fn long_names_are_exact() {
        let opt = |name: &str| by_long_name(name.as_bytes(), false).map(|(row, no)| (row.opt, no));
        assert_eq!(opt("del"), opt("delete-during"));
        assert_eq!(opt("no-p"), Some((Opt::Perms, true)));
        assert_eq!(opt("recurs"), None);
        assert_eq!(opt("no-backup"), Some((Opt::Backup, true)));
        assert_eq!(opt("no-b"), None);
    }
}
