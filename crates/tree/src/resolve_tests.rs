//! Tests of the two walks: what they follow, what they refuse, and a race against a swapper.

use std::os::unix::fs::symlink;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use rustix::fs::AtFlags;

use super::*;
use crate::cache::DirCache;
use crate::scratch::{Scratch, bytes, name, rel};

type Walk = fn(BorrowedFd<'_>, &RelPath) -> io::Result<OwnedFd>;

/// Inode reached, or the error number.
fn reached(walk: Walk, root: BorrowedFd<'_>, path: &str) -> Result<u64, i32> {
    let fd = walk(root, rel(path)).map_err(|error| error.raw_os_error().unwrap())?;
    Ok(statx(&fd, "", AtFlags::EMPTY_PATH, StatxFlags::BASIC_STATS).unwrap().stx_ino)
}

/// A root `r` with links of every kind, and an `outside` next to it.
fn maze() -> Scratch {
    let s = Scratch::new();
    for dir in ["outside", "outside/deep", "r", "r/a", "r/a/b", "r/a/b/c", "r/x"] {
        std::fs::create_dir(s.path(dir)).unwrap();
    }
    std::fs::write(s.path("r/file"), b"").unwrap();
    let links = [
        ("x", "r/link"),
        ("a/b", "r/ab"),
        ("../a/./b//", "r/x/up"),
        ("../../x", "r/a/b/updown"),
        ("..", "r/a/self_up"),
        ("../..", "r/a/two_up"),
        ("../outside", "r/out"),
        ("a/../../outside/deep", "r/out_late"),
        ("/", "r/abs"),
        ("/proc/self/cwd", "r/magic"),
        ("loop2", "r/loop1"),
        ("loop1", "r/loop2"),
        ("nowhere", "r/dangling"),
        ("file", "r/to_file"),
        ("file/..", "r/through_file"),
        (".", "r/dot"),
    ];
    for (text, at) in links {
        symlink(text, s.path(at)).unwrap();
    }
    symlink(s.path("r/a"), s.path("r/abs_inside")).unwrap();
    for hop in 0..41 {
        symlink(if hop == 0 { "a".into() } else { format!("hop{}", hop - 1) }, {
            s.path(&format!("r/hop{hop}"))
        })
        .unwrap();
    }
    s
}

#[test]
fn both_confined_walks_agree() {
    let s = maze();
    let root = crate::root::Root::open(bytes(&s.path("r"))).unwrap();
    let root = root.top().fd();
    let inside = [
        (".", "r"),
        ("a", "r/a"),
        ("a/b/c", "r/a/b/c"),
        ("link", "r/x"),
        ("ab/c", "r/a/b/c"),
        ("x/up", "r/a/b"),
        ("x/up/c", "r/a/b/c"),
        ("a/b/updown", "r/x"),
        ("a/self_up", "r"),
        ("a/self_up/x", "r/x"),
        ("dot/dot/a", "r/a"),
        ("hop39/b", "r/a/b"),
    ];
    for (path, real) in inside {
        let real = std::os::unix::fs::MetadataExt::ino(&std::fs::metadata(s.path(real)).unwrap());
        assert_eq!(reached(beneath, root, path), Ok(real), "{path}");
        assert_eq!(reached(beneath_by_steps, root, path), Ok(real), "{path} by steps");
    }
    let refused = [
        ("out", libc::ELOOP),
        ("out/deep", libc::ELOOP),
        ("out_late", libc::ELOOP),
        ("abs", libc::ELOOP),
        ("abs/tmp", libc::ELOOP),
        ("abs_inside", libc::ELOOP),
        ("magic", libc::ELOOP),
        ("a/two_up", libc::ELOOP),
        ("loop1", libc::ELOOP),
        ("loop1/x", libc::ELOOP),
        ("hop40", libc::ELOOP),
        ("dangling", libc::ENOENT),
        ("none", libc::ENOENT),
        ("none/x", libc::ENOENT),
        ("file", libc::ENOTDIR),
        ("file/x", libc::ENOTDIR),
        ("to_file", libc::ENOTDIR),
        ("through_file", libc::ENOTDIR),
    ];
    for (path, errno) in refused {
        assert_eq!(reached(beneath, root, path), Err(errno), "{path}");
        assert_eq!(reached(beneath_by_steps, root, path), Err(errno), "{path} by steps");
    }
}

#[test]
fn a_plain_walk_follows_no_link() {
    // A failure would give one directory two paths, and a watch of it the wrong one.
    let s = maze();
    let root = s.root();
    let root = root.top().fd();
    for walk in [plain as Walk, plain_by_steps] {
        assert_eq!(reached(walk, root, "r/a/b/c"), reached(beneath, root, "r/a/b/c"));
        for path in ["r/link", "r/ab/c", "r/x/up", "r/out"] {
            let error = reached(walk, root, path).unwrap_err();
            assert!([libc::ELOOP, libc::ENOTDIR].contains(&error), "{path}: {error}");
        }
        assert_eq!(reached(walk, root, "r/file").unwrap_err(), libc::ENOTDIR);
        assert_eq!(reached(walk, root, "r/a/none").unwrap_err(), libc::ENOENT);
    }
}

#[test]
fn deep_paths_resolve_both_ways() {
    let s = Scratch::new();
    let root = s.root();
    let mut dir = root.top().clone();
    let mut path = String::new();
    for level in 0..400 {
        dir.mkdir(name("dir"), 0o700).unwrap();
        dir = dir.open_dir(name("dir")).unwrap();
        path.push_str(if level == 0 { "dir" } else { "/dir" });
    }
    let deep = dir.stat_self().unwrap().ino;
    assert_eq!(reached(beneath, root.top().fd(), &path), Ok(deep));
    assert_eq!(reached(beneath_by_steps, root.top().fd(), &path), Ok(deep));
}

/// While a directory and a symlink to the outside change places in a loop, files are made in it
/// by both walks. Some makings must succeed, some must be refused, and none may land outside.
#[test]
fn a_swapped_directory_never_leads_out() {
    let s = Scratch::new();
    for dir in ["outside", "r", "r/real", "r/real/sub", "outside/sub"] {
        std::fs::create_dir(s.path(dir)).unwrap();
    }
    symlink("../outside", s.path("r/evil")).unwrap();
    std::fs::rename(s.path("r/real"), s.path("r/spot")).unwrap();
    let stop = AtomicBool::new(false);
    let (mut made, mut refused) = (0, 0);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let [spot, real, evil] = ["r/spot", "r/real", "r/evil"].map(|p| s.path(p));
            while !stop.load(Ordering::Relaxed) {
                std::fs::rename(&spot, &real).unwrap();
                std::fs::rename(&evil, &spot).unwrap();
                std::fs::rename(&spot, &evil).unwrap();
                std::fs::rename(&real, &spot).unwrap();
            }
        });
        let root = crate::root::Root::open(bytes(&s.path("r"))).unwrap();
        let end = Instant::now() + Duration::from_secs(2);
        let walks: [Walk; 2] = [beneath, beneath_by_steps];
        let mut round = 0_usize;
        while Instant::now() < end {
            round += 1;
            let leaf = format!("f{round}");
            let path = if round % 4 < 2 { "spot" } else { "spot/sub" };
            let done = if round % 8 == 7 {
                let mut cache = DirCache::new(root.clone(), 4);
                let below = format!("{path}/{leaf}");
                cache.parent(rel(&below)).and_then(|dir| dir.mkdir(name(&leaf), 0o700))
            } else {
                walks[round % 2](root.top().fd(), rel(path))
                    .map(crate::dir::Dir::from_fd)
                    .and_then(|dir| dir.create_new(name(&leaf), 0o600).map(drop))
            };
            match done {
                Ok(()) => made += 1,
                Err(_) => refused += 1,
            }
        }
        stop.store(true, Ordering::Relaxed);
    });
    let outside: Vec<_> = std::fs::read_dir(s.path("outside")).unwrap().collect();
    assert_eq!(outside.len(), 1, "only `sub` may be there");
    assert_eq!(std::fs::read_dir(s.path("outside/sub")).unwrap().count(), 0);
    assert!(made > 0 && refused > 0, "{made} made, {refused} refused: the race did not happen");
}

fn stopped(path: &std::path::Path, whole: bool) -> i32 {
    trusted(bytes(path), whole).err().expect("the walk went through").raw_os_error().unwrap()
}

#[test]
fn a_trusted_walk_follows_own_links_and_ends_before_the_last_name() {
    let s = maze();
    for (path, last) in [
        ("r/file", "file"),
        ("r/link/../file", "file"),
        ("r/to_file", "file"),
        ("r/abs_inside/b", "b"),
        ("r/out/new", "new"),
    ] {
        let end = trusted(bytes(&s.path(path)), false).unwrap();
        assert_eq!(end.name.as_deref(), Some(last.as_bytes()), "{path}");
        assert!(!end.pinned);
    }
    for path in ["r/a/", "r/a/.", "r/a/..", "r/link/", "r/abs"] {
        assert_eq!(trusted(bytes(&s.path(path)), path == "r/abs").unwrap().name, None, "{path}");
    }
    assert_eq!(stopped(&s.path("r/file/"), false), libc::ENOTDIR);
    assert_eq!(stopped(&s.path("r/file"), true), libc::ENOTDIR);
    assert_eq!(stopped(&s.path("r/none"), true), libc::ENOENT);
    assert_eq!(stopped(&s.path("r/none/x"), false), libc::ENOENT);
    assert_eq!(stopped(&s.path("r/none/"), false), libc::ENOENT);
    assert_eq!(stopped(&s.path("r/loop1"), false), libc::ELOOP);
    assert!(trusted(bytes(&s.path("r/hop39")), true).is_ok());
    assert_eq!(stopped(&s.path("r/hop40"), true), libc::ELOOP);
    assert_eq!(stopped(std::path::Path::new(""), false), libc::EINVAL);
    let end = trusted(b"/dev/fd/0", false).unwrap();
    assert!(end.pinned, "a handle of the process is opened by following it");
}

#[test]
fn a_trusted_walk_stops_at_a_foreign_link() {
    if !crate::owner::am_root() {
        return;
    }
    let s = maze();
    let foreign = |path: &str| {
        std::os::unix::fs::lchown(s.path(path), Some(12_345), None).unwrap();
    };
    foreign("r/link");
    foreign("r/to_file");
    foreign("r/hop3");
    for (path, whole) in
        [("r/link", true), ("r/link/f", false), ("r/to_file", false), ("r/hop9", true)]
    {
        assert!(!take_refusal());
        assert_eq!(stopped(&s.path(path), whole), libc::ELOOP);
        assert!(take_refusal(), "{path}");
    }
    // Whose directory it is does not matter.
    std::os::unix::fs::chown(s.path("r/a"), Some(12_345), None).unwrap();
    assert!(trusted(bytes(&s.path("r/a/b")), true).is_ok());
}

#[test]
fn a_trusted_walk_can_be_kept_within_a_directory() {
    let s = Scratch::new();
    for dir in ["m/in/deep", "out"] {
        std::fs::create_dir_all(s.path(dir)).unwrap();
    }
    for file in ["m/in/f", "out/f"] {
        std::fs::write(s.path(file), b"").unwrap();
    }
    let link = |text: &std::path::Path, name: &str| {
        symlink(text, s.path(name)).unwrap();
    };
    link(&s.path("m/in"), "m/absolute");
    link(&s.path("out"), "m/leaves");
    link("../out".as_ref(), "m/climbs");
    link("../out/../m/in".as_ref(), "m/detour");
    link("../m/in".as_ref(), "m/around");
    link("../../out/f".as_ref(), "m/in/file");
    link("f".as_ref(), "m/in/own");
    let root = s.root();
    let m = root.dir(rel("m")).unwrap();
    let deep = root.dir(rel("m/in/deep")).unwrap();
    let walked = |start: &crate::dir::Dir, path: &str, whole: bool| {
        trusted_within(m.fd(), start.fd(), path.as_bytes(), whole)
            .map_err(|error| error.raw_os_error().unwrap())
    };
    for path in ["in", "absolute", "around", "in/deep/..", "../m/in"] {
        assert!(walked(&m, path, true).is_ok(), "{path}");
    }
    for path in ["leaves", "climbs", "detour", "..", "in/../.."] {
        assert_eq!(walked(&m, path, true).err(), Some(libc::ELOOP), "{path}");
    }
    for path in ["in/own", "in/none", "absolute/f"] {
        assert!(walked(&m, path, false).is_ok(), "{path}");
    }
    for path in ["in/file", "leaves/f", "climbs/none"] {
        assert_eq!(walked(&m, path, false).err(), Some(libc::ELOOP), "{path}");
    }
    assert!(walked(&deep, "../../absolute", true).is_ok());
    assert_eq!(walked(&deep, "../../../out", true).err(), Some(libc::ELOOP));
}
