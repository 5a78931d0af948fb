//! A destination being written: under a temporary name, or in place.

use std::fs::File;
use std::io::{self, Seek, SeekFrom, Write};
use std::os::unix::fs::MetadataExt;

use rustix::fs::{Mode, fchmod, fchown, futimens};

use crate::dir::{Dir, ids, timestamps};
use crate::path::{Name, NameBuf};

/// Longest temporary name, in bytes.
const TEMP_NAME_MAX: usize = 254;
/// Random characters of a temporary name.
const RANDOM_LEN: usize = 6;
/// Tries at a free temporary name.
const TRIES: u32 = 100;

/// A temporary name beside `base`: `.NAME.XXXXXX`, cut to fit.
pub fn temp_name(base: &Name) -> io::Result<NameBuf> {
    let stem = base.as_bytes().strip_prefix(b".").unwrap_or(base.as_bytes());
    named(b".", stem)
}

fn named(prefix: &[u8], stem: &[u8]) -> io::Result<NameBuf> {
    let room = TEMP_NAME_MAX - prefix.len() - 1 - RANDOM_LEN;
    let mut stem = stem;
    if stem.len() > room {
        stem = &stem[..room];
        // Never cut inside a character of several bytes.
        let whole = stem.iter().rposition(|b| b & 0x80 == 0).map_or(0, |at| at + 1);
        if whole > 0 {
            stem = &stem[..whole];
        }
    }
    let stem = stem.strip_suffix(b".").unwrap_or(stem);
    let mut random = [0; RANDOM_LEN];
    getrandom::fill(&mut random).map_err(io::Error::other)?;
    let letters = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";
    let random: Vec<u8> = random.iter().map(|b| letters[usize::from(*b) % letters.len()]).collect();
    NameBuf::new(&[prefix, stem, b".", &random].concat()).map_err(io::Error::other)
}

/// Where the content stands until it is complete.
enum Place {
    Temp { dir: Dir, name: NameBuf },
    InPlace,
    Gone,
}

/// A file being written. Dropping one that was not committed removes a temporary file.
pub struct Stage {
    file: File,
    place: Place,
    position: u64,
    written: u64,
    /// What a new file has without being told: owner, group, mode.
    fresh: Option<(u32, u32, u32)>,
}

impl Stage {
    /// A temporary file for `base`: beside it, or in `side` when that is given. `mode` holds no
    /// group or other bits.
    pub fn temp(dir: Dir, base: &Name, side: Option<Dir>, mode: u32) -> io::Result<Stage> {
        let beside = side.is_none();
        let dir = side.unwrap_or(dir);
        for _ in 0..TRIES {
            let name = if beside { temp_name(base)? } else { named(b"", base.as_bytes())? };
            match dir.create_new(&name, mode) {
                Ok(file) => {
                    let place = Place::Temp { dir, name };
                    return Ok(Stage { file, place, position: 0, written: 0, fresh: None });
                }
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                Err(error) => return Err(error),
            }
        }
        Err(io::Error::from_raw_os_error(libc::EEXIST))
    }

    /// The file itself, open for writing; with `create` a missing one is made.
    pub fn in_place(dir: Dir, base: &Name, create: bool) -> io::Result<Stage> {
        let file = match dir.open_write(base, create) {
            Err(error) if error.raw_os_error() == Some(libc::EACCES) => {
                // Our own file without write permission: lend it for the time of the update.
                let meta = dir.lstat(base)?.ok_or(error)?;
                dir.chmod(base, meta.mode & 0o7777 | 0o200)?;
                let opened = dir.open_write(base, false);
                dir.chmod(base, meta.mode & 0o7777)?;
                opened?
            }
            other => other?,
        };
        Ok(Stage { file, place: Place::InPlace, position: 0, written: 0, fresh: None })
    }

    /// Whether the file itself is written.
    pub fn is_in_place(&self) -> bool {
        matches!(self.place, Place::InPlace)
    }

    /// Where the next byte goes.
    pub fn position(&self) -> u64 {
        self.position
    }

    /// Bytes written or skipped so far.
    pub fn written(&self) -> u64 {
        self.written
    }

    /// Appends bytes.
    pub fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.file.write_all(bytes)?;
        self.position += bytes.len() as u64;
        self.written += bytes.len() as u64;
        Ok(())
    }

    /// Goes over bytes that stand already.
    pub fn skip(&mut self, len: u64) -> io::Result<()> {
        self.position += len;
        self.written += len;
        self.file.seek(SeekFrom::Start(self.position)).map(|_| ())
    }

    /// All content is there: an in-place file loses what is longer.
    pub fn finish_content(&mut self) -> io::Result<()> {
        if self.is_in_place() { self.file.set_len(self.position) } else { Ok(()) }
    }

    /// Sets owner, times and permissions where they differ, in this order. Returns what failed,
    /// each with the words for it.
    pub fn set_attributes(
        &mut self,
        uid: Option<u32>,
        gid: Option<u32>,
        mtime: Option<(i64, u32)>,
        perm: Option<u32>,
    ) -> Vec<(&'static str, io::Error)> {
        let mut failed = Vec::new();
        let (own_uid, own_gid, mut mode) = match self.facts() {
            Ok(facts) => facts,
            Err(error) => return vec![("failed to stat", error)],
        };
        let uid = uid.filter(|uid| *uid != own_uid);
        let gid = gid.filter(|gid| *gid != own_gid);
        if uid.is_some() || gid.is_some() {
            let (uid, gid) = ids(uid, gid);
            match fchown(&self.file, uid, gid) {
                Ok(()) => mode &= !0o6000,
                Err(error) => failed.push(("chown", error.into())),
            }
        }
        if let Some((seconds, nsec)) = mtime
            && let Err(error) = futimens(&self.file, &timestamps(seconds, nsec))
        {
            failed.push(("failed to set times on", error.into()));
        }
        if let Some(perm) = perm.filter(|perm| *perm != mode & 0o7777)
            && let Err(error) = fchmod(&self.file, Mode::from_raw_mode(perm))
        {
            failed.push(("failed to set permissions on", error.into()));
        }
        failed
    }

    fn facts(&mut self) -> io::Result<(u32, u32, u32)> {
        if let Some(facts) = self.fresh {
            return Ok(facts);
        }
        let meta = self.file.metadata()?;
        let facts = (meta.uid(), meta.gid(), meta.mode());
        self.fresh = Some(facts);
        Ok(facts)
    }

    /// Gives the content its final name. Across file systems it is copied first.
    pub fn commit(mut self, into: &Dir, base: &Name) -> io::Result<()> {
        match std::mem::replace(&mut self.place, Place::Gone) {
            Place::Temp { dir, name } => {
                let result = match dir.rename(&name, into, base) {
                    Err(error) if error.raw_os_error() == Some(libc::EXDEV) => {
                        copy_over(&dir, &name, into, base)
                    }
                    other => other,
                };
                if result.is_err() {
                    self.place = Place::Temp { dir, name };
                }
                result
            }
            Place::InPlace | Place::Gone => Ok(()),
        }
    }

    /// Leaves an in-place file as it is.
    pub fn leave(mut self) {
        self.place = Place::Gone;
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        if let Place::Temp { dir, name } = &self.place {
            let _ = dir.unlink(name);
        }
    }
}

/// Copies a finished temporary file to another file system, under a temporary name there, and
/// removes the original.
fn copy_over(from: &Dir, name: &Name, into: &Dir, base: &Name) -> io::Result<()> {
    let temp = temp_name(base)?;
    copy_item(from, name, into, &temp)?;
    if let Err(error) = into.rename(&temp, into, base) {
        let _ = into.unlink(&temp);
        return Err(error);
    }
    from.unlink(name)
}

/// Copies a regular file with its attributes, or remakes a symlink or special file.
pub fn copy_item(from: &Dir, name: &Name, into: &Dir, new: &Name) -> io::Result<()> {
    let meta = from.lstat(name)?.ok_or_else(|| io::Error::from_raw_os_error(libc::ENOENT))?;
    if meta.is_link() {
        into.symlink(&from.read_link(name)?, new)?;
    } else if meta.is_file() {
        let mut source = from.open_read(name)?;
        let mut copy = into.create_new(new, 0o600)?;
        if let Err(error) = io::copy(&mut source, &mut copy) {
            let _ = into.unlink(new);
            return Err(error);
        }
    } else {
        into.mknod(new, meta.mode, meta.rdev)?;
    }
    let _ = into.chown(new, Some(meta.uid), Some(meta.gid));
    if !meta.is_link() {
        into.chmod(new, meta.mode & 0o7777)?;
    }
    into.set_times(new, meta.mtime, meta.mtime_nsec)
}
