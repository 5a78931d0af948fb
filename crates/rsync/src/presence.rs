//! What is left alone: because it is missing or there, as `--existing` and `--ignore-existing` say,
//! or because nothing is to be done for it.

use tree::meta::Meta;
use tree::path::RelPath;
use wire::exchange::request::ItemHead;
use wire::flist::list::EntryView;
use wire::itemize::ItemFlags;

use crate::generator::Generator;
use crate::lists::Place;

/// The kind of an item, from its mode.
const KIND: u32 = 0o170_000;

impl Generator {
    /// Whether an item is passed over; tells where that is asked for. Two directories are not the
    /// business of `--ignore-existing`.
    pub fn skipped_by_presence(
        &mut self,
        path: &RelPath,
        entry: &EntryView<'_>,
        meta: Option<&Meta>,
    ) -> bool {
        let name = entry.name();
        let Some(meta) = meta else { return self.skipped_as_missing("file", &name) };
        if !self.recv.opts.ignore_existing {
            return false;
        }
        let how = match self.recv.opts.info.skip {
            0 => return true,
            1 => "",
            _ => self.how_it_differs(path, entry, meta),
        };
        let rel = self.recv.told_name(&name);
        self.recv.reporter.info(&[rel, b" exists", how.as_bytes(), b"\n"].concat());
        true
    }

    /// A daemon's log gets the name of an item that needs no data.
    pub(crate) fn name_in_log(&self, head: &ItemHead) {
        if self.printer.names_items()
            && let Ok(lists) = self.recv.lists.lock()
            && let Ok((segment, place)) = lists.find(head.ndx)
        {
            self.printer.name_item(&self.recv.reporter, &segment, &place, head);
        }
    }

    /// Whether something that is missing stays so.
    pub fn skipped_as_missing(&self, kind: &str, name: &[u8]) -> bool {
        if self.recv.opts.existing && self.recv.opts.info.skip > 0 {
            let mut line = format!("not creating new {kind} \"").into_bytes();
            line.extend_from_slice(self.recv.told_name(name));
            line.extend_from_slice(b"\"\n");
            self.recv.reporter.info(&line);
        }
        self.recv.opts.existing
    }

    fn how_it_differs(
        &mut self,
        path: &RelPath,
        entry: &EntryView<'_>,
        meta: &Meta,
    ) -> &'static str {
        if entry.mode() & KIND != meta.mode & KIND {
            return " (type change)";
        }
        let same = match path.name() {
            Some(base) if entry.is_reg() => {
                let dir = self.cache.parent(path).cloned();
                self.is_unchanged(dir, base, entry, meta)
            }
            _ => self.has_value(path, entry, meta),
        };
        if !same {
            return if self.recv.opts.checksum { " (sum change)" } else { " (file change)" };
        }
        let flags = self.item_flags(path, entry, Some(meta), false);
        if flags == ItemFlags::NONE { " (uptodate)" } else { " (attr change)" }
    }

    /// What `-vv` says of an item that needs no data, once its attributes are set.
    pub fn say_untouched(&self, index: i32, iflags: ItemFlags) {
        let opts = &self.recv.opts;
        if opts.info.name > 1
            && !opts.shows_letters()
            && !iflags.contains(ItemFlags::LOCAL_CHANGE)
            && let Some(line) = self.untouched_line(index, iflags.is_reportable())
        {
            self.recv.reporter.say(&line);
        }
    }

    /// The line itself; directories are passed over.
    fn untouched_line(&self, index: i32, changed: bool) -> Option<Vec<u8>> {
        let lists = self.recv.lists.lock().ok()?;
        let (segment, Place::Entry(pos)) = lists.find(index).ok()? else { return None };
        let entry = segment.list.get(pos);
        (!entry.is_dir()).then(|| {
            let end: &[u8] = if changed { b"\n" } else { b" is uptodate\n" };
            [self.recv.told_name(&entry.name()), end].concat()
        })
    }
}
