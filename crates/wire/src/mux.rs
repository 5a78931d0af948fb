//! The frame around everything after the set-up (`[mux-header]`): a tag and a payload length.
//!
//! Shape: u32, the low 24 bits the length of the payload in bytes, the top byte the tag's code
//! plus 7. Frames of tag [`DATA`] concatenate to one seamless stream; what the others say is
//! [`crate::message`]'s.

use crate::error::Error;
use crate::exit::ExitCode;

/// Code of the tag that carries the byte stream. An empty frame of it is a keep-alive.
pub const DATA: u8 = 0;

/// Most data bytes in a frame we write. A reader accepts any length the header can tell.
pub const DATA_MAX: usize = 65_532;

/// What a header adds to a tag's code.
const TAG_BASE: u8 = 7;

/// Most bytes a header can tell.
const LENGTH_MAX: usize = 0x00ff_ffff;

/// A frame's header. `len` is in bytes, less than 2^24.
pub fn header(tag_code: u8, len: usize) -> [u8; 4] {
    debug_assert!(len <= LENGTH_MAX, "a frame of {len} bytes has no header");
    let [a, b, c, ..] = len.to_le_bytes();
    [a, b, c, tag_code.wrapping_add(TAG_BASE)]
}

/// Tag code and payload length of a header. A tag below the base exits 12.
pub fn parse(header: [u8; 4]) -> Result<(u8, usize), Error> {
    let [a, b, c, tag] = header;
    let tag_code = tag.checked_sub(TAG_BASE).ok_or_else(|| unexpected_tag(i32::from(tag) - 7))?;
    Ok((tag_code, usize::from(a) | usize::from(b) << 8 | usize::from(c) << 16))
}

/// The refusal of a tag that is unknown, or not the peer's to send.
pub(crate) fn unexpected_tag(code: i32) -> Error {
    Error::malformed(ExitCode::StreamIo, "mux-tag", format!("unexpected tag {code}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_are_those_of_the_captures() {
        for (bytes, tag, len) in [
            ([0x04, 0, 0, 0x07], DATA, 4),
            ([0x2f, 0, 0, 0x07], DATA, 47),
            ([0x06, 0, 0, 0x6c], 101, 6),
            ([0x04, 0, 0, 0x6d], 102, 4),
            ([0x1b, 0, 0, 0x0a], 3, 27),
            ([0xff, 0xff, 0xff, 0x07], DATA, 0xff_ffff),
        ] {
            assert_eq!(parse(bytes), Ok((tag, len)));
            assert_eq!(header(tag, len), bytes);
        }
    }

    #[test]
    fn a_tag_below_the_base_is_refused() {
        let error = parse([0, 0, 0, 6]).unwrap_err();
        assert_eq!((error.exit_code(), error.field()), (ExitCode::StreamIo, "mux-tag"));
    }
}
