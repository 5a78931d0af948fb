//! Tests of the operations on one name: every byte, every kind, and no symlink followed.

use std::os::fd::AsRawFd;
use std::os::unix::fs::{PermissionsExt, symlink};

use super::*;
use crate::path::RelPath;
use crate::scratch::{Scratch, name};
use crate::xattr::XattrHolder;

fn errno<T>(result: io::Result<T>) -> i32 {
    result.err().expect("it worked").raw_os_error().unwrap()
}

#[test]
fn names_of_every_byte() {
    let s = Scratch::new();
    let dir = s.root().dir(RelPath::top()).unwrap();
    let mut all = Vec::new();
    for byte in (1..=255_u8).filter(|b| *b != b'/' && *b != b'.') {
        all.push(vec![byte]);
        all.push([b"long-".as_slice(), &[byte; 250]].concat());
    }
    for bytes in &all {
        dir.create_new(Name::new(bytes).unwrap(), 0o600).unwrap();
    }
    let mut seen: Vec<Vec<u8>> = Vec::new();
    for item in dir.read_entries().unwrap() {
        assert_eq!(item.file_type, Some(FileType::RegularFile));
        assert_eq!(dir.lstat(&item.name).unwrap().unwrap().ino, item.ino);
        seen.push(item.name.as_bytes().to_vec());
    }
    all.sort();
    seen.sort();
    assert_eq!(seen, all);
    let too_long = [b'n'; 256];
    assert_eq!(errno(dir.lstat(Name::new(&too_long).unwrap())), libc::ENAMETOOLONG);
}

#[test]
fn no_operation_follows_its_last_name() {
    let s = Scratch::new();
    std::fs::create_dir(s.path("outside")).unwrap();
    std::fs::write(s.path("outside/f"), b"secret").unwrap();
    std::fs::create_dir(s.path("r")).unwrap();
    symlink("../outside/f", s.path("r/file")).unwrap();
    symlink("../outside", s.path("r/dir")).unwrap();
    symlink("../outside/new", s.path("r/new")).unwrap();
    let dir = s.root().top().open_dir(name("r")).unwrap();

    assert_eq!(errno(dir.open_read(name("file"))), libc::ELOOP);
    assert_eq!(errno(dir.open_write(name("file"), true)), libc::ELOOP);
    assert_eq!(errno(dir.open_write(name("new"), true)), libc::ELOOP);
    assert_eq!(errno(dir.create_new(name("new"), 0o600)), libc::EEXIST);
    assert_eq!(errno(dir.mkdir(name("new"), 0o700)), libc::EEXIST);
    assert_eq!(errno(dir.open_dir(name("dir"))), libc::ENOTDIR);
    assert_eq!(errno(dir.rmdir(name("dir"))), libc::ENOTDIR);
    assert!(dir.lstat(name("dir")).unwrap().unwrap().is_link());
    assert_eq!(dir.read_link(name("dir")).unwrap(), b"../outside");
    dir.hard_link(name("file"), &dir, name("again")).unwrap();
    assert!(dir.lstat(name("again")).unwrap().unwrap().is_link());
    dir.create_new(name("plain"), 0o600).unwrap();
    dir.rename(name("plain"), &dir, name("file")).unwrap();
    dir.unlink(name("new")).unwrap();
    assert_eq!(std::fs::read(s.path("outside/f")).unwrap(), b"secret");
    assert_eq!(std::fs::read_dir(s.path("outside")).unwrap().count(), 1);
}

#[test]
fn only_regular_files_are_opened_and_nothing_blocks() {
    let s = Scratch::new();
    let dir = s.root().dir(RelPath::top()).unwrap();
    dir.mknod(name("fifo"), 0o010_600, (0, 0)).unwrap();
    dir.mkdir(name("d"), 0o700).unwrap();
    assert_eq!(errno(dir.open_read(name("fifo"))), libc::EINVAL);
    assert_eq!(errno(dir.open_write(name("fifo"), true)), libc::ENXIO);
    assert!(dir.open_read(name("d")).is_err());
    assert_eq!(errno(dir.open_write(name("d"), true)), libc::EISDIR);
    assert_eq!(dir.lstat(name("none")).unwrap(), None);
    std::fs::write(s.path("small"), b"12345").unwrap();
    assert_eq!(dir.read_small(name("small"), 5).unwrap(), b"12345");
    assert_eq!(errno(dir.read_small(name("small"), 4)), libc::EFBIG);
}

#[test]
fn large_directories_are_listed_whole() {
    let s = Scratch::new();
    let dir = s.root().dir(RelPath::top()).unwrap();
    let long = "x".repeat(200);
    for number in 0..1000 {
        dir.symlink(b"t", name(&format!("{number}-{long}"))).unwrap();
    }
    let items = dir.read_entries().unwrap();
    assert_eq!(items.len(), 1000);
    assert!(items.iter().all(|item| item.file_type == Some(FileType::Symlink)));
    assert!(items.iter().all(|item| !item.is_dir(&dir)));
}

#[test]
fn climbing_goes_only_to_the_expected_directory() {
    let s = Scratch::new();
    let top = s.root().top().clone();
    top.mkdir(name("a"), 0o700).unwrap();
    let a = top.open_dir(name("a")).unwrap();
    a.mkdir(name("b"), 0o700).unwrap();
    let b = a.open_dir(name("b")).unwrap();
    let (top_meta, a_meta) = (top.stat_self().unwrap(), a.stat_self().unwrap());
    assert_eq!(b.climb(&a_meta).unwrap().stat_self().unwrap().ino, a_meta.ino);
    a.rename(name("b"), &top, name("b")).unwrap();
    assert_eq!(errno(b.climb(&a_meta)), libc::ESTALE);
    assert!(b.climb(&top_meta).is_ok());
}

#[test]
fn handles_do_not_pass_to_other_programs() {
    let s = Scratch::new();
    let top = s.root().top().clone();
    top.mkdir(name("d"), 0o711).unwrap();
    std::fs::write(s.path("f"), b"").unwrap();
    let trusted = crate::root::Root::open_trusted(crate::scratch::bytes(&s.path("d"))).unwrap();
    let step = crate::resolve::beneath_by_steps(top.fd(), RelPath::top()).unwrap();
    let files = [
        top.open_read(name("f")).unwrap(),
        top.open_write(name("f"), false).unwrap(),
        top.create_new(name("g"), 0o600).unwrap(),
    ];
    let dirs = [top.open_dir(name("d")).unwrap(), trusted.top().clone(), top.clone()];
    let mut raw: Vec<i32> = files.iter().map(AsRawFd::as_raw_fd).collect();
    raw.extend(dirs.iter().map(|dir| dir.fd().as_raw_fd()));
    raw.push(step.as_raw_fd());
    for fd in raw {
        // SAFETY: asks for the flags of an open descriptor, touches no memory.
        let flags = unsafe { libc::fcntl(fd, libc::F_GETFD) };
        assert_eq!(flags & libc::FD_CLOEXEC, libc::FD_CLOEXEC);
    }
    assert_eq!(std::fs::metadata(s.path("d")).unwrap().permissions().mode() & 0o777, 0o711);
}

#[test]
fn a_faking_directory_keeps_what_the_super_user_may_set() {
    let s = Scratch::new();
    let dir = s.root().faking(true).dir(RelPath::top()).unwrap();
    if XattrHolder::Itself(&dir).set(b"user.probe", b"").is_err() {
        assert!(std::env::var_os("LIVEMIRROR_NO_ORACLE").is_some_and(|v| v == "1"));
        return;
    }
    dir.mknod(name("n"), 0o020_620, (4, 7)).unwrap();
    dir.symlink(b"n", name("l")).unwrap();
    dir.create_new(name("f"), 0o600).unwrap();
    dir.mkdir(name("d"), 0o700).unwrap();
    for item in ["n", "l", "f", "d"] {
        dir.chown(name(item), Some(77), Some(78)).unwrap();
    }
    dir.chmod(name("f"), 0o4060).unwrap();
    dir.chmod(name("d"), 0o1070).unwrap();
    let seen = |dir: &Dir, item| {
        let meta = dir.lstat(name(item)).unwrap().unwrap();
        (meta.mode, meta.uid, meta.gid, meta.rdev)
    };
    assert_eq!(seen(&dir, "n"), (0o020_620, 77, 78, (4, 7)));
    assert_eq!(seen(&dir, "l"), (0o120_777, 77, 78, (0, 0)));
    assert_eq!(dir.read_link(name("l")).unwrap(), b"n");
    assert_eq!(seen(&dir, "f"), (0o104_060, 77, 78, (0, 0)));
    assert_eq!(seen(&dir, "d"), (0o041_070, 77, 78, (0, 0)));
    let plain = dir.clone().faking(false);
    let own = plain.stat_self().unwrap().uid;
    assert_eq!(seen(&plain, "n"), (0o100_620, own, plain.stat_self().unwrap().gid, (0, 0)));
    assert_eq!((seen(&plain, "f").0, seen(&plain, "d").0), (0o100_660, 0o040_770));
    // What can be shown by the file itself needs no attribute.
    dir.chmod(name("f"), 0o640).unwrap();
    let meta = plain.stat_self().unwrap();
    dir.chown(name("f"), Some(meta.uid), Some(meta.gid)).unwrap();
    assert!(XattrHolder::Item(&plain, name("f")).names().unwrap().is_empty());
    // An attribute makes no directory of a file, and one that cannot be read is an error.
    let stat = |text: &[u8]| XattrHolder::Item(&plain, name("f")).set(b"user.rsync.%stat", text);
    stat(b"40755 0,0 1:1").unwrap();
    assert_eq!(seen(&dir, "f").0, 0o100_640);
    stat(b"100755 0,0").unwrap();
    assert_eq!(dir.lstat(name("f")).unwrap_err().raw_os_error(), Some(libc::EINVAL));
}

#[test]
fn what_is_read_on_opening_is_the_start_of_the_file() {
    let s = Scratch::new();
    let dir = s.root().dir(RelPath::top()).unwrap();
    std::fs::write(s.path("f"), b"0123456789").unwrap();
    mknodat(rustix::fs::CWD, s.path("fifo"), FileType::Fifo, Mode::RUSR, 0).unwrap();
    // As listed, grown, shrunk, and not to be read.
    for (expected, held) in [(10, 10), (4, 5), (30, 10), (0, 0)] {
        let mut ahead = vec![7; 3];
        let (file, size) = dir.open_sized(name("f"), expected, &mut ahead).unwrap();
        assert_eq!((size, &ahead[..]), (10, &b"0123456789"[..held]), "{expected}");
        let mut rest = Vec::new();
        (&file).read_to_end(&mut rest).unwrap();
        assert_eq!([ahead, rest].concat(), b"0123456789");
    }
    for item in ["fifo", "d"] {
        let _ = std::fs::create_dir(s.path("d"));
        assert_eq!(errno(dir.open_sized(name(item), 4, &mut Vec::new())), libc::EINVAL);
    }
}
