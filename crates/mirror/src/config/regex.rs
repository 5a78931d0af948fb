//! Regular expressions of sersync that stand for a few texts: alternatives and options written out.
//!
//! Called by `sersync`. What is left of an expression is a text in which a class of letters is the
//! only thing that does not stand for itself, since rsync's patterns have those too.

/// Writes out `(a|b)`, `a|b` and `x?`; `(.*)` stays. `None` if brackets do not match, if there are
/// too many texts, or if a repeated group is in it.
pub(super) fn expand(expression: &str, texts: &mut Vec<String>) -> Option<()> {
    let found = first_choice(expression)?;
    let Some(Choice { from, to, branches }) = found else {
        texts.push(expression.to_owned());
        return (texts.len() <= TEXTS_MAX).then_some(());
    };
    let (before, behind) = (expression.get(..from)?, expression.get(to..)?);
    // A group that may repeat stands for more texts than there are.
    if behind.starts_with(['*', '+', '{', '?']) {
        return None;
    }
    branches.iter().try_for_each(|branch| expand(&format!("{before}{branch}{behind}"), texts))
}

/// A part of an expression that stands for one of several.
struct Choice {
    from: usize,
    to: usize,
    branches: Vec<String>,
}

/// The first choice from the left, the whole expression where a bar stands outside of groups.
fn first_choice(expression: &str) -> Option<Option<Choice>> {
    let pieces = pieces(expression)?;
    if pieces.iter().any(|(_, piece)| *piece == "|") {
        let branches = split(&pieces);
        return Some(Some(Choice { from: 0, to: expression.len(), branches }));
    }
    for (at, (from, piece)) in pieces.iter().enumerate() {
        let optional = pieces.get(at + 1).is_some_and(|(_, next)| *next == "?");
        let end = from + piece.len();
        let inner = piece.strip_prefix('(').and_then(|piece| piece.strip_suffix(')'));
        let plain = !piece.starts_with(['*', '+', '?', '.', '^', '$']);
        let mut branches = match inner {
            Some(".*") if !optional => continue,
            Some(inner) => split(&self::pieces(inner)?),
            None if optional && plain => vec![(*piece).to_owned()],
            None => continue,
        };
        if optional {
            branches.push(String::new());
        }
        return Some(Some(Choice { from: *from, to: end + usize::from(optional), branches }));
    }
    Some(None)
}

/// What stands between the bars.
fn split(pieces: &[(usize, &str)]) -> Vec<String> {
    let branches = pieces.split(|(_, piece)| *piece == "|");
    branches.map(|branch| branch.iter().map(|(_, piece)| *piece).collect()).collect()
}

/// The letters, classes and groups of an expression, with where they begin.
fn pieces(expression: &str) -> Option<Vec<(usize, &str)>> {
    let (mut pieces, mut at) = (Vec::new(), 0);
    while let Some(rest) = expression.get(at..).filter(|rest| !rest.is_empty()) {
        let length = match rest.chars().next()? {
            '\\' => 1 + rest.chars().nth(1)?.len_utf8(),
            '[' => rest.find(']')? + 1,
            '(' => group(rest)?,
            ')' => return None,
            letter => letter.len_utf8(),
        };
        pieces.push((at, rest.get(..length)?));
        at += length;
    }
    Some(pieces)
}

/// The length of the group that an expression begins with.
fn group(expression: &str) -> Option<usize> {
    let (mut depth, mut quoted) = (0_usize, false);
    for (at, letter) in expression.char_indices() {
        match letter {
            _ if quoted => quoted = false,
            '\\' => quoted = true,
            '(' => depth += 1,
            ')' => depth = depth.checked_sub(1)?,
            _ => {}
        }
        if depth == 0 {
            return Some(at + 1);
        }
    }
    None
}

/// The pattern that an expression stands for when it is of letters and classes alone.
pub(super) fn plain(expression: &str) -> Option<String> {
    let mut text = String::new();
    for (_, piece) in pieces(expression)? {
        let mut letters = piece.chars();
        match letters.next()? {
            '\\' => text.push(letters.next().filter(|c| "._-".contains(*c))?),
            '[' => text.push_str(class(piece)?),
            c if c.is_alphanumeric() || "_-~".contains(c) => text.push(c),
            _ => return None,
        }
    }
    (!text.is_empty()).then_some(text)
}

/// A class that means the same in a pattern: letters and digits, and ranges of one kind of them.
fn class(piece: &str) -> Option<&str> {
    let inner: Vec<char> = piece.strip_prefix('[')?.strip_suffix(']')?.chars().collect();
    let kinds: [fn(&char) -> bool; 3] =
        [char::is_ascii_digit, char::is_ascii_lowercase, char::is_ascii_uppercase];
    let range = |three: &[char]| match three {
        [from, '-', to] => from <= to && kinds.iter().any(|kind| kind(from) && kind(to)),
        _ => true,
    };
    let letters = inner.iter().all(|c| c.is_ascii_alphanumeric() || "-_".contains(*c));
    let ends = inner.first() != Some(&'-') && inner.last() != Some(&'-');
    (!inner.is_empty() && letters && ends && inner.windows(3).all(range)).then_some(piece)
}

/// Texts that an expression may stand for.
const TEXTS_MAX: usize = 256;
