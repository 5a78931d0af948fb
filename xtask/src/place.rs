//! Where a task works and which program it works with. Called by the benches and by the churn.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::arguments::Arguments;

/// A directory of its own for a run, removed with this value unless it is kept.
pub(crate) struct Place {
    /// The directory.
    pub(crate) dir: PathBuf,
    /// It stays, for somebody to look at.
    pub(crate) kept: bool,
}

impl Place {
    /// Makes it, in `--dir` or among the temporary files, with `task` in its name.
    pub(crate) fn from_arguments(args: &mut Arguments, task: &str) -> Result<Place, String> {
        let below = args.text("dir").map_or_else(std::env::temp_dir, PathBuf::from);
        let place = below.join(format!("livemirror-{task}-{}", std::process::id()));
        make_dir(&place)?;
        Ok(Place { dir: place, kept: false })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if !self.kept {
            let _ = std::fs::remove_dir_all(&self.dir);
        }
    }
}

/// The program of `--livemirror`, or else as users have it, built now.
pub(crate) fn livemirror(given: Option<PathBuf>) -> Result<PathBuf, String> {
    if let Some(path) = given {
        return Ok(path);
    }
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

/// Makes a directory, if it is not there.
pub(crate) fn make_dir(dir: &Path) -> Result<(), String> {
    std::fs::create_dir_all(dir).map_err(|error| format!("{}: {error}", dir.display()))
}

/// Removes a directory with all that is in it, and makes it again.
pub(crate) fn empty_dir(dir: &Path) -> Result<(), String> {
    match std::fs::remove_dir_all(dir) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(format!("{}: {error}", dir.display()))
        }
        _ => make_dir(dir),
    }
}
