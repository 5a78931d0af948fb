//! How alike two file names are, for `--fuzzy`.
//!
//! Pure. The distance is that of the reference program: one for each byte inserted, deleted or
//! replaced, with a fraction for which byte it is, and ten times as much for the suffix.

/// The cost of one byte; byte values are fractions of it.
const UNIT: u64 = 1 << 16;
/// How much more a difference of suffixes counts.
const SUFFIX_WEIGHT: u64 = 10;

/// Names farther apart are not alike.
pub const DISTANCE_MAX: u64 = 25 * UNIT;

/// The distance of two names, or nothing where it is certain to be over `most`.
pub fn distance(a: &[u8], b: &[u8], most: u64) -> Option<u64> {
    if (a.len().abs_diff(b.len()) as u64).saturating_mul(UNIT) > most {
        return None;
    }
    let total = edits(a, b) + SUFFIX_WEIGHT * edits(suffix(a), suffix(b));
    (total <= most).then_some(total)
}

fn edits(a: &[u8], b: &[u8]) -> u64 {
    if a.is_empty() || b.is_empty() {
        return a.iter().chain(b).map(|&byte| UNIT + u64::from(byte)).sum();
    }
    let mut above: Vec<u64> = (0..=b.len() as u64).map(|at| at * UNIT).collect();
    for &x in a {
        let mut corner = above.first().copied().unwrap_or_default();
        let mut left = corner + UNIT;
        if let Some(first) = above.first_mut() {
            *first = left;
        }
        for (&y, cell) in b.iter().zip(above.iter_mut().skip(1)) {
            // The nearer neighbour is chosen before the byte is counted.
            let gap = if left < *cell { left + u64::from(y) } else { *cell + u64::from(x) } + UNIT;
            let replaced = if x == y { 0 } else { UNIT + u64::from(x.abs_diff(y)) };
            let here = gap.min(corner + replaced);
            corner = std::mem::replace(cell, here);
            left = here;
        }
    }
    above.last().copied().unwrap_or_default()
}

/// The part of a name from its last dot on. A dot in front is none; the mark of a backup is passed
/// over once; of numbers the first counts, and only where there is nothing better before them.
fn suffix(name: &[u8]) -> &[u8] {
    let start = name.iter().position(|&byte| byte != b'.').unwrap_or(name.len());
    let mut name = name.get(start..).unwrap_or_default();
    let mut backup = false;
    let tilde = name.len() > 1 && name.ends_with(b"~");
    if tilde {
        name = name.get(..name.len() - 1).unwrap_or_default();
        backup = true;
    }
    let mut number: &[u8] = b"";
    while let Some(dot) = name.iter().rposition(|&byte| byte == b'.').filter(|&dot| dot > 0) {
        let (before, part) = name.split_at(dot);
        let numbered = tilde && matches!(part, [b'.', b'~', b'0'..=b'9']);
        if numbered || !backup && number.is_empty() && is_backup_mark(part) {
            backup = true;
        } else if part.len() > 1 && part.iter().skip(1).all(u8::is_ascii_digit) {
            number = part;
        } else {
            return part;
        }
        name = before;
    }
    number
}

fn is_backup_mark(part: &[u8]) -> bool {
    matches!(part, b".bak" | b".old" | b".orig")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distances_are_those_of_the_reference() {
        // Seen with --debug=fuzzy2, in units and fractions.
        for (a, b, units, fraction) in [
            ("zeroish", "zzzz", 6, 336),
            ("zeroish", "report.doc", 48, 3832),
            ("a-2.txt", "a-1.txt", 1, 1),
            (".profile2", ".profile", 1, 50),
            ("none", ".a", 4, 68),
            ("none", ".profile", 6, 213),
            ("none", "a.", 14, 528),
            ("none", "file.old", 7, 58),
            ("ab.1.2", "q.bakk", 46, 3879),
            ("k.5.old.orig", "..dots.x", 39, 2579),
            ("d.bak.bak", "x.orig", 48, 3771),
            ("d.1.bak.2", "noext", 49, 3652),
            ("q.~3~", "noext", 5, 172),
            ("data.txt", "data.~12~", 34, 1609),
            ("w.~7~.~8~", "noext", 49, 3710),
            ("k.old.5", "v1.2.3", 36, 2923),
        ] {
            let wanted = Some(units * UNIT + fraction);
            assert_eq!(distance(a.as_bytes(), b.as_bytes(), u64::MAX), wanted, "{a} {b}");
        }
    }

    #[test]
    fn what_is_too_far_is_not_alike() {
        assert_eq!(distance(b"a", &[b'b'; 40], DISTANCE_MAX), None);
        assert_eq!(distance(b"zeroish", b"report.doc", DISTANCE_MAX), None);
        assert_eq!(distance(b"", b"", DISTANCE_MAX), Some(0));
        assert_eq!(suffix(b"..."), b"");
        assert_eq!(suffix(b"~"), b"");
    }
}
