//! The order both sides give a list.
//!
//! Names are compared component by component. A last component that is no directory sorts before
//! any directory; within a class bytes decide, a directory's component counting its slash. So a
//! directory is followed by its contents, files first. Old protocols compare whole names byte by
//! byte, whatever they name. Source: [flist-order].

use std::cmp::Ordering;

use crate::version::Protocol;

/// What a list is sorted by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// Component by component, as [`compare`] does.
    Components,
    /// The bytes of whole names.
    Bytes,
}

impl Order {
    /// The order of lists in a protocol.
    pub fn of(protocol: Protocol) -> Order {
        if protocol.sorts_components() { Order::Components } else { Order::Bytes }
    }

    /// Compares two names; `*_dir` tells whether each is a directory.
    pub fn compare(self, a: &[u8], a_dir: bool, b: &[u8], b_dir: bool) -> Ordering {
        match self {
            Order::Components => compare(a, a_dir, b, b_dir),
            Order::Bytes => a.cmp(b),
        }
    }
}

/// Compares two names by components; `*_dir` tells whether each is a directory.
pub fn compare(a: &[u8], a_dir: bool, b: &[u8], b_dir: bool) -> Ordering {
    let common = a.iter().zip(b).take_while(|(x, y)| x == y).count();
    let start = a[..common].iter().rposition(|&byte| byte == b'/').map_or(0, |at| at + 1);
    let (left, right) = (Part::of(&a[start..], a_dir), Part::of(&b[start..], b_dir));
    left.cmp(&right)
}

/// The first component of what is left of a name.
struct Part<'a> {
    /// Sorts as a directory.
    dir: bool,
    text: &'a [u8],
    /// More components follow.
    more: bool,
}

impl<'a> Part<'a> {
    fn of(rest: &'a [u8], is_dir: bool) -> Part<'a> {
        match rest.iter().position(|&byte| byte == b'/') {
            Some(at) => Part { dir: true, text: &rest[..at], more: true },
            None if is_dir && rest == b"." => Part { dir: false, text: b"", more: false },
            None => Part { dir: is_dir, text: rest, more: false },
        }
    }

    fn cmp(&self, other: &Part<'_>) -> Ordering {
        let class = self.dir.cmp(&other.dir);
        if class != Ordering::Equal {
            return class;
        }
        let texts = if self.dir {
            let slash = std::iter::once(&b'/');
            let other_slash = std::iter::once(&b'/');
            self.text.iter().chain(slash).cmp(other.text.iter().chain(other_slash))
        } else {
            self.text.cmp(other.text)
        };
        texts.then(self.more.cmp(&other.more))
    }
}
