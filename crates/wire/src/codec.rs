//! The primitive encodings: fixed integers, varint, varlong, longint, vstring.
//!
//! Everything else of this crate reads through [`ByteSource`] and appends to a byte vector.
//! Writers are canonical: the bytes are those the reference program writes. All integers are
//! little-endian.
//!
//! A varint's first byte says how many bytes follow (its leading one bits) and holds the value's
//! most significant bits in what is left of it; the bytes that follow are the rest of the value,
//! least significant first. A varlong is the same after a fixed number of low bytes.

use crate::error::Error;
use crate::exit::ExitCode;
use crate::limits::VSTRING_WIRE_MAX;
use crate::version::Protocol;

/// Bytes that [`ByteSource::read_vec`] allocates at once, so that a count alone costs no memory.
const READ_STEP: usize = 64 * 1024;

/// Where decoders read from: a connection, or a slice in tests.
pub trait ByteSource {
    /// What reading fails with.
    type Error: From<Error>;

    /// Fills `buf`.
    fn read_exact(&mut self, buf: &mut [u8]) -> Result<(), Self::Error>;

    /// Reads one byte.
    fn byte(&mut self) -> Result<u8, Self::Error> {
        let mut byte = [0];
        self.read_exact(&mut byte)?;
        let [byte] = byte;
        Ok(byte)
    }

    /// Reads `len` bytes. Memory grows as they arrive; bounding `len` is the caller's duty.
    fn read_vec(&mut self, len: usize) -> Result<Vec<u8>, Self::Error> {
        let mut bytes = Vec::new();
        while bytes.len() < len {
            let filled = bytes.len();
            bytes.resize(len.min(filled.saturating_add(READ_STEP)), 0);
            self.read_exact(bytes.get_mut(filled..).unwrap_or_default())?;
        }
        Ok(bytes)
    }

    /// Reads `len` bytes and drops them.
    fn skip(&mut self, len: u64) -> Result<(), Self::Error> {
        let mut scratch = [0; 4096];
        let mut left = len;
        while left > 0 {
            let step = usize::try_from(left).unwrap_or(usize::MAX).min(scratch.len());
            self.read_exact(scratch.get_mut(..step).unwrap_or_default())?;
            left = left.saturating_sub(step as u64);
        }
        Ok(())
    }
}

/// Bytes in memory as a source; its end is [`Error::Truncated`].
#[derive(Clone, Debug)]
pub struct SliceSource<'a> {
    rest: &'a [u8],
}

impl<'a> SliceSource<'a> {
    /// A source that yields `bytes`.
    pub fn new(bytes: &'a [u8]) -> SliceSource<'a> {
        SliceSource { rest: bytes }
    }

    /// What has not been read.
    pub fn rest(&self) -> &'a [u8] {
        self.rest
    }

    /// Whether everything has been read.
    pub fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }
}

impl ByteSource for SliceSource<'_> {
    type Error = Error;

    fn read_exact(&mut self, buf: &mut [u8]) -> Result<(), Error> {
        let (now, later) = self.rest.split_at_checked(buf.len()).ok_or(Error::Truncated)?;
        buf.copy_from_slice(now);
        self.rest = later;
        Ok(())
    }
}

fn array<const N: usize, S: ByteSource>(src: &mut S) -> Result<[u8; N], S::Error> {
    let mut bytes = [0; N];
    src.read_exact(&mut bytes)?;
    Ok(bytes)
}

/// Reads a u16.
pub fn get_u16<S: ByteSource>(src: &mut S) -> Result<u16, S::Error> {
    array(src).map(u16::from_le_bytes)
}

/// Reads an i32.
pub fn get_i32<S: ByteSource>(src: &mut S) -> Result<i32, S::Error> {
    array(src).map(i32::from_le_bytes)
}

/// Reads a u32.
pub fn get_u32<S: ByteSource>(src: &mut S) -> Result<u32, S::Error> {
    array(src).map(u32::from_le_bytes)
}

/// How many bytes follow a first byte of a varint or varlong.
fn extra_bytes(first: u8) -> usize {
    match first.leading_ones() {
        ones @ 0..=4 => ones as usize,
        5 => 5,
        _ => 6,
    }
}

/// Reads the value common to varint and varlong: a first byte, `min - 1` bytes, the extra bytes.
/// None where the value has more than `max` bytes after the first.
fn get_var<S: ByteSource>(
    src: &mut S,
    min: usize,
    max: usize,
) -> Result<Option<[u8; 8]>, S::Error> {
    let mut value = [0; 8];
    let first = src.byte()?;
    let fixed = min.saturating_sub(1);
    src.read_exact(value.get_mut(..fixed).unwrap_or_default())?;
    let extra = extra_bytes(first);
    let len = fixed + extra;
    if len > max {
        return Ok(None);
    }
    src.read_exact(value.get_mut(fixed..len).unwrap_or_default())?;
    // At the full width of eight bytes the rest of the first byte has no place and is dropped.
    if let Some(top) = value.get_mut(len) {
        *top = first & (0xff >> extra);
    }
    Ok(Some(value))
}

/// Reads a varint, 1 to 5 bytes (bits above 32 are dropped). A longer form exits 12.
pub fn get_varint<S: ByteSource>(src: &mut S) -> Result<i32, S::Error> {
    let Some([a, b, c, d, ..]) = get_var(src, 1, 4)? else {
        let text = "Overflow in read_varint()";
        return Err(Error::malformed(ExitCode::StreamIo, "varint", text).into());
    };
    Ok(i32::from_le_bytes([a, b, c, d]))
}

/// Reads a varlong of at least `min` bytes (3 to 8, fixed by the field; fewer cannot express every
/// value). More than 9 exit 12.
pub fn get_varlong<S: ByteSource>(src: &mut S, min: usize) -> Result<i64, S::Error> {
    let Some(value) = get_var(src, min, 8)? else {
        let text = "Overflow in read_varlong()";
        return Err(Error::malformed(ExitCode::StreamIo, "varlong", text).into());
    };
    Ok(i64::from_le_bytes(value))
}

/// Reads a longint: an i32, or after an i32 of -1 an i64.
pub fn get_longint<S: ByteSource>(src: &mut S) -> Result<i64, S::Error> {
    match get_i32(src)? {
        -1 => array(src).map(i64::from_le_bytes),
        short => Ok(i64::from(short)),
    }
}

/// Reads a number of a list: a varint, or an i32 of an old protocol.
pub fn get_number<S: ByteSource>(src: &mut S, protocol: Protocol) -> Result<i32, S::Error> {
    if protocol.has_varints() { get_varint(src) } else { get_i32(src) }
}

/// Reads a long number: a varlong of at least `min` bytes, or a longint of an old protocol.
pub fn get_long<S: ByteSource>(
    src: &mut S,
    protocol: Protocol,
    min: usize,
) -> Result<i64, S::Error> {
    if protocol.has_varints() { get_varlong(src, min) } else { get_longint(src) }
}

/// Reads a vstring of at most `max_len` bytes; a longer one exits 2.
pub fn get_vstring<S: ByteSource>(src: &mut S, max_len: usize) -> Result<Vec<u8>, S::Error> {
    get_vstring_or(src, max_len, ExitCode::Protocol)
}

/// Like [`get_vstring`], with the code that an over-long string exits with.
pub(crate) fn get_vstring_or<S: ByteSource>(
    src: &mut S,
    max_len: usize,
    exit: ExitCode,
) -> Result<Vec<u8>, S::Error> {
    let mut len = usize::from(src.byte()?);
    if len & 0x80 != 0 {
        len = (len & 0x7f) << 8 | usize::from(src.byte()?);
    }
    if len > max_len {
        let text = format!("over-long vstring received ({len} > {max_len})");
        return Err(Error::malformed(exit, "vstring", text).into());
    }
    src.read_vec(len)
}

/// Appends a u16.
pub fn put_u16(out: &mut Vec<u8>, value: u16) {
    out.extend_from_slice(&value.to_le_bytes());
}

/// Appends an i32.
pub fn put_i32(out: &mut Vec<u8>, value: i32) {
    out.extend_from_slice(&value.to_le_bytes());
}

/// Appends a u32.
pub fn put_u32(out: &mut Vec<u8>, value: u32) {
    out.extend_from_slice(&value.to_le_bytes());
}

/// Appends a varint.
pub fn put_varint(out: &mut Vec<u8>, value: i32) {
    put_var(out, &value.to_le_bytes(), 1);
}

/// Appends a varlong of at least `min` bytes (3 to 8, as [`get_varlong`]).
pub fn put_varlong(out: &mut Vec<u8>, value: i64, min: usize) {
    put_var(out, &value.to_le_bytes(), min);
}

fn put_var(out: &mut Vec<u8>, value: &[u8], min: usize) {
    let mut rest = value;
    let mut top = 0;
    // The shortest form that keeps `min` bytes; `top` is its most significant byte.
    while let Some((&last, lower)) = rest.split_last() {
        top = last;
        if last != 0 || rest.len() <= min {
            break;
        }
        rest = lower;
    }
    let extra = rest.len().saturating_sub(min) as u32;
    // The first byte has room for the top bits below this one.
    let room = 0x80_u8.checked_shr(extra).unwrap_or(0);
    if top >= room {
        out.push(!room.wrapping_sub(1));
        out.extend_from_slice(rest);
        return;
    }
    let marks = if extra > 0 { !(room << 1).wrapping_sub(1) } else { 0 };
    out.push(top | marks);
    out.extend_from_slice(rest.split_last().map_or(&[], |(_, lower)| lower));
}

/// Appends a longint: 4 bytes for 0 to 2^31 - 1, else 12.
pub fn put_longint(out: &mut Vec<u8>, value: i64) {
    match i32::try_from(value) {
        Ok(short) if short >= 0 => put_i32(out, short),
        _ => {
            put_i32(out, -1);
            out.extend_from_slice(&value.to_le_bytes());
        }
    }
}

/// Appends a number as [`get_number`] reads it.
pub fn put_number(out: &mut Vec<u8>, protocol: Protocol, value: i32) {
    if protocol.has_varints() { put_varint(out, value) } else { put_i32(out, value) }
}

/// Appends a long number as [`get_long`] reads it.
pub fn put_long(out: &mut Vec<u8>, protocol: Protocol, value: i64, min: usize) {
    if protocol.has_varints() { put_varlong(out, value, min) } else { put_longint(out, value) }
}

/// Appends a vstring. More than 32767 bytes have no form.
pub fn put_vstring(out: &mut Vec<u8>, bytes: &[u8]) -> Result<(), Error> {
    let len = bytes.len();
    if len > VSTRING_WIRE_MAX {
        let text = format!("a string of {len} bytes is too long to send (max {VSTRING_WIRE_MAX})");
        return Err(Error::too_big(ExitCode::Protocol, "vstring", text));
    }
    if len > 0x7f {
        out.push(0x80 | (len >> 8) as u8);
    }
    out.push(len as u8);
    out.extend_from_slice(bytes);
    Ok(())
}

#[cfg(test)]
#[path = "codec_tests.rs"]
mod tests;
