//! The child that runs a remote shell, and what its end means.

use std::ffi::OsString;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStringExt;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;

use wire::exit::ExitCode;

use super::Streams;
use crate::fatal::{Fatal, errno_text};
use crate::options::Options;

/// Splits a remote-shell command at spaces; quotes keep spaces, a doubled quote inside is one.
///
/// # Errors
/// A quote that nothing closes.
pub fn split_words(command: &[u8]) -> Result<Vec<Vec<u8>>, Fatal> {
    let mut words = Vec::new();
    let mut word: Option<Vec<u8>> = None;
    let mut quote: Option<u8> = None;
    let mut bytes = command.iter().copied().peekable();
    while let Some(byte) = bytes.next() {
        match (quote, byte) {
            (Some(q), b) if b == q => {
                if bytes.peek() == Some(&q) {
                    bytes.next();
                    word.get_or_insert_default().push(q);
                } else {
                    quote = None;
                }
            }
            (None, b'\'' | b'"') => {
                quote = Some(byte);
                word.get_or_insert_default();
            }
            (None, b' ') => words.extend(word.take()),
            (_, b) => word.get_or_insert_default().push(b),
        }
    }
    if let Some(quote) = quote {
        let text = format!("Missing trailing-{} in remote-shell command.", char::from(quote));
        return Err(Fatal::bare(ExitCode::Syntax, text));
    }
    words.extend(word);
    Ok(words)
}

/// The words of the remote shell with those of the server (from `--server` on).
pub fn command(
    opts: &Options,
    user: Option<&[u8]>,
    host: &[u8],
    server_words: &[Vec<u8>],
) -> Result<Vec<Vec<u8>>, Fatal> {
    let env = std::env::var_os("RSYNC_RSH").map(OsStringExt::into_vec);
    let rsh = opts.rsh.clone().or(env).unwrap_or_else(|| b"ssh".to_vec());
    let mut words = split_words(&rsh)?;
    if let Some(user) = user {
        words.extend([b"-l".to_vec(), user.to_vec()]);
    }
    let base = words.first().map(|w| w.rsplit(|&b| b == b'/').next().unwrap_or(w).to_vec());
    if base.as_deref() == Some(b"ssh")
        && let Some(family) = opts.family
    {
        words.push(format!("-{family}").into_bytes());
    }
    words.push(host.to_vec());
    words.push(opts.rsync_path.clone().unwrap_or_else(|| b"rsync".to_vec()));
    words.extend_from_slice(server_words);
    Ok(words)
}

/// The words of a secluded list behind the program's name.
pub fn words_between(secluded: &[u8]) -> Vec<Vec<u8>> {
    let words = secluded.split(|&b| b == 0).skip(1).filter(|word| !word.is_empty());
    words.map(<[u8]>::to_vec).collect()
}

/// Words as `-vv` shows them after `heading`: those with anything unusual in quotes.
pub fn shown(heading: &str, words: &[Vec<u8>]) -> Vec<u8> {
    let mut line = heading.as_bytes().to_vec();
    for word in words {
        let plain = |b: &u8| b.is_ascii_alphanumeric() || b"-_./,+@=".contains(b);
        let quote: &[u8] = if word.iter().all(plain) { b"" } else { b"\"" };
        line.extend_from_slice(&[b" ", quote, word, quote].concat());
    }
    line.extend_from_slice(format!("  ({} args)\n", words.len()).as_bytes());
    line
}

/// Starts the remote shell.
pub fn start(words: &[Vec<u8>]) -> Result<Streams, Fatal> {
    let words: Vec<OsString> = words.iter().cloned().map(OsString::from_vec).collect();
    let Some((program, args)) = words.split_first() else {
        return Err(Fatal::new(ExitCode::Syntax, "empty remote shell command"));
    };
    let mut command = Command::new(program);
    command.args(args).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::inherit());
    if std::env::var_os("SSH_ASKPASS").is_none() {
        command.env_remove("DISPLAY");
    }
    let mut child = command.spawn().map_err(|error| {
        let text = format!("Failed to exec {}: {}", program.to_string_lossy(), errno_text(&error));
        Fatal::new(ExitCode::Ipc, text)
    })?;
    let (Some(input), Some(output)) = (child.stdout.take(), child.stdin.take()) else {
        return Err(Fatal::new(ExitCode::Ipc, "no pipes to the remote shell"));
    };
    Ok(Streams {
        input: Arc::new(OwnedFd::from(input)),
        output: Arc::new(OwnedFd::from(output)),
        child: Some(child),
    })
}

/// Collects the remote shell and returns its status as an exit status.
pub fn collect(mut child: Child) -> io::Result<i32> {
    use std::os::unix::process::ExitStatusExt;
    let status = child.wait()?;
    Ok(match (status.code(), status.signal()) {
        (Some(code), _) => code,
        (None, Some(libc::SIGINT)) => ExitCode::Signal.code(),
        _ => ExitCode::Crashed.code(),
    })
}
