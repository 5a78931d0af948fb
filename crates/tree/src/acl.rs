//! Access control lists as the kernel keeps them: in two attributes, of a fixed binary form.
//!
//! Called by the sender to list them, by the receiving side to compare and set them. The form is a
//! version word and entries of 8 bytes, in the order owner, users, group, groups, mask, other.

use std::io;
use std::os::unix::fs::MetadataExt;

use rustix::io::Errno;

use crate::dir::Dir;
use crate::fake;
use crate::xattr::XattrHolder;

const ACCESS: &[u8] = b"system.posix_acl_access";
const DEFAULT: &[u8] = b"system.posix_acl_default";
const VERSION: [u8; 4] = [2, 0, 0, 0];
const OWNER: u16 = 0x01;
const USER: u16 = 0x02;
const GROUP_OWNER: u16 = 0x04;
const GROUP: u16 = 0x08;
const MASK: u16 = 0x10;
const OTHER: u16 = 0x20;
/// The id of entries that have none.
const NO_ID: u32 = u32::MAX;

/// Which of the two lists of an item.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AclKind {
    /// Who may do what with it.
    Access,
    /// What new items in a directory get.
    Default,
}

impl AclKind {
    fn attribute(self) -> &'static [u8] {
        match self {
            AclKind::Access => ACCESS,
            AclKind::Default => DEFAULT,
        }
    }
}

/// What one user or group may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct AclGrant {
    /// Its id.
    pub id: u32,
    /// Permission bits, 0 to 7.
    pub perm: u8,
}

/// One list. Permission bits are 0 to 7.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PosixAcl {
    /// Of the owner.
    pub owner: u8,
    /// Of the owning group.
    pub group: u8,
    /// Of everybody else.
    pub other: u8,
    /// What all but owner and others are limited to.
    pub mask: Option<u8>,
    /// Users, by id.
    pub users: Vec<AclGrant>,
    /// Groups, by id.
    pub groups: Vec<AclGrant>,
}

impl PosixAcl {
    /// Reads the kernel's form. Errors: EINVAL for anything else.
    fn parse(bytes: &[u8]) -> Result<PosixAcl, Errno> {
        let entries = bytes.strip_prefix(&VERSION).ok_or(Errno::INVAL)?;
        let (entries, rest) = entries.as_chunks::<8>();
        if !rest.is_empty() {
            return Err(Errno::INVAL);
        }
        let mut acl = PosixAcl::default();
        for [t0, t1, p0, p1, i0, i1, i2, i3] in entries {
            let perm = u16::from_le_bytes([*p0, *p1]);
            let perm = u8::try_from(perm).ok().filter(|p| *p <= 7).ok_or(Errno::INVAL)?;
            let grant = AclGrant { id: u32::from_le_bytes([*i0, *i1, *i2, *i3]), perm };
            match u16::from_le_bytes([*t0, *t1]) {
                OWNER => acl.owner = perm,
                USER => acl.users.push(grant),
                GROUP_OWNER => acl.group = perm,
                GROUP => acl.groups.push(grant),
                MASK => acl.mask = Some(perm),
                OTHER => acl.other = perm,
                _ => return Err(Errno::INVAL),
            }
        }
        acl.users.sort_unstable();
        acl.groups.sort_unstable();
        Ok(acl)
    }

    fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = VERSION.to_vec();
        let mut put = |tag: u16, perm: u8, id: u32| {
            bytes.extend_from_slice(&tag.to_le_bytes());
            bytes.extend_from_slice(&u16::from(perm & 7).to_le_bytes());
            bytes.extend_from_slice(&id.to_le_bytes());
        };
        put(OWNER, self.owner, NO_ID);
        self.users.iter().for_each(|grant| put(USER, grant.perm, grant.id));
        put(GROUP_OWNER, self.group, NO_ID);
        self.groups.iter().for_each(|grant| put(GROUP, grant.perm, grant.id));
        if let Some(mask) = self.mask {
            put(MASK, mask, NO_ID);
        }
        put(OTHER, self.other, NO_ID);
        bytes
    }
}

/// The permission bits that new items of a directory may have by its default list; `None` where it
/// has none.
pub fn allowed_in(dir: &Dir) -> Option<u32> {
    let bytes = XattrHolder::Itself(dir).raw_get(DEFAULT).ok()??;
    let acl = PosixAcl::parse(&bytes).ok()?;
    let [owner, group, other] =
        [acl.owner, acl.mask.unwrap_or(acl.group), acl.other].map(u32::from);
    Some(owner << 6 | group << 3 | other)
}

impl XattrHolder<'_> {
    /// A list of the item; `None` where it has none beside its mode.
    pub fn acl(&self, kind: AclKind) -> io::Result<Option<PosixAcl>> {
        if self.fakes() {
            return fake::acl(self, kind, self.mode()?);
        }
        match self.get(kind.attribute())? {
            Some(bytes) => Ok(Some(PosixAcl::parse(&bytes)?)),
            None => Ok(None),
        }
    }

    fn mode(&self) -> io::Result<u32> {
        match self {
            XattrHolder::Item(dir, name) => Ok(dir.lstat(name)?.ok_or(Errno::NOENT)?.mode),
            XattrHolder::Itself(dir) => Ok(dir.stat_self()?.mode),
            XattrHolder::Open(file) | XattrHolder::Faked(file) => Ok(file.metadata()?.mode()),
        }
    }

    /// Sets or removes a list of the item. An access list changes the mode with it.
    pub fn set_acl(&self, kind: AclKind, acl: Option<&PosixAcl>) -> io::Result<()> {
        if self.fakes() {
            return fake::set_acl(self, kind, acl);
        }
        match acl {
            Some(acl) => self.set(kind.attribute(), &acl.to_bytes()),
            None => self.remove(kind.attribute()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::path::RelPath;
    use crate::scratch::{Scratch, name};

    fn acl() -> PosixAcl {
        let grant = |id, perm| AclGrant { id, perm };
        let (users, groups) = (vec![grant(7, 5), grant(1000, 7)], vec![grant(12, 4)]);
        PosixAcl { owner: 6, group: 4, other: 0, mask: Some(7), users, groups }
    }

    #[test]
    fn the_kernel_gives_back_what_it_was_given() {
        let s = Scratch::new();
        let dir = s.root().dir(RelPath::top()).unwrap();
        dir.mkdir(name("d"), 0o700).unwrap();
        let holder = XattrHolder::Item(&dir, name("d"));
        let set = holder.set_acl(AclKind::Access, Some(&acl()));
        let excused = std::env::var_os("LIVEMIRROR_NO_ORACLE").is_some_and(|v| v == "1");
        assert!(set.is_ok() || excused, "no access control lists here: {set:?}");
        if set.is_err() {
            return;
        }
        assert_eq!(holder.acl(AclKind::Access).unwrap(), Some(acl()));
        assert_eq!(dir.lstat(name("d")).unwrap().unwrap().mode & 0o777, 0o670);
        assert_eq!(holder.acl(AclKind::Default).unwrap(), None);
        holder.set_acl(AclKind::Default, Some(&acl())).unwrap();
        assert_eq!(holder.acl(AclKind::Default).unwrap(), Some(acl()));
        for kind in [AclKind::Access, AclKind::Default, AclKind::Default] {
            holder.set_acl(kind, None).unwrap();
            assert_eq!(holder.acl(kind).unwrap(), None);
        }
    }

    #[test]
    fn other_forms_are_refused() {
        let good = acl().to_bytes();
        assert_eq!(PosixAcl::parse(&good), Ok(acl()));
        assert_eq!(PosixAcl::parse(&good[..good.len() - 1]), Err(Errno::INVAL));
        for (at, byte) in [(0, 1), (4, 3), (6, 8), (7, 1)] {
            let mut bad = good.clone();
            bad[at] = byte;
            assert_eq!(PosixAcl::parse(&bad), Err(Errno::INVAL), "{at}");
        }
        assert_eq!(PosixAcl::parse(b""), Err(Errno::INVAL));
    }
}
