//! `--copy-as`: this side becomes another user once it is connected, before it touches a file.
//!
//! Called by the client and the server. The whole process changes and cannot change back, so a run
//! that shares its process with others must not ask for it.

use std::io;

use tree::{jail, owner};
use wire::exit::ExitCode;

use crate::fatal::Fatal;
use crate::options::Options;

/// Becomes the user and the group asked for, if any. Errors: exit code 1.
pub(crate) fn take_on(opts: &Options) -> Result<(), Fatal> {
    let Some(value) = &opts.copy_as else { return Ok(()) };
    let (user, group) = match value.iter().position(|&b| b == b':') {
        Some(at) => (value.get(..at).unwrap_or_default(), value.get(at + 1..)),
        None => (value.as_slice(), None),
    };
    let mut owners = owner::Owners::new();
    let uid = number(user).or_else(|| owners.user_id(user)).ok_or_else(|| invalid("user", user))?;
    let (gid, groups) = match group {
        Some(name) => {
            let gid = number(name).or_else(|| owners.group_id(name));
            let gid = gid.ok_or_else(|| invalid("group", name))?;
            (gid, vec![gid])
        }
        None => owner::user_groups(uid).ok_or_else(|| {
            Fatal::new(ExitCode::Syntax, format!("no groups are known of user {uid}"))
        })?,
    };
    jail::set_groups(gid, &groups).map_err(|error| failed("setgid", &error))?;
    jail::set_user(uid).map_err(|error| failed("setuid", &error))
}

fn number(text: &[u8]) -> Option<u32> {
    let digits = !text.is_empty() && text.iter().all(u8::is_ascii_digit);
    std::str::from_utf8(text).ok().filter(|_| digits)?.parse().ok().filter(|id| *id != u32::MAX)
}

fn invalid(what: &str, name: &[u8]) -> Fatal {
    let text = [b"Invalid copy-as ".as_slice(), what.as_bytes(), b": ", name].concat();
    Fatal::bare(ExitCode::Syntax, text)
}

fn failed(call: &str, error: &io::Error) -> Fatal {
    let text = format!("{call} failed: {}", crate::fatal::errno_text(error));
    Fatal::new(ExitCode::Syntax, text)
}
