//! Symlink munging: stored texts get a prefix that leads nowhere, sent ones lose it.

use wire::exit::ExitCode;

use crate::fatal::Fatal;
use crate::options::Options;

/// What a munged symlink's text begins with.
pub const PREFIX: &[u8] = b"/rsyncd-munged/";

/// A directory of this name that can be reached makes munged links lead somewhere.
pub const MUNGE_DIR: &[u8] = b"/rsyncd-munged";

/// Why links must not be munged on this machine, if they must not.
pub fn unsafe_here() -> Option<&'static str> {
    tree::root::Root::open_trusted(MUNGE_DIR)
        .is_ok()
        .then_some("Symlink munging is unsafe when a /rsyncd-munged directory exists.")
}

/// Refuses `--munge-links` where it would not make links harmless.
pub fn check(opts: &Options) -> Result<(), Fatal> {
    match unsafe_here().filter(|_| opts.munge_links) {
        Some(text) => Err(Fatal::new(ExitCode::Unsupported, text)),
        None => Ok(()),
    }
}

/// The text as sent: without one prefix.
pub fn strip(text: &[u8]) -> &[u8] {
    text.strip_prefix(PREFIX).unwrap_or(text)
}

/// A symlink's text in a module without munging that is no root of its process: relative, and
/// climbing no higher than the top of the transfer that `name` is told from.
pub fn tamed(text: &[u8], name: &[u8]) -> Vec<u8> {
    let mut depth = crate::scan::trim_root(name).iter().filter(|&&b| b == b'/').count();
    let mut parts: Vec<&[u8]> = Vec::new();
    for part in text.split(|&b| b == b'/') {
        match part {
            b"" | b"." => {}
            b".." if parts.last().is_some_and(|last| *last != b"..") => {
                parts.pop();
            }
            b".." if depth > 0 => {
                depth -= 1;
                parts.push(part);
            }
            b".." => {}
            part => parts.push(part),
        }
    }
    if parts.is_empty() {
        return b".".to_vec();
    }
    if text.ends_with(b"/") {
        parts.push(b"");
    }
    parts.join(&b'/')
}

/// The text as stored.
pub fn add(text: &[u8]) -> Vec<u8> {
    [PREFIX, text].concat()
}

#[cfg(test)]
mod tests {
    use super::tamed;

    #[test]
    fn a_tamed_text_stays_below_the_top() {
        for (text, name, expected) in [
            ("/etc/passwd", "a", "etc/passwd"),
            ("../../../out/x", "a/b/l", "../../out/x"),
            ("a/../x", "l", "x"),
            ("./../x", "a/b/l", "../x"),
            ("..//../x", "a/b/l", "../../x"),
            ("../../", "a/b/l", "../../"),
            ("../x", "l", "x"),
            ("x/../..", "l", "."),
            ("/", "l", "."),
        ] {
            let tamed = tamed(text.as_bytes(), name.as_bytes());
            assert_eq!(tamed, expected.as_bytes(), "{text} at {name}");
        }
    }
}
