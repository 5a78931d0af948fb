//! How far paths are trusted when the operator says so: `--insecure-links` and the parameter of a
//! module, `--confine-root`, `--max-alloc`. Both programs do the same in places of their own.

// A case that cannot be set up is a failure.
#![allow(clippy::unwrap_used, clippy::panic)]

use std::fs;
use std::os::unix::fs::{PermissionsExt, lchown, symlink};
use std::path::PathBuf;
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use livemirror_tests::peer::{self, Programs, Server, Side};
use livemirror_tests::tree_text;

const LIMIT: Duration = Duration::from_secs(60);
/// A user who is neither root nor the one who runs the test.
const STRANGER: u32 = 4_242;

/// A source, a destination, a module, and `out`, reached by links of the operator and of a stranger.
struct Place(PathBuf);

impl Place {
    fn new(name: &str) -> Place {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let dir = format!("livemirror-trust-{}-{count}-{name}", std::process::id());
        let place = Place(std::env::temp_dir().join(dir));
        for made in ["jail/src/d", "jail/dst", "jail/bak", "out/x/d", "m/d"] {
            fs::create_dir_all(place.0.join(made)).unwrap();
        }
        for (file, content) in [
            ("jail/src/a", "new a"),
            ("jail/src/d/b", "b"),
            ("jail/dst/a", "old"),
            ("jail/bak/rules", "- a\n"),
            ("out/rules", "- a\n"),
            ("out/x/f", "f"),
            ("list", "xl/f\nxl/\nd/b\n"),
            ("m/a", "in module"),
        ] {
            fs::write(place.0.join(file), content).unwrap();
        }
        symlink("../../out/x", place.0.join("jail/src/xl")).unwrap();
        symlink("../../out/rules", place.0.join("jail/src/.outside")).unwrap();
        symlink("../bak/rules", place.0.join("jail/src/.inside")).unwrap();
        symlink("../out", place.0.join("m/far")).unwrap();
        for (text, link) in [("out", "strange"), ("../out/x", "jail/strange"), ("list", "names")] {
            symlink(text, place.0.join(link)).unwrap();
            if am_root() {
                lchown(place.0.join(link), Some(STRANGER), None).unwrap();
            }
        }
        place
    }

    /// Runs a client here; its exit code, and what it said.
    fn run(&self, programs: &Programs, side: Side, words: &[&str]) -> (Option<i32>, String) {
        let here = self.0.to_str().unwrap();
        let client = programs.words(side);
        let mut command = Command::new(&client[0]);
        command.args(&client[1..]).args(words.iter().map(|word| word.replace("{}", here)));
        command.current_dir(&self.0).env("LC_ALL", "C");
        let run = peer::run(command, Vec::new(), LIMIT);
        let said = String::from_utf8_lossy(&[run.stdout, run.stderr].concat()).into_owned();
        (run.code, said)
    }

    fn dump(&self) -> Vec<String> {
        let dump = tree_text::dump(&self.0, Some(1_000_000_000));
        // What logs say differs from run to run.
        let log = |line: &String| line.starts_with("out/log ");
        let named = |line: String| if log(&line) { "out/log".to_owned() } else { line };
        dump.into_iter().filter(|line| !line.contains("daemon")).map(named).collect()
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn am_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// Has both programs do the same; what the place is like afterwards.
#[track_caller]
fn both(words: &[&str], code: i32) -> Vec<String> {
    let programs = Programs::find().unwrap();
    let [ours, theirs] = [Side::Ours, Side::Theirs].map(|side| {
        let place = Place::new(side.word());
        let (ended, said) = place.run(programs, side, words);
        assert_eq!(ended, Some(code), "{side:?} {words:?}: {said}");
        place.dump()
    });
    assert_eq!(ours, theirs, "{words:?}");
    ours
}

/// Whether something named so is in a dump.
fn has(dump: &[String], name: &str) -> bool {
    dump.iter().any(|line| line.split_whitespace().any(|word| word == name))
}

#[test]
fn insecure_links_are_followed_where_the_option_says_so() {
    // A failure would leave trees behind links of others out of reach, or change the default.
    if Programs::find().is_none() {
        return;
    }
    for (words, reaches) in [
        (&["-r", "--insecure-links", "jail/src/", "strange/made"][..], "out/made/a"),
        (
            &[
                "-r",
                "--insecure-links",
                "-b",
                "--backup-dir={}/strange/b",
                "jail/src/",
                "jail/dst/",
            ],
            "out/b/a",
        ),
        (&["-r", "--insecure-links", "-T", "{}/strange", "jail/src/", "jail/dst/"], "jail/dst/d/b"),
        (&["--insecure-links", "--files-from=names", "jail/src/", "jail/dst/"], "jail/dst/d/b"),
        (
            &["-r", "--insecure-links", "--log-file=strange/log", "jail/src/", "jail/dst/"],
            "out/log",
        ),
        (&["-rK", "--insecure-links", "jail/src/d", "strange"], "out/d/b"),
    ] {
        assert!(has(&both(words, 0), reaches), "{words:?}");
    }
    if am_root() {
        both(&["-r", "--insecure-links", "--no-insecure-links", "jail/src/", "strange/"], 3);
    }
}

#[test]
fn a_module_follows_links_only_if_its_operator_says_so() {
    // A failure would let clients out of a module, or not let them where the operator wants it.
    let Some(programs) = Programs::find() else { return };
    for (settings, refuse) in [("insecure links = yes", false), ("", true)] {
        let dumps = [Side::Ours, Side::Theirs].map(|side| {
            let place = Place::new(&format!("module-{}", side.word()));
            let ids = if am_root() { "uid = 0\ngid = 0\n" } else { "" };
            let path = place.0.join("m");
            let path = path.to_str().unwrap();
            let config = format!(
                "{ids}use chroot = no\nmunge symlinks = no\n[m]\npath = {path}\nread only = no\n{settings}\n"
            );
            fs::write(place.0.join("daemon.conf"), config).unwrap();
            let (conf, log) = (place.0.join("daemon.conf"), place.0.join("daemon.log"));
            let server = Server::start(&programs.words(side), &conf, &log).unwrap();
            let url = |rest: &str| format!("rsync://127.0.0.1:{}/m/{rest}", server.port);
            let mut codes = Vec::new();
            for words in [
                ["-rK", "jail/src/d", &url("far")],
                ["-r", "jail/src/d/b", &url("far/x/")],
                ["-rL", &url("far"), "jail/dst/"],
                ["--insecure-links", "jail/src/a", &url("sent")],
                ["-M--insecure-links", "jail/src/a", &url("asked")],
            ]
            .iter()
            // A link that leads out is told in listing; the reference sends it first.
            .filter(|words| !refuse || words[0] != "-rL")
            {
                let (code, said) = place.run(programs, Side::Theirs, words);
                codes.push((code, said.contains("is not allowed") || said.contains("refused")));
            }
            (codes, place.dump())
        });
        assert_eq!(dumps[0], dumps[1], "{settings}");
        let dump = &dumps[0].1;
        assert_eq!(has(dump, "out/d/b"), !refuse, "{settings}: {dump:?}");
        assert_eq!(has(dump, "jail/dst/far/rules"), !refuse, "{settings}: {dump:?}");
        assert!(has(dump, "m/sent") && !has(dump, "m/asked"), "{settings}: {dump:?}");
    }
}

#[test]
fn what_options_name_stays_in_the_confinement_root() {
    // A failure would let whoever has a restricted key read or write outside of the directory.
    if Programs::find().is_none() {
        return;
    }
    let confine = "--confine-root={}/jail";
    let run = |words: &[&str], code| {
        let all: Vec<&str> = [confine, "-rl"].iter().chain(words).copied().collect();
        both(&all, code)
    };
    let out = |dump: &[String]| dump.iter().filter(|line| line.contains(" out/")).count();
    let before = out(&Place::new("before").dump());
    for (words, code) in [
        (&["-b", "--backup-dir={}/out/b", "jail/src/a", "jail/dst/"][..], 11),
        (&["-b", "--backup-dir=../../out/b", "jail/src/a", "jail/dst/"], 11),
        (&["--filter=: .outside", "jail/src/", "jail/dst/"], 0),
        (&["--filter=: .inside", "jail/src/", "jail/dst/"], 0),
        (&["--files-from=list", "jail/src/", "jail/dst/"], 23),
        (&["--partial-dir={}/out/p", "jail/src/", "jail/dst/"], 0),
        (&["--insecure-links", "jail/src/", "jail/dst/"], 1),
        (&["--confine-root=jail", "jail/src/", "jail/dst/"], 1),
        (&["--confine-root={}/none", "jail/src/", "jail/dst/"], 0),
    ] {
        assert_eq!(out(&run(words, code)), before, "{words:?}");
    }
    assert!(has(&run(&["-b", "--backup-dir=../bak", "jail/src/a", "jail/dst/"], 0), "jail/bak/a"));
    assert!(has(
        &run(&["--confine-root=/", "-b", "--backup-dir={}/out/b", "jail/src/a", "jail/dst/"], 0),
        "out/b/a"
    ));
    assert!(!has(&run(&["--filter=: .inside", "jail/src/", "jail/dst/new/"], 0), "jail/dst/new/a"));
    // The reference takes a directory that is not there for no bound.
    let programs = Programs::find().unwrap();
    let words = ["--confine-root={}/none", "-b", "--backup-dir=../bak", "jail/src/a", "jail/dst/"];
    let place = Place::new("none");
    assert_eq!(place.run(programs, Side::Ours, &words).0, Some(11));
    assert!(!place.0.join("jail/bak/a").exists());
    // The reference compares with what lies outside; here it is as if there were nothing.
    for kind in ["--link-dest", "--copy-dest", "--compare-dest"] {
        let place = Place::new("basis");
        fs::write(place.0.join("out/x/a"), "new a").unwrap();
        let option = format!("{kind}={{}}/out/x");
        let words = [confine, "-r", "--size-only", &option, "jail/src/a", "jail/dst/new/"];
        let (code, said) = place.run(programs, Side::Ours, &words);
        assert_eq!(code, Some(0), "{said}");
        assert_eq!(fs::read_to_string(place.0.join("jail/dst/new/a")).unwrap(), "new a");
    }
}

#[test]
fn a_list_that_is_larger_than_allowed_ends_the_run() {
    // A failure would ignore the limit that a script sets.
    let Some(programs) = Programs::find() else { return };
    let place = Place::new("alloc");
    for number in 0..70_000 {
        fs::File::create(place.0.join(format!("m/d/{number}"))).unwrap();
    }
    for (max, code) in [("--max-alloc=1M", 22), ("--max-alloc=2M", 0)] {
        for side in [Side::Ours, Side::Theirs] {
            let words = [max, "-rn", "m/d/", "jail/dst/"];
            let (ended, said) = place.run(programs, side, &words);
            assert_eq!(ended, Some(code), "{side:?}: {said}");
            let told = said.contains("[sender] exceeded --max-alloc=1048576 setting");
            assert_eq!(told, code == 22, "{side:?}: {said}");
        }
    }
}

#[test]
fn a_copy_as_somebody_else_is_made_with_the_rights_of_that_user() {
    // A failure would copy with the rights of root, or as a user that nobody asked for.
    let Some(programs) = Programs::find() else { return };
    if !am_root() {
        return;
    }
    let ends = |words: &[&str], code| {
        let [ours, theirs] = [Side::Ours, Side::Theirs].map(|side| {
            let place = Place::new(side.word());
            fs::set_permissions(&place.0, fs::Permissions::from_mode(0o777)).unwrap();
            fs::set_permissions(place.0.join("m"), fs::Permissions::from_mode(0o700)).unwrap();
            let shell = place.0.join("rsh");
            fs::write(&shell, "#!/bin/sh\nshift\nexec sh -c \"$*\"\n").unwrap();
            fs::set_permissions(&shell, fs::Permissions::from_mode(0o755)).unwrap();
            let path = format!("--rsync-path={}", programs.words(side).join(" "));
            let words: Vec<&str> = ["-e", "{}/rsh", &path].iter().chain(words).copied().collect();
            let (ended, said) = place.run(programs, side, &words);
            assert_eq!(ended, Some(code), "{side:?} {words:?}: {said}");
            place.dump()
        });
        assert_eq!(ours, theirs, "{words:?}");
        ours
    };
    for (words, owner) in [
        (&["-a", "--copy-as=nobody", "jail/src/d/", "new/"][..], "65534:65534"),
        (&["-a", "--copy-as=4243:4244", "jail/src/d/", "new/"], "4243:4244"),
        (&["-a", "--copy-as=nobody:root", "h:{}/jail/src/d/", "new/"], "65534:0"),
        (&["-a", "-M--copy-as=nobody", "jail/src/d/", "h:{}/new/"], "65534:65534"),
    ] {
        let dump = ends(words, 0);
        assert!(dump.iter().any(|l| l.starts_with("new/b ") && l.contains(owner)), "{dump:?}");
    }
    ends(&["-r", "--copy-as=nobody", "m/", "new/"], 23);
    ends(&["-r", "--copy-as=nobody", "jail/src/d/", "m/new/"], 3);
    for wrong in ["nosuchuser", "nobody:nosuchgroup", "nobody:", "", "4243"] {
        ends(&["-r", &format!("--copy-as={wrong}"), "jail/src/d/", "new/"], 1);
    }
    ends(&["-r", "-M--copy-as=nosuchuser", "jail/src/d/", "h:{}/new/"], 1);
    let place = Place::new("both");
    let (ended, _) =
        place.run(programs, Side::Ours, &["-r", "-M--copy-as=nobody", "jail/src/", "new/"]);
    assert_eq!(ended, Some(4));
}
