//! What the frames beside the data say, and who may say it.
//!
//! The link reads a header, asks [`payload_limit`] before it reads the payload, and hands both to
//! [`Message::decode`]. A message of upstream's own inner pipe, an unknown one, one of a wrong
//! size and one that is not the peer's to send all end the session with exit 12.

use crate::error::Error;
use crate::exit::ExitCode;
use crate::limits::{IO_ERROR_MASK, MESSAGE_TEXT_MAX};
use crate::mux::{header, unexpected_tag};
use crate::version::Protocol;

/// Tag of the farewell; empty it is the answer to one.
pub const ERROR_EXIT_TAG: u8 = 86;

const ERROR_XFER: u8 = 1;
const INFO: u8 = 2;
const ERROR: u8 = 3;
const WARNING: u8 = 4;
const IO_ERROR: u8 = 22;
const IO_TIMEOUT: u8 = 33;
const NOOP: u8 = 42;
const ERROR_EXIT: u8 = ERROR_EXIT_TAG;
const SUCCESS: u8 = 100;
const DELETED: u8 = 101;
const NO_SEND: u8 = 102;

/// One message. Texts are bytes with their line end, in the server's charset.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Message {
    /// `[msg-info]`: a text for the standard output.
    Info(Vec<u8>),
    /// `[msg-error]`: a text for the standard error.
    Error(Vec<u8>),
    /// `[msg-error-xfer]`: a text for the standard error that makes the run end with 23.
    ErrorXfer(Vec<u8>),
    /// `[msg-warning]`: a text for the standard error.
    Warning(Vec<u8>),
    /// `[msg-io-error]`: the sender's I/O error bits (1 general, 2 vanished, 4 deletions stopped).
    IoError(i32),
    /// `[msg-io-timeout]`: the daemon's timeout in seconds, of any value.
    IoTimeout(i32),
    /// `[msg-noop]`: nothing; sent by old peers to keep a connection alive.
    Noop,
    /// `[msg-error-exit]`: the peer ends with this code, of any value; none answers such a message.
    ErrorExit(Option<i32>),
    /// `[msg-success]`: an item is complete at the destination and may be removed at the source.
    Success {
        /// Index of the item.
        ndx: i32,
        /// Device and inode of what was written; only within a local copy.
        id: Option<(u64, u64)>,
    },
    /// `[msg-deleted]`: an item was deleted at the destination.
    Deleted {
        /// Its name from the root of the transfer.
        name: Vec<u8>,
        /// Whether it was a directory; travels as a trailing NUL.
        dir: bool,
    },
    /// `[msg-no-send]`: the request for this index will not be answered.
    NoSend(i32),
}

/// Which messages are a peer's to send, by the part it plays. The default trusts the least.
#[derive(Copy, Clone, PartialEq, Eq, Debug, Default)]
pub struct MessagePolicy {
    /// Only a server speaks to a user through us, and tells its timeout and its deletions.
    server: bool,
    /// Only a sender declines requests; only a receiving side confirms items.
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

    fn allows(self, tag: u8) -> bool {
        match tag {
            ERROR_XFER | INFO | ERROR | WARNING | IO_TIMEOUT => self.server,
            DELETED => self.server && !self.sender,
            IO_ERROR | NO_SEND => self.sender,
            SUCCESS => !self.sender,
            NOOP | ERROR_EXIT => true,
            _ => false,
        }
    }
}

/// Most payload bytes of a message with this tag code, so that a longer one is refused before it
/// is read. A tag that is none of a network message exits 12.
pub fn payload_limit(tag: u8) -> Result<usize, Error> {
    match tag {
        ERROR_XFER | INFO | ERROR | WARNING | DELETED => Ok(MESSAGE_TEXT_MAX),
        IO_ERROR | IO_TIMEOUT | ERROR_EXIT | NO_SEND => Ok(4),
        SUCCESS => Ok(20),
        NOOP => Ok(0),
        _ => Err(unexpected_tag(i32::from(tag))),
    }
}

impl Message {
    /// Decodes a payload, whole. `allowed` is what its sender may say.
    pub fn decode(tag: u8, payload: &[u8], allowed: MessagePolicy) -> Result<Message, Error> {
        if payload.len() > payload_limit(tag)? {
            let text = format!("multiplexing overflow {tag}:{}", payload.len());
            return Err(Error::malformed(ExitCode::StreamIo, "mux-length", text));
        }
        if !allowed.allows(tag) {
            return Err(unexpected_tag(i32::from(tag)));
        }
        let text = || payload.to_vec();
        let number = || match payload {
            &[a, b, c, d] => Ok(i32::from_le_bytes([a, b, c, d])),
            _ => Err(invalid(tag, payload)),
        };
        Ok(match tag {
            ERROR_XFER => Message::ErrorXfer(text()),
            INFO => Message::Info(text()),
            ERROR => Message::Error(text()),
            WARNING => Message::Warning(text()),
            IO_ERROR => Message::IoError(number()? & IO_ERROR_MASK),
            IO_TIMEOUT => Message::IoTimeout(number()?),
            NOOP => Message::Noop,
            ERROR_EXIT if payload.is_empty() => Message::ErrorExit(None),
            ERROR_EXIT => Message::ErrorExit(Some(number()?)),
            SUCCESS if payload.len() > 4 => local_success(payload)?,
            SUCCESS => Message::Success { ndx: number()?, id: None },
            DELETED => {
                let name = payload.strip_suffix(b"\0");
                Message::Deleted { name: name.unwrap_or(payload).to_vec(), dir: name.is_some() }
            }
            _ => Message::NoSend(number()?),
        })
    }

    /// The message as a protocol has it; none where it has nothing of the kind.
    pub fn in_protocol(self, protocol: Protocol) -> Option<Message> {
        match self {
            Message::Error(text) if !protocol.has_failure_messages() => {
                Some(Message::ErrorXfer(text))
            }
            Message::Warning(text) if !protocol.has_failure_messages() => Some(Message::Info(text)),
            Message::IoError(_) | Message::NoSend(_) if !protocol.has_failure_messages() => None,
            Message::ErrorExit(_) if !protocol.has_error_exit() => None,
            Message::IoTimeout(_) if !protocol.has_io_timeout() => None,
            told => Some(told),
        }
    }

    /// Appends header and payload. A text longer than [`MESSAGE_TEXT_MAX`] goes in several frames.
    pub fn encode(&self, out: &mut Vec<u8>) {
        match self {
            Message::Info(text) => put_text(out, INFO, text),
            Message::Error(text) => put_text(out, ERROR, text),
            Message::ErrorXfer(text) => put_text(out, ERROR_XFER, text),
            Message::Warning(text) => put_text(out, WARNING, text),
            Message::IoError(bits) => put(out, IO_ERROR, &bits.to_le_bytes()),
            Message::IoTimeout(seconds) => put(out, IO_TIMEOUT, &seconds.to_le_bytes()),
            Message::Noop => put(out, NOOP, b""),
            Message::ErrorExit(None) => put(out, ERROR_EXIT, b""),
            Message::ErrorExit(Some(code)) => put(out, ERROR_EXIT, &code.to_le_bytes()),
            Message::Success { ndx, id: None } => put(out, SUCCESS, &ndx.to_le_bytes()),
            Message::Success { ndx, id: Some((dev, ino)) } => {
                out.extend_from_slice(&header(SUCCESS, 20));
                out.extend_from_slice(&ndx.to_le_bytes());
                out.extend_from_slice(&dev.to_le_bytes());
                out.extend_from_slice(&ino.to_le_bytes());
            }
            Message::Deleted { name, dir } => {
                out.extend_from_slice(&header(DELETED, name.len() + usize::from(*dir)));
                out.extend_from_slice(name);
                out.extend_from_slice(if *dir { b"\0" } else { b"" });
            }
            Message::NoSend(ndx) => put(out, NO_SEND, &ndx.to_le_bytes()),
        }
    }
}

fn local_success(payload: &[u8]) -> Result<Message, Error> {
    let refuse = || invalid(SUCCESS, payload);
    let (ndx, id) = payload.split_first_chunk::<4>().ok_or_else(refuse)?;
    let (dev, ino) = id.split_first_chunk::<8>().ok_or_else(refuse)?;
    let ino = <[u8; 8]>::try_from(ino).map_err(|_| refuse())?;
    let id = Some((u64::from_le_bytes(*dev), u64::from_le_bytes(ino)));
    Ok(Message::Success { ndx: i32::from_le_bytes(*ndx), id })
}

fn invalid(tag: u8, payload: &[u8]) -> Error {
    let text = format!("invalid multi-message {tag}:{}", payload.len());
    Error::malformed(ExitCode::StreamIo, "mux-length", text)
}

fn put(out: &mut Vec<u8>, tag: u8, payload: &[u8]) {
    out.extend_from_slice(&header(tag, payload.len()));
    out.extend_from_slice(payload);
}

fn put_text(out: &mut Vec<u8>, tag: u8, text: &[u8]) {
    for piece in text.chunks(MESSAGE_TEXT_MAX) {
        put(out, tag, piece);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::mux;

    const RECEIVING_SERVER: MessagePolicy = MessagePolicy { server: true, sender: false };
    const SENDING_SERVER: MessagePolicy = MessagePolicy { server: true, sender: true };

    fn frame(message: &Message) -> Vec<u8> {
        let mut out = Vec::new();
        message.encode(&mut out);
        out
    }

    fn decode_frame(bytes: &[u8], from: MessagePolicy) -> Result<Message, Error> {
        let (head, payload) = bytes.split_first_chunk::<4>().unwrap();
        let (tag, len) = mux::parse(*head).unwrap();
        assert_eq!(len, payload.len());
        Message::decode(tag, payload, from)
    }

    #[test]
    fn captured_frames_are_reproduced() {
        let deleted = |name: &[u8], dir| Message::Deleted { name: name.to_vec(), dir };
        let refused = b"\x1b\x00\x00\x0aERROR: module is read only\n";
        let captures: [(&[u8], Message, MessagePolicy); 10] = [
            (b"\x06\0\0\x6cddir/q", deleted(b"ddir/q", false), RECEIVING_SERVER),
            (b"\x05\0\0\x6cddir\0", deleted(b"ddir", true), RECEIVING_SERVER),
            (b"\x05\0\0\x6cextra", deleted(b"extra", false), RECEIVING_SERVER),
            (b"\x04\0\0\x6d\x03\0\0\0", Message::NoSend(3), SENDING_SERVER),
            (b"\x04\0\0\x1d\x01\0\0\0", Message::IoError(1), SENDING_SERVER),
            (b"\x04\0\0\x28\x2c\x01\0\0", Message::IoTimeout(300), SENDING_SERVER),
            (b"\x04\0\0\x5d\x01\0\0\0", Message::ErrorExit(Some(1)), RECEIVING_SERVER),
            (b"\0\0\0\x5d", Message::ErrorExit(None), MessagePolicy::default()),
            (b"\x04\0\0\x6b\x07\0\0\0", Message::Success { ndx: 7, id: None }, RECEIVING_SERVER),
            (refused, Message::Error(b"ERROR: module is read only\n".to_vec()), RECEIVING_SERVER),
        ];
        for (bytes, message, from) in captures {
            assert_eq!(frame(&message), bytes, "{message:?}");
            assert_eq!(decode_frame(bytes, from), Ok(message));
        }
        let text = b"rsync: on remote machine: --bogus: unknown option\n".to_vec();
        assert_eq!(frame(&Message::Error(text)).get(..4), Some(&[0x32, 0, 0, 0x0a][..]));
    }

    #[test]
    fn a_local_confirmation_carries_the_inode() {
        let message = Message::Success { ndx: 9, id: Some((0x801, u64::MAX)) };
        let bytes = frame(&message);
        assert_eq!(bytes.len(), 24);
        assert_eq!(decode_frame(&bytes, RECEIVING_SERVER), Ok(message));
    }

    #[test]
    fn each_part_has_its_messages() {
        let text = [ERROR_XFER, INFO, ERROR, WARNING, IO_TIMEOUT];
        let by_sender = [IO_ERROR, NO_SEND];
        for (policy, server, sender) in [
            (MessagePolicy::from_sending_server(), true, true),
            (MessagePolicy::from_receiving_server(), true, false),
            (MessagePolicy::from_sending_client(), false, true),
            (MessagePolicy::from_receiving_client(), false, false),
        ] {
            let accepted = |tag| Message::decode(tag, &[1, 0, 0, 0], policy).is_ok();
            assert!(text.into_iter().all(|tag| accepted(tag) == server), "{policy:?}");
            assert!(by_sender.into_iter().all(|tag| accepted(tag) == sender), "{policy:?}");
            assert_eq!(accepted(SUCCESS), !sender, "{policy:?}");
            assert_eq!(accepted(DELETED), server && !sender, "{policy:?}");
            assert!(accepted(ERROR_EXIT), "{policy:?}");
            assert!(Message::decode(NOOP, b"", policy).is_ok(), "{policy:?}");
        }
    }

    #[test]
    fn inner_and_unknown_tags_are_refused() {
        for tag in [0, 5, 6, 7, 8, 9, 10, 11, 85, 248] {
            let error = Message::decode(tag, &[0; 4], SENDING_SERVER).unwrap_err();
            assert_eq!((error.exit_code(), error.field()), (ExitCode::StreamIo, "mux-tag"));
            assert!(payload_limit(tag).is_err());
        }
    }

    #[test]
    fn wrong_sizes_are_refused() {
        for (tag, len) in
            [(IO_ERROR, 3), (IO_ERROR, 5), (NO_SEND, 0), (NOOP, 1), (ERROR_EXIT, 2), (INFO, 5120)]
        {
            let error = Message::decode(tag, &vec![0; len], SENDING_SERVER).unwrap_err();
            assert_eq!(error.exit_code(), ExitCode::StreamIo, "{tag} {len}");
        }
        for len in [0, 5, 12, 19, 21] {
            assert!(Message::decode(SUCCESS, &vec![0; len], RECEIVING_SERVER).is_err(), "{len}");
        }
    }

    #[test]
    fn only_known_error_bits_are_believed() {
        let bits = Message::decode(IO_ERROR, &[0xff; 4], SENDING_SERVER);
        assert_eq!(bits, Ok(Message::IoError(7)));
    }

    #[test]
    fn a_long_text_is_cut_into_frames() {
        let out = frame(&Message::Info(vec![b'x'; MESSAGE_TEXT_MAX + 1]));
        assert_eq!(out.len(), 4 + MESSAGE_TEXT_MAX + 4 + 1);
        assert_eq!(out.get(4 + MESSAGE_TEXT_MAX..), Some(&[1, 0, 0, 9, b'x'][..]));
    }

    proptest! {
        #[test]
        fn any_payload_is_decoded_or_refused(tag: u8, payload: Vec<u8>, server: bool, sender: bool) {
            let _ = Message::decode(tag, &payload, MessagePolicy { server, sender });
        }
    }
}
