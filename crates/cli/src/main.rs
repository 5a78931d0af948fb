//! `livemirror`: one program, several doors.
//!
//! The first word chooses the door; a link named `rsync`, `rrsync`, `lsyncd`, `sersync` or
//! `sersync2` enters that door at once. This crate is the only one that prints, handles signals or
//! ends the process.

mod check;
mod console;
mod json_lines;
mod live;
mod log_lines;
mod lsyncd_door;
mod restrict_door;
mod rsync_door;
mod sersync_door;
mod serve;
mod serve_status;
mod signals;

use std::ffi::OsString;
use std::os::unix::ffi::{OsStrExt, OsStringExt};

/// What the program says of itself.
const USAGE: &str = "\
livemirror: a live copy of a directory tree on another machine

  livemirror watch SRC... DEST      mirror now and keep mirroring; `watch --help` tells more
  livemirror run CONFIG             the same from a file, several mirrors in one process
  livemirror status [NAME]          what running mirrors do
  livemirror import FILE            a configuration of lsyncd or sersync as TOML
  livemirror check FILE...          what is wrong with configuration files, one line each
  livemirror serve CONFIG           the receiving daemon (rsyncd.conf), or --module NAME=PATH
  livemirror restrict [-ro|-wo] DIR as the forced command of an ssh key: DIR and nothing else
  livemirror rsync ARGS...          rsync's own command line; with --json a JSON object a line
  livemirror lsyncd ARGS...         lsyncd's own command line
  livemirror sersync ARGS...        sersync2's own command line

  DEST is a path, host:path (over ssh), host::module/path or rsync://[user@]host[:port]/module/path;
  rsyncs:// is the same within TLS
";

fn main() {
    let mut args: Vec<Vec<u8>> = std::env::args_os().map(OsString::into_vec).collect();
    let called = args.first().cloned().unwrap_or_default();
    let base = called.rsplit(|&b| b == b'/').next().unwrap_or(b"").to_vec();
    args.remove(0);
    let code = match base.as_slice() {
        b"rsync" => rsync_door::run(&args),
        b"rrsync" => restrict_door::run(&args),
        b"lsyncd" => lsyncd_door::run(&args),
        b"sersync" | b"sersync2" => sersync_door::run(&args),
        _ => door(&args),
    };
    console::finish();
    std::process::exit(code);
}

fn door(args: &[Vec<u8>]) -> i32 {
    match args.first().map(Vec::as_slice) {
        Some(b"rsync") => rsync_door::run(&args[1..]),
        Some(b"restrict") => restrict_door::run(&args[1..]),
        Some(b"serve") => serve::serve(&args[1..]),
        #[cfg(feature = "tls")]
        Some(rsync::tls::client::PROCESS) => {
            let host = String::from_utf8_lossy(args.get(1).map_or(&b""[..], Vec::as_slice));
            match rsync::tls::client::process(&host) {
                Ok(()) => 0,
                Err(text) => {
                    console::err(format!("rsync: {text}\n").as_bytes());
                    wire::exit::ExitCode::SocketIo.code()
                }
            }
        }
        Some(serve::CONNECTION) => serve::connection(&args[1..]),
        Some(b"watch") => live::watch(&args[1..]),
        Some(b"run") => live::run(&args[1..]),
        Some(b"lsyncd") => lsyncd_door::run(&args[1..]),
        Some(b"sersync") => sersync_door::run(&args[1..]),
        Some(b"import") => live::import(&args[1..]),
        Some(b"check") => check::run(&args[1..]),
        Some(b"status") => live::status(&args[1..]),
        Some(b"--version" | b"-V") => {
            console::out(format!("livemirror {}\n", env!("CARGO_PKG_VERSION")).as_bytes());
            0
        }
        Some(b"--help" | b"-h" | b"help") => {
            console::out(USAGE.as_bytes());
            0
        }
        None => {
            console::err(USAGE.as_bytes());
            1
        }
        Some(word) => {
            let word = String::from_utf8_lossy(std::ffi::OsStr::from_bytes(word).as_bytes());
            console::err(format!("livemirror: unknown command '{word}'\n{USAGE}").as_bytes());
            1
        }
    }
}
