//! The daemon's log: a file with a prefix on each line, or syslog.
//!
//! Called by `listen` and `connection`, and by the session for what happens in a transfer. The
//! file is opened for each connection while the process still has its privileges, and stays open
//! through a change of root. A line never holds control bytes, whoever chose its text.

use std::fs::File;
use std::io::{self, Write};
use std::os::unix::net::UnixDatagram;
use std::sync::{Arc, Mutex};

use jiff::tz::TimeZone;
use jiff::{Timestamp, Zoned};

use crate::report::escape::looks_escaped;

/// How serious a line is; only syslog makes a difference.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogLevel {
    /// What happens.
    Info,
    /// What went wrong.
    Warning,
}

/// Where lines go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogTarget {
    /// A file; empty is syslog.
    pub file: Vec<u8>,
    /// Facility number in syslog.
    pub facility: u8,
    /// Name in syslog.
    pub tag: Vec<u8>,
}

#[derive(Debug)]
enum Sink {
    File(File),
    Syslog { socket: Option<UnixDatagram>, facility: u8, tag: Vec<u8> },
}

/// An open log; clones share it.
#[derive(Clone, Debug)]
pub struct DaemonLog {
    sink: Arc<Mutex<Sink>>,
    zone: TimeZone,
    target: LogTarget,
}

/// Where the system logger listens.
const SYSLOG_SOCKETS: &[&str] = &["/dev/log", "/var/run/syslog"];

impl DaemonLog {
    /// Opens a log. A file that cannot be opened is replaced by syslog; the error says why.
    pub fn open(
        target: &LogTarget,
        open_file: impl FnOnce(&[u8]) -> io::Result<File>,
    ) -> (Self, Option<io::Error>) {
        let syslog = || Sink::Syslog {
            socket: connect_syslog(),
            facility: target.facility,
            tag: target.tag.clone(),
        };
        let (sink, error) = match target.file.as_slice() {
            [] => (syslog(), None),
            path => match open_file(path) {
                Ok(file) => (Sink::File(file), None),
                Err(error) => (syslog(), Some(error)),
            },
        };
        let sink = Arc::new(Mutex::new(sink));
        // The zone is read now: after a change of root its file is out of reach.
        (DaemonLog { sink, zone: TimeZone::system(), target: target.clone() }, error)
    }

    /// Where it was asked to write.
    pub fn target(&self) -> &LogTarget {
        &self.target
    }

    /// Writes what happens.
    pub fn info(&self, text: impl AsRef<[u8]>) {
        self.write(LogLevel::Info, text.as_ref());
    }

    /// Writes what went wrong.
    pub fn warning(&self, text: impl AsRef<[u8]>) {
        self.write(LogLevel::Warning, text.as_ref());
    }

    /// Writes one line of a transfer, with or without its end: a line break within it is of a name,
    /// and shown as other control bytes are.
    pub fn line(&self, line: &[u8]) {
        self.write_line(LogLevel::Info, line.strip_suffix(b"\n").unwrap_or(line));
    }

    /// Writes a text, each of its lines as one.
    pub fn write(&self, level: LogLevel, text: &[u8]) {
        for line in text.trim_ascii_end().split(|b| *b == b'\n') {
            self.write_line(level, line);
        }
    }

    /// A log that cannot be written is no reason to end a transfer, so errors are dropped.
    fn write_line(&self, level: LogLevel, line: &[u8]) {
        let now = Timestamp::now().to_zoned(self.zone.clone());
        let Ok(mut sink) = self.sink.lock() else { return };
        let _ = match &mut *sink {
            Sink::File(file) => file.write_all(&file_line(&now, line)),
            Sink::Syslog { socket: Some(socket), facility, tag } => {
                let packet = syslog_packet(&now, level, *facility, tag, line);
                socket.send(&packet).map(|_| ())
            }
            Sink::Syslog { socket: None, .. } => Ok(()),
        };
    }
}

fn connect_syslog() -> Option<UnixDatagram> {
    let socket = UnixDatagram::unbound().ok()?;
    SYSLOG_SOCKETS.iter().find(|path| socket.connect(path).is_ok())?;
    Some(socket)
}

fn file_line(now: &Zoned, text: &[u8]) -> Vec<u8> {
    let mut line = format!("{} ", now.strftime("%Y/%m/%d %H:%M:%S")).into_bytes();
    line.extend_from_slice(format!("[{}] ", std::process::id()).as_bytes());
    line.extend_from_slice(&escaped(text));
    line.push(b'\n');
    line
}

fn syslog_packet(now: &Zoned, level: LogLevel, facility: u8, tag: &[u8], text: &[u8]) -> Vec<u8> {
    let severity = match level {
        LogLevel::Info => 6,
        LogLevel::Warning => 4,
    };
    let priority = u32::from(facility) * 8 + severity;
    let mut packet = format!("<{priority}>{} ", now.strftime("%b %e %H:%M:%S")).into_bytes();
    packet.extend_from_slice(&escaped(tag));
    packet.extend_from_slice(format!("[{}]: ", std::process::id()).as_bytes());
    packet.extend_from_slice(&escaped(text));
    packet
}

/// The text with control bytes, the second set of them, and a backslash that would look like such a
/// sequence, as `\#ooo`; a tab stays.
pub fn escaped(text: &[u8]) -> Vec<u8> {
    let mut result = Vec::with_capacity(text.len());
    for (at, byte) in text.iter().enumerate() {
        match byte {
            b'\t' => result.push(b'\t'),
            b'\\' if looks_escaped(&text[at + 1..]) => result.extend_from_slice(b"\\#134"),
            0..0x20 | 0x7f..0xa0 => result.extend_from_slice(format!("\\#{byte:03o}").as_bytes()),
            _ => result.push(*byte),
        }
    }
    result
}

/// A line for a terminal: control letters, which a file's text may bring along, as `\#ooo`; a tab
/// stays.
pub fn shown_line(text: &str) -> String {
    let mut result = String::with_capacity(text.len());
    for c in text.chars() {
        if c == '\t' || !c.is_control() {
            result.push(c);
            continue;
        }
        for byte in c.encode_utf8(&mut [0; 4]).bytes() {
            result.push_str(&format!("\\#{byte:03o}"));
        }
    }
    result
}

/// An error as the field words it: `No such file or directory (2)`.
pub fn cause(error: &io::Error) -> String {
    match error.raw_os_error() {
        Some(code) => format!("{} ({code})", reason(error)),
        None => reason(error),
    }
}

/// The same without its number.
pub fn reason(error: &io::Error) -> String {
    let text = error.to_string();
    text.split(" (os error").next().unwrap_or(&text).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: i64) -> Zoned {
        Timestamp::from_second(seconds).unwrap().to_zoned(TimeZone::UTC)
    }

    #[test]
    fn lines_have_time_process_and_no_control_bytes() {
        let line = String::from_utf8(file_line(&at(0), b"a\tb\x1b[2J")).unwrap();
        let expected = format!("1970/01/01 00:00:00 [{}] a\tb\\#033[2J\n", std::process::id());
        assert_eq!(line, expected);
        assert_eq!(escaped(b"\\#012 \\#01 \\"), b"\\#134#012 \\#01 \\");
        assert_eq!(escaped(b"\x00\x7f\x85\xe4\n"), b"\\#000\\#177\\#205\xe4\\#012");
        let packet = syslog_packet(&at(0), LogLevel::Warning, 3, b"rsyncd", b"x");
        let expected = format!("<28>Jan  1 00:00:00 rsyncd[{}]: x", std::process::id());
        assert_eq!(String::from_utf8(packet).unwrap(), expected);
    }

    #[test]
    fn a_line_for_a_terminal_keeps_letters_and_no_controls() {
        // A failure would let a file that is checked write to the terminal of who checks it.
        assert_eq!(
            shown_line("a\tb\x1b[2J\r\u{e9}\u{9b}1m\n"),
            "a\tb\\#033[2J\\#015\u{e9}\\#302\\#2331m\\#012"
        );
    }

    #[test]
    fn a_cause_has_its_number() {
        let error = io::Error::from_raw_os_error(libc::ENOENT);
        assert_eq!(cause(&error), "No such file or directory (2)");
    }

    #[test]
    fn a_file_that_cannot_be_opened_is_told_and_replaced() {
        let target = LogTarget { file: b"/nowhere/log".to_vec(), facility: 3, tag: b"t".to_vec() };
        let denied = |_: &[u8]| Err(io::Error::from_raw_os_error(libc::EACCES));
        let (log, error) = DaemonLog::open(&target, denied);
        assert_eq!(error.and_then(|e| e.raw_os_error()), Some(libc::EACCES));
        assert_eq!(log.target(), &target);
    }
}
