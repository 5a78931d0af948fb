//! Going into a module: ids, filter, root directory, privileges.
//!
//! Called by `connection` once the client is let in. `plan` does what needs the system's files:
//! names to ids, the filter files. `enter` then changes the root directory if the module says so,
//! opens the module's directory, and gives up what privileges the process has. From then on the
//! handle of the directory is the only way to it.

use tree::path::RelPath;
use tree::root::Root;
use tree::{confine, jail, owner};
use wire::exit::ExitCode;
use wire::filter::FilterList;

use super::connection::End;
use super::log::{DaemonLog, cause, reason};
use super::module::{Globals, Module};
use super::{rules, secrets};

/// Goes into the root directory of all connections and gives up rights, where the operator wants
/// that before a client has said anything. Names of ids are those of the files that are then in
/// reach.
pub(crate) fn confine(globals: &Globals) -> Result<(), End> {
    let dropped = |log: String| End::dropped(log, ExitCode::StartClient);
    let failed = |call: String| move |error: std::io::Error| dropped(told(&call, &error));
    let text = |value: &[u8]| String::from_utf8_lossy(value).into_owned();
    if !globals.chroot.is_empty() {
        let call = format!("daemon chroot(\"{}\")", text(&globals.chroot));
        jail::chroot(&globals.chroot).map_err(failed(call))?;
    }
    let mut owners = owner::Owners::new();
    if !globals.gid.is_empty() {
        let gid = number(&globals.gid).or_else(|| owners.group_id(&globals.gid));
        let invalid = || dropped(format!("Invalid daemon gid: {}", text(&globals.gid)));
        let gid = gid.ok_or_else(invalid)?;
        jail::set_groups(gid, &[gid]).map_err(failed(format!("setgid to daemon gid {gid}")))?;
    }
    if !globals.uid.is_empty() {
        let uid = number(&globals.uid).or_else(|| owners.user_id(&globals.uid));
        let invalid = || dropped(format!("Invalid daemon uid: {}", text(&globals.uid)));
        let uid = uid.ok_or_else(invalid)?;
        jail::set_user(uid).map_err(failed(format!("setuid to daemon uid {uid}")))?;
    }
    Ok(())
}

/// What was found out while the system's files were in reach.
pub(crate) struct EntryPlan {
    /// User to become, and groups: the first is the main one, and none leaves them. `None` changes
    /// nothing.
    ids: Option<(u32, Vec<u32>)>,
    filters: FilterList,
    /// Directory that relative paths of the configuration begin at.
    from: Vec<u8>,
    chroot: bool,
}

/// A process inside its module.
pub(crate) struct Entered {
    pub(crate) root: Root,
    pub(crate) filters: FilterList,
    pub(crate) confined: bool,
    pub(crate) munge: bool,
    pub(crate) numeric_ids: bool,
}

/// Resolves ids and filters, and decides about the root directory.
pub(crate) fn plan(module: &Module, log: &DaemonLog) -> Result<EntryPlan, End> {
    let ids = ids(module)?;
    if module.path.is_empty() {
        let name = String::from_utf8_lossy(&module.name);
        return Err(End::refused(
            "no path setting.",
            format!("No path specified for module {name}"),
        ));
    }
    let filters = rules::load(&module.rules).map_err(|error| {
        let last = crate::report::final_line(error.exit, "Receiver");
        End::dropped([&error.text[..], b"\n", last.as_bytes()].concat(), error.exit)
    })?;
    let from = std::env::current_dir().unwrap_or_default().into_os_string().into_encoded_bytes();
    let chroot = wants_chroot(module, log);
    Ok(EntryPlan { ids, filters, from, chroot })
}

/// Whether the root directory is to be changed. Unset is tried with the directory it already is,
/// which also makes it the current one.
fn wants_chroot(module: &Module, log: &DaemonLog) -> bool {
    let divided = module.path.windows(3).any(|window| window == b"/./");
    module.use_chroot.unwrap_or_else(|| {
        let tried = if divided { Ok(()) } else { jail::chroot(b"/") };
        if let Err(error) = &tried {
            let cause = reason(error);
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
        groups.push(found.ok_or_else(|| invalid("gid", b"nogroup"))?);
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
pub(crate) fn enter(module: &Module, plan: EntryPlan) -> Result<Entered, End> {
    let (from, chroot) = (plan.from, plan.chroot);
    let absolute = |path: &[u8]| match path.first() {
        Some(b'/') => path.to_vec(),
        _ => [from.as_slice(), b"/", path].concat(),
    };
    let (outer, inner) = module.chroot_parts();
    let outer = absolute(&outer);
    let shown = |path: &[u8]| String::from_utf8_lossy(path).into_owned();
    let path = if chroot {
        jail::chroot(&outer).map_err(|error| {
            let call = format!("chroot(\"{}\")", shown(&outer));
            End::refused("chroot failed", told(&call, &error))
        })?;
        inner.clone()
    } else {
        absolute(&undivided(&module.path))
    };
    if module.insecure_links {
        tree::operator::follow_all();
    }
    let root = Root::open_trusted(&path).map_err(|error| {
        End::refused("chdir failed", told(&format!("chdir {}", shown(&path)), &error))
    })?;
    let confined = chroot && inner == b"/";
    let munge = module.munge_symlinks.unwrap_or(!confined);
    if munge && let Some(log) = crate::munge::unsafe_here() {
        return Err(End::Refused {
            client: b"daemon security issue -- contact admin".to_vec(),
            log: log.into(),
            exit: ExitCode::Unsupported.code(),
        });
    }
    if let Some((uid, groups)) = &plan.ids {
        become_user(*uid, groups)?;
    }
    // From here on paths lead nowhere else, whatever this program does.
    if !module.insecure_links {
        confine::confine(root.top(), !module.read_only)
            .map_err(|error| End::refused("confinement failed", told("landlock", &error)))?;
    }
    let numeric_ids = module.numeric_ids.unwrap_or(chroot && module.name_converter.is_empty());
    Ok(Entered { root, filters: plan.filters, confined, munge, numeric_ids })
}

fn become_user(uid: u32, groups: &[u32]) -> Result<(), End> {
    let failed = |call: String| {
        move |error: std::io::Error| {
            let name = call.split(' ').next().unwrap_or_default();
            End::refused(format!("{name} failed"), told(&call, &error))
        }
    };
    if let Some(gid) = groups.first() {
        let again = rustix::process::getegid().as_raw() == *gid;
        let call = if again { "setgroups".to_string() } else { format!("setgid {gid}") };
        jail::set_groups(*gid, groups).map_err(failed(call))?;
    }
    jail::set_user(uid).map_err(failed(format!("setuid {uid}")))
}

/// A call that failed, for the log.
fn told(call: &str, error: &std::io::Error) -> String {
    format!("rsync: [Receiver] {call} failed: {}", cause(error))
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
