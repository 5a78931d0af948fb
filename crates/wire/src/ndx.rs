//! The file index as it travels: differences to the last one, separate for each direction.
//!
//! Shape: one byte for a difference of 1 to 253, more otherwise. Source: [ndx].

use crate::codec::ByteSource;
use crate::error::Error;
use crate::exit::ExitCode;

/// End of a segment or phase.
pub const DONE: i32 = -1;
/// No further file-list segments.
pub const FLIST_EOF: i32 = -2;
/// Deletion counts follow.
pub const DEL_STATS: i32 = -3;
/// `FLIST_OFFSET - d`: a file-list segment for directory number d follows.
pub const FLIST_OFFSET: i32 = -101;

/// Running state of one direction's writer.
#[derive(Clone, Debug)]
pub struct NdxWriter {
    pos: i32,
    neg: i32,
}

/// Running state of one direction's reader.
#[derive(Clone, Debug)]
pub struct NdxReader {
    pos: i32,
    neg: i32,
}

impl Default for NdxWriter {
    fn default() -> Self {
        NdxWriter { pos: -1, neg: 1 }
    }
}

impl Default for NdxReader {
    fn default() -> Self {
        NdxReader { pos: -1, neg: 1 }
    }
}

impl NdxWriter {
    /// The state at the start of a stream.
    pub fn new() -> NdxWriter {
        NdxWriter::default()
    }

    /// Appends an index.
    pub fn put(&mut self, out: &mut Vec<u8>, index: i32) {
        if index == DONE {
            out.push(0);
            return;
        }
        let (value, last) = if index >= 0 {
            (index, std::mem::replace(&mut self.pos, index))
        } else {
            out.push(0xff);
            let value = index.saturating_neg();
            (value, std::mem::replace(&mut self.neg, value))
        };
        let diff = i64::from(value) - i64::from(last);
        match diff {
            1..=253 => out.push(diff as u8),
            0 | 254..=32767 => out.extend_from_slice(&[0xfe, (diff >> 8) as u8, diff as u8]),
            _ => {
                let [a, b, c, d] = value.to_le_bytes();
                out.extend_from_slice(&[0xfe, 0x80 | d, a, b, c]);
            }
        }
    }
}

impl NdxReader {
    /// The state at the start of a stream.
    pub fn new() -> NdxReader {
        NdxReader::default()
    }

    /// Reads an index. Errors: one above 2^31 - 1.
    pub fn get<S: ByteSource>(&mut self, src: &mut S) -> Result<i32, S::Error> {
        let mut first = src.byte()?;
        if first == 0 {
            return Ok(DONE);
        }
        let negative = first == 0xff;
        if negative {
            first = src.byte()?;
        }
        let last = if negative { self.neg } else { self.pos };
        let value = if first == 0xfe {
            let high = src.byte()?;
            let low = src.byte()?;
            if high & 0x80 != 0 {
                let b = src.byte()?;
                let c = src.byte()?;
                i64::from(i32::from_le_bytes([low, b, c, high & 0x7f]))
            } else {
                i64::from(last) + (i64::from(high) << 8 | i64::from(low))
            }
        } else {
            i64::from(last) + i64::from(first)
        };
        let value = i32::try_from(value).map_err(|_| {
            Error::malformed(ExitCode::Protocol, "ndx", format!("Invalid file index: {value}"))
        })?;
        if negative {
            self.neg = value;
            Ok(value.saturating_neg())
        } else {
            self.pos = value;
            Ok(value)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::SliceSource;

    #[test]
    fn the_running_example_is_byte_exact() {
        let steps: &[(i32, &[u8])] = &[
            (0, &[1]), (1, &[1]), (5, &[4]), (258, &[0xfd]), (258, &[0xfe, 0, 0]),
            (100, &[0xfe, 0x80, 0x64, 0, 0]), (40000, &[0xfe, 0x80, 0x40, 0x9c, 0]), (-1, &[0]),
            (-101, &[0xff, 0x64]), (-102, &[0xff, 1]), (-2, &[0xff, 0xfe, 0x80, 2, 0, 0]),
            (-3, &[0xff, 1]), (40001, &[1]), (40254, &[0xfd]), (40508, &[0xfe, 0, 0xfe]),
            (170_000, &[0xfe, 0x80, 0x10, 0x98, 2]),
        ];
        let (mut writer, mut reader) = (NdxWriter::new(), NdxReader::new());
        for (index, bytes) in steps {
            let mut out = Vec::new();
            writer.put(&mut out, *index);
            assert_eq!(&out, bytes, "{index}");
            assert_eq!(reader.get(&mut SliceSource::new(&out)).unwrap(), *index);
        }
    }
}
