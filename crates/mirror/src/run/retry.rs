//! What an outcome means for the queue, when to try again, and what would help. Pure.
//!
//! Called by `run::sync`. Nothing ends a sync here: whatever a target answers is tried again, since
//! a daemon's configuration, a password or a full disk is mended without a word to the source.

use rsync::problem::{Outcome, ProblemKind};
use wire::exit::ExitCode;

use crate::aggregate::combine::Millis;
use crate::plan::batch::path_of;

/// What a transfer left to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Everything arrived.
    Landed,
    /// Everything but these paths, relative to the source.
    Part(Vec<Vec<u8>>),
    /// All of it is owed again.
    Failed,
}

/// Judges an outcome; `prefix` is that of `plan::batch`.
pub fn verdict(outcome: &Outcome, prefix: &[u8]) -> Verdict {
    match outcome.exit {
        ExitCode::Ok => Verdict::Landed,
        ExitCode::Partial | ExitCode::Vanished if outcome.complete => {
            let named = outcome.problems.iter().filter(|p| !p.path.is_empty());
            let paths: Option<Vec<Vec<u8>>> =
                named.map(|p| path_of(prefix, &p.path).map(<[u8]>::to_vec)).collect();
            match paths {
                Some(paths) if !paths.is_empty() => Verdict::Part(paths),
                _ => Verdict::Failed,
            }
        }
        _ => Verdict::Failed,
    }
}

/// Whether a transfer with deletions may have left some of them out, as a transfer does after an
/// error in reading the source.
pub fn deletions_left_out(outcome: &Outcome) -> bool {
    outcome.exit == ExitCode::Partial
        && outcome.problems.iter().any(|p| p.kind == ProblemKind::Failed)
}

/// Whether a transfer that failed as a whole may have left an unfinished file at the target: it was
/// cut off after it had begun. `listed` says whether it had found anything to send.
pub fn litter_possible(exit: ExitCode, listed: bool) -> bool {
    listed
        || matches!(
            exit,
            ExitCode::StreamIo | ExitCode::Timeout | ExitCode::Ipc | ExitCode::Crashed
        )
}

/// Milliseconds to wait after `attempts` failures in a row: doubling, with a random share taken
/// off, so that many mirrors of one target do not come back together. `random` is any number.
pub fn backoff(attempts: u8, random: u32) -> Millis {
    let full = (FIRST_MS << attempts.min(DOUBLINGS_MAX)).min(LONGEST_MS);
    full - full / 2 * u64::from(random % 1000) / 1000
}

/// What would help against a failure, as a phrase; empty when nothing more is known than its text.
pub fn remedy(exit: ExitCode, text: &str) -> &'static str {
    if let Some(hint) = rsync::hints::for_text(text) {
        return hint;
    }
    match exit {
        ExitCode::SocketIo => "is the daemon running, and its port (873) open in the firewall?",
        ExitCode::StartClient => "see the daemon's log for the reason it does not tell a client",
        ExitCode::Timeout | ExitCode::ConTimeout => "the target or the way to it is stuck",
        ExitCode::Protocol | ExitCode::StreamIo => {
            "the connection broke, or the other side is no rsync of version 3.0 or later"
        }
        ExitCode::CmdNotFound => "rsync is not installed on the target, or not in its PATH",
        _ => "",
    }
}

/// The wait after the first failure.
const FIRST_MS: Millis = 250;
/// Doublings after which the longest wait is reached for sure.
const DOUBLINGS_MAX: u8 = 10;
/// The longest wait: a target that is back is found within half a minute.
const LONGEST_MS: Millis = 30_000;

#[cfg(test)]
mod tests {
    use rsync::problem::Problem;

    use super::*;

    fn outcome(exit: ExitCode, paths: &[&str], complete: bool) -> Outcome {
        let problems = paths
            .iter()
            .map(|p| Problem {
                path: p.as_bytes().to_vec(),
                kind: ProblemKind::Failed,
                text: String::new(),
            })
            .collect();
        let reason = String::new();
        Outcome { exit, status: 0, reason, problems, complete, files: 0, bytes: 0, deleted: 0 }
    }

    #[test]
    fn outcomes_leave_exactly_what_failed() {
        // A failure would lose a change (as if 23 were success) or resend everything for one file.
        let part =
            |paths: &[&str]| Verdict::Part(paths.iter().map(|p| p.as_bytes().to_vec()).collect());
        let rows = [
            (ExitCode::Ok, &[][..], true, Verdict::Landed),
            (ExitCode::Partial, &["a", "d/b"], true, part(&["a", "d/b"])),
            (ExitCode::Vanished, &["a"], true, part(&["a"])),
            (ExitCode::Partial, &["a", ""], true, part(&["a"])),
            (ExitCode::Partial, &["a"], false, Verdict::Failed),
            (ExitCode::Partial, &[], true, Verdict::Failed),
            (ExitCode::Partial, &[""], true, Verdict::Failed),
            (ExitCode::SocketIo, &["a"], true, Verdict::Failed),
            (ExitCode::Syntax, &[], true, Verdict::Failed),
            (ExitCode::Signal, &[], true, Verdict::Failed),
        ];
        for (exit, paths, complete, want) in rows {
            assert_eq!(verdict(&outcome(exit, paths, complete), b""), want, "{exit:?} {paths:?}");
        }
    }

    #[test]
    fn waits_double_to_a_bound_and_differ() {
        // A failure would hammer at a target, wait for ever, or panic after many failures.
        assert_eq!((backoff(0, 0), backoff(1, 0), backoff(4, 0)), (250, 500, 4000));
        assert_eq!((backoff(200, 0), backoff(63, 0)), (LONGEST_MS, LONGEST_MS));
        assert!((125..=250).contains(&backoff(0, 999)) && backoff(0, 999) < backoff(0, 1));
    }

    #[test]
    fn failures_come_with_what_helps() {
        // A failure would leave people alone with the reference's bare messages.
        let text = "@ERROR: auth failed on module x";
        assert!(remedy(ExitCode::StartClient, text).contains("secrets"));
        assert!(
            remedy(ExitCode::SocketIo, "Connection refused (111)").contains("start the daemon")
        );
    }
}
