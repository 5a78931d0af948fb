//! Reads the files that a configuration is made of, within bounds.
//!
//! Called by the readers of each kind of configuration and by `check`.

use std::fs::File;
use std::io::{self, Read as _};
use std::path::Path;

/// The content of a file that a configuration is made of. Errors: as of reading, or it is too long
/// to be one.
pub fn read(path: &Path) -> io::Result<Vec<u8>> {
    let mut content = Vec::new();
    let length = File::open(path)?.take(FILE_BYTES_MAX + 1).read_to_end(&mut content)?;
    match u64::try_from(length).is_ok_and(|length| length <= FILE_BYTES_MAX) {
        true => Ok(content),
        false => Err(io::Error::other("it is too long for a configuration")),
    }
}

/// Bytes of a configuration file; more is not one.
const FILE_BYTES_MAX: u64 = 16 << 20;
