//! The rows of the matrix, read from `scenarios.txt` and `fixtures.txt`. Called by the matrix.
//!
//! A row is `NAME | TREES | OPTIONS | PATHS | MARKS`. TREES names fixtures, made one after the
//! other in the directory of the run. OPTIONS and PATHS are words with the escapes of
//! [`tree_text::unescape`]; the last path is the destination unless the mark `list` is there. Marks:
//! - `exit=N`: the reference must end with this code (0 without the mark); `exit@PAIRING=N`: with
//!   another one in this pairing or variant of one;
//! - `stdin=FILE`: this file of the run's directory is standard input;
//! - `twice`: the command runs a second time on what the first left;
//! - `user`: client and shell server run as user 1000, in no group but 1000;
//! - `no-daemon`: not where a daemon takes part, which refuses the option;
//! - `list`: there is no destination; `local`, `remote`: only in these pairings;
//! - `variants`: also in the variants of the pairings (each protocol version forced ...);
//! - `old`: with protocol 29 too; `older`: with 28 and 27 as well, where each line of items comes
//!   from the process that makes it, and lines of many scenarios cross.

use crate::tree_text;

const SCENARIOS: &str = include_str!("../scenarios.txt");
const FIXTURES: &str = include_str!("../fixtures.txt");

/// One row of the matrix.
pub struct Scenario {
    /// What the row is called, in manifest and reports.
    pub name: String,
    /// The short form of what is there before, relative to the directory of the run.
    pub tree: String,
    /// Options, before the paths.
    pub options: Vec<Vec<u8>>,
    /// Sources, relative to the directory of the run.
    pub sources: Vec<Vec<u8>>,
    /// Destination, likewise; none where the sources are listed.
    pub dest: Option<Vec<u8>>,
    /// Exit code that the reference must have, so that the row shows what it claims.
    pub exit: i32,
    /// The same for single pairings.
    pub exit_in: Vec<(String, i32)>,
    /// A file that is standard input.
    pub stdin: Option<String>,
    /// Whether the command runs a second time.
    pub twice: bool,
    /// Whether nobody is root.
    pub user: bool,
    /// Whether daemons take part.
    pub daemon: bool,
    /// Whether the local pairing is meant.
    pub local: bool,
    /// Whether the pairings with a remote peer are meant.
    pub remote: bool,
    /// Whether the variants of the pairings are meant too.
    pub variants: bool,
    /// Whether the variants of old protocols are.
    pub old: bool,
    /// Whether those of the oldest are.
    pub older: bool,
    /// Whether it is a dry run by its own options.
    pub dry: bool,
}

/// All rows.
///
/// # Panics
/// On a malformed row, an unknown fixture or two rows of one name.
pub fn all() -> Vec<Scenario> {
    let rows = SCENARIOS.lines().filter(|l| !l.trim().is_empty() && !l.starts_with("//"));
    let all: Vec<Scenario> = rows.map(row).collect();
    for (at, scenario) in all.iter().enumerate() {
        assert!(
            all[..at].iter().all(|earlier| earlier.name != scenario.name),
            "two scenarios are called {}",
            scenario.name
        );
    }
    all
}

fn row(line: &str) -> Scenario {
    let columns: Vec<&str> = line.split('|').map(str::trim).collect();
    let [name, trees, options, paths, marks] = columns[..] else {
        panic!("a scenario has five columns: {line}");
    };
    let words = |text: &str| text.split_ascii_whitespace().map(tree_text::unescape).collect();
    let mut scenario = Scenario {
        name: name.to_owned(),
        tree: trees.split_ascii_whitespace().map(fixture).collect(),
        options: words(options),
        sources: words(paths),
        dest: None,
        exit: 0,
        exit_in: Vec::new(),
        stdin: None,
        twice: false,
        user: false,
        daemon: true,
        local: true,
        remote: true,
        variants: false,
        old: false,
        older: false,
        dry: false,
    };
    scenario.dry = scenario.options.iter().any(|word| {
        word == b"--dry-run"
            || word.contains(&b'n') && !word.starts_with(b"--") && word.starts_with(b"-")
    });
    let mut list = false;
    for mark in marks.split_ascii_whitespace() {
        match mark.split_once('=').unwrap_or((mark, "")) {
            ("exit", code) => scenario.exit = code.parse().expect("a code"),
            (key, code) if key.starts_with("exit@") => {
                let pairing = key.trim_start_matches("exit@").to_owned();
                scenario.exit_in.push((pairing, code.parse().expect("a code")));
            }
            ("stdin", file) => scenario.stdin = Some(file.to_owned()),
            ("twice", _) => scenario.twice = true,
            // A daemon has users of its own.
            ("user", _) => (scenario.user, scenario.daemon) = (true, false),
            ("no-daemon", _) => scenario.daemon = false,
            ("list", _) => list = true,
            ("local", _) => scenario.remote = false,
            ("remote", _) => scenario.local = false,
            ("variants", _) => scenario.variants = true,
            ("old", _) => scenario.old = true,
            ("older", _) => scenario.older = true,
            _ => panic!("unknown mark {mark} in {line}"),
        }
    }
    if !list {
        scenario.dest = scenario.sources.pop();
    }
    assert!(!scenario.sources.is_empty(), "no source in {line}");
    scenario
}

fn fixture(name: &str) -> String {
    let head = format!("[{name}]\n");
    let start = FIXTURES.find(&head).unwrap_or_else(|| panic!("no fixture {name}"));
    let rest = &FIXTURES[start + head.len()..];
    rest[..rest.find("\n[").map_or(rest.len(), |end| end + 1)].to_owned()
}

#[cfg(test)]
mod tests {
    #[test]
    fn every_row_can_be_read() {
        let all = super::all();
        assert!(all.len() >= 70, "{} scenarios", all.len());
        assert!(all.iter().any(|s| s.variants) && all.iter().any(|s| s.twice));
    }
}
