//! Literal data as a raw deflate stream (`zlib`, `zlibx`), one stream for each file.
//!
//! Before every token the writer brings the stream to a byte boundary with a sync flush and cuts
//! off its last four bytes, which are always 00 00 ff ff; the reader puts them back. `zlib` also
//! enters each matched block into the history of both ends, as a dictionary set between two pieces
//! of the stream: it fills the window and produces nothing. Source: [token-deflate].
//!
//! Fault kept for compatibility: below protocol 31 the history takes a block in pieces of 65535
//! bytes that all start at the block's first byte ([`Protocol::zlib_repeats_first_piece`]).

use super::{Piece, broken, run::put_data};
use crate::error::Error;
use crate::limits::DATA_PIECE_MAX;
use crate::version::Protocol;
use flate2::{Compress, Compression, Decompress, FlushCompress, FlushDecompress, Status};

/// What ends every sync flush and does not travel.
const SYNC_TAIL: [u8; 4] = [0, 0, 0xff, 0xff];

/// Longest piece in which a block enters the history, in bytes: the longest stored block.
const HISTORY_PIECE: usize = 65_535;

/// Reach of the history, in bytes.
const WINDOW: usize = 32_768;

const LEVEL_DEFAULT: i32 = 6;

/// Writes the deflate streams of a session.
pub(super) struct DeflateWriter {
    stream: Compress,
    /// The session's version if matched blocks enter the history.
    history: Option<Protocol>,
    /// Literal data went in since the last flush.
    unflushed: bool,
}

impl DeflateWriter {
    /// `level` 1..=9, others cut to that; -1, 0 and none mean 6. (Level 0 switches compression
    /// off before a codec is chosen.)
    pub(super) fn new(level: Option<i32>, history: Option<Protocol>) -> DeflateWriter {
        let level = level.filter(|&l| l != -1 && l != 0).unwrap_or(LEVEL_DEFAULT).clamp(1, 9);
        let stream = Compress::new(Compression::new(level as u32), false);
        DeflateWriter { stream, history, unflushed: false }
    }

    pub(super) fn keeps_history(&self) -> bool {
        self.history.is_some()
    }

    pub(super) fn literal(&mut self, out: &mut Vec<u8>, mut data: &[u8]) -> Result<(), Error> {
        self.unflushed = true;
        let mut buffer = [0; DATA_PIECE_MAX];
        while !data.is_empty() {
            let (read, made) = self.step(data, &mut buffer, FlushCompress::None)?;
            if read == 0 && made.is_empty() {
                return Err(broken("token-deflate", "deflate made no progress".into()));
            }
            put_data(out, made);
            data = data.get(read..).unwrap_or_default();
        }
        Ok(())
    }

    /// Writes all that was held back, so that the reader can decode every byte so far.
    pub(super) fn flush(&mut self, out: &mut Vec<u8>) -> Result<(), Error> {
        if !self.unflushed {
            return Ok(());
        }
        self.unflushed = false;
        let mut buffer = [0; DATA_PIECE_MAX];
        let mut tail = Vec::new();
        loop {
            let (_, made) = self.step(&[], &mut buffer, FlushCompress::Sync)?;
            tail.extend_from_slice(made);
            if made.len() < DATA_PIECE_MAX {
                break;
            }
        }
        match tail.strip_suffix(&SYNC_TAIL) {
            Some(kept) => put_data(out, kept),
            None => return Err(broken("token-deflate", "deflate did not flush".into())),
        }
        Ok(())
    }

    /// Enters a matched block into the history; the stream must have been flushed.
    pub(super) fn saw_block(&mut self, data: &[u8]) -> Result<(), Error> {
        let Some(protocol) = self.history else { return Ok(()) };
        history_pieces(data, protocol.zlib_repeats_first_piece(), |piece| {
            self.stream
                .set_dictionary(piece)
                .map(drop)
                .map_err(|e| broken("token-deflate", format!("deflate refused a block: {e}")))
        })
    }

    pub(super) fn reset(&mut self) {
        self.stream.reset();
    }

    fn step<'b>(
        &mut self,
        data: &[u8],
        buffer: &'b mut [u8],
        flush: FlushCompress,
    ) -> Result<(usize, &'b [u8]), Error> {
        let (read, made) = (self.stream.total_in(), self.stream.total_out());
        self.stream
            .compress(data, buffer, flush)
            .map_err(|e| broken("token-deflate", format!("deflate returned an error: {e}")))?;
        let made = (self.stream.total_out() - made) as usize;
        let read = (self.stream.total_in() - read) as usize;
        Ok((read, buffer.get(..made).unwrap_or_default()))
    }
}

/// Reads the deflate streams of a session.
pub(super) struct DeflateReader {
    stream: Decompress,
    history: Option<Protocol>,
    input: Piece,
    /// The last output buffer was filled, so more may come without input.
    full: bool,
}

impl DeflateReader {
    pub(super) fn new(history: Option<Protocol>) -> DeflateReader {
        DeflateReader {
            stream: Decompress::new(false),
            history,
            input: Piece::default(),
            full: false,
        }
    }

    pub(super) fn keeps_history(&self) -> bool {
        self.history.is_some()
    }

    /// Takes a data piece; the one before has been drained.
    pub(super) fn feed(&mut self, piece: Vec<u8>) -> Result<(), Error> {
        self.input = Piece::new(piece);
        Ok(())
    }

    /// Decodes into `output`; returns the number of bytes, 0 when the piece is used up.
    pub(super) fn drain(&mut self, output: &mut [u8]) -> Result<usize, Error> {
        if self.input.rest().is_empty() && !self.full {
            return Ok(0);
        }
        let (read, made) = inflate(&mut self.stream, self.input.rest(), output)?;
        self.input.used += read;
        self.full = made == output.len();
        if made < output.len() && !self.input.rest().is_empty() {
            return Err(broken("token-deflate", "inflate returned no more data".into()));
        }
        Ok(made)
    }

    /// Puts the missing end of the sync flush back. It must fit and decode to nothing.
    pub(super) fn end_data(&mut self, output: &mut [u8]) -> Result<(), Error> {
        let (read, made) = inflate(&mut self.stream, &SYNC_TAIL, output)?;
        if read == SYNC_TAIL.len() && made == 0 {
            Ok(())
        } else {
            Err(broken("token-deflate", "decompressor lost sync!".into()))
        }
    }

    /// Enters a matched block into the history.
    pub(super) fn saw_block(&mut self, data: &[u8]) -> Result<(), Error> {
        let Some(protocol) = self.history else { return Ok(()) };
        history_pieces(data, protocol.zlib_repeats_first_piece(), |piece| {
            self.stream.set_dictionary(piece).map(drop).map_err(|e| {
                broken("token-deflate", format!("inflate (token) returned an error: {e}"))
            })
        })
    }

    /// Makes ready for the next file.
    pub(super) fn reset(&mut self) {
        self.stream.reset(false);
        self.input = Piece::default();
        self.full = false;
    }
}

fn inflate(
    stream: &mut Decompress,
    input: &[u8],
    output: &mut [u8],
) -> Result<(usize, usize), Error> {
    let (read, made) = (stream.total_in(), stream.total_out());
    match stream.decompress(input, output, FlushDecompress::None) {
        // No progress is not an error of its own: the caller compares what is left.
        Ok(Status::Ok | Status::BufError) => {}
        Ok(Status::StreamEnd) => {
            // A sender never ends its stream; what would come after could not be decoded.
            return Err(broken("token-deflate", "inflate returned the end of its stream".into()));
        }
        Err(e) => return Err(broken("token-deflate", format!("inflate returned an error: {e}"))),
    }
    Ok(((stream.total_in() - read) as usize, (stream.total_out() - made) as usize))
}

/// Gives the pieces in which a block enters the history, each cut to what the window can hold.
fn history_pieces(
    data: &[u8],
    repeats_first: bool,
    mut enter: impl FnMut(&[u8]) -> Result<(), Error>,
) -> Result<(), Error> {
    for piece in data.chunks(HISTORY_PIECE) {
        let piece = if repeats_first { data.get(..piece.len()).unwrap_or_default() } else { piece };
        let reach = piece.len().saturating_sub(WINDOW);
        enter(piece.get(reach..).unwrap_or_default())?;
    }
    Ok(())
}
