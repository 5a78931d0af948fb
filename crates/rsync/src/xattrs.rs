//! Extended attributes: which names count, the lists that have come, comparing and setting them.
//!
//! The generator compares what stands with an entry's list and asks for the long values it lacks;
//! the receiver takes the answers and sets the attributes, of a transferred file before it gets its
//! name, of all other items when the sender's echo passes. Items that the generator makes get what
//! is known at once.

use std::io;
use std::sync::Arc;

use tree::acl::AclKind;
use tree::dir::Dir;
use tree::meta::Meta;
use tree::path::{Name, RelPath};
use tree::xattr::XattrHolder;
use wire::error::Error;
use wire::exit::ExitCode;
use wire::filter::{FilterList, Side};
use wire::flist::list::EntryView;
use wire::flist::xattrs::{Xattr, XattrValue};
use wire::itemize::ItemFlags;
use wire::limits::too_big;

use crate::fatal::errno_text;
use crate::generator::Generator;
use crate::quick_check::attribute_flags;
use crate::receiving::Receiving;
use crate::report::messages::Role;

/// Names that say what another attribute cannot; they travel only with `-XX`.
const PRIVATE: &[u8] = b"user.rsync.%";

/// Names and values, sorted by name.
pub type Values = Vec<(Vec<u8>, Vec<u8>)>;

/// Whether a side lists and sets attributes of this name. Rules with the modifier `x` replace what
/// holds otherwise: nothing of `system.`, and `user_only` nothing but `user.`.
pub fn counts(name: &[u8], filters: &[&FilterList], side: Side, user_only: bool) -> bool {
    if filters.iter().any(|list| list.has_xattr_rules()) {
        return !filters.iter().any(|list| list.is_xattr_excluded(name, side));
    }
    match user_only {
        true => name.starts_with(b"user."),
        false => !name.starts_with(b"system."),
    }
}

/// Whether a sender keeps a name to itself.
pub fn is_private(name: &[u8], level: u8) -> bool {
    level < 2 && name.starts_with(PRIVATE)
}

/// Reads the attributes whose names count. An error comes with the words for it.
pub fn read(
    holder: &XattrHolder<'_>,
    shown: &[u8],
    counts: &dyn Fn(&[u8]) -> bool,
) -> Result<Values, (Vec<u8>, io::Error)> {
    let mut names = holder.names().map_err(|error| {
        ([b"get_xattr_names: llistxattr(\"".as_slice(), shown, b"\",1024)"].concat(), error)
    })?;
    names.retain(|name| counts(name));
    names.sort();
    let mut values = Values::new();
    for name in names {
        match holder.get(&name) {
            Ok(Some(value)) => values.push((name, value)),
            // Removed since.
            Ok(None) => {}
            Err(error) => {
                let what: [&[u8]; 5] =
                    [b"get_xattr_data: lgetxattr(\"", shown, b"\",\"", &name, b"\",0)"];
                return Err((what.concat(), error));
            }
        }
    }
    Ok(values)
}

/// One attribute of a list that came.
#[derive(Clone, Debug)]
struct Stored {
    xattr: Xattr,
    /// Its number in the list as it travelled.
    number: u32,
    /// Its long value was asked for.
    asked: bool,
    /// The long value, once it came.
    long: Option<Arc<[u8]>>,
}

impl Stored {
    fn value(&self) -> Option<&[u8]> {
        match (&self.xattr.value, &self.long) {
            (XattrValue::Whole(value), _) => Some(value),
            (_, long) => long.as_deref(),
        }
    }
}

#[derive(Debug, Default)]
struct StoredList {
    items: Vec<Stored>,
    /// Attributes in the list as it travelled.
    sent: usize,
}

/// The lists of one connection, by number.
#[derive(Debug, Default)]
pub struct XattrStore {
    lists: Vec<StoredList>,
    held: usize,
}

impl XattrStore {
    /// Takes the next list, without the names that do not count here.
    pub fn add(&mut self, list: Vec<Xattr>, counts: &dyn Fn(&[u8]) -> bool) -> u32 {
        let sent = list.len();
        let numbered = list.into_iter().zip(1..).filter(|(xattr, _)| counts(&xattr.name));
        let stored = |(xattr, number)| Stored { xattr, number, asked: false, long: None };
        let mut items: Vec<Stored> = numbered.map(stored).collect();
        items.sort_by(|a, b| a.xattr.name.cmp(&b.xattr.name));
        self.lists.push(StoredList { items, sent });
        self.lists.len().saturating_sub(1) as u32
    }

    fn items(&self, number: u32) -> &[Stored] {
        self.lists.get(number as usize).map_or(&[], |list| &list.items)
    }

    /// How many attributes a list had as it travelled.
    pub fn sent(&self, number: u32) -> usize {
        self.lists.get(number as usize).map_or(0, |list| list.sent)
    }

    /// Whether a list is not what stands.
    fn differs(&self, number: u32, local: &Values) -> bool {
        let items = self.items(number);
        let same = |(item, (name, value)): (&Stored, &(Vec<u8>, Vec<u8>))| {
            item.xattr.name == *name && item.xattr.value.is_of(value)
        };
        items.len() != local.len() || !items.iter().zip(local).all(same)
    }

    /// The long values that are neither here nor asked for.
    fn missing(&self, number: u32, local: &Values) -> Vec<u32> {
        let stands = |item: &Stored| {
            local
                .iter()
                .any(|(name, value)| *name == item.xattr.name && item.xattr.value.is_of(value))
        };
        let wanted = self
            .items(number)
            .iter()
            .filter(|item| item.value().is_none() && !item.asked && !stands(item));
        let mut numbers: Vec<u32> = wanted.map(|item| item.number).collect();
        numbers.sort_unstable();
        numbers
    }

    fn mark_asked(&mut self, number: u32, items: &[u32]) {
        if let Some(list) = self.lists.get_mut(number as usize) {
            for item in list.items.iter_mut().filter(|item| items.contains(&item.number)) {
                item.asked = true;
            }
        }
    }

    /// Takes a long value. Errors: nobody asked for it.
    pub fn fill(&mut self, number: u32, item: u32, value: Vec<u8>) -> Result<(), Error> {
        let held = self.held.saturating_add(value.len());
        let refuse = |exit, text: &str| Err(Error::misbehaved(exit, "xattr-answer", text));
        if too_big(held) {
            return refuse(ExitCode::Malloc, "too many long extended attributes");
        }
        let list = self.lists.get_mut(number as usize);
        let found = list.and_then(|list| list.items.iter_mut().find(|x| x.number == item));
        match found.filter(|x| x.asked && x.long.is_none()) {
            Some(stored) => stored.long = Some(value.into()),
            None => return refuse(ExitCode::Protocol, "an extended attribute nobody asked for"),
        }
        self.held = held;
        Ok(())
    }
}

impl Receiving {
    /// Whether an attribute of this name is kept, compared and removed here.
    pub fn counts_xattr(&self, name: &[u8]) -> bool {
        let lists: Vec<&FilterList> =
            self.daemon_filters.iter().chain(std::iter::once(&self.filters)).collect();
        counts(name, &lists, Side::Receiver, !self.privileges.root)
    }

    /// Gives an item the attributes of a list. `old`: what it replaces, whose long values stand for
    /// those that did not come. `early`: what is missing will come later. False when something
    /// failed, which is told.
    pub fn set_xattrs(
        &self,
        number: u32,
        holder: &XattrHolder<'_>,
        old: Option<&XattrHolder<'_>>,
        (role, name): (Role, &[u8]),
        early: bool,
    ) -> bool {
        let Ok(items) = self.xattrs.lock().map(|store| store.items(number).to_vec()) else {
            return false;
        };
        let shown = self.shown_path(name);
        let tell = |what: Vec<u8>, error: &io::Error| self.xattr_failed(role, name, &what, error);
        let here = match read(holder, &shown, &|key| self.counts_xattr(key)) {
            Ok(here) => here,
            Err((what, error)) => {
                tell(what, &error);
                return false;
            }
        };
        let mut all = true;
        for item in &items {
            let key = &item.xattr.name;
            let has = here.iter().find(|(name, _)| name == key).map(|(_, value)| value);
            let copied;
            let value = match item.value() {
                Some(value) => value,
                None if has.is_some_and(|value| item.xattr.value.is_of(value)) => continue,
                None => {
                    let there = old.and_then(|old| old.get(key).ok().flatten());
                    match there.filter(|value| item.xattr.value.is_of(value)) {
                        Some(value) => {
                            copied = value;
                            &copied
                        }
                        None if early => continue,
                        None => {
                            all = false;
                            self.xattr_missing(key, name);
                            continue;
                        }
                    }
                }
            };
            if has.is_some_and(|has| has == value) {
                continue;
            }
            if let Err(error) = holder.set(key, value) {
                let what = xattr_call("rsync_xal_set: lsetxattr", &shown, key);
                tell(what, &error);
                all = false;
            }
        }
        let extra = here.iter().filter(|(key, _)| !items.iter().any(|x| x.xattr.name == *key));
        for (key, _) in extra {
            if let Err(error) = holder.remove(key) {
                tell(xattr_call("rsync_xal_set: lremovexattr", &shown, key), &error);
                all = false;
            }
        }
        all
    }

    fn xattr_missing(&self, key: &[u8], name: &[u8]) {
        let line: [&[u8]; 4] = [
            b"Missing abbreviated xattr value, ",
            key,
            b", for ",
            &self.reporter.quoted(&self.shown_path(name)),
        ];
        let line = line.concat();
        let text = String::from_utf8_lossy(&line).into_owned();
        self.reporter.problem(name, crate::problem::ProblemKind::Failed, text);
        self.reporter.error_line(&line);
    }

    fn xattr_failed(&self, role: Role, name: &[u8], what: &[u8], error: &io::Error) {
        let mut line = format!("rsync: [{}] ", role.word()).into_bytes();
        line.extend_from_slice(what);
        line.extend_from_slice(b" failed: ");
        line.extend_from_slice(errno_text(error).as_bytes());
        let text = String::from_utf8_lossy(&line).into_owned();
        self.reporter.problem(name, crate::problem::ProblemKind::Failed, text);
        self.reporter.error_line(&line);
    }
}

fn xattr_call(call: &str, shown: &[u8], key: &[u8]) -> Vec<u8> {
    [call.as_bytes(), b"(\"", shown, b"\",\"", key, b"\")"].concat()
}

/// Copies access control lists and all attributes that count from one item to another, as far as that goes.
pub fn copy(recv: &Receiving, from: &XattrHolder<'_>, to: &XattrHolder<'_>) {
    for kind in [AclKind::Access, AclKind::Default].iter().filter(|_| recv.opts.acls) {
        if let Ok(Some(acl)) = from.acl(*kind) {
            let _ = to.set_acl(*kind, Some(&acl));
        }
    }
    if recv.opts.xattrs == 0 {
        return;
    }
    let values = read(from, b"", &|name| recv.counts_xattr(name)).unwrap_or_default();
    for (name, value) in values {
        let _ = to.set(&name, &value);
    }
}

impl Generator {
    /// What differs between an entry and what stands at its place, attributes included; remembers
    /// the long values that a record with these flags asks for.
    pub fn item_flags(
        &mut self,
        path: &RelPath,
        entry: &EntryView<'_>,
        meta: Option<&Meta>,
        changed: bool,
    ) -> ItemFlags {
        let Some(meta) = meta else { return self.xattr_flags(entry, &Values::new()) };
        let found = match path.name() {
            Some(_) => self.cache.parent(path).cloned(),
            None => self.cache.dir(path).cloned(),
        };
        match found {
            Ok(dir) => self.flags_at((&dir, path.name()), entry, meta, changed),
            Err(_) => attribute_flags(&self.recv, entry, meta, changed),
        }
    }

    /// The same for an item of a directory, or the directory itself.
    pub fn flags_at(
        &mut self,
        (dir, name): (&Dir, Option<&Name>),
        entry: &EntryView<'_>,
        meta: &Meta,
        changed: bool,
    ) -> ItemFlags {
        let mut flags = attribute_flags(&self.recv, entry, meta, changed);
        let holder = match name {
            Some(name) => XattrHolder::Item(dir, name),
            None => XattrHolder::Itself(dir),
        };
        if let Some(acls) = entry.acls()
            && self.recv.acls_differ(acls, &holder, entry.mode())
        {
            flags |= ItemFlags::REPORT_ACL;
            // Of an item that stands the list is set before the permissions are compared.
            let wanted = self.recv.incoming_mode(entry);
            let set = !changed && !entry.is_dir() && !self.recv.opts.dry_run;
            if set && (meta.mode ^ wanted) & 0o7000 == 0 {
                flags = ItemFlags(flags.0 & !ItemFlags::REPORT_PERMS.0);
            }
        }
        if entry.xattrs().is_none() || self.recv.opts.xattrs == 0 {
            self.wanted_xattrs = None;
            return flags;
        }
        let local = self.local_xattrs(&holder, entry);
        flags | self.xattr_flags(entry, &local)
    }

    fn xattr_flags(&mut self, entry: &EntryView<'_>, local: &Values) -> ItemFlags {
        self.wanted_xattrs = None;
        let number = entry.xattrs().filter(|_| self.recv.opts.xattrs > 0);
        if let (Some(number), Ok(store)) = (number, self.recv.xattrs.lock())
            && store.differs(number, local)
        {
            self.wanted_xattrs = Some((number, store.missing(number, local)));
            return ItemFlags::REPORT_XATTR;
        }
        ItemFlags::NONE
    }

    fn local_xattrs(&self, holder: &XattrHolder<'_>, entry: &EntryView<'_>) -> Values {
        let (recv, name) = (&self.recv, entry.name());
        let read = read(holder, &recv.shown_path(&name), &|key| recv.counts_xattr(key));
        read.unwrap_or_else(|(what, error)| {
            recv.xattr_failed(Role::Generator, &name, &what, &error);
            Values::new()
        })
    }

    /// Writes the request that follows a record.
    pub fn put_xattr_request(&mut self, iflags: ItemFlags) {
        let wanted = self.wanted_xattrs.take();
        if !self.recv.agreed.xattrs_follow(&self.recv.opts, iflags) {
            return;
        }
        let (number, items) = wanted.unwrap_or_default();
        wire::flist::xattrs::put_request(&mut self.writer.data, &items);
        if let Ok(mut store) = self.recv.xattrs.lock() {
            store.mark_asked(number, &items);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list() -> Vec<Xattr> {
        let item =
            |name: &str, value: &[u8]| Xattr { name: name.into(), value: XattrValue::of(value) };
        vec![item("trusted.t", &[1; 50]), item("user.a", b"x"), item("user.b", &[2; 50])]
    }

    #[test]
    fn long_values_are_asked_for_once_by_their_number() {
        let mut store = XattrStore::default();
        let number = store.add(list(), &|name| name.starts_with(b"user."));
        let local: Values = vec![(b"user.a".to_vec(), b"x".to_vec())];
        assert!(store.differs(number, &local));
        assert_eq!(store.missing(number, &local), [3]);
        let same: Values = vec![local[0].clone(), (b"user.b".to_vec(), vec![2; 50])];
        assert!(!store.differs(number, &same));
        assert_eq!(store.missing(number, &same), [0_u32; 0]);
        assert!(store.fill(number, 3, vec![2; 50]).is_err());
        store.mark_asked(number, &[3]);
        assert_eq!(store.missing(number, &local), [0_u32; 0]);
        assert!(store.fill(number, 1, vec![1; 50]).is_err());
        store.fill(number, 3, vec![2; 50]).unwrap();
        assert!(store.fill(number, 3, vec![2; 50]).is_err());
        assert_eq!(store.items(number)[1].value(), Some(&[2; 50][..]));
        assert_eq!((store.sent(number), store.sent(7)), (3, 0));
    }

    #[test]
    fn rules_replace_the_name_spaces() {
        let mut rules = FilterList::new();
        let of = |name: &str, rules: &FilterList, user_only| {
            counts(name.as_bytes(), &[rules], Side::Receiver, user_only)
        };
        assert!(of("security.x", &rules, false) && !of("security.x", &rules, true));
        assert!(!of("system.posix_acl_access", &rules, false) && of("user.x", &rules, true));
        let origin = wire::filter::parse::Origin::Argument;
        for rule in ["-xr user.x", "- *"] {
            rules.add_rule_text(rule.as_bytes(), &origin, &mut |_, _| None).unwrap();
        }
        assert!(!of("user.x", &rules, false) && of("user.y", &rules, false));
        assert!(of("security.x", &rules, true));
        assert!(counts(b"user.x", &[&rules], Side::Sender, false));
        assert!(is_private(b"user.rsync.%stat", 1) && !is_private(b"user.rsync.%stat", 2));
    }
}
