//! Where two changes of one path merge: the only place that knows what follows from what.
//!
//! Called by [`super::queue`]. The result describes what the *target* may still lack, so it is
//! coarse: an entry says "send what is there now, or delete what is not", which holds whatever the
//! order of events was (a name that is gone is looked at once more before it is sent as such). What
//! has to be remembered beside that is whether the target may hold content at a name that a
//! directory comes to (`left_dir`, or a transfer that listed a directory above): such a directory
//! must be compared with what is there, not just added to. One that came with its content is
//! compared in any case, for a transfer may have sent a part of it that is gone since.

use crate::watch::event::Change;

/// Milliseconds since the start of the program.
pub type Millis = u64;

/// What to do about one path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Send the entry itself as it is then; a name that is missing then counts as gone.
    Entry,
    /// Send the directory with everything in it, and delete what else the target has there.
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
    /// What is there may be another file than the target has, of the same size and time.
    pub anew: bool,
    /// When to do it.
    pub wait: Wait,
    /// When the oldest change that this stands for was seen.
    pub since: Millis,
    /// Failed attempts so far.
    pub tries: u8,
}

/// What transfers were given of a path that may not have seen what is read of it now.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Handed {
    /// The target may hold the content of a directory that left this name, all the same.
    pub left_dir: bool,
    /// A directory above was sent with everything in it: perhaps also what was there for a moment.
    pub whole: bool,
}

/// Merges `change` into what is known of the same path.
///
/// `old` is what waits, `given` what a transfer was given that is under way, or was when `change`
/// happened: it may have looked at the path before or after that, so what it was to repair still
/// counts. `quiet` is the time in milliseconds after which a file that is still open counts as
/// finished.
///
/// | old, or given           | change            | result                              |
/// |-------------------------|-------------------|-------------------------------------|
/// | any                     | `Gone`            | gone, `left_dir` kept or set        |
/// | any                     | `Subtree`         | subtree                             |
/// | `left_dir` or `whole`   | `MadeDir`         | subtree                             |
/// | neither                 | `MadeDir`         | the entry alone, or subtree if it was |
/// | subtree                 | any other         | subtree                             |
/// | any other               | any other         | the entry                           |
pub fn combine(
    old: Option<&Dirty>,
    given: Handed,
    change: Change,
    now: Millis,
    quiet: Millis,
) -> Dirty {
    let left_dir = old.is_some_and(|d| d.left_dir) || given.left_dir;
    let was_subtree = old.is_some_and(|d| d.kind == Kind::Subtree);
    let (kind, left_dir) = match change {
        Change::Gone { dir } => (Kind::Gone, left_dir || dir || was_subtree),
        Change::Subtree => (Kind::Subtree, left_dir),
        Change::MadeDir if left_dir || given.whole => (Kind::Subtree, left_dir),
        _ if was_subtree => (Kind::Subtree, left_dir),
        _ => (Kind::Entry, left_dir),
    };
    let anew = old.is_some_and(|d| d.anew)
        || kind == Kind::Subtree
        || matches!(change, Change::Arrived | Change::Appeared | Change::Gone { .. });
    let since = old.map_or(now, |d| d.since);
    let wait = wait_after(old, change, since, now, quiet);
    Dirty { kind, left_dir, anew, wait, since, tries: old.map_or(0, |d| d.tries) }
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
pub fn put_back(newer: Option<&Dirty>, failed: &Dirty, wait: Wait) -> Dirty {
    let tries = failed.tries.saturating_add(1);
    match newer {
        None => Dirty { wait, tries, ..*failed },
        Some(newer) => Dirty {
            kind: match (newer.kind, failed.kind) {
                (Kind::Entry, Kind::Subtree) => Kind::Subtree,
                (kind, _) => kind,
            },
            left_dir: newer.left_dir || failed.left_dir || failed.kind == Kind::Subtree,
            anew: newer.anew || failed.anew,
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
    fn after(given: Handed, changes: &[Change]) -> Dirty {
        let mut old = None;
        for (now, &change) in changes.iter().enumerate() {
            old = Some(combine(old.as_ref(), given, change, now as u64, 2000));
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
            let got = after(Handed::default(), changes);
            assert_eq!((got.kind, got.left_dir), (*kind, *left_dir), "{changes:?}");
            assert_eq!(got.since, 0, "{changes:?}");
        }
    }

    #[test]
    fn a_directory_made_while_its_deletion_is_under_way_is_compared() {
        // A failure would leave the old content in the new directory.
        let given = Handed { left_dir: true, whole: false };
        assert_eq!(after(given, &[Change::MadeDir]).kind, Kind::Subtree);
    }

    #[test]
    fn a_directory_made_while_all_above_is_sent_is_compared() {
        // A failure would leave what was in it for a moment, before it was watched.
        let given = Handed { left_dir: false, whole: true };
        assert_eq!(after(given, &[Change::MadeDir]).kind, Kind::Subtree);
        assert_eq!(after(given, &[Change::Appeared]).kind, Kind::Entry);
    }

    #[test]
    fn a_file_being_written_waits_for_quiet_but_not_for_ever() {
        // A failure would send half-written files, or keep a log file back for good.
        let first = combine(None, Handed::default(), Change::Writing, 100, 2000);
        assert_eq!(first.wait, Wait::Quiet(2100));
        let more = combine(Some(&first), Handed::default(), Change::Writing, 1100, 2000);
        assert_eq!(more.wait, Wait::Quiet(3100));
        let late = combine(Some(&more), Handed::default(), Change::Writing, 50_000, 2000);
        assert_eq!(late.wait, Wait::Quiet(20_100));
        let chmod = combine(Some(&more), Handed::default(), Change::Attributes, 1150, 2000);
        assert_eq!(chmod.wait, Wait::Quiet(3100));
        let closed = combine(Some(&more), Handed::default(), Change::Settled, 1200, 2000);
        assert_eq!(closed.wait, Wait::Ready);
    }

    #[test]
    fn what_failed_comes_back_under_what_is_newer() {
        // A failure would lose a change, or trust a half-sent directory.
        let sent = after(Handed::default(), &[Change::Subtree]);
        let back = put_back(None, &sent, Wait::Later(9));
        assert_eq!((back.kind, back.tries), (Kind::Subtree, 1));
        let newer = after(Handed::default(), &[Change::Settled]);
        let back = put_back(Some(&newer), &sent, Wait::Later(9));
        assert_eq!((back.kind, back.wait), (Kind::Subtree, Wait::Ready));
        let gone = after(Handed::default(), &[GONE_FILE]);
        let back = put_back(Some(&gone), &sent, Wait::Later(9));
        assert_eq!((back.kind, back.left_dir), (Kind::Gone, true));
    }
}
