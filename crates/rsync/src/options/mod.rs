//! What a run was asked to do: the validated meaning of a command line, one field each.
//!
//! `table` and the rows describe the options, `parse` reads an argument vector in the reference's
//! order and manner, `check` draws implications and finds conflicts, and `server_args` turns the
//! result into the words sent to the other side. The roles read this struct and nothing else.

pub mod batch;
pub mod check;
pub mod daemon_args;
pub mod debug;
mod given;
pub mod info;
pub mod parse;
pub mod popt;
mod remote_half;
pub mod rights;
pub mod rows_copy;
pub mod rows_daemon;
pub mod rows_files;
pub mod rows_talk;
pub mod scan;
pub mod server_args;
pub mod size;
pub mod stop;
pub mod table;
pub mod voice;

use crate::charset::CharsetPair;

use debug::DebugLevels;
pub use given::Given;
use info::InfoLevels;
pub use voice::{Outbuf, StderrMode};
use wire::checksum::strong::ChecksumKind;
use wire::token::TokenKind;

/// A rule given on the command line, in the order given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FilterArg {
    /// `--exclude=PATTERN`.
    Exclude(Vec<u8>),
    /// `--include=PATTERN`.
    Include(Vec<u8>),
    /// `--exclude-from=FILE`; `-` is the standard input.
    ExcludeFrom(Vec<u8>),
    /// `--include-from=FILE`; `-` is the standard input.
    IncludeFrom(Vec<u8>),
    /// `--filter=RULE`.
    Rule(Vec<u8>),
}

/// Where the list of names of `--files-from` comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FilesFrom {
    /// A file of this machine.
    Local(Vec<u8>),
    /// The standard input; on a server, the connection itself.
    Stdin,
    /// A file on the other side (`:FILE` or `HOST:FILE`).
    Remote {
        /// Host as written, empty for the host of the transfer.
        host: Vec<u8>,
        /// Path there.
        path: Vec<u8>,
    },
    /// Names already in memory, NUL-free; the live side hands its batches over this way.
    Names(std::sync::Arc<Vec<Vec<u8>>>),
}

/// When extraneous files of the destination are deleted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum DeleteMode {
    /// Never.
    #[default]
    Off,
    /// Everywhere, before anything is transferred.
    Before,
    /// `--delete`, which is `During` in the protocols spoken here: in each directory as it is met.
    During,
    /// Found as with `During`, done after the transfer.
    Delay,
    /// Everywhere, after the transfer.
    After,
}

/// What a sender removes once it is at the other side.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum RemoveSource {
    /// Nothing.
    #[default]
    Nothing,
    /// `--remove-sent-files`: what was transferred.
    Sent,
    /// `--remove-source-files`: what is there, transferred or not.
    Synchronized,
}

/// `--partial`, `--partial-dir`: what becomes of an interrupted file.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub enum Partial {
    /// The temporary file is removed.
    #[default]
    Discard,
    /// It takes the final name.
    Keep,
    /// It is moved to this directory (relative: inside the entry's own directory).
    Dir(Vec<u8>),
}

/// `--append`, `--append-verify`: only what a longer source has more is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Append {
    /// Neither.
    #[default]
    Off,
    /// What is there is believed.
    Blindly,
    /// What is there takes part in the digest.
    Verified,
}

/// Where `--delay-updates` keeps finished files, unless `--partial-dir` says.
pub const DELAYED_DIR: &[u8] = b".~tmp~";

/// What becomes of a file that an alternate basis directory has as it should be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum BasisKind {
    /// `--compare-dest`: it is left out.
    #[default]
    Compare,
    /// `--copy-dest`: it is copied.
    Copy,
    /// `--link-dest`: it is linked.
    Link,
}

impl BasisKind {
    /// The option's name.
    pub fn option(self) -> &'static str {
        match self {
            BasisKind::Compare => "--compare-dest",
            BasisKind::Copy => "--copy-dest",
            BasisKind::Link => "--link-dest",
        }
    }
}

/// The validated meaning of one command line.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(clippy::struct_excessive_bools)]
pub struct Options {
    /// `--server`: this process was started by a client.
    pub server: bool,
    /// `--sender`: this server sends.
    pub sender: bool,
    /// `--daemon`.
    pub daemon: bool,

    /// `-v`, counted.
    pub verbose: u8,
    /// `-q`.
    pub quiet: bool,
    /// Levels from `-v`, `--progress`, `--stats`, `--info`.
    pub info: InfoLevels,
    /// `--no-motd` is false here.
    pub motd: bool,
    /// Human level: 0 `--no-h`, 1 default, 2 `-h`, 3 `-hh`.
    pub human: u8,
    /// `-i`, counted.
    pub itemize: u8,
    /// `--out-format` as meant, `%i %n%L` with `-i`, `%n%L` with `-v`; on a server `--log-format`.
    pub out_format: Option<Vec<u8>>,
    /// The log of the run.
    pub log: crate::run_log::RunLog,
    /// `-8`.
    pub eight_bit: bool,
    /// `--stderr` and its two old names.
    pub stderr: StderrMode,
    /// `--list-only`, given or implied by a single location.
    pub list_only: bool,

    /// `-n`.
    pub dry_run: bool,
    /// `-r`.
    pub recurse: bool,
    /// `--no-inc-recursive` is false here.
    pub inc_recurse: bool,
    /// `-d`, given or implied by files-from.
    pub dirs: bool,
    /// `--old-dirs`: recursion with a rule that keeps it at the top.
    pub old_dirs: bool,
    /// `-R`.
    pub relative: bool,
    /// `--no-implied-dirs` is false here.
    pub implied_dirs: bool,
    /// `-x`, counted.
    pub one_file_system: u8,
    /// Filter rules in the order given.
    pub filters: Vec<FilterArg>,
    /// `--files-from`.
    pub files_from: Option<FilesFrom>,
    /// `-0`.
    pub from0: bool,
    /// `--max-size` in bytes.
    pub max_size: Option<u64>,
    /// `--min-size` in bytes.
    pub min_size: Option<u64>,

    /// `-l`.
    pub links: bool,
    /// `-p`.
    pub perms: bool,
    /// `-E`.
    pub executability: bool,
    /// `-t`.
    pub times: bool,
    /// `-U`.
    pub atimes: bool,
    /// `-A`.
    pub acls: bool,
    /// `-X`, counted.
    pub xattrs: u8,
    /// `-o`.
    pub owner: bool,
    /// `-g`.
    pub group: bool,
    /// Half of `-D`.
    pub devices: bool,
    /// The other half of `-D`.
    pub specials: bool,
    /// `-H`.
    pub hard_links: bool,
    /// `-O`, given.
    pub omit_dir_times: bool,
    /// `-J`.
    pub omit_link_times: bool,
    /// What is done as the super-user, and with devices.
    pub rights: rights::Rights,
    /// `--numeric-ids`.
    pub numeric_ids: bool,
    /// `--usermap`, or the user of `--chown` as one.
    pub usermap: Option<Vec<u8>>,
    /// `--groupmap`, or the group of `--chown` as one.
    pub groupmap: Option<Vec<u8>>,
    /// `--chmod`, each occurrence, in order.
    pub chmod: Vec<Vec<u8>>,

    /// `-c`.
    pub checksum: bool,
    /// `-u`.
    pub update: bool,
    /// `-I`.
    pub ignore_times: bool,
    /// `--size-only`.
    pub size_only: bool,
    /// `--existing`.
    pub existing: bool,
    /// `--ignore-existing`.
    pub ignore_existing: bool,
    /// `--modify-window` in seconds; negative compares nanoseconds.
    pub modify_window: i32,
    /// `-W` / `--no-W`; `None` leaves it to the kind of transfer.
    pub whole_file: Option<bool>,
    /// `--inplace`.
    pub inplace: bool,
    /// `--append`, which implies `inplace`, and `--append-verify`.
    pub append: Append,
    /// `-S`.
    pub sparse: bool,
    /// `--preallocate`.
    pub preallocate: bool,
    /// `--open-noatime`: leave the access times of files that are read.
    pub open_noatime: bool,
    /// `--fsync`.
    pub fsync: bool,
    /// What is told of the inside.
    pub debug: DebugLevels,
    /// `--iconv`.
    pub charsets: CharsetPair,
    /// `--partial`, `--partial-dir`.
    pub partial: Partial,
    /// `--delay-updates`; `partial` is a directory then.
    pub delay_updates: bool,
    /// `--temp-dir`.
    pub temp_dir: Option<Vec<u8>>,
    /// `-b`.
    pub backup: bool,
    /// `--backup-dir`.
    pub backup_dir: Option<Vec<u8>>,
    /// Suffix in force: given, else `~`, or empty with a backup directory.
    pub suffix: Vec<u8>,
    /// `-y`, counted: 1 looks beside the file, 2 in the basis directories too.
    pub fuzzy: u8,
    /// Of which kind the directories of `basis_dirs` are.
    pub basis_kind: BasisKind,
    /// `--compare-dest`, `--copy-dest` or `--link-dest`, in order; at most [`wire::limits::BASIS_DIRS_MAX`].
    pub basis_dirs: Vec<Vec<u8>>,
    /// `--delete` and the options that say when.
    pub delete: DeleteMode,
    /// `--delete-excluded`.
    pub delete_excluded: bool,
    /// `--max-delete`: how many items may be deleted.
    pub max_delete: Option<u32>,
    /// `--remove-source-files`, `--remove-sent-files`.
    pub remove_source: RemoveSource,
    /// `-m`.
    pub prune_empty_dirs: bool,
    /// `--mkpath`.
    pub mkpath: bool,
    /// `-L`.
    pub copy_links: bool,
    /// `--copy-unsafe-links`.
    pub copy_unsafe_links: bool,
    /// `-k`.
    pub copy_dirlinks: bool,
    /// `--safe-links`.
    pub safe_links: bool,
    /// `--munge-links`.
    pub munge_links: bool,
    /// `-K`.
    pub keep_dirlinks: bool,
    /// `--delete-missing-args`.
    pub delete_missing_args: bool,
    /// `--ignore-missing-args`.
    pub ignore_missing_args: bool,
    /// `--ignore-errors`.
    pub ignore_errors: bool,
    /// `--force`.
    pub force: bool,
    /// `--trust-sender`.
    pub trust_sender: bool,
    /// `-C`: the default exclusions follow the rules in `filters`.
    pub cvs_exclude: bool,

    /// `-z` or an explicit choice: compression is wanted.
    pub compress: bool,
    /// Explicit compression choice (`--compress-choice`, `-zz`, `--old-compress`, `--new-compress`).
    pub compress_choice: Option<TokenKind>,
    /// `--compress-level`.
    pub compress_level: Option<i32>,
    /// `--compress-threads`; 0 compresses in the thread that sends.
    pub compress_threads: u32,
    /// When the run is to stop, in seconds since 1970.
    pub stop_at: Option<i64>,
    /// `--qsort`: the list is sorted whole, so that it does not come in segments. The order is the
    /// same, since equal names keep theirs however they are sorted.
    pub qsort: bool,
    /// `--skip-compress`, which has no effect with the present codecs but is forwarded.
    pub skip_compress: Option<Vec<u8>>,
    /// Explicit checksum choice: transfer, `--checksum`. What is left open beside a choice is what
    /// the protocol implies.
    pub checksum_choice: Option<(Option<ChecksumKind>, Option<ChecksumKind>)>,
    /// `--checksum-seed`; 0 leaves the choice to the server.
    pub checksum_seed: i32,
    /// `--block-size` in bytes; `None` is automatic.
    pub block_size: Option<u32>,
    /// `--protocol`, within what this program speaks.
    pub protocol: wire::version::Protocol,
    /// `--insecure-links`: symlinks in paths are followed whoever owns them.
    pub insecure_links: bool,
    /// `--confine-root`, which a daemon does without.
    pub confine_root: Option<Vec<u8>>,
    /// `--copy-as`: who this side is while it copies.
    pub copy_as: Option<Vec<u8>>,
    /// `--max-alloc` in bytes.
    pub max_alloc: u64,
    /// `--bwlimit` in bytes per second; 0 is none.
    pub bwlimit: u64,
    /// `--timeout` in seconds; 0 is none.
    pub timeout_s: u32,
    /// `--contimeout` in seconds; 0 is none.
    pub contimeout_s: u32,

    /// `-e`.
    pub rsh: Option<Vec<u8>>,
    /// `--rsync-path`.
    pub rsync_path: Option<Vec<u8>>,
    /// `-M`, in order.
    pub remote_options: Vec<Vec<u8>>,
    /// `-s`.
    pub secluded_args: bool,
    /// `--old-args`, counted.
    pub old_args: u8,
    /// `--port`.
    pub port: Option<u16>,
    /// `--address`.
    pub address: Option<Vec<u8>>,
    /// 4 or 6 when one family is forced.
    pub family: Option<u8>,
    /// `--password-file`.
    pub password_file: Option<Vec<u8>>,
    /// `--early-input`: a file for the early command of a daemon.
    pub early_input: Option<Vec<u8>>,
    /// `--sockopts`: options of the socket to a daemon.
    pub sockopts: Option<Vec<u8>>,
    /// `--outbuf`: when standard output is written.
    pub outbuf: Outbuf,
    /// What the client's `-e` argument said (server only): the capability string.
    pub capabilities: Option<Vec<u8>>,
    /// The batch file of the run.
    pub batch: batch::BatchFile,
    /// What was typed, for the words sent to a server.
    pub given: Given,
    /// Set by a daemon: owners are told and taken by number, with the lists for names left empty.
    pub names_hidden: bool,
    /// Set by a daemon: upper bound of the bandwidth in bytes per second, 0 none.
    pub daemon_bwlimit: u64,
}

impl Default for Options {
    /// The meaning of an empty command line.
    fn default() -> Self {
        Options {
            server: false,
            sender: false,
            daemon: false,
            verbose: 0,
            quiet: false,
            info: InfoLevels { nonreg: 1, ..InfoLevels::default() },
            motd: true,
            human: 1,
            itemize: 0,
            out_format: None,
            log: crate::run_log::RunLog::default(),
            eight_bit: false,
            stderr: StderrMode::Errors,
            list_only: false,
            dry_run: false,
            recurse: false,
            inc_recurse: true,
            dirs: false,
            old_dirs: false,
            relative: false,
            implied_dirs: true,
            one_file_system: 0,
            filters: Vec::new(),
            files_from: None,
            from0: false,
            max_size: None,
            min_size: None,
            links: false,
            perms: false,
            executability: false,
            times: false,
            atimes: false,
            acls: false,
            xattrs: 0,
            owner: false,
            group: false,
            devices: false,
            specials: false,
            hard_links: false,
            omit_dir_times: false,
            omit_link_times: false,
            rights: rights::Rights::default(),
            numeric_ids: false,
            usermap: None,
            groupmap: None,
            chmod: Vec::new(),
            checksum: false,
            update: false,
            ignore_times: false,
            size_only: false,
            existing: false,
            ignore_existing: false,
            modify_window: 0,
            whole_file: None,
            inplace: false,
            append: Append::Off,
            sparse: false,
            preallocate: false,
            open_noatime: false,
            fsync: false,
            partial: Partial::Discard,
            delay_updates: false,
            debug: DebugLevels::default(),
            charsets: CharsetPair::default(),
            temp_dir: None,
            backup: false,
            backup_dir: None,
            suffix: b"~".to_vec(),
            fuzzy: 0,
            basis_kind: BasisKind::Compare,
            basis_dirs: Vec::new(),
            delete: DeleteMode::Off,
            delete_excluded: false,
            max_delete: None,
            remove_source: RemoveSource::Nothing,
            prune_empty_dirs: false,
            mkpath: false,
            copy_links: false,
            copy_unsafe_links: false,
            copy_dirlinks: false,
            safe_links: false,
            munge_links: false,
            keep_dirlinks: false,
            delete_missing_args: false,
            ignore_missing_args: false,
            ignore_errors: false,
            force: false,
            trust_sender: false,
            cvs_exclude: false,
            compress: false,
            compress_choice: None,
            compress_level: None,
            compress_threads: 0,
            stop_at: None,
            qsort: false,
            skip_compress: None,
            checksum_choice: None,
            checksum_seed: 0,
            block_size: None,
            protocol: wire::version::Protocol::NEWEST,
            insecure_links: false,
            confine_root: None,
            copy_as: None,
            max_alloc: wire::limits::OBJECT_MAX,
            bwlimit: 0,
            timeout_s: 0,
            contimeout_s: 0,
            rsh: None,
            rsync_path: None,
            remote_options: Vec::new(),
            secluded_args: false,
            old_args: 0,
            port: None,
            address: None,
            family: None,
            password_file: None,
            early_input: None,
            sockopts: None,
            outbuf: Outbuf::default(),
            capabilities: None,
            batch: batch::BatchFile::default(),
            given: Given::default(),
            names_hidden: false,
            daemon_bwlimit: 0,
        }
    }
}

impl Options {
    /// Whether anything at the destination may be deleted by a rule or a list.
    pub fn deletes(&self) -> bool {
        self.delete != DeleteMode::Off
    }

    /// A file that was opened to be read, so that reading leaves its access time where the options
    /// ask for that. Errors: EPERM where that may not be asked for, and then the file is not read.
    pub fn opened(&self, file: std::fs::File) -> std::io::Result<std::fs::File> {
        if self.open_noatime {
            tree::dir::leave_access_time(&file)?;
        }
        Ok(file)
    }

    /// Whether a sender follows some of the symlinks it meets.
    pub fn follows_links(&self) -> bool {
        self.copy_links || self.copy_unsafe_links || self.copy_dirlinks
    }

    /// Has the process follow symlinks as `--insecure-links` asks, on either half of a local copy.
    pub fn trust_links(&self) {
        let half = self.given.other_half.as_deref().and_then(|half| half.as_ref().ok());
        if self.insecure_links || half.is_some_and(|half| half.insecure_links) {
            tree::operator::follow_all();
        }
    }

    /// Whether these options allow file lists in segments.
    pub fn may_recurse_in_segments(&self, receiving: bool) -> bool {
        let whole = matches!(self.delete, DeleteMode::Before | DeleteMode::After)
            || self.prune_empty_dirs
            || self.delay_updates;
        self.recurse && self.inc_recurse && !self.qsort && !(receiving && whole)
    }

    /// Whether the format of items has the itemize letters.
    pub fn shows_letters(&self) -> bool {
        self.out_format
            .as_ref()
            .is_some_and(|format| crate::report::format::OutFormat::has(format, b'i'))
    }

    /// Whether deletion counts travel at the end.
    pub fn counts_deletions(&self) -> bool {
        self.deletes() || self.force
    }
}
