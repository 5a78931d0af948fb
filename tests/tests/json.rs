//! `livemirror rsync --json`: what programs are told.

// A case that cannot be set up is a failure.
#![allow(clippy::unwrap_used)]

use std::fs;
use std::process::Command;
use std::time::Duration;

use livemirror_tests::peer::{self, Programs, Side};
use livemirror_tests::place::Place;
use serde_json::{Value, json};

const LIMIT: Duration = Duration::from_secs(60);

/// Exit code, events and the error side of a run.
fn run(programs: &Programs, place: &Place, words: &[&str]) -> (i32, Vec<Value>, String) {
    let client = programs.words(Side::Ours);
    let mut command = Command::new(&client[0]);
    command.args(&client[1..]).args(words).current_dir(&place.0);
    let run = peer::run(command, Vec::new(), LIMIT);
    let text = String::from_utf8(run.stdout).unwrap();
    let events = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    (run.code.unwrap_or(-1), events, String::from_utf8(run.stderr).unwrap())
}

fn of_type<'a>(events: &'a [Value], kind: &str) -> Vec<&'a Value> {
    events.iter().filter(|event| event["type"] == kind).collect()
}

#[test]
fn each_line_is_an_event_and_the_last_names_what_failed() {
    // A failure would give a program lines that it cannot read, or hide what failed.
    use std::os::unix::ffi::OsStrExt;
    let Some(programs) = Programs::find() else { return };
    let place = Place::new("json");
    let at = |name: &str| place.0.join(name);
    fs::create_dir_all(at("src/sub")).unwrap();
    fs::create_dir_all(at("dst")).unwrap();
    fs::write(at("src/f"), "content").unwrap();
    fs::write(at("src").join(std::ffi::OsStr::from_bytes(b"odd\xff\n")), "x").unwrap();
    std::os::unix::fs::symlink("f", at("src/link")).unwrap();
    fs::write(at("dst/gone"), "").unwrap();
    for dry in [true, false] {
        let words = ["-a", "--json", "--delete", if dry { "-n" } else { "-t" }, "src/", "dst/"];
        let (code, events, stderr) = run(programs, &place, &words);
        assert_eq!((code, stderr.as_str()), (0, ""));
        assert_eq!(of_type(&events, "deleted"), [&json!({"type": "deleted", "path": "gone"})]);
        // The top is told where the two were made at different seconds.
        let mut items = of_type(&events, "item");
        items.retain(|item| item["path"] != "./");
        let paths: Vec<&Value> = items.iter().map(|item| &item["path"]).collect();
        assert_eq!(paths, ["f", "link", "odd\u{fffd}\n", "sub/"]);
        assert_eq!(items[0]["change"], ">f+++++++++");
        assert_eq!(
            (&items[1]["symlink"], &items[2]["path_hex"]),
            (&json!("f"), &json!("6f6464ff0a"))
        );
        let summary = events.last().unwrap();
        assert_eq!((&summary["type"], &summary["exit"]), (&json!("summary"), &json!(0)));
        assert_eq!((&summary["deleted"], &summary["failed"]), (&json!(1), &json!([])));
        assert_eq!(summary["bytes"], 8);
    }
    // Names of missing files, wherever the option stands, and no option where it is a value.
    let words = ["--exclude", "--json", "-a", "src/none", "src/f", "dst/", "--json"];
    let (code, events, stderr) = run(programs, &place, &words);
    assert_eq!((code, stderr.as_str()), (23, ""));
    let summary = events.last().unwrap();
    assert_eq!((&summary["exit"], &summary["failed"][0]["path"]), (&json!(23), &json!("none")));
    assert_eq!(of_type(&events, "error").len(), 2);
    let (code, events, _) = run(programs, &place, &["--exclude", "--json", "-a", "src/f", "dst/"]);
    assert_eq!((code, events), (0, Vec::new()));
}

#[test]
fn progress_is_that_of_the_run_with_the_time_left() {
    // A failure would promise an end that never comes.
    let Some(programs) = Programs::find() else { return };
    let place = Place::new("json-progress");
    fs::create_dir_all(place.0.join("src")).unwrap();
    fs::write(place.0.join("src/large"), vec![b'x'; 2_000_000]).unwrap();
    let words = ["--json", "-a", "--bwlimit=1m", "src/", "dst/"];
    let (code, events, stderr) = run(programs, &place, &words);
    assert_eq!((code, stderr.as_str()), (0, ""));
    let told = of_type(&events, "progress");
    let rising: Vec<u64> = told.iter().map(|event| event["bytes"].as_u64().unwrap()).collect();
    assert!(rising.is_sorted() && rising.last().is_some_and(|bytes| *bytes > 0), "{rising:?}");
    for event in told {
        assert_eq!(
            (&event["listed_bytes"], &event["list_complete"]),
            (&json!(2_000_000), &json!(true))
        );
        let (bytes, left) = (event["bytes"].as_f64().unwrap(), &event["seconds_left"]);
        let Some(rate) = event["bytes_per_second"].as_f64().filter(|rate| *rate > 0.0) else {
            continue;
        };
        let expected = (2_000_000.0 - bytes) / rate;
        assert!((left.as_f64().unwrap() - expected).abs() <= 1.0, "{event}");
    }
}
