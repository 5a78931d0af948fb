//! The rules of a command line, read into a filter list; the files that rules name.

use std::io::Read;
use std::os::unix::ffi::OsStringExt;

use tree::cache::DirCache;
use tree::dir::Dir;
use tree::operator::Confinement;
use tree::path::{Name, RelPath};
use tree::root::Root;
use wire::filter::cvs::CvsSources;
use wire::filter::{FilterError, FilterList, Origin, Side, Syntax};

use crate::fatal::{Fatal, errno_text};
use crate::options::debug::DebugFlag;
use crate::options::{FilterArg, Options, Partial};
use crate::report::messages::Reporter;

/// The list of a client: the rules given, in order, then those that options imply; and all of them
/// but what `-C` stands for as lines for the script of a batch.
pub fn filters_and_script(opts: &Options) -> Result<(FilterList, Vec<Vec<u8>>), Fatal> {
    let mut list = FilterList::new();
    list.set_cvs_sources(cvs_sources());
    list.set_from0(opts.from0);
    list.set_delete_excluded(opts.delete_excluded);
    for arg in &opts.filters {
        match arg {
            FilterArg::Exclude(text) => list.add_exclude(text).map_err(refused)?,
            FilterArg::Include(text) => list.add_include(text).map_err(refused)?,
            FilterArg::ExcludeFrom(file) => add_file(&mut list, file, false)?,
            FilterArg::IncludeFrom(file) => add_file(&mut list, file, true)?,
            FilterArg::Rule(text) => {
                let mut files = RuleFiles::default();
                list.add_rule_text(text, &Origin::Argument, &mut |dir, file| files.read(dir, file))
                    .map_err(|error| files.refused(error))?;
            }
        }
    }
    let mut script = list.script_rules();
    if opts.cvs_exclude {
        add_cvs(&mut list)?;
    }
    let known = list.script_rules().len();
    for rule in implied_rules(opts) {
        list.add_rule_text(&rule, &Origin::Argument, &mut |_, _| None).map_err(refused)?;
    }
    script.extend(list.script_rules().into_iter().skip(known));
    Ok((list, script))
}

/// Adds what `-C` stands for on this side.
pub fn add_cvs(list: &mut FilterList) -> Result<(), Fatal> {
    list.set_cvs_sources(cvs_sources());
    list.add_cvs_exclude().map_err(refused)
}

/// Backups beside the files are not extraneous, and partial files are nobody's source.
pub fn implied_rules(opts: &Options) -> Vec<Vec<u8>> {
    let mut rules = Vec::new();
    if opts.backup && opts.deletes() && !opts.delete_excluded && opts.backup_dir.is_none() {
        rules.push([b"P *".as_slice(), &opts.suffix].concat());
    }
    if let Partial::Dir(dir) = &opts.partial
        && !dir.starts_with(b"/")
    {
        rules.push([b"-p ".as_slice(), dir, b"/"].concat());
    }
    if opts.old_dirs {
        rules.push(b"- /*/*".to_vec());
    }
    rules
}

fn refused(error: FilterError) -> Fatal {
    Fatal::bare(error.exit_code(), error.text())
}

fn add_file(list: &mut FilterList, file: &[u8], include: bool) -> Result<(), Fatal> {
    let mut content = Vec::new();
    let read = if file == b"-" {
        std::io::stdin().lock().read_to_end(&mut content)
    } else {
        tree::operator::open_trusted(file).and_then(|mut f| f.read_to_end(&mut content))
    };
    read.map_err(|error| {
        let mut text = b"failed to open ".to_vec();
        text.extend_from_slice(if include { b"include" } else { b"exclude" });
        text.extend_from_slice(b" file ");
        text.extend_from_slice(file);
        text.extend_from_slice(b": ");
        text.extend_from_slice(errno_text(&error).as_bytes());
        Fatal::new(wire::exit::ExitCode::FileIo, text)
    })?;
    let syntax = Syntax::Old { include };
    let mut files = RuleFiles::default();
    list.add_lines(&content, syntax, file, &mut |dir, file| files.read(dir, file))
        .map_err(|error| files.refused(error))
}

/// Reads the files that rules of the operator name, and remembers why one could not be read.
#[derive(Default)]
struct RuleFiles {
    error: Option<std::io::Error>,
}

impl RuleFiles {
    fn read(&mut self, dir: &[u8], file: &[u8]) -> Option<Vec<u8>> {
        read_operator(dir, file).map_err(|error| self.error = Some(error)).ok()
    }

    fn refused(self, error: FilterError) -> Fatal {
        let cause = self.error.filter(|_| error.wants_errno());
        match cause {
            Some(cause) => {
                let cause = errno_text(&cause);
                let text = [error.text(), b": ", cause.as_bytes()].concat();
                Fatal::new(error.exit_code(), text)
            }
            None => refused(error),
        }
    }
}

fn read_operator(dir: &[u8], file: &[u8]) -> std::io::Result<Vec<u8>> {
    let path = if dir.is_empty() { file.to_vec() } else { [dir, b"/", file].concat() };
    let mut content = Vec::new();
    let max = wire::limits::MERGE_FILE_MAX as u64;
    if path == b"-" {
        std::io::stdin().lock().take(max).read_to_end(&mut content)?;
        return Ok(content);
    }
    tree::operator::open_trusted(&path)?.take(max).read_to_end(&mut content)?;
    Ok(content)
}

/// What rule files that are met in the walk must lie in.
#[derive(Clone, Copy)]
pub enum Within<'a> {
    /// The module of a daemon, which is `/` to its clients.
    Module(&'a Root),
    /// What the operator allows.
    Bound(&'a Confinement),
}

/// Reads a rule file of a directory that is walked. A directory above the transfer's root comes as
/// an absolute path. On a daemon a client named the file, and it must lie in the module.
pub fn read_in_walk(
    cache: &mut DirCache,
    within: Within<'_>,
    dir: &[u8],
    file: &[u8],
) -> Option<Vec<u8>> {
    let above = dir.starts_with(b"/");
    let rel = RelPath::new(if dir.is_empty() { b"." } else { crate::scan::trim_root(dir) }).ok()?;
    let start = match within {
        Within::Bound(Confinement::None) if above => return read_operator(dir, file).ok(),
        Within::Bound(bound) if above => {
            bound.dir(&Root::open(b"/").ok()?, dir).ok()?.top().clone()
        }
        Within::Module(module) if above => module.dir(rel).ok()?,
        _ => cache.dir(rel).ok()?.clone(),
    };
    let read = match within {
        Within::Module(module) => open_itself(&start, file, Some(module.top())),
        Within::Bound(Confinement::None) => open_itself(&start, file, None),
        // The directory itself may lie outside.
        Within::Bound(Confinement::Within(root)) => {
            tree::operator::open_from(&start, file, Some(root.top()))
        }
        Within::Bound(Confinement::Nothing) => return None,
    };
    let mut content = Vec::new();
    let max = wire::limits::MERGE_FILE_MAX;
    read.ok()?.take(max as u64 + 1).read_to_end(&mut content).ok()?;
    (content.len() <= max).then_some(content)
}

/// Opens a file of a directory; the owner of a symlink decides whether it is followed.
fn open_itself(start: &Dir, file: &[u8], within: Option<&Dir>) -> std::io::Result<std::fs::File> {
    let name = Name::new(file).map_err(|_| std::io::Error::from_raw_os_error(libc::EINVAL))?;
    start.open_read(name).or_else(|error| match error.raw_os_error() {
        Some(libc::ELOOP) => tree::operator::open_from(start, file, within),
        _ => Err(error),
    })
}

/// Whether a rule leaves a name out, hidden from a list or kept from deletion; says which one
/// decided, where the user asks for that much.
pub fn decides(
    reporter: &Reporter,
    opts: &Options,
    filters: &FilterList,
    (name, rel, is_dir): (&[u8], &[u8], bool),
    (side, perishing): (Side, bool),
) -> bool {
    if !opts.debug.has(DebugFlag::Filter) {
        return match perishing {
            true => filters.check_for_delete(rel, is_dir) == Some(false),
            false => filters.is_excluded(rel, is_dir, side),
        };
    }
    let Some(told) = filters.explain(rel, is_dir, side, perishing) else { return false };
    let (role, verb) = match (side, told.includes) {
        (Side::Sender, true) => ("sender", "showing"),
        (Side::Sender, false) => ("sender", "hiding"),
        (Side::Receiver, true) => ("generator", "risking"),
        (Side::Receiver, false) => ("generator", "protecting"),
    };
    let kind = if is_dir { "directory" } else { "file" };
    let mut line = format!("[{role}] {verb} {kind} ").into_bytes();
    line.extend_from_slice(&[name, b" because of pattern ", &told.rule, b"\n"].concat());
    reporter.info(&line);
    !told.includes
}

fn cvs_sources() -> CvsSources {
    let home = std::env::var_os("HOME").map(OsStringExt::into_vec);
    CvsSources {
        home_file: home.and_then(|home| read_operator(&home, b".cvsignore").ok()),
        variable: std::env::var_os("CVSIGNORE").map(OsStringExt::into_vec),
    }
}
