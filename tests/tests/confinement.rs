//! What lies outside of where a run may go: hidden by a daemon's rules, or behind a symlink. Real
//! programs, real paths; each case says how the run ends and what must stay as it was.

// A case that cannot be set up is a failure.
#![allow(clippy::unwrap_used, clippy::panic)]

use std::fs;
use std::os::unix::fs::symlink;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use livemirror_tests::peer::{self, Programs, Run, Server, Side};

const LIMIT: Duration = Duration::from_secs(60);
/// A user who is neither root nor the one who runs the test.
const STRANGER: u32 = 4_242;

/// A directory of its own with a source, a destination, a module and something outside.
struct Place(PathBuf);

impl Place {
    fn new(name: &str) -> Place {
        let dir = format!("livemirror-confinement-{}-{name}", std::process::id());
        let place = Place(std::env::temp_dir().join(dir));
        for made in ["src/d", "dst", "m/secret/sub", "m/d", "m/open", "out"] {
            fs::create_dir_all(place.0.join(made)).unwrap();
        }
        for (file, content) in [
            ("src/new", "new"),
            ("src/d/f", "f"),
            ("m/secret/s", "hidden"),
            ("m/secret/sub/t", "hidden too"),
            ("m/d/secret.txt", "kept"),
            ("m/d/f", "old"),
            ("m/open/o", "open"),
            ("out/victim", "intact"),
        ] {
            fs::write(place.0.join(file), content).unwrap();
        }
        place
    }

    fn path(&self, name: &str) -> String {
        self.0.join(name).to_str().unwrap().to_owned()
    }

    fn read(&self, name: &str) -> Option<String> {
        fs::read_to_string(self.0.join(name)).ok()
    }

    fn names(&self, name: &str) -> Vec<String> {
        let items = fs::read_dir(self.0.join(name)).unwrap();
        let mut names: Vec<_> =
            items.map(|i| i.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    /// Makes a symlink that belongs to somebody who is not trusted.
    fn strange_link(&self, text: &str, name: &str) {
        symlink(text, self.0.join(name)).unwrap();
        std::os::unix::fs::lchown(self.0.join(name), Some(STRANGER), None).unwrap();
    }

    /// The same where that can be done; else a link of one's own.
    fn strange_link_if_root(&self, text: &str, name: &str) {
        match am_root() {
            true => self.strange_link(text, name),
            false => symlink(text, self.0.join(name)).unwrap(),
        }
    }

    /// Nothing came, went or changed there.
    fn outside_is_untouched(&self) -> bool {
        self.names("out") == ["victim"] && self.read("out/victim").unwrap() == "intact"
    }

    fn daemon(&self, programs: &Programs, settings: &str) -> Server {
        let (uid, gid) = (rustix::process::getuid(), rustix::process::getgid());
        let ids = match uid.is_root() {
            true => format!("uid = {}\ngid = {}\n", uid.as_raw(), gid.as_raw()),
            false => String::new(),
        };
        let config = format!("{ids}[m]\npath = {}\nread only = no\n{settings}\n", self.path("m"));
        fs::write(self.0.join("conf"), config).unwrap();
        let log = self.0.join("daemon.log");
        Server::start(&programs.words(Side::Ours), &self.0.join("conf"), &log).unwrap()
    }

    /// Runs our client in this directory.
    fn run(&self, programs: &Programs, words: &[&str]) -> Run {
        let client = programs.words(Side::Ours);
        let mut command = Command::new(&client[0]);
        command.args(&client[1..]).args(words).current_dir(&self.0);
        command.env("LC_ALL", "C");
        peer::run(command, Vec::new(), LIMIT)
    }

    /// Runs it and compares the exit code; what it said on both outputs.
    #[track_caller]
    fn ends(&self, programs: &Programs, words: &[&str], code: i32) -> String {
        let run = self.run(programs, words);
        let said = [run.stdout, run.stderr].concat();
        let said = String::from_utf8_lossy(&said).into_owned();
        assert_eq!(run.code, Some(code), "{words:?}: {said}");
        said
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

#[test]
fn what_a_daemon_hides_cannot_be_pulled() {
    // A failure would hand out what the operator excluded, to whoever names it directly.
    let Some(programs) = Programs::find() else { return };
    for settings in ["use chroot = no\nexclude = /secret", "exclude = /secret"] {
        let place = Place::new("pull");
        let server = place.daemon(programs, settings);
        let url = |path: &str| format!("rsync://127.0.0.1:{}/m/{path}", server.port);
        for (path, word) in
            [("secret/", "change_dir"), ("secret/s", "change_dir"), ("secret/sub", "change_dir")]
        {
            let said = place.ends(programs, &["-r", &url(path), "dst/"], 23);
            assert!(said.contains(word) && said.contains("No such file or directory (2)"));
        }
        for path in ["secret", "secret/s", "secret/sub/"] {
            let said = place.ends(programs, &["-rR", &url(path), "dst/"], 23);
            assert!(said.contains("link_stat"), "{said}");
        }
        fs::write(place.0.join("list"), "secret/s\nopen/o\n").unwrap();
        place.ends(programs, &["--files-from=list", &url(""), "dst/"], 23);
        assert_eq!(place.names("dst"), ["open"]);
        let said = place.ends(programs, &["--files-from=:secret/s", &url(""), "dst/"], 4);
        assert!(said.contains("rsync: Your options have been rejected by the server."), "{said}");
    }
}

#[test]
fn what_a_daemon_hides_cannot_be_written_or_deleted() {
    // A failure would let a client change or remove what it may not even see.
    let Some(programs) = Programs::find() else { return };
    let place = Place::new("push");
    let server = place.daemon(programs, "use chroot = no\nexclude = /secret secret.txt");
    let url = |path: &str| format!("rsync://127.0.0.1:{}/m/{path}", server.port);
    for (source, path) in
        [("src/", "secret/"), ("src/", "secret"), ("src/new", "secret"), ("src/new", "secret.txt")]
    {
        let said = place.ends(programs, &["-rt", source, &url(path)], 3);
        let line = format!("ERROR: daemon has excluded destination \"{path}\"");
        assert!(said.contains(&line), "{said}");
    }
    assert_eq!(place.names("m/secret"), ["s", "sub"]);
    fs::remove_dir_all(place.0.join("src/d")).unwrap();
    let said = place.ends(programs, &["-rt", "--delete", "src/", &url("")], 0);
    assert!(said.contains("cannot delete non-empty directory: d"), "{said}");
    assert_eq!(place.names("m/d"), ["secret.txt"], "what is not hidden there went");
    assert_eq!(place.names("m/secret"), ["s", "sub"]);
    fs::write(place.0.join("src/secret.txt"), "x").unwrap();
    let said = place.ends(programs, &["-rt", "src/", &url("")], 23);
    assert!(said.contains("ERROR: daemon refused to receive file \"secret.txt\"\n"), "{said}");
}

#[test]
fn what_a_daemon_hides_is_no_place_to_keep_things_in() {
    // A failure would let a client reach it as the directory or the name of what is put aside.
    let Some(programs) = Programs::find() else { return };
    let place = Place::new("aside");
    let server = place.daemon(programs, "use chroot = no\nexclude = /secret secret.txt");
    let url = format!("rsync://127.0.0.1:{}/m/", server.port);
    let hidden =
        |place: &Place| (place.names("m/secret"), fs::read(place.0.join("m/secret/s")).ok());
    let before = hidden(&place);
    assert_eq!(before.0, ["s", "sub"]);
    fs::write(place.0.join("src/s"), "of the client").unwrap();
    for dir in ["secret", "secret/sub", "./secret/"] {
        let partial = format!("--partial-dir={dir}");
        for more in ["--delay-updates", "--partial"] {
            let _ = fs::remove_file(place.0.join("m/s"));
            place.ends(programs, &["-rt", &partial, more, "src/", &url], 0);
            assert_eq!(place.read("m/s").as_deref(), Some("of the client"), "{partial} {more}");
            assert_eq!(hidden(&place), before, "{partial} {more}");
        }
    }
    for (name, content) in [("m/secret.tx", "old"), ("m/secret.txt", "hidden")] {
        fs::write(place.0.join(name), content).unwrap();
    }
    fs::write(place.0.join("src/secret.tx"), "newer").unwrap();
    let said = place.ends(programs, &["-rtb", "--suffix=t", "src/", &url], 23);
    assert!(said.contains("make_backup \"secret.tx\" (in m) failed: Permission denied"), "{said}");
    assert_eq!(place.read("m/secret.txt").as_deref(), Some("hidden"));
    assert_eq!(place.read("m/secret.tx").as_deref(), Some("old"));
}

const EXPLAINS: &str =
    "refusing to follow a symlink owned by an untrusted user; use --insecure-links";
const LOOPS: &str = "Too many levels of symbolic links";

#[test]
fn links_of_strangers_lead_no_option_and_no_destination_away() {
    // A failure would let a user who may write in a shared directory choose where root writes.
    let Some(programs) = Programs::find() else { return };
    if !am_root() {
        return;
    }
    for (words, code, text) in [
        (&["-r", "src/", "strange"][..], 3, "change_dir#1 "),
        (&["-r", "src/", "strange/"], 3, "change_dir#1 "),
        (&["-r", "src/", "strange/made/"], 3, "change_dir#2 "),
        (&["src/new", "strange/made"], 3, "change_dir#3 "),
        (&["-r", "--temp-dir={}/strange", "src/", "dst/"], 23, "mkstemp "),
        (&["-r", "-b", "--backup-dir={}/strange", "src/", "dst/"], 11, "keep_backup failed: "),
        (&["--files-from=strange/list", "src/", "dst/"], 1, "failed to open files-from file "),
        (&["-r", "--exclude-from=strange_list", "src/", "dst/"], 11, "failed to open exclude file"),
        (&["-r", "--include-from=strange_list", "src/", "dst/"], 11, "failed to open include file"),
        (&["-r", "--filter=. strange_list", "src/", "dst/"], 11, "failed to open exclude file"),
    ] {
        let place = Place::new("strange");
        place.strange_link("out", "strange");
        place.strange_link("list", "strange_list");
        fs::write(place.0.join("list"), "new\n").unwrap();
        fs::write(place.0.join("dst/new"), "old content").unwrap();
        let words: Vec<String> =
            words.iter().map(|w| w.replace("{}", place.0.to_str().unwrap())).collect();
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        let said = place.ends(programs, &words, code);
        for expected in [EXPLAINS, text, LOOPS] {
            assert!(said.contains(expected), "{words:?}: {expected}: {said}");
        }
        assert!(place.outside_is_untouched(), "{words:?}");
        assert_eq!(place.read("dst/new").unwrap(), "old content", "{words:?}");
    }
}

#[test]
fn a_rule_file_of_a_directory_counts_behind_own_links_only() {
    // A failure would ignore rules that the operator linked, or obey those of a stranger.
    let Some(programs) = Programs::find() else { return };
    let place = Place::new("rules");
    fs::write(place.0.join("out/rules"), "- f\n").unwrap();
    symlink("../../out/rules", place.0.join("src/d/.rules")).unwrap();
    place.ends(programs, &["-r", "--filter=: .rules", "src/", "dst/"], 0);
    assert_eq!(place.read("dst/d/f"), None);
    if am_root() {
        std::os::unix::fs::lchown(place.0.join("src/d/.rules"), Some(STRANGER), None).unwrap();
        let said = place.ends(programs, &["-r", "--filter=: .rules", "src/", "dst/"], 0);
        assert!(said.contains(EXPLAINS), "{said}");
        assert_eq!(place.read("dst/d/f").unwrap(), "f");
    }
    // A client's rule names no file outside of the module.
    fs::write(place.0.join("m/d/.own"), "- f\n").unwrap();
    symlink(place.0.join("m/d/.own"), place.0.join("m/d/.inside")).unwrap();
    symlink("../../out/rules", place.0.join("m/d/.outside")).unwrap();
    let server = place.daemon(programs, "use chroot = no");
    let url = format!("rsync://127.0.0.1:{}/m/d/", server.port);
    place.ends(programs, &["-r", "--filter=: .inside", &url, "dst/inside/"], 0);
    assert_eq!(place.read("dst/inside/f"), None);
    place.ends(programs, &["-r", "--filter=: .outside", &url, "dst/outside/"], 0);
    assert_eq!(place.read("dst/outside/f").unwrap(), "old");
}

#[test]
fn named_sources_go_through_links_and_listed_ones_through_trusted_links() {
    // A failure would refuse what the operator named, or follow a stranger's link for a list.
    let Some(programs) = Programs::find() else { return };
    let place = Place::new("sources");
    symlink(place.0.join("out"), place.0.join("src/abs")).unwrap();
    symlink("../out", place.0.join("src/rel")).unwrap();
    place.strange_link_if_root("d", "src/strange");
    place.ends(programs, &["-rlR", "src/./abs/victim", "src/./rel/", "src/./strange/f", "dst/"], 0);
    for file in ["dst/abs/victim", "dst/rel/victim"] {
        assert_eq!(place.read(file).unwrap(), "intact", "{file}");
    }
    assert_eq!(place.read("dst/strange/f").unwrap(), "f");
    fs::write(place.0.join("list"), "abs/victim\nrel/\nabs\n").unwrap();
    place.ends(programs, &["-l", "--files-from=list", "src/", "dst/listed/"], 0);
    assert_eq!(place.read("dst/listed/rel/victim").unwrap(), "intact");
    if am_root() {
        for name in ["strange/f", "strange/"] {
            fs::write(place.0.join("list"), format!("{name}\nnew\n")).unwrap();
            let said = place.ends(programs, &["-l", "--files-from=list", "src/", "dst/two/"], 23);
            assert!(said.contains(EXPLAINS) && said.contains("link_stat ") && said.contains(LOOPS));
            assert_eq!(place.names("dst/two"), ["new"], "{name}");
        }
    }
}

#[test]
fn what_a_client_names_in_a_module_stays_in_it() {
    // A failure would let a client write its temporary or old files, or read its list, elsewhere.
    let Some(programs) = Programs::find() else { return };
    let place = Place::new("module");
    symlink("../out", place.0.join("m/leaves")).unwrap();
    symlink(place.0.join("out"), place.0.join("m/absolute")).unwrap();
    symlink("open", place.0.join("m/inside")).unwrap();
    fs::write(place.0.join("m/list"), "open/o\n").unwrap();
    symlink(place.0.join("m/list"), place.0.join("m/list_inside")).unwrap();
    fs::write(place.0.join("out/list"), "open/o\n").unwrap();
    symlink("../out/list", place.0.join("m/list_outside")).unwrap();
    let server = place.daemon(programs, "use chroot = no");
    let url = |path: &str| format!("rsync://127.0.0.1:{}/m/{path}", server.port);
    for link in ["/leaves", "/absolute"] {
        fs::write(place.0.join("m/d/new"), "older content").unwrap();
        let temp = format!("--temp-dir={link}");
        let said = place.ends(programs, &["-r", &temp, "src/new", &url("d/")], 23);
        assert!(said.contains("mkstemp ") && said.contains(LOOPS), "{said}");
        let backup = format!("--backup-dir={link}");
        let said = place.ends(programs, &["-rb", &backup, "src/new", &url("d/")], 11);
        assert!(said.contains("keep_backup failed: ") && said.contains(LOOPS), "{said}");
        let partial = format!("--partial-dir={link}");
        place.ends(programs, &["-r", &partial, "src/new", &url("d/")], 0);
    }
    for dest in ["leaves/", "absolute", "leaves/x/y/"] {
        let said = place.ends(programs, &["-r", "src/", &url(dest)], 3);
        assert!(said.contains("change_dir#") && said.contains(LOOPS), "{said}");
    }
    fs::write(place.0.join("m/d/new"), "older content").unwrap();
    place.ends(programs, &["-rb", "--backup-dir=/inside", "src/new", &url("d/")], 0);
    assert_eq!(place.read("m/open/new").unwrap(), "older content");
    place.ends(programs, &["--files-from=:list_inside", &url(""), "dst/"], 0);
    assert_eq!(place.read("dst/open/o").unwrap(), "open");
    let said = place.ends(programs, &["--files-from=:list_outside", &url(""), "dst/two/"], 1);
    assert!(said.contains("rsync: failed to open files-from file list_outside: "), "{said}");
    fs::remove_file(place.0.join("out/list")).unwrap();
    assert!(place.outside_is_untouched());
}

#[test]
fn what_is_compared_with_lies_where_a_run_may_look() {
    // A failure would link or copy a file from outside into a module, or from a stranger's choice.
    use std::os::unix::fs::MetadataExt;
    let Some(programs) = Programs::find() else { return };
    let place = Place::new("basis");
    let outside = fs::metadata(place.0.join("out/victim")).unwrap();
    for file in ["src/victim", "m/open/victim"] {
        fs::write(place.0.join(file), "intact").unwrap();
        let copy = fs::File::options().write(true).open(place.0.join(file)).unwrap();
        copy.set_modified(outside.modified().unwrap()).unwrap();
    }
    let links = |file: &str| fs::metadata(place.0.join(file)).unwrap().nlink();
    symlink("../out", place.0.join("m/leaves")).unwrap();
    symlink(place.0.join("out"), place.0.join("m/absolute")).unwrap();
    symlink("open", place.0.join("m/inside")).unwrap();
    let server = place.daemon(programs, "use chroot = no\nfilter = - /secret");
    let url = |path: &str| format!("rsync://127.0.0.1:{}/m/{path}", server.port);
    let above = place.path("out");
    let ways =
        ["/leaves", "/absolute", "../leaves", "../../out", "/../out", "/d/../../out", &above];
    for (at, way) in ways.into_iter().enumerate() {
        let basis = format!("--link-dest={way}");
        let dest = url(&format!("to{at}/"));
        place.ends(programs, &["-t", &basis, "src/victim", &dest], 0);
        let made = format!("m/to{at}/victim");
        assert_eq!((links(&made), links("out/victim")), (1, 1), "{way}");
    }
    for (at, way) in ["/open", "/inside", "../open", "../inside"].into_iter().enumerate() {
        let basis = format!("--link-dest={way}");
        place.ends(programs, &["-t", &basis, "src/victim", &url(&format!("in{at}/"))], 0);
        assert_eq!(links("m/open/victim"), at as u64 + 2, "{way}");
    }
    for way in ["/secret", "../secret/sub", "/d/../secret"] {
        let basis = format!("--copy-dest={way}");
        let said = place.ends(programs, &["-t", &basis, "src/victim", &url("no/")], 1);
        assert!(said.contains("Your options have been rejected by the server."), "{said}");
    }
    let strange = [format!("--link-dest={}", place.path("strange")), "--link-dest=../own".into()];
    symlink("out", place.0.join("own")).unwrap();
    place.strange_link_if_root("out", "strange");
    let expected = if am_root() { [1, 2] } else { [2, 3] };
    for (at, (basis, links_after)) in strange.iter().zip(expected).enumerate() {
        let dest = format!("dst{at}/");
        place.ends(programs, &["-t", basis, "src/victim", &dest], 0);
        assert_eq!(place.read(&format!("{dest}victim")).unwrap(), "intact");
        assert_eq!(links("out/victim"), links_after, "{basis}");
    }
    assert!(place.outside_is_untouched());
}

#[test]
fn a_partial_directory_is_made_when_something_is_kept_and_never_above() {
    // A failure would leave directories behind, or remove one that was never a partial directory.
    let Some(programs) = Programs::find() else { return };
    let place = Place::new("partial");
    let absolute = format!("--partial-dir={}", place.path("partial"));
    place.ends(programs, &["-r", &absolute, "src/", "dst/"], 0);
    assert!(!place.0.join("partial").exists());
    place.ends(programs, &["-r", "--partial-dir=../d", "src/", "dst/two/"], 0);
    assert_eq!(place.read("dst/two/new").unwrap(), "new");
}

/// Ends the swapping when it goes.
struct Stop<'a>(&'a std::sync::atomic::AtomicBool);

impl Drop for Stop<'_> {
    fn drop(&mut self) {
        self.0.store(true, std::sync::atomic::Ordering::Relaxed);
    }
}

/// Swaps a directory for a symlink to the outside, again and again, until told to stop.
fn swap(place: &Place, dir: &str, stop: &std::sync::atomic::AtomicBool) -> u32 {
    use rustix::fs::{CWD, RenameFlags, renameat_with};
    let (dir, link) = (place.0.join(dir), place.0.join("swapped"));
    symlink(place.0.join("out"), &link).unwrap();
    let mut count = 0;
    while !stop.load(std::sync::atomic::Ordering::Relaxed) {
        if renameat_with(CWD, &dir, CWD, &link, RenameFlags::EXCHANGE).is_ok() {
            count += 1;
        }
    }
    count
}

#[test]
fn a_directory_that_turns_into_a_link_meanwhile_leads_nowhere() {
    // A failure would let whoever owns a directory of the destination redirect what root writes,
    // deletes, backs up or keeps.
    let Some(programs) = Programs::find() else { return };
    for words in [
        &["-rlpt", "--ignore-times"][..],
        &["-rlpt", "--ignore-times", "--inplace"],
        &["-rlpt", "--ignore-times", "--delete", "--force"],
        &["-rlpt", "--ignore-times", "-b", "--delete", "--backup-dir=saved"],
        &["-rlpt", "--ignore-times", "-b"],
        &["-rlpt", "--ignore-times", "--no-W", "--partial-dir=.part"],
        &["-rlptR", "--ignore-times"],
    ] {
        let place = Place::new("race");
        let files: Vec<String> = (0..40).map(|n| format!("d/sub/f{n}")).collect();
        fs::create_dir_all(place.0.join("src/d/sub")).unwrap();
        for file in &files {
            fs::write(place.0.join("src").join(file), file).unwrap();
        }
        fs::create_dir_all(place.0.join("out/sub")).unwrap();
        for file in ["out/f1", "out/sub/f1", "out/sub/extra"] {
            fs::write(place.0.join(file), "intact").unwrap();
        }
        place.ends(programs, &["-a", "src/", "dst/"], 0);
        let stop = std::sync::atomic::AtomicBool::new(false);
        let before = tree_of(&place, "out");
        let swaps = std::thread::scope(|scope| {
            // A failure ends the swapping too.
            let ended = Stop(&stop);
            let swapper = scope.spawn(|| swap(&place, "dst/d", &stop));
            for round in 0..12 {
                fs::write(place.0.join("src/d/sub").join(format!("new{round}")), "x").unwrap();
                let source = if words[0].contains('R') { "src/./" } else { "src/" };
                let words = [words, &[source, "dst/"]].concat();
                let run = place.run(programs, &words);
                let said = String::from_utf8_lossy(&run.stderr);
                assert!(matches!(run.code, Some(0 | 11 | 23 | 24)), "{words:?}: {said}");
            }
            drop(ended);
            swapper.join().unwrap()
        });
        assert!(swaps > 100, "the directory was swapped only {swaps} times");
        assert_eq!(tree_of(&place, "out"), before, "{words:?}");
    }
}

/// How long an attacker swaps directories of a daemon, for each direction.
const RACE: Duration = Duration::from_secs(10);

#[test]
fn a_module_whose_directories_turn_into_links_hands_out_and_takes_nothing_else() {
    // A failure would let who owns a directory of a module read or write anything through root's
    // daemon.
    let Some(programs) = Programs::find() else { return };
    for push in [true, false] {
        let place = Place::new("daemon-race");
        for top in ["src/d/sub", "m/d/sub", "out/sub"] {
            fs::create_dir_all(place.0.join(top)).unwrap();
            for n in 0..40 {
                let content = if top.starts_with("out") { "intact" } else { top };
                fs::write(place.0.join(top).join(format!("f{n}")), content).unwrap();
            }
        }
        let server = place.daemon(programs, "use chroot = no\nmunge symlinks = no");
        let url = |path: &str| format!("rsync://127.0.0.1:{}/m/{path}", server.port);
        let before = tree_of(&place, "out");
        let stop = std::sync::atomic::AtomicBool::new(false);
        let (swaps, rounds) = std::thread::scope(|scope| {
            let ended = Stop(&stop);
            let swapper = scope.spawn(|| swap(&place, "m/d", &stop));
            let start = std::time::Instant::now();
            let mut rounds = 0;
            while start.elapsed() < RACE {
                let _ = fs::remove_dir_all(place.0.join("dst"));
                fs::create_dir(place.0.join("dst")).unwrap();
                let (whole, below, inside) = (url(""), url("./d/sub/"), url("d/sub/"));
                let words: [&[&str]; 3] = match push {
                    true => [
                        &["-rlt", "--ignore-times", "src/", &whole],
                        &["-rlt", "--ignore-times", "--delete", "--force", "src/d/sub/", &inside],
                        &["-rltb", "--ignore-times", "--inplace", "src/", &whole],
                    ],
                    // Without links: one that is copied leads the reader of this test out.
                    false => [
                        &["-rt", &whole, "dst/"],
                        &["-rtR", &below, "dst/"],
                        &["-rtc", &inside, "dst/"],
                    ],
                };
                let run = place.run(programs, words[rounds % 3]);
                let said = String::from_utf8_lossy(&run.stderr);
                assert!(matches!(run.code, Some(0 | 3 | 11 | 23 | 24)), "{words:?}: {said}");
                let got = tree_of(&place, "dst");
                let strange = got.iter().find(|(_, content)| content.as_deref() == Some("intact"));
                assert_eq!(strange, None, "{:?}", words[rounds % 3]);
                rounds += 1;
            }
            drop(ended);
            (swapper.join().unwrap(), rounds)
        });
        assert!(swaps > 100 && rounds > 10, "{swaps} swaps, {rounds} rounds");
        assert_eq!(tree_of(&place, "out"), before);
    }
}

/// Every path below a directory with its content.
fn tree_of(place: &Place, dir: &str) -> Vec<(String, Option<String>)> {
    let mut found = Vec::new();
    for name in place.names(dir) {
        let path = format!("{dir}/{name}");
        found.push((path.clone(), place.read(&path)));
        if place.0.join(&path).is_dir() {
            found.extend(tree_of(place, &path));
        }
    }
    found
}
