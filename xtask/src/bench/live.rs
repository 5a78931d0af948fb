//! Mirrors that stay: `livemirror watch` beside lsyncd with delay 0 and delay 1.
//!
//! For each: start it on a tree, wait for the first copy, then measure from outside, by looking at
//! the target, (1) single changes after quiet, from the end of the write to the whole file being
//! there, and (2) a burst of new files, from the first write to the last file being there, with
//! the processor time that the mirror and its children took.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use xtask::random::Random;

use super::transfer::same;
use super::{Bench, median};
use crate::place::empty_dir;
use crate::process::{Daemon, Running};
use crate::tree;

/// How long any wait may take before the bench gives up.
const WAIT_MAX: Duration = Duration::from_secs(300);
/// Between two looks at the target.
const LOOK: Duration = Duration::from_micros(500);
/// Quiet before a single change.
const QUIET: Duration = Duration::from_millis(400);
/// Length of a single change, in bytes.
const CHANGE_LEN: u64 = 16 << 10;

/// A mirror under measurement.
#[derive(Clone, Copy)]
enum Mirror {
    Livemirror,
    Lsyncd { delay_s: u32 },
}

impl Mirror {
    fn name(self) -> String {
        match self {
            Mirror::Livemirror => "livemirror watch".into(),
            Mirror::Lsyncd { delay_s } => format!("lsyncd, delay {delay_s}"),
        }
    }
}

struct Measured {
    latency_ms: Vec<f64>,
    burst_s: f64,
    burst_cpu_s: f64,
    peak_kib: f64,
}

/// The bench.
pub(super) fn run(bench: &Bench) -> Result<(), String> {
    let mirrors =
        [Mirror::Livemirror, Mirror::Lsyncd { delay_s: 0 }, Mirror::Lsyncd { delay_s: 1 }];
    println!("\nlive: {} single changes, a burst of {} files", bench.changes, bench.burst);
    println!(
        "  {:<20}{:>12}{:>12}{:>12}{:>12}{:>14}{:>12}",
        "", "median ms", "95% ms", "burst s", "burst CPU s", "CPU us a file", "peak KiB"
    );
    for mirror in mirrors {
        let mut found = one(bench, mirror)?;
        found.latency_ms.sort_by(f64::total_cmp);
        let late = found.latency_ms.get(found.latency_ms.len() * 95 / 100).copied();
        println!(
            "  {:<20}{:>12.1}{:>12.1}{:>12.3}{:>12.3}{:>14.1}{:>12.0}",
            mirror.name(),
            median(found.latency_ms.iter().copied()),
            late.unwrap_or(0.0),
            found.burst_s,
            found.burst_cpu_s,
            found.burst_cpu_s * 1e6 / bench.burst.max(1) as f64,
            found.peak_kib
        );
    }
    Ok(())
}

fn one(bench: &Bench, mirror: Mirror) -> Result<Measured, String> {
    let source = bench.place.dir.join("live-source");
    let target = bench.place.dir.join("live-target");
    empty_dir(&source)?;
    empty_dir(&target)?;
    tree::make(&source, &bench.shape)?;
    let daemon = bench.daemon_for(&target)?;
    let mut running = Running::start(&mut command(bench, mirror, &source, &daemon)?)?;
    wait_until(&mut running, mirror, Duration::from_millis(100), || {
        same(&source, &target).is_ok()
    })?;
    std::thread::sleep(QUIET);

    let mut random = Random::new(bench.shape.seed);
    let mut latency_ms = Vec::new();
    for number in 0..bench.changes {
        // Not in step with anybody's timer.
        std::thread::sleep(QUIET + Duration::from_millis(random.between(0, 200)));
        let name = format!("change{number:05}");
        put(&source.join(&name), CHANGE_LEN, &mut random)?;
        let written = Instant::now();
        wait_until(&mut running, mirror, LOOK, || whole(&target.join(&name), CHANGE_LEN))?;
        latency_ms.push(written.elapsed().as_secs_f64() * 1000.0);
    }

    std::thread::sleep(QUIET * 4);
    let cpu = running.cpu();
    let started = Instant::now();
    let mut sent = Vec::new();
    for number in 0..bench.burst {
        let name = PathBuf::from(format!("burst{number:06}"));
        let len = random.between(bench.shape.min, bench.shape.max);
        put(&source.join(&name), len, &mut random)?;
        sent.push((target.join(name), len));
    }
    let mut next = 0;
    wait_until(&mut running, mirror, LOOK, || {
        while sent.get(next).is_some_and(|(path, len)| whole(path, *len)) {
            next += 1;
        }
        next == sent.len()
    })?;
    let burst_s = started.elapsed().as_secs_f64();
    // Children are counted once they have ended and were waited for.
    std::thread::sleep(QUIET);
    let burst_cpu_s = running.cpu() - cpu;
    Ok(Measured { latency_ms, burst_s, burst_cpu_s, peak_kib: running.peak_kib() })
}

fn put(path: &Path, len: u64, random: &mut Random) -> Result<(), String> {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    let now_s = now.map_or(0, |since| since.as_secs());
    tree::write(path, len, now_s, random).map_err(|error| format!("{}: {error}", path.display()))
}

/// Whether a file has its whole length. Receivers give a file its name when it is complete.
fn whole(path: &Path, len: u64) -> bool {
    std::fs::metadata(path).is_ok_and(|meta| meta.len() == len)
}

fn wait_until(
    running: &mut Running,
    mirror: Mirror,
    every: Duration,
    mut done: impl FnMut() -> bool,
) -> Result<(), String> {
    let started = Instant::now();
    while !done() {
        running.check(&mirror.name())?;
        if started.elapsed() > WAIT_MAX {
            return Err(format!("{}: the change has not arrived", mirror.name()));
        }
        std::thread::sleep(every);
    }
    Ok(())
}

fn command(
    bench: &Bench,
    mirror: Mirror,
    source: &Path,
    daemon: &Daemon,
) -> Result<Command, String> {
    let Mirror::Lsyncd { delay_s } = mirror else {
        let mut command = Command::new(&bench.livemirror);
        command.arg("watch").arg(format!("{}/", source.display())).arg(&daemon.url);
        command.arg(format!("--socket={}", bench.place.dir.join("status").display()));
        return Ok(command);
    };
    let config = bench.place.dir.join("lsyncd.conf.lua");
    let text = format!(
        "settings {{ nodaemon = true }}\nsync {{ default.rsync, source = \"{}\", target = \"{}\", \
         delay = {delay_s}, rsync = {{ archive = true }} }}\n",
        source.display(),
        daemon.url
    );
    std::fs::write(&config, text).map_err(|error| format!("{}: {error}", config.display()))?;
    let mut command = Command::new("lsyncd");
    command.arg("-nodaemon").arg(&config);
    Ok(command)
}
