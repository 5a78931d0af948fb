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
pub mod version;

use wire::exit::ExitCode;

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

/// The last line of a run that ends with the status of a remote shell, which is no code of ours.
pub fn unexplained(status: i32, role: &str) -> String {
    format!("rsync error: unexplained error (code {status}) at livemirror [{role}={VERSION}]")
}

/// How something known by name only is refused, without a newline; goes with exit code 4.
pub fn unsupported(what: &str, server: bool) -> String {
    let place = if server { "on remote machine: " } else { "" };
    format!("livemirror: {place}{what} is not supported yet")
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
    [&version::version_text(), usage, &table::help_lines(false), end].concat()
}

/// The whole of `--daemon --help`.
pub fn daemon_help_text() -> String {
    let usage = "\nUsage: rsync --daemon [OPTION]...\n";
    [&version::version_text(), usage, &table::help_lines(true)].concat()
}
