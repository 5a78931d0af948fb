//! The directories of `--compare-dest`, `--copy-dest` and `--link-dest`: opening them, and finding
//! in one of them what has the path of an entry.
//!
//! They are opened once, when the destination is known; generator and receiver each walk in them
//! with a [`BasisWalk`] of their own. A directory that is not there costs a warning, one behind a
//! symlink that is not followed nothing: it is as if it were empty.

use std::fs::File;
use std::io;

use tree::dir::Dir;
use tree::meta::Meta;
use tree::path::{RelPath, RelPathBuf};
use tree::root::Root;
use wire::exit::ExitCode;

use crate::daemon::rules::hides;
use crate::dest::DestStart;
use crate::fatal::Fatal;
use crate::receiving::Receiving;

/// Opens the directories, `None` for each that cannot be used. `dest` is the destination argument.
pub fn open_all(recv: &Receiving, dest: &[u8]) -> Result<Vec<Option<Root>>, Fatal> {
    recv.opts.basis_dirs.iter().map(|dir| open_one(recv, dest, dir)).collect()
}

fn open_one(recv: &Receiving, dest: &[u8], dir: &[u8]) -> Result<Option<Root>, Fatal> {
    let dir = if dir.len() > 1 { dir.strip_suffix(b"/").unwrap_or(dir) } else { dir };
    let absolute = dir.starts_with(b"/");
    let mut shown = match absolute {
        true => dir.to_vec(),
        false => [recv.shown.as_slice(), b"/", dir].concat(),
    };
    if let Some(filters) = &recv.daemon_filters
        && hides(filters, &crate::scan::clean(crate::scan::trim_root(&shown)), true)
    {
        let text = "Your options have been rejected by the server.";
        return Err(Fatal::bare(ExitCode::Syntax, text));
    }
    let opened = match dir.strip_prefix(b"../") {
        // The destination that a dry run leaves unmade is seen from the directory it would lie in.
        Some(rest) if recv.dest_missing => {
            let cut = recv.shown.iter().rposition(|&b| b == b'/').unwrap_or(0);
            shown = [recv.shown.get(..cut).unwrap_or_default(), b"/", rest].concat();
            let above = recv.start.above(dest, recv.rename.is_some());
            above.and_then(|above| recv.start.open_basis(&above, rest))
        }
        None if recv.dest_missing && !absolute => Err(io::Error::from_raw_os_error(libc::ENOENT)),
        _ => recv.start.open_basis(&recv.root, dir),
    };
    tree::operator::take_refusal();
    let what = match opened {
        Ok(root) => return Ok(Some(root)),
        Err(error) if error.raw_os_error() == Some(libc::ELOOP) => return Ok(None),
        Err(error) if error.raw_os_error() == Some(libc::ENOTDIR) => "is not a dir",
        Err(_) => "does not exist",
    };
    let line = format!("{} arg {what}: ", recv.opts.basis_kind.option()).into_bytes();
    recv.reporter.warning(&[line, shown].concat());
    Ok(None)
}

/// A way through the basis directories that remembers where it was last, since entries come
/// directory by directory.
pub struct BasisWalk {
    start: DestStart,
    dirs: Vec<BasisDir>,
}

struct BasisDir {
    root: Option<Root>,
    last: Option<(RelPathBuf, Option<Dir>)>,
}

impl BasisWalk {
    /// A walk through the directories that a run has opened.
    pub fn new(recv: &Receiving) -> BasisWalk {
        let roots = recv.side.basis.iter().cloned();
        let dirs = roots.map(|root| BasisDir { root, last: None }).collect();
        BasisWalk { start: recv.start.clone(), dirs }
    }

    /// How many there are, those that cannot be used included.
    pub fn len(&self) -> usize {
        self.dirs.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.dirs.is_empty()
    }

    /// The directory that holds `path` in basis directory `number`.
    pub fn parent(&mut self, number: usize, path: &RelPath) -> Option<Dir> {
        let basis = self.dirs.get_mut(number)?;
        let root = basis.root.as_ref()?;
        let parent = path.parent();
        match &basis.last {
            Some((known, dir)) if **known == *parent => dir.clone(),
            _ => {
                let dir = resolve(&self.start, root, parent).ok();
                tree::operator::take_refusal();
                basis.last = Some((parent.to_owned(), dir.clone()));
                dir
            }
        }
    }

    /// What has the path there, and the directory that holds it.
    pub fn look(&mut self, number: usize, path: &RelPath) -> Option<(Dir, Meta)> {
        let dir = self.parent(number, path)?;
        let meta = match path.name() {
            Some(name) => dir.lstat(name).ok()??,
            None => dir.stat_self().ok()?,
        };
        Some((dir, meta))
    }

    /// Opens the regular file that has the path there.
    pub fn open(&mut self, number: usize, path: &RelPath) -> Option<File> {
        self.parent(number, path)?.open_read(path.name()?).ok()
    }
}

/// Directories are reached by their own path, or behind symlinks of trusted owners; on a daemon
/// these stay in the module.
fn resolve(start: &DestStart, root: &Root, path: &RelPath) -> io::Result<Dir> {
    match root.dir_itself(path) {
        Err(error) if matches!(error.raw_os_error(), Some(libc::ELOOP | libc::ENOTDIR)) => {
            let found = match start {
                DestStart::Operator { bound, .. } => bound.dir(root, path.as_bytes()),
                DestStart::Module { root: module, .. } => module.dir_within(root, path.as_bytes()),
            };
            found.map(|root| root.top().clone())
        }
        done => done,
    }
}
