//! A user without privileges among directories and files that keep somebody out: both programs do
//! the same, say the same and leave the same trees. The cases are in `unprivileged.txt`.

// A case that cannot be set up is a failure.
#![allow(clippy::unwrap_used, clippy::panic)]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use livemirror_tests::peer::{self, Programs, Side};
use livemirror_tests::tree_text;

const LIMIT: Duration = Duration::from_secs(60);
/// Who runs the client where the test is run by root.
const USER: &str = "65534";

const CASES: &str = include_str!("../unprivileged.txt");

/// How fast a case was set up must not decide whether the times of two entries differ: what is new
/// is of one second, but for the two directories that are compared. Who is not root cannot look
/// into all of them.
const TIMES: &str = "find s d alt -newermt 2020-01-01 -exec touch -h -d 2003-03-03 {} + 2>/dev/null
    touch -d 2001-01-01 s && touch -d 2002-02-02 d";

fn am_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// A command that the user runs in `dir`.
fn as_user(dir: &Path, words: &[String]) -> Command {
    let mut all: Vec<String> = Vec::new();
    if am_root() {
        let drop = ["setpriv", "--reuid", USER, "--regid", USER, "--clear-groups"];
        all.extend(drop.iter().map(|word| (*word).to_owned()));
    }
    all.extend_from_slice(words);
    let mut command = Command::new(&all[0]);
    command.args(&all[1..]).current_dir(dir).env("LC_ALL", "C");
    command
}

fn script(text: &str) -> Vec<String> {
    ["sh", "-ec", text].iter().map(|word| (*word).to_owned()).collect()
}

/// What is said, line by line without order, with what differs between the programs taken out.
fn lines(text: &[u8], dir: &Path) -> Vec<String> {
    let text = String::from_utf8_lossy(text).replace(dir.to_str().unwrap(), "DIR");
    let mut lines: Vec<String> = text
        .lines()
        .filter(|line| !line.starts_with("livemirror: "))
        .map(|line| match line.find(") at ") {
            Some(at) if line.starts_with("rsync error: ") => line[..=at].to_owned(),
            _ => without_random(line),
        })
        .collect();
    lines.sort();
    lines
}

/// The random part of a temporary name is not the same twice.
fn without_random(line: &str) -> String {
    let Some(end) = line.find("\" failed") else { return line.to_owned() };
    match line[..end].rfind('.') {
        Some(dot) if end - dot == 7 && line.contains("mkstemp") => {
            format!("{}.XXXXXX{}", &line[..dot], &line[end..])
        }
        _ => line.to_owned(),
    }
}

struct Place(PathBuf);

impl Drop for Place {
    fn drop(&mut self) {
        let _ = Command::new("chmod").args(["-R", "u+rwx"]).arg(&self.0).status();
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// Plays a case with one of the programs: exit code, lines, tree.
fn play(programs: &Programs, side: Side, case: &[&str]) -> (Option<i32>, Vec<String>, Vec<String>) {
    let [name, setup, by_root, words] = case else { panic!("{case:?} is no case") };
    let dir = format!("livemirror-unprivileged-{}-{}-{name}", std::process::id(), side.word());
    let place = Place(std::env::temp_dir().join(dir));
    fs::create_dir_all(&place.0).unwrap();
    if am_root() {
        std::os::unix::fs::chown(&place.0, Some(65_534), Some(65_534)).unwrap();
    }
    let setup = script(&format!("umask 022; mkdir s d; {setup}"));
    assert!(as_user(&place.0, &setup).status().unwrap().success(), "{name}");
    if !by_root.is_empty() {
        let set = Command::new("sh").args(["-ec", by_root]).current_dir(&place.0).status();
        assert!(set.unwrap().success(), "{name}");
    }
    let times = Command::new("sh").args(["-c", TIMES]).current_dir(&place.0).status();
    assert!(times.unwrap().success(), "{name}");
    // A debugging build need not lie where everybody may go.
    let program = Path::new("/tmp").join(format!("livemirror-{}", std::process::id()));
    let mut client = programs.words(side);
    if side == Side::Ours {
        if !program.exists() {
            fs::copy(&client[0], &program).unwrap();
        }
        client[0] = program.to_str().unwrap().to_owned();
    }
    client.extend(words.split_whitespace().map(str::to_owned));
    let run = peer::run(as_user(&place.0, &client), Vec::new(), LIMIT);
    let said = [run.stdout, run.stderr].concat();
    (run.code, lines(&said, &place.0), tree_text::dump(&place.0.join("d"), Some(1_000_000_000)))
}

#[test]
fn who_may_not_do_all_gets_as_far_as_with_the_reference() {
    // A failure would lose files of ordinary users, or leave directories more open than they were.
    let Some(programs) = Programs::find() else { return };
    let mut failures = Vec::new();
    let mut names = BTreeSet::new();
    for line in CASES.lines().filter(|line| !line.is_empty() && !line.starts_with("//")) {
        let case: Vec<&str> = line.split('|').map(str::trim).collect();
        assert!(names.insert(case[0]), "{} twice", case[0]);
        // Without root nobody can own what another may not touch.
        if !am_root() && case.get(2).is_some_and(|text| !text.is_empty()) {
            continue;
        }
        let (ours, theirs) =
            (play(programs, Side::Ours, &case), play(programs, Side::Theirs, &case));
        if ours != theirs {
            failures.push(format!("{line}\n  ours {ours:?}\n  theirs {theirs:?}"));
        }
    }
    let _ = fs::remove_file(format!("/tmp/livemirror-{}", std::process::id()));
    assert!(failures.is_empty(), "{}", failures.join("\n"));
    assert!(names.len() > 30);
}
