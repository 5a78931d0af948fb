//! Strong sums against captured values of the reference program (seed 1, the basis below).

use super::*;
use crate::sum::tests::{BASIS_LEN, basis, source};

fn context(kind: ChecksumKind, seed_first: bool) -> SumContext {
    SumContext { kind, seed: 1, seed_first }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

/// A wrong row means that no block is found, or that every file fails its verification.
#[test]
fn digests_equal_the_captured_ones() {
    use ChecksumKind::*;
    let md5 = "d1d2fc8c9806eab658de30eb8279c7e4";
    let rows = [
        (Xxh128, false, "64c9 5c0e 2c3b", "f44f337d85466537a19e3a9c7c37527d"),
        (Xxh3, false, "64c9 5c0e 3a0a", "f44f337d85466537"),
        (Xxh64, false, "761a 6a1f 3f41", "a44faa82e14c2d14"),
        (Md5, true, "8e23 1328 6c23", md5),
        (Md5, false, "e1f6 6833 20e2", md5),
        (Md4, false, "b760 ae1f 05b5", "71f8ce0a77e5f1dbaf48a4b046254506"),
        (Sha1, true, "81f9 f8bf 2b22", "1e1f9b308ec5ba67c0a464bfefec197570c4e506"),
    ];
    let basis = basis();
    for (kind, seed_first, blocks, whole) in rows {
        let ctx = context(kind, seed_first);
        let sums: Vec<String> =
            basis.chunks(700).map(|b| hex(&ctx.block_sum(b).as_bytes()[..2])).collect();
        assert_eq!(sums.join(" "), blocks, "{kind:?}");
        let mut hasher = ctx.file_hasher();
        for piece in source().chunks(97) {
            hasher.update(piece);
        }
        let digest = hasher.finish();
        assert_eq!(hex(digest.as_bytes()), whole, "{kind:?}");
        assert_eq!(digest.as_bytes().len(), ctx.digest_len());
    }
    assert_eq!(basis.len(), BASIS_LEN);
}

/// A negative seed must be widened with its sign, and a zero seed must leave no trace.
#[test]
fn seeds_at_the_edges() {
    let mut ctx = context(ChecksumKind::Xxh64, false);
    ctx.seed = -2;
    let want = XxHash64::oneshot(u64::MAX - 1, b"abc").to_le_bytes();
    assert_eq!(ctx.block_sum(b"abc").as_bytes(), want);
    for kind in [ChecksumKind::Md5, ChecksumKind::Md4, ChecksumKind::Sha1, ChecksumKind::Xxh128] {
        let ctx = SumContext { seed: 0, ..context(kind, true) };
        let mut hasher = ctx.file_hasher();
        hasher.update(b"abc");
        assert_eq!(ctx.block_sum(b"abc"), hasher.finish());
    }
}

#[test]
fn names_read_back() {
    use ChecksumKind::*;
    for kind in [Xxh128, Xxh3, Xxh64, Md5, Md4, Sha1, None] {
        assert_eq!(ChecksumKind::parse(kind.name().as_bytes()), Some(kind));
    }
    assert_eq!(ChecksumKind::parse(b"auto"), Option::None);
    assert_eq!(ChecksumKind::parse(b"XXH3"), Option::None);
}

#[test]
fn digests_hold_at_most_twenty_bytes() {
    assert_eq!(Digest::from_slice(&[7; 20]).unwrap().as_bytes(), [7; 20]);
    assert_eq!(Digest::from_slice(&[]).unwrap().as_bytes(), b"");
    assert!(Digest::from_slice(&[7; 21]).is_none());
}

/// The captured sums of a session of protocol 29, which seeds the digest of a file as well.
#[test]
fn the_implied_sum_of_old_protocols_seeds_both() {
    let basis: Vec<u8> = (0..1500_u32).map(|j| ((j * j + 31 * (j / 700)) % 251) as u8).collect();
    let context = SumContext { kind: ChecksumKind::ImpliedMd4, seed: 1, seed_first: false };
    for (block, want) in basis.chunks(700).zip([[0xb7, 0x60], [0xae, 0x1f], [0x05, 0xb5]]) {
        assert_eq!(context.block_sum(block).as_bytes()[..2], want);
    }
    let mut hasher = context.file_hasher();
    hasher.update(&basis[..700]);
    hasher.update(b"INSERT");
    hasher.update(&basis[700..]);
    let hex: String = hasher.finish().as_bytes().iter().map(|b| format!("{b:02x}")).collect();
    assert_eq!(hex, "ddbc58aa2550e990d8ccbd83b827b764");
}
