//! A server that serves one directory to whoever holds a key: the forced command of ssh.
//!
//! Called by the program's `restrict` door. In steps: `parse` reads the operator's words; `prepare`
//! opens the directory, locks it, and turns the command that the client asked for into a server run
//! whose paths all begin at that handle. A link that leads out of the directory is refused before
//! the run starts; during the run no path can leave the handle, so a link planted later leads
//! nowhere either.

pub mod command;

use std::fs::File;
use std::sync::Arc;

use tree::path::RelPath;
use tree::root::Root;
use wire::filter::wildmatch::{Glob, has_wildcard};
use wire::limits::DAEMON_ARGS_MAX;

use crate::console::Console;
use crate::control::Control;
use crate::options::parse::{Parsing, UsageError, parse as parse_options};
use crate::server::ServerRun;
use crate::transport::Streams;
use command::{Request, Word};

/// What the operator grants and takes away.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Grants {
    /// The directory.
    pub dir: Vec<u8>,
    /// Nothing may be written.
    pub read_only: bool,
    /// Nothing may be read.
    pub write_only: bool,
    /// Symlinks are made unusable while they lie here.
    pub munge: bool,
    /// Paths may name the directory itself by its absolute path.
    pub absolute: bool,
    /// Nothing may be deleted, but what a transfer replaces.
    pub no_del: bool,
    /// Several runs may go on at once.
    pub no_lock: bool,
    /// What exists stays as it is.
    pub no_overwrite: bool,
}

/// Why nothing is done: one line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refused(String);

impl Refused {
    fn new(text: impl Into<String>) -> Refused {
        Refused(text.into())
    }

    /// The line, without a name in front.
    pub fn text(&self) -> String {
        self.0.clone()
    }
}

/// What stands between a client and its run.
#[derive(Debug)]
pub enum Denied {
    /// The key does not allow it.
    Restricted(Refused),
    /// The server itself does not take the options.
    Usage(UsageError),
}

impl From<Refused> for Denied {
    fn from(refused: Refused) -> Self {
        Denied::Restricted(refused)
    }
}

/// A run that may begin.
pub struct Admission {
    /// The run.
    pub run: ServerRun,
    /// Keeps other runs out while it lives.
    pub lock: Option<File>,
}

/// Reads the operator's words; `None` asks for help.
pub fn parse(words: &[Vec<u8>]) -> Result<Option<Grants>, Refused> {
    let mut grants = Grants::default();
    let mut dir = None;
    for word in words {
        match word.as_slice() {
            b"-ro" => grants.read_only = true,
            b"-wo" => grants.write_only = true,
            b"-munge" => grants.munge = true,
            b"-absolute" => grants.absolute = true,
            b"-no-del" => grants.no_del = true,
            b"-no-lock" => grants.no_lock = true,
            b"-no-overwrite" => grants.no_overwrite = true,
            b"-help" | b"-h" | b"--help" => return Ok(None),
            word if word.starts_with(b"-") || dir.is_some() => {
                let word = String::from_utf8_lossy(word);
                return Err(Refused::new(format!("unrecognized arguments: {word}")));
            }
            word => dir = Some(word.to_vec()),
        }
    }
    if grants.read_only && grants.write_only {
        return Err(Refused::new("argument -wo: not allowed with argument -ro"));
    }
    grants.dir = dir.ok_or_else(|| Refused::new("the following arguments are required: DIR"))?;
    grants.no_del |= grants.read_only;
    grants.no_lock |= grants.read_only;
    Ok(Some(grants))
}

/// Makes a run of the command that the client asked for; `None` where that is `true`, with which
/// clients try whether they are let in.
pub fn prepare(
    grants: &Grants,
    command: &[u8],
    streams: Streams,
    console: Arc<dyn Console>,
    control: Arc<Control>,
) -> Result<Option<Admission>, Denied> {
    let shown = String::from_utf8_lossy(&grants.dir).into_owned();
    let cannot = |error: std::io::Error| {
        Refused::new(format!("cannot open {shown}: {}", crate::daemon::log::cause(&error)))
    };
    let root = Root::open_trusted(&grants.dir).map_err(cannot)?;
    let lock = match grants.no_lock {
        true => None,
        false => {
            let locked = tree::lock::try_lock_dir(root.top()).map_err(cannot)?;
            let busy = || Refused::new("Another instance is already accessing this directory.");
            Some(locked.ok_or_else(busy)?)
        }
    };
    if command == b"true" {
        return Ok(None);
    }
    let request = command::understand(command, grants)?;
    let paths = paths(&root, grants, &request)?;
    for dir in &request.dirs {
        let leaves = |e: std::io::Error| e.raw_os_error() == Some(libc::ELOOP);
        if root.dir_within(&root, dir).is_err_and(leaves) {
            return Err(unsafe_path(dir).into());
        }
    }
    let mut words = request.options;
    words.push(b".".to_vec());
    // Variables of the environment may be the client's.
    let parsed = parse_options(&words, &|_| None, Parsing::Server).map_err(Denied::Usage)?;
    let mut opts = parsed.options;
    opts.munge_links |= grants.munge;
    opts.ignore_existing |= grants.no_overwrite;
    opts.rights.drop_devices = true;
    let run = ServerRun {
        opts,
        paths,
        streams,
        buffered: Vec::new(),
        console,
        daemon: None,
        restricted: Some(root),
        control,
    };
    Ok(Some(Admission { run, lock }))
}

fn unsafe_path(path: &[u8]) -> Refused {
    Refused::new(format!("unsafe arg: {}", String::from_utf8_lossy(path)))
}

/// The paths of the request from the top of the directory, wildcards replaced.
fn paths(root: &Root, grants: &Grants, request: &Request) -> Result<Vec<Vec<u8>>, Refused> {
    let mut paths = Vec::new();
    for word in &request.paths {
        let word = match grants.absolute {
            true => below_dir(word, &grants.dir),
            false => word.clone(),
        };
        paths.extend(expand(root, &word)?);
        if paths.len() > DAEMON_ARGS_MAX {
            return Err(Refused::new("too many arguments"));
        }
    }
    for path in &paths {
        let clean = crate::scan::clean(path);
        let Ok(rel) = RelPath::new(if clean.is_empty() { b"." } else { &clean }) else {
            return Err(unsafe_path(path));
        };
        // What is not there is the run's to tell.
        if root.stat_through(rel).is_err_and(|e| e.raw_os_error() == Some(libc::ELOOP)) {
            return Err(unsafe_path(path));
        }
    }
    if paths.is_empty() {
        paths.push(b".".to_vec());
    }
    Ok(paths)
}

/// A path that names the directory by its absolute path, from its top.
fn below_dir(word: &Word, dir: &[u8]) -> Word {
    let end = dir.iter().rposition(|b| *b != b'/').map_or(0, |at| at + 1);
    let dir = dir.get(..end).unwrap_or_default();
    match word.text.strip_prefix(dir) {
        Some([]) if !dir.is_empty() => Word { text: b".".to_vec(), pattern: b".".to_vec() },
        Some(text @ [b'/', ..]) if dir.starts_with(b"/") => {
            let pattern = word.pattern.strip_prefix(dir).unwrap_or(text);
            Word { text: text.to_vec(), pattern: pattern.to_vec() }
        }
        _ => word.clone(),
    }
}

/// Replaces the wildcards of a path, component by component, as a shell would; without a match,
/// the word itself. A slash in front means the top.
fn expand(root: &Root, word: &Word) -> Result<Vec<Vec<u8>>, Refused> {
    let plain = |text: &[u8]| match crate::scan::trim_root(text) {
        b"" => b".".to_vec(),
        text => text.to_vec(),
    };
    if !has_wildcard(&word.text) {
        return Ok(vec![plain(&word.text)]);
    }
    let mut found: Vec<Vec<u8>> = vec![Vec::new()];
    for part in crate::scan::trim_root(&word.pattern).split(|b| *b == b'/') {
        let glob = Glob::new(part);
        let mut next = Vec::new();
        for parent in &found {
            let join = |name: &[u8]| match parent.as_slice() {
                b"" => name.to_vec(),
                parent => [parent, b"/", name].concat(),
            };
            if !has_bare_wildcard(part) {
                next.push(join(&without_escapes(part)));
                continue;
            }
            let dir = RelPath::new(if parent.is_empty() { b"." } else { parent });
            let dir = dir.ok().and_then(|dir| root.dir(dir).ok());
            let entries = dir.and_then(|dir| dir.read_entries().ok()).unwrap_or_default();
            let names = entries.iter().map(|entry| entry.name.as_bytes());
            let hidden = |name: &[u8]| name.starts_with(b".") && !part.starts_with(b".");
            next.extend(names.filter(|name| !hidden(name) && glob.matches(name)).map(join));
            if next.len() > DAEMON_ARGS_MAX {
                return Err(Refused::new("too many arguments"));
            }
        }
        found = next;
    }
    found.retain(|path| {
        let path = path.strip_suffix(b"/").unwrap_or(path);
        RelPath::new(path).is_ok_and(|path| {
            let parent = root.parent_of(path);
            path.name().is_none_or(|name| {
                parent.is_ok_and(|dir| dir.lstat(name).is_ok_and(|meta| meta.is_some()))
            })
        })
    });
    found.sort();
    if found.is_empty() { Ok(vec![plain(&word.text)]) } else { Ok(found) }
}

/// Whether a pattern has a wildcard that no backslash stands before.
fn has_bare_wildcard(pattern: &[u8]) -> bool {
    let mut bytes = pattern.iter();
    while let Some(byte) = bytes.next() {
        match byte {
            b'\\' => drop(bytes.next()),
            byte if b"*?[".contains(byte) => return true,
            _ => {}
        }
    }
    false
}

fn without_escapes(pattern: &[u8]) -> Vec<u8> {
    let mut bytes = pattern.iter().copied();
    let mut result = Vec::with_capacity(pattern.len());
    while let Some(byte) = bytes.next() {
        result.push(if byte == b'\\' { bytes.next().unwrap_or(byte) } else { byte });
    }
    result
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(text: &str) -> Vec<Vec<u8>> {
        text.split_ascii_whitespace().map(|word| word.as_bytes().to_vec()).collect()
    }

    #[test]
    fn the_operators_words() {
        let grants = parse(&words("-ro -munge /data")).unwrap().unwrap();
        let expected = Grants {
            dir: b"/data".to_vec(),
            read_only: true,
            munge: true,
            no_del: true,
            no_lock: true,
            ..Grants::default()
        };
        assert_eq!(grants, expected);
        assert_eq!(parse(&words("-wo -help")), Ok(None));
        let refused = |text: &str| parse(&words(text)).unwrap_err().text();
        assert_eq!(refused("-ro"), "the following arguments are required: DIR");
        assert_eq!(refused("-ro -wo d"), "argument -wo: not allowed with argument -ro");
        assert_eq!(refused("-zz d"), "unrecognized arguments: -zz");
        assert_eq!(refused("d e"), "unrecognized arguments: e");
    }

    #[test]
    fn absolute_paths_may_name_the_directory() {
        let check = |text: &str, dir: &str, expected: &str| {
            let word = Word { text: text.into(), pattern: text.into() };
            let found = below_dir(&word, dir.as_bytes());
            assert_eq!(String::from_utf8(found.text).unwrap(), expected, "{text} {dir}");
        };
        check("/a/b/x", "/a/b/", "/x");
        check("/a/b", "/a/b", ".");
        check("/a/bc", "/a/b", "/a/bc");
        check("/x", "/", "/x");
        check("a/x", "a", "a/x");
    }
}
