//! `livemirror rsync --json`: what a run tells, as one JSON object a line on standard output.
//!
//! Each has a `type`: `item`, `deleted`, `progress`, `message` and `error` while the run lasts, and
//! `summary` at its end. A name that is no UTF-8 is shown with U+FFFD, and its bytes follow in hex
//! under the same key with `_hex` behind it.

use rsync::console::{Console, RunEvent};
use rsync::problem::{Outcome, ProblemKind};
use serde_json::{Value, json};

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

fn write(object: &Value) {
    console::out(format!("{object}\n").as_bytes());
}

fn text(kind: &str, bytes: &[u8]) {
    for line in bytes.split(|&b| b == b'\n').filter(|line| !line.is_empty()) {
        let mut object = json!({ "type": kind });
        put_name(&mut object, "text", line);
        write(&object);
    }
}

/// Puts a name into an object.
fn put_name(object: &mut Value, key: &str, name: &[u8]) {
    object[key] = json!(String::from_utf8_lossy(name));
    if std::str::from_utf8(name).is_err() {
        let hex: String = name.iter().map(|byte| format!("{byte:02x}")).collect();
        object[format!("{key}_hex")] = json!(hex);
    }
}

fn object(event: &RunEvent<'_>) -> Value {
    match event {
        RunEvent::Item { change, path, size, link } => {
            let change = String::from_utf8_lossy(change);
            let mut object = json!({ "type": "item", "change": change, "size": size });
            put_name(&mut object, "path", path);
            if let Some((hard, to)) = link {
                put_name(&mut object, if *hard { "hard_link" } else { "symlink" }, to);
            }
            object
        }
        RunEvent::Deleted { path } => {
            let mut object = json!({ "type": "deleted" });
            put_name(&mut object, "path", path);
            object
        }
        RunEvent::Progress(sample) => json!({
            "type": "progress",
            "bytes": sample.bytes,
            "listed_bytes": sample.listed_bytes,
            "files": sample.files,
            "entries_done": sample.left.total.saturating_sub(sample.left.remaining),
            "entries_listed": sample.left.total,
            "list_complete": sample.left.complete,
            "bytes_per_second": sample.rate.round(),
            "seconds_left": sample.seconds_left.map(f64::round),
        }),
    }
}

/// The last line: how the run ended, and what failed by name.
pub(crate) fn summary(outcome: &Outcome) {
    let named = |kind: ProblemKind| -> Vec<Value> {
        let some = outcome.problems.iter().filter(|problem| problem.kind == kind);
        let objects = some.map(|problem| {
            let mut object = json!({ "text": problem.text });
            put_name(&mut object, "path", &problem.path);
            object
        });
        objects.collect()
    };
    write(&json!({
        "type": "summary",
        "exit": outcome.status,
        "reason": outcome.reason,
        "files": outcome.files,
        "bytes": outcome.bytes,
        "deleted": outcome.deleted,
        "failed": named(ProblemKind::Failed),
        "vanished": named(ProblemKind::Vanished),
        "all_named": outcome.complete,
    }));
}
