//! `--delay-updates`: finished files wait in the partial directories until all have come, and then
//! take their places one after the other.
//!
//! Part of the receiver. A run that ends before leaves them there, where the next one finds them.

use std::collections::HashSet;
use std::io;

use tree::cache::DirCache;
use tree::dir::Dir;
use tree::path::RelPath;

use crate::fatal::{Fatal, errno_text};
use crate::lists::Place;
use crate::options::Partial;
use crate::problem::ProblemKind;
use crate::receiving::{Note, Receiving};

/// The files that wait.
#[derive(Default)]
pub struct Delayed {
    /// In the order in which they came.
    indices: Vec<i32>,
    /// Names taken in a partial directory that all directories share.
    taken: HashSet<Vec<u8>>,
}

impl Delayed {
    /// Where the file that will have this path waits; `None` when it takes its place at once:
    /// without the option, where there is no such directory, and where another of the same name
    /// waits already.
    pub fn place(&mut self, recv: &Receiving, cache: &mut DirCache, path: &RelPath) -> Option<Dir> {
        let Partial::Dir(dir) = &recv.opts.partial else { return None };
        if !recv.opts.delay_updates {
            return None;
        }
        if dir.starts_with(b"/") && self.taken.contains(path.name()?.as_bytes()) {
            return None;
        }
        crate::partial::keeping_place(recv, cache, path)
    }

    /// A file waits there now.
    pub fn add(&mut self, index: i32, path: &RelPath) {
        self.indices.push(index);
        if let Some(name) = path.name() {
            self.taken.insert(name.as_bytes().to_vec());
        }
    }

    /// Gives all files that wait their places, and tells the generator of each.
    pub fn finish(&mut self, recv: &Receiving, cache: &mut DirCache) -> Result<(), Fatal> {
        for index in std::mem::take(&mut self.indices) {
            let found = match recv.lists.lock() {
                Ok(lists) => lists.find(index)?,
                Err(_) => return Ok(()),
            };
            let (segment, Place::Entry(pos)) = found else { continue };
            let name = segment.list.get(pos).name();
            let ok = put_in_place(recv, cache, &name)?;
            recv.note(Note::Done { ndx: index, ok });
        }
        Ok(())
    }
}

/// Backs up what is there and replaces it; false when that failed, which has been told.
fn put_in_place(recv: &Receiving, cache: &mut DirCache, name: &[u8]) -> Result<bool, Fatal> {
    let Some(path) = recv.dest_path(name) else { return Ok(false) };
    let Some(base) = path.name() else { return Ok(false) };
    let moved = match cache.parent(&path).cloned() {
        Ok(dir) => {
            let old = dir.lstat(base).ok().flatten();
            if !crate::backup::make_way(recv, &dir, old.as_ref(), &path, name)? {
                return Ok(false);
            }
            match crate::partial::existing(recv, cache, &path) {
                Some(from) => tree::stage::move_over(&from, base, &dir, base),
                None => Err(io::Error::from_raw_os_error(libc::ENOENT)),
            }
        }
        Err(error) => Err(error),
    };
    if let Err(error) = moved {
        let mut line = b"rsync: [receiver] rename failed for ".to_vec();
        line.extend_from_slice(&recv.reporter.quoted(&recv.shown_path(name)));
        line.extend_from_slice(b" (from ");
        line.extend_from_slice(&crate::partial::shown(recv, &path));
        line.extend_from_slice(b"): ");
        line.extend_from_slice(errno_text(&error).as_bytes());
        let text = String::from_utf8_lossy(&line).into_owned();
        recv.reporter.problem(name, ProblemKind::Failed, text);
        recv.reporter.error_line(&line);
        return Ok(false);
    }
    crate::partial::forget_directory(recv, cache, &path);
    Ok(true)
}
