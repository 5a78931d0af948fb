//! Facts about file systems and mounts that decide how a directory can be watched.
//!
//! Called by `mirror::watch` when a back-end is chosen. Answers are of the moment: a mount made
//! later is not noticed here.

use std::io;
use std::os::fd::AsFd;

/// What kind of file system a directory is on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FsKind {
    /// Its usual name, or `unknown`.
    pub name: &'static str,
    /// Other machines can change it without this kernel knowing.
    pub remote: bool,
}

/// Tells the kind of file system behind the open handle `fd`.
pub fn fs_kind(fd: impl AsFd) -> io::Result<FsKind> {
    let magic = rustix::fs::fstatfs(fd)?.f_type;
    // The kernel's magic numbers are 32 bits wide; the field's width and sign differ by platform.
    let magic = u32::try_from(magic & 0xffff_ffff).unwrap_or_default();
    Ok(KINDS.iter().find(|row| row.0 == magic).map_or(
        FsKind { name: "unknown", remote: false },
        |&(_, name, remote)| FsKind { name, remote },
    ))
}

/// Mount points strictly below the absolute path `below`, from the kernel's table of mounts.
pub fn mounts_below(below: &[u8]) -> io::Result<Vec<Vec<u8>>> {
    Ok(parse_mounts(&std::fs::read("/proc/self/mountinfo")?, below))
}

/// The number of watches a user may have, as the kernel is set up; `None` where it does not say.
pub fn inotify_watches_max() -> Option<u64> {
    std::fs::read_to_string("/proc/sys/fs/inotify/max_user_watches").ok()?.trim().parse().ok()
}

fn parse_mounts(table: &[u8], below: &[u8]) -> Vec<Vec<u8>> {
    table
        .split(|&b| b == b'\n')
        .filter_map(|line| line.split(|&b| b == b' ').nth(4))
        .map(unescape)
        .filter(|point| match point.strip_prefix(below) {
            Some(rest) => {
                rest.len() > 1 && rest.first() == Some(&b'/') || below == b"/" && !rest.is_empty()
            }
            None => false,
        })
        .collect()
}

/// Blank, tab, newline and backslash are written as three octal digits in the kernel's table.
fn unescape(word: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(word.len());
    let mut rest = word;
    while let Some((&first, tail)) = rest.split_first() {
        rest = tail;
        let code = tail.get(..3).and_then(|digits| {
            let text = std::str::from_utf8(digits).ok()?;
            u8::from_str_radix(text, 8).ok()
        });
        match (first, code) {
            (b'\\', Some(byte)) => {
                out.push(byte);
                rest = tail.get(3..).unwrap_or_default();
            }
            _ => out.push(first),
        }
    }
    out
}

/// Magic number, name, whether other machines change it.
const KINDS: &[(u32, &str, bool)] = &[
    (0xef53, "ext4", false),
    (0x5846_5342, "xfs", false),
    (0x9123_683e, "btrfs", false),
    (0x0102_1994, "tmpfs", false),
    (0x794c_7630, "overlayfs", false),
    (0xf2f5_2010, "f2fs", false),
    (0x2fc1_2fc1, "zfs", false),
    (0x4d44, "vfat", false),
    (0x6969, "nfs", true),
    (0x517b, "smb", true),
    (0xff53_4d42, "cifs", true),
    (0xfe53_4d42, "smb3", true),
    (0x6573_5546, "fuse", true),
    (0x0102_1997, "9p", true),
    (0x00c3_6400, "ceph", true),
    (0x0116_1970, "gfs2", true),
    (0x0bd0_0bd0, "lustre", true),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mounts_below_a_directory_are_found_and_unescaped() {
        // A failure would mean that changes on a nested mount go unseen by fanotify.
        let table = b"22 1 8:1 / / rw - ext4 /dev/a rw\n\
            30 22 0:5 / /srv rw - tmpfs t rw\n\
            31 30 0:6 / /srv/a\\040b rw - tmpfs t rw\n\
            32 22 0:7 / /srvx rw - tmpfs t rw\n";
        assert_eq!(parse_mounts(table, b"/srv"), vec![b"/srv/a b".to_vec()]);
        assert_eq!(parse_mounts(table, b"/").len(), 3);
    }
}
