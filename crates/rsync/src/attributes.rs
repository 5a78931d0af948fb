//! Setting what an entry wants on what stands at the destination, in the order that is safe:
//! owner and group, then times, then permissions. Each is set only if it differs.

use std::io;

use tree::attrs::Times;
use tree::dir::Dir;
use tree::meta::Meta;
use tree::path::Name;
use tree::xattr::XattrHolder;
use wire::flist::list::{AclNumbers, EntryView};

use crate::receiving::{Before, Receiving};
use crate::report::messages::Role;

/// Attributes an item should have; `None` leaves one alone.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Wanted {
    /// Permission bits, 07777.
    pub perm: Option<u32>,
    /// Owner.
    pub uid: Option<u32>,
    /// Group.
    pub gid: Option<u32>,
    /// Modification time: seconds, nanoseconds.
    pub mtime: Option<(i64, u32)>,
    /// Numbers of access control lists.
    pub acls: Option<AclNumbers>,
    /// Access time in seconds.
    pub atime: Option<i64>,
}

impl Wanted {
    /// Whether what stands is otherwise, but for its lists and access time.
    pub fn differs(&self, meta: &Meta, window: i32) -> bool {
        let there = (meta.mtime, meta.mtime_nsec);
        self.perm.is_some_and(|perm| perm != meta.mode & 0o7777)
            || self.uid.is_some_and(|uid| uid != meta.uid)
            || self.gid.is_some_and(|gid| gid != meta.gid)
            || self.mtime.is_some_and(|new| !crate::quick_check::same_time(window, new, there))
    }

    /// The times among them.
    pub fn times(&self) -> Times {
        Times { mtime: self.mtime, atime: self.atime }
    }
}

/// What became of the attributes of an item.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Applied {
    /// All are as they should be.
    All,
    /// The owner or group could not be set, so nothing else was tried.
    NotOwner,
    /// Something else could not be set.
    Failed,
}

/// What an entry wants, given what its permissions start from.
pub fn wanted(recv: &Receiving, entry: &EntryView<'_>, before: Before) -> Wanted {
    Wanted {
        perm: (!entry.is_link()).then(|| recv.wanted_perm(entry, before)),
        uid: recv.wanted_uid(entry),
        gid: recv.wanted_gid(entry),
        mtime: recv.keeps_time(entry).then(|| (entry.mtime(), entry.mtime_nsec())),
        acls: entry.acls(),
        atime: recv.keeps_atime(entry).then(|| entry.atime()),
    }
}

/// The generator's way: applies `wanted` to the item `name` in `dir` (or to `dir` itself), which
/// now is as `meta` says and which the lists call `path`. Failures are
/// reported; after one to set the times nothing else is tried, as in the reference. With `exact`, times are set unless equal to the
/// nanosecond; else they are compared as the quick check does.
pub fn apply(
    recv: &Receiving,
    dir: &Dir,
    name: Option<&Name>,
    meta: &Meta,
    wanted: &Wanted,
    path: &[u8],
    exact: bool,
) -> Applied {
    let mut all = true;
    let trouble = |what: &str, error: &io::Error| {
        failed(recv, Role::Generator, what, &recv.shown_path(path), path, error);
    };
    let mut mode = meta.mode;
    let uid = wanted.uid.filter(|&uid| uid != meta.uid);
    let gid = wanted.gid.filter(|&gid| gid != meta.gid);
    if uid.is_some() || gid.is_some() {
        match on(dir, name, |d, n| d.chown(n, uid, gid), |d| d.chown_self(uid, gid)) {
            // The kernel drops these bits when the owner changes.
            Ok(()) if mode & 0o6000 != 0 && !meta.is_link() && !meta.is_dir() => mode &= !0o6000,
            Ok(()) => {}
            // Nothing else is tried, but at the end a directory still gets its time.
            Err(error) => {
                trouble(if uid.is_some() { "chown" } else { "chgrp" }, &error);
                return Applied::NotOwner;
            }
        }
    }
    let window = if exact { -1 } else { recv.opts.modify_window };
    let differs = |new, old| !crate::quick_check::same_time(window, new, old);
    let access = (meta.atime, meta.atime_nsec);
    let times = Times {
        mtime: wanted.mtime.filter(|&new| differs(new, (meta.mtime, meta.mtime_nsec))),
        // Comparing contents has changed it.
        atime: wanted.atime.filter(|&new| exact || differs((new, 0), access)),
    };
    if !times.is_empty() {
        let set = on(dir, name, |d, n| d.set_times(n, times), |d| d.set_times_self(times));
        if let Err(error) = set {
            trouble("failed to set times on", &error);
            return Applied::Failed;
        }
    }
    if let (Some(numbers), Some(perm)) = (wanted.acls, wanted.perm) {
        let holder = match name {
            Some(name) => XattrHolder::Item(dir, name),
            None => XattrHolder::Itself(dir),
        };
        all &= recv.set_acls(numbers, &holder, perm, (Role::Generator, path));
        let now = match name {
            Some(name) => dir.lstat(name).ok().flatten(),
            None => dir.stat_self().ok(),
        };
        mode = now.map_or(mode, |now| now.mode);
    }
    if let Some(perm) = wanted.perm
        && !meta.is_link()
        && perm != mode & 0o7777
    {
        let set = on(dir, name, |d, n| d.chmod(n, perm), |d| d.chmod_self(perm));
        if let Err(error) = set {
            trouble("failed to set permissions on", &error);
            return Applied::Failed;
        }
    }
    if all { Applied::All } else { Applied::Failed }
}

fn on(
    dir: &Dir,
    name: Option<&Name>,
    named: impl FnOnce(&Dir, &Name) -> io::Result<()>,
    itself: impl FnOnce(&Dir) -> io::Result<()>,
) -> io::Result<()> {
    match name {
        Some(name) => named(dir, name),
        None => itself(dir),
    }
}

/// Reports an attribute that could not be set.
pub fn failed(
    recv: &Receiving,
    role: Role,
    what: &str,
    shown: &[u8],
    path: &[u8],
    error: &io::Error,
) {
    let mut line = format!("rsync: [{}] {what} ", role.word()).into_bytes();
    line.extend_from_slice(&recv.reporter.quoted(shown));
    // `chown` and its like fail; the sentences that begin with `failed` need no second word.
    line.extend_from_slice(if what.contains("failed") { b": " } else { b" failed: " });
    line.extend_from_slice(crate::fatal::errno_text(error).as_bytes());
    let text = String::from_utf8_lossy(&line).into_owned();
    recv.reporter.problem(path, crate::problem::ProblemKind::Failed, text);
    recv.reporter.error_line(&line);
}
