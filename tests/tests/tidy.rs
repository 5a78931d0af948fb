//! The house's rules, as a test: headers, lengths, one name for one thing, who may know whom, no
//! file that nothing names, nothing unfinished, and one list of wire fields for document and code.

// A rule that cannot be checked is a failure.
#![allow(clippy::unwrap_used)]

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// Longest file, in lines.
const FILE_MAX: usize = 600;
/// Longest function, in lines.
const FUNCTION_MAX: usize = 70;

/// Functions that are longer: file, first line without its body, reason.
const LONG_FUNCTIONS: &[(&str, &str, &str)] =
    &[("crates/rsync/src/options/mod.rs", "fn default() -> Self {", "one line for each option")];

/// Files that are longer, each with its reason.
const LONG_FILES: &[(&str, &str)] = &[
    ("crates/rsync/src/scan.rs", "one walk over the source; its argument forms belong together"),
    ("crates/rsync/src/link.rs", "the two halves of a connection share their waiting rules"),
    ("crates/rsync/src/sender.rs", "one role, from first list to goodbye"),
    ("crates/rsync/src/receiver.rs", "one role, from first list to goodbye"),
];

/// Files outside `tree` that reach the file system by path, each with its reason. All of these are
/// the operator's own paths, never a peer's.
const PATH_USERS: &[(&str, &str)] = &[
    ("crates/mirror/src/config/file.rs", "reads the configuration that the operator names"),
    ("crates/mirror/src/status_file.rs", "writes the status file that the operator names"),
    ("crates/mirror/src/status.rs", "makes and finds the status sockets of this user"),
    ("crates/mirror/src/config/lsyncd/eval.rs", "runs the configuration that the operator names"),
    ("crates/mirror/src/check/facts.rs", "looks at what the operator's configuration names"),
];

/// Files outside `tree` with unsafe code, each with its reason.
const UNSAFE_USERS: &[(&str, &str)] =
    &[("crates/cli/src/serve.rs", "a signal handler that only stores and writes one byte")];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_path_buf()
}

/// All sources below `crates`, `tests`, `xtask` and `fuzz`, by path from the root.
fn sources() -> BTreeMap<String, String> {
    let mut found = BTreeMap::new();
    let mut todo: Vec<PathBuf> =
        ["crates", "tests", "xtask", "fuzz"].iter().map(|d| root().join(d)).collect();
    while let Some(dir) = todo.pop() {
        for item in std::fs::read_dir(dir).unwrap() {
            let path = item.unwrap().path();
            if path.is_dir() {
                if !path.ends_with("target") {
                    todo.push(path);
                }
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

/// A file's code without its inline tests, which stand last.
fn program(text: &str) -> &str {
    match text.find("#[cfg(test)]\nmod tests {") {
        Some(end) => &text[..end],
        None => text,
    }
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
            let excused =
                LONG_FUNCTIONS.iter().any(|(file, first, _)| *file == path && *first == code);
            if length > FUNCTION_MAX && !excused {
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
        let code = program(&text);
        for word in banned {
            if code.contains(word) {
                problems.push(format!("{path}: {word}"));
            }
        }
    }
    report(problems);
}

#[test]
fn every_file_is_named_by_a_module() {
    let all = sources();
    let mut reached: BTreeSet<String> = BTreeSet::new();
    let mut open: Vec<String> = all.keys().filter(|path| is_root(path)).cloned().collect();
    while let Some(path) = open.pop() {
        let Some(text) = all.get(&path) else { continue };
        if reached.insert(path.clone()) {
            open.extend(children(&path, text));
        }
    }
    let dead = all.keys().filter(|path| !reached.contains(*path));
    report(dead.map(|path| format!("{path}: no module names it")).collect());
}

/// Whether the build starts at this file: a library, a program, a test, a fuzz target.
fn is_root(path: &str) -> bool {
    let parts: Vec<&str> = path.split('/').collect();
    match parts.as_slice() {
        [.., "src", "lib.rs" | "main.rs"] | [.., "fuzz_targets", _] => true,
        [.., "tests", dir, "main.rs"] => *dir != "src",
        [.., "tests", _] => true,
        _ => false,
    }
}

/// The files that the `mod` lines of a file stand for.
fn children(path: &str, text: &str) -> Vec<String> {
    let (dir, file) = path.rsplit_once('/').unwrap();
    let owner = match file {
        "lib.rs" | "main.rs" | "mod.rs" => dir.to_string(),
        _ if is_root(path) => dir.to_string(),
        _ => format!("{dir}/{}", file.trim_end_matches(".rs")),
    };
    let mut found = Vec::new();
    let mut given = None;
    for line in text.lines().map(str::trim) {
        if let Some(rest) = line.strip_prefix("#[path = \"") {
            given = rest.strip_suffix("\"]").map(|name| format!("{dir}/{name}"));
        }
        let rest = ["mod ", "pub mod ", "pub(crate) mod ", "pub(super) mod "]
            .iter()
            .find_map(|start| line.strip_prefix(start));
        if let Some(name) = rest.and_then(|rest| rest.strip_suffix(';')) {
            match given.take() {
                Some(path) => found.push(path),
                None => {
                    found.push(format!("{owner}/{name}.rs"));
                    found.push(format!("{owner}/{name}/mod.rs"));
                }
            }
        }
    }
    found
}

#[test]
fn only_the_tree_crate_touches_paths_and_the_kernel() {
    let mut problems = Vec::new();
    let shipped = |path: &str| path.starts_with("crates/") && path.contains("/src/");
    for (path, text) in sources().into_iter().filter(|(p, _)| shipped(p) && !is_test(p)) {
        if path.starts_with("crates/tree/") {
            continue;
        }
        let by_path = PATH_USERS.iter().any(|(file, _)| *file == path);
        let by_hand = UNSAFE_USERS.iter().any(|(file, _)| *file == path);
        for line in program(&text).lines().filter(|line| !line.trim_start().starts_with("//")) {
            // A `File` is a handle that `tree` gave; what opens or changes by path is not.
            let handled = line.replace("std::fs::File", "");
            let opens = ["std::fs", "File::open", "File::create", "OpenOptions", "canonicalize("];
            if !by_path && opens.iter().any(|word| handled.contains(word)) {
                problems.push(format!("{path}: {}", line.trim()));
            }
            // Numbers of errors and signals are words; a function would be a system call.
            let calls = line
                .split("libc::")
                .skip(1)
                .any(|rest| rest.starts_with(|c: char| c.is_ascii_lowercase()));
            if calls || (!by_hand && line.contains("unsafe {")) {
                problems.push(format!("{path}: {}", line.trim()));
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
        for (at, line) in text.lines().enumerate() {
            let comment = line.split_once("// ").or(line.split_once("//! ")).map(|(_, c)| c);
            let ticket = comment.unwrap_or_default().split_whitespace().find(|w| is_ticket(w));
            if let Some(word) = ticket {
                problems.push(format!("{path}:{}: {word}", at + 1));
            }
        }
    }
    report(problems);
}

/// A code of a tracker, such as three capitals, a dash and a number, or `#` and a number. Names of
/// standards look alike.
fn is_ticket(word: &str) -> bool {
    let word = word.trim_matches(|c: char| !c.is_ascii_alphanumeric() && c != '#');
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    if let Some(number) = word.strip_prefix('#') {
        return digits(number);
    }
    let standards = ["UTF", "ISO", "MD", "SHA", "RFC"];
    word.split_once('-').is_some_and(|(code, number)| {
        let capitals = code.len() > 1 && code.bytes().all(|b| b.is_ascii_uppercase());
        capitals && digits(number) && !standards.contains(&code)
    })
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
