//! The operator's files that a daemon opens: configuration, message of the day, log, lock and
//! secrets.
//!
//! Called by the other files of this folder, so that each kind of file is opened in one way: by
//! the walk that trusts only links of root and of the process's own user. Nothing here is reached
//! by a client's choice of a name.

use std::fs::File;
use std::io::{self, Read};
use std::os::unix::ffi::{OsStrExt, OsStringExt};

use tree::meta::Meta;
use tree::operator::{self, Access};
use tree::xattr::XattrHolder;

use super::config::Loaded;

/// Bytes of a message of the day that are sent.
pub const MOTD_BYTES_MAX: usize = 64 * 1024;

/// Bytes of a configuration or secrets file; more is not one.
const OPERATOR_FILE_BYTES_MAX: usize = 16 * 1024 * 1024;

/// A variable of the process's own environment.
pub fn system_variable(name: &[u8]) -> Option<Vec<u8>> {
    std::env::var_os(std::ffi::OsStr::from_bytes(name)).map(OsStringExt::into_vec)
}

/// The first `max` bytes of a file.
pub fn read(path: &[u8], max: usize) -> io::Result<Vec<u8>> {
    let file = operator::open_trusted(path)?;
    let mut content = Vec::new();
    file.take(u64::try_from(max).unwrap_or(u64::MAX)).read_to_end(&mut content)?;
    Ok(content)
}

/// All of a file, unless it is longer than a configuration can be.
fn read_whole(path: &[u8]) -> io::Result<Vec<u8>> {
    let content = read(path, OPERATOR_FILE_BYTES_MAX + 1)?;
    match content.len() <= OPERATOR_FILE_BYTES_MAX {
        true => Ok(content),
        false => Err(io::Error::from_raw_os_error(libc::EFBIG)),
    }
}

/// A configuration file, or those files of a directory whose names have the suffix, in order.
pub fn load_config(path: &[u8], suffix: &str) -> io::Result<Vec<Loaded>> {
    let names = match operator::list_dir(path) {
        Ok(names) if !suffix.is_empty() => names,
        Ok(_) => return Err(io::Error::from_raw_os_error(libc::EISDIR)),
        Err(error) if error.raw_os_error() == Some(libc::ENOTDIR) => {
            return Ok(vec![(path.to_vec(), read_whole(path)?)]);
        }
        Err(error) => return Err(error),
    };
    let mut names: Vec<Vec<u8>> =
        names.into_iter().filter(|name| name.ends_with(suffix.as_bytes())).collect();
    names.sort();
    let paths = names.into_iter().map(|name| [path, b"/", name.as_slice()].concat());
    paths.map(|path| Ok((path.clone(), read_whole(&path)?))).collect()
}

/// Opens a log for appending, making it if need be.
pub fn open_log(path: &[u8]) -> io::Result<File> {
    operator::open_append(path)
}

/// Opens a file for locks, making it readable by its owner alone if need be.
pub fn open_lock(path: &[u8]) -> io::Result<File> {
    operator::open(path, Access::ReadWrite { mode: 0o600 })
}

/// A secrets file with the facts that `strict modes` judges, all of the same open file.
pub struct SecretsFile {
    /// All of it.
    pub content: Vec<u8>,
    /// Its mode.
    pub mode: u32,
    /// Its owner.
    pub owner: u32,
}

/// Reads a secrets file.
pub fn read_secrets(path: &[u8]) -> io::Result<SecretsFile> {
    let file = operator::open_trusted(path)?;
    let facts = operator::facts(&file)?;
    let mut content = Vec::new();
    let limit = u64::try_from(OPERATOR_FILE_BYTES_MAX).unwrap_or(u64::MAX);
    file.take(limit).read_to_end(&mut content)?;
    Ok(SecretsFile { content, mode: facts.mode, owner: facts.uid })
}

/// The type that SELinux gives a directory; `None` where it is not in force, or lets rsync do all.
pub fn selinux_type(path: &[u8]) -> Option<Vec<u8>> {
    let is_one = |file: &[u8]| read(file, 1).is_ok_and(|content| content == b"1");
    if !is_one(b"/sys/fs/selinux/enforce") || is_one(b"/sys/fs/selinux/booleans/rsync_full_access")
    {
        return None;
    }
    let root = tree::root::Root::open(path).ok()?;
    let label = XattrHolder::Itself(root.top()).get(b"security.selinux").ok()??;
    type_of(&label)
}

/// The third part of a label, which may end in a zero byte.
fn type_of(label: &[u8]) -> Option<Vec<u8>> {
    let label = label.strip_suffix(b"\0").unwrap_or(label);
    label.split(|b| *b == b':').nth(2).map(<[u8]>::to_vec)
}

/// What a directory is that can be opened.
pub fn look_at_directory(path: &[u8]) -> io::Result<Meta> {
    tree::root::Root::open(path)?.top().stat_self()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types_of_labels() {
        // A failure would tell of a type that the policy does not know.
        assert_eq!(type_of(b"system_u:object_r:rsync_data_t:s0\0").unwrap(), b"rsync_data_t");
        assert_eq!(type_of(b"u:object_r:tmp_t").unwrap(), b"tmp_t");
        assert_eq!(type_of(b"unlabeled"), None);
    }
}
