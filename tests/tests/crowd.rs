//! Many clients of one daemon at once: all trees equal, limits exact, little memory for who only
//! waits, nothing left behind, and a connection that is killed disturbs no other.
//!
//! `LIVEMIRROR_CROWD=200` and `LIVEMIRROR_CROWD_FILES=500` make it the long form.

// A rule that cannot be checked is a failure.
#![allow(clippy::unwrap_used, clippy::panic)]

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant, SystemTime};

use livemirror_tests::peer::{self, Programs, Server, Side};
use livemirror_tests::tree_text;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

const LIMIT: Duration = Duration::from_secs(600);
const GREETING: &[u8] = b"@RSYNCD: 32.0 sha512 sha256 sha1 md5 md4\n";
/// Private memory that a connection may have while it waits.
const IDLE_KIB_MAX: u64 = 4096;

/// A number from the environment, for the long form.
fn number(name: &str, small: usize) -> usize {
    std::env::var(name).map_or(small, |text| text.parse().unwrap())
}

struct Daemon {
    programs: &'static Programs,
    dir: PathBuf,
    server: Option<Server>,
    port: u16,
}

impl Daemon {
    fn start(name: &str) -> Option<Daemon> {
        let programs = Programs::find()?;
        let dir = std::env::temp_dir().join(format!("lm-crowd-{name}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&dir);
        fs::create_dir_all(dir.join("module")).unwrap();
        fs::create_dir_all(dir.join("clients")).unwrap();
        let (uid, gid) = (rustix::process::getuid(), rustix::process::getgid());
        let ids = match uid.is_root() {
            true => format!("uid = {}\ngid = {}\n", uid.as_raw(), gid.as_raw()),
            false => String::new(),
        };
        let tree = format!("path = {}/module\nread only = no\n", dir.display());
        let config = format!(
            "log file = {0}/log\nlock file = {0}/lock\nuse chroot = no\nlisten backlog = 200\n{ids}\
             [m]\n{tree}[few]\n{tree}max connections = 7\n",
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

    fn status(&self) -> Value {
        let mut command = Command::new(self.programs.livemirror());
        command.args(["serve", "--status", "--json"]);
        command.arg(format!("--socket={}", self.dir.join("socket").display()));
        let run = peer::run(command, Vec::new(), LIMIT);
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
            assert!(start.elapsed() < Duration::from_secs(60), "never {what}: {status:#}");
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Waits until no connection is there, and no process that the listener has started.
    fn until_empty(&self) -> Value {
        let status =
            self.until("empty", |status| status["connections"].as_array().unwrap().is_empty());
        let start = Instant::now();
        while !children(status["pid"].as_u64().unwrap()).is_empty() {
            assert!(start.elapsed() < Duration::from_secs(30), "processes are left behind");
            std::thread::sleep(Duration::from_millis(20));
        }
        status
    }

    /// A client of either kind, which pushes or pulls a tree.
    fn client(&self, side: Side, words: &[&str], from: &str, to: &str) -> Child {
        let program = self.programs.words(side);
        let mut command = Command::new(&program[0]);
        let here = |path: &str| match path.strip_prefix("MODULE/") {
            Some(path) => format!("rsync://127.0.0.1:{}/m/{path}", self.port),
            None => self.dir.join(path).to_str().unwrap().to_owned(),
        };
        command.args(&program[1..]).arg("-a").args(words).arg(here(from)).arg(here(to));
        command.stdin(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap()
    }

    /// A client that has named a module and says no more; `None` if it was refused.
    fn waits(&self, module: &str) -> Option<TcpStream> {
        let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, self.port)).unwrap();
        stream.write_all(&[GREETING, module.as_bytes(), b"\n"].concat()).unwrap();
        let mut lines = BufReader::new(stream.try_clone().unwrap()).lines().map(Result::unwrap);
        assert!(lines.next().unwrap().starts_with("@RSYNCD: 32.0"));
        match lines.next().unwrap().as_str() {
            "@RSYNCD: OK" => Some(stream),
            "@ERROR: max connections (7) reached -- try again later" => None,
            other => panic!("{other}"),
        }
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        self.server = None;
        let _ = fs::remove_dir_all(&self.dir);
    }
}

/// Processes that another one has started.
fn children(pid: u64) -> Vec<u64> {
    let mut found = Vec::new();
    for task in fs::read_dir(format!("/proc/{pid}/task")).unwrap() {
        // A thread may have ended meanwhile.
        let text = fs::read_to_string(task.unwrap().path().join("children")).unwrap_or_default();
        found.extend(text.split_whitespace().map(|pid| pid.parse::<u64>().unwrap()));
    }
    found
}

fn private_kib(pid: u64) -> u64 {
    let text = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).unwrap();
    let lines = text.lines().filter(|line| line.starts_with("Private_"));
    lines.map(|line| line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap()).sum()
}

fn kill(pid: u64) {
    let pid = Pid::from_raw(i32::try_from(pid).unwrap()).unwrap();
    kill_process(pid, Signal::KILL).unwrap();
}

fn plant(dir: &Path, files: usize, seed: usize) {
    for at in 0..files {
        let below = dir.join(format!("d{}", at % 10));
        fs::create_dir_all(&below).unwrap();
        let text = format!("{seed} {at} ").repeat(1 + at % 40);
        fs::write(below.join(format!("f{at}")), text).unwrap();
    }
    // Times of directories are compared by their seconds, those of a copy made in the same second
    // would stay as they are.
    let old = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000_000);
    let below = fs::read_dir(dir).unwrap().map(|item| item.unwrap().path());
    for path in below.filter(|path| path.is_dir()).chain([dir.to_path_buf()]) {
        fs::File::open(path).unwrap().set_modified(old).unwrap();
    }
}

/// The client ends well, with what it says shown if not.
fn ends_well(child: Child, who: &str) {
    let output = child.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!((output.status.code(), said.as_str()), (Some(0), ""), "{who}");
}

fn same_trees(one: &Path, other: &Path) {
    let (one, other) = (tree_text::dump(one, None), tree_text::dump(other, None));
    assert!(one.len() > 10);
    assert_eq!(one, other);
}

#[test]
fn a_crowd_of_clients_is_served_and_leaves_nothing_behind() {
    let Some(daemon) = Daemon::start("served") else { return };
    let (crowd, files) = (number("LIVEMIRROR_CROWD", 20), number("LIVEMIRROR_CROWD_FILES", 60));
    plant(&daemon.dir.join("module/shared"), files, 0);
    for at in (0..crowd).filter(|at| at % 2 == 1) {
        plant(&daemon.dir.join(format!("clients/{at}")), files, at);
    }
    let clients: Vec<(usize, Child)> = (0..crowd)
        .map(|at| {
            let side = if (at / 2).is_multiple_of(2) { Side::Ours } else { Side::Theirs };
            let own = format!("clients/{at}/");
            let (from, to) = match at % 2 {
                0 => ("MODULE/shared/".to_owned(), own),
                _ => (own, format!("MODULE/pushed{at}/")),
            };
            (at, daemon.client(side, &[], &from, &to))
        })
        .collect();
    for (at, child) in clients {
        ends_well(child, &format!("client {at}"));
    }
    for at in 0..crowd {
        let copy = match at % 2 {
            0 => daemon.dir.join("module/shared"),
            _ => daemon.dir.join(format!("module/pushed{at}")),
        };
        same_trees(&daemon.dir.join(format!("clients/{at}")), &copy);
    }
    let end = daemon.until_empty();
    let refused = end["refused"].as_object().unwrap();
    // The one that left is who asked whether the daemon listens.
    assert_eq!(refused.iter().map(|(why, _)| why.as_str()).collect::<Vec<_>>(), ["left"]);
    let numbers = ["accepted", "ended", "failed"].map(|key| end[key].as_u64().unwrap());
    assert_eq!(numbers, [crowd as u64 + 1, crowd as u64, 0]);
}

#[test]
fn who_waits_takes_little_and_a_limit_is_exact() {
    let Some(daemon) = Daemon::start("limit") else { return };
    let crowd = number("LIVEMIRROR_CROWD", 20);
    let idle: Vec<_> = (0..crowd).map(|_| daemon.waits("m").unwrap()).collect();
    let status = daemon.status();
    let there = status["connections"].as_array().unwrap();
    assert_eq!(there.len(), crowd);
    for one in there {
        let kib = private_kib(one["pid"].as_u64().unwrap());
        assert!(kib < IDLE_KIB_MAX, "a connection that waits has {kib} KiB of its own");
    }
    drop(idle);
    daemon.until_empty();

    let all_at_once = |n: usize| -> Vec<TcpStream> {
        std::thread::scope(|scope| {
            let asked: Vec<_> = (0..n).map(|_| scope.spawn(|| daemon.waits("few"))).collect();
            asked.into_iter().filter_map(|one| one.join().unwrap()).collect()
        })
    };
    for _ in 0..3 {
        let mut inside = all_at_once(crowd.max(20));
        assert_eq!(inside.len(), 7);
        inside.truncate(4);
        daemon.until("three left", |status| status["connections"].as_array().unwrap().len() == 4);
        // A place is free again when the process has ended, which is a moment later.
        let pid = daemon.status()["pid"].as_u64().unwrap();
        while children(pid).len() > 4 {
            std::thread::sleep(Duration::from_millis(5));
        }
        assert_eq!(all_at_once(9).len(), 3);
        // Nor does a process that is killed keep its place.
        let status = daemon.until("four", |s| s["connections"].as_array().unwrap().len() == 4);
        kill(status["connections"][0]["pid"].as_u64().unwrap());
        daemon.until("killed", |s| s["connections"].as_array().unwrap().len() == 3);
        assert_eq!(all_at_once(9).len(), 4);
        drop(inside);
        daemon.until_empty();
    }
}

#[test]
fn a_killed_connection_disturbs_no_other() {
    let Some(daemon) = Daemon::start("killed") else { return };
    let crowd = number("LIVEMIRROR_CROWD", 20).min(60);
    for at in 0..crowd {
        let dir = daemon.dir.join(format!("clients/{at}"));
        fs::create_dir_all(&dir).unwrap();
        fs::write(dir.join("large"), vec![at as u8; 400 << 10]).unwrap();
        plant(&dir, 30, at);
    }
    let start = |at: usize, words: &[&str]| {
        let side = if at.is_multiple_of(2) { Side::Ours } else { Side::Theirs };
        daemon.client(side, words, &format!("clients/{at}/"), &format!("MODULE/pushed{at}/"))
    };
    let slow = |at| (at, start(at, &["--bwlimit=100"]));
    let clients: Vec<(usize, Child)> = (0..crowd).map(slow).collect();
    let moving = |status: &Value| {
        let all = status["connections"].as_array().unwrap();
        all.len() == crowd && all.iter().all(|one| one["received"].as_u64() > Some(20_000))
    };
    let status = daemon.until("moving", moving);
    let killed = 3;
    for one in status["connections"].as_array().unwrap().iter().step_by(crowd / killed).take(killed)
    {
        kill(one["pid"].as_u64().unwrap());
    }
    let mut failed = Vec::new();
    for (at, child) in clients {
        let output = child.wait_with_output().unwrap();
        if output.status.code() != Some(0) {
            failed.push(at);
            continue;
        }
        same_trees(
            &daemon.dir.join(format!("clients/{at}")),
            &daemon.dir.join(format!("module/pushed{at}")),
        );
    }
    assert_eq!(failed.len(), killed, "{failed:?}");
    let end = daemon.until_empty();
    assert_eq!(end["failed"].as_u64(), Some(killed as u64), "{end:#}");
    // What a killed process has left goes with the next run that deletes.
    for at in failed {
        ends_well(start(at, &["--delete"]), &format!("client {at} again"));
        same_trees(
            &daemon.dir.join(format!("clients/{at}")),
            &daemon.dir.join(format!("module/pushed{at}")),
        );
    }
    daemon.until_empty();
}
