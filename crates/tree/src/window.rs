//! Windowed reads of one open file.
//!
//! Called by the sender for the search and by whoever digests a whole file. The length is fixed
//! when the window is made: later growth is not seen, and what a file that shrank no longer has
//! reads as zeros. Reads go forward in steps of 256 KiB; going back is allowed and reads again.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use rustix::fs::{Advice, fadvise};

/// Bytes read at once, at least.
const WINDOW: usize = 256 * 1024;

/// A file of fixed length, read in windows that move forward.
pub struct FileWindow {
    file: File,
    len: u64,
    start: u64,
    buffer: Vec<u8>,
    damaged: bool,
    error: Option<io::Error>,
}

impl FileWindow {
    /// Notes the length of an open file.
    pub fn new(file: File) -> io::Result<FileWindow> {
        let len = crate::dir::content_len(&file)?;
        Ok(FileWindow::with_len(file, len))
    }

    /// The same for a file whose length is known already, from a handle or by its list entry.
    pub fn with_len(file: File, len: u64) -> FileWindow {
        if len > WINDOW as u64 {
            // A hint only: it widens the kernel's reading ahead, and its failure changes nothing.
            let _ = fadvise(&file, 0, None, Advice::Sequential);
        }
        FileWindow { file, len, start: 0, buffer: Vec::new(), damaged: false, error: None }
    }

    /// Length in bytes.
    pub fn len(&self) -> u64 {
        self.len
    }

    /// Whether the file is empty.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Whether some bytes given out were zeros because the file could not be read or had shrunk.
    pub fn damaged(&self) -> bool {
        self.damaged
    }

    /// The first thing that went wrong while reading; one that shrank is [`shrunk`].
    pub fn take_error(&mut self) -> Option<io::Error> {
        self.error.take()
    }

    /// The `len` bytes at `offset`; zeros where the file cannot be read.
    pub fn slice(&mut self, offset: u64, len: usize) -> &[u8] {
        let held = offset
            .checked_sub(self.start)
            .and_then(|from| usize::try_from(from).ok())
            .filter(|from| from.checked_add(len).is_some_and(|end| end <= self.buffer.len()));
        let from = match held {
            Some(from) => from,
            None => {
                self.load(offset, len);
                0
            }
        };
        self.buffer.get(from..from + len).unwrap_or_default()
    }

    fn load(&mut self, offset: u64, len: usize) {
        let left = usize::try_from(self.len.saturating_sub(offset)).unwrap_or(usize::MAX);
        let want = len.max(WINDOW.min(left));
        // What is overwritten by reading need not be cleared first.
        self.buffer.resize(want, 0);
        self.start = offset;
        let mut filled = 0;
        while filled < want {
            let Some(rest) = self.buffer.get_mut(filled..) else { break };
            match self.file.read_at(rest, offset.saturating_add(filled as u64)) {
                Ok(0) => {
                    self.spoil(shrunk());
                    break;
                }
                Ok(n) => filled += n,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => {
                    self.spoil(error);
                    break;
                }
            }
        }
        if let Some(rest) = self.buffer.get_mut(filled..) {
            rest.fill(0);
        }
    }

    fn spoil(&mut self, error: io::Error) {
        self.damaged = true;
        self.error.get_or_insert(error);
    }
}

/// What reading behind the end of a file that was longer is told as.
pub fn shrunk() -> io::Error {
    rustix::io::Errno::NODATA.into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scratch::Scratch;

    fn pattern(len: usize) -> Vec<u8> {
        (0..len).map(|i| (i * 7 + i / 251) as u8).collect()
    }

    #[test]
    fn any_slice_is_what_the_file_holds() {
        let s = Scratch::new();
        let content = pattern(3 * WINDOW + 123);
        std::fs::write(s.path("f"), &content).unwrap();
        let mut window = FileWindow::new(File::open(s.path("f")).unwrap()).unwrap();
        assert_eq!(window.len(), content.len() as u64);
        let places = [
            (0, 1),
            (0, 700),
            (WINDOW - 3, 700),
            (5, 10),
            (2 * WINDOW, WINDOW + 123),
            (0, 2 * WINDOW + 9),
            (content.len() - 1, 1),
            (content.len(), 0),
        ];
        for (offset, len) in places {
            assert_eq!(window.slice(offset as u64, len), &content[offset..offset + len]);
        }
        assert!(!window.damaged());
        assert!(window.take_error().is_none());
    }

    #[test]
    fn a_file_that_shrank_reads_as_zeros() {
        let s = Scratch::new();
        std::fs::write(s.path("f"), pattern(2 * WINDOW)).unwrap();
        let mut window = FileWindow::new(File::open(s.path("f")).unwrap()).unwrap();
        assert!(window.slice(0, 10).iter().any(|b| *b != 0));
        File::options().write(true).open(s.path("f")).unwrap().set_len(WINDOW as u64 + 4).unwrap();
        let tail = window.slice(WINDOW as u64, 8).to_vec();
        assert_eq!(tail[..4], pattern(WINDOW + 4)[WINDOW..]);
        assert_eq!(tail[4..], [0; 4]);
        assert!(window.damaged());
        let error = window.take_error().unwrap();
        assert_eq!(error.raw_os_error(), Some(libc::ENODATA));
    }

    #[test]
    fn an_unreadable_file_and_absurd_offsets_give_zeros() {
        let s = Scratch::new();
        std::fs::write(s.path("f"), pattern(10)).unwrap();
        let write_only = File::options().write(true).open(s.path("f")).unwrap();
        let mut window = FileWindow::new(write_only).unwrap();
        assert_eq!(window.slice(0, 10), [0; 10]);
        assert_eq!(window.take_error().unwrap().raw_os_error(), Some(libc::EBADF));
        assert_eq!(window.slice(u64::MAX, 3), [0; 3]);
    }
}
