//! What `--version` and `-VV` say this program can do. Programs read the first line, the words of
//! the capabilities and the lists.
//!
//! What hangs on an option is taken from the table of options, so that nothing is promised that a
//! command line would be refused for.

use wire::version::Protocol;

use super::VERSION;
use crate::options::table;

/// Columns that a line of words stays below.
const WIDTH: usize = 75;
/// Sums of file content, preferred first.
const CHECKSUMS: &[&str] = &["xxh128", "xxh3", "xxh64", "md5", "md4", "sha1", "none"];
/// Codecs of file content.
const CODECS: &[&str] = &["zstd", "lz4", "zlibx", "zlib", "none"];
/// Digests of the daemon's login.
const DIGESTS: &[&str] = &["sha512", "sha256", "sha1", "md5", "md4"];
/// Sizes of numbers: the name in JSON, and in words.
const SIZES: &[(&str, &str)] = &[
    ("file_bits", "files"),
    ("inum_bits", "inums"),
    ("timestamp_bits", "timestamps"),
    ("long_int_bits", "long ints"),
];

/// Where a capability comes from.
enum Given {
    /// It is there on every system this program runs on, or never.
    Always(bool),
    /// It is there if this option is done.
    Option(&'static str),
    /// It is there and has to be asked for.
    Optional,
}

/// Capabilities in the reference's order.
const CAPABILITIES: &[(&str, Given)] = &[
    ("socketpairs", Given::Always(true)),
    ("symlinks", Given::Option("links")),
    ("symtimes", Given::Always(true)),
    ("hardlinks", Given::Option("hard-links")),
    ("hardlink_specials", Given::Option("hard-links")),
    ("hardlink_symlinks", Given::Option("hard-links")),
    ("IPv6", Given::Option("ipv6")),
    ("atimes", Given::Option("atimes")),
    ("batchfiles", Given::Option("write-batch")),
    ("inplace", Given::Option("inplace")),
    ("append", Given::Option("append")),
    ("ACLs", Given::Option("acls")),
    ("ACL_at", Given::Option("acls")),
    ("xattrs", Given::Option("xattrs")),
    ("secluded_args", Given::Optional),
    ("iconv", Given::Option("iconv")),
    ("prealloc", Given::Option("preallocate")),
    ("stop_at", Given::Option("stop-at")),
    ("crtimes", Given::Always(false)),
];

impl Given {
    fn is_there(&self) -> bool {
        match self {
            Given::Always(there) => *there,
            Given::Option(name) => table::by_long_name(name.as_bytes(), false).is_some(),
            Given::Optional => true,
        }
    }
}

/// The first lines of `--version` and `--help`.
pub fn version_text() -> String {
    let sizes = SIZES.iter().map(|(_, word)| format!("64-bit {word}"));
    let capabilities = CAPABILITIES.iter().map(|(name, from)| {
        let name = name.replace('_', "-");
        match from {
            Given::Optional => format!("optional {name}"),
            _ if from.is_there() => name,
            _ => format!("no {name}"),
        }
    });
    let (newest, oldest) = (Protocol::NEWEST.number(), Protocol::OLDEST.number());
    [
        format!(
            "rsync  version {VERSION}  protocol version {newest}\nlivemirror {VERSION}, an \
             independent implementation of the rsync protocol {oldest} to {newest}\n"
        ),
        format!("Capabilities:\n{}", lines(sizes.chain(capabilities), ", ")),
        // The second name of a sum stands in brackets.
        format!("Checksum list:\n{}", lines(CHECKSUMS.iter().map(alias), " ")),
        format!("Compress list:\n{}", lines(CODECS.iter().map(ToString::to_string), " ")),
        format!("Daemon auth list:\n{}", lines(DIGESTS.iter().map(ToString::to_string), " ")),
        "\nLicensed under MIT or Apache-2.0, at your choice, without warranty.\n".into(),
    ]
    .concat()
}

fn alias(name: &&str) -> String {
    match *name {
        "xxh64" => "xxh64 (xxhash)".into(),
        name => name.into(),
    }
}

/// Words in lines of limited length, each indented.
fn lines(words: impl Iterator<Item = String>, between: &str) -> String {
    let mut text = String::from("   ");
    let mut column = text.len();
    let mut words = words.peekable();
    while let Some(word) = words.next() {
        let end = if words.peek().is_some() { between.trim_end() } else { "" };
        if column + 1 + word.len() + end.len() >= WIDTH {
            text.push_str("\n   ");
            column = 3;
        }
        text.push_str(&format!(" {word}{end}"));
        column += 1 + word.len() + end.len();
    }
    text + "\n"
}

/// `-VV`: the same facts as one JSON object.
pub fn version_json() -> String {
    let sizes = SIZES.iter().map(|(name, _)| format!("\"{name}\": 64"));
    let capabilities = CAPABILITIES.iter().map(|(name, from)| match from {
        Given::Optional => format!("\"{name}\": \"optional\""),
        _ => format!("\"{name}\": {}", from.is_there()),
    });
    let list = |names: &[&str]| {
        let names: Vec<String> = names.iter().map(|name| format!("\"{name}\"")).collect();
        names.join(", ")
    };
    let newest = Protocol::NEWEST.number();
    format!(
        r#"{{
  "program": "rsync",
  "version": "{VERSION}",
  "protocol": "{newest}.0",
  "copyright": "the livemirror authors",
  "capabilities": {{
{capabilities}  }},
  "optimizations": {{
    "SIMD_roll": false, "asm_roll": false, "openssl_crypto": false,
    "asm_MD5": false
  }},
  "checksum_list": [
    {sums}
  ],
  "compress_list": [
    {codecs}
  ],
  "daemon_auth_list": [
    {digests}
  ],
  "license": "MIT OR Apache-2.0",
  "caveat": "livemirror comes without warranty"
}}
"#,
        capabilities = lines(sizes.chain(capabilities), ", "),
        sums = list(CHECKSUMS),
        codecs = list(CODECS),
        digests = list(DIGESTS),
    )
}
