//! `cargo xtask bench`: livemirror beside the programs it replaces, on this machine.
//!
//! Everything runs below one directory that is removed at the end. No number is judged here: a
//! shared machine makes times uncertain, so look at ratios of runs taken in turns, and at counts.

mod copy;
mod live;
mod transfer;

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::arguments::Arguments;
use crate::place::{Place, livemirror};
use crate::process::{Daemon, DaemonKind, DaemonPlan};
use crate::tree::TreeShape;

/// The two programs, in the order of the ratios: ours by theirs.
const WHO: [&str; 2] = ["livemirror", "rsync"];

/// What the command line asked for.
pub(crate) struct Bench {
    shape: TreeShape,
    rounds: usize,
    /// Files of a GiB.
    large: usize,
    changes: usize,
    burst: usize,
    events: usize,
    strace: bool,
    daemon: DaemonKind,
    livemirror: PathBuf,
    place: Place,
}

impl Bench {
    /// Starts the daemon that the command line chose.
    fn daemon_for(&self, target: &Path) -> Result<Daemon, String> {
        DaemonPlan::new(self.daemon, &self.livemirror, &self.place.dir, target)?.start()
    }

    /// One of the two programs, as rsync's command line.
    fn client(&self, who: usize) -> Command {
        if WHO[who] == "rsync" {
            return Command::new("rsync");
        }
        let mut command = Command::new(&self.livemirror);
        command.arg("rsync");
        command
    }
}

/// The command.
pub(crate) fn run(args: &mut Arguments) -> Result<(), String> {
    let mut parts = Vec::new();
    while let Some(part) = args.operand() {
        match part.as_str() {
            "copy" | "transfer" | "live" => parts.push(part),
            other => return Err(format!("unknown part {other}: copy, transfer or live")),
        }
    }
    let daemon = DaemonKind::from_arguments(args)?;
    let given = args.text("livemirror").map(PathBuf::from);
    let place = Place::from_arguments(args, "bench")?;
    let mut bench = Bench {
        shape: TreeShape::from_arguments(args, 100_000, 1000)?,
        rounds: args.number("rounds", 3)?,
        large: args.number("large", 4)?,
        changes: args.number("changes", 200)?,
        burst: args.number("burst", 10_000)?,
        events: args.number("events", 16_000)?,
        strace: !args.switch("no-strace"),
        daemon,
        livemirror: PathBuf::new(),
        place,
    };
    args.finish()?;
    bench.livemirror = livemirror(given)?;
    if parts.is_empty() || parts.iter().any(|part| part == "copy") {
        copy::run(&bench)?;
    }
    if parts.is_empty() || parts.iter().any(|part| part == "transfer") {
        transfer::run(&bench)?;
    }
    if parts.is_empty() || parts.iter().any(|part| part == "live") {
        live::run(&bench)?;
    }
    Ok(())
}

fn print_head(case: &str, rounds: usize) {
    println!("\n{case} (median of {rounds})");
    println!("  {:<26}{:>12}{:>12}{:>9}", "", WHO[0], WHO[1], "ratio");
}

fn print_row(label: &str, ours: f64, theirs: f64) {
    let ratio = if theirs > 0.0 { format!("{:.2}", ours / theirs) } else { "-".to_string() };
    println!("  {label:<26}{ours:>12.3}{theirs:>12.3}{ratio:>9}");
}

/// The middle one, or halfway between the middle two; 0 of none.
fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    let at = |index: usize| values.get(index).copied().unwrap_or(0.0);
    f64::midpoint(at(values.len().saturating_sub(1) / 2), at(values.len() / 2))
}
