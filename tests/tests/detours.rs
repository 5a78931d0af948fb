//! Ways to a daemon that are no plain connection, beside the reference: `RSYNC_PROXY` and
//! `RSYNC_CONNECT_PROG`.

// A rule that cannot be checked is a failure.
#![allow(clippy::unwrap_used, clippy::panic)]

use std::fs;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::Command;
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use livemirror_tests::lines;
use livemirror_tests::peer::{self, Programs, Server, Side};

const LIMIT: Duration = Duration::from_secs(30);

struct Place(PathBuf);

impl Place {
    fn new(name: &str) -> Place {
        let name = format!("livemirror-detours-{}-{name}", std::process::id());
        let place = Place(std::env::temp_dir().join(name));
        fs::create_dir_all(place.0.join("tree")).unwrap();
        fs::write(place.0.join("tree/file"), b"content").unwrap();
        let conf = format!("use chroot = no\n[m]\npath = {}\n", place.0.join("tree").display());
        fs::write(place.0.join("conf"), conf).unwrap();
        place
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// What a client says of one call: exit code, and its lines, those of our own hints left out.
fn call(programs: &Programs, side: Side, env: &[(&str, &str)], args: &[&str]) -> String {
    let words = programs.words(side);
    let mut command = Command::new(&words[0]);
    command.args(&words[1..]).args(args).envs(env.iter().copied()).env("LC_ALL", "C");
    let run = peer::run(command, Vec::new(), LIMIT);
    let mut said = lines::normalise(&run.stdout, &[]);
    said.extend(lines::normalise(&run.stderr, &[]));
    said.retain(|line| !line.starts_with("livemirror: "));
    format!("{:?}\n{}", run.code, said.join("\n"))
}

/// A proxy for one client: it gives `answer`, and then what the daemon at `port` says if there is
/// one. Its port, and the request it was sent.
fn proxy(answer: &'static str, port: Option<u16>) -> (u16, Receiver<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let own = listener.local_addr().unwrap().port();
    let (sender, receiver) = channel();
    std::thread::spawn(move || {
        let (mut client, _) = listener.accept().unwrap();
        let mut request = Vec::new();
        let mut byte = [0];
        while !request.ends_with(b"\r\n\r\n") && client.read(&mut byte).unwrap() == 1 {
            request.push(byte[0]);
        }
        sender.send(String::from_utf8(request).unwrap()).unwrap();
        client.write_all(answer.as_bytes()).unwrap();
        if let Some(port) = port {
            let daemon = TcpStream::connect(("127.0.0.1", port)).unwrap();
            join(&client, &daemon);
        }
    });
    (own, receiver)
}

/// Carries bytes both ways until both ends are done.
fn join(one: &TcpStream, other: &TcpStream) {
    let carry = |mut from: &TcpStream, mut to: &TcpStream| {
        // An end that is gone ends the other direction too.
        let _ = std::io::copy(&mut from, &mut to);
        let _ = to.shutdown(std::net::Shutdown::Write);
    };
    std::thread::scope(|scope| {
        scope.spawn(|| carry(one, other));
        carry(other, one);
    });
}

#[test]
fn a_proxy_is_asked_and_believed_as_by_the_reference() {
    // A failure would connect past the proxy that the operator has named, or trust any answer.
    let Some(programs) = Programs::find() else { return };
    let place = Place::new("proxy");
    let words = programs.words(Side::Theirs);
    let log = place.0.join("log");
    let daemon = Server::start(&words, &place.0.join("conf"), &log).unwrap();
    let cases: [(&str, &str, bool); 6] = [
        ("", "HTTP/1.0 200 fine\r\nVia: x\r\n\r\n", true),
        ("user:pw@", "HTTP/1.1 200 fine\r\n\r\n", true),
        ("", "HTTP/1.0 407 no\r\n\r\n", false),
        ("", "HTTP/1.0 403 no\x1b[2J\r\n\r\n", false),
        ("", "200 fine\r\n\r\n", false),
        ("", "HTTP/1.0 2\r\n\r\n", true),
    ];
    for (login, answer, through) in cases {
        let [theirs, ours] = [Side::Theirs, Side::Ours].map(|side| {
            let (port, request) = proxy(answer, through.then_some(daemon.port));
            let proxy = format!("{login}127.0.0.1:{port}");
            let args = ["-vv", "rsync://far.example:874/m/"];
            let said = call(programs, side, &[("RSYNC_PROXY", &proxy)], &args);
            let said = said.replace(&format!("port {port}"), "port PROXY");
            let all: Vec<&str> = said
                .lines()
                .filter(|line| !line.contains("bytes") && !line.contains("args"))
                .collect();
            (all.join("\n"), request.recv_timeout(LIMIT).unwrap())
        });
        assert_eq!(ours, theirs, "{answer:?}");
        assert_eq!(ours.0.starts_with("Some(0)"), through, "{answer:?}: {}", ours.0);
    }
    for wrong in ["host", "", "user@host:1", "user:pw@"] {
        let [theirs, ours] = [Side::Theirs, Side::Ours].map(|side| {
            call(programs, side, &[("RSYNC_PROXY", wrong)], &["rsync://127.0.0.1:1/m/"])
        });
        assert_eq!(ours, theirs, "{wrong:?}");
    }
}

#[test]
fn a_program_takes_the_place_of_the_connection() {
    // A failure would leave the operator's tunnel aside, or give a host's name to a shell.
    let Some(programs) = Programs::find() else { return };
    let place = Place::new("program");
    let conf = place.0.join("conf").display().to_string();
    let serve = format!(
        "echo %%x %H >&2; exec rsync --daemon --no-detach --config={conf} -M 'log file'=/dev/null"
    );
    let cases: [(&str, &str); 11] = [
        (&serve, "rsync://a.host-1/m/"),
        ("echo '@RSYNCD: 31.0 md5'; echo '@ERROR: no %H'; cat >/dev/null", "rsync://host/m/"),
        ("echo never seen %H", "rsync://a;b/m/"),
        ("echo never seen %H", "rsync://-x/m/"),
        ("echo never seen %H", "rsync://a'b/m/"),
        ("echo plain; cat >/dev/null", "rsync://a;b/m/"),
        ("echo hello; cat >/dev/null", "rsync://host/m/"),
        ("echo '@RSYNCD: 31'; cat >/dev/null", "rsync://host/m/"),
        ("echo '@RSYNCD: 99.0'; cat >/dev/null", "rsync://host/m/"),
        ("read x; printf '@RSYNC'", "rsync://host/m/"),
        ("echo '@RSYNCD: 31.0 md5'; read x; read y; echo motd", "rsync://host/m/"),
    ];
    for (line, url) in cases {
        let [theirs, ours] = [Side::Theirs, Side::Ours]
            .map(|side| call(programs, side, &[("RSYNC_CONNECT_PROG", line)], &[url]));
        assert_eq!(ours, theirs, "{line}: {url}");
        assert!(!ours.contains("never seen"), "{ours}");
    }
    let copy = place.0.join("copy").display().to_string();
    let env = [("RSYNC_CONNECT_PROG", serve.as_str()), ("RSYNC_SHELL", "/bin/sh")];
    call(programs, Side::Ours, &env, &["-a", "rsync://host/m/", &copy]);
    assert_eq!(fs::read(place.0.join("copy/file")).unwrap(), b"content");
}
