//! The flags of `--debug`: names, help, and the level up to which their lines are there.
//!
//! `parse` reads the words, `check` computes the levels. They come from the verbosity, then from
//! `--debug`, which wins. A level beyond what is there is refused by name: what it would tell is
//! about the inside of another program, or not there yet. No server is told of them.

use super::info::{help_of, levelled};
use super::parse::{Applied, Draft, UsageError};

/// Number of debug flags.
pub const FLAG_COUNT: usize = 24;

/// Flags of which something is told, by their place in [`FLAGS`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DebugFlag {
    /// Connections that are opened.
    Connect = 4,
    /// Commands that are started, and words that are sent.
    Cmd = 5,
    /// Directories in which a pass of its own deletes.
    Del = 6,
    /// What the search for blocks came to.
    Deltasum = 7,
    /// Names that a list has twice.
    Dup = 8,
    /// Which rule decided.
    Filter = 10,
    /// How a transfer goes about files.
    Flist = 11,
    /// Charsets.
    Iconv = 16,
}

/// One debug flag.
pub struct DebugRow {
    /// Name, upper case.
    pub name: &'static str,
    /// Text of `--debug=help`.
    pub help: &'static str,
    /// Highest level that is told in full.
    pub most: u8,
}

const fn row(name: &'static str, most: u8, help: &'static str) -> DebugRow {
    DebugRow { name, help, most }
}

/// All flags in the reference's order.
pub static FLAGS: [DebugRow; FLAG_COUNT] = [
    row("ACL", 0, "Debug extra ACL info"),
    row("BACKUP", 0, "Debug backup actions (levels 1-2)"),
    row("BIND", 1, "Debug socket bind actions"),
    row("CHDIR", 0, "Debug when the current directory changes"),
    row("CONNECT", 1, "Debug connection events (levels 1-2)"),
    row("CMD", 1, "Debug commands+options that are issued (levels 1-2)"),
    row("DEL", 1, "Debug delete actions (levels 1-3)"),
    row("DELTASUM", 1, "Debug delta-transfer checksumming (levels 1-4)"),
    row("DUP", 1, "Debug weeding of duplicate names"),
    row("EXIT", 0, "Debug exit events (levels 1-3)"),
    row("FILTER", 1, "Debug filter actions (levels 1-3)"),
    row("FLIST", 1, "Debug file-list operations (levels 1-4)"),
    row("FUZZY", 0, "Debug fuzzy scoring (levels 1-2)"),
    row("GENR", 0, "Debug generator functions"),
    row("HASH", 0, "Debug hashtable code"),
    row("HLINK", 0, "Debug hard-link actions (levels 1-3)"),
    row("ICONV", 1, "Debug iconv character conversions (levels 1-2)"),
    row("IO", 0, "Debug I/O routines (levels 1-4)"),
    row("NSTR", 0, "Debug negotiation strings"),
    row("OWN", 0, "Debug ownership changes in users & groups (levels 1-2)"),
    row("PROTO", 0, "Debug protocol information"),
    row("RECV", 0, "Debug receiver functions"),
    row("SEND", 0, "Debug sender functions"),
    row("TIME", 0, "Debug setting of modified times (levels 1-2)"),
];

/// What each count of `-v` adds at the reference, for the help.
const ADDED: [&str; 4] = [
    "2) BIND,CONNECT,CMD,DEL,DELTASUM,DUP,FILTER,FLIST,ICONV",
    "3) ACL,BACKUP,CONNECT2,DEL2,DELTASUM2,EXIT,FILTER2,FLIST2,FUZZY,GENR,OWN,RECV,SEND,TIME",
    "4) CMD2,DEL3,DELTASUM3,EXIT2,FLIST3,ICONV2,OWN2,PROTO,TIME2",
    "5) CHDIR,DELTASUM4,FLIST4,FUZZY2,HASH,HLINK",
];

/// Which flags are on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct DebugLevels([bool; FLAG_COUNT]);

impl DebugLevels {
    /// Those of a count of `-v`, with the user's over them.
    pub fn of_run(verbose: u8, user: &[Option<u8>; FLAG_COUNT]) -> DebugLevels {
        let mut levels = DebugLevels::default();
        for ((on, flag), user) in levels.0.iter_mut().zip(&FLAGS).zip(user) {
            *on = user.map_or(verbose > 1 && flag.most > 0, |level| level > 0);
        }
        levels
    }

    /// Whether a flag is on.
    pub fn has(&self, flag: DebugFlag) -> bool {
        self.0.get(flag as usize).is_some_and(|on| *on)
    }
}

/// What one value of `--debug` asks for besides levels.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DebugWords {
    /// Levels were set.
    Levels,
    /// `help` was among the words.
    Help,
    /// A word nobody knows, without its digits.
    Unknown(Vec<u8>),
    /// A flag with a level that is not there.
    Beyond(String),
}

/// Reads one value of `--debug` into `user`. Words before one that is not taken have taken effect.
pub fn parse_words(value: &[u8], user: &mut [Option<u8>; FLAG_COUNT]) -> DebugWords {
    for (name, level) in levelled(value) {
        let is = |known: &str| name.eq_ignore_ascii_case(known.as_bytes());
        if is("help") {
            return DebugWords::Help;
        } else if is("none") || is("all") && level == 0 {
            user.fill(Some(0));
        } else if is("all") {
            return DebugWords::Beyond("ALL".to_owned());
        } else {
            match FLAGS.iter().zip(user.iter_mut()).find(|(flag, _)| is(flag.name)) {
                Some((flag, slot)) if level <= flag.most => *slot = Some(level),
                Some((flag, _)) => {
                    let digit = if level > 1 { level.to_string() } else { String::new() };
                    return DebugWords::Beyond(format!("{}{digit}", flag.name));
                }
                None => return DebugWords::Unknown(name.to_vec()),
            }
        }
    }
    DebugWords::Levels
}

/// Takes one value of `--debug`.
pub(super) fn apply(draft: &mut Draft, value: &[u8]) -> Result<Applied, UsageError> {
    match parse_words(value, &mut draft.debug_user) {
        DebugWords::Levels => Ok(Applied::Done),
        DebugWords::Help => Ok(Applied::DebugHelp),
        DebugWords::Unknown(word) => {
            let line = [b"Unknown --debug item: \"", word.as_slice(), b"\""].concat();
            Err(UsageError::plain(line, draft.role()))
        }
        DebugWords::Beyond(what) => Err(draft.unsupported(&format!("--debug={what}"))),
    }
}

/// The text of `--debug=help`.
pub fn help() -> String {
    let mut text = help_of("--debug", FLAGS.iter().map(|flag| (flag.name, flag.help)));
    for line in ADDED {
        text.push_str(&format!("{line}\n"));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_set_what_is_there_and_name_what_is_not() {
        let mut user = [None; FLAG_COUNT];
        assert_eq!(parse_words(b"filter,Del0,hash0,CMD1", &mut user), DebugWords::Levels);
        let levels = DebugLevels::of_run(2, &user);
        assert!(levels.has(DebugFlag::Filter) && levels.has(DebugFlag::Cmd));
        assert!(!levels.has(DebugFlag::Del) && levels.has(DebugFlag::Dup));
        assert!(!DebugLevels::of_run(1, &user).has(DebugFlag::Dup));
        for (word, beyond) in
            [("flist2", "FLIST2"), ("hlink", "HLINK"), ("all", "ALL"), ("io4", "IO4")]
        {
            let found = parse_words(word.as_bytes(), &mut user);
            assert_eq!(found, DebugWords::Beyond(beyond.to_owned()), "{word}");
        }
        assert_eq!(parse_words(b"none,bogus7", &mut user), DebugWords::Unknown(b"bogus".to_vec()));
        assert_eq!(DebugLevels::of_run(4, &user), DebugLevels::default());
    }

    #[test]
    fn flags_stand_where_they_are_looked_for() {
        use DebugFlag::{Cmd, Connect, Del, Deltasum, Dup, Filter, Flist, Iconv};
        for flag in [Connect, Cmd, Del, Deltasum, Dup, Filter, Flist, Iconv] {
            let name = format!("{flag:?}").to_uppercase();
            assert_eq!(FLAGS[flag as usize].name, name);
            assert_eq!(FLAGS[flag as usize].most, 1);
        }
    }
}
