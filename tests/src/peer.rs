//! Finds the programs under test, runs them with a time limit, and keeps servers for as long as a
//! test needs them. Called by the matrix.
//!
//! A server hangs on a pipe that the test process holds, so it ends even when the test is killed.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddrV4, TcpListener, TcpStream};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

/// How long output may go on after the program itself has ended, before what is left is killed.
const DRAIN_MAX: Duration = Duration::from_secs(2);
/// How long a server may take until it listens.
const LISTEN_MAX: Duration = Duration::from_secs(20);

/// Which of the two programs plays a part.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Side {
    /// livemirror.
    Ours,
    /// The reference.
    Theirs,
}

impl Side {
    /// `ours` or `theirs`.
    pub fn word(self) -> &'static str {
        match self {
            Side::Ours => "ours",
            Side::Theirs => "theirs",
        }
    }
}

/// The two programs: where they are.
pub struct Programs {
    ours: PathBuf,
    theirs: PathBuf,
}

impl Programs {
    /// Our program itself, for its other doors.
    pub fn livemirror(&self) -> &Path {
        &self.ours
    }

    /// Finds both; `None` when `LIVEMIRROR_NO_ORACLE=1` says that the reference is not to be had.
    ///
    /// Ours is `LIVEMIRROR_BIN`, or else is built here beside the running test.
    ///
    /// # Panics
    /// When either is missing, or the reference is not the release that the suite is made for.
    pub fn find() -> Option<&'static Programs> {
        static FOUND: OnceLock<Option<Programs>> = OnceLock::new();
        FOUND
            .get_or_init(|| {
                if std::env::var_os("LIVEMIRROR_NO_ORACLE").is_some_and(|v| v == "1") {
                    return None;
                }
                let theirs = on_path("rsync").expect(
                    "the matrix compares with the program `rsync` 3.5.x, which is not on PATH \
                     (LIVEMIRROR_NO_ORACLE=1 leaves these tests out)",
                );
                let version = Command::new(&theirs).arg("--version").output().expect("run rsync");
                let version = String::from_utf8_lossy(&version.stdout).into_owned();
                let first = version.lines().next().unwrap_or_default();
                assert!(
                    first.contains("version 3.5."),
                    "the matrix compares with rsync 3.5.x, found: {first} \
                     (LIVEMIRROR_NO_ORACLE=1 leaves these tests out)"
                );
                Some(Programs { ours: build_ours(), theirs })
            })
            .as_ref()
    }

    /// The same programs, with ours replaced by a copy that no later build changes.
    pub fn with_copy_of_ours(&self, to: PathBuf) -> Programs {
        std::fs::copy(&self.ours, &to).expect("copy livemirror");
        Programs { ours: to, theirs: self.theirs.clone() }
    }

    /// The words that start rsync's command line on this side.
    pub fn words(&self, side: Side) -> Vec<String> {
        let text = |path: &Path| path.to_str().expect("a program's path in UTF-8").to_owned();
        match side {
            Side::Ours => vec![text(&self.ours), "rsync".to_owned()],
            Side::Theirs => vec![text(&self.theirs)],
        }
    }
}

fn on_path(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|dir| dir.join(name)).find(|file| file.is_file())
}

fn build_ours() -> PathBuf {
    if let Some(path) = std::env::var_os("LIVEMIRROR_BIN") {
        return PathBuf::from(path);
    }
    let test = std::env::current_exe().expect("the test's own path");
    let profile_dir = test.parent().and_then(Path::parent).expect("target/PROFILE/deps/TEST");
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.args(["build", "--quiet", "-p", "livemirror", "--bin", "livemirror", "--target-dir"]);
    cargo.arg(profile_dir.parent().expect("target")).current_dir(env!("CARGO_MANIFEST_DIR"));
    if profile_dir.ends_with("release") {
        cargo.arg("--release");
    }
    assert!(cargo.status().expect("run cargo").success(), "livemirror does not build");
    profile_dir.join("livemirror")
}

/// What a program did.
pub struct Run {
    /// Exit status; `None` when it had to be killed at the time limit.
    pub code: Option<i32>,
    /// Standard output.
    pub stdout: Vec<u8>,
    /// Standard error.
    pub stderr: Vec<u8>,
}

/// Runs `command` in a process group of its own, feeds it `stdin`, and kills the group at `limit`.
pub fn run(mut command: Command, stdin: Vec<u8>, limit: Duration) -> Run {
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).process_group(0);
    let mut child = command.spawn().expect("start a program");
    let mut input = child.stdin.take().expect("a pipe");
    let feeder = std::thread::spawn(move || {
        // A program that does not want its input closes it, which is not a fault.
        let _ = input.write_all(&stdin);
    });
    let stdout = collect(child.stdout.take().expect("a pipe"));
    let stderr = collect(child.stderr.take().expect("a pipe"));
    let start = Instant::now();
    let code = loop {
        if let Some(status) = child.try_wait().expect("wait") {
            break Some(status.code().unwrap_or(-1));
        }
        if start.elapsed() > limit {
            break None;
        }
        std::thread::sleep(Duration::from_millis(2));
    };
    if code.is_none() {
        kill_group(&child);
    }
    let mut outputs = [stdout.recv_timeout(DRAIN_MAX).ok(), stderr.recv_timeout(DRAIN_MAX).ok()];
    if outputs.iter().any(Option::is_none) {
        kill_group(&child);
        for (output, late) in outputs.iter_mut().zip([&stdout, &stderr]) {
            if output.is_none() {
                *output = late.recv().ok();
            }
        }
    }
    let _ = child.wait();
    let _ = feeder.join();
    let [stdout, stderr] = outputs.map(Option::unwrap_or_default);
    Run { code, stdout, stderr }
}

fn kill_group(child: &Child) {
    let pid = rustix::process::Pid::from_child(child);
    // Nobody may be left in the group, which is as good.
    let _ = rustix::process::kill_process_group(pid, rustix::process::Signal::KILL);
}

fn collect(mut pipe: impl Read + Send + 'static) -> Receiver<Vec<u8>> {
    let (sender, receiver) = channel();
    std::thread::spawn(move || {
        let mut all = Vec::new();
        let _ = pipe.read_to_end(&mut all);
        let _ = sender.send(all);
    });
    receiver
}

/// A port of the loop-back address that nobody listens on at this moment.
///
/// It lies below the range that the kernel takes the ports of outgoing connections from: from
/// within that range a connection attempt to a port without a listener can be given that very port
/// as its own and reach itself, and any connection of a neighbour can take the port away.
///
/// # Panics
/// When no port of the range is free.
pub fn free_port() -> u16 {
    const FIRST: u16 = 10_000;
    const COUNT: u32 = 20_000;
    // Each process begins elsewhere, and no process hands a port out twice before it has to.
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let begin = std::process::id().wrapping_mul(0x9E37_79B1) >> 8;
    let ports = (0..COUNT).map(|_| {
        let step = NEXT.fetch_add(1, Ordering::Relaxed);
        let within = u16::try_from(begin.wrapping_add(step) % COUNT).expect("below COUNT");
        FIRST + within
    });
    let mut free = ports.filter(|port| TcpListener::bind((Ipv4Addr::LOCALHOST, *port)).is_ok());
    free.next().expect("a free port")
}

/// A daemon that ends with this value, or with the test process.
pub struct Server {
    /// Where it listens, on the loop-back address.
    pub port: u16,
    shell: Child,
    leash: Option<ChildStdin>,
}

impl Server {
    /// Starts `words` as a daemon with the configuration `config`; its output goes to `log`.
    ///
    /// # Errors
    /// Text, when it does not listen in time; it holds what the program said.
    pub fn start(words: &[String], config: &Path, log: &Path) -> Result<Server, String> {
        let port = free_port();
        Server::run(&Server::words(words, port, config), port, log)
    }

    /// The command line of a daemon with a configuration.
    pub fn words(program: &[String], port: u16, config: &Path) -> Vec<String> {
        let mut words = program.to_vec();
        words.extend(["--daemon", "--no-detach", "--address=127.0.0.1"].map(str::to_owned));
        words.push(format!("--port={port}"));
        words.push(format!("--config={}", config.display()));
        words
    }

    /// Starts a whole command line that listens on `port`; its output goes to `log`.
    ///
    /// # Errors
    /// As [`Server::start`].
    pub fn run(words: &[String], port: u16, log: &Path) -> Result<Server, String> {
        let address = SocketAddrV4::new(Ipv4Addr::LOCALHOST, port);
        Server::run_until(words, port, log, || greets(address))
    }

    /// The same for a daemon that greets not everybody: `ready` says whether it listens.
    ///
    /// # Errors
    /// As [`Server::start`].
    pub fn run_until(
        words: &[String],
        port: u16,
        log: &Path,
        ready: impl Fn() -> bool,
    ) -> Result<Server, String> {
        let log_file = std::fs::File::create(log).expect("a log file");
        let mut shell = Command::new("/bin/sh");
        // The shell ends its child when the pipe closes; a child that ends first is told by a mark.
        shell.args(["-c", "{ \"$@\"; echo \"ended with $?\"; } & read x; kill -9 -$$", "sh"]);
        shell.args(words);
        shell.stdin(Stdio::piped()).stdout(log_file.try_clone().expect("dup")).stderr(log_file);
        shell.process_group(0).env("LC_ALL", "C").env("TZ", "UTC");
        let mut shell = shell.spawn().expect("start a shell");
        let leash = shell.stdin.take();
        let server = Server { port, shell, leash };
        let start = Instant::now();
        loop {
            if ready() {
                return Ok(server);
            }
            let said = std::fs::read(log).unwrap_or_default();
            let said = String::from_utf8_lossy(&said);
            if said.contains("ended with") || start.elapsed() > LISTEN_MAX {
                return Err(format!("the daemon does not listen: {said}"));
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

/// Whether a daemon answers there. A neighbour that only tries whether the port is free listens too,
/// for a moment, and says nothing.
fn greets(address: SocketAddrV4) -> bool {
    let Ok(mut stream) = TcpStream::connect(address) else { return false };
    let mut greeting = [0; 8];
    stream.set_read_timeout(Some(LISTEN_MAX)).is_ok()
        && stream.read_exact(&mut greeting).is_ok()
        && greeting == *b"@RSYNCD:"
}

impl Drop for Server {
    fn drop(&mut self) {
        self.leash = None;
        kill_group(&self.shell);
        let _ = self.shell.wait();
    }
}
