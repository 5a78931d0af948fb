//! Tests of stages: names, what is visible when, and what every way out leaves behind.

use std::os::unix::fs::{PermissionsExt, symlink};

use super::*;
use crate::path::RelPath;
use crate::scratch::{Scratch, name};

fn top(s: &Scratch) -> Dir {
    s.root().dir(RelPath::top()).unwrap()
}

fn entries(dir: &Dir) -> Vec<Vec<u8>> {
    let mut all: Vec<_> =
        dir.read_entries().unwrap().iter().map(|e| e.name.as_bytes().to_vec()).collect();
    all.sort();
    all
}

#[test]
fn temporary_names_as_the_other_program_makes_them() {
    let beside = |base: &[u8]| {
        let name = compose(base, true, [0; 6]);
        name.strip_suffix(b".AAAAAA").unwrap().to_vec()
    };
    assert_eq!(beside(b"f"), b".f");
    assert_eq!(beside(b".h"), b".h");
    assert_eq!(beside(b"..x"), b"..x");
    assert_eq!(beside(b"..."), b"..");
    assert_eq!(beside(b"a."), b".a");
    assert_eq!(beside(&[b'b'; 255]).len(), 247);
    assert_eq!(beside(&[b'c'; 246]).len(), 247);
    let split = [&[b'e'; 240][..], "а".repeat(7).as_bytes()].concat();
    assert_eq!(beside(&split), [b".", &[b'e'; 240][..]].concat());
    let dotted = [&[b'g'; 245][..], b".hhhhhhhhh"].concat();
    assert_eq!(beside(&dotted), [b".", &[b'g'; 245][..]].concat());
    assert_eq!(beside("а".repeat(127).as_bytes()), b"");
    // Not cut: the high bytes stay.
    assert_eq!(beside("аа".as_bytes()), ".аа".as_bytes());

    assert_eq!(compose(b".h", false, [61; 6]), b".h.999999");
    assert_eq!(compose(b"a.", false, [62; 6]), b"a.AAAAAA");
    assert_eq!(compose(&[b'b'; 255], false, [0; 6]).len(), 253);
    assert_ne!(temp_name(name("f")).unwrap(), temp_name(name("f")).unwrap());
}

#[test]
fn a_temporary_file_appears_whole_or_not_at_all() {
    let s = Scratch::new();
    let dir = top(&s);
    std::fs::write(s.path("f"), b"old").unwrap();
    let mut stage = Stage::temp(dir.clone(), name("f"), None, 0o4755).unwrap();
    let temp = entries(&dir)[0].clone();
    assert!(temp.starts_with(b".f.") && temp.len() == 9);
    let meta = dir.lstat(Name::new(&temp).unwrap()).unwrap().unwrap();
    assert_eq!(meta.mode & 0o7777, 0o700, "nobody else may look in yet");

    let mut want = Vec::new();
    for size in [1, 700, 20_000, 3, 70_000, 16_384, 16_383, 0, 50_000, 10] {
        let piece: Vec<u8> = (0..size).map(|i| (i + want.len()) as u8).collect();
        stage.write(&piece).unwrap();
        want.extend_from_slice(&piece);
    }
    assert_eq!(stage.position(), want.len() as u64);
    stage.finish_content().unwrap();
    assert!(stage.set_attributes(None, None, Times::modified(1234, 567), Some(0o640)).is_empty());
    assert_eq!(std::fs::read(s.path("f")).unwrap(), b"old");
    stage.commit(&dir, name("f")).unwrap();
    assert_eq!(entries(&dir), [b"f"]);
    assert!(std::fs::read(s.path("f")).unwrap() == want);
    let meta = dir.lstat(name("f")).unwrap().unwrap();
    assert_eq!((meta.mode & 0o7777, meta.mtime, meta.mtime_nsec), (0o640, 1234, 567));
}

#[test]
fn every_other_way_out_removes_it() {
    let s = Scratch::new();
    let dir = top(&s);
    let stage = |dir: &Dir| {
        let mut stage = Stage::temp(dir.clone(), name("f"), None, 0o600).unwrap();
        stage.write(b"half").unwrap();
        stage
    };
    drop(stage(&dir));
    assert!(entries(&dir).is_empty());
    let unwound = std::panic::catch_unwind(|| {
        let _stage = stage(&top(&s));
        std::panic::resume_unwind(Box::new(()));
    });
    assert!(unwound.is_err());
    assert!(entries(&dir).is_empty());
    dir.mkdir(name("f"), 0o700).unwrap();
    let refused = stage(&dir).commit(&dir, name("f")).unwrap_err();
    assert_eq!(refused.raw_os_error(), Some(libc::EISDIR));
    assert_eq!(entries(&dir), [b"f"]);
}

#[test]
fn a_commit_replaces_a_symlink_and_not_its_target() {
    let s = Scratch::new();
    let dir = top(&s);
    std::fs::write(s.path("outside"), b"safe").unwrap();
    symlink("outside", s.path("f")).unwrap();
    let mut stage = Stage::temp(dir.clone(), name("f"), None, 0o600).unwrap();
    stage.write(b"new").unwrap();
    stage.commit(&dir, name("f")).unwrap();
    assert_eq!(std::fs::read(s.path("outside")).unwrap(), b"safe");
    assert!(dir.lstat(name("f")).unwrap().unwrap().is_file());
}

#[test]
fn a_side_directory_on_another_file_system_is_copied_from() {
    let s = Scratch::new();
    let dir = top(&s);
    let Ok(shm) = crate::root::Root::open(b"/dev/shm") else { return };
    if shm.top().stat_self().unwrap().dev == dir.stat_self().unwrap().dev {
        return;
    }
    let own = format!("tree-side-{}", std::process::id());
    shm.top().mkdir(name(&own), 0o700).unwrap();
    let side = shm.top().open_dir(name(&own)).unwrap();
    let mut stage = Stage::temp(dir.clone(), name(".f"), Some(side.clone()), 0o600).unwrap();
    assert!(entries(&side)[0].starts_with(b".f."));
    stage.write(&[b'x'; 100_000]).unwrap();
    assert!(stage.set_attributes(None, None, Times::modified(99, 5), Some(0o604)).is_empty());
    stage.commit(&dir, name(".f")).unwrap();
    assert!(entries(&side).is_empty());
    shm.top().rmdir(name(&own)).unwrap();
    assert_eq!(entries(&dir), [b".f"]);
    let meta = dir.lstat(name(".f")).unwrap().unwrap();
    assert_eq!((meta.size, meta.mode & 0o7777, meta.mtime), (100_000, 0o604, 99));
}

#[test]
fn in_place_keeps_what_is_skipped_and_cuts_the_rest() {
    let s = Scratch::new();
    let dir = top(&s);
    std::fs::write(s.path("f"), b"0123456789").unwrap();
    std::fs::hard_link(s.path("f"), s.path("g")).unwrap();
    let mut stage = Stage::in_place(dir.clone(), name("f"), false).unwrap();
    stage.write(b"ab").unwrap();
    stage.skip(3).unwrap();
    stage.write(b"c").unwrap();
    assert_eq!((stage.position(), stage.written()), (6, 3));
    stage.finish_content().unwrap();
    stage.commit(&dir, name("f")).unwrap();
    assert_eq!(std::fs::read(s.path("g")).unwrap(), b"ab234c");

    let mut stage = Stage::in_place(dir.clone(), name("f"), false).unwrap();
    stage.write(b"xy").unwrap();
    drop(stage);
    assert_eq!(std::fs::read(s.path("g")).unwrap(), b"xy234c", "left as far as it came");

    let missing = Stage::in_place(dir.clone(), name("new"), false).err().unwrap();
    assert_eq!(missing.raw_os_error(), Some(libc::ENOENT));
    Stage::in_place(dir.clone(), name("new"), true).unwrap().leave();
    assert_eq!(dir.lstat(name("new")).unwrap().unwrap().mode & 0o7777, 0o600);
    let mut stage = Stage::in_place(dir, name("new"), true).unwrap();
    stage.skip(u64::MAX).unwrap();
    assert_eq!(stage.write(b"x").unwrap_err().raw_os_error(), Some(libc::EFBIG));
}

#[test]
fn a_change_of_owner_does_not_cost_special_bits() {
    if !crate::owner::am_root() {
        return;
    }
    let s = Scratch::new();
    let dir = top(&s);
    std::fs::write(s.path("f"), b"x").unwrap();
    std::fs::set_permissions(s.path("f"), PermissionsExt::from_mode(0o6755)).unwrap();
    let mut stage = Stage::in_place(dir.clone(), name("f"), false).unwrap();
    assert!(stage.set_attributes(Some(12), Some(34), Times::default(), Some(0o6755)).is_empty());
    let meta = dir.lstat(name("f")).unwrap().unwrap();
    assert_eq!((meta.uid, meta.gid, meta.mode & 0o7777), (12, 34, 0o6755));
    let mut words = |uid, gid| -> Vec<&str> {
        let failed = stage.set_attributes(uid, gid, Times::modified(1, u32::MAX), Some(0o600));
        failed.iter().map(|(what, _)| *what).collect()
    };
    assert_eq!(words(Some(u32::MAX), None), ["chown"]);
    assert_eq!(words(None, Some(u32::MAX)), ["chgrp"]);
    assert_eq!(dir.lstat(name("f")).unwrap().unwrap().mode & 0o7777, 0o6755);
    assert_eq!(words(None, None), ["failed to set times on"]);
    assert_eq!(dir.lstat(name("f")).unwrap().unwrap().mode & 0o7777, 0o6755);
}

#[test]
fn zeros_become_holes_and_the_content_stays() {
    let s = Scratch::new();
    let top = s.root().top().clone();
    let mut content = vec![7_u8; 300_000];
    content[10_000..150_000].fill(0);
    content[150_001..150_100].fill(0);
    content[200_000..].fill(0);
    for (at, reserved) in [(0, false), (1, false), (2, true), (3, true)] {
        let in_place = at % 2 == 1;
        if in_place {
            std::fs::write(s.path("f"), vec![9_u8; 400_000]).unwrap();
        }
        let mut stage = match in_place {
            true => Stage::in_place(top.clone(), name("f"), true).unwrap(),
            false => Stage::temp(top.clone(), name("f"), None, 0o600).unwrap(),
        };
        stage.set_sparse();
        if reserved {
            stage.reserve(content.len() as u64).unwrap();
        }
        for piece in content.chunks(if in_place { 700 } else { 70_001 }) {
            stage.write(piece).unwrap();
        }
        stage.finish_content().unwrap();
        stage.commit(&top, name("f")).unwrap();
        assert!(std::fs::read(s.path("f")).unwrap() == content, "case {at}");
        let blocks = std::fs::metadata(s.path("f")).unwrap().blocks() * 512;
        assert!(blocks < 100_000, "case {at}: {blocks} bytes on the disk");
    }
}

#[test]
fn pieces_of_another_file_come_as_it_holds_them() {
    let s = Scratch::new();
    let dir = top(&s);
    let content: Vec<u8> = (0..1_000_000_u32).flat_map(u32::to_le_bytes).collect();
    std::fs::write(s.path("from"), &content).unwrap();
    let from = File::open(s.path("from")).unwrap();
    let mut stage = Stage::temp(dir.clone(), name("to"), None, 0o600).unwrap();
    stage.write(b"head").unwrap();
    let mut at = 0;
    // More is asked for than there is.
    let short = loop {
        match stage.copy_piece(&from, at, (content.len() as u64 + 9 - at).min(70_001)) {
            Ok(copied) => at += copied,
            Err(error) => break error,
        }
    };
    let CopyError::Read(error) = short else { panic!("{short:?}") };
    assert_eq!(error.raw_os_error(), Some(libc::ENODATA));
    assert_eq!((at, stage.position()), (content.len() as u64, content.len() as u64 + 4));
    stage.write(b"tail").unwrap();
    stage.finish_content().unwrap();
    stage.commit(&dir, name("to")).unwrap();
    let found = std::fs::read(s.path("to")).unwrap();
    assert!(found == [b"head", content.as_slice(), b"tail"].concat());

    // What the kernel does not copy by itself is read and written.
    let (reader, writer) = std::os::unix::net::UnixStream::pair().unwrap();
    let (reader, writer) = (std::os::fd::OwnedFd::from(reader), writer);
    let mut stage = Stage::temp(dir.clone(), name("odd"), None, 0o600).unwrap();
    assert!(matches!(stage.copy_piece(&File::from(reader), 0, 5), Err(CopyError::Read(_))));
    drop(writer);
    let no_reading = File::options().write(true).open(s.path("from")).unwrap();
    assert!(matches!(stage.copy_piece(&no_reading, 0, 5), Err(CopyError::Read(_))));
    let mut zeros = Stage::temp(dir, name("zeros"), None, 0o600).unwrap();
    let endless = File::open("/dev/zero").unwrap();
    assert_eq!(zeros.copy_piece(&endless, 0, 1 << 30).unwrap(), BY_HAND as u64);
}
