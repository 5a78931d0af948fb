//! The ordered list of filter rules: built from options, rule files, the wire or a daemon's
//! parameters, and asked about names. The first rule that matches decides.
//!
//! Owned by the sender (hides names), the generator (protects names) and the daemon (its own list,
//! asked before and apart from the client's).
//!
//! A list does not know that an excluded directory's contents are out too: the scan that asks
//! never enters such a directory. The transfer root itself (`.`) is never judged.

use super::cvs::{self, CvsSources};
use super::parse::{
    Flaw, Modifiers, Origin, Parsed, Syntax, is_space, parse_old, parse_rule, records,
};
use super::perdir::{DirMerge, Frame};
use super::rule::{FilterRule, SideMarks, Subject, last_component};
use super::{FilterError, ReadRules, Side};
use crate::exit::ExitCode;
use crate::limits::{DIR_MERGES_MAX, FILTER_LINE_MAX, FILTER_PATTERN_MAX, MERGE_DEPTH_MAX};

/// One place in a list.
#[derive(Clone, Debug)]
pub(crate) enum Item {
    Rule(FilterRule),
    /// A `-C` rule: kept apart from other rules because it travels to a sender as one.
    Cvs {
        include: bool,
        mods: Modifiers,
        rules: Vec<FilterRule>,
    },
    /// Position of a per-directory list, as an index into `FilterList::merges`.
    DirMerge(usize),
}

/// What is being filled: the main list, or the local part of a per-directory list.
#[derive(Default)]
pub(crate) struct Fill {
    pub(crate) items: Vec<Item>,
    /// A `!` was met.
    pub(crate) cleared: bool,
    /// Absolute path of the directory whose file is read; none for the main list.
    pub(crate) dir: Option<Vec<u8>>,
    /// Number of rule files being read around the present line, the per-directory one not
    /// counted.
    pub(crate) depth: usize,
}

/// How many items back an equal `-C` makes another needless. Its rules take far more memory than its
/// letters, so that many in a row from a peer would be no small matter.
const CVS_NEAR: usize = 256;

impl Fill {
    fn stands_near(&self, include: bool, mods: &Modifiers) -> bool {
        self.items.iter().rev().take(CVS_NEAR).any(|item| {
            matches!(item, Item::Cvs { include: i, mods: m, .. } if *i == include && m == mods)
        })
    }
}

/// The texts of a module's filter parameters; files come with name and content.
#[derive(Copy, Clone, Default, Debug)]
pub struct ModuleFilters<'a> {
    /// `filter`: full rules separated by white space.
    pub filter: &'a [u8],
    /// `include from`.
    pub include_from: Option<(&'a [u8], &'a [u8])>,
    /// `include`: patterns separated by white space.
    pub include: &'a [u8],
    /// `exclude from`.
    pub exclude_from: Option<(&'a [u8], &'a [u8])>,
    /// `exclude`: patterns separated by white space.
    pub exclude: &'a [u8],
}

/// Filter rules in order, with the state of the per-directory lists.
#[derive(Clone, Debug)]
pub struct FilterList {
    pub(crate) items: Vec<Item>,
    pub(crate) merges: Vec<DirMerge>,
    pub(crate) frames: Vec<Frame>,
    pub(crate) root: Vec<u8>,
    pub(crate) delete_excluded: bool,
    pub(crate) warnings: Vec<Vec<u8>>,
    pub(crate) io_error: i32,
    from0: bool,
    side: Option<Side>,
    cvs: CvsSources,
    /// The items that `--cvs-exclude` stands for.
    pub(super) by_option: std::ops::Range<usize>,
    /// A daemon's list: patterns name places in the module.
    module: bool,
}

impl Default for FilterList {
    fn default() -> Self {
        FilterList::new()
    }
}

impl FilterList {
    /// An empty list: it includes everything. Its transfer root is `/` until [`Self::set_root`].
    pub fn new() -> FilterList {
        FilterList {
            items: Vec::new(),
            merges: Vec::new(),
            frames: Vec::new(),
            root: b"/".to_vec(),
            delete_excluded: false,
            warnings: Vec::new(),
            io_error: 0,
            from0: false,
            side: None,
            cvs: CvsSources::default(),
            by_option: 0..0,
            module: false,
        }
    }

    /// The list of a daemon's module. It stays apart from the client's list and acts the same
    /// whichever side asks: a rule for the receiver only hides from downloads too, one for the
    /// sender only hides nothing. Its patterns with a `/` name places below the module's root,
    /// whatever the transfer root; an excluded directory takes its contents with it even where
    /// nobody scans downwards.
    pub fn for_module(
        texts: &ModuleFilters<'_>,
        read: &mut ReadRules<'_>,
    ) -> Result<FilterList, FilterError> {
        let mut list = FilterList { module: true, ..FilterList::new() };
        list.add_words(texts.filter, Syntax::Filter, read)?;
        if let Some((name, content)) = texts.include_from {
            list.add_lines(content, Syntax::Old { include: true }, name, read)?;
        }
        list.add_words(texts.include, Syntax::Old { include: true }, read)?;
        if let Some((name, content)) = texts.exclude_from {
            list.add_lines(content, Syntax::Old { include: false }, name, read)?;
        }
        list.add_words(texts.exclude, Syntax::Old { include: false }, read)?;
        Ok(list)
    }

    /// Makes unmarked rules act on the sender only (`--delete-excluded`).
    pub fn set_delete_excluded(&mut self, on: bool) {
        self.delete_excluded = on;
    }

    /// Makes records of rule files end at NUL instead of line ends (`--from0`).
    pub fn set_from0(&mut self, on: bool) {
        self.from0 = on;
    }

    /// Tells which side asks. Per-directory files then need not be read for the other one.
    pub fn set_side(&mut self, side: Side) {
        self.side = Some(side);
    }

    /// Sets what later `-C` rules add to the built-in words.
    pub fn set_cvs_sources(&mut self, sources: CvsSources) {
        self.cvs = sources;
    }

    /// Whether there is no rule at all.
    pub fn is_empty(&self) -> bool {
        self.items.is_empty()
    }

    /// Whether some rule reads files during the scan, which makes the peer's filtering
    /// unverifiable.
    pub fn has_dir_merge(&self) -> bool {
        !self.merges.is_empty()
    }

    /// Messages about rules that were dropped, without line ends; empties the store.
    pub fn take_warnings(&mut self) -> Vec<Vec<u8>> {
        std::mem::take(&mut self.warnings)
    }

    /// The I/O error bits raised by per-directory files since the last call.
    pub fn take_io_error(&mut self) -> i32 {
        std::mem::take(&mut self.io_error)
    }

    /// Adds one full rule, as `--filter` gives it. An empty text adds nothing.
    pub fn add_rule_text(
        &mut self,
        text: &[u8],
        origin: &Origin,
        read: &mut ReadRules<'_>,
    ) -> Result<(), FilterError> {
        self.fill_main(|list, fill| {
            list.add_record(fill, text, Syntax::Filter, &Modifiers::default(), origin, read)
        })
    }

    /// Adds one `--exclude` pattern.
    pub fn add_exclude(&mut self, text: &[u8]) -> Result<(), FilterError> {
        self.add_old(text, false)
    }

    /// Adds one `--include` pattern.
    pub fn add_include(&mut self, text: &[u8]) -> Result<(), FilterError> {
        self.add_old(text, true)
    }

    fn add_old(&mut self, text: &[u8], include: bool) -> Result<(), FilterError> {
        let none = Modifiers::default();
        self.fill_main(|list, fill| {
            let syntax = Syntax::Old { include };
            list.add_record(fill, text, syntax, &none, &Origin::Argument, &mut |_, _| None)
        })
    }

    /// Adds the records of a file: `--exclude-from` and `--include-from` with [`Syntax::Old`].
    /// `name` is shown in messages.
    pub fn add_lines(
        &mut self,
        content: &[u8],
        syntax: Syntax,
        name: &[u8],
        read: &mut ReadRules<'_>,
    ) -> Result<(), FilterError> {
        self.fill_main(|list, fill| {
            list.add_content(fill, content, syntax, &Modifiers::default(), name, read)
        })
    }

    /// Adds what `--cvs-exclude` puts behind all other rules: the per-directory `.cvsignore` files
    /// and the global list. Not for a server that receives both from its client.
    pub fn add_cvs_exclude(&mut self) -> Result<(), FilterError> {
        let from = self.items.len();
        for text in [b":C", b"-C"] {
            self.add_rule_text(text, &Origin::Argument, &mut |_, _| None)?;
        }
        self.by_option = from..self.items.len();
        Ok(())
    }

    /// Whether a matching rule includes (`true`) or excludes (`false`) the name; none if no rule
    /// matches, which includes it. `name` is relative to the transfer root.
    pub fn check(&self, name: &[u8], is_dir: bool, side: Side) -> Option<bool> {
        self.deciding_rule(name, is_dir, side, false).map(FilterRule::includes)
    }

    /// Whether some rule is about names of extended attributes, which replaces what is copied
    /// otherwise.
    pub fn has_xattr_rules(&self) -> bool {
        self.find(&self.items, &|rule| rule.xattr).is_some()
    }

    /// Whether a rule for names of extended attributes excludes one.
    pub fn is_xattr_excluded(&self, name: &[u8], side: Side) -> bool {
        let subject = Subject::new(name, false, &self.root);
        let delete_excluded = self.delete_excluded && !self.module;
        let found = self.find(&self.items, &|rule| {
            rule.marks.acts_for(side, delete_excluded) && rule.matches_xattr(&subject)
        });
        found.is_some_and(|rule| !rule.includes())
    }

    /// As [`Self::check`] for a name inside a directory that is being removed as a whole:
    /// perishable rules do not act there. The side is the receiver.
    pub fn check_for_delete(&self, name: &[u8], is_dir: bool) -> Option<bool> {
        self.deciding_rule(name, is_dir, Side::Receiver, true).map(FilterRule::includes)
    }

    /// Whether the name is hidden from the file list or protected from deletion.
    pub fn is_excluded(&self, name: &[u8], is_dir: bool, side: Side) -> bool {
        self.check(name, is_dir, side) == Some(false)
    }

    /// Whether a pulling client must refuse this received name, because its own rules would have
    /// kept the sender from sending it. Per-directory rules cannot be checked from here: with one
    /// in the list nothing is refused.
    pub fn refuses_received(&self, name: &[u8], is_dir: bool) -> bool {
        !self.has_dir_merge() && self.is_excluded(name, is_dir, Side::Sender)
    }

    fn deciding_rule(
        &self,
        name: &[u8],
        is_dir: bool,
        side: Side,
        ignore_perishable: bool,
    ) -> Option<&FilterRule> {
        if name == b"." {
            return None;
        }
        let subject = Subject::new(name, is_dir, &self.root);
        self.find(&self.items, &|rule| self.decides(rule, &subject, side, ignore_perishable))
    }

    /// Whether a rule says something about a name to that side.
    pub(crate) fn decides(
        &self,
        rule: &FilterRule,
        subject: &Subject<'_>,
        side: Side,
        ignore_perishable: bool,
    ) -> bool {
        let side = if self.module { Side::Receiver } else { side };
        rule.marks.acts_for(side, self.delete_excluded && !self.module)
            && !(ignore_perishable && rule.perishable)
            && rule.matches(subject)
    }

    /// The first rule that passes `test`, per-directory lists tried at their rule's position.
    /// Ends, because a per-directory list only holds positions of lists younger than itself.
    fn find<'a>(
        &'a self,
        items: &'a [Item],
        test: &dyn Fn(&FilterRule) -> bool,
    ) -> Option<&'a FilterRule> {
        items.iter().find_map(|item| match item {
            Item::Rule(rule) => test(rule).then_some(rule),
            Item::Cvs { rules, .. } => rules.iter().find(|rule| test(rule)),
            Item::DirMerge(at) => {
                let layers = &self.merges.get(*at)?.layers;
                layers.iter().rev().find_map(|layer| self.find(layer, test))
            }
        })
    }

    /// Runs `work` on the main list.
    fn fill_main(
        &mut self,
        work: impl FnOnce(&mut FilterList, &mut Fill) -> Result<(), FilterError>,
    ) -> Result<(), FilterError> {
        let items = std::mem::take(&mut self.items);
        let mut fill = Fill { items, ..Fill::default() };
        let result = work(self, &mut fill);
        self.items = fill.items;
        result
    }

    /// Adds several rules that share one text, separated by white space.
    fn add_words(
        &mut self,
        text: &[u8],
        syntax: Syntax,
        read: &mut ReadRules<'_>,
    ) -> Result<(), FilterError> {
        let none = Modifiers::default();
        self.fill_main(|list, fill| {
            let mut rest = text;
            loop {
                let blanks = rest.iter().take_while(|b| is_space(**b)).count();
                rest = rest.get(blanks..).unwrap_or_default();
                if rest.is_empty() {
                    return Ok(());
                }
                let (parsed, len) = match syntax {
                    Syntax::Old { include } => parse_old(rest, include, true),
                    _ => parse_rule(rest, &none, true),
                }
                .map_err(|flaw| flaw.error(&Origin::Argument, rest))?;
                let (now, later) = rest.split_at_checked(len).unwrap_or((rest, &[]));
                rest = later;
                list.apply(fill, parsed, now, &Origin::Argument, read)?;
            }
        })
    }

    /// Adds the records of a rule file.
    pub(crate) fn add_content(
        &mut self,
        fill: &mut Fill,
        content: &[u8],
        syntax: Syntax,
        mods: &Modifiers,
        shown: &[u8],
        read: &mut ReadRules<'_>,
    ) -> Result<(), FilterError> {
        for (line, text) in records(content, mods.words, self.from0) {
            let origin = Origin::File { shown: shown.to_vec(), line };
            if text.len() > FILTER_LINE_MAX {
                self.warn_long(&origin, text);
                continue;
            }
            self.add_record(fill, text, syntax, mods, &origin, read)?;
        }
        Ok(())
    }

    fn add_record(
        &mut self,
        fill: &mut Fill,
        text: &[u8],
        syntax: Syntax,
        mods: &Modifiers,
        origin: &Origin,
        read: &mut ReadRules<'_>,
    ) -> Result<(), FilterError> {
        if text.is_empty() {
            return Ok(());
        }
        let parsed = match syntax {
            Syntax::Filter => parse_rule(text, mods, false),
            Syntax::Old { include } => parse_old(text, include, false),
            Syntax::Bare { clears: true, .. } if text == b"!" => Ok((Parsed::Clear, 1)),
            Syntax::Bare { include, .. } => {
                Ok((Parsed::Rule(mods.inherited().rule(include, text)), text.len()))
            }
        };
        let (parsed, _) = parsed.map_err(|flaw: Flaw| flaw.error(origin, text))?;
        self.apply(fill, parsed, text, origin, read)
    }

    fn apply(
        &mut self,
        fill: &mut Fill,
        parsed: Parsed,
        text: &[u8],
        origin: &Origin,
        read: &mut ReadRules<'_>,
    ) -> Result<(), FilterError> {
        match parsed {
            Parsed::Clear => {
                fill.items.clear();
                fill.cleared = true;
                if fill.dir.is_none() {
                    self.merges.clear();
                }
            }
            Parsed::Rule(rule) if rule.pattern.written().len() > FILTER_PATTERN_MAX => {
                self.warn_long(origin, text);
            }
            Parsed::Rule(mut rule) => {
                rule.from_file = *origin != Origin::Argument || fill.dir.is_some();
                fill.items.push(Item::Rule(self.placed(fill, rule)));
            }
            // A second one near the first adds nothing but its many rules.
            Parsed::Cvs { include, mods } if fill.stands_near(include, &mods) => {}
            Parsed::Cvs { include, mods } => {
                let rules = cvs::rules(&self.cvs, include, &mods);
                let rules = rules.into_iter().map(|rule| self.placed(fill, rule)).collect();
                fill.items.push(Item::Cvs { include, mods, rules });
            }
            Parsed::Merge { path, .. } if path.len() > FILTER_PATTERN_MAX => {
                self.warn_long(origin, text);
            }
            Parsed::Merge { path, mods, per_dir } => {
                if mods.exclude_self {
                    let mut own = FilterRule::plain(false, last_component(&path));
                    if fill.dir.is_some() {
                        // Protects even where --delete-excluded confines unmarked rules.
                        own.marks = SideMarks { sender: true, receiver: true };
                    }
                    fill.items.push(Item::Rule(own));
                }
                if per_dir {
                    let from_file = *origin != Origin::Argument || fill.dir.is_some();
                    return self.add_dir_merge(fill, DirMerge::new(path, mods, from_file));
                }
                return self.read_merge(fill, &path, &mods, origin, read);
            }
        }
        Ok(())
    }

    /// A per-directory rule. It adds nothing if its file name is in use already, or if it stands in
    /// a per-directory file and acts for the other side only.
    fn add_dir_merge(&mut self, fill: &mut Fill, merge: DirMerge) -> Result<(), FilterError> {
        let foreign = self.side.is_some_and(|side| !merge.mods.marks.acts_for(side, false));
        let in_use = self.merges.iter().any(|other| other.name == merge.name);
        if in_use || (foreign && fill.dir.is_some()) {
            return Ok(());
        }
        if self.merges.len() >= DIR_MERGES_MAX {
            let text = format!("more than {DIR_MERGES_MAX} per-directory filter files");
            return Err(FilterError::new(ExitCode::Syntax, text.into_bytes()));
        }
        fill.items.push(Item::DirMerge(self.merges.len()));
        self.merges.push(merge);
        Ok(())
    }

    /// A `.` rule: its file is read in its place.
    fn read_merge(
        &mut self,
        fill: &mut Fill,
        path: &[u8],
        mods: &Modifiers,
        origin: &Origin,
        read: &mut ReadRules<'_>,
    ) -> Result<(), FilterError> {
        let argument = *origin == Origin::Argument;
        let shown = if argument { path.to_vec() } else { origin.show(path) };
        if fill.depth >= MERGE_DEPTH_MAX {
            let text = format!("merge-file include depth limit ({MERGE_DEPTH_MAX}) exceeded at ");
            return Err(FilterError::new(ExitCode::FileIo, [text.as_bytes(), &shown].concat()));
        }
        let include = mods.bare == Some(true);
        let content =
            read(b"", path).ok_or_else(|| FilterError::unreadable(include, &shown, argument))?;
        fill.depth += 1;
        let syntax = mods.syntax();
        self.add_content(fill, &content, syntax, mods, &origin.show_file(path), read)?;
        fill.depth -= 1;
        Ok(())
    }

    /// Gives a rule the place it is anchored at.
    fn placed(&self, fill: &Fill, mut rule: FilterRule) -> FilterRule {
        let written = rule.pattern.written();
        if self.module {
            if !rule.include && written.len() > 1 && written.ends_with(b"/") {
                rule.pattern =
                    FilterRule::plain(false, &[written.as_slice(), b"***"].concat()).pattern;
            }
            rule.absolute |= rule.pattern.has_slash();
        }
        if let Some(dir) = &fill.dir
            && !rule.absolute
            && written.starts_with(b"/")
        {
            rule.anchor = Some(dir.clone());
        }
        rule
    }

    fn warn_long(&mut self, origin: &Origin, text: &[u8]) {
        self.warnings
            .push([b"discarding over-long filter: ".as_slice(), &origin.show(text)].concat());
    }
}

#[cfg(test)]
#[path = "list_tests.rs"]
mod tests;
