//! What a receiving side accepts in a file list, beyond what the decoder refuses.

use wire::error::Error;
use wire::exit::ExitCode;
use wire::filter::requested::RequestShape;
use wire::filter::{RequestVerdict, RequestedNames};
use wire::flist::acls::AclRef;
use wire::flist::entry::Entry;
use wire::flist::list::FileList;

use crate::fatal::Fatal;
use crate::location::Location;
use crate::options::{FilesFrom, Options};
use crate::receiving::Receiving;

/// The names a sender may send; `None` where it is trusted.
pub fn requested(
    opts: &Options,
    sources: &[Location],
    forwarded: Option<&[u8]>,
) -> Option<RequestedNames> {
    let remote_list = matches!(opts.files_from, Some(FilesFrom::Remote { .. }));
    if opts.trust_sender || opts.old_args > 0 || remote_list {
        return None;
    }
    let daemon = matches!(sources.first(), Some(Location::Daemon { .. }));
    let mut requested = RequestedNames::new(RequestShape {
        relative: opts.relative,
        recurse: opts.recurse,
        dirs: opts.dirs,
        module_first: daemon && forwarded.is_none(),
        literal: forwarded.is_some(),
    });
    if let Some(names) = forwarded {
        names.split(|&b| b == 0).filter(|n| !n.is_empty()).for_each(|n| requested.add(n));
        return Some(requested);
    }
    for source in sources {
        match source {
            Location::Daemon { module_path, .. } => requested.add(module_path),
            Location::Shell { path, .. } => requested.add(path),
            Location::Local(_) => {}
        }
    }
    Some(requested)
}

/// A segment's entry must lie directly in the directory that the segment was announced for
/// ([flist-parent]).
pub fn check_parent(entry: &Entry, parent: &[u8]) -> Result<(), Fatal> {
    let dir = match entry.name.iter().rposition(|&b| b == b'/') {
        Some(at) => &entry.name[..at],
        None => b".".as_slice(),
    };
    // A directory whose name has no form here has none that an entry could lie in.
    if dir == parent && !parent.is_empty() {
        return Ok(());
    }
    Err(Error::misbehaved(
        ExitCode::Unsupported,
        "flist-name",
        "ABORTING due to invalid path from sender".to_string(),
    )
    .into())
}

/// In a whole list every entry lies in a directory of the list; otherwise a symlink or nothing at
/// all could stand where the receiver expects one.
pub fn check_parents(recv: &Receiving, list: &FileList) -> Result<(), Fatal> {
    let mut known: &[u8] = b"";
    for pos in (0..list.len()).filter(|&pos| list.is_active(pos)) {
        let entry = list.get(pos);
        let dir = entry.dir_name();
        if dir == known || dir.is_empty() || dir == b"/" {
            continue;
        }
        if !list.find(dir).is_some_and(|at| list.get(at).is_dir()) {
            let mut text = b"parent dir is absent in the file list: ".to_vec();
            text.extend_from_slice(crate::scan::trim_root(dir));
            if !recv.opts.delete_missing_args {
                return Err(Fatal::new(ExitCode::Protocol, text));
            }
            recv.reporter.warning(&[b"WARNING: ".as_slice(), &text].concat());
        }
        known = dir;
    }
    Ok(())
}

/// Checks an entry against what was asked for ([flist-requested]), and keeps the names of its owners.
pub fn check_entry(recv: &Receiving, entry: &mut Entry) -> Result<(), Fatal> {
    let rel = crate::scan::trim_root(&entry.name);
    if let Some(requested) = &recv.requested {
        match requested.judge(rel, entry.is_dir()) {
            RequestVerdict::Requested => {}
            RequestVerdict::ImpliedParent => {
                entry.top_dir = true;
                entry.content_dir = false;
            }
            RequestVerdict::Unrequested => return Err(rejected(b"unrequested", rel)),
        }
        if rel != b"." && recv.filters.refuses_received(rel, entry.is_dir()) {
            return Err(rejected(b"excluded", rel));
        }
    }
    if let Some(text) = &mut entry.link_target {
        if recv.munge {
            *text = crate::munge::add(text);
        } else if recv.tames_links {
            *text = crate::munge::tamed(text, &entry.name);
        }
    }
    if let Ok(mut ids) = recv.ids.lock() {
        if let Some(name) = entry.user_name.take() {
            ids.learn_user(entry.uid, &name);
        }
        if let Some(name) = entry.group_name.take() {
            ids.learn_group(entry.gid, &name);
        }
        let lists = entry.acls.as_mut().map(|acls| [Some(&mut acls.access), acls.default.as_mut()]);
        for list in lists.into_iter().flatten().flatten() {
            let AclRef::List(acl) = list else { continue };
            for named in &mut acl.named {
                match named.name.take() {
                    Some(name) if named.user => ids.learn_user(named.id, &name),
                    Some(name) => ids.learn_group(named.id, &name),
                    None => {}
                }
            }
        }
    }
    Ok(())
}

fn rejected(kind: &[u8], name: &[u8]) -> Fatal {
    let mut text = b"ERROR: rejecting ".to_vec();
    text.extend_from_slice(kind);
    text.extend_from_slice(b" file-list name: ");
    text.extend_from_slice(name);
    Fatal::bare(ExitCode::Unsupported, text)
}
