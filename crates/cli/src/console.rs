//! The only writer to standard output and standard error.

use std::io::Write;

use rsync::console::Console;

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

/// Writes to standard output. A reader that went away is no error of ours.
pub(crate) fn out(bytes: &[u8]) {
    let mut stdout = std::io::stdout().lock();
    let _ = stdout.write_all(bytes);
    let _ = stdout.flush();
}

/// Writes to standard error.
pub(crate) fn err(bytes: &[u8]) {
    let _ = std::io::stderr().lock().write_all(bytes);
}
