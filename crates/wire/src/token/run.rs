//! The flag bytes that all compressed token streams share: data pieces, blocks, runs, end.
//!
//! The codecs beside this file call [`RunWriter`] and [`RunReader`]; only what is inside the data
//! pieces differs between them. Consecutive blocks are gathered into runs, which are written when
//! the sequence breaks, before literal data, and at the end. Source: [token-flag], [token-run].

use crate::codec::{ByteSource, get_i32, get_u16, put_i32, put_u16};
use crate::error::Error;
use crate::exit::ExitCode;
use crate::limits::{DATA_PIECE_MAX, TOKEN_INDEX_MAX};

const END: u8 = 0x00;
const LONG: u8 = 0x20;
const LONG_RUN: u8 = 0x21;
const DATA: u8 = 0x40;
const RELATIVE: u8 = 0x80;
const RELATIVE_RUN: u8 = 0xc0;
/// The low bits of a flag byte: a distance, or the upper part of a data length.
const LOW_BITS: u8 = 0x3f;

/// Gathers block indices into runs.
#[derive(Debug, Default)]
pub(super) struct RunWriter {
    /// Last index written in this file; 0 before the first.
    last: u32,
    /// First index of the open run and how many follow it.
    open: Option<(u32, u16)>,
}

impl RunWriter {
    /// Adds a block. Errors: an index that no flag can carry (exit 2).
    pub(super) fn block(&mut self, out: &mut Vec<u8>, index: u32) -> Result<(), Error> {
        if index > TOKEN_INDEX_MAX {
            return Err(invalid_token());
        }
        if let Some((first, more)) = &mut self.open
            && *more < u16::MAX
            && first.checked_add(u32::from(*more) + 1) == Some(index)
        {
            *more += 1;
            return Ok(());
        }
        self.close(out);
        self.open = Some((index, 0));
        Ok(())
    }

    /// Writes the open run, if any. To be called before data pieces.
    pub(super) fn close(&mut self, out: &mut Vec<u8>) {
        let Some((first, more)) = self.open.take() else { return };
        let near = first.checked_sub(self.last).filter(|&d| d <= u32::from(LOW_BITS));
        match near {
            Some(distance) => {
                out.push(if more == 0 { RELATIVE } else { RELATIVE_RUN } | distance as u8);
            }
            None => {
                out.push(if more == 0 { LONG } else { LONG_RUN });
                // At most TOKEN_INDEX_MAX.
                put_i32(out, first as i32);
            }
        }
        if more != 0 {
            put_u16(out, more);
        }
        self.last = first + u32::from(more);
    }

    /// Writes the open run and the end mark, and starts over for the next file.
    pub(super) fn end(&mut self, out: &mut Vec<u8>) {
        self.close(out);
        out.push(END);
        self.last = 0;
    }
}

/// Writes bytes of a compressed stream as data pieces of at most 16383 bytes.
pub(super) fn put_data(out: &mut Vec<u8>, data: &[u8]) {
    for piece in data.chunks(DATA_PIECE_MAX) {
        out.push(DATA | (piece.len() >> 8) as u8);
        out.push(piece.len() as u8);
        out.extend_from_slice(piece);
    }
}

/// One step of a compressed token stream.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Flag {
    /// So many bytes of data follow, 0 to 16383.
    Data(usize),
    /// A block of the basis.
    Block(u32),
    /// End of the file.
    End,
}

/// Reads flag bytes and takes runs apart.
#[derive(Debug, Default)]
pub(super) struct RunReader {
    last: u32,
    /// Blocks of the present run that have not been handed out.
    left: u16,
    /// A flag that was read but not yet acted upon.
    held: Option<Flag>,
}

impl RunReader {
    /// The next step. After [`Flag::End`] the reader is ready for the next file.
    ///
    /// Errors: malformed, exit 2, for an unknown flag or an index or run out of range.
    pub(super) fn next<S: ByteSource>(&mut self, src: &mut S) -> Result<Flag, S::Error> {
        if let Some(flag) = self.held.take() {
            return Ok(flag);
        }
        if self.left > 0 {
            self.left -= 1;
            // The whole run was checked when it was read.
            self.last = self.last.saturating_add(1);
            return Ok(Flag::Block(self.last));
        }
        let flag = src.byte()?;
        let low = flag & LOW_BITS;
        let (first, is_run) = match flag {
            END => {
                self.last = 0;
                return Ok(Flag::End);
            }
            LONG | LONG_RUN => {
                let index = u32::try_from(get_i32(src)?).map_err(|_| invalid_token())?;
                (index, flag == LONG_RUN)
            }
            DATA..RELATIVE => {
                let low_byte = src.byte()?;
                return Ok(Flag::Data(usize::from(low) << 8 | usize::from(low_byte)));
            }
            RELATIVE.. => {
                (self.last.saturating_add(u32::from(low)), flag & RELATIVE_RUN == RELATIVE_RUN)
            }
            _ => {
                let text = format!("invalid flag {flag:#04x} in compressed token stream");
                return Err(Error::malformed(ExitCode::Protocol, "token-flag", text).into());
            }
        };
        if is_run {
            self.left = get_u16(src)?;
        }
        let end = first.checked_add(u32::from(self.left));
        if end.is_none_or(|end| end > TOKEN_INDEX_MAX) || (is_run && self.left == 0) {
            self.left = 0;
            return Err(invalid_token().into());
        }
        self.last = first;
        Ok(Flag::Block(first))
    }

    /// Keeps a flag for the next call of [`RunReader::next`].
    pub(super) fn hold(&mut self, flag: Flag) {
        self.held = Some(flag);
    }
}

fn invalid_token() -> Error {
    let text = "invalid token number in compressed stream";
    Error::malformed(ExitCode::Protocol, "token-run", text)
}
