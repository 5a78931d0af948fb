//! Parameters of a daemon beside the reference: the same configuration under both, the same client,
//! and what it is told, what arrives and what the log says.

// A rule that cannot be checked is a failure.
#![allow(clippy::unwrap_used, clippy::panic)]

use std::fs;
use std::os::unix::fs::{PermissionsExt, chown, symlink};
use std::path::Path;
use std::time::{Duration, SystemTime};

use livemirror_tests::daemon_story::{DaemonStory, assert_same};
use livemirror_tests::peer::{Programs, Side};

fn am_root() -> bool {
    rustix::process::geteuid().is_root()
}

fn open_to_all(path: &Path) {
    fs::set_permissions(path, fs::Permissions::from_mode(0o777)).unwrap();
}

/// Runs a story under both programs and compares.
fn same(story: impl Fn(&Programs, Side) -> Vec<(String, Vec<String>)>) {
    // The parameters are about ids and roots that only root may change.
    let Some(programs) = Programs::find().filter(|_| am_root()) else { return };
    assert_same(&story(programs, Side::Theirs), &story(programs, Side::Ours));
}

const TEMP_DIR: &str = "use chroot = no
uid = nobody
gid = nogroup
log file = PLACE/log
read only = no
munge symlinks = no
transfer logging = yes
[relative]
path = PLACE/tree
temp dir = tmp/
[top]
path = PLACE/tree
temp dir = /tmp
[above]
path = PLACE/tree
temp dir = ../../tmp
[missing]
path = PLACE/tree
temp dir = nope
[missing chroot]
path = PLACE/tree
use chroot = yes
temp dir = /nope
[chroot]
path = PLACE/tree
use chroot = yes
temp dir = /tmp
[closed]
path = PLACE/tree
temp dir = /closed
[hidden]
path = PLACE/tree
temp dir = /tmp
exclude = /tmp
[long]
path = PLACE/tree
temp dir = LONG
";

fn temp_dirs(programs: &Programs, side: Side) -> Vec<(String, Vec<String>)> {
    let config = TEMP_DIR.replace("LONG", &"a".repeat(4086));
    let mut story = DaemonStory::start(programs, side, "temp-dir", &config, |dir| {
        for name in ["tree", "tree/tmp", "tree/sub", "tree/sub/tmp", "tree/closed"] {
            fs::create_dir(dir.join(name)).unwrap();
            open_to_all(&dir.join(name));
        }
        // Where temporary files cannot be made, a transfer tells which directory it uses.
        fs::set_permissions(dir.join("tree/closed"), fs::Permissions::from_mode(0o555)).unwrap();
        fs::write(dir.join("file"), "content").unwrap();
    });
    for module in ["relative", "top", "above", "missing chroot", "chroot", "closed", "long"] {
        for below in ["", "sub/"] {
            let dest = format!("HOST/{module}/{below}");
            story.client(&["-rt", "file", &dest], &["tree"]);
            let _ = fs::remove_file(story.dir.join("tree").join(below).join("file"));
        }
    }
    for options in [&["-t"][..], &["-tn"], &["-t", "--temp-dir=tmp"], &["-t", "-T", "/closed"]] {
        for module in ["missing", "hidden"] {
            let dest = format!("HOST/{module}/");
            let args = [options, &["file", &dest]].concat();
            story.client(&args, &["tree"]);
            let _ = fs::remove_file(story.dir.join("tree/file"));
        }
    }
    // Who only sends has no use for the directory.
    fs::write(story.dir.join("tree/file"), "content").unwrap();
    for module in ["missing", "hidden"] {
        story.client(&["-t", &format!("HOST/{module}/file"), "got"], &["tree"]);
    }
    story.end()
}

#[test]
fn temp_dir_is_where_uploads_are_put_together() {
    same(temp_dirs);
}

const CONFINED: &str = "GLOBALS
log file = PLACE/log
motd file = /motd
read only = no
lock file = /tmp/lock
[m]
path = /m
max connections = 3
[outside]
path = PLACE/tree/m
[uid]
path = /m
uid = 1
[named]
path = /m
uid = inner
gid = inner
[log]
path = /m
log file = /tmp/log
[chroot]
path = /m
use chroot = yes
[no chroot]
path = /m
use chroot = no
";

/// Every module under a set of global parameters; then who a file of a client belongs to.
fn confined(programs: &Programs, side: Side, globals: &str) -> Vec<(String, Vec<String>)> {
    let config = CONFINED.replace("GLOBALS", globals);
    let mut story = DaemonStory::start(programs, side, "confined", &config, |dir| {
        for name in ["tree", "tree/m", "tree/tmp", "tree/etc"] {
            fs::create_dir(dir.join(name)).unwrap();
            open_to_all(&dir.join(name));
        }
        fs::write(dir.join("tree/m/file"), "content").unwrap();
        fs::write(dir.join("tree/motd"), "hello\n").unwrap();
        fs::write(dir.join("tree/etc/passwd"), "inner:x:1234:1235::/:/\n").unwrap();
        fs::write(dir.join("tree/etc/group"), "inner:x:1235:\n").unwrap();
        fs::write(dir.join("new"), "new").unwrap();
    });
    for module in ["m", "outside", "uid", "named", "log", "chroot", "no chroot"] {
        fs::create_dir(story.dir.join("got")).unwrap();
        story.client(&["-r", &format!("HOST/{module}/"), "got/"], &["got"]);
        fs::remove_dir_all(story.dir.join("got")).unwrap();
        story.client(&["new", &format!("HOST/{module}/")], &["tree/m"]);
        let _ = fs::remove_file(story.dir.join("tree/m/new"));
    }
    let mut log = fs::read_to_string(story.dir.join("tree/tmp/log")).unwrap_or_default();
    log = log.lines().map(|line| line.split_once("] ").unwrap().1.to_string() + "\n").collect();
    story.note(
        "the module's log",
        log.lines().filter(|l| !l.contains("sent ")).map(str::to_owned).collect(),
    );
    story.end()
}

#[test]
fn daemon_chroot_uid_and_gid_hold_before_a_client_has_spoken() {
    for globals in [
        "daemon chroot = PLACE/tree\ndaemon uid = 1234\ndaemon gid = 1235",
        "daemon chroot = PLACE/tree\ndaemon uid = inner\ndaemon gid = inner",
        "daemon chroot = PLACE/tree",
        "daemon chroot = PLACE/tree\ndaemon uid = 1234",
        "daemon chroot = PLACE/nowhere",
        "daemon chroot = PLACE/tree\ndaemon uid = nobody",
        "daemon chroot = PLACE/tree\ndaemon gid = nogroup",
        "daemon chroot = PLACE/tree\ndaemon gid = 1 2",
    ] {
        same(|programs, side| confined(programs, side, globals));
    }
}

const NONREADABLE: &str = "uid = nobody
gid = nogroup
log file = PLACE/log
transfer logging = yes
path = PLACE/tree
[all]
use chroot = no
[some]
use chroot = no
ignore nonreadable = yes
[chroot]
ignore nonreadable = yes
";

fn nonreadable(programs: &Programs, side: Side) -> Vec<(String, Vec<String>)> {
    let mut story = DaemonStory::start(programs, side, "nonreadable", NONREADABLE, |dir| {
        for name in ["tree", "tree/sub", "tree/closed"] {
            fs::create_dir(dir.join(name)).unwrap();
            open_to_all(&dir.join(name));
        }
        for (name, mode) in
            [("a", 0o644), ("secret", 0o600), ("sub/secret", 0), ("closed/f", 0o644)]
        {
            fs::write(dir.join("tree").join(name), name).unwrap();
            let mode = fs::Permissions::from_mode(mode);
            fs::set_permissions(dir.join("tree").join(name), mode).unwrap();
        }
        symlink("secret", dir.join("tree/link")).unwrap();
        symlink("nowhere", dir.join("tree/dangling")).unwrap();
        let closed = fs::Permissions::from_mode(0o711);
        fs::set_permissions(dir.join("tree/closed"), closed).unwrap();
    });
    for module in ["all", "some", "chroot"] {
        for (options, path) in [
            ("-rl", ""),
            ("-rL", ""),
            ("-rlc", "sub"),
            ("-rlR", "sub/./"),
            ("-r", "secret"),
            ("-r", "closed"),
            ("-r", "closed/"),
            ("-rR", "closed/f"),
        ] {
            let _ = fs::remove_dir_all(story.dir.join("got"));
            fs::create_dir(story.dir.join("got")).unwrap();
            story.client(&[options, "--perms", &format!("HOST/{module}/{path}"), "got/"], &["got"]);
        }
    }
    story.end()
}

#[test]
fn ignore_nonreadable_hides_what_cannot_be_read() {
    same(nonreadable);
}

const NOATIME: &str = "uid = nobody
gid = nogroup
use chroot = no
log file = PLACE/log
path = PLACE/tree
read only = no
[yes]
open noatime = yes
[no]
open noatime = no
[unset]
";

fn noatime(programs: &Programs, side: Side) -> Vec<(String, Vec<String>)> {
    let mut story = DaemonStory::start(programs, side, "noatime", NOATIME, |dir| {
        fs::create_dir(dir.join("tree")).unwrap();
        open_to_all(&dir.join("tree"));
        for name in ["own", "strange"] {
            fs::write(dir.join("tree").join(name), "x".repeat(5000)).unwrap();
            fs::write(dir.join(name), "x".repeat(5000) + "y").unwrap();
        }
        chown(dir.join("tree/own"), Some(65534), None).unwrap();
    });
    let old = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000_000);
    for module in ["yes", "no", "unset"] {
        for option in ["--times", "--open-noatime", "--no-open-noatime"] {
            let mut all = vec![];
            for (way, options) in
                [("pull", "-I"), ("checksum", "-cI"), ("push", "-cn"), ("delta", "-I")]
            {
                for name in ["own", "strange"] {
                    let file = story.dir.join("tree").join(name);
                    let times = fs::FileTimes::new().set_accessed(old).set_modified(old);
                    fs::File::open(&file).unwrap().set_times(times).unwrap();
                    let url = format!("HOST/{module}/{name}");
                    let _ = fs::remove_file(story.dir.join("got"));
                    match way {
                        "pull" | "checksum" => story.client(&[options, option, &url, "got"], &[]),
                        "push" => story.client(&[options, option, name, &url], &[]),
                        // The receiving side reads what it has, and makes a new file of it.
                        _ => {
                            fs::hard_link(&file, story.dir.join("kept")).unwrap();
                            story.client(&[options, option, name, &url], &[]);
                        }
                    }
                    let kept = story.dir.join("kept");
                    let read = if kept.exists() { &kept } else { &file };
                    let accessed = fs::metadata(read).unwrap().accessed().unwrap();
                    all.push(format!("{way} {name}: access time kept {}", accessed == old));
                    if kept.exists() {
                        fs::rename(&kept, &file).unwrap();
                        chown(&file, Some(if name == "own" { 65534 } else { 0 }), None).unwrap();
                    }
                }
            }
            story.note(&format!("{module} {option}"), all);
        }
    }
    story.end()
}

#[test]
fn open_noatime_leaves_access_times_alone() {
    same(noatime);
}

const EARLY: &str = "use chroot = no
log file = PLACE/log
path = PLACE/tree
[m]
early exec = cat > PLACE/tree/early
";

/// The client of a side against the reference's daemon.
fn early(programs: &Programs, side: Side) -> Vec<(String, Vec<String>)> {
    let mut story = DaemonStory::start(programs, Side::Theirs, "early", EARLY, |dir| {
        fs::create_dir(dir.join("tree")).unwrap();
        for (name, len) in [("short", 5), ("empty", 0), ("full", 5120), ("long", 5121)] {
            fs::write(dir.join(name), vec![b'x'; len]).unwrap();
        }
        symlink("short", dir.join("link")).unwrap();
        fs::create_dir(dir.join("got")).unwrap();
    });
    story.play(&programs.words(side));
    for name in ["short", "empty", "full", "long", "link", "nowhere"] {
        story.client(&[&format!("--early-input={name}"), "-r", "HOST/m/", "got/"], &["got"]);
        let _ = fs::remove_file(story.dir.join("tree/early"));
    }
    story.client(&["--early-input=short", "HOST/"], &[]);
    for options in ["SO_KEEPALIVE,TCP_NODELAY=0", "IPTOS_LOWDELAY", "FOO", "SO_RCVBUF=65536,BAR=1"]
    {
        story.client(&[&format!("--sockopts={options}"), "HOST/"], &[]);
    }
    for mode in ["N", "unbuffered", "l", "Line", "b", "FULL", "X", ""] {
        story.client(&[&format!("--outbuf={mode}"), "-v", "short", "copy"], &[]);
        let _ = fs::remove_file(story.dir.join("copy"));
    }
    story.end()
}

#[test]
fn a_client_sends_early_input_and_sets_sockets_and_buffers() {
    let Some(programs) = Programs::find() else { return };
    assert_same(&early(programs, Side::Theirs), &early(programs, Side::Ours));
}

const FAKE_SUPER: &str = "use chroot = no
uid = 1000
gid = 1000
log file = PLACE/log
read only = no
[fake]
path = PLACE/tree
fake super = yes
[plain]
path = PLACE/tree
";

fn fake_super(programs: &Programs, side: Side) -> Vec<(String, Vec<String>)> {
    let mut story = DaemonStory::start(programs, side, "fake-super", FAKE_SUPER, |dir| {
        fs::create_dir(dir.join("tree")).unwrap();
        chown(dir.join("tree"), Some(1000), Some(1000)).unwrap();
        let source = "f src/f \"content o=33:34 m=4755\nl src/l f o=1:2\nc src/n 1,3\np src/p m=600\n\
                      x src/f trusted.t=\"value\nd src/d m=1777 o=3:4\n";
        livemirror_tests::tree_text::make(dir, source);
    });
    for options in ["-aX", "-aXX", "-a"] {
        story.client(&[options, "src/", "HOST/fake/"], &["tree"]);
        story.client(&["-ai", "HOST/fake/"], &[]);
        story.client(&["-aXi", "HOST/fake/", "got/"], &["got"]);
        let _ = fs::remove_dir_all(story.dir.join("got"));
    }
    // A client cannot have it; its wish makes the daemon try as it is.
    story.client(&["-ai", "-M--fake-super", "src/", "HOST/plain/new/"], &["tree"]);
    story.client(&["-ai", "-M--super", "src/", "HOST/fake/other/"], &["tree"]);
    story.end()
}

#[test]
fn fake_super_keeps_what_only_the_super_user_may_set() {
    same(fake_super);
}

const SIDES: &str = "use chroot = no
uid = 0
gid = 0
log file = PLACE/log
read only = no
path = PLACE/tree
[protect]
filter = P keep
[hide]
filter = H keep
[sender]
filter = -s keep
[receiver]
filter = -r keep
[names]
exclude = *.o /hidden/
";

fn sides(programs: &Programs, side: Side) -> Vec<(String, Vec<String>)> {
    let mut story = DaemonStory::start(programs, side, "sides", SIDES, |dir| {
        for name in ["tree", "push", "got"] {
            fs::create_dir(dir.join(name)).unwrap();
        }
        fs::write(dir.join("push/c.o"), "pushed").unwrap();
    });
    for module in ["protect", "hide", "sender", "receiver"] {
        for args in [
            ["-r", &format!("HOST/{module}/"), "got/"],
            ["-r", "push/c.o", &format!("HOST/{module}/keep")],
        ] {
            fs::write(story.dir.join("tree/keep"), "kept").unwrap();
            let _ = fs::remove_file(story.dir.join("got/keep"));
            story.client(&args, &["got", "tree"]);
        }
    }
    // A file that takes another name on the way is judged by that.
    for name in ["named", "new.o", "hidden/c"] {
        story.client(&["-r", "push/c.o", &format!("HOST/names/{name}")], &["tree"]);
    }
    story.end()
}

#[test]
fn a_modules_filter_acts_the_same_in_both_directions() {
    same(sides);
}
