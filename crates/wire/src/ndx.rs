//! The file index as it travels (`[ndx]`): mostly the difference to the index before, in old
//! protocols four bytes.
//!
//! Each direction of a connection has one writer state and one reader state. Both remember the
//! last index of the list, and apart from it the last negative value other than [`DONE`].
//!
//! Not checked here: whether an index names an entry, or a negative value means anything.

use crate::codec::{ByteSource, get_i32, put_i32};
use crate::error::Error;
use crate::exit::ExitCode;
use crate::version::Protocol;

/// End of a segment or of a phase.
pub const DONE: i32 = -1;
/// No further file list segments follow.
pub const FLIST_EOF: i32 = -2;
/// Deletion counts follow.
pub const DEL_STATS: i32 = -3;
/// `FLIST_OFFSET - d` announces the file list segment of directory number d.
pub const FLIST_OFFSET: i32 = -101;

/// Starts a negative value.
const NEGATIVE: u8 = 0xff;
/// Starts a difference or value that has no one-byte form.
const LONG: u8 = 0xfe;
/// Marks the value itself in place of a difference.
const ABSOLUTE: u8 = 0x80;

/// The last values of one direction.
#[derive(Clone, Debug)]
struct Last {
    pos: i32,
    neg: i32,
}

impl Default for Last {
    fn default() -> Last {
        Last { pos: -1, neg: 1 }
    }
}

/// The state of one direction's writer.
#[derive(Clone, Debug, Default)]
pub struct NdxWriter {
    last: Last,
    plain: bool,
}

impl NdxWriter {
    /// The state at the start of a stream.
    pub fn new() -> NdxWriter {
        NdxWriter::default()
    }

    /// The state at the start of a stream of that protocol.
    pub fn of(protocol: Protocol) -> NdxWriter {
        NdxWriter { plain: !protocol.has_varints(), ..NdxWriter::default() }
    }

    /// Appends an index, 1 to 6 bytes.
    pub fn put(&mut self, out: &mut Vec<u8>, index: i32) {
        if self.plain {
            put_i32(out, index);
            return;
        }
        if index == DONE {
            out.push(0);
            return;
        }
        let (value, last) = if index >= 0 {
            (index, &mut self.last.pos)
        } else {
            out.push(NEGATIVE);
            (index.saturating_neg(), &mut self.last.neg)
        };
        let diff = i64::from(value) - i64::from(*last);
        *last = value;
        match diff {
            1..=253 => out.push(diff as u8),
            0 | 254..=32767 => out.extend_from_slice(&[LONG, (diff >> 8) as u8, diff as u8]),
            _ => {
                let [a, b, c, d] = value.to_le_bytes();
                out.extend_from_slice(&[LONG, ABSOLUTE | d, a, b, c]);
            }
        }
    }
}

/// The state of one direction's reader.
#[derive(Clone, Debug, Default)]
pub struct NdxReader {
    last: Last,
    plain: bool,
}

impl NdxReader {
    /// The state at the start of a stream.
    pub fn new() -> NdxReader {
        NdxReader::default()
    }

    /// The state at the start of a stream of that protocol.
    pub fn of(protocol: Protocol) -> NdxReader {
        NdxReader { plain: !protocol.has_varints(), ..NdxReader::default() }
    }

    /// Reads an index. One beyond 2^31 - 1 exits 2.
    pub fn get<S: ByteSource>(&mut self, src: &mut S) -> Result<i32, S::Error> {
        if self.plain {
            return get_i32(src);
        }
        let mut first = src.byte()?;
        if first == 0 {
            return Ok(DONE);
        }
        let negative = first == NEGATIVE;
        if negative {
            first = src.byte()?;
        }
        let last = if negative { &mut self.last.neg } else { &mut self.last.pos };
        let value = if first != LONG {
            i64::from(*last) + i64::from(first)
        } else {
            let mut pair = [0; 2];
            src.read_exact(&mut pair)?;
            let [high, low] = pair;
            if high & ABSOLUTE == 0 {
                i64::from(*last) + i64::from(u16::from_be_bytes(pair))
            } else {
                let mut middle = [0; 2];
                src.read_exact(&mut middle)?;
                let [b, c] = middle;
                i64::from(i32::from_le_bytes([low, b, c, high & !ABSOLUTE]))
            }
        };
        let value = i32::try_from(value).map_err(|_| {
            Error::malformed(ExitCode::Protocol, "ndx", format!("Invalid file index: {value}"))
        })?;
        *last = value;
        Ok(if negative { value.saturating_neg() } else { value })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::codec::SliceSource;

    #[test]
    fn the_running_example_is_byte_exact() {
        let steps: [(i32, &[u8]); 16] = [
            (0, &[0x01]),
            (1, &[0x01]),
            (5, &[0x04]),
            (258, &[0xfd]),
            (258, &[0xfe, 0x00, 0x00]),
            (100, &[0xfe, 0x80, 0x64, 0x00, 0x00]),
            (40000, &[0xfe, 0x80, 0x40, 0x9c, 0x00]),
            (DONE, &[0x00]),
            (FLIST_OFFSET, &[0xff, 0x64]),
            (FLIST_OFFSET - 1, &[0xff, 0x01]),
            (FLIST_EOF, &[0xff, 0xfe, 0x80, 0x02, 0x00, 0x00]),
            (DEL_STATS, &[0xff, 0x01]),
            (40001, &[0x01]),
            (40254, &[0xfd]),
            (40508, &[0xfe, 0x00, 0xfe]),
            (170_000, &[0xfe, 0x80, 0x10, 0x98, 0x02]),
        ];
        let (mut writer, mut reader) = (NdxWriter::new(), NdxReader::new());
        for (index, want) in steps {
            let mut out = Vec::new();
            writer.put(&mut out, index);
            assert_eq!(out, want, "{index}");
            assert_eq!(reader.get(&mut SliceSource::new(want)), Ok(index));
        }
    }

    #[test]
    fn an_index_beyond_the_int_is_refused() {
        let mut reader = NdxReader::new();
        let top = [0xfe, 0xff, 0xff, 0xff, 0xff];
        assert_eq!(reader.get(&mut SliceSource::new(&top)), Ok(i32::MAX));
        for more in [&[0x01][..], &[0xfe, 0x7f, 0xff]] {
            let error = reader.get(&mut SliceSource::new(more)).unwrap_err();
            assert_eq!(error.exit_code(), ExitCode::Protocol);
        }
    }

    proptest! {
        #[test]
        fn any_sequence_survives_the_way(indices: Vec<i32>) {
            let (mut writer, mut out) = (NdxWriter::new(), Vec::new());
            // The least value has no positive counterpart and is never an index.
            let indices: Vec<i32> = indices.into_iter().map(|i| i.max(-i32::MAX)).collect();
            for &index in &indices {
                writer.put(&mut out, index);
            }
            let (mut reader, mut src) = (NdxReader::new(), SliceSource::new(&out));
            for index in indices {
                prop_assert_eq!(reader.get(&mut src), Ok(index));
            }
            prop_assert!(src.is_empty());
        }

        #[test]
        fn any_bytes_are_decoded_or_refused(bytes: Vec<u8>) {
            let (mut reader, mut src) = (NdxReader::new(), SliceSource::new(&bytes));
            while reader.get(&mut src).is_ok() {}
        }
    }
}
