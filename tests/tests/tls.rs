//! The daemon protocol within TLS: our client and `rsync-ssl` with our daemon, our client with a
//! stock daemon behind `openssl s_server`, and every certificate that must not be accepted.

// A case that cannot be set up is a failure.
#![allow(clippy::unwrap_used, clippy::panic)]

use std::fs;
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use livemirror_tests::peer::{self, Programs, Run, Server, Side};

const LIMIT: Duration = Duration::from_secs(60);

struct Place(PathBuf);

impl Place {
    /// `None` where the tool that makes certificates is missing.
    fn new(name: &str) -> Option<Place> {
        let there = Command::new("openssl").arg("version").stdout(Stdio::null()).status();
        if !there.is_ok_and(|status| status.success()) {
            return None;
        }
        let dir = format!("livemirror-tls-{}-{name}", std::process::id());
        let place = Place(std::env::temp_dir().join(dir));
        for made in ["src/d", "m", "dst"] {
            fs::create_dir_all(place.0.join(made)).unwrap();
        }
        // More than all buffers on the way hold.
        let many: Vec<u8> =
            (0..2_000_000u32).flat_map(|n| n.wrapping_mul(n).to_le_bytes()).collect();
        fs::write(place.0.join("src/many"), many).unwrap();
        for n in 0..200 {
            fs::write(place.0.join(format!("src/d/f{n}")), format!("{n}")).unwrap();
        }
        place.authority("ca");
        place.authority("other");
        place.certificate("good", "ca", "subjectAltName=DNS:localhost,IP:127.0.0.1", "30");
        Some(place)
    }

    fn path(&self, name: &str) -> String {
        self.0.join(name).to_str().unwrap().to_owned()
    }

    fn openssl(&self, words: &str) {
        let run = Command::new("openssl").args(words.split(' ')).current_dir(&self.0).output();
        let run = run.unwrap();
        assert!(run.status.success(), "{words}: {}", String::from_utf8_lossy(&run.stderr));
    }

    fn authority(&self, name: &str) {
        self.openssl(&format!(
            "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 30 -subj /CN={name} \
             -keyout {name}.key -out {name}.crt"
        ));
    }

    fn certificate(&self, name: &str, by: &str, extension: &str, days: &str) {
        fs::write(self.0.join(format!("{name}.ext")), extension).unwrap();
        self.openssl(&format!(
            "req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj /CN={name} \
             -keyout {name}.key -out {name}.csr"
        ));
        self.openssl(&format!(
            "x509 -req -in {name}.csr -CA {by}.crt -CAkey {by}.key -days {days} \
             -extfile {name}.ext -out {name}.crt"
        ));
        self.private(&format!("{name}.key"), 0o600);
    }

    fn private(&self, file: &str, mode: u32) {
        fs::set_permissions(self.0.join(file), PermissionsExt::from_mode(mode)).unwrap();
    }

    /// Our daemon with a certificate.
    fn daemon(&self, programs: &Programs, cert: &str, more: &[&str]) -> Server {
        let port = peer::free_port();
        let mut words = vec![programs.livemirror().to_str().unwrap().to_owned(), "serve".into()];
        words.extend(["--address".into(), "127.0.0.1".into(), format!("--port={port}")]);
        words.push(format!("--module=m={}", self.path("m")));
        words.push(format!("--tls-cert={}", self.path(&format!("{cert}.crt"))));
        words.push(format!("--tls-key={}", self.path(&format!("{cert}.key"))));
        words.extend(more.iter().map(|word| (*word).to_owned()));
        let log = self.0.join(format!("log-{cert}-{}", more.len()));
        let listens = || TcpStream::connect(("127.0.0.1", port)).is_ok();
        Server::run_until(&words, port, &log, listens).unwrap()
    }

    /// Runs a client here with these variables.
    fn run(&self, mut command: Command, words: &[&str], variables: &[(&str, &str)]) -> Run {
        command.args(words).current_dir(&self.0).env("LC_ALL", "C");
        command.env("RSYNC_SSL_CA_CERT", self.path("ca.crt"));
        for (name, value) in variables {
            command.env(name, value);
        }
        peer::run(command, Vec::new(), LIMIT)
    }

    fn ours(&self, programs: &Programs, words: &[&str], variables: &[(&str, &str)]) -> Run {
        let client = programs.words(Side::Ours);
        let mut command = Command::new(&client[0]);
        command.args(&client[1..]);
        self.run(command, words, variables)
    }

    fn same(&self, one: &str, two: &str) {
        let differs = Command::new("diff").args(["-r", one, two]).current_dir(&self.0).output();
        let differs = differs.unwrap();
        assert!(differs.status.success(), "{}", String::from_utf8_lossy(&differs.stdout));
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

#[track_caller]
fn well(run: &Run) {
    assert_eq!(run.code, Some(0), "{}", String::from_utf8_lossy(&run.stderr));
}

/// Refused with one line beside the last one.
#[track_caller]
fn refused(run: &Run, text: &str) {
    let said = String::from_utf8_lossy(&run.stderr).into_owned();
    assert_eq!(run.code, Some(10), "{said}");
    let lines: Vec<&str> = said.lines().collect();
    assert_eq!(lines.len(), 2, "{said}");
    assert!(lines[0].contains(text), "{said}");
}

#[test]
fn trees_travel_within_tls() {
    // A failure would lose bytes on the way, or lock out who comes with rsync-ssl.
    let (Some(programs), Some(place)) = (Programs::find(), Place::new("travel")) else { return };
    let server = place.daemon(programs, "good", &[]);
    let port = server.port;
    for host in ["localhost", "127.0.0.1"] {
        let url = format!("rsyncs://{host}:{port}/m/{host}/");
        well(&place.ours(programs, &["-a", "src/", &url], &[]));
        place.same("src", &format!("m/{host}"));
        well(&place.ours(programs, &["-a", &url, &format!("dst/{host}/")], &[]));
        place.same("src", &format!("dst/{host}"));
    }
    let list = place.ours(programs, &[&format!("rsyncs://localhost:{port}/")], &[]);
    assert!(String::from_utf8_lossy(&list.stdout).starts_with('m'));
    if Path::new("/usr/bin/rsync-ssl").is_file() {
        let ssl = || {
            let mut command = Command::new("/usr/bin/rsync-ssl");
            command.arg("--type=openssl");
            command
        };
        let url = format!("rsync://localhost:{port}/m/theirs/");
        well(&place.run(ssl(), &["-a", "src/", &url], &[]));
        place.same("src", "m/theirs");
        well(&place.run(ssl(), &["-a", &url, "dst/theirs/"], &[]));
        place.same("src", "dst/theirs");
    }
    // In clear nobody is served.
    let run =
        place.ours(programs, &["-r", &format!("rsync://localhost:{port}/m/"), "dst/no/"], &[]);
    assert!(run.code.is_some_and(|code| code != 0) && !place.0.join("dst/no").exists());
}

#[test]
fn a_stock_daemon_behind_openssl_is_reached() {
    // A failure would tie our client to our own daemon.
    let (Some(programs), Some(place)) = (Programs::find(), Place::new("stock")) else { return };
    let config = format!("[m]\npath = {}\nread only = no\nuse chroot = no\n", place.path("m"));
    let ids = if rustix::process::geteuid().is_root() { "uid = 0\ngid = 0\n" } else { "" };
    fs::write(place.0.join("conf"), format!("{ids}{config}")).unwrap();
    for (name, words) in [("push", ["src/", "URL"]), ("pull", ["URL", "dst/"])] {
        let port = peer::free_port();
        let script = format!(
            "cd {dir}; mkfifo {name}; openssl s_server -quiet -naccept 1 -accept 127.0.0.1:{port} \
             -cert good.crt -key good.key < {name} | {rsync} --server --daemon --config=conf . > {name}",
            dir = place.path(""),
            rsync = programs.words(Side::Theirs)[0],
        );
        let words_of = ["/bin/sh", "-c", &script].map(str::to_owned);
        // It takes one connection, which a look would use up: whether it listens stands in a table.
        let listens = || {
            let table = fs::read_to_string("/proc/net/tcp").unwrap();
            table.contains(&format!("0100007F:{port:04X} 00000000:0000 0A"))
        };
        let log = place.0.join(format!("log-{name}"));
        let _server = Server::run_until(&words_of, port, &log, listens).unwrap();
        let url = format!("rsyncs://localhost:{port}/m/");
        let words = words.map(|word| word.replace("URL", &url));
        well(&place.ours(programs, &["-a", &words[0], &words[1]], &[]));
    }
    place.same("src", "m");
    place.same("src", "dst");
}

#[test]
fn certificates_that_do_not_fit_are_refused_with_one_line() {
    // A failure would let whoever sits on the network pose as the daemon.
    let (Some(programs), Some(place)) = (Programs::find(), Place::new("refused")) else { return };
    place.certificate("elsewhere", "ca", "subjectAltName=DNS:other.example", "30");
    place.certificate("old", "ca", "subjectAltName=DNS:localhost", "-1");
    place.certificate("unknown", "other", "subjectAltName=DNS:localhost", "30");
    for (name, is_ca) in [("own", "TRUE"), ("own-leaf", "FALSE")] {
        place.openssl(&format!(
            "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 30 \
             -subj /CN=localhost -addext subjectAltName=DNS:localhost \
             -addext basicConstraints=critical,CA:{is_ca} -keyout {name}.key -out {name}.crt"
        ));
        place.private(&format!("{name}.key"), 0o600);
    }
    for (cert, text) in [
        ("elsewhere", "is for another name"),
        ("old", "has expired"),
        ("unknown", "nobody who is trusted"),
        ("own", "perhaps it is self-signed"),
        ("own-leaf", "nobody who is trusted"),
    ] {
        let server = place.daemon(programs, cert, &[]);
        let url = format!("rsyncs://localhost:{}/m/", server.port);
        for words in [["-a", "src/d/", &url], ["-a", &url, "dst/"]] {
            refused(&place.ours(programs, &words, &[]), text);
        }
    }
    let server = place.daemon(programs, "good", &[]);
    let url = format!("rsyncs://localhost:{}/m/", server.port);
    let words = ["-a", &url, "dst/"];
    let other = place.path("other.crt");
    refused(
        &place.ours(programs, &words, &[("RSYNC_SSL_CA_CERT", &other)]),
        "nobody who is trusted",
    );
    refused(&place.ours(programs, &words, &[("RSYNC_SSL_CA_CERT", "")]), "RSYNC_SSL_CA_CERT");
    refused(&place.ours(programs, &words, &[("RSYNC_SSL_CA_CERT", "none")]), "cannot read");
    let run = place.ours(programs, &["-a", "-e", "ssh", &url, "dst/"], &[]);
    assert_eq!(run.code, Some(1));
    assert!(fs::read_dir(place.0.join("m")).unwrap().next().is_none());
    assert!(fs::read_dir(place.0.join("dst")).unwrap().next().is_none());
}

#[test]
fn clients_need_a_certificate_where_one_is_asked_for() {
    // A failure would let anybody in whom the operator meant to keep out.
    let (Some(programs), Some(place)) = (Programs::find(), Place::new("clients")) else { return };
    place.certificate("client", "ca", "extendedKeyUsage=clientAuth", "30");
    place.certificate("stranger", "other", "extendedKeyUsage=clientAuth", "30");
    let server =
        place.daemon(programs, "good", &[&format!("--tls-client-ca={}", place.path("ca.crt"))]);
    let url = format!("rsyncs://localhost:{}/m/", server.port);
    let words = ["-a", "src/d/", url.as_str()];
    let with = |name: &str| {
        let (cert, key) = (place.path(&format!("{name}.crt")), place.path(&format!("{name}.key")));
        place.ours(programs, &words, &[("RSYNC_SSL_CERT", &cert), ("RSYNC_SSL_KEY", &key)])
    };
    for run in [place.ours(programs, &words, &[]), with("stranger")] {
        assert!(run.code.is_some_and(|code| code != 0));
        assert!(String::from_utf8_lossy(&run.stderr).contains("TLS with localhost: "));
        assert!(fs::read_dir(place.0.join("m")).unwrap().next().is_none());
    }
    well(&with("client"));
    place.same("src/d", "m");
}

#[test]
fn a_daemon_does_not_start_with_a_key_that_all_can_read() {
    // A failure would leave the key of every connection in the open.
    let (Some(programs), Some(place)) = (Programs::find(), Place::new("key")) else { return };
    place.private("good.key", 0o644);
    let cert = format!("--tls-cert={}", place.path("good.crt"));
    let key = format!("--tls-key={}", place.path("good.key"));
    let module = format!("--module=m={}", place.path("m"));
    for (words, text) in [
        (vec!["serve", &module, &cert, &key], "must not be other-accessible"),
        (vec!["serve", &module, &cert], "belong together"),
        (vec!["serve", &module, &cert, "--tls-key=/nonexistent"], "cannot read the key"),
    ] {
        let mut command = Command::new(programs.livemirror());
        command.args(&words);
        let run = peer::run(command, Vec::new(), LIMIT);
        let said = String::from_utf8_lossy(&run.stderr).into_owned();
        assert_eq!(run.code, Some(1), "{said}");
        assert!(said.contains(text) && said.lines().count() == 1, "{said}");
    }
}
