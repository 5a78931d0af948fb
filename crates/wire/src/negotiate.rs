//! Choosing a checksum and a compression from two preference lists.
//!
//! Lists travel in canonical order. As server the first of the client's names that we allow is
//! taken, as client the first own name that the server lists: with canonical lists every release
//! agrees on that.

/// Checksums, strongest first.
const CHECKSUMS: [&str; 6] = ["xxh128", "xxh3", "xxh64", "md5", "md4", "sha1"];
/// Codecs, best first. The C one may be left out of a build.
const CODECS: [&str; 4] = ["zstd", "lz4", "zlibx", "zlib"];

/// One side's preferences, canonical names, best first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NameList(Vec<String>);

impl NameList {
    /// As it travels: names separated by blanks; the name of a list in which the environment left
    /// nothing.
    pub fn wire_text(&self) -> Vec<u8> {
        if self.0.is_empty() { b"INVALID".to_vec() } else { self.0.join(" ").into_bytes() }
    }

    fn has(&self, name: &str) -> bool {
        self.0.iter().any(|own| own == name)
    }
}

fn canonical(name: &str) -> String {
    let name = name.to_ascii_lowercase();
    if name == "xxhash" { "xxh64".to_string() } else { name }
}

fn list(all: &[&str], env: Option<&[u8]>, server: bool) -> NameList {
    let env = env.map(|text| String::from_utf8_lossy(text).into_owned());
    let Some(env) = env.filter(|text| !text.trim().is_empty()) else {
        let mut names: Vec<String> = all.iter().map(ToString::to_string).collect();
        if server {
            names.push("none".to_string());
        }
        return NameList(names);
    };
    let side = match env.split_once('&') {
        Some((client, server_part)) => if server { server_part } else { client },
        None => &env,
    };
    let mut names: Vec<String> = Vec::new();
    for name in side.split_whitespace().map(canonical) {
        let known = all.contains(&name.as_str()) || name == "none";
        if known && !names.contains(&name) {
            names.push(name);
        }
    }
    // The order of another release's choice depends on both lists being canonical.
    names.sort_by_key(|name| all.iter().position(|known| known == name).unwrap_or(all.len()));
    NameList(names)
}

/// The checksum names this side offers; `env` is the text of `RSYNC_CHECKSUM_LIST`.
pub fn checksum_list(env: Option<&[u8]>, server: bool) -> NameList {
    list(&CHECKSUMS, env, server)
}

/// The codec names this side offers; `env` is the text of `RSYNC_COMPRESS_LIST`.
pub fn compress_list(env: Option<&[u8]>, server: bool) -> NameList {
    let built: Vec<&str> =
        CODECS.into_iter().filter(|name| *name != "zstd" || cfg!(feature = "zstd")).collect();
    list(&built, env, server)
}

fn words(text: &[u8]) -> Vec<String> {
    String::from_utf8_lossy(text).split_whitespace().map(canonical).collect()
}

/// As server: the first name of the client's list that we allow.
pub fn choose_server(client: &[u8], own: &NameList) -> Option<String> {
    words(client).into_iter().find(|name| own.has(name))
}

/// As client: the first own name that the server lists.
pub fn choose_client(own: &NameList, server: &[u8]) -> Option<String> {
    let server = words(server);
    own.0.iter().find(|name| server.contains(name)).cloned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_are_canonical_and_choices_agree() {
        let client = checksum_list(None, false);
        assert_eq!(client.wire_text(), b"xxh128 xxh3 xxh64 md5 md4 sha1");
        let server = checksum_list(Some(b"md5  XXHASH md5 bogus"), true);
        assert_eq!(server.wire_text(), b"xxh64 md5");
        assert_eq!(choose_client(&client, &server.wire_text()).as_deref(), Some("xxh64"));
        assert_eq!(choose_server(&client.wire_text(), &server).as_deref(), Some("xxh64"));
        assert_eq!(checksum_list(Some(b"md4 & sha1"), true).wire_text(), b"sha1");
        assert_eq!(checksum_list(Some(b"bogus"), false).wire_text(), b"INVALID");
        assert_eq!(choose_server(b"none", &checksum_list(None, true)).as_deref(), Some("none"));
    }
}
