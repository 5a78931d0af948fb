//! What `check` finds, held against data files: what is there, and each line that must come of it.
//!
//! A case begins with `== TITLE`. `dir PATH [MODE]`, `file PATH [MODE [OWNER]]` and `check PATH...` are marked by
//! `--- `; what follows a file is its content, what follows `check` the expected lines. `PLACE` is
//! the directory that a case is unfolded into.

// A rule that cannot be checked is a failure.
#![allow(clippy::unwrap_used, clippy::panic)]

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use mirror::check::check;

struct Place(PathBuf);

impl Place {
    fn new(name: &str) -> Place {
        let dir = format!("livemirror-check-{}-{name}", std::process::id());
        let dir = std::env::temp_dir().join(dir);
        fs::create_dir_all(&dir).unwrap();
        Place(dir)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// Unfolds a case and compares; the problem, if there is one.
fn run_case(text: &str, place: &Path) -> Option<String> {
    let (title, rest) = text.split_once('\n').unwrap();
    let shown = place.display().to_string();
    for part in rest.split("--- ").skip(1) {
        let (head, content) = part.split_once('\n').unwrap();
        let content = content.trim_start_matches('\n').replace("PLACE", &shown);
        let words: Vec<&str> = head.split_whitespace().collect();
        match words[0] {
            "dir" => {
                let path = place.join(words[1]);
                fs::create_dir_all(&path).unwrap();
                if let Some(mode) = words.get(2) {
                    let mode = u32::from_str_radix(mode, 8).unwrap();
                    fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
                }
            }
            "file" => {
                let path = place.join(words[1]);
                fs::create_dir_all(path.parent().unwrap()).unwrap();
                fs::write(&path, content).unwrap();
                let mode = words.get(2).map_or(0o644, |m| u32::from_str_radix(m, 8).unwrap());
                fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
                if let Some(owner) = words.get(3) {
                    std::os::unix::fs::chown(&path, Some(owner.parse().unwrap()), None).unwrap();
                }
            }
            "check" => {
                let files: Vec<Vec<u8>> = words[1..]
                    .iter()
                    .map(|name| place.join(name).to_str().unwrap().as_bytes().to_vec())
                    .collect();
                let found: Vec<String> =
                    check(&files, false).iter().map(ToString::to_string).collect();
                let expected: Vec<&str> = content.lines().filter(|l| !l.is_empty()).collect();
                if found != expected {
                    let found = found.join("\n").replace(&shown, "PLACE");
                    return Some(format!("== {title}: found\n{found}\n"));
                }
            }
            other => panic!("{title}: {other}"),
        }
    }
    None
}

fn run(name: &str, data: &str) {
    let mut problems = Vec::new();
    let mut count = 0;
    for (at, case) in data.split("\n== ").skip(1).enumerate() {
        let place = Place::new(&format!("{name}-{at}"));
        problems.extend(run_case(case, &place.0));
        count += 1;
    }
    assert!(count > 3, "the cases were found");
    assert!(problems.is_empty(), "\n{}", problems.join("\n"));
}

#[test]
fn daemons_and_own_files() {
    run("own", include_str!("data/check_own.txt"));
}

#[test]
fn files_of_lsyncd() {
    let article = include_str!("data/article_lsyncd.conf");
    let data = include_str!("data/check_lsyncd.txt").replace("ARTICLE\n", article);
    run("lsyncd", &data);
}

#[test]
fn files_of_sersync() {
    let data = include_str!("data/check_sersync.txt");
    run("sersync", &data.replace("STOCK\n", include_str!("data/confxml.xml")));
}

#[test]
fn the_pitfalls_by_their_numbers() {
    let data = include_str!("data/check_pitfalls.txt");
    run("pitfalls", data);
    // A number that is in no title must be named as tried elsewhere, or as out of reach.
    let numbers = |text: &str| -> Vec<u32> {
        text.split(|c: char| !c.is_ascii_digit()).filter_map(|word| word.parse().ok()).collect()
    };
    let (head, _) = data.split_once("\n== ").unwrap();
    let titles = data.lines().filter_map(|line| line.strip_prefix("== ")?.split(':').next());
    let known: Vec<u32> = titles.chain([head]).flat_map(numbers).collect();
    let missing: Vec<u32> = (1..=44).filter(|number| !known.contains(number)).collect();
    assert_eq!(missing, Vec::<u32>::new());
}
