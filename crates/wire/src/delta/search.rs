//! The sender's search: turns a source file into literal data and references to basis blocks.
//!
//! [`search`] is called once for each file by the sender, which encodes the tokens and feeds their
//! bytes to the whole-file digest. Steps:
//!
//! 1. At each offset, the rolling sum of one block length is looked up in the table.
//! 2. On a hit the strong sum is computed, at most once for each offset, and compared: first with
//!    the block following the last match, so that unchanged stretches become runs, then (updating
//!    in place) with the block that stands at this very offset, then with the others in order.
//! 3. A match emits the literal data before it and the block, and the search goes on behind it.
//!    Otherwise the window moves by one byte.
//! 4. Where less than a block is left, only the short last block is tried, at its one possible
//!    offset; the rest is literal.
//!
//! The block sums come from the peer, who can choose them so that every offset is a hit and none a
//! match. Work done in vain is therefore counted in bytes, and beyond the given limit the rest of
//! the file is sent as literal data: correct, only longer.
//!
//! In place, the receiver overwrites the basis while it reads it: a block that starts before the
//! output offset is used only if it was found at its own offset, where writing it changed nothing.
//!
//! Not guaranteed: the shortest stream. Strong sums are short, so a wrong match is possible; the
//! whole-file digest catches it.

use super::table::SumTable;
use crate::checksum::rolling::{self, Rolling};
use crate::checksum::strong::{Digest, SumContext};
use crate::limits::{
    EQUAL_WEAK_MAX, LITERAL_SEND_MAX, SEARCH_WORK_BASE, SEARCH_WORK_CANDIDATE, SEARCH_WORK_FACTOR,
    SEARCH_WORK_FACTOR_MAX,
};
use crate::sum::SumHead;

/// Offsets looked at before pending literal data is emitted, in bytes.
const STRIDE: usize = LITERAL_SEND_MAX;

/// Read access to the source file.
pub trait Window {
    /// Length of the file in bytes, fixed for the duration of the search.
    fn len(&self) -> u64;

    /// The `len` bytes at `offset`.
    ///
    /// Always `len` bytes: where the file cannot be read they are zero, and the window remembers
    /// that it is damaged. [`search`] never asks beyond [`Window::len`], never for an offset below
    /// the one before, and never for more than a block and 64 KiB.
    fn slice(&mut self, offset: u64, len: usize) -> &[u8];

    /// True if the file is empty.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// A piece of the source, in order and without gaps.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Token<'a> {
    /// 1 to 32768 bytes that no block provides.
    Literal(&'a [u8]),
    /// A block of the basis.
    Block {
        /// Index of the block, below the head's count.
        index: u32,
        /// The bytes, as read from the source: for the digest and the deflate history.
        data: &'a [u8],
    },
}

/// What a search found and what it cost.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct MatchStats {
    /// Blocks emitted.
    pub matches: u64,
    /// Offsets whose weak sum stands in the table.
    pub hash_hits: u64,
    /// Strong sums computed that matched no usable block.
    pub false_alarms: u64,
    /// Bytes emitted as literal data.
    pub literal: u64,
    /// Bytes emitted as blocks.
    pub matched: u64,
    /// Work done in vain, in bytes; more than the limit if the search gave up.
    pub wasted: u64,
}

/// The limit on work in vain, in bytes, for a source of `len` bytes and this basis.
///
/// Far above what chance gives: about len * basis / 2^32 for random content, some ten times as
/// much where bytes vary little, as in text.
pub fn work_limit(len: u64, head: &SumHead) -> u64 {
    let factor = SEARCH_WORK_FACTOR.saturating_add(head.basis_len() >> 28);
    len.saturating_mul(factor.min(SEARCH_WORK_FACTOR_MAX)).saturating_add(SEARCH_WORK_BASE)
}

/// Finds the blocks of `table` in the source and emits it as tokens.
///
/// `in_place`: the receiver updates the basis itself. `work_limit` bounds the work done in vain,
/// in bytes (see [`work_limit`]); a caller that also bounds a connection passes what is left.
/// With an empty table everything is literal and no byte is looked at.
///
/// Errors are those of `emit` alone and end the search.
pub fn search<W: Window, E>(
    table: &SumTable,
    ctx: &SumContext,
    window: &mut W,
    in_place: bool,
    work_limit: u64,
    emit: &mut dyn FnMut(Token<'_>) -> Result<(), E>,
) -> Result<MatchStats, E> {
    let mut walk = Walk {
        matcher: Matcher {
            table,
            ctx,
            kept: if in_place { Some(KeptBlocks::new(table.head().count)) } else { None },
            expected: 0,
            work_limit,
            stats: MatchStats::default(),
        },
        len: window.len(),
        window,
        emit,
        offset: 0,
        pending_from: 0,
    };
    walk.full_blocks()?;
    walk.short_block()?;
    walk.offset = walk.len;
    walk.flush(0)?;
    Ok(walk.matcher.stats)
}

/// The position in the source. Bytes from `pending_from` to `offset` are literal, not yet emitted.
struct Walk<'a, W, E> {
    matcher: Matcher<'a>,
    len: u64,
    window: &'a mut W,
    emit: &'a mut dyn FnMut(Token<'_>) -> Result<(), E>,
    offset: u64,
    pending_from: u64,
}

impl<W: Window, E> Walk<'_, W, E> {
    /// Looks at every offset that has a full block's bytes before the end of the file.
    fn full_blocks(&mut self) -> Result<(), E> {
        let block_len = self.matcher.table.head().block_len as usize;
        if !self.matcher.table.has_full_blocks() {
            return Ok(());
        }
        let mut rolling = None;
        while self.len - self.offset >= block_len as u64 && !self.matcher.gave_up() {
            let pending = (self.offset - self.pending_from) as usize;
            let rest = self.len - self.pending_from;
            let take = rest.min((pending + block_len + STRIDE) as u64) as usize;
            let at_end = take as u64 == rest;
            let bytes = self.window.slice(self.pending_from, take);
            let ahead = bytes.get(pending..).unwrap_or_default();
            let (moved, found) =
                self.matcher.scan(ahead, self.offset, block_len, at_end, &mut rolling);
            self.offset += moved;
            if let Some(index) = found {
                self.emit_block(index, block_len)?;
            } else {
                self.flush(LITERAL_SEND_MAX as u64 - 1)?;
            }
        }
        Ok(())
    }

    /// Tries the short last block at the only offset where it can match.
    fn short_block(&mut self) -> Result<(), E> {
        let table = self.matcher.table;
        let Some((index, weak)) = table.short_block() else { return Ok(()) };
        let len = table.head().remainder as usize;
        let Some(offset) = self.len.checked_sub(len as u64).filter(|&o| o >= self.offset) else {
            return Ok(());
        };
        if self.matcher.gave_up() {
            return Ok(());
        }
        self.offset = offset;
        // Keeps what is asked of the window small, and its offsets ascending.
        self.flush(LITERAL_SEND_MAX as u64 - 1)?;
        let pending = (self.offset - self.pending_from) as usize;
        let bytes = self.window.slice(self.pending_from, pending + len);
        let block = bytes.get(pending..).unwrap_or_default();
        if rolling::sum(block) == weak && self.matcher.short_matches(index, block, offset) {
            self.emit_block(index, len)?;
        }
        Ok(())
    }

    /// Emits the pending literal data and a block at the current offset.
    fn emit_block(&mut self, index: u32, len: usize) -> Result<(), E> {
        self.flush(LITERAL_SEND_MAX as u64 - 1)?;
        let pending = (self.offset - self.pending_from) as usize;
        let bytes = self.window.slice(self.pending_from, pending + len);
        let (literal, data) = bytes.split_at_checked(pending).unwrap_or_default();
        if !literal.is_empty() {
            (self.emit)(Token::Literal(literal))?;
        }
        (self.emit)(Token::Block { index, data })?;
        let stats = &mut self.matcher.stats;
        stats.literal += pending as u64;
        stats.matches += 1;
        stats.matched += len as u64;
        self.matcher.expected = index.saturating_add(1);
        self.offset += len as u64;
        self.pending_from = self.offset;
        Ok(())
    }

    /// Emits pending literal data in pieces until at most `keep` bytes are left.
    fn flush(&mut self, keep: u64) -> Result<(), E> {
        while self.offset - self.pending_from > keep {
            let n = (self.offset - self.pending_from).min(LITERAL_SEND_MAX as u64);
            (self.emit)(Token::Literal(self.window.slice(self.pending_from, n as usize)))?;
            self.matcher.stats.literal += n;
            self.pending_from += n;
        }
        Ok(())
    }
}

/// Decides whether a block matches, and keeps account of what that costs.
struct Matcher<'a> {
    table: &'a SumTable,
    ctx: &'a SumContext,
    /// Only when updating in place.
    kept: Option<KeptBlocks>,
    /// The block following the last match.
    expected: u32,
    work_limit: u64,
    stats: MatchStats,
}

impl Matcher<'_> {
    fn gave_up(&self) -> bool {
        self.stats.wasted > self.work_limit
    }

    /// Looks for a full block at the offsets from `offset` on, whose bytes are `ahead`.
    ///
    /// Returns how far it went and the block found there. Without a block it stops at the first
    /// offset that `ahead` does not cover together with one more byte (so that `rolling` is ready
    /// for it), or behind the last one if `at_end`.
    fn scan(
        &mut self,
        ahead: &[u8],
        offset: u64,
        block_len: usize,
        at_end: bool,
        rolling: &mut Option<Rolling>,
    ) -> (u64, Option<u32>) {
        let Some((first, entering)) = ahead.split_at_checked(block_len) else { return (0, None) };
        // A local copy, so that the sum stays in registers.
        let mut sum = rolling.take().unwrap_or_else(|| Rolling::new(first));
        for (i, (&out, &new)) in ahead.iter().zip(entering).enumerate() {
            let weak = sum.value();
            if self.table.may_contain(weak) {
                let block = ahead.get(i..).and_then(|a| a.get(..block_len)).unwrap_or_default();
                if let Some(index) = self.full_match(weak, block, offset + i as u64) {
                    return (i as u64, Some(index));
                }
                if self.gave_up() {
                    return (i as u64, None);
                }
            }
            sum.roll(out, new);
        }
        let moved = entering.len() as u64;
        if !at_end {
            *rolling = Some(sum);
            return (moved, None);
        }
        let weak = sum.value();
        let block = ahead.get(entering.len()..).unwrap_or_default();
        match self.full_match(weak, block, offset + moved) {
            Some(index) => (moved, Some(index)),
            None => (moved + 1, None),
        }
    }

    /// The full block that matches at `offset`, if any.
    fn full_match(&mut self, weak: u32, block: &[u8], offset: u64) -> Option<u32> {
        let table = self.table;
        let own = self.own_place(offset);
        let preferred = [Some(self.expected), own].into_iter().flatten();
        let preferred = preferred.filter(|&k| table.has_weak(k, weak));
        let (mut hit, mut digest, mut visited) = (false, None, 0u64);
        let mut found = None;
        for index in preferred.chain(table.candidates(weak)).take(EQUAL_WEAK_MAX) {
            hit = true;
            visited += 1;
            if !self.usable(index, offset) {
                continue;
            }
            let digest: &Digest = digest.get_or_insert_with(|| self.ctx.block_sum(block));
            if equal_strong(table, index, digest) {
                found = Some(index);
                break;
            }
        }
        self.stats.hash_hits += u64::from(hit);
        // The first candidate is what every match costs.
        self.stats.wasted += visited.saturating_sub(1) * SEARCH_WORK_CANDIDATE;
        if found.is_none() && digest.is_some() {
            self.stats.false_alarms += 1;
            self.stats.wasted += block.len() as u64;
        }
        self.note_kept(found, offset);
        found
    }

    /// Whether the short last block, whose weak sum is equal, matches at `offset`.
    fn short_matches(&mut self, index: u32, block: &[u8], offset: u64) -> bool {
        self.stats.hash_hits += 1;
        if !self.usable(index, offset) {
            return false;
        }
        let equal = equal_strong(self.table, index, &self.ctx.block_sum(block));
        self.stats.false_alarms += u64::from(!equal);
        equal
    }

    /// Updating in place: the block whose own offset this is.
    fn own_place(&self, offset: u64) -> Option<u32> {
        self.kept.as_ref()?;
        let block_len = u64::from(self.table.head().block_len);
        if offset.checked_rem(block_len)? != 0 {
            return None;
        }
        u32::try_from(offset / block_len).ok()
    }

    /// Whether the receiver can still read this block when its output has reached `offset`.
    fn usable(&self, index: u32, offset: u64) -> bool {
        let Some(kept) = &self.kept else { return true };
        let start = u64::from(index) * u64::from(self.table.head().block_len);
        start >= offset || kept.contains(index)
    }

    /// Remembers a block that was found at its own offset.
    fn note_kept(&mut self, found: Option<u32>, offset: u64) {
        if let Some(index) = found.filter(|&index| self.own_place(offset) == Some(index))
            && let Some(kept) = &mut self.kept
        {
            kept.insert(index);
        }
    }
}

/// Compares the part of the strong sum that travelled.
fn equal_strong(table: &SumTable, index: u32, digest: &Digest) -> bool {
    table.strong_of(index).is_some_and(|strong| digest.as_bytes().starts_with(strong))
}

/// The blocks found at their own offset, one bit each.
struct KeptBlocks(Vec<u64>);

impl KeptBlocks {
    fn new(count: u32) -> KeptBlocks {
        KeptBlocks(vec![0; count.div_ceil(64) as usize])
    }

    fn contains(&self, index: u32) -> bool {
        self.0.get((index / 64) as usize).is_some_and(|word| word >> (index % 64) & 1 != 0)
    }

    fn insert(&mut self, index: u32) {
        if let Some(word) = self.0.get_mut((index / 64) as usize) {
            *word |= 1 << (index % 64);
        }
    }
}

#[cfg(test)]
#[path = "search_tests.rs"]
pub(crate) mod tests;
