//! Programs under measurement: a daemon on a free port, a run with its cost, a look at one that
//! goes on. Called by the two benches.

use std::net::{Ipv4Addr, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use livemirror_tests::peer::free_port;

use super::Bench;

/// Ticks a second in /proc, the same on every architecture of interest.
const TICKS: f64 = 100.0;
/// How long a daemon may take until it listens.
const LISTEN_MAX: Duration = Duration::from_secs(10);

/// What a run cost.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Usage {
    /// Seconds from start to end.
    pub(super) wall: f64,
    /// Seconds of processor time, of the program and of the children it waited for.
    pub(super) cpu: f64,
    /// Most memory of one process, in KiB.
    pub(super) peak_kib: f64,
}

/// Runs a program to its end. One that fails is an error.
pub(super) fn measured(command: &mut Command) -> Result<Usage, String> {
    let shown = format!("{command:?}");
    let started = Instant::now();
    let child = command.spawn().map_err(|error| format!("{shown}: {error}"))?;
    let (status, usage) = wait(&child)?;
    let wall = started.elapsed().as_secs_f64();
    let seconds = |time: libc::timeval| time.tv_sec as f64 + time.tv_usec as f64 / 1e6;
    if status != 0 {
        return Err(format!("{shown}: ended with wait status {status:#x}"));
    }
    Ok(Usage {
        wall,
        cpu: seconds(usage.ru_utime) + seconds(usage.ru_stime),
        peak_kib: usage.ru_maxrss as f64,
    })
}

#[allow(unsafe_code)]
fn wait(child: &Child) -> Result<(i32, libc::rusage), String> {
    let mut status = 0;
    // SAFETY: a rusage is plain numbers, for which zeros are valid.
    let mut usage: libc::rusage = unsafe { std::mem::zeroed() };
    let pid = child.id().cast_signed();
    // SAFETY: both pointers are to live locals; the process is our own child, not yet waited for.
    if unsafe { libc::wait4(pid, &raw mut status, 0, &raw mut usage) } == pid {
        Ok((status, usage))
    } else {
        Err(format!("wait4: {}", std::io::Error::last_os_error()))
    }
}

/// A program that runs until it is dropped.
pub(super) struct Running(Child);

impl Running {
    /// Starts it; what it says goes nowhere.
    pub(super) fn start(command: &mut Command) -> Result<Running, String> {
        let shown = format!("{command:?}");
        let child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        child.spawn().map(Running).map_err(|error| format!("{shown}: {error}"))
    }

    /// Processor seconds so far, of it and of the children it waited for.
    pub(super) fn cpu(&self) -> f64 {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.0.id()));
        let stat = stat.unwrap_or_default();
        // The name, in brackets, may hold blanks; the times are fields 14 to 17.
        let after = stat.rsplit_once(')').map_or("", |(_, rest)| rest);
        let ticks: f64 =
            after.split_whitespace().skip(11).take(4).filter_map(|n| n.parse::<f64>().ok()).sum();
        ticks / TICKS
    }

    /// Most memory so far, in KiB.
    pub(super) fn peak_kib(&self) -> f64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.0.id()));
        let status = status.unwrap_or_default();
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap_or("");
        line.split_whitespace().next().and_then(|n| n.parse().ok()).unwrap_or(0.0)
    }

    /// Stops it where it is; what is sent to it waits.
    pub(super) fn pause(&self) -> Result<(), String> {
        self.signal(libc::SIGSTOP)
    }

    /// Ends the pause.
    pub(super) fn go_on(&self) -> Result<(), String> {
        self.signal(libc::SIGCONT)
    }

    #[allow(unsafe_code)]
    fn signal(&self, signal: i32) -> Result<(), String> {
        // SAFETY: kill takes plain numbers; the process is our own child, not yet waited for.
        match unsafe { libc::kill(self.0.id().cast_signed(), signal) } {
            0 => Ok(()),
            _ => Err(format!("kill: {}", std::io::Error::last_os_error())),
        }
    }

    /// An error if it has ended.
    pub(super) fn check(&mut self, name: &str) -> Result<(), String> {
        match self.0.try_wait() {
            Ok(None) => Ok(()),
            Ok(Some(status)) => Err(format!("{name} ended: {status}")),
            Err(error) => Err(format!("{name}: {error}")),
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A daemon with one module `copy`, and where its clients send to.
pub(super) struct Daemon {
    /// The process.
    pub(super) running: Running,
    /// `rsync://127.0.0.1:PORT/copy/`.
    pub(super) url: String,
}

/// Starts the daemon that the command line chose.
pub(super) fn daemon(bench: &Bench, target: &Path) -> Result<Daemon, String> {
    let port = free_port();
    let config = bench.place.0.join("rsyncd.conf");
    let text = format!(
        "use chroot = no\nuid = {}\ngid = {}\n[copy]\npath = {}\nread only = no\n",
        owner(&bench.place.0).0,
        owner(&bench.place.0).1,
        target.display()
    );
    std::fs::write(&config, text).map_err(|error| format!("{}: {error}", config.display()))?;
    let mut command;
    if bench.own_daemon {
        command = Command::new(&bench.livemirror);
        command.arg("serve").arg(&config);
    } else {
        command = Command::new("rsync");
        command.args(["--daemon", "--no-detach"]).arg("--config").arg(&config);
    }
    command.args(["--address", "127.0.0.1", "--port", &port.to_string()]);
    let mut running = Running::start(&mut command)?;
    let started = Instant::now();
    while TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_err() {
        running.check("the daemon")?;
        if started.elapsed() > LISTEN_MAX {
            return Err("the daemon does not listen".into());
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    Ok(Daemon { running, url: format!("rsync://127.0.0.1:{port}/copy/") })
}

/// Who owns what this process makes.
fn owner(path: &Path) -> (u32, u32) {
    use std::os::unix::fs::MetadataExt;
    std::fs::metadata(path).map_or((0, 0), |meta| (meta.uid(), meta.gid()))
}

/// System calls of a run, counted by strace over all its threads and children.
pub(super) fn system_calls(bench: &Bench, command: &Command) -> Result<u64, String> {
    let table = bench.place.0.join("strace.txt");
    let mut traced = Command::new("strace");
    traced.args(["-f", "-c", "-o"]).arg(&table).arg(command.get_program());
    measured(traced.args(command.get_args()).stdout(Stdio::null()))?;
    let text = std::fs::read_to_string(&table).map_err(|error| format!("strace: {error}"))?;
    let total = text.lines().find(|line| line.trim_end().ends_with(" total")).unwrap_or("");
    // % time, seconds, usecs/call, calls, (errors,) name
    let calls = total.split_whitespace().nth(3).and_then(|n| n.parse().ok());
    calls.ok_or_else(|| "strace gave no total".to_string())
}
