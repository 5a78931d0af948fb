//! `name converter`: a program of the operator's that knows names and ids where the account files
//! are out of reach.
//!
//! Called by `connection`, which starts its process while the process of the session still is what
//! the daemon was started as, and lets it run once the request is known; then by the roles through
//! [`tree::owner::Names`]. One request a line, one line as its answer: `uid N` and `gid N` ask for
//! a name, `usr NAME` and `grp NAME` for a number; an empty line is "unknown". A program that does
//! not answer ends the session: going on would give files to whoever has the sender's numbers.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::process::CommandExt;
use std::sync::Arc;

use tree::jail;
use tree::owner::Names;
use wire::exit::ExitCode;
use wire::limits::ID_NAME_MAX;

use super::connection::End;
use super::hooks::{Variables, shell, variables_of, words_of};
use super::log::{DaemonLog, cause};
use crate::control::Control;

/// Bytes of a request or an answer, line end included.
const LINE_MAX: usize = 1024;

/// The process of a converter, which waits for the request.
#[derive(Debug)]
pub(crate) struct WaitingConverter {
    send: OwnedFd,
    ask: OwnedFd,
    answers: OwnedFd,
}

/// Starts the process of a command line, if there is one. Nothing of the session that others wait
/// to see closed may be open yet.
pub(crate) fn start(line: &[u8]) -> Result<Option<WaitingConverter>, End> {
    if line.is_empty() {
        return Ok(None);
    }
    spawn(line).map(Some).map_err(|error| {
        let text = format!("name-converter exec preparation failed: {}", cause(&error));
        End::refused("name-converter exec preparation failed", text)
    })
}

fn spawn(line: &[u8]) -> io::Result<WaitingConverter> {
    let (request, send) = io::pipe()?;
    let (questions, ask) = io::pipe()?;
    let (answers, output) = io::pipe()?;
    let mut ends = Some((OwnedFd::from(send), OwnedFd::from(ask), OwnedFd::from(answers)));
    // It ends with its input, and this process with the session: nobody waits for it.
    let _ = jail::in_child(|| {
        // The end of the request shows only when nobody else can write to it.
        drop(ends.take());
        let mut words = Vec::new();
        let read = File::from(OwnedFd::from(request)).read_to_end(&mut words);
        if read.is_err() || words.is_empty() {
            return 1;
        }
        let mut command = shell(line, &variables_of(&words));
        command.stdin(OwnedFd::from(questions)).stdout(OwnedFd::from(output));
        // Comes back only when there is no shell to run.
        let _ = command.exec();
        127
    })?;
    let (send, ask, answers) = ends.take().ok_or(io::ErrorKind::BrokenPipe)?;
    Ok(WaitingConverter { send, ask, answers })
}

impl WaitingConverter {
    /// Lets it run with the variables of the request.
    pub(crate) fn begin(self, variables: &Variables, log: DaemonLog) -> NameConverter {
        // If that fails the program ends, which the first question shows.
        let _ = File::from(self.send).write_all(&words_of(variables));
        NameConverter {
            ask: File::from(self.ask),
            answers: BufReader::new(File::from(self.answers)),
            log,
            control: None,
            failed: None,
        }
    }
}

/// A converter at work.
#[derive(Debug)]
pub struct NameConverter {
    ask: File,
    answers: BufReader<File>,
    log: DaemonLog,
    control: Option<Arc<Control>>,
    failed: Option<ExitCode>,
}

impl NameConverter {
    /// Has a failure stop this run.
    pub(crate) fn stops(&mut self, control: Arc<Control>) {
        self.control = Some(control);
    }

    /// The exit code of a session that it failed.
    pub(crate) fn failed(&self) -> Option<ExitCode> {
        self.failed
    }

    fn fail(&mut self, exit: ExitCode, text: &str) {
        self.log.warning(text);
        self.failed = Some(exit);
        if let Some(control) = &self.control {
            control.request_stop();
        }
    }

    /// One question and its answer; none where it is unknown, or the converter has failed.
    fn answer(&mut self, kind: &str, what: &[u8]) -> Option<Vec<u8>> {
        if self.failed.is_some() {
            return None;
        }
        if what.iter().any(|b| *b < 0x20 || *b == 0x7f) {
            let shown = String::from_utf8_lossy(what).into_owned();
            self.log.warning(format!("invalid name-converter token: {shown}"));
            return None;
        }
        let line = [kind.as_bytes(), b" ", what, b"\n"].concat();
        if line.len() > LINE_MAX {
            self.fail(ExitCode::Unsupported, "Request to name-converter is too long.");
            return None;
        }
        let mut answer = Vec::new();
        let most = u64::try_from(LINE_MAX).unwrap_or(u64::MAX);
        let asked = self.ask.write_all(&line).and_then(|()| {
            let mut answers = Read::by_ref(&mut self.answers).take(most);
            answers.read_until(b'\n', &mut answer)
        });
        if asked.is_err() || answer.pop() != Some(b'\n') {
            self.fail(ExitCode::SocketIo, "Connection to name-converter failed.");
            return None;
        }
        answer.truncate(answer.trim_ascii_end().len());
        Some(answer).filter(|answer| !answer.is_empty())
    }

    fn name(&mut self, kind: &str, id: u32) -> Option<Vec<u8>> {
        let name = self.answer(kind, id.to_string().as_bytes())?;
        Some(name).filter(|name| name.len() <= ID_NAME_MAX)
    }

    /// Only a whole number is one: a bad answer must never be the id of root.
    fn number(&mut self, kind: &str, name: &[u8]) -> Option<u32> {
        let answer = self.answer(kind, name)?;
        let digits = answer.iter().all(u8::is_ascii_digit);
        let text = str::from_utf8(&answer).ok().filter(|_| digits)?;
        text.parse().ok().filter(|id| *id != u32::MAX)
    }
}

impl Names for NameConverter {
    fn user_name(&mut self, uid: u32) -> Option<Vec<u8>> {
        self.name("uid", uid)
    }

    fn group_name(&mut self, gid: u32) -> Option<Vec<u8>> {
        self.name("gid", gid)
    }

    fn user_id(&mut self, name: &[u8]) -> Option<u32> {
        self.number("usr", name)
    }

    fn group_id(&mut self, name: &[u8]) -> Option<u32> {
        self.number("grp", name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::daemon::log::LogTarget;

    /// A converter that has these answers ready, and what it was asked.
    fn converter(answers: &[u8]) -> (NameConverter, io::PipeReader) {
        let (asked, ask) = io::pipe().unwrap();
        let (read, mut write) = io::pipe().unwrap();
        write.write_all(answers).unwrap();
        let file = b"/dev/null".to_vec();
        let target = LogTarget { file, facility: 3, tag: Vec::new() };
        let (log, _) = DaemonLog::open(&target, crate::daemon::files::open_log);
        let (ask, answers) = (File::from(OwnedFd::from(ask)), File::from(OwnedFd::from(read)));
        let answers = BufReader::new(answers);
        (NameConverter { ask, answers, log, control: None, failed: None }, asked)
    }

    #[test]
    fn a_line_asks_and_a_line_answers() {
        let (mut names, mut asked) = converter(b"alice\n\n4242\n0\n");
        assert_eq!(names.user_name(7).as_deref(), Some(&b"alice"[..]));
        assert_eq!(names.group_name(8), None);
        assert_eq!(names.user_id(b"bob"), Some(4242));
        assert_eq!(names.group_id(b"wheel"), Some(0));
        assert_eq!(names.failed(), None);
        drop(names);
        let mut said = String::new();
        asked.read_to_string(&mut said).unwrap();
        assert_eq!(said, "uid 7\ngid 8\nusr bob\ngrp wheel\n");
    }

    #[test]
    fn nothing_but_a_number_is_an_id() {
        for answer in ["", " ", "-1", "+5", "12x", "x", "4294967295", "99999999999", "0x10"] {
            let (mut names, _asked) = converter(format!("{answer}\n").as_bytes());
            assert_eq!(names.user_id(b"bob"), None, "{answer}");
            assert_eq!(names.failed(), None);
        }
    }

    #[test]
    fn names_cannot_ask_for_more_than_themselves() {
        let (mut names, mut asked) = converter(b"1\n2\n");
        for name in [&b"a\nuid 0"[..], b"a\0b", b"a\x7f", b"\t"] {
            assert_eq!(names.user_id(name), None);
        }
        assert_eq!(names.failed(), None);
        assert_eq!(names.user_id(&[b'x'; 2000]), None);
        assert_eq!(names.failed(), Some(ExitCode::Unsupported));
        drop(names);
        let mut said = String::new();
        asked.read_to_string(&mut said).unwrap();
        assert_eq!(said, "");
    }

    #[test]
    fn a_converter_that_ends_ends_the_session() {
        for answers in [&b""[..], b"12", &[b'1'; 2000]] {
            let (mut names, _asked) = converter(answers);
            let control = Arc::new(Control::default());
            names.stops(control.clone());
            assert_eq!(names.user_id(b"bob"), None);
            assert_eq!(names.failed(), Some(ExitCode::SocketIo));
            assert!(control.stop_requested());
        }
    }
}
