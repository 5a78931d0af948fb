//! Runs that are ended in the middle, and the next ones: what is left, and what is made of it.

// A case that cannot be set up is a failure.
#![allow(clippy::unwrap_used)]

use std::fs::{self, FileTimes};
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant, SystemTime};

use livemirror_tests::peer::{Programs, Side};
use livemirror_tests::place::Place;

/// Bytes of a file that takes longer than a test may.
const LARGE: usize = 4_000_000;
const LIMIT: Duration = Duration::from_secs(30);

fn run(programs: &Programs, place: &Path, words: &[&str]) -> Command {
    run_of(Side::Ours, programs, place, words)
}

fn run_of(side: Side, programs: &Programs, place: &Path, words: &[&str]) -> Command {
    let client = programs.words(side);
    let mut command = Command::new(&client[0]);
    command.args(&client[1..]).args(words).current_dir(place);
    command.stdout(Stdio::null()).stderr(Stdio::null());
    command
}

/// Runs until something is in the file `seen`, then ends the run with a signal.
fn interrupt(programs: &Programs, place: &Path, words: &[&str], seen: &str) {
    let empty = || fs::metadata(place.join(seen)).map_or(true, |meta| meta.len() == 0);
    interrupt_when(run(programs, place, words), || !empty());
}

/// Waits for something, but not for ever.
fn wait_until(is_so: impl Fn() -> bool) {
    let begun = Instant::now();
    while !is_so() && begun.elapsed() < LIMIT {
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Ends a run with a signal as soon as something is so.
fn interrupt_when(mut command: Command, is_so: impl Fn() -> bool) {
    let mut child = command.spawn().unwrap();
    wait_until(is_so);
    let pid = rustix::process::Pid::from_child(&child);
    rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(20));
}

#[test]
fn delayed_files_wait_until_a_run_comes_to_its_end() {
    // A failure would show a half updated tree, or send again what had come.
    let Some(programs) = Programs::find() else { return };
    let place = Place::new("interrupted");
    let at = |name: &str| place.0.join(name);
    fs::create_dir_all(at("src/d")).unwrap();
    fs::create_dir_all(at("dst")).unwrap();
    fs::write(at("src/a"), "new").unwrap();
    fs::write(at("src/b"), vec![b'b'; LARGE]).unwrap();
    fs::write(at("dst/a"), "older").unwrap();
    let slowly = ["-a", "--delay-updates", "--bwlimit=200", "src/", "dst/"];
    interrupt(programs, &place.0, &slowly, "dst/.~tmp~/a");
    assert_eq!(fs::read_to_string(at("dst/a")).unwrap(), "older");
    assert_eq!(fs::read_to_string(at("dst/.~tmp~/a")).unwrap(), "new");
    assert!(!at("dst/b").exists());
    let again = ["-a", "--delay-updates", "--delete", "src/", "dst/"];
    assert!(run(programs, &place.0, &again).status().unwrap().success());
    assert_eq!(fs::read_to_string(at("dst/a")).unwrap(), "new");
    assert_eq!(fs::metadata(at("dst/b")).unwrap().len(), LARGE as u64);
    assert!(!at("dst/.~tmp~").exists());
}

#[test]
fn an_interrupted_file_is_appended_to() {
    // A failure would send the beginning of a large file again, or leave a hole in it.
    let Some(programs) = Programs::find() else { return };
    let place = Place::new("appended");
    let at = |name: &str| place.0.join(name);
    fs::create_dir_all(at("src")).unwrap();
    fs::create_dir_all(at("dst")).unwrap();
    let content: Vec<u8> = (0..LARGE).map(|at| (at % 251) as u8).collect();
    fs::write(at("src/b"), &content).unwrap();
    interrupt(programs, &place.0, &["-a", "--append", "--bwlimit=400", "src/", "dst/"], "dst/b");
    let begun = fs::metadata(at("dst/b")).unwrap().len();
    assert!(begun > 0 && begun < LARGE as u64, "{begun}");
    let words = ["-a", "--append-verify", "--stats", "--no-h", "src/", "dst/"];
    let output = run(programs, &place.0, &words).stdout(Stdio::piped()).output().unwrap();
    assert!(output.status.success());
    let literal = format!("Literal data: {} bytes", LARGE as u64 - begun);
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(said.contains(&literal), "{literal} is not in {said}");
    assert!(fs::read(at("dst/b")).unwrap() == content);
}

#[test]
fn a_run_with_a_limit_of_time_stops_in_the_middle_of_a_file() {
    // A failure would run on for as long as a large file takes.
    let Some(programs) = Programs::find() else { return };
    let place = Place::new("limited");
    fs::create_dir_all(place.0.join("src")).unwrap();
    fs::write(place.0.join("src/b"), vec![b'b'; LARGE]).unwrap();
    // At the second before a minute there may be none left.
    let minute = |begun: Instant| -> String {
        loop {
            let now = Command::new("date").args(["+%s"]).output().unwrap().stdout;
            let now: u64 = String::from_utf8(now).unwrap().trim().parse().unwrap();
            if now % 60 < 57 || begun.elapsed() > LIMIT {
                let at = format!("@{}", now - now % 60 + 60);
                let text = Command::new("date").args(["-d", &at, "+%H:%M"]).output().unwrap();
                return String::from_utf8(text.stdout).unwrap().trim().to_owned();
            }
            std::thread::sleep(Duration::from_millis(200));
        }
    };
    let at = format!("--stop-at={}", minute(Instant::now()));
    let slowly = ["-a", "--bwlimit=20", at.as_str(), "src/", "dst/"];
    let output = run(programs, &place.0, &slowly).stderr(Stdio::piped()).output().unwrap();
    assert_eq!(output.status.code(), Some(30));
    assert!(String::from_utf8_lossy(&output.stderr).starts_with("stopping at requested limit\n"));
    assert!(!place.0.join("dst/b").exists());
}

#[test]
fn what_is_kept_of_a_file_that_was_cut_off_is_what_the_reference_keeps() {
    // A failure would keep part of a file with the time of the whole, or lose what it replaces.
    let Some(programs) = Programs::find() else { return };
    let place = Place::new("interrupted-kept");
    let at = |name: &str| place.0.join(name);
    let kept_by = |side: Side, options: &str| {
        let _ = fs::remove_dir_all(&place.0);
        fs::create_dir_all(at("src")).unwrap();
        fs::create_dir_all(at("dst")).unwrap();
        fs::write(at("src/f"), vec![b'f'; LARGE]).unwrap();
        fs::write(at("dst/f"), "older").unwrap();
        let times = FileTimes::new().set_modified(SystemTime::UNIX_EPOCH + Duration::from_secs(9));
        for file in ["src/f", "dst/f"] {
            fs::File::open(at(file)).unwrap().set_times(times).unwrap();
        }
        let words: Vec<&str> =
            options.split(' ').chain(["--bwlimit=200", "src/", "dst/"]).collect();
        let has_come = || {
            let found = fs::read_dir(at("dst")).unwrap().map(|entry| entry.unwrap().metadata());
            found.flatten().any(|meta| meta.is_file() && meta.len() > 100)
        };
        interrupt_when(run_of(side, programs, &place.0, &words), has_come);
        // The reference's receiver may outlive the client by a moment.
        let temporary = || {
            let mut found = fs::read_dir(at("dst")).unwrap().map(|entry| entry.unwrap());
            found.any(|entry| entry.file_name().as_encoded_bytes().starts_with(b".f."))
        };
        wait_until(|| !temporary());
        let mut found = Vec::new();
        for dir in ["dst", "dst/.parts", "dst/.~tmp~"] {
            for entry in fs::read_dir(at(dir)).into_iter().flatten() {
                let (meta, path) =
                    (entry.as_ref().unwrap().metadata().unwrap(), entry.unwrap().path());
                let whole = fs::read(&path).unwrap_or_default() == b"older";
                let now = meta.mtime() > 1000;
                found.push((path, meta.mode(), whole, meta.is_file() && now, meta.mtime() == 9));
            }
        }
        found.sort();
        found
    };
    for options in [
        "-rt",
        "-rt --partial",
        "-r --partial",
        "-rtp --partial-dir=.parts",
        "-rt --delay-updates",
        "-rt --inplace",
        "-rt --partial --backup",
        "-rt --partial-dir=.parts --backup",
    ] {
        assert_eq!(kept_by(Side::Ours, options), kept_by(Side::Theirs, options), "{options}");
    }
}
