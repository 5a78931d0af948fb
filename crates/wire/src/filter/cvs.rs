//! The names that CVS ignores by default: `-C` and `--cvs-exclude`.
//!
//! Called by [`super::list`] when a `-C` rule is met.

use super::parse::Modifiers;
use super::rule::FilterRule;

/// The built-in words.
const DEFAULT_WORDS: &[u8] = b"RCS SCCS CVS CVS.adm RCSLOG cvslog.* tags TAGS .make.state \
    .nse_depinfo *~ #* .#* ,* _$* *$ *.old *.bak *.BAK *.orig *.rej .del-* *.a *.olb *.o *.obj \
    *.so *.exe *.Z *.elc *.ln core .svn/ .git/ .hg/ .bzr/";

/// What a user adds to the built-in words. Both are words split at white space; `!` drops the
/// words before it.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct CvsSources {
    /// Content of `.cvsignore` in the home directory (in a module that is chrooted: its root).
    pub home_file: Option<Vec<u8>>,
    /// Value of the environment variable `CVSIGNORE`.
    pub variable: Option<Vec<u8>>,
}

/// The rules that a `-C` (or, by `include`, a `+C`) stands for. The built-in ones are perishable.
pub(crate) fn rules(sources: &CvsSources, include: bool, mods: &Modifiers) -> Vec<FilterRule> {
    let mut rules = Vec::new();
    let mut add = |words: &[u8], perishable: bool| {
        for word in words.split(u8::is_ascii_whitespace).filter(|word| !word.is_empty()) {
            if word == b"!" {
                rules.clear();
                continue;
            }
            let mut rule = FilterRule::plain(include, word);
            rule.negate = mods.negate;
            rule.absolute = mods.absolute;
            rule.marks = mods.marks;
            rule.perishable = perishable || mods.perishable;
            rules.push(rule);
        }
    };
    add(DEFAULT_WORDS, true);
    add(sources.home_file.as_deref().unwrap_or_default(), false);
    add(sources.variable.as_deref().unwrap_or_default(), false);
    rules
}
