//! The flags of `--info`: names, help, which server needs to hear of them, and how the levels of
//! one run come about.
//!
//! `parse` reads the words, `check` computes the levels, `server_args` forwards what the user set.
//! Levels come from the verbosity, then from `--stats` and `--progress`, then from `--info`, each
//! later source winning.

/// Number of info flags.
pub const FLAG_COUNT: usize = 13;

/// Highest level a flag can take; larger numbers mean this one.
pub const LEVEL_MAX: u8 = 4;

/// What is printed, as levels of the info flags; the debug flags are not in this slice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct InfoLevels {
    /// Mention of backups made.
    pub backup: u8,
    /// Local copies of files made by the receiver.
    pub copy: u8,
    /// Deletions.
    pub del: u8,
    /// File-list lines.
    pub flist: u8,
    /// Miscellany.
    pub misc: u8,
    /// Mount points skipped.
    pub mount: u8,
    /// Names: 1 of changed items, 2 of unchanged ones too.
    pub name: u8,
    /// Non-regular files skipped.
    pub nonreg: u8,
    /// Progress: 1 per file, 2 of the whole.
    pub progress: u8,
    /// Files removed on the sending side.
    pub remove: u8,
    /// Files skipped for an option's sake.
    pub skip: u8,
    /// Closing statistics: 1 the two lines, 2 the block.
    pub stats: u8,
    /// Unsafe symbolic links.
    pub symsafe: u8,
}

/// One info flag.
pub struct InfoFlag {
    /// Name, upper case.
    pub name: &'static str,
    /// Text of `--info=help`.
    pub help: &'static str,
    /// Whether a receiving server (push) is told of it.
    pub push: bool,
    /// Whether a sending server (pull) is told of it.
    pub pull: bool,
    /// The level in [`InfoLevels`].
    pub level: fn(&mut InfoLevels) -> &mut u8,
}

const fn row(
    name: &'static str,
    help: &'static str,
    push: bool,
    pull: bool,
    level: fn(&mut InfoLevels) -> &mut u8,
) -> InfoFlag {
    InfoFlag { name, help, push, pull, level }
}

/// All flags in the order of their names.
pub static FLAGS: [InfoFlag; FLAG_COUNT] = [
    row("BACKUP", "Mention files backed up", true, false, |l| &mut l.backup),
    row("COPY", "Mention files copied locally on the receiving side", true, false, |l| &mut l.copy),
    row("DEL", "Mention deletions on the receiving side", true, false, |l| &mut l.del),
    row("FLIST", "Mention file-list receiving/sending (levels 1-2)", false, false, |l| {
        &mut l.flist
    }),
    row("MISC", "Mention miscellaneous information (levels 1-2)", true, true, |l| &mut l.misc),
    row("MOUNT", "Mention mounts that were found or skipped", true, true, |l| &mut l.mount),
    row("NAME", "Mention 1) updated file/dir names, 2) unchanged names", true, true, |l| {
        &mut l.name
    }),
    row("NONREG", "Mention skipped non-regular files (default 1, 0 disables)", true, false, |l| {
        &mut l.nonreg
    }),
    row(
        "PROGRESS",
        "Mention 1) per-file progress or 2) total transfer progress",
        false,
        false,
        |l| &mut l.progress,
    ),
    row("REMOVE", "Mention files removed on the sending side", false, true, |l| &mut l.remove),
    row("SKIP", "Mention files skipped due to transfer overrides (levels 1-2)", true, false, |l| {
        &mut l.skip
    }),
    row("STATS", "Mention statistics at end of run (levels 1-3)", true, true, |l| &mut l.stats),
    row("SYMSAFE", "Mention symlinks that are unsafe", true, true, |l| &mut l.symsafe),
];

/// What one value of `--info` asks for besides levels.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum InfoWords {
    /// Levels were set.
    Levels,
    /// `help` was among the words.
    Help,
    /// A word nobody knows, without its digits.
    Unknown(Vec<u8>),
}

/// The words of a value of `--info` or `--debug`: each a name and its level.
pub fn levelled(value: &[u8]) -> impl Iterator<Item = (&[u8], u8)> {
    value.split(|&b| b == b',').filter(|w| !w.is_empty()).map(|word| {
        let name_len = word.iter().rposition(|b| !b.is_ascii_digit()).map_or(0, |at| at + 1);
        let (name, digits) = word.split_at(name_len);
        let level = match digits {
            [] => 1,
            [digit] => (digit - b'0').min(LEVEL_MAX),
            _ => LEVEL_MAX,
        };
        (name, level)
    })
}

/// Reads one value of `--info` into `user`. Words before an unknown one have taken effect.
pub fn parse_words(value: &[u8], user: &mut [Option<u8>; FLAG_COUNT]) -> InfoWords {
    for (name, level) in levelled(value) {
        if name.eq_ignore_ascii_case(b"help") {
            return InfoWords::Help;
        } else if name.eq_ignore_ascii_case(b"none") {
            user.fill(Some(0));
        } else if name.eq_ignore_ascii_case(b"all") {
            user.fill(Some(level));
        } else {
            let found = FLAGS.iter().zip(user.iter_mut());
            match { found }.find(|(flag, _)| name.eq_ignore_ascii_case(flag.name.as_bytes())) {
                Some((_, slot)) => *slot = Some(level),
                None => return InfoWords::Unknown(name.to_vec()),
            }
        }
    }
    InfoWords::Levels
}

/// The same on a server, where words that nobody knows are passed over.
pub fn parse_known_words(value: &[u8], user: &mut [Option<u8>; FLAG_COUNT]) {
    for word in value.split(|&b| b == b',') {
        // A word that is not known leaves the levels as they are.
        let _ = parse_words(word, user);
    }
}

/// Levels added by a count of `-v`.
pub fn levels_of_verbosity(verbose: u8) -> InfoLevels {
    let mut levels = InfoLevels { nonreg: 1, ..InfoLevels::default() };
    if verbose >= 1 {
        let InfoLevels { copy, del, flist, misc, name, stats, symsafe, .. } = &mut levels;
        for level in [copy, del, flist, misc, name, stats, symsafe] {
            *level = 1;
        }
    }
    if verbose >= 2 {
        let InfoLevels { backup, mount, remove, skip, misc, name, .. } = &mut levels;
        for level in [backup, mount, remove, skip] {
            *level = 1;
        }
        (*misc, *name) = (2, 2);
    }
    levels
}

/// Lays the user's levels over `levels`.
pub fn apply_user(levels: &mut InfoLevels, user: &[Option<u8>; FLAG_COUNT]) {
    for (flag, level) in FLAGS.iter().zip(user) {
        if let Some(level) = level {
            *(flag.level)(levels) = *level;
        }
    }
}

/// Smallest run of equal values that is worth a collective word.
const COLLECT_MIN: usize = 5;

/// The value of `--info=` for a server, or `None` when it need not be told anything. `push`: the
/// server receives.
///
/// If the user set every flag the server needs and at least five of them alike, these are sent as
/// `ALLn` or `NONE`, followed by those that differ.
pub fn words_for_server(user: &[Option<u8>; FLAG_COUNT], push: bool) -> Option<String> {
    let needed = || FLAGS.iter().zip(user).filter(|(f, _)| if push { f.push } else { f.pull });
    let set: Vec<(&str, u8)> = needed().filter_map(|(f, u)| u.map(|u| (f.name, u))).collect();
    let mut common = None;
    if set.len() == needed().count() {
        common = (0..=LEVEL_MAX)
            .find(|level| set.iter().filter(|(_, l)| l == level).count() >= COLLECT_MIN);
    }
    let numbered = |name: &str, level: u8| match level {
        1 => name.to_owned(),
        _ => format!("{name}{level}"),
    };
    let collective = common.map(|level| match level {
        0 => "NONE".to_owned(),
        _ => numbered("ALL", level),
    });
    let single = set.iter().filter(|(_, l)| Some(*l) != common).map(|(n, l)| numbered(n, *l));
    let words: Vec<String> = collective.into_iter().chain(single).collect();
    (!words.is_empty()).then(|| words.join(","))
}

/// The help of an option with flags, up to what each count of `-v` adds.
pub fn help_of(option: &str, flags: impl Iterator<Item = (&'static str, &'static str)>) -> String {
    let mut text = String::from(
        "Use OPT or OPT1 for level 1 output, OPT2 for level 2, etc.; OPT0 silences.\n\n",
    );
    for (name, help) in flags {
        text.push_str(&format!("{:<10} {}\n", name, help));
    }
    text.push_str(&format!("\nALL        Set all {option} options (e.g. all4)\n"));
    text.push_str(&format!("NONE       Silence all {option} options (same as all0)\n"));
    text.push_str("HELP       Output this help message\n");
    text.push_str("\nOptions added at each level of verbosity:\n");
    text
}

/// The text of `--info=help`.
pub fn help() -> String {
    let mut text = help_of("--info", FLAGS.iter().map(|flag| (flag.name, flag.help)));
    let mut before = InfoLevels::default();
    for verbose in 0..=2 {
        let mut now = levels_of_verbosity(verbose);
        let added: Vec<String> = FLAGS
            .iter()
            .filter_map(|flag| match (*(flag.level)(&mut before), *(flag.level)(&mut now)) {
                (old, new) if old == new => None,
                (_, 1) => Some(flag.name.to_owned()),
                (_, new) => Some(format!("{}{new}", flag.name)),
            })
            .collect();
        text.push_str(&format!("{verbose}) {}\n", added.join(",")));
        before = now;
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sent(words: &str, push: bool) -> Option<String> {
        let mut user = [None; FLAG_COUNT];
        assert_eq!(parse_words(words.as_bytes(), &mut user), InfoWords::Levels);
        words_for_server(&user, push)
    }

    #[test]
    fn unknown_word_is_named_without_digits() {
        let mut user = [None; FLAG_COUNT];
        assert_eq!(parse_words(b"del,x-1", &mut user), InfoWords::Unknown(b"x-".to_vec()));
        assert_eq!(parse_words(b"0", &mut user), InfoWords::Unknown(Vec::new()));
    }

    #[test]
    fn equal_levels_collapse_only_when_all_are_set() {
        assert_eq!(sent("misc,mount,name,remove,stats,symsafe", false).as_deref(), Some("ALL"));
        assert_eq!(sent("none,del,name", false).as_deref(), Some("NONE,NAME"));
        assert_eq!(sent("all2,name1", true).as_deref(), Some("ALL2,NAME"));
        assert_eq!(sent("misc,name0", true).as_deref(), Some("MISC,NAME0"));
        assert_eq!(sent("flist,progress2", true), None);
    }
}
