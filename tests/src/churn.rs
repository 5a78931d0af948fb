//! Random work on a live source, and what must be equal at its copy in the end. Called by the tests
//! of the mirror and by `cargo xtask churn`.

use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::io::Write as _;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

/// A reproducible sequence of numbers.
pub struct Dice(pub u64);

impl Dice {
    /// The next number below `n`.
    pub fn below(&mut self, n: usize) -> usize {
        self.0 =
            self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        ((self.0 >> 33) as usize) % n.max(1)
    }
}

/// A source that is worked on, and a directory outside it on the same file system.
pub struct Churn<'a> {
    /// The source.
    pub source: &'a Path,
    /// Where things are moved out to and in from.
    pub outside: &'a Path,
    /// Directories above a name, at most.
    pub depth: usize,
}

impl Churn<'_> {
    /// Does one random thing. What cannot be done is left out.
    pub fn step(&self, dice: &mut Dice, number: usize) {
        let (one, other) = (self.path(dice), self.path(dice));
        let out = self.outside.join(format!("o{}", dice.below(8)));
        let _ = match dice.below(20) {
            0..=3 => fs::write(&one, format!("content {number}")),
            4 | 5 => append(&one),
            6 | 7 => fs::create_dir(&one),
            8..=10 => fs::rename(&one, &other),
            11 => fs::remove_file(&one),
            12 => fs::remove_dir_all(&one).or_else(|_| fs::remove_file(&one)),
            13 => change_mode(&one, [0o600, 0o644, 0o755, 0o711][dice.below(4)]),
            14 => std::os::unix::fs::symlink("d0/f1", &one),
            15 => fs::hard_link(&one, &other),
            16 => fs::rename(&one, &out),
            17 => fs::rename(&out, &one),
            18 => fs::create_dir_all(one.join("d3/d4"))
                .and_then(|()| fs::write(one.join("d3/d4/f5"), b"deep")),
            _ => fs::write(&one, b""),
        };
    }

    fn path(&self, dice: &mut Dice) -> PathBuf {
        let mut path = self.source.to_path_buf();
        for _ in 0..dice.below(self.depth + 1) {
            path.push(format!("d{}", dice.below(5)));
        }
        path.push(format!("{}{}", ["f", "d"][dice.below(2)], dice.below(6)));
        path
    }
}

fn append(path: &Path) -> std::io::Result<()> {
    fs::OpenOptions::new().append(true).open(path)?.write_all(b"+more")
}

fn change_mode(path: &Path, mode: u32) -> std::io::Result<()> {
    let meta = fs::symlink_metadata(path)?;
    // A mode set through a symbolic link would change another path than meant.
    if meta.is_symlink() {
        return Ok(());
    }
    let mode = if meta.is_dir() { mode | 0o700 } else { mode };
    fs::set_permissions(path, fs::Permissions::from_mode(mode))
}

/// A tree as text, an entry a line: all that a mirror must keep. With `links`, which names are one
/// file.
///
/// # Errors
/// A path with the reason why it cannot be read.
pub fn dump(root: &Path, links: bool) -> Result<String, String> {
    let mut lines = BTreeMap::new();
    let mut open = vec![root.to_path_buf()];
    while let Some(path) = open.pop() {
        let failed = |error: std::io::Error| format!("{}: {error}", path.display());
        let name = path.strip_prefix(root).unwrap_or(&path).display().to_string();
        let meta = fs::symlink_metadata(&path).map_err(failed)?;
        if meta.is_dir() {
            for entry in fs::read_dir(&path).map_err(failed)? {
                open.push(entry.map_err(failed)?.path());
            }
        }
        lines.insert(name, (line(&path, &meta).map_err(failed)?, meta));
    }
    // Only names in this tree count: a file may have others elsewhere.
    let mut names: HashMap<u64, usize> = HashMap::new();
    for (_, meta) in lines.values().filter(|(_, meta)| links && meta.is_file()) {
        *names.entry(meta.ino()).or_default() += 1;
    }
    // Files are numbered in the order of their names, not in that of the walk.
    let mut numbers: HashMap<u64, usize> = HashMap::new();
    Ok(lines.iter().fold(String::new(), |mut out, (name, (line, meta))| {
        out.push_str(&format!("{name}: {line}"));
        if meta.is_file() && names.get(&meta.ino()).is_some_and(|count| *count > 1) {
            let next = numbers.len();
            out.push_str(&format!(" file {}", numbers.entry(meta.ino()).or_insert(next)));
        }
        out.push('\n');
        out
    }))
}

fn line(path: &Path, meta: &fs::Metadata) -> std::io::Result<String> {
    let kind = meta.file_type();
    let what = match () {
        () if kind.is_dir() => "dir".to_owned(),
        () if kind.is_symlink() => format!("-> {}", fs::read_link(path)?.display()),
        () if kind.is_file() => format!("{:?}", String::from_utf8_lossy(&fs::read(path)?)),
        () => "special".to_owned(),
    };
    // The reference program sets the time of a link or directory that it has just made or filled
    // only if that is off by a second.
    let nanos = if kind.is_file() { meta.mtime_nsec() } else { 0 };
    Ok(format!("{:o} {}.{nanos:09} {what}", meta.mode(), meta.mtime()))
}

/// Lines of `left` that `right` has not, and the other way round.
pub fn differences<'a>(left: &'a str, right: &'a str) -> (Vec<&'a str>, Vec<&'a str>) {
    let only = |a: &'a str, b: &str| {
        let there: std::collections::HashSet<&str> = b.lines().collect();
        a.lines().filter(|line| !there.contains(line)).collect()
    };
    (only(left, right), only(right, left))
}
