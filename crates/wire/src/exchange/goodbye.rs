//! What travels at the end: statistics and deletion counts.

use crate::codec::{ByteSource, get_varint, get_varlong, put_varint, put_varlong};
use crate::error::Error;
use crate::exit::ExitCode;
use crate::limits::DEL_COUNT_MAX;

/// The numbers a sending server tells. Source: [stats].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Raw bytes the server read.
    pub read: u64,
    /// Raw bytes it wrote.
    pub written: u64,
    /// Size of all listed files, in bytes.
    pub size: u64,
    /// Time to build the list, in milliseconds.
    pub build_ms: u64,
    /// Time to send the list, in milliseconds.
    pub xfer_ms: u64,
}

impl Stats {
    /// Appends the five numbers.
    pub fn encode(&self, out: &mut Vec<u8>) {
        for value in [self.read, self.written, self.size, self.build_ms, self.xfer_ms] {
            put_varlong(out, i64::try_from(value).unwrap_or(i64::MAX), 3);
        }
    }

    /// Reads the five numbers; a negative one counts as none.
    pub fn decode<S: ByteSource>(src: &mut S) -> Result<Stats, S::Error> {
        let mut next = || get_varlong(src, 3).map(|v| u64::try_from(v).unwrap_or(0));
        Ok(Stats {
            read: next()?,
            written: next()?,
            size: next()?,
            build_ms: next()?,
            xfer_ms: next()?,
        })
    }
}

/// How many items were deleted, by kind. Source: [del-stats].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DelStats {
    /// Regular files.
    pub files: u32,
    /// Directories.
    pub dirs: u32,
    /// Symbolic links.
    pub links: u32,
    /// Devices.
    pub devices: u32,
    /// Fifos and sockets.
    pub specials: u32,
}

impl DelStats {
    /// Appends the five counts.
    pub fn encode(&self, out: &mut Vec<u8>) {
        for value in [self.files, self.dirs, self.links, self.devices, self.specials] {
            put_varint(out, i32::try_from(value).unwrap_or(i32::MAX));
        }
    }

    /// Reads the five counts. Errors: one out of range.
    pub fn decode<S: ByteSource>(src: &mut S) -> Result<DelStats, S::Error> {
        let mut next = |what: &str| -> Result<u32, S::Error> {
            let value = get_varint(src)?;
            let count = u32::try_from(value).ok().filter(|count| *count <= DEL_COUNT_MAX);
            count.ok_or_else(|| {
                let text = format!("wire value {what} out of range: {value}");
                Error::misbehaved(ExitCode::Protocol, "del-stats", text).into()
            })
        };
        Ok(DelStats {
            files: next("deleted_files")?,
            dirs: next("deleted_dirs")?,
            links: next("deleted_symlinks")?,
            devices: next("deleted_devices")?,
            specials: next("deleted_specials")?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::SliceSource;

    #[test]
    fn the_captured_tail_decodes() {
        let bytes = [0, 0x2e, 0, 0, 0x82, 0, 0, 0x11, 0, 0, 1, 0, 0, 0, 0];
        let stats = Stats::decode(&mut SliceSource::new(&bytes)).unwrap();
        assert_eq!(stats, Stats { read: 46, written: 130, size: 17, build_ms: 1, xfer_ms: 0 });
        let mut out = Vec::new();
        stats.encode(&mut out);
        assert_eq!(out, bytes);
    }

    #[test]
    fn deletion_counts_are_bounded() {
        let mut out = Vec::new();
        DelStats { files: 2, dirs: 1, links: 1, devices: 0, specials: 0 }.encode(&mut out);
        assert_eq!(out, [2, 1, 1, 0, 0]);
        assert!(DelStats::decode(&mut SliceSource::new(&[0xf0, 0xff, 0xff, 0xff, 0xff])).is_err());
    }
}
