//! Reads an argument vector into [`Options`]: each option applied in order, then
//! [`super::check::finish`] for what they mean together.
//!
//! Called by the programs for their own command line, by a server for the words its client sent.
//! Steps: scan a word, find its row, refuse it if a daemon does or if it is not supported, apply it
//! to a [`Draft`]; `--help` ends at once, a daemon option restarts in daemon mode; at the end the
//! draft is checked and completed.
//!
//! No file is opened here: files-from, filter files and the password file are the client's to read.
//! The alias files of popt are not read.

use wire::exit::ExitCode;
use wire::limits::BASIS_DIRS_MAX;

use super::daemon_args::{self, DaemonArgs};
use super::debug;
use super::info::{self, FLAG_COUNT, InfoWords};
use super::scan::{Scanned, WordScanner};
use super::size;
use super::stop;
use super::table::{Opt, Row};
use super::{
    Append, BasisKind, DeleteMode, FilterArg, Options, Outbuf, RemoveSource, StderrMode, check,
};
use crate::chmod::ChmodRules;
use crate::report;

/// Whose words are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Parsing {
    /// Those of a person: `--server` among them makes it [`Parsing::Server`].
    Client,
    /// Those a client sent.
    Server,
}

/// What a command line asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// A transfer or a listing.
    Run,
    /// The help, on standard output.
    Help,
    /// The list of info flags, on standard output.
    InfoHelp,
    /// The list of debug flags, on standard output.
    DebugHelp,
    /// The version text.
    Version,
    /// The version as JSON.
    VersionJson,
    /// The help of daemon mode.
    DaemonHelp,
    /// A daemon.
    Daemon(DaemonArgs),
}

/// A command line understood.
#[derive(Clone, Debug)]
pub struct Parsed {
    /// What it means.
    pub options: Options,
    /// The words that are no options; on a server with the leading `.`.
    pub words: Vec<Vec<u8>>,
    /// What is to be done.
    pub action: Action,
}

/// A command line refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UsageError {
    /// Whole lines for standard error, with their prefix, without the final line. Empty stands for
    /// the help, which only the program can render.
    pub text: Vec<u8>,
    /// The exit code.
    pub exit: ExitCode,
    /// Who says so in the final line: `client`, `server`, `sender`, `Receiver`.
    pub role: &'static str,
}

impl UsageError {
    /// An error of exit code 1 with a line that is printed as it is.
    pub fn plain(line: impl AsRef<[u8]>, role: &'static str) -> UsageError {
        UsageError { text: [line.as_ref(), b"\n"].concat(), exit: ExitCode::Syntax, role }
    }

    /// An error of exit code 1 that shows the help.
    pub fn help(role: &'static str) -> UsageError {
        UsageError { text: Vec::new(), exit: ExitCode::Syntax, role }
    }

    /// The text followed by the final line.
    pub fn rendered(&self) -> Vec<u8> {
        let mut text = self.text.clone();
        if text.is_empty() {
            text.extend_from_slice(report::help_text().as_bytes());
        }
        text.extend_from_slice(report::final_line(self.exit, self.role).as_bytes());
        text.push(b'\n');
        text
    }
}

/// Options as typed so far, before implications.
#[derive(Clone, Default)]
pub(super) struct Draft {
    pub(super) options: Options,
    pub(super) server: bool,
    pub(super) versions: u8,
    /// 0 off, 1 by `-a`, 2 by `-r`.
    pub(super) recurse: u8,
    pub(super) dirs: Option<bool>,
    pub(super) relative: Option<bool>,
    pub(super) files_from: Option<Vec<u8>>,
    pub(super) per_dir_filters: u8,
    pub(super) info_user: [Option<u8>; FLAG_COUNT],
    pub(super) debug_user: [Option<u8>; debug::FLAG_COUNT],
    pub(super) out_format: Option<Vec<u8>>,
    pub(super) progress: bool,
    pub(super) partial: bool,
    pub(super) partial_dir: Option<Vec<u8>>,
    pub(super) suffix: Option<Vec<u8>>,
    pub(super) compress: u8,
    pub(super) compress_choice: Option<Vec<u8>>,
    pub(super) checksum_choice: Option<Vec<u8>>,
    pub(super) secluded: Option<bool>,
    pub(super) old_args: Option<u8>,
    pub(super) protocol: Option<i32>,
    pub(super) delete: bool,
    /// Whether `usermap`, and `groupmap`, come from `--chown`.
    pub(super) maps_by_chown: [bool; 2],
    pub(super) delete_when: Option<DeleteMode>,
    /// Two options said when to delete, and not the same.
    pub(super) delete_when_differs: bool,
}

impl Draft {
    pub(super) fn role(&self) -> &'static str {
        if self.server { "server" } else { "client" }
    }

    /// `rsync: TEXT`, exit code 1.
    pub(super) fn error(&self, text: impl AsRef<[u8]>) -> UsageError {
        UsageError::plain([b"rsync: ", text.as_ref()].concat(), self.role())
    }

    /// The same with the place, for words the table does not take.
    pub(super) fn word_error(&self, word: &[u8], text: &str) -> UsageError {
        let place: &[u8] = if self.server { b"on remote machine: " } else { b"" };
        self.error([place, word, b": ", text.as_bytes()].concat())
    }

    /// Adds an alternate basis directory; all are of one kind.
    fn add_basis(&mut self, kind: BasisKind, dir: Vec<u8>) -> Result<(), UsageError> {
        let o = &mut self.options;
        let (option, before) = (kind.option(), o.basis_kind.option());
        if !o.basis_dirs.is_empty() && o.basis_kind != kind {
            let text = format!("ERROR: the {option} option conflicts with the {before} option");
            return Err(self.error(text));
        }
        if o.basis_dirs.len() >= BASIS_DIRS_MAX {
            let text = format!("ERROR: at most {BASIS_DIRS_MAX} {option} args may be specified");
            return Err(self.error(text));
        }
        o.basis_kind = kind;
        o.basis_dirs.push(dir);
        Ok(())
    }

    fn delete_when(&mut self, when: DeleteMode) {
        // Late deletions are found as those during the transfer are, and the last word counts.
        let kind = |mode| if mode == DeleteMode::Delay { DeleteMode::During } else { mode };
        self.delete_when_differs |=
            self.delete_when.is_some_and(|before| kind(before) != kind(when));
        self.delete_when = Some(when);
    }

    /// Sets the map of users or groups, which only one option may.
    fn set_map(&mut self, group: bool, map: Vec<u8>, by_chown: bool) -> Result<(), UsageError> {
        let o = &mut self.options;
        let (word, slot, kept, affected) = match group {
            false => ("usermap", &mut o.usermap, &mut o.owner, "user"),
            true => ("groupmap", &mut o.groupmap, &mut o.group, "group"),
        };
        let before = slot.is_some().then_some(self.maps_by_chown[usize::from(group)]);
        if let Some(chowned) = before {
            return Err(self.error(match (by_chown, chowned) {
                (false, false) => format!("You can only specify --{word} once."),
                (false, true) => format!("--{word} conflicts with prior --chown."),
                (true, false) => format!("--chown conflicts with prior --{word}."),
                (true, true) => {
                    format!("You can only specify a {affected}-affecting --chown once.")
                }
            }));
        }
        (*slot, *kept) = (Some(map), true);
        self.maps_by_chown[usize::from(group)] = by_chown;
        Ok(())
    }

    /// `--chown=USER:GROUP`, of which either may be missing.
    fn set_chown(&mut self, value: &[u8]) -> Result<(), UsageError> {
        let cut = value.iter().position(|&b| b == b':').unwrap_or(value.len());
        let group = value.get(cut + 1..).unwrap_or_default();
        for (at_group, name) in [(false, &value[..cut]), (true, group)] {
            if !name.is_empty() {
                self.set_map(at_group, [b"*:", name].concat(), true)?;
            }
        }
        Ok(())
    }

    pub(super) fn unsupported(&self, what: &str) -> UsageError {
        let text = report::unsupported(what, self.server);
        UsageError { exit: ExitCode::Unsupported, ..UsageError::plain(text, self.role()) }
    }
}

/// Reads a command line. `args` excludes the program's name; `env` gives environment values.
pub fn parse(
    args: &[Vec<u8>],
    env: &dyn Fn(&str) -> Option<Vec<u8>>,
    context: Parsing,
) -> Result<Parsed, UsageError> {
    parse_refusing(args, env, context, &|_, _| None)
}

/// The same for a daemon. `refuse` is asked about each option by its long name (with `no-` where
/// that was said, empty where there is only a letter) and its letter, and answers with the line for
/// one it does not accept.
pub fn parse_refusing(
    args: &[Vec<u8>],
    env: &dyn Fn(&str) -> Option<Vec<u8>>,
    context: Parsing,
    refuse: &dyn Fn(&str, Option<u8>) -> Option<String>,
) -> Result<Parsed, UsageError> {
    let mut draft = Draft { server: context == Parsing::Server, ..Draft::default() };
    let done = |action| Parsed { options: Options::default(), words: Vec::new(), action };
    if args.is_empty() {
        return Err(UsageError::help(draft.role()));
    }
    let mut words = Vec::new();
    let mut scanner = WordScanner::new(args, false);
    loop {
        let (row, negated, value) = match scanner.next_element() {
            Err(error) => return Err(draft.word_error(scanner.last_word(), error.text())),
            Ok(None) => break,
            Ok(Some(Scanned::Operand(word))) => {
                words.push(word);
                continue;
            }
            Ok(Some(Scanned::Option { row, negated, value })) => (row, negated, value),
        };
        match row.opt {
            Opt::Help => return Ok(done(Action::Help)),
            Opt::Daemon | Opt::DaemonOnly => {
                return daemon_args::parse(args, draft.server).map(done);
            }
            _ => {}
        }
        let (long, short) = row.form(negated);
        if let Some(text) = refuse(&long, short) {
            return Err(UsageError { exit: ExitCode::Unsupported, ..draft.error(text) });
        }
        match apply(&mut draft, row, negated, value, scanner.last_word())? {
            Applied::Done => {}
            Applied::InfoHelp => return Ok(done(Action::InfoHelp)),
            Applied::DebugHelp => return Ok(done(Action::DebugHelp)),
        }
    }
    match draft.versions {
        0 => {}
        1 => return Ok(done(Action::Version)),
        _ => return Ok(done(Action::VersionJson)),
    }
    // `-h` in the only word asks for help, since there is nothing to show numbers of.
    if args.len() == 1 && words.is_empty() && !draft.server && draft.options.human > 1 {
        return Ok(done(Action::Help));
    }
    let other_half = super::remote_half::of(&draft, &words, env);
    let mut options = check::finish(draft, &words, env)?;
    options.batch.keep_words(args);
    options.given.other_half = other_half;
    Ok(Parsed { options, words, action: Action::Run })
}

/// Whether the command line goes on.
pub(super) enum Applied {
    Done,
    InfoHelp,
    DebugHelp,
}

/// Applies one option. Flags are in [`apply_flag`], values here.
pub(super) fn apply(
    draft: &mut Draft,
    row: &Row,
    negated: bool,
    value: Vec<u8>,
    word: &[u8],
) -> Result<Applied, UsageError> {
    use super::table::OptionKind;
    if row.kind == OptionKind::Flag || negated {
        if row.opt == Opt::Crtimes && !negated {
            let who = if draft.server { "The server" } else { "This rsync" };
            return Err(draft.error(format!("{who} does not support --crtimes (-N)")));
        }
        apply_flag(draft, row.opt, !negated);
        return Ok(Applied::Done);
    }
    match row.kind {
        OptionKind::Int => {
            let number =
                size::parse_int(&value).map_err(|error| draft.word_error(word, error.text()))?;
            apply_int(draft, row.opt, number);
            Ok(Applied::Done)
        }
        OptionKind::Size => apply_size(draft, row, &value).map(|()| Applied::Done),
        OptionKind::Flag | OptionKind::Text => apply_text(draft, row.opt, value),
    }
}

fn apply_flag(draft: &mut Draft, opt: Opt, on: bool) {
    let Draft { options: o, .. } = draft;
    let count = |old: u8| if on { old.saturating_add(1) } else { 0 };
    match opt {
        Opt::Archive => {
            draft.recurse = draft.recurse.max(1);
            (o.links, o.perms, o.times, o.owner, o.group) = (true, true, true, true, true);
            (o.devices, o.specials) = (true, true);
        }
        Opt::Recursive => draft.recurse = if on { 2 } else { 0 },
        Opt::Version => draft.versions = draft.versions.saturating_add(1),
        Opt::Verbose => o.verbose = count(o.verbose),
        Opt::Quiet => o.quiet = true,
        Opt::Msgs2Stderr => o.stderr = if on { StderrMode::All } else { StderrMode::Client },
        Opt::Motd => o.motd = on,
        Opt::Stats => o.given.stats = count(o.given.stats),
        Opt::Human => o.human = count(o.human),
        Opt::EightBit => o.eight_bit = on,
        Opt::Itemize => o.itemize = count(o.itemize),
        Opt::DryRun => o.dry_run = true,
        Opt::IncRecursive => o.inc_recurse = on,
        Opt::Dirs => {
            draft.dirs = Some(on);
            o.old_dirs = false;
        }
        Opt::OldDirs => {
            draft.dirs = None;
            o.old_dirs = true;
        }
        Opt::Relative => draft.relative = Some(on),
        Opt::ImpliedDirs => o.implied_dirs = on,
        Opt::Fuzzy => o.fuzzy = if on { count(o.fuzzy).min(2) } else { 0 },
        Opt::OneFileSystem => o.one_file_system = count(o.one_file_system).min(2),
        Opt::PerDirFilter => {
            draft.per_dir_filters = count(draft.per_dir_filters);
            let rule: &[u8] = match draft.per_dir_filters {
                1 => b": /.rsync-filter",
                2 => b"- .rsync-filter",
                _ => return,
            };
            o.filters.push(FilterArg::Rule(rule.to_vec()));
        }
        Opt::CvsExclude => o.cvs_exclude = true,
        Opt::From0 => o.from0 = on,
        Opt::Links => o.links = on,
        Opt::CopyLinks => o.copy_links = true,
        Opt::CopyUnsafeLinks => o.copy_unsafe_links = true,
        Opt::CopyDirlinks => o.copy_dirlinks = true,
        Opt::SafeLinks => o.safe_links = true,
        Opt::MungeLinks => o.munge_links = on,
        Opt::KeepDirlinks => o.keep_dirlinks = true,
        Opt::Perms => o.perms = on,
        Opt::Executability => o.executability = on,
        Opt::Times => o.times = on,
        Opt::Atimes => o.given.atimes = count(o.given.atimes),
        Opt::Acls => (o.acls, o.perms) = (on, o.perms || on),
        Opt::Xattrs => o.xattrs = count(o.xattrs),
        Opt::Owner => o.owner = on,
        Opt::Group => o.group = on,
        Opt::Devices => o.devices = on,
        Opt::Specials => o.specials = on,
        Opt::DevicesAndSpecials => (o.devices, o.specials) = (on, on),
        Opt::HardLinks => o.given.hard_links = count(o.given.hard_links),
        Opt::OmitDirTimes => o.omit_dir_times = on,
        Opt::OmitLinkTimes => o.omit_link_times = on,
        Opt::NumericIds => o.numeric_ids = on,
        _ => apply_copy_flag(draft, opt, on),
    }
}

/// The flags about updating and about the other side.
fn apply_copy_flag(draft: &mut Draft, opt: Opt, on: bool) {
    let Draft { options: o, .. } = draft;
    match opt {
        Opt::Checksum => o.checksum = on,
        Opt::Update => o.update = true,
        Opt::IgnoreTimes => o.ignore_times = true,
        Opt::SizeOnly => o.size_only = true,
        Opt::Existing => o.existing = true,
        Opt::IgnoreExisting => o.ignore_existing = true,
        Opt::WholeFile => o.whole_file = Some(on),
        Opt::Inplace => o.inplace = on,
        Opt::DelayUpdates => o.delay_updates = on,
        Opt::Append => {
            // A server hears of verification by the word said twice.
            let again = draft.server && o.append != Append::Off;
            o.append = match (on, again) {
                (false, _) => Append::Off,
                (true, false) => Append::Blindly,
                (true, true) => Append::Verified,
            };
        }
        Opt::AppendVerify => o.append = Append::Verified,
        Opt::Sparse => o.sparse = on,
        Opt::Preallocate => o.preallocate = true,
        Opt::OpenNoatime => o.open_noatime = on,
        Opt::Fsync => o.fsync = true,
        Opt::Qsort => o.qsort = true,
        Opt::Partial => draft.partial = on,
        Opt::Progress => draft.progress = on,
        Opt::PartialProgress => (draft.partial, draft.progress) = (true, true),
        Opt::Backup => o.backup = on,
        Opt::Delete => draft.delete = true,
        Opt::DeleteBefore => draft.delete_when(DeleteMode::Before),
        Opt::DeleteDuring => draft.delete_when(DeleteMode::During),
        Opt::DeleteDelay => draft.delete_when(DeleteMode::Delay),
        Opt::DeleteAfter => draft.delete_when(DeleteMode::After),
        Opt::DeleteExcluded => o.delete_excluded = true,
        Opt::RemoveSourceFiles => o.remove_source = RemoveSource::Synchronized,
        Opt::RemoveSentFiles => o.remove_source = RemoveSource::Sent,
        Opt::PruneEmptyDirs => o.prune_empty_dirs = on,
        Opt::Mkpath => o.mkpath = on,
        Opt::DeleteMissingArgs => o.delete_missing_args = true,
        Opt::IgnoreMissingArgs => o.ignore_missing_args = true,
        Opt::IgnoreErrors => o.ignore_errors = on,
        Opt::Force => o.force = on,
        Opt::TrustSender => o.trust_sender = true,
        Opt::Compress if on => draft.compress = draft.compress.saturating_add(1),
        Opt::Compress => (draft.compress, draft.compress_choice) = (0, None),
        Opt::OldCompress => draft.compress_choice = Some(b"zlib".to_vec()),
        Opt::NewCompress => draft.compress_choice = Some(b"zlibx".to_vec()),
        Opt::SecludedArgs => draft.secluded = Some(on),
        Opt::OldArgs => {
            let before = draft.old_args.unwrap_or(0);
            draft.old_args = Some(if on { before.saturating_add(1) } else { 0 });
        }
        Opt::ListOnly => o.given.list_only = true,
        Opt::Ipv4 | Opt::Ipv6 => o.family = Some(if opt == Opt::Ipv4 { 4 } else { 6 }),
        Opt::Bwlimit => o.bwlimit = 0,
        Opt::Timeout => o.timeout_s = 0,
        Opt::Iconv => o.given.iconv = (!draft.server).then(|| b"-".to_vec()),
        Opt::Contimeout => o.contimeout_s = 0,
        Opt::InsecureLinks => o.insecure_links = on,
        Opt::Server => (draft.server, o.server) = (true, true),
        Opt::Sender => o.sender = true,
        // The pipes to a remote shell block on both ends, whatever is asked for.
        Opt::BlockingIo => {}
        // Every row but these takes a value or has no negated form, so nothing is left to set.
        _ => o.rights.apply(opt, on),
    }
}

fn apply_int(draft: &mut Draft, opt: Opt, number: i32) {
    let Draft { options: o, .. } = draft;
    // A negative time is none, as at the reference, and a negative count zero.
    let seconds = u32::try_from(number).unwrap_or(0);
    match opt {
        Opt::ModifyWindow => o.modify_window = number,
        Opt::MaxDelete => o.max_delete = Some(seconds),
        Opt::CompressLevel => o.compress_level = Some(number),
        Opt::CompressThreads => o.compress_threads = seconds,
        Opt::ChecksumSeed => o.checksum_seed = number,
        Opt::Protocol => draft.protocol = Some(number),
        Opt::Timeout => o.timeout_s = seconds,
        Opt::Contimeout => o.contimeout_s = seconds,
        Opt::Port => o.port = u16::try_from(number).ok().filter(|&port| port != 0),
        _ => {}
    }
}

fn apply_size(draft: &mut Draft, row: &Row, value: &[u8]) -> Result<(), UsageError> {
    let name = row.names.first().unwrap_or(&"");
    let wrong = |draft: &Draft, error: size::SizeError| {
        let option = format!("--{name}=");
        let text = error.text();
        draft.error([option.as_bytes(), value, b" is ", text.as_bytes()].concat())
    };
    if row.opt == Opt::Bwlimit {
        draft.options.bwlimit = size::parse_bwlimit(value).map_err(|e| wrong(draft, e))?;
        return Ok(());
    }
    if row.opt == Opt::MaxAlloc {
        size::parse_max_alloc(value).map_err(|e| wrong(draft, e))?;
        draft.options.given.max_alloc = Some(value.to_vec());
        return Ok(());
    }
    let max = if row.opt == Opt::BlockSize { size::BLOCK_MAX } else { i64::MAX };
    let bytes = size::parse_size(value, b'b', max).map_err(|e| wrong(draft, e))?;
    let Draft { options: o, .. } = draft;
    match row.opt {
        Opt::BlockSize => o.block_size = u32::try_from(bytes).ok().filter(|&b| b != 0),
        Opt::MaxSize => o.max_size = Some(bytes.unsigned_abs()),
        Opt::MinSize => o.min_size = Some(bytes.unsigned_abs()),
        _ => {}
    }
    Ok(())
}

fn apply_text(draft: &mut Draft, opt: Opt, value: Vec<u8>) -> Result<Applied, UsageError> {
    let Draft { options: o, .. } = draft;
    match opt {
        // A newer client may know flags that this server does not.
        Opt::Info if draft.server => info::parse_known_words(&value, &mut draft.info_user),
        Opt::Info => match info::parse_words(&value, &mut draft.info_user) {
            InfoWords::Levels => {}
            InfoWords::Help => return Ok(Applied::InfoHelp),
            InfoWords::Unknown(word) => {
                let line = [b"Unknown --info item: \"", word.as_slice(), b"\""].concat();
                return Err(UsageError::plain(line, draft.role()));
            }
        },
        Opt::Stderr => match StderrMode::parse(&value) {
            Some(mode) => o.stderr = mode,
            None => {
                let end = b"\" is not one of errors, all, or client";
                return Err(draft.error([b"--stderr mode \"", value.as_slice(), end].concat()));
            }
        },
        Opt::Debug => return debug::apply(draft, &value),
        Opt::StopAfter | Opt::StopAt => {
            draft.options.stop_at = Some(stop::read(draft, opt, &value)?);
        }
        Opt::Chmod => {
            if ChmodRules::parse(&value).is_none() {
                let text = [b"Invalid argument passed to --chmod (", value.as_slice(), b")"];
                return Err(draft.error(text.concat()));
            }
            o.chmod.push(value);
        }
        Opt::Usermap => draft.set_map(false, value, false)?,
        Opt::Groupmap => draft.set_map(true, value, false)?,
        Opt::Chown => draft.set_chown(&value)?,
        Opt::RemoteOption => {
            if !value.starts_with(b"-") {
                let text = [b"Remote option must start with a dash: ", value.as_slice()].concat();
                return Err(draft.error(text));
            }
            o.remote_options.push(value);
        }
        Opt::Rsh if draft.server => o.capabilities = Some(value),
        Opt::Rsh => o.rsh = Some(value),
        Opt::RsyncPath => o.rsync_path = Some(value),
        Opt::Filter => o.filters.push(FilterArg::Rule(value)),
        Opt::Exclude => o.filters.push(FilterArg::Exclude(value)),
        Opt::Include => o.filters.push(FilterArg::Include(value)),
        Opt::ExcludeFrom => o.filters.push(FilterArg::ExcludeFrom(value)),
        Opt::IncludeFrom => o.filters.push(FilterArg::IncludeFrom(value)),
        Opt::OutFormat => draft.out_format = Some(value),
        Opt::CompareDest => draft.add_basis(BasisKind::Compare, value)?,
        Opt::CopyDest => draft.add_basis(BasisKind::Copy, value)?,
        Opt::LinkDest => draft.add_basis(BasisKind::Link, value)?,
        Opt::Suffix => draft.suffix = Some(value),
        Opt::CompressChoice => draft.compress_choice = Some(value),
        Opt::SkipCompress => o.skip_compress = Some(value),
        Opt::ChecksumChoice => draft.checksum_choice = Some(value),
        Opt::Address => o.address = Some(value),
        Opt::Sockopts => o.sockopts = Some(value),
        Opt::Outbuf => match Outbuf::parse(&value) {
            Some(mode) => o.outbuf = mode,
            None => return Err(draft.error("Invalid --outbuf setting -- specify N, L, or B.")),
        },
        _ => apply_path(draft, opt, value),
    }
    Ok(Applied::Done)
}

/// Texts that name files and directories, and what is written into them.
fn apply_path(draft: &mut Draft, opt: Opt, value: Vec<u8>) {
    let Draft { options: o, .. } = draft;
    match opt {
        Opt::FilesFrom => draft.files_from = Some(value),
        Opt::LogFile => o.log.file = Some(value),
        Opt::LogFileFormat => o.log.format = Some(value),
        Opt::PartialDir => draft.partial_dir = Some(value),
        Opt::TempDir => o.temp_dir = Some(value),
        Opt::BackupDir => o.backup_dir = Some(value),
        Opt::PasswordFile => o.password_file = Some(value),
        Opt::CopyAs => o.copy_as = Some(value),
        Opt::ConfineRoot => o.confine_root = Some(value),
        Opt::EarlyInput => o.early_input = Some(value),
        Opt::Iconv => o.given.iconv = Some(value),
        Opt::WriteBatch | Opt::OnlyWriteBatch | Opt::ReadBatch => {
            o.batch.apply(opt, value, draft.server);
        }
        // No other row takes a text.
        _ => {}
    }
}
