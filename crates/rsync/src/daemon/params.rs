//! One row per parameter of `rsyncd.conf`: its name, scope, type, default and whether this build
//! has it.
//!
//! Called by `config` (lookup by written name, parsing of values) and `module` (defaults). A row
//! whose support is [`ParamSupport::Absent`] is refused at start as soon as a file sets it to anything
//! but its default, so that no setting is silently without effect.

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

/// Whether this build does what the parameter says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ParamSupport {
    /// It does.
    Full,
    /// It does not: any value but the default is refused at start.
    Absent,
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
    /// Whether this build has it.
    pub support: ParamSupport,
}

macro_rules! params {
    ($($id:ident $name:literal $scope:ident $kind:ident $default:literal $support:ident,)*) => {
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
            support: ParamSupport::$support,
        }),*];
    };
}

params! {
    Address "address" Global Text "" Full,
    Port "port" Global Int "873" Full,
    DaemonChroot "daemon chroot" Global Text "" Full,
    DaemonGid "daemon gid" Global Text "" Full,
    DaemonUid "daemon uid" Global Text "" Full,
    MotdFile "motd file" Global Text "" Full,
    PidFile "pid file" Global Text "" Full,
    ProxyProtocol "proxy protocol" Global Bool "no" Full,
    ProxyProtocolHosts "proxy protocol hosts" Global Text "" Full,
    SocketOptions "socket options" Global Text "" Full,
    ListenBacklog "listen backlog" Global Int "5" Full,
    Name "name" Module Text "" Full,
    Comment "comment" Module Text "" Full,
    Path "path" Module Path "" Full,
    UseChroot "use chroot" Module Tri "unset" Full,
    MaxConnections "max connections" Module Int "0" Full,
    LockFile "lock file" Module Text "/var/run/rsyncd.lock" Full,
    ReadOnly "read only" Module Bool "yes" Full,
    WriteOnly "write only" Module Bool "no" Full,
    List "list" Module Bool "yes" Full,
    Uid "uid" Module Text "" Full,
    Gid "gid" Module Text "" Full,
    FakeSuper "fake super" Module Bool "no" Full,
    Filter "filter" Module Text "" Full,
    Exclude "exclude" Module Text "" Full,
    Include "include" Module Text "" Full,
    ExcludeFrom "exclude from" Module Text "" Full,
    IncludeFrom "include from" Module Text "" Full,
    IncomingChmod "incoming chmod" Module Text "" Full,
    OutgoingChmod "outgoing chmod" Module Text "" Full,
    AuthUsers "auth users" Module Text "" Full,
    AuthDigestFloor "auth digest" Module Text "" Full,
    SecretsFile "secrets file" Module Text "" Full,
    StrictModes "strict modes" Module Bool "yes" Full,
    HostsAllow "hosts allow" Module Text "" Full,
    HostsDeny "hosts deny" Module Text "" Full,
    ReverseLookup "reverse lookup" Module Bool "yes" Full,
    ForwardLookup "forward lookup" Module Bool "yes" Full,
    IgnoreErrors "ignore errors" Module Bool "no" Full,
    IgnoreNonreadable "ignore nonreadable" Module Bool "no" Full,
    TransferLogging "transfer logging" Module Bool "no" Full,
    LogFormat "log format" Module Text "%o %h [%a] %m (%u) %f %l" Full,
    LogFile "log file" Module Text "" Full,
    SyslogFacility "syslog facility" Module Facility "daemon" Full,
    SyslogTag "syslog tag" Module Text "rsyncd" Full,
    MaxVerbosity "max verbosity" Module Int "1" Full,
    Timeout "timeout" Module Int "0" Full,
    RefuseOptions "refuse options" Module Text "" Full,
    DontCompress "dont compress" Module Text "" Full,
    Charset "charset" Module Text "" Absent,
    MungeSymlinks "munge symlinks" Module Tri "unset" Full,
    InsecureLinks "insecure links" Module Bool "no" Full,
    NumericIds "numeric ids" Module Tri "unset" Full,
    NameConverter "name converter" Module Text "" Full,
    OpenNoatime "open noatime" Module Tri "unset" Full,
    TempDir "temp dir" Module Path "" Full,
    EarlyExec "early exec" Module Text "" Full,
    PreXferExec "pre-xfer exec" Module Text "" Full,
    PostXferExec "post-xfer exec" Module Text "" Full,
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
