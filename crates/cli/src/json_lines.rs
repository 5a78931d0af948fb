//! `livemirror rsync --json`: what a run tells, as one JSON object a line on standard output.
//!
//! Each has a `type`: `item`, `deleted`, `progress`, `message` and `error` while the run lasts, and
//! `summary` at its end. A name that is no UTF-8 is shown with U+FFFD, and its bytes follow in hex
//! under the same key with `_hex` behind it.

use rsync::console::{Console, RunEvent};
use rsync::problem::{Outcome, ProblemKind};
use serde_json::{Map, Value, json};

use crate::console;

/// Takes events and writes lines.
pub(crate) struct JsonLines;

impl Console for JsonLines {
    fn out(&self, bytes: &[u8]) {
        text("message", bytes);
    }

    fn err(&self, bytes: &[u8]) {
        text("error", bytes);
    }

    fn takes_events(&self) -> bool {
        true
    }

    fn event(&self, event: &RunEvent<'_>) {
        write(&object(event));
    }
}

fn write(object: &Map<String, Value>) {
    let mut line = Value::Object(object.clone()).to_string().into_bytes();
    line.push(b'\n');
    console::out(&line);
}

fn text(kind: &str, bytes: &[u8]) {
    for line in bytes.split(|&b| b == b'\n').filter(|line| !line.is_empty()) {
        let mut object = of_type(kind);
        put_name(&mut object, "text", line);
        write(&object);
    }
}

fn of_type(kind: &str) -> Map<String, Value> {
    Map::from_iter([("type".to_owned(), json!(kind))])
}

fn put_name(object: &mut Map<String, Value>, key: &str, name: &[u8]) {
    object.insert(key.to_owned(), json!(String::from_utf8_lossy(name)));
    if std::str::from_utf8(name).is_err() {
        let hex: String = name.iter().map(|byte| format!("{byte:02x}")).collect();
        object.insert(format!("{key}_hex"), json!(hex));
    }
}

fn object(event: &RunEvent<'_>) -> Map<String, Value> {
    match event {
        RunEvent::Item { change, path, size, link } => {
            let mut object = of_type("item");
            put_name(&mut object, "path", path);
            object.insert("change".into(), json!(String::from_utf8_lossy(change)));
            object.insert("size".into(), json!(size));
            if let Some((hard, to)) = link {
                put_name(&mut object, if *hard { "hard_link" } else { "symlink" }, to);
            }
            object
        }
        RunEvent::Deleted { path } => {
            let mut object = of_type("deleted");
            put_name(&mut object, "path", path);
            object
        }
        RunEvent::Progress(sample) => {
            let mut object = of_type("progress");
            let left = sample.left;
            object.extend([
                ("bytes".to_owned(), json!(sample.bytes)),
                ("listed_bytes".to_owned(), json!(sample.listed_bytes)),
                ("files".to_owned(), json!(sample.files)),
                ("entries_done".to_owned(), json!(left.total.saturating_sub(left.remaining))),
                ("entries_listed".to_owned(), json!(left.total)),
                ("list_complete".to_owned(), json!(left.complete)),
                ("bytes_per_second".to_owned(), json!(sample.rate.round())),
                ("seconds_left".to_owned(), json!(sample.seconds_left.map(f64::round))),
            ]);
            object
        }
    }
}

/// The last line: how the run ended, and what failed by name.
pub(crate) fn summary(outcome: &Outcome) {
    let named = |kind: ProblemKind| -> Vec<Value> {
        let some = outcome.problems.iter().filter(|problem| problem.kind == kind);
        let objects = some.map(|problem| {
            let mut object = Map::new();
            put_name(&mut object, "path", &problem.path);
            object.insert("text".into(), json!(problem.text));
            Value::Object(object)
        });
        objects.collect()
    };
    let mut object = of_type("summary");
    object.extend([
        ("exit".to_owned(), json!(outcome.status)),
        ("reason".to_owned(), json!(outcome.reason)),
        ("files".to_owned(), json!(outcome.files)),
        ("bytes".to_owned(), json!(outcome.bytes)),
        ("deleted".to_owned(), json!(outcome.deleted)),
        ("failed".to_owned(), json!(named(ProblemKind::Failed))),
        ("vanished".to_owned(), json!(named(ProblemKind::Vanished))),
        ("all_named".to_owned(), json!(outcome.complete)),
    ]);
    write(&object);
}
