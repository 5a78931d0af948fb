//! One run: a daemon, a mirror, work in the source, mishaps in between, and the trees compared.
//!
//! Nothing is waited for by the clock: a file made after all work must arrive and go again, and the
//! mirror must say that it owes nothing.

use std::fmt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use livemirror_tests::churn::{Churn, Dice, differences, dump};
use serde_json::Value;

use super::{Choice, Churns, Mishap};
use crate::place::empty_dir;
use crate::process::{Daemon, DaemonPlan, Running};

/// The time-out of the transfers. A connection whose other end was killed by half lives five of them.
const TIMEOUT_S: u64 = 15;
/// How long any state may take to come before the run counts as failed: longer than a transfer
/// that hangs may live, and than the longest pause between two attempts.
const PATIENCE: Duration = Duration::from_secs(180);
/// Between two looks.
const LOOK: Duration = Duration::from_millis(10);
/// Work done before the mirror starts.
const BEFORE: usize = 300;
/// Directories above a name, at most.
const DEPTH: usize = 3;
/// Events that the kernel has room for, where there shall be few.
const FEW_EVENTS: &str = "64";
/// Differences that are named.
const NAMED_MAX: usize = 20;

/// How a run went.
pub(super) struct Report {
    settled: Duration,
    overflows: u64,
    peak_kib: f64,
    /// Lines of the trees that have no equal in the other.
    pub(super) differences: Vec<String>,
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "settled in {:.2} s, {} differences, {} overflows, peak {:.0} KiB",
            self.settled.as_secs_f64(),
            self.differences.len(),
            self.overflows,
            self.peak_kib
        )?;
        self.differences.iter().take(NAMED_MAX).try_for_each(|line| write!(f, "\n    {line}"))
    }
}

/// What runs, and what it works on.
struct Run<'a> {
    choice: &'a Choice,
    dir: PathBuf,
    livemirror: PathBuf,
    plan: DaemonPlan,
    daemon: Option<Daemon>,
    mirror: Option<Running>,
    overflows: u64,
    peak_kib: f64,
}

/// Carries a run out below `dir`.
pub(super) fn run(churns: &Churns, choice: &Choice, dir: &Path) -> Result<Report, String> {
    empty_dir(dir)?;
    for sub in ["source", "target", "outside"] {
        empty_dir(&dir.join(sub))?;
    }
    let (source, outside) = (dir.join("source"), dir.join("outside"));
    let work = Churn { source: &source, outside: &outside, depth: DEPTH };
    let mut dice = Dice(choice.seed);
    (0..BEFORE).for_each(|number| work.step(&mut dice, number));
    let plan = DaemonPlan::new(choice.daemon, &churns.livemirror, dir, &dir.join("target"))?;
    let daemon = Some(plan.start()?);
    let mirror = Some(start(&churns.livemirror, choice, dir, &plan)?);
    let mut run = Run {
        choice,
        dir: dir.to_path_buf(),
        livemirror: churns.livemirror.clone(),
        plan,
        daemon,
        mirror,
        overflows: 0,
        peak_kib: 0.0,
    };
    // Each mishap begins in the middle of its part of the work, and is over well before its end.
    let part = (churns.operations / churns.times.max(1)).max(2);
    for number in 0..churns.operations {
        work.step(&mut dice, number);
        match number % part {
            at if at == part / 2 => run.mishap(&mut dice)?,
            at if at == part / 2 + part / 3 => run.relief()?,
            _ => {}
        }
        // Mostly a stream with small gaps, so that work and transfers mix; at times a burst.
        if dice.below(10) == 0 && number % 1000 < 700 {
            std::thread::sleep(Duration::from_millis(dice.below(5) as u64));
        }
    }
    run.relief()?;
    let settled = run.settle()?;
    run.note();
    let (left, right) =
        (dump(&source, choice.hard_links)?, dump(&dir.join("target"), choice.hard_links)?);
    let (missing, extra) = differences(&left, &right);
    let named = |what: &str, lines: Vec<&str>| {
        lines.iter().map(|line| format!("{what}: {line}")).collect::<Vec<_>>()
    };
    let differences = [named("source", missing), named("target", extra)].concat();
    Ok(Report { settled, overflows: run.overflows, peak_kib: run.peak_kib, differences })
}

/// Starts the mirror and waits until it watches.
fn start(
    livemirror: &Path,
    choice: &Choice,
    dir: &Path,
    plan: &DaemonPlan,
) -> Result<Running, String> {
    // The kernel looks at the limit when the watch is opened, and then no more.
    let limits = match choice.mishap {
        Mishap::Queue => Some(Limits::lower()?),
        _ => None,
    };
    let mut command = Command::new(livemirror);
    command.args(["watch", "--delete", "--json", "--backend", choice.backend]);
    command.arg(format!("--timeout={TIMEOUT_S}"));
    if choice.hard_links {
        command.arg("-H");
    }
    command.arg("--socket").arg(dir.join("status"));
    command.arg(format!("{}/", dir.join("source").display())).arg(plan.url());
    let mut mirror = Running::start_logged(&mut command, &dir.join("mirror.log"))?;
    wait("the mirror watches", &mut mirror, || {
        status(livemirror, dir)
            .is_some_and(|s| s["backend"].as_str().is_some_and(|b| !b.is_empty()))
    })?;
    drop(limits);
    Ok(mirror)
}

impl Run<'_> {
    fn mishap(&mut self, dice: &mut Dice) -> Result<(), String> {
        match self.choice.mishap {
            Mishap::None => {}
            Mishap::Queue => self.mirror.iter().for_each(|mirror| mirror.hold(true)),
            Mishap::Daemon => {
                // Half the time only the process that listens dies, and its connections live on.
                match self.daemon.take() {
                    Some(daemon) if dice.below(2) == 0 => daemon.running.kill_alone(),
                    other => drop(other),
                }
            }
            Mishap::Itself => {
                self.note();
                self.mirror = None;
                self.mirror = Some(start(&self.livemirror, self.choice, &self.dir, &self.plan)?);
            }
        }
        Ok(())
    }

    fn relief(&mut self) -> Result<(), String> {
        self.mirror.iter().for_each(|mirror| mirror.hold(false));
        if self.daemon.is_none() {
            self.daemon = Some(self.plan.start()?);
        }
        Ok(())
    }

    /// Adds up what ends with the mirror's process.
    fn note(&mut self) {
        let status = status(&self.livemirror, &self.dir).unwrap_or_default();
        self.overflows += status["overflows"].as_u64().unwrap_or(0);
        self.peak_kib = self.mirror.iter().map(Running::peak_kib).fold(self.peak_kib, f64::max);
    }

    /// Waits until everything done so far has arrived and nothing is owed.
    fn settle(&mut self) -> Result<Duration, String> {
        let started = Instant::now();
        let marker = self.dir.join("source/marker");
        let arrived = self.dir.join("target/marker");
        let failed = |error: std::io::Error| format!("{}: {error}", marker.display());
        std::fs::write(&marker, b"").map_err(failed)?;
        self.wait("the marker arrives", || arrived.exists())?;
        std::fs::remove_file(&marker).map_err(failed)?;
        self.wait("the marker goes", || !arrived.exists())?;
        let (livemirror, dir) = (self.livemirror.clone(), self.dir.clone());
        self.wait("nothing is owed", || {
            status(&livemirror, &dir).is_some_and(|s| s["state"] == "idle")
        })?;
        Ok(started.elapsed())
    }

    fn wait(&mut self, what: &str, done: impl FnMut() -> bool) -> Result<(), String> {
        let mirror = self.mirror.as_mut().ok_or("there is no mirror")?;
        wait(what, mirror, done).map_err(|text| {
            format!("{text}: {}", status(&self.livemirror, &self.dir).unwrap_or_default())
        })
    }
}

fn wait(what: &str, mirror: &mut Running, mut done: impl FnMut() -> bool) -> Result<(), String> {
    let started = Instant::now();
    while !done() {
        mirror.check("the mirror")?;
        if started.elapsed() > PATIENCE {
            return Err(format!("waited in vain until {what}"));
        }
        std::thread::sleep(LOOK);
    }
    Ok(())
}

/// What the mirror says of its one sync; `None` when it does not answer.
fn status(livemirror: &Path, dir: &Path) -> Option<Value> {
    let mut command = Command::new(livemirror);
    command.args(["status", "--json"]).arg(format!("--socket={}", dir.join("status").display()));
    let said = command.output().ok()?.stdout;
    let mut all: Value = serde_json::from_slice(&said).ok()?;
    Some(all["syncs"][0].take())
}

/// The kernel's limits on waiting events, put back with this value.
struct Limits(Vec<(&'static str, String)>);

impl Limits {
    fn lower() -> Result<Limits, String> {
        let mut limits = Limits(Vec::new());
        for file in
            ["/proc/sys/fs/inotify/max_queued_events", "/proc/sys/fs/fanotify/max_queued_events"]
        {
            let failed = |error: std::io::Error| format!("{file}: {error}");
            let old = std::fs::read_to_string(file).map_err(failed)?;
            std::fs::write(file, FEW_EVENTS).map_err(failed)?;
            limits.0.push((file, old));
        }
        Ok(limits)
    }
}

impl Drop for Limits {
    fn drop(&mut self) {
        for (file, old) in &self.0 {
            if let Err(error) = std::fs::write(file, old) {
                eprintln!("{file}: {error}; it was {old}");
            }
        }
    }
}
