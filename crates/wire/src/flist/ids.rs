//! User and group names: inline with incremental recursion, else in lists after the file list.
//!
//! Shape: { number id, byte length, name }, a 0, and with the flag for it the name of id 0.
//! Source: [flist-ids].

use crate::codec::{ByteSource, get_number, put_number};
use crate::error::Error;
use crate::exit::ExitCode;
use crate::flist::flags::FlistOptions;
use crate::limits::ID_NAME_MAX;

/// Which kind of id.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IdKind {
    /// A user.
    User,
    /// A group.
    Group,
}

/// The names that came after a list: id on the sender's side, name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct IdNames {
    /// Users.
    pub users: Vec<(u32, Vec<u8>)>,
    /// Groups.
    pub groups: Vec<(u32, Vec<u8>)>,
}

/// Ids one list may name; each is remembered for the rest of the run.
const IDS_MAX: usize = 1 << 20;

pub(crate) fn put_name(out: &mut Vec<u8>, name: &[u8]) {
    let name = &name[..name.len().min(ID_NAME_MAX)];
    out.push(name.len() as u8);
    out.extend_from_slice(name);
}

pub(crate) fn get_name<S: ByteSource>(src: &mut S) -> Result<Vec<u8>, S::Error> {
    let len = src.byte()?;
    src.read_vec(usize::from(len))
}

pub(crate) fn put_list(
    out: &mut Vec<u8>,
    opts: &FlistOptions,
    ids: impl Iterator<Item = u32>,
    name_of: &mut dyn FnMut(u32) -> Option<Vec<u8>>,
) {
    for id in ids.filter(|id| *id != 0) {
        if let Some(name) = name_of(id).filter(|name| !name.is_empty()) {
            put_number(out, opts.protocol, id.cast_signed());
            put_name(out, &name);
        }
    }
    put_number(out, opts.protocol, 0);
    if opts.id0_names {
        put_name(out, &name_of(0).unwrap_or_default());
    }
}

pub(crate) fn get_list<S: ByteSource>(
    src: &mut S,
    opts: &FlistOptions,
) -> Result<Vec<(u32, Vec<u8>)>, S::Error> {
    let mut names = Vec::new();
    loop {
        let id = get_number(src, opts.protocol)?.cast_unsigned();
        if id == 0 {
            break;
        }
        if names.len() >= IDS_MAX {
            let text = "too many ids in a list".to_string();
            return Err(Error::misbehaved(ExitCode::Malloc, "flist-ids", text).into());
        }
        names.push((id, get_name(src)?));
    }
    if opts.id0_names {
        get_name(src)?;
    }
    Ok(names)
}
