//! Compatibility flags and the capability string that asks for them.

use crate::codec::{ByteSource, get_varint, put_varint};

/// The server's answer to the client's capabilities. Source: [compat-flags].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CompatFlags(pub u32);

impl CompatFlags {
    /// Incremental recursion is used.
    pub const INC_RECURSE: u32 = 1;
    /// The server can set times of symlinks.
    pub const SYMLINK_TIMES: u32 = 2;
    /// The server converts symlink texts.
    pub const SYMLINK_ICONV: u32 = 4;
    /// A list's end may carry an error word.
    pub const SAFE_FLIST: u32 = 8;
    /// The shortcut for extended attributes of hard links is not used.
    pub const AVOID_XATTR_OPT: u32 = 0x10;
    /// MD5 block sums put the seed first.
    pub const CHKSUM_SEED_FIX: u32 = 0x20;
    /// A partial file is updated in place.
    pub const INPLACE_PARTIAL: u32 = 0x40;
    /// List flags are varints, names are negotiated.
    pub const VARINT_FLIST: u32 = 0x80;
    /// Id lists carry the name of id 0.
    pub const ID0_NAMES: u32 = 0x100;

    /// Whether a flag is set.
    pub fn contains(self, flag: u32) -> bool {
        self.0 & flag == flag
    }

    /// Reads the flags; a single byte below 0x80 of an old server reads the same.
    pub fn decode<S: ByteSource>(src: &mut S) -> Result<CompatFlags, S::Error> {
        Ok(CompatFlags(get_varint(src)?.cast_unsigned()))
    }

    /// Appends the flags as the client of these capabilities expects them: a historic letter asks
    /// for one byte.
    pub fn encode_for(self, capabilities: &[u8], out: &mut Vec<u8>) {
        if letters(capabilities).contains(&b'V') {
            out.push(self.0.to_le_bytes()[0]);
        } else {
            put_varint(out, self.0.cast_signed());
        }
    }
}

/// The letters of a capability string: what follows the pre-release tag or the lone dot.
fn letters(capabilities: &[u8]) -> &[u8] {
    let tag = capabilities.iter().position(|b| !b.is_ascii_digit() && *b != b'.');
    tag.map_or(&b""[..], |at| &capabilities[at..])
}

/// What follows `-e` in the words to a server. `inc`: this client can take lists in segments.
pub fn client_capabilities(inc: bool) -> &'static str {
    // Letters: L symlink times, s symlink texts (without effect as long as nothing is converted),
    // f safe lists, x no attribute shortcut, C seed order, I in-place partial files, v varint
    // flags and negotiation, u names of id 0.
    if inc { "e.iLsfxCIvu" } else { "e.LsfxCIvu" }
}

/// The server's flags for a client of these capabilities. `can_inc`: this server's options allow
/// lists in segments.
pub fn flags_for_client(capabilities: &[u8], can_inc: bool) -> CompatFlags {
    let letters = letters(capabilities);
    let mut flags = CompatFlags::SYMLINK_TIMES;
    for (letter, flag) in [
        (b'i', if can_inc { CompatFlags::INC_RECURSE } else { 0 }),
        (b'f', CompatFlags::SAFE_FLIST),
        (b'x', CompatFlags::AVOID_XATTR_OPT),
        (b'C', CompatFlags::CHKSUM_SEED_FIX),
        (b'I', CompatFlags::INPLACE_PARTIAL),
        (b'v', CompatFlags::VARINT_FLIST),
        (b'V', CompatFlags::VARINT_FLIST),
        (b'u', CompatFlags::ID0_NAMES),
    ] {
        if letters.contains(&letter) {
            flags |= flag;
        }
    }
    CompatFlags(flags)
}

/// Whether this client negotiates names.
pub fn negotiates_strings(capabilities: &[u8]) -> bool {
    letters(capabilities).contains(&b'v')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_modern_client_gets_all_but_conversion() {
        let flags = flags_for_client(b".iLsfxCIvu", true);
        assert_eq!(flags.0, 0x1fb);
        let mut out = Vec::new();
        flags.encode_for(b".iLsfxCIvu", &mut out);
        assert_eq!(out, [0x81, 0xfb]);
        assert_eq!(flags_for_client(b"31.14iLsf", true).0, 0x0b);
        assert_eq!(flags_for_client(b"", true).0, 2);
        out.clear();
        flags_for_client(b".fV", false).encode_for(b".fV", &mut out);
        assert_eq!(out, [0x8a]);
        assert!(!negotiates_strings(b".fV") && negotiates_strings(b".v"));
    }
}
