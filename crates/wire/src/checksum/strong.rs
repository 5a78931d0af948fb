//! Placeholder shape until the strong sums arrive.
/// Kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChecksumKind { /// x
 Xxh128, /// x
 Xxh3, /// x
 Xxh64, /// x
 Md5, /// x
 Md4, /// x
 Sha1, /// x
 None }
