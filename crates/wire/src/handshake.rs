//! Capabilities and compatibility flags: what a client asks for, and what a server grants.
//!
//! A client of protocol 30 or later ends its bundle of short options with `e` and a capability
//! string (`[capabilities]`): its sub-protocol, written `VERSION.SUB` or a lone `.` for a released
//! one, then letters. The server answers with flags (`[compat-flags]`). Everything here is pure;
//! the order of the set-up's steps is in the crate `rsync`.

use crate::codec::{ByteSource, get_varint, put_varint};
use crate::error::Error;
use crate::version::{Protocol, negotiated_sub};

/// The flags that a server grants: bits, named by the constants.
#[derive(Copy, Clone, PartialEq, Eq, Debug, Default)]
pub struct CompatFlags(pub u32);

impl CompatFlags {
    /// File lists travel in segments.
    pub const INC_RECURSE: u32 = 0x001;
    /// The server can set times of symbolic links.
    pub const SYMLINK_TIMES: u32 = 0x002;
    /// The server converts the content of symbolic links.
    pub const SYMLINK_ICONV: u32 = 0x004;
    /// The end of a file list may carry an I/O error.
    pub const SAFE_FLIST: u32 = 0x008;
    /// Extended attributes of hard links travel like all others.
    pub const AVOID_XATTR_OPT: u32 = 0x010;
    /// MD5 block sums hash the seed before the data.
    pub const CHKSUM_SEED_FIX: u32 = 0x020;
    /// A basis in the partial directory is updated in place.
    pub const INPLACE_PARTIAL: u32 = 0x040;
    /// File list flags are varints, and names are negotiated.
    pub const VARINT_FLIST: u32 = 0x080;
    /// Id lists carry the name of id 0.
    pub const ID0_NAMES: u32 = 0x100;

    /// Whether all of these bits are set.
    pub fn contains(self, bits: u32) -> bool {
        self.0 & bits == bits
    }

    /// Reads the flags. The single byte of old servers reads the same.
    pub fn decode<S: ByteSource>(src: &mut S) -> Result<CompatFlags, S::Error> {
        get_varint(src).map(|bits| CompatFlags(bits.cast_unsigned()))
    }

    /// Appends the flags in the form that a client of these capabilities reads: a varint, or one
    /// byte for the clients that asked with the historic letter `V`.
    pub fn encode_for(self, capabilities: &[u8], out: &mut Vec<u8>) {
        if Capabilities::parse(capabilities).has(b'V') {
            out.push(self.0 as u8);
        } else {
            put_varint(out, self.0.cast_signed());
        }
    }
}

/// A client's capability string, taken apart.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
struct Capabilities<'a> {
    /// Version and sub-protocol of a pre-release.
    pre_release: Option<(i32, i32)>,
    letters: &'a [u8],
}

impl Capabilities<'_> {
    fn parse(text: &[u8]) -> Capabilities<'_> {
        let (version, rest) = split_number(text);
        let (sub, letters) = split_number(rest.strip_prefix(b".").unwrap_or(rest));
        Capabilities { pre_release: version.zip(sub), letters }
    }

    fn has(&self, letter: u8) -> bool {
        self.letters.contains(&letter)
    }
}

/// Splits decimal digits off the front; none where there are none or too many.
fn split_number(text: &[u8]) -> (Option<i32>, &[u8]) {
    let len = text.iter().take_while(|b| b.is_ascii_digit()).count();
    let (digits, rest) = text.split_at(len);
    (str::from_utf8(digits).ok().and_then(|digits| digits.parse().ok()), rest)
}

/// What a client with a released protocol writes at the end of its short options: `e` and the
/// capability string. `inc`: its options allow file lists in segments.
pub fn client_capabilities(inc: bool) -> &'static str {
    if inc { "e.iLsfxCIvu" } else { "e.LsfxCIvu" }
}

/// The protocol that a server announces to a client of these capabilities: ours, or the one
/// before the client's pre-release. One that we do not speak exits 2.
pub fn server_protocol(own: Protocol, capabilities: &[u8]) -> Result<Protocol, Error> {
    match Capabilities::parse(capabilities).pre_release {
        Some((version, sub)) if sub != 0 => negotiated_sub(own, version, sub),
        _ => Ok(own),
    }
}

/// The flags that a server grants a client of these capabilities. `can_inc`: the server's options
/// allow file lists in segments.
///
/// Only what the client asked for is granted; times of symbolic links, and the conversion of their
/// texts, are the server's own abilities.
pub fn flags_for_client(capabilities: &[u8], can_inc: bool) -> CompatFlags {
    let capabilities = Capabilities::parse(capabilities);
    let mut bits = CompatFlags::SYMLINK_TIMES | CompatFlags::SYMLINK_ICONV;
    for (letter, bit) in [
        (b'f', CompatFlags::SAFE_FLIST),
        (b'x', CompatFlags::AVOID_XATTR_OPT),
        (b'C', CompatFlags::CHKSUM_SEED_FIX),
        (b'I', CompatFlags::INPLACE_PARTIAL),
        (b'v', CompatFlags::VARINT_FLIST),
        (b'V', CompatFlags::VARINT_FLIST),
        (b'u', CompatFlags::ID0_NAMES),
    ] {
        if capabilities.has(letter) {
            bits |= bit;
        }
    }
    if can_inc && capabilities.has(b'i') {
        bits |= CompatFlags::INC_RECURSE;
    }
    CompatFlags(bits)
}

/// Whether a client of these capabilities converts the texts of symbolic links.
pub fn converts_links(capabilities: &[u8]) -> bool {
    Capabilities::parse(capabilities).has(b's')
}

/// Whether a client of these capabilities exchanges lists of names.
pub fn negotiates_strings(capabilities: &[u8]) -> bool {
    Capabilities::parse(capabilities).has(b'v')
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::SliceSource;

    fn granted(capabilities: &str, can_inc: bool) -> (u32, Vec<u8>) {
        let flags = flags_for_client(capabilities.as_bytes(), can_inc);
        let mut out = Vec::new();
        flags.encode_for(capabilities.as_bytes(), &mut out);
        (flags.0, out)
    }

    #[test]
    fn flags_of_the_captures_are_read() {
        for (bytes, bits) in
            [(&[0x81, 0xff][..], 0x1ff), (&[0x81, 0xfe], 0x1fe), (&[0x0f], 0x0f), (&[0x7f], 0x7f)]
        {
            assert_eq!(CompatFlags::decode(&mut SliceSource::new(bytes)), Ok(CompatFlags(bits)));
        }
    }

    #[test]
    fn a_server_grants_what_the_client_asked_for() {
        assert_eq!(granted(".iLsfxCIvu", true), (0x1ff, vec![0x81, 0xff]));
        assert_eq!(granted(".iLsfxCIvu", false), (0x1fe, vec![0x81, 0xfe]));
        assert_eq!(granted(".LsfxCIvu", true), (0x1fe, vec![0x81, 0xfe]));
        assert_eq!(granted("31.14iLsfx", true), (0x1f, vec![0x1f]));
        assert_eq!(granted(".if", true), (0x0f, vec![0x0f]));
        assert_eq!(granted("", true), (0x06, vec![0x06]));
        assert_eq!(granted(".", true), (0x06, vec![0x06]));
    }

    #[test]
    fn the_historic_letter_gets_one_byte_and_no_strings() {
        assert_eq!(granted(".fV", false), (0x8e, vec![0x8e]));
        assert_eq!(granted(".iLsfxCIVu", true), (0x1ff, vec![0xff]));
        assert!(!negotiates_strings(b".fV"));
        assert!(negotiates_strings(b".fvV"));
        assert!(negotiates_strings(b"32.5iLsfv"));
        assert!(!negotiates_strings(b""));
    }

    #[test]
    fn a_pre_release_client_lowers_what_the_server_announces() {
        let announced = |text: &[u8]| server_protocol(Protocol::NEWEST, text).map(Protocol::number);
        for (text, want) in [
            (&b".iLs"[..], 32),
            (b"", 32),
            (b"31.14iLsfx", 30),
            (b"32.5iLsfv", 31),
            (b"32.0iLsf", 32),
            (b"33.1i", 32),
            (b"32iLsf", 32),
        ] {
            assert_eq!(announced(text), Ok(want), "{text:?}");
        }
        assert_eq!(announced(b"30.1fi"), Ok(29));
        assert!(matches!(announced(b"27.1fi"), Err(Error::Incompatible { .. })));
    }

    #[test]
    fn digits_are_no_letters() {
        let parsed = Capabilities::parse(b"31.14iL");
        assert_eq!((parsed.pre_release, parsed.letters), (Some((31, 14)), &b"iL"[..]));
        let parsed = Capabilities::parse(b".iL");
        assert_eq!((parsed.pre_release, parsed.letters), (None, &b"iL"[..]));
        assert_eq!(Capabilities::parse(b"99999999999.1i").pre_release, None);
    }

    #[test]
    fn ours_asks_for_everything() {
        assert_eq!(client_capabilities(true), "e.iLsfxCIvu");
        assert_eq!(client_capabilities(false), "e.LsfxCIvu");
    }
}
