//! What the operands of a client mean: where to read, where to write, over what connection.
//!
//! `parse` turns one word into a [`Location`]; `plan` turns all words into a [`Plan`] or says what
//! is wrong with them together. Called by the client after the options are known. Nothing is
//! looked up or opened.

use std::os::unix::ffi::OsStringExt;

use wire::exit::ExitCode;

use crate::options::Options;
use crate::options::parse::UsageError;

/// Port of a daemon when none is named.
pub const DAEMON_PORT: u16 = 873;

/// The same within TLS.
pub const TLS_PORT: u16 = 874;

/// One operand.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Location {
    /// A path of this machine.
    Local(Vec<u8>),
    /// `[USER@]HOST:PATH`.
    Shell {
        /// The part before the last `@`.
        user: Option<Vec<u8>>,
        /// Host without brackets; empty where the first source's is meant.
        host: Vec<u8>,
        /// Path there, `.` if none was written.
        path: Vec<u8>,
    },
    /// `[USER@]HOST::MODULE/PATH` or `rsync://[USER@]HOST[:PORT]/MODULE/PATH`, or `rsyncs://...`.
    Daemon {
        /// The part before the last `@`.
        user: Option<Vec<u8>>,
        /// Host without brackets; empty where the first source's is meant.
        host: Vec<u8>,
        /// Port of the URL, else `--port`; `None` is [`DAEMON_PORT`].
        port: Option<u16>,
        /// Module and path, `mod/path`; empty asks for the list of modules.
        module_path: Vec<u8>,
        /// A remote shell was asked for with `-e`; the daemon is started through it.
        via_shell: bool,
        /// Within TLS: `rsyncs://`.
        tls: bool,
    },
}

/// Which way content goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PlanKind {
    /// Both sides are here.
    Local,
    /// From here to another machine.
    Push,
    /// From another machine to here; also the listing of another machine's files or modules.
    Pull,
}

/// All operands together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// At least one; on a pull all of one machine, with its host in each. None where a batch is read.
    pub sources: Vec<Location>,
    /// `None` for a listing of the only operand.
    pub dest: Option<Location>,
    /// Which way.
    pub kind: PlanKind,
}

impl Plan {
    /// The location on the other machine, if there is one.
    pub fn remote(&self) -> Option<&Location> {
        match self.kind {
            PlanKind::Local => None,
            PlanKind::Push => self.dest.as_ref(),
            PlanKind::Pull => self.sources.first(),
        }
    }

    /// Who speaks in the final line of an error found before the connection.
    pub fn role(&self) -> &'static str {
        if self.kind == PlanKind::Pull { "Receiver" } else { "sender" }
    }
}

impl Location {
    /// `USER@HOST` as written, the name two operands are compared by.
    pub fn machine(&self) -> Vec<u8> {
        let (Location::Shell { user, host, .. } | Location::Daemon { user, host, .. }) = self
        else {
            return Vec::new();
        };
        match user {
            Some(user) => [user.as_slice(), b"@", host].concat(),
            None => host.clone(),
        }
    }
}

/// `HOST` and `PATH` of a word that names another machine; see [`parse`].
struct Spec<'a> {
    user: Option<&'a [u8]>,
    host: &'a [u8],
    path: &'a [u8],
    daemon: bool,
    port: Option<u32>,
    tls: bool,
}

/// Understands one operand. A word with a `/` before its first `:` is local, and so is one without
/// a `:`.
pub fn parse(word: &[u8], options: &Options) -> Result<Location, UsageError> {
    let Some(spec) = split(word) else { return Ok(Location::Local(word.to_vec())) };
    let via_shell = !spec.daemon || options.rsh.is_some() && !options.given.rsh_from_env;
    if spec.tls && via_shell {
        let text =
            "rsyncs:// is a connection of its own: it cannot go through a remote shell (-e).";
        return Err(UsageError::plain(text, "client"));
    }
    // A remote shell could take it for an option.
    if via_shell && spec.host.starts_with(b"-") {
        let text = "Invalid remote host: hostnames may not start with '-'.";
        return Err(UsageError::plain(text, "client"));
    }
    let (user, host) = (spec.user.map(<[u8]>::to_vec), spec.host.to_vec());
    if !spec.daemon {
        let path = if spec.path.is_empty() { b"." } else { spec.path };
        return Ok(Location::Shell { user, host, path: path.to_vec() });
    }
    let port = match spec.port.filter(|&port| port != 0) {
        None => options.port,
        Some(port) => match u16::try_from(port) {
            Ok(port) => Some(port),
            Err(_) => {
                let text = [b"Invalid port number in ", word].concat();
                return Err(UsageError::plain(text, "client"));
            }
        },
    };
    if spec.path.starts_with(b"/") {
        let text = "ERROR: The remote path must start with a module name not a /";
        let error = UsageError::plain(text, "client");
        return Err(UsageError { exit: ExitCode::StartClient, ..error });
    }
    let (module_path, tls) = (spec.path.to_vec(), spec.tls);
    let port = port.or(tls.then_some(TLS_PORT));
    Ok(Location::Daemon { user, host, port, module_path, via_shell, tls })
}

/// `[USER@]HOST` and the path of a word that names another machine, for `--files-from`.
pub fn split_remote(word: &[u8]) -> Option<(Vec<u8>, Vec<u8>)> {
    let spec = split(word)?;
    let host = match spec.user {
        Some(user) => [user, b"@", spec.host].concat(),
        None => spec.host.to_vec(),
    };
    Some((host, spec.path.to_vec()))
}

fn split(word: &[u8]) -> Option<Spec<'_>> {
    if let Some(spec) = url(word) {
        return Some(spec);
    }
    let (user, host, rest) = authority(word)?;
    let path = rest.strip_prefix(b":")?;
    let (daemon, path) = match path.strip_prefix(b":") {
        Some(path) => (true, path),
        None => (false, path),
    };
    Some(Spec { user, host, path, daemon, port: None, tls: false })
}

fn url(word: &[u8]) -> Option<Spec<'_>> {
    let after = |scheme: &[u8]| {
        let (start, rest) = word.split_at_checked(scheme.len())?;
        start.eq_ignore_ascii_case(scheme).then_some(rest)
    };
    let (tls, rest) = match after(b"rsync://") {
        Some(rest) => (false, rest),
        None => (true, after(b"rsyncs://")?),
    };
    let (user, host, rest) = authority(rest)?;
    let (port, path) = match rest {
        [] => (None, rest),
        [b'/', path @ ..] => (None, path),
        [b':', rest @ ..] => {
            let end = rest.iter().position(|b| !b.is_ascii_digit()).unwrap_or(rest.len());
            let (digits, rest) = rest.split_at(end);
            let path = match rest {
                [] => rest,
                [b'/', path @ ..] => path,
                _ => return None,
            };
            let port = std::str::from_utf8(digits).ok().filter(|digits| !digits.is_empty());
            (port.map(|digits| digits.parse().unwrap_or(u32::MAX)), path)
        }
        _ => return None,
    };
    Some(Spec { user, host, path, daemon: true, port, tls })
}

/// User, host and what follows.
type Authority<'a> = (Option<&'a [u8]>, &'a [u8], &'a [u8]);

/// User, host and the rest, which is empty or begins with `:` or `/`. Brackets may enclose the
/// whole host; anywhere else they make this no host.
fn authority(text: &[u8]) -> Option<Authority<'_>> {
    let stop = text.iter().position(|b| b":/[".contains(b)).unwrap_or(text.len());
    let bracket = text.get(stop) == Some(&b'[');
    let (head, _) = text.split_at(stop);
    let (user, host_start) = match head.iter().rposition(|&b| b == b'@') {
        Some(at) => (text.get(..at), at + 1),
        None => (None, 0),
    };
    if !bracket {
        return Some((user, text.get(host_start..stop)?, text.get(stop..)?));
    }
    if host_start != stop {
        return None;
    }
    let inner = text.get(stop + 1..)?;
    let close = inner.iter().position(|&b| b == b']')?;
    let rest = inner.get(close + 1..)?;
    let ends = rest.first().is_none_or(|b| b":/".contains(b));
    ends.then_some((user, inner.get(..close)?, rest))
}

/// Understands all operands, which are not empty. With one operand it is a listing, and the caller
/// has `options.list_only` set already.
pub fn plan(words: &[Vec<u8>], options: &Options) -> Result<Plan, UsageError> {
    let (source_words, dest_word) = match words {
        [] => return Err(UsageError::help("Receiver")),
        // The file stands for the source; words before the last mean nothing to the reference.
        [.., dest] if options.batch.read.is_some() => return replay(dest, options),
        [_] if options.files_from.is_some() => return Err(UsageError::help("client")),
        [only] => (std::slice::from_ref(only), None),
        [sources @ .., dest] => (sources, Some(dest)),
    };
    let first = match source_words.first() {
        Some(word) => {
            parse(word, options).map_err(|error| UsageError { role: "Receiver", ..error })?
        }
        None => return Err(UsageError::help("Receiver")),
    };
    let role = |location: &Location| match location {
        Location::Local(_) => "sender",
        _ => "Receiver",
    };
    let speaker = role(&first);
    let as_role = |error: UsageError| UsageError { role: speaker, ..error };
    let dest = dest_word.map(|word| parse(word, options)).transpose().map_err(as_role)?;
    let local = |location: &Location| matches!(location, Location::Local(_));
    let dest_is_local = dest.as_ref().is_none_or(local);
    let wrong = |text: &[u8]| UsageError::plain(text, speaker);
    if !local(&first) && !dest_is_local {
        return Err(wrong(b"The source and destination cannot both be remote."));
    }
    let kind = match (local(&first), dest_is_local) {
        (true, true) => PlanKind::Local,
        (true, false) => PlanKind::Push,
        (false, _) => PlanKind::Pull,
    };
    let mut sources: Vec<Location> = Vec::with_capacity(source_words.len());
    for word in source_words {
        let location = parse(word, options).map_err(as_role)?;
        let source = match sources.first() {
            Some(first) => further_source(first, location, word),
            None => Ok(location),
        };
        let source = source.map_err(|text| wrong(&text))?;
        if local(&first) && word.is_empty() {
            return Err(wrong(b"Empty source arg specified."));
        }
        sources.push(source);
    }
    if dest == Some(Location::Local(Vec::new())) {
        let text = b"Empty destination arg specified (use \".\" or see --old-args).";
        return Err(wrong(text));
    }
    Ok(Plan { sources, dest, kind })
}

/// The plan of a batch that is read: it has no source.
fn replay(dest: &[u8], options: &Options) -> Result<Plan, UsageError> {
    match parse(dest, options)? {
        dest @ Location::Local(_) => {
            Ok(Plan { sources: Vec::new(), dest: Some(dest), kind: PlanKind::Pull })
        }
        _ => {
            let text = "remote destination is not allowed with --read-batch";
            Err(UsageError::plain(text, "Receiver"))
        }
    }
}

/// Holds a further source against the first: same machine, form and port. An empty host is
/// replaced by the first's.
fn further_source(first: &Location, next: Location, word: &[u8]) -> Result<Location, Vec<u8>> {
    let same = |a: &Location, b: &Location| match b {
        Location::Shell { host, .. } | Location::Daemon { host, .. } if host.is_empty() => true,
        _ => a.machine() == b.machine(),
    };
    let other_form = || b"All source args must use the same hostspec format.".to_vec();
    match (first, next) {
        (Location::Local(_), next @ Location::Local(_)) => Ok(next),
        (Location::Local(_), _) => Err([b"Unexpected remote arg: ", word].concat()),
        (_, Location::Local(_)) => {
            let hint = b"If arg is a remote file/dir, prefix it with a colon (:).";
            Err([b"Unexpected local arg: ", word, b"\n", hint].concat())
        }
        (first, next) if !same(first, &next) => {
            Err(b"All source args must come from the same machine.".to_vec())
        }
        (Location::Shell { user, host, .. }, Location::Shell { path, .. }) => {
            Ok(Location::Shell { user: user.clone(), host: host.clone(), path })
        }
        (
            Location::Daemon { user, host, port, via_shell, tls, .. },
            Location::Daemon { port: next_port, module_path, tls: next_tls, .. },
        ) => {
            if port.unwrap_or(DAEMON_PORT) != next_port.unwrap_or(DAEMON_PORT) {
                return Err(b"All source args must use the same port number.".to_vec());
            }
            if tls != &next_tls {
                return Err(other_form());
            }
            let (user, host) = (user.clone(), host.clone());
            let (port, via_shell, tls) = (*port, *via_shell, *tls);
            Ok(Location::Daemon { user, host, port, module_path, via_shell, tls })
        }
        (Location::Shell { .. }, Location::Daemon { .. })
        | (Location::Daemon { .. }, Location::Shell { .. }) => Err(other_form()),
    }
}

/// The paths of this machine among locations.
pub fn local_paths(sources: &[Location]) -> Vec<Vec<u8>> {
    sources
        .iter()
        .filter_map(|source| match source {
            Location::Local(path) => Some(path.clone()),
            _ => None,
        })
        .collect()
}

/// The working directory, as bytes; empty when it cannot be told.
pub fn cwd() -> Vec<u8> {
    std::env::current_dir().map(|d| d.into_os_string().into_vec()).unwrap_or_default()
}

#[cfg(test)]
#[path = "location_tests.rs"]
mod tests;
