//! Owners on the wire to owners here: by the maps of the options, else by name where one is known,
//! else by number.

use std::collections::HashMap;

use tree::owner::{Owners, SharedNames};
use wire::exit::ExitCode;
use wire::filter::wildmatch::{Glob, has_wildcard};

use crate::fatal::{Fatal, Voice};
use crate::options::Options;
use crate::report::messages::Reporter;

/// Whom a rule of `--usermap` or `--groupmap` is about.
enum From {
    /// Ids of a range.
    Ids(u32, u32),
    /// A name; the empty one is that of ids without a name.
    Name(Vec<u8>),
    /// A pattern of names.
    Pattern(Glob),
}

/// One rule of a map.
struct MapRule {
    from: From,
    to: u32,
}

impl MapRule {
    fn matches(&self, id: u32, name: &[u8]) -> bool {
        match &self.from {
            From::Ids(first, last) => (*first..=*last).contains(&id),
            From::Pattern(pattern) => pattern.matches(name),
            From::Name(known) => known == name,
        }
    }
}

/// What is known of users, or of groups.
#[derive(Default)]
struct Kind {
    rules: Vec<MapRule>,
    /// Names the sender told, kept where rules may ask for them.
    names: HashMap<u32, Vec<u8>>,
    /// Ids reached by name.
    local: HashMap<u32, u32>,
}

impl Kind {
    fn id(&self, id: u32) -> u32 {
        if !self.rules.is_empty() {
            let name = self.names.get(&id).map_or(&b""[..], Vec::as_slice);
            if let Some(rule) = self.rules.iter().find(|rule| rule.matches(id, name)) {
                return rule.to;
            }
        }
        self.local.get(&id).copied().unwrap_or(id)
    }
}

/// Ids of the sender mapped to local ones, remembered.
pub struct IdMap {
    numeric: bool,
    owners: Owners,
    users: Kind,
    groups: Kind,
}

impl IdMap {
    /// Nothing learned yet; with `--numeric-ids` names are ignored.
    pub fn new(opts: &Options, names: Option<SharedNames>) -> IdMap {
        IdMap {
            numeric: opts.numeric_ids || opts.names_hidden,
            owners: Owners::asking(names),
            users: Kind::default(),
            groups: Kind::default(),
        }
    }

    /// Reads `--usermap` and `--groupmap`. A rule to an unknown name is passed over with a word.
    pub fn read_maps(&mut self, opts: &Options, reporter: &Reporter) -> Result<(), Fatal> {
        if let Some(map) = &opts.usermap {
            let owners = &mut self.owners;
            self.users.rules = rules("usermap", map, reporter, &mut |name| owners.user_id(name))?;
        }
        if let Some(map) = &opts.groupmap {
            let owners = &mut self.owners;
            let find = &mut |name: &[u8]| owners.group_id(name);
            self.groups.rules = rules("groupmap", map, reporter, find)?;
        }
        Ok(())
    }

    /// The sender says that this user has this name. Id 0 is never reached by a name, nor left,
    /// but by a rule.
    pub fn learn_user(&mut self, id: u32, name: &[u8]) {
        if self.numeric || name.is_empty() {
            return;
        }
        if !self.users.rules.is_empty() {
            self.users.names.insert(id, name.to_vec());
        }
        if id != 0 {
            let local = self.owners.user_id(name).unwrap_or(id);
            self.users.local.insert(id, local);
        }
    }

    /// The sender says that this group has this name.
    pub fn learn_group(&mut self, id: u32, name: &[u8]) {
        if self.numeric || name.is_empty() {
            return;
        }
        if !self.groups.rules.is_empty() {
            self.groups.names.insert(id, name.to_vec());
        }
        if id != 0 {
            let local = self.owners.group_id(name).unwrap_or(id);
            self.groups.local.insert(id, local);
        }
    }

    /// The local user of a sender's user.
    pub fn user(&mut self, id: u32) -> u32 {
        self.users.id(id)
    }

    /// The local group of a sender's group.
    pub fn group(&mut self, id: u32) -> u32 {
        self.groups.id(id)
    }
}

/// `FROM:TO,FROM:TO`, in order.
fn rules(
    option: &str,
    map: &[u8],
    reporter: &Reporter,
    find: &mut dyn FnMut(&[u8]) -> Option<u32>,
) -> Result<Vec<MapRule>, Fatal> {
    let wrong = |what: &str, rule: &[u8]| {
        let text = [format!("{what} --{option}: ").as_bytes(), rule].concat();
        Fatal { voice: Voice::Bare, ..Fatal::new(ExitCode::Syntax, text) }
    };
    let mut rules = Vec::new();
    for rule in map.split(|&b| b == b',') {
        let Some(colon) = rule.iter().position(|&b| b == b':') else {
            return Err(wrong("No colon found in", rule));
        };
        let (from, to) = (&rule[..colon], &rule[colon + 1..]);
        if to.is_empty() {
            return Err(wrong("No name found after colon", rule));
        }
        let from = match from.first() {
            Some(first) if first.is_ascii_digit() => {
                ids(from).ok_or_else(|| wrong("Invalid number in", from))?
            }
            _ if has_wildcard(from) => From::Pattern(Glob::new(from)),
            _ => From::Name(from.to_vec()),
        };
        match number(to).or_else(|| find(to)) {
            Some(to) => rules.push(MapRule { from, to }),
            None => {
                let text = format!("Unknown --{option} name on receiver: ");
                reporter.final_error(&[text.as_bytes(), to].concat());
            }
        }
    }
    Ok(rules)
}

/// `N` or `N-M`.
fn ids(text: &[u8]) -> Option<From> {
    match text.iter().position(|&b| b == b'-') {
        Some(at) => Some(From::Ids(number(&text[..at])?, number(&text[at + 1..])?)),
        None => number(text).map(|id| From::Ids(id, id)),
    }
}

fn number(text: &[u8]) -> Option<u32> {
    if text.is_empty() || !text.iter().all(u8::is_ascii_digit) {
        return None;
    }
    std::str::from_utf8(text).ok()?.parse().ok()
}
