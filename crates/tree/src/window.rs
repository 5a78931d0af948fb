//! Windowed reads of one open file.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

/// Bytes read at once, at least.
const WINDOW: usize = 256 * 1024;

/// A file of fixed length, read in windows that move forward.
pub struct FileWindow {
    file: File,
    len: u64,
    start: u64,
    buffer: Vec<u8>,
    error: Option<io::Error>,
}

impl FileWindow {
    /// Notes the length now; later growth is not seen, shrinking reads as zeros.
    pub fn new(file: File) -> io::Result<FileWindow> {
        let len = file.metadata()?.len();
        Ok(FileWindow { file, len, start: 0, buffer: Vec::new(), error: None })
    }

    /// Length in bytes.
    pub fn len(&self) -> u64 {
        self.len
    }

    /// Whether the file is empty.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// What went wrong while reading, if anything did; then some bytes were zeros.
    pub fn take_error(&mut self) -> Option<io::Error> {
        self.error.take()
    }

    /// The `len` bytes at `offset`; zeros where the file cannot be read.
    pub fn slice(&mut self, offset: u64, len: usize) -> &[u8] {
        let end = offset.saturating_add(len as u64);
        if offset < self.start || end > self.start + self.buffer.len() as u64 {
            self.load(offset, len);
        }
        let from = usize::try_from(offset - self.start).unwrap_or(0);
        &self.buffer[from..from + len]
    }

    fn load(&mut self, offset: u64, len: usize) {
        let left = usize::try_from(self.len.saturating_sub(offset)).unwrap_or(usize::MAX);
        let want = len.max(WINDOW.min(left));
        self.buffer.clear();
        self.buffer.resize(want, 0);
        self.start = offset;
        let mut filled = 0;
        while filled < want {
            match self.file.read_at(&mut self.buffer[filled..], offset + filled as u64) {
                Ok(0) => {
                    self.error.get_or_insert_with(|| io::ErrorKind::UnexpectedEof.into());
                    break;
                }
                Ok(n) => filled += n,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => {
                    self.error.get_or_insert(error);
                    break;
                }
            }
        }
    }
}
