//! `--remove-source-files`: the sender removes what the other side says it has.
//!
//! The receiving side names items by index in messages, which the connection hands to
//! [`Successes`] as it reads; the sender takes them from there before it goes on. An item is
//! removed only if it still is what was listed, and never if it is the destination itself.

use std::io;
use std::sync::{Arc, Mutex};

use tree::meta::Meta;
use tree::path::{Name, RelPath};
use tree::root::Root;
use wire::error::Error;
use wire::exit::ExitCode;
use wire::flist::list::EntryView;
use wire::limits::SUCCESSES_MAX;
use wire::message::Message;

use crate::fatal::{Fatal, errno_text};
use crate::generator::Generator;
use crate::link::OnMessage;
use crate::lists::Place;
use crate::options::RemoveSource;
use crate::problem::ProblemKind;
use crate::report::messages::{Reporter, Role};
use crate::scan::trim_root;
use crate::sender::Sender;

/// Device and inode of an item at the destination, told in a local copy.
type ItemId = Option<(u64, u64)>;

/// Items that the other side has, as told and not yet dealt with.
#[derive(Default)]
pub struct Successes {
    told: Mutex<Vec<(i32, ItemId)>>,
}

impl Successes {
    /// Takes a message; false when it is of another kind.
    pub fn take(&self, message: &Message) -> Result<bool, Fatal> {
        let Message::Success { ndx, id } = message else { return Ok(false) };
        if let Ok(mut told) = self.told.lock() {
            told.push((*ndx, *id));
            if told.len() > SUCCESSES_MAX {
                let text = "too many items confirmed at once";
                return Err(Error::misbehaved(ExitCode::Protocol, "success", text).into());
            }
        }
        Ok(true)
    }

    /// What a sending server does with messages between requests.
    pub fn on_message(self: &Arc<Self>, reporter: &Arc<Reporter>) -> OnMessage {
        let (successes, reporter) = (Arc::clone(self), Arc::clone(reporter));
        Box::new(move |message| {
            if !successes.take(&message)? {
                reporter.take_message(&message);
            }
            Ok(())
        })
    }

    fn all(&self) -> Vec<(i32, ItemId)> {
        self.told.lock().map(|mut told| std::mem::take(&mut *told)).unwrap_or_default()
    }
}

impl Generator {
    /// Tells the sender that a file has come, so that it may remove its own.
    pub fn confirm_transferred(&mut self, index: i32) -> Result<(), Fatal> {
        if self.recv.opts.remove_source == RemoveSource::Nothing {
            return Ok(());
        }
        let found = match self.recv.lists.lock() {
            Ok(lists) => lists.find(index)?,
            Err(_) => return Ok(()),
        };
        let (segment, Place::Entry(pos)) = found else { return Ok(()) };
        let entry = segment.list.get(pos);
        self.confirm(&entry, index, true);
        Ok(())
    }

    /// Tells the sender that an item stands at the destination; `sent`: since this run.
    pub fn confirm(&mut self, entry: &EntryView<'_>, index: i32, sent: bool) {
        let wanted = match self.recv.opts.remove_source {
            RemoveSource::Nothing => false,
            RemoveSource::Sent => sent,
            RemoveSource::Synchronized => true,
        };
        if !wanted || self.recv.opts.dry_run {
            return;
        }
        let mut id = None;
        if self.recv.local {
            // Without its identity the sender could not see that it is the source itself.
            let Some(path) = self.recv.dest_path(&entry.name()) else { return };
            let Ok(Some(meta)) = self.look(&path) else { return };
            id = Some((meta.dev, meta.ino));
        }
        self.writer.message(&Message::Success { ndx: index, id });
    }
}

impl Sender {
    /// Removes what the other side has confirmed since last time.
    pub fn remove_confirmed(&mut self) -> Result<(), Fatal> {
        for (index, id) in self.successes.all() {
            if self.opts.remove_source == RemoveSource::Nothing || self.opts.dry_run {
                continue;
            }
            let (segment, place) = self.lists.find(index)?;
            if let Place::Entry(pos) = place
                && !segment.list.get(pos).is_dir()
            {
                self.remove_one(&segment.list.get(pos), id);
            }
        }
        Ok(())
    }

    fn remove_one(&mut self, entry: &EntryView<'_>, id: ItemId) {
        let name = entry.name();
        let Ok(path) = RelPath::new(trim_root(&name)) else { return };
        let Some(source) = self.scanner.roots.get_mut(usize::from(entry.root())) else { return };
        let Some(base) = path.name() else { return };
        // Whatever options followed for reading, nothing is removed out of the source.
        let confined = Root::from_dir(source.root.top().clone());
        let dir = match confined.parent_of(path) {
            Ok(dir) => dir,
            Err(error) => return self.not_removed("secure-open-parent", &name, &error),
        };
        let meta = match dir.lstat(base) {
            Ok(Some(meta)) => meta,
            Ok(None) => return self.already_removed(&name),
            Err(error) => return self.not_removed("re-lstat", &name, &error),
        };
        if id.is_some_and(|id| id == (meta.dev, meta.ino)) {
            return self.skipped("of destination file", &name);
        }
        let through = match meta.is_link() && !entry.is_link() {
            true => source.root.stat_through(path).unwrap_or(meta),
            false => meta,
        };
        if !self.is_as_listed(entry, &through, &dir, base) {
            return self.skipped("for changed file", &name);
        }
        match dir.unlink(base) {
            Ok(()) if self.opts.info.remove > 0 => {
                let rel = trim_root(&name);
                self.reporter.info(&[b"sender removed ".as_slice(), rel, b"\n"].concat());
            }
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => self.already_removed(&name),
            Err(error) => self.not_removed("remove", &name, &error),
        }
    }

    /// Whether an item still is what the list says it was.
    fn is_as_listed(
        &self,
        entry: &EntryView<'_>,
        meta: &Meta,
        dir: &tree::dir::Dir,
        base: &Name,
    ) -> bool {
        let times = (entry.mtime(), entry.mtime_nsec()) == (meta.mtime, meta.mtime_nsec);
        let kind = entry.mode() & 0o170_000 == meta.mode & 0o170_000;
        let content = match entry.link_target() {
            Some(text) => dir.read_link(base).is_ok_and(|now| self.scanner.sent_text(now) == text),
            None => !entry.is_reg() || entry.len() == meta.size,
        };
        times && kind && content
    }

    fn skipped(&self, why: &str, name: &[u8]) {
        let mut line = format!("ERROR: Skipping sender remove {why}: ").into_bytes();
        line.extend_from_slice(trim_root(name));
        let text = String::from_utf8_lossy(&line).into_owned();
        self.reporter.problem(name, ProblemKind::Failed, text);
        self.reporter.error_line(&line);
    }

    fn already_removed(&self, name: &[u8]) {
        let line = [b"sender file already removed: ".as_slice(), trim_root(name), b"\n"].concat();
        self.reporter.info(&line);
    }

    fn not_removed(&self, what: &str, name: &[u8], error: &io::Error) {
        let role = Role::Sender.word();
        let mut line = format!("rsync: [{role}] sender failed to {what} ").into_bytes();
        line.extend_from_slice(trim_root(name));
        line.extend_from_slice(b": ");
        line.extend_from_slice(errno_text(error).as_bytes());
        let text = String::from_utf8_lossy(&line).into_owned();
        self.reporter.problem(name, ProblemKind::Failed, text);
        self.reporter.error_line(&line);
    }
}
