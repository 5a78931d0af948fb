//! Makes names and messages safe to show on a terminal.

/// Replaces control bytes, and unless `eight_bit` what is no text in the locale (`utf8`: UTF-8, else
/// ASCII), by `\#ooo`, where
/// `ooo` is octal. A backslash that would look like such a sequence is replaced too. Tabs stay, and
/// so do one carriage return at the start and one carriage return or newline at the end.
pub fn for_terminal(bytes: &[u8], eight_bit: bool, utf8: bool) -> Vec<u8> {
    let mut shown = Vec::with_capacity(bytes.len() + 1);
    let (start, rest) = match bytes {
        [b'\r', rest @ ..] => (&b"\r"[..], rest),
        _ => (&b""[..], bytes),
    };
    let (rest, end) = match rest {
        [rest @ .., last @ (b'\r' | b'\n')] => (rest, Some(*last)),
        _ => (rest, None),
    };
    shown.extend_from_slice(start);
    let mut at = 0;
    for chunk in rest.utf8_chunks() {
        for c in chunk.valid().chars() {
            let follows = rest.get(at + 1..).unwrap_or_default();
            let hidden = match c {
                '\t' => false,
                '\\' => looks_escaped(follows),
                // The controls of Latin-1 are two bytes here; with `-8` they pass like any others.
                _ if c.is_ascii() => c.is_control(),
                _ => !eight_bit && (!utf8 || c.is_control()),
            };
            push(&mut shown, c.encode_utf8(&mut [0; 4]).as_bytes(), hidden);
            at += c.len_utf8();
        }
        push(&mut shown, chunk.invalid(), !eight_bit);
        at += chunk.invalid().len();
    }
    shown.extend(end);
    shown
}

/// Whether the locale of the environment writes UTF-8.
pub fn locale_is_utf8() -> bool {
    let set = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
    let value = set("LC_ALL").or_else(|| set("LC_CTYPE")).or_else(|| set("LANG"));
    let value = value.unwrap_or_default().to_ascii_lowercase();
    value.contains("utf-8") || value.contains("utf8")
}

/// Whether what follows a backslash makes it look like the escape of a byte.
pub fn looks_escaped(follows: &[u8]) -> bool {
    matches!(follows, [b'#', a, b, c, ..] if [a, b, c].iter().all(|d| d.is_ascii_digit()))
}

fn push(shown: &mut Vec<u8>, bytes: &[u8], hidden: bool) {
    match hidden {
        true => bytes.iter().for_each(|b| shown.extend(format!("\\#{b:03o}").bytes())),
        false => shown.extend_from_slice(bytes),
    }
}

#[cfg(test)]
mod tests {
    use super::for_terminal;

    #[test]
    fn lines_as_the_reference_prints_them() {
        for (raw, shown, shown_8) in [
            (&b"x\ty\nz\n"[..], &b"x\ty\\#012z\n"[..], &b"x\ty\\#012z\n"[..]),
            (b"\xc3\xa9\xff", b"\xc3\xa9\\#377", b"\xc3\xa9\xff"),
            (b"\\#12 \\#128 \\x", b"\\#12 \\#134#128 \\x", b"\\#12 \\#134#128 \\x"),
            (b"\r 5%\r", b"\r 5%\r", b"\r 5%\r"),
            (b"a\x01\r\n", b"a\\#001\\#015\n", b"a\\#001\\#015\n"),
        ] {
            assert_eq!(for_terminal(raw, false, true), shown);
            assert_eq!(for_terminal(raw, true, true), shown_8);
        }
    }
}
