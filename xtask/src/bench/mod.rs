//! `cargo xtask bench`: livemirror beside the programs it replaces, on this machine.
//!
//! Everything runs below one directory that is removed at the end. No number is judged here: a
//! shared machine makes times uncertain, so look at ratios of runs taken in turns, and at counts.

mod live;
mod process;
mod transfer;

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::arguments::Arguments;
use crate::tree::TreeShape;

/// What the command line asked for.
pub(crate) struct Bench {
    shape: TreeShape,
    rounds: usize,
    changes: usize,
    burst: usize,
    events: usize,
    strace: bool,
    /// The daemon is livemirror's own.
    own_daemon: bool,
    livemirror: PathBuf,
    place: Place,
}

/// A directory of its own for the run, removed with it.
struct Place(PathBuf);

impl Drop for Place {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// The command.
pub(crate) fn run(args: &mut Arguments) -> Result<(), String> {
    let mut parts = Vec::new();
    while let Some(part) = args.operand() {
        match part.as_str() {
            "transfer" | "live" => parts.push(part),
            other => return Err(format!("unknown part {other}: transfer or live")),
        }
    }
    let own_daemon = match args.text("daemon").as_deref() {
        None | Some("rsync") => false,
        Some("livemirror") => true,
        Some(other) => return Err(format!("--daemon: {other} is neither rsync nor livemirror")),
    };
    let given = args.text("livemirror").map(PathBuf::from);
    let below = args.text("dir").map_or_else(std::env::temp_dir, PathBuf::from);
    let place = below.join(format!("livemirror-bench-{}", std::process::id()));
    let mut bench = Bench {
        shape: TreeShape::from_arguments(args, 100_000, 1000)?,
        rounds: args.number("rounds", 3)?,
        changes: args.number("changes", 200)?,
        burst: args.number("burst", 10_000)?,
        events: args.number("events", 16_000)?,
        strace: !args.switch("no-strace"),
        own_daemon,
        livemirror: PathBuf::new(),
        place: Place(place),
    };
    args.finish()?;
    bench.livemirror = match given {
        Some(path) => path,
        None => release_build()?,
    };
    make_dir(&bench.place.0)?;
    if parts.is_empty() || parts.iter().any(|part| part == "transfer") {
        transfer::run(&bench)?;
    }
    if parts.is_empty() || parts.iter().any(|part| part == "live") {
        live::run(&bench)?;
    }
    Ok(())
}

/// Builds the program as users have it, and says where it is.
fn release_build() -> Result<PathBuf, String> {
    let cargo = std::env::var_os("CARGO").unwrap_or("cargo".into());
    let built = Command::new(cargo)
        .args(["build", "--release", "--quiet", "--package", "livemirror"])
        .status()
        .map_err(|error| format!("cargo build: {error}"))?;
    if !built.success() {
        return Err("cargo build failed".into());
    }
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or(root.join("target"), PathBuf::from);
    Ok(target.join("release/livemirror"))
}

fn make_dir(dir: &Path) -> Result<(), String> {
    std::fs::create_dir_all(dir).map_err(|error| format!("{}: {error}", dir.display()))
}

/// Removes a directory with all that is in it, and makes it again.
fn empty_dir(dir: &Path) -> Result<(), String> {
    match std::fs::remove_dir_all(dir) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(format!("{}: {error}", dir.display()))
        }
        _ => make_dir(dir),
    }
}

/// The middle one, or halfway between the middle two; 0 of none.
fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    let at = |index: usize| values.get(index).copied().unwrap_or(0.0);
    f64::midpoint(at(values.len().saturating_sub(1) / 2), at(values.len() / 2))
}
