//! Which paths are none of the mirror's business, by the same rules as in every transfer.
//!
//! Called by the watch back-ends for each event and by `run::sync` for directory scans. The rules
//! are the `filters` of the sync's options, the very ones its transfers get; a path is hidden when
//! a rule excludes it or a directory above it. Rules read from files inside the tree cannot hold
//! for events, so a configuration that has such rules is refused by name.

use rsync::options::FilterArg;
use wire::filter::{FilterList, Origin, Side};

/// The exclude rules of one sync.
pub struct Exclude {
    rules: FilterList,
    empty: bool,
    prefix: Vec<u8>,
}

impl std::fmt::Debug for Exclude {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Exclude").field("empty", &self.empty).finish_non_exhaustive()
    }
}

impl Exclude {
    /// Compiles the rules. `prefix` is the name of the source in the transfer, or empty. Errors: a
    /// rule that is malformed or cannot be applied to events, as a line.
    pub fn new(filters: &[FilterArg], prefix: &[u8]) -> Result<Exclude, String> {
        let mut rules = FilterList::new();
        for filter in filters {
            match filter {
                FilterArg::Exclude(pattern) => rules.add_exclude(pattern),
                FilterArg::Include(pattern) => rules.add_include(pattern),
                FilterArg::Rule(rule) => {
                    let mut asked = false;
                    let added = rules.add_rule_text(rule, &Origin::Argument, &mut |_, _| {
                        asked = true;
                        None
                    });
                    if asked || rules.has_dir_merge() {
                        return Err(format!(
                            "the filter rule \"{}\" reads rules from files, which the live mirror \
                             cannot follow; write its rules out",
                            String::from_utf8_lossy(rule)
                        ));
                    }
                    added
                }
                FilterArg::ExcludeFrom(file) | FilterArg::IncludeFrom(file) => {
                    return Err(format!(
                        "the rules of {} must be read before the mirror starts",
                        String::from_utf8_lossy(file)
                    ));
                }
            }
            .map_err(|e| e.to_string())?;
        }
        Ok(Exclude { rules, empty: filters.is_empty(), prefix: prefix.to_vec() })
    }

    /// Whether there are no rules at all.
    pub fn is_empty(&self) -> bool {
        self.empty
    }

    /// Whether `path`, relative to the source, is hidden from the mirror.
    pub fn hides(&self, path: &[u8], is_dir: bool) -> bool {
        if self.empty || path.is_empty() {
            return false;
        }
        let whole;
        let name = if self.prefix.is_empty() {
            path
        } else {
            whole = [self.prefix.as_slice(), b"/", path].concat();
            whole.as_slice()
        };
        let mut cuts = name.iter().enumerate().filter(|&(_, &b)| b == b'/');
        let excluded = |name: &[u8], dir| self.rules.is_excluded(name, dir, Side::Sender);
        cuts.any(|(at, _)| excluded(name.get(..at).unwrap_or_default(), true))
            || excluded(name, is_dir)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn exclude(patterns: &[&str], prefix: &str) -> Exclude {
        let filters: Vec<FilterArg> =
            patterns.iter().map(|p| FilterArg::Exclude(p.as_bytes().to_vec())).collect();
        Exclude::new(&filters, prefix.as_bytes()).unwrap()
    }

    #[test]
    fn events_are_hidden_as_a_transfer_would() {
        // A failure would make the live side differ from the first pass.
        let rules = exclude(&["*.tmp", "/cache/", "[ab]x", "/only/this"], "");
        for (path, dir, hidden) in [
            ("a.tmp", false, true),
            ("d/e/a.tmp", false, true),
            ("d.tmp/inside", false, true),
            ("cache", true, true),
            ("cache", false, false),
            ("cache/deep/file", false, true),
            ("d/cache/file", false, false),
            ("d/ax", false, true),
            ("only/this", false, true),
            ("d/only/this", false, false),
            ("", true, false),
        ] {
            assert_eq!(rules.hides(path.as_bytes(), dir), hidden, "{path}");
        }
        assert!(exclude(&["/src/cache"], "src").hides(b"cache", true));
    }

    #[test]
    fn rules_from_files_are_refused_by_name() {
        // A failure would let a rule count in the first pass and not for events.
        for rule in ["dir-merge .rules", ": .rules", "merge file", ". file", ":C"] {
            let filters = [FilterArg::Rule(rule.as_bytes().to_vec())];
            assert!(Exclude::new(&filters, b"").unwrap_err().contains(rule));
        }
        assert!(Exclude::new(&[FilterArg::Rule(b"- *.o".to_vec())], b"").is_ok());
    }
}
