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
