//! `config.toml`: a strict schema, one row for each key, and errors with their place.
//!
//! Called by the program through [`load`]. Keys are applied in the order in which they are written,
//! so filter rules keep theirs. An unknown key is refused with the nearest known one. All errors of
//! a file are reported together, in order of place.

use std::fmt;

use ::toml::Spanned;
use ::toml::de::{DeTable, DeValue};
use rsync::daemon::log::shown_line;
use rsync::options::FilterArg;

use super::options::from_options;
use super::origin::SyncOrigin;
use super::{Config, DeleteOnly, SyncConfig};
use crate::watch::BackendChoice;

/// What is wrong at one place of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigError {
    /// The file.
    pub file: String,
    /// Line, from 1; 0 when the file as a whole is meant.
    pub line: usize,
    /// Column in characters, from 1.
    pub column: usize,
    /// What is wrong.
    pub text: String,
    /// It is right, but nothing that this program does.
    pub refused: bool,
    /// It is no mistake: the configuration, a program, ends with this exit code.
    pub ends: Option<i32>,
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let place = match self.line {
            0 => String::new(),
            line if self.column == 0 => format!(":{line}"),
            line => format!(":{line}:{}", self.column),
        };
        f.write_str(&shown_line(&format!("{}{place}: {}", self.file, self.text)))
    }
}

impl ConfigError {
    /// A mistake at a line, 0 for the file as a whole.
    pub fn new(file: &str, line: usize, text: String) -> ConfigError {
        ConfigError { file: file.to_owned(), line, column: 0, text, refused: false, ends: None }
    }

    /// Something that is right, and is not done here.
    pub fn refused(file: &str, line: usize, text: String) -> ConfigError {
        ConfigError { refused: true, ..ConfigError::new(file, line, text) }
    }
}

/// One key of a `[[sync]]` table.
pub struct KeyRow {
    /// The key.
    pub key: &'static str,
    /// What it means, for help and manual.
    pub help: &'static str,
    /// Applies a value. Errors: what was expected.
    set: fn(&mut SyncConfig, &DeValue<'_>) -> Result<(), String>,
}

/// Reads and checks a configuration file. Errors: all that was found.
pub fn load(path: &std::path::Path) -> Result<Config, Vec<ConfigError>> {
    let file = path.display().to_string();
    let content =
        super::file::read(path).map_err(|e| vec![ConfigError::new(&file, 0, e.to_string())])?;
    let mut config = parse(as_text(&content, &file)?, &file)?;
    if config.name.is_empty() {
        config.name =
            path.file_stem().map_or_else(String::new, |s| s.to_string_lossy().into_owned());
    }
    Ok(config)
}

/// The content of a file as text. Errors: the line with bytes that are none.
pub fn as_text<'a>(content: &'a [u8], file: &str) -> Result<&'a str, Vec<ConfigError>> {
    std::str::from_utf8(content).map_err(|error| {
        let good = content.get(..error.valid_up_to()).unwrap_or_default();
        let line = good.split(|&b| b == b'\n').count();
        vec![ConfigError::new(file, line, "is no text: a byte is not UTF-8".into())]
    })
}

/// Checks the text of a configuration; `file` is its name in errors. Without a `name` key the
/// configuration's name is empty.
pub fn parse(text: &str, file: &str) -> Result<Config, Vec<ConfigError>> {
    parse_placed(text, file).map(|(config, _)| config)
}

/// As [`parse`], with where each sync stands.
pub fn parse_placed(text: &str, file: &str) -> Result<(Config, Vec<SyncOrigin>), Vec<ConfigError>> {
    let mut reader = Reader { text, file, errors: Vec::new(), origins: Vec::new() };
    let table = match DeTable::parse(text) {
        Ok(table) => table,
        Err(e) => {
            reader.error(e.span().map_or(0, |s| s.start), e.message().to_owned());
            return Err(reader.errors);
        }
    };
    let mut config = Config { name: String::new(), ..Config::new(Vec::new()) };
    for (key, value) in in_order(table.get_ref()) {
        match (key.get_ref().as_ref(), value.get_ref()) {
            ("sync", DeValue::Array(list)) => {
                for item in list.iter() {
                    reader.sync(item, &mut config);
                }
            }
            ("sync", _) => reader.error(key.span().start, "write [[sync]], twice bracketed".into()),
            ("name", DeValue::String(name)) => match socket_name(name) {
                Ok(()) => config.name = name.to_string(),
                Err(text) => reader.error(value.span().start, text),
            },
            ("socket", DeValue::String(path)) => config.socket = Some(path.as_bytes().to_vec()),
            (known @ ("name" | "socket"), _) => {
                reader.error(value.span().start, format!("{known} must be a string"));
            }
            (key_text, _) => {
                reader.unknown(key.span().start, key_text, &["sync", "name", "socket"]);
            }
        }
    }
    if reader.errors.is_empty()
        && let Err(text) = config.check()
    {
        reader.errors.push(ConfigError::new(file, 0, text));
    }
    if reader.errors.is_empty() { Ok((config, reader.origins)) } else { Err(reader.errors) }
}

struct Reader<'a> {
    text: &'a str,
    file: &'a str,
    errors: Vec<ConfigError>,
    origins: Vec<SyncOrigin>,
}

impl Reader<'_> {
    fn sync(&mut self, item: &Spanned<DeValue<'_>>, config: &mut Config) {
        let DeValue::Table(table) = item.get_ref() else {
            return self.error(item.span().start, "sync must be a table".into());
        };
        let mut sync = SyncConfig { name: String::new(), ..SyncConfig::new(b"/", b"") };
        (sync.source, sync.contents) = (Vec::new(), true);
        let (line, _) = self.place(item.span().start);
        let mut origin = SyncOrigin::new(self.file, line);
        for (key, value) in in_order(table) {
            let (line, _) = self.place(key.span().start);
            origin.add(key.get_ref(), line, self.text.get(value.span()).unwrap_or_default());
            match ROWS.iter().find(|row| row.key == key.get_ref().as_ref()) {
                Some(row) => {
                    if let Err(text) = (row.set)(&mut sync, value.get_ref()) {
                        self.error(value.span().start, format!("{}: {text}", row.key));
                    }
                }
                None => {
                    let known: Vec<&str> = ROWS.iter().map(|row| row.key).collect();
                    self.unknown(key.span().start, key.get_ref(), &known);
                }
            }
        }
        for (missing, key) in
            [(sync.source.is_empty(), "source"), (sync.target.is_empty(), "target")]
        {
            if missing && !table.contains_key(key) {
                self.error(item.span().start, format!("this sync has no {key}"));
            }
        }
        if sync.name.is_empty() {
            sync.name = String::from_utf8_lossy(&sync.source).into_owned();
        }
        config.syncs.push(sync);
        self.origins.push(origin);
    }

    fn unknown(&mut self, at: usize, key: &str, known: &[&str]) {
        let text = match nearest(key, known) {
            Some(near) => format!("unknown key {key}; did you mean {near}?"),
            None => format!("unknown key {key}; known are {}", known.join(", ")),
        };
        self.error(at, text);
    }

    /// Line and column of a byte.
    fn place(&self, at: usize) -> (usize, usize) {
        let before = self.text.get(..at).unwrap_or(self.text);
        let line_start = before.rfind('\n').map_or(0, |n| n + 1);
        let line = before.matches('\n').count() + 1;
        (line, before.get(line_start..).unwrap_or_default().chars().count() + 1)
    }

    fn error(&mut self, at: usize, text: String) {
        let (line, column) = self.place(at);
        self.errors.push(ConfigError { column, ..ConfigError::new(self.file, line, text) });
    }
}

/// The entries of a table in the order in which they are written.
fn in_order<'t, 'i>(
    table: &'t DeTable<'i>,
) -> Vec<(&'t Spanned<std::borrow::Cow<'i, str>>, &'t Spanned<DeValue<'i>>)> {
    let mut all: Vec<_> = table.iter().collect();
    all.sort_by_key(|(key, _)| key.span().start);
    all
}

/// The known key nearest to `key`, if near enough to be a slip.
pub(crate) fn nearest<'k>(key: &str, known: &[&'k str]) -> Option<&'k str> {
    let plain = key.replace('-', "_").to_lowercase();
    known
        .iter()
        .map(|k| (distance(&plain, k), *k))
        .min()
        .filter(|(d, k)| *d <= (k.len().max(plain.len()) / 3).max(1))
        .map(|(_, k)| k)
}

/// Letters to insert, remove or replace to make `a` of `b`.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.chars().enumerate() {
        let mut above_left = i;
        let mut left = i + 1;
        let mut next = vec![left];
        for (y, &above) in b.iter().zip(row.iter().skip(1)) {
            left = (above_left + usize::from(x != *y)).min(above + 1).min(left + 1);
            above_left = above;
            next.push(left);
        }
        row = next;
    }
    row.last().copied().unwrap_or_default()
}

fn socket_name(name: &str) -> Result<(), String> {
    let fine = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
    if !name.is_empty() && !name.starts_with('.') && name.chars().all(fine) {
        return Ok(());
    }
    Err("name must be made of letters, digits, '.', '-' and '_'".into())
}

fn boolean(value: &DeValue<'_>) -> Result<bool, String> {
    match value {
        DeValue::Boolean(on) => Ok(*on),
        _ => Err("must be true or false, without quotes".into()),
    }
}

fn bytes(value: &DeValue<'_>) -> Result<Vec<u8>, String> {
    match value {
        DeValue::String(text) if text.is_empty() => Err("must not be empty".into()),
        DeValue::String(text) if text.contains('\0') => Err("must not hold a NUL".into()),
        DeValue::String(text) => Ok(text.as_bytes().to_vec()),
        _ => Err("must be a string".into()),
    }
}

fn list(value: &DeValue<'_>) -> Result<Vec<Vec<u8>>, String> {
    match value {
        DeValue::Array(items) => items.iter().map(|item| bytes(item.get_ref())).collect(),
        one => bytes(one).map(|b| vec![b]).map_err(|_| "must be a string or a list of them".into()),
    }
}

fn number(value: &DeValue<'_>, max: u64) -> Result<u64, String> {
    let wrong = || format!("must be a whole number from 0 to {max}");
    match value {
        DeValue::Integer(n) => {
            u64::from_str_radix(n.as_str(), n.radix()).ok().filter(|&n| n <= max).ok_or_else(wrong)
        }
        _ => Err(wrong()),
    }
}

fn milliseconds(value: &DeValue<'_>) -> Result<u64, String> {
    let wrong = || "must be a number of seconds or a text like \"500ms\" or \"2s\"".to_owned();
    let ms = match value {
        DeValue::Integer(n) => {
            u64::from_str_radix(n.as_str(), n.radix()).ok().and_then(|s| s.checked_mul(1000))
        }
        DeValue::Float(n) => n
            .as_str()
            .parse::<f64>()
            .ok()
            .filter(|s| (0.0..=QUIET_MAX_MS as f64).contains(s))
            .map(|s| (s * 1000.0) as u64),
        DeValue::String(text) => text
            .parse::<jiff::SignedDuration>()
            .ok()
            .and_then(|d| u64::try_from(d.as_millis()).ok()),
        _ => None,
    };
    ms.filter(|&ms| ms <= QUIET_MAX_MS).ok_or_else(wrong)
}

fn exclude_from(sync: &mut SyncConfig, value: &DeValue<'_>) -> Result<(), String> {
    use std::os::unix::ffi::OsStrExt;
    for path in list(value)? {
        let content = super::file::read(std::path::Path::new(std::ffi::OsStr::from_bytes(&path)))
            .map_err(|e| format!("{}: {e}", String::from_utf8_lossy(&path)))?;
        let lines = content.split(|b| b"\r\n".contains(b));
        let rules = lines.filter(|line| !matches!(line.first(), None | Some(b'#' | b';')));
        sync.options.filters.extend(rules.map(|line| FilterArg::Exclude(line.to_vec())));
    }
    Ok(())
}

/// A row whose value switches a field of the options.
macro_rules! switch {
    ($key:literal, $field:ident, $help:literal) => {
        KeyRow {
            key: $key,
            help: $help,
            set: |sync, value| {
                sync.options.$field = boolean(value)?;
                Ok(())
            },
        }
    };
}

/// A row whose value is set by an expression of the sync and the value.
macro_rules! row {
    ($key:literal, $help:literal, |$sync:ident, $value:ident| $set:expr) => {
        KeyRow {
            key: $key,
            help: $help,
            set: |$sync, $value| {
                $set;
                Ok(())
            },
        }
    };
}

/// All keys of a `[[sync]]` table.
pub const ROWS: &[KeyRow] = &[
    row!("name", "Name in messages; the source if left out", |sync, v| {
        sync.name = String::from_utf8_lossy(&bytes(v)?).into_owned()
    }),
    row!("source", "Directory whose content is mirrored", |sync, v| {
        sync.source = SyncConfig::new(&bytes(v)?, b"").source
    }),
    row!(
        "target",
        "Where to: a path, host:path, host::module/path or rsync://host/module",
        |sync, v| { sync.target = bytes(v)? }
    ),
    row!(
        "delete",
        "Propagate deletions: true, false, \"whole\" or \"changes\" (false)",
        |sync, v| {
            sync.delete_only = match v {
                DeValue::String(word) if word == "whole" => Some(DeleteOnly::Whole),
                DeValue::String(word) if word == "changes" => Some(DeleteOnly::Changes),
                _ => None,
            };
            sync.delete = sync.delete_only.is_some() || boolean(v)?
        }
    ),
    row!("delay", "Time for which changes are collected before they are sent (0)", |sync, v| {
        sync.delay_ms = milliseconds(v)?
    }),
    row!("max_delays", "Changes that end this time early", |sync, v| {
        sync.max_delays = usize::try_from(number(v, 1 << 30)?).unwrap_or(usize::MAX)
    }),
    row!("compare_every", "Time between comparisons of everything (none)", |sync, v| {
        sync.compare_every_ms = milliseconds(v)?
    }),
    row!("skip_first", "Send only what changes from the start on (false)", |sync, v| {
        sync.skip_first = boolean(v)?
    }),
    row!("allow_empty", "Let an empty source empty its target (false)", |sync, v| {
        sync.allow_empty = boolean(v)?
    }),
    row!("backend", "auto, fanotify or inotify (auto)", |sync, v| {
        sync.backend = match bytes(v)?.as_slice() {
            b"auto" => BackendChoice::Auto,
            b"fanotify" => BackendChoice::Fanotify,
            b"inotify" => BackendChoice::Inotify,
            _ => return Err("must be \"auto\", \"fanotify\" or \"inotify\"".into()),
        }
    }),
    row!("quiet", "Time without writing after which an open file is sent (2s)", |sync, v| {
        sync.quiet_ms = milliseconds(v)?
    }),
    row!("exclude", "Patterns to leave out, as rsync's --exclude", |sync, v| {
        sync.options.filters.extend(list(v)?.into_iter().map(FilterArg::Exclude))
    }),
    row!("include", "Patterns to keep in, as rsync's --include", |sync, v| {
        sync.options.filters.extend(list(v)?.into_iter().map(FilterArg::Include))
    }),
    KeyRow { key: "exclude_from", help: "Files of such patterns, one a line", set: exclude_from },
    row!("filter", "Rules, as rsync's --filter", |sync, v| {
        sync.options.filters.extend(list(v)?.into_iter().map(FilterArg::Rule))
    }),
    row!(
        "options",
        "Words of rsync's command line, in the place of -a; keys below add to them",
        |sync, v| {
            let (options, stray) = from_options(&list(v)?).map_err(|bad| bad.text)?;
            if !stray.is_empty() {
                return Err("must all be options".into());
            }
            let timeout_s = match options.timeout_s {
                0 => sync.options.timeout_s,
                given => given,
            };
            sync.options = rsync::options::Options { timeout_s, ..options }
        }
    ),
    switch!("links", links, "Symbolic links as such (true)"),
    switch!("perms", perms, "Modes (true)"),
    switch!("times", times, "Modification times (true)"),
    switch!("owner", owner, "Owners (true)"),
    switch!("group", group, "Groups (true)"),
    switch!("devices", devices, "Device nodes (true)"),
    switch!("specials", specials, "Sockets and named pipes (true)"),
    switch!("hard_links", hard_links, "Keep names of one file together (false)"),
    switch!("numeric_ids", numeric_ids, "Owners by number, not by name (false)"),
    switch!("checksum", checksum, "Compare by content instead of size and time (false)"),
    switch!("compress", compress, "Compress on the way (false)"),
    switch!("inplace", inplace, "Write into the target's files directly (false)"),
    row!("whole_file", "Send whole files instead of differences", |sync, v| {
        sync.options.whole_file = Some(boolean(v)?)
    }),
    row!("chmod", "Change modes on the way, as rsync's --chmod", |sync, v| {
        sync.options.chmod = list(v)?
    }),
    row!("temp_dir", "Directory at the target for files not finished", |sync, v| {
        sync.options.temp_dir = Some(bytes(v)?)
    }),
    row!("bwlimit", "KiB per second at most; 0 is no limit (0)", |sync, v| {
        sync.options.bwlimit = number(v, u64::MAX / 1024)? * 1024
    }),
    row!(
        "timeout",
        "Seconds without a byte before a transfer is given up (60); with keep-alives alone, thirty times that",
        |sync, v| { sync.options.timeout_s = number_u32(v)? }
    ),
    row!("connect_timeout", "Seconds a daemon may take to answer (30)", |sync, v| {
        sync.options.contimeout_s = number_u32(v)?
    }),
    row!("rsh", "Remote shell command (ssh)", |sync, v| sync.options.rsh = Some(bytes(v)?)),
    row!("rsync_path", "rsync's path on the target", |sync, v| {
        sync.options.rsync_path = Some(bytes(v)?)
    }),
    row!("password_file", "File that holds the daemon's password alone", |sync, v| {
        sync.options.password_file = Some(bytes(v)?)
    }),
    row!("port", "Port of the daemon (873)", |sync, v| {
        let port = u16::try_from(number(v, 65535)?).ok().filter(|&p| p != 0);
        sync.options.port = Some(port.ok_or("must be from 1 to 65535")?)
    }),
];

fn number_u32(value: &DeValue<'_>) -> Result<u32, String> {
    u32::try_from(number(value, u64::from(u32::MAX))?).map_err(|e| e.to_string())
}

/// The longest quiet period: a day. Beyond, an open file would as good as never be sent.
const QUIET_MAX_MS: u64 = 86_400_000;

#[cfg(test)]
mod tests {
    use super::*;

    fn errors(text: &str) -> Vec<String> {
        parse(text, "c.toml").unwrap_err().iter().map(ToString::to_string).collect()
    }

    #[test]
    fn a_full_configuration_is_understood() {
        // A failure would ignore what somebody wrote.
        let text = "name = \"main\"\nsocket = \"/run/x.sock\"\n\
            [[sync]]\nsource = \"/a/\"\ntarget = \"h::m\"\ndelete = true\nquiet = \"500ms\"\n\
            filter = \"+ /keep\"\nexclude = [\"*.o\", \"/tmp/\"]\nport = 8730\nbwlimit = 10\n\
            [[sync]]\nname = \"two\"\nsource = \"/b\"\ntarget = \"/t\"\nquiet = 1.5\nowner = false\n";
        let config = parse(text, "c.toml").unwrap();
        assert_eq!((config.name.as_str(), config.syncs.len()), ("main", 2));
        let (one, two) = (&config.syncs[0], &config.syncs[1]);
        assert_eq!((one.source.as_slice(), one.name.as_str()), (&b"/a"[..], "/a"));
        assert!(one.delete && one.contents && two.contents && !two.delete);
        assert_eq!((one.quiet_ms, two.quiet_ms), (500, 1500));
        assert_eq!((one.options.port, one.options.bwlimit), (Some(8730), 10_240));
        assert_eq!(one.options.filters[0], FilterArg::Rule(b"+ /keep".to_vec()));
        assert_eq!(one.options.filters[1], FilterArg::Exclude(b"*.o".to_vec()));
        assert!(one.options.owner && !two.options.owner);
    }

    #[test]
    fn mistakes_are_named_with_their_place_and_the_nearest_key() {
        // A failure would leave a mistyped key without effect, or without a place.
        let sync = "[[sync]]\nsource = \"/a\"\ntarget = \"/t\"\n";
        for (text, want) in [
            (
                format!("{sync}exlude = \"x\"\n"),
                "c.toml:4:1: unknown key exlude; did you mean exclude?",
            ),
            (
                format!("{sync}hard-links = true\n"),
                "c.toml:4:1: unknown key hard-links; did you mean hard_links?",
            ),
            (
                format!("{sync}delete = \"false\"\n"),
                "c.toml:4:10: delete: must be true or false, without quotes",
            ),
            (format!("{sync}port = 0\n"), "c.toml:4:8: port: must be from 1 to 65535"),
            (format!("nam = \"x\"\n{sync}"), "c.toml:1:1: unknown key nam; did you mean name?"),
            (
                format!("name = \"a/b\"\n{sync}"),
                "c.toml:1:8: name must be made of letters, digits, '.', '-' and '_'",
            ),
            ("[[sync]]\nsource = \"/a\"\n".into(), "c.toml:1:1: this sync has no target"),
            ("[sync]\nsource = \"/a\"\n".into(), "c.toml:1:2: write [[sync]], twice bracketed"),
            (String::new(), "c.toml: nothing to mirror: no sync is given"),
        ] {
            assert_eq!(errors(&text), vec![want.to_owned()], "{text}");
        }
        assert!(errors("[[sync]]\nsource = \n")[0].starts_with("c.toml:2:"));
        let two = errors(&format!("{sync}exlude = 1\nquiet = true\n"));
        assert_eq!(two.len(), 2, "all mistakes are reported together");
    }

    #[test]
    fn far_keys_get_no_suggestion() {
        // A failure would suggest nonsense.
        assert_eq!(nearest("frobnicate", &["source", "target"]), None);
        assert_eq!(nearest("sorce", &["source", "target"]), Some("source"));
        assert_eq!(distance("kitten", "sitting"), 3);
    }

    #[test]
    fn bytes_that_are_no_text_have_their_line() {
        // A failure would read another path than the one that is written.
        let errors = as_text(b"a = 1\nb = \"\xff\"\n", "c.toml").unwrap_err();
        assert_eq!(errors[0].to_string(), "c.toml:2: is no text: a byte is not UTF-8");
        assert_eq!(as_text("\u{e9}".as_bytes(), "c.toml").unwrap(), "\u{e9}");
    }
}
