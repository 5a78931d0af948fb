//! Literal data as independent LZ4 blocks: each data piece decodes on its own.
//!
//! A block holds at most 16383 source bytes; where it would come out longer than a data piece, the
//! source piece is halved. Source: [token-lz4].

use super::{broken, run::put_data};
use crate::error::Error;
use crate::limits::DATA_PIECE_MAX;
use lz4_flex::block::{
    CompressTable, compress_into_with_table, decompress_into, get_maximum_output_size,
};

/// Writes LZ4 blocks.
pub(super) struct Lz4Writer {
    table: CompressTable,
    buffer: Vec<u8>,
}

impl Lz4Writer {
    pub(super) fn new() -> Lz4Writer {
        let buffer = vec![0; get_maximum_output_size(DATA_PIECE_MAX)];
        Lz4Writer { table: CompressTable::small(), buffer }
    }

    pub(super) fn literal(&mut self, out: &mut Vec<u8>, mut data: &[u8]) -> Result<(), Error> {
        while !data.is_empty() {
            let mut take = data.len().min(DATA_PIECE_MAX);
            let made = loop {
                let source = data.get(..take).unwrap_or_default();
                let made = compress_into_with_table(source, &mut self.buffer, &mut self.table)
                    .map_err(|e| broken("token-lz4", format!("lz4 compression failed: {e}")))?;
                if made <= DATA_PIECE_MAX {
                    break made;
                }
                take = take.div_ceil(2);
            };
            put_data(out, self.buffer.get(..made).unwrap_or_default());
            data = data.get(take..).unwrap_or_default();
        }
        Ok(())
    }
}

/// Reads LZ4 blocks.
pub(super) struct Lz4Reader {
    input: Option<Vec<u8>>,
}

impl Lz4Reader {
    pub(super) fn new() -> Lz4Reader {
        Lz4Reader { input: None }
    }

    /// Takes a data piece; the one before has been drained.
    pub(super) fn feed(&mut self, piece: Vec<u8>) -> Result<(), Error> {
        self.input = Some(piece);
        Ok(())
    }

    /// Decodes the piece into `output`; 0 when there is none.
    ///
    /// A block that does not fit into `output` or is empty (which the reference program takes for
    /// the end of the file) is malformed.
    pub(super) fn drain(&mut self, output: &mut [u8]) -> Result<usize, Error> {
        let Some(piece) = self.input.take() else { return Ok(0) };
        match decompress_into(&piece, output) {
            Ok(0) => Err(broken("token-lz4", "empty lz4 block".into())),
            Ok(n) => Ok(n),
            Err(e) => Err(broken("token-lz4", format!("lz4 decompression failed: {e}"))),
        }
    }
}
