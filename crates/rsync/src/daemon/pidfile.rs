//! `pid file`: the listener's process id, locked as long as it lives.
//!
//! Called by `listen`. In steps: a link or anything else but a file at the name is removed; the
//! file is opened or made, without following; the whole of it is locked; it must still be the one
//! at that name; then it is emptied and written. Another daemon's lock is a refusal. Locks do not
//! pass to a child, so a program that detaches tries before (`probe`) and takes after.

use std::fs::File;
use std::io::{self, Write};
use std::os::unix::fs::MetadataExt;

use tree::lock::try_lock_range;
use tree::operator::{self, Access};

use super::log::cause;

/// A process id file that is ours.
pub struct PidFile {
    path: Vec<u8>,
    _file: File,
}

/// Tries whether [`take`] would succeed, and leaves things as they are but for an empty file.
pub fn probe(path: &[u8]) -> Result<(), String> {
    open_locked(path).map(drop)
}

/// Writes the id of this process.
pub fn take(path: &[u8]) -> Result<PidFile, String> {
    let mut file = open_locked(path)?;
    file.set_len(0).map_err(|error| failed("truncate", path, &error))?;
    let text = format!("{}\n", std::process::id());
    file.write_all(text.as_bytes()).map_err(|error| failed("write", path, &error))?;
    Ok(PidFile { path: path.to_vec(), _file: file })
}

impl PidFile {
    /// Removes the file; a daemon that ends in order leaves none behind.
    pub fn remove(self) {
        let _ = operator::remove_file(&self.path);
    }
}

fn open_locked(path: &[u8]) -> Result<File, String> {
    match operator::remove_unless_regular(path) {
        // A missing folder is told by the attempt to make the file.
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            return Err(failed("unlink", path, &error));
        }
        _ => {}
    }
    let file = operator::open(path, Access::ReadWrite { mode: 0o664 })
        .map_err(|error| failed("open", path, &error))?;
    match try_lock_range(&file, 0, 0) {
        Ok(true) => {}
        Ok(false) => {
            let other = read_id(path).map_or(String::new(), |id| format!(" (process {id})"));
            let path = String::from_utf8_lossy(path);
            return Err(format!("failed to lock pid file {path}: a daemon{other} is running"));
        }
        Err(error) => return Err(failed("lock", path, &error)),
    }
    // The name is only looked at: opening and closing the file once more would drop the lock.
    let ours = file.metadata().map_err(|error| failed("fstat opened", path, &error))?;
    let named = identity(path).map_err(|error| failed("lstat", path, &error))?;
    let device = (rustix::fs::major(ours.dev()), rustix::fs::minor(ours.dev()));
    if (u64::from(device.0) << 32 | u64::from(device.1), ours.ino()) != named {
        let path = String::from_utf8_lossy(path);
        return Err(format!("failed to avoid file overwrite race for pid file {path}"));
    }
    Ok(file)
}

/// Device (major number in the upper half) and inode of what has the name now.
fn identity(path: &[u8]) -> io::Result<(u64, u64)> {
    let (dir, name) = operator::parent(path)?;
    let meta = dir.lstat(&name)?.ok_or(io::ErrorKind::NotFound)?;
    Ok((meta.dev, meta.ino))
}

fn read_id(path: &[u8]) -> Option<u32> {
    let text = super::files::read(path, 32).ok()?;
    std::str::from_utf8(&text).ok()?.trim().parse().ok()
}

fn failed(what: &str, path: &[u8], error: &io::Error) -> String {
    format!("failed to {what} pid file {}: {}", String::from_utf8_lossy(path), cause(error))
}
