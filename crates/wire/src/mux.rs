//! The frame around everything after the set-up: 24 bits of length, 8 of tag. Source: [mux-header].

use crate::error::Error;
use crate::exit::ExitCode;

/// Tag of raw stream bytes.
pub const DATA: u8 = 0;
/// What is added to a tag on the wire.
const TAG_BASE: u8 = 7;
/// Most data bytes in a frame this program writes.
pub const DATA_MAX: usize = 65_532;
/// Most payload bytes a header can tell.
pub const LENGTH_MAX: usize = 0x00ff_ffff;

/// A frame's header. `len` is at most [`LENGTH_MAX`].
pub fn header(tag: u8, len: usize) -> [u8; 4] {
    let len = u32::try_from(len.min(LENGTH_MAX)).unwrap_or(0);
    let [a, b, c, _] = len.to_le_bytes();
    [a, b, c, tag.wrapping_add(TAG_BASE)]
}

/// Tag and payload length of a header. Errors: a tag below the base.
pub fn parse(header: [u8; 4]) -> Result<(u8, usize), Error> {
    let [a, b, c, tag] = header;
    let len = usize::from(a) | usize::from(b) << 8 | usize::from(c) << 16;
    let tag = tag.checked_sub(TAG_BASE).ok_or_else(|| {
        Error::malformed(ExitCode::StreamIo, "mux-tag", format!("unexpected tag {tag}"))
    })?;
    Ok((tag, len))
}
