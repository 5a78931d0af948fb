//! Geometry of block sums against captured values and against hostile heads.

use super::*;
use crate::checksum::strong::ChecksumKind;
use crate::codec::SliceSource;
use crate::version::Protocol;

pub(crate) const BASIS_LEN: usize = 1500;

/// The basis of the captured transfers.
pub(crate) fn basis() -> Vec<u8> {
    (0..BASIS_LEN).map(|j| ((j * j + 31 * (j / 700)) % 251) as u8).collect()
}

/// The source of the captured transfers: the basis with a word inserted after its first block.
pub(crate) fn source() -> Vec<u8> {
    let basis = basis();
    [&basis[..700], b"INSERT", &basis[700..]].concat()
}

pub(crate) fn sums_of(basis: &[u8], head: SumHead, ctx: &SumContext) -> BlockSums {
    let mut bytes = Vec::new();
    if head.count > 0 {
        for block in basis.chunks(head.block_len as usize) {
            put_block_sum(&mut bytes, &head, ctx, block);
        }
    }
    let mut src = SliceSource::new(&bytes);
    let sums = BlockSums::decode(&mut src, head).unwrap();
    assert_eq!(sums.weak.len(), head.count as usize);
    sums
}

/// A difference means that the reference program computes other sums than we do.
#[test]
fn request_equals_the_captured_one() {
    let ctx = SumContext { kind: ChecksumKind::Xxh128, seed: 1, seed_first: false };
    let head =
        SumHead::for_basis(BASIS_LEN as u64, ctx.digest_len(), false, None, Protocol::NEWEST)
            .unwrap();
    let mut bytes = Vec::new();
    head.encode(&mut bytes);
    for block in basis().chunks(700) {
        put_block_sum(&mut bytes, &head, &ctx, block);
    }
    let hex: String = bytes.iter().map(|b| format!("{b:02x}")).collect();
    assert_eq!(
        hex,
        "03000000bc0200000200000064000000\
         2e21f59964c9e10e67a35c0e94fd72902c3b"
    );
    let mut src = SliceSource::new(&bytes);
    assert_eq!(SumHead::decode(&mut src, 16, Protocol::NEWEST).unwrap(), head);
    let sums = BlockSums::decode(&mut src, head).unwrap();
    assert_eq!(sums, sums_of(&basis(), head, &ctx));
    assert_eq!(sums.strong_of(2), Some(&[0x2c, 0x3b][..]));
    assert_eq!(sums.strong_of(3), None);
}

/// Rows: basis length, block length, short strong sum length, worked out by hand from the formulas.
#[test]
fn geometry_follows_the_formulas() {
    let rows = [
        (1, 700, 2),
        (490_000, 700, 2),
        (490_001, 700, 2),
        (1_000_000, 1000, 2),
        (100_000_000, 10_000, 3),
        (1 << 30, 32_768, 3),
        (17_000_000_000, 130_384, 4),
        (1 << 34, 131_072, 4),
        (1 << 40, 131_072, 6),
    ];
    for (len, block_len, s2_len) in rows {
        let head = SumHead::for_basis(len, 16, false, None, Protocol::NEWEST).unwrap();
        assert_eq!((head.block_len, head.s2_len), (block_len, s2_len), "basis of {len}");
        assert_eq!(head.basis_len(), len);
    }
    assert_eq!(SumHead::for_basis(0, 16, true, None, Protocol::NEWEST), Some(SumHead::empty()));
    assert_eq!(
        SumHead::for_basis(5000, 16, true, Some(1000), Protocol::NEWEST).unwrap().s2_len,
        16
    );
    assert_eq!(SumHead::for_basis(5000, 20, true, None, Protocol::NEWEST).unwrap().s2_len, 16);
    assert_eq!(SumHead::for_basis(5000, 8, true, None, Protocol::NEWEST).unwrap().s2_len, 8);
    assert_eq!(SumHead::for_basis(5000, 1, false, None, Protocol::NEWEST).unwrap().s2_len, 1);
    assert_eq!(
        SumHead::for_basis(5000, 16, false, Some(1000), Protocol::NEWEST).unwrap().remainder,
        0
    );
    assert_eq!(SumHead::for_basis(1 << 31, 16, false, Some(1), Protocol::NEWEST), None);
    assert_eq!(SumHead::for_basis(u64::MAX, 16, false, None, Protocol::NEWEST), None);
}

#[test]
fn blocks_have_places() {
    let head = SumHead { count: 3, block_len: 700, s2_len: 2, remainder: 100 };
    assert_eq!(head.block_range(0), Some((0, 700)));
    assert_eq!(head.block_range(2), Some((1400, 100)));
    assert_eq!(head.block_range(3), None);
    assert!(head.require_block(3).is_err());
    assert_eq!(SumHead { remainder: 0, ..head }.block_range(2), Some((1400, 700)));
    assert_eq!(SumHead::empty().block_range(0), None);
    assert_eq!(SumHead::empty().basis_len(), 0);
}

/// Every row is a head that must end the session; what it would do otherwise is said beside it.
#[test]
fn hostile_heads_are_refused() {
    let rows = [
        ([-1, 700, 2, 0], ExitCode::Protocol, "a negative count"),
        ([1, 0, 2, 0], ExitCode::Protocol, "a search that never advances"),
        ([1, -700, 2, 0], ExitCode::Protocol, "a negative length"),
        ([1, 131_073, 2, 0], ExitCode::Protocol, "windows without bound"),
        ([1, 700, 17, 0], ExitCode::Protocol, "strong sums longer than the digest"),
        ([1, 700, -1, 0], ExitCode::Protocol, "a negative sum length"),
        ([1, 700, 2, 701], ExitCode::Protocol, "a last block longer than the others"),
        ([1, 700, 2, -1], ExitCode::Protocol, "a negative remainder"),
        ([i32::MAX, 700, 16, 0], ExitCode::Malloc, "tables without bound"),
    ];
    for (fields, code, why) in rows {
        let bytes = fields.map(i32::to_le_bytes).concat();
        let err =
            SumHead::decode(&mut SliceSource::new(&bytes), 16, Protocol::NEWEST).expect_err(why);
        assert_eq!(err.exit_code(), code, "{why}");
    }
    let truncated = SumHead { count: 1 << 20, block_len: 700, s2_len: 16, remainder: 0 };
    assert!(BlockSums::decode(&mut SliceSource::new(&[0; 100]), truncated).is_err());
}
