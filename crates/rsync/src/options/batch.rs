//! What was asked for of batch files: `--write-batch`, `--only-write-batch`, `--read-batch`.

use super::Options;
use super::parse::{Draft, UsageError};
use super::table::Opt;
use crate::report::messages::Reporter;

/// Longest name of a batch file, in bytes.
const NAME_MAX: usize = 256;

/// The batch file of a run.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct BatchFile {
    /// The file to write, beside its script.
    pub write: Option<Vec<u8>>,
    /// What is written there is not done at the destination. On a server: it plays a dry run that
    /// asks for content nevertheless.
    pub only: bool,
    /// The file to read in place of a sender; `-` is the standard input.
    pub read: Option<Vec<u8>>,
    /// How the program was called, for the script: its name, and the word before its options.
    pub program: Vec<Vec<u8>>,
    /// The words of the command line, for the script.
    pub words: Vec<Vec<u8>>,
    /// `-r` was given, not only `-a`: the reference then says that it sets what is set.
    pub recurse_said: bool,
    /// Options that a server was sent for nothing.
    ignored: Vec<&'static str>,
}

impl BatchFile {
    /// A server says what it was sent for nothing.
    pub fn tell_ignored(&self, reporter: &Reporter) {
        for option in &self.ignored {
            reporter.warning(format!("ignoring {option} option sent to server").as_bytes());
        }
    }

    /// Keeps the command line for the script, where one is written.
    pub fn keep_words(&mut self, words: &[Vec<u8>]) {
        if self.write.is_some() {
            self.words = words.to_vec();
        }
    }

    pub(super) fn apply(&mut self, opt: Opt, value: Vec<u8>, server: bool) {
        match opt {
            Opt::WriteBatch if server => self.ignored.push("--write-batch"),
            Opt::ReadBatch if server => self.ignored.push("--read-batch"),
            Opt::OnlyWriteBatch if server => self.only = true,
            Opt::ReadBatch => self.read = Some(value),
            _ => {
                // The last one says which it is.
                self.only = opt == Opt::OnlyWriteBatch;
                self.write = Some(value);
            }
        }
    }
}

impl Options {
    /// Whether file content is asked for though nothing is made of it.
    pub fn only_for_batch(&self) -> bool {
        self.dry_run && self.batch.only
    }

    /// Whether content that arrives is read and dropped.
    pub fn drops_content(&self) -> bool {
        self.dry_run && (self.batch.read.is_some() || self.batch.only && !self.server)
    }

    /// Whether records travel without what a run that changes something adds to them.
    pub fn travels_dry(&self) -> bool {
        self.dry_run && !self.batch.only && self.batch.read.is_none()
    }
}

/// What the options of batches mean together with others.
pub(super) fn finish(draft: &mut Draft) -> Result<(), UsageError> {
    let o = &draft.options;
    let (write, read) = (&o.batch.write, &o.batch.read);
    if read.is_some() {
        if write.is_some() {
            return Err(draft.error("--write-batch and --read-batch can not be used together"));
        }
        if draft.files_from.is_some() {
            return Err(draft.error("--read-batch cannot be used with --files-from"));
        }
        if o.remove_source != super::RemoveSource::Nothing {
            return Err(draft.error("--read-batch cannot be used with --remove-source-files"));
        }
    }
    if write.as_ref().or(read.as_ref()).is_some_and(|name| name.len() > NAME_MAX) {
        return Err(draft.error("the batch-file name must be 256 characters or less."));
    }
    let o = &mut draft.options;
    o.batch.recurse_said = draft.recurse == 2;
    if draft.server {
        o.dry_run |= o.batch.only;
    } else if o.dry_run {
        // A dry run has nothing to write.
        (o.batch.write, o.batch.only) = (None, false);
    }
    Ok(())
}
