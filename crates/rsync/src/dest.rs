//! Chooses the destination, once, after the first list.
//!
//! Decides whether the entries keep their names below a directory or the only entry takes the
//! destination's own name, makes the directory where it is missing, and opens it.

use std::borrow::Cow;
use std::io;

use tree::operator::Confinement;
use tree::path::RelPath;
use tree::root::Root;
use wire::exit::ExitCode;

use crate::fatal::{Fatal, errno_text};
use crate::merge_files::Within;
use crate::options::Options;
use crate::report::messages::Reporter;

/// The opened destination.
pub struct Destination {
    /// The directory the entries go into.
    pub root: Root,
    /// Its path as shown, without a trailing slash.
    pub shown: Vec<u8>,
    /// The name of the only entry in single-file mode.
    pub rename: Option<Vec<u8>>,
    /// A dry run into a directory that does not exist.
    pub missing: bool,
    /// The directory was made just now.
    pub made: bool,
}

/// Where destinations are looked up.
#[derive(Clone)]
pub enum DestStart {
    /// A path of the operator, resolved with trust in the owners of its links.
    Operator {
        /// Absolute path of the working directory, for messages.
        cwd: Vec<u8>,
        /// Where what options name may lie.
        bound: Confinement,
    },
    /// Below a module's directory, never out of it.
    Module {
        /// The module's directory.
        root: Root,
        /// It is the root of the process.
        confined: bool,
    },
}

/// What the first list says about the destination.
pub struct FirstList {
    /// Number of entries known.
    pub entries: u64,
    /// Whether the only entry is a directory.
    pub first_is_dir: bool,
    /// Whether it is the top directory.
    pub begins_at_top: bool,
}

impl DestStart {
    /// The start of the operator who typed these options.
    pub fn operator(opts: &Options) -> DestStart {
        let bound = Confinement::new(opts.confine_root.as_deref());
        DestStart::Operator { cwd: crate::location::cwd(), bound }
    }

    /// Whether names at the top are shown with a slash.
    pub fn top_slash(&self) -> bool {
        !matches!(self, DestStart::Module { confined: false, .. })
    }

    /// The directory that a rule file named by others must lie in: the module of a daemon, or what
    /// the operator's paths are bound to.
    pub fn rules_within(&self) -> Within<'_> {
        match self {
            DestStart::Module { root, .. } => Within::Module(root),
            DestStart::Operator { bound, .. } => Within::Bound(bound),
        }
    }

    /// The module, on a daemon.
    pub fn module(&self) -> Option<&Root> {
        match self {
            DestStart::Module { root, .. } => Some(root),
            DestStart::Operator { .. } => None,
        }
    }

    /// A root to begin with, before the destination is known.
    pub fn root(&self) -> io::Result<Root> {
        match self {
            DestStart::Operator { .. } => Root::open(b"."),
            DestStart::Module { root, .. } => Ok(root.clone()),
        }
    }

    /// Opens a directory that an option names: relative ones lie below the destination, absolute
    /// ones anywhere the operator may reach, or at the module's top.
    pub fn side_dir(&self, dest: &Root, path: &[u8], option: &str) -> Result<Root, Fatal> {
        self.open_side(dest, path).map_err(|error| {
            let what = if error.kind() == io::ErrorKind::NotFound || path.is_empty() {
                "does not exist"
            } else {
                "is not a dir"
            };
            let mut text = format!("The {option} {what}: ").into_bytes();
            if error.raw_os_error() == Some(libc::ENOTDIR) {
                text = format!("The {option} is not a directory: ").into_bytes();
            }
            match self {
                DestStart::Module { confined: false, .. } if !path.starts_with(b"/") => {
                    text.extend_from_slice(&module_path(path));
                }
                _ => text.extend_from_slice(path),
            }
            Fatal::bare(ExitCode::Syntax, text)
        })
    }

    /// Like [`Self::side_dir`], and makes the directory with `mode`, less the umask, where it is
    /// missing.
    pub fn side_dir_made(&self, dest: &Root, path: &[u8], mode: u32) -> io::Result<Root> {
        match self.open_side(dest, path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let (parent, name) = split(path);
                let name = tree::path::Name::new(name).map_err(|_| invalid())?;
                let above = self.side_dir_made(dest, parent, mode)?;
                match above.top().mkdir(name, mode) {
                    Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
                        return Err(error);
                    }
                    _ => {}
                }
                self.open_side(dest, path)
            }
            looked => looked,
        }
    }

    /// Where a directory named by an option lies: a module that is the root of the process needs no
    /// cleaning of relative paths, since nothing is above it.
    pub fn side_path(&self, dest: &[u8], path: &[u8]) -> Vec<u8> {
        match self {
            DestStart::Module { confined: true, .. } if !path.starts_with(b"/") => {
                [dest, b"/", path].concat()
            }
            _ => path.to_vec(),
        }
    }

    /// Opens a directory that an option names, without a word about failure.
    pub fn open_side(&self, dest: &Root, path: &[u8]) -> io::Result<Root> {
        match self {
            // An operator may point anywhere, seen from the destination.
            DestStart::Operator { bound, .. } => {
                Ok(bound.dir(dest, path)?.faking(dest.is_faking()))
            }
            DestStart::Module { root, confined: true } if !path.starts_with(b"/") => {
                Ok(root.dir_within(dest, path)?.faking(dest.is_faking()))
            }
            DestStart::Module { root, .. } => {
                let start = if path.starts_with(b"/") { root } else { dest };
                Ok(root.dir_within(start, &module_path(path))?.faking(dest.is_faking()))
            }
        }
    }

    /// Opens a directory to compare with, seen from the destination. On a daemon it may lie as far
    /// up as its module goes.
    pub fn open_basis(&self, dest: &Root, path: &[u8]) -> io::Result<Root> {
        let path: &[u8] = if path.is_empty() { b"." } else { path };
        let open = |path: &[u8]| match self {
            DestStart::Module { root, .. } if !path.starts_with(b"/") => {
                Ok(root.dir_within(dest, path)?.faking(dest.is_faking()))
            }
            _ => self.open_side(dest, path),
        };
        // Something before the end may be in the way; only the end is called no directory.
        open(path).map_err(|error| match error.raw_os_error() {
            Some(libc::ENOTDIR) if open(split(path).0).is_err() => {
                io::Error::from_raw_os_error(libc::ENOENT)
            }
            _ => error,
        })
    }

    /// Opens the directory that a destination lies in; with `of_file`, that of a single file.
    pub fn above(&self, dest: &[u8], of_file: bool) -> io::Result<Root> {
        let dir = if of_file { split(dest).0 } else { dest };
        self.open(split(dir).0)
    }

    fn open(&self, path: &[u8]) -> io::Result<Root> {
        match self {
            DestStart::Operator { .. } => Root::open_trusted(path),
            DestStart::Module { root, .. } => {
                let clean = module_path(path);
                let rel = RelPath::new(&clean).map_err(|_| invalid())?;
                Ok(Root::from_dir(root.dir(rel)?))
            }
        }
    }

    /// Opens the destination. With `keep_dirlinks` a daemon's may lead through links of its module.
    fn open_dest(&self, path: &[u8], keep_dirlinks: bool) -> io::Result<Root> {
        match self {
            DestStart::Module { root, .. } if keep_dirlinks => {
                let clean = module_path(path);
                root.inner(RelPath::new(&clean).map_err(|_| invalid())?)
            }
            _ => self.open(path),
        }
    }

    fn mkdir(&self, path: &[u8], mode: u32) -> io::Result<()> {
        let (parent, name) = split(path);
        let name = tree::path::Name::new(name).map_err(|_| invalid())?;
        self.open(parent)?.top().mkdir(name, mode)
    }

    /// Whether a path names a directory, something else, or nothing.
    fn look(&self, path: &[u8]) -> io::Result<Option<bool>> {
        match self.open(path) {
            Ok(_) => Ok(Some(true)),
            Err(error) if error.raw_os_error() == Some(libc::ENOTDIR) => {
                // Either the last component is no directory, or one before it.
                let (parent, _) = split(path);
                self.open(parent).map(|_| Some(false))
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Whether the module is the root of the process, so that its paths are told from there.
    pub fn is_process_root(&self) -> bool {
        matches!(self, DestStart::Module { confined: true, .. })
    }

    /// A path as messages show it.
    pub fn shown(&self, path: &[u8]) -> Vec<u8> {
        match self {
            DestStart::Operator { cwd, .. } if !path.starts_with(b"/") => {
                let cleaned = crate::scan::clean(path);
                if cleaned.is_empty() {
                    cwd.clone()
                } else {
                    [cwd.as_slice(), b"/", &cleaned].concat()
                }
            }
            DestStart::Operator { .. } => match crate::scan::clean(path).as_slice() {
                b"/" => Vec::new(),
                cleaned => cleaned.to_vec(),
            },
            DestStart::Module { .. } => {
                let clean = module_path(path);
                if clean == b"." { Vec::new() } else { [b"/".as_slice(), &clean].concat() }
            }
        }
    }
}

impl DestStart {
    /// The destination as told while it is looked for: a module that is no root of the process is
    /// the working directory, from which its paths are relative.
    fn told(&self, path: &[u8]) -> Vec<u8> {
        match self {
            DestStart::Module { confined: false, .. } => module_path(path),
            _ => self.shown(path),
        }
    }

    /// The name of a directory that was made.
    fn made_name<'a>(&self, path: &'a [u8]) -> Cow<'a, [u8]> {
        let end = path.iter().rposition(|&b| b != b'/').map_or(path.len(), |at| at + 1);
        match self {
            DestStart::Operator { .. } => Cow::Borrowed(&path[..end]),
            DestStart::Module { .. } => Cow::Owned(self.told(path)),
        }
    }
}

fn module_path(path: &[u8]) -> Vec<u8> {
    let cleaned = crate::scan::clean(crate::scan::trim_root(path));
    if cleaned.is_empty() { b".".to_vec() } else { cleaned }
}

/// Parent and last component of a path, trailing slashes dropped.
fn split(path: &[u8]) -> (&[u8], &[u8]) {
    let end = path.iter().rposition(|&b| b != b'/').map_or(0, |at| at + 1);
    let path = &path[..end];
    match path.iter().rposition(|&b| b == b'/') {
        None => (b".", path),
        Some(0) => (b"/", &path[1..]),
        Some(at) => (&path[..at], &path[at + 1..]),
    }
}

/// Opens the destination `path` for what the first list holds.
pub fn choose(
    opts: &Options,
    start: &DestStart,
    path: &[u8],
    first: &FirstList,
    reporter: &Reporter,
) -> Result<Destination, Fatal> {
    let path: &[u8] = if path.is_empty() { b"." } else { path };
    let slash = path.ends_with(b"/") || path.ends_with(b"/.");
    let many = first.entries > 1;
    if opts.mkpath {
        make_path(opts, start, path, many, reporter)?;
    }
    let shown = start.shown(path);
    let looked = start.look(path).map_err(|error| {
        if error.raw_os_error() == Some(libc::ELOOP) {
            let into = many || slash || first.first_is_dir;
            return not_followed(reporter, start, path, into, &error);
        }
        cannot_stat(reporter, start, path, &error)
    })?;
    match looked {
        Some(true) => {
            let root = start
                .open_dest(path, opts.keep_dirlinks)
                .and_then(|root| root.top().check_search().map(|()| root))
                .map_err(|e| change_dir(reporter, start, 1, path, &e))?;
            Ok(Destination { root, shown, rename: None, missing: false, made: false })
        }
        Some(false) if slash => {
            let error = io::Error::from_raw_os_error(libc::ENOTDIR);
            Err(cannot_stat(reporter, start, path, &error))
        }
        Some(false) if many => Err(Fatal::bare(
            ExitCode::FileSelect,
            "ERROR: destination must be a directory when copying more than 1 file",
        )),
        Some(false) if first.first_is_dir => Err(Fatal::bare(
            ExitCode::FileSelect,
            "ERROR: cannot overwrite non-directory with a directory",
        )),
        None if many || slash => make(opts, start, path, shown, reporter),
        _ => single(opts, start, path, reporter),
    }
}

/// `--mkpath`: makes the directories of a missing destination, all of them where it must be one
/// itself, else those that hold it.
fn make_path(
    opts: &Options,
    start: &DestStart,
    path: &[u8],
    many: bool,
    reporter: &Reporter,
) -> Result<(), Fatal> {
    let slash = path.ends_with(b"/");
    match start.look(path) {
        Ok(Some(is_dir)) if is_dir || !slash => return Ok(()),
        _ => {}
    }
    let end = path.iter().rposition(|&b| b != b'/').map_or(0, |at| at + 1);
    let dirs = match path.iter().rposition(|&b| b == b'/') {
        _ if many => &path[..end],
        None => return Ok(()),
        Some(_) if end < path.len() => &path[..end],
        Some(at) => &path[..at],
    };
    let failed = |error: io::Error| {
        let mut text = b"mkdir ".to_vec();
        let shown = start.shown(path);
        let end: &[u8] = if slash && !shown.is_empty() { b"/" } else { b"" };
        text.extend_from_slice(&reporter.quoted(&[&shown, end].concat()));
        text.extend_from_slice(b" failed: ");
        text.extend_from_slice(errno_text(&error).as_bytes());
        Fatal::new(ExitCode::FileIo, text)
    };
    if dirs.split(|&b| b == b'/').any(|part| part == b"..") {
        return Err(failed(invalid()));
    }
    let mut made = 0;
    for at in (1..=dirs.len()).filter(|&at| matches!(dirs.get(at), None | Some(b'/'))) {
        match start.look(&dirs[..at]) {
            Ok(Some(true)) => continue,
            Ok(Some(false)) => {
                let last = at == dirs.len() && !opts.dry_run;
                let code = if last { libc::EEXIST } else { libc::ENOTDIR };
                return Err(failed(io::Error::from_raw_os_error(code)));
            }
            Ok(None) if opts.dry_run => {}
            Ok(None) => match start.mkdir(&dirs[..at], 0o777) {
                // A link that leads nowhere: what comes below it will not be found.
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists && at < dirs.len() => {
                    continue;
                }
                made => made.map_err(failed)?,
            },
            Err(error) => return Err(failed(error)),
        }
        made += 1;
    }
    if made > 0 && (opts.info.name > 0 || opts.shows_letters()) {
        let noun = if made == 1 { "directory" } else { "directories" };
        let line = format!("created {made} {noun} for ").into_bytes();
        reporter.info(&[line.as_slice(), &start.made_name(dirs), b"\n"].concat());
    }
    Ok(())
}

fn make(
    opts: &Options,
    start: &DestStart,
    path: &[u8],
    shown: Vec<u8>,
    reporter: &Reporter,
) -> Result<Destination, Fatal> {
    if !opts.dry_run {
        start.mkdir(path, 0o777).map_err(|error| {
            let mut text = b"mkdir ".to_vec();
            text.extend_from_slice(&reporter.quoted(&start.told(path)));
            text.extend_from_slice(b" failed: ");
            text.extend_from_slice(errno_text(&error).as_bytes());
            Fatal::new(ExitCode::FileIo, text)
        })?;
    }
    if opts.info.name > 0 || opts.shows_letters() {
        let name = start.made_name(path);
        reporter.info(&[b"created directory ".as_slice(), &name, b"\n"].concat());
    }
    if opts.dry_run {
        let root = start.open(b".").map_err(|e| change_dir(reporter, start, 2, b".", &e))?;
        return Ok(Destination { root, shown, rename: None, missing: true, made: false });
    }
    let root = start
        .open_dest(path, opts.keep_dirlinks)
        .map_err(|e| change_dir(reporter, start, 2, path, &e))?;
    Ok(Destination { root, shown, rename: None, missing: false, made: true })
}

fn single(
    opts: &Options,
    start: &DestStart,
    path: &[u8],
    reporter: &Reporter,
) -> Result<Destination, Fatal> {
    let (parent, name) = split(path);
    let shown = start.shown(parent);
    if opts.mkpath && opts.dry_run && matches!(start.look(parent), Ok(None) | Err(_)) {
        // A real run would have made it.
        let root = start.open(b".").map_err(|e| change_dir(reporter, start, 3, b".", &e))?;
        let rename = Some(name.to_vec());
        return Ok(Destination { root, shown, rename, missing: true, made: false });
    }
    let root = start
        .open_dest(parent, opts.keep_dirlinks)
        .map_err(|e| change_dir(reporter, start, 3, parent, &e))?;
    Ok(Destination { root, shown, rename: Some(name.to_vec()), missing: false, made: false })
}

fn cannot_stat(reporter: &Reporter, start: &DestStart, path: &[u8], error: &io::Error) -> Fatal {
    let mut told = start.told(path);
    if path.ends_with(b"/") {
        told.push(b'/');
    }
    let mut text = b"ERROR: cannot stat destination ".to_vec();
    text.extend_from_slice(&reporter.quoted(&told));
    text.extend_from_slice(b": ");
    text.extend_from_slice(errno_text(error).as_bytes());
    Fatal::new(ExitCode::FileSelect, text)
}

/// A symlink on the way to the destination, or in its place, is not followed. `into`: what is named
/// is a directory for the entries.
fn not_followed(
    reporter: &Reporter,
    start: &DestStart,
    path: &[u8],
    into: bool,
    error: &io::Error,
) -> Fatal {
    let (parent, name) = split(path);
    let there = |parent: Root| parent.top().lstat(tree::path::Name::new(name).ok()?).ok()?;
    if start.open(parent).ok().and_then(there).is_some() {
        return change_dir(reporter, start, 1, path, error);
    }
    match into {
        true => change_dir(reporter, start, 2, path, error),
        false => change_dir(reporter, start, 3, parent, error),
    }
}

/// `place` tells the moment: 1 an existing destination, 2 one just made, 3 the parent of a file.
fn change_dir(
    reporter: &Reporter,
    start: &DestStart,
    place: u8,
    path: &[u8],
    error: &io::Error,
) -> Fatal {
    let mut told = start.told(path);
    if place == 1 && path.ends_with(b"/") {
        told.push(b'/');
    }
    let mut text = format!("change_dir#{place} ").into_bytes();
    text.extend_from_slice(&reporter.quoted(&told));
    text.extend_from_slice(b" failed: ");
    text.extend_from_slice(errno_text(error).as_bytes());
    Fatal::new(ExitCode::FileSelect, text)
}

fn invalid() -> io::Error {
    io::Error::from_raw_os_error(libc::EINVAL)
}
