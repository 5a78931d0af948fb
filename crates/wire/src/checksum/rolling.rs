//! The weak sum: 32 bits that can be moved along a file byte by byte.
//!
//! Over bytes b0..b(n-1) read as signed: s1 is their plain sum, s2 the sum weighted n, n-1, .. 1,
//! both modulo 2^16; the value is s1 + s2 * 2^16. Source: [block-weak].
//!
//! [`sum`] serves the generator (every basis block) and the sender (after each match); it works
//! in 32 independent columns, which the compiler turns into vector instructions. [`Rolling`]
//! serves the sender's search. Neither says anything about equality: that is the strong sum's job.

/// Bytes summed side by side; also the row length in [`sum`].
const COLUMNS: usize = 32;

/// The weak sum of a block.
///
/// With rows of 32 bytes, a byte in row r of R and column c has the weight
/// 32 * (R - 1 - r) + (32 - c). The first part accumulates column by column without any
/// multiplication, the second is applied once at the end. Words of 16 bits are enough, because
/// only the remainder modulo 2^16 matters.
pub fn sum(block: &[u8]) -> u32 {
    let (s1, s2) = halves(block);
    join(s1, s2)
}

fn halves(block: &[u8]) -> (u32, u32) {
    let (rows, tail) = block.as_chunks::<COLUMNS>();
    let mut plain = [0u16; COLUMNS];
    let mut weighted = [0u16; COLUMNS];
    for row in rows {
        for ((p, w), &byte) in plain.iter_mut().zip(&mut weighted).zip(row) {
            *w = w.wrapping_add(*p);
            *p = p.wrapping_add(byte as i8 as u16);
        }
    }
    let (mut s1, mut s2) = (0u32, 0u32);
    for ((&p, &w), weight) in plain.iter().zip(&weighted).zip((1..=COLUMNS as u32).rev()) {
        s1 = s1.wrapping_add(u32::from(p));
        s2 = s2.wrapping_add(u32::from(w) * COLUMNS as u32 + u32::from(p) * weight);
    }
    for &byte in tail {
        s1 = s1.wrapping_add(signed(byte));
        s2 = s2.wrapping_add(s1);
    }
    (s1, s2)
}

/// The weak sum of a window of fixed length that moves through a file.
#[derive(Clone, Debug)]
pub struct Rolling {
    // Both are kept modulo 2^32, which contains what is wanted modulo 2^16.
    s1: u32,
    s2: u32,
    len: u32,
}

impl Rolling {
    /// Starts with the window over `block`.
    pub fn new(block: &[u8]) -> Rolling {
        let (s1, s2) = halves(block);
        // Truncation is harmless: the length is only used modulo 2^16.
        Rolling { s1, s2, len: block.len() as u32 }
    }

    /// Moves the window by one byte: `out` leaves at the front, `new` enters at the back.
    #[inline]
    pub fn roll(&mut self, out: u8, new: u8) {
        let out = signed(out);
        self.s1 = self.s1.wrapping_add(signed(new)).wrapping_sub(out);
        self.s2 = self.s2.wrapping_add(self.s1).wrapping_sub(self.len.wrapping_mul(out));
    }

    /// The weak sum of the window.
    #[inline]
    pub fn value(&self) -> u32 {
        join(self.s1, self.s2)
    }
}

#[inline]
fn signed(byte: u8) -> u32 {
    byte as i8 as u32
}

#[inline]
fn join(s1: u32, s2: u32) -> u32 {
    (s1 & 0xffff) | (s2 << 16)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The definition, term by term.
    fn by_definition(block: &[u8]) -> u32 {
        let n = block.len() as i64;
        let s1: i64 = block.iter().map(|&b| i64::from(b as i8)).sum();
        let s2: i64 = block.iter().zip(0..).map(|(&b, i)| (n - i) * i64::from(b as i8)).sum();
        (s1 as u32 & 0xffff) | ((s2 as u32) << 16)
    }

    fn noise(len: usize) -> Vec<u8> {
        let mut x = 0x2545_f491u32;
        (0..len)
            .map(|_| {
                x = x.wrapping_mul(0x0019_660d).wrapping_add(0x3c6e_f35f);
                (x >> 24) as u8
            })
            .collect()
    }

    /// A difference means that no peer would find our blocks.
    #[test]
    fn columns_agree_with_the_definition() {
        let data = noise(70_000);
        for len in (0..200).chain([700, 1023, 4096, 65_535, 70_000]) {
            assert_eq!(sum(&data[..len]), by_definition(&data[..len]), "length {len}");
        }
        assert_eq!(sum(&[0xff; 131_072]), by_definition(&[0xff; 131_072]));
    }

    /// A difference means that matches are lost after the first byte of literal data.
    #[test]
    fn rolling_agrees_with_summing_anew() {
        let data = noise(3000);
        for len in [1usize, 2, 31, 32, 33, 700] {
            let mut rolling = Rolling::new(&data[..len]);
            for start in 0..data.len() - len {
                assert_eq!(rolling.value(), by_definition(&data[start..start + len]));
                rolling.roll(data[start], data[start + len]);
            }
        }
    }
}
