//! Names as types: where bytes from outside become usable below a root.
//!
//! Called by the roles for every name of a file list and by the rest of this crate, which takes
//! nothing else. A checked name says nothing about what exists: that is the business of the walk.

use std::borrow::Borrow;
use std::ops::Deref;

/// Longest path below a root, in bytes.
pub const PATH_LEN_MAX: usize = 4095;

/// What is wrong with a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PathError {
    /// It holds a NUL byte.
    #[error("a name cannot hold a NUL byte")]
    Nul,
    /// It begins with a slash.
    #[error("an absolute path where a relative one is needed")]
    Absolute,
    /// A single name holds a slash.
    #[error("a name cannot hold a slash")]
    Slash,
    /// It holds `..`.
    #[error("a path may not hold `..`")]
    Parent,
    /// It is empty, or has an empty or `.` component.
    #[error("a path may not hold empty or `.` components")]
    Empty,
    /// It is too long.
    #[error("a path of more than 4095 bytes")]
    TooLong,
}

/// One component: no slash, no NUL, neither `.` nor `..`.
#[derive(PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
#[repr(transparent)]
pub struct Name([u8]);

/// An owned [`Name`].
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct NameBuf(Vec<u8>);

/// A path relative to a root: components without `..`; `.` alone is the root itself.
#[derive(PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
#[repr(transparent)]
pub struct RelPath([u8]);

/// An owned [`RelPath`].
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct RelPathBuf(Vec<u8>);

impl Name {
    /// Checks one component.
    pub fn new(bytes: &[u8]) -> Result<&Name, PathError> {
        check_component(bytes)?;
        Ok(Name::wrap(bytes))
    }

    fn wrap(bytes: &[u8]) -> &Name {
        // SAFETY: `Name` is a transparent wrapper of `[u8]`, so the two references have the same
        // layout and lifetime.
        unsafe { &*(std::ptr::from_ref(bytes) as *const Name) }
    }

    /// The bytes.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

impl NameBuf {
    /// Checks and owns one component.
    pub fn new(bytes: &[u8]) -> Result<NameBuf, PathError> {
        check_component(bytes)?;
        Ok(NameBuf(bytes.to_vec()))
    }
}

impl Deref for NameBuf {
    type Target = Name;
    fn deref(&self) -> &Name {
        Name::wrap(&self.0)
    }
}

impl Borrow<Name> for NameBuf {
    fn borrow(&self) -> &Name {
        self
    }
}

impl ToOwned for Name {
    type Owned = NameBuf;
    fn to_owned(&self) -> NameBuf {
        NameBuf(self.0.to_vec())
    }
}

fn check_component(bytes: &[u8]) -> Result<(), PathError> {
    match bytes {
        b"" | b"." => Err(PathError::Empty),
        b".." => Err(PathError::Parent),
        _ if bytes.contains(&0) => Err(PathError::Nul),
        _ if bytes.contains(&b'/') => Err(PathError::Slash),
        _ => Ok(()),
    }
}

impl RelPath {
    /// Checks a path.
    pub fn new(bytes: &[u8]) -> Result<&RelPath, PathError> {
        if bytes.len() > PATH_LEN_MAX {
            return Err(PathError::TooLong);
        }
        if bytes.starts_with(b"/") {
            return Err(PathError::Absolute);
        }
        if bytes != b"." {
            bytes.split(|&b| b == b'/').try_for_each(check_component)?;
        }
        Ok(RelPath::wrap(bytes))
    }

    fn wrap(bytes: &[u8]) -> &RelPath {
        // SAFETY: `RelPath` is a transparent wrapper of `[u8]`, so the two references have the
        // same layout and lifetime.
        unsafe { &*(std::ptr::from_ref(bytes) as *const RelPath) }
    }

    /// The root itself.
    pub fn top() -> &'static RelPath {
        RelPath::wrap(b".")
    }

    /// The bytes; `.` for the root itself.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// The directory that holds it; the root's is the root.
    pub fn parent(&self) -> &RelPath {
        match self.0.iter().rposition(|&b| b == b'/') {
            Some(at) => RelPath::wrap(&self.0[..at]),
            None => RelPath::top(),
        }
    }

    /// The last component; the root has none.
    pub fn name(&self) -> Option<&Name> {
        if &self.0 == b"." {
            return None;
        }
        let start = self.0.iter().rposition(|&b| b == b'/').map_or(0, |at| at + 1);
        Some(Name::wrap(&self.0[start..]))
    }

    /// The components from the root down.
    pub fn components(&self) -> impl Iterator<Item = &Name> {
        self.0.split(|&b| b == b'/').filter(|part| *part != b".").map(Name::wrap)
    }

    /// The path of something in this directory.
    pub fn join(&self, name: &Name) -> RelPathBuf {
        if &self.0 == b"." {
            return RelPathBuf(name.0.to_vec());
        }
        RelPathBuf([&self.0, b"/", &name.0].concat())
    }
}

impl ToOwned for RelPath {
    type Owned = RelPathBuf;
    fn to_owned(&self) -> RelPathBuf {
        RelPathBuf(self.0.to_vec())
    }
}

impl RelPathBuf {
    /// Checks and owns a path.
    pub fn new(bytes: &[u8]) -> Result<RelPathBuf, PathError> {
        RelPath::new(bytes).map(RelPath::to_owned)
    }
}

impl Deref for RelPathBuf {
    type Target = RelPath;
    fn deref(&self) -> &RelPath {
        RelPath::wrap(&self.0)
    }
}

impl Borrow<RelPath> for RelPathBuf {
    fn borrow(&self) -> &RelPath {
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_relative_paths_without_tricks_pass() {
        for good in [&b"."[..], b"a", b"a/b", b"..a/b..", b"\xff\x01"] {
            assert!(RelPath::new(good).is_ok());
        }
        for bad in [&b""[..], b"/a", b"a//b", b"a/./b", b"../a", b"a/..", b"a\0b", b"a/", b"./a"] {
            assert!(RelPath::new(bad).is_err(), "{bad:?}");
        }
        assert!(RelPath::new(&[b'a'; 4096]).is_err());
        let path = RelPath::new(b"a/b/c").unwrap();
        assert_eq!(path.parent().as_bytes(), b"a/b");
        assert_eq!(path.name().unwrap().as_bytes(), b"c");
        assert_eq!(path.components().count(), 3);
        assert_eq!(RelPath::top().components().count(), 0);
        assert_eq!(RelPath::top().name(), None);
        assert_eq!(path.parent().join(path.name().unwrap()).as_bytes(), b"a/b/c");
        assert_eq!(RelPath::top().join(Name::new(b"x").unwrap()).as_bytes(), b"x");
    }
}
