//! The house's rules, as a test: headers, lengths, one name for one thing, who may know whom.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// Longest file, in lines.
const FILE_MAX: usize = 600;
/// Longest function, in lines.
const FUNCTION_MAX: usize = 70;

/// Files that are longer, each with its reason.
const LONG_FILES: &[(&str, &str)] = &[
    ("crates/rsync/src/scan.rs", "one walk over the source; its argument forms belong together"),
    ("crates/rsync/src/link.rs", "the two halves of a connection share their waiting rules"),
    ("crates/rsync/src/sender.rs", "one role, from first list to goodbye"),
    ("crates/rsync/src/client.rs", "one transfer in all its transports"),
    (
        "crates/rsync/src/generator.rs",
        "one role; its decisions by kind of item are files of their own",
    ),
    ("crates/rsync/src/receiver.rs", "one role, from first list to goodbye"),
    ("crates/rsync/src/options/mod.rs", "one documented field for each option"),
];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_path_buf()
}

/// All sources below `crates`, `tests` and `xtask`, by path from the root.
fn sources() -> BTreeMap<String, String> {
    let mut found = BTreeMap::new();
    let mut todo: Vec<PathBuf> =
        ["crates", "tests", "xtask"].iter().map(|d| root().join(d)).collect();
    while let Some(dir) = todo.pop() {
        for item in std::fs::read_dir(dir).unwrap() {
            let path = item.unwrap().path();
            if path.is_dir() {
                todo.push(path);
            } else if path.extension().is_some_and(|x| x == "rs") {
                let name = path.strip_prefix(root()).unwrap().display().to_string();
                found.insert(name, std::fs::read_to_string(&path).unwrap());
            }
        }
    }
    assert!(found.len() > 100, "the sources were not found");
    found
}

fn is_test(path: &str) -> bool {
    path.contains("/tests/") || path.ends_with("_tests.rs") || path.starts_with("tests/")
}

fn report(problems: Vec<String>) {
    assert!(problems.is_empty(), "\n{}\n", problems.join("\n"));
}

#[test]
fn every_file_begins_with_what_it_is_for() {
    let bare = sources().into_iter().filter(|(_, text)| !text.starts_with("//!"));
    report(bare.map(|(path, _)| format!("{path}: no //! header")).collect());
}

#[test]
fn files_fit() {
    let mut problems = Vec::new();
    for (path, text) in sources() {
        let lines = text.lines().count();
        let excused = LONG_FILES.iter().any(|(long, _)| *long == path);
        if lines > FILE_MAX && !excused && !is_test(&path) {
            problems.push(format!("{path}: {lines} lines, {FILE_MAX} allowed"));
        }
    }
    report(problems);
}

#[test]
fn functions_fit_a_screen() {
    let mut problems = Vec::new();
    for (path, text) in sources().into_iter().filter(|(path, _)| !is_test(path)) {
        let lines: Vec<&str> = text.lines().collect();
        for (at, line) in lines.iter().enumerate() {
            let indent = line.len() - line.trim_start().len();
            let code = line.trim_start();
            let starts = ["fn ", "pub fn ", "pub(crate) fn ", "pub(super) fn "];
            if !starts.iter().any(|start| code.starts_with(start)) || code.ends_with(';') {
                continue;
            }
            let close = format!("{}}}", " ".repeat(indent));
            let length = lines[at..].iter().position(|line| **line == close).unwrap_or(0) + 1;
            if length > FUNCTION_MAX {
                problems.push(format!("{path}:{}: a function of {length} lines", at + 1));
            }
        }
    }
    report(problems);
}

#[test]
fn a_public_type_name_stands_for_one_thing() {
    let mut places: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for (path, text) in sources().into_iter().filter(|(p, _)| p.contains("/src/") && !is_test(p)) {
        for line in text.lines() {
            let rest = ["pub struct ", "pub enum ", "pub trait "]
                .iter()
                .find_map(|k| line.strip_prefix(k));
            if let Some(rest) = rest {
                let end = rest.find(|c: char| !c.is_alphanumeric()).unwrap_or(rest.len());
                places.entry(rest[..end].to_string()).or_default().push(path.clone());
            }
        }
    }
    let twice = places.into_iter().filter(|(_, at)| at.len() > 1);
    report(twice.map(|(name, at)| format!("{name}: {}", at.join(", "))).collect());
}

#[test]
fn crates_know_only_what_lies_below_them() {
    let allowed: [(&str, &[&str]); 4] = [
        ("wire", &[]),
        ("tree", &[]),
        ("rsync", &["wire", "tree"]),
        ("mirror", &["wire", "tree", "rsync"]),
    ];
    let mut problems = Vec::new();
    for (name, below) in allowed {
        let manifest =
            std::fs::read_to_string(root().join(format!("crates/{name}/Cargo.toml"))).unwrap();
        for other in ["wire", "tree", "rsync", "mirror", "livemirror"] {
            let depends = manifest.lines().any(|l| {
                l.starts_with(&format!("{other}.")) || l.starts_with(&format!("{other} ="))
            });
            if depends && !below.contains(&other) {
                problems.push(format!("{name} depends on {other}"));
            }
        }
    }
    report(problems);
}

#[test]
fn the_wire_crate_does_nothing_but_compute() {
    let banned = [
        "std::fs",
        "std::net",
        "std::time",
        "std::process",
        "std::env",
        "std::thread",
        "std::os",
        "getrandom",
        "libc::",
        "unsafe {",
    ];
    let mut problems = Vec::new();
    for (path, text) in
        sources().into_iter().filter(|(p, _)| p.starts_with("crates/wire/src") && !is_test(p))
    {
        // What follows the test module runs in tests alone.
        let code = text.split("#[cfg(test)]").next().unwrap_or_default();
        for word in banned {
            if code.contains(word) {
                problems.push(format!("{path}: {word}"));
            }
        }
    }
    report(problems);
}

#[test]
fn nothing_unfinished_or_dated_stays_in_the_sources() {
    let banned = [
        concat!("to", "do!("),
        concat!("db", "g!("),
        concat!("unimpl", "emented!("),
        concat!("FIX", "ME"),
        concat!("X", "XX:"),
        concat!("HA", "CK"),
        concat!("//! TE", "MP"),
        concat!("/// TE", "MP"),
    ];
    let mut problems = Vec::new();
    for (path, text) in sources() {
        for word in banned {
            if text.contains(word) {
                problems.push(format!("{path}: {word}"));
            }
        }
    }
    report(problems);
}

#[test]
fn every_named_field_is_in_the_protocol_and_in_the_code() {
    let document = std::fs::read_to_string(root().join("docs/protocol.md")).unwrap();
    let known = fields(&document);
    let mut used = BTreeSet::new();
    for (path, text) in sources() {
        if path.starts_with("crates/") && !is_test(&path) {
            used.extend(fields(&text));
            // An error names its field without brackets.
            used.extend(known.iter().filter(|f| text.contains(&format!("\"{f}\""))).cloned());
        }
    }
    let mut problems: Vec<String> =
        used.difference(&known).map(|f| format!("[{f}] is not in docs/protocol.md")).collect();
    problems.extend(known.difference(&used).map(|f| format!("[{f}] is not in the code")));
    report(problems);
}

/// Bracketed names of two or more words.
fn fields(text: &str) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for part in text.split('[').skip(1) {
        let Some((name, rest)) = part.split_once(']') else { continue };
        let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
        let words: Vec<&str> = name.split('-').collect();
        let named = words.len() > 1 && words.iter().all(|w| w.len() > 1) && name.chars().all(plain);
        if named && !rest.starts_with('(') {
            found.insert(name.to_string());
        }
    }
    found
}
