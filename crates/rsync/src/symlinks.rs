//! Symbolic links of the source that options have followed, and which links are unsafe.
//!
//! The scanner asks [`Scanner::followed`] about each link it meets; the generator asks
//! [`is_unsafe`] for `--safe-links`. Where a followed link may lead is the root's business: anywhere
//! for an operator, nowhere out of the module for a daemon.

use std::io;

use tree::dir::Dir;
use tree::meta::Meta;
use tree::path::{Name, RelPath};

use crate::fatal::errno_text;
use crate::problem::ProblemKind;
use crate::report::messages::{IO_GENERAL, Role};
use crate::scan::{Scanner, trim_root};

/// Whether a link's text leads, or may lead, out of the tree that is transferred. `name` is where
/// the link stands below its top.
pub fn is_unsafe(text: &[u8], name: &[u8]) -> bool {
    if text.is_empty() || text.starts_with(b"/") || text.ends_with(b"/..") {
        return true;
    }
    // Going down and up again is not followed by eye: what is below may be a link itself.
    let mut rest = text;
    while let Some(after) = rest.strip_prefix(b"../") {
        rest = &after[after.iter().position(|&b| b != b'/').unwrap_or(after.len())..];
    }
    if memchr::memmem::find(rest, b"/../").is_some() {
        return true;
    }
    let dir = name.iter().rposition(|&b| b == b'/').map_or(&b""[..], |at| &name[..at]);
    let mut depth = 0_usize;
    for part in dir.split(|&b| b == b'/') {
        match part {
            b"" | b"." => {}
            b".." => depth = 0,
            _ => depth += 1,
        }
    }
    let climbs = text.split(|&b| b == b'/').filter(|part| *part == b"..").count();
    climbs > depth
}

impl Scanner {
    /// What counts as being at a name: the item itself, or for a link that the options follow what
    /// it leads to. `None` when that cannot be told, which has been reported.
    pub fn followed(
        &mut self,
        root: u16,
        dir: &Dir,
        base: &Name,
        name: &[u8],
        meta: Meta,
    ) -> Option<Meta> {
        if !meta.is_link() || !self.opts.follows_links() {
            return Some(meta);
        }
        let unsafe_text = match dir.read_link(base) {
            Ok(text) if self.opts.copy_unsafe_links && !self.opts.copy_links => {
                let text = self.sent_text(text);
                is_unsafe(&text, trim_root(name)).then_some(text)
            }
            _ => None,
        };
        if let Some(text) = &unsafe_text
            && self.opts.info.symsafe > 0
        {
            let name = trim_root(name);
            let words: [&[u8]; 5] =
                [b"copying unsafe symlink \"", name, b"\" -> \"", text, b"\"\n"];
            self.reporter.info(&words.concat());
        }
        let path = RelPath::new(trim_root(name)).ok()?;
        let source = &self.roots.get(usize::from(root))?.root;
        // By the handle at hand each link counts alone, by its path all links on the way do.
        let through =
            match source.is_following() && (self.opts.copy_links || self.opts.copy_dirlinks) {
                true => dir.stat_through(base),
                false => source.stat_through(path),
            };
        if self.opts.copy_links || unsafe_text.is_some() {
            return match through {
                Ok(meta) => Some(meta),
                Err(error) => {
                    self.no_referent(root, name, &error);
                    None
                }
            };
        }
        let to_dir = through.ok().filter(|meta| self.opts.copy_dirlinks && meta.is_dir());
        Some(to_dir.unwrap_or(meta))
    }

    /// Reports a link that leads nowhere, unless rules leave its name out in any case.
    fn no_referent(&mut self, root: u16, name: &[u8], error: &io::Error) {
        if self.is_left_out(root, name, false) || self.is_left_out(root, name, true) {
            return;
        }
        let Some(source) = self.roots.get(usize::from(root)) else { return };
        let quoted = self.reporter.quoted(&source.shown_path(name));
        let line = match error.kind() {
            io::ErrorKind::NotFound => [b"symlink has no referent: ", &*quoted].concat(),
            _ => {
                let head = format!("rsync: [{}] readlink_stat(", Role::Sender.word());
                let tail = format!(") failed: {}", errno_text(error));
                [head.as_bytes(), &*quoted, tail.as_bytes()].concat()
            }
        };
        let text = String::from_utf8_lossy(&line).into_owned();
        self.reporter.problem(name, ProblemKind::Failed, text);
        self.reporter.error_line(&line);
        self.reporter.add_io_error(IO_GENERAL);
    }

    /// Opens the content of a listed file, through a link where options follow it; and its size in
    /// bytes.
    pub fn open_content(&mut self, root: u16, name: &[u8]) -> io::Result<(std::fs::File, u64)> {
        self.open_ahead(root, name, 0, &mut Vec::new())
    }

    /// The same; what was read of it already, from its start, is in `ahead`: all of a file that
    /// holds `expected` bytes, where that is not 0.
    pub fn open_ahead(
        &mut self,
        root: u16,
        name: &[u8],
        expected: usize,
        ahead: &mut Vec<u8>,
    ) -> io::Result<(std::fs::File, u64)> {
        let invalid = || io::Error::from_raw_os_error(libc::EINVAL);
        let path = RelPath::new(trim_root(name)).map_err(|_| invalid())?;
        let source = self.roots.get_mut(usize::from(root)).ok_or_else(invalid)?;
        let base = path.name().ok_or_else(|| io::Error::from_raw_os_error(libc::EISDIR))?;
        let devices = self.opts.rights.copy_devices;
        let dir = source.cache.parent(path)?;
        ahead.clear();
        // Access times are to be left before the first byte is read.
        let expected = if self.opts.open_noatime { 0 } else { expected };
        let opened = match devices {
            true => dir.open_content(base, true).map(|file| (file, 0)),
            false => dir.open_sized(base, expected, ahead),
        };
        let opened = match opened {
            Err(error)
                if error.raw_os_error() == Some(libc::ELOOP)
                    && (self.opts.copy_links || self.opts.copy_unsafe_links) =>
            {
                let file = source.root.open_through(path, devices)?;
                let size = file.metadata()?.len();
                Ok((file, size))
            }
            other => other,
        };
        opened.and_then(|(file, size)| Ok((self.opts.opened(file)?, size)))
    }
}

/// How many bytes a device gives; none where it does not tell, which costs a word.
pub fn device_len(
    reporter: &crate::report::messages::Reporter,
    file: &std::fs::File,
    name: &[u8],
) -> u64 {
    tree::dir::content_len(file).unwrap_or_else(|error| {
        let what = b"rsync: [sender] failed to get device size via seek: ".as_slice();
        let why = errno_text(&error);
        reporter.final_error(&[what, name, b": ", why.as_bytes()].concat());
        0
    })
}

#[cfg(test)]
mod tests {
    use super::is_unsafe;

    #[test]
    fn a_link_is_unsafe_when_it_may_lead_out() {
        for (text, name, expected) in [
            ("", "a", true),
            ("/etc", "a", true),
            ("b", "a", false),
            ("../b", "a", true),
            ("../b", "d/a", false),
            ("..", "d/a", false),
            ("..", "a", true),
            ("../..", "d/a", true),
            ("x/..", "d/e/a", true),
            ("c/../x", "d/a", true),
            ("../../x", "a/b/l", false),
            ("../../../x", "a/b/l", true),
            (".././../x", "a/b/l", true),
            ("./../x", "a/b/l", true),
            ("..//../x", "a/b/l", false),
            ("../..", "a/b/l", true),
            ("../../", "a/b/l", false),
            ("../../.", "a/b/l", false),
            ("../../../", "a/b/l", true),
            ("a/../", "l", true),
            ("./x", "a", false),
            ("..x/y..", "a", false),
            ("../x", "d/../a", true),
            ("../x", "d/../e/a", false),
        ] {
            assert_eq!(is_unsafe(text.as_bytes(), name.as_bytes()), expected, "{text} at {name}");
        }
    }
}
