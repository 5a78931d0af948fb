//! The door of sersync: its stock file, edited as people do, against the reference's daemon and ours,
//! under the load that ends the original, with names that the original would run.

// A rule that cannot be checked is a failure.
#![allow(clippy::unwrap_used, clippy::panic)]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use livemirror_tests::peer::{self, Programs, Server, Side};
use livemirror_tests::tree_text;
use rustix::process::{Pid, Signal, kill_process};

const STOCK: &str = include_str!("../../crates/mirror/tests/data/confxml.xml");
/// How long anything may take.
const LIMIT: Duration = Duration::from_secs(60);

struct Place(PathBuf);

impl Drop for Place {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn until(what: &str, done: impl Fn() -> bool) {
    let start = Instant::now();
    while !done() {
        assert!(start.elapsed() < LIMIT, "waiting in vain until {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Sixty folders made, written into, renamed and moved at once, beside names for a shell.
fn storm(src: &Path) {
    for n in 0..60 {
        let dir = src.join(format!("folder{n}/inner"));
        fs::create_dir_all(&dir).unwrap();
        fs::write(dir.join("file one"), format!("{n}")).unwrap();
        let renamed = src.join(format!("renamed{n}"));
        fs::rename(src.join(format!("folder{n}")), &renamed).unwrap();
        fs::write(renamed.join("inner/second"), b"2").unwrap();
        if n % 3 == 0 {
            fs::rename(&renamed, src.join("moved").join(format!("{n}"))).unwrap();
        }
    }
    fs::write(src.join("a`touch executed`b"), b"x").unwrap();
    fs::write(src.join("c\"; touch executed; \"d"), b"x").unwrap();
    fs::write(src.join(".hidden~"), b"x").unwrap();
    fs::remove_file(src.join("goes")).unwrap();
}

#[test]
fn the_stock_file_mirrors_to_either_daemon() {
    let Some(programs) = Programs::find() else { return };
    for side in [Side::Theirs, Side::Ours] {
        let dir = format!("livemirror-sersync-{}-{}", std::process::id(), side.word());
        let place = Place(std::env::temp_dir().join(dir));
        let text = place.0.to_str().unwrap().to_owned();
        let (src, dst) = (place.0.join("src"), place.0.join("dst"));
        fs::create_dir_all(src.join("moved")).unwrap();
        fs::create_dir_all(&dst).unwrap();
        fs::write(src.join("goes"), b"1").unwrap();
        fs::write(dst.join("extra"), b"1").unwrap();
        let config = format!(
            "use chroot = no\nuid = 0\ngid = 0\nlock file = {text}/lock\n\
             [tongbu1]\npath = {text}/dst\nread only = no\n"
        );
        let daemon = place.0.join("rsyncd.conf");
        fs::write(&daemon, config).unwrap();
        let words = programs.words(side);
        let server = Server::start(&words, &daemon, &place.0.join("out")).unwrap();
        let edited = STOCK
            .replace("/opt/tongbu", &format!("{text}/src"))
            .replace(
                "<userDefinedPort start=\"false\" port=\"874\"/>",
                "<userDefinedPort start=\"true\" port=\"PORT\"/>",
            )
            .replace("PORT", &server.port.to_string());
        let file = place.0.join("confxml.xml");
        fs::write(&file, edited).unwrap();
        let mut command = Command::new(programs.livemirror());
        command.args(["sersync", "-r", "-n", "10", "-o"]).arg(&file).current_dir(&place.0);
        command.stdout(Stdio::null()).env("XDG_RUNTIME_DIR", &place.0);
        let mut running = Running(command.spawn().unwrap());
        until("the first pass is done", || {
            dst.join("goes").exists() && !dst.join("extra").exists()
        });
        storm(&src);
        fs::write(src.join("last"), b"end").unwrap();
        let tree = |dir: &Path| tree_text::dump(dir, None);
        until("the trees are equal", || dst.join("last").exists() && tree(&src) == tree(&dst));
        assert!(!place.0.join("executed").exists(), "a name was run");
        kill_process(Pid::from_child(&running.0), Signal::TERM).unwrap();
        assert!(running.0.wait().unwrap().success());
    }
}

#[test]
fn its_command_line() {
    let Some(programs) = Programs::find() else { return };
    let dir = format!("livemirror-sersync-{}-words", std::process::id());
    let place = Place(std::env::temp_dir().join(dir));
    fs::create_dir_all(&place.0).unwrap();
    fs::write(place.0.join("bad.xml"), "<head>\n<sersync>\n</head>\n").unwrap();
    let plugin = STOCK.replace("<plugin start=\"false\"", "<plugin start=\"true\"");
    let plugin = plugin.replace("prefix=\"/bin/sh\"", "prefix=\"sh|\"");
    fs::write(place.0.join("plugin.xml"), plugin).unwrap();
    for (args, code, said) in [
        (&["-h"][..], 0, ""),
        (&["-m", "http", "-o", "plugin.xml"], 4, "the plugin \"http\" is not done here"),
        (&["-m"], 1, "-m needs"),
        (&["-n", "x"], 1, "-n needs"),
        (&["-x"], 1, "unknown option -x"),
        (&["stray"], 1, "unknown option stray"),
        (&["-rdn10", "-ogone.xml"], 1, "gone.xml: No such file"),
        (&["-rdo", "gone.xml"], 1, "gone.xml: No such file"),
        (&["-o", "bad.xml"], 1, "bad.xml:3:1: "),
        (&["-o", "plugin.xml"], 4, "plugin.xml:45:5: prefix=\"sh|\" needs a shell"),
        (&[], 1, "confxml.xml: No such file"),
    ] {
        let mut command = Command::new(programs.livemirror());
        command.arg("sersync").args(args).current_dir(&place.0);
        let run = peer::run(command, Vec::new(), LIMIT);
        let text = String::from_utf8_lossy(&run.stderr).into_owned();
        assert_eq!(run.code, Some(code), "{args:?}: {text}");
        assert!(text.contains(said), "{args:?}: {text}");
    }
}
