//! Where two changes of one path merge: the only place that knows what follows from what.
//!
//! Called by [`super::queue`]. The result describes what the *target* may still lack, so it is
//! coarse: an entry says "send what is there now, or delete what is not", which holds whatever the
//! order of events was (a name that is gone is looked at once more before it is sent as such). What has to be remembered beside that is whether the target may still hold
//! the content of a directory that left this name (`left_dir`): a directory that comes to the same
//! name later must then be compared with what is there, not just added to.

use crate::watch::event::Change;

/// Milliseconds since the start of the program.
pub type Millis = u64;

/// What to do about one path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Send the entry itself as it is then; a name that is missing then counts as gone.
    Entry,
    /// Send the directory with everything in it.
    Subtree,
    /// The name is gone.
    Gone,
}

/// Whether a path can be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wait {
    /// Now.
    Ready,
    /// Somebody has to look whether the new file is being written.
    Look,
    /// It is being written; it counts as finished at this time.
    Quiet(Millis),
    /// It failed before; the next attempt is due at this time.
    Later(Millis),
}

/// One path that the target lacks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Dirty {
    /// What to do.
    pub kind: Kind,
    /// The target may hold the content of a directory that left this name.
    pub left_dir: bool,
    /// When to do it.
    pub wait: Wait,
    /// When the oldest change that this stands for was seen.
    pub since: Millis,
    /// Failed attempts so far.
    pub tries: u8,
}

/// Merges `change` into what is known of the same path.
///
/// `old` is what waits, `flying` what a transfer now under way was given: that transfer may look at
/// the path before or after this change, so what it was to repair still counts. `quiet` is the time
/// in milliseconds after which a file that is still open counts as finished.
///
/// | old, or flying          | change            | result                              |
/// |-------------------------|-------------------|-------------------------------------|
/// | any                     | `Gone`            | gone, `left_dir` kept or set        |
/// | `left_dir`              | `MadeDir`         | subtree, compared                   |
/// | not `left_dir`          | `MadeDir`         | the entry alone, or subtree if it was |
/// | any                     | `Subtree`         | subtree, compared if `left_dir`     |
/// | subtree                 | any other         | subtree                             |
/// | any other               | any other         | the entry                           |
pub fn combine(
    old: Option<&Dirty>,
    flying: Option<&Dirty>,
    change: Change,
    now: Millis,
    quiet: Millis,
) -> Dirty {
    let left = old.is_some_and(|d| d.left_dir) || flying.is_some_and(|d| d.left_dir);
    let was_subtree = old.is_some_and(|d| d.kind == Kind::Subtree);
    let (kind, left_dir) = match change {
        Change::Gone { dir } => (Kind::Gone, left || dir || was_subtree),
        Change::Subtree => (Kind::Subtree, left),
        Change::MadeDir if left => (Kind::Subtree, true),
        _ if was_subtree => (Kind::Subtree, left),
        _ => (Kind::Entry, left),
    };
    let since = old.map_or(now, |d| d.since);
    let wait = wait_after(old, change, since, now, quiet);
    Dirty { kind, left_dir, wait, since, tries: old.map_or(0, |d| d.tries) }
}

fn wait_after(
    old: Option<&Dirty>,
    change: Change,
    since: Millis,
    now: Millis,
    quiet: Millis,
) -> Wait {
    let held = old.map(|d| d.wait);
    match (change, held) {
        // A file that is written again while it waits goes as it is; its close brings it again.
        (Change::Writing | Change::Appeared, Some(Wait::Ready)) => Wait::Ready,
        (Change::Writing, Some(later @ Wait::Later(_))) => later,
        (Change::Writing, _) => {
            let latest = since.saturating_add(quiet.saturating_mul(HOLD_QUIETS));
            Wait::Quiet(now.saturating_add(quiet).min(latest))
        }
        (Change::Attributes, Some(waiting @ (Wait::Look | Wait::Quiet(_)))) => waiting,
        (Change::Appeared, _) => Wait::Look,
        _ => Wait::Ready,
    }
}

/// Puts back what a failed transfer was given, under what has been seen since.
///
/// The target may have any part of it, so a directory that was on its way is compared next time.
pub fn put_back(newer: Option<&Dirty>, failed: &Dirty, wait: Wait) -> Dirty {
    let left_dir = failed.left_dir || failed.kind == Kind::Subtree;
    let tries = failed.tries.saturating_add(1);
    match newer {
        None => Dirty { left_dir, wait, tries, ..*failed },
        Some(newer) => Dirty {
            kind: match (newer.kind, failed.kind) {
                (Kind::Entry, Kind::Subtree) => Kind::Subtree,
                (kind, _) => kind,
            },
            left_dir: newer.left_dir || left_dir,
            since: failed.since.min(newer.since),
            tries,
            ..*newer
        },
    }
}

/// A file that never comes to rest is sent after this many times the quiet period all the same.
const HOLD_QUIETS: u64 = 10;

#[cfg(test)]
mod tests {
    use super::*;

    const GONE_DIR: Change = Change::Gone { dir: true };
    const GONE_FILE: Change = Change::Gone { dir: false };

    /// Applies changes one after another, a millisecond apart.
    fn after(flying: Option<&Dirty>, changes: &[Change]) -> Dirty {
        let mut old = None;
        for (now, &change) in changes.iter().enumerate() {
            old = Some(combine(old.as_ref(), flying, change, now as u64, 2000));
        }
        old.unwrap()
    }

    #[test]
    fn the_table_of_changes() {
        // A failure would mean that something stays on the target, or is never sent.
        use Change::{Appeared, MadeDir, Settled, Subtree, Writing};
        let rows: &[(&[Change], Kind, bool)] = &[
            (&[Settled], Kind::Entry, false),
            (&[Writing], Kind::Entry, false),
            (&[Appeared, Settled], Kind::Entry, false),
            (&[Settled, GONE_FILE], Kind::Gone, false),
            (&[GONE_FILE, Appeared], Kind::Entry, false),
            (&[GONE_FILE, MadeDir], Kind::Entry, false),
            (&[GONE_DIR], Kind::Gone, true),
            (&[GONE_DIR, MadeDir], Kind::Subtree, true),
            (&[GONE_DIR, Subtree], Kind::Subtree, true),
            (&[GONE_DIR, Appeared], Kind::Entry, true),
            (&[GONE_DIR, Appeared, GONE_FILE, MadeDir], Kind::Subtree, true),
            (&[Subtree], Kind::Subtree, false),
            (&[Subtree, Settled], Kind::Subtree, false),
            (&[Subtree, GONE_DIR, Subtree], Kind::Subtree, true),
            (&[MadeDir, Settled], Kind::Entry, false),
        ];
        for (changes, kind, left_dir) in rows {
            let got = after(None, changes);
            assert_eq!((got.kind, got.left_dir), (*kind, *left_dir), "{changes:?}");
            assert_eq!(got.since, 0, "{changes:?}");
        }
    }

    #[test]
    fn a_directory_made_while_its_deletion_is_under_way_is_compared() {
        // A failure would leave the old content in the new directory.
        let flying = after(None, &[GONE_DIR]);
        assert_eq!(after(Some(&flying), &[Change::MadeDir]).kind, Kind::Subtree);
    }

    #[test]
    fn a_file_being_written_waits_for_quiet_but_not_for_ever() {
        // A failure would send half-written files, or keep a log file back for good.
        let first = combine(None, None, Change::Writing, 100, 2000);
        assert_eq!(first.wait, Wait::Quiet(2100));
        let more = combine(Some(&first), None, Change::Writing, 1100, 2000);
        assert_eq!(more.wait, Wait::Quiet(3100));
        let late = combine(Some(&more), None, Change::Writing, 50_000, 2000);
        assert_eq!(late.wait, Wait::Quiet(20_100));
        let chmod = combine(Some(&more), None, Change::Attributes, 1150, 2000);
        assert_eq!(chmod.wait, Wait::Quiet(3100));
        let closed = combine(Some(&more), None, Change::Settled, 1200, 2000);
        assert_eq!(closed.wait, Wait::Ready);
    }

    #[test]
    fn what_failed_comes_back_under_what_is_newer() {
        // A failure would lose a change, or trust a half-sent directory.
        let sent = after(None, &[Change::Subtree]);
        let back = put_back(None, &sent, Wait::Later(9));
        assert_eq!((back.kind, back.left_dir, back.tries), (Kind::Subtree, true, 1));
        let newer = after(None, &[Change::Settled]);
        let back = put_back(Some(&newer), &sent, Wait::Later(9));
        assert_eq!((back.kind, back.wait), (Kind::Subtree, Wait::Ready));
        let gone = after(None, &[GONE_FILE]);
        assert_eq!(put_back(Some(&gone), &sent, Wait::Later(9)).kind, Kind::Gone);
    }
}
