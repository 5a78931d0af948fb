//! The only writer to standard output and standard error.

use std::io::Write;
use std::sync::{Mutex, PoisonError};

use rsync::console::Console;
use rsync::options::Outbuf;

/// Bytes of a block.
const BLOCK: usize = 8192;

/// When standard output is written, and what waits for that.
static WAITING: Mutex<(Outbuf, Vec<u8>)> = Mutex::new((Outbuf::None, Vec::new()));

/// The process's own descriptors. Each call is written at once, so that lines of several threads
/// keep their order.
pub(crate) struct Terminal;

impl Console for Terminal {
    fn out(&self, bytes: &[u8]) {
        out(bytes);
    }

    fn err(&self, bytes: &[u8]) {
        err(bytes);
    }
}

/// Chooses when standard output is written.
pub(crate) fn set_buffering(mode: Outbuf) {
    WAITING.lock().unwrap_or_else(PoisonError::into_inner).0 = mode;
}

/// Writes to standard output. A reader that went away is no error of ours.
pub(crate) fn out(bytes: &[u8]) {
    let mut waiting = WAITING.lock().unwrap_or_else(PoisonError::into_inner);
    let (mode, held) = &mut *waiting;
    held.extend_from_slice(bytes);
    let ready = ready(*mode, held);
    write_out(&held[..ready]);
    held.drain(..ready);
}

/// How much of what waits is to be written now.
fn ready(mode: Outbuf, held: &[u8]) -> usize {
    match mode {
        Outbuf::None => held.len(),
        Outbuf::Line => held.iter().rposition(|&byte| byte == b'\n').map_or(0, |at| at + 1),
        Outbuf::Block => held.len() / BLOCK * BLOCK,
    }
}

/// Writes what waits; the program's last words.
pub(crate) fn finish() {
    let mut waiting = WAITING.lock().unwrap_or_else(PoisonError::into_inner);
    write_out(&std::mem::take(&mut waiting.1));
}

fn write_out(bytes: &[u8]) {
    if bytes.is_empty() {
        return;
    }
    let mut stdout = std::io::stdout().lock();
    let _ = stdout.write_all(bytes);
    let _ = stdout.flush();
}

/// Writes to standard error.
pub(crate) fn err(bytes: &[u8]) {
    let _ = std::io::stderr().lock().write_all(bytes);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn output_is_written_at_once_by_lines_or_by_blocks() {
        assert_eq!(ready(Outbuf::None, b"a\nb"), 3);
        assert_eq!((ready(Outbuf::Line, b"a\nb"), ready(Outbuf::Line, b"ab")), (2, 0));
        assert_eq!(ready(Outbuf::Block, b"a\nb"), 0);
        assert_eq!(ready(Outbuf::Block, &[b'x'; BLOCK * 2 + 1]), BLOCK * 2);
    }
}
