//! The log of a run: the same lines as the reference writes, on either side of a connection.

// A case that cannot be set up is a failure.
#![allow(clippy::unwrap_used)]

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use livemirror_tests::peer::{Programs, Side};
use livemirror_tests::tree_text;

const TREE: &str = r#"
f src/new "new
f src/dir/g "g t=1500000000
l src/link new
f src/é\nname\xff\t "odd
h src/hard src/dir/g
d src/empty
f dst/gone "x
f dst/lost/x "x
f dst/dir/g "older t=1400000000
"#;

/// Options, then source and target; `SHELL` goes through a shell that runs what it is told here.
const RUNS: &[&str] = &[
    "-a --log-file=LOG src/ dst/",
    "-aH --delete --log-file=LOG src/ dst/",
    "-aHv --delete -n --log-file=LOG src/ dst/",
    "-ai --delete --log-file=LOG --log-file-format=%o|%f|%l src/ dst/",
    "-a --delete --log-file=LOG --log-file-format=%n|%L src/ dst/",
    "-a --delete --log-file=LOG --log-file-format= src/ dst/",
    "-a --log-file=LOG --log-file-format=%i|%n|%C src/ dst/",
    "-aii --log-file=LOG src/ dst/",
    "-aq --log-file=LOG src/ src/nope dst/",
    "-av --no-inc-recursive --log-file=LOG src/ dst/",
    "-a --list-only --log-file=LOG src/",
    "-a --out-format=%n|X --log-file=LOG src/ dst/",
    "-rt --existing --log-file=LOG src/ dst/",
    "-a --log-file=nowhere/LOG src/ dst/",
    "-a --log-file=LOG src/ rsync://localhost:1/module",
    "-a -M--log-file=LOG src/ dst/",
    "-a --delete --log-file=LOG -e SHELL src/ h:dst/",
    "-a --delete --log-file=LOG -e SHELL h:src/ dst/",
    "-aH --delete -M--log-file=LOG -e SHELL src/ h:dst/",
    "-aH --delete -M--log-file=LOG -e SHELL h:src/ dst/",
    "-aHn --delete -M--log-file=LOG -e SHELL src/ h:dst/",
    "-aHn --delete -M--log-file=LOG -e SHELL h:src/ dst/",
    "-a -M--log-file=nowhere/LOG -e SHELL src/ h:dst/",
];

struct Place(PathBuf);

impl Drop for Place {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// A line without what differs from run to run: time, process, numbers of bytes, our help.
fn plain(line: &str) -> Option<String> {
    let text = line.split_once("] ").filter(|_| line.starts_with("20")).map_or(line, |(_, t)| t);
    if text.starts_with("livemirror: ") {
        return None;
    }
    let text = match text.split_once("  total size") {
        Some((_, total)) => format!("sent and received, total size{total}"),
        None => text.split(" bytes/sec").next().unwrap().to_owned(),
    };
    let text = match text.strip_prefix("sent ") {
        Some(numbers) if numbers.contains("received") => "sent and received".to_owned(),
        _ => text,
    };
    // Where in which program an error was met.
    let at = text.find(") at ").map(|at| at + 1);
    Some(match at {
        Some(at) => text[..at].to_owned(),
        None => text.split("  speedup is").next().unwrap().to_owned(),
    })
}

/// Exit code, and the lines that standard error and the log hold.
fn log_of(words: &[String], place: &Path, run: &str) -> (Option<i32>, Vec<String>, Vec<String>) {
    fs::create_dir_all(place).unwrap();
    tree_text::make(place, TREE);
    let shell = place.join("shell");
    fs::write(&shell, "#!/bin/sh\nshift\neval \"$*\"\n").unwrap();
    fs::set_permissions(&shell, fs::Permissions::from_mode(0o755)).unwrap();
    for dir in ["src", "dst"] {
        let time =
            Command::new("touch").args(["-d", "2020-01-01", dir]).current_dir(place).status();
        assert!(time.unwrap().success());
    }
    let mut command = Command::new(&words[0]);
    command.args(&words[1..]).current_dir(place);
    command.arg(format!("--rsync-path={}", words.join(" ")));
    for word in run.split(' ') {
        let word = word.replace("SHELL", shell.to_str().unwrap()).replace("h:", "h:PLACE/");
        command.arg(word.replace("PLACE", place.to_str().unwrap()).replace("LOG", "log"));
    }
    let output = command.env("LC_ALL", "C.UTF-8").output().unwrap();
    let lines = |bytes: &[u8]| -> Vec<String> {
        let text = String::from_utf8_lossy(bytes).replace(place.to_str().unwrap(), "PLACE");
        text.lines().filter_map(plain).collect()
    };
    let log = fs::read(place.join("log")).unwrap_or_default();
    (output.status.code(), lines(&output.stderr), lines(&log))
}

#[test]
fn logs_are_those_of_the_reference() {
    let Some(programs) = Programs::find() else { return };
    let place = Place(std::env::temp_dir().join(format!("livemirror-log-{}", std::process::id())));
    let mut failed = Vec::new();
    for (at, run) in RUNS.iter().enumerate() {
        let [theirs, ours] =
            [("theirs", Side::Theirs), ("ours", Side::Ours)].map(|(name, side)| {
                let mut found =
                    log_of(&programs.words(side), &place.0.join(format!("{at}-{name}")), run);
                // Links are made when the data of their group has come, and what is said of errors comes
                // from the other side: the order is that of two processes.
                found.2.sort();
                found
            });
        if theirs != ours {
            failed.push(format!("{run}\n  theirs {theirs:#?}\n  ours {ours:#?}"));
        }
    }
    assert!(failed.is_empty(), "{}", failed.join("\n"));
}
