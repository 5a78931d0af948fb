//! The digests of listed files (`--checksum`), several files at a time.
//!
//! Called by `scan` when a directory is listed. Files are opened where the listing runs, in its
//! order; threads that end with the directory read them.

use std::fs::File;
use std::thread::Builder;

use crossbeam_channel::{bounded, unbounded};
use wire::flist::entry::Entry;

use crate::scan::Scanner;

/// Bytes of content in a directory from which on threads are worth their start.
const WORTH: u64 = 1 << 20;
/// Threads at most: a disk gains little from more.
const THREADS_MAX: usize = 8;

impl Scanner {
    /// Sets the digests of regular files. One that cannot be read keeps none, and is listed with
    /// zeros.
    pub(crate) fn digest_listed(&mut self, entries: &mut [Entry]) {
        let files: Vec<usize> =
            (0..entries.len()).filter(|at| entries.get(*at).is_some_and(Entry::is_reg)).collect();
        let sizes = files.iter().filter_map(|at| entries.get(*at)).map(|entry| entry.len);
        let bytes = sizes.fold(0, u64::saturating_add);
        if files.len() > 1 && bytes >= WORTH && self.digest_together(entries, &files) {
            return;
        }
        for at in files {
            if let Some(entry) = entries.get_mut(at) {
                entry.digest = self.digest(entry.root, &entry.name);
            }
        }
    }

    /// The same by threads; false when there are none.
    fn digest_together(&mut self, entries: &mut [Entry], files: &[usize]) -> bool {
        let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        let threads = cores.min(THREADS_MAX).min(files.len());
        let kind = self.list_sum;
        let (opened, to_read) = bounded::<(usize, File)>(threads);
        let (tell, told) = unbounded();
        let started = std::thread::scope(|scope| {
            let reads = || {
                let (to_read, tell) = (to_read.clone(), tell.clone());
                move || {
                    let mut buffer = Vec::new();
                    while let Ok((at, file)) = to_read.recv() {
                        let digest = crate::hash::hash_file(&file, kind, &mut buffer).ok();
                        let _ = tell.send((at, digest));
                    }
                }
            };
            let started = (0..threads)
                .filter(|_| {
                    Builder::new().name("digest".into()).spawn_scoped(scope, reads()).is_ok()
                })
                .count();
            drop(to_read);
            for at in files.iter().filter(|_| started > 0) {
                let Some(entry) = entries.get(*at) else { continue };
                if let Ok((file, _)) = self.open_content(entry.root, &entry.name) {
                    let _ = opened.send((*at, file));
                }
            }
            drop(opened);
            started
        });
        for (at, digest) in told.try_iter() {
            if let Some(entry) = entries.get_mut(at) {
                entry.digest = digest;
            }
        }
        started > 0
    }
}
