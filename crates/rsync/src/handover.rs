//! Content that need not travel: the sending half of a local copy hands an open file to the other.
//!
//! Called by `client` for the pair of connections, by the sender and by the receiver. In place of
//! the data goes one token that names a block of no basis, and the receiver has the kernel copy the
//! file, which shares its blocks where the file system can. The bytes that would have travelled
//! are counted as if they had. Nothing waits: with many files handed over and not yet taken, the
//! next one travels.

use std::fs::File;

use crossbeam_channel::{Receiver, Sender, bounded};

use crate::options::Options;
use crate::report::format::OutFormat;

/// Files handed over and not yet taken at most; each holds a descriptor.
const WAITING_MAX: usize = 64;
/// The block that stands for a handed file, where there is no basis.
pub const BLOCK: u32 = 0;
/// Bytes that travel in one token and one frame, where the reference sends them.
const PIECE: u64 = 32 * 1024;

/// A file handed over.
#[derive(Debug)]
pub struct HandedFile {
    /// Open for reading, at its start.
    pub file: File,
    /// How many bytes of it are sent.
    pub len: u64,
    /// The name that messages show.
    pub shown: Vec<u8>,
}

/// Both ends of a way to hand files over.
pub fn pair() -> (Sender<HandedFile>, Receiver<HandedFile>) {
    bounded(WAITING_MAX)
}

/// Whether the content of a local copy between such halves is needed by nobody on the way: nothing
/// shows or keeps it, its digest or how far it has come, holds it back, or looks for zeros in it.
pub fn suits(ours: &Options, theirs: &Options) -> bool {
    let formats = [&ours.out_format, &ours.log.format, &theirs.log.format];
    let digests = formats.into_iter().flatten().any(|text| OutFormat::parse(text).uses(b'C'));
    let half = |o: &Options| {
        let kept = o.sparse || o.inplace || o.rights.write_devices || o.rights.copy_devices;
        let timed = o.bwlimit > 0 || o.timeout_s > 0 || o.info.progress > 0;
        let batch = o.batch.write.is_some() || o.batch.read.is_some();
        !(kept || timed || batch || o.compress)
    };
    !digests && half(ours) && half(theirs)
}

/// What a file of `len` bytes costs beyond its token, with tokens and frames.
pub fn travel_cost(len: u64) -> u64 {
    let heads = len.div_ceil(PIECE).saturating_sub(1).saturating_mul(8);
    len.saturating_add(heads)
}
