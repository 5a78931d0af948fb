//! One tree to one daemon: `rsync -a` and `livemirror rsync -a` in turns.
//!
//! Each round, each program first copies everything into an empty module, then runs again with
//! nothing to do. The copy is compared with the source after each first run.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use super::{Bench, median};
use crate::place::{empty_dir, make_dir};
use crate::process::{self, Daemon, Usage};
use crate::tree;

/// The two programs, in the order of the ratios: ours by theirs.
const WHO: [&str; 2] = ["livemirror", "rsync"];
/// The two cases.
const CASES: [&str; 2] = ["everything", "nothing new"];
/// How long a daemon may be at work after its client.
const AFTER_MAX: Duration = Duration::from_secs(10);

/// A run's cost at both ends.
#[derive(Clone, Copy, Debug, Default)]
struct Cost {
    client: Usage,
    daemon_cpu: f64,
}

/// The bench.
pub(super) fn run(bench: &Bench) -> Result<(), String> {
    let source = bench.place.dir.join("source");
    let target = bench.place.dir.join("target");
    make_dir(&target)?;
    let bytes = tree::make(&source, &bench.shape)?;
    println!(
        "transfer: {} files, {} directories, {bytes} bytes",
        bench.shape.files, bench.shape.dirs
    );
    let daemon = bench.daemon_for(&target)?;
    let mut costs: [[Vec<Cost>; 2]; 2] = Default::default();
    for round in 0..bench.rounds {
        for turn in 0..2 {
            // Who goes first changes, so that neither always finds the warmer cache.
            let who = (round + turn) % 2;
            empty_dir(&target)?;
            costs[0][who].push(once(bench, &daemon, &source, who)?);
            soon_same(&source, &target).map_err(|text| format!("{}: {text}", WHO[who]))?;
            costs[1][who].push(once(bench, &daemon, &source, who)?);
        }
    }
    let mut calls = [[0; 2]; 2];
    if bench.strace {
        for who in 0..2 {
            empty_dir(&target)?;
            for counts in &mut calls {
                counts[who] =
                    process::system_calls(&bench.place.dir, &client(bench, &daemon, &source, who))?;
            }
        }
    }
    for (case, name) in CASES.iter().enumerate() {
        print_case(bench, name, &costs[case], calls[case]);
    }
    Ok(())
}

fn client(bench: &Bench, daemon: &Daemon, source: &Path, who: usize) -> Command {
    let mut command;
    if WHO[who] == "livemirror" {
        command = Command::new(&bench.livemirror);
        command.arg("rsync");
    } else {
        command = Command::new("rsync");
    }
    command.arg("-a").arg(format!("{}/", source.display())).arg(&daemon.url);
    command
}

fn once(bench: &Bench, daemon: &Daemon, source: &Path, who: usize) -> Result<Cost, String> {
    let before = daemon.running.cpu();
    let client = process::measured(&mut client(bench, daemon, source, who))?;
    // The daemon has waited for its child by then; a tick is a hundredth of a second.
    std::thread::sleep(Duration::from_millis(50));
    Ok(Cost { client, daemon_cpu: daemon.running.cpu() - before })
}

/// A line of the table: what it says, which number it takes, and what that is divided by.
type Row = (&'static str, fn(&Cost) -> f64, f64);

fn print_case(bench: &Bench, case: &str, costs: &[Vec<Cost>; 2], calls: [u64; 2]) {
    println!("\n{case} (median of {})", bench.rounds);
    let files = bench.shape.files.max(1) as f64;
    let rows: [Row; 5] = [
        ("wall, s", |cost| cost.client.wall, 1.0),
        ("client CPU, s", |cost| cost.client.cpu, 1.0),
        ("daemon CPU, s", |cost| cost.daemon_cpu, 1.0),
        ("client CPU a file, us", |cost| cost.client.cpu * 1e6, files),
        ("client peak memory, KiB", |cost| cost.client.peak_kib, 1.0),
    ];
    println!("  {:<26}{:>12}{:>12}{:>9}", "", WHO[0], WHO[1], "ratio");
    for (label, pick, by) in rows {
        let [ours, theirs] = [0, 1].map(|who: usize| median(costs[who].iter().map(pick)) / by);
        print_row(label, ours, theirs);
    }
    if bench.strace {
        let [ours, theirs] = calls.map(|n| n as f64 / files);
        print_row("client system calls a file", ours, theirs);
    }
}

fn print_row(label: &str, ours: f64, theirs: f64) {
    let ratio = if theirs > 0.0 { format!("{:.2}", ours / theirs) } else { "-".to_string() };
    println!("  {label:<26}{ours:>12.3}{theirs:>12.3}{ratio:>9}");
}

/// An error unless names, lengths and times of two trees are equal.
pub(super) fn same(source: &Path, target: &Path) -> Result<(), String> {
    let (here, there) = (listing(source)?, listing(target)?);
    for (name, facts) in &here {
        match there.get(name) {
            None => return Err(format!("{} was not copied", name.display())),
            Some(copied) if copied != facts => {
                return Err(format!("{} differs: {facts:?}, {copied:?}", name.display()));
            }
            Some(_) => {}
        }
    }
    match there.len() == here.len() {
        true => Ok(()),
        false => Err(format!("{} names became {}", here.len(), there.len())),
    }
}

/// The same, after the moment in which the daemon's side sets the last times of directories: its
/// client may have ended before.
pub(super) fn soon_same(source: &Path, target: &Path) -> Result<(), String> {
    let ended = Instant::now();
    loop {
        match same(source, target) {
            Err(_) if ended.elapsed() < AFTER_MAX => std::thread::sleep(Duration::from_millis(50)),
            result => return result,
        }
    }
}

/// Length and time of each file, time of each directory, by path from the top.
type Listing = BTreeMap<PathBuf, (u64, Option<std::time::SystemTime>)>;

fn listing(top: &Path) -> Result<Listing, String> {
    let failed = |error: std::io::Error| format!("{}: {error}", top.display());
    let mut found = Listing::new();
    let mut open = vec![top.to_path_buf()];
    while let Some(dir) = open.pop() {
        for item in std::fs::read_dir(&dir).map_err(failed)? {
            let item = item.map_err(failed)?;
            let meta = item.metadata().map_err(failed)?;
            let len = if meta.is_dir() { 0 } else { meta.len() };
            if meta.is_dir() {
                open.push(item.path());
            }
            let name = item.path().strip_prefix(top).map(Path::to_path_buf).unwrap_or_default();
            found.insert(name, (len, meta.modified().ok()));
        }
    }
    Ok(found)
}
