//! Which received names a pulling client asked for.
//!
//! A client that pulls asks this about every name of the received file list, so that a sender can
//! neither add files next to the wanted ones nor have a directory emptied that was not asked for.
//! Not used where the peer is trusted by option, where the list of names is at the sender, on a
//! server, and for local copies.
//!
//! Each argument becomes anchored patterns:
//!
//! 1. A daemon's argument loses its module.
//! 2. With `--relative` what follows `/./` counts, or all; otherwise the last component.
//! 3. That name is allowed; with `--relative` its parents are, as directories that hold nothing of
//!    their own.
//! 4. What lies below is allowed with recursion, one level of it with `--dirs`. An argument that
//!    names the contents of a directory has the top as its name.

use super::rule::{PathPattern, last_component};
use super::wildmatch::has_wildcard;
use std::collections::HashSet;

/// What the options make of the arguments.
#[derive(Copy, Clone, PartialEq, Eq, Default, Debug)]
pub struct RequestShape {
    /// `--relative`.
    pub relative: bool,
    /// `--recursive`.
    pub recurse: bool,
    /// `--dirs` (without recursion).
    pub dirs: bool,
    /// The arguments begin with a module name.
    pub module_first: bool,
    /// The arguments are names from a local `--files-from` list: no wildcards.
    pub literal: bool,
}

/// How a received name relates to the request.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub enum RequestVerdict {
    /// Asked for.
    Requested,
    /// A parent of what was asked for. Whatever its flags say, it is no content directory: nothing
    /// may be deleted in it.
    ImpliedParent,
    /// To be refused: `rejecting unrequested file-list name`, exit 4.
    Unrequested,
}

/// The names that a request covers. Names without wildcards are looked up, so that a list of a
/// million names costs no more per received name than one argument.
#[derive(Clone, Debug)]
pub struct RequestedNames {
    shape: RequestShape,
    /// The contents of some directory were asked for: the top is theirs.
    top: bool,
    names: HashSet<Vec<u8>>,
    parents: HashSet<Vec<u8>>,
    name_patterns: Vec<PathPattern>,
    parent_patterns: Vec<PathPattern>,
}

impl RequestedNames {
    /// Nothing requested yet.
    pub fn new(shape: RequestShape) -> RequestedNames {
        RequestedNames {
            shape,
            top: false,
            names: HashSet::new(),
            parents: HashSet::new(),
            name_patterns: Vec::new(),
            parent_patterns: Vec::new(),
        }
    }

    /// Adds one source argument, or one name of the list of names.
    pub fn add(&mut self, argument: &[u8]) {
        let name = self.transferred(argument);
        if name.is_empty() {
            self.top = true;
            return;
        }
        // Without --relative the name has no parents.
        for slash in memchr::memchr_iter(b'/', &name) {
            self.add_parent(name.get(..slash).unwrap_or_default());
        }
        if self.is_wild(&name) {
            let anchored = anchored(&name);
            let below: Option<&[u8]> = match (self.shape.recurse, self.shape.dirs) {
                (true, _) => Some(b"/**"),
                (false, true) => Some(b"/*"),
                (false, false) => None,
            };
            if let Some(below) = below {
                self.name_patterns.push(PathPattern::new(&[&anchored, below].concat()));
            }
            self.name_patterns.push(PathPattern::new(&anchored));
            // Only a file's own name can hold a set that is meant as it stands.
            if !name.contains(&b'[') {
                return;
            }
        }
        self.names.insert(name);
    }

    fn add_parent(&mut self, parent: &[u8]) {
        if self.is_wild(parent) {
            let pattern = PathPattern::new(&anchored(parent));
            if !self.parent_patterns.contains(&pattern) {
                self.parent_patterns.push(pattern);
            }
            if !parent.contains(&b'[') {
                return;
            }
        }
        // Neighbours in a list of names share most of their parents.
        if !self.parents.contains(parent) {
            self.parents.insert(parent.to_vec());
        }
    }

    fn is_wild(&self, name: &[u8]) -> bool {
        !self.shape.literal && has_wildcard(name)
    }

    /// Judges a received name, relative to the destination.
    pub fn judge(&self, name: &[u8], is_dir: bool) -> RequestVerdict {
        let name = name.strip_prefix(b"/").unwrap_or(name);
        if name == b"." {
            // Any list may begin with the top. It is a parent unless its contents were asked for:
            // otherwise a sender could have all of the destination deleted.
            return if self.top {
                RequestVerdict::Requested
            } else {
                RequestVerdict::ImpliedParent
            };
        }
        let covers = |patterns: &[PathPattern]| patterns.iter().any(|p| p.matches(name, is_dir));
        if self.names.contains(name) || self.is_below(name) || covers(&self.name_patterns) {
            RequestVerdict::Requested
        } else if is_dir && (self.parents.contains(name) || covers(&self.parent_patterns)) {
            RequestVerdict::ImpliedParent
        } else {
            RequestVerdict::Unrequested
        }
    }

    /// Whether the name lies in something asked for, as deep as the options go.
    fn is_below(&self, name: &[u8]) -> bool {
        let mut above = memchr::memrchr_iter(b'/', name).filter_map(|slash| name.get(..slash));
        match (self.shape.recurse, self.shape.dirs) {
            (true, _) => self.top || above.any(|dir| self.names.contains(dir)),
            (false, true) => match above.next() {
                Some(dir) => self.names.contains(dir),
                None => self.top,
            },
            (false, false) => false,
        }
    }

    /// The part of an argument that appears in received names, cleaned; empty for the top.
    fn transferred(&self, argument: &[u8]) -> Vec<u8> {
        let mut rest = argument;
        if self.shape.module_first {
            rest = match memchr::memchr(b'/', rest) {
                Some(slash) => rest.get(slash..).unwrap_or_default(),
                None => b"",
            };
        }
        if !self.shape.relative {
            let last = last_component(rest);
            return if matches!(last, b"." | b"..") { Vec::new() } else { last.to_vec() };
        }
        if let Some(dot) = memchr::memmem::find(rest, b"/./") {
            rest = rest.get(dot + 3..).unwrap_or_default();
        }
        let parts: Vec<&[u8]> =
            rest.split(|b| *b == b'/').filter(|part| !matches!(*part, b"" | b".")).collect();
        parts.join(&b'/')
    }
}

/// The pattern for a name with wildcards, bound to the top. Each `\` that does not escape a wildcard
/// is doubled, since the argument means it as itself.
fn anchored(name: &[u8]) -> Vec<u8> {
    let mut out = vec![b'/'];
    let mut rest = name;
    while let Some((&byte, tail)) = rest.split_first() {
        out.push(byte);
        rest = tail;
        if byte == b'\\' {
            match tail.split_first() {
                Some((&next @ (b'*' | b'?' | b'[' | b']' | b'\\'), after)) => {
                    out.push(next);
                    rest = after;
                }
                _ => out.push(b'\\'),
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::RequestVerdict::{ImpliedParent, Requested, Unrequested};
    use super::*;

    const RECURSE: RequestShape = RequestShape {
        relative: false,
        recurse: true,
        dirs: false,
        module_first: false,
        literal: false,
    };

    #[track_caller]
    fn check(shape: RequestShape, argument: &str, name: &str, expected: RequestVerdict) {
        let mut request = RequestedNames::new(shape);
        request.add(argument.as_bytes());
        let (name, is_dir) = match name.strip_suffix('/') {
            Some(name) => (name, true),
            None => (name, false),
        };
        assert_eq!(request.judge(name.as_bytes(), is_dir), expected, "{argument:?}: {name:?}");
    }

    #[test]
    fn the_last_component_and_what_is_below_count() {
        check(RECURSE, "a/b", "b", Requested);
        check(RECURSE, "a/b", "b/c/d", Requested);
        check(RECURSE, "a/b", "a", Unrequested);
        check(RECURSE, "a/b", "bc", Unrequested);
        check(RECURSE, "a/b/", "anything/at/all", Requested);
        check(RECURSE, "a/b/.", "x", Requested);
        check(RECURSE, "a/b", "./", ImpliedParent);
        check(RECURSE, "a/.*", "./", ImpliedParent);
        check(RECURSE, "a/b/", "./", Requested);
        check(RECURSE, "a/..", "./", Requested);
        check(RECURSE, "", "./", Requested);
        check(RECURSE, "a\\b", "a\\b/c", Requested);
        let flat = RequestShape { recurse: false, ..RECURSE };
        check(flat, "a/b", "b/c", Unrequested);
        let dirs = RequestShape { dirs: true, ..flat };
        check(dirs, "a/b/", "c", Requested);
        check(dirs, "a/b/", "c/d", Unrequested);
    }

    #[test]
    fn relative_names_imply_their_parents() {
        let relative = RequestShape { relative: true, ..RECURSE };
        check(relative, "/a/b/c", "a/", ImpliedParent);
        check(relative, "/a/b/c", "a", Unrequested);
        check(relative, "/a/b/c", "a/b/c/d", Requested);
        check(relative, "/a/b/c", "a/x", Unrequested);
        check(relative, "/a/./b//c/", "b/c", Requested);
        check(relative, "/a/./b/c", "a/", Unrequested);
        check(relative, "a/*/c", "a/x/", ImpliedParent);
    }

    #[test]
    fn modules_are_dropped_and_wildcards_count() {
        let module = RequestShape { module_first: true, ..RECURSE };
        check(module, "mod/a", "a", Requested);
        check(module, "mod", "x", Requested);
        check(module, "mod/a", "mod", Unrequested);
        check(RECURSE, "a/*.c", "x.c", Requested);
        check(RECURSE, "a/*.c", "x.h", Unrequested);
        check(RECURSE, "a/x[1]", "x1", Requested);
        check(RECURSE, "a/x[1]", "x[1]", Requested);
        check(RECURSE, "a/x[1]", "x[1]/y", Requested);
        check(RECURSE, "a/f\\oo*", "f\\oo", Requested);
        check(RECURSE, "a/f\\oo*", "foo", Unrequested);
        check(RECURSE, "a/f*\\oo", "f\\oo/x", Requested);
        check(RECURSE, "a/s\\*r", "s*r", Requested);
        check(RECURSE, "a/s\\*r", "sxr", Unrequested);
        let literal = RequestShape { literal: true, ..RECURSE };
        check(literal, "*.c", "x.c", Unrequested);
        check(literal, "*.c", "*.c", Requested);
    }
}
