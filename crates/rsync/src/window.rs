//! The source file as the delta search reads it.

use std::fs::File;
use std::io;

use tree::window::FileWindow;
use wire::delta::search::Window;

/// A windowed source file.
pub struct SourceWindow {
    inner: FileWindow,
}

impl SourceWindow {
    /// Opens a window at the start of the file.
    pub fn new(file: File) -> io::Result<SourceWindow> {
        Ok(SourceWindow { inner: FileWindow::new(file)? })
    }

    /// Length of the file when it was opened, in bytes.
    pub fn size(&self) -> u64 {
        self.inner.len()
    }

    /// What went wrong while reading, if anything did.
    pub fn take_error(&mut self) -> Option<io::Error> {
        self.inner.take_error()
    }
}

impl Window for SourceWindow {
    fn len(&self) -> u64 {
        self.inner.len()
    }

    fn slice(&mut self, offset: u64, len: usize) -> &[u8] {
        self.inner.slice(offset, len)
    }
}
