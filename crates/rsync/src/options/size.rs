//! Sizes and numbers as options take them: `1.5m`, `10kB`, `700`, `1g-1`, `0x10`.
//!
//! Pure text to number. `parse` puts the option's name into the message.

/// Why a size was not accepted; the caller words it with the option's name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SizeError {
    /// Not of the form.
    Invalid,
    /// Negative, or beyond the bound; the text names the bound when there is one below 2^63.
    TooLarge(String),
    /// Below the bound.
    TooSmall(String),
}

impl SizeError {
    /// The sentence after `--OPT=VALUE is `.
    pub fn text(&self) -> String {
        match self {
            SizeError::Invalid => "invalid".to_owned(),
            SizeError::TooLarge(bound) => format!("too large{bound}"),
            SizeError::TooSmall(bound) => format!("too small{bound}"),
        }
    }
}

/// Reads `DIGITS[.DIGITS][UNIT][+1|-1]`. `unit` is the unit of a bare number, one of `bkmgtp`.
/// The result is at most `max`, which is 2^63 - 1 for "no bound".
pub fn parse_size(text: &[u8], unit: u8, max: i64) -> Result<i64, SizeError> {
    let too_large = || {
        let bound = if max == i64::MAX { String::new() } else { format!(" (max: {})", short(max)) };
        SizeError::TooLarge(bound)
    };
    let (negative, text) = match text {
        [b'-', rest @ ..] if starts_number(rest) && rest != b"0" => (true, rest),
        _ => (false, text),
    };
    if negative {
        return Err(too_large());
    }
    let (whole, rest) = digits(text);
    let (fraction, rest) = match rest {
        [b'.', after @ ..] => digits(after),
        _ => (&text[..0], rest),
    };
    let (factor, rest) = unit_factor(rest, unit)?;
    let adjust: i128 = match rest {
        [] => 0,
        b"+1" => 1,
        b"-1" => -1,
        _ => return Err(SizeError::Invalid),
    };
    let value = scaled(whole, fraction, factor).ok_or_else(too_large)?;
    match i64::try_from(value + adjust) {
        Ok(value) if (0..=max).contains(&value) => Ok(value),
        _ => Err(too_large()),
    }
}

/// Reads `--bwlimit`: KiB without a unit, 0 for none, otherwise at least 512 bytes. Bytes per
/// second, rounded to whole KiB as the other side is told.
pub fn parse_bwlimit(text: &[u8]) -> Result<u64, SizeError> {
    let bytes = parse_size(text, b'k', i64::MAX)?;
    if bytes != 0 && bytes < 512 {
        return Err(SizeError::TooSmall(" (min: 512 or 0 for unlimited)".to_owned()));
    }
    Ok((bytes.unsigned_abs() + 512) / 1024 * 1024)
}

/// Reads `--max-alloc`: bytes without a unit, 0 for all there is, otherwise at least a MiB.
pub fn parse_max_alloc(text: &[u8]) -> Result<u64, SizeError> {
    let bytes = parse_size(text, b'b', i64::MAX)?;
    match bytes.unsigned_abs() {
        0 => Ok(MAX_ALLOC_MAX),
        1..0x10_0000 => Err(SizeError::TooSmall(" (min: 1.00M or 0 for unlimited)".to_owned())),
        bytes if bytes > MAX_ALLOC_MAX => Err(SizeError::TooLarge(String::new())),
        bytes => Ok(bytes),
    }
}

/// The greatest `--max-alloc`, in bytes.
const MAX_ALLOC_MAX: u64 = i64::MAX as u64 - 1;

/// Why a number was not accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NumberError {
    /// Not a number.
    Invalid,
    /// Not within 32 bits.
    Range,
}

impl NumberError {
    /// The words after `OPT: `.
    pub fn text(self) -> &'static str {
        match self {
            NumberError::Invalid => "invalid numeric value",
            NumberError::Range => "number too large or too small",
        }
    }
}

/// Reads an integer the way C does with base 0: blanks, sign, `0x` hexadecimal, `0` octal. The
/// empty text is 0.
pub fn parse_int(text: &[u8]) -> Result<i32, NumberError> {
    let blank = |b: &u8| b.is_ascii_whitespace() || *b == 0x0b;
    let start = text.iter().position(|b| !blank(b)).unwrap_or(text.len());
    let (negative, text) = match text.get(start..).unwrap_or_default() {
        [b'-', rest @ ..] => (true, rest),
        [b'+', rest @ ..] => (false, rest),
        rest if rest.is_empty() && start == 0 => return Ok(0),
        rest => (false, rest),
    };
    let (base, text) = match text {
        [b'0', b'x' | b'X', rest @ ..] if !rest.is_empty() => (16, rest),
        [b'0', rest @ ..] if !rest.is_empty() => (8, rest),
        _ => (10, text),
    };
    if text.is_empty() {
        return Err(NumberError::Invalid);
    }
    let mut value: i64 = 0;
    let mut range = false;
    for &b in text {
        let digit = char::from(b).to_digit(base).ok_or(NumberError::Invalid)?;
        match value.checked_mul(i64::from(base)).and_then(|v| v.checked_add(i64::from(digit))) {
            Some(next) => value = next,
            None => range = true,
        }
    }
    let value = if negative { -value } else { value };
    match i32::try_from(value) {
        Ok(value) if !range => Ok(value),
        _ => Err(NumberError::Range),
    }
}

/// Digits at the start and what follows them.
fn digits(text: &[u8]) -> (&[u8], &[u8]) {
    text.split_at(text.iter().position(|b| !b.is_ascii_digit()).unwrap_or(text.len()))
}

fn starts_number(text: &[u8]) -> bool {
    let text = text.strip_prefix(b".").unwrap_or(text);
    text.first().is_some_and(u8::is_ascii_digit)
}

/// `k`, `kB`, `KiB` ... to a factor and the rest of the text.
fn unit_factor(text: &[u8], default: u8) -> Result<(u128, &[u8]), SizeError> {
    let power = |unit: u8| b"bkmgtp".iter().position(|&u| u == unit.to_ascii_lowercase());
    let (unit, rest) = match text {
        [first, rest @ ..] if first.is_ascii_alphabetic() => (*first, rest),
        _ => (default, text),
    };
    let power = power(unit).ok_or(SizeError::Invalid)?;
    let (base, rest): (u128, _) = match rest {
        _ if rest.len() == text.len() => (1024, rest),
        [b'i' | b'I', b'b' | b'B', rest @ ..] => (1024, rest),
        [b'b' | b'B', rest @ ..] => (1000, rest),
        _ => (1024, rest),
    };
    Ok(((0..power).fold(1, |factor, _| factor * base), rest))
}

/// The number times the factor, truncated; `None` beyond any bound.
fn scaled(whole: &[u8], fraction: &[u8], factor: u128) -> Option<i128> {
    let mut value: u128 = 0;
    for &digit in whole {
        value = value.checked_mul(10)?.checked_add(u128::from(digit - b'0'))?;
    }
    value = value.checked_mul(factor)?;
    // Fifteen digits decide more than the largest unit can show.
    let (mut part, mut divisor): (u128, u128) = (0, 1);
    for &digit in fraction.iter().take(15) {
        part = part * 10 + u128::from(digit - b'0');
        divisor *= 10;
    }
    value = value.checked_add(part.checked_mul(factor)? / divisor)?;
    i128::try_from(value).ok()
}

/// A bound as messages show it: `512`, `128.00K`.
fn short(value: i64) -> String {
    crate::report::number::with_suffix(value as f64, 1024.0, 1024.0)
        .unwrap_or_else(|| value.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn size(text: &str) -> Result<i64, SizeError> {
        parse_size(text.as_bytes(), b'b', i64::MAX)
    }

    #[test]
    fn sizes_as_the_reference_reads_them() {
        for (text, value) in [
            ("5", 5),
            ("1k+1", 1025),
            ("1.5k-1", 1535),
            ("1.5KB", 1500),
            (".5k", 512),
            ("5.k", 5120),
            ("k", 0),
            ("", 0),
            (".", 0),
            ("5TiB", 5 << 40),
            ("5bb", 5),
            ("8191p", 8191 << 50),
        ] {
            assert_eq!(size(text), Ok(value), "{text}");
        }
        for text in ["abc", "1.5.2", "5kx", "5kI", "5+2", "-0", "-x", "+5", "5-", "0x10"] {
            assert_eq!(size(text), Err(SizeError::Invalid), "{text}");
        }
        for text in ["-5", "-5x", "-.5", "0-1", "-1", "8192p", "99999999999999999999p"] {
            assert_eq!(size(text), Err(SizeError::TooLarge(String::new())), "{text}");
        }
        let bound = parse_size(b"131073", b'b', 131_072).unwrap_err();
        assert_eq!(bound.text(), "too large (max: 128.00K)");
    }

    #[test]
    fn bandwidth_rounds_to_whole_kib() {
        for (text, value) in [("1", 1024), ("512b", 1024), ("1536b", 2048), ("1K-1", 1024)] {
            assert_eq!(parse_bwlimit(text.as_bytes()), Ok(value), "{text}");
        }
        assert!(matches!(parse_bwlimit(b"511b"), Err(SizeError::TooSmall(_))));
    }

    #[test]
    fn integers_as_c_reads_them() {
        for (text, value) in [("", 0), ("010", 8), ("0x10", 16), (" 5", 5), ("-5", -5), ("0", 0)] {
            assert_eq!(parse_int(text.as_bytes()), Ok(value), "{text}");
        }
        for text in ["x", "5k", "5 ", "-", " "] {
            assert_eq!(parse_int(text.as_bytes()), Err(NumberError::Invalid), "{text}");
        }
        for text in ["99999999999", "-99999999999", "2147483648", "999999999999999999999999"] {
            assert_eq!(parse_int(text.as_bytes()), Err(NumberError::Range), "{text}");
        }
    }
}
