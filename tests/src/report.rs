//! What the matrix found, against the list of differences that are expected. Called by the matrix.
//!
//! A line of the list is `SCENARIO CELL WHAT: REASON`. CELL is `PAIRING:CLIENT-SERVER`, or starts
//! with what is given before a closing `*`; SCENARIO may be `*`. A line that no difference needs
//! any more is a failure like an unexpected difference, so that the list stays true; but one whose WHAT
//! ends with `?` tells what the clock decides, which may be there or not.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::Path;
use std::sync::Mutex;

/// Lines of a difference that a report shows.
const LINES_MAX: usize = 25;

/// What a comparison found to differ; the order is that of importance.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum What {
    /// The scenario cannot be run, or does not do with the reference what it claims.
    Setup,
    /// Ours did not end in time.
    Time,
    /// The source tree was changed.
    Source,
    /// The destination tree is another.
    Tree,
    /// The exit code is another.
    Exit,
    /// Lines of standard output.
    Stdout,
    /// Lines of standard error.
    Stderr,
    /// Lines of standard output are the same in another order, which the reference keeps each time.
    Order,
    /// Ours says that it does not support an option, so nothing else is compared.
    Refused,
}

impl What {
    fn word(self) -> &'static str {
        match self {
            What::Setup => "setup",
            What::Time => "time",
            What::Source => "source",
            What::Tree => "tree",
            What::Exit => "exit",
            What::Stdout => "stdout",
            What::Stderr => "stderr",
            What::Order => "order",
            What::Refused => "refused",
        }
    }
}

/// One thing that differs in one cell.
#[derive(Clone)]
pub struct Difference {
    /// Name of the row.
    pub scenario: String,
    /// Pairing and who plays client and server: `shell-push:ours-theirs`.
    pub cell: String,
    /// What differs.
    pub what: What,
    /// The command line and the lines that differ.
    pub lines: Vec<String>,
}

/// A line of the list of expected differences.
struct Expected {
    scenario: String,
    cell: String,
    what: String,
    /// Whether the difference must be there.
    always: bool,
}

impl Expected {
    fn explains(&self, difference: &Difference) -> bool {
        self.covers(&difference.scenario, &difference.cell) && self.what == difference.what.word()
    }

    fn covers(&self, scenario: &str, cell: &str) -> bool {
        let cell_fits = match self.cell.strip_suffix('*') {
            Some(start) => cell.starts_with(start),
            None => cell == self.cell,
        };
        cell_fits && (self.scenario == "*" || self.scenario == scenario)
    }
}

fn expected() -> Vec<Expected> {
    let text = include_str!("../expected_differences.txt");
    let lines = text.lines().filter(|l| !l.trim().is_empty() && !l.starts_with("//"));
    lines
        .map(|line| {
            let (key, reason) = line.split_once(": ").expect("a reason");
            let words: Vec<&str> = key.split_ascii_whitespace().collect();
            let [scenario, cell, what] = words[..] else { panic!("three words ahead of {reason}") };
            let always = !what.ends_with('?');
            let what = what.trim_end_matches('?');
            let [scenario, cell, what] = [scenario, cell, what].map(str::to_owned);
            Expected { scenario, cell, what, always }
        })
        .collect()
}

/// Judges one group: `ran` are its cells as (scenario, cell). The text tells what failed; empty
/// when all is as expected.
pub fn judge(ran: &[(String, String)], found: &[Difference]) -> String {
    let expected = expected();
    let mut used = vec![false; expected.len()];
    let mut text = String::new();
    for difference in found {
        let line = expected.iter().position(|line| line.explains(difference));
        match line {
            Some(at) => used[at] = true,
            None => text.push_str(&show(difference, &difference.cell)),
        }
    }
    for (line, used) in expected.iter().zip(used) {
        if !used && line.always && ran.iter().any(|(scenario, cell)| line.covers(scenario, cell)) {
            let Expected { scenario, cell, what, .. } = line;
            let _ = writeln!(text, "UNEXPECTED PASS: {scenario} {cell} {what}");
        }
    }
    text
}

fn show(difference: &Difference, cells: &str) -> String {
    let mut text = format!("=== {} [{}] {}\n", difference.scenario, difference.what.word(), cells);
    for line in difference.lines.iter().take(LINES_MAX) {
        let _ = writeln!(text, "    {line}");
    }
    if difference.lines.len() > LINES_MAX {
        let _ = writeln!(text, "    ({} more lines)", difference.lines.len() - LINES_MAX);
    }
    text
}

/// Adds the differences of a group to the file that `LIVEMIRROR_MATRIX_REPORT` names, which is
/// written anew: the same difference in several cells once, the weightiest and commonest first.
/// What is expected each time is left out. `ran` says what the group was and how long it took.
pub fn write(found: &[Difference], ran: &str) {
    static ALL: Mutex<(Vec<Difference>, String)> = Mutex::new((Vec::new(), String::new()));
    let Some(path) = std::env::var_os("LIVEMIRROR_MATRIX_REPORT") else { return };
    let mut all = ALL.lock().expect("no panic while it is held");
    let expected = expected();
    let news = |difference: &&Difference| {
        !expected.iter().any(|line| line.always && line.explains(difference))
    };
    all.0.extend(found.iter().filter(news).cloned());
    all.1.push_str(ran);
    let mut merged: BTreeMap<(What, &[String]), Vec<&Difference>> = BTreeMap::new();
    for difference in &all.0 {
        merged.entry((difference.what, &difference.lines[1..])).or_default().push(difference);
    }
    let mut merged: Vec<_> = merged.into_values().collect();
    merged.sort_by_key(|alike| (alike[0].what, std::cmp::Reverse(alike.len())));
    let mut text = all.1.clone();
    let counts = (all.0.len(), merged.len());
    let _ = writeln!(
        text,
        "{} differences that are not expected, {} after merging (- theirs, + ours)",
        counts.0, counts.1
    );
    for alike in merged {
        let mut cells: Vec<String> = Vec::new();
        for difference in &alike {
            if difference.scenario != alike[0].scenario {
                cells.push(format!("{}/{}", difference.scenario, difference.cell));
            } else {
                cells.push(difference.cell.clone());
            }
        }
        text.push_str(&show(alike[0], &cells.join(" ")));
    }
    std::fs::write(Path::new(&path), text).expect("write the report");
}
