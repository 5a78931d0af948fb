//! `refuse options`: which options of a client a module does not take.
//!
//! Called by `connection` (compile, when the module is known) and by the server's option parsing
//! (check, for each option that was given). In steps: all options start as accepted, except those
//! a daemon never takes; the words are applied in order; an exact word speaks for every option
//! with the same effect, a wildcard for the names it matches. An option that implies a refused one
//! is refused with it.

use super::glob;

/// What this file needs to know of an option.
#[derive(Clone, Debug)]
pub struct RefuseRow {
    /// Long name without dashes, `no-` included if it has that; empty if there is only a letter.
    pub long: String,
    /// Short letter.
    pub short: Option<u8>,
    /// Options of one group set the same thing to the same value.
    pub group: usize,
}

/// Options that no wildcard matches: without them nothing works, or they only protect.
const EXACT_ONLY: &[&str] = &[
    "rsh",
    "from0",
    "secluded-args",
    "protect-args",
    "dry-run",
    "iconv",
    "no-iconv",
    "checksum-seed",
    "copy-devices",
    "write-devices",
    "log-format",
    "out-format",
    "sender",
    "server",
];

/// Refused whatever the words say.
const ALWAYS: &[&str] = &["log-file", "log-file-format", "insecure-links"];

/// Refused unless a word accepts exactly them.
const UNLESS_ACCEPTED: &[&str] = &["copy-devices", "write-devices"];

/// What `a` and `archive` stand for.
const ARCHIVE_LETTERS: &[u8] = b"ardlptgoD";

/// All options that a server knows.
pub fn option_rows() -> Vec<RefuseRow> {
    let all = crate::options::table::spellings().into_iter();
    all.map(|(long, short, group)| RefuseRow { long, short, group }).collect()
}

/// The options a module refuses.
#[derive(Clone, Debug, Default)]
pub struct RefuseSet {
    rows: Vec<RefuseRow>,
    refused: Vec<bool>,
    /// What to log about words that match nothing.
    pub remarks: Vec<String>,
}

impl RefuseSet {
    /// Applies the words of the parameter to all options. `converts`: the module has a charset.
    pub fn compile(words: &[u8], rows: &[RefuseRow], converts: bool) -> Self {
        let refused = rows.iter().map(|row| UNLESS_ACCEPTED.contains(&row.long.as_str())).collect();
        let mut set = RefuseSet { rows: rows.to_vec(), refused, remarks: Vec::new() };
        for word in words.split(u8::is_ascii_whitespace).filter(|word| !word.is_empty()) {
            let (word, refuse) = match word.strip_prefix(b"!") {
                Some(word) => (word, false),
                None => (word, true),
            };
            if !set.apply(word, refuse) {
                let word = String::from_utf8_lossy(word);
                set.remarks.push(format!("No match for refuse-options string \"{word}\""));
            }
        }
        set.mark(true, |row| {
            ALWAYS.contains(&row.long.as_str()) || row.long == "iconv" && !converts
        });
        set
    }

    fn apply(&mut self, word: &[u8], refuse: bool) -> bool {
        let named = |row: &RefuseRow| {
            row.long.as_bytes() == word || row.short.is_some_and(|short| word == [short])
        };
        if word == b"a" || word == b"archive" {
            let part = |row: &RefuseRow| row.short.is_some_and(|s| ARCHIVE_LETTERS.contains(&s));
            return self.mark(refuse, part);
        }
        if glob::is_pattern(word) {
            let pattern = glob::compiled(word);
            return self.mark(refuse, |row| {
                let letter = row.short.is_some_and(|short| pattern.matches(&[short]));
                let long = !row.long.is_empty() && pattern.matches(row.long.as_bytes());
                (letter || long) && !EXACT_ONLY.contains(&row.long.as_str())
            });
        }
        let groups: Vec<usize> =
            self.rows.iter().filter(|row| named(row)).map(|row| row.group).collect();
        self.mark(refuse, |row| groups.contains(&row.group))
    }

    fn mark(&mut self, refuse: bool, which: impl Fn(&RefuseRow) -> bool) -> bool {
        let mut any = false;
        for (row, refused) in self.rows.iter().zip(&mut self.refused) {
            if which(row) {
                *refused = refuse;
                any = true;
            }
        }
        any
    }

    fn refused_row(&self, long: &str) -> Option<&RefuseRow> {
        let mut rows = self.rows.iter().zip(&self.refused);
        rows.find(|(row, refused)| **refused && row.long == long).map(|(row, _)| row)
    }

    /// Whether the option of this long name is refused in itself.
    pub fn refuses(&self, long: &str) -> bool {
        self.refused_row(long).is_some()
    }

    /// The text for the client if an option it gave, or what that implies, is refused.
    /// `sending`: the daemon is the sender.
    pub fn check(&self, long: &str, short: Option<u8>, sending: bool) -> Option<String> {
        let implied = implied_by(long, sending).iter().find_map(|long| self.refused_row(long));
        // Alone it is either of these two, whichever is taken.
        let neither = long == "delete" && !self.refuses("delete") && self.refuses("delete-during");
        let long = if neither { "delete-before" } else { long };
        let row = implied.or_else(|| {
            let mut rows = self.rows.iter().zip(&self.refused);
            let given = |row: &RefuseRow| match long {
                "" => short.is_some() && row.short == short,
                long => row.long == long,
            };
            rows.find(|(row, refused)| given(row) && **refused).map(|(row, _)| row)
        })?;
        let name = match (row.long.as_str(), row.short) {
            ("", Some(short)) => format!("-{}", char::from(short)),
            (long, Some(short)) => format!("--{long} (-{})", char::from(short)),
            (long, None) => format!("--{long}"),
        };
        Some(format!("The server is configured to refuse {name}"))
    }
}

/// The options that one brings with it.
fn implied_by(long: &str, sending: bool) -> &'static [&'static str] {
    match long {
        "delete-before"
        | "delete-during"
        | "del"
        | "delete-delay"
        | "delete-after"
        | "delete-excluded"
        | "delete-missing-args" => &["delete"],
        "remove-source-files" | "remove-sent-files" if sending => &["delete"],
        "append" | "append-verify" | "write-devices" => &["inplace", "partial"],
        "inplace" => &["partial"],
        "compress-level" | "zl" | "compress-choice" | "zc" | "compress-threads" | "zt"
        | "new-compress" | "old-compress" => &["compress"],
        "archive" => &["recursive", "links", "perms", "times", "group", "owner", "devices"],
        _ => &[],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Long name, letter, and a name for what the option sets.
    const ROWS: &[(&str, &str, &str)] = &[
        ("recursive", "r", "recursive"),
        ("times", "t", "times"),
        ("no-times", "", "no-times"),
        ("verbose", "v", "verbose"),
        ("dry-run", "n", "dry-run"),
        ("delete", "", "delete"),
        ("delete-before", "", "delete-before"),
        ("delete-during", "", "delete-during"),
        ("del", "", "delete-during"),
        ("delete-after", "", "delete-after"),
        ("remove-source-files", "", "remove"),
        ("compress", "z", "compress"),
        ("compress-level", "", "compress-level"),
        ("inplace", "", "inplace"),
        ("append", "", "append"),
        ("partial", "", "partial"),
        ("write-devices", "", "write-devices"),
        ("log-file", "", "log-file"),
        ("", "D", "D"),
    ];

    fn compile(words: &str) -> RefuseSet {
        let group = |name| ROWS.iter().position(|(_, _, group)| *group == name).unwrap();
        let rows = ROWS.iter().map(|(long, short, name)| RefuseRow {
            long: long.to_string(),
            short: short.bytes().next(),
            group: group(*name),
        });
        RefuseSet::compile(words.as_bytes(), &rows.collect::<Vec<_>>(), false)
    }

    fn refusal(words: &str, long: &str) -> Option<String> {
        let text = compile(words).check(long, None, false)?;
        text.strip_prefix("The server is configured to refuse ").map(str::to_string)
    }

    fn check(words: &str, long: &str, expected: Option<&str>) {
        assert_eq!(refusal(words, long).as_deref(), expected, "{words} / {long}");
    }

    #[test]
    fn exact_words_speak_for_their_group() {
        check("z", "compress", Some("--compress (-z)"));
        check("del", "delete-during", Some("--delete-during"));
        check("del", "delete-after", None);
        check("times", "no-times", None);
        check("compress-level", "compress", None);
        check("z", "compress-level", Some("--compress (-z)"));
    }

    #[test]
    fn implied_options_are_refused_with_their_cause() {
        check("delete", "delete-after", Some("--delete"));
        check("delete-before", "delete", None);
        check("delete-before delete-during", "delete", Some("--delete-before"));
        check("inplace", "append", Some("--inplace"));
        check("partial", "inplace", Some("--partial"));
        let set = compile("delete");
        assert!(set.check("remove-source-files", None, true).is_some());
        assert!(set.check("remove-source-files", None, false).is_none());
    }

    #[test]
    fn the_real_table() {
        let check = |words: &[u8], long: &str, short: Option<u8>| {
            RefuseSet::compile(words, &option_rows(), false).check(long, short, false)
        };
        let text = |name: &str| Some(format!("The server is configured to refuse {name}"));
        assert_eq!(check(b"delete", "delete-after", None), text("--delete"));
        assert_eq!(check(b"c", "checksum", Some(b'c')), text("--checksum (-c)"));
        assert_eq!(check(b"* !a", "recursive", Some(b'r')), None);
        assert_eq!(check(b"* !a", "stats", None), text("--stats"));
        assert_eq!(check(b"*", "rsh", Some(b'e')), None);
        assert_eq!(check(b"*", "secluded-args", Some(b's')), None);
        assert_eq!(check(b"*", "server", None), None);
        assert_eq!(check(b"", "log-file", None), text("--log-file"));
        let words = b"c delete checksum-seed append inplace z links times owner group perms";
        assert!(RefuseSet::compile(words, &option_rows(), false).remarks.is_empty());
    }

    #[test]
    fn wildcards_leave_the_vital_ones_alone_and_negation_accepts() {
        check("*", "verbose", Some("--verbose (-v)"));
        check("*", "dry-run", None);
        check("dry-run", "dry-run", Some("--dry-run (-n)"));
        check("* !a", "times", None);
        check("* !a", "verbose", Some("--verbose (-v)"));
        check("* !delete* delete-after", "delete-before", None);
        check("* !delete* delete-after", "delete-after", Some("--delete-after"));
        let set = compile("a");
        let text = set.check("", Some(b'D'), false).unwrap();
        assert_eq!(text, "The server is configured to refuse -D");
    }

    #[test]
    fn some_are_never_taken_and_some_only_by_name() {
        check("", "log-file", Some("--log-file"));
        check("!log-file", "log-file", Some("--log-file"));
        check("", "write-devices", Some("--write-devices"));
        check("!*", "write-devices", Some("--write-devices"));
        check("!write-devices", "write-devices", None);
        let remarks = compile("foo z* !q").remarks;
        let no_match = |word: &str| format!("No match for refuse-options string \"{word}\"");
        assert_eq!(remarks, [no_match("foo"), no_match("q")]);
    }
}
