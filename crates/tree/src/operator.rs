//! Files the operator named: opened along trusted symlinks only, with facts about owner and mode.

use std::fs::File;
use std::io::{self, BufRead, Write};
use std::os::unix::fs::MetadataExt;

use rustix::fs::{Mode, OFlags, openat};
use rustix::io::Errno;

/// Owner and mode of an open file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Facts {
    /// Permission bits.
    pub mode: u32,
    /// Owner.
    pub uid: u32,
}

/// Opens a file for reading, following only symlinks owned by root or by this process's user.
pub fn open_trusted(path: &[u8]) -> io::Result<File> {
    let at = crate::resolve::trusted(path, false)?;
    let name = at.name.ok_or(Errno::ISDIR)?;
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NOCTTY;
    Ok(openat(&at.dir, &name[..], flags, Mode::empty())?.into())
}

/// Opens a log for appending, made if missing; same trust.
pub fn open_append(path: &[u8]) -> io::Result<File> {
    let at = crate::resolve::trusted(path, false)?;
    let name = at.name.ok_or(Errno::ISDIR)?;
    let flags = OFlags::WRONLY
        | OFlags::APPEND
        | OFlags::CREATE
        | OFlags::NOFOLLOW
        | OFlags::CLOEXEC
        | OFlags::NOCTTY;
    Ok(openat(&at.dir, &name[..], flags, Mode::from_raw_mode(0o644))?.into())
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
