//! Options of rsync as options of a mirror: what makes no sense is refused, rule files are read.
//!
//! Called for every way to write a mirror down: the command line of `watch`, and the configuration
//! files of other programs, whose options are words of rsync's command line too.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use rsync::options::parse::{Action, Parsing, parse};
use rsync::options::{Append, BasisKind, FilterArg, Options, RemoveSource};
use wire::exit::ExitCode;

/// Words understood: the options, and the words that are none.
#[derive(Clone, Debug)]
pub struct MirrorWords {
    /// What the options mean.
    pub options: Options,
    /// The other words.
    pub words: Vec<Vec<u8>>,
}

/// Words that cannot be options of a mirror.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BadWords {
    /// Why, without a newline.
    pub text: String,
    /// The exit code: of wrong use, or of something that this program does not do.
    pub exit: ExitCode,
}

/// Reads words of rsync's command line. `env` gives variables of the environment.
pub fn from_words(
    words: &[Vec<u8>],
    env: &dyn Fn(&str) -> Option<Vec<u8>>,
) -> Result<MirrorWords, BadWords> {
    let parsed = parse(words, env, Parsing::Client).map_err(|error| BadWords {
        text: String::from_utf8_lossy(&error.text).trim_end().to_owned(),
        exit: error.exit,
    })?;
    if !matches!(parsed.action, Action::Run) {
        return Err(meaningless("this option"));
    }
    let options = for_mirror(parsed.options)?;
    Ok(MirrorWords { options, words: parsed.words })
}

/// Reads words that should all be options: also gives those that are none.
pub fn from_options(words: &[Vec<u8>]) -> Result<(Options, Vec<Vec<u8>>), BadWords> {
    // The parser wants to know of a source and a target, and of the recursion that is always there.
    let ends = [b"-r".to_vec(), b".".to_vec(), b".".to_vec()];
    let read = from_words(&[&ends[..], words].concat(), &|_| None)?;
    Ok((read.options, read.words.into_iter().skip(2).collect()))
}

fn meaningless(name: &str) -> BadWords {
    BadWords { text: format!("{name} has no meaning for a mirror"), exit: ExitCode::Unsupported }
}

/// Refuses options of a single run that make no sense for a mirror; rule files are read once, now.
fn for_mirror(mut options: Options) -> Result<Options, BadWords> {
    let compares = options.basis_kind == BasisKind::Compare && !options.basis_dirs.is_empty();
    let refused = [
        (options.dry_run, "--dry-run"),
        (options.list_only, "--list-only"),
        (options.files_from.is_some(), "--files-from"),
        (options.relative, "--relative"),
        (options.existing, "--existing"),
        (options.ignore_existing, "--ignore-existing"),
        (
            options.deletes(),
            "--delete-during or the like (deletions are a setting of the mirror itself)",
        ),
        (options.delete_excluded, "--delete-excluded"),
        (options.max_delete.is_some(), "--max-delete"),
        (options.follows_links(), "--copy-links (or the like)"),
        (options.prune_empty_dirs, "--prune-empty-dirs"),
        (options.old_dirs, "--old-dirs"),
        (options.stop_at.is_some(), "--stop-at (or the like)"),
        (options.batch.write.is_some() || options.batch.only, "--write-batch (or the like)"),
        (options.batch.read.is_some(), "--read-batch"),
        (options.copy_as.is_some(), "--copy-as"),
        (options.insecure_links, "--insecure-links"),
        (options.given.max_alloc.is_some(), "--max-alloc"),
        // These leave the target other than the source.
        (options.append != Append::Off, "--append"),
        (compares, "--compare-dest"),
        (options.remove_source != RemoveSource::Nothing, "--remove-source-files"),
    ];
    if let Some((_, name)) = refused.iter().find(|(given, _)| *given) {
        return Err(meaningless(name));
    }
    let mut filters = Vec::new();
    for rule in std::mem::take(&mut options.filters) {
        let (file, include) = match rule {
            FilterArg::ExcludeFrom(file) => (file, false),
            FilterArg::IncludeFrom(file) => (file, true),
            other => {
                filters.push(other);
                continue;
            }
        };
        let text = read_rules(&file).map_err(|text| BadWords { text, exit: ExitCode::Syntax })?;
        let lines = rsync::files_from::split(&text, options.from0, true);
        filters.extend(lines.into_iter().map(|line| match include {
            true => FilterArg::Include(line),
            false => FilterArg::Exclude(line),
        }));
    }
    options.filters = filters;
    Ok(options)
}

/// The content of a file of rules. Errors: a line that names it.
pub(super) fn read_rules(path: &[u8]) -> Result<Vec<u8>, String> {
    super::file::read(Path::new(OsStr::from_bytes(path)))
        .map_err(|error| format!("{}: {error}", String::from_utf8_lossy(path)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_leaves_a_target_behind_is_refused() {
        let read = |word: &str| from_options(&[b"-a".to_vec(), word.as_bytes().to_vec()]);
        for word in ["--append", "--compare-dest=x", "--old-dirs", "--dry-run", "--stop-after=1"] {
            let error = read(word).err().map(|error| error.exit);
            assert_eq!(error, Some(ExitCode::Unsupported), "{word}");
        }
        for word in ["--link-dest=x", "--copy-dest=x", "--fuzzy", "--delay-updates"] {
            assert!(read(word).is_ok(), "{word}");
        }
    }
}
