//! Challenge and response of the daemon login. The password never travels.

use base64::Engine;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use md4::Digest as _;

use crate::version::Protocol;

/// A digest of the login, weakest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum AuthDigest {
    /// MD4.
    Md4,
    /// MD5, which also stands for greetings without a list.
    Md5,
    /// SHA-1.
    Sha1,
    /// SHA-256.
    Sha256,
    /// SHA-512.
    Sha512,
}

/// Preferences, strongest first.
const PREFERENCE: [AuthDigest; 5] =
    [AuthDigest::Sha512, AuthDigest::Sha256, AuthDigest::Sha1, AuthDigest::Md5, AuthDigest::Md4];

impl AuthDigest {
    /// The digest of a name, any case.
    pub fn parse(name: &str) -> Option<AuthDigest> {
        PREFERENCE.into_iter().find(|digest| digest.name().eq_ignore_ascii_case(name))
    }

    /// Its name in a greeting.
    pub fn name(self) -> &'static str {
        match self {
            AuthDigest::Md4 => "md4",
            AuthDigest::Md5 => "md5",
            AuthDigest::Sha1 => "sha1",
            AuthDigest::Sha256 => "sha256",
            AuthDigest::Sha512 => "sha512",
        }
    }
}

/// As client: the first own digest that the daemon lists; MD5 where it lists none.
pub fn choose_client(daemon: Option<&[String]>, _protocol: Protocol) -> Option<AuthDigest> {
    match daemon {
        None => Some(AuthDigest::Md5),
        Some(names) => PREFERENCE.into_iter().find(|d| names.iter().any(|n| n == d.name())),
    }
}

/// As daemon: the first digest of the client's list that we know; MD5 where it lists none.
pub fn choose_daemon(client: Option<&[String]>) -> Option<AuthDigest> {
    match client {
        None => Some(AuthDigest::Md5),
        Some(names) => names.iter().find_map(|name| AuthDigest::parse(name)),
    }
}

/// The answer to a challenge: unpadded base64 of the digest over password and challenge.
pub fn response(digest: AuthDigest, password: &[u8], challenge: &[u8]) -> String {
    fn run<D: md4::Digest>(password: &[u8], challenge: &[u8]) -> String {
        STANDARD_NO_PAD.encode(D::new().chain_update(password).chain_update(challenge).finalize())
    }
    match digest {
        AuthDigest::Md4 => run::<md4::Md4>(password, challenge),
        AuthDigest::Md5 => run::<md5::Md5>(password, challenge),
        AuthDigest::Sha1 => run::<sha1::Sha1>(password, challenge),
        AuthDigest::Sha256 => run::<sha2::Sha256>(password, challenge),
        AuthDigest::Sha512 => run::<sha2::Sha512>(password, challenge),
    }
}

/// Compares two answers in a time that does not tell where they differ.
pub fn same_answer(ours: &[u8], theirs: &[u8]) -> bool {
    let mut difference = u8::from(ours.len() != theirs.len());
    for (at, byte) in ours.iter().enumerate() {
        difference |= byte ^ theirs.get(at).copied().unwrap_or(0);
    }
    difference == 0
}

/// The challenge made of random bytes, at least 16 of them.
pub fn challenge(random: &[u8]) -> String {
    STANDARD_NO_PAD.encode(random)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_captured_vectors() {
        let names = |text: &str| text.split(' ').map(str::to_string).collect::<Vec<_>>();
        for (list, answer) in [
            (
                Some("sha512 sha256 sha1 md5 md4"),
                "/suFvyre1YiwrDGla87pX9Z940mq2ijUGxIWgYvtcMtoV/KEU6+pN2KGzSBLNjM3OIJB9B1zxlwH6GFsal+5rg",
            ),
            (Some("sha256 md5"), "YtFOb7sPXlphnv7CFXjwatrc0GvRQOjpYajxKRn9m68"),
            (Some("md5 sha1"), "VDlUgmA7HcaBOXoqN8hzXDH3xQ4"),
            (None, "ytRNcJUV7RyhS5WdCOZWQw"),
            (Some("md4"), "wvULsQeRjBup/AekvLVpHQ"),
        ] {
            let list = list.map(names);
            let digest = choose_client(list.as_deref(), Protocol::NEWEST).unwrap();
            assert_eq!(response(digest, b"s3cret", b"Q2hhbGxlbmdlMTIzNDU2Nzg5MA"), answer);
        }
        assert!(same_answer(b"abc", b"abc") && !same_answer(b"abc", b"abd"));
        assert!(!same_answer(b"abc", b"ab") && !same_answer(b"", b"a"));
        assert_eq!(choose_daemon(Some(&names("x md5 sha512"))), Some(AuthDigest::Md5));
    }
}
