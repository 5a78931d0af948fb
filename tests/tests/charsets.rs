//! `charset` of a daemon's modules beside the reference: names that clients have converted.
//!
//! What `--iconv` does between other pairs is in `commands.txt`.

// A rule that cannot be checked is a failure.
#![allow(clippy::unwrap_used, clippy::panic)]

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, symlink};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use livemirror_tests::daemon_story::{DaemonStory, assert_same};
use livemirror_tests::peer::{self, Programs, Side};

const MODULES: &str = "uid = 0
gid = 0
log file = PLACE/log
path = PLACE/tree
read only = no
[old]
charset = ISO-8859-1
[old inside]
charset = ISO-8859-1
use chroot = no
[none]
[unknown]
charset = no-such-charset
[refused]
charset = ISO-8859-1
refuse options = iconv
[all refused]
charset = ISO-8859-1
refuse options = *
";

const PULLS: &[&[&str]] = &[
    &["-ai", "--iconv=UTF-8"],
    &["-ai8"],
    &["-ai", "--iconv=UTF-8", "--no-inc-recursive"],
    &["-ai", "--iconv=UTF-8", "--no-iconv"],
    &["-aiH", "--iconv=UTF-8", "--protocol=29"],
];

const PUSHES: &[&[&str]] = &[
    &["-ai", "--iconv=UTF-8", "--delete"],
    &["-ai", "--iconv=UTF-8", "--delete-before", "--protocol=30"],
    &["-ain", "--iconv=UTF-8", "--delete"],
];

fn named(dir: &Path, name: &[u8]) -> PathBuf {
    dir.join(OsStr::from_bytes(name))
}

/// Names in the old charset to serve, and the same in UTF-8 to push.
fn plant(dir: &Path) {
    let (tree, push) = (dir.join("tree"), dir.join("push"));
    fs::create_dir_all(named(&tree, b"d\xe9/e\xe8")).unwrap();
    for name in [&b"caf\xe9"[..], b"plain", b"\xe9d", b"d\xe9/x", b"d\xe9/e\xe8/\xfc", b"zz"] {
        fs::write(named(&tree, name), name).unwrap();
    }
    symlink(OsStr::from_bytes(b"caf\xe9"), tree.join("link")).unwrap();
    fs::create_dir_all(push.join("dé/eè")).unwrap();
    for name in ["café", "new ü", "ü", "dé/x", "dé/eè/ü", "dé/eè/a"] {
        fs::write(push.join(name), format!("pushed {name}")).unwrap();
    }
    symlink("ü", push.join("lünk")).unwrap();
    fs::write(dir.join("list"), "café\ndé/x\nno such é\n").unwrap();
    let old = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000_000);
    for name in [&b"tree/d\xe9/e\xe8"[..], b"tree/d\xe9", b"tree", "push/dé/eè".as_bytes(), b"push"]
    {
        fs::File::open(named(dir, name)).unwrap().set_modified(old).unwrap();
    }
}

#[test]
fn modules_keep_names_in_their_own_charset() {
    // Owners and a change of root are part of it.
    let root = rustix::process::geteuid().is_root();
    let Some(programs) = Programs::find().filter(|_| root) else { return };
    let play = |side: Side| {
        let mut story = DaemonStory::start(programs, side, "charset", MODULES, plant);
        let afresh = |story: &DaemonStory| {
            for name in ["got", "tree", "push"] {
                let _ = fs::remove_dir_all(story.dir.join(name));
            }
            fs::create_dir(story.dir.join("got")).unwrap();
            plant(&story.dir);
        };
        // The client of the other program is met where names come apart.
        for (player, module) in [
            (Side::Theirs, "old"),
            (side, "old"),
            (side, "old inside"),
            (Side::Theirs, "none"),
            (Side::Theirs, "unknown"),
            (Side::Theirs, "refused"),
            (Side::Theirs, "all refused"),
        ] {
            story.play(&programs.words(player));
            let url = format!("HOST/{module}/");
            let few = !module.starts_with("old");
            for words in PULLS.iter().take(if few { 2 } else { PULLS.len() }) {
                afresh(&story);
                story.client(&[*words, &[&url, "got/"]].concat(), &["got"]);
            }
            if few {
                continue;
            }
            for words in PUSHES {
                afresh(&story);
                story.client(&[*words, &["push/", &url]].concat(), &["tree"]);
            }
            for words in [&["-ai", "--iconv=UTF-8"][..], &["-ais", "--iconv=UTF-8"]] {
                afresh(&story);
                story.client(&[words, &[&format!("{url}café"), "got/"]].concat(), &["got"]);
                story.client(&[words, &["--files-from=list", &url, "got/"]].concat(), &["got"]);
            }
        }
        story.end()
    };
    assert_same(&play(Side::Theirs), &play(Side::Ours));
}

#[test]
fn a_group_of_links_outlives_a_name_without_a_form() {
    // The reference reads memory that is none of its names there, so ours is alone.
    let Some(programs) = Programs::find() else { return };
    let dir = std::env::temp_dir().join(format!("livemirror-links-{}", std::process::id()));
    let source = dir.join("s");
    fs::create_dir_all(&source).unwrap();
    fs::write(source.join("a€"), "a").unwrap();
    fs::hard_link(source.join("a€"), source.join("yy")).unwrap();
    fs::hard_link(source.join("a€"), source.join("zz")).unwrap();
    for more in ["--inc-recursive", "--no-inc-recursive", "--protocol=29"] {
        let target = dir.join("d");
        let words = programs.words(Side::Ours);
        let mut command = std::process::Command::new(&words[0]);
        command.args(&words[1..]).args(["-aH", "--iconv=UTF-8,ISO-8859-1", more]);
        command.arg(format!("{}/", source.display())).arg(&target);
        let run = peer::run(command, Vec::new(), Duration::from_secs(60));
        assert_eq!(run.code, Some(23), "{more}");
        let inode = |name: &str| fs::metadata(target.join(name)).unwrap().ino();
        assert_eq!(inode("yy"), inode("zz"), "{more}");
        assert_eq!(fs::read_dir(&target).unwrap().count(), 2, "{more}");
        fs::remove_dir_all(&target).unwrap();
    }
    fs::remove_dir_all(&dir).unwrap();
}
