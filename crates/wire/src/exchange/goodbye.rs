//! What travels at the end of a session: deletion counts and the server's statistics.

use crate::codec::{ByteSource, get_long, get_varint, put_long, put_varint};
use crate::error::Error;
use crate::exit::ExitCode;
use crate::limits::DEL_COUNT_MAX;
use crate::version::Protocol;

/// Least bytes of each number of the statistics.
const STATS_BYTES_MIN: usize = 3;

/// The statistics (`[stats]`) that a sending server writes before it ends. Five long
/// numbers; old protocols lack the last two.
#[derive(Copy, Clone, PartialEq, Eq, Debug, Default)]
pub struct Stats {
    /// Raw bytes that the server read.
    pub read: u64,
    /// Raw bytes that the server wrote.
    pub written: u64,
    /// Size of all listed files, in bytes.
    pub size: u64,
    /// Time it took to build the file list, in milliseconds.
    pub build_ms: u64,
    /// Time it took to send the file list, in milliseconds.
    pub xfer_ms: u64,
}

impl Stats {
    /// Appends the numbers.
    pub fn encode(&self, out: &mut Vec<u8>, protocol: Protocol) {
        let values = [self.read, self.written, self.size, self.build_ms, self.xfer_ms];
        for value in values.into_iter().take(if protocol.has_list_times() { 5 } else { 3 }) {
            let value = i64::try_from(value).unwrap_or(i64::MAX);
            put_long(out, protocol, value, STATS_BYTES_MIN);
        }
    }

    /// Reads the numbers. They are only shown, so a negative one counts as 0.
    pub fn decode<S: ByteSource>(src: &mut S, protocol: Protocol) -> Result<Stats, S::Error> {
        let mut next = || {
            let value = get_long(src, protocol, STATS_BYTES_MIN);
            value.map(|value| u64::try_from(value).unwrap_or(0))
        };
        let mut stats =
            Stats { read: next()?, written: next()?, size: next()?, ..Stats::default() };
        if protocol.has_list_times() {
            (stats.build_ms, stats.xfer_ms) = (next()?, next()?);
        }
        Ok(stats)
    }
}

/// How much the receiving side deleted (`[del-stats]`), by kind. Five varints, each at most
/// [`DEL_COUNT_MAX`].
#[derive(Copy, Clone, PartialEq, Eq, Debug, Default)]
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
    /// Appends the five counts; what is beyond the limit is told as the limit.
    pub fn encode(&self, out: &mut Vec<u8>) {
        for count in [self.files, self.dirs, self.links, self.devices, self.specials] {
            put_varint(out, count.min(DEL_COUNT_MAX).cast_signed());
        }
    }

    /// Reads the five counts. One out of range exits 2.
    pub fn decode<S: ByteSource>(src: &mut S) -> Result<DelStats, S::Error> {
        let mut next = |what: &str| -> Result<u32, S::Error> {
            let value = get_varint(src)?;
            let count = u32::try_from(value).ok().filter(|&count| count <= DEL_COUNT_MAX);
            Ok(count.ok_or_else(|| {
                let text =
                    format!("wire value {what} out of range: {value} not in [0,{DEL_COUNT_MAX}]");
                Error::misbehaved(ExitCode::Protocol, "del-stats", text)
            })?)
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
    use crate::codec::{SliceSource, put_varlong};
    use crate::ndx::{self, NdxReader};

    #[test]
    fn the_captured_tail_of_a_pull() {
        let payload = [0, 0x2e, 0, 0, 0x82, 0, 0, 0x11, 0, 0, 1, 0, 0, 0, 0, 0];
        let mut src = SliceSource::new(&payload);
        let stats = Stats::decode(&mut src, Protocol::NEWEST).unwrap();
        assert_eq!(stats, Stats { read: 46, written: 130, size: 17, build_ms: 1, xfer_ms: 0 });
        assert_eq!(NdxReader::new().get(&mut src), Ok(ndx::DONE));
        assert!(src.is_empty());
        let mut out = Vec::new();
        stats.encode(&mut out, Protocol::NEWEST);
        assert_eq!(out, payload.split_last().unwrap().1);
    }

    #[test]
    fn the_captured_tail_of_a_push() {
        let payload = [0, 0, 0xff, 2, 2, 1, 1, 0, 0, 0];
        let (mut src, mut reader) = (SliceSource::new(&payload), NdxReader::new());
        assert_eq!(reader.get(&mut src), Ok(ndx::DONE));
        assert_eq!(reader.get(&mut src), Ok(ndx::DONE));
        assert_eq!(reader.get(&mut src), Ok(ndx::DEL_STATS));
        let deleted = DelStats::decode(&mut src).unwrap();
        assert_eq!(deleted, DelStats { files: 2, dirs: 1, links: 1, devices: 0, specials: 0 });
        assert_eq!(reader.get(&mut src), Ok(ndx::DONE));
        let mut out = Vec::new();
        deleted.encode(&mut out);
        assert_eq!(out, [2, 1, 1, 0, 0]);
    }

    #[test]
    fn deletion_counts_are_bounded() {
        let mut most = Vec::new();
        put_varint(&mut most, 1 << 28);
        most.extend_from_slice(&[0, 0, 0, 0]);
        assert_eq!(DelStats::decode(&mut SliceSource::new(&most)).unwrap().files, 1 << 28);
        for value in [(1 << 28) + 1, -1, i32::MAX] {
            let mut bytes = Vec::new();
            put_varint(&mut bytes, value);
            let error = DelStats::decode(&mut SliceSource::new(&bytes)).unwrap_err();
            assert_eq!((error.exit_code(), error.field()), (ExitCode::Protocol, "del-stats"));
        }
        let mut out = Vec::new();
        DelStats { files: u32::MAX, ..DelStats::default() }.encode(&mut out);
        assert_eq!(DelStats::decode(&mut SliceSource::new(&out)).unwrap().files, DEL_COUNT_MAX);
    }

    #[test]
    fn negative_statistics_count_as_none() {
        let mut bytes = Vec::new();
        for _ in 0..5 {
            put_varlong(&mut bytes, -1, 3);
        }
        let decoded = Stats::decode(&mut SliceSource::new(&bytes), Protocol::NEWEST);
        assert_eq!(decoded, Ok(Stats::default()));
    }

    #[test]
    fn old_statistics_have_four_bytes_each_and_once_were_three() {
        let stats = Stats { read: 44, written: 144, size: 17, build_ms: 1, xfer_ms: 0 };
        for (number, fields) in [(29, 5), (28, 3), (27, 3)] {
            let protocol = Protocol::new(number).unwrap();
            let mut out = Vec::new();
            stats.encode(&mut out, protocol);
            assert_eq!(out.len(), 4 * fields);
            let build_ms = if fields == 5 { 1 } else { 0 };
            let want = Ok(Stats { build_ms, ..stats });
            assert_eq!(Stats::decode(&mut SliceSource::new(&out), protocol), want);
            let end: Result<_, Error> = Stats::decode(&mut SliceSource::new(&out[1..]), protocol);
            assert!(end.is_err());
        }
    }
}
