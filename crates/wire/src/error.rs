//! What can be wrong with a peer, split by blame.
//!
//! Every decoder of this crate returns an [`Error`]. It knows the exit code, the bracketed name of
//! the wire field at fault, and a text for the user, which is the reference program's where that
//! is known. Errors of the transport are not made here: they belong to the byte source.

use crate::exit::ExitCode;

/// Why a session cannot go on.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Error {
    /// The bytes do not decode: the stream is broken, or the peer is not what we take it for.
    #[error("{text}")]
    Malformed {
        /// Code to exit with.
        exit: ExitCode,
        /// Bracketed name of the field.
        field: &'static str,
        /// Text for the user, one line without its end.
        text: String,
    },
    /// The bytes decode, and say something a peer may not say.
    #[error("{text}")]
    Misbehaved {
        /// Code to exit with.
        exit: ExitCode,
        /// Bracketed name of the field.
        field: &'static str,
        /// Text for the user, one line without its end.
        text: String,
    },
    /// The peer is in order, but the two sides have no common way.
    #[error("{text}")]
    Incompatible {
        /// Code to exit with.
        exit: ExitCode,
        /// Bracketed name of the field.
        field: &'static str,
        /// Text for the user, one line without its end.
        text: String,
    },
    /// Something of our own does not fit the form it would have to travel in.
    #[error("{text}")]
    TooBig {
        /// Code to exit with.
        exit: ExitCode,
        /// Bracketed name of the field.
        field: &'static str,
        /// Text for the user, one line without its end.
        text: String,
    },
    /// The input ended inside a value.
    #[error("unexpected end of data")]
    Truncated,
}

impl Error {
    /// An [`Error::Malformed`].
    pub fn malformed(exit: ExitCode, field: &'static str, text: impl Into<String>) -> Error {
        Error::Malformed { exit, field, text: text.into() }
    }

    /// An [`Error::Misbehaved`].
    pub fn misbehaved(exit: ExitCode, field: &'static str, text: impl Into<String>) -> Error {
        Error::Misbehaved { exit, field, text: text.into() }
    }

    /// An [`Error::Incompatible`].
    pub fn incompatible(exit: ExitCode, field: &'static str, text: impl Into<String>) -> Error {
        Error::Incompatible { exit, field, text: text.into() }
    }

    /// An [`Error::TooBig`].
    pub fn too_big(exit: ExitCode, field: &'static str, text: impl Into<String>) -> Error {
        Error::TooBig { exit, field, text: text.into() }
    }

    /// An [`Error::Truncated`].
    pub fn truncated() -> Error {
        Error::Truncated
    }

    /// The code to exit with.
    pub fn exit_code(&self) -> ExitCode {
        match self {
            Error::Malformed { exit, .. }
            | Error::Misbehaved { exit, .. }
            | Error::Incompatible { exit, .. }
            | Error::TooBig { exit, .. } => *exit,
            Error::Truncated => ExitCode::StreamIo,
        }
    }

    /// Bracketed name of the field at fault; empty where the input just ended.
    pub fn field(&self) -> &'static str {
        match self {
            Error::Malformed { field, .. }
            | Error::Misbehaved { field, .. }
            | Error::Incompatible { field, .. }
            | Error::TooBig { field, .. } => field,
            Error::Truncated => "",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_tells_field_code_and_text() {
        let error = Error::misbehaved(ExitCode::Unsupported, "flist-name", "unsafe");
        assert_eq!((error.exit_code(), error.field()), (ExitCode::Unsupported, "flist-name"));
        assert_eq!(error.to_string(), "unsafe");
        assert_eq!(Error::truncated().exit_code(), ExitCode::StreamIo);
    }
}
