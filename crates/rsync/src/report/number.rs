//! Numbers as the human level shows them. Pure; used by summary, progress, formats and listings.
//!
//! Level 0 is plain digits, 1 groups of three, 2 and 3 a suffix with powers of 1000 and 1024.

/// An integer at a human level.
pub fn format_number(value: i64, human: u8) -> String {
    match suffix_at(value as f64, human) {
        Some(text) => text,
        None if human == 0 => value.to_string(),
        None => grouped(&value.to_string()),
    }
}

/// A number with `decimals` places at a human level; a suffix always shows two.
pub fn format_decimal(value: f64, decimals: usize, human: u8) -> String {
    match suffix_at(value, human) {
        Some(text) => text,
        None if human == 0 => format!("{value:.decimals$}"),
        None => grouped(&format!("{value:.decimals$}")),
    }
}

fn suffix_at(value: f64, human: u8) -> Option<String> {
    match human {
        0 | 1 => None,
        2 => with_suffix(value, 1000.0, 1000.0),
        _ => with_suffix(value, 1024.0, 1024.0),
    }
}

/// `value` divided by `base` until it is below it, with two decimals and K M G T P; `None` below
/// `least`.
pub fn with_suffix(value: f64, base: f64, least: f64) -> Option<String> {
    if value.abs() < least {
        return None;
    }
    let mut scaled = value / base;
    let mut units = "KMGTP".chars();
    let mut unit = units.next()?;
    while scaled.abs() >= base {
        match units.next() {
            Some(next) => unit = next,
            None => break,
        }
        scaled /= base;
    }
    Some(format!("{scaled:.2}{unit}"))
}

/// Puts a comma before every third digit of the whole part.
fn grouped(plain: &str) -> String {
    let (sign, rest) = match plain.strip_prefix('-') {
        Some(rest) => ("-", rest),
        None => ("", plain),
    };
    let (whole, fraction) = match rest.find('.') {
        Some(at) => rest.split_at(at),
        None => (rest, ""),
    };
    let mut text = String::from(sign);
    for (at, digit) in whole.chars().enumerate() {
        if at > 0 && (whole.len() - at) % 3 == 0 {
            text.push(',');
        }
        text.push(digit);
    }
    text.push_str(fraction);
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn four_levels() {
        let shown = |v| [0, 1, 2, 3].map(|human| format_number(v, human));
        assert_eq!(shown(4096), ["4096", "4,096", "4.10K", "4.00K"]);
        assert_eq!(shown(3_000_000), ["3000000", "3,000,000", "3.00M", "2.86M"]);
        assert_eq!(shown(999), ["999", "999", "999", "999"]);
        assert_eq!(shown(-1_234_567)[1], "-1,234,567");
        assert_eq!(format_number(i64::MAX, 2), "9223.37P");
    }

    #[test]
    fn decimals_are_grouped_too() {
        assert_eq!(format_decimal(6_002_084.0, 2, 1), "6,002,084.00");
        assert_eq!(format_decimal(318.0, 2, 0), "318.00");
        assert_eq!(format_decimal(18867.962, 2, 0), "18867.96");
        assert_eq!(format_decimal(5_998_000.0, 2, 3), "5.72M");
    }
}
