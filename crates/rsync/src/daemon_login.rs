//! The client's side of a daemon's text phase: greeting, module, login, arguments.

use std::io::Read;

use wire::auth;
use wire::exit::ExitCode;
use wire::greeting;
use wire::version::Protocol;

use crate::fatal::{Fatal, errno_text};
use crate::link::{LinkReader, LinkWriter};
use crate::options::Options;
use crate::report::messages::Reporter;

/// What the text phase ended in.
pub enum Welcome {
    /// The module was opened; the binary session follows in this protocol.
    Session(Protocol),
    /// The daemon listed its modules and is done.
    Listed,
}

/// Greets, names the module and logs in. `module` is empty for a listing.
pub fn enter(
    opts: &Options,
    user: Option<&[u8]>,
    module: &[u8],
    reader: &mut LinkReader,
    writer: &mut LinkWriter,
    reporter: &Reporter,
) -> Result<Welcome, Fatal> {
    writer.data.extend_from_slice(greeting::format_greeting(opts.protocol).as_bytes());
    writer.flush()?;
    let line = text_line(reader, "did not see server greeting")?;
    let peer = greeting::parse_greeting(&line)
        .map_err(|defect| Fatal::program(ExitCode::StartClient, defect.client_text(&line)))?;
    let protocol = peer.negotiate(opts.protocol)?;
    if let Some(file) = &opts.early_input {
        send_early_input(file, writer)?;
    }
    writer.data.extend_from_slice(if module.is_empty() { b"#list" } else { module });
    writer.data.push(b'\n');
    writer.flush()?;
    loop {
        let line = text_line(reader, "didn't get server startup line")?;
        if let Some(challenge) = line.strip_prefix(b"@RSYNCD: AUTHREQD ") {
            log_in(opts, user, challenge, (&peer, protocol), writer)?;
        } else if line == b"@RSYNCD: OK" {
            return Ok(Welcome::Session(protocol));
        } else if line == b"@RSYNCD: EXIT" {
            return Ok(Welcome::Listed);
        } else if line.starts_with(b"@ERROR") {
            let mut text = line.clone();
            text.push(b'\n');
            reporter.refusal(&text);
            return Err(Fatal::silent(ExitCode::StartClient));
        } else if opts.motd || module.is_empty() {
            reporter.info(&[line.as_slice(), b"\n"].concat());
        }
    }
}

/// Sends what the daemon's early command is to read, if it is anything.
fn send_early_input(file: &[u8], writer: &mut LinkWriter) -> Result<(), Fatal> {
    let failed = |error: std::io::Error| {
        let mut text = b"failed to open ".to_vec();
        text.extend_from_slice(file);
        text.extend_from_slice(b": ");
        text.extend_from_slice(errno_text(&error).as_bytes());
        Fatal::new(ExitCode::StartClient, text)
    };
    let max = wire::limits::EARLY_INPUT_MAX;
    let opened = tree::operator::open_trusted(file).map_err(failed)?;
    let mut content = Vec::new();
    opened.take(max as u64 + 1).read_to_end(&mut content).map_err(failed)?;
    if content.len() > max {
        let text = [file, format!(" is > {max} bytes.").as_bytes()].concat();
        return Err(Fatal::bare(ExitCode::StartClient, text));
    }
    if !content.is_empty() {
        writer.data.extend_from_slice(format!("#early_input={}\n", content.len()).as_bytes());
        writer.data.extend_from_slice(&content);
    }
    Ok(())
}

/// A line of the daemon. Errors: `missing` where it has ended before.
fn text_line(reader: &mut LinkReader, missing: &str) -> Result<Vec<u8>, Fatal> {
    let line = reader.line(wire::limits::GREETING_MAX);
    line.map_err(|fatal| match reader.is_at_end() {
        true => Fatal::program(ExitCode::StartClient, missing),
        false => fatal,
    })
}

fn log_in(
    opts: &Options,
    user: Option<&[u8]>,
    challenge: &[u8],
    (peer, protocol): (&greeting::Greeting, Protocol),
    writer: &mut LinkWriter,
) -> Result<(), Fatal> {
    use std::os::unix::ffi::OsStringExt;
    let env =
        |name: &str| std::env::var_os(name).map(OsStringExt::into_vec).filter(|v| !v.is_empty());
    let user = user
        .map(<[u8]>::to_vec)
        .or_else(|| env("USER"))
        .or_else(|| env("LOGNAME"))
        .unwrap_or_else(|| b"nobody".to_vec());
    let mut password = match &opts.password_file {
        Some(file) => read_password(file)?,
        None => env("RSYNC_PASSWORD").map_or_else(ask_password, Ok)?,
    };
    let digest = auth::choose_client(peer.digests.as_deref(), protocol).ok_or_else(|| {
        Fatal::new(ExitCode::Unsupported, "no common digest for the daemon login")
    })?;
    let answer = auth::response(digest, &password, challenge);
    password.fill(0);
    writer.data.extend_from_slice(&user);
    writer.data.push(b' ');
    writer.data.extend_from_slice(answer.as_bytes());
    writer.data.push(b'\n');
    writer.flush()
}

/// The first line of a password file that nobody else may read; `-` is the standard input.
fn read_password(file: &[u8]) -> Result<Vec<u8>, Fatal> {
    let fail = |text: Vec<u8>| Fatal::new(ExitCode::Syntax, text);
    let mut content = Vec::new();
    if file == b"-" {
        std::io::stdin()
            .lock()
            .take(512)
            .read_to_end(&mut content)
            .map_err(|e| fail(e.to_string().into()))?;
    } else {
        let opened = tree::operator::open_trusted(file).map_err(|error| {
            let mut text = b"could not open password file ".to_vec();
            text.extend_from_slice(file);
            text.extend_from_slice(b": ");
            text.extend_from_slice(errno_text(&error).as_bytes());
            fail(text)
        })?;
        let meta = tree::operator::facts(&opened).map_err(|e| fail(e.to_string().into()))?;
        if meta.mode & 0o006 != 0 {
            return Err(Fatal::bare(
                ExitCode::Syntax,
                "ERROR: password file must not be other-accessible",
            ));
        }
        if tree::owner::am_root() && meta.uid != 0 {
            return Err(Fatal::bare(
                ExitCode::Syntax,
                "ERROR: password file must be owned by root when running as root",
            ));
        }
        opened.take(512).read_to_end(&mut content).map_err(|e| fail(e.to_string().into()))?;
    }
    let line = content.split(|b| matches!(b, b'\n' | b'\r')).next().unwrap_or(b"").to_vec();
    content.fill(0);
    if line.is_empty() {
        let text = [b"ERROR: failed to read a password from ".as_slice(), file].concat();
        return Err(Fatal::bare(ExitCode::Syntax, text));
    }
    Ok(line)
}

fn ask_password() -> Result<Vec<u8>, Fatal> {
    tree::operator::ask_secret("Password: ").map_err(|_| {
        Fatal::new(ExitCode::StartClient, "no password: give --password-file or set RSYNC_PASSWORD")
    })
}

/// Sends the argument list of a daemon session: words that end in NULs, or in line ends of an old
/// protocol, and an empty one.
pub fn send_args(
    words: &[Vec<u8>],
    protocol: Protocol,
    writer: &mut LinkWriter,
) -> Result<(), Fatal> {
    let end = if protocol.has_nul_arguments() { 0 } else { b'\n' };
    for word in words {
        writer.data.extend_from_slice(word);
        writer.data.push(end);
    }
    writer.data.push(end);
    writer.flush()
}
