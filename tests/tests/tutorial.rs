//! The set-up that a widely read tutorial describes, as it is written there: its `rsyncd.conf`, its
//! user and password files, its commands, with either program at either end.

// A rule that cannot be checked is a failure.
#![allow(clippy::unwrap_used, clippy::panic)]

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant, SystemTime};

use livemirror_tests::lines;
use livemirror_tests::peer::{self, Programs, Server, Side, free_port};
use livemirror_tests::tree_text;

const CONFIG: &str = include_str!("../../crates/rsync/tests/data/article_rsyncd.conf");
/// How long one run, or one wait for a state, may take.
const LIMIT: Duration = Duration::from_secs(60);
/// Modules beside the tutorial's, for what can be refused.
const MORE: &str = "
[readonly]
path = /temp/rsync_test1
[hidden]
path = /temp/rsync_test1
list = no
hosts deny = *
[denied]
path = /temp/rsync_test1
hosts deny = *
[writeonly]
path = /temp/rsync_test1
write only = yes
read only = no
[absent]
path = /temp/not_made
read only = no
[strict]
path = /temp/rsync_test1
refuse options = checksum
read only = no
";

/// The tutorial's directories below one that goes with the value.
struct Place(PathBuf);

impl Place {
    fn new(name: &str) -> Place {
        let dir = format!("livemirror-tutorial-{}-{name}", std::process::id());
        let place = Place(std::env::temp_dir().join(dir));
        for made in ["etc/rsync", "etc/lsyncd", "var/rsync", "var/run", "temp/test0", "out"] {
            fs::create_dir_all(place.0.join(made)).unwrap();
        }
        for module in ["temp/rsync_test0", "temp/rsync_test1"] {
            fs::create_dir_all(place.0.join(module)).unwrap();
        }
        place.write("var/rsync/rsync.motd", "welcome\n");
        place.write("etc/rsync/rsync.passwd", "rsync:123456\n");
        place.write("etc/lsyncd/rsync.passwd", "123456\n");
        place.write("etc/lsyncd/wrong.passwd", "654321\n");
        let mut config = [CONFIG, MORE].concat();
        for root in ["/var/", "/etc/", "/temp/"] {
            config = config.replace(root, &format!("{}{root}", place.0.display()));
        }
        place.write("etc/rsync/rsync.conf", &config);
        place
    }

    fn write(&self, name: &str, content: &str) {
        let path = self.0.join(name);
        fs::write(&path, content).unwrap();
        fs::set_permissions(path, fs::Permissions::from_mode(0o600)).unwrap();
    }

    fn path(&self, name: &str) -> String {
        self.0.join(name).to_str().unwrap().to_owned()
    }

    /// The target of the tutorial: `rsync --daemon` or `livemirror serve`.
    fn daemon(&self, programs: &Programs, side: Side) -> Server {
        let config = self.0.join("etc/rsync/rsync.conf");
        let log = self.0.join("daemon.out");
        if side == Side::Theirs {
            return Server::start(&programs.words(side), &config, &log).unwrap();
        }
        let port = free_port();
        let ours = programs.livemirror().to_str().unwrap();
        let port_word = port.to_string();
        let words = ["serve", &self.path("etc/rsync/rsync.conf"), "--port", &port_word];
        let words = [&[ours], &words[..], &["--address", "127.0.0.1"]].concat();
        Server::run(&words.into_iter().map(str::to_owned).collect::<Vec<_>>(), port, &log).unwrap()
    }

    fn content(&self, dir: &str) -> Vec<String> {
        tree_text::dump(&self.0.join(dir), None)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// Runs a client; exit code and what it said, made comparable.
fn client(programs: &Programs, side: Side, place: &Place, args: &[&str]) -> (i32, Vec<String>) {
    let words = programs.words(side);
    let mut command = Command::new(&words[0]);
    command.args(&words[1..]).args(args).current_dir(&place.0);
    command.env("LC_ALL", "C").env_remove("RSYNC_PASSWORD");
    let run = peer::run(command, Vec::new(), LIMIT);
    let names = [(place.path(""), "")];
    let mut said = lines::normalise(&run.stdout, &names);
    said.extend(lines::normalise(&run.stderr, &names));
    (run.code.unwrap_or(-1), said)
}

const SIDES: [Side; 2] = [Side::Theirs, Side::Ours];

#[test]
fn push_and_pull_with_a_password_in_all_pairings() {
    let Some(programs) = Programs::find() else { return };
    for daemon in SIDES {
        for sender in SIDES {
            let name = format!("{}-{}", daemon.word(), sender.word());
            let place = Place::new(&name);
            fs::create_dir(place.0.join("temp/test0/sub")).unwrap();
            // A time of long ago is one that only `-a` brings over.
            let then = SystemTime::UNIX_EPOCH + Duration::from_secs(1_600_000_000);
            for (file, size) in [("a", 4096), ("sub/b", 300_000), ("sub/c c", 0)] {
                let bytes: Vec<u8> = (0..size).map(|i: u32| (i % 251) as u8).collect();
                let path = place.0.join("temp/test0").join(file);
                fs::write(&path, bytes).unwrap();
                fs::File::open(path).unwrap().set_modified(then).unwrap();
            }
            fs::File::open(place.0.join("temp/test0/sub")).unwrap().set_modified(then).unwrap();
            let server = place.daemon(programs, daemon);
            let url = format!("rsync://rsync@127.0.0.1:{}/rsync_test0/", server.port);
            let password = format!("--password-file={}", place.path("etc/lsyncd/rsync.passwd"));
            let (code, said) =
                client(programs, sender, &place, &["-r", "temp/test0/", &url, &password]);
            assert_eq!(code, 0, "{name}: {said:?}");
            let (code, said) =
                client(programs, sender, &place, &["-a", "temp/test0/", &url, &password]);
            assert_eq!(code, 0, "{name}: {said:?}");
            assert_eq!(place.content("temp/test0"), place.content("temp/rsync_test0"), "{name}");
            let (code, said) = client(programs, sender, &place, &["-a", &url, "out/", &password]);
            assert_eq!(code, 0, "{name}: {said:?}");
            assert_eq!(place.content("temp/test0"), place.content("out"), "{name}");
        }
    }
}

#[test]
fn refusals_are_the_reference_s_with_one_line_of_help() {
    let Some(programs) = Programs::find() else { return };
    let place = Place::new("refusals");
    let closed = free_port();
    for daemon in SIDES {
        let server = place.daemon(programs, daemon);
        let at = |rest: &str| {
            format!("rsync://{}", rest.replace("HOST", "127.0.0.1:PORT"))
                .replace("PORT", &server.port.to_string())
        };
        let right = format!("--password-file={}", place.path("etc/lsyncd/rsync.passwd"));
        let wrong = format!("--password-file={}", place.path("etc/lsyncd/wrong.passwd"));
        let nothing_there = format!("rsync://rsync@127.0.0.1:{closed}/rsync_test0/");
        let (module, anonymous) = (at("rsync@HOST/rsync_test0/"), at("HOST/rsync_test1/"));
        let cases: [(&str, Vec<&str>, i32); 11] = [
            ("wrong password", vec!["-r", "temp/test0/", &module, &wrong], 5),
            ("wrong user", vec!["-r", "temp/test0/", &at("root@HOST/rsync_test0/"), &right], 5),
            ("unknown module", vec!["-r", "temp/test0/", &at("HOST/nothing/"), &right], 5),
            ("denied host", vec!["-r", "temp/test0/", &at("HOST/denied/")], 5),
            ("denied and hidden", vec!["-r", "temp/test0/", &at("HOST/hidden/")], 5),
            ("read only", vec!["-r", "temp/test0/", &at("HOST/readonly/")], 1),
            ("write only", vec!["-r", &at("HOST/writeonly/"), "out/"], 1),
            ("missing path", vec!["-r", "temp/test0/", &at("HOST/absent/")], 5),
            ("refused option", vec!["-rc", "temp/test0/", &at("HOST/strict/")], 4),
            ("closed port", vec!["-r", "temp/test0/", &nothing_there, &right], 10),
            ("missing source", vec!["-r", "temp/gone/", &anonymous], 23),
        ]
        .map(|(name, args, code): (&str, Vec<&str>, i32)| {
            (name, args.into_iter().map(|a| &*a.to_owned().leak()).collect(), code)
        });
        for (name, args, code) in cases {
            let (expected_code, expected) = client(programs, Side::Theirs, &place, &args);
            let (got_code, mut got) = client(programs, Side::Ours, &place, &args);
            assert_eq!(expected_code, code, "{name}: {expected:?}");
            assert_eq!(got_code, code, "{name}: {got:?}");
            let all = got.len();
            got.retain(|line| !line.starts_with("livemirror: "));
            let hints = if name == "missing source" { 0 } else { 1 };
            assert_eq!(all - got.len(), hints, "{name} with {}", daemon.word());
            assert_eq!(got, expected, "{name} with {}", daemon.word());
        }
    }
}

#[test]
fn a_watched_directory_reaches_either_daemon() {
    let Some(programs) = Programs::find() else { return };
    for daemon in SIDES {
        let place = Place::new(&format!("watch-{}", daemon.word()));
        fs::write(place.0.join("temp/test0/before"), b"here at start").unwrap();
        let server = place.daemon(programs, daemon);
        let mut live = Command::new(programs.livemirror());
        live.args(["watch", "temp/test0/"]);
        live.arg(format!("rsync://rsync@127.0.0.1:{}/rsync_test0", server.port));
        live.arg("--password-file=etc/lsyncd/rsync.passwd").arg("--socket=live.sock");
        live.current_dir(&place.0).stdout(Stdio::null());
        let mut live = live.spawn().unwrap();
        let arrived = |name: &str, content: &[u8]| {
            let start = Instant::now();
            let file = place.0.join("temp/rsync_test0").join(name);
            while fs::read(&file).ok().as_deref() != Some(content) {
                assert!(start.elapsed() < LIMIT, "{name} does not reach the target");
                std::thread::sleep(Duration::from_millis(2));
            }
        };
        arrived("before", b"here at start");
        fs::write(place.0.join("temp/test0/after"), b"written later").unwrap();
        arrived("after", b"written later");
        fs::remove_file(place.0.join("temp/test0/before")).unwrap();
        fs::write(place.0.join("temp/test0/last"), b"after a deletion").unwrap();
        arrived("last", b"after a deletion");
        // Deletions are not propagated unless they are asked for.
        assert!(place.0.join("temp/rsync_test0/before").exists());
        let pid = rustix::process::Pid::from_child(&live);
        rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
        assert!(live.wait().unwrap().success());
    }
}
