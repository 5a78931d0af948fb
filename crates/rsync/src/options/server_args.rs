//! The words a client sends to its server: `--server`, the bundle of letters, the long options.
//!
//! Called by the transports; the order is the reference's, and a server of any age reads it. Only
//! what concerns the other side is sent: an option whose effect is local has no word here.

use super::info;
use super::rights::SuperUser;
use super::{Append, DeleteMode, FilesFrom, Options, Partial, RemoveSource, StderrMode};
use crate::charset::Charset;
use crate::location::Location;
use crate::report::format::OutFormat;

/// Bytes escaped with a backslash in every word for a shell.
const SHELL_BYTES: &[u8] = b"!#$&;|<>(){}\"' \t\n\r\\`";
/// Bytes that are wildcards to a shell; escaped in option values, left alone in paths.
const WILD_BYTES: &[u8] = b"*?[]";

/// What a word is, which decides how it is escaped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum WordKind {
    /// An option or the value of one.
    Value,
    /// A value of `--remote-option`.
    RemoteOption,
    /// A path argument.
    Path,
}

/// What a daemon is sent after its `OK`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DaemonWords {
    /// The list of arguments, without NULs.
    pub outer: Vec<Vec<u8>>,
    /// What follows it when the arguments are secluded, with NULs; else empty.
    pub secluded: Vec<u8>,
}

/// The words as they are collected.
struct Words(Vec<Vec<u8>>);

impl Words {
    fn push(&mut self, word: impl AsRef<[u8]>) {
        self.0.push(word.as_ref().to_vec());
    }

    fn push_if(&mut self, condition: bool, word: &str) {
        if condition {
            self.push(word);
        }
    }

    /// `--name=value`.
    fn assign(&mut self, name: &str, value: impl AsRef<[u8]>) {
        self.push([name.as_bytes(), b"=", value.as_ref()].concat());
    }
}

/// The words from `--server` up to, not including, the `.`, as they are meant. `sending`: the
/// client is the sender.
pub fn server_args(o: &Options, sending: bool) -> Vec<Vec<u8>> {
    let mut words = Words(Vec::new());
    words.push("--server");
    words.push_if(!sending, "--sender");
    let bundle = bundle(o, sending);
    if bundle.len() > 1 {
        words.push(bundle);
    }
    if let Some(charset) = &o.charsets.other {
        words.assign("--iconv", charset);
    }
    words.push_if(o.given.list_only, "--list-only");
    words.push_if(sending && o.deletes() && o.dirs && !o.recurse, "--no-r");
    if let Some(level) = o.compress_level {
        words.assign("--compress-level", level.to_string());
    }
    words.push_if(o.devices && !o.specials, "--no-specials");
    words.push_if(!o.devices && o.specials, "--specials");
    if let Some(format) = o.out_format.as_deref().filter(|_| sending) {
        log_format(&mut words, o, format);
    }
    words.push_if(o.stderr == StderrMode::All, "--msgs2stderr");
    words.push_if(o.stderr == StderrMode::Client, "--no-msgs2stderr");
    if let Some(size) = o.block_size {
        words.push(format!("-B{size}"));
    }
    if o.timeout_s > 0 {
        words.assign("--timeout", o.timeout_s.to_string());
    }
    if o.bwlimit > 0 {
        words.assign("--bwlimit", (o.bwlimit / 1024).to_string());
    }
    if let Some(dir) = &o.backup_dir {
        words.push("--backup-dir");
        words.push(dir);
    }
    let default_suffix: &[u8] = if o.backup_dir.is_some() { b"" } else { b"~" };
    if o.suffix != default_suffix {
        words.assign("--suffix", &o.suffix);
    }
    if let Some(choice) = &o.given.checksum_choice {
        words.assign("--checksum-choice", choice);
    }
    match o.given.compress_choice.as_deref() {
        Some(name) if name.eq_ignore_ascii_case(b"zlibx") => words.push("--new-compress"),
        Some(name) if name.eq_ignore_ascii_case(b"zlib") => words.push("--old-compress"),
        Some(name) => words.assign("--compress-choice", name),
        None => {}
    }
    if sending {
        receiver_words(&mut words, o);
    } else if let Some(list) = &o.skip_compress {
        words.assign("--skip-compress", list);
    }
    if let Some(size) = &o.given.max_alloc {
        words.assign("--max-alloc", size);
    }
    words.push_if(o.delete_missing_args, "--delete-missing-args");
    words.push_if(!sending && o.ignore_missing_args, "--ignore-missing-args");
    late_words(&mut words, o, sending);
    words.0
}

/// The one word of letters, beginning with `-`, ending with `e` and the capability string.
fn bundle(o: &Options, sending: bool) -> Vec<u8> {
    let mut word = vec![b'-'];
    let mut letters = |count: u8, letter: u8| {
        word.extend(std::iter::repeat_n(letter, usize::from(count)));
    };
    letters(o.secluded_args.into(), b's');
    letters(o.verbose.min(9), b'v');
    letters((o.quiet && o.stderr != StderrMode::Client).into(), b'q');
    letters(o.backup.into(), b'b');
    letters(o.update.into(), b'u');
    letters((o.dry_run && !o.batch.only).into(), b'n');
    letters(o.links.into(), b'l');
    let needs_dirs = o.given.dirs || (o.dirs && (o.list_only || (sending && o.deletes())));
    letters((needs_dirs && !o.recurse).into(), b'd');
    letters((sending && o.keep_dirlinks).into(), b'K');
    letters((sending && o.prune_empty_dirs).into(), b'm');
    letters((!sending && o.copy_links).into(), b'L');
    letters((!sending && o.copy_dirlinks).into(), b'k');
    letters((sending && o.omit_dir_times).into(), b'O');
    letters((sending && o.omit_link_times).into(), b'J');
    let fuzzy = if o.basis_dirs.is_empty() { o.fuzzy.min(1) } else { o.fuzzy };
    letters(if sending { fuzzy } else { 0 }, b'y');
    letters((o.whole_file == Some(true)).into(), b'W');
    letters(o.given.hard_links.clamp(o.hard_links.into(), 2), b'H');
    letters(o.owner.into(), b'o');
    letters(o.group.into(), b'g');
    letters(o.devices.into(), b'D');
    letters(o.times.into(), b't');
    letters(o.given.atimes.min(2), b'U');
    letters(o.perms.into(), b'p');
    letters((sending && o.executability && !o.perms).into(), b'E');
    letters(o.acls.into(), b'A');
    letters(o.xattrs.min(2), b'X');
    letters(o.recurse.into(), b'r');
    letters(o.checksum.into(), b'c');
    letters(o.cvs_exclude.into(), b'C');
    letters(o.ignore_times.into(), b'I');
    letters(o.relative.into(), b'R');
    letters(o.one_file_system.min(2), b'x');
    letters(o.sparse.into(), b'S');
    letters(o.given.plain_compress.into(), b'z');
    if !o.protocol.has_compat_flags() {
        return word;
    }
    let capabilities = wire::handshake::client_capabilities(o.may_recurse_in_segments(!sending));
    word.extend_from_slice(capabilities.as_bytes());
    word
}

/// What of the format the receiving server needs: whether to itemize, whether to say what it does.
fn log_format(words: &mut Words, o: &Options, format: &[u8]) {
    if OutFormat::has(format, b'i') {
        words.assign("--log-format", if o.itemize > 1 { "%i%I" } else { "%i" });
    } else if OutFormat::has(format, b'o') {
        words.assign("--log-format", "%o");
    } else if o.verbose == 0 {
        words.assign("--log-format", "X");
    }
}

/// Options that only a receiving server needs.
fn receiver_words(words: &mut Words, o: &Options) {
    match o.max_delete {
        None => {}
        Some(0) => words.push("--max-delete=-1"),
        Some(most) => words.assign("--max-delete", most.to_string()),
    }
    if let Some(size) = o.min_size {
        words.assign("--min-size", size.to_string());
    }
    if let Some(size) = o.max_size {
        words.assign("--max-size", size.to_string());
    }
    match o.delete {
        DeleteMode::Before => words.push("--delete-before"),
        DeleteMode::Delay => words.push("--delete-delay"),
        DeleteMode::During if o.given.delete_when => words.push("--delete-during"),
        DeleteMode::After => words.push("--delete-after"),
        DeleteMode::During if !o.delete_excluded => words.push("--delete"),
        DeleteMode::During | DeleteMode::Off => {}
    }
    words.push_if(o.delete_excluded, "--delete-excluded");
    words.push_if(o.force, "--force");
    words.push_if(o.batch.only, "--only-write-batch=X");
    words.push_if(o.rights.super_user == SuperUser::Assumed, "--super");
    words.push_if(o.size_only, "--size-only");
    words.push_if(o.given.stats > 0, "--stats");
}

/// Everything from the time window on.
fn late_words(words: &mut Words, o: &Options, sending: bool) {
    match o.modify_window {
        window if !sending || window == 0 => {}
        window if window < 0 => words.push(format!("-@{window}")),
        window => words.assign("--modify-window", window.to_string()),
    }
    if o.checksum_seed != 0 {
        words.assign("--checksum-seed", o.checksum_seed.to_string());
    }
    partial_words(words, o, sending);
    words.push_if(o.ignore_errors, "--ignore-errors");
    words.push_if(o.copy_unsafe_links, "--copy-unsafe-links");
    words.push_if(o.safe_links, "--safe-links");
    words.push_if(o.numeric_ids, "--numeric-ids");
    words.push_if(o.qsort, "--use-qsort");
    for (name, map) in [("--usermap", &o.usermap), ("--groupmap", &o.groupmap)] {
        if let Some(map) = map.as_ref().filter(|_| sending) {
            words.assign(name, map);
        }
    }
    words.push_if(sending && o.ignore_existing, "--ignore-existing");
    words.push_if(sending && o.existing, "--existing");
    if let Some(dir) = o.temp_dir.as_deref().filter(|_| sending) {
        words.push("--temp-dir");
        words.push(dir);
    }
    words.push_if(sending && o.fsync, "--fsync");
    for dir in o.basis_dirs.iter().filter(|_| sending) {
        words.push(o.basis_kind.option());
        words.push(dir);
    }
    if let Some(levels) = info::words_for_server(&o.given.info, sending) {
        words.assign("--info", levels);
    }
    in_place_words(words, o, sending);
    match &o.files_from {
        Some(FilesFrom::Remote { path, .. }) => {
            words.push("--files-from");
            words.push(path);
            words.push_if(o.from0, "--from0");
            words.push_if(!o.relative, "--no-relative");
        }
        Some(_) if !sending => {
            words.push("--files-from=-");
            words.push("--from0");
            words.push_if(!o.relative, "--no-relative");
        }
        _ => {}
    }
    words.push_if(o.relative && !o.implied_dirs, "--no-implied-dirs");
    words.push_if(sending && o.rights.write_devices, "--write-devices");
    match o.remove_source {
        RemoveSource::Nothing => {}
        RemoveSource::Synchronized => words.push("--remove-source-files"),
        RemoveSource::Sent => words.push("--remove-sent-files"),
    }
    words.push_if(!sending && o.rights.copy_devices, "--copy-devices");
    words.push_if(sending && o.preallocate, "--preallocate");
    words.push_if(o.open_noatime && o.given.atimes < 2, "--open-noatime");
    words.push_if(sending && o.mkpath, "--mkpath");
    for word in &o.remote_options {
        words.push(word);
    }
}

/// What becomes of unfinished files; where delayed ones wait by themselves needs no telling.
fn partial_words(words: &mut Words, o: &Options, sending: bool) {
    match &o.partial {
        Partial::Dir(dir) if sending => {
            if o.given.partial_dir {
                words.push("--partial-dir");
                words.push(dir);
            }
            words.push_if(o.delay_updates, "--delay-updates");
        }
        Partial::Keep if sending && !o.inplace => words.push("--partial"),
        _ => {}
    }
}

/// `--append`, or else `--inplace`.
fn in_place_words(words: &mut Words, o: &Options, sending: bool) {
    match o.append {
        Append::Off => {
            words.push_if(o.inplace, "--inplace");
            let sparse = o.inplace && o.sparse && o.whole_file == Some(false);
            words.push_if(sending && sparse, "--no-W");
        }
        Append::Blindly => words.push("--append"),
        Append::Verified => (0..2).for_each(|_| words.push("--append")),
    }
}

/// A word as a shell has to be given it, according to `--old-args`.
///
/// In a path a backslash before a wildcard is left as the user's own escape. The protection of a
/// leading `-` or `~` is [`path_word`]'s.
fn escape_word(word: &[u8], kind: WordKind, options: &Options) -> Vec<u8> {
    let raw = match kind {
        WordKind::Value => options.old_args > 1,
        WordKind::RemoteOption | WordKind::Path => options.old_args > 0,
    };
    if raw {
        return word.to_vec();
    }
    let path = kind == WordKind::Path;
    let mut escaped = Vec::with_capacity(word.len() + 8);
    for (at, &byte) in word.iter().enumerate() {
        let users_own =
            path && byte == b'\\' && word.get(at + 1).is_some_and(|next| WILD_BYTES.contains(next));
        let special = SHELL_BYTES.contains(&byte) || (!path && WILD_BYTES.contains(&byte));
        if special && !users_own {
            escaped.push(b'\\');
        }
        escaped.push(byte);
    }
    escaped
}

/// A path argument as the server is given it: escaped for a shell when `shell`, and kept from being
/// an option. `sending`: the client is the sender, so the path is the destination.
///
/// On a pull whose sender is not trusted, a leading `~` that is not a directory of its own is
/// escaped, since what it expands to would not be a name that was asked for.
fn path_word(path: &[u8], options: &Options, sending: bool, shell: bool) -> Vec<u8> {
    let plain = options.old_args > 0;
    let shell = shell && !options.secluded_args && !plain;
    let mut word = Vec::new();
    if !plain && path.starts_with(b"-") {
        word.extend_from_slice(b"./");
    }
    let stays_name = if options.relative {
        !path.windows(3).any(|part| part == b"/./")
    } else {
        !path.contains(&b'/')
    };
    if shell && path.starts_with(b"~") && !sending && !options.trust_sender && stays_name {
        word.push(b'\\');
    }
    match shell {
        true => word.extend(escape_word(path, WordKind::Path, options)),
        false => word.extend_from_slice(path),
    }
    word
}

/// The option words as a shell, or a daemon, has to be given them; unchanged with secluded
/// arguments, which no shell sees.
pub fn escape_words(words: &[Vec<u8>], options: &Options) -> Vec<Vec<u8>> {
    if options.secluded_args {
        return words.to_vec();
    }
    let own = words.len().saturating_sub(options.remote_options.len());
    let kind = |at| if at < own { WordKind::Value } else { WordKind::RemoteOption };
    let escaped = words.iter().enumerate().map(|(at, word)| escape_word(word, kind(at), options));
    escaped.collect()
}

/// The path words for a remote shell.
pub fn shell_paths(paths: &[&Location], options: &Options, sending: bool) -> Vec<Vec<u8>> {
    let path = |location: &&Location| match location {
        Location::Shell { path, .. } | Location::Local(path) => {
            path_word(path, options, sending, true)
        }
        Location::Daemon { module_path, .. } => module_path.clone(),
    };
    paths.iter().map(path).collect()
}

/// Splits a command line for a remote shell: what stays on it, and what is written to the server
/// before anything else, which is nothing unless the arguments are secluded. `words` are those of
/// [`server_args`], `argv` the whole command line with escapes, `.` and paths.
pub fn seclude(
    options: &Options,
    words: &[Vec<u8>],
    argv: Vec<Vec<u8>>,
    paths: &[&Location],
    charset: Option<&Charset>,
) -> (Vec<Vec<u8>>, Vec<u8>) {
    if !options.secluded_args {
        return (argv, Vec::new());
    }
    // Secluded path words are not escaped, whichever way the transfer goes.
    let paths = shell_paths(paths, options, false);
    let (outer, inner) = words.split_at(bundle_end(words));
    (outer.to_vec(), secluded_list(inner, &paths, charset))
}

/// What a daemon is sent: the option words and the paths with their module.
pub fn daemon_words(
    options: &Options,
    words: Vec<Vec<u8>>,
    paths: &[&Location],
    module: &[u8],
    charset: Option<&Charset>,
) -> DaemonWords {
    let path = |location: &&Location| match location {
        Location::Daemon { module_path, .. } => module_word(module_path, module, options),
        Location::Shell { path, .. } | Location::Local(path) => path.clone(),
    };
    let paths: Vec<Vec<u8>> = paths.iter().map(path).collect();
    if options.secluded_args {
        let (outer, inner) = words.split_at(bundle_end(&words));
        let secluded = secluded_list(inner, &paths, charset);
        return DaemonWords { outer: outer.to_vec(), secluded };
    }
    let mut outer = escape_words(&words, options);
    outer.push(b".".to_vec());
    outer.extend(paths);
    DaemonWords { outer, secluded: Vec::new() }
}

/// A path with its module as a daemon splits it: a bare module gets a `/`; a blank before a further
/// `MODULE/` inside is hidden in brackets, since the daemon would start a new path there.
fn module_word(module_path: &[u8], module: &[u8], options: &Options) -> Vec<u8> {
    let mut word = Vec::with_capacity(module_path.len() + 8);
    if options.old_args == 0 && module_path.starts_with(b"-") {
        word.extend_from_slice(b"./");
    }
    let again = [b" ", module, b"/"].concat();
    for (at, &byte) in module_path.iter().enumerate() {
        let splits = module_path.get(at..).is_some_and(|rest| rest.starts_with(&again));
        if splits && options.old_args == 0 {
            word.extend_from_slice(b"[ ]");
        } else {
            word.push(byte);
        }
    }
    if module_path == module {
        word.push(b'/');
    }
    word
}

/// How many words stay outside when the arguments are secluded: up to the bundle, and the charset
/// that the others are converted from.
fn bundle_end(words: &[Vec<u8>]) -> usize {
    let bundle = words.iter().position(|w| w.starts_with(b"-") && !w.starts_with(b"--"));
    let end = bundle.map_or(words.len(), |at| at + 1);
    end + usize::from(words.get(end).is_some_and(|word| word.starts_with(b"--iconv=")))
}

/// `rsync`, the words, `.`, the paths, each with a NUL, and a final NUL. An empty word would end
/// the list, so it is sent as `.`. With a charset they go as UTF-8.
fn secluded_list(words: &[Vec<u8>], paths: &[Vec<u8>], charset: Option<&Charset>) -> Vec<u8> {
    let dot: &[u8] = b".";
    let mut list = b"rsync\0".to_vec();
    let words = words.iter().map(Vec::as_slice).chain([dot]);
    for word in words.chain(paths.iter().map(Vec::as_slice)) {
        let word = if word.is_empty() { dot } else { word };
        list.extend(charset.map_or_else(|| word.to_vec(), |charset| charset.say(word)));
        list.push(0);
    }
    list.push(0);
    list
}
