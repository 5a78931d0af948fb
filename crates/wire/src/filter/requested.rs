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

/// The names that a request covers.
#[derive(Clone, Debug)]
pub struct RequestedNames {
    shape: RequestShape,
    wanted: Vec<PathPattern>,
    parents: Vec<PathPattern>,
}

impl RequestedNames {
    /// Nothing requested yet.
    pub fn new(shape: RequestShape) -> RequestedNames {
        RequestedNames { shape, wanted: Vec::new(), parents: Vec::new() }
    }

    /// Adds one source argument, or one name of the list of names.
    pub fn add(&mut self, argument: &[u8]) {
        let name = self.transferred(argument);
        if name.is_empty() {
            self.add_below(b"");
            return;
        }
        if self.shape.relative {
            for slash in memchr::memchr_iter(b'/', &name) {
                let parent = name.get(..slash).unwrap_or_default();
                for pattern in self.spellings(&[b"/", parent, b"/"].concat()) {
                    // Neighbours in a list of names share most of their parents.
                    if !self.parents.contains(&pattern) {
                        self.parents.push(pattern);
                    }
                }
            }
        }
        let anchored = [b"/".as_slice(), &name].concat();
        let spellings = self.spellings(&anchored);
        self.wanted.extend(spellings);
        self.add_below(&anchored);
    }

    /// Judges a received name, relative to the destination.
    pub fn judge(&self, name: &[u8], is_dir: bool) -> RequestVerdict {
        let name = name.strip_prefix(b"/").unwrap_or(name);
        let covers = |patterns: &[PathPattern]| patterns.iter().any(|p| p.matches(name, is_dir));
        if name == b"." || covers(&self.wanted) {
            RequestVerdict::Requested
        } else if covers(&self.parents) {
            RequestVerdict::ImpliedParent
        } else {
            RequestVerdict::Unrequested
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

    /// Allows what lies below `name`, which has a leading `/` or is empty.
    fn add_below(&mut self, name: &[u8]) {
        let below: &[u8] = match (self.shape.recurse, self.shape.dirs) {
            (true, _) => b"/**",
            (false, true) => b"/*",
            (false, false) => return,
        };
        if has_wildcard(name) {
            if !self.shape.literal {
                let text = [&escape_stray(name), below].concat();
                self.wanted.push(PathPattern::new(&text));
            }
            if self.shape.literal || name.contains(&b'[') {
                self.wanted.push(PathPattern::new(&[&escape_all(name), below].concat()));
            }
        } else {
            self.wanted.push(PathPattern::new(&[&escape_all(name), below].concat()));
        }
    }

    /// The patterns for one anchored name: as a wildcard if it has any, and literally where it may
    /// be meant so.
    fn spellings(&self, name: &[u8]) -> Vec<PathPattern> {
        if self.shape.literal || !has_wildcard(name) {
            return vec![PathPattern::literal(name)];
        }
        let mut patterns = vec![PathPattern::new(&escape_stray(name))];
        if name.contains(&b'[') {
            patterns.push(PathPattern::literal(name));
        }
        patterns
    }
}

/// Doubles each `\` that does not escape a wildcard, since the argument means it as itself.
fn escape_stray(name: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(name.len());
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

/// Makes every byte stand for itself in a pattern that has a wildcard elsewhere.
fn escape_all(name: &[u8]) -> Vec<u8> {
    let special = |b: &u8| matches!(b, b'\\' | b'*' | b'?' | b'[');
    name.iter().flat_map(|b| special(b).then_some(b'\\').into_iter().chain([*b])).collect()
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
        check(RECURSE, "a/b", ".", Requested);
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
        let literal = RequestShape { literal: true, ..RECURSE };
        check(literal, "*.c", "x.c", Unrequested);
        check(literal, "*.c", "*.c", Requested);
    }
}
