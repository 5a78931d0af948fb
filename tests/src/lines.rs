//! Output made comparable: what differs from run to run is replaced by `*`. Called by the matrix.
//!
//! Replaced are the place in the source and the version at the end of a message, the random end of
//! a temporary name, byte counts of the connection, speeds, times that passed, process ids, ports,
//! and the directory that the run took place in.

/// The lines of an output, made comparable. Of `places`, each first text is replaced by the second.
pub fn normalise(output: &[u8], places: &[(String, &str)]) -> Vec<String> {
    let mut text = match std::str::from_utf8(output) {
        Ok(text) => text.to_owned(),
        Err(_) => output.escape_ascii().to_string().replace("\\n", "\n").replace("\\r", "\r"),
    };
    for (place, name) in places {
        text = text.replace(place, name);
    }
    let mut lines: Vec<String> = text.split('\n').map(line).collect();
    lines.retain(|line| !GONE.iter().any(|end| line.ends_with(end)));
    if lines.last().is_some_and(String::is_empty) {
        lines.pop();
    } else {
        lines.push("(no newline at the end)".to_owned());
    }
    lines
}

fn line(raw: &str) -> String {
    // A progress line is written over and over; only its last state does not depend on the clock.
    let last = raw.rsplit('\r').next().unwrap_or_default();
    if raw.contains('\r') && last.contains("B/s") {
        return format!("\\r{}", progress(last));
    }
    for (start, end) in SUMS {
        if raw.starts_with(start) && raw.ends_with(end) {
            return format!("{start}*{end}");
        }
    }
    if raw.starts_with("total size is ") {
        return before(raw, "  speedup is ");
    }
    let line = tail(raw);
    let line = numbers_after(&line, "pid=");
    let line = numbers_after(&line, "pid ");
    let line = numbers_after(&line, "127.0.0.1 port ");
    // How often a look-up meets an occupied place tells of the table's layout, which is nobody's
    // protocol; what came of the look-ups stands beside it.
    let line = numbers_after(&line, "hash_hits=");
    temporary(&numbers_after(&line, "127.0.0.1:"))
}

/// Ends of lines that tell only how the loss of a peer was noticed, which the clock decides.
const GONE: [&str; 2] = [" error: Broken pipe (32)", " error: Connection reset by peer (104)"];

/// Lines whose middle tells only how the connection or the clock behaved.
const SUMS: [(&str, &str); 6] = [
    ("sent ", "bytes/sec"),
    ("Total bytes sent: ", ""),
    ("Total bytes received: ", ""),
    ("File list size: ", ""),
    ("File list generation time: ", " seconds"),
    ("File list transfer time: ", " seconds"),
];

fn before(raw: &str, mark: &str) -> String {
    match raw.split_once(mark) {
        Some((kept, _)) => format!("{kept}{mark}*"),
        None => raw.to_owned(),
    }
}

/// `1,234 100%  1.2MB/s  0:00:00 (xfr#1, to-chk=0/1)`: the speed and the time go.
fn progress(last: &str) -> String {
    let words: Vec<&str> = last.split_ascii_whitespace().collect();
    let kept: Vec<&str> = words
        .iter()
        .map(|w| {
            let clock = w.len() >= 7 && w.split(':').count() == 3;
            if w.ends_with("B/s") || clock { "*" } else { w }
        })
        .collect();
    kept.join(" ")
}

/// `... at main.c(1394) [sender=3.5.0]`: the role stays.
fn tail(raw: &str) -> String {
    let Some((text, end)) = raw.rsplit_once(" at ") else { return raw.to_owned() };
    let Some((place, role)) = end.split_once(" [") else { return raw.to_owned() };
    match role.split_once('=') {
        Some((role, version)) if !place.contains(' ') => {
            let rest = version.split_once(']').map_or("", |(_, rest)| rest);
            format!("{text} at * [{role}=*]{rest}")
        }
        _ => raw.to_owned(),
    }
}

fn numbers_after(line: &str, mark: &str) -> String {
    match line.split_once(mark) {
        Some((kept, rest)) if rest.starts_with(|c: char| c.is_ascii_digit()) => {
            let rest = rest.trim_start_matches(|c: char| c.is_ascii_digit());
            format!("{kept}{mark}*{rest}")
        }
        _ => line.to_owned(),
    }
}

/// `".name.AbCdEf"`, or without the first dot in a directory of its own: the six random characters go.
fn temporary(line: &str) -> String {
    let mut words: Vec<String> = line.split('"').map(str::to_owned).collect();
    for word in words.iter_mut().skip(1).step_by(2) {
        let base = word.rsplit('/').next().unwrap_or_default();
        let Some((name, random)) = base.rsplit_once('.') else { continue };
        let plain = random.len() == 6 && random.bytes().all(|b| b.is_ascii_alphanumeric());
        if (name.starts_with('.') || line.contains(" mkstemp \"")) && plain {
            word.truncate(word.len() - 6);
            word.push('*');
        }
    }
    words.join("\"")
}

/// The lines of one run that have an order of their own, by who says them: items, which are told as
/// their records pass, remarks of the generator, and remarks of a sender that lists. Processes of the
/// reference say these, and how they mix depends on scheduling. What two processes bring about has
/// no order at all.
pub fn by_speaker(lines: &[String]) -> [Vec<&String>; 3] {
    let of_either = |line: &&String| EITHER.iter().any(|start| line.starts_with(start));
    let lister = |line: &&String| LISTING.iter().any(|start| line.starts_with(start));
    let (listing, rest): (Vec<&String>, Vec<&String>) =
        lines.iter().filter(|line| !of_either(line)).partition(lister);
    let (remarks, items) = rest.into_iter().partition(|line| {
        REMARKS.iter().any(|start| line.starts_with(start))
            || VERDICTS.iter().any(|end| line.ends_with(end))
    });
    [items, remarks, listing]
}

/// Beginnings of lines of a sender that lists.
const LISTING: [&str; 3] =
    ["copying unsafe symlink ", "skipping directory ", "[sender] skipping mount-point "];

/// Beginnings of lines that generator and receiver both bring about: each backs up what it replaces,
/// each tells the sender what has arrived, and each finds what a list has twice.
const EITHER: [&str; 3] = ["backed up ", "sender removed ", "removing duplicate name "];

/// Beginnings of lines of the generator.
const REMARKS: [&str; 7] = [
    "*deleting ",
    "deleting ",
    "cannot delete ",
    "not creating new ",
    "skipping non-regular file ",
    "ignoring unsafe symlink ",
    "IO error encountered ",
];

/// Ends of lines of the generator.
const VERDICTS: [&str; 5] =
    [" is uptodate", " exists", " is newer", " is over max-size", " is under min-size"];

/// What differs between two lists of lines: `-` is theirs, `+` is ours; empty when they are equal.
pub fn difference(theirs: &[String], ours: &[String]) -> Vec<String> {
    let common = |a: &[String], b: &[String]| a.iter().zip(b).take_while(|(x, y)| x == y).count();
    let start = common(theirs, ours);
    let (theirs, ours) = (&theirs[start..], &ours[start..]);
    let end = theirs.iter().rev().zip(ours.iter().rev()).take_while(|(x, y)| x == y).count();
    let (theirs, ours) = (&theirs[..theirs.len() - end], &ours[..ours.len() - end]);
    let mut out = Vec::new();
    let (mut left, mut right) = (0, 0);
    for (a, b) in longest_common(theirs, ours).into_iter().chain([(theirs.len(), ours.len())]) {
        out.extend(theirs[left..a].iter().map(|l| format!("- {l}")));
        out.extend(ours[right..b].iter().map(|l| format!("+ {l}")));
        (left, right) = (a + 1, b + 1);
    }
    out
}

/// Above this many pairs of lines no common part is looked for, to spare the quadratic table.
const PAIRS_MAX: usize = 4_000_000;

/// Positions of a longest common subsequence.
fn longest_common(a: &[String], b: &[String]) -> Vec<(usize, usize)> {
    if a.len() * b.len() > PAIRS_MAX {
        return Vec::new();
    }
    let width = b.len() + 1;
    let mut length = vec![0u32; (a.len() + 1) * width];
    for i in (0..a.len()).rev() {
        for j in (0..b.len()).rev() {
            length[i * width + j] = if a[i] == b[j] {
                length[(i + 1) * width + j + 1] + 1
            } else {
                length[(i + 1) * width + j].max(length[i * width + j + 1])
            };
        }
    }
    let (mut i, mut j, mut out) = (0, 0, Vec::new());
    while i < a.len() && j < b.len() {
        if a[i] == b[j] {
            out.push((i, j));
            (i, j) = (i + 1, j + 1);
        } else if length[(i + 1) * width + j] >= length[i * width + j + 1] {
            i += 1;
        } else {
            j += 1;
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_run_alone_decides_is_replaced() {
        let cases = [
            (
                "x failed (code 23) at main.c(1394) [sender=3.5.0]",
                "x failed (code 23) at * [sender=*]",
            ),
            (
                "x failed (code 23) at livemirror [sender=0.1.0]\\#012",
                "x failed (code 23) at * [sender=*]\\#012",
            ),
            ("sent 1,2 bytes  received 3 bytes  4.00 bytes/sec", "sent *bytes/sec"),
            ("total size is 12  speedup is 0.50", "total size is 12  speedup is *"),
            (
                "\r  32 50% 1.0kB/s 0:00:01  \r  64 100% 2.1MB/s 0:00:00 (xfr#1, to-chk=0/1)",
                "\\r64 100% * * (xfr#1, to-chk=0/1)",
            ),
            ("open \"/tmp/r/d/.f.Ab3dEf\" failed", "open \"$T/d/.f.*\" failed"),
            ("hash_hits=7  false_alarms=1", "hash_hits=*  false_alarms=1"),
            ("meet me at noon", "meet me at noon"),
        ];
        for (raw, expected) in cases {
            let places = [("/tmp/r".to_owned(), "$T")];
            assert_eq!(normalise(format!("{raw}\n").as_bytes(), &places), [expected]);
        }
    }

    #[test]
    fn each_speaker_keeps_an_order() {
        let lines = |text: &str| text.split(',').map(str::to_owned).collect::<Vec<_>>();
        let one = lines("a,b is uptodate,c,*deleting   d,backed up a to b");
        let other = lines("backed up a to b,b is uptodate,*deleting   d,a,c");
        assert_eq!(by_speaker(&one), by_speaker(&other));
        assert_ne!(by_speaker(&one), by_speaker(&lines("c,a,b is uptodate,*deleting   d")));
        assert_ne!(by_speaker(&one), by_speaker(&lines("a,c,*deleting   d,b is uptodate")));
    }

    #[test]
    fn a_difference_shows_only_lines_that_differ() {
        let lines = |text: &str| text.split(' ').map(str::to_owned).collect::<Vec<_>>();
        assert!(difference(&lines("a b"), &lines("a b")).is_empty());
        assert_eq!(difference(&lines("a b c d"), &lines("a c x d")), ["- b", "+ x"]);
    }
}
