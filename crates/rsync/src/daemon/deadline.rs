//! The text phase's byte streams: lines and words from a peer that may be slow, huge or silent.
//!
//! Called by `connection` until the argument list has been read; then the two descriptors and the
//! bytes already read go on to the session. Each phase has a deadline over all of its reads, so a
//! peer that sends a byte now and then gains nothing. Lines and words have a length limit.

use std::io;
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use wire::limits::HANDSHAKE_SECONDS_MAX;

/// Bytes asked for at once.
const READ_BYTES: usize = 4096;

/// Bytes written between two looks at the clock.
const WRITE_BYTES: usize = 1024;

/// Why a phase ended early.
#[derive(Debug)]
pub enum PhaseError {
    /// The peer closed the stream.
    Closed,
    /// The deadline passed.
    Timeout,
    /// A line or word is longer than its limit.
    TooLong,
    /// A NUL stands in a line.
    Nul,
    /// The system says so.
    Io(io::Error),
}

impl From<rustix::io::Errno> for PhaseError {
    fn from(error: rustix::io::Errno) -> Self {
        PhaseError::Io(error.into())
    }
}

/// The two directions of a client's connection, with what has been read ahead.
#[derive(Debug)]
pub struct TextStream {
    input: OwnedFd,
    output: OwnedFd,
    ahead: Vec<u8>,
    used: usize,
    limit: Option<Duration>,
    deadline: Option<Instant>,
}

impl TextStream {
    /// `limited`: whether phases have a deadline; a remote shell's user may take all day.
    pub fn new(input: OwnedFd, output: OwnedFd, limited: bool) -> Self {
        let limit = limited.then(|| Duration::from_secs(u64::from(HANDSHAKE_SECONDS_MAX)));
        TextStream { input, output, ahead: Vec::new(), used: 0, limit, deadline: None }
    }

    /// Shortens the phases that follow to a module's timeout; 0 changes nothing.
    pub fn lower_limit(&mut self, seconds: u32) {
        if let (Some(limit), 1..) = (self.limit, seconds) {
            self.limit = Some(limit.min(Duration::from_secs(u64::from(seconds))));
        }
    }

    /// Starts the clock anew.
    pub fn begin_phase(&mut self) {
        self.deadline = self.limit.and_then(|limit| Instant::now().checked_add(limit));
    }

    /// Stops the clock: what follows is not the peer's time.
    pub fn end_phase(&mut self) {
        self.deadline = None;
    }

    /// Waits until the descriptor is ready.
    fn wait(&self, for_input: bool) -> Result<(), PhaseError> {
        let (fd, flags) = match for_input {
            true => (&self.input, PollFlags::IN),
            false => (&self.output, PollFlags::OUT),
        };
        loop {
            let until = |deadline: Instant| deadline.saturating_duration_since(Instant::now());
            let left = self.deadline.map(until);
            if left == Some(Duration::ZERO) {
                return Err(PhaseError::Timeout);
            }
            let left = left.and_then(|left| Timespec::try_from(left).ok());
            match poll(&mut [PollFd::new(fd, flags)], left.as_ref()) {
                Ok(0) => return Err(PhaseError::Timeout),
                Ok(_) => return Ok(()),
                Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }

    fn byte(&mut self) -> Result<u8, PhaseError> {
        if let Some(byte) = self.ahead.get(self.used) {
            self.used += 1;
            return Ok(*byte);
        }
        let mut buffer = [0u8; READ_BYTES];
        loop {
            self.wait(true)?;
            let count = match rustix::io::read(&self.input, &mut buffer) {
                Ok(0) => return Err(PhaseError::Closed),
                Ok(count) => count,
                Err(rustix::io::Errno::INTR | rustix::io::Errno::AGAIN) => continue,
                Err(error) => return Err(error.into()),
            };
            self.ahead.clear();
            self.ahead.extend_from_slice(buffer.get(..count).unwrap_or_default());
            self.used = 1;
            return self.ahead.first().copied().ok_or(PhaseError::Closed);
        }
    }

    /// One line of at most `max` bytes, without its end; carriage returns are dropped, a NUL is an
    /// error.
    pub fn line(&mut self, max: usize) -> Result<Vec<u8>, PhaseError> {
        let mut line = Vec::new();
        loop {
            match self.byte()? {
                b'\n' => return Ok(line),
                b'\r' => {}
                0 => return Err(PhaseError::Nul),
                _ if line.len() >= max => return Err(PhaseError::TooLong),
                byte => line.push(byte),
            }
        }
    }

    /// The bytes up to the terminator, which is dropped, at most `max` of them.
    pub fn word(&mut self, terminator: u8, max: usize) -> Result<Vec<u8>, PhaseError> {
        let mut word = Vec::new();
        loop {
            match self.byte()? {
                byte if byte == terminator => return Ok(word),
                _ if word.len() >= max => return Err(PhaseError::TooLong),
                byte => word.push(byte),
            }
        }
    }

    /// Exactly this many bytes; the caller has bounded the number.
    pub fn bytes(&mut self, count: usize) -> Result<Vec<u8>, PhaseError> {
        (0..count).map(|_| self.byte()).collect()
    }

    /// Writes all of it.
    pub fn write(&mut self, text: &[u8]) -> Result<(), PhaseError> {
        let mut rest = text;
        while !rest.is_empty() {
            self.wait(false)?;
            let piece = rest.get(..WRITE_BYTES).unwrap_or(rest);
            match rustix::io::write(&self.output, piece) {
                Ok(count) => rest = rest.get(count..).unwrap_or_default(),
                Err(rustix::io::Errno::INTR | rustix::io::Errno::AGAIN) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    /// Closes the sending direction and waits, at most `limit`, until the peer has closed its own:
    /// closing with unread input would cut off the text that the peer has not read yet.
    pub fn linger(&mut self, limit: Duration) {
        if rustix::net::shutdown(&self.output, rustix::net::Shutdown::Write).is_err() {
            return;
        }
        self.deadline = Instant::now().checked_add(limit);
        loop {
            self.used = self.ahead.len();
            if self.byte().is_err() {
                return;
            }
        }
    }

    /// The descriptors and the bytes read ahead of the session.
    pub fn into_parts(self) -> (OwnedFd, OwnedFd, Vec<u8>) {
        let ahead = self.ahead.get(self.used..).unwrap_or_default().to_vec();
        (self.input, self.output, ahead)
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::os::unix::net::UnixStream;

    use super::*;

    fn stream(bytes: &[u8]) -> (TextStream, UnixStream) {
        let (mut theirs, ours) = UnixStream::pair().unwrap();
        theirs.write_all(bytes).unwrap();
        let output = ours.try_clone().unwrap();
        (TextStream::new(ours.into(), output.into(), true), theirs)
    }

    #[test]
    fn reads_lines_words_and_leaves_the_rest() {
        let (mut stream, _theirs) = stream(b"one\r\ntwo\0abcdrest");
        assert_eq!(stream.line(9).unwrap(), b"one");
        assert_eq!(stream.word(0, 10).unwrap(), b"two");
        assert_eq!(stream.bytes(4).unwrap(), b"abcd");
        assert_eq!(stream.into_parts().2, b"rest");
    }

    #[test]
    fn limits_and_ends_are_errors() {
        let (mut long, _theirs) = stream(&[b'a'; 10]);
        assert!(matches!(long.line(9), Err(PhaseError::TooLong)));
        let (mut nul, _theirs) = stream(b"a\0b\n");
        assert!(matches!(nul.line(9), Err(PhaseError::Nul)));
        let (mut closed, theirs) = stream(b"a");
        drop(theirs);
        assert!(matches!(closed.line(9), Err(PhaseError::Closed)));
    }

    #[test]
    fn a_phase_ends_at_its_deadline() {
        let (mut stream, _theirs) = stream(b"a");
        stream.limit = Some(Duration::ZERO);
        stream.begin_phase();
        assert!(matches!(stream.line(9), Err(PhaseError::Timeout)));
        stream.limit = Some(Duration::from_secs(60));
        stream.lower_limit(0);
        assert_eq!(stream.limit, Some(Duration::from_secs(60)));
        stream.lower_limit(7);
        assert_eq!(stream.limit, Some(Duration::from_secs(7)));
    }
}
