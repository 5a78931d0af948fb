//! More parameters of a daemon beside the reference: who may come in, what they see and may do, and
//! what becomes of it. `daemon_params` has those that are about ids, roots and places.

// A rule that cannot be checked is a failure.
#![allow(clippy::unwrap_used, clippy::panic)]

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::{PermissionsExt, chown, symlink};
use std::path::Path;
use std::time::{Duration, SystemTime};

use livemirror_tests::daemon_story::{DaemonStory, assert_same};
use livemirror_tests::peer::{Programs, Side};
use rsync::daemon::params::ROWS;
use rustix::fs::{AtFlags, CWD, Timespec, Timestamps, utimensat};

fn mode(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

/// Runs a story under both programs and compares.
fn same(story: impl Fn(&Programs, Side) -> Vec<(String, Vec<String>)>) {
    // Owners and ids are part of what arrives.
    let root = rustix::process::geteuid().is_root();
    let Some(programs) = Programs::find().filter(|_| root) else { return };
    assert_same(&story(programs, Side::Theirs), &story(programs, Side::Ours));
}

const WHO: &str = "use chroot = no
uid = 0
gid = 0
log file = PLACE/log
motd file = PLACE/motd
path = PLACE/tree
secrets file = PLACE/secrets
[open]
comment = for everybody
[hidden]
list = no
[hidden closed]
list = no
hosts deny = *
[closed]
hosts deny = 127.0.0.0/8
comment = for nobody
[allowed]
hosts allow = 10.0.0.0/8 127.0.0.1
hosts deny = *
[not allowed]
hosts allow = 10.0.0.0/8, ::1
[bad mask]
hosts allow = 127.0.0.1/33 127.0.0.1/255.255.256.0
[by name]
hosts allow = localhost
[by name no lookup]
hosts allow = localhost
forward lookup = no
reverse lookup = no
[no such name]
hosts allow = no.such.name.invalid
[deny no such name]
hosts deny = no.such.name.invalid
[deny no such name no lookup]
hosts deny = no.such.name.invalid
forward lookup = no
[bob]
auth users = bob
[read only for bob]
auth users = bob:ro carl:rw
read only = no
[writes for bob]
auth users = bob:rw
[not bob]
auth users = bob:deny, *
[comma]
auth users = ,other one,bob
[pattern]
auth users = b*
[strong]
auth users = bob
auth digest = sha512
[weak]
auth users = bob
auth digest = md5
[unknown digest]
auth users = bob
auth digest = rot13
[loose]
auth users = bob
secrets file = PLACE/loose
[loose allowed]
auth users = bob
secrets file = PLACE/loose
strict modes = no
[foreign]
auth users = bob
secrets file = PLACE/foreign
[no secrets]
auth users = bob
secrets file = PLACE/nowhere
[unset secrets]
auth users = bob
secrets file =
[writable]
read only = no
[write only]
read only = no
write only = yes
[both]
write only = yes
[full]
max connections = -1
[one]
max connections = 1
lock file = PLACE/lock
[no lock]
max connections = 1
lock file = PLACE/nowhere/lock
[no path]
path =
[gone]
path = PLACE/gone
[bad uid]
uid = nobody-of-this-name
[bad gid]
gid = nogroup-of-this-name
";

fn who(programs: &Programs, side: Side) -> Vec<(String, Vec<String>)> {
    let mut story = DaemonStory::start(programs, side, "who", WHO, |dir| {
        fs::create_dir(dir.join("tree")).unwrap();
        fs::write(dir.join("tree/file"), "content").unwrap();
        fs::write(dir.join("new"), "new").unwrap();
        fs::write(dir.join("motd"), "hello\nthere\n").unwrap();
        for name in ["secrets", "loose", "foreign"] {
            fs::write(dir.join(name), "#carl:cc\nbob:pw\nother one:pw\n").unwrap();
            mode(&dir.join(name), if name == "loose" { 0o644 } else { 0o600 });
        }
        chown(dir.join("foreign"), Some(1234), None).unwrap();
        for (name, text) in [("pw", "pw\n"), ("bad", "wp\n")] {
            fs::write(dir.join(name), text).unwrap();
            mode(&dir.join(name), 0o600);
        }
    });
    let modules: Vec<String> = WHO
        .lines()
        .filter_map(|line| line.strip_prefix('[')?.strip_suffix(']'))
        .map(str::to_owned)
        .collect();
    assert!(modules.len() > 30);
    story.client(&["HOST/"], &[]);
    story.client(&["HOST/nowhere/"], &[]);
    for module in &modules {
        story.client(&["-t", &format!("HOST/{module}/file"), "got"], &[]);
        story.client(&["-t", "new", &format!("HOST/{module}/")], &["tree"]);
        let _ = fs::remove_file(story.dir.join("tree/new"));
        let with_login = ["bob", "foreign", "loose", "unset", "no secrets", "not", "comma"];
        let also = ["pattern", "strong", "weak", "unknown", "writes", "read only for"];
        if with_login.iter().chain(&also).any(|word| module.starts_with(word)) {
            for (user, file) in [("bob", "pw"), ("bob", "bad"), ("%23carl", "pw"), ("al", "pw")] {
                let url = format!("HOST/{module}/");
                let url = url.replace("HOST", &format!("HOST_OF_{user}"));
                let file = format!("--password-file={file}");
                story.client(&["-t", &file, &format!("{url}file"), "got"], &[]);
            }
            story.client(
                &["-t", "--password-file=pw", "new", &format!("HOST_OF_bob/{module}/")],
                &["tree"],
            );
            let _ = fs::remove_file(story.dir.join("tree/new"));
        }
    }
    story.client(&["--no-motd", "HOST/"], &[]);
    story.end()
}

#[test]
fn who_may_come_in() {
    same(who);
}

const SEEN: &str = "use chroot = no
uid = 0
gid = 0
log file = PLACE/log
path = PLACE/tree
read only = no
munge symlinks = no
[all]
[exclude]
exclude = *.o /sub/
[include]
include = /sub/a
exclude = /sub/*
[filter]
filter = - *.o protect keep include_me + /sub/ - /sub/a
[from]
exclude from = PLACE/rules
[include from]
include from = PLACE/good
exclude from = PLACE/rules
[no rules]
exclude from = PLACE/nowhere
[bad rule]
filter = nonsense here
[outgoing]
outgoing chmod = D0700,Fgo-rwx
[incoming]
incoming chmod = Dg+s,F640
[bad chmod]
incoming chmod = u+nonsense
outgoing chmod = 99999
[munged]
munge symlinks = yes
[numeric]
numeric ids = yes
[named]
numeric ids = no
[logged]
transfer logging = yes
[logged own way]
transfer logging = yes
log format = %o|%m|%f|%l|%i|%n|%P|%u|%M|%B|%L|%%|%z|%10l
[quiet]
max verbosity = 0
[loud]
max verbosity = 3
[hurried]
timeout = 17
[plain]
dont compress = *
[no delete]
refuse options = delete
[no letters]
refuse options = c v perms
[nothing but]
refuse options = * !a !v !delete
[not archive]
refuse options = a
[strange]
refuse options = no-such-option
[ignores]
ignore errors = yes
[insecure]
insecure links = yes
";

/// The tree that modules serve, and one to push.
fn plant(dir: &Path) {
    fs::create_dir_all(dir.join("tree/sub")).unwrap();
    fs::create_dir_all(dir.join("push/sub")).unwrap();
    for name in ["a", "b.o", "keep", "sub/a", "sub/b"] {
        fs::write(dir.join("tree").join(name), name).unwrap();
        mode(&dir.join("tree").join(name), 0o664);
    }
    symlink("/etc/passwd", dir.join("tree/link")).unwrap();
    chown(dir.join("tree/a"), Some(65_534), Some(65_534)).unwrap();
    for name in ["c", "b.o", "sub/a", "sub/d"] {
        fs::write(dir.join("push").join(name), format!("new {name}")).unwrap();
        mode(&dir.join("push").join(name), 0o604);
    }
    symlink("/etc/passwd", dir.join("push/own")).unwrap();
    fs::write(dir.join("rules"), "# a comment\n*.o\n\n- /sub/b\n/keep\n").unwrap();
    fs::write(dir.join("good"), "b.o\n").unwrap();
    let old = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000_000);
    let dirs = ["tree/sub", "tree", "push/sub", "push"];
    let files = ["tree/a", "tree/b.o", "tree/keep", "tree/sub/a", "tree/sub/b", "push/c"];
    let more = ["push/b.o", "push/sub/a", "push/sub/d"];
    for name in files.iter().chain(&more).chain(&dirs) {
        fs::File::open(dir.join(name)).unwrap().set_modified(old).unwrap();
    }
    let time = Timespec { tv_sec: 1_000_000_000, tv_nsec: 0 };
    let times = Timestamps { last_access: time, last_modification: time };
    for name in ["tree/link", "push/own"] {
        utimensat(CWD, dir.join(name), &times, AtFlags::SYMLINK_NOFOLLOW).unwrap();
    }
}

fn seen(programs: &Programs, side: Side) -> Vec<(String, Vec<String>)> {
    let mut story = DaemonStory::start(programs, side, "seen", SEEN, plant);
    let modules: Vec<String> = SEEN
        .lines()
        .filter_map(|line| line.strip_prefix('[')?.strip_suffix(']'))
        .map(str::to_owned)
        .collect();
    assert!(modules.len() > 25);
    for module in &modules {
        let url = format!("HOST/{module}/");
        let afresh = |story: &DaemonStory| {
            for name in ["got", "tree", "push"] {
                let _ = fs::remove_dir_all(story.dir.join(name));
            }
            fs::create_dir(story.dir.join("got")).unwrap();
            plant(&story.dir);
        };
        for words in [&["-aiv"][..], &["-rlzi", "--delete"], &["-cvvr"], &["-an", "--chmod=F600"]] {
            afresh(&story);
            story.client(&[words, &[&url, "got/"]].concat(), &["got"]);
        }
        for words in [&["-aiv"][..], &["-rlti", "--delete"], &["-aiin", "--delete-excluded"]] {
            afresh(&story);
            story.client(&[words, &["push/", &url]].concat(), &["tree"]);
        }
        afresh(&story);
        story.client(&["-t", &format!("{url}b.o"), &format!("{url}sub/b"), "got/"], &["got"]);
        story.client(&["-t", "push/b.o", &format!("{url}sub/b")], &["tree"]);
    }
    story.end()
}

#[test]
fn what_a_client_sees_and_may_do() {
    same(seen);
}

const GLOBALS: &str = "use chroot = no
uid = 0
gid = 0
log file = PLACE/log
path = PLACE/tree
GLOBAL
[m]
MODULE
[other]
comment = second
";

/// Settings of which little shows: that the daemon starts, serves and says what it makes of them.
#[test]
fn settings_of_sockets_and_logs() {
    for (global, module) in [
        ("listen backlog = 1", "name = another"),
        ("socket options = TCP_NODELAY,SO_KEEPALIVE SO_SNDBUF=65536 IPTOS_LOWDELAY", ""),
        ("socket options = SO_NONSENSE", ""),
        ("syslog facility = local3\nsyslog tag = tagged", "syslog tag = own"),
        ("syslog facility = nonsense", ""),
        ("motd file = PLACE/nowhere", "comment = with  blanks  "),
        ("address = 127.0.0.1\nport = 1", ""),
        ("pid file = PLACE/pid", "log file = PLACE/nowhere/log"),
        ("reverse lookup = nonsense", "reverse lookup = no"),
        ("reverse lookup = no", "forward lookup = no\nhosts allow = localhost 127.0.0.1"),
        ("timeout = 5nonsense", "max verbosity = many"),
        ("proxy protocol = no", "no such parameter = 1"),
        ("early exec =", "pre-xfer exec =\npost-xfer exec =\nname converter ="),
    ] {
        same(|programs, side| {
            let config = GLOBALS.replace("GLOBAL", global).replace("MODULE", module);
            let mut story = DaemonStory::start(programs, side, "globals", &config, plant);
            story.client(&["HOST/"], &[]);
            for name in ["m", "another", "other"] {
                fs::create_dir(story.dir.join("got")).unwrap();
                story.client(&["-ai", &format!("HOST/{name}/"), "got/"], &["got"]);
                fs::remove_dir_all(story.dir.join("got")).unwrap();
            }
            story.end()
        });
    }
}

/// Every parameter stands in a configuration that is served by both programs and compared.
#[test]
fn every_parameter_is_compared_with_the_reference() {
    let sources = [
        include_str!("daemon_rules.rs"),
        include_str!("daemon_params.rs"),
        include_str!("daemon_proxy.rs"),
        include_str!("hooks.rs"),
        include_str!("converter.rs"),
        include_str!("charsets.rs"),
    ];
    let mut written = BTreeSet::new();
    for line in sources.iter().flat_map(|text| text.split(['\n', '"'])) {
        for line in line.split("\\n") {
            if let Some((name, _)) = line.split_once('=') {
                written.insert(name.trim().to_lowercase());
            }
        }
    }
    let there = ROWS.iter();
    let missing: Vec<&str> =
        there.map(|row| row.name).filter(|name| !written.contains(*name)).collect();
    assert!(missing.is_empty(), "not compared: {missing:?}");
}
