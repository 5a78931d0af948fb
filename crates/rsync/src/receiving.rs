//! What the generator and the receiver of one run share.

use std::io;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex, OnceLock};

use crossbeam_channel::Sender;
use tree::dir::Dir;
use tree::meta::Meta;
use tree::path::RelPathBuf;
use tree::root::Root;
use wire::filter::{FilterList, RequestedNames, Side};
use wire::flist::list::EntryView;

use crate::acls::AclStore;
use crate::asked::AskedFiles;
use crate::batch::Wants;
use crate::chmod::ChmodRules;
use crate::control::Control;
use crate::counters::KindCounts;
use crate::daemon::rules::hides;
use crate::dest::DestStart;
use crate::fatal::Fatal;
use crate::id_map::IdMap;
use crate::link::Traffic;
use crate::lists::{Lists, Segment};
use crate::options::Options;
use crate::report::messages::Reporter;
use crate::setup::Agreed;
use crate::xattrs::XattrStore;

/// What the receiver tells the generator. The queue is unbounded by itself; what can stand in it
/// is bounded by the live lists.
pub enum Note {
    /// Another list has arrived.
    Segment(Arc<Segment>),
    /// No more lists will come.
    ListComplete,
    /// A requested file is done, for good or bad.
    Done {
        /// Its index.
        ndx: i32,
        /// Whether it stands at the destination now.
        ok: bool,
    },
    /// A requested file came out wrong and is to be asked for again.
    Redo(i32),
    /// The sender answered an end mark.
    Answer,
    /// The last data has come, and the sender's numbers.
    DataEnded,
    /// The stream is over.
    Final,
    /// Something waits to be written.
    Wake,
    /// The receiver ended early.
    Failed(Fatal),
}

/// Privileges and process facts that decide about attributes.
#[derive(Clone, Debug)]
pub struct Privileges {
    /// May set any owner.
    pub root: bool,
    /// Effective user.
    pub uid: u32,
    /// Permission bits new files lose when permissions are not preserved.
    pub umask: u32,
}

/// Directories that options name, opened once.
#[derive(Default)]
pub struct SideDirs {
    /// `--temp-dir`.
    pub temp: Option<Dir>,
    /// `--temp-dir` lies behind a symlink that is not followed.
    pub temp_refused: bool,
    /// `--partial-dir` when absolute, once it is there and something needs it.
    pub partial: OnceLock<Dir>,
    /// `--backup-dir`, once something was backed up.
    pub backup: Mutex<Option<Root>>,
    /// `--compare-dest` and its like, those that can be used.
    pub basis: Vec<Option<Root>>,
}

/// What the permissions of an item start from, where they are not preserved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Before {
    /// The mode of what stands there, or of the basis.
    Mode(u32),
    /// Nothing: it may have these bits.
    Allowed(u32),
}

/// Shared, immutable but for the lists and the id map.
pub struct Receiving {
    /// Options of the run.
    pub opts: Arc<Options>,
    /// What the generator has asked for.
    pub asked: AskedFiles,
    /// What was negotiated.
    pub agreed: Agreed,
    /// Clock and counters of the connection.
    pub traffic: Arc<Traffic>,
    /// Voice of the run.
    pub reporter: Arc<Reporter>,
    /// What the caller watches.
    pub control: Arc<Control>,
    /// The live lists.
    pub lists: Mutex<Lists>,
    /// The destination.
    pub root: Root,
    /// The path of the destination for messages, without a trailing slash.
    pub shown: Vec<u8>,
    /// Names at its top are shown with a slash.
    pub top_slash: bool,
    /// In single-file mode, the name the only entry gets.
    pub rename: Option<Vec<u8>>,
    /// A dry run whose destination does not exist.
    pub dest_missing: bool,
    /// The destination was made by this run.
    pub dest_made: bool,
    /// Owners' names to local ids.
    pub ids: Mutex<IdMap>,
    /// Access control lists that came.
    pub acls: Mutex<AclStore>,
    /// Lists of extended attributes that came.
    pub xattrs: Mutex<XattrStore>,
    /// Who we are.
    pub privileges: Privileges,
    /// Directories named by options.
    pub side: SideDirs,
    /// Where such directories are looked up.
    pub start: DestStart,
    /// Rules of the client.
    pub filters: FilterList,
    /// Rules of the daemon.
    pub daemon_filters: Option<FilterList>,
    /// `incoming chmod` of the daemon.
    pub daemon_chmod: Option<ChmodRules>,
    /// `--chmod` when this side applies it.
    pub chmod: Option<ChmodRules>,
    /// Whether files are asked for as a whole.
    pub whole_file: bool,
    /// Whether the other side is this same process.
    pub local: bool,
    /// Whether this side is the server.
    pub server: bool,
    /// Whether symlink texts get the munging prefix.
    pub munge: bool,
    /// Whether symlink texts are kept from leading out of a module.
    pub tames_links: bool,
    /// Names the sender may send; `None` trusts it.
    pub requested: Option<RequestedNames>,
    /// What is wanted of a batch that is read.
    pub wants: Option<Wants>,
    /// To the generator.
    pub notes: Sender<Note>,
    /// Entries listed, by kind.
    pub listed: Mutex<KindCounts>,
    /// Bytes of the lists on the wire.
    pub flist_size: AtomicU64,
    /// Bytes of all files and texts of all links listed.
    pub listed_size: AtomicU64,
    /// Literal and matched bytes received.
    pub literal: AtomicU64,
    /// Bytes taken from bases.
    pub matched: AtomicU64,
}

impl Receiving {
    /// The path of an entry below the destination; `None` when the name cannot be used.
    pub fn dest_path(&self, name: &[u8]) -> Option<RelPathBuf> {
        if let Some(rename) = &self.rename {
            return RelPathBuf::new(rename).ok();
        }
        RelPathBuf::new(crate::scan::trim_root(name)).ok()
    }

    /// The name of an entry as what is passed over is told by: that at the destination.
    pub fn told_name<'a>(&'a self, name: &'a [u8]) -> &'a [u8] {
        self.rename.as_deref().unwrap_or_else(|| crate::scan::trim_root(name))
    }

    /// The path of an entry as messages show it.
    pub fn shown_path(&self, name: &[u8]) -> Vec<u8> {
        let rel = self.told_name(name);
        let mut shown = self.shown.clone();
        if !shown.is_empty() || self.top_slash {
            shown.push(b'/');
        }
        shown.extend_from_slice(rel);
        shown
    }

    /// Whether a directory for temporary files is not used since its path goes up: [temp-dir-up].
    /// In a module it goes up as far as the module's top.
    pub fn climbs(&self, temp: &[u8]) -> bool {
        matches!(self.start, DestStart::Operator { .. })
            && !self.opts.insecure_links
            && temp.split(|&b| b == b'/').any(|part| part == b"..")
    }

    /// The directory for temporary files, where it is not the file's own.
    pub fn temp_dir(&self) -> io::Result<Option<Dir>> {
        match &self.opts.temp_dir {
            Some(path) if self.climbs(path) => Err(io::Error::from_raw_os_error(libc::EINVAL)),
            Some(path) if self.side.temp_refused => {
                Ok(Some(self.start.open_side(&self.root, path)?.top().clone()))
            }
            _ => Ok(self.side.temp.clone()),
        }
    }

    /// How the temporary file of an entry is shown: with a pattern in place of the random part.
    pub fn shown_temp(&self, name: &[u8]) -> Vec<u8> {
        let path = self.shown_path(name);
        let at = path.iter().rposition(|&b| b == b'/').map_or(0, |at| at + 1);
        let (dir, base) = path.split_at(at);
        let stem = base.strip_prefix(b".").unwrap_or(base);
        match &self.opts.temp_dir {
            None => [dir, b".", stem, b".XXXXXX"].concat(),
            Some(temp) if temp.starts_with(b"/") => [temp, &b"/"[..], base, b".XXXXXX"].concat(),
            Some(temp) => [&self.shown, &b"/"[..], temp, b"/", base, b".XXXXXX"].concat(),
        }
    }

    /// The directory of backups, made when the first one needs it; `None` when they go beside the
    /// files.
    pub fn backup_root(&self) -> io::Result<Option<Root>> {
        let Some(path) = &self.opts.backup_dir else { return Ok(None) };
        let mut known = self.side.backup.lock().map_err(|_| io::ErrorKind::Other)?;
        // One that lies in the destination may have been deleted since.
        let there = |root: &&Root| root.top().stat_self().is_ok_and(|meta| meta.nlink > 0);
        if let Some(root) = known.as_ref().filter(there) {
            return Ok(Some(root.clone()));
        }
        let place = self.start.side_path(&self.shown, path);
        let root = self.start.side_dir_made(&self.root, &place, 0o777)?;
        Ok(Some(known.insert(root).clone()))
    }

    /// Whether something was backed up into a directory of backups.
    pub fn has_backup_root(&self) -> bool {
        self.side.backup.lock().is_ok_and(|known| known.is_some())
    }

    /// An entry's path from the module's top, for the daemon's rules.
    pub fn module_path(&self, rel: &[u8]) -> Vec<u8> {
        crate::scan::trim_root(&[self.shown.as_slice(), b"/", rel].concat()).to_vec()
    }

    /// Whether the daemon's own rules make a name as if it were not there.
    pub fn hidden_by_daemon(&self, rel: &[u8], is_dir: bool) -> bool {
        self.daemon_filters.as_ref().is_some_and(|filters| {
            filters.is_excluded(&self.module_path(rel), is_dir, Side::Receiver)
        })
    }

    /// The same of a path, whatever it is, with all that is above it: of names that no list has.
    pub fn is_out_of_reach(&self, rel: &[u8]) -> bool {
        let Some(filters) = &self.daemon_filters else { return false };
        let path = self.module_path(rel);
        [true, false].into_iter().any(|is_dir| hides(filters, &path, is_dir))
    }

    /// The same of an entry, which a rename gives another name.
    pub fn hides_entry(&self, rel: &[u8], is_dir: bool) -> bool {
        self.hidden_by_daemon(self.rename.as_deref().unwrap_or(rel), is_dir)
    }

    /// Whether what stands at the destination can be given the content of a file: a file, or with
    /// `--write-devices` a device.
    pub fn takes_content(&self, found: &Meta) -> bool {
        found.is_file() || self.opts.rights.write_devices && found.is_device()
    }

    /// Nothing below this index will be wanted any more.
    pub fn decided(&self, end: i32) {
        self.asked.decided(end);
        if let Some(wants) = &self.wants {
            wants.decided(end);
        }
    }

    /// Tells the generator something; a generator that is gone needs no telling.
    pub fn note(&self, note: Note) {
        let _ = self.notes.send(note);
    }

    /// The local owner of an entry, where owners are preserved and may be set.
    pub fn wanted_uid(&self, entry: &EntryView<'_>) -> Option<u32> {
        if !self.opts.owner || !self.privileges.root {
            return None;
        }
        self.ids.lock().ok().map(|mut ids| ids.user(entry.uid()))
    }

    /// The local group of an entry, where groups are preserved and may be set.
    pub fn wanted_gid(&self, entry: &EntryView<'_>) -> Option<u32> {
        if !self.opts.group {
            return None;
        }
        let gid = self.ids.lock().ok().map(|mut ids| ids.group(entry.gid()))?;
        (self.privileges.root || tree::owner::in_group(gid)).then_some(gid)
    }

    /// The mode of an entry after `--chmod` and the daemon's own rules.
    pub fn incoming_mode(&self, entry: &EntryView<'_>) -> u32 {
        let mut mode = entry.mode();
        if !entry.is_link() && mode != 0 {
            for rules in [&self.chmod, &self.daemon_chmod].into_iter().flatten() {
                mode = rules.apply(mode, entry.is_dir(), self.privileges.umask);
            }
        }
        mode
    }

    /// The permission bits an item gets: preserved, or masked for something new, or those it has.
    pub fn wanted_perm(&self, entry: &EntryView<'_>, before: Before) -> u32 {
        let source = self.incoming_mode(entry);
        if self.opts.perms {
            return source & 0o7777;
        }
        let mut perm = match before {
            Before::Mode(mode) => mode & 0o7777,
            Before::Allowed(bits) => source & bits,
        };
        if self.opts.executability && entry.is_reg() {
            let x = source & 0o111 != 0;
            if !x {
                perm &= !0o111;
            } else if perm & 0o111 == 0 {
                perm |= (perm & 0o444) >> 2;
            }
        }
        match &self.daemon_chmod {
            Some(rules) => {
                let mode = entry.mode() & 0o170_000 | perm;
                rules.apply(mode, entry.is_dir(), self.privileges.umask) & 0o7777
            }
            None => perm,
        }
    }

    /// What the permissions of a new item of a directory start from: the directory's default list
    /// says what it may have, or else the umask.
    pub fn before_new(&self, dir: Option<&Dir>) -> Before {
        // Where permissions are preserved nobody asks.
        let listed = dir.filter(|_| !self.opts.perms).and_then(tree::acl::allowed_in);
        Before::Allowed(listed.unwrap_or(0o777 & !self.privileges.umask))
    }

    /// Whether the modification time of this kind of item is kept.
    pub fn keeps_time(&self, entry: &EntryView<'_>) -> bool {
        let omitted = if entry.is_dir() {
            self.omits_dir_times()
        } else {
            entry.is_link() && self.opts.omit_link_times
        };
        self.opts.times && !omitted
    }

    /// Whether the access time of this kind of item is kept.
    pub fn keeps_atime(&self, entry: &EntryView<'_>) -> bool {
        self.opts.atimes && !entry.is_dir() && !(entry.is_link() && self.opts.omit_link_times)
    }

    /// Directory times are left alone when asked for, and when backups go beside the files.
    pub fn omits_dir_times(&self) -> bool {
        self.opts.omit_dir_times || (self.opts.backup && self.opts.backup_dir.is_none())
    }
}
