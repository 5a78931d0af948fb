//! Where what is said goes and when it is written: `--stderr`, `--outbuf`.
//!
//! Read by `parse` from the words of a command line.

/// How a client's standard error relates to a server's messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum StderrMode {
    /// Errors to the server's own standard error where it has one.
    #[default]
    Errors,
    /// Every message to the server's own standard error.
    All,
    /// Every message through the connection.
    Client,
}

impl StderrMode {
    /// `errors`, `all` or `client`, or any beginning of one.
    pub(super) fn parse(value: &[u8]) -> Option<StderrMode> {
        match value {
            b"" => None,
            mode if b"errors".starts_with(mode) => Some(StderrMode::Errors),
            mode if b"all".starts_with(mode) => Some(StderrMode::All),
            mode if b"client".starts_with(mode) => Some(StderrMode::Client),
            _ => None,
        }
    }
}

/// When what is said on the standard output is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Outbuf {
    /// At once.
    #[default]
    None,
    /// With the end of a line.
    Line,
    /// When there is a block of it, and at the end.
    Block,
}

impl Outbuf {
    /// The first letter of `none` (or `unbuffered`), `line`, `block` (or `full`).
    pub(super) fn parse(value: &[u8]) -> Option<Outbuf> {
        Some(match value.first()?.to_ascii_uppercase() {
            b'N' | b'U' => Outbuf::None,
            b'L' => Outbuf::Line,
            b'B' | b'F' => Outbuf::Block,
            _ => return None,
        })
    }
}
