//! The quick check: an entry, what stands at the destination, and the options, to what differs.
//!
//! Pure but for the digest of a local file, which the caller computes and passes in.

use tree::meta::Meta;
use wire::flist::list::EntryView;
use wire::itemize::ItemFlags;

use crate::options::Options;
use crate::receiving::Receiving;

/// Whether two times are equal under `--modify-window`: seconds within the window, or when it is
/// negative, seconds and nanoseconds alike.
pub fn same_time(window: i32, a: (i64, u32), b: (i64, u32)) -> bool {
    if window < 0 {
        return a == b;
    }
    a.0.abs_diff(b.0) <= u64::from(window.unsigned_abs())
}

/// Whether a regular file is up to date. `digest_equal` answers for `--checksum` when sizes agree.
pub fn unchanged(
    opts: &Options,
    entry: &EntryView<'_>,
    meta: &Meta,
    digest_equal: impl FnOnce() -> bool,
) -> bool {
    if entry.len() != meta.size {
        return false;
    }
    if opts.checksum {
        return digest_equal();
    }
    if opts.size_only {
        return true;
    }
    if opts.ignore_times {
        return false;
    }
    same_time(
        opts.modify_window,
        (entry.mtime(), entry.mtime_nsec()),
        (meta.mtime, meta.mtime_nsec),
    )
}

/// Which preserved attributes of an existing item differ. `changed`: the item is transferred or
/// made anew, which sets its time in any case.
pub fn attribute_flags(
    recv: &Receiving,
    entry: &EntryView<'_>,
    meta: &Meta,
    changed: bool,
) -> ItemFlags {
    let mut flags = ItemFlags::NONE;
    if entry.is_reg() && entry.len() != meta.size {
        flags |= ItemFlags::REPORT_SIZE;
    }
    if recv.keeps_time(entry) {
        let ours = (meta.mtime, meta.mtime_nsec);
        if !same_time(recv.opts.modify_window, (entry.mtime(), entry.mtime_nsec()), ours) {
            flags |= ItemFlags::REPORT_TIME;
        }
    } else if changed && !entry.is_dir() {
        flags |= ItemFlags::REPORT_TIME;
    }
    // That of a symlink is set all the same, but looking at the link changes it.
    if recv.keeps_atime(entry)
        && !entry.is_link()
        && !same_time(recv.opts.modify_window, (entry.atime(), 0), (meta.atime, 0))
    {
        flags |= ItemFlags::REPORT_ATIME;
    }
    if !entry.is_link() && perms_differ(recv, entry, meta) {
        flags |= ItemFlags::REPORT_PERMS;
    }
    if recv.wanted_uid(entry).is_some_and(|uid| uid != meta.uid) {
        flags |= ItemFlags::REPORT_OWNER;
    }
    if recv.wanted_gid(entry).is_some_and(|gid| gid != meta.gid) {
        flags |= ItemFlags::REPORT_GROUP;
    }
    flags
}

fn perms_differ(recv: &Receiving, entry: &EntryView<'_>, meta: &Meta) -> bool {
    let source = recv.incoming_mode(entry);
    if recv.opts.perms {
        return source & 0o7777 != meta.mode & 0o7777;
    }
    // What the daemon's own rules change besides is not told.
    recv.opts.executability && entry.is_reg() && (source & 0o111 == 0) != (meta.mode & 0o111 == 0)
}
