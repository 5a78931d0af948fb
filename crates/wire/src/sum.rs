//! The sum head and the block sums: how a basis file is described to the sender.
//!
//! The generator chooses the geometry with [`SumHead::for_basis`], writes the head and then one
//! [`put_block_sum`] for each block; the sender reads them with [`SumHead::decode`] and
//! [`BlockSums::decode`] and hands them to [`crate::delta`]. The sender repeats the head, and the
//! receiver uses its copy to find a block's place ([`SumHead::block_range`]).
//!
//! Sums are checked for shape only: a generator may choose any geometry within the limits, and
//! describe a basis that does not exist.

use crate::checksum::{rolling, strong::SumContext};
use crate::codec::{ByteSource, get_i32, put_u32};
use crate::error::Error;
use crate::exit::ExitCode;
use crate::limits::object_max;
use crate::version::Protocol;

/// Block length of files up to [`SMALL_BASIS`] bytes, and the least one chosen for any file.
const BLOCK_LEN_DEFAULT: u32 = 700;

/// Longest basis, in bytes, that is cut into blocks of the default length.
const SMALL_BASIS: u64 = 490_000;

/// Longest and shortest strong block sum a generator chooses, in bytes.
const S2_LEN_MAX: usize = 16;
const S2_LEN_MIN: usize = 2;

/// Geometry of a basis file.
///
/// Shape: four signed 4-byte ints: count, block length, strong sum length, remainder. All zero
/// means that there is no basis. Invariants after [`SumHead::decode`]: count below 2^31, block
/// length 1..=[`Protocol::block_len_max`] if count > 0, remainder <= block length.
/// Source: [sum-count], [sum-block-length], [sum-s2-length], [sum-remainder].
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct SumHead {
    /// Number of blocks, the short last one included.
    pub count: u32,
    /// Bytes in every block but possibly the last.
    pub block_len: u32,
    /// Bytes of each strong sum that travel.
    pub s2_len: u32,
    /// Bytes in the last block, or 0 if it is a full one.
    pub remainder: u32,
}

impl SumHead {
    /// The head that says "no basis".
    pub fn empty() -> SumHead {
        SumHead::default()
    }

    /// Chooses the geometry for a basis of `len` bytes.
    ///
    /// `redo` asks for full-length strong sums, after short ones let a wrong match pass.
    /// `block_size` is the operator's `--block-size`, cut to what the protocol allows; 0 means not
    /// given.
    /// An empty basis gives [`SumHead::empty`]. `None`: more blocks than the count field can hold;
    /// the caller warns and sends the empty head.
    pub fn for_basis(
        len: u64,
        digest_len: usize,
        redo: bool,
        block_size: Option<u32>,
        protocol: Protocol,
    ) -> Option<SumHead> {
        let most = protocol.block_len_max();
        if len == 0 {
            return Some(SumHead::empty());
        }
        let block_len = match block_size {
            Some(n) if n > 0 => n.min(most),
            _ => chosen_block_len(len, most),
        };
        let count = len.div_ceil(u64::from(block_len));
        let count = u32::try_from(count).ok().filter(|&n| n <= i32::MAX as u32)?;
        let longest = digest_len.min(S2_LEN_MAX);
        let s2_len = if redo { longest } else { chosen_s2_len(len, block_len).min(longest) };
        Some(SumHead {
            count,
            block_len,
            s2_len: s2_len as u32,
            remainder: (len % u64::from(block_len)) as u32,
        })
    }

    /// Appends the head.
    pub fn encode(&self, out: &mut Vec<u8>) {
        for field in [self.count, self.block_len, self.s2_len, self.remainder] {
            put_u32(out, field);
        }
    }

    /// Reads a head and checks it.
    ///
    /// Errors, all the peer's fault and the end of the session: a negative or out of range field,
    /// or blocks of length 0 (exit 2); sums that would take more than [`object_max`] (exit 22).
    /// `digest_len` is the full length of the session's digest.
    pub fn decode<S: ByteSource>(
        src: &mut S,
        digest_len: usize,
        protocol: Protocol,
    ) -> Result<SumHead, S::Error> {
        let count = get_i32(src)?;
        let block_len = get_i32(src)?;
        let s2_len = get_i32(src)?;
        let remainder = get_i32(src)?;
        let shape = (digest_len, protocol.block_len_max());
        Ok(checked_head(count, block_len, s2_len, remainder, shape)?)
    }

    /// Place of block `k` in the basis: its offset and its length in bytes.
    ///
    /// `None` if there is no such block, which in a token stream is the peer's fault:
    /// see [`SumHead::require_block`].
    pub fn block_range(&self, k: u32) -> Option<(u64, u32)> {
        if k >= self.count {
            return None;
        }
        let last = k.checked_add(1) == Some(self.count);
        let len = if last && self.remainder != 0 { self.remainder } else { self.block_len };
        Some((u64::from(k) * u64::from(self.block_len), len))
    }

    /// As [`SumHead::block_range`], for an index that came from a peer.
    ///
    /// Errors: misbehaved, exit 2, if there is no such block. Source: [token-block].
    pub fn require_block(&self, k: u32) -> Result<(u64, u32), Error> {
        self.block_range(k).ok_or_else(|| {
            let text = format!("Invalid block index {k} (count={})", self.count);
            Error::misbehaved(ExitCode::Protocol, "token-block", text)
        })
    }

    /// Length of the basis that the head describes, in bytes.
    pub fn basis_len(&self) -> u64 {
        match self.count.checked_sub(1).and_then(|last| self.block_range(last)) {
            Some((offset, len)) => offset + u64::from(len),
            None => 0,
        }
    }
}

fn chosen_block_len(len: u64, most: u32) -> u32 {
    if len <= SMALL_BASIS {
        return BLOCK_LEN_DEFAULT;
    }
    // The greatest power of two whose square does not exceed the length.
    let power = 1u64 << (len.ilog2() / 2);
    if power >= u64::from(most) {
        return most;
    }
    // Below twice that power, so it fits.
    ((len.isqrt() / 8 * 8) as u32).max(BLOCK_LEN_DEFAULT)
}

/// Length of short strong sums: enough bits that a false match in the whole file is unlikely,
/// beside the 24 that the weak sum is trusted with.
fn chosen_s2_len(len: u64, block_len: u32) -> usize {
    let bits = (10 + 2 * len.ilog2()).saturating_sub(block_len.ilog2());
    let bytes = bits.saturating_sub(24) / 8;
    (bytes as usize).max(S2_LEN_MIN)
}

fn checked_head(
    count: i32,
    block_len: i32,
    s2_len: i32,
    remainder: i32,
    (digest_len, most): (usize, u32),
) -> Result<SumHead, Error> {
    let refuse = |field, text: String| Error::malformed(ExitCode::Protocol, field, text);
    let head = SumHead {
        count: u32::try_from(count)
            .map_err(|_| refuse("sum-count", format!("Invalid checksum count {count}")))?,
        block_len: u32::try_from(block_len).ok().filter(|&n| n <= most).ok_or_else(|| {
            refuse("sum-block-length", format!("Invalid block length {block_len}"))
        })?,
        s2_len: u32::try_from(s2_len)
            .ok()
            .filter(|&n| n as usize <= digest_len)
            .ok_or_else(|| refuse("sum-s2-length", format!("Invalid checksum length {s2_len}")))?,
        remainder: u32::try_from(remainder).ok().filter(|_| remainder <= block_len).ok_or_else(
            || refuse("sum-remainder", format!("Invalid remainder length {remainder}")),
        )?,
    };
    if head.count > 0 && head.block_len == 0 {
        return Err(refuse("sum-block-length", "Invalid zero block length".to_string()));
    }
    if u64::from(head.count) * (4 + u64::from(head.s2_len)) > object_max() {
        let max = object_max();
        let text = format!("Invalid checksum count {count}: its sums exceed {max} bytes");
        return Err(Error::too_big(ExitCode::Malloc, "sum-count", text));
    }
    Ok(head)
}

/// The sums of all blocks of a basis, as the sender holds them.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct BlockSums {
    /// The geometry.
    pub head: SumHead,
    /// One weak sum a block, in block order.
    pub weak: Vec<u32>,
    /// `head.s2_len` bytes a block, in block order.
    pub strong: Vec<u8>,
}

impl BlockSums {
    /// Reads `head.count` pairs of weak and strong sum.
    ///
    /// Memory grows with what has arrived, never with what was announced.
    /// Source: [block-weak], [block-strong].
    pub fn decode<S: ByteSource>(src: &mut S, head: SumHead) -> Result<BlockSums, S::Error> {
        const BLOCKS_AT_ONCE: u32 = 2048;
        let s2_len = head.s2_len as usize;
        let mut sums = BlockSums { head, weak: Vec::new(), strong: Vec::new() };
        let mut left = head.count;
        while left > 0 {
            let now = left.min(BLOCKS_AT_ONCE);
            let bytes = src.read_vec(now as usize * (4 + s2_len))?;
            for pair in bytes.chunks_exact(4 + s2_len) {
                if let Some((weak, strong)) = pair.split_first_chunk::<4>() {
                    sums.weak.push(u32::from_le_bytes(*weak));
                    sums.strong.extend_from_slice(strong);
                }
            }
            left -= now;
        }
        Ok(sums)
    }

    /// The strong sum of block `k`, `head.s2_len` bytes; `None` if there is no such block.
    pub fn strong_of(&self, k: u32) -> Option<&[u8]> {
        if k >= self.head.count {
            return None;
        }
        let len = self.head.s2_len as usize;
        let start = (k as usize).checked_mul(len)?;
        self.strong.get(start..start.checked_add(len)?)
    }
}

/// Computes and appends the weak and the strong sum of one block, the strong one cut to `s2_len`.
///
/// Source: [block-weak], [block-strong].
pub fn put_block_sum(out: &mut Vec<u8>, head: &SumHead, ctx: &SumContext, block: &[u8]) {
    put_u32(out, rolling::sum(block));
    let digest = ctx.block_sum(block);
    out.extend(digest.as_bytes().iter().take(head.s2_len as usize));
}

#[cfg(test)]
#[path = "sum_tests.rs"]
pub(crate) mod tests;
