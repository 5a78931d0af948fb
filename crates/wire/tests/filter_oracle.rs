//! Filter rules side by side with the installed rsync: random rule sets over a small fixed tree.
//!
//! The tree's names are chosen to collide with the patterns. For each rule set the program lists
//! the tree (what the sender hides) and deletes in it from a source that
//! lacks most of it (what the receiver protects); both must be what a plain scan with a `FilterList` gives. Where
//! the program refuses a rule, we must refuse it with the same words.
//!
//! Needs `rsync` in the path. `LIVEMIRROR_NO_ORACLE=1` skips; `FILTER_ORACLE_SEED` and
//! `FILTER_ORACLE_ROUNDS` choose other rule sets.

// A failed set-up is the report.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use wire::filter::{FilterError, FilterList, Origin, Side};

const WHOLE: &str = "*|*/|/a|/a/|a/***|/a/***|a/**|**/b|/**/b|*.o|/*/a|b/a|a/b/|**a|a**|a*b|***|/|\
    t/a|/*|[[:alpha:]]|?";

const PIECES: &str = "a|b|c|a|b|*|**|***|?|/|/|/|[ab]|[!a]|[a-c]|\\|x.o|.|[[:alpha:]]|[|]|^|-|[]a]|\
    [a/]|[[:foo:]b]";

const KINDS: &str = "-|-|-|-|+|+|+|-!|+!|-/|+/|-s|-r|+s|+r|-p|-rp|H|S|P|R|exclude|-x|protect,p";

const MERGES: &str = ": .f|:n .f|:e .g|:- .g|:+ .g|:w- .g|:C .f|:s .f|:r .g|:p .f|:/ .f|\
    dir-merge .f|: ../.f|:n ../../.g|: /.g|:sr .f";

/// Xorshift: the same rule sets in every run.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 33) as usize % limit
    }

    /// One of the parts of `list` between bars.
    fn pick<'a>(&mut self, list: &'a str) -> &'a str {
        let parts: Vec<_> = list.split('|').collect();
        parts[self.below(parts.len())]
    }

    fn pattern(&mut self) -> String {
        if self.below(3) == 0 {
            return self.pick(WHOLE).to_owned();
        }
        (0..=self.below(6)).map(|_| self.pick(PIECES)).collect()
    }

    fn rule(&mut self) -> String {
        match self.below(80) {
            0 => "!".to_owned(),
            1..12 => self.pick(MERGES).to_owned(),
            12 => self.pick("- |-q a|-C|_|hide,s x|merge").to_owned(),
            _ => format!("{}{}{}", self.pick(KINDS), self.pick(" |_"), self.pattern()),
        }
    }

    /// Content of a rule file, `with_merges` also with rules that read another one at once.
    fn file(&mut self, with_merges: bool) -> String {
        let lines = (0..=self.below(3)).map(|_| match self.below(60) {
            0 => self.pattern(),
            1 if with_merges => self.pick(". .g|.- .f|.w- .f|.p .g").to_owned(),
            2..6 => self.pick("# comment||; - a|!").to_owned(),
            _ => self.rule(),
        });
        lines.collect::<Vec<_>>().join(self.pick("\n|\n|\r\n"))
    }
}

struct Scene {
    base: PathBuf,
    rule_files: Vec<(PathBuf, String)>,
}

const DIRS: [&str; 14] = [
    "a", "b", "c", "a/b", "a/b/c", "a/b/a", "b/a", "b/a/b", "ab", "ab/a", "[a]", "c/x.o",
    "a/b/c/a", "core",
];
const FILES: [&str; 14] =
    ["a", "b", "c", "ab", "ba", "x.o", "a.o", "[a]", "a\\b", "*", "-", "b]", "^a", "é"];

impl Scene {
    fn new(name: &str) -> Scene {
        let base =
            std::env::temp_dir().join(format!("filter-oracle-{name}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&base);
        let scene = Scene { base, rule_files: Vec::new() };
        // The source of the deletion runs lacks some directories and all files.
        for dir in ["t", "t/a", "t/a/b", "t/b", "t/core"] {
            fs::create_dir_all(scene.base.join("up/src").join(dir)).unwrap();
        }
        scene.restore();
        scene
    }

    fn tree(&self) -> PathBuf {
        self.base.join("up/t")
    }

    fn source(&self) -> PathBuf {
        self.base.join("up/src/t")
    }

    /// Brings back what a run deleted.
    fn restore(&self) {
        for dir in DIRS {
            fs::create_dir_all(self.tree().join(dir)).unwrap();
        }
        for dir in DIRS.iter().chain(&["."]) {
            for file in FILES {
                let path = self.tree().join(dir).join(file);
                if !path.exists() {
                    fs::write(path, b"").unwrap();
                }
            }
        }
        for (path, text) in &self.rule_files {
            fs::write(path, text).unwrap();
        }
    }

    /// Puts rule files into random directories, also above the tree, and removes the last ones.
    /// Not into `[a]`: the program takes a directory's name as a pattern in rules anchored there,
    /// we do not.
    fn scatter(&mut self, random: &mut Random, with_merges: bool) {
        for (path, _) in self.rule_files.drain(..) {
            let _ = fs::remove_file(path);
        }
        let tree = self.tree();
        let places = DIRS.iter().filter(|dir| !dir.contains('[')).map(|dir| tree.join(dir));
        for dir in places.chain([tree.clone(), self.base.join("up"), self.base.clone()]) {
            for name in [".f", ".g"] {
                if random.below(8) == 0 {
                    self.rule_files.push((dir.join(name), random.file(with_merges)));
                }
            }
        }
        self.restore();
    }

    /// All names in the tree.
    fn names(&self) -> BTreeSet<String> {
        let mut all = BTreeSet::new();
        let mut dirs = vec![".".to_owned()];
        while let Some(dir) = dirs.pop() {
            for (name, is_dir) in entries(&self.tree(), &dir) {
                if is_dir {
                    dirs.push(name.clone());
                }
                all.insert(name);
            }
        }
        all
    }
}

fn read_in(root: &Path) -> impl FnMut(&[u8], &[u8]) -> Option<Vec<u8>> {
    let root = root.to_owned();
    move |dir, file| {
        let file = std::str::from_utf8(file).unwrap();
        fs::read(root.join(std::str::from_utf8(dir).unwrap()).join(file)).ok()
    }
}

fn join(dir: &str, name: &str) -> String {
    if dir == "." { name.to_owned() } else { format!("{dir}/{name}") }
}

fn entries(root: &Path, dir: &str) -> Vec<(String, bool)> {
    let entry = |entry: fs::DirEntry| {
        (join(dir, entry.file_name().to_str().unwrap()), entry.file_type().unwrap().is_dir())
    };
    fs::read_dir(root.join(dir)).unwrap().map(|found| entry(found.unwrap())).collect()
}

/// What a sender would list.
fn send(list: &mut FilterList, root: &Path) -> Result<BTreeSet<String>, FilterError> {
    list.set_root(root.to_str().unwrap().as_bytes());
    list.set_side(Side::Sender);
    let mut found = BTreeSet::from([".".to_owned()]);
    send_dir(list, root, ".", &mut found)?;
    Ok(found)
}

fn send_dir(
    list: &mut FilterList,
    root: &Path,
    dir: &str,
    found: &mut BTreeSet<String>,
) -> Result<(), FilterError> {
    list.enter_dir(dir.as_bytes(), &mut read_in(root))?;
    for (name, is_dir) in entries(root, dir) {
        if !list.is_excluded(name.as_bytes(), is_dir, Side::Sender) {
            found.insert(name.clone());
            if is_dir {
                send_dir(list, root, &name, found)?;
            }
        }
    }
    list.leave_dir();
    Ok(())
}

/// What a generator would delete in the directories that the sender listed.
fn delete(
    list: &mut FilterList,
    root: &Path,
    sent: &BTreeSet<String>,
) -> Result<BTreeSet<String>, FilterError> {
    list.set_root(root.to_str().unwrap().as_bytes());
    list.set_side(Side::Receiver);
    let mut gone = BTreeSet::new();
    for dir in sent {
        list.move_to_dir(dir.as_bytes(), &mut read_in(root))?;
        for (name, is_dir) in entries(root, dir) {
            let excluded = list.is_excluded(name.as_bytes(), is_dir, Side::Receiver);
            if !excluded && !sent.contains(&name) {
                delete_item(list, root, &name, is_dir, &mut gone)?;
            }
        }
    }
    Ok(gone)
}

fn delete_item(
    list: &mut FilterList,
    root: &Path,
    name: &str,
    is_dir: bool,
    gone: &mut BTreeSet<String>,
) -> Result<bool, FilterError> {
    let mut empty = true;
    if is_dir {
        list.enter_dir(name.as_bytes(), &mut read_in(root))?;
        for (below, is_dir) in entries(root, name) {
            let kept = list.check_for_delete(below.as_bytes(), is_dir) == Some(false);
            empty &= !kept && delete_item(list, root, &below, is_dir, gone)?;
        }
        list.leave_dir();
    }
    if empty {
        gone.insert(name.to_owned());
    }
    Ok(empty)
}

fn rsync(args: &[String]) -> Output {
    let mut command = Command::new("rsync");
    // Home and environment would add to -C.
    command.env_remove("CVSIGNORE").env("HOME", "/nonexistent").env("LC_ALL", "C");
    command.args(args).output().expect(
        "the rsync program is needed to compare with; LIVEMIRROR_NO_ORACLE=1 skips this test",
    )
}

fn filters(rules: &[String]) -> Vec<String> {
    rules.iter().map(|rule| format!("--filter={rule}")).collect()
}

/// The first line of what the program complains about.
fn complaint(output: &Output) -> String {
    let errors = String::from_utf8_lossy(&output.stderr).into_owned();
    errors.lines().next().unwrap_or_default().to_owned()
}

fn program_lists(scene: &Scene, rules: &[String]) -> Result<BTreeSet<String>, String> {
    let mut args = vec!["-r8".to_owned(), "--list-only".to_owned()];
    args.extend(filters(rules));
    args.push(format!("{}/", scene.tree().display()));
    let output = rsync(&args);
    if !output.status.success() {
        return Err(complaint(&output));
    }
    let text = String::from_utf8(output.stdout).unwrap();
    Ok(text.lines().filter_map(|line| line.rsplit(' ').next()).map(str::to_owned).collect())
}

/// Deletes before the transfer, so that rule files are read before any is deleted.
fn program_deletes(
    scene: &Scene,
    rules: &[String],
    excluded: bool,
) -> Result<BTreeSet<String>, String> {
    let mut args = vec!["-r".to_owned(), "--delete-before".to_owned()];
    if excluded {
        args.push("--delete-excluded".to_owned());
    }
    args.extend(filters(rules));
    args.push(format!("{}/", scene.source().display()));
    args.push(format!("{}/", scene.tree().display()));
    let before = scene.names();
    let output = rsync(&args);
    let gone = before.difference(&scene.names()).cloned().collect();
    scene.restore();
    if output.status.success() { Ok(gone) } else { Err(complaint(&output)) }
}

fn build(rules: &[String], delete_excluded: bool) -> Result<FilterList, FilterError> {
    let mut list = FilterList::new();
    list.set_delete_excluded(delete_excluded);
    for rule in rules {
        list.add_rule_text(rule.as_bytes(), &Origin::Argument, &mut |_, _| None)?;
    }
    Ok(list)
}

fn setting(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().and_then(|value| value.parse().ok()).unwrap_or(default)
}

fn skipped() -> bool {
    std::env::var_os("LIVEMIRROR_NO_ORACLE").is_some_and(|value| value == "1")
}

/// Runs `compare` on many rule sets and reports all that differ. It tells whether the rules were
/// accepted, so that a test of refusals alone does not pass.
fn compare_many(
    name: &str,
    salt: u64,
    rounds: u64,
    compare: impl Fn(&Scene, &[String]) -> Result<bool, String>,
) {
    if skipped() {
        return;
    }
    let mut random = Random(setting("FILTER_ORACLE_SEED", 0x9e37_79b9_7f4a_7c15) ^ salt);
    let mut scene = Scene::new(name);
    let mut failures = Vec::new();
    let (mut refused, rounds) = (0, setting("FILTER_ORACLE_ROUNDS", rounds));
    for round in 0..rounds {
        // Such a rule names a file of the transfer root, which a deletion may have removed before.
        scene.scatter(&mut random, name == "list");
        let rules: Vec<String> = (0..=random.below(5)).map(|_| random.rule()).collect();
        match compare(&scene, &rules) {
            Ok(accepted) => refused += u64::from(!accepted),
            Err(text) => {
                let files = &scene.rule_files;
                failures.push(format!("round {round}: {rules:?}\n  {text}\n  {files:?}"));
            }
        }
    }
    if failures.is_empty() {
        fs::remove_dir_all(&scene.base).unwrap();
    }
    let count = failures.len();
    assert!(
        failures.is_empty(),
        "{count} differ, tree of the last round in {}:\n{}",
        scene.base.display(),
        failures.join("\n")
    );
    assert!(refused * 3 < rounds, "{refused} of {rounds} rule sets were refused by both sides");
}

fn same(
    ours: Result<BTreeSet<String>, String>,
    theirs: Result<BTreeSet<String>, String>,
) -> Result<bool, String> {
    match (ours, theirs) {
        (Ok(ours), Ok(theirs)) if ours == theirs => Ok(true),
        (Ok(ours), Ok(theirs)) => Err(format!(
            "only ours {:?}, only theirs {:?}",
            ours.difference(&theirs).collect::<Vec<_>>(),
            theirs.difference(&ours).collect::<Vec<_>>()
        )),
        (Err(ours), Err(theirs)) if ours == theirs => Ok(false),
        // The directories are not scanned in the same order, so another file may be met first.
        (Err(ours), Err(theirs)) if both_from_files(&ours, &theirs) => Ok(false),
        (ours, theirs) => {
            let [ours, theirs] = [ours, theirs].map(|side| side.map(|names| names.len()));
            Err(format!("ours {ours:?}\n  theirs {theirs:?}"))
        }
    }
}

fn both_from_files(ours: &str, theirs: &str) -> bool {
    ours.contains("<rule from ") && theirs.contains("<rule from ")
}

#[test]
fn the_same_names_are_listed() {
    compare_many("list", 0, 400, |scene, rules| {
        let ours = build(rules, false).and_then(|mut list| send(&mut list, &scene.tree()));
        same(ours.map_err(|error| error.to_string()), program_lists(scene, rules))
    });
}

#[test]
fn the_same_names_are_deleted() {
    compare_many("delete", 0x5bd1_e995, 200, |scene, rules| {
        let mut accepted = true;
        for excluded in [false, true] {
            let run = || {
                let sent = send(&mut build(rules, excluded)?, &scene.source())?;
                delete(&mut build(rules, excluded)?, &scene.tree(), &sent)
            };
            let theirs = program_deletes(scene, rules, excluded);
            accepted &= same(run().map_err(|error| error.to_string()), theirs)
                .map_err(|text| format!("--delete-excluded {excluded}: {text}"))?;
        }
        Ok(accepted)
    });
}
