//! Access control lists: what of them travels, what comes of what travelled, comparing and setting.
//!
//! A sender leaves out of an access list what the entry's mode tells; a receiving side fills it in
//! from the mode that the item gets, and maps ids as it maps owners.

use std::io;

use tree::acl::{AclGrant, AclKind, PosixAcl};
use tree::xattr::XattrHolder;
use wire::flist::acls::{Acl, AclEntry, AclRef, Acls};
use wire::flist::list::AclNumbers;

use crate::receiving::Receiving;
use crate::report::messages::Role;

/// An access list as it travels with a mode, less what that tells.
pub fn sent_access(found: Option<&PosixAcl>, mode: u32) -> Acl {
    let Some(acl) = found else { return Acl::default() };
    let named = named(acl);
    let group_bits = (mode >> 3 & 7) as u8;
    let mask = acl.mask.filter(|mask| *mask != group_bits || named.is_empty());
    let group = acl.mask.and(Some(acl.group)).filter(|group| *group != group_bits);
    Acl { owner: None, group, mask, other: None, named }
}

/// A default list as it travels; an empty one where there is none.
pub fn sent_default(found: Option<&PosixAcl>) -> Acl {
    let Some(acl) = found else { return Acl::default() };
    let (owner, group, other) = (Some(acl.owner), Some(acl.group), Some(acl.other));
    Acl { owner, group, mask: acl.mask, other, named: named(acl) }
}

fn named(acl: &PosixAcl) -> Vec<AclEntry> {
    let entry = |user: bool, grant: &AclGrant| AclEntry {
        user,
        id: grant.id,
        perm: grant.perm,
        name: None,
    };
    let users = acl.users.iter().map(|grant| entry(true, grant));
    users.chain(acl.groups.iter().map(|grant| entry(false, grant))).collect()
}

fn grants(acl: &Acl, user: bool) -> Vec<AclGrant> {
    let of_kind = acl.named.iter().filter(|entry| entry.user == user);
    let mut grants: Vec<AclGrant> =
        of_kind.map(|entry| AclGrant { id: entry.id, perm: entry.perm }).collect();
    grants.sort_unstable();
    // Two ids of the sender may be one here; the first grant stands.
    grants.dedup_by_key(|grant| grant.id);
    grants
}

/// Whether an item has the access list that came with a mode. What the item's own mode tells is not
/// looked at: that the mask is another one is a difference of modes.
fn same_access(acl: &Acl, mode: u32, found: Option<&PosixAcl>) -> bool {
    let Some(wanted) = access_for(acl, mode) else {
        return found.is_none_or(|found| found.mask.is_none());
    };
    found.is_some_and(|found| {
        let same_mask = acl.mask.is_none() || acl.mask == found.mask;
        let named = (&wanted.users, &wanted.groups) == (&found.users, &found.groups);
        named && same_mask && found.mask.is_some() && wanted.group == found.group
    })
}

/// The access list that an item of this mode gets; none where the mode says it all.
pub fn access_for(acl: &Acl, mode: u32) -> Option<PosixAcl> {
    let bits = |shift: u32| (mode >> shift & 7) as u8;
    if acl.named.is_empty() && acl.mask.is_none() {
        return None;
    }
    Some(PosixAcl {
        owner: acl.owner.unwrap_or(bits(6)),
        group: acl.group.unwrap_or(bits(3)),
        other: acl.other.unwrap_or(bits(0)),
        mask: Some(acl.mask.unwrap_or(bits(3))),
        users: grants(acl, true),
        groups: grants(acl, false),
    })
}

/// The default list that a directory of this mode gets.
pub fn default_for(acl: &Acl, mode: u32) -> Option<PosixAcl> {
    if *acl == Acl::default() {
        return None;
    }
    let bits = |shift: u32| (mode >> shift & 7) as u8;
    let group = acl.group.unwrap_or(bits(3));
    let all = acl.named.iter().fold(group, |all, entry| all | entry.perm);
    Some(PosixAcl {
        owner: acl.owner.unwrap_or(bits(6)),
        group,
        other: acl.other.unwrap_or(bits(0)),
        mask: acl.mask.or((!acl.named.is_empty()).then_some(all)),
        users: grants(acl, true),
        groups: grants(acl, false),
    })
}

/// The lists of one connection, by kind and number, with the sender's ids.
#[derive(Debug, Default)]
pub struct AclStore {
    access: Vec<Acl>,
    default: Vec<Acl>,
}

impl AclStore {
    /// Takes the lists of an entry; gives their numbers.
    pub fn add(&mut self, acls: Acls) -> Acls {
        let number = |lists: &mut Vec<Acl>, list: AclRef| match list {
            AclRef::List(acl) => {
                lists.push(acl);
                AclRef::Number(lists.len().saturating_sub(1) as u32)
            }
            known => known,
        };
        let access = number(&mut self.access, acls.access);
        Acls { access, default: acls.default.map(|list| number(&mut self.default, list)) }
    }
}

impl Receiving {
    /// The lists of an entry with ids of this side.
    fn mapped_acls(&self, numbers: AclNumbers) -> Option<(Acl, Option<Acl>)> {
        let store = self.acls.lock().ok()?;
        let mut access = store.access.get(numbers.access as usize)?.clone();
        let mut default = match numbers.default {
            Some(number) => Some(store.default.get(number as usize)?.clone()),
            None => None,
        };
        drop(store);
        let mut ids = self.ids.lock().ok()?;
        for entry in [Some(&mut access), default.as_mut()].into_iter().flatten() {
            for entry in &mut entry.named {
                entry.id = if entry.user { ids.user(entry.id) } else { ids.group(entry.id) };
            }
        }
        Some((access, default))
    }

    /// Whether the lists of an item are not those of an entry of this mode.
    pub fn acls_differ(&self, numbers: AclNumbers, holder: &XattrHolder<'_>, mode: u32) -> bool {
        let Some((access, default)) = self.mapped_acls(numbers) else { return false };
        let found = holder.acl(AclKind::Access).ok().flatten();
        if !same_access(&access, mode, found.as_ref()) {
            return true;
        }
        default.is_some_and(|default| {
            let found = holder.acl(AclKind::Default).ok().flatten();
            default_for(&default, mode) != found
        })
    }

    /// Gives an item that is to have this mode the lists of an entry. False when something failed,
    /// which is told. Its mode may be another afterwards.
    pub fn set_acls(
        &self,
        numbers: AclNumbers,
        holder: &XattrHolder<'_>,
        mode: u32,
        (role, name): (Role, &[u8]),
    ) -> bool {
        let Some((access, default)) = self.mapped_acls(numbers) else { return true };
        let mut wanted = vec![(AclKind::Access, "ACCESS", access_for(&access, mode))];
        if let Some(default) = default {
            wanted.push((AclKind::Default, "DEFAULT", default_for(&default, mode)));
        }
        let mut all = true;
        for (kind, word, acl) in wanted {
            let set = match holder.acl(kind) {
                Ok(found) if found == acl => Ok(()),
                _ => holder.set_acl(kind, acl.as_ref()),
            };
            if let Err(error) = set {
                self.acl_failed(role, name, word, &error);
                all = false;
            }
        }
        all
    }

    fn acl_failed(&self, role: Role, name: &[u8], kind: &str, error: &io::Error) {
        let shown = crate::scan::trim_root(name);
        let head = format!("rsync: [{}] set_acl: sys_acl_set_file(", role.word());
        let tail = format!(", ACL_TYPE_{kind}): {}", crate::fatal::errno_text(error));
        let line = [head.as_bytes(), shown, tail.as_bytes()].concat();
        let text = String::from_utf8_lossy(&line).into_owned();
        self.reporter.problem(name, crate::problem::ProblemKind::Failed, text);
        self.reporter.error_line(&line);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_mode_tells_does_not_travel() {
        let users = vec![AclGrant { id: 1000, perm: 7 }];
        let found =
            PosixAcl { owner: 6, group: 4, other: 4, mask: Some(7), users, groups: Vec::new() };
        let sent = sent_access(Some(&found), 0o100_674);
        assert_eq!((sent.owner, sent.group, sent.mask, sent.other), (None, Some(4), None, None));
        assert_eq!(access_for(&sent, 0o100_674), Some(found.clone()));
        // Another mode than the mask says, as after --chmod.
        assert_eq!(sent_access(Some(&found), 0o100_644).mask, Some(7));
        let after_chmod = access_for(&sent, 0o640);
        assert_eq!(after_chmod.map(|acl| (acl.group, acl.mask, acl.other)), Some((4, Some(4), 0)));
        assert!(same_access(&sent, 0o100_674, Some(&found)));
        assert!(same_access(&sent_access(Some(&found), 0o100_640), 0o100_640, Some(&found)));
        assert!(!same_access(&sent, 0o100_674, None) && same_access(&Acl::default(), 0, None));
        assert!(!same_access(&Acl::default(), 0o100_674, Some(&found)));
        let bare = PosixAcl { users: Vec::new(), ..found.clone() };
        assert_eq!(sent_access(Some(&bare), 0o100_674).mask, Some(7));
        let plain = PosixAcl { mask: None, ..bare };
        assert_eq!(sent_access(Some(&plain), 0o100_644), Acl::default());
        assert_eq!(access_for(&Acl::default(), 0o644), None);
        let default = sent_default(Some(&found));
        assert_eq!(default_for(&default, 0o755), Some(found));
        assert_eq!(default_for(&sent_default(None), 0o755), None);
        let unmasked = default_for(&Acl { mask: None, ..default }, 0o755);
        assert_eq!(unmasked.and_then(|acl| acl.mask), Some(7));
    }
}
