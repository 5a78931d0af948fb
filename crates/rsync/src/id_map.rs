//! Owners on the wire to owners here: by name where one is known, else by number.

use std::collections::HashMap;

use tree::owner::Owners;

use crate::options::Options;

/// Ids of the sender mapped to local ones, remembered.
pub struct IdMap {
    numeric: bool,
    owners: Owners,
    users: HashMap<u32, u32>,
    groups: HashMap<u32, u32>,
}

impl IdMap {
    /// Nothing learned yet; with `--numeric-ids` names are ignored.
    pub fn new(opts: &Options) -> IdMap {
        IdMap {
            numeric: opts.numeric_ids || opts.names_hidden,
            owners: Owners::new(),
            users: HashMap::new(),
            groups: HashMap::new(),
        }
    }

    /// The sender says that this user has this name. Id 0 is never reached by a name, nor left.
    pub fn learn_user(&mut self, id: u32, name: &[u8]) {
        if !self.numeric && id != 0 && !name.is_empty() {
            let local = self.owners.user_id(name).unwrap_or(id);
            self.users.insert(id, local);
        }
    }

    /// The sender says that this group has this name.
    pub fn learn_group(&mut self, id: u32, name: &[u8]) {
        if !self.numeric && id != 0 && !name.is_empty() {
            let local = self.owners.group_id(name).unwrap_or(id);
            self.groups.insert(id, local);
        }
    }

    /// The local user of a sender's user.
    pub fn user(&mut self, id: u32) -> u32 {
        self.users.get(&id).copied().unwrap_or(id)
    }

    /// The local group of a sender's group.
    pub fn group(&mut self, id: u32) -> u32 {
        self.groups.get(&id).copied().unwrap_or(id)
    }
}
