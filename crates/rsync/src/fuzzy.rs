//! `--fuzzy`: a file of another name to take blocks from, where there is none of the same.
//!
//! Part of the generator. Looked at are the files beside the one that is missing and, with the
//! option twice, those in the same place of each basis directory. A directory is read when the
//! first file is missing in it.

use std::fs::File;
use std::io;

use tree::dir::Dir;
use tree::path::{NameBuf, RelPath, RelPathBuf};
use wire::exchange::request::BASIS_FUZZY;
use wire::flist::list::EntryView;

use crate::generator::Generator;
use crate::options::Options;
use crate::quick_check::same_time;
use crate::similar_name::{DISTANCE_MAX, distance};

/// A file that may be like one that is missing.
struct Candidate {
    name: NameBuf,
    len: u64,
    mtime: (i64, u32),
}

/// What one directory holds, and the number that says which it is.
struct Shelf {
    kind: u8,
    dir: Dir,
    files: Vec<Candidate>,
}

/// The files beside the one that was missing last.
#[derive(Default)]
pub struct Shelves {
    of: Option<RelPathBuf>,
    all: Vec<Shelf>,
}

/// A file found.
pub struct Similar {
    /// Which directory it lies in, as a basis type.
    pub kind: u8,
    /// Its name there.
    pub name: NameBuf,
    dir: Dir,
}

impl Similar {
    /// Opens it.
    pub fn open(&self, opts: &Options) -> io::Result<File> {
        opts.opened(self.dir.open_read(&self.name)?)
    }
}

impl Generator {
    /// A file like one that is missing.
    pub fn similar(&mut self, path: &RelPath, entry: &EntryView<'_>) -> Option<Similar> {
        if self.recv.opts.fuzzy == 0 || self.recv.dest_missing {
            return None;
        }
        let name = path.name()?;
        self.read_shelves(path);
        let window = self.recv.opts.modify_window;
        let time = (entry.mtime(), entry.mtime_nsec());
        let shelves = &self.shelves.all;
        let all = || shelves.iter().flat_map(|shelf| shelf.files.iter().map(move |f| (shelf, f)));
        let same = all().find(|(_, f)| f.len == entry.len() && same_time(window, f.mtime, time));
        let mut most = DISTANCE_MAX;
        let mut found = same;
        for (shelf, file) in all().filter(|_| same.is_none()) {
            // Of those equally near the last one counts.
            if let Some(near) = distance(name.as_bytes(), file.name.as_bytes(), most) {
                most = near;
                found = Some((shelf, file));
            }
        }
        let (shelf, file) = found?;
        Some(Similar { kind: shelf.kind, name: file.name.clone(), dir: shelf.dir.clone() })
    }

    /// A file whose content is on its way is no basis for others of its directory any more.
    pub fn not_similar(&mut self, path: &RelPath) {
        if self.shelves.of.as_deref() == Some(path.parent())
            && let Some(shelf) = self.shelves.all.first_mut().filter(|s| s.kind == BASIS_FUZZY)
        {
            shelf.files.retain(|file| Some(&*file.name) != path.name());
        }
    }

    fn read_shelves(&mut self, path: &RelPath) {
        let parent = path.parent();
        if self.shelves.of.as_deref() == Some(parent) {
            return;
        }
        let dirs = if self.recv.opts.fuzzy > 1 { self.basis.len() } else { 0 };
        let beside = self.cache.dir(parent).ok().cloned();
        let others = (0..dirs).map(|number| self.basis.parent(number, path));
        let dirs: Vec<Option<Dir>> = std::iter::once(beside).chain(others).collect();
        let mut all = Vec::new();
        for (kind, dir) in (BASIS_FUZZY..=u8::MAX).zip(dirs) {
            if let Some(dir) = dir {
                let files = self.candidates(&dir, parent);
                all.push(Shelf { kind, dir, files });
            }
        }
        self.shelves = Shelves { of: Some(parent.to_owned()), all };
    }

    /// The files of a directory that hold something, in the order of a list.
    fn candidates(&self, dir: &Dir, parent: &RelPath) -> Vec<Candidate> {
        let mut files = Vec::new();
        for item in dir.read_entries().unwrap_or_default() {
            let Ok(Some(meta)) = dir.lstat(&item.name) else { continue };
            let below = parent.join(&item.name);
            let hidden = self.recv.hidden_by_daemon(below.as_bytes(), false);
            if meta.is_file() && meta.size > 0 && !hidden {
                let mtime = (meta.mtime, meta.mtime_nsec);
                files.push(Candidate { name: item.name, len: meta.size, mtime });
            }
        }
        files.sort_unstable_by(|a, b| a.name.as_bytes().cmp(b.name.as_bytes()));
        files
    }
}
