//! A key that reaches one directory: our forced command and, where it is installed, the reference's
//! `rrsync`, each with both clients, through a remote shell that hands the command over as sshd does.

// A case that cannot be set up is a failure.
#![allow(clippy::unwrap_used, clippy::panic)]

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use livemirror_tests::peer::{self, Programs, Run, Side};

const LIMIT: Duration = Duration::from_secs(60);
const RRSYNC: &str = "/usr/bin/rrsync";

/// A restricted directory, something outside, a source, and a shell that runs the forced command.
struct Place {
    dir: PathBuf,
    server: Side,
}

impl Place {
    fn new(name: &str, server: Side) -> Place {
        let dir = format!("livemirror-restrict-{}-{name}-{}", std::process::id(), server.word());
        let place = Place { dir: std::env::temp_dir().join(dir), server };
        for made in ["src/d", "dst", "m/sub/deep", "out"] {
            fs::create_dir_all(place.dir.join(made)).unwrap();
        }
        for (file, content) in [
            ("src/new", "new"),
            ("src/d/f", "f"),
            ("m/sub/f", "old"),
            ("m/sub/.hidden", "dot"),
            ("m/sub/x*y", "star"),
            ("m/sub/x y", "blank"),
            ("m/list", "sub/f\n"),
            ("out/victim", "intact"),
            ("out/list", "sub/f\n"),
        ] {
            fs::write(place.dir.join(file), content).unwrap();
        }
        symlink("../out", place.dir.join("m/leaves")).unwrap();
        symlink(place.dir.join("out"), place.dir.join("m/absolute")).unwrap();
        symlink("sub", place.dir.join("m/inside")).unwrap();
        place
    }

    fn path(&self, name: &str) -> String {
        self.dir.join(name).to_str().unwrap().to_owned()
    }

    fn read(&self, name: &str) -> Option<String> {
        fs::read_to_string(self.dir.join(name)).ok()
    }

    fn names(&self, name: &str) -> Vec<String> {
        let items = fs::read_dir(self.dir.join(name)).unwrap();
        let mut names: Vec<_> =
            items.map(|item| item.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    fn forced(&self, programs: &Programs) -> String {
        match self.server {
            Side::Ours => format!("'{}' restrict", programs.livemirror().display()),
            Side::Theirs => RRSYNC.to_owned(),
        }
    }

    /// Runs a client in this directory with the forced command's words before DIR.
    fn run(&self, programs: &Programs, client: Side, grants: &str, words: &[&str]) -> Run {
        let shell = format!(
            "#!/bin/sh\nshift\nSSH_ORIGINAL_COMMAND=\"$*\" exec {} {grants} '{}'\n",
            self.forced(programs),
            self.path("m")
        );
        fs::write(self.dir.join("shell"), shell).unwrap();
        fs::set_permissions(self.dir.join("shell"), PermissionsExt::from_mode(0o755)).unwrap();
        let client = programs.words(client);
        let mut command = Command::new(&client[0]);
        command.args(&client[1..]).args(["-e", "./shell"]).args(words).current_dir(&self.dir);
        command.env("LC_ALL", "C").env_remove("RSYNC_RSH");
        peer::run(command, Vec::new(), LIMIT)
    }

    /// The same, and what it said; the exit code must be this one.
    #[track_caller]
    fn ends(
        &self,
        programs: &Programs,
        client: Side,
        grants: &str,
        words: &[&str],
        code: i32,
    ) -> String {
        let run = self.run(programs, client, grants, words);
        let said = [run.stdout, run.stderr].concat();
        let said = String::from_utf8_lossy(&said).into_owned();
        let (client, server) = (client.word(), self.server.word());
        assert_eq!(run.code, Some(code), "{client} {server} {grants} {words:?}: {said}");
        said
    }

    /// Hands a command to the forced command as sshd does: the exit code and standard error.
    fn command(&self, programs: &Programs, grants: &str, command: Option<&str>) -> (i32, String) {
        let mut shell = Command::new("/bin/sh");
        let line = format!("exec {} {grants} '{}'", self.forced(programs), self.path("m"));
        shell.args(["-c", &line]).current_dir(&self.dir).env_remove("SSH_ORIGINAL_COMMAND");
        if let Some(command) = command {
            shell.env("SSH_ORIGINAL_COMMAND", command);
        }
        let run = peer::run(shell, Vec::new(), LIMIT);
        (run.code.unwrap(), String::from_utf8_lossy(&run.stderr).into_owned())
    }

    fn outside_is_untouched(&self) {
        assert_eq!(self.names("out"), ["list", "victim"]);
        assert_eq!(self.read("out/victim").unwrap(), "intact");
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.dir);
    }
}

/// Both servers, as far as they are there.
fn servers() -> Vec<Side> {
    match Path::new(RRSYNC).is_file() {
        true => vec![Side::Ours, Side::Theirs],
        false => vec![Side::Ours],
    }
}

/// Whether it ended of its own, and not well.
fn fails(run: &Run) -> bool {
    run.code.is_some_and(|code| code != 0)
}

const CLIENTS: [Side; 2] = [Side::Ours, Side::Theirs];

#[test]
fn what_is_allowed_works_with_both_clients_as_with_the_reference() {
    // A failure would lock out a client that rrsync serves.
    let Some(programs) = Programs::find() else { return };
    for (client, server) in
        CLIENTS.into_iter().flat_map(|c| servers().into_iter().map(move |s| (c, s)))
    {
        let place = Place::new(&format!("works-{}", client.word()), server);
        let ok = |words: &[&str]| place.ends(programs, client, "", words, 0);
        ok(&["-a", "src/", "h:up/"]);
        assert_eq!(place.read("m/up/d/f").unwrap(), "f");
        ok(&["-a", "--delete", "src/d/", "h:/up"]);
        assert_eq!(place.names("m/up"), ["f"]);
        ok(&["-a", "h:sub/", "dst/pull/"]);
        assert_eq!(place.names("dst/pull"), [".hidden", "deep", "f", "x y", "x*y"]);
        ok(&["h:/sub/f", "dst/f"]);
        assert_eq!(place.read("dst/f").unwrap(), "old");
        ok(&["h:sub/x*", "dst/"]);
        assert_eq!(place.names("dst"), ["f", "pull", "x y", "x*y"]);
        ok(&["h:sub/x y", "dst/blank"]);
        assert_eq!(place.read("dst/blank").unwrap(), "blank");
        assert!(ok(&["h:"]).contains("sub"));
        ok(&["-r", "--files-from=:list", "h:", "dst/listed/"]);
        assert_eq!(place.read("dst/listed/sub/f").unwrap(), "old");
        // Links travel as they are.
        ok(&["-rl", "h:", "dst/whole/"]);
        assert_eq!(fs::read_link(place.dir.join("dst/whole/leaves")).unwrap(), Path::new("../out"));
        ok(&["-rl", "dst/whole/", "h:again/"]);
        assert_eq!(fs::read_link(place.dir.join("m/again/leaves")).unwrap(), Path::new("../out"));
        // What an option names begins at the top, not at the destination.
        for way in ["up", "/up"] {
            fs::remove_dir_all(place.dir.join("m/linked")).unwrap_or_default();
            ok(&["-a", &format!("--link-dest={way}"), "src/d/", "h:linked/"]);
            let inode = |name: &str| fs::metadata(place.dir.join(name)).unwrap().ino();
            assert_eq!(inode("m/up/f"), inode("m/linked/f"), "{way}");
        }
        fs::write(place.dir.join("m/up/f"), "other").unwrap();
        ok(&["-ab", "--backup-dir=saved/x", "src/d/", "h:up/"]);
        assert_eq!(place.read("m/saved/x/f").unwrap(), "other");
        rustix::fs::mkfifoat(rustix::fs::CWD, place.dir.join("src/d/pipe"), 0o600.into()).unwrap();
        assert!(ok(&["-a", "src/d/", "h:up/"]).contains("skipping non-regular file \"pipe\""));
        assert_eq!(place.names("m/up"), ["f"]);
        place.outside_is_untouched();
    }
}

#[test]
fn escapes_are_refused() {
    // A failure would let the holder of a key read or write outside of the directory.
    let Some(programs) = Programs::find() else { return };
    for (client, server) in
        CLIENTS.into_iter().flat_map(|c| servers().into_iter().map(move |s| (c, s)))
    {
        let place = Place::new(&format!("escapes-{}", client.word()), server);
        let refused = |words: &[&str], text: &str| {
            let run = place.run(programs, client, "", words);
            let said = String::from_utf8_lossy(&run.stderr).into_owned();
            assert!(fails(&run) && said.contains(text), "{words:?}: {said}");
        };
        let above = "do not use .. in ";
        for path in ["..", "../out", "sub/../../out", "/../out/victim", "sub/.."] {
            refused(&["-r", &format!("h:{path}"), "dst/"], above);
            refused(&["-r", "src/", &format!("h:{path}")], above);
        }
        for option in
            ["temp-dir", "backup-dir", "partial-dir", "link-dest", "copy-dest", "compare-dest"]
        {
            refused(&["-rb", &format!("--{option}=../out"), "src/", "h:up/"], above);
            let option = format!("--{option}=leaves");
            refused(&["-rb", &option, "src/", "h:up/"], "unsafe arg: leaves");
        }
        refused(&["-r", "--files-from=:../out/list", "h:", "dst/"], above);
        for path in ["leaves", "leaves/", "leaves/victim", "absolute/", "absolute/victim"] {
            refused(&["-r", &format!("h:{path}"), "dst/"], "unsafe arg: ");
            refused(&["-r", "src/", &format!("h:{path}")], "unsafe arg: ");
        }
        for option in ["-L", "-k", "--copy-unsafe-links"] {
            refused(&["-r", option, "h:", "dst/"], "has been disabled on this server.");
        }
        refused(&["-rK", "src/", "h:"], "option -K has been disabled on this server.");
        refused(&["-rs", "src/", "h:"], "option -s has been disabled on this server.");
        let log = format!("-M--log-file={}", place.path("out/log"));
        let run = place.run(programs, client, "", &["-r", &log, "src/", "h:up/"]);
        assert!(server == Side::Theirs || fails(&run), "{log}");
        // A whole path of this machine is one below the directory.
        let run =
            place.run(programs, client, "", &["-r", &format!("h:{}", place.path("out")), "dst/"]);
        assert!(fails(&run));
        let basis = format!("--link-dest={}", place.path("out"));
        fs::copy(place.dir.join("out/victim"), place.dir.join("src/victim")).unwrap();
        place.ends(programs, client, "", &["-r", "--size-only", &basis, "src/", "h:based/"], 0);
        assert_eq!(fs::metadata(place.dir.join("out/victim")).unwrap().nlink(), 1);
        assert_eq!(place.names("dst"), [""; 0]);
        place.outside_is_untouched();
    }
}

#[test]
fn grants_hold() {
    // A failure would let a key do what its operator took away.
    let Some(programs) = Programs::find() else { return };
    for (client, server) in
        CLIENTS.into_iter().flat_map(|c| servers().into_iter().map(move |s| (c, s)))
    {
        let place = Place::new(&format!("grants-{}", client.word()), server);
        let refused = |grants: &str, words: &[&str], text: &str| {
            let run = place.run(programs, client, grants, words);
            let said = String::from_utf8_lossy(&run.stderr).into_owned();
            assert!(fails(&run) && said.contains(text), "{grants} {words:?}: {said}");
        };
        let ok = |grants: &str, words: &[&str]| place.ends(programs, client, grants, words, 0);
        let off = "has been disabled on this server.";
        refused("-ro", &["-r", "src/", "h:up/"], "sending to read-only server is not allowed");
        assert!(!place.dir.join("m/up").exists());
        ok("-ro", &["-r", "h:sub/", "dst/"]);
        refused("-ro", &["-r", "--remove-source-files", "h:sub/", "dst/two/"], off);
        assert!(place.dir.join("m/sub/f").exists());
        refused(
            "-wo",
            &["-r", "h:sub/", "dst/three/"],
            "reading from write-only server is not allowed",
        );
        ok("-wo", &["-r", "src/", "h:up/"]);
        refused("-no-del", &["-r", "--delete", "src/d/", "h:up/"], off);
        assert_eq!(place.names("m/up"), ["d", "new"]);
        fs::write(place.dir.join("src/new"), "newer still").unwrap();
        ok("-no-overwrite", &["-r", "src/", "h:up/"]);
        assert_eq!(place.read("m/up/new").unwrap(), "new");
        for option in ["-b", "--backup-dir=x", "--partial-dir=x", "--delay-updates"] {
            refused("-no-overwrite", &["-rb", option, "src/", "h:up/"], off);
        }
        symlink("../out", place.dir.join("src/link")).unwrap();
        ok("-munge", &["-rl", "src/", "h:munged/"]);
        let text = fs::read_link(place.dir.join("m/munged/link")).unwrap();
        assert_eq!(text, Path::new("/rsyncd-munged/../out"));
        ok("-munge", &["-rl", "h:munged/", "dst/munged/"]);
        assert_eq!(fs::read_link(place.dir.join("dst/munged/link")).unwrap(), Path::new("../out"));
        ok("-absolute", &["-r", &format!("h:{}/sub/deep", place.path("m")), "dst/abs/"]);
        assert_eq!(place.names("dst/abs"), ["deep"]);
        let run =
            place.run(programs, client, "", &["-r", &format!("h:{}/sub", place.path("m")), "dst/"]);
        assert!(fails(&run));
        let held = fs::File::open(place.dir.join("m")).unwrap();
        rustix::fs::flock(&held, rustix::fs::FlockOperation::LockExclusive).unwrap();
        refused("", &["-r", "h:sub/", "dst/"], "already accessing this directory.");
        ok("-no-lock", &["-r", "h:sub/", "dst/"]);
        ok("-ro", &["-r", "h:sub/", "dst/"]);
        place.outside_is_untouched();
    }
}

#[test]
fn no_other_command_is_run() {
    // A failure would give the holder of a key a shell, or another answer than rrsync's.
    let Some(programs) = Programs::find() else { return };
    let mut answers = Vec::new();
    for server in servers() {
        let place = Place::new("commands", server);
        let touch = place.path("out/made");
        let mut said = Vec::new();
        for (grants, command) in [
            ("", None),
            ("", Some("true")),
            ("", Some("true ")),
            ("", Some("")),
            ("", Some("ls")),
            ("", Some("/usr/bin/rsync --server -r . sub")),
            ("", Some("rsync --daemon")),
            ("", Some("rsync -r --server . sub")),
            ("", Some("rsync --server --daemon .")),
            ("", Some("rsync --server -r --sender . sub")),
            ("", Some("rsync --server -r sub")),
            ("", Some("rsync --server -r --config=/etc/passwd . sub")),
            ("", Some("rsync --server -r --insecure-links . sub")),
            ("", Some("rsync --server -r --exclude-from=/etc/passwd . sub")),
            ("-zz", Some("true")),
            ("extra", Some("true")),
            ("-ro -wo", Some("true")),
        ] {
            let (code, text) = place.command(programs, grants, command);
            let text = text.lines().next().unwrap_or_default();
            // Both give their name, and what they take for the operator's word that is too many.
            let text = text.split("error: ").last().unwrap().replace(&place.path(""), "");
            let text = if grants == "extra" { "unrecognized" } else { &text };
            said.push((command, code, text.to_owned()));
        }
        for tail in [
            format!("; touch {touch}"),
            format!("$(touch {touch})"),
            format!("`touch {touch}`"),
            format!("| touch {touch}"),
        ] {
            place.command(programs, "", Some(&format!("rsync --server -r . sub {tail}")));
        }
        place.outside_is_untouched();
        answers.push(said);
    }
    if let [ours, theirs] = answers.as_slice() {
        assert_eq!(ours, theirs);
    }
}

#[test]
fn directories_that_turn_into_links_meanwhile_lead_nowhere() {
    // A failure would let somebody with a shell beside the key redirect what the key's holder does.
    use rustix::fs::{CWD, RenameFlags, renameat_with};
    let Some(programs) = Programs::find() else { return };
    let place = Place::new("race", Side::Ours);
    for n in 0..40 {
        fs::write(place.dir.join(format!("src/d/f{n}")), "pushed").unwrap();
        fs::write(place.dir.join(format!("m/sub/deep/f{n}")), "inside").unwrap();
        fs::write(place.dir.join(format!("out/f{n}")), "intact").unwrap();
    }
    let (dir, link) = (place.dir.join("m/sub/deep"), place.dir.join("link"));
    symlink(place.dir.join("out"), &link).unwrap();
    let stop = std::sync::atomic::AtomicBool::new(false);
    let swaps = std::thread::scope(|scope| {
        let swapper = scope.spawn(|| {
            let mut count = 0;
            while !stop.load(std::sync::atomic::Ordering::Relaxed) {
                count +=
                    u32::from(renameat_with(CWD, &dir, CWD, &link, RenameFlags::EXCHANGE).is_ok());
            }
            count
        });
        for _ in 0..40 {
            place.run(programs, Side::Ours, "", &["-rt", "-I", "src/d/", "h:sub/deep/"]);
            place.run(programs, Side::Ours, "", &["-rt", "-I", "h:sub/deep/", "dst/got/"]);
            place.run(programs, Side::Ours, "", &["-rt", "-I", "h:sub", "dst/two/"]);
        }
        stop.store(true, std::sync::atomic::Ordering::Relaxed);
        swapper.join().unwrap()
    });
    assert!(swaps > 100, "{swaps} swaps");
    for n in 0..40 {
        assert_eq!(place.read(&format!("out/f{n}")).unwrap(), "intact");
        for got in ["dst/got", "dst/two/sub/deep"] {
            let content = place.read(&format!("{got}/f{n}")).unwrap_or_default();
            assert_ne!(content, "intact", "{got}");
        }
    }
}
