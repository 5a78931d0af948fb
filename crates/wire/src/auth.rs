//! Challenge and response of the daemon login (`[auth-challenge]`, `[auth-response]`).
//!
//! The daemon sends a challenge; the client answers `USER RESPONSE`, where the response is the
//! unpadded base64 of a digest over password and challenge. The password never travels. Which
//! digest it is follows from the greetings. Reading secrets and wiping them is the caller's duty.

use base64::Engine;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use md5::digest::Digest;

use crate::version::Protocol;

/// A digest of the login, ordered by strength.
#[derive(Copy, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum AuthDigest {
    /// MD4 after four zero bytes: that of an old peer, whose greeting lists none.
    OldMd4,
    /// MD4.
    Md4,
    /// MD5, also the digest of a peer whose greeting lists none.
    Md5,
    /// SHA-1.
    Sha1,
    /// SHA-256.
    Sha256,
    /// SHA-512.
    Sha512,
}

impl AuthDigest {
    /// All digests, strongest first: the order of a greeting.
    pub const PREFERENCE: [AuthDigest; 5] = [
        AuthDigest::Sha512,
        AuthDigest::Sha256,
        AuthDigest::Sha1,
        AuthDigest::Md5,
        AuthDigest::Md4,
    ];

    /// The digest of that name, in upper or lower case.
    pub fn parse(name: &str) -> Option<AuthDigest> {
        Self::PREFERENCE.into_iter().find(|digest| digest.name().eq_ignore_ascii_case(name))
    }

    /// Its name in a greeting.
    pub fn name(self) -> &'static str {
        match self {
            AuthDigest::Md4 | AuthDigest::OldMd4 => "md4",
            AuthDigest::Md5 => "md5",
            AuthDigest::Sha1 => "sha1",
            AuthDigest::Sha256 => "sha256",
            AuthDigest::Sha512 => "sha512",
        }
    }
}

/// What a peer without a list of digests means.
fn unlisted(protocol: Protocol) -> Option<AuthDigest> {
    Some(if protocol.implies_md5() { AuthDigest::Md5 } else { AuthDigest::OldMd4 })
}

/// As client: our first digest that the daemon's greeting lists. None where there is none.
pub fn choose_client(daemon: Option<&[String]>, protocol: Protocol) -> Option<AuthDigest> {
    let Some(names) = daemon else { return unlisted(protocol) };
    let listed: Vec<AuthDigest> = names.iter().filter_map(|name| AuthDigest::parse(name)).collect();
    AuthDigest::PREFERENCE.into_iter().find(|digest| listed.contains(digest))
}

/// As daemon: the first digest of the client's greeting that we know. None where there is none.
pub fn choose_daemon(client: Option<&[String]>, protocol: Protocol) -> Option<AuthDigest> {
    let Some(names) = client else { return unlisted(protocol) };
    names.iter().find_map(|name| AuthDigest::parse(name))
}

/// The challenge made of fresh random bytes, of which there should be at least 16.
pub fn challenge(random: &[u8]) -> String {
    STANDARD_NO_PAD.encode(random)
}

/// The response to a challenge.
pub fn response(digest: AuthDigest, password: &[u8], challenge: &[u8]) -> String {
    match digest {
        AuthDigest::OldMd4 => encoded::<md4::Md4>(&[&[0; 4], password].concat(), challenge),
        AuthDigest::Md4 => encoded::<md4::Md4>(password, challenge),
        AuthDigest::Md5 => encoded::<md5::Md5>(password, challenge),
        AuthDigest::Sha1 => encoded::<sha1::Sha1>(password, challenge),
        AuthDigest::Sha256 => encoded::<sha2::Sha256>(password, challenge),
        AuthDigest::Sha512 => encoded::<sha2::Sha512>(password, challenge),
    }
}

fn encoded<D: Digest>(password: &[u8], challenge: &[u8]) -> String {
    STANDARD_NO_PAD.encode(D::new().chain_update(password).chain_update(challenge).finalize())
}

/// Whether `answer` is the response to a challenge. The time it takes does not tell how much of a
/// wrong answer is right.
pub fn verify(digest: AuthDigest, password: &[u8], challenge: &[u8], answer: &[u8]) -> bool {
    let ours = response(digest, password, challenge);
    let mut difference = u8::from(ours.len() != answer.len());
    for (ours, theirs) in ours.bytes().zip(answer) {
        difference |= ours ^ theirs;
    }
    std::hint::black_box(difference) == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    const CHALLENGE: &[u8] = b"Q2hhbGxlbmdlMTIzNDU2Nzg5MA";

    fn names(text: &str) -> Vec<String> {
        text.split(' ').map(str::to_string).collect()
    }

    #[test]
    fn responses_are_those_of_the_captures() {
        for (list, want) in [
            (
                Some("sha512 sha256 sha1 md5 md4"),
                "/suFvyre1YiwrDGla87pX9Z940mq2ijUGxIWgYvtcMtoV/KEU6+pN2KGzSBLNjM3OIJB9B1zxlwH6GFsal+5rg",
            ),
            (Some("sha256 md5"), "YtFOb7sPXlphnv7CFXjwatrc0GvRQOjpYajxKRn9m68"),
            (Some("md5 sha1"), "VDlUgmA7HcaBOXoqN8hzXDH3xQ4"),
            (None, "ytRNcJUV7RyhS5WdCOZWQw"),
            (Some("md4"), "wvULsQeRjBup/AekvLVpHQ"),
        ] {
            let digest = choose_client(list.map(names).as_deref(), Protocol::NEWEST).unwrap();
            assert_eq!(response(digest, b"s3cret", CHALLENGE), want, "{list:?}");
            assert!(verify(digest, b"s3cret", CHALLENGE, want.as_bytes()));
            assert!(!verify(digest, b"s3cret2", CHALLENGE, want.as_bytes()));
        }
    }

    #[test]
    fn an_old_peer_has_its_own_digest() {
        let old = Protocol::new(29).unwrap();
        assert_eq!(choose_daemon(None, old), Some(AuthDigest::OldMd4));
        let digest = choose_client(None, old).unwrap();
        assert_eq!(response(digest, b"s3cret", CHALLENGE), "vmhKczFyzf63OpPrwUvAGQ");
    }

    #[test]
    fn an_answer_is_compared_whole() {
        let right = response(AuthDigest::Sha256, b"s3cret", CHALLENGE);
        let verify = |answer: &[u8]| verify(AuthDigest::Sha256, b"s3cret", CHALLENGE, answer);
        assert!(!verify(b""));
        assert!(!verify(&right.as_bytes()[..right.len() - 1]));
        assert!(!verify(format!("{right}=").as_bytes()));
        assert!(!verify(right.to_ascii_lowercase().as_bytes()));
    }

    #[test]
    fn a_daemon_follows_the_client_order() {
        assert_eq!(
            choose_daemon(Some(&names("x MD5 sha512")), Protocol::NEWEST),
            Some(AuthDigest::Md5)
        );
        assert_eq!(choose_daemon(Some(&names("crc32")), Protocol::NEWEST), None);
        assert_eq!(choose_daemon(None, Protocol::NEWEST), Some(AuthDigest::Md5));
        assert_eq!(choose_client(Some(&names("crc32")), Protocol::NEWEST), None);
    }

    #[test]
    fn digests_are_ordered_by_strength() {
        let mut sorted = AuthDigest::PREFERENCE;
        sorted.sort_by(|a, b| b.cmp(a));
        assert_eq!(sorted, AuthDigest::PREFERENCE);
        assert_eq!(challenge(&[0; 16]).len(), 22);
    }
}
