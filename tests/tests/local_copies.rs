//! Local copies whose content is handed over rather than sent: the same files, numbers and ends.

// A case that cannot be set up is a failure.
#![allow(clippy::unwrap_used)]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use livemirror_tests::peer::{self, Programs, Side};

const LIMIT: Duration = Duration::from_secs(60);

struct Place(PathBuf);

impl Place {
    fn new(name: &str) -> Place {
        let name = format!("livemirror-local-{name}-{}", std::process::id());
        let place = Place(std::env::temp_dir().join(name));
        fs::create_dir_all(place.0.join("src")).unwrap();
        place
    }

    fn command(&self, programs: &Programs, side: Side, words: &[&str]) -> Command {
        let client = programs.words(side);
        let mut command = Command::new(&client[0]);
        command.args(&client[1..]).args(words).current_dir(&self.0);
        command
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// Bytes without a pattern that a wrong offset would keep.
fn content(len: usize, seed: u32) -> Vec<u8> {
    let mut state = seed | 1;
    let mut next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 24) as u8
    };
    (0..len).map(|_| next()).collect()
}

fn names(dir: &Path) -> Vec<String> {
    let name = |item: std::io::Result<fs::DirEntry>| item.unwrap().file_name();
    let mut names: Vec<String> =
        fs::read_dir(dir).unwrap().map(|i| name(i).into_string().unwrap()).collect();
    names.sort();
    names
}

#[test]
fn large_files_arrive_whole_and_count_as_sent() {
    // A failure would lose content, or hold more files open than a process may.
    let Some(programs) = Programs::find() else { return };
    let place = Place::new("large");
    for number in 0..150_usize {
        let len = 65_000 + number * 37_001;
        fs::write(place.0.join(format!("src/f{number:03}")), content(len, number as u32)).unwrap();
    }
    let told = |side, dest: &str| {
        let run = peer::run(
            place.command(programs, side, &["-ai", "--stats", "src/", dest]),
            Vec::new(),
            LIMIT,
        );
        assert_eq!(run.code, Some(0));
        let text = String::from_utf8(run.stdout).unwrap();
        let same = |line: &&str| {
            line.contains("+++++") || line.contains("data:") || line.contains("files")
        };
        let sent = |line: &&str| line.starts_with("Total bytes sent");
        let number = |line: &str| -> u64 {
            line.chars().filter(char::is_ascii_digit).collect::<String>().parse().unwrap()
        };
        let lines: Vec<String> = text.lines().filter(same).map(str::to_owned).collect();
        (lines, number(text.lines().find(sent).unwrap()))
    };
    let (theirs, their_bytes) = told(Side::Theirs, "theirs/");
    let (ours, our_bytes) = told(Side::Ours, "ours/");
    assert_eq!(ours, theirs);
    assert!(our_bytes.abs_diff(their_bytes) < 2000, "{our_bytes} {their_bytes}");
    for name in names(&place.0.join("src")) {
        let at = |dir: &str| fs::read(place.0.join(dir).join(&name)).unwrap();
        assert!(at("src") == at("ours"), "{name}");
    }
    assert_eq!(names(&place.0.join("ours")), names(&place.0.join("src")));
}

#[test]
fn a_target_that_takes_no_more_ends_the_run_as_there() {
    // A failure would leave part of a file under its name, or end with another code.
    let Some(programs) = Programs::find() else { return };
    let place = Place::new("full");
    fs::write(place.0.join("src/a"), content(90_000, 1)).unwrap();
    fs::write(place.0.join("src/b"), content(900_000, 2)).unwrap();
    let run = |side, dest: &str| {
        let command = place.command(programs, side, &["-a", "src/", dest]);
        let mut limited = Command::new("sh");
        limited.args(["-c", "trap '' XFSZ; ulimit -f 400; exec \"$@\"", "sh"]);
        limited.arg(command.get_program()).args(command.get_args()).current_dir(&place.0);
        let run = peer::run(limited, Vec::new(), LIMIT);
        let text = String::from_utf8(run.stderr).unwrap();
        let said = text.lines().find(|line| line.contains("write failed")).map(str::to_owned);
        let said = said.map(|line| line.replace(dest.trim_end_matches('/'), "DEST"));
        (run.code, said, names(&place.0.join(dest)))
    };
    let theirs = run(Side::Theirs, "theirs/");
    assert_eq!((theirs.0, theirs.2.as_slice()), (Some(11), &["a".to_owned()][..]));
    assert_eq!(run(Side::Ours, "ours/"), theirs);
}

#[test]
fn a_stop_does_not_wait_for_the_end_of_a_file() {
    let Some(programs) = Programs::find() else { return };
    let place = Place::new("stop");
    let dest = place.0.join("dst");
    fs::create_dir_all(&dest).unwrap();
    const LEN: u64 = 3 << 30;
    fs::File::create(place.0.join("src/f")).unwrap().set_len(LEN).unwrap();
    for (option, kept) in [("--partial", vec!["f".to_owned()]), ("--no-partial", Vec::new())] {
        let mut command = place.command(programs, Side::Ours, &["-a", option, "src/", "dst/"]);
        let mut child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        let begun = Instant::now();
        let filled = || {
            fs::read_dir(&dest)
                .unwrap()
                .any(|item| item.unwrap().metadata().is_ok_and(|m| m.len() > 0))
        };
        while !filled() && begun.elapsed() < LIMIT {
            std::thread::sleep(Duration::from_millis(1));
        }
        let pid = rustix::process::Pid::from_child(&child);
        rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
        assert_eq!(child.wait().unwrap().code(), Some(20));
        assert_eq!(names(&dest), kept);
        if let Ok(meta) = fs::metadata(dest.join("f")) {
            assert!(meta.len() > 0 && meta.len() < LEN, "{}", meta.len());
            fs::remove_file(dest.join("f")).unwrap();
        }
    }
}
