//! The life of a listener beside the reference: signals, the process id file, a manager of services,
//! a connection handed over on standard input.

// A rule that cannot be checked is a failure.
#![allow(clippy::unwrap_used, clippy::panic)]

use std::fs;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixDatagram;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use livemirror_tests::peer::{self, Programs, Side};
use rustix::process::{Pid, Signal, kill_process};

const LIMIT: Duration = Duration::from_secs(20);

/// A directory with a configuration and a module that holds a large file.
struct Place {
    dir: PathBuf,
    port: u16,
}

impl Place {
    fn new(name: &str, side: Side) -> Place {
        let own = format!("livemirror-{name}-{}-{}", std::process::id(), side.word());
        let dir = std::env::temp_dir().join(own);
        let _ = fs::remove_dir_all(&dir);
        fs::create_dir_all(dir.join("tree")).unwrap();
        fs::write(dir.join("tree/large"), vec![7; 1 << 20]).unwrap();
        let place = Place { dir, port: peer::free_port() };
        place.configure("");
        place
    }

    fn configure(&self, more: &str) {
        let (uid, gid) = (rustix::process::getuid(), rustix::process::getgid());
        let ids = match uid.is_root() {
            true => format!("uid = {}\ngid = {}\n", uid.as_raw(), gid.as_raw()),
            false => String::new(),
        };
        let dir = self.dir.display();
        let config = format!(
            "pid file = {dir}/pid\nlog file = {dir}/log\nuse chroot = no\n{ids}[m]\n\
             path = {dir}/tree\n{more}"
        );
        fs::write(self.dir.join("conf"), config).unwrap();
    }

    fn log(&self) -> String {
        fs::read_to_string(self.dir.join("log")).unwrap_or_default()
    }

    /// Waits until the log says something.
    fn logs(&self, text: &str) {
        let start = Instant::now();
        while !self.log().contains(text) {
            assert!(start.elapsed() < LIMIT, "the log does not say {text}: {}", self.log());
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// Starts a listener and waits until it listens.
    fn listen(&self, words: &[String]) -> Listener {
        let before = self.log().matches(" starting, listening on ").count();
        let mut command = Command::new(&words[0]);
        command.args(&words[1..]).stdin(Stdio::null()).stdout(Stdio::null());
        let mut child = Listener(command.stderr(Stdio::null()).spawn().unwrap());
        let start = Instant::now();
        while self.log().matches(" starting, listening on ").count() == before {
            let ended = child.0.try_wait().unwrap();
            assert!(ended.is_none() && start.elapsed() < LIMIT, "{ended:?}: {}", self.log());
            std::thread::sleep(Duration::from_millis(10));
        }
        child
    }

    fn words(&self, programs: &Programs, side: Side) -> Vec<String> {
        peer::Server::words(&programs.words(side), self.port, &self.dir.join("conf"))
    }

    /// The words of `livemirror serve` with this place's configuration.
    fn serve_words(&self, programs: &Programs) -> Vec<String> {
        let mut words =
            vec![programs.livemirror().to_str().unwrap().to_owned(), "serve".to_owned()];
        words.push(self.dir.join("conf").to_str().unwrap().to_owned());
        words.extend([format!("--port={}", self.port), "--address=127.0.0.1".to_owned()]);
        words
    }

    /// A client that takes a second or two for the large file.
    fn slow_client(&self, programs: &Programs) -> Child {
        let mut command = Command::new(&programs.words(Side::Theirs)[0]);
        command.args(["--bwlimit=700", &format!("rsync://127.0.0.1:{}/m/large", self.port)]);
        command.arg(self.dir.join("got")).stdin(Stdio::null()).spawn().unwrap()
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.dir);
    }
}

/// A listener that ends with its test.
struct Listener(Child);

impl Listener {
    fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.0), signal).unwrap();
    }

    fn end(&mut self) -> Option<i32> {
        let start = Instant::now();
        loop {
            if let Some(status) = self.0.try_wait().unwrap() {
                return status.code();
            }
            assert!(start.elapsed() < LIMIT, "the listener does not end");
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn a_signal_ends_the_listener_and_no_transfer() {
    let Some(programs) = Programs::find() else { return };
    for (signal, code) in [(Signal::TERM, 0), (Signal::INT, 20), (Signal::HUP, 20)] {
        for side in [Side::Theirs, Side::Ours] {
            let place = Place::new("signal", side);
            let mut listener = place.listen(&place.words(programs, side));
            assert!(place.dir.join("pid").exists());
            let mut client = place.slow_client(programs);
            place.logs("building file list");
            listener.signal(signal);
            assert_eq!(listener.end(), Some(code), "{side:?} {signal:?}");
            assert!(!place.dir.join("pid").exists(), "{side:?}: the process id file stays");
            assert!(client.try_wait().unwrap().is_none(), "the transfer was over too early");
            assert_eq!(client.wait().unwrap().code(), Some(0), "{side:?} {signal:?}");
            assert_eq!(fs::read(place.dir.join("got")).unwrap().len(), 1 << 20);
        }
    }
}

#[test]
fn a_process_id_file_of_the_dead_is_taken_over_and_one_of_the_living_is_not() {
    let Some(programs) = Programs::find() else { return };
    for side in [Side::Theirs, Side::Ours] {
        let place = Place::new("pid", side);
        let words = place.words(programs, side);
        let mut first = place.listen(&words);
        let mut second = Command::new(&words[0]);
        second.args(&words[1..]).arg(format!("--port={}", peer::free_port()));
        let run = peer::run(second, Vec::new(), LIMIT);
        assert_eq!(run.code, Some(11), "{side:?}: {}", String::from_utf8_lossy(&run.stderr));
        first.signal(Signal::KILL);
        assert_eq!(first.end(), None);
        assert!(place.dir.join("pid").exists());
        let third = place.listen(&words);
        let written = fs::read_to_string(place.dir.join("pid")).unwrap();
        assert_eq!(written, format!("{}\n", third.0.id()), "{side:?}");
    }
}

#[test]
fn a_connection_on_standard_input_is_served_alone() {
    let Some(programs) = Programs::find() else { return };
    let mut answers = Vec::new();
    for side in [Side::Theirs, Side::Ours] {
        let place = Place::new("inetd", side);
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let mut client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (served, _) = listener.accept().unwrap();
        drop(listener);
        let words = programs.words(side);
        let mut command = Command::new(&words[0]);
        command.args(&words[1..]).arg("--daemon");
        command.arg(format!("--config={}", place.dir.join("conf").display()));
        let output = OwnedFd::from(served.try_clone().unwrap());
        command.stdin(OwnedFd::from(served)).stdout(output).stderr(Stdio::null());
        let mut daemon = Listener(command.spawn().unwrap());
        // The command keeps copies of the connection as long as it lives.
        drop(command);
        client.set_read_timeout(Some(LIMIT)).unwrap();
        client.write_all(b"@RSYNCD: 32.0 sha512 sha256 sha1 md5 md4\n#list\n").unwrap();
        let mut said = String::new();
        client.read_to_string(&mut said).unwrap();
        drop(client);
        answers.push((said, daemon.end(), place.dir.join("pid").exists()));
    }
    assert_eq!(answers[0], answers[1]);
    assert!(answers[1].0.ends_with("\t\n@RSYNCD: EXIT\n"), "{}", answers[1].0);
}

#[test]
fn serve_reads_its_configuration_anew_and_tells_a_manager() {
    let Some(programs) = Programs::find() else { return };
    let place = Place::new("serve", Side::Ours);
    let socket = UnixDatagram::bind(place.dir.join("manager")).unwrap();
    socket.set_read_timeout(Some(LIMIT)).unwrap();
    let told = || {
        let mut text = [0; 200];
        let len = socket.recv(&mut text).unwrap();
        String::from_utf8_lossy(&text[..len]).into_owned()
    };
    let manager = format!("NOTIFY_SOCKET={}", place.dir.join("manager").display());
    let words = [vec!["env".to_owned(), manager], place.serve_words(programs)].concat();
    let mut listener = place.listen(&words);
    assert_eq!(told(), format!("READY=1\nMAINPID={}", listener.0.id()));
    place.configure("comment = changed\nno such = thing\n");
    listener.signal(Signal::HUP);
    assert_eq!((told(), told()), ("RELOADING=1".to_owned(), "READY=1".to_owned()));
    place.logs("configuration read anew");
    place.logs("no such");
    let mut list = Command::new(&programs.words(Side::Theirs)[0]);
    list.arg(format!("rsync://127.0.0.1:{}/", place.port));
    let run = peer::run(list, Vec::new(), LIMIT);
    assert_eq!(String::from_utf8_lossy(&run.stdout), "m              \tchanged\n");
    fs::write(place.dir.join("conf"), "[/bad/]\n").unwrap();
    listener.signal(Signal::HUP);
    assert_eq!((told(), told()), ("RELOADING=1".to_owned(), "READY=1".to_owned()));
    place.logs("no client can enter until that is right");
    listener.signal(Signal::TERM);
    assert_eq!(told(), "STOPPING=1");
    assert_eq!(listener.end(), Some(0));
}

#[test]
fn serve_lets_the_last_connection_finish() {
    let Some(programs) = Programs::find() else { return };
    for again in [false, true] {
        let place = Place::new("drain", Side::Ours);
        let mut listener = place.listen(&place.serve_words(programs));
        let mut client = place.slow_client(programs);
        place.logs("building file list");
        listener.signal(Signal::TERM);
        place.logs("ending when the last of 1 connections has");
        assert!(TcpStream::connect((Ipv4Addr::LOCALHOST, place.port)).is_err());
        assert!(listener.0.try_wait().unwrap().is_none(), "it did not wait");
        if again {
            listener.signal(Signal::TERM);
            assert_eq!(listener.end(), Some(0));
            assert!(client.try_wait().unwrap().is_none(), "the transfer was over too early");
            assert_eq!(client.wait().unwrap().code(), Some(0));
        } else {
            assert_eq!(client.wait().unwrap().code(), Some(0));
            assert_eq!(listener.end(), Some(0));
        }
        assert!(!place.dir.join("pid").exists());
        assert_eq!(fs::read(place.dir.join("got")).unwrap().len(), 1 << 20);
    }
}

#[test]
fn a_manager_of_services_may_listen_for_the_daemon() {
    let Some(programs) = Programs::find() else { return };
    let place = Place::new("handed", Side::Ours);
    let socket = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let port = socket.local_addr().unwrap().port();
    let start = |count: usize, fd: OwnedFd| {
        let script = format!(
            "exec 3<&0 </dev/null; LISTEN_PID=$$ LISTEN_FDS={count} LISTEN_FDNAMES=x exec \"$@\""
        );
        let mut command = Command::new("sh");
        command.args(["-c", &script, "sh"]).args(place.serve_words(programs));
        command.stdin(fd).stdout(Stdio::null()).stderr(Stdio::piped());
        Listener(command.spawn().unwrap())
    };
    // A client may come before the daemon does.
    let mut list = Command::new(&programs.words(Side::Theirs)[0]);
    list.arg(format!("rsync://127.0.0.1:{port}/"));
    let early = list.stdout(Stdio::piped()).spawn().unwrap();
    let mut listener = start(1, OwnedFd::from(socket));
    assert_eq!(early.wait_with_output().unwrap().stdout, b"m              \t\n");
    place.logs(&format!("starting, listening on port {port}"));
    assert!(TcpStream::connect((Ipv4Addr::LOCALHOST, place.port)).is_err());
    listener.signal(Signal::TERM);
    assert_eq!(listener.end(), Some(0));
    // What is no listening socket ends the start with its reason.
    for (count, fd) in [
        (1, fs::File::open("/dev/null").unwrap().into()),
        (2, OwnedFd::from(TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap())),
    ] {
        let mut wrong = start(count, fd);
        assert_eq!(wrong.end(), Some(10));
        let mut said = String::new();
        wrong.0.stderr.take().unwrap().read_to_string(&mut said).unwrap();
        assert!(said.contains(" of the manager of services"), "{said}");
    }
}
