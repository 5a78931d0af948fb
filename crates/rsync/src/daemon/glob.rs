//! The one kind of wildcard that names of hosts, users and groups know.
//!
//! Called by `access`, `secrets` and `refuse`. The matching itself is the file filters' own, so a
//! pattern means the same everywhere: `*` and `?` stop at a slash, `**` does not.

use wire::filter::wildmatch::{Glob, has_wildcard};

/// The pattern, ready for many texts.
pub(crate) fn compiled(pattern: &[u8]) -> Glob {
    Glob::new(pattern)
}

/// Whether the whole text matches.
pub(crate) fn matches(pattern: &[u8], text: &[u8]) -> bool {
    compiled(pattern).matches(text)
}

/// The same with ASCII letters of either case equal.
pub(crate) fn matches_ignoring_case(pattern: &[u8], text: &[u8]) -> bool {
    matches(&pattern.to_ascii_lowercase(), &text.to_ascii_lowercase())
}

/// Whether the text has any wildcard.
pub(crate) fn is_pattern(text: &[u8]) -> bool {
    has_wildcard(text)
}
