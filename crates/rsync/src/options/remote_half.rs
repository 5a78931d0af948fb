//! What `--remote-option` means where there is no remote side: in a local copy it acts on the half
//! that receives.
//!
//! Called by `parse` once its own words are read; the words of `-M` are read on from there, as the
//! words of a server are.

use wire::exit::ExitCode;

use super::Options;
use super::check;
use super::parse::{Applied, Draft, UsageError, apply};
use super::scan::{Scanned, WordScanner};
use crate::report;
use crate::run_log::RunLog;

/// The options of the other half; none without `-M`, and on a server.
pub(super) fn of(
    draft: &Draft,
    words: &[Vec<u8>],
    env: &dyn Fn(&str) -> Option<Vec<u8>>,
) -> Option<Box<Result<Options, UsageError>>> {
    if draft.server || draft.options.remote_options.is_empty() {
        return None;
    }
    let mut half = draft.clone();
    let remote = std::mem::take(&mut half.options.remote_options);
    half.options.log = RunLog::default();
    half.server = true;
    let read = read(&mut half, &remote).and_then(|()| {
        // One process cannot be two users.
        match half.options.copy_as == draft.options.copy_as {
            true => Ok(()),
            false => Err(UsageError {
                exit: ExitCode::Unsupported,
                ..UsageError::plain(
                    report::unsupported("-M--copy-as in a local copy", false),
                    "client",
                )
            }),
        }
    });
    half.server = false;
    Some(Box::new(read.and_then(|()| check::finish(half, words, env))))
}

fn read(half: &mut Draft, remote: &[Vec<u8>]) -> Result<(), UsageError> {
    let mut scanner = WordScanner::new(remote, false);
    loop {
        match scanner.next_element() {
            Err(error) => return Err(half.word_error(scanner.last_word(), error.text())),
            Ok(None) => return Ok(()),
            // A word without an option would be a path, and those are of the first half.
            Ok(Some(Scanned::Operand(_))) => {}
            Ok(Some(Scanned::Option { row, negated, value })) => {
                let (Applied::Done | Applied::InfoHelp | Applied::DebugHelp) =
                    apply(half, row, negated, value, scanner.last_word())?;
            }
        }
    }
}
