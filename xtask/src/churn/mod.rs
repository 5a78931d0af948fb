//! `cargo xtask churn`: random work below a live mirror, in trouble or not, and equal trees at the
//! end of it.
//!
//! One line a run. The same seed gives the same work, but never the same run: what the mirror sees
//! of it hangs on the clock. A failure that shows once in many runs is a failure.

mod one;

use std::fmt;
use std::path::PathBuf;

use crate::arguments::Arguments;
use crate::place::{Place, livemirror};
use crate::process::DaemonKind;

/// What happens to the mirror while the work goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mishap {
    /// Nothing.
    None,
    /// The daemon is killed and started again.
    Daemon,
    /// The mirror is killed and started again.
    Itself,
    /// The kernel's queue of events is short, and not read for a while.
    Queue,
}

/// What all runs have in common.
struct Churns {
    operations: usize,
    times: usize,
    livemirror: PathBuf,
    place: Place,
}

/// One run.
#[derive(Clone, Copy, Debug)]
struct Choice {
    seed: u64,
    backend: &'static str,
    mishap: Mishap,
    hard_links: bool,
    daemon: DaemonKind,
}

impl fmt::Display for Choice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Choice { seed, backend, .. } = self;
        let mishap = MISHAPS.iter().find(|(_, one)| *one == self.mishap).map_or("", |(w, _)| w);
        let daemon = DAEMONS.iter().find(|(_, one)| *one == self.daemon).map_or("", |(w, _)| w);
        let links = if self.hard_links { " -H" } else { "" };
        write!(f, "seed {seed} {backend} trouble {mishap} daemon {daemon}{links}")
    }
}

const MISHAPS: &[(&str, Mishap)] = &[
    ("none", Mishap::None),
    ("daemon", Mishap::Daemon),
    ("self", Mishap::Itself),
    ("queue", Mishap::Queue),
];
const BACKENDS: &[(&str, &str)] =
    &[("inotify", "inotify"), ("fanotify", "fanotify"), ("auto", "auto")];
const DAEMONS: &[(&str, DaemonKind)] =
    &[("rsync", DaemonKind::Rsync), ("livemirror", DaemonKind::Livemirror)];
const LINKS: &[(&str, bool)] = &[("no", false), ("yes", true)];

/// The command.
pub(crate) fn run(args: &mut Arguments) -> Result<(), String> {
    let seeds: u64 = args.number("seeds", 10)?;
    let first: u64 = args.number("first", 0)?;
    let backends = chosen(args, "backend", BACKENDS, "auto")?;
    let mishaps = chosen(args, "trouble", MISHAPS, "none")?;
    let links = chosen(args, "hard-links", LINKS, "no")?;
    let daemons = chosen(args, "daemon", DAEMONS, "rsync")?;
    let keep = args.switch("keep");
    let given = args.text("livemirror").map(PathBuf::from);
    let mut churns = Churns {
        operations: args.number("operations", 5000)?,
        times: args.number("times", 2)?,
        place: Place::from_arguments(args, "churn")?,
        livemirror: PathBuf::new(),
    };
    args.finish()?;
    churns.livemirror = livemirror(given)?;
    let (mut runs, mut failures) = (0, 0);
    for &mishap in &mishaps {
        for &backend in &backends {
            for &daemon in &daemons {
                for &hard_links in &links {
                    for seed in first..first + seeds {
                        let choice = Choice { seed, backend, mishap, hard_links, daemon };
                        runs += 1;
                        failures += usize::from(!said(&mut churns, &choice, keep, failures));
                    }
                }
            }
        }
    }
    match failures {
        0 => Ok(()),
        _ => Err(format!("{failures} of {runs} runs failed")),
    }
}

/// Carries one run out and says how it went; false when it failed. A failed run is kept where that
/// was asked for.
fn said(churns: &mut Churns, choice: &Choice, keep: bool, number: usize) -> bool {
    let dir = churns.place.dir.join("run");
    let failure = match one::run(churns, choice, &dir) {
        Ok(report) => {
            println!("{choice}: {report}");
            report.differences.join("\n")
        }
        Err(text) => {
            println!("{choice}: failed: {text}");
            text
        }
    };
    if failure.is_empty() {
        return true;
    }
    if keep {
        let kept = churns.place.dir.join(format!("failed-{number}"));
        churns.place.kept = std::fs::rename(&dir, &kept).is_ok();
        let _ = std::fs::write(kept.join("differences"), failure);
        println!("  kept in {}", kept.display());
    }
    false
}

/// The values of an option: one of `words`, or each with `all` where there is more than one way.
fn chosen<T: Copy>(
    args: &mut Arguments,
    name: &str,
    words: &[(&str, T)],
    default: &str,
) -> Result<Vec<T>, String> {
    let text = args.text(name).unwrap_or_else(|| default.to_owned());
    let all = text == "all";
    // What the program would choose itself is no further way beside those named.
    let wanted = |word: &str| word == text || all && word != "auto";
    let found: Vec<T> = words.iter().filter(|(w, _)| wanted(w)).map(|(_, value)| *value).collect();
    if found.is_empty() {
        let known: Vec<&str> = words.iter().map(|(word, _)| *word).collect();
        return Err(format!("--{name}: {text} is none of {}, all", known.join(", ")));
    }
    Ok(found)
}
