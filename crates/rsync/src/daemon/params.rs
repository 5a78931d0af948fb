//! One row per parameter of `rsyncd.conf`: its name, scope, type and default.
//!
//! Called by `config` (lookup by written name, parsing of values) and `module` (defaults).

use std::fmt;

/// Where a parameter may stand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ParamScope {
    /// Only before the first module; inside a module it is warned about and ignored.
    Global,
    /// In a module, or globally as the default of the modules that follow.
    Module,
}

/// How the value of a parameter is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ParamKind {
    /// Bytes as written.
    Text,
    /// Bytes without trailing slashes.
    Path,
    /// yes, true, 1, no, false, 0 in any case.
    Bool,
    /// The same and unset, -1.
    Tri,
    /// Leading digits of the value; anything else is 0.
    Int,
    /// A syslog facility by name or number.
    Facility,
}

/// A parsed value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ParamValue {
    /// For [`ParamKind::Text`] and [`ParamKind::Path`]; `%VAR%` not yet replaced.
    Text(Vec<u8>),
    /// For [`ParamKind::Bool`].
    Bool(bool),
    /// For [`ParamKind::Tri`].
    Tri(Option<bool>),
    /// For [`ParamKind::Int`] and [`ParamKind::Facility`] (the facility's number, 0..=23).
    Int(i64),
}

/// One parameter.
#[derive(Clone, Copy, Debug)]
pub struct ParamRow {
    /// Which one.
    pub id: Param,
    /// Name as in the manual, lower case, single blanks.
    pub name: &'static str,
    /// Where it may stand.
    pub scope: ParamScope,
    /// How its value is read.
    pub kind: ParamKind,
    /// Default, written as in a file.
    pub default: &'static str,
}

macro_rules! params {
    ($($id:ident $name:literal $scope:ident $kind:ident $default:literal,)*) => {
        /// The parameters, in the order of [`ROWS`].
        #[allow(missing_docs, reason = "each row of ROWS names and describes its variant")]
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Param { $($id),* }

        /// All parameters.
        pub const ROWS: &[ParamRow] = &[$(ParamRow {
            id: Param::$id,
            name: $name,
            scope: ParamScope::$scope,
            kind: ParamKind::$kind,
            default: $default,
        }),*];
    };
}

params! {
    Address "address" Global Text "",
    Port "port" Global Int "873",
    DaemonChroot "daemon chroot" Global Text "",
    DaemonGid "daemon gid" Global Text "",
    DaemonUid "daemon uid" Global Text "",
    MotdFile "motd file" Global Text "",
    PidFile "pid file" Global Text "",
    ProxyProtocol "proxy protocol" Global Bool "no",
    ProxyProtocolHosts "proxy protocol hosts" Global Text "",
    SocketOptions "socket options" Global Text "",
    ListenBacklog "listen backlog" Global Int "5",
    Name "name" Module Text "",
    Comment "comment" Module Text "",
    Path "path" Module Path "",
    UseChroot "use chroot" Module Tri "unset",
    MaxConnections "max connections" Module Int "0",
    LockFile "lock file" Module Text "/var/run/rsyncd.lock",
    ReadOnly "read only" Module Bool "yes",
    WriteOnly "write only" Module Bool "no",
    List "list" Module Bool "yes",
    Uid "uid" Module Text "",
    Gid "gid" Module Text "",
    FakeSuper "fake super" Module Bool "no",
    Filter "filter" Module Text "",
    Exclude "exclude" Module Text "",
    Include "include" Module Text "",
    ExcludeFrom "exclude from" Module Text "",
    IncludeFrom "include from" Module Text "",
    IncomingChmod "incoming chmod" Module Text "",
    OutgoingChmod "outgoing chmod" Module Text "",
    AuthUsers "auth users" Module Text "",
    AuthDigestFloor "auth digest" Module Text "",
    SecretsFile "secrets file" Module Text "",
    StrictModes "strict modes" Module Bool "yes",
    HostsAllow "hosts allow" Module Text "",
    HostsDeny "hosts deny" Module Text "",
    ReverseLookup "reverse lookup" Module Bool "yes",
    ForwardLookup "forward lookup" Module Bool "yes",
    IgnoreErrors "ignore errors" Module Bool "no",
    IgnoreNonreadable "ignore nonreadable" Module Bool "no",
    TransferLogging "transfer logging" Module Bool "no",
    LogFormat "log format" Module Text "%o %h [%a] %m (%u) %f %l",
    LogFile "log file" Module Text "",
    SyslogFacility "syslog facility" Module Facility "daemon",
    SyslogTag "syslog tag" Module Text "rsyncd",
    MaxVerbosity "max verbosity" Module Int "1",
    Timeout "timeout" Module Int "0",
    RefuseOptions "refuse options" Module Text "",
    DontCompress "dont compress" Module Text "",
    Charset "charset" Module Text "",
    MungeSymlinks "munge symlinks" Module Tri "unset",
    InsecureLinks "insecure links" Module Bool "no",
    NumericIds "numeric ids" Module Tri "unset",
    NameConverter "name converter" Module Text "",
    OpenNoatime "open noatime" Module Tri "unset",
    TempDir "temp dir" Module Path "",
    EarlyExec "early exec" Module Text "",
    PreXferExec "pre-xfer exec" Module Text "",
    PostXferExec "post-xfer exec" Module Text "",
}

/// Why a value could not be read; the parameter then keeps the value it had.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BadValue {
    /// Not a boolean.
    Boolean(Vec<u8>),
    /// Not a syslog facility.
    Facility(Vec<u8>),
}

impl fmt::Display for BadValue {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (what, text) = match self {
            BadValue::Boolean(text) => ("boolean", text),
            BadValue::Facility(text) => ("syslog facility", text),
        };
        write!(
            out,
            "Badly formed {what} in configuration file: \"{}\".",
            String::from_utf8_lossy(text)
        )
    }
}

/// Names of the syslog facilities with their numbers.
const FACILITIES: &[(&str, i64)] = &[
    ("kern", 0),
    ("user", 1),
    ("mail", 2),
    ("daemon", 3),
    ("auth", 4),
    ("security", 4),
    ("syslog", 5),
    ("lpr", 6),
    ("news", 7),
    ("uucp", 8),
    ("cron", 9),
    ("authpriv", 10),
    ("ftp", 11),
    ("local0", 16),
    ("local1", 17),
    ("local2", 18),
    ("local3", 19),
    ("local4", 20),
    ("local5", 21),
    ("local6", 22),
    ("local7", 23),
];

/// The row of a name as written: case and blanks do not count.
pub fn lookup(written: &[u8]) -> Option<&'static ParamRow> {
    let wanted = squeezed(written);
    ROWS.iter().find(|row| squeezed(row.name.as_bytes()) == wanted)
}

/// The known name nearest to a misspelt one, if it is near enough to be meant.
pub fn nearest(written: &[u8]) -> Option<&'static str> {
    let wanted = squeezed(written);
    let scored = ROWS.iter().map(|row| (distance(&squeezed(row.name.as_bytes()), &wanted), row));
    let (score, row) = scored.min_by_key(|(score, _)| *score)?;
    (score <= 2 && wanted.len() >= 4).then_some(row.name)
}

/// A name without blanks, in lower case: two names are the same if these are equal.
pub(crate) fn squeezed(name: &[u8]) -> Vec<u8> {
    name.iter().filter(|b| !b.is_ascii_whitespace()).map(u8::to_ascii_lowercase).collect()
}

/// Edit distance of two short names.
fn distance(a: &[u8], b: &[u8]) -> usize {
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.iter().enumerate() {
        let mut corner = i;
        let mut left = i + 1;
        let mut next = vec![left];
        for (y, above) in b.iter().zip(row.iter().skip(1)) {
            let step = corner + usize::from(x != y);
            left = step.min(above + 1).min(left + 1);
            corner = *above;
            next.push(left);
        }
        row = next;
    }
    row.last().copied().unwrap_or(usize::MAX)
}

/// Reads a value as the kind says.
pub fn parse_value(kind: ParamKind, text: &[u8]) -> Result<ParamValue, BadValue> {
    match kind {
        ParamKind::Text => Ok(ParamValue::Text(text.to_vec())),
        ParamKind::Path => Ok(ParamValue::Text(without_trailing_slashes(text).to_vec())),
        ParamKind::Bool => match parse_bool(text) {
            Some(flag) => Ok(ParamValue::Bool(flag)),
            None => Err(BadValue::Boolean(text.to_vec())),
        },
        ParamKind::Tri if text.eq_ignore_ascii_case(b"unset") || text == b"-1" => {
            Ok(ParamValue::Tri(None))
        }
        ParamKind::Tri => match parse_bool(text) {
            Some(flag) => Ok(ParamValue::Tri(Some(flag))),
            None => Err(BadValue::Boolean(text.to_vec())),
        },
        ParamKind::Int => Ok(ParamValue::Int(parse_int(text))),
        ParamKind::Facility => FACILITIES
            .iter()
            .find(|(name, _)| name.as_bytes().eq_ignore_ascii_case(text))
            .map(|(_, number)| *number)
            .or_else(|| {
                std::str::from_utf8(text).ok()?.parse().ok().filter(|n| (0..24).contains(n))
            })
            .map(ParamValue::Int)
            .ok_or_else(|| BadValue::Facility(text.to_vec())),
    }
}

/// The default of a parameter.
pub fn default_value(id: Param) -> ParamValue {
    let Some(row) = ROWS.get(id as usize) else { return ParamValue::Text(Vec::new()) };
    parse_value(row.kind, row.default.as_bytes()).unwrap_or(ParamValue::Tri(None))
}

fn parse_bool(text: &[u8]) -> Option<bool> {
    let is = |word: &str| text.eq_ignore_ascii_case(word.as_bytes());
    if is("yes") || is("true") || is("1") {
        Some(true)
    } else if is("no") || is("false") || is("0") {
        Some(false)
    } else {
        None
    }
}

/// The number at the start of a value, 0 if there is none; too large ones stay at the limit.
fn parse_int(text: &[u8]) -> i64 {
    let (sign, digits) = match text {
        [b'-', rest @ ..] => (-1, rest),
        [b'+', rest @ ..] => (1, rest),
        all => (1, all),
    };
    let digits = digits.iter().take_while(|b| b.is_ascii_digit());
    let size = digits.fold(0i64, |n, b| n.saturating_mul(10).saturating_add(i64::from(b - b'0')));
    sign * size.min(i64::from(i32::MAX))
}

fn without_trailing_slashes(text: &[u8]) -> &[u8] {
    let mut text = text;
    // A lone "/" stays: it is the whole file system.
    while let [_, .., b'/'] = text {
        text = text.split_last().map_or(text, |(_, rest)| rest);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_row_stands_at_its_own_index() {
        assert_eq!(ROWS.len(), 59);
        for (index, row) in ROWS.iter().enumerate() {
            assert_eq!(row.id as usize, index);
            assert!(parse_value(row.kind, row.default.as_bytes()).is_ok(), "{}", row.name);
            assert_eq!(lookup(row.name.as_bytes()).map(|r| r.id), Some(row.id));
        }
    }

    #[test]
    fn names_ignore_case_and_blanks_but_not_underscores() {
        assert_eq!(lookup(b"  UsE  ChRoot").map(|r| r.id), Some(Param::UseChroot));
        assert_eq!(lookup(b"re ad\tonly").map(|r| r.id), Some(Param::ReadOnly));
        assert!(lookup(b"use_chroot").is_none());
        assert_eq!(nearest(b"gnore errors"), Some("ignore errors"));
        assert_eq!(nearest(b"ignore noreadable"), Some("ignore nonreadable"));
        assert_eq!(nearest(b"zz"), None);
    }

    #[test]
    fn values_are_read_as_the_kind_says() {
        assert_eq!(parse_value(ParamKind::Bool, b"TRUE"), Ok(ParamValue::Bool(true)));
        assert!(parse_value(ParamKind::Bool, b"unset").is_err());
        assert!(parse_value(ParamKind::Bool, b"yes # c").is_err());
        assert_eq!(parse_value(ParamKind::Tri, b"Unset"), Ok(ParamValue::Tri(None)));
        assert_eq!(parse_value(ParamKind::Int, b"4x"), Ok(ParamValue::Int(4)));
        assert_eq!(parse_value(ParamKind::Int, b"abc"), Ok(ParamValue::Int(0)));
        assert_eq!(parse_value(ParamKind::Int, b"-1"), Ok(ParamValue::Int(-1)));
        assert_eq!(parse_value(ParamKind::Path, b"/a//"), Ok(ParamValue::Text(b"/a".to_vec())));
        assert_eq!(parse_value(ParamKind::Path, b"///"), Ok(ParamValue::Text(b"/".to_vec())));
        assert_eq!(parse_value(ParamKind::Facility, b"LOCAL3"), Ok(ParamValue::Int(19)));
        assert!(parse_value(ParamKind::Facility, b"nonsense").is_err());
    }
}
