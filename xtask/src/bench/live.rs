//! Mirrors that stay: `livemirror watch` beside lsyncd with delay 0 and delay 1.
//!
//! For each: start it on a tree, wait for the first copy, then measure from outside, by looking at
//! the target:
//! 1. single changes after quiet, from the end of the write to the whole file being there;
//! 2. a burst of new files in new directories, from the first write, and from the last, to the
//!    last file being there, beside one plain `rsync -a` of the same files;
//! 3. the processor time that taking in events costs while the target does not answer.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use xtask::random::Random;

use super::transfer::{same, soon_same};
use super::{Bench, median};
use crate::place::empty_dir;
use crate::process::{Daemon, Running, measured};
use crate::tree;

/// How long any wait may take before the bench gives up.
const WAIT_MAX: Duration = Duration::from_secs(300);
/// Between two looks at the target.
const LOOK: Duration = Duration::from_micros(500);
/// Quiet before a single change.
const QUIET: Duration = Duration::from_millis(400);
/// Length of a single change, in bytes.
const CHANGE_LEN: u64 = 16 << 10;
/// Length of each file of a burst, in bytes.
const BURST_LEN: u64 = 4 << 10;
/// Directories that the files of a burst go to.
const BURST_DIRS: usize = 100;
/// Most single changes for a mirror that waits a second before each.
const SLOW_CHANGES: usize = 30;

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
    first_s: f64,
    latency_ms: Vec<f64>,
    burst: Burst,
    intake_cpu_s: f64,
    peak_kib: f64,
}

#[derive(Clone, Copy)]
struct Burst {
    /// Seconds of writing alone.
    writing_s: f64,
    /// Seconds from the first write to equal trees.
    whole_s: f64,
    /// Processor seconds of the mirror and its children.
    cpu_s: f64,
}

/// A line of the table: what it says, and which number it takes.
type Row<'a> = (&'static str, &'a dyn Fn(&Measured) -> f64);

/// The bench.
pub(super) fn run(bench: &Bench) -> Result<(), String> {
    let mirrors =
        [Mirror::Livemirror, Mirror::Lsyncd { delay_s: 0 }, Mirror::Lsyncd { delay_s: 1 }];
    println!(
        "\nlive: {} files at the start; {} single changes of {CHANGE_LEN} bytes; a burst of {} \
         files of {BURST_LEN} bytes in {BURST_DIRS} directories; {} events while the target is \
         stopped",
        bench.shape.files, bench.changes, bench.burst, bench.events
    );
    let plain = plain(bench)?;
    println!("one plain rsync -a of the burst's files: {plain:.3} s");
    let found: Vec<(Mirror, Measured)> =
        mirrors.into_iter().map(|m| one(bench, m).map(|f| (m, f))).collect::<Result<_, _>>()?;
    print!("  {:<34}", "");
    found.iter().for_each(|(mirror, _)| print!("{:>18}", mirror.name()));
    println!();
    let late = |m: &Measured, percent: usize| {
        let at = (m.latency_ms.len() * percent / 100).min(m.latency_ms.len().saturating_sub(1));
        m.latency_ms.get(at).copied().unwrap_or(0.0)
    };
    let rows: [Row<'_>; 10] = [
        ("start to equal trees, s", &|m| m.first_s),
        ("single change, median ms", &|m| median(m.latency_ms.iter().copied())),
        ("single change, 99 of 100 within ms", &|m| late(m, 99)),
        ("burst: writing alone, s", &|m| m.burst.writing_s),
        ("burst: first write to equal, s", &|m| m.burst.whole_s),
        ("  as a multiple of rsync -a", &|m| m.burst.whole_s / plain),
        ("  last write to equal, s", &|m| m.burst.whole_s - m.burst.writing_s),
        ("burst: CPU a file, us", &|m| m.burst.cpu_s * 1e6 / bench.burst.max(1) as f64),
        ("CPU to take in the events, s", &|m| m.intake_cpu_s),
        ("peak memory, KiB", &|m| m.peak_kib),
    ];
    for (label, pick) in rows {
        print!("  {label:<34}");
        found.iter().for_each(|(_, measured)| print!("{:>18.3}", pick(measured)));
        println!();
    }
    Ok(())
}

/// Seconds that one `rsync -a` of a burst's files takes; the median of the rounds.
fn plain(bench: &Bench) -> Result<f64, String> {
    let source = bench.place.dir.join("plain-source");
    let target = bench.place.dir.join("plain-target");
    empty_dir(&source)?;
    burst(bench, &source)?;
    // rsync leaves a directory's time alone that is wrong within its second only.
    std::thread::sleep(Duration::from_secs(1));
    empty_dir(&target)?;
    let daemon = bench.daemon_for(&target)?;
    let mut walls = Vec::new();
    for _ in 0..bench.rounds.max(1) {
        empty_dir(&target)?;
        let mut command = Command::new("rsync");
        command.arg("-a").arg(format!("{}/", source.display())).arg(&daemon.url);
        walls.push(measured(&mut command)?.wall);
        soon_same(&source, &target)?;
    }
    Ok(median(walls.into_iter()))
}

/// Writes the files of a burst; their names below `top`.
fn burst(bench: &Bench, top: &Path) -> Result<Vec<PathBuf>, String> {
    let failed = |error: std::io::Error| format!("{}: {error}", top.display());
    let content = vec![b'x'; usize::try_from(BURST_LEN).unwrap_or(0)];
    let mut names = Vec::new();
    for number in 0..bench.burst {
        let dir = PathBuf::from(format!("burst{:03}", number % BURST_DIRS));
        if number < BURST_DIRS {
            std::fs::create_dir(top.join(&dir)).map_err(failed)?;
        }
        let name = dir.join(format!("file{number:06}"));
        std::fs::write(top.join(&name), &content).map_err(failed)?;
        names.push(name);
    }
    Ok(names)
}

fn one(bench: &Bench, mirror: Mirror) -> Result<Measured, String> {
    let source = bench.place.dir.join("live-source");
    let target = bench.place.dir.join("live-target");
    empty_dir(&source)?;
    empty_dir(&target)?;
    tree::make(&source, &bench.shape)?;
    let daemon = bench.daemon_for(&target)?;
    let started = Instant::now();
    let mut running = Running::start(&mut command(bench, mirror, &source, &daemon)?)?;
    wait_until(&mut running, mirror, Duration::from_millis(100), || {
        same(&source, &target).is_ok()
    })?;
    let first_s = started.elapsed().as_secs_f64();
    std::thread::sleep(QUIET);

    let mut random = Random::new(bench.shape.seed);
    let mut latency_ms = Vec::new();
    let changes = match mirror {
        Mirror::Lsyncd { delay_s: 1.. } => bench.changes.min(SLOW_CHANGES),
        _ => bench.changes,
    };
    for number in 0..changes {
        // Not in step with anybody's timer.
        std::thread::sleep(QUIET + Duration::from_millis(random.between(0, 200)));
        let name = format!("change{number:05}");
        put(&source.join(&name), CHANGE_LEN, &mut random)?;
        let written = Instant::now();
        wait_until(&mut running, mirror, LOOK, || whole(&target.join(&name), CHANGE_LEN))?;
        latency_ms.push(written.elapsed().as_secs_f64() * 1000.0);
    }
    latency_ms.sort_by(f64::total_cmp);

    std::thread::sleep(QUIET * 4);
    let burst = timed_burst(bench, mirror, &mut running, (&source, &target))?;
    let intake_cpu_s = intake(bench, &daemon, &running, &source)?;
    Ok(Measured { first_s, latency_ms, burst, intake_cpu_s, peak_kib: running.peak_kib() })
}

fn timed_burst(
    bench: &Bench,
    mirror: Mirror,
    running: &mut Running,
    (source, target): (&Path, &Path),
) -> Result<Burst, String> {
    let cpu = running.cpu();
    let started = Instant::now();
    let names = burst(bench, source)?;
    let writing_s = started.elapsed().as_secs_f64();
    let mut next = 0;
    wait_until(running, mirror, LOOK, || {
        while names.get(next).is_some_and(|name| whole(&target.join(name), BURST_LEN)) {
            next += 1;
        }
        next == names.len()
    })?;
    let whole_s = started.elapsed().as_secs_f64();
    // Children are counted once they have ended and were waited for.
    std::thread::sleep(QUIET * 4);
    Ok(Burst { writing_s, whole_s, cpu_s: running.cpu() - cpu })
}

/// Processor seconds of the mirror while events come and the target does not answer. The first
/// change is sent alone, so that it is the one that waits.
fn intake(bench: &Bench, daemon: &Daemon, running: &Running, source: &Path) -> Result<f64, String> {
    daemon.running.pause()?;
    std::fs::write(source.join("event"), b"x").map_err(|error| error.to_string())?;
    std::thread::sleep(QUIET * 4);
    let cpu = running.cpu();
    for number in 0..bench.events {
        let path = source.join(format!("event{number:06}"));
        std::fs::write(&path, b"x").map_err(|error| format!("{}: {error}", path.display()))?;
    }
    std::thread::sleep(QUIET * 5);
    let cpu = running.cpu() - cpu;
    daemon.running.go_on()?;
    Ok(cpu)
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
