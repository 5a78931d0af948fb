//! `cargo xtask tree`: makes a directory tree that follows from its parameters.
//!
//! Directories are spread at most [`FAN_OUT`] wide; each file goes to a directory of its own
//! choice, with a length between the bounds and content that no compressor shrinks. Times are
//! fixed, so that two trees of the same parameters are equal in all that a mirror copies.

use std::fs::{File, FileTimes};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use xtask::random::Random;

use crate::arguments::Arguments;

/// Most directories in one directory.
const FAN_OUT: usize = 32;
/// Bytes written at once.
const PIECE: usize = 64 << 10;
/// The time of the oldest file, in seconds since the epoch.
const OLDEST: u64 = 1_700_000_000;

/// What a tree follows from.
#[derive(Clone, Debug)]
pub(crate) struct TreeShape {
    /// Regular files.
    pub(crate) files: usize,
    /// Directories below the top.
    pub(crate) dirs: usize,
    /// Shortest file, in bytes.
    pub(crate) min: u64,
    /// Longest file, in bytes.
    pub(crate) max: u64,
    /// Chooses names, lengths and content.
    pub(crate) seed: u64,
}

impl TreeShape {
    /// From `--files --dirs --min --max --seed`; the first two have these defaults.
    pub(crate) fn from_arguments(
        args: &mut Arguments,
        files: usize,
        dirs: usize,
    ) -> Result<TreeShape, String> {
        let shape = TreeShape {
            files: args.number("files", files)?,
            dirs: args.number("dirs", dirs)?,
            min: args.number("min", 4 << 10)?,
            max: args.number("max", 64 << 10)?,
            seed: args.number("seed", 1)?,
        };
        match shape.min <= shape.max {
            true => Ok(shape),
            false => Err("--min is greater than --max".into()),
        }
    }
}

/// The command.
pub(crate) fn run(args: &mut Arguments) -> Result<(), String> {
    let top = PathBuf::from(args.operand().ok_or("name a directory")?);
    let shape = TreeShape::from_arguments(args, 10_000, 100)?;
    args.finish()?;
    let bytes = make(&top, &shape)?;
    println!("{} files, {} directories, {bytes} bytes", shape.files, shape.dirs);
    Ok(())
}

/// Makes the tree and says how many bytes it holds. The top may exist, but must be empty.
pub(crate) fn make(top: &Path, shape: &TreeShape) -> Result<u64, String> {
    let failed = |path: &Path| {
        let path = path.display().to_string();
        move |error: std::io::Error| format!("{path}: {error}")
    };
    std::fs::create_dir_all(top).map_err(failed(top))?;
    if std::fs::read_dir(top).map_err(failed(top))?.next().is_some() {
        return Err(format!("{}: is not empty", top.display()));
    }
    let mut dirs = vec![top.to_path_buf()];
    for number in 0..shape.dirs {
        let dir = dirs[number / FAN_OUT].join(format!("dir{number:05}"));
        std::fs::create_dir(&dir).map_err(failed(&dir))?;
        dirs.push(dir);
    }
    let mut random = Random::new(shape.seed);
    let mut total = 0;
    for number in 0..shape.files {
        let dir = &dirs[random.below(dirs.len())];
        let path = dir.join(format!("file{number:07}.dat"));
        let len = random.between(shape.min, shape.max);
        write(&path, len, OLDEST + number as u64 % 10_000_000, &mut random)
            .map_err(failed(&path))?;
        total += len;
    }
    // From the deepest up, since making a name changes its directory's time.
    for dir in dirs.iter().rev() {
        let times = FileTimes::new().set_modified(SystemTime::UNIX_EPOCH + age(OLDEST));
        File::open(dir).and_then(|dir| dir.set_times(times)).map_err(failed(dir))?;
    }
    Ok(total)
}

fn age(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// Writes one file of random content.
pub(crate) fn write(
    path: &Path,
    len: u64,
    mtime_s: u64,
    random: &mut Random,
) -> std::io::Result<()> {
    let mut file = File::create(path)?;
    let mut left = len;
    let mut piece = vec![0; PIECE.min(usize::try_from(len).unwrap_or(PIECE))];
    while left > 0 {
        let now = piece.len().min(usize::try_from(left).unwrap_or(PIECE));
        random.fill(&mut piece[..now]);
        file.write_all(&piece[..now])?;
        left -= now as u64;
    }
    file.set_modified(SystemTime::UNIX_EPOCH + age(mtime_s))
}
