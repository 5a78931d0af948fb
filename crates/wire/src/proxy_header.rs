//! The header that a proxy in front of a daemon puts before a client's bytes (`[proxy-header]`): it
//! tells whom the proxy speaks for.
//!
//! Pure: the caller reads byte by byte until [`parse`] wants no more, so that nothing of what
//! follows is taken. Both versions of the header are read; the first twelve bytes decide. Whether a
//! peer may speak for others at all is the caller's business, before it reads anything.

use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::limits::{PROXY_BINARY_MAX, PROXY_LINE_MAX};

/// What the second version begins with.
const SIGNATURE: &[u8; 12] = b"\r\n\r\n\0\r\nQUIT\n";
/// Signature, version and command, family, length.
const BINARY_HEAD: usize = 16;

/// What the bytes read so far are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProxyStep {
    /// The beginning of a header.
    More,
    /// A whole header: the client's address, or none where the peer speaks for itself.
    Done(Option<IpAddr>),
    /// No header.
    Bad,
}

/// Judges the bytes read so far. Once it wants no more, reading on is a mistake.
pub fn parse(read: &[u8]) -> ProxyStep {
    match read.get(..SIGNATURE.len()) {
        None => ProxyStep::More,
        Some(start) if start == SIGNATURE => binary(read),
        Some(start) if start.starts_with(b"PROXY ") => line(read),
        Some(_) => ProxyStep::Bad,
    }
}

/// Version 2: a byte of version and command, one of family, a length of two bytes, addresses.
fn binary(read: &[u8]) -> ProxyStep {
    let Some((head, body)) = read.split_at_checked(BINARY_HEAD) else { return ProxyStep::More };
    let [.., command, family, high, low] = head else { return ProxyStep::Bad };
    let len = usize::from(u16::from_be_bytes([*high, *low]));
    if BINARY_HEAD + len > PROXY_BINARY_MAX {
        return ProxyStep::Bad;
    }
    if body.len() < len {
        return ProxyStep::More;
    }
    let client = match (*command, *family) {
        // The proxy itself, as when it looks whether the daemon is there.
        (0x20, _) => None,
        (0x21, 0x11) if len != 12 => return ProxyStep::Bad,
        (0x21, 0x21) if len != 36 => return ProxyStep::Bad,
        (0x21, 0x11) => body.first_chunk::<4>().map(|bytes| Ipv4Addr::from(*bytes).into()),
        (0x21, 0x21) => body.first_chunk::<16>().map(|bytes| Ipv6Addr::from(*bytes).into()),
        // Families that have no address here.
        (0x21, _) => None,
        _ => return ProxyStep::Bad,
    };
    ProxyStep::Done(client)
}

/// Version 1: `PROXY TCP4|TCP6 SOURCE DESTINATION PORT PORT` or `PROXY UNKNOWN` and anything, and the
/// end of a line.
fn line(read: &[u8]) -> ProxyStep {
    let Some(text) = read.strip_suffix(b"\n") else {
        return if read.len() < PROXY_LINE_MAX { ProxyStep::More } else { ProxyStep::Bad };
    };
    let text = text.strip_suffix(b"\r").and_then(|text| std::str::from_utf8(text).ok());
    let Some(text) = text.and_then(|text| text.strip_prefix("PROXY ")) else {
        return ProxyStep::Bad;
    };
    if text.bytes().any(|byte| byte < b' ') {
        return ProxyStep::Bad;
    }
    if text.starts_with("UNKNOWN") {
        return ProxyStep::Done(None);
    }
    let words: Vec<&str> = text.split(' ').collect();
    let ["TCP4" | "TCP6", source, destination, from, to] = words.as_slice() else {
        return ProxyStep::Bad;
    };
    match (source.parse(), destination.parse::<IpAddr>()) {
        (Ok(source), Ok(_)) if is_port(from) && is_port(to) => ProxyStep::Done(Some(source)),
        _ => ProxyStep::Bad,
    }
}

/// A number other than 0. The ports have no use, and the reference takes numbers that are none.
fn is_port(text: &str) -> bool {
    text.parse::<u32>().is_ok_and(|port| port != 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The judgement, and how many bytes it took.
    fn judge(bytes: &[u8]) -> (ProxyStep, usize) {
        let mut steps = (0..=bytes.len()).map(|len| (parse(&bytes[..len]), len));
        let end = (ProxyStep::More, bytes.len());
        steps.find(|(step, _)| *step != ProxyStep::More).unwrap_or(end)
    }

    fn done(address: &str) -> ProxyStep {
        ProxyStep::Done(Some(address.parse().unwrap()))
    }

    fn binary(command: u8, family: u8, body: &[u8]) -> Vec<u8> {
        let len = u16::try_from(body.len()).unwrap().to_be_bytes();
        [&SIGNATURE[..], &[command, family], &len, body].concat()
    }

    #[test]
    fn lines_name_the_client_and_end_where_they_end() {
        for (text, expected) in [
            ("PROXY TCP4 10.1.2.3 10.9.9.9 1234 873\r\n", done("10.1.2.3")),
            ("PROXY TCP6 2001:db8::7 ::1 1 2\r\n", done("2001:db8::7")),
            ("PROXY UNKNOWN\r\n", ProxyStep::Done(None)),
            ("PROXY UNKNOWN ff ff 1 2\r\n", ProxyStep::Done(None)),
            ("PROXY TCP4 10.1.2.3 10.9.9.9 1234 873\n", ProxyStep::Bad),
            ("PROXY TCP4 10.1.2.3 10.9.9.9 0 873\r\n", ProxyStep::Bad),
            ("PROXY TCP4 10.1.2.3 10.9.9.9 1 -1\r\n", ProxyStep::Bad),
            ("PROXY TCP4 10.1.2 10.9.9.9 1 2\r\n", ProxyStep::Bad),
            ("PROXY TCP4  10.1.2.3 10.9.9.9 1 2\r\n", ProxyStep::Bad),
            ("PROXY TCP4 10.1.2.3 10.9.9.9 1 2 \r\n", ProxyStep::Bad),
            ("PROXY TCP6 fe80::1%lo ::1 1 2\r\n", ProxyStep::Bad),
            ("PROXY UNKNOWN a\rb\r\n", ProxyStep::Bad),
            ("GET / HTTP/1.0\r\n", ProxyStep::Bad),
            ("PROXY", ProxyStep::More),
        ] {
            let (step, taken) = judge(format!("{text}@RSYNCD: 32.0\n").as_bytes());
            assert_eq!(step, if text == "PROXY" { ProxyStep::Bad } else { expected }, "{text}");
            assert!(step == ProxyStep::Bad || taken == text.len(), "{text}: {taken}");
            assert_eq!(judge(text.as_bytes()).0, expected, "{text}");
        }
    }

    #[test]
    fn a_line_is_bounded() {
        for (len, whole) in [(PROXY_LINE_MAX, true), (PROXY_LINE_MAX + 1, false)] {
            let fill = "x".repeat(len - "PROXY UNKNOWN \r\n".len());
            let text = format!("PROXY UNKNOWN {fill}\r\n");
            let (step, taken) = judge(text.as_bytes());
            assert_eq!((step == ProxyStep::Done(None), taken), (whole, PROXY_LINE_MAX));
        }
    }

    #[test]
    fn binary_headers_name_the_client() {
        let four = [10, 1, 2, 3, 10, 9, 9, 9, 4, 210, 3, 105];
        let mut six = [0; 36];
        six[15] = 5;
        for (bytes, expected) in [
            (binary(0x21, 0x11, &four), done("10.1.2.3")),
            (binary(0x21, 0x21, &six), done("::5")),
            (binary(0x20, 0x11, &four), ProxyStep::Done(None)),
            (binary(0x20, 0, &[]), ProxyStep::Done(None)),
            (binary(0x21, 0x31, &[0; 216]), ProxyStep::Done(None)),
            (binary(0x21, 0x31, &[0; 217]), ProxyStep::Bad),
            (binary(0x20, 0, &[0; 65535]), ProxyStep::Bad),
            (binary(0x21, 0x11, &four[..8]), ProxyStep::Bad),
            (binary(0x21, 0x11, &[&four[..], b"\x04\0\x01x"].concat()), ProxyStep::Bad),
            (binary(0x22, 0x11, &four), ProxyStep::Bad),
            (binary(0x11, 0x11, &four), ProxyStep::Bad),
            (binary(0x21, 0x11, &four)[..20].to_vec(), ProxyStep::More),
        ] {
            assert_eq!(judge(&bytes).0, expected, "{}", bytes.escape_ascii());
        }
    }
}
