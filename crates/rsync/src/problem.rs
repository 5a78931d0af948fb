//! Per-path trouble, collected as values, and what it makes of the exit code.

use wire::exit::ExitCode;

/// What became of one path that was not simply done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProblemKind {
    /// It failed on this side or the other; the run ends with 23.
    Failed,
    /// It was gone before it could be sent; the run ends with 24.
    Vanished,
}

/// Trouble with one path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// Path relative to the transfer root, as bytes; empty when it concerns the run as a whole.
    pub path: Vec<u8>,
    /// What happened.
    pub kind: ProblemKind,
    /// One line, without a newline.
    pub text: String,
}

/// How one run ended.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// The exit code of the run.
    pub exit: ExitCode,
    /// The status of the process: the exit code, or what a remote shell returned.
    pub status: i32,
    /// The line that explains a failure, without a newline; empty on success.
    pub reason: String,
    /// Paths that failed or vanished, each once, in order of discovery; bounded by
    /// [`PROBLEMS_MAX`], beyond which only the exit code tells.
    pub problems: Vec<Problem>,
    /// Whether `problems` names all of them.
    pub complete: bool,
    /// Regular files whose content was sent or received.
    pub files: u64,
    /// Bytes of those files.
    pub bytes: u64,
    /// Items deleted at the destination.
    pub deleted: u64,
}

/// Problems remembered by path in one run; a run with more is repeated as a whole.
pub const PROBLEMS_MAX: usize = 10_000;
