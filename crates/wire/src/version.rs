//! The protocol version as a type, and each behaviour that depends on it as a named predicate.
//!
//! Every other file asks a predicate; none compares version numbers itself. So the question "what
//! does protocol 30 change?" is answered here.

use crate::error::Error;
use crate::exit::ExitCode;
use crate::limits::{PEER_PROTOCOL_MAX, PEER_PROTOCOL_MIN};

/// A protocol number that this program speaks: 30, 31 or 32.
#[derive(Copy, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Protocol(u8);

impl Protocol {
    /// Oldest protocol spoken.
    pub const OLDEST: Protocol = Protocol(30);
    /// Newest protocol spoken, and the default.
    pub const NEWEST: Protocol = Protocol(32);

    /// The protocol of that number, if we speak it.
    pub fn new(number: i32) -> Option<Protocol> {
        let protocol = Protocol(u8::try_from(number).ok()?);
        (Self::OLDEST..=Self::NEWEST).contains(&protocol).then_some(protocol)
    }

    /// The number as it travels.
    pub fn number(self) -> i32 {
        i32::from(self.0)
    }

    /// Whether file times carry nanoseconds.
    pub fn has_nsec(self) -> bool {
        self.0 >= 31
    }

    /// Whether a failing side announces its exit code in a message.
    pub fn has_error_exit(self) -> bool {
        self.0 >= 31
    }

    /// Whether a daemon tells its timeout in a message.
    pub fn has_io_timeout(self) -> bool {
        self.0 >= 31
    }

    /// Whether the generator reports how much it deleted.
    pub fn has_del_stats(self) -> bool {
        self.0 >= 31
    }

    /// Whether one more pair of end marks follows the statistics.
    pub fn has_final_goodbye(self) -> bool {
        self.0 >= 31
    }

    /// Whether the end of a file list may carry an I/O error without a capability for it.
    pub fn always_safe_flist(self) -> bool {
        self.0 >= 31
    }

    /// Whether sockets and fifos carry a device number (which is ignored).
    pub fn specials_have_rdev(self) -> bool {
        self.0 < 31
    }

    /// Whether the deflate history of a long matched block repeats the block's first 65535 bytes.
    pub fn zlib_repeats_first_piece(self) -> bool {
        self.0 < 31
    }

    /// Whether forwarded names of `--files-from` travel outside the frames.
    pub fn raw_files_from(self) -> bool {
        self.0 < 31
    }

    /// Whether a daemon greeting of that number must name a sub-protocol.
    pub fn needs_subprotocol(version: i32) -> bool {
        version >= 30
    }

    /// Whether a daemon greeting of that number must list the digests of the login.
    pub fn needs_digest_list(version: i32) -> bool {
        version > 31
    }
}

/// The protocol of a session between us and a peer that announced `peer_number` (`[version]`): the
/// smaller of both.
///
/// A number no rsync ever had comes from a remote shell that prints text, and is reported so. A
/// peer that is merely too old is [`Error::Incompatible`]. Both exit 2.
pub fn negotiated(own: Protocol, peer_number: i32) -> Result<Protocol, Error> {
    if !(PEER_PROTOCOL_MIN..=PEER_PROTOCOL_MAX).contains(&peer_number) {
        let text = "protocol version mismatch -- is your shell clean?";
        return Err(Error::malformed(ExitCode::Protocol, "version", text));
    }
    if peer_number >= own.number() {
        return Ok(own);
    }
    Protocol::new(peer_number).ok_or_else(|| too_old(peer_number))
}

/// Like [`negotiated`] with a peer that also named its sub-protocol (`[version-sub]`, 0 for a
/// released protocol, as ours always is). A pre-release speaks the protocol before its number.
pub fn negotiated_sub(own: Protocol, peer: i32, peer_sub: i32) -> Result<Protocol, Error> {
    let agreed = negotiated(own, peer)?;
    if peer_sub == 0 || peer > own.number() {
        return Ok(agreed);
    }
    let before = agreed.number() - 1;
    Protocol::new(before).ok_or_else(|| too_old(before))
}

fn too_old(number: i32) -> Error {
    let oldest = Protocol::OLDEST.number();
    let text = format!("the peer speaks protocol {number}, but {oldest} is the oldest supported");
    Error::incompatible(ExitCode::Protocol, "version", text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn smaller_number_wins() {
        for (own, peer, want) in [(32, 32, 32), (32, 31, 31), (30, 32, 30), (31, 40, 31)] {
            let own = Protocol::new(own).unwrap();
            assert_eq!(negotiated(own, peer).unwrap().number(), want, "{own:?} and {peer}");
        }
    }

    #[test]
    fn text_in_place_of_a_version_is_recognised() {
        for peer in [0, 19, 41, -1, i32::from_le_bytes(*b"Welc")] {
            let error = negotiated(Protocol::NEWEST, peer).unwrap_err();
            assert_eq!(error.to_string(), "protocol version mismatch -- is your shell clean?");
            assert_eq!(error.exit_code(), ExitCode::Protocol);
        }
    }

    #[test]
    fn an_old_peer_is_named() {
        let error = negotiated(Protocol::NEWEST, 29).unwrap_err();
        assert!(matches!(error, Error::Incompatible { .. }));
        assert!(error.to_string().contains("29"));
        assert_eq!(error.exit_code(), ExitCode::Protocol);
    }

    #[test]
    fn a_pre_release_counts_as_the_protocol_before() {
        let sub = |peer, sub| negotiated_sub(Protocol::NEWEST, peer, sub).map(Protocol::number);
        assert_eq!(sub(32, 0), Ok(32));
        assert_eq!(sub(32, 3), Ok(31));
        assert_eq!(sub(31, 14), Ok(30));
        assert_eq!(sub(33, 1), Ok(32));
        assert!(sub(30, 1).is_err());
    }

    #[test]
    fn only_spoken_numbers_make_a_protocol() {
        for number in [29, 33, -30, 30 + 256] {
            assert_eq!(Protocol::new(number), None);
        }
    }
}
