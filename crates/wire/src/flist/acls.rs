//! Access control lists as entries carry them.
//!
//! Access and default lists are numbered apart; each travels once and is named by its number from
//! then on. What the entry's mode tells is left out of an access list.

use crate::codec::{ByteSource, get_varint, put_varint};
use crate::error::Error;
use crate::exit::ExitCode;
use crate::flist::ids;
use crate::limits::ACL_ENTRIES_MAX;

const HAS_OWNER: u8 = 0x01;
const HAS_GROUP: u8 = 0x02;
const HAS_MASK: u8 = 0x04;
const HAS_OTHER: u8 = 0x08;
const HAS_NAMED: u8 = 0x10;
const NAME_FOLLOWS: u32 = 1;
const IS_USER: u32 = 2;

/// What one user or group may do.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct AclEntry {
    /// A user, not a group.
    pub user: bool,
    /// Its id on the sender's side.
    pub id: u32,
    /// Permission bits, 0 to 7.
    pub perm: u8,
    /// Its name, where it travels here.
    pub name: Option<Vec<u8>>,
}

/// One list; permission bits are 0 to 7.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Acl {
    /// Of the owner.
    pub owner: Option<u8>,
    /// Of the owning group.
    pub group: Option<u8>,
    /// The mask.
    pub mask: Option<u8>,
    /// Of everybody else.
    pub other: Option<u8>,
    /// Users, then groups, each by id.
    pub named: Vec<AclEntry>,
}

/// A list of an entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AclRef {
    /// As a sender reads it, and as it comes the first time.
    List(Acl),
    /// The list of this number, counted from 0 among its kind over the whole connection.
    Number(u32),
}

/// The lists of an entry that is no symlink.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Acls {
    /// Who may do what with it.
    pub access: AclRef,
    /// What new items in a directory get.
    pub default: Option<AclRef>,
}

/// Appends a list. `meet` notes an id, a user's if so, and says whether it is the first time; then a
/// name travels, if names travel `inline`. [flist-acl]
pub(crate) fn put(
    out: &mut Vec<u8>,
    acl: &Acl,
    inline: bool,
    meet: &mut dyn FnMut(bool, u32) -> bool,
) {
    let parts = [
        (acl.owner, HAS_OWNER),
        (acl.group, HAS_GROUP),
        (acl.mask, HAS_MASK),
        (acl.other, HAS_OTHER),
    ];
    let present = parts.iter().filter(|(perm, _)| perm.is_some());
    let bits = present.fold(0, |bits, (_, bit)| bits | bit);
    put_varint(out, 0);
    out.push(if acl.named.is_empty() { bits } else { bits | HAS_NAMED });
    for perm in parts.iter().filter_map(|(perm, _)| *perm) {
        put_varint(out, perm.into());
    }
    if acl.named.is_empty() {
        return;
    }
    put_varint(out, acl.named.len() as i32);
    for entry in &acl.named {
        let first = meet(entry.user, entry.id);
        let name = entry.name.as_deref().filter(|name| first && inline && !name.is_empty());
        put_varint(out, entry.id.cast_signed());
        let mut word = u32::from(entry.perm) << 2;
        word |= if entry.user { IS_USER } else { 0 };
        word |= if name.is_some() { NAME_FOLLOWS } else { 0 };
        put_varint(out, word.cast_signed());
        if let Some(name) = name {
            ids::put_name(out, name);
        }
    }
}

/// Appends the number of a list that travelled before. [flist-acl]
pub(crate) fn put_number(out: &mut Vec<u8>, number: u32) {
    put_varint(out, number.saturating_add(1).cast_signed());
}

/// Reads a list, or a number below `known`. [flist-acl]
pub(crate) fn get<S: ByteSource>(src: &mut S, known: u32) -> Result<AclRef, S::Error> {
    let number = get_varint(src)?;
    if number != 0 {
        let at = u32::try_from(number).ok().and_then(|n| n.checked_sub(1)).filter(|n| *n < known);
        return at.map(AclRef::Number).ok_or_else(|| {
            refused(format!("receive_acl_index: ACL index {number} > {known}")).into()
        });
    }
    let bits = src.byte()?;
    let mut part = |bit: u8| match bits & bit {
        0 => Ok(None),
        _ => get_varint(src).and_then(|perm| Ok(Some(permission(perm.cast_unsigned())?))),
    };
    let (owner, group) = (part(HAS_OWNER)?, part(HAS_GROUP)?);
    let (mask, other) = (part(HAS_MASK)?, part(HAS_OTHER)?);
    let mut named = Vec::new();
    if bits & HAS_NAMED != 0 {
        let count = get_varint(src)?;
        let count = usize::try_from(count).ok().filter(|count| *count <= ACL_ENTRIES_MAX);
        let count = count.ok_or_else(|| {
            let text = "wire value ACL count out of range".to_string();
            Error::misbehaved(ExitCode::Protocol, "flist-acl", text)
        })?;
        for _ in 0..count {
            let id = get_varint(src)?.cast_unsigned();
            let word = get_varint(src)?.cast_unsigned();
            let perm = permission(word >> 2)?;
            let name = match word & NAME_FOLLOWS {
                0 => None,
                _ => Some(ids::get_name(src)?),
            };
            named.push(AclEntry { user: word & IS_USER != 0, id, perm, name });
        }
    }
    Ok(AclRef::List(Acl { owner, group, mask, other, named }))
}

fn permission(bits: u32) -> Result<u8, Error> {
    let perm = u8::try_from(bits).ok().filter(|perm| *perm <= 7);
    perm.ok_or_else(|| refused(format!("recv_acl_access: permissions {bits:o} out of range")))
}

fn refused(text: String) -> Error {
    Error::misbehaved(ExitCode::StreamIo, "flist-acl", text)
}

#[cfg(test)]
#[path = "acls_tests.rs"]
mod tests;
