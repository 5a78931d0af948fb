//! Trees of files as text: made from a short form, and written out in full for comparison. Called
//! by the matrix.
//!
//! A line of the short form is `KIND NAME [WHAT] [KEY=VALUE...]`, in words without blanks; `\s`,
//! `\n`, `\t`, `\\` and `\xHH` stand for the bytes that cannot be written. Parents come of
//! themselves. Kinds:
//! - `d NAME`: directory; `f NAME CONTENT`: regular file; `l NAME TARGET`: symbolic link;
//!   `h NAME EXISTING`: hard link; `p NAME`: fifo; `s NAME`: socket; `c|b NAME MAJOR,MINOR`: device.
//! - `x NAME KEY=CONTENT`: extended attribute of what a line before made.
//! - `A|D NAME u::7,u:ID:7,g::5,m::5,o::5`: access or default list of it, owner entries and mask
//!   included. The mode (`m=`) should fit, since it is set last.
//! - CONTENT is `"TEXT`, or `SIZE#SEED` for bytes that look random, followed by any of `~` (one
//!   byte in the middle changed), `^` (bytes put in front), `$` (bytes put at the end); or `zSIZE`
//!   for a file with one long hole.
//! - Keys: `m=` mode in octal, `o=UID:GID`, `t=SECONDS[.NANOSECONDS]`, `a=` likewise, `n=` makes that many
//!   entries, with `{}` in the name counted from 0.
//!
//! The full form does not hold change times or where the holes of a file are, and access times only
//! of what is no directory, where they are neither fresh nor the modification time.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::hash::{DefaultHasher, Hasher};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::{FileExt, FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, CWD, FileType, Mode, Timespec, Timestamps};

/// The time of what has no `t=`: seconds of the Unix epoch, of the year 2017.
const TIME_DEFAULT: i64 = 1_500_000_000;
/// A file this large whose blocks hold less than half of it is called sparse. Bytes.
const SPARSE_SIZE_MIN: u64 = 65_536;

/// The bytes that a word of the short form stands for.
///
/// # Panics
/// On an escape that does not exist.
pub fn unescape(word: &str) -> Vec<u8> {
    let (mut out, mut rest) = (Vec::new(), word.bytes());
    while let Some(byte) = rest.next() {
        if byte != b'\\' {
            out.push(byte);
            continue;
        }
        out.push(match rest.next() {
            Some(b's') => b' ',
            Some(b'n') => b'\n',
            Some(b't') => b'\t',
            Some(b'p') => b'|',
            Some(b'\\') => b'\\',
            Some(b'x') => {
                let hex = [rest.next().unwrap_or(b'?'), rest.next().unwrap_or(b'?')];
                let hex = String::from_utf8_lossy(&hex).into_owned();
                u8::from_str_radix(&hex, 16).unwrap_or_else(|_| panic!("\\x{hex} in {word}"))
            }
            other => panic!("escape {other:?} in {word}"),
        });
    }
    out
}

/// Attributes that a line of the short form asks for.
#[derive(Clone, Default)]
struct Wanted {
    mode: Option<u32>,
    owner: Option<(u32, u32)>,
    time: Option<(i64, i64)>,
    access: Option<(i64, i64)>,
}

/// Makes the tree that `text` describes, below `root`, which exists.
///
/// # Panics
/// On a malformed line, or when the file system refuses.
pub fn make(root: &Path, text: &str) {
    let mut wanted = BTreeMap::new();
    for line in text.lines().map(str::trim).filter(|l| !l.is_empty() && !l.starts_with("//")) {
        make_line(root, line, &mut wanted);
    }
    for name in names(root) {
        settle(root, &name, &wanted);
    }
}

fn make_line(root: &Path, line: &str, wanted: &mut BTreeMap<Vec<u8>, Wanted>) {
    let mut words: Vec<&str> = line.split_ascii_whitespace().collect();
    let (mut attributes, mut count) = (Wanted::default(), None);
    while let Some((key, value)) = words.last().and_then(|w| w.split_once('=')) {
        match key {
            _ if words[0] == "x" => break,
            "m" => attributes.mode = Some(u32::from_str_radix(value, 8).unwrap()),
            "o" => {
                let (uid, gid) = value.split_once(':').unwrap();
                attributes.owner = Some((uid.parse().unwrap(), gid.parse().unwrap()));
            }
            "t" => attributes.time = Some(time(value)),
            "a" => attributes.access = Some(time(value)),
            "n" => count = Some(value.parse::<u32>().unwrap()),
            _ => break,
        }
        words.pop();
    }
    let what = words.get(2).copied().unwrap_or_default();
    let [kind, name] = [words[0], words[1]];
    if kind == "h" {
        attributes = wanted.get(&unescape(what)).cloned().unwrap_or_default();
    }
    if kind == "A" || kind == "D" {
        let path = root.join(OsString::from_vec(unescape(name)));
        let key = format!("system.posix_acl_{}", if kind == "A" { "access" } else { "default" });
        let none = rustix::fs::XattrFlags::empty();
        rustix::fs::lsetxattr(&path, key, &access_list(words[2]), none).expect("set an ACL");
        return;
    }
    if kind == "x" {
        let (key, value) = words[2].split_once('=').unwrap();
        let path = root.join(OsString::from_vec(unescape(name)));
        let none = rustix::fs::XattrFlags::empty();
        rustix::fs::lsetxattr(&path, key, &content(value), none).expect("set an attribute");
        return;
    }
    for number in 0..count.unwrap_or(1) {
        let name = unescape(&name.replace("{}", &number.to_string()));
        make_entry(root, kind, &name, what);
        wanted.insert(name, attributes.clone());
    }
}

/// The kernel's form of an access control list.
fn access_list(text: &str) -> Vec<u8> {
    let mut bytes = vec![2, 0, 0, 0];
    for part in text.split(',') {
        let fields: Vec<&str> = part.split(':').collect();
        let tag: u16 = match (fields[0], fields[1].is_empty()) {
            ("u", true) => 1,
            ("u", false) => 2,
            ("g", true) => 4,
            ("g", false) => 8,
            ("m", _) => 16,
            _ => 32,
        };
        bytes.extend(tag.to_le_bytes());
        bytes.extend(fields[2].parse::<u16>().unwrap().to_le_bytes());
        bytes.extend(fields[1].parse::<u32>().unwrap_or(u32::MAX).to_le_bytes());
    }
    bytes
}

fn time(value: &str) -> (i64, i64) {
    let (seconds, nanos) = value.split_once('.').unwrap_or((value, "0"));
    (seconds.parse().unwrap(), nanos.parse().unwrap())
}

fn make_entry(root: &Path, kind: &str, name: &[u8], what: &str) {
    let path = root.join(OsStr::from_bytes(name));
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    let node = |kind, dev| rustix::fs::mknodat(CWD, &path, kind, Mode::from_raw_mode(0o644), dev);
    match kind {
        "d" => std::fs::create_dir_all(&path).unwrap(),
        "f" => make_file(&path, what),
        "l" => std::os::unix::fs::symlink(OsString::from_vec(unescape(what)), &path).unwrap(),
        "h" => {
            let existing = root.join(OsString::from_vec(unescape(what)));
            std::fs::hard_link(existing, &path).unwrap();
        }
        "p" => node(FileType::Fifo, 0).unwrap(),
        "s" => node(FileType::Socket, 0).unwrap(),
        "c" | "b" => {
            let (major, minor) = what.split_once(',').unwrap();
            let dev = rustix::fs::makedev(major.parse().unwrap(), minor.parse().unwrap());
            let kind = if kind == "c" { FileType::CharacterDevice } else { FileType::BlockDevice };
            node(kind, dev).expect("make a device node (this needs root)");
        }
        _ => panic!("unknown kind {kind}"),
    }
}

fn make_file(path: &Path, what: &str) {
    if let Some(size) = what.strip_prefix('z') {
        let size: u64 = size.parse().unwrap();
        let file = std::fs::File::create(path).unwrap();
        file.write_all_at(b"start", 0).unwrap();
        file.write_all_at(b"end", size - 3).unwrap();
        return;
    }
    std::fs::write(path, content(what)).unwrap();
}

fn content(what: &str) -> Vec<u8> {
    if let Some(text) = what.strip_prefix('"') {
        return unescape(text);
    }
    let edits_at = what.find(['~', '^', '$']).unwrap_or(what.len());
    let (plain, edits) = what.split_at(edits_at);
    let (size, seed) = plain.split_once('#').unwrap_or((plain, "1"));
    let (size, seed): (usize, u64) = (size.parse().unwrap(), seed.parse().unwrap());
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut bytes: Vec<u8> = std::iter::repeat_with(|| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 24) as u8
    })
    .take(size)
    .collect();
    for edit in edits.chars() {
        match edit {
            '~' => bytes[size / 2] ^= 0xff,
            '^' => drop(bytes.splice(0..0, *b"put in front")),
            _ => bytes.extend(b"put at the end"),
        }
    }
    bytes
}

/// Gives an entry its attributes; entries come children first, so that times stay.
fn settle(root: &Path, name: &[u8], wanted: &BTreeMap<Vec<u8>, Wanted>) {
    let path = root.join(OsStr::from_bytes(name));
    let wanted = wanted.get(name).cloned().unwrap_or_default();
    let kind = std::fs::symlink_metadata(&path).unwrap().file_type();
    if let Some((uid, gid)) = wanted.owner {
        std::os::unix::fs::lchown(&path, Some(uid), Some(gid)).unwrap();
    }
    if !kind.is_symlink() {
        let mode = wanted.mode.unwrap_or(if kind.is_dir() { 0o755 } else { 0o644 });
        rustix::fs::chmod(&path, Mode::from_raw_mode(mode)).unwrap();
    }
    let (tv_sec, tv_nsec) = wanted.time.unwrap_or((TIME_DEFAULT, 0));
    let last_modification = Timespec { tv_sec, tv_nsec };
    let access = wanted.access.map(|(tv_sec, tv_nsec)| Timespec { tv_sec, tv_nsec });
    let last_access = access.unwrap_or(last_modification);
    let times = Timestamps { last_access, last_modification };
    rustix::fs::utimensat(CWD, &path, &times, AtFlags::SYMLINK_NOFOLLOW).unwrap();
}

/// Names of everything below `root`, a directory's content ahead of it, sorted within.
fn names(root: &Path) -> Vec<Vec<u8>> {
    fn walk(dir: &Path, prefix: &[u8], out: &mut Vec<Vec<u8>>) {
        let mut children: Vec<_> =
            std::fs::read_dir(dir).unwrap().map(|e| e.unwrap().file_name()).collect();
        children.sort();
        for child in children {
            let mut name = prefix.to_vec();
            name.extend(child.as_bytes());
            let path: PathBuf = dir.join(&child);
            if std::fs::symlink_metadata(&path).unwrap().is_dir() {
                let prefix = [&name[..], b"/"].concat();
                walk(&path, &prefix, out);
            }
            out.push(name);
        }
    }
    let mut out = Vec::new();
    walk(root, b"", &mut out);
    out
}

/// The tree below `root`, a line an entry, sorted by name. A time of `fresh_from` (seconds) or
/// later is written as `now`, since it tells only that nobody set it.
pub fn dump(root: &Path, fresh_from: Option<i64>) -> Vec<String> {
    dump_all(root, fresh_from, None)
}

/// The same with those times of access that lie before `fresh_from`.
pub fn dump_with_access(root: &Path, fresh_from: i64) -> Vec<String> {
    dump_all(root, Some(fresh_from), Some(fresh_from))
}

fn dump_all(root: &Path, fresh_from: Option<i64>, access_to: Option<i64>) -> Vec<String> {
    let mut all = names(root);
    all.sort();
    let mut first_of: BTreeMap<(u64, u64), String> = BTreeMap::new();
    all.iter().map(|name| dump_entry(root, name, (fresh_from, access_to), &mut first_of)).collect()
}

fn dump_entry(
    root: &Path,
    name: &[u8],
    (fresh_from, access_to): (Option<i64>, Option<i64>),
    first_of: &mut BTreeMap<(u64, u64), String>,
) -> String {
    let path = root.join(OsStr::from_bytes(name));
    let meta = std::fs::symlink_metadata(&path).unwrap();
    let kind = meta.file_type();
    let dev = || format!("{},{}", rustix::fs::major(meta.rdev()), rustix::fs::minor(meta.rdev()));
    let (kind, what) = match () {
        () if kind.is_dir() => ('d', String::new()),
        () if kind.is_symlink() => {
            let target = std::fs::read_link(&path).unwrap();
            ('l', format!("-> {}", target.as_os_str().as_bytes().escape_ascii()))
        }
        () if kind.is_file() => ('f', dump_content(&path, &meta)),
        () if kind.is_fifo() => ('p', String::new()),
        () if kind.is_socket() => ('s', String::new()),
        () if kind.is_char_device() => ('c', dev()),
        () => ('b', dev()),
    };
    let name = name.escape_ascii().to_string();
    let time = match meta.mtime() {
        seconds if fresh_from.is_some_and(|fresh| seconds >= fresh) => "now".to_owned(),
        seconds => format!("{seconds}.{:09}", meta.mtime_nsec()),
    };
    let access = (meta.atime(), meta.atime_nsec());
    let told = kind != 'd'
        && access_to.is_some_and(|end| access.0 < end)
        && access != (meta.mtime(), meta.mtime_nsec());
    let access = if told { format!(" a={}.{:09}", access.0, access.1) } else { String::new() };
    let mode = if kind == 'l' { 0o777 } else { meta.mode() & 0o7777 };
    let link = match first_of.get(&(meta.dev(), meta.ino())) {
        Some(first) => format!(" == {first}"),
        None => String::new(),
    };
    if meta.nlink() > 1 && kind != 'd' {
        first_of.entry((meta.dev(), meta.ino())).or_insert_with(|| name.clone());
    }
    let (uid, gid) = (meta.uid(), meta.gid());
    let attributes = dump_attributes(&path);
    let line = format!("{name}  {kind} {mode:04o} {uid}:{gid} {time}{access} {what}{link}");
    format!("{}{attributes}", line.trim_end())
}

fn dump_attributes(path: &Path) -> String {
    let mut names = vec![0; 65_536];
    let len = rustix::fs::llistxattr(path, &mut names[..]).unwrap_or(0);
    let mut names: Vec<&[u8]> = names[..len].split(|&b| b == 0).filter(|n| !n.is_empty()).collect();
    names.sort_unstable();
    let mut text = String::new();
    for name in names {
        let mut value = vec![0; 65_536];
        let len = rustix::fs::lgetxattr(path, name, &mut value[..]).unwrap();
        value.truncate(len);
        let mut hasher = DefaultHasher::new();
        hasher.write(&value);
        let shown = match value.len() {
            0..=60 => value.escape_ascii().to_string(),
            len => format!("{len} {:016x}", hasher.finish()),
        };
        text.push_str(&format!(" {}={shown}", name.escape_ascii()));
    }
    text
}

fn dump_content(path: &Path, meta: &std::fs::Metadata) -> String {
    let mut hasher = DefaultHasher::new();
    hasher.write(&std::fs::read(path).unwrap());
    let sparse = meta.size() >= SPARSE_SIZE_MIN && meta.blocks() * 512 < meta.size() / 2;
    format!("{} {:016x}{}", meta.size(), hasher.finish(), if sparse { " sparse" } else { "" })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tree_comes_back_as_it_was_asked_for() {
        let root = std::env::temp_dir().join(format!("livemirror-tree-{}", std::process::id()));
        std::fs::create_dir(&root).unwrap();
        make(&root, "f a/x\\n \"hello m=600 t=-5.25\n h b a/x\\n\n l c a\n p d m=604\n d e t=9");
        let dumped = dump(&root, None);
        std::fs::remove_dir_all(&root).unwrap();
        let hash = dumped[1].rsplit(' ').next().unwrap();
        let time = "1500000000.000000000";
        let owner = format!(
            "{}:{}",
            rustix::process::getuid().as_raw(),
            rustix::process::getgid().as_raw()
        );
        assert_eq!(
            dumped,
            [
                format!("a  d 0755 {owner} {time}"),
                format!("a/x\\n  f 0600 {owner} -5.000000025 5 {hash}"),
                format!("b  f 0600 {owner} -5.000000025 5 {hash} == a/x\\n"),
                format!("c  l 0777 {owner} {time} -> a"),
                format!("d  p 0604 {owner} {time}"),
                format!("e  d 0755 {owner} 9.000000000"),
            ]
        );
    }

    #[test]
    fn contents_differ_where_they_are_edited() {
        let plain = content("1000#4");
        assert_eq!(plain.len(), 1000);
        assert_ne!(plain, content("1000#5"));
        assert!(content("1000#4^").ends_with(&plain));
        assert!(content("1000#4$").starts_with(&plain));
        let changed = content("1000#4~");
        assert_eq!(plain.iter().zip(&changed).filter(|(a, b)| a != b).count(), 1);
    }
}
