//! Commands of the operator around a session, beside the reference: what they are given, what they
//! decide, what the client is told.

// A rule that cannot be checked is a failure.
#![allow(clippy::unwrap_used, clippy::panic)]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use livemirror_tests::lines;
use livemirror_tests::peer::{self, Programs, Server, Side};

const LIMIT: Duration = Duration::from_secs(30);

/// Writes down what it was given: words, environment, user, standard input.
const RECORD: &str = "#!/bin/sh
{ echo \"words: $*\"; env | grep '^RSYNC_' | grep -v '^RSYNC_PID=' | sort; id -u; cat; } > PLACE/new.$1
mv PLACE/new.$1 PLACE/run.$1
echo shown only on failure
";

const CONFIG: &str = "use chroot = no
uid = nobody
gid = nogroup
log file = PLACE/log
read only = no
[all]
path = PLACE/tree
early exec = PLACE/record early
pre-xfer exec = PLACE/record pre a%RSYNC_MODULE_NAME%b \"c %RSYNC_MODULE_NAME%\" 'd %RSYNC_HOST_ADDR%' %RSYNC_REQUEST% %NOPE%
post-xfer exec = PLACE/record post
[no]
path = PLACE/tree
pre-xfer exec = echo \"sorry, %RSYNC_MODULE_NAME%\"; echo and more; exit 3
post-xfer exec = PLACE/record post-no
[mute]
path = PLACE/tree
pre-xfer exec = exit 2
[killed]
path = PLACE/tree
pre-xfer exec = kill -9 $$
[early]
path = PLACE/tree
early exec = exit 1
post-xfer exec = PLACE/record post-early
[chroot]
path = PLACE/tree
use chroot = yes
pre-xfer exec = PLACE/record chroot
[with blank]
path = PLACE/tree
pre-xfer exec = touch PLACE/must-not-run %RSYNC_MODULE_NAME%
";

struct Place(PathBuf);

impl Place {
    fn new(side: Side) -> Place {
        use std::os::unix::fs::PermissionsExt;
        let name = format!("livemirror-hooks-{}-{}", std::process::id(), side.word());
        let place = Place(std::env::temp_dir().join(name));
        fs::create_dir_all(place.0.join("tree/sub")).unwrap();
        for dir in ["", "tree", "tree/sub"] {
            fs::set_permissions(place.0.join(dir), fs::Permissions::from_mode(0o777)).unwrap();
        }
        fs::write(place.0.join("tree/sub/file"), b"content").unwrap();
        fs::write(place.0.join("mine"), b"more").unwrap();
        let here = |text: &str| text.replace("PLACE", place.0.to_str().unwrap());
        fs::write(place.0.join("conf"), here(CONFIG)).unwrap();
        fs::write(place.0.join("record"), here(RECORD)).unwrap();
        fs::set_permissions(place.0.join("record"), fs::Permissions::from_mode(0o755)).unwrap();
        place
    }

    /// What a command wrote down, once it is there.
    fn record(&self, name: &str) -> String {
        let file = self.0.join(format!("run.{name}"));
        let start = Instant::now();
        while !file.exists() {
            assert!(start.elapsed() < LIMIT, "{name} was not run");
            std::thread::sleep(Duration::from_millis(5));
        }
        let text = fs::read_to_string(&file).unwrap();
        fs::remove_file(file).unwrap();
        text.replace(self.0.to_str().unwrap(), "PLACE")
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// Runs the reference's client in the place.
fn client(programs: &Programs, place: &Path, port: u16, args: &[&str]) -> (i32, Vec<String>) {
    let mut command = Command::new(&programs.words(Side::Theirs)[0]);
    let url = |arg: &&str| arg.replace("HOST", &format!("rsync://127.0.0.1:{port}"));
    command.args(args.iter().map(url)).current_dir(place).env("LC_ALL", "C");
    let run = peer::run(command, Vec::new(), LIMIT);
    let mut said = lines::normalise(&run.stdout, &[]);
    said.extend(lines::normalise(&run.stderr, &[]));
    (run.code.unwrap_or(-1), said)
}

/// All that can be seen of one daemon's commands.
fn story(programs: &Programs, side: Side) -> Vec<(String, String)> {
    let place = Place::new(side);
    let log = place.0.join("daemon.out");
    let server = Server::start(&programs.words(side), &place.0.join("conf"), &log).unwrap();
    let mut story = Vec::new();
    let runs: [(&[&str], &[&str]); 12] = [
        (&["-a", "mine", "HOST/all/sub/"], &["early", "pre", "post"]),
        (&["-a", "HOST/all/sub/file", "got"], &["early", "pre", "post"]),
        (&["-a", "mine", "HOST/no/sub/"], &["post-no"]),
        (&["-a", "mine", "HOST/mute/"], &[]),
        (&["-a", "mine", "HOST/killed/"], &[]),
        (&["-a", "mine", "HOST/with blank/"], &[]),
        (&["-a", "mine", "HOST/early/"], &["post-early"]),
        (&["-a", "mine", "HOST/chroot"], &["chroot"]),
        (&["-a", "mine", "HOST/chroot/sub/"], &["chroot"]),
        (&["-a", "HOST/chroot/", "HOST/chroot/sub", "into/"], &["chroot"]),
        (&["-a", "HOST/chroot/s*", "into/"], &["chroot"]),
        (&["-a", "HOST/all/", "into/"], &["early", "pre", "post"]),
    ];
    for (args, records) in runs {
        let (code, said) = client(programs, &place.0, server.port, args);
        story.push((args.join(" "), format!("exit {code}\n{}", said.join("\n"))));
        for name in records {
            story.push((format!("{} {name}", args.join(" ")), place.record(name)));
        }
    }
    assert!(!place.0.join("must-not-run").exists());
    story
}

#[test]
fn commands_see_and_decide_what_they_do_with_the_reference() {
    let Some(programs) = Programs::find() else { return };
    let (expected, got) = (story(programs, Side::Theirs), story(programs, Side::Ours));
    for (expected, got) in expected.iter().zip(&got) {
        assert_eq!(expected, got);
    }
    assert_eq!(expected.len(), got.len());
}
