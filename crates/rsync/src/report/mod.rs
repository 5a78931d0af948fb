//! Everything a run says, as bytes: numbers, names, item lines, progress, summary, listing, errors.
//!
//! Pure: times, sizes and levels are arguments, and nothing is printed. The engine hands the
//! results to a [`crate::console::Console`].

pub mod escape;
pub mod format;
pub mod list_line;
pub mod messages;
pub mod number;
pub mod progress;
pub mod summary;

use wire::exit::ExitCode;
use wire::version::Protocol;

use crate::options::table;

/// This program's version, as the final line and the version text give it.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");

/// The line that ends a failed run, without its newline; empty for success. `role` is the one of
/// `client`, `server`, `sender`, `generator`, `receiver`, `Receiver` that gives up.
pub fn final_line(exit: ExitCode, role: &str) -> String {
    let kind = match exit {
        ExitCode::Ok => return String::new(),
        ExitCode::Vanished => "warning",
        _ => "error",
    };
    let (text, code) = (exit.text(), exit.code());
    format!("rsync {kind}: {text} (code {code}) at livemirror [{role}={VERSION}]")
}

/// How something known by name only is refused, without a newline; goes with exit code 4.
pub fn unsupported(what: &str, server: bool) -> String {
    let place = if server { "on remote machine: " } else { "" };
    format!("livemirror: {place}{what} is not supported yet")
}

/// The first lines of `--version` and `--help`. Programs read the first line and the lists.
pub fn version_text() -> String {
    format!(
        "rsync  version {VERSION}  protocol version {newest}\n\
         livemirror {VERSION}, an independent implementation of the rsync protocol {oldest} to {newest}\n\
         Capabilities:\n\
         \x20   64-bit files, 64-bit inums, 64-bit timestamps, 64-bit long ints,\n\
         \x20   no socketpairs, symlinks, symtimes, hardlinks, hardlink-specials,\n\
         \x20   hardlink-symlinks, IPv6, atimes, no batchfiles, inplace, append,\n\
         \x20   ACLs, xattrs, optional secluded-args, no iconv, no prealloc,\n\
         \x20   no stop-at, no crtimes\n\
         Checksum list:\n\
         \x20   xxh128 xxh3 xxh64 (xxhash) md5 md4 sha1 none\n\
         Compress list:\n\
         \x20   zstd lz4 zlibx zlib none\n\
         Daemon auth list:\n\
         \x20   sha512 sha256 sha1 md5 md4\n\
         \n\
         Licensed under MIT or Apache-2.0, at your choice, without warranty.\n",
        newest = Protocol::NEWEST.number(),
        oldest = Protocol::OLDEST.number(),
    )
}

/// `-VV`: the same facts as one JSON object.
pub fn version_json() -> String {
    let newest = Protocol::NEWEST.number();
    format!(
        r#"{{
  "program": "rsync",
  "version": "{VERSION}",
  "protocol": "{newest}.0",
  "capabilities": {{
    "file_bits": 64, "inum_bits": 64, "timestamp_bits": 64, "long_int_bits": 64,
    "socketpairs": false, "symlinks": true, "symtimes": true, "hardlinks": true,
    "hardlink_specials": true, "hardlink_symlinks": true, "IPv6": true, "atimes": true,
    "batchfiles": false, "inplace": true, "append": true, "ACLs": true, "xattrs": true,
    "secluded_args": "optional", "iconv": false, "prealloc": false, "stop_at": false,
    "crtimes": false
  }},
  "checksum_list": [ "xxh128", "xxh3", "xxh64", "md5", "md4", "sha1", "none" ],
  "compress_list": [ "zstd", "lz4", "zlibx", "zlib", "none" ],
  "daemon_auth_list": [ "sha512", "sha256", "sha1", "md5", "md4" ],
  "license": "MIT OR Apache-2.0"
}}
"#
    )
}

/// The whole of `--help`.
pub fn help_text() -> String {
    let usage = "
Usage: rsync [OPTION]... SRC [SRC]... DEST
  or   rsync [OPTION]... SRC [SRC]... [USER@]HOST:DEST
  or   rsync [OPTION]... SRC [SRC]... [USER@]HOST::DEST
  or   rsync [OPTION]... SRC [SRC]... rsync://[USER@]HOST[:PORT]/DEST
  or   rsync [OPTION]... [USER@]HOST:SRC [DEST]
  or   rsync [OPTION]... [USER@]HOST::SRC [DEST]
  or   rsync [OPTION]... rsync://[USER@]HOST[:PORT]/SRC [DEST]
The ':' usages connect via remote shell, while '::' & 'rsync://' usages connect
to an rsync daemon, and require SRC or DEST to start with a module name.

Options (those marked so in the manual have a --no-OPTION form)
";
    let end = "\nUse \"rsync --daemon --help\" to see the daemon-mode command-line options.\n";
    [&version_text(), usage, &table::help_lines(false), end].concat()
}

/// The whole of `--daemon --help`.
pub fn daemon_help_text() -> String {
    let usage = "\nUsage: rsync --daemon [OPTION]...\n";
    [&version_text(), usage, &table::help_lines(true)].concat()
}
