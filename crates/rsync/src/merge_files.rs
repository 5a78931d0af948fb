//! The rules of a command line, read into a filter list; the files that rules name.

use std::io::Read;
use std::os::unix::ffi::OsStringExt;

use tree::cache::DirCache;
use tree::path::{Name, RelPath};
use wire::filter::cvs::CvsSources;
use wire::filter::{FilterError, FilterList, Origin, Syntax};

use crate::fatal::{Fatal, errno_text};
use crate::options::{FilterArg, Options, Partial};

/// The list of a client: the rules given, in order, then those that options imply.
pub fn client_filters(opts: &Options) -> Result<FilterList, Fatal> {
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
                list.add_rule_text(text, &Origin::Argument, &mut read_operator).map_err(refused)?;
            }
        }
    }
    if opts.cvs_exclude {
        add_cvs(&mut list)?;
    }
    for rule in implied_rules(opts) {
        list.add_rule_text(&rule, &Origin::Argument, &mut |_, _| None).map_err(refused)?;
    }
    Ok(list)
}

/// Adds what `-C` stands for on this side.
pub fn add_cvs(list: &mut FilterList) -> Result<(), Fatal> {
    list.set_cvs_sources(cvs_sources());
    list.add_cvs_exclude().map_err(refused)
}

/// Backups beside the files are not extraneous, and partial files are nobody's source.
fn implied_rules(opts: &Options) -> Vec<Vec<u8>> {
    let mut rules = Vec::new();
    if opts.backup && opts.deletes() && !opts.delete_excluded && opts.backup_dir.is_none() {
        rules.push([b"P *".as_slice(), &opts.suffix].concat());
    }
    if let Partial::Dir(dir) = &opts.partial
        && !dir.starts_with(b"/")
    {
        rules.push([b"-p ".as_slice(), dir, b"/"].concat());
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
    list.add_lines(&content, syntax, file, &mut read_operator).map_err(refused)
}

/// Reads a file that a rule of the operator names.
fn read_operator(dir: &[u8], file: &[u8]) -> Option<Vec<u8>> {
    let path = if dir.is_empty() { file.to_vec() } else { [dir, b"/", file].concat() };
    let mut content = Vec::new();
    let max = wire::limits::MERGE_FILE_MAX as u64;
    tree::operator::open_trusted(&path).ok()?.take(max).read_to_end(&mut content).ok()?;
    Some(content)
}

/// Reads a rule file of a directory that is walked: relative ones below the root, absolute ones
/// above it.
pub fn read_in_walk(cache: &mut DirCache, dir: &[u8], file: &[u8]) -> Option<Vec<u8>> {
    if dir.starts_with(b"/") {
        return read_operator(dir, file);
    }
    let path = RelPath::new(if dir.is_empty() { b"." } else { dir }).ok()?;
    let name = Name::new(file).ok()?;
    cache.dir(path).ok()?.read_small(name, wire::limits::MERGE_FILE_MAX).ok()
}

fn cvs_sources() -> CvsSources {
    let home = std::env::var_os("HOME").map(OsStringExt::into_vec);
    CvsSources {
        home_file: home.and_then(|home| read_operator(&home, b".cvsignore")),
        variable: std::env::var_os("CVSIGNORE").map(OsStringExt::into_vec),
    }
}
