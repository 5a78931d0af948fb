//! The kernel's fence around a module: a connection stands in it, and where the kernel has none the
//! daemon says so and serves all the same.

// A case that cannot be set up is a failure.
#![allow(clippy::unwrap_used, clippy::panic)]

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use livemirror_tests::peer::{self, Programs, Server, Side};

const LIMIT: Duration = Duration::from_secs(30);
const STATEMENT: &str = "this kernel has no landlock";

struct Place(PathBuf);

impl Place {
    fn new(name: &str) -> Place {
        let dir = format!("livemirror-fence-{}-{name}", std::process::id());
        let place = Place(std::env::temp_dir().join(dir));
        for made in ["m/d", "src", "dst"] {
            fs::create_dir_all(place.0.join(made)).unwrap();
        }
        for file in ["m/d/f", "src/new"] {
            fs::write(place.0.join(file), file).unwrap();
        }
        let (uid, gid) = (rustix::process::getuid(), rustix::process::getgid());
        let ids = match uid.is_root() {
            true => format!("uid = {}\ngid = {}\n", uid.as_raw(), gid.as_raw()),
            false => String::new(),
        };
        let path = place.0.join("m").to_str().unwrap().to_owned();
        let module = format!("path = {path}\nuse chroot = no\n");
        let config = format!("{ids}[m]\n{module}read only = no\n[ro]\n{module}");
        fs::write(place.0.join("conf"), config).unwrap();
        place
    }

    /// Runs our client here.
    fn ends(&self, programs: &Programs, words: &[&str], code: i32) {
        let client = programs.words(Side::Ours);
        let mut command = Command::new(&client[0]);
        command.args(&client[1..]).args(words).current_dir(&self.0).env("LC_ALL", "C");
        let run = peer::run(command, Vec::new(), LIMIT);
        let said = String::from_utf8_lossy(&run.stderr).into_owned();
        assert_eq!(run.code, Some(code), "{words:?}: {said}");
    }

    fn transfers_work(&self, programs: &Programs, port: u16) {
        let url = |path: &str| format!("rsync://127.0.0.1:{port}/{path}");
        self.ends(programs, &["-rt", &url("ro/d/"), "dst/"], 0);
        assert_eq!(fs::read_to_string(self.0.join("dst/f")).unwrap(), "m/d/f");
        let words = ["-rtb", "--backup-dir=/old", "--temp-dir=/d", "--partial-dir=.p"];
        for content in ["one", "three"] {
            fs::write(self.0.join("src/new"), content).unwrap();
            self.ends(programs, &[&words[..], &["src/", &url("m/up/")]].concat(), 0);
            assert_eq!(fs::read_to_string(self.0.join("m/up/new")).unwrap(), content);
        }
        assert_eq!(fs::read_to_string(self.0.join("m/old/new")).unwrap(), "one");
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// How many processes with this word in their command line have given up new privileges for good,
/// as whoever stands behind the fence has to.
fn fenced(word: &str) -> usize {
    let all = fs::read_dir("/proc").unwrap().flatten().map(|entry| entry.path());
    let ours = all.filter(|dir| {
        let line = fs::read(dir.join("cmdline")).unwrap_or_default();
        String::from_utf8_lossy(&line).contains(word)
    });
    let status = ours.map(|dir| fs::read_to_string(dir.join("status")).unwrap_or_default());
    status.filter(|text| text.contains("NoNewPrivs:\t1")).count()
}

#[test]
fn a_connection_stands_behind_the_fence() {
    // A failure would mean that nothing but this program's own care keeps a client in its module.
    let Some(programs) = Programs::find().filter(|_| tree::confine::available()) else { return };
    let place = Place::new("stands");
    let (conf, log) = (place.0.join("conf"), place.0.join("log"));
    let server = Server::start(&programs.words(Side::Ours), &conf, &log).unwrap();
    let mut stream = TcpStream::connect(("127.0.0.1", server.port)).unwrap();
    stream.write_all(b"@RSYNCD: 31.0 md5\nm\n").unwrap();
    let mut lines = BufReader::new(stream.try_clone().unwrap()).lines();
    assert!(lines.any(|line| line.unwrap() == "@RSYNCD: OK"));
    assert_eq!(fenced(conf.to_str().unwrap()), 1);
    drop(stream);
    place.transfers_work(programs, server.port);
    assert!(!fs::read_to_string(log).unwrap().contains(STATEMENT));
}

/// A daemon that ends with this value.
struct Bare(Child);

impl Drop for Bare {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Has the kernel deny that it knows the three calls of the fence.
#[allow(unsafe_code)]
fn without_fence(command: &mut Command) {
    let code = |name: u32| u16::try_from(name).unwrap();
    let line = |code: u16, yes: u8, no: u8, k: u32| libc::sock_filter { code, jt: yes, jf: no, k };
    let load = code(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS);
    let reaches = code(libc::BPF_JMP | libc::BPF_JGE | libc::BPF_K);
    let is_above = code(libc::BPF_JMP | libc::BPF_JGT | libc::BPF_K);
    let answer = code(libc::BPF_RET | libc::BPF_K);
    let first = u32::try_from(libc::SYS_landlock_create_ruleset).unwrap();
    let last = u32::try_from(libc::SYS_landlock_restrict_self).unwrap();
    let unknown = libc::SECCOMP_RET_ERRNO | u32::try_from(libc::ENOSYS).unwrap();
    let filter = [
        line(load, 0, 0, 0),
        line(reaches, 0, 2, first),
        line(is_above, 1, 0, last),
        line(answer, 0, 0, unknown),
        line(answer, 0, 0, libc::SECCOMP_RET_ALLOW),
    ];
    let set = move || {
        let mut filter = filter;
        let program = libc::sock_fprog { len: 5, filter: filter.as_mut_ptr() };
        // SAFETY: both calls take numbers and a structure that lives through the call; they are
        // safe between fork and exec.
        let done = unsafe {
            libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0
                && libc::prctl(libc::PR_SET_SECCOMP, libc::SECCOMP_MODE_FILTER, &program) == 0
        };
        if done { Ok(()) } else { Err(std::io::Error::last_os_error()) }
    };
    // SAFETY: the closure only makes two system calls on memory of its own.
    unsafe { command.pre_exec(set) };
}

#[test]
fn without_a_fence_the_daemon_says_so_and_serves() {
    // A failure would leave older kernels without a daemon, or their operators without a word.
    let Some(programs) = Programs::find() else { return };
    let place = Place::new("none");
    let port = peer::free_port();
    let words = Server::words(&programs.words(Side::Ours), port, &place.0.join("conf"));
    let mut command = Command::new(&words[0]);
    command.args(&words[1..]).stdin(Stdio::null()).stdout(Stdio::null());
    command.stderr(fs::File::create(place.0.join("said")).unwrap());
    without_fence(&mut command);
    let _daemon = Bare(command.spawn().unwrap());
    let start = Instant::now();
    while TcpStream::connect(("127.0.0.1", port)).is_err() {
        assert!(start.elapsed() < LIMIT, "the daemon does not listen");
        std::thread::sleep(Duration::from_millis(10));
    }
    let said = fs::read_to_string(place.0.join("said")).unwrap();
    assert!(said.contains(STATEMENT), "{said}");
    place.transfers_work(programs, port);
}
