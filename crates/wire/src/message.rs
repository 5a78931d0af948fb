//! What the frames beside the data say, and who may say it.

use crate::error::Error;
use crate::exit::ExitCode;
use crate::limits::MESSAGE_TEXT_MAX;
use crate::mux;

const ERROR_XFER: u8 = 1;
const INFO: u8 = 2;
const ERROR: u8 = 3;
const WARNING: u8 = 4;
const IO_ERROR: u8 = 22;
const IO_TIMEOUT: u8 = 33;
const NOOP: u8 = 42;
const ERROR_EXIT: u8 = 86;
const SUCCESS: u8 = 100;
const DELETED: u8 = 101;
const NO_SEND: u8 = 102;

/// One message. Source: [mux-tag].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Message {
    /// Text for the standard output.
    Info(Vec<u8>),
    /// Text for the standard error.
    Error(Vec<u8>),
    /// Text for the standard error that makes the run end with 23.
    ErrorXfer(Vec<u8>),
    /// Text for the standard error that changes nothing.
    Warning(Vec<u8>),
    /// I/O error bits of the sender.
    IoError(i32),
    /// The daemon's timeout, in seconds.
    IoTimeout(i32),
    /// Nothing.
    Noop,
    /// The peer ends with this code; empty is the answer to one.
    ErrorExit(Option<i32>),
    /// An item is complete at the destination.
    Success {
        /// Its index.
        ndx: i32,
    },
    /// An item was deleted at the destination.
    Deleted {
        /// Its name from the transfer root.
        name: Vec<u8>,
        /// Whether it was a directory.
        dir: bool,
    },
    /// A request will not be answered.
    NoSend(i32),
}

/// Which messages a peer may send: it depends on the part it plays.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MessagePolicy {
    /// Texts and the daemon's timeout: only a server speaks to a person.
    server: bool,
    /// The peer sends files.
    sender: bool,
}

impl MessagePolicy {
    /// The peer is a server that sends files.
    pub fn from_sending_server() -> MessagePolicy {
        MessagePolicy { server: true, sender: true }
    }

    /// The peer is a server that receives files.
    pub fn from_receiving_server() -> MessagePolicy {
        MessagePolicy { server: true, sender: false }
    }

    /// The peer is a client that sends files.
    pub fn from_sending_client() -> MessagePolicy {
        MessagePolicy { server: false, sender: true }
    }

    /// The peer is a client that receives files.
    pub fn from_receiving_client() -> MessagePolicy {
        MessagePolicy { server: false, sender: false }
    }
}

/// Most payload bytes of a message with this tag. Errors: a tag that does not travel.
pub fn payload_limit(tag: u8) -> Result<usize, Error> {
    match tag {
        ERROR_XFER | INFO | ERROR | WARNING | DELETED => Ok(MESSAGE_TEXT_MAX),
        IO_ERROR | IO_TIMEOUT | ERROR_EXIT | NO_SEND => Ok(4),
        SUCCESS => Ok(20),
        NOOP => Ok(0),
        _ => Err(unexpected(tag)),
    }
}

fn unexpected(tag: u8) -> Error {
    Error::malformed(ExitCode::StreamIo, "mux-tag", format!("unexpected tag {tag}"))
}

fn invalid(tag: u8, len: usize) -> Error {
    Error::malformed(ExitCode::StreamIo, "mux-payload", format!("invalid multi-message {tag}:{len}"))
}

fn number(tag: u8, payload: &[u8]) -> Result<i32, Error> {
    let bytes = <[u8; 4]>::try_from(payload).map_err(|_| invalid(tag, payload.len()))?;
    Ok(i32::from_le_bytes(bytes))
}

impl Message {
    /// Decodes a payload. Errors: a tag or size that does not exist, or that this peer may not
    /// send.
    pub fn decode(tag: u8, payload: &[u8], from: MessagePolicy) -> Result<Message, Error> {
        let allowed = match tag {
            ERROR_XFER | INFO | ERROR | WARNING | IO_TIMEOUT => from.server || tag != IO_TIMEOUT,
            IO_ERROR | NO_SEND => from.sender,
            SUCCESS => !from.sender,
            DELETED => from.server && !from.sender,
            NOOP | ERROR_EXIT => true,
            _ => false,
        };
        if !allowed {
            return Err(unexpected(tag));
        }
        Ok(match tag {
            ERROR_XFER => Message::ErrorXfer(payload.to_vec()),
            INFO => Message::Info(payload.to_vec()),
            ERROR => Message::Error(payload.to_vec()),
            WARNING => Message::Warning(payload.to_vec()),
            IO_ERROR => Message::IoError(number(tag, payload)? & 7),
            IO_TIMEOUT => Message::IoTimeout(number(tag, payload)?),
            NOOP if payload.is_empty() => Message::Noop,
            ERROR_EXIT if payload.is_empty() => Message::ErrorExit(None),
            ERROR_EXIT => Message::ErrorExit(Some(number(tag, payload)?)),
            SUCCESS if payload.len() == 20 => Message::Success { ndx: number(tag, &payload[..4])? },
            SUCCESS => Message::Success { ndx: number(tag, payload)? },
            DELETED => {
                let dir = payload.last() == Some(&0);
                let name = payload.strip_suffix(&[0]).unwrap_or(payload);
                Message::Deleted { name: name.to_vec(), dir }
            }
            NO_SEND => Message::NoSend(number(tag, payload)?),
            _ => return Err(invalid(tag, payload.len())),
        })
    }

    /// Appends the frame.
    pub fn encode(&self, out: &mut Vec<u8>) {
        let int = |tag: u8, value: i32, out: &mut Vec<u8>| {
            out.extend_from_slice(&mux::header(tag, 4));
            out.extend_from_slice(&value.to_le_bytes());
        };
        let text = |tag: u8, text: &[u8], out: &mut Vec<u8>| {
            let text = &text[..text.len().min(MESSAGE_TEXT_MAX)];
            out.extend_from_slice(&mux::header(tag, text.len()));
            out.extend_from_slice(text);
        };
        match self {
            Message::Info(t) => text(INFO, t, out),
            Message::Error(t) => text(ERROR, t, out),
            Message::ErrorXfer(t) => text(ERROR_XFER, t, out),
            Message::Warning(t) => text(WARNING, t, out),
            Message::IoError(bits) => int(IO_ERROR, *bits, out),
            Message::IoTimeout(seconds) => int(IO_TIMEOUT, *seconds, out),
            Message::Noop => out.extend_from_slice(&mux::header(NOOP, 0)),
            Message::ErrorExit(None) => out.extend_from_slice(&mux::header(ERROR_EXIT, 0)),
            Message::ErrorExit(Some(code)) => int(ERROR_EXIT, *code, out),
            Message::Success { ndx } => int(SUCCESS, *ndx, out),
            Message::NoSend(ndx) => int(NO_SEND, *ndx, out),
            Message::Deleted { name, dir } => {
                let mut payload = name.clone();
                if *dir {
                    payload.push(0);
                }
                text(DELETED, &payload, out);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn deletions_are_byte_exact() {
        let mut out = Vec::new();
        Message::Deleted { name: b"ddir".to_vec(), dir: true }.encode(&mut out);
        assert_eq!(out, b"\x05\x00\x00\x6cddir\0");
        let (tag, len) = mux::parse([5, 0, 0, 0x6c]).unwrap();
        let policy = MessagePolicy::from_receiving_server();
        let back = Message::decode(tag, &out[4..4 + len], policy).unwrap();
        assert_eq!(back, Message::Deleted { name: b"ddir".to_vec(), dir: true });
    }

    #[test]
    fn each_peer_says_only_what_its_part_allows() {
        let client = MessagePolicy::from_sending_client();
        assert!(Message::decode(DELETED, b"x", client).is_err());
        assert!(Message::decode(SUCCESS, &[0; 4], client).is_err());
        assert!(Message::decode(IO_TIMEOUT, &[1, 0, 0, 0], client).is_err());
        assert!(Message::decode(NO_SEND, &[0; 4], client).is_ok());
        let server = MessagePolicy::from_receiving_server();
        assert!(Message::decode(NO_SEND, &[0; 4], server).is_err());
        assert!(Message::decode(NO_SEND, &[0; 3], client).is_err());
        for tag in [5, 6, 7, 8, 9, 10, 50, 200] {
            assert!(payload_limit(tag).is_err() && Message::decode(tag, b"", server).is_err());
        }
    }
}
