//! One filter rule: its pattern, what it does, and whether a name matches it.
//!
//! Made by [`super::parse`], held by [`super::list`] and [`super::perdir`], written to the peer by
//! [`super::wire_form`]. [`PathPattern`] alone also serves [`super::requested`].
//!
//! Which part of a path a pattern is compared with:
//!
//! 1. No `/` and no `**` in it: the last component.
//! 2. It began with `/`: the whole path, from the anchor on.
//! 3. It begins with `**`: the whole path with a `/` in front.
//! 4. It has `**` elsewhere: every tail of the path that begins a component.
//! 5. Otherwise: as many last components as the pattern has.
//!
//! "The path" is relative to the transfer root, or absolute for rules with the `/` modifier. A
//! pattern ending in `***` sees a directory's path with a `/` added, so that it also matches the
//! directory itself.

use super::Side;
use super::wildmatch::{Glob, has_double_star, has_wildcard};
use std::cell::OnceCell;

/// The name a rule is asked about.
pub(crate) struct Subject<'a> {
    /// Relative to the transfer root, without leading or trailing `/`.
    pub(crate) name: &'a [u8],
    pub(crate) is_dir: bool,
    /// Absolute path of the transfer root; begins with `/`.
    root: &'a [u8],
    full: OnceCell<Vec<u8>>,
}

impl<'a> Subject<'a> {
    pub(crate) fn new(name: &'a [u8], is_dir: bool, root: &'a [u8]) -> Self {
        Subject { name, is_dir, root, full: OnceCell::new() }
    }

    /// The absolute path, without its leading `/`.
    fn full(&self) -> &[u8] {
        let path = self.full.get_or_init(|| join(self.root, self.name));
        path.strip_prefix(b"/").unwrap_or(path)
    }
}

/// `dir/name`, where a `dir` of `/` does not double the slash.
pub(crate) fn join(dir: &[u8], name: &[u8]) -> Vec<u8> {
    let slash: &[u8] = if dir.ends_with(b"/") { b"" } else { b"/" };
    [dir, slash, name].concat()
}

/// What follows the last `/`.
pub(crate) fn last_component(path: &[u8]) -> &[u8] {
    path.rsplit(|b| *b == b'/').next().unwrap_or(path)
}

#[derive(Clone, PartialEq, Eq, Debug)]
enum Body {
    /// Compared byte by byte; `\` is ordinary.
    Plain,
    Wild(Glob),
}

/// A pattern with its anchoring, apart from what a rule does with it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct PathPattern {
    /// The pattern as written, without a trailing slash.
    text: Vec<u8>,
    dir_only: bool,
    body: Body,
    anchored: bool,
    double: bool,
    leading_double: bool,
    /// Ends in three or more stars.
    subtree: bool,
    /// Number of `/` in the text, the anchoring one not counted.
    slashes: usize,
}

impl PathPattern {
    /// Any byte string is a pattern; one trailing `/` restricts it to directories.
    pub(crate) fn new(written: &[u8]) -> PathPattern {
        let (text, dir_only) = match written {
            [text @ .., b'/'] if !text.is_empty() => (text, true),
            _ => (written, false),
        };
        let (inner, anchored) = match text.strip_prefix(b"/") {
            Some(inner) => (inner, true),
            None => (text, false),
        };
        let wild = has_wildcard(text);
        let double = wild && has_double_star(inner);
        PathPattern {
            body: if wild { Body::Wild(Glob::new(inner)) } else { Body::Plain },
            anchored,
            double,
            leading_double: double && inner.starts_with(b"**"),
            subtree: text.ends_with(b"***"),
            slashes: inner.iter().filter(|b| **b == b'/').count(),
            dir_only,
            text: text.to_vec(),
        }
    }

    pub(crate) fn written(&self) -> Vec<u8> {
        let slash: &[u8] = if self.dir_only { b"/" } else { b"" };
        [self.text.as_slice(), slash].concat()
    }

    /// Whether the pattern names places in a path rather than last components.
    pub(crate) fn has_slash(&self) -> bool {
        self.anchored || self.slashes > 0
    }

    /// `path` has no leading `/`.
    pub(crate) fn matches(&self, path: &[u8], is_dir: bool) -> bool {
        if self.dir_only && !is_dir {
            return false;
        }
        match &self.body {
            Body::Plain => self.matches_plain(path),
            Body::Wild(glob) if self.double => {
                let rooted = self.leading_double && !self.anchored;
                let front: &[u8] = if rooted { b"/" } else { b"" };
                let back: &[u8] = if self.subtree && is_dir { b"/" } else { b"" };
                let text = front.iter().chain(path).chain(back).copied();
                glob.matches_pieces(text, !self.anchored && !rooted)
            }
            Body::Wild(glob) if self.anchored => glob.matches(path),
            Body::Wild(glob) => {
                last_components(path, self.slashes).is_some_and(|tail| glob.matches(tail))
            }
        }
    }

    fn matches_plain(&self, path: &[u8]) -> bool {
        if self.anchored {
            return self.text.get(1..) == Some(path);
        }
        match path.strip_suffix(self.text.as_slice()) {
            Some(before) => before.is_empty() || before.ends_with(b"/"),
            None => false,
        }
    }
}

/// The last `slashes + 1` components of `path`; none if it has fewer. (A pattern can have more
/// slashes than it matches: those inside a set.)
fn last_components(path: &[u8], slashes: usize) -> Option<&[u8]> {
    let mut found = memchr::memrchr_iter(b'/', path);
    match found.nth(slashes) {
        Some(at) => path.get(at + 1..),
        None if memchr::memchr_iter(b'/', path).count() == slashes => Some(path),
        None => None,
    }
}

/// For which side a rule was marked. Both marks and none differ under `--delete-excluded` only.
#[derive(Copy, Clone, PartialEq, Eq, Default, Debug)]
pub(crate) struct SideMarks {
    pub(crate) sender: bool,
    pub(crate) receiver: bool,
}

impl SideMarks {
    pub(crate) fn any(self) -> bool {
        self.sender || self.receiver
    }

    /// Whether a rule so marked acts for `side`; without mark it acts for both, or for the sender
    /// alone if excluded names are to be deleted.
    pub(crate) fn acts_for(self, side: Side, delete_excluded: bool) -> bool {
        match side {
            Side::Sender => self.sender || !self.receiver,
            Side::Receiver => self.receiver || (!self.sender && !delete_excluded),
        }
    }
}

/// An include or exclude rule.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct FilterRule {
    pub(crate) pattern: PathPattern,
    pub(crate) include: bool,
    pub(crate) negate: bool,
    /// Compared with the absolute path.
    pub(crate) absolute: bool,
    /// Absolute path of the directory whose rule file holds this rule, if the pattern is anchored
    /// there. Compared literally: wildcards in a directory's name are no wildcards.
    pub(crate) anchor: Option<Vec<u8>>,
    pub(crate) perishable: bool,
    /// For names of extended attributes; never matches a file name.
    pub(crate) xattr: bool,
    pub(crate) marks: SideMarks,
    /// Read from a file: its text is not shown.
    pub(crate) from_file: bool,
}

impl FilterRule {
    pub(crate) fn plain(include: bool, written: &[u8]) -> FilterRule {
        FilterRule {
            pattern: PathPattern::new(written),
            include,
            negate: false,
            absolute: false,
            anchor: None,
            perishable: false,
            xattr: false,
            marks: SideMarks::default(),
            from_file: false,
        }
    }

    /// Whether a name that matches is included.
    pub fn includes(&self) -> bool {
        self.include
    }

    pub(crate) fn matches(&self, subject: &Subject<'_>) -> bool {
        if self.xattr || subject.name.is_empty() {
            return false;
        }
        self.hits(subject) != self.negate
    }

    pub(crate) fn matches_xattr(&self, subject: &Subject<'_>) -> bool {
        self.xattr && self.hits(subject) != self.negate
    }

    fn hits(&self, subject: &Subject<'_>) -> bool {
        match &self.anchor {
            Some(anchor) => {
                let anchor = anchor.strip_prefix(b"/").unwrap_or(anchor);
                let below = match subject.full().strip_prefix(anchor) {
                    Some(rest) if anchor.is_empty() => Some(rest),
                    Some(rest) => rest.strip_prefix(b"/"),
                    None => None,
                };
                below.is_some_and(|path| self.pattern.matches(path, subject.is_dir))
            }
            None if self.absolute => self.pattern.matches(subject.full(), subject.is_dir),
            None => self.pattern.matches(subject.name, subject.is_dir),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(pattern: &str, path: &str, is_dir: bool, expected: bool) {
        let got = PathPattern::new(pattern.as_bytes()).matches(path.as_bytes(), is_dir);
        assert_eq!(got, expected, "{pattern:?} against {path:?}");
    }

    #[test]
    fn a_pattern_is_compared_with_its_part_of_the_path() {
        check("x", "a/x", false, true);
        check("x", "ax", false, false);
        check("/x", "a/x", false, false);
        check("a/x", "b/a/x", false, true);
        check("a/x", "ba/x", false, false);
        check("*/x", "a/b/x", false, true);
        check("/*/x", "a/b/x", false, false);
        check("**/x", "x", false, true);
        check("a**x", "b/a/c/x", false, true);
        check("a**x", "ba/c/x", false, false);
        check("x/", "x", false, false);
        check("x/", "x", true, true);
        check("d/***", "e/d", true, true);
        check("d/***", "e/d", false, false);
        check("d/***", "e/d/f", false, true);
        check("d/*****", "e/d", true, true);
        check("a\\b", "a\\b", false, true);
        check("a\\b*", "ab", false, true);
        check("[x/]", "x", false, false);
        check("[x/]", "a/x", false, false);
        check("/", "x", false, false);
    }

    #[test]
    fn an_anchor_is_literal() {
        let mut rule = FilterRule::plain(false, b"/f*");
        rule.anchor = Some(b"/src/d[x]".to_vec());
        assert!(rule.matches(&Subject::new(b"d[x]/foo", false, b"/src")));
        assert!(!rule.matches(&Subject::new(b"dx/foo", false, b"/src")));
        assert!(!rule.matches(&Subject::new(b"d[x]/e/foo", false, b"/src")));
    }
}
