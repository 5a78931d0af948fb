//! The partial file of an interrupted transfer: finding it, keeping one, forgetting it.

use std::fs::File;

use tree::cache::DirCache;
use tree::dir::Dir;
use tree::path::{Name, RelPath, RelPathBuf};

use crate::options::Partial;
use crate::receiving::Receiving;

/// The directory where the partial file of `path` lies or would lie, if one is configured.
/// `make` creates a missing relative one, mode 0700.
fn directory(recv: &Receiving, cache: &mut DirCache, path: &RelPath, make: bool) -> Option<Dir> {
    let Partial::Dir(name) = &recv.opts.partial else { return None };
    if name.starts_with(b"/") {
        return absolute(recv, name, make);
    }
    let beside = relative_path(path, name)?;
    if recv.is_out_of_reach(&[beside.as_bytes(), b"/", path.name()?.as_bytes()].concat()) {
        return None;
    }
    match cache.dir(&beside) {
        Ok(dir) => return Some(dir.clone()),
        Err(_) if make => {}
        Err(_) => return None,
    }
    let base = beside.name()?;
    let above = cache.parent(&beside).ok()?;
    if above.lstat(base).ok()?.is_some_and(|found| !found.is_dir()) {
        above.unlink(base).ok()?;
    }
    above.mkdir(base, 0o700).ok()?;
    cache.dir(&beside).ok().cloned()
}

fn absolute(recv: &Receiving, name: &[u8], make: bool) -> Option<Dir> {
    if let Some(dir) = recv.side.partial.get() {
        return Some(dir.clone());
    }
    let found = match make {
        true => recv.start.side_dir_made(&recv.root, name, 0o700),
        false => recv.start.open_side(&recv.root, name),
    };
    // Without one there is no partial file, which is no error.
    tree::operator::take_refusal();
    let dir = found.ok()?.top().clone();
    Some(recv.side.partial.get_or_init(|| dir).clone())
}

/// Where it lies beside the file; nowhere for a name that leads up.
fn relative_path(path: &RelPath, name: &[u8]) -> Option<RelPathBuf> {
    let parent = path.parent();
    let mut joined = Vec::new();
    if parent.name().is_some() {
        joined.extend_from_slice(parent.as_bytes());
        joined.push(b'/');
    }
    let parts = name.split(|&b| b == b'/').filter(|part| !matches!(*part, b"" | b"."));
    joined.extend_from_slice(&parts.collect::<Vec<_>>().join(&b'/'));
    RelPathBuf::new(&joined).ok()
}

/// Opens the partial file of `path`, if there is a regular one.
pub fn open(recv: &Receiving, cache: &mut DirCache, path: &RelPath) -> Option<File> {
    let dir = directory(recv, cache, path, false)?;
    dir.open_read(path.name()?).and_then(|file| recv.opts.opened(file)).ok()
}

/// The directory to keep a partial file in: the partial directory, or the file's own.
pub fn keeping_place(recv: &Receiving, cache: &mut DirCache, path: &RelPath) -> Option<Dir> {
    match &recv.opts.partial {
        Partial::Discard => None,
        Partial::Keep => cache.parent(path).ok().cloned(),
        Partial::Dir(_) => directory(recv, cache, path, true),
    }
}

/// The partial directory of `path`, if it is there.
pub fn existing(recv: &Receiving, cache: &mut DirCache, path: &RelPath) -> Option<Dir> {
    directory(recv, cache, path, false)
}

/// The partial file of `path` as messages show it.
pub fn shown(recv: &Receiving, path: &RelPath) -> Vec<u8> {
    let base = path.name().map(Name::as_bytes).unwrap_or_default();
    let dir = match &recv.opts.partial {
        Partial::Dir(name) if name.starts_with(b"/") => name.clone(),
        Partial::Dir(name) => {
            relative_path(path, name).map(|beside| beside.as_bytes().to_vec()).unwrap_or_default()
        }
        Partial::Keep | Partial::Discard => Vec::new(),
    };
    [dir.as_slice(), b"/", base].concat()
}

/// Removes the partial file of `path` and, if that leaves a relative partial directory empty, the
/// directory too.
pub fn forget(recv: &Receiving, cache: &mut DirCache, path: &RelPath) {
    let Partial::Dir(name) = &recv.opts.partial else { return };
    // What has the name in a directory that all share may be another's, waiting for its place.
    if recv.opts.delay_updates && name.starts_with(b"/") {
        return;
    }
    let Some(dir) = directory(recv, cache, path, false) else { return };
    let Some(base) = path.name() else { return };
    if dir.unlink(base).is_ok() {
        forget_directory(recv, cache, path);
    }
}

/// Removes the relative partial directory of `path` unless something is in it.
pub fn forget_directory(recv: &Receiving, cache: &mut DirCache, path: &RelPath) {
    let Partial::Dir(name) = &recv.opts.partial else { return };
    if !name.starts_with(b"/")
        && let Some(beside) = relative_path(path, name)
        && !recv.is_out_of_reach(beside.as_bytes())
        && let Some(dir_name) = beside.name().map(Name::to_owned)
        && let Ok(parent) = cache.parent(&beside)
    {
        // Fails as long as another partial file is in it.
        if parent.rmdir(&dir_name).is_ok() {
            cache.forget(&beside);
        }
    }
}
