//! Walks the source into file-list entries.
//!
//! The sender calls [`Scanner::first_list`] once and, with incremental recursion,
//! [`Scanner::children`] for each directory in sending order. Every look at the source goes
//! through a directory handle below the root of the argument that named it.
//!
//! Not guaranteed: order. The lists are sorted before they are sent.

use std::collections::HashSet;
use std::io;
use std::sync::Arc;

use tree::acl::AclKind;
use tree::cache::DirCache;
use tree::dir::Dir;
use tree::meta::Meta;
use tree::operator::Confinement;
use tree::owner::{Owners, SharedNames};
use tree::path::{Name, RelPath};
use tree::root::Root;
use tree::xattr::XattrHolder;
use wire::checksum::strong::ChecksumKind;
use wire::filter::{FilterList, Side};
use wire::flist::acls::{AclRef, Acls};
use wire::flist::entry::{Entry, HardLink};
use wire::flist::xattrs::{Xattr, XattrValue, Xattrs};

use crate::chmod::ChmodRules;
use crate::fatal::Fatal;
use crate::heading::Heading;
use crate::merge_files::{Within, decides, read_in_walk};
use crate::options::{FilesFrom, Options};
use crate::problem::ProblemKind;
use crate::report::messages::{IO_GENERAL, IO_VANISHED, Reporter, Role};
use crate::settled;

/// A directory that source arguments are relative to.
pub struct SourceRoot {
    /// Handles below it.
    pub cache: DirCache,
    /// The root itself.
    pub root: Root,
    /// Its path as shown in messages, without a trailing slash (empty for `/`).
    pub shown: Vec<u8>,
    /// Names at its top are shown with a slash; not in a module that is no root of the process.
    pub top_slash: bool,
    /// Its path as given, for the long names of formats.
    pub given: Vec<u8>,
}

impl SourceRoot {
    /// The path of an entry below this root, for messages.
    pub fn shown_path(&self, name: &[u8]) -> Vec<u8> {
        let mut path = self.shown.clone();
        if !path.is_empty() || self.top_slash {
            path.push(b'/');
        }
        path.extend_from_slice(trim_root(name));
        path
    }
}

/// Removes the leading slashes that a `--relative` name may carry.
pub fn trim_root(name: &[u8]) -> &[u8] {
    let start = name.iter().position(|&b| b != b'/').unwrap_or(name.len());
    match &name[start..] {
        b"" => b".",
        rest => rest,
    }
}

/// What the scanner needs to know of the run.
pub struct Scanner {
    pub(crate) opts: Arc<Options>,
    pub(crate) reporter: Arc<Reporter>,
    filters: FilterList,
    /// The daemon's own rules, checked first.
    daemon_filters: Option<FilterList>,
    /// The daemon's module.
    module: Option<Root>,
    chmod: Option<ChmodRules>,
    daemon_chmod: Option<ChmodRules>,
    pub(crate) list_sum: ChecksumKind,
    owners: Owners,
    /// Roots, in order of first use; an entry's `root` is an index here.
    pub roots: Vec<SourceRoot>,
    implied: HashSet<Vec<u8>>,
    /// Where names of a list and rule files may lie, without a module.
    bound: Confinement,
    /// Directories of listed names whose symlinks are all of trusted owners, by root.
    trusted_ways: HashSet<(u16, Vec<u8>)>,
    devices: Vec<u64>,
    inline_names: bool,
    filter_root: Option<u16>,
    /// A name list has named its top directory.
    top_listed: bool,
    /// What is listed now was found in its directory, not named.
    walks: bool,
    munge: bool,
    settle: bool,
    ignore_nonreadable: bool,
    umask: u32,
    buffer: Vec<u8>,
    /// Told how the list grows.
    pub heading: Option<Arc<Heading>>,
}

/// One argument, cut into the directory it is relative to and the name it is sent under.
struct Argument {
    base: Vec<u8>,
    name: Vec<u8>,
    /// Its direct children belong to the first list (`dir/`).
    contents: bool,
}

/// Rules and settings of the side that scans, beside the options.
#[derive(Default)]
pub struct ScanRules {
    /// Rules of the client.
    pub filters: FilterList,
    /// Rules of the daemon.
    pub daemon_filters: Option<FilterList>,
    /// The module of the daemon, which no rule file of a client leads out of.
    pub module: Option<Root>,
    /// `outgoing chmod` of the daemon.
    pub daemon_chmod: Option<ChmodRules>,
    /// Whether symlink texts lose the munging prefix.
    pub munge: bool,
    /// Whether a file that changes in this moment is waited for ([`crate::settled`]).
    pub settle: bool,
    /// Whether a walk leaves out what cannot be read, without a word.
    pub ignore_nonreadable: bool,
    /// Who knows names of owners, where that is not the system.
    pub names: Option<SharedNames>,
}

impl Scanner {
    /// A scanner with nothing scanned yet. `inline_names`: owner names travel with the entries.
    pub fn new(
        opts: Arc<Options>,
        reporter: Arc<Reporter>,
        rules: ScanRules,
        list_sum: ChecksumKind,
        inline_names: bool,
    ) -> Result<Scanner, Fatal> {
        let chmod = ChmodRules::from_options(&opts.chmod)?;
        let mut filters = rules.filters;
        filters.set_side(Side::Sender);
        let bound = Confinement::new(opts.confine_root.as_deref());
        Ok(Scanner {
            opts,
            reporter,
            filters,
            daemon_filters: rules.daemon_filters,
            module: rules.module,
            chmod,
            daemon_chmod: rules.daemon_chmod,
            list_sum,
            owners: Owners::asking(rules.names),
            roots: Vec::new(),
            implied: HashSet::new(),
            bound,
            trusted_ways: HashSet::new(),
            devices: Vec::new(),
            inline_names,
            filter_root: None,
            top_listed: false,
            walks: false,
            munge: rules.munge,
            settle: rules.settle,
            ignore_nonreadable: rules.ignore_nonreadable,
            umask: tree::owner::umask(),
            buffer: Vec::new(),
            heading: None,
        })
    }

    /// Names of ids for the lists that follow a complete file list.
    pub fn owners(&mut self) -> &mut Owners {
        &mut self.owners
    }

    /// Lists the arguments: each as an entry, with its children where its form asks for them, and
    /// everything below when `deep`.
    pub fn first_list(
        &mut self,
        start: &SourceStart,
        args: &[Vec<u8>],
        names: Option<&[Vec<u8>]>,
        deep: bool,
    ) -> Result<Vec<Entry>, Fatal> {
        let mut out = Vec::new();
        match names {
            None => {
                for arg in args {
                    self.argument(start, arg, deep, &mut out)?;
                }
            }
            Some(names) => {
                let empty = b".".to_vec();
                let base = args.first().unwrap_or(&empty);
                self.base_of_list(start, base)?;
                for name in names {
                    self.listed_name(start, base, name, deep, &mut out)?;
                }
            }
        }
        Ok(out)
    }

    /// What would end the run before anything is listed.
    ///
    /// # Errors
    /// `..` in a name of `--relative`, and a list of names below a directory that is missing.
    pub fn foresee(
        &mut self,
        start: &SourceStart,
        args: &[Vec<u8>],
        listed: bool,
    ) -> Result<(), Fatal> {
        match args.first() {
            Some(base) if listed => self.base_of_list(start, base),
            _ if self.opts.relative => {
                args.iter().try_for_each(|arg| cut_relative(arg).map(|_| ()))
            }
            _ => Ok(()),
        }
    }

    /// A list of names is of no use where the directory they are in is missing.
    fn base_of_list(&mut self, start: &SourceStart, base: &[u8]) -> Result<(), Fatal> {
        let Err(error) = self.root_for(start, base) else { return Ok(()) };
        let slash: &[u8] = if base.ends_with(b"/") { b"/" } else { b"" };
        let shown = self.reporter.quoted(&[&start.told(base), slash].concat());
        let failed = format!(" failed: {}", crate::fatal::errno_text(&error));
        let text = [b"change_dir ".as_slice(), &shown, failed.as_bytes()].concat();
        Err(Fatal::new(wire::exit::ExitCode::FileSelect, text).of(Role::Sender))
    }

    fn list(&self, entry: Entry, out: &mut Vec<Entry>) {
        if let Some(heading) = &self.heading {
            heading.count(&self.reporter, out.len());
        }
        out.push(entry);
    }

    /// A name with a leading `./` brings the top directory with it, as an implied parent.
    fn implied_top(&mut self, start: &SourceStart, base: &[u8], out: &mut Vec<Entry>) {
        if let Ok(root) = self.root_for(start, base)
            && let Ok(meta) = self.roots[usize::from(root)].root.top().stat_self()
        {
            let top = self.entry(root, RelPath::top(), b".", &meta);
            let Some(top) = top else { return };
            self.list(Entry { top_dir: true, content_dir: false, ..top }, out);
        }
    }

    fn argument(
        &mut self,
        start: &SourceStart,
        arg: &[u8],
        deep: bool,
        out: &mut Vec<Entry>,
    ) -> Result<(), Fatal> {
        let argument = if self.opts.relative { cut_relative(arg)? } else { cut_plain(arg) };
        if self.opts.relative && is_from_top(arg) && !self.top_listed {
            self.top_listed = true;
            self.implied_top(start, &argument.base, out);
        }
        self.add_argument(start, &argument, deep, false, out)
    }

    fn listed_name(
        &mut self,
        start: &SourceStart,
        base: &[u8],
        name: &[u8],
        deep: bool,
        out: &mut Vec<Entry>,
    ) -> Result<(), Fatal> {
        let contents = name.ends_with(b"/") || name.ends_with(b"/.") || name == b".";
        if self.opts.relative && name.starts_with(b"./") && !self.top_listed {
            self.top_listed = true;
            self.implied_top(start, base, out);
        }
        let name = &name[name.iter().position(|&b| b != b'/').unwrap_or(name.len())..];
        let (base, name) = if self.opts.relative {
            match find(name, b"/./") {
                Some(at) => {
                    let mut joined = base.to_vec();
                    joined.push(b'/');
                    joined.extend_from_slice(trim_root(&name[..at]));
                    (joined, clean(&name[at + 3..]))
                }
                None => (base.to_vec(), clean(name)),
            }
        } else {
            let cleaned = if contents { clean(&[name, b"/."].concat()) } else { clean(name) };
            if contents {
                let joined = [base, b"/", &cleaned].concat();
                let argument = Argument { base: joined, name: b".".to_vec(), contents };
                return self.add_argument(start, &argument, deep, true, out);
            }
            let mut joined = base.to_vec();
            let cut = cleaned.iter().rposition(|&b| b == b'/');
            if let Some(at) = cut {
                joined.push(b'/');
                joined.extend_from_slice(&cleaned[..at]);
            }
            (joined, cleaned[cut.map_or(0, |at| at + 1)..].to_vec())
        };
        let name = if name.is_empty() { b".".to_vec() } else { name };
        self.add_argument(start, &Argument { base, name, contents }, deep, true, out)
    }

    fn add_argument(
        &mut self,
        start: &SourceStart,
        arg: &Argument,
        deep: bool,
        listed: bool,
        out: &mut Vec<Entry>,
    ) -> Result<(), Fatal> {
        let Some(root) = self.argument_root(start, arg) else { return Ok(()) };
        let rel = trim_root(&arg.name).to_vec();
        let Ok(path) = RelPath::new(&rel) else {
            return Err(Fatal::bare(
                wire::exit::ExitCode::Syntax,
                [b"found \"..\" dir in relative path: ".as_slice(), &arg.name].concat(),
            ));
        };
        if let SourceStart::Operator { .. } = start
            && let Err(error) = self.open_way(root, path, arg.contents, listed)
        {
            self.link_stat_failed(root, &arg.name, &error);
            return Ok(());
        }
        let meta = match self.look_argument(root, path, arg.contents) {
            Ok(Some(meta)) => meta,
            Ok(None) => {
                self.missing(root, arg, listed, out);
                return Ok(());
            }
            Err(error) => {
                self.link_stat_failed(root, &arg.name, &error);
                return Ok(());
            }
        };
        let is_dot = rel == b".";
        let Some(meta) = self.argument_followed(root, path, &arg.name, meta) else { return Ok(()) };
        if self.is_way_hidden(root, &rel, meta.is_dir()) {
            self.missing(root, arg, listed, out);
            return Ok(());
        }
        self.enter_root(root);
        if !is_dot && self.is_left_out(root, &arg.name, meta.is_dir()) {
            return Ok(());
        }
        if meta.is_dir() && !self.opts.recurse && !self.opts.dirs {
            let line = [b"skipping directory ".as_slice(), &arg.name, b"\n"].concat();
            self.reporter.info(&line);
            return Ok(());
        }
        if self.opts.one_file_system > 0 && !self.devices.contains(&meta.dev) {
            self.devices.push(meta.dev);
        }
        if self.opts.relative {
            if !self.is_way_readable(root, &arg.name) {
                return Ok(());
            }
            self.implied_parents(root, &arg.name, out);
        }
        let contents = meta.is_dir() && (self.opts.recurse || arg.contents || is_dot);
        let Some(mut entry) = self.entry(root, path, &arg.name, &meta) else { return Ok(()) };
        entry.top_dir = meta.is_dir() && contents;
        entry.content_dir = contents;
        self.list(entry, out);
        let in_first = if self.opts.recurse { deep || is_dot } else { arg.contents || is_dot };
        if contents && in_first {
            self.contents(root, &arg.name, deep && self.opts.recurse, out)?;
        }
        Ok(())
    }

    /// The directory that an argument is looked up in; `None` when it cannot be entered, or a
    /// daemon's rules hide it, which has been told.
    fn argument_root(&mut self, start: &SourceStart, arg: &Argument) -> Option<u16> {
        let root = match self.root_for(start, &arg.base) {
            Ok(root) if self.is_way_hidden(root, b".", true) => {
                Err(io::Error::from_raw_os_error(libc::ENOENT))
            }
            other => other,
        };
        root.inspect_err(|error| self.change_dir_failed(start, arg, error)).ok()
    }

    fn change_dir_failed(&self, start: &SourceStart, arg: &Argument, error: &io::Error) {
        let told = start.entered(&arg.base);
        self.reporter.path_error(Role::Sender, "change_dir", &told, &arg.name, error);
        self.reporter.add_io_error(IO_GENERAL);
    }

    /// Opens the directories on the way to an argument below its root, and those behind a last
    /// component that ends in a slash. They may lie behind any symlink, since the operator named
    /// them; for a name of a list the symlinks' owners must be trusted. What is missing is no error
    /// here.
    fn open_way(&mut self, root: u16, path: &RelPath, whole: bool, listed: bool) -> io::Result<()> {
        let source = &mut self.roots[usize::from(root)];
        if source.root.is_following() {
            return Ok(());
        }
        let mut ways: Vec<&RelPath> = Vec::new();
        let mut at = if whole { path } else { path.parent() };
        while at.name().is_some() {
            ways.push(at);
            at = at.parent();
        }
        let missing =
            |error: &io::Error| matches!(error.raw_os_error(), Some(libc::ENOENT | libc::ENOTDIR));
        if listed
            && let Some(way) = ways.first()
            && !self.trusted_ways.contains(&(root, way.as_bytes().to_vec()))
        {
            match self.bound.dir(&source.root, way.as_bytes()) {
                Ok(_) => self.trusted_ways.insert((root, way.as_bytes().to_vec())),
                Err(error) if missing(&error) => return Ok(()),
                Err(error) => return Err(error),
            };
        }
        for way in ways.into_iter().rev() {
            if source.cache.dir(way).is_err_and(|e| e.raw_os_error() == Some(libc::ELOOP)) {
                let opened = match listed {
                    true => self.bound.dir(&source.root, way.as_bytes()).map(|d| d.top().clone()),
                    false => source.root.below(way),
                };
                match opened {
                    Ok(dir) => source.cache.name(way, dir),
                    Err(error) if missing(&error) => return Ok(()),
                    Err(error) => return Err(error),
                }
            }
        }
        Ok(())
    }

    /// Looks at an argument; `follow` for forms that end in a slash.
    fn look_argument(
        &mut self,
        root: u16,
        path: &RelPath,
        follow: bool,
    ) -> io::Result<Option<Meta>> {
        let source = &mut self.roots[usize::from(root)];
        let Some(name) = path.name() else {
            return source.cache.dir(path)?.stat_self().map(Some);
        };
        let dir = match source.cache.parent(path) {
            Ok(dir) => dir.clone(),
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        let meta = self.lstat(&dir, name)?;
        match meta {
            Some(meta) if self.opts.copy_links && meta.is_link() => {
                match self.roots[usize::from(root)].root.stat_through(path) {
                    Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
                    other => other.map(Some),
                }
            }
            Some(meta) if follow && meta.is_link() => {
                match self.roots[usize::from(root)].cache.dir(path) {
                    Ok(target) => target.stat_self().map(Some),
                    Err(_) => Ok(Some(meta)),
                }
            }
            other => Ok(other),
        }
    }

    fn lstat(&self, dir: &Dir, name: &Name) -> io::Result<Option<Meta>> {
        if self.settle { settled::lstat(dir, name) } else { dir.lstat(name) }
    }

    /// [`Self::followed`] for an argument.
    fn argument_followed(
        &mut self,
        root: u16,
        path: &RelPath,
        name: &[u8],
        meta: Meta,
    ) -> Option<Meta> {
        let Some(base) = path.name().filter(|_| meta.is_link()) else { return Some(meta) };
        let dir = self.roots[usize::from(root)].cache.parent(path).ok()?.clone();
        self.followed(root, &dir, base, name, meta)
    }

    fn missing(&mut self, root: u16, arg: &Argument, listed: bool, out: &mut Vec<Entry>) {
        if self.opts.delete_missing_args {
            let Some(name) = self.topmost_missing(root, &arg.name, out) else {
                self.vanished(root, &arg.name);
                return;
            };
            let entry = Entry { name, root, ..Entry::default() };
            if !out.iter().rev().take(64).any(|e| e.name == entry.name) {
                self.list(entry, out);
            }
        } else if !self.opts.ignore_missing_args {
            let _ = listed;
            // The list is complete without it: deletions need not stop for a mistyped argument.
            let error = io::Error::from_raw_os_error(libc::ENOENT);
            let shown = self.roots[usize::from(root)].shown_path(&arg.name);
            self.reporter.path_error(Role::Sender, "link_stat", &shown, &arg.name, &error);
        }
    }

    /// The name to delete for a missing argument: itself, or for a batch of the live side the
    /// highest parent that is missing too. `None` when a parent is missing and the list is a
    /// user's, who named only the child.
    fn topmost_missing(&mut self, root: u16, name: &[u8], out: &mut Vec<Entry>) -> Option<Vec<u8>> {
        let batch = matches!(self.opts.files_from, Some(FilesFrom::Names(_)));
        let mut missing = name.to_vec();
        while let Some(at) = missing.iter().rposition(|&b| b == b'/') {
            let parent = &missing[..at];
            let path = RelPath::new(trim_root(parent)).ok()?;
            if self.roots[usize::from(root)].cache.dir(path).is_ok() {
                break;
            }
            if !batch {
                return None;
            }
            missing.truncate(at);
        }
        if self.opts.relative {
            self.implied_parents(root, &missing, out);
        }
        Some(missing)
    }

    fn vanished(&mut self, root: u16, name: &[u8]) {
        let shown = self.roots[usize::from(root)].shown_path(name);
        let mut line = b"file has vanished: ".to_vec();
        line.extend_from_slice(&self.reporter.quoted(&shown));
        self.reporter.problem(name, ProblemKind::Vanished, String::from_utf8_lossy(&line).into());
        self.reporter.warning(&line);
        self.reporter.add_io_error(IO_VANISHED);
    }

    fn link_stat_failed(&mut self, root: u16, name: &[u8], error: &io::Error) {
        let shown = self.roots[usize::from(root)].shown_path(name);
        self.reporter.path_error(Role::Sender, "link_stat", &shown, name, error);
        self.reporter.add_io_error(IO_GENERAL);
    }

    fn root_for(&mut self, start: &SourceStart, base: &[u8]) -> io::Result<u16> {
        let shown = start.shown(base);
        if let Some(at) = self.roots.iter().position(|r| r.shown == shown) {
            return u16::try_from(at).map_err(io::Error::other);
        }
        let root = start.open(base, self.opts.follows_links())?.faking(self.opts.rights.fakes());
        root.top().check_search()?;
        let cache = DirCache::new(root.clone(), 64);
        let top_slash = !matches!(start, SourceStart::Module { confined: false, .. });
        self.roots.push(SourceRoot { cache, root, shown, top_slash, given: base.to_vec() });
        u16::try_from(self.roots.len() - 1).map_err(io::Error::other)
    }

    /// Whether a name may be seen where what cannot be read is left out: the directories that
    /// travel with it are looked at, not itself, which was asked for.
    fn is_way_readable(&mut self, root: u16, name: &[u8]) -> bool {
        let Some(source) = self.roots.get_mut(usize::from(root)) else { return true };
        let rel = trim_root(name);
        !self.ignore_nonreadable
            || memchr::memchr_iter(b'/', rel).all(|at| {
                let parent = rel.get(..at).and_then(|parent| RelPath::new(parent).ok());
                let Some((parent, base)) = parent.and_then(|p| Some((p, p.name()?))) else {
                    return true;
                };
                source.cache.parent(parent).is_ok_and(|dir| dir.is_readable(base))
            })
    }

    fn implied_parents(&mut self, root: u16, name: &[u8], out: &mut Vec<Entry>) {
        for at in name.iter().enumerate().filter(|&(i, &b)| b == b'/' && i > 0).map(|(i, _)| i) {
            let parent = &name[..at];
            if self.implied.contains(parent) {
                continue;
            }
            self.implied.insert(parent.to_vec());
            let rel = trim_root(parent).to_vec();
            let Ok(path) = RelPath::new(&rel) else { return };
            match self.roots[usize::from(root)].cache.dir(path).and_then(|d| d.stat_self()) {
                Ok(meta) => {
                    if let Some(mut entry) = self.entry(root, path, parent, &meta) {
                        entry.top_dir = true;
                        entry.content_dir = false;
                        self.list(entry, out);
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::NotFound => {
                    self.vanished(root, parent);
                    return;
                }
                Err(error) => {
                    self.link_stat_failed(root, parent, &error);
                    return;
                }
            }
        }
    }

    /// Appends what is inside a directory, and with `deep` everything below it. Errors: as of
    /// [`Self::children`].
    pub fn contents(
        &mut self,
        root: u16,
        name: &[u8],
        deep: bool,
        out: &mut Vec<Entry>,
    ) -> Result<(), Fatal> {
        let mut todo = vec![name.to_vec()];
        while let Some(dir) = todo.pop() {
            let first = out.len();
            self.children(root, &dir, out)?;
            if deep {
                let below = out[first..].iter().filter(|e| e.is_dir() && e.content_dir);
                todo.extend(below.map(|e| e.name.clone()));
            }
        }
        Ok(())
    }

    /// Appends the entries directly inside a directory. Errors: its rules make no sense, and without
    /// them too much would be sent.
    pub fn children(&mut self, root: u16, name: &[u8], out: &mut Vec<Entry>) -> Result<(), Fatal> {
        let rel = trim_root(name).to_vec();
        let Ok(path) = RelPath::new(&rel) else { return Ok(()) };
        let opened = self.roots[usize::from(root)].cache.dir(path).cloned();
        let listed = match opened {
            Ok(dir) => {
                self.enter_filters(root, &rel)?;
                dir.read_entries().map(|listing| (dir, listing))
            }
            Err(error) => Err(error),
        };
        let (dir, listing) = match listed {
            Ok(listed) => listed,
            Err(error) => {
                self.opendir_failed(root, name, &error);
                return Ok(());
            }
        };
        let mut child = Vec::with_capacity(name.len() + 32);
        if name != b"." {
            child.extend_from_slice(name);
            child.push(b'/');
        }
        let (stem, first) = (child.len(), out.len());
        for item in &listing {
            child.truncate(stem);
            child.extend_from_slice(item.name.as_bytes());
            self.child(root, &dir, &item.name, &child, out);
        }
        if self.opts.checksum {
            self.digest_listed(out.get_mut(first..).unwrap_or_default());
        }
        Ok(())
    }

    fn child(&mut self, root: u16, dir: &Dir, base: &Name, name: &[u8], out: &mut Vec<Entry>) {
        let meta = match self.lstat(dir, base) {
            Ok(Some(meta)) => meta,
            Ok(None) => return,
            Err(error) => return self.link_stat_failed(root, name, &error),
        };
        let Some(meta) = self.followed(root, dir, base, name, meta) else { return };
        if self.is_left_out(root, name, meta.is_dir()) {
            return;
        }
        if self.ignore_nonreadable && !meta.is_link() && !dir.is_readable(base) {
            return;
        }
        if name.len() > wire::limits::NAME_MAX_LEN {
            self.reporter
                .error_line(&[b"rsync: [sender] skipping overly long name: ", name].concat());
            self.reporter.add_io_error(IO_GENERAL);
            return;
        }
        let mut content = meta.is_dir() && self.opts.recurse;
        if content && self.opts.one_file_system > 0 && !self.devices.contains(&meta.dev) {
            if self.opts.one_file_system > 1 {
                if self.opts.info.mount > 0 {
                    let line = [b"[sender] skipping mount-point dir ".as_slice(), name, b"\n"];
                    self.reporter.info(&line.concat());
                }
                return;
            }
            content = false;
        }
        self.walks = true;
        let entry = self.entry_in(root, dir, base, name, &meta);
        self.walks = false;
        if let Some(mut entry) = entry {
            entry.content_dir = content;
            self.list(entry, out);
        }
    }

    fn opendir_failed(&mut self, root: u16, name: &[u8], error: &io::Error) {
        let shown = self.roots[usize::from(root)].shown_path(name);
        if error.kind() == io::ErrorKind::NotFound {
            let mut line = b"directory has vanished: ".to_vec();
            line.extend_from_slice(&self.reporter.quoted(&shown));
            let text = String::from_utf8_lossy(&line).into();
            self.reporter.problem(name, ProblemKind::Vanished, text);
            self.reporter.warning(&line);
            self.reporter.add_io_error(IO_VANISHED);
        } else {
            self.reporter.path_error(Role::Sender, "opendir", &shown, name, error);
            self.reporter.add_io_error(IO_GENERAL);
        }
    }

    /// Whether the daemon's own rules make a name as if it were not there.
    fn is_hidden(&self, root: u16, rel: &[u8], is_dir: bool) -> bool {
        self.daemon_filters.as_ref().is_some_and(|filters| {
            let path = self.roots[usize::from(root)].shown_path(rel);
            filters.is_excluded(trim_root(&path), is_dir, Side::Sender)
        })
    }

    /// The same for a name that was asked for, which no walk from the module's top has led to: the
    /// directories above it count too.
    fn is_way_hidden(&self, root: u16, rel: &[u8], is_dir: bool) -> bool {
        self.daemon_filters.as_ref().is_some_and(|filters| {
            let path = match rel {
                b"." => self.roots[usize::from(root)].shown.clone(),
                rel => self.roots[usize::from(root)].shown_path(rel),
            };
            let path = trim_root(&path);
            path != b"." && crate::daemon::rules::hides(filters, path, is_dir)
        })
    }

    /// The same for what would be listed next, which is told where that is asked for.
    pub fn is_left_out(&self, root: u16, name: &[u8], is_dir: bool) -> bool {
        let rel = trim_root(name);
        let about = (name, rel, is_dir);
        self.is_hidden(root, rel, is_dir)
            || decides(&self.reporter, &self.opts, &self.filters, about, (Side::Sender, false))
    }

    /// Brings the per-directory rules in line with a directory.
    fn enter_filters(&mut self, root: u16, rel: &[u8]) -> Result<(), Fatal> {
        self.enter_root(root);
        if !self.filters.has_dir_merge() {
            return Ok(());
        }
        let source = &mut self.roots[usize::from(root)];
        let (cache, shown) = (&mut source.cache, &source.shown);
        let within = self.module.as_ref().map_or(Within::Bound(&self.bound), Within::Module);
        let hidden = self.daemon_filters.as_ref();
        let entered = self.filters.move_to_dir(rel, &mut |dir, file| {
            // What the daemon hides is read by nobody.
            let above = if dir.starts_with(b"/") { &b""[..] } else { shown };
            let path = clean(&[trim_root(above), b"/", dir, b"/", file].concat());
            let path = trim_root(&path);
            match hidden.is_some_and(|list| crate::daemon::rules::hides(list, path, false)) {
                true => None,
                false => read_in_walk(cache, within, dir, file),
            }
        });
        self.reporter.explain_refusal();
        self.reporter.add_io_error(self.filters.take_io_error());
        entered.map_err(|error| Fatal {
            // As with the reference, whose client ends with 12 then.
            unannounced: self.opts.server,
            ..Fatal::bare(error.exit_code(), error.text())
        })
    }

    /// Tells the rules which directory names are relative to.
    fn enter_root(&mut self, root: u16) {
        if self.filter_root != Some(root) {
            self.filter_root = Some(root);
            let shown = &self.roots[usize::from(root)].shown;
            let absolute = if shown.starts_with(b"/") {
                shown.clone()
            } else {
                [b"/".as_slice(), shown].concat()
            };
            self.filters.set_root(&absolute);
        }
    }

    fn entry(&mut self, root: u16, path: &RelPath, name: &[u8], meta: &Meta) -> Option<Entry> {
        match path.name() {
            None => {
                let entry = self.plain_entry(root, name, meta);
                self.with_lists(entry)
            }
            Some(base) => {
                let dir = self.roots[usize::from(root)].cache.parent(path).ok()?.clone();
                self.entry_in(root, &dir, base, name, meta)
            }
        }
    }

    fn entry_in(
        &mut self,
        root: u16,
        dir: &Dir,
        base: &Name,
        name: &[u8],
        meta: &Meta,
    ) -> Option<Entry> {
        let as_file = self.device_as_file(root, name, meta);
        let meta = as_file.as_ref().unwrap_or(meta);
        let mut entry = self.plain_entry(root, name, meta);
        if meta.is_link() {
            match dir.read_link(base) {
                Ok(text) => {
                    entry.len = text.len() as u64;
                    entry.link_target = Some(self.sent_text(text));
                }
                Err(error) => {
                    let shown = self.roots[usize::from(root)].shown_path(name);
                    self.reporter.path_error(Role::Sender, "readlink_stat", &shown, name, &error);
                    self.reporter.add_io_error(IO_GENERAL);
                    return None;
                }
            }
        }
        // Those of a directory are read together.
        if self.opts.checksum && meta.is_file() && !self.walks {
            entry.digest = self.digest(root, name);
        }
        self.with_lists(entry)
    }

    /// `--copy-devices`: the facts of a device with its content for a file's. One that cannot be
    /// opened is listed as empty, and told of when it is to be sent.
    fn device_as_file(&mut self, root: u16, name: &[u8], meta: &Meta) -> Option<Meta> {
        let of_dot = self.walks && !name.contains(&b'/');
        if !self.opts.rights.copy_devices || !meta.is_device() {
            return None;
        }
        let size = match self.open_content(root, name) {
            Ok((file, _)) => {
                let dot: &[u8] = if of_dot { b"./" } else { b"" };
                crate::symlinks::device_len(&self.reporter, &file, &[dot, name].concat())
            }
            Err(_) => 0,
        };
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
        let mtime = now.ok().and_then(|now| i64::try_from(now.as_secs()).ok());
        let mode = 0o100_000 | meta.mode & 0o7777;
        Some(Meta { mode, size, mtime: mtime.unwrap_or(meta.mtime), ..*meta })
    }

    /// An entry with its access control lists and extended attributes; none when they cannot be
    /// read, which is told.
    fn with_lists(&mut self, mut entry: Entry) -> Option<Entry> {
        if !self.opts.acls || entry.is_link() {
            return self.with_xattrs(entry);
        }
        let (root, name, is_dir) = (entry.root, entry.name.clone(), entry.is_dir());
        let read = self.on_xattrs(root, &name, |holder| {
            let access = holder.acl(AclKind::Access)?;
            Ok((access, if is_dir { holder.acl(AclKind::Default)? } else { None }))
        });
        match read.and_then(|read: io::Result<_>| read) {
            Ok((access, default)) => {
                let mut lists = [
                    crate::acls::sent_access(access.as_ref(), entry.mode),
                    crate::acls::sent_default(default.as_ref()),
                ];
                let named = lists.iter_mut().flat_map(|list| &mut list.named);
                for one in named.filter(|_| self.inline_names && !self.opts.numeric_ids) {
                    one.name = match one.user {
                        _ if self.opts.names_hidden => None,
                        true => self.owners.user_name(one.id),
                        false => self.owners.group_name(one.id),
                    };
                }
                let [access, default] = lists.map(AclRef::List);
                entry.acls = Some(Acls { access, default: is_dir.then_some(default) });
                self.with_xattrs(entry)
            }
            Err(error) => {
                let shown = self.roots[usize::from(root)].shown_path(&name);
                self.reporter.path_error(
                    Role::Sender,
                    "get_acl: sys_acl_get_file",
                    &shown,
                    &name,
                    &error,
                );
                self.reporter.add_io_error(IO_GENERAL);
                None
            }
        }
    }

    /// An entry with its extended attributes, those of kinds that are not kept left out; none when
    /// they cannot be read, which is told.
    fn with_xattrs(&mut self, mut entry: Entry) -> Option<Entry> {
        let kept = match &entry {
            entry if entry.is_link() => self.opts.links,
            entry if entry.is_device() => self.opts.devices,
            entry if entry.is_special() => self.opts.specials,
            _ => true,
        };
        if self.opts.xattrs == 0 || !kept {
            return Some(entry);
        }
        let (root, name) = (entry.root, entry.name.clone());
        let shown = self.roots[usize::from(root)].shown_path(&name);
        let level = self.opts.xattrs;
        let (client, daemon) = (std::mem::take(&mut self.filters), self.daemon_filters.take());
        let read = self.on_xattrs(root, &name, |holder| {
            let lists: Vec<&FilterList> = daemon.iter().chain([&client]).collect();
            crate::xattrs::read(&holder, &shown, &|name| {
                crate::xattrs::counts(name, &lists, Side::Sender, false)
                    && !crate::xattrs::is_private(name, level)
            })
        });
        (self.filters, self.daemon_filters) = (client, daemon);
        let (what, error) = match read {
            Ok(Ok(values)) => {
                let fakes = self.opts.rights.fakes();
                let item = |(name, value): (Vec<u8>, Vec<u8>)| Xattr {
                    value: XattrValue::of(&value),
                    name: if fakes { tree::xattr::unfaked_name(name) } else { name },
                };
                let mut list: Vec<Xattr> = values.into_iter().map(item).collect();
                list.sort_by(|a, b| a.name.cmp(&b.name));
                list.dedup_by(|a, b| a.name == b.name);
                entry.xattrs = Some(Xattrs::List(list));
                return Some(entry);
            }
            Ok(Err(failed)) => failed,
            Err(error) => (b"get_xattr_names".to_vec(), error),
        };
        let mut line = [b"rsync: [sender] ".as_slice(), &what, b" failed: "].concat();
        line.extend_from_slice(crate::fatal::errno_text(&error).as_bytes());
        let text = String::from_utf8_lossy(&line).into_owned();
        self.reporter.problem(&name, ProblemKind::Failed, text);
        self.reporter.error_line(&line);
        self.reporter.add_io_error(IO_GENERAL);
        None
    }

    /// Runs `work` on what carries the extended attributes of an entry. Where a symlink was followed
    /// that is the symlink all the same, as with the reference.
    pub fn on_xattrs<T>(
        &mut self,
        root: u16,
        name: &[u8],
        work: impl FnOnce(XattrHolder<'_>) -> T,
    ) -> io::Result<T> {
        let path = RelPath::new(trim_root(name))
            .map_err(|_| io::Error::from_raw_os_error(libc::EINVAL))?;
        let source = &mut self.roots[usize::from(root)];
        let Some(base) = path.name() else {
            return Ok(work(XattrHolder::Itself(source.cache.dir(path)?)));
        };
        Ok(work(XattrHolder::Item(source.cache.parent(path)?, base)))
    }

    /// A symlink's text as it is sent.
    pub fn sent_text(&self, text: Vec<u8>) -> Vec<u8> {
        if self.munge { crate::munge::strip(&text).to_vec() } else { text }
    }

    /// The digest of a file's content, if it can be read.
    pub(crate) fn digest(
        &mut self,
        root: u16,
        name: &[u8],
    ) -> Option<wire::checksum::strong::Digest> {
        let hashed = self
            .open_content(root, name)
            .and_then(|(file, _)| crate::hash::hash_file(&file, self.list_sum, &mut self.buffer));
        hashed.ok()
    }

    fn plain_entry(&mut self, root: u16, name: &[u8], meta: &Meta) -> Entry {
        let mut entry = Entry {
            name: name.to_vec(),
            root,
            mode: meta.mode,
            len: if meta.is_file() || meta.is_dir() { meta.size } else { 0 },
            mtime: meta.mtime,
            mtime_nsec: meta.mtime_nsec,
            atime: if self.opts.atimes && !meta.is_dir() { meta.atime } else { 0 },
            uid: meta.uid,
            gid: meta.gid,
            rdev: meta.rdev,
            content_dir: meta.is_dir(),
            ..Entry::default()
        };
        if !meta.is_link() {
            for rules in [&self.chmod, &self.daemon_chmod].into_iter().flatten() {
                entry.mode = rules.apply(entry.mode, meta.is_dir(), self.umask);
            }
        }
        if self.opts.hard_links && !meta.is_dir() && meta.nlink > 1 {
            entry.hard_link = Some(HardLink::Device { dev: meta.dev, ino: meta.ino });
        }
        if self.inline_names && !self.opts.numeric_ids && !self.opts.names_hidden {
            entry.user_name = self.opts.owner.then(|| self.owners.user_name(entry.uid)).flatten();
            entry.group_name = self.opts.group.then(|| self.owners.group_name(entry.gid)).flatten();
        }
        entry
    }
}

/// Where source arguments start: an operator's working directory, or a daemon's module.
pub enum SourceStart {
    /// Arguments are paths of the operator.
    Operator {
        /// Absolute path of the working directory, for messages.
        cwd: Vec<u8>,
    },
    /// Arguments are below this root, whatever they begin with.
    Module {
        /// The module's directory.
        root: Root,
        /// It is the root of the process.
        confined: bool,
    },
}

impl SourceStart {
    /// Opens a directory that arguments are relative to; `following` where options follow links.
    pub(crate) fn open(&self, base: &[u8], following: bool) -> io::Result<Root> {
        match self {
            SourceStart::Operator { .. } if following => Ok(Root::open(base)?.following()),
            SourceStart::Operator { .. } => Root::open(base),
            SourceStart::Module { root, confined } => {
                let clean = clean(trim_root(base));
                let path = RelPath::new(if clean.is_empty() { b"." } else { &clean })
                    .map_err(|_| io::Error::from_raw_os_error(libc::EINVAL))?;
                if following && *confined {
                    // Nothing is outside of the root of the process.
                    return Ok(Root::from_dir(root.dir(path)?).following());
                }
                if following { root.inner(path) } else { Ok(Root::from_dir(root.dir(path)?)) }
            }
        }
    }

    /// How a directory that cannot be entered is told: as it was written.
    fn entered(&self, base: &[u8]) -> Vec<u8> {
        match self {
            _ if base.starts_with(b"/") => base.to_vec(),
            SourceStart::Operator { cwd } => [cwd.as_slice(), b"/", base].concat(),
            SourceStart::Module { confined: true, .. } => [b"/", base].concat(),
            SourceStart::Module { .. } => self.told(base),
        }
    }

    /// How a directory that an argument is below is told.
    fn told(&self, base: &[u8]) -> Vec<u8> {
        let shown = self.shown(base);
        match self {
            // Where that is the working directory, it is told from there.
            SourceStart::Module { confined: false, .. } => trim_root(&shown).to_vec(),
            _ => shown,
        }
    }

    /// How a base directory is shown in messages: absolute, or below the module.
    pub fn shown(&self, base: &[u8]) -> Vec<u8> {
        match self {
            SourceStart::Operator { cwd } if !base.starts_with(b"/") => {
                let cleaned = clean(base);
                if cleaned.is_empty() {
                    cwd.clone()
                } else {
                    [cwd.as_slice(), b"/", &cleaned].concat()
                }
            }
            SourceStart::Operator { .. } => {
                let cleaned = clean(base);
                if cleaned == b"/" { Vec::new() } else { cleaned }
            }
            SourceStart::Module { .. } => match clean(trim_root(base)).as_slice() {
                b"" => Vec::new(),
                below => [b"/".as_slice(), below].concat(),
            },
        }
    }
}

/// `a/b/c` without `--relative`: `c`, seen from `a/b`. `a/b/` is `.` seen from `a/b`.
fn cut_plain(arg: &[u8]) -> Argument {
    let dotted = arg.ends_with(b"/")
        || arg.ends_with(b"/.")
        || arg == b"."
        || arg.ends_with(b"/..")
        || arg == b"..";
    if dotted {
        let end: &[u8] = if arg.ends_with(b"/.") { b"/." } else { b"/" };
        let base = match arg.strip_suffix(end).unwrap_or(arg) {
            b"" => b"/".to_vec(),
            base => base.to_vec(),
        };
        return Argument { base, name: b".".to_vec(), contents: true };
    }
    let base_end = arg.iter().rposition(|&b| b == b'/');
    let base = match base_end {
        None => b".".to_vec(),
        Some(0) => b"/".to_vec(),
        Some(at) => arg[..at].to_vec(),
    };
    let name = arg[base_end.map_or(0, |at| at + 1)..].to_vec();
    Argument { base, name, contents: false }
}

/// Whether the name of a `--relative` argument begins with `./`, which names the top directory too.
fn is_from_top(arg: &[u8]) -> bool {
    let name = find(arg, b"/./").map_or(arg, |at| after_mark(arg, at));
    name.starts_with(b"./")
}

/// What follows the `/./` at `at`: a name that starts there, whatever slashes come before it.
fn after_mark(arg: &[u8], at: usize) -> &[u8] {
    let rest = &arg[at + 3..];
    &rest[rest.iter().position(|&b| b != b'/').unwrap_or(rest.len())..]
}

/// What stands between the slashes of a path, less what says nothing.
fn components(path: &[u8]) -> impl Iterator<Item = &[u8]> {
    path.split(|&b| b == b'/').filter(|part| !part.is_empty() && *part != b".")
}

/// With `--relative` the whole argument is the name, cut at `/./` if that stands in it.
fn cut_relative(arg: &[u8]) -> Result<Argument, Fatal> {
    let (base, name) = match find(arg, b"/./") {
        Some(0) => (b"/".to_vec(), after_mark(arg, 0)),
        Some(at) => (arg[..at].to_vec(), after_mark(arg, at)),
        None if arg.starts_with(b"/") => (b"/".to_vec(), arg),
        None => (b".".to_vec(), arg),
    };
    let contents = name.is_empty() || name == b"." || name.ends_with(b"/") || name.ends_with(b"/.");
    let mut cleaned = Vec::new();
    for part in components(name) {
        if part == b".." {
            let top: &[u8] = if arg.starts_with(b"/") { b"/" } else { b"" };
            let shown = components(arg).collect::<Vec<_>>().join(&b'/');
            let text = [b"found \"..\" dir in relative path: ".as_slice(), top, &shown].concat();
            return Err(Fatal::bare(wire::exit::ExitCode::Syntax, text));
        }
        if !cleaned.is_empty() || name.starts_with(b"/") {
            cleaned.push(b'/');
        }
        cleaned.extend_from_slice(part);
    }
    let name = if cleaned.is_empty() { b".".to_vec() } else { cleaned };
    Ok(Argument { base, name, contents })
}

/// Drops empty and `.` components and resolves `..` by text, never above the start.
pub fn clean(path: &[u8]) -> Vec<u8> {
    let mut parts: Vec<&[u8]> = Vec::new();
    for part in path.split(|&b| b == b'/') {
        match part {
            b"" | b"." => {}
            b".." => {
                parts.pop();
            }
            other => parts.push(other),
        }
    }
    let joined = parts.join(&b'/');
    if path.starts_with(b"/") { [b"/".as_slice(), &joined].concat() } else { joined }
}

fn find(text: &[u8], what: &[u8]) -> Option<usize> {
    memchr::memmem::find(text, what)
}
