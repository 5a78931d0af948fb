//! Digests of whole files, and reading that copes with short reads.

use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::FileExt;

use tree::dir::content_len;
use wire::checksum::strong::{ChecksumKind, Digest, FileHasher};

/// Bytes read at once.
pub const READ_CHUNK: usize = 256 * 1024;

/// Reads until the buffer is full or the file ends; returns how much was read.
pub fn read_full(mut file: &File, buffer: &mut [u8]) -> io::Result<usize> {
    let mut filled = 0;
    while filled < buffer.len() {
        match file.read(&mut buffer[filled..]) {
            Ok(0) => break,
            Ok(n) => filled += n,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}

/// The unseeded digest of a file's content, from its current position.
pub fn hash_file(file: &File, kind: ChecksumKind, buffer: &mut Vec<u8>) -> io::Result<Digest> {
    let mut hasher = kind.file_hasher();
    let mut left = match file.metadata()?.is_file() {
        true => u64::MAX,
        // A device may have no end.
        false => content_len(file)?,
    };
    loop {
        buffer.resize(usize::try_from(left).unwrap_or(READ_CHUNK).min(READ_CHUNK), 0);
        let got = read_full(file, buffer)?;
        hasher.update(&buffer[..got]);
        left -= got as u64;
        if got < READ_CHUNK {
            return Ok(hasher.finish());
        }
    }
}

/// Adds the first `len` bytes of a file to a digest. Errors: a file with fewer.
pub fn hash_start(
    file: &File,
    len: u64,
    hasher: &mut FileHasher,
    buffer: &mut Vec<u8>,
) -> io::Result<()> {
    let mut at = 0;
    while at < len {
        let now = usize::try_from(len - at).unwrap_or(READ_CHUNK).min(READ_CHUNK);
        buffer.resize(now, 0);
        file.read_exact_at(buffer, at)?;
        hasher.update(buffer);
        at += now as u64;
    }
    Ok(())
}

/// A digest that cannot be right: all zero, or with its last byte set where it was all zero.
pub fn falsified(digest: Digest) -> Digest {
    let mut bytes = vec![0; digest.as_bytes().len()];
    if digest.as_bytes().iter().all(|&b| b == 0)
        && let Some(last) = bytes.last_mut()
    {
        *last = 1;
    }
    Digest::from_slice(&bytes).unwrap_or(digest)
}
