//! What lies outside of where a run may go: hidden by a daemon's rules, or behind a symlink. Real
//! programs, real paths; each case says how the run ends and what must stay as it was.

// A case that cannot be set up is a failure.
#![allow(clippy::unwrap_used, clippy::panic)]

use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use livemirror_tests::peer::{self, Programs, Run, Server, Side};

const LIMIT: Duration = Duration::from_secs(60);

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

    fn names(&self, name: &str) -> Vec<String> {
        let items = fs::read_dir(self.0.join(name)).unwrap();
        let mut names: Vec<_> =
            items.map(|i| i.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
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

#[allow(dead_code)]
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
