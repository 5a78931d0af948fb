//! Token streams against captured ones, against each other, and against noise.

use super::*;
use crate::checksum::strong::ChecksumKind;
use crate::codec::SliceSource;
use crate::delta::search::tests::{MemoryWindow, apply, content, context, edits, head_for};
use crate::delta::search::{Token, search, work_limit};
use crate::delta::table::SumTable;
use crate::sum::SumHead;
use crate::sum::tests::{basis, source, sums_of};
use proptest::prelude::*;

fn all_kinds() -> Vec<TokenKind> {
    let names: [&[u8]; 5] = [b"none", b"zlib", b"zlibx", b"zstd", b"lz4"];
    names.into_iter().filter_map(TokenKind::parse).collect()
}

fn bytes(hex: &str) -> Vec<u8> {
    let digits: Vec<char> = hex.chars().filter(|c| !c.is_whitespace()).collect();
    digits.chunks(2).map(|pair| u8::from_str_radix(&String::from_iter(pair), 16).unwrap()).collect()
}

/// Sends one file through search and writer.
fn send(
    writer: &mut TokenWriter,
    basis: &[u8],
    head: SumHead,
    kind: ChecksumKind,
    source: &[u8],
    out: &mut Vec<u8>,
) {
    let ctx = context(kind);
    let table = SumTable::new(sums_of(basis, head, &ctx));
    let mut window = MemoryWindow::new(source, head.block_len);
    let limit = work_limit(source.len() as u64, &head);
    search(&table, &ctx, &mut window, false, limit, &mut |token| match token {
        Token::Literal(data) => writer.literal(out, data),
        Token::Block { index, data } if writer.needs_block_bytes() => {
            writer.block(out, index, data)
        }
        Token::Block { index, .. } => writer.block(out, index, &[]),
    })
    .unwrap();
    writer.end(out).unwrap();
}

/// Receives one file and rebuilds it.
fn receive(
    reader: &mut TokenReader,
    basis: &[u8],
    head: &SumHead,
    src: &mut SliceSource<'_>,
) -> Result<Vec<u8>, Error> {
    let mut file = Vec::new();
    loop {
        match reader.next(src)? {
            Received::Literal(data) => {
                assert!((1..=65_536).contains(&data.len()));
                file.extend_from_slice(data);
            }
            Received::Block(index) => {
                let (offset, len) = head.require_block(index)?;
                let block = &basis[offset as usize..][..len as usize];
                reader.saw_block(block)?;
                file.extend_from_slice(block);
            }
            Received::End => return Ok(file),
        }
    }
}

/// The tokens of the captured transfer in each method. Where the bytes inside the data pieces are
/// the library's choice, ours may differ, but must decode and stand between the same flags.
#[test]
fn streams_equal_the_captured_ones() {
    let rows = [
        (TokenKind::Plain, "ffffffff 06000000 494e53455254 feffffff fdffffff 00000000", true),
        (TokenKind::Zlib, "80 4008 f2f40b760d0a0100 c1 0100 00", false),
        (TokenKind::Zlibx, "80 4008 f2f40b760d0a0100 c1 0100 00", false),
        (TokenKind::Zstd, "80 400f 28b52ffd00583000 00494e53455254 c1 0100 00", false),
        (TokenKind::Lz4, "80 4007 60494e53455254 c1 0100 00", true),
    ];
    let head = SumHead::for_basis(1500, 16, false, None, Protocol::NEWEST).unwrap();
    for (kind, captured, exact) in rows {
        if TokenKind::parse(kind.name().as_bytes()).is_none() {
            continue;
        }
        let captured = bytes(captured);
        let mut reader = TokenReader::new(kind, Protocol::NEWEST).unwrap();
        let mut src = SliceSource::new(&captured);
        assert_eq!(receive(&mut reader, &basis(), &head, &mut src).unwrap(), source());

        let mut writer = TokenWriter::new(kind, None, Protocol::NEWEST).unwrap();
        let mut ours = Vec::new();
        send(&mut writer, &basis(), head, ChecksumKind::Xxh128, &source(), &mut ours);
        if exact {
            assert_eq!(ours, captured, "{kind:?}");
        } else {
            assert!(ours.starts_with(&[0x80, 0x40]) && ours.ends_with(&[0xc1, 1, 0, 0]));
        }
        let mut reader = TokenReader::new(kind, Protocol::NEWEST).unwrap();
        let mut src = SliceSource::new(&ours);
        assert_eq!(receive(&mut reader, &basis(), &head, &mut src).unwrap(), source());
    }
}

/// A wrong form would name other blocks than the ones found.
#[test]
fn runs_take_the_shortest_form() {
    let rows: [(&[u32], &str); 7] = [
        (&[0], "80 00"),
        (&[63], "bf 00"),
        (&[64], "20 40000000 00"),
        (&[5, 6, 7, 2, 3], "c5 0200 21 02000000 0100 00"),
        (&[5, 5, 5], "85 80 80 00"),
        (&[100, 101, 104], "21 64000000 0100 83 00"),
        (&[TOKEN_INDEX_MAX], "20 feffff7f 00"),
    ];
    for (indices, want) in rows {
        let mut writer = TokenWriter::new(TokenKind::Lz4, None, Protocol::NEWEST).unwrap();
        let mut reader = TokenReader::new(TokenKind::Lz4, Protocol::NEWEST).unwrap();
        let mut out = Vec::new();
        for &index in indices {
            writer.block(&mut out, index, &[]).unwrap();
        }
        writer.end(&mut out).unwrap();
        assert_eq!(out, bytes(want), "{indices:?}");
        let mut src = SliceSource::new(&out);
        for &index in indices {
            assert_eq!(reader.next(&mut src).unwrap(), Received::Block(index));
        }
        assert_eq!(reader.next(&mut src).unwrap(), Received::End);
    }
}

#[test]
fn long_runs_are_cut_at_65536_blocks() {
    for kind in all_kinds() {
        let mut writer = TokenWriter::new(kind, None, Protocol::NEWEST).unwrap();
        let mut reader = TokenReader::new(kind, Protocol::NEWEST).unwrap();
        let mut out = Vec::new();
        for index in 0..70_000 {
            writer.block(&mut out, index, &[1]).unwrap();
        }
        writer.end(&mut out).unwrap();
        if kind != TokenKind::Plain {
            assert_eq!(out, bytes("c0 ffff c1 6f11 00"));
        }
        let mut src = SliceSource::new(&out);
        for index in 0..70_000 {
            assert_eq!(reader.next(&mut src).unwrap(), Received::Block(index));
            reader.saw_block(&[1]).unwrap();
        }
        assert_eq!(reader.next(&mut src).unwrap(), Received::End);
    }
}

#[test]
fn indices_no_flag_can_carry_are_refused() {
    for kind in all_kinds() {
        let mut writer = TokenWriter::new(kind, None, Protocol::NEWEST).unwrap();
        let mut out = Vec::new();
        assert!(writer.block(&mut out, u32::MAX, &[]).is_err(), "{kind:?}");
    }
}

/// Each row would name a block that cannot exist, or mean nothing.
#[test]
fn hostile_flags_are_refused() {
    for hex in [
        "20 ffffff7f",
        "20 ffffffff",
        "21 feffff7f 0100",
        "21 00000000 0000",
        "c0 0000",
        "01",
        "22 00000000",
        "3f",
        "20 feffff7f 81",
    ] {
        let hex = bytes(hex);
        let mut reader = TokenReader::new(TokenKind::Lz4, Protocol::NEWEST).unwrap();
        let mut src = SliceSource::new(&hex);
        let error = loop {
            match reader.next(&mut src) {
                Ok(Received::Block(_)) => {}
                Ok(other) => panic!("{other:?}"),
                Err(error) => break error,
            }
        };
        assert_eq!(error.exit_code(), ExitCode::Protocol, "{hex:02x?}: {error}");
    }
}

/// Data that does not decode ends the session with exit 12, in every method.
#[test]
fn broken_data_is_refused() {
    let rows = [
        (TokenKind::Zlib, "4001 07 00"),
        (TokenKind::Zlib, "4002 0300 00"),
        (TokenKind::Zlibx, "4003 000a00 00"),
        (TokenKind::Zstd, "4004 00000000 00"),
        (TokenKind::Lz4, "4000 00"),
        (TokenKind::Lz4, "4001 00 00"),
        (TokenKind::Lz4, "4003 10 4100 00"),
    ];
    for (kind, hex) in rows {
        if TokenKind::parse(kind.name().as_bytes()).is_none() {
            continue;
        }
        let hex = bytes(hex);
        let mut reader = TokenReader::new(kind, Protocol::NEWEST).unwrap();
        let error = receive(&mut reader, &[], &SumHead::empty(), &mut SliceSource::new(&hex));
        assert_eq!(error.unwrap_err().exit_code(), ExitCode::StreamIo, "{kind:?} {hex:02x?}");
    }
}

/// A few bytes that expand to megabytes must come in bounded pieces (asserted in `receive`), and
/// long literal data of a plain stream too.
#[test]
fn expansion_is_bounded_and_complete() {
    let zeros = vec![0; 5_000_000];
    for kind in all_kinds() {
        let mut writer = TokenWriter::new(kind, None, Protocol::NEWEST).unwrap();
        let mut reader = TokenReader::new(kind, Protocol::NEWEST).unwrap();
        let mut out = Vec::new();
        writer.literal(&mut out, &zeros).unwrap();
        writer.end(&mut out).unwrap();
        let file = receive(&mut reader, &[], &SumHead::empty(), &mut SliceSource::new(&out));
        assert!(file.unwrap() == zeros, "{kind:?}");
    }
    let long = [&300_000i32.to_le_bytes()[..], &[9; 300_000], &[0; 4]].concat();
    let mut reader = TokenReader::new(TokenKind::Plain, Protocol::NEWEST).unwrap();
    let file = receive(&mut reader, &[], &SumHead::empty(), &mut SliceSource::new(&long));
    assert_eq!(file.unwrap(), [9; 300_000]);
}

fn noise(len: usize, mut x: u64) -> Vec<u8> {
    (0..len)
        .map(|_| {
            x = x.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (x >> 56) as u8
        })
        .collect()
}

/// Blocks longer than a stored deflate block reach the history differently below protocol 31; with
/// content that refers back to them, ends that disagree produce garbage or an error.
#[test]
fn long_blocks_in_the_history() {
    let head = SumHead { count: 3, block_len: 131_072, s2_len: 8, remainder: 70_000 };
    let basis = noise(head.basis_len() as usize, 3);
    let tail = |k: usize, n: usize| &basis[..(k * 131_072 + n).min(basis.len())];
    let recall = |end: &[u8]| end[end.len() - 9000..end.len() - 1000].to_vec();
    let literals =
        [recall(tail(1, 0)), recall(tail(2, 0)), recall(tail(0, 131_072 - 65_535)), noise(50, 4)];
    let mut sizes = Vec::new();
    for number in [30, 31] {
        let protocol = Protocol::new(number).unwrap();
        for kind in [TokenKind::Zlib, TokenKind::Zlibx] {
            let mut writer = TokenWriter::new(kind, None, protocol).unwrap();
            let mut out = Vec::new();
            for (index, literal) in (0..3u32).zip(&literals) {
                let (offset, len) = head.block_range(index).unwrap();
                let block = &basis[offset as usize..][..len as usize];
                writer.block(&mut out, index, block).unwrap();
                writer.literal(&mut out, literal).unwrap();
            }
            writer.end(&mut out).unwrap();
            let want = [
                tail(1, 0),
                &literals[0],
                &basis[131_072..262_144],
                &literals[1],
                &basis[262_144..],
                &literals[2],
            ]
            .concat();
            let mut reader = TokenReader::new(kind, protocol).unwrap();
            let file = receive(&mut reader, &basis, &head, &mut SliceSource::new(&out));
            assert!(file.unwrap() == want, "{kind:?} at {number}");
            sizes.push(out.len());
        }
    }
    // Protocol 31 has the ends of the first two blocks in its history, where the literals come
    // from; the fault of protocol 30 puts other bytes there. Without a history nothing is found.
    assert!(sizes[2] + 15_000 < sizes[3], "{sizes:?}");
    assert!(sizes[0] > sizes[2] + 15_000, "{sizes:?}");
    assert!(sizes[1] == sizes[3], "{sizes:?}");
}

/// Old peers decode with the faulty history, so ours must hold exactly what theirs does.
#[test]
fn the_fault_of_protocol_30_repeats_the_first_piece() {
    let block = noise(131_072, 9);
    // What the fault leaves at the end of the history: the block's first 65537 bytes.
    let recalled = &block[65_537 - 9000..65_537 - 1000];
    let size = |number, kind| {
        let mut writer = TokenWriter::new(kind, None, Protocol::new(number).unwrap()).unwrap();
        let mut out = Vec::new();
        writer.block(&mut out, 0, &block).unwrap();
        writer.literal(&mut out, recalled).unwrap();
        writer.end(&mut out).unwrap();
        out.len()
    };
    assert!(size(30, TokenKind::Zlib) < 500);
    assert!(size(31, TokenKind::Zlib) > 8000);
    assert!(size(31, TokenKind::Zlibx) > 8000);
}

const SUMS: [ChecksumKind; 7] = [
    ChecksumKind::Xxh128,
    ChecksumKind::Xxh3,
    ChecksumKind::Xxh64,
    ChecksumKind::Md5,
    ChecksumKind::Md4,
    ChecksumKind::ImpliedMd4,
    ChecksumKind::Sha1,
];

proptest! {
    #![proptest_config(ProptestConfig::with_cases(100))]

    /// Several edited files in one session arrive unchanged, in every method and with every sum.
    #[test]
    fn sessions_rebuild_their_files(
        files in prop::collection::vec((content(4000), edits()), 1..4),
        block_len in prop_oneof![1u32..40, 40u32..900],
        level in prop::option::of(-5i32..25),
        sum in 0usize..SUMS.len(),
        number in 30..=32,
    ) {
        let protocol = Protocol::new(number).unwrap();
        for kind in all_kinds() {
            let mut writer = TokenWriter::new(kind, level, protocol).unwrap();
            let mut reader = TokenReader::new(kind, protocol).unwrap();
            let mut out = Vec::new();
            for (basis, edits) in &files {
                let head = head_for(basis, &context(SUMS[sum]), Some(block_len));
                send(&mut writer, basis, head, SUMS[sum], &apply(basis, edits), &mut out);
            }
            let mut src = SliceSource::new(&out);
            for (basis, edits) in &files {
                let head = head_for(basis, &context(SUMS[sum]), Some(block_len));
                let file = receive(&mut reader, basis, &head, &mut src).unwrap();
                prop_assert_eq!(&file, &apply(basis, edits));
            }
            prop_assert!(src.byte().is_err(), "bytes left over");
        }
    }

    /// Damaged streams end in an error or in wrong data, never in a panic or without bound.
    #[test]
    fn damaged_streams_do_no_harm(
        basis in content(3000),
        edits in edits(),
        damage in prop::collection::vec((any::<usize>(), any::<u8>()), 1..6),
    ) {
        for kind in all_kinds() {
            let head = head_for(&basis, &context(ChecksumKind::Xxh64), Some(100));
            let mut writer = TokenWriter::new(kind, None, Protocol::NEWEST).unwrap();
            let mut out = Vec::new();
            let source = apply(&basis, &edits);
            send(&mut writer, &basis, head, ChecksumKind::Xxh64, &source, &mut out);
            for &(at, byte) in &damage {
                let at = at % out.len();
                out[at] = byte;
            }
            let mut reader = TokenReader::new(kind, Protocol::NEWEST).unwrap();
            let _ = receive(&mut reader, &basis, &head, &mut SliceSource::new(&out));
        }
    }

    /// Noise between plausible flags, over several files.
    #[test]
    fn noise_does_no_harm(
        pieces in prop::collection::vec(
            (prop::sample::select(vec![0u8, 0x20, 0x40, 0x80, 0xc0, 0x21]),
             prop::collection::vec(any::<u8>(), 0..200)),
            0..20),
        as_data: bool,
    ) {
        let mut stream = Vec::new();
        for (flag, noise) in &pieces {
            stream.push(*flag);
            if as_data && *flag == 0x40 {
                stream.push(noise.len() as u8);
            }
            stream.extend_from_slice(noise);
        }
        for kind in all_kinds() {
            let mut reader = TokenReader::new(kind, Protocol::NEWEST).unwrap();
            let mut src = SliceSource::new(&stream);
            let mut blocks = 0;
            while let Ok(step) = reader.next(&mut src) {
                if let Received::Block(index) = step {
                    blocks += 1;
                    if blocks > 1000 {
                        break;
                    }
                    reader.saw_block(&[index as u8; 77]).unwrap();
                }
            }
        }
    }
}
