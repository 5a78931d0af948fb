//! `livemirror serve --status`: who is connected, how the others went, and who may ask.

// A rule that cannot be checked is a failure.
#![allow(clippy::unwrap_used, clippy::panic)]

use std::fs;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use livemirror_tests::peer::{self, Programs, Server, Side};
use serde_json::Value;

const LIMIT: Duration = Duration::from_secs(20);
const GREETING: &[u8] = b"@RSYNCD: 32.0 sha512 sha256 sha1 md5 md4\n";

struct Daemon {
    programs: &'static Programs,
    dir: PathBuf,
    server: Option<Server>,
    port: u16,
}

impl Daemon {
    fn start(name: &str) -> Option<Daemon> {
        let programs = Programs::find()?;
        let dir = std::env::temp_dir().join(format!("lm-serve-{name}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&dir);
        fs::create_dir_all(dir.join("tree")).unwrap();
        fs::write(dir.join("tree/large"), vec![7; 1 << 20]).unwrap();
        fs::write(dir.join("secrets"), "bob:pw\n").unwrap();
        fs::set_permissions(dir.join("secrets"), fs::Permissions::from_mode(0o600)).unwrap();
        let (uid, gid) = (rustix::process::getuid(), rustix::process::getgid());
        let ids = match uid.is_root() {
            true => format!("uid = {}\ngid = {}\n", uid.as_raw(), gid.as_raw()),
            false => String::new(),
        };
        let tree = format!("path = {}/tree\n", dir.display());
        let config = format!(
            "log file = {0}/log\nlock file = {0}/lock\nuse chroot = no\n{ids}[m]\n{tree}[one]\n\
             {tree}max connections = 1\nauth users = bob\nsecrets file = {0}/secrets\n[closed]\n\
             {tree}hosts deny = *\n[login]\n{tree}auth users = bob\nsecrets file = {0}/secrets\n\
             [picky]\n{tree}refuse options = checksum\n",
            dir.display()
        );
        fs::write(dir.join("conf"), config).unwrap();
        let port = peer::free_port();
        let text = |path: PathBuf| path.into_os_string().into_string().unwrap();
        let words = [
            text(programs.livemirror().to_path_buf()),
            "serve".to_owned(),
            text(dir.join("conf")),
            format!("--port={port}"),
            "--address=127.0.0.1".to_owned(),
            format!("--socket={}", dir.join("socket").display()),
        ];
        let server = Server::run(&words, port, &dir.join("said")).unwrap();
        Some(Daemon { programs, dir, server: Some(server), port })
    }

    fn asking(&self) -> Command {
        let mut command = Command::new(self.programs.livemirror());
        command.args(["serve", "--status"]);
        command.arg(format!("--socket={}", self.dir.join("socket").display()));
        command
    }

    fn status(&self) -> Value {
        let mut command = self.asking();
        command.arg("--json");
        let run = peer::run(command, Vec::new(), LIMIT);
        let said = String::from_utf8_lossy(&run.stderr).into_owned();
        assert_eq!((run.code, said.as_str()), (Some(0), ""));
        serde_json::from_slice(&run.stdout).unwrap()
    }

    /// Waits until the status is as wanted.
    fn until(&self, what: &str, wanted: impl Fn(&Value) -> bool) -> Value {
        let start = Instant::now();
        loop {
            let status = self.status();
            if wanted(&status) {
                return status;
            }
            assert!(start.elapsed() < LIMIT, "never {what}: {status:#}");
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// A client that says its lines and waits.
    fn says(&self, line: &str) -> TcpStream {
        let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, self.port)).unwrap();
        stream.set_read_timeout(Some(LIMIT)).unwrap();
        stream.write_all(&[GREETING, line.as_bytes()].concat()).unwrap();
        stream
    }

    fn client(&self, args: &[&str], from: &str) -> Child {
        let mut command = Command::new(&self.programs.words(Side::Theirs)[0]);
        command.args(args).arg(format!("rsync://bob@127.0.0.1:{}/{from}", self.port));
        command.arg(self.dir.join("got")).env("RSYNC_PASSWORD", "pw");
        command.stdin(Stdio::null()).stderr(Stdio::null()).spawn().unwrap()
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        self.server = None;
        let _ = fs::remove_dir_all(&self.dir);
    }
}

/// Every connection that was accepted is there, or has ended, or was refused.
fn adds_up(status: &Value) {
    let refused: u64 =
        status["refused"].as_object().unwrap().values().map(|n| n.as_u64().unwrap()).sum();
    let there = status["connections"].as_array().unwrap().len() as u64;
    let ended = status["ended"].as_u64().unwrap();
    assert_eq!(status["accepted"].as_u64(), Some(there + ended + refused), "{status:#}");
}

#[test]
fn connections_are_told_and_refusals_counted() {
    let Some(daemon) = Daemon::start("counts") else { return };
    // Who asks whether the daemon listens is a connection too, one that leaves.
    let first = daemon.until("left", |status| status["refused"]["left"] == 1);
    assert_eq!((&first["accepted"], &first["port"]), (&1.into(), &daemon.port.into()));

    let mut transfer = daemon.client(&["--bwlimit=300"], "one/large");
    let known = |status: &Value| status["connections"][0]["bytes_per_s"].as_u64() > Some(0);
    let status = daemon.until("moving", known);
    adds_up(&status);
    let one = &status["connections"][0];
    let told = ["address", "module", "user", "step", "direction"].map(|key| one[key].as_str());
    assert_eq!(told, ["127.0.0.1", "one", "bob", "transfer", "sending"].map(Some));
    assert!(one["sent"].as_u64().unwrap() > 10_000 && one["sent"].as_u64().unwrap() < 1 << 20);
    assert!(one["bytes_per_s"].as_u64().unwrap() < 3_000_000, "{one:#}");
    let text = peer::run(daemon.asking(), Vec::new(), LIMIT).stdout;
    let text = String::from_utf8(text).unwrap();
    assert!(text.contains(" 1 there, ") && text.contains("bob@"), "{text}");
    assert!(text.contains(": sending from one, since 20"), "{text}");

    let refused = |line: &str| {
        let mut told = String::new();
        daemon.says(line).read_to_string(&mut told).unwrap();
        told
    };
    assert!(refused("one\n").contains("max connections (1) reached"));
    assert!(refused("nothing\n").contains("Unknown module"));
    assert!(refused("closed\n").contains("access denied"));
    assert!(refused("login\nbob x\n").contains("auth failed"));
    assert!(refused("#list\n").contains("picky"));
    assert_eq!(daemon.client(&["-c"], "picky/large").wait().unwrap().code(), Some(4));
    let waiting = daemon.says("login\n");
    let status = daemon.until("waiting", |status| status["connections"][1]["step"] == "login");
    adds_up(&status);
    let counted = serde_json::json!({
        "left": 1, "max-connections": 1, "module": 1, "hosts": 1, "login": 1, "options": 1,
    });
    assert_eq!((&status["refused"], &status["ended"]), (&counted, &1.into()), "the list ended");

    drop(waiting);
    assert!(transfer.wait().unwrap().success());
    let end = daemon.until("over", |status| status["connections"].as_array().unwrap().is_empty());
    adds_up(&end);
    let numbers = ["accepted", "ended", "failed"].map(|key| end[key].as_u64().unwrap());
    assert_eq!(numbers, [9, 2, 0]);
    assert_eq!(end["refused"]["left"], 2);
    assert!(end["sent"].as_u64().unwrap() > 1 << 20, "{end:#}");
}

#[test]
fn a_killed_connection_is_counted_and_who_does_not_read_holds_nobody_up() {
    let Some(daemon) = Daemon::start("killed") else { return };
    let mut transfer = daemon.client(&["--bwlimit=300"], "m/large");
    let status = daemon.until("there", |status| status["connections"][0]["step"] == "transfer");
    let pid = status["connections"][0]["pid"].as_i64().unwrap();
    let pid = rustix::process::Pid::from_raw(i32::try_from(pid).unwrap()).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
    daemon.until("counted", |status| status["failed"] == 1);
    assert!(!transfer.wait().unwrap().success());
    // Askers that do not read, and clients meanwhile.
    let idle: Vec<UnixStream> =
        (0..20).map(|_| UnixStream::connect(daemon.dir.join("socket")).unwrap()).collect();
    let start = Instant::now();
    assert!(daemon.client(&[], "m/large").wait().unwrap().success());
    assert!(start.elapsed() < Duration::from_secs(5), "the listener waits for who asks");
    drop(idle);
    adds_up(&daemon.status());
}

#[test]
fn strangers_are_told_nothing() {
    let Some(daemon) = Daemon::start("strangers") else { return };
    let socket = daemon.dir.join("socket");
    assert_eq!(fs::metadata(&socket).unwrap().mode() & 0o777, 0o600);
    if !rustix::process::geteuid().is_root() {
        return;
    }
    fs::set_permissions(&daemon.dir, fs::Permissions::from_mode(0o755)).unwrap();
    let ours = daemon.dir.join("livemirror");
    fs::copy(daemon.programs.livemirror(), &ours).unwrap();
    let asks = || {
        let mut command = Command::new(&ours);
        command.args(["serve", "--status"]).arg(format!("--socket={}", socket.display()));
        command.uid(65_534).gid(65_534);
        let run = peer::run(command, Vec::new(), LIMIT);
        (run.code, run.stdout.len(), String::from_utf8_lossy(&run.stderr).into_owned())
    };
    let (code, told, why) = asks();
    assert_eq!((code, told), (Some(1), 0));
    assert!(why.ends_with("permission denied; ask as the user who runs the daemon\n"), "{why}");
    // Not even when the mode of the socket lets everybody connect.
    fs::set_permissions(&socket, fs::Permissions::from_mode(0o777)).unwrap();
    let (code, told, why) = asks();
    assert_eq!((code, told), (Some(1), 0));
    assert!(why.ends_with("no answer\n"), "{why}");
}

#[test]
fn a_daemon_that_ends_leaves_no_socket_and_a_second_one_does_without() {
    let Some(daemon) = Daemon::start("end") else { return };
    let mut second = Command::new(daemon.programs.livemirror());
    second.arg("serve").arg(daemon.dir.join("conf")).args(["--port=0", "--address=127.0.0.1"]);
    second.arg(format!("--socket={}", daemon.dir.join("socket").display()));
    let mut second = second.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let log = || fs::read_to_string(daemon.dir.join("log")).unwrap();
    let start = Instant::now();
    while !log().contains("there will be no status: a daemon of this name runs already") {
        assert!(start.elapsed() < LIMIT, "{}", log());
        std::thread::sleep(Duration::from_millis(10));
    }
    assert_eq!(daemon.status()["port"], daemon.port, "the first one answers");
    let stop = |child: &mut Child| {
        let pid = rustix::process::Pid::from_child(child);
        rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
        child.wait().unwrap().code()
    };
    assert_eq!(stop(&mut second), Some(0));
    assert!(daemon.dir.join("socket").exists(), "of the one that runs");
    let pid = daemon.status()["pid"].as_i64().unwrap();
    let pid = rustix::process::Pid::from_raw(i32::try_from(pid).unwrap()).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
    let start = Instant::now();
    while daemon.dir.join("socket").exists() {
        assert!(start.elapsed() < LIMIT);
        std::thread::sleep(Duration::from_millis(10));
    }
    let run = peer::run(daemon.asking(), Vec::new(), LIMIT);
    assert_eq!(run.code, Some(1));
    assert!(String::from_utf8_lossy(&run.stderr).ends_with("no daemon runs by this name\n"));
}
