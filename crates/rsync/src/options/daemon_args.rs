//! The command line of daemon mode, which has options of its own.
//!
//! `parse` comes here as soon as it meets `--daemon` or an option that only a daemon has, and the
//! whole vector is read again with the rows of [`super::rows_daemon`].

use super::parse::{Action, UsageError};
use super::scan::{Scanned, WordScanner};
use super::size;
use super::table::{Opt, OptionKind, Row};

/// The command line of a daemon.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct DaemonArgs {
    /// `--server`: one connection on standard input and output, over a remote shell.
    pub server: bool,
    /// `--address`.
    pub address: Option<Vec<u8>>,
    /// `--bwlimit`, KiB per second; 0 is none.
    pub bwlimit_kib: u32,
    /// `--config`.
    pub config: Option<Vec<u8>>,
    /// `--dparam`, name and value, in order.
    pub dparams: Vec<(Vec<u8>, Vec<u8>)>,
    /// 4 or 6 when one family is forced.
    pub family: Option<u8>,
    /// `--no-detach`.
    pub no_detach: bool,
    /// `--log-file`.
    pub log_file: Option<Vec<u8>>,
    /// `--log-file-format`.
    pub log_format: Option<Vec<u8>>,
    /// `--port`.
    pub port: Option<u16>,
    /// `--sockopts`.
    pub sockopts: Option<Vec<u8>>,
    /// `--protocol`, as typed.
    pub protocol: Option<i32>,
    /// `--temp-dir`.
    pub temp_dir: Option<Vec<u8>>,
    /// `-v`, counted.
    pub verbose: u8,
}

/// The line that follows every mistake.
const HINT: &[u8] = b"(Type \"rsync --daemon --help\" for assistance with daemon mode.)";

/// Reads the whole vector. Operands have no meaning here and are passed over.
pub(super) fn parse(args: &[Vec<u8>], server: bool) -> Result<Action, UsageError> {
    let mut daemon = DaemonArgs { server, ..DaemonArgs::default() };
    let mut seen = false;
    let mut scanner = WordScanner::new(args, true);
    loop {
        let (row, negated, value) = match scanner.next_element() {
            Err(error) => return Err(word_error(&daemon, scanner.last_word(), error.text())),
            Ok(None) => break,
            Ok(Some(Scanned::Operand(_))) => continue,
            Ok(Some(Scanned::Option { row, negated, value })) => (row, negated, value),
        };
        match row.opt {
            Opt::Daemon => seen = true,
            Opt::Help => return Ok(Action::DaemonHelp),
            _ if row.kind == OptionKind::Int => {
                let number = size::parse_int(&value)
                    .map_err(|error| word_error(&daemon, scanner.last_word(), error.text()))?;
                match row.opt {
                    Opt::Bwlimit => daemon.bwlimit_kib = u32::try_from(number).unwrap_or(0),
                    Opt::Port => daemon.port = u16::try_from(number).ok().filter(|&p| p != 0),
                    _ => daemon.protocol = Some(number),
                }
            }
            _ => apply(&mut daemon, row, negated, value)?,
        }
    }
    if !seen {
        return Err(wrong(&daemon, b"Daemon option(s) used without --daemon."));
    }
    Ok(Action::Daemon(daemon))
}

fn apply(
    daemon: &mut DaemonArgs,
    row: &Row,
    negated: bool,
    value: Vec<u8>,
) -> Result<(), UsageError> {
    match row.opt {
        Opt::Server => daemon.server = true,
        Opt::Address => daemon.address = Some(value),
        Opt::Config => daemon.config = Some(value),
        Opt::Dparam => {
            let Some(at) = value.iter().position(|&b| b == b'=') else {
                let line = [b"--dparam value is missing an '=': ", value.as_slice()].concat();
                return Err(wrong(daemon, &line));
            };
            let (name, assigned) = value.split_at(at);
            let value = assigned.strip_prefix(b"=").unwrap_or(assigned);
            daemon.dparams.push((name.to_vec(), value.to_vec()));
        }
        Opt::Detach => daemon.no_detach = negated,
        Opt::LogFile => daemon.log_file = Some(value),
        Opt::LogFileFormat => daemon.log_format = Some(value),
        Opt::Sockopts => daemon.sockopts = Some(value),
        Opt::TempDir => daemon.temp_dir = Some(value),
        Opt::Verbose if negated => daemon.verbose = 0,
        Opt::Verbose => daemon.verbose = daemon.verbose.saturating_add(1),
        Opt::Ipv4 => daemon.family = Some(4),
        Opt::Ipv6 => daemon.family = Some(6),
        // `--sender` comes from clients of a daemon over a remote shell and says nothing here.
        _ => {}
    }
    Ok(())
}

fn wrong(daemon: &DaemonArgs, line: &[u8]) -> UsageError {
    let role = if daemon.server { "server" } else { "client" };
    UsageError::plain([line, b"\n", HINT].concat(), role)
}

fn word_error(daemon: &DaemonArgs, word: &[u8], text: &str) -> UsageError {
    wrong(daemon, &[b"rsync: ", word, b": ", text.as_bytes(), b" (in daemon mode)"].concat())
}
