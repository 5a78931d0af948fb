//! One tree to one daemon: `rsync -a` and `livemirror rsync -a` in turns.
//!
//! Each round, each program first copies everything into an empty module, then runs again with
//! nothing to do, then copies all of it back. The copies are compared with the source.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use super::{Bench, WHO, median, print_head, print_row};
use crate::place::{empty_dir, make_dir};
use crate::process::{self, Daemon, Usage};
use crate::tree;

/// The cases.
const CASES: [&str; 3] = ["everything", "nothing new", "everything back"];
/// Of these, the one that copies what the daemon has.
const BACK: usize = 2;
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
    let back = bench.place.dir.join("back");
    make_dir(&back)?;
    let run = |case: usize, who: usize| {
        let local = if case == BACK { &back } else { &source };
        client(bench, &daemon, local, case, who)
    };
    let mut costs: [[Vec<Cost>; 2]; CASES.len()] = Default::default();
    for round in 0..bench.rounds {
        for turn in 0..2 {
            // Who goes first changes, so that neither always finds the warmer cache.
            let who = (round + turn) % 2;
            empty_dir(&target)?;
            empty_dir(&back)?;
            for (case, copied) in [&target, &target, &back].into_iter().enumerate() {
                costs[case][who].push(once(&daemon, &mut run(case, who))?);
                soon_same(&source, copied).map_err(|text| format!("{}: {text}", WHO[who]))?;
            }
        }
    }
    let mut calls = [[0; 2]; CASES.len()];
    if bench.strace {
        for who in 0..2 {
            empty_dir(&target)?;
            empty_dir(&back)?;
            for (case, counts) in calls.iter_mut().enumerate() {
                counts[who] = process::system_calls(&bench.place.dir, &run(case, who))?;
            }
        }
    }
    for (case, name) in CASES.iter().enumerate() {
        print_case(bench, name, &costs[case], calls[case]);
    }
    Ok(())
}

/// The run of one case: to the daemon, or back from it.
fn client(bench: &Bench, daemon: &Daemon, local: &Path, case: usize, who: usize) -> Command {
    let mut command = bench.client(who);
    let (local, remote) = (format!("{}/", local.display()), daemon.url.clone());
    let [from, to] = if case == BACK { [remote, local] } else { [local, remote] };
    command.arg("-a").arg(from).arg(to);
    command
}

fn once(daemon: &Daemon, client: &mut Command) -> Result<Cost, String> {
    let before = daemon.running.cpu();
    let client = process::measured(client)?;
    // The daemon has waited for its child by then; a tick is a hundredth of a second.
    std::thread::sleep(Duration::from_millis(50));
    Ok(Cost { client, daemon_cpu: daemon.running.cpu() - before })
}

/// A line of the table: what it says, which number it takes, and what that is divided by.
type Row = (&'static str, fn(&Cost) -> f64, f64);

fn print_case(bench: &Bench, case: &str, costs: &[Vec<Cost>; 2], calls: [u64; 2]) {
    print_head(case, bench.rounds);
    let files = bench.shape.files.max(1) as f64;
    let rows: [Row; 5] = [
        ("wall, s", |cost| cost.client.wall, 1.0),
        ("client CPU, s", |cost| cost.client.cpu, 1.0),
        ("daemon CPU, s", |cost| cost.daemon_cpu, 1.0),
        ("client CPU a file, us", |cost| cost.client.cpu * 1e6, files),
        ("client peak memory, KiB", |cost| cost.client.peak_kib, 1.0),
    ];
    for (label, pick, by) in rows {
        let [ours, theirs] = [0, 1].map(|who: usize| median(costs[who].iter().map(pick)) / by);
        print_row(label, ours, theirs);
    }
    if bench.strace {
        let [ours, theirs] = calls.map(|n| n as f64 / files);
        print_row("client system calls a file", ours, theirs);
    }
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
