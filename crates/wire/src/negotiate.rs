//! Choosing a checksum and a compression from the two sides' lists of names (`[checksum-list]`,
//! `[compress-list]`).
//!
//! Each side sends its names, separated by blanks, before it reads the other's. Releases differ in
//! whose order decides, and agree only where both lists are in the canonical order. So we always
//! emit that order, choose as server by the client's list, and as client by our own.

use crate::codec::{ByteSource, get_vstring_or};
use crate::exit::ExitCode;
use crate::limits::NEGOTIATION_MAX;

/// A name as it travels, lower case.
pub type AlgorithmName = &'static [u8];

/// Checksums in canonical order.
const CHECKSUMS: [AlgorithmName; 7] = [b"xxh128", b"xxh3", b"xxh64", b"md5", b"md4", b"sha1", NONE];

/// Codecs in canonical order. A build without the C library has no zstd.
const CODECS: &[AlgorithmName] = if cfg!(feature = "zstd") {
    &[b"zstd", b"lz4", b"zlibx", b"zlib", NONE]
} else {
    &[b"lz4", b"zlibx", b"zlib", NONE]
};

/// No checksum, or no compression; a client offers it only when the user asks.
const NONE: AlgorithmName = b"none";

/// One side's names in canonical order.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct NameList {
    names: Vec<AlgorithmName>,
}

impl NameList {
    /// The text to send. A list in which the user's choice left nothing has a text that no peer
    /// accepts.
    pub fn wire_text(&self) -> Vec<u8> {
        if self.names.is_empty() { b"INVALID".to_vec() } else { self.names.join(&b' ') }
    }

    /// Whether this side accepts a name that was chosen or implied without a negotiation.
    pub fn allows(&self, name: &[u8]) -> bool {
        self.find(name).is_some()
    }

    fn find(&self, name: &[u8]) -> Option<AlgorithmName> {
        self.names.iter().copied().find(|own| is_named(own, name))
    }
}

/// The checksums this side offers. `env` is the text of `RSYNC_CHECKSUM_LIST`.
pub fn checksum_list(env: Option<&[u8]>, server: bool) -> NameList {
    name_list(&CHECKSUMS, env, server)
}

/// The codecs this side offers. `env` is the text of `RSYNC_COMPRESS_LIST`.
pub fn compress_list(env: Option<&[u8]>, server: bool) -> NameList {
    name_list(CODECS, env, server)
}

/// Reads the peer's list. One longer than [`NEGOTIATION_MAX`] exits 4.
pub fn get_list<S: ByteSource>(src: &mut S) -> Result<Vec<u8>, S::Error> {
    get_vstring_or(src, NEGOTIATION_MAX, ExitCode::Unsupported)
}

/// As server: the first name of the client's list that we offer.
pub fn choose_server(client: &[u8], own: &NameList) -> Option<AlgorithmName> {
    words(client).find_map(|name| own.find(name))
}

/// As client: our first name that the server lists.
pub fn choose_client(own: &NameList, server: &[u8]) -> Option<AlgorithmName> {
    own.names.iter().copied().find(|own| words(server).any(|name| is_named(own, name)))
}

/// The names of `known` that the user's text keeps, or the default where it names nothing. The
/// text `A & B` is A for a client and B for a server.
fn name_list(known: &[AlgorithmName], env: Option<&[u8]>, server: bool) -> NameList {
    let mut halves = env.unwrap_or_default().splitn(2, |&b| b == b'&');
    let client_half = halves.next().unwrap_or_default();
    let text = halves.next().filter(|_| server).unwrap_or(client_half);
    let by_default = words(text).next().is_none();
    let wanted = |own: &AlgorithmName| match by_default {
        true => server || *own != NONE,
        false => words(text).any(|name| is_named(own, name)),
    };
    NameList { names: known.iter().copied().filter(wanted).collect() }
}

fn words(text: &[u8]) -> impl Iterator<Item = &[u8]> {
    text.split(u8::is_ascii_whitespace).filter(|word| !word.is_empty())
}

fn is_named(own: AlgorithmName, name: &[u8]) -> bool {
    own.eq_ignore_ascii_case(name) || (own == b"xxh64" && name.eq_ignore_ascii_case(b"xxhash"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::SliceSource;
    use crate::error::Error;

    fn text(env: &str, server: bool) -> String {
        String::from_utf8(checksum_list(Some(env.as_bytes()), server).wire_text()).unwrap()
    }

    #[test]
    fn default_lists_are_those_of_the_capture() {
        let client = checksum_list(None, false).wire_text();
        assert_eq!(client, b"xxh128 xxh3 xxh64 md5 md4 sha1");
        assert_eq!(checksum_list(None, true).wire_text(), [&client[..], b" none"].concat());
        let codecs: &[u8] =
            if cfg!(feature = "zstd") { b"zstd lz4 zlibx zlib" } else { b"lz4 zlibx zlib" };
        assert_eq!(compress_list(None, false).wire_text(), codecs);
        assert_eq!(compress_list(None, true).wire_text(), [codecs, b" none"].concat());
    }

    #[test]
    fn the_environment_chooses_but_does_not_reorder() {
        for (env, client, server) in [
            ("md5  XXHash md5 bogus", "xxh64 md5", "xxh64 md5"),
            ("md4 & sha1", "md4", "sha1"),
            ("none md5", "md5 none", "md5 none"),
            ("bogus", "INVALID", "INVALID"),
        ] {
            assert_eq!(text(env, false), client, "{env}");
            assert_eq!(text(env, true), server, "{env}");
        }
        // A blank text, or a blank half, is no choice.
        for env in ["", "  ", " & md5"] {
            assert_eq!(text(env, false), text("", false), "{env}");
        }
        assert_eq!(text("md5 &", true), text("", true));
    }

    #[test]
    fn both_sides_agree() {
        let envs = ["", "md5", "xxh64 sha1", "md4 & sha1 md5", "none md5", "bogus"];
        for client_env in envs {
            for server_env in envs {
                let client = checksum_list(Some(client_env.as_bytes()), false);
                let server = checksum_list(Some(server_env.as_bytes()), true);
                assert_eq!(
                    choose_client(&client, &server.wire_text()),
                    choose_server(&client.wire_text(), &server),
                    "{client_env:?} and {server_env:?}"
                );
            }
        }
    }

    #[test]
    fn a_server_follows_the_order_of_the_client() {
        let own = checksum_list(None, true);
        assert_eq!(choose_server(b"md5 xxh64", &own), Some(&b"md5"[..]));
        assert_eq!(choose_server(b"xxhash MD5", &own), Some(&b"xxh64"[..]));
        assert_eq!(choose_server(b"INVALID", &own), None);
        assert_eq!(choose_client(&checksum_list(None, false), b"md4 md5"), Some(&b"md5"[..]));
        assert!(own.allows(b"MD5") && !own.allows(b"md6"));
    }

    #[test]
    fn an_overlong_list_exits_4() {
        let bytes = [&[0x81, 0x00][..], &[b'x'; 256]].concat();
        let error: Error = get_list(&mut SliceSource::new(&bytes)).unwrap_err();
        assert_eq!(error.exit_code(), ExitCode::Unsupported);
        assert_eq!(get_list(&mut SliceSource::new(b"\x03md5")), Ok(b"md5".to_vec()));
    }
}
