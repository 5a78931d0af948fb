//! The protocol version as a type, and each behaviour that depends on it as a named predicate.
//!
//! Every other file asks a predicate; none compares version numbers itself. So the question "what
//! does protocol 30 change?" is answered here.

use crate::error::Error;
use crate::exit::ExitCode;
use crate::limits::{BLOCK_LEN_MAX, OLD_BLOCK_LEN_MAX, PEER_PROTOCOL_MAX, PEER_PROTOCOL_MIN};

/// A protocol number that this program speaks: 27 to 32.
#[derive(Copy, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Protocol(u8);

impl Protocol {
    /// Oldest protocol spoken.
    pub const OLDEST: Protocol = Protocol(27);
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

    /// Whether numbers of lists and statistics have their short forms, and indices travel as
    /// differences; before, all had four bytes.
    pub fn has_varints(self) -> bool {
        self.0 >= 30
    }

    /// Whether a server grants compatibility flags, and a client asks for them.
    pub fn has_compat_flags(self) -> bool {
        self.0 >= 30
    }

    /// Whether what a client sends is framed.
    pub fn client_frames(self) -> bool {
        self.0 >= 30
    }

    /// Whether a sender tells which requests it cannot answer, and its errors after the list; and
    /// whether messages tell errors from warnings. Before, errors followed the list alone.
    pub fn has_failure_messages(self) -> bool {
        self.0 >= 30
    }

    /// Whether the sums implied without a choice are MD5; before, they were MD4.
    pub fn implies_md5(self) -> bool {
        self.0 >= 30
    }

    /// Whether hard links travel as indices of groups; before, as device and inode.
    pub fn has_link_groups(self) -> bool {
        self.0 >= 30
    }

    /// Whether the file list marks directories whose contents are not in it.
    pub fn marks_contents(self) -> bool {
        self.0 >= 30
    }

    /// Whether plain `--delete` deletes as directories are met; before, ahead of the transfer.
    pub fn deletes_during(self) -> bool {
        self.0 >= 30
    }

    /// Whether access control lists and extended attributes travel.
    pub fn has_acls(self) -> bool {
        self.0 >= 30
    }

    /// Whether a rule can be marked perishable.
    pub fn has_perishable_rules(self) -> bool {
        self.0 >= 30
    }

    /// Whether a daemon's arguments end in NULs; before, in line ends.
    pub fn has_nul_arguments(self) -> bool {
        self.0 >= 30
    }

    /// Whether `--append` leaves what it builds on out of the digest.
    pub fn appends_blindly(self) -> bool {
        self.0 >= 30
    }

    /// Longest block of a basis, in bytes.
    pub fn block_len_max(self) -> u32 {
        if self.0 >= 30 { BLOCK_LEN_MAX } else { OLD_BLOCK_LEN_MAX }
    }

    /// Whether records of items have flags, and deletions messages; before, an index was a request,
    /// and all that was told.
    pub fn has_item_flags(self) -> bool {
        self.0 >= 29
    }

    /// Whether a phase without transfers follows the one of repeated transfers.
    pub fn has_third_phase(self) -> bool {
        self.0 >= 29
    }

    /// Whether lists are sorted by components; before, by the bytes of names.
    pub fn sorts_components(self) -> bool {
        self.0 >= 29
    }

    /// Whether filter rules carry modifiers; before, a rule was an exclusion or an inclusion.
    pub fn has_rule_modifiers(self) -> bool {
        self.0 >= 29
    }

    /// Whether the statistics tell how long the list took, and a summary what was created.
    pub fn has_list_times(self) -> bool {
        self.0 >= 29
    }

    /// Whether all of a server's texts go through the connection unless options say otherwise.
    pub fn frames_all_texts(self) -> bool {
        self.0 < 29
    }

    /// Whether flag words of the file list can have a second byte.
    pub fn has_wide_flags(self) -> bool {
        self.0 >= 28
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
        for (own, peer, want) in
            [(32, 32, 32), (32, 31, 31), (30, 32, 30), (31, 40, 31), (32, 27, 27)]
        {
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
        let error = negotiated(Protocol::NEWEST, 26).unwrap_err();
        assert!(matches!(error, Error::Incompatible { .. }));
        assert!(error.to_string().contains("26"));
        assert_eq!(error.exit_code(), ExitCode::Protocol);
    }

    #[test]
    fn a_pre_release_counts_as_the_protocol_before() {
        let sub = |peer, sub| negotiated_sub(Protocol::NEWEST, peer, sub).map(Protocol::number);
        assert_eq!(sub(32, 0), Ok(32));
        assert_eq!(sub(32, 3), Ok(31));
        assert_eq!(sub(31, 14), Ok(30));
        assert_eq!(sub(33, 1), Ok(32));
        assert_eq!(sub(30, 1), Ok(29));
        assert!(sub(27, 1).is_err());
    }

    #[test]
    fn only_spoken_numbers_make_a_protocol() {
        for number in [26, 33, -30, 30 + 256] {
            assert_eq!(Protocol::new(number), None);
        }
    }
}
