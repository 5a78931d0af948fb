//! What only the super-user may give an item, kept in an attribute of it instead (`--fake-super`).
//!
//! Called by [`crate::dir::Dir`], [`crate::stage::Stage`] and [`crate::xattr::XattrHolder`] where
//! their directory is a faking one: owner, group, kind, device number and the permission bits that
//! the file itself must not have are then those of `user.rsync.%stat`, whose text is
//! `MODE MAJOR,MINOR UID:GID`; access control lists lie in `user.rsync.%aacl` and `%dacl`, and
//! attributes outside of `user.` behind the prefix `user.rsync.`. Symlinks, devices and specials are
//! files. Text and numbers are the reference's, so that it reads what is written here.
//!
//! The attribute is of whoever can write the file: what it says decides about the item alone. It
//! makes no directory of a file and no file of a directory.

use std::io;

use rustix::io::Errno;

use crate::acl::{AclGrant, AclKind, PosixAcl};
use crate::meta::Meta;
use crate::xattr::XattrHolder;

const STAT: &[u8] = b"user.rsync.%stat";
const ACCESS: &[u8] = b"user.rsync.%aacl";
const DEFAULT: &[u8] = b"user.rsync.%dacl";
/// In front of names that only the super-user may set, and of our own behind a `%`.
const PREFIX: &[u8] = b"user.rsync.";
/// A number of an access control list that is not there.
const ABSENT: u32 = 0x80;
/// Marks the entry of a user.
const USER: u32 = 1 << 31;

/// Facts of an item as it stands, with those that its attribute holds in their place. Errors: EINVAL
/// for an attribute that cannot be read.
pub(crate) fn seen(real: Meta, holder: &XattrHolder<'_>) -> io::Result<Meta> {
    if !real.is_file() && !real.is_dir() {
        return Ok(real);
    }
    let Some(text) = holder.raw_get(STAT)? else { return Ok(real) };
    let said = parse(&text).ok_or(Errno::INVAL)?;
    let is_dir = said.mode & 0o170_000 == 0o040_000;
    if is_dir != real.is_dir() {
        return Ok(real);
    }
    Ok(Meta { mode: said.mode, uid: said.uid, gid: said.gid, rdev: said.rdev, ..real })
}

/// Keeps of `wanted` what the item, which is `real`, does not show itself.
pub(crate) fn keep(real: &Meta, wanted: &Meta, holder: &XattrHolder<'_>) -> io::Result<()> {
    let facts = |meta: &Meta| (meta.mode, meta.uid, meta.gid);
    if facts(real) == facts(wanted) {
        return match holder.raw_get(STAT)? {
            Some(_) => holder.raw_remove(STAT),
            None => Ok(()),
        };
    }
    let rdev = if wanted.is_device() { wanted.rdev } else { (0, 0) };
    let Meta { mode, uid, gid, .. } = wanted;
    let text = format!("{mode:o} {},{} {uid}:{gid}", rdev.0, rdev.1);
    holder.raw_set(STAT, text.as_bytes())
}

/// The permission bits of the file itself: nothing special, and its owner is kept from nothing.
pub(crate) fn safe_perm(perm: u32, is_dir: bool) -> u32 {
    perm & 0o777 | if is_dir { 0o700 } else { 0o600 }
}

/// What a `%stat` says.
struct Said {
    mode: u32,
    rdev: (u32, u32),
    uid: u32,
    gid: u32,
}

fn parse(text: &[u8]) -> Option<Said> {
    let text = std::str::from_utf8(text).ok()?;
    let mut words = text.split(' ');
    let mode = u32::from_str_radix(words.next()?, 8).ok()?;
    let (major, minor) = words.next()?.split_once(',')?;
    let (uid, gid) = words.next()?.split_once(':')?;
    let known = matches!(
        mode & 0o170_000,
        0o010_000 | 0o020_000 | 0o040_000 | 0o060_000 | 0o100_000 | 0o120_000 | 0o140_000
    );
    if words.next().is_some() || !known || mode >> 16 != 0 {
        return None;
    }
    let rdev = (major.parse().ok()?, minor.parse().ok()?);
    Some(Said { mode, rdev, uid: uid.parse().ok()?, gid: gid.parse().ok()? })
}

/// The name that an attribute has on the disk.
pub(crate) fn stored_name(name: &[u8]) -> Vec<u8> {
    match name.starts_with(b"user.") {
        true => name.to_vec(),
        false => [PREFIX, name].concat(),
    }
}

/// The name that a stored attribute stands for.
pub(crate) fn shown_name(name: Vec<u8>) -> Vec<u8> {
    match name.strip_prefix(PREFIX) {
        Some(rest) if !rest.starts_with(b"%") => rest.to_vec(),
        _ => name,
    }
}

/// Whether an attribute holds what is kept here about its item.
pub(crate) fn is_own(name: &[u8]) -> bool {
    [STAT, ACCESS, DEFAULT].contains(&name)
}

fn acl_name(kind: AclKind) -> &'static [u8] {
    match kind {
        AclKind::Access => ACCESS,
        AclKind::Default => DEFAULT,
    }
}

/// A kept list of an item of this mode. Errors: EINVAL for one that cannot be read.
pub(crate) fn acl(
    holder: &XattrHolder<'_>,
    kind: AclKind,
    mode: u32,
) -> io::Result<Option<PosixAcl>> {
    let Some(bytes) = holder.raw_get(acl_name(kind))? else { return Ok(None) };
    Ok(Some(parse_acl(&bytes, mode).ok_or(Errno::INVAL)?))
}

/// Keeps a list, or none.
pub(crate) fn set_acl(
    holder: &XattrHolder<'_>,
    kind: AclKind,
    acl: Option<&PosixAcl>,
) -> io::Result<()> {
    match acl {
        Some(acl) => holder.raw_set(acl_name(kind), &acl_bytes(kind, acl)),
        None => holder.raw_remove(acl_name(kind)),
    }
}

fn parse_acl(bytes: &[u8], mode: u32) -> Option<PosixAcl> {
    let (numbers, rest) = bytes.as_chunks::<4>();
    let numbers: Vec<u32> = numbers.iter().map(|four| u32::from_le_bytes(*four)).collect();
    let ([owner, group, mask, other], named) = numbers.split_first_chunk::<4>()?;
    let (named, odd) = named.as_chunks::<2>();
    if !rest.is_empty() || !odd.is_empty() {
        return None;
    }
    let perm = |number: u32| u8::try_from(number).ok().filter(|perm| *perm <= 7);
    let or_mode = |number: u32, shift: u32| match number {
        ABSENT => perm(mode >> shift & 7),
        number => perm(number),
    };
    let mut acl = PosixAcl {
        owner: or_mode(*owner, 6)?,
        group: or_mode(*group, 3)?,
        other: or_mode(*other, 0)?,
        mask: if *mask == ABSENT { None } else { Some(perm(*mask)?) },
        ..PosixAcl::default()
    };
    for [id, access] in named {
        let grants = if access & USER != 0 { &mut acl.users } else { &mut acl.groups };
        grants.push(AclGrant { id: *id, perm: perm(access & !USER)? });
    }
    acl.users.sort_unstable();
    acl.groups.sort_unstable();
    Some(acl)
}

/// Owner and others of an access list are those of the mode, and so is the owning group where it may
/// what the mask lets it.
fn acl_bytes(kind: AclKind, acl: &PosixAcl) -> Vec<u8> {
    let of_mode = |perm: u8| if kind == AclKind::Access { ABSENT } else { perm.into() };
    let mask = acl.mask.map_or(ABSENT, u32::from);
    let group = match kind == AclKind::Access && acl.mask == Some(acl.group) {
        true => ABSENT,
        false => acl.group.into(),
    };
    let mut numbers = vec![of_mode(acl.owner), group, mask, of_mode(acl.other)];
    numbers.extend(acl.users.iter().flat_map(|one| [one.id, u32::from(one.perm) | USER]));
    numbers.extend(acl.groups.iter().flat_map(|one| [one.id, one.perm.into()]));
    numbers.into_iter().flat_map(u32::to_le_bytes).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_have_the_reference_s_form() {
        // What the reference made of user 1000 rwx, owning group r, group 33 r, mask rwx.
        let bytes: Vec<u8> = [ABSENT, 4, 7, ABSENT, 1000, 7 | USER, 33, 4]
            .into_iter()
            .flat_map(u32::to_le_bytes)
            .collect();
        let grant = |id, perm| AclGrant { id, perm };
        let acl = PosixAcl {
            owner: 6,
            group: 4,
            other: 4,
            mask: Some(7),
            users: vec![grant(1000, 7)],
            groups: vec![grant(33, 4)],
        };
        assert_eq!(parse_acl(&bytes, 0o674).as_ref(), Some(&acl));
        assert_eq!(acl_bytes(AclKind::Access, &acl), bytes);
        assert_eq!(parse_acl(&acl_bytes(AclKind::Default, &acl), 0), Some(acl));
        for bad in [&bytes[..15], &bytes[..20], &bytes[..31], b""] {
            assert_eq!(parse_acl(bad, 0o674), None);
        }
        let mut large = bytes;
        large[4] = 8;
        assert_eq!(parse_acl(&large, 0o674), None);
    }

    #[test]
    fn texts_that_say_nothing_are_no_facts() {
        let said = parse(b"60644 7,300 12:13").unwrap();
        assert_eq!((said.mode, said.rdev, said.uid, said.gid), (0o60_644, (7, 300), 12, 13));
        for bad in ["", "100644", "100644 0,0", "100644 0,0 1", "9 0,0 1:1", "644 0,0 1:1"] {
            assert!(parse(bad.as_bytes()).is_none(), "{bad}");
        }
        for bad in ["100644 0,0 1:1 x", "100644 0,0 -1:1", "7100644 0,0 1:1", "100644 0 0 1:1"] {
            assert!(parse(bad.as_bytes()).is_none(), "{bad}");
        }
    }

    #[test]
    fn names_are_stored_behind_a_prefix_and_come_back() {
        for name in ["user.a", "security.b", "trusted.c", "user.rsync.%other"] {
            let stored = stored_name(name.as_bytes());
            assert!(stored.starts_with(b"user."));
            assert_eq!(shown_name(stored), name.as_bytes());
        }
        for own in [STAT, ACCESS, DEFAULT] {
            assert!(is_own(own) && shown_name(own.to_vec()) == own);
        }
    }
}
