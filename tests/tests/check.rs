//! `livemirror check` as a program: exit codes, JSON, repairs, and what it learns by asking a
//! target, the reference's daemon among them.

// A rule that cannot be checked is a failure.
#![allow(clippy::unwrap_used, clippy::panic)]

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use livemirror_tests::peer::{self, Programs, Server, Side, free_port};

/// How long one run may take.
const LIMIT: Duration = Duration::from_secs(60);

struct Place(PathBuf);

impl Place {
    fn new(name: &str) -> Place {
        let dir = format!("livemirror-checks-{}-{name}", std::process::id());
        let dir = std::env::temp_dir().join(dir);
        fs::create_dir_all(&dir).unwrap();
        Place(dir)
    }

    fn write(&self, name: &str, content: &str, mode: u32) {
        let path = self.0.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, content.replace("PLACE", self.0.to_str().unwrap())).unwrap();
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    }

    /// Exit code and lines, paths made comparable.
    fn check(&self, programs: &Programs, args: &[&str]) -> (i32, Vec<String>) {
        let mut command = Command::new(programs.livemirror());
        command.arg("check").args(args).current_dir(&self.0);
        let run = peer::run(command, Vec::new(), LIMIT);
        let text = String::from_utf8(run.stdout).unwrap();
        let text = text.replace(self.0.to_str().unwrap(), "PLACE");
        (run.code.unwrap_or(-1), text.lines().map(str::to_owned).collect())
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

#[test]
fn exit_codes_json_and_repairs() {
    let Some(programs) = Programs::find() else { return };
    let place = Place::new("fix");
    place.write(
        "rsyncd.conf",
        "lock file = PLACE/lock\n[m]\npath = PLACE/m\nauth users = a\nsecrets file = PLACE/s\n",
        0o644,
    );
    place.write("s", "a:long-enough\n", 0o644);
    let (code, lines) = place.check(programs, &["--offline", "rsyncd.conf"]);
    assert_eq!((code, lines.len()), (2, 2), "{lines:?}");
    let (code, lines) = place.check(programs, &["--offline", "--json", "rsyncd.conf"]);
    let objects: Vec<serde_json::Value> =
        lines.iter().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!((code, objects.len()), (2, 2));
    assert_eq!(objects[0]["file"], "rsyncd.conf");
    assert_eq!(objects[0]["line"], 3);
    assert_eq!(objects[0]["value"], "path = PLACE/m");
    assert_eq!(objects[0]["fix"], "mkdir -p PLACE/m");
    assert_eq!(objects[0]["fatal"], true);
    let (code, lines) = place.check(programs, &["--offline", "--fix", "rsyncd.conf"]);
    assert_eq!(lines, ["done: mkdir -p PLACE/m", "done: chmod 600 PLACE/s"]);
    assert_eq!(code, 0);
    assert!(place.0.join("m").is_dir());
    assert_eq!(fs::metadata(place.0.join("s")).unwrap().permissions().mode() & 0o7777, 0o600);
    place.write("s", "a:123456\n", 0o600);
    assert_eq!(place.check(programs, &["--offline", "rsyncd.conf"]).0, 1, "a risk");
    assert_eq!(place.check(programs, &["--frob", "rsyncd.conf"]).0, 1, "wrong use");
}

#[test]
fn a_target_is_asked() {
    let Some(programs) = Programs::find() else { return };
    let place = Place::new("live");
    place.write("rsyncd.conf", "use chroot = no\nlock file = PLACE/lock\n[m]\npath = PLACE/dst\nread only = no\nauth users = a\nsecrets file = PLACE/s\n", 0o644);
    place.write("s", "a:long-enough\n", 0o600);
    place.write("pw", "long-enough\n", 0o600);
    place.write("wrong", "something\n", 0o600);
    place.write("src/kept", "longer", 0o644);
    for name in ["kept", "extra1", "extra2"] {
        place.write(&format!("dst/{name}"), "x", 0o644);
    }
    for side in [Side::Theirs, Side::Ours] {
        let log = place.0.join("log");
        let config = place.0.join("rsyncd.conf");
        let server = Server::start(&programs.words(side), &config, &log).unwrap();
        let sync = |port: u16, module: &str, more: &str| {
            format!(
                "[[sync]]\nsource = \"PLACE/src\"\n\
                 target = \"rsync://a@127.0.0.1:{port}/{module}\"\n{more}"
            )
        };
        let closed = free_port();
        for (text, code, wanted) in [
            (sync(server.port, "m", "password_file = \"PLACE/pw\""), 0, ""),
            (
                sync(server.port, "m", "password_file = \"PLACE/pw\"\ndelete = true"),
                1,
                "the first pass would delete 2 entries there",
            ),
            (
                sync(server.port, "m", "password_file = \"PLACE/pw\"\nskip_first = true"),
                1,
                "skip_first = true: 1 files differ at the target",
            ),
            (
                sync(server.port, "m", "password_file = \"PLACE/wrong\""),
                2,
                "auth failed on module m",
            ),
            (
                sync(server.port, "other", "password_file = \"PLACE/pw\""),
                2,
                "Unknown module 'other'; it shows m (one",
            ),
            (sync(server.port, "mm", "password_file = \"PLACE/pw\""), 2, "; did you mean m? (one"),
            (sync(closed, "m", "password_file = \"PLACE/pw\""), 2, "cannot be reached"),
        ] {
            place.write("m.toml", &text, 0o644);
            let (found, lines) = place.check(programs, &["m.toml"]);
            assert_eq!(found, code, "{side:?} {lines:?}");
            assert_eq!(lines.len(), usize::from(code != 0), "{side:?} {lines:?}");
            assert!(lines.iter().all(|line| line.contains(wanted)), "{side:?} {lines:?}");
        }
        assert!(place.0.join("dst/extra1").exists(), "nothing is changed by asking");
    }
}

#[test]
fn a_target_without_room_is_told() {
    let Some(programs) = Programs::find() else { return };
    let place = Place::new("room");
    place.write("src/large", "", 0o644);
    let file = fs::File::options().write(true).open(place.0.join("src/large")).unwrap();
    if file.set_len(8 << 40).is_err() {
        return;
    }
    place.write("m.toml", "[[sync]]\nsource = \"PLACE/src\"\ntarget = \"PLACE/dst\"\n", 0o644);
    let (code, lines) = place.check(programs, &["--offline", "m.toml"]);
    assert_eq!((code, lines.len()), (2, 1), "{lines:?}");
    assert!(
        lines[0].contains("m.toml:3: target = ") && lines[0].contains("has room for"),
        "{lines:?}"
    );
}

#[test]
fn what_is_imported_has_the_mistakes_of_the_original() {
    let Some(programs) = Programs::find() else { return };
    let place = Place::new("import");
    place.write(
        "lsyncd.conf",
        include_str!("../../crates/mirror/tests/data/article_lsyncd.conf"),
        0o644,
    );
    place.write(
        "own.lua",
        "sync { default.rsync, source = '/a', target = '/t', action = print }\n",
        0o644,
    );
    let import = |name: &str| {
        let mut command = Command::new(programs.livemirror());
        command.args(["import", name]).current_dir(&place.0);
        let run = peer::run(command, Vec::new(), LIMIT);
        (run.code, String::from_utf8(run.stdout).unwrap())
    };
    let (code, toml) = import("lsyncd.conf");
    assert_eq!(code, Some(0));
    assert!(toml.contains("# Not carried over: statusFile = "), "{toml}");
    place.write("new.toml", &toml, 0o644);
    // The keys of what is found: those of the original, its log and status files left out.
    let keys = |file: &str| -> Vec<String> {
        let (code, lines) = place.check(programs, &["--offline", file]);
        assert_eq!(code, 2, "{lines:?}");
        let key =
            |line: &String| line.split(": ").nth(1).unwrap().split(" =").next().unwrap().to_owned();
        let mut keys: Vec<String> =
            lines.iter().map(key).map(|k| k.trim_start_matches("rsync.").to_owned()).collect();
        keys.retain(|k| k != "logfile" && k != "statusFile");
        keys.sort();
        keys
    };
    assert_eq!(keys("new.toml"), keys("lsyncd.conf"));
    assert_eq!(keys("new.toml"), ["bwlimit", "exclude", "password_file", "source"]);
    assert_eq!(import("own.lua").0, Some(4), "refused by name");
    assert_eq!(import("new.toml").0, Some(1), "TOML already");
}

#[test]
fn who_holds_the_port_is_named() {
    let Some(programs) = Programs::find() else { return };
    let place = Place::new("port");
    let listener = std::net::TcpListener::bind(("127.0.0.1", free_port())).unwrap();
    let port = listener.local_addr().unwrap().port();
    let text = format!("port = {port}\naddress = 127.0.0.1\nlock file = PLACE/lock\n");
    place.write("rsyncd.conf", &text, 0o644);
    let (code, lines) = place.check(programs, &["rsyncd.conf"]);
    assert_eq!((code, lines.len()), (2, 1), "{lines:?}");
    let wanted = format!("rsyncd.conf:1: port = {port}: process {} (", std::process::id());
    assert!(lines[0].starts_with(&wanted), "{lines:?}");
}

#[test]
fn a_daemon_that_runs_is_named_and_one_at_its_port_is_right() {
    let Some(programs) = Programs::find() else { return };
    for side in [Side::Theirs, Side::Ours] {
        let place = Place::new("running");
        let text = "use chroot = no\nlock file = PLACE/lock\npid file = PLACE/pid\n";
        place.write("rsyncd.conf", &format!("{text}port = 1\n"), 0o644);
        let config = place.0.join("rsyncd.conf");
        let server = Server::start(&programs.words(side), &config, &place.0.join("log")).unwrap();
        let until = std::time::Instant::now() + LIMIT;
        while !fs::read_to_string(place.0.join("pid")).is_ok_and(|text| text.ends_with('\n')) {
            assert!(std::time::Instant::now() < until);
            std::thread::sleep(Duration::from_millis(10));
        }
        let running = fs::read_to_string(place.0.join("pid")).unwrap();
        let at = |port: u16| format!("{text}port = {port}\naddress = 127.0.0.1\n");
        place.write("same.conf", &at(server.port), 0o644);
        assert_eq!(place.check(programs, &["same.conf"]), (0, Vec::new()), "{side:?}");
        place.write("second.conf", &at(free_port()), 0o644);
        let (code, lines) = place.check(programs, &["second.conf"]);
        let wanted = format!("second.conf:3: pid file = PLACE/pid: process {} (", running.trim());
        assert_eq!((code, lines.len()), (2, 1), "{side:?} {lines:?}");
        assert!(lines[0].starts_with(&wanted), "{side:?} {lines:?}");
    }
}

#[test]
fn a_program_that_would_end_the_reader_is_told_and_ends_lsyncd_alike() {
    let Some(programs) = Programs::find() else { return };
    let place = Place::new("ends");
    for (text, code) in [("os.exit(7)", 7), ("os.exit()", 0), ("terminate(3)", 3)] {
        place.write("l.lua", text, 0o644);
        assert_eq!(place.check(programs, &["--offline", "l.lua"]).0, 2, "{text}");
        let config = place.0.join("l.lua");
        let mut lsyncd = vec![Command::new(programs.livemirror())];
        lsyncd[0].arg("lsyncd");
        if PathBuf::from("/usr/bin/lsyncd").exists() {
            lsyncd.push(Command::new("/usr/bin/lsyncd"));
        }
        for mut command in lsyncd {
            command.arg("-nodaemon").arg(&config);
            assert_eq!(peer::run(command, Vec::new(), LIMIT).code, Some(code), "{text}");
        }
    }
}

#[test]
fn what_is_far_too_long_is_not_read() {
    let Some(programs) = Programs::find() else { return };
    let place = Place::new("long");
    for name in ["l.lua", "c.xml", "m.toml", "d.conf"] {
        place.write(name, "", 0o644);
        let file = fs::File::options().write(true).open(place.0.join(name)).unwrap();
        file.set_len(8 << 40).unwrap();
        let (code, lines) = place.check(programs, &["--offline", name]);
        assert_eq!((code, lines.len()), (2, 1), "{lines:?}");
        let wanted = "it is too long for a configuration";
        assert!(lines[0].starts_with(&format!("{name}: {wanted}")), "{lines:?}");
        for door in [&["run"][..], &["import"], &["lsyncd", "-nodaemon"], &["sersync", "-o"]] {
            let mut command = Command::new(programs.livemirror());
            command.args(door).arg(name).current_dir(&place.0);
            let run = peer::run(command, Vec::new(), LIMIT);
            assert!(run.code.is_some_and(|code| code != 0), "{door:?} {name}");
        }
    }
}
