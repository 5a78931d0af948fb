//! Look-up of block sums by weak sum.
//!
//! Built by the sender for each file with a basis, used by [`super::search`] for every offset of
//! the source, so an offset without a match must cost next to nothing:
//!
//! 1. The weak sum is scrambled by an odd multiplication, a bijection: equal scrambled sums are
//!    equal weak sums, and the top bits depend on both halves.
//! 2. A bit set, indexed by at least 16 top bits and at most 1/32 full for as long as it is not at
//!    its largest, answers "surely not" for most offsets from the processor's nearest cache.
//! 3. All full blocks stand sorted by (scrambled sum, index); a table over the top bits gives the
//!    stretch to look in, and a binary search finds the equal ones. A peer that fills one bucket
//!    with unequal sums gains nothing.
//!
//! The short last block stands apart: it can only match at the end of the source. Strong sums are
//! not looked at here.

use crate::sum::{BlockSums, SumHead};

/// Least and greatest number of bits that index the bit set: 8 KiB and 64 MiB.
const FILTER_BITS: (u32, u32) = (16, 29);

/// The block sums of one file, ready for the search.
#[derive(Debug)]
pub struct SumTable {
    sums: BlockSums,
    /// Scrambled weak sum in the upper half, block index in the lower; sorted. Full blocks only.
    sorted: Vec<u64>,
    /// Start in `sorted` for each value of the top `bucket_bits` bits, and the end.
    starts: Vec<u32>,
    bucket_bits: u32,
    filter: Vec<u64>,
    filter_bits: u32,
}

impl SumTable {
    /// Sorts the sums. Memory is about 20 bytes for each block beside the sums themselves.
    pub fn new(sums: BlockSums) -> SumTable {
        let full = full_blocks(&sums.head) as usize;
        let mut sorted: Vec<u64> = (sums.weak.iter().take(full).zip(0u64..))
            .map(|(&weak, index)| (u64::from(scramble(weak)) << 32) | index)
            .collect();
        sorted.sort_unstable();

        let log = sorted.len().max(1).ilog2();
        let bucket_bits = (log + 1).min(28);
        let filter_bits = (log + 6).clamp(FILTER_BITS.0, FILTER_BITS.1);
        let mut table = SumTable {
            sums,
            sorted,
            starts: Vec::new(),
            bucket_bits,
            filter: Vec::new(),
            filter_bits,
        };
        if !table.sorted.is_empty() {
            table.index();
        }
        table
    }

    /// Fills the bucket starts and the bit set from the sorted sums.
    fn index(&mut self) {
        let buckets = 1u64 << self.bucket_bits;
        self.starts = Vec::with_capacity(buckets as usize + 1);
        let mut bucket = 0;
        for (&entry, position) in self.sorted.iter().zip(0u32..) {
            while bucket <= entry >> (64 - self.bucket_bits) {
                self.starts.push(position);
                bucket += 1;
            }
        }
        self.starts.resize(buckets as usize + 1, self.sorted.len() as u32);

        self.filter = vec![0; 1 << (self.filter_bits - 6)];
        for &entry in &self.sorted {
            let bit = entry >> (64 - self.filter_bits);
            if let Some(word) = self.filter.get_mut((bit >> 6) as usize) {
                *word |= 1 << (bit & 63);
            }
        }
    }

    /// The geometry of the basis.
    pub fn head(&self) -> &SumHead {
        &self.sums.head
    }

    /// True if there is nothing to find, so that the whole source is literal data.
    pub fn is_empty(&self) -> bool {
        self.sums.head.count == 0
    }

    /// True if there are blocks that can match before the end of the source.
    pub(super) fn has_full_blocks(&self) -> bool {
        !self.sorted.is_empty()
    }

    /// The first `s2_len` bytes of the strong sum of block `k`.
    pub(super) fn strong_of(&self, k: u32) -> Option<&[u8]> {
        self.sums.strong_of(k)
    }

    /// Index and weak sum of the short last block, if the basis has one.
    pub(super) fn short_block(&self) -> Option<(u32, u32)> {
        let head = &self.sums.head;
        let index = full_blocks(head);
        if index == head.count {
            return None;
        }
        Some((index, *self.sums.weak.get(index as usize)?))
    }

    /// False if surely no full block has this weak sum.
    #[inline]
    pub(super) fn may_contain(&self, weak: u32) -> bool {
        let bit = scramble(weak) >> (32 - self.filter_bits);
        // The filter is empty if there is no full block.
        self.filter.get((bit >> 6) as usize).is_some_and(|word| word >> (bit & 63) & 1 != 0)
    }

    /// True if block `k` is a full one with this weak sum.
    pub(super) fn has_weak(&self, k: u32, weak: u32) -> bool {
        k < full_blocks(&self.sums.head) && self.sums.weak.get(k as usize) == Some(&weak)
    }

    /// The full blocks with this weak sum, in ascending order.
    pub(super) fn candidates(&self, weak: u32) -> impl Iterator<Item = u32> + '_ {
        let key = scramble(weak);
        let bucket = (u64::from(key) >> (32 - self.bucket_bits)) as usize;
        let from = self.starts.get(bucket).copied().unwrap_or(0) as usize;
        let to = self.starts.get(bucket + 1).copied().unwrap_or(0) as usize;
        let stretch = self.sorted.get(from..to).unwrap_or_default();
        let first = stretch.partition_point(|&entry| (entry >> 32) < u64::from(key));
        stretch
            .get(first..)
            .unwrap_or_default()
            .iter()
            .take_while(move |&&entry| entry >> 32 == u64::from(key))
            .map(|&entry| entry as u32)
    }
}

/// Number of blocks of the common length: all but a short last one.
fn full_blocks(head: &SumHead) -> u32 {
    if head.block_len == 0 {
        0
    } else if head.remainder != 0 && head.remainder != head.block_len {
        head.count.saturating_sub(1)
    } else {
        head.count
    }
}

/// Spreads both halves of a weak sum over the top bits; reversible, so it keeps inequality.
#[inline]
fn scramble(weak: u32) -> u32 {
    weak.wrapping_mul(0x9e37_79b1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(weak: Vec<u32>, remainder: u32) -> SumTable {
        let head = SumHead { count: weak.len() as u32, block_len: 10, s2_len: 0, remainder };
        SumTable::new(BlockSums { head, weak, strong: Vec::new() })
    }

    /// A failure means missed matches, or candidates with another weak sum.
    #[test]
    fn finds_exactly_the_equal_sums() {
        let weak: Vec<u32> = (0..5000u32).map(|i| (i % 1700).wrapping_mul(0x0101_0193)).collect();
        let table = table(weak.clone(), 0);
        for sum in weak.iter().copied().chain([1, 2, u32::MAX]) {
            let want: Vec<u32> = (0..5000).filter(|&i| weak[i as usize] == sum).collect();
            assert_eq!(table.candidates(sum).collect::<Vec<_>>(), want);
            assert!(want.is_empty() || table.may_contain(sum));
        }
        let passed = (0..100_000u32).filter(|&i| table.may_contain(i.wrapping_mul(77_777))).count();
        assert!(passed < 10_000, "the filter lets {passed} of 100000 pass");
    }

    #[test]
    fn the_short_block_stands_apart() {
        let short = table(vec![5, 6, 5], 3);
        assert_eq!(short.candidates(5).collect::<Vec<_>>(), [0]);
        assert_eq!(short.short_block(), Some((2, 5)));
        assert!(!short.has_weak(2, 5) && short.has_weak(1, 6));
        for full in [0, 10] {
            let full = table(vec![5, 6, 5], full);
            assert_eq!(full.candidates(5).collect::<Vec<_>>(), [0, 2]);
            assert_eq!(full.short_block(), None);
        }
        let lone = table(vec![5], 3);
        assert_eq!(lone.candidates(5).count(), 0);
        assert!(!lone.may_contain(5));
        assert!(table(vec![], 0).candidates(0).next().is_none());
    }
}
