//! Rows of the options of daemon mode.

use super::table::Kind::{Int, Text};
use super::table::{Opt, Row};

/// See [`super::table::DAEMON_ROWS`].
pub const ROWS: &[Row] = &[
    Row::flag(Opt::Daemon, &["daemon"], b"", &[], "run as an rsync daemon"),
    Row::value(
        Opt::Address,
        Text,
        &["address"],
        b"",
        &[],
        "ADDRESS",
        "bind to the specified address",
    ),
    Row::value(Opt::Bwlimit, Int, &["bwlimit"], b"", &[], "RATE", "limit socket I/O bandwidth"),
    Row::value(
        Opt::Config,
        Text,
        &["config"],
        b"",
        &[],
        "FILE",
        "specify alternate rsyncd.conf file",
    ),
    Row::value(
        Opt::Dparam,
        Text,
        &["dparam"],
        b"M",
        &[],
        "OVERRIDE",
        "override global daemon config parameter",
    ),
    Row::flag(Opt::Detach, &["detach"], b"", &["detach"], "detach from the parent (default)"),
    Row::value(Opt::Port, Int, &["port"], b"", &[], "PORT", "listen on alternate port number"),
    Row::value(
        Opt::LogFile,
        Text,
        &["log-file"],
        b"",
        &[],
        "FILE",
        "override the \"log file\" setting",
    ),
    Row::value(
        Opt::LogFileFormat,
        Text,
        &["log-file-format"],
        b"",
        &[],
        "FMT",
        "override the \"log format\" setting",
    ),
    Row::value(Opt::Sockopts, Text, &["sockopts"], b"", &[], "OPTIONS", "specify custom TCP options"),
    Row::value(Opt::Protocol, Int, &["protocol"], b"", &[], "NUM", "force an older protocol"),
    Row::value(Opt::TempDir, Text, &["temp-dir"], b"T", &[], "DIR", "create temporary files in DIR"),
    Row::flag(Opt::Verbose, &["verbose"], b"v", &["verbose", "v"], "increase verbosity"),
    Row::flag(Opt::Ipv4, &["ipv4"], b"4", &[], "prefer IPv4"),
    Row::flag(Opt::Ipv6, &["ipv6"], b"6", &[], "prefer IPv6"),
    Row::flag(Opt::Help, &["help"], b"h", &[], "show this help (when used with --daemon)"),
    Row::flag(Opt::Server, &["server"], b"", &[], ""),
    Row::flag(Opt::Sender, &["sender"], b"", &[], ""),
];
