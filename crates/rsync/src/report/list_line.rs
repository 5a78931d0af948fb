//! One line of `--list-only`, and the permission text it shares with the item formats.

use jiff::Timestamp;
use jiff::tz::TimeZone;

use super::number::format_number;

/// What a listing shows of one entry.
#[derive(Clone, Copy, Debug)]
pub struct ListItem<'a> {
    /// Name as transferred.
    pub name: &'a [u8],
    /// Type and permissions.
    pub mode: u32,
    /// Size in bytes.
    pub len: u64,
    /// Seconds since 1970.
    pub mtime: i64,
    /// Access time, when those are kept; inside, nothing for a directory.
    pub atime: Option<Option<i64>>,
    /// Target of a symbolic link, when links are kept.
    pub link_target: Option<&'a [u8]>,
}

/// The line without a newline. `human` widens the size's column unless it is 0. An entry of mode 0
/// is an argument that is missing and to be deleted.
pub fn render(item: &ListItem<'_>, human: u8, zone: &TimeZone) -> Vec<u8> {
    let size_width = if human == 0 { 11 } else { 14 };
    let mut line = if item.mode == 0 {
        // Permissions, size and times with the blanks between them.
        let times = if item.atime.is_some() { 40 } else { 20 };
        let width = 10 + 1 + size_width + times;
        format!("{:<width$} ", "*missing")
    } else {
        let size = format_number(i64::try_from(item.len).unwrap_or(i64::MAX), human);
        let time = time_text(item.mtime, ' ', zone);
        let mut line = format!("{} {size:>size_width$} {time} ", type_and_permissions(item.mode));
        if let Some(atime) = item.atime {
            let text = atime.map_or_else(String::new, |seconds| time_text(seconds, ' ', zone));
            line.push_str(&format!("{text:19} "));
        }
        line
    }
    .into_bytes();
    line.extend_from_slice(item.name);
    if let Some(target) = item.link_target {
        line.extend_from_slice(b" -> ");
        line.extend_from_slice(target);
    }
    line
}

/// `YYYY/MM/DD HH:MM:SS` with the given separator; a time out of range shows as the nearest one
/// that can be shown.
pub fn time_text(seconds: i64, separator: char, zone: &TimeZone) -> String {
    let bounded =
        seconds.clamp(Timestamp::MIN.as_second().saturating_add(1), Timestamp::MAX.as_second());
    let time = Timestamp::from_second(bounded).unwrap_or_default().to_zoned(zone.clone());
    format!(
        "{:04}/{:02}/{:02}{separator}{:02}:{:02}:{:02}",
        time.year(),
        time.month(),
        time.day(),
        time.hour(),
        time.minute(),
        time.second()
    )
}

/// `drwxr-xr-x`: ten characters.
pub fn type_and_permissions(mode: u32) -> String {
    let kind = match mode & 0o170_000 {
        0o040_000 => 'd',
        0o120_000 => 'l',
        0o060_000 => 'b',
        0o020_000 => 'c',
        0o140_000 => 's',
        0o010_000 => 'p',
        _ => '-',
    };
    format!("{kind}{}", permissions(mode))
}

/// `rwxr-xr-x`: nine characters, with `sS` and `tT` for the special bits.
pub fn permissions(mode: u32) -> String {
    let class = |shift: u32, special: bool, letter: char| {
        let bits = mode >> shift & 7;
        let execute = match (special, bits & 1 != 0) {
            (true, true) => letter,
            (true, false) => letter.to_ascii_uppercase(),
            (false, true) => 'x',
            (false, false) => '-',
        };
        let read = if bits & 4 != 0 { 'r' } else { '-' };
        let write = if bits & 2 != 0 { 'w' } else { '-' };
        [read, write, execute]
    };
    let owner = class(6, mode & 0o4000 != 0, 's');
    let group = class(3, mode & 0o2000 != 0, 's');
    let other = class(0, mode & 0o1000 != 0, 't');
    [owner, group, other].concat().into_iter().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(mode: u32, len: u64, target: Option<&[u8]>, human: u8) -> String {
        let mtime = 1_704_164_645;
        let item = ListItem { name: b"a", mode, len, mtime, atime: None, link_target: target };
        String::from_utf8(render(&item, human, &TimeZone::UTC)).unwrap()
    }

    #[test]
    fn lines_as_the_reference_prints_them() {
        let time = "2024/01/02 03:04:05";
        assert_eq!(line(0o104_755, 5, None, 1), format!("-rwsr-xr-x              5 {time} a"));
        assert_eq!(line(0o041_777, 4096, None, 0), format!("drwxrwxrwt        4096 {time} a"));
        assert_eq!(
            line(0o100_644, 3_000_000, None, 2),
            format!("-rw-r--r--          3.00M {time} a")
        );
        assert_eq!(
            line(0o120_777, 1, Some(b"b"), 1),
            format!("lrwxrwxrwx              1 {time} a -> b")
        );
        assert_eq!(line(0o102_644, 0, None, 1), format!("-rw-r-Sr--              0 {time} a"));
        assert_eq!(line(0, 0, None, 1), format!("{:<45} a", "*missing"));
    }

    #[test]
    fn times_beyond_the_calendar_do_not_fail() {
        assert!(time_text(i64::MAX, ' ', &TimeZone::UTC).starts_with("9999/"));
        assert!(!time_text(i64::MIN, ' ', &TimeZone::UTC).is_empty());
    }
}
