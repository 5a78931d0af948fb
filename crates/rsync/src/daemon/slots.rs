//! `max connections`: one locked range of the lock file for each connection.
//!
//! Called by `connection` before the login. Slot i is a write lock on bytes 4i to 4i+3, as the
//! real program counts, so both can share a file. The lock ends with the process, so nothing is
//! left behind by a crash. The file is only a place for locks: nothing is written to it.

use std::fs::File;
use std::io;

use tree::lock::try_lock_range;

/// A connection's place; it holds the file open, and with it the lock.
#[derive(Debug)]
pub struct Slot {
    _file: File,
}

/// Why there is no slot.
#[derive(Debug)]
pub enum NoSlot {
    /// All are taken, or the module is closed by a negative number.
    Full,
    /// The lock file cannot be used.
    Unusable(io::Error),
}

/// Takes the first free slot of `max`; 0 needs none. `open` opens the lock file for writing,
/// creating it with mode 0600.
pub fn take(max: i64, open: impl FnOnce() -> io::Result<File>) -> Result<Option<Slot>, NoSlot> {
    if max == 0 {
        return Ok(None);
    }
    let Ok(max @ 1..) = u64::try_from(max) else { return Err(NoSlot::Full) };
    let file = open().map_err(NoSlot::Unusable)?;
    for slot in 0..max {
        if try_lock_range(&file, slot.saturating_mul(4), 4).map_err(NoSlot::Unusable)? {
            return Ok(Some(Slot { _file: file }));
        }
    }
    Err(NoSlot::Full)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn zero_needs_no_file_and_negative_is_closed() {
        let never = || -> io::Result<File> { panic!("not to be opened") };
        assert!(matches!(take(0, never), Ok(None)));
        assert!(matches!(take(-1, never), Err(NoSlot::Full)));
        let missing = || Err(io::Error::from_raw_os_error(libc::ENOENT));
        assert!(matches!(take(1, missing), Err(NoSlot::Unusable(_))));
    }
}
