//! A few bytes of memory that two processes share, for one to tell and the other to look.
//!
//! Made by the daemon's listener for each connection. It has no name, so that nobody else can open
//! it; its length is sealed, so that who writes it can make neither side wait or run out of memory.
//! A look while the other side writes may see parts of both texts: what is written must show that.

use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileExt;

use rustix::fs::{MemfdFlags, SealFlags, fcntl_add_seals, ftruncate, memfd_create};

/// Bytes of a page.
pub const PAGE_BYTES: usize = 4096;

/// One page, seen from one of its two sides.
#[derive(Debug)]
pub struct Page(File);

impl Page {
    /// A page of zeros.
    pub fn new() -> io::Result<Page> {
        let fd = memfd_create(c"page", MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING)?;
        ftruncate(&fd, PAGE_BYTES as u64)?;
        fcntl_add_seals(&fd, SealFlags::GROW | SealFlags::SHRINK | SealFlags::SEAL)?;
        Ok(Page(fd.into()))
    }

    /// The page that another process made, from its descriptor.
    pub fn from_fd(fd: OwnedFd) -> Page {
        Page(fd.into())
    }

    /// A descriptor for the other side.
    pub fn share(&self) -> io::Result<OwnedFd> {
        Ok(self.0.try_clone()?.into())
    }

    /// Replaces the beginning; what does not fit is an error.
    pub fn write(&self, bytes: &[u8]) -> io::Result<()> {
        self.0.write_all_at(bytes, 0)
    }

    /// All of it.
    pub fn read(&self) -> io::Result<Vec<u8>> {
        let mut bytes = vec![0; PAGE_BYTES];
        self.0.read_exact_at(&mut bytes, 0)?;
        Ok(bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_side_writes_and_the_other_reads() {
        let page = Page::new().unwrap();
        let other = Page::from_fd(page.share().unwrap());
        other.write(b"abc").unwrap();
        let read = page.read().unwrap();
        assert_eq!((read.len(), &read[..4]), (PAGE_BYTES, &b"abc\0"[..]));
        other.write(&[1; PAGE_BYTES]).unwrap();
        assert!(other.write(&[1; PAGE_BYTES + 1]).is_err());
        assert!(other.0.set_len(0).is_err() && other.0.set_len(1 << 30).is_err());
        assert_eq!(page.read().unwrap().len(), PAGE_BYTES);
    }
}
