//! The search against rebuilt files, in place and not, and against hostile sums.

use super::*;
use crate::checksum::strong::ChecksumKind;
use crate::sum::tests::{basis, source, sums_of};
use crate::sum::{BlockSums, SumHead};
use crate::version::Protocol;
use proptest::prelude::*;
use std::convert::Infallible;

/// A file in memory that holds the search to what [`Window::slice`] promises.
pub(crate) struct MemoryWindow<'a> {
    bytes: &'a [u8],
    longest: usize,
    last_offset: u64,
    asked: u64,
}

impl<'a> MemoryWindow<'a> {
    pub(crate) fn new(bytes: &'a [u8], block_len: u32) -> MemoryWindow<'a> {
        let longest = block_len as usize + 65_536;
        MemoryWindow { bytes, longest, last_offset: 0, asked: 0 }
    }
}

impl Window for MemoryWindow<'_> {
    fn len(&self) -> u64 {
        self.bytes.len() as u64
    }

    fn slice(&mut self, offset: u64, len: usize) -> &[u8] {
        assert!(offset >= self.last_offset && len <= self.longest);
        self.last_offset = offset;
        self.asked += len as u64;
        &self.bytes[offset as usize..][..len]
    }
}

pub(crate) fn context(kind: ChecksumKind) -> SumContext {
    SumContext { kind, seed: 77, seed_first: true }
}

pub(crate) fn head_for(basis: &[u8], ctx: &SumContext, block_len: Option<u32>) -> SumHead {
    // Full-length strong sums: a chance match would make a property test fail.
    SumHead::for_basis(basis.len() as u64, ctx.digest_len(), true, block_len, Protocol::NEWEST)
        .unwrap()
}

#[derive(Clone, PartialEq, Debug)]
enum Owned {
    Literal(Vec<u8>),
    Block(u32, Vec<u8>),
}

fn run(
    sums: BlockSums,
    ctx: &SumContext,
    source: &[u8],
    in_place: bool,
    limit: u64,
) -> (Vec<Owned>, MatchStats) {
    let mut window = MemoryWindow::new(source, sums.head.block_len);
    let mut tokens = Vec::new();
    let table = SumTable::new(sums);
    let stats = search(&table, ctx, &mut window, in_place, limit, &mut |token| {
        tokens.push(match token {
            Token::Literal(bytes) => {
                assert!((1..=32_768).contains(&bytes.len()));
                Owned::Literal(bytes.to_vec())
            }
            Token::Block { index, data } => Owned::Block(index, data.to_vec()),
        });
        Ok::<(), Infallible>(())
    })
    .unwrap();
    assert_eq!(stats.literal + stats.matched, source.len() as u64);
    (tokens, stats)
}

fn find(basis: &[u8], source: &[u8], block_len: Option<u32>, in_place: bool) -> Vec<Owned> {
    let ctx = context(ChecksumKind::Xxh64);
    let sums = sums_of(basis, head_for(basis, &ctx, block_len), &ctx);
    run(sums, &ctx, source, in_place, u64::MAX).0
}

fn blocks(tokens: &[Owned]) -> Vec<u32> {
    let index = |t: &Owned| if let Owned::Block(k, _) = t { Some(*k) } else { None };
    tokens.iter().filter_map(index).collect()
}

/// Does what a receiver does that writes beside the basis.
fn rebuild(basis: &[u8], head: &SumHead, tokens: &[Owned]) -> Vec<u8> {
    let mut out = Vec::new();
    for token in tokens {
        match token {
            Owned::Literal(bytes) => out.extend_from_slice(bytes),
            Owned::Block(index, data) => {
                let (offset, len) = head.require_block(*index).unwrap();
                let block = &basis[offset as usize..][..len as usize];
                assert_eq!(block, data);
                out.extend_from_slice(block);
            }
        }
    }
    out
}

/// Does what a receiver does that overwrites the basis while it reads it.
fn rebuild_in_place(basis: &[u8], head: &SumHead, tokens: &[Owned]) -> Vec<u8> {
    let mut file = basis.to_vec();
    let mut at = 0;
    for token in tokens {
        let bytes = match token {
            Owned::Literal(bytes) => bytes.clone(),
            Owned::Block(index, _) => {
                let (offset, len) = head.require_block(*index).unwrap();
                file[offset as usize..][..len as usize].to_vec()
            }
        };
        file.resize(file.len().max(at + bytes.len()), 0);
        file[at..][..bytes.len()].copy_from_slice(&bytes);
        at += bytes.len();
    }
    file.truncate(at);
    file
}

/// A failure means that we send more, or other blocks, than the reference program does.
#[test]
fn finds_the_captured_matches() {
    let tokens = find(&basis(), &source(), None, false);
    assert_eq!(blocks(&tokens), [0, 1, 2]);
    assert_eq!(tokens[1], Owned::Literal(b"INSERT".to_vec()));
    assert_eq!(tokens.len(), 4);
}

/// Equal blocks must not break runs: the next index is preferred to the first equal one.
#[test]
fn equal_blocks_become_a_run() {
    let zeros = vec![0; 100 * 700];
    assert_eq!(blocks(&find(&zeros, &zeros, None, false)), (0..100).collect::<Vec<_>>());
    assert_eq!(blocks(&find(&zeros, &zeros, None, true)), (0..100).collect::<Vec<_>>());
}

/// The short last block stands for the end of the file only.
#[test]
fn the_short_block_matches_at_the_end_only() {
    let (full, short) = (vec![1u8; 700], vec![2u8; 50]);
    let basis = [&full[..], &short].concat();
    assert_eq!(blocks(&find(&basis, &[&short[..], &full].concat(), None, false)), [0]);
    assert_eq!(blocks(&find(&basis, &[&full[..], b"x", &short].concat(), None, false)), [0, 1]);
    assert_eq!(blocks(&find(&basis, &short, None, false)), [1]);
    assert_eq!(blocks(&find(&short, &basis, None, false)), [0]);
    assert_eq!(blocks(&find(&short, &[&short[..], b"x"].concat(), None, false)), []);
}

/// Without a basis no byte is looked at twice, and pieces have the full length.
#[test]
fn an_empty_table_makes_everything_literal() {
    let source = vec![7; 100_000];
    let mut window = MemoryWindow::new(&source, 0);
    let mut pieces = Vec::new();
    let table = SumTable::new(BlockSums::default());
    let ctx = context(ChecksumKind::Md5);
    let stats = search(&table, &ctx, &mut window, false, 0, &mut |token| {
        if let Token::Literal(bytes) = token {
            pieces.push(bytes.len());
        }
        Ok::<(), Infallible>(())
    });
    assert_eq!(pieces, [32_768, 32_768, 32_768, 1696]);
    assert_eq!(window.asked, 100_000);
    assert_eq!(stats.unwrap().literal, 100_000);
    assert_eq!(run(BlockSums::default(), &ctx, &[], false, 0).0, []);
}

#[test]
fn an_error_of_the_receiver_of_tokens_ends_the_search() {
    let table = SumTable::new(BlockSums::default());
    let mut window = MemoryWindow::new(&[1; 50_000], 0);
    let mut calls = 0;
    let result = search(&table, &context(ChecksumKind::Md5), &mut window, false, 0, &mut |_| {
        calls += 1;
        Err("stop")
    });
    assert_eq!((result, calls), (Err("stop"), 1));
}

/// A peer that makes every offset a hit and none a match must not buy unbounded work.
#[test]
fn work_in_vain_is_bounded() {
    let ctx = context(ChecksumKind::Md5);
    let source = vec![0; 3_000_000];
    let honest = vec![0; 5000 * 1000];
    let mut sums = sums_of(&honest, head_for(&honest, &ctx, Some(1000)), &ctx);
    sums.strong.fill(0x55);
    let limit = 500_000;
    let (tokens, stats) = run(sums, &ctx, &source, false, limit);
    let one_offset = 1000 + 1024 * SEARCH_WORK_CANDIDATE;
    assert!(stats.wasted > limit && stats.wasted <= limit + one_offset, "{stats:?}");
    assert_eq!(stats.matches, 0);
    assert!(tokens.iter().all(|t| matches!(t, Owned::Literal(_))));
}

/// At one offset at most 1024 equal weak sums are tried.
#[test]
fn equal_weak_sums_are_bounded() {
    let ctx = context(ChecksumKind::Md5);
    let wanted = vec![0; 10];
    for (before, found) in [(1023, true), (1024, false)] {
        let basis = vec![0; (before + 1) * 10];
        let mut sums = sums_of(&basis, head_for(&basis, &ctx, Some(10)), &ctx);
        let last = sums.strong.len() - 16;
        sums.strong[..last].fill(0x55);
        // Block 0 has another weak sum, so that it is not tried first as the expected one.
        sums.weak[0] = 1;
        sums.weak.push(0);
        sums.strong.extend(sums.strong[last..].to_vec());
        sums.strong[last..last + 16].fill(0x55);
        sums.head.count += 1;
        let (_, stats) = run(sums, &ctx, &wanted, false, u64::MAX);
        assert_eq!(stats.matches == 1, found, "{before} others before it");
    }
}

/// In place, moved content must not be taken from where it has been overwritten.
#[test]
fn in_place_leaves_overwritten_blocks_alone() {
    let basis: Vec<u8> = (0..40u8).flat_map(|i| [i.wrapping_mul(37); 100]).collect();
    let grown = [&b"0123456789"[..], &basis].concat();
    assert_eq!(blocks(&find(&basis, &grown, Some(100), true)), []);
    assert_eq!(blocks(&find(&basis, &grown, Some(100), false)).len(), 40);
    // What stayed in its place may be used again later.
    let repeated = [&basis[..], &basis[..300]].concat();
    let again: Vec<u32> = (0..40).chain(0..3).collect();
    assert_eq!(blocks(&find(&basis, &repeated, Some(100), true)), again);
    let shrunk = &basis[500..];
    assert_eq!(blocks(&find(&basis, shrunk, Some(100), true)), (5..40).collect::<Vec<_>>());
}

/// An edit of a file: what people and programs do to files between two transfers.
#[derive(Clone, Debug)]
pub(crate) enum Edit {
    Insert(usize, Vec<u8>),
    Delete(usize, usize),
    Move(usize, usize, usize),
    Duplicate(usize, usize, usize),
}

pub(crate) fn edits() -> impl Strategy<Value = Vec<Edit>> {
    let edit = prop_oneof![
        (any::<usize>(), prop::collection::vec(0u8..4, 1..60))
            .prop_map(|(a, b)| Edit::Insert(a, b)),
        (any::<usize>(), 1usize..400).prop_map(|(a, b)| Edit::Delete(a, b)),
        (any::<usize>(), 1usize..900, any::<usize>()).prop_map(|(a, b, c)| Edit::Move(a, b, c)),
        (any::<usize>(), 1usize..900, any::<usize>())
            .prop_map(|(a, b, c)| Edit::Duplicate(a, b, c)),
    ];
    prop::collection::vec(edit, 0..8)
}

pub(crate) fn apply(basis: &[u8], edits: &[Edit]) -> Vec<u8> {
    let mut file = basis.to_vec();
    for edit in edits {
        let place = |at: usize, len: usize| at % (len + 1);
        match edit {
            Edit::Insert(at, bytes) => {
                let at = place(*at, file.len());
                file.splice(at..at, bytes.iter().copied());
            }
            Edit::Delete(at, len) => {
                let at = place(*at, file.len());
                file.drain(at..(at + len).min(file.len()));
            }
            Edit::Move(from, len, to) => {
                let from = place(*from, file.len());
                let cut: Vec<u8> = file.drain(from..(from + len).min(file.len())).collect();
                let to = place(*to, file.len());
                file.splice(to..to, cut);
            }
            Edit::Duplicate(from, len, to) => {
                let from = place(*from, file.len());
                let copy = file[from..(from + len).min(file.len())].to_vec();
                let to = place(*to, file.len());
                file.splice(to..to, copy);
            }
        }
    }
    file
}

/// Content with few different bytes, so that weak sums collide and blocks repeat.
pub(crate) fn content(max: usize) -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        prop::collection::vec(any::<u8>(), 0..max),
        prop::collection::vec(0u8..2, 0..max),
        (1usize..50, 0..max)
            .prop_map(|(period, len)| (0..len).map(|i| (i % period) as u8).collect()),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    /// Whatever was done to the file, the tokens rebuild it, beside the basis and in its place.
    #[test]
    fn edited_files_are_rebuilt(
        basis in content(4000),
        edits in edits(),
        block_len in prop_oneof![1u32..40, 40u32..900],
    ) {
        let source = apply(&basis, &edits);
        let head = head_for(&basis, &context(ChecksumKind::Xxh64), Some(block_len));
        let tokens = find(&basis, &source, Some(block_len), false);
        prop_assert_eq!(&rebuild(&basis, &head, &tokens), &source);
        let tokens = find(&basis, &source, Some(block_len), true);
        prop_assert_eq!(&rebuild_in_place(&basis, &head, &tokens), &source);
    }

    /// What is unchanged travels as blocks alone, however long or short the file is.
    #[test]
    fn equal_files_have_no_literal_data(basis in content(4000), block_len in 1u32..900) {
        for in_place in [false, true] {
            let tokens = find(&basis, &basis, Some(block_len), in_place);
            let count = basis.len().div_ceil(block_len as usize) as u32;
            prop_assert_eq!(blocks(&tokens).len(), tokens.len());
            prop_assert_eq!(tokens.len() as u32, count);
        }
    }

    /// Sums without any truth in them must neither panic nor lose a byte of the source.
    #[test]
    fn invented_sums_lose_nothing(
        weak in prop::collection::vec(prop_oneof![Just(0u32), any::<u32>()], 0..50),
        block_len in 1u32..100,
        remainder in 0u32..100,
        s2_len in 0u32..3,
        source in content(2000),
        in_place: bool,
        limit in 0u64..3000,
    ) {
        let head = SumHead {
            count: weak.len() as u32,
            block_len,
            s2_len,
            remainder: remainder.min(block_len),
        };
        let strong = vec![0; weak.len() * s2_len as usize];
        let ctx = context(ChecksumKind::None);
        let (tokens, _) = run(BlockSums { head, weak, strong }, &ctx, &source, in_place, limit);
        let bytes: Vec<u8> = tokens
            .into_iter()
            .flat_map(|t| match t { Owned::Literal(b) | Owned::Block(_, b) => b })
            .collect();
        prop_assert_eq!(bytes, source);
    }
}
