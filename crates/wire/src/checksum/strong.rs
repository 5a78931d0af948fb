//! Strong digests: block sums, whole-file sums and the `--checksum` field.
//!
//! The generator and the sender call [`SumContext::block_sum`]; the sender and the receiver run a
//! [`FileHasher`] over everything that passes. Block sums depend on the session's seed, and
//! each algorithm mixes it in its own way; the rules live in [`SumContext::block_sum`] alone.
//!
//! The MD4 that protocols below 30 imply has its trailer seeded too; one asked for by name has not.

use md4::Md4;
use md5::Md5;
use sha1::Sha1;
use sha1::digest::Digest as _;
use std::hash::Hasher as _;
use twox_hash::{XxHash3_64, XxHash3_128, XxHash64};

/// Longest digest of any algorithm here (SHA-1), in bytes.
const DIGEST_MAX: usize = 20;

/// A strong sum of up to 20 bytes, stored inline so that lists of millions need no allocation.
///
/// Bytes beyond the length are zero, so that equality of values is equality of digests.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Digest {
    len: u8,
    bytes: [u8; DIGEST_MAX],
}

impl Digest {
    /// Copies a digest of 0 to 20 bytes; `None` if it is longer.
    pub fn from_slice(slice: &[u8]) -> Option<Digest> {
        let mut bytes = [0; DIGEST_MAX];
        bytes.get_mut(..slice.len())?.copy_from_slice(slice);
        Some(Digest { len: u8::try_from(slice.len()).ok()?, bytes })
    }

    /// The digest as it travels.
    pub fn as_bytes(&self) -> &[u8] {
        self.bytes.get(..usize::from(self.len)).unwrap_or_default()
    }

    fn of<const N: usize>(hash: [u8; N]) -> Digest {
        const { assert!(N <= DIGEST_MAX) };
        let mut bytes = [0; DIGEST_MAX];
        for (to, from) in bytes.iter_mut().zip(hash) {
            *to = from;
        }
        Digest { len: N as u8, bytes }
    }
}

/// A strong sum algorithm, as negotiated by name. Source: [sum-algorithm].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ChecksumKind {
    /// XXH3 of 128 bits.
    Xxh128,
    /// XXH3 of 64 bits.
    Xxh3,
    /// The older XXH64.
    Xxh64,
    /// MD5, also implied when nothing is negotiated.
    Md5,
    /// MD4 asked for by name.
    Md4,
    /// MD4 with a seeded trailer: what protocols below 30 use when nothing is asked for.
    ImpliedMd4,
    /// SHA-1.
    Sha1,
    /// No verification; forces whole-file transfer.
    None,
}

impl ChecksumKind {
    /// The algorithm with this name in a negotiation list or `--checksum-choice`.
    ///
    /// `xxhash` is the old name of `xxh64`. The word `auto` is not an algorithm.
    pub fn parse(name: &[u8]) -> Option<ChecksumKind> {
        Some(match name {
            b"xxh128" => ChecksumKind::Xxh128,
            b"xxh3" => ChecksumKind::Xxh3,
            b"xxh64" | b"xxhash" => ChecksumKind::Xxh64,
            b"md5" => ChecksumKind::Md5,
            b"md4" => ChecksumKind::Md4,
            b"sha1" => ChecksumKind::Sha1,
            b"none" => ChecksumKind::None,
            _ => return None,
        })
    }

    /// The name used in negotiation lists.
    pub fn name(self) -> &'static str {
        match self {
            ChecksumKind::Xxh128 => "xxh128",
            ChecksumKind::Xxh3 => "xxh3",
            ChecksumKind::Xxh64 => "xxh64",
            ChecksumKind::Md5 => "md5",
            ChecksumKind::Md4 | ChecksumKind::ImpliedMd4 => "md4",
            ChecksumKind::Sha1 => "sha1",
            ChecksumKind::None => "none",
        }
    }

    /// Length of the whole-file digest in bytes; block sums are cut from the same length.
    pub fn digest_len(self) -> usize {
        match self {
            ChecksumKind::Xxh128 | ChecksumKind::Md5 => 16,
            ChecksumKind::Md4 | ChecksumKind::ImpliedMd4 => 16,
            ChecksumKind::Xxh3 | ChecksumKind::Xxh64 => 8,
            ChecksumKind::Sha1 => 20,
            ChecksumKind::None => 1,
        }
    }

    /// A hasher for file content, without the session's seed. Source: [file-digest].
    pub fn file_hasher(self) -> FileHasher {
        FileHasher(match self {
            ChecksumKind::Xxh128 => State::Xxh128(Box::default()),
            ChecksumKind::Xxh3 => State::Xxh3(Box::default()),
            ChecksumKind::Xxh64 => State::Xxh64(XxHash64::with_seed(0)),
            ChecksumKind::Md5 => State::Md5(Md5::new()),
            ChecksumKind::Md4 | ChecksumKind::ImpliedMd4 => State::Md4(Md4::new()),
            ChecksumKind::Sha1 => State::Sha1(Sha1::new()),
            ChecksumKind::None => State::None,
        })
    }
}

/// What both ends agreed on for the sums of one session.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SumContext {
    /// The algorithm.
    pub kind: ChecksumKind,
    /// The session's seed; 0 means unseeded. Source: [sum-seed].
    pub seed: i32,
    /// MD5 only: the seed comes before the data. True if compatibility bit 5 is set or MD5 was
    /// negotiated by name.
    pub seed_first: bool,
}

impl SumContext {
    /// The seeded strong sum of one block, in full length. Source: [block-strong].
    pub fn block_sum(&self, data: &[u8]) -> Digest {
        // The seed is a signed word: the 64-bit algorithms see it with its sign extended.
        let wide_seed = i64::from(self.seed) as u64;
        let word = self.seed.to_le_bytes();
        let seed: &[u8] = if self.seed == 0 { &[] } else { &word };
        match self.kind {
            ChecksumKind::Xxh128 => {
                Digest::of(XxHash3_128::oneshot_with_seed(wide_seed, data).to_le_bytes())
            }
            ChecksumKind::Xxh3 => {
                Digest::of(XxHash3_64::oneshot_with_seed(wide_seed, data).to_le_bytes())
            }
            ChecksumKind::Xxh64 => Digest::of(XxHash64::oneshot(wide_seed, data).to_le_bytes()),
            ChecksumKind::Md5 if self.seed_first => {
                Digest::of(Md5::new().chain_update(seed).chain_update(data).finalize().into())
            }
            ChecksumKind::Md5 => {
                Digest::of(Md5::new().chain_update(data).chain_update(seed).finalize().into())
            }
            ChecksumKind::Md4 | ChecksumKind::ImpliedMd4 => {
                Digest::of(Md4::new().chain_update(data).chain_update(seed).finalize().into())
            }
            ChecksumKind::Sha1 => {
                Digest::of(Sha1::new().chain_update(seed).chain_update(data).finalize().into())
            }
            ChecksumKind::None => Digest::of([0]),
        }
    }

    /// A hasher for the whole-file trailer. Source: [file-digest].
    pub fn file_hasher(&self) -> FileHasher {
        let mut hasher = self.kind.file_hasher();
        if self.kind == ChecksumKind::ImpliedMd4 {
            hasher.update(&self.seed.to_le_bytes());
        }
        hasher
    }

    /// Length of the whole-file digest in bytes.
    pub fn digest_len(&self) -> usize {
        self.kind.digest_len()
    }
}

/// A running digest over file content.
pub struct FileHasher(State);

enum State {
    Xxh128(Box<XxHash3_128>),
    Xxh3(Box<XxHash3_64>),
    Xxh64(XxHash64),
    Md5(Md5),
    Md4(Md4),
    Sha1(Sha1),
    None,
}

impl FileHasher {
    /// Appends content.
    pub fn update(&mut self, data: &[u8]) {
        match &mut self.0 {
            State::Xxh128(h) => h.write(data),
            State::Xxh3(h) => h.write(data),
            State::Xxh64(h) => h.write(data),
            State::Md5(h) => h.update(data),
            State::Md4(h) => h.update(data),
            State::Sha1(h) => h.update(data),
            State::None => {}
        }
    }

    /// The digest of everything appended; one zero byte for [`ChecksumKind::None`].
    pub fn finish(self) -> Digest {
        match self.0 {
            State::Xxh128(h) => Digest::of(h.finish_128().to_le_bytes()),
            State::Xxh3(h) => Digest::of(h.finish().to_le_bytes()),
            State::Xxh64(h) => Digest::of(h.finish().to_le_bytes()),
            State::Md5(h) => Digest::of(h.finalize().into()),
            State::Md4(h) => Digest::of(h.finalize().into()),
            State::Sha1(h) => Digest::of(h.finalize().into()),
            State::None => Digest::of([0]),
        }
    }
}

#[cfg(test)]
#[path = "strong_tests.rs"]
mod tests;
