//! One batch: the names a transfer is given, made from dirty paths.
//!
//! Called by `run::sync`, carried out by `run::job`. Steps:
//! 1. an entry becomes its own name; sending a name also sends the directories above it, so their
//!    times follow;
//! 2. a name that is gone becomes its own name (the transfer deletes what is missing) and that of
//!    its directory; without deletions only that of its directory;
//! 3. a directory that came whole is listed apart, to be sent with everything in it;
//! 4. other names of a file with several names follow it.
//!
//! Not guaranteed: that a name still exists when it is sent.

use std::collections::BTreeSet;

use crate::aggregate::combine::{Dirty, Kind};
use crate::aggregate::queue::parent;

/// What one flight carries. Names are relative to the transfer's source argument.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Batch {
    /// Entries to send as they are, or to delete where missing; directories without content.
    pub names: Vec<Vec<u8>>,
    /// Directories to send with everything in them, deleting what else the target has there where
    /// deletions are propagated.
    pub subtrees: Vec<Vec<u8>>,
    /// The source directory itself has changed, and no name in `names` brings it along.
    pub root: bool,
    /// Among `names` are directories that are gone: what excludes protect in them must stay.
    pub gone_dirs: bool,
    /// What is there may be other files than the target has, of the same size and time.
    pub anew: bool,
}

impl Batch {
    /// Names in all parts.
    pub fn len(&self) -> usize {
        self.names.len() + self.subtrees.len() + usize::from(self.root)
    }

    /// Whether there is nothing to send.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// Makes a batch of `dirty` paths, in path order.
///
/// `linked` are further paths to send, `delete` says whether deletions are propagated, `prefix` is
/// the name of the source below the transfer's source argument, empty when they are the same.
pub fn plan(dirty: &[(Vec<u8>, Dirty)], linked: &[Vec<u8>], delete: bool, prefix: &[u8]) -> Batch {
    let mut batch = Batch::default();
    let mut names: BTreeSet<&[u8]> = linked.iter().map(Vec::as_slice).collect();
    for (path, what) in dirty {
        batch.anew |= what.anew;
        match what.kind {
            Kind::Subtree => batch.subtrees.push(name(prefix, path)),
            Kind::Entry => drop(names.insert(path)),
            Kind::Gone => {
                if delete {
                    names.insert(path);
                    batch.gone_dirs |= what.left_dir;
                }
                names.insert(parent(path));
            }
        }
    }
    if names.remove(&b""[..]) {
        if prefix.is_empty() {
            // A name at the top brings the source directory along.
            batch.root = !names.iter().any(|n| !n.contains(&b'/'));
        } else {
            batch.names.push(prefix.to_vec());
        }
    }
    batch.names.extend(names.into_iter().map(|path| name(prefix, path)));
    batch
}

/// The name of `path` in a transfer.
fn name(prefix: &[u8], path: &[u8]) -> Vec<u8> {
    match (prefix.is_empty(), path.contains(&b'/')) {
        (true, true) => path.to_vec(),
        // The leading dot makes the source directory itself an implied parent.
        (true, false) => [b"./", path].concat(),
        (false, _) => [prefix, b"/", path].concat(),
    }
}

/// The path of a name that a transfer reports as failed; `None` when it is none of the source's.
pub fn path_of<'a>(prefix: &[u8], name: &'a [u8]) -> Option<&'a [u8]> {
    let name = name.strip_prefix(b"./").unwrap_or(name);
    if prefix.is_empty() {
        return Some(if name == b"." { b"" } else { name });
    }
    match name.strip_prefix(prefix)? {
        [] => Some(b""),
        [b'/', rest @ ..] => Some(rest),
        _ => None,
    }
}

/// Names in one batch: enough to fill a connection, few enough to bound memory and to keep the
/// batches behind it from waiting long.
pub const BATCH_MAX: usize = 20_000;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::aggregate::combine::Wait;

    fn dirty(path: &str, kind: Kind, left_dir: bool) -> (Vec<u8>, Dirty) {
        let anew = kind != Kind::Entry;
        let what = Dirty { kind, left_dir, anew, wait: Wait::Ready, since: 0, tries: 0 };
        (path.as_bytes().to_vec(), what)
    }

    fn text(names: &[Vec<u8>]) -> String {
        names.iter().map(|n| String::from_utf8_lossy(n)).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn names_of_a_batch() {
        // A failure would mean a wrong deletion, or directory times that do not follow.
        let all = [
            dirty("d/e/new", Kind::Entry, false),
            dirty("d/old", Kind::Gone, false),
            dirty("moved", Kind::Subtree, false),
            dirty("swapped", Kind::Subtree, true),
            dirty("top", Kind::Gone, true),
        ];
        let with = plan(&all, &[b"x/link".to_vec()], true, b"");
        assert_eq!(text(&with.names), "./d d/e/new d/old ./top x/link");
        assert_eq!(text(&with.subtrees), "./moved ./swapped");
        assert!(with.gone_dirs && !with.root);
        let without = plan(&all, &[], false, b"");
        assert_eq!(text(&without.names), "./d d/e/new");
        assert_eq!(text(&without.subtrees), "./moved ./swapped");
        assert!(!without.gone_dirs);
        let below = plan(&all, &[], true, b"src");
        assert_eq!(text(&below.names), "src src/d src/d/e/new src/d/old src/top");
    }

    #[test]
    fn the_source_itself_goes_alone_or_with_a_name_at_its_top() {
        // A failure would leave the time of the top directory behind.
        assert!(plan(&[dirty("", Kind::Entry, false)], &[], true, b"").root);
        assert!(plan(&[dirty("gone", Kind::Gone, false)], &[], false, b"").root);
        let both = [dirty("", Kind::Entry, false), dirty("f", Kind::Entry, false)];
        assert!(!plan(&both, &[], true, b"").root);
    }

    #[test]
    fn failed_names_become_paths_again() {
        // A failure would requeue the wrong path.
        assert_eq!(path_of(b"", b"./a"), Some(&b"a"[..]));
        assert_eq!(path_of(b"", b"."), Some(&b""[..]));
        assert_eq!(path_of(b"src", b"src/a/b"), Some(&b"a/b"[..]));
        assert_eq!(path_of(b"src", b"srcx/a"), None);
        assert_eq!(path_of(b"src", b"src"), Some(&b""[..]));
    }
}
