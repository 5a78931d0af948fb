//! `name converter` beside the reference: when it runs, what it is asked, what its answers do.

// A case that cannot be set up is a failure.
#![allow(clippy::unwrap_used, clippy::panic)]

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use livemirror_tests::lines;
use livemirror_tests::peer::{self, Programs, Server, Side};

const LIMIT: Duration = Duration::from_secs(30);

/// Knows a few names, and writes down what it is asked.
const SCRIPT: &str = "#!/bin/sh
exec 3> PLACE/new
echo \"words: $*\" >&3
env | grep '^RSYNC_' | grep -v '^RSYNC_PID=' | sort >&3
while read -r line; do
  echo \"$line\" >&3
  case \"$line\" in
    'uid 4242') echo alice;; 'gid 4343') echo crew;;
    'usr alice') echo 5151;; 'grp crew') echo 5252;;
    'usr word') echo 12x;; 'usr minus') echo -5;; 'usr huge') echo 99999999999;;
    'usr zero') echo 0;;
    *) echo;;
  esac
done
mv PLACE/new PLACE/run
";

const CONFIG: &str = "uid = 0
gid = 0
read only = no
log file = PLACE/log
[m]
path = PLACE/tree
name converter = PLACE/script %RSYNC_MODULE_NAME% \"a b\" %RSYNC_REQUEST%
[plain]
path = PLACE/tree
use chroot = no
name converter = PLACE/script plain
[numeric]
path = PLACE/tree
numeric ids = yes
name converter = PLACE/script numeric
[with blank]
path = PLACE/tree
name converter = touch PLACE/must-not-run %RSYNC_MODULE_NAME%
[gone]
path = PLACE/tree
name converter = exit 1
";

struct Place(PathBuf);

impl Place {
    fn new(name: &str, side: Side) -> Place {
        let name = format!("livemirror-converter-{}-{name}-{}", std::process::id(), side.word());
        let place = Place(std::env::temp_dir().join(name));
        let here = |text: &str| text.replace("PLACE", place.0.to_str().unwrap());
        for dir in ["tree", "src", "dst"] {
            fs::create_dir_all(place.0.join(dir)).unwrap();
        }
        for file in ["tree/theirs", "src/mine"] {
            fs::write(place.0.join(file), file).unwrap();
            chown(place.0.join(file), Some(4242), Some(4343)).unwrap();
        }
        fs::write(place.0.join("conf"), here(CONFIG)).unwrap();
        fs::write(place.0.join("script"), here(SCRIPT)).unwrap();
        fs::set_permissions(place.0.join("script"), PermissionsExt::from_mode(0o755)).unwrap();
        place
    }

    /// What the converter wrote down, once it has ended.
    fn record(&self) -> String {
        let (file, start) = (self.0.join("run"), Instant::now());
        while !file.exists() {
            assert!(start.elapsed() < LIMIT, "the converter has not ended");
            std::thread::sleep(Duration::from_millis(5));
        }
        let text = fs::read_to_string(&file).unwrap();
        fs::remove_file(file).unwrap();
        text.replace(self.0.to_str().unwrap(), "PLACE")
    }

    fn owner(&self, file: &str) -> (u32, u32) {
        let meta = fs::metadata(self.0.join(file)).unwrap();
        (meta.uid(), meta.gid())
    }

    /// Runs the reference's client here.
    fn client(&self, programs: &Programs, port: u16, args: &[&str]) -> (i32, Vec<String>) {
        let mut command = Command::new(&programs.words(Side::Theirs)[0]);
        let url = |arg: &&str| arg.replace("HOST", &format!("rsync://127.0.0.1:{port}"));
        command.args(args.iter().map(url)).current_dir(&self.0).env("LC_ALL", "C");
        let run = peer::run(command, Vec::new(), LIMIT);
        let mut said = lines::normalise(&run.stdout, &[]);
        said.extend(lines::normalise(&run.stderr, &[]));
        (run.code.unwrap_or(-1), said)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// All that can be seen of one daemon's converters.
fn story(programs: &Programs, side: Side) -> Vec<String> {
    let place = Place::new("story", side);
    let log = place.0.join("daemon.out");
    let server = Server::start(&programs.words(side), &place.0.join("conf"), &log).unwrap();
    let mut story = Vec::new();
    let map = |name: &str| format!("--usermap=*:{name}");
    let runs: [(&[&str], &str); 9] = [
        (&["-rlptgo", "HOST/m/theirs", "dst/"], "dst/theirs"),
        (&["-rlptgo", "HOST/plain/theirs", "dst/"], "dst/theirs"),
        (&["-rlptgo", "src/mine", "HOST/plain/"], "tree/mine"),
        (&["-rlptgo", &map("alice"), "--groupmap=*:crew", "src/mine", "HOST/m/"], "tree/mine"),
        (&["-rlptgo", &map("word"), "src/mine", "HOST/m/"], "tree/mine"),
        (&["-rlptgo", &map("minus"), "src/mine", "HOST/m/"], "tree/mine"),
        (&["-rlptgo", &map("huge"), "src/mine", "HOST/m/"], "tree/mine"),
        (&["-rlptgo", &map("nobody-knows"), "src/mine", "HOST/m/"], "tree/mine"),
        (&["-rlptgo", &map("zero"), "src/mine", "HOST/m/"], "tree/mine"),
    ];
    for (args, file) in runs {
        let (code, said) = place.client(programs, server.port, args);
        let (owner, record) = (place.owner(file), place.record());
        story.push(format!("{args:?}: {code} {owner:?}\n{}\n{record}", said.join("\n")));
        let _ = fs::remove_file(place.0.join("tree/mine"));
    }
    let (code, said) = place.client(programs, server.port, &["-a", "HOST/with blank/", "dst/"]);
    story.push(format!("blank: {code} {}", said.join("\n")));
    assert!(!place.0.join("must-not-run").exists());
    let args = ["-rlptgo", "HOST/numeric/theirs", "dst/"];
    let (code, said) = place.client(programs, server.port, &args);
    place.record();
    story.push(format!("numeric: {code} {:?} {}", place.owner("dst/theirs"), said.join("\n")));
    story
}

#[test]
fn a_converter_is_asked_and_believed_as_by_the_reference() {
    // A failure would give files to other owners than the operator's program says.
    let Some(programs) = Programs::find().filter(|_| rustix::process::geteuid().is_root()) else {
        return;
    };
    let (expected, got) = (story(programs, Side::Theirs), story(programs, Side::Ours));
    for (expected, got) in expected.iter().zip(&got) {
        assert_eq!(expected, got);
    }
    assert_eq!(expected.len(), got.len());
}

#[test]
fn a_converter_that_is_gone_ends_the_session() {
    // A failure would give files to whoever has the sender's number here.
    let Some(programs) = Programs::find().filter(|_| rustix::process::geteuid().is_root()) else {
        return;
    };
    let place = Place::new("gone", Side::Ours);
    let out = place.0.join("daemon.out");
    let server = Server::start(&programs.words(Side::Ours), &place.0.join("conf"), &out).unwrap();
    for args in [
        &["-a", "HOST/gone/", "dst/gone/"][..],
        &["-a", "--usermap=*:alice", "src/", "HOST/gone/sub/"],
    ] {
        let (code, said) = place.client(programs, server.port, args);
        // The client hears the daemon's code, or only that it went.
        assert!([10, 12].contains(&code), "{code} {args:?} {said:?}");
        for made in ["dst/gone/theirs", "tree/sub/mine"] {
            assert!(!place.0.join(made).exists(), "{made} {code} {args:?} {said:?}");
        }
    }
    let log = fs::read_to_string(place.0.join("log")).unwrap();
    assert!(log.contains("Connection to name-converter failed."), "{log}");
}
