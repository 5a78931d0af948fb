//! Going into a module: ids, filter, root directory, privileges.
//!
//! Called by `connection` once the client is let in. `plan` does what needs the system's files:
//! names to ids, the filter files. `enter` then changes the root directory if the module says so,
//! opens the module's directory, and gives up what privileges the process has. From then on the
//! handle of the directory is the only way to it.

use tree::path::RelPath;
use tree::root::Root;
use tree::{jail, owner};
use wire::exit::ExitCode;
use wire::filter::FilterList;

use super::connection::End;
use super::log::{DaemonLog, cause};
use super::module::Module;
use super::{rules, secrets};

/// What was found out while the system's files were in reach.
pub(crate) struct EntryPlan {
    /// User to become, and groups: the first is the main one. `None` changes nothing.
    ids: Option<(u32, Vec<u32>)>,
    filters: FilterList,
}

/// A process inside its module.
pub(crate) struct Entered {
    pub(crate) root: Root,
    pub(crate) filters: FilterList,
    pub(crate) confined: bool,
    pub(crate) munge: bool,
    pub(crate) numeric_ids: bool,
}

/// Resolves ids and filters.
pub(crate) fn plan(module: &Module) -> Result<EntryPlan, End> {
    let ids = ids(module)?;
    if module.path.is_empty() {
        let name = String::from_utf8_lossy(&module.name);
        return Err(End::refused(
            "no path setting.",
            format!("No path specified for module {name}"),
        ));
    }
    let filters =
        rules::load(&module.rules).map_err(|error| End::dropped(error.text, error.exit))?;
    Ok(EntryPlan { ids, filters })
}

/// Whether the root directory is to be changed. Unset is tried with the directory it already is,
/// which also makes it the current one.
fn wants_chroot(module: &Module, log: &DaemonLog) -> bool {
    let divided = module.path.windows(3).any(|window| window == b"/./");
    module.use_chroot.unwrap_or_else(|| {
        let tried = if divided { Ok(()) } else { jail::chroot(b"/") };
        if let Err(error) = &tried {
            let cause = cause(error);
            let switching = "Switching 'use chroot' from unset to false.";
            log.warning(format!("chroot test failed: {cause}. {switching}"));
        }
        tried.is_ok()
    })
}

/// The ids of `uid` and `gid`, or of nobody where root has none.
pub(crate) fn ids(module: &Module) -> Result<Option<(u32, Vec<u32>)>, End> {
    let privileged = owner::am_root();
    let words = secrets::entries(&module.gid);
    if !privileged && module.uid.is_empty() && words.is_empty() {
        return Ok(None);
    }
    let invalid = |what: &str, text: &[u8]| {
        let text = String::from_utf8_lossy(text);
        End::refused(format!("invalid {what} {text}"), format!("Invalid {what} {text}"))
    };
    let mut owners = owner::Owners::new();
    let uid = match module.uid.as_slice() {
        [] if !privileged => owner::effective_uid(),
        [] => owners.user_id(b"nobody").ok_or_else(|| invalid("uid", b"nobody"))?,
        name => {
            let id = number(name).or_else(|| owners.user_id(name));
            id.ok_or_else(|| invalid("uid", name))?
        }
    };
    let mut groups = Vec::new();
    for (index, word) in words.iter().enumerate() {
        if index == 0 && *word == b"*" {
            let (own, others) = owner::user_groups(uid).ok_or_else(|| invalid("gid", b"*"))?;
            groups.push(own);
            groups.extend(others.into_iter().filter(|gid| *gid != own));
        } else {
            let id = number(word).or_else(|| owners.group_id(word));
            groups.push(id.ok_or_else(|| invalid("gid", word))?);
        }
    }
    if groups.is_empty() && privileged {
        let found = owners.group_id(b"nobody").or_else(|| owners.group_id(b"nogroup"));
        groups.push(found.ok_or_else(|| invalid("gid", b"nobody"))?);
    }
    if groups.is_empty() {
        groups.push(rustix::process::getegid().as_raw());
    }
    Ok(Some((uid, groups)))
}

/// An id written as a number; the largest one means "no change" to the system and is none.
fn number(text: &[u8]) -> Option<u32> {
    let digits = !text.is_empty() && text.iter().all(u8::is_ascii_digit);
    let text = std::str::from_utf8(text).ok().filter(|_| digits)?;
    text.parse().ok().filter(|id| *id != u32::MAX)
}

/// Changes root directory, opens the module, gives up privileges.
pub(crate) fn enter(module: &Module, plan: EntryPlan, log: &DaemonLog) -> Result<Entered, End> {
    let from = std::env::current_dir().unwrap_or_default().into_os_string().into_encoded_bytes();
    let chroot = wants_chroot(module, log);
    let absolute = |path: &[u8]| match path.first() {
        Some(b'/') => path.to_vec(),
        _ => [from.as_slice(), b"/", path].concat(),
    };
    let (outer, inner) = module.chroot_parts();
    let outer = absolute(&outer);
    let shown = |path: &[u8]| String::from_utf8_lossy(path).into_owned();
    let path = if chroot {
        jail::chroot(&outer).map_err(|error| {
            let log = format!("chroot(\"{}\") failed: {}", shown(&outer), cause(&error));
            End::refused("chroot failed", log)
        })?;
        inner.clone()
    } else {
        absolute(&undivided(&module.path))
    };
    let root = Root::open_trusted(&path).map_err(|error| {
        End::refused("chdir failed", format!("chdir {} failed: {}", shown(&path), cause(&error)))
    })?;
    let confined = chroot && inner == b"/";
    let munge = module.munge_symlinks.unwrap_or(!confined);
    if munge && let Some(log) = crate::munge::unsafe_here() {
        return Err(End::Refused {
            client: b"daemon security issue -- contact admin".to_vec(),
            log: log.into(),
            exit: ExitCode::Unsupported,
        });
    }
    if let Some((uid, groups)) = &plan.ids {
        become_user(*uid, groups)?;
    }
    let numeric_ids = module.numeric_ids.unwrap_or(chroot);
    Ok(Entered { root, filters: plan.filters, confined, munge, numeric_ids })
}

fn become_user(uid: u32, groups: &[u32]) -> Result<(), End> {
    let Some(gid) = groups.first() else { return Ok(()) };
    let failed = |call: &str, id: u32| {
        let call = call.to_string();
        move |error: std::io::Error| {
            End::refused(format!("{call} failed"), format!("{call} {id} failed: {}", cause(&error)))
        }
    };
    jail::set_groups(*gid, groups).map_err(failed("setgroups", *gid))?;
    jail::set_user(uid).map_err(failed("setuid", uid))
}

/// A path without its dividing `.` elements.
fn undivided(path: &[u8]) -> Vec<u8> {
    let mut path = path.to_vec();
    while let Some(at) = path.windows(3).position(|window| window == b"/./") {
        path.drain(at..at + 2);
    }
    path
}

/// Whether a client may know of a path: it is there, and the daemon's filter does not hide it.
pub(crate) fn visible(root: &Root, filters: &FilterList, path: &[u8]) -> bool {
    let path = path.strip_suffix(b"/").unwrap_or(path);
    let Ok(path) = RelPath::new(path) else { return false };
    let Some(name) = path.name() else { return true };
    let Ok(parent) = root.dir(path.parent()) else { return false };
    match parent.lstat(name) {
        Ok(Some(meta)) => !rules::hides(filters, path.as_bytes(), meta.is_dir()),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_as_numbers() {
        assert_eq!(number(b"12345"), Some(12345));
        assert_eq!(number(b"4294967295"), None);
        assert_eq!(number(b"root"), None);
        assert_eq!(number(b""), None);
    }

    #[test]
    fn dividing_elements_vanish_without_chroot() {
        assert_eq!(undivided(b"/a/./b/././c"), b"/a/b/c");
        assert_eq!(undivided(b"/a"), b"/a");
    }
}
