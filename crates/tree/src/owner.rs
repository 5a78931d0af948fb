//! Users and groups: names to ids and back, and what this process is.
//!
//! Called by the sender for names to send, by the receiver to map them, and at the start of a run.
//! Look-ups must happen before a change of root, after which the account files may be missing.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::sync::{Arc, Mutex};

/// Who answers look-ups in place of the system's account files.
pub trait Names: Send {
    /// The name of a user.
    fn user_name(&mut self, uid: u32) -> Option<Vec<u8>>;
    /// The name of a group.
    fn group_name(&mut self, gid: u32) -> Option<Vec<u8>>;
    /// The id of a user name.
    fn user_id(&mut self, name: &[u8]) -> Option<u32>;
    /// The id of a group name.
    fn group_id(&mut self, name: &[u8]) -> Option<u32>;
}

/// One that several roles ask.
pub type SharedNames = Arc<Mutex<dyn Names>>;

/// Look-ups, remembered for the life of the value.
#[derive(Default)]
pub struct Owners {
    asked: Option<SharedNames>,
    users: HashMap<u32, Option<Vec<u8>>>,
    groups: HashMap<u32, Option<Vec<u8>>>,
}

impl Owners {
    /// Nothing looked up yet.
    pub fn new() -> Owners {
        Owners::default()
    }

    /// Asks somebody else than the system, if there is somebody.
    pub fn asking(asked: Option<SharedNames>) -> Owners {
        Owners { asked, ..Owners::default() }
    }

    /// The name of a user.
    pub fn user_name(&mut self, uid: u32) -> Option<Vec<u8>> {
        if let Some(names) = &self.asked {
            let ask = || names.lock().ok()?.user_name(uid);
            return self.users.entry(uid).or_insert_with(ask).clone();
        }
        let look = || uzers::get_user_by_uid(uid).map(|user| user.name().as_bytes().to_vec());
        self.users.entry(uid).or_insert_with(look).clone()
    }

    /// The name of a group.
    pub fn group_name(&mut self, gid: u32) -> Option<Vec<u8>> {
        if let Some(names) = &self.asked {
            let ask = || names.lock().ok()?.group_name(gid);
            return self.groups.entry(gid).or_insert_with(ask).clone();
        }
        let look = || uzers::get_group_by_gid(gid).map(|group| group.name().as_bytes().to_vec());
        self.groups.entry(gid).or_insert_with(look).clone()
    }

    /// The id of a user name.
    pub fn user_id(&mut self, name: &[u8]) -> Option<u32> {
        if let Some(names) = &self.asked {
            return names.lock().ok()?.user_id(name);
        }
        uzers::get_user_by_name(OsStr::from_bytes(name)).map(|user| user.uid())
    }

    /// The id of a group name.
    pub fn group_id(&mut self, name: &[u8]) -> Option<u32> {
        if let Some(names) = &self.asked {
            return names.lock().ok()?.group_id(name);
        }
        uzers::get_group_by_name(OsStr::from_bytes(name)).map(|group| group.gid())
    }
}

/// The primary group of a user and all groups it is in; none if the system does not know it.
pub fn user_groups(uid: u32) -> Option<(u32, Vec<u32>)> {
    let user = uzers::get_user_by_uid(uid)?;
    let groups = user.groups().unwrap_or_default().iter().map(uzers::Group::gid).collect();
    Some((user.primary_group_id(), groups))
}

/// Whether this process may do anything.
pub fn am_root() -> bool {
    effective_uid() == 0
}

/// The effective user of this process.
pub fn effective_uid() -> u32 {
    rustix::process::geteuid().as_raw()
}

/// Whether this process is in a group.
pub fn in_group(gid: u32) -> bool {
    rustix::process::getegid().as_raw() == gid
        || rustix::process::getgroups().is_ok_and(|all| all.iter().any(|g| g.as_raw() == gid))
}

/// The permission bits that new files of this process lose. Read without setting them where
/// `/proc` tells; else set for a moment to the strictest value, so call it before threads start.
pub fn umask() -> u32 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("Umask:"));
    line.and_then(|text| u32::from_str_radix(text.trim(), 8).ok()).unwrap_or_else(|| {
        let before = rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o077));
        rustix::process::umask(before);
        before.as_raw_mode()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_numbers_go_both_ways() {
        let mut owners = Owners::new();
        assert_eq!(owners.user_name(0).as_deref(), Some(&b"root"[..]));
        assert_eq!(owners.user_id(b"root"), Some(0));
        assert_eq!(owners.group_name(0).as_deref(), Some(&b"root"[..]));
        assert_eq!(owners.group_id(b"root"), Some(0));
        assert_eq!(owners.user_id(b""), None);
        assert_eq!(owners.user_id(b"no such user"), None);
        assert_eq!(owners.user_name(4_000_000_000), None);
        assert_eq!(owners.group_id(b"\xff\x00x"), None);
        assert_eq!(user_groups(0).map(|(own, _)| own), Some(0));
        assert!(in_group(rustix::process::getegid().as_raw()));
        assert!(!in_group(4_000_000_001));
        let before = rustix::process::umask(rustix::fs::Mode::empty());
        rustix::process::umask(before);
        assert_eq!(umask(), before.as_raw_mode());
    }
}
