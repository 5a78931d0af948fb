//! Hard-link groups at the destination: who leads, who waits, who is linked to whom.
//!
//! Part of the generator. The first member that stands correctly or arrives becomes the leader.
//! While no member stands, all but the last one known wait; the last is asked for, and when its
//! data has come the waiting ones are linked to it: those that came after it in their order, then
//! those before it, most recently queued first.

use std::io;
use std::sync::Arc;

use tree::path::RelPath;
use wire::flist::entry::HardLink;
use wire::flist::list::EntryView;
use wire::itemize::ItemFlags;

use crate::attributes;
use crate::fatal::Fatal;
use crate::generator::Generator;
use crate::lists::Segment;
use crate::receiving::Before;

/// A member that waits for its leader.
struct Waiting {
    index: i32,
    segment: Arc<Segment>,
    pos: usize,
}

/// What is known of one group.
#[derive(Default)]
pub struct Group {
    /// Members listed so far that the walk has not reached.
    ahead: u32,
    /// Name of the member that stands at the destination.
    leader: Option<Vec<u8>>,
    /// Index of the member that was asked for.
    requested: Option<i32>,
    /// How many waited when it was asked for.
    early: usize,
    waiting: Vec<Waiting>,
}

fn group_id(entry: &EntryView<'_>) -> Option<i32> {
    match entry.hard_link() {
        Some(HardLink::Group { id, .. }) => Some(id),
        _ => None,
    }
}

impl Generator {
    /// Counts the members of each group in a list, before it is walked.
    pub fn count_members(&mut self, segment: &Arc<Segment>) {
        for pos in 0..segment.list.len() {
            if segment.list.is_active(pos)
                && let Some(id) = group_id(&segment.list.get(pos))
            {
                self.groups.entry(id).or_default().ahead += 1;
            }
        }
    }

    /// The walk has come to an entry; a member is ahead of it no longer.
    pub fn member_reached(&mut self, entry: &EntryView<'_>) {
        if let Some(group) = group_id(entry).and_then(|id| self.groups.get_mut(&id)) {
            group.ahead = group.ahead.saturating_sub(1);
        }
    }

    /// An entry has been dealt with, perhaps by passing it over.
    pub fn member_passed(&mut self, entry: &EntryView<'_>) -> Result<(), Fatal> {
        group_id(entry).map_or(Ok(()), |id| self.try_waiting(id))
    }

    /// Where nobody of a group is ahead, leads or was asked for, those that wait are tried, the
    /// most recent first: whoever was to lead was left as it is, or failed.
    fn try_waiting(&mut self, id: i32) -> Result<(), Fatal> {
        while let Some(group) = self.groups.get_mut(&id)
            && (group.ahead, group.requested, &group.leader) == (0, None, &None)
            && let Some(next) = group.waiting.pop()
        {
            let entry = next.segment.list.get(next.pos);
            self.regular(&next.segment, &entry, next.index)?;
            self.settle(next.index);
        }
        Ok(())
    }

    /// Deals with a member of a group; true when nothing more is to be done for it now.
    pub fn linked_already(
        &mut self,
        segment: &Arc<Segment>,
        pos: usize,
        entry: &EntryView<'_>,
        index: i32,
    ) -> Result<bool, Fatal> {
        let Some(id) = group_id(entry) else { return Ok(false) };
        if self.barred(entry) {
            return Ok(true);
        }
        let group = self.groups.entry(id).or_default();
        if let Some(leader) = group.leader.clone() {
            self.link_to(&leader, entry, index)?;
            return Ok(true);
        }
        if group.requested.is_some() {
            group.waiting.push(Waiting { index, segment: segment.clone(), pos });
            self.owe(index);
            return Ok(true);
        }
        // What needs no data is made at once and leads; a file waits for the last of its group.
        if group.ahead > 0 && entry.is_reg() && !self.stands(entry) {
            if let Some(group) = self.groups.get_mut(&id) {
                group.waiting.push(Waiting { index, segment: segment.clone(), pos });
            }
            self.owe(index);
            return Ok(true);
        }
        Ok(false)
    }

    /// Whether a member is passed over whatever its group does: for its size, or because only what
    /// exists is brought up to date.
    fn barred(&mut self, entry: &EntryView<'_>) -> bool {
        let name = entry.name();
        let (existing, ignores) = (self.recv.opts.existing, self.recv.opts.ignore_existing);
        let path = self.recv.dest_path(&name).filter(|_| existing || ignores);
        match path.map(|path| self.look(&path)) {
            Some(Ok(None)) if self.skipped_as_missing("file", &name) => true,
            // What stands is passed over for that, if nothing else is done with it.
            Some(Ok(Some(_))) if ignores => false,
            _ => entry.is_reg() && self.outside_size_limits(entry, &name),
        }
    }

    /// Whether something of the entry's kind already stands at its place, so that it can lead.
    fn stands(&mut self, entry: &EntryView<'_>) -> bool {
        let Some(path) = self.recv.dest_path(&entry.name()) else { return false };
        let kind = entry.mode() & 0o170_000;
        matches!(self.look(&path), Ok(Some(meta)) if meta.mode & 0o170_000 == kind)
            || self.has_alternate(&path)
            || self.similar(&path, entry).is_some()
    }

    /// Remembers that this member was asked for.
    pub fn requested_leader(&mut self, entry: &EntryView<'_>, index: i32) {
        if let Some(group) = group_id(entry).and_then(|id| self.groups.get_mut(&id)) {
            group.requested = Some(index);
            group.early = group.waiting.len();
        }
    }

    /// In a dry run a member that would be asked for counts as standing.
    pub fn leader_assumed(
        &mut self,
        entry: &EntryView<'_>,
        index: i32,
        name: &[u8],
    ) -> Result<(), Fatal> {
        self.leader_done(entry, index, name)
    }

    /// A member stands: it leads, and those that waited are linked to it.
    pub fn leader_done(
        &mut self,
        entry: &EntryView<'_>,
        _index: i32,
        name: &[u8],
    ) -> Result<(), Fatal> {
        if !self.recv.opts.hard_links {
            return Ok(());
        }
        let Some(id) = group_id(entry) else { return Ok(()) };
        self.lead(id, name)
    }

    fn lead(&mut self, id: i32, name: &[u8]) -> Result<(), Fatal> {
        let group = self.groups.entry(id).or_default();
        group.leader = Some(name.to_vec());
        if group.requested.take().is_some()
            && let Some(late) = group.waiting.get_mut(group.early..)
        {
            late.reverse();
        }
        while let Some(waiting) = self.groups.get_mut(&id).and_then(|g| g.waiting.pop()) {
            let entry = waiting.segment.list.get(waiting.pos);
            self.link_to(name, &entry, waiting.index)?;
            self.settle(waiting.index);
        }
        Ok(())
    }

    /// A requested member's data has come, or will not come.
    pub fn link_waiting(&mut self, index: i32, ok: bool) -> Result<(), Fatal> {
        let found = self.groups.iter().find(|(_, g)| g.requested == Some(index));
        let Some(id) = found.map(|(id, _)| *id) else { return Ok(()) };
        let place = match self.recv.lists.lock() {
            Ok(lists) => lists.find(index)?,
            Err(_) => return Ok(()),
        };
        let (segment, crate::lists::Place::Entry(pos)) = place else { return Ok(()) };
        if ok {
            let name = segment.list.get(pos).name();
            return self.lead(id, &name);
        }
        if let Some(group) = self.groups.get_mut(&id) {
            group.requested = None;
        }
        self.try_waiting(id)
    }

    /// Makes an entry a link to the leader, if it is none yet, and reports it.
    fn link_to(&mut self, leader: &[u8], entry: &EntryView<'_>, index: i32) -> Result<(), Fatal> {
        let name = entry.name();
        let (Some(path), Some(to)) = (self.path(&name), self.path(leader)) else { return Ok(()) };
        let found = self.look(&path).ok().flatten();
        let head = self.look(&to).ok().flatten();
        if let (Some(found), Some(head)) = (&found, &head)
            && (found.dev, found.ino) == (head.dev, head.ino)
        {
            let flags = self.item_flags(&path, entry, Some(found), false);
            self.report_if_changed(index, flags, Some(Vec::new()))?;
            self.confirm(entry, index, false);
            return Ok(());
        }
        if let Some(found) = &found
            && found.is_dir()
            && !self.make_room(&path, found, crate::create::kind_word(entry), &name)?
        {
            return Ok(());
        }
        if !self.recv.opts.dry_run
            && let Err(error) = self.make_link(&to, &path, found.is_some_and(|f| !f.is_dir()))
        {
            let mut line = b"rsync: [generator] link ".to_vec();
            line.extend_from_slice(&self.recv.reporter.quoted(&self.recv.shown_path(&name)));
            line.extend_from_slice(b" => ");
            line.extend_from_slice(crate::scan::trim_root(leader));
            line.extend_from_slice(b" failed: ");
            line.extend_from_slice(crate::fatal::errno_text(&error).as_bytes());
            let text = String::from_utf8_lossy(&line).into_owned();
            self.recv.reporter.problem(&name, crate::problem::ProblemKind::Failed, text);
            self.recv.reporter.error_line(&line);
            return Ok(());
        }
        let (news, flags) = match &found {
            Some(found) if !found.is_dir() => {
                (true, self.item_flags(&path, entry, Some(found), false))
            }
            _ => self.alternate_link(&path, entry, &to, head.as_ref()),
        };
        let opts = &self.recv.opts;
        let letters = opts.itemize > 1 || opts.info.name > 1 && opts.shows_letters();
        if news || letters || flags.is_reportable() {
            let leader = crate::scan::trim_root(leader).to_vec();
            self.report(index, ItemFlags::LOCAL_CHANGE | flags, Some(leader))?;
        } else {
            self.say_up_to_date(&name, false);
        }
        if let Ok(Some(meta)) = self.look(&path)
            && !self.recv.opts.dry_run
        {
            let wanted = attributes::wanted(&self.recv, entry, Before::Mode(meta.mode));
            self.apply_to(&path, &meta, &wanted, &name, false);
        }
        self.confirm(entry, index, false);
        Ok(())
    }

    fn make_link(&mut self, leader: &RelPath, path: &RelPath, replace: bool) -> io::Result<()> {
        let no_name = || io::Error::from_raw_os_error(libc::EISDIR);
        let from = self.cache.parent(leader)?.clone();
        let to = self.cache.parent(path)?.clone();
        let (old, new) = (leader.name().ok_or_else(no_name)?, path.name().ok_or_else(no_name)?);
        if !replace {
            return from.hard_link(old, &to, new);
        }
        let temp = tree::stage::temp_name(new)?;
        from.hard_link(old, &to, &temp)?;
        to.rename(&temp, &to, new).inspect_err(|_| {
            let _ = to.unlink(&temp);
        })
    }
}
