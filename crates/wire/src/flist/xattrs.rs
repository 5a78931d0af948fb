//! Extended attributes: the lists that entries carry, and the exchange of long values.
//!
//! A list travels once and is named by its number from then on. A value of more than
//! [`XATTR_FULL_MAX`] bytes is announced by its MD5; a generator that lacks it asks for it by the
//! item's number, counted from 1 in the list as it travelled, and the sender's echo brings it.

use crate::checksum::strong::ChecksumKind;
use crate::codec::{ByteSource, get_varint, put_varint};
use crate::error::Error;
use crate::exit::ExitCode;
use crate::limits::{
    XATTR_COUNT_MAX, XATTR_FULL_MAX, XATTR_LIST_BYTES_MAX, XATTR_NAME_MAX, XATTR_VALUE_MAX,
};

/// Length of the digest in the place of a long value.
const DIGEST_LEN: usize = 16;

/// A value as it travels with an entry.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum XattrValue {
    /// All of it.
    Whole(Vec<u8>),
    /// Length in bytes and MD5 of a long one.
    Digest(usize, [u8; DIGEST_LEN]),
}

impl XattrValue {
    /// The form in which a value travels.
    pub fn of(value: &[u8]) -> XattrValue {
        if value.len() <= XATTR_FULL_MAX {
            return XattrValue::Whole(value.to_vec());
        }
        XattrValue::Digest(value.len(), digest(value))
    }

    /// Whether it is that of these bytes.
    pub fn is_of(&self, value: &[u8]) -> bool {
        match self {
            XattrValue::Whole(own) => own == value,
            XattrValue::Digest(len, sum) => *len == value.len() && *sum == digest(value),
        }
    }
}

fn digest(value: &[u8]) -> [u8; DIGEST_LEN] {
    let mut hasher = ChecksumKind::Md5.file_hasher();
    hasher.update(value);
    let mut out = [0; DIGEST_LEN];
    out.iter_mut().zip(hasher.finish().as_bytes()).for_each(|(to, from)| *to = *from);
    out
}

/// One attribute: name with its name space, without the NUL it travels with.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Xattr {
    /// `user.x`, `security.y`.
    pub name: Vec<u8>,
    /// Its value.
    pub value: XattrValue,
}

/// The attributes of an entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Xattrs {
    /// As a sender reads them, and as a list comes the first time; sorted by name when sent.
    List(Vec<Xattr>),
    /// The list of this number, counted from 0 over the whole connection.
    Number(u32),
}

/// Appends a list or, where it travelled before, its number. [flist-xattr]
pub(crate) fn put(out: &mut Vec<u8>, list: &[Xattr], known: Option<u32>) {
    if let Some(number) = known {
        put_varint(out, number.saturating_add(1).cast_signed());
        return;
    }
    put_varint(out, 0);
    put_varint(out, list.len() as i32);
    for item in list {
        put_varint(out, item.name.len() as i32 + 1);
        let (len, bytes): (usize, &[u8]) = match &item.value {
            XattrValue::Whole(value) => (value.len(), value),
            XattrValue::Digest(len, sum) => (*len, sum),
        };
        put_varint(out, len as i32);
        out.extend_from_slice(&item.name);
        out.push(0);
        out.extend_from_slice(bytes);
    }
}

/// Reads a list or a number below `known`. [flist-xattr]
pub(crate) fn get<S: ByteSource>(src: &mut S, known: u32) -> Result<Xattrs, S::Error> {
    let number = get_varint(src)?;
    if number != 0 {
        let at = u32::try_from(number).ok().and_then(|n| n.checked_sub(1)).filter(|n| *n < known);
        return at.map(Xattrs::Number).ok_or_else(|| {
            let text = format!("receive_xattr: xa index {number} out of range");
            Error::misbehaved(ExitCode::StreamIo, "flist-xattr", text).into()
        });
    }
    let count = bounded(get_varint(src)?, 0, XATTR_COUNT_MAX, "xattr count")?;
    let mut list = Vec::new();
    let mut total = 0_usize;
    for _ in 0..count {
        let name_len = bounded(get_varint(src)?, 1, XATTR_NAME_MAX, "xattr name_len")?;
        let len = bounded(get_varint(src)?, 0, XATTR_VALUE_MAX, "xattr datum_len")?;
        let mut name = src.read_vec(name_len)?;
        if name.pop() != Some(0) || name.is_empty() || name.contains(&0) {
            let text = "Invalid xattr name received (missing trailing \\0).";
            return Err(Error::malformed(ExitCode::StreamIo, "flist-xattr", text).into());
        }
        total = total.saturating_add(len);
        if total > XATTR_LIST_BYTES_MAX {
            let text = "the values of a list of extended attributes are too long";
            return Err(Error::misbehaved(ExitCode::Protocol, "flist-xattr", text).into());
        }
        let value = if len <= XATTR_FULL_MAX {
            XattrValue::Whole(src.read_vec(len)?)
        } else {
            let mut sum = [0; DIGEST_LEN];
            src.read_exact(&mut sum)?;
            XattrValue::Digest(len, sum)
        };
        list.push(Xattr { name, value });
    }
    Ok(Xattrs::List(list))
}

fn bounded(value: i32, min: usize, max: usize, what: &str) -> Result<usize, Error> {
    let found = usize::try_from(value).ok().filter(|value| (min..=max).contains(value));
    found.ok_or_else(|| {
        let text = format!("wire value {what} out of range: {value} not in [{min},{max}]");
        Error::misbehaved(ExitCode::Protocol, "flist-xattr", text)
    })
}

/// Appends a request for items, ascending numbers from 1. [xattr-request]
pub fn put_request(out: &mut Vec<u8>, items: &[u32]) {
    let mut last = 0;
    for item in items {
        put_varint(out, item.saturating_sub(last).cast_signed());
        last = *item;
    }
    out.push(0);
}

/// Reads a request: numbers up to `count`, in the order of the receiver's names, which are others
/// where it stores them under a prefix. They are given back ascending. [xattr-request]
pub fn get_request<S: ByteSource>(src: &mut S, count: usize) -> Result<Vec<u32>, S::Error> {
    let mut items = Vec::new();
    let mut last: u32 = 0;
    loop {
        let step = get_varint(src)?;
        if step == 0 {
            break;
        }
        let item = last.checked_add_signed(step).filter(|item| *item > 0 && items.len() < count);
        last = in_list(item, last, step, count)?;
        items.push(last);
    }
    items.sort_unstable();
    Ok(items)
}

/// Appends one value of the answer to a request. `last` is the number of the one before, 0 for
/// none. [xattr-answer]
pub fn put_answer(out: &mut Vec<u8>, last: u32, item: u32, value: &[u8]) {
    put_varint(out, item.saturating_sub(last).cast_signed());
    put_varint(out, value.len() as i32);
    out.extend_from_slice(value);
}

/// Appends the end of an answer. [xattr-answer]
pub fn end_answer(out: &mut Vec<u8>) {
    put_varint(out, 0);
}

/// Reads one value of an answer with its item's number; none at the end. [xattr-answer]
pub fn get_answer<S: ByteSource>(
    src: &mut S,
    last: u32,
    count: usize,
) -> Result<Option<(u32, Vec<u8>)>, S::Error> {
    let Some(item) = next_item(src, last, count)? else { return Ok(None) };
    let len = bounded(get_varint(src)?, 0, XATTR_VALUE_MAX, "xattr datum_len")?;
    Ok(Some((item, src.read_vec(len)?)))
}

fn next_item<S: ByteSource>(src: &mut S, last: u32, count: usize) -> Result<Option<u32>, S::Error> {
    let step = get_varint(src)?;
    if step == 0 {
        return Ok(None);
    }
    let item = u32::try_from(step).ok().and_then(|step| last.checked_add(step));
    Ok(Some(in_list(item, last, step, count)?))
}

fn in_list(item: Option<u32>, last: u32, step: i32, count: usize) -> Result<u32, Error> {
    item.filter(|item| *item as usize <= count).ok_or_else(|| {
        let text = format!("recv_xattr_request: could not find xattr #{last}+{step}");
        Error::misbehaved(ExitCode::Protocol, "xattr-request", text)
    })
}

#[cfg(test)]
#[path = "xattrs_tests.rs"]
mod tests;
