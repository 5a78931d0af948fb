//! What the options of one command line mean together: implications, defaults, conflicts.
//!
//! [`finish`] is called by `parse` once all words are read; [`with_locations`] by the client once
//! it knows where the operands lie. Each step below completes one group of fields; their order
//! matters only for which of several mistakes is reported.

use wire::checksum::strong::ChecksumKind;
use wire::exit::ExitCode;
use wire::token::TokenKind;
use wire::version::Protocol;

use super::debug::DebugLevels;
use super::parse::{Draft, UsageError};
use super::{Append, DELAYED_DIR, DeleteMode, FilesFrom, Options, Partial, info, size};
use crate::charset::CharsetPair;
use crate::location::{self, Location, Plan, PlanKind};
use crate::report::format::OutFormat;

/// Longest `--temp-dir`, in bytes: a path of the system less a temporary name.
pub(crate) const TEMP_DIR_MAX: usize = 4085;
/// Longest `--backup-dir`, in bytes.
const BACKUP_DIR_MAX: usize = 3968;

/// Completes a draft. `words` are the operands.
pub(super) fn finish(
    mut draft: Draft,
    words: &[Vec<u8>],
    env: &dyn Fn(&str) -> Option<Vec<u8>>,
) -> Result<Options, UsageError> {
    if draft.options.sender && !draft.server {
        return Err(UsageError::help("client"));
    }
    argument_protection(&mut draft, env)?;
    charsets(&mut draft, env);
    protocol(&mut draft)?;
    super::batch::finish(&mut draft)?;
    checksum_choice(&mut draft)?;
    compression(&mut draft)?;
    files(&mut draft, words)?;
    backups(&mut draft)?;
    partial(&mut draft, env)?;
    output(&mut draft);
    max_alloc(&mut draft, env)?;
    trust(&draft)?;
    if !draft.server {
        let o = &mut draft.options;
        if o.rsh.is_none() {
            o.rsh = env("RSYNC_RSH").filter(|rsh| !rsh.is_empty());
            o.given.rsh_from_env = o.rsh.is_some();
        }
    }
    if words.is_empty() && !(draft.server && draft.options.secluded_args) {
        return Err(UsageError::help("Receiver"));
    }
    Ok(draft.options)
}

/// Whom paths are trusted to.
fn trust(draft: &Draft) -> Result<(), UsageError> {
    let Some(root) = &draft.options.confine_root else { return Ok(()) };
    if !root.starts_with(b"/") {
        return Err(draft.error("--confine-root must be an absolute path"));
    }
    if draft.options.insecure_links {
        return Err(draft.error("--insecure-links cannot be combined with --confine-root"));
    }
    Ok(())
}

/// The cap on allocations, whose environment default yields to the option.
fn max_alloc(draft: &mut Draft, env: &dyn Fn(&str) -> Option<Vec<u8>>) -> Result<(), UsageError> {
    let typed = draft.options.given.max_alloc.take();
    let Some(value) = typed.or_else(|| env("RSYNC_MAX_ALLOC").filter(|value| !value.is_empty()))
    else {
        return Ok(());
    };
    let max = size::parse_max_alloc(&value).map_err(|error| {
        let text = error.text();
        draft.error([b"--max-alloc=".as_slice(), &value, b" is ", text.as_bytes()].concat())
    })?;
    draft.options.max_alloc = max;
    draft.options.given.max_alloc = Some(value).filter(|_| max != wire::limits::OBJECT_MAX);
    Ok(())
}

/// `-s` and `--old-args`, whose environment defaults yield to either option.
fn argument_protection(
    draft: &mut Draft,
    env: &dyn Fn(&str) -> Option<Vec<u8>>,
) -> Result<(), UsageError> {
    let number = |name: &str| {
        let digits: Vec<u8> = env(name)?.into_iter().take_while(u8::is_ascii_digit).collect();
        String::from_utf8(digits).ok()?.parse::<u8>().ok()
    };
    if !draft.server {
        if draft.secluded.is_none() && draft.old_args.is_none() {
            draft.old_args = number("RSYNC_OLD_ARGS");
        }
        if draft.secluded.is_none() && draft.old_args.unwrap_or(0) == 0 {
            draft.secluded = number("RSYNC_PROTECT_ARGS").map(|n| n != 0);
        }
    }
    draft.options.secluded_args = draft.secluded.unwrap_or(false);
    draft.options.old_args = draft.old_args.unwrap_or(0);
    if draft.options.secluded_args && draft.options.old_args > 0 {
        return Err(draft.error("--secluded-args conflicts with --old-args."));
    }
    Ok(())
}

/// `--iconv`, or what the environment of a client has in its place.
fn charsets(draft: &mut Draft, env: &dyn Fn(&str) -> Option<Vec<u8>>) {
    let options = &mut draft.options;
    if options.given.iconv.is_none() && !draft.server {
        options.given.iconv = env("RSYNC_ICONV").filter(|value| !value.is_empty());
    }
    // A server is told a charset or nothing.
    let off = |value: &&[u8]| draft.server || *value != b"-";
    let pair = options.given.iconv.as_deref().filter(off).map(CharsetPair::parse);
    options.charsets = pair.unwrap_or_default();
}

fn protocol(draft: &mut Draft) -> Result<(), UsageError> {
    let Some(number) = draft.protocol else { return Ok(()) };
    match Protocol::new(number) {
        Some(protocol) => draft.options.protocol = protocol,
        None => {
            let side = if draft.server { "Server" } else { "Client" };
            let (newest, oldest) = (Protocol::NEWEST.number(), Protocol::OLDEST.number());
            let bound = if number > newest {
                format!("no more than {newest}")
            } else {
                format!("at least {oldest}")
            };
            let line = format!("--protocol must be {bound} on the {side}.");
            let error = UsageError::plain(line, draft.role());
            return Err(UsageError { exit: ExitCode::Protocol, ..error });
        }
    }
    Ok(())
}

fn unknown_name(kind: &str, name: &[u8], role: &'static str) -> UsageError {
    let line = [b"unknown ", kind.as_bytes(), b" name: ", name].concat();
    UsageError { exit: ExitCode::Unsupported, ..UsageError::plain(line, role) }
}

/// `--checksum-choice=TRANSFER[,CHECKSUM]`.
fn checksum_choice(draft: &mut Draft) -> Result<(), UsageError> {
    let Some(value) = draft.checksum_choice.take() else { return Ok(()) };
    let (transfer, whole) = match value.iter().position(|&b| b == b',') {
        Some(at) => (value.get(..at).unwrap_or_default(), value.get(at + 1..).unwrap_or_default()),
        None => (value.as_slice(), value.as_slice()),
    };
    let auto = |name: &[u8]| name.eq_ignore_ascii_case(b"auto");
    if auto(transfer) && auto(whole) {
        return Ok(());
    }
    let role = draft.role();
    // A name that is not known is told with all that stands behind it.
    let kind = |name: &[u8], told: &[u8]| match ChecksumKind::parse(&name.to_ascii_lowercase()) {
        _ if auto(name) => Ok(None),
        None => Err(unknown_name("checksum", told, role)),
        found => Ok(found),
    };
    let choice = (kind(transfer, &value)?, kind(whole, whole)?);
    let o = &mut draft.options;
    if o.checksum && choice.1 == Some(ChecksumKind::None) {
        let text = "Invalid checksum-choice for --checksum: none (0)";
        let error = UsageError::plain(text, role);
        return Err(UsageError { exit: ExitCode::Unsupported, ..error });
    }
    o.checksum_choice = Some(choice);
    // Without sums of blocks there is nothing to compare.
    if choice.0 == Some(ChecksumKind::None) {
        o.whole_file = Some(true);
    }
    o.given.checksum_choice = Some(value);
    Ok(())
}

/// `-z`, the choice of a method and its level. A level alone asks for compression, even after
/// `--no-compress`; level 0 of the zlib methods is none.
fn compression(draft: &mut Draft) -> Result<(), UsageError> {
    let typed = draft.compress_choice.take().filter(|name| !name.eq_ignore_ascii_case(b"auto"));
    let twice = (draft.compress >= 2).then(|| b"zlibx".to_vec());
    let choice = typed.or(twice);
    let kind = match choice.as_deref() {
        None => None,
        Some(name) => {
            let kind = TokenKind::parse(&name.to_ascii_lowercase());
            Some(kind.ok_or_else(|| unknown_name("compress", name, draft.role()))?)
        }
    };
    let o = &mut draft.options;
    o.given.plain_compress = match kind {
        None => draft.compress > 0,
        kind => kind == Some(TokenKind::Zlib),
    };
    o.compress = match kind {
        None => draft.compress > 0 || o.compress_level.is_some(),
        Some(TokenKind::Plain) => false,
        Some(TokenKind::Zlib | TokenKind::Zlibx) => o.compress_level != Some(0),
        Some(_) => true,
    };
    o.compress_choice = kind;
    o.given.compress_choice = choice;
    Ok(())
}

/// Which files are meant: files-from, recursion, directories, relative names, deletion.
fn files(draft: &mut Draft, words: &[Vec<u8>]) -> Result<(), UsageError> {
    draft.options.files_from = files_from(draft)?;
    let server = draft.server;
    let o = &mut draft.options;
    let listed = o.files_from.is_some();
    if listed && !server && words.len() > 2 {
        return Err(UsageError::help("client"));
    }
    let listing = !server && words.len() == 1 && o.batch.read.is_none();
    o.list_only = o.given.list_only || listing;
    // The recursion of -a is switched off by a list of names, that of -r is not.
    o.recurse = o.old_dirs || if listed { draft.recurse == 2 } else { draft.recurse > 0 };
    o.relative = draft.relative.unwrap_or(listed);
    o.given.dirs = draft.dirs == Some(true);
    o.dirs = draft.dirs.unwrap_or(listed || (o.list_only && !o.recurse));
    o.hard_links = o.given.hard_links > 0;
    o.atimes = o.given.atimes > 0;
    // Twice stands for --open-noatime as well.
    o.open_noatime |= o.given.atimes > 1;
    if draft.delete_when_differs {
        return Err(draft.error("You may not combine multiple --delete-WHEN options."));
    }
    let o = &mut draft.options;
    o.given.delete_when = draft.delete_when.is_some();
    o.delete = match draft.delete_when {
        Some(when) => when,
        None if draft.delete || o.delete_excluded => DeleteMode::During,
        None => DeleteMode::Off,
    };
    if o.delete != DeleteMode::Off && !o.recurse && !o.dirs {
        let text = "--delete does not work without --recursive (-r) or --dirs (-d).";
        return Err(draft.error(text));
    }
    if o.rights.fakes() && o.xattrs > 1 {
        return Err(draft.error("--fake-super conflicts with -XX"));
    }
    let o = &mut draft.options;
    if o.delete_missing_args {
        o.ignore_missing_args = false;
    }
    Ok(())
}

fn files_from(draft: &mut Draft) -> Result<Option<FilesFrom>, UsageError> {
    let Some(value) = draft.files_from.take() else { return Ok(None) };
    if value == b"-" {
        return Ok(Some(FilesFrom::Stdin));
    }
    match location::split_remote(&value) {
        None => Ok(Some(FilesFrom::Local(value))),
        Some(_) if draft.server => {
            Err(draft.error("The --files-from sent to the server cannot specify a host."))
        }
        Some((_, path)) if path.is_empty() || path == b"-" => {
            Err(draft.error("Invalid --files-from remote filename"))
        }
        Some((host, path)) => Ok(Some(FilesFrom::Remote { host, path })),
    }
}

fn backups(draft: &mut Draft) -> Result<(), UsageError> {
    let too_long = |dir: &Option<Vec<u8>>, max| dir.as_ref().is_some_and(|d| d.len() > max);
    if too_long(&draft.options.temp_dir, TEMP_DIR_MAX) {
        return Err(draft.error("the --temp-dir path is WAY too long."));
    }
    if too_long(&draft.options.backup_dir, BACKUP_DIR_MAX) {
        return Err(draft.error("the --backup-dir path is WAY too long."));
    }
    let dir = draft.options.backup_dir.take();
    let default: &[u8] = if dir.is_some() { b"" } else { b"~" };
    let suffix = draft.suffix.take().unwrap_or_else(|| default.to_vec());
    if suffix.contains(&b'/') {
        let text = [b"--suffix cannot contain slashes: ", suffix.as_slice()].concat();
        return Err(draft.error(text));
    }
    let is_dest = |dir: &Vec<u8>| {
        !dir.starts_with(b"/") && dir.split(|&b| b == b'/').all(|part| matches!(part, b"" | b"."))
    };
    let same_as_dest = dir.as_ref().is_some_and(is_dest);
    draft.options.backup |= dir.is_some();
    draft.options.backup_dir = dir.filter(|_| !same_as_dest);
    if suffix.is_empty() && same_as_dest {
        let text = "--suffix cannot be empty when --backup-dir is the same as the dest dir";
        return Err(draft.error(text));
    }
    if suffix.is_empty() && draft.options.backup_dir.is_none() {
        return Err(draft.error("--suffix cannot be empty without a --backup-dir"));
    }
    draft.options.suffix = suffix;
    Ok(())
}

fn partial(draft: &mut Draft, env: &dyn Fn(&str) -> Option<Vec<u8>>) -> Result<(), UsageError> {
    let mut dir = draft.partial_dir.take();
    draft.options.inplace |= draft.options.rights.write_devices;
    let mut name = "--inplace";
    if draft.options.append != Append::Off {
        if draft.options.whole_file == Some(true) {
            return Err(draft.error("--append cannot be used with --whole-file"));
        }
        name = "--append";
        draft.options.inplace = true;
        draft.options.whole_file = Some(false);
    }
    let delayed = draft.options.delay_updates;
    if draft.options.inplace && (dir.is_some() || delayed) {
        let other = if delayed { "delay-updates" } else { "partial-dir" };
        return Err(draft.error(format!("{name} cannot be used with --{other}")));
    }
    if draft.partial && dir.is_none() && !draft.options.inplace && !draft.server {
        dir = env("RSYNC_PARTIAL_DIR");
    }
    let keep = draft.partial || dir.is_some();
    draft.options.given.partial_dir = dir.is_some();
    // Without a directory of their own, files cannot be held back.
    if dir.as_deref().is_some_and(|dir| matches!(dir, b"" | b".")) {
        draft.options.delay_updates = false;
    }
    if draft.options.delay_updates && dir.is_none() {
        dir = Some(DELAYED_DIR.to_vec());
    }
    let dir = dir.map(|mut dir| {
        while dir.len() > 1 && dir.last() == Some(&b'/') {
            dir.pop();
        }
        dir
    });
    draft.options.partial = match dir {
        Some(dir) if !dir.is_empty() && dir != b"." => Partial::Dir(dir),
        _ if keep => Partial::Keep,
        _ => Partial::Discard,
    };
    Ok(())
}

/// Levels and formats.
fn output(draft: &mut Draft) {
    let o = &mut draft.options;
    let mut levels = info::levels_of_verbosity(o.verbose);
    if o.given.stats > 0 {
        levels.stats = if o.verbose > 1 { 3 } else { 2 };
    }
    if draft.progress {
        levels.progress = 1;
        levels.flist = 2;
        // Progress of unnamed files would say little.
        if o.itemize == 0 && draft.out_format.is_none() {
            levels.name = levels.name.max(1);
        }
    }
    info::apply_user(&mut levels, &draft.info_user);
    o.info = levels;
    o.given.info = draft.info_user;
    o.debug = DebugLevels::of_run(o.verbose, &draft.debug_user);
    o.out_format = draft.out_format.take();
    if draft.server {
        let has = |letter| o.out_format.as_deref().is_some_and(|f| OutFormat::has(f, letter));
        o.itemize = if has(b'I') { 2 } else { u8::from(has(b'i')) };
    } else if o.out_format.is_none() {
        if o.itemize > 0 {
            o.out_format = Some(b"%i %n%L".to_vec());
        } else if levels.name > 0 {
            o.out_format = Some(b"%n%L".to_vec());
        }
    }
}

/// Conflicts between options and locations, and the defaults that depend on them.
pub fn with_locations(options: &mut Options, plan: &Plan) -> Result<(), UsageError> {
    let fail = |text: &str| Err(UsageError::plain(text, plan.role()));
    if let Some(FilesFrom::Remote { host, .. }) = &options.files_from {
        match plan.remote() {
            None => return fail("--files-from cannot be remote when the transfer is local"),
            Some(remote) if !host.is_empty() && *host != remote.machine() => {
                return fail("--files-from hostname is not the same as the transfer hostname");
            }
            Some(_) => {}
        }
    }
    let (daemon, via_shell) = match plan.remote() {
        Some(Location::Daemon { via_shell, .. }) => (true, *via_shell),
        _ => (false, false),
    };
    if options.password_file.is_some() && !daemon {
        return fail("The --password-file option may only be used when accessing an rsync daemon.");
    }
    if options.contimeout_s > 0 && (!daemon || via_shell) {
        let text = "The --contimeout option may only be used when connecting to an rsync daemon.";
        return fail(text);
    }
    // Between two local files reading both to find what to read costs more than it saves.
    if plan.kind == PlanKind::Local {
        options.whole_file.get_or_insert(options.batch.write.is_none());
    }
    Ok(())
}
