//! Programs under measurement: a daemon on a free port, a run with its cost, a look at one that
//! goes on. Called by the benches and by the churn.

use std::fs::File;
use std::net::{Ipv4Addr, TcpStream};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use livemirror_tests::peer::free_port;
use rustix::process::{Pid, Signal, kill_process, kill_process_group};

use crate::arguments::Arguments;

/// Ticks a second in /proc, the same on every architecture of interest.
const TICKS: f64 = 100.0;
/// How long a daemon may take until it listens.
const LISTEN_MAX: Duration = Duration::from_secs(10);

/// What a run cost.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Usage {
    /// Seconds from start to end.
    pub(crate) wall: f64,
    /// Seconds of processor time, of the program and of the children it waited for.
    pub(crate) cpu: f64,
    /// Most memory of one process, in KiB.
    pub(crate) peak_kib: f64,
}

/// Between two looks at the memory of a program that runs to its end.
const MEMORY_LOOK: Duration = Duration::from_millis(10);

/// Runs a program to its end. One that fails is an error. Its peak memory is looked at while it
/// runs: what the kernel tells after its end is at least what this process itself had.
pub(crate) fn measured(command: &mut Command) -> Result<Usage, String> {
    let shown = format!("{command:?}");
    let started = Instant::now();
    let child = command.spawn().map_err(|error| format!("{shown}: {error}"))?;
    let over = AtomicBool::new(false);
    let (waited, wall, peak_kib) = std::thread::scope(|scope| {
        let looks = scope.spawn(|| {
            let mut peak_kib = 0.0;
            while !over.load(Ordering::Relaxed) {
                peak_kib = f64::max(peak_kib, peak_of(child.id()));
                std::thread::sleep(MEMORY_LOOK);
            }
            peak_kib
        });
        let waited = wait(&child);
        let wall = started.elapsed().as_secs_f64();
        over.store(true, Ordering::Relaxed);
        (waited, wall, looks.join().unwrap_or(0.0))
    });
    let (status, usage) = waited?;
    let seconds = |time: libc::timeval| time.tv_sec as f64 + time.tv_usec as f64 / 1e6;
    if status != 0 {
        return Err(format!("{shown}: ended with wait status {status:#x}"));
    }
    Ok(Usage { wall, cpu: seconds(usage.ru_utime) + seconds(usage.ru_stime), peak_kib })
}

/// Most memory of a process so far, in KiB; 0 where it has ended.
fn peak_of(pid: u32) -> f64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap_or("");
    line.split_whitespace().next().and_then(|n| n.parse().ok()).unwrap_or(0.0)
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

/// A program that runs until it is dropped, with whatever it started.
pub(crate) struct Running {
    child: Child,
    /// What it started is to go on after it.
    alone: bool,
}

impl Running {
    /// Starts it in a process group of its own; what it says goes nowhere.
    pub(crate) fn start(command: &mut Command) -> Result<Running, String> {
        Running::spawn(command.stdout(Stdio::null()).stderr(Stdio::null()))
    }

    /// The same, with what it says at the end of `log`.
    pub(crate) fn start_logged(command: &mut Command, log: &Path) -> Result<Running, String> {
        let failed = |error: std::io::Error| format!("{}: {error}", log.display());
        let out = File::options().create(true).append(true).open(log).map_err(failed)?;
        let err = out.try_clone().map_err(failed)?;
        Running::spawn(command.stdout(out).stderr(err))
    }

    fn spawn(command: &mut Command) -> Result<Running, String> {
        let shown = format!("{command:?}");
        let child = command.stdin(Stdio::null()).process_group(0).spawn();
        child
            .map(|child| Running { child, alone: false })
            .map_err(|error| format!("{shown}: {error}"))
    }

    /// Stops this process, or lets it go on.
    pub(crate) fn hold(&self, hold: bool) {
        let signal = if hold { Signal::STOP } else { Signal::CONT };
        // One that has ended is noticed by [`Running::check`].
        let _ = kill_process(Pid::from_child(&self.child), signal);
    }

    /// Kills this process alone: what it started goes on.
    pub(crate) fn kill_alone(mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        self.alone = true;
    }

    /// Processor seconds so far, of it and of the children it waited for.
    pub(crate) fn cpu(&self) -> f64 {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.child.id()));
        let stat = stat.unwrap_or_default();
        // The name, in brackets, may hold blanks; the times are fields 14 to 17.
        let after = stat.rsplit_once(')').map_or("", |(_, rest)| rest);
        let ticks: f64 =
            after.split_whitespace().skip(11).take(4).filter_map(|n| n.parse::<f64>().ok()).sum();
        ticks / TICKS
    }

    /// Most memory so far, in KiB.
    pub(crate) fn peak_kib(&self) -> f64 {
        peak_of(self.child.id())
    }

    /// Stops it where it is; what is sent to it waits.
    pub(crate) fn pause(&self) -> Result<(), String> {
        self.signal(libc::SIGSTOP)
    }

    /// Ends the pause.
    pub(crate) fn go_on(&self) -> Result<(), String> {
        self.signal(libc::SIGCONT)
    }

    #[allow(unsafe_code)]
    fn signal(&self, signal: i32) -> Result<(), String> {
        // SAFETY: kill takes plain numbers; the process is our own child, not yet waited for.
        match unsafe { libc::kill(self.child.id().cast_signed(), signal) } {
            0 => Ok(()),
            _ => Err(format!("kill: {}", std::io::Error::last_os_error())),
        }
    }

    /// An error if it has ended.
    pub(crate) fn check(&mut self, name: &str) -> Result<(), String> {
        match self.child.try_wait() {
            Ok(None) => Ok(()),
            Ok(Some(status)) => Err(format!("{name} ended: {status}")),
            Err(error) => Err(format!("{name}: {error}")),
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if self.alone {
            return;
        }
        let group = Pid::from_child(&self.child);
        // Nobody may be left in the group, which is as good.
        let _ = kill_process_group(group, Signal::KILL);
        let _ = self.child.wait();
    }
}

/// Whose daemon takes the transfers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum DaemonKind {
    /// The reference's.
    Rsync,
    /// `livemirror serve`.
    Livemirror,
}

impl DaemonKind {
    /// From `--daemon`.
    pub(crate) fn from_arguments(args: &mut Arguments) -> Result<DaemonKind, String> {
        match args.text("daemon").as_deref() {
            None | Some("rsync") => Ok(DaemonKind::Rsync),
            Some("livemirror") => Ok(DaemonKind::Livemirror),
            Some(other) => Err(format!("--daemon: {other} is neither rsync nor livemirror")),
        }
    }
}

/// A daemon with one module `copy`, and where its clients send to.
pub(crate) struct Daemon {
    /// The process.
    pub(crate) running: Running,
    /// `rsync://127.0.0.1:PORT/copy/`.
    pub(crate) url: String,
}

/// How a daemon is started, as often as it takes, always at one port.
pub(crate) struct DaemonPlan {
    kind: DaemonKind,
    livemirror: PathBuf,
    config: PathBuf,
    log: PathBuf,
    port: u16,
}

impl DaemonPlan {
    /// Writes the configuration below `place`; `livemirror` is needed for that kind alone.
    pub(crate) fn new(
        kind: DaemonKind,
        livemirror: &Path,
        place: &Path,
        target: &Path,
    ) -> Result<DaemonPlan, String> {
        let config = place.join("rsyncd.conf");
        let (uid, gid) = owner(place);
        let text = format!(
            "use chroot = no\nmunge symlinks = no\nuid = {uid}\ngid = {gid}\n[copy]\npath = {}\n\
             read only = no\n",
            target.display()
        );
        std::fs::write(&config, text).map_err(|error| format!("{}: {error}", config.display()))?;
        let (livemirror, log) = (livemirror.to_path_buf(), place.join("daemon.log"));
        Ok(DaemonPlan { kind, livemirror, config, log, port: free_port() })
    }

    /// `rsync://127.0.0.1:PORT/copy/`.
    pub(crate) fn url(&self) -> String {
        format!("rsync://127.0.0.1:{}/copy/", self.port)
    }

    /// Starts it and waits until it listens.
    pub(crate) fn start(&self) -> Result<Daemon, String> {
        let mut command;
        match self.kind {
            DaemonKind::Livemirror => {
                command = Command::new(&self.livemirror);
                command.arg("serve").arg(&self.config);
            }
            DaemonKind::Rsync => {
                command = Command::new("rsync");
                command.args(["--daemon", "--no-detach"]).arg("--config").arg(&self.config);
            }
        }
        command.args(["--address", "127.0.0.1", "--port", &self.port.to_string()]);
        let mut running = Running::start_logged(&mut command, &self.log)?;
        let started = Instant::now();
        while TcpStream::connect((Ipv4Addr::LOCALHOST, self.port)).is_err() {
            running.check("the daemon")?;
            if started.elapsed() > LISTEN_MAX {
                return Err("the daemon does not listen".into());
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(Daemon { running, url: self.url() })
    }
}

/// Who owns what this process makes.
fn owner(path: &Path) -> (u32, u32) {
    use std::os::unix::fs::MetadataExt;
    std::fs::metadata(path).map_or((0, 0), |meta| (meta.uid(), meta.gid()))
}

/// System calls of a run, counted by strace over all its threads and children.
pub(crate) fn system_calls(place: &Path, command: &Command) -> Result<u64, String> {
    let table = place.join("strace.txt");
    let mut traced = Command::new("strace");
    traced.args(["-f", "-c", "-o"]).arg(&table).arg(command.get_program());
    measured(traced.args(command.get_args()).stdout(Stdio::null()))?;
    let text = std::fs::read_to_string(&table).map_err(|error| format!("strace: {error}"))?;
    let total = text.lines().find(|line| line.trim_end().ends_with(" total")).unwrap_or("");
    // % time, seconds, usecs/call, calls, (errors,) name
    let calls = total.split_whitespace().nth(3).and_then(|n| n.parse().ok());
    calls.ok_or_else(|| "strace gave no total".to_string())
}
