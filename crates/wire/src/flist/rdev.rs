//! Numbers of devices, of which each generation of the protocol has its own form ([flist-rdev]).
//!
//! First one number with all of it; then major and minor, the minor of one byte where that holds it;
//! then both of variable length. The major number, and once the whole, is left out where it is the
//! one before.

use crate::codec::{ByteSource, get_number, get_u32, put_number, put_u32};
use crate::flist::entry::Entry;
use crate::flist::flags::{FlistOptions, Previous, RDEV_MINOR_8, SAME_RDEV, SAME_RDEV_MAJOR};

/// The flags that say what is left out.
pub(crate) fn flags(opts: &FlistOptions, last: &Previous, entry: &Entry) -> u32 {
    let protocol = opts.protocol;
    let (major, minor) = number(entry);
    if !protocol.has_wide_flags() {
        let same = entry.is_special() || joined(major, minor) == last.rdev;
        return if same { SAME_RDEV } else { 0 };
    }
    let same = entry.is_special() || major == last.rdev_major;
    let short = !protocol.has_varints() && minor <= 0xff;
    (if same { SAME_RDEV_MAJOR } else { 0 }) | if short { RDEV_MINOR_8 } else { 0 }
}

/// Appends what the flags leave.
pub(crate) fn put(
    out: &mut Vec<u8>,
    opts: &FlistOptions,
    last: &mut Previous,
    word: u32,
    entry: &Entry,
) {
    let (major, minor) = number(entry);
    if !opts.protocol.has_wide_flags() {
        if word & SAME_RDEV == 0 {
            last.rdev = joined(major, minor);
            put_u32(out, last.rdev);
        }
        return;
    }
    if word & SAME_RDEV_MAJOR == 0 {
        put_number(out, opts.protocol, major.cast_signed());
        last.rdev_major = major;
    }
    match !opts.protocol.has_varints() && word & RDEV_MINOR_8 != 0 {
        true => out.push(minor as u8),
        false => put_number(out, opts.protocol, minor.cast_signed()),
    }
}

/// Reads what the flags leave: major and minor number.
pub(crate) fn get<S: ByteSource>(
    src: &mut S,
    opts: &FlistOptions,
    last: &mut Previous,
    word: u32,
) -> Result<(u32, u32), S::Error> {
    if !opts.protocol.has_wide_flags() {
        if word & SAME_RDEV == 0 {
            last.rdev = get_u32(src)?;
        }
        return Ok(parted(last.rdev));
    }
    if word & SAME_RDEV_MAJOR == 0 {
        last.rdev_major = get_number(src, opts.protocol)?.cast_unsigned();
    }
    let minor = match !opts.protocol.has_varints() && word & RDEV_MINOR_8 != 0 {
        true => u32::from(src.byte()?),
        false => get_number(src, opts.protocol)?.cast_unsigned(),
    };
    Ok((last.rdev_major, minor))
}

fn number(entry: &Entry) -> (u32, u32) {
    if entry.is_special() { (0, 0) } else { entry.rdev }
}

/// The low 32 bits of the number that Linux makes of both.
fn joined(major: u32, minor: u32) -> u32 {
    minor & 0xff | (major & 0xfff) << 8 | (minor & 0xfff00) << 12
}

fn parted(number: u32) -> (u32, u32) {
    (number >> 8 & 0xfff, number & 0xff | number >> 12 & 0xfff00)
}
