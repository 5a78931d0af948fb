//! `livemirror check`: what is wrong with configuration files.

use mirror::check::finding::{Finding, exit_code};
use wire::exit::ExitCode;

use crate::console;

const HELP: &str = "\
livemirror check [--json] [--fix] [--offline] FILE...

Reads configuration files and says in one line each what is wrong or risky:
FILE:LINE: VALUE: WHAT WILL HAPPEN; FIX. FILE is an rsyncd.conf or a configuration of
`livemirror run`; given together, they are also held against each other.

  --json       one JSON object a line
  --fix        first do what is safe: make missing directories, give password files mode 600
  --offline    do not connect to the targets

Exit code: 0 nothing found, 1 risks, 2 something will not work.
";

/// `livemirror check`.
pub(crate) fn run(args: &[Vec<u8>]) -> i32 {
    let (mut json, mut fix, mut ask) = (false, false, true);
    let mut files = Vec::new();
    for arg in args {
        match arg.as_slice() {
            b"--help" | b"-h" => {
                console::out(HELP.as_bytes());
                return 0;
            }
            b"--json" => json = true,
            b"--fix" => fix = true,
            b"--offline" => ask = false,
            word if word.starts_with(b"-") => {
                let word = String::from_utf8_lossy(word);
                return refuse(&format!("unknown option {word} (livemirror check --help)"));
            }
            _ => files.push(arg.clone()),
        }
    }
    if files.is_empty() {
        return refuse("give a configuration file (livemirror check --help)");
    }
    let check = || mirror::check::check(&files, ask);
    let mut found = check();
    // A directory that is made may show what is wrong inside: a second look is enough.
    for _ in 0..2 {
        if fix && mend(&found, json) {
            found = check();
        }
    }
    show(&found, json)
}

/// Prints what was found; the exit code.
pub(crate) fn show(found: &[Finding], json: bool) -> i32 {
    for one in found {
        let line = if json { one.json() } else { one.to_string() };
        console::out(format!("{line}\n").as_bytes());
    }
    exit_code(found)
}

/// Does what is safe; whether anything was done.
fn mend(found: &[Finding], json: bool) -> bool {
    let mut done: Vec<Result<String, String>> = found.iter().filter_map(Finding::repair).collect();
    done.dedup();
    for one in &done {
        match one {
            Ok(what) if json => {
                let line = serde_json::json!({ "done": what });
                console::out(format!("{line}\n").as_bytes());
            }
            Ok(what) => console::out(format!("done: {what}\n").as_bytes()),
            Err(text) => console::err(format!("livemirror: {text}\n").as_bytes()),
        }
    }
    done.iter().any(Result::is_ok)
}

fn refuse(text: &str) -> i32 {
    console::err(format!("livemirror: {text}\n").as_bytes());
    ExitCode::Syntax.code()
}
