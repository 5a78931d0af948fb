//! The daemon's own filter list, from five parameters of a module.
//!
//! Called by `enter` while the files they name are in reach. The order is that of priority:
//! `filter`, `include from`, `include`, `exclude from`, `exclude`. What the list excludes does not
//! exist for a client. It is about names: what keeps links from leading out is elsewhere.

use wire::exit::ExitCode;
use wire::filter::list::ModuleFilters;
use wire::filter::{FilterList, Side};
use wire::limits::MERGE_FILE_MAX;

use super::files;
use super::log::cause;
use super::module::ModuleRules;

/// Why the rules cannot be used.
#[derive(Debug)]
pub(crate) struct RuleError {
    pub(crate) text: Vec<u8>,
    pub(crate) exit: ExitCode,
}

/// Reads all five.
pub(crate) fn load(rules: &ModuleRules) -> Result<FilterList, RuleError> {
    let include_from = pattern_file("include", &rules.include_from)?;
    let exclude_from = pattern_file("exclude", &rules.exclude_from)?;
    let texts = ModuleFilters {
        filter: &rules.filter,
        include_from: include_from.as_deref().map(|text| (rules.include_from.as_slice(), text)),
        include: &rules.include,
        exclude_from: exclude_from.as_deref().map(|text| (rules.exclude_from.as_slice(), text)),
        exclude: &rules.exclude,
    };
    // Only rules of the operator's own files and words name files here, so each is the operator's.
    let mut read = |_: &[u8], file: &[u8]| files::read(file, MERGE_FILE_MAX).ok();
    FilterList::for_module(&texts, &mut read)
        .map_err(|error| RuleError { text: error.text().to_vec(), exit: error.exit_code() })
}

fn pattern_file(kind: &str, path: &[u8]) -> Result<Option<Vec<u8>>, RuleError> {
    if path.is_empty() {
        return Ok(None);
    }
    files::read(path, MERGE_FILE_MAX).map(Some).map_err(|error| {
        let path = String::from_utf8_lossy(path);
        let text =
            format!("rsync: [Receiver] failed to open {kind} file {path}: {}", cause(&error));
        RuleError { text: text.into_bytes(), exit: ExitCode::FileIo }
    })
}

/// Whether the list hides a path of the module, or a directory above it.
pub(crate) fn hides(list: &FilterList, path: &[u8], is_dir: bool) -> bool {
    let mut above = memchr::memchr_iter(b'/', path).filter_map(|at| path.get(..at));
    above.any(|dir| !dir.is_empty() && list.is_excluded(dir, true, Side::Sender))
        || list.is_excluded(path, is_dir, Side::Sender)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rules(filter: &str, include: &str, exclude: &str) -> FilterList {
        let rules = ModuleRules {
            filter: filter.into(),
            include: include.into(),
            exclude: exclude.into(),
            ..ModuleRules::default()
        };
        load(&rules).unwrap()
    }

    #[test]
    fn words_in_their_order_of_priority() {
        let list = rules("- /a - /b", "*.txt", "/secret *");
        assert!(hides(&list, b"secret", true));
        assert!(hides(&list, b"b", false));
        assert!(!hides(&list, b"x.txt", false));
        assert!(hides(&list, b"x.jpg", false));
        let list = rules("- /private/***", "", "");
        assert!(hides(&list, b"private/x/y", false));
        assert!(!hides(&list, b"public", true));
        let list = rules("", "/a/b", "/secret /a");
        assert!(hides(&list, b"secret/x/y", false), "what is above it is hidden");
        assert!(hides(&list, b"a/b", true), "so it is although a rule includes it");
    }

    #[test]
    fn files_that_cannot_be_read_are_errors() {
        let rules = ModuleRules { exclude_from: b"/none/x".to_vec(), ..ModuleRules::default() };
        let error = load(&rules).unwrap_err();
        let text =
            "rsync: [Receiver] failed to open exclude file /none/x: No such file or directory (2)";
        assert_eq!((error.text.as_slice(), error.exit), (text.as_bytes(), ExitCode::FileIo));
    }
}
