//! Text of a filter rule into its parts, and text of a rule file into rules.
//!
//! Called by [`super::list`], which acts on the parts. A rule is read in this order: kind (one
//! byte or a word), a comma (must follow a word that has modifiers), modifiers, one blank or `_`,
//! then the pattern to the end of the text, or to white space where several rules share a text.
//!
//! What is wrong with a rule is a [`Flaw`]; it becomes a message only together with an
//! [`Origin`], which decides whether the rule may be shown.

use super::FilterError;
use super::rule::{FilterRule, SideMarks};
use crate::exit::ExitCode;

/// How the lines or words of a rule file (or an option's value) are read.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub enum Syntax {
    /// Full rules, as `--filter` takes them.
    Filter,
    /// Patterns, as `--exclude` (or, by `include`, `--include`) takes them: a leading `- ` or `+ `
    /// overrides the sense, `!` alone clears.
    Old {
        /// Sense of a pattern without prefix.
        include: bool,
    },
    /// Nothing but patterns.
    Bare {
        /// Sense of all patterns.
        include: bool,
        /// Whether `!` alone clears, as in `.cvsignore` files.
        clears: bool,
    },
}

/// Where a rule's text stood; decides what an error may show of it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Origin {
    /// Given by the user or the daemon's configuration: may be shown.
    Argument,
    /// Read from a file: only the place may be shown.
    File {
        /// The file's name, or `a file named at FILE line N` where that name came from a file too.
        shown: Vec<u8>,
        /// Counted from 1; none in files that are split into words.
        line: Option<usize>,
    },
}

impl Origin {
    /// What messages show of a rule with this text.
    pub(crate) fn show(&self, text: &[u8]) -> Vec<u8> {
        match self {
            Origin::Argument => text.to_vec(),
            Origin::File { .. } => [b"<rule from ".as_slice(), &self.place(), b">"].concat(),
        }
    }

    /// How messages name a file that a rule of this origin names.
    pub(crate) fn show_file(&self, name: &[u8]) -> Vec<u8> {
        match self {
            Origin::Argument => name.to_vec(),
            Origin::File { .. } => [NAMED_AT, &self.place()].concat(),
        }
    }

    fn place(&self) -> Vec<u8> {
        match self {
            Origin::Argument => Vec::new(),
            Origin::File { shown, line: None } => shown.clone(),
            // Within a file whose name is not shown the line would tell nothing.
            Origin::File { shown, .. } if shown.starts_with(NAMED_AT) || shown == READ_EARLIER => {
                shown.clone()
            }
            Origin::File { shown, line: Some(n) } => {
                [shown.as_slice(), format!(" line {n}").as_bytes()].concat()
            }
        }
    }
}

const NAMED_AT: &[u8] = b"a file named at ";

/// How messages name a per-directory file whose name came from a file.
pub(crate) const READ_EARLIER: &[u8] = b"a file read earlier";

/// The modifiers of a rule; on a merge rule also what its lines inherit.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub(crate) struct Modifiers {
    /// `/`
    pub(crate) absolute: bool,
    /// `!`
    pub(crate) negate: bool,
    /// `C`
    pub(crate) cvs: bool,
    /// `p`
    pub(crate) perishable: bool,
    /// `x`
    pub(crate) xattr: bool,
    /// `s`, `r`
    pub(crate) marks: SideMarks,
    /// `-` or `+`: lines are bare patterns; the value is whether they include.
    pub(crate) bare: Option<bool>,
    /// `e`
    pub(crate) exclude_self: bool,
    /// `n`
    pub(crate) no_inherit: bool,
    /// `w`
    pub(crate) words: bool,
}

impl Modifiers {
    /// What the lines of a file with these modifiers start from.
    pub(crate) fn inherited(&self) -> Modifiers {
        Modifiers {
            absolute: self.absolute,
            perishable: self.perishable,
            marks: self.marks,
            ..Modifiers::default()
        }
    }

    /// How a merge rule with these modifiers has its file read.
    pub(crate) fn syntax(&self) -> Syntax {
        match self.bare {
            Some(include) => Syntax::Bare { include, clears: self.cvs },
            None => Syntax::Filter,
        }
    }

    /// An include or exclude rule with these modifiers.
    pub(crate) fn rule(&self, include: bool, pattern: &[u8]) -> FilterRule {
        let mut rule = FilterRule::plain(include, pattern);
        rule.negate = self.negate;
        rule.absolute = self.absolute;
        rule.perishable = self.perishable;
        rule.xattr = self.xattr;
        rule.marks = self.marks;
        rule
    }
}

/// One rule, taken apart.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Parsed {
    Clear,
    Rule(FilterRule),
    /// The CVS list.
    Cvs {
        include: bool,
        mods: Modifiers,
    },
    /// Read this file now, or in every directory.
    Merge {
        path: Vec<u8>,
        mods: Modifiers,
        per_dir: bool,
    },
}

/// What is wrong with a rule's text.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub(crate) enum Flaw {
    Unknown,
    Modifier { byte: u8, position: usize },
    NoPattern,
    ClearWithMore,
    SideTwice,
}

impl Flaw {
    pub(crate) fn error(self, origin: &Origin, text: &[u8]) -> FilterError {
        let what: Vec<u8> = match self {
            Flaw::Unknown => b"Unknown filter rule".to_vec(),
            Flaw::Modifier { byte, position } if *origin == Origin::Argument => {
                let at = format!("' at position {position} in filter rule");
                [b"invalid modifier '".as_slice(), &[byte], at.as_bytes()].concat()
            }
            Flaw::Modifier { .. } => b"invalid modifier in filter rule".to_vec(),
            Flaw::NoPattern => b"unexpected end of filter rule".to_vec(),
            Flaw::ClearWithMore => b"'!' rule has trailing characters".to_vec(),
            Flaw::SideTwice => b"specified-side merge file contains specified-side filter".to_vec(),
        };
        FilterError::new(ExitCode::Syntax, [&what, b": ".as_slice(), &origin.show(text)].concat())
    }
}

#[derive(Copy, Clone, PartialEq, Eq)]
enum Kind {
    /// The letter fixes the side for hide, show, protect and risk.
    Pattern {
        include: bool,
        marks: SideMarks,
    },
    Merge {
        per_dir: bool,
    },
    Clear,
}

/// Long names and the letters they stand for.
const NAMES: [(&[u8], u8); 9] = [
    (b"exclude", b'-'),
    (b"include", b'+'),
    (b"hide", b'H'),
    (b"show", b'S'),
    (b"protect", b'P'),
    (b"risk", b'R'),
    (b"merge", b'.'),
    (b"dir-merge", b':'),
    (b"clear", b'!'),
];

pub(crate) fn is_space(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t'..=b'\r')
}

/// The kind at the start of `text`, and its length.
fn kind(text: &[u8]) -> Result<(Kind, usize), Flaw> {
    let named = NAMES.iter().find_map(|(name, letter)| {
        let after = text.strip_prefix(*name)?;
        matches!(after.first(), None | Some(b' ' | b'_' | b',')).then_some((*letter, name.len()))
    });
    let first = text.first().copied().filter(|b| !b.is_ascii_lowercase());
    let (letter, len) = named.or(first.map(|b| (b, 1))).ok_or(Flaw::Unknown)?;
    let pattern = |include, sender, receiver| Kind::Pattern {
        include,
        marks: SideMarks { sender, receiver },
    };
    let kind = match letter {
        b'-' => pattern(false, false, false),
        b'+' => pattern(true, false, false),
        b'H' => pattern(false, true, false),
        b'S' => pattern(true, true, false),
        b'P' => pattern(false, false, true),
        b'R' => pattern(true, false, true),
        b'.' => Kind::Merge { per_dir: false },
        b':' => Kind::Merge { per_dir: true },
        b'!' => Kind::Clear,
        _ => return Err(Flaw::Unknown),
    };
    Ok((kind, len))
}

/// Sets the modifier `byte`; false if it does not exist or does not fit the kind.
fn modify(mods: &mut Modifiers, own: &mut SideMarks, kind: Kind, byte: u8) -> bool {
    let (pattern, sided) = match kind {
        Kind::Pattern { marks, .. } => (true, marks.any()),
        Kind::Merge { .. } => (false, false),
        Kind::Clear => return false,
    };
    match byte {
        b'/' => mods.absolute = true,
        b'p' => mods.perishable = true,
        b'x' => mods.xattr = true,
        b's' if !sided => own.sender = true,
        b'r' if !sided => own.receiver = true,
        b'!' if pattern => mods.negate = true,
        b'C' if pattern && !sided => mods.cvs = true,
        b'C' if !pattern && mods.bare.is_none() => {
            mods.cvs = true;
            mods.bare = Some(false);
            mods.no_inherit = true;
            mods.words = true;
        }
        b'-' | b'+' if !pattern && mods.bare.is_none() => mods.bare = Some(byte == b'+'),
        b'e' if !pattern => mods.exclude_self = true,
        b'n' if !pattern => mods.no_inherit = true,
        b'w' if !pattern => mods.words = true,
        _ => return false,
    }
    true
}

/// Parses the full rule at the start of `text`, which is not empty. With `words` it ends at white
/// space. Gives the rule and the length it took.
pub(crate) fn parse_rule(
    text: &[u8],
    defaults: &Modifiers,
    words: bool,
) -> Result<(Parsed, usize), Flaw> {
    let (kind, mut at) = kind(text)?;
    if text.get(at) == Some(&b',') {
        at += 1;
    }
    let ends_here = |at: usize| match text.get(at) {
        None => true,
        Some(byte) => words && is_space(*byte),
    };
    if kind == Kind::Clear {
        return if ends_here(at) { Ok((Parsed::Clear, at)) } else { Err(Flaw::ClearWithMore) };
    }
    let mut mods = defaults.inherited();
    let mut own = SideMarks::default();
    while let Some(&byte) = text.get(at) {
        let position = at;
        at += 1;
        match byte {
            b' ' | b'_' => break,
            _ if modify(&mut mods, &mut own, kind, byte) => {}
            _ => return Err(Flaw::Modifier { byte, position }),
        }
    }
    if let Kind::Pattern { marks, .. } = kind {
        own.sender |= marks.sender;
        own.receiver |= marks.receiver;
    }
    if own.any() {
        if defaults.marks.any() {
            return Err(Flaw::SideTwice);
        }
        mods.marks = own;
    }
    let start = at;
    while !ends_here(at) {
        at += 1;
    }
    let rest = text.get(start..at).unwrap_or_default();
    let parsed = match kind {
        // A pattern behind -C is dropped without a word, as upstream does.
        Kind::Pattern { include, .. } if mods.cvs => Parsed::Cvs { include, mods },
        Kind::Merge { per_dir } => {
            let path = if rest.is_empty() && mods.cvs { b".cvsignore".as_slice() } else { rest };
            Parsed::Merge { path: path.to_vec(), mods, per_dir }
        }
        Kind::Pattern { include, .. } => Parsed::Rule(mods.rule(include, rest)),
        Kind::Clear => Parsed::Clear,
    };
    if rest.is_empty() && matches!(&parsed, Parsed::Rule(_)) {
        return Err(Flaw::NoPattern);
    }
    match &parsed {
        Parsed::Merge { path, .. } if path.is_empty() => Err(Flaw::NoPattern),
        _ => Ok((parsed, at)),
    }
}

/// Parses one `--exclude`/`--include` pattern at the start of `text`, which is not empty.
pub(crate) fn parse_old(text: &[u8], include: bool, words: bool) -> Result<(Parsed, usize), Flaw> {
    let end_of_word = |from: usize| {
        let rest = text.get(from..).unwrap_or_default();
        let word = if words { rest.iter().position(|b| is_space(*b)) } else { None };
        from + word.unwrap_or(rest.len())
    };
    let (include, start) = match text {
        [b'-', b' ', ..] => (false, 2),
        [b'+', b' ', ..] => (true, 2),
        _ => (include, 0),
    };
    let end = end_of_word(start);
    match text.get(start..end) {
        Some(b"!") if start == 0 => Ok((Parsed::Clear, end)),
        None | Some([]) => Err(Flaw::NoPattern),
        Some(pattern) => Ok((Parsed::Rule(FilterRule::plain(include, pattern)), end)),
    }
}

/// The records of a rule file with their line numbers: lines ended by LF, CR or CR LF (by NUL with
/// `from0`) without comments and empty ones, or, with `words`, words without numbers.
pub(crate) fn records(
    content: &[u8],
    words: bool,
    from0: bool,
) -> impl Iterator<Item = (Option<usize>, &[u8])> {
    let mut rest = content;
    let mut number = 0;
    std::iter::from_fn(move || {
        while !rest.is_empty() {
            let ends = |b: &u8| match (words, from0) {
                (true, _) => is_space(*b),
                (false, true) => *b == 0,
                (false, false) => matches!(b, b'\n' | b'\r'),
            };
            let end = rest.iter().position(ends);
            let record = rest.get(..end.unwrap_or(rest.len())).unwrap_or_default();
            let tail = end.and_then(|end| rest.get(end..)).unwrap_or_default();
            let ending = if !words && !from0 && tail.starts_with(b"\r\n") { 2 } else { 1 };
            rest = tail.get(ending..).unwrap_or_default();
            number += 1;
            let comment = !words && matches!(record.first(), Some(b'#' | b';'));
            if !record.is_empty() && !comment {
                return Some(((!words).then_some(number), record));
            }
        }
        None
    })
}
