//! Files the operator named: opened along trusted symlinks only, with facts about owner and mode.
//!
//! Called for logs, password and secrets files, rule and name lists, lock and process id files:
//! whatever the person who runs this process names and may lie anywhere. What a peer names goes
//! through [`crate::root::Root`] instead. Nothing here keeps a path inside a directory.

use std::fs::File;
use std::io::{self, BufRead, Write};
use std::os::unix::fs::MetadataExt;

use rustix::fs::{Mode, OFlags, openat};
use rustix::io::Errno;

use crate::dir::Dir;
use crate::path::NameBuf;
pub use crate::resolve::{follow_all, take_refusal};
use crate::resolve::{trusted, trusted_from, trusted_within};
use crate::root::Root;

/// Owner and mode of an open file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Facts {
    /// Permission bits.
    pub mode: u32,
    /// Owner.
    pub uid: u32,
}

/// What an opened file is for. The modes are those a missing file is made with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Reading; the file must exist.
    Read,
    /// Writing at the end; made if missing.
    Append {
        /// Permission bits before the umask.
        mode: u32,
    },
    /// Reading and writing; made if missing, not emptied.
    ReadWrite {
        /// Permission bits before the umask.
        mode: u32,
    },
}

/// Opens a file, following only symlinks owned by root or by this process's user. Errors: ELOOP at
/// any other symlink, EISDIR for a directory.
pub fn open(path: &[u8], access: Access) -> io::Result<File> {
    let at = trusted(path, false)?;
    let name = at.name.ok_or(Errno::ISDIR)?;
    let (flags, mode) = match access {
        Access::Read => (OFlags::RDONLY, 0),
        Access::Append { mode } => (OFlags::WRONLY | OFlags::APPEND | OFlags::CREATE, mode),
        Access::ReadWrite { mode } => (OFlags::RDWR | OFlags::CREATE, mode),
    };
    // A handle of a process cannot be opened but by following it.
    let follow = if at.pinned { OFlags::empty() } else { OFlags::NOFOLLOW };
    let flags = flags | follow | OFlags::CLOEXEC | OFlags::NOCTTY;
    let file: File = openat(&at.dir, &name[..], flags, Mode::from_raw_mode(mode & 0o777))?.into();
    if file.metadata()?.is_dir() {
        return Err(Errno::ISDIR.into());
    }
    Ok(file)
}

/// Opens a file for reading; see [`open`].
pub fn open_trusted(path: &[u8]) -> io::Result<File> {
    open(path, Access::Read)
}

/// Opens a log for appending, made if missing; same trust.
pub fn open_append(path: &[u8]) -> io::Result<File> {
    open(path, Access::Append { mode: 0o644 })
}

/// Opens a regular file for reading that an option or a rule names, seen from the directory
/// `start`; same trust. With `within`, somebody else named it, and it must lie in there.
pub fn open_from(start: &Dir, path: &[u8], within: Option<&Dir>) -> io::Result<File> {
    let at = match within {
        Some(root) => trusted_within(root.fd(), start.fd(), path, false)?,
        None => trusted_from(start.fd(), path, false)?,
    };
    let name = at.name.filter(|_| !at.pinned).ok_or(Errno::ISDIR)?;
    let name = NameBuf::new(&name).map_err(|_| Errno::INVAL)?;
    Dir::from_fd(at.dir).open_read(&name)
}

/// Where paths of the operator may come out.
#[derive(Clone)]
pub enum Confinement {
    /// Anywhere.
    None,
    /// In a directory: whoever started this process vouches for no more.
    Within(Root),
    /// Nowhere: the directory that they were to stay in cannot be had.
    Nothing,
}

impl Confinement {
    /// The bound that an absolute path names, `/` being none.
    pub fn new(dir: Option<&[u8]>) -> Confinement {
        match dir {
            Some(dir) if dir.iter().any(|&b| b != b'/') => {
                Root::open(dir).map_or(Confinement::Nothing, Confinement::Within)
            }
            _ => Confinement::None,
        }
    }

    /// Opens a directory, seen from `start` unless the path is absolute, along trusted symlinks.
    pub fn dir(&self, start: &Root, path: &[u8]) -> io::Result<Root> {
        match self {
            Confinement::None if path.starts_with(b"/") => Root::open_trusted(path),
            Confinement::None => start.below_trusted(path),
            Confinement::Within(root) => root.dir_within(start, path),
            Confinement::Nothing => Err(Errno::LOOP.into()),
        }
    }
}

/// The directory of a path's last component, and that component: for making, renaming or removing
/// what the path names. Errors: EISDIR if the path can only mean a directory.
pub fn parent(path: &[u8]) -> io::Result<(Dir, NameBuf)> {
    let at = trusted(path, false)?;
    let name = at.name.filter(|_| !at.pinned).ok_or(Errno::ISDIR)?;
    Ok((Dir::from_fd(at.dir), NameBuf::new(&name).map_err(io::Error::other)?))
}

/// The names in a directory, in its own order.
pub fn list_dir(path: &[u8]) -> io::Result<Vec<Vec<u8>>> {
    let items = Dir::from_fd(trusted(path, true)?.dir).read_entries()?;
    Ok(items.iter().map(|item| item.name.as_bytes().to_vec()).collect())
}

/// Removes a file.
pub fn remove_file(path: &[u8]) -> io::Result<()> {
    let (dir, name) = leaf(path)?;
    dir.unlink(&name)
}

/// Removes what stands at `path` unless it is a regular file or missing; a symlink goes, not what
/// it leads to.
pub fn remove_unless_regular(path: &[u8]) -> io::Result<()> {
    let (dir, name) = leaf(path)?;
    match dir.lstat(&name)? {
        Some(meta) if !meta.is_file() => dir.unlink(&name),
        _ => Ok(()),
    }
}

/// The directory of a path by its text, its last component not looked at.
fn leaf(path: &[u8]) -> io::Result<(Dir, NameBuf)> {
    let split = path.iter().rposition(|&b| b == b'/').map_or(0, |at| at + 1);
    let (above, name) = path.split_at(split);
    let name = NameBuf::new(name).map_err(|_| Errno::INVAL)?;
    let above: &[u8] = if above.is_empty() { b"." } else { above };
    Ok((Dir::from_fd(trusted(above, true)?.dir), name))
}

/// Facts of an open file.
pub fn facts(file: &File) -> io::Result<Facts> {
    let meta = file.metadata()?;
    Ok(Facts { mode: meta.mode() & 0o7777, uid: meta.uid() })
}

/// Asks on the terminal for a line that is not shown.
pub fn ask_secret(prompt: &str) -> io::Result<Vec<u8>> {
    use rustix::termios::{LocalModes, OptionalActions, tcgetattr, tcsetattr};
    let mut tty = File::options().read(true).write(true).open("/dev/tty")?;
    tty.write_all(prompt.as_bytes())?;
    let before = tcgetattr(&tty)?;
    let mut hidden = before.clone();
    hidden.local_modes.remove(LocalModes::ECHO);
    tcsetattr(&tty, OptionalActions::Flush, &hidden)?;
    let mut line = Vec::new();
    let read = io::BufReader::new(&tty).read_until(b'\n', &mut line);
    tcsetattr(&tty, OptionalActions::Flush, &before)?;
    tty.write_all(b"\n")?;
    read?;
    while matches!(line.last(), Some(b'\n' | b'\r')) {
        line.pop();
    }
    Ok(line)
}

#[cfg(test)]
mod tests {
    use std::io::Read;
    use std::os::unix::fs::symlink;

    use super::*;
    use crate::scratch::{Scratch, bytes};

    fn errno<T>(result: io::Result<T>) -> i32 {
        result.err().expect("it worked").raw_os_error().unwrap()
    }

    #[test]
    fn files_open_along_own_links_only() {
        let s = Scratch::new();
        std::fs::create_dir(s.path("d")).unwrap();
        std::fs::write(s.path("d/f"), b"text").unwrap();
        symlink("d", s.path("own")).unwrap();
        symlink("own/f", s.path("file")).unwrap();
        let mut text = String::new();
        open_trusted(bytes(&s.path("file"))).unwrap().read_to_string(&mut text).unwrap();
        assert_eq!(text, "text");
        assert_eq!(errno(open_trusted(bytes(&s.path("own")))), libc::EISDIR);
        assert_eq!(errno(open_trusted(bytes(&s.path("d/..")))), libc::EISDIR);
        assert_eq!(errno(open_trusted(bytes(&s.path("none")))), libc::ENOENT);
        assert_eq!(list_dir(bytes(&s.path("own"))).unwrap(), [b"f"]);
        if crate::owner::am_root() {
            std::os::unix::fs::lchown(s.path("own"), Some(12_345), None).unwrap();
            assert_eq!(errno(open_trusted(bytes(&s.path("file")))), libc::ELOOP);
            assert!(take_refusal());
            let append = Access::Append { mode: 0o600 };
            assert_eq!(errno(open(bytes(&s.path("own/new")), append)), libc::ELOOP);
            assert!(!s.path("d/new").exists());
        }
        take_refusal();
        open_trusted(bytes(&s.path("d/f"))).unwrap();
        assert!(!take_refusal());
    }

    #[test]
    fn logs_grow_and_leaves_are_not_followed() {
        let s = Scratch::new();
        let log = s.path("log");
        for _ in 0..2 {
            open_append(bytes(&log)).unwrap().write_all(b"line\n").unwrap();
        }
        assert_eq!(std::fs::read(&log).unwrap(), b"line\nline\n");
        symlink("log", s.path("pid")).unwrap();
        remove_unless_regular(bytes(&s.path("pid"))).unwrap();
        remove_unless_regular(bytes(&log)).unwrap();
        remove_unless_regular(bytes(&s.path("none"))).unwrap();
        assert!(!s.path("pid").is_symlink() && log.exists());
        remove_file(bytes(&log)).unwrap();
        assert!(!log.exists());
        let (dir, name) = parent(bytes(&s.path("none"))).unwrap();
        assert_eq!(name.as_bytes(), b"none");
        assert!(dir.lstat(&name).unwrap().is_none());
    }

    #[test]
    fn a_pipe_handed_over_as_a_path_can_be_read() {
        use std::os::fd::AsRawFd;
        let (reader, writer) = rustix::pipe::pipe().unwrap();
        rustix::io::write(&writer, b"names").unwrap();
        drop(writer);
        let path = format!("/dev/fd/{}", reader.as_raw_fd());
        let mut text = String::new();
        open_trusted(path.as_bytes()).unwrap().read_to_string(&mut text).unwrap();
        assert_eq!(text, "names");
    }
}
