//! Literal data as one zstd frame that lasts as long as the session.
//!
//! The writer flushes before every token, so that the reader can decode all literal data so far;
//! neither context is ever reset, so later files profit from earlier ones. Matched blocks do not
//! enter the history. Source: [token-zstd].
//!
//! Without the crate's `zstd` feature the types exist and cannot be made: the method is refused by
//! name.

#[cfg(feature = "zstd")]
pub(super) use with_library::{ZstdReader, ZstdWriter};
#[cfg(not(feature = "zstd"))]
pub(super) use without_library::{ZstdReader, ZstdWriter};

/// Whether this build has the codec, so that it may be offered.
pub const AVAILABLE: bool = cfg!(feature = "zstd");

#[cfg(feature = "zstd")]
mod with_library {
    use crate::error::Error;
    use crate::limits::{DATA_PIECE_MAX, ZSTD_WINDOW_LOG_MAX, ZSTD_WORKERS_MAX};
    use crate::token::{Piece, broken, run::put_data};
    use zstd::stream::raw::{
        CParameter, DParameter, Decoder, Encoder, InBuffer, Operation, OutBuffer,
    };

    const LEVEL_DEFAULT: i32 = 3;

    /// Writes the session's frame.
    pub(in crate::token) struct ZstdWriter {
        stream: Encoder<'static>,
        unflushed: bool,
    }

    impl ZstdWriter {
        /// `level` is cut to what the library knows; 0 and none mean 3.
        pub(in crate::token) fn new(level: Option<i32>) -> Result<ZstdWriter, Error> {
            let range = zstd::compression_level_range();
            let level = level.filter(|&l| l != 0).unwrap_or(LEVEL_DEFAULT);
            let stream = Encoder::new(level.clamp(*range.start(), *range.end()))
                .map_err(|e| failed("compressor", &e))?;
            Ok(ZstdWriter { stream, unflushed: false })
        }

        /// As many as the library takes.
        pub(in crate::token) fn set_workers(&mut self, count: u32) -> Result<(), Error> {
            if count == 0 {
                return Ok(());
            }
            let workers = CParameter::NbWorkers(count.min(ZSTD_WORKERS_MAX));
            self.stream.set_parameter(workers).map_err(|e| failed("compressor", &e))
        }

        pub(in crate::token) fn literal(
            &mut self,
            out: &mut Vec<u8>,
            data: &[u8],
        ) -> Result<(), Error> {
            self.unflushed = true;
            let mut buffer = [0; DATA_PIECE_MAX];
            let mut input = InBuffer::around(data);
            while input.pos() < data.len() {
                let mut output = OutBuffer::around(&mut buffer[..]);
                self.stream.run(&mut input, &mut output).map_err(|e| failed("compressor", &e))?;
                put_data(out, output.as_slice());
            }
            Ok(())
        }

        pub(in crate::token) fn flush(&mut self, out: &mut Vec<u8>) -> Result<(), Error> {
            let mut buffer = [0; DATA_PIECE_MAX];
            while self.unflushed {
                let mut output = OutBuffer::around(&mut buffer[..]);
                let left = self.stream.flush(&mut output).map_err(|e| failed("compressor", &e))?;
                put_data(out, output.as_slice());
                self.unflushed = left > 0;
            }
            Ok(())
        }
    }

    /// Reads the session's frame.
    pub(in crate::token) struct ZstdReader {
        stream: Decoder<'static>,
        input: Piece,
        /// The last output buffer was filled, so more may come without input.
        full: bool,
    }

    impl ZstdReader {
        pub(in crate::token) fn new() -> Result<ZstdReader, Error> {
            let mut stream = Decoder::new().map_err(|e| failed("decompressor", &e))?;
            stream
                .set_parameter(DParameter::WindowLogMax(ZSTD_WINDOW_LOG_MAX))
                .map_err(|e| failed("decompressor", &e))?;
            Ok(ZstdReader { stream, input: Piece::default(), full: false })
        }

        /// Takes a data piece; the one before has been drained.
        pub(in crate::token) fn feed(&mut self, piece: Vec<u8>) -> Result<(), Error> {
            self.input = Piece::new(piece);
            Ok(())
        }

        /// Decodes into `output`; returns the number of bytes, 0 when the piece is used up.
        pub(in crate::token) fn drain(&mut self, output: &mut [u8]) -> Result<usize, Error> {
            while self.full || !self.input.rest().is_empty() {
                let step = self
                    .stream
                    .run_on_buffers(self.input.rest(), output)
                    .map_err(|e| failed("decompressor", &e))?;
                self.input.used += step.bytes_read;
                let stuck = step.bytes_read == 0 && step.bytes_written == 0;
                if stuck && !self.input.rest().is_empty() {
                    return Err(broken("token-zstd", "zstd made no progress".into()));
                }
                self.full = step.bytes_written == output.len();
                if step.bytes_written > 0 {
                    return Ok(step.bytes_written);
                }
            }
            Ok(0)
        }
    }

    fn failed(who: &str, error: &std::io::Error) -> Error {
        broken("token-zstd", format!("zstd {who} failed: {error}"))
    }
}

#[cfg(not(feature = "zstd"))]
mod without_library {
    use crate::error::Error;
    use crate::exit::ExitCode;
    use std::convert::Infallible;

    /// Cannot be made.
    pub(in crate::token) struct ZstdWriter(Infallible);

    impl ZstdWriter {
        pub(in crate::token) fn new(_level: Option<i32>) -> Result<ZstdWriter, Error> {
            Err(left_out())
        }

        pub(in crate::token) fn set_workers(&mut self, _count: u32) -> Result<(), Error> {
            match self.0 {}
        }

        pub(in crate::token) fn literal(
            &mut self,
            _out: &mut Vec<u8>,
            _data: &[u8],
        ) -> Result<(), Error> {
            match self.0 {}
        }

        pub(in crate::token) fn flush(&mut self, _out: &mut Vec<u8>) -> Result<(), Error> {
            match self.0 {}
        }
    }

    /// Cannot be made.
    pub(in crate::token) struct ZstdReader(Infallible);

    impl ZstdReader {
        pub(in crate::token) fn new() -> Result<ZstdReader, Error> {
            Err(left_out())
        }

        pub(in crate::token) fn feed(&mut self, _piece: Vec<u8>) -> Result<(), Error> {
            match self.0 {}
        }

        pub(in crate::token) fn drain(&mut self, _output: &mut [u8]) -> Result<usize, Error> {
            match self.0 {}
        }
    }

    fn left_out() -> Error {
        let text = "compression method zstd is not part of this build";
        Error::incompatible(ExitCode::Unsupported, "token-zstd", text)
    }
}
