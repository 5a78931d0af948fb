//! What of a command line is told to the other side as it was typed.

use super::parse::UsageError;
use super::{Options, info};

/// What was typed rather than what it means: only [`super::server_args`] reads it, since the other side is
/// told the words of the user and not the implications drawn here.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Given {
    /// `--list-only`, as opposed to a single location.
    pub list_only: bool,
    /// `-d`, as opposed to its implication by files-from or list-only.
    pub dirs: bool,
    /// One of the options that say when to delete, as opposed to plain `--delete`.
    pub delete_when: bool,
    /// `--partial-dir`, as opposed to the directory of `--delay-updates`.
    pub partial_dir: bool,
    /// `-z` without a choice of method, or with zlib: the letter `z` is sent.
    pub plain_compress: bool,
    /// Value of `--compress-choice`, or the name an alias stands for; not `auto`.
    pub compress_choice: Option<Vec<u8>>,
    /// Value of `--checksum-choice`; not `auto`.
    pub checksum_choice: Option<Vec<u8>>,
    /// `--max-alloc` or its environment variable.
    pub max_alloc: Option<Vec<u8>>,
    /// Levels set by `--info`, in the order of [`info::FLAGS`].
    pub info: [Option<u8>; info::FLAG_COUNT],
    /// `-H`, counted.
    pub hard_links: u8,
    /// `-U`, counted.
    pub atimes: u8,
    /// `--stats`, counted.
    pub stats: u8,
    /// What `--remote-option` makes of a local copy's other half; none without that option.
    pub other_half: Option<Box<Result<Options, UsageError>>>,
    /// The remote shell comes from the environment, which does not make a daemon connection use it.
    pub rsh_from_env: bool,
    /// `--iconv`, its last value; `-` for `--no-iconv`.
    pub iconv: Option<Vec<u8>>,
}
