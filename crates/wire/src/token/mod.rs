//! The token stream: literal data and block references of one file, on their way to the receiver.
//!
//! The sender feeds a [`TokenWriter`] with what [`crate::delta`] found; the receiver takes the
//! stream apart with a [`TokenReader`]. There is one of each for a whole session, since the zstd
//! stream spans all files; everything else starts over at each end mark.
//!
//! Plain: an int n > 0 and n bytes of literal data; an int -(k+1) for block k; 0 at the end.
//! Compressed: the flag bytes of the module `run`, with literal data in pieces of a stream that
//! [`deflate`], [`zstd`] or [`lz4`] define.
//! Source: [token-plain], [token-block], [token-end].
//!
//! Not done here: whether a block exists ([`crate::sum::SumHead::require_block`]), and the digest
//! that follows the end mark.

pub mod deflate;
pub mod lz4;
mod run;
pub mod zstd;

use crate::codec::{ByteSource, get_i32, put_i32};
use crate::error::Error;
use crate::exit::ExitCode;
use crate::limits::{LITERAL_PIECE_MAX, LITERAL_SEND_MAX, TOKEN_INDEX_MAX};
use crate::version::Protocol;
use deflate::{DeflateReader, DeflateWriter};
use lz4::{Lz4Reader, Lz4Writer};
use run::{Flag, RunReader, RunWriter};
use zstd::{ZstdReader, ZstdWriter};

/// How literal data travels, as negotiated by name.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum TokenKind {
    /// Uncompressed.
    Plain,
    /// Raw deflate with the matched blocks in its history.
    Zlib,
    /// Raw deflate over the literal data alone.
    Zlibx,
    /// One zstd frame for the whole session.
    Zstd,
    /// Independent LZ4 blocks.
    Lz4,
}

impl TokenKind {
    /// The method with this name in a negotiation list or `--compress-choice`.
    ///
    /// Methods that this build leaves out are not known. The word `auto` is not a method.
    pub fn parse(name: &[u8]) -> Option<TokenKind> {
        Some(match name {
            b"none" => TokenKind::Plain,
            b"zlib" => TokenKind::Zlib,
            b"zlibx" => TokenKind::Zlibx,
            b"zstd" if zstd::AVAILABLE => TokenKind::Zstd,
            b"lz4" => TokenKind::Lz4,
            _ => return None,
        })
    }

    /// The name used in negotiation lists.
    pub fn name(self) -> &'static str {
        match self {
            TokenKind::Plain => "none",
            TokenKind::Zlib => "zlib",
            TokenKind::Zlibx => "zlibx",
            TokenKind::Zstd => "zstd",
            TokenKind::Lz4 => "lz4",
        }
    }
}

/// Writes the token streams of a session, one file after the other.
pub struct TokenWriter {
    codec: WriteCodec,
    runs: RunWriter,
}

enum WriteCodec {
    Plain,
    Deflate(DeflateWriter),
    Zstd(ZstdWriter),
    Lz4(Box<Lz4Writer>),
}

impl TokenWriter {
    /// Prepares the codec. `level` is the operator's, cut to what the codec knows.
    ///
    /// Errors: zstd in a build without it, or without memory for it.
    pub fn new(
        kind: TokenKind,
        level: Option<i32>,
        protocol: Protocol,
    ) -> Result<TokenWriter, Error> {
        let codec = match kind {
            TokenKind::Plain => WriteCodec::Plain,
            TokenKind::Zlib => WriteCodec::Deflate(DeflateWriter::new(level, Some(protocol))),
            TokenKind::Zlibx => WriteCodec::Deflate(DeflateWriter::new(level, None)),
            TokenKind::Zstd => WriteCodec::Zstd(ZstdWriter::new(level)?),
            TokenKind::Lz4 => WriteCodec::Lz4(Box::new(Lz4Writer::new())),
        };
        Ok(TokenWriter { codec, runs: RunWriter::default() })
    }

    /// Compresses in so many threads beside this one, where the codec can: zstd alone.
    pub fn with_workers(mut self, count: u32) -> Result<TokenWriter, Error> {
        if let WriteCodec::Zstd(writer) = &mut self.codec {
            writer.set_workers(count)?;
        }
        Ok(self)
    }

    /// True if [`TokenWriter::block`] looks at the block's bytes; else they may be empty.
    pub fn needs_block_bytes(&self) -> bool {
        matches!(&self.codec, WriteCodec::Deflate(writer) if writer.keeps_history())
    }

    /// Adds literal data of any length. It may stay in the codec until the next token.
    pub fn literal(&mut self, out: &mut Vec<u8>, data: &[u8]) -> Result<(), Error> {
        if data.is_empty() {
            return Ok(());
        }
        self.runs.close(out);
        match &mut self.codec {
            WriteCodec::Plain => {
                for piece in data.chunks(LITERAL_SEND_MAX) {
                    put_i32(out, piece.len() as i32);
                    out.extend_from_slice(piece);
                }
                Ok(())
            }
            WriteCodec::Deflate(writer) => writer.literal(out, data),
            WriteCodec::Zstd(writer) => writer.literal(out, data),
            WriteCodec::Lz4(writer) => writer.literal(out, data),
        }
    }

    /// Adds a reference to block `index`, whose content is `data`.
    ///
    /// Errors: an index above 2^31 - 2 (exit 2).
    pub fn block(&mut self, out: &mut Vec<u8>, index: u32, data: &[u8]) -> Result<(), Error> {
        match &mut self.codec {
            WriteCodec::Plain => {
                let index = i32::try_from(index).map_err(|_| invalid_index(index))?;
                put_i32(out, -1 - index);
                return Ok(());
            }
            WriteCodec::Deflate(writer) => {
                writer.flush(out)?;
                writer.saw_block(data)?;
            }
            WriteCodec::Zstd(writer) => writer.flush(out)?,
            WriteCodec::Lz4(_) => {}
        }
        self.runs.block(out, index)
    }

    /// Ends the file and makes ready for the next.
    pub fn end(&mut self, out: &mut Vec<u8>) -> Result<(), Error> {
        match &mut self.codec {
            WriteCodec::Plain => {
                put_i32(out, 0);
                return Ok(());
            }
            WriteCodec::Deflate(writer) => {
                writer.flush(out)?;
                writer.reset();
            }
            WriteCodec::Zstd(writer) => writer.flush(out)?,
            WriteCodec::Lz4(_) => {}
        }
        self.runs.end(out);
        Ok(())
    }
}

/// One step of a received token stream.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Received<'a> {
    /// 1 to 65536 bytes of literal data.
    Literal(&'a [u8]),
    /// A block of the basis, not yet compared with the count of blocks.
    Block(u32),
    /// End of the file; the digest follows.
    End,
}

/// Reads the token streams of a session, one file after the other.
pub struct TokenReader {
    codec: ReadCodec,
    runs: RunReader,
    /// A data piece was read since the last other flag, so the codec may hold output back.
    in_data: bool,
    output: Vec<u8>,
}

enum ReadCodec {
    /// Holds the literal bytes still to come.
    Plain(usize),
    Deflate(DeflateReader),
    Zstd(ZstdReader),
    Lz4(Lz4Reader),
}

impl TokenReader {
    /// Prepares the codec.
    ///
    /// Errors: zstd in a build without it, or without memory for it.
    pub fn new(kind: TokenKind, protocol: Protocol) -> Result<TokenReader, Error> {
        let codec = match kind {
            TokenKind::Plain => ReadCodec::Plain(0),
            TokenKind::Zlib => ReadCodec::Deflate(DeflateReader::new(Some(protocol))),
            TokenKind::Zlibx => ReadCodec::Deflate(DeflateReader::new(None)),
            TokenKind::Zstd => ReadCodec::Zstd(ZstdReader::new()?),
            TokenKind::Lz4 => ReadCodec::Lz4(Lz4Reader::new()),
        };
        let output = vec![0; LITERAL_PIECE_MAX];
        Ok(TokenReader { codec, runs: RunReader::default(), in_data: false, output })
    }

    /// The next step of the present file.
    ///
    /// After [`Received::Block`] the caller must pass the block's bytes to
    /// [`TokenReader::saw_block`]. After an error the stream cannot be read any further.
    ///
    /// Errors: malformed, exit 2, for flags and indices out of range; exit 12 if compressed data
    /// does not decode. Limits: [`LITERAL_PIECE_MAX`] bytes a step, whatever they expand from.
    pub fn next<S: ByteSource>(&mut self, src: &mut S) -> Result<Received<'_>, S::Error> {
        if let ReadCodec::Plain(left) = &mut self.codec {
            return next_plain(left, &mut self.output, src);
        }
        loop {
            if self.in_data {
                let n = self.drain()?;
                if n > 0 {
                    return Ok(Received::Literal(self.output.get(..n).unwrap_or_default()));
                }
            }
            match self.runs.next(src)? {
                Flag::Data(len) => {
                    let piece = src.read_vec(len)?;
                    self.feed(piece)?;
                    self.in_data = true;
                }
                other if self.in_data => {
                    // What the data pieces hold back comes before the token that ends them.
                    self.in_data = false;
                    if let ReadCodec::Deflate(reader) = &mut self.codec {
                        reader.end_data(&mut self.output)?;
                    }
                    self.runs.hold(other);
                }
                Flag::Block(index) => return Ok(Received::Block(index)),
                Flag::End => {
                    if let ReadCodec::Deflate(reader) = &mut self.codec {
                        reader.reset();
                    }
                    return Ok(Received::End);
                }
            }
        }
    }

    /// True if [`TokenReader::saw_block`] looks at the block's bytes.
    pub fn needs_block_bytes(&self) -> bool {
        matches!(&self.codec, ReadCodec::Deflate(reader) if reader.keeps_history())
    }

    /// Tells the codec the content of the block just received.
    ///
    /// A receiver that has lost its basis and only consumes the stream passes zeros of the same
    /// length: the output is then wrong, but the stream still decodes.
    pub fn saw_block(&mut self, data: &[u8]) -> Result<(), Error> {
        match &mut self.codec {
            ReadCodec::Deflate(reader) => reader.saw_block(data),
            _ => Ok(()),
        }
    }

    fn feed(&mut self, piece: Vec<u8>) -> Result<(), Error> {
        match &mut self.codec {
            ReadCodec::Plain(_) => Ok(()),
            ReadCodec::Deflate(reader) => reader.feed(piece),
            ReadCodec::Zstd(reader) => reader.feed(piece),
            ReadCodec::Lz4(reader) => reader.feed(piece),
        }
    }

    /// Decodes what the last data piece still gives, at most the output buffer full.
    fn drain(&mut self) -> Result<usize, Error> {
        match &mut self.codec {
            ReadCodec::Plain(_) => Ok(0),
            ReadCodec::Deflate(reader) => reader.drain(&mut self.output),
            ReadCodec::Zstd(reader) => reader.drain(&mut self.output),
            ReadCodec::Lz4(reader) => reader.drain(&mut self.output),
        }
    }
}

fn next_plain<'a, S: ByteSource>(
    left: &mut usize,
    output: &'a mut [u8],
    src: &mut S,
) -> Result<Received<'a>, S::Error> {
    if *left == 0 {
        let word = get_i32(src)?;
        match usize::try_from(word) {
            Ok(0) => return Ok(Received::End),
            Ok(n) => *left = n,
            Err(_) => return Ok(Received::Block(!(word as u32))),
        }
    }
    let n = (*left).min(output.len());
    let piece = output.get_mut(..n).unwrap_or_default();
    src.read_exact(piece)?;
    *left -= n;
    Ok(Received::Literal(piece))
}

/// Input of a decoder that has not been consumed.
#[derive(Debug, Default)]
struct Piece {
    bytes: Vec<u8>,
    used: usize,
}

impl Piece {
    fn new(bytes: Vec<u8>) -> Piece {
        Piece { bytes, used: 0 }
    }

    fn rest(&self) -> &[u8] {
        self.bytes.get(self.used..).unwrap_or_default()
    }
}

fn invalid_index(index: u32) -> Error {
    let text = format!("invalid block index {index} (max {TOKEN_INDEX_MAX})");
    Error::malformed(ExitCode::Protocol, "token-block", text)
}

fn broken(field: &'static str, text: String) -> Error {
    Error::malformed(ExitCode::StreamIo, field, text)
}

#[cfg(test)]
#[path = "token_tests.rs"]
mod tests;
