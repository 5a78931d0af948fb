//! Symlink munging: stored texts get a prefix that leads nowhere, sent ones lose it.

/// What a munged symlink's text begins with.
pub const PREFIX: &[u8] = b"/rsyncd-munged/";

/// The text as sent: without one prefix.
pub fn strip(text: &[u8]) -> &[u8] {
    text.strip_prefix(PREFIX).unwrap_or(text)
}

/// The text as stored.
pub fn add(text: &[u8]) -> Vec<u8> {
    [PREFIX, text].concat()
}
